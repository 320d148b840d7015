//! Whole processes under conditions that happen to them: killed, out of disk, apart from each other, watched by a
//! person, fed with much.
//!
//! The longest replay is left out of ordinary runs: `cargo test --release --test process -- --ignored`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod disk;
mod doors;
mod fork;
mod kill;
mod logs;
mod paper;
mod progress;
mod secrets;
mod silence;
mod tickets;
mod tree;
