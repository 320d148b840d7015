//! One UDP socket that dials and accepts, and every setting of QUIC with its reason.
//!
//! What a link is used for is chosen by its ALPN protocol: sync or pairing. Endpoints know keys and addresses,
//! not members: whoever proves to hold some key gets as far as one control stream.

use crate::close::{Closed, LinkError, cut, to_wire};
use crate::link::{Link, Purpose};
use crate::tls::{Identity, peer_device};
use quinn::crypto::rustls::{HandshakeData, NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use syncd_schema::message::CloseCode;
use syncd_schema::{DeviceId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A link on which nothing is heard for this long is over: short enough that `status` is soon honest about a peer
/// that went to sleep, long enough for a phone that changes networks.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The dialler pings this often, so that two lost pings do not end a link, and so that a peer that is silent for longer can
/// be told from one with nothing to say. One side is enough: the answer keeps the other side's timer going.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A handshake takes two round trips of at most a second on the worst link one would sync over; five allow for a
/// lost packet or two.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at once: each costs a signature and a verification, about 0.3 ms of one core.
pub const HANDSHAKES: usize = 64;
/// First packets kept while [`HANDSHAKES`] are under way. Later ones are refused, and their senders retry.
pub const WAITING: usize = 256;
/// What a first packet's sender may send before we look at it: no early data is expected, so little.
const WAITING_BYTES: u64 = 16 << 10;
/// Links at once: two for each device, since both may dial at the same moment.
pub const LINKS: usize = 2 * limits::DEVICES;
/// Log streams that a peer may have open at once: one for each device's newest log, and a quarter more, because
/// quinn grants new streams only once an eighth of them has ended.
pub const LOG_STREAMS: u32 = limits::DEVICES as u32 / 4 * 5;
/// What a stream may send before its receiver reads: 5 MB/s for each log at 50 ms round trip.
pub const STREAM_WINDOW: u32 = 256 << 10;
/// What a connection may send before anything is read. Room for every stream it may open, so that logs which
/// nobody reads cannot use up what the others need; and a quarter more, because quinn grants a connection new room
/// only once an eighth of its window was read. It is reserved by nobody until it arrives.
pub const LINK_WINDOW: u32 = (LOG_STREAMS + 1) * STREAM_WINDOW / 4 * 5;
/// What is kept to be sent again: 20 MB/s at 100 ms round trip, and little enough that a control message does not
/// wait long behind segments already handed over.
pub const SEND_WINDOW: u64 = 2 << 20;
/// The socket's buffers, where the system permits: its default of 200 kB drops packets at more than 100 MB/s.
const SOCKET_BUFFER: usize = 2 << 20;
/// How long closing waits for the peers to hear of it.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The name TLS wants for a server; it is not sent, and keys take its place (RFC 6761 keeps it unused).
const SERVER_NAME: &str = "device.invalid";

/// Why no socket could be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system refused.
    #[error("cannot listen on {listen}; choose another address or port, or stop what uses it")]
    Socket {
        /// The address asked for.
        listen: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The TLS library refused the key or its settings.
    #[error("the device key cannot be used for TLS; restore the device's key file from its backup")]
    Tls(#[from] rustls::Error),
    /// The TLS library lacks what QUIC needs.
    #[error("this build cannot speak QUIC")]
    Suite(#[from] NoInitialCipherSuite),
}

/// Why there is no link to an address.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The expected device is this one.
    #[error("{0} is this device")]
    Myself(SocketAddr),
    /// Another device is there.
    #[error("at {addr} is device {}, not {}; check the address", .found.short(), .expected.short())]
    OtherDevice {
        /// The address.
        addr: SocketAddr,
        /// The device that was wanted.
        expected: DeviceId,
        /// The device that answered.
        found: DeviceId,
    },
    /// No usable address, or this endpoint is closed.
    #[error("cannot dial {addr}")]
    Address {
        /// The address.
        addr: SocketAddr,
        /// QUIC's reason.
        #[source]
        source: quinn::ConnectError,
    },
    /// The TLS settings could not be made.
    #[error("cannot prepare to dial {addr}")]
    Tls {
        /// The address.
        addr: SocketAddr,
        /// The TLS library's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody answered in time.
    #[error("nobody answers at {0}; is the other device's daemon running, and UDP let through?")]
    Timeout(SocketAddr),
    /// The handshake failed, or the peer refused.
    #[error("no link to {addr}")]
    Handshake {
        /// The address.
        addr: SocketAddr,
        /// What happened.
        #[source]
        source: LinkError,
    },
}

/// Why an incoming connection became no link.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The peer did not finish the handshake in time.
    #[error("{0} did not finish the handshake in time")]
    Timeout(SocketAddr),
    /// The handshake failed.
    #[error("the handshake with {addr} failed")]
    Handshake {
        /// The peer's address.
        addr: SocketAddr,
        /// What happened.
        #[source]
        source: LinkError,
    },
    /// No key or no protocol: cannot happen while TLS demands both, and is refused if it ever does.
    #[error("{0} gave no key or no protocol")]
    Anonymous(SocketAddr),
}

/// A socket that dials and accepts. Clones are handles of the same one.
#[derive(Clone, Debug)]
pub struct Endpoint {
    quic: quinn::Endpoint,
    identity: Identity,
    handshakes: Arc<Semaphore>,
}

impl Endpoint {
    /// Opens the socket. Must be called within a tokio runtime, which then drives it.
    ///
    /// # Errors
    /// When the address is taken or not this host's, or the key is unusable.
    pub fn bind(listen: SocketAddr, identity: Identity) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { listen, source };
        let socket = UdpSocket::bind(listen).map_err(failed)?;
        enlarge_buffers(&socket);
        let server = server_config(&identity)?;
        let config = EndpointConfig::default();
        let quic =
            quinn::Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime)).map_err(failed)?;
        Ok(Self { quic, identity, handshakes: Arc::new(Semaphore::new(HANDSHAKES)) })
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.identity.device()
    }

    /// The address of the socket, with the port that the system chose when 0 was asked for.
    ///
    /// # Errors
    /// When the system cannot say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// Dials one address, and fails if anybody but `expected` answers.
    ///
    /// Success means that *this* side knows the peer. Whether the peer takes this device shows only when its
    /// `Hello` arrives ([`crate::ControlReceiver::hello`]): TLS tells a client nothing of the server's judgement.
    ///
    /// # Errors
    /// When nobody answers in time, another device does, or the handshake fails.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expected: DeviceId,
        purpose: Purpose,
    ) -> Result<Link, ConnectError> {
        if expected == self.device() {
            return Err(ConnectError::Myself(addr));
        }
        let pin = self.identity.pin(expected);
        let config = client_config(&self.identity, pin.clone(), purpose)
            .map_err(|source| ConnectError::Tls { addr, source })?;
        let connecting = self
            .quic
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|source| ConnectError::Address { addr, source })?;
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Err(_) => Err(ConnectError::Timeout(addr)),
            Ok(Ok(connection)) => Ok(Link::dialled(connection, expected, purpose)),
            Ok(Err(error)) => Err(match pin.other() {
                Some(found) => ConnectError::OtherDevice { addr, expected, found },
                None => ConnectError::Handshake { addr, source: error.into() },
            }),
        }
    }

    /// The next connection that somebody dials; none when the endpoint is closed. Cancelling loses none.
    ///
    /// Handshakes run in [`Incoming::link`], of which at most [`HANDSHAKES`] are under way: spawn each.
    pub async fn accept(&self) -> Option<Incoming> {
        loop {
            let permit = self.handshakes.clone().acquire_owned().await.ok()?;
            let incoming = self.quic.accept().await?;
            if self.quic.open_connections() >= LINKS {
                tracing::warn!(addr = %incoming.remote_address(), limit = LINKS, "link refused: too many");
                incoming.refuse();
                continue;
            }
            return Some(Incoming { quic: incoming, _permit: permit });
        }
    }

    /// Closes every link with this reason, stops accepting, and waits a moment for the peers to hear of it.
    pub async fn close(&self, code: CloseCode, text: &str) {
        self.quic.close(to_wire(code), cut(text).as_bytes());
        // Whoever does not hear it in time learns from silence.
        let _ = timeout(CLOSE_WAIT, self.quic.wait_idle()).await;
    }
}

