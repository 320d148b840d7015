//! Links as QUIC gives them: within one stream frames stay in order and none is lost; between streams any order;
//! what is lost is the whole connection, and with it both sessions. Each log has its own stream in each direction,
//! beside the control stream.
//!
//! A *hostile* carrier keeps none of that: it repeats frames and lets them overtake each other inside a stream. No
//! QUIC does so; it proves that a session may close or ask again and never corrupts.

use crate::rng::Rng;
use std::collections::BTreeMap;
use syncd_engine::session::Session;
use syncd_schema::LogId;
use syncd_schema::message::{Control, Segment};

/// One stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Control messages.
    Control,
    /// Segments of a log.
    Log(LogId),
}

/// What travels, as bytes, so that the encoding is travelled too.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A control message.
    Control(Vec<u8>),
    /// A segment.
    Segment(Vec<u8>),
}

impl Frame {
    /// The stream it belongs to and its bytes.
    #[must_use]
    pub fn of_segment(segment: &Segment) -> (Lane, Self) {
        (Lane::Log(segment.log), Self::Segment(segment.to_bytes()))
    }

    /// A control message on its stream.
    #[must_use]
    pub fn of_control(control: &Control) -> (Lane, Self) {
        (Lane::Control, Self::Control(control.to_bytes()))
    }
}

/// How the network is at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The least delay of a frame, in microseconds.
    pub delay: u64,
    /// How much longer it may take.
    pub jitter: u64,
    /// Chance in percent that sending a frame ends the connection.
    pub breaks: u64,
    /// Whether frames repeat and overtake each other inside a stream.
    pub is_hostile: bool,
}

impl Weather {
    /// Nothing goes wrong.
    pub const CALM: Self = Self { delay: 1_000, jitter: 0, breaks: 0, is_hostile: false };

    /// Any weather.
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            delay: 1 + rng.below(50_000) as u64,
            jitter: rng.below(400_000) as u64,
            breaks: if rng.percent(50) { rng.below(6) as u64 } else { 0 },
            is_hostile: rng.percent(15),
        }
    }
}

/// A connection between two devices with a session at each end; end 0 dialled.
#[derive(Debug)]
pub struct Connection {
    /// The devices.
    pub ends: [usize; 2],
    /// Their sessions.
    pub sessions: [Session; 2],
    /// When the last frame of each stream arrives, by receiving end.
    arrivals: BTreeMap<(usize, Lane), u64>,
}

impl Connection {
    /// A fresh connection.
    #[must_use]
    pub const fn new(ends: [usize; 2], sessions: [Session; 2]) -> Self {
        Self { ends, sessions, arrivals: BTreeMap::new() }
    }

    /// When a frame sent now to an end arrives: once, or more often if the carrier is hostile.
    pub fn arrivals(
        &mut self,
        now: u64,
        to: usize,
        lane: Lane,
        weather: &Weather,
        rng: &mut Rng,
    ) -> Vec<u64> {
        let mut draw = || now + weather.delay + rng.below(weather.jitter as usize + 1) as u64;
        if weather.is_hostile {
            let (first, second) = (draw(), draw());
            return if rng.percent(20) { vec![first, second] } else { vec![first] };
        }
        let last = self.arrivals.entry((to, lane)).or_insert(0);
        *last = draw().max(*last);
        vec![*last]
    }

    /// The end at which a device is.
    #[must_use]
    pub fn end_of(&self, device: usize) -> Option<usize> {
        self.ends.iter().position(|end| *end == device)
    }
}
