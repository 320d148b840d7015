//! Objects that begin anew, late work that is dropped, and what the model is told of both.
//!
//! Whoever drops something says so about all of it that he had seen; whatever else was acknowledged must be shown as before,
//! or as late work.

use crate::model::{Acked, Dropped, What, tokens};
use crate::workload::Planned;
use crate::world::{Held, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{HistoryItem, Remains, Resolve};
use syncd_engine::{Engine, Intent, Written};
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, EntryKind, ObjectState, OperationId, Role};

impl World {
    /// Lets an object begin anew on a device, or erases it. Devices that may not are asked now and then.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn renew_something(&mut self, device: usize) -> Held {
        if !self.may_erase(device) {
            return Ok(());
        }
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let Ok(objects) = engine.list(None) else { return Ok(()) };
        let Some(object) = self.rng.pick(&objects) else { return Ok(()) };
        let Ok(Some(view)) = engine.get(&object.object) else { return Ok(()) };
        let is_gone = view.state == ObjectState::Tombstoned;
        let remains = match self.rng.below(10) {
            _ if is_gone => Remains::Nothing,
            0..=3 => Remains::Shown,
            4..=7 => {
                let token = self.workload.token(device);
                let kept = view.value.get("k0").filter(|_| self.rng.percent(50));
                let mut value = json!({"born": token, "body": "", "count": 3, "items": []});
                if let Some(kept) = kept {
                    value["k0"] = kept.clone();
                }
                Remains::Value(value)
            }
            _ => Remains::Nothing,
        };
        let value = match &remains {
            Remains::Shown => Some(view.value),
            Remains::Value(value) => Some(value.clone()),
            Remains::Nothing => None,
        };
        let intent = Intent::Rebirth { object: object.object.clone(), remains };
        let planned = self.workload.planned(object.object.as_str(), What::Renew(value), intent);
        self.stats.renewed += 1;
        self.write(device, vec![planned])
    }

    /// Answers a card about late work on a device, if one is open there.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn drop_late(&mut self, device: usize) -> Held {
        if !self.may_erase(device) {
            return Ok(());
        }
        let Some(engine) = &mut self.devices[device].engine else { return Ok(()) };
        let Ok(mut cards) = engine.cards(false) else { return Ok(()) };
        cards.retain(|card| card.kind == "late_work");
        let Some(card) = self.rng.pick(&cards) else { return Ok(()) };
        let written = self.rng.percent(50).then(|| ("k1", self.workload.token(device)));
        let (choice, value) = match &written {
            Some((key, token)) => (Choice::Merge, Some(json!({ (*key): token }))),
            None => (Choice::Decline, None),
        };
        let resolve = Resolve { card: card.card, choice, value, pick: None, because: None };
        let intent = Intent::Resolve(resolve);
        let planned = self.workload.planned(card.object.as_str(), What::Drop(written), intent);
        self.stats.answered += 1;
        self.write(device, vec![planned])
    }

    /// Whether its person governs; others try it too, in vain.
    fn may_erase(&mut self, device: usize) -> bool {
        let device = &self.devices[device];
        let Some(engine) = device.engine.as_ref().filter(|_| device.may_write()) else { return false };
        let member = engine.governance().members.get(&engine.device());
        let governs = member.is_some_and(|member| matches!(member.role, Some(Role::Owner | Role::Admin)));
        governs || self.rng.percent(10)
    }

    /// Notes what an answered call dropped, and gives back what it wrote instead.
    pub(crate) fn note_dropped(
        &mut self,
        device: usize,
        planned: &Planned,
        written: &Written,
        (seen, fresh): (BTreeSet<Digest>, Dropped),
    ) -> Held<Vec<Acked>> {
        let before = if written.repeated { planned.drops.clone().unwrap_or(fresh) } else { fresh };
        let Some(engine) = &self.devices[device].engine else { return Ok(Vec::new()) };
        let history = engine.history(&planned.object.parse()?)?;
        let own = engine.device();
        let own: Vec<&HistoryItem> = history.iter().filter(|item| item.device == own).collect();
        // What came of a repeated call is what stands before it; else its answer says what it wrote.
        let last = own.iter().position(|item| item.operation == written.operation);
        let wrote = own.iter().take(last.unwrap_or(own.len())).copied();
        let is_new = |item: &&HistoryItem| written.repeated || written.heads.contains(&item.change);
        let acked = |item: &HistoryItem, what: What, life: Option<Digest>| Acked {
            device,
            operation: item.operation,
            object: planned.object.clone(),
            what,
            change: Some(item.change),
            // What it was written with knowledge of is dropped; only what is shown instead counts.
            seen: BTreeSet::new(),
            life,
        };
        let mut said = Vec::new();
        match &planned.what {
            What::Renew(Some(value)) => {
                // Unless it began anew again since: then there is nothing to be held to.
                if let Some(birth) = wrote.rev().find(|item| item.kind == "create" && is_new(item)) {
                    let whats = said_by(value);
                    said.extend(whats.into_iter().map(|what| acked(birth, what, Some(birth.change))));
                }
            }
            What::Drop(Some((key, token))) => {
                let is_edit = |item: &&HistoryItem| item.kind == EntryKind::EDIT.word();
                if let Some(edit) = wrote.rev().find(|item| is_edit(item) && is_new(item)) {
                    let life = shown_life(engine, &planned.object)?;
                    let seen = seen.into_iter().filter(|change| *change != edit.change).collect();
                    said.push(Acked { seen, ..acked(edit, What::Set(key, token.clone()), life) });
                }
            }
            _ => {}
        }
        self.model.dropped.push(before);
        Ok(said)
    }
}

