//! What the gate is asked about an entry, local or remote, and how its answer is kept.
//!
//! A remote entry is judged under the governance heads it names and from nothing but itself, so that every device
//! with the same entries decides the same.

use super::Rules;
use crate::conflict::{self, Settlement};
use crate::guard;
use std::sync::Arc;
use syncd_policy::{Action, Base, Gate, Grant, Origin, Refusal, Request};
use syncd_schema::burst::Burst;
use syncd_schema::entry::Subject;
use syncd_schema::governance::Act;
use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{
    Actor, DeviceId, Entry, EntryKind, Governance, Manifest, OperationId, OperationType, Role,
};

/// Compiles the bundles of a governance state, and beside them this device's own policy, which is asked about nothing but
/// its own writes. None when a bundle does not compile: such a one is refused when it is admitted, so this happens for no
/// state that was reached.
pub(crate) fn compile(gate: &mut Gate, governance: Governance, own: Option<&str>) -> Option<Arc<Rules>> {
    let policies = gate.compile(&governance.bundles, own).ok()?;
    Some(Arc::new(Rules { governance, policies }))
}

/// What an act of governance asks of the gate: action, target role, whether it weakens.
fn governance_request(act: &Act, governance: &Governance) -> (Action, Option<Role>, bool) {
    match act {
        Act::Member(member) => {
            let before = governance.role(&member.device);
            let action = if member.role.is_none() { Action::MemberRemove } else { Action::MemberAdd };
            // Taking away or giving the owner's role is for owners, whichever way it goes.
            let highest = [before, member.role].into_iter().flatten().min();
            (action, highest, false)
        }
        // Superseding a bundle may permit what was forbidden.
        Act::Bundle(bundle) => (Action::Bundle, None, !bundle.supersedes.is_empty()),
        Act::Manifest(manifest) => {
            let before = governance.manifest(&manifest.collection);
            (Action::Manifest, None, !manifest.weakens(&before).is_empty())
        }
        Act::Genesis(_) | Act::Other => (Action::KeyEpoch, None, false),
    }
}

/// How often machines may decide about the same before a person must.
pub(crate) const MACHINE_GENERATIONS: u32 = 3;

/// Whether a person has to give this answer: the same was decided again and again, as the change says of itself, and
/// rightly, which is found when it is applied; or it lets in what a machine may only propose.
pub(crate) fn is_argued(change: &[u8]) -> bool {
    let message = guard::message(change).ok();
    let settlement = message.and_then(|message| Settlement::of_message(&message));
    settlement.is_some_and(|settlement| {
        settlement.generation > MACHINE_GENERATIONS
            || matches!(settlement.question, conflict::Question::Change(_))
    })
}

/// Everything the gate may look at.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) origin: Origin,
    pub(crate) actor: &'a Actor,
    pub(crate) device: DeviceId,
    pub(crate) action: Action,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) manifest: Option<&'a Manifest>,
    pub(crate) changed: &'a [String],
    pub(crate) size: u64,
    pub(crate) base: Base,
    pub(crate) target_role: Option<Role>,
    pub(crate) weakens: bool,
    /// Whether machines have decided about the same again and again.
    pub(crate) argued: bool,
    /// Whether it touches what the manifest calls dangerous; known only of local writes.
    pub(crate) dangerous: bool,
    /// Whether an edit replaces or deletes, where that makes a difference.
    pub(crate) replaces: bool,
}

impl<'a> Question<'a> {
    /// The question that an entry is, from itself alone.
    pub(crate) fn of_entry(
        origin: Origin,
        device: DeviceId,
        entry: &'a Entry,
        act: Option<&Act>,
        governance: &'a Governance,
    ) -> Self {
        let manifest = entry.subject.as_ref().and_then(|s| governance.manifests.get(&s.collection));
        let (action, target_role, weakens) = match (entry.kind, act) {
            _ if entry.is_birth() => (Action::Create, None, false),
            (EntryKind::EDIT | EntryKind::PROPOSAL | EntryKind::REWRITE, _) => (Action::Edit, None, false),
            (EntryKind::RESOLUTION, _) => (Action::Operation(OperationType::Resolve), None, false),
            (EntryKind::TOMBSTONE | EntryKind::ENDING, _) => (Action::Delete, None, false),
            (EntryKind::REBIRTH, _) => (Action::Rebirth, None, false),
            // As an answer; with its payload it may turn out to be the beginning.
            (EntryKind::BURST, _) => (Action::Operation(OperationType::Resolve), None, false),
            (EntryKind::CHECKPOINT, _) => (Action::Operation(OperationType::Checkpoint), None, false),
            (_, Some(act)) => governance_request(act, governance),
            _ => (Action::Operation(OperationType::Replay), None, false),
        };
        Self {
            origin,
            actor: &entry.actor,
            device,
            action,
            subject: entry.subject.as_ref(),
            manifest,
            changed: &[],
            size: u64::from(entry.payload_len),
            base: Self::base_of(entry),
            target_role,
            weakens,
            argued: false,
            dangerous: false,
            replaces: false,
        }
    }

