//! What gathers many: the summary of a storm, and the digest of a week.

use balefire_event::{Severity, Timestamp};
use balefire_notifier_core::digest::{Digest, Named};
use balefire_notifier_core::summary::{Held, Summary};
use balefire_wire::delivery::v1 as wire;

use super::{id_bytes, read_id};
pub(super) fn summary(summary: &Summary) -> wire::StormSummary {
    let held = |held: &Held| wire::HeldPage {
        escalation_id: id_bytes(&held.escalation_id),
        severity: held.severity.number(),
        held_at_ns: held.at.0,
        rule: held.rule.clone(),
    };
    wire::StormSummary {
        pages_max: summary.pages_max,
        since_ns: summary.since.0,
        held: summary.held,
        listed: summary.listed.iter().map(held).collect(),
        goes_on: summary.goes_on,
    }
}

pub(super) fn read_summary(summary: &wire::StormSummary) -> Result<Summary, String> {
    let held = |held: &wire::HeldPage| {
        Ok::<_, String>(Held {
            escalation_id: read_id(&held.escalation_id)?,
            severity: Severity::from_number(held.severity).ok_or("unknown severity")?,
            at: Timestamp(held.held_at_ns),
            rule: held.rule.clone(),
        })
    };
    Ok(Summary {
        pages_max: summary.pages_max,
        since: Timestamp(summary.since_ns),
        held: summary.held,
        listed: summary.listed.iter().map(held).collect::<Result<_, _>>()?,
        goes_on: summary.goes_on,
    })
}

pub(super) fn digest(digest: &Digest) -> wire::WeeklyDigest {
    let counts = |named: &[Named]| {
        let each = named.iter().map(|(name, events)| wire::NamedCount {
            name: name.clone(),
            events: *events,
        });
        each.collect()
    };
    wire::WeeklyDigest {
        from_ns: digest.from.0,
        until_ns: digest.until.0,
        events: digest.events,
        categories: counts(&digest.categories),
        applications: counts(&digest.applications),
        more_applications: digest.more_applications,
        users: counts(&digest.users),
        more_users: digest.more_users,
    }
}

pub(super) fn read_digest(digest: &wire::WeeklyDigest) -> Digest {
    let counts = |counts: &[wire::NamedCount]| {
        let each = counts.iter().map(|one| (one.name.clone(), one.events));
        each.collect()
    };
    Digest {
        from: Timestamp(digest.from_ns),
        until: Timestamp(digest.until_ns),
        events: digest.events,
        categories: counts(&digest.categories),
        applications: counts(&digest.applications),
        more_applications: digest.more_applications,
        users: counts(&digest.users),
        more_users: digest.more_users,
    }
}
