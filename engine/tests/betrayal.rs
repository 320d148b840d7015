//! Members with valid keys who do what no honest program does: nothing of it goes past the gate, stops an honest
//! device, or takes more of it than there is room for.
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
use syncd_engine::log::run;
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::{Engine, Intent, ReceiveError, WriteRequest};
use syncd_evidence::FindingKind;
use syncd_schema::governance::Bundle;
use syncd_schema::message::{CloseCode, Control, Hello, Position, Segment, features};
use syncd_schema::operation::EntryState;
use syncd_schema::{
    DeviceId, Digest, EntryKind, Epoch, LogId, LogSeq, OperationId, Role, UnixMicros, cbor, limits,
};

fn at(n: u64) -> UnixMicros {
    START.plus(10_000_000 + n)
}

/// A session in which the engine heard a peer's first words and expects anything.
fn greeted(engine: &mut Engine, peer: DeviceId) -> Session {
    let mut session = Session::new(peer, false);
    let hello = Hello {
        min_version: 1,
        max_version: 1,
        features: features::REQUIRED,
        workspace: engine.workspace(),
        frontier: Digest([1; 32]),
        entries: 0,
        own: None,
    };
    for word in [Control::Hello(hello), Control::Frontier(Vec::new())] {
        session.handle(engine, Input::Control(word), at(500)).expect("the disk works");
    }
    session
}

fn is_closed(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Close(CloseCode::Protocol, _)))
}

#[test]
fn an_edit_that_names_another_collection_is_about_another_object() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first"}), at(0));
    let text = r#"@id("no-notes") forbid (principal, action in Action::"write", resource)
when { context.collection == Collection::"notes" && context.role == Role::"member" };
permit (principal, action, resource);"#;
    let bundle = cbor::encode(&Bundle { text: text.into(), supersedes: Vec::new() });
    let govern = WriteRequest::new(user(), Intent::Govern(EntryKind::BUNDLE, bundle));
    ada.write(&[govern], at(1)).unwrap().0.remove(0).expect("an owner may");
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    hand.governance = ada.governance().heads.clone();
    let (session, actor) = (hand.session(), hand.actor());
    let named = hand.edit(&mut ada, "n1", json!({"title": "stolen"}), actor);
    let mut elsewhere = hand.record(EntryKind::EDIT, None, b"");
    (elsewhere.entry.payload_digest, elsewhere.entry.payload_len) =
        (named.entry.payload_digest, named.entry.payload_len);
    (elsewhere.payload, elsewhere.entry.subject) = (named.payload.clone(), named.entry.subject.clone());
    elsewhere.entry.subject.as_mut().unwrap().collection = "scratch".parse().unwrap();
    let segment = hand.send(&[session, named, elsewhere]);
    let receipt = ada.receive(hand.log.device, &segment, at(2)).expect("taken");
    let states: Vec<EntryState> = receipt.outcomes.iter().map(|(_, outcome)| outcome.state).collect();
    assert_eq!(states, [EntryState::Admitted, EntryState::Refused, EntryState::Held]);
    assert_eq!(value(&mut ada, "n1"), json!({"title": "first"}));
    assert!(ada.verify(|_, _| {}).unwrap().ok);
}

