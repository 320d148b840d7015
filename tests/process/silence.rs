//! Who stopped answering without a word: a daemon that was stopped in its tracks, a peer that is gone.

use crate::common::{Device, PATIENCE, Running};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

fn signal(daemon: &Running, signal: &str) {
    let status = Command::new("kill").args([signal, &daemon.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// What the system says of its process.
fn state(daemon: &Running) -> String {
    let id = daemon.id().to_string();
    let output = Command::new("ps").args(["-o", "state=", "-p", &id]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up_and_does_nothing_for_whoever_left() {
    let ada = Device::new();
    let daemon = ada.up();
    // A connection that is known to the daemon, and one that it will find when it goes on.
    let mut known = UnixStream::connect(daemon.ready["socket"].as_str().unwrap()).unwrap();
    writeln!(known, "{}", json!({"actor": "user:ada", "request": "status"})).unwrap();
    let mut answer = String::new();
    BufReader::new(known.try_clone().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"ok\""), "{answer}");
    signal(&daemon, "-STOP");
    while !state(&daemon).starts_with('T') {
        std::thread::yield_now();
    }
    let put = json!({"put": {"collection": "notes", "object": "n1", "value": {}}});
    writeln!(known, "{}", json!({"actor": "user:ada", "request": put})).unwrap();
    drop(known);
    let (reads, writes) = std::thread::scope(|scope| {
        let reads = scope.spawn(|| ada.run(&["list"]));
        let writes = scope.spawn(|| ada.run(&["put", "notes", "--id", "n2", "{}"]));
        (reads.join().unwrap(), writes.join().unwrap())
    });
    for (ran, hint) in [(&reads, "repeat the command"), (&writes, "--idempotency-key")] {
        let error = ran.fails(1, "daemon_silent");
        assert!(error["message"].as_str().unwrap().contains("nothing for 20 seconds"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
        assert!(ran.err.contains("has not answered for 5 seconds; waiting 15 more"), "{ran:?}");
    }
    signal(&daemon, "-CONT");
    // Whoever waits is answered, and by then those before are past.
    ada.run(&["put", "notes", "--id", "n3", "{}"]).ok();
    for _ in 0..20 {
        let rows = ada.run(&["list"]).ok();
        let objects: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["object"]).collect();
        assert_eq!(objects, ["n3"]);
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_peer_that_is_silent_is_not_called_in_sync() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    let bobs = bob.up();
    let peer = || ada.run(&["status"]).ok()["peers"][0].clone();
    let wait_for = |states: &[&str], within: Duration| {
        let deadline = Instant::now() + within;
        loop {
            let peer = peer();
            if states.iter().any(|state| peer["state"] == *state) {
                return peer;
            }
            assert!(Instant::now() < deadline, "{peer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let before = wait_for(&["in sync"], PATIENCE);
    assert!(before["last_heard"].as_str().unwrap().ends_with('Z'), "{before}");
    bobs.kill();
    // The link itself would last for half a minute.
    let after = wait_for(&["silent", "offline"], Duration::from_secs(15));
    assert!(after["last_heard"].as_str() >= before["last_heard"].as_str(), "{after}");
    assert!(ada.plain(&["status"]).out.contains("last heard "));
    assert_eq!(daemon.stop(), 0);
}
