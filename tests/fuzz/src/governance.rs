//! What those who govern a workspace write: acts of the chain, manifests, policies, conditions.

use crate::fixed::identity;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use syncd_engine::judgement::{Judge, references, unique_keys};
use syncd_policy::shape;
use syncd_policy::{Action, Base, Condition, Facts, Gate, Origin, Request, check};
use syncd_schema::governance::{Act, Chain, Link};
use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{
    Actor, Collection, Digest, EntryKind, Manifest, ObjectId, OperationId, Role, UnixMicros, cbor, domain,
    limits,
};

/// The payload of a governance entry, by the first byte; and the state it makes.
pub fn act(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let Ok(act) = Act::decode(EntryKind(u16::from(*kind)), data) else { return };
    match &act {
        Act::Genesis(genesis) => {
            assert_eq!(genesis.to_bytes(), data);
            assert!(genesis.name.len() <= limits::NAME_BYTES);
        }
        Act::Member(member) => assert_eq!(cbor::encode(member), data),
        Act::Bundle(bundle) => assert_eq!(cbor::encode(bundle), data),
        Act::Manifest(_) | Act::Other => {}
    }
    let mut chain = Chain::default();
    let link = Link { id: Digest([1; 32]), parents: Vec::new(), author: identity(1).device(), act };
    assert!(chain.add(link));
    assert_eq!(chain.current().heads, [Digest([1; 32])]);
}

/// A manifest: read, written, read again; then what it makes of a value.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::from_json(data) else { return };
    let written = serde_json::to_vec(&manifest).expect("JSON");
    // Members that were left out are written with their defaults, and that may be too much for a record.
    if written.len() <= limits::RECORD_BYTES {
        assert_eq!(Manifest::from_json(&written).expect("a manifest"), manifest);
    }
    assert!(manifest.fields.len() <= limits::MANIFEST_FIELDS);
    assert!(manifest.unique.len() <= limits::MANIFEST_KEYS);
    assert!(manifest.references.len() <= limits::MANIFEST_REFERENCES);
    let value = json!({"title": "a", "n": 3, "list": [1, {"x": "y"}, []], "map": {"k": {"deep": null}}});
    drop((references(&value, &manifest), unique_keys(&value, &manifest)));
    assert_eq!(manifest.is_dangerous(&[String::new()]), !manifest.dangerous_fields.is_empty());
    assert!(manifest.rule(&["map", "k"]).is_none() || !manifest.fields.is_empty());
    if let Ok(judge) = Judge::new(&manifest) {
        let violations = judge.violations(&value);
        assert!(violations.len() <= limits::VIOLATIONS);
        assert_eq!(violations, judge.violations(&value), "the same value is judged otherwise");
    }
}

/// A policy text as `policy check` and `policy set --device` read it.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (bundle, contents) = (check(text), syncd_policy::contents(text));
    assert_eq!(contents.is_ok(), bundle.is_ok());
    let Ok(report) = bundle else { return };
    assert!(syncd_policy::check_own(text).is_ok());
    assert!(text.len() <= shape::TEXT_BYTES && report.policies.len() <= shape::TEXT_POLICIES);
    assert_eq!(report.digest, domain::sha256(text.as_bytes()));
}

/// A bundle beside the floor, asked about requests of every action: with no answer kept and with.
pub fn bundle(data: &[u8]) {
    thread_local!(static GATE: RefCell<Gate> = RefCell::new(Gate::new()));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let bundles = BTreeMap::from([(domain::sha256(data), text.to_owned())]);
    GATE.with_borrow_mut(|gate| {
        let compiled = gate.compile(&bundles, None);
        assert_eq!(compiled.is_ok(), syncd_policy::contents(text).is_ok());
        let Ok(policies) = compiled else { return };
        for action in Action::ALL {
            ask(gate, &policies, action, Origin::Remote);
        }
        let own = gate.compile(&syncd_policy::default_bundles(), Some(text));
        ask(gate, &own.expect("the same text as a device's own"), Action::Edit, Origin::Local);
    });
}

fn ask(gate: &mut Gate, policies: &std::sync::Arc<syncd_policy::Policies>, action: Action, origin: Origin) {
    let actor: Actor = "user:ada".parse().expect("an actor");
    let (collection, object): (Collection, ObjectId) =
        ("notes".parse().expect("a name"), "n1".parse().expect("an id"));
    let request = Request {
        action,
        origin,
        actor: &actor,
        device: identity(1).device(),
        role: Some(Role::Member),
        target_role: None,
        collection: Some(&collection),
        object: Some(&object),
        class: PolicyClass::Medium,
        scope: EncryptionScope::Workspace,
        strategy: MergeStrategy::Crdt,
        changed: &["/pay/base".to_owned()],
        size: 100,
        base: Base::Named,
        touches_dangerous: false,
        weakens: false,
        argued: false,
        replaces: false,
        has_authority: true,
    };
    let operation = OperationId::at(UnixMicros(1), 1);
    let mut verdict = || match gate.decide(policies, operation, &request) {
        Ok(grant) => (true, grant.digest()),
        Err(refusal) => (false, refusal.digest),
    };
    assert_eq!(verdict(), verdict(), "a kept answer is another");
}

/// A condition on a value, as manifests have them.
pub fn condition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(condition) = Condition::parse(text) else { return };
    let facts = Facts::of(&json!({"spent": 7, "budget": 10.0, "tags": ["a", "b"], "who": {"name": "ada"}}));
    let facts = facts.expect("facts");
    assert_eq!(condition.judge(&facts), condition.judge(&facts));
}
