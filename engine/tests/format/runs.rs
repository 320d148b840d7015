//! Packed runs, the trees and checkpoints over them, and the segments they travel in.

use crate::inputs::*;
use crate::vectors::*;
use serde_json::{Value, json};
use syncd_engine::log::{LogRecord, run};
use syncd_engine::store::seal::SealKey;
use syncd_engine::{Edit, document};
use syncd_evidence::{Checkpoint, Tree};
use syncd_schema::entry::{Subject, Tombstone};
use syncd_schema::message::Segment;
use syncd_schema::{Entry, EntryKind, LogSeq, Manifest, OperationId, cbor, domain};
use zeroize::Zeroizing;

fn records(edits: usize) -> Vec<LogRecord> {
    let object = object();
    let mut list = Vec::new();
    for (n, (_, kind, payload)) in
        payloads().into_iter().enumerate().filter(|(_, (_, kind, _))| kind.is_governance())
    {
        list.push(LogRecord { entry: entry(n as u64, kind, None, &payload), payload: Some(payload) });
    }
    list.push(LogRecord {
        entry: entry(10, EntryKind::SESSION, None, &SESSION),
        payload: Some(SESSION.to_vec()),
    });
    let birth = edit_entry(11, object.birth.hash, &object.birth);
    list.push(LogRecord { entry: birth, payload: Some(object.birth.bytes.clone()) });
    let edit =
        Entry { base: Some(vec![object.birth.hash]), ..edit_entry(12, object.birth.hash, &object.edit) };
    list.push(LogRecord { entry: edit, payload: Some(object.edit.bytes.clone()) });
    let mut last = object.edit.hash;
    let manifest = Manifest::free_form(name("notes"));
    let value = json!({ "title": "other" });
    let other = document::birth(&name("n2"), &name("notes"), &value, &manifest).expect("a birth");
    let about_other = Subject { object: name("n2"), ..subject(other.change.hash) };
    let entry_of_other =
        Entry { subject: Some(about_other.clone()), ..edit_entry(13, other.change.hash, &other.change) };
    list.push(LogRecord { entry: entry_of_other, payload: Some(other.change.bytes.clone()) });
    let mut doc = other.doc;
    for n in 0..edits as u64 {
        let patch = Edit::MergePatch(json!({ "title": format!("title {n}"), "n": n }));
        let change = document::apply(&mut doc, &patch, object.change_actor, 1_700_000_000, &manifest);
        let change = change.expect("an edit").expect("a change");
        let entry =
            Entry { subject: Some(about_other.clone()), ..edit_entry(14 + n, other.change.hash, &change) };
        // Every third payload is withheld: its digest and length stay.
        let payload = (n % 3 != 2).then_some(change.bytes);
        list.push(LogRecord { entry, payload });
        last = change.hash;
    }
    let tombstone = cbor::encode(&Tombstone { heads: vec![last], keeps: None });
    let end = entry(100, EntryKind::TOMBSTONE, Some(about_other), &tombstone);
    let end = Entry {
        operation: OperationId([0x77; 16]),
        actor: "agent:scribe".parse().expect("an actor"),
        idempotency_key: Some("call-8".to_owned()),
        replay_safe: true,
        requires: vec![operation(11)],
        governance: vec![digest(0x23)],
        ..end
    };
    list.push(LogRecord { entry: end, payload: Some(tombstone) });
    list
}

fn run_facts(records: &[LogRecord]) -> Facts {
    let mut tree = Tree::default();
    let entries = records.iter().map(|record| {
        let bytes = record.entry.to_bytes();
        tree.append_entry(&bytes);
        json!({ "entry": hex::encode(bytes), "payload": record.payload.as_ref().map(hex::encode) })
    });
    let entries: Vec<Value> = entries.collect();
    facts([("entries", Value::Array(entries)), ("root", text(tree.root()))])
}

fn check_run(file: &mut File, vector: &str, list: &[LogRecord]) {
    let encoded = run::encode(list);
    let compressed = encoded.bytes.first() == Some(&1);
    let read = |kept: &[u8]| {
        let decoded = run::decode(kept, encoded.open_len).expect("a run");
        assert_eq!(decoded, list, "{vector}");
        run_facts(&decoded)
    };
    if compressed {
        file.packed(vector, &encoded.bytes, read);
    } else {
        file.exact(vector, &encoded.bytes, |kept| {
            let decoded = run::decode(kept, encoded.open_len).expect("a run");
            (run::encode(&decoded).bytes, read(kept))
        });
    }
    // What is inside the compression must not move either.
    let body = match encoded.bytes.split_first() {
        Some((1, packed)) => zstd::bulk::decompress(packed, encoded.open_len).expect("zstd"),
        Some((_, body)) => body.to_vec(),
        None => Vec::new(),
    };
    assert_eq!(body.len(), encoded.open_len);
    file.exact(&format!("{vector}, body"), &body, |kept| {
        let plain = [&[0], kept].concat();
        let decoded = run::decode(&plain, body.len()).expect("a run");
        assert_eq!(decoded, list);
        (body.clone(), Facts::new())
    });
}

