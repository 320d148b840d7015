//! What must hold in the end: convergence, survival, idempotence, evidence.
//!
//! Called when everything is healed. [`World::settle`] brings all devices together, [`World::judge`] looks.

use crate::erasing::late_operations;
use crate::hostile::Liar;
use crate::model::{Shown, Survival};
use crate::network::Weather;
use crate::world::{Event, Failure, Held, World};
use std::collections::{BTreeMap, BTreeSet};
use syncd_engine::Engine;
use syncd_schema::operation::EntryState;
use syncd_schema::{DeviceId, ObjectState, OperationStatus};

impl World {
    /// Heals everything and lets all devices talk until nobody has anything to say.
    ///
    /// # Errors
    /// When a promise is broken, or sessions do not come to rest.
    pub fn settle(&mut self) -> Held {
        self.log("everything is healed");
        self.weather = Weather::CALM;
        self.cut.clear();
        for device in 0..self.devices.len() {
            self.lift_fault(device)?;
            self.restart(device)?;
        }
        // Time for rolled back devices to come back, and for queues of before to run out.
        for _ in 0..10 {
            (0..self.devices.len()).for_each(|device| self.dial_everybody(device));
            self.pass(10_000_000)?;
        }
        if let Some(device) = self.devices.iter().find(|device| device.healing.is_some()) {
            return Err(Failure(format!("device {} never got its own entries back", device.number)));
        }
        for device in 0..self.devices.len() {
            self.ask_again(device)?;
        }
        self.redials = false;
        self.forget_connections();
        self.drain()?;
        self.meet_in_pairs()
    }

    fn forget_connections(&mut self) {
        for number in self.connections.keys().copied().collect::<Vec<_>>() {
            self.disconnect(number, "ends");
        }
    }

    /// Fresh sessions along a random tree, again and again: no device may depend on meeting a certain other one.
    fn meet_in_pairs(&mut self) -> Held {
        let count = self.devices.len();
        let mut order: Vec<usize> = (0..count).collect();
        self.rng.shuffle(&mut order);
        let tree: Vec<(usize, usize)> = (1..count).map(|n| (order[n], order[self.rng.below(n)])).collect();
        for _ in 0..count + 1 {
            for (a, b) in &tree {
                self.queue.after(1_000, Event::Dials(*a, *b));
                self.drain()?;
                self.all_quiet()?;
                self.forget_connections();
            }
        }
        for (a, b) in tree {
            self.knows_outcomes(a, b)?;
            self.knows_outcomes(b, a)?;
        }
        Ok(())
    }

    /// Of every own entry a device knows what became of it at a peer that it met last when all was said.
    fn knows_outcomes(&self, author: usize, peer: usize) -> Held {
        let engines = || self.devices.iter().filter_map(|device| device.engine.as_ref());
        let (Some(author), Some(peer)) = (&self.devices[author].engine, &self.devices[peer].engine) else {
            return Ok(());
        };
        // A copied device answers under the name of its original.
        let devices: BTreeSet<DeviceId> = engines().map(Engine::device).collect();
        if devices.len() < engines().count() || author.stopped().is_some() {
            return Ok(());
        }
        let known = author.operations(None, usize::MAX)?;
        for own in known.iter().filter(|view| view.device == author.device()) {
            let there = peer.operation(own.operation)?.map(|view| view.status);
            // For what something waits there is told to nobody else.
            let there = there.map(|status| match status {
                OperationStatus::AwaitingDecision => OperationStatus::Blocked,
                status => status,
            });
            let Some(there) = there else { continue };
            let told = own.tasks.iter().find(|task| task.device == Some(peer.device()));
            let never_leaves = told.is_none();
            if !never_leaves && told.map(|task| task.status) != Some(there) {
                return Err(Failure(format!(
                    "device {} believes that {} is {told:?} at {}, where it is {there:?}",
                    author.device().short(),
                    own.operation,
                    peer.device().short()
                )));
            }
        }
        Ok(())
    }

