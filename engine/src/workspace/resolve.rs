//! Decisions: an answer to a card becomes an entry, or several, and travels like any other work.
//!
//! What is decided inside of an object is a resolution, whose change is a pure function of the question and the
//! answer ([`crate::conflict::decide`]); what is decided about whole objects is a deletion, or a resolution that
//! overrules one. Either way the card ends because of what the entry does, here and on every device that has it.

use super::admit::{Arrival, Candidate, Ledgered};
use super::asked::Offer;
use super::cards::competing_lives;
use super::end::deletion_size;
use super::intent::{WriteError, WriteRequest, Written};
use super::judge::{self, Question as Asked};
use super::local::{done, key_of};
use super::stage::Stage;
use super::{Engine, ObjectKey, strategy};
use crate::conflict::{self, Alternative, Answer, Choice, Question};
use crate::document::{self, EncodedChange};
use crate::log::LogRecord;
use crate::store::StoreError;
use crate::store::rows::{AboutRow, CardRow, LogKind, ObjectRow};
use crate::store::tables::LogNo;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use syncd_policy::{Action, Base, Redeemed};
use syncd_schema::entry::{Deletion, Subject, Tombstone};
use syncd_schema::{
    ActorKind, Collection, Digest, Entry, EntryKind, Incarnation, ObjectId, OperationId, OperationType,
    limits,
};

/// An answer to a card.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolve {
    /// The card.
    pub card: Digest,
    /// What is chosen.
    pub choice: Choice,
    /// The value, for a merge.
    pub value: Option<Value>,
    /// Which side is meant, by an operation of it, where there are several.
    pub pick: Option<OperationId>,
    /// Why.
    pub because: Option<String>,
}

/// Why a card cannot be answered so.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such card here.
    #[error("there is no card {0}")]
    NotFound(Digest),
    /// Something else is asked by now.
    #[error("card {card} was superseded: more has arrived, and {next} asks about all of it")]
    Superseded {
        /// The card.
        card: Digest,
        /// What to answer instead.
        next: Digest,
    },
    /// It was answered otherwise.
    #[error("card {card} was decided already: {choice} by {by}, operation {operation}")]
    Decided {
        /// The card.
        card: Digest,
        /// What was chosen.
        choice: String,
        /// By whom.
        by: String,
        /// How.
        operation: OperationId,
    },
    /// Several sides could be meant.
    #[error("{0} sides could be meant: name one by its operation")]
    Pick(usize),
    /// No side has that operation.
    #[error("operation {0} is none of the sides of this card")]
    NoSide(OperationId),
    /// A merge needs a value or a side.
    #[error("a merge needs a value, or the operation whose value it is to be")]
    NoValue,
    /// This card has no such option.
    #[error("this card cannot be answered with {}", .0.word())]
    NoOption(Choice),
    /// Declining would decide another question too.
    #[error("what is held competes at {path} with what another card asks about: answer that one first")]
    AskedThere {
        /// Where.
        path: String,
    },
    /// It was deleted in too many places for one decision.
    #[error(
        "the object was deleted in {0} states, more than one decision can name: delete it, or copy what is wanted into a new one"
    )]
    TooManyDeletions(usize),
}

/// What an answer needs of the workspace.
pub(super) struct Answering<'a> {
    pub(super) request: &'a WriteRequest,
    pub(super) resolve: &'a Resolve,
    pub(super) row: CardRow,
    offers: Vec<Offer>,
}

