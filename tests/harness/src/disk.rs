//! A disk in memory that tells what was written from what is durable, and that fails on command.
//!
//! Writes land in a volatile layer; `sync_data` makes them durable. [`Disk::crash`] keeps what is durable and any
//! subset of the rest, write by write, as a machine that lost power may. Faults begin at a chosen operation and can
//! be lifted. It knows redb's backend trait and nothing of the engine. An engine of before a crash still holds a
//! handle: its generation is over, so it can neither read nor write any more.

use crate::rng::Rng;
use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use syncd_engine::Location;

/// What a disk does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// From this operation on the machine is off.
    CrashAt(u64),
    /// From this operation on no write and no growth works, until lifted.
    FullAt(u64),
    /// From this operation on it cannot grow; what is there can be overwritten.
    NoGrowthAt(u64),
    /// From this operation on syncing fails, and what was written may or may not be there after a crash.
    NoSyncAt(u64),
    /// Exactly this operation fails.
    OnceAt(u64),
    /// Syncing says that it worked and does nothing: no promise holds on such a disk. Proves that the oracles see it.
    Lies,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(len) => image.resize(*len as usize, 0),
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                // The growth before it may be what the crash took.
                if image.len() < to {
                    image.resize(to, 0);
                }
                image[from..to].copy_from_slice(data);
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    generation: u64,
    operations: u64,
    fault: Fault,
    off: bool,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// A disk that holds `image`, all of it durable.
    #[must_use]
    pub fn holding(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { live: image.clone(), durable: image, ..State::default() })))
    }

    /// What an engine opens. Each opening is bound to the disk's life of that moment.
    #[must_use]
    pub fn location(&self) -> Location {
        let disk = self.clone();
        let generation = self.lock().generation;
        Location::Backend(Arc::new(move || Box::new(Handle { disk: disk.clone(), generation })))
    }

    /// Writes, syncs and changes of length so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Sets or lifts a fault.
    pub fn set_fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// The fault that is set.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.lock().fault
    }

    /// Whether a [`Fault::CrashAt`] has struck.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Power goes and comes back: of what was not synced any subset is kept. `keep` is the chance of each write in
    /// percent. Handles of before are dead.
    pub fn crash(&self, rng: &mut Rng, keep: u64) {
        let mut state = self.lock();
        for change in std::mem::take(&mut state.unsynced) {
            if rng.percent(keep) {
                change.apply(&mut state.durable);
            }
        }
        state.live = state.durable.clone();
        state.generation += 1;
        state.off = false;
        state.fault = Fault::None;
    }

    /// What a crash at this moment would leave for sure: an image for a later rollback.
    #[must_use]
    pub fn durable(&self) -> Vec<u8> {
        self.lock().durable.clone()
    }

    /// Puts an old image in place of what is there.
    pub fn restore(&self, image: Vec<u8>) {
        let mut state = self.lock();
        state.live.clone_from(&image);
        state.durable = image;
        state.unsynced.clear();
        state.generation += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an operation is to the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Shrink,
    Grow,
    Sync,
}

impl State {
    /// Counts an operation and lets the fault strike.
    fn check(&mut self, generation: u64, kind: Kind) -> Result<(), Error> {
        if self.off || generation != self.generation {
            return Err(Error::new(ErrorKind::BrokenPipe, "the machine is off"));
        }
        if kind == Kind::Read {
            return Ok(());
        }
        let operation = self.operations;
        self.operations += 1;
        let full = || Err(Error::new(ErrorKind::StorageFull, "no space left on device"));
        match self.fault {
            Fault::CrashAt(at) if operation >= at => {
                self.off = true;
                Err(Error::new(ErrorKind::BrokenPipe, "the machine is off"))
            }
            Fault::FullAt(at) if operation >= at && matches!(kind, Kind::Write | Kind::Grow) => full(),
            Fault::NoGrowthAt(at) if operation >= at && kind == Kind::Grow => full(),
            Fault::NoSyncAt(at) if operation >= at && kind == Kind::Sync => {
                Err(Error::other("input/output error while syncing"))
            }
            Fault::OnceAt(at) if operation == at => Err(Error::other("input/output error")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }
}

/// A disk as one engine holds it.
#[derive(Debug)]
struct Handle {
    disk: Disk,
    generation: u64,
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        let mut state = self.disk.lock();
        state.check(self.generation, Kind::Read)?;
        Ok(state.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let mut state = self.disk.lock();
        state.check(self.generation, Kind::Read)?;
        let range = offset as usize..offset as usize + out.len();
        let bytes = state.live.get(range).ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut state = self.disk.lock();
        let kind = if len > state.live.len() as u64 { Kind::Grow } else { Kind::Shrink };
        state.check(self.generation, kind)?;
        state.change(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.disk.lock();
        state.check(self.generation, Kind::Sync)?;
        if state.fault == Fault::Lies {
            return Ok(());
        }
        for change in std::mem::take(&mut state.unsynced) {
            change.apply(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut state = self.disk.lock();
        state.check(self.generation, Kind::Write)?;
        state.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::StorageBackend;

    fn handle(disk: &Disk) -> Handle {
        Handle { disk: disk.clone(), generation: disk.lock().generation }
    }

    #[test]
    fn what_is_not_synced_is_lost_and_what_is_synced_is_not() {
        let disk = Disk::default();
        let before = handle(&disk);
        before.set_len(4).expect("grows");
        before.write(0, b"ab").expect("writes");
        before.sync_data().expect("syncs");
        before.write(2, b"cd").expect("writes");
        disk.crash(&mut Rng::new(1), 0);
        assert!(before.write(0, b"x").is_err(), "a handle of before the crash is dead");
        let mut bytes = [0; 4];
        handle(&disk).read(0, &mut bytes).expect("reads");
        assert_eq!(&bytes, b"ab\0\0");
    }

    #[test]
    fn faults_strike_where_they_should_and_are_lifted() {
        let disk = Disk::default();
        let handle = handle(&disk);
        handle.set_len(4).expect("grows");
        disk.set_fault(Fault::NoGrowthAt(0));
        handle.write(0, b"ab").expect("overwriting works");
        assert!(handle.set_len(8).is_err());
        disk.set_fault(Fault::FullAt(disk.operations() + 1));
        handle.write(0, b"ab").expect("the first write works");
        assert!(handle.write(0, b"ab").is_err());
        disk.set_fault(Fault::None);
        handle.set_len(8).expect("grows again");
        disk.set_fault(Fault::CrashAt(disk.operations()));
        assert!(handle.write(0, b"ab").is_err() && disk.is_off());
        assert!(handle.read(0, &mut [0; 1]).is_err());
    }
}
