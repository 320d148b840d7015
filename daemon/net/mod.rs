//! The loop that joins engine and transport: links come and go, each carries one session, and commits of one wake
//! the others.
//!
//! The engine judges, the transport moves; this module decides nothing but when to dial. Start with [`Node`].

mod dial;
mod heard;
mod link;
mod pairing;

pub use heard::SILENT_AFTER;
pub use pairing::{Joined, join};

use crate::os;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use syncd_engine::session::Session;
use syncd_engine::store::StoreError;
use syncd_engine::{Event, Shared};
use syncd_schema::message::CloseCode;
use syncd_schema::ticket::Ticket;
use syncd_schema::{DeviceId, Digest, ObjectId, UnixMicros};
use syncd_transport::{BindError, Endpoint, Identity, Link};
use tokio::sync::{broadcast, watch};
use tracing::Instrument;
use zeroize::Zeroizing;

/// How long `sync` waits for a peer to answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long `sync` waits without any progress: a large commit at the peer takes seconds, not minutes.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Events a slow listener may fall behind.
const EVENTS_KEPT: usize = 1_024;
/// How often it is looked whether cards are open for too long.
const EXPIRY_EVERY: Duration = Duration::from_secs(60);
/// How long what others erased is collected before the store's file is written anew.
const ERASURE_DELAY: Duration = Duration::from_secs(2);

/// What a node needs to begin.
#[derive(Debug)]
pub struct NodeConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// This device's name for others.
    pub name: String,
    /// Tickets whose inviters are peers to dial.
    pub peers: Vec<Ticket>,
    /// Whether to dial known members without being asked.
    pub dial: bool,
}

