//! The streams of logs: per log and direction one unidirectional stream of segments, opened by whoever sends.
//!
//! A stream's first frame names its log. A stream that stalls, even before its name is complete, holds up no
//! other. Segments are checked for size, form and log here; what they say is judged above.

use crate::close::LinkError;
use crate::endpoint::LOG_STREAMS;
use crate::frame::{FrameReader, FrameWriter};
use quinn::{Connection, ConnectionError, RecvStream};
use syncd_schema::cbor;
use syncd_schema::message::{CloseCode, Segment};
use syncd_schema::{LogId, limits};
use tokio::task::JoinSet;

/// The first frame of a log stream: a workspace id, a device id and an epoch.
pub const LOG_NAME_BYTES: usize = 64;

/// Sends the segments of one log.
#[derive(Debug)]
pub struct LogSender {
    connection: Connection,
    log: LogId,
    writer: Option<FrameWriter>,
}

impl LogSender {
    pub(crate) fn new(connection: Connection, log: LogId) -> Self {
        Self { connection, log, writer: None }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Sends a segment, opening the stream if this is the first. Waits while the peer does not read, or while it
    /// has granted no stream: see [`LogSender::finish`].
    ///
    /// A cancelled send may have sent part of its segment; the rest goes out before the next one.
    ///
    /// # Errors
    /// When the segment is of another log or too large, the peer gave up the stream, or the link is over.
    pub async fn send(&mut self, segment: &Segment) -> Result<(), LinkError> {
        if segment.log != self.log {
            return Err(LinkError::OtherLog { expected: self.log, found: segment.log });
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let stream = self.connection.open_uni().await?;
                let mut writer = FrameWriter::new(stream, limits::LOG_FRAME_BYTES);
                writer.queue(&cbor::encode(&self.log))?;
                none.insert(writer)
            }
        };
        writer.send(&segment.to_bytes()).await
    }

    /// Ends the stream and waits until the peer's side of QUIC has everything. A log can be sent again later, on a
    /// new stream. At most [`LOG_STREAMS`] are open at once: finish those with nothing more to send when there are
    /// more logs than that.
    ///
    /// # Errors
    /// When the link ends first, or the peer gave up the stream.
    pub async fn finish(self) -> Result<(), LinkError> {
        match self.writer {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }
}

/// Receives the segments of one log. Dropping it tells the peer to send no more of it.
#[derive(Debug)]
pub struct LogReceiver {
    reader: FrameReader,
    log: LogId,
}

impl LogReceiver {
    /// The log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// The next segment; none when the peer finished the stream. May be cancelled and repeated: nothing is lost.
    ///
    /// # Errors
    /// When the link is over, or the peer sends what is no segment of this log; nothing is read after that.
    pub async fn recv(&mut self) -> Result<Option<Segment>, LinkError> {
        let Some(frame) = self.reader.recv().await? else { return Ok(None) };
        let checked = match Segment::from_bytes(&frame) {
            Ok(segment) if segment.log == self.log => Ok(Some(segment)),
            Ok(segment) => Err(LinkError::OtherLog { expected: self.log, found: segment.log }),
            Err(error) => Err(error.into()),
        };
        if checked.is_err() {
            self.reader.stop(CloseCode::Protocol);
        }
        checked
    }
}

/// Accepts the peer's log streams.
#[derive(Debug)]
pub struct LogAcceptor {
    connection: Connection,
    /// Streams whose name has not arrived yet; at most [`LOG_STREAMS`], since the peer may open no more.
    unnamed: JoinSet<Result<(LogId, LogReceiver), LinkError>>,
}

impl LogAcceptor {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, unnamed: JoinSet::new() }
    }

    /// The next stream that has named its log; none when the link was closed, by whomever, with
    /// [`CloseCode::Done`] or from this side. A log may come again on a new stream after its last one ended.
    /// Cancelling loses nothing.
    ///
    /// # Errors
    /// When the link ended otherwise, or a stream did not begin with the name of a log; the others go on then, and
    /// so may the caller.
    pub async fn accept_log(&mut self) -> Result<Option<(LogId, LogReceiver)>, LinkError> {
        loop {
            tokio::select! {
                Some(named) = self.unnamed.join_next() => match named {
                    Ok(result) => return result.map(Some),
                    // The task was cancelled: only this set's own drop does that.
                    Err(_) => continue,
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => {
                        debug_assert!(self.unnamed.len() <= LOG_STREAMS as usize);
                        self.unnamed.spawn(name(stream));
                    }
                    Err(error) => return end(error),
                },
            }
        }
    }
}

fn end(error: ConnectionError) -> Result<Option<(LogId, LogReceiver)>, LinkError> {
    match LinkError::from(error) {
        LinkError::ClosedHere => Ok(None),
        LinkError::Closed(closed) if closed.code == Some(CloseCode::Done) => Ok(None),
        error => Err(error),
    }
}

/// Reads the first frame under its own small limit: a stranger to the protocol gets no megabyte to fill.
async fn name(stream: RecvStream) -> Result<(LogId, LogReceiver), LinkError> {
    let mut reader = FrameReader::new(stream, LOG_NAME_BYTES);
    let frame = reader.recv().await?.ok_or(LinkError::StreamOver)?;
    match cbor::decode("log name", &frame, LOG_NAME_BYTES) {
        Ok(log) => Ok((log, LogReceiver { reader: reader.with_limit(limits::LOG_FRAME_BYTES), log })),
        Err(error) => {
            reader.stop(CloseCode::Protocol);
            Err(error.into())
        }
    }
}
