//! Who may do what: the payloads of the governance chain, and the state they add up to.
//!
//! The chain is a graph: each governance entry names the heads it was written under, and the state under given
//! heads is a fold over their ancestors in an order that every device computes alike. Concurrent bundles all
//! apply; a removal wins over whatever is concurrent with it.

use crate::cbor::{self, CborError};
use crate::domain;
use crate::ids::{Collection, DeviceId, Digest, WorkspaceId};
use crate::limits;
use crate::manifest::{Manifest, MergeStrategy};
use crate::units::Epoch;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a device may do in a workspace.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, and weakening policies.
    #[n(0)]
    Owner,
    /// Members, manifests and policies.
    #[n(1)]
    Admin,
    /// Objects.
    #[n(2)]
    Member,
    /// Objects, as a machine: writes need a base.
    #[n(3)]
    Agent,
    /// Stores and forwards, and cannot read.
    #[n(4)]
    Relay,
}

impl Role {
    /// The word used in tickets, lists and policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Agent => "agent",
            Self::Relay => "relay",
        }
    }

    /// Whether such a device may enrol others.
    #[must_use]
    pub const fn may_govern(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

/// A workspace key, wrapped for one device by HPKE (RFC 9180, base mode, X25519 / HKDF-SHA256 /
/// ChaCha20-Poly1305), the label of purpose `key` as `info`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct WrappedKey {
    /// Which key.
    #[n(0)]
    pub key_epoch: u32,
    /// The encapsulated key and the ciphertext, 32 + 48 bytes.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed: Vec<u8>,
}

/// A device as the governance chain knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Member {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
    /// Its X25519 public key, to which workspace keys are wrapped.
    #[n(1)]
    pub key_agreement: Digest,
    /// The device's signature over [`Member::key_statement`].
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub key_signature: Vec<u8>,
    /// A name for people.
    #[n(3)]
    pub name: String,
    /// What it may do; none when it was removed.
    #[n(4)]
    pub role: Option<Role>,
    /// The workspace keys it is given.
    #[n(5)]
    pub keys: Vec<WrappedKey>,
    /// The oldest epoch in which the device may still write: a forked log goes on in the next one.
    #[n(6)]
    pub min_epoch: Epoch,
}

impl Member {
    /// What a device signs to vouch for its key-agreement key.
    #[must_use]
    pub fn key_statement(workspace: &WorkspaceId, key_agreement: &Digest) -> Vec<u8> {
        let mut statement = domain::label("key-agreement", workspace).into_bytes();
        statement.push(b'\n');
        statement.extend_from_slice(key_agreement.as_bytes());
        statement
    }
}

/// The payload of [`crate::EntryKind::GENESIS`]; its hash is the workspace id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Genesis {
    /// 32 random bytes: two workspaces of one owner are never the same.
    #[n(0)]
    pub nonce: Digest,
    /// The device whose log begins with the genesis.
    #[n(1)]
    pub owner: DeviceId,
    /// Its X25519 public key.
    #[n(2)]
    pub key_agreement: Digest,
    /// Its name.
    #[n(3)]
    pub name: String,
    /// The first manifests, canonical JSON.
    #[n(4)]
    pub manifests: Vec<String>,
    /// The first policy bundle, Cedar text.
    #[n(5)]
    pub bundle: String,
}

impl Genesis {
    /// The canonical payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// The id of the workspace that begins with this genesis.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        let Digest([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..]) =
            domain::hash("workspace", &[&self.to_bytes()]);
        WorkspaceId([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}

/// The payload of [`crate::EntryKind::BUNDLE`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Bundle {
    /// Cedar text.
    #[n(0)]
    pub text: String,
    /// Digests of the bundles it replaces.
    #[n(1)]
    pub supersedes: Vec<Digest>,
}

/// One decoded governance payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The workspace begins.
    Genesis(Genesis),
    /// A device joins, leaves or changes its role.
    Member(Member),
    /// A policy bundle.
    Bundle(Bundle),
    /// A collection's manifest.
    Manifest(Box<Manifest>),
    /// A kind that this version keeps and does not understand.
    Other,
}

