//! What became of this device's entries elsewhere: honest states per operation and peer.
//!
//! Each row is a range of entries with one state, and the peer's own operation id for it; ranges never overlap. What
//! peers say is noted without waiting for the disk, so a crash loses the newest, and a peer may let in later, behind
//! this device's back, what it once held. Where this device is not sure, the next session asks ([`Engine::unsettled`]).

use super::Engine;
use super::stage::Stage;
use crate::store::rows::{self, LogKind, PeerRow};
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, StoreError};
use rangemap::RangeMap;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use syncd_schema::message::Outcome;
use syncd_schema::operation::EntryState;
use syncd_schema::{DeviceId, LogId, LogSeq, OperationId, UnixMicros, cbor, limits};

/// How many of the newest ledger records are searched for the operation in which a peer's entry was admitted here.
const SEARCHED_RECORDS: u64 = 1_024;

/// Entries handed to the network and not acknowledged, by peer and log. They are noted when the peer is gone.
pub(super) type InFlight = BTreeMap<(DeviceId, LogNo), Range<u64>>;

/// What is known of a range of entries at one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    state: EntryState,
    operation: Option<OperationId>,
    at: UnixMicros,
}

impl Engine {
    /// Of each log that lacks payloads, the first entry that does.
    pub(crate) fn lacking_payloads(&self) -> Vec<(LogId, LogSeq)> {
        self.pending.first_withheld().filter_map(|(no, seq)| Some((self.log_id(no)?, seq))).collect()
    }

    /// Remembers that entries of a log were handed to the network.
    pub fn note_sent(&mut self, peer: &DeviceId, log: &LogId, first: LogSeq, end: LogSeq) {
        let Some(no) = self.log_numbers.get(log).copied() else { return };
        let range = self.in_flight.entry((*peer, no)).or_insert(first.0..end.0);
        *range = range.start.min(first.0)..range.end.max(end.0);
    }

