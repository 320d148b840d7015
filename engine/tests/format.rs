//! The byte formats of `docs/format.md`, held fast by vectors in `tests/fixtures/format/`.
//!
//! Every vector is written from inputs that stand here, and kept as a file. The test writes it again and compares,
//! decodes the file and encodes that again, and derives the facts beside it once more: a changed writer, a changed
//! reader and a changed derivation each fail. Vectors that zstd compressed are compared decompressed, since another
//! version of it may write other bytes. After a deliberate change of a format: raise its version, keep the old files
//! under their old names with a test that reads them, and write new ones with `SYNCD_WRITE_VECTORS=1`.

use automerge::Change;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use syncd_engine::log::{LogRecord, run};
use syncd_engine::store::rows::{
    GovernanceRow, IdempotencyRow, LogKind, LogRow, ObjectRow, PartRow, PeerRow, PendingRow, RunRow, Source, StoreRow,
    TicketRow, WorkspaceKey,
};
use syncd_engine::store::seal::SealKey;
use syncd_engine::store::tables::{LogNo, Table, key};
use syncd_engine::store::Store;
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Edit, Engine, Identity, Intent, Location, WriteRequest, document, ledger};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{
    Checkpoint, Coverage, CoveredLog, Finding, FindingKind, Outcome, Record, RecordKind, Severity, Tree,
};
use syncd_policy::{Decision, Verdict};
use syncd_schema::entry::{ENTRY_VERSION, Seen, Subject, Tombstone};
use syncd_schema::governance::{Bundle, WrappedKey};
use syncd_schema::message::{self, CloseCode, Control, Hello, Position, Segment, frontier_digest};
use syncd_schema::operation::EntryState;
use syncd_schema::ticket::Ticket;
use syncd_schema::{
    Actor, Collection, DeviceId, Digest, Entropy, Entry, EntryKind, Epoch, Genesis, Incarnation, LogId, LogSeq,
    Manifest, Member, ObjectId, OperationId, OperationType, Role, UnixMicros, WorkspaceId, cbor, domain,
};
use zeroize::Zeroizing;

// ---------------------------------------------------------------------------------------------- inputs

const TIME: UnixMicros = UnixMicros(1_700_000_000_123_456);
const TAG: u64 = 0x0123_4567_89ab_cdef;

fn workspace() -> WorkspaceId {
    WorkspaceId([0x11; 16])
}

fn device() -> DeviceId {
    identity(1).device()
}

/// The identity whose 64 secret bytes are all the same.
fn identity(byte: u8) -> Identity {
    Identity::from_secret(&Zeroizing::new([byte; 64]))
}

fn log() -> LogId {
    LogId { workspace: workspace(), device: device(), epoch: Epoch(2) }
}

fn operation(n: u64) -> OperationId {
    OperationId::at(TIME.plus(n), TAG)
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn actor() -> Actor {
    "user:ada".parse().expect("an actor")
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

fn subject(incarnation: Digest) -> Subject {
    Subject { collection: name("notes"), object: name("n1"), incarnation: Incarnation(incarnation.0) }
}

fn entry(n: u64, kind: EntryKind, subject: Option<Subject>, payload: &[u8]) -> Entry {
    Entry {
        version: ENTRY_VERSION,
        kind,
        operation: operation(n),
        time: TIME.plus(n),
        actor: actor(),
        subject,
        idempotency_key: None,
        replay_safe: false,
        payload_digest: domain::sha256(payload),
        payload_len: payload.len() as u32,
        requires: Vec::new(),
        seen: Vec::new(),
        governance: vec![digest(0x21)],
        base: None,
    }
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::sign(&domain::log_origin(&log()), LogSeq(size), digest(0x31), identity(1).key())
}

/// A byte stream that repeats: every byte one more than the last.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Randomness of a store: a SHA-256 chain over a seed.
struct Chain([u8; 32]);

impl Entropy for Chain {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 = domain::sha256(&self.0).0;
            let out = domain::sha256(&[self.0.as_slice(), b"out"].concat()).0;
            chunk.copy_from_slice(&out[..chunk.len()]);
        }
    }
}

// ---------------------------------------------------------------------------------------------- vectors

/// Facts beside the bytes: what a second implementation should find.
type Facts = Map<String, Value>;

fn facts<const N: usize>(list: [(&str, Value); N]) -> Facts {
    list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/format")
}

fn writing() -> bool {
    std::env::var_os("SYNCD_WRITE_VECTORS").is_some()
}

/// One file of vectors: compared with what the code writes now, or written.
struct File {
    name: &'static str,
    about: &'static str,
    kept: BTreeMap<String, Value>,
    new: Vec<Value>,
}

impl File {
    fn open(name: &'static str, about: &'static str) -> Self {
        let kept = if writing() { BTreeMap::new() } else { read_vectors(name) };
        Self { name, about, kept, new: Vec::new() }
    }

    /// A vector whose bytes the code must write exactly. `read` decodes kept bytes and gives them back encoded
    /// again, with what follows from them.
    fn exact(&mut self, vector: &str, written: &[u8], read: impl Fn(&[u8]) -> (Vec<u8>, Facts)) {
        let bytes = self.kept_bytes(vector, written);
        let place = format!("{}: {vector}", self.name);
        assert_eq!(hex::encode(written), hex::encode(&bytes), "{place}: other bytes are written now");
        let (again, facts) = read(&bytes);
        assert_eq!(hex::encode(again), hex::encode(&bytes), "{place}: decoding and encoding changes the bytes");
        self.keep(vector, &bytes, facts);
    }

