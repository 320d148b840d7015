//! Lives that begin anew: what they were is dropped, here and on every other device, for good.
//!
//! Declining a change leaves it in everybody's history; what must not be kept at all takes a rebirth. One entry, which the
//! gate permits to people who govern, names the life that ends, the life in its place and, for each log, up to where
//! changes are dropped ([`syncd_schema::entry::Rebirth`]). From then on an entry about the old life is one of two things, by nothing but
//! where it stands: it is dropped, and its payload is not kept, whichever of the two came first; or it is late, work by
//! somebody who did not know, which waits until a person has looked. Leaves of logs cover digests, so logs verify as before.

use super::admit::{Arrival, Candidate, Judged, Ledgered, coverage};
use super::card_kind::CardKind;
use super::cards::new_card_of;
use super::decided::Decided;
use super::erase::ERASING;
use super::stage::{Stage, StagedObject};
use super::waiting::Standing;
use super::{Engine, ObjectKey, subject_key};
use crate::document;
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{AboutRow, CardRow, DecidedRow, LogKind, PendingRow, RebirthRow, RebornRow, Source};
use crate::store::tables::{Table, key};
use std::collections::{BTreeMap, BTreeSet};
use syncd_evidence::{Finding, FindingKind, Outcome, RecordKind, Severity};
use syncd_schema::entry::{Rebirth, Subject};
use syncd_schema::operation::EntryState;
use syncd_schema::{DeviceId, Digest, Entry, EntryKind, LogId, LogSeq, OperationType, cbor};

/// What a rebirth means for an entry about the life that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is dropped.
    Dropped,
    /// It was written without knowledge of it.
    Late,
}

/// An entry about a life that begins anew.
#[derive(Default)]
struct Entries {
    dropped: BTreeSet<Standing>,
    late: BTreeSet<Standing>,
}

/// An admitted rebirth, and where it stands.
pub(super) struct Reborn<'a> {
    pub(super) entry: &'a Entry,
    pub(super) rebirth: &'a Rebirth,
    pub(super) device: DeviceId,
    pub(super) at: Standing,
}

impl Engine {
    /// What is known of a life that began anew, this stage included.
    pub(super) fn rebirth<'s>(&'s self, stage: Option<&'s Stage>, key: &ObjectKey) -> Option<&'s RebirthRow> {
        stage.and_then(|stage| stage.rebirths.get(key)).or_else(|| self.rebirths.get(key))
    }

    /// What has become of an entry because its object began anew; none if it did not.
    pub(super) fn after_rebirth(&self, stage: Option<&Stage>, at: Standing, entry: &Entry) -> Option<After> {
        if self.rebirths.is_empty() && stage.is_none_or(|stage| stage.rebirths.is_empty()) {
            return None;
        }
        let subject = entry.subject.as_ref().filter(|_| is_work(entry.kind))?;
        let row = self.rebirth(stage, &subject_key(subject))?;
        let log = match stage {
            Some(stage) => self.staged_log(stage, at.0)?.row.kind,
            None => self.log(at.0)?.row.kind,
        };
        Some(if row.drops(&log, at.1, entry.is_birth()) { After::Dropped } else { After::Late })
    }

    /// Whether a payload is not to be kept, before its entry has a place here.
    pub(super) fn drops_payload(&self, log: LogId, seq: LogSeq, entry: &Entry) -> bool {
        if self.rebirths.is_empty() {
            return false;
        }
        let subject = entry.subject.as_ref().filter(|_| entry.kind.is_change());
        subject
            .and_then(|subject| self.rebirths.get(&subject_key(subject)))
            .is_some_and(|row| row.drops(&LogKind::Device(log), seq, entry.is_birth()))
    }

