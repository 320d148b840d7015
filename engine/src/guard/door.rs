//! A batch of one object's changes on its way in: each is judged by what it says and builds on, and put in causal
//! order, whatever order they came in.

use super::context::{self, Batch, Verdict};
use super::index::Index;
use super::refused::{Reason, Refused};
use super::scan::{self, Scanned};
use super::trial::{self, Candidate};
use super::{Admission, Outcome, known, semantics};
use crate::document;
use automerge::Automerge;
use std::collections::HashMap;
use syncd_schema::Digest;

/// Takes changes one by one, then lets them in together. All calls are about the same document, which none of
/// them touches; none for an object that is about to be born.
///
/// A change is judged twice at most: when it is offered, and when all that it then missed has come.
#[derive(Debug)]
pub struct Door<B> {
    batch: Batch,
    offered: Vec<Offered<B>>,
    /// Those found good, in causal order.
    ready: Vec<Candidate<()>>,
    /// Changes by what they miss.
    waiting: HashMap<Digest, Vec<usize>>,
    operations: Operations,
}

/// What is known of a document's operations.
#[derive(Debug)]
enum Operations {
    /// As much as somebody knew before: of this document, or what it was.
    Before(Option<Index>),
    /// All, with those of the batch.
    Known(Index),
}

/// What a change must be beyond what all changes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Any,
    /// Made by an actor that follows from its content, so that nobody can make another of that actor.
    Pure,
    /// A resolution, which says rightly how often the same was decided before.
    Resolution,
}

#[derive(Debug)]
struct Offered<B> {
    bytes: B,
    expected: Digest,
    form: Form,
    outcome: Outcome,
    /// How much of what it missed when it was judged has not come since.
    missing: usize,
}

impl<B> Default for Door<B> {
    fn default() -> Self {
        Self::knowing(None)
    }
}

impl<B> Door<B> {
    /// With what is known of the document's operations, or of what they were before.
    #[must_use]
    pub fn knowing(index: Option<Index>) -> Self {
        Self {
            batch: Batch::default(),
            offered: Vec::new(),
            ready: Vec::new(),
            waiting: HashMap::new(),
            operations: Operations::Before(index),
        }
    }

    /// Gives up what was offered, and gives back what is known of the document without it.
    #[must_use]
    pub fn give_up(self) -> Option<Index> {
        match self.operations {
            Operations::Before(index) => index,
            Operations::Known(mut index) => {
                index.undo();
                Some(index)
            }
        }
    }
}

impl<B: AsRef<[u8]>> Door<B> {
    /// Offers a change with the digest that its signed entry names. Returns what can be applied now and could not
    /// before: nothing, the change, or with it those that waited for it.
    pub fn offer(&mut self, doc: Option<&Automerge>, bytes: B, expected: Digest) -> Vec<Digest> {
        self.offer_as(doc, bytes, expected, Form::Any)
    }

    /// As [`Door::offer`], for a change that must have a form beyond that of all changes.
    pub fn offer_as(
        &mut self,
        doc: Option<&Automerge>,
        bytes: B,
        expected: Digest,
        form: Form,
    ) -> Vec<Digest> {
        self.offered.push(Offered { bytes, expected, form, outcome: Outcome::Present, missing: 0 });
        let mut next = vec![self.offered.len() - 1];
        let mut ready = Vec::new();
        while let Some(index) = next.pop() {
            if self.sort(doc, index) {
                let Some(hash) = self.ready.last().map(|candidate| candidate.hash) else { continue };
                next.extend(self.complete_with(&hash));
                ready.push(hash);
            }
        }
        ready
    }

    /// Whether a change is in the document, or can be when the others of this batch are.
    #[must_use]
    pub fn holds(&self, doc: Option<&Automerge>, hash: &Digest) -> bool {
        self.batch.contains(hash) || doc.is_some_and(|doc| context::holds(doc, hash))
    }

