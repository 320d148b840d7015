//! What must hold of a merged value and between objects: each side keeps it, the merge breaks it, and a card says so on
//! every device, with a way out.
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
use syncd_engine::{Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::{Digest, EntryKind, ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn pair(manifest: &Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    govern(&mut ada, manifest, 0);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut bob, &mut ada, at(2));
    (ada, bob)
}

fn govern(engine: &mut Engine, manifest: &Value, n: u64) {
    let bytes = manifest.to_string().into_bytes();
    write(engine, Intent::Govern(EntryKind::MANIFEST, bytes), at(n)).expect("governed");
}

/// The cards that two devices have once they have met, which must be the same.
fn meet(ada: &mut Engine, bob: &mut Engine, n: u64) -> Vec<CardView> {
    sync(bob, ada, at(n));
    let open = |engine: &Engine| {
        let mut open: Vec<Digest> = engine.cards(false).unwrap().into_iter().map(|card| card.card).collect();
        open.sort_unstable();
        open
    };
    let cards = open(ada);
    assert_eq!(cards, open(bob));
    for engine in [&mut *ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
    cards.iter().map(|card| ada.card(card).unwrap().unwrap()).collect()
}

fn answer(
    engine: &mut Engine,
    card: &CardView,
    choice: Choice,
    value: Option<Value>,
    n: u64,
) -> Result<Written, WriteError> {
    let resolve = Resolve { card: card.summary.card, choice, value, pick: None, because: None };
    write(engine, Intent::Resolve(resolve), at(n))
}

fn offered(card: &CardView) -> Vec<&str> {
    card.options.iter().map(|option| option.option).collect()
}

/// Whether an object is in conflict, which whoever gets it, lists it or asks why it is so is told alike; with the objects
/// whose values are in question.
fn in_question(engine: &mut Engine, id: &str) -> Option<Vec<String>> {
    let id = id.parse().unwrap();
    let view = engine.get(&id).unwrap().unwrap();
    let is_conflicted = view.state == ObjectState::Conflicted;
    let listed = engine.list(None).unwrap().into_iter().find(|row| row.object == id).unwrap();
    assert_eq!(listed.state, view.state);
    let explained = engine.explain(id.as_str()).unwrap().unwrap();
    assert_eq!(explained.state == "conflicted", is_conflicted, "{explained:?}");
    assert_eq!(!view.conflicts.is_empty(), is_conflicted);
    for conflict in &view.conflicts {
        assert!(explained.next.contains(&format!("card {}", conflict.card.as_ref().unwrap())));
    }
    let sides = view.conflicts.into_iter().flat_map(|conflict| conflict.values);
    let mut objects: Vec<String> = sides.filter_map(|side| side.object).map(|id| id.to_string()).collect();
    objects.sort();
    is_conflicted.then_some(objects)
}

fn delete(engine: &mut Engine, id: &str, n: u64) {
    write(engine, Intent::Delete { object: id.parse().unwrap() }, at(n)).expect("deleted");
}

#[test]
fn two_objects_with_one_unique_value_are_asked_about() {
    let manifest = json!({"collection": "notes", "unique": [["/path"]]});
    for choice in [Choice::Local, Choice::Remote] {
        let (mut ada, mut bob) = pair(&manifest);
        put(&mut ada, "a1", json!({"path": "x", "by": "ada"}), at(10));
        put(&mut bob, "b1", json!({"path": "x", "by": "bob"}), at(11));
        put(&mut bob, "b2", json!({"path": "y"}), at(12));
        let cards = meet(&mut ada, &mut bob, 20);
        assert_eq!(cards.len(), 1);
        assert_eq!(
            (cards[0].summary.kind, offered(&cards[0])),
            ("duplicate_key", vec!["keep_local", "keep_remote"])
        );
        assert_eq!(cards[0].values.len(), 2);
        for engine in [&mut ada, &mut bob] {
            for id in ["a1", "b1"] {
                assert_eq!(in_question(engine, id), Some(vec!["a1".to_owned(), "b1".to_owned()]));
            }
            assert_eq!(in_question(engine, "b2"), None);
        }
        // A third one joins the question.
        put(&mut ada, "a2", json!({"path": "x", "by": "ada again"}), at(25));
        let more = meet(&mut ada, &mut bob, 30);
        assert_eq!((more.len(), more[0].values.len()), (1, 3));
        assert_eq!(more[0].supersedes, [cards[0].summary.card]);
        // An edit that takes the value away is an answer too.
        merge_patch(&mut ada, "a2", json!({"path": "z"}), at(31));
        let again = meet(&mut ada, &mut bob, 32);
        assert_eq!(again[0].summary.card, cards[0].summary.card);
        answer(&mut bob, &again[0], choice, None, 40).expect("resolved");
        assert!(meet(&mut ada, &mut bob, 50).is_empty());
        let without = if choice == Choice::Local { "b1" } else { "a1" };
        for engine in [&mut ada, &mut bob] {
            for id in ["a1", "b1", "a2", "b2"] {
                assert_eq!(in_question(engine, id), None);
                assert_eq!(value(engine, id).get("path").is_none(), id == without, "{id}");
            }
        }
    }
    // Opposite answers take the value from both, and delete neither.
    let (mut ada, mut bob) = pair(&manifest);
    put(&mut ada, "a1", json!({"path": "x", "by": "ada"}), at(10));
    put(&mut bob, "b1", json!({"path": "x", "by": "bob"}), at(11));
    let card = meet(&mut ada, &mut bob, 20).remove(0);
    answer(&mut ada, &card, Choice::Local, None, 30).expect("resolved");
    answer(&mut bob, &card, Choice::Remote, None, 31).expect("resolved");
    assert!(meet(&mut ada, &mut bob, 40).is_empty());
    assert_eq!((value(&mut bob, "a1"), value(&mut ada, "b1")), (json!({"by": "ada"}), json!({"by": "bob"})));
}

#[test]
fn a_reference_to_what_was_deleted_elsewhere_is_asked_about() {
    let manifest = json!({"collection": "notes", "references": [{"path": "/parent", "collection": "notes"}]});
    for (choice, turned) in [(Choice::Local, false), (Choice::Remote, true)] {
        let (mut ada, mut bob) = pair(&manifest);
        put(&mut ada, "parent", json!({"name": "p"}), at(10));
        meet(&mut ada, &mut bob, 11);
        let (one, other) = if turned { (&mut bob, &mut ada) } else { (&mut ada, &mut bob) };
        delete(one, "parent", 12);
        put(other, "child", json!({"parent": "parent", "name": "c"}), at(13));
        let cards = meet(&mut ada, &mut bob, 20);
        assert_eq!(cards.len(), 1);
        assert_eq!(
            (cards[0].summary.kind, cards[0].summary.path.as_str()),
            ("dangling_reference", "/parent")
        );
        assert_eq!(cards[0].summary.object.as_str(), "child");
        for engine in [&mut ada, &mut bob] {
            assert_eq!(in_question(engine, "child"), Some(vec!["child".to_owned(), "parent".to_owned()]));
        }
        answer(&mut ada, &cards[0], choice, None, 30).expect("resolved");
        assert!(meet(&mut ada, &mut bob, 40).is_empty());
        for engine in [&mut ada, &mut bob] {
            assert_eq!(in_question(engine, "child"), None);
            let (parent, child) = (value(engine, "parent"), value(engine, "child"));
            match choice {
                Choice::Local => assert_eq!((parent, child), (Value::Null, json!({"name": "c"}))),
                _ => assert_eq!(
                    (parent, child),
                    (json!({"name": "p"}), json!({"parent": "parent", "name": "c"}))
                ),
            }
        }
    }
}

#[test]
fn an_invariant_that_each_side_keeps_and_the_merge_breaks_is_asked_about() {
    let schema = json!({"if": {"properties": {"done": {"const": true}}, "required": ["done"]}, "then": {"required": ["result"]}});
    let manifest = json!({"collection": "notes", "invariants": [{"name": "result", "schema": schema}]});
    let (mut ada, mut bob) = pair(&manifest);
    put(&mut ada, "n1", json!({"done": false, "result": "old"}), at(10));
    meet(&mut ada, &mut bob, 11);
    merge_patch(&mut ada, "n1", json!({"done": true}), at(12));
    merge_patch(&mut bob, "n1", json!({"result": null}), at(13));
    let cards = meet(&mut ada, &mut bob, 20);
    assert_eq!(cards.len(), 1, "each side kept it");
    assert_eq!((cards[0].summary.kind, offered(&cards[0])), ("broken_invariant", vec!["merge"]));
    // Both edits are there meanwhile, and an answer has to keep it.
    assert_eq!(value(&mut ada, "n1"), json!({"done": true}));
    let wrong = answer(&mut ada, &cards[0], Choice::Merge, Some(json!({"done": true})), 30);
    assert!(matches!(wrong, Err(WriteError::Invalid { .. })), "{wrong:?}");
    answer(&mut ada, &cards[0], Choice::Merge, Some(json!({"done": true, "result": "new"})), 31)
        .expect("resolved");
    assert!(meet(&mut ada, &mut bob, 40).is_empty());
    assert_eq!(value(&mut bob, "n1"), json!({"done": true, "result": "new"}));
}

#[test]
fn a_schema_that_came_later_asks_about_what_does_not_fit_it() {
    let (mut ada, mut bob) = pair(&json!({"collection": "notes"}));
    put(&mut bob, "n1", json!({"n": "many"}), at(10));
    put(&mut bob, "n2", json!({"n": 2}), at(11));
    let schema = json!({"properties": {"n": {"type": "integer"}}});
    govern(&mut ada, &json!({"collection": "notes", "schemaVersion": "2.0.0", "schema": schema}), 12);
    let cards = meet(&mut ada, &mut bob, 20);
    assert_eq!(cards.len(), 1, "two versions of a schema");
    assert_eq!((cards[0].summary.kind, cards[0].summary.object.as_str()), ("schema_mismatch", "n1"));
    merge_patch(&mut bob, "n1", json!({"n": 7}), at(30));
    assert!(meet(&mut ada, &mut bob, 40).is_empty());
}

#[test]
fn rules_that_came_later_are_asked_of_what_is_there() {
    let (mut ada, mut bob) = pair(&json!({"collection": "notes"}));
    put(&mut ada, "a1", json!({"path": "x", "k": 0}), at(10));
    put(&mut bob, "b1", json!({"path": "x"}), at(11));
    meet(&mut ada, &mut bob, 12);
    merge_patch(&mut ada, "a1", json!({"k": 1}), at(13));
    merge_patch(&mut bob, "a1", json!({"k": 2}), at(14));
    assert_eq!(meet(&mut ada, &mut bob, 15).len(), 1);
    // The field settles itself now, and paths have to be unique.
    govern(&mut ada, &json!({"collection": "notes", "fields": {"/k": "max"}, "unique": [["/path"]]}), 20);
    let cards = meet(&mut ada, &mut bob, 21);
    assert_eq!(cards.iter().map(|card| card.summary.kind).collect::<Vec<_>>(), ["duplicate_key"]);
    assert_eq!(value(&mut bob, "a1")["k"], 2);
}

#[test]
fn where_everything_is_reviewed_work_done_apart_is_asked_about_though_nothing_contradicts() {
    let manifest = json!({"collection": "notes", "mergeStrategy": "manual_review"});
    let both = json!({"a": 1, "b": 1});
    for (choice, given, expected) in [
        (Choice::Merge, None, Some(both.clone())),
        (Choice::Merge, Some(json!({"c": 1})), Some(json!({"c": 1}))),
        (Choice::Local, None, None),
        (Choice::Remote, None, None),
    ] {
        let (mut ada, mut bob) = pair(&manifest);
        put(&mut ada, "n1", json!({"a": 0, "b": 0}), at(10));
        assert!(meet(&mut ada, &mut bob, 11).is_empty());
        merge_patch(&mut ada, "n1", json!({"a": 1}), at(12));
        merge_patch(&mut bob, "n1", json!({"b": 1}), at(13));
        let cards = meet(&mut ada, &mut bob, 20);
        assert_eq!((cards.len(), cards[0].summary.kind, cards[0].values.len()), (1, "concurrent_edit", 2));
        assert_eq!(ada.get(&"n1".parse().unwrap()).unwrap().unwrap().state, ObjectState::Conflicted);
        assert_eq!(value(&mut ada, "n1"), both);
        let shown = cards[0].values.iter().find(|side| side.shown).unwrap().said.value.clone();
        let other = cards[0].values.iter().find(|side| !side.shown).unwrap().said.value.clone();
        answer(&mut ada, &cards[0], choice, given, 30).expect("resolved");
        assert!(meet(&mut ada, &mut bob, 40).is_empty());
        let expected = expected.unwrap_or(if choice == Choice::Local { shown } else { other });
        assert_eq!(value(&mut bob, "n1"), expected, "{choice:?}");
    }
}

#[test]
fn the_author_whom_policy_trusts_more_wins_and_equals_are_asked() {
    let manifest = json!({"collection": "notes", "mergeStrategy": "strongest_policy_wins"});
    for turned in [false, true] {
        // Ada owns the workspace, Bob and Eve are members.
        let (mut ada, mut bob) = pair(&manifest);
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        put(&mut ada, "n1", json!({"k": 0, "m": 0}), at(10));
        for engine in [&mut bob, &mut eve] {
            sync(engine, &mut ada, at(11));
            sync(engine, &mut ada, at(12));
        }
        merge_patch(&mut ada, "n1", json!({"k": "owner"}), at(20));
        merge_patch(&mut bob, "n1", json!({"k": "member", "m": 1}), at(21));
        merge_patch(&mut eve, "n1", json!({"m": 2}), at(22));
        for n in 0..3 {
            let (one, other) = if turned { (&mut bob, &mut eve) } else { (&mut eve, &mut bob) };
            sync(one, &mut ada, at(30 + n));
            sync(other, one, at(40 + n));
            sync(&mut ada, other, at(50 + n));
        }
        for engine in [&mut ada, &mut bob, &mut eve] {
            assert_eq!(value(engine, "n1")["k"], "owner");
            let cards = engine.cards(false).unwrap();
            assert_eq!(cards.iter().map(|card| card.path.as_str()).collect::<Vec<_>>(), ["/m"]);
        }
        let before = ada.frontier();
        assert_eq!(meet(&mut ada, &mut bob, 60).len(), 1);
        sync(&mut eve, &mut ada, at(61));
        assert_eq!(before, ada.frontier(), "they come to rest");
    }
}

/// Puts an object on behalf of a caller who names the call.
fn put_keyed(engine: &mut Engine, id: &str, value: Value, n: u64) -> Result<Written, WriteError> {
    let (collection, object) = ("notes".parse().unwrap(), Some(id.parse().unwrap()));
    let mut request = WriteRequest::new(user(), Intent::Put { collection, object, value });
    request.idempotency_key = Some("call-1".to_owned());
    engine.write(&[request], at(n)).expect("the disk works").0.remove(0)
}

#[test]
fn one_callers_key_for_two_things_on_two_devices_is_asked_about() {
    for equal in [true, false] {
        let (mut ada, mut bob) = pair(&json!({"collection": "notes"}));
        put_keyed(&mut ada, "n1", json!({"n": 1}), 10).expect("put");
        let there = if equal { ("n1", json!({"n": 1})) } else { ("n2", json!({"n": 2})) };
        put_keyed(&mut bob, there.0, there.1, 11).expect("put");
        let cards = meet(&mut ada, &mut bob, 20);
        if equal {
            assert!(cards.is_empty(), "repeated elsewhere, it is the same");
            continue;
        }
        assert_eq!((cards.len(), cards[0].summary.kind, cards[0].values.len()), (1, "replay_collision", 2));
        assert_eq!((value(&mut ada, "n1"), value(&mut ada, "n2")), (json!({"n": 1}), json!({"n": 2})));
        answer(&mut bob, &cards[0], Choice::Merge, None, 30).expect("resolved");
        assert!(meet(&mut ada, &mut bob, 40).is_empty());
        // Who hears of the answer together with the uses is not asked.
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        sync(&mut eve, &mut ada, at(50));
        sync(&mut eve, &mut ada, at(51));
        assert!(eve.cards(false).unwrap().is_empty());
        let again = put_keyed(&mut ada, "n3", json!({}), 60);
        assert!(matches!(again, Err(WriteError::KeyReused(_))), "{again:?}");
    }
}
