//! The entry: one operation in a device log, and the leaf of its Merkle tree.
//!
//! A leaf covers the *digest* of the payload, not the payload, so that a payload may be withheld, pruned or
//! erased while the log still verifies. Fields and their order are written down in `docs/format.md`.

use crate::cbor::{self, CborError};
use crate::ids::{Actor, Collection, DeviceId, Digest, Incarnation, LogId, ObjectId, OperationId};
use crate::limits;
use crate::units::{Epoch, LogSeq, UnixMicros};
use minicbor::{Decode, Encode};

/// The version of the entry format that this code writes.
pub const ENTRY_VERSION: u8 = 1;

/// What an entry does. A number from 1 to 65,535; unknown ones block their object, never their log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct EntryKind(#[n(0)] pub u16);

impl EntryKind {
    /// The first entry of a workspace: names the owner, holds the first manifests and policy bundle.
    pub const GENESIS: Self = Self(1);
    /// A device joins, leaves, or changes its role.
    pub const MEMBER: Self = Self(2);
    /// A policy bundle.
    pub const BUNDLE: Self = Self(3);
    /// A collection's manifest.
    pub const MANIFEST: Self = Self(4);
    /// A new workspace key. Reserved: its payload is not specified yet, so it counts as unknown.
    pub const KEY_EPOCH: Self = Self(5);
    /// The 16 random bytes from which this device's Automerge actor follows until its store is opened again.
    pub const SESSION: Self = Self(6);
    /// An Automerge change to one object; the object's birth when its incarnation is the change's own hash.
    pub const EDIT: Self = Self(16);
    /// An object is deleted.
    pub const TOMBSTONE: Self = Self(17);
    /// A decision about what contradicts: an Automerge change that is a pure function of what it decides.
    pub const RESOLUTION: Self = Self(18);
    /// An Automerge change that its author may only propose: kept, and in no document before somebody accepts it.
    pub const PROPOSAL: Self = Self(19);
    /// An object begins anew, without what it was before.
    pub const REBIRTH: Self = Self(20);
    /// Many deletions in a row begin, or somebody has answered whether they are to happen.
    pub const BURST: Self = Self(21);
    /// An object is deleted because somebody chose so: the answer to a card.
    pub const ENDING: Self = Self(22);
    /// An Automerge change that replaces or takes away most of what its object held, and waits with others like it: its
    /// author's daemon has found that they are unusually many.
    pub const REWRITE: Self = Self(23);
    /// A checkpoint somebody asked for.
    pub const CHECKPOINT: Self = Self(32);

    /// Whether the entry is part of the governance chain.
    #[must_use]
    pub const fn is_governance(self) -> bool {
        matches!(self, Self::GENESIS | Self::MEMBER | Self::BUNDLE | Self::MANIFEST)
    }

    /// Whether the payload is an Automerge change, and its digest that change's hash.
    #[must_use]
    pub const fn is_change(self) -> bool {
        matches!(self, Self::EDIT | Self::RESOLUTION | Self::PROPOSAL | Self::REWRITE)
    }

    /// Whether the payload is a change that is written to wait: it is in no document, so that nothing builds on it, until
    /// somebody lets it in.
    #[must_use]
    pub const fn is_put_to_somebody(self) -> bool {
        matches!(self, Self::PROPOSAL | Self::REWRITE)
    }

    /// Whether it deletes an object.
    #[must_use]
    pub const fn is_deletion(self) -> bool {
        matches!(self, Self::TOMBSTONE | Self::ENDING)
    }

    /// Whether this code knows what the entry means.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.is_governance()
            || self.is_change()
            || self.is_deletion()
            || matches!(self, Self::SESSION | Self::REBIRTH | Self::BURST | Self::CHECKPOINT)
    }

    /// A word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GENESIS => "genesis",
            Self::MEMBER => "member",
            Self::BUNDLE => "bundle",
            Self::MANIFEST => "manifest",
            Self::KEY_EPOCH => "key-epoch",
            Self::SESSION => "session",
            Self::EDIT => "edit",
            Self::TOMBSTONE => "tombstone",
            Self::RESOLUTION => "resolution",
            Self::PROPOSAL => "proposal",
            Self::REBIRTH => "rebirth",
            Self::BURST => "burst",
            Self::ENDING => "ending",
            Self::REWRITE => "rewrite",
            Self::CHECKPOINT => "checkpoint",
            _ => "unknown",
        }
    }
}

