//! The engine of one workspace on one device: everything that changes state, and everything that reads it.
//!
//! Data flows one way: an intent or a segment comes in, is judged, is put on a `stage::Stage`, and becomes durable
//! in one transaction with its log entry, index, evidence and signed checkpoint; only then is anybody answered.
//! Time is an argument of every call, randomness was handed in at opening. Start with [`Engine::write`] for the local
//! road and [`Engine::receive`] for the remote one; `stage` is where both meet.

mod admit;
mod asked;
mod asking;
mod author;
mod blame;
mod burst;
mod burst_answer;
mod cache;
mod card_kind;
mod cards;
mod contradictions;
mod decided;
mod decided_sides;
mod end;
mod erase;
mod expiry;
mod finding;
mod govern;
mod held;
mod history;
mod identity;
mod in_turn;
mod intent;
mod judge;
mod key_uses;
mod late;
mod links;
mod local;
mod members;
mod merge;
mod occupancy;
mod open;
mod own_policy;
mod peers;
mod propose;
mod read;
mod rebirth;
mod receive;
mod recovery;
mod renew;
mod replay;
mod resolve;
mod resolve_links;
mod rewrites;
mod seal;
mod seek;
mod segments;
mod stage;
mod strategy;
mod strength;
mod undo;
mod undouble;
mod values;
mod verify;
mod verify_cards;
mod waiting;
mod wake;
mod withdraw;

pub use asked::{CardSummary, CardView, OptionView, ResolutionView, SideView};
pub use card_kind::CardKind;
pub use history::{HistoryItem, OperationView, TaskView};
pub use identity::Identity;
pub use intent::{Intent, Refused, WriteError, WriteRequest, Written};
pub use local::Answers;
pub use members::{Invitation, MemberError, Welcome};
pub use occupancy::Occupancy;
pub use open::{Config, OpenError};
pub use own_policy::OwnPolicyError;
pub use read::{
    CheckpointView, Competing, Explanation, LogView, MemberView, ObjectSummary, ObjectView, PeerView, Status,
};
pub use receive::{Receipt, ReceiveError};
pub use recovery::Demand;
pub use renew::Remains;
pub use replay::{Replay, ReplayError};
pub use resolve::{Resolve, ResolveError};
pub use undo::{TakenBack, UndoError};
pub use verify::{LogReport, VerifyReport};

use crate::guard::Indexes;
use crate::judgement::Judges;
use crate::store::Store;
use crate::store::rows::{LogKind, LogRow, RebirthRow, StoreRow};
use crate::store::seal::SealKey;
use crate::store::tables::LogNo;
use cache::Cache;
use lru::LruCache;
use peers::InFlight;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use syncd_evidence::Tree;
use syncd_policy::{Gate, Policies};
use syncd_schema::entry::Subject;
use syncd_schema::governance::Chain;
use syncd_schema::message::Position;
use syncd_schema::{
    Collection, DeviceId, Digest, Epoch, Governance, Incarnation, LogId, LogSeq, ObjectId, OperationId,
    UnixMicros, WorkspaceId, domain,
};
use waiting::Waiting;

/// Names one life of an object. The collection is a part of it: the gate judges an entry by the collection it names, so
/// what names another one must be about another object.
pub(crate) type ObjectKey = (ObjectId, Collection, Incarnation);

/// The life that an entry is about.
pub(crate) fn subject_key(subject: &Subject) -> ObjectKey {
    (subject.object.clone(), subject.collection.clone(), subject.incarnation)
}

/// What others must hear of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A log grew: sessions offer it to their peers.
    LogGrew(LogId),
    /// An object looks different now.
    ObjectChanged {
        /// The object.
        object: ObjectId,
        /// Whether the change came from another device.
        remote: bool,
    },
    /// The governance chain grew: members, policies or manifests may differ.
    GovernanceChanged,
    /// A card was opened, or ended.
    Card {
        /// The card.
        card: Digest,
        /// The object it is about.
        object: ObjectId,
        /// Whether somebody has to decide now.
        is_open: bool,
    },
    /// Something was erased: [`Engine::finish_erasure`] takes it out of the store's file too.
    Erased,
    /// Something a person should look at.
    Finding {
        /// Its kind, in the words of `evidence list`.
        kind: &'static str,
        /// What happened.
        text: String,
    },
    /// Writing stopped or goes on.
    Writing {
        /// Whether this device writes.
        allowed: bool,
    },
}

/// A log as the engine holds it in memory.
#[derive(Clone, Debug)]
pub(crate) struct LogState {
    pub(crate) no: LogNo,
    pub(crate) row: LogRow,
}

