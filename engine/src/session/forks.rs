//! Logs with two histories, as seen from a session: what was asked for by its root, and whose verdict is awaited.

use std::collections::BTreeSet;
use syncd_schema::message::{Control, Position};
use syncd_schema::{Digest, LogId, LogSeq};

/// Histories that one session asks for. Honest peers have two of a log and few logs that were forked; whoever
/// announces more is not followed.
const MOST_ASKED: usize = 256;

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

    /// A history is here, or will not be. True once for each that was asked for.
    pub(super) fn finish(&mut self, log: LogId, root: Digest) -> bool {
        self.open.remove(&(log, root))
    }

    /// The peer asked for a history of a log.
    pub(super) fn serve(&mut self, log: LogId) {
        self.served.insert(log);
    }

    /// The peer said what it holds: it is done with what it fetched, and what it does not name any more it cannot
    /// send.
    pub(super) fn hear(&mut self, theirs: &[Position]) {
        self.served.clear();
        self.open.retain(|(log, root)| theirs.iter().any(|held| held.log == *log && held.root == *root));
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
        forks.serve(log());
        forks.hear(&[Position { log: log(), size: LogSeq(3), root: kept, branch: true, signature: None }]);
        assert!(!forks.finish(log(), gone) && forks.finish(log(), kept) && forks.is_quiet());
    }

    #[test]
    fn questions_are_bounded() {
        let mut forks = Forks::default();
        let asked = (0..=255_u8)
            .flat_map(|a| [0, 1].map(|b| Digest([[a, b]; 16].concat().try_into().unwrap_or_default())));
        assert_eq!(asked.filter(|root| forks.ask(log(), *root).is_some()).count(), MOST_ASKED);
    }
}
