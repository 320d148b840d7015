//! JSON out of a document: what `get` shows, what policies and schemas are judged on.
//!
//! Texts become strings, counters and timestamps numbers, bytes base64. Of a conflicted value the one that
//! Automerge shows is read; who else wrote is not this module's business. Writing is in `node.rs`.

use super::error::{EditError, kind_of};
use super::pointer;
use automerge::{
    Automerge, ChangeHash, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, ScalarValueRef, Value as Entry,
    ValueRef,
};
use serde_json::{Map, Number, Value};
use syncd_schema::{Digest, limits};

/// The whole document as JSON.
///
/// Containers nested deeper than [`limits::JSON_DEPTH`] are read as null, on every device alike: no writer of
/// this product makes them, and following them without end would overflow the stack.
#[must_use]
pub fn read(doc: &Automerge) -> Value {
    read_container(doc, &ROOT, ObjType::Map, limits::JSON_DEPTH)
}

/// The value at a JSON Pointer, if there is one.
///
/// # Errors
/// When the pointer is not a JSON Pointer.
pub fn read_at(doc: &Automerge, path: &str) -> Result<Option<Value>, EditError> {
    let steps = pointer::parse(path)?;
    let mut here = (ROOT, ObjType::Map);
    let mut rest = steps.iter().enumerate().peekable();
    while let Some((depth, step)) = rest.next() {
        let Some((entry, id)) = get(doc, &here.0, here.1, step)? else { return Ok(None) };
        match (&entry, rest.peek()) {
            (Entry::Object(kind), Some(_)) if *kind != ObjType::Text => here = (id, *kind),
            (_, Some(_)) => return Ok(None),
            (_, None) => {
                return Ok(Some(entry_json(doc, &entry, &id, limits::JSON_DEPTH.saturating_sub(depth + 1))));
            }
        }
    }
    Ok(Some(read(doc)))
}

/// The value at a JSON Pointer as it was at earlier heads, if there was one.
#[must_use]
pub fn read_at_heads(doc: &Automerge, path: &str, heads: &[ChangeHash]) -> Option<Value> {
    let mut here = (ROOT, ObjType::Map);
    let mut entry: Option<(Entry<'_>, ObjId)> = None;
    for step in pointer::parse(path).ok()? {
        let prop = match here.1 {
            ObjType::Map | ObjType::Table => Prop::Map(step),
            ObjType::List => Prop::Seq(pointer::index(&step, doc.length_at(&here.0, heads))?),
            ObjType::Text => return None,
        };
        let found = doc.get_at(&here.0, prop, heads).ok().flatten()?;
        if let Entry::Object(kind) = &found.0 {
            here = (found.1.clone(), *kind);
        } else {
            here.1 = ObjType::Text;
        }
        entry = Some(found);
    }
    match entry {
        Some((Entry::Scalar(scalar), _)) => Some(self::scalar(&scalar)),
        _ => Some(read_then(doc, &here.0, here.1, heads, limits::JSON_DEPTH)),
    }
}

/// The whole document as it was at earlier heads; at none it was empty.
#[must_use]
pub fn read_past(doc: &Automerge, heads: &[Digest]) -> Value {
    if heads.is_empty() {
        return Value::Object(Map::new());
    }
    let heads: Vec<ChangeHash> = heads.iter().map(|head| ChangeHash(head.0)).collect();
    read_then(doc, &ROOT, ObjType::Map, &heads, limits::JSON_DEPTH)
}

fn read_then(doc: &Automerge, id: &ObjId, kind: ObjType, heads: &[ChangeHash], depth: usize) -> Value {
    if kind == ObjType::Text {
        return Value::String(doc.text_at(id, heads).unwrap_or_default());
    }
    let Some(below) = depth.checked_sub(1) else { return Value::Null };
    let value = |value: &ValueRef<'_>, id: ObjId| match value {
        ValueRef::Object(kind) => read_then(doc, &id, *kind, heads, below),
        ValueRef::Scalar(scalar) => scalar_json(scalar),
    };
    match kind {
        ObjType::List => {
            Value::Array(doc.list_range_at(id, .., heads).map(|item| value(&item.value, item.id())).collect())
        }
        _ => Value::Object(
            doc.map_range_at(id, .., heads)
                .map(|item| (item.key.to_string(), value(&item.value, item.id())))
                .collect(),
        ),
    }
}

