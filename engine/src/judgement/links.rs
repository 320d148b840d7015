//! What a value refers to, and what it must not share with another object: pure functions of value and manifest, so that
//! an index of either can be built anywhere and says the same everywhere.

use crate::document::computed::canonical;
use serde_json::Value;
use syncd_schema::manifest::Manifest;
use syncd_schema::{Collection, Digest, ObjectId, domain, limits};

/// One reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where it stands, a JSON Pointer without `*`.
    pub path: String,
    /// The collection of the object.
    pub collection: Collection,
    /// The object.
    pub object: ObjectId,
}

/// The values of a value at one unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UniqueKey {
    /// Which of the manifest's keys.
    pub key: usize,
    /// Collection, pointers and values, hashed: equal for two objects exactly when these are. 1 and 1.0 are equal.
    pub digest: Digest,
}

/// What a value refers to, in the order of the manifest. What is no string, or no object's id, refers to nothing: that is
/// the schema's business. `*` stands for each member or item, [`limits::POINTED_VALUES`] of them at most.
#[must_use]
pub fn references(value: &Value, manifest: &Manifest) -> Vec<Target> {
    let mut targets = Vec::new();
    for reference in &manifest.references {
        for (path, found) in pointed(value, &reference.path) {
            let object = found.as_str().and_then(|text| text.parse().ok());
            targets.extend(object.map(|object| {
                let collection = reference.collection.clone();
                Target { path, collection, object }
            }));
        }
    }
    targets
}

/// The unique keys of a value, sorted. A key of which some part is absent or null is none, as in a database. Where a
/// pointer with `*` names several values, each with each of the other pointers' is one.
#[must_use]
pub fn unique_keys(value: &Value, manifest: &Manifest) -> Vec<UniqueKey> {
    let mut keys = Vec::new();
    for (key, pointers) in manifest.unique.iter().enumerate() {
        let mut prefix = vec![manifest.collection.as_str().as_bytes().to_vec()];
        prefix.extend(pointers.iter().map(|pointer| pointer.as_bytes().to_vec()));
        let mut rows = vec![prefix];
        for pointer in pointers {
            let values: Vec<Vec<u8>> = pointed(value, pointer)
                .into_iter()
                .filter(|(_, found)| !found.is_null())
                .map(|(_, found)| canonical(found))
                .collect();
            let joined = rows.iter().flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.push(value.clone());
                    row
                })
            });
            rows = joined.take(limits::POINTED_VALUES).collect();
        }
        keys.extend(rows.iter().map(|row| {
            let parts: Vec<&[u8]> = row.iter().map(Vec::as_slice).collect();
            UniqueKey { key, digest: domain::hash("unique", &parts) }
        }));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Whether a value holds something that its manifest calls dangerous.
#[must_use]
pub fn holds_dangerous(value: &Value, manifest: &Manifest) -> bool {
    manifest.dangerous_fields.iter().any(|field| !pointed(value, field).is_empty())
}

/// The places of a value that a pointer names, each with its own pointer.
fn pointed<'v>(value: &'v Value, pointer: &str) -> Vec<(String, &'v Value)> {
    let mut places = vec![(String::new(), value)];
    for step in pointer.split('/').skip(1) {
        let mut next: Vec<(String, &Value)> = Vec::new();
        for (path, value) in places {
            let room = limits::POINTED_VALUES.saturating_sub(next.len());
            match value {
                Value::Object(members) if step == "*" => {
                    let below = members.iter().map(|(key, member)| {
                        (format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), member)
                    });
                    next.extend(below.take(room));
                }
                Value::Array(items) if step == "*" => {
                    let below =
                        items.iter().enumerate().map(|(index, item)| (format!("{path}/{index}"), item));
                    next.extend(below.take(room));
                }
                _ if room > 0 => {
                    let found = value.pointer(&format!("/{step}"));
                    next.extend(found.map(|found| (format!("{path}/{step}"), found)));
                }
                _ => {}
            }
        }
        places = next;
    }
    places
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(members: &Value) -> Manifest {
        let mut manifest = json!({"collection": "docs"});
        manifest.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Manifest::from_json(manifest.to_string().as_bytes()).expect("a manifest")
    }

    #[test]
    fn references_are_found_wherever_the_pointer_goes() {
        let manifest = manifest(&json!({"references": [
            {"path": "/parent", "collection": "docs"},
            {"path": "/by/*/id", "collection": "people"},
            {"path": "/l/*", "collection": "docs"},
        ]}));
        let value =
            json!({"parent": "n1", "by": {"a/b": {"id": "p1"}, "c": {"id": 7}}, "l": ["n2", null, "no id"]});
        let found: Vec<(String, String, String)> = references(&value, &manifest)
            .into_iter()
            .map(|target| (target.path, target.collection.to_string(), target.object.to_string()))
            .collect();
        let said = |path: &str, collection: &str, object: &str| {
            (path.to_owned(), collection.to_owned(), object.to_owned())
        };
        assert_eq!(
            found[..3],
            [said("/parent", "docs", "n1"), said("/by/a~1b/id", "people", "p1"), said("/l/0", "docs", "n2"),]
        );
        assert!(references(&json!({}), &manifest).is_empty());
    }

    #[test]
    fn a_unique_key_is_all_its_values_together() {
        let manifest = manifest(&json!({"unique": [["/path"], ["/a", "/b/*"]]}));
        let keys = |value: Value| unique_keys(&value, &manifest);
        let of = |value: Value, key: usize| {
            keys(value)
                .into_iter()
                .filter(|found| found.key == key)
                .map(|found| found.digest)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(json!({"path": "x"}), 0), of(json!({"path": "x", "more": 1}), 0));
        assert_ne!(of(json!({"path": "x"}), 0), of(json!({"path": "y"}), 0));
        assert_eq!(of(json!({"path": {"a": 1, "b": 2.0}}), 0), of(json!({"path": {"b": 2, "a": 1.0}}), 0));
        assert_ne!(of(json!({"path": 1}), 0), of(json!({"path": "1"}), 0));
        assert!(keys(json!({"path": null, "a": 1})).is_empty());
        assert_eq!(of(json!({"a": 1, "b": [1, 2, 1]}), 1).len(), 2);
        let (one, other) = (of(json!({"a": 1, "b": [2, 3]}), 1), of(json!({"a": 1, "b": {"x": 3}}), 1));
        assert!(one.contains(&other[0]));
    }

    #[test]
    fn more_places_than_the_limit_are_not_looked_at() {
        let manifest = manifest(&json!({
            "references": [{"path": "/a/*/*/*", "collection": "docs"}], "unique": [["/a/*", "/a/*"]],
        }));
        let many: Vec<Vec<Vec<String>>> = vec![vec![vec!["n1".to_owned(); 10]; 50]; 50];
        assert_eq!(references(&json!({"a": many}), &manifest).len(), limits::POINTED_VALUES);
        let many: Vec<usize> = (0..10_000).collect();
        assert_eq!(unique_keys(&json!({"a": many}), &manifest).len(), limits::POINTED_VALUES);
    }
}
