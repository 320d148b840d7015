//! The world: devices, connections, time, and the loop that carries frames between sessions.
//!
//! One thread and one queue; the next event is always the earliest. After every step of an engine the cheap
//! invariants are looked at. What devices go through is in [`crate::life`], what they write in
//! [`crate::writing`], what must hold in [`crate::checks`]; scripts are in [`crate::scenario`].

use crate::clock::Queue;
use crate::device::Device;
use crate::hostile::Liar;
use crate::model::Model;
use crate::network::{Connection, Frame, Lane, Weather};
use crate::rng::Rng;
use crate::trace::Trace;
use crate::workload::Workload;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use syncd_engine::Event as EngineEvent;
use syncd_engine::session::{Input, Output, Session};
use syncd_schema::DeviceId;
use syncd_schema::message::{Control, Segment};

/// Segments kept to be replayed at the end.
const RECORDED: usize = 400;
/// Events between two steps of a script: a whole script has a tenth of it, so more means that somebody answers an
/// answer.
const EVENTS: usize = 20_000;
/// A session that a peer refused is tried again after this long.
const REDIAL: u64 = 2_000_000;

/// What must hold and does not.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            text.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        Self(text)
    }
}

/// The result of everything that can break a promise.
pub type Held<T = ()> = Result<T, Failure>;

/// What waits for its time.
#[derive(Debug)]
pub enum Event {
    /// A frame arrives at an end of a connection.
    Arrives(u64, usize, Frame),
    /// A connection breaks.
    Breaks(u64),
    /// Two devices try to connect.
    Dials(usize, usize),
    /// A device that was killed starts again.
    Restarts(usize),
}

