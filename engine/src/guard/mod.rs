//! The door for changes from other devices: nothing reaches Automerge, or stays in it, unless it is here found
//! to be a change that Automerge can live with.
//!
//! A signed peer may be a compromised one, and Automerge trusts its input: crafted changes make it panic, loop,
//! take gigabytes, or hold a document that can never be loaded again. So there are layers, each in its own file:
//!
//! 1. [`scan`]: bytes alone, streaming, before any decoder runs: frame, checksum, sizes, run-length totals.
//! 2. `context`: sequence number, first operation and dependencies against the change's causal past, and
//!    (`references`) that every operation pointed at exists.
//! 3. here: the batch is applied once, to a copy, where a panic is caught; then each change must come back out
//!    of the copy byte for byte, and a small document must survive saving and loading.
//! 4. promotion: the caller makes the copy the document. If anything failed, the document was never touched.
//!
//! The guard knows no policy, no store and no meaning: whether a change is *allowed* is asked elsewhere. What it
//! does not bound yet are operations that exist but are of the wrong kind, or lie outside the causal past while
//! present, and deep nesting; layers for these go between 2 and 3.

pub mod chunk;
mod columns;
mod context;
mod quiet;
mod reader;
mod references;
mod refused;
mod scan;

pub use refused::{Place, Reason, Refused};
pub use scan::{Scanned, scan};

use crate::document;
use automerge::{Automerge, AutomergeError, Change, ChangeHash, ReadDoc};
use context::{Batch, Verdict};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use syncd_schema::Digest;

/// Documents of at most this many operations are saved and loaded before they are promoted. It costs as much
/// as applying did; larger documents are proven when they are compacted.
const RELOAD_OPS: u64 = 256;

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
    pub doc: Option<Automerge>,
    /// One outcome for each change, in their order.
    pub outcomes: Vec<Outcome>,
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

/// Lets a batch of changes of one object in, as far as it is good. A batch is in causal order: what a change
/// builds on is in the document or earlier in the batch. `doc` is none for an object that is about to be born.
///
/// A guilty change is found by halving the batch; good changes that do not build on it are applied.
#[must_use]
pub fn admit(doc: Option<&Automerge>, changes: &[Incoming<'_>]) -> Admission {
    let born;
    let base = match doc {
        Some(doc) => doc,
        None => {
            born = document::empty();
            &born
        }
    };
    let mut batch = Batch::default();
    let mut outcomes = Vec::with_capacity(changes.len());
    let mut candidates = Vec::new();
    for (index, incoming) in changes.iter().enumerate() {
        outcomes.push(match judge(base, &batch, incoming) {
            Ok((Verdict::Ready, scanned)) => {
                batch.add(&scanned);
                candidates.push(Candidate {
                    index,
                    bytes: incoming.bytes,
                    hash: scanned.hash,
                    deps: scanned.deps,
                });
                Outcome::Applied
            }
            Ok((Verdict::Present, _)) => Outcome::Present,
            Ok((Verdict::Missing(missing), _)) => Outcome::Missing(missing),
            Err(refused) => Outcome::Refused(refused),
        });
    }
    let mut trial =
        Trial { doc: None, base, candidates: &candidates, lost: HashSet::new(), outcomes: &mut outcomes };
    trial.run(0..candidates.len());
    let doc = trial.doc;
    Admission { doc, outcomes }
}

fn judge(base: &Automerge, batch: &Batch, incoming: &Incoming<'_>) -> Result<(Verdict, Scanned), Refused> {
    let (scanned, layout) = scan::layout(incoming.bytes)?;
    if scanned.hash != incoming.expected {
        return Err(Reason::WrongDigest { found: scanned.hash }.into());
    }
    Ok((context::check(base, batch, &scanned, &layout)?, scanned))
}

/// A change that passed all that can be judged without applying it.
struct Candidate<'a> {
    index: usize,
    bytes: &'a [u8],
    hash: Digest,
    deps: Vec<Digest>,
}

