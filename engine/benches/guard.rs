//! What the guard costs before a change is applied, and what a bomb costs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first thing that is not as it should be"
)]

#[path = "../tests/attack/bombs.rs"]
mod bombs;
#[path = "../tests/guard/craft.rs"]
mod craft;
mod timing;

use automerge::Automerge;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use syncd_engine::document::{self, Edit, EncodedChange};
use syncd_engine::guard::{self, Door, Incoming};
use syncd_schema::Manifest;
use syncd_schema::manifest::FieldRule;
use timing::{Budgets, each};

fn manifest() -> Manifest {
    let fields = [("/t".to_owned(), FieldRule::Text)].into();
    Manifest { fields, ..Manifest::free_form("docs".parse().unwrap()) }
}

fn born(fields: &Value) -> Automerge {
    let (object, collection) = ("o1".parse().unwrap(), "docs".parse().unwrap());
    let birth = document::birth(&object, &collection, fields, &manifest()).unwrap();
    let mut doc = document::empty();
    document::join(&mut doc, &birth.change).unwrap();
    doc
}

fn edited(doc: &Automerge, edit: &Edit) -> EncodedChange {
    document::apply(&mut doc.clone(), edit, [1; 16], 1, &manifest()).unwrap().unwrap()
}

/// All that is looked at before Automerge sees the change, then the whole door with the application.
fn change(budgets: &mut Budgets, name: &str, doc: &Automerge, edit: &Edit, most: Duration) {
    let EncodedChange { bytes, hash } = edited(doc, edit);
    let mut known = None;
    let mut judge = || {
        let mut door = Door::knowing(known.take());
        assert_eq!(door.offer(Some(doc), bytes.as_slice(), hash).len(), 1);
        known = door.give_up();
    };
    // What is known of the document is kept beside it.
    let begun = Instant::now();
    judge();
    println!("{name}, judged first of all: {:.1?}", begun.elapsed());
    let judged = each(200, judge);
    budgets.time(&format!("{name}, judged"), judged, most);
    let incoming = [Incoming { bytes: &bytes, expected: hash }];
    let admitted = each(20, || assert!(guard::admit(Some(doc), &incoming).is_complete()));
    println!("{name}, admitted to a copy and checked there: {admitted:.1?}");
}

/// All bombs that are known, among them the change that cost Automerge 4.2 s and 0.9 GB: the slowest to refuse.
fn bombs(budgets: &mut Budgets, doc: &Automerge) {
    let mut slowest = (Duration::ZERO, String::new());
    let all = bombs::bombs(doc);
    let count = all.len();
    for (name, bomb) in all {
        let incoming = [Incoming { bytes: &bomb.bytes, expected: bomb.hash }];
        let refused = each(100, || assert!(guard::admit(Some(doc), &incoming).first_refused().is_some()));
        slowest = slowest.max((refused, name));
    }
    let (time, name) = slowest;
    budgets.time(
        &format!("a bomb, refused; the slowest of {count}: {name}"),
        time,
        Duration::from_micros(10),
    );
}

fn main() -> ExitCode {
    let mut budgets = Budgets::default();
    let fields = (0..12).map(|n| (format!("field{n}"), json!(format!("value {n}"))));
    let mut doc = born(&Value::Object(fields.chain([("t".to_owned(), json!("a text"))]).collect()));
    bombs(&mut budgets, &doc);
    let one = Edit::MergePatch(json!({ "field7": 5 }));
    change(&mut budgets, "one put", &doc, &one, Duration::from_micros(5));
    let many = (0..100).map(|n| (format!("field{n}"), json!(n))).collect();
    change(
        &mut budgets,
        "a hundred puts",
        &doc,
        &Edit::MergePatch(Value::Object(many)),
        Duration::from_micros(120),
    );
    let typed = Edit::Splice { path: "/t".into(), pos: 2, del: 3, text: "x".repeat(97) };
    change(&mut budgets, "a hundred characters", &doc, &typed, Duration::from_micros(120));
    let long = Edit::SetText { path: "/t".into(), text: "lines of text\n".repeat(7_000) };
    document::apply(&mut doc, &long, [2; 16], 1, &manifest()).unwrap();
    change(&mut budgets, "one put beside a long text", &doc, &one, Duration::from_micros(5));
    change(&mut budgets, "a hundred characters in a long text", &doc, &typed, Duration::from_micros(120));
    budgets.end()
}
