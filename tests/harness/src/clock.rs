//! Virtual time and what happens when: a queue ordered by (time, sequence), so that two events of one instant happen
//! in the order in which they were planned. No threads, no sleeping, no real clock.

use std::collections::BTreeMap;
use syncd_schema::UnixMicros;

/// The wall clock of the world's first moment.
pub const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

/// One year of jumping clocks.
pub const YEAR: i64 = 365 * 86_400 * 1_000_000;

/// Time and the events that wait for it.
#[derive(Debug)]
pub struct Queue<E> {
    now: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { now: 0, sequence: 0, events: BTreeMap::new() }
    }
}

impl<E> Queue<E> {
    /// Microseconds since the world began.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// Plans an event; what lies in the past happens now.
    pub fn at(&mut self, time: u64, event: E) {
        self.sequence += 1;
        self.events.insert((time.max(self.now), self.sequence), event);
    }

    /// Plans an event `delay` microseconds from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// The next event up to `until`, with time moved to it; without one, time moves to `until`.
    pub fn next_until(&mut self, until: u64) -> Option<E> {
        match self.events.first_key_value() {
            Some(((time, _), _)) if *time <= until => {
                self.now = self.now.max(*time);
                self.events.pop_first().map(|(_, event)| event)
            }
            _ => {
                self.now = self.now.max(until);
                None
            }
        }
    }

    /// The next event whenever it is.
    pub fn next_any(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = self.now.max(time);
        Some(event)
    }
}

/// The wall clock of a device whose clock is off by `skew` microseconds.
#[must_use]
pub fn wall(now: u64, skew: i64) -> UnixMicros {
    UnixMicros(START.0.saturating_add(now).saturating_add_signed(skew))
}
