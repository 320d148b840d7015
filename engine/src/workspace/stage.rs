//! The stage: everything one commit will change, kept apart from what is canonical until the disk has it.
//!
//! Local writes and received segments both end here. A stage that is dropped leaves no trace; one that is committed
//! becomes visible as a whole: entries, documents, index, evidence and checkpoints in one transaction, with one
//! signature per log.

use super::burst::Bursts;
use super::cache::{self, Loaded};
use super::cards::Judged;
use super::decided::Decided;
use super::erase::{ERASING, Rewritten};
use super::waiting::Standing;
use super::{Engine, Event, LogState, ObjectKey};
use crate::log::LogRecord;
use crate::store::rows::{
    AdmittedChange, GovernanceRow, LogKind, LogRow, ObjectRow, PartRow, PendingRow, RebirthRow, RunRow,
    append_changes, replace_parts,
};
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, StoreError};
use crate::{document, ledger};
use automerge::Automerge;
use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Coverage, CoveredLog, Finding, Record, RecordKind, Tree};
use syncd_policy::Decision;
use syncd_schema::entry::Seen;
use syncd_schema::governance::{Chain, Link};
use syncd_schema::{Digest, Entry, EntryKind, LogId, LogSeq, OperationId, UnixMicros, cbor, domain, limits};

/// A tail is compacted when it has this many parts, whatever their size: loading reads each.
const COMPACT_PARTS: u32 = 256;
/// A tail of fewer parts is never compacted: a snapshot of one or few changes saves nothing.
const COMPACT_FROM: u32 = 8;
/// A tail below this is never compacted: reading it costs less than writing a snapshot.
const COMPACT_BYTES: u64 = 512;

/// Decisions one record names: what fits into its data.
const DECISIONS_A_RECORD: usize = 100;

/// A document on the stage. Documents are boxed: one takes 3.5 KiB before it holds anything, and maps move what is in them.
pub(crate) struct StagedObject {
    pub(crate) row: ObjectRow,
    pub(crate) document: Box<Automerge>,
    pub(crate) is_new: bool,
    pub(crate) admitted: Vec<AdmittedChange>,
    pub(crate) remote: bool,
    pub(crate) row_changed: bool,
    /// Whether something was admitted that was made without knowledge of all there was.
    pub(crate) is_apart: bool,
    /// Entries of this stage that may have decided something, where something was open.
    pub(crate) decided: Vec<Decided>,
    /// What contradicts in it together with what is held, where that was looked at, and the document of both.
    pub(super) compared: Option<(Judged, Box<Automerge>)>,
    /// Whether all that is derived from it is derived anew.
    pub(crate) rejudged: bool,
    /// The document with what is held, where something is.
    pub(super) whole: Option<Box<Automerge>>,
}

impl StagedObject {
    /// The document with all that is known, what is held included.
    pub(super) fn known(&self) -> &Automerge {
        self.whole.as_ref().unwrap_or(&self.document)
    }

    /// Whether this commit may have ended the object, or brought it back: a deletion does the one, an edit that somebody
    /// made without knowledge of it the other.
    pub(super) fn may_end_or_return(&self) -> bool {
        self.is_new || self.row_changed || !self.row.covered.is_empty()
    }
}

