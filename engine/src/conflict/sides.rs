//! What there is to choose from: each side of a conflict, what it says, and what keeping it would write.

use super::operation::{Action, Key, Operation, operations};
use super::{Conflict, Kind, OpName, Window, answers, describe, kills};
use crate::document;
use automerge::{Automerge, ChangeHash, Prop, ReadDoc, ScalarValue};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::Digest;

/// What a side leaves in the place.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// The value or container that an operation put there.
    Put(OpName),
    /// Nothing: it was deleted.
    Gone,
    /// A container that was deleted or replaced, with the work inside of it.
    Container(OpName),
    /// A counter as it was counted, whatever was put over it.
    Count(i64),
    /// A text as these changes left it.
    Text(Vec<Digest>),
    /// What this answer alone would come to.
    Outcome(Digest),
}

impl Keep {
    /// Whether it is what an operation put.
    #[must_use]
    pub fn is(&self, operation: &OpName) -> bool {
        matches!(self, Self::Put(name) if name == operation)
    }
}

/// One side.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// The change that it is named by: its last.
    pub change: Digest,
    /// All of its changes that take part.
    pub changes: Vec<Digest>,
    /// What it says: the value; null where it deletes; of a text what it typed.
    pub value: Value,
    /// What it leaves.
    pub keep: Keep,
    /// Whether it is what the document shows.
    pub is_shown: bool,
}

/// The sides of a conflict, each change among those of one of them. Equal documents give equal answers.
#[must_use]
pub fn alternatives(doc: &Automerge, conflict: &Conflict) -> Vec<Alternative> {
    let involved = involved(doc, conflict);
    match conflict.kind {
        Kind::Value | Kind::DeleteEdit => {
            involved.iter().map(|(change, operation)| of_write(doc, conflict, *change, operation)).collect()
        }
        Kind::Inside | Kind::CounterReset => {
            let (kills, edits): (Vec<_>, Vec<_>) = involved
                .into_iter()
                .partition(|(_, operation)| operation.is_write() && operation.slot == conflict.place);
            let work = of_work(doc, conflict, &kills, &edits);
            let kills = kills.iter().map(|(change, kill)| of_write(doc, conflict, *change, kill));
            kills.chain(work).collect()
        }
        Kind::Text => of_text(doc, conflict, &involved),
        Kind::Answer => conflict.sides.iter().map(|side| of_answer(doc, conflict, side.change)).collect(),
    }
}

/// The operations that take part, each with its change, in the order of their names.
fn involved(doc: &Automerge, conflict: &Conflict) -> Vec<(Digest, Operation)> {
    let mut of_change: BTreeMap<Digest, BTreeSet<&OpName>> = BTreeMap::new();
    for side in &conflict.sides {
        of_change.entry(side.change).or_default().insert(&side.operation);
    }
    let mut involved: Vec<(Digest, Operation)> = Vec::new();
    for (digest, names) in of_change {
        let Some(change) = doc.get_change_by_hash(&ChangeHash(digest.0)) else { continue };
        let named = operations(&change, 0).into_iter().filter(|operation| names.contains(&operation.name));
        involved.extend(named.map(|operation| (digest, operation)));
    }
    involved.sort_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    involved
}

/// Whether a change replaces or deletes what a side of a conflict left, or writes in its place.
#[must_use]
pub fn writes_over(doc: &Automerge, change: &Digest, conflict: &Conflict) -> bool {
    let Some(change) = doc.get_change_by_hash(&ChangeHash(change.0)) else { return false };
    let is_side = |name: &OpName| conflict.sides.iter().any(|side| side.operation == *name);
    let on_side = |operation: &Operation| match &operation.slot.key {
        Key::Element(element) => is_side(element),
        Key::Name(_) | Key::Head | Key::Question(_) => false,
    };
    operations(&change, 0).iter().any(|operation| {
        let in_place = operation.is_write() && operation.slot == conflict.place;
        !is_side(&operation.name) && (in_place || on_side(operation) || operation.preds.iter().any(is_side))
    })
}

/// A value that was put, or a deletion.
fn of_write(doc: &Automerge, conflict: &Conflict, change: Digest, operation: &Operation) -> Alternative {
    let shown = shown(doc, conflict);
    let (value, keep, is_shown) = match &operation.action {
        Action::Delete => (Value::Null, Keep::Gone, shown.is_none()),
        Action::Put(scalar) => (
            document::scalar(scalar),
            Keep::Put(operation.name.clone()),
            shown.as_ref() == Some(&operation.name),
        ),
        Action::Make(kind) => (
            document::read_object(doc, &operation.name.object(), *kind),
            Keep::Put(operation.name.clone()),
            shown.as_ref() == Some(&operation.name),
        ),
        Action::Increment(by) => (Value::from(*by), Keep::Count(*by), false),
    };
    Alternative { change, changes: vec![change], value, keep, is_shown }
}

