//! Writing on a device, and what the model is told of it.
//!
//! A caller whose call failed because of the disk does not know whether it happened. It asks again under the same
//! idempotency keys before it does anything else, and only what it then hears counts.

use crate::erasing::{about_to_drop, late_operations};
use crate::model::{Acked, Dropped, What};
use crate::workload::Planned;
use crate::world::{Failure, Held, World, grows};
use std::collections::BTreeSet;
use syncd_engine::workspace::OperationView;
use syncd_engine::{Engine, Intent, WriteError, Written};
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, EntryKind, ObjectState, OperationId};

/// The changes of an object that a device shows, and its life.
#[derive(Clone, Debug, Default)]
struct Before {
    seen: BTreeSet<Digest>,
    life: Option<Digest>,
}

impl World {
    /// Draws a batch for a device and writes it.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn write_something(&mut self, device: usize) -> Held {
        if !self.devices[device].may_write() {
            return Ok(());
        }
        let count = if self.rng.percent(80) { 1 } else { 2 + self.rng.below(3) };
        let mut batch: Vec<Planned> = Vec::new();
        for _ in 0..count {
            let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
            let Some(planned) = self.workload.draw(device, engine, &mut self.rng) else { return Ok(()) };
            // A cut names positions of the state before the batch; what is removed twice is removed once.
            let shifted = batch.iter().any(|other| other.object == planned.object);
            if !shifted || !matches!(planned.what, What::Cut(_) | What::Insert(_) | What::Remove(_)) {
                batch.push(planned);
            }
        }
        if self.rng.percent(25) {
            name_bases(&mut self.devices[device].engine, &mut batch);
        }
        self.write(device, batch)
    }

    /// Answers a card on a device, if one is open there about a key that everybody competes for.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn decide_something(&mut self, device: usize) -> Held {
        if !self.devices[device].may_write() {
            return Ok(());
        }
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let Ok(cards) = engine.cards(false) else { return Ok(()) };
        let Some(card) = self.rng.pick(&cards).map(|card| card.card) else { return Ok(()) };
        let Ok(Some(card)) = engine.card(&card) else { return Ok(()) };
        match self.workload.decide(&card, &mut self.rng) {
            Some(planned) => {
                self.stats.decided += 1;
                self.write(device, vec![planned])
            }
            None => Ok(()),
        }
    }

    /// Writes a batch on a device and tells the model what was acknowledged.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn write(&mut self, device: usize, mut batch: Vec<Planned>) -> Held {
        let now = self.devices[device].wall(self.queue.now());
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let mut before = Vec::new();
        for planned in &batch {
            match shown_changes(engine, &planned.object)
                .and_then(|shown| Ok((shown, about_to_drop(engine, planned)?)))
            {
                Ok(shown) => before.push(shown),
                // A disk that failed cannot be read either; the caller would give up here.
                Err(_) => return Ok(()),
            }
        }
        let requests: Vec<_> = batch.iter().map(|planned| planned.request.clone()).collect();
        let names: Vec<_> = batch.iter().map(|p| format!("{} {:?}", p.object, p.what)).collect();
        self.log(format!("device {device} writes {}", names.join(", ")));
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let (answers, events) = match engine.write(&requests, now) {
            Ok(done) => done,
            Err(error) => {
                self.log(format!("device {device}: no answer: {error}"));
                let drops = before.into_iter().map(|(_, drops)| Some(drops));
                for (planned, drops) in batch.iter_mut().zip(drops) {
                    planned.drops = planned.drops.take().or(drops);
                }
                self.devices[device].unanswered.push(batch);
                return self.disk_failed(device);
            }
        };
        self.look_at(device)?;
        let (mut acks, mut of_batch): (Vec<Acked>, Vec<(String, Digest, bool)>) = (Vec::new(), Vec::new());
        for ((planned, (mut before, drops)), answer) in batch.into_iter().zip(before).zip(answers) {
            // What the batch did before is seen too.
            for (object, change, is_birth) in &of_batch {
                if *object == planned.object {
                    before.seen.insert(*change);
                    before.life = before.life.or(is_birth.then_some(*change));
                }
            }
            for acked in self.answered(device, planned, (before, drops), answer)? {
                if let Some(change) = acked.change {
                    of_batch.push((acked.object.clone(), change, matches!(acked.what, What::Put(_))));
                }
                acks.push(acked);
            }
        }
        // Later requests of a batch may undo what earlier ones did.
        let was_dropped = |acked: &Acked| acked.change.is_none() && acked.what != What::Delete;
        if let Some(last) = acks.last().filter(|last| !was_dropped(last)) {
            self.read_own_write(device, last)?;
        }
        self.model.acked.extend(acks);
        if grows(&events) { self.tell_sessions(device, None) } else { Ok(()) }
    }

    fn answered(
        &mut self,
        device: usize,
        planned: Planned,
        (before, drops): (Before, Dropped),
        answer: Result<Written, WriteError>,
    ) -> Held<Vec<Acked>> {
        let written = match answer {
            Ok(written) => written,
            Err(error @ (WriteError::Grant | WriteError::KeyReused(_) | WriteError::Store(_))) => {
                return Err(Failure(format!("device {device} was answered {error} to {planned:?}")));
            }
            Err(error) => {
                self.stats.denied += 1;
                self.log(format!("device {device}: denied: {error}"));
                return Ok(Vec::new());
            }
        };
        self.stats.acked += 1;
        self.stats.repeated += u64::from(written.repeated);
        if matches!(planned.what, What::Renew(_) | What::Drop(_)) {
            self.log(format!("device {device}: ok {}, dropped {drops:?}", written.operation));
            return self.note_dropped(device, &planned, &written, (before.seen, drops));
        }
        let change = self.change_of(device, &planned, &written)?;
        self.log(format!("device {device}: ok {} {:?}", written.operation, change.map(|c| c.short())));
        let is_birth = matches!(planned.what, What::Put(_));
        let mut seen = before.seen;
        if let Some(change) = change {
            seen.remove(&change);
        }
        let life = if is_birth { change } else { before.life };
        let (operation, object, what) = (written.operation, planned.object, planned.what);
        Ok(vec![Acked { device, operation, object, what, change, seen, life }])
    }

    /// The change that a write made. A repeated call's answer shows the heads of now, so it is looked up.
    fn change_of(&self, device: usize, planned: &Planned, written: &Written) -> Held<Option<Digest>> {
        if planned.what == What::Delete {
            return Ok(None);
        }
        let is_decision = matches!(planned.request.intent, Intent::Resolve(_));
        if !written.repeated && !is_decision {
            let [head] = written.heads.as_slice() else {
                return Err(Failure(format!("an edit left {} heads: {planned:?}", written.heads.len())));
            };
            return Ok(Some(*head));
        }
        let Some(engine) = &self.devices[device].engine else { return Ok(None) };
        let history = engine.history(&planned.object.parse()?)?;
        let item = history.iter().find(|item| item.operation == written.operation);
        match item {
            Some(item) => Ok(Some(item.change)),
            // What was dropped meanwhile is in no history of an object, and was written all the same.
            None if engine.operation(written.operation)?.is_some_and(|view| is_done(view.status)) => Ok(None),
            None => {
                Err(Failure(format!("repeated {} is not in the history of its object", written.operation)))
            }
        }
    }

    /// Who was told "ok" sees it at once.
    fn read_own_write(&mut self, device: usize, acked: &Acked) -> Held {
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let Some(view) = engine.get(&acked.object.parse()?)? else {
            return Err(Failure(format!("LOST at once: {acked:?}")));
        };
        let text = view.value.to_string();
        let is_there = match &acked.what {
            What::Append(token) | What::Insert(token) => text.contains(token.as_str()),
            What::Put(token) => view.value.get("born").and_then(|born| born.as_str()) == Some(token),
            What::Set(key, token) => view.value.get(key).and_then(|value| value.as_str()) == Some(token),
            What::Remove(key) => view.value.get(key).is_none(),
            What::Cut(token) => !text.contains(token.as_str()),
            What::Delete => view.state == ObjectState::Tombstoned,
            What::Add(_) | What::Renew(_) | What::Drop(_) => true,
        };
        if is_there { Ok(()) } else { Err(Failure(format!("LOST at once: {acked:?}, shown: {view:?}"))) }
    }

    /// Callers that heard nothing ask again with the same keys.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn ask_again(&mut self, device: usize) -> Held {
        for batch in std::mem::take(&mut self.devices[device].unanswered) {
            self.log(format!("device {device} asks again"));
            self.write(device, batch)?;
        }
        Ok(())
    }

    /// Makes the owner describe the collection that everybody writes.
    ///
    /// # Errors
    /// When it cannot.
    pub fn describe_collection(&mut self) -> Held {
        let now = self.devices[0].wall(self.queue.now());
        let Some(engine) = &mut self.devices[0].engine else { return Ok(()) };
        let (mut answers, _) = engine.write(&[crate::workload::Workload::manifest()], now)?;
        answers.pop().transpose()?;
        self.look_at(0)
    }

    /// The operations that are in a device's logs and admitted there, or shown as late work.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn admitted_on(&mut self, device: usize) -> Held<BTreeSet<OperationId>> {
        let Some(engine) = &mut self.devices[device].engine else { return Ok(BTreeSet::new()) };
        let late = late_operations(engine)?;
        // One pass over all logs; asking for each operation would scan the ledger each time.
        let views = engine.operations(None, usize::MAX)?;
        let applied =
            |view: &OperationView| view.tasks.iter().all(|t| t.task != "apply" || is_done(t.status));
        Ok(views.into_iter().filter(applied).map(|view| view.operation).chain(late).collect())
    }
}

fn is_done(status: syncd_schema::OperationStatus) -> bool {
    status == syncd_schema::OperationStatus::Completed
}

/// The admitted changes of an object's history, and its life while it has one.
fn shown_changes(engine: &Engine, object: &str) -> Held<Before> {
    let history = engine.history(&object.parse()?)?;
    let changes = history.iter().filter(|item| item.status == EntryState::Admitted);
    let deletes = |word| [EntryKind::TOMBSTONE, EntryKind::ENDING].iter().any(|kind| kind.word() == word);
    let changes = changes.filter(|item| !deletes(item.kind));
    let seen = changes.clone().map(|item| item.change).collect();
    let births: BTreeSet<Digest> =
        changes.filter(|item| item.kind == "create").map(|item| item.change).collect();
    let life = if births.len() == 1 { births.first().copied() } else { None };
    Ok(Before { seen, life })
}

/// Some callers say what they based their edit on.
fn name_bases(engine: &mut Option<Engine>, batch: &mut [Planned]) {
    let Some(engine) = engine else { return };
    for planned in batch {
        if let Intent::Edit { object, base, .. } = &mut planned.request.intent {
            *base = engine.get(object).ok().flatten().map(|view| view.heads);
        }
    }
}
