//! What the author of a change can have known: everything that its dependencies build on, and nothing else.
//!
//! A change may point at operations of its causal past only. One that points elsewhere would be let in where the other
//! operation happens to be, and refused where it is not, for ever: two devices with the same entries would differ.
//!
//! Where a change is made on all there is, nothing has to be looked at. Else the changes that somebody made without
//! knowledge of its dependencies are read, their metadata alone, and each gets a clock: how far it knows of every actor among
//! them. Clocks are kept for the batch, so that a line of work costs one step for each change.

use super::references::OpRef;
use super::scan::Scanned;
use crate::document;
use automerge::{Automerge, ChangeHash};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use syncd_schema::Digest;

/// Clock entries that are kept for one batch: 32 MiB. Where more would be needed, existence is all that is asked for.
const MOST_ENTRIES: usize = 4 << 20;
/// Changes whose past is what is not read: more are not told apart.
const MOST_ROOTS: usize = 64;

/// How far something knows of those whose changes are told apart.
#[derive(Clone, Debug, Default)]
struct Clock {
    /// By actor the last operation.
    last: Vec<u64>,
    /// Which of the roots it builds on.
    roots: u64,
}

impl Clock {
    fn note(&mut self, actor: usize, last: u64) {
        if self.last.len() <= actor {
            self.last.resize(actor + 1, 0);
        }
        if let Some(known) = self.last.get_mut(actor) {
            *known = last.max(*known);
        }
    }

    fn join(&mut self, other: &Self) {
        self.roots |= other.roots;
        for (actor, last) in other.last.iter().enumerate() {
            self.note(actor, *last);
        }
    }
}

#[derive(Debug)]
struct Node {
    actor: usize,
    last: u64,
    deps: Vec<Digest>,
}

/// The changes of a document and a batch that are told apart, by what they know of each other.
#[derive(Debug, Default)]
pub(crate) struct Pasts {
    /// The heads of document and batch together; none before they are asked for.
    heads: Option<BTreeSet<Digest>>,
    nodes: HashMap<Digest, Node>,
    actors: HashMap<Vec<u8>, usize>,
    /// By actor, the first operation of a change that is told apart.
    first: Vec<u64>,
    clocks: HashMap<Digest, Rc<Clock>>,
    /// What is not told apart is the past of these; none before the document was read.
    roots: Option<Vec<Digest>>,
}

/// What one change can have known.
#[derive(Debug)]
pub(crate) struct Past<'p> {
    pasts: &'p Pasts,
    clock: Clock,
}

impl Past<'_> {
    /// Whether an operation that is here is one of them.
    pub(crate) fn holds(&self, op: OpRef<'_>) -> bool {
        let Some(actor) = self.pasts.actors.get(op.actor).copied() else { return true };
        let of = |numbers: &[u64]| numbers.get(actor).copied().unwrap_or_default();
        op.counter < of(&self.pasts.first) || op.counter <= of(&self.clock.last)
    }
}

