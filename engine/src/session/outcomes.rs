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
use syncd_schema::{LogId, LogSeq, limits};

/// What the peer was told of its own logs.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Logs of which it was told that entries are held: from which on, and what else is held of that log's changed
    /// since as this counts.
    held: BTreeMap<LogId, (LogSeq, u64)>,
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
            self.told.held.insert(log, (first, engine.held_changes(&log)));
        }
        let size = engine.size_of_log(&log);
        let mut rest = outcomes.as_slice();
        loop {
            let (part, more) = rest.split_at(rest.len().min(limits::OUTCOMES));
            out.push(Output::Control(Control::Ack { log, size, outcomes: part.to_vec() }));
            rest = more;
            if rest.is_empty() {
                return;
            }
        }
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
        let holds_some = log.device == self.peer && engine.size_of_log(&log) > LogSeq(0);
        if !holds_some || !self.told.asked.insert(log) {
            return Ok(());
        }
        let outcomes = engine.outcomes_of(&log, from)?;
        self.acknowledge(engine, log, outcomes, out);
        Ok(())
    }

    /// Tells what became of entries that the peer was told are held, where that has changed. Before anything else is
    /// told of the same log: what is told then counts from what is known by then.
    pub(super) fn tell_again(&mut self, engine: &Engine, out: &mut Vec<Output>) -> Result<(), StoreError> {
        for (log, (first, changes)) in std::mem::take(&mut self.told.held) {
            if engine.held_changes(&log) == changes {
                self.told.held.insert(log, (first, changes));
            } else {
                let outcomes = engine.outcomes_of(&log, first)?;
                self.acknowledge(engine, log, outcomes, out);
            }
        }
        Ok(())
    }
}
