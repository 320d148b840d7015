//! A peer that this store does not know, and that holds this device's own signature over more than the store has.
//!
//! The store is then an old copy, from before the peer was let in, and the proof that the peer is a member is in what
//! was lost: in this device's own log, or in that of somebody who is known. So entries are taken from the peer as
//! from anybody who passes on what members signed, and nothing is shown to it. When governance says that it is a
//! member, the session goes on as any other; when all came that members wrote and it is none, the session ends.

use super::hello::unknown_key;
use super::{Output, Phase, Session};
use crate::store::StoreError;
use crate::workspace::Engine;
use std::collections::BTreeSet;
use syncd_schema::message::{CloseCode, Control, Position, Segment};
use syncd_schema::{LogId, UnixMicros};

/// What is known of such a peer.
#[derive(Debug)]
pub(super) struct Doubt {
    /// What it holds of this device's log, by this device's own signature.
    own: Position,
    /// Its positions, once they came.
    theirs: Option<Vec<Position>>,
    /// Logs it was asked for.
    asked: BTreeSet<LogId>,
}

impl Doubt {
    /// Logs of members that the peer has more of, the own one among them.
    fn promised(&self, engine: &Engine) -> Vec<LogId> {
        let all = self.theirs.iter().flatten().chain([&self.own]);
        let more = all.filter(|position| position.size > engine.size_of_log(&position.log));
        let of_members = more.filter(|position| engine.knows(&position.log.device));
        of_members.map(|position| position.log).collect()
    }
}

impl Session {
    /// Begins with a peer that is not known and has shown what this device signed.
    pub(super) fn doubt(
        &mut self,
        engine: &mut Engine,
        own: Position,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        out.push(Output::Events(engine.notice_own_log(&own, now)?));
        self.phase = Phase::Doubting(Doubt { own, theirs: None, asked: BTreeSet::new() });
        self.ask_in_doubt(engine, out);
        Ok(())
    }

    /// The peer's positions came while its membership is not proven.
    pub(super) fn hear_in_doubt(&mut self, engine: &Engine, positions: Vec<Position>, out: &mut Vec<Output>) {
        if let Phase::Doubting(doubt) = &mut self.phase {
            doubt.theirs = Some(positions);
            self.ask_in_doubt(engine, out);
        }
    }

    /// Asks for what the peer has more of, each log once.
    fn ask_in_doubt(&mut self, engine: &Engine, out: &mut Vec<Output>) {
        let Phase::Doubting(doubt) = &mut self.phase else { return };
        let promised = doubt.promised(engine);
        if promised.is_empty() && doubt.theirs.is_some() {
            return self.close(CloseCode::UnknownKey, unknown_key(), out);
        }
        for log in promised {
            if doubt.asked.insert(log) {
                let from = engine.size_of_log(&log);
                out.push(Output::Control(Control::Want { log, from, branch: None }));
            }
        }
    }

    /// Entries came while the peer's membership is not proven.
    pub(super) fn take_in_doubt(
        &mut self,
        engine: &mut Engine,
        segment: Segment,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        self.take(engine, segment, now, out)?;
        let Phase::Doubting(doubt) = &mut self.phase else { return Ok(()) };
        if !engine.knows(&self.peer) {
            self.ask_in_doubt(engine, out);
            return Ok(());
        }
        let theirs = doubt.theirs.take();
        self.phase = Phase::Comparing;
        self.say_frontier(engine, out);
        match theirs {
            Some(theirs) => self.compare(engine, &theirs, now, out),
            None => Ok(()),
        }
    }
}