/// The winning value at one step below a container; nothing for a step that does not fit the container.
pub(crate) fn get<'a, R: ReadDoc>(
    doc: &'a R,
    container: &ObjId,
    kind: ObjType,
    step: &str,
) -> Result<Option<(Entry<'a>, ObjId)>, EditError> {
    match kind {
        ObjType::Map | ObjType::Table => Ok(doc.get(container, step)?),
        ObjType::List => {
            let len = doc.length(container);
            match pointer::index(step, len).filter(|index| *index < len) {
                Some(index) => Ok(doc.get(container, index)?),
                None => Ok(None),
            }
        }
        ObjType::Text => Ok(None),
    }
}

/// One value that [`get`] found as JSON, with `depth` levels of containers allowed.
pub(crate) fn entry_json<R: ReadDoc>(doc: &R, entry: &Entry<'_>, id: &ObjId, depth: usize) -> Value {
    match entry {
        Entry::Object(kind) => read_container(doc, id, *kind, depth),
        Entry::Scalar(scalar) => scalar_json(&ScalarValueRef::from(scalar.as_ref().clone())),
    }
}

/// Checks what a caller gave: an object at the root, not too deep. Keys are checked where they are written.
pub(crate) fn check_root(value: &Value) -> Result<&Map<String, Value>, EditError> {
    check_depth(value, limits::JSON_DEPTH, "")?;
    value.as_object().ok_or_else(|| EditError::RootNotObject { found: kind_of(value) })
}

/// Checks that a value nests at most `levels` containers; goes no deeper than that itself.
pub(crate) fn check_depth(value: &Value, levels: usize, path: &str) -> Result<(), EditError> {
    let mut children: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => return Ok(()),
    };
    let Some(below) = levels.checked_sub(1) else {
        return Err(EditError::TooDeep {
            path: if path.is_empty() { "the value".into() } else { path.into() },
        });
    };
    children.try_for_each(|child| check_depth(child, below, path))
}

/// One container as JSON, whether or not it is the one that is shown in its place.
#[must_use]
pub fn read_object(doc: &Automerge, id: &ObjId, kind: ObjType) -> Value {
    read_container(doc, id, kind, limits::JSON_DEPTH)
}

fn read_container<R: ReadDoc>(doc: &R, id: &ObjId, kind: ObjType, depth: usize) -> Value {
    if kind == ObjType::Text {
        return Value::String(doc.text(id).unwrap_or_default());
    }
    let Some(below) = depth.checked_sub(1) else { return Value::Null };
    match kind {
        ObjType::List => Value::Array(
            doc.list_range(id, ..).map(|item| value_json(doc, &item.value, || item.id(), below)).collect(),
        ),
        _ => Value::Object(
            doc.map_range(id, ..)
                .map(|item| (item.key.to_string(), value_json(doc, &item.value, || item.id(), below)))
                .collect(),
        ),
    }
}

pub(super) fn value_json<R: ReadDoc>(
    doc: &R,
    value: &ValueRef<'_>,
    id: impl Fn() -> ObjId,
    depth: usize,
) -> Value {
    match value {
        ValueRef::Object(kind) => read_container(doc, &id(), *kind, depth),
        ValueRef::Scalar(scalar) => scalar_json(scalar),
    }
}

/// A scalar as JSON.
#[must_use]
pub fn scalar(value: &ScalarValue) -> Value {
    scalar_json(&ScalarValueRef::from(value.clone()))
}

fn scalar_json(scalar: &ScalarValueRef<'_>) -> Value {
    match scalar {
        ScalarValueRef::Null => Value::Null,
        ScalarValueRef::Boolean(b) => Value::Bool(*b),
        ScalarValueRef::Int(n) | ScalarValueRef::Counter(n) | ScalarValueRef::Timestamp(n) => Value::from(*n),
        ScalarValueRef::Uint(n) => Value::from(*n),
        // JSON has no infinities; a foreign one reads as null.
        ScalarValueRef::F64(n) => Number::from_f64(*n).map_or(Value::Null, Value::Number),
        ScalarValueRef::Str(text) => Value::String(text.to_string()),
        ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } => Value::String(base64(bytes)),
    }
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| (group << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = (group >> (18 - 6 * position)) & 63;
            let letter = ALPHABET.get(digit as usize).copied().unwrap_or(b'=');
            text.push(if position <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
