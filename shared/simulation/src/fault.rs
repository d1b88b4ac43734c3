//! [`Fault`]: deliberate mistakes around the cores. Each must be caught, or a promise is only
//! believed.

/// A mistake made everywhere in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Copies of an event are events of their own.
    NoDedupe,
    /// t is the time of arrival.
    SlotByArrival,
    /// Each event has the newest control revision of its batch.
    RevisionOfBatch,
    /// A batch is taken in before the control log delivered its revision.
    RevisionNotAwaited,
    /// Entries leave memory without regard to L.
    TrimWithoutLateness,
    /// The fastest lane moves the low watermark.
    FasterLane,
    /// The consumer's clock moves the low watermark.
    ConsumerWatermark,
    /// The correlators' watermarks are ignored.
    CorrelatorWatermarkIgnored,
    /// Repairs of the rule engine are not done.
    RepairDropped,
    /// Repairs of the correlator are not done.
    JoinRepairDropped,
    /// A straggler is decided by its repair and then forgotten.
    StragglerNotKept,
    /// A repair reads the events again, and not the slots emitted before.
    SlotsNotLoaded,
    /// A repair loads slots by when they were written, not by their own time.
    SlotsByServerTime,
    /// A new owner goes on behind the recorded lists without going through them.
    RedoWithoutLists,
    /// Batches that brought no output are left out of the lists.
    IdleBatchesUnlisted,
    /// What repairs found is not found again in a redo.
    RedoWithoutRepairs,
    /// Parts that a target lacks are not sent by the new owner.
    StepLeftIncomplete,
    /// A checkpoint is taken between apply and acknowledgement.
    CheckpointBeforeAck,
    /// The log takes writes of an owner that was replaced.
    NoFence,
    /// The first identity of a key is the only one.
    FirstIdentityWins,
    /// Identities and events meet by arrival, not by stamps.
    JoinByArrival,
    /// Hints are not forwarded to where events with several keys lie.
    ForwardDropped,
    /// Further keys of an event are told nobody.
    StubDropped,
    /// What a join adds to an event passed on before is lost.
    AmendmentDropped,
    /// A barrier comes out without waiting for what is being joined.
    BarrierNotAwaited,
    /// A new owner does not read which slots were closed.
    ClosedNotLoaded,
    /// A late event is decided for itself alone, not for those behind it.
    NoLookAhead,
    /// A window keeps the newest events alone.
    CapOnWindow,
    /// A REKEYED partition takes its time from the matches that lie there, not from its senders.
    RekeyedWatermarkIgnored,
    /// Matches go to the REKEYED partition of their sender, not of their key.
    RekeyedToWrongOwner,
    /// A promise is written ahead of the matches that it stands behind.
    PromiseAheadOfMatches,
    /// Different values are counted like events.
    RepeatsCounted,
    /// The steps of a sequence may come in any order.
    OrderIgnored,
    /// Nothing is read again for a new rule.
    BackfillDropped,
    /// What recorded steps give and nobody told stays untold.
    OwedDropped,
    /// A step does not say that a rule was warming up while it was formed.
    WarmingUnsaid,
    /// A new owner sends as many parts as it counts to be lacking, whatever is in those there.
    CompletedByCount,
    /// A barrier that was never told goes to each target as soon as that can have it.
    BarrierInTwoSteps,
    /// What another owner told with steps that a checkpoint covers is not shown to who goes on from it.
    LateNotShown,
    /// Who completes a step of another does not say that rules warm up for it.
    DoubtUnsaid,
}

/// A fault, its name on the command line, and the promise that it breaks.
#[derive(Debug, Clone, Copy)]
pub struct Sabotage {
    /// Which.
    pub fault: Fault,
    /// kebab-case.
    pub name: &'static str,
    /// In SEMANTICS.
    pub breaks: &'static str,
    /// Shortly before a seed at which it shows, for one that is rare; else 0.
    pub first_seed: u64,
}

const fn row(fault: Fault, name: &'static str, breaks: &'static str) -> Sabotage {
    Sabotage {
        fault,
        name,
        breaks,
        first_seed: 0,
    }
}

const fn rare(row: Sabotage, first_seed: u64) -> Sabotage {
    Sabotage { first_seed, ..row }
}

