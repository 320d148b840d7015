//! Texts: splices as they come, and whole new contents turned into the few splices that make the difference.
//!
//! The difference is found by lines, as `git merge-file` does: two people's edits of different lines then touch different characters. Within a hunk
//! only common ends are trimmed. Finer differences inside a hunk gain nothing and interleave with other
//! people's, and comparing two large rewritten texts by characters takes minutes.

use super::error::EditError;
use super::hunks;
use super::node::Node;
use super::pointer;
use super::writer::{Found, Spot, Writer};
use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, ReadDoc, ScalarValue, Value as Entry};
use syncd_schema::limits;

/// One replacement, in code points of the old text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    pub(crate) pos: usize,
    pub(crate) del: usize,
    pub(crate) text: String,
}

/// Replaces the whole text at a path, which must hold a text or a string.
pub(crate) fn set_at(writer: &mut Writer<'_, '_>, path: &str, new: &str) -> Result<(), EditError> {
    let steps = pointer::parse(path)?;
    let (spot, found) = writer.must_find(&steps)?;
    if found.is(ObjType::Text) {
        return set(writer, &found.id, new);
    }
    let old = string(&found, path)?;
    if old == new {
        return Ok(());
    }
    make_text(writer, &spot, &steps, new)
}

/// Replaces `del` code points at `pos` of the text at a path, which must hold a text or a string.
pub(crate) fn splice_at(
    writer: &mut Writer<'_, '_>,
    path: &str,
    pos: usize,
    del: usize,
    text: &str,
) -> Result<(), EditError> {
    let steps = pointer::parse(path)?;
    let (spot, found) = writer.must_find(&steps)?;
    let is_text = found.is(ObjType::Text);
    let old = if is_text { String::new() } else { string(&found, path)? };
    let len = if is_text { writer.tx.length(&found.id) } else { old.chars().count() };
    if pos.checked_add(del).is_none_or(|end| end > len) {
        return Err(EditError::SpliceOutOfRange { path: pointer::excerpt(path), pos, del, len });
    }
    if is_text {
        return splice(writer, &found.id, pos, del, text);
    }
    let mut new: String = old.chars().take(pos).collect();
    new.push_str(text);
    new.extend(old.chars().skip(pos + del));
    if new == old {
        return Ok(());
    }
    make_text(writer, &spot, &steps, &new)
}

/// Replaces the whole content of a text.
pub(crate) fn set(writer: &mut Writer<'_, '_>, id: &ObjId, new: &str) -> Result<(), EditError> {
    let old = writer.tx.text(id)?;
    if old == new {
        return Ok(());
    }
    // The smallest possible number of operations is known before the difference is: refuse what cannot fit.
    let (before, after) = (old.chars().count() as u64, new.chars().count() as u64);
    if before.abs_diff(after) > limits::CHANGE_OPS {
        return Err(EditError::TooManyOps);
    }
    // Positions shift by what the splices before have inserted and deleted.
    let (mut inserted, mut deleted) = (0_usize, 0_usize);
    for hunk in difference(&old, new) {
        let pos = (hunk.pos + inserted).saturating_sub(deleted);
        splice(writer, id, pos, hunk.del, &hunk.text)?;
        inserted += hunk.text.chars().count();
        deleted += hunk.del;
    }
    Ok(())
}

/// The splices that turn one text into another, in order and disjoint.
pub(crate) fn difference(old: &str, new: &str) -> Vec<Splice> {
    let hunks = hunks::hunks(old, new).into_iter();
    let mut before = Lines::of(old);
    let mut after = Lines::of(new);
    hunks
        .map(|(removed, added)| {
            let (pos, old) = before.take(removed.start, removed.end);
            let (_, new) = after.take(added.start, added.end);
            trimmed(pos, old, new)
        })
        .collect()
}

