//! Differences by lines, exactly as git finds them: Myers' algorithm, then sliding.
//!
//! A group of changed lines can often be moved up or down without being another difference: a repeated block was
//! inserted before the old one or after it. Two people's edits are one matter or two depending on that, so it must
//! be as where people know it from. As in git, the deleted lines slide first and the inserted ones after them; each
//! group ends as far down as it can, or where the last lines of the other text that it can stand beside changed too.

use super::myers;
use std::collections::HashMap;
use std::ops::Range;

/// Lines of the old text, and what they became in the new one.
pub(crate) type Hunk = (Range<usize>, Range<usize>);

/// The hunks of a difference, in order and apart.
pub(crate) fn hunks(old: &str, new: &str) -> Vec<Hunk> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let [old, new] = [old, new].map(|text| numbered(text, &mut numbers));
    let (removed, added) = myers::changed(&old, &new);
    let mut old = File { lines: &old, is_changed: removed };
    let mut new = File { lines: &new, is_changed: added };
    slide(&mut old, &new);
    slide(&mut new, &old);
    collect(&old, &new)
}

/// The lines of a text as numbers, the same for the same line.
fn numbered<'t>(text: &'t str, numbers: &mut HashMap<&'t str, u32>) -> Vec<u32> {
    let number = |line: &'t str| {
        let next = numbers.len() as u32;
        *numbers.entry(line).or_insert(next)
    };
    text.split_inclusive('\n').map(number).collect()
}

fn collect(old: &File<'_>, new: &File<'_>) -> Vec<Hunk> {
    let (mut before, mut after) = (old.first(), new.first());
    let mut hunks = Vec::new();
    loop {
        if !before.is_empty() || !after.is_empty() {
            hunks.push((before.clone(), after.clone()));
        }
        let (Some(next), Some(other)) = (old.next(&before), new.next(&after)) else { return hunks };
        (before, after) = (next, other);
    }
}

/// One of the two texts. Between any two lines that did not change, and at both ends, is a group of those that
/// did, mostly an empty one; the groups of both texts correspond.
struct File<'t> {
    lines: &'t [u32],
    is_changed: Vec<bool>,
}

impl File<'_> {
    fn changed(&self, line: usize) -> bool {
        self.is_changed.get(line).copied().unwrap_or(false)
    }

    fn mark(&mut self, line: usize, is_changed: bool) {
        if let Some(mark) = self.is_changed.get_mut(line) {
            *mark = is_changed;
        }
    }

    /// The end of the changed lines from one on.
    fn end(&self, from: usize) -> usize {
        (from..self.lines.len()).find(|line| !self.changed(*line)).unwrap_or(self.lines.len())
    }

    /// The beginning of the changed lines up to one.
    fn start(&self, to: usize) -> usize {
        (0..to).rev().find(|line| !self.changed(*line)).map_or(0, |line| line + 1)
    }

    fn first(&self) -> Range<usize> {
        0..self.end(0)
    }

    fn next(&self, group: &Range<usize>) -> Option<Range<usize>> {
        let start = group.end + 1;
        (group.end < self.lines.len()).then(|| start..self.end(start))
    }

    fn previous(&self, group: &Range<usize>) -> Option<Range<usize>> {
        let end = group.start.checked_sub(1)?;
        Some(self.start(end)..end)
    }

    /// Moves a group one line down, with all that it meets there.
    fn lower(&mut self, group: &mut Range<usize>) -> bool {
        if group.end >= self.lines.len() || self.lines.get(group.start) != self.lines.get(group.end) {
            return false;
        }
        self.mark(group.start, false);
        self.mark(group.end, true);
        *group = group.start + 1..self.end(group.end + 1);
        true
    }

    /// Moves a group one line up, with all that it meets there.
    fn lift(&mut self, group: &mut Range<usize>) -> bool {
        if group.start == 0 || self.lines.get(group.start - 1) != self.lines.get(group.end - 1) {
            return false;
        }
        self.mark(group.start - 1, true);
        self.mark(group.end - 1, false);
        *group = self.start(group.start - 1)..group.end - 1;
        true
    }
}

