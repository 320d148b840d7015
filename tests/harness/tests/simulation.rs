//! Many devices, one seed: what the design promises holds whatever the network, the disks and the clocks do.
//!
//! `SYNCD_SEEDS=n` runs that many seeds, `SYNCD_FROM=n` begins elsewhere, `SYNCD_SEED=n` replays one with its whole
//! trace. The last tests are about the simulator: its oracles must be able to fail.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test reports by panicking; clippy takes only functions marked as tests for tests"
)]

use std::cell::Cell;
use syncd_harness::disk::Fault;
use syncd_harness::scenario::{self, MODERATE};
use syncd_harness::world::Held;
use syncd_harness::{exhaustive, hostile, trace::Trace};

mod oracle;

/// Seeds of an ordinary run.
const SEEDS: u64 = 100;
/// Of those with a liar, which cost more.
const LIARS: u64 = 8;
/// Operations of the disk between two faults that are tried in an ordinary run; 1 tries all of them.
const STRIDE: u64 = 11;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds and says which failed.
fn seeds(ordinary: u64, run: impl Fn(u64, bool) -> Result<(), String>) {
    if let Some(seed) = setting("SYNCD_SEED") {
        run(seed, true).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let (from, count) = (setting("SYNCD_FROM").unwrap_or(1), setting("SYNCD_SEEDS").unwrap_or(ordinary));
    let failed: Vec<String> = (from..from + count).filter_map(|seed| run(seed, false).err()).collect();
    assert!(failed.is_empty(), "{} of {count} seeds failed\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn some_hundred_seeds() {
    seeds(SEEDS, |seed, is_loud| {
        let stats = scenario::run(seed, MODERATE, is_loud)?;
        if is_loud || setting("SYNCD_STATS").is_some() {
            println!("seed {seed}: {stats:?}");
        }
        Ok(())
    });
}

#[test]
fn a_quarrel_loses_nothing() {
    let (decided, contested) = (Cell::new(0), Cell::new(0));
    seeds(SEEDS / 2, |seed, is_loud| {
        let stats = scenario::quarrel(seed, is_loud)?;
        decided.set(decided.get() + stats.decided);
        contested.set(contested.get() + stats.contested);
        Ok(())
    });
    println!("{} answers to cards, {} writes shown as sides", decided.get(), contested.get());
    let is_one = setting("SYNCD_SEED").is_some();
    assert!(is_one || decided.get() > 0 && contested.get() > 0, "nobody quarrelled");
}

#[test]
fn what_is_erased_is_gone() {
    let (renewed, late, dropped) = (Cell::new(0), Cell::new(0), Cell::new(0));
    seeds(SEEDS / 2, |seed, is_loud| {
        let stats = scenario::erase(seed, is_loud)?;
        renewed.set(renewed.get() + stats.renewed);
        late.set(late.get() + stats.late);
        dropped.set(dropped.get() + stats.dropped);
        Ok(())
    });
    println!("{} rebirths, {} intents late, {} dropped", renewed.get(), late.get(), dropped.get());
    let is_one = setting("SYNCD_SEED").is_some();
    assert!(is_one || late.get() > 0 && dropped.get() > 0, "nothing was erased");
}

#[test]
fn a_liar_hurts_nobody() {
    let lies = Cell::new(0);
    seeds(LIARS, |seed, is_loud| {
        let stats = hostile::scenario::liar(seed, is_loud)?;
        lies.set(lies.get() + stats.lies);
        if is_loud || setting("SYNCD_STATS").is_some() {
            println!("seed {seed}: {stats:?}");
        }
        Ok(())
    });
    println!("{} lies", lies.get());
    assert!(setting("SYNCD_SEED").is_some() || lies.get() > 0, "nobody lied");
}

#[test]
fn clones_are_noticed() {
    seeds(SEEDS / 5, scenario::clones);
}

/// Tries a fault at each operation that the script makes.
fn at_every_operation(test: &str, device: usize, fault: fn(u64) -> Fault) {
    let Ok(count) = exhaustive::run(device, fault, None, Trace::default()) else {
        panic!("the script fails without any fault")
    };
    let stride = setting("SYNCD_STRIDE").unwrap_or(STRIDE) as usize;
    let mut failed = Vec::new();
    for at in (0..count).step_by(stride) {
        let run = |trace| exhaustive::run(device, fault, Some(at), trace);
        failed.extend(scenario::report(at, false, test, run).err());
    }
    let tried = count / stride as u64;
    assert!(failed.is_empty(), "{} of {tried} places failed\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn a_kill_at_any_write_loses_nothing_that_was_acknowledged() {
    at_every_operation("a_kill", 0, Fault::CrashAt);
    at_every_operation("a_kill", 1, Fault::CrashAt);
}

#[test]
fn a_full_disk_at_any_write_acknowledges_nothing_and_is_forgotten_when_there_is_room_again() {
    at_every_operation("a_full_disk", 1, Fault::FullAt);
    at_every_operation("a_full_disk", 0, Fault::FullAt);
}

#[test]
fn an_error_of_the_disk_at_any_operation_leaves_engine_and_store_agreeing() {
    at_every_operation("an_error", 1, Fault::OnceAt);
    at_every_operation("an_error", 1, Fault::NoSyncAt);
}

/// Counts up until the crash no longer strikes.
fn until_it_does_not_strike(run: impl Fn(u64) -> Held<bool>) {
    let mut failed = Vec::new();
    let mut at = 0;
    loop {
        match run(at) {
            Ok(true) => {}
            Ok(false) => break,
            Err(failure) => failed.push(format!("at operation {at}: {}", failure.0)),
        }
        at += 1;
    }
    assert!(failed.is_empty(), "{} of {at} places failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_kill_while_a_workspace_is_made_leaves_none_or_a_whole_one() {
    until_it_does_not_strike(exhaustive::create_and_crash);
}

#[test]
fn a_kill_while_a_device_joins_leaves_none_or_a_whole_one() {
    until_it_does_not_strike(exhaustive::join_and_crash);
}
