//! The words every other crate shares: ids, units, limits, log entries, governance payloads, session
//! messages, tickets and manifests, with their encoding.
//!
//! This crate knows no clock, no randomness, no file and no socket, and depends on none of the others.
//! Start with [`entry`], the thing everything else is about, then [`governance`] and [`message`].

pub mod burst;
pub mod cbor;
pub mod domain;
pub mod entry;
pub mod governance;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod message;
pub mod operation;
pub mod ports;
pub mod ticket;
pub mod units;

pub use entry::{Entry, EntryKind};
pub use governance::{Genesis, Governance, Member, Role};
pub use ids::{
    Actor, ActorKind, Collection, DeviceId, Digest, Incarnation, LogId, ObjectId, OperationId, WorkspaceId,
};
pub use manifest::Manifest;
pub use operation::{ObjectState, OperationStatus, OperationType};
pub use ports::Entropy;
pub use units::{Epoch, LogSeq, UnixMicros};
