//! Engines in memory, and a cable between two of them.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each test file uses a part of it, and stops at the first thing that is not as it should be"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::log::{LogRecord, run};
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::store::seal::SealKey;
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Engine, Identity, Intent, Location, WriteError, WriteRequest, Written};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Checkpoint, Tree};
use syncd_schema::entry::{ENTRY_VERSION, Subject};
use syncd_schema::message::Segment;
use syncd_schema::{
    Digest, Entropy, Entry, EntryKind, Epoch, Incarnation, LogId, LogSeq, Manifest, OperationId, Role,
    UnixMicros,
};
use zeroize::Zeroizing;

/// Randomness that repeats: a SHA-256 chain over a seed.
pub struct Seeded(pub [u8; 32]);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(syncd_schema::domain::hash("test", &[&seed.to_be_bytes()]).0)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 = syncd_schema::domain::hash("test", &[&self.0]).0;
            let out = syncd_schema::domain::hash("out", &[&self.0]).0;
            chunk.copy_from_slice(&out[..chunk.len()]);
        }
    }
}

/// A store in memory whose content outlives the engine, so that it can be opened again.
#[derive(Clone, Debug, Default)]
pub struct Disk(pub Arc<std::sync::Mutex<Vec<u8>>>);

impl redb::StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        out.copy_from_slice(&self.0.lock().unwrap()[offset as usize..offset as usize + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.lock().unwrap()[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }
}

pub fn identity(seed: u64) -> Identity {
    Identity::from_secret(&Identity::generate(&mut Seeded::new(seed)))
}

pub fn config(seed: u64, disk: &Disk) -> Config {
    let disk = disk.clone();
    Config {
        location: Location::Backend(Arc::new(move || Box::new(disk.clone()))),
        store_key: Zeroizing::new([seed as u8; 32]),
        identity: identity(seed),
        entropy: Box::new(Seeded::new(seed.wrapping_mul(1_000_003))),
        policy: None,
    }
}

pub const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

pub fn owner(seed: u64) -> (Engine, Disk) {
    let disk = Disk::default();
    (Engine::create(config(seed, &disk), "desk", START).expect("a new workspace"), disk)
}

pub fn member(owner: &mut Engine, seed: u64, role: Role) -> (Engine, Disk) {
    let disk = Disk::default();
    let identity = identity(seed);
    let (welcome, _) = owner
        .enrol(
            identity.device(),
            &format!("device-{seed}"),
            role,
            identity.key_agreement(),
            &identity.key_signature(&owner.workspace()),
            START,
        )
        .expect("enrolled");
    let welcome = Welcome::from_bytes(&welcome.to_bytes()).expect("a welcome");
    let engine =
        Engine::join(config(seed, &disk), owner.workspace(), owner.device(), &welcome).expect("joined");
    (engine, disk)
}

pub fn user() -> syncd_schema::Actor {
    "user:ada".parse().expect("an actor")
}

pub fn write(engine: &mut Engine, intent: Intent, now: UnixMicros) -> Result<Written, WriteError> {
    engine.write(&[WriteRequest::new(user(), intent)], now).expect("the disk works").0.remove(0)
}

pub fn put(engine: &mut Engine, id: &str, value: serde_json::Value, now: UnixMicros) -> Written {
    let intent =
        Intent::Put { collection: "notes".parse().unwrap(), object: Some(id.parse().unwrap()), value };
    write(engine, intent, now).expect("put")
}

pub fn merge_patch(engine: &mut Engine, id: &str, value: serde_json::Value, now: UnixMicros) -> Written {
    let edit = syncd_engine::Edit::MergePatch(value);
    write(engine, Intent::Edit { object: id.parse().unwrap(), base: None, edit }, now).expect("edited")
}

pub fn value(engine: &mut Engine, id: &str) -> serde_json::Value {
    engine.get(&id.parse().unwrap()).expect("readable").map_or(serde_json::Value::Null, |view| view.value)
}

/// What a cable carried.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub messages: usize,
    pub bytes: usize,
    pub round_trips: usize,
}

/// Connects two engines, lets their sessions talk until nothing is left to say, and reports what was carried.
pub fn sync(a: &mut Engine, b: &mut Engine, now: UnixMicros) -> Traffic {
    let mut left = Session::new(b.device(), true);
    let mut right = Session::new(a.device(), false);
    let mut traffic = Traffic::default();
    let mut to_right: VecDeque<Output> = left.start(a).into();
    let mut to_left: VecDeque<Output> = VecDeque::new();
    while !(to_right.is_empty() && to_left.is_empty()) {
        traffic.round_trips += 1;
        for output in std::mem::take(&mut to_right) {
            carry(output, &mut right, b, now, &mut to_left, &mut traffic);
        }
        for output in std::mem::take(&mut to_left) {
            carry(output, &mut left, a, now, &mut to_right, &mut traffic);
        }
    }
    assert!(left.is_quiet(a), "left: {left:?}");
    assert!(right.is_quiet(b), "right: {right:?}");
    traffic
}

fn carry(
    output: Output,
    session: &mut Session,
    engine: &mut Engine,
    now: UnixMicros,
    back: &mut VecDeque<Output>,
    traffic: &mut Traffic,
) {
    let input = match output {
        Output::Control(message) => {
            let bytes = message.to_bytes();
            traffic.bytes += bytes.len();
            Input::Control(syncd_schema::message::Control::from_bytes(&bytes).expect("a message"))
        }
        Output::Segment(segment) => {
            let bytes = segment.to_bytes();
            traffic.bytes += bytes.len();
            Input::Segment(Box::new(syncd_schema::message::Segment::from_bytes(&bytes).expect("a segment")))
        }
        Output::Events(_) | Output::Close(..) => return,
    };
    traffic.messages += 1;
    back.extend(session.handle(engine, input, now).expect("the disk works"));
}

