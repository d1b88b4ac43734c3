//! The generated code of `proto/`, as modules. Regenerate with
//! `cargo run -p balefire-testkit --bin generate`.

macro_rules! area {
    ($(#[$doc:meta])* $area:ident, $file:literal) => {
        $(#[$doc])*
        pub mod $area {
            /// Version 1.
            #[allow(
                clippy::all,
                clippy::allow_attributes_without_reason,
                clippy::wildcard_enum_match_arm,
                clippy::unwrap_used,
                clippy::indexing_slicing,
                clippy::too_many_lines,
                rustdoc::all,
                reason = "generated code; the contract is reviewed in proto/"
            )]
            pub mod v1 {
                include!(concat!("generated/", $file));
            }
        }
    };
}

area!(
    /// Control objects.
    control,
    "balefire.control.v1.rs"
);
area!(
    /// Dead letters.
    deadletter,
    "balefire.deadletter.v1.rs"
);
area!(
    /// Deliveries.
    delivery,
    "balefire.delivery.v1.rs"
);
area!(
    /// Escalations.
    escalation,
    "balefire.escalation.v1.rs"
);
area!(
    /// Events as they lie in the log.
    event,
    "balefire.event.v1.rs"
);
area!(
    /// The door.
    ingest,
    "balefire.ingest.v1.rs"
);
area!(
    /// Joins.
    join,
    "balefire.join.v1.rs"
);
area!(
    /// The bytes of every log message.
    log,
    "balefire.log.v1.rs"
);
area!(
    /// Rules in force.
    rule,
    "balefire.rule.v1.rs"
);
area!(
    /// What records are accepted.
    schema,
    "balefire.schema.v1.rs"
);
area!(
    /// How the platform is.
    status,
    "balefire.status.v1.rs"
);
area!(
    /// Rules tried out on the log.
    whatif,
    "balefire.whatif.v1.rs"
);
