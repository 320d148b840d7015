//! The packed run: consecutive entries of one log with their payloads, without what can be derived.
//!
//! One format serves the store and the wire, so that what was received is stored as it came. Left out are digests
//! of payloads that are there, an Automerge chunk's header, dependencies and actor where the run itself tells
//! them, ids that follow from time and tag, and whatever equals the entry before. `docs/format.md` has the bytes.
//! Decoding trusts nothing: every length is bounded, and the caller checks the rebuilt leaves against a signed
//! checkpoint.

use super::bytes::{ReadError, Reader, Writer};
use super::compressed::{self, Encoded, OpenError};
use crate::guard::Refused;
use crate::guard::chunk;
use std::collections::HashMap;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::entry::{ENTRY_VERSION, Subject};
use syncd_schema::{
    Actor, Collection, Digest, Entry, EntryKind, Incarnation, ObjectId, OperationId, UnixMicros, domain,
    limits,
};

/// First byte of every run.
const RUN_VERSION: u8 = 1;
/// Where the default is not enough: what others pack most tightly must still fit when it is packed again.
const ZSTD_HARD: i32 = 19;
/// What a seal adds: nonce and tag.
const SEAL_BYTES: usize = 64;

/// Bits of an entry's flags.
mod flag {
    pub(super) const EDIT: u64 = 1;
    pub(super) const TAGGED_ID: u64 = 1 << 1;
    pub(super) const SAME_ACTOR: u64 = 1 << 2;
    pub(super) const SUBJECT: u64 = 1 << 3;
    pub(super) const KNOWN_SUBJECT: u64 = 1 << 4;
    pub(super) const BIRTH: u64 = 1 << 5;
    pub(super) const SAME_GOVERNANCE: u64 = 1 << 6;
    pub(super) const IDEMPOTENCY: u64 = 1 << 7;
    pub(super) const REPLAY_SAFE: u64 = 1 << 8;
    pub(super) const PAYLOAD: u64 = 1 << 9;
    pub(super) const REFERENCES: u64 = 1 << 10;
    pub(super) const BASE: u64 = 1 << 11;
    pub(super) const PACKED_CHANGE: u64 = 1 << 12;
    pub(super) const SAME_CHANGE_ACTOR: u64 = 1 << 13;
    pub(super) const NEXT_IN_OBJECT: u64 = 1 << 14;
    pub(super) const SAME_COLLECTION: u64 = 1 << 15;
    pub(super) const NOTE: u64 = 1 << 16;
    /// All of them: a bit beyond is of a version that this one would misread.
    pub(super) const ALL: u64 = (1 << 17) - 1;
}

/// One entry of a log with its payload, which may be withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The entry.
    pub entry: Entry,
    /// Its payload, if it is here.
    pub payload: Option<Vec<u8>>,
}

impl LogRecord {
    /// Whether the payload, if it is here, is the one that the entry names. An Automerge change's hash is over its
    /// chunk without magic and checksum, which are eight bytes.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let Some(payload) = &self.payload else { return true };
        let hashed = if self.entry.kind.is_change() { payload.get(8..).unwrap_or_default() } else { payload };
        payload.len() == self.entry.payload_len as usize
            && domain::sha256(hashed) == self.entry.payload_digest
    }
}

