//! Changes that are, operation by operation, what Automerge itself would write into the document at hand: values put
//! under keys of its maps or taken from there, on top of all there is.
//!
//! Saving and loading would find nothing in a document that such a change leaves, beyond what it would find after
//! anybody's honest edit. They are most of what a workspace of records ever sees, and proving this costs a tenth of it.

use super::references::{Cursor, OpRef};
use super::refused::Refused;
use super::scan::{Layout, Scanned};
use super::trial::RELOAD_OPS;
use crate::document;
use automerge::{Automerge, ObjType, ROOT, ReadDoc};

/// A change of more operations is loaded again: slots are compared one by one, and looking each up costs something too.
const MOST_OPS: u64 = 32;
/// Puts a value.
const PUT: u64 = 1;
/// Takes what is there away, and brings nothing.
const DELETE: u64 = 3;

/// Whether a change whose references were found good is what Automerge would write. False says nothing about it, as for
/// a document that would not be loaded again anyway.
pub(crate) fn is_plain(doc: Option<&Automerge>, scanned: &Scanned, layout: &Layout<'_>) -> bool {
    let Some(doc) = doc.filter(|doc| doc.stats().num_ops <= RELOAD_OPS) else { return false };
    scanned.ops <= MOST_OPS
        && document::heads(doc) == scanned.deps
        && replaces_what_is_shown(doc, scanned, layout).unwrap_or(false)
}

/// Whether each operation is about another key of a map and replaces exactly what is shown under it.
fn replaces_what_is_shown(doc: &Automerge, scanned: &Scanned, layout: &Layout<'_>) -> Result<bool, Refused> {
    let columns = &layout.columns;
    let mut obj_actor = Cursor::<u64>::new(columns.obj_actor);
    let mut obj_ctr = Cursor::<u64>::new(columns.obj_ctr);
    let mut key_str = Cursor::<&str>::new(columns.key_str);
    let mut action = Cursor::<u64>::new(columns.action);
    let mut value_meta = Cursor::<u64>::new(columns.value_meta);
    let mut pred_count = Cursor::<u64>::new(columns.pred_count);
    let mut pred_actor = Cursor::<u64>::new(columns.pred_actor);
    let mut pred_ctr = Cursor::<i64>::new(columns.pred_ctr);
    let mut pred = 0_i64;
    let mut slots: Vec<(Option<OpRef<'_>>, &str)> = Vec::new();

    for _ in 0..scanned.ops {
        let object = layout.op(obj_actor.next()?, obj_ctr.next()?);
        let Some(key) = key_str.next()? else { return Ok(false) };
        let (action, value) = (action.next()?, value_meta.next()?);
        let mut replaced = Vec::new();
        for _ in 0..pred_count.next()?.unwrap_or(0) {
            pred = pred.saturating_add(pred_ctr.next()?.unwrap_or(0));
            let Some(op) = layout.op(pred_actor.next()?, Some(pred.unsigned_abs())) else { return Ok(false) };
            replaced.push(op);
        }
        let is_write = match action {
            Some(PUT) => true,
            Some(DELETE) => value == Some(0) && !replaced.is_empty(),
            _ => false,
        };
        if !is_write || slots.contains(&(object, key)) || !are_shown(doc, object, key, &replaced) {
            return Ok(false);
        }
        slots.push((object, key));
    }
    Ok(true)
}

/// Whether a key of a map shows exactly these operations, in the order in which Automerge lists them.
fn are_shown(doc: &Automerge, object: Option<OpRef<'_>>, key: &str, expected: &[OpRef<'_>]) -> bool {
    let object = object.map_or(ROOT, OpRef::id);
    let is_map = doc.object_type(&object).is_ok_and(|found| found == ObjType::Map);
    let shown = is_map.then(|| doc.get_all(&object, key).ok()).flatten();
    shown.is_some_and(|shown| {
        shown.len() == expected.len() && shown.iter().zip(expected).all(|((_, found), op)| *found == op.id())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Edit, EncodedChange, birth, empty, join};
    use crate::guard::scan;
    use serde_json::json;
    use syncd_schema::Manifest;

    fn manifest() -> Manifest {
        Manifest::free_form("notes".parse().expect("a name"))
    }

    fn edited(doc: &Automerge, who: u8, patch: serde_json::Value) -> EncodedChange {
        let edited = document::apply(&mut doc.clone(), &Edit::MergePatch(patch), [who; 16], 1, &manifest());
        edited.expect("it fits").expect("it changes something")
    }

    fn is_plain_on(doc: &Automerge, change: &EncodedChange) -> bool {
        let (scanned, layout) = scan::layout(&change.bytes).expect("well formed");
        is_plain(Some(doc), &scanned, &layout)
    }

    #[test]
    fn values_on_top_of_all_there_is_are_plain_and_nothing_else() {
        let value = json!({ "a": 1, "b": "two", "in": { "c": 3 } });
        let born =
            birth(&"n1".parse().expect("an id"), &"notes".parse().expect("a name"), &value, &manifest());
        let mut doc = empty();
        join(&mut doc, &born.expect("born").change).expect("it fits");
        let plain = edited(&doc, 1, json!({ "a": 2, "b": null, "in": { "c": "three" }, "new": true }));
        assert!(is_plain_on(&doc, &plain));
        assert!(!is_plain_on(&doc, &edited(&doc, 1, json!({ "a": { "made": 1 } }))), "it makes an object");

        let apart = edited(&doc, 2, json!({ "a": 4 }));
        join(&mut doc, &plain).expect("it fits");
        assert!(!is_plain_on(&doc, &apart), "it was made without what is here");
        join(&mut doc, &apart).expect("it fits");
        assert!(is_plain_on(&doc, &edited(&doc, 1, json!({ "a": 5 }))), "it replaces both values");
    }
}
