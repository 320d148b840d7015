//! Domain separation: no signature, hash or key of one purpose is ever valid for another.
//!
//! Checkpoint origins name the log they are about; every other signed or hashed string starts with
//! `sourceos-syncd/1/<purpose>/<workspace>`.

use crate::ids::{DeviceId, Digest, LogId, WorkspaceId};
use sha2::{Digest as _, Sha256};

/// The prefix of everything this product signs or hashes.
pub const PREFIX: &str = "sourceos-syncd/1";

/// The checkpoint origin (C2SP tlog-checkpoint, first line) of a device log.
#[must_use]
pub fn log_origin(log: &LogId) -> String {
    format!("{PREFIX}/log/{}/{}/{}", log.workspace, log.device, log.epoch)
}

/// The checkpoint origin of the log that never leaves its device.
#[must_use]
pub fn local_origin(workspace: &WorkspaceId, device: &DeviceId, store: &Digest) -> String {
    format!("{PREFIX}/local/{workspace}/{device}/{store}")
}

/// The checkpoint origin of a device's evidence ledger.
#[must_use]
pub fn ledger_origin(workspace: &WorkspaceId, device: &DeviceId, store: &Digest) -> String {
    format!("{PREFIX}/ledger/{workspace}/{device}/{store}")
}

/// The label that opens every other signed or hashed string.
#[must_use]
pub fn label(purpose: &str, workspace: &WorkspaceId) -> String {
    format!("{PREFIX}/{purpose}/{workspace}")
}

/// SHA-256 over a label and length-prefixed parts, so that no two lists of parts give the same input.
#[must_use]
pub fn hash(purpose: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(b"/");
    hasher.update(purpose.as_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Digest(hasher.finalize().into())
}

/// SHA-256 of plain bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
