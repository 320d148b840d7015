//! Loaded documents, bounded by bytes: memory follows the objects in use, not the objects stored.
//!
//! The budget adapts as the lists of ARC do (Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead Replacement Cache",
//! FAST 2003): a document that is asked for again soon after it was dropped shows that the budget is too small for
//! what is in use; one that was never here shows nothing but a walk over many, which more memory would not help.

use super::ObjectKey;
use crate::store::rows::ObjectRow;
use automerge::Automerge;
use lru::LruCache;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;

/// What loaded documents may always take together. A small one takes about 18 KiB, so some 250 stay loaded.
const LEAST_BYTES: usize = 5 << 20;
/// What they may take when they are asked for again and again: some 1,300 small ones.
const MOST_BYTES: usize = 24 << 20;
/// Dropped documents that are remembered, by a hash of their name.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2_047);
/// By how much a document that was not here lately makes the budget smaller.
const SHRINK_BYTES: usize = 4 << 10;

/// A loaded document and an estimate of its memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) document: Box<Automerge>,
    /// Its row, if a commit of this run has written it.
    pub(crate) row: Option<ObjectRow>,
    pub(crate) bytes: usize,
}

/// The cache. It holds committed states only.
#[derive(Debug)]
pub(crate) struct Cache {
    documents: LruCache<ObjectKey, Loaded>,
    bytes: usize,
    budget: usize,
    least: usize,
    most: usize,
    /// Documents dropped lately, and what they took.
    dropped: LruCache<u64, usize>,
    hasher: RandomState,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Self::within(LEAST_BYTES, MOST_BYTES)
    }

    fn within(least: usize, most: usize) -> Self {
        Self {
            documents: LruCache::unbounded(),
            bytes: 0,
            budget: least,
            least,
            most,
            dropped: LruCache::new(REMEMBERED),
            hasher: RandomState::new(),
        }
    }

    /// Takes a document out, to be changed and put back after the commit.
    pub(crate) fn take(&mut self, key: &ObjectKey) -> Option<Loaded> {
        let Some(loaded) = self.documents.pop(key) else {
            self.adapt(key);
            return None;
        };
        self.bytes = self.bytes.saturating_sub(loaded.bytes);
        Some(loaded)
    }

    /// The row of a loaded document, if it is known.
    pub(crate) fn row(&self, key: &ObjectKey) -> Option<&ObjectRow> {
        self.documents.peek(key)?.row.as_ref()
    }

    /// Learns from a document that is not here.
    fn adapt(&mut self, key: &ObjectKey) {
        let budget = match self.dropped.pop(&self.hasher.hash_one(key)) {
            Some(bytes) => self.budget.saturating_add(bytes),
            None => self.budget.saturating_sub(SHRINK_BYTES),
        };
        self.budget = budget.clamp(self.least, self.most);
    }

    /// Puts a committed document in; the least recently used ones make room.
    pub(crate) fn put(&mut self, key: ObjectKey, loaded: Loaded) {
        if loaded.bytes > self.budget {
            // Larger than everything else together may be: it alone stays, or each edit of it would load it.
            self.documents.clear();
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(loaded.bytes);
        if let Some(old) = self.documents.put(key, loaded) {
            self.bytes = self.bytes.saturating_sub(old.bytes);
        }
        while self.bytes > self.budget && self.documents.len() > 1 {
            if let Some((key, old)) = self.documents.pop_lru() {
                self.bytes = self.bytes.saturating_sub(old.bytes);
                self.dropped.put(self.hasher.hash_one(&key), old.bytes);
            }
        }
    }

    /// How many documents are loaded.
    pub(crate) fn len(&self) -> usize {
        self.documents.len()
    }
}

/// Roughly what a document takes in memory: the fixed part, its changes' metadata, and its operations, of which a
/// change's bytes hold about one per eight.
pub(crate) const fn estimate(changes: u64, bytes: u64) -> usize {
    (14 << 10) + (changes as usize).saturating_mul(350) + (bytes as usize).saturating_mul(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncd_schema::Incarnation;

    fn key(n: u8) -> ObjectKey {
        let collection = "notes".parse().expect("a name");
        (format!("object-{n}").parse().expect("an id"), collection, Incarnation([n; 32]))
    }

    fn loaded(bytes: usize) -> Loaded {
        Loaded { document: Box::default(), row: None, bytes }
    }

    #[test]
    fn the_budget_holds_and_the_largest_document_stays_alone() {
        let mut cache = Cache::within(100, 100);
        for n in 0..10 {
            cache.put(key(n), loaded(30));
        }
        assert_eq!((cache.len(), cache.bytes), (3, 90));
        assert!(cache.take(&key(0)).is_none());
        assert!(cache.take(&key(9)).is_some());
        assert_eq!(cache.bytes, 60);
        cache.put(key(20), loaded(1_000));
        assert_eq!(cache.len(), 1);
        cache.put(key(21), loaded(10));
        assert_eq!((cache.len(), cache.bytes), (1, 10));
    }

    #[test]
    fn documents_in_use_earn_a_larger_budget_and_a_walk_over_many_takes_it_back() {
        let (least, most) = (20 * SHRINK_BYTES, 60 * SHRINK_BYTES);
        let mut cache = Cache::within(least, most);
        let mut ask = |n: u8| {
            let held = cache.take(&key(n));
            let hit = held.is_some();
            cache.put(key(n), held.unwrap_or(loaded(SHRINK_BYTES)));
            (hit, cache.bytes)
        };
        // Forty in turn, where twenty fit: a cache of fixed size would never hold the one that is asked for next.
        let rounds: Vec<usize> = (0..4).map(|_| (0..40).filter(|n| ask(*n).0).count()).collect();
        assert_eq!(rounds.first(), Some(&0));
        assert_eq!(rounds.last(), Some(&40), "{rounds:?}");
        let walk = (100..250).map(|n| ask(n).1).last();
        assert_eq!(walk, Some(least));
    }
}
