//! The tables of a store: key, value, order, and what a crash may leave behind.
//!
//! Every commit is one redb transaction over all tables, so a crash leaves the state after some commit and never
//! a part of one. Keys are bytes of our own, in the order in which they are read; values are sealed
//! ([`super::seal`]) except in `plain`. `docs/format.md` has the values in bytes.
//!
//! | table | key | value | read by |
//! |---|---|---|---|
//! | `plain` | name | unsealed: format version, workspace, device | open |
//! | `runs` | log number u32, first position u64 | a packed run and its checkpoint | segments, history, verify |
//! | `logs` | log number u32 | identity, tree edge, newest checkpoint | open |
//! | `objects` | object id, 0, collection, 0, incarnation | collection, heads, sizes, state | every read and write of an object |
//! | `docs` | document number u64, part u32 | part 0 a snapshot, others changes after it | loading a document |
//! | `names` | collection, 0, object id, 0, incarnation | nothing | `list` |
//! | `conflicts` | object id, 0, collection, 0, incarnation | what contradicts in it | judging its next change, `get` |
//! | `cards` | 0 open or 1 ended, card | what is asked, and how it ended | `cards` |
//! | `links` | 0, digest, object key · 1, digest of collection and id, object key · 2, object key | nothing · nothing · what an object shares with none and refers to | judging what holds between objects |
//! | `rebirths` | object id, 0, collection, 0, incarnation | what a life that began anew has dropped, and for what | open, judging what is about it |
//! | `bursts` | whose deletions, of which collection | what was answered about them | judging them, `cards` |
//! | `pending` | log number u32, position u64 | why an entry is not admitted | open, `explain` |
//! | `idempotency` | hash of actor and key | the operation | repeated calls |
//! | `decisions` | digest | a policy decision | `explain` |
//! | `findings` | id | a finding | `status` |
//! | `peers` | device, log number u32, first position u64 | what became of entries there | `op`, `status` |
//! | `tickets` | ticket name | an invitation | pairing |
//! | `governance` | number u64 | an admitted governance entry, parents first | open |
//! | `keys` | name | workspace keys, name of this store | open |
//!
//! All numbers in keys are big-endian, so that they sort as numbers.

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Unsealed facts needed before the store key is at hand.
    Plain,
    /// Packed runs of entries and of ledger records.
    Runs,
    /// One row per log.
    Logs,
    /// One row per object and incarnation.
    Objects,
    /// Documents as snapshot and tail.
    Docs,
    /// Objects by collection.
    Names,
    /// What contradicts in an object.
    Conflicts,
    /// What somebody is asked, or was.
    Cards,
    /// What objects share with none, and what they refer to.
    Links,
    /// Lives that began anew.
    Rebirths,
    /// Answers about deletions in a row.
    Bursts,
    /// Entries stored and not admitted.
    Pending,
    /// Operations by the caller's key.
    Idempotency,
    /// Decisions by digest.
    Decisions,
    /// Open findings.
    Findings,
    /// Outcomes at peers.
    Peers,
    /// Invitations.
    Tickets,
    /// Admitted governance entries, parents first.
    Governance,
    /// Keys.
    Keys,
}

impl Table {
    /// All tables, made when a store is.
    pub const ALL: [Self; 19] = [
        Self::Plain,
        Self::Runs,
        Self::Logs,
        Self::Objects,
        Self::Docs,
        Self::Names,
        Self::Conflicts,
        Self::Cards,
        Self::Links,
        Self::Rebirths,
        Self::Bursts,
        Self::Pending,
        Self::Idempotency,
        Self::Decisions,
        Self::Findings,
        Self::Peers,
        Self::Tickets,
        Self::Governance,
        Self::Keys,
    ];

    /// The table's name in the file, bound into the seal of each value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Runs => "runs",
            Self::Logs => "logs",
            Self::Objects => "objects",
            Self::Docs => "docs",
            Self::Names => "names",
            Self::Conflicts => "conflicts",
            Self::Cards => "cards",
            Self::Links => "links",
            Self::Rebirths => "rebirths",
            Self::Bursts => "bursts",
            Self::Pending => "pending",
            Self::Idempotency => "idempotency",
            Self::Decisions => "decisions",
            Self::Findings => "findings",
            Self::Peers => "peers",
            Self::Tickets => "tickets",
            Self::Governance => "governance",
            Self::Keys => "keys",
        }
    }

    pub(super) const fn definition(self) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
        redb::TableDefinition::new(self.name())
    }
}

