//! What a peer has of each log, what is on its way, and what is expected from it.

use crate::workspace::Engine;
use std::collections::{BTreeMap, VecDeque};
use syncd_schema::message::Position;
use syncd_schema::{LogId, LogSeq, limits};

/// One log as seen from a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lane {
    /// Entries the peer is known to have on disk.
    has: LogSeq,
    /// Entries handed to the network, or known to be there.
    sent: LogSeq,
    /// Where the segments end that were sent and not acknowledged.
    in_flight: VecDeque<LogSeq>,
    /// Two histories exist: nothing more is sent by itself.
    diverged: bool,
    /// How often the peer asked to begin again since it last took something.
    restarts: usize,
}

/// Logs of one session: as many as a workspace can have. What a peer says of more is not listened to.
const MOST_LANES: usize = limits::DEVICES * limits::EPOCHS;
/// How often a peer may ask for entries again without taking any: each time costs a window of segments.
const MOST_RESTARTS: usize = 8;

/// All logs as seen from a session.
#[derive(Debug, Default)]
pub(super) struct Flow {
    lanes: BTreeMap<LogId, Lane>,
}

impl Flow {
    /// Both sides hold exactly this.
    pub(super) fn assume(&mut self, positions: &[Position]) {
        for position in positions {
            self.holds(position.log, position.size);
            if position.branch {
                self.diverged(position.log);
            }
        }
    }

    /// The peer holds at least this much.
    pub(super) fn holds(&mut self, log: LogId, size: LogSeq) {
        let Some(lane) = self.lane(log) else { return };
        lane.has = lane.has.max(size);
        lane.sent = lane.sent.max(size);
    }

    /// The peer acknowledged; how many entries it had not acknowledged before.
    pub(super) fn acknowledged(&mut self, log: &LogId, size: LogSeq) -> u64 {
        let Some(lane) = self.lanes.get_mut(log) else { return 0 };
        // Nobody can acknowledge what was not sent.
        let size = size.min(lane.sent);
        while lane.in_flight.front().is_some_and(|end| *end <= size) {
            lane.in_flight.pop_front();
        }
        let new = size.0.saturating_sub(lane.has.0);
        lane.has = lane.has.max(size);
        if new > 0 {
            lane.restarts = 0;
        }
        new
    }

    fn lane(&mut self, log: LogId) -> Option<&mut Lane> {
        if self.lanes.len() >= MOST_LANES && !self.lanes.contains_key(&log) {
            return None;
        }
        Some(self.lanes.entry(log).or_default())
    }

    /// The two sides hold different histories of a log.
    pub(super) fn diverged(&mut self, log: LogId) {
        if let Some(lane) = self.lane(log) {
            lane.diverged = true;
        }
    }

    /// Whether the two sides hold different histories of a log.
    pub(super) fn is_diverged(&self, log: &LogId) -> bool {
        self.lanes.get(log).is_some_and(|lane| lane.diverged)
    }

    /// The peer asked for everything from here on. False when it only asks and never takes.
    pub(super) fn restart(&mut self, log: &LogId, from: LogSeq) -> bool {
        let Some(lane) = self.lane(*log) else { return true };
        lane.restarts += 1;
        lane.sent = from;
        lane.has = lane.has.min(from);
        lane.in_flight.clear();
        lane.restarts <= MOST_RESTARTS
    }

    /// Where the next segment of a log begins, if one may be sent now.
    pub(super) fn next_to_send(&self, log: &LogId, size: LogSeq) -> Option<LogSeq> {
        let Some(lane) = self.lanes.get(log) else { return (size.0 > 0).then_some(LogSeq(0)) };
        let room = lane.in_flight.len() < limits::SEGMENTS_IN_FLIGHT && !lane.diverged;
        (room && lane.sent < size).then_some(lane.sent)
    }

    /// A segment was handed to the network.
    pub(super) fn sent(&mut self, log: &LogId, end: LogSeq) {
        if let Some(lane) = self.lane(*log) {
            lane.sent = lane.sent.max(end);
            lane.in_flight.push_back(end);
        }
    }

