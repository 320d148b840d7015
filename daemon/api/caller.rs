//! Who a caller is: the actor it names, or the agent whose token it shows.
//!
//! A name without a token is claimed, and this device vouches for it. A name that was bound to a token is its agent's
//! alone: whoever claims it without the token is refused, and so is a token that is not one or that speaks for
//! somebody else than the caller names.

use super::{ApiError, Workspace, exit};
use crate::os;
use crate::root::{AgentToken, Agents, Root, RootError};
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_schema::{Actor, ActorKind};

/// Why a caller is not who it says.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// Neither name nor token.
    #[error("the request says neither who acts nor shows an agent's token")]
    Nobody,
    /// A name that is bound, without its token.
    #[error("{0} has a token on this device, and this call does not show it")]
    Unproven(Actor),
    /// A token that is not one, or not any more.
    #[error("the token is of no agent of this device; it may have been revoked")]
    Unknown,
    /// A token and another name than its own.
    #[error("the token is that of {holder}, and the call names {named}")]
    Other {
        /// Whose token it is.
        holder: Actor,
        /// Who was named.
        named: Actor,
    },
    /// The list of agents cannot be read, so that nobody can be told from anybody.
    #[error(transparent)]
    Root(#[from] RootError),
}

impl From<CallerError> for ApiError {
    fn from(error: CallerError) -> Self {
        let message = error.to_string();
        let refused =
            |hint: &str| Self::failed("actor_refused", message.clone(), hint).with_exit(exit::REFUSED);
        match error {
            CallerError::Nobody => Self::usage(message, "name who acts, such as \"actor\": \"user:ada\""),
            CallerError::Unproven(_) => refused(
                "give the agent its token by SYNCD_AGENT_TOKEN or --agent-token-file; if it is lost, `agent revoke` and \
                 `agent add` make another",
            ),
            CallerError::Unknown => refused(
                "`agent list` shows which agents have a token; `agent add` makes one; without SYNCD_AGENT_TOKEN and \
                 --agent-token-file you act as yourself",
            ),
            CallerError::Other { .. } => refused(
                "leave --actor out: the token says who acts; or leave the token out, by SYNCD_AGENT_TOKEN and \
                 --agent-token-file",
            ),
            CallerError::Root(error) => error.into(),
        }
    }
}

/// Who acts: the token's agent, else the one who is named, unless that name has a token.
///
/// # Errors
/// When the caller is not who it says, or that cannot be found out.
pub(super) fn prove(
    root: &Root,
    named: Option<&Actor>,
    token: Option<&AgentToken>,
) -> Result<Actor, CallerError> {
    match (named, token) {
        (None, None) => Err(CallerError::Nobody),
        // A person's name is never bound, so that most calls look nothing up.
        (Some(named), None) if !may_be_bound(named) => Ok(named.clone()),
        _ => judge(&root.agents()?, named, token),
    }
}

fn judge(agents: &Agents, named: Option<&Actor>, token: Option<&AgentToken>) -> Result<Actor, CallerError> {
    let holder = match token {
        Some(token) => Some(agents.whose(token).ok_or(CallerError::Unknown)?),
        None => None,
    };
    match (holder, named) {
        (Some(holder), Some(named)) if holder != named => {
            Err(CallerError::Other { holder: holder.clone(), named: named.clone() })
        }
        (Some(holder), _) => Ok(holder.clone()),
        (None, Some(named)) if agents.is_bound(named) => Err(CallerError::Unproven(named.clone())),
        (None, Some(named)) => Ok(named.clone()),
        (None, None) => Err(CallerError::Nobody),
    }
}

/// Puts on record that a caller was turned away, and says why.
pub(super) fn turn_away(workspace: &Workspace, error: CallerError) -> ApiError {
    let place = match &error {
        CallerError::Unproven(actor) => format!("actor {actor}"),
        CallerError::Other { holder, .. } => format!("actor {holder}"),
        // Tokens can be made up: they are counted, not listed.
        CallerError::Unknown => "agent tokens".to_owned(),
        CallerError::Nobody | CallerError::Root(_) => return error.into(),
    };
    let text = format!("a call was refused: {error}");
    let error = ApiError::from(error);
    let (kind, severity) = (FindingKind::LocalRefusal, Severity::Warning);
    let finding = Finding::new(kind, &place, severity, &text, &error.hint, os::now());
    match workspace.shared.with(|engine| engine.note_finding(finding)) {
        Ok(events) => workspace.shared.tell(&events),
        Err(failed) => tracing::error!(error = %failed, "the refused caller was not put on record"),
    }
    error
}

/// Whether a name can have a token: a program's can. Persons are told apart by the system's users, and the daemon acts
/// by itself.
#[must_use]
pub(crate) const fn may_be_bound(actor: &Actor) -> bool {
    matches!(actor.kind, ActorKind::Agent | ActorKind::Connector | ActorKind::Worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::SystemEntropy;
    use syncd_schema::UnixMicros;

    #[test]
    fn a_bound_name_needs_its_token_and_a_token_says_who_acts() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::locate(Some(dir.path().join("a"))).unwrap();
        let actor = |name: &str| name.parse::<Actor>().unwrap();
        let (bound, free, ada) = (actor("agent:bound"), actor("agent:free"), actor("user:ada"));
        let tokens = [(), ()].map(|()| AgentToken::generate(&mut SystemEntropy));
        root.change_agents(|agents| agents.bind(bound.clone(), &tokens[0], UnixMicros(1))).unwrap();
        let prove = |named: Option<&Actor>, token: Option<&AgentToken>| prove(&root, named, token);

        for plain in [&free, &ada] {
            assert_eq!(prove(Some(plain), None).unwrap(), *plain);
        }
        assert_eq!(prove(None, Some(&tokens[0])).unwrap(), bound);
        assert_eq!(prove(Some(&bound), Some(&tokens[0])).unwrap(), bound);
        assert!(matches!(prove(Some(&bound), None), Err(CallerError::Unproven(_))));
        for named in [None, Some(&bound), Some(&free), Some(&ada)] {
            assert!(matches!(prove(named, Some(&tokens[1])), Err(CallerError::Unknown)));
        }
        for other in [&free, &ada] {
            assert!(matches!(prove(Some(other), Some(&tokens[0])), Err(CallerError::Other { .. })));
        }
        assert!(matches!(prove(None, None), Err(CallerError::Nobody)));
        root.change_agents(|agents| agents.revoke(&bound, UnixMicros(2))).unwrap();
        assert!(matches!(prove(Some(&bound), Some(&tokens[0])), Err(CallerError::Unknown)));
        assert!(matches!(prove(Some(&bound), None), Err(CallerError::Unproven(_))));
        // A list that cannot be read lets no program in, and does not keep its owner out.
        std::fs::write(root.agents_file(), "?").unwrap();
        assert!(matches!(prove(Some(&free), None), Err(CallerError::Root(_))));
        assert_eq!(prove(Some(&ada), None).unwrap(), ada);
    }
}
