//! JSON Patch (RFC 6902) as operations on a document, one step after the other in one transaction.
//!
//! An `add` to a list is an insert, so that it merges with inserts elsewhere in the list; a `replace` of a text
//! by a string edits the text. Automerge has no move: `move` removes and adds, and what others edit in the old
//! place meanwhile is theirs to lose or to keep by a card.

use super::error::EditError;
use super::node::{Node, Planner};
use super::pointer;
use super::writer::{Spot, Writer};
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// Applies a patch: all of it or nothing.
pub(crate) fn apply(writer: &mut Writer<'_, '_>, patch: &Patch) -> Result<(), EditError> {
    for (index, step) in patch.0.iter().enumerate() {
        apply_step(writer, step).map_err(|source| EditError::Step { index, source: Box::new(source) })?;
    }
    Ok(())
}

/// The pointers a patch changes: targets, and the sources of moves. A test changes nothing.
pub(crate) fn paths(patch: &Patch, out: &mut Vec<String>) {
    for step in &patch.0 {
        match step {
            PatchOperation::Test(_) => {}
            PatchOperation::Move(step) => {
                out.push(step.from.as_str().to_owned());
                out.push(step.path.as_str().to_owned());
            }
            _ => out.push(step.path().as_str().to_owned()),
        }
    }
}

fn apply_step(writer: &mut Writer<'_, '_>, step: &PatchOperation) -> Result<(), EditError> {
    match step {
        PatchOperation::Add(step) => add(writer, &pointer::parse(step.path.as_str())?, &step.value),
        PatchOperation::Remove(step) => {
            let (spot, _) = writer.must_find(&pointer::parse(step.path.as_str())?)?;
            writer.delete(&spot)
        }
        PatchOperation::Replace(step) => {
            let path = pointer::parse(step.path.as_str())?;
            let (spot, _) = writer.must_find(&path)?;
            check_depth_below(&path, &step.value)?;
            writer.set(&spot, &path, &step.value)
        }
        PatchOperation::Move(step) => {
            let from = pointer::parse(step.from.as_str())?;
            relocate(writer, &from, &pointer::parse(step.path.as_str())?)
        }
        PatchOperation::Copy(step) => {
            let (_, found) = writer.must_find(&pointer::parse(step.from.as_str())?)?;
            let node = Node::read(&*writer.tx, &found.entry, &found.id)?;
            place(writer, &pointer::parse(step.path.as_str())?, &node)
        }
        PatchOperation::Test(step) => {
            let (_, found) = writer.must_find(&pointer::parse(step.path.as_str())?)?;
            if writer.json(&found) == step.value {
                return Ok(());
            }
            Err(EditError::TestFailed { path: pointer::excerpt(step.path.as_str()) })
        }
    }
}

fn add(writer: &mut Writer<'_, '_>, path: &[String], value: &Value) -> Result<(), EditError> {
    check_depth_below(path, value)?;
    let spot = writer.spot(path)?;
    if !matches!(spot, Spot::Item { .. }) {
        return writer.set(&spot, path, value);
    }
    let node = Planner::at(writer.manifest, path).plan(value)?;
    writer.add(&spot, path, &node)
}

fn relocate(writer: &mut Writer<'_, '_>, from: &[String], to: &[String]) -> Result<(), EditError> {
    let inside = to.len() > from.len() && to.starts_with(from);
    if inside {
        return Err(EditError::MoveIntoItself {
            from: pointer::excerpt(&pointer::join(from)),
            path: pointer::excerpt(&pointer::join(to)),
        });
    }
    let (spot, found) = writer.must_find(from)?;
    if from == to && !matches!(spot, Spot::Root) {
        return Ok(());
    }
    let node = Node::read(&*writer.tx, &found.entry, &found.id)?;
    writer.delete(&spot)?;
    place(writer, to, &node)
}

fn place(writer: &mut Writer<'_, '_>, path: &[String], node: &Node) -> Result<(), EditError> {
    let spot = writer.spot(path)?;
    writer.add(&spot, path, node)
}

fn check_depth_below(path: &[String], value: &Value) -> Result<(), EditError> {
    let levels = syncd_schema::limits::JSON_DEPTH.saturating_sub(path.len());
    super::json::check_depth(value, levels, &pointer::excerpt(&pointer::join(path)))
}
