//! What the engines hold in memory, as digests: told over gRPC, compared by `verify`.

use std::time::Duration;

use balefire_driver::{Inspection, Inspector};
use balefire_event::{Digest, RuleId, Timestamp};
use balefire_rule_engine_core::{Engine, PartDigest, StatePart};
use balefire_wire::escalation::v1::{
    DigestStateResponse, PartitionState, StatePartDigest, StatePosition,
};
use bytes::Bytes;

/// A partition has so long to answer: it may be in the middle of a repair.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an engine says when it is asked; see [`balefire_driver::Stage::inspect`].
pub(crate) fn of(engine: &Engine) -> Vec<u8> {
    // Plain data always encodes; nothing is refused as an answer.
    balefire_store::encode(&(engine.known_revision(), engine.digests())).unwrap_or_default()
}

/// Asks every engine of this process.
pub(crate) async fn answer(inspector: &Inspector) -> DigestStateResponse {
    let mut response = DigestStateResponse::default();
    for answer in inspector.ask(PATIENCE).await {
        match answer.and_then(|inspection| whole(&inspection)) {
            Ok(state) => response.partitions.push(state),
            Err(silent) => response.silent.push(silent),
        }
    }
    response
}

fn whole(inspection: &Inspection) -> Result<PartitionState, String> {
    let held = balefire_store::decode(&inspection.held);
    let (control_revision, parts): (u64, Vec<PartDigest>) =
        held.map_err(|error| error.to_string())?;
    let positions = inspection.positions.iter();
    let positions = positions.map(|(stream, sequence)| StatePosition {
        stream: stream.clone(),
        sequence: *sequence,
    });
    Ok(PartitionState {
        stage: inspection.stage.into(),
        stage_version: inspection.stage_version,
        partition: inspection.partition,
        step: inspection.step,
        positions: positions.collect(),
        control_revision,
        parts: parts.iter().map(to_wire).collect(),
    })
}

fn to_wire(part: &PartDigest) -> StatePartDigest {
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let common = StatePartDigest {
        cut_ns: part.cut.0,
        digest: bytes(&part.digest.0),
        count: part.count,
        ..StatePartDigest::default()
    };
    match &part.of {
        StatePart::Entries {
            rule,
            signature,
            first,
        } => StatePartDigest {
            rule_id: bytes(&rule.0),
            signature: bytes(&signature.0),
            first_revision: *first,
            ..common
        },
        StatePart::Slots { rule, rearm } => StatePartDigest {
            rule_id: bytes(&rule.0),
            rearm_ns: *rearm,
            ..common
        },
    }
}

/// Reads it; `None`: no part that this version knows.
pub(crate) fn from_wire(part: &StatePartDigest) -> Option<PartDigest> {
    let rule = RuleId(part.rule_id.as_ref().try_into().ok()?);
    let of = if part.signature.is_empty() {
        StatePart::Slots {
            rule,
            rearm: part.rearm_ns,
        }
    } else {
        StatePart::Entries {
            rule,
            signature: Digest(part.signature.as_ref().try_into().ok()?),
            first: part.first_revision,
        }
    };
    Some(PartDigest {
        of,
        cut: Timestamp(part.cut_ns),
        digest: Digest(part.digest.as_ref().try_into().ok()?),
        count: part.count,
    })
}
