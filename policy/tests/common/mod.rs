//! Requests with every field given, for tests.

#![allow(dead_code, reason = "each test file uses its own part")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::collections::BTreeMap;
use std::sync::Arc;
use syncd_policy::{Action, Base, Gate, Origin, Policies, Request};
use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{Actor, Collection, DeviceId, Digest, ObjectId, OperationId, Role, UnixMicros, domain};

/// An owned request: by default a member's edit with a named base.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) action: Action,
    pub(crate) origin: Origin,
    pub(crate) actor: Actor,
    pub(crate) device: DeviceId,
    pub(crate) role: Option<Role>,
    pub(crate) target_role: Option<Role>,
    pub(crate) collection: Collection,
    pub(crate) object: ObjectId,
    pub(crate) class: PolicyClass,
    pub(crate) scope: EncryptionScope,
    pub(crate) strategy: MergeStrategy,
    pub(crate) changed: Vec<String>,
    pub(crate) size: u64,
    pub(crate) base: Base,
    pub(crate) dangerous: bool,
    pub(crate) weakens: bool,
    pub(crate) argued: bool,
    pub(crate) replaces: bool,
    pub(crate) authority: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            action: Action::Edit,
            origin: Origin::Local,
            actor: "user:ada".parse().expect("an actor"),
            device: DeviceId([1; 32]),
            role: Some(Role::Member),
            target_role: None,
            collection: "notes".parse().expect("a name"),
            object: "n1".parse().expect("an id"),
            class: PolicyClass::Medium,
            scope: EncryptionScope::Workspace,
            strategy: MergeStrategy::Crdt,
            changed: vec!["/title".to_owned()],
            size: 100,
            base: Base::Named,
            dangerous: false,
            weakens: false,
            argued: false,
            replaces: false,
            authority: true,
        }
    }
}

impl Ask {
    pub(crate) fn request(&self) -> Request<'_> {
        Request {
            action: self.action,
            origin: self.origin,
            actor: &self.actor,
            device: self.device,
            role: self.role,
            target_role: self.target_role,
            collection: Some(&self.collection),
            object: Some(&self.object),
            class: self.class,
            scope: self.scope,
            strategy: self.strategy,
            changed: &self.changed,
            size: self.size,
            base: self.base,
            touches_dangerous: self.dangerous,
            weakens: self.weakens,
            argued: self.argued,
            replaces: self.replaces,
            has_authority: self.authority,
        }
    }
}

pub(crate) fn bundles(texts: &[&str]) -> BTreeMap<Digest, String> {
    texts.iter().map(|text| (domain::sha256(text.as_bytes()), (*text).to_owned())).collect()
}

pub(crate) fn gate(bundles: &BTreeMap<Digest, String>, device: Option<&str>) -> (Gate, Arc<Policies>) {
    let mut gate = Gate::new();
    let policies = gate.compile(bundles, device).expect("compiles");
    (gate, policies)
}

pub(crate) fn operation(n: u64) -> OperationId {
    OperationId::at(UnixMicros(n), n)
}

/// Any request, with ids, paths and sizes that policies of tests compare with among others.
pub(crate) fn any_ask() -> impl Strategy<Value = Ask> {
    let roles = vec![
        None,
        Some(Role::Owner),
        Some(Role::Admin),
        Some(Role::Member),
        Some(Role::Agent),
        Some(Role::Relay),
    ];
    let who = (
        select(Action::ALL.to_vec()),
        select(vec![Origin::Local, Origin::Remote]),
        select(vec!["user:ada", "user:bob", "user:*", "user:eve", "agent:ada", "system:x", "worker:w"]),
        1u8..3,
        select(roles.clone()),
        select(roles),
    );
    let scopes = vec![EncryptionScope::Public, EncryptionScope::Workspace, EncryptionScope::Vault];
    let strategies = vec![MergeStrategy::Crdt, MergeStrategy::ManualReview, MergeStrategy::NeverMerge];
    let what = (
        select(vec!["notes", "vault", "files"]),
        select(vec!["n1", "n2", "this"]),
        select(vec![PolicyClass::Low, PolicyClass::High, PolicyClass::Critical]),
        select(scopes),
        select(strategies),
    );
    let paths = vec!["", "/a", "/a/b", "/pay", "/pay/base", "/payroll", "/a/b/c", "/z"];
    let how = (
        subsequence(paths, 0..4),
        prop_oneof![0u64..25, Just(u64::MAX), Just(1 << 40)],
        select(vec![Base::Named, Base::Stale, Base::Missing, Base::NotNeeded]),
        any::<bool>(),
        prop::bool::weighted(0.2),
        (prop::bool::weighted(0.2), prop::bool::weighted(0.8), prop::bool::weighted(0.2)),
    );
    (who, what, how).prop_map(|(who, what, how)| Ask {
        action: who.0,
        origin: who.1,
        actor: who.2.parse().expect("an actor"),
        device: DeviceId([who.3; 32]),
        role: who.4,
        target_role: who.5,
        collection: what.0.parse().expect("a name"),
        object: what.1.parse().expect("an id"),
        class: what.2,
        scope: what.3,
        strategy: what.4,
        changed: how.0.into_iter().map(str::to_owned).collect(),
        size: how.1,
        base: how.2,
        dangerous: how.3,
        weakens: how.4,
        replaces: how.5.0,
        authority: how.5.1,
        argued: how.5.2,
    })
}
