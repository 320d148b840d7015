//! Taking an answer back: what it wrote is written over with what stood there before, by an operation that says so.
//!
//! The answer stays in the history, and so does what takes it back. Where somebody has written since, nothing is taken
//! back: that would undo their work.

use super::Engine;
use super::intent::{Intent, WriteError, WriteRequest, Written};
use super::stage::Stage;
use crate::conflict::{self, Choice, Question};
use crate::document::{self, Edit, pointer};
use crate::ledger;
use automerge::{Automerge, ChangeHash};
use serde_json::{Value, json};
use syncd_evidence::{Outcome, RecordKind};
use syncd_schema::{Digest, EntryKind, Incarnation, OperationId, OperationType};

/// Why an operation cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// No such operation here.
    #[error("there is no operation {0} here")]
    NotFound(OperationId),
    /// It answered no card by writing into an object.
    #[error("operation {0} is no answer that was written into an object")]
    NotAnAnswer(OperationId),
    /// Somebody has written there since.
    #[error("{path} was written since, by somebody who knew of it: edit the object instead")]
    ChangedSince {
        /// Where.
        path: String,
    },
}

impl Engine {
    /// Takes a resolution back.
    pub(super) fn undo(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        operation: OperationId,
    ) -> Result<Written, WriteError> {
        let found = self.find_operation(operation)?.ok_or(UndoError::NotFound(operation))?;
        let entry = found.record.entry;
        let not = || UndoError::NotAnAnswer(operation);
        let subject = entry.subject.filter(|_| entry.kind == EntryKind::RESOLUTION).ok_or_else(not)?;
        let key = (subject.object.clone(), subject.collection, Incarnation(subject.incarnation.0));
        let row = self.object_row(&key)?.filter(|row| !row.reborn).ok_or_else(not)?;
        let change = entry.payload_digest;
        let (before, after, now) = self.with_document(&row, |doc| {
            (
                document::read_past(doc, &stood_on(doc, change)),
                document::read_past(doc, &[change]),
                document::read(doc),
            )
        })?;
        let mut patch = Vec::new();
        take_back(&mut String::new(), (Some(&before), Some(&after), Some(&now)), &mut patch)?;
        let edit = serde_json::from_value(Value::Array(patch)).map_err(|_| not())?;
        let note = format!("takes operation {operation} back");
        let intent = Intent::Edit {
            object: subject.object.clone(),
            base: Some(row.heads),
            edit: Edit::JsonPatch(edit),
        };
        let request = WriteRequest { note: Some(note.clone()), intent, ..request.clone() };
        let Intent::Edit { object, base, edit } = &request.intent else { return Err(not().into()) };
        let written = self.edit(stage, &request, object, base.as_deref(), edit)?;
        let (kind, device) = (RecordKind::Compensation, self.device());
        let mut record =
            ledger::record(kind, Outcome::Fulfilled, OperationType::Repair, &request.actor, device);
        record.set_note(&note);
        self.record(stage, record);
        Ok(written)
    }
}

/// The heads before an answer; before what it let in, where that is what it did.
fn stood_on(doc: &Automerge, answer: Digest) -> Vec<Digest> {
    let lets_in =
        conflict::settlement_of(doc, &answer).and_then(|settled| match (settled.question, settled.choice) {
            (Question::Change(held), Choice::Remote | Choice::Merge) => Some(held),
            _ => None,
        });
    let change = lets_in.filter(|held| document::holds(doc, held)).unwrap_or(answer);
    let meta = doc.get_change_meta_by_hash(&ChangeHash(change.0));
    meta.map(|meta| meta.deps.iter().map(|dep| Digest(dep.0)).collect()).unwrap_or_default()
}

/// What turns the value after an answer into the one before it, where it still stands as it was answered.
fn take_back(
    path: &mut String,
    (before, after, now): (Option<&Value>, Option<&Value>, Option<&Value>),
    patch: &mut Vec<Value>,
) -> Result<(), UndoError> {
    if before == after {
        return Ok(());
    }
    if let (Some(Value::Object(was)), Some(Value::Object(is)), Some(Value::Object(shown))) =
        (before, after, now)
    {
        let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let length = path.len();
            pointer::push(path, key);
            take_back(path, (was.get(key), is.get(key), shown.get(key)), patch)?;
            path.truncate(length);
        }
        return Ok(());
    }
    if after != now {
        return Err(UndoError::ChangedSince { path: path.clone() });
    }
    patch.push(match (before, after) {
        (None, _) => json!({ "op": "remove", "path": path }),
        (Some(value), None) => json!({ "op": "add", "path": path, "value": value }),
        (Some(value), Some(_)) => json!({ "op": "replace", "path": path, "value": value }),
    });
    Ok(())
}
