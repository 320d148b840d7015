//! What can be asked of a workspace, and the one place that answers.
//!
//! A command is a [`Call`]: who asks, and a [`Request`]. [`handle`] carries it out on an engine, in the daemon for
//! those who come through its socket and in the command itself when no daemon runs; that is why both ways give the
//! same answers. Answers are the JSON that `--json` prints. Requests are JSON too:
//! `{"actor":"user:ada","request":{"get":{"object":"n1"}}}`.

mod caller;
mod cards;
mod error;
mod import;
mod invite;
mod policy;
mod read;
mod rebirth;
mod schema;
mod write;

pub use caller::CallerError;
pub use cards::AnswerIn;
pub use error::{ApiError, exit};
pub use import::{Content, FileIn};
pub use rebirth::RebirthIn;

pub(crate) use caller::may_be_bound;
pub(crate) use cards::waits;
pub(crate) use error::chain;
pub(crate) use import::failure;
pub(crate) use policy::{may_set_own, tested};
pub(crate) use read::verdict;

use crate::net::{NetError, Node};
use crate::root::{AgentToken, Root};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use syncd_engine::{Edit, Shared};
use syncd_schema::{
    Actor, Collection, DeviceId, Digest, ObjectId, OperationId, OperationStatus, Role, WorkspaceId,
};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tracing::{Instrument, Span, field};

/// An answer: what the command prints, or why it failed.
pub type Reply = Result<Value, ApiError>;

/// How often a sync says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Is told how many of how many things are done; of 0 when that is not known.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// One request of one actor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// On whose behalf, unless a token says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The token of the agent that calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<AgentToken>,
    /// The caller's key: a write repeated under it is the same operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What is wanted.
    pub request: Request,
}

/// What can be asked of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// This device, its peers and logs.
    Status,
    /// A new object.
    Put {
        /// Its collection.
        collection: Collection,
        /// Its id; drawn if absent.
        object: Option<ObjectId>,
        /// Its value.
        value: Value,
    },
    /// A change to an object.
    Edit {
        /// The object.
        object: ObjectId,
        /// The heads it was based on.
        base: Option<Vec<Digest>>,
        /// The change.
        edit: Edit,
    },
    /// An object.
    Get {
        /// Its id.
        object: ObjectId,
    },
    /// The objects of a collection, or all.
    List {
        /// The collection.
        collection: Option<Collection>,
        /// Whether those that were deleted are wanted too.
        #[serde(default)]
        all: bool,
    },
    /// The operations on an object.
    History {
        /// The object.
        object: ObjectId,
    },
    /// The end of an object.
    Delete {
        /// The object.
        object: ObjectId,
    },
    /// An object begins anew, and what it was is dropped from every device.
    Rebirth(RebirthIn),
    /// The open cards, or all.
    Cards {
        /// Whether those that are not open are wanted too.
        all: bool,
    },
    /// One card.
    Card {
        /// Its id, or the beginning of it.
        card: String,
    },
    /// An answer to a card.
    Resolve(AnswerIn),
    /// An answer to a card, taken back.
    RepairRollback {
        /// The operation that answered.
        operation: OperationId,
    },
    /// Files into the collection `files`, as many as fit a request.
    Import {
        /// The files.
        files: Vec<FileIn>,
    },
    /// The newest operations.
    Ops {
        /// Only those in this state.
        status: Option<OperationStatus>,
    },
    /// One operation.
    Op {
        /// Its id.
        operation: OperationId,
    },
    /// Why something is as it is.
    Explain {
        /// The id of an object or operation.
        subject: String,
    },
    /// The policies in force.
    PolicyShow,
    /// A policy bundle from now on.
    PolicySet {
        /// Cedar text.
        text: String,
        /// Whether those in force stay; else it takes the place of them all.
        #[serde(default)]
        add: bool,
    },
    /// The policy of this device alone, from now on; its file was written already.
    PolicyOwn {
        /// Cedar text; none takes it away.
        text: Option<String>,
    },
    /// A past decision, made again.
    PolicyTest {
        /// What it was about.
        operation: OperationId,
    },
    /// The collections and what their manifests say, in short.
    SchemaList,
    /// The manifest of a collection.
    SchemaShow {
        /// The collection.
        collection: Collection,
    },
    /// A collection's manifest from now on.
    SchemaSet {
        /// The manifest, as `schema set FILE` reads it.
        manifest: Value,
    },
    /// The newest records of the ledger.
    EvidenceList,
    /// Everything held here, verified.
    EvidenceVerify,
    /// A signed checkpoint, now.
    Checkpoint,
    /// The members.
    Devices,
    /// A one-time ticket.
    Invite {
        /// What its holder becomes.
        role: Role,
        /// For how many seconds.
        ttl_seconds: u64,
        /// Whether the joiner's code must be typed here first.
        confirm: bool,
    },
    /// The joiner's code, typed at the inviter; answered when the joiner is a member.
    Confirm {
        /// The ticket's name.
        ticket: Digest,
        /// The code.
        code: String,
    },
    /// Syncs, and waits until nothing is left to say.
    Sync {
        /// With this device only.
        peer: Option<DeviceId>,
    },
    /// Asks the daemon to serve another workspace from now on.
    Serve {
        /// Which.
        workspace: WorkspaceId,
    },
}

