//! Changes that are, operation by operation, what Automerge itself would write into the document at hand: values put
//! under keys of its maps or taken from there, on top of all there is.
//!
//! Saving and loading would find nothing in a document that such a change leaves, beyond what it would find after
//! anybody's honest edit. They are most of what a workspace of records ever sees, and proving this costs a tenth of it.

use super::ops::{Key, Ops, action, value};
use super::references::OpRef;
use super::refused::Refused;
use super::scan::{Layout, Scanned};
use super::semantics;
use super::trial::RELOAD_OPS;
use automerge::{Automerge, ObjType, ROOT, ReadDoc};

/// A change of more operations is loaded again: slots are compared one by one, and looking each up costs something too.
const MOST_OPS: u64 = 32;

/// Whether a change whose references were found good is what Automerge would write, into a document whose heads it
/// builds on. False says nothing about it, as for a document that would not be loaded again anyway.
pub(crate) fn is_plain(doc: &Automerge, scanned: &Scanned, layout: &Layout<'_>) -> bool {
    scanned.ops <= MOST_OPS
        && doc.stats().num_ops <= RELOAD_OPS
        && replaces_what_is_shown(doc, scanned, layout).unwrap_or(false)
}

/// Whether each operation is about another key of a map and replaces exactly what is shown under it.
fn replaces_what_is_shown(doc: &Automerge, scanned: &Scanned, layout: &Layout<'_>) -> Result<bool, Refused> {
    let named = |(actor, counter)| layout.op(Some(actor), Some(counter));
    let mut ops = Ops::new(&layout.columns);
    let mut slots: Vec<(Option<OpRef<'_>>, &str)> = Vec::new();

    for _ in 0..scanned.ops {
        let (op, preds) = ops.next()?;
        let object = op.object.and_then(named);
        let Key::Name(key) = op.key else { return Ok(false) };
        let replaced: Vec<OpRef<'_>> = preds.iter().copied().filter_map(named).collect();
        let is_write = match op.action {
            action::PUT => true,
            action::DELETE => op.value.0 == value::NULL && !replaced.is_empty(),
            _ => false,
        };
        let is_valued = semantics::check_value(&op, &layout.columns.value).is_ok();
        if !is_write
            || !is_valued
            || slots.contains(&(object, key))
            || !are_shown(doc, object, key, &replaced)
        {
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
    use crate::document::{self, Edit, EncodedChange, birth, empty, join};
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
        let at_heads = document::heads(doc) == scanned.deps;
        at_heads && is_plain(doc, &scanned, &layout)
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
