//! Entries that are stored and not admitted: why, and what each waits for.

use minicbor::{Decode, Encode};
use syncd_schema::operation::EntryState;
use syncd_schema::{Collection, Digest, Incarnation, ObjectId, OperationId, UnixMicros};

/// One row of `pending`: an entry that is stored and not admitted.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct PendingRow {
    /// Held or refused.
    #[n(0)]
    pub state: EntryState,
    /// Why, and what would end it.
    #[n(1)]
    pub reason: String,
    /// The object it is about.
    #[n(2)]
    pub object: Option<(ObjectId, Collection, Incarnation)>,
    /// What it waits for: change hashes or governance heads.
    #[n(3)]
    pub missing: Vec<Digest>,
    /// Operations it waits for.
    #[n(4)]
    pub requires: Vec<OperationId>,
    /// The decision, when one was made.
    #[n(5)]
    pub decision: Option<Digest>,
    /// Since when.
    #[n(6)]
    pub since: UnixMicros,
    /// The actor of the session in force where the entry stands in its log.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub session: Option<[u8; 16]>,
    /// Its change, where it waits for somebody to let it in.
    #[n(8)]
    pub asks: Option<Digest>,
    /// Whether it is held because it contradicts what is here.
    #[n(9)]
    pub apart: bool,
    /// Whether its payload is not here.
    #[n(10)]
    pub withheld: bool,
    /// Whether it is work on a life that had begun anew.
    #[n(11)]
    pub late: bool,
    /// Whether it is a deletion behind many others.
    #[n(12)]
    pub in_burst: bool,
}

impl PendingRow {
    /// An entry that is held, with nothing that it waits for yet.
    #[must_use]
    pub const fn held(
        reason: String,
        object: Option<(ObjectId, Collection, Incarnation)>,
        since: UnixMicros,
    ) -> Self {
        Self {
            state: EntryState::Held,
            reason,
            object,
            missing: Vec::new(),
            requires: Vec::new(),
            decision: None,
            since,
            session: None,
            asks: None,
            apart: false,
            withheld: false,
            late: false,
            in_burst: false,
        }
    }

    /// Whether later changes of its session have to wait for it: what somebody is asked about is known, and counted,
    /// wherever it is looked at.
    #[must_use]
    pub const fn is_before_others(&self) -> bool {
        matches!(self.state, EntryState::Held) && self.asks.is_none() && !self.apart && !self.late
    }

    /// Whether it was declined with others, and not by a policy.
    #[must_use]
    pub const fn is_declined(&self) -> bool {
        self.in_burst && self.decision.is_none() && matches!(self.state, EntryState::Refused)
    }
}
