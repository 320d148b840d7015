//! Blocked objects, never blocked streams: of a thousand objects one is in every blocked state there is, the others sync
//! on, and each blocked one says its way out, which is taken.
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
use syncd_engine::log::run;
use syncd_engine::workspace::{Remains, Resolve};
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::entry::Subject;
use syncd_schema::{Digest, EntryKind, Incarnation, LogSeq, ObjectState, Role, UnixMicros};

const OBJECTS: usize = 1_000;

fn at(n: u64) -> UnixMicros {
    // A thousand entries of one commit take a millisecond of hybrid time.
    START.plus(1_000_000 + n * 2_000)
}

fn put_in(engine: &mut Engine, collection: &str, id: &str, value: Value, n: u64) {
    let (collection, object) = (collection.parse().unwrap(), Some(id.parse().unwrap()));
    write(engine, Intent::Put { collection, object, value }, at(n)).expect("put");
}

fn state(engine: &mut Engine, id: &str) -> ObjectState {
    engine.get(&id.parse().unwrap()).unwrap().unwrap().state
}

fn govern(engine: &mut Engine, manifest: &Value, n: u64) {
    let bytes = manifest.to_string().into_bytes();
    write(engine, Intent::Govern(EntryKind::MANIFEST, bytes), at(n)).expect("governed");
}

/// Answers every card about an object.
fn answer(engine: &mut Engine, id: &str, choice: Choice, value: Option<Value>, n: u64) {
    let cards = engine.cards(false).unwrap();
    let card: Vec<Digest> =
        cards.iter().filter(|card| card.object.as_str() == id).map(|card| card.card).collect();
    assert_eq!(card.len(), 1, "{id} has one open card: {cards:?}");
    let resolve = Resolve { card: card[0], choice, value, pick: None, because: None };
    write(engine, Intent::Resolve(resolve), at(n)).expect("resolved");
}

/// What `explain` says of an object: why it is blocked, and what to do.
fn explained(engine: &Engine, id: &str, state: &str) {
    let explained = engine.explain(id).unwrap().expect("known");
    assert_eq!(explained.state, state, "{id}: {explained:?}");
    assert!(!explained.because.is_empty() && !explained.next.is_empty(), "{id}: {explained:?}");
}

/// Everything that is not blocked goes on between two devices.
fn the_others_go_on(ada: &mut Engine, bob: &mut Engine, n: u64) {
    let edits: Vec<WriteRequest> = (0..OBJECTS)
        .map(|object| {
            let (object, edit) =
                (format!("o{object}").parse().unwrap(), Edit::MergePatch(json!({"round": n})));
            WriteRequest::new(user(), Intent::Edit { object, base: None, edit })
        })
        .collect();
    let (answers, _) = bob.write(&edits, at(n)).expect("the disk works");
    assert!(answers.iter().all(Result::is_ok));
    sync(bob, ada, at(n + 1));
    for object in 0..OBJECTS {
        assert_eq!(value(ada, &format!("o{object}"))["round"], n);
    }
}

