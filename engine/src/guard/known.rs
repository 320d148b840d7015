//! Indexes of documents, kept beside them: made when first needed, grown by what is new, forgotten when memory is short.

use super::index::Index;
use super::quiet;
use super::refused::{Reason, Refused};
use super::{saved, scan, semantics};
use automerge::{Automerge, ChangeHash};
use lru::LruCache;

/// Memory for all of them: ten texts with a hundred thousand keystrokes by several people each, or thousands of records.
const BUDGET: usize = 32 << 20;

/// The indexes of the documents that were written to last, by the document's number in the store.
#[derive(Debug)]
pub(crate) struct Indexes {
    kept: LruCache<u64, Index>,
    bytes: usize,
}

impl Default for Indexes {
    fn default() -> Self {
        Self { kept: LruCache::unbounded(), bytes: 0 }
    }
}

impl Indexes {
    pub(crate) fn take(&mut self, document: u64) -> Option<Index> {
        let index = self.kept.pop(&document)?;
        self.bytes = self.bytes.saturating_sub(index.bytes());
        Some(index)
    }

    pub(crate) fn keep(&mut self, document: u64, index: Index) {
        self.take(document);
        self.bytes += index.bytes();
        self.kept.put(document, index);
        while self.bytes > BUDGET
            && let Some((_, oldest)) = self.kept.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }
}

/// The index of a document, from one of what it was before, if there is one.
///
/// # Errors
/// When the document cannot be read, which a document of this device always can.
pub(super) fn of(doc: Option<&Automerge>, known: Option<Index>) -> Result<Index, Refused> {
    let Some(doc) = doc else { return Ok(Index::default()) };
    match known {
        Some(index) if index.is_of(Some(doc)) => Ok(index),
        Some(index) => match quiet::catch(|| grown(doc, index)) {
            Ok(Some(index)) => Ok(index),
            _ => read(doc),
        },
        None => read(doc),
    }
}

fn read(doc: &Automerge) -> Result<Index, Refused> {
    quiet::catch(|| saved::read(doc)).unwrap_or_else(|at| Err(Reason::Panicked { at }.into()))
}

/// An index with what a document has got since; none when it is of another past.
fn grown(doc: &Automerge, mut index: Index) -> Option<Index> {
    let heads: Vec<ChangeHash> = index.heads().iter().map(|head| ChangeHash(head.0)).collect();
    if heads.iter().any(|head| doc.get_change_meta_by_hash(head).is_none()) {
        return None;
    }
    for change in doc.get_changes(&heads) {
        let (scanned, layout) = scan::layout(change.raw_bytes()).ok()?;
        semantics::check(&mut index, &scanned, &layout).ok()?;
    }
    index.begin();
    index.is_of(Some(doc)).then_some(index)
}
