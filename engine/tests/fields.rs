//! What each field rule does with a concurrent edit: two devices, apart, then together, showing the same.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::{Value, json};
use syncd_engine::{Edit, Engine, Intent, WriteError};
use syncd_schema::{EntryKind, ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Ada and Bob hold the same object of a collection with these field rules, and have not heard of each other since.
fn apart(fields: &Value, value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    let manifest = json!({"collection": "notes", "fields": fields}).to_string();
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest.into_bytes()), at(0)).expect("set");
    put(&mut ada, "n1", value, at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    sync(&mut bob, &mut ada, at(3));
    (ada, bob)
}

fn edit(engine: &mut Engine, edit: Edit, now: UnixMicros) -> Result<(), WriteError> {
    write(engine, Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, now).map(drop)
}

fn patch(engine: &mut Engine, patch: Value, now: UnixMicros) -> Result<(), WriteError> {
    edit(engine, Edit::JsonPatch(serde_json::from_value(patch).unwrap()), now)
}

/// What both show once they have met, and how they say the object is.
fn meet(ada: &mut Engine, bob: &mut Engine) -> (Value, ObjectState) {
    let entries = ada.entries() + bob.entries();
    sync(bob, ada, at(100));
    sync(ada, bob, at(101));
    let view = |engine: &mut Engine| engine.get(&"n1".parse().unwrap()).unwrap().unwrap();
    let (here, there) = (view(ada), view(bob));
    assert_eq!((&here.value, here.state, &here.heads), (&there.value, there.state, &there.heads));
    assert!(ada.entries() + bob.entries() <= 2 * entries, "merging writes nothing");
    (here.value, here.state)
}

#[test]
fn max_and_min_are_computed_and_nobody_is_asked() {
    let fields = json!({"/top": "max", "/low": "min", "/m/*": "max"});
    let (mut ada, mut bob) = apart(&fields, json!({"top": 5, "low": 5, "name": "b", "m": {"x": 1}}));
    merge_patch(&mut ada, "n1", json!({"top": 9, "low": 3, "m": {"x": 7, "y": "a"}}), at(10));
    merge_patch(&mut bob, "n1", json!({"top": 7.5, "low": -2, "m": {"x": 3, "y": "b"}}), at(11));
    let entries = (ada.size_of_log(&ada.own_log()), bob.size_of_log(&bob.own_log()));
    let (value, state) = meet(&mut ada, &mut bob);
    assert_eq!(value, json!({"top": 9, "low": -2, "name": "b", "m": {"x": 7, "y": "b"}}));
    assert_eq!(state, ObjectState::Clean);
    assert_eq!(entries, (ada.size_of_log(&ada.own_log()), bob.size_of_log(&bob.own_log())));
    // Whoever writes next has seen both, and a smaller value is what was meant.
    merge_patch(&mut bob, "n1", json!({"top": 1}), at(200));
    assert_eq!(meet(&mut ada, &mut bob).0["top"], 1);
}

#[test]
fn a_union_shows_the_members_of_lists_that_were_set_apart() {
    let (mut ada, mut bob) = apart(&json!({"/tags": "union"}), json!({"tags": ["a"]}));
    merge_patch(&mut ada, "n1", json!({"tags": ["a", "b", {"k": 1}]}), at(10));
    merge_patch(&mut bob, "n1", json!({"tags": ["c", "a", {"k": 1.0}]}), at(11));
    let (value, state) = meet(&mut ada, &mut bob);
    let tags = value["tags"].as_array().unwrap();
    assert_eq!((tags.len(), state), (4, ObjectState::Clean), "{tags:?}");
    for member in [json!("a"), json!("b"), json!("c")] {
        assert!(tags.contains(&member), "{tags:?}");
    }
    // Its places are those of no list; the whole is.
    let refused =
        patch(&mut ada, json!([{"op": "remove", "path": "/tags/3"}]), at(200)).expect_err("refused");
    assert!(refused.to_string().contains("set the list as a whole"), "{refused}");
    merge_patch(&mut ada, "n1", json!({"tags": ["b", "c"]}), at(201));
    assert_eq!(meet(&mut ada, &mut bob).0["tags"], json!(["b", "c"]));
    patch(&mut bob, json!([{"op": "remove", "path": "/tags/0"}]), at(202)).expect("one list again");
    assert_eq!(meet(&mut ada, &mut bob).0["tags"], json!(["c"]));
}

