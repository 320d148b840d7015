//! The file written anew, with what is live and nothing else.
//!
//! redb gives freed pages back to itself and leaves in them what they held; so does a file that is compacted in place. What
//! was erased is gone from the file when its rows have been copied into another, which takes its place by a rename. The
//! old one is overwritten after that: how much of it the file system or the disk keeps elsewhere is beyond a program.

use super::location::{Location, StoreFile, UNFINISHED, builder, stored, sync_folder};
use super::tables::Table;
use super::{Store, StoreError, unbroken};
use redb::{Database, Durability, ReadableDatabase, ReadableTable};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

impl Store {
    /// Writes the file anew. A crash leaves the old file or the new one, each whole. Takes as long as reading and writing all
    /// that is live. A store that is no file is left as it is.
    ///
    /// # Errors
    /// When the disk refuses: the old file stays.
    pub fn rewrite(&mut self) -> Result<(), StoreError> {
        let Location::File(path) = self.location.clone() else { return Ok(()) };
        let error = |source: redb::Error| StoreError::Commit { source: Box::new(source) };
        let old = self.database()?;
        let file = StoreFile::beside(&path, UNFINISHED).map_err(|e| error(stored(e).into()))?;
        let new = unbroken(|| copy(&old, &file)).and_then(|copied| copied).map_err(error)?;
        let replaced = std::fs::File::options().read(true).write(true).open(&path);
        let replaced = replaced.map_err(|e| error(stored(e).into()))?;
        file.takes_place_of(&path).map_err(|e| error(stored(e).into()))?;
        // Whoever opens the path from here on finds the new file, and it locked.
        *self.held() = Some(Arc::new(new));
        if let Err(broken) = unbroken(|| drop(old)) {
            tracing::warn!(%broken, place = self.place, "the replaced database file was not closed in order");
        }
        // Not before: a crash could give the name back to the file that is overwritten.
        sync_folder(&path).map_err(|e| error(stored(e).into()))?;
        overwrite(replaced, &path);
        Ok(())
    }
}

/// Copies every row as it is: seals bind a value to its table and key, not to its file.
fn copy(old: &Database, file: &StoreFile) -> Result<Database, redb::Error> {
    let new = builder().create_with_backend(file.backend()?)?;
    let from = old.begin_read()?;
    let mut to = new.begin_write()?;
    to.set_durability(Durability::Immediate)?;
    to.set_quick_repair(true);
    for table in Table::ALL {
        let mut copied = to.open_table(table.definition())?;
        let rows = match from.open_table(table.definition()) {
            Ok(rows) => rows,
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        for row in rows.iter()? {
            let (key, value) = row?;
            drop(copied.insert(key.value(), value.value())?);
        }
    }
    to.commit()?;
    Ok(new)
}

/// Overwrites a file that has no name any more. It is gone either way, so a failure is told and changes nothing.
fn overwrite(mut file: std::fs::File, path: &Path) {
    let length = file.metadata().map(|data| data.len());
    let done = length.and_then(|length| {
        file.rewind()?;
        io::copy(&mut io::repeat(0).take(length), &mut file)?;
        file.sync_all()
    });
    if let Err(error) = done {
        tracing::warn!(%error, path = %path.display(), "the replaced store file could not be overwritten");
    }
}
