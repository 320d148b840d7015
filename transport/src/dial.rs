//! Getting to a device: its addresses tried at once, when to try again, and which of two links to keep.
//!
//! The tables are pure: randomness comes in as a number and time is the caller's.

use crate::endpoint::{ConnectError, Endpoint};
use crate::link::{Link, Purpose};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use syncd_schema::DeviceId;
use tokio::task::JoinSet;

/// Addresses of one device that are tried: the most a host has in practice, and no more, since who lists a
/// thousand would have us flood them.
pub const ADDRESSES: usize = 16;
/// The first pause after a failure: a daemon that was just restarted is back by then.
pub const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: how long two devices that meet again wait at most, when nothing else tells them.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why no address led to the device.
#[derive(Debug)]
pub struct ConnectAnyError {
    /// The device that was wanted.
    pub expected: DeviceId,
    /// What happened at each address.
    pub attempts: Vec<ConnectError>,
}

impl fmt::Display for ConnectAnyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.expected.short();
        match self.attempts.as_slice() {
            [] => write!(f, "no address of device {device} is known; give one, or wait until it is seen"),
            [one] => one.fmt(f),
            several => {
                write!(f, "device {device} was found at none of {} addresses", several.len())?;
                several.iter().try_for_each(|attempt| write!(f, "; {attempt}"))
            }
        }
    }
}

impl std::error::Error for ConnectAnyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.attempts.as_slice() {
            [one] => std::error::Error::source(one),
            _ => None,
        }
    }
}

impl Endpoint {
    /// Dials all addresses at once; the first at which the expected device proves itself wins, the others are
    /// given up. Beyond [`ADDRESSES`] they are left out.
    ///
    /// # Errors
    /// When none leads to it: what happened at each.
    pub async fn connect_any(
        &self,
        addrs: &[SocketAddr],
        expected: DeviceId,
        purpose: Purpose,
    ) -> Result<Link, ConnectAnyError> {
        let mut addrs: Vec<SocketAddr> = addrs.to_vec();
        addrs.sort_unstable();
        addrs.dedup();
        let mut race = JoinSet::new();
        for addr in addrs.into_iter().take(ADDRESSES) {
            let endpoint = self.clone();
            race.spawn(async move { endpoint.connect(addr, expected, purpose).await });
        }
        let mut attempts = Vec::new();
        while let Some(outcome) = race.join_next().await {
            match outcome {
                // Dropping the set ends the others, also those that have a connection already.
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => attempts.push(error),
                // A task that was cancelled has nothing to tell.
                Err(_) => {}
            }
        }
        Err(ConnectAnyError { expected, attempts })
    }
}

/// How long to wait before dialling again after `attempt` failures in a row (0 for the first): doubling from
/// [`FIRST_PAUSE`] to [`LONGEST_PAUSE`], and of that between half and all, as `jitter` (any random number) says,
/// so that devices which lost each other at one moment do not return at one moment.
#[must_use]
pub fn backoff(attempt: u32, jitter: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(attempt).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
    let half = full / 2;
    half + half.mul_f64(f64::from(jitter) / f64::from(u32::MAX))
}

/// When two devices dialled each other at the same moment, both keep the link that this one dialled: the smaller
/// id, so that they agree without talking.
#[must_use]
pub fn dialler_to_keep(ours: DeviceId, theirs: DeviceId) -> DeviceId {
    ours.min(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let table = [(0, 500), (1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000), (5, 16_000), (6, 32_000)];
        for (attempt, millis) in table {
            assert_eq!(backoff(attempt, u32::MAX), Duration::from_millis(millis), "attempt {attempt}");
            assert_eq!(backoff(attempt, 0), Duration::from_millis(millis / 2), "attempt {attempt}");
        }
        for attempt in [7, 8, 31, 32, 33, u32::MAX] {
            assert_eq!(backoff(attempt, u32::MAX), LONGEST_PAUSE, "attempt {attempt}");
        }
        let middle = backoff(3, u32::MAX / 2);
        assert!(middle > Duration::from_millis(2_990) && middle < Duration::from_millis(3_010));
    }

    #[test]
    fn both_sides_keep_the_same_link() {
        let (a, b) = (DeviceId([1; 32]), DeviceId([2; 32]));
        assert_eq!(dialler_to_keep(a, b), dialler_to_keep(b, a));
        assert_eq!(dialler_to_keep(a, b), a);
    }

    #[test]
    fn errors_say_what_happened_where() {
        let expected = DeviceId([1; 32]);
        let none = ConnectAnyError { expected, attempts: Vec::new() };
        assert!(none.to_string().contains("no address"));
        let addr = SocketAddr::from(([127, 0, 0, 1], 9));
        let two = vec![ConnectError::Timeout(addr), ConnectError::Myself(addr)];
        let text = ConnectAnyError { expected, attempts: two }.to_string();
        assert!(text.contains("2 addresses") && text.contains("nobody answers at 127.0.0.1:9"), "{text}");
    }
}
