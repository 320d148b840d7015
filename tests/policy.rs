//! Policies on the command line: bundles put in force, and past decisions made again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Device, both_ways};
use serde_json::{Value, json};

const OPEN: &str = "@id(\"all\") permit(principal, action, resource);\n";
const NO_SECRETS: &str = "@id(\"no-secrets\") @because(\"Secrets live elsewhere.\")\n\
    forbid(principal, action in Action::\"write\", resource)\n\
    when { context.collection == Collection::\"secrets\" };\n";

fn file(device: &Device, name: &str, text: &str) -> String {
    device.file(name, text).to_str().unwrap().to_owned()
}

fn layers(device: &Device) -> Vec<Value> {
    let shown = device.run(&["policy", "show"]).ok();
    let layers = shown["layers"].as_array().unwrap().iter();
    layers.filter(|layer| layer["layer"] == "workspace").map(|layer| layer["text"].clone()).collect()
}

fn joined(ada: &Device, bob: &Device, role: &str) {
    let ticket = ada.run(&["invite", "--role", role]).ok()["ticket"].as_str().unwrap().to_owned();
    assert_eq!(bob.run(&["join", &ticket]).ok()["synced"], true);
}

#[test]
fn a_bundle_takes_the_place_of_all_or_stands_beside_them() {
    both_ways(|ada| {
        let both = file(ada, "both.cedar", &format!("{OPEN}{NO_SECRETS}"));
        let set = ada.run(&["policy", "set", &both, "--idempotency-key", "k1"]).ok();
        assert_eq!(set["status"], "completed");
        let shown = ada.run(&["policy", "show"]).ok();
        assert_eq!(shown["version"], set["version"]);
        assert_eq!(layers(ada), [json!(format!("{OPEN}{NO_SECRETS}"))]);
        let again = ada.run(&["policy", "set", &both, "--idempotency-key", "k1"]).ok();
        assert_eq!((&again["operation"], &again["repeated"]), (&set["operation"], &json!(true)));
        ada.run(&["policy", "set", &both, "--add", "--idempotency-key", "k1"]).fails(1, "key_reused");

        let more = file(ada, "more.cedar", "forbid(principal, action == Action::\"delete\", resource);");
        let added = ada.run(&["policy", "set", &more, "--add"]).ok();
        assert_ne!(added["version"], set["version"]);
        assert_eq!(layers(ada).len(), 2);
        ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
        ada.run(&["delete", "n1"]).fails(3, "refused");
        ada.run(&["put", "secrets", "{}"]).fails(3, "refused");
        let digests = ada.run(&["policy", "show"]).ok()["layers"].clone();
        assert!(digests.as_array().unwrap().iter().any(|layer| layer["digest"] == added["digest"]));

        let open = file(ada, "open.cedar", OPEN);
        assert!(ada.plain(&["policy", "set", &open]).out.starts_with("bundle "));
        assert_eq!(layers(ada), [json!(OPEN)]);
        ada.run(&["delete", "n1"]).ok();
        let operation = ada.run(&["op", added["operation"].as_str().unwrap()]).ok();
        assert_eq!(operation["evidence"].as_array().unwrap().len(), 1, "{operation}");
        assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    });
}

#[test]
fn a_text_that_cannot_be_in_force_changes_nothing() {
    both_ways(|ada| {
        let before = layers(ada);
        for (text, says) in [
            ("permit(principal, action, resource)\nwhen { context.colour == 1 };", "line 2"),
            ("permit(principal action, resource);", "line 1, column 18"),
            ("permit(principal, action == Action::\"read\", resource);", "line 1"),
            ("", "no owner could ever replace it"),
            ("permit(principal, action in Action::\"write\", resource);", "no owner could ever replace it"),
            (
                &format!("{OPEN}forbid(principal, action, resource) when {{ context.weakens }};"),
                "no owner could",
            ),
            (&format!("{OPEN}forbid(principal == User::\"ada\", action, resource);"), "no owner could ever"),
        ] {
            let error = ada.run(&["policy", "set", &file(ada, "p.cedar", text)]).fails(1, "invalid_policy");
            assert!(error["message"].as_str().unwrap().contains(says), "{text}: {error}");
        }
        let locks = "forbid(principal, action == Action::\"bundle\", resource);";
        ada.run(&["policy", "set", "--add", &file(ada, "p.cedar", locks)]).fails(1, "invalid_policy");
        let long = format!("{OPEN}//{}", "x".repeat(300_000));
        ada.run(&["policy", "set", &file(ada, "p.cedar", &long)]).fails(1, "invalid_policy");
        ada.run(&["policy", "set", "missing.cedar"]).fails(1, "file");
        assert_eq!(layers(ada), before);
        let agents = ["--actor", "agent:x", "policy", "set", &file(ada, "p.cedar", OPEN)];
        ada.run(&agents).fails(3, "refused");
    });
}

