//! What callers ask for and hear: intents, answers, and why there is none.

use super::renew::Remains;
use super::resolve::{Resolve, ResolveError};
use super::undo::UndoError;
use crate::document::{Edit, EditError};
use crate::judgement::Violation;
use crate::store::StoreError;
use crate::store::rows::Stop;
use std::sync::Arc;
use syncd_policy::Decision;
use syncd_schema::{
    Actor, Collection, Digest, EntryKind, ObjectId, OperationId, OperationStatus, cbor, domain, limits,
};

/// What a caller wants.
#[derive(Clone, Debug)]
pub enum Intent {
    /// A new object with this value, a JSON object.
    Put {
        /// Its collection.
        collection: Collection,
        /// Its id; drawn if absent.
        object: Option<ObjectId>,
        /// Its value.
        value: serde_json::Value,
    },
    /// A change to an object.
    Edit {
        /// The object.
        object: ObjectId,
        /// The heads it was based on: an edit of anything older is refused, never applied over what it had not seen.
        base: Option<Vec<Digest>>,
        /// The change.
        edit: Edit,
    },
    /// The end of an object.
    Delete {
        /// The object.
        object: ObjectId,
    },
    /// An object begins anew, and what it was is dropped from every device.
    Rebirth {
        /// The object.
        object: ObjectId,
        /// What stays of it.
        remains: Remains,
    },
    /// The answer to a card.
    Resolve(Resolve),
    /// An answer to a card is taken back.
    Undo {
        /// The operation that answered.
        operation: OperationId,
    },
    /// A signed checkpoint, now.
    Checkpoint,
    /// An act of governance: the entry's kind and its encoded payload.
    Govern(EntryKind, Vec<u8>),
    /// A policy bundle.
    SetPolicy {
        /// Cedar text.
        text: String,
        /// Whether the bundles in force stay; else it takes the place of them all.
        beside: bool,
    },
}

impl Intent {
    /// About how large the payload will be, from above: keys, operations and actor come on top of the content.
    pub(super) fn size(&self) -> usize {
        const AROUND: usize = 4 << 10;
        let json = |value: &serde_json::Value| serde_json::to_vec(value).map_or(0, |json| json.len());
        let content = match self {
            Self::Put { value, .. } => json(value),
            Self::Edit { edit, .. } => edit.size(),
            Self::Rebirth { remains: Remains::Value(value), .. } => json(value),
            // What is shown fits one change, or it is refused.
            Self::Rebirth { remains: Remains::Shown, .. } => limits::CHANGE_BYTES,
            Self::Rebirth { remains: Remains::Nothing, .. }
            | Self::Delete { .. }
            | Self::Undo { .. }
            | Self::Checkpoint => 0,
            Self::Resolve(resolve) => resolve.value.as_ref().map_or(0, json),
            Self::Govern(_, payload) => payload.len(),
            Self::SetPolicy { text, .. } => text.len(),
        };
        content.saturating_add(AROUND)
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// On whose behalf.
    pub actor: Actor,
    /// The caller's key: a call repeated under it is the same operation.
    pub idempotency_key: Option<String>,
    /// Whether running it again would be harmless.
    pub replay_safe: bool,
    /// What the caller says about it.
    pub note: Option<String>,
    /// What is wanted.
    pub intent: Intent,
}

impl WriteRequest {
    /// A call without a key.
    #[must_use]
    pub const fn new(actor: Actor, intent: Intent) -> Self {
        Self { actor, idempotency_key: None, replay_safe: false, note: None, intent }
    }

    /// Under what the answer to a key is kept.
    pub(super) fn key_name(&self, key: &str) -> Vec<u8> {
        domain::hash("idempotency", &[self.actor.to_string().as_bytes(), key.as_bytes()]).0.to_vec()
    }

