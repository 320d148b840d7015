//! Which lines of two texts differ: Myers' algorithm, with the shortcuts and the choices that git takes.
//!
//! Among the differences of one length, and where the search is cut short, another choice is another merge: edits that
//! git keeps apart would meet. So every tie and every bound is as there: E. W. Myers, "An O(ND) Difference Algorithm and
//! Its Variations" (1986), in linear space. What is common at both ends is left out, and so are lines that the other
//! text does not have, with frequent ones among them. Both fronts of a search are one piece of code: the one from the
//! end sees both texts mirrored.

/// A snake is interesting from this length on.
const SNAKE: usize = 20;
/// Costs up to which no shortcut is taken.
const LEAST_COST: usize = 256;
/// How far, for its cost, an interesting snake must have come.
const SCORE: i64 = 4;
/// A line that the other text has as often as this is frequent, in the largest texts.
const MOST_MATCHES: usize = 1024;
/// How far around a frequent line is looked for lines without a match.
const NEIGHBOURS: usize = 100;

/// Marks what was removed from one text and what was added in the other. Lines are numbers, equal ones of equal lines.
pub(crate) fn changed(old: &[u32], new: &[u32]) -> (Vec<bool>, Vec<bool>) {
    let (mut removed, mut added) = (vec![false; old.len()], vec![false; new.len()]);
    let start = common(old.iter(), new.iter());
    let rest = |text: &[u32]| text.get(start..).unwrap_or_default().to_vec();
    let end = common(rest(old).iter().rev(), rest(new).iter().rev());
    let (old_counts, new_counts) = (counts(old), counts(new));
    let before = Kept::of(old, start..old.len() - end, &new_counts, &mut removed);
    let after = Kept::of(new, start..new.len() - end, &old_counts, &mut added);

    let most_cost = root(before.lines.len() + after.lines.len() + 3).max(LEAST_COST);
    let mut boxes = vec![(0..before.lines.len(), 0..after.lines.len(), false)];
    while let Some((one, other, is_thorough)) = boxes.pop() {
        let old = before.lines.get(one.clone()).unwrap_or_default();
        let new = after.lines.get(other.clone()).unwrap_or_default();
        let start = common(old.iter(), new.iter());
        let shorter = |text: &'_ [u32]| text.len() - start;
        let most = shorter(old).min(shorter(new));
        let end = common(old.iter().rev(), new.iter().rev()).min(most);
        let (one, other) = (one.start + start..one.end - end, other.start + start..other.end - end);
        if one.is_empty() {
            after.mark(other, &mut added);
        } else if other.is_empty() {
            before.mark(one, &mut removed);
        } else {
            let old = before.lines.get(one.clone()).unwrap_or_default();
            let new = after.lines.get(other.clone()).unwrap_or_default();
            let split = split(old, new, is_thorough, most_cost);
            let (middle, beside) = (one.start + split.old, other.start + split.new);
            boxes.push((one.start..middle, other.start..beside, split.is_thorough_before));
            boxes.push((middle..one.end, beside..other.end, split.is_thorough_after));
        }
    }
    (removed, added)
}

fn common<'l>(one: impl Iterator<Item = &'l u32>, other: impl Iterator<Item = &'l u32>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

fn counts(lines: &[u32]) -> Vec<usize> {
    let most = lines.iter().max().map_or(0, |most| *most as usize + 1);
    let mut counts = vec![0; most];
    for line in lines {
        if let Some(count) = counts.get_mut(*line as usize) {
            *count += 1;
        }
    }
    counts
}

/// About the square root: the next power of two.
const fn root(of: usize) -> usize {
    let bits = usize::BITS - of.leading_zeros();
    1 << bits.div_ceil(2)
}

/// How often the other text has a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matches {
    None,
    Some,
    Many,
}

/// The lines that are compared, and where they stand in their text.
struct Kept {
    lines: Vec<u32>,
    places: Vec<usize>,
}

