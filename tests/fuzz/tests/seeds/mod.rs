//! The seeds: small values as the product writes them. Many are the vectors of the formats, so that a format that changes
//! changes its seeds.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use syncd_engine::conflict::{Choice, Question, Settlement};
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::log::{LogRecord, run};
use syncd_fuzz::documents::body;
use syncd_fuzz::fixed::{DOCUMENT, identity, log, manifest};
use syncd_fuzz::sessions;
use syncd_schema::entry::ENTRY_VERSION;
use syncd_schema::ticket::Ticket;
use syncd_schema::{Digest, Entry, EntryKind, LogId, OperationId, Role, UnixMicros, cbor, domain};
use syncd_transport::frame;
use syncd_transport::pairing::{PairMessage, Refusal};

mod texts;

type Seeds = Vec<(String, Vec<u8>)>;

/// The seeds of a target, by name.
pub fn of(target: &str) -> Seeds {
    let mut seeds = match target {
        "ticket" => ticket(),
        "pairing" => pairing(),
        "welcome" => vectors("payloads", |name| name == "welcome"),
        "frames" => frames(),
        "control" => vectors("control", |name| !name.contains(' ')),
        // Without the tag of the message and its list.
        "hello" => mapped(vectors("control", |name| name == "hello"), |data| data[3..].to_vec()),
        "log_name" => vec![("log".to_owned(), cbor::encode::<LogId>(&log()))],
        "segment" => vectors("segments", |_| true),
        "run" => runs(),
        "packed" => packed(),
        "entry" => vectors("entries", |_| true),
        "payload" => payloads(&[17, 20, 21, 22]),
        "act" => payloads(&[1, 2, 3, 4]),
        "checkpoint" => vectors("checkpoints", |name| name != "tree"),
        "note" => notes(),
        "evidence" => evidence(),
        "settlement" => settlements(),
        "change" | "guard" => changes(),
        "session" => vec![("honest".to_owned(), sessions::recorded())],
        text => texts::of(text),
    };
    seeds.sort();
    seeds
}

