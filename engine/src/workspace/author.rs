//! What this device's own entries are made of: the log, the session, operation id and time, and the evidence that
//! goes with each of them.

use super::decided::Decided;
use super::intent::{Intent, WriteError, WriteRequest};
use super::judge::Question;
use super::stage::{Stage, StagedObject};
use super::{Engine, ObjectKey};
use crate::conflict;
use crate::ledger;
use crate::store::rows::{AdmittedChange, LogKind};
use crate::store::tables::LogNo;
use std::sync::Arc;
use syncd_evidence::Coverage;
use syncd_policy::{Origin, Redeemed};
use syncd_schema::entry::{ENTRY_VERSION, Subject};
use syncd_schema::{
    Actor, Digest, Entry, EntryKind, LogSeq, Manifest, OperationId, OperationType, UnixMicros, domain, ports,
};

impl Engine {
    /// The log an object's entries go to, with this opening's session logged first.
    pub(super) fn log_for(&mut self, stage: &mut Stage, manifest: &Manifest) -> Result<LogNo, WriteError> {
        let own = self.log_number(stage, LogKind::Device(self.own_log()));
        if !stage.session_logged {
            self.log_session(stage, own)?;
        }
        Ok(if manifest.is_local_only() { self.local } else { own })
    }

    /// Draws the session of this opening and logs it before the actor that follows from it is used, so that a
    /// copied disk can fork the log and never a document.
    pub(super) fn log_session(&mut self, stage: &mut Stage, own: LogNo) -> Result<(), WriteError> {
        let session: [u8; 16] = ports::random(self.store.entropy());
        let request = WriteRequest::new(Actor::system(), Intent::Checkpoint);
        let at = self.next_operation(stage, own);
        let entry = self.record_entry(&request, EntryKind::SESSION, at, None, &session);
        let rules = Arc::clone(&self.rules);
        let proof = {
            let question = Question::of_entry(Origin::Local, self.device(), &entry, None, &rules.governance);
            self.admit_local(stage, &request, &rules, &question, at.0)?
        };
        self.log_entry(stage, own, entry, session.to_vec(), &proof, OperationType::Enqueue);
        let actor = change_actor(&self.own_log(), &session);
        self.alter_log(stage, own, |row| row.actor = Some(actor));
        stage.session_logged = true;
        Ok(())
    }

    pub(super) fn change_actor(&self, stage: &Stage) -> [u8; 16] {
        let own = self.log_numbers.get(&self.own_log()).copied();
        let staged = stage.log_of(&LogKind::Device(self.own_log()));
        staged
            .or_else(|| own.and_then(|no| self.log(no)))
            .and_then(|state| state.row.actor)
            .unwrap_or_default()
    }

    /// Id and hybrid time of the next entry of a log.
    pub(super) fn next_operation(&self, stage: &Stage, log: LogNo) -> (OperationId, UnixMicros) {
        let last = self.staged_log(stage, log).and_then(|state| state.row.last);
        let time = Self::tick(last, stage.now);
        (OperationId::at(time, self.tag), time)
    }

    pub(super) fn entry(
        &self,
        request: &WriteRequest,
        kind: EntryKind,
        (operation, time): (OperationId, UnixMicros),
        subject: Option<Subject>,
        (payload_digest, payload_len): (Digest, usize),
        base: Option<Vec<Digest>>,
    ) -> Entry {
        Entry {
            version: ENTRY_VERSION,
            kind,
            operation,
            time,
            actor: request.actor.clone(),
            subject,
            idempotency_key: request.idempotency_key.clone(),
            replay_safe: request.replay_safe,
            payload_digest,
            payload_len: payload_len as u32,
            requires: Vec::new(),
            seen: Vec::new(),
            governance: self.governance().heads.clone(),
            base,
            note: request.note.clone(),
        }
    }

    pub(crate) fn record_entry(
        &self,
        request: &WriteRequest,
        kind: EntryKind,
        at: (OperationId, UnixMicros),
        subject: Option<Subject>,
        payload: &[u8],
    ) -> Entry {
        self.entry(request, kind, at, subject, (domain::sha256(payload), payload.len()), None)
    }

    /// Logs a change and joins it to its document on the stage.
    pub(super) fn log_change(
        &mut self,
        stage: &mut Stage,
        log: LogNo,
        entry: Entry,
        (bytes, proof): (Vec<u8>, Redeemed),
        object: ObjectKey,
    ) {
        let (time, hash) = (entry.time, entry.payload_digest);
        let is_open = |staged: &StagedObject| staged.is_apart || !staged.row.cards.is_empty();
        let decided = stage.objects.get(&object).filter(|staged| is_open(staged)).map(|staged| {
            let is_resolution = entry.kind == EntryKind::RESOLUTION;
            let settles = is_resolution.then(|| conflict::settlement_of(&staged.document, &hash)).flatten();
            Decided::of(&entry, self.device(), settles)
        });
        let (seq, _) = self.log_entry(stage, log, entry, bytes.clone(), &proof, OperationType::Enqueue);
        if let Some(staged) = stage.objects.get_mut(&object) {
            staged.decided.extend(decided);
            staged.admitted.push(AdmittedChange::new((hash, bytes), log, seq, time, proof));
        }
    }

    pub(super) fn log_entry(
        &mut self,
        stage: &mut Stage,
        log: LogNo,
        entry: Entry,
        payload: Vec<u8>,
        proof: &Redeemed,
        operation: OperationType,
    ) -> (LogSeq, Digest) {
        let kind = self.staged_log(stage, log).map_or(LogKind::Local, |state| state.row.kind);
        let actor = entry.actor.clone();
        if entry.idempotency_key.is_some() && matches!(kind, LogKind::Device(_)) {
            stage.keyed.push(entry.clone());
        }
        let (seq, leaf) = self.append(stage, log, entry, payload);
        let covers = Coverage { log: Self::covered(&kind), first: seq, count: 1 };
        let record = ledger::admission(&actor, self.device(), operation, covers, proof.decision());
        self.record(stage, record);
        (seq, leaf)
    }
}

/// The Automerge actor of a device's session.
pub(crate) fn change_actor(log: &syncd_schema::LogId, session: &[u8]) -> [u8; 16] {
    let epoch = log.epoch.0.to_be_bytes();
    let parts: [&[u8]; 4] = [log.workspace.as_bytes(), log.device.as_bytes(), &epoch, session];
    let digest = domain::hash("actor", &parts);
    digest.0.first_chunk::<16>().copied().unwrap_or_default()
}
