//! Payloads taken out of the runs that hold them, and put back where somebody had withheld them: entries, their order and
//! the signatures over them stay as they are.

use super::Engine;
use super::segments::decode_run;
use super::stage::Stage;
use super::waiting::Standing;
use crate::log::{LogRecord, run};
use crate::store::rows::{self, RunRow};
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, StoreError};
use std::collections::BTreeMap;
use syncd_schema::{LogSeq, cbor};

/// The row of `keys` that stands while the store's file may hold what was erased.
pub(super) const ERASING: &[u8] = b"erasing";

/// Entries whose payload is another than it was: none, or the one that was missing.
pub(super) type Rewritten = BTreeMap<Standing, Option<Vec<u8>>>;

impl Engine {
    /// Takes what was erased out of the store's file too, which is written anew for it: after [`super::Event::Erased`], and
    /// when the store is opened after a crash. True when there was something.
    ///
    /// # Errors
    /// When the disk refuses; it is still to be done then.
    pub fn finish_erasure(&mut self) -> Result<bool, StoreError> {
        if !self.erases {
            return Ok(false);
        }
        self.store.rewrite()?;
        let mut batch = Batch::default();
        batch.delete(Table::Keys, ERASING.to_vec());
        self.store.commit(batch)?;
        self.erases = false;
        Ok(true)
    }

    /// Whether the store's file may hold what was erased.
    #[must_use]
    pub const fn owes_erasure(&self) -> bool {
        self.erases
    }

    /// Writes the runs of this stage anew in which a payload comes or goes. Called when all runs are in its batch.
    pub(super) fn rewrite_runs(&self, stage: &mut Stage) -> Result<(), StoreError> {
        let mut rewritten = std::mem::take(&mut stage.rewritten);
        while let Some(((no, seq), _)) = rewritten.first_key_value() {
            let (no, seq) = (*no, *seq);
            let Some((first, row)) = self.run_in_batch(stage, no, seq)? else {
                // It is on no disk: nothing to take out.
                rewritten.remove(&(no, seq));
                continue;
            };
            let rest = rewritten.split_off(&(no, first.plus(u64::from(row.count)).max(seq.plus(1))));
            let here = std::mem::replace(&mut rewritten, rest);
            let mut records = decode_run(no, first, &row)?;
            for ((_, seq), payload) in here {
                let record = records.get_mut(seq.0.saturating_sub(first.0) as usize);
                if let Some(LogRecord { payload: kept, .. }) =
                    record.filter(|record| record.entry.kind.is_change())
                {
                    *kept = payload;
                }
            }
            let encoded = run::encode(&records);
            let row = RunRow { open_len: encoded.open_len as u32, bytes: encoded.bytes, ..row };
            stage.batch.put(Table::Runs, key::position(no, first), cbor::encode(&row));
        }
        Ok(())
    }

    /// The run that will hold a position after this stage's batch.
    fn run_in_batch(
        &self,
        stage: &Stage,
        no: LogNo,
        seq: LogSeq,
    ) -> Result<Option<(LogSeq, RunRow)>, StoreError> {
        let (start, mut at) = (key::log(no), key::position(no, seq));
        let staged = stage.batch.last_at(Table::Runs, &start, &at);
        let stored = loop {
            let Some((found, bytes)) = self.store.last_at(Table::Runs, &start, &at)? else { break None };
            if stage.batch.get(Table::Runs, &found).is_none() {
                break Some((found, bytes));
            }
            let Some((_, before)) = key::parse_position(&found) else { break None };
            let Some(before) = before.0.checked_sub(1) else { break None };
            at = key::position(no, LogSeq(before));
        };
        let Some((at, bytes)) = staged.into_iter().chain(stored).max() else { return Ok(None) };
        let row: RunRow = rows::decode(Table::Runs, &at, &bytes)?;
        let first = key::parse_position(&at).map(|(_, first)| first);
        Ok(first.filter(|first| seq < first.plus(u64::from(row.count))).map(|first| (first, row)))
    }
}
