//! Whatever was asked about an object, or waited for somebody: when the object begins anew nobody is asked any more, on no
//! device, and nothing waits. In whatever collection.
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
use std::time::Instant;
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::{EntryKind, LogSeq, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn meet(ada: &mut Engine, bob: &mut Engine, n: u64) {
    for round in 0..2 {
        sync(bob, ada, at(n + round));
    }
}

fn pair(manifest: &Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    let bytes = manifest.to_string().into_bytes();
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, bytes), at(0)).expect("governed");
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    meet(&mut ada, &mut bob, 1);
    (ada, bob)
}

fn renew(engine: &mut Engine, id: &str, remains: Remains, n: u64) -> Result<Written, WriteError> {
    write(engine, Intent::Rebirth { object: id.parse().unwrap(), remains }, at(n))
}

fn delete(engine: &mut Engine, id: &str, n: u64) {
    write(engine, Intent::Delete { object: id.parse().unwrap() }, at(n)).expect("deleted");
}

fn open(engine: &Engine) -> Vec<(&'static str, String)> {
    let open = engine.cards(false).expect("cards").into_iter();
    open.map(|card| (card.kind, card.object.to_string())).collect()
}

fn quiet(ada: &mut Engine, bob: &mut Engine, shown: &Value) {
    for engine in [ada, bob] {
        assert_eq!(open(engine), [], "nobody is asked");
        assert_eq!(engine.status().unwrap().held, 0, "nothing waits");
        assert_eq!(&value(engine, "n1"), shown);
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
}

/// Asks something about `n1`, lets it begin anew on the owner's device, and looks at both.
fn after(manifest: &Value, kind: &str, ask: impl FnOnce(&mut Engine, &mut Engine)) {
    let (mut ada, mut bob) = pair(manifest);
    put(&mut ada, "n1", json!({"k": 0, "path": "a", "n": 1}), at(5));
    meet(&mut ada, &mut bob, 6);
    ask(&mut ada, &mut bob);
    meet(&mut ada, &mut bob, 20);
    assert!(open(&ada).iter().any(|(found, _)| *found == kind), "{kind}: {:?}", open(&ada));
    let anew = json!({"k": "new", "path": "of its own", "n": 1});
    renew(&mut ada, "n1", Remains::Value(anew.clone()), 30).expect("renewed");
    meet(&mut ada, &mut bob, 40);
    quiet(&mut ada, &mut bob, &anew);
}

fn free() -> Value {
    json!({"collection": "notes"})
}

#[test]
fn a_contradiction() {
    after(&free(), "concurrent_value", |ada, bob| {
        merge_patch(ada, "n1", json!({"k": 1}), at(10));
        merge_patch(bob, "n1", json!({"k": 2}), at(11));
    });
}

#[test]
fn a_deletion_that_met_work() {
    after(&free(), "delete_edit", |ada, bob| {
        merge_patch(ada, "n1", json!({"k": 1}), at(10));
        delete(bob, "n1", 11);
    });
}

#[test]
fn what_is_held_because_it_contradicts() {
    after(&json!({"collection": "notes", "policyClass": "high"}), "concurrent_value", |ada, bob| {
        merge_patch(ada, "n1", json!({"k": 1}), at(10));
        merge_patch(bob, "n1", json!({"k": 2}), at(11));
    });
}

#[test]
fn a_proposal() {
    after(&free(), "policy_review", |_, bob| {
        let edit = Edit::MergePatch(json!({"k": "proposed"}));
        let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
        let request = WriteRequest::new("agent:bot".parse().unwrap(), intent);
        let proposed = bob.write(&[request], at(10)).unwrap().0.remove(0).expect("proposed");
        assert!(proposed.card.is_some());
    });
}

#[test]
fn a_unique_value() {
    after(&json!({"collection": "notes", "unique": [["/path"]]}), "duplicate_key", |ada, bob| {
        merge_patch(ada, "n1", json!({"path": "b"}), at(10));
        put(bob, "n2", json!({"path": "b"}), at(11));
    });
}

#[test]
fn a_reference_to_what_is_gone() {
    let manifest = json!({"collection": "notes", "references": [{"path": "/parent", "collection": "notes"}]});
    after(&manifest, "dangling_reference", |ada, bob| {
        put(ada, "p1", json!({"k": 0}), at(10));
        meet(ada, bob, 11);
        merge_patch(ada, "n1", json!({"parent": "p1"}), at(13));
        delete(bob, "p1", 14);
    });
}

#[test]
fn a_rule_that_is_broken() {
    let manifest =
        json!({"collection": "notes", "invariants": [{"name": "sum", "cedar": "context.value.n <= 10"}]});
    let (mut ada, mut bob) = pair(&manifest);
    put(&mut ada, "n1", json!({"n": 1}), at(5));
    meet(&mut ada, &mut bob, 6);
    let refused = renew(&mut ada, "n1", Remains::Value(json!({"n": 11})), 7);
    assert!(refused.is_err(), "a new life is a value like any other");
    assert_eq!(value(&mut ada, "n1"), json!({"n": 1}));
    assert!(!ada.owes_erasure());
    quiet(&mut ada, &mut bob, &json!({"n": 1}));
}

#[test]
fn of_several_lives_one_has_to_be_chosen_before() {
    let (mut ada, mut bob) = pair(&free());
    put(&mut ada, "n1", json!({"k": "ada"}), at(5));
    put(&mut bob, "n1", json!({"k": "bob"}), at(6));
    meet(&mut ada, &mut bob, 7);
    let refused = renew(&mut ada, "n1", Remains::Nothing, 9);
    assert!(matches!(refused, Err(WriteError::Ambiguous(_))), "{refused:?}");
    let card = ada.cards(false).unwrap().remove(0).card;
    let resolve = Resolve { card, choice: Choice::Local, value: None, pick: None, because: None };
    write(&mut ada, Intent::Resolve(resolve), at(10)).expect("chosen");
    renew(&mut ada, "n1", Remains::Value(json!({"k": 1})), 11).expect("renewed");
    meet(&mut ada, &mut bob, 12);
    quiet(&mut ada, &mut bob, &json!({"k": 1}));
}

#[test]
fn what_is_in_quarantine() {
    let (mut ada, mut bob) = pair(&json!({"collection": "notes", "mergeStrategy": "quarantine"}));
    put(&mut ada, "n1", json!({"k": 0}), at(5));
    merge_patch(&mut ada, "n1", json!({"k": "secret"}), at(6));
    meet(&mut ada, &mut bob, 7);
    assert_eq!(bob.status().unwrap().held, 2);
    renew(&mut ada, "n1", Remains::Value(json!({"k": 1})), 9).expect("renewed");
    meet(&mut ada, &mut bob, 10);
    // The new life is in quarantine there, and what was before is gone.
    let bytes = json!({"collection": "notes", "mergeStrategy": "crdt"}).to_string().into_bytes();
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, bytes), at(12)).expect("governed");
    meet(&mut ada, &mut bob, 13);
    quiet(&mut ada, &mut bob, &json!({"k": 1}));
}

