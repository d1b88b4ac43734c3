//! [`Contained`]: a message over which this program panics stops nobody. A panic may have left the state
//! half changed, so the partition starts again from the log; then every escalation of that message is
//! tried alone, on a copy, and the one that fails again is left out. It belongs into a dead letter.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use balefire_event::Escalation;

use crate::effect::Effect;
use crate::state::State;

/// Messages of a partition that a process panicked over and remembers; beyond it the fault is not in the
/// messages, and the partition starts again each time.
pub const SUSPECTS_MAX: usize = 1024;

/// Runs a call; a panic becomes its words.
///
/// # Errors
/// What the panic said.
pub fn contained<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| said(panic.as_ref()))
}

/// What a panic said.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("this program panicked over it: {}", text.unwrap_or("?"))
}

/// Whether escalations are applied to see if that can be done, and nothing else may change by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It counts.
    No,
    /// On a copy of the state.
    Yes,
}

/// What was decided of a message.
#[derive(Debug)]
pub struct Decided {
    /// What follows.
    pub effects: Vec<Effect>,
    /// Escalations that nobody is told of, by their place in the message, each with what the panic said.
    pub left_out: Vec<(usize, String)>,
}

/// The messages of a partition that this process panicked over, by sequence, and how often.
#[derive(Debug, Default)]
pub struct Contained {
    panics: BTreeMap<u64, u32>,
}

impl Contained {
    /// Applies the escalations of a message to the state; `apply` is told whether it is a trial only.
    ///
    /// # Errors
    /// What a panic said: the state is to be made anew from the log, and the message to be given again.
    pub fn decide(
        &mut self,
        state: &mut State,
        sequence: u64,
        escalations: &[Escalation],
        apply: impl Fn(&mut State, &[Escalation], Trial) -> Vec<Effect>,
    ) -> Result<Decided, String> {
        let panics = self.panics.get(&sequence).copied().unwrap_or(0);
        let left_out = match panics {
            0 => Vec::new(),
            1 => failing(state, escalations, &apply),
            // Each goes alone and all of them do not.
            _ => {
                let why = "this program panicked over what came with it";
                (0..escalations.len())
                    .map(|at| (at, why.to_owned()))
                    .collect()
            }
        };
        let decided = match left_out.is_empty() {
            true => contained(|| apply(state, escalations, Trial::No)),
            false => {
                let is_out = |at| left_out.iter().any(|(out, _)| *out == at);
                let sound = escalations.iter().enumerate();
                let sound = sound.filter(|(at, _)| !is_out(*at));
                let sound: Vec<_> = sound.map(|(_, one)| one.clone()).collect();
                contained(|| apply(state, &sound, Trial::No))
            }
        };
        match decided {
            Ok(effects) => Ok(Decided { effects, left_out }),
            Err(said) => {
                if panics > 0 || self.panics.len() < SUSPECTS_MAX {
                    self.panics.insert(sequence, panics.saturating_add(1));
                }
                Err(said)
            }
        }
    }
}

/// Which escalations panic, each tried behind those before it that do not.
fn failing(
    state: &State,
    escalations: &[Escalation],
    apply: impl Fn(&mut State, &[Escalation], Trial) -> Vec<Effect>,
) -> Vec<(usize, String)> {
    let mut copy = state.clone();
    let mut failing = Vec::new();
    for (at, one) in escalations.iter().enumerate() {
        let alone = std::slice::from_ref(one);
        if let Err(said) = contained(|| apply(&mut copy, alone, Trial::Yes)) {
            failing.push((at, said));
            copy = state.clone();
        }
    }
    failing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;
    use crate::input::Input;
    use crate::state::tests::{escalation, plan};
    use crate::storm::Storms;
    use balefire_event::{EscalationId, Severity, Timestamp};

    fn batch(ids: &[u8]) -> Vec<Escalation> {
        let one = |id: &u8| escalation(*id, Severity::High, &["soc"]);
        ids.iter().map(one).collect()
    }

    /// Panics behind having changed the state, over the escalation 66, and over 77 beside another.
    fn apply(state: &mut State, escalations: &[Escalation], _: Trial) -> Vec<Effect> {
        let effects = state.apply(Input::Escalated {
            sequence: 5,
            escalations,
            now: Timestamp(1),
            plan: &plan(&["soc"]),
            partition: 0,
            storms: &mut Storms::default(),
        });
        let is = |id: u8| move |one: &Escalation| one.escalation_id == EscalationId([id; 16]);
        assert!(!escalations.iter().any(is(66)), "66 it was");
        assert!(escalations.len() < 2 || !escalations.iter().any(is(77)));
        effects
    }

    fn told(decided: &Decided) -> Vec<u8> {
        let intents = decided.effects.iter().flat_map(|effect| match effect {
            Effect::RecordIntents { intents, .. } => intents.as_slice(),
            Effect::Deliver(_)
            | Effect::Release { .. }
            | Effect::DeadLetter(_)
            | Effect::RecordAttempt { .. } => &[],
        });
        intents.map(|intent| intent.escalation_id.0[0]).collect()
    }

    fn new() -> State {
        State::new(Backoff::default())
    }

    #[test]
    fn what_panics_again_is_left_out_and_the_others_are_told() {
        let (mut known, message) = (Contained::default(), batch(&[1, 66, 2]));
        let first = known.decide(&mut new(), 5, &message, apply);
        assert_eq!(
            first.unwrap_err(),
            "this program panicked over it: 66 it was"
        );
        let decided = known.decide(&mut new(), 5, &message, apply).unwrap();
        assert_eq!(told(&decided), [1, 2]);
        let why = "this program panicked over it: 66 it was".to_owned();
        assert_eq!(decided.left_out, [(1, why)]);
        // So it is after the next start of the partition, too; other messages are whole.
        let again = known.decide(&mut new(), 5, &message, apply).unwrap();
        assert_eq!((told(&again), again.left_out.len()), (vec![1, 2], 1));
        let other = known.decide(&mut new(), 6, &batch(&[3]), apply).unwrap();
        assert_eq!((told(&other), other.left_out.len()), (vec![3], 0));
    }

    #[test]
    fn what_panics_only_together_is_left_out_together() {
        let (mut known, message) = (Contained::default(), batch(&[1, 77]));
        for _ in 0..2 {
            known.decide(&mut new(), 5, &message, apply).unwrap_err();
        }
        let decided = known.decide(&mut new(), 5, &message, apply).unwrap();
        assert_eq!((told(&decided), decided.left_out.len()), (vec![], 2));
    }

    #[test]
    fn what_panics_over_everything_is_not_remembered_for_ever() {
        let mut known = Contained::default();
        let everything = |_: &mut State, _: &[Escalation], _| panic!("whatever it is");
        for sequence in 0..=SUSPECTS_MAX as u64 {
            let one = batch(&[1]);
            known
                .decide(&mut new(), sequence, &one, everything)
                .unwrap_err();
        }
        assert_eq!(known.panics.len(), SUSPECTS_MAX);
    }
}
