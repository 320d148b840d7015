//! What a manifest that is set here may not say: members and schema keywords that nobody knows.
//!
//! A manifest that came from another device, or was set before, is read as `docs/format.md` says, with members of newer
//! versions in it. Whoever writes one now means every word, so a word without effect is a mistake that would be found late.

use super::{Manifest, ManifestError};
use serde_json::Value;

/// Every member that a manifest has.
const MEMBERS: [&str; 14] = [
    "collection",
    "schemaVersion",
    "mergeStrategy",
    "policyClass",
    "encryptionScope",
    "onConflict",
    "schema",
    "fields",
    "unique",
    "references",
    "invariants",
    "dangerousFields",
    "authority",
    "cards",
];

/// Keywords of JSON Schema 2020-12 that hold one schema.
const ONE: [&str; 13] = [
    "items",
    "contains",
    "additionalProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "additionalItems",
    "$recursiveRef",
];

/// Those that hold a list of schemas.
const SEVERAL: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// Those that hold schemas by name.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// The other ones.
const OTHERS: [&str; 39] = [
    "$schema",
    "$id",
    "$ref",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "$comment",
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxContains",
    "minContains",
    "maxProperties",
    "minProperties",
    "required",
    "dependentRequired",
    "title",
    "description",
    "default",
    "deprecated",
    "readOnly",
    "writeOnly",
    "examples",
    "format",
    "contentEncoding",
    "contentMediaType",
    "$recursiveAnchor",
];

impl Manifest {
    /// Reads a manifest that is to be set: as [`Manifest::from_json`], and every word in it must be known. A keyword of a
    /// schema may be anybody's own if it begins with `x-`.
    ///
    /// # Errors
    /// As there, and for the first member or keyword that is not known, with the known one that is most like it.
    pub fn to_be_set(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest = Self::from_json(bytes)?;
        if let Some(member) = manifest.other.keys().next() {
            return Err(unknown("the manifest", member, &MEMBERS));
        }
        if let Some(schema) = &manifest.schema {
            keywords("/schema", schema)?;
        }
        for invariant in &manifest.invariants {
            if let Some(schema) = &invariant.schema {
                keywords(&format!("invariant {:?}, schema", invariant.name), schema)?;
            }
        }
        Ok(manifest)
    }
}

fn unknown(place: &str, word: &str, known: &[&str]) -> ManifestError {
    let word: String = word.chars().take(80).collect();
    ManifestError::Unknown { place: place.to_owned(), nearest: nearest(&word, known.iter().copied()), word }
}

/// Looks at a schema and those inside of it. JSON that was parsed nests no deeper than its parser recursed.
fn keywords(at: &str, schema: &Value) -> Result<(), ManifestError> {
    let Some(members) = schema.as_object() else { return Ok(()) };
    for (word, inner) in members {
        let word = word.as_str();
        let place = || format!("{at}/{word}");
        if ONE.contains(&word) {
            keywords(&place(), inner)?;
        } else if SEVERAL.contains(&word) {
            for (index, one) in inner.as_array().into_iter().flatten().enumerate() {
                keywords(&format!("{}/{index}", place()), one)?;
            }
        } else if NAMED.contains(&word) {
            for (name, one) in inner.as_object().into_iter().flatten() {
                keywords(&format!("{}/{name}", place()), one)?;
            }
        } else if !OTHERS.contains(&word) && !word.starts_with("x-") {
            let all = [&ONE[..], &SEVERAL, &NAMED, &OTHERS].concat();
            return Err(unknown(at, word, &all));
        }
    }
    Ok(())
}

/// The known word that is most like one, if any is like it: it holds it, or differs in few letters.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    /// How like words must be, between 0 and 1.
    const ALIKE: f64 = 0.6;
    let word = word.to_lowercase();
    let alike = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let holds = word.len() >= 3 && (candidate.contains(&word) || word.contains(&candidate));
        let likeness = strsim::normalized_damerau_levenshtein(&word, &candidate);
        if holds { likeness.max(ALIKE) } else { likeness }
    };
    let best = known.map(|candidate| (alike(candidate), candidate));
    let best = best.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn says(manifest: &Value) -> String {
        Manifest::to_be_set(manifest.to_string().as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn a_word_that_nobody_knows_is_named_with_the_one_that_is_meant() {
        for (member, place, meant) in [
            (json!({"class": "high"}), "the manifest", "policyClass"),
            (json!({"invariant": []}), "the manifest", "invariants"),
            (json!({"policyclass": "high"}), "the manifest", "policyClass"),
            (json!({"schema": {"requierd": ["a"]}}), "/schema", "required"),
            (
                json!({"schema": {"properties": {"a": {"items": {"typ": 1}}}}}),
                "/schema/properties/a/items",
                "type",
            ),
            (json!({"schema": {"allOf": [{}, {"minimun": 1}]}}), "/schema/allOf/1", "minimum"),
            (
                json!({"invariants": [{"name": "i", "schema": {"propertys": {}}}]}),
                "invariant \"i\", schema",
                "properties",
            ),
        ] {
            let mut manifest = json!({"collection": "docs"});
            manifest.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            let said = says(&manifest);
            assert!(said.contains(place) && said.contains(&format!("did you mean {meant:?}")), "{said}");
        }
        let said = says(&json!({"collection": "docs", "zzzz": 1}));
        assert!(said.contains("\"zzzz\"") && !said.contains("did you"), "{said}");
    }

    #[test]
    fn every_member_and_keyword_there_is_may_be_said() {
        let keywords = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "x-ours": {"any": 1},
            "properties": {"requierd": {"type": "string", "examples": [{"anything": 1}]}},
            "default": {"class": 1}, "enum": [{"class": 1}], "$defs": {"one": true},
        });
        let text =
            json!({"collection": "docs", "schema": keywords, "invariants": [{"name": "i", "schema": {}}]});
        Manifest::to_be_set(text.to_string().as_bytes()).unwrap();
        // Each member, as it is written.
        let all = Manifest {
            on_conflict: Some(super::super::OnConflict::Hold),
            schema: Some(json!({})),
            fields: [("/a".to_owned(), super::super::FieldRule::Max)].into(),
            unique: vec![vec!["/a".into()]],
            references: vec![super::super::Reference {
                path: "/a".into(),
                collection: "docs".parse().unwrap(),
            }],
            invariants: vec![super::super::Invariant {
                name: "i".into(),
                schema: Some(json!({})),
                cedar: None,
            }],
            dangerous_fields: vec!["/a".into()],
            authority: Some(vec![crate::Role::Owner]),
            cards: Some(super::super::CardRules { expire_after_hours: 1 }),
            ..Manifest::free_form("docs".parse().unwrap())
        };
        let written = serde_json::to_value(&all).unwrap();
        // Whether objects keep their order is up to what else is built.
        let mut written: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
        written.sort_unstable();
        let mut members = MEMBERS;
        members.sort_unstable();
        assert_eq!(written, members);
    }
}
