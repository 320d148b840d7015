//! One caller's key for two different things, on devices that had not heard of each other: whoever repeated a call
//! elsewhere wanted it once and has it twice. Both stay, and a card says so.

use super::Engine;
use super::card_kind::CardKind;
use super::cards::new_card_of;
use super::stage::Stage;
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, CardEnd, UseRow, UsesRow};
use crate::store::tables::{Table, key};
use syncd_schema::{Digest, Entry, cbor, domain};

/// Uses of one key that are remembered: two show the collision.
const USES: usize = 16;

impl Engine {
    /// Remembers that an admitted entry used its caller's key, and asks when another entry had used it for something else.
    pub(super) fn note_key(&mut self, stage: &mut Stage, entry: &Entry) -> Result<(), StoreError> {
        let (Some(name), Some(subject)) = (key_name(entry), &entry.subject) else { return Ok(()) };
        let mut row = self.uses(Some(stage), &name)?;
        let known = |used: &UseRow| used.operation == entry.operation;
        if row.uses.iter().any(known) || row.uses.len() >= USES {
            return Ok(());
        }
        let old = self.replay_card(&name, &row);
        row.uses.push(UseRow { operation: entry.operation, payload: entry.payload_digest });
        row.uses.sort_unstable();
        let new = self.replay_card(&name, &row);
        stage.batch.put(Table::Idempotency, name.0.to_vec(), cbor::encode(&row));
        let Some(card) = new.filter(|_| old != new) else { return Ok(()) };
        if let Some(old) = old
            && let Some(asked) = self.card_row(Some(stage), &old)?.filter(|row| row.end.is_none())
        {
            self.end_card(stage, old, asked, vec![card], None);
        }
        // Somebody's answer may have come before the second use.
        if self.card_row(Some(stage), &card)?.is_none() {
            let asked = new_card_of(subject, CardKind::ReplayCollision, AboutRow::Replay(name), stage);
            self.open_card(stage, card, &asked);
        }
        Ok(())
    }

    /// Ends the card about a key that a resolution names, also where it was never opened.
    pub(super) fn settle_keys(
        &mut self,
        stage: &mut Stage,
        decided: &super::decided::Decided,
    ) -> Result<(), StoreError> {
        let Some(settles) = &decided.settles else { return Ok(()) };
        if settles.question != crate::conflict::Question::Change(settles.card) {
            return Ok(());
        }
        match self.card_row(Some(stage), &settles.card)? {
            Some(row) if row.end.is_none() && matches!(row.about, AboutRow::Replay(_)) => {
                self.end_card(stage, settles.card, row, Vec::new(), Some(decided.row.clone()));
            }
            Some(_) => {}
            None => {
                let Some(subject) = &decided.subject else { return Ok(()) };
                let about = AboutRow::Replay(Digest([0; 32]));
                let mut row = new_card_of(subject, CardKind::ReplayCollision, about, stage);
                let by = Some(decided.row.clone());
                row.end = Some(CardEnd { at: stage.now, successors: Vec::new(), by });
                stage.batch.put(Table::Cards, key::card(&settles.card, false), cbor::encode(&row));
            }
        }
        Ok(())
    }

    /// The uses of a key.
    pub(super) fn uses(&self, stage: Option<&Stage>, name: &Digest) -> Result<UsesRow, StoreError> {
        let at = &name.0;
        let row = match stage.and_then(|stage| stage.batch.get(Table::Idempotency, at)) {
            Some(staged) => staged.map(|bytes| rows::decode(Table::Idempotency, at, bytes)).transpose()?,
            None => rows::read(&self.store, Table::Idempotency, at)?,
        };
        Ok(row.unwrap_or_default())
    }

    /// The card about a key that was used for different things.
    pub(super) fn replay_card(&self, name: &Digest, row: &UsesRow) -> Option<Digest> {
        let first = row.uses.first()?;
        if row.uses.iter().all(|used| used.payload == first.payload) {
            return None;
        }
        let uses: Vec<u8> = row.uses.iter().flat_map(|used| used.operation.0).collect();
        Some(domain::hash("card", &[self.workspace.as_bytes(), b"replay", &name.0, &uses]))
    }
}

/// What the uses of a caller's key stand under.
fn key_name(entry: &Entry) -> Option<Digest> {
    let key = entry.idempotency_key.as_ref()?;
    Some(domain::hash("idempotency-use", &[entry.actor.to_string().as_bytes(), key.as_bytes()]))
}
