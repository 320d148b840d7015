//! A change taken back: what it did, place by place, is written over with what is shown without it.
//!
//! Only what the change touched is written, so that nothing competes with work elsewhere, and every place where it
//! competes with somebody, also where the other is shown: else it would go on competing after it was declined.

use super::OpName;
use super::decide::other_than;
use super::operation::{Action, Key, Operation, operations};
use crate::document::node::{Node, Planner};
use crate::document::writer::Writer;
use crate::document::{self, EditError, pointer};
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ChangeHash, ObjId, ObjType, Prop, ReadDoc, ScalarValue, Value as Entry};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use syncd_schema::Digest;

/// What is to stand in the places that are written.
#[derive(Clone, Copy)]
pub(super) struct Shown<'d> {
    /// Where it stands under keys.
    pub(super) keys: &'d Automerge,
    /// Where it stands in lists and texts.
    pub(super) sequences: &'d Automerge,
    /// Whether it is to win under keys against what is written there at the same time.
    pub(super) is_emphatic: bool,
}

/// Writes, into a document that has a change, what `without` shows where the change did something.
///
/// # Errors
/// When the change is not there, or what is written is beyond the limits.
pub(crate) fn withdraw(
    writer: &mut Writer<'_, '_>,
    with: &Automerge,
    change: &Digest,
    without: &Automerge,
) -> Result<(), EditError> {
    let change = with.get_change_by_hash(&ChangeHash(change.0)).ok_or(EditError::Lost)?;
    let shown = Shown { keys: without, sequences: without, is_emphatic: false };
    restore(writer, with, &[&change], &shown)
}

/// Writes into a document what is shown elsewhere, wherever some changes did something.
pub(super) fn restore(
    writer: &mut Writer<'_, '_>,
    here: &Automerge,
    changes: &[&Change],
    shown: &Shown<'_>,
) -> Result<(), EditError> {
    let all: Vec<(Operation, bool)> = changes
        .iter()
        .flat_map(|change| {
            let counts = !document::holds(shown.keys, &Digest(change.hash().0));
            operations(change, 0).into_iter().map(move |operation| (operation, counts))
        })
        .collect();
    let own: HashMap<&OpName, &(Operation, bool)> = all.iter().map(|known| (&known.0.name, known)).collect();
    let mut keys: BTreeMap<Option<&OpName>, BTreeSet<&String>> = BTreeMap::new();
    let mut sequences: BTreeSet<&OpName> = BTreeSet::new();
    for (operation, _) in &all {
        let object = operation.slot.object.as_ref();
        match (&operation.slot.key, object) {
            // What is inside of what was made goes with that.
            (_, Some(made)) if own.contains_key(made) => {}
            (Key::Name(name), _) => drop(keys.entry(object).or_default().insert(name)),
            (_, Some(object)) => drop(sequences.insert(object)),
            (_, None) => {}
        }
    }
    let computed = document::read_with(shown.keys, writer.manifest);
    let work = Work { here, shown, computed, own };
    for (object, names) in keys {
        let map = object.map_or(automerge::ROOT, OpName::object);
        names.into_iter().try_for_each(|name| work.restore_key(writer, &map, name))?;
    }
    for object in sequences {
        let id = object.object();
        match here.object_type(&id)? {
            ObjType::Text => work.restore_text(writer, &id)?,
            ObjType::List => work.restore_list(writer, &id)?,
            ObjType::Map | ObjType::Table => {}
        }
    }
    Ok(())
}

/// The document that is written into, what is to be shown in it, and the operations of the changes: each with whether it
/// counts for more than is to be shown.
struct Work<'d> {
    here: &'d Automerge,
    shown: &'d Shown<'d>,
    computed: Value,
    own: HashMap<&'d OpName, &'d (Operation, bool)>,
}

/// What stands in one place.
struct Standing {
    names: BTreeSet<OpName>,
    shown: Option<(Entry<'static>, ObjId)>,
}

impl Standing {
    fn of(doc: &Automerge, container: &ObjId, prop: impl Into<Prop>) -> Result<Self, EditError> {
        let all = doc.get_all(container, prop)?;
        let names = all.iter().filter_map(|(_, id)| OpName::of_object(id)).collect();
        let shown = all.into_iter().last().map(|(entry, id)| (entry.into_owned(), id));
        Ok(Self { names, shown })
    }

    fn is_single_scalar(&self, scalar: &ScalarValue) -> bool {
        let is_it = |entry: &Entry<'_>| matches!(entry, Entry::Scalar(found) if found.as_ref() == scalar);
        self.names.len() == 1 && self.shown.as_ref().is_some_and(|(entry, _)| is_it(entry))
    }
}

impl Work<'_> {
    fn restore_key(&self, writer: &mut Writer<'_, '_>, map: &ObjId, key: &str) -> Result<(), EditError> {
        let here = Standing::of(self.here, map, key)?;
        let before = Standing::of(self.shown.keys, map, key)?;
        if here.names == before.names {
            return self.uncount(writer, (map, key.into()), &here);
        }
        let Some((entry, id)) = &before.shown else {
            writer.reserve(1, 0)?;
            return Ok(writer.tx.delete(map, key)?);
        };
        if self.shown.is_emphatic {
            // Of what is written at the same time the longer work wins.
            writer.reserve(2, 0)?;
            writer.tx.put(map, key, ScalarValue::Null)?;
            writer.tx.delete(map, key)?;
        }
        let node = match before.names.len() {
            1 => Node::read(self.shown.keys, entry, id)?,
            // Under some rules what is shown is computed from all that was put.
            _ => {
                self.computed(writer, map, key)?.map_or_else(|| Node::read(self.shown.keys, entry, id), Ok)?
            }
        };
        put(writer, (map, key.into()), &node, &here)
    }

