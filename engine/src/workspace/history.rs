//! Operations looked back upon: history of an object, the life of an operation, and why things are as they are.

use super::read::Explanation;
use super::rebirth::After;
use super::segments::Found;
use super::{Engine, LogState, strategy};
use crate::conflict::Settlement;
use crate::guard;
use crate::ledger;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{self, LogKind, PendingRow, RunRow};
use crate::store::tables::{LogNo, Table, key};
use serde::Serialize;
use std::collections::BTreeMap;
use syncd_evidence::{Record, RecordKind};
use syncd_policy::Decision;
use syncd_schema::entry::Deletion;
use syncd_schema::operation::EntryState;
use syncd_schema::{
    Actor, Collection, DeviceId, Digest, Entry, EntryKind, LogSeq, ObjectId, ObjectState, OperationId,
    OperationStatus, OperationType,
};

/// One operation on an object.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryItem {
    /// The operation.
    pub operation: OperationId,
    /// What it did: create, edit, tombstone, resolution, ending.
    pub kind: &'static str,
    /// On which device.
    pub device: DeviceId,
    /// Who there.
    pub actor: Actor,
    /// When, by that device's clock.
    pub at: String,
    /// The change's hash: the document's head right after it.
    pub change: Digest,
    /// What became of it here.
    pub status: EntryState,
}

/// A part of an operation's life.
#[derive(Clone, Debug, Serialize)]
pub struct TaskView {
    /// What had to be done.
    pub task: &'static str,
    /// For which device, if for another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// How far it is, in the contract's words.
    pub status: OperationStatus,
}

/// An operation with its life so far.
#[derive(Clone, Debug, Serialize)]
pub struct OperationView {
    /// Its id.
    pub operation: OperationId,
    /// Its type, in the contract's words.
    #[serde(rename = "type")]
    pub kind: OperationType,
    /// What it does: create, edit, tombstone, manifest, bundle, member, resolution, and so on.
    pub does: &'static str,
    /// How it stands.
    pub status: OperationStatus,
    /// Its id on this device.
    pub local_operation_id: OperationId,
    /// The ids under which peers carried it out.
    pub remote_operation_ids: BTreeMap<String, OperationId>,
    /// What became of it at each peer.
    pub peers: BTreeMap<String, EntryState>,
    /// The object it is about.
    pub object: Option<ObjectId>,
    /// Its collection.
    pub collection: Option<Collection>,
    /// The device that wrote it.
    pub device: DeviceId,
    /// Who there.
    pub actor: Actor,
    /// When.
    pub at: String,
    /// Its tasks.
    pub tasks: Vec<TaskView>,
    /// The ledger's records of it.
    pub evidence: Vec<OperationId>,
}

