//! A member who lies, one lie at a time and at scale: what it costs, what is said of it, and that the others go on.
//!
//! Random mixtures of lies are in `simulation.rs` (`a_liar_hurts_nobody`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

use std::time::{Duration, Instant};
use syncd_evidence::FindingKind;
use syncd_harness::hostile::Lie;
use syncd_harness::trace::Trace;
use syncd_harness::world::{Held, World};
use syncd_schema::{Role, limits};

/// Three devices with some objects, and a liar among them.
fn scene(seed: u64) -> World {
    let mut world = World::new(seed, Trace::default());
    world.found().expect("founded");
    for _ in 0..2 {
        world.join(0, Role::Member).expect("joined");
    }
    world.pass(5_000_000).expect("quiet");
    for n in 0..9 {
        write(&mut world, n);
    }
    world.let_liar_in().expect("let in");
    world.pass(5_000_000).expect("quiet");
    world
}

fn write(world: &mut World, n: usize) {
    let (device, token) = (n % 3, world.workload.token(n % 3));
    let planned = world.workload.put(&format!("mine-{n}"), &token);
    world.write(device, vec![planned]).expect("written");
    world.pass(100_000).expect("quiet");
}

/// All that must hold when the liar has gone.
fn is_well(world: &mut World) -> Held {
    world.liar_takes_little()?;
    world.liar_leaves();
    world.settle()?;
    world.judge()?;
    world.liar_is_found()?;
    world.liar_takes_little()
}

fn findings(world: &World, device: usize, kind: FindingKind) -> Vec<syncd_evidence::Finding> {
    let findings = world.devices[device].engine.as_ref().expect("runs").findings().expect("readable");
    findings.into_iter().filter(|finding| finding.kind == kind).collect()
}

#[test]
fn each_lie_by_itself_is_found_or_harmless_and_the_others_agree() {
    for (seed, lie) in Lie::ALL.into_iter().enumerate() {
        let mut world = scene(seed as u64 + 1);
        for round in 0..3 {
            for device in 0..3 {
                world.lie(lie, device).unwrap_or_else(|failure| panic!("{lie:?}: {failure:?}"));
            }
            write(&mut world, 100 + round);
        }
        assert!(world.liar.as_ref().is_some_and(|liar| liar.told.contains_key(&lie)), "{lie:?} was not told");
        is_well(&mut world).unwrap_or_else(|failure| panic!("{lie:?}: {}", failure.0));
    }
}

#[test]
fn a_history_for_each_device_is_found_by_all_and_stops_nobody_else() {
    let mut world = scene(31);
    for _ in 0..4 {
        (0..3).for_each(|device| world.lie(Lie::Fork, device).expect("told"));
    }
    for n in 20..30 {
        write(&mut world, n);
    }
    is_well(&mut world).expect("well");
    let forked = world.liar.as_ref().expect("a liar").forked();
    assert!(!forked.is_empty());
    for device in 0..3 {
        let found = findings(&world, device, FindingKind::LogFork);
        assert!(!found.is_empty(), "device {device} says nothing of {forked:?}");
        let status = world.devices[device].engine.as_ref().expect("runs").status().expect("readable");
        assert!(status.stopped.is_none() && status.logs.iter().any(|log| log.frozen));
    }
}

/// A document takes no second change of one number: those who met one history cannot take the other's changes, nor
/// what was built on them. The way out that is there for changes that nobody shall have.
#[test]
fn what_a_fork_divided_is_one_again_when_it_begins_anew() {
    let mut world = scene(37);
    world.liar.as_mut().expect("a liar").divides = true;
    world.cut.extend([(0, 1), (0, 2), (1, 2)]);
    for number in world.connections.keys().copied().collect::<Vec<_>>() {
        world.disconnect(number, "is cut");
    }
    for device in [0, 1, 2, 0, 1, 2] {
        world.lie(Lie::Fork, device).expect("told");
    }
    for n in 0..27 {
        let token = world.workload.token(n % 3);
        let planned = world.workload.set(&format!("mine-{}", n / 3), "k0", &token);
        world.write(n % 3, vec![planned]).expect("written");
    }
    world.liar_leaves();
    meet(&mut world);
    let divided = divided(&mut world);
    assert!(!divided.is_empty(), "nothing was divided");
    for object in &divided {
        let value = serde_json::json!({ "born": "<anew>" });
        let planned = world.workload.renew(object, Some(value));
        let engine = world.devices[0].engine.as_mut().expect("runs");
        let now = syncd_schema::UnixMicros(syncd_harness::clock::START.0 + 3_600_000_000);
        engine.write(&[planned.request], now).expect("written").0.remove(0).expect("an owner may");
        world.tell_sessions(0, None).expect("told");
    }
    meet(&mut world);
    assert_eq!(self::divided(&mut world), Vec::<String>::new());
}

