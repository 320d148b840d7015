//! One device: its keys, its disk, its clock and, while it runs, its engine.
//!
//! It opens and closes engines and remembers what the last engine had on disk, so that a reopened one can be held
//! to it. It knows no network and no other device.

use crate::clock;
use crate::disk::Disk;
use crate::rng::Rng;
use crate::workload::Planned;
use crate::world::Held;
use std::collections::BTreeMap;
use syncd_engine::{Config, Engine, Identity, OpenError};
use syncd_schema::{LogId, UnixMicros};
use zeroize::Zeroizing;

/// How many entries of each log.
pub type Sizes = BTreeMap<LogId, u64>;

/// Which device holds what another one lost, and how much that was.
#[derive(Clone, Debug)]
pub struct Healing {
    /// The peer that has it all.
    pub peer: usize,
    /// This device's own logs as they were.
    pub own: Sizes,
}

/// A device.
pub struct Device {
    /// Its number in the world.
    pub number: usize,
    /// Where its store is.
    pub disk: Disk,
    /// The engine, while it runs.
    pub engine: Option<Engine>,
    /// How far its clock is off, in microseconds.
    pub skew: i64,
    /// What the engine was known to have committed.
    pub known: Sizes,
    /// Older images of its disk, and what they hold.
    pub snapshots: Vec<(Vec<u8>, Sizes)>,
    /// Set after a rollback, until what was lost is back.
    pub healing: Option<Healing>,
    /// Batches whose caller heard no answer, because the disk failed. He asks again with the same keys.
    pub unanswered: Vec<Vec<Planned>>,
    secret: Zeroizing<[u8; 64]>,
    store_key: [u8; 32],
    entropy: Rng,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("number", &self.number)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// A device that has keys and an empty disk.
    #[must_use]
    pub fn new(number: usize, rng: &mut Rng) -> Self {
        let mut entropy = rng.fork();
        Self {
            number,
            disk: Disk::default(),
            engine: None,
            skew: 0,
            known: Sizes::new(),
            snapshots: Vec::new(),
            healing: None,
            unanswered: Vec::new(),
            secret: Identity::generate(&mut entropy),
            store_key: syncd_schema::ports::random(&mut entropy),
            entropy,
        }
    }

    /// The same keys and what is durable on its disk, with other randomness.
    #[must_use]
    pub fn copy(&self, number: usize, rng: &mut Rng) -> Self {
        let mut copy = Self::new(number, rng);
        copy.disk = Disk::holding(self.disk.durable());
        copy.known.clone_from(&self.known);
        copy.secret.clone_from(&self.secret);
        copy.store_key = self.store_key;
        copy
    }

    /// Its keys.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::from_secret(&self.secret)
    }

    /// What an engine needs. Each one draws other randomness, as the operating system would give.
    pub fn config(&mut self) -> Config {
        Config {
            location: self.disk.location(),
            store_key: Zeroizing::new(self.store_key),
            identity: self.identity(),
            entropy: Box::new(self.entropy.fork()),
            policy: None,
        }
    }

    /// Starts the engine on what the disk holds.
    ///
    /// # Errors
    /// As the engine's.
    pub fn open(&mut self) -> Result<(), OpenError> {
        let config = self.config();
        self.engine = Some(Engine::open(config)?);
        Ok(())
    }

    /// The tokens that its store holds.
    ///
    /// # Errors
    /// When what is durable is no store.
    pub fn stored_tokens(&self) -> Held<BTreeMap<String, &'static str>> {
        crate::stored::tokens_in(self.disk.durable(), self.store_key)
    }

    /// Its clock.
    #[must_use]
    pub fn wall(&self, now: u64) -> UnixMicros {
        clock::wall(now, self.skew)
    }

    /// Entries of each log the engine holds now.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let sizes = self.engine.iter().flat_map(Engine::log_sizes);
        sizes.map(|(log, size)| (log, size.0)).collect()
    }

    /// Whether it runs and may write.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.engine.is_some() && self.healing.is_none() && self.unanswered.is_empty()
    }

    /// What of `expected` is missing from the logs held here.
    #[must_use]
    pub fn missing(&self, expected: &Sizes) -> Vec<String> {
        let sizes = self.sizes();
        let has = |log: &LogId| sizes.get(log).copied().unwrap_or(0);
        let behind = expected.iter().filter(|(log, size)| has(log) < **size);
        behind.map(|(log, size)| format!("log {log} has {} of {size} entries", has(log))).collect()
    }
}
