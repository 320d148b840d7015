//! Texts judged by lines: against `git merge-file` on real merges and on generated ones, with the same edits made on
//! several devices, and in any order of syncs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod alike;
mod copies;
mod cost;
mod device;
mod git;
mod orders;
mod settled;

/// A small deterministic source of numbers.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1))
    }

    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// How many seeds a run of random cases takes, and from which on.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let of = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let from = of("SYNCD_FROM").unwrap_or(0);
    from..from + of("SYNCD_SEEDS").unwrap_or(default)
}
