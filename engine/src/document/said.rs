//! What one change did to an object, in a few short words for people.

use super::read_past;
use automerge::{Automerge, ChangeHash, ReadDoc};
use serde::Serialize;
use serde_json::Value;
use syncd_schema::Digest;

/// Places told of one change. More are counted.
const PLACES: usize = 8;
/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// What a change did at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The place, a JSON Pointer.
    pub path: String,
    /// The beginning of what stood there for its author; none if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    /// The beginning of what its author put there; none if it was taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

/// What a change did, and at how many places more than are told. None of a change that the document has not.
#[must_use]
pub fn said(doc: &Automerge, change: &Digest) -> Option<(Vec<Said>, usize)> {
    let found = doc.get_change_by_hash(&ChangeHash(change.0))?;
    let before: Vec<Digest> = found.deps().iter().map(|hash| Digest(hash.0)).collect();
    let mut places = Vec::new();
    let (was, now) = (read_past(doc, &before), read_past(doc, &[*change]));
    differences("", Some(&was), Some(&now), &mut places);
    let more = places.len().saturating_sub(PLACES);
    places.truncate(PLACES);
    Some((places, more))
}

/// Where two values differ: member by member where both are objects, and otherwise as a whole. Values nest no deeper than
/// documents do.
fn differences(path: &str, was: Option<&Value>, now: Option<&Value>, found: &mut Vec<Said>) {
    match (was, now) {
        (was, now) if was == now => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                differences(&path, before.get(key), after.get(key), found);
            }
        }
        (was, now) => {
            found.push(Said { path: path.to_owned(), was: was.map(shortened), now: now.map(shortened) })
        }
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
