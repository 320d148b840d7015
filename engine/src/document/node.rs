//! A value on its way into a document: JSON plus what the manifest's field rules make of it, texts and counters.
//!
//! Planning comes before writing, so that a value that cannot be written is refused before anything is. A node
//! can also be read back from a document, for JSON Patch's `move` and `copy`, which must not turn a text into a
//! plain string.

use super::error::EditError;
use super::pointer;
use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value as Entry};
use serde_json::{Map, Number, Value};
use syncd_schema::limits;
use syncd_schema::manifest::{FieldRule, Manifest};

/// One value to write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Scalar(ScalarValue),
    Text(String),
    List(Vec<Node>),
    /// Sorted by key, so that equal objects are written by equal operations.
    Map(Vec<(String, Node)>),
}

/// Where a planner stands: the manifest's rules and the path so far.
pub(crate) struct Planner<'m> {
    manifest: &'m Manifest,
    path: Vec<String>,
    /// The texts and counters met, as pointers: with the JSON they determine the operations.
    pub(crate) special: Vec<(String, FieldRule)>,
}

impl<'m> Planner<'m> {
    pub(crate) fn at(manifest: &'m Manifest, path: &[String]) -> Self {
        Self { manifest, path: path.to_vec(), special: Vec::new() }
    }

    /// Plans a value at the planner's path.
    pub(crate) fn plan(&mut self, value: &Value) -> Result<Node, EditError> {
        match value {
            Value::Null => Ok(Node::Scalar(ScalarValue::Null)),
            Value::Bool(b) => Ok(Node::Scalar(ScalarValue::Boolean(*b))),
            Value::Number(number) => Ok(Node::Scalar(self.number(number))),
            Value::String(text) => Ok(self.string(text)),
            Value::Array(items) => self.list(items),
            Value::Object(map) => self.map(map).map(Node::Map),
        }
    }

    /// Plans the members of an object, in the order of their keys.
    pub(crate) fn map(&mut self, map: &Map<String, Value>) -> Result<Vec<(String, Node)>, EditError> {
        self.check_depth()?;
        sorted(map)
            .into_iter()
            .map(|(key, value)| {
                check_key(key, &self.path)?;
                Ok((key.clone(), self.below(key.clone(), value)?))
            })
            .collect()
    }

    fn list(&mut self, items: &[Value]) -> Result<Node, EditError> {
        self.check_depth()?;
        let nodes = items.iter().enumerate().map(|(index, item)| self.below(index.to_string(), item));
        nodes.collect::<Result<_, _>>().map(Node::List)
    }

    fn below(&mut self, step: String, value: &Value) -> Result<Node, EditError> {
        self.path.push(step);
        let node = self.plan(value);
        self.path.pop();
        node
    }

    fn string(&mut self, text: &str) -> Node {
        match self.rule().filter(|rule| rule.is_text()) {
            Some(_) => {
                self.special.push((pointer::join(&self.path), FieldRule::Text));
                Node::Text(text.to_owned())
            }
            None => Node::Scalar(ScalarValue::Str(text.into())),
        }
    }

    fn number(&mut self, number: &Number) -> ScalarValue {
        if let Some(n) = number.as_i64() {
            if self.rule() == Some(FieldRule::Counter) {
                self.special.push((pointer::join(&self.path), FieldRule::Counter));
                return counter(n);
            }
            return ScalarValue::Int(n);
        }
        match number.as_u64() {
            Some(n) => ScalarValue::Uint(n),
            // The JSON reader has already turned integers beyond 64 bits into the nearest floating point number.
            None => ScalarValue::F64(number.as_f64().unwrap_or_default()),
        }
    }

    fn rule(&self) -> Option<FieldRule> {
        if self.manifest.fields.is_empty() {
            return None;
        }
        let steps: Vec<&str> = self.path.iter().map(String::as_str).collect();
        self.manifest.rule(&steps)
    }

    fn check_depth(&self) -> Result<(), EditError> {
        if self.path.len() >= limits::JSON_DEPTH {
            return Err(EditError::TooDeep { path: pointer::excerpt(&pointer::join(&self.path)) });
        }
        Ok(())
    }
}

impl Node {
    /// Reads a value out of a document.
    pub(crate) fn read<R: ReadDoc>(doc: &R, entry: &Entry<'_>, id: &ObjId) -> Result<Self, EditError> {
        Self::read_within(doc, entry, id, limits::JSON_DEPTH)
    }

