//! What contradicts and is kept out of its object until somebody decides, where the manifest wants that.
//!
//! What is held differs by device: each has let in what it heard of first. What is known does not, and so whatever is asked
//! about an object is asked of its document together with what is held.

use super::admit::{Arrival, Candidate, Judged, Ledgered, coverage};
use super::asking::let_in_by;
use super::cards::Judged as Compared;
use super::contradictions::asks;
use super::decided::Decided;
use super::merge::Fitting;
use super::stage::Stage;
use super::waiting::Standing;
use super::{Engine, ObjectKey};
use crate::conflict::{self, Conflict};
use crate::document::{self, EncodedChange};
use crate::guard;
use crate::ledger;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{ObjectRow, PendingRow};
use automerge::Automerge;
use std::borrow::Cow;
use std::collections::BTreeSet;
use syncd_schema::manifest::OnConflict;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, EntryKind};

impl Engine {
    /// Whether what contradicts in an object stays out of it until somebody decides.
    pub(super) fn holds_contradictions(&self, key: &ObjectKey) -> bool {
        self.governance()
            .manifests
            .get(&key.1)
            .is_some_and(|manifest| manifest.on_conflict() == OnConflict::Hold)
    }

    /// Puts among granted changes those that are held because they contradict, judged again.
    pub(super) fn offer_held(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        group: &mut Vec<Candidate>,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        let mut asking = Vec::new();
        for (at, session) in self.held_on(stage, key) {
            let Some(arrival) = self.stored_arrival(stage, at, session, done)? else { continue };
            match self.judge(stage, &arrival, done)? {
                Judged::Granted(proof) => group.push(Candidate { arrival, proof }),
                Judged::Asks(approval) => asking.push((arrival, approval)),
                other => self.not_admitted(stage, &arrival, other, done)?,
            }
        }
        // A proposal was let in before it was held; what let it in is held with it.
        for (arrival, approval) in asking {
            let change = arrival.record.entry.payload_digest;
            let by = group.iter().find(|candidate| let_in_by(&candidate.arrival) == Some(change));
            let proof = by.and_then(|by| approval.by(arrival.record.entry.operation, &by.proof));
            group.extend(proof.map(|proof| Candidate { arrival, proof }));
        }
        Ok(())
    }

    /// Where the entries stand that are held because they contradict, as this stage will leave it, each with the session
    /// it was written in.
    pub(super) fn held_on(&self, stage: &Stage, key: &ObjectKey) -> Vec<(Standing, Option<[u8; 16]>)> {
        let stored = self.pending.apart_in(key).filter(|(at, _)| stage.pending_at(at).is_none());
        let staged = stage.pending.iter().filter_map(|(at, row)| Some((at, row.as_ref()?)));
        let staged = staged.filter(|(_, row)| row.apart && row.object.as_ref() == Some(key));
        stored.chain(staged).map(|(at, row)| (*at, row.session)).collect()
    }