#[test]
fn whoever_passes_a_log_on_cannot_take_anything_out() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first"}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    merge_patch(&mut bob, "n1", json!({"bob": 1}), at(3));
    let genuine = bob.segment(&bob.own_log(), LogSeq(0), None).unwrap().unwrap();
    let open = hand.key.open(&genuine.sealed, &genuine.associated_data()).expect("a member has the key");
    let strip = |kind: EntryKind, hand: &mut Hand| {
        let mut records = run::decode(&open, genuine.open_len as usize).expect("a run");
        records.iter_mut().filter(|r| r.entry.kind == kind).for_each(|r| r.payload = None);
        let encoded = run::encode(&records);
        let mut stripped = Segment { open_len: encoded.open_len as u32, ..genuine.clone() };
        stripped.sealed = hand.key.seal(&encoded.bytes, &stripped.associated_data(), &mut hand.entropy);
        stripped
    };
    let stripped = strip(EntryKind::SESSION, &mut hand);
    let error = ada.receive(hand.log.device, &stripped, at(4)).expect_err("not taken");
    assert!(matches!(error, ReceiveError::Payload(_)), "{error}");
    // A change may have been dropped by somebody of whom ada has not heard: its entry waits, and is asked for.
    let stripped = strip(EntryKind::EDIT, &mut hand);
    let receipt = ada.receive(hand.log.device, &stripped, at(5)).expect("taken");
    assert!(receipt.outcomes.iter().any(|(_, outcome)| outcome.state == EntryState::Held));
    assert_eq!(value(&mut ada, "n1"), json!({"title": "first"}));
    assert!(ada.verify(|_, _| {}).unwrap().ok);
    sync(&mut bob, &mut ada, at(6));
    assert_eq!(value(&mut ada, "n1"), json!({"title": "first", "bob": 1}));
    assert!(ada.verify(|_, _| {}).unwrap().ok);
}

#[test]
fn a_number_alone_stops_nobody() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first"}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    put(&mut bob, "b1", json!({}), at(1));
    sync(&mut bob, &mut ada, at(2));
    let own = ada.own_log();
    // Bob holds a genuine signature of Ada's: of another size, and of a log of his own.
    let told = bob.frontier_for(&ada.device());
    let genuine = told.iter().find(|position| position.log == own).expect("her log").signature;
    assert!(genuine.is_some() && ada.frontier_for(&bob.device()).iter().any(|p| p.signature.is_some()));
    assert!(told.iter().all(|position| (position.log == own) == position.signature.is_some()));
    let lie =
        Position { log: own, size: LogSeq(1_000), root: Digest([9; 32]), branch: false, signature: None };
    let later = LogId { epoch: Epoch(u32::MAX), ..own };
    for position in [
        lie,
        Position { signature: Some([7; 64]), ..lie },
        Position { signature: genuine, ..lie },
        Position { log: later, ..lie },
        Position { log: later, signature: genuine, ..lie },
        Position { branch: true, ..lie },
    ] {
        let mut session = greeted(&mut ada, bob.device());
        session.handle(&mut ada, Input::Control(Control::Frontier(vec![position])), at(3)).unwrap();
        assert_eq!(ada.stopped(), None, "{position:?}");
    }
    put(&mut ada, "n2", json!({}), at(4));
    assert_eq!(ada.status().unwrap().epoch, 0);
}

#[test]
fn what_a_session_keeps_for_later_is_bounded() {
    let (mut ada, _) = owner(1);
    let bob = Hand::enrolled(&mut ada, 3, Role::Member);
    let mut session = greeted(&mut ada, bob.log.device);
    let (mut sent, mut closed) = (0_usize, false);
    // Segments for devices that nobody knows: none is verified, so each could be anything.
    while !closed && sent < 4 * limits::DEVICES * limits::EPOCHS {
        let mut device = [7; 32];
        device[..8].copy_from_slice(&(sent as u64).to_be_bytes());
        let log = LogId { device: DeviceId(device), ..bob.log };
        let (first, checkpoint, sealed) = (LogSeq(0), Vec::new(), vec![1; 256 << 10]);
        let segment =
            Segment { log, first, count: 1, checkpoint, key_epoch: 0, open_len: 1, branch: None, sealed };
        let input = Input::Segment(Box::new(segment));
        closed = is_closed(&session.handle(&mut ada, input, at(20)).unwrap());
        sent += 1;
    }
    assert!(closed, "{sent} logs of strangers");
}

#[test]
fn asking_again_and_again_ends_the_session() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first"}), at(0));
    let bob = Hand::enrolled(&mut ada, 3, Role::Member);
    let mut session = greeted(&mut ada, bob.log.device);
    let want = Control::Want { log: ada.own_log(), from: LogSeq(0), branch: None };
    let mut segments = 0;
    let ended = (0..100).any(|_| {
        let outputs = session.handle(&mut ada, Input::Control(want.clone()), at(21)).unwrap();
        segments += outputs.iter().filter(|output| matches!(output, Output::Segment(_))).count();
        is_closed(&outputs)
    });
    assert!(ended && segments <= 16, "{segments}");
}