    fn read_within<R: ReadDoc>(
        doc: &R,
        entry: &Entry<'_>,
        id: &ObjId,
        depth: usize,
    ) -> Result<Self, EditError> {
        let kind = match entry {
            // A counter is written as it stands: what it began with would lose the counting.
            Entry::Scalar(scalar) => {
                return Ok(Self::Scalar(match scalar.as_ref() {
                    ScalarValue::Counter(count) => counter(i64::from(count)),
                    other => other.clone(),
                }));
            }
            Entry::Object(ObjType::Text) => return Ok(Self::Text(doc.text(id)?)),
            Entry::Object(kind) => *kind,
        };
        let below =
            depth.checked_sub(1).ok_or_else(|| EditError::TooDeep { path: "the copied value".into() })?;
        if kind == ObjType::List {
            let items = (0..doc.length(id)).filter_map(|index| doc.get(id, index).transpose());
            let nodes = items.map(|item| {
                item.map_err(EditError::from).and_then(|(v, id)| Self::read_within(doc, &v, &id, below))
            });
            return nodes.collect::<Result<_, _>>().map(Self::List);
        }
        let members =
            doc.keys(id).filter_map(|key| doc.get(id, key.as_str()).transpose().map(|found| (key, found)));
        let nodes = members.map(|(key, found)| {
            let (value, id) = found?;
            Ok((key, Self::read_within(doc, &value, &id, below)?))
        });
        nodes.collect::<Result<_, EditError>>().map(Self::Map)
    }

    /// How many operations writing it takes.
    pub(crate) fn ops(&self) -> u64 {
        match self {
            Self::Scalar(_) => 1,
            Self::Text(text) => 1 + text.chars().count() as u64,
            Self::List(items) => items.iter().fold(1, |sum, item| sum.saturating_add(item.ops())),
            Self::Map(members) => members.iter().fold(1, |sum, (_, item)| sum.saturating_add(item.ops())),
        }
    }

    /// How many bytes of keys and values it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Scalar(ScalarValue::Str(text)) => text.len(),
            Self::Scalar(ScalarValue::Bytes(bytes)) => bytes.len(),
            Self::Scalar(_) => 10,
            Self::Text(text) => text.len(),
            Self::List(items) => items.iter().map(Self::bytes).sum(),
            Self::Map(members) => members.iter().map(|(key, item)| key.len() + item.bytes()).sum(),
        }
    }

    /// How many containers it nests, a text not being one.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Scalar(_) | Self::Text(_) => 0,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(members) => 1 + members.iter().map(|(_, item)| item.depth()).max().unwrap_or(0),
        }
    }

    /// Writes it over a key or an item.
    pub(crate) fn put<T: Transactable>(
        &self,
        tx: &mut T,
        container: &ObjId,
        prop: impl Into<Prop>,
    ) -> Result<(), EditError> {
        match self {
            Self::Scalar(scalar) => tx.put(container, prop, scalar.clone())?,
            _ => {
                let id = tx.put_object(container, prop, self.kind())?;
                self.fill(tx, &id)?;
            }
        }
        Ok(())
    }

    /// Writes it into a list before the item at `index`.
    pub(crate) fn insert<T: Transactable>(
        &self,
        tx: &mut T,
        list: &ObjId,
        index: usize,
    ) -> Result<(), EditError> {
        match self {
            Self::Scalar(scalar) => tx.insert(list, index, scalar.clone())?,
            _ => {
                let id = tx.insert_object(list, index, self.kind())?;
                self.fill(tx, &id)?;
            }
        }
        Ok(())
    }

    fn fill<T: Transactable>(&self, tx: &mut T, id: &ObjId) -> Result<(), EditError> {
        match self {
            Self::Scalar(_) => Ok(()),
            Self::Text(text) if text.is_empty() => Ok(()),
            Self::Text(text) => Ok(tx.splice_text(id, 0, 0, text)?),
            Self::List(items) => {
                items.iter().enumerate().try_for_each(|(index, item)| item.insert(tx, id, index))
            }
            Self::Map(members) => members.iter().try_for_each(|(key, item)| item.put(tx, id, key.as_str())),
        }
    }

    const fn kind(&self) -> ObjType {
        match self {
            Self::Text(_) => ObjType::Text,
            Self::List(_) => ObjType::List,
            Self::Map(_) | Self::Scalar(_) => ObjType::Map,
        }
    }
}

/// Writes planned members into the root of a document.
pub(crate) fn write_root<T: Transactable>(tx: &mut T, members: &[(String, Node)]) -> Result<(), EditError> {
    members.iter().try_for_each(|(key, node)| node.put(tx, &ROOT, key.as_str()))
}

/// The members of an object in the order of their keys, whatever order the JSON library keeps.
/// A counter; beyond what counters may hold a plain number, which nobody adds to.
pub(crate) fn counter(n: i64) -> ScalarValue {
    match n.unsigned_abs() <= limits::COUNTER.unsigned_abs() {
        true => ScalarValue::counter(n),
        false => ScalarValue::Int(n),
    }
}

pub(crate) fn sorted(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_unstable_by_key(|(key, _)| *key);
    members
}

/// Checks one key of a map at `path`.
pub(crate) fn check_key(key: &str, path: &[String]) -> Result<(), EditError> {
    if key.is_empty() {
        return Err(EditError::EmptyKey { path: pointer::excerpt(&pointer::join(path)) });
    }
    if key.len() > limits::PATH_BYTES {
        return Err(EditError::PathTooLong { path: pointer::excerpt(key), found: key.len() });
    }
    Ok(())
}
