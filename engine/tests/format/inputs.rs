//! What the vectors are made from: fixed ids, keys, times, an object with two changes, a payload of every kind.

use serde_json::json;
use syncd_engine::{Edit, Identity, document};
use syncd_evidence::Checkpoint;
use syncd_schema::burst::{Answer, Burst};
use syncd_schema::entry::{ENTRY_VERSION, Ending, Rebirth, Subject, Tombstone, Upto};
use syncd_schema::governance::{Bundle, WrappedKey};
use syncd_schema::{
    Actor, DeviceId, Digest, Entropy, Entry, EntryKind, Epoch, Genesis, Incarnation, LogId, LogSeq, Manifest,
    Member, OperationId, Role, UnixMicros, WorkspaceId, cbor, domain,
};
use zeroize::Zeroizing;

pub(crate) const TIME: UnixMicros = UnixMicros(1_700_000_000_123_456);
pub(crate) const TAG: u64 = 0x0123_4567_89ab_cdef;

pub(crate) fn workspace() -> WorkspaceId {
    WorkspaceId([0x11; 16])
}

pub(crate) fn device() -> DeviceId {
    identity(1).device()
}

/// The identity whose 64 secret bytes are all the same.
pub(crate) fn identity(byte: u8) -> Identity {
    Identity::from_secret(&Zeroizing::new([byte; 64]))
}

pub(crate) fn log() -> LogId {
    LogId { workspace: workspace(), device: device(), epoch: Epoch(2) }
}

pub(crate) fn operation(n: u64) -> OperationId {
    OperationId::at(TIME.plus(n), TAG)
}

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

pub(crate) fn actor() -> Actor {
    "user:ada".parse().expect("an actor")
}

pub(crate) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

pub(crate) fn subject(incarnation: Digest) -> Subject {
    Subject { collection: name("notes"), object: name("n1"), incarnation: Incarnation(incarnation.0) }
}

pub(crate) fn entry(n: u64, kind: EntryKind, subject: Option<Subject>, payload: &[u8]) -> Entry {
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
        note: None,
    }
}

pub(crate) fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint::sign(&domain::log_origin(&log()), LogSeq(size), digest(0x31), identity(1).key())
}

/// A byte stream that repeats: every byte one more than the last.
pub(crate) struct Counting(pub(crate) u8);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// Randomness of a store: a SHA-256 chain over a seed.
pub(crate) struct Chain(pub(crate) [u8; 32]);

impl Entropy for Chain {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 = domain::sha256(&self.0).0;
            let out = domain::sha256(&[self.0.as_slice(), b"out"].concat()).0;
            chunk.copy_from_slice(&out[..chunk.len()]);
        }
    }
}

pub(crate) struct Object {
    pub(crate) birth: document::EncodedChange,
    pub(crate) edit: document::EncodedChange,
    pub(crate) change_actor: [u8; 16],
}

pub(crate) const SESSION: [u8; 16] = [0x44; 16];

/// The Automerge actor of a session, as `docs/format.md` derives it.
pub(crate) fn session_actor(log: &LogId, session: &[u8]) -> [u8; 16] {
    let epoch = log.epoch.0.to_be_bytes();
    let hash = domain::hash("actor", &[&log.workspace.0, &log.device.0, &epoch, session]);
    hash.0[..16].try_into().expect("16 bytes")
}

pub(crate) fn object() -> Object {
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

pub(crate) fn edit_entry(n: u64, incarnation: Digest, change: &document::EncodedChange) -> Entry {
    Entry {
        payload_digest: change.hash,
        ..entry(n, EntryKind::EDIT, Some(subject(incarnation)), &change.bytes)
    }
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        nonce: digest(0x51),
        owner: device(),
        key_agreement: identity(1).key_agreement(),
        name: "desk".to_owned(),
        manifests: vec![r#"{"collection":"notes"}"#.to_owned()],
        bundle: "permit(principal, action, resource);".to_owned(),
    }
}

pub(crate) fn member() -> Member {
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

pub(crate) fn payloads() -> Vec<(&'static str, EntryKind, Vec<u8>)> {
    let bundle =
        Bundle { text: "permit(principal, action, resource);".to_owned(), supersedes: vec![digest(0x53)] };
    let removal = Member { role: None, keys: Vec::new(), key_signature: Vec::new(), ..member() };
    let tombstone = Tombstone { heads: vec![object().edit.hash], keeps: None };
    let upto = |byte: u8, seq| Upto { device: DeviceId([byte; 32]), epoch: Epoch(1), seq: LogSeq(seq) };
    let rebirth = Rebirth { new: Some(Incarnation([0x92; 32])), upto: vec![upto(1, 7), upto(2, 1)] };
    let keeps = Some(Incarnation(digest(0x54).0));
    let ending = Ending {
        deletes: Tombstone { keeps, ..tombstone.clone() },
        card: digest(0x55),
        choice: "keep_remote".to_owned(),
    };
    let answer = Answer {
        device: device(),
        epoch: Epoch(2),
        actor: actor(),
        from: LogSeq(7),
        through: LogSeq(300),
        lets_in: true,
    };
    vec![
        ("genesis", EntryKind::GENESIS, genesis().to_bytes()),
        ("member", EntryKind::MEMBER, cbor::encode(&member())),
        ("member removed", EntryKind::MEMBER, cbor::encode(&removal)),
        ("bundle", EntryKind::BUNDLE, cbor::encode(&bundle)),
        ("manifest", EntryKind::MANIFEST, br#"{"collection":"notes","policyClass":"high"}"#.to_vec()),
        ("key-epoch", EntryKind::KEY_EPOCH, Vec::new()),
        ("session", EntryKind::SESSION, SESSION.to_vec()),
        ("tombstone", EntryKind::TOMBSTONE, cbor::encode(&tombstone)),
        ("rebirth", EntryKind::REBIRTH, cbor::encode(&rebirth)),
        ("ending", EntryKind::ENDING, cbor::encode(&ending)),
        ("burst begins", EntryKind::BURST, cbor::encode(&Burst::Begins)),
        ("burst answered", EntryKind::BURST, cbor::encode(&Burst::Answer(answer))),
        ("checkpoint", EntryKind::CHECKPOINT, Vec::new()),
        ("unknown kind", EntryKind(4_711), b"of a later version".to_vec()),
    ]
}
