//! One transaction on one document: finds places by path, writes values, counts what it costs.
//!
//! The kinds of edit (`merge.rs`, `patch.rs`, `text.rs`) say what to write; here is how, and here are the bounds
//! that hold for all of them.

use super::error::EditError;
use super::json;
use super::node::{Node, Planner, check_key};
use super::{pointer, text};
use automerge::transaction::{Transactable, Transaction};
use automerge::{ObjId, ObjType, ROOT, ReadDoc, Value as Entry};
use serde_json::{Map, Value};
use syncd_schema::limits;
use syncd_schema::manifest::{FieldRule, Manifest};

/// What an operation may cost in an encoded change, beside its keys and values: about a dozen columns of small
/// numbers. Real ones cost a tenth.
const OP_BYTES: usize = 96;

/// A place in a document.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// The document itself.
    Root,
    /// A key of a map, present or not.
    Key { map: ObjId, key: String },
    /// An index of a list, up to and including its length.
    Item { list: ObjId, index: usize, len: usize },
}

/// What is at a place.
pub(crate) struct Found {
    pub(crate) entry: Entry<'static>,
    pub(crate) id: ObjId,
}

impl Found {
    pub(crate) fn is(&self, kind: ObjType) -> bool {
        matches!(&self.entry, Entry::Object(found) if *found == kind)
    }
}

/// A transaction in progress.
pub(crate) struct Writer<'t, 'd> {
    pub(crate) tx: &'t mut Transaction<'d>,
    pub(crate) manifest: &'t Manifest,
    bytes: usize,
}

impl<'t, 'd> Writer<'t, 'd> {
    pub(crate) fn new(tx: &'t mut Transaction<'d>, manifest: &'t Manifest) -> Self {
        Self { tx, manifest, bytes: 0 }
    }

    /// A bound on the size of the change so far.
    pub(crate) fn bound(&self) -> usize {
        self.tx.pending_ops().saturating_mul(OP_BYTES).saturating_add(self.bytes)
    }

