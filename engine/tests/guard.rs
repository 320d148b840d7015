//! The guard: honest changes pass, hostile ones are refused, and whatever happens the document stays loadable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

use automerge::transaction::Transactable;
use automerge::{Automerge, ReadDoc};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Instant;
use syncd_engine::document::{self, Edit, EncodedChange};
use syncd_engine::guard::{self, Incoming, Outcome, Reason, chunk};
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Digest, limits};

fn manifest() -> Manifest {
    let fields = [("/t", FieldRule::Text), ("/c", FieldRule::Counter)];
    let fields = fields.iter().map(|(path, rule)| ((*path).to_owned(), *rule)).collect();
    Manifest { fields, ..Manifest::free_form("docs".parse().unwrap()) }
}

fn born() -> (Automerge, EncodedChange) {
    let value = json!({"t": "one\ntwo\n", "c": 0, "l": [1, {"x": 1}], "m": {"k": "v"}, "s": "string"});
    let birth =
        document::birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), &value, &manifest()).unwrap();
    (birth.doc, birth.change)
}

fn incoming(change: &EncodedChange) -> Incoming<'_> {
    Incoming { bytes: &change.bytes, expected: change.hash }
}

/// A change with exactly these bytes after the header, and the checksum to go with them.
fn framed(kind: u8, body: &[u8]) -> EncodedChange {
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, kind];
    leb(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    let hash: [u8; 32] = Sha256::digest(&bytes[8..]).into();
    bytes[4..8].copy_from_slice(&hash[..4]);
    EncodedChange { hash: Digest(hash), bytes }
}

fn leb(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A change to be written by hand.
#[derive(Clone)]
struct Craft {
    deps: Vec<Digest>,
    actor: Vec<u8>,
    seq: u64,
    start_op: u64,
    time: u8,
    others: Vec<Vec<u8>>,
    columns: Vec<(u64, Vec<u8>)>,
    extra: Vec<u8>,
}

impl Craft {
    /// `put z = 7` into the root, by a new actor on top of a document.
    fn put(doc: &Automerge) -> Self {
        let max_op = doc.get_changes_meta(&[]).iter().map(|meta| meta.max_op).max().unwrap_or(0);
        Self {
            deps: document::heads(doc),
            actor: vec![9; 16],
            seq: 1,
            start_op: max_op + 1,
            time: 0,
            others: Vec::new(),
            columns: vec![
                (21, vec![0x7f, 1, b'z']),
                (52, vec![1]),
                (66, vec![0x7f, 1]),
                (86, vec![0x7f, 0x14]),
                (87, vec![7]),
                (112, vec![0x7f, 0]),
            ],
            extra: Vec::new(),
        }
    }

    fn column(mut self, spec: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(found, _)| *found != spec);
        self.columns.push((spec, bytes.to_vec()));
        self.columns.sort();
        self
    }

    fn make(&self) -> EncodedChange {
        let mut body = Vec::new();
        leb(self.deps.len() as u64, &mut body);
        self.deps.iter().for_each(|dep| body.extend_from_slice(dep.as_bytes()));
        leb(self.actor.len() as u64, &mut body);
        body.extend_from_slice(&self.actor);
        leb(self.seq, &mut body);
        leb(self.start_op, &mut body);
        body.push(self.time);
        body.push(0);
        leb(self.others.len() as u64, &mut body);
        for other in &self.others {
            leb(other.len() as u64, &mut body);
            body.extend_from_slice(other);
        }
        leb(self.columns.len() as u64, &mut body);
        for (spec, bytes) in &self.columns {
            leb(*spec, &mut body);
            leb(bytes.len() as u64, &mut body);
        }
        self.columns.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
        body.extend_from_slice(&self.extra);
        framed(1, &body)
    }
}