impl Engine {
    /// The operations on an object, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn history(&self, object: &ObjectId) -> Result<Vec<HistoryItem>, StoreError> {
        let mut items = Vec::new();
        for row in self.object_lives(object)? {
            let sources = self.sources_of(&row)?;
            items.extend(self.entries_of(&sources)?);
        }
        // Deletions are in the log and in no document; they are few, and found by the object they name.
        items.extend(self.tombstones_of(object)?);
        items.extend(self.rebirths_of(object)?);
        for ((no, seq), _) in self.pending.of_object(object) {
            items.extend(self.record_at(*no, *seq)?.map(|record| (*no, *seq, record.entry)));
        }
        items.sort_by_key(|(no, seq, entry)| (entry.time, self.log_id(*no), *seq));
        items.dedup_by_key(|(no, seq, _)| (*no, *seq));
        Ok(items.into_iter().map(|(no, seq, entry)| self.item(no, seq, &entry)).collect())
    }

    /// The deletions of an object that were admitted.
    pub(super) fn tombstones_of(&self, object: &ObjectId) -> Result<Vec<(LogNo, LogSeq, Entry)>, StoreError> {
        let mut found = Vec::new();
        let any = self.object_lives(object)?.iter().any(|row| !row.covered.is_empty());
        if !any {
            return Ok(found);
        }
        for (no, state) in &self.logs {
            if matches!(state.row.kind, LogKind::Ledger) {
                continue;
            }
            self.walk_runs(*no, LogSeq(0), |first, row| {
                for (index, record) in super::segments::decode_run(*no, first, &row)?.into_iter().enumerate()
                {
                    let seq = first.plus(index as u64);
                    let about = record.entry.subject.as_ref().is_some_and(|s| s.object == *object);
                    let ends = about && record.entry.kind.is_deletion();
                    if ends && !self.pending.contains(&(*no, seq)) {
                        found.push((*no, seq, record.entry));
                    }
                }
                Ok(true)
            })?;
        }
        Ok(found)
    }

    fn item(&self, no: LogNo, seq: LogSeq, entry: &Entry) -> HistoryItem {
        HistoryItem {
            operation: entry.operation,
            kind: does(entry),
            device: self.log_id(no).map_or_else(|| self.device(), |log| log.device),
            actor: entry.actor.clone(),
            at: entry.time.rfc3339(),
            change: entry.payload_digest,
            status: self.entry_state(no, seq).0,
        }
    }

    /// The newest operations, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn operations(
        &self,
        status: Option<OperationStatus>,
        limit: usize,
    ) -> Result<Vec<OperationView>, StoreError> {
        let mut views = Vec::new();
        for (no, state) in &self.logs {
            if state.row.kind == LogKind::Ledger {
                continue;
            }
            let from = LogSeq(state.size().0.saturating_sub(limit as u64));
            self.walk_runs(*no, from, |first, row| {
                for (index, record) in super::segments::decode_run(*no, first, &row)?.into_iter().enumerate()
                {
                    let seq = first.plus(index as u64);
                    if seq >= from {
                        views.push(self.operation_view(*no, seq, &record.entry, false)?);
                    }
                }
                Ok(true)
            })?;
        }
        views.retain(|view| status.is_none_or(|status| view.status == status));
        views.sort_by(|a, b| b.at.cmp(&a.at));
        views.truncate(limit);
        Ok(views)
    }

    /// One operation with its evidence.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn operation(&self, operation: OperationId) -> Result<Option<OperationView>, StoreError> {
        match self.find_operation(operation)? {
            Some(Found { no, seq, record }) => self.operation_view(no, seq, &record.entry, true).map(Some),
            None => Ok(self.ledger_record(operation)?.map(|record| self.record_view(&record))),
        }
    }

    fn operation_view(
        &self,
        no: LogNo,
        seq: LogSeq,
        entry: &Entry,
        with_evidence: bool,
    ) -> Result<OperationView, StoreError> {
        let (state, _) = self.entry_state(no, seq);
        let log = self.log_id(no);
        let device = log.map_or_else(|| self.device(), |log| log.device);
        let own = device == self.device();
        let peers = self.states_at_peers(no, seq)?;
        let mut tasks = vec![TaskView { task: "apply", device: None, status: status_of(state) }];
        if own && log.is_some() {
            for member in
                self.governance().members.values().filter(|m| m.role.is_some() && m.device != device)
            {
                let status =
                    peers.get(&member.device).map_or(OperationStatus::Queued, |(state, _)| status_of(*state));
                tasks.push(TaskView { task: "replicate", device: Some(member.device), status });
            }
        }
        let kind = match (entry.kind, own) {
            (EntryKind::TOMBSTONE, _) => OperationType::Tombstone,
            (EntryKind::ENDING | EntryKind::RESOLUTION, _) => OperationType::Resolve,
            (EntryKind::CHECKPOINT, _) => OperationType::Checkpoint,
            (_, true) => OperationType::Enqueue,
            (_, false) => OperationType::Replay,
        };
        let evidence = if with_evidence {
            self.evidence_of(no, seq)?.iter().map(|r| r.id).collect()
        } else {
            Vec::new()
        };
        Ok(OperationView {
            operation: entry.operation,
            kind,
            does: does(entry),
            status: match self.pending.get(&(no, seq)) {
                Some(row) if row.asks.is_some() || row.late => OperationStatus::AwaitingDecision,
                _ => status_of(state),
            },
            local_operation_id: entry.operation,
            remote_operation_ids: peers
                .iter()
                .filter_map(|(d, (_, id))| id.map(|id| (d.to_string(), id)))
                .collect(),
            peers: peers.iter().map(|(d, (state, _))| (d.to_string(), *state)).collect(),
            object: entry.subject.as_ref().map(|s| s.object.clone()),
            collection: entry.subject.as_ref().map(|s| s.collection.clone()),
            device,
            actor: entry.actor.clone(),
            at: entry.time.rfc3339(),
            tasks,
            evidence,
        })
    }

    fn record_view(&self, record: &Record) -> OperationView {
        let status = match record.kind {
            RecordKind::Refusal => OperationStatus::Failed,
            _ => OperationStatus::Completed,
        };
        OperationView {
            operation: record.id,
            kind: record.operation,
            does: record.kind.word(),
            status,
            local_operation_id: record.id,
            remote_operation_ids: BTreeMap::new(),
            peers: BTreeMap::new(),
            object: record.subject.as_ref().map(|s| s.object.clone()),
            collection: record.subject.as_ref().map(|s| s.collection.clone()),
            device: record.device,
            actor: record.actor.clone(),
            at: record.at.rfc3339(),
            tasks: vec![TaskView { task: "apply", device: None, status }],
            evidence: vec![record.id],
        }
    }

    /// The ledger's newest records, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn evidence(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let size = self.size_of(&LogKind::Ledger);
        let mut records = self.records_from(LogSeq(size.0.saturating_sub(limit as u64)))?;
        records.reverse();
        Ok(records)
    }

    /// The ledger's records from a position on.
    pub(crate) fn records_from(&self, from: LogSeq) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        self.walk_runs(self.ledger, from, |first, row| {
            let found = decode_records(self.ledger, first, &row)?;
            let skip = from.0.saturating_sub(first.0) as usize;
            records.extend(found.into_iter().skip(skip));
            Ok(true)
        })?;
        Ok(records)
    }

    /// One ledger record by its id: ids grow along the ledger.
    pub(super) fn ledger_record(&self, id: OperationId) -> Result<Option<Record>, StoreError> {
        let (mut low, mut high) = (0, self.size_of(&LogKind::Ledger).0);
        while low < high {
            let middle = LogSeq(low + (high - low) / 2);
            let Some((first, records)) = self.records_at(middle)? else { return Ok(None) };
            let index = records.partition_point(|record| record.id < id);
            match records.get(index) {
                Some(record) if record.id == id => return Ok(Some(record.clone())),
                Some(_) if index > 0 => return Ok(None),
                Some(_) => high = first.0,
                None => low = first.0 + records.len() as u64,
            }
        }
        Ok(None)
    }

    fn records_at(&self, seq: LogSeq) -> Result<Option<(LogSeq, Vec<Record>)>, StoreError> {
        let at = key::position(self.ledger, seq);
        let Some((at, bytes)) = self.store.last_at(Table::Runs, &key::log(self.ledger), &at)? else {
            return Ok(None);
        };
        let row: RunRow = rows::decode(Table::Runs, &at, &bytes)?;
        let Some((_, first)) = key::parse_position(&at) else { return Ok(None) };
        Ok(Some((first, decode_records(self.ledger, first, &row)?)))
    }

    /// The records that cover an entry.
    pub(super) fn evidence_of(&self, no: LogNo, seq: LogSeq) -> Result<Vec<Record>, StoreError> {
        let Some(kind) = self.log(no).map(|state: &LogState| state.row.kind) else { return Ok(Vec::new()) };
        let covered = Self::covered(&kind);
        let mut found = Vec::new();
        self.walk_runs(self.ledger, LogSeq(0), |first, row| {
            let records = decode_records(self.ledger, first, &row)?;
            let about = |record: &Record| record.covers.as_ref().is_some_and(|c| c.contains(&covered, seq));
            found.extend(records.into_iter().filter(about));
            Ok(true)
        })?;
        Ok(found)
    }

    /// A decision by its digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn decision(&self, digest: &Digest) -> Result<Option<Decision>, StoreError> {
        let bytes = self.store.get(Table::Decisions, &digest.0)?;
        Ok(bytes.and_then(|bytes| Decision::from_bytes(&bytes).ok()))
    }

    /// Why an object or an operation is as it is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn explain(&self, id: &str) -> Result<Option<Explanation>, StoreError> {
        // An object that was created without an id is named as the operation that created it: the object is meant.
        let named = id.parse::<ObjectId>();
        if let Ok(object) = &named
            && let Some(explained) = self.explain_object(object)?
        {
            return Ok(Some(explained));
        }
        if let Ok(operation) = id.parse::<OperationId>() {
            if let Some(found) = self.find_operation(operation)? {
                let mut explained = self.explain_entry(&found)?;
                self.add_findings_of(&mut explained, self.log_id(found.no).as_ref(), &found.record.entry)?;
                return Ok(Some(explained));
            }
            if let Some(record) = self.ledger_record(operation)? {
                return self.explain_record(&record).map(Some);
            }
        }
        Ok(None)
    }

    fn explain_entry(&self, found: &Found) -> Result<Explanation, StoreError> {
        let entry = &found.record.entry;
        let (state, pending) = self.entry_state(found.no, found.seq);
        let device = self.log_id(found.no).map_or_else(|| self.device(), |log| log.device);
        let mut because = vec![format!(
            "{} by {} on device {} at {}, entry {} of its log.",
            entry.kind.word(),
            entry.actor,
            device.short(),
            entry.time,
            found.seq
        )];
        if let Some((card, choice)) = answered(&found.record) {
            because.push(format!("It answers card {card}: {choice}."));
        }
        let mut next = Vec::new();
        if self.after_rebirth(None, (found.no, found.seq), entry) == Some(After::Dropped) {
            because
                .push("What it said is in no device's history any more: its object began anew.".to_owned());
            because.extend(entry.subject.iter().flat_map(|subject| self.begun_anew(&subject.object)));
        }
        for record in self.evidence_of(found.no, found.seq)? {
            for digest in decisions_of(&record) {
                if let Some(decision) = self.decision(&digest)? {
                    because.push(decision.in_words());
                }
            }
        }
        if let Some(pending) = pending {
            because.push(format!(
                "Not part of the workspace here since {}: {}.",
                pending.since,
                sentence(&pending.reason)
            ));
            for digest in strategy::needs(pending).iter().take(8) {
                because.push(format!("It waits for {digest}."));
            }
            next.push(match pending.state {
                EntryState::Refused => {
                    "It stays in its log as evidence; its author may write it anew.".to_owned()
                }
                _ => self.way_on(pending)?,
            });
        }
        let word = serde_json::to_value(state).ok().and_then(|v| v.as_str().map(str::to_owned));
        Ok(Explanation {
            subject: entry.operation.to_string(),
            state: word.unwrap_or_default(),
            because,
            next,
        })
    }

    /// What lets in an entry that is held.
    fn way_on(&self, row: &PendingRow) -> Result<String, StoreError> {
        let card = match (&row.object, &row.asks) {
            (Some(object), _) if row.late => {
                self.rebirth(None, object).map(|row| self.late_card(object, row))
            }
            (_, Some(of)) if row.in_burst => self.burst_card(of, &self.open_part(None, of)?),
            (Some(object), Some(change)) => Some(self.held_card(object, change)),
            _ => None,
        };
        Ok(card.map_or_else(
            || "Sync with a device that holds what it waits for; it is then taken up by itself.".to_owned(),
            |card| format!("See what is asked with `card {card}`, and answer with `resolve`."),
        ))
    }

    fn explain_record(&self, record: &Record) -> Result<Explanation, StoreError> {
        let mut because = vec![format!("{} at {}, by {}.", record.kind.word(), record.at, record.actor)];
        because.extend(record.note.clone());
        for digest in decisions_of(record) {
            if let Some(decision) = self.decision(&digest)? {
                because.push(decision.in_words());
            }
        }
        because.dedup();
        let state = record.outcome.word().to_owned();
        let next = match record.kind {
            RecordKind::Refusal => {
                vec![
                    "Change what the reason names and write it again; `policy show` has the rules."
                        .to_owned(),
                ]
            }
            _ => Vec::new(),
        };
        Ok(Explanation { subject: record.id.to_string(), state, because, next })
    }

    fn explain_object(&self, object: &ObjectId) -> Result<Option<Explanation>, StoreError> {
        let history = self.history(object)?;
        let Some(last) = history.last() else { return Ok(None) };
        let lives = self.standing_lives(object)?;
        let mut because = self.begun_anew(object);
        let mut next = Vec::new();
        let good = history.iter().rev().find(|item| item.status == EntryState::Admitted);
        if let Some(good) = good {
            because.push(format!("Last change admitted: {} by {} at {}.", good.kind, good.actor, good.at));
            if let Some(found) = self.find_operation(good.operation)? {
                because.extend(self.explain_entry(&found)?.because.into_iter().skip(1));
            }
        }
        let linked = match lives.first() {
            Some(row) => self.linked_cards(row)?,
            None => Vec::new(),
        };
        let state = match lives.first() {
            Some(_) if lives.len() > 1 => {
                because.push("It was created twice with different content; both are kept.".to_owned());
                next.push(
                    "Read both with `get`; copy what is wanted into a new object and delete this one."
                        .to_owned(),
                );
                "conflicted"
            }
            Some(row) if row.is_half_deleted() => {
                because
                    .push("It was deleted by somebody who had not seen a change that survives.".to_owned());
                next.push("Delete it again if it is to go, or keep editing it.".to_owned());
                "conflicted"
            }
            Some(row) if row.is_tombstoned() => "tombstoned",
            Some(row) if !row.cards.is_empty() || !linked.is_empty() => {
                because.extend(self.explain_cards(row)?);
                if !linked.is_empty() {
                    let others = "It shares a value with another object that no two may share, or refers to one that was deleted.";
                    because.push(others.to_owned());
                }
                next.push(
                    "See what is asked with `card CARD`, and answer with `resolve CARD OPTION`:".to_owned(),
                );
                next.extend(row.cards.iter().chain(&linked).map(|card| format!("card {card}")));
                "conflicted"
            }
            _ if self.pending.of_object(object).any(|(_, row)| row.late) => "conflicted",
            None if last.kind == EntryKind::REBIRTH.word() => "erased",
            _ if last.status != EntryState::Admitted => match self.state_of(&lives)? {
                ObjectState::Held => "held",
                ObjectState::Clean => "clean",
                _ => self.waiting_word(object),
            },
            _ => "clean",
        };
        for ((no, seq), row) in self.pending.of_object(object) {
            because.push(format!(
                "Entry {seq} of log {} is not admitted: {}.",
                self.log_name(*no),
                sentence(&row.reason)
            ));
            next.push(match row.asks.is_some() || row.late {
                true => self.way_on(row)?,
                false => {
                    "See `explain` of that operation, or sync with the device that has what it waits for."
                        .to_owned()
                }
            });
        }
        if let Some(stop) = self.stopped() {
            because.push(stop.to_string());
        }
        next.dedup();
        let mut explained =
            Explanation { subject: object.to_string(), state: state.to_owned(), because, next };
        self.add_findings_about(&mut explained, object)?;
        Ok(Some(explained))
    }

    fn log_name(&self, no: LogNo) -> String {
        self.log_id(no).map_or_else(|| "local".to_owned(), |log| log.to_string())
    }
}

