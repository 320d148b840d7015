//! Whether values are what their manifests ask for, before a local write is logged and whenever somebody asks.

use super::intent::WriteError;
use super::stage::Stage;
use super::{Engine, strategy};
use crate::document::{self, Edit, EncodedChange};
use crate::judgement::{Judge, Violation};
use crate::store::StoreError;
use crate::store::rows::ObjectRow;
use automerge::{Automerge, ChangeHash, ReadDoc};
use std::sync::Arc;
use syncd_schema::manifest::MergeStrategy;
use syncd_schema::{Digest, Manifest, ObjectId};

/// The actor of an edit that is only tried. What it writes is dropped with its copy of the document.
const NOBODY: [u8; 16] = [0xff; 16];

/// An edit that was made on a copy, to be asked about as it is.
pub(super) struct Made {
    document: Box<Automerge>,
    change: Option<EncodedChange>,
}

impl Made {
    /// What its entry will say.
    pub(super) fn size(&self) -> u64 {
        self.change.as_ref().map_or(0, |change| change.bytes.len() as u64)
    }

    /// Whether it replaces or takes away most of what its object held at `before`, where it was made.
    pub(super) fn rewrites(&self, before: &[Digest]) -> bool {
        let change = self.change.as_ref();
        change.is_some_and(|change| document::rewrites(&self.document, before, &change.bytes))
    }

    /// The same edit, made in earnest.
    pub(super) fn put(self, document: &mut Automerge) -> Option<EncodedChange> {
        *document = *self.document;
        self.change
    }
}

impl Engine {
    /// What in an object's current value its collection's manifest does not allow: sorted, and the same on every device
    /// that holds the same entries. Empty for an object that is not here or was deleted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn violations_of(&mut self, object: &ObjectId) -> Result<Vec<Violation>, StoreError> {
        match self.standing_lives(object)?.into_iter().next() {
            Some(row) if !row.is_tombstoned() => self.violations_in(&row),
            _ => Ok(Vec::new()),
        }
    }

    /// As [`Engine::violations_of`], for one life of an object.
    pub(crate) fn violations_in(&mut self, row: &ObjectRow) -> Result<Vec<Violation>, StoreError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifests.get(&row.collection);
        let Some(manifest) = manifest.filter(|manifest| manifest.judges_values()) else {
            return Ok(Vec::new());
        };
        let value = self.with_document(row, |doc| document::read_with(doc, manifest))?;
        Ok(self.judges.violations(manifest, &value))
    }

    /// As [`Engine::violations_of`], for a document on its way in.
    pub(crate) fn violations_on(&mut self, doc: &Automerge, manifest: &Manifest) -> Vec<Violation> {
        if !manifest.judges_values() {
            return Vec::new();
        }
        self.judges.violations(manifest, &document::read_with(doc, manifest))
    }

    /// Refuses a local write whose result would not fit. What others wrote is never refused for it: all that was built
    /// on it would be lost.
    pub(super) fn must_fit(
        &mut self,
        object: &ObjectId,
        doc: &Automerge,
        manifest: &Manifest,
    ) -> Result<(), WriteError> {
        let violations = self.violations_on(doc, manifest);
        if violations.is_empty() {
            return Ok(());
        }
        Err(WriteError::Invalid { object: object.clone(), violations })
    }

    /// Tries an edit on a copy where the manifest asks something of its result. Returns whether it replaces or deletes
    /// what a collection that only takes additions holds.
    pub(super) fn try_edit(
        &mut self,
        stage: &mut Stage,
        row: &ObjectRow,
        edit: &Edit,
        manifest: &Manifest,
    ) -> Result<bool, WriteError> {
        let only_adds = manifest.merge_strategy == MergeStrategy::AppendOnly;
        if !only_adds && !manifest.judges_values() {
            return Ok(false);
        }
        let mut copy = self.stage_object(stage, row.clone())?.document.clone();
        let Some(change) = document::apply(&mut copy, edit, NOBODY, 0, manifest)? else { return Ok(false) };
        self.must_fit(&row.object, &copy, manifest)?;
        let change = copy.get_change_by_hash(&ChangeHash(change.hash.0)).filter(|_| only_adds);
        Ok(change.is_some_and(|change| !document::only_adds(&change)))
    }

    /// Makes an edit on a copy of its document, where policies look at how large it becomes: others will see the change
    /// and not the call. None where it cannot be made, which is said when it is tried in earnest.
    pub(super) fn make_apart(
        &mut self,
        stage: &mut Stage,
        row: &ObjectRow,
        edit: &Edit,
        (actor, time): ([u8; 16], i64),
        manifest: &Manifest,
    ) -> Result<Option<Made>, WriteError> {
        let mut document = self.stage_object(stage, row.clone())?.document.clone();
        let made = document::apply(&mut document, edit, actor, time, manifest);
        Ok(made.ok().map(|change| Made { document, change }))
    }

    /// Refuses a manifest that cannot be in force here.
    pub(super) fn may_be_set(&self, manifest: &Manifest) -> Result<(), WriteError> {
        let rules = Arc::clone(&self.rules);
        let collection = &manifest.collection;
        let declared = rules.governance.manifests.get(collection);
        // Nobody has described it, and yet somebody may have used it.
        let used = match declared {
            None if !self.list(Some(collection))?.is_empty() => Some(rules.governance.manifest(collection)),
            _ => None,
        };
        if let Some(reason) = strategy::moves(declared.or(used.as_ref()), manifest) {
            return Err(WriteError::Manifest(reason.to_owned()));
        }
        Judge::new(manifest).map(drop).map_err(|error| WriteError::Manifest(error.to_string()))
    }
}
