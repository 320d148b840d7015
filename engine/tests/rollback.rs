//! Answers taken back: what competed competes again, on every device, and nothing that anybody wrote is lost.
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
use syncd_engine::workspace::{Resolve, UndoError};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::{Digest, EntryKind, OperationId, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn apart(value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    let manifest =
        br#"{"collection":"notes","fields":{"/text":"text","/lines":"text_review","/stock":"counter"}}"#;
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest.to_vec()), at(0)).expect("set");
    put(&mut ada, "n1", value, at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    sync(&mut bob, &mut ada, at(3));
    (ada, bob)
}

fn value(engine: &mut Engine) -> Value {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known").value
}

fn open(engine: &Engine) -> Vec<Digest> {
    let mut open: Vec<Digest> =
        engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
    open.sort_unstable();
    open
}

fn meet(ada: &mut Engine, bob: &mut Engine) -> Vec<Digest> {
    sync(bob, ada, at(5_000));
    sync(bob, ada, at(5_001));
    assert_eq!((value(ada), open(ada)), (value(bob), open(bob)));
    for engine in [&mut *ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
    open(ada)
}

fn resolve(engine: &mut Engine, card: Digest, choice: Choice, n: u64) -> Written {
    let resolve = Resolve { card, choice, value: None, pick: None, because: None };
    write(engine, Intent::Resolve(resolve), at(n)).expect("resolved")
}

fn undo(engine: &mut Engine, operation: OperationId, n: u64) -> Result<Written, WriteError> {
    write(engine, Intent::Undo { operation }, at(n))
}

fn edit(engine: &mut Engine, patch: Value, n: u64) {
    let edit = Edit::MergePatch(patch);
    write(engine, Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, at(n)).expect("written");
}

fn sides(engine: &mut Engine, card: Digest) -> Vec<Value> {
    let view = engine.card(&card).expect("readable").expect("known");
    view.values.into_iter().map(|side| side.said.value).collect()
}

#[test]
fn what_competed_competes_again() {
    let text = |first: &str| json!(format!("{first}\nsecond\nthird\n"));
    let start = || {
        json!({"t": "old", "m": {"a": 1, "b": {"c": 1}}, "list": ["x", "y"], "text": text("first"),
               "lines": text("first"), "gone": 1, "stock": 5, "other": 0})
    };
    // What Ada does, what Bob does, where, and what each of them wants to see there.
    let patch = |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    let remove = |path: &str| json!([{"op": "remove", "path": path}]);
    let cases: [(Value, Value, &str); 8] = [
        (patch("/t", json!("hers")), patch("/t", json!("his")), "/t"),
        (remove("/gone"), patch("/gone", json!(2)), "/gone"),
        (remove("/m"), patch("/m/b/c", json!(2)), "/m"),
        (patch("/m/b/c", json!(3)), patch("/m/b", json!(4)), "/m/b"),
        (patch("/list/0", json!("hers")), patch("/list/0", json!("his")), "/list"),
        (patch("/text", text("Hers")), patch("/text", text("Mine")), "/text"),
        (patch("/lines", text("Hers")), patch("/lines", text("Mine")), "/lines"),
        (patch("/t", json!({"deep": [1]})), patch("/t", json!({"deep": [2]})), "/t"),
    ];
    for (adas, bobs, path) in &cases {
        for choice in [Choice::Local, Choice::Remote] {
            for here in [true, false] {
                let (mut ada, mut bob) = apart(start());
                let work = |patch: &Value| Edit::JsonPatch(serde_json::from_value(patch.clone()).unwrap());
                for (engine, patch, n) in [(&mut ada, adas, 10), (&mut bob, bobs, 11)] {
                    let object = "n1".parse().unwrap();
                    let edit = Intent::Edit { object, base: None, edit: work(patch) };
                    write(engine, edit, at(n)).expect("written");
                }
                let cards = meet(&mut ada, &mut bob);
                let [card] = cards.as_slice() else { panic!("{path}: {cards:?}") };
                let (answering, other) = if here { (&mut ada, &mut bob) } else { (&mut bob, &mut ada) };
                let answered = resolve(answering, *card, choice, 20);
                sync(other, answering, at(21));
                edit(other, json!({"other": 7}), 22);
                let context = format!("{path} {choice:?} {here}");
                undo(answering, answered.operation, 30).unwrap_or_else(|error| panic!("{context}: {error}"));
                let again = meet(&mut ada, &mut bob);
                let [next] = again.as_slice() else { panic!("{context}: {again:?} {}", value(&mut ada)) };
                for engine in [&mut ada, &mut bob] {
                    assert_eq!(engine.card(card).unwrap().unwrap().superseded_by, [*next], "{context}");
                    assert_eq!(sides(engine, *next).len(), 2, "{context}");
                    assert_eq!(value(engine)["other"], 7, "{context}");
                }
                let taken = ada.taken_back(answered.operation).unwrap();
                assert_eq!((taken.asks, taken.stays.len()), (vec![*next], 0));
                assert!(matches!(
                    undo(&mut ada, answered.operation, 31),
                    Err(WriteError::Undo(UndoError::ChangedSince { .. }))
                ));
                // Either side can still be had.
                resolve(&mut ada, *next, Choice::Remote, 40);
                assert_eq!(meet(&mut ada, &mut bob), [], "{context}");
            }
        }
    }
}

/// An agent of Bob's proposes a title, Ada writes another, and somebody decides.
fn proposed(after: Option<Value>) -> (Engine, Engine, Digest) {
    let (mut ada, mut bob) = apart(json!({"t": "old", "other": 0}));
    let proposal = Edit::MergePatch(json!({"t": "bot"}));
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit: proposal };
    let request = WriteRequest::new("agent:bot".parse().unwrap(), intent);
    let written = bob.write(&[request], at(10)).expect("the disk works").0.remove(0).expect("proposed");
    meet(&mut ada, &mut bob);
    if let Some(after) = after {
        edit(&mut ada, after, 12);
    }
    meet(&mut ada, &mut bob);
    (ada, bob, written.card.expect("a card"))
}