impl Answering<'_> {
    pub(super) fn key(&self) -> ObjectKey {
        (self.row.object.clone(), self.row.collection.clone(), self.row.incarnation)
    }

    /// The side that is meant by an option.
    pub(super) fn side(&self, is_shown: bool) -> Result<&Alternative, ResolveError> {
        if let Some(pick) = self.resolve.pick {
            let meant = self.offers.iter().find(|offer| offer.operations.contains(&pick));
            return meant.map(|offer| &offer.alternative).ok_or(ResolveError::NoSide(pick));
        }
        let sides: Vec<&Alternative> = self
            .offers
            .iter()
            .map(|offer| &offer.alternative)
            .filter(|alternative| alternative.is_shown == is_shown)
            .collect();
        match sides.as_slice() {
            [side] => Ok(side),
            several => Err(ResolveError::Pick(several.len())),
        }
    }

    fn answer(&self) -> Result<Answer, ResolveError> {
        match self.resolve.choice {
            Choice::Local | Choice::Fork => self.shown().cloned().map(Answer::Keep),
            Choice::Remote => self.side(false).cloned().map(Answer::Keep),
            Choice::Merge => match (&self.resolve.value, self.resolve.pick) {
                (Some(value), None) => Ok(Answer::Value(value.clone())),
                (None, Some(_)) => self.side(false).cloned().map(Answer::Keep),
                _ => Err(ResolveError::NoValue),
            },
            Choice::Expire => {
                let newest =
                    super::expiry::newest(&self.offers).ok_or(ResolveError::NoOption(Choice::Expire))?;
                Ok(Answer::Keep(newest.alternative.clone()))
            }
            Choice::Decline => Err(ResolveError::NoOption(Choice::Decline)),
        }
    }

    /// What is shown here, whatever side was picked.
    pub(super) fn shown(&self) -> Result<&Alternative, ResolveError> {
        let shown = self.offers.iter().find(|offer| offer.alternative.is_shown);
        shown.map(|offer| &offer.alternative).ok_or(ResolveError::NoOption(self.resolve.choice))
    }
}

impl Engine {
    /// Answers a card.
    pub(super) fn resolve(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        resolve: &Resolve,
    ) -> Result<Written, WriteError> {
        let row = self.card_row(Some(stage), &resolve.card)?.ok_or(ResolveError::NotFound(resolve.card))?;
        if let Some(end) = &row.end {
            if let Some(next) = end.successors.first() {
                return Err(ResolveError::Superseded { card: resolve.card, next: *next }.into());
            }
            return already(resolve, &row);
        }
        // What nobody chose is chosen by the program alone, and when it is time.
        let may_expire = request.actor.kind == ActorKind::System && self.expires(&row).is_some();
        if resolve.choice == Choice::Expire && !may_expire {
            return Err(ResolveError::NoOption(Choice::Expire).into());
        }
        let offers = self.offers(&row)?;
        let answering = Answering { request, resolve, row, offers };
        match answering.row.about {
            AboutRow::Conflict(_) => self.resolve_conflict(stage, &answering),
            AboutRow::Deletion => self.resolve_deletion(stage, &answering),
            AboutRow::Lives => self.resolve_lives(stage, &answering),
            AboutRow::Held(no, seq) => self.resolve_held(stage, &answering, (no, seq)),
            AboutRow::Heads => self.resolve_heads(stage, &answering),
            AboutRow::Replay(_) => self.resolve_replay(stage, &answering),
            AboutRow::Late => self.resolve_late(stage, &answering),
            AboutRow::Value(_) => self.resolve_value(stage, &answering),
            AboutRow::Unique(digest) => self.resolve_shared(stage, &answering, &digest),
            AboutRow::Dangling(ref target) => self.resolve_dangling(stage, &answering, target),
            AboutRow::Burst(of) => self.resolve_burst(stage, &answering, &of),
        }
    }

    fn resolve_conflict(&mut self, stage: &mut Stage, asked: &Answering<'_>) -> Result<Written, WriteError> {
        let answer = asked.answer()?;
        let key = asked.key();
        let object = self.object_row(&key)?.ok_or_else(|| WriteError::NotFound(key.0.clone()))?;
        let conflict = super::asked::conflict_of(self.stored_contradictions(&object)?, &asked.row)
            .ok_or(ResolveError::NotFound(asked.resolve.card))?;
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        let (card, choice) = (asked.resolve.card, asked.resolve.choice);
        let forked = match choice {
            Choice::Fork => {
                let side = asked.side(false)?.clone();
                let value = self.with_whole(&object, |doc| {
                    let answer = Answer::Keep(side);
                    conflict::decide(doc, &conflict, (card, choice, &answer), &manifest)
                        .and_then(|change| document::value_with(doc, &change))
                })??;
                Some(value)
            }
            _ => None,
        };
        let change = self.with_whole(&object, |doc| {
            conflict::decide(doc, &conflict, (card, choice, &answer), &manifest)
        })??;
        let written = self.log_resolution(stage, asked, object, change, Vec::new())?;
        self.with_fork(stage, asked, written, forked.as_ref())
    }

