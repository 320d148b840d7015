//! What became of this device's entries elsewhere: honest states per operation and peer.
//!
//! Acknowledgements are noted without waiting for the disk: a crash loses the newest, and the next session hears
//! them again. Each row is one acknowledged range with the peer's own operation id for it.

use super::Engine;
use crate::store::rows::{self, PeerRow};
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, StoreError};
use std::collections::BTreeMap;
use syncd_schema::message::Outcome;
use syncd_schema::operation::EntryState;
use syncd_schema::{DeviceId, LogId, LogSeq, OperationId, UnixMicros, cbor};

impl Engine {
    /// Notes what a peer said became of entries.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_outcomes(
        &mut self,
        peer: &DeviceId,
        log: &LogId,
        outcomes: &[Outcome],
        now: UnixMicros,
    ) -> Result<(), StoreError> {
        let Some(no) = self.log_numbers.get(log).copied() else { return Ok(()) };
        let size = self.log(no).map_or(LogSeq(0), super::LogState::size);
        let mut batch = Batch::default();
        for outcome in outcomes {
            let end = outcome.first.plus(outcome.count);
            // A peer may only speak of what exists.
            if outcome.count == 0 || end > size {
                continue;
            }
            let row =
                PeerRow { count: outcome.count, state: outcome.state, operation: outcome.operation, at: now };
            batch.put(Table::Peers, key::peer(peer, no, outcome.first), cbor::encode(&row));
        }
        if batch.is_empty() { Ok(()) } else { self.store.note(batch) }
    }

    /// What became of one entry at each peer that said something about it, and the peer's operation id for it.
    pub(crate) fn states_at_peers(
        &self,
        no: LogNo,
        seq: LogSeq,
    ) -> Result<BTreeMap<DeviceId, (EntryState, OperationId)>, StoreError> {
        let mut states = BTreeMap::new();
        for device in self.governance().members.keys() {
            let prefix = [device.0.as_slice(), &key::log(no)].concat();
            let found = self.store.last_at(Table::Peers, &prefix, &key::peer(device, no, seq))?;
            let Some((at, bytes)) = found else { continue };
            let row: PeerRow = rows::decode(Table::Peers, &at, &bytes)?;
            let first = at.last_chunk::<8>().map_or(LogSeq(0), |seq| LogSeq(u64::from_be_bytes(*seq)));
            if seq < first.plus(row.count) {
                states.insert(*device, (row.state, row.operation));
            }
        }
        Ok(states)
    }
}