/// Walks a text by lines, counting code points on the way.
struct Lines<'a> {
    rest: &'a str,
    line: usize,
    pos: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text, line: 0, pos: 0 }
    }

    /// The lines from `start` to `end`, and the code point they start at.
    fn take(&mut self, start: usize, end: usize) -> (usize, &'a str) {
        self.advance(start);
        let pos = self.pos;
        (pos, self.advance(end))
    }

    fn advance(&mut self, to: usize) -> &'a str {
        let mut length = 0;
        while self.line < to {
            let rest = self.rest.get(length..).unwrap_or_default();
            length += rest.find('\n').map_or(rest.len(), |newline| newline + 1);
            self.line += 1;
        }
        let (passed, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.pos += passed.chars().count();
        passed
    }
}

/// A replacement without the code points that both sides start and end with.
fn trimmed(pos: usize, old: &str, new: &str) -> Splice {
    let same = |(a, b): &(char, char)| a == b;
    let prefix: usize = old.chars().zip(new.chars()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let skipped = old.get(..prefix).map_or(0, |text| text.chars().count());
    let (old, new) = (old.get(prefix..).unwrap_or(old), new.get(prefix..).unwrap_or(new));
    let suffix: usize =
        old.chars().rev().zip(new.chars().rev()).take_while(same).map(|(c, _)| c.len_utf8()).sum();
    let old = old.get(..old.len() - suffix).unwrap_or(old);
    let new = new.get(..new.len() - suffix).unwrap_or(new);
    Splice { pos: pos + skipped, del: old.chars().count(), text: new.to_owned() }
}

fn splice(
    writer: &mut Writer<'_, '_>,
    id: &ObjId,
    pos: usize,
    del: usize,
    text: &str,
) -> Result<(), EditError> {
    if del == 0 && text.is_empty() {
        return Ok(());
    }
    writer.reserve((text.chars().count() as u64).saturating_add(del as u64), text.len())?;
    let del = isize::try_from(del).map_err(|_| EditError::TooManyOps)?;
    Ok(writer.tx.splice_text(id, pos, del, text)?)
}

/// Puts a text where a string was: the string's own history ends here.
fn make_text(
    writer: &mut Writer<'_, '_>,
    spot: &Spot,
    path: &[String],
    content: &str,
) -> Result<(), EditError> {
    writer.put(spot, path, &Node::Text(content.to_owned()))
}

fn string(found: &Found, path: &str) -> Result<String, EditError> {
    match &found.entry {
        Entry::Scalar(scalar) => match scalar.as_ref() {
            ScalarValue::Str(text) => Ok(text.to_string()),
            _ => Err(EditError::NotText { path: pointer::excerpt(path) }),
        },
        Entry::Object(_) => Err(EditError::NotText { path: pointer::excerpt(path) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(old: &str, splices: &[Splice]) -> String {
        let mut chars: Vec<char> = old.chars().collect();
        for splice in splices.iter().rev() {
            chars.splice(splice.pos..splice.pos + splice.del, splice.text.chars());
        }
        chars.into_iter().collect()
    }

    #[test]
    fn a_line_in_the_middle_is_one_small_splice() {
        let splices = difference("a\nprice is 100\nz\n", "a\nprice is 250\nz\n");
        assert_eq!(splices, [Splice { pos: 11, del: 2, text: "25".into() }]);
    }

    #[test]
    fn a_large_rewrite_is_quick() {
        let old: String = (0..20_000).map(|n| format!("{}\n", n * 7919 % 10_007)).collect();
        let new: String = (0..20_000).map(|n| format!("{}\n", n * 104_729 % 10_009)).collect();
        let start = std::time::Instant::now();
        assert_eq!(apply(&old, &difference(&old, &new)), new);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn the_difference_turns_one_text_into_the_other(old in "[ab\nä\r]{0,40}", new in "[ab\nä\r]{0,40}") {
            let splices = difference(&old, &new);
            prop_assert_eq!(apply(&old, &splices), new);
        }
    }
}
