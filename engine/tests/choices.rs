//! What each option of a card does is what it says, and a decided card still shows what it was decided between.
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
use syncd_engine::workspace::{CardView, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::{Digest, EntryKind, ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn apart(manifest: &Value, value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest.to_string().into_bytes()), at(0))
        .expect("set");
    put(&mut ada, "n1", value, at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    sync(&mut bob, &mut ada, at(3));
    (ada, bob)
}

fn texts() -> Value {
    json!({"collection": "notes", "fields": {"/body": "text", "/lines": "text_review"}})
}

fn value(engine: &mut Engine) -> Value {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known").value
}

fn meet(ada: &mut Engine, bob: &mut Engine) -> Vec<Digest> {
    sync(bob, ada, at(5_000));
    sync(bob, ada, at(5_001));
    let open = |engine: &Engine| -> Vec<Digest> {
        let mut open: Vec<Digest> = engine.cards(false).unwrap().into_iter().map(|card| card.card).collect();
        open.sort_unstable();
        open
    };
    assert_eq!((value(ada), open(ada)), (value(bob), open(bob)));
    for engine in [&mut *ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
    open(ada)
}

fn answer(card: Digest, choice: Choice) -> Resolve {
    Resolve { card, choice, value: None, pick: None, because: None }
}

fn resolve(engine: &mut Engine, resolve: Resolve, n: u64) -> Result<Written, WriteError> {
    write(engine, Intent::Resolve(resolve), at(n))
}

fn set(engine: &mut Engine, patch: Value, n: u64) {
    let edit = Edit::MergePatch(patch);
    write(engine, Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, at(n)).expect("written");
}

fn card(engine: &mut Engine, card: Digest) -> CardView {
    engine.card(&card).expect("readable").expect("known")
}

fn said(view: &CardView) -> Vec<Value> {
    let mut said: Vec<Value> = view.values.iter().map(|side| side.said.value.clone()).collect();
    said.sort_by_key(ToString::to_string);
    said
}

#[test]
fn a_value_given_for_a_part_of_a_text_takes_the_place_of_that_part() {
    let text = |first: &str| format!("{first}\n\nThe second paragraph.\n\nThe third one.\n");
    for field in ["body", "lines"] {
        for here in [true, false] {
            let (mut ada, mut bob) = apart(&texts(), json!({field: text("What was here."), "n": 1}));
            set(&mut ada, json!({field: text("Ada wrote this instead.")}), 10);
            set(&mut bob, json!({field: text("Bob has another opinion!")}), 11);
            let cards = meet(&mut ada, &mut bob);
            let [asked] = cards.as_slice() else { panic!("{field}: {cards:?}") };
            let view = card(&mut ada, *asked);
            let whole = value(&mut ada)[field].clone();
            assert!(view.values.iter().all(|side| !side.shown), "{field}: {whole} is neither side");
            let words: String = view.options.iter().map(|option| option.consequence.as_str()).collect();
            assert!(!words.contains("shown here"), "{words}");
            let given = Resolve { value: Some(json!("Both agree.")), ..answer(*asked, Choice::Merge) };
            let list = Resolve { value: Some(json!(["no text"])), ..answer(*asked, Choice::Merge) };
            let engine = if here { &mut ada } else { &mut bob };
            resolve(engine, list, 19).expect_err("a text is wanted");
            resolve(engine, given, 20).expect("resolved");
            assert_eq!(meet(&mut ada, &mut bob), [], "{field}");
            assert_eq!(value(&mut bob), json!({field: text("Both agree."), "n": 1}));
            let decided = [card(&mut ada, *asked), card(&mut bob, *asked)];
            assert_eq!(said(&decided[0]), said(&view), "what it was decided between");
            assert_eq!(said(&decided[1]), said(&view));
        }
    }
}

#[test]
fn lines_that_stand_there_twice_are_replaced_where_they_were_changed() {
    let (mut ada, mut bob) = apart(&texts(), json!({"lines": "same\nold\nmid\nsame\nold\nend\n"}));
    set(&mut ada, json!({"lines": "same\nold\nmid\nsame\nhers\nend\n"}), 10);
    set(&mut bob, json!({"lines": "same\nold\nmid\nsame\nhis\nend\n"}), 11);
    let asked = meet(&mut ada, &mut bob)[0];
    let given = Resolve { value: Some(json!("old")), ..answer(asked, Choice::Merge) };
    resolve(&mut ada, given, 20).expect("resolved");
    assert_eq!(meet(&mut ada, &mut bob), []);
    assert_eq!(value(&mut bob)["lines"], "same\nold\nmid\nsame\nold\nend\n");
}

#[test]
fn forking_what_was_deleted_and_edited_does_what_it_says() {
    for deletes_here in [true, false] {
        let (mut ada, mut bob) = apart(&json!({"collection": "notes"}), json!({"t": "old"}));
        let delete = Intent::Delete { object: "n1".parse().unwrap() };
        let (deleting, editing) = if deletes_here { (&mut ada, &mut bob) } else { (&mut bob, &mut ada) };
        write(deleting, delete, at(10)).expect("deleted");
        set(editing, json!({"t": "new"}), 11);
        let asked = meet(&mut ada, &mut bob)[0];
        let view = card(&mut ada, asked);
        let fork = view.options.iter().find(|option| option.option == "fork").expect("listed");
        assert!(
            fork.consequence
                .starts_with("The object is deleted on every device, and what is shown here goes on")
        );
        let written = resolve(&mut ada, answer(asked, Choice::Fork), 20).expect("forked");
        assert_eq!(meet(&mut ada, &mut bob), []);
        for engine in [&mut ada, &mut bob] {
            assert_eq!(engine.get(&"n1".parse().unwrap()).unwrap().unwrap().state, ObjectState::Tombstoned);
            let second = engine.get(written.object.as_ref().unwrap()).unwrap().unwrap();
            assert_eq!((second.value, second.state), (json!({"t": "new"}), ObjectState::Clean));
            assert_eq!(said(&card(engine, asked)), said(&view));
        }
    }
}

#[test]
fn a_decided_card_shows_what_it_was_decided_between() {
    for (choice, simply) in [(Choice::Local, false), (Choice::Remote, false), (Choice::Local, true)] {
        let (mut ada, mut bob) = apart(&json!({"collection": "notes"}), json!({"t": "old"}));
        set(&mut ada, json!({"t": "hers"}), 10);
        set(&mut bob, json!({"t": "his"}), 11);
        let asked = meet(&mut ada, &mut bob)[0];
        if simply {
            set(&mut ada, json!({"t": "neither"}), 20);
        } else {
            resolve(&mut ada, answer(asked, choice), 20).expect("resolved");
        }
        assert_eq!(meet(&mut ada, &mut bob), []);
        set(&mut bob, json!({"t": "later"}), 30);
        for engine in [&mut ada, &mut bob] {
            let view = card(engine, asked);
            assert_eq!(said(&view), [json!("hers"), json!("his")]);
            assert!(view.values.iter().all(|side| !side.shown && side.said.actor.is_some()));
        }
    }
    // What was proposed and declined.
    let (mut ada, mut bob) = apart(&json!({"collection": "notes"}), json!({"t": "old"}));
    let edit = Edit::MergePatch(json!({"t": "bot"}));
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
    let request = WriteRequest::new("agent:bot".parse().unwrap(), intent);
    let asked = bob.write(&[request], at(10)).unwrap().0.remove(0).expect("proposed").card.unwrap();
    meet(&mut ada, &mut bob);
    resolve(&mut ada, answer(asked, Choice::Decline), 20).expect("declined");
    meet(&mut ada, &mut bob);
    assert_eq!(said(&card(&mut bob, asked)), [json!({"t": "bot"})]);
}

#[test]
fn a_card_about_a_broken_rule_names_it_and_a_reused_key_is_answered_beside_it() {
    let rules = json!({"collection": "notes", "invariants":
        [{"name": "enough", "cedar": "context.value.a + context.value.b < 10"}]});
    let (mut ada, mut bob) = apart(&rules, json!({"a": 1, "b": 1}));
    for (engine, patch, n) in [(&mut ada, json!({"a": 8}), 10), (&mut bob, json!({"b": 8}), 11)] {
        let edit = Edit::MergePatch(patch);
        let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
        let request = WriteRequest {
            idempotency_key: Some("once".to_owned()),
            ..WriteRequest::new("user:ada".parse().unwrap(), intent)
        };
        engine.write(&[request], at(n)).unwrap().0.remove(0).expect("written");
    }
    let cards = meet(&mut ada, &mut bob);
    assert_eq!(cards.len(), 2);
    let views: Vec<CardView> = cards.iter().map(|one| card(&mut ada, *one)).collect();
    let broken = views.iter().find(|view| view.summary.kind == "broken_invariant").expect("asked");
    assert_eq!(broken.breaks.len(), 1);
    assert_eq!(broken.breaks[0].name, "enough");
    let explained = ada.explain("n1").unwrap().expect("known").because.join("\n");
    assert!(explained.contains("breaks a rule, invariant enough"), "{explained}");
    assert!(!explained.contains("contradict each other"), "{explained}");
    let replayed = views.iter().find(|view| view.summary.kind == "replay_collision").expect("asked");
    resolve(&mut bob, answer(replayed.summary.card, Choice::Merge), 20)
        .expect("answered although a rule is broken");
    assert_eq!(meet(&mut ada, &mut bob), [broken.summary.card]);
    assert_eq!(value(&mut ada), json!({"a": 8, "b": 8}));
}
