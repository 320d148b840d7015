//! Making, joining and opening a workspace. Opening loads no document: it reads the logs' rows, the governance
//! chain and what waits.

use super::cache::Cache;
use super::identity::Identity;
use super::intent::{Intent, WriteRequest};
use super::judge;
use super::members::Welcome;
use super::stage::new_log;
use super::waiting::Waiting;
use super::{Engine, LogState, recovery};
use crate::guard::Indexes;
use crate::judgement::Judges;
use crate::store::rows::{self, LogKind, LogRow, PendingRow, StoreRow, WorkspaceKey};
use crate::store::seal::SealKey;
use crate::store::tables::{LogNo, Table, key};
use crate::store::{Batch, Location, Store, StoreError};
use lru::LruCache;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use syncd_evidence::Coverage;
use syncd_evidence::merkle::leaf_hash;
use syncd_policy::{DEFAULT_BUNDLE, Gate, PolicyError};
use syncd_schema::governance::{Act, Chain, Link};
use syncd_schema::{
    Actor, DeviceId, Digest, Entropy, EntryKind, Epoch, Genesis, Governance, LogId, LogSeq, OperationId,
    OperationType, UnixMicros, WorkspaceId, cbor, limits, manifest, ports,
};
use zeroize::Zeroizing;

/// What an engine needs from outside.
pub struct Config {
    /// Where the store is.
    pub location: Location,
    /// The key that seals the store's values.
    pub store_key: Zeroizing<[u8; 32]>,
    /// The device's keys.
    pub identity: Identity,
    /// Randomness; cryptographically secure in production.
    pub entropy: Box<dyn Entropy>,
    /// This device's own policy, Cedar text: it narrows what the device writes, and nothing that it admits of others.
    pub policy: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("location", &self.location)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why a workspace cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store says why.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no workspace in the store.
    #[error("there is no workspace in this store; make one with `init` or `join`")]
    Empty,
    /// There is a workspace in the store already.
    #[error("the store holds workspace {0} already")]
    Exists(WorkspaceId),
    /// The store is another device's.
    #[error("the store belongs to device {}, the identity is {}", .store.short(), .identity.short())]
    OtherDevice {
        /// Whose it is.
        store: DeviceId,
        /// Who asks.
        identity: DeviceId,
    },
    /// The built-in policies do not compile: a fault of this program.
    #[error("the built-in policies do not compile; this is a fault of the program: {0}")]
    Policies(String),
    /// This device's own policy is not accepted; the source says where.
    #[error("this device writes nothing before its own policy is corrected")]
    OwnPolicy(#[from] PolicyError),
    /// The welcome does not fit the workspace that was to be joined.
    #[error("the inviting device sent a genesis that is not the one of the ticket's workspace")]
    Genesis,
}

impl Engine {
    /// Makes a new workspace owned by this device.
    ///
    /// # Errors
    /// When the store is in use, holds a workspace already, or cannot be written.
    pub fn create(mut config: Config, device_name: &str, now: UnixMicros) -> Result<Self, OpenError> {
        let manifests = manifest::built_in().iter().filter_map(|m| serde_json::to_string(m).ok()).collect();
        let genesis = Genesis {
            nonce: Digest(ports::random(&mut *config.entropy)),
            owner: config.identity.device(),
            key_agreement: config.identity.key_agreement(),
            name: device_name.chars().filter(|c| !c.is_control()).take(limits::NAME_BYTES / 4).collect(),
            manifests,
            bundle: DEFAULT_BUNDLE.to_owned(),
        };
        let key = WorkspaceKey { key_epoch: 0, key: ports::random(&mut *config.entropy) };
        let workspace = genesis.workspace();
        Self::initialise(&mut config, workspace, vec![key], &genesis, None)?;
        let mut engine = Self::open(config)?;
        engine.write_genesis(&genesis, now)?;
        Ok(engine)
    }

    /// Makes a store for a workspace that this device was welcomed to; its content comes by syncing.
    ///
    /// # Errors
    /// When the store is in use or holds a workspace, or the welcome is not for that workspace.
    pub fn join(
        mut config: Config,
        workspace: WorkspaceId,
        inviter: DeviceId,
        welcome: &Welcome,
    ) -> Result<Self, OpenError> {
        if welcome.genesis.workspace() != workspace {
            return Err(OpenError::Genesis);
        }
        let mut keys = Vec::new();
        for wrapped in &welcome.keys {
            let key = config.identity.unwrap_key(&workspace, wrapped).map_err(|_| OpenError::Genesis)?;
            keys.push(WorkspaceKey { key_epoch: wrapped.key_epoch, key: *key });
        }
        Self::initialise(&mut config, workspace, keys, &welcome.genesis, Some(inviter))?;
        Self::open(config)
    }