#[test]
fn packed_runs() {
    let mut file = File::open(
        "runs.json",
        "Packed runs: a short one that stays plain, one with every shortcut of the format, one that zstd compresses, \
         and one whose edit's payload is not the change its entry names.",
    );
    let all = records(9);
    let session = all.iter().position(|record| record.entry.kind == EntryKind::SESSION).expect("a session");
    check_run(&mut file, "plain", &all[session..session + 1]);
    check_run(&mut file, "births and follow-ups", &all[session..session + 4]);
    check_run(&mut file, "everything", &all);
    let object = object();
    let wrong = LogRecord {
        entry: Entry { payload_digest: digest(0x66), ..edit_entry(30, object.birth.hash, &object.edit) },
        payload: Some(object.edit.bytes.clone()),
    };
    check_run(&mut file, "another payload than named", &[wrong]);
    file.done();
}

#[test]
fn trees_and_checkpoints() {
    let mut file = File::open(
        "checkpoints.json",
        "The Merkle tree over the five leaves of the one-byte entries 00 to 04, a checkpoint in its compact form, and \
         the same as a C2SP signed note. Device 1 has 64 secret bytes of value 1.",
    );
    let mut tree = Tree::default();
    (0..5_u8).for_each(|n| tree.append_entry(&[n]));
    file.exact("tree", &cbor::encode(&tree), |kept| {
        let (again, tree) = canonical::<Tree>(kept);
        (again, facts([("size", json!(tree.size().0)), ("root", text(tree.root()))]))
    });
    let origins = [
        ("log", domain::log_origin(&log())),
        ("local", domain::local_origin(&workspace(), &device(), &digest(0x32))),
        ("ledger", domain::ledger_origin(&workspace(), &device(), &digest(0x32))),
    ];
    for (vector, origin) in origins {
        let signed = Checkpoint::sign(&origin, tree.size(), tree.root(), identity(1).key());
        file.exact(vector, &cbor::encode(&signed), |kept| {
            let (again, checkpoint) = canonical::<Checkpoint>(kept);
            checkpoint.verify(&origin, &device()).expect("verifies");
            let note = checkpoint.to_note(&origin, &device());
            let read = Checkpoint::from_note(&note, &origin, &device()).expect("a note");
            assert_eq!(read.checkpoint(), &checkpoint);
            (again, facts([("origin", text(&origin)), ("note", text(note)), ("device", text(device()))]))
        });
    }
    file.done();
}

fn segment(list: &[LogRecord]) -> Segment {
    let mut tree = Tree::default();
    list.iter().for_each(|record| tree.append_entry(&record.entry.to_bytes()));
    let signed = Checkpoint::sign(&domain::log_origin(&log()), tree.size(), tree.root(), identity(1).key());
    let encoded = run::encode(list);
    let mut segment = Segment {
        log: log(),
        first: LogSeq(0),
        count: list.len() as u32,
        checkpoint: cbor::encode(&signed),
        key_epoch: 3,
        open_len: encoded.open_len as u32,
        branch: None,
        sealed: Vec::new(),
    };
    segment.sealed = workspace_key().seal(&encoded.bytes, &segment.associated_data(), &mut Counting(0));
    segment
}

fn workspace_key() -> SealKey {
    SealKey::from_bytes(Zeroizing::new([0x61; 32]))
}

#[test]
fn segments_open_with_their_key() {
    let mut file = File::open(
        "segments.json",
        "A segment of the run `births and follow-ups` of runs.json, sealed under the workspace key of epoch 3, 32 \
         bytes of value 61, with the nonce 01 02 … 18.",
    );
    let all = records(0);
    let session = all.iter().position(|record| record.entry.kind == EntryKind::SESSION).expect("a session");
    let list = &all[session..session + 4];
    let read = |kept: &[u8]| {
        let segment = Segment::from_bytes(kept).expect("a segment");
        assert_eq!(segment.to_bytes(), kept);
        let data = segment.associated_data();
        let open = workspace_key().open(&segment.sealed, &data).expect("opens");
        assert!(workspace_key().open(&segment.sealed, &data[1..]).is_err());
        let decoded = run::decode(&open, segment.open_len as usize).expect("a run");
        assert_eq!(decoded, list);
        let (_, checkpoint) = canonical::<Checkpoint>(&segment.checkpoint);
        checkpoint.verify(&domain::log_origin(&segment.log), &segment.log.device).expect("verifies");
        let facts = run_facts(&decoded);
        assert_eq!(text(checkpoint.root), facts["root"]);
        Facts::from_iter([
            ("associated_data".to_owned(), bytes(data)),
            ("root".to_owned(), facts["root"].clone()),
        ])
    };
    file.packed("segment", &segment(list).to_bytes(), read);
    file.done();
}
