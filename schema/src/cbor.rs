//! Deterministic CBOR (RFC 8949 section 4.2): definite lengths, shortest integers, fields in order.
//!
//! Everything hashed, signed, stored or sent is encoded here. Decoding refuses whatever this encoder would not
//! have written, so that one value has exactly one encoding and so one hash.

use minicbor::{Decode, Encode};

/// Why bytes are not the value they should be.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// More bytes than this kind of value may have.
    #[error("{what} is {found} bytes, the limit is {limit}")]
    TooLarge {
        /// What was decoded.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The largest one accepted.
        limit: usize,
    },
    /// Not CBOR, or not of this shape.
    #[error("{what} cannot be decoded")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// The decoder's own account, with the offset.
        #[source]
        source: minicbor::decode::Error,
    },
    /// Decodes, but is not what the encoder writes for that value.
    #[error("{what} is not in canonical form")]
    NotCanonical {
        /// What was decoded.
        what: &'static str,
    },
    /// Decodes, but breaks a rule of its type.
    #[error("{what}: {rule}")]
    Invalid {
        /// What was decoded.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// Bytes that are wiped when dropped, encoded as a byte string: for `#[cbor(with = …)]`.
pub mod secret {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::Error as EncodeError;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};
    use zeroize::Zeroizing;

    /// Encodes them.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn encode<C, W: Write, const N: usize>(
        bytes: &Zeroizing<[u8; N]>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.bytes(bytes.as_slice())?.ok()
    }

    /// Reads them.
    ///
    /// # Errors
    /// When there is no byte string of their length.
    pub fn decode<C, const N: usize>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Zeroizing<[u8; N]>, DecodeError> {
        let bytes: [u8; N] = d.bytes()?.try_into().map_err(|_| DecodeError::message("not as many bytes"))?;
        Ok(Zeroizing::new(bytes))
    }
}

/// Encodes a value. Writing to memory cannot fail.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    let result = minicbor::encode(value, &mut bytes);
    debug_assert!(result.is_ok(), "writing to a Vec cannot fail");
    bytes
}

/// Decodes a value of at most `limit` bytes and checks that it is canonical.
///
/// # Errors
/// When the bytes are too many, malformed, followed by others, or not the one encoding of their value.
pub fn decode<'b, T>(what: &'static str, bytes: &'b [u8], limit: usize) -> Result<T, CborError>
where
    T: Decode<'b, ()> + Encode<()>,
{
    if bytes.len() > limit {
        return Err(CborError::TooLarge { what, found: bytes.len(), limit });
    }
    let value: T = minicbor::decode(bytes).map_err(|source| CborError::Malformed { what, source })?;
    if encode(&value) != bytes {
        return Err(CborError::NotCanonical { what });
    }
    Ok(value)
}
