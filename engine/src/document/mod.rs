//! One object is one Automerge document, and one edit is one change to it.
//!
//! This module turns JSON into documents and back, edits into changes, and documents into bytes. It knows no
//! store, no log, no policy and no clock: time and actor are handed in. Positions in texts are Unicode code
//! points throughout. Start with [`birth()`], then [`edit`]; what comes from other devices goes through
//! [`crate::guard`] before it may touch a document.

mod additions;
pub mod birth;
pub mod computed;
pub mod edit;
mod error;
pub(crate) mod hunks;
pub mod json;
mod merge;
mod myers;
pub(crate) mod node;
mod patch;
pub mod pointer;
mod rewrite;
mod said;
mod steps;
mod text;
pub(crate) mod writer;

pub use additions::only_adds;
pub use birth::{Birth, birth, birth_after};
pub use computed::read_with;
pub use edit::{Edit, apply, propose};
pub use error::EditError;
pub use json::{read, read_at, read_at_heads, read_object, read_past, scalar};
pub use rewrite::rewrites;
pub use said::{Said, said};
pub use steps::{operations, text_start, text_steps};

use automerge::{
    Automerge, AutomergeError, Change, ChangeHash, LoadOptions, ReadDoc, SaveOptions, TextEncoding,
};
use syncd_schema::{Digest, limits};

/// One change as it is logged, stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChange {
    /// Its Automerge hash: the digest that entries sign.
    pub hash: Digest,
    /// An uncompressed change chunk (type 1), always: the hash is over these bytes, and nobody has to inflate
    /// what a peer compressed.
    pub bytes: Vec<u8>,
}

impl EncodedChange {
    /// A change of a document, by its hash.
    #[must_use]
    pub fn of(doc: &Automerge, hash: &ChangeHash) -> Option<Self> {
        // `raw_bytes` and not `bytes`: the latter deflates whatever is longer than 256 bytes.
        let change = doc.get_change_by_hash(hash)?;
        Some(Self { hash: Digest(hash.0), bytes: change.raw_bytes().to_vec() })
    }

    pub(crate) fn check_size(&self) -> Result<(), EditError> {
        if self.bytes.len() > limits::CHANGE_BYTES {
            return Err(EditError::TooManyBytes { found: self.bytes.len() });
        }
        Ok(())
    }
}

/// Why stored bytes do not give a document.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The snapshot is damaged.
    #[error("the saved document of {bytes} bytes cannot be read")]
    Snapshot {
        /// Its size.
        bytes: usize,
        /// What Automerge says.
        source: Box<AutomergeError>,
    },
    /// A change stored after the snapshot is damaged.
    #[error("change {index} after the saved document cannot be read")]
    Tail {
        /// Which one, from 0.
        index: usize,
        /// What Automerge says.
        source: Box<automerge::LoadChangeError>,
    },
    /// The changes do not fit the snapshot.
    #[error("the changes after the saved document do not fit it")]
    Apply(#[source] Box<AutomergeError>),
    /// The changes need others that are not stored.
    #[error("the stored changes need {} others that are not there", .0.len())]
    Incomplete(Vec<Digest>),
    /// A saved document differs from the one that was saved.
    #[error("the saved document has other heads than the one in memory: it was not kept")]
    Heads,
}

/// A document without content.
#[must_use]
pub fn empty() -> Automerge {
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint)
}

/// Loads a document from this device's own store: a snapshot and the changes appended since.
///
/// # Errors
/// When the bytes are not those of a complete document.
pub fn load<'a>(
    snapshot: Option<&[u8]>,
    tail: impl Iterator<Item = &'a [u8]>,
) -> Result<Automerge, LoadError> {
    let mut doc = match snapshot {
        None => empty(),
        Some(bytes) => {
            let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
            Automerge::load_with_options(bytes, options)
                .map_err(|source| LoadError::Snapshot { bytes: bytes.len(), source: Box::new(source) })?
        }
    };
    let read = |(index, bytes)| {
        Change::try_from(bytes).map_err(|source| LoadError::Tail { index, source: Box::new(source) })
    };
    let changes = tail.enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if !changes.is_empty() {
        // All at once: applying one by one walks the document each time.
        doc.apply_changes(changes).map_err(|error| LoadError::Apply(Box::new(error)))?;
    }
    let missing = doc.get_missing_deps(&[]);
    if !missing.is_empty() {
        return Err(LoadError::Incomplete(missing.iter().map(|hash| Digest(hash.0)).collect()));
    }
    Ok(doc)
}

