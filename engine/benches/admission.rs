//! The engine alone, in memory: what admission costs beside bare Automerge, and how long ten thousand cards take to list.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench stops at the first thing that is not as it should be"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod timing;

use automerge::{Automerge, Change};
use common::*;
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::{LogSeq, Role, UnixMicros};
use timing::{Budgets, best};

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn all(engine: &mut Engine, intents: impl IntoIterator<Item = Intent>, now: UnixMicros) {
    let batch: Vec<_> = intents.into_iter().map(|intent| WriteRequest::new(user(), intent)).collect();
    for answer in engine.write(&batch, now).expect("the disk works").0 {
        answer.expect("written");
    }
}

fn record(fields: usize, value: &dyn Fn(usize) -> Value) -> Value {
    Value::Object((0..fields).map(|n| (format!("field{n}"), value(n))).collect::<Map<_, _>>())
}

fn put(id: usize, value: Value) -> Intent {
    Intent::Put {
        collection: "notes".parse().unwrap(),
        object: Some(format!("n{id}").parse().unwrap()),
        value,
    }
}

fn patch(id: usize, value: Value) -> Intent {
    Intent::Edit { object: format!("n{id}").parse().unwrap(), base: None, edit: Edit::MergePatch(value) }
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

const DOCUMENTS: usize = 100;

/// Everything on but the disk: verification, gate, guard, stage, conflicts, evidence, signature.
fn admission_beside_bare_automerge(budgets: &mut Budgets) {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    all(
        &mut ada,
        (0..DOCUMENTS).map(|id| put(id, record(12, &|n| json!(format!("value {n} of {id}"))))),
        at(1),
    );
    sync(&mut ada, &mut bob, at(2));
    let (mut admits, mut bare) = (Vec::new(), Vec::new());
    let log = bob.own_log();
    for round in 0..21_u64 {
        let mut loaded: Vec<Automerge> = (0..DOCUMENTS)
            .map(|id| ada.with_object(&format!("n{id}").parse().unwrap(), Clone::clone).unwrap().unwrap())
            .collect();
        let edits = (0..DOCUMENTS)
            .map(|id| patch(id, json!({ format!("field{}", round % 12): format!("round {round}") })));
        all(&mut bob, edits, at(10 + round));
        let mut changes = Vec::new();
        for (id, doc) in loaded.iter().enumerate() {
            let heads = doc.get_heads();
            let new = bob
                .with_object(&format!("n{id}").parse().unwrap(), |theirs| theirs.get_changes(&heads))
                .unwrap();
            changes
                .push(new.unwrap().into_iter().map(|change| change.raw_bytes().to_vec()).collect::<Vec<_>>());
        }
        assert_eq!(changes.iter().map(Vec::len).sum::<usize>(), DOCUMENTS);
        let begun = Instant::now();
        for (doc, bytes) in loaded.iter_mut().zip(changes) {
            let changes: Vec<Change> =
                bytes.into_iter().map(|bytes| Change::from_bytes(bytes).unwrap()).collect();
            doc.apply_changes(changes).unwrap();
        }
        bare.push(begun.elapsed());
        let mut spent = Duration::ZERO;
        while let Some(segment) = bob.segment(&log, ada.size_of_log(&log), None).unwrap() {
            let begun = Instant::now();
            ada.receive(bob.device(), &segment, at(10 + round)).expect("admitted");
            spent += begun.elapsed();
        }
        admits.push(spent);
        assert!(ada.size_of_log(&log) > LogSeq(0));
        assert_eq!(value(&mut ada, "n7"), value(&mut bob, "n7"));
    }
    let (admitted, applied) = (median(&admits), median(&bare));
    // Both were timed in each round, so what else ran then slowed both.
    let mut times: Vec<f64> =
        admits.iter().zip(&bare).map(|(admit, bare)| admit.as_secs_f64() / bare.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    println!(
        "100 changes to 100 documents: admitted in {admitted:.2?}, applied by bare Automerge in {applied:.2?}"
    );
    budgets.times("as long as bare Automerge, the median of all rounds", times[times.len() / 2], 2.5);
}

fn ten_thousand_cards_are_listed(budgets: &mut Budgets) {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    all(&mut ada, (0..DOCUMENTS).map(|id| put(id, record(100, &|_| json!(0)))), at(1));
    sync(&mut ada, &mut bob, at(2));
    all(&mut ada, (0..DOCUMENTS).map(|id| patch(id, record(100, &|_| json!(1)))), at(3));
    all(&mut bob, (0..DOCUMENTS).map(|id| patch(id, record(100, &|_| json!(2)))), at(3));
    let begun = Instant::now();
    sync(&mut ada, &mut bob, at(4));
    println!("10,000 cards opened on two devices in {:.2?}", begun.elapsed());
    let listed = best(9, || {
        let begun = Instant::now();
        assert_eq!(ada.cards(false).expect("readable").len(), 10_000);
        begun.elapsed()
    });
    budgets.time("10,000 open cards listed", listed, Duration::from_millis(100));
}

fn main() -> ExitCode {
    let mut budgets = Budgets::default();
    admission_beside_bare_automerge(&mut budgets);
    ten_thousand_cards_are_listed(&mut budgets);
    budgets.end()
}
