//! How objects end: a tombstone covers the heads that its author had seen, and nothing else.

use super::cards::Decided;
use super::intent::{WriteError, WriteRequest, Written};
use super::judge::Question;
use super::local::{done, key_of};
use super::stage::Stage;
use super::{Engine, ObjectKey};
use crate::document;
use crate::store::rows::ObjectRow;
use crate::store::tables::LogNo;
use std::sync::Arc;
use syncd_policy::{Action, Base, Redeemed};
use syncd_schema::entry::{Subject, Tombstone};
use syncd_schema::{
    Digest, Entry, EntryKind, Incarnation, ObjectId, OperationId, OperationType, UnixMicros, cbor,
};

impl Engine {
    /// Ends an object, all its lives if it has several: every one is permitted before any is ended.
    pub(super) fn delete(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        object: &ObjectId,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let mut ends: Vec<End> = Vec::new();
        for row in self.deletable(stage, object)? {
            let manifest = rules.governance.manifest(&row.collection);
            let log = self.log_for(stage, &manifest)?;
            let mut at = self.next_operation(stage, log);
            if let Some(before) = ends.last().map(|end| end.at.1).filter(|before| *before >= at.1) {
                at = (OperationId::at(before.plus(1), self.tag), before.plus(1));
            }
            let (collection, incarnation) = (row.collection.clone(), row.incarnation);
            let subject = Subject { collection, object: object.clone(), incarnation };
            let question = Question {
                action: Action::Delete,
                size: tombstone_size(stage, &row, None),
                ..self.question(request, Some(&subject), Some(&manifest), Base::Missing)
            };
            let proof = self.admit_local(stage, request, &rules, &question, at.0)?;
            ends.push(End { row, log, at, subject, proof });
        }
        let mut written = Err(WriteError::NotFound(object.clone()));
        for end in ends {
            written = Ok(self.end_life(stage, request, end)?);
        }
        written
    }

    fn end_life(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        end: End,
    ) -> Result<Written, WriteError> {
        let End { row, log, at, subject, proof } = end;
        let key = key_of(&row);
        let staged = self.stage_object(stage, row)?;
        let heads = document::heads(&staged.document);
        let payload = cbor::encode(&Tombstone { heads: heads.clone(), keeps: None });
        let object = subject.object.clone();
        let entry = self.record_entry(request, EntryKind::TOMBSTONE, at, Some(subject), &payload);
        self.cover(stage, &key, &entry, &heads, None, "delete");
        self.log_entry(stage, log, entry, payload, &proof, OperationType::Tombstone);
        Ok(done(at.0, Some(object), heads))
    }

    /// Notes on the stage that this device's tombstone covers these heads.
    pub(super) fn cover(
        &self,
        stage: &mut Stage,
        key: &ObjectKey,
        entry: &Entry,
        heads: &[Digest],
        keeps: Option<Incarnation>,
        choice: &str,
    ) {
        let device = self.device();
        let Some(staged) = stage.objects.get_mut(key) else { return };
        staged.row.heads = document::heads(&staged.document);
        cover(&mut staged.row, heads, entry.time);
        staged.row.yield_to(keeps);
        staged.row_changed = true;
        let mut decided = Decided::of(entry, device, None);
        choice.clone_into(&mut decided.row.choice);
        heads.clone_into(&mut decided.covers);
        staged.decided.push(decided);
    }

    /// The lives of an object that are not ended yet, at least one.
    fn deletable(&self, stage: &Stage, object: &ObjectId) -> Result<Vec<ObjectRow>, WriteError> {
        let mut lives = self.standing_lives(object)?;
        if lives.len() < 2 {
            return self.writable(stage, object).map(|row| vec![row]);
        }
        for row in &mut lives {
            if let Some(staged) = stage.objects.get(&key_of(row)) {
                row.clone_from(&staged.row);
            }
        }
        lives.retain(|row| !row.is_tombstoned());
        if lives.is_empty() { Err(WriteError::Tombstoned(object.clone())) } else { Ok(lives) }
    }
}

/// How large the record of a deletion will be: others judge it by that too.
pub(super) fn tombstone_size(stage: &Stage, row: &ObjectRow, keeps: Option<Incarnation>) -> u64 {
    let staged = stage.objects.get(&key_of(row));
    let heads = staged.map_or_else(|| row.heads.clone(), |staged| document::heads(&staged.document));
    cbor::encode(&Tombstone { heads, keeps }).len() as u64
}

/// Notes that a tombstone covers these heads.
pub(crate) fn cover(row: &mut ObjectRow, heads: &[Digest], time: UnixMicros) {
    row.covered.extend_from_slice(heads);
    row.covered.sort_unstable();
    row.covered.dedup();
    row.changed = row.changed.max(time);
}

/// A life that may be ended, and the entry that will end it.
struct End {
    row: ObjectRow,
    log: LogNo,
    at: (OperationId, UnixMicros),
    subject: Subject,
    proof: Redeemed,
}