    /// An admitted rebirth takes effect. True when it was one.
    pub(super) fn apply_rebirth(
        &mut self,
        stage: &mut Stage,
        candidate: Candidate,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let Candidate { arrival, proof } = candidate;
        let entry = &arrival.record.entry;
        let rebirth = match Rebirth::from_bytes(arrival.record.payload.as_deref().unwrap_or_default()) {
            Ok(rebirth) => rebirth,
            Err(error) => {
                let judged = Judged::Refused { reason: error.to_string(), decision: None, finding: true };
                self.not_admitted(stage, &arrival, judged, done)?;
                return Ok(false);
            }
        };
        let at = (arrival.no, arrival.seq);
        self.begin_anew(stage, &Reborn { entry, rebirth: &rebirth, device: arrival.log.device, at }, done)?;
        self.admitted(stage, &arrival, proof.decision(), done);
        Ok(true)
    }

    /// Ends a life: its document, its cards and its changes go; what is late waits.
    pub(super) fn begin_anew(
        &mut self,
        stage: &mut Stage,
        reborn: &Reborn<'_>,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let Some(subject) = &reborn.entry.subject else { return Ok(()) };
        let key = subject_key(subject);
        let before = self.rebirth(Some(stage), &key).map(|row| self.late_card(&key, row));
        let mut row = self.rebirth(Some(stage), &key).cloned().unwrap_or_default();
        let by = reborn_row(reborn);
        row.add(by, self.places(stage, reborn));
        stage.batch.put(Table::Rebirths, key::object(&key.0, &key.1, &key.2), cbor::encode(&row));
        let entries = self.entries_about(stage, &key, &row)?;
        stage.rebirths.insert(key.clone(), row);
        self.tell_author(stage, reborn, subject, &entries.dropped)?;
        let by = decided(reborn);
        for at in &entries.dropped {
            self.drop_entry(stage, &key, *at, &by, done)?;
        }
        self.end_document(stage, subject, &by, reborn.entry)?;
        for at in &entries.late {
            self.make_late(stage, &key, *at, &by, done)?;
        }
        let is_late = self.has_late(stage, &key);
        self.exchange_late(stage, subject, before, is_late, by)?;
        self.record_rebirth(stage, reborn, entries.dropped.len());
        stage.erases = true;
        Ok(())
    }

    /// Drops an entry that is here. One that waited counts as admitted from now on, and others may wait for it.
    fn drop_entry(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        at: Standing,
        by: &DecidedRow,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        stage.rewritten.insert(at, None);
        let Some(waits) = self.waits_at(stage, &at) else { return Ok(()) };
        self.end_asked(stage, key, &waits, by)?;
        match self.stored_arrival(stage, at, None, done)? {
            Some(arrival) => self.dropped(stage, &arrival, done),
            None => drop(stage.pending.insert(at, None)),
        }
        Ok(())
    }

    /// An entry that is here turns out to be late. What was let in is late at once; what waited is judged again, so that it
    /// comes to the same where the rebirth was known first.
    fn make_late(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        at: Standing,
        by: &DecidedRow,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let waits = self.waits_at(stage, &at);
        if waits.as_ref().is_some_and(|row| row.late) {
            return Ok(());
        }
        let session = waits.as_ref().and_then(|row| row.session);
        let Some(arrival) = self.stored_arrival(stage, at, session, done)? else { return Ok(()) };
        let Some(waits) = waits else {
            self.unsettle(stage, at)?;
            self.note_late(stage, &arrival, done);
            return Ok(());
        };
        self.end_asked(stage, key, &waits, by)?;
        // What only waited for somebody has passed the gate.
        let asked = waits.apart || waits.asks.is_some();
        match if asked { Judged::Late } else { self.judge(stage, &arrival, done)? } {
            Judged::Late => {
                self.note_late(stage, &arrival, done);
                Ok(())
            }
            judged => self.not_admitted(stage, &arrival, judged, done),
        }
    }

    /// What an entry waits for, this stage included.
    fn waits_at(&self, stage: &Stage, at: &Standing) -> Option<PendingRow> {
        stage.pending_at(at).cloned().unwrap_or_else(|| self.pending.get(at).cloned())
    }

    /// Whether there is late work on a life, this stage included.
    fn has_late(&self, stage: &Stage, key: &ObjectKey) -> bool {
        let is_late = |row: &PendingRow| row.late && row.object.as_ref() == Some(key);
        let stored = self.pending.of_object(&key.0).filter(|(at, _)| stage.pending_at(at).is_none());
        stored.map(|(_, row)| row).chain(stage.pending.values().flatten()).any(is_late)
    }

