//! Cards: what somebody is asked, from the moment it is found until it is decided or something else took its place.
//!
//! A card is derived, never sent: its id is a hash of what competes, so that every device with the same entries
//! has the same open cards. What travels is the decision ([`super::resolve`]), an entry like any other. Cards are
//! brought up to date in the transaction that changes what they are about.

use super::card_kind::CardKind;
use super::contradictions::asks;
use super::decided::Decided;
use super::decided_sides::rule_name;
use super::intent::WriteError;
use super::stage::{Stage, StagedObject};
use super::{Engine, Event, ObjectKey};
use crate::conflict::{self, Conflict};
use crate::judgement::Rule;
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{self, AboutRow, CardEnd, CardRow, DecidedRow, ObjectRow};
use crate::store::tables::{Table, key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use syncd_evidence::{Outcome, RecordKind};
use syncd_schema::entry::Subject;
use syncd_schema::manifest::{Manifest, MergeStrategy, OnConflict};
use syncd_schema::{Actor, Digest, Incarnation, ObjectId, OperationType, cbor, domain};

/// What an object's conflicts were and are, where they were looked at.
pub(super) struct Judged {
    pub(super) before: BTreeSet<Conflict>,
    pub(super) after: BTreeSet<Conflict>,
}

impl Engine {
    /// The id of a card about a contradiction inside of an object.
    pub(super) fn conflict_card(&self, row: &ObjectRow, conflict: &Conflict) -> Digest {
        self.card_id(row, "conflict", &[conflict.id()])
    }

    /// The id of the card about an object that was deleted and lives on; none if it does not.
    pub(super) fn deletion_card(&self, row: &ObjectRow) -> Option<Digest> {
        let parts: Vec<Digest> = row.deleted().chain(row.known_heads()).copied().collect();
        row.is_half_deleted().then(|| self.card_id(row, "deletion", &parts))
    }

    /// The id of a card about a change that waits for somebody.
    pub(super) fn held_card(&self, object: &ObjectKey, change: &Digest) -> Digest {
        self.card_of(object, "held", &[*change])
    }

    fn card_id(&self, row: &ObjectRow, about: &str, parts: &[Digest]) -> Digest {
        let key = (row.object.clone(), row.collection.clone(), row.incarnation);
        self.card_of(&key, about, parts)
    }

    pub(super) fn card_of(
        &self,
        (object, collection, life): &ObjectKey,
        about: &str,
        parts: &[Digest],
    ) -> Digest {
        let digests: Vec<u8> = parts.iter().flat_map(|part| part.0).collect();
        let names = [collection.as_str().as_bytes(), object.as_str().as_bytes(), &life.0];
        let [collection, object, life] = names;
        domain::hash(
            "card",
            &[self.workspace.as_bytes(), collection, object, life, about.as_bytes(), &digests],
        )
    }

    /// Opens and ends the cards of one life of an object, after what happened to it on this stage.
    pub(super) fn update_cards(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
        judged: Option<&Judged>,
    ) -> Result<(), StoreError> {
        let row = &staged.row;
        let was_deleted = !row.covered.is_empty();
        let manifest = self.governance().manifest(&row.collection);
        let has_news = staged.rejudged || !staged.admitted.is_empty() || staged.whole.is_some();
        let judges = manifest.judges_values() && has_news;
        let reviews = manifest.merge_strategy == MergeStrategy::ManualReview && row.known_heads().len() > 1;
        if judged.is_none() && row.cards.is_empty() && !was_deleted && !judges && !reviews {
            return Ok(());
        }
        let mut before: BTreeMap<Digest, CardRow> = BTreeMap::new();
        for card in &row.cards {
            before.extend(self.card_row(Some(stage), card)?.map(|found| (*card, found)));
        }
        let mut wanted: BTreeMap<Digest, CardRow> = match judged {
            // Whoever deleted all of it has decided.
            _ if row.is_tombstoned() => BTreeMap::new(),
            Some(judged) => self.conflict_cards(staged, &judged.after, stage),
            None if was_deleted => self.conflict_cards(staged, &self.stored_contradictions(row)?, stage),
            None => before
                .iter()
                .filter(|(_, row)| matches!(row.about, AboutRow::Conflict(_)))
                .map(|(card, row)| (*card, row.clone()))
                .collect(),
        };
        if judges || staged.rejudged {
            wanted.extend(self.value_cards(staged, stage));
        } else {
            let about =
                |row: &CardRow| matches!(row.about, AboutRow::Value(_)) && !staged.row.is_tombstoned();
            wanted
                .extend(before.iter().filter(|(_, row)| about(row)).map(|(card, row)| (*card, row.clone())));
        }
        if reviews && !staged.row.is_tombstoned() {
            let card = self.card_id(&staged.row, "heads", staged.row.known_heads());
            wanted.insert(card, new_card(&staged.row, CardKind::ConcurrentEdit, AboutRow::Heads, stage));
        }
        if let Some(card) = self.deletion_card(&staged.row) {
            let row = new_card(&staged.row, CardKind::DeleteEdit, AboutRow::Deletion, stage);
            wanted.insert(card, row);
        }
        let ended: Vec<Digest> = before.keys().filter(|card| !wanted.contains_key(*card)).copied().collect();
        let opened: Vec<Digest> = wanted.keys().filter(|card| !before.contains_key(*card)).copied().collect();
        for card in ended {
            let Some(old) = before.remove(&card) else { continue };
            let mut successors = Vec::new();
            for new in &opened {
                if let Some(row) = wanted.get_mut(new).filter(|new| takes_place(&old, new, judged)) {
                    if !row.before.contains(&card) {
                        row.before.push(card);
                    }
                    successors.push(*new);
                }
            }
            let by = decided_by(staged, &card, &old, judged);
            self.end_card(stage, card, old, successors, by);
        }
        for card in opened {
            if let Some(new) = wanted.get_mut(&card) {
                self.line_up(stage, card, new)?;
                self.open_card(stage, card, new);
            }
        }
        staged.row.cards = wanted.into_keys().collect();
        Ok(())
    }

    /// Notes in the cards whose answers contradict each other now which card asks about that. Those that another took the
    /// place of before are in the line by that one.
    fn line_up(&self, stage: &mut Stage, card: Digest, new: &mut CardRow) -> Result<(), StoreError> {
        let mut before = Vec::new();
        for old in std::mem::take(&mut new.before) {
            let mut known = self.card_row(Some(stage), &old)?;
            let end = known.as_mut().map(|row| row.end.as_mut());
            let is_before = match end {
                // Asked and answered before any of it was heard of here.
                None => true,
                Some(None) => false,
                Some(Some(end)) => {
                    let is_answered = end.successors.is_empty();
                    if is_answered {
                        end.successors.push(card);
                    }
                    is_answered || end.successors.contains(&card)
                }
            };
            if is_before {
                before.push(old);
                known.into_iter().for_each(|row| {
                    stage.batch.put(Table::Cards, key::card(&old, false), cbor::encode(&row));
                });
            }
        }
        new.before = before;
        Ok(())
    }

    fn conflict_cards(
        &self,
        staged: &StagedObject,
        conflicts: &BTreeSet<Conflict>,
        stage: &Stage,
    ) -> BTreeMap<Digest, CardRow> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&staged.row.collection);
        let document = staged.known();
        let cards = conflicts.iter().filter_map(|conflict| {
            let steps = asks(document, &manifest, conflict)?;
            let kind = CardKind::of_conflict(conflict.kind);
            let about = AboutRow::Conflict(conflict.id());
            let changes = conflict.sides.iter().map(|side| side.change).collect();
            let row = CardRow {
                path: conflict::pointer(&steps),
                generation: conflict::generation(document, &changes).saturating_sub(1),
                before: conflict::answered_cards(document, conflict),
                ..new_card(&staged.row, kind, about, stage)
            };
            Some((self.conflict_card(&staged.row, conflict), row))
        });
        cards.collect()
    }

    /// Cards about what the value of an object breaks.
    fn value_cards(&mut self, staged: &StagedObject, stage: &Stage) -> BTreeMap<Digest, CardRow> {
        if staged.row.is_tombstoned() {
            return BTreeMap::new();
        }
        let manifest = self.governance().manifest(&staged.row.collection);
        let mut cards = BTreeMap::new();
        for violation in self.violations_on(staged.known(), &manifest) {
            let kind = match violation.rule {
                Rule::Schema => CardKind::SchemaMismatch,
                Rule::Invariant => CardKind::BrokenInvariant,
            };
            let name = rule_name(&violation);
            let card = self.card_id(&staged.row, "value", &[domain::sha256(name.as_bytes())]);
            let row =
                CardRow { path: violation.path, ..new_card(&staged.row, kind, AboutRow::Value(name), stage) };
            cards.entry(card).or_insert(row);
        }
        cards
    }

    /// Opens and ends the cards about ids that have several lives.
    pub(super) fn update_lives(
        &mut self,
        stage: &mut Stage,
        objects: &BTreeMap<ObjectKey, StagedObject>,
    ) -> Result<(), StoreError> {
        let changed: BTreeSet<&ObjectId> = objects
            .values()
            .filter(|staged| staged.may_end_or_return())
            .map(|staged| &staged.row.object)
            .collect();
        for object in changed {
            let stored = self.object_lives(object)?;
            let staged: Vec<&StagedObject> =
                objects.values().filter(|staged| staged.row.object == *object).collect();
            let new = staged.iter().filter(|staged| staged.is_new).count();
            if stored.len() + new < 2 {
                continue;
            }
            let mut after = stored.clone();
            after.retain(|row| !staged.iter().any(|staged| same_life(row, &staged.row)));
            after.extend(staged.iter().map(|staged| staged.row.clone()).filter(|row| !row.reborn));
            let (was, is) = (self.lives_card(&stored), self.lives_card(&after));
            if was.as_ref().map(|(card, _)| card) == is.as_ref().map(|(card, _)| card) {
                continue;
            }
            let mut opened = is.map(|(card, life)| {
                (card, new_card(&life, CardKind::DuplicateIdentity, AboutRow::Lives, stage))
            });
            if let Some((card, _)) = was
                && let Some(old) = self.card_row(Some(stage), &card)?
            {
                let successors = opened.iter().map(|(card, _)| *card).collect();
                if let Some((_, new)) = &mut opened {
                    new.before.push(card);
                }
                let by = stage.decided_about(&card, Some(object));
                self.end_card(stage, card, old, successors, by);
            }
            if let Some((card, row)) = opened {
                self.open_card(stage, card, &row);
            }
        }
        Ok(())
    }

    /// The card about an id with these lives, and the first of those that it is about: several that stand, or several
    /// of which each was ended in favour of another that was ended too.
    pub(super) fn lives_card(&self, lives: &[ObjectRow]) -> Option<(Digest, ObjectRow)> {
        let competing = competing_lives(lives);
        let first = competing.first()?;
        let names: Vec<u8> = competing.iter().flat_map(|row| row.incarnation.0).collect();
        let about: &[u8] = if lives.iter().all(ObjectRow::is_tombstoned) { b"ended" } else { b"lives" };
        let object = first.object.as_str().as_bytes();
        let card = domain::hash("card", &[self.workspace.as_bytes(), object, about, &names]);
        Some((card, (*first).clone()))
    }

    /// A card, open or not.
    pub(super) fn card_row(
        &self,
        stage: Option<&Stage>,
        card: &Digest,
    ) -> Result<Option<CardRow>, StoreError> {
        for is_open in [true, false] {
            let at = key::card(card, is_open);
            let row = match stage.and_then(|stage| stage.batch.get(Table::Cards, &at)) {
                Some(staged) => staged.map(|bytes| rows::decode(Table::Cards, &at, bytes)).transpose()?,
                None => rows::read(&self.store, Table::Cards, &at)?,
            };
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(None)
    }

    /// Refuses an edit of what somebody is asked about, where the manifest wants the question answered first. Elsewhere
    /// such an edit is itself the answer.
    pub(super) fn check_undecided(
        &self,
        stage: &Stage,
        row: &ObjectRow,
        manifest: &Manifest,
        paths: &[String],
    ) -> Result<(), WriteError> {
        if manifest.on_conflict() != OnConflict::Hold {
            return Ok(());
        }
        for card in &row.cards {
            let Some(asked) = self.card_row(Some(stage), card)? else { continue };
            let about = |path: &String| is_within(path, &asked.path) || is_within(&asked.path, path);
            if paths.iter().any(about) {
                return Err(WriteError::Undecided { object: row.object.clone(), card: *card });
            }
        }
        Ok(())
    }

    pub(super) fn open_card(&mut self, stage: &mut Stage, card: Digest, row: &CardRow) {
        stage.batch.delete(Table::Cards, key::card(&card, false));
        stage.batch.put(Table::Cards, key::card(&card, true), cbor::encode(row));
        let words = format!("card {card}: {} at {:?}", CardKind::of_row(row).word(), row.path);
        self.record_card(stage, row, true, &Actor::system(), &words);
        stage.events.push(Event::Card { card, object: row.object.clone(), is_open: true });
    }

    pub(super) fn end_card(
        &mut self,
        stage: &mut Stage,
        card: Digest,
        mut row: CardRow,
        successors: Vec<Digest>,
        by: Option<DecidedRow>,
    ) {
        let (actor, words) = match (&by, successors.as_slice()) {
            (_, [next, ..]) => (Actor::system(), format!("card {card}: superseded by {next}")),
            (Some(by), []) => {
                (by.actor.clone(), format!("card {card}: {} by operation {}", by.choice, by.operation))
            }
            (None, []) => (Actor::system(), format!("card {card}: nothing competes any more")),
        };
        self.record_card(stage, &row, false, &actor, &words);
        if stage.rebirths.contains_key(&(row.object.clone(), row.collection.clone(), row.incarnation)) {
            row.forget_place();
        }
        row.end = Some(CardEnd { at: stage.now, successors, by });
        stage.batch.delete(Table::Cards, key::card(&card, true));
        stage.batch.put(Table::Cards, key::card(&card, false), cbor::encode(&row));
        stage.events.push(Event::Card { card, object: row.object.clone(), is_open: false });
    }

    fn record_card(&mut self, stage: &mut Stage, row: &CardRow, is_new: bool, actor: &Actor, words: &str) {
        let (kind, outcome, operation) = match is_new {
            true => (RecordKind::Conflict, Outcome::Held, OperationType::Detect),
            false => (RecordKind::Resolution, Outcome::Fulfilled, OperationType::Resolve),
        };
        let mut record = ledger::record(kind, outcome, operation, actor, self.device());
        let (collection, object, incarnation) = (row.collection.clone(), row.object.clone(), row.incarnation);
        record.subject = Some(Subject { collection, object, incarnation });
        record.set_note(words);
        self.record(stage, record);
    }
}

