//! Entries of every kind, their payloads, and what is derived from those.

use crate::inputs::*;
use crate::store::{Disk, config};
use crate::vectors::*;
use serde_json::{Value, json};
use syncd_engine::workspace::Welcome;
use syncd_engine::{Engine, Identity};
use syncd_evidence::merkle::leaf_hash;
use syncd_schema::burst::{self, Burst};
use syncd_schema::entry::{Ending, Rebirth, Seen, Tombstone};
use syncd_schema::governance::{Bundle, WrappedKey};
use syncd_schema::{
    Entry, EntryKind, Epoch, Genesis, LogId, LogSeq, Manifest, Member, Role, WorkspaceId, cbor, domain,
};
use zeroize::Zeroizing;

fn entry_facts(kept: &[u8]) -> (Vec<u8>, Facts) {
    let entry = Entry::from_bytes(kept).expect("an entry");
    let facts = facts([
        ("kind", text(entry.kind.word())),
        ("operation", text(entry.operation)),
        ("time", text(entry.time)),
        ("actor", text(&entry.actor)),
        (
            "subject",
            shown(
                &entry
                    .subject
                    .as_ref()
                    .map(|s| (s.collection.as_str(), s.object.as_str(), s.incarnation.to_string())),
            ),
        ),
        ("idempotency_key", json!(entry.idempotency_key)),
        ("replay_safe", json!(entry.replay_safe)),
        ("payload_digest", text(entry.payload_digest)),
        ("payload_len", json!(entry.payload_len)),
        ("requires", entry.requires.iter().map(text).collect()),
        (
            "seen",
            entry
                .seen
                .iter()
                .map(|seen| text(format!("{} {} {}", domain::log_origin(&seen.log), seen.size, seen.root)))
                .collect(),
        ),
        ("governance", entry.governance.iter().map(text).collect()),
        ("base", entry.base.as_ref().map_or(Value::Null, |base| base.iter().map(text).collect())),
        ("is_birth", json!(entry.is_birth())),
        ("leaf", text(leaf_hash(kept))),
    ]);
    (entry.to_bytes(), facts)
}

#[test]
fn entries_of_every_kind() {
    let object = object();
    let mut file = File::open(
        "entries.json",
        "Entries of every kind, as CBOR. `leaf` is SHA-256(0x00 || bytes), the leaf of the log's Merkle tree.",
    );
    for (index, (vector, kind, payload)) in payloads().into_iter().enumerate() {
        let is_about_object = kind.is_deletion() || matches!(kind, EntryKind::REBIRTH | EntryKind::BURST);
        let about_object = is_about_object.then(|| subject(object.birth.hash));
        let entry = entry(index as u64, kind, about_object, &payload);
        file.exact(vector, &entry.to_bytes(), entry_facts);
    }
    let birth = edit_entry(20, object.birth.hash, &object.birth);
    assert!(birth.is_birth());
    file.exact("birth", &birth.to_bytes(), entry_facts);
    let full = Entry {
        idempotency_key: Some("call-7".to_owned()),
        replay_safe: true,
        requires: vec![operation(1), operation(0)],
        seen: vec![Seen { log: LogId { epoch: Epoch(0), ..log() }, size: LogSeq(300), root: digest(0x22) }],
        governance: vec![digest(0x21), digest(0x23)],
        base: Some(vec![object.birth.hash]),
        ..edit_entry(21, object.birth.hash, &object.edit)
    };
    file.exact("edit with everything", &full.to_bytes(), entry_facts);
    file.done();

    let mut wordy = birth.to_bytes();
    wordy[0] += 1;
    wordy.push(0xf6);
    assert!(Entry::from_bytes(&wordy).is_err(), "a null at the end is left out");
    let mut longer = birth.to_bytes();
    longer.push(0);
    assert!(Entry::from_bytes(&longer).is_err(), "nothing may follow");
}

