//! When history and disk disagree: stores rolled back, and logs with two histories.
//!
//! A peer that knows more of this device's own log shows that the store is an old copy. The device stops writing,
//! takes its lost tail back like any other log, and goes on in a new epoch. Two signed histories of one log are
//! proof of a clone; the log is frozen on every device that sees both, both stay readable, and the device writes
//! again only when an admin has let it in anew.

use super::receive::{Receipt, ReceiveError};
use super::stage::Stage;
use super::{Engine, Event};
use crate::log::run;
use crate::store::StoreError;
use crate::store::rows::{LogKind, Stop, StoreRow};
use crate::store::tables::{LogNo, Table, key};
use std::num::NonZeroUsize;
use syncd_evidence::{Checkpoint, Finding, FindingKind, Severity, Tree};
use syncd_schema::message::{Position, Segment};
use syncd_schema::{DeviceId, Digest, Epoch, LogId, LogSeq, UnixMicros, cbor};

/// Histories of logs that are compared at once with those held; the count of one that is pushed out begins anew.
pub(super) const HISTORIES_COMPARED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);

/// What a peer's frontier asks this device to do about one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// The peer has more: it will send, or be asked.
    Behind(LogSeq),
    /// The peer has less: send from there.
    Ahead(LogSeq),
    /// Same size and another root, or a branch not held here: ask for all of it.
    Branch,
    /// Nothing.
    Equal,
}

impl Engine {
    /// Compares one position of a peer's frontier with what is held here.
    #[must_use]
    pub fn compare(&self, position: &Position) -> Demand {
        let held = self.device_log(&position.log);
        let second = self.branches.get(&position.log).and_then(|no| self.log(*no));
        let (size, root) = held.map_or((LogSeq(0), None), |s| (s.size(), Some(s.row.tree.root())));
        let here = |size: LogSeq, root| {
            [held, second].into_iter().flatten().any(|s| s.size() == size && s.row.tree.root() == root)
        };
        if here(position.size, position.root) {
            return Demand::Equal;
        }
        if position.branch && held.is_some() {
            return Demand::Branch;
        }
        match position.size.cmp(&size) {
            std::cmp::Ordering::Greater => Demand::Behind(size),
            std::cmp::Ordering::Less => Demand::Ahead(position.size),
            std::cmp::Ordering::Equal if root == Some(position.root) => Demand::Equal,
            std::cmp::Ordering::Equal => Demand::Branch,
        }
    }

    /// What a peer is told of the logs held here: of its own logs, with its own signatures.
    #[must_use]
    pub fn frontier_for(&self, peer: &DeviceId) -> Vec<Position> {
        let mut positions = self.frontier();
        for position in positions.iter_mut().filter(|position| position.log.device == *peer) {
            let histories = [self.log_numbers.get(&position.log), self.branches.get(&position.log)];
            let signed = histories.into_iter().flatten().filter_map(|no| self.log(*no)?.row.checkpoint);
            position.signature = signed
                .filter(|checkpoint| (checkpoint.size, checkpoint.root) == (position.size, position.root))
                .map(|checkpoint| checkpoint.signature)
                .next();
        }
        positions
    }

    /// What is held of a device's newest log, with its signature: enough to show that device that its store is old.
    #[must_use]
    pub fn newest_log_of(&self, peer: &DeviceId) -> Option<Position> {
        let own = self.frontier_for(peer).into_iter().filter(|position| position.signature.is_some());
        own.max_by_key(|position| (position.log.epoch, position.size))
    }

    /// Whether a position shows, by this device's own signature, that it wrote more than this store has.
    #[must_use]
    pub fn lost(&self, position: &Position) -> bool {
        let log = position.log;
        log.workspace == self.workspace
            && log.device == self.device()
            && log.epoch >= self.store_row.epoch
            && position.size > self.size_of_log(&log)
            && self.is_own_word(position)
    }

    /// Whether a position is one that this device signed itself.
    fn is_own_word(&self, position: &Position) -> bool {
        let (size, root) = (position.size, position.root);
        position.signature.is_some_and(|signature| {
            let checkpoint = Checkpoint { size, root, signature };
            checkpoint.verify(&self.origin(&LogKind::Device(position.log)), &self.device()).is_ok()
        })
    }

