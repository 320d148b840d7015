//! What was decided, in logs that a stranger can check: Merkle trees over log entries and ledger records, the
//! checkpoints a device signs over them, the ledger's records, and the findings a person must hear of.
//!
//! Everything here is a pure function of its arguments. This crate knows no clock, no random source, no file
//! and no socket: times and seeds are handed in, and where a log is stored is `syncd-engine`'s business. It does
//! not know either why something was decided, only how that is written down so that it cannot be changed unseen.
//!
//! Start with [`merkle::Tree`], the right edge of a log; then [`checkpoint`], which signs its root; then
//! [`record`], what the evidence ledger is made of.
//!
//! Assumptions, and the damage when they break: SHA-256 is collision resistant (else history can be swapped under
//! a valid root); a device's seed is on that device only (else whoever has it can sign another history, which
//! peers see as a fork); what a record *says* is vouched for by its device alone — the tree proves that it was
//! said, in this order, and not changed since.

pub mod checkpoint;
pub mod finding;
pub mod keys;
pub mod merkle;
pub mod record;

mod text;

pub use checkpoint::{Checkpoint, CheckpointError, ReadNoteError, VerifiedCheckpoint};
pub use finding::{Finding, FindingKind, Severity};
pub use keys::{DeviceKey, SignatureError};
pub use merkle::{BuildProofError, Tree, VerifyProofError};
pub use record::{Coverage, CoveredLog, Outcome, Record, RecordKind};
