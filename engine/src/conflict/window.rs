//! The changes that arrive, those that they were made without, and who knew of whom among them.

use super::operation::{Operation, Slot, operations};
use super::resolution::{Choice, Question, Settlement, place_name};
use super::{Conflict, Side};
use automerge::{Automerge, Change, ChangeHash, ChangeMetadata};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use syncd_schema::Digest;

/// Numbers in all clocks of a window: 128 MiB. A clock has one for each actor of the window, and a hostile author can
/// have as many actors as changes.
pub const MOST_CLOCKS: usize = 16 << 20;

/// One change of a window.
#[derive(Clone, Debug)]
struct Known {
    hash: Digest,
    actor: usize,
    seq: u64,
    /// Of each actor of the window, the last change that this one builds on; itself included.
    clock: Vec<u64>,
    is_new: bool,
}

/// Too many authors worked apart for too long to compare them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{changes} concurrent changes by {actors} actors are more than can be compared")]
pub struct TooWide {
    /// Changes in the window.
    pub changes: usize,
    /// Their actors.
    pub actors: usize,
}

/// What arrives, and whatever is in the document that not all of it has seen.
#[derive(Clone, Debug, Default)]
pub struct Window {
    changes: Vec<Known>,
    operations: Vec<Operation>,
    /// What all that builds on something outside builds on, if that is the same for all.
    base: Option<Vec<ChangeHash>>,
    /// Questions that resolutions among the changes answer, by name, and which changes these are.
    settled: HashMap<Digest, Vec<usize>>,
    /// Changes that were let in together with what takes them back, and what that is.
    withdrawn: HashMap<Digest, Vec<usize>>,
}

impl Window {
    /// The window of some changes of a document, which it calls new. A change outside of it was known to all of them.
    ///
    /// # Errors
    /// When there is more than can be compared.
    pub fn new(doc: &Automerge, new: &BTreeSet<Digest>) -> Result<Self, TooWide> {
        Self::within(doc, new, MOST_CLOCKS)
    }

    /// As [`Window::new`], with so many numbers in all clocks at most.
    ///
    /// # Errors
    /// When there is more than can be compared.
    pub fn within(doc: &Automerge, new: &BTreeSet<Digest>, most: usize) -> Result<Self, TooWide> {
        let arrived: HashSet<ChangeHash> = new.iter().map(|digest| ChangeHash(digest.0)).collect();
        let first = first_changes(doc, &arrived);
        let mut changes: BTreeMap<ChangeHash, Change> = BTreeMap::new();
        for deps in first {
            let unknown = doc.get_changes(&deps);
            changes.extend(unknown.into_iter().map(|change| (change.hash(), change)));
        }
        let changes = in_causal_order(changes);
        let known = clocks(&changes, &arrived, most)?;
        let operations =
            changes.iter().enumerate().flat_map(|(index, change)| operations(change, index)).collect();
        let base = base(&changes);
        let mut settled: HashMap<Digest, Vec<usize>> = HashMap::new();
        let mut withdrawn: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (index, change) in changes.iter().enumerate() {
            if let Some(answer) = Settlement::of_change(change) {
                settled.entry(answer.question.name()).or_default().push(index);
                if let Some(held) = taken_back(change, &answer) {
                    withdrawn.entry(held).or_default().push(index);
                }
            }
        }
        Ok(Self { changes: known, operations, base, settled, withdrawn })
    }

    /// Whether somebody has answered this question.
    pub(super) fn is_answered(&self, question: &Digest) -> bool {
        self.settled.contains_key(question)
    }

    /// Questions that were answered, by name, each with its answers.
    pub(super) fn answered(&self) -> impl Iterator<Item = (&Digest, &Vec<usize>)> {
        self.settled.iter()
    }

    /// Questions that resolutions which arrived are about.
    pub(super) fn newly_settled(&self) -> impl Iterator<Item = Digest> {
        let is_new = |index: &usize| self.is_new_change(*index);
        self.settled.iter().filter(move |(_, by)| by.iter().any(is_new)).map(|(question, _)| *question)
    }

    /// Whether the change of an operation was let in together with what takes it back: then it competes with nothing.
    pub(super) fn is_withdrawn(&self, operation: &Operation) -> bool {
        let change = || self.changes.get(operation.change);
        !self.withdrawn.is_empty() && change().is_some_and(|change| self.withdrawn.contains_key(&change.hash))
    }

