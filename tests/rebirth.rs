//! Objects that begin anew, on the command line: first it is said what that drops, then it is gone from every device.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::Device;
use serde_json::json;

#[test]
fn what_an_object_was_is_dropped_from_every_device() {
    let (ada, bob) = (Device::new(), Device::new());
    ada.run(&["init"]).ok();
    ada.run(&["put", "notes", "--id", "n1", r#"{"title":"plan"}"#]).ok();
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    bob.run(&["sync"]).ok();
    bob.run(&["edit", "n1", "--merge-patch", r#"{"password":"hunter2"}"#]).ok();
    bob.run(&["sync"]).ok();

    let plan = ada.run(&["rebirth", "n1", "--value", r#"{"title":"plan"}"#]).ok();
    assert_eq!(
        (&plan["status"], &plan["drops"], &plan["stays"]),
        (&json!("planned"), &json!(2), &json!("the value given"))
    );
    assert_eq!(plan["authors"].as_array().unwrap().len(), 2);
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"]["password"], "hunter2", "nothing happened yet");
    let words = ada.plain(&["rebirth", "n1", "--nothing"]);
    assert!(words.out.contains("would drop 2 operations") && words.out.contains("--yes"), "{}", words.out);
    ada.run(&["rebirth", "n1", "--nothing", "--value", "{}"]).fails(2, "usage");
    ada.run(&["rebirth", "n9"]).fails(6, "not_found");
    bob.run(&["rebirth", "n1", "--yes"]).fails(3, "refused");
    ada.run(&["rebirth", "n1", "--yes", "--actor", "agent:bot"]).fails(3, "refused");

    let why = "a password does not belong there";
    let done = ada
        .run(&[
            "rebirth",
            "n1",
            "--value",
            r#"{"title":"plan"}"#,
            "--because",
            why,
            "--yes",
            "--idempotency-key",
            "r1",
        ])
        .ok();
    assert_eq!((&done["status"], &done["drops"]), (&json!("completed"), &json!(2)));
    let operation = done["operation"].as_str().unwrap();
    bob.run(&["edit", "n1", "--merge-patch", r#"{"late":"a thought"}"#]).ok();
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        assert_eq!(device.run(&["get", "n1"]).ok()["value"], json!({"title": "plan"}));
        let history = device.run(&["history", "n1"]).ok();
        assert!(!history.to_string().contains("password"), "{history}");
        let explained = device.run(&["explain", "n1"]).ok().to_string();
        assert!(explained.contains("began anew") && explained.contains(operation), "{explained}");
        assert_eq!(device.run(&["evidence", "verify"]).ok()["ok"], true);
    }
    let findings = bob.run(&["status"]).ok()["findings"].to_string();
    assert!(findings.contains("work_dropped") && findings.contains(why), "{findings}");

    let cards = ada.run(&["cards"]).ok();
    assert_eq!(cards[0]["kind"], "late_work");
    let card = cards[0]["card"].as_str().unwrap();
    let asked = ada.run(&["card", card]).ok();
    assert_eq!(asked["values"][0]["value"], json!({"set": {"late": "a thought"}}));
    bob.run(&["resolve", card, "decline"]).fails(3, "refused");
    ada.run(&["resolve", card, "merge", "--value", r#"{"late":"a thought"}"#]).ok();
    bob.run(&["sync"]).ok();
    assert_eq!(bob.run(&["get", "n1"]).ok()["value"], json!({"title": "plan", "late": "a thought"}));
    assert_eq!(bob.run(&["cards"]).ok(), json!([]));
    assert_eq!(daemon.stop(), 0);
}
