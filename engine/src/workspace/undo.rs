//! Taking an answer back: what it decided is asked again, by operations that say so.
//!
//! The answer stays in the history, and so does what takes it back: answers that contradict each other, one for each
//! side there was, so that every device opens the same card for them. What is asked of the values themselves, as where
//! one breaks a rule, is asked again when the value before is back. Where somebody has written since, nothing is taken back:
//! that would undo their work.

use super::Engine;
use super::admit::Ledgered;
use super::intent::{WriteError, WriteRequest, Written};
use super::local::{done, key_of};
use super::resolve::forked_from;
use super::stage::Stage;
use crate::conflict::{self, NotReopened, OpName};
use crate::document::{self, Edit, EncodedChange, pointer};
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{AboutRow, ObjectRow};
use crate::store::tables::{Table, key};
use automerge::{Automerge, ChangeHash};
use serde::Serialize;
use serde_json::{Value, json};
use syncd_evidence::{Outcome, RecordKind};
use syncd_schema::entry::Subject;
use syncd_schema::{Digest, EntryKind, Incarnation, ObjectId, OperationId, OperationType};

/// Why an operation cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// No such operation here.
    #[error("there is no operation {0} here")]
    NotFound(OperationId),
    /// It answered no card by writing into an object.
    #[error("operation {0} is no answer that was written into an object")]
    NotAnAnswer(OperationId),
    /// What it answered cannot be asked again.
    #[error(
        "what card {0} asked cannot be asked again: its answer said which object stays, or what is let in, and that is done"
    )]
    NotReopened(Digest),
    /// Somebody has written there since.
    #[error("{path} was written since, by somebody who knew of it: edit the object instead")]
    ChangedSince {
        /// Where.
        path: String,
    },
}

