//! Secrets that are planted and looked for: in logs at their most talkative, in everything that commands print, and in
//! every file that is not there to hold them.

use crate::common::Device;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde_json::json;
use std::path::{Path, PathBuf};
use syncd_schema::ticket::Ticket;

/// Nothing else says this.
const VALUE: &str = "Rhamphorhynchus-muensteri";

/// A secret, and the files that are there to hold it.
struct Planted {
    name: &'static str,
    bytes: Vec<u8>,
    homes: Vec<PathBuf>,
}

/// How bytes might stand somewhere, lower case where case says nothing.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    // Without what depends on what stands behind.
    let whole = |group: usize| &bytes[..bytes.len() / group * group];
    let list =
        |separator: &str| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator).into_bytes();
    let mut forms = vec![bytes.to_vec(), list(", "), list(",")];
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(hex.clone().into_bytes());
    forms.push(hex.to_uppercase().into_bytes());
    for base64 in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
        forms.push(base64.encode(whole(3)).into_bytes());
    }
    let base32 = BASE32_NOPAD.encode(whole(5));
    forms.push(base32.to_lowercase().into_bytes());
    forms.push(base32.into_bytes());
    forms
}

fn holds(text: &[u8], form: &[u8]) -> bool {
    text.windows(form.len()).any(|window| window == form)
}

fn assert_says_nothing(what: &str, text: &[u8], planted: &[Planted]) {
    for secret in planted {
        for form in forms(&secret.bytes) {
            assert!(!holds(text, &form), "{what} says the {}", secret.name);
        }
    }
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let kind = std::fs::symlink_metadata(&path).unwrap();
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => files(&path, found),
            (_, true) => found.push(path),
            _ => {}
        }
    }
}

/// Runs a command at its most talkative, and returns everything it printed.
fn talk(device: &Device, args: &[&str], token: Option<&str>, json: bool) -> Vec<u8> {
    let mut all = if json { vec!["--json", "-vvv"] } else { vec!["-vvv"] };
    all.extend(args);
    let mut command = device.command(&all);
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    if let Some(token) = token {
        command.env("SYNCD_AGENT_TOKEN", token);
    }
    let output = command.output().unwrap();
    [output.stdout, output.stderr].concat()
}

#[test]
fn the_search_finds_what_is_there() {
    let secret = b"0123456789abcdef0123456789abcdef";
    for form in forms(secret) {
        let text = [b"before ".as_slice(), &form, b" after"].concat();
        let planted = [Planted { name: "test", bytes: secret.to_vec(), homes: Vec::new() }];
        let found = std::panic::catch_unwind(|| assert_says_nothing("a text", &text, &planted));
        assert!(found.is_err(), "{}", String::from_utf8_lossy(&form));
    }
}