#[test]
fn what_one_device_forbids_is_refused_on_the_others() {
    let (ada, bob, eve) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    joined(&ada, &bob, "member");
    joined(&ada, &eve, "admin");
    let text = format!("{OPEN}{NO_SECRETS}");
    for (device, args) in
        [(&bob, &["policy", "set"][..]), (&bob, &["policy", "set", "--add"]), (&eve, &["policy", "set"])]
    {
        let path = file(device, "p.cedar", &text);
        let args: Vec<&str> = args.iter().copied().chain([path.as_str()]).collect();
        device.run(&args).fails(3, "refused");
    }
    bob.run(&["put", "secrets", "--id", "s1", "{}"]).ok();
    ada.run(&["policy", "set", &file(&ada, "p.cedar", &text)]).ok();
    bob.run(&["sync"]).ok();
    let error = bob.run(&["put", "secrets", "--id", "s2", "{}"]).fails(3, "refused");
    let hint = error["hint"].as_str().unwrap();
    let operation = hint.split('`').nth(1).unwrap().strip_prefix("explain ").unwrap();
    let explained = bob.run(&["explain", operation]).ok().to_string();
    assert!(
        explained.contains(".no-secrets") && explained.contains("Secrets live elsewhere."),
        "{explained}"
    );
    let tested = bob.run(&["policy", "test", operation]).ok();
    assert_eq!((&tested["then"]["verdict"], &tested["now"]["verdict"]), (&json!("refuse"), &json!("refuse")));
    // An admin may add, and what it adds counts for everybody.
    eve.run(&["sync"]).ok();
    let more = "@id(\"keep\") forbid(principal, action == Action::\"delete\", resource);";
    eve.run(&["policy", "set", "--add", &file(&eve, "more.cedar", more)]).ok();
    eve.run(&["sync"]).ok();
    ada.run(&["delete", "s1"]).fails(3, "refused");
    assert_eq!(daemon.stop(), 0);
}

fn verdicts(tested: &Value) -> [&str; 3] {
    ["then", "again", "now"].map(|at| tested[at]["verdict"].as_str().unwrap())
}

