//! Policies that can never decide: which are found, and that none is named that decides something.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use common::{Ask, any_ask, bundles, gate, operation};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::time::Instant;
use syncd_policy::{DEFAULT_BUNDLE, FLOOR, check};

/// The numbers of the policies of a text that are said to have no effect, and what is said.
fn never(text: &str) -> Vec<(usize, String)> {
    let report = check(text).expect("accepted");
    let of = |finding: &syncd_policy::Finding| {
        let at = report.policies.iter().position(|policy| Some(policy.place) == finding.place)?;
        Some((at, finding.message.clone()))
    };
    report.warnings.iter().filter_map(of).collect()
}

#[test]
fn contradictions_are_found() {
    for condition in [
        "when { context.role == Role::\"owner\" && context.role == Role::\"member\" }",
        "when { context.role == Role::\"owner\" } unless { context.role in [Role::\"owner\", Role::\"admin\"] }",
        "when { principal is User } unless { principal is User }",
        "when { principal is Agent && principal == User::\"ada\" }",
        "when { context.size > 10 && context.size < 10 }",
        "when { 10 <= context.size && context.size < 5 }",
        "when { context.size < 0 }",
        "when { context.dangerous && !context.dangerous }",
        "when { context.changed.contains(\"/pay/base\") && !context.changed.contains(\"/pay\") }",
        "when { context.fields.contains(\"/a\") } unless { context.fields.contains(\"/a\") }",
        "when { context.collection == Collection::\"a\" && context.collection == Collection::\"b\" }",
        "when { !([Class::\"low\", Class::\"medium\", Class::\"high\", Class::\"critical\"].contains(context.class)) }",
        "when { action == Action::\"edit\" && action == Action::\"delete\" }",
        "when { action == Action::\"bundle\" && resource is Object }",
        "when { false }",
    ] {
        for effect in ["permit", "forbid"] {
            let text = format!(
                "permit(principal, action, resource);\n{effect}(principal, action, resource) {condition};"
            );
            let found = never(&text);
            assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1], "{text}: {found:?}");
        }
    }
    let text = "permit(principal, action, resource);\nforbid(principal is Agent, action, resource) when { principal is User };";
    assert_eq!(never(text).len(), 1);
    let text = "permit(principal, action, resource);\nforbid(principal, action == Action::\"bundle\", resource is Object);";
    let found = never(text);
    assert!(!found.is_empty() && found.iter().all(|(at, _)| *at == 1), "{found:?}");
}

#[test]
fn permissions_that_the_floor_never_grants_are_found() {
    for condition in [
        "when { context.role == Role::\"relay\" }",
        "when { context.role in [Role::\"relay\", Role::\"none\"] }",
        "when { context.replaces }",
        "when { context.weakens && context.role != Role::\"owner\" }",
        "when { action in Action::\"govern\" && context.role == Role::\"member\" }",
        "when { action in Action::\"write\" && !context.authority }",
        "when { action == Action::\"sync.conflict.resolve\" && context.argued && principal is Agent }",
        "when { action == Action::\"member_add\" && context.targetRole == Role::\"owner\" && context.role == Role::\"admin\" }",
    ] {
        let text =
            format!("permit(principal, action, resource);\npermit(principal, action, resource) {condition};");
        let found = never(&text);
        assert!(found.len() == 1 && found[0].1.contains("built in"), "{text}: {found:?}");
        let text = text.replace("\npermit", "\nforbid");
        assert_eq!(never(&text), [], "a forbid decides beside the floor: {text}");
    }
}

#[test]
fn what_can_apply_or_is_not_known_is_not_named() {
    for text in [FLOOR, DEFAULT_BUNDLE] {
        assert_eq!(check(text).expect("accepted").warnings, []);
    }
    for condition in [
        "when { context.role == Role::\"owner\" || context.role == Role::\"member\" }",
        "when { context.changed.contains(\"/pay\") && !context.changed.contains(\"/pay/base\") }",
        "when { context.size > 10 && context.size < 12 }",
        "when { context.size >= 9223372036854775807 }",
        "when { resource == Object::\"n1\" }",
        "when { resource == Workspace::\"this\" }",
        "when { principal == User::\"(other)\" }",
        // More than comparing: it cannot apply, and that is not looked into.
        "when { context.size + 1 < context.size - 1 && context.size < 9 }",
        "when { context.size * 9223372036854775807 < 0 }",
    ] {
        let text =
            format!("permit(principal, action, resource);\nforbid(principal, action, resource) {condition};");
        assert_eq!(never(&text), [], "{text}");
    }
}

