//! The operations of a scanned change, one by one: its columns side by side.

use super::columns::{Columns, Packed, Runs};
use super::reader::Reader;
use super::refused::{Reason, Refused};

/// What an operation does, as Automerge numbers it.
pub(super) mod action {
    pub(in super::super) const MAKE_MAP: u64 = 0;
    pub(in super::super) const PUT: u64 = 1;
    pub(in super::super) const MAKE_LIST: u64 = 2;
    pub(in super::super) const DELETE: u64 = 3;
    pub(in super::super) const MAKE_TEXT: u64 = 4;
    pub(in super::super) const INCREMENT: u64 = 5;
}

/// Of what type a value is, as Automerge numbers it.
pub(super) mod value {
    pub(in super::super) const NULL: u64 = 0;
    pub(in super::super) const UNSIGNED: u64 = 3;
    pub(in super::super) const SIGNED: u64 = 4;
    pub(in super::super) const TEXT: u64 = 6;
    pub(in super::super) const COUNTER: u64 = 8;
    pub(in super::super) const TIMESTAMP: u64 = 9;
}

/// An operation by the index of its actor in the change, and its number.
pub(super) type Index = (u64, u64);

/// Where in its container an operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// Under a key of a map.
    Name(&'a str),
    /// Before the first item of a list or text.
    Head,
    /// At, or behind, an item: by what inserted it.
    Element(Index),
}

/// One operation, as it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op<'a> {
    /// The container; none for the root.
    pub(super) object: Option<Index>,
    pub(super) key: Key<'a>,
    pub(super) inserts: bool,
    pub(super) action: u64,
    /// The value's type and bytes.
    pub(super) value: (u64, &'a [u8]),
}

/// Goes through operations.
pub(super) struct Ops<'a> {
    columns: Columns<'a>,
    obj_actor: Cursor<'a, u64>,
    obj_ctr: Cursor<'a, u64>,
    key_actor: Cursor<'a, u64>,
    key_ctr: Cursor<'a, i64>,
    key_str: Cursor<'a, &'a str>,
    insert: Flags<'a>,
    action: Cursor<'a, u64>,
    value_meta: Cursor<'a, u64>,
    value: Reader<'a>,
    pred_count: Cursor<'a, u64>,
    pred_actor: Cursor<'a, u64>,
    pred_ctr: Cursor<'a, i64>,
    element: i64,
    pred: i64,
    /// What the operation that was read last replaces.
    preds: Vec<Index>,
}

impl<'a> Ops<'a> {
    pub(super) fn new(columns: &Columns<'a>) -> Self {
        Self {
            columns: *columns,
            obj_actor: Cursor::new(columns.obj_actor),
            obj_ctr: Cursor::new(columns.obj_ctr),
            key_actor: Cursor::new(columns.key_actor),
            key_ctr: Cursor::new(columns.key_ctr),
            key_str: Cursor::new(columns.key_str),
            insert: Flags::new(columns.insert),
            action: Cursor::new(columns.action),
            value_meta: Cursor::new(columns.value_meta),
            value: columns.value,
            pred_count: Cursor::new(columns.pred_count),
            pred_actor: Cursor::new(columns.pred_actor),
            pred_ctr: Cursor::new(columns.pred_ctr),
            element: 0,
            pred: 0,
            preds: Vec::new(),
        }
    }

    /// The next operation, of which the caller knows that there is one, and what it replaces.
    pub(super) fn next(&mut self) -> Result<(Op<'a>, &[Index]), Refused> {
        let object = match (self.obj_actor.next()?, self.obj_ctr.next()?) {
            (None, None) => None,
            (Some(actor), Some(counter)) => Some((actor, counter)),
            _ => return Err(self.columns.obj_ctr.refuse(Reason::BadRun)),
        };
        let inserts = self.insert.next()?;
        let delta = self.key_ctr.next()?;
        self.element = self.element.saturating_add(delta.unwrap_or(0));
        let key = match (self.key_str.next()?, self.key_actor.next()?, delta.map(|_| self.element)) {
            (Some(name), None, None) if !inserts => Key::Name(name),
            (None, None, Some(0)) if inserts => Key::Head,
            (None, Some(actor), Some(counter)) if counter > 0 => {
                Key::Element((actor, counter.unsigned_abs()))
            }
            _ => return Err(self.columns.key_ctr.refuse(Reason::BadRun)),
        };
        let action = self.action.next()?.unwrap_or(u64::MAX);
        let meta = self.value_meta.next()?.unwrap_or(0);
        let value = (meta & 0xf, self.value.take(meta >> 4)?);
        self.preds.clear();
        for _ in 0..self.pred_count.next()?.unwrap_or(0) {
            self.pred = self.pred.saturating_add(self.pred_ctr.next()?.unwrap_or(0));
            let actor = self.pred_actor.next()?.unwrap_or(u64::MAX);
            self.preds.push((actor, self.pred.unsigned_abs()));
        }
        Ok((Op { object, key, inserts, action, value }, &self.preds))
    }
}

/// One column, item by item; nulls for ever when it is empty or used up.
pub(super) struct Cursor<'a, V> {
    runs: Runs<'a, V>,
    value: Option<V>,
    left: u64,
}

impl<'a, V: Packed<'a>> Cursor<'a, V> {
    pub(super) const fn new(column: Reader<'a>) -> Self {
        Self { runs: Runs::new(column), value: None, left: 0 }
    }

    pub(super) fn next(&mut self) -> Result<Option<V>, Refused> {
        if self.left == 0 {
            let Some((value, count)) = self.runs.next()? else { return Ok(None) };
            (self.value, self.left) = (value, count);
        }
        self.left = self.left.saturating_sub(1);
        Ok(self.value)
    }
}

/// A boolean column, item by item.
struct Flags<'a> {
    reader: Reader<'a>,
    value: bool,
    left: u64,
}

impl<'a> Flags<'a> {
    const fn new(column: Reader<'a>) -> Self {
        Self { reader: column, value: true, left: 0 }
    }

    fn next(&mut self) -> Result<bool, Refused> {
        while self.left == 0 {
            if self.reader.is_empty() {
                return Ok(false);
            }
            self.value = !self.value;
            self.left = self.reader.unsigned()?;
        }
        self.left -= 1;
        Ok(self.value)
    }
}