    /// Notes what a peer acknowledged: that it has a log's entries up to `size` on its disk, and what became of some.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_outcomes(
        &mut self,
        peer: &DeviceId,
        log: &LogId,
        size: LogSeq,
        outcomes: &[Outcome],
        now: UnixMicros,
    ) -> Result<(), StoreError> {
        let Some(no) = self.log_numbers.get(log).copied() else { return Ok(()) };
        // A peer may only speak of what exists.
        let held = self.log(no).map_or(LogSeq(0), super::LogState::size);
        let exists = |outcome: &&Outcome| {
            let end = outcome.first.0.checked_add(outcome.count);
            outcome.count > 0 && end.is_some_and(|end| end <= held.0) && is_judged(outcome.state)
        };
        let mut news = Vec::new();
        if let Some(range) = self.in_flight.get_mut(&(*peer, no)) {
            let end = size.0.clamp(range.start, range.end);
            let standing = Standing { state: EntryState::Persisted, operation: None, at: now };
            news.push((std::mem::replace(&mut range.start, end)..end, standing));
        }
        self.in_flight.retain(|_, range| !range.is_empty());
        news.extend(outcomes.iter().filter(exists).map(|outcome| {
            let Outcome { first, count, state, operation } = *outcome;
            (first.0..first.0 + count, Standing { state, operation, at: now })
        }));
        self.note_news(peer, no, news)
    }

    /// Notes that a peer is gone: what was handed to the network and not acknowledged was sent, no more is known.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn note_gone(&mut self, peer: &DeviceId, now: UnixMicros) -> Result<(), StoreError> {
        let sent = Standing { state: EntryState::Sent, operation: None, at: now };
        let gone: Vec<LogNo> =
            self.in_flight.keys().filter(|(device, _)| device == peer).map(|(_, no)| *no).collect();
        for no in gone {
            if let Some(range) = self.in_flight.remove(&(*peer, no)) {
                self.note_news(peer, no, vec![(range, sent)])?;
            }
        }
        Ok(())
    }

    fn note_news(
        &mut self,
        peer: &DeviceId,
        no: LogNo,
        mut news: Vec<(Range<u64>, Standing)>,
    ) -> Result<(), StoreError> {
        news.retain(|(range, _)| !range.is_empty());
        let Some(from) = news.iter().map(|(range, _)| range.start).min() else { return Ok(()) };
        // Only what is spoken of is read: what lies between may be much.
        let mut before = BTreeMap::new();
        for (range, _) in &news {
            before.extend(self.noted(peer, no, range.clone())?);
        }
        let mut after: RangeMap<u64, Standing> =
            before.iter().map(|(first, (end, standing))| (*first..*end, *standing)).collect();
        news.iter().for_each(|(range, standing)| learn(&mut after, range.clone(), *standing));
        let mut batch = Batch::default();
        let after: BTreeMap<u64, (u64, Standing)> =
            after.into_iter().map(|(range, standing)| (range.start, (range.end, standing))).collect();
        for first in before.keys().filter(|first| !after.contains_key(first)) {
            batch.delete(Table::Peers, key::peer(peer, no, LogSeq(*first)));
        }
        for (first, row) in after.iter().filter(|(first, row)| before.get(first) != Some(row)) {
            let (end, Standing { state, operation, at }) = *row;
            let row = PeerRow { count: end - first, state, operation, at };
            batch.put(Table::Peers, key::peer(peer, no, LogSeq(*first)), cbor::encode(&row));
        }
        // After a failure of the disk, what older notes said is missing before the new ones.
        let gap = before.range(..=from).next_back().map_or(0, |(_, (end, _))| *end)..from;
        self.note_unsettled(peer, no, gap, &news, &mut batch)?;
        if batch.is_empty() { Ok(()) } else { self.store.note(batch) }
    }

    /// The rows that say something of a range of entries, and the one before: first entry, end, standing.
    fn noted(
        &self,
        peer: &DeviceId,
        no: LogNo,
        range: Range<u64>,
    ) -> Result<BTreeMap<u64, (u64, Standing)>, StoreError> {
        let prefix = [peer.0.as_slice(), &key::log(no)].concat();
        let (first, end) = (key::peer(peer, no, LogSeq(range.start)), key::peer(peer, no, LogSeq(range.end)));
        let before = self.store.last_at(Table::Peers, &prefix, &first)?;
        let (after, to) = (Bound::Excluded(first.as_slice()), Bound::Excluded(end.as_slice()));
        let inside = self.store.range(Table::Peers, after, to, usize::MAX)?;
        let mut noted = BTreeMap::new();
        for (at, bytes) in before.into_iter().chain(inside) {
            let row: PeerRow = rows::decode(Table::Peers, &at, &bytes)?;
            let range = range_of(&at, &row);
            if !range.is_empty() {
                let PeerRow { state, operation, at, .. } = row;
                noted.insert(range.start, (range.end, Standing { state, operation, at }));
            }
        }
        Ok(noted)
    }

    /// Keeps the range of entries of which a peer must be asked what became of them: one range, as wide as needed,
    /// since asking about too many does no harm.
    fn note_unsettled(
        &self,
        peer: &DeviceId,
        no: LogNo,
        gap: Range<u64>,
        news: &[(Range<u64>, Standing)],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if self.log_id(no).is_none_or(|log| log.device != self.device()) {
            return Ok(());
        }
        let at = unsettled_key(peer, no);
        let known: Option<(u64, u64)> = rows::read(&self.store, Table::Keys, &at)?;
        let (mut settled, open): (Vec<_>, Vec<_>) =
            news.iter().partition(|(range, standing)| is_settled(standing.state) && !self.is_late(no, range));
        let open = open.into_iter().map(|(range, _)| range).chain((!gap.is_empty()).then_some(&gap));
        let mut range = open.fold(known, |range, open| {
            let (from, to) = range.unwrap_or((open.start, open.end));
            Some((from.min(open.start), to.max(open.end)))
        });
        settled.sort_unstable_by_key(|(settled, _)| settled.start);
        for (settled, _) in settled {
            if let Some((from, _)) = range.as_mut().filter(|(from, _)| settled.start <= *from) {
                *from = settled.end.max(*from);
            }
        }
        match range.filter(|(from, to)| from < to) {
            range if range == known => {}
            Some(range) => batch.put(Table::Keys, at, cbor::encode(&range)),
            None => batch.delete(Table::Keys, at),
        }
        Ok(())
    }

    /// An entry that peers may have let in before they find out that they cannot: they are asked again.
    pub(super) fn unsettle(
        &self,
        stage: &mut Stage,
        (no, seq): super::waiting::Standing,
    ) -> Result<(), StoreError> {
        let own = self.device();
        if self.log_id(no).is_none_or(|log| log.device != own) {
            return Ok(());
        }
        for peer in self.governance().members.keys().filter(|peer| **peer != own) {
            let at = unsettled_key(peer, no);
            let known: Option<(u64, u64)> = match stage.batch.get(Table::Keys, &at) {
                Some(staged) => staged.map(|bytes| rows::decode(Table::Keys, &at, bytes)).transpose()?,
                None => rows::read(&self.store, Table::Keys, &at)?,
            };
            let (from, to) = known.unwrap_or((seq.0, seq.0));
            let range = (from.min(seq.0), to.max(seq.0.saturating_add(1)));
            stage.batch.put(Table::Keys, at, cbor::encode(&range));
        }
        Ok(())
    }

    /// Whether a peer that has let entries of this device in may still find out that it cannot.
    fn is_late(&self, no: LogNo, range: &Range<u64>) -> bool {
        let of_log = self.pending.of_log(no, LogSeq(range.start));
        of_log.take_while(|(seq, _)| seq.0 < range.end).any(|(_, row)| row.late)
    }

    /// The first entry of an own log of which this device does not know what became of it at a peer that holds
    /// `size` of them; none when all are known to be admitted or refused there.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn unsettled(
        &mut self,
        peer: &DeviceId,
        log: &LogId,
        size: LogSeq,
    ) -> Result<Option<LogSeq>, StoreError> {
        let own = self.log_numbers.get(log).filter(|_| log.device == self.device());
        let Some(no) = own.copied() else { return Ok(None) };
        let at = unsettled_key(peer, no);
        let open: Option<(u64, u64)> = rows::read(&self.store, Table::Keys, &at)?;
        // A crash loses the newest notes: what they said is missing at the end.
        let prefix = [peer.0.as_slice(), &key::log(no)].concat();
        let last = self.store.last_at(Table::Peers, &prefix, &key::peer(peer, no, LogSeq(u64::MAX)))?;
        let noted = match last {
            Some((at, bytes)) => range_of(&at, &rows::decode(Table::Peers, &at, &bytes)?).end,
            None => 0,
        };
        if noted >= size.0 {
            return Ok(open.map(|(from, _)| LogSeq(from)));
        }
        // Kept until it is answered, since newer entries may be acknowledged first.
        let from = open.map_or(noted, |(from, _)| from.min(noted));
        let mut batch = Batch::default();
        batch.put(Table::Keys, at, cbor::encode(&(from, size.0)));
        self.store.note(batch)?;
        Ok(Some(LogSeq(from)))
    }

    /// What became here of a log's entries from a position on, for its author who asks: as much as one
    /// acknowledgement takes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn outcomes_of(&self, log: &LogId, from: LogSeq) -> Result<Vec<Outcome>, StoreError> {
        let Some(no) = self.log_numbers.get(log).copied() else { return Ok(Vec::new()) };
        let size = self.size_of_log(log);
        if from >= size {
            return Ok(Vec::new());
        }
        let mut standings: RangeMap<u64, (EntryState, Option<OperationId>)> = RangeMap::new();
        standings.insert(from.0..size.0, (EntryState::Admitted, None));
        let covered = Self::covered(&LogKind::Device(*log));
        let first = LogSeq(self.size_of(&LogKind::Ledger).0.saturating_sub(SEARCHED_RECORDS));
        for record in self.records_from(first)? {
            let Some(covers) = record.covers.filter(|covers| covers.log == covered) else { continue };
            let range = covers.first.0.max(from.0)..covers.end().map_or(size.0, |end| end.0.min(size.0));
            if !range.is_empty() {
                standings.insert(range, (EntryState::Admitted, Some(record.id)));
            }
        }
        for (seq, row) in self.pending.of_log(no, from) {
            let operation = standings.get(&seq.0).and_then(|(_, operation)| *operation);
            standings.insert(seq.0..seq.0 + 1, (row.state, operation));
        }
        let outcome =
            |(range, (state, operation)): (&Range<u64>, &(EntryState, Option<OperationId>))| Outcome {
                first: LogSeq(range.start),
                count: range.end - range.start,
                state: *state,
                operation: *operation,
            };
        Ok(standings.iter().take(limits::OUTCOMES).map(outcome).collect())
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

    /// Counts each time that an entry of a log begins or ceases to be held here, as long as this engine is open.
    #[must_use]
    pub fn held_changes(&self, log: &LogId) -> u64 {
        self.log_numbers.get(log).map_or(0, |no| self.pending.held_changes(*no))
    }

    /// As [`Engine::held_changes`], of all logs of a device.
    pub(crate) fn held_changes_of(&self, device: &DeviceId) -> u64 {
        let logs = self.log_numbers.iter().filter(|(log, _)| log.device == *device);
        logs.fold(0, |sum, (_, no)| sum.wrapping_add(self.pending.held_changes(*no)))
    }

    /// What became of one entry at each peer that is known to have been sent it, and the peer's operation id for it.
    pub(crate) fn states_at_peers(
        &self,
        no: LogNo,
        seq: LogSeq,
    ) -> Result<BTreeMap<DeviceId, (EntryState, Option<OperationId>)>, StoreError> {
        let mut states = BTreeMap::new();
        for device in self.governance().members.keys() {
            let sent = self.in_flight.get(&(*device, no)).is_some_and(|range| range.contains(&seq.0));
            let noted = self.noted(device, no, seq.0..seq.0 + 1)?;
            let noted = noted.range(..=seq.0).next_back().filter(|(_, (end, _))| seq.0 < *end);
            let state = noted.map(|(_, (_, standing))| (standing.state, standing.operation));
            if let Some(state) = state.or_else(|| sent.then_some((EntryState::Sent, None))) {
                states.insert(*device, state);
            }
        }
        Ok(states)
    }
}

