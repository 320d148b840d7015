//! What policy wants somebody to look at first: a card on every device and no change, until it is let in or declined.
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
use syncd_engine::document;
use syncd_engine::workspace::{ObjectView, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteError, WriteRequest, Written};
use syncd_schema::operation::EntryState;
use syncd_schema::{Digest, EntryKind, Manifest, ObjectState, OperationStatus, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn apart(value: Value) -> (Engine, Engine) {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", value, at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut bob, &mut ada, at(2));
    (ada, bob)
}

fn view(engine: &mut Engine) -> ObjectView {
    engine.get(&"n1".parse().unwrap()).expect("readable").expect("known")
}

fn write_as(engine: &mut Engine, actor: &str, intent: Intent, n: u64) -> Result<Written, WriteError> {
    let request = WriteRequest::new(actor.parse().unwrap(), intent);
    engine.write(&[request], at(n)).expect("the disk works").0.remove(0)
}

/// An agent's edit, which says what it was based on or does not.
fn agent_edit(engine: &mut Engine, base: Option<Vec<Digest>>, patch: Value, n: u64) -> Written {
    let intent = Intent::Edit { object: "n1".parse().unwrap(), base, edit: Edit::MergePatch(patch) };
    write_as(engine, "agent:claw", intent, n).expect("proposed or written")
}

fn resolve(engine: &mut Engine, card: Digest, choice: Choice, n: u64) -> Written {
    let resolve = Resolve { card, choice, value: None, pick: None, because: None };
    write_as(engine, "user:ada", Intent::Resolve(resolve), n).expect("resolved")
}

fn open(engine: &Engine) -> Vec<Digest> {
    let mut open: Vec<Digest> =
        engine.cards(false).expect("readable").into_iter().map(|card| card.card).collect();
    open.sort_unstable();
    open
}

/// Both devices show and ask the same, and everything verifies.
fn alike(ada: &mut Engine, bob: &mut Engine) {
    sync(bob, ada, at(5_000));
    sync(bob, ada, at(5_001));
    let (here, there) = (view(ada), view(bob));
    assert_eq!((&here.value, here.state, &here.heads), (&there.value, there.state, &there.heads));
    assert_eq!(open(ada), open(bob));
    for engine in [ada, bob] {
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
}

#[test]
fn an_agent_only_proposes_on_a_stale_base_to_a_dangerous_field_and_in_a_high_class() {
    let cases: [(Value, Value, bool); 5] = [
        (json!({}), json!({"n": 2}), false),
        (json!({"dangerousFields": ["/run"]}), json!({"n": 2}), false),
        (json!({"dangerousFields": ["/run"]}), json!({"run": {"cmd": "x"}}), true),
        (json!({"policyClass": "high"}), json!({"n": 2}), true),
        (json!({"policyClass": "critical"}), json!({"n": 2}), true),
    ];
    for (members, patch, asks) in cases {
        let (mut ada, mut bob) = apart(json!({"n": 1}));
        let mut manifest = json!({"collection": "notes"});
        manifest.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let bytes = manifest.to_string().into_bytes();
        write(&mut ada, Intent::Govern(EntryKind::MANIFEST, bytes), at(3)).expect("governed");
        sync(&mut bob, &mut ada, at(4));
        let base = view(&mut bob).heads;
        let written = agent_edit(&mut bob, Some(base), patch.clone(), 10);
        assert_eq!(written.card.is_some(), asks, "{members} {patch}");
        alike(&mut ada, &mut bob);
        assert_eq!(view(&mut ada).value == json!({"n": 1}), asks, "{members} {patch}");
    }
    let (mut ada, mut bob) = apart(json!({"n": 1}));
    let old = view(&mut bob).heads;
    merge_patch(&mut bob, "n1", json!({"n": 5}), at(3));
    assert!(agent_edit(&mut bob, Some(old), json!({"n": 2}), 10).card.is_some());
    alike(&mut ada, &mut bob);
    assert_eq!(view(&mut ada).value, json!({"n": 5}), "a card, and no overwrite");
}

#[test]
fn an_agent_that_does_not_know_what_is_there_proposes_and_a_person_decides() {
    for (choice, n) in [(Choice::Remote, 2), (Choice::Decline, 1), (Choice::Local, 1), (Choice::Fork, 1)] {
        for here in [true, false] {
            let (mut ada, mut bob) = apart(json!({"n": 1, "other": 1}));
            let written = agent_edit(&mut bob, None, json!({"n": 2}), 10);
            assert_eq!(written.status, OperationStatus::AwaitingDecision);
            let card = written.card.expect("a card");
            assert_eq!(view(&mut bob).value["n"], 1, "nothing changed");
            assert_eq!(view(&mut bob).state, ObjectState::Held);
            alike(&mut ada, &mut bob);
            assert_eq!((open(&ada), view(&mut ada).state), (vec![card], ObjectState::Held));
            let shown = ada.card(&card).unwrap().expect("known");
            assert_eq!(shown.summary.kind, "policy_review");
            assert_eq!(shown.values[0].said.value["n"], 2);
            assert_eq!(shown.values[0].said.operation, Some(written.operation));
            assert!(shown.options.iter().any(|option| option.option == "decline"));
            // Work goes on meanwhile, the agent's too.
            merge_patch(&mut ada, "n1", json!({"other": 2}), at(20));
            let heads = view(&mut bob).heads;
            let known = agent_edit(&mut bob, Some(heads), json!({"more": 1}), 21);
            assert_eq!(known.status, OperationStatus::Completed);
            alike(&mut ada, &mut bob);

            let decided = resolve(if here { &mut ada } else { &mut bob }, card, choice, 30);
            alike(&mut ada, &mut bob);
            assert_eq!(view(&mut ada).value, json!({"n": n, "other": 2, "more": 1}), "{choice:?}");
            assert_eq!(view(&mut ada).state, ObjectState::Clean);
            assert_eq!(open(&ada), []);
            for engine in [&mut ada, &mut bob] {
                let ended = engine.card(&card).unwrap().unwrap().resolution.expect("decided");
                assert_eq!((ended.operation, ended.option.as_str()), (decided.operation, choice.word()));
                let op = engine.operation(written.operation).unwrap().expect("known");
                assert_eq!(op.status, OperationStatus::Completed, "nobody waits for ever");
                if choice == Choice::Fork {
                    let object = decided.object.as_ref().unwrap();
                    assert_eq!(engine.get(object).unwrap().unwrap().value, json!({"n": 2, "other": 1}));
                }
            }
            // Everything is at rest.
            let before = (ada.frontier(), bob.frontier());
            sync(&mut bob, &mut ada, at(6_000));
            assert_eq!(before, (ada.frontier(), bob.frontier()));
        }
    }
}

#[test]
fn a_stale_base_is_a_proposal_on_that_base() {
    let (mut ada, mut bob) = apart(json!({"n": 1}));
    let base = view(&mut bob).heads;
    merge_patch(&mut bob, "n1", json!({"n": 5}), at(10));
    let written = agent_edit(&mut bob, Some(base), json!({"n": 2}), 11);
    assert_eq!(written.status, OperationStatus::AwaitingDecision);
    alike(&mut ada, &mut bob);
    assert_eq!(view(&mut ada).value, json!({"n": 5}));
    // Let in, it is what it always was: an edit made without knowledge of the other.
    resolve(&mut ada, written.card.unwrap(), Choice::Remote, 20);
    alike(&mut ada, &mut bob);
    let cards = open(&ada);
    assert_eq!(cards.len(), 1, "not an overwrite");
    assert_eq!(ada.card(&cards[0]).unwrap().unwrap().summary.kind, "concurrent_value");
    let unknown = Intent::Edit {
        object: "n1".parse().unwrap(),
        base: Some(vec![Digest([7; 32])]),
        edit: Edit::MergePatch(json!({"n": 3})),
    };
    let unknown = write_as(&mut bob, "agent:claw", unknown, 30);
    assert!(matches!(unknown, Err(WriteError::UnknownBase { .. })), "{unknown:?}");
}

#[test]
fn a_decision_that_arrives_before_what_it_decides_about_waits_for_it() {
    let (mut ada, mut bob) = apart(json!({"n": 1}));
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    sync(&mut eve, &mut ada, at(3));
    sync(&mut eve, &mut ada, at(4));
    let card = agent_edit(&mut bob, None, json!({"n": 2}), 10).card.unwrap();
    sync(&mut bob, &mut ada, at(11));
    resolve(&mut ada, card, Choice::Remote, 12);
    // Ada's log alone reaches Eve first.
    let own = ada.own_log();
    let size = eve.size_of_log(&own);
    let segment = ada.segment(&own, size, None).expect("readable").expect("there is more");
    let device = ada.device();
    eve.receive(device, &segment, at(13)).expect("taken");
    assert_eq!(view(&mut eve).value, json!({"n": 1}));
    sync(&mut eve, &mut bob, at(14));
    assert_eq!(view(&mut eve).value, json!({"n": 2}));
    alike(&mut ada, &mut eve);
    assert_eq!(open(&eve), []);
}

#[test]
fn what_builds_on_a_proposal_is_not_lost_with_it() {
    for choice in [Choice::Remote, Choice::Decline] {
        let (mut ada, mut bob) = apart(json!({"n": 1}));
        let mut hand = Hand::enrolled(&mut ada, 9, Role::Member);
        sync(&mut bob, &mut ada, at(3));
        let card = agent_edit(&mut ada, None, json!({"n": 2}), 10).card.unwrap();
        // Somebody builds on the change although it is not let in.
        let session = hand.session();
        let actor = hand.actor();
        let subject = subject(&ada, "n1");
        let manifest = Manifest::free_form(subject.collection.clone());
        let mut doc = ada.with_object(&subject.object, Clone::clone).unwrap().unwrap();
        let proposed = Edit::MergePatch(json!({"n": 2}));
        let proposed =
            document::propose(&doc, &document::heads(&doc), &proposed, &manifest).unwrap().unwrap();
        let held = ada.history(&subject.object).unwrap();
        assert!(held.iter().any(|item| (item.change, item.status) == (proposed.hash, EntryState::Held)));
        document::join(&mut doc, &proposed).unwrap();
        let late = Edit::MergePatch(json!({"late": 1}));
        let late = document::apply(&mut doc, &late, actor, 0, &manifest).unwrap().unwrap();
        let record = hand.change(subject, late);
        let segment = hand.send(&[session, record]);
        let device = hand.identity.device();
        ada.receive(device, &segment, at(20)).expect("taken");
        assert_eq!(view(&mut ada).value, json!({"n": 1}));
        resolve(&mut ada, card, choice, 30);
        let n = if choice == Choice::Remote { 2 } else { 1 };
        assert_eq!(view(&mut ada).value, json!({"n": n, "late": 1}));
        alike(&mut ada, &mut bob);
    }
}

#[test]
fn in_a_critical_collection_an_agent_proposes_whole_objects_too() {
    for (choice, state) in [(Choice::Remote, ObjectState::Clean), (Choice::Decline, ObjectState::Tombstoned)]
    {
        let (mut ada, mut bob) = apart(json!({}));
        let manifest = br#"{"collection":"keys","policyClass":"critical"}"#.to_vec();
        write(&mut ada, Intent::Govern(EntryKind::MANIFEST, manifest), at(5)).expect("governed");
        sync(&mut bob, &mut ada, at(6));
        let intent = Intent::Put {
            collection: "keys".parse().unwrap(),
            object: Some("k1".parse().unwrap()),
            value: json!({"door": "blue"}),
        };
        let written = write_as(&mut bob, "agent:claw", intent, 10).expect("proposed");
        assert_eq!(written.status, OperationStatus::AwaitingDecision);
        alike(&mut ada, &mut bob);
        let id = "k1".parse().unwrap();
        assert_eq!(
            ada.get(&id).unwrap().map(|view| (view.value, view.state)),
            Some((Value::Null, ObjectState::Held))
        );
        // An agent may not decide here.
        let resolve_by_agent =
            Resolve { card: written.card.unwrap(), choice, value: None, pick: None, because: None };
        let refused = write_as(&mut ada, "agent:claw", Intent::Resolve(resolve_by_agent), 20);
        assert!(matches!(refused, Err(WriteError::Refused(_))), "{refused:?}");
        resolve(&mut ada, written.card.unwrap(), choice, 21);
        alike(&mut ada, &mut bob);
        for engine in [&mut ada, &mut bob] {
            assert_eq!(engine.get(&id).unwrap().unwrap().state, state);
        }
    }
}

#[test]
fn the_same_proposed_again_after_it_was_decided_asks_nobody() {
    for choice in [Choice::Remote, Choice::Decline] {
        let (mut ada, mut bob) = apart(json!({"n": 1}));
        let (mut eve, _) = member(&mut ada, 3, Role::Member);
        for n in 0..2 {
            sync(&mut eve, &mut ada, at(3 + n));
        }
        let base = Some(view(&mut bob).heads);
        merge_patch(&mut bob, "n1", json!({"n": 5}), at(10));
        merge_patch(&mut eve, "n1", json!({"n": 6}), at(10));
        // Two devices propose the same on the same base: equal bytes in two logs.
        let here = agent_edit(&mut bob, base.clone(), json!({"m": 2}), 11);
        let there = agent_edit(&mut eve, base.clone(), json!({"m": 2}), 12);
        assert_eq!(here.card, there.card);
        sync(&mut bob, &mut ada, at(13));
        let card = here.card.unwrap();
        resolve(&mut ada, card, choice, 20);
        alike(&mut ada, &mut bob);
        // Eve's arrives when it is decided already.
        alike(&mut ada, &mut eve);
        alike(&mut ada, &mut bob);
        for engine in [&mut ada, &mut bob, &mut eve] {
            assert!(!open(engine).contains(&card), "{choice:?}");
            for operation in [here.operation, there.operation] {
                let status = engine.operation(operation).unwrap().expect("known").status;
                assert_eq!(status, OperationStatus::Completed);
            }
        }
        let again = agent_edit(&mut bob, base, json!({"m": 2}), 40);
        assert_eq!(again.status, OperationStatus::Completed, "nothing would change");
    }
}

/// Ada's edits after an agent of Bob's proposed something on what was there before.
fn proposed_and_gone_on(start: Value, proposal: Value, edits: &[Value]) -> (Engine, Engine, Digest) {
    let (mut ada, mut bob) = apart(start);
    let card = agent_edit(&mut bob, None, proposal, 10).card.expect("a card");
    alike(&mut ada, &mut bob);
    for (n, edit) in edits.iter().enumerate() {
        merge_patch(&mut ada, "n1", edit.clone(), at(20 + n as u64));
    }
    (ada, bob, card)
}

#[test]
fn declining_leaves_everything_as_it_is_shown() {
    let start = || json!({"t": "old", "list": [1, 2, 3], "m": {"a": 1, "b": 1}, "gone": 1});
    let proposals = [
        json!({"t": "bot"}),
        json!({"t": "bot", "list": [1, 9], "m": {"a": 7}, "gone": null, "new": {"x": 1}}),
        json!({"m": null, "list": null}),
        json!({"m": {"a": {"deep": 1}}}),
    ];
    let works: [&[Value]; 5] = [
        &[],
        &[json!({"t": "human"})],
        &[json!({"t": "human", "m": {"a": 2}}), json!({"m": {"b": 3, "c": 4}})],
        &[json!({"m": null, "list": [4], "gone": null})],
        &[json!({"t": "bot", "new": 5, "gone": 2})],
    ];
    for proposal in &proposals {
        for work in works {
            for (choice, here) in [(Choice::Decline, true), (Choice::Local, false), (Choice::Fork, true)] {
                let (mut ada, mut bob, card) = proposed_and_gone_on(start(), proposal.clone(), work);
                alike(&mut ada, &mut bob);
                let shown = view(&mut ada).value;
                resolve(if here { &mut ada } else { &mut bob }, card, choice, 40);
                alike(&mut ada, &mut bob);
                assert_eq!(view(&mut bob).value, shown, "{choice:?} {proposal} {work:?}");
                assert_eq!(open(&bob), [], "{choice:?} {proposal} {work:?}");
                assert_eq!(view(&mut ada).state, ObjectState::Clean);
            }
        }
    }
}

#[test]
fn a_value_given_for_a_held_change_competes_with_nothing() {
    let (mut ada, mut bob, card) =
        proposed_and_gone_on(json!({"t": "old"}), json!({"t": "bot"}), &[json!({"t": "human"})]);
    let value = Some(json!({"t": "both"}));
    let resolve = Resolve { card, choice: Choice::Merge, value, pick: None, because: None };
    write_as(&mut ada, "user:ada", Intent::Resolve(resolve), 40).expect("resolved");
    alike(&mut ada, &mut bob);
    assert_eq!((view(&mut bob).value, open(&bob)), (json!({"t": "both"}), vec![]));
}

#[test]
fn two_who_decline_at_once_agree_or_are_one_card() {
    for (edit, cards) in [(json!({"o": 2}), 0), (json!({"t": "human"}), 1)] {
        for first in [true, false] {
            let (mut ada, mut bob, card) =
                proposed_and_gone_on(json!({"t": "old", "o": 1}), json!({"t": "bot"}), &[]);
            alike(&mut ada, &mut bob);
            merge_patch(&mut ada, "n1", edit.clone(), at(30));
            resolve(&mut ada, card, Choice::Decline, 40);
            resolve(&mut bob, card, Choice::Decline, 41);
            if first {
                sync(&mut bob, &mut ada, at(50));
            } else {
                sync(&mut ada, &mut bob, at(50));
            }
            alike(&mut ada, &mut bob);
            assert_eq!(open(&ada).len(), cards, "{edit}");
            let shown = view(&mut ada).value["t"].clone();
            let values: Vec<Value> = match open(&ada).first() {
                Some(card) => {
                    ada.card(card).unwrap().unwrap().values.into_iter().map(|v| v.said.value).collect()
                }
                None => vec![shown],
            };
            assert!(!values.contains(&json!("bot")), "{values:?}");
            assert!(cards == 0 || values.contains(&json!("human")), "{values:?}");
        }
    }
}

#[test]
fn declining_ends_no_other_question() {
    let (mut ada, mut bob, card) = proposed_and_gone_on(json!({"t": "old"}), json!({"t": "bot"}), &[]);
    alike(&mut ada, &mut bob);
    merge_patch(&mut ada, "n1", json!({"t": "hers"}), at(30));
    merge_patch(&mut bob, "n1", json!({"t": "his"}), at(31));
    alike(&mut ada, &mut bob);
    let asked: Vec<Digest> = open(&ada).into_iter().filter(|one| *one != card).collect();
    let declined = Resolve { card, choice: Choice::Decline, value: None, pick: None, because: None };
    let refused = write_as(&mut ada, "user:ada", Intent::Resolve(declined), 40).expect_err("refused");
    assert!(refused.to_string().contains("answer that one first"), "{refused}");
    resolve(&mut ada, asked[0], Choice::Local, 41);
    let shown = view(&mut ada).value;
    resolve(&mut ada, card, Choice::Decline, 42);
    alike(&mut ada, &mut bob);
    assert_eq!((view(&mut bob).value, open(&bob)), (shown, vec![]));
}

#[test]
fn a_declined_change_is_not_let_in_before_what_takes_it_back() {
    let (mut ada, mut bob, card) = proposed_and_gone_on(json!({"t": "old"}), json!({"t": "bot"}), &[]);
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    alike(&mut ada, &mut eve);
    alike(&mut ada, &mut bob);
    merge_patch(&mut ada, "n1", json!({"t": "human"}), at(30));
    sync(&mut bob, &mut ada, at(31));
    resolve(&mut bob, card, Choice::Decline, 40);
    // Bob's log alone reaches Eve first.
    let own = bob.own_log();
    let size = eve.size_of_log(&own);
    let segment = bob.segment(&own, size, None).expect("readable").expect("there is more");
    let device = bob.device();
    eve.receive(device, &segment, at(41)).expect("taken");
    assert_eq!((view(&mut eve).value, open(&eve)), (json!({"t": "old"}), vec![card]));
    alike(&mut ada, &mut eve);
    assert_eq!((view(&mut eve).value, open(&eve)), (json!({"t": "human"}), vec![]));
    assert!(eve.card(&card).unwrap().unwrap().resolution.is_some());
}