/// Why one change is refused on a document, which must not change by it.
fn refusal(doc: &Automerge, change: &EncodedChange) -> Reason {
    let before = (document::heads(doc), document::read(doc));
    let admission = guard::admit(Some(doc), &[incoming(change)]);
    assert!(admission.doc.is_none());
    assert_eq!((document::heads(doc), document::read(doc)), before);
    match admission.outcomes.as_slice() {
        [Outcome::Refused(refused)] => refused.reason.clone(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_crafted_put_is_good() {
    let (doc, _) = born();
    let change = Craft::put(&doc).make();
    let admission = guard::admit(Some(&doc), &[incoming(&change)]);
    assert_eq!(admission.outcomes, [Outcome::Applied]);
    assert_eq!(document::read_at(admission.doc.as_ref().unwrap(), "/z").unwrap(), Some(json!(7)));
    let scanned = guard::scan(&change.bytes).unwrap();
    assert_eq!(scanned.start_op, scanned.max_op());
    assert_eq!((scanned.hash, scanned.seq, scanned.ops, scanned.actor), (change.hash, 1, 1, vec![9; 16]));
}

#[test]
fn a_birth_needs_no_document() {
    let (doc, birth) = born();
    let admission = guard::admit(None, &[incoming(&birth), incoming(&birth)]);
    assert_eq!(admission.outcomes, [Outcome::Applied, Outcome::Present]);
    assert!(admission.is_complete());
    assert_eq!(document::read(&admission.doc.unwrap()), document::read(&doc));

    let other =
        document::birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), &json!({}), &manifest()).unwrap();
    assert_eq!(refusal(&doc, &other.change), Reason::SecondRoot);
    let both = guard::admit(None, &[incoming(&birth), incoming(&other.change)]);
    assert_eq!(
        both.first_refused().map(|(index, refused)| (index, refused.reason.clone())),
        Some((1, Reason::SecondRoot))
    );
    let empty = guard::admit(None, &[incoming(&other.change)]);
    assert_eq!(empty.outcomes, [Outcome::Applied], "a birth without members");
}

#[test]
fn frames_are_checked() {
    let (doc, birth) = born();
    let good = Craft::put(&doc).make();
    let altered = |change: &dyn Fn(&mut EncodedChange)| {
        let mut bad = good.clone();
        change(&mut bad);
        refusal(&doc, &bad)
    };
    assert_eq!(altered(&|bad| bad.bytes[0] = 0), Reason::BadMagic);
    assert_eq!(altered(&|bad| bad.bytes[4] ^= 1), Reason::BadChecksum);
    assert_eq!(altered(&|bad| bad.bytes[20] ^= 1), Reason::BadChecksum);
    assert_eq!(altered(&|bad| bad.bytes.push(0)), Reason::TrailingBytes);
    assert_eq!(altered(&|bad| bad.bytes.truncate(60)), Reason::Truncated);
    assert_eq!(altered(&|bad| bad.bytes.clear()), Reason::Truncated);
    assert_eq!(altered(&|bad| bad.expected_other(birth.hash)), Reason::WrongDigest { found: good.hash });
    assert_eq!(
        altered(&|bad| bad.bytes.resize(limits::CHANGE_BYTES + 1, 0)),
        Reason::TooLarge { found: limits::CHANGE_BYTES + 1 }
    );
    for kind in [0, 2, 3, 4] {
        assert_eq!(refusal(&doc, &framed(kind, &good.bytes[10..])), Reason::ChunkType { found: kind });
    }
    let footer = Craft { extra: vec![1, 1, 65], ..Craft::put(&doc) };
    assert_eq!(refusal(&doc, &footer.make()), Reason::TrailingBytes);
}

trait Expecting {
    fn expected_other(&mut self, digest: Digest);
}

impl Expecting for EncodedChange {
    fn expected_other(&mut self, digest: Digest) {
        self.hash = digest;
    }
}

#[test]
fn order_and_numbers_are_checked() {
    let (mut doc, _) = born();
    let good = Craft::put(&doc);
    assert_eq!(refusal(&doc, &Craft { seq: 2, ..good.clone() }.make()), Reason::Sequence { found: 2 });
    assert_eq!(refusal(&doc, &Craft { seq: 0, ..good.clone() }.make()), Reason::OutOfRange);
    assert_eq!(refusal(&doc, &Craft { start_op: 0, ..good.clone() }.make()), Reason::OutOfRange);
    assert_eq!(refusal(&doc, &Craft { start_op: 1 << 33, ..good.clone() }.make()), Reason::OutOfRange);
    assert_eq!(
        refusal(&doc, &Craft { time: 0x40, ..good.clone() }.make()),
        Reason::OutOfRange,
        "before 1970"
    );
    for start_op in [1, good.start_op - 1, good.start_op + 1] {
        let expected = good.start_op;
        assert_eq!(
            refusal(&doc, &Craft { start_op, ..good.clone() }.make()),
            Reason::StartOp { found: start_op, expected }
        );
    }
    assert_eq!(refusal(&doc, &Craft { actor: vec![], ..good.clone() }.make()), Reason::BadActor);
    assert_eq!(refusal(&doc, &Craft { actor: vec![1; 65], ..good.clone() }.make()), Reason::BadActor);
    let twice = Craft { deps: vec![good.deps[0]; 2], ..good.clone() };
    assert_eq!(refusal(&doc, &twice.make()), Reason::Unsorted);

    let unknown = Craft { deps: vec![Digest([3; 32])], ..good.clone() }.make();
    let admission = guard::admit(Some(&doc), &[incoming(&unknown)]);
    assert_eq!(admission.outcomes, [Outcome::Missing(vec![Digest([3; 32])])]);

    // The next change of an actor follows its last; a second one of the same number does not get in.
    let first = document::apply(&mut doc, &Edit::MergePatch(json!({"s": 1})), [9; 16], 1, &manifest())
        .unwrap()
        .unwrap();
    let base = guard::admit(None, &[incoming(&born().1)]).doc.unwrap();
    let mut again = base.clone();
    let rival = document::apply(&mut again, &Edit::MergePatch(json!({"s": 2})), [9; 16], 1, &manifest())
        .unwrap()
        .unwrap();
    assert_eq!(refusal(&doc, &rival), Reason::Equivocation);
    let both = guard::admit(Some(&base), &[incoming(&first), incoming(&rival)]);
    assert_eq!(both.outcomes[0], Outcome::Applied);
    assert!(matches!(&both.outcomes[1], Outcome::Refused(refused) if refused.reason == Reason::Equivocation));
}

#[test]
fn columns_are_checked() {
    let (doc, birth) = born();
    let good = Craft::put(&doc);
    let with = |spec, bytes: &[u8]| refusal(&doc, &good.clone().column(spec, bytes).make());
    assert_eq!(with(21 | 8, &[0x7f, 1, b'z']), Reason::Compressed);
    assert_eq!(with(148, &[1]), Reason::Unsupported, "marks");
    assert_eq!(with(197, &[1]), Reason::Unsupported);
    assert_eq!(with(66, &[0x7f, 6]), Reason::Unsupported, "tables");
    assert_eq!(with(66, &[0, 1]), Reason::BadRun);
    assert_eq!(with(52, &[0, 0]), Reason::BadRun);
    assert_eq!(with(52, &[2]), Reason::ColumnLength { found: 2, expected: 1 });
    assert_eq!(with(21, &[0x7f, 0]), Reason::OutOfRange, "an empty key");
    assert_eq!(with(21, &[0x7f, 1, 0xff]), Reason::NotUtf8);
    assert_eq!(with(21, &[0x7f, 9, b'z']), Reason::Truncated);
    assert_eq!(with(86, &[0x7f, 0x24]), Reason::ColumnLength { found: 1, expected: 2 });
    assert_eq!(with(86, &[0x7f, 0x1a]), Reason::Unsupported, "a value of an unknown type");
    assert_eq!(with(1, &[0x7f, 1]), Reason::UnknownActor);
    assert_eq!(with(112, &[0x7f, 1]), Reason::ColumnLength { found: 0, expected: 1 });

    // An object, and a predecessor, that do not exist.
    let other = guard::scan(&birth.bytes).unwrap().actor;
    let named = Craft { others: vec![other], ..good.clone() };
    let object = named.clone().column(1, &[0x7f, 1]).column(2, &[0x7f, 5]);
    let object = |counter: u8| object.clone().column(2, &[0x7f, counter]).make();
    assert_eq!(
        refusal(&doc, &object(good.start_op as u8)),
        Reason::UnknownOperation { counter: good.start_op }
    );
    let pred = named.column(112, &[0x7f, 1]).column(113, &[0x7f, 1]).column(115, &[0x7f, 63]);
    assert_eq!(refusal(&doc, &pred.make()), Reason::OutOfRange);
    let stranger =
        Craft { others: vec![vec![8; 16]], ..good.clone() }.column(1, &[0x7f, 1]).column(2, &[0x7f, 1]);
    assert_eq!(refusal(&doc, &stranger.make()), Reason::UnknownOperation { counter: 1 });
    let own = good.clone().column(1, &[0x7f, 0]).column(2, &[0x7f, good.start_op as u8]);
    assert_eq!(refusal(&doc, &own.make()), Reason::UnknownOperation { counter: good.start_op }, "itself");
    // An operation that exists but is no object is refused by what Automerge does with it.
    let scalar = refusal(&doc, &object(good.start_op as u8 - 1));
    assert!(
        matches!(scalar, Reason::Panicked { .. } | Reason::NotRebuilt | Reason::Inapplicable),
        "{scalar}"
    );
    assert_eq!(refusal(&doc, &Craft { others: vec![vec![8; 16]], ..good }.make()), Reason::UnusedActor);
}

#[test]
fn bombs_cost_microseconds() {
    let (doc, _) = born();
    let good = Craft::put(&doc);
    // Two million nulls, or values, in a few bytes: 0x80_92_f4_01 is 4,000,000 unsigned, 2,000,000 signed twice over.
    let nulls = |spec| good.clone().column(spec, &[0, 0x80, 0x89, 0x7a]).make();
    let values = |spec| good.clone().column(spec, &[0x80, 0x89, 0xfa, 0, 1]).make();
    let mut bombs: Vec<EncodedChange> = [21, 66, 86, 112].into_iter().map(nulls).collect();
    bombs.extend([66, 86, 112].into_iter().map(values));
    bombs.push(good.clone().column(52, &[0x80, 0x89, 0x7a]).make());
    bombs.push(good.clone().column(112, &[0x7f, 0x80, 0x89, 0x7a]).make());
    bombs.push(good.clone().column(66, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1]).make());
    bombs.push(
        good.clone().column(66, &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f, 1]).make(),
    );
    // Everything at once, as the change that cost Automerge 4.2 s and 0.9 GB.
    let all = [21, 66, 86, 112]
        .into_iter()
        .fold(good.clone(), |craft, spec| craft.column(spec, &[0, 0x80, 0x89, 0x7a]));
    bombs.push(all.column(52, &[0x80, 0x89, 0x7a]).make());
    // A compressed chunk: its size says nothing, so it is not looked at.
    bombs.push(framed(2, &[0x5d; 1 << 19]));
    for (index, bomb) in bombs.iter().enumerate() {
        refusal(&doc, bomb);
        let start = Instant::now();
        for _ in 0..1_000 {
            assert!(guard::scan(&bomb.bytes).is_err(), "bomb {index}");
        }
        let each = start.elapsed() / 1_000;
        println!(
            "bomb {index}: {} bytes, {each:?}, {}",
            bomb.bytes.len(),
            guard::scan(&bomb.bytes).unwrap_err()
        );
        let limit = if cfg!(debug_assertions) { 100 } else { 10 };
        assert!(each.as_micros() < limit, "bomb {index} took {each:?}");
    }
    // Honest content that Automerge has compressed is refused too: senders keep changes uncompressed.
    let mut large = doc.clone();
    let edit = Edit::MergePatch(json!({"s": "x".repeat(10_000)}));
    let change = document::apply(&mut large, &edit, [1; 16], 1, &manifest()).unwrap().unwrap();
    let mut change = automerge::Change::try_from(change.bytes.as_slice()).unwrap();
    let compressed = EncodedChange { hash: Digest(change.hash().0), bytes: change.bytes().into_owned() };
    assert!(compressed.bytes.len() < 300);
    assert_eq!(refusal(&doc, &compressed), Reason::ChunkType { found: 2 });
}

