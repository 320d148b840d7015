//! The root directory: everything that this device keeps, and where.
//!
//! ```text
//! identity                         64 secret bytes in hex
//! workspaces.json                  names of workspaces
//! policy.cedar                     the policy of this device alone, if it has one
//! agents.json                      which agents have a token, and the tokens' hashes
//! workspaces/<id>/store.redb       the store
//! workspaces/<id>/store.key        32 random bytes that seal it
//! workspaces/<id>/network.json     where its daemon listened last
//! run/<first 8 digits>.sock        the daemon's socket
//! lock                             held while any of the files above is changed
//! ```
//!
//! Nothing in it is readable by anybody else, and every file is replaced as a whole. A directory `workspaces/new-…`
//! is what a crash left of a workspace that nobody was told of. Start with [`Root::locate`]; making and opening
//! the workspaces themselves is in [`stores`].

mod agents;
mod aliases;
mod files;
mod policy;
pub mod stores;

pub use agents::{AGENTS, AgentToken, Agents, BindError, Binding, ParseTokenError};
pub use aliases::{Aliases, DEFAULT, PickError, check_name};
pub use stores::SetupError;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use syncd_engine::Identity;
use syncd_schema::{WorkspaceId, domain};
use zeroize::Zeroizing;

/// The longest socket path that every Unix takes: `sockaddr_un` has 104 bytes on some, one of them the end.
const SOCKET_PATH_BYTES: usize = 103;

