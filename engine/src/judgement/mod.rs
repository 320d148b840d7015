//! What a collection's manifest asks of merged values, and what in one does not fit.
//!
//! A [`Judge`] is a manifest's schema and invariants, compiled. It is a pure function of manifest and value: devices that
//! hold the same entries find the same violations, in the same words and order. Local writes that would violate are
//! refused; what others wrote never is, since all that was built on it would be lost with it: there a violation asks
//! somebody. `links` finds what a value refers to and what it must not share with another.
//!
//! The schema's dialect is JSON Schema 2020-12 with `$ref` inside the document only. `format` and `content…` are
//! annotations, as the standard has them by default. Patterns are matched in linear time, so there are no look-arounds
//! and no back-references.

mod links;
mod shape;

pub use links::{Target, UniqueKey, holds_dangerous, references, unique_keys};

use jsonschema::{Draft, PatternOptions, Validator};
use lru::LruCache;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use syncd_policy::{Condition, Facts};
use syncd_schema::manifest::Manifest;
use syncd_schema::{Collection, limits};

/// Compiled manifests kept: a device works on few collections at a time.
const JUDGES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// Violations sorted before the first are told: far more than are told, so that order hardly depends on the validator.
const SORTED: usize = 1_024;

/// What was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The collection's schema.
    Schema,
    /// One of its invariants.
    Invariant,
}

/// One thing about a value that its manifest does not allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Violation {
    /// What was violated.
    pub rule: Rule,
    /// The invariant's name; empty for the schema.
    pub name: String,
    /// Where in the value, a JSON Pointer; empty for the value as a whole.
    pub path: String,
    /// What is wrong there.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::Schema => f.write_str("schema")?,
            Rule::Invariant => write!(f, "invariant {:?}", self.name)?,
        }
        let path = if self.path.is_empty() { "the value" } else { &self.path };
        write!(f, ", at {path}: {}", self.text)
    }
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JudgeError {
    /// A schema that is not one, or that asks for too much.
    #[error("{of}: {why}")]
    Schema {
        /// Which one.
        of: String,
        /// What is wrong with it.
        why: String,
    },
    /// An expression that is not one.
    #[error("invariant {name:?}: {why}")]
    Cedar {
        /// Of which invariant.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A compiled schema.
#[derive(Debug)]
struct Schema {
    validator: Validator,
    /// How deep a value may nest for the schema to cost no more than it may.
    levels: usize,
}

/// What one manifest asks of values.
#[derive(Debug)]
pub struct Judge {
    schema: Option<Schema>,
    schemas: Vec<(String, Schema)>,
    conditions: Vec<(String, Condition)>,
}

impl Judge {
    /// Compiles what a manifest asks for.
    ///
    /// # Errors
    /// When a schema or an expression cannot be compiled, or could take too long.
    pub fn new(manifest: &Manifest) -> Result<Self, JudgeError> {
        let schema = manifest.schema.as_ref().map(|schema| compile("schema", schema)).transpose()?;
        let mut judge = Self { schema, schemas: Vec::new(), conditions: Vec::new() };
        for invariant in &manifest.invariants {
            let name = invariant.name.clone();
            if let Some(schema) = &invariant.schema {
                let validator = compile(&format!("invariant {name:?}"), schema)?;
                judge.schemas.push((name.clone(), validator));
            }
            if let Some(text) = &invariant.cedar {
                let condition = Condition::parse(text)
                    .map_err(|error| JudgeError::Cedar { name: name.clone(), why: error.to_string() })?;
                judge.conditions.push((name, condition));
            }
        }
        Ok(judge)
    }

    /// What in a value does not fit: sorted, and at most [`limits::VIOLATIONS`].
    #[must_use]
    pub fn violations(&self, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Some(schema) = &self.schema {
            collect(schema, Rule::Schema, "", value, &mut found);
        }
        for (name, schema) in &self.schemas {
            collect(schema, Rule::Invariant, name, value, &mut found);
        }
        if !self.conditions.is_empty() {
            let facts = Facts::of(value);
            for (name, condition) in &self.conditions {
                let judged = facts.as_ref().map_err(String::clone).and_then(|facts| condition.judge(facts));
                if let Err(why) = judged {
                    found.push(violation(Rule::Invariant, name, "", &why));
                }
            }
        }
        found.sort_unstable();
        found.truncate(limits::VIOLATIONS);
        found
    }
}

fn compile(of: &str, schema: &Value) -> Result<Schema, JudgeError> {
    let refused = |why: String| JudgeError::Schema { of: of.to_owned(), why };
    let levels = shape::check(schema).map_err(|unfit| refused(unfit.to_string()))?;
    let patterns = PatternOptions::regex()
        .size_limit(limits::PATTERN_BYTES)
        // What matching may keep; it falls back to a slower way beyond.
        .dfa_size_limit(limits::PATTERN_BYTES);
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .should_validate_formats(false)
        .build(schema)
        .map_err(|error| refused(cut(&error.to_string())))?;
    Ok(Schema { validator, levels })
}

fn collect(schema: &Schema, rule: Rule, name: &str, value: &Value, found: &mut Vec<Violation>) {
    if !shape::is_within(value, schema.levels) {
        let text = format!("nests deeper than {} levels, as far as this schema can be asked", schema.levels);
        found.push(violation(rule, name, "", &text));
        return;
    }
    if schema.validator.is_valid(value) {
        return;
    }
    let errors = schema.validator.iter_errors(value).take(SORTED);
    found.extend(errors.map(|error| {
        let path = error.instance_path().to_string();
        violation(rule, name, &path, &error.to_string())
    }));
}

fn violation(rule: Rule, name: &str, path: &str, text: &str) -> Violation {
    Violation { rule, name: name.to_owned(), path: cut(path), text: cut(text) }
}

/// A text may quote a whole value.
fn cut(text: &str) -> String {
    if text.len() <= limits::VIOLATION_BYTES {
        return text.to_owned();
    }
    let end = (0..=limits::VIOLATION_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// Judges in use, compiled once for each manifest.
#[derive(Debug)]
pub struct Judges {
    kept: LruCache<Collection, (Manifest, Result<Arc<Judge>, JudgeError>)>,
}

impl Default for Judges {
    fn default() -> Self {
        Self { kept: LruCache::new(JUDGES) }
    }
}

impl Judges {
    /// What in a value does not fit its collection's manifest. A manifest that cannot be compiled fits nothing; it is
    /// refused before it is in force, so that happens only after a change of program.
    pub fn violations(&mut self, manifest: &Manifest, value: &Value) -> Vec<Violation> {
        if !manifest.judges_values() {
            return Vec::new();
        }
        match self.get(manifest) {
            Ok(judge) => judge.violations(value),
            Err(error) => vec![violation(Rule::Schema, "", "", &error.to_string())],
        }
    }

    fn get(&mut self, manifest: &Manifest) -> Result<Arc<Judge>, JudgeError> {
        if let Some((known, judge)) = self.kept.get(&manifest.collection)
            && known == manifest
        {
            return judge.clone();
        }
        let judge = Judge::new(manifest).map(Arc::new);
        self.kept.put(manifest.collection.clone(), (manifest.clone(), judge.clone()));
        judge
    }
}
