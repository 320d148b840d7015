//! Rebirths and late work by devices that are not honest, or that nobody expected: whatever comes first, it comes to the
//! same everywhere, and nothing is dropped by anybody who may not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::{Value, json};
use syncd_engine::conflict::Choice;
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::log::LogRecord;
use syncd_engine::workspace::{Remains, Resolve};
use syncd_engine::{Engine, Intent, WriteRequest, guard};
use syncd_schema::entry::{Rebirth, Subject, Tombstone, Upto};
use syncd_schema::message::Segment;
use syncd_schema::{
    DeviceId, EntryKind, Epoch, Incarnation, LogSeq, Manifest, ObjectState, OperationId, Role, UnixMicros,
    cbor, domain,
};

fn at(n: u64) -> UnixMicros {
    START.plus(60_000_000 + n)
}

fn verified(engine: &mut Engine) {
    let report = engine.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

/// What must be the same on every device.
fn portrait(engine: &mut Engine) -> Value {
    let mut cards: Vec<Value> = Vec::new();
    for summary in engine.cards(false).expect("cards") {
        let card = engine.card(&summary.card).expect("readable").expect("known");
        cards.push(json!([card.summary.card, card.summary.kind, card.operations, card.values]));
    }
    cards.sort_by_key(ToString::to_string);
    let status = engine.status().expect("status");
    let object = engine.get(&"n1".parse().unwrap()).expect("readable");
    let (held, refused) = (status.held, status.refused);
    json!({ "cards": cards, "held": held, "refused": refused, "object": object, "count": status.objects })
}

impl Hand {
    fn rebirth(&mut self, old: &Subject, new: Option<Incarnation>, upto: Vec<Upto>) -> LogRecord {
        let payload = cbor::encode(&Rebirth { new, upto });
        self.record(EntryKind::REBIRTH, Some(old.clone()), &payload)
    }

    /// The birth of the life after another, and that life.
    fn born_after(&mut self, old: &Subject, value: &Value) -> (LogRecord, Incarnation) {
        let manifest = Manifest::free_form(old.collection.clone());
        let after = Some(&old.incarnation);
        let birth = document::birth_after(&old.object, &old.collection, value, &manifest, after);
        let change = birth.expect("born").change;
        let incarnation = Incarnation(change.hash.0);
        let subject = Subject { incarnation, ..old.clone() };
        (self.change(subject, change), incarnation)
    }

    fn upto(&self, seq: u64) -> Upto {
        Upto { device: self.log.device, epoch: self.log.epoch, seq: LogSeq(seq) }
    }
}

/// A change that is whole to whoever does not read its operations.
fn garbage(change: &LogRecord) -> EncodedChange {
    let bytes = change.payload.clone().unwrap();
    for at in (bytes.len() / 2..bytes.len()).rev() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x7f;
        let hash = domain::sha256(&bytes[8..]);
        bytes[4..8].copy_from_slice(&hash.0[..4]);
        if guard::scan(&bytes).is_err() {
            return EncodedChange { hash, bytes };
        }
    }
    panic!("no byte breaks it")
}

/// A workspace in which one member writes by hand, and an admin lets the object begin anew by hand.
struct Stage {
    ada: Engine,
    writer: Hand,
    admin: Hand,
    subject: Subject,
    /// The writer's segments.
    said: Vec<Segment>,
}

impl Stage {
    fn new() -> Self {
        let (mut ada, _) = owner(1);
        let mut writer = Hand::enrolled(&mut ada, 2, Role::Member);
        let mut admin = Hand::enrolled(&mut ada, 3, Role::Admin);
        writer.governance = ada.governance().heads.clone();
        admin.time = at(0);
        let records = [writer.session(), writer.birth("n1", json!({"k": 0}))];
        let subject = records[1].entry.subject.clone().unwrap();
        let first = writer.send(&records);
        ada.receive(ada.device(), &first, at(0)).expect("taken");
        Self { ada, writer, admin, subject, said: vec![first] }
    }