/// Counts, for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Frames delivered.
    pub frames: u64,
    /// Connections opened.
    pub connections: u64,
    /// Intents acknowledged.
    pub acked: u64,
    /// Intents refused or impossible.
    pub denied: u64,
    /// Answers to cards that were tried.
    pub decided: u64,
    /// Objects that somebody tried to let begin anew.
    pub renewed: u64,
    /// Answers to cards about late work that were tried.
    pub answered: u64,
    /// Intents that are shown as late work in the end.
    pub late: u64,
    /// Intents that were dropped by somebody who had seen them.
    pub dropped: u64,
    /// Devices killed.
    pub crashes: u64,
    /// Stores rolled back.
    pub rollbacks: u64,
    /// Calls that heard no answer and were repeated.
    pub repeated: u64,
    /// Sessions that one side closed.
    pub closed: u64,
    /// Concurrent writes that are shown as sides of a contradiction.
    pub contested: u64,
    /// Lies that were told.
    pub lies: u64,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    /// Where it all comes from.
    pub rng: Rng,
    /// Time and what waits for it.
    pub queue: Queue<Event>,
    /// The devices; 0 owns the workspace.
    pub devices: Vec<Device>,
    /// A member who lies, if there is one.
    pub liar: Option<Box<Liar>>,
    /// Open connections.
    pub connections: BTreeMap<u64, Connection>,
    /// Pairs that cannot reach each other, smaller number first.
    pub cut: BTreeSet<(usize, usize)>,
    /// How the network is.
    pub weather: Weather,
    /// What was promised to whom.
    pub model: Model,
    /// Draws requests.
    pub workload: Workload,
    /// What happened.
    pub trace: Trace,
    /// Segments that travelled, with their senders.
    pub recorded: Vec<(DeviceId, Segment)>,
    /// Counts.
    pub stats: Stats,
    /// How many of a hundred steps let an object begin anew, or drop late work.
    pub erases: u64,
    /// Whether devices that lost each other dial again by themselves.
    pub redials: bool,
    next_connection: u64,
    net: Rng,
}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let net = rng.fork();
        Self {
            rng,
            queue: Queue::default(),
            devices: Vec::new(),
            liar: None,
            connections: BTreeMap::new(),
            cut: BTreeSet::new(),
            weather: Weather::CALM,
            model: Model::default(),
            workload: Workload::default(),
            trace,
            recorded: Vec::new(),
            stats: Stats::default(),
            erases: 1,
            redials: true,
            next_connection: 0,
            net,
        }
    }

    /// Adds a line to the trace.
    pub fn log(&self, text: impl AsRef<str>) {
        self.trace.line(self.queue.now(), text.as_ref());
    }

    /// Lets `micros` pass with everything that happens in them.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn pass(&mut self, micros: u64) -> Held {
        let until = self.queue.now() + micros;
        for _ in 0..EVENTS {
            match self.queue.next_until(until) {
                Some(event) => self.happen(event)?,
                None => return Ok(()),
            }
        }
        Err(Failure("LIVELOCK: sessions never stop talking".to_owned()))
    }

    /// Lets everything happen that waits; only sensible when nobody dials again.
    ///
    /// # Errors
    /// When a promise is broken, or it never ends.
    pub fn drain(&mut self) -> Held {
        for _ in 0..EVENTS {
            match self.queue.next_any() {
                Some(event) => self.happen(event)?,
                None => return Ok(()),
            }
        }
        Err(Failure("LIVELOCK: sessions never stop talking".to_owned()))
    }

    fn happen(&mut self, event: Event) -> Held {
        match event {
            Event::Arrives(connection, end, frame) => self.arrive(connection, end, frame),
            Event::Breaks(connection) => {
                self.disconnect(connection, "breaks");
                Ok(())
            }
            Event::Dials(a, b) => self.dial(a, b),
            Event::Restarts(device) => self.restart(device),
        }
    }

    /// Opens a connection if both are there and may talk.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn dial(&mut self, a: usize, b: usize) -> Held {
        let pair = (a.min(b), a.max(b));
        let talking = self.connections.values().any(|c| c.end_of(a).is_some() && c.end_of(b).is_some());
        let kept_apart = |one: usize, other: usize| {
            self.devices[one].healing.as_ref().is_some_and(|healing| healing.peer != other)
        };
        let apart = self.cut.contains(&pair) || kept_apart(a, b) || kept_apart(b, a);
        let (Some(left), Some(right)) = (&self.devices[a].engine, &self.devices[b].engine) else {
            return Ok(());
        };
        if talking || apart || a == b {
            return Ok(());
        }
        let mut session = Session::new(right.device(), true);
        let first = session.start(left);
        let sessions = [session, Session::new(left.device(), false)];
        let number = self.next_connection;
        self.next_connection += 1;
        self.stats.connections += 1;
        self.log(format!("connection {number}: device {a} dials device {b}"));
        self.connections.insert(number, Connection::new([a, b], sessions));
        self.carry_out(number, 0, first)
    }

    /// Ends a connection; both sides notice at once, and dial again later.
    pub fn disconnect(&mut self, number: u64, why: &str) {
        if let Some(mut connection) = self.connections.remove(&number) {
            self.log(format!("connection {number} {why}"));
            for (session, device) in connection.sessions.iter_mut().zip(connection.ends) {
                let now = self.devices[device].wall(self.queue.now());
                let Some(engine) = &mut self.devices[device].engine else { continue };
                if let Err(error) = session.end(engine, now) {
                    self.log(format!("device {device} cannot note what was not acknowledged: {error}"));
                }
            }
            if self.redials {
                let [a, b] = connection.ends;
                let delay = REDIAL + self.net.below(REDIAL as usize) as u64;
                self.queue.after(delay, Event::Dials(a, b));
            }
        }
    }

    /// Ends all connections of a device.
    pub fn disconnect_all(&mut self, device: usize) {
        if let Some(liar) = &mut self.liar {
            liar.lines.remove(&device);
        }
        let of_device = |(number, c): (&u64, &Connection)| c.end_of(device).is_some().then_some(*number);
        let numbers: Vec<u64> = self.connections.iter().filter_map(of_device).collect();
        for number in numbers {
            self.disconnect(number, "ends");
        }
    }

    fn arrive(&mut self, number: u64, end: usize, frame: Frame) -> Held {
        if !self.connections.contains_key(&number) {
            return Ok(());
        }
        self.stats.frames += 1;
        let input = match frame {
            Frame::Control(bytes) => Input::Control(Control::from_bytes(&bytes)?),
            Frame::Segment(bytes) => Input::Segment(Box::new(Segment::from_bytes(&bytes)?)),
        };
        self.step(number, end, input)
    }

    /// One step of one session, and the invariants after it.
    fn step(&mut self, number: u64, end: usize, input: Input) -> Held {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(()) };
        let device = connection.ends[end];
        let now = self.devices[device].wall(self.queue.now());
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        match connection.sessions[end].handle(engine, input, now) {
            Ok(outputs) => {
                self.look_at(device)?;
                self.carry_out(number, end, outputs)
            }
            Err(error) => {
                self.log(format!("device {device}: the session of connection {number} ends: {error}"));
                self.disk_failed(device)?;
                self.disconnect(number, "ends, a disk failed");
                Ok(())
            }
        }
    }

    fn carry_out(&mut self, number: u64, end: usize, outputs: Vec<Output>) -> Held {
        let mut grew = false;
        for output in outputs {
            match output {
                Output::Control(control) => {
                    let (lane, frame) = Frame::of_control(&control);
                    if !matches!(control, Control::Ack { .. }) {
                        self.log(format!("connection {number} end {end} says {}", brief(&control)));
                    }
                    self.send(number, end, lane, &frame);
                }
                Output::Segment(segment) => {
                    let (lane, frame) = Frame::of_segment(&segment);
                    self.log(format!("connection {number} end {end} sends {}", brief_segment(&segment)));
                    self.record(number, end, *segment);
                    self.send(number, end, lane, &frame);
                }
                Output::Events(events) => grew |= grows(&events),
                Output::Close(code, text) => {
                    self.stats.closed += 1;
                    self.log(format!("connection {number} end {end} closes: {code:?}, {text}"));
                    // The other side still hears why.
                    self.queue.after(self.weather.delay + self.weather.jitter + 1, Event::Breaks(number));
                }
            }
        }
        let device = self.connections.get(&number).map(|connection| connection.ends[end]);
        if let (true, Some(device)) = (grew, device) {
            self.tell_sessions(device, Some(number))?;
        }
        Ok(())
    }

    /// Tells the sessions of a device that its logs grew, except the one that made them grow.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn tell_sessions(&mut self, device: usize, except: Option<u64>) -> Held {
        let ends = |(number, c): (&u64, &Connection)| c.end_of(device).map(|end| (*number, end));
        let others: VecDeque<(u64, usize)> = self.connections.iter().filter_map(ends).collect();
        for (number, end) in others {
            if Some(number) != except {
                self.step(number, end, Input::Grew)?;
            }
        }
        self.tell_liar(device)
    }

    fn send(&mut self, number: u64, from: usize, lane: Lane, frame: &Frame) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let to = 1 - from;
        for time in connection.arrivals(self.queue.now(), to, lane, &self.weather, &mut self.net) {
            self.queue.at(time, Event::Arrives(number, to, frame.clone()));
        }
        if self.net.percent(self.weather.breaks) {
            let delay = self.net.below((self.weather.delay + self.weather.jitter) as usize * 2) as u64;
            self.queue.after(delay, Event::Breaks(number));
        }
    }

    fn record(&mut self, number: u64, end: usize, segment: Segment) {
        let Some(connection) = self.connections.get(&number) else { return };
        let from = connection.sessions[1 - end].peer();
        if self.recorded.len() < RECORDED {
            self.recorded.push((from, segment));
        }
    }
}

