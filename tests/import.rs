//! Files of every size through `import`: what fits an object comes in whole however many changes it takes, what does
//! not is refused by name while the others go on.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::Device;
use serde_json::{Value, json};
use std::time::Instant;
use syncd_schema::limits;

/// Ordinary lines until there are so many code points.
fn lines(chars: usize) -> String {
    let mut text = String::new();
    for n in 0_usize.. {
        if text.len() >= chars {
            break;
        }
        text.push_str(&format!("line {n}: {} of it\n", n * 7919 % 10_007));
    }
    text.truncate(chars);
    text
}

fn text_of(ada: &Device, path: &str) -> Option<String> {
    let rows = ada.run(&["list", "files"]).ok();
    let objects = rows.as_array().unwrap().iter().map(|row| row["object"].as_str().unwrap().to_owned());
    let mut values = objects.map(|object| ada.run(&["get", &object]).ok()["value"].clone());
    values.find(|value| value["path"] == path).and_then(|value| value["text"].as_str().map(str::to_owned))
}

fn import(ada: &Device, what: &str) -> Value {
    let began = Instant::now();
    let ran = ada.run(&["import", what]).ok();
    eprintln!("import of {what}: {} ms", began.elapsed().as_millis());
    ran
}

#[test]
fn a_text_larger_than_a_change_comes_in_whole_and_is_changed_by_its_difference() {
    let ada = Device::new();
    let daemon = ada.up();
    let first = lines(3 * limits::CHANGE_OPS as usize + 1);
    ada.file("tree/large.txt", &first);
    ada.file("tree/small.txt", "small\n");
    assert_eq!(import(&ada, "tree")["imported"], 2);
    assert!(text_of(&ada, "tree/large.txt").as_ref() == Some(&first), "another text");
    assert_eq!(import(&ada, "tree")["skipped"], 2);
    // One line less in the middle is one operation; a file of other lines is several.
    let before = ada.run(&["status"]).ok()["operations"].as_u64().unwrap();
    let cut = first.replacen("line 500: 6735 of it\n", "", 1);
    assert!(cut != first, "the line is there");
    ada.file("tree/large.txt", &cut);
    assert_eq!(import(&ada, "tree")["updated"], 1);
    assert_eq!(ada.run(&["status"]).ok()["operations"].as_u64().unwrap(), before + 1);
    assert!(text_of(&ada, "tree/large.txt") == Some(cut), "another text");
    let other = lines(2 * limits::CHANGE_OPS as usize).replace("line", "row");
    ada.file("tree/large.txt", &other);
    assert_eq!(import(&ada, "tree")["updated"], 1);
    assert!(text_of(&ada, "tree/large.txt") == Some(other), "another text");
    assert_eq!(ada.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_large_text_takes_the_place_of_bytes() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    ada.file("a", [0xff, 0xfe]);
    import(&ada, "a");
    let text = lines(2 * limits::CHANGE_OPS as usize);
    ada.file("a", &text);
    assert_eq!(import(&ada, "a")["updated"], 1);
    assert!(text_of(&ada, "a") == Some(text), "another text");
}

/// As large as one change may be: two devices that import it apart make the same object and not the text twice.
#[test]
fn a_text_that_fits_a_birth_is_the_same_object_on_two_devices() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    // Of the longest code points, so that its bytes fit too.
    let text = "𝕊𝕪𝕟𝕔\n".repeat((limits::CHANGE_OPS as usize - 64) / 5);
    for device in [&ada, &bob] {
        device.file("a.txt", &text);
        assert_eq!(import(device, "a.txt")["imported"], 1);
    }
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        assert!(text_of(device, "a.txt").as_ref() == Some(&text), "another text");
        assert_eq!(import(device, "a.txt")["skipped"], 1);
    }
    assert_eq!(daemon.stop(), 0);
}

