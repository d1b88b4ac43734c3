//! Admits the records of a stretch on every core, and hands them on one by one in their order.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, Scope};

use balefire_event::Category;
use balefire_event::digest::FieldHasher;
use balefire_ingest_core::{Door, Looked, Provenance, Violation, admit_json_of};

use crate::source::Stretch;

/// Records that are handed over at once.
const BLOCK_LEN: usize = 256;
/// Blocks that a thread may be ahead.
const AHEAD_MAX: usize = 4;

/// One record, looked at.
pub struct Record<'s> {
    /// Its line (of an array its element), from 1.
    pub line: u64,
    /// Its bytes.
    pub bytes: &'s [u8],
    /// As the first of its kind.
    pub looked: Result<Looked<'s>, Violation>,
    /// Of one that goes in without an id: digest of its bytes.
    pub digest: Option<[u8; 32]>,
}

/// Who looks at records, and which categories its rules ask for.
#[derive(Clone, Copy)]
pub struct Look<'s> {
    /// As what they go in.
    pub door: &'s Door,
    /// The categories.
    pub heeded: &'s BTreeSet<Category>,
}

impl<'s> Look<'s> {
    fn at(self, line: u64, bytes: &'s [u8]) -> Record<'s> {
        let wanted = |category| self.heeded.contains(&category);
        let looked = admit_json_of(self.door, bytes, Provenance::default(), wanted);
        let unnamed = matches!(&looked, Ok(Looked::Wanted(admitted)) if !admitted.id_said);
        Record {
            line,
            bytes,
            looked,
            digest: unnamed.then(|| FieldHasher::new("replay").field(bytes).digest()),
        }
    }
}

/// Starts a thread that admits each `threads`-th block, from a block on.
fn start<'scope, 's: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    look: Look<'s>,
    stretch: &'s Stretch,
    (first, threads): (usize, usize),
) -> Receiver<Vec<Record<'s>>> {
    let (to, blocks) = sync_channel(AHEAD_MAX);
    scope.spawn(move || {
        let starts = (0..stretch.len()).step_by(BLOCK_LEN);
        for start in starts.skip(first).step_by(threads) {
            let places = start..stretch.len().min(start + BLOCK_LEN);
            let block = places
                .filter_map(|place| stretch.get(place))
                .map(|(line, bytes)| look.at(line, bytes));
            if to.send(block.collect()).is_err() {
                // Nobody reads any more.
                return;
            }
        }
    });
    blocks
}

/// Hands on every record of a stretch, in order, until `take` says false. False: it did.
pub fn each<'s>(
    look: Look<'s>,
    stretch: &'s Stretch,
    mut take: impl FnMut(&mut Record<'s>) -> bool,
) -> bool {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let lines: Vec<_> = (0..threads)
            .map(|first| start(scope, look, stretch, (first, threads)))
            .collect();
        let blocks = stretch.len().div_ceil(BLOCK_LEN);
        // A line that ends early ends with its thread's panic, which the scope hands on.
        lines
            .iter()
            .cycle()
            .take(blocks)
            .flat_map(Receiver::recv)
            .all(|mut block| block.iter_mut().all(&mut take))
    })
}