    /// The question whether what a resolution writes may be written: as an edit that names what it was based on.
    pub(crate) fn into_edit(mut self) -> Self {
        (self.action, self.base, self.argued) = (Action::Edit, Base::Named, false);
        self
    }

    /// The same question of an entry whose payload is a resolution.
    pub(crate) fn with_payload(mut self, entry: &Entry, payload: &[u8]) -> Self {
        self.argued = entry.kind == EntryKind::RESOLUTION && is_argued(payload);
        match Burst::from_bytes(payload) {
            _ if entry.kind != EntryKind::BURST => {}
            Ok(Burst::Answer(answer)) => self.argued = answer.lets_in || answer.actor == entry.actor,
            _ => self.action = Action::Operation(OperationType::Detect),
        }
        self
    }

    /// Asks about a write of this device, here and as all others will ask. They see less of it, and what they do not take
    /// must not be written: this device alone would show it for ever. What they want looked at, it wants looked at too.
    pub(crate) fn ask_everywhere(
        &self,
        gate: &mut Gate,
        rules: &Rules,
        operation: OperationId,
    ) -> Result<Grant, Refusal> {
        let grant = self.ask(gate, rules, operation)?;
        match self.elsewhere().map(|received| received.ask(gate, rules, operation)) {
            Some(Err(refusal)) => Err(refusal),
            _ => Ok(grant),
        }
    }

    /// The question as other devices will ask it; none about what never leaves this one.
    pub(crate) fn elsewhere(&self) -> Option<Self> {
        let base = if self.base == Base::Stale { Base::Named } else { self.base };
        let received = Question { origin: Origin::Remote, changed: &[], dangerous: false, base, ..*self };
        (!self.manifest.is_some_and(Manifest::is_local_only)).then_some(received)
    }

    /// What an entry says of its base. Whether the base was stale is judged where it was written: elsewhere the
    /// answer would depend on what happens to have arrived.
    fn base_of(entry: &Entry) -> Base {
        match (entry.kind, &entry.base) {
            _ if entry.is_birth() => Base::NotNeeded,
            (EntryKind::RESOLUTION, _) => Base::NotNeeded,
            (kind, base) if kind.is_change() || kind.is_deletion() => match base {
                Some(_) => Base::Named,
                None => Base::Missing,
            },
            _ => Base::NotNeeded,
        }
    }

    /// Asks the gate.
    pub(crate) fn ask(
        &self,
        gate: &mut Gate,
        rules: &Rules,
        operation: OperationId,
    ) -> Result<Grant, Refusal> {
        let manifest = self.manifest;
        let role = rules.governance.role(&self.device);
        let strategy = manifest.map_or(MergeStrategy::default(), |m| m.merge_strategy);
        let deletes = self.action == Action::Delete && strategy == MergeStrategy::AppendOnly;
        let request = Request {
            action: self.action,
            origin: self.origin,
            actor: self.actor,
            device: self.device,
            role,
            target_role: self.target_role,
            collection: self.subject.map(|subject| &subject.collection),
            object: self.subject.map(|subject| &subject.object),
            class: manifest.map_or(PolicyClass::default(), |m| m.policy_class),
            scope: manifest.map_or(EncryptionScope::default(), |m| m.encryption_scope),
            strategy,
            changed: self.changed,
            size: self.size,
            base: self.base,
            touches_dangerous: self.dangerous,
            weakens: self.weakens,
            argued: self.argued,
            replaces: self.replaces || deletes,
            has_authority: manifest.is_none_or(|m| m.has_authority(role)),
        };
        gate.decide(&rules.policies, operation, &request)
    }
}
