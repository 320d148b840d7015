//! The daemon's end of the socket.

use super::{CLIENTS, IDLE, Line, ReadLineError, encode, read_line};
use crate::api::{self, ApiError, Call, Progress, Workspace};
use crate::root::Root;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syncd_schema::{WorkspaceId, limits};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Progress lines that wait to be written: newer ones make older ones worthless.
const PROGRESS_KEPT: usize = 16;

/// A listening socket. Dropping it ends all its connections and removes the socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // Whoever finds a socket that nobody listens on goes to the store anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Server {
    /// Listens for commands about a workspace. The caller has its store open, so a socket that is there is a dead
    /// daemon's.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(root: &Root, id: &WorkspaceId, workspace: Arc<Workspace>) -> Result<Self, ApiError> {
        let path = root.socket(id);
        root.make_socket_dir(&path)?;
        let failed = |error: std::io::Error| {
            let message = format!("cannot listen at {}: {error}", path.display());
            ApiError::failed("socket", message, "check the directory's permissions")
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let owner = root.owner()?;
        let task = tokio::spawn(accept(listener, owner, workspace));
        Ok(Self { path, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

async fn accept(listener: UnixListener, owner: u32, workspace: Arc<Workspace>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) if is_owner(&stream, owner) => {
                let workspace = Arc::clone(&workspace);
                connections.spawn(async move {
                    serve(stream, &workspace).await;
                    drop(place);
                });
            }
            Ok(_) => tracing::warn!("somebody else than the owner of the root directory used the socket"),
            Err(error) => {
                // Out of file handles, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection to the socket was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// The file system already keeps others out; this also stops those who got in through a link or a loose parent.
fn is_owner(stream: &UnixStream, owner: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0)
}

async fn serve(stream: UnixStream, workspace: &Arc<Workspace>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(call) = next_call(&mut reader).await {
        let (answer, goes_on) = match call {
            Ok(call) => (answer(workspace, call, &mut writer).await, true),
            Err(error) => (Line::Error(error), false),
        };
        if writer.write_all(&encode(&answer)).await.is_err() || !goes_on {
            return;
        }
    }
}

/// The next request; none when the client is done or was silent for too long.
async fn next_call(reader: &mut BufReader<OwnedReadHalf>) -> Option<Result<Call, ApiError>> {
    let line = match timeout(IDLE, read_line(reader, limits::REQUEST_BYTES)).await {
        Ok(Ok(line)) => line?,
        Ok(Err(error @ ReadLineError::TooLong(_))) => {
            return Some(Err(ApiError::failed("too_large", error.to_string(), "split the request")));
        }
        Ok(Err(_)) | Err(_) => return None,
    };
    let malformed = |error: serde_json::Error| {
        // The position and what was expected, never the text: a log may keep it.
        let message = format!("not a request of this version (column {})", error.column());
        ApiError::usage(message, "use a command of the same version as the daemon, or restart the daemon")
    };
    Some(serde_json::from_slice(&line).map_err(malformed))
}

async fn answer(workspace: &Arc<Workspace>, call: Call, writer: &mut OwnedWriteHalf) -> Line {
    let (sender, mut receiver) = mpsc::channel::<(u64, u64)>(PROGRESS_KEPT);
    let progress: Progress = Arc::new(move |done, total| {
        // A full queue drops a step: the next one says more.
        let _ = sender.try_send((done, total));
    });
    let reply = api::handle(workspace, call, progress);
    tokio::pin!(reply);
    loop {
        tokio::select! {
            reply = &mut reply => {
                return match reply {
                    Ok(value) => Line::Ok(value),
                    Err(error) => Line::Error(error),
                };
            }
            Some((done, total)) = receiver.recv() => {
                // A client that is gone is noticed when the answer is written.
                let _ = writer.write_all(&encode(&Line::Progress { done, total })).await;
            }
        }
    }
}
