//! Requests that write: each is one intent to the engine, which judges it and answers when it is on disk.

use super::{ApiError, Reply, Workspace, json};
use crate::os;
use serde_json::{Value, json as object};
use syncd_engine::{Edit, Intent, WriteRequest, Written};
use syncd_schema::{Actor, Collection, Digest, ObjectId, limits};

/// Who asks, and under which key.
pub(super) struct Who {
    pub(super) actor: Actor,
    pub(super) idempotency_key: Option<String>,
    /// What the caller says about it.
    pub(super) note: Option<String>,
}

impl Who {
    pub(super) fn wants(&self, intent: Intent) -> WriteRequest {
        let idempotency_key = self.idempotency_key.clone();
        let note = self.note.clone();
        WriteRequest { idempotency_key, note, ..WriteRequest::new(self.actor.clone(), intent) }
    }
}

pub(super) fn put(
    workspace: &Workspace,
    who: Who,
    collection: Collection,
    object: Option<ObjectId>,
    value: Value,
) -> Reply {
    write(workspace, who, Intent::Put { collection, object, value })
        .and_then(|written| answer(workspace, &written))
}

pub(super) fn edit(
    workspace: &Workspace,
    who: Who,
    object: ObjectId,
    base: Option<Vec<Digest>>,
    edit: Edit,
) -> Reply {
    write(workspace, who, Intent::Edit { object, base, edit }).and_then(|written| answer(workspace, &written))
}

pub(super) fn delete(workspace: &Workspace, who: Who, object: ObjectId) -> Reply {
    write(workspace, who, Intent::Delete { object }).and_then(|written| answer(workspace, &written))
}

pub(super) fn checkpoint(workspace: &Workspace, who: Who) -> Reply {
    let written = write(workspace, who, Intent::Checkpoint)?;
    let checkpoint = workspace.shared.with(|engine| engine.own_checkpoint())?;
    Ok(object!({ "operation": written.operation, "status": written.status, "checkpoint": checkpoint }))
}

pub(super) fn write(workspace: &Workspace, who: Who, intent: Intent) -> Result<Written, ApiError> {
    if who.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > limits::ID_BYTES) {
        let message = format!("an idempotency key has 1 to {} bytes", limits::ID_BYTES);
        return Err(ApiError::usage(message, "choose another key"));
    }
    Ok(workspace.shared.write(who.wants(intent), os::now)?)
}

pub(super) fn answer(workspace: &Workspace, written: &Written) -> Reply {
    let mut answer = object!({
        "object": written.object,
        "operation": written.operation,
        "status": json(&written.status)?,
        "heads": json(&written.heads)?,
        "repeated": written.repeated,
    });
    if let (Some(card), Some(members)) = (&written.card, answer.as_object_mut()) {
        members.insert("card".to_owned(), json(card)?);
        let asked = workspace.shared.with(|engine| engine.card(card))?;
        members.insert("card_kind".to_owned(), asked.map(|asked| asked.summary.kind).into());
    }
    Ok(answer)
}
