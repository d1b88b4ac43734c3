//! Bytes changed by a seed, the same each time: what a stable compiler can do of what cargo-fuzz does.

use std::path::Path;

/// The files of a folder whose names end so, sorted by name; more than three, or there is nothing to change.
pub fn files(folder: &Path, ending: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("its entries").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    assert!(paths.len() > 3, "{}", folder.display());
    let read = |path| std::fs::read(path).expect("a file");
    paths.into_iter().map(read).collect()
}

/// Numbers of a seed (SplitMix64).
pub struct Seeded(pub u64);

impl Seeded {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to an end, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.number() % end).unwrap_or_default()
    }

    /// One of several.
    pub fn one_of<'o, T>(&mut self, of: &'o [T]) -> &'o T {
        let place = self.below(of.len());
        of.get(place).expect("one of them")
    }
}

/// What breaks readers: JSON's own signs, ends of numbers, of text and of varints.
const PIECES: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\u0040",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"{\"\":",
    b"1e400",
    b"-0.0",
    b"18446744073709551616",
    b"0000-00-00T00:00:00Z",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x1f\x8b\x08",
];

/// Bytes with one to four changes; a piece of another may come in.
pub fn changed(seeded: &mut Seeded, bytes: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=seeded.below(4) {
        let at = seeded.below(bytes.len() + 1);
        let end = (at + seeded.below(16)).min(bytes.len());
        match seeded.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let other = seeded.one_of(others);
                let from = seeded.below(other.len() + 1);
                let piece = other.get(from..).unwrap_or_default().to_vec();
                bytes.splice(at.., piece);
            }
            4 => {
                let many = 1 + seeded.below(80);
                let piece = seeded.one_of(&PIECES).repeat(many);
                bytes.splice(at..at, piece);
            }
            5 | 6 => drop(bytes.splice(at..end, seeded.one_of(&PIECES).iter().copied())),
            _ => {
                let flipped = 1_u8 << seeded.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= flipped;
                }
            }
        }
    }
    bytes
}

/// Shows the bytes that something panicked over.
pub struct Shown<'b>(pub &'b [u8]);

impl Drop for Shown<'_> {
    #[expect(clippy::print_stderr, reason = "what a failing test was about")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("over {}", self.0.escape_ascii());
        }
    }
}
