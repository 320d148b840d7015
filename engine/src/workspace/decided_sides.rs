//! What a card says beside its sides as they are: those between which it was decided, and the rule that a value breaks.

use super::asked::{Offer, offer};
use super::{Engine, ObjectKey};
use crate::conflict::{self, Alternative, Keep, OpName};
use crate::document;
use crate::judgement::{Rule, Violation};
use crate::store::StoreError;
use crate::store::rows::{AboutRow, CardRow, ObjectRow};
use automerge::{Automerge, ChangeHash};
use syncd_schema::entry::Deletion;
use syncd_schema::{Digest, OperationId};

impl Engine {
    /// What a card that was decided was decided between, as it was then: read from what its answer was made on.
    pub(super) fn decided_offers(&mut self, row: &CardRow) -> Result<Vec<Offer>, StoreError> {
        let by = row.end.as_ref().and_then(|end| end.by.as_ref()).map(|by| by.operation);
        let key: ObjectKey = (row.object.clone(), row.collection.clone(), row.incarnation);
        let mut offers = match (&row.about, by) {
            (AboutRow::Held(..) | AboutRow::Replay(_), _) => self.offers(row)?,
            (AboutRow::Lives, _) => self.life_sides(row)?,
            (AboutRow::Conflict(id), Some(by)) => self.conflict_then(&key, id, by)?,
            (AboutRow::Deletion, Some(by)) => self.deletion_then(&key, by)?,
            _ => Vec::new(),
        };
        for offer in &mut offers {
            offer.alternative.is_shown = false;
        }
        Ok(offers)
    }

    fn conflict_then(
        &mut self,
        key: &ObjectKey,
        id: &Digest,
        by: OperationId,
    ) -> Result<Vec<Offer>, StoreError> {
        let (Some(object), Some(found)) = (self.object_row(key)?, self.find_operation(by)?) else {
            return Ok(Vec::new());
        };
        let most = self.comparable;
        let whole = self.with_whole(&object, Clone::clone)?;
        let this: &Self = self;
        let by_lines = |doc: &Automerge, text: &OpName| this.by_lines(&key.1, doc)(text);
        let answer = found.record.entry.payload_digest;
        let then = conflict::made_on(&whole, &answer, &by_lines, most);
        let Some((before, conflicts)) = then else { return Ok(Vec::new()) };
        let Some(conflict) = conflicts.iter().find(|conflict| conflict.id() == *id) else {
            return Ok(Vec::new());
        };
        let authors = self.authors(&object)?;
        let sides = conflict::alternatives(&before, conflict);
        Ok(sides.into_iter().map(|side| offer(side, &authors)).collect())
    }

    /// The work that a deletion met, and the deletion.
    fn deletion_then(&mut self, key: &ObjectKey, by: OperationId) -> Result<Vec<Offer>, StoreError> {
        let (Some(object), Some(found)) = (self.object_row(key)?, self.find_operation(by)?) else {
            return Ok(Vec::new());
        };
        let entry = found.record.entry;
        let whole = self.with_whole(&object, Clone::clone)?;
        let heads: Vec<Digest> = if entry.kind.is_deletion() {
            let payload = found.record.payload.unwrap_or_default();
            Deletion::read(entry.kind, &payload).map(|read| read.tombstone.heads).unwrap_or_default()
        } else {
            let meta = whole.get_change_meta_by_hash(&ChangeHash(entry.payload_digest.0));
            meta.map(|meta| meta.deps.iter().map(|dep| Digest(dep.0)).collect()).unwrap_or_default()
        };
        let authors = self.authors(&object)?;
        let last = heads.iter().max_by_key(|head| authors.get(*head).map(|(_, entry)| entry.time)).copied();
        let is_known = heads.iter().all(|head| document::holds(&whole, head));
        let work = last.filter(|_| is_known).map(|change| Alternative {
            change,
            value: document::read_past(&whole, &heads),
            changes: heads,
            keep: Keep::Gone,
            is_shown: false,
        });
        let mut offers: Vec<Offer> = work.into_iter().map(|work| offer(work, &authors)).collect();
        offers.extend(self.gone(&object, Some(by))?);
        Ok(offers)
    }

