//! What a change says when nothing is left of what it was made on.

use super::operation::{Action, Key, operations};
use crate::guard;
use automerge::{Change, ScalarValue};
use serde_json::{Map, Value, json};
use syncd_schema::limits;

/// Operations of one change that are shown.
const SHOWN: usize = 256;

/// What may be read and shown on one card: the largest changes there are would take seconds and fill memory.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    ops: u64,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { ops: 2 * limits::CHANGE_OPS, bytes: limits::CHANGE_BYTES }
    }
}

impl Room {
    /// Takes what a change needs; false when that is more than is left.
    const fn take(&mut self, ops: u64, bytes: usize) -> bool {
        let fits = ops <= self.ops && bytes <= self.bytes;
        if fits {
            (self.ops, self.bytes) = (self.ops - ops, self.bytes - bytes);
        }
        fits
    }
}

/// The content of a change, as far as it can be read without its document: keys with their new values, what was typed
/// or added to lists and texts, keys that were removed. `more` counts what is not shown.
#[must_use]
pub fn said_alone(bytes: &[u8], room: &mut Room) -> Value {
    let unreadable = || json!({ "unreadable": "the change is not one that can be decoded" });
    // It may never have been let in anywhere, so it is not Automerge that sees it first.
    let Ok(scanned) = guard::scan(bytes) else { return unreadable() };
    if !room.take(scanned.ops, bytes.len()) {
        return json!({ "more": scanned.ops });
    }
    let decode = || Change::from_bytes(bytes.to_vec()).ok().map(|change| operations(&change, 0));
    let decoded = guard::catch(decode);
    let Ok(Some(operations)) = decoded else { return unreadable() };
    let (mut set, mut removed) = (Map::new(), Vec::new());
    let (mut added, mut more): (Vec<Value>, u64) = (Vec::new(), 0);
    for (index, operation) in operations.iter().enumerate() {
        match (&operation.slot.key, &operation.action) {
            _ if index >= SHOWN => more += 1,
            (Key::Name(name), Action::Put(value)) => drop(set.insert(name.clone(), plain(value))),
            (Key::Name(name), Action::Delete) => removed.push(Value::from(name.clone())),
            (Key::Name(name), Action::Increment(by)) => drop(set.insert(name.clone(), json!({ "plus": by }))),
            (Key::Element(_), Action::Put(value)) => match (added.last_mut(), value) {
                (Some(Value::String(typed)), ScalarValue::Str(next)) if operation.goes_on => {
                    typed.push_str(next);
                }
                _ => added.push(plain(value)),
            },
            _ => more += 1,
        }
    }
    let mut said = Map::new();
    let mut say = |name: &str, value: Value, is_any: bool| {
        if is_any {
            said.insert(name.to_owned(), value);
        }
    };
    say("set", Value::Object(set.clone()), !set.is_empty());
    say("removed", Value::Array(removed.clone()), !removed.is_empty());
    say("added", Value::Array(added.clone()), !added.is_empty());
    say("more", Value::from(more), more > 0);
    Value::Object(said)
}

fn plain(value: &ScalarValue) -> Value {
    crate::document::scalar(value)
}
