//! Why an edit is refused, in words for the person who asked for it.

use automerge::AutomergeError;
use syncd_schema::limits;

/// Why an edit, or the birth of an object, cannot be made. The document is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// An object is a JSON object at its root.
    #[error("an object must be a JSON object at its root, not {found}")]
    RootNotObject {
        /// What was given instead.
        found: &'static str,
    },
    /// Deeper than anyone may read.
    #[error("{path} nests deeper than {limit} levels", limit = limits::JSON_DEPTH)]
    TooDeep {
        /// Where.
        path: String,
    },
    /// A key without characters, which Automerge cannot hold.
    #[error("{path:?} has an empty key: every key needs at least one character")]
    EmptyKey {
        /// The map it would be in.
        path: String,
    },
    /// A key or path that is too long.
    #[error("the path that starts {path:?} is {found} bytes long, the limit is {limit}", limit = limits::PATH_BYTES)]
    PathTooLong {
        /// How it starts.
        path: String,
        /// Its length.
        found: usize,
    },
    /// Not a JSON Pointer.
    #[error(
        "{path:?} is not a JSON Pointer: it must be empty or start with '/', and '~' is written ~0 or ~1"
    )]
    PathMalformed {
        /// What was given.
        path: String,
    },
    /// Nothing is there.
    #[error("there is nothing at {path:?}")]
    PathMissing {
        /// The path.
        path: String,
    },
    /// A list has no such index.
    #[error("{path:?} is outside of the list, which has {len} items")]
    IndexOutOfRange {
        /// The path.
        path: String,
        /// How many items there are.
        len: usize,
    },
    /// A text edit of something else.
    #[error("{path:?} is not a text")]
    NotText {
        /// The path.
        path: String,
    },
    /// A place in a list that is shown as the union of several.
    #[error(
        "{path:?} shows the members of several lists, none of which has these places; set the list as a whole"
    )]
    Computed {
        /// The list.
        path: String,
    },
    /// An increment of something else.
    #[error(
        "{path:?} is not a counter: the collection's manifest makes it one with the field rule \"counter\""
    )]
    NotCounter {
        /// The path.
        path: String,
    },
    /// The sum does not fit.
    #[error("the counter at {path:?} cannot be changed by that much: at most 4398046511104 (2^42) at once")]
    CounterOverflow {
        /// The path.
        path: String,
    },
    /// A splice that reaches beyond the text.
    #[error("cannot replace {del} code points at {pos} of {path:?}, which has {len}")]
    SpliceOutOfRange {
        /// The path.
        path: String,
        /// The first code point.
        pos: usize,
        /// How many to delete.
        del: usize,
        /// How many there are.
        len: usize,
    },
    /// A JSON Patch `test` that does not hold.
    #[error("the test of {path:?} does not hold")]
    TestFailed {
        /// The path.
        path: String,
    },
    /// A JSON Patch `move` of a container into itself.
    #[error("cannot move {from:?} into itself, to {path:?}")]
    MoveIntoItself {
        /// From where.
        from: String,
        /// To where.
        path: String,
    },
    /// One step of a JSON Patch failed, and so the whole patch.
    #[error("operation {index} of the patch failed: {source}")]
    Step {
        /// Which one, from 0.
        index: usize,
        /// Why.
        source: Box<EditError>,
    },
    /// More than one change may hold.
    #[error("the change would need more than {limit} operations: make it in smaller steps", limit = limits::CHANGE_OPS)]
    TooManyOps,
    /// More than one change may weigh.
    #[error("the change would be {found} bytes, the limit is {limit}: make it in smaller steps", limit = limits::CHANGE_BYTES)]
    TooManyBytes {
        /// How large.
        found: usize,
    },
    /// Automerge refused it: a fault of this program rather than of the caller.
    #[error("the document library refused the edit")]
    Library(#[source] Box<AutomergeError>),
    /// The change that was just made cannot be read back: a fault of this program.
    #[error("the change was made but cannot be read back from the document")]
    Lost,
}

impl From<AutomergeError> for EditError {
    fn from(error: AutomergeError) -> Self {
        Self::Library(Box::new(error))
    }
}

/// What a JSON value is, in a word.
pub(crate) const fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}
