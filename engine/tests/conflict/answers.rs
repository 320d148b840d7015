//! Replicas that work apart and answer what they are asked about, at once and not alike. After every step the set that was
//! kept up to date is the one that is found in the whole document from nothing, and in the end all have the same.

use crate::random::{Dice, Replica};
use automerge::{Automerge, Change, ReadDoc};
use serde_json::json;
use std::collections::BTreeSet;
use syncd_engine::conflict::{self, Answer, Choice, Conflict, Kind};
use syncd_schema::{Digest, Manifest};

fn found_anew(doc: &Automerge) -> BTreeSet<Conflict> {
    let all: Vec<Digest> = doc.get_changes(&[]).iter().map(|change| Digest(change.hash().0)).collect();
    conflict::update(doc, &BTreeSet::new(), &all, &|_| false).expect("not too wide")
}

fn asked(replica: &Replica) -> Vec<&Conflict> {
    replica.open.iter().filter(|conflict| !conflict.is_equal).collect()
}

/// Answers an open question, by a side or by a value; nothing where none is open or the answer does not fit.
fn answer(replica: &mut Replica, which: usize, dice: &mut Dice) {
    let asked = asked(replica);
    if asked.is_empty() {
        return;
    }
    let conflict = asked[which % asked.len()].clone();
    let sides = conflict::alternatives(&replica.doc, &conflict);
    let answer = match dice.roll(4) {
        0 if conflict.kind == Kind::Text => Answer::Value(json!("decided")),
        0 if conflict.kind != Kind::Answer => Answer::Value(json!(dice.roll(2))),
        _ if sides.is_empty() => return,
        _ => Answer::Keep(sides[dice.roll(sides.len())].clone()),
    };
    let manifest = Manifest::free_form("notes".parse().unwrap());
    let about = (conflict.id(), Choice::Merge, &answer);
    let Ok(change) = conflict::decide(&replica.doc, &conflict, about, &manifest) else { return };
    let change = Change::from_bytes(change.bytes).expect("a change");
    if replica.doc.get_change_by_hash(&change.hash()).is_none() {
        replica.doc.apply_changes([change.clone()]).expect("applies");
        replica.learn(&[change]);
    }
}

fn check(replica: &Replica, seed: u64, step: usize) {
    let anew = found_anew(&replica.doc);
    let missed: Vec<_> = anew.difference(&replica.open).collect();
    let invented: Vec<_> = replica.open.difference(&anew).collect();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "seed {seed}, step {step}: not kept {missed:#?}, kept and not there {invented:#?}"
    );
}

/// All hear of all.
fn meet(replicas: &mut [Replica]) {
    for one in 0..replicas.len() {
        for other in 0..replicas.len() {
            let from = replicas[other].doc.clone();
            replicas[one].receive_all(&from);
        }
    }
}

/// One script; how many contradicting answers were open in it, summed over its steps.
fn script(seed: u64) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut replicas = Replica::several(&mut dice);
    let count = replicas.len();
    let mut contradicting = 0;
    for step in 0..20 + dice.roll(20) {
        let one = dice.roll(count);
        match dice.roll(8) {
            // All have met, and each answers the same question.
            0 => {
                meet(&mut replicas);
                let which = dice.roll(64);
                replicas.iter_mut().for_each(|replica| answer(replica, which, &mut dice));
            }
            1 | 2 => {
                let from = replicas[dice.roll(count)].doc.clone();
                replicas[one].receive(&from, &mut dice);
            }
            3 | 4 => {
                let which = dice.roll(64);
                answer(&mut replicas[one], which, &mut dice);
            }
            _ => replicas[one].edit(&mut dice),
        }
        check(&replicas[one], seed, step);
        contradicting += replicas[one].open.iter().filter(|open| open.kind == Kind::Answer).count();
    }
    meet(&mut replicas);
    for replica in &replicas {
        check(replica, seed, 100);
        assert_eq!(replica.open, replicas[0].open, "seed {seed}");
    }
    contradicting
}

#[test]
fn what_is_kept_of_random_answers_is_what_is_found_from_nothing() {
    let from = std::env::var("SYNCD_FROM").ok().and_then(|from| from.parse().ok()).unwrap_or(0);
    let count = std::env::var("SYNCD_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(150);
    let contradicting: usize = (from..from + count).map(script).sum();
    println!("{count} scripts, {contradicting} contradicting answers compared");
    assert!(contradicting as u64 > count / 10, "hardly any answers contradict: {contradicting}");
}
