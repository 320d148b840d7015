//! Entries that wait, and what comes of them: nothing waits for ever, nothing counts that was refused, and whoever
//! makes others wait pays for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use common::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::log::LogRecord;
use syncd_engine::workspace::Receipt;
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::entry::Subject;
use syncd_schema::manifest::Manifest;
use syncd_schema::message::Segment;
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, LogSeq, ObjectState, OperationId, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(10_000_000 + n)
}

/// Bob lacks what Ada writes next; Hand is a member who has seen it.
fn scene() -> (Engine, Engine, Hand) {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"n": 0}), at(0));
    put(&mut ada, "n2", json!({"n": 0}), at(1));
    let hand = Hand::enrolled(&mut ada, 3, Role::Member);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    sync(&mut bob, &mut ada, at(3));
    (ada, bob, hand)
}

fn patched(doc: &mut Automerge, hand: &Hand, value: serde_json::Value) -> EncodedChange {
    let manifest = Manifest::free_form("notes".parse().unwrap());
    document::apply(doc, &Edit::MergePatch(value), hand.actor(), 0, &manifest).unwrap().unwrap()
}

fn copy(engine: &mut Engine, subject: &Subject) -> Automerge {
    engine.with_object(&subject.object, Clone::clone).unwrap().unwrap()
}

fn receive(engine: &mut Engine, segment: &Segment, now: u64) -> Receipt {
    engine.receive(segment.log.device, segment, at(now)).expect("received")
}

fn states(receipt: &Receipt) -> Vec<EntryState> {
    let each = receipt.outcomes.iter().flat_map(|(_, o)| std::iter::repeat_n(o.state, o.count as usize));
    each.collect()
}

/// Ada edits both objects in one commit; the segment of it.
fn adas_edits(ada: &mut Engine, bob: &Engine) -> Segment {
    let edit = |id: &str| {
        let edit = Edit::MergePatch(json!({"x": 1}));
        WriteRequest::new(user(), Intent::Edit { object: id.parse().unwrap(), base: None, edit })
    };
    ada.write(&[edit("n1"), edit("n2")], at(10))
        .unwrap()
        .0
        .into_iter()
        .for_each(|answer| drop(answer.unwrap()));
    let log = ada.own_log();
    ada.segment(&log, bob.size_of_log(&log), None).unwrap().unwrap()
}

#[test]
fn only_a_birth_builds_on_nothing() {
    let (mut ada, mut bob, mut hand) = scene();
    let log = ada.own_log();
    let from = bob.size_of_log(&log);
    put(&mut ada, "n3", json!({"real": 1}), at(5));
    let genuine = ada.segment(&log, from, None).unwrap().unwrap();
    // Hand has seen the birth, and is quicker at Bob's with a first change of its own for the same life.
    let mut squat = document::empty().with_actor(ActorId::from(hand.actor()));
    let mut tx = squat.transaction();
    tx.put(ROOT, "false", 1).unwrap();
    let hash = tx.commit().0.unwrap();
    let change = EncodedChange::of(&squat, &hash).unwrap();
    let records = vec![hand.session(), hand.change(subject(&ada, "n3"), change)];
    assert_eq!(
        states(&receive(&mut bob, &hand.send(&records), 20)),
        [EntryState::Admitted, EntryState::Refused]
    );
    assert_eq!(states(&receive(&mut bob, &genuine, 21)), [EntryState::Admitted]);
    assert_eq!(value(&mut bob, "n3"), json!({"real": 1}));
}

