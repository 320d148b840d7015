//! The breaker: deletions in a row are held on every device alike, under one card, until somebody answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{CardSummary, Resolve, ResolveError};
use syncd_engine::{Config, Engine, Intent, Location, WriteError, WriteRequest};
use syncd_schema::burst::{Answer, Burst};
use syncd_schema::entry::Tombstone;
use syncd_schema::message::Segment;
use syncd_schema::{
    Actor, Digest, EntryKind, LogId, LogSeq, ObjectId, ObjectState, OperationStatus, Role, UnixMicros, cbor,
    domain,
};

/// Deletions in a row that happen before the others wait.
const FREE: usize = 24;

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn bot() -> Actor {
    "agent:bot".parse().expect("an actor")
}

fn id(n: usize) -> ObjectId {
    format!("n{n:03}").parse().unwrap()
}

fn delete(
    engine: &mut Engine,
    actor: &Actor,
    n: usize,
    now: UnixMicros,
) -> Result<syncd_engine::Written, WriteError> {
    let request = WriteRequest::new(actor.clone(), Intent::Delete { object: id(n) });
    engine.write(&[request], now).expect("the disk works").0.remove(0)
}

fn answer(
    engine: &mut Engine,
    actor: &Actor,
    card: Digest,
    choice: Choice,
    now: UnixMicros,
) -> Result<syncd_engine::Written, WriteError> {
    let because = Some("looked at it".to_owned());
    let resolve = Resolve { card, choice, value: None, pick: None, because };
    let request = WriteRequest::new(actor.clone(), Intent::Resolve(resolve));
    engine.write(&[request], now).expect("the disk works").0.remove(0)
}

/// Three devices that share objects, in a workspace where agents may delete.
fn three(objects: usize) -> [Engine; 3] {
    let (mut ada, _) = owner(1);
    let text = "permit(principal, action, resource);".to_owned();
    write(&mut ada, Intent::SetPolicy { text, beside: false }, at(1)).expect("set");
    let (mut eve, _) = member(&mut ada, 2, Role::Member);
    let (mut bob, _) = member(&mut ada, 3, Role::Member);
    let puts = (0..objects).map(|n| {
        let intent = Intent::Put {
            collection: "notes".parse().unwrap(),
            object: Some(id(n)),
            value: json!({ "n": n }),
        };
        WriteRequest::new(user(), intent)
    });
    let puts: Vec<WriteRequest> = puts.collect();
    assert!(ada.write(&puts, at(2)).expect("the disk works").0.iter().all(Result::is_ok));
    sync(&mut ada, &mut eve, at(3));
    sync(&mut ada, &mut bob, at(3));
    [ada, eve, bob]
}

fn meet(engines: &mut [Engine; 3], now: UnixMicros) {
    let [ada, eve, bob] = engines;
    for _ in 0..2 {
        sync(ada, eve, now);
        sync(eve, bob, now);
        sync(bob, ada, now);
    }
}

fn standing(engine: &mut Engine) -> usize {
    let all: Vec<ObjectId> = engine.list(None).unwrap().into_iter().map(|row| row.object).collect();
    all.iter().filter(|id| engine.get(id).unwrap().unwrap().value != json!(null)).count()
}

