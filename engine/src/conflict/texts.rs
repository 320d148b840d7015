//! Stretches of text that two sides changed without knowing of each other.
//!
//! A change says what was typed (a chain of insertions, each after the one before) and what was deleted. Two such
//! pieces of work that both leave text contradict each other when both delete one character, or when one types right
//! after a character that the other replaces. Typing in two places, even of one word, does not; neither does typing
//! in a stretch that somebody only deletes: what was typed stays, and everybody sees it. Real people do that when they
//! write together, and want no question.
//!
//! Who typed the same in the same place agrees, but it stands there twice. That is an equal conflict, and all copies but
//! one are `doubled` as long as nobody has worked in them: after that it is for somebody to say what is meant.

use super::joined::Joined;
use super::{Action, Conflict, Key, Kind, OpName, Operation, Slot, TooWide, Window};
use automerge::{Automerge, ObjType, ReadDoc, ScalarValue};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use syncd_schema::Digest;

/// One author's work in one place of a text.
#[derive(Default)]
struct Piece {
    operations: Vec<usize>,
    /// The characters it deletes.
    deleted: Vec<OpName>,
    /// The character of others after which it types.
    after: Option<OpName>,
    /// The characters it types.
    inserted: Vec<OpName>,
    /// Whether anything that it typed was not deleted since.
    leaves_text: bool,
    /// What it typed.
    typed: String,
}

impl Piece {
    /// Whether both did the same.
    fn is_like(&self, other: &Self) -> bool {
        (&self.deleted, &self.after, &self.typed) == (&other.deleted, &other.after, &other.typed)
    }
}

/// Texts in which pieces of work contradict each other; pieces that hang together are one conflict.
pub(super) fn conflicts(
    doc: &Automerge,
    window: &Window,
    by_lines: &dyn Fn(&OpName) -> bool,
) -> Vec<Conflict> {
    let mut texts: HashMap<&Option<OpName>, Vec<usize>> = HashMap::new();
    for (index, operation) in window.operations().iter().enumerate() {
        if matches!(operation.slot.key, Key::Element(_)) {
            texts.entry(&operation.slot.object).or_default().push(index);
        }
    }
    let mut conflicts = Vec::new();
    for (object, operations) in texts {
        let Some(text) = object else { continue };
        if doc.object_type(text.object()).is_ok_and(|kind| kind == ObjType::Text) && !by_lines(text) {
            let pieces = pieces(window, &operations);
            let new = contradictions(window, &pieces).into_iter().filter_map(|group| {
                let involved = group.iter().flat_map(|piece| &piece.operations).copied();
                let place = Slot { object: object.clone(), key: Key::Head };
                let mut conflict = Conflict::new(Kind::Text, place, window, involved.clone());
                conflict.is_equal = group.windows(2).all(|pair| matches!(pair, [a, b] if a.is_like(b)))
                    && !are_worked_in(window, &operations, &copies(&group));
                let is_new = |index| window.operations().get(index).is_some_and(|op| window.is_new(op));
                involved.into_iter().any(is_new).then_some(conflict)
            });
            conflicts.extend(new);
        }
    }
    conflicts
}

/// What stands in a text several times because several typed it alike: of the pieces in a conflict all but the one whose
/// first character has the smallest name.
pub(super) fn doubled(doc: &Automerge, conflict: &Conflict) -> Result<Vec<OpName>, TooWide> {
    let focus: BTreeSet<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    let window = Window::new(doc, &focus)?;
    let is_here = |operation: &Operation| {
        operation.slot.object == conflict.place.object && matches!(operation.slot.key, Key::Element(_))
    };
    let here = window.operations().iter().enumerate().filter(|(_, operation)| is_here(operation));
    let operations: Vec<usize> = here.map(|(index, _)| index).collect();
    let sides: HashSet<&OpName> = conflict.sides.iter().map(|side| &side.operation).collect();
    let is_side = |index: &usize| window.operations().get(*index).is_some_and(|op| sides.contains(&op.name));
    let pieces = pieces(&window, &operations);
    let group: Vec<&Piece> = pieces.iter().filter(|piece| piece.operations.iter().any(is_side)).collect();
    Ok(copies(&group).into_iter().cloned().collect())
}

fn copies<'p>(group: &[&'p Piece]) -> Vec<&'p OpName> {
    let first = |piece: &&&'p Piece| piece.inserted.iter().min();
    let Some(kept) = group.iter().filter(|piece| !piece.inserted.is_empty()).min_by_key(first) else {
        return Vec::new();
    };
    group.iter().filter(|piece| !std::ptr::eq(**piece, *kept)).flat_map(|piece| &piece.inserted).collect()
}

/// Whether anybody has typed into or deleted from some characters, other than those who typed them.
fn are_worked_in(window: &Window, operations: &[usize], characters: &[&OpName]) -> bool {
    let characters: HashSet<&OpName> = characters.iter().copied().collect();
    operations.iter().filter_map(|index| window.operations().get(*index)).any(|operation| {
        match (&operation.after, &operation.slot.key) {
            (Some(Key::Element(after)), _) => characters.contains(after) && !operation.goes_on,
            (None, Key::Element(element)) => characters.contains(element),
            _ => false,
        }
    })
}

