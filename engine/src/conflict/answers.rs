//! Answers that contradict each other: one question decided by several at once, and not alike.
//!
//! Most answers write into the place they are about, and what is written twice in one slot is found there (`slots`). But an
//! answer may have nothing to write, as where a proposal is let in or an item stays deleted; it may write elsewhere, as
//! where an item comes back; and answers about a text can delete each other's choice. So what several answered is compared
//! as answers, by what the object would be with each of them and without the others.

use super::operation::operations;
use super::{Conflict, Key, Kind, OpName, Question, Side, Slot, Window, describe, place_name, settlement_of};
use crate::document;
use automerge::{Automerge, ChangeHash, Prop, ReadDoc};
use serde_json::Value;
use std::collections::BTreeSet;
use syncd_schema::Digest;

/// Questions that were answered by several who did not know of each other, where nobody answered since who knew of all.
pub(super) fn conflicts(doc: &Automerge, window: &Window) -> Vec<Conflict> {
    let of_question = |(question, by): (&Digest, &Vec<usize>)| {
        if by.len() < 2 || !by.iter().any(|answer| window.is_new_change(*answer)) {
            return None;
        }
        let is_last = |one: &&usize| !by.iter().any(|other| other != *one && window.sees(*other, **one));
        let last: Vec<usize> = by.iter().filter(is_last).copied().collect();
        if last.len() < 2 || last.iter().all(|answer| window.writes_at(*answer, question)) {
            return None;
        }
        let sides: BTreeSet<Side> = last.iter().filter_map(|one| side(doc, window.hash(*one)?)).collect();
        let changes: Vec<Digest> = sides.iter().map(|side| side.change).collect();
        let place = Slot { object: None, key: Key::Question(*question) };
        let is_equal = are_equal(doc, &changes);
        Some(Conflict { kind: Kind::Answer, place, sides: sides.into_iter().collect(), is_equal })
    };
    window.answered().filter_map(of_question).collect()
}

/// Whether all sides of a conflict are answers to one question that come to different things. Then the question is what
/// there is to ask about, or somebody has answered it since.
pub(super) fn is_between_answers(doc: &Automerge, conflict: &Conflict) -> bool {
    if conflict.kind == Kind::Answer {
        return false;
    }
    let mut changes: Vec<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    changes.sort_unstable();
    changes.dedup();
    let mut questions = changes.iter().map(|change| question_of_change(doc, change));
    let Some(Some(first)) = questions.next() else { return false };
    changes.len() > 1
        && questions.all(|question| question.as_ref() == Some(&first))
        && !changes.iter().all(|change| writes_at(doc, change, &first.name()))
        && !are_equal(doc, &changes)
}

/// The change that was proposed or held, where the answers about that contradict each other.
#[must_use]
pub fn proposal(doc: &Automerge, conflict: &Conflict) -> Option<Digest> {
    let side = conflict.sides.first().filter(|_| conflict.kind == Kind::Answer)?;
    match question_of_change(doc, &side.change)? {
        Question::Change(change) => Some(change),
        Question::Place(_) | Question::Deletion(_) => None,
    }
}

/// What an answer is about; none of any other change.
pub(super) fn question_of_change(doc: &Automerge, change: &Digest) -> Option<Question> {
    settlement_of(doc, change).map(|settled| settled.question)
}

/// An object as it would be with one answer of a conflict, and without the others.
pub(super) fn outcome(doc: &Automerge, conflict: &Conflict, change: &Digest) -> Value {
    let changes: Vec<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    document::read_past(doc, &heads(doc, &changes, change))
}

/// As [`outcome`], of the place that the answers differ in.
pub(super) fn outcome_at(doc: &Automerge, conflict: &Conflict, change: &Digest) -> Value {
    let changes: Vec<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    let heads: Vec<ChangeHash> = heads(doc, &changes, change).iter().map(|head| ChangeHash(head.0)).collect();
    let path = describe::pointer(&steps(doc, conflict));
    document::read_at_heads(doc, &path, &heads).unwrap_or(Value::Null)
}

/// Where answers differ: the smallest place, by keys alone, that all of them write in. Items of lists move.
pub(super) fn steps(doc: &Automerge, conflict: &Conflict) -> Vec<String> {
    let mut common: Option<Vec<String>> = None;
    for side in &conflict.sides {
        let Some(change) = doc.get_change_by_hash(&ChangeHash(side.change.0)) else { continue };
        for operation in operations(&change, 0) {
            let steps = keys(doc, &operation.slot);
            let shared = |common: Vec<String>| {
                common
                    .into_iter()
                    .zip(&steps)
                    .take_while(|(one, other)| one == *other)
                    .map(|(one, _)| one)
                    .collect()
            };
            common = Some(common.map_or_else(|| steps.clone(), shared));
        }
    }
    common.unwrap_or_default()
}

/// The keys that lead to a place, as far as no item of a list is on the way.
fn keys(doc: &Automerge, slot: &Slot) -> Vec<String> {
    let mut keys = Vec::new();
    let parents = slot.object.as_ref().and_then(|object| doc.parents(object.object()).ok());
    let mut way: Vec<Prop> = parents.into_iter().flatten().map(|parent| parent.prop).collect();
    way.reverse();
    if let Key::Name(name) = &slot.key {
        way.push(Prop::Map(name.clone()));
    }
    for step in way {
        let Prop::Map(name) = step else { break };
        keys.push(name.to_string());
    }
    keys
}

/// All that any of these answers knew, with one of them.
fn heads(doc: &Automerge, changes: &[Digest], with: &Digest) -> Vec<Digest> {
    let others = changes.iter().filter(|change| *change != with);
    let metas = others.filter_map(|change| doc.get_change_meta_by_hash(&ChangeHash(change.0)));
    let mut heads: Vec<Digest> =
        metas.flat_map(|meta| meta.deps.iter().map(|dep| Digest(dep.0)).collect::<Vec<_>>()).collect();
    heads.push(*with);
    heads
}

fn writes_at(doc: &Automerge, change: &Digest, question: &Digest) -> bool {
    let change = doc.get_change_by_hash(&ChangeHash(change.0));
    let mut own = change.iter().flat_map(|change| operations(change, 0));
    own.any(|operation| operation.is_write() && place_name(&operation.slot) == *question)
}

fn are_equal(doc: &Automerge, changes: &[Digest]) -> bool {
    let mut outcomes = changes.iter().map(|change| document::read_past(doc, &heads(doc, changes, change)));
    let first = outcomes.next();
    outcomes.all(|outcome| Some(&outcome) == first.as_ref())
}

/// An answer by its first operation, or by the one that it would have.
fn side(doc: &Automerge, change: Digest) -> Option<Side> {
    let meta = doc.get_change_meta_by_hash(&ChangeHash(change.0))?;
    let operation = OpName { counter: meta.start_op, actor: meta.actor.into_owned() };
    Some(Side { operation, change })
}
