//! Errors as people and programs see them: a code, what failed, what to do next, and the exit code that says it.
//!
//! Every error of the product ends here. Codes are words that scripts match on and never change; the four exit
//! codes above 2 are what a script branches on.

use crate::net::NetError;
use crate::root::{BindError, PickError, RootError, SetupError};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::error::Error;
use syncd_engine::document::EditError;
use syncd_engine::store::StoreError;
use syncd_engine::workspace::MemberError;
use syncd_engine::{CallError, OpenError, WriteError};
use syncd_schema::ticket::TicketError;

/// Exit codes. What is not one of these is 0 or 1.
pub mod exit {
    /// Something failed.
    pub const FAILED: u8 = 1;
    /// The command was not understood.
    pub const USAGE: u8 = 2;
    /// Policy refused.
    pub const REFUSED: u8 = 3;
    /// Somebody must decide first.
    pub const NEEDS_DECISION: u8 = 4;
    /// Something does not verify.
    pub const INTEGRITY: u8 = 5;
    /// There is no such thing.
    pub const NOT_FOUND: u8 = 6;
    /// A peer did not answer.
    pub const UNREACHABLE: u8 = 7;
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// A word that stays the same.
    pub code: Cow<'static, str>,
    /// What failed, and where.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The exit code of a command that fails with it.
    pub exit: u8,
}

impl ApiError {
    /// An error that fits no special exit code.
    #[must_use]
    pub fn failed(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), message: message.into(), hint: hint.into(), exit: exit::FAILED }
    }

    /// A command that was not understood.
    #[must_use]
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::failed("usage", message, hint).with_exit(exit::USAGE)
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::failed("not_found", message, hint).with_exit(exit::NOT_FOUND)
    }

    /// What is stored is not what was stored.
    #[must_use]
    pub fn damaged(message: impl Into<String>) -> Self {
        let hint = "`evidence verify` shows all damage of a store that opens; restore a backup, or remove the store and \
                    join again: peers hold the replicated logs";
        Self::failed("integrity", message, hint).with_exit(exit::INTEGRITY)
    }

    /// A fault of this program.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::failed(
            "internal",
            message,
            "this is a fault of the program; run it again with -v and report what it says",
        )
    }

    /// The same with another exit code.
    #[must_use]
    pub const fn with_exit(mut self, exit: u8) -> Self {
        self.exit = exit;
        self
    }
}

/// An error and what caused it, in one sentence: a library's account of a failed disk is in the causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Write(error) => Self::of_write(&error),
            CallError::Commit(error) => Self::of_store(&error),
            interrupted @ CallError::Interrupted => Self::internal(chain(&interrupted)),
        }
    }
}

impl ApiError {
    /// A store that cannot be read or written. The callers of one commit share its error, so it is borrowed.
    #[must_use]
    pub fn of_store(error: &StoreError) -> Self {
        let message = chain(error);
        if error.is_damage() {
            return Self::damaged(message);
        }
        match error {
            StoreError::Busy { .. } => Self::failed(
                "store_busy",
                message,
                "another command or a daemon of this workspace is at work; wait for it, or stop it",
            ),
            StoreError::Commit { .. } => Self::failed(
                if error.is_full() { "store_full" } else { "store_write" },
                message,
                "make room on the disk or check its permissions, then repeat the command",
            ),
            StoreError::Format { .. } => Self::failed("store_format", message, "install the newer version"),
            StoreError::Open { .. }
            | StoreError::Read { .. }
            | StoreError::Sealed { .. }
            | StoreError::Value { .. } => {
                Self::failed("store_read", message, "check the disk and the file's permissions")
            }
        }
    }