/// What may be a whole sentence, without its end.
fn sentence(reason: &str) -> &str {
    reason.trim_end_matches('.')
}

fn does(entry: &Entry) -> &'static str {
    if entry.is_birth() { "create" } else { entry.kind.word() }
}

/// The card that an entry answers, and the option that was chosen.
fn answered(record: &LogRecord) -> Option<(Digest, String)> {
    let payload = record.payload.as_deref()?;
    match record.entry.kind {
        EntryKind::RESOLUTION => {
            let settled = Settlement::of_message(&guard::message(payload).ok()?)?;
            Some((settled.card, settled.choice.word().to_owned()))
        }
        EntryKind::ENDING => Deletion::read(EntryKind::ENDING, payload).ok()?.answers,
        _ => None,
    }
}

/// The decisions a record rests on: one by name, or several in its data.
pub(crate) fn decisions_of(record: &Record) -> Vec<Digest> {
    let several = || {
        let data = record.data.as_deref().filter(|_| record.kind == RecordKind::Admission)?;
        minicbor::decode::<Vec<Digest>>(data).ok()
    };
    record.decision.map_or_else(|| several().unwrap_or_default(), |decision| vec![decision])
}

pub(crate) fn decode_records(no: LogNo, first: LogSeq, row: &RunRow) -> Result<Vec<Record>, StoreError> {
    ledger::decode(row).map_err(|_| StoreError::Value {
        table: Table::Runs.name(),
        key: hex::encode(key::position(no, first)),
        source: syncd_schema::cbor::CborError::Invalid {
            what: "ledger run",
            rule: "it must decode to records",
        },
    })
}

const fn status_of(state: EntryState) -> OperationStatus {
    match state {
        EntryState::Sent | EntryState::Persisted => OperationStatus::Running,
        EntryState::Admitted => OperationStatus::Completed,
        EntryState::Held => OperationStatus::Blocked,
        EntryState::Refused => OperationStatus::Failed,
    }
}
