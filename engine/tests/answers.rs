//! Answers that contradict each other are asked about again, on every device the same, whoever hears of which first.
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
use syncd_engine::workspace::{CardView, ObjectView, Resolve, ResolveError};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_evidence::Record;
use syncd_schema::entry::{Ending, Tombstone};
use syncd_schema::{Digest, EntryKind, ObjectState, OperationType, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Ada and Bob, who answer, and Eve, by whom alone they hear of each other.
struct Three {
    all: [Engine; 3],
    now: u64,
}

const ADA: usize = 0;
const BOB: usize = 1;
const EVE: usize = 2;

impl Three {
    fn with(value: Value) -> Self {
        let (mut ada, _) = owner(1);
        put(&mut ada, "n1", value, at(0));
        let (mut bob, _) = member(&mut ada, 2, Role::Member);
        let (eve, _) = member(&mut ada, 3, Role::Member);
        for n in 0..2 {
            sync(&mut bob, &mut ada, at(1 + n));
        }
        let mut three = Self { all: [ada, bob, eve], now: 100 };
        three.meet([ADA, BOB]);
        three
    }

    fn tick(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    fn sync(&mut self, one: usize, other: usize) {
        let now = at(self.tick());
        let (low, high) = self.all.split_at_mut(one.max(other));
        sync(&mut high[0], &mut low[one.min(other)], now);
    }

    /// Eve hears of these two in this order, and tells each of the other; then all have the same to say.
    fn meet(&mut self, order: [usize; 2]) -> Vec<Digest> {
        for _ in 0..2 {
            order.into_iter().for_each(|one| self.sync(EVE, one));
        }
        let cards = open(&self.all[EVE]);
        let there = view(&mut self.all[EVE]);
        for engine in &mut self.all {
            assert_eq!(open(engine), cards);
            let here = view(engine);
            assert_eq!((&here.value, here.state, &here.heads), (&there.value, there.state, &there.heads));
            let report = engine.verify(|_, _| {}).expect("verifies");
            assert!(report.ok, "{:?}", report.findings);
        }
        cards
    }

    fn write(&mut self, who: usize, actor: &str, intent: Intent) -> Result<Written, WriteError> {
        let now = at(self.tick());
        let request = WriteRequest::new(actor.parse().unwrap(), intent);
        self.all[who].write(&[request], now).expect("the disk works").0.remove(0)
    }

    fn edit(&mut self, who: usize, patch: Value) -> Written {
        let now = at(self.tick());
        merge_patch(&mut self.all[who], "n1", patch, now)
    }

    /// An agent's edit that waits for somebody, known to all.
    fn propose(&mut self, who: usize, patch: Value) -> Digest {
        let edit = Edit::MergePatch(patch);
        let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
        let card = self.write(who, "agent:claw", intent).expect("proposed").card.expect("a card");
        assert_eq!(self.meet([ADA, BOB]), [card]);
        card
    }

    fn answer(&mut self, who: usize, resolve: Resolve) -> Written {
        self.write(who, "user:ada", Intent::Resolve(resolve)).expect("resolved")
    }
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

fn open(engine: &Engine) -> Vec<Digest> {
    engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect()
}

fn card(engine: &mut Engine, card: Digest) -> CardView {
    engine.card(&card).expect("readable").expect("known")
}

fn by(card: Digest, choice: Choice) -> Resolve {
    Resolve { card, choice, value: None, pick: None, because: None }
}

fn merged(card: Digest, value: Value) -> Resolve {
    Resolve { value: Some(value), ..by(card, Choice::Merge) }
}

#[test]
fn a_proposal_let_in_by_one_and_declined_by_another_is_asked_about_again() {
    for (adas, bobs) in [
        (Choice::Remote, Choice::Decline),
        (Choice::Decline, Choice::Remote),
        (Choice::Local, Choice::Remote),
        (Choice::Remote, Choice::Fork),
    ] {
        for order in [[ADA, BOB], [BOB, ADA]] {
            for stays in [true, false] {
                let mut three = Three::with(json!({"n": 1, "other": 1}));
                let first = three.propose(BOB, json!({"n": 2}));
                three.answer(ADA, by(first, adas));
                three.answer(BOB, by(first, bobs));
                let cards = three.meet(order);
                let [next] = cards.as_slice() else { panic!("{adas:?} {bobs:?}: {cards:?}") };
                for engine in &mut three.all {
                    assert_eq!(view(engine).state, ObjectState::Conflicted);
                    let shown = card(engine, *next);
                    assert_eq!(
                        (shown.summary.kind, shown.summary.path.as_str()),
                        ("conflicting_answers", "/n")
                    );
                    assert_eq!((shown.generation, shown.supersedes.as_slice()), (1, &[first][..]));
                    assert_eq!(shown.may_decide, "a person", "a machine proposed it");
                    let mut values: Vec<Value> =
                        shown.values.iter().map(|side| side.said.value.clone()).collect();
                    values.sort_by_key(ToString::to_string);
                    assert_eq!(values, [json!(1), json!(2)]);
                    let old = card(engine, first);
                    assert_eq!((old.summary.status, old.superseded_by), ("superseded", vec![*next]));
                }
                let late = three.write(ADA, "user:ada", Intent::Resolve(by(first, adas)));
                assert!(
                    matches!(late, Err(WriteError::Resolve(ResolveError::Superseded { next: asked, .. })) if asked == *next),
                    "{late:?}"
                );
                let was = view(&mut three.all[EVE]).value["n"].clone();
                let other = if was == json!(1) { json!(2) } else { json!(1) };
                three.edit(BOB, json!({"other": 2}));
                three.answer(EVE, by(*next, if stays { Choice::Local } else { Choice::Remote }));
                assert_eq!(three.meet(order), []);
                let expected = if stays { was } else { other };
                assert_eq!(view(&mut three.all[ADA]).value, json!({"n": expected, "other": 2}));
                let ended = card(&mut three.all[ADA], *next);
                assert_eq!(ended.summary.status, "resolved");
            }
        }
    }
}

#[test]
fn answers_to_a_proposal_that_come_to_the_same_are_one() {
    let value = |n: u64| move |card: Digest| merged(card, json!({"n": n}));
    let plain = |choice: Choice| move |card: Digest| by(card, choice);
    type Form<'f> = &'f dyn Fn(Digest) -> Resolve;
    let pairs: [(Form<'_>, Form<'_>, u64); 5] = [
        (&plain(Choice::Remote), &plain(Choice::Remote), 2),
        (&plain(Choice::Decline), &plain(Choice::Decline), 1),
        (&plain(Choice::Local), &plain(Choice::Fork), 1),
        (&plain(Choice::Remote), &value(2), 2),
        (&plain(Choice::Decline), &value(1), 1),
    ];
    for (adas, bobs, n) in pairs {
        let mut three = Three::with(json!({"n": 1}));
        let first = three.propose(ADA, json!({"n": 2}));
        three.answer(ADA, adas(first));
        three.answer(BOB, bobs(first));
        assert_eq!(three.meet([BOB, ADA]), [], "{:?} {:?}", adas(first), bobs(first));
        assert_eq!(view(&mut three.all[EVE]).value, json!({"n": n}));
        assert_eq!(card(&mut three.all[ADA], first).summary.status, "resolved");
    }
}

#[test]
fn two_values_given_for_one_proposal_are_one_card_although_they_differ_in_several_places() {
    let mut three = Three::with(json!({"n": 1, "m": 1, "text": "as it was\n"}));
    let first = three.propose(BOB, json!({"n": 2, "m": 2}));
    three.answer(ADA, merged(first, json!({"n": 3, "m": 3, "text": "as Ada wants it\n"})));
    three.answer(BOB, merged(first, json!({"n": 4, "m": 4, "text": "as Bob wants it\n"})));
    let cards = three.meet([BOB, ADA]);
    assert_eq!(cards.len(), 1);
    let shown = card(&mut three.all[EVE], cards[0]);
    assert_eq!((shown.summary.path.as_str(), shown.values.len()), ("", 2));
    let wanted = json!({"n": 5, "m": 4, "text": "as both want it\n"});
    three.answer(EVE, merged(cards[0], wanted.clone()));
    assert_eq!(three.meet([ADA, BOB]), []);
    assert_eq!(view(&mut three.all[ADA]).value, wanted);
}

#[test]
fn a_fork_of_contradicting_answers_keeps_both() {
    let mut three = Three::with(json!({"n": 1}));
    let first = three.propose(BOB, json!({"n": 2}));
    three.answer(ADA, by(first, Choice::Remote));
    three.answer(BOB, by(first, Choice::Decline));
    let next = three.meet([BOB, ADA])[0];
    let shown = view(&mut three.all[EVE]).value;
    let written = three.answer(EVE, by(next, Choice::Fork));
    assert_eq!(three.meet([ADA, BOB]), []);
    let forked = three.all[ADA].get(written.object.as_ref().unwrap()).unwrap().expect("forked");
    let both = [shown["n"].clone(), forked.value["n"].clone()];
    assert!(both == [json!(1), json!(2)] || both == [json!(2), json!(1)], "{both:?}");
}

/// A list whose middle item Ada deletes and Bob edits; the card about that.
fn item_in_question() -> (Three, Digest) {
    let mut three = Three::with(json!({"items": [{"k": 1}, {"k": 2}, {"k": 3}]}));
    let patch = |path: &str, op: Value| {
        let mut op = op;
        op["path"] = json!(path);
        let edit = Edit::JsonPatch(serde_json::from_value(json!([op])).unwrap());
        Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }
    };
    three.write(ADA, "user:ada", patch("/items/1", json!({"op": "remove"}))).expect("removed");
    let replace = json!({"op": "replace", "value": 20});
    three.write(BOB, "user:bob", patch("/items/1/k", replace)).expect("replaced");
    let cards = three.meet([ADA, BOB]);
    assert_eq!(cards.len(), 1);
    (three, cards[0])
}

#[test]
fn after_three_generations_of_answers_a_person_decides() {
    let (mut three, mut asked) = item_in_question();
    for generation in 1..=3 {
        let sides = card(&mut three.all[EVE], asked).operations;
        for (who, agent, side) in [(ADA, "agent:a", sides[0]), (BOB, "agent:b", sides[1])] {
            let pick = Resolve { pick: Some(side), ..by(asked, Choice::Merge) };
            three.write(who, agent, Intent::Resolve(pick)).expect("an agent may");
        }
        let cards = three.meet([ADA, BOB]);
        let [next] = cards.as_slice() else { panic!("{cards:?}") };
        let shown = card(&mut three.all[EVE], *next);
        assert_eq!((shown.generation, shown.supersedes.as_slice()), (generation, &[asked][..]));
        asked = *next;
    }
    assert_eq!(card(&mut three.all[EVE], asked).may_decide, "a person");
    let refused = three.write(EVE, "agent:a", Intent::Resolve(by(asked, Choice::Local)));
    assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
    three.answer(EVE, by(asked, Choice::Local));
    assert_eq!(three.meet([BOB, ADA]), []);
}

#[test]
fn an_item_kept_deleted_by_one_and_brought_back_by_another_is_asked_about_again() {
    for order in [[ADA, BOB], [BOB, ADA]] {
        for back in [true, false] {
            let (mut three, first) = item_in_question();
            let shown = card(&mut three.all[ADA], first);
            let operation = |gone: bool| {
                let side = shown.values.iter().find(|side| side.said.value.is_null() == gone);
                side.expect("a side").said.operation
            };
            let pick = |gone: bool| Resolve { pick: operation(gone), ..by(first, Choice::Merge) };
            three.answer(ADA, pick(true));
            three.answer(BOB, pick(false));
            let cards = three.meet(order);
            let [next] = cards.as_slice() else { panic!("{cards:?}") };
            let shown = card(&mut three.all[EVE], *next);
            assert_eq!((shown.summary.kind, shown.summary.path.as_str()), ("conflicting_answers", "/items"));
            assert_eq!((shown.generation, shown.supersedes.as_slice()), (1, &[first][..]));
            let with = shown
                .values
                .iter()
                .find(|side| side.said.value.as_array().is_some_and(|items| (items.len() == 3) == back));
            let pick = with.expect("each side says what the list would be").said.operation;
            three.answer(EVE, Resolve { pick, ..by(*next, Choice::Merge) });
            assert_eq!(three.meet(order), []);
            let items = view(&mut three.all[ADA]).value["items"].clone();
            let expected = match back {
                true => json!([{"k": 1}, {"k": 20}, {"k": 3}]),
                false => json!([{"k": 1}, {"k": 3}]),
            };
            assert_eq!(items, expected);
        }
    }
}

#[test]
fn what_two_put_in_the_place_of_a_deleted_item_does_not_stand_there_twice_unasked() {
    let (mut three, first) = item_in_question();
    three.answer(ADA, merged(first, json!({"k": 7})));
    three.answer(BOB, merged(first, json!({"k": 8})));
    let cards = three.meet([BOB, ADA]);
    let [next] = cards.as_slice() else { panic!("{cards:?}") };
    let items = |three: &mut Three| view(&mut three.all[EVE]).value["items"].clone();
    assert_eq!(items(&mut three).as_array().unwrap().len(), 4, "both are there meanwhile");
    let side = card(&mut three.all[EVE], *next).values[0].clone();
    three.answer(EVE, Resolve { pick: side.said.operation, ..by(*next, Choice::Merge) });
    assert_eq!(three.meet([ADA, BOB]), []);
    assert_eq!(items(&mut three), side.said.value);
}

#[test]
fn of_a_text_both_sides_are_not_lost_when_each_is_kept_by_somebody() {
    for rule in ["text", "text_review"] {
        let mut three = Three::with(json!({"text": "draft"}));
        let manifest = json!({"collection": "notes", "fields": {"/text": rule}}).to_string().into_bytes();
        three.write(ADA, "user:ada", Intent::Govern(EntryKind::MANIFEST, manifest)).expect("governed");
        let set = |text: &str| {
            let edit = Edit::SetText { path: "/text".to_owned(), text: text.to_owned() };
            Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }
        };
        three.write(ADA, "user:ada", set("price is 100 dollars\n")).expect("written");
        three.meet([ADA, BOB]);
        three.write(ADA, "user:ada", set("price is 250 dollars\n")).expect("written");
        three.write(BOB, "user:bob", set("price is 300 dollars\n")).expect("written");
        let first = three.meet([ADA, BOB])[0];
        let sides = card(&mut three.all[ADA], first).operations;
        for (who, pick) in [(ADA, sides[0]), (BOB, sides[1])] {
            three.answer(who, Resolve { pick: Some(pick), ..by(first, Choice::Merge) });
        }
        let cards = three.meet([ADA, BOB]);
        let [next] = cards.as_slice() else { panic!("{rule}: {cards:?}") };
        let shown = card(&mut three.all[EVE], *next);
        let mut said: Vec<String> = shown.values.iter().map(|side| side.said.value.to_string()).collect();
        said.sort();
        assert!(said[0].contains("250") && said[1].contains("300"), "{rule}: {said:?}");
        assert_eq!(shown.supersedes, [first], "{rule}");
        let pick = shown.values.iter().find(|side| side.said.value.to_string().contains("300"));
        let pick = pick.expect("Bob's").said.operation;
        three.answer(EVE, Resolve { pick, ..by(*next, Choice::Merge) });
        assert_eq!(three.meet([BOB, ADA]), [], "{rule}");
        assert_eq!(view(&mut three.all[ADA]).value["text"], "price is 300 dollars\n", "{rule}");
    }
}

#[test]
fn an_object_that_stays_as_it_is_or_with_another_value_is_asked_about_again() {
    let mut three = Three::with(json!({"k": 1}));
    three.write(ADA, "user:ada", Intent::Delete { object: "n1".parse().unwrap() }).expect("deleted");
    three.edit(BOB, json!({"k": 2}));
    let first = three.meet([ADA, BOB])[0];
    three.answer(ADA, by(first, Choice::Local));
    three.answer(BOB, merged(first, json!({"k": 3})));
    let cards = three.meet([ADA, BOB]);
    let [next] = cards.as_slice() else { panic!("{cards:?}") };
    assert_eq!(card(&mut three.all[EVE], *next).supersedes, [first]);
    three.answer(EVE, by(*next, Choice::Local));
    assert_eq!(three.meet([BOB, ADA]), []);
    assert_eq!(view(&mut three.all[ADA]).state, ObjectState::Clean);
}

#[test]
fn whoever_deletes_both_sides_has_decided_until_work_arrives_that_was_not_seen() {
    let mut three = Three::with(json!({"k": 0, "other": 0}));
    three.edit(ADA, json!({"k": 1}));
    three.edit(BOB, json!({"k": 2}));
    let first = three.meet([ADA, BOB]);
    assert_eq!(first.len(), 1);
    three.write(ADA, "user:ada", Intent::Delete { object: "n1".parse().unwrap() }).expect("deleted");
    three.sync(EVE, ADA);
    assert_eq!(open(&three.all[EVE]), []);
    let ended = card(&mut three.all[EVE], first[0]).resolution.expect("decided");
    assert_eq!(ended.option, "delete");
    assert_eq!(view(&mut three.all[EVE]).state, ObjectState::Tombstoned);
    three.edit(BOB, json!({"other": 1}));
    let cards = three.meet([ADA, BOB]);
    assert!(cards.len() == 2 && cards.contains(&first[0]), "{cards:?}");
    let deletion = cards.into_iter().find(|card| *card != first[0]).expect("the other");
    three.answer(EVE, by(deletion, Choice::Local));
    assert_eq!(three.meet([BOB, ADA]), first);
}

#[test]
fn a_deletion_that_was_chosen_says_so_on_every_device() {
    // Of an object that was deleted and edited, and of one of two lives.
    for twice in [false, true] {
        let mut three = Three::with(json!({"k": 1}));
        let object = if twice { "n2" } else { "n1" };
        if twice {
            for (who, k) in [(ADA, 1), (BOB, 2)] {
                let now = at(three.tick());
                put(&mut three.all[who], object, json!({ "k": k }), now);
            }
        } else {
            three.write(ADA, "user:ada", Intent::Delete { object: "n1".parse().unwrap() }).expect("deleted");
            three.edit(BOB, json!({"k": 2}));
        }
        let first = three.meet([ADA, BOB])[0];
        let choice = if twice { Choice::Local } else { Choice::Remote };
        let written = three.answer(ADA, by(first, choice));
        assert_eq!(three.meet([BOB, ADA]), []);
        for engine in &mut three.all {
            let ended = card(engine, first).resolution.expect("decided");
            assert_eq!((ended.operation, ended.option.as_str()), (written.operation, choice.word()));
            let operation = engine.operation(written.operation).unwrap().expect("known");
            assert_eq!(operation.kind, OperationType::Resolve);
            let explained = engine.explain(&written.operation.to_string()).unwrap().expect("explained");
            let said = format!("It answers card {first}: {}.", choice.word());
            assert!(explained.because.contains(&said), "{explained:?}");
            let history = engine.history(&object.parse().unwrap()).unwrap();
            let item =
                history.iter().find(|item| item.operation == written.operation).expect("in its history");
            assert_eq!(item.kind, "ending");
            let covers = |record: &Record| operation.evidence.contains(&record.id);
            let evidence = engine.evidence(1_000).unwrap();
            assert!(
                evidence
                    .iter()
                    .filter(|record| covers(record))
                    .all(|r| r.operation == OperationType::Resolve)
            );
            let words = format!("card {first}: {} by operation {}", choice.word(), written.operation);
            assert!(evidence.iter().any(|record| record.note.as_ref() == Some(&words)));
        }
    }
}

#[test]
fn a_deletion_that_names_no_option_deletes_nothing() {
    for (choice, deletes) in [("keep_remote", true), ("keep", false), ("", false)] {
        let (mut ada, _) = owner(1);
        put(&mut ada, "n1", json!({"k": 1}), at(0));
        let mut hand = Hand::enrolled(&mut ada, 9, Role::Member);
        let heads = view(&mut ada).heads;
        let deletes_it = Tombstone { heads, keeps: None };
        let ending = Ending { deletes: deletes_it, card: Digest([7; 32]), choice: choice.to_owned() };
        let about = subject(&ada, "n1");
        let record = hand.record(EntryKind::ENDING, Some(about), &syncd_schema::cbor::encode(&ending));
        let segment = hand.send(&[record]);
        ada.receive(hand.identity.device(), &segment, at(10)).expect("kept as evidence");
        assert_eq!(view(&mut ada).state == ObjectState::Tombstoned, deletes, "{choice:?}");
        assert_eq!(ada.findings().unwrap().is_empty(), deletes);
    }
}