/// The object an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Subject {
    /// Its collection.
    #[n(0)]
    pub collection: Collection,
    /// Its id.
    #[n(1)]
    pub object: ObjectId,
    /// Which of its lives.
    #[n(2)]
    pub incarnation: Incarnation,
}

/// How far a writer had read another log: evidence, never a precondition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Seen {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// How many of its entries.
    #[n(1)]
    pub size: LogSeq,
    /// The root of the tree over them.
    #[n(2)]
    pub root: Digest,
}

/// One operation of a device log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Entry {
    /// [`ENTRY_VERSION`].
    #[n(0)]
    pub version: u8,
    /// What it does.
    #[n(1)]
    pub kind: EntryKind,
    /// Its id; ids grow strictly along a log.
    #[n(2)]
    pub operation: OperationId,
    /// Hybrid time: the writer's clock, moved forward where needed so that it grows strictly along the log.
    #[n(3)]
    pub time: UnixMicros,
    /// Who did it.
    #[n(4)]
    pub actor: Actor,
    /// The object it is about, if any.
    #[n(5)]
    pub subject: Option<Subject>,
    /// The caller's own key, under which a repeated call is the same operation.
    #[n(6)]
    pub idempotency_key: Option<String>,
    /// Whether running it again is harmless in the caller's judgement.
    #[n(7)]
    pub replay_safe: bool,
    /// Of a change, the Automerge change hash over the uncompressed chunk; else SHA-256 of the payload.
    #[n(8)]
    pub payload_digest: Digest,
    /// Length of the payload in bytes.
    #[n(9)]
    pub payload_len: u32,
    /// Operations needed beyond Automerge's own dependencies: the only order across objects there is.
    #[n(10)]
    pub requires: Vec<OperationId>,
    /// What changed, since this log's previous entry, in what its writer had read of others.
    #[n(11)]
    pub seen: Vec<Seen>,
    /// The heads of the governance chain it was written under; they never go back within a log.
    #[n(12)]
    pub governance: Vec<Digest>,
    /// The document heads the author says the edit was based on, where the caller named them.
    #[n(13)]
    pub base: Option<Vec<Digest>>,
    /// What the author says about it: why a decision was made, from which object a new one was forked.
    #[n(14)]
    pub note: Option<String>,
}

impl Entry {
    /// The canonical bytes: the Merkle leaf is `SHA-256(0x00 || bytes)` (RFC 6962 section 2.1).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads canonical bytes and checks every bound of the format.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding of an entry within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let entry: Self = cbor::decode("entry", bytes, limits::ENTRY_BYTES)?;
        entry.check()?;
        Ok(entry)
    }

    /// Checks every bound of the format.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), CborError> {
        let invalid = |rule| Err(CborError::Invalid { what: "entry", rule });
        let ascending = |digests: &[Digest]| digests.is_sorted_by(|a, b| a < b);
        if self.version != ENTRY_VERSION {
            return invalid("unknown version");
        }
        if self.requires.len() > limits::REFERENCES || self.seen.len() > limits::REFERENCES {
            return invalid("too many references");
        }
        if self.governance.len() > limits::REFERENCES || !ascending(&self.governance) {
            return invalid("governance heads must be few, sorted and distinct");
        }
        if self.base.as_ref().is_some_and(|base| base.len() > limits::REFERENCES || !ascending(base)) {
            return invalid("base heads must be few, sorted and distinct");
        }
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::ID_BYTES) {
            return invalid("an idempotency key has 1 to 128 bytes");
        }
        if self.note.as_ref().is_some_and(|note| note.is_empty() || note.len() > limits::ENTRY_NOTE_BYTES) {
            return invalid("a note has 1 to 1,024 bytes");
        }
        let limit = if self.kind.is_change() { limits::CHANGE_BYTES } else { limits::RECORD_BYTES };
        if self.payload_len as usize > limit {
            return invalid("payload too large");
        }
        let about_object = self.kind.is_change()
            || self.kind.is_deletion()
            || matches!(self.kind, EntryKind::REBIRTH | EntryKind::BURST);
        if self.kind.is_known() && about_object != self.subject.is_some() {
            return invalid("changes, deletions, rebirths and bursts have a subject, other kinds have none");
        }
        Ok(())
    }

    /// Whether the entry creates its object: its payload's hash is the incarnation it names.
    #[must_use]
    pub fn is_birth(&self) -> bool {
        matches!(self.kind, EntryKind::EDIT | EntryKind::PROPOSAL)
            && self.subject.as_ref().is_some_and(|s| s.incarnation.0 == self.payload_digest.0)
    }
}

