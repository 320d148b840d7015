//! Whether operations mean what Automerge's own would: what they point at is of the right kind.
//!
//! Each rule holds for whatever Automerge writes, and each keeps out something that it does not survive, at once or at
//! the next honest edit; docs/guard.md has them one by one.

use super::index::{ActorNo, Container, ContainerNo, Index, ROOT, Shape, Slot, Value, What};
use super::ops::{self, Key, Op, Ops, action, value};
use super::reader::Reader;
use super::refused::{Reason, Refused};
use super::scan::{Layout, Scanned};
use std::collections::{HashMap, HashSet};
use syncd_schema::limits;

/// Judges the operations of a change that points at nothing unknown, and adds them to the index if they are good. The
/// index is as it was when they are not.
pub(super) fn check(index: &mut Index, scanned: &Scanned, layout: &Layout<'_>) -> Result<(), Refused> {
    let mut judge = Judge::new(index, scanned, layout);
    let mut ops = Ops::new(&layout.columns);
    for _ in 0..scanned.ops {
        let (op, preds) = ops.next()?;
        judge.judge(&op, preds)?;
    }
    let Judge { fresh, made, names, .. } = judge;
    add(index, scanned, fresh, made, names);
    Ok(())
}

/// Adds what was found good.
fn add(
    index: &mut Index,
    scanned: &Scanned,
    fresh: Vec<Option<Value>>,
    made: Vec<(u32, Container)>,
    names: HashMap<&str, u32>,
) {
    let own = index.actor_or_new(&scanned.actor);
    let mut names: Vec<(&str, u32)> = names.into_iter().collect();
    names.sort_unstable_by_key(|(_, no)| *no);
    for (name, _) in names {
        index.name_or_new(name);
    }
    for (counter, container) in made {
        index.add_container(own, counter, container);
    }
    for (counter, written) in (scanned.start_op..).zip(fresh) {
        if let (Some(written), Ok(counter)) = (written, u32::try_from(counter)) {
            index.add(own, counter, written);
        }
    }
    index.advance(scanned.hash, &scanned.deps);
}

struct Judge<'j, 'a> {
    index: &'j Index,
    layout: &'j Layout<'a>,
    start_op: u64,
    /// By place in the change's list of actors, their numbers in the index.
    actors: Vec<Option<ActorNo>>,
    own: ActorNo,
    /// What the change itself has written so far, by operation.
    fresh: Vec<Option<Value>>,
    /// The containers it has made, by number of operation.
    made: Vec<(u32, Container)>,
    names: HashMap<&'a str, u32>,
    /// What it has replaced so far: that is gone, and nobody can replace it again.
    replaced: HashSet<ops::Index>,
    /// The container that was asked for last: a run of operations on one asks once.
    last: Option<(ops::Index, (ContainerNo, Container))>,
}

impl<'j, 'a> Judge<'j, 'a> {
    fn new(index: &'j Index, scanned: &Scanned, layout: &'j Layout<'a>) -> Self {
        // A new actor will have the next number.
        let own = index.actor(&scanned.actor).unwrap_or(index.actor_count() as ActorNo);
        let mut actors: Vec<Option<ActorNo>> = layout.actors.iter().map(|actor| index.actor(actor)).collect();
        if let Some(first) = actors.first_mut() {
            *first = Some(own);
        }
        Self {
            index,
            layout,
            start_op: scanned.start_op,
            actors,
            own,
            fresh: Vec::with_capacity(usize::try_from(scanned.ops).unwrap_or_default()),
            made: Vec::new(),
            names: HashMap::new(),
            replaced: HashSet::new(),
            last: None,
        }
    }

    fn judge(&mut self, op: &Op<'a>, preds: &[ops::Index]) -> Result<(), Refused> {
        let (no, container) = self.container(op.object)?;
        let slot = self.slot(op, no, container)?;
        self.check_action(op, container, preds.len())?;
        self.check_preds(op, preds, (no, slot))?;
        check_value(op, &self.layout.columns.value)?;
        let what = match op.action {
            action::DELETE | action::INCREMENT => {
                self.fresh.push(None);
                return Ok(());
            }
            action::PUT if op.value.0 == value::COUNTER => What::Counter,
            action::PUT => What::Scalar,
            made => {
                self.make(made, container)?;
                What::Container
            }
        };
        self.fresh.push(Some(Value { container: no, slot, what, inserts: op.inserts }));
        Ok(())
    }

