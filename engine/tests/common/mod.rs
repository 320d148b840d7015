//! Engines in memory, and a cable between two of them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::sync::Arc;
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Engine, Identity, Intent, Location, WriteError, WriteRequest, Written};
use syncd_schema::{Entropy, Role, UnixMicros};
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
    let engine = Engine::join(config(seed, &disk), owner.workspace(), owner.device(), &welcome).expect("joined");
    (engine, disk)
}

pub fn user() -> syncd_schema::Actor {
    "user:ada".parse().expect("an actor")
}

pub fn write(engine: &mut Engine, intent: Intent, now: UnixMicros) -> Result<Written, WriteError> {
    engine.write(&[WriteRequest::new(user(), intent)], now).expect("the disk works").0.remove(0)
}

pub fn put(engine: &mut Engine, id: &str, value: serde_json::Value, now: UnixMicros) -> Written {
    let intent = Intent::Put {
        collection: "notes".parse().unwrap(),
        object: Some(id.parse().unwrap()),
        value,
    };
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