/// Being sent or on a disk says less than what came of it: it never replaces that.
fn learn(known: &mut RangeMap<u64, Standing>, range: Range<u64>, news: Standing) {
    if is_judged(news.state) {
        known.insert(range, news);
        return;
    }
    let mut places: Vec<Range<u64>> = known.gaps(&range).collect();
    let sent = known.overlapping(&range).filter(|(_, standing)| standing.state == EntryState::Sent);
    places.extend(sent.map(|(sent, _)| sent.start.max(range.start)..sent.end.min(range.end)));
    places.into_iter().for_each(|place| known.insert(place, news));
}

const fn is_judged(state: EntryState) -> bool {
    !matches!(state, EntryState::Sent | EntryState::Persisted)
}

const fn is_settled(state: EntryState) -> bool {
    matches!(state, EntryState::Admitted | EntryState::Refused)
}

fn range_of(at: &[u8], row: &PeerRow) -> Range<u64> {
    let first = at.last_chunk::<8>().map_or(0, |seq| u64::from_be_bytes(*seq));
    first..first.saturating_add(row.count)
}

fn unsettled_key(peer: &DeviceId, log: LogNo) -> Vec<u8> {
    [b"unsettled/".as_slice(), &peer.0, &key::log(log)].concat()
}

fn address_key(device: &DeviceId) -> Vec<u8> {
    [b"address/".as_slice(), &device.0].concat()
}
