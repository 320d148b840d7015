//! Rows to be written together: a value, until a store commits it.

use super::Row;
use super::tables::Table;
use std::collections::BTreeMap;

/// Rows to be written together. The last write to a key counts.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) rows: BTreeMap<Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl Batch {
    /// Writes an unsealed fact.
    pub fn put_plain(&mut self, name: &str, value: &[u8]) {
        self.put(Table::Plain, name.as_bytes().to_vec(), value.to_vec());
    }

    /// Writes a value.
    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.rows.entry(table).or_default().insert(key, Some(value));
    }

    /// Removes a value.
    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.rows.entry(table).or_default().insert(key, None);
    }

    /// What this batch says of a key: nothing, a removal, or a value.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.rows.get(&table)?.get(key).map(Option::as_deref)
    }

    /// What this batch says of a table, in key order.
    pub(crate) fn rows_of(&self, table: Table) -> impl Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        self.rows.get(&table).into_iter().flatten()
    }

    /// The last value at or before `key` that this batch writes, of those whose key begins with `prefix`.
    pub(crate) fn last_at(&self, table: Table, prefix: &[u8], key: &[u8]) -> Option<Row> {
        let written = self.rows_of(table).filter(|(at, _)| at.starts_with(prefix) && at.as_slice() <= key);
        written.filter_map(|(at, value)| Some((at.clone(), value.clone()?))).last()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many tables it touches.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.rows.len()
    }
}