/// What must be equal on all devices: how many objects stand, the open cards, and what became of each operation.
type State = (usize, BTreeSet<(Digest, ObjectId, &'static str)>, BTreeSet<String>);

fn state(engine: &mut Engine) -> State {
    let cards = cards(engine).into_iter().map(|card| (card.card, card.object, card.kind)).collect();
    let operations = engine.operations(None, 10_000).expect("readable");
    let operations =
        operations.into_iter().map(|view| format!("{} {:?}", view.operation, view.status)).collect();
    (standing(engine), cards, operations)
}

fn cards(engine: &Engine) -> Vec<CardSummary> {
    engine.cards(false).expect("readable")
}

fn all_alike(engines: &mut [Engine; 3]) -> (usize, Vec<Digest>) {
    let states: Vec<_> = engines.iter_mut().map(state).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[1], states[2]);
    for engine in engines.iter_mut() {
        let report = engine.verify(|_, _| {}).expect("readable");
        assert!(report.ok, "{:?}", report.findings);
        assert!(engine.operations(Some(OperationStatus::Blocked), 10).unwrap().is_empty());
    }
    let (standing, cards, _) = states.into_iter().next().unwrap();
    (standing, cards.into_iter().map(|(card, ..)| card).collect())
}

/// An agent that deletes 60 of 100 objects, one after the other, on the third device.
fn runs_wild(engines: &mut [Engine; 3]) -> Digest {
    let mut card = None;
    for n in 0..60 {
        let written = delete(&mut engines[2], &bot(), n, at(10 + n as u64)).expect("logged");
        assert_eq!(written.status == OperationStatus::AwaitingDecision, n >= FREE, "deletion {n}");
        assert_eq!(written.card.is_some(), n >= FREE);
        card = written.card.or(card);
    }
    meet(engines, at(100));
    let (standing, open) = all_alike(engines);
    assert_eq!((standing, open), (100 - FREE, vec![card.unwrap()]), "what tripped it is still there");
    card.unwrap()
}

#[test]
fn an_agent_that_runs_wild_is_asked_about_once_and_declined() {
    let mut engines = three(100);
    let card = runs_wild(&mut engines);
    let view = engines[0].card(&card).unwrap().unwrap();
    assert_eq!((view.summary.kind, view.may_decide), ("burst", "a person"));
    assert_eq!(view.values[0].said.value["deletes"], json!(60 - FREE));
    assert_eq!(view.values[0].said.actor, Some(bot()));
    let options: Vec<_> = view.options.iter().map(|option| (option.option, option.recommended)).collect();
    assert_eq!(options, [("keep_remote", false), ("decline", true)]);
    let held = engines[1].get(&id(40)).unwrap().unwrap();
    assert_eq!((held.state, held.value), (ObjectState::Held, json!({ "n": 40 })));
    let explained = engines[1].explain(id(40).as_str()).unwrap().unwrap();
    assert!(explained.state == "held" && explained.next[0].contains(&card.to_string()), "{explained:?}");
    // The same deletion again is the same deletion.
    let again = delete(&mut engines[2], &bot(), 40, at(101)).expect("known");
    assert!(again.repeated && again.card == Some(card));

    let unlisted = answer(&mut engines[0], &user(), card, Choice::Local, at(102)).expect_err("not listed");
    assert!(unlisted.to_string().contains("cannot be answered with keep_local"), "{unlisted}");
    answer(&mut engines[0], &user(), card, Choice::Decline, at(102)).expect("declined");
    meet(&mut engines, at(103));
    assert_eq!(all_alike(&mut engines), (100 - FREE, Vec::new()));
    let view = engines[1].card(&card).unwrap().unwrap();
    let resolution = view.resolution.expect("decided");
    assert_eq!(
        (resolution.option.as_str(), resolution.because.as_deref()),
        ("decline", Some("looked at it"))
    );
    for engine in &mut engines {
        let kept = engine.get(&id(40)).unwrap().unwrap();
        assert_eq!((kept.state, kept.value), (ObjectState::Clean, json!({ "n": 40 })));
        assert_eq!(engine.explain(id(40).as_str()).unwrap().unwrap().state, "clean");
    }
    let failed = engines[1].operations(Some(OperationStatus::Failed), 1_000).unwrap();
    assert_eq!(failed.len(), 60 - FREE);
    let because = engines[1].explain(&failed[0].operation.to_string()).unwrap().unwrap();
    assert!(format!("{because:?}").contains("declined"), "{because:?}");
    // Whoever goes on is asked about anew, once.
    for n in 60..70 {
        delete(&mut engines[2], &bot(), n, at(110)).expect("logged");
    }
    meet(&mut engines, at(111));
    let (standing, open) = all_alike(&mut engines);
    assert_eq!((standing, open.len()), (100 - FREE, 1));
    assert_ne!(open[0], card);
}

#[test]
fn what_is_let_in_happens_everywhere_and_may_go_on_for_a_while() {
    let mut engines = three(100);
    let card = runs_wild(&mut engines);
    // Work that the deletion had not seen is not lost with it.
    merge_patch(&mut engines[0], "n050", json!({ "kept": true }), at(101));
    answer(&mut engines[1], &user(), card, Choice::Remote, at(102)).expect("let in");
    meet(&mut engines, at(103));
    let (standing, open) = all_alike(&mut engines);
    assert_eq!((standing, open.len()), (41, 1), "the edited one, with a card of its own");
    assert_eq!(cards(&engines[2])[0].kind, "delete_edit");
    for n in 60..80 {
        let written = delete(&mut engines[2], &bot(), n, at(110)).expect("logged");
        assert_eq!(written.status, OperationStatus::Completed, "it was let in already");
    }
    meet(&mut engines, at(111));
    assert_eq!(all_alike(&mut engines).0, 21);
}

#[test]
fn only_a_person_lets_in_and_nobody_but_a_person_answers_their_own() {
    let mut engines = three(100);
    let card = runs_wild(&mut engines);
    let other: Actor = "agent:other".parse().unwrap();
    for (actor, choice) in [(&bot(), Choice::Remote), (&bot(), Choice::Decline), (&other, Choice::Remote)] {
        let refused = answer(&mut engines[2], actor, card, choice, at(101));
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{actor} {choice:?}: {refused:?}");
    }
    let no_option = answer(&mut engines[2], &user(), card, Choice::Fork, at(101));
    assert!(matches!(no_option, Err(WriteError::Resolve(ResolveError::NoOption(_)))));
    assert_eq!(cards(&engines[2]).len(), 1);
    answer(&mut engines[2], &other, card, Choice::Decline, at(102)).expect("a protection");
    meet(&mut engines, at(103));
    assert_eq!(all_alike(&mut engines), (100 - FREE, Vec::new()));
}

/// Two who answer otherwise, in both orders: what is let in happens.
#[test]
fn of_two_answers_the_one_that_lets_in_counts() {
    let mut engines = three(100);
    let card = runs_wild(&mut engines);
    answer(&mut engines[0], &user(), card, Choice::Decline, at(101)).expect("declined");
    answer(&mut engines[1], &user(), card, Choice::Remote, at(101)).expect("let in");
    let decided = answer(&mut engines[0], &user(), card, Choice::Remote, at(102));
    assert!(matches!(decided, Err(WriteError::Resolve(ResolveError::Decided { .. }))), "{decided:?}");
    meet(&mut engines, at(103));
    assert_eq!(all_alike(&mut engines), (40, Vec::new()));
}

/// In one batch nothing of it happens, on no device: more is deleted than stays.
#[test]
fn most_of_a_collection_in_one_go_waits_as_a_whole() {
    let mut engines = three(100);
    let batch: Vec<WriteRequest> =
        (0..60).map(|n| WriteRequest::new(bot(), Intent::Delete { object: id(n) })).collect();
    let answers = engines[2].write(&batch, at(10)).expect("the disk works").0;
    assert!(
        answers.iter().all(|answer| answer.as_ref().unwrap().status == OperationStatus::AwaitingDecision)
    );
    meet(&mut engines, at(11));
    let (standing, open) = all_alike(&mut engines);
    assert_eq!((standing, open.len()), (100, 1));
    answer(&mut engines[1], &user(), open[0], Choice::Remote, at(12)).expect("let in");
    meet(&mut engines, at(13));
    assert_eq!(all_alike(&mut engines), (40, Vec::new()));
}

/// In a small collection the author's device sees that little would be left, and says so to the others.
#[test]
fn half_of_a_small_collection_waits() {
    let mut engines = three(24);
    for n in 0..20 {
        let written = delete(&mut engines[2], &bot(), n, at(10)).expect("logged");
        assert_eq!(written.card.is_some(), n >= 12, "deletion {n}");
    }
    meet(&mut engines, at(11));
    let (standing, open) = all_alike(&mut engines);
    assert_eq!((standing, open.len()), (12, 1));
    answer(&mut engines[0], &user(), open[0], Choice::Decline, at(12)).expect("declined");
    meet(&mut engines, at(13));
    assert_eq!(all_alike(&mut engines), (12, Vec::new()));
}

#[test]
fn who_deletes_a_few_never_meets_it() {
    let mut engines = three(60);
    let mut ordinary = |n: usize, actor: &Actor| {
        let written = delete(&mut engines[2], actor, n, at(10 + n as u64)).expect("deleted");
        assert_eq!(written.status, OperationStatus::Completed, "deletion {n}");
    };
    // Each of two for themselves, and neither most of what there is.
    for n in 0..14 {
        ordinary(2 * n, &user());
        ordinary(2 * n + 1, &bot());
    }
    meet(&mut engines, at(100));
    assert_eq!(all_alike(&mut engines), (32, Vec::new()));
    // Small collections are emptied without a word.
    let mut engines = three(9);
    for n in 0..9 {
        delete(&mut engines[2], &user(), n, at(10)).expect("deleted");
    }
    meet(&mut engines, at(100));
    assert_eq!(all_alike(&mut engines), (0, Vec::new()));
}

/// Many deletions with as much other work between them are no burst.
#[test]
fn a_stretch_is_counted_in_entries() {
    let mut engines = three(100);
    for n in 0..40 {
        delete(&mut engines[2], &bot(), n, at(10)).expect("deleted");
        for edit in 0..11 {
            merge_patch(&mut engines[2], "n099", json!({ "a": n * 100 + edit }), at(10));
        }
    }
    meet(&mut engines, at(11));
    assert_eq!(all_alike(&mut engines), (60, Vec::new()));
}

/// Choices that repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 += 1;
        let hash = domain::hash("dice", &[&self.0.to_be_bytes()]);
        (u64::from_be_bytes(*hash.0.first_chunk().unwrap()) % sides as u64) as usize
    }
}

