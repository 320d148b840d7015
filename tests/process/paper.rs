//! A paper of 259,778 keystrokes, written on one device and read on another, over the network.
//!
//! The trace lies beside the repository; where it is absent the tests say `skipped: …`.

use crate::common::{Client, Device, PATIENCE, Running};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sourceos_syncd::{os, root::Root};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use syncd_engine::{Edit, Intent, WriteRequest};

/// Position, deleted, inserted.
type Patch = (usize, usize, String);

/// Edits handed to the engine at a time.
const BATCH: usize = 2_000;

fn trace() -> Option<(Vec<Patch>, String)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/automerge-paper.json.gz");
    let Ok(file) = File::open(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let transactions = trace["txns"].as_array().unwrap().iter();
    let patches = transactions.flat_map(|transaction| transaction["patches"].as_array().unwrap());
    let patches = patches.map(|patch| serde_json::from_value(patch.clone()).unwrap()).collect();
    Some((patches, trace["endContent"].as_str().unwrap().to_owned()))
}

fn splices(patches: &[Patch]) -> Edit {
    Edit::Splices { path: "/text".to_owned(), splices: patches.to_vec() }
}

fn join(ada: &Device, bob: &Device) -> Value {
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    let joined = bob.run(&["join", &ticket]).ok();
    assert_eq!(joined["synced"], true, "{joined}");
    joined
}

fn text(client: &mut Client) -> String {
    client.get("paper")["value"]["text"].as_str().unwrap().to_owned()
}

/// Waits until a device has all of the other's operations.
fn caught_up(bob: &Device, operations: u64) {
    let deadline = Instant::now() + PATIENCE;
    while bob.run(&["status"]).ok()["operations"].as_u64().unwrap() < operations {
        assert!(Instant::now() < deadline, "the operations do not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Both devices hold the paper as it ends, and nothing on the way was refused.
fn check(ada: (&Device, Running), bob: (&Device, Running), end: &str) {
    for (device, daemon) in [ada, bob] {
        assert!(text(&mut device.client(&daemon)) == end, "the text is another");
        assert_eq!(device.run(&["get", "paper"]).ok()["state"], "clean");
        for status in ["failed", "blocked", "awaiting_decision"] {
            assert_eq!(device.run(&["ops", "--status", status]).ok(), json!([]));
        }
        let began = Instant::now();
        let report = device.run(&["evidence", "verify"]).ok();
        assert_eq!((&report["ok"], &report["findings"]), (&json!(true), &json!([])), "{report}");
        eprintln!("verified in {:?}", began.elapsed());
        assert_eq!(daemon.stop(), 0);
    }
}

/// While both run: each operation is 100 keystrokes, acknowledged by one daemon and sent to the other at once.
#[test]
fn a_paper_arrives_while_it_is_written() {
    let Some((patches, end)) = trace() else { return };
    let (ada, bob) = (Device::new(), Device::new());
    let adas = ada.up();
    let mut client = ada.client(&adas);
    client.put("paper", json!({ "text": "" })).unwrap().unwrap();
    join(&ada, &bob);
    let bobs = bob.up();
    bob.run(&["sync"]).ok();
    let began = Instant::now();
    for chunk in patches.chunks(100) {
        let edit = serde_json::to_value(splices(chunk)).unwrap();
        let answer = client.edit("paper", edit).unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
    let written = began.elapsed();
    caught_up(&bob, ada.run(&["status"]).ok()["operations"].as_u64().unwrap());
    let operations = patches.len().div_ceil(100);
    eprintln!("{operations} operations written in {written:?}, there after {:?}", began.elapsed());
    check((&ada, adas), (&bob, bobs), &end);
}

/// One operation for each of 259,778 keystrokes. Most of a minute with optimisation: `cargo test --release --test process -- --ignored`.
#[test]
#[ignore = "too long without optimisation"]
fn a_paper_arrives_keystroke_by_keystroke() {
    let Some((patches, end)) = trace() else { return };
    let (ada, bob) = (Device::new(), Device::new());
    let workspace = ada.run(&["init"]).ok()["workspace"].as_str().unwrap().parse().unwrap();
    let began = Instant::now();
    let mut engine = Root::locate(Some(ada.root())).unwrap().open(&workspace).unwrap();
    let object = "paper".parse::<syncd_schema::ObjectId>().unwrap();
    let actor: syncd_schema::Actor = "user:ada".parse().unwrap();
    let request = |intent| WriteRequest::new(actor.clone(), intent);
    let birth = Intent::Put {
        collection: "notes".parse().unwrap(),
        object: Some(object.clone()),
        value: json!({ "text": "" }),
    };
    let edit = |patch: &Patch| Intent::Edit {
        object: object.clone(),
        base: None,
        edit: splices(std::slice::from_ref(patch)),
    };
    let intents: Vec<Intent> = std::iter::once(birth).chain(patches.iter().map(edit)).collect();
    for batch in intents.chunks(BATCH) {
        let requests: Vec<WriteRequest> = batch.iter().cloned().map(request).collect();
        let (answers, _) = engine.write(&requests, os::now()).unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
    engine.close().unwrap();
    eprintln!("{} operations written in {:?}", intents.len(), began.elapsed());

    let adas = ada.up();
    let began = Instant::now();
    let joined = join(&ada, &bob);
    eprintln!("joined and synced in {:?}: {}", began.elapsed(), joined["sync"]);
    let bobs = bob.up();
    let operations = ada.run(&["status"]).ok()["operations"].clone();
    assert!(operations.as_u64().unwrap() > patches.len() as u64);
    check((&ada, adas), (&bob, bobs), &end);
}
