//! The operation columns of a change: which there are, how long, and whether their runs may be decoded.
//!
//! Operations are stored by column and run-length coded, so that 111 bytes can claim two million operations.
//! Each column is therefore walked run by run, without expanding any, and its totals are compared before a
//! decoder that believes them sees the bytes. What the values mean together is for `references.rs`.

use super::reader::Reader;
use super::refused::{Reason, Refused};
use syncd_schema::limits;

/// Predecessors of all operations of a change: one operation replaces as many values as were in conflict.
pub(crate) const PREDECESSORS: u64 = 4 * limits::CHANGE_OPS;

/// The bit of a column's specification that says it is compressed.
const DEFLATE: u64 = 0b1000;
/// One past the last action let in: maps, values, lists, deletions, texts and increments. Tables (6) are
/// obsolete, and marks (7) have no writer in this product; the columns only they use are unknown here.
const ACTIONS: u64 = 6;

/// The columns of a change, each empty when it is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) obj_actor: Reader<'a>,
    pub(crate) obj_ctr: Reader<'a>,
    pub(crate) key_actor: Reader<'a>,
    pub(crate) key_ctr: Reader<'a>,
    pub(crate) key_str: Reader<'a>,
    pub(crate) insert: Reader<'a>,
    pub(crate) action: Reader<'a>,
    pub(crate) value_meta: Reader<'a>,
    pub(crate) value: Reader<'a>,
    pub(crate) pred_count: Reader<'a>,
    pub(crate) pred_actor: Reader<'a>,
    pub(crate) pred_ctr: Reader<'a>,
}

