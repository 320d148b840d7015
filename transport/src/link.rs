//! A link: one authenticated connection to one device, and its control stream.
//!
//! The dialler opens the one bidirectional control stream; logs travel beside it ([`crate::logs`]), each on
//! streams of their own, so that one which must wait delays neither another nor the conversation. A link knows who
//! the peer is. It does not know whether that is a member: each side's `Hello` says so, and the acceptor's is the
//! moment at which the dialler may open log streams.

use crate::close::{LinkError, cut, to_wire};
use crate::endpoint::{HANDSHAKE_TIMEOUT, LOG_STREAMS};
use crate::frame::{FrameReader, FrameWriter};
use crate::logs::{LogAcceptor, LogSender};
use quinn::Connection;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use syncd_schema::message::{CloseCode, Control, Hello};
use syncd_schema::{DeviceId, LogId, limits};
use tokio::time::timeout;

/// How long the peer may take to open the conversation: as long as its handshake, so that a stranger cannot hold
/// a link by saying nothing.
pub const HELLO_TIMEOUT: Duration = HANDSHAKE_TIMEOUT;
/// Control messages overtake segments that wait to be sent.
const CONTROL_PRIORITY: i32 = 1;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A sync session between members.
    Sync,
    /// Inviting and joining.
    Pair,
}

impl Purpose {
    /// The ALPN protocol.
    #[must_use]
    pub const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Sync => b"sourceos-syncd/1",
            Self::Pair => b"sourceos-syncd-pair/1",
        }
    }

    pub(crate) fn of_protocol(protocol: &[u8]) -> Option<Self> {
        [Self::Sync, Self::Pair].into_iter().find(|purpose| purpose.protocol() == protocol)
    }
}

/// What a link has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// UDP payload sent.
    pub sent_bytes: u64,
    /// UDP payload received.
    pub received_bytes: u64,
    /// The current estimate of the round trip.
    pub round_trip: Duration,
}

/// A connection to one device. Clones are handles of the same one; when the last handle and stream is dropped
/// without [`Link::close`], the peer is told that it ended, but not why.
#[derive(Clone)]
pub struct Link {
    connection: Connection,
    peer: DeviceId,
    purpose: Purpose,
    dialled: bool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?} with {} at {})", self.purpose, self.peer.short(), self.remote_addr())
    }
}

impl Link {
    pub(crate) fn dialled(connection: Connection, peer: DeviceId, purpose: Purpose) -> Self {
        Self { connection, peer, purpose, dialled: true }
    }

    pub(crate) fn accepted(connection: Connection, peer: DeviceId, purpose: Purpose) -> Self {
        Self { connection, peer, purpose, dialled: false }
    }

    /// The device at the other end, proven by its key.
    #[must_use]
    pub fn peer(&self) -> DeviceId {
        self.peer
    }

