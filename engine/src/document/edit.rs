//! The edits a caller can ask for, and how one becomes one change.
//!
//! An edit makes exactly one change or none: all its steps are one transaction, which is rolled back when any
//! of them fails. Whether the edit is allowed is the policy's question; [`Edit::paths`] is what it looks at.

use super::error::EditError;
use super::writer::Writer;
use super::{EncodedChange, merge, patch, pointer, text};
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ChangeHash, ReadDoc, ScalarValue, Value as Entry};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncd_schema::manifest::{FieldRule, Manifest};
use syncd_schema::{Digest, limits};

/// One edit of one object. In JSON: `{"merge_patch": {…}}`, `{"set_text": {"path": …, "text": …}}` and so on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// RFC 7396.
    MergePatch(Value),
    /// RFC 6902.
    JsonPatch(json_patch::Patch),
    /// A whole new content for a text, of which only the difference is written. A string becomes a text.
    SetText {
        /// JSON Pointer.
        path: String,
        /// The content.
        text: String,
    },
    /// A replacement in a text. A string becomes a text.
    Splice {
        /// JSON Pointer.
        path: String,
        /// Where, in code points.
        pos: usize,
        /// How many code points to delete.
        del: usize,
        /// What to insert.
        text: String,
    },
    /// Several replacements in one text, each in the text that those before it left: what an editor collected.
    Splices {
        /// JSON Pointer.
        path: String,
        /// Where, how many code points to delete, what to insert.
        splices: Vec<(usize, usize, String)>,
    },
    /// Adds to a counter.
    Increment {
        /// JSON Pointer.
        path: String,
        /// How much; may be negative.
        by: i64,
    },
}

impl Edit {
    /// The JSON Pointers of what it sets or removes, sorted and without repetition. A pointer stands for all
    /// below it; `/-` at the end is the place after a list's last item.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        match self {
            Self::MergePatch(patch) => merge::paths(patch, &mut String::new(), &mut paths),
            Self::JsonPatch(patch) => patch::paths(patch, &mut paths),
            Self::SetText { path, .. }
            | Self::Splice { path, .. }
            | Self::Splices { path, .. }
            | Self::Increment { path, .. } => {
                paths.push(path.clone());
            }
        }
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Whether it can take away or replace something, as far as it says itself.
    #[must_use]
    pub fn may_replace(&self) -> bool {
        match self {
            Self::Increment { .. } => false,
            Self::Splice { del, .. } => *del > 0,
            Self::Splices { splices, .. } => splices.iter().any(|(_, del, _)| *del > 0),
            Self::MergePatch(_) | Self::JsonPatch(_) | Self::SetText { .. } => true,
        }
    }

    /// Its size as JSON, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let mut counter = Counter(0);
        match serde_json::to_writer(&mut counter, self) {
            Ok(()) => counter.0,
            Err(_) => usize::MAX,
        }
    }
}

/// Makes an edit as one change by `actor`, who must never write on two copies of one document at once.
///
/// None when the document already says what the edit asks for. `time_seconds` is a label in the change.
///
/// # Errors
/// When the edit does not fit the document or the limits. The document is then unchanged.
pub fn apply(
    doc: &mut Automerge,
    edit: &Edit,
    actor: [u8; 16],
    time_seconds: i64,
    manifest: &Manifest,
) -> Result<Option<EncodedChange>, EditError> {
    let size = edit.size();
    // Escapes make JSON up to six times as long as the text it holds.
    if size > limits::JSON_BYTES.saturating_mul(6) {
        return Err(EditError::TooManyBytes { found: size });
    }
    super::computed::check_edit(doc, edit, manifest)?;
    doc.set_actor(ActorId::from(&actor[..]));
    match attempt(doc, edit, time_seconds, manifest, limits::CHANGE_BYTES / 2)? {
        Attempt::Nothing => Ok(None),
        Attempt::Done(hash) => EncodedChange::of(doc, &hash).ok_or(EditError::Lost).map(Some),
        // A change's size is known only when it is made, and a change that is made cannot be unmade: a change
        // that might be too large is made on a copy.
        Attempt::Large => {
            let mut copy = doc.clone();
            let Attempt::Done(hash) = attempt(&mut copy, edit, time_seconds, manifest, usize::MAX)? else {
                return Ok(None);
            };
            let change = EncodedChange::of(&copy, &hash).ok_or(EditError::Lost)?;
            change.check_size()?;
            *doc = copy;
            Ok(Some(change))
        }
    }
}

