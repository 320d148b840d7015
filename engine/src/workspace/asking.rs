//! Changes that wait for somebody: kept as entries, in no document, each with a card that says whose it is.
//!
//! What lets one in is a resolution that names it and builds on it. Both become part of the document together, on every
//! device, in whatever order they came; so after a decline too everybody has the same, and nobody waits for ever.

use super::admit::{Approval, Arrival, Candidate, Judged, Ledgered, coverage};
use super::card_kind::CardKind;
use super::decided::Decided;
use super::merge::form_of;
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey, subject_key};
use crate::conflict::{Question, Settlement};
use crate::document;
use crate::guard::{self, Door};
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{AboutRow, CardRow, PendingRow};
use automerge::Automerge;
use std::collections::BTreeMap;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, EntryKind};

impl Engine {
    /// Puts what somebody has let in among the granted changes, and leaves the rest to wait.
    pub(super) fn let_in_asked(
        &mut self,
        stage: &mut Stage,
        asking: Vec<(Arrival, Approval)>,
        candidates: &mut BTreeMap<ObjectKey, Vec<Candidate>>,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let mut rest = asking;
        // Resolutions that came earlier and miss what has come now.
        for (arrival, _) in &rest {
            let Some(subject) = &arrival.record.entry.subject else { continue };
            let change = arrival.record.entry.payload_digest;
            for at in self.pending.woken_by(&[change], &[]) {
                let session = self.pending.get(&at).filter(|_| stage.pending_at(&at).is_none());
                let Some(session) = session.map(|row| row.session) else { continue };
                let candidate = self.waited(stage, at, session, done)?;
                let lets_in = |candidate: &Candidate| let_in_by(&candidate.arrival) == Some(change);
                let group = candidates.entry(subject_key(subject)).or_default();
                let is_there = group.iter().any(|known| (known.arrival.no, known.arrival.seq) == at);
                group.extend(candidate.filter(|candidate| !is_there && lets_in(candidate)));
            }
        }
        // What has waited for the resolutions that are here now.
        let wanted: Vec<(ObjectKey, Digest)> = candidates
            .iter()
            .flat_map(|(key, group)| {
                group.iter().filter_map(|candidate| Some((key.clone(), let_in_by(&candidate.arrival)?)))
            })
            .collect();
        for (_, change) in &wanted {
            let at: Vec<Standing> = self.pending.asking(change).collect();
            for at in at {
                if stage.pending_at(&at).is_none() {
                    rest.extend(self.asked_anew(stage, at, done)?);
                }
            }
        }
        for (arrival, approval) in rest {
            if self.is_let_in(stage, &arrival, &approval, done)? {
                continue;
            }
            let (change, operation) = (arrival.record.entry.payload_digest, arrival.record.entry.operation);
            let key = arrival.record.entry.subject.as_ref().map(subject_key);
            let group = key.as_ref().and_then(|key| candidates.get_mut(key));
            let lets_in = |candidate: &&Candidate| let_in_by(&candidate.arrival) == Some(change);
            let by = group.as_ref().and_then(|group| group.iter().find(lets_in));
            let Some(by) = by else {
                match self.worth_asking(stage, &arrival, approval)? {
                    Judged::Asks(Approval::Proposed(proof)) if arrival.in_burst => {
                        if !self.keeps_out(stage, &arrival, &proof, done)?
                            && let Some(key) = key
                        {
                            candidates.entry(key).or_default().push(Candidate { arrival, proof });
                        }
                    }
                    judged => self.not_admitted(stage, &arrival, judged, done)?,
                }
                continue;
            };
            match (approval.by(operation, &by.proof), group) {
                (Some(proof), Some(group)) => group.push(Candidate { arrival, proof }),
                _ => {
                    let reason = "what decided about it does not approve it".to_owned();
                    let judged = Judged::Refused { reason, decision: None, finding: true };
                    self.not_admitted(stage, &arrival, judged, done)?;
                }
            }
        }
        Ok(())
    }

    /// Nobody is asked about a change that could not be let in, or not yet.
    fn worth_asking(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        approval: Approval,
    ) -> Result<Judged, StoreError> {
        let entry = &arrival.record.entry;
        let Some(key) = entry.subject.as_ref().map(subject_key) else { return Ok(Judged::Asks(approval)) };
        self.staged_object(stage, &key)?;
        let staged = stage.objects.get(&key);
        let (document, number) =
            (staged.map(|staged| &*staged.document), staged.map(|staged| staged.row.document));
        let payload = arrival.record.payload.as_deref().unwrap_or_default();
        let mut door = Door::knowing(number.and_then(|number| self.indexes.take(number)));
        door.offer_as(document, payload, entry.payload_digest, form_of(entry));
        let (mut admission, _) = door.admit(document);
        if let (Some(number), Some(mut index)) = (number, admission.index.take()) {
            // Nothing is let in yet.
            if !index.is_of(document) {
                index.undo();
            }
            self.indexes.keep(number, index);
        }
        Ok(match admission.outcomes.pop() {
            Some(guard::Outcome::Missing(missing)) => {
                let reason = "it builds on changes that have not arrived or were not admitted".to_owned();
                Judged::Waits { missing, requires: Vec::new(), reason }
            }
            Some(guard::Outcome::Refused(refused)) => {
                Judged::Refused { reason: refused.to_string(), decision: None, finding: true }
            }
            _ => Judged::Asks(approval),
        })
    }

