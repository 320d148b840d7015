//! Entries that may have decided something: what ended a card, and who did.

use super::stage::Stage;
use crate::conflict::{Question, Settlement};
use crate::store::rows::DecidedRow;
use syncd_schema::entry::{Deletion, Subject};
use syncd_schema::{DeviceId, Digest, Entry, ObjectId};

/// An admitted entry that may have decided something.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// Its change; none of a deletion.
    pub(crate) change: Option<Digest>,
    /// What it says that it settles.
    pub(crate) settles: Option<Settlement>,
    /// Who made it, and how.
    pub(crate) row: DecidedRow,
    /// The governance it was written under.
    pub(crate) governance: Vec<Digest>,
    /// The object it is about.
    pub(crate) subject: Option<Subject>,
    /// The heads that a deletion covers.
    pub(crate) covers: Vec<Digest>,
}

impl Decided {
    /// What an entry may have decided.
    pub(crate) fn of(entry: &Entry, device: DeviceId, settles: Option<Settlement>) -> Self {
        let choice = match (&settles, entry.kind.is_change()) {
            (Some(settlement), _) => settlement.choice.word(),
            (None, true) => "edit",
            (None, false) => "delete",
        };
        Self {
            change: entry.kind.is_change().then_some(entry.payload_digest),
            settles,
            row: DecidedRow {
                operation: entry.operation,
                actor: entry.actor.clone(),
                device,
                choice: choice.to_owned(),
                because: entry.note.clone(),
                at: entry.time,
            },
            governance: entry.governance.clone(),
            subject: entry.subject.clone(),
            covers: Vec::new(),
        }
    }
}

impl Decided {
    /// The card that it says it answers.
    pub(crate) fn card(&self) -> Option<Digest> {
        self.settles.as_ref().map(|settled| settled.card)
    }

    /// What a deletion may have decided; nothing if it names no option.
    pub(crate) fn of_deletion(entry: &Entry, device: DeviceId, deletion: &Deletion) -> Option<Self> {
        let heads = &deletion.tombstone.heads;
        let settles = match &deletion.answers {
            None => None,
            Some((card, choice)) => {
                let question = Question::Deletion(heads.clone());
                Some(Settlement { question, choice: choice.parse().ok()?, generation: 1, card: *card })
            }
        };
        let mut decided = Self::of(entry, device, settles);
        decided.covers.clone_from(heads);
        Some(decided)
    }
}

impl Stage {
    /// What decided about a card: the answer to it, else the newest entry that may have, about this object if one is named.
    pub(super) fn decided_about(&self, card: &Digest, object: Option<&ObjectId>) -> Option<DecidedRow> {
        let named = self.deciding.iter().find(|decided| decided.card() == Some(*card));
        let is_about = |decided: &&Decided| {
            object.is_none_or(|object| decided.subject.as_ref().is_some_and(|about| about.object == *object))
        };
        let newest = || self.deciding.iter().filter(is_about).max_by_key(|decided| decided.row.at);
        named.or_else(newest).map(|decided| decided.row.clone())
    }
}
