//! The records of the evidence ledger: what was decided about an operation here, by whom, and with what outcome.
//!
//! Small and deterministic, because one is written for every batch: a record says which decision admitted which
//! range of which log, and the outside contracts are projected from it when somebody asks. Codes are numbers that
//! are never reused; words are for people. Nothing is decided here. Start with [`Record`].

use crate::text;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::Serialize;
use syncd_schema::cbor::{self, CborError};
use syncd_schema::entry::Subject;
use syncd_schema::{Actor, DeviceId, Digest, LogId, LogSeq, OperationId, OperationType, UnixMicros};

/// The version of the record format that this code writes.
pub const RECORD_VERSION: u8 = 1;
/// A note: a sentence or an error message, not a document.
pub const NOTE_BYTES: usize = 1 << 10;
/// A record's data: digests, ids and the inputs of a decision; payloads stay in the log and are named by digest.
pub const DATA_BYTES: usize = 4 << 10;
/// A record, encoded: the two above and, with room, ids and names of at most 128 bytes each.
pub const RECORD_BYTES: usize = 8 << 10;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// The gate judged an operation; the data hold what it judged by.
    #[n(0)]
    Decision,
    /// Entries became part of canonical state.
    #[n(1)]
    Admission,
    /// Entries were kept and will not become part of it.
    #[n(2)]
    Refusal,
    /// Changes were found to compete, and a card was opened.
    #[n(3)]
    Conflict,
    /// A card was settled.
    #[n(4)]
    Resolution,
    /// Something broken was mended.
    #[n(5)]
    Repair,
    /// An earlier operation was undone by another.
    #[n(6)]
    Compensation,
    /// An object was deleted.
    #[n(7)]
    Tombstone,
    /// A checkpoint of this ledger or of a log was written or witnessed.
    #[n(8)]
    Checkpoint,
    /// Something left the workspace: a backup, a proof, a projection.
    #[n(9)]
    Export,
    /// Membership, policy, a manifest or a key changed.
    #[n(10)]
    Governance,
    /// A device was enrolled, or tried to be.
    #[n(11)]
    Pairing,
    /// A finding was raised or closed.
    #[n(12)]
    Finding,
    /// Entries of another device were received and verified, and not judged yet.
    #[n(13)]
    Replay,
}

impl RecordKind {
    /// Every kind, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Decision,
        Self::Admission,
        Self::Refusal,
        Self::Conflict,
        Self::Resolution,
        Self::Repair,
        Self::Compensation,
        Self::Tombstone,
        Self::Checkpoint,
        Self::Export,
        Self::Governance,
        Self::Pairing,
        Self::Finding,
        Self::Replay,
    ];

    /// A word for people and filters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Admission => "admission",
            Self::Refusal => "refusal",
            Self::Conflict => "conflict",
            Self::Resolution => "resolution",
            Self::Repair => "repair",
            Self::Compensation => "compensation",
            Self::Tombstone => "tombstone",
            Self::Checkpoint => "checkpoint",
            Self::Export => "export",
            Self::Governance => "governance",
            Self::Pairing => "pairing",
            Self::Finding => "finding",
            Self::Replay => "replay",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is part of canonical state.
    #[n(0)]
    Admitted,
    /// It waits for a decision or for what it depends on.
    #[n(1)]
    Held,
    /// It was not allowed; the decision says why.
    #[n(2)]
    Refused,
    /// What was asked for was done: a repair, a resolution, an export.
    #[n(3)]
    Fulfilled,
    /// What was asked for was allowed and could not be done.
    #[n(4)]
    Failed,
    /// A fact was written down; nothing was asked.
    #[n(5)]
    Noted,
}

impl Outcome {
    /// Every outcome, in the order of their codes.
    pub const ALL: [Self; 6] =
        [Self::Admitted, Self::Held, Self::Refused, Self::Fulfilled, Self::Failed, Self::Noted];

    /// A word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Fulfilled => "fulfilled",
            Self::Failed => "failed",
            Self::Noted => "noted",
        }
    }
}

/// The log that a range of entries is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum CoveredLog {
    /// A replicated device log.
    #[n(0)]
    Device(#[n(0)] LogId),
    /// This device's log of what never leaves it.
    #[n(1)]
    Local,
}

/// A run of entries of one log: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Coverage {
    /// The log.
    #[n(0)]
    pub log: CoveredLog,
    /// The first entry.
    #[n(1)]
    pub first: LogSeq,
    /// How many entries.
    #[n(2)]
    pub count: u64,
}

impl Coverage {
    /// The position after the last entry, if there can be one.
    #[must_use]
    pub const fn end(&self) -> Option<LogSeq> {
        match self.first.0.checked_add(self.count) {
            Some(end) => Some(LogSeq(end)),
            None => None,
        }
    }

    /// Whether an entry is in the run.
    #[must_use]
    pub fn contains(&self, log: &CoveredLog, seq: LogSeq) -> bool {
        self.log == *log && seq >= self.first && self.end().is_none_or(|end| seq < end)
    }

    /// The run of both, when the other begins where this one ends.
    fn followed_by(&self, next: &Self) -> Option<Self> {
        let adjoin = self.log == next.log && self.end() == Some(next.first);
        let count = self.count.checked_add(next.count)?;
        let whole = Self { log: self.log, first: self.first, count };
        (adjoin && whole.end().is_some()).then_some(whole)
    }
}

