//! Admits the records of a stretch on every core, and hands them on one by one in their order.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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

/// A thread that admits: what it did, in order, and the way back for blocks that were taken. It
/// frees what it allocated, and fills them again.
struct Admits<'s> {
    done: Receiver<Block<'s>>,
    used: SyncSender<Block<'s>>,
}

type Block<'s> = Vec<Record<'s>>;

/// Starts a thread that admits each `threads`-th block, from a block on.
fn start<'scope, 's: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    look: Look<'s>,
    stretch: &'s Stretch,
    (first, threads): (usize, usize),
) -> Admits<'s> {
    let (to, done) = sync_channel(AHEAD_MAX);
    let (used, back) = sync_channel(AHEAD_MAX + 1);
    scope.spawn(move || {
        let starts = (0..stretch.len()).step_by(BLOCK_LEN);
        for start in starts.skip(first).step_by(threads) {
            let mut block: Block<'s> = back.try_recv().unwrap_or_default();
            block.clear();
            let places = start..stretch.len().min(start + BLOCK_LEN);
            let lines = places.filter_map(|place| stretch.get(place));
            block.extend(lines.map(|(line, bytes)| look.at(line, bytes)));
            if to.send(block).is_err() {
                // Nobody reads any more.
                return;
            }
        }
    });
    Admits { done, used }
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
        lines.iter().cycle().take(blocks).all(|line| {
            // A line that ends early ends with its thread's panic, which the scope hands on.
            let Ok(mut block) = line.done.recv() else {
                return true;
            };
            let all = block.iter_mut().all(&mut take);
            // Without room, or nobody who wants it, it is freed here.
            let _ = line.used.try_send(block);
            all
        })
    })
}
