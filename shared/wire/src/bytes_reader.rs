//! Reads protobuf's own encoding from a slice: fields, varints, fixed numbers, runs of bytes.

use crate::Error;

/// The most fields whose number fits: 2^29 - 1.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// One field's value, not yet understood.
#[derive(Clone, Copy)]
pub(crate) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// One field of a message: its number, its value, and its name for errors.
#[derive(Clone, Copy)]
pub(crate) struct RawField<'a> {
    pub(crate) number: u32,
    value: Raw<'a>,
}

/// Walks the fields of a message.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// `what` names the message in errors.
    pub(crate) const fn of(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// How many bytes were not read yet.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Keys of fields, enums and most lengths take one or two bytes.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Error> {
        match *self.rest {
            [low, ref rest @ ..] if low < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | (u64::from(high) << 7))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Error::malformed(self.what))?;
            self.rest = rest;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Error::malformed(self.what));
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::malformed(self.what))
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(Error::malformed(self.what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next field; `None` at the end. Groups, which nobody writes, are malformed.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<RawField<'a>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(Error::malformed(self.what));
        }
        let value = match key & 7 {
            0 => Raw::Varint(self.varint()?),
            1 => {
                let (bytes, rest) = self
                    .rest
                    .split_first_chunk()
                    .ok_or(Error::malformed(self.what))?;
                self.rest = rest;
                Raw::Fixed64(u64::from_le_bytes(*bytes))
            }
            2 => {
                let len =
                    usize::try_from(self.varint()?).map_err(|_| Error::malformed(self.what))?;
                Raw::Bytes(self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Raw::Fixed32
            }
            _ => return Err(Error::malformed(self.what)),
        };
        let number = u32::try_from(number).map_err(|_| Error::malformed(self.what))?;
        Ok(Some(RawField { number, value }))
    }
}

impl<'a> RawField<'a> {
    #[inline(always)]
    pub(crate) fn bytes(self, what: &'static str) -> Result<&'a [u8], Error> {
        match self.value {
            Raw::Bytes(bytes) => Ok(bytes),
            Raw::Varint(_) | Raw::Fixed64(_) | Raw::Fixed32 => Err(Error::malformed(what)),
        }
    }

    #[inline(always)]
    pub(crate) fn text(self, what: &'static str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| Error::malformed(what))
    }

    /// Holds text to be text, and keeps none of it.
    #[inline(always)]
    pub(crate) fn check_text(self, what: &'static str) -> Result<(), Error> {
        // Most of it is ASCII, which is seen many bytes at a time.
        let bytes = self.bytes(what)?;
        if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() {
            Ok(())
        } else {
            Err(Error::malformed(what))
        }
    }

    #[inline(always)]
    pub(crate) fn uint64(self, what: &'static str) -> Result<u64, Error> {
        match self.value {
            Raw::Varint(value) => Ok(value),
            Raw::Bytes(_) | Raw::Fixed64(_) | Raw::Fixed32 => Err(Error::malformed(what)),
        }
    }

    /// As protobuf does it, a longer number loses its high bits.
    #[inline(always)]
    pub(crate) fn uint32(self, what: &'static str) -> Result<u32, Error> {
        let [a, b, c, d, ..] = self.uint64(what)?.to_le_bytes();
        Ok(u32::from_le_bytes([a, b, c, d]))
    }

    #[inline(always)]
    pub(crate) fn int64(self, what: &'static str) -> Result<i64, Error> {
        Ok(self.uint64(what)?.cast_signed())
    }

    /// The number of an enum's value.
    #[inline(always)]
    pub(crate) fn number(self, what: &'static str) -> Result<i32, Error> {
        Ok(self.uint32(what)?.cast_signed())
    }

    #[inline(always)]
    pub(crate) fn flag(self, what: &'static str) -> Result<bool, Error> {
        Ok(self.uint64(what)? != 0)
    }

    #[inline(always)]
    fn fixed64(self, what: &'static str) -> Result<u64, Error> {
        match self.value {
            Raw::Fixed64(value) => Ok(value),
            Raw::Bytes(_) | Raw::Varint(_) | Raw::Fixed32 => Err(Error::malformed(what)),
        }
    }

    #[inline(always)]
    pub(crate) fn sfixed64(self, what: &'static str) -> Result<i64, Error> {
        Ok(self.fixed64(what)?.cast_signed())
    }

    #[inline(always)]
    pub(crate) fn double(self, what: &'static str) -> Result<f64, Error> {
        Ok(f64::from_bits(self.fixed64(what)?))
    }
}