    /// An answer that was given, with the object that it forks off, if it does.
    pub(super) fn with_fork(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        written: Written,
        value: Option<&Value>,
    ) -> Result<Written, WriteError> {
        let Some(value) = value else { return Ok(written) };
        let object = self.fork_off(stage, asked, value)?;
        Ok(Written { object: Some(object), ..written })
    }

    /// Logs a resolution and joins its change to the document.
    pub(super) fn log_resolution(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        change: EncodedChange,
        requires: Vec<OperationId>,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        let log = self.log_for(stage, &manifest)?;
        let at = self.next_operation(stage, log);
        let subject = subject_of(&object);
        let proof = self.admit_resolution(stage, asked.request, &subject, &change.bytes, at.0)?;
        let digest = (change.hash, change.bytes.len());
        let mut entry = self.entry(asked.request, EntryKind::RESOLUTION, at, Some(subject), digest, None);
        entry.note.clone_from(&asked.resolve.because);
        entry.requires = requires;
        let key = key_of(&object);
        let decision = self.log_decision(stage, log, entry, change.bytes, proof);
        self.carry_out(stage, &key, vec![decision], Ledgered::default())?;
        let heads = stage.objects.get(&key).map(|staged| document::heads(&staged.document));
        Ok(done(at.0, Some(key.0), heads.unwrap_or_default()))
    }

