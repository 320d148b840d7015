//! Contradictions on the stage, in the store, and as they are shown.
//!
//! They are looked for where what arrived was not one line of work on top of what was here, before it is visible, and
//! kept beside the object in the transaction that makes it so. An object that has some is looked at after each of its
//! changes, since any may end one.

use super::Engine;
use super::read::{Competing, CompetingValue};
use super::stage::{Stage, StagedObject};
use crate::conflict::{self, Conflict, Key, Kind, OpName, Side, Slot};
use crate::ledger;
use crate::store::StoreError;
use crate::store::rows::{
    self, AdmittedChange, ConflictRow, ConflictsRow, ObjectRow, OpRow, PlaceKey, SideRow,
};
use crate::store::tables::{Table, key};
use automerge::{ActorId, Automerge};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use syncd_evidence::{Finding, FindingKind, Outcome, Record, RecordKind, Severity};
use syncd_schema::entry::Subject;
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Actor, DeviceId, Digest, OperationType, UnixMicros, cbor};

impl Engine {
    /// Brings what is known to contradict in an object up to date with what was admitted on this stage.
    pub(super) fn judge_contradictions(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
    ) -> Result<(), StoreError> {
        if staged.admitted.is_empty() || !(staged.is_apart || staged.row.conflicts > 0) {
            return Ok(());
        }
        let before = self.stored_contradictions(&staged.row)?;
        let admitted: Vec<Digest> = staged.admitted.iter().map(AdmittedChange::hash).collect();
        let after = match conflict::update(&staged.document, &before, &admitted, &|_| false) {
            Ok(after) => after,
            Err(wide) => return self.find(stage, not_compared(staged, &wide.to_string(), stage.now)),
        };
        if after == before {
            return Ok(());
        }
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&staged.row.collection);
        let ended = before.difference(&after).map(|conflict| (conflict, false));
        for (conflict, is_new) in ended.chain(after.difference(&before).map(|conflict| (conflict, true))) {
            if let Some(steps) = asks(&staged.document, &manifest, conflict) {
                let path = conflict::pointer(&steps);
                self.record(stage, record(self.device(), &staged.row, conflict, &path, is_new));
            }
        }
        let open = after.iter().filter(|conflict| asks(&staged.document, &manifest, conflict).is_some());
        staged.row.open = open.count() as u32;
        staged.row.conflicts = after.len() as u32;
        let at = row_key(&staged.row);
        if after.is_empty() {
            stage.batch.delete(Table::Conflicts, at);
        } else {
            let row = ConflictsRow { conflicts: after.iter().map(to_row).collect() };
            stage.batch.put(Table::Conflicts, at, cbor::encode(&row));
        }
        Ok(())
    }

    fn stored_contradictions(&self, row: &ObjectRow) -> Result<BTreeSet<Conflict>, StoreError> {
        if row.conflicts == 0 {
            return Ok(BTreeSet::new());
        }
        let stored: Option<ConflictsRow> = rows::read(&self.store, Table::Conflicts, &row_key(row))?;
        Ok(stored.into_iter().flat_map(|row| row.conflicts).filter_map(of_row).collect())
    }

    /// Whether what is kept of an object's contradictions is what its document says: found anew, from nothing. A
    /// document in which too much was done apart cannot be asked, here as when it grew; a finding says so.
    pub(super) fn keeps_contradictions(&self, row: &ObjectRow, doc: &Automerge) -> Result<bool, StoreError> {
        if row.conflicts == 0 {
            return Ok(self.store.get(Table::Conflicts, &row_key(row))?.is_none());
        }
        let all: Vec<Digest> = doc.get_changes_meta(&[]).iter().map(|change| Digest(change.hash.0)).collect();
        let Ok(found) = conflict::update(doc, &BTreeSet::new(), &all, &|_| false) else { return Ok(true) };
        Ok(found.len() == row.conflicts as usize && self.stored_contradictions(row)? == found)
    }

    /// What contradicts in one life of an object, with every side and who said it.
    pub(super) fn contradictions(&mut self, row: &ObjectRow) -> Result<Vec<Competing>, StoreError> {
        if row.open == 0 {
            return Ok(Vec::new());
        }
        let stored = self.stored_contradictions(row)?;
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&row.collection);
        let entries = self.entries_of(&self.sources_of(row)?)?;
        let authors: BTreeMap<Digest, _> =
            entries.into_iter().map(|(no, _, entry)| (entry.payload_digest, (no, entry))).collect();
        let described: Vec<_> = self.with_document(row, |doc| {
            let shown = stored.iter().filter_map(|conflict| {
                let steps = asks(doc, &manifest, conflict)?;
                Some((conflict.id(), conflict::pointer(&steps), conflict::values(doc, conflict)))
            });
            shown.collect()
        })?;
        let competing = described.into_iter().map(|(id, path, values): (Digest, String, BTreeMap<_, _>)| {
            let sides = values.into_iter().map(|(change, value)| {
                let author = authors.get(&change);
                CompetingValue {
                    value,
                    device: author.and_then(|(no, _)| self.log_id(*no)).map(|log| log.device),
                    actor: author.map(|(_, entry)| entry.actor.clone()),
                    operation: author.map(|(_, entry)| entry.operation),
                    at: author.map(|(_, entry)| entry.time.rfc3339()).unwrap_or_default(),
                }
            });
            Competing { card: Some(id.to_string()), path, values: sides.collect() }
        });
        Ok(competing.collect())
    }
}

