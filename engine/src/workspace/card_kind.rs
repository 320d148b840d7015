//! The kinds of questions that cards ask, and their words.

use crate::conflict::Kind;
use crate::store::rows::CardRow;

/// What kind of question a card asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CardKind {
    /// Several values where there can be one.
    ConcurrentValue,
    /// Deleted by one, written by another: a field, an item, or the object as a whole.
    DeleteEdit,
    /// Work inside of what another took away.
    ReplacedContainer,
    /// A counter set by one and counted by another.
    CounterReset,
    /// A stretch of text that several rewrote.
    OverlappingText,
    /// One id, several lives.
    DuplicateIdentity,
    /// A change that policy lets in once somebody has looked.
    PolicyReview,
    /// A change that contradicts, kept out until somebody decides.
    HeldChange,
    /// The merged value is not what the collection's schema describes.
    SchemaMismatch,
    /// The merged value breaks what must always hold in the collection.
    BrokenInvariant,
    /// Several objects have a value that no two may share.
    DuplicateKey,
    /// It refers to what was deleted.
    DanglingReference,
    /// Work done apart, in a collection where all of that is reviewed.
    ConcurrentEdit,
    /// One caller's key for two different things.
    ReplayCollision,
    /// Work on what an object was before it began anew.
    LateWork,
    /// Unusually many deletions or rewrites in a row.
    Burst,
    /// One question, answered by several in different ways.
    ConflictingAnswers,
}

impl CardKind {
    const ALL: [Self; 17] = [
        Self::ConcurrentValue,
        Self::DeleteEdit,
        Self::ReplacedContainer,
        Self::CounterReset,
        Self::OverlappingText,
        Self::DuplicateIdentity,
        Self::PolicyReview,
        Self::HeldChange,
        Self::SchemaMismatch,
        Self::BrokenInvariant,
        Self::DuplicateKey,
        Self::DanglingReference,
        Self::ConcurrentEdit,
        Self::ReplayCollision,
        Self::LateWork,
        Self::Burst,
        Self::ConflictingAnswers,
    ];

    /// The word used in lists and records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConcurrentValue => "concurrent_value",
            Self::DeleteEdit => "delete_edit",
            Self::ReplacedContainer => "replaced_container",
            Self::CounterReset => "counter_reset",
            Self::OverlappingText => "overlapping_text",
            Self::DuplicateIdentity => "duplicate_identity",
            Self::PolicyReview => "policy_review",
            Self::HeldChange => "held_change",
            Self::SchemaMismatch => "schema_mismatch",
            Self::BrokenInvariant => "broken_invariant",
            Self::DuplicateKey => "duplicate_key",
            Self::DanglingReference => "dangling_reference",
            Self::ConcurrentEdit => "concurrent_edit",
            Self::ReplayCollision => "replay_collision",
            Self::LateWork => "late_work",
            Self::Burst => "burst",
            Self::ConflictingAnswers => "conflicting_answers",
        }
    }

    pub(super) fn of_row(row: &CardRow) -> Self {
        Self::ALL.get(usize::from(row.kind)).copied().unwrap_or(Self::ConcurrentValue)
    }

    pub(super) const fn of_conflict(kind: Kind) -> Self {
        match kind {
            Kind::Value => Self::ConcurrentValue,
            Kind::DeleteEdit => Self::DeleteEdit,
            Kind::Inside => Self::ReplacedContainer,
            Kind::CounterReset => Self::CounterReset,
            Kind::Text => Self::OverlappingText,
            Kind::Answer => Self::ConflictingAnswers,
        }
    }
}