/// The document as a snapshot for the store.
#[must_use]
pub fn save(doc: &Automerge) -> Vec<u8> {
    doc.save()
}

/// Saves a document and proves that the bytes give it back, before anyone drops what they replace.
///
/// # Errors
/// When the saved bytes cannot be loaded or load to other heads.
pub fn compact(doc: &Automerge) -> Result<Vec<u8>, LoadError> {
    saved_and_loaded(doc, SaveOptions::default())
}

/// Whether a document survives saving and loading. Nothing is deflated, which takes longer than all the rest for a small
/// one and is undone before anything is read.
pub(crate) fn try_reload(doc: &Automerge) -> Result<(), LoadError> {
    saved_and_loaded(doc, SaveOptions { deflate: false, ..SaveOptions::default() }).map(drop)
}

fn saved_and_loaded(doc: &Automerge, options: SaveOptions) -> Result<Vec<u8>, LoadError> {
    let bytes = doc.save_with_options(options);
    let again = load(Some(&bytes), std::iter::empty())?;
    if again.get_heads() != doc.get_heads() {
        return Err(LoadError::Heads);
    }
    Ok(bytes)
}

/// The hashes of the changes that no other change of the document follows, sorted.
#[must_use]
pub fn heads(doc: &Automerge) -> Vec<Digest> {
    let mut heads: Vec<Digest> = doc.get_heads().iter().map(|hash| Digest(hash.0)).collect();
    heads.sort_unstable();
    heads
}

/// Joins a change that this device made, or made anew, to a document that has what it builds on.
///
/// # Errors
/// When it does not fit.
pub fn join(doc: &mut Automerge, change: &EncodedChange) -> Result<(), EditError> {
    let change = Change::try_from(change.bytes.as_slice()).map_err(|_| EditError::Lost)?;
    Ok(doc.apply_changes([change])?)
}

/// Joins several, in whatever order they are given. None of them when one does not fit.
///
/// # Errors
/// When one does not fit.
pub fn join_all(doc: &mut Automerge, changes: &[EncodedChange]) -> Result<(), EditError> {
    if changes.is_empty() {
        return Ok(());
    }
    let changes: Result<Vec<Change>, _> =
        changes.iter().map(|change| Change::try_from(change.bytes.as_slice())).collect();
    Ok(doc.apply_changes(changes.map_err(|_| EditError::Lost)?)?)
}

/// What a document would say with one more change of this device.
///
/// # Errors
/// When the change does not fit.
pub fn value_with(doc: &Automerge, change: &EncodedChange) -> Result<serde_json::Value, EditError> {
    let mut copy = doc.clone();
    join(&mut copy, change)?;
    Ok(read(&copy))
}

/// Whether a document has a change.
#[must_use]
pub fn holds(doc: &Automerge, change: &Digest) -> bool {
    doc.get_change_meta_by_hash(&ChangeHash(change.0)).is_some()
}

/// About how many bytes of memory a loaded document takes, for the cache's budget.
///
/// Fitted to measurements: a fresh record takes 14 KiB, each change about 400 bytes, each operation about 52.
/// `stored` is the size of snapshot and tail, which bounds the strings in it from below.
#[must_use]
pub fn estimate_memory(doc: &Automerge, stored: usize) -> usize {
    let stats = doc.stats();
    let count = |n: u64, each: usize| usize::try_from(n).unwrap_or(usize::MAX).saturating_mul(each);
    (14_usize << 10)
        .saturating_add(count(stats.num_changes, 400))
        .saturating_add(count(stats.num_ops, 52))
        .saturating_add(stored.saturating_mul(2))
}