fn mapped(seeds: Seeds, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Seeds {
    seeds.into_iter().map(|(name, data)| (name, change(data))).collect()
}

fn vector_file(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/format").join(format!("{name}.json"));
    let file: Value = serde_json::from_slice(&fs::read(path).expect("vectors")).expect("JSON");
    file["vectors"].as_array().expect("a list").clone()
}

/// The vectors of a file that have bytes and a name that is wanted.
fn vectors(file: &str, wanted: impl Fn(&str) -> bool) -> Seeds {
    let mut seeds = Vec::new();
    for vector in vector_file(file) {
        let name = vector["name"].as_str().expect("a name");
        let bytes = hex::decode(vector["bytes"].as_str().expect("hex")).expect("hex");
        if wanted(name) && !bytes.is_empty() {
            seeds.push((name.replace([' ', ','], "-"), bytes));
        }
    }
    seeds
}

fn ticket() -> Seeds {
    let ticket = Ticket {
        workspace: log().workspace,
        inviter: log().device,
        addresses: vec!["127.0.0.1:4433".to_owned(), "[::1]:4433".to_owned()],
        secret: [3; 16].into(),
        role: Role::Agent,
        expires: UnixMicros(1_700_000_000_000_000),
    };
    let text = ticket.to_string();
    vec![
        ("upper-case".to_owned(), text.to_uppercase().replacen("SYNCD1", "syncd1", 1).into_bytes()),
        ("text".to_owned(), text.into_bytes()),
        ("content".to_owned(), cbor::encode(&ticket)),
    ]
}

fn pairing() -> Seeds {
    let digest = |byte| Digest([byte; 32]);
    let said = [
        ("commit", PairMessage::Commit { ticket: digest(1), commitment: digest(2), proof: digest(3) }),
        ("reveal", PairMessage::Reveal { nonce: [4; 32], proof: digest(5) }),
        (
            "open",
            PairMessage::Open {
                nonce: [6; 32],
                name: "phone".to_owned(),
                key_agreement: digest(7),
                key_signature: vec![8; 64],
            },
        ),
        ("welcome", PairMessage::Welcome { bytes: vec![9; 40] }),
        ("done", PairMessage::Done),
        ("refuse", PairMessage::Refuse(Refusal::Expired)),
    ];
    said.into_iter().map(|(name, message)| (name.to_owned(), message.to_bytes())).collect()
}

fn frames() -> Seeds {
    let mut all = Vec::new();
    for (_, body) in vectors("control", |name| !name.contains(' ')) {
        frame::encode(&body, 1 << 16, &mut all).expect("a frame");
    }
    vec![
        ("half".to_owned(), all[..all.len() / 2].to_vec()),
        ("all".to_owned(), all),
        ("one-byte".to_owned(), vec![0, 0, 0, 1, 0x80]),
        ("large".to_owned(), vec![0, 8, 0, 0, 1, 2, 3]),
    ]
}

fn entry_of(kind: EntryKind, payload: &[u8]) -> Entry {
    Entry {
        version: ENTRY_VERSION,
        kind,
        operation: OperationId::at(UnixMicros(1_700_000_000_000_000), 5),
        time: UnixMicros(1_700_000_000_000_000),
        actor: "user:ada".parse().expect("an actor"),
        subject: None,
        idempotency_key: None,
        replay_safe: false,
        payload_digest: domain::sha256(payload),
        payload_len: payload.len() as u32,
        requires: Vec::new(),
        seen: Vec::new(),
        governance: vec![Digest([0x21; 32])],
        base: None,
        note: None,
    }
}

/// The compressed ones of the vectors.
fn packed() -> Seeds {
    let mut seeds = vectors("runs", |name| !name.ends_with("body"));
    seeds.retain(|(_, data)| data[0] == 1);
    mapped(seeds, |data| data[1..].to_vec())
}

/// Bodies of runs; the largest for its length is one whose entries all have as many heads as there may be.
fn runs() -> Seeds {
    let mut seeds = vectors("runs", |name| name.ends_with("body"));
    let record = LogRecord { entry: entry_of(EntryKind::SESSION, &[7; 16]), payload: Some(vec![7; 16]) };
    seeds.push(("session".to_owned(), run::encode(&[record]).bytes[1..].to_vec()));
    let heads: Vec<Digest> = (0..=255).map(|byte| Digest([byte; 32])).collect();
    let entry = Entry { governance: heads, ..entry_of(EntryKind::CHECKPOINT, &[]) };
    let records = vec![LogRecord { entry, payload: None }; 128];
    let packed = run::encode(&records);
    let body = zstd::bulk::decompress(&packed.bytes[1..], packed.open_len).expect("a body");
    seeds.push(("many-heads".to_owned(), body));
    seeds
}

/// Payloads of these kinds, behind the number of the kind.
fn payloads(kinds: &[u8]) -> Seeds {
    let mut seeds = Vec::new();
    for (name, data) in vectors("payloads", |_| true) {
        let kind = match name.as_str() {
            "genesis" => 1,
            "member" | "member-removed" => 2,
            "bundle" => 3,
            "manifest" => 4,
            "tombstone" => 17,
            "rebirth" => 20,
            "burst-begins" | "burst-answered" => 21,
            "ending" => 22,
            _ => continue,
        };
        if kinds.contains(&kind) {
            seeds.push((name, [&[kind], data.as_slice()].concat()));
        }
    }
    seeds
}

fn notes() -> Seeds {
    let mut seeds = Vec::new();
    for vector in vector_file("checkpoints") {
        let Some(note) = vector["facts"]["note"].as_str() else { continue };
        let name = vector["name"].as_str().expect("a name");
        let text = note.split("\n\n").next().expect("a text");
        seeds.push((format!("{name}-note"), note.as_bytes().to_vec()));
        seeds.push((format!("{name}-text"), format!("{text}\n").into_bytes()));
    }
    assert!(!seeds.is_empty(), "the vectors have no notes");
    seeds
}

fn evidence() -> Seeds {
    let mut seeds = Vec::new();
    for (number, kind) in ["record", "finding", "decision"].iter().enumerate() {
        let of_kind = vectors("evidence", |name| name.starts_with(kind));
        seeds.extend(mapped(of_kind, |data| [&[number as u8], data.as_slice()].concat()));
    }
    let tree = vectors("checkpoints", |name| name == "tree");
    seeds.extend(mapped(tree, |data| [&[3], data.as_slice()].concat()));
    seeds
}

fn settlements() -> Seeds {
    let digest = |byte| Digest([byte; 32]);
    let said = [
        ("place", Question::Place(digest(1)), Choice::Merge),
        ("change", Question::Change(digest(2)), Choice::Decline),
        ("deletion", Question::Deletion(vec![digest(3), digest(4)]), Choice::Remote),
    ];
    let text = |question, choice| Settlement { question, choice, generation: 2, card: digest(9) }.to_string();
    said.into_iter()
        .map(|(name, question, choice)| (name.to_owned(), text(question, choice).into()))
        .collect()
}

/// Bodies of changes to the small document, each on top of it.
fn changes() -> Seeds {
    let (doc, [birth, second]) = &*DOCUMENT;
    let mut seeds = vec![("birth".to_owned(), body(birth)), ("second".to_owned(), body(second))];
    let edits = [
        (
            "put",
            json!({"merge_patch": {"s": "third", "new": [1, 2.5, "x", null, true, {"deep": {"er": []}}]}}),
        ),
        (
            "delete",
            json!({"json_patch": [{"op": "remove", "path": "/m/k"}, {"op": "remove", "path": "/l/0"}]}),
        ),
        ("insert", json!({"json_patch": [{"op": "add", "path": "/l/1", "value": {"y": [0]}}]})),
        ("splice", json!({"splice": {"path": "/t", "pos": 2, "del": 3, "text": "äöü\n"}})),
        ("increment", json!({"increment": {"path": "/c", "by": -7}})),
    ];
    for (name, edit) in edits {
        let edit = serde_json::from_value(edit).expect("an edit");
        let mut copy = doc.clone();
        let change = document::apply(&mut copy, &edit, [9; 16], 1_700_000_000, &manifest());
        seeds.push((name.to_owned(), body(&change.expect("an edit").expect("a change"))));
    }
    seeds.push(("other-object".to_owned(), body(&other_birth())));
    seeds
}

fn other_birth() -> EncodedChange {
    let (id, collection) = ("o2".parse().expect("an id"), "docs".parse().expect("a name"));
    let value = json!({ "by": identity(1).device().to_string() });
    document::birth(&id, &collection, &value, &manifest()).expect("a birth").change
}
