//! Random work on a text that is judged by lines, heard of in parts and in any order: what contradicts is a function of
//! the changes and of nothing else.

use crate::device::{Device, sync_all};
use crate::{Dice, seeds};
use std::collections::BTreeSet;
use syncd_engine::Edit;
use syncd_engine::conflict::Conflict;

fn work(device: &mut Device, dice: &mut Dice) {
    let text = device.text();
    let length = text.chars().count();
    if dice.roll(3) == 0 {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let at = dice.roll(lines.len() + 1);
        match dice.roll(3) {
            0 if at < lines.len() => drop(lines.remove(at)),
            1 if at < lines.len() => lines[at] = format!("new {}\n", dice.roll(3)),
            _ => lines.insert(at, format!("put {}\n", dice.roll(3))),
        }
        return device.set(&lines.concat());
    }
    let pos = dice.roll(length + 1);
    let del = dice.roll(4).min(length - pos);
    let text = ["", "x", "yz", "\n", "a\nb"][dice.roll(5)].to_owned();
    device.edit(&Edit::Splice { path: "/t".to_owned(), pos, del, text });
}

fn check(device: &Device, seed: u64, step: usize) {
    let (kept, anew) = (&device.open, device.anew());
    let lost: Vec<_> = anew.difference(kept).collect();
    let invented: Vec<_> = kept.difference(&anew).collect();
    assert!(lost.is_empty() && invented.is_empty(), "seed {seed}, step {step}: {lost:#?} {invented:#?}");
}

/// One script; how many contradictions were open in it, summed over its steps.
fn script(seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let count = 2 + dice.roll(3);
    let base: String = (0..8).map(|n| format!("line {n}\n")).collect();
    let mut devices = Device::all(&base, count as u8, true);
    let mut open = 0;
    for step in 0..14 + dice.roll(14) {
        let one = dice.roll(count);
        match dice.roll(5) {
            0 | 1 => {
                let other = devices[dice.roll(count)].clone();
                let mut changes = devices[one].missing(&other);
                if dice.roll(3) == 0 {
                    changes.truncate(dice.roll(changes.len() + 1));
                }
                devices[one].take(changes);
            }
            2 if dice.roll(3) == 0 => {
                devices[one].remove_doubled();
            }
            _ => work(&mut devices[one], &mut dice),
        }
        check(&devices[one], seed, step);
        open += devices[one].open.len();
    }
    sync_all(&mut devices);
    let ids = |device: &Device| device.open.iter().map(Conflict::id).collect::<BTreeSet<_>>();
    for device in &devices {
        check(device, seed, 100);
        assert_eq!(device.open, devices[0].open, "seed {seed}");
        assert_eq!(ids(device).len(), device.open.len(), "ids differ");
    }
    open
}

#[test]
fn whoever_holds_the_same_changes_finds_the_same() {
    let seeds = seeds(300);
    let count = seeds.end - seeds.start;
    let open: usize = seeds.map(script).sum();
    println!("{count} scripts, {open} open contradictions compared");
    assert!(open as u64 > count, "the scripts hardly collide");
}