    /// Up to where it drops what each log holds: in its own, everything before it.
    fn places(&self, stage: &Stage, reborn: &Reborn<'_>) -> Vec<(LogKind, LogSeq)> {
        let own = self.staged_log(stage, reborn.at.0).map(|state| (state.row.kind, reborn.at.1));
        let named = reborn.rebirth.upto.iter().map(|upto| {
            let log = LogId { workspace: self.workspace, device: upto.device, epoch: upto.epoch };
            (LogKind::Device(log), upto.seq)
        });
        own.into_iter().chain(named).collect()
    }

    /// The entries about a life that are here: those in its document, those that wait, and those of second histories.
    fn entries_about(&self, stage: &Stage, key: &ObjectKey, row: &RebirthRow) -> Result<Entries, StoreError> {
        let mut entries = Entries::default();
        let mut sort = |at: Standing, kind: &LogKind, is_birth: bool| {
            if row.drops(kind, at.1, is_birth) {
                entries.dropped.insert(at)
            } else {
                entries.late.insert(at)
            };
        };
        let kind_of = |no| self.staged_log(stage, no).map(|state| state.row.kind);
        let stored = self.object_row(key)?;
        let staged = stage.objects.get(key);
        let stored_covers = stored.as_ref().is_some_and(|row| !row.reborn && !row.covered.is_empty());
        let mut sources = stored.map(|stored| self.sources_of(&stored)).transpose()?.unwrap_or_default();
        sources.extend(staged.into_iter().flat_map(|staged| staged.row.echoes.iter().copied()));
        for Source { log, first, count } in sources {
            let Some(kind) = kind_of(log) else { continue };
            for seq in (first.0..first.0.saturating_add(count)).map(LogSeq) {
                // Only of what its place does not drop it has to be known what it is.
                let is_birth = !row.drops(&kind, seq, false)
                    && self.record_at(log, seq)?.is_some_and(|record| record.entry.is_birth());
                sort((log, seq), &kind, is_birth);
            }
        }
        for change in staged.into_iter().flat_map(|staged| &staged.admitted) {
            let (at, is_birth) = (change.position(), change.hash().0 == key.2.0);
            if let Some(kind) = kind_of(at.0) {
                sort(at, &kind, is_birth);
            }
        }
        for at in self.deletions_of(stage, key, stored_covers)? {
            if let Some(kind) = kind_of(at.0) {
                sort(at, &kind, false);
            }
        }
        let about = |row: &PendingRow| row.object.as_ref() == Some(key);
        let waiting = self.pending.of_object(&key.0).filter(|(_, row)| about(row)).map(|(at, _)| *at);
        let staged =
            stage.pending.iter().filter(|(_, row)| row.as_ref().is_some_and(about)).map(|(at, _)| *at);
        for at in waiting.chain(staged).collect::<BTreeSet<_>>() {
            let (Some(entry), Some(kind)) = (self.staged_record(stage, at)?, kind_of(at.0)) else { continue };
            if !is_work(entry.kind) {
                continue;
            }
            sort(at, &kind, entry.is_birth());
        }
        for no in self.branches.values() {
            let Some(kind) = kind_of(*no) else { continue };
            self.walk_runs(*no, LogSeq(0), |first, run| {
                for (index, record) in super::segments::decode_run(*no, first, &run)?.iter().enumerate() {
                    let at = (*no, first.plus(index as u64));
                    let is_about =
                        record.entry.subject.as_ref().is_some_and(|about| subject_key(about) == *key);
                    if is_about && row.drops(&kind, at.1, record.entry.is_birth()) {
                        entries.dropped.insert(at);
                    }
                }
                Ok(true)
            })?;
        }
        Ok(entries)
    }

    /// Where the deletions of a life stand.
    fn deletions_of(
        &self,
        stage: &Stage,
        key: &ObjectKey,
        stored: bool,
    ) -> Result<Vec<Standing>, StoreError> {
        let staged = stage.tombstones.iter().filter(|(about, _)| about == key).map(|(_, at)| *at);
        let mut found: Vec<Standing> = staged.collect();
        for (no, seq, entry) in if stored { self.tombstones_of(&key.0)? } else { Vec::new() } {
            if entry.subject.as_ref().is_some_and(|about| subject_key(about) == *key) {
                found.push((no, seq));
            }
        }
        Ok(found)
    }

