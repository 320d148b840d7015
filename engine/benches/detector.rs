//! What looking for contradictions costs, beside the application of the same changes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod timing;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, Change, ObjType, ROOT};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use syncd_engine::{conflict, document};
use syncd_schema::Digest;
use timing::{Budgets, best};

fn actor(n: u8) -> ActorId {
    ActorId::from([n; 16])
}

fn empty(n: u8) -> Automerge {
    document::empty().with_actor(actor(n))
}

/// Applies changes and looks at them: how long looking took and how long applying, and how many contradictions there
/// are; the fastest of some rounds.
fn meet(rounds: usize, doc: &Automerge, changes: &[Change]) -> (Duration, Duration, usize) {
    let arrived: Vec<Digest> = changes.iter().map(|change| Digest(change.hash().0)).collect();
    let (mut applying, mut found) = (Duration::MAX, 0);
    let looking = best(rounds, || {
        let start = Instant::now();
        let mut copy = doc.clone();
        copy.apply_changes(changes.iter().cloned()).unwrap();
        applying = applying.min(start.elapsed());
        let start = Instant::now();
        found = conflict::update(&copy, &BTreeSet::new(), &arrived, &|_| false).unwrap().len();
        start.elapsed()
    });
    (looking, applying, found)
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

fn one_against_one(budgets: &mut Budgets) {
    let base = record();
    let (doc, _) = puts(&base, 1, 1, 1);
    let (_, theirs) = puts(&base, 2, 1, 1);
    let (looking, applying, found) = meet(200, &doc, &theirs);
    assert_eq!(found, 1);
    println!("one against one, applied in {applying:.1?}");
    budgets.time("one against one", looking, Duration::from_micros(100));
}

fn ten_thousand_against_ten_thousand(budgets: &mut Budgets) {
    let base = record();
    let (doc, _) = puts(&base, 1, 10_000, 4_000);
    let (_, theirs) = puts(&base, 2, 10_000, 4_000);
    let (looking, applying, found) = meet(5, &doc, &theirs);
    assert_eq!(found, 4_000);
    println!("10,000 against 10,000, {found} found, applied in {applying:.1?}");
    budgets.time("10,000 against 10,000", looking, Duration::from_millis(150));
}

fn a_hundred_in_a_long_text(budgets: &mut Budgets) {
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
    let (doc, _) = write(1, 1_000);
    let (_, theirs) = write(2, 2_000);
    let (looking, applying, found) = meet(5, &doc, &theirs);
    println!("100 against 100 in 264,000 characters, {found} found, applied in {applying:.1?}");
    budgets.time("100 against 100 in a long text", looking, applying / 10);
}

fn main() -> ExitCode {
    let mut budgets = Budgets::default();
    one_against_one(&mut budgets);
    ten_thousand_against_ten_thousand(&mut budgets);
    a_hundred_in_a_long_text(&mut budgets);
    budgets.end()
}
