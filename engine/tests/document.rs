//! Documents: JSON in and out, births, edits against the reference implementations, and what errors leave behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

use automerge::{ActorId, Automerge, ReadDoc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use syncd_engine::document::{self, Edit, EditError, EncodedChange, apply, birth};
use syncd_schema::limits;
use syncd_schema::manifest::{FieldRule, Manifest};

fn manifest(fields: &[(&str, FieldRule)]) -> Manifest {
    let fields: BTreeMap<_, _> = fields.iter().map(|(path, rule)| ((*path).to_owned(), *rule)).collect();
    Manifest { fields, ..Manifest::free_form("docs".parse().unwrap()) }
}

fn plain() -> Manifest {
    manifest(&[])
}

fn born(value: &Value, manifest: &Manifest) -> Automerge {
    birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), value, manifest).unwrap().doc
}

fn edit(doc: &mut Automerge, edit: &Edit, manifest: &Manifest) -> Result<Option<EncodedChange>, EditError> {
    apply(doc, edit, [7; 16], 1_700_000_000, manifest)
}

/// Makes an edit that must fail, and checks that the document is as before and still works.
fn refused(doc: &mut Automerge, bad: &Edit, manifest: &Manifest) -> EditError {
    let before = (document::heads(doc), document::read(doc));
    let error = edit(doc, bad, manifest).unwrap_err();
    assert_eq!((document::heads(doc), document::read(doc)), before, "{error}");
    let again = document::load(Some(&document::compact(doc).unwrap()), std::iter::empty()).unwrap();
    assert_eq!(document::read(&again), before.1);
    error
}

fn set_text(path: &str, text: &str) -> Edit {
    Edit::SetText { path: path.into(), text: text.into() }
}

fn splice(path: &str, pos: usize, del: usize, text: &str) -> Edit {
    Edit::Splice { path: path.into(), pos, del, text: text.into() }
}

fn patch(value: Value) -> Edit {
    Edit::JsonPatch(serde_json::from_value(value).unwrap())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::from),
        "[a-zä€😀\n ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from), object(inner)]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[ab/~]|ä", inner, 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>()))
}

/// Small values with few keys, so that patches meet something.
fn small_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), (0..3_i64).prop_map(Value::from), "[xy]{0,2}".prop_map(Value::from)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from), object(inner)]
    })
}

fn any_pointer() -> impl Strategy<Value = String> {
    let step = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("~1".to_owned()),
        Just("-".to_owned()),
        (0..4_u8).prop_map(|index| index.to_string()),
        Just("01".to_owned()),
    ];
    prop::collection::vec(step, 0..4).prop_map(|steps| steps.iter().map(|step| format!("/{step}")).collect())
}

