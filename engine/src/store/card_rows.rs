//! The rows of `conflicts` and `cards`: what contradicts, and what somebody is asked.

use minicbor::{Decode, Encode};
use syncd_schema::{
    Actor, Collection, DeviceId, Digest, Incarnation, LogSeq, ObjectId, OperationId, UnixMicros,
};

use super::tables::LogNo;

/// One row of `conflicts`: what contradicts in one life of an object, by kind and place.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ConflictsRow {
    /// All of them, equal outcomes included.
    #[n(0)]
    pub conflicts: Vec<ConflictRow>,
}

/// One contradiction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ConflictRow {
    /// The number of its kind.
    #[n(0)]
    pub kind: u8,
    /// The container it is in; none for the root.
    #[n(1)]
    pub object: Option<OpRow>,
    /// Where in that.
    #[n(2)]
    pub key: PlaceKey,
    /// The competing operations, by name, each with its change.
    #[n(3)]
    pub sides: Vec<SideRow>,
    /// Whether all come to the same.
    #[n(4)]
    pub is_equal: bool,
}

/// The name of an Automerge operation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct OpRow {
    /// Its number.
    #[n(0)]
    pub counter: u64,
    /// Its actor.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub actor: Vec<u8>,
}

/// A place in a container.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PlaceKey {
    /// A key of a map.
    #[n(0)]
    Name(#[n(0)] String),
    /// An item, by the operation that inserted it.
    #[n(1)]
    Element(#[n(0)] OpRow),
    /// The container as a whole.
    #[n(2)]
    Head,
    /// What several answered, by the question's name.
    #[n(3)]
    Question(#[n(0)] Digest),
}

/// One side of a contradiction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct SideRow {
    /// The operation.
    #[n(0)]
    pub operation: OpRow,
    /// The change it is in.
    #[n(1)]
    pub change: Digest,
}

/// What a card asks about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AboutRow {
    /// A contradiction of the object's row in `conflicts`, by its id.
    #[n(0)]
    Conflict(#[n(0)] Digest),
    /// The object was deleted at some heads by somebody who had not seen work that stands.
    #[n(1)]
    Deletion,
    /// One id has several lives.
    #[n(2)]
    Lives,
    /// An entry is held until somebody lets it in.
    #[n(3)]
    Held(#[n(0)] LogNo, #[n(1)] LogSeq),
    /// The merged value does not fit its collection: what it breaks, by name.
    #[n(4)]
    Value(#[n(0)] String),
    /// Several objects have a value that no two may share, by its digest.
    #[n(5)]
    Unique(#[n(0)] Digest),
    /// It refers to an object that was deleted.
    #[n(6)]
    Dangling(#[n(0)] TargetRow),
    /// Everything that was done apart, in a collection where all of that is reviewed.
    #[n(7)]
    Heads,
    /// A caller's key was used for different things, by the name under which its uses stand.
    #[n(8)]
    Replay(#[n(0)] Digest),
    /// Work on a life that had begun anew waits.
    #[n(9)]
    Late,
    /// Many deletions in a row wait, by whose they are.
    #[n(10)]
    Burst(#[n(0)] Digest),
}

/// One row of `idempotency` that names the uses of a caller's key, on whatever device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct UsesRow {
    /// Each use, by operation.
    #[n(0)]
    pub uses: Vec<UseRow>,
}

/// One use of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct UseRow {
    /// The operation.
    #[n(0)]
    pub operation: OperationId,
    /// What it did.
    #[n(1)]
    pub payload: Digest,
}

/// One reference of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct TargetRow {
    /// Where it stands.
    #[n(0)]
    pub path: String,
    /// The collection of what it refers to.
    #[n(1)]
    pub collection: Collection,
    /// What it refers to.
    #[n(2)]
    pub object: ObjectId,
}

/// One row of `links` that names an object: what it shares with none and what it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LinksRow {
    /// Digests of its unique values.
    #[n(0)]
    pub unique: Vec<Digest>,
    /// Its references.
    #[n(1)]
    pub targets: Vec<TargetRow>,
}

/// One row of `cards`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CardRow {
    /// The object.
    #[n(0)]
    pub object: ObjectId,
    /// Its collection.
    #[n(1)]
    pub collection: Collection,
    /// Which of its lives; of a card about lives the first.
    #[n(2)]
    pub incarnation: Incarnation,
    /// Number of the kind of card.
    #[n(3)]
    pub kind: u8,
    /// Where in the object; empty for all of it.
    #[n(4)]
    pub path: String,
    /// What it is about.
    #[n(5)]
    pub about: AboutRow,
    /// When it was opened here.
    #[n(6)]
    pub opened: UnixMicros,
    /// Cards that it took the place of.
    #[n(7)]
    pub before: Vec<Digest>,
    /// How often the same has been decided already.
    #[n(8)]
    pub generation: u32,
    /// How it ended, if it did.
    #[n(9)]
    pub end: Option<CardEnd>,
}

impl CardRow {
    /// Forgets where in the object it was, and what the object referred to.
    pub fn forget_place(&mut self) {
        self.path.clear();
        if let AboutRow::Dangling(target) = &mut self.about {
            target.path.clear();
            target.object.clone_from(&self.object);
        }
    }
}

/// How a card ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct CardEnd {
    /// When, here.
    #[n(0)]
    pub at: UnixMicros,
    /// The cards in its place; none when it was decided.
    #[n(1)]
    pub successors: Vec<Digest>,
    /// What decided, if somebody did.
    #[n(2)]
    pub by: Option<DecidedRow>,
}

/// The entry that decided a card.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct DecidedRow {
    /// The operation.
    #[n(0)]
    pub operation: OperationId,
    /// Who.
    #[n(1)]
    pub actor: Actor,
    /// On which device.
    #[n(2)]
    pub device: DeviceId,
    /// The option that was chosen; `edit` or `delete` where somebody simply wrote.
    #[n(3)]
    pub choice: String,
    /// Why, in the author's words.
    #[n(4)]
    pub because: Option<String>,
    /// When, by that device's clock.
    #[n(5)]
    pub at: UnixMicros,
}
