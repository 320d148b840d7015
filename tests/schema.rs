//! Collections and their manifests on the command line, with the daemon running and not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::{Device, both_ways};
use serde_json::{Value, json};
use syncd_engine::{Intent, WriteRequest};
use syncd_schema::EntryKind;

fn manifest(device: &Device, manifest: &Value) -> String {
    device.file("manifest.json", manifest.to_string()).to_str().unwrap().to_owned()
}

#[test]
fn a_collection_is_described_shown_and_listed() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", r#"{"free":"form"}"#]).ok();
        assert_eq!(ada.run(&["schema", "show", "notes"]).ok()["mergeStrategy"], "crdt");
        let docs = json!({
            "collection": "docs", "policyClass": "high", "fields": {"/top": "max"},
            "schema": {"required": ["title"], "properties": {"title": {"type": "string"}}},
            "invariants": [{"name": "budget", "cedar": "context.value.spent <= context.value.budget"}],
        });
        let file = manifest(ada, &docs);
        let set = ada.run(&["schema", "set", &file, "--idempotency-key", "k1"]).ok();
        assert_eq!((&set["collection"], &set["status"]), (&json!("docs"), &json!("completed")));
        let again = ada.run(&["schema", "set", &file, "--idempotency-key", "k1"]).ok();
        assert_eq!((&again["operation"], &again["repeated"]), (&set["operation"], &json!(true)));
        let shown = ada.run(&["schema", "show", "docs"]).ok();
        for key in ["policyClass", "schema", "invariants", "fields"] {
            assert_eq!(shown[key], docs[key], "{key}");
        }
        let rows = ada.run(&["schema", "list"]).ok();
        let row = |name: &str| rows.as_array().unwrap().iter().find(|row| row["collection"] == name).unwrap();
        assert_eq!((&row("docs")["onConflict"], &row("docs")["declared"]), (&json!("hold"), &json!(true)));
        assert_eq!((&row("notes")["objects"], &row("notes")["declared"]), (&json!(1), &json!(false)));
        assert_eq!(row("vault")["mergeStrategy"], "never_merge");
        for args in [&["schema", "list"][..], &["schema", "show", "docs"]] {
            let ran = ada.plain(args);
            assert!(ran.code == 0 && ran.out.contains("docs") && ran.out.contains("high"), "{ran:?}");
        }
        assert!(ada.plain(&["schema", "set", &file]).out.starts_with("docs  completed\noperation "));
    });
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_rule_place_and_reason() {
    both_ways(|ada| {
        let file = manifest(
            ada,
            &json!({
                "collection": "docs", "schema": {"properties": {"n": {"type": "integer"}}},
                "invariants": [{"name": "few", "cedar": "context.value.n < 10"}],
            }),
        );
        ada.run(&["schema", "set", &file]).ok();
        ada.run(&["put", "docs", "--id", "d1", r#"{"n":1}"#]).ok();
        let error = ada.run(&["put", "docs", r#"{"n":"x"}"#]).fails(1, "invalid_value");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("schema, at /n: \"x\" is not of type"), "{message}");
        let error = ada.run(&["edit", "d1", "--merge-patch", r#"{"n":10}"#]).fails(1, "invalid_value");
        assert!(error["message"].as_str().unwrap().contains("invariant \"few\""), "{error}");
        assert_eq!(ada.run(&["get", "d1"]).ok()["value"], json!({"n": 1}));
    });
}

#[test]
fn a_manifest_that_cannot_be_set_says_why() {
    both_ways(|ada| {
        ada.run(&["put", "notes", "--id", "n1", "{}"]).ok();
        for (members, exit, code) in [
            (json!({"collection": "notes", "mergeStrategy": "never_merge"}), 1, "invalid_manifest"),
            (json!({"collection": "notes", "mergeStrategy": "guess"}), 1, "invalid_manifest"),
            (json!({"collection": "notes", "fields": {"title": "max"}}), 1, "invalid_manifest"),
            (
                json!({"collection": "notes", "schema": {"$ref": "https://example.org/x"}}),
                1,
                "invalid_manifest",
            ),
            (json!({"mergeStrategy": "crdt"}), 1, "invalid_manifest"),
            (json!([1]), 1, "invalid_manifest"),
        ] {
            let file = manifest(ada, &members);
            ada.run(&["schema", "set", &file]).fails(exit, code);
        }
        let file = ada.file("broken.json", "{").to_str().unwrap().to_owned();
        ada.run(&["schema", "set", &file]).fails(2, "usage");
        ada.run(&["schema", "set", "missing.json"]).fails(1, "file");
        ada.run(&["schema", "show", "no tes"]).fails(2, "usage");
        let file = manifest(ada, &json!({"collection": "log", "mergeStrategy": "append_only"}));
        ada.run(&["--actor", "agent:x", "schema", "set", &file]).fails(3, "refused");
        ada.run(&["schema", "set", &file]).ok();
        ada.run(&["put", "log", "--id", "l1", r#"{"a":1}"#]).ok();
        ada.run(&["edit", "l1", "--merge-patch", r#"{"a":2}"#]).fails(3, "refused");
        ada.run(&["delete", "l1"]).fails(3, "refused");
    });
}

#[test]
fn a_word_without_effect_is_refused_with_the_one_that_is_meant() {
    both_ways(|ada| {
        let cedar = |text: &str| json!([{"name": "b", "cedar": text}]);
        for (members, says) in [
            (
                json!({"class": "critical"}),
                r#"has "class", which means nothing here; did you mean "policyClass"?"#,
            ),
            (json!({"invariant": cedar("true")}), r#"did you mean "invariants"?"#),
            (
                json!({"schema": {"requierd": ["title"]}}),
                r#"/schema has "requierd", which means nothing here; did"#,
            ),
            (
                json!({"invariants": cedar("context.vlaue.a < 2")}),
                "invariant \"b\" looks at context.vlaue.a: a",
            ),
            (
                json!({"invariants": cedar("principal == User::\"ada\"")}),
                "looks at principal: a condition sees",
            ),
        ] {
            let mut whole = json!({"collection": "x"});
            whole.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            let error = ada.run(&["schema", "set", &manifest(ada, &whole)]).fails(1, "invalid_manifest");
            assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        }
        assert_eq!(ada.run(&["schema", "show", "x"]).ok()["policyClass"], "medium");
        ada.run(&["put", "x", r#"{"a":9}"#]).ok();

        let schema = json!({"properties": {"spent": {"type": "integer"}}});
        let whole =
            json!({"collection": "x", "schema": schema, "invariants": cedar("!(context.value has spend)")});
        let set = ada.run(&["schema", "set", &manifest(ada, &whole)]).ok();
        let warning = set["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains(r#"looks at context.value.spend: the schema names no "spend"; did"#),
            "{warning}"
        );
    });
}

#[test]
fn it_is_said_how_many_objects_do_not_fit() {
    both_ways(|ada| {
        for n in 0..11 {
            ada.run(&["put", "notes", "--id", &format!("n{n}"), &format!(r#"{{"n":{n}}}"#)]).ok();
        }
        let needs =
            |least: u32| json!({"collection": "notes", "schema": {"properties": {"n": {"minimum": least}}}});
        let set = ada.run(&["schema", "set", &manifest(ada, &needs(0))]).ok();
        assert_eq!((&set["misfits"], &set["warnings"]), (&json!(0), &json!([])));
        let said = ada.plain(&["schema", "set", &manifest(ada, &needs(1))]).out;
        assert!(
            said.ends_with("warning: 1 object does not fit; it has a card: `cards` lists it\n"),
            "{said}"
        );
        assert_eq!(ada.run(&["schema", "set", &manifest(ada, &needs(9))]).ok()["misfits"], 9);
        assert_eq!(ada.run(&["cards"]).ok().as_array().unwrap().len(), 9);
    });
}

#[test]
fn what_another_version_wrote_is_shown_as_what_has_no_effect() {
    let ada = Device::new();
    let workspace = ada.run(&["init"]).ok()["workspace"].as_str().unwrap().parse().unwrap();
    let manifest = br#"{"collection":"x","policyClass":"high","class":"critical"}"#.to_vec();
    let root = sourceos_syncd::root::Root::locate(Some(ada.root())).unwrap();
    let mut engine = root.open(&workspace).unwrap();
    let intent = Intent::Govern(EntryKind::MANIFEST, manifest);
    let request = WriteRequest::new("user:ada".parse().unwrap(), intent);
    let (answers, _) = engine.write(&[request], sourceos_syncd::os::now()).unwrap();
    assert!(answers[0].is_ok(), "{answers:?}");
    engine.close().unwrap();
    let shown = ada.run(&["schema", "show", "x"]).ok();
    assert_eq!((&shown["policyClass"], &shown["class"]), (&json!("high"), &Value::Null));
    assert_eq!(shown["notUnderstood"], json!({"class": "critical"}));
    assert!(ada.plain(&["schema", "show", "x"]).out.contains("has no effect here"));
}
