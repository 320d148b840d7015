//! Requests about collections and their manifests. A collection that nobody has described is there all the same, with a
//! manifest of defaults.

use super::write::{self, Who};
use super::{ApiError, Reply, Workspace, chain, json};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use syncd_engine::Intent;
use syncd_schema::{Collection, EntryKind, Manifest};

/// All collections that are described or used.
pub(super) fn list(workspace: &Workspace) -> Reply {
    let (governance, objects) = workspace.shared.with(|engine| {
        let objects = engine.list(None)?;
        Ok::<_, ApiError>((engine.governance().clone(), objects))
    })?;
    let mut counts: BTreeMap<Collection, u64> = BTreeMap::new();
    for collection in governance.manifests.keys() {
        counts.insert(collection.clone(), 0);
    }
    for object in objects {
        *counts.entry(object.collection).or_default() += 1;
    }
    let rows = counts.into_iter().map(|(collection, objects)| {
        let manifest = governance.manifest(&collection);
        Ok(object!({
            "collection": collection,
            "schemaVersion": manifest.schema_version,
            "mergeStrategy": json(&manifest.merge_strategy)?,
            "policyClass": json(&manifest.policy_class)?,
            "encryptionScope": json(&manifest.encryption_scope)?,
            "onConflict": json(&manifest.on_conflict())?,
            "objects": objects,
            "declared": governance.manifests.contains_key(&collection),
        }))
    });
    rows.collect::<Result<Vec<Value>, ApiError>>().map(Value::Array)
}

/// The manifest in force, as `set` takes it.
pub(super) fn show(workspace: &Workspace, collection: &Collection) -> Reply {
    json(&workspace.shared.with(|engine| engine.governance().manifest(collection)))
}

pub(super) fn set(workspace: &Workspace, who: Who, manifest: &Value) -> Reply {
    let invalid = |error: &dyn std::error::Error| ApiError::invalid_manifest(chain(error));
    let given = serde_json::to_vec(manifest).map_err(|error| invalid(&error))?;
    let manifest = Manifest::from_json(&given).map_err(|error| invalid(&error))?;
    let collection = manifest.collection.clone();
    let canonical = serde_json::to_vec(&manifest).map_err(|error| invalid(&error))?;
    let written = write::write(workspace, who, Intent::Govern(EntryKind::MANIFEST, canonical))?;
    Ok(object!({
        "collection": collection,
        "operation": written.operation,
        "status": json(&written.status)?,
        "repeated": written.repeated,
    }))
}
