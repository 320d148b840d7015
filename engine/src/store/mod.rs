//! The store: one redb file per workspace. The only place that knows redb.
//!
//! Reads see the last commit. Writes are collected in a [`Batch`] and committed at once, each touched table opened
//! once and its keys in order; the caller is answered after [`Store::commit`] returned. Documents are written
//! through [`rows`] with the proof that a gate admitted them. Tests give a failing disk through redb's own
//! `StorageBackend`.

mod batch;
mod burst_rows;
mod card_rows;
mod location;
mod pending_rows;
mod rebirth_rows;
mod rewrite;
pub mod rows;
pub mod seal;
pub mod tables;

pub use batch::Batch;
pub use location::Location;

use location::Opener;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase};
use seal::SealKey;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use syncd_schema::Entropy;
use tables::Table;

/// The version of the store's format, in the row `format` of `plain`.
pub const FORMAT: u32 = 1;
/// redb's page cache: memory follows the objects in use, and a reconnect needs a few hundred pages.
pub const CACHE_BYTES: usize = 4 << 20;
/// First byte of every value.
const VALUE_VERSION: u8 = 1;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Something went wrong between the engine and its file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error("the store {place} is in use by another process; use its daemon's socket or stop it")]
    Busy {
        /// The file.
        place: String,
    },
    /// The file cannot be opened.
    #[error("the store {place} cannot be opened")]
    Open {
        /// The file.
        place: String,
        /// redb's account.
        #[source]
        source: Box<redb::Error>,
    },
    /// Written by a newer version.
    #[error("the store has format {found}, this version knows up to {FORMAT}; use a newer version")]
    Format {
        /// Its version.
        found: u32,
    },
    /// Reading failed.
    #[error("cannot read table {table}")]
    Read {
        /// The table.
        table: &'static str,
        /// redb's account.
        #[source]
        source: Box<redb::Error>,
    },
    /// Nothing of the commit is on disk, or it is not known to be.
    #[error("cannot write to the store; nothing was acknowledged. Is the disk full?")]
    Commit {
        /// redb's account.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value does not open under the store key.
    #[error("a value of table {table} at key {key} is damaged; run `evidence verify`")]
    Sealed {
        /// The table.
        table: &'static str,
        /// The key in hex.
        key: String,
    },
    /// A value opens and is not what it should be.
    #[error("a value of table {table} at key {key} cannot be decoded; run `evidence verify`")]
    Value {
        /// The table.
        table: &'static str,
        /// The key in hex.
        key: String,
        /// The decoder's account.
        #[source]
        source: syncd_schema::cbor::CborError,
    },
}

impl StoreError {
    fn redb(&self) -> Option<&redb::Error> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Commit { source } => Some(source),
            Self::Busy { .. } | Self::Format { .. } | Self::Sealed { .. } | Self::Value { .. } => None,
        }
    }

    /// Whether the disk has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
        matches!(self.redb(), Some(redb::Error::Io(error)) if full.contains(&error.kind()))
    }

    /// Whether what is stored is damaged, as opposed to a disk that cannot be reached.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self.redb() {
            Some(redb::Error::Io(error)) => error.kind() == std::io::ErrorKind::InvalidData,
            Some(error) => matches!(error, redb::Error::Corrupted(_)),
            None => matches!(self, Self::Sealed { .. } | Self::Value { .. }),
        }
    }
}

/// An open store.
pub struct Store {
    /// None after a write failed and until the file could be opened again: redb does not go on with one that failed.
    database: Mutex<Option<Arc<Database>>>,
    location: Location,
    opener: Opener,
    place: String,
    key: SealKey,
    entropy: Box<dyn Entropy>,
    commits: u64,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("place", &self.place)
            .field("commits", &self.commits)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store at `location`, made if absent.
    ///
    /// # Errors
    /// When it is in use, cannot be read, or has a newer format.
    pub fn open(location: &Location, key: SealKey, entropy: Box<dyn Entropy>) -> Result<Self, StoreError> {
        let opener = location.opener();
        let place = location.place();
        let database = open_database(&opener, &place)?;
        let database = Mutex::new(Some(Arc::new(database)));
        let location = location.clone();
        let mut store = Self { database, location, opener, place, key, entropy, commits: 0 };
        match store.get_plain("format")? {
            Some(bytes) => {
                let found = bytes.try_into().map_or(u32::MAX, u32::from_be_bytes);
                if found > FORMAT {
                    return Err(StoreError::Format { found });
                }
            }
            None => store.initialise()?,
        }
        Ok(store)
    }

