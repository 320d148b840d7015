//! The breaker: unusually many deletions in a row are held, on the device that wrote them and on every other, until
//! somebody lets them happen or declines.
//!
//! Whether a deletion is held follows from the places of others in its log, and is found when it arrives, in the order of
//! that log, whatever becomes of it otherwise. What was answered follows from the answers that are here; of several the one
//! that lets in counts, so that their order does not matter. [`super::burst_answer`] has what this device says.

use super::admit::{Arrival, Judged, Ledgered, coverage};
use super::card_kind::CardKind;
use super::decided::Decided;
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, Event};
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{
    self, AboutRow, AnswerRow, BurstRow, CardRow, DecidedRow, DeletionsRow, LogKind, PendingRow,
};
use crate::store::tables::{LogNo, Table};
use std::collections::{BTreeMap, BTreeSet};
use syncd_policy::Redeemed;
use syncd_schema::burst::{self, Burst};
use syncd_schema::operation::EntryState;
use syncd_schema::{Actor, Collection, Digest, Entry, EntryKind, LogId, LogSeq, UnixMicros, cbor, domain};

/// How many entries of a log are one stretch: about what an agent writes in one go, and days of what a person does by hand.
pub(super) const WINDOW: u64 = 256;
/// Deletions of one actor in one collection that a stretch may hold: a person who tidies up meets it seldom, and a program
/// that runs wild is stopped before it has done much.
pub(super) const DELETIONS: usize = 24;
/// Deletions carried out in one commit, once they are let in: each has its document in memory.
const TOGETHER: usize = 256;

/// What became of a deletion in a burst.
pub(super) enum Verdict {
    /// It happens.
    Happens,
    /// It waits for an answer.
    Waits,
    /// Somebody has declined it.
    Declined(DecidedRow),
}

/// What a stage knows of bursts.
#[derive(Default)]
pub(crate) struct Bursts {
    /// Rows as this commit will leave them.
    rows: BTreeMap<Digest, BurstRow>,
    /// Those that were answered, and by whom.
    answered: BTreeMap<Digest, DecidedRow>,
    /// How many objects of a collection an actor is about to delete in this batch.
    pub(super) planned: BTreeMap<(Actor, Collection), usize>,
}

/// The name of what an entry belongs to, if it deletes or says that deletions begin.
fn name_of(log: &LogId, entry: &Entry) -> Option<Digest> {
    let subject = entry.subject.as_ref()?;
    Some(burst::name(log, &entry.actor, &subject.collection))
}

/// Notes what stands at a place among the deletions of a log, and forgets those that are too far back to matter.
fn note_deletion(rows: &mut Vec<DeletionsRow>, of: Digest, seq: LogSeq, begins: bool) {
    for row in rows.iter_mut() {
        row.places.retain(|place| place.plus(WINDOW) > seq);
        row.begun = row.begun.filter(|at| at.plus(WINDOW) > seq);
    }
    rows.retain(|row| row.of == of || !row.places.is_empty() || row.begun.is_some());
    if !rows.iter().any(|row| row.of == of) {
        rows.push(DeletionsRow { of, places: Vec::new(), begun: None });
    }
    for row in rows.iter_mut().filter(|row| row.of == of) {
        if begins {
            row.begun = Some(seq);
        } else {
            row.places.drain(..(row.places.len() + 1).saturating_sub(DELETIONS));
            row.places.push(seq);
        }
    }
}

impl Engine {
    /// Counts an entry that stands at the end of its log. True when it is a deletion behind many others, or a rewrite of
    /// which its author says so.
    pub(super) fn count_deletion(
        &self,
        stage: &mut Stage,
        (log, no, seq): (&LogId, LogNo, LogSeq),
        entry: &Entry,
        payload: &[u8],
    ) -> bool {
        if entry.kind == EntryKind::REWRITE {
            return true;
        }
        let begins =
            entry.kind == EntryKind::BURST && matches!(Burst::from_bytes(payload), Ok(Burst::Begins));
        let Some(of) = name_of(log, entry).filter(|_| begins || entry.kind.is_deletion()) else {
            return false;
        };
        let (before, begun) = self.deletions_before(stage, no, &of, seq);
        self.alter_log(stage, no, |row| note_deletion(&mut row.deletions, of, seq, begins));
        !begins && (begun || before >= DELETIONS)
    }

