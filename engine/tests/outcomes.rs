//! What a device knows of its operations elsewhere: sent, persisted, admitted, held or refused, with the peer's
//! operation id; told in one acknowledgement, and told again when it changes or was lost.
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
use syncd_engine::session::{Input, Output, Session};
use syncd_engine::workspace::OperationView;
use syncd_engine::{Engine, Intent, WriteRequest};
use syncd_schema::message::{Control, Outcome};
use syncd_schema::operation::EntryState;
use syncd_schema::{LogId, LogSeq, OperationId, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

/// Two sessions whose messages the test carries, or loses.
struct Cable {
    left: Session,
    right: Session,
}

/// What went to the right side of a cable, and what it answered.
#[derive(Default)]
struct Carried {
    segments: Vec<LogId>,
    acknowledgements: Vec<(LogId, Vec<Outcome>)>,
}

impl Cable {
    fn new(left: &mut Engine, right: &mut Engine, passes: impl Fn(&Output) -> bool) -> Self {
        let mut cable =
            Self { left: Session::new(right.device(), true), right: Session::new(left.device(), false) };
        let first = cable.left.start(left);
        cable.carry(left, right, first, passes);
        cable
    }

    /// What the left side has written since goes over, as far as `passes` lets it, and everything that follows.
    fn grew(&mut self, left: &mut Engine, right: &mut Engine, passes: impl Fn(&Output) -> bool) -> Carried {
        let first = self.left.handle(left, Input::Grew, at(900_000)).expect("the disk works");
        self.carry(left, right, first, passes)
    }

    fn carry(
        &mut self,
        left: &mut Engine,
        right: &mut Engine,
        first: Vec<Output>,
        passes: impl Fn(&Output) -> bool,
    ) -> Carried {
        let mut carried = Carried::default();
        let mut to_right = first;
        while !to_right.is_empty() {
            let mut to_left = Vec::new();
            for output in to_right.drain(..).filter(&passes) {
                if let Output::Segment(segment) = &output {
                    carried.segments.push(segment.log);
                }
                to_left.extend(step(&mut self.right, right, output));
            }
            for output in to_left.into_iter().filter(&passes) {
                if let Output::Control(Control::Ack { log, outcomes, .. }) = &output {
                    carried.acknowledgements.push((*log, outcomes.clone()));
                }
                to_right.extend(step(&mut self.left, left, output));
            }
        }
        carried
    }
}

fn step(session: &mut Session, engine: &mut Engine, output: Output) -> Vec<Output> {
    let input = match output {
        Output::Control(message) => Input::Control(message),
        Output::Segment(segment) => Input::Segment(segment),
        Output::Events(_) | Output::Close(..) => return Vec::new(),
    };
    session.handle(engine, input, at(900_000)).expect("the disk works")
}

fn patch(id: &str, value: serde_json::Value) -> WriteRequest {
    let edit = syncd_engine::Edit::MergePatch(value);
    WriteRequest::new(user(), Intent::Edit { object: id.parse().unwrap(), base: None, edit })
}

fn view(engine: &Engine, operation: OperationId) -> OperationView {
    engine.operation(operation).expect("readable").expect("known")
}

fn state(engine: &Engine, operation: OperationId, peer: &Engine) -> Option<EntryState> {
    view(engine, operation).peers.get(&peer.device().to_string()).copied()
}

#[test]
fn receiving_and_admitting_are_one_transaction_and_one_acknowledgement() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"n": 0}), at(0));
    put(&mut ada, "n2", json!({"n": 0}), at(1));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(2));
    let mut cable = Cable::new(&mut ada, &mut bob, |_| true);

    for (round, count) in [1_u64, 100].into_iter().enumerate() {
        let requests: Vec<WriteRequest> = (0..count)
            .map(|n| patch(["n1", "n2"][n as usize % 2], json!({"n": format!("{round}-{n}")})))
            .collect();
        let (answers, _) = ada.write(&requests, at(10 + round as u64)).expect("the disk works");
        let operations: Vec<OperationId> =
            answers.into_iter().map(|answer| answer.expect("written").operation).collect();
        let before = bob.transactions();
        let carried = cable.grew(&mut ada, &mut bob, |_| true);
        assert_eq!(bob.transactions() - before, 1, "{count} operations");
        assert_eq!(carried.segments, [ada.own_log()]);
        let [(log, outcomes)] = carried.acknowledgements.as_slice() else {
            panic!("{} acknowledgements", carried.acknowledgements.len());
        };
        assert_eq!(*log, ada.own_log());
        assert!(outcomes.iter().all(|outcome| outcome.state == EntryState::Admitted));
        assert_eq!(outcomes.iter().map(|outcome| outcome.count).sum::<u64>(), count);
        for operation in operations {
            assert_eq!(state(&ada, operation, &bob), Some(EntryState::Admitted));
            let theirs = view(&ada, operation).remote_operation_ids[&bob.device().to_string()];
            assert!(view(&bob, operation).evidence.contains(&theirs), "it is the record of the admission");
        }
    }
}

