//! Granted changes on their way into one document: applied in one go to a copy, and put on the stage. What contradicts and
//! is to be held stays out on the way (`held`).

use super::admit::{Arrival, Candidate, Judged, Ledgered};
use super::decided::Decided;
use super::stage::{Stage, StagedObject};
use super::waiting::Standing;
use super::{Engine, ObjectKey};
use crate::conflict::{self};
use crate::document::{self};
use crate::guard::{self, Admission, Door, Form};
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::AdmittedChange;
use automerge::Automerge;
use std::collections::BTreeSet;
use syncd_policy::Redeemed;
use syncd_schema::entry::Deletion;
use syncd_schema::{Digest, Entry, EntryKind, OperationId};

/// A change that was offered, and its bytes.
type Offered = (Candidate, Vec<u8>);

/// A change that fits its document.
pub(super) struct Fitting {
    pub(super) arrival: Arrival,
    pub(super) bytes: Vec<u8>,
    pub(super) proof: Redeemed,
}

impl Fitting {
    pub(super) const fn hash(&self) -> Digest {
        self.arrival.record.entry.payload_digest
    }

    pub(super) const fn at(&self) -> Standing {
        (self.arrival.no, self.arrival.seq)
    }
}

impl Engine {
    /// Applies the granted changes of one document in one go, with those that had waited for them: however often two
    /// logs build on each other, it is one piece of work. Sorts out what could not be. True when something was let in.
    pub(super) fn merge(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        mut group: Vec<Candidate>,
        done: &mut Ledgered,
    ) -> Result<bool, StoreError> {
        self.staged_object(stage, key)?;
        let holds = self.holds_contradictions(key);
        // What was held while the manifest wanted it is let in when it no longer does.
        if holds || !self.held_on(stage, key).is_empty() {
            self.offer_held(stage, key, &mut group, done)?;
        }
        let (admission, group) = self.offer_in_turn(stage, key, group, done)?;
        let Admission { doc, outcomes, is_line, .. } = admission;
        let (mut fitting, mut answered) = (Vec::new(), Vec::new());
        let mut progress = false;
        for ((Candidate { arrival, proof }, bytes), outcome) in group.into_iter().zip(outcomes) {
            let judged = match outcome {
                guard::Outcome::Applied => {
                    fitting.push(Fitting { arrival, bytes, proof });
                    continue;
                }
                // The same birth on two devices is one change in two logs.
                guard::Outcome::Present => {
                    progress = true;
                    let waits = self.pending.get(&(arrival.no, arrival.seq));
                    if waits.is_some_and(|row| row.asks.is_some()) {
                        answered.push(arrival.record.entry.payload_digest);
                    }
                    self.admitted(stage, &arrival, proof.decision(), done);
                    if let Some(staged) = stage.objects.get_mut(key) {
                        staged.row.echo(arrival.no, arrival.seq);
                        staged.row_changed = true;
                    }
                    continue;
                }
                guard::Outcome::Missing(missing) => {
                    let reason = "it builds on changes that have not arrived or were not admitted".to_owned();
                    Judged::Waits { missing, requires: Vec::new(), reason }
                }
                guard::Outcome::Refused(refused) => {
                    Judged::Refused { reason: refused.to_string(), decision: None, finding: true }
                }
            };
            self.not_admitted(stage, &arrival, judged, done)?;
        }
        let Some(document) = doc else {
            answered.iter().try_for_each(|change| self.end_held(stage, key, change))?;
            return Ok(progress);
        };
        if holds && !stage.objects.contains_key(key) {
            // Born together with what contradicts in it.
            self.bear(stage, &fitting);
        }
        let was_compared = |staged: &StagedObject| staged.compared.is_some();
        let compares = match stage.objects.get(key) {
            Some(staged) if holds => was_compared(staged) || !(is_line && fitting.len() == 1),
            _ => false,
        };
        let (document, fitting) = match compares {
            true => self.hold_back(stage, key, document, fitting, done)?,
            false => (document, fitting),
        };
        progress |= !fitting.is_empty();
        self.let_in(stage, key, (document, is_line), fitting, done)?;
        // An equal proposal of somebody else was what was let in.
        answered.iter().try_for_each(|change| self.end_held(stage, key, change))?;
        Ok(progress)
    }

    /// As [`Engine::offer`], until no change is let in before an earlier one of its session.
    fn offer_in_turn(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        mut group: Vec<Candidate>,
        done: &mut Ledgered,
    ) -> Result<(Admission, Vec<Offered>), StoreError> {
        loop {
            let (admission, mut offered) = self.offer(stage, key, group, done)?;
            if !self.keep_in_turn(stage, key, (&mut offered, &admission.outcomes), done)? {
                return Ok((admission, offered));
            }
            let whole = |(mut candidate, bytes): Offered| {
                candidate.arrival.record.payload = Some(bytes);
                candidate
            };
            group = offered.into_iter().map(whole).collect();
        }
    }

