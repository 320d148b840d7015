//! Granted changes on their way into one document: applied in one go to a copy, and put on the stage.
//!
//! Where the manifest wants contradictions held, what contradicts stays out until somebody decides. What was held before
//! is offered again with whatever arrives, so that a decision lets in everything that it ends the question of.

use super::admit::{Arrival, Candidate, Judged, Ledgered, coverage};
use super::cards::{Decided, Judged as Compared};
use super::contradictions::asks;
use super::stage::{Stage, StagedObject};
use super::waiting::Standing;
use super::{Engine, ObjectKey};
use crate::conflict;
use crate::document::{self, EncodedChange};
use crate::guard::{self, Admission, Door, Form};
use crate::ledger;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{AdmittedChange, ObjectRow, PendingRow};
use automerge::Automerge;
use std::collections::BTreeSet;
use syncd_policy::Redeemed;
use syncd_schema::entry::Tombstone;
use syncd_schema::manifest::OnConflict;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, Entry, EntryKind, OperationId, cbor, limits};

/// A change that was offered, and its bytes.
type Offered = (Candidate, Vec<u8>);

/// A change that fits its document.
struct Fitting {
    arrival: Arrival,
    bytes: Vec<u8>,
    proof: Redeemed,
}

impl Fitting {
    const fn hash(&self) -> Digest {
        self.arrival.record.entry.payload_digest
    }