    /// Asks the gate whether a resolution may be made, and whether what it writes may be written.
    pub(super) fn admit_resolution(
        &mut self,
        stage: &mut Stage,
        request: &WriteRequest,
        subject: &Subject,
        change: &[u8],
        operation: OperationId,
    ) -> Result<Redeemed, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&subject.collection);
        let size = change.len() as u64;
        {
            let question = self.question(request, Some(subject), Some(&manifest), Base::Named);
            let mut edit = Asked { size, ..question }.into_edit();
            edit.replaces = strategy::replaces(&edit, change);
            self.admit_local(stage, request, &rules, &edit, operation)?;
        }
        let question = Asked {
            action: Action::Operation(OperationType::Resolve),
            size,
            argued: judge::is_argued(change),
            ..self.question(request, Some(subject), Some(&manifest), Base::NotNeeded)
        };
        self.admit_local(stage, request, &rules, &question, operation)
    }

    /// Appends a decision to this device's log; it takes effect by the road of all changes.
    pub(super) fn log_decision(
        &self,
        stage: &mut Stage,
        log: LogNo,
        entry: Entry,
        bytes: Vec<u8>,
        proof: Redeemed,
    ) -> Candidate {
        let kind = self.staged_log(stage, log).map(|state| state.row.kind);
        let name = match kind {
            Some(LogKind::Device(log)) => log,
            _ => self.own_log(),
        };
        let record = LogRecord { entry: entry.clone(), payload: Some(bytes.clone()) };
        let (seq, _) = self.append(stage, log, entry, bytes);
        Candidate {
            arrival: Arrival { log: name, no: log, seq, record, session: None, in_burst: false },
            proof,
        }
    }

    /// Lets in what was decided, and whatever had waited for it.
    pub(super) fn carry_out(
        &mut self,
        stage: &mut Stage,
        key: &ObjectKey,
        group: Vec<Candidate>,
        mut done: Ledgered,
    ) -> Result<(), StoreError> {
        self.merge(stage, key, group, &mut done)?;
        self.let_in_waiting(stage, &mut done)?;
        self.record_all(stage, &mut done);
        Ok(())
    }

    fn resolve_deletion(&mut self, stage: &mut Stage, asked: &Answering<'_>) -> Result<Written, WriteError> {
        let key = asked.key();
        let object = self.object_row(&key)?.ok_or_else(|| WriteError::NotFound(key.0.clone()))?;
        let (goes, value) = match (asked.resolve.choice, &asked.resolve.value) {
            (Choice::Remote | Choice::Fork, _) => (true, None),
            (Choice::Local | Choice::Expire, _) => (false, None),
            (Choice::Merge, Some(value)) => (false, Some(value.clone())),
            (Choice::Merge, None) => match asked.resolve.pick {
                Some(_) => (!asked.side(true)?.is_shown, None),
                None => return Err(ResolveError::NoValue.into()),
            },
            (choice @ Choice::Decline, _) => return Err(ResolveError::NoOption(choice).into()),
        };
        let forked = match asked.resolve.choice {
            Choice::Fork => {
                let value = self.with_document(&object, document::read)?;
                Some(value)
            }
            _ => None,
        };
        let written = if goes {
            self.end_by_choice(stage, asked, object, None)?
        } else {
            self.overrule(stage, asked, object, value.as_ref())?
        };
        self.with_fork(stage, asked, written, forked.as_ref())
    }

    /// Decides that an object stays although it was deleted, with this value if one is given.
    pub(super) fn overrule(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        value: Option<&Value>,
    ) -> Result<Written, WriteError> {
        let deleted: BTreeSet<Digest> = object.deleted().copied().collect();
        if deleted.len() > conflict::DELETION_HEADS {
            return Err(ResolveError::TooManyDeletions(deleted.len()).into());
        }
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        let heads: BTreeSet<Digest> = object.heads.iter().copied().collect();
        let (card, choice) = (asked.resolve.card, asked.resolve.choice);
        let change = self.with_document(&object, |doc| {
            let question = Question::Deletion(deleted.iter().copied().collect());
            conflict::write(doc, &heads, (card, choice, question), &manifest, |writer, _| match value {
                Some(value) => writer.set(&document::writer::Spot::Root, &[], value),
                None => Ok(()),
            })
        })??;
        // It overrules these deletions and no others, whichever arrives first.
        let about =
            |entry: &Entry| entry.subject.as_ref().is_some_and(|s| s.incarnation == object.incarnation);
        let tombstones = self.tombstones_of(&object.object)?;
        let requires = tombstones.into_iter().map(|(_, _, entry)| entry).filter(about);
        let requires = requires.map(|entry| entry.operation).take(limits::REFERENCES).collect();
        self.log_resolution(stage, asked, object, change, requires)
    }

    fn resolve_lives(&mut self, stage: &mut Stage, asked: &Answering<'_>) -> Result<Written, WriteError> {
        let kept = match asked.resolve.choice {
            Choice::Local | Choice::Fork => asked.shown()?,
            Choice::Remote => asked.side(false)?,
            Choice::Merge => match asked.resolve.pick {
                Some(_) => asked.side(false)?,
                None => asked.shown()?,
            },
            choice @ (Choice::Decline | Choice::Expire) => return Err(ResolveError::NoOption(choice).into()),
        };
        let (kept, others) =
            (Incarnation(kept.change.0), asked.offers.iter().map(|offer| &offer.alternative));
        let forks: Vec<Value> = match asked.resolve.choice {
            Choice::Fork => {
                others.filter(|side| side.change.0 != kept.0).map(|side| side.value.clone()).collect()
            }
            _ => Vec::new(),
        };
        let lives = self.object_lives(&asked.row.object)?;
        let mut written = None;
        let all_ended = lives.iter().all(ObjectRow::is_tombstoned);
        for life in competing_lives(&lives) {
            let done = match (life.incarnation == kept, life.is_tombstoned(), &asked.resolve.value) {
                // That it was deleted is what was chosen.
                (true, true, None) if !all_ended => None,
                (true, true, value) => Some(self.overrule(stage, asked, life.clone(), value.as_ref())?),
                (true, false, Some(value)) => {
                    Some(self.overrule_nothing(stage, asked, life.clone(), value)?)
                }
                (true, false, None) => None,
                (false, true, _) if all_ended => None,
                (false, _, _) => Some(self.end_by_choice(stage, asked, life.clone(), Some(kept))?),
            };
            written = done.or(written);
        }
        let mut written = written.ok_or(ResolveError::NoOption(asked.resolve.choice))?;
        for value in &forks {
            written = self.with_fork(stage, asked, written, Some(value))?;
        }
        Ok(written)
    }

    /// Gives the life that stays another value.
    fn overrule_nothing(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        value: &Value,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        let heads: BTreeSet<Digest> = object.heads.iter().copied().collect();
        let (card, choice) = (asked.resolve.card, asked.resolve.choice);
        let change = self.with_document(&object, |doc| {
            let question = Question::Change(Digest(object.incarnation.0));
            conflict::write(doc, &heads, (card, choice, question), &manifest, |writer, _| {
                writer.set(&document::writer::Spot::Root, &[], value)
            })
        })??;
        self.log_resolution(stage, asked, object, change, Vec::new())
    }

    /// Ends a life of an object because somebody chose so, in favour of another if there is one.
    pub(super) fn end_by_choice(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        object: ObjectRow,
        keeps: Option<Incarnation>,
    ) -> Result<Written, WriteError> {
        let rules = Arc::clone(&self.rules);
        let manifest = rules.governance.manifest(&object.collection);
        let log = self.log_for(stage, &manifest)?;
        let at = self.next_operation(stage, log);
        let subject = subject_of(&object);
        let answers = Some((asked.resolve.card, asked.resolve.choice.word().to_owned()));
        let proof = {
            // Whoever may not delete may not delete by way of a card either; every other device asks its gate this.
            let question = Asked {
                action: Action::Delete,
                size: deletion_size(stage, &object, |tombstone| Deletion {
                    tombstone: Tombstone { keeps, ..tombstone },
                    answers: answers.clone(),
                }),
                ..self.question(asked.request, Some(&subject), Some(&manifest), Base::Missing)
            };
            self.admit_local(stage, asked.request, &rules, &question, at.0)?
        };
        let key = key_of(&object);
        self.stage_object(stage, object)?;
        let heads = self.known_document(stage, &key)?.as_deref().map(document::heads).unwrap_or_default();
        let deletion = Deletion { tombstone: Tombstone { heads, keeps }, answers };
        let payload = deletion.to_bytes();
        let mut entry = self.record_entry(asked.request, deletion.kind(), at, Some(subject), &payload);
        entry.note.clone_from(&asked.resolve.because);
        self.log_deletion(stage, log, (entry, deletion), &proof)
    }

    /// Makes an object of its own out of what would else be given up. Its id follows from the card, so that two
    /// devices which fork alike make one.
    pub(super) fn fork_off(
        &mut self,
        stage: &mut Stage,
        asked: &Answering<'_>,
        value: &Value,
    ) -> Result<ObjectId, WriteError> {
        let collection: Collection = asked.row.collection.clone();
        let id = forked_id(&asked.row.object, &asked.resolve.card, value);
        let Ok(object) = id.parse::<ObjectId>() else {
            return Err(ResolveError::NoOption(Choice::Fork).into());
        };
        let note = format!("forked from {} by card {}", asked.row.object, asked.resolve.card);
        match self.put_noted(stage, asked.request, &collection, Some(&object), value, Some(note)) {
            // Somebody who forked alike was heard of already.
            Ok(_) | Err(WriteError::Exists(_)) => Ok(object),
            Err(error) => Err(error),
        }
    }
}