    /// A vector that may be compressed otherwise another time: only what it says is compared.
    fn packed(&mut self, vector: &str, written: &[u8], read: impl Fn(&[u8]) -> Facts) {
        let bytes = self.kept_bytes(vector, written);
        assert_eq!(read(written), read(&bytes), "{}: {vector}: other content is written now", self.name);
        self.keep(vector, &bytes, read(&bytes));
    }

    /// A derivation without bytes of its own.
    fn derived(&mut self, vector: &str, facts: Facts) {
        self.keep(vector, &[], facts);
    }

    fn kept_bytes(&self, vector: &str, written: &[u8]) -> Vec<u8> {
        if writing() {
            return written.to_vec();
        }
        let kept = self.kept.get(vector).unwrap_or_else(|| panic!("{}: no vector {vector}", self.name));
        hex::decode(kept["bytes"].as_str().expect("hex")).expect("hex")
    }

    fn keep(&mut self, vector: &str, bytes: &[u8], facts: Facts) {
        let facts = Value::Object(facts);
        if !writing() {
            let kept = self.kept.remove(vector).unwrap_or_else(|| panic!("{}: no vector {vector}", self.name));
            assert_eq!(facts, kept["facts"], "{}: {vector}: something else follows from the bytes now", self.name);
        }
        self.new.push(json!({ "name": vector, "bytes": hex::encode(bytes), "facts": facts }));
    }

    fn done(self) {
        if writing() {
            let file = json!({ "about": self.about, "vectors": self.new });
            let text = serde_json::to_string_pretty(&file).expect("json") + "\n";
            std::fs::write(fixtures().join(self.name), text).expect("the file can be written");
        } else {
            let left: Vec<&String> = self.kept.keys().collect();
            assert!(left.is_empty(), "{}: vectors that nothing checks: {left:?}", self.name);
        }
    }
}

fn read_json(name: &str) -> Value {
    let path = fixtures().join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("json")
}

