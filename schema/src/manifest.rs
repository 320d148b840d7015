//! What a collection is: its merge strategy, field rules, policy class and encryption scope.
//!
//! The JSON names are those of `schema set FILE`. Values are kept in governance entries as canonical JSON, so
//! that a manifest written by a newer version keeps the fields this one does not know.

mod check;
mod strict;
mod weaker;

pub use strict::nearest;

use crate::governance::Role;
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
    /// Changes that conflict are held; under the default policy agents may only propose, and people answer cards.
    High,
    /// As high, for policies that tell the two apart.
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

/// What happens to a change that contradicts what is there until somebody has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The merge shows a winner, and every other side beside it.
    Surface,
    /// It stays out of what is shown.
    Hold,
}

/// A place that holds the id of another object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// A pointer to the id, or with `*` to several.
    pub path: String,
    /// The collection of the object.
    pub collection: Collection,
}

/// What must hold of an object's merged value, beyond its schema.
///
/// It is said in one of two languages. In Cedar the value is `context.value`: objects are records, lists sets, and whole
/// numbers of 64 bits `Long`, 2.0 among them. Cedar has no null and no fractions, so a member or item that is null, a
/// fraction or a larger number is left out; `has` asks whether a member is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invariant {
    /// Its name in messages and cards.
    pub name: String,
    /// JSON Schema 2020-12 that the value must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// A Cedar expression that must be true; one that cannot be evaluated is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cedar: Option<String>,
}

/// How cards about objects of a collection are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CardRules {
    /// After how many hours a card that nobody answered is answered by the program: 1 to 87,600, ten years.
    pub expire_after_hours: u32,
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
    /// What happens to contradicting changes; by default what the class says, see [`Manifest::on_conflict`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// JSON Schema 2020-12 of the merged value; by default any object will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Rules by JSON Pointer; `*` stands for one key or index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, FieldRule>,
    /// Sets of pointers whose values no two objects share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// Where the ids of other objects stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// What must hold of the merged value beyond the schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Invariant>,
    /// Pointers to what policies treat with special care; each stands for all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dangerous_fields: Vec<String>,
    /// Whose changes count where the strategy is `signed_authority_required`: roles, by default owner and admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<Vec<Role>>,
    /// What becomes of cards; by default they wait until somebody answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cards: Option<CardRules>,
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
    /// More of something than there may be.
    #[error("the manifest has {found} {what}, the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A word that this version does not know, in a manifest that is to be set.
    #[error("{place} has {word:?}, which means nothing here{}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// Where it stands.
        place: String,
        /// The word.
        word: String,
        /// The known one that is most like it.
        nearest: Option<String>,
    },
    /// A member that cannot mean anything.
    #[error("{member} of the manifest: {rule}")]
    Invalid {
        /// Which, with what it says.
        member: String,
        /// What it must be.
        rule: &'static str,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean {nearest:?}?")).unwrap_or_default()
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
            on_conflict: None,
            schema: None,
            fields: BTreeMap::new(),
            unique: Vec::new(),
            references: Vec::new(),
            invariants: Vec::new(),
            dangerous_fields: Vec::new(),
            authority: None,
            cards: None,
            other: BTreeMap::new(),
        }
    }

    /// Reads a manifest from JSON.
    ///
    /// # Errors
    /// When it is too large, not a manifest, or says what no manifest can mean.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > limits::RECORD_BYTES {
            return Err(ManifestError::TooLarge { found: bytes.len() });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// What happens to a change that contradicts what is there: what the manifest says, else held where the class is
    /// high or critical.
    #[must_use]
    pub const fn on_conflict(&self) -> OnConflict {
        match (self.on_conflict, self.policy_class) {
            (Some(said), _) => said,
            (None, PolicyClass::High | PolicyClass::Critical) => OnConflict::Hold,
            (None, PolicyClass::Low | PolicyClass::Medium) => OnConflict::Surface,
        }
    }

    /// Whether a change by a device of this role counts.
    #[must_use]
    pub fn has_authority(&self, role: Option<Role>) -> bool {
        let named = self.authority.as_deref().unwrap_or(&[Role::Owner, Role::Admin]);
        !matches!(self.merge_strategy, MergeStrategy::SignedAuthorityRequired)
            || role.is_some_and(|role| named.contains(&role))
    }

    /// Whether its merged values are judged at all.
    #[must_use]
    pub const fn judges_values(&self) -> bool {
        self.schema.is_some() || !self.invariants.is_empty()
    }

    /// Whether some rule computes what is shown from concurrent values.
    #[must_use]
    pub fn computes_values(&self) -> bool {
        let computes = |rule: &FieldRule| matches!(rule, FieldRule::Max | FieldRule::Min | FieldRule::Union);
        self.fields.values().any(computes)
    }

    /// Whether one of these pointers names something dangerous, something inside of it, or something that holds it.
    #[must_use]
    pub fn is_dangerous(&self, changed: &[String]) -> bool {
        let meets = |path: &String| self.dangerous_fields.iter().any(|field| pointers_meet(field, path));
        !self.dangerous_fields.is_empty() && changed.iter().any(meets)
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
            Some(step) if unescaped(step) == **key => {}
            _ => return false,
        }
    }
    steps.next().is_none()
}

/// Whether one of a pattern and a pointer names what the other names, or something in it.
fn pointers_meet(pattern: &str, pointer: &str) -> bool {
    let steps = |text: &str| text.split('/').skip(1).map(unescaped).collect::<Vec<String>>();
    steps(pattern).iter().zip(&steps(pointer)).all(|(step, key)| step == "*" || step == key)
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
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
    fn dangerous_is_what_is_named_what_it_holds_and_what_holds_it() {
        let mut manifest = Manifest::free_form("docs".parse().unwrap());
        manifest.dangerous_fields = vec!["/pay/*/base".into(), "/run".into()];
        for (path, dangerous) in [
            ("/pay", true),
            ("", true),
            ("/pay/1/base", true),
            ("/pay/1/base/deep", true),
            ("/pay/1/note", false),
            ("/run/x", true),
            ("/runs", false),
            ("/title", false),
        ] {
            assert_eq!(manifest.is_dangerous(&[path.to_owned()]), dangerous, "{path}");
        }
    }

    #[test]
    fn what_waits_follows_the_class_unless_said() {
        let of = |text: &str| Manifest::from_json(text.as_bytes()).unwrap().on_conflict();
        assert_eq!(of(r#"{"collection":"c"}"#), OnConflict::Surface);
        assert_eq!(of(r#"{"collection":"c","policyClass":"critical"}"#), OnConflict::Hold);
        assert_eq!(
            of(r#"{"collection":"c","policyClass":"high","onConflict":"surface"}"#),
            OnConflict::Surface
        );
    }

    #[test]
    fn authority_is_asked_for_only_where_the_strategy_says_so() {
        let of = |text: &str| Manifest::from_json(text.as_bytes()).unwrap();
        let free = of(r#"{"collection":"c","authority":["owner"]}"#);
        assert!(free.has_authority(Some(Role::Member)));
        let default = of(r#"{"collection":"c","mergeStrategy":"signed_authority_required"}"#);
        assert!(default.has_authority(Some(Role::Admin)) && !default.has_authority(Some(Role::Member)));
        let named =
            of(r#"{"collection":"c","mergeStrategy":"signed_authority_required","authority":["member"]}"#);
        assert!(named.has_authority(Some(Role::Member)) && !named.has_authority(Some(Role::Owner)));
        assert!(!named.has_authority(None));
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
