//! Conflicts in words that people and programs outside understand: a path, and what each change says.

use super::operation::{Action, Key, Operation, operations};
use super::{Conflict, Kind, OpName, Slot};
use crate::document;
use automerge::{Automerge, ChangeHash, Prop, ReadDoc};
use serde_json::Value;
use std::collections::BTreeMap;
use syncd_schema::Digest;

/// Where a conflict is: keys and indexes from the root on. An item of a list is named by where it stands, or stood last.
#[must_use]
pub fn steps(doc: &Automerge, place: &Slot) -> Vec<String> {
    let mut steps = Vec::new();
    if let Key::Name(name) = &place.key {
        steps.push(name.clone());
    }
    let inner = match (&place.key, &place.object) {
        // An item: its own place in its list, if it is a container; else the list is all that can be said.
        (Key::Element(element), _) if doc.object_type(element.object()).is_ok() => Some(element),
        (_, object) => object.as_ref(),
    };
    if let Some(parents) = inner.and_then(|object| doc.parents(object.object()).ok()) {
        steps.extend(parents.map(|parent| match parent.prop {
            Prop::Map(name) => name.to_string(),
            Prop::Seq(index) => index.to_string(),
        }));
    }
    steps.reverse();
    steps
}

/// Steps as a JSON Pointer (RFC 6901).
#[must_use]
pub fn pointer(steps: &[String]) -> String {
    let escaped = steps.iter().map(|step| step.replace('~', "~0").replace('/', "~1"));
    escaped.fold(String::new(), |path, step| path + "/" + &step)
}

/// What each change that takes part says: the value it put, null for a deletion, the text it typed, the number it
/// added.
#[must_use]
pub fn values(doc: &Automerge, conflict: &Conflict) -> BTreeMap<Digest, Value> {
    let mut of_change: BTreeMap<Digest, Vec<&OpName>> = BTreeMap::new();
    for side in &conflict.sides {
        of_change.entry(side.change).or_default().push(&side.operation);
    }
    let say = |(digest, names): (Digest, Vec<&OpName>)| {
        let change = doc.get_change_by_hash(&ChangeHash(digest.0))?;
        let involved: Vec<Operation> =
            operations(&change, 0).into_iter().filter(|operation| names.contains(&&operation.name)).collect();
        let value = match conflict.kind {
            Kind::Text => Value::String(involved.iter().filter_map(typed).collect()),
            _ => involved.last().map_or(Value::Null, |operation| value(doc, operation)),
        };
        Some((digest, value))
    };
    of_change.into_iter().filter_map(say).collect()
}

fn typed(operation: &Operation) -> Option<String> {
    match (&operation.action, &operation.after) {
        (Action::Put(value), Some(_)) => value.as_str().map(str::to_owned),
        _ => None,
    }
}

fn value(doc: &Automerge, operation: &Operation) -> Value {
    match &operation.action {
        Action::Put(scalar) => document::scalar(scalar),
        Action::Make(kind) => document::read_object(doc, &operation.name.object(), *kind),
        Action::Delete => Value::Null,
        Action::Increment(by) => Value::from(*by),
    }
}
