//! The command line as its contract says, driven from outside: names, JSON keys, exit codes, with the daemon
//! running and not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Device, Ran, both_ways};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn has_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "{key} is missing in {value}");
    }
}

fn ticket(device: &Device, args: &[&str]) -> String {
    let mut all = vec!["invite"];
    all.extend(args);
    device.run(&all).ok()["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn init_makes_a_workspace_once() {
    let ada = Device::new();
    ada.run(&["status"]).fails(1, "no_workspace");
    let first = ada.run(&["init", "--name", "desk"]).ok();
    has_keys(&first, &["device", "workspace"]);
    let second = ada.run(&["init"]).ok();
    assert_eq!((&first["workspace"], &second["created"]), (&second["workspace"], &json!(false)));
    assert_eq!(ada.run(&["devices"]).ok()[0]["name"], "desk");
    let other = ada.run(&["--workspace", "work", "init"]).ok();
    assert_ne!(other["workspace"], first["workspace"]);
    assert_eq!(ada.run(&["status"]).ok()["workspace"], first["workspace"]);
    assert_eq!(ada.run(&["--workspace", "work", "status"]).ok()["workspace"], other["workspace"]);
    ada.run(&["--workspace", "nowhere", "status"]).fails(6, "not_found");
}

#[test]
fn an_object_lives_from_put_to_delete() {
    both_ways(|ada| {
        let put = ada.run(&["put", "notes", "--id", "n1", r#"{"title":"one","body":"héllo"}"#]).ok();
        has_keys(&put, &["object", "operation", "status"]);
        assert_eq!((&put["object"], &put["status"]), (&json!("n1"), &json!("completed")));
        let got = ada.run(&["get", "n1"]).ok();
        has_keys(&got, &["object", "collection", "value", "state", "heads", "conflicts"]);
        assert_eq!((&got["state"], &got["collection"]), (&json!("clean"), &json!("notes")));
        let heads = got["heads"][0].as_str().unwrap().to_owned();

        let edited = ada.run(&["edit", "n1", "--base", &heads, "--merge-patch", r#"{"n":1}"#]).ok();
        has_keys(&edited, &["object", "operation", "status", "heads"]);
        ada.run(&["edit", "n1", "--base", &heads, "--merge-patch", r#"{"n":2}"#]).fails(1, "stale_base");
        ada.run(&["edit", "n1", "--json-patch", r#"[{"op":"add","path":"/list","value":[1]}]"#]).ok();
        ada.run(&["edit", "n1", "--splice", "/body", "1", "1", "-e"]).ok();
        let file = ada.file("title.txt", "two");
        ada.run(&["edit", "n1", "--set-text", "/title", "--file", file.to_str().unwrap()]).ok();
        let value = ada.run(&["get", "n1"]).ok()["value"].clone();
        assert_eq!(value, json!({"title": "two", "body": "h-ello", "n": 1, "list": [1]}));

        let history = ada.run(&["history", "n1"]).ok();
        assert_eq!(history.as_array().unwrap().len(), 5);
        for row in history.as_array().unwrap() {
            has_keys(row, &["operation", "status", "at"]);
            assert_eq!(row["actor"], "user:ada");
        }
        ada.run(&["put", "other", "--id", "o1", "{}"]).ok();
        assert_eq!(ada.run(&["list"]).ok().as_array().unwrap().len(), 2);
        let rows = ada.run(&["list", "notes"]).ok();
        assert_eq!(rows.as_array().unwrap().len(), 1);
        has_keys(&rows[0], &["object", "state", "at"]);

        has_keys(&ada.run(&["delete", "n1"]).ok(), &["object", "operation", "status"]);
        assert_eq!(ada.run(&["get", "n1"]).ok()["state"], "tombstoned");
        ada.run(&["edit", "n1", "--merge-patch", "{}"]).fails(1, "tombstoned");
    });
}

#[test]
fn objects_come_from_arguments_files_and_standard_input() {
    both_ways(|ada| {
        let file = ada.file("object.json", r#"{"from":"file"}"#);
        let object = ada.run(&["put", "notes", "--file", file.to_str().unwrap()]).ok()["object"].clone();
        assert_eq!(ada.run(&["get", object.as_str().unwrap()]).ok()["value"], json!({"from": "file"}));
        let ran = ada.with_input(&["--json", "put", "notes", "--id", "i1", "-"], r#"{"from":"input"}"#);
        assert_eq!(ran.ok()["object"], "i1");
        let again = ["put", "notes", "--idempotency-key", "k1", "{}"];
        let (first, second) = (ada.run(&again).ok(), ada.run(&again).ok());
        assert_eq!((&first["operation"], &second["repeated"]), (&second["operation"], &json!(true)));
    });
}

#[test]
fn what_goes_wrong_has_its_code_and_exit_code() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"t":"abc"}"#]).ok();
        ada.run(&["put", "notes", "--id", "n1", "{}"]).fails(1, "exists");
        for (args, exit, code) in [
            (&["put", "notes", "{bad"][..], 2, "usage"),
            (&["put", "notes"], 2, "usage"),
            (&["put", "no tes", "{}"], 2, "usage"),
            (&["put", "notes", "[1]"], 1, "invalid_edit"),
            (&["put", "notes", "--file", "missing.json"], 1, "file"),
            (&["get", "nothing"], 6, "not_found"),
            (&["history", "nothing"], 6, "not_found"),
            (&["delete", "nothing"], 6, "not_found"),
            (&["edit", "nothing", "--merge-patch", "{}"], 6, "not_found"),
            (&["explain", "nothing"], 6, "not_found"),
            (&["op", "0192f0c1-2b3c-7d4e-8f90-a1b2c3d4e5f6"], 6, "not_found"),
            (&["op", "nothing"], 2, "usage"),
            (&["edit", "n1"], 2, "usage"),
            (&["edit", "n1", "--merge-patch", "{}", "--json-patch", "[]"], 2, "usage"),
            (&["edit", "n1", "--json-patch", "{}"], 2, "usage"),
            (&["edit", "n1", "--set-text", "/t"], 2, "usage"),
            (&["edit", "n1", "--base", "xyz", "--merge-patch", "{}"], 2, "usage"),
            (&["edit", "n1", "--splice", "/t", "x", "0", ""], 2, "usage"),
            (&["edit", "n1", "--splice", "/t", "2", "9", ""], 1, "invalid_edit"),
            (&["--actor", "nobody", "list"], 2, "usage"),
            (&["--actor", "agent:x", "delete", "n1"], 3, "refused"),
            (&["ops", "--status", "lost"], 2, "usage"),
            (&["sync"], 7, "peer_unreachable"),
            (&["import", "missing"], 1, "file"),
            (&["join", "nonsense"], 2, "usage"),
            (&["invite", "--ttl", "soon"], 2, "usage"),
            (&["nonsense"], 2, "usage"),
        ] {
            ada.run(args).fails(exit, code);
        }
        assert_eq!(ada.run(&["get", "n1"]).ok()["value"], json!({"t": "abc"}));
    });
}

#[test]
fn a_refusal_can_be_looked_up() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
        let error = ada.run(&["--actor", "agent:x", "delete", "n1"]).fails(3, "refused");
        let hint = error["hint"].as_str().unwrap();
        let operation = hint.split_once("explain ").unwrap().1.split('`').next().unwrap();
        let explained = ada.run(&["explain", operation]).ok();
        has_keys(&explained, &["subject", "state", "because", "next"]);
        assert_eq!(explained["state"], "refused");
        assert_eq!(explained["next"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn people_get_words_and_errors_say_what_to_do() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"t":1}"#]).ok();
        for args in [
            &["status"][..],
            &["devices"],
            &["get", "n1"],
            &["list"],
            &["history", "n1"],
            &["ops"],
            &["explain", "n1"],
            &["policy", "show"],
            &["evidence", "list"],
            &["evidence", "verify"],
            &["checkpoint"],
            &["invite"],
        ] {
            let ran = ada.plain(args);
            assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
            assert!(
                !ran.out.trim().is_empty() && serde_json::from_str::<Value>(&ran.out).is_err(),
                "{args:?}: {ran:?}"
            );
        }
        let ran = ada.plain(&["get", "nothing"]);
        assert_eq!((ran.code, ran.out.as_str()), (6, ""));
        assert!(ran.err.starts_with("error: there is no object nothing\n  "), "{ran:?}");
        let ran = ada.plain(&["put"]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    });
    assert_eq!(Device::new().plain(&["--help"]).code, 0);
    assert_eq!(Device::new().plain(&["--version"]).code, 0);
    assert_eq!(Device::new().plain(&[]).code, 2);
}

#[test]
fn views_have_the_keys_of_the_contract() {
    both_ways(|ada| {
        let put = ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
        let status = ada.run(&["status"]).ok();
        has_keys(
            &status,
            &["device", "workspace", "epoch", "objects", "operations", "open_cards", "peers", "logs"],
        );
        has_keys(&status["logs"][0], &["device", "epoch", "size", "root"]);
        let operation = ada.run(&["op", put["operation"].as_str().unwrap()]).ok();
        has_keys(
            &operation,
            &[
                "operation",
                "type",
                "status",
                "local_operation_id",
                "remote_operation_ids",
                "tasks",
                "evidence",
            ],
        );
        assert_eq!(operation["evidence"].as_array().unwrap().len(), 1);
        let operations = ada.run(&["ops", "--status", "completed"]).ok();
        has_keys(&operations[0], &["operation", "status", "at"]);
        assert_eq!(ada.run(&["ops", "--status", "blocked"]).ok(), json!([]));
        has_keys(&ada.run(&["explain", "n1"]).ok(), &["subject", "state", "because", "next"]);
        let device = &ada.run(&["devices"]).ok()[0];
        has_keys(device, &["device", "name", "role", "trust", "last_seen"]);
        assert_eq!((&device["role"], &device["device"]), (&json!("owner"), &status["device"]));
        has_keys(&ada.run(&["checkpoint"]).ok(), &["operation", "checkpoint"]);
        let report = ada.run(&["evidence", "verify"]).ok();
        has_keys(&report, &["ok", "ledger", "logs", "findings"]);
        has_keys(&report["ledger"], &["size", "root"]);
        for log in report["logs"].as_array().unwrap() {
            has_keys(log, &["device", "size", "root", "ok"]);
        }
        has_keys(&ada.run(&["evidence", "list"]).ok()[0], &["operation", "status", "at"]);
        let layers = ada.run(&["policy", "show"]).ok()["layers"].clone();
        assert_eq!((&layers[0]["layer"], &layers[1]["layer"]), (&json!("floor"), &json!("workspace")));
    });
}

#[test]
fn policies_are_checked_without_a_workspace() {
    let ada = Device::new();
    let good = ada.file("good.cedar", "permit(principal, action, resource);");
    let report = ada.run(&["policy", "check", good.to_str().unwrap()]).ok();
    assert_eq!(report["ok"], true);
    let bad = ada.file("bad.cedar", "\npermit(principal action, resource);");
    let error = ada.run(&["policy", "check", bad.to_str().unwrap()]).fails(1, "invalid_policy");
    assert!(error["message"].as_str().unwrap().contains("line 2"), "{error}");
    assert!(!ada.root().exists(), "nothing was made");
}

#[test]
fn files_are_imported_once_and_changed_by_their_difference() {
    both_ways(|ada| {
        ada.file("tree/a.txt", "one\ntwo\n");
        ada.file("tree/deep/b.bin", [0xff, 0x00]);
        ada.file("tree/large.txt", "x".repeat((1 << 20) + 1));
        let first = ada.run(&["import", "tree"]);
        assert_eq!(first.code, 1, "a file that was not taken in is a failure: {first:?}");
        let first = first.json();
        assert_eq!((&first["imported"], &first["skipped"]), (&json!(2), &json!(0)));
        assert_eq!(first["failed"][0]["path"], "tree/large.txt");
        std::fs::remove_file(ada.home().join("tree/large.txt")).unwrap();
        ada.file("tree/a.txt", "one\nand a half\ntwo\n");
        let second = ada.run(&["import", "tree/"]).ok();
        assert_eq!((&second["imported"], &second["skipped"]), (&json!(1), &json!(1)));
        let third = ada.run(&["import", "tree"]).ok();
        assert_eq!((&third["imported"], &third["skipped"]), (&json!(0), &json!(2)));
        let rows = ada.run(&["list", "files"]).ok();
        let mut values: Vec<Value> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| ada.run(&["get", row["object"].as_str().unwrap()]).ok()["value"].clone())
            .collect();
        values.sort_by_key(|value| value["path"].to_string());
        assert_eq!(values[0], json!({"path": "tree/a.txt", "text": "one\nand a half\ntwo\n"}));
        assert_eq!(values[1], json!({"path": "tree/deep/b.bin", "bytes": "/wA="}));
    });
}

#[test]
fn what_the_daemon_wrote_is_there_when_it_is_gone() {
    let ada = Device::new();
    let daemon = ada.up();
    let socket = daemon.ready["socket"].as_str().unwrap().to_owned();
    assert!(Path::new(&socket).exists());
    ada.run(&["put", "notes", "--id", "n1", r#"{"a":1}"#]).ok();
    assert_eq!(ada.run(&["status"]).ok()["daemon"], true);
    assert_eq!(daemon.stop(), 0);
    assert!(!Path::new(&socket).exists());
    assert_eq!(ada.run(&["status"]).ok()["daemon"], false);
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"], json!({"a": 1}));
    // One that is killed leaves its socket, which must not mislead anybody.
    let daemon = ada.up();
    ada.run(&["put", "notes", "--id", "n2", "{}"]).ok();
    daemon.kill();
    assert!(Path::new(&socket).exists());
    ada.run(&["get", "n2"]).ok();
    assert_eq!(ada.up().stop(), 0);
}

#[test]
fn a_second_daemon_is_told_of_the_first() {
    let ada = Device::new();
    let mut daemon = ada.up();
    ada.run(&["up"]).fails(1, "already_running");
    ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
    let event = daemon.event("object_changed");
    assert_eq!(event["object"], "n1");
}

#[test]
fn commands_at_the_same_time_wait_for_each_other() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    std::thread::scope(|scope| {
        let put = |n: usize| ada.run(&["put", "notes", "--id", &format!("n{n}"), "{}"]);
        let puts: Vec<_> = (0..8).map(|n| scope.spawn(move || put(n))).collect();
        for put in puts {
            put.join().unwrap().ok();
        }
    });
    assert_eq!(ada.run(&["list"]).ok().as_array().unwrap().len(), 8);
}

#[test]
fn a_store_that_was_tampered_with_is_a_violation() {
    let ada = Device::new();
    let workspace = ada.run(&["init"]).ok()["workspace"].as_str().unwrap().to_owned();
    ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
    let dir = ada.root().join("workspaces").join(workspace);
    let (store, key) = (dir.join("store.redb"), dir.join("store.key"));
    let (bytes, secret) = (std::fs::read(&store).unwrap(), std::fs::read(&key).unwrap());
    // Another key opens no value; half a file is no store; an empty file holds no workspace.
    std::fs::write(&key, [7; 32]).unwrap();
    ada.run(&["evidence", "verify"]).fails(5, "integrity");
    std::fs::write(&key, &secret).unwrap();
    for damaged in [&bytes[..bytes.len() / 2], &[]] {
        std::fs::write(&store, damaged).unwrap();
        ada.run(&["evidence", "verify"]).fails(5, "integrity");
    }
    std::fs::write(&store, &bytes).unwrap();
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
}

#[test]
fn nobody_else_may_read_anything() {
    fn check(path: &Path) {
        let metadata = std::fs::symlink_metadata(path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        if metadata.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                check(&entry.unwrap().path());
            }
        }
    }
    let ada = Device::new();
    let _daemon = ada.up();
    ada.run(&["put", "notes", "{}"]).ok();
    ada.run(&["invite"]).ok();
    check(&ada.root());
}

#[test]
fn a_root_with_a_long_path_has_its_socket_elsewhere() {
    let ada = Device::new();
    let root = ada.home().join("d".repeat(120));
    let root = root.to_str().unwrap();
    let mut daemon = ada.start(&["--root", root, "--json", "up", "--listen", "127.0.0.1:0"]);
    let socket = daemon.line()["socket"].as_str().unwrap().to_owned();
    assert!(!socket.starts_with(root) && Path::new(&socket).exists());
    assert_eq!(ada.run(&["--root", root, "status"]).ok()["daemon"], true);
    assert_eq!(daemon.stop(), 0);
    std::fs::remove_dir(Path::new(&socket).parent().unwrap()).unwrap();
}

/// Two devices in one workspace; the second has no daemon.
fn joined(ada: &Device, bob: &Device) -> Ran {
    let ran = bob.run(&["join", &ticket(ada, &[])]);
    has_keys(&ran.ok(), &["device", "workspace", "code"]);
    assert_eq!(ran.json()["synced"], true, "{ran:?}");
    ran
}

#[test]
fn a_device_joins_and_both_have_the_same() {
    let (ada, bob) = (Device::new(), Device::new());
    let mut daemon = ada.up();
    ada.run(&["put", "notes", "--id", "n1", r#"{"a":1}"#]).ok();
    let join = joined(&ada, &bob).json();
    assert_eq!(daemon.event("joined")["code"], join["code"]);
    assert_eq!(join["workspace"], daemon.ready["workspace"]);
    assert_eq!(bob.run(&["get", "n1"]).ok()["value"], json!({"a": 1}));
    bob.run(&["edit", "n1", "--merge-patch", r#"{"b":2}"#]).ok();
    let peers = bob.run(&["sync"]).ok()["peers"].clone();
    has_keys(&peers[0], &["device", "sent", "received", "ms"]);
    assert_eq!(peers[0]["device"], daemon.ready["device"]);
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"], json!({"a": 1, "b": 2}));
    let device = daemon.ready["device"].as_str().unwrap().to_owned();
    bob.run(&["sync", "--peer", &device]).ok();
    bob.run(&["sync", "--peer", &device[..8]]).ok();
    let names = bob.run(&["devices"]).ok();
    let ours = names.as_array().unwrap().iter().find(|row| row["device"] == device.as_str()).unwrap();
    bob.run(&["sync", "--peer", ours["name"].as_str().unwrap()]).ok();
    bob.run(&["sync", "--peer", "nobody"]).fails(6, "not_found");
    bob.run(&["sync", "--peer", &"ab".repeat(32)]).fails(6, "not_found");
    has_keys(&bob.run(&["status"]).ok()["peers"][0], &["device", "name", "state", "behind", "ahead"]);
    assert_eq!(daemon.stop(), 0);
    bob.run(&["sync"]).fails(7, "peer_unreachable");
    bob.run(&["sync", "--peer", &device]).fails(7, "peer_unreachable");
}

#[test]
fn a_ticket_works_once() {
    let (ada, bob, eve) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ticket(&ada, &["--role", "agent", "--ttl", "1h"]);
    assert_eq!(bob.run(&["join", &ticket]).ok()["role"], "agent");
    eve.run(&["join", &ticket]).fails(1, "not_joined");
    ada.run(&["join", &ticket]).fails(2, "usage");
    assert_eq!(daemon.stop(), 0);
    eve.run(&["join", &ticket]).fails(7, "peer_unreachable");
}

#[test]
fn an_empty_workspace_makes_room_and_its_daemon_changes_over() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
    // A port that is given, since both workspaces must listen there, one after the other.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut bobs = bob.up_with(&["--listen", &port]);
    joined(&ada, &bob);
    let changed = bobs.event("workspace");
    assert_eq!((&changed["workspace"], &changed["listen"]), (&daemon.ready["workspace"], &json!(port)));
    assert_eq!(bob.run(&["status"]).ok()["daemon"], true);
    bob.run(&["get", "n1"]).ok();
    assert_eq!(bob.run(&["--workspace", "default-2", "status"]).ok()["workspace"], bobs.ready["workspace"]);
    assert_eq!((bobs.stop(), daemon.stop()), (0, 0));
}

#[test]
fn a_workspace_in_use_keeps_its_name() {
    let (ada, bob) = (Device::new(), Device::new());
    let _daemon = ada.up();
    let own = bob.run(&["init"]).ok()["workspace"].clone();
    bob.run(&["put", "notes", "{}"]).ok();
    let join = joined(&ada, &bob).json();
    assert_eq!(join["name"], "default-2");
    assert_eq!(bob.run(&["status"]).ok()["workspace"], own);
    assert_eq!(bob.run(&["--workspace", "default-2", "status"]).ok()["workspace"], join["workspace"]);
}

#[test]
fn a_wrong_code_ends_the_invitation_every_time() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    // The second refusal is no news, and whoever waits at the prompt hears of it all the same.
    for _ in 0..2 {
        let mut invite = ada.start(&["--json", "invite", "--confirm"]);
        let ticket = invite.line()["ticket"].as_str().unwrap().to_owned();
        let join = bob.start(&["--json", "join", &ticket]);
        invite.type_line("AAAAAAAA");
        assert_eq!(invite.line()["error"]["code"], "not_joined");
        assert_eq!((invite.finish(), join.finish()), (1, 1));
        assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 1);
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_inviter_who_wants_to_types_the_code() {
    for with_daemon in [true, false] {
        let (ada, bob) = (Device::new(), Device::new());
        // The daemon leaves an address behind, where the command then listens.
        let mut daemon = Some(ada.up());
        if !with_daemon {
            assert_eq!(daemon.take().unwrap().stop(), 0);
        }
        let mut invite = ada.start(&["--json", "invite", "--confirm"]);
        let ticket = invite.line()["ticket"].as_str().unwrap().to_owned();
        let mut join = bob.command(&["join", &ticket]);
        let mut join =
            join.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut shown = String::new();
        let mut stderr = std::io::BufReader::new(join.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut stderr, &mut shown).unwrap();
        let code = shown.split_whitespace().nth(1).unwrap();
        assert_eq!(code.len(), 8, "{shown}");
        invite.type_line(code);
        let joined = invite.line();
        assert_eq!(joined["code"], code);
        assert_eq!(invite.finish(), 0);
        assert!(join.wait().unwrap().success());
        assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 2);
    }
}