    /// A peer knows more of this device's own log than the device does, and shows the device's own signature for
    /// it: an old copy of the store is running. Without the signature anybody could stop a device with a number.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn notice_own_log(&mut self, position: &Position, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        if !self.lost(position) {
            return Ok(Vec::new());
        }
        let log = position.log;
        let have = self.size_of_log(&log);
        self.highest_epoch = self.highest_epoch.max(log.epoch);
        if self.store_row.stopped.is_some() {
            return Ok(Vec::new());
        }
        let finding = Finding::new(
            FindingKind::Rollback,
            &format!("log {}", position.log),
            Severity::Critical,
            &format!("a peer holds {} entries of this device's log, this store has {have}", position.size),
            "leave the device connected: it fetches what it lost and goes on in a new epoch",
            now,
        );
        self.stop(Stop::RolledBack, finding, now)
    }

    fn stop(&mut self, stop: Stop, finding: Finding, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        let mut stage = self.stage(now);
        self.find(&mut stage, finding)?;
        let mut row = self.store_row.clone();
        row.stopped = Some(stop);
        stage.batch.put(Table::Keys, b"store".to_vec(), cbor::encode(&row));
        let mut events = self.commit(stage)?;
        self.store_row = row;
        events.push(Event::Writing { allowed: false });
        Ok(events)
    }

    /// Starts writing in a new epoch.
    fn go_on(&mut self, epoch: Epoch, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        let mut stage = self.stage(now);
        let mut row = self.store_row.clone();
        row.epoch = epoch;
        row.stopped = None;
        stage.batch.put(Table::Keys, b"store".to_vec(), cbor::encode(&row));
        let mut events = self.commit(stage)?;
        self.store_row = row;
        self.session_logged = false;
        events.push(Event::Writing { allowed: true });
        Ok(events)
    }

    /// With a part of this device's own log that comes back it goes on writing, in a new epoch: in one transaction, or a
    /// crash between the two would leave a store that lacks nothing and waits for ever.
    pub(super) fn go_on_with(&self, stage: &mut Stage, log: &LogId) -> Option<StoreRow> {
        if log.device != self.device() || self.store_row.stopped != Some(Stop::RolledBack) {
            return None;
        }
        let own = self.log_numbers.keys().filter(|held| held.device == self.device());
        let used = own.map(|held| held.epoch).max().unwrap_or_default();
        let mut row = self.store_row.clone();
        // A new epoch ends the doubt: whatever else of the old one turns up is taken like any log.
        row.epoch = used.max(log.epoch).max(self.highest_epoch).max(row.epoch).next();
        row.stopped = None;
        stage.batch.put(Table::Keys, b"store".to_vec(), cbor::encode(&row));
        Some(row)
    }

    /// After the commit of [`Engine::go_on_with`].
    pub(super) fn went_on(&mut self, row: StoreRow) -> Event {
        self.store_row = row;
        self.session_logged = false;
        Event::Writing { allowed: true }
    }

    /// After governance moved: may this device write again, in an epoch that an admin allowed?
    pub(super) fn after_governance(&mut self, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        let allowed = self.governance().members.get(&self.device()).map_or(Epoch(0), |m| m.min_epoch);
        let mut events = self.rejudge(now)?;
        if allowed > self.store_row.epoch {
            events.extend(self.go_on(allowed, now)?);
        }
        Ok(events)
    }

    /// Why this device does not write at the moment, if it does not.
    #[must_use]
    pub const fn stopped(&self) -> Option<Stop> {
        self.store_row.stopped
    }

    /// Takes a part of what may be another history of a log, from its first entry on. As long as it says the same
    /// as what is held it is only remembered how far; where it differs, the fork is proven by two signatures, the
    /// log is frozen and both histories are kept.
    pub(super) fn receive_branch(
        &mut self,
        segment: &Segment,
        root: Digest,
        checkpoint: &Checkpoint,
        now: UnixMicros,
    ) -> Result<Receipt, ReceiveError> {
        let log = segment.log;
        // Each history that is asked for has its own count: what is said of one is nothing about another.
        let asked = (log, root);
        let branch = self.branches.get(&log).and_then(|no| self.log(*no));
        let (have, tree) = match branch {
            Some(state) => (state.size(), state.row.tree.clone()),
            None => self
                .same_so_far
                .peek(&asked)
                .map_or((LogSeq(0), Tree::default()), |tree| (tree.size(), tree.clone())),
        };
        if segment.first > have {
            return Err(ReceiveError::Gap { first: segment.first, have });
        }
        let skip = have.0.saturating_sub(segment.first.0) as usize;
        if skip >= segment.count as usize {
            return Ok(Receipt { size: have, ..Receipt::default() });
        }
        let is_known = branch.is_some();
        let verified = self.open_segment(segment, *checkpoint, tree, skip)?;
        if is_known {
            return self.keep_branch(verified, None, now);
        }
        let Some(held) = self.log_numbers.get(&log).copied() else {
            return self.receive_plain(segment, *checkpoint, now);
        };
        let held_size = self.size_of_log(&log);
        let mut same = true;
        self.walk_runs(held, have, |first, row| {
            for (index, record) in super::segments::decode_run(held, first, &row)?.iter().enumerate() {
                let seq = first.plus(index as u64);
                let at = seq.0.checked_sub(have.0).and_then(|at| verified.records.get(at as usize));
                same &= at.is_none_or(|theirs| theirs.entry == record.entry);
            }
            Ok(same && first.plus(u64::from(row.count)) < verified.tree.size())
        })?;
        if !same {
            self.same_so_far.pop(&asked);
            return self.keep_branch(verified, Some((held, have)), now);
        }
        if verified.tree.size() > held_size {
            // It goes on where this device's copy ends: no fork, only news.
            let tree = verified.tree;
            let receipt = self.receive_plain(segment, *checkpoint, now)?;
            self.same_so_far.put(asked, tree);
            return Ok(receipt);
        }
        let size = verified.tree.size();
        self.same_so_far.put(asked, verified.tree);
        Ok(Receipt { size, ..Receipt::default() })
    }

    /// Stores a part of a second history; the first part brings what both have in common along, `0 .. have` of the
    /// held log, so that each history is whole.
    fn keep_branch(
        &mut self,
        mut verified: super::receive::VerifiedSegment,
        common: Option<(LogNo, LogSeq)>,
        now: UnixMicros,
    ) -> Result<Receipt, ReceiveError> {
        let log = verified.log;
        let received = verified.records.len() as u64;
        let mut stage = self.stage(now);
        let no = self.log_number(&mut stage, LogKind::Branch(log));
        if let Some((held, have)) = common {
            let mut start = Vec::new();
            self.walk_runs(held, LogSeq(0), |first, row| {
                let end = first.plus(u64::from(row.count));
                if end <= have {
                    stage.batch.put(Table::Runs, key::position(no, first), cbor::encode(&row));
                } else if first < have {
                    let part = have.0.saturating_sub(first.0) as usize;
                    start = super::segments::decode_run(held, first, &row)?;
                    start.truncate(part);
                }
                Ok(end < have)
            })?;
            let from = LogSeq(have.0.saturating_sub(start.len() as u64));
            start.append(&mut verified.records);
            let encoded = run::encode(&start);
            verified.run.count = start.len() as u32;
            verified.run.open_len = encoded.open_len as u32;
            verified.run.bytes = encoded.bytes;
            self.alter_log(&mut stage, no, |row| row.fold_from = from);
            self.put_received_at(&mut stage, no, from, verified.tree, verified.run);
        } else {
            self.put_received(&mut stage, no, verified.tree, verified.run);
        }
        let size = self.staged_log(&stage, no).map_or(LogSeq(0), super::LogState::size);
        self.freeze(&mut stage, log)?;
        let mut events = self.commit(stage)?;
        if log == self.own_log() && self.store_row.stopped != Some(Stop::Forked) {
            let text =
                format!("another copy of this device wrote a different history of its log, {size} entries");
            let next =
                "stop the copy; then ask an admin for `invite` and run `join` here to go on in a new epoch";
            let place = format!("log {log}");
            let finding = Finding::new(FindingKind::LogFork, &place, Severity::Critical, &text, next, now);
            events.extend(self.stop(Stop::Forked, finding, now)?);
        }
        tracing::warn!(log = %log, branch = size.0, "a log has two histories");
        Ok(Receipt { size, received, outcomes: Vec::new(), events })
    }

    fn freeze(&mut self, stage: &mut Stage, log: LogId) -> Result<(), StoreError> {
        let Some(no) = self.log_numbers.get(&log).copied() else { return Ok(()) };
        if self.log(no).is_some_and(|state| state.row.frozen) {
            return Ok(());
        }
        self.alter_log(stage, no, |row| row.frozen = true);
        let finding = Finding::new(
            FindingKind::LogFork,
            &format!("log {log}"),
            Severity::Critical,
            &format!("device {} signed two different histories of one log", log.device.short()),
            "find out which copy of the device is genuine; an admin lets it in anew with `invite` and `join`, and an object \
             that devices show differently begins anew with `rebirth`",
            stage.now,
        );
        self.find(stage, finding)
    }
}