/// The number a log has in this store: short, so that keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct LogNo(#[n(0)] pub u32);

/// Key builders, one per table whose key has parts.
pub mod key {
    use super::LogNo;
    use syncd_schema::{Collection, DeviceId, Digest, Incarnation, LogSeq, ObjectId};

    /// `logs`.
    #[must_use]
    pub fn log(log: LogNo) -> Vec<u8> {
        log.0.to_be_bytes().to_vec()
    }

    /// `runs` and `pending`.
    #[must_use]
    pub fn position(log: LogNo, seq: LogSeq) -> Vec<u8> {
        [log.0.to_be_bytes().as_slice(), &seq.0.to_be_bytes()].concat()
    }

    /// The position in a key of `runs` or `pending`.
    #[must_use]
    pub fn parse_position(key: &[u8]) -> Option<(LogNo, LogSeq)> {
        let (log, seq) = key.split_first_chunk::<4>()?;
        Some((LogNo(u32::from_be_bytes(*log)), LogSeq(u64::from_be_bytes(seq.try_into().ok()?))))
    }

    /// `objects`. Ids hold no control characters, so 0 ends them.
    #[must_use]
    pub fn object(object: &ObjectId, collection: &Collection, incarnation: &Incarnation) -> Vec<u8> {
        [object.as_str().as_bytes(), &[0], collection.as_str().as_bytes(), &[0], &incarnation.0].concat()
    }

    /// `links`: what an object has. An object key is that of `objects`.
    #[must_use]
    pub fn links((id, collection, life): &(ObjectId, Collection, Incarnation)) -> Vec<u8> {
        [&[2], object(id, collection, life).as_slice()].concat()
    }

    /// The common start of all objects with a unique value in `links`: 33 bytes.
    #[must_use]
    pub fn shared_prefix(digest: &Digest) -> Vec<u8> {
        [&[0], digest.0.as_slice()].concat()
    }

    /// The common start of all objects that refer to one in `links`: 33 bytes.
    #[must_use]
    pub fn target_prefix(collection: &Collection, object: &ObjectId) -> Vec<u8> {
        let parts = [collection.as_str().as_bytes(), object.as_str().as_bytes()];
        [&[1], syncd_schema::domain::hash("target", &parts).0.as_slice()].concat()
    }

    /// An object key taken apart.
    #[must_use]
    pub fn parse_object(key: &[u8]) -> Option<(ObjectId, Collection, Incarnation)> {
        let (names, life) = key.split_last_chunk::<32>()?;
        let text = std::str::from_utf8(names).ok()?;
        let (object, collection) = text.strip_suffix('\0')?.split_once('\0')?;
        Some((object.parse().ok()?, collection.parse().ok()?, Incarnation(*life)))
    }

    /// A key of `names` taken apart.
    #[must_use]
    pub fn parse_name(key: &[u8]) -> Option<(ObjectId, Collection, Incarnation)> {
        let (names, life) = key.split_last_chunk::<32>()?;
        let text = std::str::from_utf8(names).ok()?;
        let (collection, object) = text.strip_suffix('\0')?.split_once('\0')?;
        Some((object.parse().ok()?, collection.parse().ok()?, Incarnation(*life)))
    }

    /// `cards`: those that are open come first.
    #[must_use]
    pub fn card(card: &Digest, is_open: bool) -> Vec<u8> {
        [&[u8::from(!is_open)], card.0.as_slice()].concat()
    }

    /// The common start of all incarnations of an object in `objects`.
    #[must_use]
    pub fn object_prefix(object: &ObjectId) -> Vec<u8> {
        [object.as_str().as_bytes(), &[0]].concat()
    }

    /// `docs`.
    #[must_use]
    pub fn part(document: u64, part: u32) -> Vec<u8> {
        [document.to_be_bytes().as_slice(), &part.to_be_bytes()].concat()
    }

    /// `names`.
    #[must_use]
    pub fn name(collection: &Collection, object: &ObjectId, incarnation: &Incarnation) -> Vec<u8> {
        [collection.as_str().as_bytes(), &[0], object.as_str().as_bytes(), &[0], &incarnation.0].concat()
    }

    /// The common start of all objects of a collection in `names`.
    #[must_use]
    pub fn name_prefix(collection: &Collection) -> Vec<u8> {
        [collection.as_str().as_bytes(), &[0]].concat()
    }

    /// `peers`.
    #[must_use]
    pub fn peer(device: &DeviceId, log: LogNo, first: LogSeq) -> Vec<u8> {
        [device.0.as_slice(), &position(log, first)].concat()
    }
}
