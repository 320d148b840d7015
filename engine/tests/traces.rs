//! Real editing sessions, replayed on as many devices as there were people.
//!
//! A transaction's positions mean something in exactly the state its parents made, so each device is given exactly
//! the causal past of what it writes next, by handing it the others' segments as far as the parents reach: links are
//! cut and healed wherever the trace branches and merges. At the end all devices sync and must hold `endContent`.
//!
//! The large traces lie beside the repository; where they are absent the tests say `skipped: …`. The small one in
//! `data/` is made by [`generated`] and always runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first thing that is not as it should be"
)]

mod common;
mod real;

use common::*;
use real::{Past, Patch, Trace, Txn, commits, pasts, shared, small};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use syncd_engine::{Edit, Engine, Intent, WriteRequest};
use syncd_schema::message::Segment;
use syncd_schema::operation::EntryState;
use syncd_schema::{LogId, ObjectId, Role, UnixMicros};

fn at(n: u64) -> UnixMicros {
    START.plus(1_000_000 + n)
}

fn object() -> ObjectId {
    "trace".parse().expect("an id")
}

/// One device of a replay, with the segments it has sent and how far it has taken those of others.
struct Device {
    engine: Engine,
    /// Its commits: the segment, and how many transactions it has written with it.
    kept: Vec<(Segment, usize)>,
    /// Transactions held of each agent, and the next segment to take of it.
    holds: Past,
    taken: BTreeMap<usize, usize>,
    /// Entries that came before what they build on.
    waiting: BTreeSet<(LogId, u64)>,
}

/// The agents' devices, all members, all with the object before its first transaction.
fn devices(trace: &Trace) -> Vec<Device> {
    let agents = trace.txns.iter().map(|txn| txn.agent).max().expect("transactions") + 1;
    let (mut desk, _) = owner(1);
    let mut others: Vec<Engine> =
        (1..agents).map(|n| member(&mut desk, 1 + n as u64, Role::Member).0).collect();
    let value = json!({"path": "trace.md", "text": trace.start_content});
    let put = Intent::Put { collection: "files".parse().unwrap(), object: Some(object()), value };
    write(&mut desk, put, at(0)).expect("put");
    for other in &mut others {
        sync(other, &mut desk, at(0));
    }
    let device = |engine| Device {
        engine,
        kept: Vec::new(),
        holds: Past::new(),
        taken: BTreeMap::new(),
        waiting: BTreeSet::new(),
    };
    std::iter::once(desk).chain(others).map(device).collect()
}

fn request(txn_patches: Vec<Patch>) -> WriteRequest {
    let edit = Edit::Splices { path: "/text".to_owned(), splices: txn_patches };
    WriteRequest::new(user(), Intent::Edit { object: object(), base: None, edit })
}

/// Gives a device what its next transaction needs of others, and nothing else. Author by author, so that some
/// entries come before what they build on, and must wait for it.
fn deliver(devices: &mut [Device], to: usize, past: &Past, now: UnixMicros) {
    for (from, needed) in past {
        while *from != to && devices[to].holds.get(from).copied().unwrap_or_default() < *needed {
            let next = devices[to].taken.get(from).copied().unwrap_or_default();
            let (segment, holds) = devices[*from].kept[next].clone();
            let sender = devices[*from].engine.device();
            let receiver = &mut devices[to];
            let receipt = receiver.engine.receive(sender, &segment, now).expect("received");
            assert_eq!(receipt.received, u64::from(segment.count));
            for (log, outcome) in receipt.outcomes {
                for seq in outcome.first.0..outcome.first.0 + outcome.count {
                    match outcome.state {
                        EntryState::Held => drop(receiver.waiting.insert((log, seq))),
                        EntryState::Admitted => drop(receiver.waiting.remove(&(log, seq))),
                        other => panic!("entry {seq} of {log} is {other:?}"),
                    }
                }
            }
            receiver.holds.insert(*from, holds);
            receiver.taken.insert(*from, next + 1);
        }
    }
    assert!(
        devices[to].waiting.is_empty(),
        "all of the past is here, and these wait: {:?}",
        devices[to].waiting
    );
    assert_eq!(&devices[to].holds, past, "exactly the causal past, or the positions mean something else");
}