    /// Applies what is good to a copy of the document. Gives back what was offered, in the order of its outcomes.
    ///
    /// A guilty change is found by halving the batch; good changes that do not build on it are applied.
    #[must_use]
    pub fn admit(self, doc: Option<&Automerge>) -> (Admission, Vec<B>) {
        let expected: Vec<Digest> = self.offered.iter().map(|offered| offered.expected).collect();
        let (changes, mut outcomes): (Vec<B>, Vec<Outcome>) =
            self.offered.into_iter().map(|offered| (offered.bytes, offered.outcome)).unzip();
        let with_bytes = |Candidate { index, hash, deps, form, is_plain, .. }| {
            let bytes = changes.get(index).map(AsRef::as_ref)?;
            Some(Candidate { index, bytes, hash, deps, form, is_plain })
        };
        let candidates: Vec<Candidate<&[u8]>> = self.ready.into_iter().filter_map(with_bytes).collect();
        let before = doc;
        let doc = trial::run(before, &candidates, &mut outcomes);
        let index = match self.operations {
            Operations::Before(index) => index,
            Operations::Known(index) => proven(index, &candidates, &outcomes),
        };
        // What was there twice shares the fate of the first.
        let fates: HashMap<Digest, Outcome> = candidates
            .iter()
            .filter_map(|candidate| Some((candidate.hash, outcomes.get(candidate.index)?.clone())))
            .filter(|(_, outcome)| *outcome != Outcome::Applied)
            .collect();
        for (outcome, digest) in outcomes.iter_mut().zip(&expected) {
            if let (Outcome::Present, Some(fate)) = (&*outcome, fates.get(digest)) {
                *outcome = fate.clone();
            }
        }
        let mut heads = before.map(document::heads).unwrap_or_default();
        let is_line = candidates.iter().all(|candidate| {
            let follows = candidate.deps == heads;
            heads = vec![candidate.hash];
            follows
        });
        (Admission { doc, outcomes, is_line, index }, changes)
    }

    /// True when the change is ready, and the last one that is.
    fn sort(&mut self, doc: Option<&Automerge>, index: usize) -> bool {
        let judged = self.judge(doc, index);
        let Some(offered) = self.offered.get_mut(index) else { return false };
        offered.outcome = match judged {
            Ok((Verdict::Ready { is_plain }, scanned)) => {
                self.batch.add(&scanned);
                let (hash, deps, form) = (scanned.hash, scanned.deps, offered.form);
                self.ready.push(Candidate { index, bytes: (), hash, deps, form, is_plain });
                Outcome::Applied
            }
            Ok((Verdict::Present, _)) => Outcome::Present,
            Ok((Verdict::Missing(missing), _)) => {
                offered.missing = missing.len();
                for dep in &missing {
                    self.waiting.entry(*dep).or_default().push(index);
                }
                Outcome::Missing(missing)
            }
            Err(refused) => Outcome::Refused(refused),
        };
        offered.outcome == Outcome::Applied
    }

    /// Judges a change by all that can be judged without applying it.
    fn judge(&mut self, doc: Option<&Automerge>, index: usize) -> Result<(Verdict, Scanned), Refused> {
        let Self { batch, offered, ready, operations, .. } = self;
        let gone = || Refused::from(Reason::Truncated);
        let change = offered.get(index).ok_or_else(gone)?;
        let (scanned, layout) = scan::layout(change.bytes.as_ref())?;
        if scanned.hash != change.expected {
            return Err(Reason::WrongDigest { found: scanned.hash }.into());
        }
        let verdict = context::check(doc, batch, &scanned, &layout)?;
        if let Verdict::Ready { is_plain } = verdict {
            if let (Operations::Before(before), false) = (&mut *operations, is_plain) {
                let mut index = known::of(doc, before.take())?;
                index.begin();
                for candidate in ready.iter() {
                    let bytes = offered.get(candidate.index).ok_or_else(gone)?.bytes.as_ref();
                    let (scanned, layout) = scan::layout(bytes)?;
                    semantics::check(&mut index, &scanned, &layout)?;
                }
                *operations = Operations::Known(index);
            }
            if let Operations::Known(index) = operations {
                semantics::check(index, &scanned, &layout)?;
            }
        }
        Ok((verdict, scanned))
    }

    /// Changes that miss nothing more, now that this one has come.
    fn complete_with(&mut self, hash: &Digest) -> Vec<usize> {
        let mut complete = self.waiting.remove(hash).unwrap_or_default();
        complete.retain(|index| {
            let Some(offered) = self.offered.get_mut(*index) else { return false };
            offered.missing = offered.missing.saturating_sub(1);
            offered.missing == 0
        });
        complete
    }
}

/// An index with what passed the trial; none of what did not.
fn proven(mut index: Index, candidates: &[Candidate<&[u8]>], outcomes: &[Outcome]) -> Option<Index> {
    let is_applied = |candidate: &&Candidate<&[u8]>| outcomes.get(candidate.index) == Some(&Outcome::Applied);
    if candidates.iter().all(|candidate| is_applied(&candidate)) {
        return Some(index);
    }
    index.undo();
    for candidate in candidates.iter().filter(is_applied) {
        let (scanned, layout) = scan::layout(candidate.bytes).ok()?;
        semantics::check(&mut index, &scanned, &layout).ok()?;
    }
    Some(index)
}