/// What no one change holds is never doubled in silence: both lives are there, and the object says that it has two.
#[test]
fn a_larger_text_imported_on_two_devices_is_a_conflict_that_shows() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
    let text = lines(limits::CHANGE_OPS as usize + 1_000);
    for device in [&ada, &bob] {
        device.file("a.txt", &text);
        assert_eq!(import(device, "a.txt")["imported"], 1);
    }
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        let rows = device.run(&["list", "files"]).ok();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        assert_eq!(rows[0]["state"], "conflicted", "{rows}");
        let value = device.run(&["get", rows[0]["object"].as_str().unwrap()]).ok()["value"].clone();
        assert!(value["text"] == text, "whichever life is shown, it has the text once");
    }
    // The way out that `explain` names: both lives end, on both devices.
    let object = ada.run(&["list", "files"]).ok()[0]["object"].as_str().unwrap().to_owned();
    ada.run(&["edit", &object, "--merge-patch", "{}"]).fails(4, "needs_decision");
    ada.run(&["delete", &object]).ok();
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        assert_eq!(device.run(&["list", "files", "--all"]).ok()[0]["state"], "tombstoned");
        assert_eq!(device.run(&["evidence", "verify"]).ok()["ok"], true);
    }
    assert_eq!(daemon.stop(), 0);
}

/// Three bytes to the code point: three megabytes, and as many operations as an object may have.
#[test]
fn three_megabytes_come_in_and_arrive_at_a_peer() {
    let (ada, bob) = (Device::new(), Device::new());
    let daemon = ada.up();
    let text = "あいうえおかきくけこさしすせそたちつてと\n".repeat(limits::DOCUMENT_OPS as usize / 21 - 2);
    assert!(text.len() > 2_900_000);
    ada.file("novel.txt", &text);
    assert_eq!(import(&ada, "novel.txt")["imported"], 1);
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    let began = Instant::now();
    assert_eq!(bob.run(&["join", &ticket]).ok()["synced"], true);
    eprintln!("joined and synced in {} ms", began.elapsed().as_millis());
    assert!(text_of(&bob, "novel.txt") == Some(text), "the peer's text is another");
    assert_eq!(bob.run(&["evidence", "verify"]).ok()["ok"], true);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn what_no_object_holds_is_refused_by_name_and_the_others_go_on() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    ada.file("tree/a.txt", "a");
    ada.file("tree/b.txt", lines(limits::DOCUMENT_OPS as usize + 1));
    ada.file("tree/c.bin", vec![0xff; limits::CHANGE_BYTES]);
    ada.file("tree/d.txt", vec![b'x'; 4 * limits::DOCUMENT_OPS as usize + 1]);
    ada.file("tree/e.txt", "e");
    let ran = ada.run(&["import", "tree"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    assert_eq!(report["imported"], 2);
    let mut failed: Vec<(&str, bool)> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| {
            let message = file["message"].as_str().unwrap();
            (
                file["path"].as_str().unwrap(),
                message.contains("DOCUMENT_OPS") || message.contains("CHANGE_BYTES"),
            )
        })
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, [("tree/b.txt", true), ("tree/c.bin", true), ("tree/d.txt", true)], "{report}");
    assert_eq!(text_of(&ada, "tree/e.txt").as_deref(), Some("e"));
}

#[test]
fn bytes_up_to_their_limit_come_in() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    // Bytes that do not compress, of a generator with a known seed.
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..(limits::CHANGE_BYTES - (8 << 10)) / 4 * 3)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    ada.file("a.bin", bytes);
    assert_eq!(import(&ada, "a.bin")["imported"], 1);
}

#[test]
fn other_commands_say_how_a_large_text_comes_in() {
    let ada = Device::new();
    ada.run(&["init"]).ok();
    let text = lines(2 * limits::CHANGE_OPS as usize);
    let file = ada.file("object.json", json!({ "path": "x", "text": text }).to_string());
    let error = ada.run(&["put", "files", "--file", file.to_str().unwrap()]).fails(1, "too_large");
    assert!(error["hint"].as_str().unwrap().contains("import"), "{error}");
    ada.run(&["put", "files", "--id", "f1", r#"{"path":"f","text":"short"}"#]).ok();
    let file = ada.file("text.txt", &text);
    let error = ada
        .run(&["edit", "f1", "--set-text", "/text", "--file", file.to_str().unwrap()])
        .fails(1, "too_large");
    assert!(error["hint"].as_str().unwrap().contains("import"), "{error}");
    assert_eq!(ada.run(&["get", "f1"]).ok()["value"]["text"], "short");
}