#[test]
fn a_refused_change_is_refused_however_often_it_comes() {
    let (mut ada, mut bob, mut hand) = scene();
    let subject = subject(&ada, "n1");
    let doc = copy(&mut ada, &subject);
    let first = patched(&mut doc.clone(), &hand, json!({"h": 1}));
    let rival = patched(&mut doc.clone(), &hand, json!({"h": 2}));
    let records = vec![
        hand.session(),
        hand.change(subject.clone(), first),
        hand.change(subject.clone(), rival.clone()),
        hand.change(subject, rival),
    ];
    let receipt = receive(&mut bob, &hand.send(&records), 20);
    assert_eq!(
        states(&receipt),
        [EntryState::Admitted, EntryState::Admitted, EntryState::Refused, EntryState::Refused]
    );
    let report = bob.verify(|_, _| {}).unwrap();
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn what_waits_for_a_birth_is_let_in_when_the_same_is_born_here() {
    let (_, mut bob, mut hand) = scene();
    let birth = hand.birth("n9", json!({"t": 1}));
    let subject = birth.entry.subject.clone().unwrap();
    let payload = birth.payload.clone().unwrap();
    let mut doc = document::load(None, std::iter::once(payload.as_slice())).unwrap();
    let change = patched(&mut doc, &hand, json!({"h": 1}));
    let records = vec![hand.session(), hand.change(subject, change)];
    assert_eq!(
        states(&receive(&mut bob, &hand.send(&records), 20)),
        [EntryState::Admitted, EntryState::Held]
    );
    put(&mut bob, "n9", json!({"t": 1}), at(21));
    let view = bob.get(&"n9".parse().unwrap()).unwrap().unwrap();
    assert_eq!((view.value, view.state), (json!({"t": 1, "h": 1}), ObjectState::Clean));
    let report = bob.verify(|_, _| {}).unwrap();
    assert!(report.ok, "{:?}", report.findings);
}

/// Records of edits of both objects in turn, on top of what Ada has.
fn edits(ada: &mut Engine, hand: &mut Hand, count: usize) -> Vec<LogRecord> {
    let mut docs: Vec<(Subject, Automerge)> = ["n1", "n2"]
        .iter()
        .map(|id| {
            let subject = subject(ada, id);
            let doc = copy(ada, &subject);
            (subject, doc)
        })
        .collect();
    let mut records = vec![hand.session()];
    for n in 0..count {
        let (subject, doc) = &mut docs[n % 2];
        let change = patched(doc, hand, json!({"h": n}));
        records.push(hand.change(subject.clone(), change));
    }
    records
}

#[test]
fn a_thousand_that_waited_are_let_in_together_and_each_is_one_with_its_neighbours_in_the_ledger() {
    let (mut ada, mut bob, mut hand) = scene();
    let genuine = adas_edits(&mut ada, &bob);
    let records = edits(&mut ada, &mut hand, 1_000);
    let segment = hand.send(&records);

    // Nothing waits, at another device: what it costs at least.
    let mut late = member(&mut ada, 4, Role::Member).0;
    sync(&mut late, &mut ada, at(15));
    sync(&mut late, &mut ada, at(16));
    let start = Instant::now();
    let receipt = receive(&mut late, &segment, 20);
    let at_once = start.elapsed();
    assert_eq!(states(&receipt), vec![EntryState::Admitted; 1_001]);

    let receipt = receive(&mut bob, &segment, 20);
    assert_eq!(states(&receipt).iter().filter(|state| **state == EntryState::Held).count(), 1_000);
    let start = Instant::now();
    let receipt = receive(&mut bob, &genuine, 21);
    let released = start.elapsed();
    assert_eq!(states(&receipt), vec![EntryState::Admitted; 1_002]);
    assert!(released < at_once * 10, "at once {at_once:?}, released {released:?}");
    assert_eq!(value(&mut bob, "n1"), json!({"n": 0, "x": 1, "h": 998}));

    // One record for all, with an id of its own, under which the author hears of them.
    let outcomes: Vec<_> = receipt.outcomes.iter().filter(|(log, _)| *log == hand.log).collect();
    assert_eq!((outcomes.len(), outcomes[0].1.count), (1, 1_000));
    let known: BTreeSet<OperationId> = bob.evidence(100).unwrap().iter().map(|record| record.id).collect();
    assert_eq!(known.len(), bob.evidence(100).unwrap().len(), "no id twice");
    for (_, outcome) in &receipt.outcomes {
        assert!(known.contains(&outcome.operation.unwrap()));
        assert_ne!(outcome.operation, Some(OperationId([0; 16])));
    }
}

#[test]
fn an_entry_that_misses_much_is_remembered_by_little_and_let_in_all_the_same() {
    let (mut ada, mut bob, mut hand) = scene();
    let subject = subject(&ada, "n1");
    let doc = copy(&mut ada, &subject);
    // Forty sessions that know nothing of each other, and one change on top of all.
    let mut wave = Vec::new();
    let mut merged = doc.clone();
    for n in 0..40_u8 {
        hand.session = [n + 1; 16];
        let mut own = doc.clone();
        let change = patched(&mut own, &hand, json!({"w": n}));
        merged.merge(&mut own).unwrap();
        wave.push((hand.session, change));
    }
    hand.session = [99; 16];
    let last = patched(&mut merged, &hand, json!({"all": true}));
    let first = vec![hand.session(), hand.change(subject.clone(), last)];
    assert_eq!(states(&receive(&mut bob, &hand.send(&first), 20)), [EntryState::Admitted, EntryState::Held]);
    for part in wave.chunks(7) {
        let mut records = Vec::new();
        for (session, change) in part {
            hand.session = *session;
            records.push(hand.session());
            records.push(hand.change(subject.clone(), change.clone()));
        }
        receive(&mut bob, &hand.send(&records), 21);
    }
    assert_eq!(value(&mut bob, "n1")["all"], json!(true));
    assert_eq!(bob.status().unwrap().held, 0);
}

#[test]
fn missing_changes_that_do_not_exist_cost_little() {
    let (mut ada, _, mut hand) = scene();
    let (mut bob, disk) = member(&mut ada, 5, Role::Member);
    sync(&mut bob, &mut ada, at(4));
    sync(&mut bob, &mut ada, at(5));
    let before = disk.0.lock().unwrap().len();
    let subject = subject(&ada, "n1");
    let records: Vec<LogRecord> = std::iter::once(hand.session())
        .chain((0..200_u32).map(|n| {
            let mut deps: Vec<Digest> = (0..1_000_u32)
                .map(|d| {
                    let mut hash = [7; 32];
                    hash[..4].copy_from_slice(&d.to_be_bytes());
                    Digest(hash)
                })
                .collect();
            deps.sort();
            let rest = {
                let mut doc = copy(&mut ada, &subject);
                let change = patched(&mut doc, &hand, json!({"n": n + 1}));
                document_rest(&change)
            };
            let (hash, bytes) = syncd_engine::guard::chunk::assemble(&deps, &hand.actor(), &rest).unwrap();
            hand.change(subject.clone(), EncodedChange { hash, bytes })
        }))
        .collect();
    receive(&mut bob, &hand.send(&records), 20);
    assert_eq!(bob.status().unwrap().held, 200);
    // All the hashes would be 6,400,000 bytes.
    let grown = disk.0.lock().unwrap().len() - before;
    assert!(grown < 3_000_000, "the store grew by {grown} bytes");
    assert_eq!(bob.outcomes_of(&hand.log, LogSeq(0)).unwrap().len(), 2);
}

fn document_rest(change: &EncodedChange) -> Vec<u8> {
    syncd_engine::guard::chunk::split(&change.bytes).unwrap().rest.to_vec()
}
