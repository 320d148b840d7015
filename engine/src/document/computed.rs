//! What is shown where a field rule computes it from concurrent values: the largest, the smallest, the union.
//!
//! The values are those that Automerge keeps at the field, and nothing is written for it: devices that merged the same
//! show the same, and whoever writes the field next has seen all of them and settles it.
//!
//! - `max`, `min`: of the numbers if there is one, else of the strings by their code points, else what Automerge shows.
//! - `union`: the members of all lists, each once, in the order in which Automerge keeps the lists, oldest first, and
//!   then in the order of each. Members are equal when their JSON is; 1 and 1.0 are. Without a list, what Automerge shows.

use super::edit::Edit;
use super::error::EditError;
use super::{json, pointer};
use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc, ValueRef};
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;
use std::collections::HashSet;
use syncd_schema::limits;
use syncd_schema::manifest::{FieldRule, Manifest};

/// The whole document as JSON, as people, policies and schemas see it.
#[must_use]
pub fn read_with(doc: &Automerge, manifest: &Manifest) -> Value {
    if !manifest.computes_values() {
        return json::read(doc);
    }
    Reader { doc, manifest, path: Vec::new() }.container(&ROOT, ObjType::Map, limits::JSON_DEPTH)
}

struct Reader<'d> {
    doc: &'d Automerge,
    manifest: &'d Manifest,
    path: Vec<String>,
}

impl Reader<'_> {
    fn container(&mut self, id: &ObjId, kind: ObjType, depth: usize) -> Value {
        let Some(below) = depth.checked_sub(1) else { return Value::Null };
        let doc = self.doc;
        match kind {
            ObjType::Text => Value::String(doc.text(id).unwrap_or_default()),
            ObjType::List => {
                let items = doc.list_range(id, ..).enumerate();
                let read = items.map(|(index, item)| {
                    let at = (id, Prop::Seq(index));
                    self.member(at, index.to_string(), &item.value, || item.id(), below)
                });
                Value::Array(read.collect())
            }
            ObjType::Map | ObjType::Table => {
                let mut members = Map::new();
                for item in doc.map_range(id, ..) {
                    let key = item.key.to_string();
                    let at = (id, Prop::Map(key.clone()));
                    let value = self.member(at, key.clone(), &item.value, || item.id(), below);
                    members.insert(key, value);
                }
                Value::Object(members)
            }
        }
    }

    fn member(
        &mut self,
        (container, prop): (&ObjId, Prop),
        step: String,
        shown: &ValueRef<'_>,
        id: impl Fn() -> ObjId,
        depth: usize,
    ) -> Value {
        self.path.push(step);
        let steps: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let rule = self.manifest.rule(&steps).filter(computes);
        let computed = rule.and_then(|rule| {
            let kept = self.doc.get_all(container, prop).unwrap_or_default();
            compute(
                rule,
                kept.iter().map(|(value, id)| json::entry_json(self.doc, value, id, depth)).collect(),
            )
        });
        let value = computed.unwrap_or_else(|| match shown {
            ValueRef::Object(kind) => self.container(&id(), *kind, depth),
            ValueRef::Scalar(_) => json::value_json(self.doc, shown, id, depth),
        });
        self.path.pop();
        value
    }
}

const fn computes(rule: &FieldRule) -> bool {
    matches!(rule, FieldRule::Max | FieldRule::Min | FieldRule::Union)
}

/// None when the rule says nothing of such values.
fn compute(rule: FieldRule, values: Vec<Value>) -> Option<Value> {
    if rule == FieldRule::Union {
        return union(values);
    }
    let of = |is: fn(&Value) -> bool| values.iter().filter(move |value| is(value));
    let best = |values: &mut dyn Iterator<Item = &Value>| match rule {
        FieldRule::Max => values.max_by(|a, b| order(a, b)).cloned(),
        _ => values.min_by(|a, b| order(a, b)).cloned(),
    };
    best(&mut of(Value::is_number)).or_else(|| best(&mut of(Value::is_string)))
}

