//! A decided question asked again: answers that contradict each other, one for each side there was, on top of the
//! decision. What competed competes again, as one card in the line of the first, and nothing that was written elsewhere
//! or without knowledge of the decision is touched.

use super::operation::{Key, operations};
use super::withdraw::{Shown, restore};
use super::{
    Answer, Choice, Conflict, OpName, Question, alternatives, decide, question_of, settlement_of, steps,
    update_within,
};
use crate::document::{self, EditError, EncodedChange};
use automerge::{Automerge, Change, ChangeHash, ReadDoc};
use std::collections::{BTreeSet, HashSet};
use syncd_schema::Digest;
use syncd_schema::manifest::Manifest;

/// Why a question cannot be asked again.
#[derive(Debug)]
pub enum NotReopened {
    /// What the decision was made on holds no such question.
    NoQuestion,
    /// Somebody who knew of the decision has written in this place since.
    ChangedSince(Vec<String>),
    /// What would be written is not possible.
    Edit(EditError),
}

impl From<EditError> for NotReopened {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl From<automerge::AutomergeError> for NotReopened {
    fn from(error: automerge::AutomergeError) -> Self {
        Self::Edit(error.into())
    }
}

/// The document that a decision was made on, and the contradiction in it that it decided; none if it decided another
/// kind of question.
///
/// `by_lines` is as for [`super::update`], of that document.
pub fn decided(
    doc: &Automerge,
    decision: &Digest,
    by_lines: &dyn Fn(&Automerge, &OpName) -> bool,
    most: usize,
) -> Option<(Automerge, Conflict)> {
    let question = settlement_of(doc, decision)?.question.name();
    let (before, conflicts) = made_on(doc, decision, by_lines, most)?;
    let conflict = conflicts.into_iter().find(|conflict| question_of(conflict) == question)?;
    Some((before, conflict))
}

/// The document that a change was made on, and what contradicted in it.
pub fn made_on(
    doc: &Automerge,
    change: &Digest,
    by_lines: &dyn Fn(&Automerge, &OpName) -> bool,
    most: usize,
) -> Option<(Automerge, BTreeSet<Conflict>)> {
    let meta = doc.get_change_meta_by_hash(&ChangeHash(change.0))?;
    let before = doc.fork_at(&meta.deps).ok().filter(|_| !meta.deps.is_empty())?;
    let all: Vec<Digest> = before.get_changes_meta(&[]).iter().map(|change| Digest(change.hash.0)).collect();
    let conflicts = {
        let by_lines = |text: &OpName| by_lines(&before, text);
        update_within(&before, &BTreeSet::new(), &all, &by_lines, most).ok()?
    };
    Some((before, conflicts))
}

/// The answers that ask again what a decision about a contradiction decided.
///
/// # Errors
/// When somebody who knew of the decision has written there since, and when an answer does not fit.
pub fn reopen(
    doc: &Automerge,
    decision: &Digest,
    (before, conflict): (&Automerge, &Conflict),
    manifest: &Manifest,
) -> Result<Vec<EncodedChange>, NotReopened> {
    let settled = settlement_of(doc, decision).ok_or(NotReopened::NoQuestion)?;
    let on = BTreeSet::from([*decision]);
    let own = change_of(doc, decision)?;
    let mut answers = Vec::new();
    for side in alternatives(before, conflict) {
        let is_shown = side.is_shown;
        let choice = if is_shown { Choice::Local } else { Choice::Remote };
        // Not the decision itself, if that kept this side: so that each of them writes.
        let kept = decide(before, conflict, (settled.card, Choice::Merge, &Answer::Keep(side)), manifest)?;
        let mut with = before.clone();
        document::join(&mut with, &kept)?;
        let kept = change_of(&with, &kept.hash)?;
        let places = [&own, &kept];
        changed_since(doc, decision, &places)?;
        let shown = Shown { keys: &with, sequences: &with, is_emphatic: is_shown };
        let about = (settled.card, choice, settled.question.clone());
        answers.push(super::write(doc, &on, about, manifest, |writer, fork| {
            restore(writer, fork, &places, &shown)
        })?);
    }
    Ok(answers)
}

/// The answers that ask again whether a change that was held is let in: as it is without it, and with it.
///
/// # Errors
/// As of [`reopen`]; and when the change began the object, since then there is nothing without it.
pub fn reopen_held(
    doc: &Automerge,
    decision: &Digest,
    manifest: &Manifest,
) -> Result<Vec<EncodedChange>, NotReopened> {
    let settled = settlement_of(doc, decision).ok_or(NotReopened::NoQuestion)?;
    let Question::Change(held) = settled.question else { return Err(NotReopened::NoQuestion) };
    let (own, proposed) = (change_of(doc, decision)?, change_of(doc, &held)?);
    if proposed.deps().is_empty() || !own.deps().contains(&ChangeHash(held.0)) {
        return Err(NotReopened::NoQuestion);
    }
    let places = [&own, &proposed];
    changed_since(doc, decision, &places)?;
    let apart = without_later(doc, &ChangeHash(held.0));
    let mut with: Vec<ChangeHash> = apart.clone();
    with.push(ChangeHash(held.0));
    let (without, with) = (doc.fork_at(&apart)?, doc.fork_at(&with)?);
    let alone = doc.fork_at(&[ChangeHash(held.0)])?;
    let mut on: BTreeSet<Digest> = apart.iter().map(|head| Digest(head.0)).collect();
    on.insert(*decision);
    let sides = [
        (Choice::Decline, Shown { keys: &without, sequences: &without, is_emphatic: true }),
        (Choice::Remote, Shown { keys: &alone, sequences: &with, is_emphatic: false }),
    ];
    let answer = |(choice, shown): &(Choice, Shown<'_>)| {
        let about = (settled.card, *choice, Question::Change(held));
        super::write(doc, &on, about, manifest, |writer, fork| restore(writer, fork, &places, shown))
    };
    Ok(sides.iter().map(answer).collect::<Result<_, _>>()?)
}

fn change_of(doc: &Automerge, change: &Digest) -> Result<Change, NotReopened> {
    doc.get_change_by_hash(&ChangeHash(change.0)).ok_or(NotReopened::NoQuestion)
}

/// The heads of all that was made without knowledge of a change.
fn without_later(doc: &Automerge, change: &ChangeHash) -> Vec<ChangeHash> {
    let mut all = doc.get_changes_meta(&[]);
    all.sort_unstable_by_key(|meta| (meta.start_op, meta.hash));
    let descends = descendants(doc, change);
    let mut heads: BTreeSet<ChangeHash> = BTreeSet::new();
    let apart = all.iter().filter(|meta| meta.hash != *change && !descends.contains(&meta.hash));
    let mut known: HashSet<ChangeHash> = HashSet::new();
    for meta in apart {
        known.extend(meta.deps.iter().copied());
        heads.insert(meta.hash);
    }
    heads.retain(|head| !known.contains(head));
    heads.into_iter().collect()
}

/// What was made with knowledge of a change.
fn descendants(doc: &Automerge, change: &ChangeHash) -> HashSet<ChangeHash> {
    let mut found = HashSet::from([*change]);
    let mut rest = doc.get_changes_meta(&[*change]);
    loop {
        let known = found.len();
        rest.retain(|meta| {
            let descends = meta.deps.iter().any(|dep| found.contains(dep));
            if descends {
                found.insert(meta.hash);
            }
            !descends
        });
        if found.len() == known {
            found.remove(change);
            return found;
        }
    }
}

/// Refuses where somebody who knew of a decision has written in a place of these changes.
fn changed_since(doc: &Automerge, decision: &Digest, places: &[&Change]) -> Result<(), NotReopened> {
    let touched: Vec<_> = places.iter().flat_map(|change| operations(change, 0)).collect();
    let slots: HashSet<_> = touched.iter().map(|operation| &operation.slot).collect();
    let made: HashSet<_> = touched.iter().map(|operation| &operation.name).collect();
    let is_item = |key: &Key| matches!(key, Key::Element(_) | Key::Head);
    let sequences: HashSet<_> = touched
        .iter()
        .filter(|operation| is_item(&operation.slot.key))
        .map(|operation| &operation.slot.object)
        .collect();
    for later in descendants(doc, &ChangeHash(decision.0)) {
        let change = change_of(doc, &Digest(later.0))?;
        for operation in operations(&change, 0) {
            let is_there = slots.contains(&operation.slot)
                || is_item(&operation.slot.key) && sequences.contains(&operation.slot.object)
                || operation.slot.object.as_ref().is_some_and(|object| made.contains(object));
            if is_there {
                return Err(NotReopened::ChangedSince(steps(doc, &operation.slot)));
            }
        }
    }
    Ok(())
}
