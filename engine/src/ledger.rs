//! The evidence ledger as this engine writes it: runs of records, and the records and findings it makes.
//!
//! What a record is belongs to `syncd-evidence`; here is how they are packed, and the words of the common ones.

use crate::log::bytes::{Reader, Writer};
use crate::log::compressed::{self, Encoded, LEVEL, compress};
use crate::store::rows::{ObjectRow, RunRow};
use std::borrow::Cow;
use syncd_evidence::record::{RECORD_BYTES, RECORD_VERSION};
use syncd_evidence::{Coverage, Finding, FindingKind, Outcome, Record, RecordKind, Severity};
use syncd_schema::{Actor, DeviceId, Digest, Entry, OperationId, OperationType, UnixMicros, limits};

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
    compress(&body.finish(), LEVEL)
}

fn open(row: &RunRow) -> Result<Cow<'_, [u8]>, LedgerRunError> {
    let open_len = row.open_len as usize;
    if open_len > OPEN_BYTES {
        return Err(LedgerRunError("it opens to more than one commit makes"));
    }
    compressed::open(&row.bytes, open_len).map_err(|_| LedgerRunError("it does not open"))
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
    let bodies: Result<Vec<_>, LedgerRunError> = rows.map(open).collect();
    Some(compress(&bodies.ok()?.concat(), LEVEL))
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
