//! A device's own policy: what it narrows, what it leaves alone, and how it is put in force.
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
use syncd_engine::workspace::ReplayError;
use syncd_engine::{Edit, Engine, Intent, OpenError, WriteError, WriteRequest};
use syncd_schema::{OperationStatus, Role, UnixMicros};

const NO_EDIT: &str = "permit(principal, action, resource);
    @id(\"no-edit\") @because(\"This is a kiosk.\") forbid(principal, action == Action::\"edit\", resource);";
const LOOK: &str = "permit(principal, action, resource);
    @id(\"look\") @review(\"Looked at.\") forbid(principal, action == Action::\"edit\", resource);";

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn patch(value: serde_json::Value) -> Intent {
    Intent::Edit { object: "n1".parse().unwrap(), base: None, edit: Edit::MergePatch(value) }
}

fn own(engine: &mut Engine, text: &str) {
    engine.set_own_policy(Some(text.to_owned())).expect("accepted");
}

#[test]
fn it_narrows_what_the_device_writes_and_nothing_that_it_admits() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    put(&mut ada, "n1", json!({ "a": 0 }), at(1));
    sync(&mut ada, &mut bob, at(2));
    own(&mut bob, NO_EDIT);
    let Err(WriteError::Refused(refused)) = write(&mut bob, patch(json!({ "a": 1 })), at(3)) else {
        panic!("refused")
    };
    assert_eq!(refused.decision.policies, ["device.no-edit"]);
    assert!(refused.decision.in_words().contains("kiosk"), "{}", refused.decision.in_words());
    assert!(refused.decision.advice.iter().any(|way| way.contains("policy set --device")));
    // What others edit is admitted, and so is what this device may still do.
    merge_patch(&mut ada, "n1", json!({ "a": 2 }), at(4));
    put(&mut bob, "n2", json!({ "b": 0 }), at(4));
    sync(&mut ada, &mut bob, at(5));
    for engine in [&mut ada, &mut bob] {
        assert_eq!((value(engine, "n1"), value(engine, "n2")), (json!({ "a": 2 }), json!({ "b": 0 })));
        assert!(engine.operations(Some(OperationStatus::Blocked), 10).expect("readable").is_empty());
    }
    bob.set_own_policy(None).expect("taken away");
    assert_eq!(bob.own_policy(), None);
    merge_patch(&mut bob, "n1", json!({ "a": 3 }), at(6));
    sync(&mut ada, &mut bob, at(7));
    assert_eq!(value(&mut ada, "n1"), json!({ "a": 3 }));
}

/// It cannot permit what the workspace forbids.
#[test]
fn it_only_narrows() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({}), at(1));
    own(&mut ada, "permit(principal, action, resource);");
    let bot =
        WriteRequest::new("agent:bot".parse().unwrap(), Intent::Delete { object: "n1".parse().unwrap() });
    let answer = ada.write(&[bot], at(2)).expect("the disk works").0.remove(0);
    let Err(WriteError::Refused(refused)) = answer else { panic!("agents do not delete") };
    assert!(refused.decision.policies[0].starts_with("workspace."), "{:?}", refused.decision.policies);
}

/// What it wants looked at is a proposal, which every device holds under the same card.
#[test]
fn what_it_wants_looked_at_is_asked_about_everywhere() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    put(&mut ada, "n1", json!({ "a": 0 }), at(1));
    sync(&mut ada, &mut bob, at(2));
    own(&mut bob, LOOK);
    let written = write(&mut bob, patch(json!({ "a": 1 })), at(3)).expect("proposed");
    assert_eq!(written.status, OperationStatus::AwaitingDecision);
    sync(&mut ada, &mut bob, at(4));
    for engine in [&mut ada, &mut bob] {
        let open: Vec<_> = engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
        assert_eq!((open, value(engine, "n1")), (vec![written.card.unwrap()], json!({ "a": 0 })));
    }
}

#[test]
fn a_text_with_a_mistake_opens_nothing_and_says_where() {
    let (ada, disk) = owner(1);
    ada.close().expect("closed");
    let with = |policy: &str| syncd_engine::Config { policy: Some(policy.to_owned()), ..config(1, &disk) };
    let Err(OpenError::OwnPolicy(error)) = Engine::open(with("permit(principal, action, resource)\n  when"))
    else {
        panic!("not opened")
    };
    let source = std::error::Error::source(&error).expect("a source").to_string();
    assert!(error.to_string().contains("this device's policy") && source.contains("line 2"), "{source}");

    let mut ada = Engine::open(with(NO_EDIT)).expect("opened");
    put(&mut ada, "n1", json!({}), at(1));
    assert!(matches!(write(&mut ada, patch(json!({ "a": 1 })), at(2)), Err(WriteError::Refused(_))));
    // One that is not accepted leaves the one before in force.
    assert!(ada.set_own_policy(Some("permit".to_owned())).is_err());
    assert_eq!(ada.own_policy(), Some(NO_EDIT));
    assert!(matches!(write(&mut ada, patch(json!({ "a": 1 })), at(3)), Err(WriteError::Refused(_))));
    let report = ada.verify(|_, _| {}).expect("readable");
    assert!(report.ok, "{report:?}");
}

/// Decisions under a text that was replaced since are made again with it.
#[test]
fn past_decisions_are_made_again_under_the_text_of_then() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({}), at(1));
    own(&mut ada, NO_EDIT);
    let Err(WriteError::Refused(refused)) = write(&mut ada, patch(json!({ "a": 1 })), at(2)) else {
        panic!("refused")
    };
    own(&mut ada, LOOK);
    let replay = ada.replay_decision(refused.operation).expect("decided");
    assert!(replay.is_same(), "{replay:?}");
    assert_eq!(replay.then.policies, ["device.no-edit"]);
    assert_eq!(replay.now.policies, ["device.look"]);
    ada.set_own_policy(None).expect("taken away");
    let replay = ada.replay_decision(refused.operation).expect("decided");
    assert!(replay.is_same() && replay.now.policies.iter().all(|policy| !policy.starts_with("device.")));
    let unknown = syncd_schema::OperationId::at(at(9), 9);
    assert!(matches!(ada.replay_decision(unknown), Err(ReplayError::NotFound(_))));
}
