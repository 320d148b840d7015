//! Logs with two histories, as seen from a session: what was asked for by its root, and whose verdict is awaited.

use crate::store::tables::LogNo;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::message::{Control, Position};
use syncd_schema::{Digest, LogId, LogSeq, limits};

/// Histories that one session asks for. Honest peers have two of a log and few logs that were forked; whoever
/// announces more is not followed.
const MOST_ASKED: usize = 256;
/// How often a peer may ask for a history without getting further: each answer is a segment.
const MOST_IN_VAIN: usize = 64;
/// Histories that are remembered as told: of all logs that a workspace can have, twice.
const MOST_TOLD: usize = 2 * limits::DEVICES * limits::EPOCHS * limits::BRANCHES;

/// The forks of a session.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// Asked for in this session: nothing is asked for twice, or two sides that hold what the other cannot take
    /// would ask for ever.
    asked: BTreeSet<(LogId, Digest)>,
    /// Asked for, and neither complete nor given up.
    open: BTreeSet<(LogId, Digest)>,
    /// Logs of which the peer fetches a history. It says its frontier when it is done.
    served: BTreeSet<LogId>,
    /// Up to where the peer has asked for histories, and how often it asked for what it had asked for before.
    wanted: BTreeMap<(LogId, Digest), LogSeq>,
    in_vain: usize,
    /// Histories the peer was told of, by the roots they had then: a log that goes on growing can be fetched by the
    /// root that it was announced with.
    told: BTreeMap<(LogId, Digest), LogNo>,
}

impl Forks {
    /// The question for a history, if it is to be asked.
    pub(super) fn ask(&mut self, log: LogId, root: Digest) -> Option<Control> {
        if self.asked.len() >= MOST_ASKED || !self.asked.insert((log, root)) {
            return None;
        }
        self.open.insert((log, root));
        Some(Control::Want { log, from: LogSeq(0), branch: Some(root) })
    }

    /// Whether a history is still being fetched.
    pub(super) fn is_open(&self, log: LogId, root: Digest) -> bool {
        self.open.contains(&(log, root))
    }

    /// A history is here, or will not be. True once for each that was asked for.
    pub(super) fn finish(&mut self, log: LogId, root: Digest) -> bool {
        self.open.remove(&(log, root))
    }

    /// The peer is told of a history.
    pub(super) fn tell(&mut self, log: LogId, root: Digest, no: LogNo) {
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        self.told.insert((log, root), no);
    }

    /// The history that the peer was told of by this root.
    pub(super) fn told(&self, log: LogId, root: Digest) -> Option<LogNo> {
        self.told.get(&(log, root)).copied()
    }

    /// The peer asked for a history of a log. False when it only asks, and gets no further by it.
    pub(super) fn serve(&mut self, log: LogId, root: Digest, from: LogSeq) -> bool {
        self.served.insert(log);
        let is_new = match self.wanted.get(&(log, root)) {
            Some(before) => from > *before,
            None => self.wanted.len() < MOST_ASKED,
        };
        if is_new {
            self.wanted.insert((log, root), from);
        } else {
            self.in_vain += 1;
        }
        self.in_vain <= MOST_IN_VAIN
    }

    /// The peer said what it holds: it is done with what it fetched, and what it does not name any more is all sent.
    /// True when that ends something this side asked for.
    pub(super) fn hear(&mut self, theirs: &[Position]) -> bool {
        self.served.clear();
        let before = self.open.len();
        self.open.retain(|(log, root)| theirs.iter().any(|held| held.log == *log && held.root == *root));
        self.open.len() < before
    }

    /// Whether nothing is expected from either side.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.served.is_empty()
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
    fn a_history_is_asked_for_once_and_finished_once() {
        let mut forks = Forks::default();
        assert!(forks.ask(log(), Digest([1; 32])).is_some());
        assert!(forks.ask(log(), Digest([1; 32])).is_none() && !forks.is_quiet());
        assert!(forks.finish(log(), Digest([1; 32])) && forks.is_quiet());
        assert!(!forks.finish(log(), Digest([1; 32])));
        assert!(forks.ask(log(), Digest([1; 32])).is_none());
    }

    #[test]
    fn what_a_peer_no_longer_holds_is_not_waited_for() {
        let mut forks = Forks::default();
        let (kept, gone) = (Digest([1; 32]), Digest([2; 32]));
        assert!(forks.ask(log(), kept).is_some() && forks.ask(log(), gone).is_some());
        assert!(forks.serve(log(), gone, LogSeq(0)));
        let ended = forks.hear(&[Position {
            log: log(),
            size: LogSeq(3),
            root: kept,
            branch: true,
            signature: None,
        }]);
        assert!(ended && !forks.finish(log(), gone) && forks.finish(log(), kept) && forks.is_quiet());
    }

    #[test]
    fn a_peer_that_asks_for_the_same_history_for_ever_is_noticed() {
        let mut forks = Forks::default();
        let root = Digest([1; 32]);
        assert!((0..1_000).all(|from| forks.serve(log(), root, LogSeq(from))), "it gets further");
        let again = (0..1_000).take_while(|_| forks.serve(log(), root, LogSeq(5))).count();
        assert_eq!(again, MOST_IN_VAIN);
    }

    #[test]
    fn questions_are_bounded() {
        let mut forks = Forks::default();
        let asked = (0..=255_u8)
            .flat_map(|a| [0, 1].map(|b| Digest([[a, b]; 16].concat().try_into().unwrap_or_default())));
        assert_eq!(asked.filter(|root| forks.ask(log(), *root).is_some()).count(), MOST_ASKED);
    }
}
