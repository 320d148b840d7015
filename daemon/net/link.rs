//! One link, one session: frames in, steps of the state machine, frames out.
//!
//! Reading and writing are tasks of their own, so that neither waits for the other; a session's window bounds what
//! is between them. Each step runs with the engine alone and ends with what it made durable.

use super::heard::LOOK_EVERY;
use super::{Node, NodeEvent, Peer, held, on_disk, pairing};
use crate::api::chain;
use crate::os;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncd_engine::session::{Input, Output, Session};
use syncd_schema::LogId;
use syncd_schema::message::{CloseCode, Control, Segment};
use syncd_transport::frame::FrameError;
use syncd_transport::{
    ControlReceiver, ControlSender, Link, LinkError, LogReceiver, Purpose, dialler_to_keep,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::Instrument;

/// Frames read and not yet handled: the session's window is what bounds a peer, this only decouples.
const INPUTS: usize = 16;
/// How long a peer may take to say its first message.
const FIRST_WORD: std::time::Duration = std::time::Duration::from_secs(10);
/// How long the last message of a session may take to be delivered.
const LAST_WORD: std::time::Duration = std::time::Duration::from_secs(2);

/// Accepts links until the node stops.
pub(super) async fn accept(node: Arc<Node>) {
    while let Some(incoming) = node.endpoint.accept().await {
        let node = Arc::clone(&node);
        let served = async move {
            let link = match incoming.link().await {
                Ok(link) => link,
                Err(error) => {
                    tracing::debug!(%error, "a handshake failed");
                    return;
                }
            };
            match link.purpose() {
                Purpose::Sync => drop(run(&node, link).await),
                Purpose::Pair => pairing::invite(&node, link).await,
            }
        };
        tokio::spawn(served.in_current_span());
    }
}

/// Runs a session over a link until it ends. True when the peer took part in it.
pub(super) async fn run(node: &Arc<Node>, link: Link) -> bool {
    let peer = link.peer();
    let span = tracing::info_span!("session", peer = %peer.short());
    let session = Arc::new(Mutex::new(Session::new(peer, link.is_dialled())));
    let result = converse(node, &link, &session).instrument(span).await;
    let was_ours = {
        let mut peers = held(&node.peers);
        let same = peers.get(&peer).is_some_and(|known| Arc::ptr_eq(&known.session, &session));
        if same {
            peers.remove(&peer);
        }
        same
    };
    if was_ours {
        // The session is locked before the engine, here as everywhere.
        let ended = on_disk(|| {
            let mut session = held(&session);
            node.shared.with(|engine| session.end(engine, os::now()))
        });
        if let Err(error) = ended {
            tracing::warn!(peer = %peer.short(), %error, "what the peer has not acknowledged could not be noted");
        }
        node.tell(NodeEvent::PeerDisconnected { device: peer, reason: result.clone() });
        node.lost.send_modify(|count| *count += 1);
    }
    tracing::debug!(peer = %peer.short(), reason = %result, "the session ended");
    node.stepped.send_modify(|count| *count += 1);
    was_ours
}

/// Everything a session does, and why it ended.
async fn converse(node: &Arc<Node>, link: &Link, session: &Arc<Mutex<Session>>) -> String {
    let (sender, receiver) = match link.control().await {
        Ok(halves) => halves,
        Err(error) => return error.to_string(),
    };
    let (inputs, mut input) = mpsc::channel::<Input>(INPUTS);
    let mut tasks = JoinSet::new();
    tasks.spawn(read_control(link.clone(), receiver, inputs.clone()).in_current_span());
    tasks.spawn(read_logs(link.clone(), inputs).in_current_span());
    let (controls, control_queue) = mpsc::unbounded_channel();
    let control_task = tokio::spawn(write_control(link.clone(), sender, control_queue).in_current_span());
    let mut writer =
        Writer { link: link.clone(), controls: Some(controls), control_task, logs: BTreeMap::new() };
    let mut grew = node.grew.subscribe();
    let mut stopping = node.stopping.subscribe();
    let mut looks = tokio::time::interval(LOOK_EVERY);

    let first = {
        let mut session = held(session);
        node.shared.with(|engine| session.start(engine))
    };
    if let Some(reason) = writer.put(node, first, &mut tasks).await {
        return reason;
    }
    loop {
        let next = tokio::select! {
            biased;
            next = input.recv() => match next {
                Some(input) => input,
                None => return end_of(link).await,
            },
            changed = grew.changed() => match changed {
                Ok(()) => Input::Grew,
                Err(_) => return "the node ended".to_owned(),
            },
            error = link.closed() => return error.to_string(),
            _ = looks.tick() => {
                node.listen(link);
                continue;
            }
            () = stopped(&mut stopping) => {
                link.close(CloseCode::Done, "this device is stopping");
                return "this device is stopping".to_owned();
            }
        };
        let is_first = matches!(next, Input::Control(Control::Hello(_)));
        let outputs = on_disk(|| {
            let mut session = held(session);
            node.shared.with(|engine| session.handle(engine, next, os::now()))
        });
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                tracing::error!(%error, "the store failed");
                link.close(CloseCode::Internal, "the store failed");
                return error.to_string();
            }
        };
        if is_first && !held(session).is_closed() && !register(node, link, session) {
            link.close(CloseCode::Done, "another link to this device is kept");
            return "another link to the device is kept".to_owned();
        }
        if let Some(reason) = writer.put(node, outputs, &mut tasks).await {
            return reason;
        }
        node.stepped.send_modify(|count| *count += 1);
    }
}