    /// What is shown at a key, where that is not one of the values put there.
    fn computed(&self, writer: &Writer<'_, '_>, map: &ObjId, key: &str) -> Result<Option<Node>, EditError> {
        let place = super::Slot { object: OpName::of_object(map), key: Key::Name(key.to_owned()) };
        let steps = super::steps(self.shown.keys, &place);
        let shown = self.computed.pointer(&pointer::join(&steps));
        shown.map(|value| Planner::at(writer.manifest, &steps).plan(value)).transpose()
    }

    /// What stands in a place, and what the changes have put it over.
    fn names<'s>(&'s self, standing: &'s Standing) -> Vec<&'s OpName> {
        let mut names: Vec<&OpName> = standing.names.iter().collect();
        let mut next = 0;
        while let Some(name) = names.get(next) {
            names.extend(self.own.get(*name).into_iter().flat_map(|(operation, _)| &operation.preds));
            next += 1;
        }
        names
    }

    /// Takes back what was counted.
    fn uncount(
        &self,
        writer: &mut Writer<'_, '_>,
        (container, prop): (&ObjId, Prop),
        here: &Standing,
    ) -> Result<(), EditError> {
        let counted = self.own.values().filter(|(operation, counts)| {
            *counts && operation.preds.iter().any(|pred| here.names.contains(pred))
        });
        let by = counted.fold(0_i64, |sum, (operation, _)| match operation.action {
            Action::Increment(by) => sum.saturating_add(by),
            _ => sum,
        });
        if by == 0 {
            return Ok(());
        }
        writer.reserve(1, 0)?;
        Ok(writer.tx.increment(container, prop, by.saturating_neg())?)
    }

    /// Characters that it typed go, those that it deleted come back where they stood.
    fn restore_text(&self, writer: &mut Writer<'_, '_>, text: &ObjId) -> Result<(), EditError> {
        let here = super::kept::pieces(self.here.list_range(text, ..));
        let before = super::kept::pieces(self.shown.sequences.list_range(text, ..));
        let stays: HashSet<&OpName> = here.iter().map(|piece| &piece.name).collect();
        let length = |text: &str| text.chars().count();
        let mut rest = here.iter();
        let mut at = 0;
        let mut missing = String::new();
        for piece in &before {
            if !stays.contains(&piece.name) {
                missing.push_str(&piece.text);
                continue;
            }
            let typed: usize =
                rest.by_ref().take_while(|next| next.name != piece.name).map(|next| length(&next.text)).sum();
            splice(writer, text, (at, typed), &missing)?;
            at += length(&missing) + length(&piece.text);
            missing.clear();
        }
        splice(writer, text, (at, rest.map(|next| length(&next.text)).sum()), &missing)
    }

    /// As with a text, by items; an item that it put something over is that item again.
    fn restore_list(&self, writer: &mut Writer<'_, '_>, list: &ObjId) -> Result<(), EditError> {
        let standings = |doc: &Automerge| {
            (0..doc.length(list)).map(|index| Standing::of(doc, list, index)).collect::<Result<Vec<_>, _>>()
        };
        let (here, before) = (standings(self.here)?, standings(self.shown.sequences)?);
        let mut places: HashMap<&OpName, usize> = HashMap::new();
        for (place, standing) in here.iter().enumerate() {
            places.extend(self.names(standing).into_iter().map(|name| (name, place)));
        }
        let (mut at, mut next) = (0, 0);
        for standing in &before {
            let Some((entry, id)) = &standing.shown else { continue };
            let place = self.names(standing).into_iter().find_map(|name| places.get(name));
            let Some((place, now)) = place.and_then(|place| Some((*place, here.get(*place)?))) else {
                let node = Node::read(self.shown.sequences, entry, id)?;
                writer.reserve(node.ops(), node.bytes())?;
                node.insert(writer.tx, list, at)?;
                at += 1;
                continue;
            };
            remove(writer, list, at, place.saturating_sub(next))?;
            next = place + 1;
            if now.names == standing.names {
                self.uncount(writer, (list, at.into()), now)?;
            } else {
                put(writer, (list, at.into()), &Node::read(self.shown.sequences, entry, id)?, now)?;
            }
            at += 1;
        }
        remove(writer, list, at, here.len().saturating_sub(next))
    }
}

/// Writes a node over all that stands in a place.
fn put(
    writer: &mut Writer<'_, '_>,
    (container, prop): (&ObjId, Prop),
    node: &Node,
    here: &Standing,
) -> Result<(), EditError> {
    writer.reserve(node.ops() + 1, node.bytes())?;
    if let Node::Scalar(value) = node
        && here.is_single_scalar(value)
    {
        // Automerge writes nothing where the value is there already.
        writer.tx.put(container, prop.clone(), other_than(value))?;
    }
    node.put(writer.tx, container, prop)
}

fn splice(
    writer: &mut Writer<'_, '_>,
    text: &ObjId,
    (at, typed): (usize, usize),
    missing: &str,
) -> Result<(), EditError> {
    if typed == 0 && missing.is_empty() {
        return Ok(());
    }
    writer.reserve((typed + missing.chars().count()) as u64, missing.len())?;
    let deleted = isize::try_from(typed).map_err(|_| EditError::TooManyOps)?;
    Ok(writer.tx.splice_text(text, at, deleted, missing)?)
}

fn remove(writer: &mut Writer<'_, '_>, list: &ObjId, at: usize, count: usize) -> Result<(), EditError> {
    writer.reserve(count as u64, 0)?;
    (0..count).try_for_each(|_| Ok(writer.tx.delete(list, at)?))
}