#[test]
fn a_history_that_failed_to_arrive_is_not_taken_for_one_that_did() {
    let (mut ada, _) = owner(1);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    let from = hand.log.device;
    let (session, second) = (hand.session(), hand.record(EntryKind::CHECKPOINT, None, b""));
    let segment = hand.send(&[session.clone(), second.clone()]);
    ada.receive(from, &segment, at(1)).expect("taken");
    let (tree, time) = (hand.tree.clone(), hand.time);
    // Another history, whose third entry is not taken.
    let mut bad = hand.record(EntryKind::CHECKPOINT, None, b"");
    bad.entry.operation = OperationId::at(bad.entry.time.plus(1), 7);
    hand.tree = syncd_evidence::Tree::default();
    let asked = Some(Digest([5; 32]));
    let segment = Segment { branch: asked, ..hand.send(&[session, second, bad]) };
    ada.receive(from, &segment, at(2)).expect_err("an id that does not carry its time");
    let (other, later) = (hand.tree.clone(), hand.time);
    (hand.tree, hand.time) = (tree, time.plus(333));
    let three = [(); 3].map(|()| hand.record(EntryKind::CHECKPOINT, None, b""));
    let segment = hand.send(&three);
    assert_eq!(ada.receive(from, &segment, at(3)).expect("taken").size, LogSeq(5));
    // What follows the bad entry proves nothing without it.
    (hand.tree, hand.time) = (other, later.plus(7_777));
    let next = hand.record(EntryKind::CHECKPOINT, None, b"");
    let segment = Segment { branch: asked, ..hand.send(&[next]) };
    ada.receive(from, &segment, at(4)).expect_err("a part is missing");
    let report = ada.verify(|_, _| {}).unwrap();
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn a_log_that_waits_for_ever_takes_no_room_from_others() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"title": "first"}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let (mut carl, _) = member(&mut ada, 4, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    sync(&mut carl, &mut ada, at(1));
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    let mut last = Ok(());
    for _ in 0..=limits::PENDING_ENTRIES / limits::SEGMENT_ENTRIES {
        let records: Vec<_> =
            (0..limits::SEGMENT_ENTRIES).map(|_| hand.record(EntryKind(99), None, b"")).collect();
        let segment = hand.send(&records);
        last = ada.receive(hand.log.device, &segment, at(3)).map(drop);
    }
    assert!(matches!(last, Err(ReceiveError::TooManyPending)), "{last:?}");
    // Nor does another log of the same device find room.
    hand.log.epoch = Epoch(1);
    hand.tree = syncd_evidence::Tree::default();
    let record = hand.record(EntryKind(99), None, b"");
    let segment = hand.send(&[record]);
    let other = ada.receive(hand.log.device, &segment, at(4));
    assert!(matches!(other, Err(ReceiveError::TooManyPending)), "{other:?}");
    let device = hand.log.device.short();
    let found = ada.findings().unwrap();
    let found = found.iter().filter(|f| f.kind == FindingKind::LimitReached && f.place.contains(&device));
    assert_eq!(found.count(), 2, "one for each log");
    // Bob's entry builds on Carl's, which comes later: it may wait all the same.
    merge_patch(&mut carl, "n1", json!({"carl": 1}), at(5));
    sync(&mut carl, &mut bob, at(6));
    merge_patch(&mut bob, "n1", json!({"bob": 1}), at(7));
    for (peer, log) in [(&mut bob, None), (&mut carl, Some(()))] {
        let own = peer.own_log();
        let segment = peer.segment(&own, LogSeq(0), None).unwrap().unwrap();
        ada.receive(peer.device(), &segment, at(8)).expect("taken");
        let both = json!({"title": "first", "carl": 1, "bob": 1});
        assert_eq!(value(&mut ada, "n1") == both, log.is_some());
    }
}

