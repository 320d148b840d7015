//! Whether operations are here that others require: looked for in every log, by ids that grow along each.
//!
//! Who requires operations makes others search. So what was read is remembered while a segment is judged, and a log
//! that ends before an id is not read.

use super::Engine;
use super::stage::Stage;
use crate::store::StoreError;
use crate::store::rows::LogKind;
use crate::store::tables::LogNo;
use std::collections::BTreeMap;
use syncd_schema::{LogSeq, OperationId};

/// Ids that are remembered: four megabytes of them.
const MOST_IDS: usize = 1 << 18;

/// The ids of runs that were read, by log and first place.
#[derive(Default)]
pub(super) struct Sought {
    runs: BTreeMap<(LogNo, LogSeq), Vec<OperationId>>,
    ids: usize,
}

impl Sought {
    /// The remembered run that holds a place.
    fn holding(&self, no: LogNo, seq: LogSeq) -> Option<(LogSeq, &[OperationId])> {
        let ((of, first), ids) = self.runs.range(..=(no, seq)).next_back()?;
        let holds = *of == no && seq < first.plus(ids.len() as u64);
        holds.then_some((*first, ids.as_slice()))
    }

    fn remember(&mut self, no: LogNo, first: LogSeq, ids: Vec<OperationId>) {
        if self.ids.saturating_add(ids.len()) > MOST_IDS {
            *self = Self::default();
        }
        self.ids = self.ids.saturating_add(ids.len());
        self.runs.insert((no, first), ids);
    }
}

/// Where an id is in relation to a run.
enum Place {
    At(LogSeq),
    Before(LogSeq),
    After(LogSeq),
    Nowhere,
}

impl Engine {
    /// Whether an operation is part of canonical state here. Of two histories of a log, in either.
    pub(super) fn is_admitted(
        &self,
        stage: &Stage,
        sought: &mut Sought,
        operation: OperationId,
    ) -> Result<bool, StoreError> {
        for (no, state) in &self.logs {
            let ends_before = state.row.last.is_none_or(|(last, _)| last < operation);
            if state.row.kind == LogKind::Ledger || ends_before {
                continue;
            }
            let Some(seq) = self.place_in(*no, state.size(), sought, operation)? else { continue };
            let waits = match stage.pending_at(&(*no, seq)) {
                Some(row) => row.is_some(),
                None => self.pending.contains(&(*no, seq)),
            };
            if !waits {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn place_in(
        &self,
        no: LogNo,
        size: LogSeq,
        sought: &mut Sought,
        operation: OperationId,
    ) -> Result<Option<LogSeq>, StoreError> {
        let (mut low, mut high) = (0, size.0);
        while low < high {
            let middle = LogSeq(low + (high - low) / 2);
            if sought.holding(no, middle).is_none() {
                let Some((first, records)) = self.run_at(no, middle)? else { return Ok(None) };
                sought.remember(no, first, records.iter().map(|record| record.entry.operation).collect());
            }
            let Some((first, ids)) = sought.holding(no, middle) else { return Ok(None) };
            match place(first, ids, operation) {
                Place::At(seq) => return Ok(Some(seq)),
                Place::Before(first) => high = first.0,
                Place::After(end) => low = end.0,
                Place::Nowhere => return Ok(None),
            }
        }
        Ok(None)
    }
}

fn place(first: LogSeq, ids: &[OperationId], operation: OperationId) -> Place {
    let index = ids.partition_point(|id| *id < operation);
    match ids.get(index) {
        Some(id) if *id == operation => Place::At(first.plus(index as u64)),
        Some(_) if index > 0 => Place::Nowhere,
        Some(_) => Place::Before(first),
        None => Place::After(first.plus(ids.len() as u64)),
    }
}
