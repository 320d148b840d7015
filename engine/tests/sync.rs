//! Two and three engines keep one workspace in step, without any network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::json;
use syncd_engine::{Engine, Intent, WriteError};
use syncd_schema::{ObjectState, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

#[test]
fn what_is_written_here_is_read_there_and_the_second_sync_is_one_round_trip() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first", "n": 1}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(10));
    assert_eq!(value(&mut bob, "n1"), json!({"title": "first", "n": 1}));
    merge_patch(&mut bob, "n1", json!({"n": 2}), at(20));
    merge_patch(&mut ada, "n1", json!({"title": "second"}), at(21));
    sync(&mut bob, &mut ada, at(30));
    let both = json!({"title": "second", "n": 2});
    assert_eq!(value(&mut ada, "n1"), both);
    assert_eq!(value(&mut bob, "n1"), both);
    let quiet = sync(&mut bob, &mut ada, at(40));
    assert_eq!((quiet.round_trips, quiet.messages), (1, 2), "hello and hello");
    assert!(ada.verify(|_, _| {}).expect("verifies").ok);
    let report = bob.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn a_third_device_gets_everything_through_the_second() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    put(&mut ada, "n1", json!({"a": 1}), at(0));
    sync(&mut bob, &mut ada, at(10));
    merge_patch(&mut bob, "n1", json!({"b": 2}), at(20));
    // Eve's inviter is Ada: she knows Bob only after a first sync with her.
    sync(&mut eve, &mut ada, at(30));
    sync(&mut eve, &mut bob, at(40));
    assert_eq!(value(&mut eve, "n1"), json!({"a": 1, "b": 2}));
    merge_patch(&mut eve, "n1", json!({"c": 3}), at(50));
    sync(&mut bob, &mut eve, at(60));
    sync(&mut ada, &mut bob, at(70));
    assert_eq!(value(&mut ada, "n1"), json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(ada.frontier(), bob.frontier());
}

#[test]
fn a_store_opened_again_holds_everything() {
    let (mut ada, disk) = owner(1);
    put(&mut ada, "n1", json!({"a": 1}), at(0));
    for n in 0..200 {
        merge_patch(&mut ada, "n1", json!({"n": n, "text": "x".repeat(n)}), at(10 + n as u64));
    }
    let before =
        (value(&mut ada, "n1"), ada.frontier(), ada.history(&"n1".parse().unwrap()).expect("history").len());
    drop(ada);
    let mut ada = Engine::open(config(1, &disk)).expect("opens");
    assert_eq!(ada.loaded_documents(), 0);
    let after =
        (value(&mut ada, "n1"), ada.frontier(), ada.history(&"n1".parse().unwrap()).expect("history").len());
    assert_eq!(before, after);
    assert_eq!(after.2, 201);
    let report = ada.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
    merge_patch(&mut ada, "n1", json!({"again": true}), at(1_000));
}

#[test]
fn deletions_travel_and_an_edit_nobody_deleted_survives() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "gone", json!({"a": 1}), at(0));
    put(&mut ada, "kept", json!({"a": 1}), at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(10));
    write(&mut ada, Intent::Delete { object: "gone".parse().unwrap() }, at(20)).expect("deleted");
    write(&mut ada, Intent::Delete { object: "kept".parse().unwrap() }, at(21)).expect("deleted");
    merge_patch(&mut bob, "kept", json!({"b": 2}), at(22));
    sync(&mut bob, &mut ada, at(30));
    for engine in [&mut ada, &mut bob] {
        let gone = engine.get(&"gone".parse().unwrap()).unwrap().expect("known");
        assert_eq!((gone.state, gone.value), (ObjectState::Tombstoned, json!(null)));
        let kept = engine.get(&"kept".parse().unwrap()).unwrap().expect("known");
        assert_eq!((kept.state, kept.value), (ObjectState::Conflicted, json!({"a": 1, "b": 2})));
        let error = write(
            engine,
            Intent::Edit {
                object: "gone".parse().unwrap(),
                base: None,
                edit: syncd_engine::Edit::MergePatch(json!({"x": 1})),
            },
            at(40),
        );
        assert!(matches!(error, Err(WriteError::Tombstoned(_))));
    }
}

#[test]
fn what_never_leaves_does_not_leave() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let secret = Intent::Put {
        collection: "vault".parse().unwrap(),
        object: Some("s1".parse().unwrap()),
        value: json!({"password": "hunter2"}),
    };
    write(&mut ada, secret, at(0)).expect("put");
    sync(&mut bob, &mut ada, at(10));
    assert!(bob.get(&"s1".parse().unwrap()).unwrap().is_none());
    assert_eq!(value(&mut ada, "s1"), json!({"password": "hunter2"}));
    assert!(ada.verify(|_, _| {}).expect("verifies").ok);
}