    /// With nothing on its way, every session knows that it is done.
    fn all_quiet(&self) -> Held {
        for (number, connection) in &self.connections {
            for (end, session) in connection.sessions.iter().enumerate() {
                let device = connection.ends[end];
                let Some(engine) = &self.devices[device].engine else { continue };
                if !session.is_quiet(engine) {
                    return Err(Failure(format!(
                        "STUCK: connection {number}, device {device}, nothing is on its way and it waits: {session:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// All promises at once.
    ///
    /// # Errors
    /// Says which are broken.
    pub fn judge(&mut self) -> Held<Survival> {
        self.converged()?;
        let survival = self.survived()?;
        self.stats.contested = survival.contested;
        (self.stats.late, self.stats.dropped) = (survival.late, survival.dropped);
        self.history()?;
        self.forgotten()?;
        let ledgers = self.verified()?;
        if !self.recorded.is_empty() {
            self.replayed(&ledgers)?;
            self.forgotten()?;
        }
        Ok(survival)
    }

    /// Every device has the same logs and shows the same.
    ///
    /// # Errors
    /// Says where two differ.
    pub fn converged(&mut self) -> Held {
        let mut first: Option<Portrait> = None;
        let Self { devices, liar, .. } = self;
        let liar = liar.as_deref();
        for device in devices {
            let number = device.number;
            let Some(engine) = &mut device.engine else { continue };
            let portrait = portrait(engine, liar)?;
            match &first {
                None => first = Some(portrait),
                Some(first) => compare(first, &portrait, number)?,
            }
        }
        Ok(())
    }

    /// Every acknowledged intent is accounted for on every device.
    ///
    /// # Errors
    /// Lists what was lost.
    pub fn survived(&mut self) -> Held<Survival> {
        let mut survival = Survival::default();
        let objects: Vec<String> = self.model.objects().into_iter().map(ToOwned::to_owned).collect();
        let Self { devices, model, .. } = self;
        for device in devices {
            let Some(engine) = &mut device.engine else { continue };
            let mut shown = BTreeMap::new();
            let late = late_operations(engine)?;
            for object in &objects {
                let Some(view) = engine.get(&object.parse()?)? else {
                    // Erased, which is right if all of it was dropped.
                    shown.insert(object.clone(), Shown::nothing());
                    continue;
                };
                let competing: Vec<_> = view.conflicts.into_iter().flat_map(|c| c.values).collect();
                let sides = competing.iter().filter_map(|side| side.operation).collect();
                let values = std::iter::once(view.value).chain(competing.into_iter().map(|side| side.value));
                let values = values.filter(|value| !value.is_null()).collect();
                let (state, late) = (view.state, late.clone());
                shown.insert(object.clone(), Shown { state, values, sides, late });
            }
            survival = model
                .survival(&shown)
                .map_err(|lost| Failure(format!("on device {}:\n{}", device.number, lost.join("\n"))))?;
        }
        Ok(survival)
    }

    /// Every acknowledged operation is in the logs of every device and admitted there: what is not shown can be
    /// found.
    ///
    /// # Errors
    /// Names the operation and the device.
    pub fn history(&mut self) -> Held {
        for device in 0..self.devices.len() {
            let admitted = self.admitted_on(device)?;
            for acked in &self.model.acked {
                if !admitted.contains(&acked.operation) {
                    return Err(Failure(format!("LOST: device {device} does not hold {acked:?}")));
                }
            }
        }
        Ok(())
    }

    /// What was dropped is in no store.
    ///
    /// # Errors
    /// Says what is still there.
    pub fn forgotten(&self) -> Held {
        let gone = self.model.forgotten();
        for device in self.devices.iter().filter(|_| !gone.is_empty()) {
            let stored = device.stored_tokens()?;
            let kept: Vec<_> = gone.iter().filter_map(|token| stored.get_key_value(*token)).collect();
            if !kept.is_empty() {
                return Err(Failure(format!("KEPT: device {} still holds {kept:?}", device.number)));
            }
        }
        Ok(())
    }

    /// The evidence of every device verifies. How many records each ledger has.
    ///
    /// # Errors
    /// Says what does not verify.
    pub fn verified(&mut self) -> Held<Vec<u64>> {
        self.devices.iter_mut().filter_map(|device| device.engine.as_mut()).map(verify_engine).collect()
    }

    /// Segments that arrived once arrive again, in any order: nothing changes, no record is written.
    ///
    /// # Errors
    /// Says what changed.
    pub fn replayed(&mut self, ledgers: &[u64]) -> Held {
        let mut recorded = std::mem::take(&mut self.recorded);
        self.rng.shuffle(&mut recorded);
        for number in 0..self.devices.len() {
            let now = self.devices[number].wall(self.queue.now());
            let liar = self.liar.as_deref();
            let Some(engine) = &mut self.devices[number].engine else { continue };
            let before = portrait(engine, liar)?;
            for (from, segment) in &recorded {
                // Being refused is fine; changing something is not.
                let _ = engine.receive(*from, segment, now);
            }
            compare(&before, &portrait(engine, liar)?, number)?;
        }
        let after = self.verified()?;
        if ledgers == after {
            return Ok(());
        }
        Err(Failure(format!("REPLAY: the ledgers had {ledgers:?} records and have {after:?}")))
    }

    /// Every device is stopped and started; everything must be as before.
    ///
    /// # Errors
    /// Says what changed.
    pub fn reopened(&mut self) -> Held {
        for device in 0..self.devices.len() {
            let liar = self.liar.as_deref();
            let before =
                self.devices[device].engine.as_mut().map(|engine| portrait(engine, liar)).transpose()?;
            self.kill(device, 0)?;
            self.restart(device)?;
            let liar = self.liar.as_deref();
            let after =
                self.devices[device].engine.as_mut().map(|engine| portrait(engine, liar)).transpose()?;
            if let (Some(before), Some(after)) = (before, after) {
                compare(&before, &after, device)?;
            }
        }
        self.drain()
    }
}

/// Verifies one engine. How many records its ledger has.
///
/// # Errors
/// Says what does not verify.
pub fn verify_engine(engine: &mut Engine) -> Held<u64> {
    let report = engine.verify(|_, _| {})?;
    if report.ok {
        return Ok(report.ledger.size);
    }
    Err(Failure(format!("VERIFY: device {}: {:?}", engine.device().short(), report.findings)))
}

/// Everything about an engine that must be the same on all devices, as texts that can be compared and shown.
pub type Portrait = BTreeMap<String, String>;

/// Draws an engine's portrait, without what a liar has told to some devices only.
///
/// # Errors
/// When it cannot be read.
pub fn portrait(engine: &mut Engine, liar: Option<&Liar>) -> Held<Portrait> {
    let mut portrait = Portrait::new();
    for position in engine.frontier() {
        let name = format!(
            "log {}/{} branch {}",
            position.log.device.short(),
            position.log.epoch.0,
            position.branch
        );
        portrait.insert(format!("{name} root {}", position.root), format!("{}", position.size));
    }
    portrait.insert("governance".to_owned(), format!("{:?}", engine.governance().heads));
    for member in engine.members() {
        portrait.insert(format!("member {}", member.device), format!("{} {:?}", member.name, member.role));
    }
    let status = engine.status()?;
    portrait.insert("waiting".to_owned(), format!("{} held, {} refused", status.held, status.refused));
    portrait.insert("writing".to_owned(), format!("{:?}", status.stopped));
    portrait.insert("objects".to_owned(), status.objects.to_string());
    for card in engine.cards(false)? {
        let sides = engine.card(&card.card)?.map(|card| card.operations);
        let text = format!("{} {} {} {sides:?}", card.object, card.path, card.kind);
        portrait.insert(format!("card {}", card.card), text);
    }
    for summary in engine.list(None)? {
        let Some(view) = engine.get(&summary.object)? else {
            return Err(Failure(format!("object {} is listed and cannot be read", summary.object)));
        };
        if !matches!(view.state, ObjectState::Clean | ObjectState::Conflicted | ObjectState::Tombstoned) {
            let explained = engine.explain(summary.object.as_str())?;
            let history = engine.history(&summary.object)?;
            let waits: Vec<_> = history.iter().filter(|item| item.status != EntryState::Admitted).collect();
            // Somebody's bad entry may wait on an object that everybody else goes on with.
            if liar.is_some_and(|liar| waits.iter().all(|item| item.device == liar.device())) {
                let text = serde_json::to_string(&view)?;
                portrait.insert(format!("object {}", summary.object), text);
                continue;
            }
            return Err(Failure(format!(
                "WEDGED: object {} is {:?}: {explained:?}\n{waits:?}\n{:?}",
                summary.object, view.state, status.findings
            )));
        }
        let text = serde_json::to_string(&view)?;
        portrait.insert(format!("object {}", summary.object), format!("{text} {} changes", summary.changes));
    }
    if let Some(liar) = liar {
        liar.leave_out(&mut portrait);
    }
    Ok(portrait)
}

/// Compares two portraits.
///
/// # Errors
/// Says what differs.
pub fn compare(one: &Portrait, other: &Portrait, device: usize) -> Held {
    if one == other {
        return Ok(());
    }
    let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    let texts = differ.map(|name| {
        let (a, b) = (one.get(name).map_or("", String::as_str), other.get(name).map_or("", String::as_str));
        let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        let from = |text: &str| text.chars().skip(same.saturating_sub(40)).take(400).collect::<String>();
        format!("{name}: …{} and here …{}", from(a), from(b))
    });
    Err(Failure(format!(
        "DIVERGED, seen on device {device}:\n{}",
        texts.take(8).collect::<Vec<_>>().join("\n")
    )))
}
