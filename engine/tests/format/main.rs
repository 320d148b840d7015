//! The byte formats of `docs/format.md`, held fast by vectors in `tests/fixtures/format/`.
//!
//! Every vector is written from inputs that stand here, and kept as a file. The test writes it again and compares,
//! decodes the file and encodes that again, and derives the facts beside it once more: a changed writer, a changed
//! reader and a changed derivation each fail. Vectors that zstd compressed are compared decompressed, since another
//! version of it may write other bytes. After a deliberate change of a format: raise its version, keep the old files
//! under their old names with a test that reads them, and write new ones with `SYNCD_WRITE_VECTORS=1`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod documents;
mod entries;
mod evidence;
mod inputs;
mod limits;
mod messages;
mod rows;
mod runs;
mod store;
mod vectors;
