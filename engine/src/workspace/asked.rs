//! Cards as they are shown: what is asked, every side with its author and what that had seen, and what each answer does.

use super::burst::WINDOW;
use super::card_kind::CardKind;
use super::cards::competing_lives;
use super::judge::MACHINE_GENERATIONS;
use super::local::key_of;
use super::read::{Competing, CompetingValue};
use super::{Engine, ObjectKey};
use crate::conflict::{self, Alternative, Choice, Conflict};
use crate::document;
use crate::judgement::Violation;
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, CardEnd, CardRow, ObjectRow};
use crate::store::tables::Table;
use automerge::{Automerge, ChangeHash};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use syncd_schema::{Actor, Collection, DeviceId, Digest, Entry, ObjectId, OperationId, UnixMicros};

/// A card in a list.
#[derive(Clone, Debug, Serialize)]
pub struct CardSummary {
    /// Its id.
    pub card: Digest,
    /// The object it is about.
    pub object: ObjectId,
    /// Its collection.
    pub collection: Collection,
    /// Where in the object; empty for all of it.
    pub path: String,
    /// What kind of question it is.
    pub kind: &'static str,
    /// `open`, `resolved`, `expired` or `superseded`.
    pub status: &'static str,
    /// When it was opened here.
    pub at: String,
}

/// One answer to a card.
#[derive(Clone, Debug, Serialize)]
pub struct OptionView {
    /// The word for `resolve`.
    pub option: &'static str,
    /// What it does, on every device.
    pub consequence: String,
    /// Whether it is what most would choose.
    pub recommended: bool,
}

/// How a card was decided.
#[derive(Clone, Debug, Serialize)]
pub struct ResolutionView {
    /// The operation.
    pub operation: OperationId,
    /// What was chosen; `edit` or `delete` where somebody simply wrote.
    pub option: String,
    /// Who.
    pub actor: Actor,
    /// On which device.
    pub device: DeviceId,
    /// When, by that device's clock.
    pub at: String,
    /// Why, in the author's words.
    pub because: Option<String>,
}

/// One side of a card.
#[derive(Clone, Debug, Serialize)]
pub struct SideView {
    /// What it says, by whom.
    #[serde(flatten)]
    pub said: CompetingValue,
    /// Whether it is what is shown here.
    pub shown: bool,
    /// What its author had seen there.
    pub base: Value,
    /// The document's heads that its author had seen.
    pub seen: Vec<Digest>,
}

/// A card with all there is to know about it.
#[derive(Clone, Debug, Serialize)]
pub struct CardView {
    /// What lists show.
    #[serde(flatten)]
    pub summary: CardSummary,
    /// What may be answered; nothing when it is not open.
    pub options: Vec<OptionView>,
    /// The sides.
    pub values: Vec<SideView>,
    /// The sides' operations: for `resolve --pick`.
    pub operations: Vec<OperationId>,
    /// What the value breaks, where that is what is asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breaks: Vec<Violation>,
    /// Who may decide.
    pub may_decide: &'static str,
    /// How often the same has been decided already.
    pub generation: u32,
    /// When this device answers it, if nobody has by then and the collection's manifest wants that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<ResolutionView>,
    /// Cards in its place.
    pub superseded_by: Vec<Digest>,
    /// Cards that it took the place of.
    pub supersedes: Vec<Digest>,
}

/// Something to choose, with the operations that stand for it.
pub(super) struct Offer {
    pub(super) alternative: Alternative,
    /// The operation it is named by, and all that stand for it.
    pub(super) operations: Vec<OperationId>,
    pub(super) author: Option<(Option<DeviceId>, Entry)>,
    /// The object that is one side of several.
    pub(super) object: Option<ObjectId>,
}

/// Entries by their change, each with its device.
pub(super) type Authors = BTreeMap<Digest, (Option<DeviceId>, Entry)>;

