//! Lines of work on one text: changes of one author that everybody else knew all of or nothing of, and that were made
//! with the same knowledge of others. They are one version, whatever number of changes it took.

use super::Window;
use super::order::Order;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A line of work.
pub(super) struct Run {
    /// Its first change, and its last.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The stretches of the text in which it inserted or deleted, in order and apart: first place and last.
    pub(super) spans: Vec<(usize, usize)>,
    /// Where its operations act, and their indexes.
    pub(super) acts: Vec<(usize, usize)>,
}

impl Run {
    /// Whether it inserted or deleted an element.
    pub(super) fn works_at(&self, place: usize) -> bool {
        let next = self.spans.partition_point(|(_, to)| *to < place);
        self.spans.get(next).is_some_and(|(from, _)| *from <= place)
    }
}

/// The lines of work on a text.
pub(super) fn runs(order: &Order<'_>) -> Vec<Run> {
    let window = order.window();
    let operations = window.operations();
    let change_of = |index: usize| operations.get(index).map(|operation| operation.change);
    let changes: BTreeSet<usize> = order.acts().iter().filter_map(|(_, index)| change_of(*index)).collect();
    let mut run_of: HashMap<usize, usize> = HashMap::new();
    let mut runs: Vec<Run> = Vec::new();
    for line in lines(window, &changes) {
        let (Some(first), Some(last)) = (line.first(), line.last()) else { continue };
        run_of.extend(line.iter().map(|change| (*change, runs.len())));
        runs.push(Run { first: *first, last: *last, spans: Vec::new(), acts: Vec::new() });
    }
    for (place, index) in order.acts() {
        let run = change_of(*index).and_then(|change| run_of.get(&change)).and_then(|run| runs.get_mut(*run));
        let Some(run) = run else { continue };
        match run.spans.last_mut() {
            Some((_, last)) if *place <= *last + 1 => *last = *place,
            _ => run.spans.push((*place, *place)),
        }
        run.acts.push((*place, *index));
    }
    runs
}

/// Changes in lines of work, these in causal order of their beginnings.
fn lines(window: &Window, changes: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    let mut of_author: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for change in changes {
        of_author.entry(window.author(*change).unwrap_or_default()).or_default().push(*change);
    }
    let authors: Vec<&Vec<usize>> = of_author.values().collect();
    // How many changes of each author each one was made with knowledge of, itself included.
    let knowledge = |change: usize| -> Vec<usize> {
        authors.iter().map(|theirs| theirs.partition_point(|earlier| window.sees(change, *earlier))).collect()
    };
    let known: HashMap<usize, Vec<usize>> =
        changes.iter().map(|change| (*change, knowledge(*change))).collect();
    // Work that others knew the beginning of ends a line.
    let mut cuts: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); authors.len()];
    for (change, known) in &known {
        for ((theirs, cuts), count) in authors.iter().zip(&mut cuts).zip(known) {
            if theirs.binary_search(change).is_err() {
                cuts.insert(*count);
            }
        }
    }
    let knew_the_same = |one: usize, other: usize, author: usize| {
        let (Some(one), Some(other)) = (known.get(&one), known.get(&other)) else { return false };
        one.iter().zip(other).enumerate().all(|(n, (one, other))| n == author || one == other)
    };
    let mut lines: Vec<Vec<usize>> = Vec::new();
    for (author, (theirs, cuts)) in authors.iter().zip(&cuts).enumerate() {
        let mut last = None;
        for (nth, change) in theirs.iter().enumerate() {
            let goes_on =
                last.is_some_and(|last| !cuts.contains(&nth) && knew_the_same(last, *change, author));
            match lines.last_mut() {
                Some(line) if goes_on => line.push(*change),
                _ => lines.push(vec![*change]),
            }
            last = Some(*change);
        }
    }
    lines.sort_unstable();
    lines
}
