//! What a collection is: its merge strategy, field rules, policy class and encryption scope.
//!
//! The JSON names are those of `schema set FILE`. Values are kept in governance entries as canonical JSON, so
//! that a manifest written by a newer version keeps the fields this one does not know.

use crate::ids::Collection;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How concurrent work on objects of a collection comes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeStrategy {
    /// Automerge merges; conflicts it cannot resolve in meaning become cards.
    #[default]
    Crdt,
    /// As `crdt`, references kept whole.
    GraphMerge,
    /// Only additions.
    AppendOnly,
    /// Every concurrent edit is reviewed.
    ManualReview,
    /// The change admitted by the stricter policy wins.
    StrongestPolicyWins,
    /// Changes need a signature of a named authority.
    SignedAuthorityRequired,
    /// Never leaves the device.
    NeverMerge,
    /// Kept, not merged.
    Quarantine,
}

/// Who may hold the collection's content in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncryptionScope {
    /// Anybody.
    Public,
    /// The person's devices.
    Profile,
    /// Members of the workspace.
    #[default]
    Workspace,
    /// Members of the organisation.
    Org,
    /// This device.
    Device,
    /// This device, and never exported.
    Vault,
}

/// How much care a collection needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyClass {
    /// Nothing depends on it.
    Low,
    /// Ordinary work.
    #[default]
    Medium,
    /// Changes that conflict are held.
    High,
    /// As high, and agents may only propose.
    Critical,
}

impl PolicyClass {
    /// The word used in manifests and policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What a field is and how concurrent values of it meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldRule {
    /// Automerge's winner.
    Auto,
    /// A card.
    Review,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// All members of both sets.
    Union,
    /// Increments add up.
    Counter,
    /// A text that several people type into.
    Text,
    /// A text whose concurrent edits are judged by lines.
    TextReview,
}

impl FieldRule {
    /// Whether a string at such a field is a text that can be spliced.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::TextReview)
    }
}

/// The manifest of one collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The collection.
    pub collection: Collection,
    /// The version of its schema.
    #[serde(default = "default_version")]
    pub schema_version: String,
    /// How concurrent work comes together.
    #[serde(default)]
    pub merge_strategy: MergeStrategy,
    /// How much care it needs.
    #[serde(default)]
    pub policy_class: PolicyClass,
    /// Who may hold it in the clear.
    #[serde(default)]
    pub encryption_scope: EncryptionScope,
    /// Rules by JSON Pointer; `*` stands for one key or index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldRule>,
    /// Sets of pointers whose values no two objects share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// What this version does not know.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

fn default_version() -> String {
    "1.0.0".to_owned()
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than a governance record may be.
    #[error("the manifest is {found} bytes, the limit is {limit}", limit = limits::RECORD_BYTES)]
    TooLarge {
        /// Its size.
        found: usize,
    },
    /// Not JSON of this shape.
    #[error("the manifest cannot be read")]
    Malformed(#[from] serde_json::Error),
}

impl Manifest {
    /// The manifest of a collection nobody has described: free-form, merged by Automerge.
    #[must_use]
    pub fn free_form(collection: Collection) -> Self {
        Self {
            collection,
            schema_version: default_version(),
            merge_strategy: MergeStrategy::default(),
            policy_class: PolicyClass::default(),
            encryption_scope: EncryptionScope::default(),
            fields: BTreeMap::new(),
            unique: Vec::new(),
            other: BTreeMap::new(),
        }
    }

    /// Reads a manifest from JSON.
    ///
    /// # Errors
    /// When it is too large or not a manifest.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > limits::RECORD_BYTES {
            return Err(ManifestError::TooLarge { found: bytes.len() });
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Whether objects of the collection stay on the device that wrote them.
    #[must_use]
    pub const fn is_local_only(&self) -> bool {
        matches!(self.merge_strategy, MergeStrategy::NeverMerge)
            || matches!(self.encryption_scope, EncryptionScope::Device | EncryptionScope::Vault)
    }

    /// The rule of a field, by the path of its keys and indexes.
    #[must_use]
    pub fn rule(&self, path: &[&str]) -> Option<FieldRule> {
        self.fields.iter().find_map(|(pointer, rule)| pointer_matches(pointer, path).then_some(*rule))
    }
}

/// Whether a JSON Pointer (RFC 6901), in which `*` stands for any one step, names the path.
fn pointer_matches(pointer: &str, path: &[&str]) -> bool {
    let Some(rest) = pointer.strip_prefix('/') else { return pointer.is_empty() && path.is_empty() };
    let mut steps = rest.split('/');
    for key in path {
        match steps.next() {
            Some("*") => {}
            Some(step) if step.replace("~1", "/").replace("~0", "~") == **key => {}
            _ => return false,
        }
    }
    steps.next().is_none()
}

/// The manifests that the genesis of a workspace holds: `files`, whose `/text` is a text, and `vault`, whose
/// objects never leave their device.
#[must_use]
pub fn built_in() -> Vec<Manifest> {
    let named = |name: &str| name.parse().ok().map(Manifest::free_form);
    let files = named("files").map(|manifest| Manifest {
        fields: BTreeMap::from([("/text".to_owned(), FieldRule::Text)]),
        unique: vec![vec!["/path".to_owned()]],
        ..manifest
    });
    let vault = named("vault").map(|manifest| Manifest {
        encryption_scope: EncryptionScope::Vault,
        merge_strategy: MergeStrategy::NeverMerge,
        ..manifest
    });
    files.into_iter().chain(vault).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_manifests_say_what_files_and_vault_are() {
        let [files, vault] = built_in().try_into().expect("two manifests");
        assert_eq!(files.rule(&["text"]), Some(FieldRule::Text));
        assert_eq!(files.rule(&["path"]), None);
        assert!(vault.is_local_only() && !files.is_local_only());
    }

    #[test]
    fn pointers_match_by_step() {
        assert!(pointer_matches("/a/*/c", &["a", "0", "c"]));
        assert!(!pointer_matches("/a/*", &["a"]));
        assert!(pointer_matches("/a~1b", &["a/b"]));
        assert!(pointer_matches("", &[]));
    }

    #[test]
    fn unknown_fields_survive() {
        let text = br#"{"collection":"docs","policyClass":"high","future":{"x":1}}"#;
        let manifest = Manifest::from_json(text).expect("a manifest");
        assert_eq!(manifest.policy_class, PolicyClass::High);
        let again = serde_json::to_value(&manifest).expect("json");
        assert_eq!(again["future"]["x"], 1);
    }
}