/// Why bytes are not a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Ends early or counts too far.
    #[error("run: {0}")]
    Read(#[from] ReadError),
    /// A change in it cannot be put together.
    #[error("run: {0}")]
    Change(#[from] Refused),
    /// Its body does not open.
    #[error("run: {0}")]
    Open(#[from] OpenError),
    /// Another version, or bytes left over.
    #[error("run: {0}")]
    Form(&'static str),
    /// Claims more than its limit when decompressed.
    #[error("run: opens to more than the {limit} bytes that were announced")]
    TooLarge {
        /// The announced size.
        limit: usize,
    },
    /// An entry in it breaks the format.
    #[error("run: entry {index}")]
    Entry {
        /// Which entry of the run.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: CborError,
    },
}

/// Encodes records in order.
#[must_use]
pub fn encode(records: &[LogRecord]) -> Encoded {
    compressed::compress(&pack(records), compressed::LEVEL)
}

/// Encodes records that are to travel in one segment; none when others would not take it. Who sent them may have
/// compressed them better than is done here, so more is tried before it is given up.
#[must_use]
pub fn encode_for_segment(records: &[LogRecord]) -> Option<Encoded> {
    let required = records.iter().map(|record| record.entry.requires.len()).sum::<usize>();
    if required > limits::SEGMENT_REQUIRES || records.len() > limits::SEGMENT_ENTRIES {
        return None;
    }
    let body = pack(records);
    let fits = |encoded: &Encoded| {
        encoded.open_len <= limits::SEGMENT_OPEN_BYTES
            && encoded.bytes.len().saturating_add(SEAL_BYTES) <= limits::SEGMENT_SEALED_BYTES
    };
    let quick = compressed::compress(&body, compressed::LEVEL);
    if fits(&quick) { Some(quick) } else { Some(compressed::compress(&body, ZSTD_HARD)).filter(fits) }
}

fn pack(records: &[LogRecord]) -> Vec<u8> {
    let mut packer = Packer::default();
    for record in records {
        packer.push(record);
    }
    packer.finish(records.len())
}

/// Decodes a run whose body decompresses to exactly `open_len` bytes.
///
/// # Errors
/// When the bytes are not a run, or claim more than the limits allow.
pub fn decode(bytes: &[u8], open_len: usize) -> Result<Vec<LogRecord>, RunError> {
    if open_len > limits::SEGMENT_OPEN_BYTES {
        return Err(RunError::TooLarge { limit: limits::SEGMENT_OPEN_BYTES });
    }
    unpack(&compressed::open(bytes, open_len)?)
}

/// What both sides remember while they walk a run.
#[derive(Default)]
struct Context {
    time: UnixMicros,
    tag: u64,
    actor: Option<Actor>,
    collection: Option<Collection>,
    governance: Vec<Digest>,
    subjects: Vec<Subject>,
    /// The last change of each subject, by its index.
    last_change: Vec<Digest>,
    change_actor: Vec<u8>,
}

#[derive(Default)]
struct Packer {
    context: Context,
    index: HashMap<(ObjectId, Incarnation), usize>,
    heads: Writer,
    payloads: Writer,
}

impl Packer {
    fn push(&mut self, record: &LogRecord) {
        let (entry, context) = (&record.entry, &self.context);
        let mut flags = 0;
        let mut set = |bit: u64, on: bool| flags |= if on { bit } else { 0 };
        let known = entry.subject.as_ref().and_then(|subject| self.known(subject));
        let parts = record.payload.as_deref().filter(|_| entry.kind.is_change()).and_then(|payload| {
            let parts = chunk::split(payload).ok()?;
            // Only what comes back byte for byte is taken apart.
            let (hash, bytes) = chunk::assemble(&parts.deps, parts.actor, parts.rest).ok()?;
            let whole = payload.len() == entry.payload_len as usize;
            (whole && bytes == payload && hash == entry.payload_digest).then_some(parts)
        });
        let follows = parts.as_ref().is_some_and(|parts| match known {
            Some(index) => context.last_change.get(index).is_some_and(|last| parts.deps == [*last]),
            None => parts.deps.is_empty(),
        });
        let same_change_actor = parts.as_ref().is_some_and(|p| p.actor == context.change_actor);
        set(flag::EDIT, entry.kind == EntryKind::EDIT);
        set(flag::TAGGED_ID, entry.operation == OperationId::at(entry.time, context.tag));
        set(flag::SAME_ACTOR, context.actor.as_ref() == Some(&entry.actor));
        set(flag::SUBJECT, entry.subject.is_some());
        set(flag::KNOWN_SUBJECT, known.is_some());
        set(flag::BIRTH, known.is_none() && entry.is_birth());
        set(flag::SAME_GOVERNANCE, context.governance == entry.governance);
        set(flag::IDEMPOTENCY, entry.idempotency_key.is_some());
        set(flag::REPLAY_SAFE, entry.replay_safe);
        set(flag::PAYLOAD, record.payload.is_some());
        set(flag::REFERENCES, !entry.requires.is_empty() || !entry.seen.is_empty());
        set(flag::BASE, entry.base.is_some());
        set(flag::NOTE, entry.note.is_some());
        set(flag::PACKED_CHANGE, parts.is_some());
        set(flag::SAME_CHANGE_ACTOR, same_change_actor);
        set(flag::NEXT_IN_OBJECT, follows);
        set(
            flag::SAME_COLLECTION,
            entry.subject.as_ref().is_some_and(|s| context.collection.as_ref() == Some(&s.collection)),
        );
        let heads = &mut self.heads;
        heads.number(flags);
        if flags & flag::EDIT == 0 {
            heads.number(u64::from(entry.kind.0));
        }
        heads.number(entry.time.0.wrapping_sub(context.time.0));
        if flags & flag::TAGGED_ID == 0 {
            heads.raw(&entry.operation.0);
        }
        if flags & flag::SAME_ACTOR == 0 {
            heads.prefixed(entry.actor.to_string().as_bytes());
        }
        if let Some(subject) = &entry.subject {
            match known {
                Some(index) => heads.number((context.subjects.len() - index) as u64),
                None => {
                    if flags & flag::SAME_COLLECTION == 0 {
                        heads.prefixed(subject.collection.as_str().as_bytes());
                    }
                    heads.prefixed(subject.object.as_str().as_bytes());
                    if flags & flag::BIRTH == 0 {
                        heads.raw(&subject.incarnation.0);
                    }
                }
            }
        }
        if flags & flag::SAME_GOVERNANCE == 0 {
            heads.prefixed(&cbor::encode(&entry.governance));
        }
        if let Some(key) = &entry.idempotency_key {
            heads.prefixed(key.as_bytes());
        }
        if flags & flag::REFERENCES != 0 {
            heads.prefixed(&cbor::encode(&(&entry.requires, &entry.seen)));
        }
        if let Some(base) = &entry.base {
            heads.prefixed(&cbor::encode(base));
        }
        if let Some(note) = &entry.note {
            heads.prefixed(note.as_bytes());
        }
        match (&record.payload, &parts) {
            (None, _) => {
                heads.raw(&entry.payload_digest.0);
                heads.number(u64::from(entry.payload_len));
            }
            (Some(_), Some(parts)) => {
                if !follows {
                    self.payloads.number(parts.deps.len() as u64);
                    parts.deps.iter().for_each(|dep| self.payloads.raw(&dep.0));
                }
                if !same_change_actor {
                    self.payloads.prefixed(parts.actor);
                }
                self.payloads.prefixed(parts.rest);
            }
            (Some(payload), None) => {
                // A payload that is not the one its digest names travels too: the receiver is the judge.
                heads.raw(&entry.payload_digest.0);
                heads.number(u64::from(entry.payload_len));
                self.payloads.prefixed(payload);
            }
        }
        let change_actor = parts.map(|parts| parts.actor.to_vec());
        self.remember(entry, known, change_actor);
    }

    fn known(&self, subject: &Subject) -> Option<usize> {
        let index = *self.index.get(&(subject.object.clone(), subject.incarnation))?;
        self.context.subjects.get(index).is_some_and(|known| known == subject).then_some(index)
    }

    fn remember(&mut self, entry: &Entry, known: Option<usize>, change_actor: Option<Vec<u8>>) {
        if let (Some(subject), None) = (&entry.subject, known) {
            self.index.insert((subject.object.clone(), subject.incarnation), self.context.subjects.len());
        }
        self.context.remember(entry, known, change_actor);
    }

    fn finish(self, count: usize) -> Vec<u8> {
        let mut run = Writer::default();
        run.raw(&[RUN_VERSION]);
        run.number(count as u64);
        run.prefixed(&self.heads.finish());
        run.raw(&self.payloads.finish());
        run.finish()
    }
}

impl Context {
    fn remember(&mut self, entry: &Entry, known: Option<usize>, change_actor: Option<Vec<u8>>) {
        self.time = entry.time;
        self.tag = entry.operation.tag();
        if self.actor.as_ref() != Some(&entry.actor) {
            self.actor = Some(entry.actor.clone());
        }
        if self.governance != entry.governance {
            self.governance.clone_from(&entry.governance);
        }
        if let Some(actor) = change_actor {
            self.change_actor = actor;
        }
        let Some(subject) = &entry.subject else { return };
        if self.collection.as_ref() != Some(&subject.collection) {
            self.collection = Some(subject.collection.clone());
        }
        match known {
            Some(index) if entry.kind.is_change() => {
                if let Some(last) = self.last_change.get_mut(index) {
                    *last = entry.payload_digest;
                }
            }
            Some(_) => {}
            None => {
                self.subjects.push(subject.clone());
                self.last_change.push(entry.payload_digest);
            }
        }
    }
}

fn unpack(body: &[u8]) -> Result<Vec<LogRecord>, RunError> {
    let mut run = Reader::new(body);
    if run.raw(1)? != [RUN_VERSION] {
        return Err(RunError::Form("unknown version"));
    }
    let count = run.bounded(limits::SEGMENT_ENTRIES)?;
    let mut heads = Reader::new(run.prefixed(body.len())?);
    let mut context = Context::default();
    // Grows with what is there: the count is a claim.
    let mut records = Vec::new();
    for index in 0..count {
        let record = unpack_one(&mut heads, &mut run, &mut context)?;
        record.entry.check().map_err(|source| RunError::Entry { index, source })?;
        records.push(record);
    }
    if !heads.is_empty() || !run.is_empty() {
        return Err(RunError::Form("bytes left over"));
    }
    Ok(records)
}

fn unpack_one(
    heads: &mut Reader<'_>,
    run: &mut Reader<'_>,
    context: &mut Context,
) -> Result<LogRecord, RunError> {
    let flags = heads.number()?;
    if flags & !flag::ALL != 0 {
        return Err(RunError::Form("an unknown flag"));
    }
    let has = |bit: u64| flags & bit != 0;
    let kind =
        if has(flag::EDIT) { EntryKind::EDIT } else { EntryKind(heads.bounded(u16::MAX.into())? as u16) };
    let time = UnixMicros(context.time.0.wrapping_add(heads.number()?));
    let operation =
        if has(flag::TAGGED_ID) { OperationId::at(time, context.tag) } else { OperationId(heads.array()?) };
    let actor = if has(flag::SAME_ACTOR) {
        context.actor.clone().ok_or(RunError::Form("an actor is left out that no entry named"))?
    } else {
        text(heads)?.parse().map_err(|_| RunError::Form("not an actor"))?
    };
    let mut subject = None;
    let mut known = None;
    if has(flag::SUBJECT) {
        if has(flag::KNOWN_SUBJECT) {
            let back = heads.bounded(context.subjects.len())?;
            let index = context.subjects.len() - back;
            subject = context.subjects.get(index).cloned();
            known = Some(index);
            if subject.is_none() {
                return Err(RunError::Form("a subject is left out that no entry named"));
            }
        } else {
            let collection = if has(flag::SAME_COLLECTION) {
                context
                    .collection
                    .clone()
                    .ok_or(RunError::Form("a collection is left out that no entry named"))?
            } else {
                text(heads)?.parse().map_err(|_| RunError::Form("not a collection"))?
            };
            let object = text(heads)?.parse().map_err(|_| RunError::Form("not an object id"))?;
            let incarnation =
                if has(flag::BIRTH) { Incarnation([0; 32]) } else { Incarnation(heads.array()?) };
            subject = Some(Subject { collection, object, incarnation });
        }
    }
    let governance = if has(flag::SAME_GOVERNANCE) {
        context.governance.clone()
    } else {
        cbor::decode("governance heads", heads.prefixed(limits::ENTRY_BYTES)?, limits::ENTRY_BYTES)
            .map_err(|source| RunError::Entry { index: 0, source })?
    };
    let idempotency_key = if has(flag::IDEMPOTENCY) { Some(text(heads)?.to_owned()) } else { None };
    let (requires, seen) = if has(flag::REFERENCES) {
        cbor::decode("references", heads.prefixed(limits::ENTRY_BYTES)?, limits::ENTRY_BYTES)
            .map_err(|source| RunError::Entry { index: 0, source })?
    } else {
        (Vec::new(), Vec::new())
    };
    let base = if has(flag::BASE) {
        let bytes = heads.prefixed(limits::ENTRY_BYTES)?;
        Some(
            cbor::decode("base", bytes, limits::ENTRY_BYTES)
                .map_err(|source| RunError::Entry { index: 0, source })?,
        )
    } else {
        None
    };
    let note = if has(flag::NOTE) {
        let bytes = heads.prefixed(limits::ENTRY_NOTE_BYTES)?;
        Some(std::str::from_utf8(bytes).map_err(|_| RunError::Form("not UTF-8"))?.to_owned())
    } else {
        None
    };
    let (payload_digest, payload_len, payload, change_actor);
    if has(flag::PAYLOAD) && has(flag::PACKED_CHANGE) {
        let deps = if has(flag::NEXT_IN_OBJECT) {
            known.and_then(|index| context.last_change.get(index)).copied().into_iter().collect()
        } else {
            let count = run.bounded(limits::CHANGE_DEPS)?;
            (0..count).map(|_| Ok(Digest(run.array()?))).collect::<Result<Vec<_>, ReadError>>()?
        };
        let actor_bytes = if has(flag::SAME_CHANGE_ACTOR) {
            context.change_actor.clone()
        } else {
            run.prefixed(64)?.to_vec()
        };
        let rest = run.prefixed(limits::CHANGE_BYTES)?;
        let (hash, bytes) = chunk::assemble(&deps, &actor_bytes, rest)?;
        (payload_digest, payload_len) = (hash, bytes.len());
        (payload, change_actor) = (Some(bytes), Some(actor_bytes));
    } else {
        payload_digest = Digest(heads.array()?);
        payload_len = heads.bounded(u32::MAX as usize)?;
        payload = if has(flag::PAYLOAD) { Some(run.prefixed(limits::CHANGE_BYTES)?.to_vec()) } else { None };
        change_actor = None;
    }
    if has(flag::BIRTH)
        && let Some(subject) = &mut subject
    {
        subject.incarnation = Incarnation(payload_digest.0);
    }
    let entry = Entry {
        version: ENTRY_VERSION,
        kind,
        operation,
        time,
        actor,
        subject,
        idempotency_key,
        replay_safe: has(flag::REPLAY_SAFE),
        payload_digest,
        payload_len: u32::try_from(payload_len).map_err(|_| RunError::Form("payload too long"))?,
        requires,
        seen,
        governance,
        base,
        note,
    };
    context.remember(&entry, known, change_actor);
    Ok(LogRecord { entry, payload })
}

fn text<'a>(heads: &mut Reader<'a>) -> Result<&'a str, RunError> {
    let bytes = heads.prefixed(limits::ID_BYTES)?;
    std::str::from_utf8(bytes).map_err(|_| RunError::Form("not UTF-8"))
}
