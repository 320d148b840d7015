//! Who carries a request out: the daemon of the workspace if one runs, else this process on the store itself.
//!
//! A daemon or another command may be starting or stopping at this moment: then neither the socket nor the store is
//! to be had, and both are tried again for a while.

use super::{Caller, Context, network};
use crate::api::{self, ApiError, Call, Progress, Reply, Request, Workspace};
use crate::root::{Root, RootError, SetupError};
use crate::socket::{Client, ClientError};
use std::sync::Arc;
use std::time::Duration;
use syncd_engine::{Engine, Shared};
use syncd_schema::WorkspaceId;
use tokio::task::block_in_place;
use tokio::time::sleep;

/// How long a store that is in use is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The first pause between two attempts; each is twice as long as the one before, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(320);

/// A way to a workspace.
pub(super) enum Door {
    /// A running daemon.
    Daemon(Client),
    /// The store, opened by this process.
    Store(Arc<Workspace>),
}

/// Pauses that grow, until patience ends.
pub(super) struct Attempts {
    left: Duration,
    pause: Duration,
}

impl Attempts {
    pub(super) const fn new() -> Self {
        Self { left: PATIENCE, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt; false when there should be none.
    pub(super) async fn again(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        let pause = self.pause.min(self.left);
        sleep(pause).await;
        self.left = self.left.saturating_sub(pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        true
    }
}

impl Context {
    /// The workspace that is meant.
    pub(super) fn workspace_id(&self) -> Result<WorkspaceId, ApiError> {
        Ok(self.root.aliases()?.pick(self.workspace.as_deref()).map_err(RootError::from)?)
    }

    /// A call on behalf of whoever runs this command.
    pub(super) fn call(&self, request: Request) -> Call {
        let Caller { named, token } = self.caller.clone();
        Call { actor: named, token, idempotency_key: None, request }
    }

    /// Asks the workspace that is meant.
    pub(super) async fn ask(&self, call: &Call, progress: &Progress) -> Reply {
        self.ask_about(&self.workspace_id()?, call, progress).await
    }

    /// Asks a workspace. What only reads is asked again when a daemon stops in the middle.
    pub(super) async fn ask_about(&self, id: &WorkspaceId, call: &Call, progress: &Progress) -> Reply {
        let mut attempts = Attempts::new();
        loop {
            match self.open_door(id).await?.ask(self, id, call, progress).await {
                Err(Failure::Gone) if call.request.is_read() && attempts.again().await => {}
                Err(failure) => return Err(failure.into()),
                Ok(reply) => return reply,
            }
        }
    }

    /// Finds a way to a workspace.
    pub(super) async fn open_door(&self, id: &WorkspaceId) -> Result<Door, ApiError> {
        let socket = self.root.socket(id);
        let mut attempts = Attempts::new();
        loop {
            if let Some(client) = Client::connect(&self.root, &socket).await? {
                return Ok(Door::Daemon(client));
            }
            match block_in_place(|| self.root.open(id)) {
                Ok(engine) => return Ok(Door::Store(Arc::new(workspace(&self.root, id, engine)?))),
                Err(error) if error.is_busy() && attempts.again().await => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Opens the store itself, whoever has it now; `taken` says whether waiting for it is pointless.
    pub(super) async fn open_store(&self, id: &WorkspaceId, taken: &ApiError) -> Result<Engine, ApiError> {
        let socket = self.root.socket(id);
        let mut attempts = Attempts::new();
        loop {
            match block_in_place(|| self.root.open(id)) {
                Ok(engine) => return Ok(engine),
                Err(error) if is_over(&error, attempts.again().await) => return Err(error.into()),
                Err(_) => {}
            }
            if Client::connect(&self.root, &socket).await?.is_some() {
                return Err(taken.clone());
            }
        }
    }
}

const fn is_over(error: &SetupError, again: bool) -> bool {
    !(error.is_busy() && again)
}

fn workspace(root: &Root, id: &WorkspaceId, engine: Engine) -> Result<Workspace, ApiError> {
    let addresses = root.network(id)?.addresses;
    Ok(Workspace { shared: Shared::new(engine), root: root.clone(), net: None, addresses, moves: None })
}

/// Why a door gave no answer of the workspace.
pub(super) enum Failure {
    Gone,
    Version,
    /// The daemon is there and says nothing; whether the request would only have read.
    Silent {
        reads: bool,
    },
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::failed(
                "daemon_gone",
                ClientError::Gone.to_string(),
                "look with `ops` or `history` whether the change was made, then repeat the command if it was not",
            ),
            Failure::Silent { reads } => Self::failed(
                "daemon_silent",
                format!("{}, and may be stopped or stuck", ClientError::Silent),
                match reads {
                    true => "let it go on, or end it; then repeat the command",
                    false => {
                        "let it go on, or end it; what it has not begun by now it will not do; look with `ops` or \
                         `history` before repeating the command, or repeat it with the same --idempotency-key"
                    }
                },
            ),
            Failure::Version => Self::failed(
                "daemon_version",
                ClientError::Version.to_string(),
                "restart the daemon with this version",
            ),
        }
    }
}

impl Door {
    /// Asks, and waits for the answer.
    pub(super) async fn ask(
        &mut self,
        context: &Context,
        id: &WorkspaceId,
        call: &Call,
        progress: &Progress,
    ) -> Result<Reply, Failure> {
        match self {
            Self::Daemon(client) => client.ask(call, progress).await.map_err(|error| match error {
                ClientError::Gone => Failure::Gone,
                ClientError::Version => Failure::Version,
                ClientError::Silent => Failure::Silent { reads: call.request.is_read() },
            }),
            Self::Store(workspace) if matches!(call.request, Request::Sync { .. }) => {
                Ok(network::during(context, id, workspace, call, progress).await)
            }
            Self::Store(workspace) => Ok(api::handle(workspace, call.clone(), Arc::clone(progress)).await),
        }
    }
}
