//! Acts of governance on the local road, and what a policy bundle must be before it is written.
//!
//! What is checked here beyond the gate is checked where an act is written and nowhere else: other devices judge what
//! they receive by the gate and by whether they can read it, from the entry alone.

use super::intent::{WriteError, WriteRequest, Written};
use super::judge::Question;
use super::local::done;
use super::stage::Stage;
use super::{Engine, strategy};
use crate::store::StoreError;
use crate::store::rows::LogKind;
use std::collections::BTreeMap;
use std::sync::Arc;
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_policy::{Origin, PolicyError, have_room, owner_may_replace};
use syncd_schema::governance::{Act, Bundle, Chain, Link};
use syncd_schema::{Actor, ActorKind, Digest, EntryKind, OperationType, Role, cbor, domain};

impl Engine {
    pub(super) fn govern(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        kind: EntryKind,
        payload: &[u8],
    ) -> Result<Written, WriteError> {
        let act = Act::decode(kind, payload)?;
        if let Act::Bundle(bundle) = &act {
            self.may_be_in_force(bundle, &request.actor, payload.len())?;
        }
        if let Act::Manifest(manifest) = &act {
            self.may_be_set(manifest)?;
        }
        let rules = Arc::clone(&self.rules);
        let log = self.log_number(stage, LogKind::Device(self.own_log()));
        let (operation, time) = self.next_operation(stage, log);
        let entry = self.record_entry(request, kind, (operation, time), None, payload);
        let proof = {
            let question =
                Question::of_entry(Origin::Local, self.device(), &entry, Some(&act), &rules.governance);
            self.admit_local(stage, request, &rules, &question, operation)?
        };
        let parents = entry.governance.clone();
        let (_, id) = self.log_entry(stage, log, entry, payload.to_vec(), &proof, OperationType::Enqueue);
        let woken = strategy::woken_by(&act);
        self.add_link(stage, Link { id, parents, author: self.device(), act }, kind, payload);
        self.wake(stage, woken)?;
        Ok(done(operation, None, Vec::new()))
    }

    /// Puts a bundle in force, in the place of all that are or beside them.
    pub(super) fn set_policy(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        text: &str,
        beside: bool,
    ) -> Result<Written, WriteError> {
        // Before it is encoded: a text beyond all bounds would fail as an entry, and not say where.
        self.compiles(&BTreeMap::from([named(text)]))?;
        let own = domain::sha256(text.as_bytes());
        let others = self.governance().bundles.keys().filter(|digest| **digest != own).copied();
        let supersedes = if beside { Vec::new() } else { others.collect() };
        let payload = cbor::encode(&Bundle { text: text.to_owned(), supersedes });
        self.govern(stage, request, EntryKind::BUNDLE, &payload)
    }

    /// Refuses a bundle that does not compile, alone or with those that stay, and one that no owner could replace.
    fn may_be_in_force(&mut self, bundle: &Bundle, actor: &Actor, size: usize) -> Result<(), WriteError> {
        self.compiles(&BTreeMap::from([named(&bundle.text)]))?;
        let before = self.governance().bundles.clone();
        let mut after = before.clone();
        after.retain(|digest, _| !bundle.supersedes.contains(digest));
        after.extend([named(&bundle.text)]);
        have_room(after.len()).map_err(|error| refused(&error))?;
        self.compiles(&after)?;
        if self.is_replaceable(&after, actor, size)? {
            return Ok(());
        }
        // Who adds to what nobody can replace any more takes nothing away by it.
        if bundle.supersedes.is_empty() && !self.is_replaceable(&before, actor, size)? {
            return Ok(());
        }
        let reason = "with it no owner could ever replace it; let an owner's user do the action \"bundle\", \
                      also where it weakens";
        Err(WriteError::Bundle(reason.to_owned()))
    }

    /// Says loudly that nothing is permitted any more but making room, where an act of this stage has led to that.
    pub(super) fn note_crowd(&self, stage: &mut Stage) -> Result<(), StoreError> {
        let Some(governance) = stage.chain.as_ref().map(Chain::current) else { return Ok(()) };
        let Err(error) = have_room(governance.bundles.len()) else { return Ok(()) };
        let next = "an owner takes the place of them all with `policy set FILE`; until then nothing else is permitted";
        let (kind, now) = (FindingKind::LimitReached, stage.now);
        let finding = Finding::new(kind, "policy", Severity::Critical, &error.to_string(), next, now);
        self.find(stage, finding)
    }

    fn compiles(&mut self, bundles: &BTreeMap<Digest, String>) -> Result<(), WriteError> {
        self.gate.compile(bundles, None).map(drop).map_err(|error| refused(&error))
    }

    /// Whether on some owner's device the acting user, or one that no policy knows, could replace all of these.
    fn is_replaceable(
        &self,
        bundles: &BTreeMap<Digest, String>,
        actor: &Actor,
        size: usize,
    ) -> Result<bool, WriteError> {
        let someone = "user:owner".parse::<Actor>().ok();
        let user = Some(actor).filter(|actor| actor.kind == ActorKind::User).or(someone.as_ref());
        for owner in self.governance().members.values().filter(|member| member.role == Some(Role::Owner)) {
            let Some(user) = user else { break };
            let may = owner_may_replace(bundles, user, owner.device, size as u64);
            if may.map_err(|error| refused(&error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn named(text: &str) -> (Digest, String) {
    (domain::sha256(text.as_bytes()), text.to_owned())
}

/// What is wrong with a text, with its place; which text it is, the caller knows.
fn refused(error: &PolicyError) -> WriteError {
    match error {
        PolicyError::In { source, .. } => WriteError::Bundle(source.to_string()),
        other => WriteError::Bundle(other.to_string()),
    }
}
