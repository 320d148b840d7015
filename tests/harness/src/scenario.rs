//! Random scripts, and how a run reports its failure.
//!
//! A script is drawn step by step from the seed: writes, kills at a random write, full disks, partitions, devices
//! that join, clocks that jump, stores rolled back. Clones, which write two histories of one log, have a scenario
//! of their own: what they do is not to be survived but to be noticed.

use crate::clock::YEAR;
use crate::disk::Fault;
use crate::network::Weather;
use crate::trace::Trace;
use crate::world::{Event, Failure, Held, Stats, World};
use std::panic::{AssertUnwindSafe, catch_unwind};
use syncd_schema::Role;

/// How long a script is.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Steps of the script.
    pub steps: usize,
    /// Devices at most.
    pub devices: usize,
}

/// The length that a few hundred seeds of fit into a test run.
pub const MODERATE: Length = Length { steps: 60, devices: 5 };

/// Runs the script of a seed.
///
/// # Errors
/// The report of a failure: the promise, the last lines of the trace and the command that replays it.
pub fn run(seed: u64, length: Length, is_loud: bool) -> Result<Stats, String> {
    report(seed, is_loud, "some_hundred_seeds", |trace| {
        let mut world = World::new(seed, trace);
        general(&mut world, length)?;
        world.settle()?;
        world.judge()?;
        world.reopened()?;
        world.judge()?;
        Ok(world.stats)
    })
}

/// Runs the script of a seed in which all write the same few keys of the same two objects, and answer cards about them.
///
/// # Errors
/// The report of a failure.
pub fn quarrel(seed: u64, is_loud: bool) -> Result<Stats, String> {
    report(seed, is_loud, "a_quarrel_loses_nothing", |trace| {
        let mut world = World::new(seed, trace);
        world.workload.is_narrow = true;
        general(&mut world, Length { steps: 80, devices: 4 })?;
        world.settle()?;
        world.judge()?;
        world.reopened()?;
        world.judge()?;
        Ok(world.stats)
    })
}

/// Runs the script of a seed in which objects begin anew while others work on them, and late work is dropped.
///
/// # Errors
/// The report of a failure.
pub fn erase(seed: u64, is_loud: bool) -> Result<Stats, String> {
    report(seed, is_loud, "what_is_erased_is_gone", |trace| {
        let mut world = World::new(seed, trace);
        world.erases = 12;
        world.workload.is_narrow = seed.is_multiple_of(3);
        general(&mut world, Length { steps: 80, devices: 4 })?;
        world.settle()?;
        world.judge()?;
        world.reopened()?;
        world.judge()?;
        Ok(world.stats)
    })
}

/// Runs something and turns a broken promise or a panic into a report that can be replayed.
///
/// # Errors
/// That report.
pub fn report<T>(
    seed: u64,
    is_loud: bool,
    test: &str,
    run: impl FnOnce(Trace) -> Held<T>,
) -> Result<T, String> {
    let trace = Trace::new(is_loud);
    let what = match catch_unwind(AssertUnwindSafe(|| run(trace.clone()))) {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(Failure(text))) => text,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("PANIC: {}", text.unwrap_or_default())
        }
    };
    let command =
        format!("SYNCD_SEED={seed} cargo test -p syncd-harness --test simulation {test} -- --nocapture");
    Err(format!("seed {seed}: {what}\n{}seed {seed}: {what}\n  replay: {command}", trace.tail()))
}

/// The general mix.
fn general(world: &mut World, length: Length) -> Held {
    world.found()?;
    let devices = 2 + world.rng.below(length.devices - 1);
    let at_first = 1 + world.rng.below(devices - 1);
    for number in 0..at_first {
        // Two who may erase do so at once.
        let role = if number == 0 && world.erases > 1 { Role::Admin } else { role(world) };
        world.join(0, role)?;
    }
    world.pass(10_000_000)?;
    for _ in 0..length.steps {
        step(world, devices)?;
        let micros = world.rng.below(3_000_000) as u64;
        world.pass(micros)?;
    }
    Ok(())
}

fn role(world: &mut World) -> Role {
    if world.rng.percent(30) { Role::Admin } else { Role::Member }
}

fn step(world: &mut World, devices: usize) -> Held {
    let count = world.devices.len();
    let device = world.rng.below(count);
    if world.rng.percent(world.erases) {
        let is_new = world.rng.percent(60);
        return if is_new { world.renew_something(device) } else { world.drop_late(device) };
    }
    match world.rng.below(100) {
        0..=46 => world.write_something(device),
        47..=54 => world.decide_something(device),
        55..=58 => fail_disk(world, device),
        59..=64 => lift_some(world),
        65..=68 => {
            let keep = world.rng.below(101) as u64;
            world.kill(device, keep)?;
            let delay = world.rng.below(10_000_000) as u64;
            world.queue.after(delay, Event::Restarts(device));
            Ok(())
        }
        69..=74 => partition(world, count),
        75..=80 => heal(world),
        81..=84 => {
            world.weather = Weather::draw(&mut world.rng);
            let weather = world.weather;
            world.log(format!("{weather:?}"));
            Ok(())
        }
        85..=87 if count < devices => {
            let role = role(world);
            world.join(device, role).map(drop)
        }
        88..=90 => {
            let jump = [-10 * YEAR, 10 * YEAR, -60_000_000, 3_600_000_000, 0];
            world.devices[device].skew = *world.rng.pick(&jump).unwrap_or(&0);
            world.log(format!("the clock of device {device} jumps"));
            Ok(())
        }
        91..=95 => {
            world.snapshot(device);
            Ok(())
        }
        _ => world.roll_back(device),
    }
}

