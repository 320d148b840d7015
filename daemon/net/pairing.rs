//! Invite and join: the pairing protocol of the transport, with this device's engine behind it.

use super::{NetError, Node, NodeEvent, on_disk};
use crate::os;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use syncd_engine::workspace::{MemberError, Welcome};
use syncd_schema::ticket::Ticket;
use syncd_schema::{DeviceId, Digest, UnixMicros};
use syncd_transport::pairing::{
    self, Candidate, Code, InviteError, InviterHost, JoinRequest, JoinerHost, OpenTicket, Refusal, TicketUse,
};
use syncd_transport::{Endpoint, Identity, Link, Purpose};
use tracing::Instrument;
use zeroize::Zeroizing;

/// What joining brought.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What the inviter gave.
    pub welcome: Welcome,
    /// The code both sides showed.
    pub code: String,
}

/// Serves one pairing link.
pub(super) async fn invite(node: &Arc<Node>, link: Link) {
    let device = link.peer();
    let span = tracing::info_span!("pairing", peer = %device.short());
    serve(node, link, device).instrument(span).await;
}

async fn serve(node: &Arc<Node>, link: Link, device: DeviceId) {
    let mut host = Host { node: Arc::clone(node), joiner: device, asked: false, ticket: None };
    let this = node.endpoint.device();
    match pairing::invite(&link, this, &mut host, &mut os::SystemEntropy).await {
        Ok(joined) => {
            node.tell(NodeEvent::Joined { device, name: joined.name, code: joined.code.to_string() });
        }
        // A joiner dials every address of a ticket at once and keeps one link: the others end before a word was said.
        Err(error @ InviteError::Link(_)) if !host.asked => {
            tracing::debug!(%error, "a link ended before its pairing began");
        }
        Err(error) => {
            tracing::warn!(%error, "a pairing failed");
            // Told each time: the finding about it is news only once.
            node.tell(NodeEvent::PairingRefused { device, ticket: host.ticket, reason: error.to_string() });
            let noted = on_disk(|| {
                node.shared.with(|engine| engine.note_refused_pairing(device, &error.to_string(), os::now()))
            });
            match noted {
                Ok(events) => node.shared.tell(&events),
                Err(error) => tracing::error!(%error, "the refused pairing was not put on record"),
            }
        }
    }
}

struct Host {
    node: Arc<Node>,
    joiner: DeviceId,
    /// Whether the joiner has named a ticket.
    asked: bool,
    /// The ticket that the joiner came with, once it is found.
    ticket: Option<Digest>,
}

impl InviterHost for Host {
    fn now(&self) -> UnixMicros {
        os::now()
    }

    async fn find_ticket(&mut self, name: Digest) -> Option<OpenTicket> {
        self.asked = true;
        let found = on_disk(|| {
            self.node
                .shared
                .with(|engine| Ok::<_, MemberError>((engine.workspace(), engine.invitation(&name)?)))
        });
        self.ticket = found.as_ref().ok().and_then(|(_, invitation)| invitation.as_ref().map(|_| name));
        match found {
            Ok((workspace, invitation)) => invitation.map(|invitation| OpenTicket {
                workspace,
                secret: invitation.secret,
                role: invitation.role,
                expires: invitation.expires,
                used: invitation.used,
                confirm: invitation.confirm,
            }),
            Err(error) => {
                tracing::error!(%error, "the ticket cannot be read");
                None
            }
        }
    }

    async fn use_ticket(&mut self, name: Digest) -> TicketUse {
        let joiner = self.joiner;
        let used = on_disk(|| self.node.shared.with(|engine| engine.use_ticket(&name, joiner, os::now())));
        match used {
            Ok(()) => TicketUse::Recorded,
            Err(MemberError::Used) => TicketUse::UsedBefore,
            Err(error) => {
                tracing::warn!(%error, "the ticket was not used up");
                TicketUse::Failed
            }
        }
    }

    fn show_code(&mut self, code: Code) {
        self.node.tell(NodeEvent::PairingCode { code: code.to_string() });
    }

    async fn ask_code(&mut self, device: DeviceId, name: String) -> Option<String> {
        let mut confirmations = self.node.confirmations.subscribe();
        self.node.confirmations.send_replace(None);
        self.node.tell(NodeEvent::ConfirmationWanted { device, name });
        let typed = confirmations.wait_for(Option::is_some).await.ok()?;
        typed.clone()
    }

    async fn enrol(&mut self, request: JoinRequest) -> Result<Vec<u8>, Refusal> {
        let signature: [u8; 64] =
            request.key_signature.as_slice().try_into().map_err(|_| Refusal::BadProof)?;
        let enrolled = on_disk(|| {
            self.node.shared.with(|engine| {
                engine.enrol(
                    request.device,
                    &request.name,
                    request.role,
                    request.key_agreement,
                    &signature,
                    os::now(),
                )
            })
        });
        match enrolled {
            Ok((welcome, events)) => {
                self.node.shared.tell(&events);
                Ok(welcome.to_bytes())
            }
            Err(MemberError::Write(_) | MemberError::NotPermitted | MemberError::Full) => {
                Err(Refusal::NotPermitted)
            }
            Err(error) => {
                tracing::error!(%error, "the device was not enrolled");
                Err(Refusal::Internal)
            }
        }
    }
}

/// Joins with a ticket: proves it to the inviter, shows the code, and returns the welcome to be stored.
///
/// # Errors
/// When the inviter does not answer or refuses; the reason says what to do.
pub async fn join(
    seed: &Zeroizing<[u8; 32]>,
    identity: &syncd_engine::Identity,
    name: &str,
    ticket: &Ticket,
    on_code: impl FnOnce(&str) + Send,
) -> Result<Joined, NetError> {
    let transport = Identity::from_seed(seed)?;
    let this = transport.device();
    let endpoint = Endpoint::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), transport)?;
    let link = endpoint.connect_any(&ticket.socket_addresses(), ticket.inviter, Purpose::Pair).await?;
    let candidate = Candidate {
        name: name.to_owned(),
        key_agreement: identity.key_agreement(),
        key_signature: identity.key_signature(&ticket.workspace).to_vec(),
    };
    let mut host = Joining { on_code: Some(on_code), welcome: None, ticket };
    let code = pairing::join(&link, this, ticket, candidate, &mut host, &mut os::SystemEntropy).await?;
    endpoint.close(syncd_schema::message::CloseCode::Done, "").await;
    let welcome = host.welcome.ok_or(NetError::Join(pairing::JoinError::Timeout))?;
    Ok(Joined { welcome, code: code.to_string() })
}

struct Joining<'a, F> {
    on_code: Option<F>,
    welcome: Option<Welcome>,
    ticket: &'a Ticket,
}

impl<F: FnOnce(&str) + Send> JoinerHost for Joining<'_, F> {
    fn show_code(&mut self, code: Code) {
        if let Some(show) = self.on_code.take() {
            show(&code.to_string());
        }
    }

    async fn install(&mut self, welcome: Vec<u8>) -> Result<(), Refusal> {
        let welcome = Welcome::from_bytes(&welcome).map_err(|_| Refusal::Protocol)?;
        if welcome.genesis.workspace() != self.ticket.workspace {
            return Err(Refusal::BadProof);
        }
        self.welcome = Some(welcome);
        Ok(())
    }
}
