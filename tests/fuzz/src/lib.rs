//! Every decoder of bytes from outside, each as a plain function of bytes that panics when something is wrong.
//!
//! A target does more than not to crash: what it decodes must encode to the same bytes where the format is canonical,
//! else decode again to an equal value; sizes must be within the limits; what the product writes from it must be let in by
//! the guard. [`TARGETS`] says for each how much memory an input may take. `tests/short.rs` runs all of them on the
//! committed seeds and on mutations of these, with every `cargo test`; `libfuzzer/` has the same targets for long runs.
//!
//! | module | bytes of whom |
//! |---|---|
//! | [`wire`] | peers and strangers: frames, messages, pairing, tickets |
//! | [`logs`] | members: segments, runs, entries, payloads, evidence |
//! | [`governance`] | members who govern: acts, manifests, policies |
//! | [`documents`] | members: changes; callers: values, edits, texts |
//! | [`sessions`] | a member in a session with an engine |
//! | [`local`] | this user: requests, files, names |
//!
//! [`mutate`] makes the inputs of the short run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a target says by a panic what is wrong"
)]

pub mod documents;
pub mod fixed;
pub mod governance;
pub mod local;
pub mod logs;
pub mod mutate;
pub mod sessions;
pub mod wire;

use syncd_schema::limits;

/// One decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the folder of its seeds and of its libFuzzer program.
    pub name: &'static str,
    /// Decodes, and panics when something is wrong.
    pub run: fn(&[u8]),
    /// Memory that an input may take at once, in bytes: for each of its bytes,
    pub each: usize,
    /// and whatever its length.
    pub base: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), each: usize, base: usize) -> Target {
    Target { name, run, each, base }
}

/// What CBOR takes in memory: a list without a length inside of others is remembered with 16 bytes while it is skipped, in
/// a vector that doubles.
const CBOR: usize = 64;
/// What JSON takes in memory: an object with one short member is a tree node of 640 bytes.
const JSON: usize = 256;
/// An entry of ten bytes may stand for one with all the governance heads there may be, which the run names once.
const RUN: usize = 1 << 10;
/// A compressed run is opened into memory of the size it announces, and has all that entries may have.
const PACKED: usize =
    limits::SEGMENT_OPEN_BYTES + limits::SEGMENT_ENTRIES * (limits::REFERENCES * 32 + 1_024);
/// Copies of a small document, and what Automerge keeps beside it.
const DOCUMENT: usize = 1 << 20;
/// The policy schema and Cedar's own structures.
const CEDAR: usize = 2 << 20;

/// All of them.
pub const TARGETS: &[Target] = &[
    target("ticket", wire::ticket, 64, 16 << 10),
    target("pairing_code", wire::pairing_code, 16, 4 << 10),
    target("pairing", wire::pairing, CBOR, 4 << 10),
    target("welcome", wire::welcome, CBOR, 4 << 10),
    target("frames", wire::frames, CBOR, 4 << 10),
    target("control", wire::control, CBOR, 4 << 10),
    target("hello", wire::hello, CBOR, 4 << 10),
    target("log_name", wire::log_name, CBOR, 4 << 10),
    target("segment", wire::segment, CBOR, 4 << 10),
    target("run", logs::run, RUN, 16 << 10),
    target("packed", logs::packed, 64, 2 * PACKED),
    target("entry", logs::entry, CBOR, 4 << 10),
    target("payload", logs::payload, CBOR, 4 << 10),
    target("checkpoint", logs::checkpoint, CBOR, 8 << 10),
    target("note", logs::note, 64, 16 << 10),
    target("evidence", logs::evidence, CBOR, 16 << 10),
    target("ids", logs::ids, 64, 4 << 10),
    target("act", governance::act, JSON, 16 << 10),
    target("manifest", governance::manifest, 4 * JSON, 512 << 10),
    target("policy", governance::policy, 1 << 10, CEDAR),
    target("bundle", governance::bundle, 1 << 10, CEDAR),
    target("condition", governance::condition, 1 << 10, 256 << 10),
    target("value", documents::value, 4 * JSON, DOCUMENT),
    target("edit", documents::edit, 4 * JSON, DOCUMENT),
    target("pointer", documents::pointer, 128, 4 << 10),
    target("text", documents::text, 4 * JSON, DOCUMENT),
    target("settlement", documents::settlement, 64, 4 << 10),
    target("change", documents::change, 4 * JSON, 16 << 10),
    target("guard", documents::guard, 4 * JSON, DOCUMENT),
    target("session", sessions::session, 4 * JSON, 16 << 20),
    target("request", local::request, JSON, 16 << 10),
    target("names", local::names, JSON, 4 << 10),
];