impl Engine {
    /// The open cards, or all there ever were here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cards(&self, all: bool) -> Result<Vec<CardSummary>, StoreError> {
        let prefix: &[u8] = if all { &[] } else { &[0] };
        let mut cards = Vec::new();
        for (at, bytes) in self.store.prefix(Table::Cards, prefix)? {
            let Some(id) = at.get(1..).and_then(|id| id.try_into().ok()).map(Digest) else { continue };
            cards.push(summary(id, &rows::decode(Table::Cards, &at, &bytes)?));
        }
        cards.sort_by(|one, other| (&one.at, &one.card).cmp(&(&other.at, &other.card)));
        Ok(cards)
    }

    /// How many cards are open.
    pub(super) fn open_cards(&self) -> Result<u64, StoreError> {
        Ok(self.store.keys(Table::Cards, &[0], usize::MAX)?.len() as u64)
    }

    /// The card with this id, or the only one whose id begins so: at least eight digits.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn find_card(&self, text: &str) -> Result<Option<Digest>, StoreError> {
        if let Ok(card) = text.parse::<Digest>() {
            return Ok(self.card_row(None, &card)?.map(|_| card));
        }
        let Some(start) = (text.len() >= 8).then(|| hex::decode(text.get(..text.len() & !1)?).ok()).flatten()
        else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for state in [0, 1] {
            for at in self.store.keys(Table::Cards, &[&[state], start.as_slice()].concat(), 3)? {
                found.extend(at.get(1..).and_then(|id| id.try_into().ok()).map(Digest));
            }
        }
        found.retain(|card: &Digest| card.to_string().starts_with(text));
        Ok(if let [card] = found.as_slice() { Some(*card) } else { None })
    }

    /// A card with its sides and options.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn card(&mut self, card: &Digest) -> Result<Option<CardView>, StoreError> {
        let Some(row) = self.card_row(None, card)? else { return Ok(None) };
        let offers = if row.end.is_none() { self.offers(&row)? } else { self.decided_offers(&row)? };
        let mut values = Vec::new();
        for offer in &offers {
            values.push(self.side_view(&row, offer)?);
        }
        let breaks = self.broken_by(&row)?;
        let end = row.end.as_ref();
        let decided =
            end.and_then(|end| end.by.as_ref()).filter(|_| end.is_some_and(|end| end.successors.is_empty()));
        Ok(Some(CardView {
            summary: summary(*card, &row),
            options: if end.is_none() { self.options(&row, &offers) } else { Vec::new() },
            operations: values.iter().filter_map(|side| side.said.operation).collect(),
            values,
            breaks,
            may_decide: if row.about == AboutRow::Late {
                "a person who governs: an owner or admin"
            } else if self.is_for_people(&row)? || matches!(row.about, AboutRow::Burst(_)) {
                "a person"
            } else {
                "a person or an agent"
            },
            generation: row.generation,
            expires_at: self.expires(&row).map(UnixMicros::rfc3339),
            resolution: decided.map(|by| ResolutionView {
                operation: by.operation,
                option: by.choice.clone(),
                actor: by.actor.clone(),
                device: by.device,
                at: by.at.rfc3339(),
                because: by.because.clone(),
            }),
            superseded_by: end.map(|end| end.successors.clone()).unwrap_or_default(),
            supersedes: row.before,
        }))
    }

    /// Whether machines are not asked: they have decided often enough, or one of them proposed it.
    fn is_for_people(&mut self, row: &CardRow) -> Result<bool, StoreError> {
        if row.generation >= MACHINE_GENERATIONS || matches!(row.about, AboutRow::Held(..)) {
            return Ok(true);
        }
        let key: ObjectKey = (row.object.clone(), row.collection.clone(), row.incarnation);
        let Some(object) = self.object_row(&key)? else { return Ok(false) };
        let Some(conflict) = conflict_of(self.stored_contradictions(&object)?, row) else { return Ok(false) };
        self.with_whole(&object, |doc| conflict::proposal(doc, &conflict).is_some())
    }

    /// What there is to choose from.
    pub(super) fn offers(&mut self, row: &CardRow) -> Result<Vec<Offer>, StoreError> {
        let key: ObjectKey = (row.object.clone(), row.collection.clone(), row.incarnation);
        match &row.about {
            AboutRow::Conflict(id) => {
                let Some(object) = self.object_row(&key)? else { return Ok(Vec::new()) };
                let conflicts = self.stored_contradictions(&object)?;
                let Some(conflict) = conflicts.into_iter().find(|conflict| conflict.id() == *id) else {
                    return Ok(Vec::new());
                };
                let authors = self.authors(&object)?;
                let own = self.device();
                let mut alternatives =
                    self.with_whole(&object, |doc| conflict::alternatives(doc, &conflict))?;
                if self.holds_back(&key) {
                    self.with_document(&object, |doc| {
                        conflict::show_held(doc, &conflict, &mut alternatives);
                    })?;
                }
                choose_shown(&mut alternatives, &authors, own);
                Ok(alternatives.into_iter().map(|alternative| offer(alternative, &authors)).collect())
            }
            AboutRow::Deletion => self.deletion_offers(&key),
            AboutRow::Lives => self.life_offers(&row.object),
            AboutRow::Held(no, seq) => self.held_offers(&key, (*no, *seq)),
            AboutRow::Heads => self.head_offers(&key),
            AboutRow::Replay(name) => {
                let mut offers = Vec::new();
                for used in self.uses(None, name)?.uses {
                    let Some(found) = self.find_operation(used.operation)? else { continue };
                    let device = self.log_id(found.no).map(|log| log.device);
                    let value =
                        serde_json::json!(found.record.entry.subject.as_ref().map(|about| &about.object));
                    let keep = conflict::Keep::Gone;
                    let changes = vec![used.payload];
                    let alternative =
                        Alternative { change: used.payload, changes, value, keep, is_shown: true };
                    let (operations, author) = (vec![used.operation], Some((device, found.record.entry)));
                    offers.push(Offer { alternative, operations, author, object: None });
                }
                Ok(offers)
            }
            AboutRow::Late => self.late_offers(&key),
            AboutRow::Burst(of) => self.burst_offers(of),
            AboutRow::Value(_) => self.object_offers(&[key]),
            AboutRow::Unique(digest) => {
                let objects: Vec<ObjectKey> = self.sharing(digest)?.into_iter().collect();
                self.object_offers(&objects)
            }
            AboutRow::Dangling(target) => {
                let mut offers = self.object_offers(&[key])?;
                for life in self.object_lives(&target.object)? {
                    if life.collection == target.collection {
                        offers.extend(self.object_offers(&[key_of(&life)])?);
                    }
                }
                Ok(offers)
            }
        }
    }

    /// The entries of an object by their changes; of equal changes in several logs the oldest.
    pub(super) fn authors(&self, object: &ObjectRow) -> Result<Authors, StoreError> {
        let mut authors = Authors::new();
        let mut entries = self.entries_of(&self.sources_of(object)?)?;
        for (no, seq) in self.apart(&key_of(object)) {
            entries.extend(self.record_at(no, seq)?.map(|record| (no, seq, record.entry)));
        }
        for (no, _, entry) in entries {
            let device = self.log_id(no).map(|log| log.device);
            let is_older =
                |(other, known): &(Option<DeviceId>, Entry)| (entry.time, device) < (known.time, *other);
            if authors.get(&entry.payload_digest).is_none_or(is_older) {
                authors.insert(entry.payload_digest, (device, entry));
            }
        }
        Ok(authors)
    }

    fn deletion_offers(&mut self, key: &ObjectKey) -> Result<Vec<Offer>, StoreError> {
        let Some(object) = self.object_row(key)? else { return Ok(Vec::new()) };
        let authors = self.authors(&object)?;
        let value = self.with_document(&object, document::read)?;
        let is_gone = |head: &&Digest| object.deleted().any(|gone| gone == *head);
        let heads: Vec<Digest> = object.known_heads().iter().filter(|head| !is_gone(head)).copied().collect();
        let last = heads.iter().max_by_key(|head| authors.get(*head).map(|(_, entry)| entry.time));
        let stays = last.map(|last| Alternative {
            change: *last,
            changes: heads.clone(),
            value,
            keep: conflict::Keep::Gone,
            is_shown: true,
        });
        let mut offers: Vec<Offer> = stays.into_iter().map(|stays| offer(stays, &authors)).collect();
        offers.extend(self.gone(&object, None)?);
        Ok(offers)
    }

    /// The states that an object's authors left without knowledge of each other.
    fn head_offers(&mut self, key: &ObjectKey) -> Result<Vec<Offer>, StoreError> {
        let Some(object) = self.object_row(key)? else { return Ok(Vec::new()) };
        let authors = self.authors(&object)?;
        let mut offers = Vec::new();
        for head in object.known_heads() {
            let value = self.with_whole(&object, |doc| document::read_past(doc, &[*head]))?;
            let keep = conflict::Keep::Gone;
            let side = Alternative { change: *head, changes: vec![*head], value, keep, is_shown: false };
            offers.push(side);
        }
        choose_shown(&mut offers, &authors, self.device());
        Ok(offers.into_iter().map(|side| offer(side, &authors)).collect())
    }

    /// Whole objects as sides: the oldest is the one that stays where one has to go.
    fn object_offers(&mut self, objects: &[ObjectKey]) -> Result<Vec<Offer>, StoreError> {
        let mut found = Vec::new();
        for key in objects {
            let Some(object) = self.object_row(key)? else { continue };
            let authors = self.authors(&object)?;
            let last = authors.values().max_by_key(|(device, entry)| (entry.time, *device)).cloned();
            let alternative = Alternative {
                change: Digest(object.incarnation.0),
                changes: object.heads.clone(),
                value: if object.is_tombstoned() { Value::Null } else { self.value_of(&object)? },
                keep: conflict::Keep::Gone,
                is_shown: false,
            };
            let operations = authors.values().map(|(_, entry)| entry.operation).collect();
            found.push((
                object.created,
                object.object.clone(),
                Offer { alternative, operations, author: last, object: Some(object.object.clone()) },
            ));
        }
        found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        let mut offers: Vec<Offer> = found.into_iter().map(|(_, _, offer)| offer).collect();
        if let Some(first) = offers.first_mut() {
            first.alternative.is_shown = true;
        }
        Ok(offers)
    }

    fn life_offers(&mut self, object: &ObjectId) -> Result<Vec<Offer>, StoreError> {
        let lives = self.object_lives(object)?;
        let shown = self.standing_lives(object)?.first().map(|row| row.incarnation);
        let mut offers = Vec::new();
        let all_ended = lives.iter().all(ObjectRow::is_tombstoned);
        for life in competing_lives(&lives) {
            let authors = self.authors(life)?;
            let last = authors.values().max_by_key(|(device, entry)| (entry.time, *device)).cloned();
            let alternative = Alternative {
                change: Digest(life.incarnation.0),
                changes: life.heads.clone(),
                value: match life.is_tombstoned() && !all_ended {
                    true => Value::Null,
                    false => self.with_document(life, document::read)?,
                },
                keep: conflict::Keep::Gone,
                is_shown: shown == Some(life.incarnation),
            };
            let operations = authors.values().map(|(_, entry)| entry.operation).collect();
            offers.push(Offer { alternative, operations, author: last, object: None });
        }
        Ok(offers)
    }

    fn side_view(&mut self, row: &CardRow, offer: &Offer) -> Result<SideView, StoreError> {
        let key: ObjectKey = (row.object.clone(), row.collection.clone(), row.incarnation);
        let change = offer.alternative.change;
        let (seen, base) = match (&row.about, self.object_row(&key)?) {
            (AboutRow::Conflict(_), Some(object)) => {
                self.with_whole(&object, |doc| base_of(doc, &change, &row.path))?
            }
            _ => (Vec::new(), Value::Null),
        };
        // Of a text the sides' work is shown together, and neither of them as it was written.
        let shown = offer.alternative.is_shown && CardKind::of_row(row) != CardKind::OverlappingText;
        Ok(SideView { said: said(offer), shown, base, seen })
    }

    /// Every contradiction of an object's life that somebody is asked about.
    pub(super) fn competing(&mut self, object: &ObjectRow) -> Result<Vec<Competing>, StoreError> {
        let mut competing = Vec::new();
        for card in object.cards.iter().chain(&self.linked_cards(object)?) {
            let Some(row) = self.card_row(None, card)? else { continue };
            competing.extend(self.competing_at(card, &row)?);
        }
        Ok(competing)
    }

    /// What competes where a card asks.
    pub(super) fn competing_at(
        &mut self,
        card: &Digest,
        row: &CardRow,
    ) -> Result<Option<Competing>, StoreError> {
        if row.end.is_some() {
            return Ok(None);
        }
        let values = self.offers(row)?.iter().map(said).collect();
        Ok(Some(Competing { card: Some(card.to_string()), path: row.path.clone(), values }))
    }

    fn options(&self, row: &CardRow, offers: &[Offer]) -> Vec<OptionView> {
        let others = offers.iter().filter(|offer| !offer.alternative.is_shown).count();
        let pick = if others > 1 { " `--pick OPERATION` says whose." } else { "" };
        let at = if row.path.is_empty() { "the object".to_owned() } else { row.path.clone() };
        let is_text = CardKind::of_row(row) == CardKind::OverlappingText;
        let stands = offers.iter().find(|offer| offer.alternative.is_shown);
        let kept =
            stands.and_then(|offer| offer.author.as_ref()).map(|(_, entry)| entry.operation.to_string());
        let kept = kept.unwrap_or_default();
        let words = |choice: Choice| {
            match (&row.about, choice) {
            (AboutRow::Deletion, Choice::Local) => "The object stays, as it is shown here, on every device.".to_owned(),
            (AboutRow::Deletion, Choice::Remote) => "The object is deleted on every device, with the work that its deletion had not seen.".to_owned(),
            (AboutRow::Deletion, Choice::Fork) => "The object is deleted on every device, and what is shown here goes on as a second object.".to_owned(),
            (AboutRow::Lives, Choice::Local) => "The life that is shown here stays; the others are deleted on every device, and stay in its history.".to_owned(),
            (AboutRow::Lives, Choice::Remote) => format!("Another life takes its place; the one shown here is deleted on every device, and stays in its history.{pick}"),
            (AboutRow::Unique(_), Choice::Local) => "The oldest of the objects keeps the value; it is taken from the others on every device, and stays in their history.".to_owned(),
            (AboutRow::Unique(_), Choice::Remote) => format!("Another of the objects keeps the value; it is taken from the rest on every device, and stays in their history.{pick}"),
            (AboutRow::Dangling(_), Choice::Local) => format!("The reference at {at} is taken away on every device; what it referred to stays deleted."),
            (AboutRow::Dangling(_), Choice::Remote) => "What it refers to is brought back on every device.".to_owned(),
            (AboutRow::Replay(_), Choice::Merge) => "Both were meant and stay, on every device. If one was not, edit or delete what it made before you answer.".to_owned(),
            (AboutRow::Late, Choice::Merge) => "The members given with --value are written into the object as it is now; then the late work is dropped from every device, for good.".to_owned(),
            (AboutRow::Late, Choice::Decline) => "The late work is dropped from every device, for good, like what it was done to.".to_owned(),
            (AboutRow::Heads, Choice::Merge) => "All of it stays as it was brought together, or the value given with --value takes its place, on every device.".to_owned(),
            (AboutRow::Value(_), Choice::Merge) => "The value given with --value, which has to fit the collection, becomes the object's on every device.".to_owned(),
            (AboutRow::Held(..), Choice::Local | Choice::Decline) => "The change is let in together with what takes it back: nothing looks different, and everybody goes on.".to_owned(),
            (AboutRow::Held(..), Choice::Remote) => "The change is let in on every device.".to_owned(),
            (AboutRow::Burst(_), Choice::Remote) => format!("All of these deletions and rewrites happen on every device, and those that follow them among the next {WINDOW} operations there."),
            (AboutRow::Burst(_), _) => "None of these deletions and rewrites happens, on any device; the objects stay as they are.".to_owned(),
            (_, Choice::Local) if is_text => format!("The side of operation {kept} stays in the text at {at}, on every device, without what the others typed there; what is shown now has both. They stay in its history."),
            (_, Choice::Remote) if is_text => format!("The other side stays in the text at {at}, on every device, without what was typed there in operation {kept}; that stays in its history.{pick}"),
            (_, Choice::Merge) if is_text => format!("The text given with --value takes the place of what all sides typed at {at}, or the side of the operation given with --pick stays; the rest of the text stays as it is, on every device."),
            (_, Choice::Fork) if is_text => format!("The side of operation {kept} stays; a second object is made on every device with the other side.{pick}"),
            (_, Choice::Local) => format!("What is shown here stays at {at}, on every device; the other side stays in its history."),
            (_, Choice::Remote) => format!("The other side takes its place at {at}, on every device; what is shown here stays in its history.{pick}"),
            (_, Choice::Merge) => format!("The value given with --value, or that of the operation given with --pick, is written at {at} on every device."),
            (_, Choice::Fork) => format!("What is shown here stays; a second object is made on every device with the other side.{pick}"),
            (_, Choice::Decline | Choice::Expire) => String::new(),
        }
        };
        let fits = |choice: &Choice| match (&row.about, choice) {
            (AboutRow::Held(..), Choice::Decline) => true,
            (AboutRow::Late, choice) => matches!(choice, Choice::Merge | Choice::Decline),
            (AboutRow::Burst(_), choice) => matches!(choice, Choice::Remote | Choice::Decline),
            (AboutRow::Value(_) | AboutRow::Replay(_), choice) => *choice == Choice::Merge,
            (AboutRow::Unique(_) | AboutRow::Dangling(_), choice) => {
                matches!(choice, Choice::Local | Choice::Remote)
            }
            (_, Choice::Decline) => false,
            _ => true,
        };
        let option = |choice: Choice| OptionView {
            option: choice.word(),
            consequence: words(choice),
            // Nobody but the person who asks can know; losing nothing is the best advice there is.
            recommended: matches!(
                (&row.about, choice),
                (AboutRow::Lives, Choice::Fork)
                    | (AboutRow::Deletion, Choice::Local)
                    | (AboutRow::Burst(_), Choice::Decline)
            ),
        };
        Choice::ALL.into_iter().filter(fits).map(option).collect()
    }
}

