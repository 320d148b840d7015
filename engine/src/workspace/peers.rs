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
use syncd_schema::{DeviceId, LogId, LogSeq, OperationId, UnixMicros, cbor, limits};

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

    /// Remembers where a member was reached, newest first.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_addresses(&mut self, device: &DeviceId, addresses: &[String]) -> Result<(), StoreError> {
        let mut known = self.addresses_of(device)?;
        let before = known.clone();
        for address in addresses.iter().rev().filter(|address| address.len() <= limits::NAME_BYTES) {
            known.retain(|other| other != address);
            known.insert(0, address.clone());
        }
        known.truncate(limits::TICKET_ADDRESSES);
        if known == before {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.put(Table::Keys, address_key(device), cbor::encode(&known));
        self.store.note(batch)
    }

    fn addresses_of(&self, device: &DeviceId) -> Result<Vec<String>, StoreError> {
        Ok(rows::read(&self.store, Table::Keys, &address_key(device))?.unwrap_or_default())
    }

    /// Members whose address is known, this device's inviter included while the chain has not arrived.
    #[must_use]
    pub fn addressed_members(&self) -> Vec<(DeviceId, Vec<String>)> {
        let members = self.governance().members.values().filter(|m| m.role.is_some()).map(|m| m.device);
        let inviter = self.inviter.filter(|_| self.chain.is_empty());
        let with_addresses = |device| {
            let addresses = self.addresses_of(&device).unwrap_or_default();
            (!addresses.is_empty()).then_some((device, addresses))
        };
        members.chain(inviter).filter_map(with_addresses).collect()
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

fn address_key(device: &DeviceId) -> Vec<u8> {
    [b"address/".as_slice(), &device.0].concat()
}
