//! What a merge hides: found in the operations themselves, before anything is visible.
//!
//! Automerge keeps every operation and shows one outcome. Of the ways in which concurrent edits can contradict each
//! other it reports two, and the next write erases even those. Here the decoded operations of what arrives are
//! compared with those that were made without knowledge of them:
//!
//! - `window`: which changes those are, and who knew of whom. What every arrival has seen is never looked at, so
//!   the cost follows what changed and what is concurrent with it, not the document.
//! - `slots`: several last writes on one key or list item: put and put, put and delete, two containers made at once.
//! - `kills`: work inside a container, or on a counter, that somebody else deleted or replaced meanwhile.
//! - `texts`: stretches of text that two sides rewrote, in texts that people write in together.
//! - `lines`: lines of text that two sides changed, in texts that are reviewed. It stands on `order`, the characters in
//!   their order, `runs`, the lines of work on them, and `hunks`, what each of two versions changed.
//! - `doubled`: what several typed alike, so that it stands there several times.
//! - `answers`: questions that several decided at once, and not alike.
//! - `resolution`: changes that decide about one of these, and are known by what they say.
//! - `alone`: what a change says when nothing is left of what it was made on.
//! - `sides` and `decide`: what there is to choose from, and the change that a choice is.
//!
//! The set of conflicts is a pure function of the set of operations: no clock, no order of arrival, no name of a
//! device enters, and so every device with the same entries finds the same ones, ids included. Concurrency alone is no
//! conflict, and neither are equal outcomes; those are reported as [`Conflict::is_equal`], since later edits can
//! make them differ.
//!
//! This module knows no store, no policy and no field rules: what becomes a card is decided by its caller.

mod alone;
mod answers;
mod decide;
mod describe;
mod doubled;
mod hunks;
mod joined;
mod kept;
mod kills;
mod lines;
mod operation;
mod order;
mod reopen;
mod resolution;
mod runs;
mod sides;
mod slots;
mod texts;
mod window;
mod withdraw;

pub use alone::{Room, said_alone};
pub use answers::proposal;
pub(crate) use decide::write;
pub use decide::{Answer, answered_cards, decide, generation, settlement_of};
pub use describe::{pointer, steps};
pub use doubled::{delete_elements, doubled, versions};
pub use lines::Versions;
use operation::{Action, Operation};
pub use operation::{Key, OpName, Slot};
pub use reopen::{NotReopened, decided, made_on, reopen, reopen_held};
pub use resolution::{
    Choice, DELETION_HEADS, NotAChoice, Question, Settlement, actor as pure_actor, is_pure, place_name,
    question_of,
};
pub use sides::{Alternative, Keep, alternatives, show_held, writes_over};
use window::Window;
pub use window::{MOST_CLOCKS, TooWide};
pub(crate) use withdraw::withdraw;

use automerge::Automerge;
use std::collections::{BTreeSet, HashSet};
use syncd_schema::{Digest, domain};

/// In which way edits contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Several values were put where there can be one.
    Value,
    /// One side deleted what the other put.
    DeleteEdit,
    /// One side worked inside what the other deleted or replaced.
    Inside,
    /// One side counted while the other gave the counter a new value.
    CounterReset,
    /// Both sides rewrote the same stretch of a text.
    Text,
    /// One question was answered in several ways.
    Answer,
}

impl Kind {
    /// In the order of their numbers.
    const ALL: [Self; 6] =
        [Self::Value, Self::DeleteEdit, Self::Inside, Self::CounterReset, Self::Text, Self::Answer];

    /// The kind with a number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number, in ids and in the store.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::DeleteEdit => 1,
            Self::Inside => 2,
            Self::CounterReset => 3,
            Self::Text => 4,
            Self::Answer => 5,
        }
    }
}

/// One operation that takes part in a conflict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// The operation.
    pub operation: OpName,
    /// The change it is in.
    pub change: Digest,
}

/// Edits that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// How.
    pub kind: Kind,
    /// Where: the slot, or the container or text that the edits are about.
    pub place: Slot,
    /// The competing operations, by name.
    pub sides: Vec<Side>,
    /// Whether all sides come to the same, so that nobody need be asked unless one of them is edited.
    pub is_equal: bool,
}

