//! Bounds on a JSON Schema, found before any value meets it.
//!
//! A schema comes from another device and is judged on this one at every write. Schemas that refer to each other can ask
//! for more steps than there are atoms: two references to itself below one key ask for 2^64 at 64 levels of nesting.
//! So what a schema costs along one line of nested values is counted here, from the schema alone, level by level: that
//! says how deep a value may nest to be judged by it. Work on a value is then bounded for each of its members.

use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use syncd_schema::limits;

/// A schema that cannot judge values of this many levels is of no use.
const LEVELS: usize = 4;

/// The one dialect there is.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// What is wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(pub(super) String);

fn unfit<T>(words: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit(words.into()))
}

/// Checks that a schema refers to nothing outside of itself. Returns how many levels a value may nest for the schema to
/// cost no more than it may.
pub(super) fn check(schema: &Value) -> Result<usize, Unfit> {
    let mut patterns = 0;
    stays_inside(schema, true, &mut patterns)?;
    if patterns > limits::SCHEMA_PATTERNS {
        return unfit(format!("{patterns} patterns, the limit is {}", limits::SCHEMA_PATTERNS));
    }
    let mut walk = Walk { root: schema, known: HashMap::new(), open: HashSet::new(), parts: HashSet::new() };
    for depth in 0..=limits::JSON_DEPTH {
        match walk.cost(schema, depth, 1) {
            Ok(_) => {}
            Err(Stop::Unfit(why)) => return Err(why),
            Err(Stop::TooMuch(_)) if depth > LEVELS => return Ok(depth - 1),
            Err(Stop::TooMuch(what)) => {
                return unfit(format!(
                    "a value of {depth} levels could take more than {what}; let fewer references meet at one place"
                ));
            }
        }
    }
    Ok(limits::JSON_DEPTH)
}

/// How deep a value nests, looking at most as far as `levels`.
pub(super) fn is_within(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| levels.checked_sub(1).is_some_and(|levels| is_within(value, levels));
    match value {
        Value::Array(items) => items.iter().all(below),
        Value::Object(members) => members.values().all(below),
        _ => true,
    }
}

/// Looks at everything, reachable or not: what changes the meaning of a reference need not be in its way.
fn stays_inside(value: &Value, is_root: bool, patterns: &mut usize) -> Result<(), Unfit> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| stays_inside(item, false, patterns)),
        Value::Object(members) => {
            for (key, member) in members {
                match (key.as_str(), member) {
                    ("$schema", Value::String(text)) if !is_root || text.trim_end_matches('#') != DIALECT => {
                        return unfit("`$schema` may only stand at the top and say 2020-12");
                    }
                    ("$id", Value::String(_)) if !is_root => return unfit("`$id` may only stand at the top"),
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                        return unfit(format!("`{key}` is not followed here; use `$ref`"));
                    }
                    ("$ref", Value::String(target)) => is_local(target)?,
                    ("pattern", Value::String(_)) => *patterns += 1,
                    ("patternProperties", Value::Object(some)) => *patterns += some.len(),
                    _ => {}
                }
                stays_inside(member, false, patterns)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn is_local(target: &str) -> Result<(), Unfit> {
    if (target == "#" || target.starts_with("#/")) && !target.contains('%') {
        return Ok(());
    }
    let excerpt: String = target.chars().take(80).collect();
    unfit(format!(
        "`$ref` to {excerpt:?}: only `#` and `#/…` are followed, nothing is fetched; put it into `$defs`"
    ))
}

/// Why a walk ends.
enum Stop {
    /// The schema is none that is let in.
    Unfit(Unfit),
    /// It costs more than this at this depth.
    TooMuch(String),
}

fn too_high<T>() -> Result<T, Stop> {
    Err(Stop::TooMuch(format!("{} schemas inside of each other", limits::SCHEMA_DEPTH)))
}

/// What applying a schema to a value costs, at most: subschemas applied along one line of nested values.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// To the value itself.
    own: u64,
    /// To one of its members and what is in it, if it is an object.
    member: u64,
    /// To one of its items and what is in it, if it is a list.
    item: u64,
    /// Subschemas applied inside of each other.
    height: u64,
    /// The same, as far as they are applied to the value itself.
    own_height: u64,
}

impl Cost {
    const fn total(&self) -> u64 {
        let inside = if self.member > self.item { self.member } else { self.item };
        self.own.saturating_add(inside)
    }

    fn add(&mut self, other: Self) {
        self.own = self.own.saturating_add(other.own);
        self.member = self.member.saturating_add(other.member);
        self.item = self.item.saturating_add(other.item);
        self.height = self.height.max(other.height);
        self.own_height = self.own_height.max(other.own_height);
    }

    fn times(mut self, factor: u64) -> Self {
        self.own = self.own.saturating_mul(factor);
        self.member = self.member.saturating_mul(factor);
        self.item = self.item.saturating_mul(factor);
        self
    }
}

