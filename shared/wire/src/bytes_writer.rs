//! Writes protobuf's own encoding to a vector. Defaults are left out, as proto3 does.

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

pub(crate) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        let [low, ..] = value.to_le_bytes();
        out.push(low | 0x80);
        value >>= 7;
    }
    let [low, ..] = value.to_le_bytes();
    out.push(low);
}

/// How many bytes a varint takes: 1 to 10.
pub(crate) const fn varint_len(value: u64) -> usize {
    let bits = (64 - (value | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

fn key(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from((number << 3) | wire_type), out);
}

/// A number that is written even where it is 0: a field with presence.
pub(crate) fn present_uint(number: u32, value: u64, out: &mut Vec<u8>) {
    key(number, VARINT, out);
    varint(value, out);
}

pub(crate) fn uint(number: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        present_uint(number, value, out);
    }
}

pub(crate) fn int64(number: u32, value: i64, out: &mut Vec<u8>) {
    uint(number, value.cast_unsigned(), out);
}

/// The number of an enum's value, none of which is negative.
pub(crate) fn enumeration(number: u32, value: i32, out: &mut Vec<u8>) {
    int64(number, i64::from(value), out);
}

pub(crate) fn flag(number: u32, value: bool, out: &mut Vec<u8>) {
    uint(number, u64::from(value), out);
}

pub(crate) fn present_sfixed64(number: u32, value: i64, out: &mut Vec<u8>) {
    key(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn sfixed64(number: u32, value: i64, out: &mut Vec<u8>) {
    if value != 0 {
        present_sfixed64(number, value, out);
    }
}

pub(crate) fn present_double(number: u32, value: f64, out: &mut Vec<u8>) {
    key(number, FIXED64, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// The key and length of a run of bytes that the caller writes next.
pub(crate) fn bytes_head(number: u32, len: usize, out: &mut Vec<u8>) {
    key(number, BYTES, out);
    varint(len as u64, out);
}

pub(crate) fn present_bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    bytes_head(number, value.len(), out);
    out.extend_from_slice(value);
}

pub(crate) fn bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        present_bytes(number, value, out);
    }
}

pub(crate) fn text(number: u32, value: &str, out: &mut Vec<u8>) {
    bytes(number, value.as_bytes(), out);
}

/// A message inside a message. Its length is known only afterwards: one byte is kept for it, and
/// what was written moves where it takes more.
pub(crate) fn nested(number: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    key(number, BYTES, out);
    let place = out.len();
    out.push(0);
    write(out);
    let len = out.len().saturating_sub(place + 1);
    let mut head = Vec::new();
    if let (Ok(short @ 0..0x80), Some(byte)) = (u8::try_from(len), out.get_mut(place)) {
        *byte = short;
        return;
    }
    varint(len as u64, &mut head);
    out.splice(place..=place, head);
}