/// Makes an edit as a change on earlier heads that is in no document yet, by the actor that follows from its
/// content. The document is read and not changed.
///
/// # Errors
/// When the edit does not fit the document as it was then, or the limits.
pub fn propose(
    doc: &Automerge,
    heads: &[Digest],
    edit: &Edit,
    manifest: &Manifest,
) -> Result<Option<EncodedChange>, EditError> {
    let heads: Vec<ChangeHash> = heads.iter().map(|head| ChangeHash(head.0)).collect();
    let fork = doc.fork_at(&heads)?;
    let by = |actor: [u8; 16]| -> Result<Option<automerge::Change>, EditError> {
        let mut copy = fork.clone();
        copy.set_actor(ActorId::from(&actor[..]));
        match attempt(&mut copy, edit, 0, manifest, usize::MAX)? {
            Attempt::Done(hash) => Ok(copy.get_change_by_hash(&hash)),
            Attempt::Nothing | Attempt::Large => Ok(None),
        }
    };
    let Some(nobodys) = by([0; 16])? else { return Ok(None) };
    let change = by(crate::conflict::pure_actor(&nobodys))?.ok_or(EditError::Lost)?;
    let change = EncodedChange { hash: Digest(change.hash().0), bytes: change.raw_bytes().to_vec() };
    change.check_size()?;
    Ok(Some(change))
}

enum Attempt {
    Nothing,
    Done(ChangeHash),
    /// Rolled back, since the change might be larger than asked for.
    Large,
}

fn attempt(
    doc: &mut Automerge,
    edit: &Edit,
    time_seconds: i64,
    manifest: &Manifest,
    most: usize,
) -> Result<Attempt, EditError> {
    let mut tx = doc.transaction();
    let mut writer = Writer::new(&mut tx, manifest);
    let outcome = perform(&mut writer, edit);
    let bound = writer.bound();
    if let Err(error) = outcome {
        tx.rollback();
        return Err(error);
    }
    if tx.pending_ops() == 0 {
        tx.rollback();
        return Ok(Attempt::Nothing);
    }
    if tx.pending_ops() as u64 > limits::CHANGE_OPS {
        tx.rollback();
        return Err(EditError::TooManyOps);
    }
    if bound > most {
        tx.rollback();
        return Ok(Attempt::Large);
    }
    match tx.commit_with(CommitOptions::default().with_time(time_seconds)).0 {
        Some(hash) => Ok(Attempt::Done(hash)),
        None => Ok(Attempt::Nothing),
    }
}

fn perform(writer: &mut Writer<'_, '_>, edit: &Edit) -> Result<(), EditError> {
    match edit {
        Edit::MergePatch(patch) => merge::apply(writer, patch),
        Edit::JsonPatch(patch) => patch::apply(writer, patch),
        Edit::SetText { path, text } => text::set_at(writer, path, text),
        Edit::Splice { path, pos, del, text } => text::splice_at(writer, path, *pos, *del, text),
        Edit::Splices { path, splices } => {
            splices.iter().try_for_each(|(pos, del, text)| text::splice_at(writer, path, *pos, *del, text))
        }
        Edit::Increment { path, by } => increment(writer, path, *by),
    }
}

fn increment(writer: &mut Writer<'_, '_>, path: &str, by: i64) -> Result<(), EditError> {
    let steps = pointer::parse(path)?;
    let (spot, found) = writer.must_find(&steps)?;
    let not_counter = || EditError::NotCounter { path: pointer::excerpt(path) };
    let Entry::Scalar(scalar) = &found.entry else { return Err(not_counter()) };
    let (value, is_counter) = match scalar.as_ref() {
        ScalarValue::Counter(counter) => (i64::from(counter), true),
        // Written before the manifest said that the field is a counter.
        ScalarValue::Int(n) if writer.rule(&steps) == Some(FieldRule::Counter) => (*n, false),
        _ => return Err(not_counter()),
    };
    let goes_too_far = |n: i64| n.unsigned_abs() > limits::COUNTER.unsigned_abs();
    if value.checked_add(by).is_none() || goes_too_far(by) || !is_counter && goes_too_far(value) {
        return Err(EditError::CounterOverflow { path: pointer::excerpt(path) });
    }
    if by == 0 {
        return Ok(());
    }
    if !is_counter {
        writer.put(&spot, &steps, &super::node::Node::Scalar(super::node::counter(value)))?;
    }
    writer.reserve(1, 0)?;
    match spot {
        super::writer::Spot::Key { map, key } => writer.tx.increment(map, key, by)?,
        super::writer::Spot::Item { list, index, .. } => writer.tx.increment(list, index, by)?,
        super::writer::Spot::Root => return Err(not_counter()),
    }
    Ok(())
}

/// Counts bytes instead of keeping them.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
