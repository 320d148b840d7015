//! The Merkle tree of an append-only log (RFC 6962 section 2.1), kept as its right edge, and proofs about it.
//!
//! A writer needs only the roots of the perfect subtrees on the right edge, at most one per bit of the size, to
//! append and to know the root: a few hundred bytes however long the log is. Proofs are made from leaf hashes,
//! which whoever stores the log has. Hashing and proofs are `tlog_tiles`'; this file adds the edge, because the
//! library's own way of appending asks a reader for hashes and allocates three lists per leaf.
//!
//! Start with [`Tree`].

use minicbor::{Decode, Decoder, Encode, Encoder};
use syncd_schema::{Digest, LogSeq};
use tlog_tiles::{EMPTY_HASH, Hash, HashReader};

/// The largest size a decoded tree may claim: no log comes near it, and sizes below it leave arithmetic room.
const SIZE_MAX: u64 = 1 << 62;

/// The most hashes a proof can need: one per level on either side of the path in a tree of 64 levels, one more
/// for where the path begins. Checked first because the library copies the proof once per level.
const PROOF_HASHES: usize = 65;

/// The leaf hash of an entry's or a record's bytes: `SHA-256(0x00 || bytes)`.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    Digest(tlog_tiles::record_hash(bytes).0)
}

/// The tree of a log, as the roots of its perfect subtrees, largest first.
///
/// Encoded as the array `[size, [hash, ...]]`. The number of hashes always equals the number of ones in the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    edge: Vec<Digest>,
}

impl Tree {
    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        // Each one at the low end of the size is a perfect subtree that the new leaf completes to a larger one.
        let completed = self.size.trailing_ones() as usize;
        let kept = self.edge.len().saturating_sub(completed);
        let joined = self.edge.drain(kept..).rev().fold(Hash(leaf.0), |right, left| node(left, right));
        self.edge.push(Digest(joined.0));
        // Saturating: from at most SIZE_MAX, no machine appends often enough to get there.
        self.size = self.size.saturating_add(1);
    }

    /// Appends the leaf of an entry's or a record's bytes.
    pub fn append_entry(&mut self, bytes: &[u8]) {
        self.append(leaf_hash(bytes));
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn size(&self) -> LogSeq {
        LogSeq(self.size)
    }

    /// The root over all leaves; of the empty tree, SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut smallest_first = self.edge.iter().rev();
        let Some(last) = smallest_first.next() else { return Digest(EMPTY_HASH.0) };
        Digest(smallest_first.fold(Hash(last.0), |right, left| node(*left, right)).0)
    }
}

impl Extend<Digest> for Tree {
    fn extend<I: IntoIterator<Item = Digest>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.append(leaf));
    }
}

fn node(left: Digest, right: Hash) -> Hash {
    tlog_tiles::node_hash(Hash(left.0), right)
}

