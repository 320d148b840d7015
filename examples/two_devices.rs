//! The product in under a minute: two daemons with stores of their own and QUIC between them. Real files are imported
//! on one; both edit while apart; they come together again. What each did is printed in words.
//!
//! Run it with `cargo run --release --example two_devices`.

use serde_json::{Value, json};
use sourceos_syncd::api::{Call, FileIn, Request, Workspace, handle};
use sourceos_syncd::net::{self, Node, NodeConfig};
use sourceos_syncd::os;
use sourceos_syncd::root::Root;
use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use syncd_engine::{Edit, Identity, Shared};
use syncd_schema::ticket::Ticket;
use syncd_schema::{ObjectId, Role};
use zeroize::Zeroizing;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// One daemon, in this process for once.
struct Daemon {
    name: &'static str,
    workspace: Arc<Workspace>,
    node: Arc<Node>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!("1. Two devices, each with its own store.");
    let desk_root = Root::locate(Some(folder.path().join("desk")))?;
    let (id, _) = desk_root.workspace_or_new(None, "desk")?;
    let desk = start("desk", &desk_root, Shared::new(desk_root.open(&id)?), Vec::new()).await?;
    println!("   desk made workspace {} and listens on {}.", id.short(), desk.node.local_addr());

    println!("2. The desk imports its own source code.");
    let files = source_files(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let began = Instant::now();
    let answer = desk.call(Request::Import { files }).await?;
    println!(
        "   {} files in {} ms, each one an operation with evidence.",
        word(&answer, "/imported"),
        began.elapsed().as_millis()
    );

    println!("3. The desk invites the laptop; the laptop joins with the ticket.");
    let expires = os::now().plus(600_000_000);
    let addresses = desk.node.addresses();
    let ticket =
        desk.workspace.shared.with(|engine| engine.invite(Role::Member, expires, false, addresses))?;
    let laptop_root = Root::locate(Some(folder.path().join("laptop")))?;
    let laptop = join("laptop", &laptop_root, &ticket).await?;
    let began = Instant::now();
    let synced = laptop.node.sync(None).await?;
    println!("   first sync: {} operations in {} ms.", received(&synced), began.elapsed().as_millis());
    same(&desk, &laptop).await?;

    println!(
        "4. They part. The desk edits README.md at the top, the laptop at the end, and both change a note."
    );
    laptop.node.stop().await;
    let readme = desk.find("README.md").await?;
    let before = desk.text(&readme).await?;
    desk.edit(&readme, splice(0, "Read me first.\n\n")).await?;
    laptop.edit(&readme, splice(before.chars().count(), "\nWritten on the train.\n")).await?;
    let title = json!({"seen_on": "desk"});
    desk.edit(&readme, Edit::MergePatch(title)).await?;
    println!("   desk begins  {:?}", first_line(&desk.text(&readme).await?));
    println!("   laptop ends  {:?}", last_line(&laptop.text(&readme).await?));

    println!("5. They meet again.");
    let Daemon { workspace, .. } = laptop;
    let laptop = start("laptop", &laptop_root, workspace.shared.clone(), vec![ticket]).await?;
    let synced = laptop.node.sync(None).await?;
    println!(
        "   {} operations came, {} went.",
        received(&synced),
        synced.iter().map(|peer| peer.sent).sum::<u64>()
    );
    let text = laptop.text(&readme).await?;
    println!("   both begin   {:?}", first_line(&text));
    println!("   both end     {:?}", last_line(&text));
    same(&desk, &laptop).await?;

    println!("6. What the laptop can tell about it.");
    for item in
        laptop.call(Request::History { object: readme.clone() }).await?.as_array().into_iter().flatten()
    {
        let word = |key: &str| word(item, key);
        println!("   {} {} by {} on {:.8}", word("/at"), word("/kind"), word("/actor"), word("/device"));
    }
    for daemon in [&desk, &laptop] {
        let report = daemon.call(Request::EvidenceVerify).await?;
        println!("   {}: evidence verifies: {}.", daemon.name, word(&report, "/ok"));
    }
    laptop.node.stop().await;
    desk.node.stop().await;
    Ok(())
}

async fn start(name: &'static str, root: &Root, shared: Shared, peers: Vec<Ticket>) -> Result<Daemon> {
    let listen: SocketAddr = "127.0.0.1:0".parse()?;
    let secret = root.secret_or_new()?;
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(secret.get(..32).unwrap_or_default());
    let config = NodeConfig { listen, name: name.to_owned(), peers, dial: true };
    let node = Node::start(shared.clone(), seed, config).await?;
    let workspace = Workspace {
        shared,
        root: root.clone(),
        net: Some(Arc::clone(&node)),
        addresses: node.addresses(),
        moves: None,
    };
    Ok(Daemon { name, workspace: Arc::new(workspace), node })
}

async fn join(name: &'static str, root: &Root, ticket: &Ticket) -> Result<Daemon> {
    let secret = root.secret_or_new()?;
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(secret.get(..32).unwrap_or_default());
    let identity = Identity::from_secret(&secret);
    let code = |code: &str| println!("   both show the code {code}.");
    let joined = net::join(&seed, &identity, name, ticket, code).await?;
    root.join_store(ticket, &joined.welcome)?;
    let shared = Shared::new(root.open(&ticket.workspace)?);
    start(name, root, shared, vec![ticket.clone()]).await
}

impl Daemon {
    async fn call(&self, request: Request) -> Result<Value> {
        let actor = Some("user:ada".parse()?);
        let call = Call { actor, token: None, idempotency_key: None, request };
        let reply = handle(&self.workspace, call, Arc::new(|_, _| {})).await;
        reply.map_err(|error| format!("{}: {}", self.name, error.message).into())
    }

