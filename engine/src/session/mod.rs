//! Sync with one peer, as a state machine without IO.
//!
//! It eats control messages and segments and yields others; who moves them is not its business. The dialling side
//! speaks first. Hellos carry a digest of all logs, so equal sides are done in one round trip; else both send
//! their positions, and each sends what the other lacks, log by log, with a bounded number of unacknowledged
//! segments per log. When all is said the session stays open and passes on what is new. Its states are in
//! `Phase`; `flow` keeps count of what the peer has.

mod doubt;
mod early;
mod flow;
mod forks;
mod hello;
mod outcomes;
mod withheld;

use crate::store::StoreError;
use crate::workspace::{Demand, Engine, Event, ReceiveError};
use doubt::Doubt;
use early::Early;
use flow::Flow;
use forks::Forks;
use hello::hello;
use outcomes::Told;
use std::collections::{BTreeMap, BTreeSet};
use syncd_evidence::Checkpoint;
use syncd_schema::message::{CloseCode, Control, Position, Segment};
use syncd_schema::{DeviceId, Digest, LogId, LogSeq, UnixMicros, limits};

/// What happens to a session.
#[derive(Debug)]
pub enum Input {
    /// The peer said something.
    Control(Control),
    /// The peer sent entries.
    Segment(Box<Segment>),
    /// Logs grew here, by a local write or by another session.
    Grew,
    /// The peer sent what is no message, or no entries of the log that its stream is of.
    Broken(String),
}

/// What a session wants done.
#[derive(Debug)]
pub enum Output {
    /// Say this.
    Control(Control),
    /// Send this on the stream of its log.
    Segment(Box<Segment>),
    /// Tell others of the commit this session made.
    Events(Vec<Event>),
    /// Say why and end.
    Close(CloseCode, String),
}

/// Where a session stands.
#[derive(Debug)]
enum Phase {
    /// The peer's hello is awaited. `ours` are the positions our own hello spoke for, once it was sent.
    Greeting { ours: Option<Vec<Position>> },
    /// The peer is not known, and has proof that this store is older than its membership.
    Doubting(Doubt),
    /// Hellos differ, and the peer's positions are awaited.
    Comparing,
    /// Entries flow.
    Flowing,
    /// The session is over.
    Closed,
}

/// Counters of a session, in operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sent and acknowledged.
    pub sent: u64,
    /// Received and on disk here.
    pub received: u64,
}

/// Sync with one peer.
#[derive(Debug)]
pub struct Session {
    peer: DeviceId,
    dialler: bool,
    phase: Phase,
    flow: Flow,
    /// Segments that came before the governance that explains them; bounded per log.
    early: Early,
    counters: Counters,
    forks: Forks,
    told: Told,
    /// What of the peer's own entries waits, as it was when it was looked at.
    looked_at: Option<u64>,
    /// Logs of which payloads were asked for.
    asked_payloads: BTreeSet<LogId>,
    /// Second histories that the peer was told of.
    branches_told: usize,
    /// What the peer said that is no part of the protocol, until that is on record.
    breach: Option<String>,
}

impl Session {
    /// A session with an authenticated peer; `dialler` says whether this side opened the link.
    #[must_use]
    pub fn new(peer: DeviceId, dialler: bool) -> Self {
        let phase = Phase::Greeting { ours: None };
        Self {
            peer,
            dialler,
            phase,
            flow: Flow::default(),
            early: Early::default(),
            counters: Counters::default(),
            forks: Forks::default(),
            told: Told::default(),
            looked_at: None,
            asked_payloads: BTreeSet::new(),
            branches_told: 0,
            breach: None,
        }
    }

    /// The peer.
    #[must_use]
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// What went over it so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether both sides have all that either told the other of, and everything sent was acknowledged.
    #[must_use]
    pub fn is_quiet(&self, engine: &Engine) -> bool {
        matches!(self.phase, Phase::Flowing)
            && self.early.is_empty()
            && self.forks.is_quiet()
            && self.flow.is_quiet(engine)
    }

