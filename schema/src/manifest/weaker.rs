//! Whether a manifest protects less than the one it replaces: then only an owner may set it.

use super::{EncryptionScope, Manifest, MergeStrategy, OnConflict};
use std::collections::BTreeSet;

impl Manifest {
    /// What this manifest protects less than the one before it, in words; empty when nothing.
    ///
    /// Its schema is not looked at: schemas grow with the work, and which of two allows more cannot be told.
    #[must_use]
    pub fn weakens(&self, before: &Self) -> Vec<&'static str> {
        let lost = |is_lost: bool, words: &'static str| is_lost.then_some(words);
        let guarded = |field: &String| {
            let covers = |other: &String| field.strip_prefix(other.as_str()).is_some_and(is_below);
            self.dangerous_fields.iter().any(covers)
        };
        let left = before.merge_strategy != self.merge_strategy && is_protection(before.merge_strategy);
        let authority =
            |manifest: &Self| manifest.authority.as_ref().map(|roles| roles.iter().copied().collect());
        let (roles, roles_before): (Option<BTreeSet<_>>, Option<BTreeSet<_>>) =
            (authority(self), authority(before));
        let patience = |manifest: &Self| manifest.cards.map_or(u32::MAX, |cards| cards.expire_after_hours);
        let sooner = patience(self) < patience(before);
        let default = || BTreeSet::from([crate::Role::Owner, crate::Role::Admin]);
        let more = !roles.unwrap_or_else(default).is_subset(&roles_before.unwrap_or_else(default));
        [
            lost(self.policy_class < before.policy_class, "a lower policy class"),
            lost(
                breadth(self.encryption_scope) > breadth(before.encryption_scope),
                "a wider encryption scope",
            ),
            lost(
                before.on_conflict() == OnConflict::Hold && self.on_conflict() == OnConflict::Surface,
                "conflicts are no longer held",
            ),
            lost(left, "a less strict merge strategy"),
            lost(more && before.merge_strategy == MergeStrategy::SignedAuthorityRequired, "more authorities"),
            lost(!before.dangerous_fields.iter().all(guarded), "a dangerous field is no longer one"),
            lost(sooner, "cards that nobody answered are answered by the program, or sooner than before"),
            lost(
                !before.invariants.iter().all(|invariant| self.invariants.contains(invariant)),
                "an invariant is gone or says something else",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What is left of a pointer after one that holds it.
fn is_below(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

/// Whether giving up the strategy lets in what it kept out.
const fn is_protection(strategy: MergeStrategy) -> bool {
    match strategy {
        // Quarantine exists to be ended.
        MergeStrategy::Crdt | MergeStrategy::GraphMerge | MergeStrategy::Quarantine => false,
        MergeStrategy::AppendOnly
        | MergeStrategy::ManualReview
        | MergeStrategy::StrongestPolicyWins
        | MergeStrategy::SignedAuthorityRequired
        | MergeStrategy::NeverMerge => true,
    }
}

/// How many may hold it, from few to many.
const fn breadth(scope: EncryptionScope) -> u8 {
    match scope {
        EncryptionScope::Vault => 0,
        EncryptionScope::Device => 1,
        EncryptionScope::Profile => 2,
        EncryptionScope::Workspace => 3,
        EncryptionScope::Org => 4,
        EncryptionScope::Public => 5,
    }
}

#[cfg(test)]
mod tests {
    use crate::Manifest;
    use serde_json::{Value, json};

    fn manifest(members: &Value) -> Manifest {
        let mut manifest = json!({"collection": "docs"});
        manifest.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        Manifest::from_json(manifest.to_string().as_bytes()).expect("a manifest")
    }

    #[test]
    fn whatever_protects_less_is_named_and_the_way_back_is_not() {
        for (before, after, says) in [
            (
                json!({"policyClass": "high", "onConflict": "hold"}),
                json!({"onConflict": "hold"}),
                "policy class",
            ),
            (json!({}), json!({"encryptionScope": "org"}), "scope"),
            (json!({"onConflict": "hold"}), json!({}), "no longer held"),
            (json!({"mergeStrategy": "append_only"}), json!({}), "strategy"),
            (
                json!({"mergeStrategy": "signed_authority_required"}),
                json!({"mergeStrategy": "signed_authority_required", "authority": ["owner", "admin", "member"]}),
                "authorities",
            ),
            (json!({"dangerousFields": ["/a"]}), json!({"dangerousFields": ["/a/b"]}), "dangerous"),
            (json!({}), json!({"cards": {"expireAfterHours": 24}}), "answered by the program"),
            (
                json!({"invariants": [{"name": "i", "cedar": "true"}]}),
                json!({"invariants": [{"name": "i", "cedar": "1 == 1"}]}),
                "invariant",
            ),
        ] {
            let weakened = manifest(&after).weakens(&manifest(&before));
            assert!(weakened.len() == 1 && weakened[0].contains(says), "{after}: {weakened:?}");
            assert_eq!(manifest(&before).weakens(&manifest(&before)), Vec::<&str>::new());
        }
        for (before, after) in [
            (
                json!({}),
                json!({"policyClass": "critical", "encryptionScope": "profile", "onConflict": "hold"}),
            ),
            (json!({"mergeStrategy": "quarantine"}), json!({})),
            (json!({"cards": {"expireAfterHours": 24}}), json!({"cards": {"expireAfterHours": 25}})),
            (json!({"dangerousFields": ["/a/b"]}), json!({"dangerousFields": ["/a", "/c"]})),
            (json!({"schema": {"type": "object"}}), json!({"fields": {"/n": "max"}})),
        ] {
            assert!(manifest(&after).weakens(&manifest(&before)).is_empty(), "{after}");
        }
    }
}
