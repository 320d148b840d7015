//! What each merge strategy does with a concurrent edit, what manifests may become, and what waits for them.
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
use syncd_engine::judgement::Rule;
use syncd_engine::workspace::ObjectView;
use syncd_engine::{Edit, Engine, Intent, WriteError, Written};
use syncd_evidence::RecordKind;
use syncd_schema::{EntryKind, ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn set(engine: &mut Engine, manifest: &Value, now: UnixMicros) -> Result<Written, WriteError> {
    write(engine, Intent::Govern(EntryKind::MANIFEST, manifest.to_string().into_bytes()), now)
}

fn strategy(word: &str) -> Value {
    json!({"collection": "notes", "mergeStrategy": word})
}

/// An owner and another device under one manifest, in step.
fn pair(manifest: &Value, role: Role) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    set(&mut ada, manifest, at(0)).expect("set");
    let (mut bob, _) = member(&mut ada, 2, role);
    meet(&mut ada, &mut bob);
    (ada, bob)
}

fn meet(ada: &mut Engine, bob: &mut Engine) {
    for _ in 0..2 {
        sync(bob, ada, at(1_000));
    }
}

fn view(engine: &mut Engine, id: &str) -> ObjectView {
    engine.get(&id.parse().unwrap()).expect("readable").expect("known")
}

fn state(engine: &mut Engine, id: &str) -> ObjectState {
    view(engine, id).state
}

fn try_put(engine: &mut Engine, id: &str, value: Value, now: UnixMicros) -> Result<Written, WriteError> {
    let object = Some(id.parse().unwrap());
    write(engine, Intent::Put { collection: "notes".parse().unwrap(), object, value }, now)
}

fn try_patch(engine: &mut Engine, id: &str, patch: Value, now: UnixMicros) -> Result<Written, WriteError> {
    let edit = Edit::MergePatch(patch);
    write(engine, Intent::Edit { object: id.parse().unwrap(), base: None, edit }, now)
}

fn try_delete(engine: &mut Engine, id: &str, now: UnixMicros) -> Result<Written, WriteError> {
    write(engine, Intent::Delete { object: id.parse().unwrap() }, now)
}

fn is_refused(written: Result<Written, WriteError>, says: &str) {
    match written {
        Err(WriteError::Refused(refused)) => {
            let words = refused.decision.in_words();
            assert!(words.contains(says) && !refused.review, "{words}");
        }
        other => panic!("not refused by policy: {other:?}"),
    }
}

#[test]
fn crdt_and_graph_merge_show_both_sides_of_a_contradiction() {
    for word in ["crdt", "graph_merge"] {
        let (mut ada, mut bob) = pair(&strategy(word), Role::Member);
        put(&mut ada, "n1", json!({"t": 0, "u": 0}), at(1));
        meet(&mut ada, &mut bob);
        merge_patch(&mut ada, "n1", json!({"t": 1}), at(2));
        merge_patch(&mut bob, "n1", json!({"t": 2, "u": 2}), at(3));
        meet(&mut ada, &mut bob);
        for engine in [&mut ada, &mut bob] {
            let view = view(engine, "n1");
            assert_eq!((view.state, view.conflicts[0].values.len()), (ObjectState::Conflicted, 2));
            assert_eq!(view.value["u"], 2, "{word}: what does not contradict is merged");
        }
    }
}

#[test]
fn append_only_takes_what_is_added_and_nothing_else() {
    let (mut ada, mut bob) = pair(&strategy("append_only"), Role::Member);
    put(&mut ada, "n1", json!({"lines": ["a"], "text": "x"}), at(1));
    meet(&mut ada, &mut bob);
    let add = |engine: &mut Engine, line: &str, n| {
        let patch = json!([{"op": "add", "path": "/lines/-", "value": line}]);
        let edit = Edit::JsonPatch(serde_json::from_value(patch).unwrap());
        write(engine, Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, at(n))
            .expect("added");
    };
    add(&mut ada, "b", 2);
    add(&mut bob, "c", 3);
    merge_patch(&mut bob, "n1", json!({"more": {"k": 1}}), at(4));
    is_refused(try_patch(&mut ada, "n1", json!({"text": "y"}), at(5)), "only takes additions");
    is_refused(try_patch(&mut ada, "n1", json!({"text": null}), at(6)), "only takes additions");
    is_refused(try_delete(&mut ada, "n1", at(7)), "only takes additions");
    meet(&mut ada, &mut bob);
    for engine in [&mut ada, &mut bob] {
        let view = view(engine, "n1");
        assert_eq!((view.state, view.value["lines"].as_array().unwrap().len()), (ObjectState::Clean, 3));
        assert_eq!(view.value["more"], json!({"k": 1}));
    }
}

