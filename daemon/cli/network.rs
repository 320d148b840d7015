//! The network side of commands: a node for a daemon's life, or for one command's.

use super::Context;
use crate::api::{self, ApiError, Call, Progress, Reply, Workspace};
use crate::net::{NetError, Node, NodeConfig};
use crate::os;
use crate::root::Network;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use syncd_engine::Shared;
use syncd_schema::WorkspaceId;
use syncd_schema::ticket::Ticket;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tracing::{Instrument, Span};
use zeroize::Zeroizing;

/// How long links may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// Starts a node where it was asked to listen, else where the daemon listened last, else anywhere.
pub(super) async fn start(
    context: &Context,
    id: &WorkspaceId,
    shared: &Shared,
    listen: Option<SocketAddr>,
    peers: Vec<Ticket>,
) -> Result<Arc<Node>, ApiError> {
    let last = context.root.network(id)?.listen;
    let wanted = listen.or(last).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
    match start_at(context, shared, wanted, peers.clone()).await {
        // Another program may have taken the port meanwhile; nobody asked for this one.
        Err(StartError::Net(NetError::Bind(_))) if listen.is_none() => {
            Ok(start_at(context, shared, SocketAddr::new(wanted.ip(), 0), peers).await?)
        }
        other => Ok(other?),
    }
}

/// Remembers where a daemon listens: its next run listens there again, and tickets made while it is down name it.
pub(super) fn remember(context: &Context, id: &WorkspaceId, node: &Node) -> Result<(), ApiError> {
    let remembered = Network { listen: Some(node.local_addr()), addresses: node.addresses() };
    Ok(context.root.change_network(id, |network| *network = remembered)?)
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Net(error) => error.into(),
            StartError::Api(error) => error,
        }
    }
}

async fn start_at(
    context: &Context,
    shared: &Shared,
    listen: SocketAddr,
    peers: Vec<Ticket>,
) -> Result<Arc<Node>, StartError> {
    let config = NodeConfig { listen, name: name_of(shared), peers, dial: true };
    Ok(Node::start(shared.clone(), seed(context)?, config).await?)
}

/// The name this device has in the workspace.
fn name_of(shared: &Shared) -> String {
    let name = shared
        .with(|engine| engine.governance().members.get(&engine.device()).map(|member| member.name.clone()));
    name.filter(|name| !name.is_empty()).unwrap_or_else(os::host)
}

/// The secret half of the device's signing key, for the transport.
pub(super) fn seed(context: &Context) -> Result<Zeroizing<[u8; 32]>, ApiError> {
    let secret = context.root.secret_or_new()?;
    let seed = secret.first_chunk::<32>().copied();
    seed.map(Zeroizing::new).ok_or_else(|| ApiError::internal("the identity is too short"))
}

/// Ends all links, and makes durable what was only noted about peers.
pub(super) async fn stop(node: &Node, shared: &Shared) -> Result<(), ApiError> {
    if timeout(FAREWELL, node.stop()).await.is_err() {
        tracing::info!("a link did not end in time");
    }
    Ok(block_in_place(|| shared.with(|engine| engine.flush()))?)
}

/// What the log says of everything that happens on behalf of this device.
pub(super) fn span(shared: &Shared, id: &WorkspaceId) -> Span {
    let device = shared.with(|engine| engine.device());
    tracing::info_span!("device", device = %device.short(), workspace = %id.short())
}

/// Carries one call out with a node that lives as long as it.
pub(super) async fn during(
    context: &Context,
    id: &WorkspaceId,
    workspace: &Arc<Workspace>,
    call: &Call,
    progress: &Progress,
) -> Reply {
    let span = span(&workspace.shared, id);
    with_node(context, id, workspace, call, progress).instrument(span).await
}

async fn with_node(
    context: &Context,
    id: &WorkspaceId,
    workspace: &Arc<Workspace>,
    call: &Call,
    progress: &Progress,
) -> Reply {
    let shared = workspace.shared.clone();
    let node = start(context, id, &shared, None, Vec::new()).await?;
    let workspace = Workspace {
        shared: shared.clone(),
        root: context.root.clone(),
        net: Some(Arc::clone(&node)),
        addresses: workspace.addresses.clone(),
        moves: None,
    };
    let reply = api::handle(&Arc::new(workspace), call.clone(), Arc::clone(progress)).await;
    stop(&node, &shared).await?;
    reply
}