fn pieces(window: &Window, operations: &[usize]) -> Vec<Piece> {
    let of = |index: usize| window.operations().get(index);
    let gone: HashSet<&OpName> = operations
        .iter()
        .filter_map(|index| of(*index))
        .filter(|operation| !operation.adds())
        .filter_map(|operation| match &operation.slot.key {
            Key::Element(element) => Some(element),
            Key::Name(_) | Key::Head | Key::Question(_) => None,
        })
        .collect();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut last: Option<&Operation> = None;
    for index in operations {
        let Some(operation) = of(*index) else { continue };
        if !last.is_some_and(|last| continues(last, operation)) {
            pieces.push(Piece::default());
        }
        let Some(piece) = pieces.last_mut() else { continue };
        match (&operation.after, &operation.action, &operation.slot.key) {
            (Some(after), ..) => {
                if let (Key::Element(after), true) = (after, piece.operations.is_empty()) {
                    piece.after = Some(after.clone());
                }
                piece.inserted.push(operation.name.clone());
                piece.leaves_text |= !gone.contains(&operation.name);
                if let Action::Put(ScalarValue::Str(typed)) = &operation.action {
                    piece.typed.push_str(typed);
                }
            }
            (None, Action::Delete, Key::Element(element)) => piece.deleted.push(element.clone()),
            _ => {}
        }
        piece.operations.push(*index);
        last = Some(operation);
    }
    pieces
}

/// Whether an operation belongs to the same piece as the one before it in its change.
fn continues(last: &Operation, next: &Operation) -> bool {
    let follows = last.change == next.change && last.name.counter + 1 == next.name.counter;
    follows
        && match (&next.after, &last.after) {
            // The next character of a chain.
            (Some(after), Some(_)) => *after == Key::Element(last.name.clone()),
            // Typing after a deletion begins elsewhere.
            (Some(_), None) => false,
            (None, _) => true,
        }
}

/// Groups of pieces that contradict each other, directly or by way of others.
fn contradictions<'p>(window: &Window, pieces: &'p [Piece]) -> Vec<Vec<&'p Piece>> {
    let mut by_character: HashMap<&OpName, Vec<usize>> = HashMap::new();
    for (index, piece) in pieces.iter().enumerate() {
        for character in piece.deleted.iter().chain(&piece.after) {
            let known = by_character.entry(character).or_default();
            if known.last() != Some(&index) {
                known.push(index);
            }
        }
    }
    let mut joined = Joined::new(pieces.len());
    let mut involved: HashSet<usize> = HashSet::new();
    for (character, around) in &by_character {
        for (nth, one) in around.iter().enumerate() {
            for other in around.iter().skip(nth + 1) {
                let (Some(a), Some(b)) = (pieces.get(*one), pieces.get(*other)) else { continue };
                if contradict(window, a, b, character) {
                    joined.join(*one, *other);
                    involved.extend([*one, *other]);
                }
            }
        }
    }
    for (one, other) in typed_alike(window, pieces) {
        joined.join(one, other);
        involved.extend([one, other]);
    }
    let mut groups: BTreeMap<usize, Vec<&Piece>> = BTreeMap::new();
    for (index, piece) in pieces.iter().enumerate().filter(|(index, _)| involved.contains(index)) {
        groups.entry(joined.root(index)).or_default().push(piece);
    }
    groups.into_values().collect()
}

/// Pieces that do nothing but type the same in the same place, without knowledge of each other.
fn typed_alike(window: &Window, pieces: &[Piece]) -> Vec<(usize, usize)> {
    let first = |piece: &Piece| piece.operations.first().and_then(|index| window.operations().get(*index));
    let mut typed: HashMap<(&Key, &str), Vec<usize>> = HashMap::new();
    let mut alike = Vec::new();
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.deleted.is_empty()) {
        let Some(operation) = first(piece).filter(|_| piece.leaves_text) else { continue };
        let Some(after) = &operation.after else { continue };
        let others = typed.entry((after, &piece.typed)).or_default();
        let apart = others.iter().filter(|other| {
            let other = pieces.get(**other).and_then(first);
            other.is_some_and(|other| window.are_concurrent(operation, other))
        });
        alike.extend(apart.map(|other| (*other, index)));
        others.push(index);
    }
    alike
}

fn contradict(window: &Window, one: &Piece, other: &Piece, character: &OpName) -> bool {
    let first = |piece: &Piece| piece.operations.first().and_then(|index| window.operations().get(*index));
    let (Some(a), Some(b)) = (first(one), first(other)) else { return false };
    if !window.are_concurrent(a, b) || !one.leaves_text || !other.leaves_text {
        return false;
    }
    let deletes = |piece: &Piece| piece.deleted.contains(character);
    let types_after = |piece: &Piece| piece.after.as_ref() == Some(character);
    (deletes(one) && (deletes(other) || types_after(other))) || (types_after(one) && deletes(other))
}
