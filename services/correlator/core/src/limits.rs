//! Named limits of one partition's state. What passes one is counted in `alarms`.

/// Most events kept for late hints.
pub const EVENTS_MAX: usize = 500_000;
/// Most bytes of their packed forms.
pub const EVENT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most claims (one for a key, a fact and a stretch of time).
pub const CLAIMS_MAX: usize = 1_000_000;
/// Most claims of one key.
pub const CLAIMS_PER_KEY_MAX: usize = 1024;
/// Most stubs kept.
pub const STUBS_MAX: usize = 500_000;
/// Most copies of one event told apart.
pub const COPIES_MAX: usize = 16;
/// Most records passed on for one event (users × facts × copies).
pub const TOLD_PER_EVENT_MAX: usize = 1024;
/// Most facts that one event is joined with.
pub const FACTS_PER_EVENT_MAX: usize = 1024;
/// Most barriers on their way.
pub const BARRIERS_MAX: usize = 64;
/// A barrier that has not come out by then is forgotten, nanoseconds.
pub const BARRIER_AGE_MAX: i64 = balefire_event::time::HOUR;
/// Most stragglers waiting for one repair; those beyond it are answered by the repair's scope
/// of the others only.
pub const STRAGGLERS_MAX: usize = 4096;
/// Most sources (of all tenants) counted apart; the rest of a tenant's is [`SOURCE_OTHER`].
pub const SOURCES_MAX: usize = 1024;
/// Where sources beyond [`SOURCES_MAX`] are counted.
pub const SOURCE_OTHER: &str = "(other)";
/// Most events shown of one request.
pub const CHAIN_EVENTS_MAX: usize = 1000;
/// Most ids followed from one request.
pub const CHAIN_KEYS_MAX: usize = 1000;
