//! One history of one log, written by hand: entries that say what they are told to, signed as they should be.

use crate::rng::Rng;
use crate::workload::actor;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, ROOT, ReadDoc};
use serde_json::Value;
use std::collections::BTreeSet;
use syncd_engine::conflict::{self, Choice, Question, Settlement};
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::log::{LogRecord, run};
use syncd_engine::store::seal::SealKey;
use syncd_engine::{Edit, Engine, Identity};
use syncd_evidence::merkle::leaf_hash;
use syncd_evidence::{Checkpoint, Tree};
use syncd_schema::entry::{ENTRY_VERSION, Subject};
use syncd_schema::message::Segment;
use syncd_schema::{
    Digest, Entry, EntryKind, Epoch, Incarnation, LogId, LogSeq, Manifest, OperationId, UnixMicros, cbor,
    domain,
};

/// A history of a log. A clone of it is where the log forks.
#[derive(Clone, Debug)]
pub struct Quill {
    /// The log.
    pub log: LogId,
    /// Over all that was written.
    pub tree: Tree,
    /// When the last entry says that it was written.
    pub time: UnixMicros,
    /// The governance that the next entries name.
    pub governance: Vec<Digest>,
    /// The session of the next edits.
    pub session: [u8; 16],
    /// What was written, as it travels.
    pub sent: Vec<Segment>,
    /// The tree before each of these.
    before: Vec<Tree>,
    /// Objects that were born in it.
    pub born: BTreeSet<String>,
}

impl Quill {
    /// A log that holds nothing yet.
    #[must_use]
    pub fn new(log: LogId, time: UnixMicros, session: [u8; 16]) -> Self {
        Self {
            log,
            tree: Tree::default(),
            time,
            governance: Vec::new(),
            session,
            sent: Vec::new(),
            before: Vec::new(),
            born: BTreeSet::new(),
        }
    }

    /// The same device's log of another epoch, with nothing in it.
    #[must_use]
    pub fn of_epoch(&self, epoch: u32) -> Self {
        let log = LogId { epoch: Epoch(epoch), ..self.log };
        Self { governance: self.governance.clone(), ..Self::new(log, self.time, self.session) }
    }

    /// The Automerge actor of its session.
    #[must_use]
    pub fn actor(&self) -> [u8; 16] {
        let epoch = self.log.epoch.0.to_be_bytes();
        let parts: [&[u8]; 4] = [&self.log.workspace.0, &self.log.device.0, &epoch, &self.session];
        domain::hash("actor", &parts).0[..16].try_into().expect("16 bytes")
    }

    /// The next entry.
    pub fn record(&mut self, kind: EntryKind, subject: Option<Subject>, payload: &[u8]) -> LogRecord {
        self.time = self.time.plus(1_000);
        let hashed = if kind.is_change() { payload.get(8..).unwrap_or_default() } else { payload };
        let entry = Entry {
            version: ENTRY_VERSION,
            kind,
            operation: OperationId::at(self.time, 7),
            time: self.time,
            actor: actor(),
            subject,
            idempotency_key: None,
            replay_safe: false,
            payload_digest: domain::sha256(hashed),
            payload_len: payload.len() as u32,
            requires: Vec::new(),
            seen: Vec::new(),
            governance: self.governance.clone(),
            base: None,
            note: None,
        };
        LogRecord { entry, payload: Some(payload.to_vec()) }
    }

    /// The entry that says which session the next edits are of.
    pub fn begin(&mut self) -> LogRecord {
        let session = self.session;
        self.record(EntryKind::SESSION, None, &session)
    }

    /// A new object.
    pub fn birth(&mut self, id: &str, value: &Value) -> LogRecord {
        self.born.insert(id.to_owned());
        let (collection, object) = ("lies".parse().expect("a collection"), id.parse().expect("an id"));
        let manifest = Manifest::free_form(collection);
        let birth = document::birth(&object, &manifest.collection, value, &manifest).expect("born");
        let incarnation = Incarnation(birth.change.hash.0);
        let subject = Subject { collection: manifest.collection, object, incarnation };
        self.record(EntryKind::EDIT, Some(subject), &birth.change.bytes)
    }