    /// Writes the rows that a store has from its first moment.
    fn initialise(
        config: &mut Config,
        workspace: WorkspaceId,
        keys: Vec<WorkspaceKey>,
        genesis: &Genesis,
        inviter: Option<DeviceId>,
    ) -> Result<(), OpenError> {
        let mut seed = SeedOnce(ports::random(&mut *config.entropy));
        let key = SealKey::from_bytes(config.store_key.clone());
        let mut store = Store::open(&config.location, key, Box::new(SeedOnce(seed.next())))?;
        if let Some(bytes) = store.get_plain("workspace")? {
            return Err(OpenError::Exists(WorkspaceId(bytes.try_into().unwrap_or_default())));
        }
        let mut batch = Batch::default();
        batch.put_plain("workspace", workspace.as_bytes());
        batch.put_plain("device", config.identity.device().as_bytes());
        batch.put(Table::Keys, b"genesis".to_vec(), genesis.to_bytes());
        if let Some(inviter) = inviter {
            batch.put(Table::Keys, b"inviter".to_vec(), inviter.0.to_vec());
        }
        let row = StoreRow { name: Digest(seed.next()), epoch: Epoch(0), keys, stopped: None };
        batch.put(Table::Keys, b"store".to_vec(), cbor::encode(&row));
        for (no, kind) in [(LogNo(0), LogKind::Ledger), (LogNo(1), LogKind::Local)] {
            batch.put(Table::Logs, key::log(no), cbor::encode(&new_log(kind)));
        }
        store.commit(batch)?;
        Ok(())
    }

    /// Writes the genesis entry of a workspace that this device owns, if a kill came between the store's first
    /// commit and that entry.
    pub(crate) fn finish_genesis(&mut self, now: UnixMicros) -> Result<(), StoreError> {
        if !self.chain.is_empty() {
            return Ok(());
        }
        match self.genesis()? {
            Some(genesis) if genesis.owner == self.device() => self.write_genesis(&genesis, now),
            _ => Ok(()),
        }
    }

    fn write_genesis(&mut self, genesis: &Genesis, now: UnixMicros) -> Result<(), StoreError> {
        let payload = genesis.to_bytes();
        let mut stage = self.stage(now);
        let log = self.log_number(&mut stage, LogKind::Device(self.own_log()));
        let operation = OperationId::at(now, self.tag);
        let request = WriteRequest::new(Actor::system(), Intent::Checkpoint);
        let entry = self.record_entry(&request, EntryKind::GENESIS, (operation, now), None, &payload);
        let grant = Gate::genesis(operation);
        let decision = self.keep_decision(&mut stage, grant.decision(), grant.digest());
        let link = Link {
            id: leaf_hash(&entry.to_bytes()),
            parents: Vec::new(),
            author: self.device(),
            act: Act::Genesis(genesis.clone()),
        };
        self.add_link(&mut stage, link, EntryKind::GENESIS, &payload);
        let (seq, _) = self.append(&mut stage, log, entry, payload);
        let covers = Coverage { log: Self::covered(&LogKind::Device(self.own_log())), first: seq, count: 1 };
        let record = crate::ledger::admission(
            &Actor::system(),
            self.device(),
            OperationType::Enqueue,
            covers,
            decision,
        );
        self.record(&mut stage, record);
        self.commit(stage).map(drop)
    }

