//! What the policies of one evaluation can tell apart: which attributes they read, which numbers, paths and ids
//! they compare with.
//!
//! Found by walking each policy's JSON form. Whatever a policy does that is not understood here counts as reading
//! the exact value, so a mistake costs cache hits and never a wrong answer.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is seen of an attribute with too many values to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View<T> {
    /// Compared with these constants and nothing else; with none, it is not read at all.
    Constants(BTreeSet<T>),
    /// Used in another way.
    Exact,
}

impl<T: Ord> View<T> {
    fn add(&mut self, constants: impl IntoIterator<Item = T>) {
        if let Self::Constants(known) = self {
            known.extend(constants);
        }
    }

    /// Whether policies cannot tell any two values apart.
    pub(crate) fn is_blind(&self) -> bool {
        matches!(self, Self::Constants(known) if known.is_empty())
    }
}

impl<T> Default for View<T> {
    fn default() -> Self {
        Self::Constants(BTreeSet::new())
    }
}

/// What a set of policies sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Context attributes read, by name, apart from `size`, `changed` and `fields`.
    pub(crate) attributes: BTreeSet<String>,
    pub(crate) size: View<i64>,
    pub(crate) changed: View<String>,
    pub(crate) fields: View<String>,
    /// Ids named by the policies, by entity type. Two ids that no policy names cannot be told apart: equality
    /// with a literal is all that strict validation lets a policy ask of an entity without attributes.
    pub(crate) ids: BTreeMap<String, BTreeSet<String>>,
}

impl Seen {
    /// Adds what one policy sees, given its JSON form.
    pub(crate) fn read(&mut self, policy: &Value) {
        match policy {
            Value::Array(items) => items.iter().for_each(|item| self.read(item)),
            Value::Object(fields) => {
                if let (Some(Value::String(kind)), Some(Value::String(id))) =
                    (fields.get("type"), fields.get("id"))
                {
                    self.ids.entry(kind.clone()).or_default().insert(id.clone());
                }
                for (operator, body) in fields {
                    self.operation(operator, body);
                }
            }
            _ => {}
        }
    }

    fn operation(&mut self, operator: &str, body: &Value) {
        let sides = || Some((body.get("left")?, body.get("right")?));
        let understood = match operator {
            "." | "has" => self.attribute(body),
            "<" | "<=" | ">" | ">=" | "==" | "!=" => {
                sides().is_some_and(|(left, right)| self.comparison(left, right))
            }
            "contains" | "containsAny" | "containsAll" => {
                sides().is_some_and(|(left, right)| self.membership(left, right))
            }
            "Var" if body.as_str() == Some("context") => {
                self.everything();
                true
            }
            _ => false,
        };
        if !understood {
            self.read(body);
        }
    }

    fn attribute(&mut self, body: &Value) -> bool {
        let Some(name) = attribute_of_context(body) else { return false };
        match name {
            "size" => self.size = View::Exact,
            "changed" => self.changed = View::Exact,
            "fields" => self.fields = View::Exact,
            name => drop(self.attributes.insert(name.to_owned())),
        }
        true
    }

    fn comparison(&mut self, left: &Value, right: &Value) -> bool {
        let constant = |a, b| (is_context(a, "size")).then(|| integer(b)).flatten();
        let Some(constant) = constant(left, right).or_else(|| constant(right, left)) else { return false };
        self.size.add([constant]);
        true
    }

    fn membership(&mut self, set: &Value, asked: &Value) -> bool {
        let Some(constants) = strings(asked) else { return false };
        if is_context(set, "changed") {
            self.changed.add(constants);
        } else if is_context(set, "fields") {
            self.fields.add(constants);
        } else {
            return false;
        }
        true
    }

    /// The context is used as a whole.
    fn everything(&mut self) {
        self.attributes.extend(crate::normal::ATTRIBUTES.map(str::to_owned));
        self.size = View::Exact;
        self.changed = View::Exact;
        self.fields = View::Exact;
    }
}

/// The name, when the body of a `.` or `has` is about `context`.
fn attribute_of_context(body: &Value) -> Option<&str> {
    (body.get("left")?.get("Var")?.as_str()? == "context").then(|| body.get("attr")?.as_str())?
}

fn is_context(expression: &Value, name: &str) -> bool {
    expression.get(".").and_then(attribute_of_context) == Some(name)
}

fn integer(expression: &Value) -> Option<i64> {
    expression.get("Value")?.as_i64()
}

/// A string literal, or a set of nothing but string literals.
fn strings(expression: &Value) -> Option<Vec<String>> {
    match (expression.get("Value"), expression.get("Set")) {
        (Some(Value::String(text)), _) => Some(vec![text.clone()]),
        (Some(Value::Array(items)), _) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        (_, Some(Value::Array(items))) => {
            items.iter().map(|item| item.get("Value")?.as_str().map(str::to_owned)).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(condition: &str) -> Seen {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy: cedar_policy::Policy = text.parse().expect("a policy");
        let mut seen = Seen::default();
        seen.read(&policy.to_json().expect("json"));
        seen
    }

    #[test]
    fn comparisons_with_constants_are_buckets() {
        let seen = seen("context.size > 10 || 20 <= context.size || context.size != 30");
        assert_eq!(seen.size, View::Constants(BTreeSet::from([10, 20, 30])));
        assert!(seen.attributes.is_empty() && seen.changed.is_blind());
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(seen("context.size + 1 > 10").size, View::Exact);
        assert_eq!(seen("context.size > 10 && [1, 2].contains(context.size)").size, View::Exact);
        assert_eq!(seen("context.size > -10 - 1").size, View::Exact);
    }

    #[test]
    fn paths_asked_for_are_constants() {
        let asked = seen(r#"context.changed.contains("/a") || context.changed.containsAny(["/b", "/c"])"#);
        assert_eq!(asked.changed, View::Constants(["/a", "/b", "/c"].map(str::to_owned).into()));
        assert_eq!(seen("context.changed.isEmpty()").changed, View::Exact);
        assert_eq!(seen(r#"["/a"].containsAll(context.fields)"#).fields, View::Exact);
    }

    #[test]
    fn ids_and_attributes_are_listed() {
        let seen = seen(
            r#"principal == User::"ada" && context.role in [Role::"owner"] && context["base"] == Base::"named""#,
        );
        assert_eq!(seen.ids["User"], BTreeSet::from(["ada".to_owned()]));
        assert_eq!(seen.attributes, BTreeSet::from(["base".to_owned(), "role".to_owned()]));
    }

    #[test]
    fn the_whole_context_is_everything() {
        assert_eq!(seen("context == context").size, View::Exact);
    }
}
