//! What judging by lines costs. Figures of a release build:
//!
//!     cargo test --release -p syncd-engine --test review -- cost --ignored --nocapture --test-threads 1

use crate::device::Device;
use std::time::Instant;
use syncd_engine::Edit;

/// How long two devices take to hear of each other, each with so many changes in a text of so many lines.
fn meet(lines: usize, changes: usize) {
    let base: String = (0..lines).map(|n| format!("a line of a long text, number {n}\n")).collect();
    let mut devices = Device::all(&base, 2, true);
    for device in &mut devices {
        let step = base.chars().count() / (changes + 1);
        for n in 0..changes {
            let (path, pos) = ("/t".to_owned(), n * step);
            device.edit(&Edit::Splice { path, pos, del: 1, text: "x".to_owned() });
        }
    }
    let theirs = devices[1].clone();
    let changes_of = devices[0].missing(&theirs);
    let mut copy = devices[0].doc.clone();
    let start = Instant::now();
    copy.apply_changes(changes_of.iter().cloned()).unwrap();
    let applied = start.elapsed();
    let start = Instant::now();
    devices[0].take(changes_of);
    println!(
        "{changes} against {changes} in {} characters: applied in {applied:.1?}, with judging {:.1?}, {} cards",
        base.len(),
        start.elapsed(),
        devices[0].cards().len()
    );
    let start = Instant::now();
    devices[0].edit(&Edit::Splice { path: "/t".to_owned(), pos: 10, del: 0, text: "y".to_owned() });
    println!("    one more keystroke: {:.1?}, {} cards", start.elapsed(), devices[0].cards().len());
}

#[test]
#[ignore = "figures; run with --release"]
fn small_and_large_texts() {
    meet(100, 1);
    meet(3_000, 1);
    meet(30_000, 1);
    meet(30_000, 100);
}

#[test]
#[ignore = "figures; run with --release"]
fn many_changes() {
    meet(3_000, 1_000);
    meet(3_000, 10_000);
}

/// Two who type at their own places and hear of each other always a little late, so that there is no moment at which
/// both knew everything.
#[test]
#[ignore = "figures; run with --release"]
fn a_session_that_never_rests() {
    let base: String = (0..400).map(|n| format!("a line of a text, number {n}\n")).collect();
    let mut devices = Device::all(&base, 2, true);
    let mut sent = [devices[0].clone(), devices[1].clone()];
    let mut slowest = std::time::Duration::ZERO;
    let start = Instant::now();
    for round in 0..600 {
        for one in 0..2 {
            let text = devices[one].text();
            let at = text.find(["number 40\n", "number 300\n"][one]).unwrap();
            let pos = text[..at].chars().count();
            let edit = Edit::Splice { path: "/t".to_owned(), pos, del: 0, text: "z".to_owned() };
            devices[one].edit(&edit);
            let start = Instant::now();
            let other = sent[1 - one].clone();
            devices[one].receive(&other);
            slowest = slowest.max(start.elapsed());
        }
        sent = [devices[0].clone(), devices[1].clone()];
        assert_eq!(devices[0].cards().len() + devices[1].cards().len(), 0, "round {round}");
    }
    println!("600 rounds without rest: {:.1?} in all, the slowest exchange {slowest:.1?}", start.elapsed());
}
