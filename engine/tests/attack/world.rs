//! What a document's operations are, so that an attack can point at each kind of them.

use crate::dice::Dice;
use crate::documents::{self, Pair};
use crate::draft::{DELETE, Draft, INCREMENT, Id, Key, LIST, MAP, Op, PUT, TEXT};
use automerge::Automerge;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What something may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    MapMade,
    ListMade,
    TextMade,
    /// A container that was deleted or replaced.
    DeadContainer,
    MapValue,
    ListItem,
    /// What was put over an item.
    ListValue,
    Character,
    DeadMapValue,
    DeadItem,
    DeadCharacter,
    Counter,
    Increment,
    Deletion,
    /// In the document, and not in the past of the change.
    Later,
    /// A number that its actor has not reached.
    Beyond,
    /// An actor that nobody has heard of.
    Stranger,
    /// The largest number there is.
    Last,
    /// An operation of the change before the one that points.
    OwnBefore,
    /// The operation itself.
    Itself,
    /// An operation of the change after the one that points.
    OwnAfter,
}

pub const CLASSES: [Class; 21] = [
    Class::MapMade,
    Class::ListMade,
    Class::TextMade,
    Class::DeadContainer,
    Class::MapValue,
    Class::ListItem,
    Class::ListValue,
    Class::Character,
    Class::DeadMapValue,
    Class::DeadItem,
    Class::DeadCharacter,
    Class::Counter,
    Class::Increment,
    Class::Deletion,
    Class::Later,
    Class::Beyond,
    Class::Stranger,
    Class::Last,
    Class::OwnBefore,
    Class::Itself,
    Class::OwnAfter,
];

/// One operation of the document.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: Id,
    pub op: Op,
    /// Where its value stands: an insert's own element.
    pub slot: Key,
}

/// A document under attack.
pub struct World {
    pub shape: &'static str,
    /// What is attacked; none if it is about to be born.
    pub doc: Option<Automerge>,
    /// What the attacker wrote on: the same, or a past of it.
    pub base: Automerge,
    pub known: Vec<Known>,
    by_class: BTreeMap<Class, Vec<Id>>,
    /// What each container is: the action that made it.
    pub made: HashMap<Id, u64>,
    /// What stands in each slot.
    pub live: BTreeMap<(Option<Id>, Key), Vec<Id>>,
    index: HashMap<Id, usize>,
}

fn operations(doc: &Automerge, not_in: Option<&Automerge>) -> Vec<Known> {
    let here = not_in.map(Automerge::get_heads).unwrap_or_default();
    let mut found = Vec::new();
    for change in doc.get_changes(&here) {
        let draft = Draft::of(&change);
        for (index, op) in draft.ops.iter().enumerate() {
            let id = draft.id(index);
            let slot = if op.insert { Key::Element(id.clone()) } else { op.key.clone() };
            found.push(Known { id, op: op.clone(), slot });
        }
    }
    found
}

impl World {
    pub fn new(shape: &'static str, variant: u64, on_earlier: bool) -> Self {
        let Pair { now, earlier } = documents::build(shape, variant);
        let base = if on_earlier { earlier.or_else(|| now.clone()) } else { now.clone() };
        Self::on(shape, now, base)
    }

    /// A document, and the past of it that the attacker knows.
    pub fn on(shape: &'static str, now: Option<Automerge>, base: Option<Automerge>) -> Self {
        let base = base.unwrap_or_else(syncd_engine::document::empty);
        let known = operations(&base, None);
        let mut world = Self {
            shape,
            known,
            by_class: BTreeMap::new(),
            made: HashMap::new(),
            live: BTreeMap::new(),
            index: HashMap::new(),
            doc: now,
            base,
        };
        world.sort();
        let later: Vec<Id> =
            world.doc.iter().flat_map(|doc| operations(doc, Some(&world.base))).map(|op| op.id).collect();
        world.by_class.insert(Class::Later, later);
        world
    }

