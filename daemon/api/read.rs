//! Requests that read. What is said here is what the engine says, with what only a daemon knows filled in.

use super::{ApiError, Progress, Reply, Workspace, exit, json};
use crate::net::{Node, PeerState};
use serde_json::{Value, json as object};
use syncd_engine::document::{Said, said};
use syncd_engine::workspace::{PeerView, Status};
use syncd_evidence::Record;
use syncd_schema::{
    Collection, DeviceId, Digest, ObjectId, ObjectState, OperationId, OperationStatus, UnixMicros,
};

/// Operations and records shown by a list: the newest. Lists are for looking, `history` and `op` for knowing.
const LISTED: usize = 1_000;

pub(super) fn status(workspace: &Workspace) -> Reply {
    let mut status = workspace.shared.with(|engine| engine.status())?;
    fill_in_peers(workspace, &mut status);
    let mut answer = json(&status)?;
    if let Some(node) = &workspace.net {
        say_when_heard(node, &mut answer);
    }
    if let Value::Object(members) = &mut answer {
        members.insert("daemon".to_owned(), workspace.moves.is_some().into());
        let findings = status.findings.iter().map(|finding| {
            let mut row = json(finding)?;
            if let Value::Object(row) = &mut row {
                row.insert("finding".to_owned(), json(&finding.id())?);
                row.insert("at".to_owned(), finding.last_at.rfc3339().into());
                row.insert("first_at".to_owned(), finding.first_at.rfc3339().into());
                row.insert("last_at".to_owned(), finding.last_at.rfc3339().into());
            }
            Ok(row)
        });
        members.insert("findings".to_owned(), Value::Array(findings.collect::<Result<_, ApiError>>()?));
    }
    Ok(answer)
}

fn say_when_heard(node: &Node, status: &mut Value) {
    for peer in status.get_mut("peers").and_then(Value::as_array_mut).into_iter().flatten() {
        let device = peer.get("device").and_then(Value::as_str).and_then(|device| device.parse().ok());
        let heard = device.and_then(|device: DeviceId| node.last_heard(&device));
        if let Value::Object(peer) = peer {
            peer.insert("last_heard".to_owned(), heard.map(UnixMicros::rfc3339).into());
        }
    }
}

fn fill_in_peers(workspace: &Workspace, status: &mut Status) {
    let Some(node) = &workspace.net else { return };
    for state in &node.peers() {
        let known = |peer: &&mut PeerView| peer.device == state.device;
        let Some(peer) = status.peers.iter_mut().find(known) else { continue };
        peer.state = match state {
            PeerState { connected: false, .. } => "offline",
            PeerState { silent: true, .. } => "silent",
            PeerState { quiet: true, .. } => "in sync",
            PeerState { quiet: false, .. } => "syncing",
        }
        .to_owned();
        peer.behind = state.behind;
        peer.ahead = state.ahead;
    }
}

pub(super) fn get(workspace: &Workspace, object: &ObjectId) -> Reply {
    let view = workspace.shared.with(|engine| engine.get(object))?;
    json(&view.ok_or_else(|| no_object(object))?)
}

fn no_object(object: &ObjectId) -> ApiError {
    ApiError::not_found(format!("there is no object {object}"), "see what there is with `list`")
}

/// Objects; those that were deleted only where all are wanted.
pub(super) fn list(workspace: &Workspace, collection: Option<&Collection>, all: bool) -> Reply {
    let mut rows = workspace.shared.with(|engine| engine.list(collection))?;
    rows.retain(|row| all || row.state != ObjectState::Tombstoned);
    json(&rows)
}

pub(super) fn history(workspace: &Workspace, object: &ObjectId) -> Reply {
    let items = workspace.shared.with(|engine| engine.history(object))?;
    if items.is_empty() {
        return Err(no_object(object));
    }
    let mut rows = json(&items)?;
    let changes: Vec<Digest> = items.iter().rev().take(TOLD).map(|item| item.change).collect();
    let told = what_was_said(workspace, object, &changes)?;
    // The newest are told of, and stand last.
    for (row, said) in rows.as_array_mut().into_iter().flatten().rev().zip(told) {
        tell(row, said);
    }
    Ok(rows)
}