impl Conflict {
    fn new(kind: Kind, place: Slot, window: &Window, operations: impl IntoIterator<Item = usize>) -> Self {
        let sides: BTreeSet<Side> = operations.into_iter().filter_map(|index| window.side(index)).collect();
        Self { kind, place, sides: sides.into_iter().collect(), is_equal: false }
    }

    /// Whether it is about a text.
    fn is_in_text(&self, text: &OpName) -> bool {
        self.kind == Kind::Text && self.place.object.as_ref() == Some(text)
    }

    /// Whether it is what became of another: about the same place, with one of its sides.
    fn replaces(&self, old: &Self) -> bool {
        let is_side = |side: &Side| self.sides.binary_search(side).is_ok();
        self.place == old.place && self.kind == old.kind && old.sides.iter().any(is_side)
    }

    /// Its id within an object: a hash of kind, place and the names of the competing operations, the same on every
    /// device. A further competitor makes another conflict, with another id.
    #[must_use]
    pub fn id(&self) -> Digest {
        let mut parts = vec![vec![self.kind.number()], self.place.to_bytes()];
        parts.extend(self.sides.iter().map(|side| side.operation.to_bytes()));
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        domain::hash("conflict", &parts)
    }
}

/// The conflicts of a document after changes have arrived or were made: those of `before` that these leave alone, and
/// whatever they cause. A conflict that they end, or make another of, is not among them.
///
/// `doc` holds the changes. `by_lines` says of a text, by the operation that made it, whether it is judged by lines and
/// not by what was typed and deleted where. Costs what the changes are and what is concurrent with them and with the conflicts they
/// touch; next to nothing when all of it is one line of work and nothing contradicted before.
///
/// # Errors
/// When more was done apart than can be compared.
pub fn update(
    doc: &Automerge,
    before: &BTreeSet<Conflict>,
    arrived: &[Digest],
    by_lines: &dyn Fn(&OpName) -> bool,
) -> Result<BTreeSet<Conflict>, TooWide> {
    update_within(doc, before, arrived, by_lines, MOST_CLOCKS)
}

/// As [`update`], with so many numbers in the clocks of all that is compared at most.
///
/// # Errors
/// When more was done apart than that.
pub fn update_within(
    doc: &Automerge,
    before: &BTreeSet<Conflict>,
    arrived: &[Digest],
    by_lines: &dyn Fn(&OpName) -> bool,
    most: usize,
) -> Result<BTreeSet<Conflict>, TooWide> {
    if before.is_empty() && window::is_linear(doc, arrived) {
        return Ok(BTreeSet::new());
    }
    let focus: BTreeSet<Digest> = arrived.iter().copied().collect();
    let window = Window::within(doc, &focus, most)?;
    let texts = lines::touched(doc, &window, by_lines);
    let (reviewed, others): (BTreeSet<Conflict>, BTreeSet<Conflict>) =
        before.iter().cloned().partition(|conflict| {
            conflict.kind == Kind::Text && conflict.place.object.as_ref().is_some_and(by_lines)
        });
    let mut after = update_others(doc, &others, (focus, window), by_lines, most)?;
    let stays = |conflict: &&Conflict| !texts.iter().any(|text| conflict.is_in_text(text));
    after.extend(reviewed.iter().filter(stays).cloned());
    if !texts.is_empty() {
        after.extend(lines::conflicts(doc, &texts, &reviewed, arrived)?);
    }
    after.retain(|conflict| !answers::is_between_answers(doc, conflict));
    Ok(after)
}

/// What is left of conflicts where more was done apart than can be compared: what arrived may have decided some, which
/// is seen without comparing it with anything but them.
#[must_use]
pub fn undecided(doc: &Automerge, before: &BTreeSet<Conflict>, arrived: &[Digest]) -> BTreeSet<Conflict> {
    let decides = |conflict: &Conflict, change: &Digest| {
        let answers = || {
            let question = settlement_of(doc, change).map(|settled| settled.question.name());
            question == Some(question_of(conflict))
        };
        (answers() || writes_over(doc, change, conflict)) && window::knows_all(doc, change, conflict)
    };
    let is_open = |conflict: &&Conflict| !arrived.iter().any(|change| decides(conflict, change));
    before.iter().filter(is_open).cloned().collect()
}

