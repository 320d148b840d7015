//! Letting a device in: a ticket, and where the inviter wants it, the joiner's code typed here.

use super::{ApiError, Reply, Workspace};
use crate::net::NodeEvent;
use crate::os;
use serde_json::json;
use std::time::Duration;
use syncd_schema::{Digest, Role, UnixMicros};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::block_in_place;
use tokio::time::timeout;

/// How often a typed code is offered again: the joiner may not have come as far as asking for it.
const OFFER_EVERY: Duration = Duration::from_millis(300);
/// A ticket works for a year at most: whoever finds an old one should find it useless.
const TTL_SECONDS: u64 = 366 * 86_400;

/// What is to be said of a ticket without an address.
const UNREACHABLE: &str = "no daemon has listened here yet, so that nobody can join with this ticket; start `up`, then make another";

pub(super) fn invite(workspace: &Workspace, role: Role, ttl_seconds: u64, confirm: bool) -> Reply {
    if role == Role::Owner {
        return Err(ApiError::usage(
            "a ticket makes a member, admin or agent, never an owner",
            "choose another --role",
        ));
    }
    if role == Role::Relay {
        return Err(ApiError::usage(
            "there are no relays yet: a device invited as one could neither read nor forward anything",
            "choose --role member, admin or agent",
        ));
    }
    if ttl_seconds == 0 || ttl_seconds > TTL_SECONDS {
        return Err(ApiError::usage(
            "a ticket works for at least a second and at most a year",
            "choose another --ttl",
        ));
    }
    let addresses =
        workspace.net.as_ref().map_or_else(|| workspace.addresses.clone(), |node| node.addresses());
    let expires = os::now().plus(ttl_seconds.saturating_mul(1_000_000));
    let ticket = workspace
        .shared
        .with(|engine| engine.invite(role, expires, confirm, addresses).map_err(ApiError::from))?;
    Ok(json!({
        "ticket": ticket.to_string(),
        "name": ticket.name(),
        "workspace": ticket.workspace,
        "role": role,
        "expires": expires.rfc3339(),
        "confirm": confirm,
        "warnings": ticket.addresses.is_empty().then_some(UNREACHABLE).into_iter().collect::<Vec<_>>(),
        "addresses": ticket.addresses,
    }))
}

/// Offers a typed code until the joiner is a member, is refused, or the ticket is of no more use.
pub(super) async fn confirm(workspace: &Workspace, ticket: Digest, code: String) -> Reply {
    let Some(node) = &workspace.net else {
        return Err(ApiError::internal("a confirmation without a network"));
    };
    let mut events = node.subscribe();
    loop {
        let used = is_used(workspace, &ticket, os::now())?;
        node.confirm(code.clone());
        match timeout(OFFER_EVERY, events.recv()).await {
            // Another ticket's joiner may have come in between.
            Ok(Ok(NodeEvent::Joined { device, name, code }))
                if used || is_used(workspace, &ticket, os::now())? =>
            {
                return Ok(json!({ "device": device, "name": name, "code": code }));
            }
            Ok(Ok(NodeEvent::PairingRefused { ticket: Some(used), reason, .. })) if used == ticket => {
                let hint = "compare the codes; if they differ, somebody else tried to join";
                return Err(ApiError::failed("not_joined", reason, hint));
            }
            Ok(Err(RecvError::Closed)) => {
                return Err(ApiError::failed("stopping", "the daemon is stopping", "start `up` again"));
            }
            Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => {}
        }
    }
}

fn is_used(workspace: &Workspace, ticket: &Digest, now: UnixMicros) -> Result<bool, ApiError> {
    let invitation = block_in_place(|| workspace.shared.with(|engine| engine.invitation(ticket)))?;
    let invitation = invitation
        .ok_or_else(|| ApiError::not_found("there is no such invitation", "make one with `invite`"))?;
    if !invitation.used && invitation.expires <= now {
        return Err(ApiError::failed(
            "expired",
            "nobody joined before the ticket expired",
            "make a new one with `invite`",
        ));
    }
    Ok(invitation.used)
}
