//! What must hold of a manifest before anybody goes by it: bounds, and forms that can mean something.

use super::{Invariant, Manifest, ManifestError};
use crate::governance::Role;
use crate::limits;
use std::collections::BTreeSet;

impl Manifest {
    /// Checks what the JSON form alone does not say. Whether its schemas and expressions compile is asked where they are
    /// used.
    ///
    /// # Errors
    /// When there is too much of something, or a member cannot mean anything.
    pub fn check(&self) -> Result<(), ManifestError> {
        few("field rules", self.fields.len(), limits::MANIFEST_FIELDS)?;
        few("unique keys", self.unique.len(), limits::MANIFEST_KEYS)?;
        few("references", self.references.len(), limits::MANIFEST_REFERENCES)?;
        few("invariants", self.invariants.len(), limits::MANIFEST_INVARIANTS)?;
        few("dangerous fields", self.dangerous_fields.len(), limits::MANIFEST_DANGEROUS)?;
        if self.schema_version.len() > limits::NAME_BYTES {
            return invalid("schemaVersion", "has at most 64 bytes");
        }
        self.fields.keys().try_for_each(|path| pointer("fields", path))?;
        self.references.iter().try_for_each(|reference| pointer("references", &reference.path))?;
        self.dangerous_fields.iter().try_for_each(|path| pointer("dangerousFields", path))?;
        for key in &self.unique {
            few("pointers in a unique key", key.len(), limits::MANIFEST_KEYS)?;
            if key.is_empty() {
                return invalid("unique", "a key names at least one pointer");
            }
            key.iter().try_for_each(|path| pointer("unique", path))?;
        }
        let mut names = BTreeSet::new();
        for one in &self.invariants {
            invariant(one)?;
            if !names.insert(&one.name) {
                return invalid(&format!("invariant {:?}", one.name), "another invariant has this name");
            }
        }
        if self.cards.is_some_and(|cards| !(1..=87_600).contains(&cards.expire_after_hours)) {
            return invalid("cards", "expireAfterHours is 1 to 87600");
        }
        self.authority.as_deref().map_or(Ok(()), authority)
    }
}

fn few(what: &'static str, found: usize, limit: usize) -> Result<(), ManifestError> {
    if found > limit { Err(ManifestError::TooMany { what, found, limit }) } else { Ok(()) }
}

fn invalid<T>(member: &str, rule: &'static str) -> Result<T, ManifestError> {
    Err(ManifestError::Invalid { member: member.to_owned(), rule })
}

/// A JSON Pointer (RFC 6901) to something inside of an object.
fn pointer(member: &str, path: &str) -> Result<(), ManifestError> {
    let named = || {
        let excerpt: String = path.chars().take(80).collect();
        format!("{member} {excerpt:?}")
    };
    if path.len() > limits::PATH_BYTES {
        return invalid(&named(), "a pointer has at most 1024 bytes");
    }
    if !path.starts_with('/') {
        return invalid(&named(), "a pointer begins with /");
    }
    let escapes = path.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !escapes {
        return invalid(&named(), "after ~ comes 0 (for ~) or 1 (for /)");
    }
    if path.split('/').count() > limits::JSON_DEPTH + 1 {
        return invalid(&named(), "a pointer has at most 64 steps");
    }
    Ok(())
}

fn invariant(invariant: &Invariant) -> Result<(), ManifestError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = &invariant.name;
    if name.is_empty() || name.len() > limits::NAME_BYTES || !name.chars().all(is_name) {
        let excerpt: String = name.chars().take(80).collect();
        return invalid(&format!("invariant {excerpt:?}"), "a name has 1 to 64 letters, digits, '-' and '_'");
    }
    let named = format!("invariant {name:?}");
    match (&invariant.schema, &invariant.cedar) {
        (Some(_), None) => Ok(()),
        (None, Some(text)) if text.len() <= limits::INVARIANT_BYTES => Ok(()),
        (None, Some(_)) => invalid(&named, "its Cedar text has at most 4096 bytes"),
        _ => invalid(&named, "it has either `schema` or `cedar`"),
    }
}