    async fn edit(&self, object: &ObjectId, edit: Edit) -> Result<()> {
        self.call(Request::Edit { object: object.clone(), base: None, edit }).await.map(drop)
    }

    async fn text(&self, object: &ObjectId) -> Result<String> {
        let view = self.call(Request::Get { object: object.clone() }).await?;
        Ok(view.pointer("/value/text").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The object of an imported file.
    async fn find(&self, path: &str) -> Result<ObjectId> {
        let files = "files".parse()?;
        let found = self.workspace.shared.with(|engine| {
            let listed = engine.list(Some(&files))?;
            for object in listed.into_iter().map(|summary| summary.object) {
                let view = engine.get(&object)?;
                let ends = |view: &syncd_engine::workspace::ObjectView| {
                    let path_of = view.value.get("path").and_then(Value::as_str);
                    path_of.is_some_and(|found| found.ends_with(path) && !found.contains("docs/"))
                };
                if view.as_ref().is_some_and(ends) {
                    return Ok::<_, syncd_engine::store::StoreError>(Some(object));
                }
            }
            Ok(None)
        })?;
        found.ok_or_else(|| format!("{path} was not imported").into())
    }
}

/// A value of an answer as it is printed.
fn word(answer: &Value, pointer: &str) -> String {
    match answer.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn splice(pos: usize, text: &str) -> Edit {
    Edit::Splice { path: "/text".to_owned(), pos, del: 0, text: text.to_owned() }
}

fn received(synced: &[net::PeerSync]) -> u64 {
    synced.iter().map(|peer| peer.received).sum()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

/// Both devices hold the same logs and the same objects.
async fn same(one: &Daemon, other: &Daemon) -> Result<()> {
    one.node.sync(None).await?;
    let state = |daemon: &Daemon| {
        daemon.workspace.shared.with(|engine| {
            let mut values = Vec::new();
            for object in engine.list(None)?.into_iter().map(|summary| summary.object) {
                values.push(engine.get(&object)?.map(|view| (view.object, view.value)));
            }
            Ok::<_, syncd_engine::store::StoreError>((engine.frontier(), values))
        })
    };
    let (mine, theirs) = (state(one)?, state(other)?);
    if mine != theirs {
        return Err("the devices differ".into());
    }
    println!("   {} and {} hold the same {} objects.", one.name, other.name, mine.1.len());
    Ok(())
}

/// Rust sources and documents of this repository.
fn source_files(root: &Path) -> Result<Vec<FileIn>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
                let shown = path.strip_prefix(root)?.display().to_string();
                let text = std::fs::read_to_string(&path)?;
                files.push(FileIn { path: shown, content: sourceos_syncd::api::Content::Text(text) });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