fn union(values: Vec<Value>) -> Option<Value> {
    let lists: Vec<Vec<Value>> = values
        .into_iter()
        .filter_map(|value| match value {
            Value::Array(items) => Some(items),
            _ => None,
        })
        .collect();
    if lists.is_empty() {
        return None;
    }
    let mut seen = HashSet::new();
    Some(Value::Array(lists.into_iter().flatten().filter(|item| seen.insert(canonical(item))).collect()))
}

/// Numbers by size, strings by code points; equal ones of different form by their form, so that the choice is the same
/// everywhere.
fn order(a: &Value, b: &Value) -> Ordering {
    let by_size = match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    by_size.then_with(|| a.to_string().cmp(&b.to_string()))
}

fn numbers(a: &Number, b: &Number) -> Ordering {
    let whole = |n: &Number| n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
    }
}

/// A value's content as bytes: keys sorted, whole numbers in one form.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    fn write(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Array(items) => {
                out.push(b'[');
                for item in items {
                    write(item, out);
                    out.push(b',');
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (key, member) in super::node::sorted(members) {
                    out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                    out.push(b':');
                    write(member, out);
                    out.push(b',');
                }
                out.push(b'}');
            }
            Value::Number(number) => {
                // Below 2^53 every whole floating point number is the integer that it looks like.
                const EXACT: f64 = 9_007_199_254_740_992.0;
                match number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && n.abs() < EXACT) {
                    Some(whole) => out.extend_from_slice((whole as i64).to_string().as_bytes()),
                    None => out.extend_from_slice(number.to_string().as_bytes()),
                }
            }
            scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
        }
    }
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

/// Refuses an edit of single items of a list that is shown as the union of several: its places are not those of any.
pub(crate) fn check_edit(doc: &Automerge, edit: &Edit, manifest: &Manifest) -> Result<(), EditError> {
    if !manifest.fields.values().any(|rule| *rule == FieldRule::Union) {
        return Ok(());
    }
    let mut shown = None;
    for path in edit.paths() {
        let steps = pointer::parse(&path)?;
        for end in 1..steps.len() {
            let above = steps.get(..end).unwrap_or_default();
            let names: Vec<&str> = above.iter().map(String::as_str).collect();
            if manifest.rule(&names) != Some(FieldRule::Union) {
                continue;
            }
            let list = pointer::join(above);
            let shown = shown.get_or_insert_with(|| read_with(doc, manifest));
            if json::read_at(doc, &list)?.as_ref() != shown.pointer(&list) {
                return Err(EditError::Computed { path: pointer::excerpt(&list) });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    fn best(rule: FieldRule, values: Value) -> Option<Value> {
        compute(rule, values.as_array().unwrap().clone())
    }

    #[test]
    fn numbers_come_before_strings_and_strings_before_all_else() {
        use FieldRule::{Max, Min};
        for (rule, values, chosen) in [
            (Max, json!([1, 2.5, -3]), Some(json!(2.5))),
            (Min, json!([1, 2.5, -3]), Some(json!(-3))),
            (
                Max,
                json!([9_007_199_254_740_993_i64, 9_007_199_254_740_992_i64]),
                Some(json!(9_007_199_254_740_993_i64)),
            ),
            (Max, json!([u64::MAX, -1]), Some(json!(u64::MAX))),
            (Max, json!([2.0, 2]), Some(json!(2.0))),
            (Max, json!([2, 2.0]), Some(json!(2.0))),
            (Max, json!(["a", "B", "é"]), Some(json!("é"))),
            (Min, json!(["a", 7, null]), Some(json!(7))),
            (Min, json!([null, "b", true]), Some(json!("b"))),
            (Max, json!([null, true]), None),
        ] {
            assert_eq!(best(rule, values.clone()), chosen, "{rule:?} {values}");
        }
    }

    #[test]
    fn a_union_holds_each_member_once() {
        let union = |values: Value| best(FieldRule::Union, values);
        assert_eq!(
            union(json!([["a", {"x": 1, "y": 2}], 7, ["b", {"y": 2.0, "x": 1}, "a"]])),
            Some(json!(["a", {"x": 1, "y": 2}, "b"]))
        );
        assert_eq!(union(json!([7, null])), None);
    }
}
