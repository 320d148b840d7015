//! The evidence ledger as this engine writes it: runs of records, and the records and findings it makes.
//!
//! What a record is belongs to `syncd-evidence`; here is how they are packed, and the words of the common ones.

use crate::log::bytes::{Reader, Writer};
use crate::log::run::Encoded;
use crate::store::rows::{ObjectRow, RunRow};
use syncd_evidence::record::{RECORD_BYTES, RECORD_VERSION};
use syncd_evidence::{Coverage, Finding, FindingKind, Outcome, Record, RecordKind, Severity};
use syncd_schema::{Actor, DeviceId, Digest, Entry, OperationId, OperationType, UnixMicros, limits};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ZSTD_LEVEL: i32 = 3;
const COMPRESS_FROM: usize = 256;
/// A run of the ledger decompressed: one commit makes far fewer records than entries.
const OPEN_BYTES: usize = limits::SEGMENT_OPEN_BYTES;

/// Why bytes are not a run of records.
#[derive(Debug, thiserror::Error)]
#[error("a run of the ledger cannot be decoded: {0}")]
pub struct LedgerRunError(&'static str);

/// Packs records in order.
#[must_use]
pub fn encode(records: &[Record]) -> Encoded {
    let mut body = Writer::default();
    for record in records {
        body.prefixed(&record.to_bytes());
    }
    pack(&body.finish())
}

fn pack(body: &[u8]) -> Encoded {
    let open_len = body.len();
    if open_len >= COMPRESS_FROM
        && let Ok(packed) = zstd::bulk::compress(body, ZSTD_LEVEL)
        && packed.len() < open_len
    {
        return Encoded { bytes: [&[ZSTD], packed.as_slice()].concat(), open_len };
    }
    Encoded { bytes: [&[PLAIN], body].concat(), open_len }
}

fn open(row: &RunRow) -> Result<Vec<u8>, LedgerRunError> {
    let limit = (row.open_len as usize).min(OPEN_BYTES);
    match row.bytes.split_first() {
        Some((&PLAIN, body)) => Ok(body.to_vec()),
        Some((&ZSTD, packed)) => {
            zstd::bulk::decompress(packed, limit).map_err(|_| LedgerRunError("it does not decompress"))
        }
        _ => Err(LedgerRunError("unknown compression")),
    }
}

/// Unpacks the records of a run.
///
/// # Errors
/// When the bytes are not such a run.
pub fn decode(row: &RunRow) -> Result<Vec<Record>, LedgerRunError> {
    let body = open(row)?;
    let mut reader = Reader::new(&body);
    let mut records = Vec::new();
    while !reader.is_empty() {
        let bytes = reader.prefixed(RECORD_BYTES).map_err(|_| LedgerRunError("it ends early"))?;
        records.push(Record::from_bytes(bytes).map_err(|_| LedgerRunError("a record is malformed"))?);
    }
    if records.len() != row.count as usize {
        return Err(LedgerRunError("it holds another number of records than it says"));
    }
    Ok(records)
}

/// Joins runs into one.
#[must_use]
pub fn join<'a>(rows: impl Iterator<Item = &'a RunRow>) -> Option<Encoded> {
    let bodies: Result<Vec<Vec<u8>>, LedgerRunError> = rows.map(open).collect();
    Some(pack(&bodies.ok()?.concat()))
}

/// What a record says, before the stage gives it id and time.
#[must_use]
pub fn record(
    kind: RecordKind,
    outcome: Outcome,
    operation: OperationType,
    actor: &Actor,
    device: DeviceId,
) -> Record {
    Record {
        version: RECORD_VERSION,
        id: OperationId([0; 16]),
        at: UnixMicros(0),
        actor: actor.clone(),
        device,
        kind,
        outcome,
        operation,
        covers: None,
        subject: None,
        decision: None,
        note: None,
        data: None,
    }
}

/// The admission of one entry.
#[must_use]
pub fn admission(
    actor: &Actor,
    device: DeviceId,
    operation: OperationType,
    covers: Coverage,
    decision: Digest,
) -> Record {
    Record {
        covers: Some(covers),
        decision: Some(decision),
        ..record(RecordKind::Admission, Outcome::Admitted, operation, actor, device)
    }
}

/// An entry that was not admitted, held or refused, and why.
#[must_use]
pub fn withheld(
    entry: &Entry,
    covers: Coverage,
    device: DeviceId,
    refused: bool,
    decision: Option<Digest>,
    note: &str,
) -> Record {
    let (kind, outcome) =
        if refused { (RecordKind::Refusal, Outcome::Refused) } else { (RecordKind::Replay, Outcome::Held) };
    let mut record = record(kind, outcome, OperationType::Replay, &entry.actor, device);
    record.covers = Some(covers);
    record.subject.clone_from(&entry.subject);
    record.decision = decision;
    record.set_note(note);
    record
}

/// A document whose saved form does not load: its changes stay, compaction waits.
#[must_use]
pub fn unsaveable(row: &ObjectRow, now: UnixMicros) -> Finding {
    Finding::new(
        FindingKind::StoreDamage,
        &format!("object {}", row.object),
        Severity::Warning,
        "the document cannot be saved and loaded again; its changes are kept as they came",
        "keep using it; report its id together with this version's number",
        now,
    )
}
