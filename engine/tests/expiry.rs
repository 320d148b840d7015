//! Cards that nobody answers: after the time that the manifest names the program does, once, and says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use serde_json::json;
use syncd_engine::conflict::Choice;
use syncd_engine::workspace::{CardView, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest};
use syncd_schema::{Actor, Digest, EntryKind, Role, UnixMicros};

const HOUR: u64 = 3_600_000_000;

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Two devices that hold one object, whose cards expire after two hours.
fn two(class: &str) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    let manifest = json!({"collection": "notes", "policyClass": class, "cards": {"expireAfterHours": 2}});
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest.to_string().into_bytes()), at(0))
        .expect("governed");
    put(&mut ada, "n1", json!({"k": 0, "text": "one"}), at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    sync(&mut bob, &mut ada, at(3));
    (ada, bob)
}

fn only_card(engine: &mut Engine) -> CardView {
    let open = engine.cards(false).expect("readable");
    assert_eq!(open.len(), 1);
    engine.card(&open[0].card).expect("readable").expect("known")
}

fn ended(engine: &mut Engine, card: &Digest) -> CardView {
    assert!(engine.cards(false).expect("readable").is_empty());
    engine.card(card).expect("readable").expect("known")
}

fn verified(engine: &mut Engine) {
    let report = engine.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn the_newest_side_stays_and_whoever_does_it_first_does_it_for_all() {
    for class in ["medium", "high"] {
        let (mut ada, mut bob) = two(class);
        merge_patch(&mut ada, "n1", json!({"k": "hers"}), at(15));
        merge_patch(&mut bob, "n1", json!({"k": "his"}), at(10));
        sync(&mut bob, &mut ada, at(20));
        let card = only_card(&mut ada);
        assert_eq!(card.expires_at, Some(at(20 + 2 * HOUR).rfc3339()));
        assert!(ada.expire_cards(at(19 + 2 * HOUR)).expect("nothing to do").is_empty());
        only_card(&mut ada);
        // Both at once: the same answer.
        for engine in [&mut ada, &mut bob] {
            assert!(!engine.expire_cards(at(20 + 2 * HOUR)).expect("answered").is_empty());
            assert!(engine.expire_cards(at(20 + 3 * HOUR)).expect("nothing left").is_empty());
        }
        sync(&mut bob, &mut ada, at(21 + 3 * HOUR));
        for engine in [&mut ada, &mut bob] {
            assert_eq!(value(engine, "n1")["k"], "hers", "{class}");
            let ended = ended(engine, &card.summary.card);
            assert_eq!(ended.summary.status, "expired");
            let by = ended.resolution.expect("answered");
            assert_eq!((by.option.as_str(), by.actor), ("expire", Actor::system()));
            verified(engine);
        }
        assert_eq!(
            ada.get(&"n1".parse().unwrap()).unwrap().unwrap().heads,
            bob.get(&"n1".parse().unwrap()).unwrap().unwrap().heads
        );
    }
}

#[test]
fn a_person_who_answers_meanwhile_is_asked_about_it() {
    let (mut ada, mut bob) = two("medium");
    merge_patch(&mut ada, "n1", json!({"k": "hers"}), at(15));
    merge_patch(&mut bob, "n1", json!({"k": "his"}), at(10));
    sync(&mut bob, &mut ada, at(20));
    let card = only_card(&mut bob);
    let his = card.values.iter().find(|side| side.said.value == "his").unwrap().said.operation;
    let resolve =
        Resolve { card: card.summary.card, choice: Choice::Merge, value: None, pick: his, because: None };
    write(&mut bob, Intent::Resolve(resolve), at(30)).expect("answered");
    ada.expire_cards(at(20 + 2 * HOUR)).expect("answered");
    sync(&mut bob, &mut ada, at(21 + 2 * HOUR));
    let next = only_card(&mut ada);
    assert_eq!(next.generation, 1);
    // Answering again and again is for people only.
    let (mut n, mut last) = (0, next);
    while last.expires_at.is_some() {
        n += 1;
        let his = last.values.iter().find(|side| side.said.value == "his").unwrap().said.operation;
        let resolve =
            Resolve { card: last.summary.card, choice: Choice::Merge, value: None, pick: his, because: None };
        write(&mut bob, Intent::Resolve(resolve), at(30 + n * 9 * HOUR)).expect("answered");
        ada.expire_cards(at(31 + n * 9 * HOUR)).expect("answered");
        sync(&mut bob, &mut ada, at(32 + n * 9 * HOUR));
        last = only_card(&mut ada);
    }
    assert_eq!(last.generation, 3);
    assert!(ada.expire_cards(at(99 * HOUR)).expect("nothing to do").is_empty());
}

#[test]
fn what_was_deleted_and_worked_on_stays_and_a_proposal_waits_for_a_person() {
    let (mut ada, mut bob) = two("medium");
    write(&mut ada, Intent::Delete { object: "n1".parse().unwrap() }, at(10)).expect("deleted");
    merge_patch(&mut bob, "n1", json!({"k": 1}), at(11));
    sync(&mut bob, &mut ada, at(20));
    let card = only_card(&mut bob).summary.card;
    bob.expire_cards(at(20 + 2 * HOUR)).expect("answered");
    sync(&mut bob, &mut ada, at(21 + 2 * HOUR));
    assert_eq!(value(&mut ada, "n1"), json!({"k": 1, "text": "one"}));
    assert_eq!(ended(&mut ada, &card).summary.status, "expired");

    let edit = Edit::MergePatch(json!({"k": 2}));
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
    let agent: Actor = "agent:bot".parse().unwrap();
    let later = at(3 * HOUR);
    let proposed = bob.write(&[WriteRequest::new(agent, intent)], later).unwrap().0.remove(0);
    let card = proposed.expect("proposed").card.expect("a card");
    sync(&mut bob, &mut ada, at(3 * HOUR + 1));
    assert_eq!(ada.card(&card).unwrap().unwrap().expires_at, None);
    assert!(ada.expire_cards(at(99 * HOUR)).expect("a person is asked").is_empty());
    verified(&mut bob);
}

#[test]
fn nobody_else_lets_a_card_expire_and_policy_may_forbid_it() {
    let (mut ada, mut bob) = two("medium");
    merge_patch(&mut ada, "n1", json!({"k": "hers"}), at(15));
    merge_patch(&mut bob, "n1", json!({"k": "his"}), at(10));
    sync(&mut bob, &mut ada, at(20));
    let card = only_card(&mut ada).summary.card;
    let resolve = Resolve { card, choice: Choice::Expire, value: None, pick: None, because: None };
    let refused = write(&mut ada, Intent::Resolve(resolve), at(30 + 2 * HOUR));
    assert!(matches!(refused, Err(WriteError::Resolve(_))), "{refused:?}");

    let text = r#"permit (principal, action, resource);
        @id("people-answer") forbid (principal is System, action == Action::"sync.conflict.resolve", resource);"#;
    write(&mut ada, Intent::SetPolicy { text: text.to_owned(), beside: false }, at(40)).expect("set");
    ada.expire_cards(at(30 + 2 * HOUR)).expect("refused, and that is no failure");
    let records = ada.verify(|_, _| {}).unwrap().ledger.size;
    ada.expire_cards(at(31 + 2 * HOUR)).expect("not tried again");
    assert_eq!(ada.verify(|_, _| {}).unwrap().ledger.size, records);
    only_card(&mut ada);
}