/// A device whose program does not ask: the others judge what it wrote by its own operations.
#[test]
fn append_only_refuses_what_another_replaced_or_deleted() {
    let (mut ada, _) = owner(1);
    set(&mut ada, &strategy("append_only"), at(0)).expect("set");
    put(&mut ada, "n1", json!({"a": 1}), at(1));
    let mut hand = Hand::enrolled(&mut ada, 9, Role::Member);
    let session = hand.session();
    let actor = hand.actor();
    let adds = hand.edit(&mut ada, "n1", json!({"b": 2}), actor);
    let replaces = hand.edit(&mut ada, "n1", json!({"a": 3}), actor);
    let segment = hand.send(&[session, adds, replaces]);
    ada.receive(hand.identity.device(), &segment, at(2)).expect("received");
    assert_eq!(value(&mut ada, "n1"), json!({"a": 1, "b": 2}));
    let refusal = ada.evidence(100).unwrap().into_iter().rfind(|r| r.kind == RecordKind::Refusal);
    assert!(refusal.unwrap().note.unwrap().contains("only takes additions"));
    assert_eq!(state(&mut ada, "n1"), ObjectState::Blocked);
}

#[test]
fn never_merge_leaves_nothing_to_send() {
    let (mut ada, mut bob) = pair(&strategy("never_merge"), Role::Member);
    let before = ada.frontier();
    put(&mut ada, "n1", json!({"a": 1}), at(1));
    put(&mut bob, "n1", json!({"a": 2}), at(2));
    // The session of this opening is all that the replicated log may have grown by.
    assert!(ada.entries() <= before.iter().map(|position| position.size.0).sum::<u64>() + 1);
    meet(&mut ada, &mut bob);
    assert_eq!((value(&mut ada, "n1"), value(&mut bob, "n1")), (json!({"a": 1}), json!({"a": 2})));
    assert_eq!(state(&mut ada, "n1"), ObjectState::Clean);
}

#[test]
fn quarantine_keeps_what_others_wrote_until_a_manifest_ends_it() {
    for by_owner in [true, false] {
        let (mut ada, mut bob) = pair(&strategy("quarantine"), Role::Admin);
        put(&mut ada, "n1", json!({"a": 1}), at(1));
        merge_patch(&mut ada, "n1", json!({"a": 2}), at(2));
        put(&mut bob, "n2", json!({"b": 1}), at(3));
        meet(&mut ada, &mut bob);
        assert_eq!(
            (state(&mut ada, "n1"), state(&mut bob, "n1")),
            (ObjectState::Clean, ObjectState::Quarantined)
        );
        assert_eq!(state(&mut ada, "n2"), ObjectState::Quarantined);
        assert_eq!(value(&mut bob, "n1"), Value::Null);
        let because = bob.explain("n1").unwrap().unwrap();
        assert!(because.because.iter().any(|line| line.contains("in quarantine")), "{because:?}");
        assert_eq!(because.state, "quarantined");

        let setter = if by_owner { &mut ada } else { &mut bob };
        set(setter, &strategy("crdt"), at(10)).expect("set");
        assert_eq!(
            state(setter, if by_owner { "n2" } else { "n1" }),
            ObjectState::Clean,
            "at once, where it is set"
        );
        meet(&mut ada, &mut bob);
        for engine in [&mut ada, &mut bob] {
            assert_eq!((value(engine, "n1"), value(engine, "n2")), (json!({"a": 2}), json!({"b": 1})));
            assert_eq!((state(engine, "n1"), state(engine, "n2")), (ObjectState::Clean, ObjectState::Clean));
            assert!(engine.verify(|_, _| {}).unwrap().ok);
        }
        // Once let in, in for good: a device that hears of it only in the next quarantine agrees.
        set(&mut ada, &strategy("quarantine"), at(20)).expect("set");
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        meet(&mut ada, &mut bob);
        for _ in 0..3 {
            sync(&mut eve, &mut ada, at(21));
            sync(&mut eve, &mut bob, at(22));
        }
        assert_eq!((value(&mut eve, "n1"), value(&mut eve, "n2")), (json!({"a": 2}), json!({"b": 1})));
    }
}

