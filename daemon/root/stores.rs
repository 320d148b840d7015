//! Making, joining and opening workspaces in the root directory.
//!
//! A new workspace is made beside its place and moved there when it is whole, since its id is known only then.

use super::{DEFAULT, PickError, Root, RootError, aliases, files, io};
use crate::os::{self, SystemEntropy};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use syncd_engine::store::StoreError;
use syncd_engine::workspace::Welcome;
use syncd_engine::{Config, Engine, Identity, Location, OpenError};
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_schema::ticket::Ticket;
use syncd_schema::{WorkspaceId, ports};
use zeroize::Zeroizing;

/// A workspace cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The directory says why.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The engine says why.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl SetupError {
    /// Whether another process has the store open, which may end.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Open(OpenError::Store(StoreError::Busy { .. })))
    }
}

impl Root {
    /// The workspace that is meant, made if the device has none, or none of that name. Returns its id and whether
    /// it was made.
    ///
    /// # Errors
    /// When it cannot be made, or which one is meant cannot be said.
    pub fn workspace_or_new(
        &self,
        name: Option<&str>,
        device_name: &str,
    ) -> Result<(WorkspaceId, bool), SetupError> {
        match self.aliases()?.pick(name) {
            Ok(workspace) => return Ok((workspace, false)),
            Err(PickError::None | PickError::Unknown { .. }) => {}
            Err(error) => return Err(RootError::from(error).into()),
        }
        let alias = name.unwrap_or(DEFAULT);
        aliases::check_name(alias).map_err(RootError::from)?;
        let secret = self.secret_or_new()?;
        let _lock = self.lock()?;
        // Another process may have made it while this one waited.
        if let Ok(workspace) = self.aliases()?.pick(name) {
            return Ok((workspace, false));
        }
        let workspace = self.make_store(|config| Engine::create(config, device_name, os::now()), &secret)?;
        drop(_lock);
        self.change_aliases(|aliases| aliases.add(alias, workspace))?;
        Ok((workspace, true))
    }

    /// Makes a store for a workspace that this device was welcomed to, unless it has one: a device that is let in
    /// anew keeps what it holds. Returns whether it was made.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn join_store(&self, ticket: &Ticket, welcome: &Welcome) -> Result<bool, SetupError> {
        let secret = self.secret_or_new()?;
        let _lock = self.lock()?;
        if self.workspace_dir(&ticket.workspace).exists() {
            return Ok(false);
        }
        self.make_store(|config| Engine::join(config, ticket.workspace, ticket.inviter, welcome), &secret)?;
        Ok(true)
    }

    /// Opens a workspace.
    ///
    /// # Errors
    /// When its store is in use, damaged, or its key or the identity is missing.
    pub fn open(&self, workspace: &WorkspaceId) -> Result<Engine, SetupError> {
        let dir = self.workspace_dir(workspace);
        let exposed = self.hide(&dir)?;
        let secret = self.secret()?.ok_or_else(|| RootError::NoIdentity(self.dir.join("identity")))?;
        let path = dir.join("store.key");
        let bytes = files::read(&path).map_err(io("read", &path))?.map(Zeroizing::new).unwrap_or_default();
        let key: Option<[u8; 32]> = bytes.as_slice().try_into().ok();
        let damaged = || RootError::Damaged { path, rule: "it holds the 32 bytes that open the store" };
        let key = Zeroizing::new(key.ok_or_else(damaged)?);
        let policy = self.own_policy()?;
        let mut engine = Engine::open(Config { policy, ..config(&dir, key, &secret) })?;
        for path in exposed {
            engine.note_finding(exposed_file(&path)).map_err(OpenError::from)?;
        }
        Ok(engine)
    }

    /// Takes from others what rights they have to a workspace's files, as a restored backup may give them. Returns those
    /// with keys or work in them that others could read.
    fn hide(&self, dir: &Path) -> Result<Vec<PathBuf>, RootError> {
        let mut exposed = Vec::new();
        for path in [self.dir.join("identity"), dir.join("store.key"), dir.join("store.redb")] {
            if files::make_private(&path).map_err(io("change", &path))? {
                exposed.push(path);
            }
        }
        Ok(exposed)
    }

    /// Makes a store in a new directory and moves that to where it belongs. The caller holds the lock.
    fn make_store(
        &self,
        make: impl FnOnce(Config) -> Result<Engine, OpenError>,
        secret: &Zeroizing<[u8; 64]>,
    ) -> Result<WorkspaceId, SetupError> {
        let all = self.dir.join("workspaces");
        files::private_dir(&all).map_err(io("make", &all))?;
        remove_leftovers(&all)?;
        let dir = all.join(format!("new-{}", std::process::id()));
        files::private_dir(&dir).map_err(io("make", &dir))?;
        let key = Zeroizing::new(ports::random(&mut SystemEntropy));
        let path = dir.join("store.key");
        files::write(&path, key.as_slice()).map_err(io("write", &path))?;
        let policy = self.own_policy()?;
        let engine = make(Config { policy, ..config(&dir, key, secret) })?;
        let workspace = engine.workspace();
        engine.close().map_err(OpenError::from)?;
        let place = self.workspace_dir(&workspace);
        std::fs::rename(&dir, &place).map_err(io("make", &place))?;
        files::sync_dir(&all).map_err(io("write", &all))?;
        Ok(workspace)
    }
}

fn exposed_file(path: &Path) -> Finding {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = format!("others on this machine could read {}; they cannot any more", path.display());
    let next = "if somebody may have read it: `join` as a new device with another --root, and have an admin remove this one";
    let (kind, severity) = (FindingKind::ExposedFile, Severity::Critical);
    Finding::new(kind, &format!("file {name}"), severity, &text, next, os::now())
}

fn config(dir: &Path, store_key: Zeroizing<[u8; 32]>, secret: &Zeroizing<[u8; 64]>) -> Config {
    Config {
        location: Location::File(dir.join("store.redb")),
        store_key,
        identity: Identity::from_secret(secret),
        entropy: Box::new(SystemEntropy),
        policy: None,
    }
}

/// Whether a directory is one of a workspace that was never finished.
pub(super) fn is_leftover(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with("new-")
}

/// Removes what a crash left of workspaces that were never finished. Whoever holds the lock is alone here.
fn remove_leftovers(all: &Path) -> Result<(), RootError> {
    for entry in std::fs::read_dir(all).map_err(io("read", all))?.flatten() {
        if is_leftover(&entry.file_name()) {
            std::fs::remove_dir_all(entry.path()).map_err(io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
