//! The change that an answer about a held change is. Declining leaves everything as it is shown: what the change did is
//! written over with what is there without it.
//!
//! Where nobody has worked in the same places since, the answer builds on the held change alone, so that it is the same
//! on devices which differ elsewhere. Else it builds on all that is here too, and competes with none of it.

use super::contradictions::asks;
use super::intent::WriteError;
use super::resolve::{Answering, ResolveError};
use super::{Engine, ObjectKey};
use crate::conflict::{self, Choice, Conflict, Question};
use crate::document::{self, EncodedChange, writer};
use crate::store::StoreError;
use automerge::{Automerge, ChangeHash};
use std::collections::BTreeSet;
use syncd_schema::{Digest, OperationId, limits};

/// An answer about a held change.
pub(super) struct Withdrawal {
    pub(super) resolution: EncodedChange,
    /// The changes that it builds on, beside the one it is about.
    pub(super) on: BTreeSet<Digest>,
}

impl Engine {
    /// The answer about a change, from the document without it and with it: a pure function of these.
    pub(super) fn decision_about(
        &self,
        (here, held): (&Automerge, &Automerge),
        change: &Digest,
        asked: &Answering<'_>,
    ) -> Result<Withdrawal, WriteError> {
        let choice = asked.resolve.choice;
        let value = match choice {
            Choice::Expire => return Err(ResolveError::NoOption(choice).into()),
            Choice::Merge => Some(asked.resolve.value.as_ref().ok_or(ResolveError::NoValue)?),
            Choice::Remote | Choice::Local | Choice::Decline | Choice::Fork => None,
        };
        let manifest = self.rules.governance.manifest(&asked.row.collection);
        let about = || (asked.resolve.card, choice, Question::Change(*change));
        let alone = BTreeSet::from([*change]);
        if choice == Choice::Remote {
            let resolution = conflict::write(held, &alone, about(), &manifest, |_, _| Ok(()))?;
            return Ok(Withdrawal { resolution, on: BTreeSet::new() });
        }
        let answer = |on: &BTreeSet<Digest>, without: &Automerge| {
            conflict::write(held, on, about(), &manifest, |writer, with| {
                conflict::withdraw(writer, with, change, without)?;
                value.map_or(Ok(()), |value| writer.set(&writer::Spot::Root, &[], value))
            })
        };
        if value.is_none() {
            let resolution = answer(&alone, &stood(held, change)?)?;
            if self.leaves_all(here, held, &resolution, asked)? == Some(None) {
                return Ok(Withdrawal { resolution, on: BTreeSet::new() });
            }
        }
        let mut on: BTreeSet<Digest> = document::heads(here).into_iter().collect();
        on.insert(*change);
        let resolution = answer(&on, here)?;
        on.remove(change);
        if value.is_none()
            && let Some(Some(open)) = self.leaves_all(here, held, &resolution, asked)?
        {
            return Err(ResolveError::AskedThere { path: conflict::pointer(&open) }.into());
        }
        Ok(Withdrawal { resolution, on })
    }

    /// Whether what is shown and asked stays as it is after an answer. None if not; the place of a question that it would end,
    /// if there is one.
    fn leaves_all(
        &self,
        here: &Automerge,
        held: &Automerge,
        answer: &EncodedChange,
        asked: &Answering<'_>,
    ) -> Result<Option<Option<Vec<String>>>, WriteError> {
        let mut after = held.clone();
        document::join(&mut after, answer)?;
        let manifest = self.rules.governance.manifest(&asked.row.collection);
        let questions = |doc: &Automerge| -> Option<BTreeSet<Conflict>> {
            let all: Vec<Digest> =
                doc.get_changes_meta(&[]).iter().map(|change| Digest(change.hash.0)).collect();
            let by_lines = self.by_lines(&asked.row.collection, doc);
            let found =
                conflict::update_within(doc, &BTreeSet::new(), &all, &by_lines, self.comparable).ok()?;
            Some(found.into_iter().filter(|one| asks(doc, &manifest, one).is_some()).collect())
        };
        let (Some(before), Some(open)) = (questions(here), questions(&after)) else { return Ok(None) };
        if let Some(ended) = before.difference(&open).next() {
            return Ok(Some(Some(conflict::path(here, ended))));
        }
        let is_same = open == before && document::read(&after) == document::read(here);
        Ok(is_same.then_some(None))
    }

    /// The operations that made some changes of an object, as far as an entry can require them: an answer that arrives
    /// before them must not let in alone what it takes back.
    pub(super) fn operations_of(
        &self,
        key: &ObjectKey,
        changes: &BTreeSet<Digest>,
    ) -> Result<Vec<OperationId>, StoreError> {
        let object = match changes.is_empty() {
            true => None,
            false => self.object_row(key)?,
        };
        let Some(object) = object else { return Ok(Vec::new()) };
        let authors = self.authors(&object)?;
        let entries = changes.iter().filter_map(|change| authors.get(change));
        Ok(entries.map(|(_, entry)| entry.operation).take(limits::REFERENCES).collect())
    }
}

/// The document that a change was made on.
fn stood(doc: &Automerge, change: &Digest) -> Result<Automerge, WriteError> {
    let meta = doc.get_change_meta_by_hash(&ChangeHash(change.0));
    let deps: Vec<ChangeHash> = meta.map(|meta| meta.deps.to_vec()).unwrap_or_default();
    if deps.is_empty() {
        return Ok(document::empty());
    }
    Ok(doc.fork_at(&deps).map_err(document::EditError::from)?)
}
