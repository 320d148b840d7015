//! The breaker for edits: rewrites in a row wait on every device alike, under one card, and block nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::{Value, json};
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{CardSummary, Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteRequest, Written};
use syncd_evidence::FindingKind;
use syncd_schema::{Actor, Digest, ObjectId, OperationStatus, Role, UnixMicros};

/// Rewrites in a row that happen before the others wait.
const FREE: usize = 24;
const PROSE: &str = "It was a bright cold day in April, and the clocks were striking thirteen.";

fn at(seconds: u64) -> UnixMicros {
    START.plus(seconds * 1_000_000)
}

fn bot() -> Actor {
    "agent:bot".parse().expect("an actor")
}

fn id(n: usize) -> ObjectId {
    format!("n{n:03}").parse().unwrap()
}

/// Two devices that share objects, in a workspace where agents may write.
fn two(objects: usize) -> [Engine; 2] {
    two_on_disk(objects).0
}

fn two_on_disk(objects: usize) -> ([Engine; 2], Disk) {
    let (mut ada, _) = owner(1);
    let text = "permit(principal, action, resource);".to_owned();
    write(&mut ada, Intent::SetPolicy { text, beside: false }, at(1)).expect("set");
    let (mut eve, disk) = member(&mut ada, 2, Role::Member);
    let puts = (0..objects).map(|n| {
        let value = json!({ "title": format!("note {n}"), "body": PROSE });
        let intent = Intent::Put { collection: "notes".parse().unwrap(), object: Some(id(n)), value };
        WriteRequest::new(user(), intent)
    });
    let puts: Vec<WriteRequest> = puts.collect();
    assert!(ada.write(&puts, at(2)).expect("the disk works").0.iter().all(Result::is_ok));
    sync(&mut ada, &mut eve, at(3));
    ([ada, eve], disk)
}

fn edit(engine: &mut Engine, actor: &Actor, n: usize, edit: Edit, now: UnixMicros) -> Written {
    let intent = Intent::Edit { object: id(n), base: None, edit };
    engine.write(&[WriteRequest::new(actor.clone(), intent)], now).unwrap().0.remove(0).expect("logged")
}

fn rewrite(n: usize) -> Edit {
    Edit::SetText { path: "/body".to_owned(), text: format!("all work and no play, {n}") }
}

fn value(engine: &mut Engine, n: usize) -> Value {
    engine.get(&id(n)).unwrap().unwrap().value
}

fn cards(engine: &Engine) -> Vec<CardSummary> {
    engine.cards(false).expect("readable")
}

fn answer(engine: &mut Engine, card: Digest, choice: Choice, now: UnixMicros) {
    let resolve = Resolve { card, choice, value: None, pick: None, because: None };
    write(engine, Intent::Resolve(resolve), now).expect("answered");
}

/// What must be equal on both devices: every value, the open cards, what became of each operation.
fn all_alike(engines: &mut [Engine; 2], objects: usize) -> Vec<Value> {
    let states = engines.each_mut().map(|engine| {
        let values: Vec<Value> = (0..objects).map(|n| value(engine, n)).collect();
        let open: Vec<_> = cards(engine).into_iter().map(|card| (card.card, card.kind)).collect();
        let operations = engine.operations(None, 10_000).unwrap();
        let mut operations: Vec<_> =
            operations.into_iter().map(|view| format!("{} {:?}", view.operation, view.status)).collect();
        operations.sort();
        let report = engine.verify(|_, _| {}).unwrap();
        assert!(report.ok, "{:?}", report.findings);
        (values, open, operations)
    });
    assert_eq!(states[0], states[1]);
    states.into_iter().next().unwrap().0
}

/// An agent that rewrites 60 of 100 notes, one after the other, on the second device.
fn runs_wild(engines: &mut [Engine; 2]) -> Digest {
    let mut card = None;
    for n in 0..60 {
        let written = edit(&mut engines[1], &bot(), n, rewrite(n), at(10 + n as u64));
        assert_eq!(written.status == OperationStatus::AwaitingDecision, n >= FREE, "rewrite {n}");
        assert!(card.is_none() || written.card == card, "one card for all");
        card = written.card;
    }
    let [ada, eve] = engines;
    sync(ada, eve, at(100));
    let values = all_alike(engines, 100);
    assert_eq!(values.iter().filter(|value| value["body"] == json!(PROSE)).count(), 100 - FREE);
    card.expect("a card")
}