/// Every fault.
pub const SABOTAGE: [Sabotage; 40] = [
    row(Fault::NoDedupe, "no-dedupe", "2: a copy adds nothing"),
    row(
        Fault::SlotByArrival,
        "slot-by-arrival",
        "4: slots are of the event's own time",
    ),
    row(
        Fault::RevisionOfBatch,
        "revision-of-batch",
        "6: revisions are per event",
    ),
    row(
        Fault::RevisionNotAwaited,
        "revision-not-awaited",
        "6: an unseen revision blocks",
    ),
    rare(
        row(
            Fault::TrimWithoutLateness,
            "trim-without-lateness",
            "7: entries stay for L + W",
        ),
        1125,
    ),
    rare(
        row(
            Fault::FasterLane,
            "faster-lane",
            "7: the slowest lane is the watermark",
        ),
        75,
    ),
    rare(
        row(
            Fault::ConsumerWatermark,
            "consumer-watermark",
            "7: time is what the log says",
        ),
        200,
    ),
    row(
        Fault::CorrelatorWatermarkIgnored,
        "correlator-watermark-ignored",
        "7: joins in the making hold the watermark",
    ),
    row(
        Fault::RepairDropped,
        "repair-dropped",
        "7: repair is never trimmed",
    ),
    row(
        Fault::JoinRepairDropped,
        "join-repair-dropped",
        "7: the correlator repairs too",
    ),
    rare(
        row(
            Fault::StragglerNotKept,
            "straggler-not-kept",
            "7: t > X enters the state",
        ),
        4530,
    ),
    row(
        Fault::SlotsNotLoaded,
        "slots-not-loaded",
        "5: who repairs loads slots first",
    ),
    row(
        Fault::SlotsByServerTime,
        "slots-by-server-time",
        "5: slots are loaded by their own time",
    ),
    row(
        Fault::RedoWithoutLists,
        "redo-without-lists",
        "10: a step is derived as its first owner did",
    ),
    row(
        Fault::IdleBatchesUnlisted,
        "idle-batches-unlisted",
        "10: lists name every batch",
    ),
    row(
        Fault::RedoWithoutRepairs,
        "redo-without-repairs",
        "10: a redo repairs as the first owner did",
    ),
    row(
        Fault::StepLeftIncomplete,
        "step-left-incomplete",
        "10: a new owner sends what a target lacks",
    ),
    row(
        Fault::CheckpointBeforeAck,
        "checkpoint-before-ack",
        "10: a checkpoint stands after a step",
    ),
    row(Fault::NoFence, "no-fence", "10: one owner writes"),
    row(
        Fault::FirstIdentityWins,
        "first-identity-wins",
        "8: association is a union",
    ),
    row(
        Fault::JoinByArrival,
        "join-by-arrival",
        "8: J is measured between stamps",
    ),
    row(
        Fault::ForwardDropped,
        "forward-dropped",
        "8: every key joins, wherever it lies",
    ),
    row(
        Fault::StubDropped,
        "stub-dropped",
        "8: every key joins, wherever it lies",
    ),
    row(
        Fault::AmendmentDropped,
        "amendment-dropped",
        "8: a late identity counts",
    ),
    row(
        Fault::BarrierNotAwaited,
        "barrier-not-awaited",
        "a barrier comes behind all that was accepted",
    ),
    row(
        Fault::ClosedNotLoaded,
        "closed-not-loaded",
        "5: a slot is closed once",
    ),
    row(
        Fault::NoLookAhead,
        "no-look-ahead",
        "3: a late event completes later ones",
    ),
    row(
        Fault::CapOnWindow,
        "cap-on-window",
        "3: a cell keeps its first N and its last N",
    ),
    row(
        Fault::RekeyedWatermarkIgnored,
        "rekeyed-watermark-ignored",
        "7: REKEYED waits for every sender",
    ),
    row(
        Fault::RekeyedToWrongOwner,
        "rekeyed-to-wrong-owner",
        "9: a key has one owner",
    ),
    rare(
        row(
            Fault::PromiseAheadOfMatches,
            "promise-ahead-of-matches",
            "7: a promise comes behind its matches",
        ),
        505,
    ),
    row(
        Fault::RepeatsCounted,
        "repeats-counted",
        "3: distinct values count once",
    ),
    row(
        Fault::OrderIgnored,
        "order-ignored",
        "3: steps of a sequence in their order",
    ),
    rare(
        row(
            Fault::BackfillDropped,
            "backfill-dropped",
            "6: a new rule counts what came before",
        ),
        115,
    ),
    row(
        Fault::OwedDropped,
        "owed-dropped",
        "5: told is what ESCALATIONS has",
    ),
    rare(
        row(
            Fault::WarmingUnsaid,
            "warming-unsaid",
            "10: a step says which rules were whole",
        ),
        185,
    ),
    row(
        Fault::CompletedByCount,
        "completed-by-count",
        "10: a step is completed by content",
    ),
    rare(
        row(
            Fault::BarrierInTwoSteps,
            "barrier-in-two-steps",
            "10: a barrier goes to every target with one step",
        ),
        1_189_356,
    ),
    rare(
        row(
            Fault::LateNotShown,
            "late-not-shown",
            "5: told is what ESCALATIONS has, behind a checkpoint, too",
        ),
        1_025_550,
    ),
    rare(
        row(
            Fault::DoubtUnsaid,
            "doubt-unsaid",
            "10: a step says for whom of its owners rules were whole",
        ),
        1_175_260,
    ),
];
