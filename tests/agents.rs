//! Agents that prove with a token who they are, on the command line and at the socket.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Device, Ran};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

/// Runs a command that shows a token.
fn with_token(device: &Device, token: &str, args: &[&str]) -> Ran {
    let mut all = vec!["--json"];
    all.extend(args);
    let output = device.command(&all).env("SYNCD_AGENT_TOKEN", token).output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn put(id: &str) -> [&str; 5] {
    ["put", "notes", "--id", id, "{}"]
}

/// Who made an object.
fn author(device: &Device, id: &str) -> String {
    device.run(&["history", id]).ok()[0]["actor"].as_str().unwrap().to_owned()
}

fn a_bound_name_is_its_tokens(device: &Device) {
    // Without a token a name is claimed, as ever.
    device.run(&["--actor", "agent:bot", "put", "notes", "--id", "claimed", "{}"]).ok();
    let token = device.run(&["agent", "add", "bot"]).ok()["token"].as_str().unwrap().to_owned();
    device.run(&["agent", "add", "bot"]).fails(1, "exists");

    let claims = |args: &[&str]| {
        let mut all = vec!["--actor", "agent:bot"];
        all.extend(args);
        device.run(&all)
    };
    let error = claims(&put("a")).fails(3, "actor_refused");
    assert!(error["hint"].as_str().unwrap().contains("SYNCD_AGENT_TOKEN"), "{error}");
    device.run(&["get", "a"]).fails(6, "not_found");
    device.run(&["--actor", "agent:other", "put", "notes", "--id", "b", "{}"]).ok();

    with_token(device, &token, &put("c")).ok();
    assert_eq!(author(device, "c"), "agent:bot");
    let named = ["--actor", "agent:bot", "put", "notes", "--id", "d", "{}"];
    with_token(device, &token, &named).ok();
    for other in ["agent:other", "user:ada"] {
        let args = ["--actor", other, "put", "notes", "--id", "e", "{}"];
        with_token(device, &token, &args).fails(3, "actor_refused");
    }
    // An agent says neither what this device permits nor who else there is.
    with_token(device, &token, &["agent", "add", "more"]).fails(3, "refused");
    with_token(device, &token, &["agent", "revoke", "bot"]).fails(3, "refused");
    with_token(device, &token, &["policy", "set", "--device", "--none"]).fails(3, "refused");
    device.run(&["--actor", "agent:other", "agent", "add", "more"]).fails(3, "refused");
    device.run(&["agent", "add", "user:eve"]).fails(2, "usage");

    // A token in a file, which must be nobody else's.
    let file = device.file("token", format!("{token}\n"));
    let path = file.to_str().unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    device.run(&["--agent-token-file", path, "put", "notes", "--id", "f", "{}"]).fails(1, "token_file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    device.run(&["--agent-token-file", path, "put", "notes", "--id", "f", "{}"]).ok();
    assert_eq!(author(device, "f"), "agent:bot");

    // A token with a slip in it is not shown in the error.
    let error = with_token(device, &token[..token.len() - 1], &put("g")).fails(2, "usage");
    assert!(!error.to_string().contains(&token[11..40]), "{error}");

    device.run(&["agent", "revoke", "bot"]).ok();
    device.run(&["agent", "revoke", "bot"]).fails(6, "not_found");
    with_token(device, &token, &put("h")).fails(3, "actor_refused");
    claims(&put("h")).fails(3, "actor_refused");
    let listed = device.run(&["agent", "list"]).ok();
    assert_eq!((&listed[0]["agent"], &listed[0]["state"]), (&json!("agent:bot"), &json!("revoked")));
    assert!(!listed.to_string().contains(&token[11..40]));
    let again = device.run(&["agent", "add", "bot"]).ok()["token"].as_str().unwrap().to_owned();
    assert_ne!(again, token);
    with_token(device, &again, &put("h")).ok();

    // Whoever was turned away is counted, under the name that was claimed.
    let status = device.run(&["status"]).ok();
    let found = |place: &str| {
        let rows = status["findings"].as_array().unwrap().iter();
        let row = rows.clone().find(|row| row["kind"] == "local_refusal" && row["place"] == place);
        row.map(|row| row["count"].clone())
    };
    assert_eq!(found("actor agent:bot"), Some(json!(4)), "{status}");
    assert_eq!(found("agent tokens"), Some(json!(1)), "{status}");
}

#[test]
fn a_bound_name_is_its_tokens_alone_with_a_daemon_and_without() {
    let down = Device::new();
    down.run(&["init"]).ok();
    a_bound_name_is_its_tokens(&down);
    let up = Device::new();
    let daemon = up.up();
    a_bound_name_is_its_tokens(&up);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn the_socket_asks_for_the_token_too() {
    let ada = Device::new();
    let daemon = ada.up();
    let token = ada.run(&["agent", "add", "bot"]).ok()["token"].clone();
    let stream = UnixStream::connect(daemon.ready["socket"].as_str().unwrap()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |call: Value| {
        writeln!(&stream, "{call}").unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let put = |id: &str| json!({ "put": { "collection": "notes", "object": id, "value": {} } });
    let refused = ask(json!({ "actor": "agent:bot", "request": put("a") }));
    assert_eq!(refused["error"]["code"], "actor_refused");
    assert_eq!(ask(json!({ "token": token, "request": put("b") }))["ok"]["object"], "b");
    assert_eq!(ask(json!({ "request": put("c") }))["error"]["code"], "usage");
    assert_eq!(ask(json!({ "actor": "user:ada", "request": put("c") }))["ok"]["object"], "c");
    assert_eq!(author(&ada, "b"), "agent:bot");
    drop(reader);
    assert_eq!(daemon.stop(), 0);
}