    /// Whether what takes back the change of `one` was made with knowledge of `other`.
    pub(super) fn is_withdrawn_beside(&self, one: &Operation, other: &Operation) -> bool {
        let by = self.changes.get(one.change).and_then(|change| self.withdrawn.get(&change.hash));
        by.into_iter().flatten().any(|answer| self.sees(*answer, other.change))
    }

    /// Changes that were taken back by what arrived.
    pub(super) fn newly_withdrawn(&self) -> impl Iterator<Item = Digest> {
        let is_new = |index: &usize| self.is_new_change(*index);
        self.withdrawn.iter().filter(move |(_, by)| by.iter().any(is_new)).map(|(change, _)| *change)
    }

    /// Whether a change writes into the slot that a question is about.
    pub(super) fn writes_at(&self, change: usize, question: &Digest) -> bool {
        let mut own = self.operations.iter().filter(|operation| operation.change == change);
        own.any(|operation| operation.is_write() && place_name(&operation.slot) == *question)
    }

    /// Whether somebody who knew of both operations has decided what is to be in this place.
    #[must_use]
    pub fn is_settled(&self, place: &Slot, one: &Operation, other: &Operation) -> bool {
        if self.settled.is_empty() {
            return false;
        }
        let by = self.settled.get(&place_name(place)).into_iter().flatten();
        let mut by = by.filter_map(|index| self.changes.get(*index));
        by.any(|decision| {
            let knew = |operation: &Operation| {
                self.changes.get(operation.change).is_some_and(|change| {
                    change.hash != decision.hash
                        && decision.clock.get(change.actor).is_some_and(|seq| *seq >= change.seq)
                })
            };
            knew(one) && knew(other)
        })
    }

    /// The smallest window with these changes of which nothing is concurrent with anything outside.
    ///
    /// # Errors
    /// When there is more than can be compared.
    pub fn closed(doc: &Automerge, new: &BTreeSet<Digest>) -> Result<Self, TooWide> {
        let window = Self::new(doc, new)?;
        if window.is_closed() {
            return Ok(window);
        }
        Self::new(doc, &since_all_was_known(doc, new))
    }

    /// Whether all of its changes knew all that is outside of it, so that nothing outside is concurrent with any.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.base.is_some()
    }

    /// The heads of all that is outside of a closed window.
    #[must_use]
    pub fn base(&self) -> &[ChangeHash] {
        self.base.as_deref().unwrap_or_default()
    }

    /// Whether a change was made with knowledge of another, or is it.
    #[must_use]
    pub fn sees(&self, later: usize, earlier: usize) -> bool {
        let (Some(later), Some(earlier)) = (self.changes.get(later), self.changes.get(earlier)) else {
            return false;
        };
        later.clock.get(earlier.actor).is_some_and(|seq| *seq >= earlier.seq)
    }

    /// A change's hash.
    pub(super) fn hash(&self, change: usize) -> Option<Digest> {
        self.changes.get(change).map(|change| change.hash)
    }

    /// The number of a change's author among those of the window.
    #[must_use]
    pub fn author(&self, change: usize) -> Option<usize> {
        self.changes.get(change).map(|change| change.actor)
    }

    /// All operations, in causal order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether an operation arrived, and was not in the document before.
    #[must_use]
    pub fn is_new(&self, operation: &Operation) -> bool {
        self.is_new_change(operation.change)
    }

    /// Whether a change arrived, and was not in the document before.
    #[must_use]
    pub fn is_new_change(&self, change: usize) -> bool {
        self.changes.get(change).is_some_and(|change| change.is_new)
    }

    /// Whether the author of `later` knew of `earlier`, or had just made it.
    #[must_use]
    pub fn knew(&self, later: &Operation, earlier: &Operation) -> bool {
        if later.change == earlier.change {
            return earlier.name.counter < later.name.counter;
        }
        let (Some(later), Some(earlier)) = (self.changes.get(later.change), self.changes.get(earlier.change))
        else {
            return false;
        };
        later.clock.get(earlier.actor).is_some_and(|seq| *seq >= earlier.seq)
    }

    /// Whether two operations were made without knowledge of each other.
    #[must_use]
    pub fn are_concurrent(&self, one: &Operation, other: &Operation) -> bool {
        one.name != other.name && !self.knew(one, other) && !self.knew(other, one)
    }

    /// Changes of the window in lines of work, each in causal order: whatever was made with knowledge of another is in
    /// the line of that.
    pub(super) fn lines(&self, of: &BTreeSet<Digest>) -> Vec<Vec<Digest>> {
        let mut lines: Vec<Vec<&Known>> = Vec::new();
        for change in self.changes.iter().filter(|change| of.contains(&change.hash)) {
            let knew =
                |earlier: &&Known| change.clock.get(earlier.actor).is_some_and(|seq| *seq >= earlier.seq);
            let (mut line, others): (Vec<_>, Vec<_>) =
                lines.into_iter().partition(|line| line.iter().any(&knew));
            lines = others;
            let mut joined: Vec<&Known> = line.drain(..).flatten().collect();
            joined.push(change);
            lines.push(joined);
        }
        lines.into_iter().map(|line| line.into_iter().map(|change| change.hash).collect()).collect()
    }

    pub(super) fn side(&self, operation: usize) -> Option<Side> {
        let operation = self.operations.get(operation)?;
        let change = self.changes.get(operation.change)?;
        Some(Side { operation: operation.name.clone(), change: change.hash })
    }
}