    fn initialise(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.put_plain("format", &FORMAT.to_be_bytes());
        self.write(batch, &Table::ALL, Durability::Immediate)
    }

    /// Whether this store was made by the call that opened it and holds no workspace yet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.get_plain("workspace")?.is_none())
    }

    /// How many commits this process made.
    #[must_use]
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    /// The source of randomness that this store seals with, for its owner's other needs.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }

    /// Reads an unsealed fact.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn get_plain(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.raw(Table::Plain, name.as_bytes())
    }

    /// Reads and opens one value.
    ///
    /// # Errors
    /// When it cannot be read or does not open.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.raw(table, key)?.map(|sealed| self.unseal(table, key, &sealed)).transpose()
    }

    /// Reads the values of a key range in ascending order, at most `limit` of them.
    ///
    /// # Errors
    /// When one cannot be read or does not open.
    pub fn range(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.scan(table, from, to, false, |key, sealed| {
            rows.push((key.to_vec(), sealed.to_vec()));
            rows.len() < limit
        })?;
        rows.into_iter().map(|(key, sealed)| Ok((key.clone(), self.unseal(table, &key, &sealed)?))).collect()
    }

    /// Reads all values whose key begins with `prefix`, ascending.
    ///
    /// # Errors
    /// When one cannot be read or does not open.
    pub fn prefix(&self, table: Table, prefix: &[u8]) -> Result<Vec<Row>, StoreError> {
        let end = successor(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.range(table, Bound::Included(prefix), to, usize::MAX)
    }

    /// The keys that begin with `prefix`, ascending, at most `limit` of them.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn keys(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let end = successor(prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut keys = Vec::new();
        self.scan(table, Bound::Included(prefix), to, false, |key, _| {
            keys.push(key.to_vec());
            keys.len() < limit
        })?;
        Ok(keys)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn count(&self, table: Table) -> Result<u64, StoreError> {
        self.read(table, |open| Ok(redb::ReadableTableMetadata::len(open)?))
    }

    /// The last value at or before `key` whose key begins with `prefix`.
    ///
    /// # Errors
    /// When it cannot be read or does not open.
    pub fn last_at(&self, table: Table, prefix: &[u8], key: &[u8]) -> Result<Option<Row>, StoreError> {
        let mut found = None;
        self.scan(table, Bound::Included(prefix), Bound::Included(key), true, |key, sealed| {
            found = Some((key.to_vec(), sealed.to_vec()));
            false
        })?;
        found
            .map(|(key, sealed)| {
                let value = self.unseal(table, &key, &sealed)?;
                Ok((key, value))
            })
            .transpose()
    }

    /// Writes everything in `batch`, or nothing. When this returns, it is on disk.
    ///
    /// # Errors
    /// When the disk refuses; the store is as before and can be written to again.
    pub fn commit(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.write(batch, &[], Durability::Immediate)
    }

    /// Writes everything in `batch` without waiting for the disk: lost by a crash before the next commit.
    /// Only for what can be learnt again.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn note(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.write(batch, &[], Durability::None)
    }

    fn write(&mut self, batch: Batch, make: &[Table], durability: Durability) -> Result<(), StoreError> {
        let result = unbroken(|| self.try_write(batch, make, durability))
            .unwrap_or_else(|broken| Err(StoreError::Commit { source: Box::new(broken) }));
        if result.is_err() {
            self.close();
        }
        result
    }

    fn try_write(&mut self, batch: Batch, make: &[Table], durability: Durability) -> Result<(), StoreError> {
        let database = self.database()?;
        let error = |source: redb::Error| StoreError::Commit { source: Box::new(source) };
        let mut transaction = database.begin_write().map_err(|e| error(e.into()))?;
        transaction.set_durability(durability).map_err(|e| error(e.into()))?;
        // After a kill, opening would otherwise walk the whole file: a second per gigabyte.
        transaction.set_quick_repair(true);
        for table in make {
            transaction.open_table(table.definition()).map_err(|e| error(e.into()))?;
        }
        for (table, rows) in batch.rows {
            let mut open = transaction.open_table(table.definition()).map_err(|e| error(e.into()))?;
            for (key, value) in rows {
                match value {
                    None => drop(open.remove(key.as_slice()).map_err(|e| error(e.into()))?),
                    Some(plain) => {
                        let value = if table == Table::Plain {
                            plain
                        } else {
                            let sealed = self.key.seal(&plain, &associated(table, &key), &mut *self.entropy);
                            [&[VALUE_VERSION], sealed.as_slice()].concat()
                        };
                        drop(open.insert(key.as_slice(), value.as_slice()).map_err(|e| error(e.into()))?);
                    }
                }
            }
        }
        transaction.commit().map_err(|e| error(e.into()))?;
        self.commits += 1;
        Ok(())
    }

    /// Lets redb check its own file: pages, checksums, trees.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn check_file(&mut self) -> Result<bool, StoreError> {
        let error = |source: redb::Error| StoreError::Read { table: "all", source: Box::new(source) };
        self.database()?;
        let mut held = self.held();
        let Some(database) = held.as_mut().and_then(Arc::get_mut) else {
            return Err(error(redb::Error::DatabaseClosed));
        };
        let checked = unbroken(|| database.check_integrity());
        drop(held);
        match checked {
            Ok(result) => result.map_err(|e| error(e.into())),
            Err(broken) => {
                self.close();
                Err(error(broken))
            }
        }
    }

    /// Lets go of the database, to be opened again when it is next needed.
    fn close(&self) {
        let database = self.held().take();
        if let Err(error) = unbroken(|| drop(database)) {
            tracing::warn!(%error, place = self.place, "the database file was not closed in order");
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open database; opened again if a write failed before.
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut held = self.held();
        if let Some(database) = held.as_ref() {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(open_database(&self.opener, &self.place)?);
        *held = Some(Arc::clone(&database));
        Ok(database)
    }

    fn raw(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.read(table, |open| Ok(open.get(key)?.map(|value| value.value().to_vec())));
        match read {
            Err(StoreError::Read { source, .. }) if matches!(*source, redb::Error::TableDoesNotExist(_)) => {
                Ok(None)
            }
            read => read,
        }
    }

    /// Reads from one table, in a transaction of its own.
    fn read<T>(
        &self,
        table: Table,
        read: impl FnOnce(&ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let database = self.database()?;
        let read = || read(&database.begin_read()?.open_table(table.definition())?);
        unbroken(read)
            .and_then(|result| result)
            .map_err(|source| StoreError::Read { table: table.name(), source: Box::new(source) })
    }

    fn scan(
        &self,
        table: Table,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        backwards: bool,
        mut visit: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        self.read(table, |open| {
            let mut rows = open.range::<&[u8]>((from, to))?;
            while let Some(row) = if backwards { rows.next_back() } else { rows.next() } {
                let (key, value) = row?;
                if !visit(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn unseal(&self, table: Table, key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Sealed { table: table.name(), key: hex::encode(key) };
        match value.split_first() {
            Some((&VALUE_VERSION, sealed)) => {
                self.key.open(sealed, &associated(table, key)).map_err(|_| damaged())
            }
            _ => Err(damaged()),
        }
    }
}

/// Runs something in redb. A damaged file can make it panic, anywhere: that is an error here, as any other damage.
fn unbroken<T>(run: impl FnOnce() -> T) -> Result<T, redb::Error> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .map_err(|_| redb::Error::Corrupted("redb broke off".to_owned()))
}

fn open_database(opener: &Opener, place: &str) -> Result<Database, StoreError> {
    let damaged =
        |_| redb::DatabaseError::Storage(redb::StorageError::Corrupted("redb could not open it".to_owned()));
    match unbroken(|| opener()).map_err(damaged).and_then(|opened| opened) {
        Ok(database) => Ok(database),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::Busy { place: place.to_owned() }),
        Err(source) => {
            Err(StoreError::Open { place: place.to_owned(), source: Box::new(redb::Error::from(source)) })
        }
    }
}

fn associated(table: Table, key: &[u8]) -> Vec<u8> {
    [b"sourceos-syncd/1/store/".as_slice(), table.name().as_bytes(), &[0], key].concat()
}

/// The smallest key that does not begin with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