    /// The number of the operation that is judged.
    fn counter(&self) -> u64 {
        self.start_op.saturating_add(self.fresh.len() as u64)
    }

    fn container(&mut self, object: Option<ops::Index>) -> Result<(ContainerNo, Container), Refused> {
        let Some(object) = object else {
            return Ok((ROOT, Container { shape: Shape::Map, depth: 0 }));
        };
        if let Some((_, found)) = self.last.filter(|(last, _)| *last == object) {
            return Ok(found);
        }
        let (actor, counter) = object;
        let found = self.own_container(object).or_else(|| {
            let no = self.index.made_by(self.actor(actor)?, counter)?;
            Some((no, self.index.container(no)?))
        });
        let refused = || self.layout.columns.obj_ctr.refuse(Reason::NotAContainer { counter });
        let found = found.ok_or_else(refused)?;
        self.last = Some((object, found));
        Ok(found)
    }

    fn own_container(&self, (actor, counter): ops::Index) -> Option<(ContainerNo, Container)> {
        if actor != 0 || counter < self.start_op {
            return None;
        }
        let counter = u32::try_from(counter).ok()?;
        let at = self.made.binary_search_by_key(&counter, |(made, _)| *made).ok()?;
        let no = self.index.container_count().checked_add(at)?;
        Some((ContainerNo::try_from(no).ok()?, self.made.get(at)?.1))
    }

    fn actor(&self, index: u64) -> Option<ActorNo> {
        self.actors.get(usize::try_from(index).ok()?).copied().flatten()
    }

    fn value(&self, (actor, counter): ops::Index) -> Option<Value> {
        if actor == 0 && counter >= self.start_op {
            let index = usize::try_from(counter - self.start_op).ok()?;
            return self.fresh.get(index).copied().flatten();
        }
        self.index.value(self.actor(actor)?, counter)
    }

    /// Where an operation writes: keys are for maps, items for lists and texts, and an item is one of the same container.
    fn slot(&mut self, op: &Op<'a>, no: ContainerNo, container: Container) -> Result<Slot, Refused> {
        let at = &self.layout.columns.key_ctr;
        match op.key {
            Key::Name(name) if container.shape == Shape::Map => Ok(Slot::Name(self.name(name))),
            Key::Name(_) => Err(self.layout.columns.key_str.refuse(Reason::WrongKey)),
            Key::Head | Key::Element(_) if container.shape == Shape::Map => Err(at.refuse(Reason::WrongKey)),
            Key::Head => Ok(self.own_item()),
            Key::Element(element) => {
                let item = self.value(element).filter(|item| item.inserts && item.container == no);
                match item {
                    None => Err(at.refuse(Reason::NotAnItem { counter: element.1 })),
                    Some(_) if op.inserts => Ok(self.own_item()),
                    Some(item) => Ok(item.slot),
                }
            }
        }
    }

    fn own_item(&self) -> Slot {
        Slot::Item(self.own, u32::try_from(self.counter()).unwrap_or(u32::MAX))
    }

    fn name(&mut self, name: &'a str) -> u32 {
        if let Some(no) = self.index.name(name) {
            return no;
        }
        let next = (self.index.name_count() + self.names.len()) as u32;
        *self.names.entry(name).or_insert(next)
    }