    /// What was asked, for telling a repetition from another request under the same key.
    pub(super) fn digest(&self) -> Digest {
        fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
            serde_json::to_vec(value).unwrap_or_default()
        }
        let parts: [Vec<u8>; 4] = match &self.intent {
            Intent::Put { collection, object, value } => {
                [b"put".to_vec(), json(collection), json(object), json(value)]
            }
            Intent::Edit { object, base, edit } => [b"edit".to_vec(), json(object), json(base), json(edit)],
            Intent::Delete { object } => [b"delete".to_vec(), json(object), Vec::new(), Vec::new()],
            Intent::Rebirth { object, remains } => {
                let (word, value) = match remains {
                    Remains::Shown => ("shown", None),
                    Remains::Value(value) => ("value", Some(value)),
                    Remains::Nothing => ("nothing", None),
                };
                [b"rebirth".to_vec(), json(object), word.as_bytes().to_vec(), json(&value)]
            }
            Intent::Checkpoint => [b"checkpoint".to_vec(), Vec::new(), Vec::new(), Vec::new()],
            Intent::Undo { operation } => [b"undo".to_vec(), json(operation), Vec::new(), Vec::new()],
            Intent::Resolve(resolve) => [
                b"resolve".to_vec(),
                [resolve.card.0.as_slice(), resolve.choice.word().as_bytes()].concat(),
                json(&resolve.value),
                json(&(resolve.pick, &resolve.because)),
            ],
            Intent::Govern(kind, payload) => {
                [b"govern".to_vec(), kind.0.to_be_bytes().to_vec(), payload.clone(), Vec::new()]
            }
            // Not what it replaces: a call that is repeated finds itself in force.
            Intent::SetPolicy { text, beside } => {
                [b"policy".to_vec(), text.clone().into_bytes(), json(beside), Vec::new()]
            }
        };
        domain::hash("request", &parts.each_ref().map(Vec::as_slice))
    }
}

/// The answer to a call that was carried out; it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The operation.
    pub operation: OperationId,
    /// The object, if it is about one.
    pub object: Option<ObjectId>,
    /// Its state.
    pub status: OperationStatus,
    /// The object's heads afterwards.
    pub heads: Vec<Digest>,
    /// The card that asks whether it is to be, where somebody must look first.
    pub card: Option<Digest>,
    /// Whether an earlier call had done it.
    pub repeated: bool,
}

/// What a refusal says.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The refusal's place in the ledger.
    pub operation: OperationId,
    /// Whether policy wants a decision rather than no.
    pub review: bool,
    /// What was decided, and by which policies.
    pub decision: Arc<Decision>,
}

/// Why a call was not carried out. Nothing was changed by it.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No such object here.
    #[error("there is no object {0}")]
    NotFound(ObjectId),
    /// An object of that id is here already.
    #[error("object {0} exists; use `edit` to change it")]
    Exists(ObjectId),
    /// The object was deleted.
    #[error("object {0} was deleted")]
    Tombstoned(ObjectId),
    /// The object has two lives, and a decision must come first.
    #[error("object {0} was created twice with different content; it is readable and waits for a decision")]
    Ambiguous(ObjectId),
    /// It changed since the named base.
    #[error("object {object} changed since the base that was named; read it again, its heads are {}", heads_text(.heads))]
    StaleBase {
        /// The object.
        object: ObjectId,
        /// Its heads now.
        heads: Vec<Digest>,
    },
    /// The base that was named is no state of the object.
    #[error("object {object} has no state {head} to base an edit on; read it again")]
    UnknownBase {
        /// The object.
        object: ObjectId,
        /// The head that is not known.
        head: Digest,
    },
    /// What the edit changes is asked about, and the collection wants the answer first.
    #[error("object {object} waits for a decision there: answer card {card} first")]
    Undecided {
        /// The object.
        object: ObjectId,
        /// The card.
        card: Digest,
    },
    /// Policy said no.
    #[error("refused: {}", .0.decision.in_words())]
    Refused(Box<Refused>),
    /// The change cannot be made.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The card cannot be answered so.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The operation cannot be taken back.
    #[error(transparent)]
    Undo(#[from] UndoError),
    /// The value would not be what the collection's manifest asks for.
    #[error("the value of {object} does not fit its collection: {}", violations_text(.violations))]
    Invalid {
        /// The object.
        object: ObjectId,
        /// What does not fit, at least one.
        violations: Vec<Violation>,
    },
    /// A manifest that cannot be in force.
    #[error("the manifest cannot be set: {0}")]
    Manifest(String),
    /// The caller's key was used for something else.
    #[error("the idempotency key was used for another request, operation {0}; use a new key")]
    KeyReused(OperationId),
    /// This device may not write at the moment.
    #[error("{0}")]
    Stopped(Stop),
    /// This device is not a member.
    #[error("this device is not a member of the workspace; join it with a ticket from `invite`")]
    NotMember,
    /// An act of governance is malformed.
    #[error("the governance act is malformed")]
    Governance(#[from] cbor::CborError),
    /// A policy bundle that cannot be in force.
    #[error("the policy cannot be set: {0}")]
    Bundle(String),
    /// The grant was for something else: a fault of this program.
    #[error("the grant does not fit the operation; this is a fault of the program")]
    Grant,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk refused the commit this call was to be in, after earlier calls of its batch were committed.
    #[error("{0}")]
    NotWritten(Arc<StoreError>),
}

fn heads_text(heads: &[Digest]) -> String {
    heads.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn violations_text(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
