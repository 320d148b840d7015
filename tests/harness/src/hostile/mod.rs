//! A member who lies: it has a membership and keys, signs correctly, and does what no honest program does.
//!
//! It has no engine. It writes its logs by hand ([`quill`]), reads what it needs to lie well from the device that it
//! talks to, and speaks the session's protocol in bytes ([`mod@line`]). What it can say is in [`lies`]; what must hold of
//! honest devices whatever it says is in [`bounds`].

pub mod bounds;
pub mod lies;
pub mod line;
pub mod quill;
pub mod scenario;

use crate::rng::Rng;
use quill::{Hand, Quill};
use std::collections::{BTreeMap, BTreeSet};
use syncd_engine::session::{Input, Session};
use syncd_engine::store::seal::SealKey;
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Engine, Identity};
use syncd_schema::{DeviceId, Digest, Entropy, Epoch, LogId, UnixMicros, WorkspaceId};
use zeroize::Zeroizing;

/// What a member can lie about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Payloads that are not what entries sign, on the way.
    OtherPayload,
    /// Payloads that are what entries sign, and no changes, births, resolutions or acts.
    BrokenPayload,
    /// Another history of a log for every device, and others from places in these.
    Fork,
    /// Segments that begin behind the end of the log, and positions that nobody holds.
    Skip,
    /// One log after the other.
    Epochs,
    /// Kinds of entries that there are not.
    UnknownKind,
    /// Very many objects.
    TinyObjects,
    /// Objects and changes as large as may be, and larger.
    Enormous,
    /// Governance that does not exist, that goes back, or that is said in another way with each entry.
    NoGovernance,
    /// Requirements that never come, few in each segment.
    NoRequirement,
    /// Answers to questions that nobody asked.
    NothingToAnswer,
    /// Clocks years off.
    Clocks,
    /// What was said in another workspace.
    OtherWorkspace,
    /// Payloads that it keeps to itself.
    Withheld,
    /// Two changes of one session with one number.
    TwoOfOne,
}

impl Lie {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::OtherPayload,
        Self::BrokenPayload,
        Self::Fork,
        Self::Skip,
        Self::Epochs,
        Self::UnknownKind,
        Self::TinyObjects,
        Self::Enormous,
        Self::NoGovernance,
        Self::NoRequirement,
        Self::NothingToAnswer,
        Self::Clocks,
        Self::OtherWorkspace,
        Self::Withheld,
        Self::TwoOfOne,
    ];
}

/// The liar.
#[derive(Debug)]
pub struct Liar {
    /// What it signs and seals with.
    pub hand: Hand,
    /// The histories that it has written, of each log as many as it likes. The first is the one it goes on with.
    pub histories: Vec<Quill>,
    /// Its sessions with honest devices, at their end.
    pub lines: BTreeMap<usize, Session>,
    /// How often it told which lie.
    pub told: BTreeMap<Lie, u64>,
    /// How much of everything: objects, entries and epochs of one lie.
    pub scale: usize,
    /// Bytes of a large value.
    pub large: usize,
    /// Whether what it forks is about objects of others too.
    pub divides: bool,
    /// Another workspace, which it owns.
    other: Engine,
    /// The governance under which it was let in.
    oldest: Vec<Digest>,
    drawn: u64,
}

impl Liar {
    /// A liar that was let in.
    pub(crate) fn new(
        secret: &Zeroizing<[u8; 64]>,
        engine: &Engine,
        welcome: &Welcome,
        now: UnixMicros,
        mut rng: Rng,
    ) -> Self {
        let identity = Identity::from_secret(secret);
        let key = identity.unwrap_key(&engine.workspace(), &welcome.keys[0]).expect("its key");
        let log = LogId { workspace: engine.workspace(), device: identity.device(), epoch: Epoch(0) };
        let mut session = [0; 16];
        rng.fill(&mut session);
        let mut first = Quill::new(log, now, session);
        first.governance.clone_from(&engine.governance().heads);
        let other = other_workspace(secret, rng.fork(), now);
        let mut liar = Self {
            hand: Hand { key: SealKey::from_bytes(key), rng, identity },
            other,
            histories: vec![first],
            lines: BTreeMap::new(),
            told: BTreeMap::new(),
            scale: 8,
            large: 20_000,
            divides: false,
            oldest: engine.governance().heads.clone(),
            drawn: 0,
        };
        let begin = liar.histories[0].begin();
        liar.histories[0].append(&[begin], &mut liar.hand);
        liar
    }

    /// Its name.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.hand.identity.device()
    }

    /// Where it lies.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.histories[0].log.workspace
    }

    /// What a device lacks of the log that the liar goes on with, each segment once.
    #[must_use]
    pub fn missing_at(&self, engine: &Engine) -> Vec<Input> {
        let quill = &self.histories[0];
        let held = engine.size_of_log(&quill.log);
        let ends_later = |segment: &&_| end_of(segment) > held.0;
        let missing = quill.sent.iter().filter(ends_later);
        missing.map(|segment| Input::Segment(Box::new(segment.clone()))).collect()
    }

    /// The logs of which it wrote more than one history.
    #[must_use]
    pub fn forked(&self) -> BTreeSet<Epoch> {
        let differ = |one: &Quill, other: &Quill| one.sent.iter().zip(&other.sent).any(|(a, b)| a != b);
        let mut forked = BTreeSet::new();
        for (n, quill) in self.histories.iter().enumerate() {
            let mut before = self.histories.iter().take(n).filter(|other| other.log == quill.log);
            if before.any(|other| differ(other, quill)) {
                forked.insert(quill.log.epoch);
            }
        }
        forked
    }

    /// A name that it has not used.
    fn name(&mut self) -> String {
        self.drawn += 1;
        format!("lie-{}", self.drawn)
    }
}

fn end_of(segment: &syncd_schema::message::Segment) -> u64 {
    segment.first.plus(u64::from(segment.count)).0
}

/// A workspace of the liar's own, with something in it.
fn other_workspace(secret: &Zeroizing<[u8; 64]>, mut rng: Rng, now: UnixMicros) -> Engine {
    let config = Config {
        location: crate::disk::Disk::default().location(),
        store_key: Zeroizing::new([7; 32]),
        identity: Identity::from_secret(secret),
        entropy: Box::new(rng.fork()),
        policy: None,
    };
    let mut engine = Engine::create(config, "elsewhere", now).expect("a workspace");
    let mut workload = crate::workload::Workload::default();
    for n in 0..3 {
        let planned = workload.put(&format!("other-{n}"), "elsewhere");
        let (answers, _) = engine.write(&[planned.request], now).expect("written");
        answers.into_iter().for_each(|answer| drop(answer.expect("written")));
    }
    engine
}