/// A small deterministic source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

fn some_edit(dice: &mut Dice, doc: &Automerge) -> Edit {
    let key = ["a", "b", "m", "s"][dice.roll(4)];
    let text =
        document::read_at(doc, "/t").unwrap().and_then(|t| t.as_str().map(str::to_owned)).unwrap_or_default();
    let len = text.chars().count();
    let step = |value: Value| Edit::JsonPatch(serde_json::from_value(Value::Array(vec![value])).unwrap());
    let number = dice.roll(1_000);
    match dice.roll(12) {
        0 => Edit::MergePatch(json!({key: number})),
        1 => Edit::MergePatch(json!({key: null})),
        2 => Edit::MergePatch(json!({"m": {key: {"deep": [number, {"er": null}]}}})),
        3 => Edit::MergePatch(json!({key: {"x": "y"}, "f": 1.5, "u": u64::MAX, "neg": -1, "yes": true})),
        4 | 5 => {
            let pos = dice.roll(len + 1);
            let del = dice.roll((len - pos).min(5) + 1);
            Edit::Splice {
                path: "/t".into(),
                pos,
                del,
                text: ["", "x", "€\n", "many words here"][dice.roll(4)].into(),
            }
        }
        6 => Edit::SetText { path: "/t".into(), text: text.to_uppercase() + "\nnew line" },
        7 => Edit::Increment { path: "/c".into(), by: number as i64 - 500 },
        8 => step(json!({"op": "add", "path": "/l/0", "value": {"n": number}})),
        9 => step(json!({"op": "add", "path": "/l/-", "value": "end"})),
        10 => step(json!({"op": "remove", "path": format!("/l/{}", dice.roll(4))})),
        _ => step(json!({"op": "replace", "path": format!("/l/{}", dice.roll(3)), "value": ["r", number]})),
    }
}

