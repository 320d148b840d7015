//! The values of the store's tables, as deterministic CBOR.
//!
//! A change becomes part of a document only as an [`AdmittedChange`], which nobody can make without the gate's
//! redeemed grant: there is no other way to write the `docs` table.

pub use super::burst_rows::{AnswerRow, BurstRow, DeletionsRow};
pub use super::card_rows::{
    AboutRow, CardEnd, CardRow, ConflictRow, ConflictsRow, DecidedRow, LinksRow, OpRow, PlaceKey, SideRow,
    TargetRow, UseRow, UsesRow,
};
pub use super::pending_rows::PendingRow;
pub use super::rebirth_rows::{RebirthRow, RebornRow};
use super::tables::{LogNo, Table, key};
use super::{Batch, Store, StoreError};
use minicbor::{Decode, Encode};
use syncd_evidence::{Checkpoint, Tree};
use syncd_policy::Redeemed;
use syncd_schema::operation::EntryState;
use syncd_schema::{
    Collection, DeviceId, Digest, EntryKind, Epoch, Incarnation, LogId, LogSeq, ObjectId, OperationId, Role,
    UnixMicros, cbor, limits,
};
use zeroize::{Zeroize, Zeroizing};

/// What a log of this store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum LogKind {
    /// A replicated device log.
    #[n(0)]
    Device(#[n(0)] LogId),
    /// The log of what never leaves this device.
    #[n(1)]
    Local,
    /// This device's evidence.
    #[n(2)]
    Ledger,
    /// A second branch of a forked device log, kept readable.
    #[n(3)]
    Branch(#[n(0)] LogId),
}

/// One row of `logs`.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct LogRow {
    /// What the log is.
    #[n(0)]
    pub kind: LogKind,
    /// The right edge of its Merkle tree.
    #[n(1)]
    pub tree: Tree,
    /// The signed checkpoint over all of it.
    #[n(2)]
    pub checkpoint: Option<Checkpoint>,
    /// Id and hybrid time of its last entry.
    #[n(3)]
    pub last: Option<(OperationId, UnixMicros)>,
    /// The governance heads its last entry named.
    #[n(4)]
    pub governance: Vec<Digest>,
    /// The Automerge actor that its newest session entry allows.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub actor: Option<[u8; 16]>,
    /// Whether a second branch is known and nothing more is accepted.
    #[n(6)]
    pub frozen: bool,
    /// First entry of the oldest run that may still be folded into a larger one.
    #[n(7)]
    pub fold_from: LogSeq,
    /// How many runs there are from `fold_from` on.
    #[n(8)]
    pub loose: u32,
    /// Deletions among its last entries.
    #[n(9)]
    pub deletions: Vec<DeletionsRow>,
}

/// One row of `runs`.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct RunRow {
    /// How many entries.
    #[n(0)]
    pub count: u32,
    /// Size of the run decompressed.
    #[n(1)]
    pub open_len: u32,
    /// The signed checkpoint after its last entry.
    #[n(2)]
    pub checkpoint: Checkpoint,
    /// The packed run.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
}

/// One row of `objects`: all that is known of one life of an object without loading its document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ObjectRow {
    /// Its collection.
    #[n(0)]
    pub collection: Collection,
    /// Its id.
    #[n(1)]
    pub object: ObjectId,
    /// Which life.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Number of its document in `docs`.
    #[n(3)]
    pub document: u64,
    /// Its document's heads, sorted.
    #[n(4)]
    pub heads: Vec<Digest>,
    /// Bytes of the snapshot.
    #[n(5)]
    pub snapshot_bytes: u64,
    /// Number of the last tail part; 0 is the snapshot.
    #[n(6)]
    pub parts: u32,
    /// Bytes of the tail.
    #[n(7)]
    pub tail_bytes: u64,
    /// Changes in all.
    #[n(8)]
    pub changes: u64,
    /// Heads that tombstones cover; deleted when they cover all heads.
    #[n(9)]
    pub covered: Vec<Digest>,
    /// Time of its first entry.
    #[n(10)]
    pub created: UnixMicros,
    /// Time of the newest entry applied here.
    #[n(11)]
    pub changed: UnixMicros,
    /// Contradictions in its row of `conflicts`.
    #[n(12)]
    pub conflicts: u32,
    /// Its open cards, sorted.
    #[n(13)]
    pub cards: Vec<Digest>,
    /// Heads whose deletion somebody decided against.
    #[n(14)]
    pub overruled: Vec<Digest>,
    /// The life that stays instead of it, where it was ended by a choice between lives.
    #[n(15)]
    pub yields: Option<Incarnation>,
    /// Entries whose change was here already, from another log.
    #[n(16)]
    pub echoes: Vec<Source>,
    /// Whether it began anew, so that nothing of it is left: see its row of `rebirths`.
    #[n(17)]
    pub reborn: bool,
    /// The heads together with what is held because it contradicts, sorted; none while nothing is. What is held differs by
    /// device, and what is known does not.
    #[n(18)]
    pub known: Option<Vec<Digest>>,
}