fn any_step() -> impl Strategy<Value = Value> {
    (0..6_u8, any_pointer(), any_pointer(), small_json()).prop_map(|(kind, path, from, value)| match kind {
        0 => json!({"op": "add", "path": path, "value": value}),
        1 => json!({"op": "remove", "path": path}),
        2 => json!({"op": "replace", "path": path, "value": value}),
        3 => json!({"op": "move", "path": path, "from": from}),
        4 => json!({"op": "copy", "path": path, "from": from}),
        _ => json!({"op": "test", "path": path, "value": value}),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read(value in object(any_json()), texts in any::<bool>()) {
        let manifest = if texts {
            manifest(&[("/*", FieldRule::Text), ("/*/*", FieldRule::TextReview), ("/a/a", FieldRule::Counter)])
        } else {
            plain()
        };
        let birth = birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), &value, &manifest).unwrap();
        prop_assert_eq!(&document::read(&birth.doc), &value);
        for (key, member) in value.as_object().unwrap() {
            let pointer = document::pointer::join(&[key]);
            let found = document::read_at(&birth.doc, &pointer).unwrap();
            prop_assert_eq!(found.as_ref(), Some(member));
        }
        let tail = [birth.change.bytes.as_slice()];
        let loaded = document::load(None, tail.into_iter()).unwrap();
        prop_assert_eq!(document::read(&loaded), value);
        prop_assert_eq!(document::heads(&loaded), vec![birth.change.hash]);
    }

    #[test]
    fn merge_patches_do_as_the_reference_does(base in object(small_json()), change in object(small_json()), texts in any::<bool>()) {
        let manifest = if texts { manifest(&[("/*", FieldRule::Text), ("/*/*", FieldRule::Counter)]) } else { plain() };
        let mut expected = base.clone();
        json_patch::merge(&mut expected, &change);
        let mut doc = born(&base, &manifest);
        let made = edit(&mut doc, &Edit::MergePatch(change.clone()), &manifest).unwrap();
        prop_assert_eq!(document::read(&doc), expected.clone());
        prop_assert_eq!(made.is_none(), expected == base);
        prop_assert!(edit(&mut doc, &Edit::MergePatch(change), &manifest).unwrap().is_none(), "a patch twice is once");
        document::compact(&doc).unwrap();
    }

    #[test]
    fn json_patches_do_as_the_reference_does(
        base in object(small_json()),
        steps in prop::collection::vec(any_step(), 1..5),
        texts in any::<bool>(),
    ) {
        let manifest = if texts { manifest(&[("/*", FieldRule::Text), ("/*/*", FieldRule::Counter)]) } else { plain() };
        let steps: json_patch::Patch = serde_json::from_value(Value::Array(steps)).unwrap();
        let mut expected = base.clone();
        // Step by step: a root that is no object is an error here, even if a later step would put one back.
        let fails = steps.0.iter().any(|step| {
            json_patch::patch(&mut expected, std::slice::from_ref(step)).is_err() || !expected.is_object()
        });
        let mut doc = born(&base, &manifest);
        if fails {
            refused(&mut doc, &Edit::JsonPatch(steps.clone()), &manifest);
        } else {
            edit(&mut doc, &Edit::JsonPatch(steps.clone()), &manifest).unwrap();
            prop_assert_eq!(document::read(&doc), expected);
            document::compact(&doc).unwrap();
        }

        // Each step by itself, so that those after a failing one are tried too.
        let (mut doc, mut expected) = (born(&base, &manifest), base);
        for step in steps.0 {
            let mut next = expected.clone();
            let works = json_patch::patch(&mut next, std::slice::from_ref(&step)).is_ok() && next.is_object();
            let one = Edit::JsonPatch(json_patch::Patch(vec![step]));
            if works {
                edit(&mut doc, &one, &manifest).unwrap();
                expected = next;
            } else {
                refused(&mut doc, &one, &manifest);
            }
            prop_assert_eq!(&document::read(&doc), &expected);
        }
    }

    #[test]
    fn set_text_gives_exactly_the_text(old in "[ab\nä😀\r]{0,40}", new in "[ab\nä😀\r]{0,40}") {
        let manifest = manifest(&[("/t", FieldRule::Text)]);
        let mut doc = born(&json!({"t": old, "s": old}), &manifest);
        for path in ["/t", "/s"] {
            let made = edit(&mut doc, &set_text(path, &new), &manifest).unwrap();
            prop_assert_eq!(made.is_none(), old == new);
        }
        prop_assert_eq!(document::read(&doc), json!({"t": new, "s": new}));
    }

    #[test]
    fn splices_do_what_they_say(
        text in "[ab\nä😀]{0,12}", pos in 0..14_usize, del in 0..14_usize, insert in "[xß😀]{0,4}", is_text in any::<bool>(),
    ) {
        let manifest = if is_text { manifest(&[("/t", FieldRule::Text)]) } else { plain() };
        let mut doc = born(&json!({"t": text}), &manifest);
        let mut chars: Vec<char> = text.chars().collect();
        if pos + del > chars.len() {
            let error = refused(&mut doc, &splice("/t", pos, del, &insert), &manifest);
            prop_assert!(matches!(error, EditError::SpliceOutOfRange { .. }), "{error}");
        } else {
            chars.splice(pos..pos + del, insert.chars());
            edit(&mut doc, &splice("/t", pos, del, &insert), &manifest).unwrap();
            prop_assert_eq!(document::read(&doc), json!({"t": chars.into_iter().collect::<String>()}));
        }
    }
}