    /// Whether the same change was let in before, by an equal entry: then there is nothing left to ask.
    fn is_let_in(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        approval: &Approval,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        let Some(subject) = &arrival.record.entry.subject else { return Ok(false) };
        let change = arrival.record.entry.payload_digest;
        let key = subject_key(subject);
        let is_here = match self.staged_object(stage, &key)? {
            Some(staged) if document::holds(&staged.document, &change) => {
                staged.row.echo(arrival.no, arrival.seq);
                staged.row_changed = true;
                true
            }
            _ => false,
        };
        if is_here {
            let decision = match approval {
                Approval::Proposed(proof) => proof.decision(),
                Approval::Reviewed(refusal) => refusal.digest,
            };
            self.admitted(stage, arrival, decision, done);
        }
        Ok(is_here)
    }

    /// An entry that waits for somebody, judged again.
    pub(super) fn asked_anew(
        &mut self,
        stage: &mut Stage,
        at: Standing,
        done: &mut Ledgered,
    ) -> Result<Option<(Arrival, Approval)>, StoreError> {
        let Some(session) = self.pending.get(&at).map(|row| row.session) else { return Ok(None) };
        let Some(arrival) = self.stored_arrival(stage, at, session, done)? else { return Ok(None) };
        match self.judge(stage, &arrival, done)? {
            Judged::Asks(approval) => Ok(Some((arrival, approval))),
            Judged::Granted(proof) => Ok(Some((arrival, Approval::Proposed(proof)))),
            other => self.not_admitted(stage, &arrival, other, done).map(|()| None),
        }
    }

    /// Keeps an entry out until somebody decides, and asks.
    pub(super) fn ask_about(
        &mut self,
        stage: &mut Stage,
        arrival: &Arrival,
        approval: &Approval,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let entry = &arrival.record.entry;
        let (Some(subject), at) = (&entry.subject, (arrival.no, arrival.seq)) else { return Ok(()) };
        let (reason, decision) = match approval {
            Approval::Proposed(proof) => ("its author may only propose it".to_owned(), proof.decision()),
            Approval::Reviewed(refusal) => (refusal.decision.in_words(), refusal.digest),
        };
        let before = stage.pending_at(&at).cloned().flatten().or_else(|| self.pending.get(&at).cloned());
        done.states.insert(at, (arrival.log, EntryState::Held, None));
        if before.as_ref().is_some_and(|row| row.asks.is_some()) {
            return Ok(());
        }
        let record =
            ledger::withheld(entry, coverage(arrival), arrival.log.device, false, Some(decision), &reason);
        done.records.push((at, record));
        let key = subject_key(subject);
        let row = PendingRow {
            decision: Some(decision),
            session: arrival.session,
            asks: Some(entry.payload_digest),
            ..PendingRow::held(reason, Some(key.clone()), stage.now)
        };
        stage.pending.insert(at, Some(row));
        self.open_held(stage, &key, entry.payload_digest, at);
        Ok(())
    }

    /// Opens the card about a change that waits.
    pub(super) fn open_held(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        change: Digest,
        at: Standing,
    ) -> Digest {
        let card = self.held_card(key, &change);
        let row = CardRow {
            object: key.0.clone(),
            collection: key.1.clone(),
            incarnation: key.2,
            kind: CardKind::PolicyReview as u8,
            path: String::new(),
            about: AboutRow::Held(at.0, at.1),
            opened: stage.now,
            before: Vec::new(),
            generation: 0,
            end: None,
        };
        self.open_card(stage, card, &row);
        card
    }

    /// Ends the card about a change that was let in, decided by a resolution of this stage.
    pub(super) fn end_held(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        change: &Digest,
    ) -> Result<(), StoreError> {
        let card = self.held_card(key, change);
        let Some(row) = self.card_row(Some(stage), &card)?.filter(|row| row.end.is_none()) else {
            return Ok(());
        };
        let decided = stage.objects.get(key).into_iter().flat_map(|staged| &staged.decided);
        let names = |decided: &&Decided| {
            decided.settles.as_ref().is_some_and(|settled| settled.question == Question::Change(*change))
        };
        let by = decided.into_iter().find(names).map(|decided| decided.row.clone());
        self.end_card(stage, card, row, Vec::new(), by);
        Ok(())
    }

    /// An object's document as it would be with a change that waits; none when that does not fit.
    pub(super) fn document_with(&self, doc: Option<&Automerge>, arrival: &Arrival) -> Option<Box<Automerge>> {
        let payload = arrival.record.payload.as_deref()?;
        let mut door = Door::default();
        door.offer_as(doc, payload, arrival.record.entry.payload_digest, form_of(&arrival.record.entry));
        let (admission, _) = door.admit(doc);
        match admission.outcomes.first() {
            Some(guard::Outcome::Applied) => admission.doc,
            Some(guard::Outcome::Present) => Some(Box::new(doc.cloned().unwrap_or_else(document::empty))),
            _ => None,
        }
    }
}

/// The change that a resolution lets in, if it is about one.
pub(super) fn let_in_by(arrival: &Arrival) -> Option<Digest> {
    if arrival.record.entry.kind != EntryKind::RESOLUTION {
        return None;
    }
    let message = guard::message(arrival.record.payload.as_deref()?).ok()?;
    match Settlement::of_message(&message)?.question {
        Question::Change(change) => Some(change),
        Question::Place(_) | Question::Deletion(_) => None,
    }
}
