//! What an engine holds in memory and how many rows of its store grow with what others say: for tests and for whoever
//! wonders where memory goes.

use super::Engine;
use crate::store::StoreError;
use crate::store::tables::Table;

/// Sizes, each bounded by a limit of `schema/src/limits.rs` or by what a person allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Logs, second histories of forked ones included.
    pub logs: usize,
    /// Entries that are stored and not admitted.
    pub waiting: usize,
    /// Names by which these are woken.
    pub names: usize,
    /// Rules under governance heads that entries named.
    pub rules: usize,
    /// Decisions that are known to be stored.
    pub decisions: usize,
    /// Findings in the store.
    pub findings: usize,
    /// Links of the governance chain.
    pub governance: usize,
    /// Peers and logs with entries on their way.
    pub in_flight: usize,
}

impl Engine {
    /// Counts what is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn occupancy(&self) -> Result<Occupancy, StoreError> {
        let (waiting, names) = self.pending.sizes();
        Ok(Occupancy {
            logs: self.logs.len(),
            waiting,
            names,
            rules: self.rules_at.len(),
            decisions: self.decisions_stored.len(),
            findings: self.store.keys(Table::Findings, &[], usize::MAX)?.len(),
            governance: self.chain.len(),
            in_flight: self.in_flight.len(),
        })
    }
}
