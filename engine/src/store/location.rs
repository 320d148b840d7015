//! Where a store lives, and how its database comes to be there whole or not at all.

use super::CACHE_BYTES;
use redb::Database;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The word in the name of a file that is written in a store's place.
pub(super) const UNFINISHED: &str = "rewritten";
/// How often a file may be replaced while somebody tries to open it.
const REPLACED: usize = 8;

/// Makes the database, again after a failed write: redb refuses to go on with a file that failed once.
pub(super) type Opener = Arc<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// Where a store lives.
#[derive(Clone)]
pub enum Location {
    /// A file, made if absent.
    File(PathBuf),
    /// A storage backend made on demand, for tests with failing disks; called again when a store is reopened.
    Backend(Arc<dyn Fn() -> Box<dyn redb::StorageBackend> + Send + Sync>),
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Backend(_) => f.write_str("Backend"),
        }
    }
}

impl Location {
    pub(super) fn opener(&self) -> Opener {
        match self.clone() {
            Self::File(path) => Arc::new(move || {
                make_file(&path)?;
                open_locked(&path)
            }),
            Self::Backend(make) => Arc::new(move || {
                let backend = make();
                forget_blank(&*backend)?;
                builder().create_with_backend(BoxedBackend(backend))
            }),
        }
    }

    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Backend(_) => "in memory".to_owned(),
        }
    }
}

/// Makes an empty database beside `path` and links it there, if nothing is there yet. A file that a kill left half made
/// never has the name; of two processes that make one at the same time, one wins and both open that.
fn make_file(path: &Path) -> Result<(), redb::DatabaseError> {
    if path.exists() {
        return Ok(());
    }
    let beside = StoreFile::beside(path, "new").map_err(stored)?;
    drop(builder().create_with_backend(beside.backend()?)?);
    beside.links_to(path).map_err(stored)
}

/// Opens the file that has this name, which locks it. Whoever had it open may have put another in its place since it was
/// looked up: then that one is meant, and what was found in this one means nothing.
fn open_locked(path: &Path) -> Result<Database, redb::DatabaseError> {
    for _ in 0..REPLACED {
        let file = private_file(path).map_err(stored)?;
        let found = file.metadata().map_err(stored)?;
        let database = builder().create_with_backend(redb::backends::FileBackend::new(file)?);
        if is_same(&found, &std::fs::metadata(path).map_err(stored)?) {
            let database = database?;
            forget_unfinished(path).map_err(stored)?;
            return Ok(database);
        }
    }
    Err(redb::DatabaseError::DatabaseAlreadyOpen)
}

#[cfg(unix)]
fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Elsewhere a file that is open cannot be replaced.
#[cfg(not(unix))]
const fn is_same(_: &std::fs::Metadata, _: &std::fs::Metadata) -> bool {
    true
}

/// Removes what a kill left while the file was written anew: it may hold what is erased later. Only who has the file locked
/// may be writing it anew, so that it is nobody's.
fn forget_unfinished(path: &Path) -> Result<(), std::io::Error> {
    let (Some(folder), Some(stem)) = (path.parent(), path.file_stem()) else { return Ok(()) };
    let start = format!("{}.{UNFINISHED}-", stem.to_string_lossy());
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(&start));
        let is_left = process.is_some_and(|process| process.bytes().all(|byte| byte.is_ascii_digit()));
        if is_left && entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// How a database is made or opened.
pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A file beside a store's, until it is one. Unless it becomes one it is removed.
pub(super) struct StoreFile {
    path: PathBuf,
    file: std::fs::File,
    has_place: bool,
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        if !self.has_place
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "an unfinished file is left beside the store");
        }
    }
}

impl StoreFile {
    /// Makes an empty one, in place of what a kill may have left.
    pub(super) fn beside(path: &Path, word: &str) -> Result<Self, std::io::Error> {
        let path = path.with_extension(format!("{word}-{}", std::process::id()));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = private_file(&path)?;
        Ok(Self { path, file, has_place: false })
    }

    pub(super) fn backend(&self) -> Result<redb::backends::FileBackend, redb::DatabaseError> {
        redb::backends::FileBackend::new(self.file.try_clone().map_err(stored)?)
    }

    /// Gives it a name that nothing has; whatever has it already stays.
    fn links_to(self, path: &Path) -> Result<(), std::io::Error> {
        self.file.sync_all()?;
        match std::fs::hard_link(&self.path, path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        drop(self);
        sync_folder(path)
    }

    /// Gives it the name of another file, which loses it; for good when the folder was synced.
    pub(super) fn takes_place_of(mut self, path: &Path) -> Result<(), std::io::Error> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)?;
        self.has_place = true;
        Ok(())
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), std::io::Error> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn stored(error: std::io::Error) -> redb::DatabaseError {
    redb::DatabaseError::Storage(error.into())
}

/// Empties a backend whose header was never written: a kill while it was made left no database, and nothing was
/// ever acknowledged from it.
fn forget_blank(backend: &dyn redb::StorageBackend) -> Result<(), redb::DatabaseError> {
    let mut magic = [0_u8; 9];
    let len = backend.len().map_err(stored)?;
    if len >= magic.len() as u64 {
        backend.read(0, &mut magic).map_err(stored)?;
    }
    if len > 0 && magic == [0; 9] {
        backend.set_len(0).map_err(stored)?;
    }
    Ok(())
}

/// Opens or makes a file that nobody else may read.
fn private_file(path: &Path) -> Result<std::fs::File, std::io::Error> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// Lets a boxed backend be one.
#[derive(Debug)]
struct BoxedBackend(Box<dyn redb::StorageBackend>);

impl redb::StorageBackend for BoxedBackend {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }
    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}