    /// An honest edit of what an engine holds, if it holds it.
    pub fn edit(&mut self, engine: &mut Engine, subject: &Subject, value: Value) -> Option<LogRecord> {
        let change = self.change(engine, subject, value)?;
        Some(self.record(EntryKind::EDIT, Some(subject.clone()), &change.bytes))
    }

    /// The change of such an edit.
    pub fn change(&self, engine: &mut Engine, subject: &Subject, value: Value) -> Option<EncodedChange> {
        self.change_on(engine, subject, value, false)
    }

    /// As [`Quill::change`]; of the object as it was born, if that is asked for, as if nothing had come since.
    pub fn change_on(
        &self,
        engine: &mut Engine,
        subject: &Subject,
        value: Value,
        as_born: bool,
    ) -> Option<EncodedChange> {
        let mut doc = engine.with_object(&subject.object, Clone::clone).expect("readable")?;
        if as_born {
            let birth = doc.get_changes(&[]).first()?.hash();
            doc = doc.fork_at(&[birth]).ok()?;
        }
        let manifest = Manifest::free_form(subject.collection.clone());
        document::apply(&mut doc, &Edit::MergePatch(value), self.actor(), 0, &manifest).ok().flatten()
    }

    /// A resolution in its right form, of what an engine holds, that says what it likes about question and card.
    pub fn resolution(
        &mut self,
        engine: &mut Engine,
        subject: &Subject,
        question: Question,
        card: Digest,
    ) -> Option<LogRecord> {
        let doc = engine.with_object(&subject.object, Clone::clone).expect("readable")?;
        let heads = document::heads(&doc).into_iter().collect();
        let settlement = Settlement {
            question,
            choice: Choice::Merge,
            generation: conflict::generation(&doc, &heads),
            card,
        };
        let by = |actor: [u8; 16]| {
            let mut copy = doc.clone();
            copy.set_actor(ActorId::from(&actor[..]));
            let mut tx = copy.transaction();
            tx.put(ROOT, "resolved", card.to_string()).expect("put");
            let options = CommitOptions::default().with_time(0).with_message(settlement.to_string());
            let hash = tx.commit_with(options).0.expect("a change");
            copy.get_change_by_hash(&hash).expect("made")
        };
        let change = by(conflict::pure_actor(&by([0; 16])));
        Some(self.record(EntryKind::RESOLUTION, Some(subject.clone()), change.raw_bytes()))
    }

    /// Appends entries, as one signed segment.
    pub fn append(&mut self, records: &[LogRecord], hand: &mut Hand) -> Segment {
        let first = self.tree.size();
        self.before.push(self.tree.clone());
        for record in records {
            self.tree.append(leaf_hash(&record.entry.to_bytes()));
        }
        let segment = self.seal(first, records, hand);
        self.sent.push(segment.clone());
        segment
    }

    /// Forgets what was written after the first few segments.
    pub fn rewind(&mut self, segments: usize) {
        if let Some(tree) = self.before.get(segments) {
            self.tree = tree.clone();
            self.before.truncate(segments);
            self.sent.truncate(segments);
        }
    }

    /// A segment that says what it is told to, under the checkpoint of the tree as it stands.
    pub fn seal(&self, first: LogSeq, records: &[LogRecord], hand: &mut Hand) -> Segment {
        let origin = domain::log_origin(&self.log);
        let checkpoint = Checkpoint::sign(&origin, self.tree.size(), self.tree.root(), hand.identity.key());
        let run = run::encode(records);
        let mut segment = Segment {
            log: self.log,
            first,
            count: records.len() as u32,
            checkpoint: cbor::encode(&checkpoint),
            key_epoch: 0,
            open_len: run.open_len as u32,
            branch: None,
            sealed: Vec::new(),
        };
        segment.sealed = hand.key.seal(&run.bytes, &segment.associated_data(), &mut hand.rng);
        segment
    }
}

/// What signs and seals: the keys of a member, and its randomness.
pub struct Hand {
    /// Its keys.
    pub identity: Identity,
    /// The workspace's key.
    pub key: SealKey,
    /// What it draws from.
    pub rng: Rng,
}

impl std::fmt::Debug for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hand").field("identity", &self.identity).finish_non_exhaustive()
    }
}
