//! Cards on the command line: two devices that disagree, what is asked, and the commands that answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::Device;
use serde_json::{Value, json};

/// Two devices of one workspace that hold one object, connected while the second one's daemon runs.
fn two() -> (Device, Device) {
    let (ada, bob) = (Device::new(), Device::new());
    ada.run(&["init"]).ok();
    ada.run(&["put", "notes", "--id", "n1", r#"{"title":"old"}"#]).ok();
    (ada, bob)
}

fn ids(cards: &Value) -> Vec<String> {
    cards.as_array().unwrap().iter().map(|card| card["card"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_disagreement_is_asked_about_and_answered_on_either_device() {
    let (ada, bob) = two();
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    bob.run(&["sync"]).ok();
    ada.run(&["edit", "n1", "--merge-patch", r#"{"title":"Ada's"}"#]).ok();
    bob.run(&["edit", "n1", "--merge-patch", r#"{"title":"Bob's"}"#]).ok();
    assert_eq!(bob.run(&["cards"]).ok(), json!([]));
    bob.run(&["sync"]).ok();

    let cards = bob.run(&["cards"]).ok();
    assert_eq!(cards, ada.run(&["cards"]).ok().as_array().map(|rows| with_at_of(rows, &cards)).unwrap());
    let card = ids(&cards).remove(0);
    for key in ["card", "object", "path", "kind", "status", "at"] {
        assert!(cards[0].get(key).is_some(), "{key}: {cards}");
    }
    assert_eq!(bob.run(&["status"]).ok()["open_cards"], 1);
    let got = bob.run(&["get", "n1"]).ok();
    assert_eq!((&got["state"], &got["conflicts"][0]["card"]), (&json!("conflicted"), &json!(card)));

    let asked = bob.run(&["card", &card[..10]]).ok();
    for key in ["card", "object", "path", "kind", "status", "options", "values", "operations"] {
        assert!(asked.get(key).is_some(), "{key}: {asked}");
    }
    for option in asked["options"].as_array().unwrap() {
        assert!(option["option"].is_string() && option["consequence"].is_string());
        assert!(option["recommended"].is_boolean());
    }
    let words = bob.plain(&["card", &card]);
    assert!(words.out.contains(&format!("resolve {} keep_local", &card[..12])), "{}", words.out);

    bob.run(&["resolve", "00000000", "merge"]).fails(6, "not_found");
    bob.run(&["resolve", &card, "both"]).fails(2, "usage");
    bob.run(&["resolve", &card, "merge"]).fails(2, "usage");
    let done = bob.run(&["resolve", &card, "merge", "--value", "\"ours\"", "--because", "we talked"]).ok();
    assert_eq!((&done["card"], &done["status"]), (&json!(card), &json!("completed")));
    assert!(done["operation"].is_string());
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        assert_eq!(device.run(&["get", "n1"]).ok()["value"]["title"], "ours");
        assert_eq!(device.run(&["cards"]).ok(), json!([]));
        let ended = device.run(&["card", &card]).ok();
        assert_eq!(ended["status"], "resolved");
        assert_eq!(ended["resolution"]["because"], "we talked");
        assert_eq!(ids(&device.run(&["cards", "--all"]).ok()), std::slice::from_ref(&card));
    }
    bob.run(&["resolve", &card, "keep_local"]).fails(1, "decided");
    assert_eq!(daemon.stop(), 0);
}

/// The same rows with the times of others: each device opened a card when it saw it.
fn with_at_of(rows: &[Value], others: &Value) -> Value {
    let mut rows = rows.to_vec();
    for (row, other) in rows.iter_mut().zip(others.as_array().unwrap()) {
        row["at"] = other["at"].clone();
    }
    Value::Array(rows)
}

#[test]
fn an_agent_that_names_no_base_proposes_and_exit_code_4_says_so() {
    let (ada, _) = two();
    let proposed = ada.run(&["--actor", "agent:claw", "edit", "n1", "--merge-patch", r#"{"title":"new"}"#]);
    let answer = proposed.json();
    assert_eq!(proposed.code, 4);
    assert_eq!(answer["status"], "awaiting_decision");
    let card = answer["card"].as_str().unwrap().to_owned();
    let got = ada.run(&["get", "n1"]).ok();
    assert_eq!((&got["value"]["title"], &got["state"]), (&json!("old"), &json!("held")));
    ada.run(&["--actor", "agent:claw", "explain", answer["operation"].as_str().unwrap()]).ok();
    ada.run(&["resolve", &card, "decline", "--because", "not now"]).ok();
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"]["title"], "old");
    assert_eq!(ada.run(&["get", "n1"]).ok()["state"], "clean");
}

#[test]
fn an_answer_is_rolled_back_and_says_so() {
    let (ada, _) = two();
    let proposed =
        ada.run(&["--actor", "agent:claw", "edit", "n1", "--merge-patch", r#"{"title":"new"}"#]).json();
    let card = proposed["card"].as_str().unwrap();
    let accepted = ada.run(&["resolve", card, "keep_remote"]).ok();
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"]["title"], "new");
    let hint = ada.plain(&["card", card]).out;
    assert!(hint.contains(&format!("repair rollback {}", accepted["operation"].as_str().unwrap())), "{hint}");
    let again = ada.run(&["repair", "rollback", accepted["operation"].as_str().unwrap()]).ok();
    assert_eq!(ada.run(&["get", "n1"]).ok()["value"]["title"], "old");
    assert_eq!(json!(ids(&ada.run(&["cards"]).ok())), again["asks"]);
    assert_eq!(ada.run(&["card", card]).ok()["superseded_by"], again["asks"]);
    let edit = ada.run(&["edit", "n1", "--merge-patch", r#"{"title":"newer"}"#]).ok();
    ada.run(&["repair", "rollback", edit["operation"].as_str().unwrap()]).fails(1, "not_an_answer");
    ada.run(&["repair", "rollback", accepted["operation"].as_str().unwrap()]).fails(1, "changed_since");
}

/// Most of a collection, deleted one by one: what is left of it is asked about once, shown, explained and declined.
#[test]
fn deletions_in_a_row_are_one_card() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    for n in 0..14 {
        ada.file(&format!("tree/{n}.txt"), format!("text {n}\n"));
    }
    ada.run(&["import", "tree"]).ok();
    let objects = ada.run(&["list", "files"]).ok();
    let objects: Vec<&str> =
        objects.as_array().unwrap().iter().map(|row| row["object"].as_str().unwrap()).collect();
    for object in &objects[..9] {
        ada.run(&["delete", object]).ok();
    }
    let held = ada.run(&["delete", objects[9]]);
    assert_eq!(held.code, 4, "{held:?}");
    let card = held.json()["card"].as_str().unwrap().to_owned();
    assert_eq!(ada.run(&["delete", objects[10]]).json()["card"], json!(card));
    assert_eq!(ids(&ada.run(&["cards"]).ok()), std::slice::from_ref(&card));
    assert_eq!(ada.run(&["get", objects[9]]).ok()["state"], "held");
    let shown = ada.run(&["card", &card]).ok();
    assert_eq!((&shown["kind"], &shown["values"][0]["value"]["deletes"]), (&json!("burst"), &json!(2)));
    let words = ada.plain(&["card", &card]).out;
    assert!(
        words.contains(&format!("resolve {} decline", &card[..12])) && words.contains("(recommended)"),
        "{words}"
    );
    let explained = ada.run(&["explain", objects[10]]).ok();
    assert!(explained["next"].to_string().contains(&card), "{explained}");
    ada.run(&["resolve", &card, "fork"]).fails(2, "usage");
    ada.run(&["--actor", "agent:bot", "resolve", &card, "keep_remote"]).fails(3, "refused");
    ada.run(&["resolve", &card, "decline", "--because", "the wrong folder"]).ok();
    assert_eq!(ada.run(&["cards"]).ok(), json!([]));
    assert_eq!(ada.run(&["get", objects[9]]).ok()["state"], "clean");
    assert_eq!(ada.run(&["card", &card]).ok()["resolution"]["because"], "the wrong folder");
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
}