#[test]
fn signed_authority_counts_the_named_roles_alone() {
    let (mut ada, mut bob) = pair(&strategy("signed_authority_required"), Role::Member);
    put(&mut ada, "n1", json!({"a": 1}), at(1));
    meet(&mut ada, &mut bob);
    is_refused(try_put(&mut bob, "n2", json!({}), at(2)), "named role");
    is_refused(try_patch(&mut bob, "n1", json!({"a": 2}), at(3)), "schema show");
    is_refused(try_delete(&mut bob, "n1", at(4)), "named role");
    merge_patch(&mut ada, "n1", json!({"a": 5}), at(5));

    // Written by a program that does not ask, it is refused by those who do, under the manifest that it names.
    let mut hand = Hand::enrolled(&mut ada, 9, Role::Member);
    let session = hand.session();
    let actor = hand.actor();
    let edit = hand.edit(&mut ada, "n1", json!({"a": 7}), actor);
    let segment = hand.send(&[session, edit]);
    ada.receive(hand.identity.device(), &segment, at(6)).expect("received");
    assert_eq!(value(&mut ada, "n1"), json!({"a": 5}));

    // An owner may name others; two with authority contradict each other like anybody.
    let wider = json!({
        "collection": "notes", "mergeStrategy": "signed_authority_required", "authority": ["owner", "member"],
    });
    set(&mut ada, &wider, at(10)).expect("an owner may");
    meet(&mut ada, &mut bob);
    merge_patch(&mut ada, "n1", json!({"a": 8}), at(11));
    merge_patch(&mut bob, "n1", json!({"a": 9}), at(12));
    meet(&mut ada, &mut bob);
    for engine in [&mut ada, &mut bob] {
        assert_eq!(
            state(engine, "n1"),
            ObjectState::Blocked.max(ObjectState::Conflicted).min(ObjectState::Conflicted)
        );
    }
}

