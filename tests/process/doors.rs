//! Local doors: what other users of a machine can reach of a device, which is nothing.

use crate::common::{Device, PATIENCE, Running};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A user that is neither this one nor the administrator.
const OTHER: u32 = 65_534;

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether tests about other users can be run here. Says so where they cannot.
fn is_administrator(home: &Path) -> bool {
    let is_root = std::fs::metadata(home).unwrap().uid() == 0;
    if !is_root {
        eprintln!("SKIPPED: only the administrator can act as another user");
    }
    is_root
}

/// Everything under a directory that others have a right to.
fn open_to_others(dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if mode(&path) & 0o077 != 0 {
            found.push(format!("{:o} {}", mode(&path), path.display()));
        }
        if path.is_dir() {
            open_to_others(&path, found);
        }
    }
}

fn assert_private(root: &Path, when: &str) {
    let mut found = Vec::new();
    if mode(root) & 0o077 != 0 {
        found.push(format!("{:o} {}", mode(root), root.display()));
    }
    open_to_others(root, &mut found);
    assert!(found.is_empty(), "{when}: {found:?}");
}

/// A command under a mask that takes no right from anybody.
fn unmasked(device: &Device, args: &[&str]) -> Command {
    let plain = device.command(args);
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(plain.get_program()).args(args);
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(device.home());
    command
}

