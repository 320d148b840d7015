//! The device under measurement: its store, opened at start if there is one, and its node once it is told to listen
//! or to connect.

use sourceos_syncd::net::{self, Node, NodeConfig};
use sourceos_syncd::os::{self, SystemEntropy};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syncd_engine::{Config, Engine, Identity, Location, Shared};
use syncd_schema::ticket::Ticket;
use syncd_schema::{Entropy, Role};
use zeroize::Zeroizing;

/// A device in a directory.
pub struct Device {
    dir: PathBuf,
    shared: Option<Shared>,
    node: Option<Arc<Node>>,
}

impl Device {
    /// Opens what is in the directory, if anything is.
    pub fn open(dir: PathBuf) -> Self {
        std::fs::create_dir_all(&dir).expect("the directory can be made");
        let shared = dir
            .join("store.redb")
            .exists()
            .then(|| Shared::new(Engine::open(config(&dir)).expect("the store opens")));
        Self { dir, shared, node: None }
    }

    /// The engine, made if there is none.
    pub fn shared(&mut self) -> Shared {
        let dir = &self.dir;
        self.shared
            .get_or_insert_with(|| {
                Shared::new(Engine::create(config(dir), "bench", os::now()).expect("a workspace"))
            })
            .clone()
    }

    /// The node, if it runs.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.clone()
    }

    /// Listens, and leaves a ticket beside the ids.
    pub async fn listen(&mut self, port: u16, ids: &str) {
        let shared = self.shared();
        let node = self.start(port).await;
        let expires = os::now().plus(3_600_000_000);
        let addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()];
        for n in 0..8 {
            let ticket = shared
                .with(|engine| engine.invite(Role::Member, expires, false, addresses.clone()))
                .expect("an invitation");
            std::fs::write(format!("{ids}.ticket-{n}"), ticket.to_string()).expect("the ticket is written");
        }
        drop(node);
    }

    async fn start(&mut self, port: u16) -> Arc<Node> {
        let shared = self.shared();
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = NodeConfig { listen, name: "bench".to_owned(), peers: Vec::new(), dial: false };
        let node = Node::start(shared, seed(&self.dir), config).await.expect("the socket opens");
        self.node = Some(Arc::clone(&node));
        node
    }

    /// Connects to the device that left a ticket, joining its workspace first if this device has none.
    pub async fn connect(&mut self, port: u16, ids: &str) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if self.shared.is_none() {
            let (_, ticket) = take_ticket(ids);
            let identity = identity(&self.dir);
            let joined =
                net::join(&seed(&self.dir), &identity, "bench", &ticket, |_| {}).await.expect("joined");
            let engine = Engine::join(config(&self.dir), ticket.workspace, ticket.inviter, &joined.welcome)
                .expect("the store is made");
            self.shared = Some(Shared::new(engine));
            std::fs::write(self.dir.join("inviter"), ticket.inviter.to_string()).expect("written");
        }
        let inviter = std::fs::read_to_string(self.dir.join("inviter")).expect("joined before");
        let node = match &self.node {
            Some(node) => Arc::clone(node),
            None => self.start(0).await,
        };
        node.connect(inviter.parse().expect("a device"), vec![address]).await.expect("connected");
    }

    /// Ends all links.
    pub fn disconnect(&self) {
        if let Some(node) = &self.node {
            node.peers().iter().for_each(|peer| node.disconnect(&peer.device));
        }
    }

    /// Stops the node.
    pub async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await;
        }
    }
}

/// Takes the first ticket that nobody took.
fn take_ticket(ids: &str) -> (PathBuf, Ticket) {
    for n in 0..8 {
        let path = PathBuf::from(format!("{ids}.ticket-{n}"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        std::fs::remove_file(&path).expect("the ticket is this device's");
        return (path, Ticket::parse(&text).expect("a ticket"));
    }
    panic!("no ticket is left");
}

fn secret(dir: &Path, name: &str, len: usize) -> Vec<u8> {
    let path = dir.join(name);
    std::fs::read(&path).unwrap_or_else(|_| {
        let mut bytes = vec![0; len];
        SystemEntropy.fill(&mut bytes);
        std::fs::write(&path, &bytes).expect("the key is written");
        bytes
    })
}

fn identity(dir: &Path) -> Identity {
    Identity::from_secret(&Zeroizing::new(secret(dir, "identity", 64).try_into().expect("64 bytes")))
}

fn seed(dir: &Path) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(secret(dir, "identity", 64)[..32].try_into().expect("32 bytes"))
}

fn config(dir: &Path) -> Config {
    Config {
        location: Location::File(dir.join("store.redb")),
        store_key: Zeroizing::new(secret(dir, "store.key", 32).try_into().expect("32 bytes")),
        identity: identity(dir),
        entropy: Box::new(SystemEntropy),
        policy: None,
    }
}
