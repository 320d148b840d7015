//! What the command line says, and does not say: of input it cannot keep, of answers nobody can be given, of names, tickets
//! and peers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Device, Ran, Running, both_ways};
use serde_json::{Value, json};
use std::fs::File;
use std::process::Stdio;

const WIDE: &str = r#"{"n":123456789012345678901234567890}"#;
const TWICE: &str = r#"{"a":1,"a":2}"#;

fn ticket(device: &Device) -> String {
    device.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn what_json_cannot_keep_is_refused_with_its_place() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"n":18446744073709551615}"#]).ok();
        let wide_patch = r#"[{"op":"add","path":"/m","value":-9223372036854775809}]"#;
        let (wide, twice) = (ada.file("wide.json", WIDE), ada.file("twice.json", TWICE));
        for (args, says) in [
            (&["put", "notes", WIDE][..], "123456789012345678901234567890 at line 1 column 6"),
            (&["put", "notes", "--file", wide.to_str().unwrap()], "line 1 column 6"),
            (&["put", "notes", TWICE], "\"a\" stands twice in one object at line 1 column 10"),
            (&["edit", "n1", "--merge-patch", WIDE], "line 1 column 6"),
            (&["edit", "n1", "--merge-patch", TWICE], "stands twice"),
            (&["edit", "n1", "--json-patch", wide_patch], "-9223372036854775809 at line 1 column 34"),
            (&["resolve", "01234567", "merge", "--value", WIDE], "line 1 column 6"),
            (&["rebirth", "n1", "--value", TWICE], "stands twice"),
            (&["schema", "set", twice.to_str().unwrap()], "stands twice"),
        ] {
            let message = ada.run(args).fails(2, "usage")["message"].as_str().unwrap().to_owned();
            assert!(message.contains(says), "{args:?}: {message}");
        }
        assert_eq!(ada.run(&["get", "n1"]).ok()["value"], json!({"n": 18_446_744_073_709_551_615_u64}));
        assert_eq!(ada.run(&["list"]).ok().as_array().unwrap().len(), 1);
    });
}

/// Runs a command whose standard output is `out`.
fn written_to(device: &Device, args: &[&str], out: Stdio) -> (i32, String) {
    let output = device.command(args).stdout(out).stderr(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    both_ways(|ada| {
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        for args in [
            &["--json", "list"][..],
            &["list"],
            &["evidence", "verify"],
            &["--json", "get", "nothing"],
            &["--help"],
            &["--version"],
        ] {
            let (code, said) = written_to(ada, args, full());
            let expected = if args.contains(&"nothing") { 6 } else { 1 };
            assert_eq!(code, expected, "{args:?}: {said}");
            assert!(said.starts_with("error: "), "{args:?}: {said}");
        }
        let (code, said) = written_to(ada, &["put", "notes", "--id", "n1", "{}"], full());
        assert!(code == 1 && said.contains("No space left") && said.contains("was done"), "{said}");
        ada.run(&["get", "n1"]).ok();
    });
}

#[test]
fn a_reader_that_went_away_had_what_it_wanted() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    for args in [&["list"][..], &["--json", "status"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(written_to(&ada, args, Stdio::from(writer)), (0, String::new()), "{args:?}");
    }
}

#[test]
fn a_lost_identity_is_not_replaced() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
    let identity = ada.root().join("identity");
    let secret = std::fs::read(&identity).unwrap();
    let elsewhere = Device::new();
    let daemon = elsewhere.up();
    let invited = ticket(&elsewhere);
    // With the list of names, and without it.
    for lost in ["identity", "workspaces.json"] {
        let kept = std::fs::read(ada.root().join(lost)).unwrap();
        let _ = std::fs::remove_file(&identity);
        std::fs::remove_file(ada.root().join(lost)).unwrap_or_default();
        for args in [&["init"][..], &["up", "--listen", "127.0.0.1:0"], &["join", &invited]] {
            let error = ada.run(args).fails(1, "root_damaged");
            assert!(error["message"].as_str().unwrap().contains("identity is missing"), "{error}");
            assert!(error["hint"].as_str().unwrap().contains("backup"), "{error}");
            assert!(!identity.exists(), "{args:?}");
        }
        std::fs::write(ada.root().join(lost), kept).unwrap();
    }
    std::fs::write(&identity, secret).unwrap();
    ada.run(&["get", "n1"]).ok();
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_device_that_has_a_name_says_that_it_keeps_it() {
    let ada = Device::new();
    assert_eq!(ada.run(&["init", "--name", "desk"]).err, "");
    assert_eq!(ada.run(&["init", "--name", "desk"]).err, "");
    let again = ada.run(&["init", "--name", "other"]);
    assert_eq!(again.ok()["created"], false);
    assert!(again.err.contains("this device is called desk") && again.err.contains("keeps"), "{again:?}");
    assert_eq!(ada.run(&["devices"]).ok()[0]["name"], "desk");
}

#[test]
fn there_are_no_relays_to_invite() {
    both_ways(|ada| {
        let error = ada.run(&["invite", "--role", "relay"]).fails(2, "usage");
        assert!(error["message"].as_str().unwrap().contains("there are no relays yet"), "{error}");
    });
}

#[test]
fn a_ticket_that_nobody_can_use_says_so() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    let invited = ada.run(&["invite"]);
    assert!(invited.ok()["warnings"][0].as_str().unwrap().contains("nobody can join"), "{invited:?}");
    assert!(invited.err.starts_with("warning: "), "{invited:?}");
    let daemon = ada.up();
    assert_eq!(ada.run(&["invite"]).ok()["warnings"], json!([]));
    assert_eq!(daemon.stop(), 0);
}

