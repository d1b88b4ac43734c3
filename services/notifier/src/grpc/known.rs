//! A dead letter as this process knows it: how it is shown, and to whom.

use balefire_kit::Caller;
use balefire_kit::caller::DEFAULT_TENANT;
use balefire_notifier_core::letters::{Decision, Letter};
use balefire_wire::deadletter::v1::{
    DeadLetter, DeadLetterEntry, DeadLetterFilter, DeadLetterState, Resolution,
};

use super::mend::is_wanted;
use crate::letters::Kept;

pub(super) type Known = Letter<Kept, Resolution>;

pub(super) fn entry(known: &Known, whole: Option<DeadLetter>) -> DeadLetterEntry {
    let standing = known.standing();
    let state = match standing {
        None => DeadLetterState::Open,
        Some(Decision::Replayed) => DeadLetterState::Replayed,
        Some(Decision::Discarded) => DeadLetterState::Discarded,
    };
    DeadLetterEntry {
        letter: Some(whole.unwrap_or_else(|| known.letter.letter())),
        state: state.into(),
        resolution: known.decided.as_ref().map(|(_, _, record)| record.clone()),
    }
}

/// A caller sees the letters of its tenant. What cannot be read names none, and may hold anybody's
/// records: those letters are for the callers of the tenant `default`, who run the platform.
pub(super) fn sees(caller: &Caller, tenant: &str) -> bool {
    let whose = if tenant.is_empty() {
        DEFAULT_TENANT
    } else {
        tenant
    };
    *whose == *caller.tenant
}

/// Whether it is among those that a caller asks for.
pub(super) fn is_listed(
    caller: &Caller,
    known: &Known,
    stage: &str,
    filter: Option<&DeadLetterFilter>,
) -> bool {
    let letter = known.letter.letter();
    sees(caller, &letter.tenant)
        && (stage.is_empty() || letter.stage == stage)
        && is_wanted(&letter, filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_kit::Scope;

    #[test]
    fn a_letter_of_nobody_is_not_everybodys() {
        let of = |tenant: &str| Caller {
            tenant: tenant.into(),
            subject: "s".into(),
            method: String::new(),
            client: String::new(),
            scopes: [Scope::Read].into(),
        };
        assert!(sees(&of("acme"), "acme"));
        assert!(!sees(&of("acme"), "other"));
        assert!(!sees(&of("acme"), ""));
        assert!(sees(&of(DEFAULT_TENANT), ""));
        assert!(!sees(&of(DEFAULT_TENANT), "acme"));
    }
}
