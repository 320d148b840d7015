//! What the operations of a change point at: objects, list elements and predecessors.
//!
//! Each must be an operation made before: by the change itself, or by one that its document or its batch holds.
//! Automerge panics on most that are not, and keeps some until the document cannot be loaded any more. Only
//! existence is judged here; whether the operation is of the right kind is a later layer's question.

use super::ops::{Index, Key, Ops};
use super::reader::Reader;
use super::refused::{Reason, Refused};
use super::scan::{Layout, Scanned};
use automerge::{ActorId, ObjId};

/// An operation by its number and its actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpRef<'a> {
    pub(crate) counter: u64,
    pub(crate) actor: &'a [u8],
}

impl OpRef<'_> {
    /// As Automerge names it. The index is a hint that it checks against the actor.
    pub(super) fn id(self) -> ObjId {
        ObjId::Id(self.counter, ActorId::from(self.actor), 0)
    }
}

/// Checks all references of a scanned change. `exists` answers for operations of other changes.
pub(crate) fn check<'a>(
    scanned: &Scanned,
    layout: &Layout<'a>,
    exists: impl FnMut(OpRef<'a>) -> bool,
) -> Result<(), Refused> {
    let columns = &layout.columns;
    let named = vec![false; layout.actors.len()];
    let mut judge = Judge { layout, start_op: scanned.start_op, exists, last: None, named };
    let mut ops = Ops::new(columns);
    for own in 0..scanned.ops {
        let own = scanned.start_op.saturating_add(own);
        let (op, preds) = ops.next()?;
        if let Some(object) = op.object {
            judge.reference(object, own, &columns.obj_ctr)?;
        }
        if let Key::Element(element) = op.key {
            judge.reference(element, own, &columns.key_ctr)?;
        }
        for pred in preds {
            judge.reference(*pred, own, &columns.pred_ctr)?;
        }
    }
    // The change's own actor comes first and needs no mention.
    if judge.named.iter().skip(1).all(|named| *named) { Ok(()) } else { Err(Reason::UnusedActor.into()) }
}

struct Judge<'l, 'a, F> {
    layout: &'l Layout<'a>,
    start_op: u64,
    exists: F,
    /// The last reference found good: a run of operations on one object asks once.
    last: Option<OpRef<'a>>,
    /// Which of the listed actors were named: Automerge would not list the others.
    named: Vec<bool>,
}

impl<'a, F: FnMut(OpRef<'a>) -> bool> Judge<'_, 'a, F> {
    fn reference(&mut self, (actor, counter): Index, own: u64, at: &Reader<'_>) -> Result<(), Refused> {
        let unknown = || at.refuse(Reason::UnknownOperation { counter });
        // Earlier in this change.
        if actor == 0 && counter >= self.start_op && counter < own {
            return Ok(());
        }
        // All that a change can know of was numbered before its own first operation.
        if counter >= self.start_op {
            return Err(unknown());
        }
        let index = usize::try_from(actor).unwrap_or(usize::MAX);
        let (Some(actor), Some(named)) = (self.layout.actors.get(index).copied(), self.named.get_mut(index))
        else {
            return Err(at.refuse(Reason::UnknownActor));
        };
        *named = true;
        let reference = OpRef { counter, actor };
        if self.last == Some(reference) {
            return Ok(());
        }
        if !(self.exists)(reference) {
            return Err(unknown());
        }
        self.last = Some(reference);
        Ok(())
    }
}