/// Late joiners that hear everything in orders of their own: answers before what they answer, and one of two answers first.
#[test]
fn whoever_joins_late_comes_to_the_same_in_any_order() {
    for choices in
        [vec![Choice::Decline], vec![Choice::Remote], vec![Choice::Decline, Choice::Remote], vec![]]
    {
        let mut engines = three(60);
        let fresh: Vec<u64> = (10..16).collect();
        let mut fresh: Vec<Engine> =
            fresh.iter().map(|seed| member(&mut engines[0], *seed, Role::Member).0).collect();
        let mut written = Written::new();
        engines.iter_mut().for_each(|engine| take(&mut written, engine));
        for n in 0..40 {
            delete(&mut engines[2], &bot(), n, at(10)).expect("logged");
            take(&mut written, &mut engines[2]);
        }
        meet(&mut engines, at(11));
        let card = cards(&engines[0])[0].card;
        for (engine, choice) in engines.iter_mut().zip(&choices) {
            answer(engine, &user(), card, *choice, at(12)).expect("answered");
            take(&mut written, engine);
        }
        meet(&mut engines, at(13));
        let expected = all_alike(&mut engines);
        for (seed, engine) in fresh.iter_mut().enumerate() {
            let mut dice = Dice(seed as u64 * 1_000_003);
            deliver(engine, &written, &mut engines, &mut dice);
            let (standing, found, _) = state(engine);
            let found: Vec<Digest> = found.into_iter().map(|(card, ..)| card).collect();
            assert_eq!((standing, found), expected, "order {seed}, {choices:?}");
        }
    }
}