impl Act {
    /// Decodes the payload of a governance entry.
    ///
    /// # Errors
    /// When it is malformed, not canonical or beyond a limit.
    pub fn decode(kind: crate::EntryKind, payload: &[u8]) -> Result<Self, CborError> {
        let name_ok = |name: &str| name.len() <= limits::NAME_BYTES && !name.chars().any(char::is_control);
        let bad_name = Err(CborError::Invalid { what: "device name", rule: "at most 64 printable bytes" });
        Ok(match kind {
            crate::EntryKind::GENESIS => {
                let genesis: Genesis = cbor::decode("genesis", payload, limits::RECORD_BYTES)?;
                if !name_ok(&genesis.name) {
                    return bad_name;
                }
                Self::Genesis(genesis)
            }
            crate::EntryKind::MEMBER => {
                let member: Member = cbor::decode("member", payload, limits::RECORD_BYTES)?;
                if !name_ok(&member.name) {
                    return bad_name;
                }
                Self::Member(member)
            }
            crate::EntryKind::BUNDLE => Self::Bundle(cbor::decode("bundle", payload, limits::RECORD_BYTES)?),
            crate::EntryKind::MANIFEST => Manifest::from_json(payload)
                .map(|manifest| Self::Manifest(Box::new(manifest)))
                .map_err(|_| CborError::Invalid { what: "manifest", rule: "must be a manifest in JSON" })?,
            _ => Self::Other,
        })
    }
}

/// One admitted governance entry.
#[derive(Clone, Debug)]
pub struct Link {
    /// The entry's leaf hash: its name in `governance` fields.
    pub id: Digest,
    /// The heads it was written under.
    pub parents: Vec<Digest>,
    /// The device that wrote it.
    pub author: DeviceId,
    /// What it does.
    pub act: Act,
}

/// The state of a workspace under some governance heads.
#[derive(Clone, Debug, Default)]
pub struct Governance {
    /// The heads.
    pub heads: Vec<Digest>,
    /// The owner named by the genesis.
    pub owner: Option<DeviceId>,
    /// Devices by id, removed ones included with no role.
    pub members: BTreeMap<DeviceId, Member>,
    /// Policy bundles in force, by digest of their text.
    pub bundles: BTreeMap<Digest, String>,
    /// Manifests by collection.
    pub manifests: BTreeMap<Collection, Manifest>,
}

impl Governance {
    /// What a device may do.
    #[must_use]
    pub fn role(&self, device: &DeviceId) -> Option<Role> {
        self.members.get(device).and_then(|member| member.role)
    }

    /// The manifest of a collection, or the free-form one.
    #[must_use]
    pub fn manifest(&self, collection: &Collection) -> Manifest {
        self.manifests.get(collection).cloned().unwrap_or_else(|| Manifest::free_form(collection.clone()))
    }

    /// One digest over the bundles in force: the policy version that decisions name.
    #[must_use]
    pub fn policy_digest(&self) -> Digest {
        let digests: Vec<&[u8]> = self.bundles.keys().map(|digest| digest.as_bytes().as_slice()).collect();
        domain::hash("policy", &digests)
    }

