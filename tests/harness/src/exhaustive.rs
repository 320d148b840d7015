//! Fixed scripts, run again and again with a fault at one operation of the disk after the other: what random scripts
//! hit by luck is hit here for sure.
//!
//! The scripts are short, so that every operation can be tried; they touch each kind of commit once: births, edits,
//! batches, texts, counters, deletions, received segments, governance, rebirths, late work and what is done about it.

use crate::device::Device;
use crate::disk::Fault;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::world::{Failure, Held, World};
use serde_json::json;
use syncd_engine::workspace::Welcome;
use syncd_engine::{Engine, OpenError, WriteRequest};
use syncd_schema::Role;

/// The steps of the fixed script.
const STEPS: usize = 11;
/// Time for everybody to hear of a step, a restart included.
const PAUSE: u64 = 15_000_000;

/// Runs the fixed script; from its beginning on, `fault` strikes the disk of `device` at the `at`th operation and is
/// lifted after the step that it struck in. How many operations the disk did.
///
/// # Errors
/// When a promise is broken.
pub fn run(device: usize, fault: fn(u64) -> Fault, at: Option<u64>, trace: Trace) -> Held<u64> {
    let mut world = World::new(7, trace);
    world.found()?;
    world.join(0, Role::Admin)?;
    world.pass(PAUSE)?;
    let disk = world.devices[device].disk.clone();
    let from = disk.operations();
    if let Some(at) = at {
        disk.set_fault(fault(from + at));
    }
    for number in 0..STEPS {
        step(&mut world, number)?;
        world.pass(PAUSE)?;
        if at.is_some_and(|at| disk.operations() > from + at) {
            world.lift_fault(device)?;
        }
    }
    let count = disk.operations() - from;
    world.settle()?;
    world.judge()?;
    if world.model.acked.len() < 10 {
        return Err(Failure(format!("only {} of 10 calls were answered", world.model.acked.len())));
    }
    Ok(count)
}

/// Both devices write, so that each one's commits are local and received ones.
fn step(world: &mut World, number: usize) -> Held {
    let mut rng = Rng::new(number as u64);
    let workload = &mut world.workload;
    let value = json!({"body": "<0.1>", "k0": "<0.2>"});
    let token = workload.token(number);
    let (writer, batch) = match number {
        0 => (0, vec![workload.put("a", &token)]),
        1 => (1, vec![workload.put("b", &token), workload.set("b", "k0", "<b>")]),
        2 => (1, vec![workload.set("a", "k0", &token)]),
        3 => (0, vec![workload.set("a", "k0", &token), workload.set("b", "k1", "<c>")]),
        4 => return world.join(0, Role::Member).map(drop),
        5 => (1, (0..3).map(|_| workload.change(1, "a", &value, &mut rng)).collect()),
        6 => (0, vec![workload.put("c", &token)]),
        8 => {
            // Nobody has heard of the other.
            let late = workload.set("b", "k0", &token);
            let value = json!({"born": "<b.2>", "body": "", "count": 0, "items": []});
            let renewed = workload.renew("b", Some(value));
            world.write(1, vec![late])?;
            return world.write(0, vec![renewed]);
        }
        9 => return world.drop_late(0),
        10 => (0, vec![workload.renew("c", None)]),
        _ => (1, vec![workload.set("b", "k2", &token)]),
    };
    world.write(writer, batch)
}

/// Makes a workspace on a disk whose machine crashes at an operation, and again after the crash. True while the
/// crash struck.
///
/// # Errors
/// When the store is neither empty nor usable after the crash.
pub fn create_and_crash(at: u64) -> Held<bool> {
    let mut rng = Rng::new(at);
    let mut device = Device::new(0, &mut rng);
    device.disk.set_fault(Fault::CrashAt(at));
    let now = device.wall(0);
    let config = device.config();
    let made = Engine::create(config, "desk", now);
    if made.is_ok() && !device.disk.is_off() {
        return Ok(false);
    }
    drop(made);
    device.disk.crash(&mut rng, 50);
    let config = device.config();
    let mut engine = match device.open() {
        Ok(()) => device.engine.take().ok_or_else(|| Failure("no engine".to_owned()))?,
        Err(OpenError::Empty) => Engine::create(config, "desk", now)?,
        Err(error) => return Err(error.into()),
    };
    write_one(&mut engine, now)?;
    Ok(true)
}

/// Joins a workspace on a disk whose machine crashes at an operation, and again after the crash. True while the
/// crash struck.
///
/// # Errors
/// When the store is neither empty nor usable after the crash.
pub fn join_and_crash(at: u64) -> Held<bool> {
    let mut rng = Rng::new(at);
    let (mut owner, mut joiner) = (Device::new(0, &mut rng), Device::new(1, &mut rng));
    let now = owner.wall(0);
    let mut engine = Engine::create(owner.config(), "desk", now)?;
    let (workspace, inviter) = (engine.workspace(), engine.device());
    let identity = joiner.identity();
    let signature = identity.key_signature(&workspace);
    let key = identity.key_agreement();
    let (welcome, _) = engine.enrol(identity.device(), "lap", Role::Member, key, &signature, now)?;
    let welcome = Welcome::from_bytes(&welcome.to_bytes())?;
    joiner.disk.set_fault(Fault::CrashAt(at));
    let joined = Engine::join(joiner.config(), workspace, inviter, &welcome);
    if joined.is_ok() && !joiner.disk.is_off() {
        return Ok(false);
    }
    drop(joined);
    joiner.disk.crash(&mut rng, 50);
    let config = joiner.config();
    let joined = match joiner.open() {
        Ok(()) => joiner.engine.take().ok_or_else(|| Failure("no engine".to_owned()))?,
        Err(OpenError::Empty) => Engine::join(config, workspace, inviter, &welcome)?,
        Err(error) => return Err(error.into()),
    };
    if joined.knows(&inviter) {
        Ok(true)
    } else {
        Err(Failure("the joiner forgot who invited it".to_owned()))
    }
}

fn write_one(engine: &mut Engine, now: syncd_schema::UnixMicros) -> Held {
    let request: WriteRequest = crate::workload::Workload::default().put("a", "<1>").request;
    let (mut answers, _) = engine.write(&[request], now)?;
    answers.pop().transpose()?;
    crate::checks::verify_engine(engine).map(drop)
}