    /// What the session keeps for later: bytes of segments, and logs for which there was no room.
    #[must_use]
    pub fn keeps(&self) -> (usize, usize) {
        self.early.sizes()
    }

    /// Entries the peer has and this device has not, and the other way round, as far as is known.
    #[must_use]
    pub fn distance(&self, engine: &Engine) -> Option<(u64, u64)> {
        matches!(self.phase, Phase::Flowing).then(|| self.flow.distance(engine))
    }

    /// What to say first; nothing on the accepting side.
    pub fn start(&mut self, engine: &Engine) -> Vec<Output> {
        if !self.dialler {
            return Vec::new();
        }
        let (hello, ours) = hello(engine, &self.peer);
        self.phase = Phase::Greeting { ours: Some(ours) };
        vec![Output::Control(Control::Hello(hello))]
    }

    /// Ends, when the link is gone: what was sent and not acknowledged is noted as that.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn end(&mut self, engine: &mut Engine, now: UnixMicros) -> Result<(), StoreError> {
        self.phase = Phase::Closed;
        engine.note_gone(&self.peer, now)
    }

    /// Takes one step.
    ///
    /// # Errors
    /// When the disk fails: the session is over and nothing of the step was acknowledged.
    pub fn handle(
        &mut self,
        engine: &mut Engine,
        input: Input,
        now: UnixMicros,
    ) -> Result<Vec<Output>, StoreError> {
        let mut out = Vec::new();
        match (&mut self.phase, input) {
            (Phase::Closed, _) => {}
            (Phase::Greeting { ours }, Input::Control(Control::Hello(hello))) => {
                let ours = ours.take();
                self.greet(engine, &hello, ours, now, &mut out)?;
            }
            (Phase::Comparing, Input::Control(Control::Frontier(theirs))) => {
                self.compare(engine, &theirs, now, &mut out)?;
            }
            // Logs may grow at any time; what is new is sent once positions are known.
            (Phase::Greeting { .. } | Phase::Doubting(_) | Phase::Comparing, Input::Grew) => {}
            (Phase::Doubting(_), Input::Control(Control::Frontier(theirs))) => {
                self.hear_in_doubt(engine, theirs, &mut out);
            }
            (Phase::Doubting(_), Input::Segment(segment)) => {
                self.take_in_doubt(engine, *segment, now, &mut out)?;
            }
            // It knows this device and cannot know that it is not known itself.
            (
                Phase::Doubting(_),
                Input::Control(Control::Ack { .. } | Control::Want { .. } | Control::Ask { .. }),
            ) => {}
            (Phase::Flowing, Input::Grew) => {
                // A fork is told of at once: an open session may go on for days.
                if engine.branch_count() > self.branches_told {
                    self.say_frontier(engine, &mut out);
                }
                self.branches_told = engine.branch_count();
                self.retry_early(engine, now, &mut out)?;
                self.tell_again(engine, &mut out)?;
                self.pump(engine, &mut out)?;
            }
            // The peer found a difference where this side saw none: it wrote between the hellos.
            (Phase::Flowing, Input::Control(Control::Frontier(theirs))) => {
                self.compare(engine, &theirs, now, &mut out)?;
            }
            (Phase::Flowing, Input::Segment(segment)) => {
                self.take(engine, *segment, now, &mut out)?;
                self.pump(engine, &mut out)?;
            }
            // The peer's positions are on another stream than its segments, and may be overtaken by them.
            (Phase::Comparing, Input::Segment(segment)) => self.take(engine, *segment, now, &mut out)?,
            (Phase::Flowing | Phase::Comparing, Input::Control(Control::Ack { log, size, outcomes })) => {
                self.counters.sent += self.flow.acknowledged(&log, size);
                engine.note_outcomes(&self.peer, &log, size, &outcomes, now)?;
                if matches!(self.phase, Phase::Flowing) {
                    self.pump(engine, &mut out)?;
                }
            }
            (Phase::Flowing | Phase::Comparing, Input::Control(Control::Want { log, from, branch })) => {
                self.wanted(engine, log, from, branch, &mut out)?;
            }
            (Phase::Flowing | Phase::Comparing, Input::Control(Control::Ask { log, from })) => {
                self.answer(engine, log, from, &mut out)?;
            }
            (_, Input::Broken(what)) => self.close(CloseCode::Protocol, &what, &mut out),
            (_, Input::Control(Control::Close { code, text })) => {
                self.phase = Phase::Closed;
                out.push(Output::Close(code, text));
            }
            (Phase::Greeting { .. }, Input::Control(_) | Input::Segment(_))
            | (Phase::Doubting(_) | Phase::Comparing | Phase::Flowing, Input::Control(Control::Hello(_))) => {
                self.close(CloseCode::Protocol, "that message has no place here", &mut out);
            }
        }
        self.ask_payloads(engine, &mut out);
        self.note_unfounded(engine, now)?;
        if let Some(what) = self.breach.take() {
            let events = engine.note_broken_protocol(&self.peer, &what, now)?;
            // The last of all ends the session.
            out.insert(0, Output::Events(events));
        }
        Ok(out)
    }

    /// Says what is held here, and remembers which histories had which roots: by these they will be asked for.
    fn say_frontier(&mut self, engine: &Engine, out: &mut Vec<Output>) {
        let positions = engine.frontier_for(&self.peer);
        for position in &positions {
            if let Some(no) = engine.history_with(&position.log, position.root) {
                self.forks.tell(position.log, position.root, no);
            }
        }
        out.push(Output::Control(Control::Frontier(positions)));
    }

    fn close(&mut self, code: CloseCode, text: &str, out: &mut Vec<Output>) {
        if code == CloseCode::Protocol {
            self.breach = Some(text.to_owned());
        }
        self.phase = Phase::Closed;
        out.push(Output::Control(Control::Close { code, text: text.to_owned() }));
        out.push(Output::Close(code, text.to_owned()));
    }

    /// The peer's positions: what it lacks is sent, what it has more of is expected, what differs is fetched whole.
    fn compare(
        &mut self,
        engine: &mut Engine,
        theirs: &[Position],
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if theirs.len() > limits::DEVICES * limits::EPOCHS * limits::BRANCHES {
            self.close(CloseCode::Protocol, "more logs than a workspace can have", out);
            return Ok(());
        }
        let has_ended = self.forks.hear(theirs);
        let workspace = engine.workspace();
        for position in theirs.iter().filter(|position| position.log.workspace == workspace) {
            let events = engine.notice_own_log(position, now)?;
            if !events.is_empty() {
                out.push(Output::Events(events));
            }
            if position.branch {
                self.flow.diverged(position.log);
            }
            let (log, demand) = (position.log, engine.compare(position));
            if demand == Demand::Branch {
                self.flow.diverged(log);
            }
            // Of a log that has two histories each is asked for by its root, and nothing is sent unasked.
            match (demand, self.flow.is_diverged(&log)) {
                (Demand::Equal, true) => {}
                (_, true) => out.extend(self.forks.ask(log, position.root).map(Output::Control)),
                (_, false) => self.flow.holds(log, position.size),
            }
        }
        if matches!(self.phase, Phase::Comparing) {
            self.phase = Phase::Flowing;
            self.ask_outcomes(engine, theirs, out)?;
            self.tell_again(engine, out)?;
        }
        if has_ended {
            self.branches_told = engine.branch_count();
            self.say_frontier(engine, out);
        }
        self.pump(engine, out)
    }

    /// Sends what the peer lacks, as far as its window allows.
    fn pump(&mut self, engine: &mut Engine, out: &mut Vec<Output>) -> Result<(), StoreError> {
        for (log, size) in engine.log_sizes() {
            self.pump_log(engine, log, size, out)?;
        }
        Ok(())
    }

    fn pump_log(
        &mut self,
        engine: &mut Engine,
        log: LogId,
        size: LogSeq,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        while let Some(from) = self.flow.next_to_send(&log, size) {
            let Some(segment) = engine.segment(&log, from, None)? else { break };
            let end = segment.first.plus(u64::from(segment.count));
            self.flow.sent(&log, end);
            engine.note_sent(&self.peer, &log, segment.first, end);
            out.push(Output::Segment(Box::new(segment)));
        }
        Ok(())
    }

    /// Entries from the peer: to the engine, and an acknowledgement after the disk has them.
    fn take(
        &mut self,
        engine: &mut Engine,
        segment: Segment,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if self.early.holds(&segment.log) {
            self.keep_early(segment, out);
            return Ok(());
        }
        let governance_grew = self.receive(engine, segment, now, out)?;
        if governance_grew { self.retry_early(engine, now, out) } else { Ok(()) }
    }

    /// True when governance grew, so that what came early may be in time now.
    fn receive(
        &mut self,
        engine: &mut Engine,
        segment: Segment,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<bool, StoreError> {
        if let Some(root) = segment.branch {
            return self.receive_history(engine, &segment, root, now, out).map(|()| false);
        }
        let (log, end) = (segment.log, segment.first.plus(u64::from(segment.count)));
        self.tell_again(engine, out)?;
        match engine.receive(self.peer, &segment, now) {
            Ok(receipt) => {
                self.flow.holds(log, end);
                self.counters.received += receipt.received;
                let mut outcomes: BTreeMap<LogId, Vec<_>> = BTreeMap::from([(log, Vec::new())]);
                if log.device == self.peer && receipt.received < u64::from(segment.count) {
                    // Another device brought them before, so that their author has not heard what became of them.
                    outcomes.insert(log, engine.outcomes_of(&log, segment.first)?);
                }
                for (log, outcome) in receipt.outcomes {
                    let (state, operation) = (outcome.state, outcome.operation.map(tracing::field::display));
                    tracing::debug!(%log, first = %outcome.first, count = outcome.count, ?state, operation, "judged");
                    outcomes.entry(log).or_default().push(outcome);
                }
                for (log, outcomes) in outcomes {
                    self.acknowledge(engine, log, outcomes, out);
                }
                let governance_grew = receipt.events.contains(&Event::GovernanceChanged);
                if !receipt.events.is_empty() {
                    out.push(Output::Events(receipt.events));
                }
                Ok(governance_grew)
            }
            Err(error) if error.is_early() => {
                tracing::debug!(peer = %self.peer.short(), log = %log, %error, "a segment came early");
                self.keep_early(segment, out);
                Ok(false)
            }
            Err(error) if error.lacks_room() => {
                tracing::debug!(peer = %self.peer.short(), log = %log, %error, "there is no room for a segment");
                if self.early.drop_log(log).is_err() {
                    self.close(CloseCode::Protocol, "more logs than a workspace can have", out);
                }
                Ok(false)
            }
            Err(ReceiveError::Gap { have, .. }) => {
                out.push(Output::Control(Control::Want { log, from: have, branch: None }));
                Ok(false)
            }
            Err(ReceiveError::DoesNotExtend(_)) => {
                self.flow.diverged(log);
                out.extend(self.forks.ask(log, ends_in(&segment)).map(Output::Control));
                Ok(false)
            }
            Err(ReceiveError::Frozen(_)) => {
                self.flow.diverged(log);
                Ok(false)
            }
            Err(error) => self.not_taken(log, error, out).map(|()| false),
        }
    }

    /// A part of a history that was asked for by its root: the next is asked for, until its end is here.
    fn receive_history(
        &mut self,
        engine: &mut Engine,
        segment: &Segment,
        root: Digest,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        let (log, branch) = (segment.log, Some(root));
        let is_last = match engine.receive(self.peer, segment, now) {
            Ok(receipt) => {
                out.push(Output::Events(receipt.events));
                let is_last = ends_in(segment) == root;
                if !is_last && self.forks.is_open(log, root) {
                    out.push(Output::Control(Control::Want { log, from: receipt.size, branch }));
                }
                is_last
            }
            Err(ReceiveError::Gap { have, .. }) => {
                if self.forks.is_open(log, root) {
                    out.push(Output::Control(Control::Want { log, from: have, branch }));
                }
                false
            }
            // It fits neither of the histories held, so it proves nothing new.
            Err(ReceiveError::DoesNotExtend(_) | ReceiveError::Frozen(_)) => true,
            // The next session asks again.
            Err(error) if error.is_early() || error.lacks_room() => true,
            Err(error) => return self.not_taken(log, error, out),
        };
        if is_last && self.forks.finish(log, root) {
            // The peer served it, and waits to hear what came of it.
            self.branches_told = engine.branch_count();
            self.say_frontier(engine, out);
        }
        Ok(())
    }

    /// A segment that somebody is to blame for ends the session, and so does a disk that fails.
    fn not_taken(
        &mut self,
        log: LogId,
        error: ReceiveError,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if let ReceiveError::Store(error) = error {
            self.phase = Phase::Closed;
            return Err(error);
        }
        tracing::warn!(peer = %self.peer.short(), log = %log, %error, "a segment was not taken");
        self.close(CloseCode::Protocol, &error.to_string(), out);
        // A finding says so already.
        self.breach = None;
        Ok(())
    }

    fn keep_early(&mut self, segment: Segment, out: &mut Vec<Output>) {
        if self.early.put(segment).is_err() {
            self.close(CloseCode::Protocol, "more segments than the window allows", out);
        }
    }

    fn retry_early(
        &mut self,
        engine: &mut Engine,
        now: UnixMicros,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        let mut again = !self.early.is_empty();
        while again {
            again = false;
            for (log, mut queue) in self.early.take() {
                while let Some(segment) = queue.pop_front() {
                    again |= self.receive(engine, segment, now, out)?;
                    if self.early.holds(&log) {
                        break;
                    }
                }
                if self.early.put_back(queue).is_err() {
                    self.close(CloseCode::Protocol, "more segments than the window allows", out);
                }
            }
            again &= !self.early.is_empty() && !self.is_closed();
        }
        for log in self.early.now_known(|log| engine.has_room_for(log)) {
            let from = engine.size_of_log(&log);
            out.push(Output::Control(Control::Want { log, from, branch: None }));
        }
        Ok(())
    }

    fn wanted(
        &mut self,
        engine: &mut Engine,
        log: LogId,
        from: LogSeq,
        branch: Option<Digest>,
        out: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if let Some(root) = branch {
            self.flow.diverged(log);
            if !self.forks.serve(log, root, from) {
                self.close(CloseCode::Protocol, "the same history was asked for again and again", out);
                return Ok(());
            }
            let exact = engine.history_with(&log, root);
            let history = exact.or_else(|| self.forks.told(log, root));
            let size = history.map_or(LogSeq(0), |no| engine.size_of_history(no));
            let Some(no) = history.filter(|_| exact.is_some() || from < size) else {
                // All of what had that root was sent, or it was never told of: it ends in another root by now.
                self.say_frontier(engine, out);
                return Ok(());
            };
            // Whoever has more than all of it gets its end again: it shows which history that is.
            let from = from.min(LogSeq(size.0.saturating_sub(1)));
            let segment = engine.segment_of(no, &log, from, branch)?;
            out.extend(segment.map(|segment| Output::Segment(Box::new(segment))));
            return Ok(());
        }
        if !self.flow.restart(&log, from) {
            self.close(CloseCode::Protocol, "the same entries were asked for again and again", out);
            return Ok(());
        }
        if matches!(self.phase, Phase::Comparing) {
            // Its positions have not come: this log is all that it asked for so far.
            return self.pump_log(engine, log, engine.size_of_log(&log), out);
        }
        self.pump(engine, out)
    }
}

/// The root after the last entry of a segment whose checkpoint was verified.
fn ends_in(segment: &Segment) -> Digest {
    minicbor::decode::<Checkpoint>(&segment.checkpoint).map_or(Digest([0; 32]), |checkpoint| checkpoint.root)
}