/// Of a text nothing is shown as it was written: the side of this device stands for what is shown here.
fn choose_shown(alternatives: &mut [Alternative], authors: &Authors, own: DeviceId) {
    if alternatives.iter().any(|alternative| alternative.is_shown) {
        return;
    }
    let is_own = |alternative: &Alternative| {
        let devices = alternative.changes.iter().filter_map(|change| authors.get(change)?.0);
        devices.into_iter().any(|device| device == own)
    };
    let index = alternatives.iter().position(is_own).unwrap_or_default();
    if let Some(alternative) = alternatives.get_mut(index) {
        alternative.is_shown = true;
    }
}

pub(super) fn offer(alternative: Alternative, authors: &Authors) -> Offer {
    let author = authors.get(&alternative.change).cloned();
    let operations = alternative.changes.iter().filter_map(|change| Some(authors.get(change)?.1.operation));
    Offer { operations: operations.collect(), author, alternative, object: None }
}

fn said(offer: &Offer) -> CompetingValue {
    let author = offer.author.as_ref();
    CompetingValue {
        value: offer.alternative.value.clone(),
        object: offer.object.clone(),
        device: author.and_then(|(device, _)| *device),
        actor: author.map(|(_, entry)| entry.actor.clone()),
        operation: author.map(|(_, entry)| entry.operation),
        at: author.map(|(_, entry)| entry.time.rfc3339()).unwrap_or_default(),
    }
}

