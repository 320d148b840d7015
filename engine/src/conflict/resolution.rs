//! Resolutions: changes that decide what contradicts, and say so themselves.
//!
//! A resolution is a pure function of what it decides: its actor is a hash of its dependencies, its message and its
//! operations, its sequence number 1, its time 0. Whoever decides the same about the same writes the same bytes, so
//! equal decisions collapse, and nobody can make two different changes of one actor, which Automerge could not live
//! with. The message names the question, since not every answer has an operation: where something deleted stays
//! deleted, there is nothing to write.
//!
//! Proposals, which are in no document before somebody lets them in, have such actors too, and no message: their author
//! goes on writing meanwhile, and must not use one number twice.
//!
//! A change that carries such a message and not the actor that follows from its content is an ordinary change:
//! it settles nothing.

use super::operation::{Action, Key, OpName, Operation, Slot, operations};
use super::{Conflict, Kind};
use automerge::{Change, ScalarValue};
use std::fmt;
use std::str::FromStr;
use syncd_schema::{Digest, domain};

/// First word of the message of a resolution, with the version of its form.
const WORD: &str = "resolution/1";

/// What is done about a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// A value is given.
    Merge,
    /// What was shown where the decision was made stays.
    Local,
    /// What another wrote takes its place.
    Remote,
    /// What another wrote goes on as an object of its own.
    Fork,
    /// A held change is not wanted: it is let in together with what takes it back.
    Decline,
    /// Nobody chose, and the program did.
    Expire,
}

impl Choice {
    /// What anybody may choose.
    pub const ALL: [Self; 5] = [Self::Merge, Self::Fork, Self::Local, Self::Remote, Self::Decline];

    /// The word used in commands and records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Local => "keep_local",
            Self::Remote => "keep_remote",
            Self::Fork => "fork",
            Self::Decline => "decline",
            Self::Expire => "expire",
        }
    }
}

impl FromStr for Choice {
    type Err = NotAChoice;

    fn from_str(word: &str) -> Result<Self, NotAChoice> {
        Self::ALL.into_iter().chain([Self::Expire]).find(|choice| choice.word() == word).ok_or(NotAChoice)
    }
}

/// A word that is no option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the options are merge, fork, keep_local, keep_remote and decline")]
pub struct NotAChoice;

/// The question that a resolution is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// What contradicts in one place, by [`place_name`].
    Place(Digest),
    /// Whether an object that was deleted at these heads is gone.
    Deletion(Vec<Digest>),
    /// Whether a change that was held or proposed is let in.
    Change(Digest),
}

impl Question {
    /// How it is told from others, whatever it is about. A place keeps its name.
    #[must_use]
    pub fn name(&self) -> Digest {
        let (word, digests) = self.parts();
        match self {
            Self::Place(place) => *place,
            Self::Deletion(_) | Self::Change(_) => {
                let digests: Vec<u8> = digests.iter().flat_map(|digest| digest.0).collect();
                domain::hash("question", &[word.as_bytes(), &digests])
            }
        }
    }

    fn parts(&self) -> (&'static str, &[Digest]) {
        match self {
            Self::Place(place) => ("place", std::slice::from_ref(place)),
            Self::Deletion(heads) => ("deletion", heads),
            Self::Change(change) => ("change", std::slice::from_ref(change)),
        }
    }
}

/// What a resolution says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What it is about.
    pub question: Question,
    /// What was chosen.
    pub choice: Choice,
    /// One more than that of the resolutions it decides between; 1 when it decides between none.
    pub generation: u32,
    /// The card that asked.
    pub card: Digest,
}

/// Heads of a deletion that one resolution can name: they must fit its message.
pub const DELETION_HEADS: usize = 12;

impl fmt::Display for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, digests) = self.question.parts();
        write!(f, "{WORD} {} {} {} {kind}", self.choice.word(), self.generation, self.card)?;
        digests.iter().try_for_each(|digest| write!(f, " {digest}"))
    }
}

impl Settlement {
    /// Reads a message. None when it is not that of a resolution, to the letter.
    #[must_use]
    pub fn of_message(message: &str) -> Option<Self> {
        let mut words = message.split(' ');
        if words.next() != Some(WORD) {
            return None;
        }
        let choice = words.next()?.parse().ok()?;
        let generation = words.next()?.parse().ok()?;
        let card = words.next()?.parse().ok()?;
        let kind = words.next()?;
        let digests: Vec<Digest> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let question = match (kind, digests.as_slice()) {
            ("place", [place]) => Question::Place(*place),
            ("change", [change]) => Question::Change(*change),
            ("deletion", heads) if (1..=DELETION_HEADS).contains(&heads.len()) => Question::Deletion(digests),
            _ => return None,
        };
        let settlement = Self { question, choice, generation, card };
        (settlement.to_string() == message).then_some(settlement)
    }

    /// What a change settles; none unless it is a resolution.
    #[must_use]
    pub fn of_change(change: &Change) -> Option<Self> {
        let settlement = Self::of_message(change.message()?)?;
        is_pure(change).then_some(settlement)
    }
}

