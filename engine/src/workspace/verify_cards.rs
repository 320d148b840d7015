//! Whether the cards of a store are those that its objects, its waiting entries and its ledger speak of.

use super::Engine;
use super::verify::Walk;
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, BurstRow, CardRow, LinksRow, ObjectRow};
use crate::store::tables::{Table, key};
use std::collections::{BTreeMap, BTreeSet};
use syncd_evidence::{Record, RecordKind};
use syncd_schema::burst::{self, Burst};
use syncd_schema::{Digest, EntryKind, LogId};

/// The card that a record of the ledger says was opened.
pub(super) fn opened_by(record: &Record) -> Option<Digest> {
    let note = record.note.as_deref().filter(|_| record.kind == RecordKind::Conflict)?;
    note.strip_prefix("card ")?.split(':').next()?.parse().ok()
}

impl Engine {
    /// Compares cards with what they are about, in both directions, and with what the ledger says was asked.
    pub(super) fn verify_cards(&self, walk: &mut Walk) -> Result<(), StoreError> {
        for at in self.store.keys(Table::Cards, &[], usize::MAX)? {
            let Some(card) = at.get(1..).and_then(|id| id.try_into().ok()).map(Digest) else { continue };
            let Ok(Some(row)) = rows::read::<CardRow>(&self.store, Table::Cards, &at) else { continue };
            let is_open = at.first() == Some(&0);
            if is_open != row.end.is_none() {
                walk.violation(place(&card), "it is filed as open and was ended, or the other way round");
            } else if is_open && !self.is_asked(&card, &row)? {
                walk.violation(place(&card), "it is open, and nothing in the workspace asks it");
            }
        }
        for card in std::mem::take(&mut walk.cards) {
            if self.store.get(Table::Cards, &key::card(&card, true)).is_ok_and(|row| row.is_none())
                && self.store.get(Table::Cards, &key::card(&card, false)).is_ok_and(|row| row.is_none())
            {
                walk.violation(place(&card), "the ledger says that it was opened, and it is gone");
            }
        }
        for (at, row) in self.pending.iter() {
            if let (Some(object), Some(change)) = (&row.object, &row.asks) {
                let card = match row.in_burst {
                    true => self.burst_card(change, &self.open_part(None, change)?),
                    false => Some(self.held_card(object, change)),
                };
                // Deletions that are answered wait for nobody but this device.
                let Some(card) = card else { continue };
                if self.store.get(Table::Cards, &key::card(&card, true))?.is_none() {
                    let text = format!("entry {} of log {} waits for it, and it is not open", at.1, at.0.0);
                    walk.violation(place(&card), text);
                }
            }
        }
        Ok(())
    }

    /// Notes what an entry answers about deletions in a row.
    pub(super) fn verify_answer(&self, record: &LogRecord, walk: &mut Walk) {
        let payload = record.payload.as_deref().filter(|_| record.entry.kind == EntryKind::BURST);
        let said = payload.and_then(|payload| Burst::from_bytes(payload).ok());
        if let (Some(Burst::Answer(answer)), Some(subject)) = (said, &record.entry.subject) {
            let log = LogId { workspace: self.workspace, device: answer.device, epoch: answer.epoch };
            let of = burst::name(&log, &answer.actor, &subject.collection);
            walk.answers.entry(of).or_default().insert(record.entry.operation);
        }
    }

    /// Compares what is kept of answers about deletions in a row with the entries that give them.
    pub(super) fn verify_bursts(&self, walk: &mut Walk) -> Result<(), StoreError> {
        let mut expected = std::mem::take(&mut walk.answers);
        for at in self.store.keys(Table::Bursts, &[], usize::MAX)? {
            let Ok(Some(row)) = rows::read::<BurstRow>(&self.store, Table::Bursts, &at) else { continue };
            let of = burst::name(&row.log, &row.actor, &row.collection);
            let kept: BTreeSet<_> = row.answers.iter().map(|answer| answer.by.operation).collect();
            if of.0.as_slice() != at || expected.remove(&of).as_ref() != Some(&kept) {
                let place = format!("table bursts, key {}", hex::encode(&at));
                walk.violation(place, "the logs give other answers");
            }
        }
        for of in expected.into_keys() {
            walk.violation(format!("table bursts, key {of}"), "it is missing");
        }
        Ok(())
    }

