//! Why a change is not let in: one word for programs, a sentence for people, and the place in the bytes.
//!
//! Nothing of the change's content is repeated here, since findings travel further than payloads do.

use std::fmt;
use syncd_schema::{Digest, limits};

/// Where in a change something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The part of the chunk, in words.
    pub part: &'static str,
    /// The byte offset in the chunk.
    pub offset: usize,
}

/// What is wrong with a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Larger than any change may be.
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// It ends before it is complete, or claims a part that reaches beyond its end.
    Truncated,
    /// It does not start as an Automerge chunk does.
    BadMagic,
    /// Not an uncompressed change: a document, a compressed change or a bundle.
    ChunkType {
        /// The type found.
        found: u8,
    },
    /// A number with needless bytes, or too large for what it counts.
    BadNumber,
    /// Bytes after the end.
    TrailingBytes,
    /// The checksum is not that of the content.
    BadChecksum,
    /// Another change than the one that was announced and signed.
    WrongDigest {
        /// What it hashes to.
        found: Digest,
    },
    /// More dependencies than a change may have.
    TooManyDeps {
        /// How many.
        found: u64,
    },
    /// Not in the one order that is allowed, or repeated.
    Unsorted,
    /// An actor id of no usable length, or repeated.
    BadActor,
    /// Outside of the range that the product's clocks and counters can reach.
    OutOfRange,
    /// A column, an operation or a footer that no writer of this product makes.
    Unsupported,
    /// A compressed column.
    Compressed,
    /// A run of no items, or one that says nothing where something is needed.
    BadRun,
    /// More operations, or predecessors, than a change may hold.
    TooManyOps {
        /// How many are claimed.
        claimed: u64,
    },
    /// A column does not have as many items as there are operations.
    ColumnLength {
        /// How many it has.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// Names an actor that the change does not list.
    UnknownActor,
    /// Lists an actor that none of its operations names.
    UnusedActor,
    /// A text that is not UTF-8.
    NotUtf8,
    /// A second beginning for a document that has one.
    SecondRoot,
    /// Not the next change of its actor: its sequence number does not follow one of its dependencies.
    Sequence {
        /// Its number.
        found: u64,
    },
    /// Its operations are not numbered from the one after its dependencies' last.
    StartOp {
        /// Where it starts.
        found: u64,
        /// Where it must.
        expected: u64,
    },
    /// Refers to an operation that neither its document nor itself holds.
    UnknownOperation {
        /// The operation's number.
        counter: u64,
    },
    /// Writes into something that is no map, list or text.
    NotAContainer {
        /// The operation's number.
        counter: u64,
    },
    /// Names a key in a list or text, or an item in a map.
    WrongKey,
    /// Names an item that its list or text does not have.
    NotAnItem {
        /// The operation's number.
        counter: u64,
    },
    /// Replaces something that is no value of the same place.
    NotAValue {
        /// The operation's number.
        counter: u64,
    },
    /// Adds to something that is no counter.
    NotACounter {
        /// The operation's number.
        counter: u64,
    },
    /// Takes away or adds to nothing, replaces one thing twice, or inserts and replaces at once.
    WrongPredecessors,
    /// Puts something into a text that is no character.
    NotForText,
    /// A value that is not of the type it claims, or counts further than counters go.
    WrongValue,
    /// Containers within containers, too many.
    TooDeep,
    /// Another change of the same actor has this number already: two writers share one actor.
    Equivocation,
    /// Automerge cannot read it.
    Undecodable,
    /// Automerge cannot apply it.
    Inapplicable,
    /// Automerge panicked.
    Panicked {
        /// The line of the library's source that did.
        at: String,
    },
    /// The document gives other bytes back than came in, and would not be loadable.
    NotRebuilt,
    /// It is to be a resolution, and its actor, number or count does not follow from its content.
    NotItsContent,
    /// The document with this change in it cannot be saved and loaded.
    NotReloadable,
}

/// A change that was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// Where in its bytes, if it is there.
    pub place: Option<Place>,
}

