//! What a decision recorded of its request, read back.
//!
//! A decision records what its policies could see and no more. [`Recalled`] is what of that is about the change itself
//! and cannot be had from elsewhere, for asking other policies about the same change.

use crate::request::{Action, Base};
use std::collections::BTreeMap;
use syncd_schema::Role;

/// What stands for the whole object in a list of paths: a path of no characters would leave no trace.
const WHOLE: &str = "(whole)";
/// What stands for a blank inside of a path. A JSON Pointer has `~0` and `~1` only, so that no path has it.
const BLANK: &str = "~2";

/// What is known of a change from the inputs of a decision about it; none where the decision did not look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// What was done.
    pub action: Action,
    /// What it was based on.
    pub base: Option<Base>,
    /// The role given or lost; none inside where it was about none.
    pub target_role: Option<Option<Role>>,
    /// Whether it took away a protection.
    pub weakens: Option<bool>,
    /// Whether machines had decided about the same again and again.
    pub argued: Option<bool>,
    /// Whether it touched what the manifest calls dangerous.
    pub dangerous: Option<bool>,
    /// Whether it replaced where only additions are taken.
    pub replaces: Option<bool>,
    /// Its size, or the smallest that the policies could not tell from it.
    pub size: Option<u64>,
    /// What it changed, as far as the policies looked.
    pub changed: Option<Vec<String>>,
}

impl Recalled {
    /// Reads the inputs of a decision. None when they name no action that this version knows.
    #[must_use]
    pub fn from_inputs(inputs: &BTreeMap<String, String>) -> Option<Self> {
        let word = |name: &str| inputs.get(name).map(String::as_str);
        let flag = |name: &str| word(name).and_then(|word| word.parse().ok());
        let action = Action::ALL.into_iter().find(|action| word("action") == Some(action.word()))?;
        let role = |word: &str| match word {
            "none" => Some(None),
            word => ROLES.into_iter().find(|role| role.word() == word).map(Some),
        };
        let bases = [Base::Named, Base::Stale, Base::Missing, Base::NotNeeded];
        Some(Self {
            action,
            base: bases.into_iter().find(|base| word("base") == Some(base.word())),
            target_role: word("targetRole").and_then(role),
            weakens: flag("weakens"),
            argued: flag("argued"),
            dangerous: flag("dangerous"),
            replaces: flag("replaces"),
            size: word("size").and_then(smallest).and_then(|size| u64::try_from(size).ok()),
            changed: word("changed").map(split),
        })
    }
}

const ROLES: [Role; 5] = [Role::Owner, Role::Admin, Role::Member, Role::Agent, Role::Relay];

/// The smallest of a range of sizes, which stands for all of them.
pub(crate) fn smallest(range: &str) -> Option<i64> {
    range.split("..").next()?.parse().ok()
}

/// Paths in one line.
pub(crate) fn joined(paths: &[String]) -> String {
    let word = |path: &String| if path.is_empty() { WHOLE.to_owned() } else { path.replace(' ', BLANK) };
    paths.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// The paths of a line that [`joined`] made.
pub(crate) fn split(line: &str) -> Vec<String> {
    let path = |word: &str| if word == WHOLE { String::new() } else { word.replace(BLANK, " ") };
    line.split(' ').filter(|word| !word.is_empty()).map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_as_they_were() {
        for paths in [&[][..], &[""], &["", "/a b", "/a", "/b/~01 "], &[" ", "/"]] {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(split(&joined(&paths)), paths);
        }
    }

    #[test]
    fn what_was_not_looked_at_is_not_known() {
        let inputs = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let recalled = Recalled::from_inputs(&inputs(&[
            ("action", "member_add"),
            ("targetRole", "none"),
            ("weakens", "true"),
            ("size", "10..19"),
        ]))
        .expect("an action");
        assert_eq!(recalled.target_role, Some(None));
        assert_eq!((recalled.weakens, recalled.size, recalled.changed), (Some(true), Some(10), None));
        assert_eq!(Recalled::from_inputs(&inputs(&[("action", "genesis")])), None);
    }
}
