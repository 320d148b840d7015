//! A change as a list of operations, in which anything may be wrong, and its parts once it is written.

use crate::encode;
use automerge::legacy::{self, ElementId, ObjectId, OpType};
use automerge::{Change, ObjType, ScalarValue};
use std::collections::BTreeSet;
use syncd_engine::document::EncodedChange;
use syncd_schema::Digest;

pub const MAP: u64 = 0;
pub const PUT: u64 = 1;
pub const LIST: u64 = 2;
pub const DELETE: u64 = 3;
pub const TEXT: u64 = 4;
pub const INCREMENT: u64 = 5;

/// Types of values.
pub const NULL: u64 = 0;
pub const UNSIGNED: u64 = 3;
pub const SIGNED: u64 = 4;
pub const FLOAT: u64 = 5;
pub const STRING: u64 = 6;
pub const BYTES: u64 = 7;
pub const COUNTER: u64 = 8;
pub const TIMESTAMP: u64 = 9;

/// An operation's name, in the order in which Automerge lists them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub counter: u64,
    pub actor: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Name(Vec<u8>),
    Head,
    Element(Id),
    /// Both kinds of key at once.
    Both(Vec<u8>, Id),
    /// None of them.
    Neither,
}

#[derive(Clone, Debug)]
pub struct Op {
    pub object: Option<Id>,
    pub key: Key,
    pub insert: bool,
    pub action: u64,
    /// The value's type and bytes.
    pub value: (u64, Vec<u8>),
    /// The length it claims, if that is not the right one.
    pub claims: Option<u64>,
    pub preds: Vec<Id>,
}

impl Op {
    pub const fn makes(&self) -> bool {
        matches!(self.action, MAP | LIST | TEXT)
    }

    pub const fn is_counter(&self) -> bool {
        self.action == PUT && self.value.0 == COUNTER
    }

    /// All operations it names.
    pub fn names(&self) -> impl Iterator<Item = &Id> {
        let element = match &self.key {
            Key::Element(id) | Key::Both(_, id) => Some(id),
            _ => None,
        };
        self.object.iter().chain(element).chain(&self.preds)
    }
}

#[derive(Clone, Debug)]
pub struct Draft {
    pub deps: Vec<Digest>,
    pub actor: Vec<u8>,
    pub seq: u64,
    pub start_op: u64,
    pub time: i64,
    pub message: Vec<u8>,
    /// The other actors it lists; those that its operations name unless said otherwise.
    pub others: Option<Vec<Vec<u8>>>,
    pub ops: Vec<Op>,
}

/// A written change in parts, of which any may be replaced by anything.
#[derive(Clone, Debug)]
pub struct Parts {
    pub deps: Vec<Digest>,
    pub actor: Vec<u8>,
    pub seq: u64,
    pub start_op: u64,
    pub time: i64,
    pub message: Vec<u8>,
    pub others: Vec<Vec<u8>>,
    pub columns: Vec<(u64, Vec<u8>)>,
    pub extra: Vec<u8>,
}

impl Draft {
    /// The operations of a change that somebody else has made.
    pub fn of(change: &Change) -> Self {
        let decoded = change.decode();
        Self {
            deps: decoded.deps.iter().map(|dep| Digest(dep.0)).collect(),
            actor: decoded.actor_id.to_bytes().to_vec(),
            seq: decoded.seq,
            start_op: decoded.start_op.get(),
            time: decoded.time,
            message: decoded.message.unwrap_or_default().into_bytes(),
            others: None,
            ops: decoded.operations.iter().map(op).collect(),
        }
    }

    /// The number of the next operation.
    pub fn next(&self) -> u64 {
        self.start_op.saturating_add(self.ops.len() as u64)
    }

    /// The name of one of its operations.
    pub fn id(&self, index: usize) -> Id {
        Id { counter: self.start_op.saturating_add(index as u64), actor: self.actor.clone() }
    }

    pub fn actors(&self) -> Vec<Vec<u8>> {
        self.others.clone().unwrap_or_else(|| {
            let named: BTreeSet<Vec<u8>> =
                self.ops.iter().flat_map(Op::names).map(|id| id.actor.clone()).collect();
            named.into_iter().filter(|actor| *actor != self.actor).collect()
        })
    }

    pub fn write(&self) -> EncodedChange {
        self.parts().write()
    }

    pub fn parts(&self) -> Parts {
        let others = self.actors();
        let columns = encode::columns(self, &others);
        Parts {
            deps: self.deps.clone(),
            actor: self.actor.clone(),
            seq: self.seq,
            start_op: self.start_op,
            time: self.time,
            message: self.message.clone(),
            others,
            columns,
            extra: Vec::new(),
        }
    }
}

fn id(id: &legacy::OpId) -> Id {
    Id { counter: id.counter(), actor: id.actor().to_bytes().to_vec() }
}

fn op(op: &legacy::Op) -> Op {
    let (action, value) = match &op.action {
        OpType::Make(ObjType::Map) => (MAP, (NULL, Vec::new())),
        OpType::Make(ObjType::List) => (LIST, (NULL, Vec::new())),
        OpType::Make(ObjType::Text) => (TEXT, (NULL, Vec::new())),
        OpType::Delete => (DELETE, (NULL, Vec::new())),
        OpType::Increment(by) => (INCREMENT, (SIGNED, encode::signed(*by))),
        OpType::Put(value) => (PUT, encode::scalar(value)),
        other => panic!("nobody here makes {other:?}"),
    };
    Op {
        object: match &op.obj {
            ObjectId::Root => None,
            ObjectId::Id(object) => Some(id(object)),
        },
        key: match &op.key {
            legacy::Key::Map(name) => Key::Name(name.as_bytes().to_vec()),
            legacy::Key::Seq(ElementId::Head) => Key::Head,
            legacy::Key::Seq(ElementId::Id(element)) => Key::Element(id(element)),
        },
        insert: op.insert,
        action,
        value,
        claims: None,
        preds: op.pred.iter().map(id).collect(),
    }
}

/// A put of a number under a name of the root.
pub fn put(name: &str) -> Op {
    Op {
        object: None,
        key: Key::Name(name.as_bytes().to_vec()),
        insert: false,
        action: PUT,
        value: encode::scalar(&ScalarValue::Int(7)),
        claims: None,
        preds: Vec::new(),
    }
}
