//! Documents that three people write, for tests: each works on what it has, and hears of another now and then.

use automerge::transaction::{CommitOptions, Transaction};
use automerge::{ActorId, Automerge};

/// A small generator: the same numbers in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// What three people made of a document in so many turns. `write` makes the change of the turn that it is told.
pub(super) fn life(
    seed: u64,
    born: &Automerge,
    turns: usize,
    write: impl Fn(&mut Transaction<'_>, &mut Numbers, usize),
) -> Automerge {
    let mut numbers = Numbers(seed);
    let mut docs: Vec<Automerge> = (0..3).map(|_| born.clone()).collect();
    for turn in 0..turns {
        let (who, other) = (numbers.below(3), numbers.below(3));
        if numbers.below(3) == 0 && who != other {
            let mut theirs = docs[other].clone();
            docs[who].merge(&mut theirs).unwrap();
        }
        docs[who].set_actor(ActorId::from([who as u8 + 1; 16]));
        let mut tx = docs[who].transaction();
        write(&mut tx, &mut numbers, turn);
        tx.commit_with(at_no_time());
    }
    let mut all = docs[0].clone();
    docs[1..].iter_mut().for_each(|doc| drop(all.merge(doc).unwrap()));
    all
}

/// As every change is committed here, so that two runs make the same bytes.
pub(super) fn at_no_time() -> CommitOptions {
    CommitOptions::default().with_time(0)
}
