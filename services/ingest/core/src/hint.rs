//! What a record says to others: whose a request is, and that a further key of it is asked for.

use std::borrow::Cow;

use balefire_event::{CorrelationKey, Hint, Stub, Timestamp, partition};

use crate::admit::Admitted;
use crate::door::Door;
use crate::path::StubTarget;

impl Door {
    /// The INTAKE partition that a hint for a key goes to.
    #[must_use]
    pub fn hint_target(&self, key: &CorrelationKey<'_>) -> u32 {
        partition::of_key(&self.tenant, key.kind, &key.value, self.partitions)
    }
}

impl Admitted<'_> {
    /// The INTAKE partitions that a hint of this record goes to, with the place of the key in the
    /// event's keys. None where it names no user or no key.
    pub fn hint_targets(&self, door: &Door) -> impl Iterator<Item = (u32, usize)> {
        let keys = match self.event.user {
            Some(_) => self.event.keys.as_slice(),
            None => &[],
        };
        let keys = keys.iter().enumerate();
        keys.map(|(index, key)| (door.hint_target(key), index))
    }

    /// The hint for some of its keys. `None` where it names no user.
    #[must_use]
    pub fn hint(&self, door: &Door, keys: &[usize]) -> Option<Hint<'_>> {
        let event = &self.event;
        let identity = event.user.as_ref()?.borrowed();
        let facts = [
            ("model", &event.model),
            ("endpoint", &event.endpoint),
            ("src_ip", &event.src_ip),
        ];
        let keys = keys.iter().filter_map(|&index| event.keys.get(index));
        Some(Hint {
            keys: keys.map(CorrelationKey::borrowed).collect(),
            identity,
            source: Cow::Borrowed(&event.source),
            received_at: Timestamp(0),
            join_horizon: door.source.join_horizon,
            authority: door.source.authority,
            facts: facts
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value.as_ref())))
                .collect(),
            dedup_id: event.dedup_id,
        })
    }

    /// Whose the key, the workload or the agent is that it names, each with its INTAKE partition: a hint
    /// without facts, which are of this call. None where its source vouches for nothing, or it names
    /// no user.
    pub fn owner_hints(&self, door: &Door) -> impl Iterator<Item = (u32, Hint<'_>)> {
        let event = &self.event;
        let keys = match event.user {
            Some(_) => door.source.owners.keys(event),
            None => Vec::new(),
        };
        keys.into_iter().filter_map(move |key| {
            let target = door.hint_target(&key);
            let mut hint = self.hint(door, &[])?;
            hint.facts.clear();
            hint.keys.push(key);
            Some((target, hint))
        })
    }

    /// The stub for one further key. `None` where the event has no such key.
    #[must_use]
    pub fn stub(&self, target: StubTarget) -> Option<Stub> {
        let keys = &self.event.keys;
        Some(Stub {
            key: keys.get(target.key)?.clone().into_owned(),
            dedup_id: self.event.dedup_id,
            partition: self.path.partition(),
            first_key: keys.first()?.clone().into_owned(),
            received_at: Timestamp(0),
        })
    }
}
