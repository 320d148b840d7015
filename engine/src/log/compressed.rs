//! A run's body as it is kept: one byte that names the compression, and the body, left plain where that is no longer.

use std::borrow::Cow;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// zstd's own default: better than 1 by a tenth on our runs, and still faster than the network.
pub const LEVEL: i32 = 3;
/// Below this a frame header costs more than compression gains.
const COMPRESS_FROM: usize = 256;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

thread_local! {
    /// What zstd works with. To make it for each run took longer than to open a small one.
    static OPENER: RefCell<Decompressor<'static>> = RefCell::default();
}

/// An encoded run.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Compression byte and body.
    pub bytes: Vec<u8>,
    /// Size of the body once decompressed.
    pub open_len: usize,
}

/// Why bytes do not open to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Neither of the compressions that there are.
    #[error("unknown compression")]
    Compression,
    /// Another size than was said.
    #[error("it opens to another size than it says")]
    Size,
    /// Does not decompress, or to more than was said.
    #[error("it does not open to the {limit} bytes that were announced")]
    TooLarge {
        /// The announced size.
        limit: usize,
    },
}

/// Compresses a body, if that makes it shorter.
#[must_use]
pub fn compress(body: &[u8], level: i32) -> Encoded {
    let open_len = body.len();
    if open_len >= COMPRESS_FROM
        && let Ok(packed) = Compressor::new(level).and_then(|mut zstd| zstd.compress(body))
        && packed.len() < open_len
    {
        return Encoded { bytes: [&[ZSTD], packed.as_slice()].concat(), open_len };
    }
    Encoded { bytes: [&[PLAIN], body].concat(), open_len }
}

/// The body, which is of exactly `open_len` bytes; the caller bounds them, since so much is allocated.
///
/// # Errors
/// When it is of another size, or there is none.
pub fn open(bytes: &[u8], open_len: usize) -> Result<Cow<'_, [u8]>, OpenError> {
    let body = match bytes.split_first() {
        Some((&PLAIN, body)) => Cow::Borrowed(body),
        // The decompressor writes into a buffer of this capacity and fails when it is full.
        Some((&ZSTD, packed)) => OPENER
            .with_borrow_mut(|zstd| zstd.decompress(packed, open_len))
            .map(Cow::Owned)
            .map_err(|_| OpenError::TooLarge { limit: open_len })?,
        _ => return Err(OpenError::Compression),
    };
    if body.len() == open_len { Ok(body) } else { Err(OpenError::Size) }
}