#[test]
fn a_local_write_that_does_not_fit_leaves_nothing_but_its_answer() {
    let manifest = json!({
        "collection": "notes",
        "schema": {"properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "invariants": [{"name": "budget", "cedar": "context.value.n <= 10"}],
    });
    let (mut ada, mut bob) = pair(&manifest, Role::Member);
    put(&mut ada, "n1", json!({"n": 4}), at(1));
    let (entries, records) = (ada.entries(), ada.evidence(100).unwrap().len());
    for written in [
        try_put(&mut ada, "n2", json!({"n": "x"}), at(2)),
        try_patch(&mut ada, "n1", json!({"n": null}), at(3)),
        try_patch(&mut ada, "n1", json!({"n": 11}), at(4)),
    ] {
        let Err(WriteError::Invalid { violations, .. }) = written else { panic!("{written:?}") };
        assert!(!violations.is_empty());
    }
    let error = try_patch(&mut ada, "n1", json!({"n": 11}), at(5)).expect_err("refused").to_string();
    assert_eq!(
        error,
        "the value of n1 does not fit its collection: invariant \"budget\", at the value: is false"
    );
    assert_eq!((ada.entries(), ada.evidence(100).unwrap().len()), (entries, records));
    assert_eq!(value(&mut ada, "n1"), json!({"n": 4}));

    // Each is right by itself, together they are not: what was merged stays, and is told of.
    meet(&mut ada, &mut bob);
    let wider = json!({
        "collection": "notes", "schema": {"properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "invariants": [{"name": "budget", "cedar": "context.value.n <= 10"}],
        "fields": {"/n": "counter"},
    });
    set(&mut ada, &wider, at(10)).expect("set");
    meet(&mut ada, &mut bob);
    let add = |engine: &mut Engine, n| {
        let edit = Edit::Increment { path: "/n".to_owned(), by: 5 };
        write(engine, Intent::Edit { object: "n3".parse().unwrap(), base: None, edit }, at(n))
            .expect("fits here");
    };
    put(&mut ada, "n3", json!({"n": 2}), at(11));
    meet(&mut ada, &mut bob);
    add(&mut ada, 12);
    add(&mut bob, 13);
    meet(&mut ada, &mut bob);
    let mut told = Vec::new();
    for engine in [&mut ada, &mut bob] {
        assert_eq!(value(engine, "n3"), json!({"n": 12}));
        let found = engine.violations_of(&"n3".parse().unwrap()).unwrap();
        assert_eq!((found.len(), found[0].rule, found[0].name.as_str()), (1, Rule::Invariant, "budget"));
        told.push(found);
    }
    assert_eq!(told[0], told[1]);
}

#[test]
fn what_arrives_before_its_manifest_is_quarantined_and_let_in_by_it() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    meet(&mut ada, &mut bob);
    // Bob hears of the manifest from Ada and writes under it; Eve hears from Bob's log first.
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(1));
    sync(&mut eve, &mut ada, at(2));
    set(&mut ada, &json!({"collection": "notes", "fields": {"/n": "counter"}}), at(3)).expect("set");
    meet(&mut ada, &mut bob);
    let before = eve.size_of_log(&bob.own_log());
    put(&mut bob, "n1", json!({"n": 1}), at(4));
    let log = bob.own_log();
    let segment = bob.segment(&log, before, None).expect("readable").expect("entries");
    eve.receive(bob.device(), &segment, at(5)).expect("received");
    let view = view(&mut eve, "n1");
    assert_eq!((view.state, view.value), (ObjectState::Quarantined, Value::Null));
    assert_eq!(eve.status().unwrap().held, 2, "kept, with the session that it was written in");
    sync(&mut eve, &mut ada, at(6));
    assert_eq!((state(&mut eve, "n1"), value(&mut eve, "n1")), (ObjectState::Clean, json!({"n": 1})));
}

/// A manifest of a later version: kept, and what was written under it waits with it; everything else goes on.
#[test]
fn a_manifest_that_is_not_understood_holds_what_was_written_under_it() {
    let (mut ada, _) = owner(1);
    let mut hand = Hand::enrolled(&mut ada, 9, Role::Admin);
    let before = hand.governance.clone();
    let manifest = json!({"collection": "notes", "mergeStrategy": "telepathy"}).to_string();
    let record = hand.record(EntryKind::MANIFEST, None, manifest.as_bytes());
    let link = syncd_evidence::merkle::leaf_hash(&record.entry.to_bytes());
    hand.governance = vec![link];
    let born = hand.birth("n1", json!({"a": 1}));
    let segment = hand.send(&[record, born]);
    ada.receive(hand.identity.device(), &segment, at(1)).expect("received");
    assert_eq!(state(&mut ada, "n1"), ObjectState::Quarantined);
    assert_eq!((ada.status().unwrap().held, ada.status().unwrap().refused), (2, 0));
    assert_eq!(ada.governance().heads, before);
    put(&mut ada, "n2", json!({"a": 1}), at(2));
    assert_eq!(state(&mut ada, "n2"), ObjectState::Clean);
}