/// One record of the evidence ledger, a leaf of its Merkle tree.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Record {
    /// [`RECORD_VERSION`].
    #[n(0)]
    pub version: u8,
    /// Its id; of a coalesced record, the id of the one that covers its first entry.
    #[n(1)]
    pub id: OperationId,
    /// When it was written, by this device's clock: a label, the order is the ledger's.
    #[n(2)]
    pub at: UnixMicros,
    /// Who did it.
    #[n(3)]
    pub actor: Actor,
    /// The device on which they did it, which is not always the device whose ledger this is.
    #[n(4)]
    pub device: DeviceId,
    /// What it is about.
    #[n(5)]
    pub kind: RecordKind,
    /// What came of it.
    #[n(6)]
    pub outcome: Outcome,
    /// The type of the operation.
    #[n(7)]
    #[cbor(with = "operation_code")]
    pub operation: OperationType,
    /// The entries it is about, if any.
    #[n(8)]
    pub covers: Option<Coverage>,
    /// The object it is about, if it is one.
    #[n(9)]
    pub subject: Option<Subject>,
    /// The digest of the policy decision it rests on.
    #[n(10)]
    pub decision: Option<Digest>,
    /// A sentence for people, at most [`NOTE_BYTES`].
    #[n(11)]
    pub note: Option<String>,
    /// What the kind adds, in its own encoding, at most [`DATA_BYTES`].
    #[n(12)]
    #[cbor(with = "minicbor::bytes")]
    pub data: Option<Vec<u8>>,
}

impl Record {
    /// The canonical bytes: the ledger's leaf is [`crate::merkle::leaf_hash`] of them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads canonical bytes and checks every bound of the format.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding of a record within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let record: Self = cbor::decode("record", bytes, RECORD_BYTES)?;
        record.check()?;
        Ok(record)
    }

    /// Checks every bound of the format. Writers call it too: what does not pass could not be read again.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), CborError> {
        let invalid = |rule| Err(CborError::Invalid { what: "record", rule });
        if self.version != RECORD_VERSION {
            return invalid("unknown version");
        }
        if self.covers.is_some_and(|covers| covers.count == 0 || covers.end().is_none()) {
            return invalid("a covered range has at least one entry and an end");
        }
        if self.note.as_ref().is_some_and(|note| note.len() > NOTE_BYTES) {
            return invalid("note of more than 1 KiB");
        }
        if self.data.as_ref().is_some_and(|data| data.len() > DATA_BYTES) {
            return invalid("data of more than 4 KiB");
        }
        Ok(())
    }

    /// Sets the note, cut to [`NOTE_BYTES`]: a long message must not keep a record from being written.
    pub fn set_note(&mut self, note: &str) {
        self.note = Some(text::cut(note, NOTE_BYTES));
    }

    /// Takes another record of the same batch into this one, when they say the same of adjoining ranges of one
    /// log. Returns whether it did; if not, nothing has changed.
    ///
    /// They say the same when all but id, time, range and subject are equal. Lost are the id and the time of the
    /// record that covers the later entries, and the subject when the two differ: the covered entries name their
    /// objects themselves, and remain in the log that the range points into.
    pub fn coalesce(&mut self, other: &Self) -> bool {
        if !self.says_the_same(other) {
            return false;
        }
        let (Some(mine), Some(theirs)) = (&self.covers, &other.covers) else { return false };
        if let Some(whole) = mine.followed_by(theirs) {
            self.covers = Some(whole);
        } else if let Some(whole) = theirs.followed_by(mine) {
            self.covers = Some(whole);
            self.id = other.id;
            self.at = other.at;
        } else {
            return false;
        }
        if self.subject != other.subject {
            self.subject = None;
        }
        true
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.version == other.version
            && self.kind == other.kind
            && self.outcome == other.outcome
            && self.operation == other.operation
            && self.decision == other.decision
            && self.device == other.device
            && self.actor == other.actor
            && self.note == other.note
            && self.data == other.data
    }
}

/// Operation types as codes: `schema` knows their words, and the ledger keeps one byte.
mod operation_code {
    use super::{Decoder, Encoder, OperationType};

    pub(super) const CODES: [OperationType; 8] = [
        OperationType::Enqueue,
        OperationType::Replay,
        OperationType::Reconcile,
        OperationType::Detect,
        OperationType::Resolve,
        OperationType::Repair,
        OperationType::Tombstone,
        OperationType::Checkpoint,
    ];

    /// A match and not a search, so that the compiler asks for the code of a type that is added.
    const fn code(operation: OperationType) -> u8 {
        match operation {
            OperationType::Enqueue => 0,
            OperationType::Replay => 1,
            OperationType::Reconcile => 2,
            OperationType::Detect => 3,
            OperationType::Resolve => 4,
            OperationType::Repair => 5,
            OperationType::Tombstone => 6,
            OperationType::Checkpoint => 7,
        }
    }

    pub(super) fn encode<C, W: minicbor::encode::Write>(
        operation: &OperationType,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u8(code(*operation))?.ok()
    }

    pub(super) fn decode<C>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<OperationType, minicbor::decode::Error> {
        let at = d.position();
        let unknown = || minicbor::decode::Error::message("unknown operation type").at(at);
        CODES.get(usize::from(d.u8()?)).copied().ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests;