    /// Opens a workspace that the store holds.
    ///
    /// # Errors
    /// When the store is in use, empty, another device's, or damaged.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let Config { location, store_key, identity, mut entropy, policy } = config;
        let tag = u64::from_be_bytes(ports::random(&mut *entropy)) >> 2;
        let store = Store::open(&location, SealKey::from_bytes(store_key), entropy)?;
        let workspace = match store.get_plain("workspace")? {
            Some(bytes) => WorkspaceId(bytes.try_into().unwrap_or_default()),
            None => return Err(OpenError::Empty),
        };
        let owner = DeviceId(store.get_plain("device")?.and_then(|b| b.try_into().ok()).unwrap_or_default());
        if owner != identity.device() {
            return Err(OpenError::OtherDevice { store: owner, identity: identity.device() });
        }
        let store_row: StoreRow = rows::read(&store, Table::Keys, b"store")?.ok_or(OpenError::Empty)?;
        let inviter = store.get(Table::Keys, b"inviter")?.and_then(|b| b.try_into().ok()).map(DeviceId);
        let mut gate = Gate::new();
        gate.compile(&BTreeMap::new(), policy.as_deref())?;
        let rules = judge::compile(&mut gate, Governance::default(), policy.as_deref())
            .ok_or_else(|| OpenError::Policies("no bundle".to_owned()))?;
        let keys = store_row
            .keys
            .iter()
            .map(|key| (key.key_epoch, SealKey::from_bytes(Zeroizing::new(key.key))))
            .collect();
        let mut engine = Self {
            identity,
            workspace,
            highest_epoch: store_row.epoch,
            judged_under: Vec::new(),
            same_so_far: LruCache::new(recovery::HISTORIES_COMPARED),
            store_row,
            inviter,
            chain: Chain::default(),
            gate,
            rules,
            judges: Judges::default(),
            own_policy: policy,
            rules_at: HashMap::new(),
            logs: BTreeMap::new(),
            log_numbers: BTreeMap::new(),
            branches: BTreeMap::new(),
            local: LogNo(1),
            ledger: LogNo(0),
            pending: Waiting::default(),
            rebirths: BTreeMap::new(),
            erases: false,
            not_expiring: HashSet::new(),
            answered: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            decisions_stored: HashSet::new(),
            said_seen: BTreeMap::new(),
            cache: Cache::new(),
            indexes: Indexes::default(),
            founded: None,
            blamed: LruCache::new(super::BLAMED),
            next_document: 0,
            objects: 0,
            session_logged: false,
            dirty: false,
            tag,
            last_record: UnixMicros(0),
            comparable: crate::conflict::MOST_CLOCKS,
            keys,
            places: BTreeMap::new(),
            store,
        };
        engine.read_logs()?;
        engine.read_pending()?;
        engine.read_rebirths()?;
        engine.read_governance()?;
        engine.read_counters()?;
        engine.keep_own_policy()?;
        if let Err(error) = engine.finish_erasure() {
            // What is left of it is sealed, and it is tried again.
            tracing::warn!(%error, "the store's file could not be written anew, and may hold what was erased");
        }
        Ok(engine)
    }

    fn read_logs(&mut self) -> Result<(), StoreError> {
        for (at, bytes) in self.store.prefix(Table::Logs, &[])? {
            let row: LogRow = rows::decode(Table::Logs, &at, &bytes)?;
            let no = LogNo(at.as_slice().try_into().map_or(u32::MAX, u32::from_be_bytes));
            match row.kind {
                LogKind::Device(log) => {
                    self.log_numbers.insert(log, no);
                }
                LogKind::Branch(log) => {
                    self.branches.insert(log, no);
                }
                LogKind::Local => self.local = no,
                LogKind::Ledger => {
                    self.ledger = no;
                    self.last_record = row.last.map_or(UnixMicros(0), |(_, time)| time);
                }
            }
            self.logs.insert(no, LogState { no, row });
        }
        let missing =
            |no: u32| StoreError::Sealed { table: Table::Logs.name(), key: hex::encode(no.to_be_bytes()) };
        // Numbers are given in order and never taken back: a gap is a row that somebody removed.
        for (expected, no) in self.logs.keys().enumerate() {
            if no.0 as usize != expected {
                return Err(missing(expected as u32));
            }
        }
        if self.logs.len() < 2 {
            return Err(missing(self.logs.len() as u32));
        }
        // A row that was removed at the end leaves its runs.
        let next = key::log(LogNo(self.logs.len() as u32));
        let after = self.store.range(Table::Runs, Bound::Included(&next), Bound::Unbounded, 1)?;
        if after.is_empty() { Ok(()) } else { Err(missing(self.logs.len() as u32)) }
    }

    fn read_pending(&mut self) -> Result<(), StoreError> {
        for (at, bytes) in self.store.prefix(Table::Pending, &[])? {
            let row: PendingRow = rows::decode(Table::Pending, &at, &bytes)?;
            if let Some(at) = key::parse_position(&at) {
                self.pending.insert(at, row);
            }
        }
        self.read_answered()
    }