/// What was written: for each log its segments, as they were signed and as somebody holds them by now.
type Written = BTreeMap<LogId, Vec<Segment>>;

/// Takes up what a device has written since the last time.
fn take(written: &mut Written, author: &mut Engine) {
    let log = author.own_log();
    let segments = written.get(&log);
    let last = segments.and_then(|segments| segments.last());
    let from = last.map_or(LogSeq(0), |last| last.first.plus(u64::from(last.count)));
    if let Some(segment) = author.segment(&log, from, None).expect("readable") {
        written.entry(log).or_default().push(segment);
    }
}

fn deliver(engine: &mut Engine, written: &Written, source: &mut [Engine; 3], dice: &mut Dice) {
    for _ in 0..20_000 {
        let open = |(log, segments): &(&LogId, &Vec<Segment>)| {
            let last = segments.last().unwrap();
            engine.size_of_log(log) < last.first.plus(u64::from(last.count))
        };
        let open: Vec<&LogId> = written.iter().filter(open).map(|(log, _)| log).collect();
        if open.is_empty() {
            return;
        }
        let log = open[dice.roll(open.len())];
        let from = engine.size_of_log(log);
        let holder = &mut source[dice.roll(3)];
        let segment = match written[log].iter().find(|segment| segment.first == from) {
            Some(segment) if dice.roll(8) > 0 => segment.clone(),
            _ => holder.segment(log, from, None).expect("readable").expect("more"),
        };
        // Refused while its author is not known to be a member.
        let _ = engine.receive(holder.device(), &segment, at(dice.roll(100_000) as u64));
    }
    panic!("some of it was never taken");
}

/// An answer about one deletion that was let through does not wait for another that is held.
#[test]
fn what_is_decided_elsewhere_does_not_wait_for_what_is_held() {
    let mut engines = three(100);
    merge_patch(&mut engines[0], "n050", json!({ "kept": true }), at(9));
    delete(&mut engines[1], &user(), 50, at(9)).expect("deleted");
    runs_wild_apart(&mut engines);
    let asked = cards(&engines[0]).into_iter().find(|card| card.kind == "delete_edit").expect("asked").card;
    answer(&mut engines[0], &user(), asked, Choice::Local, at(101)).expect("kept");
    meet(&mut engines, at(102));
    let (standing, open) = all_alike(&mut engines);
    assert_eq!((standing, open.len()), (100 - FREE, 1));
}

fn runs_wild_apart(engines: &mut [Engine; 3]) {
    for n in 0..60 {
        delete(&mut engines[2], &bot(), n, at(10)).expect("logged");
    }
    meet(engines, at(100));
}

