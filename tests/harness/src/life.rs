//! What happens to devices: they are made, let in, killed, started again, rolled back, and their disks fail.
//!
//! After every start the engine is held to what it had committed before, and to every "ok" it gave.

use crate::device::{Device, Healing, Sizes};
use crate::disk::Fault;
use crate::erasing::late_operations;
use crate::world::{Event, Failure, Held, World};
use syncd_engine::Engine;
use syncd_engine::workspace::Welcome;
use syncd_schema::Role;

/// Snapshots kept of one device.
const SNAPSHOTS: usize = 3;

impl World {
    /// Makes the owner and its workspace.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn found(&mut self) -> Held {
        let mut device = Device::new(0, &mut self.rng);
        let config = device.config();
        device.engine = Some(Engine::create(config, "device-0", device.wall(self.queue.now()))?);
        self.devices.push(device);
        self.look_at(0)?;
        self.describe_collection()
    }

    /// Lets a new device in, if the inviter can; it dials the inviter at once.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn join(&mut self, inviter: usize, role: Role) -> Held<Option<usize>> {
        let mut device = Device::new(self.devices.len(), &mut self.rng);
        let number = device.number;
        let identity = device.identity();
        let now = self.devices[inviter].wall(self.queue.now());
        if !self.devices[inviter].may_write() {
            return Ok(None);
        }
        let Some(engine) = &mut self.devices[inviter].engine else { return Ok(None) };
        let signature = identity.key_signature(&engine.workspace());
        let name = format!("device-{number}");
        let enrolled =
            engine.enrol(identity.device(), &name, role, identity.key_agreement(), &signature, now);
        let (workspace, inviting) = (engine.workspace(), engine.device());
        let (welcome, events) = match enrolled {
            Ok(done) => done,
            Err(error) => {
                self.log(format!("device {inviter} cannot let device {number} in: {error}"));
                self.disk_failed(inviter)?;
                return Ok(None);
            }
        };
        self.log(format!("device {inviter} lets device {number} in as {role:?}"));
        self.look_at(inviter)?;
        let welcome = Welcome::from_bytes(&welcome.to_bytes())?;
        device.engine = Some(Engine::join(device.config(), workspace, inviting, &welcome)?);
        self.devices.push(device);
        if crate::world::grows(&events) {
            self.tell_sessions(inviter, None)?;
        }
        for other in 0..number {
            self.queue.after(1, Event::Dials(number, other));
        }
        Ok(Some(number))
    }

    /// Copies a device, keys and disk, as somebody does who clones a machine. The copy's number.
    ///
    /// # Errors
    /// When the copy does not start.
    pub fn copy_device(&mut self, device: usize) -> Held<usize> {
        let number = self.devices.len();
        let mut copy = self.devices[device].copy(number, &mut self.rng);
        copy.open()?;
        self.log(format!("device {number} is a copy of device {device}"));
        self.devices.push(copy);
        // A device does not talk to itself.
        self.cut.insert((device.min(number), device.max(number)));
        Ok(number)
    }

    /// Kills a device: what was not synced survives with `keep` percent, write by write.
    ///
    /// # Errors
    /// Never; for use in scripts.
    pub fn kill(&mut self, device: usize, keep: u64) -> Held {
        if self.devices[device].engine.take().is_none() {
            return Ok(());
        }
        self.log(format!("device {device} is killed, {keep}% of unsynced writes survive"));
        self.stats.crashes += 1;
        let Self { devices, rng, .. } = self;
        devices[device].disk.crash(rng, keep);
        self.disconnect_all(device);
        Ok(())
    }

    /// Starts a device that is off.
    ///
    /// # Errors
    /// When it does not start, or has lost what it committed.
    pub fn restart(&mut self, device: usize) -> Held {
        if self.devices[device].engine.is_some() {
            return Ok(());
        }
        self.devices[device].open().map_err(|error| {
            let Failure(text) = Failure::from(error);
            Failure(format!("device {device} does not start: {text}"))
        })?;
        self.log(format!("device {device} starts"));
        let missing = self.devices[device].missing(&self.devices[device].known.clone());
        if !missing.is_empty() {
            return Err(Failure(format!("LOST by a crash on device {device}: {}", missing.join(", "))));
        }
        self.holds_own(device)?;
        self.look_at(device)?;
        self.settle_calls(device)?;
        self.dial_everybody(device);
        Ok(())
    }

    /// Every "ok" this device gave is still true, as long as nobody put an old copy of its store in place.
    fn holds_own(&mut self, device: usize) -> Held {
        if self.devices[device].healing.is_some() {
            return Ok(());
        }
        let admitted = self.admitted_on(device)?;
        for acked in self.model.acked.iter().filter(|acked| acked.device == device) {
            if !admitted.contains(&acked.operation) {
                return Err(Failure(format!(
                    "LOST: device {device} acknowledged {acked:?} and does not hold it"
                )));
            }
        }
        Ok(())
    }

    /// Plans attempts to reach all others.
    pub fn dial_everybody(&mut self, device: usize) {
        for other in 0..self.devices.len() {
            if other != device {
                let delay = self.rng.below(500_000) as u64;
                self.queue.after(delay, Event::Dials(device, other));
            }
        }
    }

    /// After a call failed because of a disk: the machine may be off altogether.
    ///
    /// # Errors
    /// When a promise is broken.
    pub fn disk_failed(&mut self, device: usize) -> Held {
        if self.devices[device].disk.is_off() {
            let keep = self.rng.below(101) as u64;
            self.kill(device, keep)?;
            let delay = self.rng.below(10_000_000) as u64;
            self.queue.after(delay, Event::Restarts(device));
        }
        Ok(())
    }

    /// The disk works again. The engine must work at once, without being told.
    ///
    /// # Errors
    /// When it does not.
    pub fn lift_fault(&mut self, device: usize) -> Held {
        if self.devices[device].disk.fault() == Fault::None {
            return Ok(());
        }
        self.log(format!("the disk of device {device} works again"));
        self.devices[device].disk.set_fault(Fault::None);
        if let Some(engine) = &self.devices[device].engine {
            engine.status().map_err(|error| {
                let Failure(text) = Failure::from(error);
                Failure(format!("device {device} cannot read though its disk works again: {text}"))
            })?;
        }
        self.settle_calls(device)?;
        self.dial_everybody(device);
        Ok(())
    }

    fn settle_calls(&mut self, device: usize) -> Held {
        if self.devices[device].healing.is_none() { self.ask_again(device) } else { Ok(()) }
    }

    /// Keeps an image of a device's disk for a later rollback.
    pub fn snapshot(&mut self, device: usize) {
        let device = &mut self.devices[device];
        if device.engine.is_some() && device.healing.is_none() && device.disk.fault() == Fault::None {
            device.snapshots.push((device.disk.durable(), device.known.clone()));
            if device.snapshots.len() > SNAPSHOTS {
                device.snapshots.remove(0);
            }
        }
    }

    /// Puts an old image in place of a device's store, if another device holds everything that is lost by it. The
    /// device talks to that one first and writes only when it has its own entries back: what a person does who
    /// restores a backup and opens the app while the other device is near.
    ///
    /// # Errors
    /// When the old image does not start.
    pub fn roll_back(&mut self, device: usize) -> Held {
        let busy = |d: &Device| !d.may_write() || d.disk.fault() != Fault::None;
        if busy(&self.devices[device]) || self.devices.iter().any(|d| d.healing.is_some()) {
            return Ok(());
        }
        let known = self.devices[device].known.clone();
        let has_all = |d: &&Device| d.number != device && !busy(d) && d.missing(&known).is_empty();
        let Some(peer) = self.devices.iter().find(has_all).map(|d| d.number) else { return Ok(()) };
        let count = self.devices[device].snapshots.len();
        if count == 0 {
            return Ok(());
        }
        let (image, sizes) = self.devices[device].snapshots.remove(self.rng.below(count));
        self.log(format!("device {device} is rolled back to {sizes:?}; device {peer} has the rest"));
        self.stats.rollbacks += 1;
        self.disconnect_all(device);
        let id = self.devices[device].identity().device();
        let own: Sizes = known.into_iter().filter(|(log, _)| log.device == id).collect();
        let rolled = &mut self.devices[device];
        rolled.engine = None;
        rolled.disk.restore(image);
        rolled.known = sizes;
        rolled.healing = Some(Healing { peer, own });
        rolled.open()?;
        self.look_at(device)?;
        self.queue.after(1, Event::Dials(device, peer));
        Ok(())
    }

    /// Whether nothing waits on a device but what somebody is asked about.
    fn is_judged(&mut self, device: usize) -> bool {
        let Some(engine) = &mut self.devices[device].engine else { return false };
        let Ok(late) = late_operations(engine) else { return false };
        engine.status().is_ok_and(|status| status.held == late.len() as u64)
    }

    /// The cheap invariants after a step of an engine: logs never get shorter. Ends a healing that is done.
    ///
    /// # Errors
    /// When a log got shorter.
    pub fn look_at(&mut self, device: usize) -> Held {
        let missing = self.devices[device].missing(&self.devices[device].known);
        if !missing.is_empty() {
            return Err(Failure(format!("device {device} forgot: {}", missing.join(", "))));
        }
        self.devices[device].known = self.devices[device].sizes();
        let healing = self.devices[device].healing.clone();
        // Its own entries may come before the governance that they name: until then they wait and do not show.
        let is_back = |healing: Healing| self.devices[device].missing(&healing.own).is_empty();
        if healing.is_some_and(is_back) && self.is_judged(device) {
            self.log(format!("device {device} has its own entries back"));
            self.devices[device].healing = None;
            self.dial_everybody(device);
        }
        Ok(())
    }
}