/// Whether sessions must hear of these events.
pub(crate) fn grows(events: &[EngineEvent]) -> bool {
    events.iter().any(|event| matches!(event, EngineEvent::LogGrew(_) | EngineEvent::GovernanceChanged))
}

fn brief(control: &Control) -> String {
    match control {
        Control::Hello(hello) => format!("hello, {} entries", hello.entries),
        Control::Frontier(positions) => {
            let each = positions.iter().map(|p| {
                let mark = if p.branch { "!" } else { "" };
                format!("{}/{}:{}{mark}", p.log.device.short(), p.log.epoch.0, p.size)
            });
            format!("frontier {}", each.collect::<Vec<_>>().join(" "))
        }
        Control::Want { log, from, branch } => {
            let root = branch.map_or_else(|| "held".to_owned(), |root| root.short());
            format!("want {}/{} from {from}, root {root}", log.device.short(), log.epoch.0)
        }
        other => format!("{other:?}"),
    }
}

fn brief_segment(segment: &Segment) -> String {
    let (log, end) = (segment.log, segment.first.plus(u64::from(segment.count)));
    let mark = if segment.branch.is_some() { ", branch" } else { "" };
    format!("{}/{} {}..{end}{mark}", log.device.short(), log.epoch.0, segment.first)
}