    fn say(&mut self, record: LogRecord) {
        let segment = self.writer.send(&[record]);
        self.ada.receive(self.ada.device(), &segment, at(1)).expect("taken");
        self.said.push(segment);
    }

    fn edit(&mut self, value: Value) -> LogRecord {
        let actor = self.writer.actor();
        self.writer.edit(&mut self.ada, "n1", value, actor)
    }

    /// The admin's only segment.
    fn begins_anew(&mut self, upto: Vec<Upto>) -> Segment {
        let (birth, life) = self.admin.born_after(&self.subject, &json!({"k": "new"}));
        let mut rebirth = self.admin.rebirth(&self.subject, Some(life), upto);
        rebirth.entry.requires = vec![birth.entry.operation];
        self.admin.send(&[birth, rebirth])
    }

    /// A device that has heard of the members and of nothing else.
    fn newcomer(&mut self, seed: u64) -> Engine {
        let (mut engine, _) = member(&mut self.ada, seed, Role::Member);
        let log = self.ada.own_log();
        let segment = self.ada.segment(&log, LogSeq(0), None).unwrap().expect("its log");
        engine.receive(self.ada.device(), &segment, at(2)).expect("taken");
        engine
    }
}

#[test]
fn whatever_is_heard_of_first_it_comes_to_the_same() {
    let mut stage = Stage::new();
    let record = stage.edit(json!({"k": "dropped"}));
    stage.say(record);
    let dropped = stage.writer.tree.size().0;
    let mut record = stage.edit(json!({"k": "late"}));
    record.entry.idempotency_key = Some("once".to_owned());
    stage.say(record);
    // The same key for something else, about the same object.
    let mut record = stage.edit(json!({"k": "late too"}));
    record.entry.idempotency_key = Some("once".to_owned());
    stage.say(record);
    let good = stage.edit(json!({"broken": "in its operations"}));
    let broken = garbage(&good);
    let record = stage.writer.change(stage.subject.clone(), broken);
    stage.say(record);
    // Built on what nobody else has.
    let unsent = stage.edit(json!({"unsent": 1}));
    let mut fork = stage.ada.with_object(&stage.subject.object, Clone::clone).unwrap().unwrap();
    let bytes = unsent.payload.unwrap();
    fork.load_incremental(&bytes).unwrap();
    let manifest = Manifest::free_form("notes".parse().unwrap());
    let edit = syncd_engine::Edit::MergePatch(json!({"built": "on it"}));
    let actor = stage.writer.actor();
    let change = document::apply(&mut fork, &edit, actor, 0, &manifest).unwrap().unwrap();
    let record = stage.writer.change(stage.subject.clone(), change);
    stage.say(record);
    let mut record = stage.edit(json!({"k": "requires what nobody has"}));
    record.entry.requires = vec![OperationId::at(at(9), 3)];
    stage.say(record);
    let heads = stage.ada.get(&stage.subject.object).unwrap().unwrap().heads;
    let tombstone = cbor::encode(&Tombstone { heads, keeps: None });
    let record = stage.writer.record(EntryKind::TOMBSTONE, Some(stage.subject.clone()), &tombstone);
    stage.say(record);
    let upto = vec![stage.writer.upto(dropped)];
    let anew = stage.begins_anew(upto);
    let mut first: Option<Value> = None;
    for place in 0..=stage.said.len() {
        let mut engine = stage.newcomer(10 + place as u64);
        let mut segments = stage.said.clone();
        segments.insert(place, anew.clone());
        let from = stage.ada.device();
        for segment in &segments {
            engine.receive(from, segment, at(3)).unwrap_or_else(|error| panic!("at {place}: {error}"));
        }
        verified(&mut engine);
        let here = portrait(&mut engine);
        assert_eq!(engine.cards(false).unwrap().iter().filter(|card| card.kind == "late_work").count(), 1);
        assert!(
            here.to_string().contains("requires what nobody has") && here.to_string().contains("unreadable")
        );
        let expected = first.get_or_insert_with(|| here.clone());
        assert_eq!(&here, expected, "the rebirth came at {place}");
    }
    // All of it in one go, after the rebirth or before.
    stage.ada.receive(stage.ada.device(), &anew, at(4)).expect("taken");
    assert_eq!(Some(portrait(&mut stage.ada)), first);
    let (mut late, _) = member(&mut stage.ada, 40, Role::Admin);
    sync(&mut late, &mut stage.ada, at(5));
    let mut of_ada = portrait(&mut stage.ada);
    of_ada["cards"] = portrait(&mut late)["cards"].clone();
    assert_eq!(portrait(&mut late), of_ada);
    verified(&mut late);
    // An answer drops all of it, on a device that had let in some and on one that never did.
    let card = late.cards(false).unwrap().into_iter().find(|card| card.kind == "late_work").unwrap();
    let resolve =
        Resolve { card: card.card, choice: Choice::Decline, value: None, pick: None, because: None };
    write(&mut late, Intent::Resolve(resolve), at(6)).expect("declined");
    sync(&mut late, &mut stage.ada, at(7));
    for engine in [&mut late, &mut stage.ada] {
        assert_eq!(engine.status().unwrap().held, 0);
        assert!(engine.cards(false).unwrap().iter().all(|card| card.kind != "late_work"));
        verified(engine);
    }
}

