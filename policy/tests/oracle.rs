//! The gate against a slow and obvious one: each layer evaluated alone by Cedar, on a request with every attribute,
//! checked against the schema, without reduction and without cache.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use cedar_policy::{Authorizer, Context, Decision as Answer, Effect, Entities, PolicySet, Schema};
use common::{Ask, any_ask, bundles, gate, operation};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use syncd_policy::{DEFAULT_BUNDLE, FLOOR, Gate, Origin, SCHEMA, Verdict};
use syncd_schema::Role;

/// Policies that use every attribute, in ways the reduction understands and in ways it does not.
const POLICIES: &[&str] = &[
    "permit(principal, action, resource);",
    "permit(principal, action, resource) when { context.role in [Role::\"owner\", Role::\"member\"] };",
    "permit(principal is User, action in [Action::\"create\", Action::\"edit\"], resource);",
    "permit(principal, action, resource) when { context.size < 10 || 20 <= context.size };",
    "forbid(principal, action, resource) when { context.size == 15 };",
    "forbid(principal, action, resource) when { context.size * 4611686018427387904 > 0 };",
    "forbid(principal, action, resource) when { context.size + 1 == 12 };",
    "forbid(principal == User::\"ada\", action, resource) when { context.base == Base::\"stale\" };",
    "@review(\"a\") forbid(principal, action, resource) when { principal in [User::\"bob\", User::\"*\"] };",
    "@review(\"b\") forbid(principal, action, resource) when { context.changed.contains(\"/pay\") };",
    "forbid(principal, action, resource) when { context.changed.containsAny([\"/pay/base\", \"/a/b\"]) };",
    "@review(\"c\") forbid(principal, action, resource) when { context.changed.containsAll([\"/pay\", \"/a\"]) };",
    "permit(principal, action, resource) when { [\"/a\", \"/pay\"].containsAll(context.fields) };",
    "forbid(principal, action, resource) when { context.changed.isEmpty() };",
    "forbid(principal, action, resource) when { context.fields == [\"/a\"] };",
    "forbid(principal, action, resource == Object::\"n1\") when { context.class == Class::\"critical\" };",
    "@review(\"d\") forbid(principal, action, resource == Workspace::\"this\");",
    "forbid(principal, action, resource) when { context.collection == Collection::\"vault\" };",
    "forbid(principal, action, resource) when { context.device == \
     Device::\"0101010101010101010101010101010101010101010101010101010101010101\" };",
    "forbid(principal, action, resource) when { context.scope == Scope::\"vault\" && context.weakens };",
    "@review(\"e\") forbid(principal, action, resource) when { context.strategy == Strategy::\"manual_review\" };",
    "forbid(principal, action, resource) when { context.dangerous && context.origin == Origin::\"remote\" };",
    "forbid(principal, action, resource) when { context has size && context == context && context.size == 11 };",
    "permit(principal, action, resource) when { context.targetRole == Role::\"owner\" };",
    "forbid(principal, action, resource) unless { context has strategy };",
    "@review(\"g\") forbid(principal, action, resource) when { context.replaces || !context.authority };",
    "@review(\"f\") forbid(principal, action, resource) when { context.size * 4611686018427387904 > 5 };",
    DEFAULT_BUNDLE,
];

fn word<T: serde::Serialize>(value: T) -> String {
    serde_json::to_value(value).expect("json").as_str().expect("a word").to_owned()
}

/// The request with every attribute, checked by Cedar against the schema.
fn full(ask: &Ask, schema: &Schema) -> cedar_policy::Request {
    let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
    let role = |role: Option<Role>| entity("Role", role.map_or("none", Role::word));
    let mut changed = BTreeSet::new();
    for path in &ask.changed {
        changed.insert(path.clone());
        let steps: Vec<&str> = path.split('/').collect();
        changed.extend((2..steps.len()).map(|n| steps[..n].join("/")));
    }
    let fields: BTreeSet<String> = ask
        .changed
        .iter()
        .map(|path| path.split('/').nth(1).map_or(String::new(), |step| format!("/{step}")))
        .collect();
    let governs =
        matches!(ask.action.word(), "member_add" | "member_remove" | "bundle" | "manifest" | "key_epoch");
    let (kind, id) = (word(ask.actor.kind), ask.actor.id());
    let kind = kind[..1].to_uppercase() + &kind[1..];
    let context = json!({
        "role": role(ask.role), "targetRole": role(ask.target_role),
        "origin": entity("Origin", ask.origin.word()), "device": entity("Device", &ask.device.to_string()),
        "collection": entity("Collection", ask.collection.as_str()),
        "class": entity("Class", &word(ask.class)), "scope": entity("Scope", &word(ask.scope)),
        "strategy": entity("Strategy", &word(ask.strategy)), "base": entity("Base", ask.base.word()),
        "changed": changed, "fields": fields, "size": i64::try_from(ask.size).unwrap_or(i64::MAX),
        "dangerous": ask.dangerous, "weakens": ask.weakens, "argued": ask.argued,
        "replaces": ask.replaces, "authority": ask.authority,
    });
    let uid = |kind: &str, id: &str| cedar_policy::EntityUid::from_json(entity(kind, id)).expect("an entity");
    let action = uid("Action", ask.action.word());
    let context =
        Context::from_json_value(context, Some((schema, &action))).expect("a context of the schema");
    let resource = if governs { uid("Workspace", "this") } else { uid("Object", ask.object.as_str()) };
    cedar_policy::Request::new(uid(&kind, id), action, resource, context, Some(schema))
        .expect("of the schema")
}

