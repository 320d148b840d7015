//! The recorded life of operations and objects, in the words of the core contract.

use serde::{Deserialize, Serialize};

/// The 13 states of an operation (core contract, `transition-tables.json`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Accepted, not begun.
    Queued,
    /// Its preconditions are being checked.
    Preflighting,
    /// Waits for a person or an agent.
    AwaitingDecision,
    /// Cannot go on by itself.
    Blocked,
    /// Under way.
    Running,
    /// Stopped on purpose, may go on.
    Paused,
    /// Being tried again.
    Retrying,
    /// Being canceled.
    Canceling,
    /// Refused or broken.
    Failed,
    /// Done.
    Completed,
    /// Done, with something to know.
    CompletedWithWarnings,
    /// Stopped for good.
    Canceled,
    /// Undone by another operation.
    Compensated,
}

/// The eight operation types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OperationType {
    /// A local write.
    #[serde(rename = "sync.operation.enqueue")]
    Enqueue,
    /// Entries of another device applied here.
    #[serde(rename = "sync.operation.replay")]
    Replay,
    /// Provisional ids become final ones.
    #[serde(rename = "sync.operation.reconcile")]
    Reconcile,
    /// A conflict was found.
    #[serde(rename = "sync.conflict.detect")]
    Detect,
    /// A conflict was settled.
    #[serde(rename = "sync.conflict.resolve")]
    Resolve,
    /// A repair was made.
    #[serde(rename = "sync.repair.apply")]
    Repair,
    /// An object was deleted.
    #[serde(rename = "sync.tombstone.apply")]
    Tombstone,
    /// A checkpoint was written.
    #[serde(rename = "sync.checkpoint.write")]
    Checkpoint,
}

impl OperationType {
    /// The word of the contract, also the name of the policy action.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enqueue => "sync.operation.enqueue",
            Self::Replay => "sync.operation.replay",
            Self::Reconcile => "sync.operation.reconcile",
            Self::Detect => "sync.conflict.detect",
            Self::Resolve => "sync.conflict.resolve",
            Self::Repair => "sync.repair.apply",
            Self::Tombstone => "sync.tombstone.apply",
            Self::Checkpoint => "sync.checkpoint.write",
        }
    }
}

/// What `get` says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// Nothing waits for anybody.
    Clean,
    /// Competing changes, all kept, one shown.
    Conflicted,
    /// A change waits for a decision and is not shown.
    Held,
    /// Its collection or schema is unknown here.
    Quarantined,
    /// Entries of it wait for something that has not arrived, or were refused.
    Blocked,
    /// Deleted.
    Tombstoned,
}

/// What became of an entry on one device.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum EntryState {
    /// Handed to the network.
    #[n(0)]
    Sent,
    /// On the peer's disk, not judged yet.
    #[n(1)]
    Persisted,
    /// Part of the peer's canonical state.
    #[n(2)]
    Admitted,
    /// Waits for a decision or for what it depends on.
    #[n(3)]
    Held,
    /// Refused, with a decision that says why.
    #[n(4)]
    Refused,
}