#[test]
fn equal_births_are_the_same_bytes() {
    let (object, collection) = ("o1".parse().unwrap(), "docs".parse().unwrap());
    let rules = manifest(&[("/body", FieldRule::Text), ("/n", FieldRule::Counter)]);
    let value: Value = serde_json::from_str(r#"{"body":"x","n":3,"z":{"b":1,"a":[1,2]}}"#).unwrap();
    let reordered: Value = serde_json::from_str(r#"{"z":{"a":[1,2],"b":1},"n":3,"body":"x"}"#).unwrap();
    let first = birth(&object, &collection, &value, &rules).unwrap();
    assert_eq!(first.change, birth(&object, &collection, &reordered, &rules).unwrap().change);

    // A rule of which this value shows nothing changes nothing.
    let more = manifest(&[
        ("/body", FieldRule::TextReview),
        ("/n", FieldRule::Counter),
        ("/other", FieldRule::Text),
    ]);
    assert_eq!(first.change, birth(&object, &collection, &value, &more).unwrap().change);

    let differs = |other: document::Birth| {
        assert_ne!(first.change.hash, other.change.hash);
        assert_ne!(
            first.doc.get_actor(),
            other.doc.get_actor(),
            "two changes of one actor and number never meet"
        );
    };
    differs(birth(&object, &collection, &value, &plain()).unwrap());
    differs(birth(&"o2".parse().unwrap(), &collection, &value, &rules).unwrap());
    differs(birth(&object, &"notes".parse().unwrap(), &value, &rules).unwrap());
    differs(birth(&object, &collection, &json!({"body": "x"}), &rules).unwrap());
    // The bytes of a birth are part of the format: a new version of a library must not change them.
    assert_eq!(first.change.hash.to_string(), GOLDEN_BIRTH);
}

const GOLDEN_BIRTH: &str = "af4d2213f32474fd40c1a9c2aec35d98d4aaf8d6a5e2958afe72518d254aef01";

#[test]
fn an_empty_object_is_born_and_edited() {
    let rules = plain();
    let mut doc = born(&json!({}), &rules);
    assert_eq!(document::heads(&doc).len(), 1);
    edit(&mut doc, &Edit::MergePatch(json!({"a": 1})), &rules).unwrap().unwrap();
    let again = document::load(Some(&document::compact(&doc).unwrap()), std::iter::empty()).unwrap();
    assert_eq!(document::read(&again), json!({"a": 1}));
    assert_eq!(document::heads(&again), document::heads(&doc));
}

#[test]
fn births_have_limits() {
    let (object, collection) = ("o1".parse().unwrap(), "docs".parse().unwrap());
    let rules = manifest(&[("/t", FieldRule::Text)]);
    let try_birth = |value: &Value| birth(&object, &collection, value, &rules).unwrap_err();
    assert!(matches!(try_birth(&json!([1])), EditError::RootNotObject { found: "an array" }));
    assert!(matches!(try_birth(&json!({"a": {"": 1}})), EditError::EmptyKey { .. }));
    assert!(matches!(try_birth(&json!({"t": "x".repeat(100_000)})), EditError::TooManyOps));
    assert!(matches!(
        try_birth(&json!({"s": "x".repeat(limits::CHANGE_BYTES)})),
        EditError::TooManyBytes { .. }
    ));
    assert!(matches!(try_birth(&json!({"k".repeat(2_000): 1})), EditError::PathTooLong { .. }));
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"a": inner}));
    let deep = birth(&object, &collection, &nested(limits::JSON_DEPTH), &rules).unwrap();
    assert_eq!(document::read(&deep.doc), nested(limits::JSON_DEPTH));
    assert!(matches!(try_birth(&nested(limits::JSON_DEPTH + 1)), EditError::TooDeep { .. }));
}

