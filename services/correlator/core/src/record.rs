//! [`Record`] and [`Effect`]: what goes into a correlator and what comes out.

use balefire_event::{BarrierId, Event, Hint, Lane, Stub, Timestamp};

/// One record of INTAKE.
#[derive(Debug, Clone, Copy)]
pub enum Record<'r> {
    /// An event; without a user, or it goes straight through.
    Event(&'r Event<'r>),
    /// An identity and the keys that lead to it.
    Hint(&'r Hint<'r>),
    /// A key of an event that lies in another partition.
    Stub(&'r Stub),
    /// The owner's clock.
    Tick(Timestamp),
    /// A barrier, and when it was placed.
    Barrier(BarrierId, Timestamp),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Pass a record on to EVENTS.
    Emit {
        /// Its tenant.
        tenant: String,
        /// Lane of EVENTS; the one the event came in.
        lane: Lane,
        /// Partition of EVENTS: of the user, or of the event while nobody is known.
        partition: u32,
        /// The record: its join says what was done.
        event: Box<Event<'static>>,
    },
    /// Show a hint to another INTAKE partition, where an event lies that carries its key.
    Forward {
        /// Its tenant.
        tenant: String,
        /// Partition of INTAKE.
        partition: u32,
        /// The hint, with the stub's key.
        hint: Box<Hint<'static>>,
    },
    /// A barrier came out: to every lane of every EVENTS partition, behind what was emitted.
    BarrierOut {
        /// Which.
        id: BarrierId,
        /// When it was placed.
        at: Timestamp,
    },
    /// Tell every EVENTS partition: nothing received earlier will be emitted (but for repairs).
    Watermark {
        /// Lowest received_at to come.
        at: Timestamp,
    },
    /// Read this partition again from a server time, through
    /// [`crate::Correlator::repair_begin`].
    Repair {
        /// Server time.
        from: Timestamp,
    },
}