    /// Asks for room for so many operations and bytes before writing them.
    pub(crate) fn reserve(&mut self, ops: u64, bytes: usize) -> Result<(), EditError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let pending = self.tx.pending_ops() as u64;
        if pending.saturating_add(ops) > limits::CHANGE_OPS { Err(EditError::TooManyOps) } else { Ok(()) }
    }

    /// The place a path names. Its parent must exist; what is at the place itself need not.
    pub(crate) fn spot(&self, path: &[String]) -> Result<Spot, EditError> {
        let Some((last, parents)) = path.split_last() else { return Ok(Spot::Root) };
        let missing = || EditError::PathMissing { path: pointer::excerpt(&pointer::join(path)) };
        let (mut id, mut kind) = (ROOT, ObjType::Map);
        for step in parents {
            match json::get(&*self.tx, &id, kind, step)? {
                Some((Entry::Object(below), found)) => (id, kind) = (found, below),
                _ => return Err(missing()),
            }
        }
        match kind {
            ObjType::Map | ObjType::Table => Ok(Spot::Key { map: id, key: last.clone() }),
            ObjType::List => {
                let len = self.tx.length(&id);
                match pointer::index(last, len) {
                    Some(index) if index <= len => Ok(Spot::Item { list: id, index, len }),
                    Some(_) => {
                        Err(EditError::IndexOutOfRange { path: pointer::excerpt(&pointer::join(path)), len })
                    }
                    None => Err(missing()),
                }
            }
            ObjType::Text => Err(missing()),
        }
    }

    /// What is at a place, if anything.
    pub(crate) fn find(&self, spot: &Spot) -> Result<Option<Found>, EditError> {
        let found = match spot {
            Spot::Root => return Ok(Some(Found { entry: Entry::Object(ObjType::Map), id: ROOT })),
            Spot::Key { map, key } => self.tx.get(map, key.as_str())?,
            Spot::Item { list, index, len } if index < len => self.tx.get(list, *index)?,
            Spot::Item { .. } => None,
        };
        Ok(found.map(|(entry, id)| Found { entry: entry.into_owned(), id }))
    }

    /// What is at a path, which must exist.
    pub(crate) fn must_find(&self, path: &[String]) -> Result<(Spot, Found), EditError> {
        let spot = self.spot(path)?;
        match self.find(&spot)? {
            Some(found) => Ok((spot, found)),
            None => Err(EditError::PathMissing { path: pointer::excerpt(&pointer::join(path)) }),
        }
    }

    /// What was found, as JSON.
    pub(crate) fn json(&self, found: &Found) -> Value {
        json::entry_json(&*self.tx, &found.entry, &found.id, limits::JSON_DEPTH)
    }

    /// Makes a value be at a place: nothing if it is there already, a text edited if it is a text, else replaced.
    pub(crate) fn set(&mut self, spot: &Spot, path: &[String], value: &Value) -> Result<(), EditError> {
        if matches!(spot, Spot::Root) {
            return self.set_root(json::check_root(value)?);
        }
        if let Some(found) = self.find(spot)? {
            if let (true, Value::String(text)) = (found.is(ObjType::Text), value) {
                return text::set(self, &found.id, text);
            }
            if self.json(&found) == *value {
                return Ok(());
            }
        }
        let node = Planner::at(self.manifest, path).plan(value)?;
        self.put(spot, path, &node)
    }

    /// Writes a node over whatever is at a place.
    pub(crate) fn put(&mut self, spot: &Spot, path: &[String], node: &Node) -> Result<(), EditError> {
        self.admit(path, node)?;
        match spot {
            Spot::Root => self.put_root(node),
            Spot::Key { map, key } => {
                check_key(key, path.split_last().map_or(&[], |(_, parents)| parents))?;
                node.put(self.tx, map, key.as_str())
            }
            Spot::Item { list, index, len } if index < len => node.put(self.tx, list, *index),
            Spot::Item { list, index, .. } => node.insert(self.tx, list, *index),
        }
    }

    /// Writes a node into a list before the item at a place, or over a key of a map.
    pub(crate) fn add(&mut self, spot: &Spot, path: &[String], node: &Node) -> Result<(), EditError> {
        let Spot::Item { list, index, .. } = spot else { return self.put(spot, path, node) };
        self.admit(path, node)?;
        node.insert(self.tx, list, *index)
    }

    /// Removes what is at a place.
    pub(crate) fn delete(&mut self, spot: &Spot) -> Result<(), EditError> {
        self.reserve(1, 0)?;
        match spot {
            Spot::Root => return Err(EditError::RootNotObject { found: "nothing" }),
            Spot::Key { map, key } => self.tx.delete(map, key.as_str())?,
            Spot::Item { list, index, .. } => self.tx.delete(list, *index)?,
        }
        Ok(())
    }

    /// The field rule of a path.
    pub(crate) fn rule(&self, path: &[String]) -> Option<FieldRule> {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        self.manifest.rule(&steps)
    }

    fn admit(&mut self, path: &[String], node: &Node) -> Result<(), EditError> {
        if path.len() + node.depth() > limits::JSON_DEPTH {
            return Err(EditError::TooDeep { path: pointer::excerpt(&pointer::join(path)) });
        }
        self.reserve(node.ops(), node.bytes().saturating_add(path.last().map_or(0, String::len)))
    }

    fn set_root(&mut self, map: &Map<String, Value>) -> Result<(), EditError> {
        self.clear_root(|key| map.contains_key(key))?;
        for (key, value) in super::node::sorted(map) {
            self.set(&Spot::Key { map: ROOT, key: key.clone() }, std::slice::from_ref(key), value)?;
        }
        Ok(())
    }

    fn put_root(&mut self, node: &Node) -> Result<(), EditError> {
        let Node::Map(members) = node else {
            return Err(EditError::RootNotObject { found: "something else" });
        };
        self.clear_root(|key| members.iter().any(|(member, _)| member == key))?;
        super::node::write_root(self.tx, members)
    }

    fn clear_root(&mut self, keep: impl Fn(&str) -> bool) -> Result<(), EditError> {
        let gone: Vec<String> = self.tx.keys(ROOT).filter(|key| !keep(key)).collect();
        gone.into_iter().try_for_each(|key| self.delete(&Spot::Key { map: ROOT, key }))
    }
}