/// The change that an answer takes back. Answers to answers build on these, and not on what those were about.
fn taken_back(change: &Change, answer: &Settlement) -> Option<Digest> {
    let Question::Change(held) = &answer.question else { return None };
    let is_about = change.deps().iter().any(|dep| dep.0 == held.0);
    (is_about && answer.choice != Choice::Remote).then_some(*held)
}

/// Each change after those that it builds on, and else by number and hash. Operations are numbered from beyond those of the
/// dependencies, so numbers alone would do, but for changes without operations: what builds on one begins with its number.
fn in_causal_order(changes: BTreeMap<ChangeHash, Change>) -> Vec<Change> {
    let mut sorted: Vec<&Change> = changes.values().collect();
    sorted.sort_unstable_by_key(|change| (change.start_op(), change.hash()));
    let mut placed: HashSet<ChangeHash> = HashSet::with_capacity(sorted.len());
    let mut order: Vec<ChangeHash> = Vec::with_capacity(sorted.len());
    for change in sorted {
        let mut stack = vec![change];
        while let Some(next) = stack.last() {
            let missing = next.deps().iter().find(|dep| !placed.contains(*dep) && changes.contains_key(*dep));
            match missing.and_then(|dep| changes.get(dep)) {
                Some(dep) => stack.push(dep),
                None => {
                    if placed.insert(next.hash()) {
                        order.push(next.hash());
                    }
                    stack.pop();
                }
            }
        }
    }
    let mut changes = changes;
    order.iter().filter_map(|hash| changes.remove(hash)).collect()
}

/// What the first of the arrived changes build on: each set once.
fn first_changes(doc: &Automerge, arrived: &HashSet<ChangeHash>) -> BTreeSet<Vec<ChangeHash>> {
    let deps = arrived.iter().filter_map(|hash| Some(doc.get_change_meta_by_hash(hash)?.deps.to_vec()));
    deps.filter(|deps| deps.iter().all(|dep| !arrived.contains(dep))).collect()
}

/// Whether a change was made with knowledge of all sides of a conflict.
pub(super) fn knows_all(doc: &Automerge, change: &Digest, conflict: &Conflict) -> bool {
    let unknown = doc.get_changes_meta(&[ChangeHash(change.0)]);
    let unknown: HashSet<ChangeHash> = unknown.iter().map(|change| change.hash).collect();
    !conflict.sides.iter().any(|side| side.change == *change || unknown.contains(&ChangeHash(side.change.0)))
}