/// Operations of an object of which it is told what they did: each means reading the object as it was before and after.
const TOLD: usize = 100;

/// What changes did to an object, and at how many places more.
type SaidOf = Option<(Vec<Said>, usize)>;

/// What changes did, one after the other; nothing of those that are not in the object shown here.
fn what_was_said(
    workspace: &Workspace,
    object: &ObjectId,
    changes: &[Digest],
) -> Result<Vec<SaidOf>, ApiError> {
    let told = workspace.shared.with(|engine| {
        engine.with_object(object, |doc| changes.iter().map(|change| said(doc, change)).collect::<Vec<_>>())
    })?;
    Ok(told.unwrap_or_default())
}

fn tell(row: &mut Value, said: SaidOf) {
    if let (Some((places, more)), Some(row)) = (said, row.as_object_mut()) {
        row.insert("what".to_owned(), object!(places));
        row.insert("more".to_owned(), more.into());
    }
}

pub(super) fn operations(workspace: &Workspace, status: Option<OperationStatus>) -> Reply {
    json(&workspace.shared.with(|engine| engine.operations(status, LISTED))?)
}

pub(super) fn operation(workspace: &Workspace, operation: OperationId) -> Reply {
    let view = workspace.shared.with(|engine| engine.operation(operation))?;
    let none =
        || ApiError::not_found(format!("there is no operation {operation}"), "see `ops` or `history ID`");
    let view = view.ok_or_else(none)?;
    let mut row = json(&view)?;
    if let Some(object) = &view.object {
        let items = workspace.shared.with(|engine| engine.history(object))?;
        let change = items.iter().find(|item| item.operation == operation).map(|item| item.change);
        let told = what_was_said(workspace, object, change.as_slice())?;
        told.into_iter().for_each(|said| tell(&mut row, said));
    }
    Ok(row)
}

pub(super) fn explain(workspace: &Workspace, subject: &str) -> Reply {
    let explanation = workspace.shared.with(|engine| engine.explain(subject))?;
    if explanation.is_none()
        && let Some(card) = super::cards::explained(workspace, subject)?
    {
        return Ok(card);
    }
    let none = || {
        let what: String = subject.chars().take(80).collect();
        ApiError::not_found(
            format!("there is no object, operation or card {what:?}"),
            "see `list`, `ops` and `cards`; a card is named by at least eight digits",
        )
    };
    json(&explanation.ok_or_else(none)?)
}

pub(super) fn devices(workspace: &Workspace) -> Reply {
    json(&workspace.shared.with(|engine| engine.members()))
}

pub(super) fn evidence(workspace: &Workspace) -> Reply {
    let records = workspace.shared.with(|engine| engine.evidence(LISTED))?;
    records.iter().map(record).collect::<Result<Vec<Value>, ApiError>>().map(Value::Array)
}

fn record(record: &Record) -> Reply {
    Ok(object!({
        "operation": record.id,
        "kind": json(&record.kind)?,
        "type": json(&record.operation)?,
        "status": record.outcome.word(),
        "at": record.at.rfc3339(),
        "actor": record.actor,
        "device": record.device,
        "object": record.subject.as_ref().map(|subject| &subject.object),
        "entries": record.covers.as_ref().map(|covers| covers.count),
        "decision": record.decision,
        "note": record.note,
    }))
}

pub(super) fn verify(workspace: &Workspace, progress: &Progress) -> Reply {
    let report = workspace.shared.with(|engine| engine.verify(|done, total| progress(done, total)))?;
    json(&report)
}

/// The exit code that a verification's answer stands for.
#[must_use]
pub(crate) fn verdict(report: &Value) -> u8 {
    if report.get("ok").and_then(Value::as_bool) == Some(true) { 0 } else { exit::INTEGRITY }
}