/// Ada has built on what Eve wrote, and Bob, who is connected with Ada, has not got Eve's log.
struct Held {
    ada: Engine,
    bob: Engine,
    eve: Engine,
    cable: Cable,
    operation: OperationId,
}

fn held() -> Held {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({"by": "ada"}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    let (mut eve, _) = member(&mut ada, 3, Role::Member);
    for _ in 0..2 {
        sync(&mut bob, &mut ada, at(1));
        sync(&mut eve, &mut ada, at(2));
    }
    let eves = eve.own_log();
    let lost = move |output: &Output| !matches!(output, Output::Segment(segment) if segment.log == eves);
    let mut cable = Cable::new(&mut ada, &mut bob, lost);
    merge_patch(&mut eve, "n1", json!({"by": "eve"}), at(10));
    sync(&mut eve, &mut ada, at(11));
    let operation = merge_patch(&mut ada, "n1", json!({"by": "ada again"}), at(12)).operation;
    let plain = put(&mut ada, "n2", json!({}), at(13)).operation;
    assert_eq!(state(&ada, operation, &bob), None, "nothing was sent yet");
    cable.grew(&mut ada, &mut bob, lost);
    assert_eq!(state(&ada, operation, &bob), Some(EntryState::Held));
    assert_eq!(state(&ada, plain, &bob), Some(EntryState::Admitted), "only what waits is held");
    let tasks = serde_json::to_value(view(&ada, operation).tasks).unwrap();
    assert!(tasks.to_string().contains("blocked"), "{tasks}");
    Held { ada, bob, eve, cable, operation }
}

#[test]
fn what_was_held_is_told_again_when_a_third_device_brings_what_it_waited_for() {
    let Held { mut ada, mut bob, mut eve, mut cable, operation } = held();
    sync(&mut eve, &mut bob, at(20));
    assert_eq!(value(&mut bob, "n1"), json!({"by": "ada again"}));
    for output in cable.right.handle(&mut bob, Input::Grew, at(21)).expect("the disk works") {
        step(&mut cable.left, &mut ada, output);
    }
    assert_eq!(state(&ada, operation, &bob), Some(EntryState::Admitted));
    let theirs = view(&ada, operation).remote_operation_ids[&bob.device().to_string()];
    assert!(view(&bob, operation).evidence.contains(&theirs), "it is the record of the admission");
    let nothing = cable.right.handle(&mut bob, Input::Grew, at(22)).expect("the disk works");
    assert!(nothing.iter().all(|output| !matches!(output, Output::Control(Control::Ack { .. }))));
}

#[test]
fn what_is_told_in_between_hides_no_change_of_what_was_held() {
    let Held { mut ada, mut bob, mut eve, mut cable, operation } = held();
    // Eve lets it in at Bob, and before his session with Ada hears of that, another entry of hers arrives.
    sync(&mut eve, &mut bob, at(20));
    put(&mut ada, "n3", json!({}), at(21));
    let carried = cable.grew(&mut ada, &mut bob, |_| true);
    assert!(!carried.acknowledgements.is_empty());
    assert_eq!(state(&ada, operation, &bob), Some(EntryState::Admitted));
}

#[test]
fn an_author_hears_what_became_of_entries_that_others_brought() {
    let Held { mut ada, mut bob, mut eve, mut cable, .. } = held();
    let brought = put(&mut ada, "n3", json!({}), at(20)).operation;
    sync(&mut eve, &mut ada, at(21));
    sync(&mut eve, &mut bob, at(22));
    assert_eq!(state(&ada, brought, &bob), None);
    cable.grew(&mut ada, &mut bob, |_| true);
    assert_eq!(state(&ada, brought, &bob), Some(EntryState::Admitted));
}

#[test]
fn questions_about_logs_that_do_not_exist_are_not_answered() {
    let (mut ada, _) = owner(1);
    put(&mut ada, "n1", json!({}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    let mut cable = Cable::new(&mut ada, &mut bob, |_| true);
    let mut asked = |log: LogId| {
        let ask = Input::Control(Control::Ask { log, from: LogSeq(0) });
        cable.right.handle(&mut bob, ask, at(2)).expect("the disk works").len()
    };
    let own = ada.own_log();
    for epoch in 1..1_000 {
        assert_eq!(asked(LogId { epoch: syncd_schema::Epoch(epoch), ..own }), 0);
    }
    assert_eq!((asked(own), asked(own)), (1, 0), "once a session");
}

#[test]
fn what_was_let_in_behind_its_authors_back_is_asked_for_in_the_next_session() {
    let Held { mut ada, mut bob, mut eve, mut cable, operation } = held();
    cable.left.end(&mut ada, at(19)).expect("noted");
    sync(&mut eve, &mut bob, at(20));
    assert_eq!(state(&ada, operation, &bob), Some(EntryState::Held), "nobody has told her");
    let asked = sync(&mut ada, &mut bob, at(30));
    assert!(asked.messages > 2, "a question and its answer");
    assert_eq!(state(&ada, operation, &bob), Some(EntryState::Admitted));
    let quiet = sync(&mut ada, &mut bob, at(31));
    assert_eq!((quiet.round_trips, quiet.messages), (1, 2), "she is sure now");
}

#[test]
fn sent_and_persisted_and_refused_are_known_for_what_they_are_and_outlive_the_process() {
    let (mut ada, disk) = owner(1);
    put(&mut ada, "n0", json!({}), at(0));
    let (mut bob, _) = member(&mut ada, 2, Role::Member);
    sync(&mut bob, &mut ada, at(1));
    let mut cable = Cable::new(&mut ada, &mut bob, |_| true);
    let ids = ["n1", "n2", "n3"];
    let operations: Vec<OperationId> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| put(&mut ada, id, json!({}), at(10 + n as u64)).operation)
        .collect();
    let states = |ada: &Engine| -> Vec<Option<EntryState>> {
        operations.iter().map(|operation| state(ada, *operation, &bob)).collect()
    };

    // Handed to the network, and the cable breaks.
    let out = cable.left.handle(&mut ada, Input::Grew, at(20)).expect("the disk works");
    assert!(out.iter().any(|output| matches!(output, Output::Segment(_))));
    assert_eq!(states(&ada), [Some(EntryState::Sent); 3]);
    cable.left.end(&mut ada, at(21)).expect("noted");
    assert_eq!(states(&ada), [Some(EntryState::Sent); 3]);
    assert!(view(&ada, operations[0]).remote_operation_ids.is_empty());

    // A peer that has it and has not judged it yet; nobody unlearns what is known for less.
    let (log, device) = (ada.own_log(), bob.device());
    let size = ada.size_of_log(&log);
    let first = LogSeq(size.0 - 3);
    let judged =
        |first: LogSeq, state| Outcome { first, count: 1, state, operation: Some(OperationId([7; 16])) };
    ada.note_sent(&device, &log, first, size);
    ada.note_outcomes(&device, &log, size, &[judged(first.plus(1), EntryState::Refused)], at(22))
        .expect("noted");
    let known = [Some(EntryState::Persisted), Some(EntryState::Refused), Some(EntryState::Persisted)];
    assert_eq!(states(&ada), known);
    ada.note_sent(&device, &log, first, size);
    ada.note_gone(&device, at(23)).expect("noted");
    assert_eq!(states(&ada), known);
    assert_eq!(ada.unsettled(&device, &log, size).expect("readable"), Some(first));

    // What nobody can know of is not believed.
    let beyond = Outcome { first: size, count: u64::MAX, ..judged(size, EntryState::Admitted) };
    ada.note_outcomes(&device, &log, size, &[beyond], at(24)).expect("noted");
    assert_eq!(states(&ada), known);

    ada.close().expect("closes");
    let mut ada = Engine::open(config(1, &disk)).expect("opens");
    assert_eq!(states(&ada), known);
    let task = serde_json::to_value(view(&ada, operations[1])).unwrap()["tasks"][1].clone();
    assert_eq!(task["status"], json!("failed"));

    // In truth Bob has none of it: the next session sends it, and all is known.
    sync(&mut ada, &mut bob, at(30));
    let states: Vec<_> = operations.iter().map(|operation| state(&ada, *operation, &bob)).collect();
    assert_eq!(states, [Some(EntryState::Admitted); 3]);
    assert_eq!(ada.unsettled(&device, &log, size).expect("readable"), None);
}
