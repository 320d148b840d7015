//! How objects end: a tombstone covers the heads that its author had seen, and nothing else.

use super::admit::{Arrival, Candidate, Judged, Ledgered};
use super::burst::Verdict;
use super::burst_answer::declined_already;
use super::decided::Decided;
use super::intent::{WriteError, WriteRequest, Written};
use super::judge::Question;
use super::local::{done, key_of};
use super::stage::Stage;
use super::{Engine, ObjectKey, subject_key};
use crate::document;
use crate::store::StoreError;
use crate::store::rows::ObjectRow;
use crate::store::tables::LogNo;
use std::sync::Arc;
use syncd_policy::{Action, Base, Redeemed};
use syncd_schema::entry::{Deletion, Subject, Tombstone};
use syncd_schema::{Digest, Entry, ObjectId, OperationId, OperationType, UnixMicros, limits};

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
            if let Some(waiting) = self.waits_already(&request.actor, &row)? {
                return Ok(waiting);
            }
            self.brace(stage, request, &row)?;
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
                size: deletion_size(stage, &row, |tombstone| Deletion { tombstone, answers: None }),
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
        self.stage_object(stage, row)?;
        let heads = self.known_document(stage, &key)?.as_deref().map(document::heads).unwrap_or_default();
        let deletion = Deletion { tombstone: Tombstone { heads, keeps: None }, answers: None };
        let entry = self.record_entry(request, deletion.kind(), at, Some(subject), &deletion.to_bytes());
        self.log_deletion(stage, log, (entry, deletion), &proof)
    }

    /// Logs a deletion, which takes effect unless it stands behind many others: then it waits with them.
    pub(super) fn log_deletion(
        &mut self,
        stage: &mut Stage,
        log: LogNo,
        (entry, deletion): (Entry, Deletion),
        proof: &Redeemed,
    ) -> Result<Written, WriteError> {
        let Some(key) = entry.subject.as_ref().map(subject_key) else { return Err(WriteError::Grant) };
        let (operation, payload) = (entry.operation, deletion.to_bytes());
        let kind = match deletion.answers {
            Some(_) => OperationType::Resolve,
            None => OperationType::Tombstone,
        };
        let (verdict, of) = self.next_deletion(stage, log, (&entry.actor, &key.1))?;
        match verdict {
            Verdict::Happens => {
                self.cover(stage, &key, &entry, &deletion);
                self.log_entry(stage, log, entry.clone(), payload, proof, kind);
                self.count_own(stage, log, &entry);
                self.let_in_held(stage, &key)?;
                Ok(done(operation, Some(key.0), deletion.tombstone.heads))
            }
            Verdict::Waits => {
                let at = self.append_withheld(stage, log, &entry, payload, proof);
                self.count_own(stage, log, &entry);
                self.hold_in_burst(stage, at, &entry, &of, proof);
                let card = self.burst_card(&of, &self.open_part(Some(stage), &of)?);
                Ok(self.waiting_in_burst(operation, key, card))
            }
            Verdict::Declined(by) => Err(declined_already(of, &by)),
        }
    }

    /// Notes on the stage that this device's tombstone covers these heads.
    pub(super) fn cover(&self, stage: &mut Stage, key: &ObjectKey, entry: &Entry, deletion: &Deletion) {
        let device = self.device();
        let Some(staged) = stage.objects.get_mut(key) else { return };
        staged.row.heads = document::heads(&staged.document);
        cover(&mut staged.row, &deletion.tombstone.heads, entry.time);
        staged.row.yield_to(deletion.tombstone.keeps);
        staged.row_changed = true;
        staged.decided.extend(Decided::of_deletion(entry, device, deletion));
    }

    /// Carries out a deletion that the gate permits. It waits for the heads it names, so that it covers the same on every
    /// device.
    pub(super) fn apply_deletion(
        &mut self,
        stage: &mut Stage,
        Candidate { arrival, proof }: Candidate,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let entry = &arrival.record.entry;
        let Some(key) = entry.subject.as_ref().map(subject_key) else { return Ok(false) };
        let (tombstone, decided) = match read_deletion(&arrival) {
            Ok(read) => read,
            Err(reason) => {
                let judged = Judged::Refused { reason, decision: None, finding: true };
                return self.not_admitted(stage, &arrival, judged, done).map(|()| false);
            }
        };
        let missing: Vec<Digest> = match self.known_document(stage, &key)? {
            Some(known) => {
                tombstone.heads.iter().filter(|head| !document::holds(&known, head)).copied().collect()
            }
            None => vec![Digest(key.2.0)],
        };
        if !missing.is_empty() {
            let reason = "it deletes a state that has not arrived".to_owned();
            let judged = Judged::Waits { missing, requires: Vec::new(), reason };
            return self.not_admitted(stage, &arrival, judged, done).map(|()| false);
        }
        if self.keeps_out(stage, &arrival, &proof, done)? {
            return Ok(false);
        }
        if let Some(staged) = stage.objects.get_mut(&key) {
            staged.row.heads = document::heads(&staged.document);
            cover(&mut staged.row, &tombstone.heads, entry.time);
            staged.row.yield_to(tombstone.keeps);
            staged.row_changed = true;
            staged.remote = true;
            staged.decided.push(decided);
            stage.tombstones.push((key.clone(), (arrival.no, arrival.seq)));
        }
        self.admitted(stage, &arrival, proof.decision(), done);
        self.let_in_ended(stage, &key, done)?;
        Ok(true)
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

/// What a deletion says and may have decided, or why it says nothing.
fn read_deletion(arrival: &Arrival) -> Result<(Tombstone, Decided), String> {
    let (entry, payload) = (&arrival.record.entry, arrival.record.payload.as_deref().unwrap_or_default());
    let deletion = Deletion::read(entry.kind, payload).map_err(|error| error.to_string())?;
    let heads = deletion.tombstone.heads.len();
    if heads == 0 || heads > limits::CHANGE_DEPS {
        return Err("it names no state, or too many".to_owned());
    }
    let decided = Decided::of_deletion(entry, arrival.log.device, &deletion);
    Ok((deletion.tombstone, decided.ok_or("it names no option")?))
}

/// How large the record of a deletion will be: others judge it by that too.
pub(super) fn deletion_size(
    stage: &Stage,
    row: &ObjectRow,
    deletion: impl FnOnce(Tombstone) -> Deletion,
) -> u64 {
    let heads = match stage.objects.get(&key_of(row)) {
        Some(staged) if staged.row.known.is_none() => document::heads(&staged.document),
        Some(staged) => staged.row.known_heads().to_vec(),
        None => row.known_heads().to_vec(),
    };
    deletion(Tombstone { heads, keeps: None }).to_bytes().len() as u64
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
