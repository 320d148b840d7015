//! Unusually many deletions in a row, by one actor in one collection: the payloads of [`crate::EntryKind::BURST`].

use crate::cbor::{self, CborError};
use crate::ids::{Actor, Collection, DeviceId, Digest, LogId};
use crate::units::{Epoch, LogSeq};
use crate::{domain, limits};
use minicbor::{Decode, Encode};

/// What an entry says of a burst in the collection of its subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Burst {
    /// What its actor deletes after it in this log waits for an answer.
    #[n(0)]
    Begins,
    /// Whether deletions are to happen.
    #[n(1)]
    Answer(#[n(0)] Answer),
}

/// Which deletions are answered, and how.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Answer {
    /// The device whose log they are in.
    #[n(0)]
    pub device: DeviceId,
    /// Which of its logs.
    #[n(1)]
    pub epoch: Epoch,
    /// Who made them.
    #[n(2)]
    pub actor: Actor,
    /// The first place that is meant.
    #[n(3)]
    pub from: LogSeq,
    /// The last one.
    #[n(4)]
    pub through: LogSeq,
    /// Whether they happen; else they do not.
    #[n(5)]
    pub lets_in: bool,
}

impl Burst {
    /// Reads a payload.
    ///
    /// # Errors
    /// When the bytes are not the canonical encoding, or mean no place.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        let burst = cbor::decode("burst", bytes, limits::RECORD_BYTES)?;
        match &burst {
            Self::Answer(answer) if answer.through < answer.from => {
                Err(CborError::Invalid { what: "burst", rule: "an answer means at least one place" })
            }
            _ => Ok(burst),
        }
    }
}

/// The name of all deletions of an actor in a collection of a log.
#[must_use]
pub fn name(log: &LogId, actor: &Actor, collection: &Collection) -> Digest {
    let epoch = log.epoch.0.to_be_bytes();
    let (actor, collection) = (actor.to_string(), collection.as_str().as_bytes());
    let parts: [&[u8]; 5] =
        [log.workspace.as_bytes(), log.device.as_bytes(), &epoch, actor.as_bytes(), collection];
    domain::hash("burst", &parts)
}
