//! The rows of `rebirths`: lives of objects that began anew, and what they dropped.

use super::rows::LogKind;
use minicbor::{Decode, Encode};
use std::collections::BTreeMap;
use syncd_schema::{Actor, DeviceId, Digest, Incarnation, LogSeq, OperationId, UnixMicros, cbor, domain};

/// One row of `rebirths`: what is known of one life that began anew. Several operations may have done so apart; what any of
/// them drops is dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RebirthRow {
    /// The operations, by id.
    #[n(0)]
    pub by: Vec<RebornRow>,
    /// For each log the first entry that is not dropped.
    #[n(1)]
    pub upto: BTreeMap<LogKind, LogSeq>,
}

/// One operation by which a life began anew.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct RebornRow {
    /// The operation.
    #[n(0)]
    pub operation: OperationId,
    /// Who.
    #[n(1)]
    pub actor: Actor,
    /// On which device.
    #[n(2)]
    pub device: DeviceId,
    /// When, by that device's clock.
    #[n(3)]
    pub at: UnixMicros,
    /// Why, in the author's words.
    #[n(4)]
    pub because: Option<String>,
    /// The life in its place.
    #[n(5)]
    pub new: Option<Incarnation>,
}

impl RebirthRow {
    /// Whether an entry about this life is dropped, by where it stands. An equal birth is dropped wherever it does.
    #[must_use]
    pub fn drops(&self, log: &LogKind, seq: LogSeq, is_birth: bool) -> bool {
        // The two histories of a forked log have their places in common.
        let log = match log {
            LogKind::Branch(log) => LogKind::Device(*log),
            log => *log,
        };
        is_birth || self.upto.get(&log).is_some_and(|upto| seq < *upto)
    }

    /// Adds an operation and what it drops.
    pub fn add(&mut self, by: RebornRow, upto: impl IntoIterator<Item = (LogKind, LogSeq)>) {
        for (log, seq) in upto {
            let known = self.upto.entry(log).or_default();
            *known = seq.max(*known);
        }
        if let Err(place) = self.by.binary_search_by_key(&by.operation, |known| known.operation) {
            self.by.insert(place, by);
        }
    }

    /// The lives in its place.
    pub fn lives(&self) -> impl Iterator<Item = Incarnation> {
        self.by.iter().filter_map(|by| by.new)
    }

    /// Names what is dropped: the same on every device that knows of the same operations.
    #[must_use]
    pub fn extent(&self) -> Digest {
        domain::sha256(&cbor::encode(&self.upto))
    }
}