/// A member whose daemon holds nothing back, and answers itself as it likes.
#[test]
fn a_dishonest_device_is_held_by_the_others() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 4, Role::Member);
    for n in 0..60 {
        put(&mut ada, id(n).as_str(), json!({ "n": n }), at(1));
    }
    sync(&mut ada, &mut bob, at(2));
    let mut records = vec![hand.session()];
    for n in 0..40 {
        let subject = subject(&ada, id(n).as_str());
        let tombstone = Tombstone { heads: vec![Digest(subject.incarnation.0)], keeps: None };
        records.push(hand.record(EntryKind::TOMBSTONE, Some(subject), &cbor::encode(&tombstone)));
    }
    let first = LogSeq(1 + FREE as u64);
    let answer = |actor: &str, lets_in, from| Answer {
        device: hand.identity.device(),
        epoch: hand.log.epoch,
        actor: actor.parse().unwrap(),
        from,
        through: LogSeq(1_000),
        lets_in,
    };
    let about = Some(subject(&ada, id(50).as_str()));
    let payloads = [
        // As an agent, in whose name the entry is; of other deletions; of no place; and nothing that can be read.
        (bot(), cbor::encode(&Burst::Answer(answer("user:ada", true, first)))),
        (user(), cbor::encode(&Burst::Answer(answer("user:nobody", true, first)))),
        (user(), cbor::encode(&Burst::Answer(answer("user:ada", true, LogSeq(2_000))))),
        (user(), b"nonsense".to_vec()),
    ];
    for (actor, payload) in payloads {
        let mut record = hand.record(EntryKind::BURST, about.clone(), &payload);
        record.entry.actor = actor;
        records.push(record);
    }
    // One that says of others that they begin says it of itself alone.
    records.push(hand.record(EntryKind::BURST, about.clone(), &cbor::encode(&Burst::Begins)));
    let segment = hand.send(&records);
    ada.receive(hand.identity.device(), &segment, at(3)).expect("received");
    sync(&mut ada, &mut bob, at(4));
    for engine in [&mut ada, &mut bob] {
        assert_eq!((standing(engine), cards(engine).len()), (60 - FREE, 1));
        assert_eq!(engine.operations(Some(OperationStatus::Failed), 100).unwrap().len(), 3);
        assert!(engine.verify(|_, _| {}).expect("readable").ok);
        assert_eq!(delete(engine, &user(), 59, at(5)).expect("deleted").status, OperationStatus::Completed);
    }
    assert_eq!(state(&mut ada).1, state(&mut bob).1);
}

/// A disk that remembers what was on it after each sync.
#[derive(Clone, Debug, Default)]
struct Remembering(Disk, Arc<Mutex<Vec<Vec<u8>>>>);

impl redb::StorageBackend for Remembering {
    fn len(&self) -> Result<u64, std::io::Error> {
        redb::StorageBackend::len(&self.0)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.1.lock().unwrap().push(self.0.0.lock().unwrap().clone());
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }
}

/// What an answer has set free and a crash kept from being carried out is carried out with the next write.
#[test]
fn an_answer_is_carried_out_after_a_crash() {
    let disk = Remembering::default();
    let backend = disk.clone();
    let location = Location::Backend(Arc::new(move || Box::new(backend.clone())));
    let made = Config { location, ..config(1, &Disk::default()) };
    let mut ada = Engine::create(made, "desk", START).expect("a new workspace");
    for n in 0..40 {
        put(&mut ada, id(n).as_str(), json!({}), at(1));
    }
    for n in 0..30 {
        delete(&mut ada, &user(), n, at(2)).expect("logged");
    }
    let (card, held) = (cards(&ada)[0].card, standing(&mut ada));
    disk.1.lock().unwrap().clear();
    answer(&mut ada, &user(), card, Choice::Remote, at(3)).expect("let in");
    assert_eq!((standing(&mut ada), cards(&ada).len()), (10, 0));
    let mut between = 0;
    for bytes in std::mem::take(&mut *disk.1.lock().unwrap()) {
        let kept = Disk(Arc::new(Mutex::new(bytes)));
        let mut ada = Engine::open(config(1, &kept)).expect("opened");
        let (found, open) = (standing(&mut ada), cards(&ada).len());
        between += usize::from(found == held && open == 0);
        write(&mut ada, Intent::Checkpoint, at(4)).expect("written");
        assert_eq!(standing(&mut ada), if open == 0 { 10 } else { held });
        assert!(ada.verify(|_, _| {}).expect("readable").ok);
    }
    assert!(between > 0, "some crash came between the answer and what it lets in");
}
