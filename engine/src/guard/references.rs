//! What the operations of a change point at: objects, list elements and predecessors.
//!
//! Each must be an operation made before: by the change itself, or by one that its document or its batch holds.
//! Automerge panics on most that are not, and keeps some until the document cannot be loaded any more. Only
//! existence is judged here; whether the operation is of the right kind is a later layer's question.

use super::columns::{Packed, Runs};
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
    let mut obj_actor = Cursor::<u64>::new(columns.obj_actor);
    let mut obj_ctr = Cursor::<u64>::new(columns.obj_ctr);
    let mut key_actor = Cursor::<u64>::new(columns.key_actor);
    let mut key_ctr = Cursor::<i64>::new(columns.key_ctr);
    let mut key_str = Cursor::<&str>::new(columns.key_str);
    let mut insert = Flags::new(columns.insert);
    let mut pred_count = Cursor::<u64>::new(columns.pred_count);
    let mut pred_actor = Cursor::<u64>::new(columns.pred_actor);
    let mut pred_ctr = Cursor::<i64>::new(columns.pred_ctr);
    let (mut element, mut pred) = (0_i64, 0_i64);

    for own in 0..scanned.ops {
        let own = scanned.start_op.saturating_add(own);
        match (obj_actor.next()?, obj_ctr.next()?) {
            (None, None) => {}
            (Some(actor), Some(counter)) => judge.reference(actor, counter, own, &columns.obj_ctr)?,
            _ => return Err(columns.obj_ctr.refuse(Reason::BadRun)),
        }

        let inserts = insert.next()?;
        let delta = key_ctr.next()?;
        element = element.saturating_add(delta.unwrap_or(0));
        match (key_str.next()?, key_actor.next()?, delta.map(|_| element)) {
            (Some(_), None, None) if !inserts => {}
            (None, None, Some(0)) if inserts => {}
            (None, Some(actor), Some(counter)) if counter > 0 => {
                judge.reference(actor, counter.unsigned_abs(), own, &columns.key_ctr)?;
            }
            _ => return Err(columns.key_ctr.refuse(Reason::BadRun)),
        }

        for _ in 0..pred_count.next()?.unwrap_or(0) {
            pred = pred.saturating_add(pred_ctr.next()?.unwrap_or(0));
            let actor = pred_actor.next()?.unwrap_or(u64::MAX);
            judge.reference(actor, pred.unsigned_abs(), own, &columns.pred_ctr)?;
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
    fn reference(&mut self, actor: u64, counter: u64, own: u64, at: &Reader<'_>) -> Result<(), Refused> {
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

/// One column, item by item; nulls for ever when it is empty or used up.
pub(super) struct Cursor<'a, V> {
    runs: Runs<'a>,
    value: Option<V>,
    left: u64,
}

impl<'a, V: Packed<'a>> Cursor<'a, V> {
    pub(super) const fn new(column: Reader<'a>) -> Self {
        Self { runs: Runs::new(column), value: None, left: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<V>, Refused> {
        if self.left == 0 {
            let Some((value, count)) = self.runs.next()? else { return Ok(None) };
            (self.value, self.left) = (value, count);
        }
        self.left = self.left.saturating_sub(1);
        Ok(self.value)
    }
}

/// A boolean column, item by item.
struct Flags<'a> {
    reader: Reader<'a>,
    value: bool,
    left: u64,
}

impl<'a> Flags<'a> {
    const fn new(column: Reader<'a>) -> Self {
        Self { reader: column, value: true, left: 0 }
    }

    fn next(&mut self) -> Result<bool, Refused> {
        while self.left == 0 {
            if self.reader.is_empty() {
                return Ok(false);
            }
            self.value = !self.value;
            self.left = self.reader.unsigned()?;
        }
        self.left -= 1;
        Ok(self.value)
    }
}