    /// An object's document on a stage with all that is known of it, what is held included.
    pub(super) fn known_document<'s>(
        &mut self,
        stage: &'s mut Stage,
        key: &ObjectKey,
    ) -> Result<Option<Cow<'s, Automerge>>, StoreError> {
        self.staged_object(stage, key)?;
        let Some(staged) = stage.objects.get(key) else { return Ok(None) };
        if let Some((_, whole)) = &staged.compared {
            return Ok(Some(Cow::Borrowed(whole)));
        }
        let whole = self.whole_document(&staged.row, &staged.document)?;
        Ok(Some(whole.map_or(Cow::Borrowed(&staged.document), Cow::Owned)))
    }

    /// Lets in what is held of an object that was deleted with all of it: nobody is asked about that any more.
    pub(super) fn let_in_ended(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        done: &mut Ledgered,
    ) -> Result<(), StoreError> {
        if self.held_on(stage, key).is_empty() {
            return Ok(());
        }
        self.merge(stage, key, Vec::new(), done).map(drop)
    }

    /// As [`Engine::let_in_ended`], where this device has deleted it.
    pub(super) fn let_in_held(&mut self, stage: &mut Stage, key: &ObjectKey) -> Result<(), StoreError> {
        match self.held_on(stage, key).is_empty() {
            true => Ok(()),
            false => self.carry_out(stage, key, Vec::new(), Ledgered::default()),
        }
    }

    /// Where the entries stand that are held because they contradict.
    pub(super) fn apart(&self, key: &ObjectKey) -> Vec<Standing> {
        self.pending.apart_in(key).map(|(at, _)| *at).collect()
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
        self.pending.apart_in(key).next().is_some()
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
    pub(super) fn hold_back(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        whole: Box<Automerge>,
        fitting: Vec<Fitting>,
        done: &mut Ledgered,
    ) -> Result<(Box<Automerge>, Vec<Fitting>), StoreError> {
        let Some(staged) = stage.objects.get(key) else { return Ok((whole, fitting)) };
        let (before, known) = match &staged.compared {
            Some((compared, _)) => (compared.before.clone(), compared.after.clone()),
            None => {
                let stored = self.stored_contradictions(&staged.row)?;
                (stored.clone(), stored)
            }
        };
        let is_known = |fitting: &&Fitting| self.pending.get(&fitting.at()).is_some_and(|row| row.apart);
        let arrived: Vec<Digest> =
            fitting.iter().filter(|fitting| !is_known(fitting)).map(Fitting::hash).collect();
        let compared = {
            let by_lines = self.by_lines(&staged.row.collection, &whole);
            conflict::update_within(&whole, &known, &arrived, &by_lines, self.comparable)
        };
        let Ok(after) = compared else {
            // Too much to compare: shown as where nothing is held, with a finding that says so.
            return Ok((whole, fitting));
        };
        let manifest = self.governance().manifest(&key.1);
        let is_over = staged.row.is_ended_at(&document::heads(&whole));
        let is_asked = |conflict: &&Conflict| !is_over && asks(&whole, &manifest, conflict).is_some();
        let asked: Vec<&Conflict> = after.iter().filter(is_asked).collect();
        let mut held: BTreeSet<Digest> =
            asked.iter().flat_map(|conflict| conflict.sides.iter().map(|side| side.change)).collect();
        // What is let in by one and declined by another is not let in yet.
        let proposals = asked.iter().filter_map(|conflict| conflict::proposal(&whole, conflict));
        held.extend(proposals.filter(|change| fitting.iter().any(|one| one.hash() == *change)));
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
            let waited = self.pending.get(&one.at());
            let (asked, is_known) = waited.map_or((false, false), |row| (row.asks.is_some(), row.apart));
            self.hold_apart(stage, key, one, done);
            if let (EntryKind::RESOLUTION, false) = (one.arrival.record.entry.kind, is_known) {
                self.heed_held(stage, key, &one.arrival)?;
            }
            if asked {
                // It was let in, and contradicts what is here: that is another question.
                self.end_held(stage, key, &one.hash())?;
            }
        }
        Ok((document.unwrap_or(whole), rest))
    }

    /// What an answer says of whole objects holds although what it is built on is held.
    fn heed_held(&mut self, stage: &mut Stage, key: &ObjectKey, answer: &Arrival) -> Result<(), StoreError> {
        let entry = &answer.record.entry;
        if let Some(staged) = stage.objects.get_mut(key) {
            let whole = staged.compared.as_ref().map_or(&staged.document, |(_, whole)| whole);
            let settles = conflict::settlement_of(whole, &entry.payload_digest);
            staged.decided.push(Decided::of(entry, answer.log.device, settles));
        }
        self.overrule_deletions(stage, key, entry)
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
        // A deletion may have waited for it.
        done.news.1.insert(entry.payload_digest);
        let row = PendingRow {
            decision,
            session: one.arrival.session,
            apart: true,
            ..PendingRow::held(reason, Some(key.clone()), stage.now)
        };
        stage.pending.insert(at, Some(row));
    }
}
