//! Progress is for people: it is drawn on a terminal and nowhere else.

use crate::common::{Device, Ran};
use std::process::Command;

/// Runs a command whose standard error is a terminal. None where there is no `script` to make one.
fn on_a_terminal(device: &Device, args: &[&str]) -> Option<String> {
    let Ok(help) = Command::new("script").arg("--help").output() else {
        eprintln!("skipped: there is no `script` here to make a terminal with");
        return None;
    };
    if !String::from_utf8_lossy(&help.stdout).contains("--return") {
        eprintln!("skipped: this system's `script` has other arguments");
        return None;
    }
    let command = device.command(args);
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap().replace('\'', r"'\''"));
    let mut line = quoted(command.get_program());
    command.get_args().for_each(|arg| line.push_str(&format!(" {}", quoted(arg))));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &format!("{line} >answer.json"), "seen.txt"]);
    script.current_dir(device.home()).env("TERM", "xterm");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    assert!(script.output().unwrap().status.success());
    Some(std::fs::read_to_string(device.home().join("seen.txt")).unwrap())
}

fn silent(ran: &Ran) {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
}

fn tree(device: &Device) {
    (0..40).for_each(|n| drop(device.file(&format!("tree/{n}.txt"), format!("file {n}\n"))));
}

#[test]
fn nothing_is_drawn_where_nobody_watches() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    tree(&ada);
    silent(&ada.plain(&["import", "tree"]));
    silent(&ada.plain(&["evidence", "verify"]));
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    // The code is said, and nothing else.
    let joined = bob.plain(&["join", &ticket]);
    assert_eq!((joined.code, joined.err.lines().count()), (0, 1), "{joined:?}");
    silent(&bob.plain(&["sync"]));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn long_work_shows_how_far_it_is() {
    for with_daemon in [false, true] {
        let (ada, bob) = (Device::new(), Device::new());
        ada.run(&["init"]).ok();
        let mut daemon = with_daemon.then(|| ada.up());
        tree(&ada);
        let Some(seen) = on_a_terminal(&ada, &["--json", "import", "tree"]) else { return };
        assert!(seen.contains("importing") && seen.contains("/40") && !seen.contains("█ 0/0"), "{seen}");
        let answer = std::fs::read_to_string(ada.home().join("answer.json")).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["imported"], 40);
        let seen = on_a_terminal(&ada, &["evidence", "verify"]).unwrap();
        assert!(seen.contains("verifying") && !seen.contains("█ 0/0"), "{seen}");
        let _daemon = daemon.take().unwrap_or_else(|| ada.up());
        let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
        let seen = on_a_terminal(&bob, &["join", &ticket]).unwrap();
        assert!(seen.contains("first sync") && seen.contains("operations"), "{seen}");
        let seen = on_a_terminal(&bob, &["sync"]).unwrap();
        assert!(seen.contains("syncing"), "{seen}");
    }
}
