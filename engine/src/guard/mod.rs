//! The door for changes from other devices: nothing reaches Automerge, or stays in it, unless it is here found
//! to be a change that Automerge can live with.
//!
//! A signed peer may be a compromised one, and Automerge trusts its input: crafted changes make it panic, loop,
//! take gigabytes, or hold a document that can never be loaded again. So there are layers, each in its own file:
//!
//! 1. [`scan`]: bytes alone, streaming, before any decoder runs: frame, checksum, sizes, run-length totals, and
//!    (`columns`) runs in the one form that encoders write.
//! 2. `context`: sequence number, first operation and dependencies against the change's causal past, and
//!    (`references`) that every operation pointed at exists and its author can have known it (`past`). `door` brings a
//!    batch into causal order by it.
//! 3. `semantics`: each operation is of a kind that fits what it points at, no deeper than others can read, judged by
//!    an [`Index`] beside the document that is read from its saved form (`saved`) and kept within bounds (`known`).
//! 4. `trial`: the batch is applied once, to a copy, where a panic is caught; then each change must come back out
//!    of the copy byte for byte, and a small document must survive saving and loading, unless all of the batch is
//!    what Automerge itself would have written there (`plain`).
//! 5. promotion: the caller makes the copy the document. If anything failed, the document was never touched.
//!
//! `docs/guard.md` has each rule, what it keeps out, and why an honest writer meets it. The guard knows no policy, no
//! store and no intention: whether a change is *allowed* is asked elsewhere.

pub mod chunk;
mod columns;
mod context;
mod door;
mod index;
mod known;
#[cfg(test)]
mod lives;
mod ops;
mod past;
mod plain;
mod quiet;
mod reader;
mod references;
mod refused;
mod saved;
mod scan;
mod semantics;
mod trial;

pub use door::{Door, Form};
pub use index::Index;
pub(crate) use known::Indexes;
pub(crate) use quiet::catch;
pub use refused::{Place, Reason, Refused};
pub(crate) use scan::message;
pub use scan::{Scanned, scan};

use automerge::{Automerge, Change};
use syncd_schema::Digest;

/// A change as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// An uncompressed change chunk, if it is what it should be.
    pub bytes: &'a [u8],
    /// The digest that its signed entry names.
    pub expected: Digest,
}

/// What became of one change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the promoted document.
    Applied,
    /// It was in the document already, or earlier in the batch.
    Present,
    /// It builds on changes that are neither in the document nor let in from earlier in the batch. Not a
    /// refusal: it may be offered again when they are there.
    Missing(Vec<Digest>),
    /// It will never be let in.
    Refused(Refused),
}

/// What became of a batch.
#[derive(Debug)]
pub struct Admission {
    /// The document with all applied changes; none when no change was applied. The one given in is untouched.
    pub doc: Option<Box<Automerge>>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
    /// Whether what was let in is one line of work on top of all there was.
    pub is_line: bool,
    /// What is known of the operations, where that was needed: with those of what was let in.
    pub index: Option<Index>,
}

impl Admission {
    /// The first refusal and the index of its change.
    #[must_use]
    pub fn first_refused(&self) -> Option<(usize, &Refused)> {
        self.outcomes.iter().enumerate().find_map(|(index, outcome)| match outcome {
            Outcome::Refused(refused) => Some((index, refused)),
            _ => None,
        })
    }

    /// Whether every change is now in the document.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied | Outcome::Present))
    }
}

/// Whether a change replaces and deletes nothing that was there before it, by its own operations. Of bytes that are no
/// change it says so too: the door says what is wrong with them.
#[must_use]
pub fn only_adds(bytes: &[u8]) -> bool {
    if scan(bytes).is_err() {
        return true;
    }
    let decoded = || Change::try_from(bytes).map_or(true, |change| crate::document::only_adds(&change));
    // What makes the decoder panic is not let in, so it does not matter what is said of it.
    quiet::catch(decoded).unwrap_or(true)
}

/// Lets a batch of changes of one object in, as far as it is good, in whatever order it is. `doc` is none for an
/// object that is about to be born.
#[must_use]
pub fn admit(doc: Option<&Automerge>, changes: &[Incoming<'_>]) -> Admission {
    let mut door = Door::default();
    for incoming in changes {
        door.offer(doc, incoming.bytes, incoming.expected);
    }
    door.admit(doc).0
}
