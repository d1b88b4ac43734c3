//! What to do about one lease. Pure: no clock, no server.

use super::InstanceId;

/// What an instance knows of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// This instance.
    pub(crate) me: InstanceId,
    /// It holds the partition.
    pub(crate) held: bool,
    /// Owner and sequence of the lease; `None` where it is missing.
    pub(crate) lease: Option<(InstanceId, u64)>,
    /// Who should have it, of those that live.
    pub(crate) preferred: Option<InstanceId>,
    /// Who had it last, as far as this instance saw.
    pub(crate) last_owner: Option<InstanceId>,
    /// The server was away a moment ago: a missing lease says nothing about its owner.
    pub(crate) disturbed: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing.
    Leave,
    /// Write our name, where the lease still stands at this sequence (0: missing).
    Write(u64),
    /// Another has it: end our tenure.
    Yield,
    /// Another should have it: end our tenure, then write its name.
    HandOver(InstanceId),
}

pub(crate) fn decide(known: Known) -> Act {
    let Known { me, held, .. } = known;
    match known.lease {
        Some((owner, _)) if owner != me && held => Act::Yield,
        Some((owner, _)) if owner != me => Act::Leave,
        Some((_, sequence)) => match known.preferred {
            Some(other) if other != me && held => Act::HandOver(other),
            Some(_) | None => Act::Write(sequence),
        },
        None if held || known.last_owner == Some(me) => Act::Write(0),
        None if known.disturbed && known.last_owner.is_some() => Act::Leave,
        None if known.preferred == Some(me) => Act::Write(0),
        None => Act::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: InstanceId = InstanceId([1; 16]);
    const OTHER: InstanceId = InstanceId([2; 16]);

    fn known() -> Known {
        Known {
            me: ME,
            held: false,
            lease: None,
            preferred: Some(OTHER),
            last_owner: None,
            disturbed: false,
        }
    }

    #[test]
    fn an_own_lease_is_taken_back_at_once_whoever_is_preferred() {
        let lease = Some((ME, 7));
        assert_eq!(decide(Known { lease, ..known() }), Act::Write(7));
    }

    #[test]
    fn only_anothers_name_makes_an_owner_yield() {
        let held = Known {
            held: true,
            preferred: None,
            ..known()
        };
        assert_eq!(decide(held), Act::Write(0));
        let lease = Some((OTHER, 9));
        assert_eq!(decide(Known { lease, ..held }), Act::Yield);
    }

    #[test]
    fn a_missing_lease_is_first_its_last_owners() {
        let after_outage = Known {
            preferred: Some(ME),
            last_owner: Some(OTHER),
            disturbed: true,
            ..known()
        };
        assert_eq!(decide(after_outage), Act::Leave);
        let last_owner = Some(ME);
        assert_eq!(
            decide(Known {
                last_owner,
                preferred: Some(OTHER),
                ..after_outage
            }),
            Act::Write(0)
        );
        let calm = Known {
            disturbed: false,
            ..after_outage
        };
        assert_eq!(decide(calm), Act::Write(0));
    }

    #[test]
    fn who_joins_is_given_its_share() {
        let held = Known {
            held: true,
            lease: Some((ME, 3)),
            ..known()
        };
        assert_eq!(decide(held), Act::HandOver(OTHER));
        let alone = Known {
            preferred: None,
            ..held
        };
        assert_eq!(decide(alone), Act::Write(3));
    }
}
