//! The guard: honest changes pass, hostile ones are refused, and whatever happens the document stays loadable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on stops"
)]

mod craft;
mod honest;
mod hostile;
mod rules;

use automerge::Automerge;
use serde_json::json;
use syncd_engine::document::{self, EncodedChange};
use syncd_engine::guard::Incoming;
use syncd_schema::manifest::{FieldRule, Manifest};

fn manifest() -> Manifest {
    let fields = [("/t", FieldRule::Text), ("/c", FieldRule::Counter)];
    let fields = fields.iter().map(|(path, rule)| ((*path).to_owned(), *rule)).collect();
    Manifest { fields, ..Manifest::free_form("docs".parse().unwrap()) }
}

fn born() -> (Automerge, EncodedChange) {
    let value = json!({"t": "one\ntwo\n", "c": 0, "l": [1, {"x": 1}], "m": {"k": "v"}, "s": "string"});
    let birth =
        document::birth(&"o1".parse().unwrap(), &"docs".parse().unwrap(), &value, &manifest()).unwrap();
    (birth.doc, birth.change)
}

fn incoming(change: &EncodedChange) -> Incoming<'_> {
    Incoming { bytes: &change.bytes, expected: change.hash }
}