    fn apply(&mut self, link: &Link) {
        match &link.act {
            Act::Genesis(genesis) => {
                self.owner = Some(genesis.owner);
                let owner = Member {
                    device: genesis.owner,
                    key_agreement: genesis.key_agreement,
                    key_signature: Vec::new(),
                    name: genesis.name.clone(),
                    role: Some(Role::Owner),
                    keys: Vec::new(),
                    min_epoch: Epoch(0),
                };
                self.members.insert(genesis.owner, owner);
                self.bundles.insert(domain::sha256(genesis.bundle.as_bytes()), genesis.bundle.clone());
                for text in &genesis.manifests {
                    // A manifest that this version cannot read leaves its collection free-form here; the
                    // genesis as a whole was checked when the workspace was made.
                    if let Ok(manifest) = Manifest::from_json(text.as_bytes()) {
                        self.manifests.insert(manifest.collection.clone(), manifest);
                    }
                }
            }
            Act::Member(member) => {
                let removed = self.members.get(&member.device).is_some_and(|known| known.role.is_none());
                if !removed {
                    self.members.insert(member.device, member.clone());
                }
            }
            Act::Bundle(bundle) => {
                for old in &bundle.supersedes {
                    self.bundles.remove(old);
                }
                self.bundles.insert(domain::sha256(bundle.text.as_bytes()), bundle.text.clone());
            }
            Act::Manifest(manifest) => {
                self.manifests.insert(manifest.collection.clone(), (**manifest).clone());
            }
            Act::Other => {}
        }
    }
}

/// The governance chain as a graph.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    links: BTreeMap<Digest, Link>,
    heads: BTreeSet<Digest>,
}

impl Chain {
    /// Adds an admitted link. Adding it again changes nothing.
    ///
    /// Returns false when one of its parents is not here, or the chain is at its limit.
    pub fn add(&mut self, link: Link) -> bool {
        if self.links.contains_key(&link.id) {
            return true;
        }
        if self.links.len() >= limits::GOVERNANCE_ENTRIES || !self.holds(&link.parents) {
            return false;
        }
        for parent in &link.parents {
            self.heads.remove(parent);
        }
        self.heads.insert(link.id);
        self.links.insert(link.id, link);
        true
    }

    /// Whether all these links are here.
    #[must_use]
    pub fn holds(&self, heads: &[Digest]) -> bool {
        heads.iter().all(|head| self.links.contains_key(head))
    }

    /// Whether every one of `old` is among `new` or their ancestors.
    #[must_use]
    pub fn covers(&self, new: &[Digest], old: &[Digest]) -> bool {
        if old.iter().all(|head| new.contains(head)) {
            return true;
        }
        let known: BTreeSet<Digest> = self.ordered(new).iter().map(|link| link.id).collect();
        old.iter().all(|head| known.contains(head))
    }

    /// The links no other names, sorted.
    #[must_use]
    pub fn heads(&self) -> Vec<Digest> {
        self.heads.iter().copied().collect()
    }

    /// How many links there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The state under the current heads.
    #[must_use]
    pub fn current(&self) -> Governance {
        self.at(&self.heads())
    }

    /// The state under given heads: their ancestors applied parents first, those ready at the same time by their
    /// hash, removals after the rest of them.
    #[must_use]
    pub fn at(&self, heads: &[Digest]) -> Governance {
        let mut state = Governance { heads: heads.to_vec(), ..Governance::default() };
        for link in self.ordered(heads) {
            state.apply(link);
        }
        state
    }

    /// Whether a quarantine that a collection was in under these heads has been ended since, by a manifest whose author
    /// knew of it. Once it has, it stays so, whatever follows: devices that hold the same chain agree.
    #[must_use]
    pub fn is_lifted(&self, heads: &[Digest], collection: &Collection) -> bool {
        let of_collection = |link: &Link| match &link.act {
            Act::Manifest(manifest) if manifest.collection == *collection => Some(manifest.merge_strategy),
            _ => None,
        };
        let behind = self.ordered(heads);
        let known: BTreeSet<Digest> = behind.iter().map(|link| link.id).collect();
        let last: Vec<Digest> = behind
            .iter()
            .rev()
            .find(|link| of_collection(link).is_some())
            .map(|link| link.id)
            .into_iter()
            .collect();
        self.links.values().any(|link| {
            of_collection(link).is_some_and(|strategy| strategy != MergeStrategy::Quarantine)
                && !known.contains(&link.id)
                && self.covers(&[link.id], &last)
        })
    }

