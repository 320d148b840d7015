//! What policy wants somebody to look at first: the change is made, logged and sent, and in no document until it is
//! let in.

use super::intent::{WriteError, WriteRequest, Written};
use super::judge::Question as Asked;
use super::local::{done, key_of};
use super::resolve::{Answering, ResolveError};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey, strategy};
use crate::conflict::{self, Choice};
use crate::document::{self, Edit};
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{ObjectRow, PendingRow};
use crate::store::tables::LogNo;
use std::collections::BTreeSet;
use std::sync::Arc;
use syncd_evidence::{Coverage, Outcome, RecordKind};
use syncd_policy::{Origin, Refusal};
use syncd_schema::entry::Subject;
use syncd_schema::{Digest, Entry, EntryKind, OperationId, OperationStatus, OperationType, UnixMicros};

use super::admit::{Candidate, Ledgered};
use super::asked::Offer;
use super::withdraw::Withdrawal;

/// Where a new entry will stand.
type Place = (LogNo, (OperationId, UnixMicros));

impl Engine {
    /// Logs an edit as a proposal, on the state that it was based on, and asks about it.
    pub(super) fn propose(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        (log, at): Place,
        (row, base, edit): (ObjectRow, Option<&[Digest]>, &Edit),
        refusal: &Refusal,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&row.collection);
        let subject = Subject {
            collection: row.collection.clone(),
            object: row.object.clone(),
            incarnation: row.incarnation,
        };
        let key = key_of(&row);
        let staged = self.stage_object(stage, row)?;
        let heads = document::heads(&staged.document);
        let on: Vec<Digest> = base.map_or_else(|| heads.clone(), <[Digest]>::to_vec);
        if let Some(unknown) = on.iter().find(|head| !document::holds(&staged.document, head)) {
            return Err(WriteError::UnknownBase { object: key.0, head: *unknown });
        }
        let change = document::propose(&staged.document, &on, edit, &manifest)?;
        // Equal to one that was decided about: that was said already.
        let change = change.filter(|change| {
            stage.objects.get(&key).is_none_or(|staged| !document::holds(&staged.document, &change.hash))
        });
        let Some(change) = change else {
            let decision = self.keep_decision(stage, &refusal.decision, refusal.digest);
            let mut record = ledger::record(
                RecordKind::Decision,
                Outcome::Noted,
                OperationType::Enqueue,
                &request.actor,
                self.device(),
            );
            (record.subject, record.decision) = (Some(subject), Some(decision));
            record.set_note("nothing would change");
            return Ok(done(self.record(stage, record), Some(key.0), heads));
        };
        let (hash, length) = (change.hash, change.bytes.len());
        let base = base.map(|base| base.iter().copied().collect::<BTreeSet<_>>().into_iter().collect());
        let entry = self.entry(request, EntryKind::PROPOSAL, at, Some(subject), (hash, length), base);
        let mut question = Asked {
            manifest: Some(&manifest),
            ..Asked::of_entry(Origin::Local, self.device(), &entry, None, &rules.governance)
        };
        question.replaces = strategy::replaces(&question, &change.bytes);
        self.may_be_proposed(stage, request, &rules, &question, at.0)?;
        let card = self.log_proposal(stage, log, (entry, change.bytes), &key, refusal);
        let written = done(at.0, Some(key.0), heads);
        Ok(Written { status: OperationStatus::AwaitingDecision, card: Some(card), ..written })
    }

    /// Logs a change that waits, and asks about it.
    pub(super) fn log_proposal(
        &mut self,
        stage: &mut Stage,
        log: LogNo,
        (entry, bytes): (Entry, Vec<u8>),
        key: &ObjectKey,
        refusal: &Refusal,
    ) -> Digest {
        let decision = self.keep_decision(stage, &refusal.decision, refusal.digest);
        let hash = entry.payload_digest;
        let reason = refusal.decision.in_words();
        let (kind, device) = (self.staged_log(stage, log).map(|state| state.row.kind), self.device());
        let (seq, _) = self.append(stage, log, entry.clone(), bytes);
        if let Some(kind) = kind {
            let covers = Coverage { log: Self::covered(&kind), first: seq, count: 1 };
            let record = ledger::withheld(&entry, covers, device, false, Some(decision), &reason);
            self.record(stage, record);
        }
        let row = PendingRow {
            decision: Some(decision),
            asks: Some(hash),
            ..PendingRow::held(reason, Some(key.clone()), stage.now)
        };
        stage.pending.insert((log, seq), Some(row));
        self.open_held(stage, key, hash, (log, seq))
    }

    /// Answers the card about a change that waits.
    pub(super) fn resolve_held(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        at: Standing,
    ) -> Result<Written, WriteError> {
        let mut done = Ledgered::default();
        let gone = || ResolveError::NotFound(asked.resolve.card);
        let (arrival, approval) = self.asked_anew(stage, at, &mut done)?.ok_or_else(gone)?;
        let key = asked.key();
        self.staged_object(stage, &key)?;
        let document = stage.objects.get(&key).map(|staged| &*staged.document);
        let here = document.cloned().unwrap_or_else(document::empty);
        let held = self.document_with(Some(&here), &arrival).ok_or_else(gone)?;
        let (change, is_birth) = (arrival.record.entry.payload_digest, arrival.record.entry.is_birth());
        let forked = match asked.resolve.choice {
            Choice::Fork => {
                let value = document::read_past(&held, &[change]);
                Some(value)
            }
            _ => None,
        };
        let Withdrawal { resolution, on } = self.decision_about((&here, &held), &change, asked)?;
        let requires = self.operations_of(&key, &on)?;
        let subject = arrival.record.entry.subject.clone().ok_or_else(gone)?;
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&subject.collection);
        let log = self.log_for(stage, &manifest)?;
        let place = self.next_operation(stage, log);
        let proof = self.admit_resolution(stage, asked.request, &subject, &resolution.bytes, place.0)?;
        let Some(approved) = approval.by(arrival.record.entry.operation, &proof) else {
            return Err(WriteError::Grant);
        };
        let digest = (resolution.hash, resolution.bytes.len());
        let mut entry = self.entry(asked.request, EntryKind::RESOLUTION, place, Some(subject), digest, None);
        entry.note.clone_from(&asked.resolve.because);
        entry.requires = requires;
        let approved = Candidate { arrival, proof: approved };
        let decision = self.log_decision(stage, log, entry, resolution.bytes, proof);
        self.carry_out(stage, &key, vec![approved, decision], done)?;
        let is_unwanted = matches!(asked.resolve.choice, Choice::Local | Choice::Decline | Choice::Fork);
        if let (true, true, Some(row)) =
            (is_birth, is_unwanted, stage.objects.get(&key).map(|staged| staged.row.clone()))
        {
            // Where the id is taken, it was a second life that nobody wanted.
            let lives = self.object_lives(&row.object)?;
            let stays =
                lives.iter().find(|life| !life.is_tombstoned() && life.incarnation != row.incarnation);
            let stays = stays.map(|life| life.incarnation);
            self.end_by_choice(stage, asked, row, stays)?;
        }
        let heads = stage.objects.get(&key).map(|staged| document::heads(&staged.document));
        let written = super::local::done(place.0, Some(key.0), heads.unwrap_or_default());
        self.with_fork(stage, asked, written, forked.as_ref())
    }

    /// What a change that waits would do.
    pub(super) fn held_offers(&mut self, key: &ObjectKey, at: Standing) -> Result<Vec<Offer>, StoreError> {
        let mut stage = self.stage(UnixMicros(0));
        let mut done = Ledgered::default();
        let session = self.pending.get(&at).and_then(|row| row.session);
        let Some(arrival) = self.stored_arrival(&stage, at, session, &mut done)? else {
            return Ok(Vec::new());
        };
        self.staged_object(&mut stage, key)?;
        let document = stage.objects.remove(key).map(|staged| staged.document);
        let entry = arrival.record.entry.clone();
        let device = Some(arrival.log.device);
        let Some(held) = self.document_with(document.as_deref(), &arrival) else { return Ok(Vec::new()) };
        let alternative = conflict::Alternative {
            change: entry.payload_digest,
            changes: vec![entry.payload_digest],
            value: document::read_past(&held, &[entry.payload_digest]),
            keep: conflict::Keep::Gone,
            is_shown: false,
        };
        let operations = vec![entry.operation];
        Ok(vec![Offer { alternative, operations, author: Some((device, entry)), object: None }])
    }
}
