//! What looking for contradictions costs, beside the application of the same changes. Figures of a release build:
//!
//!     cargo test --release -p syncd-engine --test conflict -- cost --ignored --nocapture --test-threads 1

use crate::{actor, empty};
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ObjType, ROOT};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use syncd_engine::conflict;
use syncd_schema::Digest;

/// Applies changes and looks at them: how long each took, and how many contradictions there are.
fn meet(doc: &mut Automerge, changes: &[Change]) -> (Duration, Duration, usize) {
    let start = Instant::now();
    let mut copy = doc.clone();
    copy.apply_changes(changes.iter().cloned()).unwrap();
    *doc = copy;
    let applying = start.elapsed();
    let arrived: Vec<Digest> = changes.iter().map(|change| Digest(change.hash().0)).collect();
    let start = Instant::now();
    let open = conflict::update(doc, &BTreeSet::new(), &arrived, &|_| false).unwrap();
    (applying, start.elapsed(), open.len())
}

/// Changes made by an actor on a copy, one put each.
fn puts(base: &Automerge, who: u8, count: usize, keys: usize) -> (Automerge, Vec<Change>) {
    let mut doc = base.fork().with_actor(actor(who));
    let heads = doc.get_heads();
    for n in 0..count {
        let mut tx = doc.transaction();
        tx.put(ROOT, format!("k{}", n % keys), format!("{who} {n}")).unwrap();
        tx.commit();
    }
    let changes = doc.get_changes(&heads);
    (doc, changes)
}

fn record() -> Automerge {
    let mut doc = empty(9);
    let mut tx = doc.transaction();
    for n in 0..12 {
        tx.put(ROOT, format!("k{n}"), n).unwrap();
    }
    tx.commit();
    doc
}

fn within(name: &str, found: Duration, most: Duration) {
    assert!(cfg!(debug_assertions) || found <= most, "{name}: {found:?}, the budget is {most:?}");
}

#[test]
#[ignore = "figures; run with --release"]
fn one_against_one() {
    let base = record();
    let mut times: Vec<(Duration, Duration)> = (0..200)
        .map(|_| {
            let (mut doc, _) = puts(&base, 1, 1, 1);
            let (_, theirs) = puts(&base, 2, 1, 1);
            let (applying, detecting, found) = meet(&mut doc, &theirs);
            assert_eq!(found, 1);
            (detecting, applying)
        })
        .collect();
    times.sort();
    let (detecting, applying) = times[100];
    println!("one against one: {detecting:.1?} beside {applying:.1?} to apply");
    within("one against one", detecting, Duration::from_micros(100));
}

#[test]
#[ignore = "figures; run with --release"]
fn ten_thousand_against_ten_thousand() {
    let base = record();
    let (mut doc, _) = puts(&base, 1, 10_000, 4_000);
    let (_, theirs) = puts(&base, 2, 10_000, 4_000);
    let (applying, detecting, found) = meet(&mut doc, &theirs);
    println!("10,000 against 10,000: {found} found in {detecting:.1?} beside {applying:.1?} to apply");
    assert_eq!(found, 4_000);
    within("10,000 against 10,000", detecting, Duration::from_millis(150));
}

#[test]
#[ignore = "figures; run with --release"]
fn a_hundred_in_a_long_text() {
    let mut base = empty(9);
    let mut tx = base.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, &"a line of a long text\n".repeat(12_000)).unwrap();
    tx.commit();
    let write = |who: u8, every: usize| {
        let mut doc = base.fork().with_actor(actor(who));
        let heads = doc.get_heads();
        for n in 0..100 {
            let mut tx = doc.transaction();
            tx.splice_text(&text, n * every, 3, "new").unwrap();
            tx.commit();
        }
        let changes = doc.get_changes(&heads);
        (doc, changes)
    };
    let (mut doc, _) = write(1, 1_000);
    let (_, theirs) = write(2, 2_000);
    let (applying, detecting, found) = meet(&mut doc, &theirs);
    println!("100 in 264,000 characters: {found} found in {detecting:.1?} beside {applying:.1?} to apply");
    within("100 in a long text", detecting, applying / 10);
}
