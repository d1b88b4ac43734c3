//! Whether a text may hold a number that is masked: as [`super::glance`], for those that have digits.

use super::glance::{IPV4_DOTS, LANES, Lanes, any, sum};

/// Bytes before a place that are looked at with it.
const BACK: usize = 16;
/// Places of a text that are looked at before the next.
const PIECE: usize = 128;
const ROOM: usize = BACK + PIECE + LANES;
/// What stands before and behind a text: neither of a word nor of anything that is masked.
const EDGE: u8 = b',';

/// Fewest digits of a card.
const CARD_DIGITS: u64 = 13;
/// Fewest joints of a card whose groups all have at most four digits.
const CARD_JOINTS: u64 = 3;
/// Fewest bytes of an account's number.
const IBAN_LEN: usize = 15;

/// What digits are like in a text, by lanes, each at the last byte of what is meant.
#[derive(Debug, Default)]
struct Numbers {
    /// Not zero where a phone or social security number ends, or a card in one piece.
    whole: Lanes,
    /// Not zero where the two letters and digits end that begin an account's number.
    account: Lanes,
    /// Not zero where a card may have its first joint.
    groups: Lanes,
    /// Not zero where five digits end.
    fives: Lanes,
    /// Digits, a space or a hyphen, digits.
    joints: Lanes,
    /// Digits, a dot, digits.
    dots: Lanes,
    digits: Lanes,
}

/// Whether a text can hold no number that is masked.
#[inline(never)]
pub(super) fn hold_nothing(bytes: &[u8]) -> bool {
    let mut numbers = Numbers::default();
    let mut from = 0;
    while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
        let len = rest.len().min(PIECE);
        numbers.add(&room(bytes, from, len), len);
        from += len;
    }
    numbers.are_none(bytes.len())
}

/// Bytes of a text, with those before them.
#[inline(always)]
fn room(bytes: &[u8], from: usize, len: usize) -> [u8; ROOM] {
    let mut room = [EDGE; ROOM];
    let back = from.min(BACK);
    let text = bytes.get(from - back..from + len).unwrap_or_default();
    let place = room.get_mut(BACK - back..).unwrap_or_default();
    if let Some(place) = place.get_mut(..text.len()) {
        place.copy_from_slice(text);
    }
    room
}

/// Sixteen bytes of a room.
#[inline(always)]
fn lanes(room: &[u8; ROOM], at: usize) -> &Lanes {
    const EDGES: Lanes = [EDGE; LANES];
    room.get(at..)
        .and_then(|rest| rest.first_chunk())
        .unwrap_or(&EDGES)
}

impl Numbers {
    /// Looks at so many places of a room.
    fn add(&mut self, room: &[u8; ROOM], len: usize) {
        let mut digits = [0; ROOM];
        let (sixteens, _) = digits.as_chunks_mut::<LANES>();
        let (bytes, _) = room.as_chunks();
        let count = (BACK + len).div_ceil(LANES);
        for (digits, bytes) in sixteens.iter_mut().zip(bytes).take(count) {
            *digits = bytes.map(|byte| u8::from(byte.wrapping_sub(b'0') < 10));
        }
        for at in (BACK..BACK + len).step_by(LANES) {
            self.add_lanes(room, &digits, at);
        }
    }

    #[inline(always)]
    #[expect(
        clippy::indexing_slicing,
        reason = "by what is below LANES, in arrays of so many"
    )]
    fn add_lanes(&mut self, room: &[u8; ROOM], digits: &[u8; ROOM], at: usize) {
        let bytes: [&Lanes; 9] = std::array::from_fn(|back| lanes(room, at - back));
        let digit: [&Lanes; 13] = std::array::from_fn(|back| lanes(digits, at - back));
        for lane in 0..LANES {
            let byte = |back: usize| bytes[back][lane];
            let digit = |back: usize| digit[back][lane];
            let joint = |back: usize| u8::from((byte(back) == b' ') | (byte(back) == b'-'));
            let dot = |back: usize| u8::from(byte(back) == b'.');
            let four = digit(0) & digit(1) & digit(2) & digit(3);
            let card = digit(4) & digit(6) & digit(8) & digit(10) & digit(12);
            let security = joint(4) & digit(5) & digit(6) & joint(7);
            let closed = u8::from(byte(8) == b')');
            let phone =
                (joint(4) | dot(4)) & digit(5) & digit(6) & digit(7) & (joint(8) | dot(8) | closed);
            let abroad = u8::from(byte(1) == b'+') & digit(0) & u8::from(byte(0) != b'0');
            self.whole[lane] |= (four & (card | security | phone)) | abroad;
            let letter = |back: usize| is_letter(byte(back));
            let goes_on = letter(0) | digit(0) | u8::from(byte(0) == b' ');
            let own = letter(5) | digit(5) | u8::from((byte(5) == b'_') | (byte(5) == b'-'));
            self.account[lane] |= letter(4) & letter(3) & digit(2) & digit(1) & goes_on & (own ^ 1);
            let first = digit(6) & digit(5) & digit(4) & digit(3) & ((letter(7) | digit(7)) ^ 1);
            self.groups[lane] |= first & joint(2) & digit(1) & digit(0);
            self.fives[lane] |= four & digit(4);
            self.digits[lane] = self.digits[lane].saturating_add(digit(0));
            let between = digit(2) & digit(0);
            self.joints[lane] = self.joints[lane].saturating_add(between & joint(1));
            self.dots[lane] = self.dots[lane].saturating_add(between & dot(1));
        }
    }

    /// Whether there is none that is masked in a text of so many bytes.
    fn are_none(&self, len: usize) -> bool {
        let account = len >= IBAN_LEN && any(&self.account);
        let address = sum(&self.dots) >= IPV4_DOTS;
        // In three groups one has five digits or more, else there are four groups.
        let card = sum(&self.digits) >= CARD_DIGITS
            && any(&self.groups)
            && (any(&self.fives) || sum(&self.joints) >= CARD_JOINTS);
        !any(&self.whole) && !account && !address && !card
    }
}

#[inline(always)]
fn is_letter(byte: u8) -> u8 {
    u8::from((byte | 32).wrapping_sub(b'a') <= b'z' - b'a')
}