/// Makes this the peer's link, unless both dialled each other and the other link is the one to keep.
fn register(node: &Arc<Node>, link: &Link, session: &Arc<Mutex<Session>>) -> bool {
    let (own, peer) = (node.endpoint.device(), link.peer());
    let mut peers = held(&node.peers);
    if let Some(known) = peers.get(&peer) {
        let alive = known.link.close_reason().is_none();
        if alive && known.link.is_dialled() != link.is_dialled() {
            let dialler = if link.is_dialled() { own } else { peer };
            if dialler != dialler_to_keep(own, peer) {
                return false;
            }
        }
        known.link.close(CloseCode::Done, "a newer link to this device is kept");
    }
    peers.insert(peer, Peer { link: link.clone(), session: Arc::clone(session) });
    drop(peers);
    let address = link.remote_addr().to_string();
    let noted = on_disk(|| node.shared.with(|engine| engine.note_addresses(&peer, &[address])));
    if let Err(error) = noted {
        tracing::warn!(%error, "the peer's address was not kept");
    }
    node.tell(NodeEvent::PeerConnected { device: peer });
    true
}

/// Waits until the node stops. The guard that a watch returns must not live across an await.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stop| *stop).await);
}

async fn end_of(link: &Link) -> String {
    link.closed().await.to_string()
}

/// Where outputs go.
struct Writer {
    link: Link,
    controls: Option<mpsc::UnboundedSender<Control>>,
    control_task: JoinHandle<()>,
    logs: BTreeMap<LogId, mpsc::UnboundedSender<Box<Segment>>>,
}

impl Writer {
    /// Hands outputs to their streams. Some reason when the session is over.
    async fn put(
        &mut self,
        node: &Arc<Node>,
        outputs: Vec<Output>,
        tasks: &mut JoinSet<()>,
    ) -> Option<String> {
        for output in outputs {
            match output {
                Output::Control(message) => {
                    // A writer that ended has closed the link, which the loop notices.
                    let _ = self.controls.as_ref().map(|controls| controls.send(message));
                }
                Output::Segment(segment) => {
                    let log = segment.log;
                    let queue = self.logs.entry(log).or_insert_with(|| {
                        let (queue, segments) = mpsc::unbounded_channel();
                        tasks.spawn(write_log(self.link.clone(), log, segments).in_current_span());
                        queue
                    });
                    let _ = queue.send(segment);
                }
                Output::Events(events) => node.shared.tell(&events),
                Output::Close(code, text) => {
                    // The peer reads the reason as a message before the link's own close, if it reads at all.
                    self.controls = None;
                    let _ = timeout(LAST_WORD, &mut self.control_task).await;
                    self.link.close(code, &text);
                    return Some(text);
                }
            }
        }
        None
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.control_task.abort();
    }
}

async fn write_control(link: Link, mut sender: ControlSender, mut queue: mpsc::UnboundedReceiver<Control>) {
    while let Some(message) = queue.recv().await {
        if let Err(error) = sender.send(&message).await {
            tracing::debug!(%error, "the control stream ended");
            // A session that cannot answer would only stall its peer.
            link.close(CloseCode::Internal, "the control stream ended");
            return;
        }
    }
    if let Err(error) = sender.finish().await {
        tracing::debug!(%error, "the control stream was not finished");
    }
}

async fn write_log(link: Link, log: LogId, mut segments: mpsc::UnboundedReceiver<Box<Segment>>) {
    let mut sender = link.log(log);
    while let Some(segment) = segments.recv().await {
        if let Err(error) = sender.send(&segment).await {
            tracing::debug!(%log, %error, "a log stream ended");
            return;
        }
    }
}

async fn read_control(link: Link, mut receiver: ControlReceiver, inputs: mpsc::Sender<Input>) {
    // A link costs its peer nothing: one that does not say who it is for is not kept.
    let Ok(mut next) = tokio::time::timeout(FIRST_WORD, receiver.recv()).await else {
        link.close(CloseCode::Protocol, "nothing was said in time");
        return;
    };
    loop {
        match next {
            Ok(Some(message)) => {
                if inputs.send(Input::Control(message)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the control stream ended");
                tell_breach(&inputs, &error).await;
                return;
            }
        }
        next = receiver.recv().await;
    }
}

async fn read_logs(link: Link, inputs: mpsc::Sender<Input>) {
    let mut acceptor = link.logs();
    let mut readers = JoinSet::new();
    loop {
        match acceptor.accept_log().await {
            Ok(Some((_, receiver))) => {
                drop(readers.spawn(read_log(receiver, inputs.clone()).in_current_span()))
            }
            Ok(None) => return,
            Err(error) => {
                if link.close_reason().is_some() {
                    return;
                }
                tracing::debug!(%error, "a log stream did not begin well");
                tell_breach(&inputs, &error).await;
            }
        }
        while readers.try_join_next().is_some() {}
    }
}

async fn read_log(mut receiver: LogReceiver, inputs: mpsc::Sender<Input>) {
    loop {
        match receiver.recv().await {
            Ok(Some(segment)) => {
                if inputs.send(Input::Segment(Box::new(segment))).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(log = %receiver.log(), %error, "a log stream ended");
                tell_breach(&inputs, &error).await;
                return;
            }
        }
    }
}

/// Has the session end where a stream ended because of what the peer sent. A stream that was cut is nobody's fault.
async fn tell_breach(inputs: &mpsc::Sender<Input>, error: &LinkError) {
    let is_breach = match error {
        LinkError::Frame(error) => !matches!(error, FrameError::Truncated { .. }),
        LinkError::Message(_) | LinkError::OtherLog { .. } => true,
        _ => false,
    };
    if is_breach {
        // A session that is over has nothing to end.
        let _ = inputs.send(Input::Broken(chain(error))).await;
    }
}