fn meet(world: &mut World) {
    world.cut.clear();
    for _ in 0..4 {
        (0..3).for_each(|device| world.dial_everybody(device));
        world.pass(10_000_000).expect("quiet");
    }
}

/// The objects of honest devices that look different on one of them.
fn divided(world: &mut World) -> Vec<String> {
    let names = (0..9).map(|n| format!("mine-{n}"));
    let mut differ = Vec::new();
    for name in names {
        let mut shown = |n: usize| {
            let engine = world.devices[n].engine.as_mut().expect("runs");
            engine.get(&name.parse().expect("an id")).expect("readable").expect("known").value
        };
        if shown(0) != shown(1) || shown(1) != shown(2) {
            differ.push(name);
        }
    }
    differ
}

#[test]
fn thousands_of_epochs_are_few_logs_and_one_finding() {
    let mut world = scene(32);
    world.liar.as_mut().expect("a liar").scale = 1_500;
    let before = image(&world, 0);
    (0..2).for_each(|device| world.lie(Lie::Epochs, device).expect("told"));
    write(&mut world, 40);
    let grown = image(&world, 0) - before;
    assert!(grown < 1 << 20, "{grown} bytes of store for epochs");
    is_well(&mut world).expect("well");
    for device in 0..2 {
        assert_eq!(findings(&world, device, FindingKind::LimitReached).len(), 1);
        let engine = world.devices[device].engine.as_ref().expect("runs");
        let liar = world.liar.as_ref().expect("a liar").device();
        let logs = engine.log_sizes().into_iter().filter(|(log, _)| log.device == liar).count();
        assert!(logs <= limits::EPOCHS, "{logs}");
    }
}

fn image(world: &World, device: usize) -> usize {
    world.devices[device].disk.durable().len()
}

/// A million would take minutes: a thousand, and two thousand more, show that each costs the same. What is held in
/// memory for them does not grow with them.
#[test]
fn each_of_many_tiny_objects_costs_the_same_and_memory_nothing() {
    let mut world = scene(33);
    let mut sizes = Vec::new();
    for scale in [1_000, 1_000, 1_000] {
        world.liar.as_mut().expect("a liar").scale = scale;
        world.lie(Lie::TinyObjects, 0).expect("told");
        world.pass(1_000_000).expect("quiet");
        let engine = world.devices[0].engine.as_ref().expect("runs");
        sizes.push((image(&world, 0), engine.occupancy().expect("readable"), engine.loaded_documents()));
    }
    let grown = |n: usize| sizes[n].0 - sizes[n - 1].0;
    assert!(grown(2) < 2 * grown(1).max(1 << 20), "{} bytes, then {}", grown(1), grown(2));
    assert!(grown(2) / 1_000 < 4_096, "{} bytes of store each", grown(2) / 1_000);
    assert_eq!(sizes[0].1, sizes[2].1, "what is held beside the cache");
    assert!(sizes[2].2 <= 1_500, "{} documents are loaded", sizes[2].2);
    world.liar_leaves();
    world.settle().expect("settled");
    world.converged().expect("alike");
}

#[test]
fn changes_as_large_as_may_be_are_taken_and_larger_ones_named() {
    let mut world = scene(34);
    world.liar.as_mut().expect("a liar").large = limits::CHANGE_BYTES;
    world.lie(Lie::Enormous, 0).expect("told");
    world.lie(Lie::Enormous, 1).expect("told");
    is_well(&mut world).expect("well");
    assert_eq!(findings(&world, 0, FindingKind::BrokenSegment).len(), 1);
}

