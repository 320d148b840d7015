//! Cards that nobody answered: where the manifest says so, the program answers them after a while.
//!
//! Clocks end nothing here. A device on which a card has been open for long enough writes an answer, signed and judged
//! like any other, by the daemon's own actor; others take it because it is one, whatever their clocks say. What it
//! answers follows from the sides alone, so that devices which do it at once write the same bytes: of several sides the
//! newest by its author's clock stays, and an object that was deleted and worked on stays. Other questions wait for a person:
//! in some every answer takes something away, and what a machine proposed no machine answers.

use super::asked::Offer;
use super::card_kind::CardKind;
use super::intent::{Intent, WriteError, WriteRequest};
use super::judge::MACHINE_GENERATIONS;
use super::resolve::Resolve;
use super::{Engine, Event};
use crate::conflict::Choice;
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, CardRow};
use crate::store::tables::Table;
use syncd_schema::{Actor, Digest, UnixMicros};

/// Answers written in one call: each is a commit of its own.
const AT_ONCE: usize = 64;

impl Engine {
    /// Answers the cards that have been open for longer than their collections' manifests let them. To be called every
    /// now and then; costs nothing where no manifest says so.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn expire_cards(&mut self, now: UnixMicros) -> Result<Vec<Event>, StoreError> {
        let mut events = Vec::new();
        if !self.governance().manifests.values().any(|manifest| manifest.cards.is_some()) {
            return Ok(events);
        }
        for card in self.overdue(now)? {
            let because = Some("nobody answered in time".to_owned());
            let resolve = Resolve { card, choice: Choice::Expire, value: None, pick: None, because };
            let request = WriteRequest::new(Actor::system(), Intent::Resolve(resolve));
            let (answers, told) = self.write(&[request], now)?;
            events.extend(told);
            if let Some(Err(error)) = answers.into_iter().next() {
                if let WriteError::NotWritten(_) = error {
                    break;
                }
                tracing::info!(%card, %error, "a card stays open after its time");
                self.not_expiring.insert(card);
            }
        }
        Ok(events)
    }

    fn overdue(&self, now: UnixMicros) -> Result<Vec<Digest>, StoreError> {
        let mut overdue = Vec::new();
        for (at, bytes) in self.store.prefix(Table::Cards, &[0])? {
            let Some(card) = at.get(1..).and_then(|id| id.try_into().ok()).map(Digest) else { continue };
            let row: CardRow = rows::decode(Table::Cards, &at, &bytes)?;
            let is_due = self.expires(&row).is_some_and(|due| due <= now);
            if is_due && !self.not_expiring.contains(&card) {
                overdue.push(card);
            }
            if overdue.len() >= AT_ONCE {
                break;
            }
        }
        Ok(overdue)
    }

    /// When this device will answer a card if nobody has; none if it will not.
    pub(super) fn expires(&self, row: &CardRow) -> Option<UnixMicros> {
        // Answers that contradict each other were given: people talk about them.
        let is_first = CardKind::of_row(row) != CardKind::ConflictingAnswers;
        let answers = is_first && matches!(row.about, AboutRow::Conflict(_) | AboutRow::Deletion);
        let may = answers && row.end.is_none() && row.generation < MACHINE_GENERATIONS;
        let manifest = self.governance().manifests.get(&row.collection).filter(|_| may)?;
        let hours = manifest.cards.as_ref()?.expire_after_hours;
        Some(row.opened.plus(u64::from(hours) * 3_600_000_000))
    }
}

/// The side that was written last, by its author's clock.
pub(super) fn newest(offers: &[Offer]) -> Option<&Offer> {
    let written =
        |offer: &&Offer| offer.author.as_ref().map(|(device, entry)| (entry.time, *device, entry.operation));
    offers.iter().max_by_key(written)
}