    fn sort(&mut self) {
        let is_value = |known: &Known| !matches!(known.op.action, DELETE | INCREMENT);
        let replaced: HashSet<Id> = self
            .known
            .iter()
            .filter(|known| known.op.action != INCREMENT)
            .flat_map(|known| known.op.preds.iter().cloned())
            .collect();
        self.index = self.known.iter().enumerate().map(|(at, known)| (known.id.clone(), at)).collect();
        self.made = self
            .known
            .iter()
            .filter(|known| known.op.makes())
            .map(|known| (known.id.clone(), known.op.action))
            .collect();
        for known in &self.known {
            let inside = known.op.object.as_ref().and_then(|id| self.made.get(id)).copied().unwrap_or(MAP);
            let is_dead = replaced.contains(&known.id);
            let class = match (known.op.action, inside) {
                (DELETE, _) => Class::Deletion,
                (INCREMENT, _) => Class::Increment,
                (MAP | LIST | TEXT, _) if is_dead => Class::DeadContainer,
                (MAP, _) => Class::MapMade,
                (LIST, _) => Class::ListMade,
                (TEXT, _) => Class::TextMade,
                (PUT, LIST) if is_dead => Class::DeadItem,
                (PUT, TEXT) if is_dead => Class::DeadCharacter,
                (PUT, _) if is_dead => Class::DeadMapValue,
                _ if known.op.is_counter() => Class::Counter,
                (_, LIST) if known.op.insert => Class::ListItem,
                (_, LIST) => Class::ListValue,
                (_, TEXT) => Class::Character,
                _ => Class::MapValue,
            };
            self.by_class.entry(class).or_default().push(known.id.clone());
            if is_value(known) && !is_dead {
                let slot = (known.op.object.clone(), known.slot.clone());
                self.live.entry(slot).or_default().push(known.id.clone());
            }
        }
        self.live.values_mut().for_each(|ids| ids.sort());
    }

    pub fn get(&self, id: &Id) -> Option<&Known> {
        self.index.get(id).and_then(|at| self.known.get(*at))
    }

    pub fn of(&self, class: Class) -> &[Id] {
        self.by_class.get(&class).map(Vec::as_slice).unwrap_or_default()
    }

    /// Something of a class, seen from an operation of a draft; none if there is nothing.
    pub fn some(&self, class: Class, draft: &Draft, at: usize, dice: &mut Dice) -> Option<Id> {
        let own = |index: usize| draft.id(index);
        match class {
            Class::Beyond => {
                let mut id = dice.pick(&self.known)?.id.clone();
                id.counter = draft.start_op.saturating_sub(1).max(1);
                while self.index.contains_key(&id) {
                    id = dice.pick(&self.known)?.id.clone();
                    id.counter += draft.start_op;
                }
                Some(id)
            }
            Class::Stranger => {
                Some(Id { counter: 1 + dice.roll(draft.start_op as usize) as u64, actor: vec![0xee; 16] })
            }
            Class::Last => Some(Id {
                counter: dice.one([u64::from(u32::MAX), u64::from(u32::MAX) + 1, i64::MAX as u64, u64::MAX]),
                actor: dice
                    .pick(&self.known)
                    .map_or_else(|| draft.actor.clone(), |known| known.id.actor.clone()),
            }),
            Class::OwnBefore => (at > 0).then(|| own(dice.roll(at))),
            Class::Itself => Some(own(at)),
            Class::OwnAfter => {
                (at + 1 < draft.ops.len()).then(|| own(at + 1 + dice.roll(draft.ops.len() - at - 1)))
            }
            _ => dice.pick(self.of(class)).cloned(),
        }
    }

    /// A container that is not deleted itself, by the action that made it.
    pub fn container(&self, action: u64, dice: &mut Dice) -> Option<Id> {
        let class = match action {
            LIST => Class::ListMade,
            TEXT => Class::TextMade,
            _ => Class::MapMade,
        };
        dice.pick(self.of(class)).cloned()
    }

    /// A slot that holds something, by what container it is in and what stands there.
    pub fn slot(&self, class: Class, dice: &mut Dice) -> Option<(Option<Id>, Key, Vec<Id>)> {
        let id = dice.pick(self.of(class))?;
        let known = self.get(id)?;
        let slot = (known.op.object.clone(), known.slot.clone());
        let live = self.live.get(&slot)?.clone();
        Some((slot.0, slot.1, live))
    }
}
