//! Generated merges full of copy and paste: repeated lines, blocks moved and written twice, the same edit on both sides.

use crate::git::{Count, merge_file, play};
use crate::{Dice, seeds};
use syncd_engine::review;

/// A text of few different lines, so that every difference has many explanations.
fn text(dice: &mut Dice) -> Vec<String> {
    let words = 2 + dice.roll(12);
    (0..dice.roll(40)).map(|_| line(dice, words)).collect()
}

fn line(dice: &mut Dice, words: usize) -> String {
    match dice.roll(6) {
        0 => String::new(),
        1 => "}".to_owned(),
        _ => format!("line {}", dice.roll(words)),
    }
}

/// One edit as people make them with a clipboard.
fn edit(lines: &mut Vec<String>, dice: &mut Dice) {
    let at = dice.roll(lines.len() + 1);
    let end = (at + dice.roll(6)).min(lines.len());
    let to = dice.roll(lines.len() + 1);
    match dice.roll(7) {
        0 => drop(lines.drain(at..end)),
        1 => lines.insert(at, line(dice, 20)),
        2 => {
            let block = lines[at..end].to_vec();
            lines.splice(to..to, block);
        }
        3 => {
            let block: Vec<String> = lines.drain(at..end).collect();
            let to = to.min(lines.len());
            lines.splice(to..to, block);
        }
        4 => {
            let block = lines[at..end].to_vec();
            lines.splice(end..end, block);
        }
        _ => {
            if let Some(line) = lines.get_mut(at) {
                line.push_str(["!", " more", "x"][dice.roll(3)]);
            }
        }
    }
}

fn joined(lines: &[String], dice: &mut Dice) -> String {
    let end = if dice.roll(8) == 0 { "" } else { "\n" };
    if lines.is_empty() { String::new() } else { lines.join("\n") + end }
}

/// Base, ours and theirs. Some edits are made on both sides.
fn case(seed: u64) -> [String; 3] {
    let mut dice = Dice::new(seed);
    let base = text(&mut dice);
    let (mut ours, mut theirs) = (base.clone(), base.clone());
    for _ in 0..dice.roll(2) {
        edit(&mut ours, &mut dice);
        theirs.clone_from(&ours);
    }
    for _ in 0..1 + dice.roll(3) {
        edit(&mut ours, &mut dice);
    }
    for _ in 0..1 + dice.roll(3) {
        edit(&mut theirs, &mut dice);
    }
    [base, ours, theirs].map(|lines| joined(&lines, &mut dice))
}

#[test]
fn copied_and_pasted_texts_merge_as_in_git() {
    let (mut count, mut strings) = (Count::default(), Count::default());
    for seed in seeds(150) {
        let [base, ours, theirs] = case(seed);
        let Some(git) = merge_file(&format!("copies-{seed}"), &base, &ours, &theirs) else {
            eprintln!("skipped: there is no git to compare with");
            return;
        };
        let name = format!("seed {seed}");
        count.add(&name, git.as_deref(), play(&base, &ours, &theirs).as_deref());
        strings.add(&name, git.as_deref(), review::merge(&base, &ours, &theirs).text().as_deref());
    }
    count.print("generated merges on two devices");
    strings.print("generated merges of plain texts");
    for count in [count, strings] {
        assert_eq!(count.carded, count.conflicts);
        assert!(count.silent * 100 >= count.clean * 99);
        assert_eq!(count.wrong, 0);
    }
}
