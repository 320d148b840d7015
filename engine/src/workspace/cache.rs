//! Loaded documents, bounded by bytes: memory follows the objects in use, not the objects stored.

use super::ObjectKey;
use automerge::Automerge;
use lru::LruCache;

/// What loaded documents may take together. A small one takes about 18 KiB, so some 250 stay loaded.
pub(crate) const CACHE_BYTES: usize = 5 << 20;

/// A loaded document and an estimate of its memory.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) document: Automerge,
    pub(crate) bytes: usize,
}

/// The cache. It holds committed states only.
#[derive(Debug)]
pub(crate) struct Cache {
    documents: LruCache<ObjectKey, Loaded>,
    bytes: usize,
    budget: usize,
}

impl Cache {
    pub(crate) fn new(budget: usize) -> Self {
        Self { documents: LruCache::unbounded(), bytes: 0, budget }
    }

    /// Takes a document out, to be changed and put back after the commit.
    pub(crate) fn take(&mut self, key: &ObjectKey) -> Option<Loaded> {
        let loaded = self.documents.pop(key)?;
        self.bytes = self.bytes.saturating_sub(loaded.bytes);
        Some(loaded)
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
            if let Some((_, old)) = self.documents.pop_lru() {
                self.bytes = self.bytes.saturating_sub(old.bytes);
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
        (format!("object-{n}").parse().expect("an id"), Incarnation([n; 32]))
    }

    #[test]
    fn the_budget_holds_and_the_largest_document_stays_alone() {
        let mut cache = Cache::new(100);
        for n in 0..10 {
            cache.put(key(n), Loaded { document: Automerge::new(), bytes: 30 });
        }
        assert_eq!((cache.len(), cache.bytes), (3, 90));
        assert!(cache.take(&key(0)).is_none());
        assert!(cache.take(&key(9)).is_some());
        assert_eq!(cache.bytes, 60);
        cache.put(key(20), Loaded { document: Automerge::new(), bytes: 1_000 });
        assert_eq!(cache.len(), 1);
        cache.put(key(21), Loaded { document: Automerge::new(), bytes: 10 });
        assert_eq!((cache.len(), cache.bytes), (1, 10));
    }
}