impl<'a> Columns<'a> {
    /// Reads the column table and the columns after it; nothing may follow them.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Refused> {
        reader.part("column table");
        let count = reader.unsigned()?;
        let mut table = *reader;
        let mut before = None;
        for _ in 0..count {
            let at = *reader;
            let spec = reader.unsigned()?;
            if spec & DEFLATE != 0 {
                return Err(at.refuse(Reason::Compressed));
            }
            if before.is_some_and(|before| before >= spec) {
                return Err(at.refuse(Reason::Unsorted));
            }
            before = Some(spec);
            let length = reader.unsigned()?;
            if length == 0 {
                return Err(at.refuse(Reason::Unsupported));
            }
        }
        let mut columns = Self::none(*reader);
        for _ in 0..count {
            let at = table;
            let (spec, length) = (table.unsigned()?, table.unsigned()?);
            let Some((column, name)) = columns.by_spec(spec) else {
                return Err(at.refuse(Reason::Unsupported));
            };
            *column = reader.window(length, name)?;
        }
        reader.part("footer");
        if !reader.is_empty() {
            // An author footer would stand here; nobody of ours writes one, and it would be unauthenticated.
            return Err(reader.refuse(Reason::TrailingBytes));
        }
        Ok(columns)
    }

    pub(super) fn none(at: Reader<'a>) -> Self {
        let none = Reader::new(&[], at.offset(), "operations");
        Self {
            obj_actor: none,
            obj_ctr: none,
            key_actor: none,
            key_ctr: none,
            key_str: none,
            insert: none,
            action: none,
            value_meta: none,
            value: none,
            pred_count: none,
            pred_actor: none,
            pred_ctr: none,
        }
    }

    /// A column and its name; none for one that changes of this product do not have.
    pub(super) fn by_spec(&mut self, spec: u64) -> Option<(&mut Reader<'a>, &'static str)> {
        Some(match spec {
            1 => (&mut self.obj_actor, "object actors"),
            2 => (&mut self.obj_ctr, "object counters"),
            17 => (&mut self.key_actor, "element actors"),
            19 => (&mut self.key_ctr, "element counters"),
            21 => (&mut self.key_str, "keys"),
            52 => (&mut self.insert, "inserts"),
            66 => (&mut self.action, "actions"),
            86 => (&mut self.value_meta, "value types"),
            87 => (&mut self.value, "values"),
            112 => (&mut self.pred_count, "predecessor counts"),
            113 => (&mut self.pred_actor, "predecessor actors"),
            115 => (&mut self.pred_ctr, "predecessor counters"),
            _ => return None,
        })
    }

    /// Walks all columns and says how many operations there are. `actors` is how many the change lists, itself
    /// included; `start_op` is the number of its first operation.
    pub(crate) fn scan(&self, actors: u64, start_op: u64) -> Result<u64, Refused> {
        let ops = walk(self.action, limits::CHANGE_OPS, |action: Option<u64>, _, at| match action {
            Some(action) if action < ACTIONS => Ok(()),
            Some(_) => Err(at.refuse(Reason::Unsupported)),
            None => Err(at.refuse(Reason::BadRun)),
        })?;
        let end = start_op.saturating_add(ops);
        let actor = |value: Option<u64>, _, at: &Reader<'_>| match value {
            Some(actor) if actor >= actors => Err(at.refuse(Reason::UnknownActor)),
            _ => Ok(()),
        };

        boolean(self.insert, ops)?;
        optional(self.obj_actor, ops, actor)?;
        optional(self.obj_ctr, ops, |value: Option<u64>, _, at| match value {
            Some(counter) if counter == 0 || counter >= end => Err(at.refuse(Reason::OutOfRange)),
            _ => Ok(()),
        })?;
        optional(self.key_actor, ops, actor)?;
        optional(self.key_ctr, ops, counters(0, end))?;
        optional(self.key_str, ops, |key: Option<&str>, _, at| match key {
            Some(key) if key.is_empty() || key.len() > limits::PATH_BYTES => {
                Err(at.refuse(Reason::OutOfRange))
            }
            _ => Ok(()),
        })?;
        self.scan_values(ops)?;

        let mut preds = 0_u64;
        exactly(self.pred_count, ops, |count: Option<u64>, times, at| {
            let count = count.ok_or_else(|| at.refuse(Reason::BadRun))?;
            preds = count.checked_mul(times).and_then(|sum| preds.checked_add(sum)).unwrap_or(u64::MAX);
            if preds > PREDECESSORS { Err(at.refuse(Reason::TooManyOps { claimed: preds })) } else { Ok(()) }
        })?;
        exactly(self.pred_actor, preds, |value: Option<u64>, times, at| {
            if value.is_none() { Err(at.refuse(Reason::BadRun)) } else { actor(value, times, at) }
        })?;
        let mut in_range = counters(1, end);
        exactly(self.pred_ctr, preds, |delta: Option<i64>, times, at| {
            if delta.is_none() { Err(at.refuse(Reason::BadRun)) } else { in_range(delta, times, at) }
        })?;
        Ok(ops)
    }

    /// Each value has a type and a length, and the lengths add up to the bytes that are there.
    fn scan_values(&self, ops: u64) -> Result<(), Refused> {
        let mut bytes = 0_u64;
        exactly(self.value_meta, ops, |meta: Option<u64>, times, at| {
            let meta = meta.ok_or_else(|| at.refuse(Reason::BadRun))?;
            let (kind, length) = (meta & 0xf, meta >> 4);
            let fits = match kind {
                0..=2 => length == 0,
                3 | 4 | 8 | 9 => (1..=10).contains(&length),
                5 => length == 8,
                6 | 7 => length <= limits::CHANGE_BYTES as u64,
                _ => return Err(at.refuse(Reason::Unsupported)),
            };
            if !fits {
                return Err(at.refuse(Reason::OutOfRange));
            }
            bytes = length.checked_mul(times).and_then(|sum| bytes.checked_add(sum)).unwrap_or(u64::MAX);
            Ok(())
        })?;
        let found = self.value.rest().len() as u64;
        if bytes == found {
            return Ok(());
        }
        Err(self.value.refuse(Reason::ColumnLength { found, expected: bytes }))
    }
}

/// Something a run-length coded column holds.
pub(crate) trait Packed<'a>: Sized + Copy + PartialEq {
    fn unpack(reader: &mut Reader<'a>) -> Result<Self, Refused>;
}

impl Packed<'_> for u64 {
    fn unpack(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        reader.unsigned()
    }
}

impl Packed<'_> for i64 {
    fn unpack(reader: &mut Reader<'_>) -> Result<Self, Refused> {
        reader.signed()
    }
}

impl<'a> Packed<'a> for &'a str {
    fn unpack(reader: &mut Reader<'a>) -> Result<Self, Refused> {
        let length = reader.unsigned()?;
        let at = *reader;
        std::str::from_utf8(reader.take(length)?).map_err(|_| at.refuse(Reason::NotUtf8))
    }
}

/// The runs of a column: a value or null, and how often. Literal runs are given value by value.
///
/// Of a change, only the one form is let through that an encoder writes: what is repeated is one run, what is not is a
/// literal, and neighbours that could be one run are one. Other forms of the same content would come back out of a document
/// as other bytes.
pub(crate) struct Runs<'a, V> {
    pub(crate) reader: Reader<'a>,
    literal: u64,
    is_strict: bool,
    /// What was given last, and whether it ended a literal run.
    last: Option<(Option<V>, bool)>,
}