impl Refused {
    pub(crate) const fn at(reason: Reason, part: &'static str, offset: usize) -> Self {
        Self { reason, place: Some(Place { part, offset }) }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, place: None }
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        match self.place {
            Some(Place { part, offset }) => write!(f, " ({part}, byte {offset})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { found } => {
                write!(f, "the change is {found} bytes, the limit is {}", limits::CHANGE_BYTES)
            }
            Self::Truncated => f.write_str("the change ends too early"),
            Self::BadMagic => f.write_str("this is not an Automerge change"),
            Self::ChunkType { found } => {
                write!(f, "chunk type {found}: only uncompressed changes (type 1) are let in")
            }
            Self::BadNumber => f.write_str("a number is not in its shortest form or is too large"),
            Self::TrailingBytes => f.write_str("there are bytes after the end of the change"),
            Self::BadChecksum => f.write_str("the checksum does not match the content"),
            Self::WrongDigest { found } => {
                write!(f, "this is change {}, not the one that was signed", found.short())
            }
            Self::TooManyDeps { found } => {
                write!(f, "{found} dependencies, the limit is {}", limits::CHANGE_DEPS)
            }
            Self::Unsorted => f.write_str("not in order, or repeated"),
            Self::BadActor => f.write_str("an actor id has no usable length or is listed twice"),
            Self::OutOfRange => f.write_str("a number is outside of its range"),
            Self::Unsupported => {
                f.write_str("the change uses something that no writer of this product makes")
            }
            Self::Compressed => f.write_str("a column is compressed"),
            Self::BadRun => f.write_str("a run of values is malformed"),
            Self::TooManyOps { claimed } => {
                write!(
                    f,
                    "the change claims {claimed} operations or references, the limit is {}",
                    limits::CHANGE_OPS
                )
            }
            Self::ColumnLength { found, expected } => {
                write!(f, "a column has {found} items where {expected} belong")
            }
            Self::UnknownActor => f.write_str("an operation names an actor that the change does not list"),
            Self::UnusedActor => f.write_str("the change lists an actor that none of its operations names"),
            Self::NotUtf8 => f.write_str("a text is not UTF-8"),
            Self::SecondRoot => f.write_str("the change starts a document anew that exists already"),
            Self::Sequence { found } => {
                write!(f, "change number {found} of its actor does not follow one of its own dependencies")
            }
            Self::StartOp { found, expected } => {
                write!(f, "its operations are numbered from {found} instead of {expected}")
            }
            Self::UnknownOperation { counter } => {
                write!(f, "it refers to operation {counter} of an actor who has none of that number here")
            }
            Self::NotAContainer { counter } => {
                write!(f, "it writes into operation {counter}, which is no map, list or text")
            }
            Self::WrongKey => f.write_str("it names a key in a list or text, or an item in a map"),
            Self::NotAnItem { counter } => {
                write!(f, "operation {counter} is no item of the list or text that it writes into")
            }
            Self::NotAValue { counter } => {
                write!(f, "it replaces operation {counter}, which is no value of the same place")
            }
            Self::NotACounter { counter } => {
                write!(f, "it adds to operation {counter}, which is no counter")
            }
            Self::WrongPredecessors => f.write_str(
                "it takes away or adds to nothing, replaces one thing twice, or inserts and replaces",
            ),
            Self::NotForText => f.write_str("it puts something into a text that is no character"),
            Self::WrongValue => {
                f.write_str("a value is not of the type it claims, or counts further than counters go")
            }
            Self::TooDeep => write!(f, "it nests deeper than {} levels", limits::JSON_DEPTH),
            Self::Equivocation => f.write_str("another change of the same actor has the same number"),
            Self::Undecodable => f.write_str("the document library cannot read the change"),
            Self::Inapplicable => f.write_str("the document library cannot apply the change"),
            Self::Panicked { at } => write!(f, "the document library failed on the change, in {at}"),
            Self::NotItsContent => {
                f.write_str("it is no resolution: its actor or count does not follow from what it says")
            }
            Self::NotRebuilt => f.write_str("the document would give the change back in other bytes"),
            Self::NotReloadable => f.write_str("the document could not be loaded again after the change"),
        }
    }
}