/// What became of an answer that was taken back.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TakenBack {
    /// The cards that ask again what it had answered.
    pub asks: Vec<Digest>,
    /// Objects that it forked off, which stay.
    pub stays: Vec<ObjectId>,
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
        let note = format!("takes operation {operation} back");
        let request = WriteRequest { note: Some(note.clone()), ..request.clone() };
        let written = match self.answers_again(&row, &entry.payload_digest)? {
            Some(answers) => self.ask_again(stage, &request, row, answers)?,
            None => self.write_back(stage, &request, row, entry.payload_digest)?,
        };
        let (kind, device) = (RecordKind::Compensation, self.device());
        let mut record =
            ledger::record(kind, Outcome::Fulfilled, OperationType::Repair, &request.actor, device);
        record.set_note(&note);
        self.record(stage, record);
        Ok(written)
    }

    /// What asks again what an answer decided. None where that is asked of the values that are there, so that it is asked
    /// again by itself when they are back.
    fn answers_again(
        &mut self,
        row: &ObjectRow,
        answer: &Digest,
    ) -> Result<Option<Vec<EncodedChange>>, WriteError> {
        let manifest = self.governance().manifest(&row.collection);
        let most = self.comparable;
        let whole = self.with_whole(row, Clone::clone)?;
        let this: &Self = self;
        let by_lines = |doc: &Automerge, text: &OpName| this.by_lines(&row.collection, doc)(text);
        let Some(settled) = conflict::settlement_of(&whole, answer) else { return Ok(None) };
        let reopened = match conflict::decided(&whole, answer, &by_lines, most) {
            Some((before, conflict)) => conflict::reopen(&whole, answer, (&before, &conflict), &manifest),
            None => conflict::reopen_held(&whole, answer, &manifest),
        };
        match reopened {
            Ok(answers) => Ok(Some(answers)),
            Err(NotReopened::ChangedSince(steps)) => {
                Err(UndoError::ChangedSince { path: conflict::pointer(&steps) }.into())
            }
            Err(NotReopened::Edit(error)) => Err(error.into()),
            Err(NotReopened::NoQuestion) => {
                let about = this.card_row(None, &settled.card)?.map(|row| row.about);
                match about {
                    Some(AboutRow::Value(_) | AboutRow::Unique(_) | AboutRow::Dangling(_)) => Ok(None),
                    _ => Err(UndoError::NotReopened(settled.card).into()),
                }
            }
        }
    }

    /// Logs answers that contradict each other.
    fn ask_again(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        object: ObjectRow,
        answers: Vec<EncodedChange>,
    ) -> Result<Written, WriteError> {
        let manifest = self.governance().manifest(&object.collection);
        let log = self.log_for(stage, &manifest)?;
        let (collection, incarnation) = (object.collection.clone(), object.incarnation);
        let subject = Subject { collection, object: object.object.clone(), incarnation };
        let key = key_of(&object);
        let mut group = Vec::new();
        let mut last = None;
        for change in answers {
            let at = self.next_operation(stage, log);
            let proof = self.admit_resolution(stage, request, &subject, &change.bytes, at.0)?;
            let digest = (change.hash, change.bytes.len());
            let mut entry =
                self.entry(request, EntryKind::RESOLUTION, at, Some(subject.clone()), digest, None);
            entry.note.clone_from(&request.note);
            group.push(self.log_decision(stage, log, entry, change.bytes, proof));
            last = Some(at.0);
        }
        let operation = last.ok_or_else(|| WriteError::NotFound(key.0.clone()))?;
        self.carry_out(stage, &key, group, Ledgered::default())?;
        let heads = stage.objects.get(&key).map(|staged| document::heads(&staged.document));
        Ok(done(operation, Some(key.0), heads.unwrap_or_default()))
    }

    /// Writes what stood there before an answer over what the answer wrote.
    fn write_back(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        row: ObjectRow,
        answer: Digest,
    ) -> Result<Written, WriteError> {
        let (before, after, now) = self.with_document(&row, |doc| {
            let meta = doc.get_change_meta_by_hash(&ChangeHash(answer.0));
            let deps: Vec<Digest> =
                meta.map(|meta| meta.deps.iter().map(|dep| Digest(dep.0)).collect()).unwrap_or_default();
            (document::read_past(doc, &deps), document::read_past(doc, &[answer]), document::read(doc))
        })?;
        let mut patch = Vec::new();
        take_back(&mut String::new(), (Some(&before), Some(&after), Some(&now)), &mut patch)?;
        let edit = serde_json::from_value(Value::Array(patch))
            .map_err(|_| UndoError::ChangedSince { path: String::new() })?;
        self.edit(stage, request, &row.object, Some(&row.heads), &Edit::JsonPatch(edit))
    }

    /// What became of an answer that was taken back: what is asked again, and what stays of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn taken_back(&mut self, operation: OperationId) -> Result<TakenBack, StoreError> {
        let Some(found) = self.find_operation(operation)? else { return Ok(TakenBack::default()) };
        let entry = found.record.entry;
        let Some(subject) = entry.subject else { return Ok(TakenBack::default()) };
        let key = (subject.object.clone(), subject.collection.clone(), subject.incarnation);
        let Some(row) = self.object_row(&key)? else { return Ok(TakenBack::default()) };
        let settled = self.with_whole(&row, |doc| conflict::settlement_of(doc, &entry.payload_digest))?;
        let Some(settled) = settled else { return Ok(TakenBack::default()) };
        let end = self.card_row(None, &settled.card)?.and_then(|row| row.end);
        let asks = end.map(|end| end.successors).unwrap_or_default();
        let mut stays = Vec::new();
        let prefix = forked_from(&subject.object, &settled.card);
        for at in self.store.keys(Table::Names, &key::name_prefix(&subject.collection), usize::MAX)? {
            let Some(name) = key::parse_name(&at).filter(|name| name.0.as_str().starts_with(&prefix)) else {
                continue;
            };
            if self.object_row(&name)?.is_some_and(|row| !row.is_tombstoned()) {
                stays.push(name.0);
            }
        }
        Ok(TakenBack { asks, stays })
    }
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