    /// How many deletions stand in the stretch before a place, as far as it matters, and whether somebody said that many
    /// begin.
    pub(super) fn deletions_before(
        &self,
        stage: &Stage,
        no: LogNo,
        of: &Digest,
        seq: LogSeq,
    ) -> (usize, bool) {
        let rows = self.staged_log(stage, no).into_iter().flat_map(|state| &state.row.deletions);
        let near = |place: &&LogSeq| place.plus(WINDOW) >= seq;
        rows.filter(|row| row.of == *of).fold((0, false), |(count, begun), row| {
            (count + row.places.iter().filter(near).count(), begun || row.begun.iter().any(|at| near(&at)))
        })
    }

    /// What becomes of a deletion at a place, by the answers that are here.
    pub(super) fn burst_verdict(
        &self,
        stage: &Stage,
        of: &Digest,
        seq: LogSeq,
    ) -> Result<Verdict, StoreError> {
        let row = self.burst_row(Some(stage), of)?;
        Ok(match row.as_ref().and_then(|row| row.answer_to(seq)) {
            None => Verdict::Waits,
            Some(answer) if answer.lets_in => Verdict::Happens,
            Some(answer) => Verdict::Declined(answer.by.clone()),
        })
    }

    /// Whether a deletion that the gate permits has to wait with others, or was declined: then it is noted so.
    pub(super) fn keeps_out(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        proof: &Redeemed,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let entry = &arrival.record.entry;
        let Some(of) = name_of(&arrival.log, entry).filter(|_| arrival.in_burst) else { return Ok(false) };
        match self.burst_verdict(stage, &of, arrival.seq)? {
            Verdict::Happens => return Ok(false),
            Verdict::Declined(by) => {
                let judged = Judged::Refused { reason: declined(&by), decision: None, finding: false };
                self.not_admitted(stage, arrival, judged, done)?;
            }
            Verdict::Waits => {
                let at = (arrival.no, arrival.seq);
                done.states.insert(at, (arrival.log, EntryState::Held, None));
                if self.pending.get(&at).is_none_or(|row| row.asks != Some(of)) {
                    let decision = Some(proof.decision());
                    let (covers, device) = (coverage(arrival), arrival.log.device);
                    let record = ledger::withheld(entry, covers, device, false, decision, waits(entry.kind));
                    done.records.push((at, record));
                    self.hold_in_burst(stage, at, entry, &of, proof);
                }
            }
        }
        Ok(true)
    }

    /// Notes that a deletion waits with others.
    pub(super) fn hold_in_burst(
        &self,
        stage: &mut Stage,
        at: Standing,
        entry: &Entry,
        of: &Digest,
        proof: &Redeemed,
    ) {
        let object = entry.subject.as_ref().map(super::subject_key);
        let row = PendingRow {
            decision: Some(proof.decision()),
            asks: Some(*of),
            in_burst: true,
            ..PendingRow::held(waits(entry.kind).to_owned(), object, stage.now)
        };
        stage.pending.insert(at, Some(row));
    }

