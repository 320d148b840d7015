//! The same edit on several devices is made once, whatever their number and the order in which they hear of each other.

use crate::device::{Device, remove_all_doubled, sync_all};
use crate::{Dice, seeds};

const BASE: &str = "title\n\nversion = 1.2\nname = \"thing\"\n\nend\n";

/// What everybody does, in this order or another.
fn edits() -> [String; 6] {
    [
        BASE.replace("1.2", "1.3"),
        BASE.replace("title\n", "title\nsubtitle\n"),
        BASE.replace("name = \"thing\"\n", ""),
        BASE.replace("version = 1.2\nname = \"thing\"\n", "version = 2.0\nname = \"other\"\nnew = true\n"),
        format!("first\n{BASE}"),
        format!("{BASE}last"),
    ]
}

/// One run: some devices make one edit, hear of each other in any order, and each removes what it finds doubled whenever
/// it likes.
fn run(seed: u64, by_lines: bool) {
    let mut dice = Dice::new(seed);
    let count = 2 + dice.roll(3);
    let new = edits()[dice.roll(6)].clone();
    let mut devices = Device::all(BASE, count as u8, by_lines);
    devices.iter_mut().for_each(|device| device.set(&new));
    for _ in 0..dice.roll(30) {
        let (to, from) = (dice.roll(count), dice.roll(count));
        let source = devices[from].clone();
        let mut changes = devices[to].missing(&source);
        if dice.roll(3) == 0 {
            changes.truncate(dice.roll(changes.len() + 1));
        }
        devices[to].take(changes);
        assert_eq!(devices[to].cards().len(), 0, "seed {seed}, by lines {by_lines}: {}", devices[to].text());
        if dice.roll(2) == 0 {
            devices[to].remove_doubled();
        }
        assert_eq!(devices[to].open, devices[to].anew(), "seed {seed}, by lines {by_lines}");
    }
    for _ in 0..3 {
        sync_all(&mut devices);
        remove_all_doubled(&mut devices);
    }
    sync_all(&mut devices);
    for device in &devices {
        assert_eq!(device.text(), new, "seed {seed}, {count} devices, by lines {by_lines}");
        assert_eq!(device.open.len(), 0, "seed {seed}, {count} devices, by lines {by_lines}");
    }
}

#[test]
fn the_same_edit_on_several_devices_is_made_once() {
    for seed in seeds(300) {
        run(seed, true);
        run(seed, false);
    }
}

/// Who goes on in the own copy loses nothing, under either rule.
#[test]
fn what_was_typed_into_a_copy_stays() {
    for by_lines in [true, false] {
        for goes_on in [0, 1] {
            let mut devices = Device::all(BASE, 2, by_lines);
            let new = BASE.replace("1.2", "1.3");
            devices.iter_mut().for_each(|device| device.set(&new));
            devices[goes_on].set(&new.replace("1.3", "1.35"));
            sync_all(&mut devices);
            remove_all_doubled(&mut devices);
            sync_all(&mut devices);
            let text = devices[0].text();
            assert_eq!(text, devices[1].text());
            assert_eq!(devices[0].open, devices[1].open);
            let is_asked = !devices[0].cards().is_empty();
            assert!(is_asked || text == new.replace("1.3", "1.35"), "by lines {by_lines}: {text}");
            assert!(text.contains('5') && text.contains('3'));
            assert!(is_asked || !by_lines, "git calls it a conflict");
        }
    }
}