/// A disk begins to fail within the next writes.
fn fail_disk(world: &mut World, device: usize) -> Held {
    let disk = &world.devices[device].disk;
    if world.devices[device].engine.is_none() || disk.fault() != Fault::None {
        return Ok(());
    }
    let at = disk.operations() + world.rng.below(60) as u64;
    let fault = match world.rng.below(8) {
        0..=3 => Fault::CrashAt(at),
        4 => Fault::FullAt(at),
        5 => Fault::NoGrowthAt(at),
        6 => Fault::NoSyncAt(at),
        _ => Fault::OnceAt(at),
    };
    disk.set_fault(fault);
    world.log(format!("the disk of device {device} will fail: {fault:?}"));
    Ok(())
}

/// Failing disks are repaired; machines that are to crash go on to their crash.
fn lift_some(world: &mut World) -> Held {
    for device in 0..world.devices.len() {
        let crashes = matches!(world.devices[device].disk.fault(), Fault::CrashAt(_));
        if !crashes && world.rng.percent(70) {
            world.lift_fault(device)?;
        }
    }
    Ok(())
}

/// Two groups that do not hear each other.
fn partition(world: &mut World, count: usize) -> Held {
    let group: Vec<bool> = (0..count).map(|_| world.rng.percent(50)).collect();
    for a in 0..count {
        for b in a + 1..count {
            if group[a] != group[b] {
                world.cut.insert((a, b));
            }
        }
    }
    world.log(format!("cut: {:?}", world.cut));
    let numbers: Vec<u64> = world.connections.keys().copied().collect();
    for number in numbers {
        let ends = world.connections.get(&number).map(|connection| connection.ends);
        if ends.is_some_and(|[a, b]| world.cut.contains(&(a.min(b), a.max(b)))) {
            world.disconnect(number, "is cut");
        }
    }
    Ok(())
}

fn heal(world: &mut World) -> Held {
    world.log("the partition heals");
    world.cut.clear();
    for device in 0..world.devices.len() {
        world.dial_everybody(device);
    }
    Ok(())
}

/// Two copies of one device write two histories of its log, and everybody meets everybody. All who saw both must
/// have frozen the log, the copies must have stopped, what the others wrote must be everywhere, and nothing may
/// panic.
///
/// # Errors
/// The report of a failure.
pub fn clones(seed: u64, is_loud: bool) -> Result<(), String> {
    report(seed, is_loud, "clones_are_noticed", |trace| {
        let mut world = World::new(seed, trace);
        world.found()?;
        for _ in 0..2 {
            world.join(0, Role::Member)?;
        }
        world.pass(10_000_000)?;
        for _ in 0..1 + world.rng.below(6) {
            world.write_something(1)?;
            world.pass(1_000_000)?;
        }
        world.pass(10_000_000)?;
        let copy = world.copy_device(1)?;
        fork(&mut world, copy)?;
        world.weather = Weather::draw(&mut world.rng);
        world.weather.is_hostile = false;
        for _ in 0..30 {
            let device = world.rng.below(world.devices.len());
            world.write_something(device)?;
            world.pass(4_000_000)?;
        }
        world.weather = Weather::CALM;
        // Nobody reconnects on purpose: a fork is told of in sessions that are open already.
        for _ in 0..6 {
            (0..world.devices.len()).for_each(|device| world.dial_everybody(device));
            world.pass(10_000_000)?;
        }
        noticed(&mut world, copy)
    })
}

/// Both copies write before anybody hears of either.
fn fork(world: &mut World, copy: usize) -> Held {
    for number in world.connections.keys().copied().collect::<Vec<_>>() {
        world.disconnect(number, "is cut");
    }
    for device in [1, copy] {
        let token = world.workload.token(device);
        let planned = world.workload.put(&format!("of-{device}"), &token);
        world.write(device, vec![planned])?;
        for _ in 0..world.rng.below(4) {
            world.write_something(device)?;
        }
    }
    for device in 0..world.devices.len() {
        world.dial_everybody(device);
    }
    Ok(())
}

fn noticed(world: &mut World, copy: usize) -> Held {
    let forked = world.devices[1].identity().device();
    for device in 0..world.devices.len() {
        let Some(engine) = &mut world.devices[device].engine else { continue };
        let status = engine.status()?;
        let branches =
            status.logs.iter().filter(|log| log.device == forked && log.branch && log.frozen).count();
        if branches < 2 {
            return Err(Failure(format!("device {device} did not freeze the forked log: {:?}", status.logs)));
        }
        if [1, copy].contains(&device) && engine.stopped().is_none() {
            return Err(Failure(format!("device {device} is one of two copies and goes on writing")));
        }
        crate::checks::verify_engine(engine)?;
    }
    // What the others wrote is everywhere, forked log or not.
    for acked in world.model.acked.iter().filter(|acked| ![1, copy].contains(&acked.device)) {
        for device in 0..world.devices.len() {
            let Some(engine) = &world.devices[device].engine else { continue };
            if engine.operation(acked.operation)?.is_none() {
                return Err(Failure(format!("LOST: device {device} never got {acked:?}")));
            }
        }
    }
    Ok(())
}
