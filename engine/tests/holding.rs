//! Where the manifest wants it, what contradicts stays out until somebody decides, and nothing else waits with it.
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
use syncd_engine::workspace::{ObjectView, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest};
use syncd_schema::{Digest, EntryKind, ObjectState, OperationId, OperationStatus, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Three devices that hold one object of a collection of class high, and have not heard of each other since.
fn three() -> [Engine; 3] {
    let (mut ada, _) = owner(1);
    let manifest = br#"{"collection":"notes","policyClass":"high"}"#.to_vec();
    write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest), at(0)).expect("governed");
    put(&mut ada, "n1", json!({"k": 0, "other": 0, "m": {"x": 1}}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    for engine in [&mut bob, &mut eve] {
        sync(engine, &mut ada, at(1));
        sync(engine, &mut ada, at(2));
    }
    sync(&mut bob, &mut ada, at(3));
    [ada, bob, eve]
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

fn open(engine: &Engine) -> Vec<Digest> {
    let mut open: Vec<Digest> =
        engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
    open.sort_unstable();
    open
}

fn answer(engine: &mut Engine, card: Digest, choice: Choice, pick: Option<OperationId>, n: u64) {
    let resolve = Resolve { card, choice, value: None, pick, because: None };
    write(engine, Intent::Resolve(resolve), at(n)).expect("resolved");
}

fn all_meet(engines: &mut [Engine; 3], n: u64) {
    for round in 0..2 {
        let [ada, bob, eve] = engines;
        sync(bob, ada, at(n + 10 * round));
        sync(eve, bob, at(n + 10 * round + 1));
        sync(ada, eve, at(n + 10 * round + 2));
    }
    for engine in engines {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
}

#[test]
fn each_shows_its_own_until_somebody_decides_and_then_all_show_the_same() {
    for (choice, expected) in [(Choice::Local, 1), (Choice::Remote, 2)] {
        let mut engines = three();
        merge_patch(&mut engines[0], "n1", json!({"k": 1}), at(10));
        merge_patch(&mut engines[1], "n1", json!({"k": 2}), at(11));
        merge_patch(&mut engines[1], "n1", json!({"other": 5}), at(12));
        all_meet(&mut engines, 20);
        let k: Vec<Value> = engines.iter_mut().map(|engine| view(engine).value["k"].clone()).collect();
        assert_eq!((&k[0], &k[1]), (&json!(1), &json!(2)));
        assert!(k[2] == json!(1) || k[2] == json!(2), "a third shows what it heard of first");
        let cards = open(&engines[0]);
        assert_eq!(cards.len(), 1);
        for engine in &mut engines {
            assert_eq!(open(engine), cards, "the same question everywhere");
            assert_eq!(view(engine).state, ObjectState::Held);
            let asked = engine.card(&cards[0]).unwrap().unwrap();
            assert_eq!(asked.values.len(), 2);
            assert_eq!(view(engine).conflicts[0].values.len(), 2);
        }
        // Work elsewhere in the object goes on, on top of what is shown; the place in question waits.
        merge_patch(&mut engines[0], "n1", json!({"m": {"x": 2}}), at(40));
        let edit = Edit::MergePatch(json!({"k": 9}));
        let refused =
            write(&mut engines[0], Intent::Edit { object: "n1".parse().unwrap(), base: None, edit }, at(41));
        assert!(
            matches!(refused, Err(WriteError::Undecided { card, .. }) if card == cards[0]),
            "{refused:?}"
        );
        all_meet(&mut engines, 50);
        assert_eq!(open(&engines[2]), cards);

        answer(&mut engines[0], cards[0], choice, None, 70);
        all_meet(&mut engines, 80);
        for engine in &mut engines {
            assert_eq!(open(engine), []);
            let shown = view(engine);
            assert_eq!(shown.value, json!({"k": expected, "other": 5, "m": {"x": 2}}), "{choice:?}");
            assert_eq!(shown.state, ObjectState::Clean);
            for item in engine.history(&"n1".parse().unwrap()).unwrap() {
                let operation = engine.operation(item.operation).unwrap().unwrap();
                assert_eq!(operation.status, OperationStatus::Completed);
            }
        }
        let heads: Vec<_> = engines.iter_mut().map(|engine| view(engine).heads).collect();
        assert!(heads.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn a_third_competitor_joins_the_question_and_all_are_let_in_together() {
    let mut engines = three();
    for (n, engine) in engines.iter_mut().enumerate() {
        merge_patch(engine, "n1", json!({"k": n + 1}), at(10 + n as u64));
    }
    let [ada, bob, _] = &mut engines;
    sync(bob, ada, at(20));
    let first = open(ada);
    all_meet(&mut engines, 30);
    let cards = open(&engines[0]);
    assert_eq!(cards.len(), 1);
    assert_ne!(first, cards);
    for engine in &mut engines {
        assert_eq!(open(engine), cards);
        assert_eq!(engine.card(&cards[0]).unwrap().unwrap().values.len(), 3);
    }
    let asked = engines[2].card(&cards[0]).unwrap().unwrap();
    let pick = asked.values.iter().find(|side| side.said.value == json!(1)).unwrap().said.operation;
    answer(&mut engines[2], cards[0], Choice::Merge, pick, 60);
    all_meet(&mut engines, 70);
    for engine in &mut engines {
        assert_eq!((open(engine), view(engine).value["k"].clone()), (vec![], json!(1)));
    }
}

#[test]
fn what_builds_on_a_held_change_waits_with_it_and_comes_in_with_it() {
    let mut engines = three();
    merge_patch(&mut engines[0], "n1", json!({"k": 1}), at(10));
    merge_patch(&mut engines[1], "n1", json!({"k": 2}), at(11));
    let [ada, bob, _] = &mut engines;
    sync(bob, ada, at(12));
    // Bob works on, elsewhere, on top of his own value.
    merge_patch(bob, "n1", json!({"other": 7}), at(13));
    all_meet(&mut engines, 20);
    assert_eq!(view(&mut engines[0]).value["other"], 0, "it was made on top of what is held");
    let cards = open(&engines[0]);
    assert_eq!(cards.len(), 1);
    answer(&mut engines[0], cards[0], Choice::Local, None, 40);
    all_meet(&mut engines, 50);
    for engine in &mut engines {
        assert_eq!(view(engine).value, json!({"k": 1, "other": 7, "m": {"x": 1}}));
        assert_eq!(open(engine), []);
    }
}

#[test]
fn other_objects_never_wait() {
    let mut engines = three();
    merge_patch(&mut engines[0], "n1", json!({"k": 1}), at(10));
    merge_patch(&mut engines[1], "n1", json!({"k": 2}), at(11));
    for n in 0..50 {
        put(&mut engines[1], &format!("o{n}"), json!({"n": n}), at(12 + n));
    }
    all_meet(&mut engines, 100);
    for engine in &mut engines {
        for n in 0..50 {
            assert_eq!(value(engine, &format!("o{n}")), json!({"n": n}));
        }
        assert_eq!(open(engine).len(), 1);
    }
}

#[test]
fn what_was_held_comes_in_when_the_manifest_no_longer_wants_it_held() {
    let mut engines = three();
    merge_patch(&mut engines[0], "n1", json!({"k": 1}), at(10));
    merge_patch(&mut engines[1], "n1", json!({"k": 2}), at(11));
    all_meet(&mut engines, 20);
    assert_eq!(view(&mut engines[0]).state, ObjectState::Held);
    let manifest = br#"{"collection":"notes","policyClass":"high","onConflict":"surface"}"#.to_vec();
    write(&mut engines[0], Intent::Govern(EntryKind::MANIFEST, manifest), at(40)).expect("governed");
    all_meet(&mut engines, 50);
    let cards = open(&engines[0]);
    assert_eq!(cards.len(), 1, "it is asked all the same");
    let values: Vec<Value> = engines.iter_mut().map(|engine| view(engine).value).collect();
    assert!(values.windows(2).all(|pair| pair[0] == pair[1]), "{values:?}");
    for engine in &mut engines {
        assert_eq!((open(engine), view(engine).state), (cards.clone(), ObjectState::Conflicted));
    }
}

/// A proposal of an agent, and its card.
fn propose(engine: &mut Engine) -> Digest {
    let edit = Edit::MergePatch(json!({"k": 5}));
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base: None, edit };
    let request = WriteRequest::new("agent:claw".parse().unwrap(), intent);
    let written = engine.write(&[request], at(10)).expect("the disk works").0.remove(0);
    written.expect("proposed").card.expect("a card")
}

#[test]
fn a_proposal_let_in_and_declined_at_once_ends_on_a_card_that_anybody_can_answer() {
    for who in 0..3 {
        for choice in [Choice::Local, Choice::Remote, Choice::Merge] {
            let mut engines = three();
            let first = propose(&mut engines[1]);
            all_meet(&mut engines, 11);
            assert!(engines.iter().all(|engine| open(engine) == [first]));
            answer(&mut engines[0], first, Choice::Remote, None, 40);
            answer(&mut engines[1], first, Choice::Decline, None, 41);
            all_meet(&mut engines, 50);
            let cards = open(&engines[2]);
            let [next] = cards.as_slice() else { panic!("{cards:?}") };
            for (engine, k) in engines.iter_mut().zip([Some(5), Some(0), None]) {
                assert_eq!(open(engine), cards);
                let asked = engine.card(next).unwrap().unwrap();
                assert_eq!(
                    (asked.summary.kind, asked.supersedes.as_slice()),
                    ("conflicting_answers", &[first][..])
                );
                assert_eq!(asked.values.len(), 2);
                assert_eq!(view(engine).state, ObjectState::Held);
                // Each shows its own answer. Eve, who heard of one first, shows that or neither.
                assert!(k.is_none_or(|k| view(engine).value["k"] == json!(k)));
            }
            // Work elsewhere goes on meanwhile.
            merge_patch(&mut engines[0], "n1", json!({"m": {"x": 2}}), at(70));
            all_meet(&mut engines, 80);
            let asked = engines[who].card(next).unwrap().unwrap();
            let kept = asked.values.iter().find(|side| side.shown == (choice == Choice::Local)).unwrap();
            let (k, pick) = (kept.said.value.clone(), kept.said.operation);
            let pick = pick.filter(|_| choice == Choice::Merge);
            answer(&mut engines[who], *next, choice, pick, 110);
            all_meet(&mut engines, 120);
            for engine in &mut engines {
                assert_eq!(open(engine), [], "{who} {choice:?}");
                let shown = view(engine);
                assert_eq!(shown.value, json!({"k": k, "other": 0, "m": {"x": 2}}), "{who} {choice:?}");
                assert_eq!(shown.state, ObjectState::Clean);
            }
        }
    }
}

#[test]
fn a_proposal_answered_in_two_ways_is_not_let_in_where_both_answers_arrive_at_once() {
    let mut engines = three();
    let [ada, bob, eve] = &mut engines;
    let first = propose(bob);
    sync(bob, ada, at(20));
    answer(ada, first, Choice::Remote, None, 40);
    answer(bob, first, Choice::Decline, None, 41);
    // Ada's answer alone waits for what it is about.
    let own = ada.own_log();
    let segment = ada.segment(&own, eve.size_of_log(&own), None).expect("readable").expect("there is more");
    eve.receive(ada.device(), &segment, at(50)).expect("taken");
    sync(eve, bob, at(51));
    sync(bob, ada, at(52));
    assert_eq!(view(eve).value["k"], 0, "somebody has declined it");
    assert_eq!(open(eve), open(ada));
    all_meet(&mut engines, 60);
    let next = open(&engines[2])[0];
    let asked = engines[2].card(&next).unwrap().unwrap();
    let lets_in = asked.values.iter().find(|side| side.said.value == json!(5)).unwrap();
    answer(&mut engines[2], next, Choice::Merge, lets_in.said.operation, 70);
    all_meet(&mut engines, 80);
    for engine in &mut engines {
        assert_eq!((open(engine), view(engine).value["k"].clone()), (vec![], json!(5)));
    }
}

#[test]
fn a_proposal_that_contradicts_when_it_is_let_in_comes_in_with_the_answer_to_that() {
    for (choice, k) in [(Choice::Local, 9), (Choice::Remote, 5)] {
        let mut engines = three();
        let first = propose(&mut engines[1]);
        merge_patch(&mut engines[0], "n1", json!({"k": 9}), at(11));
        all_meet(&mut engines, 20);
        answer(&mut engines[0], first, Choice::Remote, None, 50);
        all_meet(&mut engines, 60);
        let cards = open(&engines[0]);
        assert_eq!(cards.len(), 1);
        for engine in &mut engines {
            assert_eq!((open(engine), view(engine).value["k"].clone()), (cards.clone(), json!(9)));
        }
        answer(&mut engines[2], cards[0], choice, None, 90);
        all_meet(&mut engines, 100);
        for engine in &mut engines {
            assert_eq!((open(engine), view(engine).value["k"].clone()), (vec![], json!(k)), "{choice:?}");
        }
    }
}
