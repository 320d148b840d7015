//! Segments that came before the governance that explains them: their device or their key is not known yet.
//!
//! They are kept unverified, so what they take is bounded for the whole session. Logs for which there was no room
//! are remembered instead, and asked for when their device has become known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use syncd_schema::message::Segment;
use syncd_schema::{LogId, limits};

/// What early segments may take together: a few logs' windows of full segments, or many small ones.
const EARLY_BYTES: usize = 16 << 20;
/// Logs without room that are remembered.
const MOST_DROPPED: usize = limits::DEVICES * limits::EPOCHS;

/// The early segments of a session.
#[derive(Debug, Default)]
pub(super) struct Early {
    queues: BTreeMap<LogId, VecDeque<Segment>>,
    bytes: usize,
    dropped: BTreeSet<LogId>,
}

/// The peer sent more than an honest one would.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Early {
    /// Whether earlier entries of the log wait, so that later ones must as well.
    pub(super) fn holds(&self, log: &LogId) -> bool {
        self.queues.contains_key(log) || self.dropped.contains(log)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.dropped.is_empty()
    }

    /// Keeps a segment, or remembers that its log must be asked for.
    pub(super) fn put(&mut self, segment: Segment) -> Result<(), TooMuch> {
        let log = segment.log;
        if self.queues.get(&log).is_some_and(|queue| queue.len() >= limits::SEGMENTS_IN_FLIGHT) {
            return Err(TooMuch);
        }
        let bytes = self.bytes.saturating_add(size(&segment));
        if bytes > EARLY_BYTES || self.dropped.contains(&log) {
            self.dropped.insert(log);
            return if self.dropped.len() > MOST_DROPPED { Err(TooMuch) } else { Ok(()) };
        }
        self.bytes = bytes;
        self.queues.entry(log).or_default().push_back(segment);
        Ok(())
    }

    /// Remembers that there is no room for a log, so that it is asked for when there is.
    pub(super) fn drop_log(&mut self, log: LogId) -> Result<(), TooMuch> {
        for segment in self.queues.remove(&log).into_iter().flatten() {
            self.bytes = self.bytes.saturating_sub(size(&segment));
        }
        self.dropped.insert(log);
        if self.dropped.len() > MOST_DROPPED { Err(TooMuch) } else { Ok(()) }
    }

    /// What is kept: bytes of segments, and logs that are only remembered.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.bytes, self.dropped.len())
    }

    /// Takes all of them out, to be tried again.
    pub(super) fn take(&mut self) -> BTreeMap<LogId, VecDeque<Segment>> {
        self.bytes = 0;
        std::mem::take(&mut self.queues)
    }

    /// Puts back what did not get its turn, behind what came back by itself.
    pub(super) fn put_back(&mut self, segments: VecDeque<Segment>) -> Result<(), TooMuch> {
        segments.into_iter().try_for_each(|segment| self.put(segment))
    }

    /// The logs that were without room and for which there is some by now; they are no longer remembered.
    pub(super) fn now_known(&mut self, has_room: impl Fn(&LogId) -> bool) -> Vec<LogId> {
        let known: Vec<LogId> = self
            .dropped
            .iter()
            .filter(|log| !self.queues.contains_key(log) && has_room(log))
            .copied()
            .collect();
        self.dropped.retain(|log| !known.contains(log));
        known
    }
}

fn size(segment: &Segment) -> usize {
    segment.sealed.len() + segment.checkpoint.len() + size_of::<Segment>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncd_schema::{DeviceId, Epoch, LogSeq, WorkspaceId};

    fn segment(log: u8, bytes: usize) -> Segment {
        let log = LogId { workspace: WorkspaceId([1; 16]), device: DeviceId([log; 32]), epoch: Epoch(0) };
        let (first, sealed) = (LogSeq(0), vec![0; bytes]);
        Segment {
            log,
            first,
            count: 1,
            checkpoint: Vec::new(),
            key_epoch: 0,
            open_len: 1,
            branch: None,
            sealed,
        }
    }

    #[test]
    fn a_window_of_each_log_and_no_more_bytes_than_there_is_room_for() {
        let mut early = Early::default();
        for _ in 0..limits::SEGMENTS_IN_FLIGHT {
            assert!(early.put(segment(1, 10)).is_ok());
        }
        assert!(early.put(segment(1, 10)).is_err(), "the window of a log");
        for log in 2..200 {
            assert!(early.put(segment(log, 1 << 20)).is_ok());
        }
        assert!(early.bytes <= EARLY_BYTES);
        assert!(early.holds(&segment(199, 0).log), "remembered, if not kept");
        let kept = early.queues.len();
        assert_eq!(early.take().len(), kept);
        assert_eq!(early.now_known(|_| false), []);
        let asked = early.now_known(|_| true);
        assert_eq!(asked.len(), 199 - kept);
        assert!(early.is_empty());
    }
}