/// The payload of a [`EntryKind::TOMBSTONE`]: which state of the object its author deleted.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Tombstone {
    /// The document heads at the time: edits that are not among their ancestors survive it.
    #[n(0)]
    pub heads: Vec<Digest>,
    /// The life of the object that stays instead, where it had several and somebody chose.
    #[n(1)]
    pub keeps: Option<Incarnation>,
}

/// The payload of a [`EntryKind::REBIRTH`], whose subject is the life that ends: what becomes of it.
///
/// It drops the changes of that life, on every device and for good: those that stand before it in its own log, those that
/// stand before the named places of others, and equal births wherever they stand. What was written elsewhere without
/// knowledge of it is kept, and somebody is asked about it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Rebirth {
    /// The life in its place, whose birth the entry requires; none if nothing is to be left, or if the life has begun anew
    /// already and more of what it was is dropped.
    #[n(0)]
    pub new: Option<Incarnation>,
    /// For each other log that holds something of it, by device and epoch, up to where that is dropped; sorted.
    #[n(1)]
    pub upto: Vec<Upto>,
}

impl Rebirth {
    /// Reads a payload and checks its bounds.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding, or name too many places or one twice.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let rebirth: Self = cbor::decode("rebirth", bytes, limits::RECORD_BYTES)?;
        let sorted = rebirth.upto.is_sorted_by(|a, b| (a.device, a.epoch) < (b.device, b.epoch));
        if rebirth.upto.len() > limits::DEVICES * limits::EPOCHS || !sorted {
            let rule = "places are at most one for each log, and sorted";
            return Err(CborError::Invalid { what: "rebirth", rule });
        }
        Ok(rebirth)
    }
}

/// A place in a log of the same workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Upto {
    /// The device whose log it is.
    #[n(0)]
    pub device: DeviceId,
    /// Which of its lives.
    #[n(1)]
    pub epoch: Epoch,
    /// The first entry that is not meant.
    #[n(2)]
    pub seq: LogSeq,
}

/// The payload of an [`EntryKind::ENDING`]: a deletion, and what it answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Ending {
    /// What is deleted.
    #[n(0)]
    pub deletes: Tombstone,
    /// The card that asked.
    #[n(1)]
    pub card: Digest,
    /// What was chosen, by the word of the option.
    #[n(2)]
    pub choice: String,
}

/// What an entry that deletes says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// What is deleted.
    pub tombstone: Tombstone,
    /// The card that it answers and the option that was chosen, if it is an answer.
    pub answers: Option<(Digest, String)>,
}

impl Deletion {
    /// The kind of an entry that says so.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        match self.answers {
            Some(_) => EntryKind::ENDING,
            None => EntryKind::TOMBSTONE,
        }
    }

    /// The payload of such an entry.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.answers {
            Some((card, choice)) => {
                cbor::encode(&Ending { deletes: self.tombstone.clone(), card: *card, choice: choice.clone() })
            }
            None => cbor::encode(&self.tombstone),
        }
    }

    /// Reads the payload of an entry of one of the kinds that delete.
    ///
    /// # Errors
    /// When it is not the canonical encoding of one within the limits.
    pub fn read(kind: EntryKind, payload: &[u8]) -> Result<Self, CborError> {
        if kind == EntryKind::ENDING {
            let Ending { deletes, card, choice } = cbor::decode("ending", payload, limits::RECORD_BYTES)?;
            return Ok(Self { tombstone: deletes, answers: Some((card, choice)) });
        }
        let tombstone = cbor::decode("tombstone", payload, limits::RECORD_BYTES)?;
        Ok(Self { tombstone, answers: None })
    }
}
