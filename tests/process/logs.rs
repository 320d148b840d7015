//! What the log says and what it must never say: which device, peer, object and operation, and no word of a payload.

use crate::common::{Device, Running};
use serde_json::json;
use std::path::Path;

/// Words that nothing else says. One is a key, one is in an edit that fails, one is never more than a file's content.
const VALUE: &str = "Quetzalcoatlus";
const KEY: &str = "archaeopteryx";
const WRONG: &str = "Microraptor";
const FILE: &str = "Pterodaustro";

/// A word as it might stand in a log: as it is, in hexadecimal, as a list of bytes, in base64.
fn forms(word: &str) -> Vec<String> {
    let list =
        |separator: &str| word.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(separator);
    vec![
        word.to_owned(),
        word.bytes().map(|byte| format!("{byte:02x}")).collect(),
        list(", "),
        list(","),
        // What does not depend on its neighbours, if it stands at a multiple of three.
        data_encoding::BASE64
            .encode(word.as_bytes().chunks_exact(3).flatten().copied().collect::<Vec<u8>>().as_slice()),
    ]
}

fn says_nothing_of(log: &str, text: &str) {
    for word in [VALUE, KEY, WRONG, FILE] {
        for form in forms(word) {
            let line = text.lines().find(|line| line.to_lowercase().contains(&form.to_lowercase()));
            assert!(line.is_none(), "{log} says {word}: {}", line.unwrap_or_default());
        }
    }
}

/// Everything a person does, with the words in it.
fn work(ada: &Device, bob: &Device, adas: &Running) {
    let mut client = ada.client(adas);
    client.put("n1", json!({ "title": VALUE, KEY: [VALUE, { "deep": VALUE }] })).unwrap().unwrap();
    client.put("n2", json!({ "text": "" })).unwrap().unwrap();
    ada.run(&["edit", "n1", "--merge-patch", &json!({ KEY: { VALUE: 1 } }).to_string()]).ok();
    ada.run(&["edit", "n2", "--splice", "/text", "0", "0", VALUE]).ok();
    let file = ada.file("text.txt", format!("{VALUE}\n{VALUE}\n"));
    ada.run(&["edit", "n2", "--set-text", "/text", "--file", file.to_str().unwrap()]).ok();
    ada.file("tree/a.txt", FILE.repeat(50));
    ada.file("tree/b.bin", [&[0xff], FILE.as_bytes()].concat());
    ada.run(&["import", "tree"]).ok();
    // What fails is no less private.
    let path = format!("/{KEY}/{WRONG}/{WRONG}");
    assert_eq!(ada.run(&["edit", "n1", "--splice", &path, "9", "9", WRONG]).code, 1);
    assert_eq!(ada.run(&["put", "notes", "--id", "n1", &json!({ WRONG: WRONG }).to_string()]).code, 1);
    let agent = json!({ WRONG: WRONG }).to_string();
    assert_eq!(ada.run(&["--actor", "agent:x", "edit", "n1", "--merge-patch", &agent]).code, 4);
    assert!(client.ask(&json!({ WRONG: { "object": WRONG } })).unwrap().is_err());

    let ticket = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    bob.run(&["join", &ticket]).ok();
}

#[test]
fn a_log_names_things_and_never_says_what_is_in_them() {
    let (ada, bob) = (Device::new(), Device::new());
    let logs = (ada.home().join("ada.log"), bob.home().join("bob.log"));
    let adas = ada.up_logging(&[], &logs.0);
    work(&ada, &bob, &adas);
    let bobs = bob.up_logging(&[], &logs.1);
    bob.run(&["sync"]).ok();
    // Both at once, so that there is something to merge, and a birth on both sides.
    let both = json!({ "title": VALUE, "text": VALUE }).to_string();
    ada.run(&["put", "notes", "--id", "n3", &both]).ok();
    bob.run(&["edit", "n1", "--merge-patch", &json!({ "title": VALUE.repeat(2) }).to_string()]).ok();
    let operation =
        ada.run(&["edit", "n1", "--merge-patch", &json!({ "title": VALUE.repeat(3) }).to_string()]);
    let operation = operation.ok()["operation"].as_str().unwrap().to_owned();
    bob.run(&["sync"]).ok();
    for device in [&ada, &bob] {
        for args in [&["get", "n1"][..], &["history", "n1"], &["explain", "n1"], &["evidence", "verify"]] {
            device.run(args).ok();
        }
    }
    // A command that opens the store itself has a log of its own.
    assert_eq!((adas.stop(), bobs.stop()), (0, 0));
    let alone = bob.command(&["edit", "n1", "--merge-patch", &json!({ KEY: VALUE }).to_string()]);
    let alone = { alone }.env("RUST_LOG", "trace").output().unwrap();
    assert!(alone.status.success());
    says_nothing_of("the command's log", &String::from_utf8(alone.stderr).unwrap());

    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (at_ada, at_bob) = (read(&logs.0), read(&logs.1));
    says_nothing_of("Ada's log", &at_ada);
    says_nothing_of("Bob's log", &at_bob);

    // And it says enough to follow one operation: spans of device, peer, object, operation.
    let line = |log: &str, words: &[&str]| {
        let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no line says {words:?}");
    };
    line(&at_ada, &["device{", "request{kind=\"edit\"", "object=n1", &format!("operation={operation}")]);
    line(&at_ada, &["device{", "session{peer=", "object=n1", "an object changed"]);
    line(&at_bob, &["device{", "session{peer=", "object=n3", "an object changed"]);
    line(&at_ada, &["device{", "request{kind=\"edit\"", "actor=agent:x", "answered"]);
    line(&at_ada, &["device{", "pairing{peer="]);
}
