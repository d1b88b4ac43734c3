//! [`Cutter`]: where the pages of a base end.

use crate::records::write;

/// A page ends behind a record that makes it this long, bytes.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// No page ends before it is this long, bytes, but the last.
const PAGE_BYTES_MIN: usize = 32 * 1024;
/// Between the two one key in so many ends a page: which one depends on the key alone, so a change
/// moves no end but near itself.
const PAGE_END_ONE_IN: u64 = 512;

/// Cuts records in the order of their keys into pages.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    page: Vec<u8>,
}

impl Cutter {
    /// A page, where this record completes one.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        write(&mut self.page, key, value);
        let len = self.page.len();
        let ends = len >= PAGE_BYTES_MAX || (len >= PAGE_BYTES_MIN && ends_page(key));
        ends.then(|| std::mem::take(&mut self.page))
    }

    /// The last page.
    pub(crate) fn end(self) -> Option<Vec<u8>> {
        (!self.page.is_empty()).then_some(self.page)
    }
}

/// Keys end in a hash, where there are many.
fn ends_page(key: &[u8]) -> bool {
    let tail = key.last_chunk::<8>();
    tail.is_some_and(|tail| u64::from_le_bytes(*tail).is_multiple_of(PAGE_END_ONE_IN))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Plain = BTreeMap<Vec<u8>, Vec<u8>>;

    fn numbered(number: u64) -> Vec<u8> {
        let hash = blake3::hash(&number.to_le_bytes());
        hash.as_bytes()[..16].to_vec()
    }

    fn pages(state: &Plain) -> Vec<Vec<u8>> {
        let mut cutter = Cutter::default();
        let mut pages: Vec<Vec<u8>> = state
            .iter()
            .filter_map(|(key, value)| cutter.put(key, value))
            .collect();
        pages.extend(cutter.end());
        pages
    }

    #[test]
    fn a_new_record_changes_the_page_it_lies_in_and_no_other() {
        let mut state: Plain = (0..20_000).map(|n| (numbered(n), vec![7; 90])).collect();
        let before = pages(&state);
        assert!(before.len() > 10, "{}", before.len());
        assert!(
            before
                .iter()
                .all(|page| page.len() < PAGE_BYTES_MAX + 1_000)
        );
        let mut written = 0;
        for n in 0..20 {
            state.insert(numbered(1_000_000 + n), vec![8; 70]);
        }
        for page in pages(&state) {
            written += usize::from(!before.contains(&page));
        }
        assert!((1..=24).contains(&written), "{written}");
    }
}