#[test]
fn rewrites_in_a_row_wait_under_one_card() {
    let mut engines = two(100);
    let card = runs_wild(&mut engines);
    for engine in &mut engines {
        let open = cards(engine);
        assert_eq!((open.len(), open[0].card, open[0].kind), (1, card, "burst"));
        let view = engine.card(&card).unwrap().unwrap();
        let said = &view.values[0].said.value;
        assert_eq!((&said["rewrites"], &said["deletes"]), (&json!(60 - FREE), &json!(0)));
    }
    // Nothing is blocked: others and the agent itself go on, what waits included.
    edit(
        &mut engines[0],
        &user(),
        40,
        Edit::Splice { path: "/body".into(), pos: 0, del: 0, text: "> ".into() },
        at(110),
    );
    let written = edit(&mut engines[1], &bot(), 41, Edit::MergePatch(json!({ "seen": true })), at(111));
    assert_eq!(written.status, OperationStatus::Completed);
    let [ada, eve] = &mut engines;
    sync(ada, eve, at(120));
    answer(ada, card, Choice::Remote, at(130));
    sync(ada, eve, at(140));
    let values = all_alike(&mut engines, 100);
    assert_eq!(values.iter().filter(|value| value["body"] == json!(PROSE)).count(), 40);
    assert_eq!(values[59]["body"], json!("all work and no play, 59"));
    assert!(
        values[40]["body"].as_str().unwrap().contains("> "),
        "what was written meanwhile is there: {}",
        values[40]
    );
    assert_eq!(values[41]["seen"], json!(true));
    // Who was let in is not asked again at the next one.
    let written = edit(&mut engines[1], &bot(), 60, rewrite(60), at(150));
    assert_eq!(written.status, OperationStatus::Completed);
}

#[test]
fn declined_rewrites_are_in_no_document_and_in_the_log() {
    let mut engines = two(100);
    let card = runs_wild(&mut engines);
    let [ada, eve] = &mut engines;
    answer(ada, card, Choice::Decline, at(130));
    sync(ada, eve, at(140));
    let values = all_alike(&mut engines, 100);
    assert_eq!(values.iter().filter(|value| value["body"] == json!(PROSE)).count(), 100 - FREE);
    assert!(cards(&engines[0]).is_empty());
    let refused = engines[0].operations(Some(OperationStatus::Failed), 1_000).unwrap();
    assert_eq!(refused.len(), 60 - FREE);
}

#[test]
fn half_of_a_small_collection_is_enough() {
    let mut engines = two(16);
    let written: Vec<_> =
        (0..16).map(|n| edit(&mut engines[1], &bot(), n, rewrite(n), at(10 + n as u64))).collect();
    let waiting = written.iter().position(|written| written.status == OperationStatus::AwaitingDecision);
    assert_eq!(waiting, Some(9), "the tenth of sixteen");
}

#[test]
fn work_is_no_burst() {
    let mut engines = two(100);
    // The same note again and again, small edits everywhere, and more text in all of them.
    for n in 0..60 {
        let [_, eve] = &mut engines;
        let now = at(10 + n as u64);
        for change in [
            edit(eve, &bot(), 0, rewrite(n), now),
            edit(eve, &bot(), n, Edit::MergePatch(json!({ "title": format!("chapter {n}") })), now),
            edit(
                eve,
                &bot(),
                n,
                Edit::Splice { path: "/body".into(), pos: 0, del: 1, text: PROSE.into() },
                now,
            ),
        ] {
            assert_eq!(change.status, OperationStatus::Completed);
        }
    }
    assert!(cards(&engines[1]).is_empty());
}

#[test]
fn what_was_counted_is_known_after_a_restart() {
    let (mut engines, disk) = two_on_disk(100);
    for n in 0..FREE {
        edit(&mut engines[1], &bot(), n, rewrite(n), at(10 + n as u64));
    }
    let [ada, eve] = engines;
    drop(eve);
    let mut engines = [ada, Engine::open(config(2, &disk)).expect("opens")];
    let written = edit(&mut engines[1], &bot(), FREE, rewrite(FREE), at(50));
    assert_eq!(written.status, OperationStatus::AwaitingDecision);
    // Somebody else, or the same actor elsewhere, is not held up by it.
    let other = edit(&mut engines[1], &user(), FREE, rewrite(FREE), at(51));
    assert_eq!(other.status, OperationStatus::Completed);
}

#[test]
fn what_was_deleted_or_began_anew_meanwhile_loses_nothing_that_waits() {
    for (choice, deletes) in [(Choice::Remote, true), (Choice::Remote, false), (Choice::Decline, true)] {
        let mut engines = two(100);
        let card = runs_wild(&mut engines);
        let [ada, eve] = &mut engines;
        let meanwhile = match deletes {
            true => Intent::Delete { object: id(50) },
            false => Intent::Rebirth { object: id(50), remains: Remains::Value(json!({ "body": "anew" })) },
        };
        write(ada, meanwhile, at(110)).expect("permitted");
        // The answer is given where nobody knows of it yet.
        answer(eve, card, choice, at(120));
        sync(ada, eve, at(130));
        sync(ada, eve, at(131));
        let values = all_alike(&mut engines, 100);
        let waiting = engines[0].operations(Some(OperationStatus::Blocked), 100).unwrap();
        assert!(waiting.is_empty(), "{waiting:?}");
        let about: Vec<_> = cards(&engines[0]).into_iter().map(|card| (card.object, card.kind)).collect();
        match (choice, deletes) {
            // What the rewrite says meets the deletion.
            (Choice::Remote, true) => assert_eq!(about, [(id(50), "delete_edit")]),
            // Whoever began anew knew of the rewrite, and dropped it: its author is told.
            (Choice::Remote, false) => {
                assert_eq!((about.len(), &values[50]), (0, &json!({ "body": "anew" })));
                let findings = engines[1].findings().unwrap();
                assert!(findings.iter().any(|found| found.kind == FindingKind::WorkDropped), "{findings:?}");
            }
            _ => assert_eq!((about.len(), &values[50]), (0, &json!(null))),
        }
    }
}
