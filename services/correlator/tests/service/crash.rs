//! Crashes: the same pairs, none lost and none said twice, with and without checkpoints.

use std::collections::BTreeSet;

use balefire_event::time::SECOND;

use crate::harness::{Harness, PARTITIONS, Seen, event, hint, until};

const EVENTS: usize = 120;
const CRASHES: usize = 4;

/// Feeds event n with what names it, and returns the users it must count for.
async fn feed(harness: &Harness, n: usize) -> Vec<(String, String)> {
    let name = format!("e{n}");
    let (request, session) = (format!("request:r{n}"), format!("session:s{}", n % 10));
    let by_request = n.is_multiple_of(2);
    let by_session = n.is_multiple_of(3) && n % 10 < 5;
    let mut users = Vec::new();
    if by_request {
        users.push((name.clone(), format!("u{n}")));
    }
    if by_request && n.is_multiple_of(4) {
        harness.hint(&hint(&format!("u{n}"), &[&request])).await;
    }
    let keys: &[&str] = if n.is_multiple_of(3) {
        &[&request, &session]
    } else {
        &[&request]
    };
    harness.event(&event(&name, keys)).await;
    if by_request && !n.is_multiple_of(4) {
        harness.hint(&hint(&format!("u{n}"), &[&request])).await;
    }
    if by_session {
        let user = format!("s{}", n % 10);
        harness.hint(&hint(&user, &[&session])).await;
        users.push((name, user));
    }
    users
}

async fn same_pairs_over_crashes(with_store: bool) {
    let harness = Harness::start().await;
    let state_dir = || with_store.then(|| harness.state_dir());
    let mut running = harness.correlator(SECOND / 10, state_dir()).await;
    let mut wanted = BTreeSet::new();
    for n in 0..EVENTS {
        wanted.extend(feed(&harness, n).await);
        if n % (EVENTS / CRASHES) == EVENTS / CRASHES - 1 {
            running.crash().await;
            running = harness.correlator(SECOND / 10, state_dir()).await;
        }
    }
    let mut out: Vec<Seen> = Vec::new();
    until("every event and every pair came out", async || {
        out = harness.seen().await;
        let events: BTreeSet<&str> = out.iter().map(|seen| seen.event.as_str()).collect();
        events.len() == EVENTS && pairs(&out).is_superset(&wanted)
    })
    .await;
    assert_eq!(pairs(&out), wanted, "of {PARTITIONS} partitions");
    running.stop().await;
    let after = harness.seen().await;
    assert_eq!(pairs(&after), wanted);
    // One first record of each event; an amendment of each further user.
    let firsts: Vec<&str> = after
        .iter()
        .filter(|seen| !seen.amendment)
        .map(|seen| seen.event.as_str())
        .collect();
    assert_eq!(firsts.len(), EVENTS);
    assert_eq!(firsts.into_iter().collect::<BTreeSet<_>>().len(), EVENTS);
}

fn pairs(out: &[Seen]) -> BTreeSet<(String, String)> {
    let named = out.iter().filter_map(|seen| {
        let user = seen.user.clone()?;
        Some((seen.event.clone(), user))
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_with_checkpoints_change_nothing() {
    same_pairs_over_crashes(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_without_checkpoints_change_nothing() {
    same_pairs_over_crashes(false).await;
}
