//! The layer of policy that is a device's alone.
//!
//! It is asked about what this device writes and about nothing else: what others wrote is judged without it, or devices
//! that hold the same entries would show different things. It comes as text, since an engine reads no files. Every text
//! there ever was is kept, so that past decisions can be made again.

use super::Engine;
use crate::store::rows;
use crate::store::tables::Table;
use crate::store::{Batch, StoreError};
use std::collections::BTreeMap;
use syncd_policy::PolicyError;
use syncd_schema::{cbor, domain};

/// Begins the names of the rows of `keys` that hold the texts.
const ROWS: &[u8] = b"policy/";

/// Why a device's own policy is not taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnPolicyError {
    /// The text is not accepted; the one that was in force stays so.
    #[error(transparent)]
    Text(#[from] PolicyError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// This device's own policy, if it has one.
    #[must_use]
    pub fn own_policy(&self) -> Option<&str> {
        self.own_policy.as_deref()
    }

    /// Puts another policy of this device in force, or none, from the next write on.
    ///
    /// # Errors
    /// When the text is not accepted, or cannot be kept: then the one before stays in force.
    pub fn set_own_policy(&mut self, text: Option<String>) -> Result<(), OwnPolicyError> {
        self.gate.compile(&BTreeMap::new(), text.as_deref())?;
        self.ensure_clean()?;
        let before = std::mem::replace(&mut self.own_policy, text);
        if let Err(error) = self.keep_own_policy() {
            self.own_policy = before;
            return Err(error.into());
        }
        self.rules_at.clear();
        self.refresh_rules();
        Ok(())
    }

    /// Keeps the text in force among those that were.
    pub(super) fn keep_own_policy(&mut self) -> Result<(), StoreError> {
        let Some(text) = &self.own_policy else { return Ok(()) };
        let at = [ROWS, domain::sha256(text.as_bytes()).as_bytes()].concat();
        if self.store.get(Table::Keys, &at)?.is_some() {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.put(Table::Keys, at, cbor::encode(text));
        self.store.commit(batch)
    }

    /// Every policy that this device has had of its own.
    pub(super) fn own_policies(&self) -> Result<Vec<String>, StoreError> {
        let kept = self.store.prefix(Table::Keys, ROWS)?;
        kept.iter().map(|(at, bytes)| rows::decode(Table::Keys, at, bytes)).collect()
    }
}
