//! Stretches of text that two sides changed without knowing of each other.
//!
//! A change says what was typed (a chain of insertions, each after the one before) and what was deleted. Two such
//! pieces of work that both leave text contradict each other when both delete one character, or when one types right
//! after a character that the other replaces. Typing in two places, even of one word, does not; neither does typing
//! in a stretch that somebody only deletes: what was typed stays, and everybody sees it. Real people do that when they
//! write together, and want no question.

use super::{Action, Conflict, Key, Kind, OpName, Operation, Slot, Window};
use automerge::{Automerge, ObjType, ReadDoc, ScalarValue};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One author's work in one place of a text.
#[derive(Default)]
struct Piece {
    operations: Vec<usize>,
    /// The characters it deletes.
    deleted: Vec<OpName>,
    /// The character of others after which it types.
    after: Option<OpName>,
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
pub(super) fn conflicts(doc: &Automerge, window: &Window) -> Vec<Conflict> {
    let mut texts: HashMap<&Option<OpName>, Vec<usize>> = HashMap::new();
    for (index, operation) in window.operations().iter().enumerate() {
        if matches!(operation.slot.key, Key::Element(_)) {
            texts.entry(&operation.slot.object).or_default().push(index);
        }
    }
    let mut conflicts = Vec::new();
    for (object, operations) in texts {
        let Some(text) = object else { continue };
        if doc.object_type(text.object()).is_ok_and(|kind| kind == ObjType::Text) {
            let pieces = pieces(window, &operations);
            let new = contradictions(window, &pieces).into_iter().filter_map(|group| {
                let involved = group.iter().flat_map(|piece| &piece.operations).copied();
                let place = Slot { object: object.clone(), key: Key::Head };
                let mut conflict = Conflict::new(Kind::Text, place, window, involved.clone());
                conflict.is_equal = group.windows(2).all(|pair| matches!(pair, [a, b] if a.is_like(b)));
                let is_new = |index| window.operations().get(index).is_some_and(|op| window.is_new(op));
                involved.into_iter().any(is_new).then_some(conflict)
            });
            conflicts.extend(new);
        }
    }
    conflicts
}

fn pieces(window: &Window, operations: &[usize]) -> Vec<Piece> {
    let of = |index: usize| window.operations().get(index);
    let gone: HashSet<&OpName> = operations
        .iter()
        .filter_map(|index| of(*index))
        .filter(|operation| !operation.adds())
        .filter_map(|operation| match &operation.slot.key {
            Key::Element(element) => Some(element),
            Key::Name(_) | Key::Head => None,
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
    let mut joined = Joined((0..pieces.len()).collect());
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
    let mut groups: BTreeMap<usize, Vec<&Piece>> = BTreeMap::new();
    for (index, piece) in pieces.iter().enumerate().filter(|(index, _)| involved.contains(index)) {
        groups.entry(joined.root(index)).or_default().push(piece);
    }
    groups.into_values().collect()
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

/// Which pieces hang together: each points at another of its group, or at itself.
struct Joined(Vec<usize>);

impl Joined {
    fn root(&self, mut index: usize) -> usize {
        while let Some(next) = self.0.get(index).filter(|next| **next != index) {
            index = *next;
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(place) = self.0.get_mut(one.max(other)) {
            *place = one.min(other);
        }
    }
}