/// Answering again as it was answered is no new answer.
fn already(resolve: &Resolve, row: &CardRow) -> Result<Written, WriteError> {
    let Some(by) = row.end.as_ref().and_then(|end| end.by.as_ref()) else {
        return Err(ResolveError::NotFound(resolve.card).into());
    };
    if by.choice == resolve.choice.word() && resolve.value.is_none() {
        let object = Some(row.object.clone());
        return Ok(Written { repeated: true, ..done(by.operation, object, Vec::new()) });
    }
    let (choice, by) = (by.choice.clone(), (by.actor.to_string(), by.operation));
    Err(ResolveError::Decided { card: resolve.card, choice, by: by.0, operation: by.1 }.into())
}

fn forked_id(object: &ObjectId, card: &Digest, value: &Value) -> String {
    let value = syncd_schema::domain::sha256(value.to_string().as_bytes());
    format!("{}{}", forked_from(object, card), value.short().get(..4).unwrap_or_default())
}

/// How the ids of the objects begin that an answer to a card forks off.
pub(super) fn forked_from(object: &ObjectId, card: &Digest) -> String {
    let name: String = object.as_str().chars().take(64).collect();
    format!("{name}-fork-{}", card.short())
}

fn subject_of(object: &ObjectRow) -> Subject {
    let (collection, incarnation) = (object.collection.clone(), object.incarnation);
    Subject { collection, object: object.object.clone(), incarnation }
}
