//! JSON Merge Patch (RFC 7396) as operations on a document.
//!
//! Only what differs is written: a patch that repeats a value makes no operation for it, so that it cannot
//! conflict with somebody's edit of the same field. A string given for a text edits the text.

use super::error::{EditError, kind_of};
use super::json;
use super::node::{check_key, sorted};
use super::pointer;
use super::writer::{Spot, Writer};
use automerge::{ObjId, ObjType, ROOT};
use serde_json::{Map, Value};
use syncd_schema::limits;

/// Applies a merge patch.
pub(crate) fn apply(writer: &mut Writer<'_, '_>, patch: &Value) -> Result<(), EditError> {
    json::check_depth(patch, limits::JSON_DEPTH, "the patch")?;
    let Value::Object(members) = patch else {
        return Err(EditError::RootNotObject { found: kind_of(patch) });
    };
    merge_map(writer, &ROOT, members, &mut Vec::new())
}

/// The pointers of a merge patch's leaves: the values it sets or removes.
pub(crate) fn paths(patch: &Value, pointer: &mut String, out: &mut Vec<String>) {
    match patch {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let length = pointer.len();
                pointer::push(pointer, key);
                paths(value, pointer, out);
                pointer.truncate(length);
            }
        }
        _ => out.push(pointer.clone()),
    }
}

fn merge_map(
    writer: &mut Writer<'_, '_>,
    map: &ObjId,
    members: &Map<String, Value>,
    path: &mut Vec<String>,
) -> Result<(), EditError> {
    for (key, value) in sorted(members) {
        check_key(key, path)?;
        path.push(key.clone());
        merge_key(writer, &Spot::Key { map: map.clone(), key: key.clone() }, value, path)?;
        path.pop();
    }
    Ok(())
}

fn merge_key(
    writer: &mut Writer<'_, '_>,
    spot: &Spot,
    value: &Value,
    path: &mut Vec<String>,
) -> Result<(), EditError> {
    let found = writer.find(spot)?;
    match (value, found) {
        (Value::Null, None) => Ok(()),
        (Value::Null, Some(_)) => writer.delete(spot),
        (Value::Object(members), Some(found)) if found.is(ObjType::Map) => {
            merge_map(writer, &found.id, members, path)
        }
        // Nothing to merge with: the patch is the value, without the removals in it.
        (Value::Object(members), _) => writer.set(spot, path, &without_nulls(members)),
        _ => writer.set(spot, path, value),
    }
}

fn without_nulls(members: &Map<String, Value>) -> Value {
    let kept = members.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match value {
        Value::Object(below) => (key.clone(), without_nulls(below)),
        _ => (key.clone(), value.clone()),
    });
    Value::Object(kept.collect())
}