#[test]
fn an_answer_about_a_held_change_is_asked_again() {
    for after in [None, Some(json!({"t": "human"})), Some(json!({"other": 3}))] {
        let expected = match &after {
            Some(patch) if patch.get("t").is_some() => "human",
            _ => "old",
        };
        for choice in [Choice::Remote, Choice::Decline, Choice::Local, Choice::Fork] {
            for here in [true, false] {
                let (mut ada, mut bob, card) = proposed(after.clone());
                let answering = if here { &mut ada } else { &mut bob };
                let answered = resolve(answering, card, choice, 20);
                undo(answering, answered.operation, 30).expect("taken back");
                let again = meet(&mut ada, &mut bob);
                let context = format!("{after:?} {choice:?} {here}");
                let [next] = again.as_slice() else { panic!("{context}: {again:?}") };
                assert_eq!(value(&mut ada)["t"], expected, "{context}");
                let mut said = sides(&mut bob, *next);
                said.sort_by_key(ToString::to_string);
                assert_eq!(said, [json!("bot"), json!(expected)], "{context}");
                let taken = ada.taken_back(answered.operation).unwrap();
                assert_eq!(
                    (taken.asks, taken.stays.len()),
                    (vec![*next], usize::from(choice == Choice::Fork))
                );
                let machine =
                    Resolve { card: *next, choice: Choice::Local, value: None, pick: None, because: None };
                let machine = WriteRequest::new("agent:bot".parse().unwrap(), Intent::Resolve(machine));
                assert!(ada.write(&[machine], at(39)).unwrap().0.remove(0).is_err(), "a person is asked");
                resolve(&mut ada, *next, Choice::Local, 40);
                assert_eq!(meet(&mut ada, &mut bob), []);
                assert_eq!(value(&mut bob)["t"], expected, "{context}");
            }
        }
    }
}

#[test]
fn work_made_without_knowledge_of_it_is_not_lost() {
    let (mut ada, mut bob) = apart(json!({"t": "old"}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(4));
    edit(&mut ada, json!({"t": "hers"}), 10);
    edit(&mut bob, json!({"t": "his"}), 11);
    let card = meet(&mut ada, &mut bob)[0];
    let answered = resolve(&mut ada, card, Choice::Local, 20);
    edit(&mut eve, json!({"t": "Eve's"}), 21);
    // Both take it back, and it is one question.
    sync(&mut bob, &mut ada, at(22));
    undo(&mut ada, answered.operation, 30).expect("taken back");
    undo(&mut bob, answered.operation, 31).expect("taken back");
    assert_eq!(meet(&mut ada, &mut bob).len(), 1);
    sync(&mut eve, &mut ada, at(40));
    let cards = meet(&mut ada, &mut eve);
    let mut said: Vec<Value> = cards.iter().flat_map(|card| sides(&mut ada, *card)).collect();
    said.sort_by_key(ToString::to_string);
    said.dedup();
    assert_eq!(said, [json!("Eve's"), json!("hers"), json!("his")]);
}

#[test]
fn what_cannot_be_asked_again_is_not_taken_back() {
    let (mut ada, mut bob) = apart(json!({"t": "old"}));
    write(&mut ada, Intent::Delete { object: "n1".parse().unwrap() }, at(10)).expect("deleted");
    edit(&mut bob, json!({"t": "new"}), 11);
    let card = meet(&mut ada, &mut bob)[0];
    let kept = resolve(&mut ada, card, Choice::Local, 20);
    let refused = undo(&mut ada, kept.operation, 30).expect_err("refused");
    assert!(matches!(refused, WriteError::Undo(UndoError::NotReopened(about)) if about == card), "{refused}");
    assert_eq!(meet(&mut ada, &mut bob), []);
    assert_eq!(value(&mut ada), json!({"t": "new"}));
}