/// Lets `bob` into `ada`'s workspace.
fn join(ada: &Device, bob: &Device, name: &str) {
    bob.run(&["join", &ticket(ada), "--name", name]).ok();
}

#[test]
fn links_that_a_joiner_does_not_use_are_no_failed_pairings() {
    let (ada, bob) = (Device::new(), Device::new());
    let mut daemon = ada.up();
    // What whoever dials several addresses of one device leaves behind.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let identity = syncd_transport::Identity::from_seed(&zeroize::Zeroizing::new([9; 32])).unwrap();
        let endpoint = syncd_transport::Endpoint::bind("127.0.0.1:0".parse().unwrap(), identity).unwrap();
        let at = daemon.ready["listen"].as_str().unwrap().parse().unwrap();
        let device = daemon.ready["device"].as_str().unwrap().parse().unwrap();
        let link = endpoint.connect_any(&[at], device, syncd_transport::Purpose::Pair).await.unwrap();
        link.close(syncd_schema::message::CloseCode::Done, "");
        endpoint.close(syncd_schema::message::CloseCode::Done, "").await;
    });
    join(&ada, &bob, "bob");
    loop {
        let event = daemon.line();
        assert_ne!(event["event"], "pairing_refused", "{event}");
        assert_ne!(event["event"], "finding", "{event}");
        if event["event"] == "joined" {
            break;
        }
    }
    assert_eq!(ada.run(&["status"]).ok()["findings"], json!([]));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_sync_names_those_who_did_not_answer() {
    let (ada, bob, eve) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    join(&ada, &bob, "bob");
    join(&ada, &eve, "eve");
    let bobs: Running = bob.up();
    let synced: Ran = ada.run(&["sync"]);
    let absent = synced.ok()["unanswered"].clone();
    let names: Vec<&Value> = absent.as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["eve"], "{synced:?}");
    let device = bobs.ready["device"].as_str().unwrap();
    assert_eq!(ada.run(&["sync", "--peer", device]).ok()["unanswered"], Value::Array(Vec::new()));
    assert!(ada.plain(&["sync"]).out.contains("eve did not answer"));
    assert_eq!((bobs.stop(), daemon.stop()), (0, 0));
}