/// Something about the root directory failed.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The platform names no place for data.
    #[error("this system names no place for data")]
    NoPlace,
    /// A file or directory.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {rule}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        rule: &'static str,
    },
    /// The identity is gone, and workspaces that only it can write are there.
    #[error("{} is missing, and the workspaces here belong to it", .0.display())]
    NoIdentity(PathBuf),
    /// Somebody else's directory is where the socket should be.
    #[error("{} belongs to somebody else or may be entered by others", .0.display())]
    Foreign(PathBuf),
    /// Somebody else could change what this device may do.
    #[error("{} can be written by others", .0.display())]
    Exposed(PathBuf),
    /// Which workspace is meant cannot be said.
    #[error(transparent)]
    Pick(#[from] PickError),
    /// A name cannot be bound to a token, or its token not revoked.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// What is remembered about the network between runs: the content of `network.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Where the daemon listened last.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Under which addresses others reached it then.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// The root directory of one device.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// The directory that was named, else the platform's data directory. Nothing is made.
    ///
    /// # Errors
    /// When none was named and the platform has none.
    pub fn locate(named: Option<PathBuf>) -> Result<Self, RootError> {
        let dir = match named {
            Some(dir) => dir,
            None => directories::ProjectDirs::from("", "", "sourceos-syncd")
                .ok_or(RootError::NoPlace)?
                .data_dir()
                .to_owned(),
        };
        // A daemon outlives the directory it was started in.
        let dir = std::path::absolute(&dir).map_err(io("find", &dir))?;
        Ok(Self { dir })
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory if there is none. One that is empty becomes private; one in use is left as it is, since
    /// its owner may keep other things in it, and every file of ours is private by itself.
    fn make(&self) -> Result<(), RootError> {
        let is_empty = match std::fs::read_dir(&self.dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(source) => return Err(io("read", &self.dir)(source)),
        };
        if is_empty {
            files::private_dir(&self.dir).map_err(io("make", &self.dir))?;
        }
        Ok(())
    }

    /// Keeps other processes from changing what is in the directory, until the result is dropped.
    fn lock(&self) -> Result<files::Lock, RootError> {
        self.make()?;
        let path = self.dir.join("lock");
        files::lock(&path).map_err(io("lock", &path))
    }

    /// The secret of this device's identity, if it has one.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn secret(&self) -> Result<Option<Zeroizing<[u8; 64]>>, RootError> {
        let path = self.dir.join("identity");
        let Some(text) = files::read(&path).map_err(io("read", &path))?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let mut secret = Zeroizing::new([0; 64]);
        let digits = text.trim_ascii();
        hex::decode_to_slice(digits, secret.as_mut_slice())
            .map_err(|_| RootError::Damaged { path, rule: "it holds 128 hex digits" })?;
        Ok(Some(secret))
    }

    /// The secret of this device's identity, made if there is neither one nor a workspace that would need the old one.
    ///
    /// # Errors
    /// When it cannot be read or written, or is lost.
    pub fn secret_or_new(&self) -> Result<Zeroizing<[u8; 64]>, RootError> {
        let _lock = self.lock()?;
        if let Some(secret) = self.secret()? {
            return Ok(secret);
        }
        if self.has_workspaces()? {
            return Err(RootError::NoIdentity(self.dir.join("identity")));
        }
        let secret = Identity::generate(&mut crate::os::SystemEntropy);
        let path = self.dir.join("identity");
        let text = Zeroizing::new(hex::encode(secret.as_slice()) + "\n");
        files::write(&path, text.as_bytes()).map_err(io("write", &path))?;
        Ok(secret)
    }

    /// Whether anything here belongs to an identity.
    fn has_workspaces(&self) -> Result<bool, RootError> {
        if self.aliases()?.ids().next().is_some() {
            return Ok(true);
        }
        let all = self.dir.join("workspaces");
        match std::fs::read_dir(&all) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            // What a crash left of one that nobody was told of belongs to nobody.
            Ok(entries) => Ok(entries.flatten().any(|entry| !stores::is_leftover(&entry.file_name()))),
            Err(source) => Err(io("read", &all)(source)),
        }
    }

    /// The names of this device's workspaces.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn aliases(&self) -> Result<Aliases, RootError> {
        self.read_json(&self.dir.join("workspaces.json"))
    }

    /// Changes the names of workspaces.
    ///
    /// # Errors
    /// When the list cannot be read or written.
    pub fn change_aliases<T>(&self, change: impl FnOnce(&mut Aliases) -> T) -> Result<T, RootError> {
        self.change_json(&self.dir.join("workspaces.json"), change)
    }

    /// What is remembered about a workspace's network.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn network(&self, workspace: &WorkspaceId) -> Result<Network, RootError> {
        self.read_json(&self.workspace_dir(workspace).join("network.json"))
    }

    /// Changes what is remembered about a workspace's network.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn change_network<T>(
        &self,
        workspace: &WorkspaceId,
        change: impl FnOnce(&mut Network) -> T,
    ) -> Result<T, RootError> {
        self.change_json(&self.workspace_dir(workspace).join("network.json"), change)
    }

    /// Where a workspace's files are.
    #[must_use]
    pub fn workspace_dir(&self, workspace: &WorkspaceId) -> PathBuf {
        self.dir.join("workspaces").join(workspace.to_string())
    }

    /// Where the daemon of a workspace listens: in the root, unless its path is longer than a socket's may be.
    #[must_use]
    pub fn socket(&self, workspace: &WorkspaceId) -> PathBuf {
        let name = format!("{}.sock", workspace.short());
        let inside = self.dir.join("run").join(&name);
        if inside.as_os_str().len() <= SOCKET_PATH_BYTES {
            return inside;
        }
        let dir = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        let hash = domain::hash("root", &[dir.as_os_str().as_bytes()]).short();
        std::env::temp_dir().join(format!("sourceos-syncd-{hash}")).join(name)
    }

    /// Makes the socket's directory, which nobody else may enter.
    ///
    /// # Errors
    /// When it cannot be made, or is somebody else's: then anything could be listening there.
    pub fn make_socket_dir(&self, socket: &Path) -> Result<(), RootError> {
        let dir = socket.parent().unwrap_or(&self.dir);
        if !dir.exists() {
            files::private_dir(dir).map_err(io("make", dir))?;
        }
        self.check_socket_dir(socket)
    }

    /// Whether the socket's directory is this user's alone; a client asks too, before it tells the socket anything.
    ///
    /// # Errors
    /// When it is not, or cannot be looked at.
    pub fn check_socket_dir(&self, socket: &Path) -> Result<(), RootError> {
        let dir = socket.parent().unwrap_or(&self.dir);
        let ours = std::fs::metadata(&self.dir).map_err(io("read", &self.dir))?.uid();
        let found = std::fs::symlink_metadata(dir).map_err(io("read", dir))?;
        if !found.is_dir() || found.uid() != ours || found.mode() & 0o077 != 0 {
            return Err(RootError::Foreign(dir.to_owned()));
        }
        Ok(())
    }

    /// The user whose directory this is.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn owner(&self) -> Result<u32, RootError> {
        Ok(std::fs::metadata(&self.dir).map_err(io("read", &self.dir))?.uid())
    }

    fn read_json<T: Default + serde::de::DeserializeOwned>(&self, path: &Path) -> Result<T, RootError> {
        let Some(bytes) = files::read(path).map_err(io("read", path))? else { return Ok(T::default()) };
        let damaged =
            |_| RootError::Damaged { path: path.to_owned(), rule: "it holds JSON that this program wrote" };
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    fn change_json<T, R>(&self, path: &Path, change: impl FnOnce(&mut T) -> R) -> Result<R, RootError>
    where
        T: Default + Clone + PartialEq + Serialize + serde::de::DeserializeOwned,
    {
        let _lock = self.lock()?;
        let before: T = self.read_json(path)?;
        let mut after = before.clone();
        let result = change(&mut after);
        if after != before {
            let bytes = serde_json::to_vec_pretty(&after).unwrap_or_default();
            files::write(path, &bytes).map_err(io("write", path))?;
        }
        Ok(result)
    }
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RootError {
    let path = path.to_owned();
    move |source| RootError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::locate(Some(dir.path().join("a"))).unwrap();
        assert!(root.secret().unwrap().is_none());
        let first = root.secret_or_new().unwrap();
        assert_eq!(root.secret_or_new().unwrap(), first);
        assert_eq!(root.secret().unwrap().unwrap(), first);
        std::fs::write(dir.path().join("a/identity"), "nonsense").unwrap();
        assert!(matches!(root.secret(), Err(RootError::Damaged { .. })));
    }

    #[test]
    fn a_socket_path_that_is_too_long_goes_elsewhere_and_is_stable() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = WorkspaceId([7; 16]);
        let near = Root::locate(Some(dir.path().join("a"))).unwrap();
        assert!(near.socket(&workspace).starts_with(dir.path()));
        let far = Root::locate(Some(dir.path().join("x".repeat(100)))).unwrap();
        far.secret_or_new().unwrap();
        let socket = far.socket(&workspace);
        assert!(socket.as_os_str().len() <= SOCKET_PATH_BYTES && !socket.starts_with(dir.path()));
        far.make_socket_dir(&socket).unwrap();
        assert_eq!(far.socket(&workspace), socket);
        std::fs::remove_dir(socket.parent().unwrap()).unwrap();
    }
}
