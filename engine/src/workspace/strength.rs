//! `strongest_policy_wins`: of several values that contradict, the one stays whose author policy trusts more.
//!
//! How much that is follows from the entry alone: the role its device had under the governance it names, then whether a
//! person acted or a machine. Where two are trusted alike somebody is asked, as everywhere. The answer is a resolution that
//! every device writes alike, and evidence like any other.

use super::Engine;
use super::contradictions::asks;
use super::decided::Decided;
use super::stage::{Stage, StagedObject};
use crate::conflict::{self, Answer, Choice, Conflict, Kind};
use crate::document::{self, EncodedChange};
use crate::store::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::manifest::MergeStrategy;
use syncd_schema::{Actor, ActorKind, DeviceId, Digest, Role};

/// How much policy trusts an author: greater is more.
type Strength = (u8, u8);

impl Engine {
    /// Settles what contradicts where one author is trusted more than all others, and gives back what is left.
    pub(super) fn settle_by_strength(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
        after: BTreeSet<Conflict>,
    ) -> Result<BTreeSet<Conflict>, StoreError> {
        let manifest = self.governance().manifest(&staged.row.collection);
        let applies = manifest.merge_strategy == MergeStrategy::StrongestPolicyWins;
        if !applies || !self.may_settle(staged) {
            return Ok(after);
        }
        let mut strengths: BTreeMap<Digest, Strength> = BTreeMap::new();
        for (change, (device, entry)) in self.authors(&staged.row)? {
            let strength = device.map(|device| self.strength(device, &entry.actor, &entry.governance));
            strengths.extend(strength.map(|strength| (change, strength)));
        }
        for Decided { change, row, governance, .. } in &staged.decided.clone() {
            let strength = self.strength(row.device, &row.actor, governance);
            strengths.extend(change.map(|change| (change, strength)));
        }
        let mut written = Vec::new();
        for conflict in after.iter().filter(|conflict| conflict.kind != Kind::Text) {
            if asks(&staged.document, &manifest, conflict).is_none() {
                continue;
            }
            let card = self.conflict_card(&staged.row, conflict);
            let Some(change) = strongest(staged, conflict, &strengths, |answer| {
                conflict::decide(&staged.document, conflict, (card, Choice::Merge, answer), &manifest).ok()
            }) else {
                continue;
            };
            if !document::holds(&staged.document, &change.hash) {
                let note = "the author whom policy trusts most";
                written.extend(self.log_settled(stage, staged, change, note)?);
            }
        }
        self.judged_again(staged, after, &written)
    }

    fn strength(&mut self, device: DeviceId, actor: &Actor, governance: &[Digest]) -> Strength {
        let role = self.rules_under(governance).and_then(|rules| rules.governance.role(&device));
        let role = match role {
            Some(Role::Owner) => 4,
            Some(Role::Admin) => 3,
            Some(Role::Member) => 2,
            Some(Role::Agent) => 1,
            Some(Role::Relay) | None => 0,
        };
        let kind = match actor.kind {
            ActorKind::User => 2,
            ActorKind::System | ActorKind::Connector | ActorKind::Worker => 1,
            ActorKind::Agent => 0,
        };
        (role, kind)
    }
}

/// The change that keeps the side of the strongest author, if there is one.
fn strongest(
    staged: &StagedObject,
    conflict: &Conflict,
    strengths: &BTreeMap<Digest, Strength>,
    decide: impl Fn(&Answer) -> Option<EncodedChange>,
) -> Option<EncodedChange> {
    let sides = conflict::alternatives(&staged.document, conflict);
    let strength = |side: &conflict::Alternative| {
        side.changes.iter().filter_map(|change| strengths.get(change)).max().copied().unwrap_or_default()
    };
    let most = sides.iter().map(strength).max()?;
    let mut best = sides.iter().filter(|side| strength(side) == most);
    match (best.next(), best.next()) {
        (Some(side), None) => decide(&Answer::Keep(side.clone())),
        _ => None,
    }
}