    /// Compares the index of links with what the documents say.
    pub(super) fn verify_links(
        &self,
        mut expected: BTreeMap<Vec<u8>, Vec<u8>>,
        walk: &mut Walk,
    ) -> Result<(), StoreError> {
        for at in self.store.keys(Table::Links, &[], usize::MAX)? {
            let said = self.store.get(Table::Links, &at).unwrap_or_default();
            if expected.remove(&at).is_none_or(|right| said.is_some_and(|said| said != right)) {
                let place = format!("table links, key {}", hex::encode(&at));
                walk.violation(place, "it is not what the object's document says");
            }
        }
        for at in expected.into_keys() {
            walk.violation(format!("table links, key {}", hex::encode(at)), "it is missing");
        }
        Ok(())
    }

    /// Notes what competes between objects and lives, and has no card.
    pub(super) fn verify_competing(&self, walk: &mut Walk) -> Result<(), StoreError> {
        let mut expected: BTreeMap<Digest, String> = BTreeMap::new();
        let mut last = None;
        for at in self.store.keys(Table::Objects, &[], usize::MAX)? {
            let Some((object, ..)) = key::parse_object(&at) else { continue };
            if last.replace(object.clone()) == Some(object.clone()) {
                let lives = self.object_lives(&object)?;
                expected
                    .extend(self.lives_card(&lives).map(|(card, _)| (card, format!("lives of {object}"))));
            }
        }
        for at in self.store.keys(Table::Links, &[], usize::MAX)? {
            match at.split_first() {
                Some((0, rest)) => {
                    let digest = rest.first_chunk::<32>().copied().map(Digest).unwrap_or(Digest([0; 32]));
                    let card = self.shared_card(&digest, &self.sharing(&digest)?);
                    expected.extend(card.map(|card| (card, "a value that several objects share".to_owned())));
                }
                Some((2, rest)) => {
                    let (Some(source), Ok(Some(links))) =
                        (key::parse_object(rest), rows::read::<LinksRow>(&self.store, Table::Links, &at))
                    else {
                        continue;
                    };
                    for target in &links.targets {
                        if self.is_gone(None, target)? {
                            let text = format!("a reference to {}", target.object);
                            expected.insert(self.dangling_card(&source, target), text);
                        }
                    }
                }
                _ => {}
            }
        }
        for (card, about) in expected {
            if self.store.get(Table::Cards, &key::card(&card, true)).is_ok_and(|row| row.is_none()) {
                walk.violation(place(&card), format!("it asks about {about}, and it is not open"));
            }
        }
        Ok(())
    }

    /// Notes cards that an object has and the table has not.
    pub(super) fn verify_asked(&self, row: &ObjectRow, walk: &mut Walk) -> Result<(), StoreError> {
        for card in &row.cards {
            if self.store.get(Table::Cards, &key::card(card, true)).is_ok_and(|found| found.is_none()) {
                walk.violation(place(card), format!("object {} has it, and it is not open", row.object));
            }
        }
        Ok(())
    }

    fn is_asked(&self, card: &Digest, row: &CardRow) -> Result<bool, StoreError> {
        let object = (row.object.clone(), row.collection.clone(), row.incarnation);
        Ok(match row.about {
            AboutRow::Conflict(_) | AboutRow::Deletion | AboutRow::Value(_) | AboutRow::Heads => {
                self.object_row(&object)?.is_some_and(|row| row.cards.contains(card))
            }
            AboutRow::Lives => {
                let lives = self.object_lives(&row.object)?;
                self.lives_card(&lives).is_some_and(|(asked, _)| asked == *card)
            }
            AboutRow::Unique(digest) => self.shared_card(&digest, &self.sharing(&digest)?) == Some(*card),
            AboutRow::Replay(name) => self.replay_card(&name, &self.uses(None, &name)?) == Some(*card),
            AboutRow::Late => self.asks_about_late(card, row),
            AboutRow::Dangling(ref target) => {
                self.dangling_card(&object, target) == *card && self.is_gone(None, target)?
            }
            AboutRow::Burst(of) => self.burst_card(&of, &self.open_part(None, &of)?) == Some(*card),
            AboutRow::Held(no, seq) => {
                let asks = self.pending.get(&(no, seq)).and_then(|row| row.asks);
                asks.is_some_and(|change| self.held_card(&object, &change) == *card)
            }
        })
    }
}

fn place(card: &Digest) -> String {
    format!("table cards, card {card}")
}
