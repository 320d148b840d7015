//! Texts merged by lines, as people review them: what `git merge-file` makes of the same versions.
//!
//! A pure function of strings. Hunks of the sides against the common base that overlap *or touch* belong together;
//! where one side alone changed something, or all that did came to the same, its version is taken, and everything else
//! is a choice for somebody. The difference is the one by lines from which the splices of a whole new text are made.

use crate::document::hunks::{Hunk, hunks};
use std::ops::Range;

/// A stretch of merged text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// Nobody needs to be asked.
    Clean(&'t str),
    /// The sides changed the same or touching lines, and differently.
    Choice {
        /// What was there.
        base: &'t str,
        /// What each side made of it, in the order in which the sides were given. One that left it alone has the base.
        sides: Vec<&'t str>,
    },
}

/// Sides brought together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<'t> {
    /// From the first line to the last.
    pub parts: Vec<Part<'t>>,
}

impl<'t> Merged<'t> {
    /// The text, if there is nothing to choose.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let clean = |part: &Part<'t>| match part {
            Part::Clean(text) => Some(*text),
            Part::Choice { .. } => None,
        };
        self.parts.iter().map(clean).collect()
    }

    /// The text with the version of one side wherever there is a choice, and all other edits of every side. A side that
    /// was not given has nothing to say.
    #[must_use]
    pub fn text_of(&self, side: usize) -> String {
        let say = |part: &Part<'t>| match part {
            Part::Clean(text) => *text,
            Part::Choice { sides, .. } => sides.get(side).copied().unwrap_or_default(),
        };
        self.parts.iter().map(say).collect()
    }

    /// How many choices there are.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Choice { .. })).count()
    }
}

/// Merges two versions of a text.
#[must_use]
pub fn merge<'t>(base: &'t str, ours: &'t str, theirs: &'t str) -> Merged<'t> {
    merge_all(base, &[ours, theirs])
}

/// Merges any number of versions of a text.
#[must_use]
pub fn merge_all<'t>(base: &'t str, versions: &[&'t str]) -> Merged<'t> {
    let lines = Lines::of(base);
    let mut sides: Vec<Version<'t>> = versions.iter().map(|text| Version::new(base, text)).collect();
    let mut parts = Vec::new();
    let mut line = 0;
    while let Some(start) = sides.iter().filter_map(Version::next_start).min() {
        parts.push(Part::Clean(lines.get(&(line..start))));
        let mut end = start;
        // Each hunk that the region reaches may make it longer.
        while sides.iter_mut().any(|side| side.take_until(&mut end)) {}
        let region = start..end;
        let changed: Vec<&str> =
            sides.iter().filter(|side| side.has_taken()).map(|side| side.version(&region)).collect();
        parts.push(match changed.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Part::Clean(first),
            _ => Part::Choice {
                base: lines.get(&region),
                sides: sides.iter().map(|side| side.version(&region)).collect(),
            },
        });
        sides.iter_mut().for_each(Version::leave);
        line = end;
    }
    parts.push(Part::Clean(lines.get(&(line..lines.count()))));
    parts.retain(|part| *part != Part::Clean(""));
    Merged { parts }
}

/// One side, walked from hunk to hunk.
struct Version<'t> {
    lines: Lines<'t>,
    hunks: Vec<Hunk>,
    /// The first hunk of the region at hand, and the first after it.
    from: usize,
    next: usize,
}

impl<'t> Version<'t> {
    fn new(base: &str, text: &'t str) -> Self {
        Self { lines: Lines::of(text), hunks: hunks(base, text), from: 0, next: 0 }
    }

    fn next_start(&self) -> Option<usize> {
        self.hunks.get(self.next).map(|(before, _)| before.start)
    }

    /// Takes the next hunk into the region if that reaches it.
    fn take_until(&mut self, end: &mut usize) -> bool {
        let Some((before, _)) = self.hunks.get(self.next).filter(|(before, _)| before.start <= *end) else {
            return false;
        };
        *end = before.end.max(*end);
        self.next += 1;
        true
    }

    const fn has_taken(&self) -> bool {
        self.from < self.next
    }

    /// Its version of a region of the base: lines outside of hunks are those of the base, only elsewhere.
    fn version(&self, region: &Range<usize>) -> &'t str {
        let shift = |hunk: Option<&Hunk>, line: usize| match hunk {
            Some((before, after)) => (line + after.end).saturating_sub(before.end),
            None => line,
        };
        let before = self.from.checked_sub(1).and_then(|index| self.hunks.get(index));
        let last = self.next.checked_sub(1).and_then(|index| self.hunks.get(index));
        self.lines.get(&(shift(before, region.start)..shift(last, region.end)))
    }

    const fn leave(&mut self) {
        self.from = self.next;
    }
}

/// A text and where its lines begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn of(text: &'t str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1));
        if starts.last() != Some(&text.len()) {
            starts.push(text.len());
        }
        Self { text, starts }
    }

    const fn count(&self) -> usize {
        self.starts.len() - 1
    }

    fn get(&self, lines: &Range<usize>) -> &'t str {
        let at = |line: usize| self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(at(lines.start)..at(lines.end)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_different_lines_come_together() {
        let merged = merge("a\nb\nc\nd\n", "A\nb\nc\nd\n", "a\nb\nc\nD\nE\n");
        assert_eq!(merged.text().unwrap(), "A\nb\nc\nD\nE\n");
    }

    #[test]
    fn touching_lines_are_a_choice() {
        let merged = merge("a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n");
        assert_eq!(merged.text(), None);
        let sides = vec!["A\nb\n", "a\nB\n"];
        assert_eq!(merged.parts, [Part::Choice { base: "a\nb\n", sides }, Part::Clean("c\n")]);
        assert_eq!((merged.text_of(0).as_str(), merged.text_of(1).as_str()), ("A\nb\nc\n", "a\nB\nc\n"));
    }

    #[test]
    fn an_edit_made_by_all_is_made_once() {
        let merged = merge_all("a\nb\nc\n", &["a\nB\nc\n", "a\nB\nc\n", "a\nb\nc\n", "a\nB\nc\n"]);
        assert_eq!(merged.text().unwrap(), "a\nB\nc\n");
        assert_eq!(merge("", "x\n", "x\n").text().unwrap(), "x\n");
        assert_eq!(merge("a", "a\nb", "a\nc").choices(), 1, "without a newline at the end");
    }

    #[test]
    fn of_three_sides_two_may_disagree() {
        let merged = merge_all("a\nb\nc\nd\ne\n", &["1\nb\nc\nd\ne\n", "2\nb\nc\nd\ne\n", "a\nb\nc\nd\n3\n"]);
        assert_eq!(merged.choices(), 1);
        assert_eq!(merged.text_of(1), "2\nb\nc\nd\n3\n");
        assert_eq!(merged.text_of(2), "a\nb\nc\nd\n3\n", "who left the lines alone keeps the base");
    }
}
