//! Decisions made again: about entries of this device and of others, allowed, refused, asked about, alone and beside others.
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
use syncd_engine::workspace::{Replay, ReplayError};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest};
use syncd_policy::Verdict;
use syncd_schema::{OperationId, Role, UnixMicros};

const BOTH: &str = "permit(principal, action, resource);
    @id(\"bob\") @review(\"Bob's are looked at.\") forbid(principal == User::\"bob\", action, resource);
    @id(\"big\") forbid(principal, action in Action::\"write\", resource) when { context.size > 2000 };";

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn set(engine: &mut Engine, text: &str, now: UnixMicros) {
    write(engine, Intent::SetPolicy { text: text.to_owned(), beside: false }, now).expect("set");
}

fn verdicts(replay: &Replay) -> [Verdict; 3] {
    [replay.then.verdict, replay.again.verdict, replay.now.verdict]
}

#[test]
fn decisions_about_others_are_made_again_from_their_entries() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    set(&mut ada, BOTH, at(1));
    hand.governance = ada.governance().heads.clone();
    sync(&mut ada, &mut bob, at(2));
    let edit = |object: &str, n: u32| Intent::Edit {
        object: object.parse().unwrap(),
        base: None,
        edit: Edit::MergePatch(json!({ "n": n })),
    };
    // One commit, and one record of two decisions about it.
    let put = Intent::Put {
        collection: "notes".parse().unwrap(),
        object: Some("n1".parse().unwrap()),
        value: json!({}),
    };
    let batch = [put, edit("n1", 1), edit("n1", 2)].map(|intent| WriteRequest::new(user(), intent));
    let written: Vec<OperationId> = bob
        .write(&batch, at(3))
        .expect("written")
        .0
        .into_iter()
        .map(|w| w.expect("done").operation)
        .collect();
    let asked = WriteRequest::new("user:bob".parse().unwrap(), edit("n1", 3));
    let asked = bob.write(&[asked], at(4)).expect("written").0.remove(0).expect("held").operation;
    sync(&mut bob, &mut ada, at(5));
    let session = hand.session();
    let big = hand.birth("big", json!({ "text": "x".repeat(3_000) }));
    let refused = big.entry.operation;
    let segment = hand.send(&[session, big]);
    ada.receive(hand.identity.device(), &segment, at(6)).expect("received");
    for engine in [&mut ada, &mut bob] {
        for operation in &written {
            let replay = engine.replay_decision(*operation).expect("decided");
            assert!(replay.is_same() && replay.assumed.is_empty(), "{replay:?}");
            assert_eq!(verdicts(&replay), [Verdict::Allow; 3]);
        }
        let actions: Vec<String> = written
            .iter()
            .map(|operation| {
                engine.replay_decision(*operation).expect("decided").then.inputs["action"].clone()
            })
            .collect();
        assert_eq!(actions, ["create", "edit", "edit"], "each its own, whatever its neighbours are");
        let replay = engine.replay_decision(asked).expect("decided");
        assert_eq!((replay.is_same(), verdicts(&replay)), (true, [Verdict::Review; 3]), "{replay:?}");
    }
    let replay = ada.replay_decision(refused).expect("decided");
    assert_eq!((replay.is_same(), verdicts(&replay)), (true, [Verdict::Refuse; 3]), "{replay:?}");
    assert!(replay.then.policies[0].ends_with(".big"));

    set(
        &mut ada,
        "permit(principal, action, resource); forbid(principal, action == Action::\"create\", resource);",
        at(7),
    );
    let now = |engine: &mut Engine, operation| verdicts(&engine.replay_decision(operation).expect("decided"));
    assert_eq!(now(&mut ada, written[0]), [Verdict::Allow, Verdict::Allow, Verdict::Refuse]);
    assert_eq!(now(&mut ada, written[1]), [Verdict::Allow; 3]);
    assert_eq!(now(&mut ada, asked), [Verdict::Review, Verdict::Review, Verdict::Allow]);
    assert_eq!(now(&mut ada, refused), [Verdict::Refuse; 3]);
}

#[test]
fn a_refused_call_is_decided_again_under_the_bundles_of_then() {
    let (mut ada, _) = owner(1);
    set(&mut ada, BOTH, at(1));
    let put = Intent::Put {
        collection: "notes".parse().unwrap(),
        object: None,
        value: json!({ "text": "x".repeat(3_000) }),
    };
    let Err(WriteError::Refused(refused)) = write(&mut ada, put, at(2)) else { panic!("refused") };
    set(&mut ada, "permit(principal, action, resource);", at(3));
    let replay = ada.replay_decision(refused.operation).expect("decided");
    assert!(replay.is_same(), "{replay:?}");
    assert_eq!(verdicts(&replay), [Verdict::Refuse, Verdict::Refuse, Verdict::Allow]);
    assert_ne!(replay.then.policy_version, replay.now.policy_version);
    let unknown = OperationId::at(at(9), 9);
    assert!(matches!(ada.replay_decision(unknown), Err(ReplayError::NotFound(_))));
}