    /// Offers changes to the guard, and whatever had waited for them.
    fn offer(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        mut group: Vec<Candidate>,
        done: &mut Ledgered,
    ) -> Result<(Admission, Vec<Offered>), StoreError> {
        let mut asked: BTreeSet<Standing> =
            group.iter().map(|candidate| (candidate.arrival.no, candidate.arrival.seq)).collect();
        let number = stage.objects.get(key).map(|staged| staged.row.document);
        let mut door = Door::knowing(number.and_then(|number| self.indexes.take(number)));
        let mut offered = 0;
        while let Some(Candidate { arrival, .. }) = group.get_mut(offered) {
            offered += 1;
            let document = stage.objects.get(key).map(|staged| &*staged.document);
            let change = arrival.record.payload.take().unwrap_or_default();
            let entry = &arrival.record.entry;
            let ready = door.offer_as(document, change, entry.payload_digest, form_of(entry));
            for at in self.pending.woken_by(&ready, &[]) {
                let document = stage.objects.get(key).map(|staged| &*staged.document);
                let comes = self.pending.get(&at).filter(|row| {
                    row.object.as_ref() == Some(key)
                        && stage.pending_at(&at).is_none()
                        && row.missing.iter().all(|hash| door.holds(document, hash))
                });
                let Some(session) = comes.map(|row| row.session) else { continue };
                if asked.insert(at) {
                    group.extend(self.waited(stage, at, session, done)?);
                }
            }
        }
        let document = stage.objects.get(key).map(|staged| &*staged.document);
        let (mut admission, payloads) = door.admit(document);
        if let (Some(number), Some(index)) = (number, admission.index.take()) {
            self.indexes.keep(number, index);
        }
        Ok((admission, group.into_iter().zip(payloads).collect()))
    }

    /// Puts a new object on the stage for changes of which one is its birth.
    fn bear(&mut self, stage: &mut Stage, fitting: &[Fitting]) {
        let born = fitting.iter().find(|fitting| fitting.arrival.record.entry.is_birth());
        let Some(entry) = born.or(fitting.first()).map(|fitting| &fitting.arrival.record.entry) else {
            return;
        };
        if let Some(subject) = &entry.subject {
            self.new_object(stage, subject, document::empty(), entry.time);
        }
    }

    /// Puts changes and the document that holds them on the stage.
    fn let_in(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        (document, is_line): (Box<Automerge>, bool),
        fitting: Vec<Fitting>,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        if fitting.is_empty() {
            return Ok(());
        }
        if !stage.objects.contains_key(key) {
            self.bear(stage, &fitting);
        }
        let mut asked = Vec::new();
        let mut overruling = Vec::new();
        for one in &fitting {
            if one.arrival.record.entry.kind == EntryKind::RESOLUTION {
                overruling.push(one.arrival.record.entry.clone());
            }
            let waits = self.pending.get(&one.at());
            if waits.is_some_and(|row| row.asks.is_some()) {
                asked.push(one.hash());
            }
            self.admitted(stage, &one.arrival, one.proof.decision(), done);
        }
        if let Some(staged) = stage.objects.get_mut(key) {
            staged.document = document;
            staged.remote = true;
            staged.is_apart |= !is_line;
            note_decisions(staged, fitting.iter().map(|fitting| &fitting.arrival));
            staged.admitted.extend(fitting.into_iter().map(|Fitting { arrival, bytes, proof }| {
                let change = (arrival.record.entry.payload_digest, bytes);
                AdmittedChange::new(change, arrival.no, arrival.seq, arrival.record.entry.time, proof)
            }));
        }
        for entry in &overruling {
            self.overrule_deletions(stage, key, entry)?;
        }
        asked.iter().try_for_each(|change| self.end_held(stage, key, change))
    }

    /// Takes back the deletions that a resolution overrules: of those that it names, the ones it requires, which are
    /// here therefore. What else was deleted at the same heads was deleted by somebody who is not answered yet.
    pub(super) fn overrule_deletions(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let known = self.known_document(stage, key)?;
        let settled = known.and_then(|known| conflict::settlement_of(&known, &entry.payload_digest));
        let Some(conflict::Question::Deletion(named)) = settled.map(|settled| settled.question) else {
            return Ok(());
        };
        let mut covered: BTreeSet<Digest> = BTreeSet::new();
        for operation in &entry.requires {
            let staged = stage.objects.get(key).into_iter().flat_map(|staged| &staged.decided);
            match staged.into_iter().find(|decided| decided.row.operation == *operation) {
                Some(decided) => covered.extend(&decided.covers),
                None => covered.extend(self.deleted_by(*operation, entry)?),
            }
        }
        let heads: Vec<Digest> = named.into_iter().filter(|head| covered.contains(head)).collect();
        if let Some(staged) = stage.objects.get_mut(key) {
            staged.row.overrule(&heads);
            staged.row_changed = true;
        }
        Ok(())
    }

    /// The heads that an operation deleted, if it is a deletion of the same life.
    fn deleted_by(&self, operation: OperationId, entry: &Entry) -> Result<Vec<Digest>, StoreError> {
        let Some(found) = self.find_operation(operation)? else { return Ok(Vec::new()) };
        let LogRecord { entry: deletion, payload } = found.record;
        if !deletion.kind.is_deletion() || deletion.subject != entry.subject {
            return Ok(Vec::new());
        }
        let deletion = Deletion::read(deletion.kind, &payload.unwrap_or_default());
        Ok(deletion.map(|deletion| deletion.tombstone.heads).unwrap_or_default())
    }
}

/// What the change of an entry must be.
pub(super) fn form_of(entry: &Entry) -> Form {
    match entry.kind {
        EntryKind::RESOLUTION => Form::Resolution,
        kind if kind.is_put_to_somebody() && !entry.is_birth() => Form::Pure,
        _ => Form::Any,
    }
}

/// Notes what admitted entries may have decided: resolutions what they name, other work where something is open.
fn note_decisions<'a>(staged: &mut StagedObject, arrivals: impl Iterator<Item = &'a Arrival>) {
    let may_end = staged.is_apart || !staged.row.cards.is_empty();
    for Arrival { log, record: LogRecord { entry, .. }, .. } in arrivals {
        if entry.kind != EntryKind::RESOLUTION && !may_end {
            continue;
        }
        let settles = (entry.kind == EntryKind::RESOLUTION)
            .then(|| conflict::settlement_of(&staged.document, &entry.payload_digest))
            .flatten();
        staged.decided.push(Decided::of(entry, log.device, settles));
    }
}
