//! Times beside budgets. What else runs on the machine only ever adds to a time, so of several rounds the fastest counts.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The fastest of some rounds.
pub fn best(rounds: usize, round: impl FnMut() -> Duration) -> Duration {
    std::iter::repeat_with(round).take(rounds).min().unwrap_or_default()
}

/// How long one call takes, in the fastest of ten rounds of many.
pub fn each<T>(calls: u32, mut call: impl FnMut() -> T) -> Duration {
    best(10, || {
        let begun = Instant::now();
        for _ in 0..calls {
            std::hint::black_box(call());
        }
        begun.elapsed() / calls
    })
}

/// What was found, and whether it is within its budgets.
#[derive(Debug, Default)]
pub struct Budgets {
    missed: usize,
}

impl Budgets {
    /// Says a time and its budget.
    pub fn time(&mut self, what: &str, found: Duration, most: Duration) {
        println!("{what}: {found:.1?} (at most {most:.1?})");
        self.missed += usize::from(found > most);
    }

    /// Says how many times as long something takes as something else, and its budget.
    pub fn times(&mut self, what: &str, found: f64, most: f64) {
        println!("{found:.2} times {what} (at most {most})");
        self.missed += usize::from(found > most);
    }

    /// A failure if a budget was missed.
    pub fn end(self) -> ExitCode {
        if self.missed == 0 {
            return ExitCode::SUCCESS;
        }
        println!("{} budgets missed", self.missed);
        ExitCode::FAILURE
    }
}