/// Where a contradiction is, if its sides come to different things and the rule of the field leaves the choice to
/// somebody.
fn asks(doc: &Automerge, manifest: &Manifest, conflict: &Conflict) -> Option<Vec<String>> {
    if conflict.is_equal {
        return None;
    }
    let steps = conflict::steps(doc, &conflict.place);
    let rule = manifest.rule(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    let is_settled =
        matches!(rule, Some(FieldRule::Auto | FieldRule::Max | FieldRule::Min | FieldRule::Union));
    (!is_settled).then_some(steps)
}

fn row_key(row: &ObjectRow) -> Vec<u8> {
    key::object(&row.object, &row.collection, &row.incarnation)
}

/// A contradiction was found, or ended by somebody who wrote with knowledge of its sides.
fn record(device: DeviceId, row: &ObjectRow, conflict: &Conflict, path: &str, is_new: bool) -> Record {
    let (kind, outcome, operation, words) = match is_new {
        true => (RecordKind::Conflict, Outcome::Held, OperationType::Detect, "found"),
        false => (RecordKind::Resolution, Outcome::Fulfilled, OperationType::Resolve, "ended by later work"),
    };
    let mut record = ledger::record(kind, outcome, operation, &Actor::system(), device);
    let (collection, object, incarnation) = (row.collection.clone(), row.object.clone(), row.incarnation);
    record.subject = Some(Subject { collection, object, incarnation });
    let kind = kind_words(conflict.kind);
    record.set_note(&format!(
        "{words}: {kind} at {path:?}, {} sides, {}",
        conflict.sides.len(),
        conflict.id()
    ));
    record
}

const fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Value => "several values",
        Kind::DeleteEdit => "deleted and written",
        Kind::Inside => "work inside of what was taken away",
        Kind::CounterReset => "a counter set and counted",
        Kind::Text => "a text rewritten several times",
    }
}

fn not_compared(staged: &StagedObject, why: &str, now: UnixMicros) -> Finding {
    let next = "read the object's history and write what is wanted; later work is compared again";
    let place = format!("object {}", staged.row.object);
    Finding::new(FindingKind::LimitReached, &place, Severity::Warning, why, next, now)
}

fn to_row(conflict: &Conflict) -> ConflictRow {
    let key = match &conflict.place.key {
        Key::Name(name) => PlaceKey::Name(name.clone()),
        Key::Element(element) => PlaceKey::Element(op_row(element)),
        Key::Head => PlaceKey::Head,
    };
    let side = |side: &Side| SideRow { operation: op_row(&side.operation), change: side.change };
    ConflictRow {
        kind: conflict.kind.number(),
        object: conflict.place.object.as_ref().map(op_row),
        key,
        sides: conflict.sides.iter().map(side).collect(),
        is_equal: conflict.is_equal,
    }
}

fn of_row(row: ConflictRow) -> Option<Conflict> {
    let key = match row.key {
        PlaceKey::Name(name) => Key::Name(name),
        PlaceKey::Element(element) => Key::Element(op_name(&element)),
        PlaceKey::Head => Key::Head,
    };
    let side = |side: SideRow| Side { operation: op_name(&side.operation), change: side.change };
    Some(Conflict {
        kind: Kind::of_number(row.kind)?,
        place: Slot { object: row.object.as_ref().map(op_name), key },
        sides: row.sides.into_iter().map(side).collect(),
        is_equal: row.is_equal,
    })
}

fn op_row(name: &OpName) -> OpRow {
    OpRow { counter: name.counter, actor: name.actor.to_bytes().to_vec() }
}

fn op_name(row: &OpRow) -> OpName {
    OpName { counter: row.counter, actor: ActorId::from(row.actor.as_slice()) }
}
