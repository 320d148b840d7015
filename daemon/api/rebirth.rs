//! Objects that begin anew. It cannot be undone, so the first call only says what it would do.

use super::write::{Who, write};
use super::{ApiError, Reply, Workspace, json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use syncd_engine::Intent;
use syncd_engine::workspace::{HistoryItem, Remains};
use syncd_schema::ObjectId;

/// What is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RebirthIn {
    /// The object.
    pub object: ObjectId,
    /// The value that stays; what is shown now if absent.
    #[serde(default)]
    pub value: Option<Value>,
    /// Whether nothing stays.
    #[serde(default)]
    pub nothing: bool,
    /// Why, for those whose work it drops.
    #[serde(default)]
    pub because: Option<String>,
    /// Whether it is to be done; else it is only said what it would do.
    #[serde(default)]
    pub confirmed: bool,
}

pub(super) fn rebirth(workspace: &Workspace, who: Who, wanted: RebirthIn) -> Reply {
    let RebirthIn { object, value, nothing, because, confirmed } = wanted;
    let remains = match (value, nothing) {
        (Some(_), true) => {
            return Err(ApiError::usage("a value and nothing cannot both stay", "leave one of them out"));
        }
        (_, true) => Remains::Nothing,
        (Some(value), false) => Remains::Value(value),
        (None, false) => Remains::Shown,
    };
    let drops = workspace.shared.with(|engine| engine.history(&object))?;
    let plan = plan(&object, &drops, &remains)?;
    if !confirmed {
        return Ok(plan);
    }
    let intent = Intent::Rebirth { object, remains };
    let written = write(workspace, Who { note: because, ..who }, intent)?;
    // Whoever is answered may rely on it: the file too.
    workspace.shared.with(|engine| engine.finish_erasure())?;
    let mut answer = super::write::answer(workspace, &written)?;
    if let (Some(answer), Value::Object(plan)) = (answer.as_object_mut(), plan) {
        answer.extend(plan.into_iter().filter(|(name, _)| name != "status" && name != "object"));
    }
    Ok(answer)
}

/// What is dropped, by whom it was.
fn plan(id: &ObjectId, drops: &[HistoryItem], remains: &Remains) -> Reply {
    if drops.is_empty() {
        return Err(ApiError::not_found(format!("there is no object {id}"), "`list` shows what there is"));
    }
    let mut authors: BTreeMap<(String, String), u64> = BTreeMap::new();
    for item in drops {
        *authors.entry((item.actor.to_string(), json(&item.device)?.to_string())).or_default() += 1;
    }
    let authors: Vec<Value> = authors
        .into_iter()
        .map(|((actor, device), changes)| {
            object!({ "actor": actor, "device": device.trim_matches('"'), "changes": changes })
        })
        .collect();
    let stays = match remains {
        Remains::Shown => "what is shown",
        Remains::Value(_) => "the value given",
        Remains::Nothing => "nothing",
    };
    Ok(
        object!({ "object": id, "status": "planned", "drops": drops.len(), "authors": authors, "stays": stays }),
    )
}