/// A connection that somebody dialled, before its handshake.
#[derive(Debug)]
pub struct Incoming {
    quic: quinn::Incoming,
    _permit: OwnedSemaphorePermit,
}

impl Incoming {
    /// The dialler's address, which is not yet proven to be its own.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// When it fails or takes too long.
    pub async fn link(self) -> Result<Link, AcceptError> {
        let addr = self.quic.remote_address();
        let failed = |error: quinn::ConnectionError| AcceptError::Handshake { addr, source: error.into() };
        let connecting = self.quic.accept().map_err(failed)?;
        let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| AcceptError::Timeout(addr))?
            .map_err(failed)?;
        match (peer_device(&connection), purpose_of(&connection)) {
            (Some(peer), Some(purpose)) => Ok(Link::accepted(connection, peer, purpose)),
            (None, _) | (_, None) => {
                connection.close(to_wire(CloseCode::Protocol), b"");
                Err(AcceptError::Anonymous(addr))
            }
        }
    }

    /// Says no at once.
    pub fn refuse(self) {
        self.quic.refuse();
    }
}

fn purpose_of(connection: &quinn::Connection) -> Option<Purpose> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Purpose::of_protocol(data.protocol.as_deref()?)
}

/// Larger buffers are a wish: the system may grant less, and syncs more slowly then.
fn enlarge_buffers(socket: &UdpSocket) {
    let socket = socket2::SockRef::from(socket);
    if let Err(error) =
        socket.set_recv_buffer_size(SOCKET_BUFFER).and_then(|()| socket.set_send_buffer_size(SOCKET_BUFFER))
    {
        tracing::debug!(%error, "socket buffers stay as they are");
    }
}