#[test]
fn a_rebirth_of_what_nobody_knows_harms_nothing() {
    let mut stage = Stage::new();
    let other = Subject { object: "n2".parse().unwrap(), ..stage.subject.clone() };
    let unheard = Subject { incarnation: Incarnation([7; 32]), ..stage.subject.clone() };
    let before = value(&mut stage.ada, "n1");
    let places = (0..2_048u32).map(|n| Upto {
        device: DeviceId(domain::sha256(&(n / 64).to_be_bytes()).0),
        epoch: Epoch(n % 64),
        seq: LogSeq(u64::MAX),
    });
    let mut places: Vec<Upto> = places.collect();
    places.sort_unstable_by_key(|upto| (upto.device, upto.epoch));
    let nothing = stage.writer.upto(0);
    let records = [
        stage.admin.session(),
        stage.admin.rebirth(&other, None, vec![]),
        stage.admin.rebirth(&unheard, Some(Incarnation([9; 32])), places),
        // Itself.
        stage.admin.rebirth(&unheard, Some(unheard.incarnation), vec![nothing]),
    ];
    let segment = stage.admin.send(&records);
    stage.ada.receive(stage.ada.device(), &segment, at(3)).expect("taken");
    verified(&mut stage.ada);
    assert_eq!(value(&mut stage.ada, "n1"), before);
    assert_eq!(stage.ada.get(&other.object).unwrap().map(|view| view.value), None);
    assert!(stage.ada.cards(false).unwrap().is_empty());
    assert_eq!(stage.ada.list(None).unwrap().len(), 1);
    // The ids can be used.
    put(&mut stage.ada, "n2", json!({"k": 2}), at(4));
    merge_patch(&mut stage.ada, "n1", json!({"k": 1}), at(5));
    let mut bob = stage.newcomer(20);
    sync(&mut bob, &mut stage.ada, at(6));
    assert_eq!((value(&mut bob, "n2"), value(&mut bob, "n1")), (json!({"k": 2}), json!({"k": 1})));
    verified(&mut bob);
}

