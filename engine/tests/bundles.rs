//! More policy bundles than are asked together, which only devices that wrote apart can bring about.
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
use syncd_schema::{OperationStatus, Role, UnixMicros};

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn add(engine: &mut Engine, name: &str, now: UnixMicros) -> Result<(), WriteError> {
    let text = format!("forbid(principal == User::\"{name}\", action, resource);");
    write(engine, Intent::SetPolicy { text, beside: true }, now).map(drop)
}

fn findings(engine: &Engine) -> Vec<String> {
    let all = engine.findings().expect("readable").into_iter();
    all.filter(|finding| finding.place == "policy").map(|finding| finding.next).collect()
}

/// Nothing is permitted but making room, on every device, with the way out; and what was written before stays.
#[test]
fn bundles_added_apart_beyond_the_limit_are_said_loudly_and_replaced_by_one() {
    let (mut ada, _) = owner(1);
    let (mut eve, _) = member(&mut ada, 2, Role::Admin);
    let (mut bob, _) = member(&mut ada, 3, Role::Member);
    sync(&mut ada, &mut eve, at(1));
    for n in 0..33 {
        add(&mut ada, &format!("a{n}"), at(2 + n)).expect("there is room");
        add(&mut eve, &format!("e{n}"), at(2 + n)).expect("there is room");
    }
    put(&mut ada, "n1", json!({ "by": "ada" }), at(50));
    put(&mut eve, "n2", json!({ "by": "eve" }), at(50));
    assert!(findings(&ada).is_empty());
    // Different orders of arrival.
    sync(&mut ada, &mut bob, at(51));
    sync(&mut ada, &mut eve, at(51));
    sync(&mut eve, &mut bob, at(52));
    for engine in [&mut ada, &mut eve, &mut bob] {
        assert_eq!(engine.governance().bundles.len(), 67);
        let found = findings(engine);
        assert!(found.len() == 1 && found[0].contains("policy set FILE"), "{found:?}");
        let put = Intent::Put { collection: "notes".parse().unwrap(), object: None, value: json!({}) };
        let Err(WriteError::Refused(refused)) = write(engine, put, at(53)) else { panic!("refused") };
        assert!(refused.decision.policies.contains(&"workspace.too-many-bundles".to_owned()));
        assert!(refused.decision.in_words().contains("policy set"), "{}", refused.decision.in_words());
        assert_eq!(
            (value(engine, "n1"), value(engine, "n2")),
            (json!({ "by": "ada" }), json!({ "by": "eve" }))
        );
    }
    assert!(
        matches!(add(&mut ada, "one-more", at(54)), Err(WriteError::Bundle(reason)) if reason.contains("64"))
    );
    assert!(matches!(add(&mut eve, "one-more", at(54)), Err(WriteError::Bundle(_))));

    let one = Intent::SetPolicy { text: "permit(principal, action, resource);".to_owned(), beside: false };
    write(&mut ada, one, at(55)).expect("an owner makes room");
    sync(&mut ada, &mut eve, at(56));
    sync(&mut eve, &mut bob, at(57));
    put(&mut bob, "n3", json!({ "by": "bob" }), at(58));
    sync(&mut eve, &mut bob, at(59));
    sync(&mut ada, &mut eve, at(60));
    for engine in [&mut ada, &mut eve, &mut bob] {
        assert_eq!(value(engine, "n3"), json!({ "by": "bob" }));
        assert!(engine.operations(Some(OperationStatus::Failed), 10).expect("readable").is_empty());
        assert!(engine.operations(Some(OperationStatus::Blocked), 10).expect("readable").is_empty());
    }
}