#[test]
fn errors_leave_the_document_as_it_was() {
    let rules = manifest(&[("/t", FieldRule::Text), ("/c", FieldRule::Counter)]);
    let base = json!({"t": "text", "c": 1, "s": "string", "n": 5, "l": [1, 2], "m": {"k": true}});
    let mut doc = born(&base, &rules);
    let mut fails = |bad: Edit| refused(&mut doc, &bad, &rules);
    assert!(matches!(fails(Edit::MergePatch(json!([]))), EditError::RootNotObject { .. }));
    assert!(matches!(fails(Edit::MergePatch(json!({"a": 1, "z": {"": 1}}))), EditError::EmptyKey { .. }));
    assert!(matches!(fails(set_text("/x", "y")), EditError::PathMissing { .. }));
    assert!(matches!(fails(set_text("/n", "y")), EditError::NotText { .. }));
    assert!(matches!(fails(set_text("/m", "y")), EditError::NotText { .. }));
    assert!(matches!(fails(set_text("", "y")), EditError::NotText { .. }));
    assert!(matches!(fails(set_text("t", "y")), EditError::PathMalformed { .. }));
    assert!(matches!(fails(splice("/t", 3, 2, "")), EditError::SpliceOutOfRange { len: 4, .. }));
    assert!(matches!(fails(splice("/t", usize::MAX, 2, "")), EditError::SpliceOutOfRange { .. }));
    assert!(matches!(fails(splice("/t/0", 0, 0, "x")), EditError::PathMissing { .. }));
    assert!(matches!(fails(Edit::Increment { path: "/n".into(), by: 1 }), EditError::NotCounter { .. }));
    assert!(matches!(
        fails(Edit::Increment { path: "/c".into(), by: i64::MAX }),
        EditError::CounterOverflow { .. }
    ));
    let far = fails(Edit::Increment { path: "/c".into(), by: syncd_schema::limits::COUNTER + 1 });
    assert!(matches!(far, EditError::CounterOverflow { .. }), "{far}");
    let step = fails(patch(
        json!([{"op": "add", "path": "/new", "value": 1}, {"op": "test", "path": "/n", "value": 6}]),
    ));
    assert!(matches!(step, EditError::Step { index: 1, .. }), "{step}");
    fails(patch(json!([{"op": "remove", "path": "/l/0"}, {"op": "replace", "path": "/l/5", "value": 1}])));
    fails(patch(json!([{"op": "remove", "path": "/t"}, {"op": "move", "from": "/m", "path": "/m/k"}])));
    assert!(matches!(fails(set_text("/t", &"y".repeat(100_001))), EditError::TooManyOps));
    let huge = "y".repeat(limits::CHANGE_BYTES);
    assert!(matches!(fails(Edit::MergePatch(json!({"n": 6, "s": huge}))), EditError::TooManyBytes { .. }));
    let many: Vec<Value> = vec![json!(1); 100_000];
    assert!(matches!(fails(Edit::MergePatch(json!({"n": 6, "l": many}))), EditError::TooManyOps));

    edit(&mut doc, &Edit::MergePatch(json!({"n": 6})), &rules).unwrap().unwrap();
    assert_eq!(document::read_at(&doc, "/n").unwrap(), Some(json!(6)));
    assert_eq!(document::read_at(&doc, "/l/1").unwrap(), Some(json!(2)));
    assert_eq!(document::read_at(&doc, "/l/-").unwrap(), None);
    assert_eq!(document::read_at(&doc, "/t/0").unwrap(), None);
}

#[test]
fn a_change_just_within_the_limits_is_made() {
    let rules = plain();
    let mut doc = born(&json!({"a": 1}), &rules);
    let nearly = "é".repeat(limits::CHANGE_BYTES / 2 - 500);
    let change = edit(&mut doc, &Edit::MergePatch(json!({"s": nearly})), &rules).unwrap().unwrap();
    assert!(change.bytes.len() <= limits::CHANGE_BYTES && change.bytes.len() > limits::CHANGE_BYTES - 1_000);
    assert_eq!(change.bytes[8], 1, "an uncompressed chunk");
    assert_eq!(document::heads(&doc), vec![change.hash]);
    assert_eq!(document::read_at(&doc, "/s").unwrap(), Some(json!(nearly)));
}

#[test]
fn nothing_to_change_makes_no_change() {
    let rules = manifest(&[("/t", FieldRule::Text), ("/c", FieldRule::Counter)]);
    let mut doc = born(&json!({"t": "text", "c": 1, "s": "string", "l": [1, {"x": 2}]}), &rules);
    for same in [
        Edit::MergePatch(json!({"t": "text", "c": 1, "gone": null, "l": [1, {"x": 2}]})),
        Edit::MergePatch(json!({})),
        patch(
            json!([{"op": "test", "path": "/c", "value": 1}, {"op": "replace", "path": "/s", "value": "string"}]),
        ),
        set_text("/t", "text"),
        set_text("/s", "string"),
        splice("/t", 2, 0, ""),
        Edit::Increment { path: "/c".into(), by: 0 },
    ] {
        assert_eq!(edit(&mut doc, &same, &rules).unwrap(), None, "{same:?}");
    }
    assert_eq!(document::heads(&doc).len(), 1);
}