fn run(device: &Device, args: &[&str]) -> serde_json::Value {
    let mut all = vec!["--json"];
    all.extend(args);
    let output = unmasked(device, &all).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn up(device: &Device) -> Running {
    Running::of(&mut unmasked(device, &["--json", "up", "--listen", "127.0.0.1:0"])).that_is_ready()
}

#[test]
fn nothing_under_the_root_is_anybody_elses_whatever_the_mask() {
    let (ada, bob) = (Device::new(), Device::new());
    run(&ada, &["init"]);
    assert_private(&ada.root(), "after init");
    for id in ["n1", "n2"] {
        run(&ada, &["put", "notes", "--id", id, r#"{"title":"plan"}"#]);
    }
    let daemon = up(&ada);
    assert_private(&ada.root(), "while a daemon runs");
    let ticket = run(&ada, &["invite"])["ticket"].as_str().unwrap().to_owned();
    run(&bob, &["join", &ticket]);
    let policy = ada.file("policy.cedar", "@id(\"all\") permit(principal, action, resource);\n");
    run(&ada, &["policy", "set", policy.to_str().unwrap()]);
    run(&ada, &["policy", "set", "--device", policy.to_str().unwrap()]);
    let manifest = ada.file("docs.json", r#"{"collection":"docs","fields":{"/body":"text"}}"#);
    run(&ada, &["schema", "set", manifest.to_str().unwrap()]);
    run(&ada, &["agent", "add", "bot"]);
    run(&ada, &["import", "docs.json"]);
    run(&ada, &["rebirth", "n1", "--nothing", "--yes"]);
    run(&ada, &["checkpoint"]);
    run(&bob, &["sync"]);
    assert_private(&ada.root(), "after everything");
    assert_private(&bob.root(), "at who joined");
    assert_eq!(daemon.stop(), 0);
    // A rebirth that is carried out by a command writes the store's file anew.
    run(&ada, &["rebirth", "n2", "--nothing", "--yes"]);
    run(&ada, &["evidence", "verify"]);
    assert_private(&ada.root(), "when the daemon is gone");
}

#[test]
fn a_restored_file_that_others_could_read_is_made_private_and_found() {
    let ada = Device::new();
    let workspace = ada.run(&["init"]).ok()["workspace"].as_str().unwrap().to_owned();
    let (identity, store) = (ada.root().join("identity"), ada.root().join("workspaces").join(workspace));
    for path in [identity, store.join("store.key"), store.join("store.redb")] {
        set_mode(&path, 0o644);
    }
    let found = ada.run(&["status"]).ok()["findings"].clone();
    assert_private(&ada.root(), "after the next command");
    let rows = found.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{found}");
    for row in rows {
        assert_eq!((&row["kind"], &row["severity"]), (&"exposed_file".into(), &"critical".into()));
        assert!(row["next"].as_str().unwrap().contains("join"), "{row}");
    }
    assert_eq!(ada.run(&["status"]).ok()["findings"], found, "once is enough");
}

#[test]
fn the_socket_is_its_owners_and_its_directory_must_be() {
    let ada = Device::new();
    let daemon = ada.up();
    let socket = PathBuf::from(daemon.ready["socket"].as_str().unwrap());
    let dir = socket.parent().unwrap().to_owned();
    assert_eq!((mode(&socket), mode(&dir)), (0o600, 0o700));
    // Whoever may write there could put another socket in its place: nothing is told to it.
    for loose in [0o770, 0o707, 0o710, 0o701] {
        set_mode(&dir, loose);
        ada.run(&["list"]).fails(1, "root_foreign");
    }
    set_mode(&dir, 0o700);
    ada.run(&["list"]).ok();
    assert_eq!(daemon.stop(), 0);
    assert!(!socket.exists());

    let starts = || ada.run(&["up", "--listen", "127.0.0.1:0"]);
    set_mode(&dir, 0o770);
    starts().fails(1, "root_foreign");
    // A link to a directory is not that directory.
    let elsewhere = ada.home().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    set_mode(&elsewhere, 0o700);
    std::fs::remove_dir(&dir).unwrap();
    symlink(&elsewhere, &dir).unwrap();
    starts().fails(1, "root_foreign");
    std::fs::remove_file(&dir).unwrap();
    if is_administrator(ada.home()) {
        std::fs::create_dir(&dir).unwrap();
        set_mode(&dir, 0o700);
        chown(&dir, Some(OTHER), None).unwrap();
        starts().fails(1, "root_foreign");
        std::fs::remove_dir(&dir).unwrap();
    }

    // A link where the socket should be is replaced; what it leads to stays.
    let precious = ada.file("precious", "kept");
    std::fs::create_dir(&dir).unwrap();
    set_mode(&dir, 0o700);
    symlink(&precious, &socket).unwrap();
    let daemon = ada.up();
    assert!(!std::fs::symlink_metadata(&socket).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "kept");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn another_user_who_gets_to_the_socket_is_not_heard_and_is_found() {
    let ada = Device::new();
    if !is_administrator(ada.home()) {
        return;
    }
    let daemon = ada.up();
    let socket = PathBuf::from(daemon.ready["socket"].as_str().unwrap());
    // Every lock but the last is open.
    for dir in socket.ancestors().skip(1).take_while(|dir| dir.starts_with(ada.home())) {
        set_mode(dir, 0o755);
    }
    set_mode(&socket, 0o666);
    let program = ada.home().join("knock");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    set_mode(&program, 0o755);
    let ask = |user: u32| {
        let user = user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]).arg(&program);
        command.args(["--exact", "doors::knock", "--ignored", "--nocapture"]).env("KNOCK_AT", &socket);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask(0).contains("{\"ok\":"), "the administrator is heard");
    let answer = ask(OTHER);
    assert!(answer.contains("knocked") && !answer.contains("ok\":"), "{answer}");
    let mut client = ada.client(&daemon);
    let deadline = Instant::now() + PATIENCE;
    let row = loop {
        let status = client.must(&"status".into());
        let rows = status["findings"].as_array().unwrap().clone();
        if let Some(row) = rows.into_iter().find(|row| row["kind"] == "local_refusal") {
            break row;
        }
        assert!(Instant::now() < deadline, "it is not found");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(row["place"], format!("socket, user {OTHER}"));
    assert!(row["next"].as_str().unwrap().contains("chmod 700"), "{row}");
    assert_eq!(daemon.stop(), 0);
}

/// What another user does: connects, asks, and prints what it is answered.
#[test]
#[ignore = "the test above runs it as another user"]
fn knock() {
    // Of itself it tests nothing.
    let Some(socket) = std::env::var_os("KNOCK_AT") else { return };
    let mut stream = UnixStream::connect(socket).unwrap();
    println!("knocked");
    // The daemon may have hung up already.
    if stream.write_all(b"{\"actor\":\"user:ada\",\"request\":\"status\"}\n").is_ok() {
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).unwrap_or_default();
        println!("{}", String::from_utf8_lossy(&answer[..read]));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_leaves_no_core_and_its_memory_is_nobodys() {
    let ada = Device::new();
    let daemon = ada.up();
    let process = PathBuf::from(format!("/proc/{}", daemon.id()));
    let limits = std::fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // What may not be dumped belongs to the administrator, its memory included, whoever runs it.
    assert_eq!(std::fs::metadata(process.join("mem")).unwrap().uid(), 0);
    if is_administrator(ada.home()) {
        // Seen by the user who runs it: the process of another user of the same name space.
        let home = ada.home().to_owned();
        assert_eq!(daemon.stop(), 0);
        chown(&home, Some(OTHER), Some(OTHER)).unwrap();
        let give =
            Command::new("chown").args(["-R", &format!("{OTHER}:{OTHER}")]).arg(&home).status().unwrap();
        assert!(give.success());
        let plain = ada.command(&["--json", "up", "--listen", "127.0.0.1:0"]);
        let user = OTHER.to_string();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(copied(&ada))
            .args(plain.get_args());
        command.env("SYNCD_ROOT", ada.root()).env("USER", "other").current_dir(&home);
        let daemon = Running::of(&mut command).that_is_ready();
        let process = PathBuf::from(format!("/proc/{}", daemon.id()));
        assert_eq!(std::fs::metadata(process.join("mem")).unwrap().uid(), 0, "not even its own user's");
        assert_eq!(daemon.stop(), 0);
    } else {
        assert_eq!(daemon.stop(), 0);
    }
}

/// The program where another user may run it.
#[cfg(target_os = "linux")]
fn copied(device: &Device) -> PathBuf {
    let program = device.home().join("sourceos-syncd");
    std::fs::copy(env!("CARGO_BIN_EXE_sourceos-syncd"), &program).unwrap();
    set_mode(&program, 0o755);
    program
}
