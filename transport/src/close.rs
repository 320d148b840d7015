//! Why a link or a stream ended: the peer's words when it said some, else what the network did.
//!
//! QUIC carries a number and a text when an application closes a connection. The number is a
//! [`CloseCode`] plus `BASE`; the text is for people, comes from the peer, and is cleaned before it is shown.

use crate::frame::FrameError;
use quinn::{ConnectionError, ReadError, StoppedError, VarInt, WriteError};
use std::fmt;
use syncd_schema::LogId;
use syncd_schema::cbor::CborError;
use syncd_schema::message::CloseCode;

/// Codes start above 0, which QUIC sends when a connection is dropped without a word: a crash is no goodbye.
const BASE: u32 = 0x100;
/// A close text longer than this is cut: it shares one packet with the frame that carries it.
pub const CLOSE_TEXT_BYTES: usize = 256;

/// What the peer said when it closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The reason; none when the peer went without one, or named one of a newer version.
    pub code: Option<CloseCode>,
    /// The peer's words, printable and at most [`CLOSE_TEXT_BYTES`]: to be shown, not to be acted on.
    pub text: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.code {
            Some(CloseCode::Done) => "it has nothing more to say",
            Some(CloseCode::Version) => "no protocol version in common; update the older of the two devices",
            Some(CloseCode::UnknownKey) => "this device is no member of its workspace; ask for an invitation",
            Some(CloseCode::Workspace) => "it does not have this workspace",
            Some(CloseCode::Protocol) => "it saw this device break the protocol; update both devices",
            Some(CloseCode::Internal) => "it cannot go on; see its own log",
            None => "it gave no reason it could be read by; it may have been stopped",
        })?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " ({})", self.text) }
    }
}

/// Why nothing more comes or goes on a link or one of its streams.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer closed the link.
    #[error("the peer closed the link: {0}")]
    Closed(Closed),
    /// This side closed the link.
    #[error("the link was closed by this device")]
    ClosedHere,
    /// Nothing was heard from the peer for longer than a link may be silent.
    #[error("the peer does not answer any more; the link is dialled again when it is reachable")]
    TimedOut,
    /// The connection broke otherwise.
    #[error("the connection to the peer failed")]
    Lost(#[source] ConnectionError),
    /// The peer gave up this stream, the link lives on.
    #[error("the peer gave up the stream (code {code})")]
    StreamEnded {
        /// The code it gave.
        code: u64,
    },
    /// An earlier error or `finish` ended this stream on this side.
    #[error("the stream was ended on this side")]
    StreamOver,
    /// Not a frame.
    #[error("the peer sent a broken frame")]
    Frame(#[from] FrameError),
    /// A frame that is not a message.
    #[error("the peer sent a message that cannot be read")]
    Message(#[from] CborError),
    /// A segment of another log than its stream's.
    #[error("a segment of log {found} on the stream of log {expected}")]
    OtherLog {
        /// The stream's log.
        expected: LogId,
        /// The segment's.
        found: LogId,
    },
    /// The first message was not a Hello, or did not come in time.
    #[error("the peer did not open the session; is it a device of this version?")]
    NoHello,
    /// A sync session was asked of a link for pairing, or the other way round.
    #[error("the link was opened for another purpose")]
    Purpose,
}

impl LinkError {
    /// A close that came as a message, before the connection's own.
    pub(crate) fn said(code: CloseCode, text: &str) -> Self {
        Self::Closed(Closed { code: Some(code), text: printable(text.as_bytes()) })
    }

    /// What the peer said when it closed, if that is what happened.
    #[must_use]
    pub fn closed(&self) -> Option<&Closed> {
        match self {
            Self::Closed(closed) => Some(closed),
            _ => None,
        }
    }
}

pub(crate) fn to_wire(code: CloseCode) -> VarInt {
    let number: u32 = match code {
        CloseCode::Done => 0,
        CloseCode::Version => 1,
        CloseCode::UnknownKey => 2,
        CloseCode::Workspace => 3,
        CloseCode::Protocol => 4,
        CloseCode::Internal => 5,
    };
    VarInt::from_u32(BASE + number)
}

fn from_wire(number: u64) -> Option<CloseCode> {
    match number.checked_sub(u64::from(BASE))? {
        0 => Some(CloseCode::Done),
        1 => Some(CloseCode::Version),
        2 => Some(CloseCode::UnknownKey),
        3 => Some(CloseCode::Workspace),
        4 => Some(CloseCode::Protocol),
        5 => Some(CloseCode::Internal),
        _ => None,
    }
}

/// Cuts a text at a character's edge.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(CLOSE_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    cut(&text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed(Closed {
                code: from_wire(close.error_code.into_inner()),
                text: printable(&close.reason),
            }),
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::VersionMismatch
            | ConnectionError::TransportError(_)
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::CidsExhausted => Self::Lost(error),
        }
    }
}

impl From<ReadError> for LinkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::StreamEnded { code: code.into_inner() },
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
                Self::StreamOver
            }
        }
    }
}

impl From<WriteError> for LinkError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::StreamEnded { code: code.into_inner() },
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::StreamOver,
        }
    }
}

impl From<StoppedError> for LinkError {
    fn from(error: StoppedError) -> Self {
        match error {
            StoppedError::ConnectionLost(error) => error.into(),
            StoppedError::ZeroRttRejected => Self::StreamOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back_and_a_drop_has_none() {
        for code in [
            CloseCode::Done,
            CloseCode::Version,
            CloseCode::UnknownKey,
            CloseCode::Workspace,
            CloseCode::Protocol,
            CloseCode::Internal,
        ] {
            assert_eq!(from_wire(to_wire(code).into_inner()), Some(code));
        }
        assert_eq!(from_wire(0), None);
        assert_eq!(from_wire(u64::MAX), None);
    }

    #[test]
    fn texts_are_cut_and_cleaned() {
        assert_eq!(cut(&"ä".repeat(200)).len(), CLOSE_TEXT_BYTES);
        assert_eq!(cut(&format!("x{}", "ä".repeat(200))).len(), CLOSE_TEXT_BYTES - 1);
        assert_eq!(printable(b"red\x1b[31m\n"), "red [31m ");
    }
}
