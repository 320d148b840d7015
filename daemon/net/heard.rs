//! When peers were last heard: a link lasts for a while after its peer has gone, and nobody is told of that.

use crate::os;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use syncd_schema::{DeviceId, UnixMicros};

/// How often it is looked whether something came.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A peer that lives is heard at least this often: it answers the dialler's pings, or pings. A little is for the way and for
/// looking once a second.
pub const SILENT_AFTER: Duration = Duration::from_secs(syncd_transport::endpoint::KEEP_ALIVE.as_secs() + 3);

/// When each peer was last heard, since this process began.
#[derive(Debug, Default)]
pub(super) struct Heard(BTreeMap<DeviceId, Last>);

#[derive(Debug)]
struct Last {
    /// Bytes that had come over the link by then. A new link begins with few.
    bytes: u64,
    instant: Instant,
    at: UnixMicros,
}

impl Heard {
    /// Looks at how much has come over a peer's link so far.
    pub(super) fn look(&mut self, device: DeviceId, bytes: u64) {
        let last = || Last { bytes, instant: Instant::now(), at: os::now() };
        match self.0.get_mut(&device) {
            Some(known) if known.bytes == bytes => {}
            Some(known) => *known = last(),
            None => drop(self.0.insert(device, last())),
        }
    }

    /// When a peer was last heard.
    pub(super) fn last(&self, device: &DeviceId) -> Option<UnixMicros> {
        self.0.get(device).map(|last| last.at)
    }

    /// Whether one is silent for longer than any that lives.
    pub(super) fn is_silent(&self, device: &DeviceId) -> bool {
        self.0.get(device).is_some_and(|last| last.instant.elapsed() > SILENT_AFTER)
    }
}