/// The most that one text can ask for. A release build takes a second.
#[test]
fn looking_ends_in_time() {
    let condition = "context.role == Role::\"owner\" && context.role == Role::\"none\" && context.class == Class::\"low\" \
        && context.scope == Scope::\"org\" && context.strategy == Strategy::\"crdt\" && context.base == Base::\"named\" \
        && context.dangerous && context.size > 3";
    let one = format!("forbid(principal, action, resource) when {{ {condition} }};\n");
    let begun = Instant::now();
    check(&one.repeat(120)).expect("accepted");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

const ATOMS: &[&str] = &[
    "context.role == Role::\"owner\"",
    "context.role in [Role::\"relay\", Role::\"none\"]",
    "context.role == Role::\"member\"",
    "context.targetRole == Role::\"owner\"",
    "context.class == Class::\"high\"",
    "context.base == Base::\"stale\"",
    "context.origin == Origin::\"local\"",
    "context.dangerous",
    "context.weakens",
    "context.argued",
    "context.replaces",
    "context.authority",
    "context.size < 10",
    "context.size > 10",
    "context.size == 15",
    "context.changed.contains(\"/pay\")",
    "context.changed.containsAny([\"/pay/base\", \"/a\"])",
    "context.fields.contains(\"/a\")",
    "context.collection == Collection::\"vault\"",
    "principal is User",
    "principal is Agent",
    "principal == User::\"ada\"",
    "principal in [User::\"bob\", User::\"*\"]",
    "resource == Object::\"n1\"",
    "resource is Workspace",
    "action in Action::\"write\"",
    "action == Action::\"bundle\"",
    "action in [Action::\"sync.conflict.resolve\", Action::\"edit\"]",
];

fn policy() -> impl Strategy<Value = String> {
    let atom = (any::<Index>(), any::<bool>())
        .prop_map(|(at, not)| format!("{}({})", if not { "!" } else { "" }, ATOMS[at.index(ATOMS.len())]));
    let conditions = prop::collection::vec((atom, select(vec!["&&", "&&", "||"])), 1..5);
    (select(vec!["permit", "permit", "forbid"]), conditions).prop_map(|(effect, conditions)| {
        let mut text = "true".to_owned();
        for (atom, operator) in conditions {
            text = if text == "true" { atom } else { format!("({text}) {operator} {atom}") };
        }
        format!("{effect}(principal, action, resource) when {{ {text} }};")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is asked, a policy of which it is said that it never decides is not among those that decided.
    #[test]
    fn what_is_said_never_to_decide_never_does(
        policies in prop::collection::vec(policy(), 1..4),
        opens in any::<bool>(),
        asks in prop::collection::vec(any_ask(), 200),
    ) {
        let text = policies.join("\n");
        // Not every combination is a text: Cedar sees that some can be of no kind at all.
        let Ok(report) = check(&text) else { return Ok(()) };
        let digest = report.digest.short();
        let named: Vec<String> = never(&text).iter().map(|(at, _)| format!("workspace.{digest}.{at}")).collect();
        let mut texts = vec![text.as_str()];
        texts.extend(opens.then_some("permit(principal, action, resource);"));
        let (mut gate, compiled) = gate(&bundles(&texts), None);
        for ask in &asks {
            let decision = match gate.decide(&compiled, operation(1), &Ask::request(ask)) {
                Ok(grant) => grant.decision().clone(),
                Err(refusal) => refusal.decision,
            };
            for name in &named {
                prop_assert!(!decision.policies.contains(name), "{} decides {:?}: {}", name, ask, text);
            }
        }
    }
}
