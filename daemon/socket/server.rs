//! The daemon's end of the socket.

use super::{AT_WORK, CLIENTS, IDLE, Line, ReadLineError, encode, read_line};
use crate::api::{self, ApiError, Call, Progress, Workspace};
use crate::os;
use crate::root::Root;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_schema::{UnixMicros, WorkspaceId, limits};
use tokio::io::{AsyncWriteExt, BufReader, Interest};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::Instrument;
use zeroize::Zeroizing;

/// Progress lines that wait to be written: newer ones make older ones worthless.
const PROGRESS_KEPT: usize = 16;

/// How long requests that are being carried out may hold up the daemon's end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// How often strangers are put on record, in microseconds.
const STRANGERS_EVERY: u64 = 10_000_000;

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
    let mut strangers = Strangers::default();
    loop {
        let accepted = tokio::select! {
            accepted = next_client(&listener, &places) => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
        };
        match accepted {
            Ok((stream, place)) => {
                if let Some(other) = stranger(&stream, owner) {
                    strangers.turn_away(&workspace, other);
                    continue;
                }
                let (workspace, stopping) = (Arc::clone(&workspace), stopping.clone());
                let connection = async move {
                    serve(stream, &workspace, stopping).await;
                    drop(place);
                };
                connections.spawn(connection.in_current_span());
            }
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

/// The file system already keeps others out; this also stops those who got in through a link or a loose parent. Who it is,
/// if it is not the owner of the root directory or the administrator.
fn stranger(stream: &UnixStream, owner: u32) -> Option<Stranger> {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == owner || peer.uid() == 0 => None,
        Ok(peer) => Some(Stranger(Some(peer.uid()))),
        Err(_) => Some(Stranger(None)),
    }
}

/// Another user of this machine; the system may not say which.
struct Stranger(Option<u32>);

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(user) => write!(f, "user {user}"),
            None => f.write_str("an unknown user"),
        }
    }
}

/// Strangers turned away. What is put on record costs a commit, so that a stranger who knocks all the time is put on record
/// once in a while, with a count.
#[derive(Default)]
struct Strangers {
    last: Option<UnixMicros>,
    waiting: u64,
}

impl Strangers {
    fn turn_away(&mut self, workspace: &Arc<Workspace>, who: Stranger) {
        tracing::warn!(%who, "somebody else than the owner of the root directory used the socket");
        let now = os::now();
        self.waiting = self.waiting.saturating_add(1);
        if self.last.is_some_and(|last| last.plus(STRANGERS_EVERY) > now) {
            return;
        }
        self.last = Some(now);
        let text =
            format!("{who} of this machine used the socket of this device's daemon, and was not heard");
        let next =
            "make the root directory its owner's alone with `chmod 700`, and find out what that user runs";
        let (kind, severity) = (FindingKind::LocalRefusal, Severity::Warning);
        let finding = Finding::new(kind, &format!("socket, {who}"), severity, &text, next, now);
        let finding = Finding { count: std::mem::take(&mut self.waiting), ..finding };
        let workspace = Arc::clone(workspace);
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || {
            let _entered = span.enter();
            match workspace.shared.with(|engine| engine.note_finding(finding)) {
                Ok(events) => workspace.shared.tell(&events),
                Err(error) => tracing::error!(%error, "the refused user was not put on record"),
            }
        });
    }
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
        // Whoever asked may have given up while this process was stopped or the machine asleep. What nobody waits for is
        // not begun.
        if is_gone(&writer).await {
            tracing::info!("a request was not carried out: its client was gone before it was begun");
            return;
        }
        let (answer, goes_on) = match call {
            Ok(call) => (answer(workspace, call, &mut writer).await, true),
            Err(error) => (Line::Error(error), false),
        };
        if writer.write_all(&encode(&answer)).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Whether the client has closed its connection; one that has only ended its own side still waits for the answer.
async fn is_gone(writer: &OwnedWriteHalf) -> bool {
    match writer.ready(Interest::WRITABLE).await {
        // Nothing is written, and the system still says whether anybody could read it.
        Ok(ready) => {
            ready.is_write_closed()
                || writer.try_write(&[]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
        }
        Err(_) => true,
    }
}

/// The next request; none when the client is done or was silent for too long.
async fn next_call(reader: &mut BufReader<OwnedReadHalf>) -> Option<Result<Call, ApiError>> {
    let line = match timeout(IDLE, read_line(reader, limits::REQUEST_BYTES)).await {
        // It may hold a token.
        Ok(Ok(line)) => Zeroizing::new(line?),
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
    let mut far = (0, 0);
    loop {
        tokio::select! {
            reply = &mut reply => {
                return match reply {
                    Ok(value) => Line::Ok(value),
                    Err(error) => Line::Error(error),
                };
            }
            Some(step) = receiver.recv() => far = step,
            // As far as before: that it says so is the news.
            () = sleep(AT_WORK) => {}
        }
        let (done, total) = far;
        // A client that is gone is noticed when the answer is written.
        let _ = writer.write_all(&encode(&Line::Progress { done, total })).await;
    }
}