/// The heads that the author of a change had seen, and the value that was there then.
fn base_of(doc: &Automerge, change: &Digest, path: &str) -> (Vec<Digest>, Value) {
    let Some(meta) = doc.get_change_meta_by_hash(&ChangeHash(change.0)) else {
        return (Vec::new(), Value::Null);
    };
    let heads: Vec<ChangeHash> = meta.deps.to_vec();
    let value = document::read_at_heads(doc, path, &heads).unwrap_or(Value::Null);
    (heads.iter().map(|head| Digest(head.0)).collect(), value)
}

pub(super) fn summary(card: Digest, row: &CardRow) -> CardSummary {
    CardSummary {
        card,
        object: row.object.clone(),
        collection: row.collection.clone(),
        path: row.path.clone(),
        kind: CardKind::of_row(row).word(),
        status: match &row.end {
            None => "open",
            Some(CardEnd { by: Some(by), successors, .. })
                if by.choice == Choice::Expire.word() && successors.is_empty() =>
            {
                "expired"
            }
            Some(end) if end.successors.is_empty() => "resolved",
            Some(_) => "superseded",
        },
        at: row.opened.rfc3339(),
    }
}

/// The contradiction that a card is about.
pub(super) fn conflict_of(conflicts: impl IntoIterator<Item = Conflict>, row: &CardRow) -> Option<Conflict> {
    let AboutRow::Conflict(id) = &row.about else { return None };
    conflicts.into_iter().find(|conflict| conflict.id() == *id)
}
