//! How an object comes into being: one change that is a pure function of what it says.
//!
//! The change's actor is a hash of object, collection and content, its time 0 and its sequence number 1, and
//! keys are written in their order. Two devices that create one object with equal content therefore write the
//! same bytes, and the two births collapse into one; different content gives two incarnations, never a
//! document in which two births were merged field by field.

use super::error::EditError;
use super::node::{self, Node, Planner, sorted};
use super::{EncodedChange, empty, json};
use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge};
use serde_json::Value;
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Collection, Incarnation, ObjectId, domain, limits};

/// A new document and the change that made it. The change's hash is the object's incarnation.
#[derive(Debug)]
pub struct Birth {
    /// The document.
    pub doc: Automerge,
    /// Its first change.
    pub change: EncodedChange,
}

/// Creates an object's document.
///
/// # Errors
/// When the value is no JSON object, or larger or deeper than one change may be.
pub fn birth(
    object: &ObjectId,
    collection: &Collection,
    value: &Value,
    manifest: &Manifest,
) -> Result<Birth, EditError> {
    birth_after(object, collection, value, manifest, None)
}

/// As [`birth`], of an object that begins anew after a life that it had: another birth than that of any life before, even
/// where it says the same.
///
/// # Errors
/// As [`birth`].
pub fn birth_after(
    object: &ObjectId,
    collection: &Collection,
    value: &Value,
    manifest: &Manifest,
    before: Option<&Incarnation>,
) -> Result<Birth, EditError> {
    let root = json::check_root(value)?;
    let mut planner = Planner::at(manifest, &[]);
    let members = planner.map(root)?;
    let ops = members.iter().fold(0_u64, |sum, (_, node)| sum.saturating_add(Node::ops(node)));
    if ops > limits::CHANGE_OPS {
        return Err(EditError::TooManyOps);
    }

    let before = before.map_or(&[][..], |life| &life.0);
    let actor = actor(object, collection, (value, before), &planner.special);
    let mut doc = empty();
    doc.set_actor(ActorId::from(&actor[..]));
    let mut tx = doc.transaction();
    node::write_root(&mut tx, &members)?;
    let hash = match tx.commit_with(CommitOptions::default().with_time(0)).0 {
        Some(hash) => hash,
        // An object without members is born by a change without operations.
        None => doc.empty_commit(CommitOptions::default().with_time(0)),
    };
    let change = EncodedChange::of(&doc, &hash).ok_or(EditError::Lost)?;
    change.check_size()?;
    Ok(Birth { doc, change })
}

/// The field rules count only by their effect, so that a rule which changes nothing about this value does not
/// split one birth in two.
fn actor(
    object: &ObjectId,
    collection: &Collection,
    (value, before): (&Value, &[u8]),
    special: &[(String, FieldRule)],
) -> [u8; 16] {
    let mut rules = Vec::new();
    for (path, rule) in special {
        rules.extend_from_slice(&(path.len() as u64).to_be_bytes());
        rules.extend_from_slice(path.as_bytes());
        rules.push(if *rule == FieldRule::Counter { b'c' } else { b't' });
    }
    let mut content = Vec::new();
    canonical(value, &mut content);
    let parts = [object.as_str().as_bytes(), collection.as_str().as_bytes(), &content, &rules, before];
    // A first life has no part for the one before it.
    let parts = if before.is_empty() { parts.get(..4).unwrap_or_default() } else { &parts };
    let hash = domain::hash("birth", parts);
    let mut actor = [0; 16];
    actor.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    actor
}

/// JSON with sorted keys and no spaces. Numbers keep their kind: 1 and 1.0 are stored differently.
fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                canonical(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (index, (key, item)) in sorted(map).into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::String(key.clone()).to_string().as_bytes());
                out.push(b':');
                canonical(item, out);
            }
            out.push(b'}');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}
