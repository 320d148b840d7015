//! Several last writes in one place.

use super::{Action, Conflict, Kind, Operation, Slot, Window};
use crate::document;
use automerge::Automerge;
use std::collections::HashMap;

/// Slots that something new writes, and that hold several writes of which no author knew another's.
pub(super) fn conflicts(doc: &Automerge, window: &Window) -> Vec<Conflict> {
    let mut slots: HashMap<&Slot, Vec<usize>> = HashMap::new();
    for (index, operation) in window.operations().iter().enumerate().filter(|(_, op)| op.is_write()) {
        slots.entry(&operation.slot).or_default().push(index);
    }
    let mut conflicts = Vec::new();
    for (slot, writes) in slots {
        let of = |index: &usize| window.operations().get(*index);
        if writes.len() < 2 || !writes.iter().filter_map(of).any(|write| window.is_new(write)) {
            continue;
        }
        let mut last = last(window, &writes);
        last.retain(|index| of(index).is_some_and(|write| !window.is_withdrawn(write)));
        let operations: Vec<&Operation> = last.iter().filter_map(of).collect();
        let deletions = operations.iter().filter(|operation| !operation.adds()).count();
        if operations.len() < 2 || deletions == operations.len() {
            continue;
        }
        let kind = if deletions == 0 { Kind::Value } else { Kind::DeleteEdit };
        let mut conflict = Conflict::new(kind, slot.clone(), window, last.iter().copied());
        conflict.is_equal = operations.windows(2).all(|pair| match pair {
            [one, other] => is_same(doc, one, other),
            _ => true,
        });
        conflicts.push(conflict);
    }
    conflicts
}

/// The writes that no later one was made with knowledge of. Writes come in causal order, so that each can only be
/// overtaken by those after it.
fn last(window: &Window, writes: &[usize]) -> Vec<usize> {
    let mut last: Vec<usize> = Vec::new();
    for index in writes {
        let Some(write) = window.operations().get(*index) else { continue };
        last.retain(|before| {
            window.operations().get(*before).is_some_and(|before| !window.knew(write, before))
        });
        last.push(*index);
    }
    last
}

/// Whether two writes leave the same in their slot. Containers are compared by what is in them now.
fn is_same(doc: &Automerge, one: &Operation, other: &Operation) -> bool {
    match (&one.action, &other.action) {
        (Action::Put(one), Action::Put(other)) => one == other,
        (Action::Delete, Action::Delete) => true,
        (Action::Make(kind), Action::Make(same)) if kind == same => {
            let read = |operation: &Operation| document::read_object(doc, &operation.name.object(), *kind);
            read(one) == read(other)
        }
        _ => false,
    }
}
