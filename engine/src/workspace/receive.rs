//! The remote road: a segment is verified, opened, judged, merged and made durable in one commit, and then answered.
//!
//! In this order, each step before the next may look: bounds (schema) → membership → signature of the checkpoint →
//! position → seal → decompression → entries → Merkle root → judgement ([`super::admit`]). A segment that fails is
//! dropped whole and becomes a finding; nothing of it was stored.

use super::admit::Arrival;
use super::author::change_actor;
use super::{Engine, Event};
use crate::log::run::{self, LogRecord, RunError};
use crate::store::StoreError;
use crate::store::rows::{LogKind, RunRow};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Checkpoint, CheckpointError, Tree};
use syncd_schema::cbor::{self, CborError};
use syncd_schema::message::{Outcome, Segment};
use syncd_schema::{DeviceId, EntryKind, Epoch, LogId, LogSeq, OperationId, UnixMicros, limits};

/// What a segment did, for the acknowledgement.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// How many entries of the segment's log are on disk now.
    pub size: LogSeq,
    /// How many of them are new.
    pub received: u64,
    /// What became of entries, also of those that had waited for these.
    pub outcomes: Vec<(LogId, Outcome)>,
    /// What others must hear.
    pub events: Vec<Event>,
}

/// Why a segment was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Another workspace.
    #[error("the segment is of another workspace")]
    Workspace,
    /// The log's device is not a member as far as this device knows yet: try again when governance has grown.
    #[error("device {} is not known to be a member yet", .0.short())]
    UnknownMember(DeviceId),
    /// The key that seals it has not arrived: try again when governance has grown.
    #[error("the workspace key of epoch {0} is not known yet")]
    UnknownKey(u32),
    /// Entries before it are missing.
    #[error("the segment begins at {first}, here the log ends at {have}")]
    Gap {
        /// Where it begins.
        first: LogSeq,
        /// How many entries are here.
        have: LogSeq,
    },
    /// The log is frozen, because two branches of it exist.
    #[error("log {0} is frozen, because two histories of it exist")]
    Frozen(LogId),
    /// It is signed and does not continue what is here: the other branch is wanted as proof.
    #[error("log {0} does not continue what is held here")]
    DoesNotExtend(LogId),
    /// Its checkpoint is not one of that device.
    #[error("the checkpoint does not verify")]
    Checkpoint(#[from] CheckpointError),
    /// Its checkpoint cannot be read.
    #[error("the checkpoint cannot be read")]
    MalformedCheckpoint(#[source] CborError),
    /// The device has opened more logs than it may.
    #[error("device {} has more than {} open logs", .0.short(), limits::EPOCHS)]
    TooManyEpochs(DeviceId),
    /// A payload is not the one that its signed entry names: altered by whoever passed it on, or by its author.
    #[error("the payload of entry {0} is not the one its entry names")]
    Payload(LogSeq),
    /// It does not open under the workspace key.
    #[error("the segment does not open: altered on its way, or sealed with another key")]
    Sealed,
    /// Its content is not a run of entries.
    #[error(transparent)]
    Run(#[from] RunError),
    /// An entry breaks the order of its log.
    #[error("entry {0} goes back in time or id")]
    Order(LogSeq),
    /// An entry's id is not one of its time.
    #[error("the id of entry {0} does not carry its time")]
    Id(LogSeq),
    /// Too much waits for something that has not come.
    #[error("too many entries wait for something that has not arrived")]
    TooManyPending,
    /// The disk refused; nothing was acknowledged.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReceiveError {
    /// Whether the same segment may succeed later, without anybody being at fault.
    #[must_use]
    pub const fn is_early(&self) -> bool {
        matches!(self, Self::UnknownMember(_) | Self::UnknownKey(_))
    }

    /// Whether there is no room for it, so that it is not worth keeping: it may be asked for when there is.
    #[must_use]
    pub const fn lacks_room(&self) -> bool {
        matches!(self, Self::TooManyEpochs(_) | Self::TooManyPending)
    }
}

/// A segment whose every byte is accounted for by a member's signature.
pub(super) struct VerifiedSegment {
    pub(super) log: LogId,
    pub(super) first: LogSeq,
    pub(super) records: Vec<LogRecord>,
    pub(super) tree: Tree,
    pub(super) run: RunRow,
}

impl Engine {
    /// Takes a segment that `from` sent. When this returns a receipt, what it acknowledges is on disk.
    ///
    /// # Errors
    /// Says why the segment was not taken; nothing of it was stored. What a peer is to blame for is on record as a
    /// finding.
    pub fn receive(
        &mut self,
        from: DeviceId,
        segment: &Segment,
        now: UnixMicros,
    ) -> Result<Receipt, ReceiveError> {
        self.ensure_clean()?;
        match self.try_receive(segment, now) {
            Err(error) => {
                self.blame(from, segment, &error, now)?;
                Err(error)
            }
            receipt => receipt,
        }
    }

    fn try_receive(&mut self, segment: &Segment, now: UnixMicros) -> Result<Receipt, ReceiveError> {
        let checkpoint = self.verify_origin(segment)?;
        match segment.branch {
            Some(root) => self.receive_branch(segment, root, &checkpoint, now),
            None => self.receive_plain(segment, checkpoint, now),
        }
    }

    /// Takes a segment that continues the history held here.
    pub(super) fn receive_plain(
        &mut self,
        segment: &Segment,
        checkpoint: Checkpoint,
        now: UnixMicros,
    ) -> Result<Receipt, ReceiveError> {
        let have = self.device_log(&segment.log).map_or(LogSeq(0), super::LogState::size);
        let end = segment.first.plus(u64::from(segment.count));
        if segment.first > have {
            return Err(ReceiveError::Gap { first: segment.first, have });
        }
        if self.device_log(&segment.log).is_some_and(|state| state.row.frozen) {
            return Err(ReceiveError::Frozen(segment.log));
        }
        if end <= have {
            if end == have
                && self.device_log(&segment.log).is_some_and(|s| s.row.tree.root() != checkpoint.root)
            {
                return Err(ReceiveError::DoesNotExtend(segment.log));
            }
            // Everything is here: say so again, since the acknowledgement may have been lost.
            return self.refill(segment, have, now);
        }
        let tree = self.device_log(&segment.log).map(|state| state.row.tree.clone()).unwrap_or_default();
        let skip = have.0.saturating_sub(segment.first.0);
        let verified = self.open_segment(segment, checkpoint, tree, skip as usize)?;
        self.check_order(&verified)?;
        self.admit_segment(verified, now)
    }

    /// Membership, epoch, and the signature over everything that follows.
    fn verify_origin(&mut self, segment: &Segment) -> Result<Checkpoint, ReceiveError> {
        let log = segment.log;
        if log.workspace != self.workspace {
            return Err(ReceiveError::Workspace);
        }
        let expected_owner = self.chain.is_empty() && self.genesis_owner() == Some(log.device);
        if !expected_owner && !self.governance().members.contains_key(&log.device) {
            return Err(ReceiveError::UnknownMember(log.device));
        }
        if !self.is_open_epoch(&log) {
            return Err(ReceiveError::TooManyEpochs(log.device));
        }
        let checkpoint: Checkpoint = cbor::decode("checkpoint", &segment.checkpoint, limits::NOTE_BYTES)
            .map_err(ReceiveError::MalformedCheckpoint)?;
        let verified = checkpoint.verify(&self.origin(&LogKind::Device(log)), &log.device)?;
        if verified.size() != segment.first.plus(u64::from(segment.count)) {
            return Err(ReceiveError::Run(RunError::Form("it ends elsewhere than its checkpoint")));
        }
        Ok(*verified.checkpoint())
    }

    /// When the workspace was made, by its first entry.
    fn founded(&mut self) -> Result<Option<UnixMicros>, StoreError> {
        if self.founded.is_none()
            && let Some(owner) = self.governance().owner
        {
            let log = LogId { workspace: self.workspace, device: owner, epoch: Epoch(0) };
            let first = self.log_numbers.get(&log).map(|no| self.record_at(*no, LogSeq(0))).transpose()?;
            self.founded = first.flatten().map(|record| record.entry.time);
        }
        Ok(self.founded)
    }

    /// Whether a log is one of those that its device may have: the next few epochs from the one that governance allows
    /// it. Which these are follows from governance alone, so that devices which met different logs of somebody first
    /// do not refuse each other's for ever.
    pub(super) fn is_open_epoch(&self, log: &LogId) -> bool {
        let least = self.governance().members.get(&log.device).map_or(Epoch(0), |member| member.min_epoch);
        log.epoch.0.saturating_sub(least.0) < limits::EPOCHS as u32
    }

    /// Opens the seal, decodes, and proves that the entries lead from the given tree to the checkpoint.
    pub(super) fn open_segment(
        &self,
        segment: &Segment,
        checkpoint: Checkpoint,
        mut tree: Tree,
        skip: usize,
    ) -> Result<VerifiedSegment, ReceiveError> {
        let (bytes, mut records) = self.unseal(segment)?;
        let required: usize = records.iter().map(|record| record.entry.requires.len()).sum();
        if required > limits::SEGMENT_REQUIRES {
            return Err(ReceiveError::Run(RunError::Form("it requires more operations than one may")));
        }
        if records.len() != segment.count as usize {
            return Err(ReceiveError::Run(RunError::Form("it holds another number of entries than it says")));
        }
        let mut is_whole = skip == 0;
        records.drain(..skip.min(records.len()));
        for (index, record) in records.iter_mut().enumerate() {
            let seq = segment.first.plus((skip + index) as u64);
            // What a rebirth dropped is withheld, and that is changes only.
            let lacks = record.payload.is_none() && !record.entry.kind.is_change();
            if lacks || !record.is_genuine() {
                return Err(ReceiveError::Payload(seq));
            }
            tree.append(leaf_hash(&record.entry.to_bytes()));
            if record.payload.is_some() && self.drops_payload(segment.log, seq, &record.entry) {
                record.payload = None;
                is_whole = false;
            }
        }
        if tree.root() != checkpoint.root {
            return Err(ReceiveError::DoesNotExtend(segment.log));
        }
        // What came is stored as it came, unless a part of it was here already or is not to be kept.
        let (bytes, open_len) = if is_whole {
            (bytes, segment.open_len as usize)
        } else {
            // Somebody else must be able to take it from here.
            let encoded = run::encode_for_segment(&records)
                .ok_or(ReceiveError::Run(RunError::Form("a part of it is larger than a segment may be")))?;
            (encoded.bytes, encoded.open_len)
        };
        let run = RunRow { count: records.len() as u32, open_len: open_len as u32, checkpoint, bytes };
        Ok(VerifiedSegment { log: segment.log, first: segment.first.plus(skip as u64), records, tree, run })
    }

    /// Ids and times never go back within a log. Governance may: it would be found by those who know it already and by
    /// nobody else, and what an entry names is all that it is judged by.
    fn check_order(&self, segment: &VerifiedSegment) -> Result<(), ReceiveError> {
        let state = self.device_log(&segment.log);
        let mut last = state.and_then(|state| state.row.last);
        for (index, record) in segment.records.iter().enumerate() {
            let entry = &record.entry;
            let seq = segment.first.plus(index as u64);
            if last.is_some_and(|(id, time)| entry.operation <= id || entry.time <= time) {
                return Err(ReceiveError::Order(seq));
            }
            // Searching a log by id relies on it.
            if entry.operation != OperationId::at(entry.time, entry.operation.tag()) {
                return Err(ReceiveError::Id(seq));
            }
            last = Some((entry.operation, entry.time));
        }
        Ok(())
    }

    fn admit_segment(&mut self, segment: VerifiedSegment, now: UnixMicros) -> Result<Receipt, ReceiveError> {
        let mut stage = self.stage(now);
        let founded = self.founded()?;
        self.look_over(&mut stage, &segment, founded)?;
        let no = self.log_number(&mut stage, LogKind::Device(segment.log));
        let received = segment.records.len() as u64;
        let size = segment.tree.size();
        if let Some(last) = segment.records.last() {
            let (operation, time, governance) =
                (last.entry.operation, last.entry.time, last.entry.governance.clone());
            self.alter_log(&mut stage, no, |row| {
                row.last = Some((operation, time));
                row.governance = governance;
            });
        }
        self.put_received(&mut stage, no, segment.tree, segment.run);
        let mut session = self.staged_log(&stage, no).and_then(|state| state.row.actor);
        let mut arrivals = Vec::with_capacity(segment.records.len());
        for (index, record) in segment.records.into_iter().enumerate() {
            let seq = segment.first.plus(index as u64);
            // What a session means follows from its place in a signed log, whatever becomes of its entry.
            if record.entry.kind == EntryKind::SESSION {
                session = record.payload.as_ref().map(|payload| change_actor(&segment.log, payload));
            }
            let place = (&segment.log, no, seq);
            let payload = record.payload.as_deref().unwrap_or_default();
            let in_burst = self.count_deletion(&mut stage, place, &record.entry, payload);
            arrivals.push(Arrival { log: segment.log, no, seq, record, session, in_burst });
        }
        self.alter_log(&mut stage, no, |row| row.actor = session);
        let outcomes = self.admit(&mut stage, arrivals)?;
        let (waiting, withheld) = self.not_admitted_of(&stage, &segment.log);
        if waiting > limits::PENDING_ENTRIES || withheld > limits::WITHHELD_ENTRIES {
            return Err(ReceiveError::TooManyPending);
        }
        let on = self.go_on_with(&mut stage, &segment.log);
        let mut events = self.commit(stage)?;
        events.extend(on.map(|row| self.went_on(row)));
        events.extend(self.carry_out_answers(now)?);
        events.extend(self.after_governance(now)?);
        Ok(Receipt { size, received, outcomes, events })
    }

    /// Opens the seal and decodes.
    fn unseal(&self, segment: &Segment) -> Result<(Vec<u8>, Vec<LogRecord>), ReceiveError> {
        let key = self.keys.get(&segment.key_epoch).ok_or(ReceiveError::UnknownKey(segment.key_epoch))?;
        let bytes =
            key.open(&segment.sealed, &segment.associated_data()).map_err(|_| ReceiveError::Sealed)?;
        let records = run::decode(&bytes, segment.open_len as usize)?;
        Ok((bytes, records))
    }

    /// Takes payloads that somebody had withheld from somebody who has them; their entries are here, and verified.
    fn refill(&mut self, segment: &Segment, size: LogSeq, now: UnixMicros) -> Result<Receipt, ReceiveError> {
        let nothing = Receipt { size, ..Receipt::default() };
        let Some(no) = self.log_numbers.get(&segment.log).copied() else { return Ok(nothing) };
        let lacking: Vec<LogSeq> = self.pending.withheld_in(no).range(segment.first..).copied().collect();
        let end = segment.first.plus(u64::from(segment.count));
        if lacking.first().is_none_or(|first| *first >= end) {
            return Ok(nothing);
        }
        let (_, records) = self.unseal(segment)?;
        let mut stage = self.stage(now);
        let mut arrivals = Vec::new();
        for seq in lacking.into_iter().take_while(|seq| *seq < end) {
            let Some(record) = records.get((seq.0 - segment.first.0) as usize) else { break };
            let Some(held) = self.record_at(no, seq)? else { break };
            if record.payload.is_none() || record.entry != held.entry || !record.is_genuine() {
                continue;
            }
            let session = self.pending.get(&(no, seq)).and_then(|row| row.session);
            stage.rewritten.insert((no, seq), record.payload.clone());
            let record = record.clone();
            arrivals.push(Arrival { log: segment.log, no, seq, record, session, in_burst: false });
        }
        let outcomes = self.admit(&mut stage, arrivals)?;
        let events = self.commit(stage)?;
        Ok(Receipt { outcomes, events, ..nothing })
    }
}
