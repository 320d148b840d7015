//! Whether a change replaces or takes away most of what an object held.
//!
//! What something weighs is about how much somebody wrote: one for each character of a text, each item of a list and
//! each member of a map, and for a string in a map its bytes beside. Nothing is counted further than it matters, so that
//! the answer costs as much as the change has operations and what it replaced had, whatever else the object holds.

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType};
use automerge::{
    Automerge, Change, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, ScalarValueRef, ValueRef,
};
use syncd_schema::Digest;

/// What weighs less is soon written again.
const LITTLE: usize = 32;

/// Whether most of what an object held at `before` is gone or replaced by a change that was made there. `doc` is at that
/// change.
#[must_use]
pub fn rewrites(doc: &Automerge, before: &[Digest], change: &[u8]) -> bool {
    let Ok(change) = Change::try_from(change) else { return false };
    let change = change.decode();
    let first = change.start_op.get();
    let is_own = |op: &OpId| *op.actor() == change.actor_id && op.counter() >= first;
    let then: Vec<ChangeHash> = before.iter().map(|head| ChangeHash(head.0)).collect();
    let (mut gone, mut came, mut removes) = (0_usize, 0_usize, false);
    // A text is asked for once, and not with each of its characters.
    let mut last: Option<(&ObjectId, bool)> = None;
    for (op, counter) in change.operations.iter().zip(first..) {
        came = came.saturating_add(added(op));
        if matches!(op.action, OpType::Increment(_)) {
            continue;
        }
        for pred in op.pred.iter().filter(|pred| !is_own(pred)) {
            removes = true;
            let is_text = match last {
                Some((object, is_text)) if *object == op.obj => is_text,
                _ => is_text(doc, &op.obj),
            };
            last = Some((&op.obj, is_text));
            if is_text {
                gone = gone.saturating_add(1);
                continue;
            }
            let (weight, stays) = removed(doc, &then, op, pred, &OpId::new(counter, &change.actor_id));
            (gone, came) = (gone.saturating_add(weight - stays), came.saturating_sub(stays));
        }
    }
    // What is left of before is what there is now without what came.
    removes && gone >= LITTLE && weight(doc, &ROOT, ObjType::Map, None, gone + came) < gone + came
}

fn is_text(doc: &Automerge, id: &ObjectId) -> bool {
    match id {
        ObjectId::Root => false,
        ObjectId::Id(id) => doc.object_type(object(id)).is_ok_and(|kind| kind == ObjType::Text),
    }
}

/// What an operation took away where it stood before, and how much of that it put back.
fn removed(doc: &Automerge, then: &[ChangeHash], op: &Op, pred: &OpId, own: &OpId) -> (usize, usize) {
    let before = object(pred);
    if let Ok(kind) = doc.object_type(&before) {
        return (1 + weight(doc, &before, kind, Some(then), usize::MAX / 2), 0);
    }
    // A number in place of a number is news, and takes nothing away that somebody wrote.
    let is_figure = matches!(&op.action, OpType::Put(value) if !matches!(value, ScalarValue::Str(_)));
    let Key::Map(key) = &op.key else { return (1, usize::from(is_figure)) };
    let of = match &op.obj {
        ObjectId::Root => ROOT,
        ObjectId::Id(id) => object(id),
    };
    let values = doc.get_all_at(&of, key.as_str(), then).unwrap_or_default();
    let old =
        values.iter().find(|(_, id)| *id == before).and_then(|(value, _)| value.as_str()).unwrap_or_default();
    if old.is_empty() {
        return (1, usize::from(is_figure));
    }
    let stays = match &op.action {
        OpType::Put(ScalarValue::Str(new)) => 1 + common(old, new),
        OpType::Make(ObjType::Text) => 1 + common(old, &doc.text(object(own)).unwrap_or_default()),
        _ => 0,
    };
    (1 + old.len(), stays)
}

/// How many bytes at both ends of two strings are the same.
fn common(old: &str, new: &str) -> usize {
    let equal = |(a, b): &(u8, u8)| a == b;
    let start = old.bytes().zip(new.bytes()).take_while(equal).count();
    let end = old.bytes().rev().zip(new.bytes().rev()).take_while(equal).count();
    (start + end).min(old.len()).min(new.len())
}

/// What an operation brought.
fn added(op: &Op) -> usize {
    match (&op.action, &op.key) {
        (OpType::Put(ScalarValue::Str(text)), Key::Map(_)) => 1 + text.len(),
        (OpType::Put(_), Key::Map(_)) | (OpType::Make(_), _) => 1,
        (OpType::Put(_), Key::Seq(_)) => 1,
        _ => 0,
    }
}