    /// What the dialler opened it for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Whether this side dialled.
    #[must_use]
    pub fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// The peer's address now; it may change while the link lives.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// What the link has cost so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        let stats = self.connection.stats();
        LinkStats {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            round_trip: stats.path.rtt,
        }
    }

    /// The control stream of a sync session; to be called once. The acceptor's waits for the dialler's first byte.
    ///
    /// # Errors
    /// When the link is for pairing, ends first, or the dialler says nothing for [`HELLO_TIMEOUT`].
    pub async fn control(&self) -> Result<(ControlSender, ControlReceiver), LinkError> {
        if self.purpose != Purpose::Sync {
            return Err(LinkError::Purpose);
        }
        let (writer, reader) = self.conversation(limits::CONTROL_BYTES, limits::CONTROL_BYTES).await?;
        Ok((ControlSender { writer, link: self.clone() }, ControlReceiver { reader }))
    }

    /// The one bidirectional stream, for frames up to these limits.
    pub(crate) async fn conversation(
        &self,
        send_limit: usize,
        receive_limit: usize,
    ) -> Result<(FrameWriter, FrameReader), LinkError> {
        let open = async {
            if self.dialled { self.connection.open_bi().await } else { self.connection.accept_bi().await }
        };
        let (send, receive) = timeout(HELLO_TIMEOUT, open).await.map_err(|_| LinkError::NoHello)??;
        let writer = FrameWriter::new(send, send_limit);
        writer.prefer(CONTROL_PRIORITY);
        Ok((writer, FrameReader::new(receive, receive_limit)))
    }

    /// A sender for one log. Its stream is opened by the first segment.
    #[must_use]
    pub fn log(&self, log: LogId) -> LogSender {
        LogSender::new(self.connection.clone(), log)
    }

    /// Where the peer's log streams come in; to be called once.
    #[must_use]
    pub fn logs(&self) -> LogAcceptor {
        LogAcceptor::new(self.connection.clone())
    }

    /// Ends the link at once, with a reason that the peer can read. What is still on its way is lost: a last
    /// message is delivered by [`ControlSender::finish`] before.
    pub fn close(&self, code: CloseCode, text: &str) {
        self.connection.close(to_wire(code), cut(text).as_bytes());
    }

    /// Waits until the link is over and says why. Cancelling has no effect on the link.
    pub async fn closed(&self) -> LinkError {
        self.connection.closed().await.into()
    }

    /// Why the link is over, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<LinkError> {
        self.connection.close_reason().map(LinkError::from)
    }

    /// 32 bytes that both ends of this one TLS session derive alike and nobody between two sessions can (RFC 8446,
    /// section 7.5).
    pub(crate) fn exporter(&self, label: &[u8]) -> Option<[u8; 32]> {
        let mut bytes = [0; 32];
        self.connection.export_keying_material(&mut bytes, label, b"").ok()?;
        Some(bytes)
    }

    #[cfg(test)]
    pub(crate) fn quic(&self) -> &Connection {
        &self.connection
    }
}

/// The sending half of the control stream. Messages leave at once and whole, also when a send was cancelled.
#[derive(Debug)]
pub struct ControlSender {
    writer: FrameWriter,
    link: Link,
}

impl ControlSender {
    /// Sends a message. Sending `Hello` is this side's consent to the peer: it grants it log streams.
    ///
    /// A cancelled send may have sent part of its message; the rest goes out before the next one.
    ///
    /// # Errors
    /// When the message is too large or the link is over.
    pub async fn send(&mut self, message: &Control) -> Result<(), LinkError> {
        if matches!(message, Control::Hello(_)) {
            self.link.connection.set_max_concurrent_uni_streams(LOG_STREAMS.into());
        }
        self.writer.send(&message.to_bytes()).await
    }

    /// Ends the stream and waits until the peer's side of QUIC has everything.
    ///
    /// # Errors
    /// When the link ends first, or the peer reads no more.
    pub async fn finish(self) -> Result<(), LinkError> {
        self.writer.finish().await
    }
}

/// The receiving half of the control stream. Its calls may be cancelled and repeated: nothing is lost.
#[derive(Debug)]
pub struct ControlReceiver {
    reader: FrameReader,
}

impl ControlReceiver {
    /// The first message, which must be the peer's `Hello`. For the dialler it is the proof of being accepted: a
    /// link exists before the peer has judged this device's key, and a refusal arrives here as
    /// [`LinkError::Closed`].
    ///
    /// # Errors
    /// When the peer closes instead (with its reason), says something else, or nothing for [`HELLO_TIMEOUT`].
    pub async fn hello(&mut self) -> Result<Hello, LinkError> {
        let first = timeout(HELLO_TIMEOUT, self.recv()).await.map_err(|_| LinkError::NoHello)??;
        match first {
            Some(Control::Hello(hello)) => Ok(hello),
            Some(Control::Close { code, text }) => Err(LinkError::said(code, &text)),
            // Anything else, and silence, is not how a session of any version begins.
            Some(_) | None => Err(LinkError::NoHello),
        }
    }

    /// The next message; none when the peer has finished its side.
    ///
    /// # Errors
    /// When the link is over, or the peer sends what is no message; nothing is read after that.
    pub async fn recv(&mut self) -> Result<Option<Control>, LinkError> {
        let Some(frame) = self.reader.recv().await? else { return Ok(None) };
        Control::from_bytes(&frame).map(Some).map_err(|error| {
            self.reader.stop(CloseCode::Protocol);
            error.into()
        })
    }
}
