//! Requests about policies: which are in force, a new bundle, and what is decided again about something past.

use super::write::{self, Who};
use super::{ApiError, Reply, Workspace, chain, exit, json};
use serde_json::{Value, json as object};
use syncd_engine::Intent;
use syncd_engine::workspace::{OwnPolicyError, ReplayError};
use syncd_policy::{Decision, FLOOR, Layer};
use syncd_schema::{Actor, ActorKind, Digest, OperationId, domain};

/// Puts a bundle in force, in the place of all that are or beside them.
pub(super) fn set(workspace: &Workspace, who: Who, text: String, beside: bool) -> Reply {
    let digest = domain::sha256(text.as_bytes());
    let written = write::write(workspace, who, Intent::SetPolicy { text, beside })?;
    let version = workspace.shared.with(|engine| engine.governance().policy_digest());
    Ok(object!({
        "operation": written.operation,
        "status": json(&written.status)?,
        "digest": digest,
        "version": version,
        "repeated": written.repeated,
    }))
}

/// Puts another policy of this device in force, or none. Its file is the command's to write: a daemon serves one
/// workspace, and the policy is for all of them.
pub(super) fn set_own(workspace: &Workspace, who: &Who, text: Option<String>) -> Reply {
    may_set_own(&who.actor)?;
    let digest = text.as_ref().map(|text| domain::sha256(text.as_bytes()));
    workspace.shared.with(|engine| engine.set_own_policy(text)).map_err(|error| match error {
        OwnPolicyError::Text(error) => ApiError::failed(
            "invalid_policy",
            chain(&error),
            "correct it until `policy check --device` accepts it",
        ),
        OwnPolicyError::Store(error) => error.into(),
    })?;
    Ok(object!({ "digest": digest }))
}

/// Whether somebody may change what a device forbids itself: an agent that could would have no limits.
pub(crate) fn may_set_own(actor: &Actor) -> Result<(), ApiError> {
    if actor.kind == ActorKind::User {
        return Ok(());
    }
    let message = format!("{actor} may not change this device's own policy: only its user may");
    Err(ApiError::failed("refused", message, "have a person set it").with_exit(exit::REFUSED))
}

/// Decides again what was decided about an operation.
pub(super) fn test(workspace: &Workspace, operation: OperationId) -> Reply {
    let replay = workspace.shared.with(|engine| engine.replay_decision(operation)).map_err(of_replay)?;
    let mut now = decision(&replay.now);
    if let Some(members) = now.as_object_mut() {
        members.insert("assumed".to_owned(), json(&replay.assumed)?);
    }
    Ok(object!({
        "operation": replay.operation,
        "then": decision(&replay.then),
        "again": decision(&replay.again),
        "same": replay.is_same(),
        "now": now,
    }))
}

/// The exit code that the answer of [`test`] stands for.
#[must_use]
pub(crate) fn tested(answer: &Value) -> u8 {
    if answer.get("same").and_then(Value::as_bool) == Some(true) { 0 } else { exit::INTEGRITY }
}

fn decision(decision: &Decision) -> Value {
    object!({
        "verdict": decision.verdict.word(),
        "policies": decision.policies,
        "policy_version": decision.policy_version,
        "inputs": decision.inputs,
        "reasons": decision.reasons,
        "errors": decision.errors,
    })
}

fn of_replay(error: ReplayError) -> ApiError {
    let message = chain(&error);
    match error {
        ReplayError::NotFound(_) => ApiError::not_found(message, "see `ops` or `history ID`"),
        ReplayError::NotDecided(operation) => {
            ApiError::failed("not_decided", message, format!("`explain {operation}` says why it is as it is"))
        }
        ReplayError::NoPolicies(_) => {
            ApiError::failed("no_policies", message, "sync with a device that holds them, and test again")
        }
        ReplayError::NotRecorded(operation) => ApiError::failed(
            "not_recorded",
            message,
            format!("`explain {operation}` shows the decision as it was recorded"),
        ),
        ReplayError::Store(error) => error.into(),
    }
}

/// The policies in force, by layer.
pub(super) fn show(workspace: &Workspace) -> Reply {
    let (version, bundles, own) = workspace.shared.with(|engine| {
        let governance = engine.governance();
        (governance.policy_digest(), governance.bundles.clone(), engine.own_policy().map(str::to_owned))
    });
    let mut layers = vec![layer(Layer::Floor, domain::sha256(FLOOR.as_bytes()), FLOOR)];
    layers.extend(bundles.iter().map(|(digest, text)| layer(Layer::Workspace, *digest, text)));
    layers.extend(own.iter().map(|text| layer(Layer::Device, domain::sha256(text.as_bytes()), text)));
    Ok(object!({ "version": version, "layers": layers }))
}

fn layer(layer: Layer, digest: Digest, text: &str) -> Value {
    let listed = syncd_policy::contents(text).map(|report| super::listed(&report)).unwrap_or_default();
    object!({ "layer": layer.word(), "digest": digest, "policies": listed, "text": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_that_comes_out_otherwise_is_a_violation() {
        assert_eq!(tested(&object!({ "same": true })), 0);
        assert_eq!(tested(&object!({ "same": false })), exit::INTEGRITY);
        assert_eq!(tested(&object!({})), exit::INTEGRITY);
    }
}
