//! The local road: an intent is gated, applied, logged, evidenced and made durable, and then answered.
//!
//! A batch of intents is one commit with one signature per log. An intent that fails or is refused leaves its
//! reason and nothing else; the others of its batch go on.

use super::intent::{Intent, Refused, WriteError, WriteRequest, Written};
use super::judge::Question;
use super::rewrites::Rewriting;
use super::stage::{Stage, StagedObject};
use super::values::Made;
use super::{Engine, Event, ObjectKey, Rules, subject_key};
use crate::document::{self, Edit};
use crate::store::StoreError;
use crate::store::rows::{self, IdempotencyRow, LogKind, ObjectRow};
use crate::store::tables::Table;
use crate::{judgement, ledger};
use automerge::Automerge;
use std::sync::Arc;
use syncd_evidence::{Outcome, RecordKind};
use syncd_policy::{Action, Base, Grant, Origin, Redeemed, Refusal, Verdict};
use syncd_schema::entry::Subject;
use syncd_schema::{
    ActorKind, Collection, Digest, EntryKind, Incarnation, Manifest, ObjectId, OperationId, OperationStatus,
    OperationType, UnixMicros, cbor, limits,
};

/// One answer for each call, in their order.
pub type Answers = Vec<Result<Written, WriteError>>;

