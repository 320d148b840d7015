//! A scanned change against the document it is for: is it the next of its actor, on top of what it names?
//!
//! The rules look at the change and its causal past only, so that every device that holds them judges alike:
//! its sequence number follows a change of the same actor among its own dependencies (Automerge always lists
//! it), and its operations are numbered exactly from the one after its dependencies' last. One number too low
//! would be applied without complaint and give a document that nobody can load.

use super::past::Pasts;
use super::plain;
use super::quiet;
use super::references::{self, OpRef};
use super::refused::{Reason, Refused};
use super::scan::{Layout, Scanned};
use crate::document;
use automerge::{Automerge, ChangeHash};
use std::collections::HashMap;
use syncd_schema::Digest;

/// What is known of a change that others build on.
#[derive(Clone, Debug)]
struct Known {
    actor: Vec<u8>,
    seq: u64,
    max_op: u64,
}

/// Changes of a batch that were found good and are not in the document yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    changes: HashMap<Digest, Known>,
    /// First and last operation of each change, by actor.
    operations: HashMap<Vec<u8>, Vec<(u64, u64)>>,
    pasts: Pasts,
}

impl Batch {
    pub(crate) fn contains(&self, hash: &Digest) -> bool {
        self.changes.contains_key(hash)
    }

    pub(crate) fn add(&mut self, scanned: &Scanned) {
        let known = Known { actor: scanned.actor.clone(), seq: scanned.seq, max_op: scanned.max_op() };
        self.changes.insert(scanned.hash, known);
        self.pasts.add(scanned);
        let ranges = self.operations.entry(scanned.actor.clone()).or_default();
        let at = ranges.partition_point(|(first, _)| *first <= scanned.start_op);
        ranges.insert(at, (scanned.start_op, scanned.max_op()));
    }

    fn has(operations: &HashMap<Vec<u8>, Vec<(u64, u64)>>, op: OpRef<'_>) -> bool {
        // Changes of one actor come in the order of their numbers, and so do their operations.
        operations.get(op.actor).is_some_and(|ranges| {
            let after = ranges.partition_point(|(first, _)| *first <= op.counter);
            after
                .checked_sub(1)
                .and_then(|index| ranges.get(index))
                .is_some_and(|(_, last)| op.counter <= *last)
        })
    }
}

/// What the document makes of a change.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It can be applied; whether it is what Automerge itself would write.
    Ready {
        is_plain: bool,
    },
    Present,
    Missing(Vec<Digest>),
}

/// Whether a document holds a change.
pub(crate) fn holds(doc: &Automerge, hash: &Digest) -> bool {
    doc.get_change_meta_by_hash(&ChangeHash(hash.0)).is_some()
}

/// Judges a change on top of a document and the changes of the batch before it.
pub(crate) fn check(
    doc: Option<&Automerge>,
    batch: &mut Batch,
    scanned: &Scanned,
    layout: &Layout<'_>,
) -> Result<Verdict, Refused> {
    // What builds on all heads is not among what they build on, and need not be looked for.
    let at_heads = doc.filter(|doc| document::heads(doc) == scanned.deps);
    let is_here = || at_heads.is_none() && doc.is_some_and(|doc| holds(doc, &scanned.hash));
    if batch.contains(&scanned.hash) || is_here() {
        return Ok(Verdict::Present);
    }
    if scanned.deps.is_empty() && !(batch.changes.is_empty() && doc.is_none_or(Automerge::is_empty)) {
        return Err(Reason::SecondRoot.into());
    }

    let mut missing = Vec::new();
    let mut max_op = 0;
    let mut last_seq = 0;
    for dep in &scanned.deps {
        let Some(known) = known(doc, batch, dep) else {
            missing.push(*dep);
            continue;
        };
        max_op = max_op.max(known.max_op);
        if known.actor == scanned.actor {
            last_seq = last_seq.max(known.seq);
        }
    }
    if !missing.is_empty() {
        return Ok(Verdict::Missing(missing));
    }
    if scanned.seq != last_seq.saturating_add(1) {
        return Err(Reason::Sequence { found: scanned.seq }.into());
    }
    let expected = max_op.saturating_add(1);
    if scanned.start_op != expected {
        return Err(Reason::StartOp { found: scanned.start_op, expected }.into());
    }
    let Batch { operations, pasts, .. } = batch;
    let past = pasts.of(doc, &scanned.deps);
    references::check(scanned, layout, |op| {
        let is_here = Batch::has(operations, op) || doc.is_some_and(|doc| in_document(doc, op));
        is_here && past.as_ref().is_none_or(|past| past.holds(op))
    })?;
    // It asks Automerge about places that a foreign change names.
    let judge = |doc| quiet::catch(|| plain::is_plain(doc, scanned, layout)).unwrap_or(false);
    let is_plain = at_heads.is_some_and(judge);
    Ok(Verdict::Ready { is_plain })
}

fn known(doc: Option<&Automerge>, batch: &Batch, hash: &Digest) -> Option<Known> {
    if let Some(known) = batch.changes.get(hash) {
        return Some(known.clone());
    }
    let meta = doc?.get_change_meta_by_hash(&ChangeHash(hash.0))?;
    Some(Known { actor: meta.actor.to_bytes().to_vec(), seq: meta.seq, max_op: meta.max_op })
}

fn in_document(doc: &Automerge, op: OpRef<'_>) -> bool {
    doc.hash_for_opid(&op.id()).is_some()
}
