//! A text with one side of a conflict kept: what the others typed there is gone, what they alone deleted is back.

use super::operation::{Action, Key, operations};
use super::{Conflict, OpName, alternatives, versions};
use automerge::{Automerge, ChangeHash, ReadDoc, ScalarValueRef, ValueRef};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use syncd_schema::Digest;

/// A character, or several that were inserted as one.
pub(super) struct Piece {
    pub(super) name: OpName,
    pub(super) text: String,
}

/// The text as it is to be when the side of these changes is kept. Whatever else was written in it stays.
pub(super) fn text(doc: &Automerge, conflict: &Conflict, side: &[Digest]) -> Option<String> {
    let id = conflict.place.object.as_ref()?.object();
    let work = Work::of(doc, conflict, side);
    let heads: Vec<ChangeHash> = side.iter().map(|change| ChangeHash(change.0)).collect();
    let now = pieces(doc.list_range(&id, ..));
    let theirs = pieces(doc.list_range_at(&id, .., &heads));
    let shown: HashSet<&OpName> = now.iter().map(|piece| &piece.name).collect();
    // What comes back stands after the last character before it that is still there.
    let mut back: HashMap<Option<&OpName>, String> = HashMap::new();
    let mut anchor = None;
    for piece in &theirs {
        if shown.contains(&piece.name) {
            anchor = Some(&piece.name);
        } else if work.deleted.contains(&piece.name) {
            back.entry(anchor).or_default().push_str(&piece.text);
        }
    }
    let mut text = back.remove(&None).unwrap_or_default();
    for piece in &now {
        if !work.typed.contains(&piece.name) {
            text.push_str(&piece.text);
        }
        text.push_str(&back.remove(&Some(&piece.name)).unwrap_or_default());
    }
    Some(text)
}

/// The text with something given in the place of what all sides of a conflict made of it. Whatever else was written in
/// it stays.
pub(super) fn given(doc: &Automerge, conflict: &Conflict, value: &str) -> Option<String> {
    match versions(doc, conflict).ok().flatten() {
        Some(_) => given_lines(doc, conflict, value),
        None => given_typed(doc, conflict, value),
    }
}

/// In the place of what was typed: where the first of it stands.
fn given_typed(doc: &Automerge, conflict: &Conflict, value: &str) -> Option<String> {
    let id = conflict.place.object.as_ref()?.object();
    let work = Work::of(doc, conflict, &[]);
    let (mut text, mut is_given) = (String::new(), false);
    for piece in pieces(doc.list_range(&id, ..)) {
        if !work.typed.contains(&piece.name) {
            text.push_str(&piece.text);
        } else if !is_given {
            text.push_str(value);
            is_given = true;
        }
    }
    is_given.then_some(text)
}

/// In the place of a side's lines, in the text as it is with that side kept: they are where it differs from the text with
/// another side kept.
fn given_lines(doc: &Automerge, conflict: &Conflict, value: &str) -> Option<String> {
    let mut sides = Vec::new();
    for side in alternatives(doc, conflict) {
        sides.push((side.value.as_str()?.to_owned(), text(doc, conflict, &side.changes)?));
    }
    sides.sort_by_key(|(lines, _)| lines.is_empty());
    let (lines, whole) = sides.first()?;
    let others = || sides.iter().skip(1).map(|(_, other)| other);
    let alike = |one: &mut dyn Iterator<Item = char>, other: &mut dyn Iterator<Item = char>| -> usize {
        one.zip(other).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
    };
    let from = others().map(|other| alike(&mut whole.chars(), &mut other.chars())).min()?;
    let same_end = others().map(|other| alike(&mut whole.chars().rev(), &mut other.chars().rev())).min()?;
    let to = whole.len().saturating_sub(same_end).max(from);
    let starts = whole.char_indices().map(|(start, _)| start).take_while(|start| *start <= from);
    let stands = |start: &usize| {
        whole.get(*start..).is_some_and(|rest| rest.starts_with(lines)) && start + lines.len() >= to
    };
    let place = starts.filter(stands).last().map_or(from..to, |start| start..start + lines.len());
    let end = if lines.ends_with('\n') && !value.is_empty() && !value.ends_with('\n') { "\n" } else { "" };
    Some([whole.get(..place.start)?, value, end, whole.get(place.end..)?].concat())
}

/// What the other sides of a conflict did.
struct Work {
    typed: HashSet<OpName>,
    deleted: HashSet<OpName>,
}

impl Work {
    fn of(doc: &Automerge, conflict: &Conflict, side: &[Digest]) -> Self {
        let mut of_change: BTreeMap<Digest, BTreeSet<&OpName>> = BTreeMap::new();
        for one in conflict.sides.iter().filter(|one| !side.contains(&one.change)) {
            of_change.entry(one.change).or_default().insert(&one.operation);
        }
        let mut work = Self { typed: HashSet::new(), deleted: HashSet::new() };
        for (digest, names) in of_change {
            let Some(change) = doc.get_change_by_hash(&ChangeHash(digest.0)) else { continue };
            for operation in operations(&change, 0) {
                if !names.contains(&operation.name) {
                    continue;
                }
                match (&operation.after, &operation.action, operation.slot.key) {
                    (Some(_), ..) => drop(work.typed.insert(operation.name)),
                    (None, Action::Delete, Key::Element(element)) => drop(work.deleted.insert(element)),
                    _ => {}
                }
            }
        }
        work
    }
}

/// The characters of a text.
pub(super) fn pieces<'d>(items: impl Iterator<Item = automerge::iter::ListRangeItem<'d>>) -> Vec<Piece> {
    let piece = |item: automerge::iter::ListRangeItem<'d>| {
        let text = match &item.value {
            ValueRef::Scalar(ScalarValueRef::Str(text)) => text.to_string(),
            _ => String::new(),
        };
        Some(Piece { name: OpName::of_object(&item.id())?, text })
    };
    items.filter_map(piece).collect()
}