impl Kept {
    /// Marks lines without a match at once, and frequent ones in the midst of such.
    fn of(text: &[u32], range: std::ops::Range<usize>, other: &[usize], marks: &mut [bool]) -> Self {
        let many = root(text.len()).min(MOST_MATCHES);
        let matches = |line: &u32| match other.get(*line as usize).copied().unwrap_or(0) {
            0 => Matches::None,
            count if count >= many => Matches::Many,
            _ => Matches::Some,
        };
        let middle = text.get(range.clone()).unwrap_or_default();
        let status: Vec<Matches> = middle.iter().map(matches).collect();
        let mut kept = Self { lines: Vec::new(), places: Vec::new() };
        for (nth, (line, own)) in middle.iter().zip(&status).enumerate() {
            let is_kept = match own {
                Matches::None => false,
                Matches::Some => true,
                Matches::Many => !is_among_strangers(&status, nth),
            };
            if is_kept {
                kept.lines.push(*line);
                kept.places.push(range.start + nth);
            } else if let Some(mark) = marks.get_mut(range.start + nth) {
                *mark = true;
            }
        }
        kept
    }

    fn mark(&self, range: std::ops::Range<usize>, marks: &mut [bool]) {
        for place in self.places.get(range).unwrap_or_default() {
            if let Some(mark) = marks.get_mut(*place) {
                *mark = true;
            }
        }
    }
}

/// Whether a frequent line stands between lines without a match, with few other frequent ones.
fn is_among_strangers(status: &[Matches], nth: usize) -> bool {
    let (before, after) = status.split_at_checked(nth).unwrap_or_default();
    let around = |lines: &mut dyn Iterator<Item = &Matches>| {
        let mut strangers = 0;
        let mut frequent = 1;
        for line in lines.take(NEIGHBOURS) {
            match line {
                Matches::None => strangers += 1,
                Matches::Many => frequent += 1,
                Matches::Some => break,
            }
        }
        (strangers, frequent)
    };
    let (above, frequent_above) = around(&mut before.iter().rev());
    let (below, frequent_below) = around(&mut after.iter().skip(1));
    above > 0 && below > 0 && above + below > 3 * (frequent_above + frequent_below)
}

/// Where to divide two texts, and whether the parts are worth a search without shortcuts.
struct Split {
    old: usize,
    new: usize,
    is_thorough_before: bool,
    is_thorough_after: bool,
}

/// Both fronts of a search. Diagonals of the mirrored one are counted from the other corner.
fn split(old: &[u32], new: &[u32], is_thorough: bool, most_cost: usize) -> Split {
    let mut ahead = Front::new(old, new, false);
    let mut back = Front::new(old, new, true);
    let shift = old.len() as i64 - new.len() as i64;
    let is_odd = shift & 1 != 0;
    let total = old.len() as i64;
    let mut cost = 0;
    loop {
        cost += 1;
        // The fronts meet where one has come to what the other has left behind.
        let met = ahead.advance(|diagonal, reached| {
            is_odd && back.reached(shift - diagonal).is_some_and(|other| total - other <= reached)
        });
        if let Some((old, new)) = met {
            return Split { old, new, is_thorough_before: true, is_thorough_after: true };
        }
        let met = back.advance(|diagonal, reached| {
            !is_odd && ahead.reached(shift - diagonal).is_some_and(|other| total - reached <= other)
        });
        if let Some((from_end, beside)) = met {
            let (old, new) = (old.len() - from_end, new.len() - beside);
            return Split { old, new, is_thorough_before: true, is_thorough_after: true };
        }
        if is_thorough {
            continue;
        }
        if cost > LEAST_COST && (ahead.has_snake || back.has_snake) {
            if let Some((old, new)) = ahead.snake(cost) {
                return Split { old, new, is_thorough_before: true, is_thorough_after: false };
            }
            if let Some((from_end, beside)) = back.snake(cost) {
                let (old, new) = (old.len() - from_end, new.len() - beside);
                return Split { old, new, is_thorough_before: false, is_thorough_after: true };
            }
        }
        if cost >= most_cost {
            let ((one, beside), (from_end, other)) = (ahead.farthest(), back.farthest());
            if from_end + other < one + beside {
                return Split { old: one, new: beside, is_thorough_before: true, is_thorough_after: false };
            }
            let (old, new) = (old.len() - from_end, new.len() - other);
            return Split { old, new, is_thorough_before: false, is_thorough_after: true };
        }
    }
}

/// How far a search has come from one corner, on each diagonal.
struct Front<'t> {
    old: &'t [u32],
    new: &'t [u32],
    is_mirrored: bool,
    reach: Vec<i64>,
    /// The diagonals at hand.
    low: i64,
    high: i64,
    /// Whether the last step went along a long common stretch.
    has_snake: bool,
}