/// Three devices that edit at random and exchange what they have by way of the guard.
fn run_devices(seed: u64, steps: usize) -> (Vec<Automerge>, Vec<EncodedChange>) {
    let mut dice = Dice(seed | 1);
    let (doc, birth) = born();
    let mut docs = vec![doc; 3];
    let mut log = vec![birth];
    let mut session = [0_u8; 3];
    for _ in 0..steps {
        let device = dice.roll(3);
        if dice.roll(4) > 0 {
            session[device] += u8::from(dice.roll(10) == 0);
            let actor = [10 * (device as u8 + 1) + session[device] % 10; 16];
            let edit = some_edit(&mut dice, &docs[device]);
            if let Ok(Some(change)) =
                document::apply(&mut docs[device], &edit, actor, 1_700_000_000, &manifest())
            {
                log.push(change);
            }
        } else {
            let from = dice.roll(3);
            send(&docs[from].clone(), &mut docs[device]);
        }
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2)] {
        send(&docs[from].clone(), &mut docs[to]);
    }
    (docs, log)
}

/// Another order of changes for each seed.
fn any_order(seed: u64, hash: &Digest) -> Digest {
    syncd_schema::domain::sha256(&[seed.to_be_bytes().as_slice(), &hash.0].concat())
}

fn send(from: &Automerge, to: &mut Automerge) {
    let changes: Vec<EncodedChange> = from
        .get_changes(&[])
        .iter()
        .map(|change| EncodedChange { hash: Digest(change.hash().0), bytes: change.raw_bytes().to_vec() })
        .collect();
    let incoming: Vec<Incoming<'_>> = changes.iter().map(incoming).collect();
    let admission = guard::admit(Some(to), &incoming);
    assert!(admission.is_complete(), "an honest change was not let in: {:?}", admission.outcomes);
    if let Some(doc) = admission.doc {
        *to = doc;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn honest_changes_pass_and_devices_agree(seed in any::<u64>()) {
        let (docs, log) = run_devices(seed, 60);
        for doc in &docs {
            prop_assert_eq!(document::heads(doc), document::heads(&docs[0]));
            prop_assert_eq!(document::read(doc), document::read(&docs[0]));
            document::compact(doc).unwrap();
        }
        // From nothing, in one batch.
        let admission = guard::admit(None, &log.iter().map(incoming).collect::<Vec<_>>());
        prop_assert!(admission.is_complete());
        prop_assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(&docs[0]));
        // And in any order.
        let mut shuffled = log.clone();
        shuffled.sort_by_key(|change| any_order(seed, &change.hash));
        let admission = guard::admit(None, &shuffled.iter().map(incoming).collect::<Vec<_>>());
        prop_assert!(admission.is_complete(), "{:?}", admission.outcomes);
        prop_assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(&docs[0]));
        // Every chunk comes apart and together again.
        for change in &log {
            let parts = chunk::split(&change.bytes).unwrap();
            let (hash, bytes) = chunk::assemble(&parts.deps, parts.actor, parts.rest).unwrap();
            prop_assert_eq!((hash, &bytes), (change.hash, &change.bytes));
            let meta = automerge::Change::try_from(bytes.as_slice()).unwrap();
            let scanned = guard::scan(&change.bytes).unwrap();
            prop_assert_eq!(&scanned.actor, &meta.actor_id().to_bytes());
            prop_assert_eq!(scanned.deps.iter().map(|dep| dep.0).collect::<Vec<_>>(), meta.deps().iter().map(|dep| dep.0).collect::<Vec<_>>());
            prop_assert_eq!((scanned.seq, scanned.start_op, scanned.ops), (meta.seq(), meta.start_op().get(), meta.len() as u64));
            prop_assert_eq!((scanned.max_op(), scanned.time), (meta.max_op(), meta.timestamp()));
        }
    }

    #[test]
    fn splitting_never_panics_and_is_exact(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0..3_u8) {
        let change = framed(kind, &bytes);
        if let Ok(parts) = chunk::split(&change.bytes) {
            prop_assert_eq!(chunk::assemble(&parts.deps, parts.actor, parts.rest).unwrap(), (change.hash, change.bytes));
        }
        let _ = guard::scan(&framed(kind, &bytes).bytes);
        let _ = guard::scan(&bytes);
    }
}

