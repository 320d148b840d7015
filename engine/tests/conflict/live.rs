//! People who type into one text at once are asked nothing: real sessions, each writer given exactly what it knew.

use crate::real::{Past, Trace, commits, pasts, shared};
use crate::{actor, empty};
use automerge::transaction::Transactable;
use automerge::{Automerge, Change, ObjId, ObjType, ROOT, ReadDoc};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use syncd_engine::conflict::{self, Conflict};
use syncd_schema::Digest;

struct Writer {
    doc: Automerge,
    open: BTreeSet<Conflict>,
    /// Its changes, and how many transactions it had written with each.
    written: Vec<(Change, usize)>,
    holds: Past,
    taken: Past,
}

/// Runs a trace; how long applying and how long detecting took, and how many conflicts were ever open.
fn type_along(trace: &Trace) -> (Duration, Duration, usize) {
    let pasts = pasts(trace);
    let agents = trace.txns.iter().map(|txn| txn.agent).max().unwrap() + 1;
    let mut base = empty(99);
    let text = {
        let mut tx = base.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, &trace.start_content).unwrap();
        tx.commit();
        text
    };
    let writer = |n: usize| Writer {
        doc: base.fork().with_actor(actor(n as u8)),
        open: BTreeSet::new(),
        written: Vec::new(),
        holds: Past::new(),
        taken: Past::new(),
    };
    let mut writers: Vec<Writer> = (0..agents).map(writer).collect();
    let (mut applying, mut detecting, mut asked) = (Duration::ZERO, Duration::ZERO, 0);
    for commit in commits(trace, &pasts, true) {
        let agent = trace.txns[commit.start].agent;
        let new = missing(&writers, agent, &pasts[commit.start]);
        let writer = &mut writers[agent];
        if !new.is_empty() {
            let start = Instant::now();
            writer.doc.apply_changes(new.iter().map(|(change, ..)| change.clone())).unwrap();
            applying += start.elapsed();
            let arrived: Vec<Digest> = new.iter().map(|(change, ..)| Digest(change.hash().0)).collect();
            let start = Instant::now();
            writer.open = conflict::update(&writer.doc, &writer.open, &arrived, &|_| false).unwrap();
            detecting += start.elapsed();
            asked += writer.open.iter().filter(|conflict| !conflict.is_equal).count();
        }
        for (_, from, holds, taken) in new {
            writer.holds.insert(from, holds);
            writer.taken.insert(from, taken);
        }
        let own = writer.holds.entry(agent).or_default();
        *own += commit.len();
        let change = write(&mut writer.doc, &text, trace, commit);
        writer.written.push((change, *own));
    }
    (applying, detecting, asked)
}

/// The changes of others that a past holds and a writer lacks: change, whose, how many transactions with it, how many
/// changes.
fn missing(writers: &[Writer], agent: usize, past: &Past) -> Vec<(Change, usize, usize, usize)> {
    let mut new = Vec::new();
    for (from, needed) in past.iter().filter(|(from, _)| **from != agent) {
        let writer = &writers[agent];
        let mut holds = writer.holds.get(from).copied().unwrap_or_default();
        let mut next = writer.taken.get(from).copied().unwrap_or_default();
        while holds < *needed {
            let (change, with) = writers[*from].written[next].clone();
            (holds, next) = (with, next + 1);
            new.push((change, *from, holds, next));
        }
    }
    new
}

fn write(doc: &mut Automerge, text: &ObjId, trace: &Trace, commit: std::ops::Range<usize>) -> Change {
    let mut tx = doc.transaction();
    for (pos, del, typed) in trace.txns[commit].iter().flat_map(|txn| &txn.patches) {
        tx.splice_text(text, *pos, *del as isize, typed).unwrap();
    }
    let hash = tx.commit().0.unwrap();
    doc.get_change_by_hash(&hash).unwrap()
}

fn silent(name: &str, trace: &Trace) {
    let (applying, detecting, asked) = type_along(trace);
    println!(
        "{name}: applied in {applying:.1?}, contradictions looked for in {detecting:.1?}, {asked} found"
    );
    assert_eq!(asked, 0);
}

/// Two people who type at their own places in one line, correct what they have just typed, and hear of each other
/// every now and then.
#[test]
fn two_who_type_into_one_line_are_asked_nothing() {
    let mut base = empty(99);
    let mut tx = base.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.splice_text(&text, 0, 0, "from here | to there").unwrap();
    tx.commit();
    let mut docs = [base.fork().with_actor(actor(1)), base.fork().with_actor(actor(2))];
    let mut open = [BTreeSet::new(), BTreeSet::new()];
    let mut typed = [0_usize; 2];
    for step in 0..600_usize {
        let who = (step / 3) % 2;
        let mut tx = docs[who].transaction();
        // The first types before the bar, the second after it.
        let bar = tx.text(&text).unwrap().find('|').unwrap();
        let place = bar + who;
        if step % 7 == 6 && typed[who] > 0 {
            tx.splice_text(&text, place - usize::from(who == 0), 1, "").unwrap();
            typed[who] -= 1;
        } else {
            tx.splice_text(&text, place, 0, "x").unwrap();
            typed[who] += 1;
        }
        tx.commit();
        if step % 10 == 9 {
            for (from, to) in [(0, 1), (1, 0)] {
                let held: BTreeSet<_> = docs[to].get_changes(&[]).iter().map(Change::hash).collect();
                let mut new = docs[from].get_changes(&[]);
                new.retain(|change| !held.contains(&change.hash()));
                docs[to].apply_changes(new.iter().cloned()).unwrap();
                let arrived: Vec<Digest> = new.iter().map(|change| Digest(change.hash().0)).collect();
                open[to] = conflict::update(&docs[to], &open[to], &arrived, &|_| false).unwrap();
                assert_eq!(open[to], BTreeSet::new(), "step {step}");
            }
        }
    }
    assert_eq!(docs[0].text(&text).unwrap(), docs[1].text(&text).unwrap());
}

#[test]
fn two_friends_are_asked_nothing() {
    if let Some(trace) = shared("friendsforever.json.gz") {
        silent("friendsforever", &trace);
    }
}

#[test]
fn three_clowns_are_asked_nothing() {
    if let Some(trace) = shared("clownschool.json.gz") {
        silent("clownschool", &trace);
    }
}
