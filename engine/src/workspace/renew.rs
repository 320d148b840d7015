//! Letting an object begin anew, from what is to stay of it; or erasing it, where nothing is.

use super::admit::Ledgered;
use super::intent::{WriteError, WriteRequest, Written};
use super::judge::Question;
use super::local::done;
use super::rebirth::Reborn;
use super::stage::Stage;
use super::{Engine, ObjectKey, subject_key};
use crate::document;
use crate::store::StoreError;
use crate::store::rows::{AdmittedChange, LogKind, ObjectRow, RebirthRow, RebornRow};
use crate::store::tables::LogNo;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use syncd_policy::{Action, Base, Redeemed};
use syncd_schema::entry::{Rebirth, Subject, Upto};
use syncd_schema::{
    Collection, Digest, Entry, EntryKind, Incarnation, LogSeq, Manifest, ObjectId, OperationId,
    OperationType, cbor,
};

/// What stays of an object that begins anew.
#[derive(Clone, Debug, PartialEq)]
pub enum Remains {
    /// What is shown of it now.
    Shown,
    /// This value, a JSON object.
    Value(Value),
    /// Nothing: the object is erased.
    Nothing,
}

/// The life that takes an object's place.
struct NewLife {
    subject: Subject,
    birth: document::Birth,
    proof: Redeemed,
}

impl Engine {
    /// Begins an object anew: what it was, and everything that was done to it, is dropped from every device.
    pub(super) fn renew(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        object: &ObjectId,
        remains: &Remains,
    ) -> Result<Written, WriteError> {
        let row = self.renewable(stage, object, remains)?;
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&row.collection);
        let value = match remains {
            Remains::Shown => Some(self.value_of(&row)?),
            Remains::Value(value) => Some(value.clone()),
            Remains::Nothing => None,
        };
        let log = self.log_for(stage, &manifest)?;
        let old = subject_of(&row);
        let life = match value {
            Some(value) => Some(self.new_life(stage, request, log, (&old, &value), &manifest)?),
            None => None,
        };
        // Asked before anything is written: one without the other would be two lives of one object.
        let at = self.next_operation(stage, log);
        let proof = self.may_renew(stage, request, &old, at.0)?;
        let born = life.map(|life| self.bear_anew(stage, request, log, life));
        let (requires, new) = match &born {
            Some((operation, life, _)) => (vec![*operation], Some(*life)),
            None => (Vec::new(), None),
        };
        let rebirth = Rebirth { new, upto: self.held_of(stage, &subject_key(&old), log)? };
        let operation = self.log_rebirth(stage, request, log, (&old, rebirth, requires), proof)?;
        let heads = born.map(|(.., head)| vec![head]).unwrap_or_default();
        Ok(done(operation, Some(object.clone()), heads))
    }

    /// The life that begins anew: the one that stands, or, of an object that was deleted, the one to erase.
    fn renewable(
        &self,
        stage: &Stage,
        object: &ObjectId,
        remains: &Remains,
    ) -> Result<ObjectRow, WriteError> {
        match self.writable(stage, object) {
            Err(WriteError::Tombstoned(_)) if *remains == Remains::Nothing => {
                let lives = self.object_lives(object)?;
                lives.into_iter().next().ok_or_else(|| WriteError::NotFound(object.clone()))
            }
            found => found,
        }
    }

    /// The life after which an object that was erased is made anew, if it was: an equal birth would be dropped like the first.
    pub(super) fn erased_life(
        &self,
        stage: &Stage,
        object: &ObjectId,
        collection: &Collection,
    ) -> Option<Incarnation> {
        let first = (object.clone(), collection.clone(), Incarnation([0; 32]));
        let known = [&self.rebirths, &stage.rebirths].map(|rebirths| {
            let lives = rebirths.range(first.clone()..).map(|(key, _)| key);
            lives.take_while(|key| (&key.0, &key.1) == (object, collection)).map(|key| key.2).max()
        });
        known.into_iter().flatten().max()
    }

    /// What the new life is made of, and whether it may be. Its birth differs from the old one's, whatever it says.
    fn new_life(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        log: LogNo,
        (old, value): (&Subject, &Value),
        manifest: &Manifest,
    ) -> Result<NewLife, WriteError> {
        let (object, collection) = (&old.object, &old.collection);
        let birth = document::birth_after(object, collection, value, manifest, Some(&old.incarnation))?;
        self.must_fit(object, &birth.doc, manifest)?;
        let incarnation = Incarnation(birth.change.hash.0);
        let subject = Subject { incarnation, ..old.clone() };
        let question = Question {
            action: Action::Create,
            size: birth.change.bytes.len() as u64,
            dangerous: crate::judgement::holds_dangerous(value, manifest),
            ..self.question(request, Some(&subject), Some(manifest), Base::NotNeeded)
        };
        let rules = Arc::clone(&self.rules);
        let (operation, _) = self.next_operation(stage, log);
        let proof = self.admit_local(stage, request, &rules, &question, operation)?;
        Ok(NewLife { subject, birth, proof })
    }

    fn bear_anew(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        log: LogNo,
        NewLife { subject, birth, proof }: NewLife,
    ) -> (OperationId, Incarnation, Digest) {
        let (operation, time) = self.next_operation(stage, log);
        let change = (birth.change.hash, birth.change.bytes.len());
        let mut entry =
            self.entry(request, EntryKind::EDIT, (operation, time), Some(subject.clone()), change, None);
        // The caller's key is that of the rebirth.
        entry.idempotency_key = None;
        let life = subject.incarnation;
        let key = self.new_object(stage, &subject, birth.doc, time);
        self.log_change(stage, log, entry, (birth.change.bytes, proof), key);
        (operation, life, birth.change.hash)
    }

    /// Asks the gate whether a life may begin anew.
    pub(super) fn may_renew(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        old: &Subject,
        operation: OperationId,
    ) -> Result<Redeemed, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&old.collection);
        let question = Question {
            action: Action::Rebirth,
            ..self.question(request, Some(old), Some(&manifest), Base::NotNeeded)
        };
        self.admit_local(stage, request, &rules, &question, operation)
    }

    /// Logs a rebirth, and lets it take effect.
    pub(super) fn log_rebirth(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        log: LogNo,
        (old, rebirth, requires): (&Subject, Rebirth, Vec<OperationId>),
        proof: Redeemed,
    ) -> Result<OperationId, WriteError> {
        let payload = cbor::encode(&rebirth);
        let at = self.next_operation(stage, log);
        let mut entry = self.record_entry(request, EntryKind::REBIRTH, at, Some(old.clone()), &payload);
        entry.requires = requires;
        let (seq, _) = self.log_entry(stage, log, entry.clone(), payload, &proof, OperationType::Repair);
        let device = self.device();
        let mut done = Ledgered::default();
        self.begin_anew(
            stage,
            &Reborn { entry: &entry, rebirth: &rebirth, device, at: (log, seq) },
            &mut done,
        )?;
        self.let_in_waiting(stage, &mut done)?;
        self.record_all(stage, &mut done);
        Ok(at.0)
    }

    /// How far each other log goes that holds something of a life, as far as is known here.
    fn held_of(&self, stage: &Stage, key: &ObjectKey, own: LogNo) -> Result<Vec<Upto>, WriteError> {
        let mut ends: BTreeMap<LogNo, LogSeq> = BTreeMap::new();
        let mut note = |log: LogNo, end: LogSeq| {
            let known = ends.entry(log).or_default();
            *known = end.max(*known);
        };
        if let Some(row) = self.object_row(key)? {
            for source in self.sources_of(&row)? {
                note(source.log, source.first.plus(source.count));
            }
        }
        let staged = stage.objects.get(key).into_iter().flat_map(|staged| &staged.admitted);
        staged.map(AdmittedChange::position).for_each(|(log, seq)| note(log, seq.plus(1)));
        let waiting = self.pending.of_object(&key.0).filter(|(_, row)| row.object.as_ref() == Some(key));
        waiting.for_each(|((log, seq), _)| note(*log, seq.plus(1)));
        for (no, seq, entry) in self.tombstones_of(&key.0)? {
            if entry.subject.as_ref().is_some_and(|subject| subject_key(subject) == *key) {
                note(no, seq.plus(1));
            }
        }
        let upto = ends.into_iter().filter(|(log, _)| *log != own).filter_map(|(log, seq)| {
            let LogKind::Device(log) = self.log(log)?.row.kind else { return None };
            Some(Upto { device: log.device, epoch: log.epoch, seq })
        });
        let mut upto: Vec<Upto> = upto.collect();
        upto.sort_unstable_by_key(|upto| (upto.device, upto.epoch));
        Ok(upto)
    }
}

