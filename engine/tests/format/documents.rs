//! Births, edits and the Automerge actors that follow from them.

use crate::inputs::*;
use crate::vectors::*;
use automerge::Change;
use serde_json::json;
use syncd_schema::domain;

fn change_facts(change: &[u8]) -> Facts {
    let change = Change::try_from(change).expect("a change");
    facts([
        ("hash", bytes(change.hash().0)),
        ("actor", bytes(change.actor_id().to_bytes())),
        ("seq", json!(change.seq())),
        ("time", json!(change.timestamp())),
        ("deps", change.deps().iter().map(|dep| bytes(dep.0)).collect()),
    ])
}

#[test]
fn births_edits_and_their_actors() {
    let object = object();
    let mut file = File::open(
        "changes.json",
        "Automerge changes of object n1 in collection notes: its birth from a value, and an edit by a session's \
         actor. The birth's bytes are a pure function of object, collection and value.",
    );
    for (vector, change) in [("birth", &object.birth), ("edit", &object.edit)] {
        let hash = change.hash;
        file.exact(vector, &change.bytes, |kept| {
            assert_eq!(Change::try_from(kept).expect("a change").hash().0, hash.0);
            (Change::try_from(kept).expect("a change").raw_bytes().to_vec(), change_facts(kept))
        });
    }
    let content = br#"{"body":"hello","half":0.5,"n":3,"title":"first"}"#;
    let rules = [&5_u64.to_be_bytes()[..], b"/body", b"t", &2_u64.to_be_bytes()[..], b"/n", b"c"].concat();
    let birth_actor = domain::hash("birth", &[b"n1", b"notes", content, &rules]);
    let made = Change::try_from(object.birth.bytes.as_slice()).expect("a change");
    assert_eq!(made.actor_id().to_bytes(), &birth_actor.0[..16], "docs/format.md derives another actor");
    file.derived(
        "birth actor",
        facts([
            ("object", text("n1")),
            ("collection", text("notes")),
            ("content", text(String::from_utf8_lossy(content))),
            ("rules", bytes(&rules)),
            ("actor", bytes(&birth_actor.0[..16])),
        ]),
    );
    file.derived(
        "session actor",
        facts([
            ("log", text(domain::log_origin(&log()))),
            ("session", bytes(SESSION)),
            ("actor", bytes(object.change_actor)),
        ]),
    );
    file.done();
}