    /// An entry by its place, on the stage or in the store.
    fn staged_record(&self, stage: &Stage, (no, seq): Standing) -> Result<Option<Entry>, StoreError> {
        let run = self.staged_run(stage, no, seq)?;
        Ok(run.and_then(|(first, records)| {
            records.into_iter().nth(seq.0.checked_sub(first.0)? as usize).map(|record| record.entry)
        }))
    }

    /// Takes the document of a life away, and all that was derived from it.
    fn end_document(
        &mut self,
        stage: &mut Stage,
        subject: &Subject,
        by: &DecidedRow,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let key = subject_key(subject);
        match self.object_row(&key)? {
            Some(row) if !stage.objects.contains_key(&key) => drop(self.stage_object(stage, row)?),
            _ if stage.objects.contains_key(&key) => {}
            _ => drop(self.new_object(stage, subject, document::empty(), entry.time)),
        }
        let before = match stage.objects.get(&key) {
            Some(staged) if !staged.is_new => self.stored_contradictions(&staged.row)?,
            _ => BTreeSet::new(),
        };
        self.forget_places(stage, &key)?;
        let Some(staged) = stage.objects.get_mut(&key) else { return Ok(()) };
        for part in 0..=staged.row.parts {
            stage.batch.delete(Table::Docs, key::part(staged.row.document, part));
        }
        let place = key::object(&key.0, &key.1, &key.2);
        stage.batch.delete(Table::Conflicts, place);
        stage.batch.delete(Table::Names, key::name(&key.1, &key.0, &key.2));
        let judged = super::cards::Judged { before, after: BTreeSet::new() };
        empty(staged, Decided { row: by.clone(), ..Decided::of(entry, by.device, None) });
        staged.compared = Some((judged, Box::new(document::empty())));
        Ok(())
    }

    /// Takes out of ended cards where in the object they were: the names of fields are content too.
    fn forget_places(&self, stage: &mut Stage, key: &ObjectKey) -> Result<(), StoreError> {
        for (at, bytes) in self.store.prefix(Table::Cards, &[1])? {
            let mut row: CardRow = crate::store::rows::decode(Table::Cards, &at, &bytes)?;
            if (&row.object, &row.collection, &row.incarnation) == (&key.0, &key.1, &key.2) {
                row.forget_place();
                stage.batch.put(Table::Cards, at, cbor::encode(&row));
            }
        }
        Ok(())
    }

    /// Ends the card that asks about an entry which nobody can let in any more.
    fn end_asked(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        waits: &PendingRow,
        by: &DecidedRow,
    ) -> Result<(), StoreError> {
        let Some(change) = waits.asks else { return Ok(()) };
        let card = self.held_card(key, &change);
        if let Some(row) = self.card_row(Some(stage), &card)?.filter(|row| row.end.is_none()) {
            self.end_card(stage, card, row, Vec::new(), Some(by.clone()));
        }
        Ok(())
    }

    /// An entry that came after its object began anew, and is dropped.
    pub(super) fn dropped(&mut self, stage: &mut Stage, arrival: &Arrival, done: &mut Ledgered) {
        let (entry, at) = (&arrival.record.entry, (arrival.no, arrival.seq));
        let device = arrival.log.device;
        let mut record =
            ledger::record(RecordKind::Repair, Outcome::Noted, OperationType::Repair, &entry.actor, device);
        (record.covers, record.subject) = (Some(coverage(arrival)), entry.subject.clone());
        record.set_note("dropped: its object has begun anew");
        note_key(stage, entry);
        done.records.push((at, record));
        done.states.insert(at, (arrival.log, EntryState::Admitted, None));
        done.admitted.insert(entry.operation);
        done.news.0.insert(entry.operation);
        stage.rewritten.insert(at, None);
        stage.erases = true;
        if self.pending.contains(&at) || stage.pending.contains_key(&at) {
            stage.pending.insert(at, None);
        }
    }