impl Engine {
    /// The operations by which lives of an object began anew.
    pub(super) fn rebirths_of(&self, object: &ObjectId) -> Result<Vec<(LogNo, LogSeq, Entry)>, StoreError> {
        let mut found = Vec::new();
        for row in self.begun_lives(object) {
            for by in &row.by {
                let entry = self.find_operation(by.operation)?;
                found.extend(entry.map(|found| (found.no, found.seq, found.record.entry)));
            }
        }
        Ok(found)
    }

    /// In words, how lives of an object began anew.
    pub(super) fn begun_anew(&self, object: &ObjectId) -> Vec<String> {
        let words = |row: &RebirthRow, by: &RebornRow| {
            let is_new = by.new.is_some();
            let because = by.because.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            let by = format!("by {} at {}, operation {}{because}", by.actor, by.at, by.operation);
            match (is_new, row.lives().next()) {
                (true, _) => format!("It began anew, without what it was before, {by}."),
                (false, Some(_)) => format!("More of what it was before was dropped {by}."),
                (false, None) => format!("It was erased {by}."),
            }
        };
        self.begun_lives(object).flat_map(|row| row.by.iter().map(|by| words(row, by))).collect()
    }

    fn begun_lives(&self, object: &ObjectId) -> impl Iterator<Item = &RebirthRow> {
        self.rebirths.iter().filter(move |(key, _)| key.0 == *object).map(|(_, row)| row)
    }
}

fn subject_of(row: &ObjectRow) -> Subject {
    let (collection, object) = (row.collection.clone(), row.object.clone());
    Subject { collection, object, incarnation: row.incarnation }
}
