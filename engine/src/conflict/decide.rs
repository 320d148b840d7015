//! The change that a decision is: written on exactly the changes it decides about, and nothing else.

use super::sides::item;
use super::{
    Alternative, Choice, Conflict, Keep, Key, Kind, OpName, Question, Settlement, answers, kept, resolution,
};
use crate::document::node::{self, Node, Planner};
use crate::document::writer::{Spot, Writer};
use crate::document::{self, EditError, EncodedChange};
use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, Change, ChangeHash, ObjType, Prop, ReadDoc, ScalarValue};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use syncd_schema::Digest;
use syncd_schema::manifest::Manifest;

/// What is to be in the place.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// What a side left.
    Keep(Alternative),
    /// This value.
    Value(Value),
}

/// What a change of a document settles, if it is a resolution.
#[must_use]
pub fn settlement_of(doc: &Automerge, change: &Digest) -> Option<Settlement> {
    // Asking for a change walks its operations, for its message does not.
    let meta = doc.get_change_meta_by_hash(&ChangeHash(change.0))?;
    Settlement::of_message(meta.message.as_deref()?)?;
    Settlement::of_change(&doc.get_change_by_hash(&ChangeHash(change.0))?)
}

/// The generation of a decision about some changes.
#[must_use]
pub fn generation(doc: &Automerge, changes: &BTreeSet<Digest>) -> u32 {
    let of = |digest: &Digest| settlement_of(doc, digest).map(|settlement| settlement.generation);
    changes.iter().filter_map(of).max().unwrap_or_default().saturating_add(1)
}

/// The cards whose answers contradict each other in a conflict.
#[must_use]
pub fn answered_cards(doc: &Automerge, conflict: &Conflict) -> Vec<Digest> {
    let changes: BTreeSet<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    let mut answers: BTreeMap<Digest, usize> = BTreeMap::new();
    for settled in changes.iter().filter_map(|change| settlement_of(doc, change)) {
        *answers.entry(settled.card).or_default() += 1;
    }
    // Beside answers to one question, one alone may be contradicted by somebody's work.
    answers.retain(|_, count| conflict.kind == Kind::Answer || *count > 1);
    answers.into_keys().collect()
}

/// The resolution of a conflict. The document is read and not changed.
///
/// # Errors
/// When the answer does not fit the place or the limits.
pub fn decide(
    doc: &Automerge,
    conflict: &Conflict,
    (card, choice, answer): (Digest, Choice, &Answer),
    manifest: &Manifest,
) -> Result<EncodedChange, EditError> {
    let changes: BTreeSet<Digest> = conflict.sides.iter().map(|side| side.change).collect();
    let question = match conflict.sides.first().filter(|_| conflict.kind == Kind::Answer) {
        Some(side) => answers::question_of_change(doc, &side.change).ok_or(EditError::Lost)?,
        None => Question::Place(resolution::question_of(conflict)),
    };
    write(doc, &changes, (card, choice, question), manifest, |writer, fork| {
        answer_at(writer, fork, conflict, answer)
    })
}

/// A change that answers a card's question, on top of these changes: a pure function of all that it is given.
///
/// # Errors
/// When what is written does not fit, or a change is not in the document.
pub fn write(
    doc: &Automerge,
    changes: &BTreeSet<Digest>,
    (card, choice, question): (Digest, Choice, Question),
    manifest: &Manifest,
    fill: impl Fn(&mut Writer<'_, '_>, &Automerge) -> Result<(), EditError>,
) -> Result<EncodedChange, EditError> {
    let heads: Vec<ChangeHash> = changes.iter().map(|change| ChangeHash(change.0)).collect();
    let fork = doc.fork_at(&heads)?;
    let heads = document::heads(&fork).into_iter().collect();
    let settlement = &Settlement { question, choice, generation: generation(doc, &heads), card };
    // The actor follows from the content, so the content is written twice: first by nobody.
    let nobody = attempt(&fork, [0; 16], settlement, manifest, &fill)?;
    let actor = resolution::actor(&nobody);
    let change = attempt(&fork, actor, settlement, manifest, &fill)?;
    if Settlement::of_change(&change).as_ref() != Some(settlement) {
        return Err(EditError::Lost);
    }
    let change = EncodedChange { hash: Digest(change.hash().0), bytes: change.raw_bytes().to_vec() };
    change.check_size()?;
    Ok(change)
}

fn attempt(
    fork: &Automerge,
    actor: [u8; 16],
    settlement: &Settlement,
    manifest: &Manifest,
    fill: impl Fn(&mut Writer<'_, '_>, &Automerge) -> Result<(), EditError>,
) -> Result<Change, EditError> {
    let mut copy = fork.clone();
    copy.set_actor(ActorId::from(&actor[..]));
    let mut tx = copy.transaction();
    let filled = fill(&mut Writer::new(&mut tx, manifest), fork);
    if let Err(error) = filled {
        tx.rollback();
        return Err(error);
    }
    let options = || CommitOptions::default().with_time(0).with_message(settlement.to_string());
    let hash = match tx.commit_with(options()).0 {
        Some(hash) => hash,
        // What is shown is what was chosen: the decision is all there is to write.
        None => copy.empty_commit(options()),
    };
    copy.get_change_by_hash(&hash).ok_or(EditError::Lost)
}

