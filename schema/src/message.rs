//! What devices say to each other in a sync session, and the segment in which entries travel.
//!
//! A link has one control stream and, per log and direction, one stream of segments, so that a log which must
//! wait delays no other. Messages are deterministic CBOR in length-prefixed frames (`docs/format.md`).

use crate::cbor::{self, CborError};
use crate::domain;
use crate::ids::{Digest, LogId, OperationId, WorkspaceId};
use crate::limits;
use crate::operation::EntryState;
use crate::units::LogSeq;
use minicbor::{Decode, Encode};

/// The oldest protocol version spoken here.
pub const MIN_VERSION: u16 = 1;
/// The newest protocol version spoken here.
pub const MAX_VERSION: u16 = 1;

/// Bits of abilities. Each side names those it has; bits that a side does not know mean nothing to it.
pub mod features {
    /// Reads segments that are compressed with zstd.
    pub const ZSTD: u64 = 1;
    /// What a side must have for this version to talk to it.
    pub const REQUIRED: u64 = ZSTD;
}

/// The first message of each side.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Hello {
    /// The oldest version this side speaks.
    #[n(0)]
    pub min_version: u16,
    /// The newest version this side speaks.
    #[n(1)]
    pub max_version: u16,
    /// Abilities, see [`features`].
    #[n(2)]
    pub features: u64,
    /// The workspace to sync.
    #[n(3)]
    pub workspace: WorkspaceId,
    /// Digest of this side's frontier: equal ones end the exchange in this one round trip.
    #[n(4)]
    pub frontier: Digest,
    /// Entries of this side over all logs, for people.
    #[n(5)]
    pub entries: u64,
    /// What this side holds of the receiver's newest log, with the receiver's signature: a receiver whose store is
    /// older than that has it proven before it knows who speaks.
    #[n(6)]
    pub own: Option<Box<Position>>,
}

/// How much of one log a device holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Position {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// How many of its entries.
    #[n(1)]
    pub size: LogSeq,
    /// The Merkle root over them.
    #[n(2)]
    pub root: Digest,
    /// Whether this is a second branch of a log that was forked; both branches are told of.
    #[n(3)]
    pub branch: bool,
    /// When the log is the receiver's own: its signature over a checkpoint of this size and root. A device that
    /// wrote less finds here, and nowhere else, the proof that its store is an old copy.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub signature: Option<[u8; 64]>,
}

/// The digest of a frontier: equal ones mean equal logs, entry for entry. Signatures do not count.
#[must_use]
pub fn frontier_digest(positions: &[Position]) -> Digest {
    let unsigned = |position: &Position| cbor::encode(&Position { signature: None, ..*position });
    let mut sorted: Vec<Vec<u8>> = positions.iter().map(unsigned).collect();
    sorted.sort_unstable();
    let parts: Vec<&[u8]> = sorted.iter().map(Vec::as_slice).collect();
    domain::hash("frontier", &parts)
}

/// What became of a run of entries at the sender of the acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Outcome {
    /// The first entry.
    #[n(0)]
    pub first: LogSeq,
    /// How many.
    #[n(1)]
    pub count: u64,
    /// What became of them.
    #[n(2)]
    pub state: EntryState,
    /// The operation of the acknowledging device in which that happened: its id for them, where it is told of at once.
    #[n(3)]
    pub operation: Option<OperationId>,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CloseCode {
    /// Nothing more to say.
    #[n(0)]
    Done,
    /// No protocol version in common.
    #[n(1)]
    Version,
    /// The peer's key is not a member of the workspace.
    #[n(2)]
    UnknownKey,
    /// Another workspace.
    #[n(3)]
    Workspace,
    /// The peer broke the protocol.
    #[n(4)]
    Protocol,
    /// This side cannot go on.
    #[n(5)]
    Internal,
}

/// Everything said on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Control {
    /// Opens the session; the accepting side's is also its consent to the peer's key.
    #[n(0)]
    Hello(#[n(0)] Hello),
    /// All logs held here; sent when the digests differ.
    #[n(1)]
    Frontier(#[n(0)] Vec<Position>),
    /// Entries up to `size` are on disk here, and this is what became of the new ones.
    #[n(2)]
    Ack {
        /// The log.
        #[n(0)]
        log: LogId,
        /// How many of its entries are on disk here.
        #[n(1)]
        size: LogSeq,
        /// What became of those that this acknowledgement is about.
        #[n(2)]
        outcomes: Vec<Outcome>,
    },
    /// Please send this log from `from` on; `branch` asks for all of the one that the receiver holds, since it
    /// does not extend what is held here.
    #[n(3)]
    Want {
        /// The log.
        #[n(0)]
        log: LogId,
        /// The first entry wanted.
        #[n(1)]
        from: LogSeq,
        /// The root of the history that is asked for as a second branch, as far as it is known.
        #[n(2)]
        branch: Option<Digest>,
    },
    /// The end, and why.
    #[n(4)]
    Close {
        /// The reason.
        #[n(0)]
        code: CloseCode,
        /// The reason in words.
        #[n(1)]
        text: String,
    },
    /// The author of a log asks what became of its entries; answered with [`Control::Ack`], once a session.
    #[n(5)]
    Ask {
        /// The log.
        #[n(0)]
        log: LogId,
        /// From which entry on.
        #[n(1)]
        from: LogSeq,
    },
}

impl Control {
    /// The frame's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a frame's content.
    ///
    /// # Errors
    /// When it is too large, malformed or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode("control message", bytes, limits::CONTROL_BYTES)
    }
}

/// A run of entries of one log on its way: sealed, and signed by the checkpoint of its last entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Segment {
    /// The log.
    #[n(0)]
    pub log: LogId,
    /// Position of the first entry.
    #[n(1)]
    pub first: LogSeq,
    /// How many entries.
    #[n(2)]
    pub count: u32,
    /// The signed checkpoint after the last entry, in the compact form of `syncd-evidence`.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub checkpoint: Vec<u8>,
    /// The workspace key that seals it.
    #[n(4)]
    pub key_epoch: u32,
    /// Size of the run once opened and decompressed, checked before either.
    #[n(5)]
    pub open_len: u32,
    /// The root of the history that it is a part of, when a [`Control::Want`] asked for one by its root.
    #[n(6)]
    pub branch: Option<Digest>,
    /// Nonce and ciphertext of the packed run.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

impl Segment {
    /// The frame's content.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a frame's content and checks its bounds.
    ///
    /// # Errors
    /// When it is too large, malformed, not canonical, or claims more than a segment may hold.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let segment: Self = cbor::decode("segment", bytes, limits::LOG_FRAME_BYTES)?;
        let invalid = |rule| Err(CborError::Invalid { what: "segment", rule });
        if segment.count == 0 || segment.count as usize > limits::SEGMENT_ENTRIES {
            return invalid("a segment has 1 to 4,096 entries");
        }
        if segment.sealed.len() > limits::SEGMENT_SEALED_BYTES {
            return invalid("sealed content too large");
        }
        if segment.open_len as usize > limits::SEGMENT_OPEN_BYTES {
            return invalid("open content too large");
        }
        if segment.checkpoint.len() > limits::NOTE_BYTES {
            return invalid("checkpoint too large");
        }
        Ok(segment)
    }

    /// What the seal binds: purpose, workspace, log, range and key epoch.
    #[must_use]
    pub fn associated_data(&self) -> Vec<u8> {
        let mut data = domain::label("segment", &self.log.workspace).into_bytes();
        data.extend_from_slice(&cbor::encode(&(
            self.log,
            self.first,
            self.count,
            self.key_epoch,
            self.open_len,
        )));
        data
    }
}