/// Moves the groups of one text to where they belong, beside those of the other.
fn slide(file: &mut File<'_>, other: &File<'_>) {
    let (mut group, mut beside) = (file.first(), other.first());
    loop {
        if !group.is_empty() {
            settle(file, other, &mut group, &mut beside);
        }
        let (Some(next), Some(other)) = (file.next(&group), other.next(&beside)) else { return };
        (group, beside) = (next, other);
    }
}

fn settle(file: &mut File<'_>, other: &File<'_>, group: &mut Range<usize>, beside: &mut Range<usize>) {
    let mut meets;
    loop {
        let size = group.len();
        while file.lift(group) {
            *beside = other.previous(beside).unwrap_or_default();
        }
        meets = beside.start < beside.end;
        while file.lower(group) {
            *beside = other.next(beside).unwrap_or_default();
            meets |= beside.start < beside.end;
        }
        // What it met on the way may be able to go further up.
        if group.len() == size {
            break;
        }
    }
    while meets && beside.start == beside.end && file.lift(group) {
        *beside = other.previous(beside).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Texts of so many lines of which so many differ, and what a rewriting makes of one.
    fn texts(seed: u64, lines: usize, words: u64) -> (String, String) {
        let mut state = seed;
        let mut roll = move |sides: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % sides
        };
        let (mut old, mut new) = (String::new(), String::new());
        for _ in 0..lines {
            let line = roll(words);
            let change = roll(10);
            writeln!(old, "{line}").unwrap();
            match change {
                0..4 => writeln!(new, "{line}").unwrap(),
                4..6 => writeln!(new, "{}", roll(words)).unwrap(),
                6 => writeln!(new, "{line}\n{line}").unwrap(),
                7 => writeln!(new, "own {}", roll(words)).unwrap(),
                _ => {}
            }
        }
        (old, new)
    }

    /// The headers of git's hunks, as ours are.
    fn of_git(name: &str, old: &str, new: &str) -> Option<Vec<Hunk>> {
        let dir = std::env::temp_dir().join(format!("syncd-hunks-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("old"), old).unwrap();
        std::fs::write(dir.join("new"), new).unwrap();
        let how =
            ["diff", "--no-index", "--no-indent-heuristic", "--diff-algorithm=myers", "-U0", "old", "new"];
        let said = std::process::Command::new("git").current_dir(&dir).args(how).output();
        std::fs::remove_dir_all(&dir).unwrap();
        let said = String::from_utf8(said.ok()?.stdout).unwrap();
        let range = |words: &str| {
            let mut numbers =
                words.get(1..).unwrap().split(',').map(|number| number.parse::<usize>().unwrap());
            let (start, count) = (numbers.next().unwrap(), numbers.next().unwrap_or(1));
            // Lines count from 1; of none git names the one before.
            let start = if count == 0 { start } else { start - 1 };
            start..start + count
        };
        let headers = said.lines().filter(|line| line.starts_with("@@"));
        let hunk = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            (range(words[1]), range(words[2]))
        };
        Some(headers.map(hunk).collect())
    }

    #[test]
    fn they_are_those_of_git() {
        for (seed, (lines, words)) in
            [(30, 5), (300, 12), (2_000, 8), (2_000, 400), (5_000, 40), (5_000, 3), (8_000, 100_000)]
                .iter()
                .enumerate()
        {
            let (old, new) = texts(seed as u64, *lines, *words);
            let Some(git) = of_git(&seed.to_string(), &old, &new) else {
                eprintln!("skipped: there is no git to compare with");
                return;
            };
            assert!(git == hunks(&old, &new), "{lines} lines of {words}");
        }
    }
}
