//! Known answers and properties of the evidence formats, through the public API alone: roots and proofs of the
//! Certificate Transparency reference tests, a signed note kept as a file, and trees compared with a plain
//! transcription of RFC 6962.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)] // A test fails by panicking.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use syncd_evidence::merkle::{
    consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion,
};
use syncd_evidence::{
    Checkpoint, Coverage, CoveredLog, DeviceKey, Finding, FindingKind, Outcome, Record, RecordKind, Severity,
    Tree,
};
use syncd_schema::{
    DeviceId, Digest, Epoch, LogId, LogSeq, OperationId, OperationType, UnixMicros, WorkspaceId, cbor, domain,
};

/// Leaves of the reference tests of Certificate Transparency (`merkle_tree_test.cc`).
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// The roots over the first 0 to 8 of them.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn digest(hex: &str) -> Digest {
    hex.parse().expect("a digest in hex")
}

fn reference_leaves() -> Vec<Digest> {
    LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect()
}

fn numbered_leaves(size: u64) -> Vec<Digest> {
    (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn root(leaves: &[Digest]) -> Digest {
    let mut tree = Tree::default();
    tree.extend(leaves.iter().copied());
    tree.root()
}

/// MTH of RFC 6962 section 2.1, word for word, on another SHA-256 than the library's.
fn plain_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest(Sha256::digest(b"").into()),
        [leaf] => *leaf,
        _ => {
            let k = 1 << (leaves.len() - 1).ilog2();
            let (left, right) = (plain_root(&leaves[..k]), plain_root(&leaves[k..]));
            let mut hasher = Sha256::new();
            hasher.update([1]);
            hasher.update(left.as_bytes());
            hasher.update(right.as_bytes());
            Digest(hasher.finalize().into())
        }
    }
}

fn with_bit_flipped(proof: &[Digest], hash: usize, bit: usize) -> Vec<Digest> {
    let mut altered = proof.to_vec();
    altered[hash].0[bit / 8] ^= 1 << (bit % 8);
    altered
}

#[test]
fn roots_are_those_of_the_reference_tests() {
    let mut tree = Tree::default();
    assert_eq!(tree.root(), digest(ROOTS[0]));
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        tree.append_entry(&hex::decode(leaf).unwrap());
        assert_eq!(tree.root(), digest(root), "size {}", tree.size());
    }
}