#[test]
fn parts_have_limits() {
    assert!(chunk::assemble(&vec![Digest([0; 32]); limits::CHANGE_DEPS + 1], &[1; 16], &[]).is_err());
    assert!(chunk::assemble(&[], &[], &[]).is_err());
    assert!(chunk::assemble(&[], &[1; 65], &[]).is_err());
    assert!(chunk::assemble(&[], &[1; 16], &vec![0; limits::CHANGE_BYTES]).is_err());
}

#[test]
fn the_good_ones_of_a_bad_batch_get_in() {
    let (mut doc, _) = born();
    let base = doc.clone();
    let mut changes = Vec::new();
    for n in 0..50 {
        let actor = [if n < 25 { 1 } else { 2 }; 16];
        changes.push(
            document::apply(&mut doc, &Edit::MergePatch(json!({"a": n})), actor, 1, &manifest())
                .unwrap()
                .unwrap(),
        );
    }
    // A change that passes the scan and fails when applied: it treats a scalar as an object.
    let birth = born().1;
    let actor = guard::scan(&birth.bytes).unwrap().actor;
    let crafted = Craft { others: vec![actor], ..Craft::put(&base) };
    let scalar = base.get_changes_meta(&[])[0].max_op as u8;
    let crafted = crafted.column(1, &[0x7f, 1]).column(2, &[0x7f, scalar]);
    let bad = crafted.make();
    // One that builds on it.
    let child =
        Craft { deps: vec![bad.hash], seq: 2, start_op: crafted.start_op + 1, ..Craft::put(&base) }.make();
    changes.insert(20, bad.clone());
    changes.insert(30, child);
    let admission = guard::admit(Some(&base), &changes.iter().map(incoming).collect::<Vec<_>>());
    for (index, outcome) in admission.outcomes.iter().enumerate() {
        match index {
            20 => assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}"),
            30 => assert_eq!(*outcome, Outcome::Missing(vec![bad.hash])),
            _ => assert_eq!(*outcome, Outcome::Applied),
        }
    }
    assert_eq!(document::heads(&admission.doc.unwrap()), document::heads(&doc));
    assert_eq!(admission.outcomes.len(), 52);
}

