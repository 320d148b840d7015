//! Inviting: a ticket, and with `--confirm` the joiner's code typed here before it is let in.
//!
//! Confirming needs somebody who answers the joiner: the daemon, or this command while it waits.

use super::args::Invite;
use super::door::Door;
use super::{Context, network, print, progress};
use crate::api::{self, ApiError, Call, Reply, Request, Workspace};
use serde_json::Value;
use std::sync::Arc;
use syncd_schema::{Digest, WorkspaceId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// A code has eight characters; whoever types more is not typing a code.
const TYPED_BYTES: u64 = 256;

/// Makes a ticket and prints it; with `--confirm` waits for the code and prints who joined.
pub(super) async fn run(context: &Context, args: &Invite) -> Result<u8, ApiError> {
    let request = Request::Invite { role: args.role.into(), ttl_seconds: args.ttl, confirm: args.confirm };
    let call = context.call(request);
    if !args.confirm {
        let answer = context.ask(&call, &progress::none()).await?;
        warn(context, &answer);
        context.output.answer(&answer, print::ticket)?;
        return Ok(0);
    }
    let id = context.workspace_id()?;
    match context.open_door(&id).await? {
        Door::Daemon(client) => {
            let mut door = Door::Daemon(client);
            let answer = door.ask(context, &id, &call, &progress::none()).await.map_err(ApiError::from)??;
            let confirmation = confirmation(context, &answer).await?;
            let joined =
                door.ask(context, &id, &confirmation, &progress::none()).await.map_err(ApiError::from)??;
            context.output.answer(&joined, print::let_in)?;
        }
        Door::Store(workspace) => {
            context.output.answer(&serve_one(context, &id, &workspace, call).await?, print::let_in)?;
        }
    }
    Ok(0)
}

/// Invites, answers the joiner, and confirms, all in this process.
async fn serve_one(context: &Context, id: &WorkspaceId, workspace: &Arc<Workspace>, call: Call) -> Reply {
    let shared = workspace.shared.clone();
    let node = network::start(context, id, &shared, None, Vec::new()).await?;
    let with_node = Arc::new(Workspace {
        shared: shared.clone(),
        root: context.root.clone(),
        net: Some(Arc::clone(&node)),
        addresses: Vec::new(),
        moves: None,
    });
    let joined = async {
        let answer = api::handle(&with_node, call, progress::none()).await?;
        let confirmation = confirmation(context, &answer).await?;
        api::handle(&with_node, confirmation, progress::none()).await
    }
    .await;
    network::stop(&node, &shared).await?;
    joined
}

/// Prints the ticket and asks for the code.
async fn confirmation(context: &Context, answer: &Value) -> Result<Call, ApiError> {
    warn(context, answer);
    context.output.answer(answer, print::ticket)?;
    context.output.note("type the code that the joining device shows:");
    let mut line = String::new();
    let read = BufReader::new(tokio::io::stdin().take(TYPED_BYTES)).read_line(&mut line).await;
    let code = line.trim().to_owned();
    if read.is_err() || code.is_empty() {
        return Err(ApiError::usage(
            "no code was typed",
            "make a new ticket, and type the joining device's code",
        ));
    }
    let ticket: Option<Digest> =
        answer.get("name").and_then(Value::as_str).and_then(|name| name.parse().ok());
    let ticket = ticket.ok_or_else(|| ApiError::internal("the ticket has no name"))?;
    Ok(context.call(Request::Confirm { ticket, code }))
}

fn warn(context: &Context, answer: &Value) {
    for warning in print::rows(answer, "warnings").iter().filter_map(Value::as_str) {
        context.output.note(&format!("warning: {warning}"));
    }
}