#[test]
fn many_requirements_cost_little() {
    let (mut ada, _) = owner(1);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    let ids: Vec<OperationId> = (0..256).map(|n| OperationId::at(at(n), 5)).collect();
    let mut records = [(); 5].map(|()| hand.record(EntryKind::CHECKPOINT, None, b""));
    records.iter_mut().for_each(|record| record.entry.requires.clone_from(&ids));
    let tree = hand.tree.clone();
    let segment = hand.send(&records);
    let error = ada.receive(hand.log.device, &segment, at(300)).expect_err("too many");
    assert!(matches!(error, ReceiveError::Run(_)), "{error}");
    hand.tree = tree;
    let segment = hand.send(&records[..4]);
    assert_eq!(ada.receive(hand.log.device, &segment, at(301)).expect("as many as may be").received, 4);
}

#[test]
fn a_relay_is_given_no_key() {
    let (mut ada, _) = owner(1);
    for (seed, role) in [(2, Role::Relay), (3, Role::Member)] {
        let identity = identity(seed);
        let signature = identity.key_signature(&ada.workspace());
        let enrolled = ada.enrol(identity.device(), "x", role, identity.key_agreement(), &signature, at(0));
        let keys = enrolled.expect("enrolled").0.keys.len();
        assert_eq!(keys, usize::from(role != Role::Relay), "{role:?}");
    }
}

/// What one device took in small segments it passes on in larger ones, and those are taken too.
#[test]
fn what_was_taken_in_parts_can_be_passed_on() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    let ids: Vec<OperationId> = (0..limits::REFERENCES as u64).map(|n| OperationId::at(at(n), 5)).collect();
    for _ in 0..40 {
        let mut records = [(); 4].map(|()| hand.record(EntryKind::CHECKPOINT, None, b""));
        records.iter_mut().for_each(|record| record.entry.requires.clone_from(&ids));
        let segment = hand.send(&records);
        ada.receive(hand.log.device, &segment, at(300)).expect("as many as may be");
    }
    sync(&mut bob, &mut ada, at(301));
    assert_eq!(bob.size_of_log(&hand.log), LogSeq(160));
    // Few of what each waits for is remembered.
    let held = bob.occupancy().unwrap();
    assert_eq!(held.waiting, 160);
    assert!(held.names <= 160 * 8, "{held:?}");
}

/// Which logs of a device are taken follows from governance, not from which came first.
#[test]
fn two_devices_that_met_other_logs_of_somebody_take_them_from_each_other() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    for epoch in 0..4 * limits::EPOCHS as u32 {
        (hand.log.epoch, hand.tree) = (Epoch(epoch), syncd_evidence::Tree::default());
        let record = hand.session();
        let segment = hand.send(&[record]);
        let engine = if epoch.is_multiple_of(2) { &mut ada } else { &mut bob };
        let taken = engine.receive(hand.log.device, &segment, at(2)).is_ok();
        assert_eq!(taken, epoch < limits::EPOCHS as u32, "{epoch}");
    }
    sync(&mut bob, &mut ada, at(3));
    for engine in [&ada, &bob] {
        let logs = engine.log_sizes().into_iter().filter(|(log, _)| log.device == hand.log.device);
        assert_eq!(logs.count(), limits::EPOCHS);
    }
}

/// Whoever knows older governance only takes what goes back to it, and passes it on to those who know better.
#[test]
fn a_log_that_goes_back_in_governance_divides_nobody() {
    let (mut ada, _) = owner(1);
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    let before = ada.governance().heads.clone();
    member(&mut ada, 4, Role::Member);
    let after = ada.governance().heads.clone();
    let mut records = Vec::new();
    for heads in [after, before] {
        hand.governance = heads;
        records.push(hand.record(EntryKind::CHECKPOINT, None, b""));
    }
    let segment = hand.send(&records);
    bob.receive(hand.log.device, &segment, at(2)).expect("what it names last is not known here");
    sync(&mut bob, &mut ada, at(3));
    assert_eq!(ada.size_of_log(&hand.log), LogSeq(2));
    let found = ada.findings().unwrap();
    let device = hand.log.device.short();
    assert!(found.iter().any(|f| f.kind == FindingKind::Unfounded && f.place.contains(&device)), "{found:?}");
}