/// From this many changes on, collecting all new ones at once is cheaper than asking for each: asking walks the
/// operations of a change, 0.3 ms for a hundred of them in a long text.
const COLLECT_FROM: usize = 8;

/// Whether the document gives every applied change back byte for byte. `before` are its heads without them.
fn are_rebuilt(copy: &Automerge, before: &[ChangeHash], candidates: &[&Candidate<'_>]) -> bool {
    if candidates.len() < COLLECT_FROM {
        return candidates.iter().all(|candidate| {
            let rebuilt = copy.get_change_by_hash(&ChangeHash(candidate.hash.0));
            rebuilt.is_some_and(|change| change.raw_bytes() == candidate.bytes)
        });
    }
    let rebuilt = copy.get_changes(before);
    let by_hash: HashMap<Digest, &[u8]> =
        rebuilt.iter().map(|change| (Digest(change.hash().0), change.raw_bytes())).collect();
    candidates.iter().all(|candidate| by_hash.get(&candidate.hash) == Some(&candidate.bytes))
}

/// Applies candidates to copies until what is left is good.
struct Trial<'t> {
    /// The last good copy; the base until there is one.
    doc: Option<Automerge>,
    base: &'t Automerge,
    candidates: &'t [Candidate<'t>],
    /// Changes that failed, and those that build on them.
    lost: HashSet<Digest>,
    outcomes: &'t mut [Outcome],
}

impl Trial<'_> {
    /// Applies a part of the candidates, or both its halves when something in it fails: twice the logarithm of
    /// the batch for one guilty change.
    fn run(&mut self, range: Range<usize>) {
        let all = self.candidates;
        let part = all.get(range.clone()).unwrap_or_default();
        let ready: Vec<&Candidate<'_>> = part.iter().filter(|candidate| self.is_whole(candidate)).collect();
        let Some(first) = ready.first() else { return };
        match apply(self.doc.as_ref().unwrap_or(self.base), &ready) {
            Ok(copy) => self.doc = Some(copy),
            Err(reason) if range.len() == 1 => {
                self.lost.insert(first.hash);
                self.settle(first.index, Outcome::Refused(reason.into()));
            }
            Err(_) => {
                let middle = range.start + range.len() / 2;
                self.run(range.start..middle);
                self.run(middle..range.end);
            }
        }
    }

    /// Whether nothing that a candidate builds on was lost; if it was, the candidate is lost with it.
    fn is_whole(&mut self, candidate: &Candidate<'_>) -> bool {
        let missing: Vec<Digest> =
            candidate.deps.iter().filter(|dep| self.lost.contains(dep)).copied().collect();
        if missing.is_empty() {
            return true;
        }
        self.lost.insert(candidate.hash);
        self.settle(candidate.index, Outcome::Missing(missing));
        false
    }

    fn settle(&mut self, index: usize, outcome: Outcome) {
        if let Some(settled) = self.outcomes.get_mut(index) {
            *settled = outcome;
        }
    }
}

/// Applies changes to a copy of a document and proves that the copy is sound.
fn apply(doc: &Automerge, candidates: &[&Candidate<'_>]) -> Result<Automerge, Reason> {
    let attempt = || {
        let changes: Result<Vec<Change>, _> =
            candidates.iter().map(|candidate| Change::try_from(candidate.bytes)).collect();
        let changes = changes.map_err(|_| Reason::Undecodable)?;
        let before = doc.get_heads();
        let mut copy = doc.clone();
        copy.apply_changes(changes).map_err(|error| match error {
            AutomergeError::DuplicateSeqNumber(..) => Reason::Equivocation,
            _ => Reason::Inapplicable,
        })?;
        if !are_rebuilt(&copy, &before, candidates) {
            return Err(Reason::NotRebuilt);
        }
        if copy.stats().num_ops <= RELOAD_OPS && document::compact(&copy).is_err() {
            return Err(Reason::NotReloadable);
        }
        Ok(copy)
    };
    quiet::catch(attempt).unwrap_or_else(|at| Err(Reason::Panicked { at }))
}