/// How a resolution names a place.
#[must_use]
pub fn place_name(place: &Slot) -> Digest {
    domain::hash("place", &[&place.to_bytes()])
}

/// How a resolution names what a conflict is about: its place, since whatever else is done there is decided with it. In
/// one text there may be several conflicts between the same changes, so there it is the conflict itself.
#[must_use]
pub fn question_of(conflict: &Conflict) -> Digest {
    match (&conflict.place.key, conflict.kind) {
        (Key::Question(question), _) => *question,
        (_, Kind::Text) => conflict.id(),
        _ => place_name(&conflict.place),
    }
}

/// Whether a change is made by the actor that follows from its content.
#[must_use]
pub fn is_pure(change: &Change) -> bool {
    change.seq() == 1
        && change.timestamp() == 0
        && !change.deps().is_empty()
        && *change.actor_id().to_bytes() == actor(change)
}

/// The actor that a pure change with this content has, whatever actor made this one.
#[must_use]
pub fn actor(change: &Change) -> [u8; 16] {
    let deps: Vec<u8> = change.deps().iter().flat_map(|dep| dep.0).collect();
    let message = change.message().unwrap_or_default();
    let mut content = Vec::new();
    for operation in operations(change, 0) {
        let bytes = bytes(&operation, change);
        content.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        content.extend_from_slice(&bytes);
    }
    let hash = domain::hash("resolution", &[&deps, message.as_bytes(), &content]);
    hash.0.first_chunk::<16>().copied().unwrap_or_default()
}

/// An operation without the actor that its own change is made by.
fn bytes(operation: &Operation, change: &Change) -> Vec<u8> {
    let neutral = |name: &OpName| match &name.actor == change.actor_id() {
        true => OpName { counter: name.counter, actor: automerge::ActorId::from([].as_slice()) },
        false => name.clone(),
    };
    let key = |key: &Key| match key {
        Key::Element(element) => Key::Element(neutral(element)),
        other => other.clone(),
    };
    let slot = Slot { object: operation.slot.object.as_ref().map(neutral), key: key(&operation.slot.key) };
    let after = operation.after.as_ref().map(|after| Slot { object: None, key: key(after) }.to_bytes());
    let mut preds: Vec<OpName> = operation.preds.iter().map(neutral).collect();
    preds.sort_unstable();
    let mut parts = vec![neutral(&operation.name).to_bytes(), slot.to_bytes(), after.unwrap_or_default()];
    parts.push(action(&operation.action));
    parts.extend(preds.iter().map(OpName::to_bytes));
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&part);
    }
    bytes
}

fn action(action: &Action) -> Vec<u8> {
    let tagged = |tag: u8, bytes: &[u8]| [&[tag], bytes].concat();
    match action {
        Action::Delete => vec![0],
        Action::Increment(by) => tagged(1, &by.to_be_bytes()),
        Action::Make(kind) => tagged(2, kind.to_string().as_bytes()),
        Action::Put(value) => match value {
            ScalarValue::Null => vec![3],
            ScalarValue::Boolean(value) => vec![4, u8::from(*value)],
            ScalarValue::Int(value) => tagged(5, &value.to_be_bytes()),
            ScalarValue::Uint(value) => tagged(6, &value.to_be_bytes()),
            ScalarValue::F64(value) => tagged(7, &value.to_bits().to_be_bytes()),
            ScalarValue::Str(value) => tagged(8, value.as_bytes()),
            ScalarValue::Bytes(value) => tagged(9, value),
            ScalarValue::Counter(value) => tagged(10, &i64::from(value).to_be_bytes()),
            ScalarValue::Timestamp(value) => tagged(11, &value.to_be_bytes()),
            ScalarValue::Unknown { type_code, bytes } => [&[12, *type_code], bytes.as_slice()].concat(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_to_the_letter() {
        let settlement = Settlement {
            question: Question::Deletion(vec![Digest([1; 32]), Digest([2; 32])]),
            choice: Choice::Remote,
            generation: 2,
            card: Digest([3; 32]),
        };
        let message = settlement.to_string();
        assert_eq!(Settlement::of_message(&message), Some(settlement));
        for wrong in [
            message.replace("/1", "/2"),
            message.replace(" 2 ", " 02 "),
            message.replace("keep_remote", "keep"),
            format!("{message} "),
            message.to_uppercase(),
            format!("{message} {}", ["0"; 64].concat()).repeat(5),
            "resolution/1 merge 1 place".to_owned(),
            String::new(),
        ] {
            assert_eq!(Settlement::of_message(&wrong), None, "{wrong}");
        }
        let longest = Question::Deletion(vec![Digest([255; 32]); DELETION_HEADS]);
        let card = Digest([9; 32]);
        let longest = Settlement { question: longest, choice: Choice::Remote, generation: u32::MAX, card };
        assert!(longest.to_string().len() <= 1 << 10, "the guard lets messages of this length in");
    }
}