impl<'t> Front<'t> {
    fn new(old: &'t [u32], new: &'t [u32], is_mirrored: bool) -> Self {
        let reach = vec![-1; old.len() + new.len() + 3];
        let mut front = Self { old, new, is_mirrored, reach, low: 0, high: 0, has_snake: false };
        front.put(0, 0);
        front
    }

    fn at(&self, diagonal: i64) -> i64 {
        let index = usize::try_from(diagonal + self.new.len() as i64 + 1).unwrap_or(usize::MAX);
        self.reach.get(index).copied().unwrap_or(-1)
    }

    fn put(&mut self, diagonal: i64, reached: i64) {
        let index = usize::try_from(diagonal + self.new.len() as i64 + 1).unwrap_or(usize::MAX);
        if let Some(place) = self.reach.get_mut(index) {
            *place = reached;
        }
    }

    fn reached(&self, diagonal: i64) -> Option<i64> {
        (self.low..=self.high).contains(&diagonal).then(|| self.at(diagonal))
    }

    /// The diagonals at hand, in the order in which both fronts look at them: from the last of the old text.
    fn diagonals(&self) -> impl Iterator<Item = i64> + use<> {
        let (low, high, is_mirrored) = (self.low, self.high, self.is_mirrored);
        let count = (high - low) / 2 + 1;
        (0..count).map(move |nth| if is_mirrored { low + 2 * nth } else { high - 2 * nth })
    }

    /// How many lines are the same from a place on, in the direction of this front.
    fn run(&self, old: i64, new: i64) -> usize {
        let (Ok(old), Ok(new)) = (usize::try_from(old), usize::try_from(new)) else { return 0 };
        if old >= self.old.len() || new >= self.new.len() {
            return 0;
        }
        match self.is_mirrored {
            false => common(self.old.iter().skip(old), self.new.iter().skip(new)),
            true => common(self.old.iter().rev().skip(old), self.new.iter().rev().skip(new)),
        }
    }

    /// One more change on every diagonal, and all that is common after it; where `meets` says so, if it does.
    fn advance(&mut self, meets: impl Fn(i64, i64) -> bool) -> Option<(usize, usize)> {
        if self.low > -(self.new.len() as i64) {
            self.low -= 1;
            self.put(self.low - 1, -1);
        } else {
            self.low += 1;
        }
        if self.high < self.old.len() as i64 {
            self.high += 1;
            self.put(self.high + 1, -1);
        } else {
            self.high -= 1;
        }
        self.has_snake = false;
        for diagonal in self.diagonals() {
            let (left, above) = (self.at(diagonal - 1), self.at(diagonal + 1));
            let from = if left >= above { left + 1 } else { above };
            let run = self.run(from, from - diagonal);
            self.has_snake |= run > SNAKE;
            let reached = from + run as i64;
            self.put(diagonal, reached);
            if meets(diagonal, reached) {
                return Some((usize::try_from(reached).ok()?, usize::try_from(reached - diagonal).ok()?));
            }
        }
        None
    }

    /// The end of the long common stretch that has come farthest, if one has come far for what it cost.
    fn snake(&self, cost: usize) -> Option<(usize, usize)> {
        let mut best = (0, None);
        for diagonal in self.diagonals() {
            let old = self.at(diagonal);
            let score = old + (old - diagonal) - diagonal.abs();
            let (Ok(old), Ok(new)) = (usize::try_from(old), usize::try_from(old - diagonal)) else {
                continue;
            };
            let is_inside = (SNAKE..self.old.len()).contains(&old) && (SNAKE..self.new.len()).contains(&new);
            if is_inside && score > SCORE * cost as i64 && score > best.0 && self.ends_run(old, new) {
                best = (score, Some((old, new)));
            }
        }
        best.1
    }

    /// Whether a long common stretch ends at a place.
    fn ends_run(&self, old: usize, new: usize) -> bool {
        self.run((old - SNAKE) as i64, (new - SNAKE) as i64) >= SNAKE
    }

    /// The place that is farthest from the corner.
    fn farthest(&self) -> (usize, usize) {
        let mut best = (0, 0);
        let mut most = -1;
        for diagonal in self.diagonals() {
            let mut old = self.at(diagonal).min(self.old.len() as i64);
            let mut new = old - diagonal;
            if new > self.new.len() as i64 {
                new = self.new.len() as i64;
                old = new + diagonal;
            }
            if let (true, Ok(one), Ok(other)) = (old + new > most, usize::try_from(old), usize::try_from(new))
            {
                most = old + new;
                best = (one, other);
            }
        }
        best
    }
}