    /// Every life that an id had, with what was in it.
    fn life_sides(&mut self, row: &CardRow) -> Result<Vec<Offer>, StoreError> {
        let mut offers = Vec::new();
        for life in self.object_lives(&row.object)? {
            let authors = self.authors(&life)?;
            let alternative = Alternative {
                change: Digest(life.incarnation.0),
                changes: life.heads.clone(),
                value: self.with_document(&life, document::read)?,
                keep: Keep::Gone,
                is_shown: false,
            };
            let author = authors.get(&Digest(life.incarnation.0)).cloned();
            let operations = authors.values().map(|(_, entry)| entry.operation).collect();
            offers.push(Offer { alternative, operations, author, object: None });
        }
        Ok(offers)
    }

    /// The deletion of an object as a side, by its newest entry; none but for one that answers the card.
    pub(super) fn gone(
        &mut self,
        object: &ObjectRow,
        answer: Option<OperationId>,
    ) -> Result<Option<Offer>, StoreError> {
        let is_it = |operation: OperationId, of: Option<&syncd_schema::entry::Subject>| {
            answer != Some(operation) && of.is_some_and(|s| s.incarnation == object.incarnation)
        };
        let mut tombstones: Vec<_> = self
            .tombstones_of(&object.object)?
            .into_iter()
            .filter(|(_, _, entry)| is_it(entry.operation, entry.subject.as_ref()))
            .collect();
        tombstones.sort_by_key(|(no, _, entry)| (entry.time, self.log_id(*no)));
        let author =
            tombstones.last().map(|(no, _, entry)| (self.log_id(*no).map(|log| log.device), entry.clone()));
        let operations: Vec<OperationId> =
            tombstones.iter().rev().map(|(_, _, entry)| entry.operation).collect();
        let alternative = Alternative {
            change: Digest([0; 32]),
            changes: object.deleted().copied().collect(),
            value: serde_json::Value::Null,
            keep: Keep::Gone,
            is_shown: false,
        };
        Ok(author.map(|author| Offer { alternative, operations, author: Some(author), object: None }))
    }

    /// What the open cards of an object are about, in words.
    pub(super) fn explain_cards(&self, object: &ObjectRow) -> Result<Vec<String>, StoreError> {
        let (mut because, mut apart) = (Vec::new(), 0);
        for card in &object.cards {
            let Some(asked) = self.card_row(None, card)? else { continue };
            match &asked.about {
                AboutRow::Value(rule) => {
                    let rule = rule.trim_end();
                    because.push(format!("Its value breaks a rule, {rule}: `card {card}` says how."));
                }
                AboutRow::Conflict(_) => apart += 1,
                _ => {}
            }
        }
        if apart > 0 {
            because.insert(0, format!("Edits made apart contradict each other in {apart} places."));
        }
        Ok(because)
    }

    /// What the value of an object breaks of the rule that an open card is about.
    pub(super) fn broken_by(&mut self, row: &CardRow) -> Result<Vec<Violation>, StoreError> {
        let AboutRow::Value(rule) = &row.about else { return Ok(Vec::new()) };
        let key: ObjectKey = (row.object.clone(), row.collection.clone(), row.incarnation);
        let Some(object) = self.object_row(&key)?.filter(|_| row.end.is_none()) else {
            return Ok(Vec::new());
        };
        let manifest = self.governance().manifest(&row.collection);
        let whole = self.with_whole(&object, Clone::clone)?;
        let mut violations = self.violations_on(&whole, &manifest);
        violations.retain(|violation| rule_name(violation) == *rule);
        Ok(violations)
    }
}

/// How a card names what a value breaks.
pub(super) fn rule_name(violation: &Violation) -> String {
    let word = match violation.rule {
        Rule::Schema => "schema",
        Rule::Invariant => "invariant",
    };
    format!("{word} {}", violation.name)
}