/// Alters a change's body at random and gives it the right checksum, as an attacker would.
fn mutated(dice: &mut Dice, change: &EncodedChange) -> EncodedChange {
    let header = change.bytes.len() - chunk_body(&change.bytes).len();
    let mut body = change.bytes[header..].to_vec();
    // The dependencies stay, else nothing beyond them would be tried.
    let deps = 1 + 32 * usize::from(body[0]) + 1;
    // Half of them only touch columns and keep their lengths: these get furthest.
    let columns = dice.roll(2) == 0;
    for _ in 0..=dice.roll(3) {
        let from = if columns { deps.max(body.len().saturating_sub(50)) } else { deps };
        let at = from + dice.roll(body.len() - from);
        match dice.roll(if columns { 4 } else { 6 }) {
            0 => body[at] ^= 1 << dice.roll(8),
            1 => body[at] = body[at].wrapping_add(1),
            2 => body[at] = body[at].wrapping_sub(1),
            3 => body[at] = dice.roll(256) as u8,
            4 => body.insert(at, dice.roll(256) as u8),
            _ => {
                if body.len() > deps + 1 {
                    body.remove(at);
                }
            }
        }
    }
    framed(1, &body)
}

fn chunk_body(bytes: &[u8]) -> &[u8] {
    let length = bytes[9..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    &bytes[9 + length..]
}

/// What must hold after the guard has seen a change, whatever it was.
fn stays_sound(doc: &Automerge, what: &str) {
    let saved = document::compact(doc).unwrap_or_else(|error| panic!("{what}: {error}"));
    let again = document::load(Some(&saved), std::iter::empty()).unwrap();
    assert_eq!(document::read(&again), document::read(doc), "{what}");
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => {
            format!("{:?}", refused.reason).split([' ', '{']).next().unwrap().to_owned()
        }
        other => format!("{other:?}").split('(').next().unwrap().to_owned(),
    }
}

/// Keeps one change for each place in Automerge that panics, when `SYNCD_CRASHERS` names a folder for them.
fn keep_crasher(outcome: &Outcome, base: &Automerge, bad: &EncodedChange) {
    let Some(folder) = std::env::var_os("SYNCD_CRASHERS") else { return };
    let Outcome::Refused(refused) = outcome else { return };
    let Reason::Panicked { at } = &refused.reason else { return };
    let name = at.replace(['/', ':', '.'], "-");
    let path = std::path::Path::new(&folder).join(name).with_extension("hex");
    let text = format!("{}\n{}\n", hex(&base.save()), hex(&bad.bytes));
    if std::fs::metadata(&path).is_err() || std::fs::metadata(&path).unwrap().len() > text.len() as u64 {
        std::fs::write(path, text).unwrap();
    }
}

enum Harm {
    None,
    Now,
    Later,
}

/// Whether a document that let a change in can still be read, edited, saved and loaded.
fn harm(mut doc: Automerge, round: usize) -> Harm {
    let caught =
        |test: &mut dyn FnMut()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_ok();
    if !caught(&mut || stays_sound(&doc, "now")) {
        return Harm::Now;
    }
    let sound = caught(&mut || {
        let mut dice = Dice(round as u64 + 1);
        for n in 0..5 {
            let edit = some_edit(&mut dice, &doc);
            let _ = document::apply(&mut doc, &edit, [200 + n; 16], 1, &manifest());
        }
        stays_sound(&doc, "later");
    });
    if sound { Harm::None } else { Harm::Later }
}

