//! What happened to each frame and event, written by the pacer, the streams and their readers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use balefire_loadtest_core::account::Fate;
use balefire_loadtest_core::frame::Frame;

/// Those who send: everybody, and the flood.
pub const PRODUCERS: usize = 2;
/// Most frames of a producer that wait for an answer; a frame that is due beyond that is unsent.
pub const IN_FLIGHT_MAX: usize = 8_192;
/// Not yet.
const NEVER: u64 = u64::MAX;

/// The track of one run.
#[derive(Debug)]
pub struct Track {
    sent_ns: Vec<AtomicU64>,
    answered_ns: Vec<AtomicU64>,
    in_flight: [AtomicUsize; PRODUCERS],
    stopped_at: AtomicUsize,
    fates: Mutex<Vec<Fate>>,
    places: Mutex<Places>,
}

/// Where each event lies: stream, numbered in the order of appearance, and sequence.
#[derive(Debug)]
struct Places {
    streams: BTreeMap<String, u32>,
    /// As far as places were told.
    events: Vec<Option<(u32, u64)>>,
    /// Events there are.
    count: usize,
}

impl Track {
    /// Of so many frames and events.
    #[must_use]
    pub fn new(frames: usize, events: usize) -> Self {
        let never = || (0..frames).map(|_| AtomicU64::new(NEVER)).collect();
        Self {
            sent_ns: never(),
            answered_ns: never(),
            in_flight: [const { AtomicUsize::new(0) }; PRODUCERS],
            stopped_at: AtomicUsize::new(usize::MAX),
            fates: Mutex::new(vec![Fate::Unknown; events]),
            places: Mutex::new(Places {
                streams: BTreeMap::new(),
                events: Vec::new(),
                count: events,
            }),
        }
    }

    /// Takes a place among those that wait for an answer; false: none is free.
    pub fn depart(&self, frame: &Frame) -> bool {
        let Some(in_flight) = self.in_flight.get(frame.producer) else {
            return false;
        };
        let taken = in_flight.fetch_add(1, Ordering::Relaxed);
        if taken >= IN_FLIGHT_MAX {
            in_flight.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The sending was stopped by hand before this frame.
    pub fn stopped(&self, frame: usize) {
        self.stopped_at.store(frame, Ordering::Relaxed);
    }

    /// The first frame that was not sent because of it.
    #[must_use]
    pub fn stopped_at(&self) -> Option<usize> {
        let frame = self.stopped_at.load(Ordering::Relaxed);
        (frame != usize::MAX).then_some(frame)
    }

    /// Gives the place back.
    pub fn arrive(&self, frame: &Frame) {
        if let Some(in_flight) = self.in_flight.get(frame.producer) {
            in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The bytes of a frame were handed to the connection.
    pub fn sent(&self, frame: usize, at_ns: u64) {
        set(&self.sent_ns, frame, at_ns);
    }

    /// A frame was answered.
    pub fn answered(&self, frame: usize, at_ns: u64) {
        set(&self.answered_ns, frame, at_ns);
    }

    /// Writes the fates of a frame's events down, in order.
    pub fn settle(&self, frame: &Frame, fates: impl Iterator<Item = Fate>) {
        let mut all = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        let first = usize::try_from(frame.first).unwrap_or(usize::MAX);
        for (place, fate) in all.iter_mut().skip(first).zip(fates) {
            *place = fate;
        }
    }

    /// The same fate for all events of a frame.
    pub fn settle_all(&self, frame: &Frame, fate: Fate) {
        self.settle(frame, (0..frame.len).map(|_| fate));
    }

    /// Writes down where the log has an event.
    pub fn place(&self, event: usize, stream: &str, sequence: u64) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let known = places.streams.get(stream).copied();
        let next = u32::try_from(places.streams.len()).unwrap_or(u32::MAX);
        let number = known.unwrap_or(next);
        if known.is_none() {
            places.streams.insert(stream.to_owned(), number);
        }
        let count = places.count;
        places.events.resize(count, None);
        if let Some(place) = places.events.get_mut(event) {
            *place = Some((number, sequence));
        }
    }

    /// Where each event lies, as far as it was told.
    #[must_use]
    pub fn places(&self) -> Vec<Option<(u32, u64)>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.events.clone()
    }

    /// When a frame was handed to the connection.
    #[must_use]
    pub fn sent_at(&self, frame: usize) -> Option<u64> {
        get(&self.sent_ns, frame)
    }

    /// When a frame was answered.
    #[must_use]
    pub fn answered_at(&self, frame: usize) -> Option<u64> {
        get(&self.answered_ns, frame)
    }

    /// What is known of each event by now.
    #[must_use]
    pub fn fates(&self) -> Vec<Fate> {
        let all = self.fates.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

fn set(times: &[AtomicU64], frame: usize, at_ns: u64) {
    if let Some(time) = times.get(frame) {
        time.store(at_ns, Ordering::Relaxed);
    }
}

fn get(times: &[AtomicU64], frame: usize) -> Option<u64> {
    let at = times.get(frame)?.load(Ordering::Relaxed);
    (at != NEVER).then_some(at)
}
