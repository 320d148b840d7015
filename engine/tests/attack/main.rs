//! Attacks on the guard by somebody who knows the format and the rules: what is let in does no harm, then or later.
//!
//! An attack is its seed. `SYNCD_ATTACKS` says how many there are, `SYNCD_ATTACK_SEED` with which they begin, and
//! `SYNCD_CRASHERS` names a folder for those that did harm.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

mod aftermath;
mod attempt;
mod bombs;
mod chains;
mod children;
mod contents;
#[path = "../guard/craft.rs"]
mod craft;
mod dice;
mod documents;
mod draft;
mod edits;
mod encode;
mod form;
mod heavy;
mod honest;
mod mutate;
mod rules;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// So many in every run of the tests; `SYNCD_ATTACKS` says otherwise.
const ATTACKS: u64 = 3_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn attacks_do_no_harm() {
    let first = number("SYNCD_ATTACK_SEED", 1);
    let seeds = first..first + number("SYNCD_ATTACKS", ATTACKS);
    println!("seeds {seeds:?}");
    let tally = children::attack_all(seeds);
    tally.print();
    assert!(tally.failures.is_empty(), "{} kinds of failures", tally.failures.len());
}

/// Every attack that once did harm. `SYNCD_REPLAY` names another folder of them.
#[test]
fn what_once_did_harm_does_none_now() {
    let folder = std::env::var_os("SYNCD_REPLAY").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crashers"));
    let tally = Mutex::default();
    assert!(children::replay_all(&folder, &tally) > 0, "the attacks are missing");
    let tally = tally.into_inner().unwrap();
    tally.print();
    assert!(tally.failures.is_empty(), "{} kinds of failures", tally.failures.len());
}

#[test]
#[ignore = "a part of the test above, in a process of its own"]
fn one_process() {
    children::be_attacked();
}