    /// Whether nothing is on its way or expected.
    pub(super) fn is_quiet(&self, engine: &Engine) -> bool {
        self.distance(engine) == (0, 0)
            && self.lanes.values().all(|lane| lane.in_flight.is_empty() || lane.diverged)
    }

    /// Entries the peer has and this side has not, and the other way round.
    pub(super) fn distance(&self, engine: &Engine) -> (u64, u64) {
        let (mut behind, mut ahead) = (0_u64, 0_u64);
        let mut here: BTreeMap<LogId, LogSeq> = engine.log_sizes().into_iter().collect();
        for (log, lane) in &self.lanes {
            let size = here.remove(log).unwrap_or_default();
            if !lane.diverged {
                behind = behind.saturating_add(lane.has.0.saturating_sub(size.0));
                ahead = ahead.saturating_add(size.0.saturating_sub(lane.has.0));
            }
        }
        ahead = here.values().fold(ahead, |sum, size| sum.saturating_add(size.0));
        (behind, ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncd_schema::{DeviceId, Epoch, WorkspaceId};

    fn log() -> LogId {
        LogId { workspace: WorkspaceId([1; 16]), device: DeviceId([2; 32]), epoch: Epoch(0) }
    }

    #[test]
    fn the_window_is_bounded_and_moves_with_acknowledgements() {
        let mut flow = Flow::default();
        for n in 1..=limits::SEGMENTS_IN_FLIGHT as u64 {
            assert_eq!(flow.next_to_send(&log(), LogSeq(100)), Some(LogSeq((n - 1) * 10)));
            flow.sent(&log(), LogSeq(n * 10));
        }
        assert_eq!(flow.next_to_send(&log(), LogSeq(100)), None);
        assert_eq!(flow.acknowledged(&log(), LogSeq(10)), 10);
        assert_eq!(flow.acknowledged(&log(), LogSeq(10)), 0, "an acknowledgement counts once");
        assert_eq!(flow.next_to_send(&log(), LogSeq(100)), Some(LogSeq(40)));
    }

    #[test]
    fn acknowledging_nothing_new_opens_no_window() {
        let mut flow = Flow::default();
        for n in 1..=limits::SEGMENTS_IN_FLIGHT as u64 {
            flow.sent(&log(), LogSeq(n * 10));
        }
        for size in [0, 5, 9] {
            flow.acknowledged(&log(), LogSeq(size));
        }
        assert_eq!(flow.next_to_send(&log(), LogSeq(100)), None);
        flow.acknowledged(&log(), LogSeq(25));
        assert!(flow.next_to_send(&log(), LogSeq(100)).is_some(), "one answer may speak of several segments");
    }

    #[test]
    fn nobody_acknowledges_what_was_not_sent() {
        let mut flow = Flow::default();
        flow.sent(&log(), LogSeq(5));
        assert_eq!(flow.acknowledged(&log(), LogSeq(u64::MAX)), 5);
        assert_eq!(flow.next_to_send(&log(), LogSeq(9)), Some(LogSeq(5)));
    }

    #[test]
    fn a_peer_that_asks_and_never_takes_is_noticed() {
        let mut flow = Flow::default();
        for _ in 0..3 * MOST_RESTARTS {
            assert!(flow.restart(&log(), LogSeq(0)));
            flow.sent(&log(), LogSeq(10));
            assert_eq!(flow.acknowledged(&log(), LogSeq(10)), 10);
        }
        assert_eq!((0..).take_while(|_| flow.restart(&log(), LogSeq(0))).count(), MOST_RESTARTS);
    }

    #[test]
    fn logs_are_bounded() {
        let mut flow = Flow::default();
        for n in 0..2 * MOST_LANES as u32 {
            flow.holds(LogId { epoch: Epoch(n), ..log() }, LogSeq(1));
            flow.diverged(LogId { epoch: Epoch(n), ..log() });
        }
        assert_eq!(flow.lanes.len(), MOST_LANES);
    }

    #[test]
    fn a_forked_log_is_not_sent_by_itself() {
        let mut flow = Flow::default();
        flow.diverged(log());
        assert_eq!(flow.next_to_send(&log(), LogSeq(9)), None);
    }
}
