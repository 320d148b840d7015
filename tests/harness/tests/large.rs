//! Many changes as large as may be, one after the other: what they take beside the disk, in a process of its own.
#![allow(clippy::expect_used, reason = "a test stops at the first thing that is not as it should be")]

use peak_alloc::PeakAlloc;
use syncd_harness::hostile::Lie;
use syncd_harness::trace::Trace;
use syncd_harness::world::World;
use syncd_schema::limits;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// How many of them.
const CHANGES: usize = 12;
/// What one may take while it is let in: the change as it came, opened, decoded and in its document, and the disk's copies.
const AT_ONCE: usize = 64 * limits::CHANGE_BYTES;

#[test]
fn changes_at_the_limit_take_the_memory_of_one() {
    let mut world = World::new(41, Trace::default());
    world.found().expect("founded");
    world.let_liar_in().expect("let in");
    world.pass(5_000_000).expect("quiet");
    world.liar.as_mut().expect("a liar").large = limits::CHANGE_BYTES;
    let mut peaks = Vec::new();
    for _ in 0..CHANGES {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        world.lie(Lie::Enormous, 0).expect("told");
        peaks.push(MEMORY.peak_usage().saturating_sub(before));
    }
    let engine = world.devices[0].engine.as_ref().expect("runs");
    let objects = engine.status().expect("readable").objects;
    assert_eq!(objects as usize, CHANGES, "each is let in");
    assert!(peaks.iter().all(|peak| *peak <= AT_ONCE), "{peaks:?} bytes at once");
    println!("{peaks:?} bytes at once");
}