#[test]
fn history_says_what_was_done() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"title":"old","tags":["a"],"rest":{"x":1}}"#]).ok();
        let patch = format!(r#"{{"title":"new","tags":null,"rest":{{"x":"{}"}}}}"#, "y".repeat(500));
        let edit = ada.run(&["edit", "n1", "--merge-patch", &patch]).ok()["operation"].clone();
        let rows = ada.run(&["history", "n1"]).ok();
        assert_eq!(rows[0]["what"][1], json!({"path": "/tags", "now": "[\"a\"]"}));
        let what = &rows[1]["what"];
        let long = what[0]["now"].as_str().unwrap();
        assert!(long.starts_with("\"yyyy") && long.ends_with("y…") && long.len() < 70, "{long}");
        assert_eq!(what[1], json!({"path": "/tags", "was": "[\"a\"]"}));
        assert_eq!(what[2], json!({"path": "/title", "was": "\"old\"", "now": "\"new\""}));
        let operation = ada.run(&["op", edit.as_str().unwrap()]).ok();
        assert_eq!((&operation["what"], &operation["does"]), (what, &json!("edit")));
        let shown = ada.plain(&["history", "n1"]).out;
        assert!(shown.contains("/tags taken away; /title \"old\" -> \"new\""), "{shown}");
        let many: Value =
            (0..20).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into();
        ada.run(&["edit", "n1", "--merge-patch", &many.to_string()]).ok();
        let row = ada.run(&["history", "n1"]).ok()[2].clone();
        assert_eq!((row["what"].as_array().unwrap().len(), &row["more"]), (8, &json!(12)));
        let kinds = ada.run(&["ops"]).ok();
        let does: Vec<&Value> = kinds.as_array().unwrap().iter().map(|row| &row["does"]).collect();
        assert!(does.contains(&&json!("create")) && does.contains(&&json!("genesis")), "{does:?}");
    });
}

#[test]
fn what_was_deleted_is_listed_only_when_asked_for() {
    both_ways(|ada| {
        for id in ["n1", "n2"] {
            ada.run(&["put", "notes", "--id", id, "{}"]).ok();
        }
        ada.run(&["delete", "n1"]).ok();
        let ids = |args: &[&str]| {
            let rows = ada.run(args).ok();
            rows.as_array().unwrap().iter().map(|row| row["object"].clone()).collect::<Vec<_>>()
        };
        assert_eq!((ids(&["list"]), ids(&["list", "notes"])), (vec![json!("n2")], vec![json!("n2")]));
        assert_eq!(ids(&["list", "--all"]), ["n1", "n2"]);
        let schema = ada.run(&["schema", "list"]).ok();
        let notes =
            schema.as_array().unwrap().iter().find(|row| row["collection"] == "notes").unwrap().clone();
        assert_eq!(notes["objects"], 1);
    });
}

#[test]
fn a_card_is_called_by_eight_digits_and_explained() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"t":"old"}"#]).ok();
        let held = ada.run(&["--actor", "agent:bot", "edit", "n1", "--merge-patch", r#"{"t":"bot"}"#]);
        assert_eq!(held.code, 4, "{held:?}");
        let card = held.json()["card"].as_str().unwrap().to_owned();
        let error = ada.run(&["card", &card[..4]]).fails(2, "usage");
        assert!(error["message"].as_str().unwrap().contains("at least 8 digits"), "{error}");
        ada.run(&["card", "00000000"]).fails(6, "not_found");
        for name in [&card[..], &card[..8]] {
            let explained = ada.run(&["explain", name]).ok();
            assert_eq!((&explained["subject"], &explained["state"]), (&json!(card), &json!("open")));
            let because = explained["because"].to_string();
            assert!(
                because.contains("policy review in n1 of notes") && because.contains("agent:bot"),
                "{because}"
            );
            assert!(explained["next"].to_string().contains("resolve"), "{explained}");
        }
        let said = ada.plain(&["explain", "n1"]).out;
        assert!(!said.contains(".."), "{said}");
    });
}

#[test]
fn a_delete_that_waits_says_why_and_a_long_list_is_not_printed_whole() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    for n in 0..40 {
        ada.run(&["put", "notes", "--id", &format!("m{n}"), "{}"]).ok();
    }
    let mut held = Vec::new();
    for n in 0..36 {
        let ran = ada.plain(&["delete", &format!("m{n}")]);
        if ran.code == 4 {
            held.push(ran.out);
        }
    }
    assert!(held.len() > 8, "{held:?}");
    assert!(held[0].contains("(there were unusually many deletions"), "{held:?}");
    let card = ada.run(&["cards"]).ok()[0]["card"].as_str().unwrap().to_owned();
    let shown = ada.plain(&["card", &card]).out;
    assert!(shown.contains(" more") && shown.matches("\"m").count() < 20, "{shown}");
}

#[test]
fn the_words_of_policies_are_listed() {
    let text = Device::new().plain(&["policy", "attributes"]).out;
    assert!(text.contains("\"collection\": Collection") && text.contains("\"targetRole\": Role"), "{text}");
}
