//! The characters of a text in their order, as anybody ever saw them since a closed window begins.
//!
//! Automerge shows what is visible at one moment. To compare several, what all authors of a window began with is read
//! once, and what they typed is put where Automerge puts it: right after the character that it was typed after, before
//! everything that was there, the greater name first. Characters are asked for by whom they can be seen.

use super::{Action, Key, OpName, Operation, Window};
use automerge::{Automerge, ObjId, ReadDoc, ScalarValue, ScalarValueRef, ValueRef};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// One character; strictly, what one operation inserted.
struct Element {
    /// Where its text begins in that of all elements.
    start: usize,
    /// The operation of the window that made it; none if it was there before.
    made: Option<usize>,
    /// The changes that deleted it.
    deleted: Vec<usize>,
}

/// A text's elements in order.
pub(super) struct Order<'w> {
    window: &'w Window,
    elements: Vec<Element>,
    text: String,
    /// Where operations of the window act: an element's place, and the operation's index.
    acts: Vec<(usize, usize)>,
}

/// What something is typed after.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Anchor {
    Head,
    Before(usize),
    Typed(usize),
}

impl<'w> Order<'w> {
    /// The elements of a text in a closed window. None if an operation refers to what nobody saw when the window
    /// began; a window that begins with the document has none of those.
    pub(super) fn new(doc: &Automerge, window: &'w Window, text: &OpName) -> Option<Self> {
        let operations: Vec<(usize, &Operation)> = window
            .operations()
            .iter()
            .enumerate()
            .filter(|(_, operation)| operation.slot.object.as_ref() == Some(text))
            .filter(|(_, operation)| matches!(operation.slot.key, Key::Element(_)))
            .collect();
        let made: HashMap<&OpName, usize> = operations
            .iter()
            .filter(|(_, operation)| operation.after.is_some())
            .map(|(index, operation)| (&operation.name, *index))
            .collect();
        let mut order = Order { window, elements: Vec::new(), text: String::new(), acts: Vec::new() };
        let before = order.read(doc, text, &operations, &made);
        let anchor = |key: &Key| match key {
            Key::Head => Some(Anchor::Head),
            Key::Name(_) | Key::Question(_) => None,
            Key::Element(name) => made
                .get(name)
                .map(|index| Anchor::Typed(*index))
                .or_else(|| before.get(name).map(|place| Anchor::Before(*place))),
        };
        let mut typed: HashMap<Anchor, Vec<usize>> = HashMap::new();
        for (index, operation) in &operations {
            if let Some(after) = &operation.after {
                typed.entry(anchor(after)?).or_default().push(*index);
            }
        }
        let mut referred: Vec<usize> = before.values().copied().collect();
        referred.sort_unstable();
        let places = order.put_in(typed, &referred);
        for (index, operation) in &operations {
            let Key::Element(element) = &operation.slot.key else { continue };
            let place = *places.get(&anchor(&Key::Element(element.clone()))?)?;
            if operation.action == Action::Delete
                && let Some(element) = order.elements.get_mut(place)
            {
                element.deleted.push(operation.change);
            }
            order.acts.push((place, *index));
        }
        order.acts.sort_unstable();
        Some(order)
    }

    /// Reads what there was before the window; where those stand that the window refers to.
    fn read(
        &mut self,
        doc: &Automerge,
        text: &OpName,
        operations: &[(usize, &Operation)],
        made: &HashMap<&OpName, usize>,
    ) -> HashMap<OpName, usize> {
        if self.window.base().is_empty() {
            return HashMap::new();
        }
        let referred = operations
            .iter()
            .flat_map(|(_, operation)| [Some(&operation.slot.key), operation.after.as_ref()]);
        let referred: HashSet<&OpName> = referred
            .flatten()
            .filter_map(|key| match key {
                Key::Element(name) => Some(name),
                Key::Name(_) | Key::Head | Key::Question(_) => None,
            })
            .filter(|name| !made.contains_key(name))
            .collect();
        // Most elements are referred to by nobody, and their numbers alone say so.
        let numbers: HashSet<u64> = referred.iter().map(|name| name.counter).collect();
        let mut places = HashMap::with_capacity(referred.len());
        for (place, item) in doc.list_range_at(text.object(), .., self.window.base()).enumerate() {
            let id = item.id();
            if matches!(&id, ObjId::Id(number, ..) if numbers.contains(number))
                && let Some(name) = OpName::of_object(&id).filter(|name| referred.contains(name))
            {
                places.insert(name, place);
            }
            let start = self.text.len();
            if let ValueRef::Scalar(ScalarValueRef::Str(text)) = &item.value {
                self.text.push_str(text);
            }
            self.elements.push(Element { start, made: None, deleted: Vec::new() });
        }
        places
    }