#[test]
fn a_refusal_leaves_a_reason_and_evidence() {
    let (mut ada, _) = owner(1);
    let (mut bot, _) = member(&mut ada, 2, Role::Agent);
    put(&mut ada, "n1", json!({"a": 1}), at(0));
    sync(&mut bot, &mut ada, at(10));
    let error =
        write(&mut bot, Intent::Delete { object: "n1".parse().unwrap() }, at(20)).expect_err("refused");
    let WriteError::Refused(refused) = error else { panic!("{error}") };
    assert!(!refused.decision.policies.is_empty());
    let explained = bot.explain(&refused.operation.to_string()).unwrap().expect("on record");
    assert_eq!(explained.state, "refused");
    assert_eq!(value(&mut bot, "n1"), json!({"a": 1}));
}

#[test]
fn an_old_copy_of_the_store_is_noticed_heals_and_goes_on_in_a_new_epoch() {
    let (mut ada, _) = owner(1);
    let (mut bob, disk) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(0));
    put(&mut bob, "b1", json!({"n": 1}), at(10));
    let backup = Disk(std::sync::Arc::new(std::sync::Mutex::new(disk.0.lock().unwrap().clone())));
    merge_patch(&mut bob, "b1", json!({"n": 2}), at(20));
    sync(&mut bob, &mut ada, at(30));
    drop(bob);
    let mut bob = Engine::open(config(2, &backup)).expect("opens");
    assert_eq!(value(&mut bob, "b1"), json!({"n": 1}));
    sync(&mut bob, &mut ada, at(40));
    assert_eq!(value(&mut bob, "b1"), json!({"n": 2}));
    assert_eq!(bob.own_log().epoch.0, 1);
    assert!(bob.status().unwrap().findings.iter().any(|f| f.kind.word() == "rollback"));
    merge_patch(&mut bob, "b1", json!({"n": 3}), at(50));
    sync(&mut bob, &mut ada, at(60));
    assert_eq!(value(&mut ada, "b1"), json!({"n": 3}));
    assert!(bob.verify(|_, _| {}).expect("verifies").ok);
}

#[test]
fn two_copies_that_both_wrote_freeze_the_log_and_keep_both_histories() {
    let (mut ada, _) = owner(1);
    let (mut bob, disk) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(0));
    put(&mut bob, "b1", json!({"n": 1}), at(10));
    sync(&mut bob, &mut ada, at(11));
    let copy = Disk(std::sync::Arc::new(std::sync::Mutex::new(disk.0.lock().unwrap().clone())));
    let mut clone_config = config(2, &copy);
    clone_config.entropy = Box::new(Seeded::new(999));
    let mut clone = Engine::open(clone_config).expect("opens");
    merge_patch(&mut bob, "b1", json!({"here": 1}), at(20));
    merge_patch(&mut clone, "b1", json!({"there": 1}), at(21));
    sync(&mut bob, &mut ada, at(30));
    sync(&mut clone, &mut ada, at(40));
    let status = ada.status().unwrap();
    assert!(status.findings.iter().any(|f| f.kind.word() == "log_fork"), "{:?}", status.findings);
    assert_eq!(status.logs.iter().filter(|log| log.device == bob.device() && log.branch).count(), 2);
    assert!(status.logs.iter().all(|log| log.frozen == log.branch));
    sync(&mut bob, &mut ada, at(50));
    assert!(bob.stopped().is_some());
    let edit = Intent::Edit {
        object: "b1".parse().unwrap(),
        base: None,
        edit: syncd_engine::Edit::MergePatch(json!({"x": 1})),
    };
    assert!(matches!(write(&mut bob, edit, at(60)), Err(WriteError::Stopped(_))));
    assert!(ada.verify(|_, _| {}).expect("verifies").ok);
    // The way out: an admin lets the device in anew, and it goes on in the next epoch.
    let identity = identity(2);
    ada.enrol(
        identity.device(),
        "again",
        Role::Member,
        identity.key_agreement(),
        &identity.key_signature(&ada.workspace()),
        at(70),
    )
    .expect("enrolled");
    sync(&mut bob, &mut ada, at(80));
    assert_eq!(bob.stopped(), None);
    put(&mut bob, "b2", json!({"on": true}), at(90));
    sync(&mut bob, &mut ada, at(100));
    assert_eq!(value(&mut ada, "b2"), json!({"on": true}));
}

#[test]
fn a_key_makes_a_repeated_call_the_same_operation() {
    let (mut ada, _) = owner(1);
    let mut request = syncd_engine::WriteRequest::new(
        user(),
        Intent::Put { collection: "notes".parse().unwrap(), object: None, value: json!({"a": 1}) },
    );
    request.idempotency_key = Some("k1".to_owned());
    let first = ada.write(&[request.clone()], at(0)).unwrap().0.remove(0).expect("written");
    let second = ada.write(&[request.clone()], at(1)).unwrap().0.remove(0).expect("written");
    assert_eq!(first.operation, second.operation);
    assert!(second.repeated && !first.repeated);
    request.intent =
        Intent::Put { collection: "notes".parse().unwrap(), object: None, value: json!({"a": 2}) };
    let third = ada.write(&[request], at(2)).unwrap().0.remove(0);
    assert!(matches!(third, Err(WriteError::KeyReused(_))));
}