#[test]
fn no_secret_is_anywhere_but_where_it_belongs() {
    let (ada, bob) = (Device::new(), Device::new());
    // A device secret that is known beforehand.
    let secret: Vec<u8> = (0..64).map(|n: u8| n.wrapping_mul(37).wrapping_add(11)).collect();
    std::fs::create_dir(ada.root()).unwrap();
    std::fs::write(
        ada.root().join("identity"),
        secret.iter().map(|b| format!("{b:02x}")).collect::<String>(),
    )
    .unwrap();
    let log = ada.home().join("ada.log");
    let daemon = ada.up_logging(&[], &log);
    let dir = ada.root().join("workspaces").join(daemon.ready["workspace"].as_str().unwrap());
    let store_key = std::fs::read(dir.join("store.key")).unwrap();
    let token = ada.run(&["agent", "add", "bot"]).ok()["token"].as_str().unwrap().to_owned();
    let unused = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    let used = ada.run(&["invite"]).ok()["ticket"].as_str().unwrap().to_owned();
    let secret_of = |text: &str| Ticket::parse(text).unwrap().secret.to_vec();
    let digits = token.strip_prefix("syncdagent1").unwrap().to_uppercase();
    let identity = ada.root().join("identity");
    let planted = vec![
        Planted { name: "signing key", bytes: secret[..32].to_vec(), homes: vec![identity.clone()] },
        Planted { name: "agreement key", bytes: secret[32..].to_vec(), homes: vec![identity] },
        Planted { name: "store key", bytes: store_key, homes: vec![dir.join("store.key")] },
        Planted { name: "ticket's secret", bytes: secret_of(&unused), homes: Vec::new() },
        Planted { name: "used ticket's secret", bytes: secret_of(&used), homes: Vec::new() },
        Planted { name: "token", bytes: BASE32_NOPAD.decode(digits.as_bytes()).unwrap(), homes: Vec::new() },
    ];
    let value = [Planted { name: "value", bytes: VALUE.as_bytes().to_vec(), homes: Vec::new() }];

    let mut printed = Vec::new();
    let patch = json!({ "more": VALUE }).to_string();
    let bad = json!([{ "op": "test", "path": "/title", "value": VALUE }]).to_string();
    let broken_ticket = format!("{}a", unused);
    let broken_token = format!("{}a", token);
    for json in [true, false] {
        let id = if json { "n1" } else { "n2" };
        let body = json!({ "title": VALUE }).to_string();
        let agent = Some(token.as_str());
        let commands: [(&[&str], Option<&str>); 17] = [
            (&["put", "notes", "--id", id, &body], agent),
            (&["put", "notes", "--id", id, &body], None),
            (&["edit", id, "--merge-patch", &patch], None),
            (&["edit", id, "--merge-patch", &patch], agent),
            (&["edit", id, "--json-patch", &bad], None),
            (&["put", "notes", "--id", "x", "{}", "--actor", "agent:bot"], None),
            (&["put", "notes", "--id", "x", "{}", "--actor", "agent:other"], agent),
            (&["list"], Some(&broken_token)),
            (&["join", &broken_ticket], None),
            (&["agent", "list"], None),
            (&["status"], agent),
            (&["devices"], None),
            (&["ops"], None),
            (&["explain", id], None),
            (&["history", id], None),
            (&["evidence", "list"], None),
            (&["policy", "show"], None),
        ];
        for (args, token) in commands {
            let out = talk(&ada, args, token, json);
            assert!(!out.is_empty(), "{args:?} said nothing");
            assert_says_nothing(&format!("{args:?}"), &out, &planted);
            // Like `get`, it is there to say what was written.
            if args[0] != "history" {
                printed.extend(out);
            }
        }
    }
    assert_says_nothing("a command", &printed, &value);
    // A joiner, a second use of the ticket, and a sync.
    let joiners = [talk(&bob, &["join", &used], None, true), talk(&bob, &["sync"], None, false)];
    let (eve, again) = (Device::new(), "join");
    let second = talk(&eve, &[again, &used], None, false);
    for out in joiners.iter().chain([&second]) {
        assert_says_nothing("a joiner", out, &planted);
        assert_says_nothing("a joiner", out, &value);
    }
    let whole = daemon_and_alone(&ada, daemon, &log);
    assert_says_nothing("the daemon's log", &whole, &planted);
    assert_says_nothing("the daemon's log", &whole, &value);
    for device in [&ada, &bob] {
        let mut all = Vec::new();
        files(&device.root(), &mut all);
        assert!(all.len() >= 5, "{all:?}");
        for file in all {
            let content = std::fs::read(&file).unwrap();
            for secret in planted.iter().filter(|secret| !secret.homes.contains(&file)) {
                let one = Planted { name: secret.name, bytes: secret.bytes.clone(), homes: Vec::new() };
                assert_says_nothing(&file.display().to_string(), &content, &[one]);
            }
            assert_says_nothing(&file.display().to_string(), &content, &value);
        }
    }
}

/// Ends the daemon, works on without it, and returns both logs.
fn daemon_and_alone(ada: &Device, daemon: crate::common::Running, log: &Path) -> Vec<u8> {
    assert_eq!(daemon.stop(), 0);
    let alone = talk(ada, &["evidence", "verify"], None, true);
    let log = std::fs::read(log).unwrap();
    assert!(log.len() > 1_000, "there is a log");
    [log, alone].concat()
}
