//! Requests with every field given, for tests.

#![allow(dead_code, reason = "each test file uses its own part")]

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