#[test]
fn past_decisions_are_made_again() {
    both_ways(|ada| {
        let put = ada.run(&["put", "notes", "--id", "n1", r#"{"a":1}"#]).ok()["operation"].clone();
        let (agent, edit) = (["--actor", "agent:bot"], ["edit", "n1", "--merge-patch", r#"{"a":2}"#]);
        let asked = ada.run(&[&agent[..], &edit[..]].concat());
        assert_eq!(asked.code, 4);
        let asked = asked.json()["operation"].clone();
        let refused = ada.run(&[&agent[..], &["delete", "n1"]].concat()).fails(3, "refused");
        let refused = refused["hint"].as_str().unwrap().split('`').nth(1).unwrap()[8..].to_owned();
        let test = |operation: &str| ada.run(&["policy", "test", operation]).ok();
        let (put, asked) = (put.as_str().unwrap(), asked.as_str().unwrap());
        for (operation, verdict) in [(put, "allow"), (asked, "review"), (&refused, "refuse")] {
            let tested = test(operation);
            assert_eq!(
                (&tested["operation"], &tested["same"]),
                (&json!(operation), &json!(true)),
                "{tested}"
            );
            assert_eq!(verdicts(&tested), [verdict; 3], "{tested}");
            for key in ["policies", "policy_version", "inputs"] {
                assert_eq!(tested["then"][key], tested["again"][key], "{key}");
            }
            assert_eq!(tested["now"]["assumed"], json!([]), "{tested}");
        }
        let genesis = ada.run(&["ops"]).ok().as_array().unwrap().last().unwrap()["operation"].clone();
        assert_eq!(verdicts(&test(genesis.as_str().unwrap())), ["allow"; 3]);

        let other = "permit(principal, action, resource); forbid(principal is User, action, resource) \
                     when { context.changed.contains(\"/a\") || context.collection == Collection::\"notes\" };";
        ada.run(&["policy", "set", &file(ada, "other.cedar", other)]).ok();
        assert_eq!(verdicts(&test(put)), ["allow", "allow", "refuse"]);
        assert_eq!(verdicts(&test(asked)), ["review", "review", "allow"]);
        assert_eq!(verdicts(&test(&refused)), ["refuse", "refuse", "allow"]);
        assert_eq!(test(asked)["now"]["assumed"], json!(["changed"]), "not looked at then");
        assert!(ada.plain(&["policy", "test", put]).out.contains("same"));
        ada.run(&["policy", "test", "0190b8a0-0000-7000-8000-000000000000"]).fails(6, "not_found");
        ada.run(&["policy", "test", "n1"]).fails(2, "usage");
    });
}

/// It holds in every workspace of the device at once, whoever serves them, and for no other device.
#[test]
fn a_device_has_a_policy_of_its_own() {
    both_ways(|ada| {
        let text = format!(
            "{OPEN}@id(\"kiosk\") @because(\"This is a kiosk.\")\n\
            forbid(principal, action == Action::\"delete\", resource);\n"
        );
        let own = file(ada, "own.cedar", &text);
        assert_eq!(ada.run(&["policy", "check", "--device", &own]).ok()["warnings"], json!([]));
        let set = ada.run(&["policy", "set", "--device", &own]).ok();
        assert_eq!((&set["layer"], set["file"].as_str().is_some()), (&json!("device"), true));
        let shown = ada.run(&["policy", "show"]).ok();
        let layer = &shown["layers"].as_array().unwrap()[2];
        assert_eq!(
            (&layer["layer"], &layer["digest"], &layer["text"]),
            (&json!("device"), &set["digest"], &json!(text))
        );
        ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
        let refused = ada.run(&["delete", "n1"]).fails(3, "refused");
        assert!(refused["message"].as_str().unwrap().contains("kiosk"), "{refused}");
        let hint = refused["hint"].as_str().unwrap();
        let operation = hint.split('`').nth(1).unwrap().strip_prefix("explain ").unwrap().to_owned();
        let because = ada.run(&["explain", &operation]).ok();
        assert!(because.to_string().contains("device.kiosk"), "{because}");
        assert_eq!(
            ada.run(&["policy", "test", &operation]).ok()["then"]["policies"],
            json!(["device.kiosk"])
        );

        let wrong = file(
            ada,
            "wrong.cedar",
            "permit(principal, action, resource);\nforbid(principal action, resource);",
        );
        let error = ada.run(&["policy", "set", "--device", &wrong]).fails(1, "invalid_policy");
        assert!(error["message"].as_str().unwrap().contains("line 2"), "{error}");
        ada.run(&["delete", "n1"]).fails(3, "refused");
        ada.run(&["--actor", "agent:bot", "policy", "set", "--device", "--none"]).fails(3, "refused");
        ada.run(&["policy", "set", "--device", &own, "--add"]).fails(2, "usage");
        ada.run(&["policy", "set", "--none"]).fails(2, "usage");
        ada.run(&["policy", "set"]).fails(2, "usage");

        assert_eq!(ada.run(&["policy", "set", "--device", "--none"]).ok()["digest"], Value::Null);
        assert!(!ada.root().join("policy.cedar").exists());
        ada.run(&["delete", "n1"]).ok();
        assert_eq!(ada.run(&["policy", "test", &operation]).ok()["same"], true, "with the text of then");
    });
}

/// A file that somebody has written wrongly by hand stops everything that would work under it, and says where.
#[test]
fn a_policy_of_the_device_with_a_mistake_opens_nothing() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    let path = ada.root().join("policy.cedar");
    std::fs::write(&path, "permit(principal, action, resource)\n\nforbid").unwrap();
    let error = ada.run(&["put", "notes", "{}"]).fails(1, "invalid_policy");
    let (message, hint) = (error["message"].as_str().unwrap(), error["hint"].as_str().unwrap());
    assert!(message.contains("line 3") && hint.contains("policy set --device --none"), "{error}");
    ada.run(&["up"]).fails(1, "invalid_policy");
    std::fs::write(&path, "forbid(principal, action, resource);").unwrap();
    let warned = ada.run(&["policy", "check", "--device", path.to_str().unwrap()]).ok();
    assert!(warned["warnings"].to_string().contains("writes nothing"), "{warned}");
    ada.run(&["put", "notes", "{}"]).fails(3, "refused");
    ada.run(&["status"]).ok();
    ada.run(&["policy", "set", "--device", "--none"]).ok();
    ada.run(&["put", "notes", "{}"]).ok();
}

#[test]
fn the_policy_that_is_shown_to_newcomers_works() {
    let readme = include_str!("../README.md");
    let example = readme.split_once("    $ cat policy.cedar\n").unwrap().1;
    let policy: Vec<&str> =
        example.lines().take_while(|line| !line.starts_with("    $")).map(str::trim).collect();
    both_ways(|ada| {
        let file = file(ada, "policy.cedar", &policy.join("\n"));
        ada.run(&["policy", "check", &file]).ok();
        ada.run(&["--actor", "agent:bot", "put", "ledger", "{}"]).ok();
        ada.run(&["policy", "set", "--add", &file]).ok();
        let error = ada.run(&["--actor", "agent:bot", "put", "ledger", "{}"]).fails(3, "refused");
        assert!(error["message"].as_str().unwrap().contains("ledger-by-people"), "{error}");
        ada.run(&["put", "ledger", "{}"]).ok();
        ada.run(&["--actor", "agent:bot", "put", "notes", "{}"]).ok();
    });
}
