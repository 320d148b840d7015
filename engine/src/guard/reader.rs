//! Reads the numbers and slices of a change chunk, and remembers where it is for error messages.
//!
//! Nothing is allocated here, and no claim of the bytes is believed beyond what is really there.

use super::refused::{Reason, Refused};

/// A position in a chunk's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    part: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8], offset: usize, part: &'static str) -> Self {
        Self { rest: bytes, offset, part }
    }

    /// Names the part that is read next.
    pub(crate) const fn part(&mut self, part: &'static str) {
        self.part = part;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn offset(&self) -> usize {
        self.offset
    }

    /// A refusal at this place.
    pub(crate) const fn refuse(&self, reason: Reason) -> Refused {
        Refused::at(reason, self.part, self.offset)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refused> {
        let Some((first, rest)) = self.rest.split_first() else { return Err(self.refuse(Reason::Truncated)) };
        self.rest = rest;
        self.offset += 1;
        Ok(*first)
    }

    pub(crate) fn take(&mut self, length: u64) -> Result<&'a [u8], Refused> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = split else { return Err(self.refuse(Reason::Truncated)) };
        self.rest = rest;
        self.offset += taken.len();
        Ok(taken)
    }

    /// A reader of the next `length` bytes.
    pub(crate) fn window(&mut self, length: u64, part: &'static str) -> Result<Self, Refused> {
        let offset = self.offset;
        Ok(Self::new(self.take(length)?, offset, part))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.refuse(Reason::Truncated));
        };
        self.rest = rest;
        self.offset += N;
        Ok(*taken)
    }

    /// An unsigned LEB128 number in its shortest form.
    pub(crate) fn unsigned(&mut self) -> Result<u64, Refused> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                if byte == 0 {
                    break;
                }
                return Ok(value);
            }
        }
        Err(self.refuse(Reason::BadNumber))
    }

    /// A signed LEB128 number in its shortest form.
    pub(crate) fn signed(&mut self) -> Result<i64, Refused> {
        let mut value = 0_i64;
        let mut before = 0_u8;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                break;
            }
            value |= i64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The last byte must say more than the sign bit of the one before it.
                let needless =
                    shift > 0 && ((byte == 0 && before & 0x40 == 0) || (byte == 0x7f && before & 0x40 != 0));
                if needless {
                    break;
                }
                let bits = shift + 7;
                if bits < 64 && byte & 0x40 != 0 {
                    value |= -1_i64 << bits;
                }
                return Ok(value);
            }
            before = byte;
        }
        Err(self.refuse(Reason::BadNumber))
    }
}

/// Writes an unsigned LEB128 number in its shortest form.
pub(crate) fn write_unsigned(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unsigned(bytes: &[u8]) -> Result<u64, Reason> {
        Reader::new(bytes, 0, "test").unsigned().map_err(|refused| refused.reason)
    }

    fn signed(bytes: &[u8]) -> Result<i64, Reason> {
        Reader::new(bytes, 0, "test").signed().map_err(|refused| refused.reason)
    }

    #[test]
    fn unsigned_numbers_have_one_form() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write_unsigned(value, &mut bytes);
            assert_eq!(unsigned(&bytes), Ok(value));
        }
        assert_eq!(unsigned(&[0x80, 0]), Err(Reason::BadNumber));
        assert_eq!(unsigned(&[0x80]), Err(Reason::Truncated));
        assert_eq!(unsigned(&[0xff; 9]), Err(Reason::Truncated));
        assert_eq!(
            unsigned(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            Err(Reason::BadNumber)
        );
        assert_eq!(unsigned(&[0xff; 11]), Err(Reason::BadNumber));
    }

    #[test]
    fn signed_numbers_have_one_form() {
        let cases: [(&[u8], i64); 8] = [
            (&[0], 0),
            (&[0x7f], -1),
            (&[0x3f], 63),
            (&[0x40], -64),
            (&[0x80, 0x01], 128),
            (&[0x80, 0x40], -8192),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0], i64::MAX),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f], i64::MIN),
        ];
        for (bytes, value) in cases {
            assert_eq!(signed(bytes), Ok(value), "{value}");
        }
        for bytes in
            [&[0xbf, 0][..], &[0x81, 0xff, 0x7f], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]]
        {
            assert_eq!(signed(bytes), Err(Reason::BadNumber), "{bytes:?}");
        }
    }
}
