//! Work inside of what somebody else took away meanwhile.

use super::{Action, Conflict, Kind, OpName, Operation, Window};
use automerge::{Automerge, ReadDoc};
use std::collections::HashMap;

/// Operations with the writes that replaced or deleted what they had put.
type Kills<'w> = HashMap<&'w OpName, Vec<usize>>;

/// Containers that one side deleted or replaced while another worked in them, and counters that got a new value while
/// another counted.
pub(super) fn conflicts(doc: &Automerge, window: &Window) -> Vec<Conflict> {
    let operations = window.operations();
    let mut kills: Kills<'_> = HashMap::new();
    for (index, write) in operations.iter().enumerate().filter(|(_, operation)| operation.is_write()) {
        for pred in &write.preds {
            kills.entry(pred).or_default().push(index);
        }
    }
    if kills.is_empty() {
        return Vec::new();
    }
    let stands = |operation: &Operation| operation.adds() && !window.is_withdrawn(operation);
    let mut above: HashMap<Option<OpName>, Vec<OpName>> = HashMap::new();
    let mut found: HashMap<OpName, (Vec<usize>, Vec<usize>)> = HashMap::new();
    for (index, edit) in operations.iter().enumerate().filter(|(_, operation)| stands(operation)) {
        let parents = above
            .entry(edit.slot.object.clone())
            .or_insert_with(|| ancestors(doc, edit.slot.object.as_ref()));
        let counted = matches!(edit.action, Action::Increment(_)).then_some(&edit.preds);
        for container in parents.iter().chain(counted.into_iter().flatten()) {
            let Some(writes) = kills.get(container) else { continue };
            let of = |index: &&usize| operations.get(**index);
            // Whoever took it away with knowledge of the edit has decided about it.
            let decided = writes.iter().filter_map(|index| of(&index)).any(|write| window.knew(write, edit));
            let overwritten = || {
                let by = kills.get(&edit.name).into_iter().flatten();
                by.filter_map(|index| of(&index)).any(|write| window.knew(write, edit))
            };
            if decided || overwritten() {
                continue;
            }
            let apart: Vec<usize> = writes
                .iter()
                .filter(|index| {
                    of(index).is_some_and(|write| {
                        window.are_concurrent(write, edit)
                            && !window.is_withdrawn_beside(write, edit)
                            && !window.is_settled(&write.slot, write, edit)
                    })
                })
                .copied()
                .collect();
            if !apart.is_empty() {
                let (kills, edits) = found.entry(container.clone()).or_default();
                kills.extend(apart);
                edits.push(index);
            }
        }
    }
    let of = |index: &usize| operations.get(*index);
    let conflicts = found.into_iter().filter_map(|(container, (kills, edits))| {
        let involved = || kills.iter().chain(&edits);
        if !involved().filter_map(of).any(|operation| window.is_new(operation)) {
            return None;
        }
        let counts = edits.iter().filter_map(of).all(|edit| edit.preds.contains(&container));
        let kind = if counts { Kind::CounterReset } else { Kind::Inside };
        let slot = kills.first().and_then(of)?.slot.clone();
        Some(Conflict::new(kind, slot, window, involved().copied()))
    });
    conflicts.collect()
}

/// A container and those around it, by the operations that made them; the root is never taken away.
pub(super) fn ancestors(doc: &Automerge, object: Option<&OpName>) -> Vec<OpName> {
    let Some(object) = object else { return Vec::new() };
    let mut names = vec![object.clone()];
    if let Ok(parents) = doc.parents(object.object()) {
        names.extend(parents.filter_map(|parent| OpName::of_object(&parent.obj)));
    }
    names
}