    const fn at(&self) -> Standing {
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
        if holds || self.holds_back(key) {
            group.extend(self.held_apart(stage, key, done)?);
        }
        let (admission, group) = self.offer(stage, key, group, done)?;
        let Admission { doc, outcomes, is_line } = admission;
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
        let compares = holds && stage.objects.contains_key(key) && !(is_line && fitting.len() == 1);
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
        let mut door = Door::default();
        let mut offered = 0;
        while let Some(Candidate { arrival, .. }) = group.get_mut(offered) {
            offered += 1;
            let document = stage.objects.get(key).map(|staged| &staged.document);
            let change = arrival.record.payload.take().unwrap_or_default();
            let entry = &arrival.record.entry;
            let ready = door.offer_as(document, change, entry.payload_digest, form_of(entry));
            for at in self.pending.woken_by(&ready, &[]) {
                let document = stage.objects.get(key).map(|staged| &staged.document);
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
        let document = stage.objects.get(key).map(|staged| &staged.document);
        let (admission, payloads) = door.admit(document);
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
        (document, is_line): (Automerge, bool),
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
    fn overrule_deletions(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let settled = stage
            .objects
            .get(key)
            .and_then(|staged| conflict::settlement_of(&staged.document, &entry.payload_digest));
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
        if deletion.kind != EntryKind::TOMBSTONE || deletion.subject != entry.subject {
            return Ok(Vec::new());
        }
        let tombstone: Result<Tombstone, _> =
            cbor::decode("tombstone", &payload.unwrap_or_default(), limits::RECORD_BYTES);
        Ok(tombstone.map(|tombstone| tombstone.heads).unwrap_or_default())
    }

    /// Whether what contradicts in an object stays out of it until somebody decides.
    pub(super) fn holds_contradictions(&self, key: &ObjectKey) -> bool {
        self.governance()
            .manifests
            .get(&key.1)
            .is_some_and(|manifest| manifest.on_conflict() == OnConflict::Hold)
    }

    /// Changes of an object that are held because they contradict, judged again.
    fn held_apart(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        done: &mut Ledgered,
    ) -> Result<Vec<Candidate>, StoreError> {
        let mut held = Vec::new();
        for at in self.apart(key) {
            let Some(session) = self.pending.get(&at).filter(|_| stage.pending_at(&at).is_none()) else {
                continue;
            };
            let session = session.session;
            held.extend(self.waited(stage, at, session, done)?);
        }
        Ok(held)
    }

    /// Where the entries stand that are held because they contradict.
    pub(super) fn apart(&self, key: &ObjectKey) -> Vec<Standing> {
        let of_object = self.pending.of_object(&key.0);
        let apart = of_object.filter(|(_, row)| row.apart && row.object.as_ref() == Some(key));
        apart.map(|(at, _)| *at).collect()
    }

    /// An object's document with the changes that are held because they contradict; none when none is.
    pub(super) fn whole_document(
        &self,
        row: &ObjectRow,
        doc: &Automerge,
    ) -> Result<Option<Automerge>, StoreError> {
        let key = super::local::key_of(row);
        let mut held = Vec::new();
        for (no, seq) in self.apart(&key) {
            let Some(LogRecord { entry, payload: Some(bytes) }) = self.record_at(no, seq)? else { continue };
            held.push(EncodedChange { hash: entry.payload_digest, bytes });
        }
        if held.is_empty() {
            return Ok(None);
        }
        let mut whole = doc.clone();
        if let Err(error) = document::join_all(&mut whole, &held) {
            // They fitted when they were held.
            tracing::error!(object = %row.object, %error, "held changes do not fit their object");
            return Ok(None);
        }
        Ok(Some(whole))
    }

    /// Whether something of an object is held because it contradicts.
    pub(super) fn holds_back(&self, key: &ObjectKey) -> bool {
        self.pending.of_object(&key.0).any(|(_, row)| row.apart && row.object.as_ref() == Some(key))
    }

    /// Reads an object's document with what is held.
    pub(super) fn with_whole<T>(
        &mut self,
        row: &ObjectRow,
        read: impl FnOnce(&Automerge) -> T,
    ) -> Result<T, StoreError> {
        if !self.holds_back(&super::local::key_of(row)) {
            return self.with_document(row, read);
        }
        let doc = self.with_document(row, Clone::clone)?;
        let whole = self.whole_document(row, &doc)?.unwrap_or(doc);
        Ok(read(&whole))
    }

    /// Keeps what contradicts out: gives back the document and the changes without it.
    fn hold_back(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        whole: Automerge,
        fitting: Vec<Fitting>,
        done: &mut Ledgered,
    ) -> Result<(Automerge, Vec<Fitting>), StoreError> {
        let Some(staged) = stage.objects.get(key) else { return Ok((whole, fitting)) };
        let before = self.stored_contradictions(&staged.row)?;
        let is_known = |fitting: &&Fitting| self.pending.get(&fitting.at()).is_some_and(|row| row.apart);
        let arrived: Vec<Digest> =
            fitting.iter().filter(|fitting| !is_known(fitting)).map(Fitting::hash).collect();
        let compared = {
            let by_lines = self.by_lines(&staged.row, &whole);
            conflict::update(&whole, &before, &arrived, &by_lines)
        };
        let Ok(after) = compared else {
            // Too much to compare: shown as where nothing is held, with a finding that says so.
            return Ok((whole, fitting));
        };
        let manifest = self.governance().manifest(&key.1);
        let asked = after.iter().filter(|conflict| asks(&whole, &manifest, conflict).is_some());
        let mut held: BTreeSet<Digest> =
            asked.flat_map(|conflict| conflict.sides.iter().map(|side| side.change)).collect();
        let mut rest = fitting;
        let mut out = Vec::new();
        loop {
            let builds_on = |fitting: &Fitting| {
                let deps = guard::chunk::split(&fitting.bytes).map(|parts| parts.deps).unwrap_or_default();
                held.contains(&fitting.hash()) || deps.iter().any(|dep| held.contains(dep))
            };
            let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(builds_on);
            rest = later;
            if now.is_empty() {
                break;
            }
            held.extend(now.iter().map(Fitting::hash));
            out.extend(now);
        }
        let document = if out.is_empty() {
            None
        } else {
            let changes = rest.iter().map(|fitting| (fitting.hash(), fitting.bytes.clone()));
            let changes: Vec<EncodedChange> =
                changes.map(|(hash, bytes)| EncodedChange { hash, bytes }).collect();
            let mut canonical = staged.document.clone();
            document::join_all(&mut canonical, &changes).is_ok().then_some(canonical)
        };
        if let Some(staged) = stage.objects.get_mut(key) {
            staged.compared = Some((Compared { before, after }, whole.clone()));
            staged.row_changed = true;
        }
        for one in &out {
            let asked = self.pending.get(&one.at()).is_some_and(|row| row.asks.is_some());
            self.hold_apart(stage, key, one, done);
            if asked {
                // It was let in, and contradicts what is here: that is another question.
                self.end_held(stage, key, &one.hash())?;
            }
        }
        Ok((document.unwrap_or(whole), rest))
    }

    /// Notes that an entry stays out because it contradicts.
    fn hold_apart(&mut self, stage: &mut Stage, key: &ObjectKey, one: &Fitting, done: &mut Ledgered) {
        let (entry, at) = (&one.arrival.record.entry, one.at());
        let reason = "it contradicts what is here, and waits until somebody decides".to_owned();
        done.states.insert(at, (one.arrival.log, EntryState::Held, None));
        if self.pending.get(&at).is_some_and(|row| row.apart) {
            return;
        }
        let (decision, device) = (Some(one.proof.decision()), one.arrival.log.device);
        let record = ledger::withheld(entry, coverage(&one.arrival), device, false, decision, &reason);
        done.records.push((at, record));
        let row = PendingRow {
            state: EntryState::Held,
            reason,
            object: Some(key.clone()),
            missing: Vec::new(),
            requires: Vec::new(),
            decision,
            since: stage.now,
            session: one.arrival.session,
            asks: None,
            apart: true,
            withheld: false,
            late: false,
            in_burst: false,
        };
        stage.pending.insert(at, Some(row));
    }
}

/// What the change of an entry must be.
pub(super) fn form_of(entry: &Entry) -> Form {
    match entry.kind {
        EntryKind::RESOLUTION => Form::Resolution,
        EntryKind::PROPOSAL if !entry.is_birth() => Form::Pure,
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
