//! A disk without room: a clear refusal, nothing half done, and everything works again when there is room.

use crate::common::{Client, Device, Running};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// A file system in memory, of bounded size. It goes when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: PathBuf, megabytes: usize) -> Option<Self> {
        std::fs::create_dir_all(&place).unwrap();
        let options = format!("size={megabytes}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&place);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(place))
    }

    fn grow(&self, megabytes: usize) {
        let options = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a daemon of a failed test may still be there. What cannot be unmounted shows when the directory goes.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn object(n: usize) -> String {
    format!("n{n}")
}

/// A value that does not compress.
fn value(n: usize) -> Value {
    let mut state = n as u64 + 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    json!({ "n": n, "text": (0..4_000).map(step).collect::<String>() })
}

/// Writes until the disk is full. Returns how many writes were acknowledged.
fn fill(client: &mut Client, code: &str) -> usize {
    for n in 0..2_000 {
        if let Err(error) = client.put(&object(n), value(n)).unwrap() {
            assert_eq!((&error["code"], &error["exit"]), (&json!(code), &json!(1)), "{error}");
            assert!(error["hint"].as_str().unwrap().contains("make room"), "{error}");
            return n;
        }
    }
    panic!("the disk is not full");
}

/// What was acknowledged is there, and what was refused is not.
fn check(client: &mut Client, written: usize, refused: &[usize]) {
    for n in 0..written {
        assert_eq!(client.get(&object(n))["value"], value(n));
    }
    for n in refused {
        let error = client.ask(&json!({ "get": { "object": object(*n) } })).unwrap().unwrap_err();
        assert_eq!(error["code"], "not_found");
    }
}

/// A full disk, from the first refused write to the last check; `make_room` returns the daemon to go on with.
fn run_out(ada: &Device, daemon: Running, code: &str, make_room: impl FnOnce(Running) -> Running) {
    let mut client = ada.client(&daemon);
    let written = fill(&mut client, code);
    eprintln!("full after {written} writes");
    assert!(written > 10);
    // It stays like that, for programs and for people, and reading goes on.
    assert_eq!(client.put(&object(written + 1), value(0)).unwrap().unwrap_err()["code"], code);
    let large = ada.file("large.json", value(7).to_string());
    let put = ["put", "notes", "--id", "late", "--file", large.to_str().unwrap()];
    ada.run(&put).fails(1, code);
    check(&mut client, written, &[written, written + 1]);
    assert_eq!(ada.run(&["status"]).ok()["daemon"], true);

    let daemon = make_room(daemon);
    ada.run(&put).ok();
    let mut client = ada.client(&daemon);
    client.put(&object(written), value(written)).unwrap().unwrap();
    check(&mut client, written + 1, &[written + 1]);
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(ada.run(&["get", "late"]).ok()["value"]["n"], 7);
}

#[test]
fn a_full_disk_refuses_and_works_again_when_there_is_room() {
    let ada = Device::new();
    let Some(disk) = SmallDisk::mount(ada.root(), 6) else {
        eprintln!(
            "skipped: this user may not mount a small disk; the test with a size limit is its stand-in"
        );
        return;
    };
    let daemon = ada.up();
    run_out(&ada, daemon, "store_full", |daemon| {
        disk.grow(64);
        daemon
    });
}

/// Needs nobody's permission: the system refuses to let any file grow beyond a size.
#[test]
fn a_store_that_may_not_grow_refuses_and_works_again_when_it_may() {
    let ada = Device::new();
    let up = ada.command(&["--json", "up", "--listen", "127.0.0.1:0"]);
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 6144; exec \"$0\" \"$@\""]);
    limited.arg(up.get_program()).args(up.get_args()).current_dir(ada.home());
    for (name, value) in up.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let daemon = Running::of(&mut limited).that_is_ready();
    run_out(&ada, daemon, "store_write", |daemon| {
        assert_eq!(daemon.stop(), 0);
        ada.up()
    });
}