impl<'a, V: Packed<'a>> Runs<'a, V> {
    /// Runs in whatever form, as of what was let in already.
    pub(crate) const fn new(reader: Reader<'a>) -> Self {
        Self { reader, literal: 0, is_strict: false, last: None }
    }

    const fn strict(reader: Reader<'a>) -> Self {
        Self { is_strict: true, ..Self::new(reader) }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(Option<V>, u64)>, Refused> {
        if self.literal == 0 && self.reader.is_empty() {
            return Ok(None);
        }
        let at = self.reader;
        let refused = || at.refuse(Reason::BadRun);
        let (value, count, is_literal) = if self.literal > 0 {
            self.literal -= 1;
            (Some(V::unpack(&mut self.reader)?), 1, true)
        } else {
            match self.reader.signed()? {
                0 => (None, self.reader.unsigned()?, false),
                1 if self.is_strict => return Err(refused()),
                count if count > 0 => (Some(V::unpack(&mut self.reader)?), count.unsigned_abs(), false),
                _ if self.is_strict && self.last.is_some_and(|(_, was_literal)| was_literal) => {
                    return Err(refused());
                }
                count => {
                    self.literal = count.unsigned_abs() - 1;
                    (Some(V::unpack(&mut self.reader)?), 1, true)
                }
            }
        };
        if count == 0 || self.is_strict && self.last.is_some_and(|(last, _)| last == value) {
            return Err(refused());
        }
        self.last = Some((value, is_literal));
        Ok(Some((value, count)))
    }
}

/// Goes through a column's runs; stops as soon as they claim more than `most`.
fn walk<'a, V: Packed<'a>>(
    column: Reader<'a>,
    most: u64,
    mut each: impl FnMut(Option<V>, u64, &Reader<'a>) -> Result<(), Refused>,
) -> Result<u64, Refused> {
    let mut runs = Runs::<V>::strict(column);
    let mut total = 0_u64;
    loop {
        let at = runs.reader;
        let Some((value, count)) = runs.next()? else { return Ok(total) };
        total = total.saturating_add(count);
        if total > most {
            return Err(at.refuse(Reason::TooManyOps { claimed: total }));
        }
        each(value, count, &at)?;
    }
}

/// A column with exactly so many items.
fn exactly<'a, V: Packed<'a>>(
    column: Reader<'a>,
    expected: u64,
    each: impl FnMut(Option<V>, u64, &Reader<'a>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let found = walk(column, PREDECESSORS, each)?;
    if found == expected { Ok(()) } else { Err(column.refuse(Reason::ColumnLength { found, expected })) }
}

/// A column with exactly so many items, or none: it is left out when all are null.
fn optional<'a, V: Packed<'a>>(
    column: Reader<'a>,
    expected: u64,
    each: impl FnMut(Option<V>, u64, &Reader<'a>) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if column.is_empty() {
        return Ok(());
    }
    let mut each = each;
    let mut is_needed = false;
    exactly(column, expected, |value, times, at| {
        is_needed |= value.is_some();
        each(value, times, at)
    })?;
    if is_needed { Ok(()) } else { Err(column.refuse(Reason::BadRun)) }
}

/// Checks the sums of a delta coded column: each is from `low` up to but not including `end`.
fn counters(low: i64, end: u64) -> impl FnMut(Option<i64>, u64, &Reader<'_>) -> Result<(), Refused> {
    let mut sum = 0_i64;
    move |delta, times, at| {
        let Some(delta) = delta else { return Ok(()) };
        let last = i64::try_from(times)
            .ok()
            .and_then(|times| delta.checked_mul(times))
            .and_then(|by| sum.checked_add(by));
        let first = sum.checked_add(delta);
        let fits = |value: i64| value >= low && value.unsigned_abs() < end;
        match (first, last) {
            // Between the first and the last of a run the sums only rise or only fall.
            (Some(first), Some(last)) if fits(first) && fits(last) => {
                sum = last;
                Ok(())
            }
            _ => Err(at.refuse(Reason::OutOfRange)),
        }
    }
}

/// A boolean column: lengths of alternating runs, of which only the first may be empty.
fn boolean(column: Reader<'_>, expected: u64) -> Result<(), Refused> {
    let mut reader = column;
    let mut total = 0_u64;
    let mut first = true;
    while !reader.is_empty() {
        let at = reader;
        let count = reader.unsigned()?;
        if count == 0 && !first {
            return Err(at.refuse(Reason::BadRun));
        }
        first = false;
        total = total.saturating_add(count);
        if total > limits::CHANGE_OPS {
            return Err(at.refuse(Reason::TooManyOps { claimed: total }));
        }
    }
    if total == expected {
        Ok(())
    } else {
        Err(column.refuse(Reason::ColumnLength { found: total, expected }))
    }
}
