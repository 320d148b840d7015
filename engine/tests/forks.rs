//! Forks between sessions that others write in: they are settled on both sides, in few messages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;

use common::*;
use syncd_engine::log::LogRecord;
use syncd_engine::session::{Input, Output, Session};
use syncd_schema::{EntryKind, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(10_000_000 + n)
}

fn input(output: Output) -> Option<Input> {
    match output {
        Output::Control(control) => Some(Input::Control(control)),
        Output::Segment(segment) => Some(Input::Segment(segment)),
        Output::Events(_) => None,
        Output::Close(code, text) => panic!("{code:?}: {text}"),
    }
}

fn checkpoints(hand: &mut Hand, count: usize) -> Vec<LogRecord> {
    (0..count).map(|_| hand.record(EntryKind::CHECKPOINT, None, b"")).collect()
}

/// Two ends of one log after a long common start, and the copy that Bob hears of goes on writing all the while.
#[test]
fn a_fork_is_settled_though_one_history_goes_on_growing() {
    for every in [1, 2, 3, 10] {
        let (mut ada, _) = owner(1);
        let (mut bob, _) = member(&mut ada, 2, Role::Member);
        let mut hand = Hand::enrolled(&mut ada, 3, Role::Member);
        sync(&mut bob, &mut ada, at(1));
        for _ in 0..4 {
            let records = checkpoints(&mut hand, 1_000);
            let segment = hand.send(&records);
            for engine in [&mut ada, &mut bob] {
                engine.receive(hand.log.device, &segment, at(2)).expect("taken");
            }
        }
        let (tree, time) = (hand.tree.clone(), hand.time);
        for (engine, later) in [(&mut ada, 0), (&mut bob, 17)] {
            (hand.tree, hand.time) = (tree.clone(), time.plus(later));
            let records = checkpoints(&mut hand, 1);
            let segment = hand.send(&records);
            engine.receive(hand.log.device, &segment, at(3)).expect("an end of its own");
        }
        let mut left = Session::new(bob.device(), true);
        let mut right = Session::new(ada.device(), false);
        let (mut to_right, mut to_left) = (left.start(&ada), Vec::new());
        let mut steps = 0;
        while !(to_right.is_empty() && to_left.is_empty()) {
            steps += 1;
            assert!(steps < 60, "one entry every {every} round trips: they talk for ever");
            for input in to_right.drain(..).filter_map(input) {
                to_left.extend(right.handle(&mut bob, input, at(10 + steps)).unwrap());
            }
            if steps % every == 0 {
                let records = checkpoints(&mut hand, 1);
                let segment = hand.send(&records);
                // Refused as soon as Bob knows of the fork.
                let _ = bob.receive(hand.log.device, &segment, at(10 + steps));
            }
            for input in to_left.drain(..).filter_map(input) {
                to_right.extend(left.handle(&mut ada, input, at(10 + steps)).unwrap());
            }
        }
        eprintln!("an entry every {every}: {steps} round trips");
        assert_eq!((ada.branch_count(), bob.branch_count()), (1, 1), "an entry every {every}");
        assert!(left.is_quiet(&ada), "an entry every {every}: {left:?}");
        assert!(right.is_quiet(&bob), "an entry every {every}: {right:?}");
        for engine in [&mut ada, &mut bob] {
            let report = engine.verify(|_, _| {}).unwrap();
            assert!(report.ok, "{:?}", report.findings);
        }
    }
}