/// Whether what arrived is one chain on top of all there was, so that nothing in it can contradict anything.
pub fn is_linear(doc: &Automerge, arrived: &[Digest]) -> bool {
    let arrived: HashSet<ChangeHash> = arrived.iter().map(|digest| ChangeHash(digest.0)).collect();
    let first = first_changes(doc, &arrived);
    let mut first = first.iter();
    let (Some(deps), None) = (first.next(), first.next()) else { return false };
    let mut unknown = doc.get_changes_meta(deps);
    unknown.sort_unstable_by_key(|change| change.max_op);
    let mut heads = deps.clone();
    unknown.len() == arrived.len()
        && unknown.iter().all(|change| {
            let follows = arrived.contains(&change.hash) && *change.deps == *heads;
            heads = vec![change.hash];
            follows
        })
}

/// What all changes that build on something outside build on, if it is the same.
fn base(changes: &[Change]) -> Option<Vec<ChangeHash>> {
    let inside: HashSet<ChangeHash> = changes.iter().map(Change::hash).collect();
    let outside = |change: &&Change| change.deps().iter().any(|dep| !inside.contains(dep));
    let mut first = changes.iter().filter(outside).map(Change::deps);
    let Some(deps) = first.next() else { return Some(Vec::new()) };
    let is_same = deps.iter().all(|dep| !inside.contains(dep)) && first.all(|other| other == deps);
    (is_same && changes.iter().all(|change| !change.deps().is_empty())).then(|| deps.to_vec())
}

/// The changes from the last moment on, before the given ones, of which everything later knew everything earlier.
fn since_all_was_known(doc: &Automerge, new: &BTreeSet<Digest>) -> BTreeSet<Digest> {
    let mut all = doc.get_changes_meta(&[]);
    all.sort_unstable_by_key(|change| (change.start_op, change.hash));
    let places: HashMap<ChangeHash, usize> =
        all.iter().enumerate().map(|(place, change)| (change.hash, place)).collect();
    // How long a beginning of this order holds all that each was made with knowledge of.
    let known = |change: &ChangeMetadata<'_>| {
        change.deps.iter().filter_map(|dep| places.get(dep)).max().map_or(0, |last| last + 1)
    };
    let mut builders: HashMap<usize, Vec<&ChangeMetadata<'_>>> = HashMap::new();
    all.iter().for_each(|change| builders.entry(known(change)).or_default().push(change));
    // Where nothing later builds only on what is before: there all may have been known to all.
    let (mut moments, mut least) = (HashSet::new(), usize::MAX);
    for (place, change) in all.iter().enumerate().rev() {
        least = least.min(known(change));
        if least == place {
            moments.insert(place);
        }
    }
    let mut heads: BTreeSet<ChangeHash> = BTreeSet::new();
    let mut since = 0;
    for (place, change) in all.iter().enumerate() {
        let knows_all = |change: &&ChangeMetadata<'_>| {
            change.deps.len() == heads.len() && change.deps.iter().all(|dep| heads.contains(dep))
        };
        if moments.contains(&place) && builders.get(&place).into_iter().flatten().all(knows_all) {
            since = place;
        }
        if new.contains(&Digest(change.hash.0)) {
            break;
        }
        heads.retain(|head| !change.deps.contains(head));
        heads.insert(change.hash);
    }
    all.iter().skip(since).map(|change| Digest(change.hash.0)).collect()
}

fn clocks(changes: &[Change], arrived: &HashSet<ChangeHash>, most: usize) -> Result<Vec<Known>, TooWide> {
    let mut actors: HashMap<&[u8], usize> = HashMap::new();
    for change in changes {
        let next = actors.len();
        actors.entry(change.actor_id().to_bytes()).or_insert(next);
    }
    if changes.len().saturating_mul(actors.len()) > most {
        return Err(TooWide { changes: changes.len(), actors: actors.len() });
    }
    let mut places: HashMap<ChangeHash, usize> = HashMap::with_capacity(changes.len());
    let mut known: Vec<Known> = Vec::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        let mut clock = vec![0; actors.len()];
        for dep in change.deps().iter().filter_map(|dep| known.get(*places.get(dep)?)) {
            clock.iter_mut().zip(&dep.clock).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
        let actor = actors.get(change.actor_id().to_bytes()).copied().unwrap_or_default();
        if let Some(own) = clock.get_mut(actor) {
            *own = change.seq();
        }
        places.insert(change.hash(), index);
        let hash = Digest(change.hash().0);
        known.push(Known { hash, actor, seq: change.seq(), clock, is_new: arrived.contains(&change.hash()) });
    }
    Ok(known)
}
