//! Reading logs back: single entries, ranges, and the segments that are sent to peers.

use super::stage::Stage;
use super::{Engine, LogState};
use crate::log::run::{self, LogRecord};
use crate::store::StoreError;
use crate::store::rows::{self, LogKind, PendingRow, RunRow};
use crate::store::tables::{LogNo, Table, key};
use std::collections::BTreeMap;
use std::ops::Bound;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::message::Segment;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, Entry, LogId, LogSeq, OperationId, limits};

/// Rows read at once while a log is walked.
const ROWS_AT_ONCE: usize = 64;

/// An entry and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) no: LogNo,
    pub(crate) seq: LogSeq,
    pub(crate) record: LogRecord,
}

impl Engine {
    /// The next segment for a peer that holds `from` entries of a log, or none when it has all. `branch` names, by
    /// its root, which of two histories is wanted.
    ///
    /// It ends where a checkpoint was signed, and is sealed under the newest workspace key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn segment(
        &mut self,
        log: &LogId,
        from: LogSeq,
        branch: Option<Digest>,
    ) -> Result<Option<Segment>, StoreError> {
        match branch {
            Some(root) => self.history_with(log, root),
            None => self.log_numbers.get(log).copied(),
        }
        .map_or(Ok(None), |no| self.segment_of(no, log, from, branch))
    }

    /// As [`Engine::segment`], of a history that is known by its number: the one that had a root once.
    pub(crate) fn segment_of(
        &mut self,
        no: LogNo,
        log: &LogId,
        from: LogSeq,
        branch: Option<Digest>,
    ) -> Result<Option<Segment>, StoreError> {
        let Some((first, run)) = self.segment_run(no, from)? else { return Ok(None) };
        let Some((key_epoch, key)) = self.keys.iter().next_back().map(|(epoch, key)| (*epoch, key.clone()))
        else {
            return Ok(None);
        };
        let mut segment = Segment {
            log: *log,
            first,
            count: run.count,
            checkpoint: cbor::encode(&run.checkpoint),
            key_epoch,
            open_len: run.open_len,
            branch,
            sealed: Vec::new(),
        };
        segment.sealed = key.seal(&run.bytes, &segment.associated_data(), self.store.entropy());
        Ok(Some(segment))
    }

    /// How long a history is.
    pub(crate) fn size_of_history(&self, no: LogNo) -> LogSeq {
        self.log(no).map_or(LogSeq(0), LogState::size)
    }

    /// The history of a log with exactly this root. One that grew since it was announced has another.
    pub(crate) fn history_with(&self, log: &LogId, root: Digest) -> Option<LogNo> {
        let histories = [self.log_numbers.get(log), self.branches.get(log)];
        let wanted = |no: &LogNo| self.log(*no).is_some_and(|state| state.row.tree.root() == root);
        histories.into_iter().flatten().copied().find(wanted)
    }

    /// Everything from `from` to a checkpoint, as much as fits a segment: one run as it is stored, or several
    /// packed anew. Where it begins, and the run: earlier than asked where the rest of a run does not fit by itself.
    fn segment_run(&self, no: LogNo, from: LogSeq) -> Result<Option<(LogSeq, RunRow)>, StoreError> {
        let mut runs: Vec<(LogSeq, RunRow)> = Vec::new();
        let (mut sealed, mut open, mut count) = (0, 0, 0);
        self.walk_runs(no, from, |first, row| {
            sealed += row.bytes.len();
            open += row.open_len as usize;
            count += row.count as usize;
            let fits = sealed <= limits::CHANGE_BYTES
                && open <= limits::SEGMENT_OPEN_BYTES / 2
                && count <= limits::COMMIT_ENTRIES;
            let taken = fits || runs.is_empty();
            if taken {
                runs.push((first, row));
            }
            Ok(taken)
        })?;
        let packed = pack(no, from, &runs)?;
        Ok(packed.map(|row| (from, row)).or_else(|| runs.into_iter().next()))
    }

    /// Visits the runs of a log in order, beginning with the one that holds `from`, until told to stop.
    pub(crate) fn walk_runs(
        &self,
        no: LogNo,
        from: LogSeq,
        mut visit: impl FnMut(LogSeq, RunRow) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let end = key::log(LogNo(no.0 + 1));
        let start = self.store.last_at(Table::Runs, &key::log(no), &key::position(no, from))?;
        let mut at = start.map_or_else(|| key::position(no, from), |(key, _)| key);
        let mut bound_included = true;
        loop {
            let lower =
                if bound_included { Bound::Included(at.as_slice()) } else { Bound::Excluded(at.as_slice()) };
            let chunk = self.store.range(Table::Runs, lower, Bound::Excluded(&end), ROWS_AT_ONCE)?;
            let Some((last, _)) = chunk.last() else { return Ok(()) };
            let last = last.clone();
            for (key, bytes) in chunk {
                let row: RunRow = rows::decode(Table::Runs, &key, &bytes)?;
                let Some((_, first)) = key::parse_position(&key) else { continue };
                if first.plus(u64::from(row.count)) > from && !visit(first, row)? {
                    return Ok(());
                }
            }
            at = last;
            bound_included = false;
        }
    }

    /// The entry at a position, if this device holds it.
    pub(crate) fn record_at(&self, no: LogNo, seq: LogSeq) -> Result<Option<LogRecord>, StoreError> {
        let Some((at, bytes)) = self.store.last_at(Table::Runs, &key::log(no), &key::position(no, seq))?
        else {
            return Ok(None);
        };
        let row: RunRow = rows::decode(Table::Runs, &at, &bytes)?;
        let Some((_, first)) = key::parse_position(&at) else { return Ok(None) };
        let index = seq.0.saturating_sub(first.0) as usize;
        Ok(decode_run(no, first, &row)?.into_iter().nth(index))
    }

    /// The run that holds a position, and where it begins; runs on the stage included.
    pub(crate) fn staged_run(
        &self,
        stage: &Stage,
        no: LogNo,
        seq: LogSeq,
    ) -> Result<Option<(LogSeq, Vec<LogRecord>)>, StoreError> {
        match stage.received_run(no, seq) {
            Some((first, row)) => Ok(Some((first, decode_run(no, first, row)?))),
            None => self.run_at(no, seq),
        }
    }

    /// Finds an operation in any log here: ids grow along each log, so a binary search over its runs does.
    pub(crate) fn find_operation(&self, operation: OperationId) -> Result<Option<Found>, StoreError> {
        for (no, state) in &self.logs {
            if state.row.kind == LogKind::Ledger {
                continue;
            }
            let (mut low, mut high) = (0, state.size().0);
            while low < high {
                let middle = low + (high - low) / 2;
                let seq = LogSeq(middle);
                let Some((first, records)) = self.run_at(*no, seq)? else { break };
                let index = records.partition_point(|record| record.entry.operation < operation);
                match records.get(index) {
                    Some(record) if record.entry.operation == operation => {
                        let seq = first.plus(index as u64);
                        return Ok(Some(Found { no: *no, seq, record: record.clone() }));
                    }
                    // Between two entries of this run, so not in this log.
                    Some(_) if index > 0 => break,
                    Some(_) => high = first.0,
                    None => low = first.0 + records.len() as u64,
                }
            }
        }
        Ok(None)
    }

    pub(super) fn run_at(
        &self,
        no: LogNo,
        seq: LogSeq,
    ) -> Result<Option<(LogSeq, Vec<LogRecord>)>, StoreError> {
        let Some((at, bytes)) = self.store.last_at(Table::Runs, &key::log(no), &key::position(no, seq))?
        else {
            return Ok(None);
        };
        let row: RunRow = rows::decode(Table::Runs, &at, &bytes)?;
        let Some((_, first)) = key::parse_position(&at) else { return Ok(None) };
        Ok(Some((first, decode_run(no, first, &row)?)))
    }

    /// What became of an entry here, and why if it is not admitted.
    pub(crate) fn entry_state(&self, no: LogNo, seq: LogSeq) -> (EntryState, Option<&PendingRow>) {
        match self.pending.get(&(no, seq)) {
            Some(row) => (row.state, Some(row)),
            None => (EntryState::Admitted, None),
        }
    }

    /// The entries of ranges of logs, by log and position. Each run is decoded once, however many ranges it is in.
    pub(crate) fn entries_of(
        &self,
        sources: &[rows::Source],
    ) -> Result<Vec<(LogNo, LogSeq, Entry)>, StoreError> {
        let mut ranges: BTreeMap<LogNo, Vec<(LogSeq, LogSeq)>> = BTreeMap::new();
        for source in sources {
            ranges.entry(source.log).or_default().push((source.first, source.first.plus(source.count)));
        }
        let mut entries = Vec::new();
        for (no, mut ranges) in ranges {
            ranges.sort_unstable();
            let mut next = 0;
            while let Some((from, _)) = ranges.get(next).copied() {
                let Some((first, records)) = self.run_at(no, from)? else { break };
                let end = first.plus(records.len() as u64);
                for (index, record) in records.into_iter().enumerate() {
                    let seq = first.plus(index as u64);
                    while ranges.get(next).is_some_and(|(_, to)| *to <= seq) {
                        next += 1;
                    }
                    if ranges.get(next).is_some_and(|(from, to)| *from <= seq && seq < *to) {
                        entries.push((no, seq, record.entry));
                    }
                }
                // What is left of a range goes on in the next run.
                match ranges.get_mut(next) {
                    Some((_, to)) if *to <= end => next += 1,
                    Some((from, _)) if *from < end => *from = end,
                    _ => {}
                }
                if ranges.get(next).is_some_and(|(from, _)| *from < end) {
                    break;
                }
            }
        }
        Ok(entries)
    }
}