/// Two people edit copies of one document; the result of merging either way.
fn merged(base: &Value, rules: &Manifest, first: &Edit, second: &Edit) -> Value {
    let mut left = born(base, rules);
    let mut right = left.fork();
    let left_change = apply(&mut left, first, [1; 16], 1, rules).unwrap().unwrap();
    let right_change = apply(&mut right, second, [2; 16], 2, rules).unwrap().unwrap();
    left.apply_changes([right_change.bytes.as_slice().try_into().unwrap()]).unwrap();
    right.apply_changes([left_change.bytes.as_slice().try_into().unwrap()]).unwrap();
    assert_eq!(document::read(&left), document::read(&right));
    document::read(&left)
}

#[test]
fn edits_of_different_places_merge() {
    let rules = manifest(&[("/t", FieldRule::Text), ("/c", FieldRule::Counter)]);
    let text = "one\ntwo\nthree\nfour\n";
    let base = json!({"t": text, "c": 1, "l": [1, 2, 3], "a": 1, "b": 1});
    let both = merged(
        &base,
        &rules,
        &set_text("/t", "ONE\ntwo\nthree\nfour\n"),
        &set_text("/t", "one\ntwo\nthree\nFOUR\nfive\n"),
    );
    assert_eq!(both["t"], "ONE\ntwo\nthree\nFOUR\nfive\n");
    let both = merged(
        &base,
        &rules,
        &set_text("/t", text.trim_end()),
        &Edit::MergePatch(json!({"t": format!("zero\n{text}")})),
    );
    assert_eq!(both["t"], format!("zero\n{}", text.trim_end()));

    let insert = |index: u8| {
        patch(json!([{"op": "add", "path": format!("/l/{index}"), "value": format!("new {index}")}]))
    };
    assert_eq!(merged(&base, &rules, &insert(0), &insert(3))["l"], json!(["new 0", 1, 2, 3, "new 3"]));

    let by = |by| Edit::Increment { path: "/c".into(), by };
    assert_eq!(merged(&base, &rules, &by(5), &by(-2))["c"], 4);

    let both = merged(
        &base,
        &rules,
        &Edit::MergePatch(json!({"a": 2, "b": 1})),
        &Edit::MergePatch(json!({"a": 1, "b": 2})),
    );
    assert_eq!((&both["a"], &both["b"]), (&json!(2), &json!(2)), "a repeated value is not written");
}

#[test]
fn a_string_becomes_a_text_that_stays_one() {
    let rules = plain();
    let base = {
        let mut doc = born(&json!({"s": "one\ntwo\n"}), &rules);
        edit(&mut doc, &splice("/s", 7, 0, "!"), &rules).unwrap();
        edit(&mut doc, &patch(json!([{"op": "move", "from": "/s", "path": "/moved"}])), &rules).unwrap();
        doc
    };
    assert_eq!(document::read(&base), json!({"moved": "one\ntwo!\n"}));
    // Still a text after the move: edits of different lines merge.
    let (mut left, mut right) = (base.clone(), base.clone());
    let first = apply(&mut left, &set_text("/moved", "ONE\ntwo!\n"), [1; 16], 1, &rules).unwrap().unwrap();
    apply(&mut right, &Edit::MergePatch(json!({"moved": "one\ntwo!\nthree\n"})), [2; 16], 1, &rules)
        .unwrap()
        .unwrap();
    right.apply_changes([first.bytes.as_slice().try_into().unwrap()]).unwrap();
    assert_eq!(document::read(&right), json!({"moved": "ONE\ntwo!\nthree\n"}));
}

#[test]
fn a_number_under_a_counter_rule_can_be_incremented() {
    let mut doc = born(&json!({"n": 5, "l": [1]}), &plain());
    let rules = manifest(&[("/n", FieldRule::Counter), ("/l/*", FieldRule::Counter)]);
    for path in ["/n", "/l/0"] {
        edit(&mut doc, &Edit::Increment { path: path.into(), by: -7 }, &rules).unwrap().unwrap();
        edit(&mut doc, &Edit::Increment { path: path.into(), by: 10 }, &rules).unwrap().unwrap();
    }
    assert_eq!(document::read(&doc), json!({"n": 8, "l": [4]}));
    edit(&mut doc, &Edit::MergePatch(json!({"n": 0})), &rules).unwrap().unwrap();
    edit(&mut doc, &Edit::Increment { path: "/n".into(), by: 1 }, &rules).unwrap().unwrap();
    assert_eq!(document::read_at(&doc, "/n").unwrap(), Some(json!(1)));
}