#[test]
fn payloads_and_what_is_derived_from_them() {
    let mut file = File::open(
        "payloads.json",
        "Payloads of entries and what is derived from them: the workspace id, the statement a device signs for its \
         key-agreement key, a workspace key wrapped for a device, a welcome. Device n has 64 secret bytes of value n.",
    );
    for (vector, kind, payload) in payloads() {
        file.exact(vector, &payload, |kept| match kind {
            EntryKind::GENESIS => {
                let (again, genesis) = canonical::<Genesis>(kept);
                (again, facts([("workspace", text(genesis.workspace()))]))
            }
            EntryKind::MEMBER => {
                let (again, member) = canonical::<Member>(kept);
                let statement = Member::key_statement(&workspace(), &member.key_agreement);
                (
                    again,
                    facts([
                        ("device", text(member.device)),
                        ("key_statement", bytes(statement)),
                        ("role", shown(&member.role)),
                    ]),
                )
            }
            EntryKind::BUNDLE => {
                let (again, bundle) = canonical::<Bundle>(kept);
                (again, facts([("digest", text(domain::sha256(bundle.text.as_bytes())))]))
            }
            EntryKind::MANIFEST => {
                let manifest = Manifest::from_json(kept).expect("a manifest");
                (kept.to_vec(), facts([("manifest", serde_json::to_value(manifest).expect("json"))]))
            }
            EntryKind::TOMBSTONE => {
                let (again, tombstone) = canonical::<Tombstone>(kept);
                (again, facts([("heads", tombstone.heads.iter().map(text).collect())]))
            }
            EntryKind::REBIRTH => {
                let rebirth = Rebirth::from_bytes(kept).expect("a rebirth");
                let upto =
                    rebirth.upto.iter().map(|upto| json!([text(upto.device), upto.epoch.0, upto.seq.0]));
                let facts = facts([("new", shown(&rebirth.new)), ("upto", upto.collect())]);
                (cbor::encode(&rebirth), facts)
            }
            EntryKind::ENDING => {
                let (again, ending) = canonical::<Ending>(kept);
                let heads = ending.deletes.heads.iter().map(text).collect();
                (
                    again,
                    facts([("heads", heads), ("card", text(ending.card)), ("choice", text(ending.choice))]),
                )
            }
            EntryKind::BURST => {
                let (again, burst) = canonical::<Burst>(kept);
                (again, facts([("burst", text(burst_name(&burst)))]))
            }
            _ => (kept.to_vec(), Facts::new()),
        });
    }
    let welcome = Welcome { genesis: genesis(), keys: member().keys };
    file.exact("welcome", &welcome.to_bytes(), |kept| {
        let welcome = Welcome::from_bytes(kept).expect("a welcome");
        (welcome.to_bytes(), facts([("keys", json!(welcome.keys.len()))]))
    });
    file.done();
    wrapped_key();
}

/// Whose deletions are meant, in the collection `notes`.
fn burst_name(said: &Burst) -> String {
    match said {
        Burst::Begins => "begins".to_owned(),
        Burst::Answer(answer) => {
            let log = LogId { workspace: workspace(), device: answer.device, epoch: answer.epoch };
            burst::name(&log, &answer.actor, &name("notes")).to_string()
        }
    }
}

/// A key wrapped once and for all: HPKE draws randomness, so only unwrapping can be compared.
fn wrapped_key() {
    if writing() {
        write_wrapped_key();
    }
    let kept = read_json("wrapped-key.json");
    let field = |name: &str| hex::decode(kept[name].as_str().expect("hex")).expect("hex");
    let workspace = WorkspaceId(field("workspace").try_into().expect("16 bytes"));
    let secret: [u8; 64] = field("device_secret").try_into().expect("64 bytes");
    let (_, wrapped) = canonical::<WrappedKey>(&field("bytes"));
    let identity = Identity::from_secret(&Zeroizing::new(secret));
    assert_eq!(identity.key_agreement().0.to_vec(), field("key_agreement"));
    assert_eq!(identity.unwrap_key(&workspace, &wrapped).expect("unwraps").to_vec(), field("key"));
    assert_eq!(identity.key_signature(&workspace).to_vec(), field("key_signature"));
}

fn write_wrapped_key() {
    let mut engine = Engine::create(config(&Disk::default(), 1), "desk", TIME).expect("a workspace");
    let (workspace, joiner) = (engine.workspace(), identity(2));
    let signature = joiner.key_signature(&workspace);
    let (welcome, _) = engine
        .enrol(joiner.device(), "phone", Role::Member, joiner.key_agreement(), &signature, TIME)
        .expect("enrolled");
    let wrapped = welcome.keys.first().expect("a key");
    let file = json!({
        "about": "A workspace key wrapped for a device with HPKE; `bytes` is the CBOR that a member entry holds.",
        "workspace": workspace,
        "device_secret": hex::encode([2; 64]),
        "key_agreement": joiner.key_agreement(),
        "key_signature": hex::encode(signature),
        "bytes": hex::encode(cbor::encode(wrapped)),
        "key": hex::encode(joiner.unwrap_key(&workspace, wrapped).expect("unwraps")),
    });
    let text = serde_json::to_string_pretty(&file).expect("json") + "\n";
    std::fs::write(fixtures().join("wrapped-key.json"), text).expect("the file can be written");
}
