//! The daemon's end of the socket.

use super::{CLIENTS, IDLE, Line, ReadLineError, encode, read_line};
use crate::api::{self, ApiError, Call, Progress, Workspace};
use crate::root::Root;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use syncd_schema::{WorkspaceId, limits};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;

/// Progress lines that wait to be written: newer ones make older ones worthless.
const PROGRESS_KEPT: usize = 16;

/// How long requests that are being carried out may hold up the daemon's end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// A listening socket.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
    stopping: watch::Sender<bool>,
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
        let stopping = watch::Sender::new(false);
        let task = accept(listener, owner, workspace, stopping.subscribe());
        let task = tokio::spawn(task.in_current_span());
        Ok(Self { path, task, stopping })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes no more requests, and waits for those that are being carried out.
    pub async fn stop(mut self) {
        // First of all, so that new commands go to the store; one that finds a dead socket does so too.
        let _ = std::fs::remove_file(&self.path);
        self.stopping.send_replace(true);
        if timeout(LAST_REQUESTS, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn accept(
    listener: UnixListener,
    owner: u32,
    workspace: Arc<Workspace>,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = next_client(&listener, &places) => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, place)) if is_owner(&stream, owner) => {
                let (workspace, stopping) = (Arc::clone(&workspace), stopping.clone());
                let connection = async move {
                    serve(stream, &workspace, stopping).await;
                    drop(place);
                };
                connections.spawn(connection.in_current_span());
            }
            Ok(_) => tracing::warn!("somebody else than the owner of the root directory used the socket"),
            Err(error) => {
                // Out of file handles, most likely: they come back when connections end.
                tracing::warn!(%error, "a connection to the socket was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn next_client(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

/// The file system already keeps others out; this also stops those who got in through a link or a loose parent.
fn is_owner(stream: &UnixStream, owner: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == owner || peer.uid() == 0)
}

async fn serve(stream: UnixStream, workspace: &Arc<Workspace>, mut stopping: watch::Receiver<bool>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let call = tokio::select! {
            call = next_call(&mut reader) => call,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Some(call) = call else { return };
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
    Some(super::call(&line))
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
