//! What this device says of deletions in a row: that many begin, where a batch or what it knows of a collection shows it,
//! and how they are answered.

use super::admit::Arrival;
use super::asked::Offer;
use super::burst::{self, DELETIONS, Verdict, WINDOW};
use super::intent::{Intent, WriteError, WriteRequest, Written};
use super::judge::Question;
use super::local::{done, key_of};
use super::resolve::{Answering, ResolveError};
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, LogState, ObjectKey, subject_key};
use crate::conflict::{Alternative, Choice, Keep};
use crate::ledger;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{DecidedRow, LogKind, ObjectRow, PendingRow};
use crate::store::tables::{LogNo, Table, key};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use syncd_evidence::Coverage;
use syncd_policy::{Action, Base, Origin, Redeemed};
use syncd_schema::burst::{Answer, Burst, name};
use syncd_schema::entry::Subject;
use syncd_schema::{
    Actor, Collection, Digest, Entry, EntryKind, LogId, LogSeq, OperationId, OperationStatus, OperationType,
    cbor,
};

/// Deletions in a row that are looked at: fewer are no accident, whatever they leave.
pub(super) const SOME: usize = 10;
/// Objects of a collection that are counted at most, those that were deleted before included. In larger ones the number
/// of deletions alone decides.
const COUNTED: usize = 4_096;
/// Objects that a card names.
const NAMED: usize = 32;

impl Engine {
    /// How many objects of each collection a batch of calls deletes, by actor; none where they are few.
    pub(super) fn planned_deletions(
        &self,
        batch: &[WriteRequest],
    ) -> Result<BTreeMap<(Actor, Collection), usize>, StoreError> {
        let deletes = batch.iter().filter_map(|request| match &request.intent {
            Intent::Delete { object } => Some((&request.actor, object)),
            _ => None,
        });
        let deletes: Vec<_> = deletes.collect();
        let mut planned = BTreeMap::new();
        for (actor, object) in deletes.iter().filter(|_| deletes.len() >= SOME) {
            for row in self.standing_lives(object)? {
                *planned.entry(((*actor).clone(), row.collection)).or_default() += 1;
            }
        }
        Ok(planned)
    }

