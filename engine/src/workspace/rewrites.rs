//! What this device's own daemon does about rewrites in a row: edits that leave less than half of what their objects held.
//!
//! How much an edit leaves depends on what was there, so others could not count rewrites alike. The author's daemon counts
//! them, and beyond as many as there may be deletions it writes them as entries of their own kind, which wait everywhere
//! under the card of their burst. They are in no document until then, so that nothing builds on them: what somebody writes
//! meanwhile is held up by nothing.

use super::burst::{DELETIONS, Verdict, WINDOW};
use super::burst_answer::SOME;
use super::intent::{WriteError, WriteRequest, Written};
use super::local::key_of;
use super::stage::Stage;
use super::{Engine, LogState};
use crate::document::{self, Edit, EditError};
use crate::store::rows::{DeletionsRow, LogKind, ObjectRow};
use crate::store::tables::LogNo;
use std::sync::Arc;
use syncd_policy::Redeemed;
use syncd_schema::entry::Subject;
use syncd_schema::{
    Actor, Collection, Digest, EntryKind, LogSeq, ObjectId, OperationId, UnixMicros, burst, domain,
};

/// The halves of a name under which the rewrites of one object are noted: whose, and of what.
const HALF: usize = 16;

/// Where a rewrite would stand, and what permits it.
pub(super) struct Rewriting {
    pub(super) log: LogNo,
    pub(super) at: (OperationId, UnixMicros),
    pub(super) proof: Redeemed,
}

/// What is noted under this name in a log's row: the first half says whose rewrites, the other of which object.
fn name_of(of: &Digest, object: &ObjectId) -> Digest {
    let whose = domain::hash("rewrites", &[&of.0]);
    let mut name = domain::hash("rewritten", &[object.as_str().as_bytes()]);
    let halves = name.0.iter_mut().zip(whose.0).take(HALF);
    halves.for_each(|(byte, whose)| *byte = whose);
    name
}

/// Notes that an object was rewritten, and forgets what is too far back to matter.
fn note(rows: &mut Vec<DeletionsRow>, of: &Digest, object: &ObjectId, seq: LogSeq) {
    let name = name_of(of, object);
    rows.retain_mut(|row| {
        row.places.retain(|place| place.plus(WINDOW) > seq);
        row.begun = row.begun.filter(|at| at.plus(WINDOW) > seq);
        row.of != name && (!row.places.is_empty() || row.begun.is_some())
    });
    let is_of = |row: &&DeletionsRow| row.of.0.starts_with(name.0.get(..HALF).unwrap_or_default());
    let oldest = rows.iter().filter(is_of).min_by_key(|row| row.places.first().copied()).map(|row| row.of);
    if rows.iter().filter(is_of).count() >= DELETIONS
        && let Some(oldest) = oldest
    {
        rows.retain(|row| row.of != oldest);
    }
    rows.push(DeletionsRow { of: name, places: vec![seq], begun: None });
}

impl Engine {
    /// Whether one more rewrite by an actor in a collection would be one of many. None where they are not counted, or
    /// somebody has let in those to come; else whose they are.
    pub(super) fn many_rewritten(
        &self,
        stage: &Stage,
        log: LogNo,
        (actor, row): (&Actor, &ObjectRow),
    ) -> Result<Option<Digest>, WriteError> {
        let Some((of, next)) = self.rewrites_of(stage, log, actor, &row.collection) else { return Ok(None) };
        let noted = self.staged_log(stage, log).map(|state| &state.row.deletions);
        let Some(noted) = noted.filter(|noted| noted.len() + 1 >= SOME) else { return Ok(None) };
        let name = name_of(&of, &row.object);
        let whose = name.0.get(..HALF).unwrap_or_default();
        let near = |row: &&DeletionsRow| row.places.iter().any(|place| place.plus(WINDOW) >= next);
        let count =
            noted.iter().filter(|row| row.of != name && row.of.0.starts_with(whose)).filter(near).count();
        // Of fewer objects than that most must be rewritten.
        let are_many = count >= DELETIONS
            || count + 1 >= SOME && self.leaves_few(stage, &row.collection, 2 * (count + 1), 0)?;
        if !are_many {
            return Ok(None);
        }
        Ok((!matches!(self.burst_verdict(stage, &of, next)?, Verdict::Happens)).then_some(of))
    }

    /// Counts an edit that stands at the end of a log, if it is a rewrite.
    pub(super) fn count_rewrite(
        &self,
        stage: &mut Stage,
        log: LogNo,
        actor: &Actor,
        (collection, object): (&Collection, &ObjectId),
    ) {
        if let Some((of, next)) = self.rewrites_of(stage, log, actor, collection) {
            let seq = LogSeq(next.0.saturating_sub(1));
            self.alter_log(stage, log, |state| note(&mut state.deletions, &of, object, seq));
        }
    }

    /// The name of an actor's burst in a collection, and where the next entry will stand.
    fn rewrites_of(
        &self,
        stage: &Stage,
        log: LogNo,
        actor: &Actor,
        collection: &Collection,
    ) -> Option<(Digest, LogSeq)> {
        match self.staged_log(stage, log).map(|state| (state.row.kind, LogState::size(state))) {
            Some((LogKind::Device(id), next)) => Some((burst::name(&id, actor, collection), next)),
            _ => None,
        }
    }

    /// Logs an edit as one of many rewrites, which waits with them.
    pub(super) fn log_rewrite(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        Rewriting { log, at, proof }: Rewriting,
        (row, edit): (ObjectRow, &Edit),
        of: Digest,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&row.collection);
        let key = key_of(&row);
        let staged = self.stage_object(stage, row.clone())?;
        let heads = document::heads(&staged.document);
        let change = document::propose(&staged.document, &heads, edit, &manifest)?.ok_or(EditError::Lost)?;
        let (collection, incarnation) = (row.collection.clone(), row.incarnation);
        let subject = Some(Subject { collection, object: row.object.clone(), incarnation });
        let digest = (change.hash, change.bytes.len());
        let entry = self.entry(request, EntryKind::REWRITE, at, subject, digest, Some(heads));
        let place = self.append_withheld(stage, log, &entry, change.bytes, &proof);
        self.count_rewrite(stage, log, &request.actor, (&row.collection, &row.object));
        self.hold_in_burst(stage, place, &entry, &of, &proof);
        let card = self.burst_card(&of, &self.open_part(Some(stage), &of)?);
        Ok(self.waiting_in_burst(at.0, key, card))
    }
}