/// Whoever never meets the liar hears of what waits for nothing when a day has passed.
#[test]
fn what_waits_for_a_day_is_told_of_by_those_who_never_met_its_author() {
    let mut world = scene(35);
    world.lie(Lie::NoGovernance, 0).expect("told");
    world.pass(5_000_000).expect("quiet");
    assert_eq!(findings(&world, 0, FindingKind::Unfounded).len(), 1);
    assert_eq!(findings(&world, 2, FindingKind::Unfounded), []);
    (0..3).for_each(|device| world.devices[device].skew = 2 * 86_400_000_000);
    is_well(&mut world).expect("well");
    assert_eq!(findings(&world, 2, FindingKind::Unfounded).len(), 1);
}

/// The first of two changes with one number builds on what one device has and another has not.
#[test]
fn of_two_changes_with_one_number_the_first_counts_on_every_device() {
    for seed in 40..46 {
        let mut world = scene(seed);
        for number in world.connections.keys().copied().collect::<Vec<_>>() {
            world.disconnect(number, "is cut");
        }
        world.cut.extend([(0, 1), (0, 2), (1, 2)]);
        for n in 0..9 {
            let token = world.workload.token(1);
            let planned = world.workload.set(&format!("mine-{n}"), "k0", &token);
            world.write(1, vec![planned]).expect("written");
        }
        world.lie(Lie::TwoOfOne, 1).expect("told");
        world.liar_catches_up(0).expect("told");
        is_well(&mut world).unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.0));
    }
}

/// One honest write a round; how long until everybody has it, in virtual time, and how many frames it all took.
fn rounds(with_liar: bool, rounds: usize) -> (u64, u64, Duration, Duration) {
    let mut world = scene(36);
    let (mut late, mut lying) = (0, Duration::ZERO);
    let (frames, begun) = (world.stats.frames, Instant::now());
    for round in 0..rounds {
        if with_liar {
            let lie = Lie::ALL[round % Lie::ALL.len()];
            let start = Instant::now();
            world.lie(lie, round % 3).expect("told");
            lying += start.elapsed();
        }
        let (device, token) = (round % 3, world.workload.token(round % 3));
        let planned = world.workload.put(&format!("round-{round}"), &token);
        world.write(device, vec![planned]).expect("written");
        let log = world.devices[device].engine.as_ref().expect("runs").own_log();
        let size =
            |world: &World, n: usize| world.devices[n].engine.as_ref().expect("runs").size_of_log(&log);
        let written = size(&world, device);
        while (0..3).any(|n| size(&world, n) < written) {
            world.pass(500).expect("goes on");
            late += 500;
            assert!(late < 60_000_000, "round {round} never arrives");
        }
    }
    world.pass(5_000_000).expect("quiet");
    (late, world.stats.frames - frames, begun.elapsed(), lying)
}

#[test]
fn honest_devices_wait_no_longer_for_each_other() {
    let (alone, frames, ..) = rounds(false, 45);
    let (beside, more, ..) = rounds(true, 45);
    println!(
        "45 writes are everywhere after {alone} µs and {frames} frames; beside a liar {beside} µs, {more} frames"
    );
    assert!(beside <= 2 * alone, "{alone} µs alone, {beside} µs beside a liar");
}

/// As a figure: `cargo test --release -p syncd-harness --test liar -- --ignored --nocapture`.
#[test]
#[ignore = "a figure of real time, in release"]
fn real_time_beside_a_liar() {
    let (_, _, alone, _) = rounds(false, 600);
    let (_, _, all, lying) = rounds(true, 600);
    let honest = all.saturating_sub(lying);
    println!(
        "600 writes on three devices: alone {alone:?}; beside a liar {honest:?}, and {lying:?} for its lies"
    );
    assert!(honest <= 2 * alone, "{alone:?} alone, {honest:?} beside a liar");
}
