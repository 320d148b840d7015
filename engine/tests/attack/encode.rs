//! Writes the columns of a change as Automerge does, and on demand otherwise.

use crate::craft::{framed, leb};
use crate::draft::{
    BYTES, COUNTER, Draft, FLOAT, Id, Key, NULL, Op, Parts, SIGNED, STRING, TIMESTAMP, UNSIGNED,
};
use automerge::ScalarValue;
use syncd_engine::document::EncodedChange;

/// How the runs of a column are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// As Automerge does.
    Plain,
    /// Each run in two.
    Split,
    /// Repeated values as if they were different ones.
    Literal,
    /// Single values as runs of one.
    Single,
    /// The counts of runs with a needless byte.
    Long,
}

pub fn unsigned(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    leb(value, &mut bytes);
    bytes
}

pub fn signed(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0) {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A number with a byte more than it needs.
pub fn long(mut bytes: Vec<u8>, is_negative: bool) -> Vec<u8> {
    if let Some(last) = bytes.last_mut() {
        *last |= 0x80;
    }
    bytes.push(if is_negative { 0x7f } else { 0 });
    bytes
}

pub fn text(bytes: &[u8]) -> Vec<u8> {
    [unsigned(bytes.len() as u64), bytes.to_vec()].concat()
}

pub fn scalar(value: &ScalarValue) -> (u64, Vec<u8>) {
    match value {
        ScalarValue::Null => (NULL, Vec::new()),
        ScalarValue::Boolean(yes) => (1 + u64::from(*yes), Vec::new()),
        ScalarValue::Uint(n) => (UNSIGNED, unsigned(*n)),
        ScalarValue::Int(n) => (SIGNED, signed(*n)),
        ScalarValue::F64(n) => (FLOAT, n.to_le_bytes().to_vec()),
        ScalarValue::Str(text) => (STRING, text.as_bytes().to_vec()),
        ScalarValue::Bytes(bytes) => (BYTES, bytes.clone()),
        ScalarValue::Counter(n) => (COUNTER, signed(i64::from(n))),
        ScalarValue::Timestamp(n) => (TIMESTAMP, signed(*n)),
        ScalarValue::Unknown { type_code, bytes } => (u64::from(*type_code), bytes.clone()),
    }
}

/// A run-length coded column of values that are encoded already; nulls are none.
pub fn runs(values: &[Option<Vec<u8>>], style: Style) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    let count = |n: i64| if style == Style::Long { long(signed(n), n < 0) } else { signed(n) };
    let length = |from: usize| values[from..].iter().take_while(|value| **value == values[from]).count();
    while at < values.len() {
        let run = length(at);
        match &values[at] {
            None => {
                let halves = if style == Style::Split && run > 1 { vec![1, run - 1] } else { vec![run] };
                for half in halves {
                    out.extend(count(0));
                    let length = unsigned(half as u64);
                    out.extend(if style == Style::Long { long(length, false) } else { length });
                }
                at += run;
            }
            Some(value) if (run > 1 && style != Style::Literal) || style == Style::Single => {
                let halves = match style {
                    Style::Split => vec![run / 2, run - run / 2],
                    _ => vec![run],
                };
                for half in halves {
                    out.extend(count(half as i64));
                    out.extend(value);
                }
                at += run;
            }
            Some(_) => {
                let mut end = at;
                while end < values.len()
                    && values[end].is_some()
                    && (style == Style::Literal || length(end) == 1)
                {
                    end += 1;
                }
                if style == Style::Split && end - at > 1 {
                    end = at + 1;
                }
                out.extend(count(-((end - at) as i64)));
                values[at..end].iter().flatten().for_each(|value| out.extend(value));
                at = end;
            }
        }
    }
    out
}

fn booleans(values: &[bool]) -> Vec<u8> {
    let (mut out, mut now, mut length) = (Vec::new(), false, 0);
    for value in values {
        if *value != now {
            leb(length, &mut out);
            (now, length) = (*value, 0);
        }
        length += 1;
    }
    if length > 0 {
        leb(length, &mut out);
    }
    out
}

/// Numbers as differences to the one before.
fn deltas(values: impl Iterator<Item = Option<u64>>) -> Vec<Option<Vec<u8>>> {
    let mut before = 0_i64;
    values
        .map(|value| {
            let value = value? as i64;
            let delta = value.wrapping_sub(before);
            before = value;
            Some(signed(delta))
        })
        .collect()
}

