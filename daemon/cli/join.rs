//! Joining a workspace: pairing, a store of its own, a name, and a first sync.

use super::door::Attempts;
use super::{Context, commands, network, print, progress};
use crate::api::{ApiError, Request, chain};
use crate::net;
use crate::os;
use crate::root::{DEFAULT, RootError, check_name};
use crate::socket::Client;
use serde_json::{Value, json};
use syncd_engine::Identity;
use syncd_schema::WorkspaceId;
use syncd_schema::ticket::Ticket;
use tokio::task::block_in_place;

/// Joins, and prints what came of it even if the first sync fails: that can be repeated, joining cannot.
pub(super) async fn run(context: &Context, ticket: &str, name: Option<&str>) -> Result<u8, ApiError> {
    let ticket = Ticket::parse(ticket)?;
    let name = commands::device_name(name)?;
    check_name(context.workspace.as_deref().unwrap_or(DEFAULT)).map_err(RootError::from)?;
    let secret = block_in_place(|| context.root.secret_or_new())?;
    let identity = Identity::from_secret(&secret);
    if ticket.inviter == identity.device() {
        return Err(ApiError::usage(
            "this device made the ticket itself",
            "use it on the device that is to join",
        ));
    }
    if ticket.expires <= os::now() {
        let message = format!("the ticket expired at {}", ticket.expires);
        return Err(ApiError::failed(
            "expired",
            message,
            "ask for a new ticket, and check this device's clock",
        ));
    }
    let replaced = empty_default(context).await;
    let show = |code: &str| {
        context.output.note(&format!("code {code} — the other device shows the same, or asks for it"))
    };
    let joined = net::join(&network::seed(context)?, &identity, &name, &ticket, show).await?;
    let is_new = block_in_place(|| context.root.join_store(&ticket, &joined.welcome))?;
    let alias = name_it(context, &ticket.workspace, replaced)?;
    if is_new {
        block_in_place(|| note_inviter(context, &ticket))?;
    }
    if let Some(old) = replaced {
        change_over(context, &old, &ticket.workspace).await;
    }
    let first = first_sync(context, &ticket).await;
    if let Err(error) = &first {
        context.output.note(&format!("joined, but not synced yet: {}\n  run `sync` later", error.message));
    }
    let answer = json!({
        "device": identity.device(),
        "workspace": ticket.workspace,
        "code": joined.code,
        "name": alias,
        "role": ticket.role,
        "synced": first.is_ok(),
        "sync": first.ok(),
    });
    context.output.answer(&answer, print::joined)?;
    Ok(0)
}

/// The workspace that makes room for the joined one as the default: the only one, while nothing is in it.
async fn empty_default(context: &Context) -> Option<WorkspaceId> {
    if context.workspace.is_some() {
        return None;
    }
    let only = context.root.aliases().ok()?.only()?;
    let status = context.ask_about(&only, &context.call(Request::Status), &progress::none()).await.ok()?;
    let is_empty = status.get("objects").and_then(Value::as_u64) == Some(0);
    let is_alone = status.get("peers").and_then(Value::as_array).is_some_and(Vec::is_empty);
    (is_empty && is_alone).then_some(only)
}

fn name_it(
    context: &Context,
    workspace: &WorkspaceId,
    replaced: Option<WorkspaceId>,
) -> Result<Option<String>, ApiError> {
    let wanted = context.workspace.as_deref().unwrap_or(DEFAULT);
    let name = context.root.change_aliases(|aliases| {
        if replaced.is_some_and(|old| old != *workspace) {
            aliases.make_default(*workspace);
        } else {
            aliases.add(wanted, *workspace);
        }
        aliases.name_of(workspace).map(str::to_owned)
    })?;
    Ok(name)
}

/// Where the inviter listens is kept with the workspace, so that any later run can dial it.
fn note_inviter(context: &Context, ticket: &Ticket) -> Result<(), ApiError> {
    let mut engine = context.root.open(&ticket.workspace)?;
    engine.note_addresses(&ticket.inviter, &ticket.addresses)?;
    Ok(engine.close()?)
}

/// Has a daemon of the old default serve the new one. Without it the joined workspace would wait for a restart.
async fn change_over(context: &Context, old: &WorkspaceId, new: &WorkspaceId) {
    let socket = context.root.socket(old);
    let Ok(Some(mut client)) = Client::connect(&context.root, &socket).await else { return };
    let call = context.call(Request::Serve { workspace: *new });
    match client.ask(&call, &progress::none()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return context.output.note(&format!("the running daemon stays with its workspace: {error}"));
        }
        Err(error) => {
            return context
                .output
                .note(&format!("the running daemon stays with its workspace: {}", chain(&error)));
        }
    }
    let socket = context.root.socket(new);
    let mut attempts = Attempts::new();
    while !matches!(Client::connect(&context.root, &socket).await, Ok(Some(_))) {
        if !attempts.again().await {
            return;
        }
    }
}

async fn first_sync(context: &Context, ticket: &Ticket) -> Result<Value, ApiError> {
    let spinner = progress::spinner("first sync");
    let request = Request::Sync { peer: Some(ticket.inviter) };
    let answer =
        context.ask_about(&ticket.workspace, &context.call(request), &progress::follow(&spinner)).await;
    spinner.finish_and_clear();
    answer
}
