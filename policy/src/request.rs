//! What a policy can see of a change, and nothing else.
//!
//! A request holds no clock, no peer and no state of this device, so that a remote change gets the same answer on
//! every device. It is borrowed from what the engine already has; asking costs no allocation.

use syncd_schema::manifest::{EncryptionScope, MergeStrategy, PolicyClass};
use syncd_schema::{Actor, ActorKind, Collection, DeviceId, ObjectId, OperationType, Role};

/// What somebody wants to do. Reading needs no permission of a policy: who holds the keys reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// An object begins.
    Create,
    /// An object changes.
    Edit,
    /// An object is deleted.
    Delete,
    /// An object begins anew, and what it was is dropped from every device.
    Rebirth,
    /// A device joins or gets another role.
    MemberAdd,
    /// A device leaves.
    MemberRemove,
    /// A policy bundle.
    Bundle,
    /// A collection's manifest.
    Manifest,
    /// A new workspace key.
    KeyEpoch,
    /// One of the operation types of the core contract.
    Operation(OperationType),
}

impl Action {
    /// Every action there is.
    pub const ALL: [Self; 17] = [
        Self::Create,
        Self::Edit,
        Self::Delete,
        Self::Rebirth,
        Self::MemberAdd,
        Self::MemberRemove,
        Self::Bundle,
        Self::Manifest,
        Self::KeyEpoch,
        Self::Operation(OperationType::Enqueue),
        Self::Operation(OperationType::Replay),
        Self::Operation(OperationType::Reconcile),
        Self::Operation(OperationType::Detect),
        Self::Operation(OperationType::Resolve),
        Self::Operation(OperationType::Repair),
        Self::Operation(OperationType::Tombstone),
        Self::Operation(OperationType::Checkpoint),
    ];

    /// The name policies use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::Rebirth => "rebirth",
            Self::MemberAdd => "member_add",
            Self::MemberRemove => "member_remove",
            Self::Bundle => "bundle",
            Self::Manifest => "manifest",
            Self::KeyEpoch => "key_epoch",
            Self::Operation(operation) => operation.word(),
        }
    }

    /// What the action is about, in the words of the policy schema.
    pub(crate) const fn resource(self, names_object: bool) -> Resource {
        match self {
            Self::Create | Self::Edit | Self::Delete | Self::Rebirth => Resource::Object,
            Self::Operation(_) if names_object => Resource::Object,
            _ => Resource::Workspace,
        }
    }
}

/// The two things an action can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Object,
    Workspace,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Written on this device.
    Local,
    /// Received: judged without the layer of this device, which other devices do not have.
    Remote,
}

impl Origin {
    /// The word used in policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Remote => "remote",
        }
    }
}

/// What a write says about the state it was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// It names heads, and they are what it was merged onto.
    Named,
    /// It names heads that something newer has replaced.
    Stale,
    /// It names none.
    Missing,
    /// Such a write has none: a creation, a governance act.
    NotNeeded,
}

impl Base {
    /// The word used in policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::NotNeeded => "not_needed",
        }
    }
}

/// Everything a policy can see of one change.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What is done.
    pub action: Action,
    /// Where it comes from.
    pub origin: Origin,
    /// Who does it.
    pub actor: &'a Actor,
    /// On which device.
    pub device: DeviceId,
    /// That device's role; none when it is not a member.
    pub role: Option<Role>,
    /// For [`Action::MemberAdd`] the role given, for [`Action::MemberRemove`] the role lost.
    pub target_role: Option<Role>,
    /// The collection it is about.
    pub collection: Option<&'a Collection>,
    /// The object it is about.
    pub object: Option<&'a ObjectId>,
    /// How much care the collection needs.
    pub class: PolicyClass,
    /// Who may hold the collection in the clear.
    pub scope: EncryptionScope,
    /// How concurrent work comes together there.
    pub strategy: MergeStrategy,
    /// JSON Pointers of what changes. The policies also see their ancestors, so a change of `/pay/base` is a
    /// change of `/pay`; whoever replaces a container lists what was inside it.
    pub changed: &'a [String],
    /// Size of the change or payload in bytes.
    pub size: u64,
    /// What the write was based on.
    pub base: Base,
    /// Whether it touches what the manifest calls dangerous.
    pub touches_dangerous: bool,
    /// Whether it takes away a protection: a weaker bundle, class or scope, an owner's role.
    pub weakens: bool,
    /// Of a resolution, whether machines have decided about the same again and again: now a person must.
    pub argued: bool,
    /// Whether it replaces or deletes something where the strategy only takes additions.
    pub replaces: bool,
    /// Whether the device has the authority that the collection asks for; true where it asks for none.
    pub has_authority: bool,
}

/// The words of each closed set, in the order of their numbers in [`crate::seen`].
pub(crate) const ROLES: [&str; 6] = ["owner", "admin", "member", "agent", "relay", "none"];
pub(crate) const ORIGINS: [&str; 2] = ["local", "remote"];
pub(crate) const BASES: [&str; 4] = ["named", "stale", "missing", "not_needed"];
pub(crate) const CLASSES: [&str; 4] = ["low", "medium", "high", "critical"];
pub(crate) const SCOPES: [&str; 6] = ["public", "profile", "workspace", "org", "device", "vault"];
pub(crate) const STRATEGIES: [&str; 8] = [
    "crdt",
    "graph_merge",
    "append_only",
    "manual_review",
    "strongest_policy_wins",
    "signed_authority_required",
    "never_merge",
    "quarantine",
];
pub(crate) const KINDS: [&str; 5] = ["User", "Agent", "System", "Connector", "Worker"];

pub(crate) const fn role_index(role: Option<Role>) -> u8 {
    match role {
        Some(Role::Owner) => 0,
        Some(Role::Admin) => 1,
        Some(Role::Member) => 2,
        Some(Role::Agent) => 3,
        Some(Role::Relay) => 4,
        None => 5,
    }
}

pub(crate) const fn class_index(class: PolicyClass) -> u8 {
    match class {
        PolicyClass::Low => 0,
        PolicyClass::Medium => 1,
        PolicyClass::High => 2,
        PolicyClass::Critical => 3,
    }
}

pub(crate) const fn scope_index(scope: EncryptionScope) -> u8 {
    match scope {
        EncryptionScope::Public => 0,
        EncryptionScope::Profile => 1,
        EncryptionScope::Workspace => 2,
        EncryptionScope::Org => 3,
        EncryptionScope::Device => 4,
        EncryptionScope::Vault => 5,
    }
}

pub(crate) const fn strategy_index(strategy: MergeStrategy) -> u8 {
    match strategy {
        MergeStrategy::Crdt => 0,
        MergeStrategy::GraphMerge => 1,
        MergeStrategy::AppendOnly => 2,
        MergeStrategy::ManualReview => 3,
        MergeStrategy::StrongestPolicyWins => 4,
        MergeStrategy::SignedAuthorityRequired => 5,
        MergeStrategy::NeverMerge => 6,
        MergeStrategy::Quarantine => 7,
    }
}

pub(crate) const fn kind_index(kind: ActorKind) -> u8 {
    match kind {
        ActorKind::User => 0,
        ActorKind::Agent => 1,
        ActorKind::System => 2,
        ActorKind::Connector => 3,
        ActorKind::Worker => 4,
    }
}