#[test]
fn places_at_the_ends_of_logs_and_beyond_mean_what_they_say() {
    for (upto, late) in [(0, 1), (1, 1), (3, 0), (u64::MAX, 0)] {
        let mut stage = Stage::new();
        let record = stage.edit(json!({"k": "last"}));
        stage.say(record);
        // The birth is dropped wherever it stands.
        let place = stage.writer.upto(upto);
        let rebirth = stage.admin.rebirth(&stage.subject, None, vec![place]);
        let segment = stage.admin.send(&[rebirth]);
        stage.ada.receive(stage.ada.device(), &segment, at(3)).expect("taken");
        verified(&mut stage.ada);
        let view = stage.ada.get(&stage.subject.object).unwrap();
        assert_eq!(view.is_some(), late > 0, "{upto}: {view:?}");
        assert_eq!(stage.ada.status().unwrap().held, late, "{upto}");
        assert_eq!(stage.ada.list(None).unwrap().len(), 0);
        // What comes later is dropped only where that was said.
        let mut record = stage.edit_of_nothing();
        record.entry.subject = Some(stage.subject.clone());
        stage.say(record);
        let more = u64::from(upto < u64::MAX);
        assert_eq!(stage.ada.status().unwrap().held, late + more, "{upto}");
        verified(&mut stage.ada);
    }
}

impl Stage {
    /// An edit of the object as it was born.
    fn edit_of_nothing(&mut self) -> LogRecord {
        let (collection, object) = (self.subject.collection.clone(), self.subject.object.clone());
        let manifest = Manifest::free_form(collection.clone());
        let mut birth = document::birth(&object, &collection, &json!({"k": 0}), &manifest).unwrap();
        let edit = syncd_engine::Edit::MergePatch(json!({"k": "later"}));
        let actor = self.writer.actor();
        let change = document::apply(&mut birth.doc, &edit, actor, 0, &manifest).unwrap().unwrap();
        self.writer.change(self.subject.clone(), change)
    }
}

#[test]
fn a_rebirth_by_somebody_who_may_not_drops_nothing() {
    let mut stage = Stage::new();
    let record = stage.edit(json!({"k": "stays"}));
    stage.say(record);
    let place = stage.admin.upto(9);
    let rebirth = stage.writer.rebirth(&stage.subject, None, vec![place]);
    stage.say(rebirth);
    assert_eq!(value(&mut stage.ada, "n1"), json!({"k": "stays"}));
    assert_eq!(stage.ada.status().unwrap().refused, 1);
    assert!(!stage.ada.owes_erasure());
    // Nor one that cannot be read, by somebody who may.
    let broken = stage.admin.record(EntryKind::REBIRTH, Some(stage.subject.clone()), &[0x82, 0x01]);
    let segment = stage.admin.send(&[broken]);
    stage.ada.receive(stage.ada.device(), &segment, at(3)).expect("taken");
    assert_eq!(value(&mut stage.ada, "n1"), json!({"k": "stays"}));
    assert_eq!(stage.ada.status().unwrap().refused, 2);
    assert!(!stage.ada.owes_erasure());
    verified(&mut stage.ada);
}

#[test]
fn a_life_that_never_arrives_is_waited_for_and_nothing_is_dropped_before() {
    let mut stage = Stage::new();
    let mut rebirth =
        stage.admin.rebirth(&stage.subject, Some(Incarnation([5; 32])), vec![stage.writer.upto(9)]);
    rebirth.entry.requires = vec![OperationId::at(at(50), 1)];
    let segment = stage.admin.send(&[rebirth]);
    stage.ada.receive(stage.ada.device(), &segment, at(3)).expect("taken");
    assert_eq!((value(&mut stage.ada, "n1"), stage.ada.status().unwrap().held), (json!({"k": 0}), 1));
    // Work goes on, and the object can still begin anew.
    let record = stage.edit(json!({"k": 1}));
    stage.say(record);
    let intent = Intent::Rebirth { object: "n1".parse().unwrap(), remains: Remains::Shown };
    write(&mut stage.ada, intent, at(4)).expect("renewed");
    assert_eq!(value(&mut stage.ada, "n1"), json!({"k": 1}));
    verified(&mut stage.ada);
}