    /// Notes an answer, wherever its deletions are.
    pub(super) fn note_answer(&mut self, stage: &mut Stage, arrival: &Arrival) -> Result<(), StoreError> {
        let (entry, device) = (&arrival.record.entry, arrival.log.device);
        let payload = arrival.record.payload.as_deref().unwrap_or_default();
        let (Ok(Burst::Answer(answer)), Some(subject)) = (Burst::from_bytes(payload), &entry.subject) else {
            return Ok(());
        };
        let log = LogId { workspace: self.workspace, device: answer.device, epoch: answer.epoch };
        let collection = subject.collection.clone();
        let of = burst::name(&log, &answer.actor, &collection);
        let known = self.burst_row(Some(stage), &of)?;
        let mut row = known.unwrap_or(BurstRow { log, actor: answer.actor, collection, answers: Vec::new() });
        let mut by = Decided::of(entry, device, None).row;
        by.choice = if answer.lets_in { "keep_remote" } else { "decline" }.to_owned();
        stage.bursts.answered.insert(of, by.clone());
        let (from, through, lets_in) = (answer.from, answer.through, answer.lets_in);
        row.answers.push(AnswerRow { from, through, lets_in, by });
        row.answers.sort_by_key(|answer| (answer.by.operation, answer.by.device));
        stage.batch.put(Table::Bursts, of.0.to_vec(), cbor::encode(&row));
        stage.bursts.rows.insert(of, row);
        Ok(())
    }

    pub(super) fn burst_row(
        &self,
        stage: Option<&Stage>,
        of: &Digest,
    ) -> Result<Option<BurstRow>, StoreError> {
        match stage.and_then(|stage| stage.bursts.rows.get(of)) {
            Some(row) => Ok(Some(row.clone())),
            None => rows::read(&self.store, Table::Bursts, &of.0),
        }
    }

    /// Deletions of a burst that wait and are not answered, in the order of their log.
    pub(super) fn open_part(&self, stage: Option<&Stage>, of: &Digest) -> Result<Vec<Standing>, StoreError> {
        let staged = |at: &Standing| stage.and_then(|stage| stage.pending_at(at));
        let mut places: BTreeSet<Standing> =
            self.pending.asking(of).filter(|at| staged(at).is_none()).collect();
        let waits = |row: &Option<PendingRow>| row.as_ref().is_some_and(|row| row.asks == Some(*of));
        let new = stage.into_iter().flat_map(|stage| &stage.pending).filter(|(_, row)| waits(row));
        places.extend(new.map(|(at, _)| *at));
        let row = self.burst_row(stage, of)?;
        let is_open = |(_, seq): &Standing| row.as_ref().is_none_or(|row| row.answer_to(*seq).is_none());
        Ok(places.into_iter().filter(is_open).collect())
    }

    /// The card about deletions of which these wait.
    pub(super) fn burst_card(&self, of: &Digest, open: &[Standing]) -> Option<Digest> {
        let (_, first) = open.first()?;
        Some(domain::hash("card", &[self.workspace.as_bytes(), b"burst", &of.0, &first.0.to_be_bytes()]))
    }

    /// Opens and ends the cards about deletions that began to wait, or were answered, on this stage.
    pub(super) fn update_bursts(&mut self, stage: &mut Stage) -> Result<(), StoreError> {
        let mut touched: BTreeSet<Digest> = stage.bursts.answered.keys().copied().collect();
        for (at, row) in &stage.pending {
            let rows = [row.as_ref(), self.pending.get(at)].into_iter().flatten();
            touched.extend(rows.filter(|row| row.in_burst).filter_map(|row| row.asks));
        }
        for of in touched {
            let by = stage.bursts.answered.get(&of).cloned();
            let (before, after) = (self.open_part(None, &of)?, self.open_part(Some(stage), &of)?);
            let (was, is) = (self.burst_card(&of, &before), self.burst_card(&of, &after));
            if was == is {
                continue;
            }
            let mut opened = None;
            if let (Some(card), Some(first)) = (is, after.first()) {
                opened = self.new_burst_card(stage, &of, first).map(|row| (card, row));
            }
            if let Some(card) = was
                && let Some(old) = self.card_row(Some(stage), &card)?
            {
                // What was answered is decided; that more waits is another question.
                let successors = opened.iter().filter(|_| by.is_none()).map(|(card, _)| *card).collect();
                if let (Some((_, new)), None) = (&mut opened, &by) {
                    new.before.push(card);
                }
                self.end_card(stage, card, old, successors, by);
            }
            if let Some((card, row)) = opened {
                self.open_card(stage, card, &row);
            }
        }
        Ok(())
    }