impl Engine {
    /// Carries out a batch of calls in one commit and answers each of them. When this returns, everything it
    /// acknowledges is on disk, and so is the reason of everything it refuses.
    ///
    /// # Errors
    /// When the disk refuses: then nothing of the batch happened.
    pub fn write(
        &mut self,
        batch: &[WriteRequest],
        now: UnixMicros,
    ) -> Result<(Answers, Vec<Event>), StoreError> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut events = Vec::new();
        let mut rest = batch;
        while !rest.is_empty() {
            match self.write_commit(rest, now) {
                Ok((answered, told)) => {
                    rest = rest.get(answered.len()..).unwrap_or_default();
                    answers.extend(answered);
                    events.extend(told);
                }
                Err(error) if answers.is_empty() => return Err(error),
                // Earlier commits of this call are on disk and stay answered; the others did not happen.
                Err(error) => {
                    let error = Arc::new(error);
                    answers.extend(rest.iter().map(|_| Err(WriteError::NotWritten(Arc::clone(&error)))));
                    break;
                }
            }
        }
        Ok((answers, events))
    }

    /// Carries out as many calls as fit one commit.
    fn write_commit(
        &mut self,
        batch: &[WriteRequest],
        now: UnixMicros,
    ) -> Result<(Answers, Vec<Event>), StoreError> {
        self.ensure_clean()?;
        self.finish_genesis(now)?;
        let went_on = self.after_governance(now)?;
        let mut stage = self.stage(now);
        stage.bursts.planned = self.planned_deletions(batch)?;
        let mut answers = Vec::new();
        for request in batch {
            // A commit must fit one segment, since its entries share one signature.
            let full = stage.appended() + 2 > limits::COMMIT_ENTRIES
                || stage.payload_bytes + request.intent.size() > limits::COMMIT_BYTES;
            // An answer is given to what is on disk, so nothing else is in its commit.
            let is_answer = |request: &WriteRequest| {
                matches!(request.intent, Intent::Resolve(_) | Intent::Undo { .. } | Intent::Rebirth { .. })
            };
            let apart = is_answer(request) || batch.get(answers.len().wrapping_sub(1)).is_some_and(is_answer);
            if (full || apart) && !answers.is_empty() {
                break;
            }
            match self.write_one(&mut stage, request) {
                Err(WriteError::Store(error)) => return Err(error),
                answer => answers.push(answer),
            }
        }
        self.admit_woken(&mut stage)?;
        let mut events = self.commit(stage)?;
        events.extend(self.carry_out_answers(now)?);
        if events.contains(&Event::GovernanceChanged) {
            events.extend(self.after_governance(now)?);
        }
        events.splice(0..0, went_on);
        Ok((answers, events))
    }

    fn write_one(&mut self, stage: &mut Stage, request: &WriteRequest) -> Result<Written, WriteError> {
        let span = tracing::debug_span!("write", actor = %request.actor, operation = tracing::field::Empty);
        let _entered = span.enter();
        let written = self.write_intent(stage, request)?;
        span.record("operation", tracing::field::display(written.operation));
        Ok(written)
    }

    fn write_intent(&mut self, stage: &mut Stage, request: &WriteRequest) -> Result<Written, WriteError> {
        if let Some(stop) = self.store_row.stopped {
            return Err(WriteError::Stopped(stop));
        }
        if self.governance().role(&self.device()).is_none() {
            return Err(WriteError::NotMember);
        }
        if let Some(earlier) = self.repeated(stage, request)? {
            return Ok(earlier);
        }
        let written = match &request.intent {
            Intent::Put { collection, object, value } => {
                self.put(stage, request, collection, object.as_ref(), value)
            }
            Intent::Edit { object, base, edit } => self.edit(stage, request, object, base.as_deref(), edit),
            Intent::Delete { object } => self.delete(stage, request, object),
            Intent::Checkpoint => self.checkpoint(stage, request),
            Intent::Govern(kind, payload) => self.govern(stage, request, *kind, payload),
            Intent::SetPolicy { text, beside } => self.set_policy(stage, request, text, *beside),
            Intent::Resolve(resolve) => self.resolve(stage, request, resolve),
            Intent::Rebirth { object, remains } => self.renew(stage, request, object, remains),
            Intent::Undo { operation } => self.undo(stage, request, *operation),
        }?;
        if let Some(key) = &request.idempotency_key {
            let row = IdempotencyRow {
                operation: written.operation,
                object: written.object.clone(),
                request: request.digest(),
            };
            stage.batch.put(Table::Idempotency, request.key_name(key), cbor::encode(&row));
        }
        Ok(written)
    }

    /// The answer to an earlier call under the same key.
    fn repeated(&self, stage: &Stage, request: &WriteRequest) -> Result<Option<Written>, WriteError> {
        let Some(key) = &request.idempotency_key else { return Ok(None) };
        let name = request.key_name(key);
        let row: Option<IdempotencyRow> = match stage.batch.get(Table::Idempotency, &name) {
            Some(staged) => staged.map(|bytes| rows::decode(Table::Idempotency, &name, bytes)).transpose()?,
            None => rows::read(&self.store, Table::Idempotency, &name)?,
        };
        let Some(row) = row else { return Ok(None) };
        if row.request != request.digest() {
            return Err(WriteError::KeyReused(row.operation));
        }
        let heads = match &row.object {
            Some(object) => self.object_lives(object)?.into_iter().flat_map(|row| row.heads).collect(),
            None => Vec::new(),
        };
        let status = OperationStatus::Completed;
        Ok(Some(Written {
            operation: row.operation,
            object: row.object,
            status,
            heads,
            card: None,
            repeated: true,
        }))
    }

    fn put(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        collection: &Collection,
        object: Option<&ObjectId>,
        value: &serde_json::Value,
    ) -> Result<Written, WriteError> {
        self.put_noted(stage, request, collection, object, value, None)
    }

    /// Creates an object, with what its author says about it.
    pub(super) fn put_noted(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        collection: &Collection,
        object: Option<&ObjectId>,
        value: &serde_json::Value,
        note: Option<String>,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(collection);
        let log = self.log_for(stage, &manifest)?;
        let (operation, time) = self.next_operation(stage, log);
        let object = match object {
            Some(object) => object.clone(),
            None => operation.to_string().parse().map_err(|_| WriteError::Grant)?,
        };
        let lives = self.object_lives(&object)?;
        if !lives.is_empty() && lives.iter().all(ObjectRow::is_tombstoned) {
            return Err(WriteError::Tombstoned(object));
        }
        if !lives.is_empty() || stage.objects.keys().any(|(staged, ..)| *staged == object) {
            return Err(WriteError::Exists(object));
        }
        let erased = self.erased_life(stage, &object, collection);
        let birth = document::birth_after(&object, collection, value, &manifest, erased.as_ref())?;
        self.must_fit(&object, &birth.doc, &manifest)?;
        let subject = Subject {
            collection: collection.clone(),
            object: object.clone(),
            incarnation: Incarnation(birth.change.hash.0),
        };
        let question = Question {
            action: Action::Create,
            changed: &[],
            size: birth.change.bytes.len() as u64,
            dangerous: judgement::holds_dangerous(value, &manifest),
            ..self.question(request, Some(&subject), Some(&manifest), Base::NotNeeded)
        };
        let answer = match question.ask_everywhere(&mut self.gate, &rules, operation) {
            Err(refusal) if refusal.verdict == Verdict::Review => {
                self.may_be_proposed(stage, request, &rules, &question, operation)?;
                Err(refusal)
            }
            answer => Ok(self.redeem_local(stage, request, &question, answer, operation)?),
        };
        let mut entry = self.entry(
            request,
            if answer.is_ok() { EntryKind::EDIT } else { EntryKind::PROPOSAL },
            (operation, time),
            Some(subject.clone()),
            (birth.change.hash, birth.change.bytes.len()),
            None,
        );
        entry.note = note;
        let heads = vec![birth.change.hash];
        let proof = match answer {
            Ok(proof) => proof,
            Err(refusal) => {
                let key = subject_key(&subject);
                let card = self.log_proposal(stage, log, (entry, birth.change.bytes), &key, &refusal);
                let written = done(operation, Some(object), Vec::new());
                return Ok(Written {
                    status: OperationStatus::AwaitingDecision,
                    card: Some(card),
                    ..written
                });
            }
        };
        let change = (birth.change.bytes, proof);
        let staged = self.new_object(stage, &subject, birth.doc, time);
        self.log_change(stage, log, entry, change, staged);
        Ok(done(operation, Some(object), heads))
    }

    /// A new object on the stage, not yet with any change.
    pub(crate) fn new_object(
        &self,
        stage: &mut Stage,
        subject: &Subject,
        document: Automerge,
        time: UnixMicros,
    ) -> ObjectKey {
        let row = ObjectRow {
            collection: subject.collection.clone(),
            object: subject.object.clone(),
            incarnation: subject.incarnation,
            document: stage.next_document,
            heads: Vec::new(),
            snapshot_bytes: 0,
            parts: 0,
            tail_bytes: 0,
            changes: 0,
            covered: Vec::new(),
            known: None,
            created: time,
            changed: time,
            conflicts: 0,
            cards: Vec::new(),
            overruled: Vec::new(),
            yields: None,
            echoes: Vec::new(),
            reborn: false,
        };
        stage.next_document += 1;
        let key = subject_key(subject);
        let staged = StagedObject {
            row,
            document: Box::new(document),
            is_new: true,
            admitted: Vec::new(),
            remote: false,
            row_changed: false,
            is_apart: false,
            decided: Vec::new(),
            compared: None,
            whole: None,
            rejudged: false,
        };
        stage.objects.insert(key.clone(), staged);
        key
    }

    pub(super) fn edit(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        object: &ObjectId,
        base: Option<&[Digest]>,
        edit: &Edit,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let row = self.writable(stage, object)?;
        let manifest = rules.governance.manifest(&row.collection);
        let staged = stage.objects.get(&key_of(&row));
        let heads = staged.map_or_else(|| row.heads.clone(), |staged| document::heads(&staged.document));
        let stale = base.is_some_and(|base| !same(base, &heads));
        let is_agent = request.actor.kind == ActorKind::Agent;
        if stale && !is_agent {
            return Err(WriteError::StaleBase { object: object.clone(), heads });
        }
        let paths = edit.paths();
        self.check_undecided(stage, &row, &manifest, &paths)?;
        let log = self.log_for(stage, &manifest)?;
        let (operation, time) = self.next_operation(stage, log);
        let subject = Subject {
            collection: row.collection.clone(),
            object: object.clone(),
            incarnation: row.incarnation,
        };
        let replaces = self.try_edit(stage, &row, edit, &manifest)?;
        let (actor, time_seconds) = (self.change_actor(stage), (time.0 / 1_000_000) as i64);
        let many = match edit.may_replace() {
            true => self.many_rewritten(stage, log, (&request.actor, &row))?,
            false => None,
        };
        let made = match rules.policies.sees_size() || many.is_some() {
            true => self.make_apart(stage, &row, edit, (actor, time_seconds), &manifest)?,
            false => None,
        };
        let proof = {
            let written_on = match (base, stale) {
                (Some(_), true) => Base::Stale,
                (Some(_), false) => Base::Named,
                (None, _) => Base::Missing,
            };
            let question = Question {
                action: Action::Edit,
                changed: &paths,
                size: made.as_ref().map_or(0, Made::size),
                dangerous: manifest.is_dangerous(&paths),
                replaces,
                ..self.question(request, Some(&subject), Some(&manifest), written_on)
            };
            match question.ask_everywhere(&mut self.gate, &rules, operation) {
                Err(refusal) if refusal.verdict == Verdict::Review => {
                    return self.propose(
                        stage,
                        request,
                        (log, (operation, time)),
                        (row, base, edit),
                        &refusal,
                    );
                }
                answer => self.redeem_local(stage, request, &question, answer, operation)?,
            }
        };
        if let (Some(of), Some(made)) = (many, &made)
            && made.rewrites(&heads)
        {
            let place = Rewriting { log, at: (operation, time), proof };
            return self.log_rewrite(stage, request, place, (row, edit), of);
        }
        let key = key_of(&row);
        let staged = self.stage_object(stage, row)?;
        let change = match made {
            Some(made) => made.put(&mut staged.document),
            None => document::apply(&mut staged.document, edit, actor, time_seconds, &manifest)?,
        };
        let Some(change) = change else {
            // Nothing differs: no entry, but the call and its permission are on record.
            let mut record = ledger::record(
                RecordKind::Decision,
                Outcome::Noted,
                OperationType::Enqueue,
                &request.actor,
                self.device(),
            );
            record.subject = Some(subject);
            record.decision = Some(proof.decision());
            record.set_note("nothing would change");
            let operation = self.record(stage, record);
            return Ok(done(operation, Some(object.clone()), heads));
        };
        let is_rewrite = edit.may_replace() && document::rewrites(&staged.document, &heads, &change.bytes);
        let heads = document::heads(&staged.document);
        let base = base.map(sorted);
        let entry = self.entry(
            request,
            EntryKind::EDIT,
            (operation, time),
            Some(subject),
            (change.hash, change.bytes.len()),
            base,
        );
        self.log_change(stage, log, entry, (change.bytes, proof), key);
        if is_rewrite {
            self.count_rewrite(stage, log, &request.actor, (&manifest.collection, object));
        }
        Ok(done(operation, Some(object.clone()), heads))
    }

    fn checkpoint(&mut self, stage: &mut Stage, request: &WriteRequest) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let log = self.log_number(stage, LogKind::Device(self.own_log()));
        let (operation, time) = self.next_operation(stage, log);
        let proof = {
            let question = Question {
                action: Action::Operation(OperationType::Checkpoint),
                ..self.question(request, None, None, Base::NotNeeded)
            };
            self.admit_local(stage, request, &rules, &question, operation)?
        };
        let entry = self.record_entry(request, EntryKind::CHECKPOINT, (operation, time), None, &[]);
        self.log_entry(stage, log, entry, Vec::new(), &proof, OperationType::Checkpoint);
        Ok(done(operation, None, Vec::new()))
    }

    /// The one life of an object that may be written to.
    pub(super) fn writable(&self, stage: &Stage, object: &ObjectId) -> Result<ObjectRow, WriteError> {
        let row = match self.standing_lives(object)?.as_slice() {
            [] => stage.objects.values().map(|staged| &staged.row).find(|row| row.object == *object).cloned(),
            [row] => Some(stage.objects.get(&key_of(row)).map_or(row, |staged| &staged.row).clone()),
            _ => return Err(WriteError::Ambiguous(object.clone())),
        };
        let row = row.ok_or_else(|| WriteError::NotFound(object.clone()))?;
        if row.is_tombstoned() { Err(WriteError::Tombstoned(object.clone())) } else { Ok(row) }
    }

    pub(super) fn question<'a>(
        &self,
        request: &'a WriteRequest,
        subject: Option<&'a Subject>,
        manifest: Option<&'a Manifest>,
        base: Base,
    ) -> Question<'a> {
        Question {
            origin: Origin::Local,
            actor: &request.actor,
            device: self.device(),
            action: Action::Operation(OperationType::Enqueue),
            subject,
            manifest,
            changed: &[],
            size: 0,
            base,
            target_role: None,
            weakens: false,
            argued: false,
            dangerous: false,
            replaces: false,
        }
    }

    /// Asks the gate about a local call; a refusal becomes evidence at once.
    pub(super) fn admit_local(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        rules: &Rules,
        question: &Question<'_>,
        operation: OperationId,
    ) -> Result<Redeemed, WriteError> {
        let answer = question.ask_everywhere(&mut self.gate, rules, operation);
        self.redeem_local(stage, request, question, answer, operation)
    }

    /// Refuses what other devices would refuse also as a proposal.
    pub(super) fn may_be_proposed(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        rules: &Rules,
        question: &Question<'_>,
        operation: OperationId,
    ) -> Result<(), WriteError> {
        let Some(received) = question.elsewhere() else { return Ok(()) };
        match received.ask(&mut self.gate, rules, operation) {
            Err(refusal) if refusal.verdict == Verdict::Refuse => {
                self.redeem_local(stage, request, question, Err(refusal), operation).map(drop)
            }
            _ => Ok(()),
        }
    }

    fn redeem_local(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        question: &Question<'_>,
        answer: Result<Grant, Refusal>,
        operation: OperationId,
    ) -> Result<Redeemed, WriteError> {
        match answer {
            Ok(grant) => {
                self.keep_decision(stage, grant.decision(), grant.digest());
                redeem(grant, operation)
            }
            Err(refusal) => {
                let decision = self.keep_decision(stage, &refusal.decision, refusal.digest);
                let mut record = ledger::record(
                    RecordKind::Refusal,
                    Outcome::Refused,
                    OperationType::Enqueue,
                    &request.actor,
                    self.device(),
                );
                record.subject = question.subject.cloned();
                record.decision = Some(decision);
                record.set_note(&refusal.decision.in_words());
                let operation = self.record(stage, record);
                let review = refusal.verdict == Verdict::Review;
                Err(WriteError::Refused(Box::new(Refused { operation, review, decision: refusal.decision })))
            }
        }
    }
}

fn redeem(grant: Grant, operation: OperationId) -> Result<Redeemed, WriteError> {
    grant.redeem(operation).map_err(|_| WriteError::Grant)
}

pub(super) fn key_of(row: &ObjectRow) -> ObjectKey {
    (row.object.clone(), row.collection.clone(), row.incarnation)
}

fn sorted(heads: &[Digest]) -> Vec<Digest> {
    let mut heads = heads.to_vec();
    heads.sort_unstable();
    heads.dedup();
    heads
}

fn same(a: &[Digest], b: &[Digest]) -> bool {
    sorted(a) == sorted(b)
}

pub(super) const fn done(operation: OperationId, object: Option<ObjectId>, heads: Vec<Digest>) -> Written {
    Written { operation, object, status: OperationStatus::Completed, heads, card: None, repeated: false }
}
