//! [`Writer`] and [`Reader`]: small values one behind the other in one piece of memory.

use std::borrow::Cow;

use balefire_event::Sealed;

/// Puts them there.
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn word(&mut self, number: i32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn optional(&mut self, number: Option<u64>) {
        self.byte(u8::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }

    pub(crate) fn label(&mut self, label: Option<&Sealed<'_>>) {
        self.byte(u8::from(label.is_some()));
        if let Some(label) = label {
            self.number(u64::from(label.scheme));
            self.number(u64::from(label.key_epoch));
            self.bytes(&label.data);
        }
    }
}

/// Takes them out in the same order; `None` where the bytes are others.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.array::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn cow(&mut self) -> Option<Cow<'a, str>> {
        self.text().map(Cow::Borrowed)
    }

    pub(crate) fn word<T>(&mut self, read: impl FnOnce(i32) -> Option<T>) -> Option<T> {
        self.array().map(i32::from_le_bytes).and_then(read)
    }

    pub(crate) fn optional(&mut self) -> Option<Option<u64>> {
        let there = self.flag()?;
        let number = self.number()?;
        Some(there.then_some(number))
    }

    pub(crate) fn label(&mut self) -> Option<Option<Sealed<'a>>> {
        if !self.flag()? {
            return Some(None);
        }
        Some(Some(Sealed {
            scheme: u32::try_from(self.number()?).ok()?,
            key_epoch: u32::try_from(self.number()?).ok()?,
            data: Cow::Borrowed(self.bytes()?),
        }))
    }

    /// A list of at most as many items as there are bytes left.
    pub(crate) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let len = usize::try_from(self.number()?).ok()?;
        if len > self.0.len() {
            return None;
        }
        (0..len).map(|_| item(self)).collect()
    }
}