#[test]
fn mutated_changes_do_no_harm() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut applied, mut broken, mut later) = (0, 0, 0);
    let rounds = std::env::var("SYNCD_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    for round in 0..rounds {
        let (base, changes) = SCRIPTS.with(|scripts| scripts[round % scripts.len()].clone());
        let change = &changes[dice.roll(changes.len())];
        let bad = mutated(&mut dice, change);
        let admission = guard::admit(Some(&base), &[incoming(&bad)]);
        *counts.entry(word(&admission.outcomes[0])).or_default() += 1;
        keep_crasher(&admission.outcomes[0], &base, &bad);
        let Some(doc) = admission.doc else { continue };
        applied += 1;
        match harm(doc, round) {
            Harm::None => continue,
            Harm::Now => broken += 1,
            Harm::Later => later += 1,
        }
        println!("not sound: {} on {}", hex(&bad.bytes), hex(&base.save()));
    }
    println!(
        "{rounds} mutated: {applied} applied, {broken} broken at once, {later} after honest edits; {counts:?}"
    );
    assert_eq!((broken, later), (0, 0));
}

/// Well-formed changes whose operations point at existing operations of any kind: what mutation rarely makes.
fn misdirected(dice: &mut Dice, base: &Automerge) -> EncodedChange {
    let metas = base.get_changes_meta(&[]);
    let owner = &metas[dice.roll(metas.len())];
    let (low, high) = (owner.start_op, owner.max_op.max(owner.start_op));
    let mut op = || (low + dice.roll((high - low + 1) as usize) as u64).min(high);
    let number = |value: u64| {
        let mut bytes = vec![0x7f];
        leb(value, &mut bytes);
        bytes
    };
    // Deltas are signed, where a leading bit of 1 in the last byte would be a minus.
    let delta = |value: u64| {
        let mut bytes = vec![0x7f];
        let mut rest = value;
        while rest >= 64 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    };
    let (object, element, pred) = (op(), op(), op());
    let mut craft = Craft { others: vec![owner.actor.to_bytes().to_vec()], ..Craft::put(base) };
    if dice.roll(3) > 0 {
        craft = craft.column(1, &[0x7f, 1]).column(2, &number(object));
    }
    if dice.roll(2) == 0 {
        craft.columns.retain(|(spec, _)| *spec != 21);
        let insert = dice.roll(2) as u8;
        craft = craft.column(52, if insert == 1 { &[0, 1] } else { &[1] });
        craft = match dice.roll(3) {
            0 if insert == 1 => craft.column(19, &[0x7f, 0]),
            _ => craft.column(17, &[0x7f, 1]).column(19, &delta(element)),
        };
    }
    let action = dice.roll(6) as u8;
    craft = craft.column(66, &[0x7f, action]);
    if dice.roll(2) == 0 {
        craft.columns.retain(|(spec, _)| *spec != 87);
        craft = craft.column(86, &[0x7f, 0]);
    }
    if dice.roll(3) > 0 {
        craft = craft.column(112, &[0x7f, 1]).column(113, &[0x7f, 1]).column(115, &delta(pred));
    }
    craft.make()
}

#[test]
fn misdirected_changes_do_no_harm() {
    let mut dice = Dice(0xdead_beef_cafe);
    let rounds: usize = std::env::var("SYNCD_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let (mut applied, mut broken, mut later) = (0, 0, 0);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..rounds {
        let (base, _) = SCRIPTS.with(|scripts| scripts[round % scripts.len()].clone());
        let bad = misdirected(&mut dice, &base);
        let admission = guard::admit(Some(&base), &[incoming(&bad)]);
        *counts.entry(word(&admission.outcomes[0])).or_default() += 1;
        keep_crasher(&admission.outcomes[0], &base, &bad);
        let Some(doc) = admission.doc else { continue };
        applied += 1;
        match harm(doc, round) {
            Harm::None => {}
            Harm::Now => broken += 1,
            Harm::Later => later += 1,
        }
    }
    println!(
        "{rounds} misdirected: {applied} applied, {broken} broken at once, {later} after honest edits; {counts:?}"
    );
    assert_eq!((broken, later), (0, 0));
}