    /// A refused or failed write; borrowed for the same reason.
    #[must_use]
    pub fn of_write(error: &WriteError) -> Self {
        let message = chain(error);
        match error {
            WriteError::NotFound(_) => Self::not_found(message, "see what there is with `list`"),
            WriteError::Exists(object) => Self::failed(
                "exists",
                message,
                format!("change it with `edit {object}`, or choose another id"),
            ),
            WriteError::Tombstoned(_) => {
                Self::failed("tombstoned", message, "make a new object under another id with `put`")
            }
            WriteError::Ambiguous(object) => Self::failed(
                "needs_decision",
                message,
                format!("`get {object}` names the card that asks; answer it with `resolve`"),
            )
            .with_exit(exit::NEEDS_DECISION),
            WriteError::Undecided { .. } => super::cards::undecided(error, message),
            WriteError::Resolve(error) => super::cards::of_resolve(error, message),
            WriteError::Undo(error) => super::cards::of_undo(error, message),
            WriteError::UnknownBase { object, .. } => Self::failed(
                "unknown_base",
                message,
                format!("read it with `get {object}`, then edit with --base and the heads it shows"),
            ),
            WriteError::StaleBase { object, .. } => Self::failed(
                "stale_base",
                message,
                format!("read it again with `get {object}`, then edit with --base and the heads it shows"),
            ),
            WriteError::Refused(refused) => {
                let why = format!("`explain {}` says which policy decided, and why", refused.operation);
                let words = refused.decision.in_words();
                if refused.review {
                    Self::failed("needs_decision", words, why).with_exit(exit::NEEDS_DECISION)
                } else {
                    Self::failed("refused", words, why).with_exit(exit::REFUSED)
                }
            }
            WriteError::Edit(error) => Self::of_edit(error, message),
            WriteError::KeyReused(_) => {
                Self::failed("key_reused", message, "use a new key for a new request")
            }
            WriteError::Stopped(_) => {
                Self::failed("stopped", message, "`status` says what is known about it")
            }
            WriteError::NotMember => {
                Self::failed("not_member", message, "ask an owner or admin for `invite`, then `join`")
            }
            WriteError::Governance(_) | WriteError::Grant => Self::internal(message),
            WriteError::Invalid { .. } => Self::failed(
                "invalid_value",
                message,
                "nothing was changed; `schema show` says what the collection asks for",
            ),
            WriteError::Manifest(_) => Self::invalid_manifest(message),
            WriteError::Bundle(_) => {
                Self::failed("invalid_policy", message, "correct it until `policy check` accepts it")
            }
            WriteError::Store(error) => Self::of_store(error),
            WriteError::NotWritten(error) => Self::of_store(error),
        }
    }

    /// A manifest that cannot be set.
    pub(crate) fn invalid_manifest(message: impl Into<String>) -> Self {
        let hint =
            "nothing was changed; correct the file and set it again; `schema show` says what is in force";
        Self::failed("invalid_manifest", message, hint)
    }

    fn of_edit(error: &EditError, message: String) -> Self {
        match error {
            EditError::TooManyOps | EditError::TooManyBytes { .. } | EditError::TooDeep { .. } => {
                Self::failed(
                    "too_large",
                    message,
                    "split it into smaller objects or edits; `import` takes a large text in, by several operations",
                )
            }
            EditError::Library(_) | EditError::Lost => Self::internal(message),
            _ => Self::failed(
                "invalid_edit",
                message,
                "nothing was changed; a value is a JSON object, and what an edit names must be there: `get` shows it",
            ),
        }
    }
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        let message = chain(&error);
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::OtherDevice { .. } => {
                Self::failed("other_device", message, "put back the identity file that belongs to this store")
            }
            OpenError::Genesis => {
                Self::failed("bad_welcome", message, "ask for a new ticket, and compare the codes")
            }
            // It is in the list of workspaces, so there was one in it.
            OpenError::Empty => Self::damaged("the store is empty, and a workspace was in it"),
            OpenError::Exists(_) => Self::failed("store", message, "see `status`"),
            OpenError::Policies(_) => Self::internal(message),
            OpenError::OwnPolicy(_) => Self::failed(
                "invalid_policy",
                message,
                "correct policy.cedar in the root directory until `policy check --device` accepts it, or take it \
                 away with `policy set --device --none`",
            ),
        }
    }
}

