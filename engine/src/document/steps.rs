//! A new content for a text that is too different for one change: the same difference in several edits.
//!
//! One edit is one change, and a change is bounded. Whoever takes in a whole file at once must not know how large a
//! change may be, so the cut is made here.

use super::edit::Edit;
use super::text::difference;
use automerge::{Automerge, ReadDoc};
use syncd_schema::limits;

/// Operations of one step. Half of what a change may hold, so that scattered replacements, whose operations cost more
/// bytes each than typing does, stay within the bytes that a change may have.
const STEP_OPS: usize = (limits::CHANGE_OPS / 2) as usize;

/// The longest text that an object is created with: as long as can be, since equal births on two devices are one
/// change and collapse, and what is added afterwards does not. Some room is left for the object's other members.
const START_OPS: usize = limits::CHANGE_OPS as usize - 64;

/// One replacement: position, how many code points to delete, what to insert.
type Splice = (usize, usize, String);

/// Operations that a document holds, of those that [`limits::DOCUMENT_OPS`] bounds: what was deleted still is one.
#[must_use]
pub fn operations(doc: &Automerge) -> u64 {
    doc.stats().num_ops
}

/// The part of a text that its object may be created with; the rest of it comes by [`text_steps`].
#[must_use]
pub fn text_start(text: &str) -> &str {
    split_at(text, START_OPS).0
}

/// The edits that turn the text at a path from `old` into `new`, in their order. One that fits a change stays one.
#[must_use]
pub fn text_steps(path: &str, old: &str, new: &str) -> Vec<Edit> {
    if old == new {
        return Vec::new();
    }
    if old.chars().count() + new.chars().count() <= STEP_OPS {
        return vec![Edit::SetText { path: path.to_owned(), text: new.to_owned() }];
    }
    let mut steps = Steps { path, done: Vec::new(), splices: Vec::new(), ops: 0 };
    // Positions shift by what the splices before have inserted and deleted.
    let (mut inserted, mut deleted) = (0, 0);
    for hunk in difference(old, new) {
        let pos = (hunk.pos + inserted).saturating_sub(deleted);
        steps.replace(pos, hunk.del, &hunk.text);
        inserted += hunk.text.chars().count();
        deleted += hunk.del;
    }
    steps.end();
    steps.done
}

/// Edits on their way, the last of them still with room.
struct Steps<'a> {
    path: &'a str,
    done: Vec<Edit>,
    splices: Vec<Splice>,
    ops: usize,
}

impl Steps<'_> {
    fn replace(&mut self, mut pos: usize, mut del: usize, mut text: &str) {
        while del > 0 || !text.is_empty() {
            if self.ops >= STEP_OPS {
                self.end();
            }
            let room = STEP_OPS - self.ops;
            let deletes = del.min(room);
            let (now, later) = split_at(text, room - deletes);
            let inserts = now.chars().count();
            self.splices.push((pos, deletes, now.to_owned()));
            self.ops += deletes + inserts;
            pos += inserts;
            del -= deletes;
            text = later;
        }
    }

    fn end(&mut self) {
        self.ops = 0;
        if !self.splices.is_empty() {
            let splices = std::mem::take(&mut self.splices);
            self.done.push(Edit::Splices { path: self.path.to_owned(), splices });
        }
    }
}

/// The first `count` code points, and the rest.
fn split_at(text: &str, count: usize) -> (&str, &str) {
    let at = text.char_indices().nth(count).map_or(text.len(), |(at, _)| at);
    text.split_at_checked(at).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries the steps out on plain text, and checks that each fits a change.
    fn apply(old: &str, steps: &[Edit]) -> String {
        let mut chars: Vec<char> = old.chars().collect();
        for step in steps {
            let splices = match step {
                Edit::SetText { text, .. } => vec![(0, chars.len(), text.clone())],
                Edit::Splices { splices, .. } => splices.clone(),
                other => panic!("{other:?} is no step"),
            };
            let ops: usize = splices.iter().map(|(_, del, text)| del + text.chars().count()).sum();
            assert!(ops as u64 <= limits::CHANGE_OPS, "{ops} operations");
            for (pos, del, text) in splices {
                chars.splice(pos..pos + del, text.chars());
            }
        }
        chars.into_iter().collect()
    }

    #[test]
    fn a_small_difference_is_one_step_and_none_is_none() {
        assert_eq!(text_steps("/t", "a", "a"), []);
        let step = Edit::SetText { path: "/t".into(), text: "b".into() };
        assert_eq!(text_steps("/t", "a", "b"), [step]);
        // Large texts, of which one line differs.
        let old = "a line of text\n".repeat(20_000);
        let new = format!("{old}the end\n");
        assert_eq!(text_steps("/t", &old, &new).len(), 1);
    }

    #[test]
    fn steps_end_in_the_new_text_however_large_it_is() {
        let long = "é".repeat(3 * STEP_OPS + 7);
        let lines: String = (0..40_000).map(|n| format!("line {n}\n")).collect();
        let others: String = (0..40_000).map(|n| format!("line {}\n", n + n % 2)).collect();
        for (old, new) in [
            ("", long.as_str()),
            (&long, ""),
            (&long, &lines),
            (&lines, &others),
            (text_start(&long), &long),
            (text_start(&lines), &lines),
        ] {
            let steps = text_steps("/t", old, new);
            assert_eq!(apply(old, &steps), new);
        }
        assert_eq!(text_start("short"), "short");
        assert_eq!(text_start(&long).chars().count(), START_OPS);
    }
}
