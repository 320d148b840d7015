//! The same edit made on several devices stands in a text once for each of them: all but one copy are taken out again,
//! in the transaction that brings them together, by an entry of this device.
//!
//! Every device that sees the copies does so. The change is a pure function of what was typed, so that all of them write
//! the same, and it only deletes. What each device then logs is the evidence that it did.

use super::stage::{Stage, StagedObject};
use super::{Engine, intent};
use crate::conflict::{self, Choice, Conflict, Kind, Question};
use crate::document::{self, EncodedChange};
use crate::store::StoreError;
use crate::store::rows::AdmittedChange;
use std::collections::BTreeSet;
use std::sync::Arc;
use syncd_schema::entry::Subject;
use syncd_schema::{Actor, Digest, EntryKind, OperationType};

impl Engine {
    /// Takes copies out of the texts of an object, and gives back what contradicts afterwards.
    pub(super) fn undouble(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
        after: BTreeSet<Conflict>,
    ) -> Result<BTreeSet<Conflict>, StoreError> {
        if !self.may_settle(staged) {
            return Ok(after);
        }
        let copies: Vec<&Conflict> =
            after.iter().filter(|conflict| conflict.kind == Kind::Text && conflict.is_equal).collect();
        let mut written = Vec::new();
        for conflict in copies {
            let Some(change) = self.without_copies(staged, conflict) else { continue };
            if !document::holds(&staged.document, &change.hash) {
                written.extend(self.log_settled(
                    stage,
                    staged,
                    change,
                    "one copy of what several typed alike",
                )?);
            }
        }
        self.judged_again(staged, after, &written)
    }

    /// Whether this device settles by itself what needs no judgement: it may write, and nothing is held.
    pub(super) fn may_settle(&self, staged: &StagedObject) -> bool {
        let is_member = self.governance().role(&self.device()).is_some();
        self.store_row.stopped.is_none() && is_member && staged.whole.is_none()
    }

    /// What contradicts in an object after some more changes of this device.
    pub(super) fn judged_again(
        &self,
        staged: &StagedObject,
        after: BTreeSet<Conflict>,
        written: &[Digest],
    ) -> Result<BTreeSet<Conflict>, StoreError> {
        if written.is_empty() {
            return Ok(after);
        }
        let by_lines = self.by_lines(&staged.row.collection, &staged.document);
        // What was too much to compare would not have come here.
        let judged = conflict::update_within(&staged.document, &after, written, &by_lines, self.comparable);
        Ok(judged.unwrap_or(after))
    }

    fn without_copies(&self, staged: &StagedObject, conflict: &Conflict) -> Option<EncodedChange> {
        let text = conflict.place.object.as_ref()?;
        let is_by_lines = self.by_lines(&staged.row.collection, &staged.document)(text);
        let elements = conflict::doubled(&staged.document, conflict, is_by_lines).ok()?;
        if elements.is_empty() {
            return None;
        }
        let changes: BTreeSet<Digest> = conflict.sides.iter().map(|side| side.change).collect();
        let card = self.conflict_card(&staged.row, conflict);
        let about = (card, Choice::Merge, Question::Place(conflict::question_of(conflict)));
        let manifest = self.governance().manifest(&staged.row.collection);
        let write = conflict::write(&staged.document, &changes, about, &manifest, |writer, _| {
            Ok(conflict::delete_elements(writer.tx, text, &elements).map(drop)?)
        });
        write.inspect_err(|error| tracing::warn!(%error, "an edit that several made stays doubled")).ok()
    }

    /// Logs what this device settled by itself and joins it to its document; nothing when policy does not let it.
    pub(super) fn log_settled(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
        change: EncodedChange,
        why: &str,
    ) -> Result<Option<Digest>, StoreError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&staged.row.collection);
        let request = intent::WriteRequest::new(Actor::system(), intent::Intent::Checkpoint);
        let log = match self.log_for(stage, &manifest) {
            Ok(log) => log,
            Err(intent::WriteError::Store(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        let at = self.next_operation(stage, log);
        let subject = Subject {
            collection: staged.row.collection.clone(),
            object: staged.row.object.clone(),
            incarnation: staged.row.incarnation,
        };
        let proof = match self.admit_resolution(stage, &request, &subject, &change.bytes, at.0) {
            Ok(proof) => proof,
            Err(intent::WriteError::Store(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        if document::join(&mut staged.document, &change).is_err() {
            return Ok(None);
        }
        let (hash, length) = (change.hash, change.bytes.len());
        let mut entry = self.entry(&request, EntryKind::RESOLUTION, at, Some(subject), (hash, length), None);
        entry.note = Some(why.to_owned());
        let (seq, _) =
            self.log_entry(stage, log, entry, change.bytes.clone(), &proof, OperationType::Resolve);
        staged.admitted.push(AdmittedChange::new((hash, change.bytes), log, seq, at.1, proof));
        Ok(Some(hash))
    }
}
