//! A device whose disk was copied: both copies write, and neither goes on behind the other's back.

use crate::common::Device;
use std::process::Command;

fn copy(from: &Device, to: &Device) {
    let status = Command::new("cp").arg("-r").arg(from.root()).arg(to.root()).status().unwrap();
    assert!(status.success());
}

#[test]
fn copies_that_both_wrote_are_stopped_by_one_sync_and_go_on_after_a_new_invitation() {
    let (ada, bob, clone) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    let invite = || ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &invite()]).ok();
    bob.run(&["put", "notes", "--id", "b1", r#"{"n": 1}"#]).ok();
    bob.run(&["sync"]).ok();
    copy(&bob, &clone);
    bob.run(&["put", "notes", "--id", "b2", r#"{"n": 2}"#]).ok();
    clone.run(&["put", "notes", "--id", "c2", r#"{"n": 3}"#]).ok();
    assert!(bob.run(&["sync"]).ok().get("stopped").is_none(), "nobody knows of the copy yet");
    // Each sync is a short-lived process: it must not end before the fork is settled.
    for copy in [&clone, &bob] {
        let answer = copy.run(&["sync"]).ok();
        assert!(answer["stopped"].as_str().unwrap().contains("two copies"), "{answer}");
        copy.run(&["put", "notes", r#"{"n": 4}"#]).fails(1, "stopped");
        let status = copy.run(&["status"]).ok();
        assert_eq!(status["logs"].as_array().unwrap().len(), 3, "both histories and Ada's: {status}");
        // What was acknowledged stays readable on the copy that wrote it.
        assert_eq!(copy.run(&["evidence", "verify"]).ok()["ok"], true);
    }
    assert_eq!(clone.run(&["get", "c2"]).ok()["value"]["n"], 3);
    let findings = ada.run(&["status"]).ok()["findings"].to_string();
    assert!(findings.contains("log_fork"), "{findings}");
    bob.run(&["join", &invite()]).ok();
    bob.run(&["put", "notes", "--id", "b3", r#"{"n": 5}"#]).ok();
    assert!(bob.run(&["sync"]).ok().get("stopped").is_none());
    assert_eq!(ada.run(&["get", "b3"]).ok()["value"]["n"], 5);
    for device in [&ada, &bob] {
        assert_eq!(device.run(&["evidence", "verify"]).ok()["ok"], true);
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_older_copy_put_in_place_fetches_what_it_lost_and_goes_on_in_a_new_epoch() {
    let (ada, bob, backup) = (Device::new(), Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    bob.run(&["put", "notes", "--id", "b1", r#"{"n": 1}"#]).ok();
    bob.run(&["sync"]).ok();
    copy(&bob, &backup);
    bob.run(&["edit", "b1", "--merge-patch", r#"{"n": 2}"#]).ok();
    bob.run(&["put", "notes", "--id", "b2", r#"{"n": 3}"#]).ok();
    bob.run(&["sync"]).ok();
    // The disk of Bob's is lost; a backup takes its place.
    let bob = backup;
    assert_eq!(bob.run(&["get", "b1"]).ok()["value"]["n"], 1);
    assert!(bob.run(&["sync"]).ok().get("stopped").is_none(), "what was lost is here again");
    let status = bob.run(&["status"]).ok();
    assert_eq!(status["epoch"], 1, "{status}");
    assert!(status["findings"].to_string().contains("rollback"), "it is said what happened: {status}");
    assert_eq!(bob.run(&["get", "b1"]).ok()["value"]["n"], 2);
    bob.run(&["put", "notes", "--id", "b3", r#"{"n": 4}"#]).ok();
    bob.run(&["sync"]).ok();
    for id in ["b2", "b3"] {
        assert_eq!(ada.run(&["get", id]).ok(), bob.run(&["get", id]).ok());
    }
    for device in [&ada, &bob] {
        assert_eq!(device.run(&["evidence", "verify"]).ok()["ok"], true);
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_owner_restored_from_before_an_invitation_learns_of_the_member_from_its_own_signature() {
    let (ada, bob, backup) = (Device::new(), Device::new(), Device::new());
    ada.run(&["init"]).ok();
    ada.run(&["put", "notes", "--id", "a1", r#"{"n": 1}"#]).ok();
    copy(&ada, &backup);
    let daemon = ada.up();
    let listen = daemon.ready["listen"].as_str().unwrap().to_owned();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    ada.run(&["put", "notes", "--id", "a2", r#"{"n": 2}"#]).ok();
    bob.run(&["put", "notes", "--id", "b1", r#"{"n": 3}"#]).ok();
    bob.run(&["sync"]).ok();
    assert_eq!(daemon.stop(), 0);
    // The backup has never heard of Bob.
    let ada = backup;
    assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 1);
    let daemon = ada.up_with(&["--listen", &listen]);
    bob.run(&["sync"]).ok();
    let status = ada.run(&["status"]).ok();
    assert!(status["epoch"] == 1 && status["stopped"].is_null(), "{status}");
    assert_eq!(ada.run(&["devices"]).ok().as_array().unwrap().len(), 2);
    for id in ["a1", "a2", "b1"] {
        assert_eq!(ada.run(&["get", id]).ok(), bob.run(&["get", id]).ok());
    }
    ada.run(&["put", "notes", "--id", "a3", r#"{"n": 4}"#]).ok();
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(daemon.stop(), 0);
}
