//! Contradictions on the stage and in the store.
//!
//! They are looked for where what arrived was not one line of work on top of what was here, before it is visible, and
//! kept beside the object in the transaction that makes it so. An object that has some is looked at after each of its
//! changes, since any may end one.

use super::Engine;
use super::cards::Judged;
use super::stage::{Stage, StagedObject};
use crate::conflict::{self, Conflict, Key, Kind, OpName, Side, Slot};
use crate::document;
use crate::store::StoreError;
use crate::store::rows::{
    self, AdmittedChange, ConflictRow, ConflictsRow, ObjectRow, OpRow, PlaceKey, SideRow,
};
use crate::store::tables::{Table, key};
use automerge::{ActorId, Automerge};
use std::collections::BTreeSet;
use std::sync::Arc;
use syncd_evidence::{Finding, FindingKind, Severity};
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Collection, Digest, UnixMicros, cbor};

impl Engine {
    /// Brings what is known to contradict in an object up to date with what was admitted on this stage.
    pub(super) fn judge_contradictions(
        &mut self,
        stage: &mut Stage,
        staged: &mut StagedObject,
    ) -> Result<Option<Judged>, StoreError> {
        let compared = staged.compared.take();
        staged.whole = match &compared {
            Some((_, whole)) => Some(whole.clone()),
            None => self.whole_document(&staged.row, &staged.document)?.map(Box::new),
        };
        staged.whole.take_if(|whole| document::heads(whole) == document::heads(&staged.document));
        let (before, after) = match compared {
            Some((compared, _)) => (compared.before, compared.after),
            None if staged.rejudged => match self.found_anew(&staged.row, &staged.document)? {
                Some(after) => (self.stored_contradictions(&staged.row)?, after),
                None => return Ok(None),
            },
            None if staged.admitted.is_empty() || !(staged.is_apart || staged.row.conflicts > 0) => {
                return Ok(None);
            }
            None => {
                let before = self.stored_contradictions(&staged.row)?;
                let admitted: Vec<Digest> = staged.admitted.iter().map(AdmittedChange::hash).collect();
                let document = staged.known();
                let by_lines = self.by_lines(&staged.row.collection, document);
                match conflict::update_within(document, &before, &admitted, &by_lines, self.comparable) {
                    Ok(after) => (before, after),
                    Err(wide) => {
                        self.find(stage, not_compared(staged, &wide.to_string(), stage.now))?;
                        let after = conflict::undecided(document, &before, &admitted);
                        (before, after)
                    }
                }
            }
        };
        let after = self.undouble(stage, staged, after)?;
        let after = self.settle_by_strength(stage, staged, after)?;
        if after == before && !staged.rejudged {
            return Ok(None);
        }
        staged.row.conflicts = after.len() as u32;
        let at = row_key(&staged.row);
        if after.is_empty() {
            stage.batch.delete(Table::Conflicts, at);
        } else {
            let row = ConflictsRow { conflicts: after.iter().map(to_row).collect() };
            stage.batch.put(Table::Conflicts, at, cbor::encode(&row));
        }
        Ok(Some(Judged { before, after }))
    }

    /// Which texts of an object its manifest wants judged by lines.
    pub(super) fn by_lines<'d>(
        &self,
        collection: &Collection,
        doc: &'d Automerge,
    ) -> impl Fn(&OpName) -> bool + use<'d> {
        let rules = Arc::clone(&self.rules);
        let collection = collection.clone();
        move |text: &OpName| {
            let Some(manifest) = rules.governance.manifests.get(&collection) else { return false };
            let place = Slot { object: Some(text.clone()), key: Key::Head };
            let steps = conflict::steps(doc, &place);
            manifest.rule(&steps.iter().map(String::as_str).collect::<Vec<_>>())
                == Some(FieldRule::TextReview)
        }
    }

    pub(super) fn stored_contradictions(&self, row: &ObjectRow) -> Result<BTreeSet<Conflict>, StoreError> {
        if row.conflicts == 0 {
            return Ok(BTreeSet::new());
        }
        let stored: Option<ConflictsRow> = rows::read(&self.store, Table::Conflicts, &row_key(row))?;
        Ok(stored.into_iter().flat_map(|row| row.conflicts).filter_map(of_row).collect())
    }

    /// What contradicts in an object, found from nothing; none when it is too much to compare.
    fn found_anew(&self, row: &ObjectRow, doc: &Automerge) -> Result<Option<BTreeSet<Conflict>>, StoreError> {
        let whole = self.whole_document(row, doc)?;
        let doc = whole.as_ref().unwrap_or(doc);
        let all: Vec<Digest> = doc.get_changes_meta(&[]).iter().map(|change| Digest(change.hash.0)).collect();
        let by_lines = self.by_lines(&row.collection, doc);
        Ok(conflict::update_within(doc, &BTreeSet::new(), &all, &by_lines, self.comparable).ok())
    }

    /// Whether what is kept of an object's contradictions is what its document says: found anew, from nothing. A
    /// document in which too much was done apart cannot be asked, here as when it grew; a finding says so.
    pub(super) fn keeps_contradictions(&self, row: &ObjectRow, doc: &Automerge) -> Result<bool, StoreError> {
        if row.conflicts == 0 {
            return Ok(self.store.get(Table::Conflicts, &row_key(row))?.is_none());
        }
        let Some(found) = self.found_anew(row, doc)? else { return Ok(true) };
        Ok(found.len() == row.conflicts as usize && self.stored_contradictions(row)? == found)
    }
}

/// Where a contradiction is, if its sides come to different things and the rule of the field leaves the choice to
/// somebody.
pub(super) fn asks(doc: &Automerge, manifest: &Manifest, conflict: &Conflict) -> Option<Vec<String>> {
    if conflict.is_equal {
        return None;
    }
    let steps = conflict::path(doc, conflict);
    let rule = manifest.rule(&steps.iter().map(String::as_str).collect::<Vec<_>>());
    let is_settled =
        matches!(rule, Some(FieldRule::Auto | FieldRule::Max | FieldRule::Min | FieldRule::Union));
    // What was asked once is asked again, whatever the rule is by now.
    (!is_settled || conflict.kind == Kind::Answer).then_some(steps)
}

fn row_key(row: &ObjectRow) -> Vec<u8> {
    key::object(&row.object, &row.collection, &row.incarnation)
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
        Key::Question(question) => PlaceKey::Question(*question),
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
        PlaceKey::Question(question) => Key::Question(question),
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
