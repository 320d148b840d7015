//! The daemon: one workspace, its socket and its links, until a signal ends it.

use super::args::Up;
use super::{Context, commands, network, print};
use crate::api::{ApiError, Workspace};
use crate::net::NodeEvent;
use crate::socket::Server;
use serde_json::{Value, json};
use std::sync::Arc;
use syncd_engine::Shared;
use syncd_schema::WorkspaceId;
use syncd_schema::ticket::Ticket;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tracing::Instrument;

/// What ends the daemon in an orderly way.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, ApiError> {
        let failed = |error: std::io::Error| ApiError::internal(format!("signals cannot be heard: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs until a signal comes.
pub(super) async fn run(context: &Context, args: Up) -> Result<u8, ApiError> {
    let mut signals = Signals::new()?;
    let name = commands::device_name(args.name.as_deref())?;
    let tickets = args.peer.iter().map(|text| Ticket::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let (mut workspace, is_new) =
        block_in_place(|| context.root.workspace_or_new(context.workspace.as_deref(), &name))?;
    if !is_new && args.name.is_some() {
        commands::keeps_its_name(context, &workspace, &name).await?;
    }
    if let Some(other) = tickets.iter().find(|ticket| ticket.workspace != workspace) {
        let message =
            format!("a --peer ticket is for workspace {}, this daemon serves {workspace}", other.workspace);
        return Err(ApiError::usage(message, "`join` it first, or name it with --workspace"));
    }
    let mut is_first = true;
    loop {
        let peers = tickets.iter().filter(|ticket| ticket.workspace == workspace).cloned().collect();
        match serve(context, &args, workspace, peers, &mut signals, is_first).await? {
            Some(next) => workspace = next,
            None => return Ok(0),
        }
        is_first = false;
    }
}

/// Serves one workspace; returns the one to serve next, if any.
async fn serve(
    context: &Context,
    args: &Up,
    id: WorkspaceId,
    peers: Vec<Ticket>,
    signals: &mut Signals,
    is_first: bool,
) -> Result<Option<WorkspaceId>, ApiError> {
    let taken = ApiError::failed(
        "already_running",
        format!("a daemon serves workspace {id} already, at {}", context.root.socket(&id).display()),
        "use that one, or stop it first",
    );
    let shared = Shared::new(context.open_store(&id, &taken).await?);
    let span = network::span(&shared, &id);
    work(context, args, id, shared, peers, signals, is_first).instrument(span).await
}

/// Serves a workspace that is open.
async fn work(
    context: &Context,
    args: &Up,
    id: WorkspaceId,
    shared: Shared,
    peers: Vec<Ticket>,
    signals: &mut Signals,
    is_first: bool,
) -> Result<Option<WorkspaceId>, ApiError> {
    let device = shared.with(|engine| engine.device());
    let node = network::start(context, &id, &shared, args.listen, peers).await?;
    let mut events = node.subscribe();
    network::remember(context, &id, &node)?;
    let (sender, mut moves) = mpsc::channel(1);
    let workspace = Workspace {
        shared: shared.clone(),
        root: context.root.clone(),
        net: Some(Arc::clone(&node)),
        addresses: Vec::new(),
        moves: Some(sender),
    };
    let server = Server::start(&context.root, &id, Arc::new(workspace))?;
    let began = json!({
        "event": if is_first { "ready" } else { "workspace" },
        "device": device,
        "workspace": id,
        "listen": node.local_addr().to_string(),
        "socket": server.path(),
    });
    let told = context.output.answer(&began, print::event);
    let next = loop {
        // Whoever started it learns neither its port nor its socket.
        if told.is_err() {
            break None;
        }
        tokio::select! {
            () = signals.next() => break None,
            Some(next) = moves.recv() => break Some(next),
            event = next_event(&mut events) => match event {
                // Work goes on where nobody can be told of it; the log says what is wrong.
                Some(event) => if let Err(error) = context.output.answer(&event, print::event) {
                    tracing::warn!(%error, "an event was not printed");
                },
                None => break None,
            },
        }
    };
    server.stop().await;
    network::stop(&node, &shared).await?;
    told.map(|()| next)
}

/// What happened, as JSON; none when nothing will happen any more.
async fn next_event(events: &mut Receiver<NodeEvent>) -> Option<Value> {
    match events.recv().await {
        Ok(event) => Some(serde_json::to_value(event).unwrap_or_default()),
        // Printing is slower than syncing can be: the number says that something is missing.
        Err(RecvError::Lagged(missed)) => Some(json!({ "event": "missed", "events": missed })),
        Err(RecvError::Closed) => None,
    }
}