fn replay(name: &str, trace: &Trace, grouped: bool) {
    let start = Instant::now();
    let pasts = pasts(trace);
    let mut devices = devices(trace);
    let commits = commits(trace, &pasts, grouped);
    for commit in &commits {
        let (agent, now) = (trace.txns[commit.start].agent, at(1 + commit.start as u64));
        deliver(&mut devices, agent, &pasts[commit.start], now);
        let device = &mut devices[agent];
        let log = device.engine.own_log();
        let size = device.engine.size_of_log(&log);
        let requests: Vec<WriteRequest> =
            trace.txns[commit.clone()].iter().map(|txn| request(txn.patches.clone())).collect();
        let (answers, _) = device.engine.write(&requests, now).expect("the disk works");
        for answer in answers {
            answer.expect("every transaction applies to the state its parents made");
        }
        let segment = device.engine.segment(&log, size, None).expect("readable").expect("just written");
        let own = device.holds.entry(agent).or_default();
        *own += commit.len();
        device.kept.push((segment, *own));
    }
    let written = start.elapsed();
    heal(&mut devices, at(100_000_000));
    for device in &mut devices {
        check(&mut device.engine, &trace.end_content, trace.txns.len());
    }
    let frontier = devices[0].engine.frontier();
    assert!(devices.iter().all(|device| device.engine.frontier() == frontier));
    eprintln!(
        "{name}: {} transactions in {} commits on {} devices: {:.1} s, then synced and verified: {:.1} s in all",
        trace.txns.len(),
        commits.len(),
        devices.len(),
        written.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
}

/// Sessions between neighbours, there and back, so that everything reaches everyone.
fn heal(devices: &mut [Device], now: UnixMicros) {
    for step in (1..devices.len()).chain((1..devices.len()).rev()) {
        let (left, right) = devices.split_at_mut(step);
        sync(&mut left[step - 1].engine, &mut right[0].engine, now);
    }
}

/// The text, no operation refused, waiting or lost, nothing to report, and a store that verifies.
fn check(engine: &mut Engine, text: &str, operations: usize) {
    let view = engine.get(&object()).expect("readable").expect("known");
    assert!(view.value["text"] == text, "device {} holds another text", engine.device().short());
    assert!(view.conflicts.is_empty());
    // The genesis or entry that made each member, the session of each log, the birth, and the operations.
    let (members, logs) = (engine.governance().members.len(), engine.frontier().len());
    assert_eq!(engine.entries(), (members + logs + 1 + operations) as u64);
    if operations < 5_000 {
        let history = engine.history(&object()).expect("history");
        assert_eq!(history.len(), operations + 1, "the birth, and one entry per transaction");
        assert!(history.iter().all(|item| item.status == EntryState::Admitted));
    }
    let status = engine.status().expect("status");
    assert_eq!((status.held, status.refused, status.findings.len()), (0, 0, 0), "{:?}", status.findings);
    let report = engine.verify(|_, _| {}).expect("verifies");
    assert!(report.ok, "{:?}", report.findings);
}

#[test]
fn the_small_trace_ends_alike_on_every_device() {
    replay("small", &small(), false);
}

#[test]
fn the_small_trace_ends_alike_when_commits_are_grouped() {
    let trace = small();
    let pasts = pasts(&trace);
    assert!(commits(&trace, &pasts, true).len() < commits(&trace, &pasts, false).len());
    replay("small, grouped", &trace, true);
}

#[test]
fn two_friends_end_alike() {
    if let Some(trace) = shared("friendsforever.json.gz") {
        replay("friendsforever", &trace, true);
    }
}

#[test]
fn three_clowns_end_alike() {
    if let Some(trace) = shared("clownschool.json.gz") {
        replay("clownschool", &trace, true);
    }
}

/// One author, `per` edits an operation, then a second device. `edits` of the trace are taken.
fn paper(edits: usize, per: usize) {
    let Some(mut trace) = shared("automerge-paper.json.gz") else { return };
    let whole = trace.txns.len();
    trace.txns.truncate(edits);
    // One author needs no merge: what the text must be is known without any CRDT.
    let text = typed(&trace);
    assert!(edits < whole || text == trace.end_content);
    let start = Instant::now();
    let (mut desk, _) = owner(1);
    let value = json!({"path": "paper.tex", "text": trace.start_content});
    let put = Intent::Put { collection: "files".parse().unwrap(), object: Some(object()), value };
    write(&mut desk, put, at(0)).expect("put");
    let requests: Vec<WriteRequest> = trace
        .txns
        .chunks(per)
        .map(|edits| request(edits.iter().flat_map(|txn| txn.patches.clone()).collect()))
        .collect();
    for (n, commit) in requests.chunks(1_000).enumerate() {
        let (answers, _) = desk.write(commit, at(1 + n as u64)).expect("the disk works");
        for answer in answers {
            answer.expect("applies");
        }
    }
    let written = start.elapsed();
    let (mut phone, _) = member(&mut desk, 2, Role::Member);
    let traffic = sync(&mut phone, &mut desk, at(1_000_000_000));
    let synced = start.elapsed();
    assert_eq!(desk.frontier(), phone.frontier());
    for engine in [&mut desk, &mut phone] {
        check(engine, &text, requests.len());
    }
    eprintln!(
        "automerge-paper, {} edits, {per} an operation: {} operations written {:.1} s, synced {:.1} s ({} bytes), {:.1} s in all",
        trace.txns.len(),
        requests.len(),
        written.as_secs_f64(),
        (synced - written).as_secs_f64(),
        traffic.bytes,
        start.elapsed().as_secs_f64()
    );
}

/// A sequential trace on a plain list of characters.
fn typed(trace: &Trace) -> String {
    let mut text: Vec<char> = trace.start_content.chars().collect();
    for (pos, del, inserted) in trace.txns.iter().flat_map(|txn| &txn.patches) {
        text.splice(*pos..pos + del, inserted.chars());
    }
    text.into_iter().collect()
}

#[test]
fn the_start_of_a_paper_is_written_and_synced() {
    paper(20_000, 100);
}

#[test]
fn a_paper_is_written_and_synced() {
    paper(usize::MAX, 100);
}

#[test]
#[ignore = "takes minutes; run with --ignored"]
fn a_paper_is_written_and_synced_edit_by_edit() {
    paper(usize::MAX, 1);
}

mod generated {
    //! Where `data/small-trace.json` comes from: three writers on plain Automerge documents, who hear of each other
    //! now and then. Each inserts behind its own mark only, so no correct merge can order the texts otherwise; all
    //! delete anywhere but marks.

    use super::{Patch, Seeded, Trace, Txn, small};
    use automerge::transaction::Transactable;
    use automerge::{ActorId, AutoCommit, ObjId, ObjType, ROOT, ReadDoc, TextEncoding};
    use syncd_schema::ports;

    const AGENTS: usize = 3;
    const TXNS: usize = 200;
    const MARKS: [char; AGENTS] = ['①', '②', '③'];
    const WORDS: [&str; 8] = ["sync ", "ä", "né", "\n", "🦀", "e\u{301}", "log", " "];

    struct Random(Seeded);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            (u64::from_be_bytes(ports::random(&mut self.0)) % bound as u64) as usize
        }
    }

    /// One replacement, applied to the document.
    fn patch(doc: &mut AutoCommit, text: &ObjId, agent: usize, deletes: bool, random: &mut Random) -> Patch {
        let content: Vec<char> = doc.text(text).expect("a text").chars().collect();
        let is_mark = |at: usize| content.get(at).is_none_or(|c| MARKS.contains(c));
        let mut anywhere = content.iter().map(|_| random.below(content.len()));
        if let (true, Some(somewhere)) = (deletes, anywhere.find(|at| !is_mark(*at))) {
            let del = (1..=3).take_while(|n| !is_mark(somewhere + n - 1)).last().unwrap_or(1);
            doc.splice_text(text, somewhere, del as isize, "").expect("deleted");
            return (somewhere, del, String::new());
        }
        let mark = content.iter().position(|c| *c == MARKS[agent]).expect("marks stay");
        let room = (mark + 1..).take_while(|at| !is_mark(*at)).count();
        let pos = mark + 1 + random.below(room + 1);
        let word = WORDS[random.below(WORDS.len())];
        doc.splice_text(text, pos, 0, word).expect("inserted");
        (pos, 0, word.to_owned())
    }

    /// `actors` must not matter; a test tries several.
    fn trace(actors: [u8; AGENTS]) -> Trace {
        let mut random = Random(Seeded::new(2024));
        let start: String = MARKS.iter().flat_map(|mark| [*mark, '\n']).collect();
        let mut first =
            AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([9; 16]));
        let text = first.put_object(ROOT, "text", ObjType::Text).expect("a text");
        first.splice_text(&text, 0, 0, &start).expect("the start");
        let mut docs: Vec<AutoCommit> =
            actors.iter().map(|actor| first.fork().with_actor(ActorId::from([*actor; 16]))).collect();
        // The transactions after which nothing of what each agent knows comes.
        let mut known: Vec<Vec<usize>> = vec![Vec::new(); AGENTS];
        let mut txns: Vec<Txn> = Vec::new();
        let mut agent = 0;
        while txns.len() < TXNS {
            if random.below(3) == 0 {
                agent = random.below(AGENTS);
            }
            let other = random.below(AGENTS);
            if other != agent && random.below(5) == 0 {
                let mut theirs = docs[other].clone();
                docs[agent].merge(&mut theirs).expect("merged");
                let both: Vec<usize> = [known[agent].clone(), known[other].clone()].concat();
                known[agent] =
                    both.iter().copied().filter(|n| !both.iter().any(|m| follows(&txns, *m, *n))).collect();
                known[agent].sort_unstable();
                known[agent].dedup();
            }
            let count = 1 + random.below(3);
            // Typing here and deleting there at once would look like rewriting, which somebody must judge.
            let deletes = random.below(4) == 0;
            let patches =
                (0..count).map(|_| patch(&mut docs[agent], &text, agent, deletes, &mut random)).collect();
            docs[agent].commit();
            txns.push(Txn {
                agent,
                parents: std::mem::replace(&mut known[agent], vec![txns.len()]),
                patches,
            });
        }
        let (all, rest) = docs.split_at_mut(1);
        for doc in rest {
            all[0].merge(doc).expect("merged");
        }
        Trace { start_content: start, end_content: all[0].text(&text).expect("a text"), txns }
    }

    /// Whether `late` is behind `early`.
    fn follows(txns: &[Txn], late: usize, early: usize) -> bool {
        late > early
            && txns[late].parents.iter().any(|parent| *parent == early || follows(txns, *parent, early))
    }

    #[test]
    fn the_small_trace_is_what_plain_automerge_makes_of_it() {
        let trace = trace([1, 2, 3]);
        assert_eq!(trace, self::trace([30, 20, 10]), "the end does not depend on who is who");
        assert!(trace.txns.iter().filter(|txn| txn.parents.len() > 1).count() > 10, "branches merge");
        assert!(
            trace == small(),
            "run `cargo test -p syncd-engine --test traces -- --ignored write` after a change"
        );
    }

    #[test]
    #[ignore = "writes tests/data/small-trace.json"]
    fn write_the_small_trace() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/small-trace.json");
        let json = serde_json::to_string(&trace([1, 2, 3])).expect("json").replace("},{", "},\n{");
        std::fs::write(path, json + "\n").expect("written");
    }
}
