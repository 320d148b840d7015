//! What happened, for whoever reads a failure: the last lines are kept and shown with the seed and the command that
//! replays it. Shared, so that it outlives a panic of the world that wrote it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines kept for a failure; a replay prints all of them.
const KEPT: usize = 80;

/// The lines of one run. Clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Arc<Mutex<VecDeque<String>>>,
    is_loud: bool,
}

impl Trace {
    /// A trace that prints as it goes, or one that only remembers.
    #[must_use]
    pub fn new(is_loud: bool) -> Self {
        Self { is_loud, ..Self::default() }
    }

    /// Adds a line.
    pub fn line(&self, now: u64, text: &str) {
        let line = format!("{:>10.4}s {text}", now as f64 / 1e6);
        if self.is_loud {
            println!("{line}");
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }
}