impl<C> Encode<C> for Tree {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?.u64(self.size)?;
        self.edge.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Tree {
    fn decode(d: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let wrong = |rule| Err(minicbor::decode::Error::message(rule).at(at));
        if d.array()? != Some(2) {
            return wrong("a tree is an array of its size and its edge");
        }
        let size = d.u64()?;
        if size > SIZE_MAX {
            return wrong("a tree of more than 2^62 leaves");
        }
        // Checked before reading them, so that what is allocated follows the size and not the claim.
        let hashes = u64::from(size.count_ones());
        if d.array()? != Some(hashes) {
            return wrong("a tree has one edge hash for each one in its size");
        }
        let edge = (0..hashes).map(|_| Digest::decode(d, ctx)).collect::<Result<_, _>>()?;
        Ok(Self { size, edge })
    }
}

/// Why no proof can be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildProofError {
    /// The leaf is not in the tree.
    #[error("there is no leaf {index} in a tree of {size}")]
    NoLeaf {
        /// The leaf asked for.
        index: LogSeq,
        /// Leaves given.
        size: usize,
    },
    /// The tree said to be older is larger.
    #[error("a tree of {size} leaves was never one of {old_size}")]
    NotOlder {
        /// The size said to be older.
        old_size: LogSeq,
        /// Leaves given.
        size: usize,
    },
    /// The library refused for a reason of its own.
    #[error("cannot build the proof")]
    Tree {
        /// What it said.
        #[source]
        source: tlog_tiles::Error,
    },
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerifyProofError {
    /// More hashes than any proof needs.
    #[error("a proof of {found} hashes, no proof has more than {PROOF_HASHES}")]
    TooLong {
        /// Hashes given.
        found: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Rejected {
        /// What the library said.
        #[source]
        source: tlog_tiles::Error,
    },
}

/// The hashes that lead from leaf `index` to the root over all `leaves`.
///
/// # Errors
/// When there is no such leaf.
pub fn inclusion_proof(leaves: &[Digest], index: LogSeq) -> Result<Vec<Digest>, BuildProofError> {
    let size = leaves.len();
    if index.0 >= size as u64 {
        return Err(BuildProofError::NoLeaf { index, size });
    }
    tlog_tiles::prove_record(size as u64, index.0, &Leaves(leaves))
        .map(digests)
        .map_err(|source| BuildProofError::Tree { source })
}

/// The hashes that show the tree over all `leaves` to extend the one over the first `old_size`. None are needed
/// from the empty tree or from the same one.
///
/// # Errors
/// When there are fewer leaves than `old_size`.
pub fn consistency_proof(leaves: &[Digest], old_size: LogSeq) -> Result<Vec<Digest>, BuildProofError> {
    let size = leaves.len();
    if old_size.0 > size as u64 {
        return Err(BuildProofError::NotOlder { old_size, size });
    }
    if old_size.0 == 0 {
        return Ok(Vec::new());
    }
    tlog_tiles::prove_tree(size as u64, old_size.0, &Leaves(leaves))
        .map(digests)
        .map_err(|source| BuildProofError::Tree { source })
}

/// Checks that the tree of `size` leaves with this root has `leaf` at `index`.
///
/// The root does not cover the size: take both from one verified checkpoint.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_inclusion(
    proof: &[Digest],
    size: LogSeq,
    root: Digest,
    index: LogSeq,
    leaf: Digest,
) -> Result<(), VerifyProofError> {
    let proof = hashes(proof)?;
    tlog_tiles::check_record(&proof, size.0, Hash(root.0), index.0, Hash(leaf.0))
        .map_err(|source| VerifyProofError::Rejected { source })
}

/// Checks that the tree of `new_size` leaves with root `new_root` begins with the leaves of the old one.
///
/// # Errors
/// When the proof does not show it.
pub fn verify_consistency(
    proof: &[Digest],
    old_size: LogSeq,
    old_root: Digest,
    new_size: LogSeq,
    new_root: Digest,
) -> Result<(), VerifyProofError> {
    let proof = hashes(proof)?;
    let rejected = |source| VerifyProofError::Rejected { source };
    if old_size.0 == 0 {
        // RFC 6962 leaves this case out. Every tree extends the empty one, which has one root only.
        let empty = Digest(EMPTY_HASH.0);
        let holds = proof.is_empty() && old_root == empty && (new_size.0 > 0 || new_root == empty);
        return if holds { Ok(()) } else { Err(rejected(tlog_tiles::Error::InvalidProof)) };
    }
    tlog_tiles::check_tree(&proof, new_size.0, Hash(new_root.0), old_size.0, Hash(old_root.0))
        .map_err(rejected)
}

fn digests(hashes: Vec<Hash>) -> Vec<Digest> {
    hashes.into_iter().map(|hash| Digest(hash.0)).collect()
}

fn hashes(proof: &[Digest]) -> Result<Vec<Hash>, VerifyProofError> {
    if proof.len() > PROOF_HASHES {
        return Err(VerifyProofError::TooLong { found: proof.len() });
    }
    Ok(proof.iter().map(|digest| Hash(digest.0)).collect())
}

/// Gives the library inner hashes of a tree of which only the leaves are stored, by hashing them again.
struct Leaves<'a>(&'a [Digest]);

impl Leaves<'_> {
    fn subtree(&self, stored: u64) -> Option<Hash> {
        let (level, n) = tlog_tiles::split_stored_hash_index(stored);
        let width = 1_u64.checked_shl(level.into())?;
        let first = n.checked_mul(width)?;
        let end = first.checked_add(width)?;
        let leaves = self.0.get(usize::try_from(first).ok()?..usize::try_from(end).ok()?)?;
        let mut tree = Tree::default();
        tree.extend(leaves.iter().copied());
        Some(Hash(tree.root().0))
    }
}