/// Why the network side of a command failed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The socket cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The device key cannot be used.
    #[error(transparent)]
    Identity(#[from] syncd_transport::tls::IdentityError),
    /// Its own address cannot be read.
    #[error("the system does not say where this device listens")]
    Address(#[source] std::io::Error),
    /// Nobody is reachable.
    #[error("no peer answered; is another device running `up`, and reachable from here?")]
    NobodyAnswered,
    /// The wanted peer is not reachable.
    #[error("device {} did not answer; is it running `up`, and reachable from here?", .0.short())]
    NotReached(DeviceId),
    /// The peer stopped in the middle.
    #[error("device {} stopped answering before everything was exchanged; run `sync` again", .0.short())]
    Stalled(DeviceId),
    /// The inviter is not reachable.
    #[error("the inviting device did not answer: {0}")]
    Inviter(#[from] syncd_transport::ConnectAnyError),
    /// Pairing failed.
    #[error(transparent)]
    Join(#[from] syncd_transport::pairing::JoinError),
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a sync with one peer moved, in operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerSync {
    /// The peer.
    pub device: DeviceId,
    /// Operations it acknowledged.
    pub sent: u64,
    /// Operations that came from it.
    pub received: u64,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// How a peer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerState {
    /// The peer.
    pub device: DeviceId,
    /// Whether there is a link.
    pub connected: bool,
    /// Whether nothing was heard for longer than [`SILENT_AFTER`]: it is gone, most likely.
    pub silent: bool,
    /// Whether both sides have everything.
    pub quiet: bool,
    /// Operations it has and this device has not.
    pub behind: Option<u64>,
    /// Operations this device has and it has not.
    pub ahead: Option<u64>,
}

/// What happens at a node, for people and programs that watch it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NodeEvent {
    /// A session began.
    PeerConnected {
        /// With whom.
        device: DeviceId,
    },
    /// A session ended.
    PeerDisconnected {
        /// With whom.
        device: DeviceId,
        /// Why.
        reason: String,
    },
    /// An object looks different now.
    ObjectChanged {
        /// The object.
        object: ObjectId,
        /// Whether the change came from another device.
        remote: bool,
    },
    /// Members, policies or manifests changed.
    GovernanceChanged,
    /// A card was opened, or ended.
    Card {
        /// The card.
        card: syncd_schema::Digest,
        /// The object it is about.
        object: ObjectId,
        /// Whether somebody has to decide now.
        open: bool,
    },
    /// Something somebody should look at.
    Finding {
        /// Its kind.
        kind: &'static str,
        /// What happened.
        text: String,
    },
    /// Writing stopped, or goes on.
    Writing {
        /// Whether this device writes.
        allowed: bool,
    },
    /// A device is joining; both sides show this code.
    PairingCode {
        /// The code.
        code: String,
    },
    /// A device was not let in.
    PairingRefused {
        /// The device.
        device: DeviceId,
        /// The ticket it came with, if it is one of this workspace.
        ticket: Option<Digest>,
        /// Why.
        reason: String,
    },
    /// A device waits for its code to be typed here.
    ConfirmationWanted {
        /// The device.
        device: DeviceId,
        /// Its name.
        name: String,
    },
    /// A device became a member.
    Joined {
        /// The device.
        device: DeviceId,
        /// Its name.
        name: String,
        /// The code both sides showed.
        code: String,
    },
}

/// A device's side of the network.
pub struct Node {
    shared: Shared,
    endpoint: Endpoint,
    address: SocketAddr,
    name: String,
    peers: Mutex<BTreeMap<DeviceId, Peer>>,
    heard: Mutex<heard::Heard>,
    /// Counts changes worth waking up for: commits, and steps of sessions.
    grew: watch::Sender<u64>,
    stepped: watch::Sender<u64>,
    /// Counts requests to dial now.
    dial: watch::Sender<u64>,
    /// Counts sessions that ended.
    lost: watch::Sender<u64>,
    stopping: watch::Sender<bool>,
    events: broadcast::Sender<NodeEvent>,
    confirmations: watch::Sender<Option<String>>,
    /// Counts commits that erased something.
    erased: watch::Sender<u64>,
}

/// A connected peer.
struct Peer {
    link: Link,
    session: Arc<Mutex<Session>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("address", &self.address)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A lock whose holder panicked guards plain data that stays usable.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs something that waits for the disk without holding up other tasks of this thread.
fn on_disk<T>(run: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(run)
}

/// Takes what other devices erased out of the store's file, once for all that comes together.
async fn erase(node: Weak<Node>, mut erased: watch::Receiver<u64>) {
    while erased.changed().await.is_ok() {
        tokio::time::sleep(ERASURE_DELAY).await;
        erased.mark_unchanged();
        let Some(node) = node.upgrade() else { return };
        if let Err(error) = on_disk(|| node.shared.with(|engine| engine.finish_erasure())) {
            tracing::warn!(%error, "the store's file could not be written anew; it is tried again when it is opened");
        }
    }
}

/// Answers cards whose time is over, now and every while.
async fn expire(node: Weak<Node>) {
    let mut ticks = tokio::time::interval(EXPIRY_EVERY);
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else { return };
        match on_disk(|| node.shared.with(|engine| engine.expire_cards(os::now()))) {
            Ok(events) => node.shared.tell(&events),
            Err(error) => {
                tracing::warn!(%error, "cards could not be answered after their time; tried again later")
            }
        }
    }
}

impl Node {
    /// Opens the socket and begins to accept and to dial. Needs a multi-threaded runtime.
    ///
    /// # Errors
    /// When the address is taken, the key unusable, or the store cannot be written.
    pub async fn start(
        shared: Shared,
        seed: Zeroizing<[u8; 32]>,
        config: NodeConfig,
    ) -> Result<Arc<Self>, NetError> {
        let endpoint = Endpoint::bind(config.listen, Identity::from_seed(&seed)?)?;
        let address = endpoint.local_addr().map_err(NetError::Address)?;
        let node = Arc::new(Self {
            shared: shared.clone(),
            endpoint,
            address,
            name: config.name,
            peers: Mutex::new(BTreeMap::new()),
            heard: Mutex::default(),
            grew: watch::Sender::new(0),
            stepped: watch::Sender::new(0),
            dial: watch::Sender::new(0),
            lost: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            events: broadcast::Sender::new(EVENTS_KEPT),
            confirmations: watch::Sender::new(None),
            erased: watch::Sender::new(0),
        });
        for ticket in &config.peers {
            on_disk(|| shared.with(|engine| engine.note_addresses(&ticket.inviter, &ticket.addresses)))?;
        }
        let listener = Arc::downgrade(&node);
        shared.listen(Arc::new(move |events: &[Event]| {
            if let Some(node) = listener.upgrade() {
                node.heard(events);
            }
        }));
        tokio::spawn(link::accept(Arc::clone(&node)).in_current_span());
        tokio::spawn(expire(Arc::downgrade(&node)).in_current_span());
        tokio::spawn(erase(Arc::downgrade(&node), node.erased.subscribe()).in_current_span());
        if config.dial {
            tokio::spawn(dial::dial(Arc::clone(&node)).in_current_span());
        }
        Ok(node)
    }

    /// Where this node listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where others may reach this node: its address, or one per interface when it listens on all of them.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        dial::reachable(self.address)
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    /// The code that the joining device shows, typed by the person at this one.
    pub fn confirm(&self, code: String) {
        self.confirmations.send_replace(Some(code));
    }

    /// When a device was last heard, since this node began.
    #[must_use]
    pub fn last_heard(&self, device: &DeviceId) -> Option<UnixMicros> {
        held(&self.heard).last(device)
    }

    /// Notes what has come over a link.
    fn listen(&self, link: &Link) {
        held(&self.heard).look(link.peer(), link.stats().received_bytes);
    }

    /// Every connected peer.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerState> {
        let links: Vec<Link> = held(&self.peers).values().map(|peer| peer.link.clone()).collect();
        links.iter().for_each(|link| self.listen(link));
        let sessions: Vec<(DeviceId, Arc<Mutex<Session>>)> =
            held(&self.peers).iter().map(|(device, peer)| (*device, Arc::clone(&peer.session))).collect();
        let state = |(device, session): (DeviceId, Arc<Mutex<Session>>)| {
            let session = held(&session);
            let (quiet, distance) =
                self.shared.with(|engine| (session.is_quiet(engine), session.distance(engine)));
            PeerState {
                device,
                connected: true,
                silent: held(&self.heard).is_silent(&device),
                quiet,
                behind: distance.map(|(behind, _)| behind),
                ahead: distance.map(|(_, ahead)| ahead),
            }
        };
        sessions.into_iter().map(state).collect()
    }

    /// The members that are neither this device nor connected, with their names.
    #[must_use]
    pub fn unanswered(&self) -> Vec<(DeviceId, String)> {
        let own = self.endpoint.device();
        let connected: Vec<DeviceId> = held(&self.peers).keys().copied().collect();
        self.shared.with(|engine| {
            let others = engine.governance().members.values().filter(|member| member.role.is_some());
            let others = others.filter(|member| member.device != own && !connected.contains(&member.device));
            others.map(|member| (member.device, member.name.clone())).collect()
        })
    }

    /// Dials whom it can and waits until everything is exchanged with the peers that answered.
    ///
    /// # Errors
    /// When the named peer, or no peer at all, answers; when one stops in the middle.
    pub async fn sync(&self, peer: Option<DeviceId>) -> Result<Vec<PeerSync>, NetError> {
        let began = Instant::now();
        let own = self.endpoint.device();
        let before: BTreeMap<DeviceId, (u64, u64)> = self.counters();
        self.dial.send_modify(|count| *count += 1);
        let answered = self.wait_for_answers(peer, own).await;
        let targets: Vec<DeviceId> = match peer {
            Some(device) if answered.contains(&device) => vec![device],
            Some(device) => return Err(NetError::NotReached(device)),
            None if answered.is_empty() => return Err(NetError::NobodyAnswered),
            None => answered,
        };
        let mut results = Vec::new();
        for device in targets {
            self.wait_until_quiet(device).await?;
            let (sent, received) = self.counters().get(&device).copied().unwrap_or_default();
            let (sent_before, received_before) = before.get(&device).copied().unwrap_or_default();
            results.push(PeerSync {
                device,
                sent: sent.saturating_sub(sent_before),
                received: received.saturating_sub(received_before),
                ms: began.elapsed().as_millis() as u64,
            });
        }
        Ok(results)
    }

    /// The peers that have a session: at once when the wanted ones have, else after a while.
    async fn wait_for_answers(&self, wanted: Option<DeviceId>, own: DeviceId) -> Vec<DeviceId> {
        let mut stepped = self.stepped.subscribe();
        let deadline = tokio::time::Instant::now() + ANSWER_TIMEOUT;
        loop {
            stepped.mark_unchanged();
            let connected: Vec<DeviceId> = held(&self.peers).keys().copied().collect();
            let addressed = on_disk(|| self.shared.with(|engine| engine.addressed_members()));
            let enough = match wanted {
                Some(device) => connected.contains(&device),
                None => {
                    let mut others = addressed.iter().filter(|(device, _)| *device != own);
                    !connected.is_empty() && others.all(|(device, _)| connected.contains(device))
                }
            };
            if enough {
                return connected;
            }
            if tokio::time::timeout_at(deadline, stepped.changed()).await.is_err() {
                return connected;
            }
        }
    }

    async fn wait_until_quiet(&self, device: DeviceId) -> Result<(), NetError> {
        let mut stepped = self.stepped.subscribe();
        loop {
            stepped.mark_unchanged();
            let session = held(&self.peers).get(&device).map(|peer| Arc::clone(&peer.session));
            let Some(session) = session else { return Err(NetError::Stalled(device)) };
            let quiet = on_disk(|| {
                let session = held(&session);
                self.shared.with(|engine| session.is_quiet(engine))
            });
            if quiet {
                return Ok(());
            }
            if tokio::time::timeout(STALL_TIMEOUT, stepped.changed()).await.is_err() {
                return Err(NetError::Stalled(device));
            }
        }
    }

    fn counters(&self) -> BTreeMap<DeviceId, (u64, u64)> {
        let count = |(device, peer): (&DeviceId, &Peer)| {
            let counters = held(&peer.session).counters();
            (*device, (counters.sent, counters.received))
        };
        held(&self.peers).iter().map(count).collect()
    }

    /// Ends every link with a word, and stops.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        self.endpoint.close(CloseCode::Done, "this device is stopping").await;
    }

    /// Dials one device and waits until its session has begun.
    ///
    /// # Errors
    /// When it does not answer, or refuses this device.
    pub async fn connect(
        self: &Arc<Self>,
        device: DeviceId,
        addresses: Vec<SocketAddr>,
    ) -> Result<(), NetError> {
        let mut stepped = self.stepped.subscribe();
        let task = tokio::spawn(dial::dial_one(Arc::clone(self), device, addresses).in_current_span());
        loop {
            stepped.mark_unchanged();
            if held(&self.peers).contains_key(&device) {
                return Ok(());
            }
            if task.is_finished() || tokio::time::timeout(ANSWER_TIMEOUT, stepped.changed()).await.is_err() {
                return Err(NetError::NotReached(device));
            }
        }
    }

    /// Waits for the next step of any session.
    #[must_use]
    pub fn steps(&self) -> watch::Receiver<u64> {
        self.stepped.subscribe()
    }

    /// Ends the link with a peer; it may be dialled again at once.
    pub fn disconnect(&self, device: &DeviceId) {
        if let Some(peer) = held(&self.peers).remove(device) {
            peer.link.close(CloseCode::Done, "disconnected");
        }
    }

    /// Dials whoever is known and not connected, now.
    pub fn dial_now(&self) {
        self.dial.send_modify(|count| *count += 1);
    }

    /// Passes on what a commit changed.
    fn heard(&self, events: &[Event]) {
        for event in events {
            let told = match event {
                Event::LogGrew(_) => continue,
                Event::Erased => {
                    self.erased.send_modify(|count| *count += 1);
                    continue;
                }
                Event::ObjectChanged { object, remote } => {
                    tracing::debug!(%object, remote, "an object changed");
                    NodeEvent::ObjectChanged { object: object.clone(), remote: *remote }
                }
                Event::GovernanceChanged => {
                    self.dial_now();
                    NodeEvent::GovernanceChanged
                }
                Event::Card { card, object, is_open } => {
                    NodeEvent::Card { card: *card, object: object.clone(), open: *is_open }
                }
                Event::Finding { kind, text } => NodeEvent::Finding { kind, text: text.clone() },
                Event::Writing { allowed } => NodeEvent::Writing { allowed: *allowed },
            };
            self.tell(told);
        }
        self.grew.send_modify(|count| *count += 1);
    }

    fn tell(&self, event: NodeEvent) {
        // Nobody listens: nobody minds.
        let _ = self.events.send(event);
    }

    fn random_u32() -> u32 {
        let mut bytes = [0; 4];
        syncd_schema::Entropy::fill(&mut os::SystemEntropy, &mut bytes);
        u32::from_be_bytes(bytes)
    }
}