#[test]
fn paths_are_what_an_edit_touches() {
    let paths = |edit: &Edit| edit.paths();
    assert_eq!(
        paths(&Edit::MergePatch(json!({"a": {"b": 1, "c": null}, "d": {}, "e/f": [1]}))),
        ["/a/b", "/a/c", "/d", "/e~1f"]
    );
    assert_eq!(
        paths(&patch(json!([
            {"op": "test", "path": "/t", "value": 1},
            {"op": "move", "from": "/a", "path": "/b"},
            {"op": "copy", "from": "/x", "path": "/y"},
            {"op": "add", "path": "/l/-", "value": 1},
            {"op": "remove", "path": "/b"},
        ]))),
        ["/a", "/b", "/l/-", "/y"]
    );
    assert_eq!(paths(&set_text("/t", "")), ["/t"]);
}

#[test]
fn edits_travel_as_json() {
    let edits = [
        (Edit::MergePatch(json!({"a": 1})), json!({"merge_patch": {"a": 1}})),
        (
            patch(json!([{"op": "remove", "path": "/a"}])),
            json!({"json_patch": [{"op": "remove", "path": "/a"}]}),
        ),
        (set_text("/t", "x"), json!({"set_text": {"path": "/t", "text": "x"}})),
        (splice("/t", 1, 2, "x"), json!({"splice": {"path": "/t", "pos": 1, "del": 2, "text": "x"}})),
        (Edit::Increment { path: "/c".into(), by: -1 }, json!({"increment": {"path": "/c", "by": -1}})),
    ];
    for (edit, value) in edits {
        assert_eq!(serde_json::to_value(&edit).unwrap(), value);
        assert_eq!(edit.size(), value.to_string().len());
        assert_eq!(serde_json::from_value::<Edit>(value).unwrap(), edit);
    }
}

#[test]
fn stored_documents_are_checked_when_loaded() {
    let rules = plain();
    let mut doc = born(&json!({"a": 1}), &rules);
    let snapshot = document::compact(&doc).unwrap();
    let mut tail = Vec::new();
    for n in 0..3 {
        tail.push(edit(&mut doc, &Edit::MergePatch(json!({"a": n + 2})), &rules).unwrap().unwrap().bytes);
    }
    let all = document::load(Some(&snapshot), tail.iter().map(Vec::as_slice)).unwrap();
    assert_eq!((document::heads(&all), document::read(&all)), (document::heads(&doc), json!({"a": 4})));
    assert!(document::estimate_memory(&all, snapshot.len()) > 10_000);

    let gap = document::load(Some(&snapshot), tail.iter().skip(1).map(Vec::as_slice));
    assert!(matches!(gap, Err(document::LoadError::Incomplete(missing)) if missing.len() == 1));
    let mut damaged = snapshot.clone();
    damaged[20] ^= 1;
    assert!(matches!(
        document::load(Some(&damaged), std::iter::empty()),
        Err(document::LoadError::Snapshot { .. })
    ));
    assert!(matches!(
        document::load(None, [&snapshot[..9]].into_iter()),
        Err(document::LoadError::Tail { index: 0, .. })
    ));
}

#[test]
fn long_changes_are_kept_uncompressed() {
    let birth =
        birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), &json!({"s": "x".repeat(5_000)}), &plain())
            .unwrap();
    assert!(birth.change.bytes.len() > 5_000);
    assert_eq!(birth.change.bytes[8], 1);
    assert_eq!(birth.doc.get_actor(), &ActorId::from(birth.doc.get_actor().to_bytes()));
}

#[test]
fn foreign_values_read_as_json() {
    use automerge::ScalarValue;
    use automerge::transaction::Transactable;
    let mut doc = document::empty();
    let mut tx = doc.transaction();
    tx.put(automerge::ROOT, "bytes", ScalarValue::Bytes(vec![1, 2, 3, 4])).unwrap();
    tx.put(automerge::ROOT, "time", ScalarValue::Timestamp(12)).unwrap();
    tx.put(automerge::ROOT, "nan", ScalarValue::F64(f64::NAN)).unwrap();
    tx.put(automerge::ROOT, "big", ScalarValue::Uint(u64::MAX)).unwrap();
    tx.commit();
    assert_eq!(document::read(&doc), json!({"bytes": "AQIDBA==", "time": 12, "nan": null, "big": u64::MAX}));
    assert_eq!(doc.stats().num_ops, 4);
}
