//! Operations by names that mean the same on every device: Automerge's own indexes of actors differ between them.

use automerge::legacy::{self, ElementId, ObjectId, OpType};
use automerge::{ActorId, Change, ObjId, ObjType, ScalarValue};
use syncd_schema::Digest;

/// An operation's name: its number and its author.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpName {
    /// Greater than that of everything its author knew.
    pub counter: u64,
    /// The Automerge actor.
    pub actor: ActorId,
}

impl OpName {
    fn of(id: &legacy::OpId) -> Self {
        Self { counter: id.counter(), actor: id.actor().clone() }
    }

    /// As Automerge wants to be asked for an object. The index is a hint, and 0 is as good as any.
    #[must_use]
    pub fn object(&self) -> ObjId {
        ObjId::Id(self.counter, self.actor.clone(), 0)
    }

    /// An object's name; none for the root.
    #[must_use]
    pub fn of_object(id: &ObjId) -> Option<Self> {
        match id {
            ObjId::Root => None,
            ObjId::Id(counter, actor, _) => Some(Self { counter: *counter, actor: actor.clone() }),
        }
    }

    /// Number (8 bytes, big endian) and actor.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.counter.to_be_bytes(), self.actor.to_bytes()].concat()
    }
}

/// A place in a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A key of a map.
    Name(String),
    /// An item of a list or a character of a text, by the operation that inserted it.
    Element(OpName),
    /// Before the first item: nothing is there, but things are inserted after it.
    Head,
    /// No place of its own: what several have answered, by the question's name.
    Question(Digest),
}

/// Where values stand that exclude each other: a key of an object, none for the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The container; none for the root.
    pub object: Option<OpName>,
    /// The key in it.
    pub key: Key,
}

impl Slot {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let object = self.object.as_ref().map(OpName::to_bytes).unwrap_or_default();
        let (kind, key) = match &self.key {
            Key::Name(name) => (0, name.as_bytes().to_vec()),
            Key::Element(element) => (1, element.to_bytes()),
            Key::Head => (2, Vec::new()),
            Key::Question(question) => (3, question.0.to_vec()),
        };
        [&(object.len() as u64).to_be_bytes(), object.as_slice(), &[kind], &key].concat()
    }
}

/// What an operation does to its slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Gives it a scalar value.
    Put(ScalarValue),
    /// Makes a container there.
    Make(ObjType),
    /// Empties it.
    Delete,
    /// Adds to the counter there.
    Increment(i64),
}

/// One operation of a change.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its name.
    pub name: OpName,
    /// Which change of its window.
    pub change: usize,
    /// Where it acts. An insertion acts on the element that it makes.
    pub slot: Slot,
    /// After what it inserts, if it does.
    pub after: Option<Key>,
    /// Whether it types right after what its change typed just before. The first of a change never does: it may be that its
    /// author only goes on, and knew more by then.
    pub goes_on: bool,
    /// What it does.
    pub action: Action,
    /// The operations on its slot that it replaces, deletes or adds to.
    pub preds: Vec<OpName>,
}

impl Operation {
    /// Whether it leaves something that a reader can see.
    #[must_use]
    pub const fn adds(&self) -> bool {
        !matches!(self.action, Action::Delete)
    }

    /// Whether it decides what its slot holds.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        self.after.is_none() && !matches!(self.action, Action::Increment(_))
    }
}

/// The operations of a change. Marks have no writer here and the guard lets none in, so there are none.
pub(super) fn operations(change: &Change, index: usize) -> Vec<Operation> {
    let decoded = change.decode();
    let mut operations = Vec::with_capacity(decoded.operations.len());
    for (counter, operation) in (decoded.start_op.get()..).zip(decoded.operations) {
        let name = OpName { counter, actor: decoded.actor_id.clone() };
        let action = match operation.action {
            OpType::Put(value) => Action::Put(value),
            OpType::Make(kind) => Action::Make(kind),
            OpType::Delete => Action::Delete,
            OpType::Increment(by) => Action::Increment(by),
            OpType::MarkBegin(_) | OpType::MarkEnd(_) => continue,
        };
        let key = match &operation.key {
            legacy::Key::Map(name) => Key::Name(name.to_string()),
            legacy::Key::Seq(ElementId::Head) => Key::Head,
            legacy::Key::Seq(ElementId::Id(id)) => Key::Element(OpName::of(id)),
        };
        let object = match &operation.obj {
            ObjectId::Root => None,
            ObjectId::Id(id) => Some(OpName::of(id)),
        };
        let (key, after) = match operation.insert {
            true => (Key::Element(name.clone()), Some(key)),
            false => (key, None),
        };
        let preds = operation.pred.iter().map(OpName::of).collect();
        let last = operations.last().map(|last: &Operation| &last.name);
        let goes_on = matches!(&after, Some(Key::Element(after)) if Some(after) == last);
        let slot = Slot { object, key };
        operations.push(Operation { name, change: index, slot, after, goes_on, action, preds });
    }
    operations
}
