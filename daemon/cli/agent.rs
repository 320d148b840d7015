//! `agent add`, `agent list`, `agent revoke`: which programs have a name of their own here, and the token that proves it.
//!
//! They work on the root directory and ask no daemon: a daemon looks there whenever a program calls, and whoever can
//! write there owns the device.

use super::args::Agent;
use super::{Context, print};
use crate::api::{ApiError, exit, may_be_bound};
use crate::os::{self, SystemEntropy};
use crate::root::AgentToken;
use serde_json::{Value, json};
use std::path::Path;
use syncd_schema::{Actor, ActorKind};

/// A token is a line; a file of more is something else.
const TOKEN_FILE_BYTES: u64 = 4 << 10;

/// Runs one of the commands.
pub(super) fn run(context: &Context, command: Agent) -> Result<u8, ApiError> {
    match command {
        Agent::Add { name } => add(context, &named(&name)?)?,
        Agent::Revoke { name } => {
            may_bind(context)?;
            let (agent, now) = (named(&name)?, os::now());
            context.root.change_agents(|agents| agents.revoke(&agent, now))?;
            let answer = json!({ "agent": agent, "state": "revoked", "at": now.rfc3339() });
            context.output.answer(&answer, |answer| {
                format!("{} can do nothing here until it has another token", print::text(answer, "agent"))
            })?;
        }
        Agent::List => {
            let row = |(agent, binding): (&Actor, &crate::root::Binding)| {
                json!({
                    "agent": agent,
                    "type": agent.kind,
                    "state": if binding.revoked.is_some() { "revoked" } else { "active" },
                    "at": binding.since.rfc3339(),
                    "revoked_at": binding.revoked.map(|at| at.rfc3339()),
                })
            };
            let rows = context.root.agents()?.iter().map(row).collect();
            context.output.answer(&Value::Array(rows), listed)?;
        }
    }
    Ok(0)
}

/// Makes a token. It is printed here and kept nowhere.
fn add(context: &Context, agent: &Actor) -> Result<(), ApiError> {
    may_bind(context)?;
    let (token, now) = (AgentToken::generate(&mut SystemEntropy), os::now());
    context.root.change_agents(|agents| agents.bind(agent.clone(), &token, now))?;
    let text = token.reveal();
    let answer = json!({ "agent": agent, "token": text.as_str(), "at": now.rfc3339() });
    // Alone on its line, so that it can be piped into a file.
    context.output.answer(&answer, |answer| print::text(answer, "token"))?;
    if !context.output.is_json() {
        context.output.note(&format!(
            "this token is not shown again; {agent} gives it by SYNCD_AGENT_TOKEN or --agent-token-file, and nobody \
             can write as {agent} here without it"
        ));
    }
    Ok(())
}

fn listed(answer: &Value) -> String {
    print::list(answer, "no agent has a token; `agent add NAME` makes one", |row| {
        vec![print::text(row, "agent"), print::text(row, "state"), print::text(row, "at")]
    })
}

/// `NAME` is an agent; other programs are named with their type.
fn named(name: &str) -> Result<Actor, ApiError> {
    let wrong =
        |message: String| ApiError::usage(message, "give a name such as `builder`, or `connector:mail`");
    let text = if name.contains(':') { name.to_owned() } else { format!("agent:{name}") };
    let actor: Actor =
        text.parse().map_err(|error: syncd_schema::ids::ParseIdError| wrong(error.to_string()))?;
    match may_be_bound(&actor) {
        true => Ok(actor),
        false => Err(wrong(format!("{actor} cannot have a token: agents, connectors and workers can"))),
    }
}

/// An agent that could make tokens could be any agent.
fn may_bind(context: &Context) -> Result<(), ApiError> {
    let actor = context.person()?;
    if actor.kind == ActorKind::User {
        return Ok(());
    }
    let message = format!("{actor} may not say which agents there are: only this device's user may");
    Err(ApiError::failed("refused", message, "have a person do it").with_exit(exit::REFUSED))
}

/// The token that a caller shows: in the file that it names, else in the environment. Command lines are seen by everybody.
pub(super) fn shown(file: Option<&Path>) -> Result<Option<AgentToken>, ApiError> {
    let text = match file {
        Some(file) => os::private_text(file, TOKEN_FILE_BYTES).map_err(|error| {
            ApiError::failed(
                "token_file",
                format!("cannot read a token from {}: {error}", file.display()),
                "check the path, and that nobody but its owner may read the file: `chmod 600`",
            )
        })?,
        None => match os::variable("SYNCD_AGENT_TOKEN") {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    text.parse().map(Some).map_err(|error: crate::root::ParseTokenError| {
        ApiError::usage(error.to_string(), "give the token as `agent add` printed it, or make another")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_agents_and_persons_have_no_tokens() {
        assert_eq!(named("builder").unwrap().to_string(), "agent:builder");
        assert_eq!(named("connector:mail").unwrap().to_string(), "connector:mail");
        for wrong in ["", "user:ada", "system:x", "robot:x", "agent:"] {
            assert_eq!(named(wrong).unwrap_err().exit, exit::USAGE, "{wrong}");
        }
    }
}