#[test]
fn one_object_in_every_blocked_state_blocks_no_other_and_each_has_a_way_out() {
    let (mut ada, _) = owner(1);
    govern(&mut ada, &json!({"collection": "held", "onConflict": "hold"}), 0);
    let invariant = json!({"name": "one", "schema": {"not": {"required": ["a", "b"]}}});
    govern(&mut ada, &json!({"collection": "ruled", "invariants": [invariant]}), 1);
    govern(&mut ada, &json!({"collection": "strange", "mergeStrategy": "quarantine"}), 2);
    let batch: Vec<WriteRequest> = (0..OBJECTS)
        .map(|n| {
            let (collection, object) = ("notes".parse().unwrap(), Some(format!("o{n}").parse().unwrap()));
            WriteRequest::new(user(), Intent::Put { collection, object, value: json!({"n": n}) })
        })
        .collect();
    ada.write(&batch, at(3)).expect("the disk works");
    for id in ["value", "deletion", "proposal", "refused", "unknown", "missing", "reborn"] {
        put(&mut ada, id, json!({"k": 0}), at(4));
    }
    put_in(&mut ada, "held", "held", json!({"k": 0}), 5);
    put_in(&mut ada, "ruled", "ruled", json!({}), 6);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    sync(&mut bob, &mut ada, at(10));
    sync(&mut bob, &mut ada, at(11));

    // Contradicting values, held ones, a deletion that met work, two lives, a rule that the merge breaks, a proposal,
    // something in quarantine.
    for (n, engine) in [&mut ada, &mut bob].into_iter().enumerate() {
        merge_patch(engine, "value", json!({"k": n + 1}), at(20));
        merge_patch(engine, "held", json!({"k": n + 1}), at(21));
        put(engine, "lives", json!({"by": n}), at(22));
    }
    write(&mut ada, Intent::Delete { object: "deletion".parse().unwrap() }, at(23)).expect("deleted");
    merge_patch(&mut bob, "deletion", json!({"k": 1}), at(24));
    merge_patch(&mut ada, "ruled", json!({"a": 1}), at(25));
    merge_patch(&mut bob, "ruled", json!({"b": 1}), at(26));
    let edit = Edit::MergePatch(json!({"k": 5}));
    let proposal = Intent::Edit { object: "proposal".parse().unwrap(), base: None, edit };
    let proposal = WriteRequest::new("agent:claw".parse().unwrap(), proposal);
    bob.write(&[proposal], at(27)).unwrap().0.remove(0).expect("proposed");
    put_in(&mut bob, "strange", "strange", json!({"k": 1}), 28);
    // Work on what an object was before it began anew.
    let remains = Remains::Value(json!({"k": 1}));
    write(&mut ada, Intent::Rebirth { object: "reborn".parse().unwrap(), remains }, at(28)).expect("renewed");
    merge_patch(&mut bob, "reborn", json!({"late": 1}), at(28));
    // A change whose payload somebody took out on the way.
    let mut other = Hand::enrolled(&mut ada, 4, Role::Member);
    let records = [other.session(), other.birth("withheld", json!({"k": 1}))];
    let whole = other.send(&records);
    let mut stripped = records;
    stripped[1].payload = None;
    let stripped = run::encode(&stripped);
    let stripped = other.seal(LogSeq(0), 2, &stripped.bytes, stripped.open_len as u32);
    ada.receive(hand.identity.device(), &stripped, at(28)).expect("taken");
    // A change that nobody's session made, an entry of a kind that nobody knows, and one that builds on work of Bob's that
    // has not arrived.
    merge_patch(&mut bob, "missing", json!({"k": 1}), at(29));
    let session = hand.session();
    let actor = hand.actor();
    let late = hand.edit(&mut bob, "missing", json!({"late": 1}), actor);
    let refused = hand.edit(&mut ada, "refused", json!({"k": 9}), [9; 16]);
    let about = |engine: &Engine, id: &str| {
        let birth = engine.history(&id.parse().unwrap()).unwrap()[0].change;
        Subject {
            collection: "notes".parse().unwrap(),
            object: id.parse().unwrap(),
            incarnation: Incarnation(birth.0),
        }
    };
    let unknown = hand.record(EntryKind(99), Some(about(&ada, "unknown")), b"?");
    let segment = hand.send(&[session, late, refused, unknown]);
    ada.receive(hand.identity.device(), &segment, at(30)).expect("taken");
    assert_eq!(state(&mut ada, "missing"), ObjectState::Blocked);
    explained(&ada, "missing", "blocked");

    the_others_go_on(&mut ada, &mut bob, 100);
    let blocked = [
        ("value", ObjectState::Conflicted),
        ("held", ObjectState::Held),
        ("lives", ObjectState::Conflicted),
        ("deletion", ObjectState::Conflicted),
        ("ruled", ObjectState::Conflicted),
        ("proposal", ObjectState::Held),
        ("strange", ObjectState::Quarantined),
        ("refused", ObjectState::Blocked),
        ("unknown", ObjectState::Blocked),
        ("reborn", ObjectState::Conflicted),
        ("withheld", ObjectState::Blocked),
        // What it waited for came with Bob's log.
        ("missing", ObjectState::Clean),
    ];
    for (id, expected) in blocked {
        assert_eq!(state(&mut ada, id), expected, "{id}");
    }
    assert_eq!(value(&mut ada, "missing"), json!({"k": 1, "late": 1}));
    let findings = ada.findings().unwrap();
    explained(&ada, "reborn", "conflicted");
    explained(&ada, "withheld", "blocked");
    for id in ["refused", "unknown"] {
        let about = |finding: &&syncd_evidence::Finding| finding.place.contains(id);
        let finding = findings.iter().find(about).unwrap_or_else(|| panic!("{id}: {findings:?}"));
        assert!(!finding.next.is_empty());
        explained(&ada, id, "blocked");
    }

    // The ways out.
    answer(&mut ada, "value", Choice::Local, None, 200);
    answer(&mut ada, "held", Choice::Remote, None, 201);
    answer(&mut ada, "lives", Choice::Fork, None, 202);
    answer(&mut ada, "deletion", Choice::Local, None, 203);
    answer(&mut ada, "ruled", Choice::Merge, Some(json!({"a": 1})), 204);
    answer(&mut ada, "proposal", Choice::Decline, None, 205);
    answer(&mut ada, "reborn", Choice::Decline, None, 205);
    govern(&mut ada, &json!({"collection": "strange"}), 206);
    bob.receive(ada.device(), &whole, at(206)).expect("taken");
    // What was refused or cannot be read stays as evidence; the object is written on.
    for id in ["refused", "unknown"] {
        merge_patch(&mut ada, id, json!({"k": 7}), at(207));
    }
    sync(&mut bob, &mut ada, at(210));
    the_others_go_on(&mut ada, &mut bob, 300);
    for engine in [&mut ada, &mut bob] {
        assert_eq!(engine.cards(false).unwrap().len(), 0);
        for id in [
            "value", "held", "lives", "deletion", "ruled", "proposal", "strange", "missing", "reborn",
            "withheld",
        ] {
            assert_eq!(state(engine, id), ObjectState::Clean, "{id}");
        }
        for id in ["refused", "unknown"] {
            assert_eq!(value(engine, id)["k"], 7);
        }
        let report = engine.verify(|_, _| {}).expect("verifies");
        assert!(report.ok, "{:?}", report.findings);
    }
}