impl Request {
    /// Whether asking twice is the same as asking once.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        !matches!(
            self,
            Self::Put { .. }
                | Self::Edit { .. }
                | Self::Delete { .. }
                | Self::Rebirth(_)
                | Self::Resolve(_)
                | Self::RepairRollback { .. }
                | Self::Import { .. }
                | Self::Checkpoint
                | Self::PolicySet { .. }
                | Self::PolicyOwn { .. }
                | Self::SchemaSet { .. }
                | Self::Invite { .. }
                | Self::Confirm { .. }
                | Self::Serve { .. }
        )
    }

    /// What is asked, in a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Put { .. } => "put",
            Self::Edit { .. } => "edit",
            Self::Get { .. } => "get",
            Self::List { .. } => "list",
            Self::History { .. } => "history",
            Self::Delete { .. } => "delete",
            Self::Rebirth(_) => "rebirth",
            Self::Cards { .. } => "cards",
            Self::Card { .. } => "card",
            Self::Resolve(_) => "resolve",
            Self::RepairRollback { .. } => "repair_rollback",
            Self::Import { .. } => "import",
            Self::Ops { .. } => "ops",
            Self::Op { .. } => "op",
            Self::Explain { .. } => "explain",
            Self::PolicyShow => "policy_show",
            Self::PolicySet { .. } => "policy_set",
            Self::PolicyOwn { .. } => "policy_own",
            Self::PolicyTest { .. } => "policy_test",
            Self::SchemaList => "schema_list",
            Self::SchemaShow { .. } => "schema_show",
            Self::SchemaSet { .. } => "schema_set",
            Self::EvidenceList => "evidence_list",
            Self::EvidenceVerify => "evidence_verify",
            Self::Checkpoint => "checkpoint",
            Self::Devices => "devices",
            Self::Invite { .. } => "invite",
            Self::Confirm { .. } => "confirm",
            Self::Sync { .. } => "sync",
            Self::Serve { .. } => "serve",
        }
    }

    /// The object it names.
    const fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::Put { object, .. } => object.as_ref(),
            Self::Edit { object, .. }
            | Self::Get { object }
            | Self::History { object }
            | Self::Delete { object } => Some(object),
            _ => None,
        }
    }

    /// What the log says of it: who asks what about which object, and never a value, a path or a text.
    fn span(&self, actor: &Actor) -> Span {
        let span = tracing::info_span!(
            "request",
            kind = self.word(),
            %actor,
            object = field::Empty,
            operation = field::Empty
        );
        if let Some(object) = self.object() {
            span.record("object", field::display(object));
        }
        if let Self::Op { operation } | Self::PolicyTest { operation } = self {
            span.record("operation", field::display(operation));
        }
        span
    }
}