fn read_vectors(name: &str) -> BTreeMap<String, Value> {
    let file = read_json(name);
    let vectors = file["vectors"].as_array().expect("a list").iter();
    vectors.map(|vector| (vector["name"].as_str().expect("a name").to_owned(), vector.clone())).collect()
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn bytes(value: impl AsRef<[u8]>) -> Value {
    Value::String(hex::encode(value))
}

/// A value of a type without a text form, as Rust's debugging output shows it: for people.
fn shown(value: &impl std::fmt::Debug) -> Value {
    Value::String(format!("{value:?}"))
}

fn canonical<T>(kept: &[u8]) -> (Vec<u8>, T)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()>,
{
    let value: T = cbor::decode("vector", kept, usize::MAX).expect("decodes");
    (cbor::encode(&value), value)
}

// ---------------------------------------------------------------------------------------------- documents

struct Object {
    birth: document::EncodedChange,
    edit: document::EncodedChange,
    change_actor: [u8; 16],
}

const SESSION: [u8; 16] = [0x44; 16];

/// The Automerge actor of a session, as `docs/format.md` derives it.
fn session_actor(log: &LogId, session: &[u8]) -> [u8; 16] {
    let epoch = log.epoch.0.to_be_bytes();
    let hash = domain::hash("actor", &[&log.workspace.0, &log.device.0, &epoch, session]);
    hash.0[..16].try_into().expect("16 bytes")
}

fn object() -> Object {
    let manifest = Manifest::from_json(br#"{"collection":"notes","fields":{"/body":"text","/n":"counter"}}"#)
        .expect("a manifest");
    let value = json!({ "title": "first", "body": "hello", "n": 3, "half": 0.5 });
    let birth = document::birth(&name("n1"), &name("notes"), &value, &manifest).expect("a birth");
    let mut doc = birth.doc;
    let change_actor = session_actor(&log(), &SESSION);
    let patch = Edit::MergePatch(json!({ "title": "second", "body": "hello there" }));
    let edit = document::apply(&mut doc, &patch, change_actor, 1_700_000_000, &manifest);
    Object { birth: birth.change, edit: edit.expect("an edit").expect("a change"), change_actor }
}

fn change_facts(change: &[u8]) -> Facts {
    let change = Change::try_from(change).expect("a change");
    facts([
        ("hash", bytes(change.hash().0)),
        ("actor", bytes(change.actor_id().to_bytes())),
        ("seq", json!(change.seq())),
        ("time", json!(change.timestamp())),
        ("deps", change.deps().iter().map(|dep| bytes(dep.0)).collect()),
    ])
}

fn edit_entry(n: u64, incarnation: Digest, change: &document::EncodedChange) -> Entry {
    Entry { payload_digest: change.hash, ..entry(n, EntryKind::EDIT, Some(subject(incarnation)), &change.bytes) }
}

#[test]
fn births_edits_and_their_actors() {
    let object = object();
    let mut file = File::open(
        "changes.json",
        "Automerge changes of object n1 in collection notes: its birth from a value, and an edit by a session's \
         actor. The birth's bytes are a pure function of object, collection and value.",
    );
    for (vector, change) in [("birth", &object.birth), ("edit", &object.edit)] {
        let hash = change.hash;
        file.exact(vector, &change.bytes, |kept| {
            assert_eq!(Change::try_from(kept).expect("a change").hash().0, hash.0);
            (Change::try_from(kept).expect("a change").raw_bytes().to_vec(), change_facts(kept))
        });
    }
    let content = br#"{"body":"hello","half":0.5,"n":3,"title":"first"}"#;
    let rules = [&5_u64.to_be_bytes()[..], b"/body", b"t", &2_u64.to_be_bytes()[..], b"/n", b"c"].concat();
    let birth_actor = domain::hash("birth", &[b"n1", b"notes", content, &rules]);
    let made = Change::try_from(object.birth.bytes.as_slice()).expect("a change");
    assert_eq!(made.actor_id().to_bytes(), &birth_actor.0[..16], "docs/format.md derives another actor");
    file.derived(
        "birth actor",
        facts([
            ("object", text("n1")),
            ("collection", text("notes")),
            ("content", text(String::from_utf8_lossy(content))),
            ("rules", bytes(&rules)),
            ("actor", bytes(&birth_actor.0[..16])),
        ]),
    );
    file.derived(
        "session actor",
        facts([
            ("log", text(domain::log_origin(&log()))),
            ("session", bytes(SESSION)),
            ("actor", bytes(object.change_actor)),
        ]),
    );
    file.done();
}

// ---------------------------------------------------------------------------------------------- entries

fn genesis() -> Genesis {
    Genesis {
        nonce: digest(0x51),
        owner: device(),
        key_agreement: identity(1).key_agreement(),
        name: "desk".to_owned(),
        manifests: vec![r#"{"collection":"notes"}"#.to_owned()],
        bundle: "permit(principal, action, resource);".to_owned(),
    }
}

fn member() -> Member {
    let joiner = identity(2);
    Member {
        device: joiner.device(),
        key_agreement: joiner.key_agreement(),
        key_signature: joiner.key_signature(&workspace()).to_vec(),
        name: "phone".to_owned(),
        role: Some(Role::Member),
        keys: vec![WrappedKey { key_epoch: 0, sealed: vec![0x52; 80] }],
        min_epoch: Epoch(0),
    }
}

fn payloads() -> Vec<(&'static str, EntryKind, Vec<u8>)> {
    let bundle = Bundle { text: "permit(principal, action, resource);".to_owned(), supersedes: vec![digest(0x53)] };
    let removal = Member { role: None, keys: Vec::new(), key_signature: Vec::new(), ..member() };
    let tombstone = Tombstone { heads: vec![object().edit.hash] };
    vec![
        ("genesis", EntryKind::GENESIS, genesis().to_bytes()),
        ("member", EntryKind::MEMBER, cbor::encode(&member())),
        ("member removed", EntryKind::MEMBER, cbor::encode(&removal)),
        ("bundle", EntryKind::BUNDLE, cbor::encode(&bundle)),
        ("manifest", EntryKind::MANIFEST, br#"{"collection":"notes","policyClass":"high"}"#.to_vec()),
        ("key-epoch", EntryKind::KEY_EPOCH, Vec::new()),
        ("session", EntryKind::SESSION, SESSION.to_vec()),
        ("tombstone", EntryKind::TOMBSTONE, cbor::encode(&tombstone)),
        ("checkpoint", EntryKind::CHECKPOINT, Vec::new()),
        ("unknown kind", EntryKind(4_711), b"of a later version".to_vec()),
    ]
}

fn entry_facts(kept: &[u8]) -> (Vec<u8>, Facts) {
    let entry = Entry::from_bytes(kept).expect("an entry");
    let facts = facts([
        ("kind", text(entry.kind.word())),
        ("operation", text(entry.operation)),
        ("time", text(entry.time)),
        ("actor", text(&entry.actor)),
        ("subject", shown(&entry.subject.as_ref().map(|s| (s.collection.as_str(), s.object.as_str(), s.incarnation.to_string())))),
        ("idempotency_key", json!(entry.idempotency_key)),
        ("replay_safe", json!(entry.replay_safe)),
        ("payload_digest", text(entry.payload_digest)),
        ("payload_len", json!(entry.payload_len)),
        ("requires", entry.requires.iter().map(text).collect()),
        ("seen", entry.seen.iter().map(|seen| text(format!("{} {} {}", domain::log_origin(&seen.log), seen.size, seen.root))).collect()),
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
        let about_object = (kind == EntryKind::TOMBSTONE).then(|| subject(object.birth.hash));
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
                (again, facts([("device", text(member.device)), ("key_statement", bytes(statement)), ("role", shown(&member.role))]))
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

// ---------------------------------------------------------------------------------------------- runs

fn records(edits: usize) -> Vec<LogRecord> {
    let object = object();
    let mut list = Vec::new();
    for (n, (_, kind, payload)) in payloads().into_iter().enumerate().filter(|(_, (_, kind, _))| kind.is_governance()) {
        list.push(LogRecord { entry: entry(n as u64, kind, None, &payload), payload: Some(payload) });
    }
    list.push(LogRecord { entry: entry(10, EntryKind::SESSION, None, &SESSION), payload: Some(SESSION.to_vec()) });
    let birth = edit_entry(11, object.birth.hash, &object.birth);
    list.push(LogRecord { entry: birth, payload: Some(object.birth.bytes.clone()) });
    let edit = Entry { base: Some(vec![object.birth.hash]), ..edit_entry(12, object.birth.hash, &object.edit) };
    list.push(LogRecord { entry: edit, payload: Some(object.edit.bytes.clone()) });
    let mut last = object.edit.hash;
    let manifest = Manifest::free_form(name("notes"));
    let value = json!({ "title": "other" });
    let other = document::birth(&name("n2"), &name("notes"), &value, &manifest).expect("a birth");
    let about_other = Subject { object: name("n2"), ..subject(other.change.hash) };
    let entry_of_other = Entry { subject: Some(about_other.clone()), ..edit_entry(13, other.change.hash, &other.change) };
    list.push(LogRecord { entry: entry_of_other, payload: Some(other.change.bytes.clone()) });
    let mut doc = other.doc;
    for n in 0..edits as u64 {
        let patch = Edit::MergePatch(json!({ "title": format!("title {n}"), "n": n }));
        let change = document::apply(&mut doc, &patch, object.change_actor, 1_700_000_000, &manifest);
        let change = change.expect("an edit").expect("a change");
        let entry = Entry { subject: Some(about_other.clone()), ..edit_entry(14 + n, other.change.hash, &change) };
        // Every third payload is withheld: its digest and length stay.
        let payload = (n % 3 != 2).then_some(change.bytes);
        list.push(LogRecord { entry, payload });
        last = change.hash;
    }
    let tombstone = cbor::encode(&Tombstone { heads: vec![last] });
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
        let decoded = run::decode(kept, 1 << 20).expect("a run");
        assert_eq!(decoded, list, "{vector}");
        run_facts(&decoded)
    };
    if compressed {
        file.packed(vector, &encoded.bytes, read);
    } else {
        file.exact(vector, &encoded.bytes, |kept| {
            let decoded = run::decode(kept, 1 << 20).expect("a run");
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
        let decoded = run::decode(&plain, 1 << 20).expect("a run");
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

// ---------------------------------------------------------------------------------------------- checkpoint, segment

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
        branch: false,
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
        Facts::from_iter([("associated_data".to_owned(), bytes(data)), ("root".to_owned(), facts["root"].clone())])
    };
    file.packed("segment", &segment(list).to_bytes(), read);
    file.done();
}

// ---------------------------------------------------------------------------------------------- messages

#[test]
fn control_messages() {
    let mut file = File::open("control.json", "Messages of the control stream, and the digest of a frontier.");
    let position = Position { log: log(), size: LogSeq(300), root: digest(0x41), branch: false };
    let outcome = message::Outcome { first: LogSeq(290), count: 10, state: EntryState::Admitted, operation: operation(0) };
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        features: message::features::ZSTD,
        workspace: workspace(),
        frontier: frontier_digest(&[position]),
        entries: 300,
    };
    let messages = [
        ("hello", Control::Hello(hello)),
        ("frontier", Control::Frontier(vec![position, Position { branch: true, ..position }])),
        ("ack", Control::Ack { log: log(), size: LogSeq(300), outcomes: vec![outcome] }),
        ("want", Control::Want { log: log(), from: LogSeq(17), branch: true }),
        ("close", Control::Close { code: CloseCode::Protocol, text: "that message has no place here".to_owned() }),
    ];
    for (vector, message) in messages {
        file.exact(vector, &message.to_bytes(), |kept| {
            let read = Control::from_bytes(kept).expect("a message");
            assert_eq!(read, message);
            (read.to_bytes(), Facts::new())
        });
    }
    let second = Position { log: LogId { epoch: Epoch(0), ..log() }, ..position };
    let digest = frontier_digest(&[position, second]);
    assert_eq!(digest, frontier_digest(&[second, position]), "the order does not count");
    let positions = [position, second].iter().map(|position| bytes(cbor::encode(position))).collect();
    file.derived("frontier digest", facts([("positions", positions), ("digest", text(digest))]));
    file.derived("frontier digest of nothing", facts([("digest", text(frontier_digest(&[])))]));
    let states = [EntryState::Sent, EntryState::Persisted, EntryState::Admitted, EntryState::Held, EntryState::Refused];
    let states = states.iter().map(|state| json!([format!("{state:?}"), hex::encode(cbor::encode(state))])).collect();
    file.derived("entry states", facts([("codes", states)]));
    file.done();
}

#[test]
fn tickets() {
    let mut file = File::open("tickets.json", "A ticket as text (in `bytes`, as UTF-8), and its public name.");
    let ticket = Ticket {
        workspace: workspace(),
        inviter: device(),
        addresses: vec!["127.0.0.1:4433".to_owned(), "[::1]:4433".to_owned()],
        secret: [0x71; 16],
        role: Role::Member,
        expires: TIME,
    };
    file.exact("ticket", ticket.to_string().as_bytes(), |kept| {
        let read = Ticket::parse(std::str::from_utf8(kept).expect("text")).expect("a ticket");
        assert_eq!(read, ticket);
        let facts = facts([
            ("text", text(&read)),
            ("cbor", bytes(cbor::encode(&read))),
            ("name", text(read.name())),
        ]);
        (read.to_string().into_bytes(), facts)
    });
    file.done();
}

#[test]
fn hashes_and_ids() {
    let mut file = File::open("derivations.json", "Ids and hashes from given inputs.");
    file.derived(
        "hash of parts",
        facts([("purpose", text("vector")), ("parts", json!(["01", "", "0203"])), ("hash", text(domain::hash("vector", &[&[1], &[], &[2, 3]])))]),
    );
    file.derived("label", facts([("purpose", text("segment")), ("label", text(domain::label("segment", &workspace())))]));
    file.derived(
        "operation id",
        facts([("time", json!(TIME.0)), ("tag", text(format!("{TAG:016x}"))), ("id", text(operation(0))), ("bytes", bytes(operation(0).0))]),
    );
    let identity = identity(1);
    file.derived(
        "identity",
        facts([
            ("secret", bytes([1; 64])),
            ("device", text(identity.device())),
            ("key_agreement", text(identity.key_agreement())),
        ]),
    );
    file.done();
}

// ---------------------------------------------------------------------------------------------- evidence

fn record() -> Record {
    Record {
        covers: Some(Coverage { log: CoveredLog::Device(log()), first: LogSeq(290), count: 10 }),
        decision: Some(digest(0x81)),
        ..ledger::record(RecordKind::Admission, Outcome::Admitted, OperationType::Replay, &actor(), device())
    }
}

fn decision() -> Decision {
    Decision {
        verdict: Verdict::Refuse,
        policies: vec!["device.quiet".to_owned(), "workspace.0badcafe.pay".to_owned()],
        errors: Vec::new(),
        policy_version: digest(0x82),
        inputs: BTreeMap::from([("aa".to_owned(), "2".to_owned()), ("b".to_owned(), "1".to_owned())]),
        reasons: vec!["Pay is settled by payroll.".to_owned()],
        advice: vec!["Ask payroll.".to_owned()],
    }
}

fn finding() -> Finding {
    Finding::new(FindingKind::LogFork, "log 03a107bf/2", Severity::Critical, "two histories", "pair again", TIME)
        .with_evidence(digest(0x83))
}

#[test]
fn evidence() {
    let mut file = File::open(
        "evidence.json",
        "Ledger records, a packed run of them, a decision with its digest and a finding with its id.",
    );
    let mut noted = Record {
        covers: Some(Coverage { log: CoveredLog::Local, first: LogSeq(0), count: 1 }),
        subject: Some(subject(digest(0x84))),
        data: Some(cbor::encode(&vec![digest(0x85), digest(0x86)])),
        ..ledger::record(RecordKind::Refusal, Outcome::Refused, OperationType::Enqueue, &actor(), device())
    };
    noted.set_note("not on a Sunday");
    let records = [("record", record()), ("record with everything", noted.clone())];
    for (vector, record) in records {
        file.exact(vector, &record.to_bytes(), |kept| {
            let read = Record::from_bytes(kept).expect("a record");
            assert_eq!(read, record);
            (read.to_bytes(), facts([("leaf", text(leaf_hash(kept)))]))
        });
    }
    for (vector, list) in [("ledger run", vec![record()]), ("ledger run, compressed", vec![noted.clone(); 8])] {
        let encoded = ledger::encode(&list);
        let (count, open_len) = (list.len() as u32, encoded.open_len as u32);
        file.packed(vector, &encoded.bytes, |kept| {
            let row = RunRow { count, open_len, checkpoint: checkpoint(1), bytes: kept.to_vec() };
            assert_eq!(ledger::decode(&row).expect("a run"), list);
            facts([("records", list.iter().map(|record| bytes(record.to_bytes())).collect())])
        });
    }
    file.exact("decision", &decision().to_bytes(), |kept| {
        let read = Decision::from_bytes(kept).expect("a decision");
        assert_eq!(read, decision());
        (read.to_bytes(), facts([("digest", text(read.digest()))]))
    });
    file.exact("finding", &finding().to_bytes(), |kept| {
        let read = Finding::from_bytes(kept).expect("a finding");
        assert_eq!(read, finding());
        (read.to_bytes(), facts([("id", text(read.id()))]))
    });
    file.done();
}

// ---------------------------------------------------------------------------------------------- rows

/// A row without `PartialEq` is compared as debugging output shows it.
fn check_row<T>(file: &mut File, vector: &str, row: &T)
where
    T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + std::fmt::Debug,
{
    file.exact(vector, &cbor::encode(row), |kept| {
        let (again, read) = canonical::<T>(kept);
        assert_eq!(format!("{read:?}"), format!("{row:?}"));
        (again, Facts::new())
    });
}

#[test]
fn rows() {
    let mut file = File::open("rows.json", "Values of the store's tables before they are sealed, and keys.");
    let mut tree = Tree::default();
    tree.append_entry(&[0]);
    let log_row = LogRow {
        kind: LogKind::Device(log()),
        tree,
        checkpoint: Some(checkpoint(1)),
        last: Some((operation(0), TIME)),
        governance: vec![digest(0x21)],
        actor: Some([0x91; 16]),
        frozen: false,
        fold_from: LogSeq(0),
        loose: 1,
    };
    check_row(&mut file, "logs: device", &log_row);
    let empty = LogRow { kind: LogKind::Ledger, tree: Tree::default(), checkpoint: None, last: None, actor: None, ..log_row };
    check_row(&mut file, "logs: empty ledger", &empty);
    check_row(&mut file, "logs: kinds", &vec![LogKind::Device(log()), LogKind::Local, LogKind::Ledger, LogKind::Branch(log())]);
    check_row(&mut file, "runs", &RunRow { count: 1, open_len: 3, checkpoint: checkpoint(1), bytes: vec![0, 1, 2, 3] });
    let object_row = ObjectRow {
        collection: name::<Collection>("notes"),
        object: name::<ObjectId>("n1"),
        incarnation: Incarnation([0x92; 32]),
        document: 7,
        heads: vec![digest(0x93)],
        snapshot_bytes: 1_000,
        parts: 2,
        tail_bytes: 300,
        changes: 5,
        covered: vec![digest(0x93)],
        created: TIME,
        changed: TIME.plus(5),
    };
    check_row(&mut file, "objects", &object_row);
    let sources = vec![Source { log: LogNo(2), first: LogSeq(4), count: 2 }];
    check_row(&mut file, "docs: tail", &PartRow { sources: sources.clone(), bytes: vec![1, 2, 3], lengths: vec![1, 2] });
    check_row(&mut file, "docs: snapshot", &PartRow { sources, bytes: vec![1, 2, 3], lengths: Vec::new() });
    let pending = PendingRow {
        state: EntryState::Held,
        reason: "it builds on changes that have not arrived".to_owned(),
        object: Some((name("n1"), Incarnation([0x92; 32]))),
        missing: vec![digest(0x94)],
        requires: vec![operation(3)],
        decision: None,
        since: TIME,
        session: Some([0x91; 16]),
    };
    check_row(&mut file, "pending", &pending);
    check_row(&mut file, "idempotency", &IdempotencyRow { operation: operation(0), object: None, request: digest(0x95) });
    check_row(&mut file, "peers", &PeerRow { count: 3, state: EntryState::Admitted, operation: operation(9), at: TIME });
    check_row(&mut file, "tickets", &TicketRow { role: Role::Agent, expires: TIME, secret: [0x71; 16], confirm: true, used: None });
    let governance = GovernanceRow { id: digest(0x96), parents: vec![digest(0x97)], author: device(), kind: EntryKind::MEMBER, payload: vec![1, 2] };
    check_row(&mut file, "governance", &governance);
    let keys = vec![WorkspaceKey { key_epoch: 3, key: [0x61; 32] }];
    check_row(&mut file, "keys: store", &StoreRow { name: digest(0x32), epoch: Epoch(2), keys, stopped: None });
    let incarnation = Incarnation([0x92; 32]);
    let keys = [
        ("logs", key::log(LogNo(258))),
        ("runs and pending", key::position(LogNo(258), LogSeq(772))),
        ("objects", key::object(&name("n1"), &incarnation)),
        ("docs", key::part(7, 2)),
        ("names", key::name(&name("notes"), &name("n1"), &incarnation)),
        ("peers", key::peer(&device(), LogNo(258), LogSeq(772))),
    ];
    file.derived("keys of tables", keys.into_iter().map(|(table, key)| (table.to_owned(), bytes(key))).collect());
    file.done();
}

// ---------------------------------------------------------------------------------------------- a whole store

/// A store in memory: opening a kept file must not change the file.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Vec<u8>>>);

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

impl Disk {
    fn location(&self) -> Location {
        let disk = self.clone();
        Location::Backend(Arc::new(move || Box::new(disk.clone())))
    }
}

fn config(disk: &Disk, byte: u8) -> Config {
    Config {
        location: disk.location(),
        store_key: Zeroizing::new([byte; 32]),
        identity: identity(byte),
        entropy: Box::new(Chain([byte; 32])),
    }
}

fn at(n: u64) -> UnixMicros {
    TIME.plus(n * 1_000_000)
}

fn call(engine: &mut Engine, actor: &str, intent: Intent, n: u64) -> Result<OperationId, String> {
    let mut request = WriteRequest::new(actor.parse().expect("an actor"), intent);
    request.idempotency_key = (n % 10 == 3).then(|| format!("call-{n}"));
    let answer = engine.write(&[request], at(n)).expect("the disk works").0.remove(0);
    answer.map(|written| written.operation).map_err(|error| error.to_string())
}

fn put(collection: &str, id: &str, value: Value) -> Intent {
    Intent::Put { collection: name(collection), object: Some(name(id)), value }
}

fn patch(id: &str, value: Value) -> Intent {
    Intent::Edit { object: name(id), base: None, edit: Edit::MergePatch(value) }
}

/// Makes a workspace with some of everything and returns the owner's disk.
fn make_store() -> Disk {
    let (disk, other) = (Disk::default(), Disk::default());
    let mut ada = Engine::create(config(&disk, 1), "desk", at(0)).expect("a workspace");
    call(&mut ada, "user:ada", put("notes", "n1", json!({ "title": "first", "n": 1 })), 1).expect("put");
    call(&mut ada, "user:ada", put("files", "f1", json!({ "path": "a.txt", "text": "hello\n" })), 2).expect("put");
    call(&mut ada, "user:ada", put("vault", "v1", json!({ "password": "hunter2" })), 3).expect("put");
    call(&mut ada, "user:ada", put("notes", "gone", json!({ "a": 1 })), 4).expect("put");
    call(&mut ada, "user:ada", Intent::Delete { object: name("gone") }, 5).expect("deleted");
    for n in 6..80 {
        let line = format!("line {n} of a text that grows until its document is saved as a whole\n");
        let edit = Edit::Splice { path: "/text".to_owned(), pos: 0, del: 0, text: line };
        call(&mut ada, "user:ada", Intent::Edit { object: name("f1"), base: None, edit }, n).expect("edited");
    }
    call(&mut ada, "agent:scribe", patch("n1", json!({ "n": 2 })), 80).expect_err("an agent names a base");
    call(&mut ada, "user:ada", Intent::Checkpoint, 81).expect("a checkpoint");
    ada.invite(Role::Member, at(10_000), true, vec!["127.0.0.1:4433".to_owned()]).expect("a ticket");

    let joiner = identity(2);
    let signature = joiner.key_signature(&ada.workspace());
    let (welcome, _) = ada
        .enrol(joiner.device(), "phone", Role::Member, joiner.key_agreement(), &signature, at(82))
        .expect("enrolled");
    let mut bob = Engine::join(config(&other, 2), ada.workspace(), ada.device(), &welcome).expect("joined");
    exchange(&mut ada, &mut bob, 83);
    call(&mut bob, "user:bob", patch("n1", json!({ "title": "second" })), 84).expect("edited");
    call(&mut bob, "user:bob", put("notes", "n2", json!({ "by": "bob" })), 85).expect("put");
    exchange(&mut bob, &mut ada, 86);
    let outcome = message::Outcome { first: LogSeq(0), count: 3, state: EntryState::Admitted, operation: operation(7) };
    ada.note_outcomes(&joiner.device(), &ada.own_log(), &[outcome], at(87)).expect("noted");
    ada.note_addresses(&joiner.device(), &["127.0.0.1:4434".to_owned()]).expect("noted");
    ada.note_refused_pairing(DeviceId([9; 32]), "an expired ticket", at(88)).expect("a finding");
    ada.close().expect("closes");
    compact(&disk);
    disk
}

/// Gives `to` whatever `from` holds.
fn exchange(from: &mut Engine, to: &mut Engine, n: u64) {
    for (log, size) in from.log_sizes() {
        while to.size_of_log(&log) < size {
            let segment = from.segment(&log, to.size_of_log(&log), false).expect("readable").expect("a segment");
            to.receive(from.device(), &segment, at(n)).expect("received");
        }
    }
}

/// Gives back the pages that redb keeps for later, so that the kept file is small.
fn compact(disk: &Disk) {
    let mut database = redb::Database::builder().create_with_backend(disk.clone()).expect("opens");
    while database.compact().expect("compacts") {}
}

const STORE: &str = "store-1.redb";

fn store_facts(engine: &mut Engine) -> Value {
    let positions = engine.frontier().iter().map(|p| json!([domain::log_origin(&p.log), p.size.0, p.root.to_string()])).collect::<Vec<_>>();
    let objects = ["n1", "n2", "f1", "v1", "gone"].map(|id| {
        let view = engine.get(&name(id)).expect("readable").expect("there");
        json!({ "object": id, "value": view.value, "state": view.state, "heads": view.heads, "history": engine.history(&name(id)).expect("readable").len() })
    });
    json!({ "frontier": positions, "objects": objects })
}

#[test]
fn a_store_of_this_format_stays_openable() {
    let path = fixtures().join(STORE);
    if writing() {
        let disk = make_store();
        std::fs::write(&path, disk.0.lock().unwrap().as_slice()).expect("the file can be written");
        let mut engine = Engine::open(config(&disk, 1)).expect("opens");
        let about = "A whole store of format 1 in store-1.redb: what its logs and objects are.";
        let file = json!({
            "about": about,
            "store_key": hex::encode([1; 32]),
            "identity_secret": hex::encode([1; 64]),
            "workspace": engine.workspace(),
            "device": engine.device(),
            "facts": store_facts(&mut engine),
        });
        let text = serde_json::to_string_pretty(&file).expect("json") + "\n";
        std::fs::write(fixtures().join("store-1.json"), text).expect("the file can be written");
    }
    let kept = read_json("store-1.json");
    let disk = Disk(Arc::new(Mutex::new(std::fs::read(&path).expect("the kept store"))));
    let mut engine = Engine::open(config(&disk, 1)).expect("a store of format 1 opens");
    assert_eq!(text(engine.workspace()), kept["workspace"]);
    assert_eq!(text(engine.device()), kept["device"]);
    assert_eq!(store_facts(&mut engine), kept["facts"]);
    let report = engine.verify(|_, _| {}).expect("readable");
    assert!(report.ok, "{:?}", report.findings);
    call(&mut engine, "user:ada", patch("n1", json!({ "title": "third" })), 1_003).expect("and goes on");
    drop(engine);
    every_row(&disk);
}

/// Every row of the kept store is decoded and encoded again: what is not canonical is not of this format.
fn every_row(disk: &Disk) {
    let key = SealKey::from_bytes(Zeroizing::new([1; 32]));
    let store = Store::open(&disk.location(), key, Box::new(Chain([3; 32]))).expect("opens");
    assert_eq!(store.get_plain("format").expect("readable").expect("there"), [0, 0, 0, 1]);
    let mut actors = Vec::new();
    let mut sessions = Vec::new();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Plain) {
        let rows = store.range(table, Bound::Unbounded, Bound::Unbounded, usize::MAX).expect("readable");
        assert!(!rows.is_empty() || table == Table::Pending, "table {} is empty", table.name());
        for (key, value) in rows {
            let again = match table {
                Table::Plain => continue,
                Table::Runs => {
                    let (again, row) = canonical::<RunRow>(&value);
                    if key[..4] == [0; 4] {
                        ledger::decode(&row).expect("records");
                    } else {
                        look_into(&row, key[..4] == [0, 0, 0, 2], &mut sessions, &mut actors);
                    }
                    again
                }
                Table::Logs => canonical::<LogRow>(&value).0,
                Table::Objects => canonical::<ObjectRow>(&value).0,
                Table::Docs => canonical::<PartRow>(&value).0,
                Table::Names => Vec::new(),
                Table::Pending => canonical::<PendingRow>(&value).0,
                Table::Idempotency => canonical::<IdempotencyRow>(&value).0,
                Table::Decisions => {
                    let decision = Decision::from_bytes(&value).expect("a decision");
                    assert_eq!(decision.digest().0.to_vec(), key);
                    decision.to_bytes()
                }
                Table::Findings => {
                    let finding = Finding::from_bytes(&value).expect("a finding");
                    assert_eq!(finding.id().0.to_vec(), key);
                    finding.to_bytes()
                }
                Table::Peers => canonical::<PeerRow>(&value).0,
                Table::Tickets => canonical::<TicketRow>(&value).0,
                Table::Governance => canonical::<GovernanceRow>(&value).0,
                Table::Keys if key == b"store" => canonical::<StoreRow>(&value).0,
                Table::Keys => canonical::<Vec<String>>(&value).0,
            };
            assert_eq!(again, value, "table {}, key {}", table.name(), hex::encode(key));
        }
    }
    let log = LogId { workspace: WorkspaceId(store.get_plain("workspace").expect("readable").expect("there").try_into().expect("16 bytes")), device: device(), epoch: Epoch(0) };
    let allowed: Vec<[u8; 16]> = sessions.iter().map(|session: &Vec<u8>| session_actor(&log, session)).collect();
    assert!(actors.len() > 70 && actors.iter().all(|actor| allowed.iter().any(|a| a[..] == actor[..])), "actors follow from sessions");
}

/// Decodes a run, encodes it again, and collects sessions and the actors of edits that are no births.
fn look_into(row: &RunRow, own: bool, sessions: &mut Vec<Vec<u8>>, actors: &mut Vec<Vec<u8>>) {
    let records = run::decode(&row.bytes, row.open_len as usize).expect("a run");
    assert_eq!(records.len(), row.count as usize);
    let again = run::encode(&records);
    assert_eq!(again.open_len, row.open_len as usize);
    assert_eq!(run::decode(&again.bytes, again.open_len).expect("a run"), records);
    for record in records.iter().filter(|_| own) {
        let Some(payload) = &record.payload else { continue };
        if record.entry.kind == EntryKind::SESSION {
            sessions.push(payload.clone());
        }
        if record.entry.kind == EntryKind::EDIT && !record.entry.is_birth() {
            let change = Change::try_from(payload.as_slice()).expect("a change");
            actors.push(change.actor_id().to_bytes().to_vec());
        }
    }
}

#[test]
fn scratch_length() {
    let object = object();
    let mut e = edit_entry(30, object.birth.hash, &object.edit);
    e.payload_len += 1;
    let list = vec![LogRecord { entry: e, payload: Some(object.edit.bytes.clone()) }];
    let back = run::decode(&run::encode(&list).bytes, 1 << 20).expect("a run");
    assert_eq!(back, list);
}
#[test]
fn scratch_branch() {
    let (disk, other) = (Disk::default(), Disk::default());
    let mut ada = Engine::create(config(&disk, 1), "desk", at(0)).expect("a workspace");
    let joiner = identity(2);
    let signature = joiner.key_signature(&ada.workspace());
    let (welcome, _) = ada.enrol(joiner.device(), "phone", Role::Member, joiner.key_agreement(), &signature, at(1)).expect("enrolled");
    let mut bob = Engine::join(config(&other, 2), ada.workspace(), ada.device(), &welcome).expect("joined");
    exchange(&mut ada, &mut bob, 2);
    let log = ada.own_log();
    let mut segment = ada.segment(&log, LogSeq(0), false).unwrap().unwrap();
    segment.branch = true;
    let got = bob.receive(ada.device(), &segment, at(3));
    let frozen = bob.status().unwrap().logs.iter().any(|l| l.frozen);
    assert!(!frozen, "{got:?}");
}
#[test]
fn scratch_overlong() {
    let all = records(0);
    let enc = run::encode(&all[5..6]).bytes;
    println!("{}", hex::encode(&enc));
    // compression, version, count, heads len, flags (two bytes LEB)
    let mut b = enc.clone();
    let flags_at = 4;
    println!("{:x?}", &b[..8]);
    b[flags_at + 1] |= 0x80; // continue
    b.insert(flags_at + 2, 0x04); // bit 16
    b[3] += 1;
    println!("unknown flag: {:?}", run::decode(&b, 1<<20).map(|r| r == all[5..6]));
}