#[test]
fn what_never_leaves_the_device() {
    let (mut ada, _) = pair(&json!({"collection": "notes", "mergeStrategy": "never_merge"}));
    put(&mut ada, "n1", json!({"k": 0}), at(5));
    merge_patch(&mut ada, "n1", json!({"k": "secret"}), at(6));
    renew(&mut ada, "n1", Remains::Shown, 7).expect("renewed");
    assert_eq!(value(&mut ada, "n1"), json!({"k": "secret"}));
    renew(&mut ada, "n1", Remains::Nothing, 8).expect("erased");
    put(&mut ada, "n1", json!({"k": 0}), at(9));
    assert_eq!((value(&mut ada, "n1"), open(&ada)), (json!({"k": 0}), vec![]));
    let report = ada.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn a_long_history_goes_in_one_commit_and_a_newcomer_never_sees_it() {
    let (mut ada, mut bob) = pair(&free());
    put(&mut ada, "n1", json!({"k": 0}), at(5));
    meet(&mut ada, &mut bob, 6);
    for n in 0..1_500 {
        merge_patch(&mut ada, "n1", json!({ "k": n }), at(10 + n));
    }
    meet(&mut ada, &mut bob, 2_000);
    for n in 0..1_500 {
        merge_patch(&mut bob, "n1", json!({ "k": n }), at(3_000 + n));
    }
    meet(&mut ada, &mut bob, 5_000);
    let begun = Instant::now();
    renew(&mut ada, "n1", Remains::Value(json!({"k": 1})), 6_000).expect("renewed");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    // Its logs go on as before: runs are folded, and documents compacted.
    for n in 0..200 {
        merge_patch(&mut ada, "n1", json!({ "k": n }), at(6_100 + n));
    }
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    let traffic = sync(&mut eve, &mut ada, at(7_000));
    sync(&mut eve, &mut ada, at(7_001));
    meet(&mut ada, &mut bob, 7_010);
    assert_eq!(value(&mut eve, "n1"), json!({"k": 199}));
    assert!(traffic.messages > 2);
    quiet(&mut ada, &mut bob, &json!({"k": 199}));
    quiet(&mut ada, &mut eve, &json!({"k": 199}));
    let log = bob.own_log();
    assert!(eve.size_of_log(&log) > LogSeq(1_500), "the log is whole, without what it said");
}