/// Those lives of an id that somebody has to choose from, sorted; none when there is nothing to choose. One that was
/// deleted by somebody who did not choose between lives competes with those that stand.
pub(super) fn competing_lives(lives: &[ObjectRow]) -> Vec<&ObjectRow> {
    let competes = |row: &&ObjectRow| !row.is_tombstoned() || row.yields.is_none();
    let mut standing: Vec<&ObjectRow> = lives.iter().filter(competes).collect();
    if lives.iter().all(ObjectRow::is_tombstoned) {
        let is_ended = |life: Incarnation| {
            lives.iter().any(|row| row.incarnation == life && row.is_tombstoned() && row.yields.is_some())
        };
        standing = lives.iter().filter(|row| row.yields.is_some_and(is_ended)).collect();
        let others: BTreeSet<Incarnation> = standing.iter().filter_map(|row| row.yields).collect();
        standing.extend(lives.iter().filter(|row| others.contains(&row.incarnation)));
    }
    standing.sort_by_key(|row| row.incarnation);
    standing.dedup_by_key(|row| row.incarnation);
    if standing.len() < 2 { Vec::new() } else { standing }
}

/// Whether a JSON Pointer is another or below it.
fn is_within(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn same_life(one: &ObjectRow, other: &ObjectRow) -> bool {
    one.incarnation == other.incarnation && one.collection == other.collection
}

pub(super) fn new_card(row: &ObjectRow, kind: CardKind, about: AboutRow, stage: &Stage) -> CardRow {
    CardRow {
        object: row.object.clone(),
        collection: row.collection.clone(),
        incarnation: row.incarnation,
        kind: kind as u8,
        path: String::new(),
        about,
        opened: stage.now,
        before: Vec::new(),
        generation: 0,
        end: None,
    }
}

/// A card about what an entry names.
pub(super) fn new_card_of(subject: &Subject, kind: CardKind, about: AboutRow, stage: &Stage) -> CardRow {
    CardRow {
        object: subject.object.clone(),
        collection: subject.collection.clone(),
        incarnation: subject.incarnation,
        kind: kind as u8,
        path: String::new(),
        about,
        opened: stage.now,
        before: Vec::new(),
        generation: 0,
        end: None,
    }
}

/// Whether a new card asks about the place that an ended one asked about.
fn takes_place(old: &CardRow, new: &CardRow, judged: Option<&Judged>) -> bool {
    let place = |set: &BTreeSet<Conflict>, id: &Digest| {
        set.iter().find(|conflict| conflict.id() == *id).map(|conflict| conflict.place.clone())
    };
    match (&old.about, &new.about, judged) {
        (AboutRow::Conflict(old), AboutRow::Conflict(new), Some(judged)) => {
            place(&judged.before, old).is_some_and(|at| place(&judged.after, new) == Some(at))
        }
        (AboutRow::Deletion, AboutRow::Deletion, _) | (AboutRow::Heads, AboutRow::Heads, _) => true,
        _ => false,
    }
}

/// Which entry of this stage ended a card: the resolution that names it, else the newest that wrote there.
fn decided_by(
    staged: &StagedObject,
    card: &Digest,
    old: &CardRow,
    judged: Option<&Judged>,
) -> Option<DecidedRow> {
    let named = staged.decided.iter().find(|decided| decided.card() == Some(*card));
    let wrote = || {
        let conflict = match (&old.about, judged) {
            (AboutRow::Conflict(id), Some(judged)) => judged.before.iter().find(|c| c.id() == *id),
            _ => None,
        };
        let about = |decided: &&Decided| match (conflict, &decided.change) {
            (Some(conflict), Some(change)) => conflict::writes_over(&staged.document, change, conflict),
            (Some(_), None) => false,
            (None, _) => true,
        };
        staged.decided.iter().filter(about).max_by_key(|decided| decided.row.at)
    };
    named.or_else(wrote).map(|decided| decided.row.clone())
}
