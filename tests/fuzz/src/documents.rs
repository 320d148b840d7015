//! Changes as members send them, and values, edits and texts as callers give them.

use crate::fixed::{DOCUMENT, manifest};
use automerge::Automerge;
use serde_json::{Value, json};
use syncd_engine::conflict::{Room, Settlement, said_alone};
use syncd_engine::document::{self, EncodedChange, pointer};
use syncd_engine::guard::{self, Incoming};
use syncd_engine::{Edit, document::EditError};
use syncd_schema::{Digest, domain, limits};

/// A JSON value as `put` takes it: the document that is born says the same, and others let its birth in.
pub fn value(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let (id, collection) = ("o1".parse().expect("an id"), "docs".parse().expect("a name"));
    let Ok(birth) = document::birth(&id, &collection, &value, &manifest()) else { return };
    assert!(birth.change.bytes.len() <= limits::CHANGE_BYTES);
    assert_eq!(document::read(&birth.doc), value);
    let admitted = admitted(None, &birth.change);
    assert_eq!(document::read(&admitted), value, "it reads otherwise elsewhere");
}

/// An edit as `patch` and the socket take it: it is made whole or not at all, and others let it in.
pub fn edit(data: &[u8]) {
    let Ok(edit) = serde_json::from_slice::<Edit>(data) else { return };
    assert!(edit.paths().is_sorted());
    let before = &DOCUMENT.0;
    let mut doc = before.clone();
    match document::apply(&mut doc, &edit, [7; 16], 0, &manifest()) {
        Ok(Some(change)) => {
            assert!(change.bytes.len() <= limits::CHANGE_BYTES);
            let admitted = admitted(Some(before), &change);
            assert_eq!(document::read(&admitted), document::read(&doc), "it reads otherwise elsewhere");
        }
        Ok(None) | Err(_) => {
            assert_eq!(document::heads(&doc), document::heads(before));
            assert_eq!(document::read(&doc), document::read(before), "something of a failed edit is left");
        }
    }
}

/// A document with a change that was made here, as another device has it.
fn admitted(before: Option<&Automerge>, change: &EncodedChange) -> Automerge {
    let admission = guard::admit(before, &[Incoming { bytes: &change.bytes, expected: change.hash }]);
    assert!(admission.is_complete(), "an honest change is refused: {:?}", admission.outcomes);
    let doc = admission.doc.expect("a document");
    document::compact(&doc).expect("it can be saved and loaded");
    *doc
}

/// A JSON Pointer.
pub fn pointer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match pointer::parse(text) {
        Ok(steps) => {
            assert!(text.len() <= limits::PATH_BYTES);
            assert_eq!(pointer::join(&steps), text);
            drop(document::read_at(&DOCUMENT.0, text));
        }
        Err(EditError::PathTooLong { found, .. }) => assert!(found > limits::PATH_BYTES),
        Err(_) => assert!(document::read_at(&DOCUMENT.0, text).is_err()),
    }
}

/// Two texts, with a byte 255 between them, as an import sees a file that has changed.
pub fn text(data: &[u8]) {
    let mut texts = data.splitn(2, |byte| *byte == 0xff).map(String::from_utf8_lossy);
    let (old, new) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
    let (id, collection) = ("o1".parse().expect("an id"), "docs".parse().expect("a name"));
    let start = document::text_start(&old);
    let born = document::birth(&id, &collection, &json!({ "t": start }), &manifest()).expect("a birth");
    let mut doc = born.doc;
    let rest = document::text_steps("/t", start, &old);
    for edit in rest.iter().chain(&document::text_steps("/t", &old, &new)) {
        document::apply(&mut doc, edit, [7; 16], 0, &manifest()).expect("a step of an import");
    }
    assert_eq!(document::read(&doc), json!({ "t": new }));
}

/// What a resolution says of itself.
pub fn settlement(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(settlement) = Settlement::of_message(text) else { return };
    assert_eq!(settlement.to_string(), text);
}

/// The first look at a change: the bytes as they are, and as the body of one with a right checksum.
pub fn change(data: &[u8]) {
    look(data);
    look(&framed(data).bytes);
}

fn look(bytes: &[u8]) {
    if let Ok(scanned) = guard::scan(bytes) {
        assert!(bytes.len() <= limits::CHANGE_BYTES && scanned.ops <= limits::CHANGE_OPS);
        assert!(scanned.deps.len() <= limits::CHANGE_DEPS && scanned.deps.is_sorted());
        assert_eq!(scanned.hash, domain::sha256(&bytes[8..]));
    }
    // The door says what is wrong with bytes that are no change.
    assert!(guard::only_adds(bytes) || guard::scan(bytes).is_ok());
    drop(said_alone(bytes, &mut Room::default()));
}

/// The bytes as the body of a change to a small document, with a right checksum. Whatever is let in leaves a document that
/// can be edited, saved and loaded, and that is the same elsewhere.
pub fn guard(data: &[u8]) {
    let change = framed(data);
    if let Some(first) = guard::admit(None, &[incoming(&change)]).doc {
        document::compact(&first).expect("it can be saved and loaded");
    }
    let before = &DOCUMENT.0;
    let Some(mut doc) = guard::admit(Some(before), &[incoming(&change)]).doc else { return };
    let edit = Edit::MergePatch(json!({ "after": "it", "l": [2], "t": "two\n" }));
    let honest = document::apply(&mut doc, &edit, [7; 16], 0, &manifest());
    let honest = honest.expect("an honest edit").expect("a change");
    document::compact(&doc).expect("it can be saved and loaded");
    let elsewhere = guard::admit(Some(before), &[incoming(&honest), incoming(&change)]);
    assert!(elsewhere.is_complete(), "{:?}", elsewhere.outcomes);
    let elsewhere = elsewhere.doc.expect("a document");
    assert_eq!(document::heads(&elsewhere), document::heads(&doc));
    assert_eq!(document::read(&elsewhere), document::read(&doc), "it reads otherwise elsewhere");
}

fn incoming(change: &EncodedChange) -> Incoming<'_> {
    Incoming { bytes: &change.bytes, expected: change.hash }
}

/// A change with exactly these bytes after the header, and the checksum to go with them.
#[must_use]
pub fn framed(body: &[u8]) -> EncodedChange {
    let mut bytes = vec![0x85, 0x6f, 0x4a, 0x83, 0, 0, 0, 0, 1];
    let mut length = body.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(body);
    let hash = domain::sha256(&bytes[8..]);
    bytes[4..8].copy_from_slice(&hash.0[..4]);
    EncodedChange { hash: Digest(hash.0), bytes }
}

/// What [`framed`] makes a change of.
#[must_use]
pub fn body(change: &EncodedChange) -> Vec<u8> {
    let length = change.bytes[9..].iter().take_while(|byte| **byte > 0x7f).count() + 1;
    change.bytes[9 + length..].to_vec()
}