#[test]
fn a_weaker_manifest_takes_an_owner() {
    let strong = json!({
        "collection": "notes", "policyClass": "high", "dangerousFields": ["/run"],
        "invariants": [{"name": "i", "cedar": "true"}],
    });
    let (mut ada, mut bob) = pair(&strong, Role::Admin);
    for weaker in [
        json!({"collection": "notes"}),
        json!({"collection": "notes", "policyClass": "high", "dangerousFields": ["/run"]}),
        json!({"collection": "notes", "policyClass": "high", "invariants": [{"name": "i", "cedar": "true"}]}),
    ] {
        is_refused(set(&mut bob, &weaker, at(1)), "takes away a protection");
    }
    let mut stronger = strong.clone();
    stronger["dangerousFields"] = json!(["/run", "/pay"]);
    set(&mut bob, &stronger, at(2)).expect("an admin may strengthen");
    meet(&mut ada, &mut bob);
    set(&mut ada, &json!({"collection": "notes"}), at(3)).expect("an owner may");
    // The others ask the same of an admin whose program does not.
    let mut hand = Hand::enrolled(&mut ada, 9, Role::Admin);
    let record = hand.record(EntryKind::MANIFEST, None, br#"{"collection":"notes","policyClass":"low"}"#);
    let segment = hand.send(&[record]);
    ada.receive(hand.identity.device(), &segment, at(4)).expect("received");
    assert_eq!(ada.status().unwrap().refused, 1);
}

#[test]
fn a_collection_neither_enters_nor_leaves_replication() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({}), at(1));
    for (manifest, says) in [
        (strategy("never_merge"), "cannot be taken back"),
        (json!({"collection": "notes", "encryptionScope": "vault"}), "cannot be taken back"),
        (json!({"collection": "vault"}), "never replicated"),
        (json!({"collection": "notes", "schema": {"$ref": "https://example.org"}}), "nothing is fetched"),
        (json!({"collection": "notes", "invariants": [{"name": "i", "cedar": "("}]}), "invariant \"i\""),
    ] {
        let error = set(&mut ada, &manifest, at(2)).expect_err("refused");
        assert!(matches!(&error, WriteError::Manifest(why) if why.contains(says)), "{error}");
    }
    set(&mut ada, &json!({"collection": "mine", "encryptionScope": "device"}), at(3))
        .expect("a new one may be either");
    let error = set(&mut ada, &json!({"collection": "mine"}), at(4)).expect_err("refused");
    assert!(matches!(error, WriteError::Manifest(_)), "{error}");
}

#[test]
fn what_touches_something_dangerous_is_told_to_policy() {
    let (mut ada, _) = owner(1);
    set(&mut ada, &json!({"collection": "notes", "dangerousFields": ["/run/*/cmd"]}), at(0)).expect("set");
    put(&mut ada, "n1", json!({"t": 1, "run": {"a": {"note": 1}}}), at(1));
    let bundle = syncd_schema::governance::Bundle {
        text: "@id(\"no-danger\") @because(\"Too dangerous.\") \
               forbid (principal, action, resource) when { context.dangerous };"
            .to_owned(),
        supersedes: Vec::new(),
    };
    let bundle = syncd_schema::cbor::encode(&bundle);
    write(&mut ada, Intent::Govern(EntryKind::BUNDLE, bundle), at(2)).expect("set");
    try_patch(&mut ada, "n1", json!({"t": 2, "run": {"a": {"note": 2}}}), at(3)).expect("harmless");
    is_refused(try_patch(&mut ada, "n1", json!({"run": {"a": {"cmd": "x"}}}), at(4)), "Too dangerous");
    is_refused(try_patch(&mut ada, "n1", json!({"run": null}), at(5)), "Too dangerous");
    is_refused(try_put(&mut ada, "n2", json!({"run": [{"cmd": "x"}]}), at(6)), "Too dangerous");
    try_put(&mut ada, "n3", json!({"run": []}), at(7)).expect("harmless");
}

/// Two admins describe a collection at once: the chain's order says which counts, the same on both, and the next word
/// of somebody who knows both is the last.
#[test]
fn of_concurrent_manifests_every_device_follows_the_same() {
    let (mut ada, mut bob) = pair(&json!({"collection": "notes"}), Role::Admin);
    let version = |n: &str| json!({"collection": "notes", "schemaVersion": n});
    set(&mut ada, &version("2"), at(1)).expect("set");
    set(&mut bob, &version("3"), at(2)).expect("set");
    meet(&mut ada, &mut bob);
    let notes = "notes".parse().unwrap();
    let shown = |engine: &Engine| engine.governance().manifest(&notes).schema_version;
    assert_eq!(shown(&ada), shown(&bob));
    set(&mut bob, &version("4"), at(3)).expect("set");
    meet(&mut ada, &mut bob);
    assert_eq!((shown(&ada), shown(&bob)), ("4".to_owned(), "4".to_owned()));
}