    /// An entry about a life that had ended, by somebody who did not know.
    pub(super) fn late(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        self.note_late(stage, arrival, done);
        let Some(subject) = &arrival.record.entry.subject else { return Ok(()) };
        let key = subject_key(subject);
        let card = self.rebirth(Some(stage), &key).map(|row| self.late_card(&key, row));
        if let Some(card) = card
            && self.card_row(Some(stage), &card)?.is_none_or(|row| row.end.is_some())
        {
            let row = new_card_of(subject, CardKind::LateWork, AboutRow::Late, stage);
            self.open_card(stage, card, &row);
        }
        Ok(())
    }

    /// Keeps work on a life that has ended, until somebody has looked.
    fn note_late(&self, stage: &mut Stage, arrival: &Arrival, done: &mut Ledgered) {
        let (entry, at) = (&arrival.record.entry, (arrival.no, arrival.seq));
        let Some(subject) = &entry.subject else { return };
        done.states.insert(at, (arrival.log, EntryState::Held, None));
        if self.waits_at(stage, &at).is_some_and(|row| row.late) {
            return;
        }
        let reason = "it is work on what the object was before it began anew";
        let object = Some(subject_key(subject));
        let row = PendingRow { late: true, ..PendingRow::held(reason.to_owned(), object, stage.now) };
        stage.pending.insert(at, Some(row));
        note_key(stage, entry);
        let record = ledger::withheld(entry, coverage(arrival), arrival.log.device, false, None, reason);
        done.records.push((at, record));
    }

    /// The card about late work: the same on every device that knows what was dropped.
    pub(super) fn late_card(&self, key: &ObjectKey, row: &RebirthRow) -> Digest {
        self.card_of(key, "late", &[row.extent()])
    }

    /// Ends the card about what was late before, and opens one about what still is.
    fn exchange_late(
        &mut self,
        stage: &mut Stage,
        subject: &Subject,
        before: Option<Digest>,
        is_late: bool,
        by: DecidedRow,
    ) -> Result<(), StoreError> {
        let key = subject_key(subject);
        let Some(after) = self.rebirth(Some(stage), &key).map(|row| self.late_card(&key, row)) else {
            return Ok(());
        };
        let old = match before.filter(|card| *card != after) {
            Some(card) => self.card_row(Some(stage), &card)?.filter(|row| row.end.is_none()).zip(Some(card)),
            None => None,
        };
        let mut new = new_card_of(subject, CardKind::LateWork, AboutRow::Late, stage);
        if let Some((row, card)) = old {
            let successors = if is_late { vec![after] } else { Vec::new() };
            new.before.push(card);
            self.end_card(stage, card, row, successors, Some(by));
        }
        if is_late && self.card_row(Some(stage), &after)?.is_none_or(|row| row.end.is_some()) {
            self.open_card(stage, after, &new);
        }
        Ok(())
    }

    /// Tells this device's people that work of theirs was dropped by somebody else.
    fn tell_author(
        &self,
        stage: &mut Stage,
        reborn: &Reborn<'_>,
        subject: &Subject,
        dropped: &BTreeSet<Standing>,
    ) -> Result<(), StoreError> {
        let own = self.device();
        let is_own = |at: &&Standing| self.log_id(at.0).is_some_and(|log| log.device == own);
        let count = dropped.iter().filter(is_own).count();
        if count == 0 || reborn.device == own {
            return Ok(());
        }
        let because = reborn.entry.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
        let text = format!(
            "{} dropped {count} changes of this device to object {}{because}",
            reborn.entry.actor, subject.object
        );
        let place = format!("object {} in operation {}", subject.object, reborn.entry.operation);
        let next = "read the object again; what is missing there is in no device's history any more";
        let finding =
            Finding::new(FindingKind::WorkDropped, &place, Severity::Notice, &text, next, stage.now);
        self.find(stage, finding)
    }

