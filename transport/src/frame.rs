//! Frames: four bytes of length, big-endian, then that many bytes. The length is judged before anything is
//! allocated for it, and memory then follows the bytes that arrive, not the bytes that were promised.
//!
//! The encoder and the decoder are pure; reader and writer put them on QUIC streams and survive being cancelled
//! at any await, so that callers may `select!` over them. What is in a frame is not known here.

use crate::close::LinkError;
use crate::close::to_wire;
use quinn::{RecvStream, SendStream};
use syncd_schema::message::CloseCode;

/// Bytes of the length.
pub const HEADER_BYTES: usize = 4;

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than its stream allows.
    #[error("a frame of {found} bytes, the limit is {limit}")]
    TooLarge {
        /// The length it claims.
        found: usize,
        /// The longest one accepted.
        limit: usize,
    },
    /// No message is empty, and endless empty frames would cost time without ever reaching a limit.
    #[error("an empty frame")]
    Empty,
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame: {present} of {needed} bytes are here")]
    Truncated {
        /// Bytes that arrived, of the header when `needed` is its size.
        present: usize,
        /// Bytes there should be.
        needed: usize,
    },
}

fn check(length: usize, limit: usize) -> Result<(), FrameError> {
    match length {
        0 => Err(FrameError::Empty),
        _ if length > limit => Err(FrameError::TooLarge { found: length, limit }),
        _ => Ok(()),
    }
}

/// Appends one frame to `out`.
///
/// # Errors
/// When the body is empty or beyond the limit; `out` is then unchanged.
pub fn encode(body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), FrameError> {
    check(body.len(), limit)?;
    let length = u32::try_from(body.len())
        .map_err(|_| FrameError::TooLarge { found: body.len(), limit: u32::MAX as usize })?;
    out.reserve(HEADER_BYTES + body.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
    Ok(())
}

/// Puts frames together from bytes as they come.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    header: Vec<u8>,
    length: Option<usize>,
    body: Vec<u8>,
}

impl Decoder {
    /// A decoder of frames of at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, header: Vec::with_capacity(HEADER_BYTES), length: None, body: Vec::new() }
    }

    /// How many bytes the next step needs: the rest of the header, or of the body.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match self.length {
            None => HEADER_BYTES.saturating_sub(self.header.len()),
            Some(length) => length.saturating_sub(self.body.len()),
        }
    }

    /// Takes bytes off the front of `input`, until a frame is complete or the input is used up.
    ///
    /// # Errors
    /// When a length is zero or beyond the limit. The stream has lost its rhythm then and is of no more use.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        if self.length.is_none() {
            let (head, rest) = input.split_at(self.wanted().min(input.len()));
            self.header.extend_from_slice(head);
            *input = rest;
            let Some(header) = self.header.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let length = u32::from_be_bytes(*header) as usize;
            check(length, self.limit)?;
            self.length = Some(length);
        }
        let (part, rest) = input.split_at(self.wanted().min(input.len()));
        self.body.extend_from_slice(part);
        *input = rest;
        if self.wanted() > 0 {
            return Ok(None);
        }
        self.header.clear();
        self.length = None;
        Ok(Some(std::mem::take(&mut self.body)))
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// When a frame has begun.
    pub fn end(&self) -> Result<(), FrameError> {
        match self.length {
            None if self.header.is_empty() => Ok(()),
            None => Err(FrameError::Truncated { present: self.header.len(), needed: HEADER_BYTES }),
            Some(needed) => Err(FrameError::Truncated { present: self.body.len(), needed }),
        }
    }
}

/// Reads frames from a stream. Cancelling [`FrameReader::recv`] loses nothing: what arrived stays in the decoder.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    decoder: Decoder,
    /// Set by [`FrameReader::stop`]: quinn would report a clean end after it.
    stopped: bool,
}

impl FrameReader {
    pub(crate) fn new(stream: RecvStream, limit: usize) -> Self {
        Self { stream, decoder: Decoder::new(limit), stopped: false }
    }

    /// The same stream from here on with another limit.
    pub(crate) fn with_limit(mut self, limit: usize) -> Self {
        self.decoder.limit = limit;
        self
    }