thread_local! {
    /// Documents, and changes whose dependencies they hold.
    static SCRIPTS: Vec<(Automerge, Vec<EncodedChange>)> = (1..40_u64).map(|seed| {
        let (docs, _) = run_devices(seed * 7919, 25);
        let mut base = docs[0].clone();
        if seed % 2 == 0 {
            // Too large to be loaded again at each step: the other layers must do without that one.
            let text = Edit::Splice { path: "/t".into(), pos: 0, del: 0, text: "a longer text\n".repeat(50) };
            document::apply(&mut base, &text, [99; 16], 1, &manifest()).unwrap().unwrap();
            assert!(base.stats().num_ops > 256);
        }
        let mut dice = Dice(seed);
        let changes = (0..12_u8).filter_map(|n| {
            let mut doc = base.clone();
            let edit = some_edit(&mut dice, &doc);
            document::apply(&mut doc, &edit, [100 + n; 16], 1, &manifest()).ok().flatten()
        });
        let changes = changes.collect();
        (base, changes)
    }).collect();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.trim().bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Every change that once did harm, with the document it did it to: two lines of hex in a file each.
#[test]
fn what_once_did_harm_does_none_now() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crashers");
    let mut replayed = 0;
    for file in std::fs::read_dir(folder).into_iter().flatten() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "hex") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (document, change) = text.split_once('\n').unwrap();
        let doc = document::load(Some(&unhex(document)), std::iter::empty()).unwrap();
        let bytes = unhex(change);
        let expected = Digest(Sha256::digest(&bytes[8..]).into());
        let admission = guard::admit(Some(&doc), &[Incoming { bytes: &bytes, expected }]);
        println!("{}: {:?}", path.display(), admission.outcomes[0]);
        if let Some(mut doc) = admission.doc {
            stays_sound(&doc, "now");
            for n in 0..20 {
                let edit = some_edit(&mut Dice(n + 1), &doc);
                let _ = document::apply(&mut doc, &edit, [220; 16], 1, &manifest());
                stays_sound(&doc, "later");
            }
        }
        replayed += 1;
    }
    assert!(replayed > 0, "the crashers are missing");
}

#[test]
fn the_scan_of_a_small_change_is_cheap() {
    let (doc, _) = born();
    let measure = |name: &str, change: &EncodedChange, base: &Automerge, limit: u128| {
        let rounds = 2_000;
        let start = Instant::now();
        for _ in 0..rounds {
            guard::scan(&change.bytes).unwrap();
        }
        let scan = start.elapsed() / rounds;
        let start = Instant::now();
        let tries =
            if base.stats().num_ops + guard::scan(&change.bytes).unwrap().ops < 1_000 { 200 } else { 3 };
        for _ in 0..tries {
            assert!(guard::admit(Some(base), &[incoming(change)]).is_complete());
        }
        let admit = start.elapsed() / tries;
        println!("{name}: {} bytes, scan {scan:?}, admit {admit:?}", change.bytes.len());
        assert!(cfg!(debug_assertions) || scan.as_micros() < limit, "{name}: {scan:?}");
    };
    let one = document::apply(&mut doc.clone(), &Edit::MergePatch(json!({"s": 5})), [1; 16], 1, &manifest())
        .unwrap()
        .unwrap();
    measure("one put", &one, &doc, 5);
    let text = Edit::Splice { path: "/t".into(), pos: 2, del: 3, text: "x".repeat(100) };
    let hundred = document::apply(&mut doc.clone(), &text, [1; 16], 1, &manifest()).unwrap().unwrap();
    measure("a hundred characters", &hundred, &doc, 20);
    let mut large = doc.clone();
    let text = Edit::SetText { path: "/t".into(), text: "lines of text\n".repeat(7_000) };
    let all = document::apply(&mut large, &text, [1; 16], 1, &manifest()).unwrap().unwrap();
    measure("98,000 characters", &all, &doc, 2_000);
    let delete = Edit::SetText { path: "/t".into(), text: "lines of text\n".repeat(3_000) };
    let gone = document::apply(&mut large.clone(), &delete, [2; 16], 1, &manifest()).unwrap().unwrap();
    measure("56,000 deleted", &gone, &large, 2_000);
    let small =
        document::apply(&mut large.clone(), &Edit::MergePatch(json!({"s": 5})), [2; 16], 1, &manifest())
            .unwrap()
            .unwrap();
    measure("one put beside a long text", &small, &large, 5);
}

#[test]
fn marks_have_no_writer_and_are_not_let_in() {
    use automerge::marks::{ExpandMark, Mark};
    let (doc, _) = born();
    let mut foreign = doc.fork();
    let (_, text) = foreign.get(automerge::ROOT, "t").unwrap().unwrap();
    let mut tx = foreign.transaction();
    tx.mark(&text, Mark::new("bold".to_owned(), true, 0, 3), ExpandMark::Both).unwrap();
    let hash = tx.commit().0.unwrap();
    let change = EncodedChange::of(&foreign, &hash).unwrap();
    assert_eq!(refusal(&doc, &change), Reason::Unsupported);
}
