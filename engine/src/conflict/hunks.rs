//! Which lines of what two versions have in common each of them changed: hunks as a difference by lines shows them, found
//! from the operations. A hunk begins and ends between lines that both have, and is nothing but a place where whole lines
//! were put between others.

use super::order::Order;
use super::runs::Run;
use std::ops::Range;

/// Lines that one side changed. Places are between elements: 0 is before the first.
pub(super) struct Hunk {
    pub(super) lines: Range<usize>,
    /// Which of the run's spans are in it.
    pub(super) spans: Range<usize>,
}

impl Hunk {
    /// Whether both changed the same or touching lines.
    pub(super) const fn meets(&self, other: &Self) -> bool {
        self.lines.start <= other.lines.end && other.lines.start <= self.lines.end
    }

    /// The hunk with what was put at its end.
    pub(super) fn extent(&self, run: &Run) -> Range<usize> {
        let last = self.spans.end.checked_sub(1).and_then(|last| run.spans.get(last));
        self.lines.start..self.lines.end.max(last.map_or(0, |(_, last)| last + 1))
    }
}

/// The hunks of one of two versions.
pub(super) struct Sides<'o> {
    pub(super) order: &'o Order<'o>,
    pub(super) run: &'o Run,
    pub(super) other: &'o Run,
}

impl Sides<'_> {
    /// In order and apart.
    pub(super) fn hunks(&self) -> Vec<Hunk> {
        let mut hunks: Vec<Hunk> = Vec::new();
        for (nth, (from, to)) in self.run.spans.iter().enumerate() {
            let inside = hunks.last().filter(|last| *from < last.lines.end);
            let start = inside.map_or_else(|| self.line_start(*from), |last| last.lines.start);
            let end = match inside {
                Some(last) if to + 1 < last.lines.end => last.lines.end,
                _ => self.end(start, *to),
            };
            match hunks.last_mut().filter(|last| start <= last.lines.end) {
                Some(last) => {
                    last.lines.end = last.lines.end.max(end);
                    last.spans.end = nth + 1;
                }
                None => hunks.push(Hunk { lines: start..end, spans: nth..nth + 1 }),
            }
        }
        hunks
    }

    /// The beginning of the common line in which an element stands.
    fn line_start(&self, place: usize) -> usize {
        (0..place)
            .rev()
            .find(|before| self.order.ends_line(*before) && self.is_common(*before))
            .map_or(0, |at| at + 1)
    }

    /// The end of the common lines that a change up to an element reaches into.
    fn end(&self, start: usize, last: usize) -> usize {
        let common = (start..=last).rev().find(|place| self.is_common(*place));
        let left = (start..=last).rev().find(|place| self.order.shows(self.run.last, *place));
        let is_whole = |place: Option<usize>| place.is_none_or(|place| self.order.ends_line(place));
        if is_whole(common) && is_whole(left) {
            return common.map_or(start, |place| place + 1);
        }
        let mut after = last + 1..self.order.len();
        after
            .find(|place| self.order.ends_line(*place) && self.is_common(*place))
            .map_or(self.order.len(), |at| at + 1)
    }

    /// Whether an element is in the common base: the text that all changes make of which both knew.
    pub(super) fn is_common(&self, place: usize) -> bool {
        let window = self.order.window();
        self.order
            .is_in(place, |change| window.sees(self.run.last, change) && window.sees(self.other.last, change))
    }
}
