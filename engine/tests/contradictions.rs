//! What contradicts is seen, shown with every side and its author, kept, and ended only by somebody who knew of it.
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
use std::collections::BTreeSet;
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{Competing, ObjectView, Resolve};
use syncd_engine::{Edit, Engine, Intent};
use syncd_evidence::RecordKind;
use syncd_schema::{ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Ada and Bob hold the same object and have not heard of each other since.
fn apart(value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", value, at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut bob, &mut ada, at(2));
    (ada, bob)
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

/// What two devices show once they have met, which must be the same.
fn meet(ada: &mut Engine, bob: &mut Engine) -> Vec<Competing> {
    sync(bob, ada, at(100));
    let (here, there) = (view(ada), view(bob));
    let plain = |view: &ObjectView| serde_json::to_value((&view.conflicts, view.state, &view.value)).unwrap();
    assert_eq!(plain(&here), plain(&there));
    for engine in [ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
    here.conflicts
}

fn said(conflict: &Competing) -> BTreeSet<String> {
    conflict.values.iter().map(|side| side.value.to_string()).collect()
}

fn records(engine: &Engine, kind: RecordKind) -> usize {
    engine.evidence(1_000).expect("readable").iter().filter(|record| record.kind == kind).count()
}

#[test]
fn two_values_of_one_field_are_both_shown_with_their_authors_until_somebody_decides() {
    let (mut ada, disk) = owner(1);
    put(&mut ada, "n1", json!({"title": "old", "n": 1}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut bob, &mut ada, at(2));
    let adas = merge_patch(&mut ada, "n1", json!({"title": "Ada's"}), at(10)).operation;
    let bobs = merge_patch(&mut bob, "n1", json!({"title": "Bob's", "n": 2}), at(11)).operation;
    assert_eq!(view(&mut ada).state, ObjectState::Clean);

    let conflicts = meet(&mut ada, &mut bob);
    assert_eq!(conflicts.len(), 1, "the other field is Bob's alone");
    assert_eq!(conflicts[0].path, "/title");
    assert_eq!(said(&conflicts[0]), ["\"Ada's\"", "\"Bob's\""].map(str::to_owned).into());
    let by: BTreeSet<_> = conflicts[0].values.iter().map(|side| (side.device, side.operation)).collect();
    assert_eq!(by, [(Some(ada.device()), Some(adas)), (Some(bob.device()), Some(bobs))].into());
    assert!(conflicts[0].values.iter().all(|side| side.actor.is_some() && !side.at.is_empty()));
    assert_eq!(view(&mut ada).state, ObjectState::Conflicted);
    assert_eq!(ada.list(None).unwrap()[0].state, ObjectState::Conflicted);
    assert_eq!((records(&ada, RecordKind::Conflict), records(&bob, RecordKind::Conflict)), (1, 1));

    // It outlives the process, and syncing again finds nothing new.
    ada.close().expect("closes");
    let mut ada = Engine::open(config(1, &disk)).expect("opens");
    sync(&mut bob, &mut ada, at(20));
    assert_eq!(
        serde_json::to_value(&view(&mut ada).conflicts).unwrap(),
        serde_json::to_value(&conflicts).unwrap()
    );
    assert_eq!(records(&ada, RecordKind::Conflict), 1);

    // An unrelated write decides nothing; one of the field does, on every device.
    merge_patch(&mut bob, "n1", json!({"n": 3}), at(30));
    assert_eq!(view(&mut bob).state, ObjectState::Conflicted);
    merge_patch(&mut bob, "n1", json!({"title": "both"}), at(31));
    assert_eq!(view(&mut bob).state, ObjectState::Clean);
    assert_eq!(records(&bob, RecordKind::Resolution), 1);
    assert!(meet(&mut ada, &mut bob).is_empty());
    assert_eq!(view(&mut ada).value, json!({"title": "both", "n": 3}));
    assert_eq!(records(&ada, RecordKind::Resolution), 1);
}

#[test]
fn what_is_the_same_or_elsewhere_contradicts_nothing() {
    let (mut ada, mut bob) = apart(json!({"title": "old", "n": 1, "m": {"a": 1, "b": 1}}));
    merge_patch(&mut ada, "n1", json!({"title": "same", "m": {"a": 2}}), at(10));
    merge_patch(&mut bob, "n1", json!({"title": "same", "m": {"b": 2}, "n": 2}), at(11));
    assert!(meet(&mut ada, &mut bob).is_empty());
    assert_eq!(view(&mut ada).state, ObjectState::Clean);
    assert_eq!(records(&ada, RecordKind::Conflict), 0);
}

#[test]
fn work_inside_of_what_another_deletes_is_shown() {
    for turned in [false, true] {
        let (mut ada, mut bob) = apart(json!({"m": {"a": {"x": 1}}, "l": [{"x": 1}]}));
        let (one, other) = if turned { (&mut bob, &mut ada) } else { (&mut ada, &mut bob) };
        merge_patch(one, "n1", json!({"m": null}), at(10));
        merge_patch(other, "n1", json!({"m": {"a": {"x": 2}}}), at(11));
        let conflicts = meet(&mut ada, &mut bob);
        assert_eq!(conflicts.len(), 1);
        assert_eq!(conflicts[0].path, "/m");
        assert_eq!(said(&conflicts[0]), [r#"{"a":{"x":2}}"#, "null"].map(str::to_owned).into());
    }
}

#[test]
fn a_number_rewritten_twice_in_a_text_is_seen() {
    let (mut ada, mut bob) = apart(json!({"text": "draft"}));
    let edit = |engine: &mut Engine, text: &str, n: u64| {
        let edit = Edit::SetText { path: "/text".to_owned(), text: text.to_owned() };
        let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
        write(engine, intent, at(n)).expect("written");
    };
    edit(&mut ada, "price is 100 dollars\n", 5);
    sync(&mut bob, &mut ada, at(6));
    edit(&mut ada, "price is 250 dollars\n", 10);
    edit(&mut bob, "price is 300 dollars\n", 11);
    let conflicts = meet(&mut ada, &mut bob);
    assert_eq!(conflicts.len(), 1, "{conflicts:?}");
    assert_eq!(conflicts[0].path, "/text");
    assert_eq!(conflicts[0].values.len(), 2);
}

#[test]
fn three_devices_agree_whoever_meets_whom_first() {
    let (mut ada, mut bob) = apart(json!({"k": 0}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(3));
    sync(&mut eve, &mut ada, at(4));
    merge_patch(&mut ada, "n1", json!({"k": 1}), at(10));
    merge_patch(&mut bob, "n1", json!({"k": 2}), at(11));
    merge_patch(&mut eve, "n1", json!({"k": 3}), at(12));
    let two = meet(&mut ada, &mut bob);
    sync(&mut eve, &mut bob, at(13));
    let three = meet(&mut ada, &mut eve);
    assert_eq!((two[0].values.len(), three[0].values.len()), (2, 3));
    assert_ne!(two[0].card, three[0].card, "a further competitor makes another");
    let shown = meet(&mut ada, &mut bob);
    assert_eq!(shown[0].card, three[0].card);
    assert_eq!(records(&bob, RecordKind::Conflict), 2);
}

#[test]
fn more_than_can_be_compared_is_let_in_with_a_finding_until_somebody_has_seen_it_all() {
    for by_answer in [true, false] {
        let (mut ada, mut bob) = apart(json!({"k": 0, "other": 0}));
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        for n in 0..2 {
            sync(&mut eve, &mut ada, at(3 + n));
        }
        // Room for two changes of two authors, and not for three of three.
        for engine in [&mut ada, &mut bob, &mut eve] {
            engine.compare_at_most(8);
        }
        for (n, engine) in [&mut ada, &mut bob, &mut eve].into_iter().enumerate() {
            merge_patch(engine, "n1", json!({"k": n + 1}), at(10 + n as u64));
        }
        let asked = meet(&mut ada, &mut bob);
        assert_eq!((asked.len(), asked[0].values.len()), (1, 2));
        sync(&mut eve, &mut bob, at(110));
        sync(&mut ada, &mut eve, at(111));
        // The question stands as it was; of Eve's value there is a finding, and the history.
        for engine in [&mut ada, &mut bob, &mut eve] {
            let found = engine.findings().unwrap();
            let wide = found.iter().find(|finding| finding.text.contains("more than can be compared"));
            let wide = wide.unwrap_or_else(|| panic!("{found:?}"));
            assert_eq!((wide.place.as_str(), wide.kind.word()), ("object n1", "limit_reached"));
            assert!(wide.next.contains("write what is wanted"), "{wide:?}");
            assert_eq!(engine.history(&"n1".parse().unwrap()).unwrap().len(), 4);
            assert!(engine.verify(|_, _| {}).expect("verifies").ok);
        }
        assert_eq!(view(&mut bob).conflicts[0].card, asked[0].card);
        // Whoever has seen it all writes what is wanted. An answer to the question as it stands does not say what becomes of
        // Eve's value, and does not end what she asks.
        if by_answer {
            let card = asked[0].card.as_ref().unwrap().parse().unwrap();
            let value = Some(json!(8));
            let resolve = Resolve { card, choice: Choice::Merge, value, pick: None, because: None };
            write(&mut bob, Intent::Resolve(resolve), at(120)).expect("answered");
            sync(&mut eve, &mut bob, at(121));
            assert_eq!((view(&mut bob).conflicts.len(), view(&mut eve).conflicts.len()), (0, 1));
        }
        merge_patch(&mut bob, "n1", json!({"k": 9}), at(122));
        for engine in [&mut ada, &mut eve] {
            sync(&mut bob, engine, at(130));
        }
        for engine in [&mut ada, &mut bob, &mut eve] {
            let shown = view(engine);
            assert_eq!((shown.conflicts.len(), &shown.value["k"]), (0, &json!(9)), "{by_answer}");
        }
        // Later work is compared again.
        merge_patch(&mut ada, "n1", json!({"other": 1}), at(140));
        merge_patch(&mut bob, "n1", json!({"other": 2}), at(141));
        assert_eq!(meet(&mut ada, &mut bob).len(), 1);
    }
}