impl LogState {
    pub(crate) const fn size(&self) -> LogSeq {
        self.row.tree.size()
    }
}

/// Governance and compiled policies under given heads.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) governance: Governance,
    pub(crate) policies: Arc<Policies>,
}

/// One workspace on one device. See the module's documentation for where to start.
pub struct Engine {
    store: Store,
    identity: Identity,
    workspace: WorkspaceId,
    store_row: StoreRow,
    inviter: Option<DeviceId>,
    chain: Chain,
    gate: Gate,
    judges: Judges,
    /// The layer of policy that is this device's alone.
    own_policy: Option<String>,
    rules: Arc<Rules>,
    /// Rules under heads that entries named lately; bounded by [`RULES_KEPT`].
    rules_at: HashMap<Digest, Arc<Rules>>,
    logs: BTreeMap<LogNo, LogState>,
    log_numbers: BTreeMap<LogId, LogNo>,
    branches: BTreeMap<LogId, LogNo>,
    local: LogNo,
    ledger: LogNo,
    pending: Waiting,
    /// Lives that began anew.
    rebirths: BTreeMap<ObjectKey, RebirthRow>,
    /// Whether the store's file may hold what was erased.
    erases: bool,
    /// Cards whose time is over and which the program could not answer: not tried again before it is restarted.
    not_expiring: HashSet<Digest>,
    /// Deletions in a row that were answered, and are to be carried out.
    answered: BTreeSet<Digest>,
    in_flight: InFlight,
    decisions_stored: HashSet<Digest>,
    /// How far of other logs this device's own has said since it was opened.
    said_seen: BTreeMap<LogId, LogSeq>,
    cache: Cache,
    /// What is known of the operations in the documents that others have written to.
    indexes: Indexes,
    highest_epoch: Epoch,
    /// The governance under which everything held here was judged.
    judged_under: Vec<Digest>,
    /// How far a history that was asked for by its root has said the same as the one held.
    same_so_far: LruCache<(LogId, Digest), Tree>,
    /// When the workspace was made, once it is known.
    founded: Option<UnixMicros>,
    /// Findings about devices that were put on record lately: not again at once.
    blamed: LruCache<Digest, UnixMicros>,
    next_document: u64,
    objects: u64,
    session_logged: bool,
    /// Whether a commit failed and memory could not be read anew since.
    dirty: bool,
    tag: u64,
    last_record: UnixMicros,
    /// How much is compared at most: see [`Engine::compare_at_most`].
    comparable: usize,
    keys: BTreeMap<u32, SealKey>,
    /// How many places of each kind of finding are listed.
    places: finding::Places,
}