/// The columns of a draft by their specification.
pub fn columns(draft: &Draft, others: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    styled(draft, others, Style::Plain, 0)
}

/// The same with one column, or all of them if it is 0, in another style.
pub fn styled(draft: &Draft, others: &[Vec<u8>], style: Style, which: u64) -> Vec<(u64, Vec<u8>)> {
    let index = |id: &Id| {
        let found = others.iter().position(|actor| *actor == id.actor);
        if id.actor == draft.actor { 0 } else { found.map_or(others.len() as u64 + 1, |at| at as u64 + 1) }
    };
    let ops = &draft.ops;
    let numbers =
        |values: Vec<Option<u64>>| values.into_iter().map(|value| value.map(unsigned)).collect::<Vec<_>>();
    let element = |op: &Op| match &op.key {
        Key::Element(id) | Key::Both(_, id) => Some(id.clone()),
        _ => None,
    };
    let element_counter = |op: &Op| match &op.key {
        Key::Head => Some(0),
        _ => element(op).map(|id| id.counter),
    };
    let name = |op: &Op| match &op.key {
        Key::Name(name) | Key::Both(name, _) => Some(text(name)),
        _ => None,
    };
    let meta = |op: &Op| (op.claims.unwrap_or(op.value.1.len() as u64) << 4) | op.value.0;
    let preds = || ops.iter().flat_map(|op| &op.preds);
    let packed: [(u64, Vec<Option<Vec<u8>>>); 10] = [
        (1, numbers(ops.iter().map(|op| op.object.as_ref().map(index)).collect())),
        (2, numbers(ops.iter().map(|op| op.object.as_ref().map(|id| id.counter)).collect())),
        (17, numbers(ops.iter().map(|op| element(op).as_ref().map(index)).collect())),
        (19, deltas(ops.iter().map(element_counter))),
        (21, ops.iter().map(name).collect()),
        (66, numbers(ops.iter().map(|op| Some(op.action)).collect())),
        (86, numbers(ops.iter().map(|op| Some(meta(op))).collect())),
        (112, numbers(ops.iter().map(|op| Some(op.preds.len() as u64)).collect())),
        (113, numbers(preds().map(|id| Some(index(id))).collect())),
        (115, deltas(preds().map(|id| Some(id.counter)))),
    ];
    let mut columns: Vec<(u64, Vec<u8>)> = packed
        .into_iter()
        .filter(|(_, values)| values.iter().any(Option::is_some))
        .map(|(spec, values)| {
            let style = if which == 0 || which == spec { style } else { Style::Plain };
            (spec, runs(&values, style))
        })
        .collect();
    columns.push((52, booleans(&ops.iter().map(|op| op.insert).collect::<Vec<_>>())));
    columns.push((87, ops.iter().flat_map(|op| op.value.1.clone()).collect()));
    columns.retain(|(_, bytes)| !bytes.is_empty());
    columns.sort();
    columns
}

impl Parts {
    pub fn write(&self) -> EncodedChange {
        framed(1, &self.body())
    }

    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        leb(self.deps.len() as u64, &mut body);
        self.deps.iter().for_each(|dep| body.extend_from_slice(dep.as_bytes()));
        body.extend(text(&self.actor));
        leb(self.seq, &mut body);
        leb(self.start_op, &mut body);
        body.extend(signed(self.time));
        body.extend(text(&self.message));
        leb(self.others.len() as u64, &mut body);
        self.others.iter().for_each(|other| body.extend(text(other)));
        leb(self.columns.len() as u64, &mut body);
        for (spec, bytes) in &self.columns {
            leb(*spec, &mut body);
            leb(bytes.len() as u64, &mut body);
        }
        self.columns.iter().for_each(|(_, bytes)| body.extend_from_slice(bytes));
        body.extend_from_slice(&self.extra);
        body
    }

    pub fn column(&mut self, spec: u64) -> Option<&mut Vec<u8>> {
        self.columns.iter_mut().find(|(found, _)| *found == spec).map(|(_, bytes)| bytes)
    }

    /// Sets a column, or leaves it out if there is nothing in it.
    pub fn set(&mut self, spec: u64, bytes: Vec<u8>) {
        self.columns.retain(|(found, _)| *found != spec);
        if !bytes.is_empty() {
            self.columns.push((spec, bytes));
            self.columns.sort();
        }
    }
}
