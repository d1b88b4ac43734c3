//! The correlator's records as a checkpoint holds them.

use balefire_correlator_core::{Correlator, Decode, State, Stored};
use balefire_driver::BadState;
use balefire_store::{Changes, Error, Records};
use serde::de::DeserializeOwned;

use super::CorrelatorStage;

/// Most records that are told at once ahead of a checkpoint: some milliseconds' worth.
const SLICE_LEN_MAX: usize = 8 * 1024;

/// Takes what a correlator tells.
pub(super) struct Taker {
    changes: Changes,
    failed: Option<Error>,
}

impl Taker {
    /// For all of a state, or what changed of it.
    const fn of(core: &Correlator) -> Self {
        let changes = match core.is_told() {
            true => Changes::since(),
            false => Changes::whole(),
        };
        Self {
            changes,
            failed: None,
        }
    }

    fn take(&mut self, key: &[u8], value: Option<Stored<'_>>) {
        let taken = match value {
            Some(value) => self.changes.put(key, &value),
            None => self.changes.gone(key),
        };
        if let Err(error) = taken {
            self.failed.get_or_insert(error);
        }
    }
}

impl CorrelatorStage {
    /// Tells a part of what changed, where that is much.
    pub(super) fn take_ahead(&mut self) -> bool {
        if self.core.changed_len() <= SLICE_LEN_MAX {
            return false;
        }
        let taker = self.ahead.get_or_insert_with(|| Taker::of(&self.core));
        let tell = &mut |key: &[u8], value: Option<Stored<'_>>| taker.take(key, value);
        self.core.take_ahead(SLICE_LEN_MAX, tell);
        true
    }

    /// What changed since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        let ahead = self.ahead.take();
        let mut taker = ahead.unwrap_or_else(|| Taker::of(&self.core));
        let tell = &mut |key: &[u8], value: Option<Stored<'_>>| taker.take(key, value);
        self.core.take_changes(tell);
        if let Some(error) = taker.failed {
            // Records without a head are refused at a restore.
            tracing::error!(%error, "no checkpoint of this state can be taken");
            self.core.untold();
            return Changes::whole();
        }
        taker.changes
    }

    pub(super) fn take_over(&mut self, state: State) -> Result<(), BadState> {
        self.wanted.clear();
        self.ahead = None;
        let restored = self.core.restore(state);
        restored.map_err(|e| BadState {
            reason: e.to_string(),
        })
    }
}

struct Reader;

impl Decode for Reader {
    fn decode<T: DeserializeOwned>(&self, value: &[u8]) -> Option<T> {
        balefire_store::decode(value).ok()
    }
}

/// The state that a checkpoint holds.
pub(super) fn state_of(records: &Records) -> Result<State, BadState> {
    State::assemble(records.iter(), &Reader).map_err(|e| BadState {
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use balefire_driver::Stage as _;
    use balefire_event::{CorrelationKey, Hint, KeyKind, Lane, SubjectRef, Timestamp};
    use balefire_store::{Meta, Options, Store};
    use balefire_wire::RecordRef;

    use super::*;
    use crate::stage::tests::{event, feed, hint, stage};

    /// One of many: a key and a user of its own.
    fn numbered(number: usize) -> Hint<'static> {
        let mut one = hint(1);
        one.keys = vec![CorrelationKey {
            kind: KeyKind::Session,
            value: number.to_string().into(),
        }];
        let mut subject = [0; 16];
        subject[..8].copy_from_slice(&number.to_le_bytes());
        one.identity.subject_ref = SubjectRef(subject);
        one
    }

    fn give(stage: &mut CorrelatorStage, numbers: std::ops::Range<usize>) {
        for number in numbers {
            feed(stage, Lane::Bulk, &[RecordRef::Hint(&numbered(number))]);
        }
    }

    fn meta(step: u64) -> Meta {
        Meta {
            stage_version: stage().version(),
            partition: 0,
            step,
            sources: Vec::new(),
            targets: Vec::new(),
            tail: Vec::new(),
            taken_at_ns: 0,
        }
    }

    #[tokio::test]
    async fn what_lies_on_disk_is_the_live_stage() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).await.unwrap();
        let mut live = stage();
        // Much of it: told in parts, with inputs between them.
        give(&mut live, 0..6_000);
        assert!(live.changes_ahead());
        give(&mut live, 6_000..6_100);
        while live.changes_ahead() {}
        let all = live.changes();
        assert!(all.is_whole() && all.len() > 12_000, "{}", all.len());
        store.save("c.0", meta(1), all).await.unwrap();
        // Little of it: what is new, and what time took away.
        feed(&mut live, Lane::Normal, &[RecordRef::Event(&event(7))]);
        give(&mut live, 6_100..6_150);
        let mut new = numbered(6_151);
        new.received_at = Timestamp(balefire_event::time::HOUR);
        for &lane in Lane::ALL {
            feed(&mut live, lane, &[RecordRef::Hint(&new)]);
        }
        assert!(live.changes_ahead(), "all the others are gone");
        while live.changes_ahead() {}
        let changed = live.changes();
        assert!(!changed.is_whole());
        store.save("c.0", meta(2), changed).await.unwrap();
        let found = store.load("c.0").await.unwrap().unwrap();
        assert!(found.state.len() < 10, "{}", found.state.len());
        let mut second = stage();
        second.restore_records(&found.state).unwrap();
        assert_eq!(second.snapshot(), live.snapshot());
        assert_eq!(second.changes().len(), 1, "the head alone");
    }

    #[test]
    fn what_was_not_saved_is_told_again() {
        let mut live = stage();
        give(&mut live, 0..10);
        assert_eq!(live.changes().len(), 21);
        give(&mut live, 10..11);
        live.unsaved();
        let all = live.changes();
        assert!(all.is_whole());
        assert_eq!(all.len(), 23);
        assert_eq!(live.changes().len(), 1);
    }
}