/// All but the texts that are judged by lines.
fn update_others(
    doc: &Automerge,
    before: &BTreeSet<Conflict>,
    (mut focus, mut window): (BTreeSet<Digest>, Window),
    by_lines: &dyn Fn(&OpName) -> bool,
    most: usize,
) -> Result<BTreeSet<Conflict>, TooWide> {
    let touch = Touch::new(doc, &window);
    let mut after = before.clone();
    after.retain(|conflict| !touch.concerns(conflict));
    let touched = before.iter().filter(|conflict| touch.concerns(conflict));
    let mut sides: Vec<Side> = touched.flat_map(|conflict| conflict.sides.iter().cloned()).collect();
    loop {
        // A conflict is known whole when all that is concurrent with any of its sides is in the window.
        let known = focus.len();
        focus.extend(sides.iter().map(|side| side.change));
        if focus.len() > known {
            window = Window::within(doc, &focus, most)?;
        }
        let found = detect(doc, &window, by_lines);
        sides = found.iter().flat_map(|conflict| conflict.sides.iter().cloned()).collect();
        if window.is_closed() || sides.iter().all(|side| focus.contains(&side.change)) {
            let names: BTreeSet<&OpName> = sides.iter().map(|side| &side.operation).collect();
            after.retain(|old| {
                let is_part = old.sides.iter().any(|side| names.contains(&side.operation));
                !(is_part && found.iter().any(|new| new.replaces(old)))
            });
            after.extend(found);
            return Ok(after);
        }
    }
}

fn detect(doc: &Automerge, window: &Window, by_lines: &dyn Fn(&OpName) -> bool) -> Vec<Conflict> {
    let mut conflicts = slots::conflicts(doc, window);
    conflicts.extend(kills::conflicts(doc, window));
    conflicts.extend(texts::conflicts(doc, window, by_lines));
    conflicts.extend(answers::conflicts(doc, window));
    conflicts.retain(|conflict| conflict.kind != Kind::Text || !window.is_answered(&conflict.id()));
    conflicts
}

/// Where a conflict is: keys and indexes from the root on.
#[must_use]
pub fn path(doc: &Automerge, conflict: &Conflict) -> Vec<String> {
    match conflict.kind {
        Kind::Answer => answers::steps(doc, conflict),
        _ => steps(doc, &conflict.place),
    }
}

/// What arrived, to see which conflicts it concerns.
struct Touch<'w> {
    written: HashSet<&'w Slot>,
    /// What was replaced, deleted or typed after.
    replaced: HashSet<&'w OpName>,
    /// Containers in which something was done, with those around them.
    worked_in: HashSet<OpName>,
    /// Places about which somebody decided.
    settled: HashSet<Digest>,
    /// Changes that somebody took back.
    withdrawn: HashSet<Digest>,
}

impl<'w> Touch<'w> {
    fn new(doc: &Automerge, window: &'w Window) -> Self {
        let (written, replaced, worked_in) = (HashSet::new(), HashSet::new(), HashSet::new());
        let (settled, withdrawn) = (window.newly_settled().collect(), window.newly_withdrawn().collect());
        let mut touch = Self { written, replaced, worked_in, settled, withdrawn };
        let mut seen: HashSet<&Option<OpName>> = HashSet::new();
        for operation in window.operations().iter().filter(|operation| window.is_new(operation)) {
            if operation.is_write() {
                touch.written.insert(&operation.slot);
            }
            touch.replaced.extend(&operation.preds);
            if let Some(Key::Element(after)) = operation.after.as_ref().filter(|_| !operation.goes_on) {
                touch.replaced.insert(after);
            }
            if seen.insert(&operation.slot.object) {
                touch.worked_in.extend(kills::ancestors(doc, operation.slot.object.as_ref()));
            }
        }
        touch
    }

    fn concerns(&self, conflict: &Conflict) -> bool {
        let is_hit = |side: &Side| {
            self.replaced.contains(&side.operation)
                || self.worked_in.contains(&side.operation)
                || self.withdrawn.contains(&side.change)
        };
        self.written.contains(&conflict.place)
            || conflict.sides.iter().any(is_hit)
            || !self.settled.is_empty() && self.settled.contains(&question_of(conflict))
    }
}