    /// What its container takes, and whether it replaces anything where it must or must not.
    fn check_action(&self, op: &Op<'_>, container: Container, preds: usize) -> Result<(), Refused> {
        let at = &self.layout.columns.action;
        let replaces = matches!(op.action, action::DELETE | action::INCREMENT);
        if op.inserts && (replaces || preds > 0) || replaces && preds == 0 {
            return Err(at.refuse(Reason::WrongPredecessors));
        }
        let is_one = |bytes| std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1);
        let is_put = op.inserts && op.action == action::PUT && op.value.0 == value::TEXT;
        let is_character = is_put && is_one(op.value.1);
        if container.shape == Shape::Text && !is_character && op.action != action::DELETE {
            return Err(at.refuse(Reason::NotForText));
        }
        Ok(())
    }

    /// What it replaces are values of its own slot, none of them twice in the change; what it increments has a counter among
    /// them, beside what others put there meanwhile.
    fn check_preds(
        &mut self,
        op: &Op<'_>,
        preds: &[ops::Index],
        (no, slot): (ContainerNo, Slot),
    ) -> Result<(), Refused> {
        let at = &self.layout.columns.pred_ctr;
        let adds = op.action == action::INCREMENT;
        let mut counts = false;
        for (index, pred) in preds.iter().enumerate() {
            let found = self.value(*pred).filter(|found| found.container == no && found.slot == slot);
            let Some(found) = found else { return Err(at.refuse(Reason::NotAValue { counter: pred.1 })) };
            counts |= found.what == What::Counter;
            // Predecessors are in one order, so that equal ones are neighbours.
            let before = index.checked_sub(1).and_then(|before| preds.get(before));
            if before.is_some_and(|before| self.order(before) >= self.order(pred)) {
                return Err(at.refuse(Reason::Unsorted));
            }
            if !adds && !self.replaced.insert(*pred) {
                return Err(at.refuse(Reason::WrongPredecessors));
            }
        }
        match preds.first() {
            Some((_, counter)) if adds && !counts => {
                Err(at.refuse(Reason::NotACounter { counter: *counter }))
            }
            _ => Ok(()),
        }
    }

    /// Automerge's order of operations: by number, then by the bytes of the actor.
    fn order(&self, (actor, counter): &ops::Index) -> (u64, Option<&[u8]>) {
        let actor = usize::try_from(*actor).ok().and_then(|actor| self.layout.actors.get(actor).copied());
        (*counter, actor)
    }

    fn make(&mut self, made: u64, within: Container) -> Result<(), Refused> {
        let at = &self.layout.columns.action;
        let shape = match made {
            action::MAKE_MAP => Shape::Map,
            action::MAKE_LIST => Shape::List,
            action::MAKE_TEXT => Shape::Text,
            _ => return Err(at.refuse(Reason::Unsupported)),
        };
        let depth = within.depth + 1;
        if depth as usize > limits::JSON_DEPTH {
            return Err(at.refuse(Reason::TooDeep));
        }
        if let Ok(counter) = u32::try_from(self.counter()) {
            self.made.push((counter, Container { shape, depth }));
        }
        Ok(())
    }
}

/// A value has the bytes that its type says, and none where there is none.
pub(super) fn check_value(op: &Op<'_>, column: &Reader<'_>) -> Result<(), Refused> {
    let (kind, bytes) = op.value;
    let wrong = || column.refuse(Reason::WrongValue);
    let mut reader = Reader::new(bytes, column.offset(), "values");
    let number = match kind {
        value::UNSIGNED => reader.unsigned().map(|_| None),
        value::SIGNED | value::COUNTER | value::TIMESTAMP => reader.signed().map(Some),
        _ => Ok(None),
    };
    let number = number.map_err(|_| wrong())?;
    let is_text = kind != value::TEXT || std::str::from_utf8(bytes).is_ok();
    let counts = op.action == action::INCREMENT || kind == value::COUNTER;
    let is_countable = number.is_some_and(|number| number.unsigned_abs() <= limits::COUNTER.unsigned_abs());
    let is_whole = !matches!(kind, value::UNSIGNED | value::SIGNED | value::COUNTER | value::TIMESTAMP)
        || reader.is_empty();
    let fits = match op.action {
        action::PUT => true,
        action::INCREMENT => kind == value::SIGNED,
        _ => kind == value::NULL,
    };
    if fits && is_whole && is_text && (!counts || is_countable) { Ok(()) } else { Err(wrong()) }
}
