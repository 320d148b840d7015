//! A real source tree, this repository's own, edited on two devices while they are apart.

use crate::common::{Client, Device, Running};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const FOLDERS: [&str; 7] = ["schema", "policy", "evidence", "engine", "transport", "daemon", "docs"];

/// Every object of a device: id to value, state and heads.
fn everything(client: &mut Client) -> BTreeMap<String, Value> {
    let objects = client.objects();
    objects.into_iter().map(|object| (object.clone(), client.get(&object))).collect()
}

/// The sources, and the object of each file.
fn by_path(everything: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let path = |view: &Value| view["value"]["path"].as_str().unwrap().to_owned();
    everything.iter().map(|(object, view)| (path(view), object.clone())).collect()
}

fn text(everything: &BTreeMap<String, Value>, object: &str) -> String {
    everything[object]["value"]["text"].as_str().unwrap().to_owned()
}

/// Replaces the text of an object by another, as a person with an editor and the command would.
fn set_text(device: &Device, object: &str, text: &str) {
    let file = device.file("edited.txt", text);
    device.run(&["edit", object, "--set-text", "/text", "--file", file.to_str().unwrap()]).ok();
}

fn nothing_is_refused(device: &Device) {
    for status in ["failed", "blocked", "awaiting_decision", "queued"] {
        assert_eq!(device.run(&["ops", "--status", status]).ok(), json!([]), "{status}");
    }
    let report = device.run(&["evidence", "verify"]).ok();
    assert_eq!((&report["ok"], &report["findings"]), (&json!(true), &json!([])), "{report}");
}

fn joined(ada: &Device, bob: &Device) -> Running {
    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    let began = Instant::now();
    assert_eq!(bob.run(&["join", &ticket]).ok()["synced"], true);
    eprintln!("joined and synced in {:?}", began.elapsed());
    bob.up()
}

#[test]
fn a_source_tree_is_edited_on_two_devices_and_comes_together() {
    let (ada, bob) = (Device::new(), Device::new());
    let adas = ada.up();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders: Vec<String> =
        FOLDERS.iter().map(|folder| sources.join(folder).display().to_string()).collect();
    let mut import = vec!["import"];
    import.extend(folders.iter().map(String::as_str));
    let began = Instant::now();
    let imported = ada.run(&import).ok();
    eprintln!("{} files imported in {:?}", imported["imported"], began.elapsed());
    assert!(imported["imported"].as_u64().unwrap() > 80, "{imported}");

    let bobs = joined(&ada, &bob);
    let (mut at_ada, mut at_bob) = (ada.client(&adas), bob.client(&bobs));
    let before = everything(&mut at_ada);
    assert!(before == everything(&mut at_bob), "the first sync brought something else");
    let paths = by_path(&before);
    let on_disk = std::fs::read_to_string(sources.join("schema/src/limits.rs")).unwrap();
    assert_eq!(text(&before, &paths["schema/src/limits.rs"]), on_disk);

    // Apart: Bob's daemon is down and his commands go to the store, while Ada's go through her daemon.
    assert_eq!(bobs.stop(), 0);
    let rust: Vec<&String> =
        paths.iter().filter(|(path, _)| path.ends_with(".rs")).map(|(_, id)| id).collect();
    let shared = &paths["docs/format.md"];
    for (n, object) in rust.iter().take(24).enumerate() {
        let text = text(&before, object);
        match n % 4 {
            0 => {
                ada.run(&["edit", object, "--splice", "/text", "0", "0", "// Ada was here.\n"]).ok();
            }
            1 => set_text(&bob, object, &text.replace("    ", "  ")),
            // Both, at different places.
            2 => {
                set_text(&ada, object, &format!("{text}// The end, says Ada.\n"));
                bob.run(&["edit", object, "--splice", "/text", "4", "0", "Bob was here. "]).ok();
            }
            _ => {
                set_text(&ada, object, &text.replacen("use ", "pub use ", 1));
                bob.run(&["edit", object, "--merge-patch", r#"{"read": true}"#]).ok();
            }
        }
    }
    let gone = &paths["schema/Cargo.toml"];
    bob.run(&["delete", gone]).ok();
    let format = text(&before, shared);
    set_text(&ada, shared, &format!("Ada's introduction.\n{format}"));
    set_text(&bob, shared, &format!("{format}Bob's last words.\n"));

    let bobs = bob.up();
    let synced = bob.run(&["sync"]).ok()["peers"][0].clone();
    eprintln!("{synced}");
    let (after, mut at_bob) = (everything(&mut at_ada), bob.client(&bobs));
    assert!(after == everything(&mut at_bob), "the devices differ");
    assert_eq!(text(&after, shared), format!("Ada's introduction.\n{format}Bob's last words.\n"));
    assert_eq!(
        after.get(gone).map(|view| view["state"].clone()),
        before.get(gone).map(|_| json!("tombstoned"))
    );
    let both = text(&before, rust[2]);
    let both = format!("{}Bob was here. {}// The end, says Ada.\n", &both[..4], &both[4..]);
    assert_eq!(text(&after, rust[2]), both);
    assert_eq!(after[rust[3]]["value"]["read"], true);
    for view in after.values() {
        assert!(
            view["state"] == "clean" || view["object"] == gone.as_str(),
            "{}: {}",
            view["object"],
            view["state"]
        );
    }
    nothing_is_refused(&ada);
    nothing_is_refused(&bob);
    assert_eq!((adas.stop(), bobs.stop()), (0, 0));
}
