//! A daemon that is killed while others write through it: what it acknowledged is there.

use crate::common::{Client, Device, Running};
use serde_json::{Value, json};
use sourceos_syncd::root::Root;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Programs that write at a time.
const WRITERS: usize = 3;
/// After how many answers the daemon is killed, round by round.
const KILLED_AFTER: [usize; 6] = [0, 1, 17, 60, 150, 333];

/// An answer: what was written where, and by which operation.
struct Answered {
    object: String,
    n: u64,
    operation: String,
}

/// Creates objects and counts up in one of its own, until the daemon is gone.
fn write(mut client: Client, round: usize, writer: usize, answers: &Sender<Answered>) {
    let counted = format!("r{round}-w{writer}");
    for n in 0.. {
        let (object, asked) = if n == 0 || n % 2 == 1 {
            let object = if n == 0 { counted.clone() } else { format!("{counted}-{n}") };
            let asked = client.put(&object, json!({ "n": n, "text": "x".repeat(n as usize % 700) }));
            (object, asked)
        } else {
            (counted.clone(), client.edit(&counted, json!({ "merge_patch": { "n": n } })))
        };
        let Ok(answer) = asked else { return };
        let answer = answer.unwrap_or_else(|error| panic!("{object}: {error}"));
        let operation = answer["operation"].as_str().unwrap().to_owned();
        if answers.send(Answered { object, n, operation }).is_err() {
            return;
        }
    }
}

/// Kills the daemon after so many answers, and returns all there were.
fn killed(ada: &Device, daemon: Running, round: usize, after: usize) -> Vec<Answered> {
    let (sender, receiver) = channel();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (client, sender) = (ada.client(&daemon), sender.clone());
            scope.spawn(move || write(client, round, writer, &sender));
        }
        drop(sender);
        let mut answered: Vec<Answered> = receiver.iter().take(after).collect();
        daemon.kill();
        answered.extend(receiver);
        answered
    })
}

/// How long opening the store takes as it was left, and once more after an orderly end.
fn opened(ada: &Device, workspace: &Value) -> (Duration, Duration) {
    let root = Root::locate(Some(ada.root())).unwrap();
    let id = workspace.as_str().unwrap().parse().unwrap();
    let open = || {
        let began = Instant::now();
        let engine = root.open(&id).unwrap();
        let took = began.elapsed();
        engine.close().unwrap();
        took
    };
    (open(), open())
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let ada = Device::new();
    let mut daemon = ada.up();
    let most = if cfg!(debug_assertions) { Duration::from_secs(1) } else { Duration::from_millis(50) };
    let mut all = 0;
    for (round, after) in KILLED_AFTER.into_iter().enumerate() {
        let workspace = daemon.ready["workspace"].clone();
        let answered = killed(&ada, daemon, round, after);
        assert!(answered.len() >= after);
        all += answered.len();
        let (first, second) = opened(&ada, &workspace);
        eprintln!("round {round}: {all} writes, opened in {first:?}, then in {second:?}");
        assert!(first < most && second < most, "opening took {first:?} and {second:?}");
        assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);

        daemon = ada.up();
        let mut client = ada.client(&daemon);
        let objects = client.objects();
        for answer in &answered {
            assert!(objects.contains(&answer.object), "{} is gone", answer.object);
            // A later write that was not answered may have happened.
            let n = client.get(&answer.object)["value"]["n"].as_u64().unwrap();
            assert!(n >= answer.n, "{} says {n}, and {} was acknowledged", answer.object, answer.n);
            let operation = client.must(&json!({ "op": { "operation": answer.operation } }));
            assert_eq!(operation["status"], "completed");
        }
    }
    let listed = ada.run(&["ops"]).ok();
    assert!(listed.as_array().unwrap().iter().all(|row| row["status"] == "completed"), "{listed}");
    assert_eq!(daemon.stop(), 0);
}