impl From<RootError> for ApiError {
    fn from(error: RootError) -> Self {
        let message = chain(&error);
        match error {
            RootError::NoPlace => {
                Self::failed("no_root", message, "name a directory with --root DIR or SYNCD_ROOT")
            }
            RootError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::failed("disk_full", message, "make room on the disk, then repeat the command")
            }
            RootError::Io { .. } => Self::failed(
                "root",
                message,
                "check the directory's permissions, or name another with --root",
            ),
            RootError::Damaged { .. } => {
                Self::failed("root_damaged", message, "restore the file from a backup")
            }
            RootError::NoIdentity(_) => Self::failed(
                "root_damaged",
                message,
                "restore the file from a backup; without one, `join` as a new device with another --root, and have an \
                 admin remove this one",
            ),
            RootError::Exposed(_) => Self::failed(
                "root_exposed",
                message,
                "read what it says, then take that right from others with `chmod go-w`",
            ),
            RootError::Foreign(_) => {
                Self::failed("root_foreign", message, "remove it, or choose a --root with a shorter path")
            }
            RootError::Bind(BindError::Bound(_)) => Self::failed(
                "exists",
                message,
                "`agent revoke` it first if its token is lost or known to others; else choose another name",
            ),
            RootError::Bind(BindError::Full) => Self::failed("limit", message, "`agent list` shows them"),
            RootError::Bind(BindError::Unbound(_)) => {
                Self::not_found(message, "`agent list` shows those that have one")
            }
            RootError::Pick(PickError::None) => {
                Self::failed("no_workspace", message, "make one with `init`, or join one with `join TICKET`")
            }
            RootError::Pick(PickError::Unknown { .. }) => {
                Self::not_found(message, "name one of those with --workspace")
            }
            RootError::Pick(PickError::Several(_)) => Self::usage(message, "name one with --workspace"),
            RootError::Pick(PickError::Malformed(_)) => Self::usage(message, "choose another name"),
        }
    }
}

impl From<SetupError> for ApiError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Root(error) => error.into(),
            SetupError::Open(error) => error.into(),
        }
    }
}

impl From<NetError> for ApiError {
    fn from(error: NetError) -> Self {
        let message = chain(&error);
        match error {
            NetError::NobodyAnswered | NetError::NotReached(_) | NetError::Inviter(_) => {
                let hint = "start `up` on the other device and check that this one reaches its address; what waits is kept";
                Self::failed("peer_unreachable", message, hint).with_exit(exit::UNREACHABLE)
            }
            NetError::Stalled(_) => {
                Self::failed("peer_stalled", message, "run `sync` again: it goes on where it stopped")
                    .with_exit(exit::UNREACHABLE)
            }
            NetError::Bind(_) => Self::failed("listen", message, "choose another address with --listen"),
            NetError::Join(_) => {
                Self::failed("not_joined", message, "ask for a new ticket with `invite` on the other device")
            }
            NetError::Store(error) => error.into(),
            NetError::Identity(_) | NetError::Address(_) => {
                Self::failed("network", message, "run it again with -v to see more")
            }
        }
    }
}

impl From<MemberError> for ApiError {
    fn from(error: MemberError) -> Self {
        let message = chain(&error);
        match error {
            MemberError::NotPermitted => {
                Self::failed("refused", message, "ask an owner or admin to invite").with_exit(exit::REFUSED)
            }
            MemberError::Write(error) => Self::of_write(&error),
            MemberError::Store(error) => error.into(),
            _ => Self::failed("invitation", message, "`devices` shows who is a member"),
        }
    }
}

impl From<TicketError> for ApiError {
    fn from(error: TicketError) -> Self {
        Self::usage(chain(&error), "copy the whole line that `invite` printed")
    }
}
