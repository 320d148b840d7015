//! LEB128 numbers and length-prefixed bytes, written to and read from bounded buffers.

/// The input ended early, or a number in it is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end early or hold a number out of range, at offset {at}")]
pub struct ReadError {
    /// Offset of the failing read.
    pub at: usize,
}

/// A growing buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Appends an unsigned LEB128 number.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Appends bytes of a length that the reader knows.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends bytes behind their length.
    pub fn prefixed(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    /// The bytes so far.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// A position in given bytes; every read is bounded by what is left.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads an unsigned LEB128 number.
    ///
    /// # Errors
    /// When the input ends or the number exceeds 64 bits.
    pub fn number(&mut self) -> Result<u64, ReadError> {
        let start = self.at;
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(ReadError { at: start })?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ReadError { at: start })
    }

    /// Reads a number that must not exceed `limit`.
    ///
    /// # Errors
    /// When the input ends or the number is larger.
    pub fn bounded(&mut self, limit: usize) -> Result<usize, ReadError> {
        let at = self.at;
        let value = self.number()?;
        usize::try_from(value).ok().filter(|value| *value <= limit).ok_or(ReadError { at })
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], ReadError> {
        let end = self.at.checked_add(len).ok_or(ReadError { at: self.at })?;
        let bytes = self.bytes.get(self.at..end).ok_or(ReadError { at: self.at })?;
        self.at = end;
        Ok(bytes)
    }

    /// Reads `N` bytes.
    ///
    /// # Errors
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let at = self.at;
        self.raw(N)?.try_into().map_err(|_| ReadError { at })
    }

    /// Reads bytes behind their length, at most `limit` of them.
    ///
    /// # Errors
    /// When there are more or the input ends.
    pub fn prefixed(&mut self, limit: usize) -> Result<&'a [u8], ReadError> {
        let len = self.bounded(limit)?;
        self.raw(len)
    }

    /// Where the next read begins.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }

    /// Whether everything was read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_overlong_ones_do_not() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut writer = Writer::default();
            writer.number(value);
            let bytes = writer.finish();
            assert_eq!(Reader::new(&bytes).number(), Ok(value));
        }
        assert!(Reader::new(&[0xff; 10]).number().is_err());
        assert!(Reader::new(&[0x80]).number().is_err());
        assert!(Reader::new(&[5, 1, 2]).prefixed(9).is_err());
        assert!(Reader::new(&[2, 1, 2]).prefixed(1).is_err());
    }
}