    /// Puts what was typed among what was there; where all that is referred to stands then.
    fn put_in(
        &mut self,
        mut typed: HashMap<Anchor, Vec<usize>>,
        referred: &[usize],
    ) -> HashMap<Anchor, usize> {
        let name = |index: &usize| self.window.operations().get(*index).map(|operation| &operation.name);
        for after in typed.values_mut() {
            // The last is taken first.
            after.sort_unstable_by(|one, other| name(one).cmp(&name(other)));
        }
        let (before, old) = (std::mem::take(&mut self.elements), std::mem::take(&mut self.text));
        let mut before = before.into_iter();
        let (mut taken, mut read) = (0, 0);
        let mut places = HashMap::new();
        self.put_after(&Anchor::Head, &mut typed, &mut places);
        for place in referred {
            // All up to the one that is referred to.
            let shift = self.text.len();
            self.elements.extend(
                before
                    .by_ref()
                    .take(place + 1 - taken)
                    .map(|element| Element { start: element.start + shift - read, ..element }),
            );
            taken = place + 1;
            let end = before.as_slice().first().map_or(old.len(), |next| next.start);
            self.text.push_str(old.get(read..end).unwrap_or_default());
            read = end;
            places.insert(Anchor::Before(*place), self.elements.len() - 1);
            self.put_after(&Anchor::Before(*place), &mut typed, &mut places);
        }
        let shift = self.text.len();
        self.elements
            .extend(before.map(|element| Element { start: element.start + shift - read, ..element }));
        self.text.push_str(old.get(read..).unwrap_or_default());
        places
    }

    /// Puts what was typed after something, and what was typed after that.
    fn put_after(
        &mut self,
        anchor: &Anchor,
        typed: &mut HashMap<Anchor, Vec<usize>>,
        places: &mut HashMap<Anchor, usize>,
    ) {
        let mut stack = typed.remove(anchor).unwrap_or_default();
        while let Some(index) = stack.pop() {
            places.insert(Anchor::Typed(index), self.elements.len());
            self.elements.push(Element { start: self.text.len(), made: Some(index), deleted: Vec::new() });
            let action = self.window.operations().get(index).map(|operation| &operation.action);
            if let Some(Action::Put(ScalarValue::Str(text))) = action {
                self.text.push_str(text);
            }
            stack.extend(typed.remove(&Anchor::Typed(index)).into_iter().flatten());
        }
    }

    pub(super) const fn window(&self) -> &'w Window {
        self.window
    }

    pub(super) const fn len(&self) -> usize {
        self.elements.len()
    }

    /// Where operations of the window act, and their indexes, in the order of the text.
    pub(super) fn acts(&self) -> &[(usize, usize)] {
        &self.acts
    }

    /// What an element says.
    pub(super) fn text(&self, place: usize) -> &str {
        let Some(element) = self.elements.get(place) else { return "" };
        let end = self.elements.get(place + 1).map_or(self.text.len(), |next| next.start);
        self.text.get(element.start..end).unwrap_or_default()
    }

    /// Whether a line ends with an element.
    pub(super) fn ends_line(&self, place: usize) -> bool {
        self.text(place).ends_with('\n')
    }

    /// The operation that made an element, if it was made in the window.
    pub(super) fn maker(&self, place: usize) -> Option<usize> {
        self.elements.get(place)?.made
    }

    /// Whether an element can be seen in the text that some changes of the window make, with all that was before it.
    pub(super) fn is_in(&self, place: usize, holds: impl Fn(usize) -> bool) -> bool {
        let Some(element) = self.elements.get(place) else { return false };
        self.is_known(place, &holds) && !element.deleted.iter().any(|by| holds(*by))
    }

    /// Whether an element was made by one of some changes, or before the window.
    pub(super) fn is_known(&self, place: usize, holds: impl Fn(usize) -> bool) -> bool {
        let maker = self.maker(place).and_then(|index| self.window.operations().get(index));
        maker.is_none_or(|maker| holds(maker.change))
    }

    /// Whether an element can be seen in the text that a change left.
    pub(super) fn shows(&self, change: usize, place: usize) -> bool {
        self.is_in(place, |known| self.window.sees(change, known))
    }

    /// The text of a stretch as some changes of the window make it.
    pub(super) fn stretch(&self, places: Range<usize>, holds: impl Fn(usize) -> bool) -> String {
        places.filter(|place| self.is_in(*place, &holds)).map(|place| self.text(place)).collect()
    }
}