/// An open workspace, and what is known around it.
#[derive(Debug)]
pub struct Workspace {
    /// The engine.
    pub shared: Shared,
    /// The directory it is in, which says which agents have a token.
    pub root: Root,
    /// The network, in a daemon and in commands that need it.
    pub net: Option<Arc<Node>>,
    /// Where this device was reached last, for tickets that are made while it is not.
    pub addresses: Vec<String>,
    /// Where a daemon hears that it shall serve another workspace; none in a command.
    pub moves: Option<mpsc::Sender<WorkspaceId>>,
}

/// Carries out one call.
///
/// # Errors
/// When it is refused or fails; nothing was changed then.
pub async fn handle(workspace: &Arc<Workspace>, call: Call, progress: Progress) -> Reply {
    let proven = caller::prove(&workspace.root, call.actor.as_ref(), call.token.as_ref());
    let actor = match proven {
        Ok(actor) => actor,
        Err(error) => {
            let workspace = Arc::clone(workspace);
            let noted = tokio::task::spawn_blocking(move || caller::turn_away(&workspace, error)).await;
            return Err(noted.unwrap_or_else(|_| ApiError::internal("the refusal was not put on record")));
        }
    };
    let span = call.request.span(&actor);
    // What the caller did not name, the answer does.
    let unknown = if call.request.object().is_some() { &["operation"][..] } else { &["object", "operation"] };
    let reply = carry_out(workspace, actor, call, progress).instrument(span.clone()).await;
    span.in_scope(|| match &reply {
        Ok(answer) => {
            for name in unknown {
                if let Some(id) = answer.get(name).and_then(Value::as_str) {
                    span.record(*name, field::display(id));
                }
            }
            tracing::debug!("answered");
        }
        // The code alone: a message may quote what was asked.
        Err(error) => tracing::debug!(code = %error.code, exit = error.exit, "not carried out"),
    });
    reply
}

async fn carry_out(workspace: &Arc<Workspace>, actor: Actor, call: Call, progress: Progress) -> Reply {
    match call.request {
        Request::Sync { peer } => sync(workspace, peer, &progress).await,
        Request::Confirm { ticket, code } => invite::confirm(workspace, ticket, code).await,
        Request::Serve { workspace: other } => serve(workspace, other).await,
        _ => {
            let (workspace, span) = (Arc::clone(workspace), Span::current());
            // The engine waits for the disk and for other callers; the network must not wait with it.
            let done = tokio::task::spawn_blocking(move || {
                let _entered = span.enter();
                at_once(&workspace, actor, call, &progress)
            })
            .await;
            done.unwrap_or_else(|_| Err(ApiError::internal("the request was not finished")))
        }
    }
}

/// Everything that needs the engine alone.
fn at_once(workspace: &Workspace, actor: Actor, call: Call, progress: &Progress) -> Reply {
    let who = write::Who { actor, idempotency_key: call.idempotency_key, note: None };
    match call.request {
        Request::Status => read::status(workspace),
        Request::Put { collection, object, value } => write::put(workspace, who, collection, object, value),
        Request::Edit { object, base, edit } => write::edit(workspace, who, object, base, edit),
        Request::Delete { object } => write::delete(workspace, who, object),
        Request::Rebirth(wanted) => rebirth::rebirth(workspace, who, wanted),
        Request::Cards { all } => cards::cards(workspace, all),
        Request::Card { card } => cards::card(workspace, &card),
        Request::Resolve(answer) => cards::resolve(workspace, who, answer),
        Request::RepairRollback { operation } => cards::undo(workspace, who, operation),
        Request::Checkpoint => write::checkpoint(workspace, who),
        Request::Import { files } => import::import(workspace, &who, files),
        Request::Get { object } => read::get(workspace, &object),
        Request::List { collection, all } => read::list(workspace, collection.as_ref(), all),
        Request::History { object } => read::history(workspace, &object),
        Request::Ops { status } => read::operations(workspace, status),
        Request::Op { operation } => read::operation(workspace, operation),
        Request::Explain { subject } => read::explain(workspace, &subject),
        Request::PolicyShow => policy::show(workspace),
        Request::PolicySet { text, add } => policy::set(workspace, who, text, add),
        Request::PolicyOwn { text } => policy::set_own(workspace, &who, text),
        Request::PolicyTest { operation } => policy::test(workspace, operation),
        Request::SchemaList => schema::list(workspace),
        Request::SchemaShow { collection } => schema::show(workspace, &collection),
        Request::SchemaSet { manifest } => schema::set(workspace, who, &manifest),
        Request::EvidenceList => read::evidence(workspace),
        Request::EvidenceVerify => read::verify(workspace, progress),
        Request::Devices => read::devices(workspace),
        Request::Invite { role, ttl_seconds, confirm } => {
            invite::invite(workspace, role, ttl_seconds, confirm)
        }
        Request::Sync { .. } | Request::Confirm { .. } | Request::Serve { .. } => {
            Err(ApiError::internal("the request needs the network"))
        }
    }
}