impl Pasts {
    /// What a change with these dependencies, which are all here, can have known; none if that is everything.
    pub(crate) fn of(&mut self, doc: Option<&Automerge>, deps: &[Digest]) -> Option<Past<'_>> {
        let heads =
            self.heads.get_or_insert_with(|| doc.map(document::heads).into_iter().flatten().collect());
        if deps.len() == heads.len() && deps.iter().all(|dep| heads.contains(dep)) {
            return None;
        }
        if self.roots.is_none() {
            let here: Vec<Digest> =
                deps.iter().filter(|dep| !self.nodes.contains_key(dep)).copied().collect();
            let roots = if here.is_empty() { doc.map(document::heads).unwrap_or_default() } else { here };
            self.read(doc, roots);
        }
        let mut clock = self.clock(deps)?;
        let roots = self.roots.as_ref().map_or(0, Vec::len);
        if clock.roots.count_ones() as usize != roots {
            // It does not know of all that was taken for common knowledge, so there is none.
            self.read(doc, Vec::new());
            clock = self.clock(deps)?;
        }
        Some(Past { pasts: self, clock })
    }

    /// Notes a change of the batch that was found good.
    pub(crate) fn add(&mut self, scanned: &Scanned) {
        if let Some(heads) = &mut self.heads {
            heads.retain(|head| !scanned.deps.contains(head));
            heads.insert(scanned.hash);
        }
        self.node(scanned.hash, &scanned.actor, (scanned.start_op, scanned.max_op()), scanned.deps.clone());
    }

    /// Reads the changes of a document that were made without knowledge of `roots`: all of them if there are none.
    fn read(&mut self, doc: Option<&Automerge>, roots: Vec<Digest>) {
        let roots = if roots.len() > MOST_ROOTS { Vec::new() } else { roots };
        let known: Vec<ChangeHash> = roots.iter().map(|root| ChangeHash(root.0)).collect();
        for meta in doc.map(|doc| doc.get_changes_meta(&known)).into_iter().flatten() {
            let deps = meta.deps.iter().map(|dep| Digest(dep.0)).collect();
            self.node(Digest(meta.hash.0), meta.actor.to_bytes(), (meta.start_op, meta.max_op), deps);
        }
        self.clocks.clear();
        self.roots = Some(roots);
    }

    fn node(&mut self, hash: Digest, actor: &[u8], (first, last): (u64, u64), deps: Vec<Digest>) {
        let actor = match self.actors.get(actor) {
            Some(actor) => *actor,
            None => {
                self.actors.insert(actor.to_vec(), self.first.len());
                self.first.push(u64::MAX);
                self.first.len() - 1
            }
        };
        if let Some(known) = self.first.get_mut(actor) {
            *known = first.min(*known);
        }
        self.nodes.insert(hash, Node { actor, last, deps });
    }

    /// What several changes know together; none when that is too much to keep.
    fn clock(&mut self, deps: &[Digest]) -> Option<Clock> {
        if self.nodes.len().saturating_mul(self.first.len()) > MOST_ENTRIES {
            return None;
        }
        let mut clock = Clock::default();
        for dep in deps {
            clock.join(&self.clock_of(*dep));
        }
        Some(clock)
    }

    /// What one change knows, itself included. Without recursion: a line of work may be as long as a document.
    fn clock_of(&mut self, hash: Digest) -> Rc<Clock> {
        let mut path = vec![hash];
        while let Some(hash) = path.last().copied() {
            let unknown = |dep: &&Digest| self.nodes.contains_key(dep) && !self.clocks.contains_key(dep);
            let node = self.nodes.get(&hash).filter(|_| !self.clocks.contains_key(&hash));
            let next = node.and_then(|node| node.deps.iter().find(unknown));
            if let Some(next) = next {
                path.push(*next);
                continue;
            }
            if let Some(clock) = node.map(|node| self.clock_on(&hash, node)) {
                self.clocks.insert(hash, Rc::new(clock));
            }
            path.pop();
        }
        match self.clocks.get(&hash) {
            Some(clock) => Rc::clone(clock),
            None => Rc::new(Clock { last: Vec::new(), roots: self.root(&hash) }),
        }
    }

    /// The clock of a change whose dependencies have theirs.
    fn clock_on(&self, hash: &Digest, node: &Node) -> Clock {
        let mut clock = Clock { last: Vec::new(), roots: self.root(hash) };
        for dep in &node.deps {
            match self.clocks.get(dep) {
                Some(known) => clock.join(known),
                None => clock.roots |= self.root(dep),
            }
        }
        clock.note(node.actor, node.last);
        clock
    }

    fn root(&self, hash: &Digest) -> u64 {
        let index = self.roots.iter().flatten().position(|root| root == hash);
        index.map_or(0, |index| 1 << index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::lives::{Numbers, life};
    use crate::guard::scan;
    use automerge::transaction::Transactable;
    use automerge::{Change, ROOT};
    use std::collections::HashSet;

    /// Changes of three people in an order in which they could come.
    fn lives(seed: u64) -> Vec<Change> {
        let all = life(seed, &crate::document::empty(), 40, |tx, numbers, turn| {
            for k in 0..=numbers.below(3) {
                tx.put(ROOT, format!("k{k}"), turn as i64).unwrap();
            }
        });
        all.get_changes(&[])
    }

    fn ancestors(changes: &[Change], deps: &[ChangeHash]) -> HashSet<ChangeHash> {
        let (mut found, mut next) = (HashSet::new(), deps.to_vec());
        while let Some(hash) = next.pop() {
            let change = changes.iter().find(|change| change.hash() == hash).unwrap();
            if found.insert(hash) {
                next.extend(change.deps());
            }
        }
        found
    }

    #[test]
    fn a_past_is_what_the_dependencies_build_on_however_it_is_asked_for() {
        for seed in 0..60 {
            let changes = lives(seed);
            let mut numbers = Numbers(seed + 1_000);
            // A part is in the document, the rest comes in a batch.
            let here = numbers.below(changes.len());
            let mut doc = crate::document::empty();
            doc.apply_changes(changes[..here].to_vec()).unwrap();
            let mut pasts = Pasts::default();
            for change in &changes[here..] {
                let deps: Vec<Digest> = change.deps().iter().map(|dep| Digest(dep.0)).collect();
                let known = ancestors(&changes, change.deps());
                let past = pasts.of(Some(&doc), &deps);
                for other in changes.iter().take_while(|other| other.hash() != change.hash()) {
                    let actor = other.actor_id().to_bytes();
                    for counter in other.start_op().get()..=other.max_op() {
                        let holds = past.as_ref().is_none_or(|past| past.holds(OpRef { counter, actor }));
                        assert_eq!(holds, known.contains(&other.hash()), "seed {seed}, operation {counter}");
                    }
                }
                pasts.add(&scan(change.raw_bytes()).unwrap());
            }
        }
    }
}