    /// The next frame; none when the peer finished the stream between two frames.
    pub(crate) async fn recv(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            if self.stopped {
                return Err(LinkError::StreamOver);
            }
            let Some(chunk) = self.stream.read_chunk(self.decoder.wanted(), true).await? else {
                return self.decoder.end().map(|()| None).map_err(LinkError::from);
            };
            match self.decoder.feed(&mut chunk.bytes.as_ref()) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => {
                    // Whatever follows would be read at the wrong place: later reads find the stream over.
                    self.stop(CloseCode::Protocol);
                    return Err(error.into());
                }
            }
        }
    }

    /// Tells the peer to send no more on this stream.
    pub(crate) fn stop(&mut self, code: CloseCode) {
        self.stopped = true;
        // Fails only when the stream is over already, which is what was wanted.
        let _ = self.stream.stop(to_wire(code));
    }
}

/// Writes frames to a stream, each handed to QUIC at once. A cancelled [`FrameWriter::send`] leaves the rest of
/// its frame here, and the next call writes that first: frames go out whole or the stream ends.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    stream: SendStream,
    limit: usize,
    pending: Vec<u8>,
    written: usize,
}

impl FrameWriter {
    pub(crate) fn new(stream: SendStream, limit: usize) -> Self {
        Self { stream, limit, pending: Vec::new(), written: 0 }
    }

    /// Lets this stream's data go before that of streams with lower priority; the default is 0.
    pub(crate) fn prefer(&self, priority: i32) {
        // Fails only when the stream is over already.
        let _ = self.stream.set_priority(priority);
    }

    /// Adds a frame without sending it: only for what belongs in one packet with the next frame.
    pub(crate) fn queue(&mut self, body: &[u8]) -> Result<(), FrameError> {
        encode(body, self.limit, &mut self.pending)
    }

    pub(crate) async fn send(&mut self, body: &[u8]) -> Result<(), LinkError> {
        // First what cancelled calls left, so that at most two frames are ever kept here.
        if self.written > 0 || self.pending.len() > self.limit {
            self.drain().await?;
        }
        self.queue(body)?;
        self.drain().await
    }

    async fn drain(&mut self) -> Result<(), LinkError> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            self.written += self.stream.write(rest).await?;
        }
        self.pending = Vec::new();
        self.written = 0;
        Ok(())
    }

    /// Ends the stream and waits until the peer has everything.
    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        self.drain().await?;
        self.stream.finish().map_err(|_| LinkError::StreamOver)?;
        match self.stream.stopped().await? {
            None => Ok(()),
            Some(code) => Err(LinkError::StreamEnded { code: code.into_inner() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(mut input: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut decoder = Decoder::new(limit);
        let mut found = Vec::new();
        while !input.is_empty() {
            found.extend(decoder.feed(&mut input)?);
        }
        decoder.end().map(|()| found)
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_at_the_header() {
        let mut decoder = Decoder::new(10);
        let found = u32::MAX as usize;
        let error = decoder.feed(&mut u32::MAX.to_be_bytes().as_slice()).expect_err("too large");
        assert_eq!(error, FrameError::TooLarge { found, limit: 10 });
        assert_eq!(decoder.body.capacity(), 0, "nothing was allocated for it");
        assert_eq!(encode(&[0; 11], 10, &mut Vec::new()), Err(FrameError::TooLarge { found: 11, limit: 10 }));
    }

    #[test]
    fn memory_follows_what_arrives() {
        let mut decoder = Decoder::new(1 << 20);
        decoder.feed(&mut [0, 0x10, 0, 0, 1, 2, 3].as_slice()).expect("accepted");
        assert!(decoder.body.capacity() < 1_024);
        assert_eq!(decoder.end(), Err(FrameError::Truncated { present: 3, needed: 1 << 20 }));
    }

    #[test]
    fn empty_and_cut_frames_are_errors() {
        assert_eq!(frames(&[0; 4], 10), Err(FrameError::Empty));
        assert_eq!(frames(&[0, 0], 10), Err(FrameError::Truncated { present: 2, needed: 4 }));
        assert_eq!(frames(&[0, 0, 0, 2, 9], 10), Err(FrameError::Truncated { present: 1, needed: 2 }));
    }

    proptest! {
        #[test]
        fn frames_come_back_however_the_bytes_are_cut(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 0..8),
            cut in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            for body in &bodies {
                encode(body, 200, &mut bytes).expect("encodes");
            }
            prop_assert_eq!(frames(&bytes, 200).expect("decodes"), bodies.clone());
            let mut decoder = Decoder::new(200);
            let mut found = Vec::new();
            for mut chunk in bytes.chunks(cut) {
                while !chunk.is_empty() {
                    found.extend(decoder.feed(&mut chunk).expect("decodes"));
                }
            }
            prop_assert_eq!(found, bodies);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = frames(&bytes, 100);
        }
    }
}