/// Says which sides are shown where some of what contradicts is held back: what is held is not, whatever would win.
pub fn show_held(doc: &Automerge, conflict: &Conflict, sides: &mut [Alternative]) {
    let is_here: Vec<bool> = sides.iter().map(|side| document::holds(doc, &side.change)).collect();
    let one = is_here.iter().filter(|is_here| **is_here).count() == 1;
    let shown = shown(doc, conflict);
    for (side, is_here) in sides.iter_mut().zip(is_here) {
        side.is_shown = match one {
            true => is_here,
            false => shown.as_ref().is_some_and(|shown| side.keep.is(shown)),
        };
    }
}

/// The operation whose value the document shows in the place.
fn shown(doc: &Automerge, conflict: &Conflict) -> Option<OpName> {
    let container = conflict.place.object.as_ref().map_or(automerge::ROOT, OpName::object);
    match &conflict.place.key {
        Key::Name(name) => {
            let (_, id) = doc.get(&container, name.as_str()).ok().flatten()?;
            OpName::of_object(&id)
        }
        Key::Element(_) => {
            let index = item(doc, conflict)?;
            let (_, id) = doc.get(&container, index).ok().flatten()?;
            OpName::of_object(&id)
        }
        Key::Head | Key::Question(_) => None,
    }
}

/// Where in its list the item stands that a conflict is about, if anything is there.
#[must_use]
pub(crate) fn item(doc: &Automerge, conflict: &Conflict) -> Option<usize> {
    let Key::Element(element) = &conflict.place.key else { return None };
    let list = conflict.place.object.as_ref()?.object();
    let is_it = |name: &OpName| name == element || conflict.sides.iter().any(|side| side.operation == *name);
    doc.list_range(&list, ..)
        .enumerate()
        .find(|(_, item)| OpName::of_object(&item.id()).is_some_and(|name| is_it(&name)))
        .map(|(index, _)| index)
}

/// Work inside of what was taken away, all of it as one side.
fn of_work(
    doc: &Automerge,
    conflict: &Conflict,
    kills: &[(Digest, Operation)],
    edits: &[(Digest, Operation)],
) -> Option<Alternative> {
    let (change, last) = edits.last()?;
    let changes: BTreeSet<Digest> = edits.iter().map(|(change, _)| *change).collect();
    let heads: Vec<ChangeHash> = changes.iter().map(|change| ChangeHash(change.0)).collect();
    let (value, keep) = if conflict.kind == Kind::CounterReset {
        let count = count_at(doc, conflict, &heads)?;
        (Value::from(count), Keep::Count(count))
    } else {
        let taken = |name: &OpName| kills.iter().any(|(_, kill)| kill.preds.contains(name));
        let above = kills::ancestors(doc, last.slot.object.as_ref());
        let container = above.into_iter().rev().find(taken)?;
        let kind = doc.object_type(container.object()).ok()?;
        (document::read_object(doc, &container.object(), kind), Keep::Container(container))
    };
    let changes = changes.into_iter().collect();
    Some(Alternative { change: *change, changes, value, keep, is_shown: false })
}

fn count_at(doc: &Automerge, conflict: &Conflict, heads: &[ChangeHash]) -> Option<i64> {
    let container = conflict.place.object.as_ref().map_or(automerge::ROOT, OpName::object);
    let prop: Prop = match &conflict.place.key {
        Key::Name(name) => name.as_str().into(),
        Key::Element(_) => item(doc, conflict)?.into(),
        Key::Head | Key::Question(_) => return None,
    };
    match doc.get_at(&container, prop, heads).ok().flatten()?.0.into_scalar().ok()? {
        ScalarValue::Counter(counter) => Some(i64::from(&counter)),
        _ => None,
    }
}

/// One answer of several.
fn of_answer(doc: &Automerge, conflict: &Conflict, change: Digest) -> Alternative {
    let path = describe::pointer(&answers::steps(doc, conflict));
    let value = answers::outcome_at(doc, conflict, &change);
    let is_shown = document::read_at(doc, &path).ok().flatten().unwrap_or_default() == value;
    Alternative { change, changes: vec![change], value, keep: Keep::Outcome(change), is_shown }
}

/// Lines of work on a text: changes of which one was made with knowledge of the other are one side.
fn of_text(doc: &Automerge, conflict: &Conflict, involved: &[(Digest, Operation)]) -> Vec<Alternative> {
    let changes: BTreeSet<Digest> = involved.iter().map(|(change, _)| *change).collect();
    let Ok(window) = Window::new(doc, &changes) else { return Vec::new() };
    let lines = window.lines(&changes);
    let versions = super::versions(doc, conflict).ok().flatten();
    let alternatives = lines.into_iter().filter_map(|line| {
        let typed =
            involved.iter().filter(|(change, _)| line.contains(change)).filter_map(|(_, op)| typed(op));
        let change = *line.last()?;
        let lines = versions.iter().flat_map(|versions| &versions.sides);
        let mut lines = lines.filter(|(last, _)| line.contains(last)).map(|(_, text)| text.clone());
        let value = Value::String(lines.next().unwrap_or_else(|| typed.collect()));
        Some(Alternative { change, changes: line.clone(), value, keep: Keep::Text(line), is_shown: false })
    });
    alternatives.collect()
}

fn typed(operation: &Operation) -> Option<String> {
    match (&operation.action, &operation.after) {
        (Action::Put(value), Some(_)) => value.as_str().map(str::to_owned),
        _ => None,
    }
}