    /// Ancestors of the heads, each after its parents, in an order that depends on nothing but the graph.
    fn ordered(&self, heads: &[Digest]) -> Vec<&Link> {
        let mut wanted: BTreeMap<Digest, &Link> = BTreeMap::new();
        let mut stack: Vec<Digest> = heads.to_vec();
        while let Some(id) = stack.pop() {
            let Some(link) = self.links.get(&id) else { continue };
            if wanted.insert(id, link).is_none() {
                stack.extend(&link.parents);
            }
        }
        let mut waits: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut children: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for (id, link) in &wanted {
            let parents: BTreeSet<&Digest> = link.parents.iter().filter(|p| wanted.contains_key(p)).collect();
            waits.insert(*id, parents.len());
            for parent in parents {
                children.entry(*parent).or_default().push(*id);
            }
        }
        let rank = |id: &Digest| {
            let removal = matches!(wanted.get(id).map(|l| &l.act), Some(Act::Member(m)) if m.role.is_none());
            (removal, *id)
        };
        let mut ready: BTreeSet<(bool, Digest)> =
            waits.iter().filter(|(_, n)| **n == 0).map(|(id, _)| rank(id)).collect();
        let mut ordered = Vec::with_capacity(wanted.len());
        while let Some((_, id)) = ready.pop_first() {
            ordered.extend(wanted.get(&id).copied());
            for child in children.get(&id).into_iter().flatten() {
                if let Some(n) = waits.get_mut(child) {
                    *n = n.saturating_sub(1);
                    if *n == 0 {
                        ready.insert(rank(child));
                    }
                }
            }
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(device: u8, role: Option<Role>) -> Act {
        Act::Member(Member {
            device: DeviceId([device; 32]),
            key_agreement: Digest([0; 32]),
            key_signature: Vec::new(),
            name: String::new(),
            role,
            keys: Vec::new(),
            min_epoch: Epoch(0),
        })
    }

    fn link(id: u8, parents: &[u8], act: Act) -> Link {
        let parents = parents.iter().map(|p| Digest([*p; 32])).collect();
        Link { id: Digest([id; 32]), parents, author: DeviceId([1; 32]), act }
    }

    #[test]
    fn a_removal_wins_over_what_is_concurrent_whatever_the_order() {
        let links = [
            link(1, &[], member(7, Some(Role::Member))),
            link(2, &[1], member(7, None)),
            link(3, &[1], member(7, Some(Role::Admin))),
        ];
        for order in [[0, 1, 2], [0, 2, 1]] {
            let mut chain = Chain::default();
            for index in order {
                assert!(chain.add(links[index].clone()));
            }
            assert_eq!(chain.current().role(&DeviceId([7; 32])), None);
            assert_eq!(chain.heads().len(), 2);
            assert_eq!(chain.at(&[Digest([3; 32])]).role(&DeviceId([7; 32])), Some(Role::Admin));
        }
    }

    #[test]
    fn a_link_waits_for_its_parents() {
        let mut chain = Chain::default();
        assert!(!chain.add(link(2, &[1], Act::Other)));
        assert!(chain.add(link(1, &[], Act::Other)));
        assert!(chain.add(link(2, &[1], Act::Other)));
        assert_eq!(chain.heads(), vec![Digest([2; 32])]);
    }

    #[test]
    fn the_workspace_id_follows_from_the_genesis() {
        let genesis = Genesis {
            nonce: Digest([1; 32]),
            owner: DeviceId([2; 32]),
            key_agreement: Digest([3; 32]),
            name: "desk".into(),
            manifests: vec![],
            bundle: String::new(),
        };
        let other = Genesis { nonce: Digest([9; 32]), ..genesis.clone() };
        assert_ne!(genesis.workspace(), other.workspace());
        let bytes = genesis.to_bytes();
        assert_eq!(Act::decode(crate::EntryKind::GENESIS, &bytes).expect("decodes"), Act::Genesis(genesis));
    }
}
