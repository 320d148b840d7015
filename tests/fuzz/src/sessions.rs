//! A session with a member who says whatever it likes, on an engine with a store.

use crate::fixed::identity;
use serde_json::json;
use std::cell::RefCell;
use std::sync::LazyLock;
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Engine, Intent, WriteRequest};
use syncd_harness::disk::Disk;
use syncd_harness::rng::Rng;
use syncd_schema::message::{Control, Segment};
use syncd_schema::{Role, UnixMicros, limits};
use syncd_transport::frame::{self, Decoder};
use zeroize::Zeroizing;

const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);
/// Messages of one input that are heard.
const MESSAGES: usize = 64;

/// The store of a workspace's owner, and what an honest member says when it dials it.
struct Place {
    owner: Vec<u8>,
    said: Vec<u8>,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let (mut owner, disk) = created();
    let member = identity(2);
    let signature = member.key_signature(&owner.workspace());
    let enrolled =
        owner.enrol(member.device(), "phone", Role::Member, member.key_agreement(), &signature, NOW);
    let (welcome, _) = enrolled.expect("enrolled");
    put(&mut owner, "n1");
    let (workspace, device) = (owner.workspace(), owner.device());
    drop(owner);
    let image = disk.durable();

    let welcome = Welcome::from_bytes(&welcome.to_bytes()).expect("a welcome");
    let member = Engine::join(config(2, &Disk::default()), workspace, device, &welcome).expect("joined");
    let said = honest_member(member, &image);
    Place { owner: image, said }
});

fn config(byte: u8, disk: &Disk) -> Config {
    Config {
        location: disk.location(),
        store_key: Zeroizing::new([byte; 32]),
        identity: identity(byte),
        entropy: Box::new(Rng::new(u64::from(byte))),
        policy: None,
    }
}

fn created() -> (Engine, Disk) {
    let disk = Disk::default();
    (Engine::create(config(1, &disk), "desk", NOW).expect("a workspace"), disk)
}

fn opened(image: &[u8]) -> (Engine, Disk) {
    let disk = Disk::holding(image.to_vec());
    (Engine::open(config(1, &disk)).expect("the owner's store"), disk)
}

fn put(engine: &mut Engine, object: &str) {
    let intent = Intent::Put {
        collection: "notes".parse().expect("a name"),
        object: Some(object.parse().expect("an id")),
        value: json!({ "title": object }),
    };
    let request = WriteRequest::new("user:ada".parse().expect("an actor"), intent);
    engine.write(&[request], NOW).expect("the disk works").0.remove(0).expect("written");
}

/// Two sessions over a cable; what the member says, as frames. It writes when it knows the workspace.
fn honest_member(mut member: Engine, image: &[u8]) -> Vec<u8> {
    let (mut owner, _) = opened(image);
    let mut here = Session::new(member.device(), false);
    let mut there = Session::new(owner.device(), true);
    let mut said = Vec::new();
    let mut outputs = there.start(&member);
    let mut has_written = false;
    for _ in 0..MESSAGES {
        let mut heard = Vec::new();
        for input in outputs.drain(..).filter_map(as_input) {
            frame::encode(&as_bytes(&input), limits::LOG_FRAME_BYTES, &mut said).expect("a frame");
            heard.extend(here.handle(&mut owner, input, NOW).expect("the disk works"));
        }
        for input in heard.into_iter().filter_map(as_input) {
            outputs.extend(there.handle(&mut member, input, NOW).expect("the disk works"));
        }
        if outputs.is_empty() && !has_written {
            has_written = true;
            put(&mut member, "n2");
            outputs = there.handle(&mut member, Input::Grew, NOW).expect("the disk works");
        }
    }
    assert!(owner.get(&"n2".parse().expect("an id")).expect("the disk works").is_some(), "it did not arrive");
    said
}

fn as_input(output: Output) -> Option<Input> {
    match output {
        Output::Control(control) => Some(Input::Control(control)),
        Output::Segment(segment) => Some(Input::Segment(segment)),
        Output::Events(_) | Output::Close(..) => None,
    }
}

fn as_bytes(input: &Input) -> Vec<u8> {
    match input {
        Input::Control(control) => control.to_bytes(),
        Input::Segment(segment) => segment.to_bytes(),
        Input::Grew | Input::Broken(_) => Vec::new(),
    }
}

/// What an honest member says, as frames: the seed of [`session`].
#[must_use]
pub fn recorded() -> Vec<u8> {
    PLACE.said.clone()
}

/// Frames of messages and segments from a member, to an engine that accepted its link. Whatever it hears, the engine goes
/// on, says only what others can read, and has a store that verifies.
pub fn session(data: &[u8]) {
    thread_local!(static READY: RefCell<Option<(Engine, Disk)>> = const { RefCell::new(None) });
    // An engine that has written nothing is as good as a new one, which takes long to open.
    let (mut engine, disk) = READY.take().unwrap_or_else(|| opened(&PLACE.owner));
    let before = disk.operations();
    hear(&mut engine, data);
    if disk.operations() == before {
        READY.set(Some((engine, disk)));
        return;
    }
    put(&mut engine, "n3");
    let report = engine.verify(|_, _| ()).expect("the disk works");
    assert!(report.ok, "{report:?}");
}

fn hear(engine: &mut Engine, data: &[u8]) {
    let mut session = Session::new(identity(2).device(), false);
    let mut decoder = Decoder::new(limits::LOG_FRAME_BYTES);
    let (mut rest, mut heard) = (data, 0);
    while let Ok(Some(body)) = decoder.feed(&mut rest) {
        let control = Control::from_bytes(&body).map(Input::Control).ok();
        let segment = || Segment::from_bytes(&body).map(|segment| Input::Segment(Box::new(segment))).ok();
        let Some(input) = control.or_else(segment) else { break };
        for output in session.handle(engine, input, NOW).expect("the disk works") {
            must_be_readable(&output);
        }
        heard += 1;
        if session.is_closed() || heard == MESSAGES || rest.is_empty() {
            break;
        }
    }
    session.end(engine, NOW).expect("the disk works");
}

fn must_be_readable(output: &Output) {
    match output {
        Output::Control(control) => {
            assert_eq!(Control::from_bytes(&control.to_bytes()).expect("a message"), *control);
        }
        Output::Segment(segment) => {
            assert_eq!(Segment::from_bytes(&segment.to_bytes()).expect("a segment"), **segment);
        }
        Output::Events(_) | Output::Close(..) => {}
    }
}