/// Packs what runs hold from a place on into one that others take: each of them was, and together they may require
/// more operations, or be packed less tightly than somebody packed them. None where only the first is left, which is
/// sent as it is stored. Each is decoded once: its author may know how to make them fit badly.
fn pack(no: LogNo, from: LogSeq, runs: &[(LogSeq, RunRow)]) -> Result<Option<RunRow>, StoreError> {
    let least = usize::from(runs.first().is_some_and(|(first, _)| *first == from));
    if runs.len() <= least {
        return Ok(None);
    }
    let (mut records, mut ends, mut required) = (Vec::new(), Vec::new(), 0);
    for (first, row) in runs {
        let run = decode_run(no, *first, row)?;
        required += run.iter().map(|record| record.entry.requires.len()).sum::<usize>();
        if required > limits::SEGMENT_REQUIRES && !ends.is_empty() {
            break;
        }
        let skip = from.0.saturating_sub(first.0) as usize;
        records.extend(run.into_iter().skip(skip));
        ends.push((records.len(), row.checkpoint));
    }
    while ends.len() > least
        && let Some((count, checkpoint)) = ends.last().copied()
    {
        if let Some(encoded) = records.get(..count).and_then(run::encode_for_segment) {
            let (count, open_len) = (count as u32, encoded.open_len as u32);
            return Ok(Some(RunRow { count, open_len, checkpoint, bytes: encoded.bytes }));
        }
        ends.truncate(ends.len() / 2);
    }
    Ok(None)
}

/// Decodes a stored run; damage names the place.
pub(crate) fn decode_run(no: LogNo, first: LogSeq, row: &RunRow) -> Result<Vec<LogRecord>, StoreError> {
    run::decode(&row.bytes, row.open_len as usize).map_err(|_| StoreError::Value {
        table: Table::Runs.name(),
        key: hex::encode(key::position(no, first)),
        source: CborError::Invalid { what: "run", rule: "it must decode to entries" },
    })
}
