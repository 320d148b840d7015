//! Places in words that people and programs outside understand.

use super::Slot;
use super::operation::Key;
use automerge::{Automerge, Prop, ReadDoc};

/// Where a place is: keys and indexes from the root on. An item of a list is named by where it stands, or stood last.
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
