//! The names this device has for its workspaces. Ids are the same everywhere, names are local.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use syncd_schema::WorkspaceId;

/// The name a workspace has when nobody named it, and the one that is meant when nobody says which.
pub const DEFAULT: &str = "default";
/// A name is typed and printed.
const NAME_CHARS: usize = 64;

/// Names and what they stand for: the content of `workspaces.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aliases {
    workspaces: BTreeMap<String, WorkspaceId>,
}

/// Which workspace is meant cannot be said.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PickError {
    /// There is none.
    #[error("there is no workspace here yet")]
    None,
    /// There is none of that name.
    #[error("there is no workspace {name:?} here; there is {}", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// There are several, and none is the default.
    #[error("there are several workspaces here: {}", .0.join(", "))]
    Several(Vec<String>),
    /// Not a name.
    #[error("a workspace name has 1 to {NAME_CHARS} letters, digits, '-', '_' and '.', not {0:?}")]
    Malformed(String),
}

impl Aliases {
    /// The workspace that a name or id stands for; without a name the only one, else the default.
    ///
    /// # Errors
    /// When there is none, none of that name, or several and no default.
    pub fn pick(&self, name: Option<&str>) -> Result<WorkspaceId, PickError> {
        match name {
            Some(name) => self.named(name),
            None => match (self.workspaces.get(DEFAULT), self.workspaces.len()) {
                (_, 0) => Err(PickError::None),
                (Some(default), _) => Ok(*default),
                (None, 1) => self.workspaces.values().next().copied().ok_or(PickError::None),
                (None, _) => Err(PickError::Several(self.names())),
            },
        }
    }

    fn named(&self, name: &str) -> Result<WorkspaceId, PickError> {
        if let Some(found) = self.workspaces.get(name) {
            return Ok(*found);
        }
        match name.parse() {
            Ok(id) if self.name_of(&id).is_some() => Ok(id),
            _ if self.workspaces.is_empty() => check_name(name).and(Err(PickError::None)),
            _ => check_name(name).and(Err(PickError::Unknown { name: name.to_owned(), known: self.names() })),
        }
    }

    /// Names a workspace; a name that is taken gets `-2`, `-3` and so on. Returns the name it has then.
    pub fn add(&mut self, name: &str, id: WorkspaceId) -> String {
        if let Some(name) = self.name_of(&id) {
            return name.to_owned();
        }
        let mut free = name.to_owned();
        let mut number = 2;
        while self.workspaces.contains_key(&free) {
            free = format!("{name}-{number}");
            number += 1;
        }
        self.workspaces.insert(free.clone(), id);
        free
    }

    /// Makes a workspace the default one; the one that was gets another name.
    pub fn make_default(&mut self, id: WorkspaceId) {
        self.workspaces.retain(|_, other| *other != id);
        let before = self.workspaces.insert(DEFAULT.to_owned(), id);
        if let Some(before) = before {
            self.add(DEFAULT, before);
        }
    }

    /// The name of a workspace.
    #[must_use]
    pub fn name_of(&self, id: &WorkspaceId) -> Option<&str> {
        self.workspaces.iter().find(|(_, other)| *other == id).map(|(name, _)| name.as_str())
    }

    /// The workspaces.
    pub fn ids(&self) -> impl Iterator<Item = WorkspaceId> + '_ {
        self.workspaces.values().copied()
    }

    /// The only workspace, if there is exactly one.
    #[must_use]
    pub fn only(&self) -> Option<WorkspaceId> {
        if self.workspaces.len() == 1 { self.workspaces.values().next().copied() } else { None }
    }

    fn names(&self) -> Vec<String> {
        self.workspaces.keys().cloned().collect()
    }
}

/// Whether a text may name a workspace.
///
/// # Errors
/// When it may not.
pub fn check_name(name: &str) -> Result<(), PickError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_CHARS || !name.chars().all(allowed) {
        return Err(PickError::Malformed(name.chars().take(NAME_CHARS).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: WorkspaceId = WorkspaceId([1; 16]);
    const B: WorkspaceId = WorkspaceId([2; 16]);

    #[test]
    fn the_only_one_is_meant_else_the_default() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.pick(None), Err(PickError::None));
        assert_eq!(aliases.add("work", A), "work");
        assert_eq!(aliases.pick(None), Ok(A));
        assert_eq!(aliases.add("home", B), "home");
        assert!(matches!(aliases.pick(None), Err(PickError::Several(_))));
        aliases.make_default(B);
        assert_eq!(aliases.pick(None), Ok(B));
        assert_eq!(aliases.pick(Some("work")), Ok(A));
        assert_eq!(aliases.pick(Some(&A.to_string())), Ok(A));
        assert!(matches!(aliases.pick(Some("home")), Err(PickError::Unknown { .. })));
    }

    #[test]
    fn a_taken_name_gets_a_number_and_the_old_default_keeps_a_name() {
        let mut aliases = Aliases::default();
        aliases.add(DEFAULT, A);
        assert_eq!(aliases.add(DEFAULT, B), "default-2");
        assert_eq!(aliases.add("other", B), "default-2");
        aliases.make_default(B);
        assert_eq!((aliases.name_of(&A), aliases.name_of(&B)), (Some("default-2"), Some(DEFAULT)));
    }
}