/// Findings about devices that are remembered as put on record: some for each of a full workspace.
pub(super) const BLAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(1_023);
/// Entries name few different governance heads at a time.
const RULES_KEPT: usize = 64;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("workspace", &self.workspace)
            .field("device", &self.device())
            .field("logs", &self.logs.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// The workspace.
    #[must_use]
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.identity.device()
    }

    /// The log this device writes in its current epoch.
    #[must_use]
    pub fn own_log(&self) -> LogId {
        LogId { workspace: self.workspace, device: self.device(), epoch: self.store_row.epoch }
    }

    /// Who may do what, as far as this device knows.
    #[must_use]
    pub fn governance(&self) -> &Governance {
        &self.rules.governance
    }

    /// Whether a peer may sync with this device: a member, or the device that invited it while the chain has not
    /// arrived yet.
    #[must_use]
    pub fn knows(&self, peer: &DeviceId) -> bool {
        self.governance().role(peer).is_some() || (self.chain.is_empty() && self.inviter == Some(*peer))
    }

    /// Every replicated log held here, branches of forked ones included.
    #[must_use]
    pub fn frontier(&self) -> Vec<Position> {
        let position = |state: &LogState| {
            let (log, branch) = match state.row.kind {
                LogKind::Device(log) => (log, false),
                LogKind::Branch(log) => (log, true),
                LogKind::Local | LogKind::Ledger => return None,
            };
            (state.size() > LogSeq(0)).then(|| Position {
                log,
                size: state.size(),
                root: state.row.tree.root(),
                branch,
                signature: None,
            })
        };
        let mut positions: Vec<Position> = self.logs.values().filter_map(position).collect();
        // Which branch of a fork arrived first must not make two devices differ for ever.
        positions.sort_unstable_by_key(|p| (p.log, p.size, p.root));
        for pair in 1..positions.len() {
            let forked = positions.get(pair - 1).map(|p| p.log) == positions.get(pair).map(|p| p.log);
            for index in if forked { pair - 1..pair + 1 } else { 0..0 } {
                if let Some(position) = positions.get_mut(index) {
                    position.branch = true;
                }
            }
        }
        positions
    }

    /// Replicated logs and how many entries are held of each, this device's own first: what was just written is
    /// sent before what is passed on.
    #[must_use]
    pub fn log_sizes(&self) -> Vec<(LogId, LogSeq)> {
        let own = self.device();
        let sizes = self.log_numbers.iter().filter_map(|(log, no)| Some((*log, self.logs.get(no)?.size())));
        let mut sizes: Vec<(LogId, LogSeq)> = sizes.collect();
        // The log with the genesis comes first of all: nothing can be judged without it.
        let owner = self.governance().owner;
        sizes.sort_by_key(|(log, _)| (Some(log.device) != owner, log.device != own));
        sizes
    }

    /// How many entries of a log are held here.
    #[must_use]
    pub fn size_of_log(&self, log: &LogId) -> LogSeq {
        self.device_log(log).map_or(LogSeq(0), LogState::size)
    }

    /// Second histories of forked logs held here.
    #[must_use]
    pub fn branch_count(&self) -> usize {
        self.branches.len()
    }

    /// Objects held here, deleted ones included.
    #[must_use]
    pub const fn object_count(&self) -> u64 {
        self.objects
    }

    /// Entries in all replicated logs held here.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.frontier().iter().map(|position| position.size.0).sum()
    }

    /// Transactions made since this engine was opened: one for each commit, whatever it writes.
    #[must_use]
    pub const fn transactions(&self) -> u64 {
        self.store.commits()
    }

    /// Makes durable what a crash could still take: what was only noted.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> Result<(), crate::store::StoreError> {
        self.store.commit(crate::store::Batch::default())
    }

    /// Flushes, and lets go of the store; called when a daemon stops.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn close(mut self) -> Result<(), crate::store::StoreError> {
        self.flush()
    }

    /// Compares work done apart only as long as all clocks together have so many numbers: one for each change and each
    /// author among those who worked apart. More is let in with a finding and no card, until somebody has seen it all.
    /// Devices with different bounds may ask different questions.
    pub const fn compare_at_most(&mut self, clocks: usize) {
        self.comparable = clocks;
    }

    pub(crate) fn log(&self, no: LogNo) -> Option<&LogState> {
        self.logs.get(&no)
    }

    pub(crate) fn device_log(&self, log: &LogId) -> Option<&LogState> {
        self.log_numbers.get(log).and_then(|no| self.logs.get(no))
    }

    /// The rules under given heads, or none while some of them have not arrived.
    pub(crate) fn rules_under(&mut self, heads: &[Digest]) -> Option<Arc<Rules>> {
        if heads == self.rules.governance.heads {
            return Some(Arc::clone(&self.rules));
        }
        let name = heads_name(heads);
        if let Some(rules) = self.rules_at.get(&name) {
            return Some(Arc::clone(rules));
        }
        if !self.chain.holds(heads) {
            return None;
        }
        let rules = judge::compile(&mut self.gate, self.chain.at(heads), self.own_policy.as_deref())?;
        self.remember_rules(name, &rules);
        Some(rules)
    }

    fn remember_rules(&mut self, name: Digest, rules: &Arc<Rules>) {
        if self.rules_at.len() >= RULES_KEPT {
            self.rules_at.clear();
        }
        self.rules_at.insert(name, Arc::clone(rules));
    }

    /// As [`Engine::rules_under`], entries on the stage included. What heads mean depends on nothing but the graph
    /// behind them, so it may be kept whether or not the stage is committed.
    pub(crate) fn staged_rules(&mut self, stage: &stage::Stage, heads: &[Digest]) -> Option<Arc<Rules>> {
        if let Some(rules) = self.rules_under(heads) {
            return Some(rules);
        }
        let chain = stage.chain.as_ref().filter(|chain| chain.holds(heads))?;
        let rules = judge::compile(&mut self.gate, chain.at(heads), self.own_policy.as_deref())?;
        self.remember_rules(heads_name(heads), &rules);
        Some(rules)
    }

    /// The next hybrid time of a log: the clock, moved forward where it has not moved by itself.
    pub(crate) fn tick(last: Option<(OperationId, UnixMicros)>, now: UnixMicros) -> UnixMicros {
        last.map_or(now, |(_, last)| now.max(last.plus(1)))
    }
}

fn heads_name(heads: &[Digest]) -> Digest {
    let parts: Vec<&[u8]> = heads.iter().map(|head| head.as_bytes().as_slice()).collect();
    domain::hash("heads", &parts)
}