/// What a container holds, counted until it is at least `enough`.
fn weight(doc: &Automerge, id: &ObjId, kind: ObjType, at: Option<&[ChangeHash]>, enough: usize) -> usize {
    let mut total: usize = 0;
    let mut open = vec![(id.clone(), kind)];
    while let Some((id, kind)) = open.pop().filter(|_| total < enough) {
        match kind {
            ObjType::Text => {
                let length = at.map_or_else(|| doc.length(&id), |at| doc.length_at(&id, at));
                total = total.saturating_add(length);
            }
            ObjType::List => {
                let items = at.map_or_else(|| doc.list_range(&id, ..), |at| doc.list_range_at(&id, .., at));
                for item in items {
                    total += 1;
                    if let ValueRef::Object(kind) = item.value {
                        open.push((item.id(), kind));
                    }
                    if total >= enough {
                        break;
                    }
                }
            }
            ObjType::Map | ObjType::Table => {
                let members = at.map_or_else(|| doc.map_range(&id, ..), |at| doc.map_range_at(&id, .., at));
                for member in members {
                    total += 1;
                    match &member.value {
                        ValueRef::Object(kind) => open.push((member.id(), *kind)),
                        ValueRef::Scalar(ScalarValueRef::Str(text)) => {
                            total = total.saturating_add(text.len())
                        }
                        ValueRef::Scalar(_) => {}
                    }
                    if total >= enough {
                        break;
                    }
                }
            }
        }
    }
    total
}

fn object(op: &OpId) -> ObjId {
    ObjId::Id(op.counter(), op.actor().clone(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Edit, heads};
    use serde_json::{Value as Json, json};
    use syncd_schema::Manifest;

    const PROSE: &str = "It was a bright cold day in April, and the clocks were striking thirteen.";

    /// Whether an edit of an object with this value is a rewrite.
    fn is_rewrite(value: &Json, edit: &Edit) -> bool {
        let collection = "notes".parse().unwrap();
        let manifest = Manifest::free_form("notes".parse().unwrap());
        let mut doc = document::birth(&"n1".parse().unwrap(), &collection, value, &manifest).unwrap().doc;
        let before = heads(&doc);
        let change = document::apply(&mut doc, edit, [7; 16], 0, &manifest).unwrap().unwrap();
        rewrites(&doc, &before, &change.bytes)
    }

    fn patch(patch: Json) -> Edit {
        Edit::MergePatch(patch)
    }

    fn text(path: &str, text: &str) -> Edit {
        Edit::SetText { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_rewrite_leaves_less_than_half_of_what_there_was() {
        let note = json!({ "title": "1984", "body": PROSE, "tags": ["a", "b"] });
        assert!(is_rewrite(&note, &text("/body", "all work and no play")));
        assert!(is_rewrite(&note, &text("/body", "")));
        assert!(is_rewrite(&note, &patch(json!({ "body": null }))));
        assert!(is_rewrite(&note, &patch(json!({ "body": PROSE.to_uppercase() }))));
        assert!(!is_rewrite(&note, &text("/body", &format!("{PROSE} And more: {PROSE}{PROSE}"))));
        assert!(!is_rewrite(&note, &text("/body", &PROSE.replace("cold", "warm"))));
        assert!(!is_rewrite(&note, &patch(json!({ "body": format!("{PROSE} And more.") }))));
        assert!(!is_rewrite(&note, &patch(json!({ "body": PROSE.replace("cold", "warm") }))));
        assert!(!is_rewrite(&note, &patch(json!({ "title": "a year", "tags": [] }))));
    }

    #[test]
    fn what_a_removed_container_held_counts_with_it() {
        let list: Vec<u64> = (0..60).collect();
        let board = json!({ "columns": { "open": list, "done": [1, 2, 3] }, "title": "board" });
        assert!(is_rewrite(&board, &patch(json!({ "columns": null }))));
        assert!(is_rewrite(&board, &patch(json!({ "columns": { "open": null } }))));
        assert!(!is_rewrite(&board, &patch(json!({ "columns": { "done": null } }))));
    }

    #[test]
    fn figures_that_change_are_no_rewrite() {
        let figures = |by: u64| -> Json { (0..100).map(|n| (format!("f{n}"), json!(n + by))).collect() };
        assert!(!is_rewrite(&figures(0), &patch(figures(1))));
        let gone: Json = (0..60).map(|n| (format!("f{n}"), json!(null))).collect();
        assert!(is_rewrite(&figures(0), &patch(gone)));
    }

    #[test]
    fn what_is_little_is_soon_written_again() {
        assert!(!is_rewrite(&json!({ "n": 1 }), &patch(json!({ "n": 2 }))));
        assert!(!is_rewrite(&json!({ "state": "open" }), &patch(json!({ "state": "done" }))));
    }
}