/// Each layer by itself: all permit, none errs. And once more without what asks for review.
fn obvious(layers: &[String], ask: &Ask) -> Verdict {
    static SCHEMA_ONCE: LazyLock<(Schema, Entities)> = LazyLock::new(|| {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("the schema");
        let entities = schema.action_entities().expect("actions");
        (schema, entities)
    });
    let (schema, entities) = &*SCHEMA_ONCE;
    let request = full(ask, schema);
    let mut sets: Vec<PolicySet> = layers.iter().map(|text| text.parse().expect("policies")).collect();
    let all = |sets: &[PolicySet]| {
        let answers: Vec<_> =
            sets.iter().map(|set| Authorizer::new().is_authorized(&request, set, entities)).collect();
        let errs = answers.iter().any(|answer| answer.diagnostics().errors().next().is_some());
        (!errs && answers.iter().all(|answer| answer.decision() == Answer::Allow), errs)
    };
    let (allowed, errs) = all(&sets);
    if allowed {
        return Verdict::Allow;
    }
    for set in &mut sets {
        let asks =
            set.policies().filter(|p| p.effect() == Effect::Forbid && p.annotation("review").is_some());
        for id in asks.map(|policy| policy.id().clone()).collect::<Vec<_>>() {
            set.remove_static(id).expect("it is there");
        }
    }
    if !errs && all(&sets).0 { Verdict::Review } else { Verdict::Refuse }
}

fn texts(picks: &[Index]) -> Vec<&'static str> {
    let picks: BTreeSet<usize> = picks.iter().map(|pick| pick.index(POLICIES.len())).collect();
    picks.into_iter().map(|index| POLICIES[index]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// One gate asked many things answers each as the obvious one does, and as a fresh gate does, digest included.
    #[test]
    fn the_gate_agrees_with_the_obvious_one(
        permits in prop::bool::weighted(0.8),
        workspace in prop::collection::vec(any::<Index>(), 0..6),
        device in prop::option::of(prop::collection::vec(any::<Index>(), 0..4)),
        asks in prop::collection::vec(any_ask(), 1..24),
    ) {
        let mut shared = texts(&workspace);
        if permits {
            shared.push("permit(principal, action, resource); // again");
        }
        let own = device.map(|picks| {
            format!("{} {}", texts(&picks).join("\n"), if permits { POLICIES[0] } else { "" })
                .replace("@id(\"", "@id(\"own-")
        });
        let bundles = bundles(&shared);
        let (mut warm, policies) = gate(&bundles, own.as_deref());
        for ask in &asks {
            let mut layers = vec![FLOOR.to_owned(), shared.join("\n")];
            layers.extend(own.clone().filter(|_| ask.origin == Origin::Local));
            let of = |gate: &mut Gate, policies| match gate.decide(policies, operation(1), &ask.request()) {
                Ok(grant) => (Verdict::Allow, grant.digest()),
                Err(refusal) => (refusal.verdict, refusal.digest),
            };
            let first = of(&mut warm, &policies);
            prop_assert_eq!(first.0, obvious(&layers, ask), "{:?} under {:#?}", ask, layers);
            prop_assert_eq!(first, of(&mut warm, &policies), "from the cache");
            prop_assert_eq!(first, of(&mut Gate::new(), &policies), "a fresh gate");
            let inputs = match warm.decide(&policies, operation(1), &ask.request()) {
                Ok(grant) => grant.decision().inputs.clone(),
                Err(refusal) => refusal.decision.inputs.clone(),
            };
            let again = Gate::again(&policies, ask.origin, &inputs).map(|decision| decision.digest());
            prop_assert_eq!(again, Some(first.1), "from what it recorded: {:?}", inputs);
        }
    }
}