impl HashReader for Leaves<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let found = indexes.iter().map(|index| self.subtree(*index));
        found.map(|hash| hash.ok_or(tlog_tiles::Error::IndexesNotInTree)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syncd_schema::cbor;

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::default();
        (0..size).for_each(|i| tree.append_entry(&i.to_be_bytes()));
        tree
    }

    #[test]
    fn the_edge_has_one_hash_for_each_one_in_the_size() {
        for size in 0..200_u64 {
            let tree = tree(size);
            assert_eq!(tree.size(), LogSeq(size));
            assert_eq!(tree.edge.len(), size.count_ones() as usize);
        }
    }

    #[test]
    fn a_tree_comes_back_from_its_bytes_and_goes_on() {
        for size in [0, 1, 2, 3, 7, 8, 100] {
            let mut original = tree(size);
            let bytes = cbor::encode(&original);
            let mut copy: Tree = cbor::decode("tree", &bytes, 4_096).expect("decodes");
            assert_eq!(copy, original);
            copy.append_entry(b"next");
            original.append_entry(b"next");
            assert_eq!(copy.root(), original.root());
            assert_ne!(copy.root(), tree(size).root());
        }
    }

    #[test]
    fn a_tree_with_a_hash_too_few_or_too_many_is_refused() {
        for (size, hashes) in [(3, 1), (3, 3), (0, 1), (1, 0), (u64::MAX, 64)] {
            let forged = Tree { size, edge: vec![Digest([1; 32]); hashes] };
            let decoded: Result<Tree, _> = cbor::decode("tree", &cbor::encode(&forged), 4_096);
            // By the tree's own rule, and not because re-encoding happens to differ.
            let refused = matches!(decoded, Err(cbor::CborError::Malformed { .. }));
            assert!(refused, "size {size} with {hashes} hashes");
        }
    }

    #[test]
    fn proofs_about_what_is_not_there_are_not_made() {
        let leaves = [leaf_hash(b"a"), leaf_hash(b"b")];
        assert!(matches!(inclusion_proof(&leaves, LogSeq(2)), Err(BuildProofError::NoLeaf { .. })));
        assert!(matches!(inclusion_proof(&[], LogSeq(0)), Err(BuildProofError::NoLeaf { .. })));
        assert!(matches!(consistency_proof(&leaves, LogSeq(3)), Err(BuildProofError::NotOlder { .. })));
    }

    #[test]
    fn every_tree_extends_the_empty_one_and_nothing_else_has_its_root() {
        let (empty, some) = (Tree::default().root(), tree(5).root());
        let zero = LogSeq(0);
        assert!(verify_consistency(&[], zero, empty, LogSeq(5), some).is_ok());
        assert!(verify_consistency(&[], zero, empty, zero, empty).is_ok());
        assert!(verify_consistency(&[], zero, some, LogSeq(5), some).is_err());
        assert!(verify_consistency(&[], zero, empty, zero, some).is_err());
        assert!(verify_consistency(&[some], zero, empty, LogSeq(5), some).is_err());
    }

    #[test]
    fn claims_at_the_edge_of_the_numbers_are_answered_not_panicked_at() {
        let (root, many) = (Digest([7; 32]), vec![Digest([9; 32]); PROOF_HASHES]);
        for size in [0, 1, 2, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, u64::MAX - 1, u64::MAX] {
            for other in [0, 1, (1 << 63) - 1, 1 << 63, u64::MAX - 1, u64::MAX] {
                for proof in [&many[..], &many[..63], &many[..64], &[]] {
                    assert!(verify_inclusion(proof, LogSeq(size), root, LogSeq(other), many[0]).is_err());
                    assert!(verify_consistency(proof, LogSeq(other), many[0], LogSeq(size), root).is_err());
                }
            }
        }
        let long = vec![root; PROOF_HASHES + 1];
        let answer = verify_inclusion(&long, LogSeq(u64::MAX), root, LogSeq(0), root);
        assert!(matches!(answer, Err(VerifyProofError::TooLong { found: 66 })));
    }
}
