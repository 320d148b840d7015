//! The first look at a foreign change: everything that can be refused from its bytes alone.
//!
//! The scan streams over the chunk once, in the order of its parts: frame and checksum, dependencies, actors,
//! numbers, column table, columns. It allocates in proportion to bytes that are really there, never to what
//! they claim, and knows no document: a bomb costs microseconds. What it lets through may still be nonsense.

use super::chunk;
use super::columns::Columns;
use super::reader::Reader;
use super::references::OpRef;
use super::refused::{Reason, Refused};
use syncd_schema::Digest;

/// The longest message. Only resolutions have one.
const MESSAGE_BYTES: u64 = 1 << 10;
/// The last moment of the year 9999 in milliseconds, since some writers count those: a time is a label, and
/// sums of times must not overflow.
const LAST_TIME: i64 = 253_402_300_799_999;
/// Automerge counts operations and changes in 32 bits.
const LAST_COUNTER: u64 = u32::MAX as u64;

/// What a change says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Its hash.
    pub hash: Digest,
    /// The changes it builds on, sorted.
    pub deps: Vec<Digest>,
    /// Who made it.
    pub actor: Vec<u8>,
    /// Its number among its actor's changes, from 1.
    pub seq: u64,
    /// The number of its first operation.
    pub start_op: u64,
    /// How many operations it has.
    pub ops: u64,
    /// When it was made, as its author says.
    pub time: i64,
    /// The length of its message in bytes.
    pub message_len: u64,
}

impl Scanned {
    /// The number of its last operation; one less than the first when it has none.
    #[must_use]
    pub const fn max_op(&self) -> u64 {
        (self.start_op + self.ops).saturating_sub(1)
    }
}

/// The parts of a scanned change that the later layers read, still as bytes.
pub(crate) struct Layout<'a> {
    /// The actors its operations may name, itself first.
    pub(crate) actors: Vec<&'a [u8]>,
    pub(crate) columns: Columns<'a>,
}

impl<'a> Layout<'a> {
    /// The operation that the items of two columns name together.
    pub(crate) fn op(&self, actor: Option<u64>, counter: Option<u64>) -> Option<OpRef<'a>> {
        let actor = self.actors.get(usize::try_from(actor?).ok()?)?;
        Some(OpRef { counter: counter?, actor })
    }
}

/// Scans the bytes of a change.
///
/// # Errors
/// When they are not one uncompressed change within the limits, or obviously malformed.
pub fn scan(bytes: &[u8]) -> Result<Scanned, Refused> {
    layout(bytes).map(|(scanned, _)| scanned)
}

pub(crate) fn layout(bytes: &[u8]) -> Result<(Scanned, Layout<'_>), Refused> {
    let (mut reader, hash) = chunk::open(bytes)?;
    let deps = sorted_deps(&mut reader)?;
    let actor = chunk::read_actor(&mut reader)?;
    let seq = within(&mut reader, "sequence number", 1, LAST_COUNTER)?;
    let start_op = within(&mut reader, "first operation", 1, LAST_COUNTER)?;

    reader.part("time");
    let at = reader;
    let time = reader.signed()?;
    if !(0..=LAST_TIME).contains(&time) {
        return Err(at.refuse(Reason::OutOfRange));
    }
    let message_len = within(&mut reader, "message", 0, MESSAGE_BYTES)?;
    let at = reader;
    if std::str::from_utf8(reader.take(message_len)?).is_err() {
        return Err(at.refuse(Reason::NotUtf8));
    }

    let actors = read_actors(&mut reader, actor)?;
    let columns = Columns::read(&mut reader)?;
    let ops = columns.scan(actors.len() as u64, start_op)?;
    if start_op.saturating_add(ops) > LAST_COUNTER {
        return Err(Reason::OutOfRange.into());
    }
    let scanned = Scanned { hash, deps, actor: actor.to_vec(), seq, start_op, ops, time, message_len };
    Ok((scanned, Layout { actors, columns }))
}

/// The message of a change, for who must know it before the change may be decoded.
///
/// # Errors
/// When the bytes before it are malformed.
pub(crate) fn message(bytes: &[u8]) -> Result<String, Refused> {
    let (mut reader, _) = chunk::open(bytes)?;
    chunk::read_deps(&mut reader)?;
    chunk::read_actor(&mut reader)?;
    within(&mut reader, "sequence number", 1, LAST_COUNTER)?;
    within(&mut reader, "first operation", 1, LAST_COUNTER)?;
    reader.part("time");
    reader.signed()?;
    let length = within(&mut reader, "message", 0, MESSAGE_BYTES)?;
    let at = reader;
    std::str::from_utf8(reader.take(length)?).map(str::to_owned).map_err(|_| at.refuse(Reason::NotUtf8))
}

fn sorted_deps(reader: &mut Reader<'_>) -> Result<Vec<Digest>, Refused> {
    let mut at = *reader;
    at.part("dependencies");
    let deps = chunk::read_deps(reader)?;
    if deps.is_sorted_by(|a, b| a < b) { Ok(deps) } else { Err(at.refuse(Reason::Unsorted)) }
}

fn within(reader: &mut Reader<'_>, part: &'static str, low: u64, high: u64) -> Result<u64, Refused> {
    reader.part(part);
    let at = *reader;
    let value = reader.unsigned()?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(at.refuse(Reason::OutOfRange)) }
}

/// The change's own actor and the others it lists, which are sorted and distinct from it and each other.
fn read_actors<'a>(reader: &mut Reader<'a>, own: &'a [u8]) -> Result<Vec<&'a [u8]>, Refused> {
    reader.part("other actors");
    let count = reader.unsigned()?;
    let mut actors = vec![own];
    for index in 0..count {
        let at = *reader;
        let other = chunk::read_actor(reader)?;
        let sorted = index == 0 || actors.last().is_some_and(|before| *before < other);
        if !sorted {
            return Err(at.refuse(Reason::Unsorted));
        }
        if other == own {
            return Err(at.refuse(Reason::BadActor));
        }
        actors.push(other);
    }
    Ok(actors)
}
