//! One rule after the other, each with a change that breaks it and nothing else.

use crate::craft::{Craft, framed};
use crate::{born, incoming, manifest};
use automerge::transaction::Transactable;
use automerge::{Automerge, ReadDoc};
use serde_json::json;
use std::time::Instant;
use syncd_engine::document::{self, Edit, EncodedChange};
use syncd_engine::guard::{self, Outcome, Reason, chunk};
use syncd_schema::{Digest, limits};

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
    let scalar = good.start_op - 1;
    assert_eq!(refusal(&doc, &object(scalar as u8)), Reason::NotAContainer { counter: scalar });
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

/// Whoever refers to what it had not seen would be let in where that is here already, and refused where it is not.
#[test]
fn what_its_author_cannot_have_known_is_unknown_wherever_it_is_here() {
    let (doc, _) = born();
    let edit = |doc: &Automerge, actor: u8, value: serde_json::Value| {
        let edit = Edit::MergePatch(value);
        let change = document::apply(&mut doc.clone(), &edit, [actor; 16], 0, &manifest());
        change.expect("applies").expect("a change")
    };
    let bobs = edit(&doc, 2, json!({"made": {"x": 1}}));
    let made = guard::scan(&bobs.bytes).unwrap().start_op;
    // Enough operations that bob's are below the next.
    let many = json!({"a1": 1, "a2": 2, "a3": 3, "a4": 4, "a5": 5});
    let first = edit(&doc, 9, many);
    let last = guard::scan(&first.bytes).unwrap().max_op();
    let inside = |deps: Vec<Digest>| {
        let craft = Craft { deps, seq: 2, start_op: last + 1, others: vec![vec![2; 16]], ..Craft::put(&doc) };
        // In the map that bob made.
        craft.column(1, &[0x7f, 1]).column(2, &[0x7f, made as u8]).make()
    };
    let blind = inside(vec![first.hash]);
    for before in [vec![&first], vec![&first, &bobs], vec![&bobs, &first]] {
        let incoming: Vec<_> = before.iter().map(|change| incoming(change)).collect();
        let here = guard::admit(Some(&doc), &incoming).doc.expect("honest");
        let expected = Reason::UnknownOperation { counter: made };
        assert_eq!(refusal(&here, &blind), expected, "{} changes here", before.len());
        // The same in one batch.
        let mut together = incoming;
        let blind = crate::incoming(&blind);
        together.push(blind);
        let outcomes = guard::admit(Some(&doc), &together).outcomes;
        let last = outcomes.last().expect("an outcome for each");
        assert!(matches!(last, Outcome::Refused(refused) if refused.reason == expected), "{outcomes:?}");
    }
    // Whoever did know may.
    let mut deps = vec![first.hash, bobs.hash];
    deps.sort_unstable();
    let knowing = inside(deps);
    let all = [incoming(&first), incoming(&bobs), incoming(&knowing)];
    assert!(guard::admit(Some(&doc), &all).is_complete());
    let here = guard::admit(Some(&doc), &all[..2]).doc.unwrap();
    assert_eq!(guard::admit(Some(&here), &all[2..]).outcomes, [Outcome::Applied]);
}