/// What one commit will change.
pub(crate) struct Stage {
    pub(crate) now: UnixMicros,
    pub(crate) batch: Batch,
    logs: BTreeMap<LogNo, LogState>,
    appended: BTreeMap<LogNo, Vec<LogRecord>>,
    /// Received runs, stored as they came: position of the first entry, row.
    received: Vec<(LogNo, LogSeq, RunRow)>,
    pub(crate) records: Vec<Record>,
    pub(crate) objects: BTreeMap<ObjectKey, StagedObject>,
    pub(crate) chain: Option<Chain>,
    pub(crate) pending: BTreeMap<Standing, Option<PendingRow>>,
    pub(crate) decisions: BTreeSet<Digest>,
    pub(crate) events: Vec<Event>,
    pub(crate) next_document: u64,
    pub(crate) session_logged: bool,
    pub(crate) payload_bytes: usize,
    /// Admitted entries that carry a caller's key.
    pub(crate) keyed: Vec<Entry>,
    /// Deletions by other devices.
    pub(super) tombstones: Vec<(ObjectKey, Standing)>,
    /// Lives that began anew.
    pub(super) rebirths: BTreeMap<ObjectKey, RebirthRow>,
    /// Entries whose payload goes, or comes after all.
    pub(super) rewritten: Rewritten,
    /// Whether something goes for good, so that the store's file must not keep it either.
    pub(super) erases: bool,
    /// Entries that may have decided something about whole objects.
    pub(super) deciding: Vec<Decided>,
    pub(super) bursts: Bursts,
    /// Findings as this commit leaves them.
    pub(super) findings: HashMap<Digest, Finding>,
    /// Those the ledger is told of, and whether each is new.
    pub(super) raised: Vec<(Digest, bool)>,
    decisions_of_last: BTreeSet<Digest>,
    said_seen: Vec<(LogId, LogSeq)>,
}

impl Stage {
    /// Writes into the last record which decisions it rests on, if there are several.
    pub(super) fn name_decisions(&mut self) {
        let decisions = std::mem::take(&mut self.decisions_of_last);
        if let (Some(last), true) = (self.records.last_mut(), decisions.len() > 1) {
            last.decision = None;
            last.data = Some(cbor::encode(&decisions.into_iter().collect::<Vec<Digest>>()));
        }
    }

    /// How many entries were appended to logs of this device.
    pub(crate) fn appended(&self) -> usize {
        self.appended.values().map(Vec::len).sum()
    }

    /// The received run on this stage that holds a position.
    pub(crate) fn received_run(&self, no: LogNo, seq: LogSeq) -> Option<(LogSeq, &RunRow)> {
        self.received.iter().find_map(|(log, first, row)| {
            let holds = *log == no && *first <= seq && seq < first.plus(u64::from(row.count));
            holds.then_some((*first, row))
        })
    }

    /// A log that this stage changes.
    pub(crate) fn log_of(&self, kind: &LogKind) -> Option<&LogState> {
        self.logs.values().find(|state| state.row.kind == *kind)
    }

    /// What happened to a pending entry on this stage: `Some(None)` when it no longer waits.
    pub(crate) fn pending_at(&self, at: &Standing) -> Option<&Option<PendingRow>> {
        self.pending.get(at)
    }
}

impl Engine {
    pub(crate) fn stage(&self, now: UnixMicros) -> Stage {
        Stage {
            now,
            batch: Batch::default(),
            logs: BTreeMap::new(),
            appended: BTreeMap::new(),
            received: Vec::new(),
            records: Vec::new(),
            objects: BTreeMap::new(),
            chain: None,
            pending: BTreeMap::new(),
            decisions: BTreeSet::new(),
            events: Vec::new(),
            next_document: self.next_document,
            session_logged: self.session_logged,
            payload_bytes: 0,
            keyed: Vec::new(),
            tombstones: Vec::new(),
            rebirths: BTreeMap::new(),
            rewritten: Rewritten::new(),
            erases: false,
            deciding: Vec::new(),
            bursts: Bursts::default(),
            findings: HashMap::new(),
            raised: Vec::new(),
            decisions_of_last: BTreeSet::new(),
            said_seen: Vec::new(),
        }
    }

    /// A log as this commit will leave it.
    pub(crate) fn staged_log<'s>(&'s self, stage: &'s Stage, no: LogNo) -> Option<&'s LogState> {
        stage.logs.get(&no).or_else(|| self.logs.get(&no))
    }