impl ObjectRow {
    /// The heads of all that is known of it, what is held included.
    #[must_use]
    pub fn known_heads(&self) -> &[Digest] {
        self.known.as_deref().unwrap_or(&self.heads)
    }

    /// Whether tombstones cover all of its heads.
    #[must_use]
    pub fn is_tombstoned(&self) -> bool {
        self.is_ended_at(self.known_heads())
    }

    /// Whether tombstones cover these heads.
    #[must_use]
    pub fn is_ended_at(&self, heads: &[Digest]) -> bool {
        self.deleted().next().is_some()
            && heads.iter().all(|head| self.covered.contains(head) && !self.overruled.contains(head))
    }

    /// Whether it was deleted by somebody who had not seen an edit that survives.
    #[must_use]
    pub fn is_half_deleted(&self) -> bool {
        self.deleted().next().is_some() && !self.is_tombstoned()
    }

    /// Notes that it was ended in favour of another life. Of several the smallest is named, whichever was heard of first.
    pub fn yield_to(&mut self, life: Option<Incarnation>) {
        self.yields = [self.yields, life].into_iter().flatten().min();
    }

    /// Notes an entry whose change was here already.
    pub fn echo(&mut self, log: LogNo, seq: LogSeq) {
        self.echoes.push(Source { log, first: seq, count: 1 });
        self.echoes.sort_unstable_by_key(|echo| (echo.log, echo.first));
        self.echoes.dedup();
    }

    /// Notes that it stays although it was deleted at these heads.
    pub fn overrule(&mut self, heads: &[Digest]) {
        self.overruled.extend_from_slice(heads);
        self.overruled.sort_unstable();
        self.overruled.dedup();
    }

    /// Heads at which it was deleted, and nobody decided against it.
    pub fn deleted(&self) -> impl Iterator<Item = &Digest> {
        self.covered.iter().filter(|head| !self.overruled.contains(head))
    }
}

/// Where changes of a document came from: entries `first .. first + count` of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Source {
    /// The log.
    #[n(0)]
    pub log: LogNo,
    /// The first entry.
    #[n(1)]
    pub first: LogSeq,
    /// How many.
    #[n(2)]
    pub count: u64,
}

/// One row of `docs`.
#[derive(Clone, Debug, Default, Encode, Decode)]
#[cbor(array)]
pub struct PartRow {
    /// The entries it holds, in the order of admission.
    #[n(0)]
    pub sources: Vec<Source>,
    /// A saved document in part 0, else change chunks one after the other.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub bytes: Vec<u8>,
    /// Lengths of the chunks; none for a saved document.
    #[n(2)]
    pub lengths: Vec<u32>,
}

impl PartRow {
    /// The change chunks of a tail part.
    #[must_use]
    pub fn chunks(&self) -> Vec<&[u8]> {
        let mut rest = self.bytes.as_slice();
        let mut chunks = Vec::with_capacity(self.lengths.len());
        for length in &self.lengths {
            let Some((chunk, after)) = rest.split_at_checked(*length as usize) else { break };
            chunks.push(chunk);
            rest = after;
        }
        chunks
    }

    /// Notes one more entry, in the same range where it adjoins the last.
    pub fn add_source(&mut self, log: LogNo, seq: LogSeq, count: u64) {
        match self.sources.last_mut() {
            Some(last) if last.log == log && last.first.plus(last.count) == seq => last.count += count,
            _ => self.sources.push(Source { log, first: seq, count }),
        }
    }
}

/// A change that a gate admitted, and where it is logged.
#[derive(Debug)]
pub struct AdmittedChange {
    hash: Digest,
    bytes: Vec<u8>,
    log: LogNo,
    seq: LogSeq,
    time: UnixMicros,
    proof: Redeemed,
}