    /// Before an object is deleted: says that many deletions begin, where this one and those near it would leave less than
    /// half of a collection.
    pub(super) fn brace(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        row: &ObjectRow,
    ) -> Result<(), WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&row.collection);
        let log = self.log_for(stage, &manifest)?;
        let by = (request.actor.clone(), row.collection.clone());
        let planned = stage.bursts.planned.get_mut(&by).map_or(1, |left| {
            let planned = (*left).max(1);
            *left = left.saturating_sub(1);
            planned
        });
        let Some(LogKind::Device(id)) = self.staged_log(stage, log).map(|state| state.row.kind) else {
            return Ok(());
        };
        let of = name(&id, &request.actor, &row.collection);
        let next = self.staged_log(stage, log).map_or(LogSeq(0), LogState::size);
        let (before, begun) = self.deletions_before(stage, log, &of, next);
        let is_stopped = begun || before >= DELETIONS;
        if is_stopped
            || before + planned < SOME
            || !self.leaves_few(stage, &row.collection, before, planned)?
        {
            return Ok(());
        }
        let subject = subject_of(row);
        let operation = self.next_operation(stage, log);
        let permitted = {
            let question = Question {
                action: Action::Delete,
                ..self.question(request, Some(&subject), Some(&manifest), Base::Missing)
            };
            question.ask_everywhere(&mut self.gate, &rules, operation.0).is_ok()
        };
        // What is refused deletes nothing, and says so itself.
        if permitted {
            self.log_burst(stage, request, (log, id), subject, &Burst::Begins).map(drop)
        } else {
            Ok(())
        }
    }

    /// Whether so many deletions leave less than half of what a collection had before the first of them.
    pub(super) fn leaves_few(
        &self,
        stage: &Stage,
        collection: &Collection,
        before: usize,
        planned: usize,
    ) -> Result<bool, StoreError> {
        let enough = before + 2 * planned;
        let mut standing = stage
            .objects
            .values()
            .filter(|staged| staged.is_new && staged.row.collection == *collection)
            .count();
        let names = self.store.keys(Table::Names, &key::name_prefix(collection), COUNTED)?;
        let is_small = names.len() < COUNTED;
        for at in names {
            let Some(object) = key::parse_name(&at) else { continue };
            let row = match stage.objects.get(&object) {
                Some(staged) => Some(staged.row.clone()),
                None => self.object_row(&object)?,
            };
            standing += usize::from(row.is_some_and(|row| !row.is_tombstoned()));
            if standing >= enough {
                return Ok(false);
            }
        }
        Ok(is_small)
    }

    /// Logs what is said of a burst.
    fn log_burst(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        (log, id): (LogNo, LogId),
        subject: Subject,
        said: &Burst,
    ) -> Result<Arrival, WriteError> {
        let rules = Arc::clone(&self.rules);
        let payload = cbor::encode(said);
        let at = self.next_operation(stage, log);
        let mut entry = self.record_entry(request, EntryKind::BURST, at, Some(subject), &payload);
        if let Intent::Resolve(resolve) = &request.intent {
            entry.note.clone_from(&resolve.because);
        }
        let proof = {
            let question = Question::of_entry(Origin::Local, self.device(), &entry, None, &rules.governance)
                .with_payload(&entry, &payload);
            self.admit_local(stage, request, &rules, &question, at.0)?
        };
        let kind = if *said == Burst::Begins { OperationType::Detect } else { OperationType::Resolve };
        let record = LogRecord { entry: entry.clone(), payload: Some(payload.clone()) };
        let (seq, _) = self.log_entry(stage, log, entry, payload.clone(), &proof, kind);
        self.count_deletion(stage, (&id, log, seq), &record.entry, &payload);
        Ok(Arrival { log: id, no: log, seq, record, session: None, in_burst: false })
    }

    /// What becomes of a deletion of this device that would stand at the end of its log, and whose it is.
    pub(super) fn next_deletion(
        &self,
        stage: &Stage,
        log: LogNo,
        (actor, collection): (&Actor, &Collection),
    ) -> Result<(Verdict, Digest), WriteError> {
        let Some(LogKind::Device(id)) = self.staged_log(stage, log).map(|state| state.row.kind) else {
            return Ok((Verdict::Happens, Digest([0; 32])));
        };
        let of = name(&id, actor, collection);
        let next = self.staged_log(stage, log).map_or(LogSeq(0), LogState::size);
        let (before, begun) = self.deletions_before(stage, log, &of, next);
        if !begun && before < DELETIONS {
            return Ok((Verdict::Happens, of));
        }
        Ok((self.burst_verdict(stage, &of, next)?, of))
    }

    /// Appends a deletion that does not take effect, and notes that.
    pub(super) fn append_withheld(
        &mut self,
        stage: &mut Stage,
        log: LogNo,
        entry: &Entry,
        payload: Vec<u8>,
        proof: &Redeemed,
    ) -> Standing {
        let (seq, _) = self.append(stage, log, entry.clone(), payload);
        if let Some(kind) = self.staged_log(stage, log).map(|state| state.row.kind) {
            let covers = Coverage { log: Self::covered(&kind), first: seq, count: 1 };
            let (decision, device) = (Some(proof.decision()), self.device());
            let record = ledger::withheld(entry, covers, device, false, decision, burst::waits(entry.kind));
            self.record(stage, record);
        }
        (log, seq)
    }

    /// Counts a deletion of this device that was just logged.
    pub(super) fn count_own(&self, stage: &mut Stage, log: LogNo, entry: &Entry) {
        let state = self.staged_log(stage, log).map(|state| (state.row.kind, state.size()));
        if let Some((LogKind::Device(id), size)) = state {
            let seq = LogSeq(size.0.saturating_sub(1));
            self.count_deletion(stage, (&id, log, seq), entry, &[]);
        }
    }

    /// The answer to a deletion that waits already, by the same actor.
    pub(super) fn waits_already(
        &self,
        actor: &Actor,
        row: &ObjectRow,
    ) -> Result<Option<Written>, WriteError> {
        let key = key_of(row);
        let of = name(&self.own_log(), actor, &row.collection);
        let is_it = |row: &PendingRow| row.asks == Some(of) && row.object.as_ref() == Some(&key);
        let mut waiting = self.pending.of_object(&row.object).filter(|(_, row)| is_it(row));
        let Some((no, seq)) = waiting.next().map(|(at, _)| *at) else { return Ok(None) };
        let Some(record) = self.record_at(no, seq)? else { return Ok(None) };
        let card = self.burst_card(&of, &self.open_part(None, &of)?);
        Ok(Some(Written { repeated: true, ..self.waiting_in_burst(record.entry.operation, key, card) }))
    }

    /// What the caller of a deletion that waits is told.
    pub(super) fn waiting_in_burst(
        &self,
        operation: OperationId,
        key: ObjectKey,
        card: Option<Digest>,
    ) -> Written {
        Written {
            status: OperationStatus::AwaitingDecision,
            card,
            ..done(operation, Some(key.0), Vec::new())
        }
    }

    /// Answers the card about deletions in a row.
    pub(super) fn resolve_burst(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        of: &Digest,
    ) -> Result<Written, WriteError> {
        let lets_in = match asked.resolve.choice {
            Choice::Remote => true,
            Choice::Decline => false,
            choice => return Err(ResolveError::NoOption(choice).into()),
        };
        let gone = || ResolveError::NotFound(asked.resolve.card);
        let first = self.open_part(Some(stage), of)?.first().copied().ok_or_else(gone)?;
        let of_log = self.log_of_place(&first).ok_or_else(gone)?;
        let record = self.record_at(first.0, first.1)?.ok_or_else(gone)?;
        let subject = record.entry.subject.ok_or_else(gone)?;
        let end = self.log(first.0).map_or(first.1, LogState::size);
        let through = LogSeq(end.0.saturating_sub(1).max(first.1.0) + if lets_in { WINDOW } else { 0 });
        let answer = Answer {
            device: of_log.device,
            epoch: of_log.epoch,
            actor: record.entry.actor,
            from: first.1,
            through,
            lets_in,
        };
        let manifest = self.rules.governance.manifest(&subject.collection);
        let log = self.log_for(stage, &manifest)?;
        let key = subject_key(&subject);
        let place = (log, self.own_log());
        let arrival = self.log_burst(stage, asked.request, place, subject, &Burst::Answer(answer))?;
        self.note_answer(stage, &arrival)?;
        Ok(done(arrival.record.entry.operation, Some(key.0), Vec::new()))
    }

    /// What a card about deletions in a row shows: whose they are, how many, and the first of them.
    pub(super) fn burst_offers(&self, of: &Digest) -> Result<Vec<Offer>, StoreError> {
        let open = self.open_part(None, of)?;
        let Some(first) = open.first().copied() else { return Ok(Vec::new()) };
        let Some(record) = self.record_at(first.0, first.1)? else { return Ok(Vec::new()) };
        let object = |at| self.pending.get(at).and_then(|row| row.object.as_ref()).map(|key| key.0.clone());
        let is_rewrite =
            |at: &&Standing| self.pending.get(at).is_some_and(|row| row.reason == burst::REWRITE_WAITS);
        let rewrites = open.iter().filter(is_rewrite).count();
        let objects: Vec<_> = open.iter().take(NAMED).filter_map(object).collect();
        let alternative = Alternative {
            change: *of,
            changes: Vec::new(),
            value: json!({ "deletes": open.len() - rewrites, "rewrites": rewrites, "objects": objects }),
            keep: Keep::Gone,
            is_shown: false,
        };
        let device = self.log_of_place(&first).map(|log| log.device);
        let operations = vec![record.entry.operation];
        Ok(vec![Offer { alternative, operations, author: Some((device, record.entry)), object: None }])
    }
}

/// Answered as the deletion it repeats was answered.
pub(super) fn declined_already(card: Digest, by: &DecidedRow) -> WriteError {
    let (choice, name) = (by.choice.clone(), burst::declined(by));
    ResolveError::Decided { card, choice, by: name, operation: by.operation }.into()
}

fn subject_of(row: &ObjectRow) -> Subject {
    let (collection, incarnation) = (row.collection.clone(), row.incarnation);
    Subject { collection, object: row.object.clone(), incarnation }
}