/// A member whose entries are made by hand, honest or not: it has the keys a member has, and no engine.
pub struct Hand {
    pub identity: Identity,
    pub key: SealKey,
    pub log: LogId,
    pub tree: Tree,
    /// The governance its next entries name.
    pub governance: Vec<Digest>,
    /// The time of its next entry.
    pub time: UnixMicros,
    pub session: [u8; 16],
    pub entropy: Seeded,
}

impl Hand {
    pub fn enrolled(owner: &mut Engine, seed: u64, role: Role) -> Self {
        let identity = identity(seed);
        let signature = identity.key_signature(&owner.workspace());
        let (welcome, _) = owner
            .enrol(identity.device(), "hand", role, identity.key_agreement(), &signature, START)
            .expect("enrolled");
        let key = identity.unwrap_key(&owner.workspace(), &welcome.keys[0]).expect("its key");
        let log = LogId { workspace: owner.workspace(), device: identity.device(), epoch: Epoch(0) };
        Self {
            identity,
            key: SealKey::from_bytes(key),
            log,
            tree: Tree::default(),
            governance: owner.governance().heads.clone(),
            time: START.plus(5_000_000),
            session: [seed as u8; 16],
            entropy: Seeded::new(seed + 77),
        }
    }

    /// The Automerge actor of its session.
    pub fn actor(&self) -> [u8; 16] {
        let epoch = self.log.epoch.0.to_be_bytes();
        let parts: [&[u8]; 4] = [&self.log.workspace.0, &self.log.device.0, &epoch, &self.session];
        syncd_schema::domain::hash("actor", &parts).0[..16].try_into().expect("16 bytes")
    }

    /// The next entry, its payload as it should be.
    pub fn record(&mut self, kind: EntryKind, subject: Option<Subject>, payload: &[u8]) -> LogRecord {
        self.time = self.time.plus(1_000);
        let entry = Entry {
            version: ENTRY_VERSION,
            kind,
            operation: OperationId::at(self.time, 7),
            time: self.time,
            actor: user(),
            subject,
            idempotency_key: None,
            replay_safe: false,
            payload_digest: syncd_schema::domain::sha256(payload),
            payload_len: payload.len() as u32,
            requires: Vec::new(),
            seen: Vec::new(),
            governance: self.governance.clone(),
            base: None,
            note: None,
        };
        LogRecord { entry, payload: Some(payload.to_vec()) }
    }

    pub fn session(&mut self) -> LogRecord {
        let session = self.session;
        self.record(EntryKind::SESSION, None, &session)
    }

    pub fn change(&mut self, subject: Subject, change: EncodedChange) -> LogRecord {
        let mut record = self.record(EntryKind::EDIT, Some(subject), &change.bytes);
        record.entry.payload_digest = change.hash;
        record
    }

    pub fn birth(&mut self, id: &str, value: serde_json::Value) -> LogRecord {
        let (collection, object) = ("notes".parse().unwrap(), id.parse().unwrap());
        let birth = document::birth(&object, &collection, &value, &Manifest::free_form(collection.clone()));
        let change = birth.expect("born").change;
        self.change(Subject { collection, object, incarnation: Incarnation(change.hash.0) }, change)
    }

    /// An edit of what an engine holds, by the given Automerge actor.
    pub fn edit(
        &mut self,
        engine: &mut Engine,
        id: &str,
        value: serde_json::Value,
        actor: [u8; 16],
    ) -> LogRecord {
        let subject = subject(engine, id);
        let mut doc = engine.with_object(&subject.object, Clone::clone).expect("readable").expect("known");
        let edit = syncd_engine::Edit::MergePatch(value);
        let manifest = Manifest::free_form(subject.collection.clone());
        let change =
            document::apply(&mut doc, &edit, actor, 0, &manifest).expect("applies").expect("a change");
        self.change(subject, change)
    }

    /// The next segment of its log.
    pub fn send(&mut self, records: &[LogRecord]) -> Segment {
        let first = self.tree.size();
        for record in records {
            self.tree.append(leaf_hash(&record.entry.to_bytes()));
        }
        let run = run::encode(records);
        self.seal(first, records.len() as u32, &run.bytes, run.open_len as u32)
    }

    /// A segment that says what it is told to, with the checkpoint of the tree as it stands.
    pub fn seal(&mut self, first: LogSeq, count: u32, run: &[u8], open_len: u32) -> Segment {
        let origin = syncd_schema::domain::log_origin(&self.log);
        let checkpoint = Checkpoint::sign(&origin, self.tree.size(), self.tree.root(), self.identity.key());
        let checkpoint = syncd_schema::cbor::encode(&checkpoint);
        let (log, key_epoch) = (self.log, 0);
        let mut segment =
            Segment { log, first, count, checkpoint, key_epoch, open_len, branch: None, sealed: Vec::new() };
        segment.sealed = self.key.seal(run, &segment.associated_data(), &mut self.entropy);
        segment
    }
}

/// What entries about an object name.
pub fn subject(engine: &Engine, id: &str) -> Subject {
    let object = id.parse().unwrap();
    let birth = engine.history(&object).expect("history")[0].change;
    Subject { collection: "notes".parse().unwrap(), object, incarnation: Incarnation(birth.0) }
}