impl AdmittedChange {
    /// Joins a change, whose hash its entry names, to the proof that it may be written.
    #[must_use]
    pub fn new(
        (hash, bytes): (Digest, Vec<u8>),
        log: LogNo,
        seq: LogSeq,
        time: UnixMicros,
        proof: Redeemed,
    ) -> Self {
        Self { hash, bytes, log, seq, time, proof }
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// The digest of the decision that admitted it.
    #[must_use]
    pub fn decision(&self) -> Digest {
        self.proof.decision()
    }

    /// Where it is logged.
    #[must_use]
    pub const fn position(&self) -> (LogNo, LogSeq) {
        (self.log, self.seq)
    }
}

/// Appends admitted changes to a document as one part. The only function that adds to a document.
pub fn append_changes(batch: &mut Batch, row: &mut ObjectRow, changes: &[AdmittedChange]) {
    let mut part = PartRow::default();
    for change in changes {
        part.add_source(change.log, change.seq, 1);
        part.bytes.extend_from_slice(&change.bytes);
        part.lengths.push(change.bytes.len() as u32);
        row.changed = row.changed.max(change.time);
    }
    row.parts = row.parts.saturating_add(1);
    row.tail_bytes = row.tail_bytes.saturating_add(part.bytes.len() as u64);
    row.changes = row.changes.saturating_add(changes.len() as u64);
    batch.put(Table::Docs, key::part(row.document, row.parts), cbor::encode(&part));
}

/// Replaces all parts of a document by one snapshot that holds the same changes; the caller has checked that.
pub fn replace_parts(batch: &mut Batch, row: &mut ObjectRow, sources: Vec<Source>, snapshot: Vec<u8>) {
    for part in 1..=row.parts {
        batch.delete(Table::Docs, key::part(row.document, part));
    }
    row.parts = 0;
    row.tail_bytes = 0;
    row.snapshot_bytes = snapshot.len() as u64;
    batch.put(
        Table::Docs,
        key::part(row.document, 0),
        cbor::encode(&PartRow { sources, bytes: snapshot, lengths: Vec::new() }),
    );
}

/// One row of `governance`: an admitted governance entry, kept apart so that opening reads no log.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct GovernanceRow {
    /// The entry's leaf hash.
    #[n(0)]
    pub id: Digest,
    /// The heads it names.
    #[n(1)]
    pub parents: Vec<Digest>,
    /// The device that wrote it.
    #[n(2)]
    pub author: DeviceId,
    /// Its kind.
    #[n(3)]
    pub kind: EntryKind,
    /// Its payload.
    #[n(4)]
    #[cbor(with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

/// One row of `peers`: what became of a run of entries at a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct PeerRow {
    /// How many entries.
    #[n(0)]
    pub count: u64,
    /// What became of them.
    #[n(1)]
    pub state: EntryState,
    /// The peer's operation in which it did, if the peer said.
    #[n(2)]
    pub operation: Option<OperationId>,
    /// When we heard.
    #[n(3)]
    pub at: UnixMicros,
}

/// One row of `tickets`, under the ticket's name: the secret is kept until it is used or expires.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub struct TicketRow {
    /// What the joiner will be.
    #[n(0)]
    pub role: Role,
    /// When it stops working.
    #[n(1)]
    pub expires: UnixMicros,
    /// The secret; of no use once the ticket is.
    #[n(2)]
    #[cbor(with = "cbor::secret")]
    pub secret: Zeroizing<[u8; 16]>,
    /// Whether the inviter types the joiner's code first.
    #[n(3)]
    pub confirm: bool,
    /// When it was used.
    #[n(4)]
    pub used: Option<UnixMicros>,
}

impl std::fmt::Debug for TicketRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketRow({})", self.role.word())
    }
}

/// One row of `idempotency`.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct IdempotencyRow {
    /// The operation of the first call.
    #[n(0)]
    pub operation: OperationId,
    /// The object it made or changed.
    #[n(1)]
    pub object: Option<ObjectId>,
    /// Hash of what was asked: another payload under one key is an error, not a repetition.
    #[n(2)]
    pub request: Digest,
}

/// The row `store` of `keys`.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(array)]
pub struct StoreRow {
    /// This store's random name, in the origins of the logs that are its alone.
    #[n(0)]
    pub name: Digest,
    /// The epoch in which this device writes.
    #[n(1)]
    pub epoch: Epoch,
    /// Workspace keys by key epoch.
    #[n(2)]
    pub keys: Vec<WorkspaceKey>,
    /// Why writing is stopped, if it is.
    #[n(3)]
    pub stopped: Option<Stop>,
}

/// A workspace key.
#[derive(Clone, Encode, Decode)]
#[cbor(array)]
pub struct WorkspaceKey {
    /// Which key.
    #[n(0)]
    pub key_epoch: u32,
    /// The key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub key: [u8; 32],
}

impl std::fmt::Debug for WorkspaceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkspaceKey({})", self.key_epoch)
    }
}

impl Drop for WorkspaceKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Why a device does not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Stop {
    /// The store is older than what peers hold of its own log: it fetches its tail first.
    #[n(0)]
    RolledBack,
    /// Two branches of its own log exist: an admin must let it go on.
    #[n(1)]
    Forked,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RolledBack => {
                "this store is older than what peers hold of its log, so it does not write; run `sync` to fetch the rest"
            }
            Self::Forked => {
                "two copies of this device wrote different histories, so it does not write; ask an admin for `invite` and `join` again"
            }
        })
    }
}

/// Reads and decodes a row.
///
/// # Errors
/// When it cannot be read, opened or decoded.
pub fn read<T>(store: &Store, table: Table, key: &[u8]) -> Result<Option<T>, StoreError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    store.get(table, key)?.map(|bytes| decode(table, key, &bytes)).transpose()
}

/// Decodes a row that was read.
///
/// # Errors
/// When the bytes are not such a row.
pub fn decode<T>(table: Table, key: &[u8], bytes: &[u8]) -> Result<T, StoreError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    minicbor::decode(bytes).map_err(|source| StoreError::Value {
        table: table.name(),
        key: hex::encode(key),
        source: cbor::CborError::Malformed { what: "row", source },
    })
}

/// The largest document part that is read: a whole document and its sources.
pub const PART_BYTES: usize = limits::DOCUMENT_BYTES + (1 << 20);