#[test]
fn proofs_are_those_of_the_reference_tests() {
    let leaves = reference_leaves();
    let inclusion = [
        digest("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"),
        digest("5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"),
        digest("6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"),
    ];
    assert_eq!(inclusion_proof(&leaves, LogSeq(0)).unwrap(), inclusion);
    let consistency = [
        digest("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"),
        digest("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
        digest("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ];
    assert_eq!(consistency_proof(&leaves, LogSeq(6)).unwrap(), consistency);
}

#[test]
fn every_inclusion_proof_verifies_and_no_altered_one_does() {
    for size in 1..=64 {
        let leaves = numbered_leaves(size);
        let (root, size) = (root(&leaves), LogSeq(size));
        for (index, leaf) in leaves.iter().enumerate() {
            let at = LogSeq(index as u64);
            let proof = inclusion_proof(&leaves, at).unwrap();
            assert!(verify_inclusion(&proof, size, root, at, *leaf).is_ok(), "{at} of {size}");

            let refused = |proof: &[Digest], root, at, leaf, what: &str| {
                let answer = verify_inclusion(proof, size, root, at, leaf);
                assert!(answer.is_err(), "{what} accepted for {at} of {size}");
            };
            for hash in 0..proof.len() {
                let bit = (index * 31 + hash * 7) % 256;
                refused(&with_bit_flipped(&proof, hash, bit), root, at, *leaf, "altered hash");
                let mut shorter = proof.clone();
                shorter.remove(hash);
                refused(&shorter, root, at, *leaf, "missing hash");
            }
            let mut longer = proof.clone();
            longer.push(root);
            refused(&longer, root, at, *leaf, "superfluous hash");
            refused(&proof, with_bit_flipped(&[root], 0, index)[0], at, *leaf, "other root");
            refused(&proof, root, at, with_bit_flipped(&[*leaf], 0, index)[0], "other leaf");
            refused(&proof, root, LogSeq(size.0), *leaf, "index outside");
            for wrong in (0..size.0).filter(|wrong| *wrong != at.0) {
                refused(&proof, root, LogSeq(wrong), *leaf, "other index");
            }
        }
    }
}

#[test]
fn every_consistency_proof_verifies_and_no_altered_one_does() {
    for size in 1..=64_usize {
        let leaves = numbered_leaves(size as u64);
        let new_root = root(&leaves);
        for old_size in 0..=size {
            let old_root = root(&leaves[..old_size]);
            let (old, new) = (LogSeq(old_size as u64), LogSeq(size as u64));
            let proof = consistency_proof(&leaves, old).unwrap();
            assert!(verify_consistency(&proof, old, old_root, new, new_root).is_ok(), "{old} to {new}");

            let refused = |proof: &[Digest], old_root, new_root, what: &str| {
                let answer = verify_consistency(proof, old, old_root, new, new_root);
                assert!(answer.is_err(), "{what} accepted for {old} to {new}");
            };
            for hash in 0..proof.len() {
                let bit = (old_size * 31 + hash * 7) % 256;
                refused(&with_bit_flipped(&proof, hash, bit), old_root, new_root, "altered hash");
                let mut shorter = proof.clone();
                shorter.remove(hash);
                refused(&shorter, old_root, new_root, "missing hash");
            }
            let mut longer = proof.clone();
            longer.push(new_root);
            refused(&longer, old_root, new_root, "superfluous hash");
            refused(&proof, with_bit_flipped(&[old_root], 0, size)[0], new_root, "other old root");
            if old_size > 0 {
                refused(&proof, old_root, with_bit_flipped(&[new_root], 0, size)[0], "other new root");
            }
        }
    }
}

#[test]
fn no_bit_of_a_proof_may_change() {
    let leaves = numbered_leaves(13);
    let (root, size) = (root(&leaves), LogSeq(13));
    let (index, old) = (LogSeq(6), LogSeq(6));
    let old_root = plain_root(&leaves[..6]);
    let inclusion = inclusion_proof(&leaves, index).unwrap();
    let consistency = consistency_proof(&leaves, old).unwrap();
    assert_eq!((inclusion.len(), consistency.len()), (4, 4));
    for bit in 0..4 * 256 {
        let altered = with_bit_flipped(&inclusion, bit / 256, bit % 256);
        assert!(verify_inclusion(&altered, size, root, index, leaves[6]).is_err(), "bit {bit}");
        let altered = with_bit_flipped(&consistency, bit / 256, bit % 256);
        assert!(verify_consistency(&altered, old, old_root, size, root).is_err(), "bit {bit}");
    }
}

#[test]
fn a_history_that_was_rewritten_has_no_consistency_proof() {
    let honest = numbered_leaves(20);
    let mut rewritten = honest.clone();
    rewritten[3] = leaf_hash(b"never happened");
    rewritten.push(leaf_hash(b"more"));
    let proof = consistency_proof(&rewritten, LogSeq(20)).unwrap();
    let (seen, now) = (root(&honest), root(&rewritten));
    assert!(verify_consistency(&proof, LogSeq(20), seen, LogSeq(21), now).is_err());
}

fn vector_key() -> DeviceKey {
    let seed: Vec<u8> = (0..32).collect();
    DeviceKey::from_seed(&seed.try_into().unwrap())
}

fn vector_log() -> LogId {
    LogId { workspace: WorkspaceId([0x11; 16]), device: vector_key().device(), epoch: Epoch(2) }
}

#[test]
fn the_note_is_the_one_on_file_byte_for_byte() {
    let (key, origin) = (vector_key(), domain::log_origin(&vector_log()));
    let mut tree = Tree::default();
    tree.extend(reference_leaves());
    let checkpoint = Checkpoint::sign(&origin, tree.size(), tree.root(), &key);
    let on_file = include_str!("vectors/checkpoint.note");
    assert_eq!(checkpoint.to_note(&origin, &key.device()), on_file);
    let verified = Checkpoint::from_note(on_file, &origin, &key.device()).unwrap();
    assert_eq!(verified.root(), digest(ROOTS[8]));
}

#[test]
fn no_byte_of_the_note_may_change() {
    let (device, origin) = (vector_key().device(), domain::log_origin(&vector_log()));
    let on_file = include_str!("vectors/checkpoint.note");
    for at in 0..on_file.len() {
        let mut bytes = on_file.as_bytes().to_vec();
        bytes[at] ^= 1;
        let Ok(altered) = String::from_utf8(bytes) else { continue };
        assert!(Checkpoint::from_note(&altered, &origin, &device).is_err(), "byte {at}");
    }
    for end in 0..on_file.len() {
        let Some(cut) = on_file.get(..end) else { continue };
        assert!(Checkpoint::from_note(cut, &origin, &device).is_err(), "cut at {end}");
    }
}

fn sample_record() -> Record {
    Record {
        version: 1,
        id: OperationId::at(UnixMicros(1_700_000_000_000_000), 1),
        at: UnixMicros(1_700_000_000_000_000),
        actor: "agent:scribe".parse().unwrap(),
        device: DeviceId([2; 32]),
        kind: RecordKind::Refusal,
        outcome: Outcome::Refused,
        operation: OperationType::Replay,
        covers: Some(Coverage { log: CoveredLog::Device(vector_log()), first: LogSeq(7), count: 3 }),
        subject: None,
        decision: Some(Digest([3; 32])),
        note: Some("not on a Sunday".to_owned()),
        data: Some(vec![1, 2, 3]),
    }
}

fn sample_finding() -> Finding {
    let (text, next) = ("two histories of one log", "remove the device and pair it again");
    Finding::new(FindingKind::LogFork, "3b6a27bc/2", Severity::Critical, text, next, UnixMicros(9))
        .with_evidence(Digest([4; 32]))
}

/// What decodes must encode to the very bytes it came from, or two values would share one hash.
fn decoded_is_canonical(bytes: &[u8]) {
    if let Ok(record) = Record::from_bytes(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
    if let Ok(finding) = Finding::from_bytes(bytes) {
        assert_eq!(finding.to_bytes(), bytes);
    }
    if let Ok(checkpoint) = cbor::decode::<Checkpoint>("checkpoint", bytes, 128) {
        assert_eq!(cbor::encode(&checkpoint), bytes);
    }
    if let Ok(tree) = cbor::decode::<Tree>("tree", bytes, 4_096) {
        assert_eq!(cbor::encode(&tree), bytes);
    }
}

/// Formats outlive the code: these are the bytes in stores of this version.
#[test]
fn encodings_are_the_ones_on_file() {
    let on_file = include_str!("vectors/encodings.hex");
    let mut tree = Tree::default();
    tree.extend(reference_leaves().into_iter().take(7));
    let checkpoint =
        Checkpoint::sign(&domain::log_origin(&vector_log()), tree.size(), tree.root(), &vector_key());
    let written = format!(
        "record {}\nfinding {}\ncheckpoint {}\ntree {}\n",
        hex::encode(sample_record().to_bytes()),
        hex::encode(sample_finding().to_bytes()),
        hex::encode(cbor::encode(&checkpoint)),
        hex::encode(cbor::encode(&tree)),
    );
    assert_eq!(written, on_file);
    for line in on_file.lines() {
        let (_, bytes) = line.split_once(' ').unwrap();
        decoded_is_canonical(&hex::decode(bytes).unwrap());
    }
}

proptest! {
    #[test]
    fn the_edge_gives_the_root_of_a_full_recomputation(
        leaves in prop::collection::vec(any::<[u8; 32]>(), 0..300),
        reload in 0..300_usize,
    ) {
        let leaves: Vec<Digest> = leaves.into_iter().map(Digest).collect();
        let mut tree = Tree::default();
        for (count, leaf) in leaves.iter().enumerate() {
            if count == reload {
                tree = cbor::decode("tree", &cbor::encode(&tree), 4_096).unwrap();
            }
            tree.append(*leaf);
        }
        prop_assert_eq!(tree.root(), plain_root(&leaves));
        prop_assert_eq!(tree.size(), LogSeq(leaves.len() as u64));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        decoded_is_canonical(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(Checkpoint::from_note(&text, "origin", &DeviceId([1; 32])).is_err());
    }

    #[test]
    fn damaged_encodings_never_panic(which in 0..2_usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = [sample_record().to_bytes(), sample_finding().to_bytes()][which].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decoded_is_canonical(&bytes);
    }
}