fn authority(roles: &[Role]) -> Result<(), ManifestError> {
    let distinct: BTreeSet<&Role> = roles.iter().collect();
    if roles.is_empty() || distinct.len() != roles.len() || roles.contains(&Role::Relay) {
        return invalid("authority", "names one or more of owner, admin, member and agent, each once");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Manifest;
    use crate::limits;
    use serde_json::{Value, json};

    fn wrong(members: Value) -> String {
        let mut manifest = json!({"collection": "docs"});
        manifest.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Manifest::from_json(manifest.to_string().as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn a_manifest_that_says_everything_is_read_and_written_back() {
        let text = json!({
            "collection": "docs", "schemaVersion": "2.0.0", "mergeStrategy": "signed_authority_required",
            "policyClass": "high", "encryptionScope": "profile", "onConflict": "hold",
            "schema": {"type": "object"}, "fields": {"/a/*": "max", "/b~1c": "union"}, "unique": [["/path", "/a/*"]],
            "references": [{"path": "/parents/*", "collection": "docs"}],
            "invariants": [{"name": "budget", "schema": {}}, {"name": "i-2", "cedar": "true"}],
            "dangerousFields": ["/automation"], "authority": ["owner", "agent"],
            "cards": {"expireAfterHours": 168}, "later": 1,
        });
        let manifest = Manifest::from_json(text.to_string().as_bytes()).expect("a manifest");
        assert_eq!(serde_json::to_value(&manifest).unwrap(), text);
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        for (members, says) in [
            (json!({"fields": {"title": "max"}}), "begins with /"),
            (json!({"fields": {"": "max"}}), "begins with /"),
            (json!({"fields": {"/a~2": "max"}}), "after ~"),
            (json!({"dangerousFields": [format!("/{}", "x".repeat(limits::PATH_BYTES))]}), "at most 1024"),
            (json!({"references": [{"path": "/a".repeat(65), "collection": "docs"}]}), "64 steps"),
            (json!({"references": [{"path": "/a", "collection": "docs", "more": 1}]}), "cannot be read"),
            (json!({"unique": [[]]}), "at least one"),
            (json!({"invariants": [{"name": "a b", "cedar": "true"}]}), "a name has"),
            (json!({"invariants": [{"name": "a"}]}), "either"),
            (json!({"invariants": [{"name": "a", "schema": {}, "cedar": "true"}]}), "either"),
            (json!({"invariants": [{"name": "a", "schema": {}}, {"name": "a", "schema": {}}]}), "this name"),
            (json!({"invariants": [{"name": "a", "cedar": " ".repeat(4097)}]}), "4096"),
            (json!({"authority": []}), "authority"),
            (json!({"authority": ["relay"]}), "authority"),
            (json!({"authority": ["owner", "owner"]}), "authority"),
            (json!({"schemaVersion": "1".repeat(65)}), "schemaVersion"),
            (json!({"mergeStrategy": "guess"}), "cannot be read"),
            (json!({"cards": {"expireAfterHours": 0}}), "1 to 87600"),
            (json!({"cards": {}}), "cannot be read"),
        ] {
            let message = wrong(members);
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn there_are_few_of_each() {
        let many = |n: usize| (0..n).map(|i| format!("/{i}")).collect::<Vec<String>>();
        let rules: Value = many(257).into_iter().map(|path| (path, json!("max"))).collect();
        assert!(wrong(json!({"fields": rules})).contains("257 field rules"));
        assert!(wrong(json!({"unique": vec![["/a"]; 17]})).contains("17 unique keys"));
        assert!(wrong(json!({"unique": [many(17)]})).contains("17 pointers"));
        assert!(wrong(json!({"dangerousFields": many(65)})).contains("65 dangerous"));
        let reference = json!({"path": "/a", "collection": "docs"});
        assert!(wrong(json!({"references": vec![reference; 33]})).contains("33 references"));
        let invariants: Vec<Value> =
            (0..33).map(|i| json!({"name": i.to_string(), "cedar": "true"})).collect();
        assert!(wrong(json!({"invariants": invariants})).contains("33 invariants"));
    }
}
