//! `agents.json`: which names of agents are bound to a token, so that nobody else on this device can use them.
//!
//! Of a token only a hash is kept; it has 256 random bits, so that nobody finds it from that. A name stays bound when its
//! token is revoked: else whoever had been locked out could simply claim it. The directory's owner alone reads and writes the
//! file, through the command line and never through the socket, so that an agent that reaches the socket cannot make a
//! token for itself.

use super::{Root, RootError, files, io};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;
use subtle::ConstantTimeEq;
use syncd_schema::{Actor, Digest, Entropy, UnixMicros, domain};
use zeroize::{Zeroize, Zeroizing};

/// What a token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "syncdagent1";
/// Agents of one device: every proof is compared with all of them.
pub const AGENTS: usize = 1_024;

/// What proves that a caller is an agent: 256 random bits. Wiped when dropped; printing it for a log shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct AgentToken(Zeroizing<[u8; 32]>);

/// A text is no token. It does not say which text: that may be a token with a slip in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an agent's token begins with {PREFIX} and has 52 letters and digits after it, as `agent add` prints it"
)]
pub struct ParseTokenError;

impl fmt::Debug for AgentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentToken")
    }
}

impl AgentToken {
    /// Draws a new one.
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        let mut token = Zeroizing::new([0; 32]);
        entropy.fill(token.as_mut_slice());
        Self(token)
    }

    /// The token as its agent is given it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 52));
        text.push_str(PREFIX);
        data_encoding::BASE32_NOPAD_NOCASE.encode_append(self.0.as_slice(), &mut text);
        text.make_ascii_lowercase();
        text
    }

    /// What is kept of it.
    fn hash(&self) -> Digest {
        domain::hash("agent-token", &[self.0.as_slice()])
    }
}

impl FromStr for AgentToken {
    type Err = ParseTokenError;
    fn from_str(text: &str) -> Result<Self, ParseTokenError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(ParseTokenError)?;
        let decoded = data_encoding::BASE32_NOPAD_NOCASE.decode(digits.as_bytes());
        let bytes = Zeroizing::new(decoded.map_err(|_| ParseTokenError)?);
        let token: [u8; 32] = bytes.as_slice().try_into().map_err(|_| ParseTokenError)?;
        Ok(Self(Zeroizing::new(token)))
    }
}

impl Serialize for AgentToken {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.reveal())
    }
}

impl<'de> Deserialize<'de> for AgentToken {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        let token = text.parse();
        text.zeroize();
        token.map_err(serde::de::Error::custom)
    }
}

/// What is known of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The hash of its token.
    token: Digest,
    /// When it got the token.
    pub since: UnixMicros,
    /// When that was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<UnixMicros>,
}

/// The agents that have a token, or had one: the content of `agents.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agents {
    agents: BTreeMap<Actor, Binding>,
}

/// A name cannot be bound, or its token not revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// It has a token that works.
    #[error("{0} has a token already, and a new one would lock out whoever uses that")]
    Bound(Actor),
    /// There is no room.
    #[error("{AGENTS} names are bound to tokens, which is as many as there can be")]
    Full,
    /// There is nothing to revoke.
    #[error("{0} has no token that works")]
    Unbound(Actor),
}

impl Agents {
    /// Binds a name to a token; a name whose token was revoked gets the new one.
    ///
    /// # Errors
    /// When it has one that works, or there are too many.
    pub fn bind(&mut self, agent: Actor, token: &AgentToken, now: UnixMicros) -> Result<(), BindError> {
        match self.agents.get(&agent) {
            Some(known) if known.revoked.is_none() => return Err(BindError::Bound(agent)),
            None if self.agents.len() >= AGENTS => return Err(BindError::Full),
            _ => {}
        }
        self.agents.insert(agent, Binding { token: token.hash(), since: now, revoked: None });
        Ok(())
    }

    /// Ends a token. Its name stays bound, to nothing.
    ///
    /// # Errors
    /// When there is none that works.
    pub fn revoke(&mut self, agent: &Actor, now: UnixMicros) -> Result<(), BindError> {
        let binding = self.agents.get_mut(agent).filter(|binding| binding.revoked.is_none());
        let binding = binding.ok_or_else(|| BindError::Unbound(agent.clone()))?;
        binding.revoked = Some(now);
        Ok(())
    }

    /// Whose token it is, if it is one that works. How long it takes says nothing about how near a wrong one came.
    #[must_use]
    pub fn whose(&self, token: &AgentToken) -> Option<&Actor> {
        let hash = token.hash();
        let mut found = None;
        for (agent, binding) in &self.agents {
            let same = bool::from(binding.token.as_bytes().ct_eq(hash.as_bytes()));
            if same && binding.revoked.is_none() {
                found = Some(agent);
            }
        }
        found
    }

    /// Whether a name can be used with its token only.
    #[must_use]
    pub fn is_bound(&self, agent: &Actor) -> bool {
        self.agents.contains_key(agent)
    }