#[test]
fn two_rebirths_in_one_commit_add_up() {
    let mut stage = Stage::new();
    let record = stage.edit(json!({"k": "one"}));
    stage.say(record);
    let one = stage.writer.tree.size().0;
    let record = stage.edit(json!({"k": "two"}));
    stage.say(record);
    let two = stage.writer.tree.size().0;
    let record = stage.edit(json!({"k": "three"}));
    stage.say(record);
    let places = [stage.writer.upto(one), stage.writer.upto(two)];
    let records = places.map(|place| stage.admin.rebirth(&stage.subject, None, vec![place]));
    let segment = stage.admin.send(&records);
    stage.ada.receive(stage.ada.device(), &segment, at(3)).expect("taken");
    verified(&mut stage.ada);
    assert_eq!(stage.ada.status().unwrap().held, 1);
    let cards = stage.ada.cards(false).unwrap();
    assert_eq!(cards.len(), 1, "{cards:?}");
    let card = stage.ada.card(&cards[0].card).unwrap().unwrap();
    assert_eq!(
        card.values.iter().map(|side| side.said.value.clone()).collect::<Vec<_>>(),
        [json!({"set": {"k": "three"}})]
    );
    let mut bob = stage.newcomer(20);
    sync(&mut bob, &mut stage.ada, at(6));
    assert_eq!(portrait(&mut bob), portrait(&mut stage.ada));
    verified(&mut bob);
}

#[test]
fn what_requires_something_late_or_dropped_goes_on_when_it_is_dropped() {
    let mut stage = Stage::new();
    let record = stage.edit(json!({"k": "late"}));
    let required = record.entry.operation;
    stage.say(record);
    let mut record = stage.writer.birth("n2", json!({"k": 2}));
    record.entry.requires = vec![required];
    stage.say(record);
    let anew = stage.begins_anew(vec![]);
    for place in 0..=stage.said.len() {
        let mut engine = stage.newcomer(20 + place as u64);
        let mut segments = stage.said.clone();
        segments.insert(place, anew.clone());
        for segment in &segments {
            engine.receive(stage.ada.device(), segment, at(3)).expect("taken");
        }
        verified(&mut engine);
        let drops = stage.writer.upto(9);
        let mut admin = Hand { time: at(100_000), ..stage.admin_again() };
        let rebirth = admin.rebirth(&stage.subject, None, vec![drops]);
        let segment = admin.send(&[rebirth]);
        engine.receive(stage.ada.device(), &segment, at(4)).expect("taken");
        assert_eq!(value(&mut engine, "n2"), json!({"k": 2}), "the rebirth came at {place}");
        assert_eq!(engine.status().unwrap().held, 0);
        verified(&mut engine);
    }
}

impl Stage {
    /// The admin's hand as it is now.
    fn admin_again(&self) -> Hand {
        Hand {
            identity: identity(3),
            key: self.admin.key.clone(),
            log: self.admin.log,
            tree: self.admin.tree.clone(),
            governance: self.admin.governance.clone(),
            time: self.admin.time,
            session: self.admin.session,
            entropy: Seeded::new(5),
        }
    }
}

#[test]
fn large_late_work_costs_little_to_look_at() {
    let mut stage = Stage::new();
    let anew = stage.begins_anew(vec![]);
    let mut engine = stage.newcomer(20);
    engine.receive(stage.ada.device(), &stage.said[0].clone(), at(2)).expect("taken");
    engine.receive(stage.ada.device(), &anew, at(2)).expect("taken");
    // As many operations as one change may have, and as many bytes, again and again.
    let (collection, object) = (stage.subject.collection.clone(), stage.subject.object.clone());
    let manifest = Manifest::free_form(collection.clone());
    let birth = document::birth(&object, &collection, &json!({"k": 0}), &manifest).unwrap();
    for n in 0..6u64 {
        let mut doc = birth.doc.clone();
        let many: Vec<u64> = (0..20_000).collect();
        let edit =
            syncd_engine::Edit::MergePatch(json!({"many": many, "large": "x".repeat(400_000), "n": n}));
        let actor = stage.writer.actor();
        let change = document::apply(&mut doc, &edit, actor, 0, &manifest).unwrap().unwrap();
        let record = stage.writer.change(stage.subject.clone(), change);
        let segment = stage.writer.send(&[record]);
        engine.receive(stage.ada.device(), &segment, at(3)).expect("taken");
    }
    let card = engine.cards(false).unwrap().remove(0);
    let card = engine.card(&card.card).unwrap().unwrap();
    assert_eq!(card.values.len(), 6, "all are named");
    let shown = serde_json::to_string(&card).unwrap();
    assert!(shown.len() < 2 << 20, "{} bytes", shown.len());
    assert!(shown.contains("xxx") && shown.contains("\"more\":"));
    assert_eq!(engine.get(&object).unwrap().unwrap().state, ObjectState::Conflicted);
}