    fn record_rebirth(&mut self, stage: &mut Stage, reborn: &Reborn<'_>, dropped: usize) {
        let mut record = ledger::record(
            RecordKind::Repair,
            Outcome::Fulfilled,
            OperationType::Repair,
            &reborn.entry.actor,
            reborn.device,
        );
        record.subject.clone_from(&reborn.entry.subject);
        let becomes = match reborn.rebirth.new {
            Some(life) => format!("it goes on as {life}"),
            None => "nothing takes its place".to_owned(),
        };
        record.set_note(&format!(
            "rebirth by operation {}: {dropped} changes dropped here, {becomes}",
            reborn.entry.operation
        ));
        self.record(stage, record);
    }

    /// Whether what an entry did is on record, if it is an admitted rebirth.
    pub(super) fn knows_rebirth(&self, log: &LogKind, seq: LogSeq, entry: &Entry) -> bool {
        let Some(subject) = entry.subject.as_ref().filter(|_| entry.kind == EntryKind::REBIRTH) else {
            return true;
        };
        self.rebirths.get(&subject_key(subject)).is_some_and(|row| {
            row.by.iter().any(|by| by.operation == entry.operation)
                && row.upto.get(log).is_some_and(|upto| *upto >= seq)
        })
    }

    /// Late work on a life, in the order of its logs.
    pub(super) fn late_work(&self, key: &ObjectKey) -> Vec<Standing> {
        let late =
            self.pending.of_object(&key.0).filter(|(_, row)| row.late && row.object.as_ref() == Some(key));
        late.map(|(at, _)| *at).collect()
    }

    /// Whether a card about late work is asked by anything.
    pub(super) fn asks_about_late(&self, card: &Digest, row: &CardRow) -> bool {
        let key = (row.object.clone(), row.collection.clone(), row.incarnation);
        !self.late_work(&key).is_empty()
            && self.rebirths.get(&key).is_some_and(|row| self.late_card(&key, row) == *card)
    }

    /// The lives that began anew, read when the store is opened: few, and asked about with every entry.
    pub(super) fn read_rebirths(&mut self) -> Result<(), StoreError> {
        let mut rebirths = BTreeMap::new();
        for (at, bytes) in self.store.prefix(Table::Rebirths, &[])? {
            let row: RebirthRow = crate::store::rows::decode(Table::Rebirths, &at, &bytes)?;
            rebirths.extend(key::parse_object(&at).map(|key| (key, row)));
        }
        self.rebirths = rebirths;
        self.erases = self.store.get(Table::Keys, ERASING)?.is_some();
        Ok(())
    }
}

fn reborn_row(reborn: &Reborn<'_>) -> RebornRow {
    RebornRow {
        operation: reborn.entry.operation,
        actor: reborn.entry.actor.clone(),
        device: reborn.device,
        at: reborn.entry.time,
        because: reborn.entry.note.clone(),
        new: reborn.rebirth.new,
    }
}

/// The caller's key is used whether or not the rebirth was known first.
fn note_key(stage: &mut Stage, entry: &Entry) {
    if entry.idempotency_key.is_some() {
        stage.keyed.push(entry.clone());
    }
}

fn decided(reborn: &Reborn<'_>) -> DecidedRow {
    let row = Decided::of(reborn.entry, reborn.device, None).row;
    DecidedRow { choice: "rebirth".to_owned(), ..row }
}

/// What is left of an object's life: nothing, deleted.
fn empty(staged: &mut StagedObject, by: Decided) {
    let row = &mut staged.row;
    row.covered = vec![Digest(row.incarnation.0)];
    row.heads.clear();
    row.overruled.clear();
    row.echoes.clear();
    (row.snapshot_bytes, row.parts, row.tail_bytes, row.changes) = (0, 0, 0, 0);
    (row.yields, row.reborn, row.conflicts) = (None, true, 0);
    row.changed = row.changed.max(by.row.at);
    *staged.document = document::empty();
    staged.whole = None;
    staged.admitted.clear();
    staged.is_apart = false;
    staged.row_changed = true;
    staged.remote = true;
    staged.decided.push(by);
}

/// Whether an entry is work on the life that it names: another rebirth may wait for the life that it begins, and what is
/// said of deletions in a row names but one of many.
fn is_work(kind: EntryKind) -> bool {
    !matches!(kind, EntryKind::REBIRTH | EntryKind::BURST)
}