    fn new_burst_card(&self, stage: &Stage, of: &Digest, first: &Standing) -> Option<CardRow> {
        let row = stage.pending_at(first).map_or_else(|| self.pending.get(first), Option::as_ref)?;
        let (object, collection, incarnation) = row.object.clone()?;
        Some(CardRow {
            object,
            collection,
            incarnation,
            kind: CardKind::Burst as u8,
            path: String::new(),
            about: AboutRow::Burst(*of),
            opened: stage.now,
            before: Vec::new(),
            generation: 0,
            end: None,
        })
    }

    /// After a commit: what was answered in it is to be carried out.
    pub(super) fn remember_answered(&mut self, bursts: &Bursts) {
        self.answered.extend(bursts.answered.keys().copied());
    }

    /// What a crash may have kept from being carried out: deletions that are answered and wait.
    pub(super) fn read_answered(&mut self) -> Result<(), StoreError> {
        self.answered.clear();
        for at in self.store.keys(Table::Bursts, &[], usize::MAX)? {
            let Some(of) = at.first_chunk::<32>().copied().map(Digest) else { continue };
            if self.pending.asking(&of).next().is_some() {
                self.answered.insert(of);
            }
        }
        Ok(())
    }

    /// Carries out what was answered, as many at a time as fit in memory.
    pub(super) fn carry_out_answers(&mut self, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        while let Some(of) = self.answered.first().copied() {
            for places in self.answered_part(&of)?.chunks(TOGETHER) {
                let mut stage = self.stage(now);
                let mut done = Ledgered::default();
                let mut arrivals = Vec::with_capacity(places.len());
                for at in places {
                    let session = self.pending.get(at).and_then(|row| row.session);
                    arrivals.extend(self.stored_arrival(&stage, *at, session, &mut done)?);
                }
                self.admit(&mut stage, arrivals)?;
                events.extend(self.commit(stage)?);
            }
            self.answered.remove(&of);
        }
        Ok(events)
    }

    /// Deletions that wait although they are answered, and those that were declined and are let in after all.
    fn answered_part(&self, of: &Digest) -> Result<Vec<Standing>, StoreError> {
        let Some(row) = self.burst_row(None, of)? else { return Ok(Vec::new()) };
        let Some(no) = self.log_numbers.get(&row.log).copied() else { return Ok(Vec::new()) };
        let about = |(seq, pending): &(LogSeq, &PendingRow)| {
            let is_of = |(_, collection, _): &super::ObjectKey| *collection == row.collection;
            let answer = row.answer_to(*seq).filter(|_| pending.object.as_ref().is_some_and(is_of));
            match pending.state {
                EntryState::Held => pending.asks == Some(*of) && answer.is_some(),
                _ => pending.is_declined() && answer.is_some_and(|answer| answer.lets_in),
            }
        };
        let all = self.pending.of_log(no, LogSeq(0));
        Ok(all.filter(about).map(|(seq, _)| (no, seq)).collect())
    }

    /// The log that a burst is in, by something of it that waits.
    pub(super) fn log_of_place(&self, at: &Standing) -> Option<LogId> {
        match self.log(at.0)?.row.kind {
            LogKind::Device(log) => Some(log),
            LogKind::Branch(_) | LogKind::Local | LogKind::Ledger => None,
        }
    }
}

/// Why an entry of a burst waits.
pub(super) const fn waits(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::REWRITE => REWRITE_WAITS,
        _ => "it is one of unusually many deletions in a row, and waits with them until somebody decides",
    }
}

pub(super) const REWRITE_WAITS: &str =
    "it is one of unusually many rewrites in a row, and waits with them until somebody decides";

/// Why a deletion that was declined does not happen.
pub(super) fn declined(by: &DecidedRow) -> String {
    let why = by.because.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{} declined it together with many others, operation {}{why}", by.actor, by.operation)
}
