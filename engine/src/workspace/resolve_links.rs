//! Answers to cards about what holds of values and between objects.

use super::intent::{WriteError, Written};
use super::local::key_of;
use super::resolve::{Answering, ResolveError};
use super::stage::Stage;
use super::{Engine, ObjectKey};
use crate::conflict::{self, Choice, Question};
use crate::document;
use crate::document::writer::Spot;
use crate::judgement;
use crate::store::rows::{AboutRow, ObjectRow, TargetRow};
use std::collections::BTreeSet;
use std::sync::Arc;
use syncd_schema::{Digest, Incarnation};

impl Engine {
    /// Gives an object a value that fits its collection.
    pub(super) fn resolve_value(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
    ) -> Result<Written, WriteError> {
        let (Choice::Merge, Some(value)) = (asked.resolve.choice, &asked.resolve.value) else {
            return Err(match asked.resolve.choice {
                Choice::Merge => ResolveError::NoValue.into(),
                choice => ResolveError::NoOption(choice).into(),
            });
        };
        let object = self.asked_object(asked.key())?;
        self.write_decided(stage, asked, object, |writer| writer.set(&Spot::Root, &[], value))
    }

    /// Says that all uses of a caller's key were meant.
    pub(super) fn resolve_replay(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
    ) -> Result<Written, WriteError> {
        if asked.resolve.choice != Choice::Merge {
            return Err(ResolveError::NoOption(asked.resolve.choice).into());
        }
        let object = self.asked_object(asked.key())?;
        // Named as a change of its own: those who have not seen both uses yet know by it that they are answered.
        let question = Question::Change(asked.resolve.card);
        self.write_answer(stage, asked, object, question, |_| Ok(()))
    }

    /// Settles everything that was done apart: by one side, by a value, or by all of it as it was brought together.
    pub(super) fn resolve_heads(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
    ) -> Result<Written, WriteError> {
        let value = match (asked.resolve.choice, asked.resolve.pick) {
            (Choice::Local | Choice::Fork, _) => Some(asked.shown()?.value.clone()),
            (Choice::Remote, _) | (Choice::Merge, Some(_)) => Some(asked.side(false)?.value.clone()),
            (Choice::Merge, None) => asked.resolve.value.clone(),
            (choice @ (Choice::Decline | Choice::Expire), _) => {
                return Err(ResolveError::NoOption(choice).into());
            }
        };
        let forked = match asked.resolve.choice {
            Choice::Fork => {
                let other = asked.side(false)?.value.clone();
                Some(other)
            }
            _ => None,
        };
        let object = self.asked_object(asked.key())?;
        let written = self.write_decided(stage, asked, object, |writer| match &value {
            Some(value) => writer.set(&Spot::Root, &[], value),
            None => Ok(()),
        })?;
        self.with_fork(stage, asked, written, forked.as_ref())
    }

    /// Leaves a value with one of the objects that share it, and takes it from the others. Nothing is deleted: two devices
    /// that choose otherwise take the value from both, and lose neither.
    pub(super) fn resolve_shared(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        digest: &Digest,
    ) -> Result<Written, WriteError> {
        let kept = match asked.resolve.choice {
            Choice::Local => asked.shown()?,
            Choice::Remote => asked.side(false)?,
            choice => return Err(ResolveError::NoOption(choice).into()),
        };
        let kept = Incarnation(kept.change.0);
        let mut written = Err(ResolveError::NotFound(asked.resolve.card).into());
        for key in self.sharing(digest)? {
            if key.2 == kept {
                continue;
            }
            let object = self.asked_object(key)?;
            let manifest = self.governance().manifest(&object.collection);
            let value = self.with_whole(&object, |doc| document::read_with(doc, &manifest))?;
            let shared =
                judgement::unique_keys(&value, &manifest).into_iter().find(|unique| unique.digest == *digest);
            let pointer = shared.and_then(|shared| manifest.unique.get(shared.key)?.first().cloned());
            // A pointer that stands for many places does not say from which to take it.
            let pointer = pointer.filter(|pointer| !pointer.split('/').any(|step| step == "*"));
            let path =
                document::pointer::parse(&pointer.ok_or(ResolveError::NoOption(asked.resolve.choice))?)?;
            written = Ok(self.write_decided(stage, asked, object, |writer| {
                let (spot, _) = writer.must_find(&path)?;
                writer.delete(&spot)
            })?);
        }
        written
    }

    /// Takes a reference away, or brings back what it refers to.
    pub(super) fn resolve_dangling(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        target: &TargetRow,
    ) -> Result<Written, WriteError> {
        match asked.resolve.choice {
            Choice::Local => {
                let object = self.asked_object(asked.key())?;
                let path = document::pointer::parse(&target.path)?;
                self.write_decided(stage, asked, object, |writer| {
                    let (spot, _) = writer.must_find(&path)?;
                    writer.delete(&spot)
                })
            }
            Choice::Remote => {
                let lives = self.object_lives(&target.object)?;
                let life = lives.into_iter().find(|life| life.collection == target.collection);
                let life = life.ok_or_else(|| WriteError::NotFound(target.object.clone()))?;
                self.overrule(stage, asked, life, None)
            }
            choice => Err(ResolveError::NoOption(choice).into()),
        }
    }

    fn asked_object(&self, key: ObjectKey) -> Result<ObjectRow, WriteError> {
        self.object_row(&key)?.ok_or(WriteError::NotFound(key.0))
    }

    /// Writes into an object what was decided about it, on top of all that is in it.
    fn write_decided(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        fill: impl Fn(&mut document::writer::Writer<'_, '_>) -> Result<(), document::EditError>,
    ) -> Result<Written, WriteError> {
        self.write_answer(stage, asked, object, Question::Place(asked.resolve.card), fill)
    }

    fn write_answer(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        question: Question,
        fill: impl Fn(&mut document::writer::Writer<'_, '_>) -> Result<(), document::EditError>,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        // All that was done apart is all that is known, what is held included.
        let heads = match asked.row.about {
            AboutRow::Heads => object.known_heads(),
            _ => &object.heads,
        };
        let heads: BTreeSet<Digest> = heads.iter().copied().collect();
        let about = (asked.resolve.card, asked.resolve.choice, question);
        let change = self.with_whole(&object, |doc| {
            conflict::write(doc, &heads, about.clone(), &manifest, |writer, _| fill(writer))
        })??;
        // Who only says that all uses of a key were meant changes no value, whatever else is asked about it.
        if !matches!(asked.row.about, AboutRow::Replay(_)) {
            let after = self.with_whole(&object, |doc| {
                let mut after = doc.clone();
                document::join(&mut after, &change).map(|()| after)
            })??;
            self.must_fit(&key_of(&object).0, &after, &manifest)?;
        }
        self.log_resolution(stage, asked, object, change, Vec::new())
    }
}
