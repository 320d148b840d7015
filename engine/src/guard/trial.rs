//! The last layers: changes that look right are applied to a copy, where a panic is caught, and must come back out.

use super::door::Form;
use super::refused::Reason;
use super::{Outcome, quiet};
use crate::conflict::{self, Settlement};
use crate::document;
use automerge::{Automerge, AutomergeError, Change, ChangeHash, ReadDoc};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use syncd_schema::Digest;

/// Documents of at most this many operations are saved and loaded before they are promoted, unless all that comes is
/// plain. It costs more than applying did; larger documents are proven when they are compacted.
pub(super) const RELOAD_OPS: u64 = 256;

/// A change that passed all that can be judged without applying it.
#[derive(Debug)]
pub(super) struct Candidate<B> {
    /// Which of the changes offered.
    pub(super) index: usize,
    pub(super) bytes: B,
    pub(super) hash: Digest,
    pub(super) deps: Vec<Digest>,
    /// What it must be.
    pub(super) form: Form,
    /// Whether it is what Automerge itself would write into the document before the batch.
    pub(super) is_plain: bool,
}

/// Applies candidates in their order, and sorts out what cannot be. The document with those that could; none when
/// there are none.
pub(super) fn run(
    doc: Option<&Automerge>,
    candidates: &[Candidate<&[u8]>],
    outcomes: &mut [Outcome],
) -> Option<Box<Automerge>> {
    if candidates.is_empty() {
        return None;
    }
    let born;
    let base = match doc {
        Some(doc) => doc,
        None => {
            born = document::empty();
            &born
        }
    };
    let mut trial = Trial { doc: None, base, candidates, lost: HashSet::new(), outcomes };
    trial.run(0..candidates.len());
    trial.doc
}

/// From this many changes on, collecting all new ones at once is cheaper than asking for each: asking walks the
/// operations of a change, 0.3 ms for a hundred of them in a long text.
const COLLECT_FROM: usize = 8;

/// Whether the document gives every applied change back byte for byte. `before` are its heads without them.
fn are_rebuilt(copy: &Automerge, before: &[ChangeHash], candidates: &[&Candidate<&[u8]>]) -> bool {
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
    doc: Option<Box<Automerge>>,
    base: &'t Automerge,
    candidates: &'t [Candidate<&'t [u8]>],
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
        let ready: Vec<&Candidate<&[u8]>> =
            part.iter().filter(|candidate| self.is_whole(candidate)).collect();
        let Some(first) = ready.first() else { return };
        match apply(self.doc.as_deref().unwrap_or(self.base), &ready) {
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
    fn is_whole(&mut self, candidate: &Candidate<&[u8]>) -> bool {
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

fn has_form(change: &Change, form: Form) -> bool {
    match form {
        Form::Any => true,
        Form::Pure => conflict::is_pure(change),
        Form::Resolution => Settlement::of_change(change).is_some(),
    }
}

/// Whether a resolution says rightly how often the same was decided before it.
fn counts_right(copy: &Automerge, candidate: &Candidate<&[u8]>) -> bool {
    let generation = conflict::generation(copy, &candidate.deps.iter().copied().collect());
    conflict::settlement_of(copy, &candidate.hash).is_some_and(|settled| settled.generation == generation)
}

/// Applies changes to a copy of a document and proves that the copy is sound.
fn apply(doc: &Automerge, candidates: &[&Candidate<&[u8]>]) -> Result<Box<Automerge>, Reason> {
    let attempt = || {
        let changes: Result<Vec<Change>, _> =
            candidates.iter().map(|candidate| Change::try_from(candidate.bytes)).collect();
        let changes = changes.map_err(|_| Reason::Undecodable)?;
        if changes.iter().zip(candidates).any(|(change, candidate)| !has_form(change, candidate.form)) {
            return Err(Reason::NotItsContent);
        }
        let before = doc.get_heads();
        let mut copy = Box::new(doc.clone());
        copy.apply_changes(changes).map_err(|error| match error {
            AutomergeError::DuplicateSeqNumber(..) => Reason::Equivocation,
            _ => Reason::Inapplicable,
        })?;
        let mut resolutions = candidates.iter().filter(|candidate| candidate.form == Form::Resolution);
        if resolutions.any(|candidate| !counts_right(&copy, candidate)) {
            return Err(Reason::NotItsContent);
        }
        if !are_rebuilt(&copy, &before, candidates) {
            return Err(Reason::NotRebuilt);
        }
        let is_plain = candidates.iter().all(|candidate| candidate.is_plain);
        if !is_plain && copy.stats().num_ops <= RELOAD_OPS && document::try_reload(&copy).is_err() {
            return Err(Reason::NotReloadable);
        }
        Ok(copy)
    };
    quiet::catch(attempt).unwrap_or_else(|at| Err(Reason::Panicked { at }))
}