fn answer_at(
    writer: &mut Writer<'_, '_>,
    doc: &Automerge,
    conflict: &Conflict,
    answer: &Answer,
) -> Result<(), EditError> {
    let path = super::path(doc, conflict);
    if conflict.kind == Kind::Answer {
        return answer_again(writer, doc, conflict, (&path, answer));
    }
    if conflict.kind == Kind::Text {
        let spot = writer.spot(&path)?;
        return match answer {
            Answer::Value(value) => {
                let not_text = || EditError::NotText { path: super::pointer(&path) };
                let value = value.as_str().ok_or_else(not_text)?;
                let text = kept::given(doc, conflict, value).ok_or(EditError::Lost)?;
                writer.set(&spot, &path, &Value::String(text))
            }
            Answer::Keep(side) => {
                let text = kept::text(doc, conflict, &side.changes).ok_or(EditError::Lost)?;
                writer.set(&spot, &path, &Value::String(text))
            }
        };
    }
    let (spot, is_there) = spot(doc, conflict, &path)?;
    let node = match answer {
        Answer::Value(value) => Planner::at(writer.manifest, &path).plan(value)?,
        Answer::Keep(Alternative { keep: Keep::Gone, .. }) => return empty(writer, &spot, &path, is_there),
        Answer::Keep(Alternative { keep: Keep::Count(count), .. }) => Node::Scalar(node::counter(*count)),
        Answer::Keep(Alternative { keep: Keep::Container(container), .. }) => {
            let kind = doc.object_type(container.object())?;
            Node::read(doc, &automerge::Value::Object(kind), &container.object())?
        }
        Answer::Keep(Alternative { keep: Keep::Put(name), .. }) => match kept(doc, &spot, name)? {
            Some(node) => node,
            None => return Ok(()),
        },
        Answer::Keep(Alternative { keep: Keep::Text(_) | Keep::Outcome(_), .. }) => {
            return Err(EditError::Lost);
        }
    };
    match (is_there, &node) {
        (false, _) => writer.add(&spot, &path, &node),
        (true, Node::Scalar(value)) => {
            // Automerge writes nothing where the value is there already, and a decision that wrote nothing could not
            // contradict another one.
            writer.put(&spot, &path, &Node::Scalar(other_than(value)))?;
            writer.put(&spot, &path, &node)
        }
        (true, _) => writer.put(&spot, &path, &node),
    }
}

/// What several have answered otherwise: one of their answers, or a value in the place that they differ in.
fn answer_again(
    writer: &mut Writer<'_, '_>,
    doc: &Automerge,
    conflict: &Conflict,
    (path, answer): (&[String], &Answer),
) -> Result<(), EditError> {
    match answer {
        Answer::Value(value) => {
            let spot = writer.spot(path)?;
            writer.set(&spot, path, value)
        }
        Answer::Keep(side) => writer.set(&Spot::Root, &[], &answers::outcome(doc, conflict, &side.change)),
    }
}

/// Leaves nothing in a place, by an operation even where nothing is: for the same reason.
fn empty(writer: &mut Writer<'_, '_>, spot: &Spot, path: &[String], is_there: bool) -> Result<(), EditError> {
    if !is_there {
        // What is put into a list for this stands elsewhere than what was deleted.
        if !matches!(spot, Spot::Key { .. }) {
            return Ok(());
        }
        writer.put(spot, path, &Node::Scalar(ScalarValue::Null))?;
    }
    writer.delete(spot)
}

pub(super) const fn other_than(value: &ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Null => ScalarValue::Boolean(false),
        _ => ScalarValue::Null,
    }
}

/// What an operation put, if it is there.
fn kept(doc: &Automerge, spot: &Spot, name: &OpName) -> Result<Option<Node>, EditError> {
    let (container, prop): (_, Prop) = match spot {
        Spot::Key { map, key } => (map, key.as_str().into()),
        Spot::Item { list, index, .. } => (list, (*index).into()),
        Spot::Root => return Err(EditError::Lost),
    };
    let all = doc.get_all(container, prop)?;
    let found = all.into_iter().find(|(_, id)| OpName::of_object(id).as_ref() == Some(name));
    // If not, somebody has written over it since: what is there stays.
    found.map(|(value, id)| Node::read(doc, &value, &id)).transpose()
}

/// The place, and whether anything is there. An item that is gone comes back where it stood.
fn spot(doc: &Automerge, conflict: &Conflict, path: &[String]) -> Result<(Spot, bool), EditError> {
    let container = conflict.place.object.as_ref().map_or(automerge::ROOT, OpName::object);
    match &conflict.place.key {
        Key::Name(name) => {
            let is_there = doc.get(&container, name.as_str())?.is_some();
            Ok((Spot::Key { map: container, key: name.clone() }, is_there))
        }
        Key::Element(_) => {
            if doc.object_type(&container)? != ObjType::List {
                return Err(EditError::Lost);
            }
            let len = doc.length(&container);
            let stood = || path.last().and_then(|step| step.parse().ok()).unwrap_or(len).min(len);
            let here = item(doc, conflict);
            let index = here.unwrap_or_else(stood);
            Ok((Spot::Item { list: container, index, len }, here.is_some()))
        }
        Key::Head | Key::Question(_) => Err(EditError::Lost),
    }
}