async fn sync(workspace: &Workspace, peer: Option<DeviceId>, progress: &Progress) -> Reply {
    let node = workspace.net.as_ref().ok_or_else(|| ApiError::internal("sync without a network"))?;
    if let Some(peer) = peer
        && !block_in_place(|| workspace.shared.with(|engine| engine.knows(&peer)))
    {
        return Err(ApiError::not_found(format!("device {peer} is not a member"), "see `devices`"));
    }
    if block_in_place(|| is_alone(workspace)) {
        return Err(NetError::NobodyAnswered.into());
    }
    let synced = node.sync(peer);
    tokio::pin!(synced);
    let peers = loop {
        tokio::select! {
            peers = &mut synced => break peers?,
            () = tokio::time::sleep(TELL_EVERY) => {
                // How much there will be is not known before it is there.
                progress(block_in_place(|| workspace.shared.with(|engine| engine.entries())), 0);
            }
        }
    };
    let unanswered: Vec<Value> = match peer {
        Some(_) => Vec::new(),
        None => block_in_place(|| node.unanswered())
            .into_iter()
            .map(|(device, name)| serde_json::json!({ "device": device, "name": name }))
            .collect(),
    };
    let mut answer = serde_json::json!({ "peers": json(&peers)?, "unanswered": unanswered });
    // What a peer knew may have shown that this device must not write: whoever synced wants to hear that now.
    if let (Some(stop), Some(members)) =
        (block_in_place(|| workspace.shared.with(|engine| engine.stopped())), answer.as_object_mut())
    {
        members.insert("stopped".to_owned(), Value::String(stop.to_string()));
    }
    Ok(answer)
}

/// Whether there is nobody who could answer, so that waiting for one is pointless.
fn is_alone(workspace: &Workspace) -> bool {
    workspace.shared.with(|engine| {
        let own = engine.device();
        // A device that has just joined knows no members yet, and still has somebody to wait for.
        let members = &engine.governance().members;
        members.contains_key(&own)
            && members.values().all(|member| member.device == own || member.role.is_none())
    })
}

async fn serve(workspace: &Workspace, other: WorkspaceId) -> Reply {
    let moves =
        workspace.moves.as_ref().ok_or_else(|| ApiError::internal("there is no daemon to serve it"))?;
    moves
        .send(other)
        .await
        .map_err(|_| ApiError::failed("stopping", "the daemon is stopping", "start `up` again"))?;
    Ok(serde_json::json!({ "workspace": other }))
}

/// A view as JSON.
fn json<T: Serialize + ?Sized>(view: &T) -> Reply {
    serde_json::to_value(view).map_err(|error| ApiError::internal(error.to_string()))
}

/// The policies of a text as JSON.
pub(crate) fn listed(report: &syncd_policy::Report) -> Vec<Value> {
    let policy = |policy: &syncd_policy::Listed| {
        serde_json::json!({
            "policy": policy.name,
            "effect": if policy.permits { "permit" } else { "forbid" },
            "review": policy.review,
            "line": policy.place.line,
            "column": policy.place.column,
        })
    };
    report.policies.iter().map(policy).collect()
}
