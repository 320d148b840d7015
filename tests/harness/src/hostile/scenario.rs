//! Random scripts in which one member lies.

use super::Lie;
use crate::network::Weather;
use crate::scenario::report;
use crate::trace::Trace;
use crate::world::{Held, Stats, World};
use syncd_schema::Role;

/// Steps of a script.
const STEPS: usize = 40;
/// In microseconds.
const TWO_DAYS: i64 = 2 * 86_400_000_000;

/// Runs the script of a seed in which a member tells some of the lies there are, while others work.
///
/// # Errors
/// The report of a failure.
pub fn liar(seed: u64, is_loud: bool) -> Result<Stats, String> {
    report(seed, is_loud, "a_liar_hurts_nobody", |trace| {
        let mut world = lied_to(seed, trace)?;
        world.liar_takes_little()?;
        world.liar_leaves();
        // Whose session broke off before all was said is found out when a day has passed.
        world.devices.iter_mut().for_each(|device| device.skew += TWO_DAYS);
        world.settle()?;
        world.judge()?;
        world.liar_is_found()?;
        world.liar_takes_little()?;
        world.reopened()?;
        world.judge()?;
        Ok(world.stats)
    })
}

fn lied_to(seed: u64, trace: Trace) -> Held<World> {
    let mut world = World::new(seed, trace);
    world.found()?;
    let devices = 2 + world.rng.below(3);
    for number in 1..devices {
        let role = if number == 1 { Role::Admin } else { Role::Member };
        world.join(0, role)?;
    }
    world.pass(5_000_000)?;
    world.let_liar_in()?;
    // A seed has few lies, so that each of them meets each other in some seed.
    let mut lies = Lie::ALL.to_vec();
    world.rng.shuffle(&mut lies);
    lies.truncate(1 + world.rng.below(6));
    for _ in 0..STEPS {
        let device = world.rng.below(devices);
        match world.rng.below(100) {
            0..=44 => world.write_something(device)?,
            45..=49 => world.decide_something(device)?,
            50..=84 => {
                let lie = *world.rng.pick(&lies).unwrap_or(&Lie::Skip);
                world.lie(lie, device)?;
            }
            85..=89 => world.liar_catches_up(device)?,
            90..=92 => {
                world.weather = Weather::draw(&mut world.rng);
                world.weather.is_hostile = false;
            }
            93..=95 => {
                for number in world.connections.keys().copied().collect::<Vec<_>>() {
                    world.disconnect(number, "is cut");
                }
            }
            _ => {
                let keep = world.rng.below(101) as u64;
                world.kill(device, keep)?;
                world.restart(device)?;
            }
        }
        let micros = world.rng.below(1_500_000) as u64;
        world.pass(micros)?;
    }
    Ok(world)
}
