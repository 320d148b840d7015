//! What targets decode against: fixed keys, a manifest, a document.

use automerge::Automerge;
use serde_json::json;
use std::sync::LazyLock;
use syncd_engine::Identity;
use syncd_engine::document::{self, EncodedChange};
use syncd_schema::cbor::{self, CborError};
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Epoch, LogId, WorkspaceId};
use zeroize::Zeroizing;

/// The identity whose 64 secret bytes are all the same.
#[must_use]
pub fn identity(byte: u8) -> Identity {
    Identity::from_secret(&Zeroizing::new([byte; 64]))
}

/// The log that the vectors of the format are of.
#[must_use]
pub fn log() -> LogId {
    LogId { workspace: WorkspaceId([0x11; 16]), device: identity(1).device(), epoch: Epoch(2) }
}

/// The manifest of [`DOCUMENT`].
#[must_use]
pub fn manifest() -> Manifest {
    let fields = [("/t", FieldRule::Text), ("/c", FieldRule::Counter)];
    let fields = fields.iter().map(|(path, rule)| ((*path).to_owned(), *rule)).collect();
    Manifest { fields, ..Manifest::free_form("docs".parse().expect("a name")) }
}

/// A small document of every shape, with two changes, and these changes.
pub static DOCUMENT: LazyLock<(Automerge, [EncodedChange; 2])> = LazyLock::new(|| {
    let value = json!({"t": "one\ntwo\n", "c": 0, "l": [1, {"x": 1}], "m": {"k": "v"}, "s": "string"});
    let (id, collection) = ("o1".parse().expect("an id"), "docs".parse().expect("a name"));
    let birth = document::birth(&id, &collection, &value, &manifest()).expect("a birth");
    let mut doc = birth.doc;
    let patch = serde_json::from_value(json!({"merge_patch": {"s": "other", "t": "one\nthree\n", "c": 4}}));
    let change = document::apply(&mut doc, &patch.expect("an edit"), [8; 16], 1_700_000_000, &manifest());
    (doc, [birth.change, change.expect("an edit").expect("a change")])
});

/// Checks that what decodes encodes to the same bytes.
///
/// # Panics
/// When it does not.
pub fn canonical<T>(decoded: Result<T, CborError>, data: &[u8]) -> Option<T>
where
    T: minicbor::Encode<()>,
{
    let value = decoded.ok()?;
    assert_eq!(cbor::encode(&value), data, "it encodes to other bytes");
    Some(value)
}