    /// The chain is kept apart from the logs, so that opening does not read those.
    fn read_governance(&mut self) -> Result<(), StoreError> {
        let mut links = Vec::new();
        for (at, bytes) in self.store.prefix(Table::Governance, &[])? {
            let row: rows::GovernanceRow = rows::decode(Table::Governance, &at, &bytes)?;
            let act = Act::decode(row.kind, &row.payload).map_err(|source| StoreError::Value {
                table: Table::Governance.name(),
                key: hex::encode(&at),
                source,
            })?;
            links.push(Link { id: row.id, parents: row.parents, author: row.author, act });
        }
        for link in links {
            self.chain.add(link);
        }
        self.refresh_rules();
        Ok(())
    }

    fn read_counters(&mut self) -> Result<(), StoreError> {
        let last = self.store.last_at(Table::Docs, &[], &[u8::MAX; 12])?;
        let number = last.and_then(|(key, _)| key.first_chunk::<8>().map(|n| u64::from_be_bytes(*n)));
        self.next_document = number.map_or(0, |number| number + 1);
        self.objects = self.store.count(Table::Objects)?;
        self.read_places()
    }

    /// The rules under the chain's current heads.
    pub(crate) fn refresh_rules(&mut self) {
        let governance = self.chain.current();
        for wrapped in governance.members.get(&self.device()).into_iter().flat_map(|member| &member.keys) {
            if !self.keys.contains_key(&wrapped.key_epoch)
                && let Ok(key) = self.identity.unwrap_key(&self.workspace, wrapped)
            {
                self.keys.insert(wrapped.key_epoch, SealKey::from_bytes(key));
            }
        }
        if let Some(rules) = judge::compile(&mut self.gate, governance, self.own_policy.as_deref()) {
            self.rules = rules;
        }
    }

    /// The owner as the welcome named it, until the chain itself has arrived.
    pub(crate) fn genesis_owner(&self) -> Option<DeviceId> {
        let bytes = self.store.get(Table::Keys, b"genesis").ok().flatten()?;
        let genesis: Genesis = cbor::decode("genesis", &bytes, limits::RECORD_BYTES).ok()?;
        Some(genesis.owner)
    }

    /// The genesis, for welcoming others.
    pub(crate) fn genesis(&self) -> Result<Option<Genesis>, StoreError> {
        if let Some(bytes) = self.store.get(Table::Keys, b"genesis")? {
            return Ok(cbor::decode("genesis", &bytes, limits::RECORD_BYTES).ok());
        }
        // The copy is a convenience: the owner's log begins with it.
        let Some(owner) = self.governance().owner else { return Ok(None) };
        let log = LogId { workspace: self.workspace, device: owner, epoch: Epoch(0) };
        let Some(no) = self.log_numbers.get(&log) else { return Ok(None) };
        let payload = self.record_at(*no, LogSeq(0))?.and_then(|record| record.payload).unwrap_or_default();
        Ok(cbor::decode("genesis", &payload, limits::RECORD_BYTES).ok())
    }

    /// Makes memory say what the store says, after a commit failed: it may be on disk nevertheless. Whatever came of
    /// it was not acknowledged, so both are allowed, but not one here and the other there.
    pub(crate) fn reload(&mut self) -> Result<(), StoreError> {
        self.dirty = true;
        let Some(row) = rows::read::<StoreRow>(&self.store, Table::Keys, b"store")? else { return Ok(()) };
        self.store_row = row;
        self.logs.clear();
        self.log_numbers.clear();
        self.branches.clear();
        self.pending = Waiting::default();
        self.decisions_stored.clear();
        self.said_seen.clear();
        self.same_so_far.clear();
        self.cache = Cache::new();
        self.chain = Chain::default();
        // A new session is drawn before the next write: the old one may or may not be logged.
        self.session_logged = false;
        self.read_logs()?;
        self.read_pending()?;
        self.read_rebirths()?;
        self.read_governance()?;
        self.read_counters()?;
        self.dirty = false;
        Ok(())
    }

    /// Before anything is written: is memory known to say what the store says?
    pub(crate) fn ensure_clean(&mut self) -> Result<(), StoreError> {
        if self.dirty { self.reload() } else { Ok(()) }
    }
}

/// Randomness for the few bytes a new store needs before its engine exists: a hash chain over one seed.
struct SeedOnce([u8; 32]);

impl SeedOnce {
    fn next(&mut self) -> [u8; 32] {
        let out = syncd_schema::domain::hash("seed-out", &[&self.0]);
        self.0 = syncd_schema::domain::hash("seed-next", &[&self.0]).0;
        out.0
    }
}

impl Entropy for SeedOnce {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let random = self.next();
            chunk.iter_mut().zip(random).for_each(|(byte, random)| *byte = random);
        }
    }
}
