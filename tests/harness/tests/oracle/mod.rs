//! Proof that the oracles can fail: each is shown a world in which its promise is broken.

use syncd_harness::disk::Fault;
use syncd_harness::model::{Acked, What};
use syncd_harness::trace::Trace;
use syncd_harness::world::World;
use syncd_schema::{OperationId, Role};

/// Two devices that wrote a little and came to rest.
fn quiet_world() -> World {
    let mut world = World::new(3, Trace::default());
    world.found().expect("founded");
    world.join(0, Role::Member).expect("joined");
    world.pass(5_000_000).expect("quiet");
    let token = world.workload.token(0);
    let planned = world.workload.put("a", &token);
    world.write(0, vec![planned]).expect("written");
    world.pass(5_000_000).expect("quiet");
    let planned = world.workload.set("a", "k0", "<x>");
    world.write(1, vec![planned]).expect("written");
    world.settle().expect("settled");
    world.judge().expect("nothing is wrong yet");
    world
}

fn says(result: Result<impl std::fmt::Debug, syncd_harness::world::Failure>, word: &str) {
    let failure = result.expect_err("the oracle must object");
    assert!(failure.0.contains(word), "{word} expected: {}", failure.0);
}

#[test]
fn an_expectation_that_was_never_written_is_reported_lost() {
    let mut world = quiet_world();
    let last = world.model.acked.last().expect("acknowledged").clone();
    let never =
        Acked { what: What::Set("k1", "<never>".to_owned()), operation: OperationId([9; 16]), ..last };
    world.model.acked.push(never);
    says(world.survived(), "LOST: Set(\"k1\", \"<never>\")");
    says(world.history(), "LOST");
}

#[test]
fn an_acknowledgement_that_was_taken_back_leaves_a_phantom() {
    let mut world = quiet_world();
    world.model.acked.pop();
    says(world.survived(), "PHANTOM: <x>");
}

#[test]
fn an_increment_counted_twice_is_reported() {
    let mut world = quiet_world();
    let last = world.model.acked.last().expect("acknowledged").clone();
    world.model.acked.push(Acked { what: What::Add(5), ..last });
    says(world.survived(), "counters");
}

#[test]
fn quiet_then_new_data_then_not_quiet_then_quiet_again() {
    let mut world = quiet_world();
    let planned = world.workload.set("a", "k2", "<y>");
    world.write(1, vec![planned]).expect("written");
    says(world.converged(), "DIVERGED");
    world.settle().expect("settled");
    world.converged().expect("together again");
}

#[test]
fn a_disk_that_lies_about_syncing_is_caught_by_the_first_crash() {
    let mut world = quiet_world();
    world.devices[1].disk.set_fault(Fault::Lies);
    let planned = world.workload.set("a", "k2", "<y>");
    world.write(1, vec![planned]).expect("acknowledged, falsely");
    world.kill(1, 0).expect("killed");
    says(world.restart(1), "LOST by a crash");
}

#[test]
fn one_seed_is_one_story() {
    let story = |seed| {
        let stats = syncd_harness::scenario::run(seed, syncd_harness::scenario::MODERATE, false);
        format!("{stats:?}")
    };
    assert_eq!(story(2), story(2));
    assert_ne!(story(2), story(3));
}
