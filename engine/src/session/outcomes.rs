//! What became of entries, told again: to an author who is not sure, and when what was held is held no more.
//!
//! An acknowledgement tells what became of entries when they came. Its news may be lost in a crash, and what was held
//! may be let in when a third device brings what it waited for; the author hears of both here.

use super::{Output, Session};
use crate::store::StoreError;
use crate::workspace::Engine;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::message::{Control, Outcome, Position};
use syncd_schema::operation::EntryState;
use syncd_schema::{LogId, LogSeq};

/// What the peer was told of its own logs.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Logs of which it was told that entries are held: the first, and how many there are from it on.
    held: BTreeMap<LogId, (LogSeq, usize)>,
    /// Logs of which it has asked: once a session each.
    asked: BTreeSet<LogId>,
}

impl Session {
    /// Acknowledges entries, and remembers what the peer will want to hear more of.
    pub(super) fn acknowledge(
        &mut self,
        engine: &Engine,
        log: LogId,
        outcomes: Vec<Outcome>,
        out: &mut Vec<Output>,
    ) {
        let held = outcomes.iter().filter(|outcome| outcome.state == EntryState::Held);
        let before = self.told.held.get(&log).map(|(first, _)| *first);
        let first = held.map(|outcome| outcome.first).chain(before).min();
        if let Some(first) = first.filter(|_| log.device == self.peer) {
            self.told.held.insert(log, (first, engine.held_from(&log, first)));
        }
        let size = engine.size_of_log(&log);
        out.push(Output::Control(Control::Ack { log, size, outcomes }));
    }

    /// Asks what became of own entries, where that is not known of all that the peer holds.
    pub(super) fn ask_outcomes(
        &self,
        engine: &mut Engine,
        theirs: &[Position],
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        for position in theirs.iter().filter(|position| !position.branch) {
            if let Some(from) = engine.unsettled(&self.peer, &position.log, position.size)? {
                out.push(Output::Control(Control::Ask { log: position.log, from }));
            }
        }
        Ok(())
    }

    /// The author of a log asks what became of its entries.
    pub(super) fn answer(
        &mut self,
        engine: &Engine,
        log: LogId,
        from: LogSeq,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if log.device != self.peer || !self.told.asked.insert(log) {
            return Ok(());
        }
        let outcomes = engine.outcomes_of(&log, from)?;
        self.acknowledge(engine, log, outcomes, out);
        Ok(())
    }

    /// Tells what became of entries that the peer was told are held.
    pub(super) fn tell_again(&mut self, engine: &Engine, out: &mut Vec<Output>) -> Result<(), StoreError> {
        for (log, (first, count)) in std::mem::take(&mut self.told.held) {
            if engine.held_from(&log, first) == count {
                self.told.held.insert(log, (first, count));
            } else {
                let outcomes = engine.outcomes_of(&log, first)?;
                self.acknowledge(engine, log, outcomes, out);
            }
        }
        Ok(())
    }
}