/// What a value says that an object begins with.
fn said_by(value: &Value) -> Vec<What> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut whats = vec![What::Put(text("born"))];
    for key in ["k0", "k1", "k2"] {
        let token = value.get(key).and_then(Value::as_str);
        whats.extend(token.map(|token| What::Set(key, token.to_owned())));
    }
    whats.extend(tokens(&text("body")).into_iter().map(What::Insert));
    let items = value.get("items").and_then(Value::as_array).into_iter().flatten();
    whats.extend(items.filter_map(Value::as_str).map(|token| What::Append(token.to_owned())));
    whats.extend(value.get("count").and_then(Value::as_i64).map(What::Add));
    whats
}

fn shown_life(engine: &Engine, object: &str) -> Held<Option<Digest>> {
    let history = engine.history(&object.parse()?)?;
    let births: BTreeSet<Digest> = history
        .iter()
        .filter(|item| item.kind == "create" && item.status == EntryState::Admitted)
        .map(|item| item.change)
        .collect();
    Ok(if births.len() == 1 { births.first().copied() } else { None })
}

/// What a call will drop, as far as this device can see.
pub(crate) fn about_to_drop(engine: &mut Engine, planned: &Planned) -> Held<Dropped> {
    let mut dropped = Dropped { object: planned.object.clone(), ..Dropped::default() };
    match (&planned.what, &planned.request.intent) {
        (What::Renew(_), _) => {
            let object = planned.object.parse()?;
            let history = engine.history(&object)?;
            let in_document = engine.with_object(&object, |doc| {
                let changes = doc.get_changes(&[]);
                let birth = changes.iter().find(|change| change.deps().is_empty());
                let life = birth.map(|change| Digest(change.hash().0));
                (life, changes.iter().map(|change| Digest(change.hash().0)).collect::<BTreeSet<_>>())
            })?;
            let (life, changes) = match in_document {
                Some(found) => found,
                // It was deleted: of several lives the first is erased.
                None => {
                    let births = history.iter().filter(|item| item.kind == "create");
                    let births: Vec<Digest> = births.map(|item| item.change).collect();
                    let admitted = history.iter().filter(|item| item.status == EntryState::Admitted);
                    let changes = admitted.map(|item| item.change).filter(|_| births.len() == 1);
                    (births.iter().min().copied(), changes.collect())
                }
            };
            let late = late_operations(engine)?;
            let waits =
                |item: &HistoryItem| item.status != EntryState::Admitted && !late.contains(&item.operation);
            let is_tombstone = |item: &HistoryItem| item.kind == EntryKind::TOMBSTONE.word();
            let seen = history
                .iter()
                .filter(|item| changes.contains(&item.change) || waits(item) || is_tombstone(item));
            dropped.operations = seen.map(|item| item.operation).collect();
            (dropped.life, dropped.changes) = (life, changes);
        }
        (What::Drop(_), Intent::Resolve(resolve)) => {
            let card = engine.card(&resolve.card)?;
            dropped.operations = card.into_iter().flat_map(|card| card.operations).collect();
        }
        _ => {}
    }
    Ok(dropped)
}

/// The operations that are shown as late work.
///
/// # Errors
/// When cards cannot be read.
pub fn late_operations(engine: &mut Engine) -> Held<BTreeSet<OperationId>> {
    let mut late = BTreeSet::new();
    for summary in engine.cards(false)?.into_iter().filter(|card| card.kind == "late_work") {
        late.extend(engine.card(&summary.card)?.into_iter().flat_map(|card| card.operations));
    }
    Ok(late)
}