#[test]
fn a_union_merges_inside_of_one_list_and_shows_each_member_once() {
    let (mut ada, mut bob) = apart(&json!({"/tags": "union"}), json!({"tags": ["a"]}));
    let add = |tag: &str| json!([{"op": "add", "path": "/tags/-", "value": tag}]);
    for tag in ["x", "same"] {
        patch(&mut ada, add(tag), at(10)).expect("added");
    }
    for tag in ["y", "same"] {
        patch(&mut bob, add(tag), at(11)).expect("added");
    }
    let (value, state) = meet(&mut ada, &mut bob);
    let mut tags: Vec<&str> =
        value["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
    tags.sort_unstable();
    assert_eq!((tags, state), (vec!["a", "same", "x", "y"], ObjectState::Clean));
}

#[test]
fn counters_add_up() {
    let (mut ada, mut bob) = apart(&json!({"/stock": "counter"}), json!({"stock": 10}));
    let add = |by| Edit::Increment { path: "/stock".to_owned(), by };
    edit(&mut ada, add(-3), at(10)).expect("counted");
    edit(&mut bob, add(5), at(11)).expect("counted");
    assert_eq!(meet(&mut ada, &mut bob), (json!({"stock": 12}), ObjectState::Clean));
}

#[test]
fn texts_are_typed_into_together_and_rewritten_apart_they_ask() {
    for rule in ["text", "text_review"] {
        let (mut ada, mut bob) = apart(&json!({"/body": rule}), json!({"body": "one two"}));
        let splice =
            |pos, text: &str| Edit::Splice { path: "/body".to_owned(), pos, del: 0, text: text.to_owned() };
        edit(&mut ada, splice(0, "zero "), at(10)).expect("typed");
        edit(&mut bob, splice(7, " three"), at(11)).expect("typed");
        // Judged by lines, both worked in one.
        let state = if rule == "text" { ObjectState::Clean } else { ObjectState::Conflicted };
        assert_eq!(meet(&mut ada, &mut bob), (json!({"body": "zero one two three"}), state));
        let set = |text: &str| Edit::SetText { path: "/body".to_owned(), text: text.to_owned() };
        edit(&mut ada, set("zero one 250 three"), at(200)).expect("set");
        edit(&mut bob, set("zero one 300 three"), at(201)).expect("set");
        assert_eq!(meet(&mut ada, &mut bob).1, ObjectState::Conflicted);
    }
}

#[test]
fn auto_shows_one_without_asking_and_review_asks() {
    let (mut ada, mut bob) = apart(&json!({"/a": "auto", "/r": "review"}), json!({"a": 0, "r": 0, "n": 0}));
    merge_patch(&mut ada, "n1", json!({"a": 1}), at(10));
    merge_patch(&mut bob, "n1", json!({"a": 2}), at(11));
    let (value, state) = meet(&mut ada, &mut bob);
    assert!(state == ObjectState::Clean && [json!(1), json!(2)].contains(&value["a"]), "{value}");
    for field in ["r", "n"] {
        merge_patch(&mut ada, "n1", json!({field: 1}), at(200));
        merge_patch(&mut bob, "n1", json!({field: 2}), at(201));
        assert_eq!(
            meet(&mut ada, &mut bob).1,
            ObjectState::Conflicted,
            "{field}: review is what a scalar has anyway"
        );
        merge_patch(&mut ada, "n1", json!({field: 3}), at(202));
        assert_eq!(meet(&mut ada, &mut bob).1, ObjectState::Clean);
    }
}

#[test]
fn schemas_see_what_is_shown() {
    let (mut ada, mut bob) = apart(&json!({"/top": "max"}), json!({"top": 1}));
    merge_patch(&mut ada, "n1", json!({"top": 9}), at(10));
    merge_patch(&mut bob, "n1", json!({"top": 2}), at(11));
    meet(&mut ada, &mut bob);
    let manifest = json!({
        "collection": "notes", "fields": {"/top": "max"}, "schema": {"properties": {"top": {"maximum": 8}}},
    });
    let set = Intent::Govern(EntryKind::MANIFEST, manifest.to_string().into_bytes());
    write(&mut ada, set, at(200)).expect("set");
    sync(&mut bob, &mut ada, at(201));
    for engine in [&mut ada, &mut bob] {
        let found = engine.violations_of(&"n1".parse().unwrap()).expect("readable");
        assert_eq!(found.iter().map(|v| v.path.as_str()).collect::<Vec<_>>(), ["/top"]);
    }
}