    /// Every name that is or was bound.
    pub fn iter(&self) -> impl Iterator<Item = (&Actor, &Binding)> {
        self.agents.iter()
    }
}

impl Root {
    /// Where the agents are kept.
    #[must_use]
    pub fn agents_file(&self) -> PathBuf {
        self.dir().join("agents.json")
    }

    /// The agents that have a token.
    ///
    /// # Errors
    /// When the file cannot be read, or could have been written by somebody else.
    pub fn agents(&self) -> Result<Agents, RootError> {
        let path = self.agents_file();
        match std::fs::metadata(&path) {
            Ok(found) if found.mode() & 0o022 != 0 => Err(RootError::Exposed(path)),
            Ok(_) => self.read_json(&path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Agents::default()),
            Err(error) => Err(io("read", &path)(error)),
        }
    }

    /// Changes which agents have a token. Nothing is written where the change fails.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the change fails.
    pub fn change_agents(
        &self,
        change: impl FnOnce(&mut Agents) -> Result<(), BindError>,
    ) -> Result<(), RootError> {
        let _lock = self.lock()?;
        let mut agents = self.agents()?;
        change(&mut agents)?;
        let path = self.agents_file();
        let bytes = serde_json::to_vec_pretty(&agents).unwrap_or_default();
        files::write(&path, &bytes).map_err(io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::SystemEntropy;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn agent(name: &str) -> Actor {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_comes_back_from_its_text_and_shows_itself_nowhere_else() {
        let token = AgentToken::generate(&mut SystemEntropy);
        let text = token.reveal();
        assert_eq!(text.len(), PREFIX.len() + 52);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {}\n", *text).parse(), Ok(token.clone()));
        assert_eq!(
            serde_json::from_str::<AgentToken>(&serde_json::to_string(&token).unwrap()).unwrap(),
            token
        );
        assert_eq!(format!("{token:?}"), "AgentToken");
        assert_ne!(AgentToken::generate(&mut SystemEntropy), token);
        for wrong in ["", PREFIX, &text[1..], &text[..text.len() - 1], &format!("{}a", *text), "syncd1abc"] {
            let error = wrong.parse::<AgentToken>().unwrap_err();
            assert!(wrong.len() < 20 || !error.to_string().contains(wrong));
        }
    }

    #[test]
    fn a_name_is_its_tokens_until_it_is_revoked_and_nobodys_after() {
        let (first, second) =
            (AgentToken::generate(&mut SystemEntropy), AgentToken::generate(&mut SystemEntropy));
        let mut agents = Agents::default();
        assert!(!agents.is_bound(&agent("agent:a")));
        agents.bind(agent("agent:a"), &first, UnixMicros(1)).unwrap();
        agents.bind(agent("connector:a"), &second, UnixMicros(2)).unwrap();
        assert_eq!(agents.whose(&first), Some(&agent("agent:a")));
        assert_eq!(agents.whose(&second), Some(&agent("connector:a")));
        assert_eq!(
            agents.bind(agent("agent:a"), &second, UnixMicros(3)),
            Err(BindError::Bound(agent("agent:a")))
        );
        agents.revoke(&agent("agent:a"), UnixMicros(4)).unwrap();
        assert_eq!(agents.whose(&first), None);
        assert!(agents.is_bound(&agent("agent:a")));
        assert!(matches!(agents.revoke(&agent("agent:a"), UnixMicros(5)), Err(BindError::Unbound(_))));
        let third = AgentToken::generate(&mut SystemEntropy);
        agents.bind(agent("agent:a"), &third, UnixMicros(6)).unwrap();
        assert_eq!((agents.whose(&first), agents.whose(&third)), (None, Some(&agent("agent:a"))));
        for n in 0..AGENTS - 2 {
            agents.bind(agent(&format!("agent:n{n}")), &first, UnixMicros(7)).unwrap();
        }
        assert_eq!(agents.bind(agent("agent:more"), &first, UnixMicros(8)), Err(BindError::Full));
    }

    #[test]
    fn the_file_is_private_holds_no_token_and_is_nobody_elses_to_write() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::locate(Some(dir.path().join("a"))).unwrap();
        assert_eq!(root.agents().unwrap(), Agents::default());
        let token = AgentToken::generate(&mut SystemEntropy);
        root.change_agents(|agents| agents.bind(agent("agent:a"), &token, UnixMicros(1))).unwrap();
        assert_eq!(root.agents().unwrap().whose(&token), Some(&agent("agent:a")));
        let again = root.change_agents(|agents| agents.bind(agent("agent:a"), &token, UnixMicros(1)));
        assert!(matches!(again, Err(RootError::Bind(BindError::Bound(_)))));
        let path = root.agents_file();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(token.reveal().as_str()) && !text.contains(&hex::encode(token.0.as_slice())));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(root.agents(), Err(RootError::Exposed(_))));
    }
}