fn transport(keep_alive: Option<Duration>, control_streams: u32, log_streams: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        // Probing for larger packets costs 12 kB a connection, most of a sync that finds nothing new.
        .mtu_discovery_config(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32))))
        .keep_alive_interval(keep_alive)
        .max_concurrent_bidi_streams(control_streams.into())
        .max_concurrent_uni_streams(log_streams.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(LINK_WINDOW.into())
        .send_window(SEND_WINDOW)
        // Datagrams are not used: their buffer would be a peer's to fill.
        .datagram_receive_buffer_size(None);
    config
}

fn server_config(identity: &Identity) -> Result<quinn::ServerConfig, BindError> {
    let tls = identity.server_config(&[Purpose::Sync.protocol(), Purpose::Pair.protocol()])?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config
        // A stranger gets its control stream and no more; log streams are granted with our Hello.
        .transport_config(Arc::new(transport(None, 1, 0)))
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES * 16);
    Ok(config)
}

fn client_config(
    identity: &Identity,
    pin: Arc<crate::tls::Pin>,
    purpose: Purpose,
) -> Result<quinn::ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
    let tls = identity.client_config(pin, purpose.protocol())?;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let log_streams = match purpose {
        Purpose::Sync => LOG_STREAMS,
        Purpose::Pair => 0,
    };
    config.transport_config(Arc::new(transport(Some(KEEP_ALIVE), 0, log_streams)));
    Ok(config)
}

impl ConnectError {
    /// The peer's own reason, if it gave one.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Handshake { source, .. } => source.closed(),
            Self::Myself(_)
            | Self::OtherDevice { .. }
            | Self::Address { .. }
            | Self::Tls { .. }
            | Self::Timeout(_) => None,
        }
    }
}
