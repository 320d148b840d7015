//! Requests about collections and their manifests. A collection that nobody has described is there all the same, with a
//! manifest of defaults.

use super::write::{self, Who};
use super::{ApiError, Reply, Workspace, chain, json};
use serde_json::{Value, json as object};
use std::collections::{BTreeMap, BTreeSet};
use syncd_engine::Intent;
use syncd_policy::Condition;
use syncd_schema::manifest::nearest;
use syncd_schema::{Collection, EntryKind, Manifest, ObjectId, ObjectState};

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
        if object.state == ObjectState::Tombstoned {
            counts.entry(object.collection).or_default();
            continue;
        }
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

/// The manifest in force, as `set` takes it. What another version wrote into it and this one does not know stands apart,
/// since nothing here goes by it.
pub(super) fn show(workspace: &Workspace, collection: &Collection) -> Reply {
    let mut manifest = workspace.shared.with(|engine| engine.governance().manifest(collection));
    let unknown = std::mem::take(&mut manifest.other);
    let mut shown = json(&manifest)?;
    if let (false, Some(members)) = (unknown.is_empty(), shown.as_object_mut()) {
        members.insert("notUnderstood".to_owned(), json(&unknown)?);
    }
    Ok(shown)
}

pub(super) fn set(workspace: &Workspace, who: Who, manifest: &Value) -> Reply {
    let invalid = |error: &dyn std::error::Error| ApiError::invalid_manifest(chain(error));
    let given = serde_json::to_vec(manifest).map_err(|error| invalid(&error))?;
    let manifest = Manifest::to_be_set(&given).map_err(|error| invalid(&error))?;
    let warnings = looks_past(&manifest)?;
    let collection = manifest.collection.clone();
    let canonical = serde_json::to_vec(&manifest).map_err(|error| invalid(&error))?;
    let written = write::write(workspace, who, Intent::Govern(EntryKind::MANIFEST, canonical))?;
    let misfits = misfits(workspace, &collection)?;
    Ok(object!({
        "collection": collection,
        "operation": written.operation,
        "status": json(&written.status)?,
        "repeated": written.repeated,
        "misfits": misfits.len(),
        "warnings": warnings,
    }))
}

/// The kinds of cards about an object that is not what its manifest asks for.
const MISFITS: [&str; 4] = ["schema_mismatch", "broken_invariant", "duplicate_key", "dangling_reference"];

/// The objects of a collection that are not what its manifest asks for. Each has a card by now.
fn misfits(workspace: &Workspace, collection: &Collection) -> Result<BTreeSet<ObjectId>, ApiError> {
    let cards = workspace.shared.with(|engine| engine.cards(false))?;
    let about =
        cards.into_iter().filter(|card| card.collection == *collection && MISFITS.contains(&card.kind));
    Ok(about.map(|card| card.object).collect())
}

/// Refuses conditions about what no condition can see, which would never hold, and warns of those about members that the
/// collection's schema does not name.
fn looks_past(manifest: &Manifest) -> Result<Vec<String>, ApiError> {
    let mut warnings = Vec::new();
    for (name, text) in manifest.invariants.iter().filter_map(|one| Some((&one.name, one.cedar.as_ref()?))) {
        // One that does not parse is refused with its place when it is compiled.
        for path in Condition::looks_at(text).unwrap_or_default() {
            let said = path.join(".");
            match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["context"] => {}
                ["context", "value", members @ ..] => {
                    if let Some(warning) = manifest.schema.as_ref().and_then(|of| unnamed(of, members)) {
                        warnings.push(format!("invariant {name:?} looks at {said}: {warning}"));
                    }
                }
                _ => {
                    return Err(ApiError::invalid_manifest(format!(
                        "invariant {name:?} looks at {said}: a condition sees context.value, the object's value, and \
                         nothing else"
                    )));
                }
            }
        }
    }
    Ok(warnings)
}

/// What is to be said of a member that a schema with names does not name. A schema that says more than names and types is
/// not followed.
fn unnamed(schema: &Value, members: &[&str]) -> Option<String> {
    let (first, rest) = members.split_first()?;
    let elsewhere =
        ["$ref", "$dynamicRef", "patternProperties", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"];
    let names = schema.get("properties")?.as_object()?;
    if elsewhere.iter().any(|word| schema.get(word).is_some()) {
        return None;
    }
    match names.get(*first) {
        Some(inner) => unnamed(inner, rest),
        // What it says of all others is said on purpose.
        None if schema.get("additionalProperties").is_some_and(|others| *others != Value::Bool(false)) => {
            None
        }
        None => {
            let meant = nearest(first, names.keys().map(String::as_str));
            let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
            Some(format!("the schema names no {first:?}{meant}"))
        }
    }
}