/// A subschema, by where it is in memory: the schema is not touched while it is walked.
type Part = *const Value;

struct Walk<'s> {
    root: &'s Value,
    /// By part and levels of value below it.
    known: HashMap<(Part, usize), Cost>,
    open: HashSet<(Part, usize)>,
    parts: HashSet<Part>,
}

impl<'s> Walk<'s> {
    fn cost(&mut self, schema: &'s Value, depth: usize, level: u64) -> Result<Cost, Stop> {
        let at = (std::ptr::from_ref(schema), depth);
        if let Some(cost) = self.known.get(&at) {
            return Ok(*cost);
        }
        let Value::Object(members) = schema else {
            return Ok(Cost { own: 1, height: 1, own_height: 1, ..Cost::default() });
        };
        if level > limits::SCHEMA_DEPTH {
            return too_high();
        }
        self.parts.insert(at.0);
        if self.parts.len() > limits::SCHEMA_PARTS {
            return stop(format!("more than {} subschemas", limits::SCHEMA_PARTS));
        }
        if !self.open.insert(at) {
            return stop("a schema refers to itself for the same value, which never ends");
        }
        let mut cost = self.here(members, depth, level + 1)?;
        // What is left over is found by asking the others again, and for each of them those inside of it.
        let again =
            ["unevaluatedProperties", "unevaluatedItems"].iter().any(|key| members.contains_key(*key));
        if again {
            cost = cost.times(cost.own_height + 2);
        }
        if let Some(depth) = depth.checked_sub(1) {
            cost.add(self.inside(members, depth, level + 1)?);
        }
        cost.own = cost.own.saturating_add(1);
        cost.height += 1;
        cost.own_height += 1;
        if cost.height > limits::SCHEMA_DEPTH {
            return too_high();
        }
        if cost.total() > limits::SCHEMA_STEPS {
            return Err(Stop::TooMuch(format!("{} steps", limits::SCHEMA_STEPS)));
        }
        self.open.remove(&at);
        self.known.insert(at, cost);
        Ok(cost)
    }

    /// What is applied to the same value.
    fn here(&mut self, members: &'s Map<String, Value>, depth: usize, level: u64) -> Result<Cost, Stop> {
        let mut sum = Cost::default();
        for key in ["allOf", "anyOf", "oneOf"] {
            for schema in members.get(key).and_then(Value::as_array).into_iter().flatten() {
                sum.add(self.cost(schema, depth, level)?);
            }
        }
        for schema in ["not", "if", "then", "else"].iter().filter_map(|key| members.get(*key)) {
            sum.add(self.cost(schema, depth, level)?);
        }
        for key in ["dependentSchemas", "dependencies"] {
            for schema in members.get(key).and_then(Value::as_object).into_iter().flat_map(Map::values) {
                sum.add(self.cost(schema, depth, level)?);
            }
        }
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            let pointer = target.strip_prefix('#').unwrap_or_default();
            let Some(schema) = self.root.pointer(pointer) else {
                return stop(format!("`$ref` to {target:?}, where nothing is"));
            };
            sum.add(self.cost(schema, depth, level)?);
        }
        Ok(sum)
    }

    /// What is applied to one member or item of the value: of the schemas for several names or places only one is.
    fn inside(&mut self, members: &'s Map<String, Value>, depth: usize, level: u64) -> Result<Cost, Stop> {
        let (mut sum, mut member, mut item) = (Cost::default(), 0, 0);
        let below = |walk: &mut Self, sum: &mut Cost, schema| -> Result<u64, Stop> {
            let cost = walk.cost(schema, depth, level)?;
            sum.height = sum.height.max(cost.height);
            Ok(cost.total())
        };
        for schema in members.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values) {
            member = below(self, &mut sum, schema)?.max(member);
        }
        for schema in members.get("prefixItems").and_then(Value::as_array).into_iter().flatten() {
            item = below(self, &mut sum, schema)?.max(item);
        }
        let patterns = members.get("patternProperties").and_then(Value::as_object);
        // What is left over is asked once when it is judged and once for whoever asks what is left over of that.
        let others =
            ["additionalProperties", "unevaluatedProperties", "unevaluatedProperties", "propertyNames"];
        let others = others.iter().filter_map(|key| members.get(*key));
        for schema in patterns.into_iter().flat_map(Map::values).chain(others) {
            member = below(self, &mut sum, schema)?.saturating_add(member);
        }
        let again = ["unevaluatedItems", "unevaluatedItems", "contains"];
        let again = again.iter().filter(|_| members.contains_key("unevaluatedItems"));
        for schema in ["items", "contains"].iter().chain(again).filter_map(|key| members.get(*key)) {
            item = below(self, &mut sum, schema)?.saturating_add(item);
        }
        Ok(Cost { member, item, ..sum })
    }
}

fn stop<T>(words: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Unfit(Unfit(words.into())))
}