    pub(super) fn staged_log_mut<'s>(&self, stage: &'s mut Stage, no: LogNo) -> Option<&'s mut LogState> {
        if let Place::Vacant(e) = stage.logs.entry(no) {
            e.insert(self.logs.get(&no)?.clone());
        }
        stage.logs.get_mut(&no)
    }

    /// The number of a device log or branch, given a new one if it is not held yet.
    pub(crate) fn log_number(&self, stage: &mut Stage, kind: LogKind) -> LogNo {
        let known = |state: &LogState| (state.row.kind == kind).then_some(state.no);
        let held = match &kind {
            LogKind::Device(log) => self.log_numbers.get(log).copied(),
            LogKind::Branch(log) => self.branches.get(log).copied(),
            LogKind::Local => Some(self.local),
            LogKind::Ledger => Some(self.ledger),
        };
        if let Some(no) = held.or_else(|| stage.logs.values().find_map(known)) {
            return no;
        }
        let last = |logs: &BTreeMap<LogNo, LogState>| logs.keys().next_back().map_or(0, |no| no.0);
        let no = LogNo(last(&self.logs).max(last(&stage.logs)) + 1);
        stage.logs.insert(no, LogState { no, row: new_log(kind) });
        no
    }

    /// Appends an entry to a log of this device; its position and leaf hash.
    pub(crate) fn append(
        &self,
        stage: &mut Stage,
        no: LogNo,
        mut entry: Entry,
        payload: Vec<u8>,
    ) -> (LogSeq, Digest) {
        if !stage.appended.contains_key(&no) {
            entry.seen = self.newly_seen(stage, no);
        }
        let leaf = leaf_hash(&entry.to_bytes());
        let Some(state) = self.staged_log_mut(stage, no) else { return (LogSeq(u64::MAX), leaf) };
        let seq = state.size();
        state.row.tree.append(leaf);
        state.row.last = Some((entry.operation, entry.time));
        state.row.governance.clone_from(&entry.governance);
        stage.payload_bytes += payload.len();
        stage.appended.entry(no).or_default().push(LogRecord { entry, payload: Some(payload) });
        (seq, leaf)
    }

    /// How far this device has read other logs, as far as it has not said so since it was opened. Said by the first
    /// entry of a commit.
    fn newly_seen(&self, stage: &mut Stage, no: LogNo) -> Vec<Seen> {
        if self.staged_log(stage, no).is_none_or(|state| !matches!(state.row.kind, LogKind::Device(_))) {
            return Vec::new();
        }
        let mut seen = Vec::new();
        for (log, other) in self.log_numbers.iter().filter(|(_, other)| **other != no) {
            let Some(state) = self.logs.get(other) else { continue };
            let size = state.size();
            if self.said_seen.get(log) != Some(&size) && seen.len() < limits::REFERENCES {
                seen.push(Seen { log: *log, size, root: state.row.tree.root() });
                stage.said_seen.push((*log, size));
            }
        }
        seen
    }

    /// Changes a log's row beside its tree.
    pub(crate) fn alter_log(&self, stage: &mut Stage, no: LogNo, alter: impl FnOnce(&mut LogRow)) {
        if let Some(state) = self.staged_log_mut(stage, no) {
            alter(&mut state.row);
        }
    }

    /// Adds an admitted governance entry to the chain.
    pub(crate) fn add_link(&self, stage: &mut Stage, link: Link, kind: EntryKind, payload: &[u8]) {
        let mut chain = stage.chain.take().unwrap_or_else(|| self.chain.clone());
        let number = chain.len() as u64;
        let row = GovernanceRow {
            id: link.id,
            parents: link.parents.clone(),
            author: link.author,
            kind,
            payload: payload.to_vec(),
        };
        if chain.add(link) && chain.len() as u64 > number {
            stage.batch.put(Table::Governance, number.to_be_bytes().to_vec(), cbor::encode(&row));
        }
        stage.chain = Some(chain);
    }

    /// Puts a verified run of another device's entries on the stage, as it came.
    pub(crate) fn put_received(&self, stage: &mut Stage, no: LogNo, tree: Tree, row: RunRow) {
        let first = self.staged_log(stage, no).map_or(LogSeq(0), LogState::size);
        self.put_received_at(stage, no, first, tree, row);
    }

    /// As [`Engine::put_received`], for a run that begins elsewhere than at the end of the log.
    pub(crate) fn put_received_at(
        &self,
        stage: &mut Stage,
        no: LogNo,
        first: LogSeq,
        tree: Tree,
        row: RunRow,
    ) {
        let Some(state) = self.staged_log_mut(stage, no) else { return };
        state.row.tree = tree;
        state.row.checkpoint = Some(row.checkpoint);
        state.row.loose = state.row.loose.saturating_add(1);
        stage.received.push((no, first, row));
    }

    /// Adds a record to the ledger, to the previous one where that says the same of the entry before.
    ///
    /// Admissions of neighbouring entries are one record even when different decisions admitted them: it names
    /// them all, and which one was whose follows from asking the gate again.
    pub(crate) fn record(&mut self, stage: &mut Stage, mut record: Record) -> OperationId {
        let decision = record.decision;
        record.at = stage.now.max(self.last_record.plus(1));
        // Ledger records have a tag of their own: an entry and a record of the same microsecond are two things.
        record.id = OperationId::at(record.at, !self.tag);
        if let Some(last) = stage.records.last_mut() {
            if last.coalesce(&record) {
                self.last_record = last.at;
                return last.id;
            }
            if let (true, Some(covers), Some(decision)) =
                (stage.decisions_of_last.len() < DECISIONS_A_RECORD, joined(last, &record), decision)
            {
                last.covers = Some(covers);
                last.subject = None;
                stage.decisions_of_last.insert(decision);
                return last.id;
            }
        }
        stage.name_decisions();
        self.last_record = record.at;
        let id = record.id;
        stage.decisions_of_last.extend(decision);
        stage.records.push(record);
        id
    }

    /// Stores a decision the first time it is made.
    pub(crate) fn keep_decision(&self, stage: &mut Stage, decision: &Decision, digest: Digest) -> Digest {
        if !self.decisions_stored.contains(&digest) && stage.decisions.insert(digest) {
            stage.batch.put(Table::Decisions, digest.0.to_vec(), decision.to_bytes());
        }
        digest
    }

    /// The document of an object on this stage: taken from the cache or loaded when first asked for.
    pub(crate) fn staged_object<'s>(
        &mut self,
        stage: &'s mut Stage,
        object: &ObjectKey,
    ) -> Result<Option<&'s mut StagedObject>, StoreError> {
        if stage.objects.contains_key(object) {
            return Ok(stage.objects.get_mut(object));
        }
        let row = match self.cache.row(object) {
            Some(row) => Some(row.clone()),
            None => self.object_row(object)?,
        };
        row.map(|row| self.stage_object(stage, row)).transpose()
    }

    /// As [`Engine::staged_object`], for a caller who has just read the object's row.
    pub(crate) fn stage_object<'s>(
        &mut self,
        stage: &'s mut Stage,
        row: ObjectRow,
    ) -> Result<&'s mut StagedObject, StoreError> {
        match stage.objects.entry((row.object.clone(), row.collection.clone(), row.incarnation)) {
            Place::Occupied(staged) => Ok(staged.into_mut()),
            Place::Vacant(place) => {
                let document = match self.cache.take(place.key()) {
                    Some(loaded) => loaded.document,
                    None => Box::new(self.load_document(&row)?),
                };
                Ok(place.insert(StagedObject {
                    row,
                    document,
                    is_new: false,
                    admitted: Vec::new(),
                    remote: false,
                    row_changed: false,
                    is_apart: false,
                    decided: Vec::new(),
                    compared: None,
                    whole: None,
                    rejudged: false,
                }))
            }
        }
    }

    /// Makes everything on the stage durable and visible, or nothing.
    pub(crate) fn commit(&mut self, mut stage: Stage) -> Result<Vec<Event>, StoreError> {
        let mut objects = std::mem::take(&mut stage.objects);
        for staged in objects.values_mut() {
            self.write_object(&mut stage, staged)?;
        }
        stage.deciding = objects.values().flat_map(|staged| &staged.decided).cloned().collect();
        self.update_lives(&mut stage, &objects)?;
        self.update_links(&mut stage, &objects)?;
        for decided in objects.values().flat_map(|staged| &staged.decided) {
            self.settle_keys(&mut stage, decided)?;
        }
        for entry in std::mem::take(&mut stage.keyed) {
            self.note_key(&mut stage, &entry)?;
        }
        self.update_bursts(&mut stage)?;
        for (no, records) in std::mem::take(&mut stage.appended) {
            self.seal_appended(&mut stage, no, &records)?;
        }
        for (no, first, row) in std::mem::take(&mut stage.received) {
            stage.batch.put(Table::Runs, key::position(no, first), cbor::encode(&row));
            self.fold(&mut stage, no)?;
        }
        self.rewrite_runs(&mut stage)?;
        if stage.erases {
            stage.batch.put(Table::Keys, ERASING.to_vec(), Vec::new());
        }
        self.record_findings(&mut stage);
        self.seal_ledger(&mut stage)?;
        for ((no, seq), row) in &stage.pending {
            let at = key::position(*no, *seq);
            match row {
                Some(row) => stage.batch.put(Table::Pending, at, cbor::encode(row)),
                None => stage.batch.delete(Table::Pending, at),
            }
        }
        for (no, state) in &stage.logs {
            stage.batch.put(Table::Logs, key::log(*no), cbor::encode(&state.row));
        }
        if let Err(error) = self.store.commit(std::mem::take(&mut stage.batch)) {
            drop(objects);
            if let Err(second) = self.reload() {
                tracing::warn!(error = %second, "the store cannot be read after a failed commit; it is tried again");
            }
            return Err(error);
        }
        Ok(self.install(stage, objects))
    }

    /// After the commit: what was staged becomes what is canonical.
    fn install(&mut self, mut stage: Stage, objects: BTreeMap<ObjectKey, StagedObject>) -> Vec<Event> {
        self.count_places(&stage);
        for (no, state) in stage.logs {
            match state.row.kind {
                LogKind::Device(log) => {
                    let grew = self.logs.get(&no).is_none_or(|old| old.size() < state.size());
                    if grew {
                        stage.events.push(Event::LogGrew(log));
                    }
                    self.log_numbers.insert(log, no);
                }
                LogKind::Branch(log) => {
                    self.branches.insert(log, no);
                }
                LogKind::Local | LogKind::Ledger => {}
            }
            self.logs.insert(no, state);
        }
        for (key, staged) in objects {
            let is_written = !staged.admitted.is_empty() || staged.row_changed;
            if is_written {
                stage.events.push(Event::ObjectChanged { object: key.0.clone(), remote: staged.remote });
            }
            if staged.is_new {
                self.objects += 1;
            }
            let bytes =
                cache::estimate(staged.row.changes, staged.row.snapshot_bytes + staged.row.tail_bytes);
            let row = is_written.then_some(staged.row);
            self.cache.put(key, Loaded { document: staged.document, row, bytes });
        }
        for (at, row) in stage.pending {
            match row {
                Some(row) => self.pending.insert(at, row),
                None => self.pending.remove(&at),
            }
        }
        if let Some(chain) = stage.chain {
            self.chain = chain;
            self.refresh_rules();
            stage.events.push(Event::GovernanceChanged);
        }
        if stage.erases {
            self.erases = true;
            stage.events.push(Event::Erased);
        }
        self.rebirths.extend(stage.rebirths);
        self.remember_answered(&stage.bursts);
        self.said_seen.extend(stage.said_seen);
        self.decisions_stored.extend(stage.decisions);
        self.next_document = stage.next_document;
        self.session_logged = stage.session_logged;
        stage.events
    }

    fn write_object(&mut self, stage: &mut Stage, staged: &mut StagedObject) -> Result<(), StoreError> {
        if staged.admitted.is_empty() && !staged.row_changed {
            return Ok(());
        }
        let judged = self.judge_contradictions(stage, staged)?;
        if !staged.admitted.is_empty() {
            append_changes(&mut stage.batch, &mut staged.row, &staged.admitted);
            staged.row.heads = document::heads(&staged.document);
        }
        staged.row.known = staged.whole.as_deref().map(document::heads);
        self.update_cards(stage, staged, judged.as_ref())?;
        let row = &staged.row;
        let tail_outgrew =
            row.parts >= COMPACT_FROM && row.tail_bytes > COMPACT_BYTES.max(row.snapshot_bytes);
        if tail_outgrew || row.parts > COMPACT_PARTS {
            self.compact(stage, staged)?;
        }
        let row = &staged.row;
        if staged.is_new && !row.reborn {
            let name = key::name(&row.collection, &row.object, &row.incarnation);
            stage.batch.put(Table::Names, name, Vec::new());
        }
        stage.batch.put(
            Table::Objects,
            key::object(&row.object, &row.collection, &row.incarnation),
            cbor::encode(row),
        );
        Ok(())
    }

    /// Replaces a document's parts by one snapshot, if loading that gives the same heads.
    fn compact(&self, stage: &mut Stage, staged: &mut StagedObject) -> Result<(), StoreError> {
        let Ok(snapshot) = document::compact(&staged.document) else {
            // Parts stay the truth; a document that does not survive saving is a finding, never a loss.
            let finding = ledger::unsaveable(&staged.row, stage.now);
            return self.find(stage, finding);
        };
        let mut sources = PartRow::default();
        for part in self.part_rows(&staged.row, Some(&stage.batch))? {
            part.sources.iter().for_each(|source| sources.add_source(source.log, source.first, source.count));
        }
        replace_parts(&mut stage.batch, &mut staged.row, sources.sources, snapshot);
        Ok(())
    }

    pub(crate) fn origin(&self, kind: &LogKind) -> String {
        match kind {
            LogKind::Device(log) | LogKind::Branch(log) => domain::log_origin(log),
            LogKind::Local => domain::local_origin(&self.workspace, &self.device(), &self.store_row.name),
            LogKind::Ledger => domain::ledger_origin(&self.workspace, &self.device(), &self.store_row.name),
        }
    }

    /// How the ledger names a log.
    pub(crate) const fn covered(kind: &LogKind) -> CoveredLog {
        match kind {
            LogKind::Device(log) | LogKind::Branch(log) => CoveredLog::Device(*log),
            LogKind::Local | LogKind::Ledger => CoveredLog::Local,
        }
    }

    /// The log id of a device log by its number.
    pub(crate) fn log_id(&self, no: LogNo) -> Option<LogId> {
        match self.logs.get(&no)?.row.kind {
            LogKind::Device(log) | LogKind::Branch(log) => Some(log),
            LogKind::Local | LogKind::Ledger => None,
        }
    }
}

/// The row of a log that holds nothing yet.
pub(crate) fn new_log(kind: LogKind) -> LogRow {
    LogRow {
        kind,
        tree: Tree::default(),
        checkpoint: None,
        last: None,
        governance: Vec::new(),
        actor: None,
        frozen: false,
        fold_from: LogSeq(0),
        loose: 0,
        deletions: Vec::new(),
    }
}

/// What two admissions cover together, if they differ in nothing but the decision and the entry.
fn joined(last: &Record, next: &Record) -> Option<Coverage> {
    let alike = last.kind == RecordKind::Admission
        && next.kind == RecordKind::Admission
        && last.operation == next.operation
        && last.actor == next.actor
        && last.device == next.device
        && last.note.is_none()
        && next.note.is_none();
    let (last, next) = (last.covers?, next.covers?);
    let adjoin = last.log == next.log && last.end() == Some(next.first);
    (alike && adjoin).then(|| Coverage { count: last.count + next.count, ..last })
}
