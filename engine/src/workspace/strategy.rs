//! What merge strategies ask of entries before they are merged: quarantine, additions only, and what a manifest may turn
//! into. All of it follows from an entry, the governance it names and what the chain has grown by since.
//!
//! In quarantine each device goes on with its own work: local writes are allowed and logged, what others wrote is held.
//! Refusing local writes too would leave nothing to be let in later, and what is written is as safe as anywhere: it is
//! replicated, and merged when a manifest ends the quarantine.

use super::admit::Judged;
use super::judge::Question;
use crate::guard;
use crate::judgement::Judge;
use crate::store::rows::PendingRow;
use syncd_policy::Action;
use syncd_schema::governance::{Act, Chain};
use syncd_schema::manifest::MergeStrategy;
use syncd_schema::operation::EntryState;
use syncd_schema::{Collection, Digest, Entry, Governance, Manifest, ObjectState, domain};

/// Stands among what an entry misses when it waits for its collection to be known, or to leave quarantine. No change and
/// no link has this name.
fn mark(collection: &Collection) -> Digest {
    domain::hash("quarantine", &[collection.as_str().as_bytes()])
}

/// What a waiting entry misses of changes and governance.
pub(super) fn needs(row: &PendingRow) -> &[Digest] {
    if is_quarantined(row) { row.missing.get(1..).unwrap_or_default() } else { &row.missing }
}

fn is_quarantined(row: &PendingRow) -> bool {
    let marked = |(_, collection, _): &super::ObjectKey| row.missing.first() == Some(&mark(collection));
    row.state == EntryState::Held && row.object.as_ref().is_some_and(marked)
}

/// How an object is of which entries wait.
pub(super) fn waiting_state<'a>(mut rows: impl Iterator<Item = &'a PendingRow>) -> ObjectState {
    if rows.any(is_quarantined) { ObjectState::Quarantined } else { ObjectState::Blocked }
}

/// An entry whose governance has not arrived: what its collection is, nobody here can say.
pub(super) fn under_unknown(entry: &Entry) -> Judged {
    let known = entry.subject.as_ref().map(|subject| mark(&subject.collection));
    let missing = known.into_iter().chain(entry.governance.iter().copied()).collect();
    let reason = "it was written under governance that has not arrived".to_owned();
    Judged::Waits { missing, requires: Vec::new(), reason }
}

/// An entry of a collection that was in quarantine for its author and still is.
pub(super) fn quarantined(chain: &Chain, governance: &Governance, entry: &Entry) -> Option<Judged> {
    let collection = &entry.subject.as_ref()?.collection;
    let strategy = governance.manifests.get(collection)?.merge_strategy;
    if strategy != MergeStrategy::Quarantine || chain.is_lifted(&entry.governance, collection) {
        return None;
    }
    let reason =
        format!("collection {collection} is in quarantine; `schema set` with another mergeStrategy ends it");
    Some(Judged::Waits { missing: vec![mark(collection)], requires: Vec::new(), reason })
}

/// Names under which entries may wait that an act lets in.
pub(super) fn woken_by(act: &Act) -> Vec<Digest> {
    match act {
        Act::Manifest(manifest) => vec![mark(&manifest.collection)],
        _ => Vec::new(),
    }
}

/// As [`woken_by`], of a manifest as it was logged.
pub(super) fn woken_by_payload(payload: Option<&[u8]>) -> Option<Digest> {
    Manifest::from_json(payload?).ok().map(|manifest| mark(&manifest.collection))
}

/// Whether an edit replaces or deletes where its collection only takes additions.
pub(super) fn replaces(question: &Question<'_>, payload: &[u8]) -> bool {
    let is_bound = question.manifest.is_some_and(|m| m.merge_strategy == MergeStrategy::AppendOnly);
    is_bound && question.action == Action::Edit && !guard::only_adds(payload)
}

/// Why an act that is permitted has no effect here: a manifest under which objects would be lost, or one that a newer
/// version may understand.
pub(super) fn unusable(act: &Act, governance: &Governance) -> Option<Judged> {
    let Act::Manifest(manifest) = act else { return None };
    if let Some(reason) = moves(governance.manifests.get(&manifest.collection), manifest) {
        return Some(Judged::Refused { reason: reason.to_owned(), decision: None, finding: true });
    }
    let error = Judge::new(manifest).err()?;
    let reason = format!("it may need a newer version: {error}");
    Some(Judged::Waits { missing: Vec::new(), requires: Vec::new(), reason })
}

/// Why a manifest cannot take another's place: it would take a collection out of replication, or put it in. What was
/// written before lies in one log, what came after would lie in another: neither side could follow.
pub(super) fn moves(before: Option<&Manifest>, after: &Manifest) -> Option<&'static str> {
    match (before?.is_local_only(), after.is_local_only()) {
        (false, true) => Some(
            "the collection is replicated, and what other devices hold of it cannot be taken back; \
             put what must stay here into a new collection",
        ),
        (true, false) => Some(
            "the collection stays on its device, and its history was never replicated; \
             put what shall be shared into a new collection",
        ),
        _ => None,
    }
}

impl super::Engine {
    /// As [`waiting_state`], in a word.
    pub(super) fn waiting_word(&self, object: &syncd_schema::ObjectId) -> &'static str {
        match waiting_state(self.pending.of_object(object).map(|(_, row)| row)) {
            ObjectState::Quarantined => "quarantined",
            _ => "blocked",
        }
    }
}