#[test]
fn a_flood_hides_nobody_else_and_what_nobody_was_shown_is_not_dropped() {
    let mut stage = Stage::new();
    let mut quiet = Hand::enrolled(&mut stage.ada, 5, Role::Member);
    let session = quiet.session();
    let actor = quiet.actor();
    let records = [session, quiet.edit(&mut stage.ada, "n1", json!({"quiet": "here"}), actor)];
    let quiet = quiet.send(&records);
    for n in 0..150 {
        let record = stage.edit(json!({ "n": n }));
        stage.say(record);
    }
    stage.ada.receive(stage.ada.device(), &quiet, at(3)).expect("taken");
    let anew = stage.begins_anew(vec![]);
    stage.ada.receive(stage.ada.device(), &anew, at(3)).expect("taken");
    let mut left = 151;
    let mut seen: Vec<OperationId> = Vec::new();
    for round in 0..3 {
        assert_eq!(stage.ada.status().unwrap().held, left);
        let cards = stage.ada.cards(false).unwrap();
        let [card] = cards.as_slice() else { panic!("{cards:?}") };
        let card = stage.ada.card(&card.card).unwrap().unwrap();
        assert_eq!(serde_json::to_string(&card).unwrap().contains("quiet"), round == 0);
        assert!(card.operations.iter().all(|operation| !seen.contains(operation)));
        seen.extend(&card.operations);
        left -= card.operations.len() as u64;
        let resolve = Resolve {
            card: card.summary.card,
            choice: Choice::Decline,
            value: None,
            pick: None,
            because: None,
        };
        write(&mut stage.ada, Intent::Resolve(resolve), at(10 + round)).expect("declined");
        verified(&mut stage.ada);
    }
    assert_eq!((left, stage.ada.status().unwrap().held), (0, 0));
    assert!(stage.ada.cards(false).unwrap().is_empty());
}

#[test]
fn a_call_repeated_after_a_rebirth_is_answered_as_before() {
    let (mut ada, _) = owner(1);
    let call = |intent: Intent, key: &str| {
        let key = Some(key.to_owned());
        WriteRequest { idempotency_key: key, ..WriteRequest::new(user(), intent) }
    };
    put(&mut ada, "n1", json!({"k": 0}), at(1));
    let edit = syncd_engine::Edit::MergePatch(json!({"k": "secret"}));
    let edit = call(Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, "e");
    let renew = call(
        Intent::Rebirth { object: "n1".parse().unwrap(), remains: Remains::Value(json!({"k": 1})) },
        "r",
    );
    let calls = [edit, renew];
    let first: Vec<_> = ada.write(&calls, at(2)).unwrap().0.into_iter().map(Result::unwrap).collect();
    let again: Vec<_> = ada.write(&calls, at(3)).unwrap().0.into_iter().map(Result::unwrap).collect();
    for (first, again) in first.iter().zip(&again) {
        assert!(again.repeated && again.operation == first.operation);
    }
    assert_eq!(value(&mut ada, "n1"), json!({"k": 1}));
    let dropped = ada.operation(first[0].operation).unwrap().expect("its operation is known");
    assert_eq!(dropped.object, Some("n1".parse().unwrap()));
    let explained = serde_json::to_string(&ada.explain(&first[0].operation.to_string()).unwrap()).unwrap();
    assert!(explained.contains("began anew"), "{explained}");
    assert!(
        ada.history(&"n1".parse().unwrap()).unwrap().iter().all(|item| item.operation != first[0].operation)
    );
    verified(&mut ada);
}
