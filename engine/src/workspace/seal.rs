//! How what was appended becomes signed runs: one signature per log and commit, and small runs folded into larger ones.

use super::Engine;
use super::stage::Stage;
use crate::ledger;
use crate::log::compressed::Encoded;
use crate::log::{LogRecord, run};
use crate::store::rows::{self, LogKind, RunRow};
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, Row, StoreError};
use std::collections::BTreeMap;
use syncd_evidence::Checkpoint;
use syncd_evidence::merkle::leaf_hash;
use syncd_schema::{LogSeq, cbor};

/// Single-entry runs are folded into one when there are this many: small enough that a segment is built from few
/// rows, large enough that folding costs little per entry.
const FOLD_RUNS: u32 = 32;
impl Engine {
    pub(super) fn seal_appended(
        &self,
        stage: &mut Stage,
        no: LogNo,
        records: &[LogRecord],
    ) -> Result<(), StoreError> {
        let Some(state) = self.staged_log_mut(stage, no) else { return Ok(()) };
        let origin = self.origin(&state.row.kind);
        let (size, root) = (state.size(), state.row.tree.root());
        let checkpoint = Checkpoint::sign(&origin, size, root, self.identity.key());
        let first = LogSeq(size.0.saturating_sub(records.len() as u64));
        let encoded = run::encode(records);
        state.row.checkpoint = Some(checkpoint);
        state.row.loose = state.row.loose.saturating_add(1);
        let row = run_row(records.len(), encoded.open_len, checkpoint, encoded.bytes);
        stage.batch.put(Table::Runs, key::position(no, first), cbor::encode(&row));
        self.fold(stage, no)
    }

    pub(super) fn seal_ledger(&mut self, stage: &mut Stage) -> Result<(), StoreError> {
        stage.name_decisions();
        let records = std::mem::take(&mut stage.records);
        if records.is_empty() {
            return Ok(());
        }
        let no = self.ledger;
        let origin = self.origin(&LogKind::Ledger);
        let Some(state) = self.staged_log_mut(stage, no) else { return Ok(()) };
        let first = state.size();
        let encoded = ledger::encode(&records);
        for record in &records {
            state.row.tree.append(leaf_hash(&record.to_bytes()));
            state.row.last = Some((record.id, record.at));
        }
        let (size, root) = (state.size(), state.row.tree.root());
        let checkpoint = Checkpoint::sign(&origin, size, root, self.identity.key());
        state.row.checkpoint = Some(checkpoint);
        state.row.loose = state.row.loose.saturating_add(1);
        let row = run_row(records.len(), encoded.open_len, checkpoint, encoded.bytes);
        stage.batch.put(Table::Runs, key::position(no, first), cbor::encode(&row));
        self.fold(stage, no)
    }

    /// Joins small runs of a log into one, once there are enough of them. The signatures between them are dropped:
    /// the checkpoint after the last covers all.
    pub(super) fn fold(&self, stage: &mut Stage, no: LogNo) -> Result<(), StoreError> {
        let Some(state) = self.staged_log(stage, no) else { return Ok(()) };
        if state.row.loose < FOLD_RUNS {
            return Ok(());
        }
        let (from, size, is_ledger) = (state.row.fold_from, state.size(), state.row.kind == LogKind::Ledger);
        let mut runs = Vec::new();
        for (at, bytes) in self.rows_in_batch(&stage.batch, Table::Runs, &key::position(no, from), no)? {
            let row: RunRow = rows::decode(Table::Runs, &at, &bytes)?;
            runs.push((at, row));
        }
        for group in groups_to_join(&runs) {
            let rows = group.iter().map(|(_, row)| row);
            let joined = if is_ledger { ledger::join(rows) } else { join_entries(rows) };
            let (Some(joined), Some((first_key, _)), Some((_, last))) = (joined, group.first(), group.last())
            else {
                continue;
            };
            for (at, _) in group {
                stage.batch.delete(Table::Runs, at.clone());
            }
            let count = group.iter().map(|(_, row)| row.count as usize).sum();
            let row = run_row(count, joined.open_len, last.checkpoint, joined.bytes);
            stage.batch.put(Table::Runs, first_key.clone(), cbor::encode(&row));
        }
        self.alter_log(stage, no, |row| {
            row.fold_from = size;
            row.loose = 0;
        });
        Ok(())
    }

    /// The rows of a log from a key on, as they will be after this batch.
    fn rows_in_batch(
        &self,
        batch: &Batch,
        table: Table,
        from: &[u8],
        no: LogNo,
    ) -> Result<Vec<Row>, StoreError> {
        use std::ops::Bound;
        let end = key::log(LogNo(no.0 + 1));
        let stored = self.store.range(table, Bound::Included(from), Bound::Excluded(&end), usize::MAX)?;
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = stored.into_iter().collect();
        for (key, value) in batch.rows_of(table) {
            if key.as_slice() >= from && key.as_slice() < end.as_slice() {
                match value {
                    Some(value) => drop(rows.insert(key.clone(), value.clone())),
                    None => drop(rows.remove(key)),
                }
            }
        }
        Ok(rows.into_iter().collect())
    }
}

fn run_row(count: usize, open_len: usize, checkpoint: Checkpoint, bytes: Vec<u8>) -> RunRow {
    RunRow { count: count as u32, open_len: open_len as u32, checkpoint, bytes }
}

/// Neighbouring runs that are worth joining: large ones stay as they are, since joining them would copy much and
/// save nothing, and no group outgrows what a segment can carry.
fn groups_to_join(runs: &[(Vec<u8>, RunRow)]) -> impl Iterator<Item = &[(Vec<u8>, RunRow)]> {
    const RUN_BYTES: usize = 4 << 10;
    const GROUP_BYTES: usize = 64 << 10;
    let (mut bytes, mut entries) = (0, 0);
    runs.chunk_by(move |(_, a), (_, b)| {
        bytes += a.open_len as usize;
        entries += a.count as usize;
        let small = a.bytes.len() < RUN_BYTES && b.bytes.len() < RUN_BYTES;
        let fits = bytes + (b.open_len as usize) < GROUP_BYTES && entries + (b.count as usize) < 1_024;
        if !(small && fits) {
            (bytes, entries) = (0, 0);
        }
        small && fits
    })
    .filter(|group| group.len() > 1)
}

fn join_entries<'a>(rows: impl Iterator<Item = &'a RunRow>) -> Option<Encoded> {
    let mut records = Vec::new();
    for row in rows {
        records.extend(run::decode(&row.bytes, row.open_len as usize).ok()?);
    }
    run::encode_for_segment(&records)
}
