//! Rules of a world: as the engine takes them, and as the oracle reads them.

use std::sync::Arc;

use balefire_event::digest::FieldHasher;
use balefire_event::{Category, Digest, Event, Field, RuleId, Severity};
use balefire_rule::{Measure, Measured, RuleKind, Threshold};
use balefire_rule_engine_core::{Matcher, RuleSpec};

use crate::fault::Fault;
use crate::grouping::Grouped;
use crate::rng::Rng;
use crate::world::UNIT;

/// What of an event a window looks at. Events are told apart by the number in their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// That it is there.
    Events,
    /// Its number modulo 3.
    Distinct,
    /// Its model, which an identity may fill.
    Models,
    /// Its number modulo 4.
    Sum,
    /// Two steps: numbers that leave 0 and 1 when divided by 3.
    Unordered,
    Ordered,
}

impl Looked {
    /// `None`: the event enters no window.
    pub(crate) fn value(self, number: u8, model: &str) -> Option<u64> {
        match self {
            Self::Events => Some(0),
            Self::Distinct => Some(u64::from(number % 3)),
            Self::Models => model.bytes().next().map(u64::from),
            Self::Sum => Some(u64::from(number % 4)),
            Self::Unordered | Self::Ordered => (number % 3 < 2).then_some(u64::from(number % 3)),
        }
    }

    fn measure(self, fault: Option<Fault>) -> Measure {
        match self {
            Self::Distinct if fault == Some(Fault::RepeatsCounted) => Measure::Events,
            Self::Ordered if fault == Some(Fault::OrderIgnored) => Self::Unordered.measure(None),
            Self::Events => Measure::Events,
            Self::Distinct => Measure::Distinct(Field::EventId),
            Self::Models => Measure::Distinct(Field::Model),
            Self::Sum => Measure::Sum(Field::EventId),
            Self::Unordered | Self::Ordered => Measure::Sequence {
                steps: 2,
                ordered: self == Self::Ordered,
            },
        }
    }
}

/// What is counted by what, N, W and R; nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) what: Looked,
    pub(crate) by: Grouped,
    pub(crate) n: u64,
    pub(crate) window: i64,
    pub(crate) rearm: i64,
}

/// A rule: categories, perhaps a model, and what it counts.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) id: RuleId,
    pub(crate) categories: Vec<Category>,
    pub(crate) model: Option<&'static str>,
    /// `None`: each matching event escalates.
    pub(crate) counted: Option<Counted>,
}

impl Matcher for Plain {
    fn matches(&self, event: &Event<'_>) -> bool {
        self.categories.contains(&event.category)
            && self.model.is_none_or(|model| event.model == model)
    }
    fn reads(&self, field: &Field) -> bool {
        let counts = self
            .counted
            .is_some_and(|counted| counted.what == Looked::Models);
        *field == Field::Category || (*field == Field::Model && (self.model.is_some() || counts))
    }
    fn measured(&self, event: &Event<'_>) -> Measured {
        let counted = self.counted.map(|counted| counted.what);
        let value = counted.and_then(|what| what.value(event.dedup_id.0[0], &event.model));
        match counted {
            Some(Looked::Unordered | Looked::Ordered) => {
                let step = value.and_then(|value| u8::try_from(value).ok());
                Measured::Steps(step.into_iter().collect())
            }
            Some(_) | None => value.map_or(Measured::Nothing, Measured::Value),
        }
    }
}

impl Plain {
    /// Whether its keys lie elsewhere than its events do.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.counted
            .is_some_and(|counted| counted.by != Grouped::User)
    }

    pub(crate) fn spec(&self, fault: Option<Fault>) -> RuleSpec {
        let by = self.counted.map_or(Grouped::User, |counted| counted.by);
        let kind = match self.counted {
            None => RuleKind::Single,
            Some(counted) => RuleKind::Threshold(Threshold {
                measure: counted.what.measure(fault),
                n: counted.n,
                window: counted.window,
                rearm: counted.rearm,
                group_by: by.fields(),
            }),
        };
        let mut hasher = FieldHasher::new("simulated rule");
        for category in &self.categories {
            hasher.field(category.as_str().as_bytes());
        }
        hasher.field(self.model.unwrap_or_default().as_bytes());
        if let Some(counted) = self.counted {
            hasher
                .field(format!("{:?} {:?}", counted.what, counted.by).as_bytes())
                .number(i64::try_from(counted.n).unwrap_or(i64::MAX))
                .number(counted.window)
                .number(counted.rearm);
        }
        RuleSpec {
            id: self.id,
            name: format!("rule_{}", self.id.0[0]),
            title: String::new(),
            severity: Severity::High,
            key_fields: by.fields(),
            kind,
            actions: Vec::new(),
            audiences: Vec::new(),
            atlas: Vec::new(),
            owasp: Vec::new(),
            shadow: false,
            categories: self.categories.clone(),
            signature: Digest(hasher.digest()),
            matcher: Arc::new(self.clone()),
        }
    }
}

fn counted(rng: &mut Rng, by: Grouped) -> Counted {
    let window = rng.between(1, 8) * UNIT;
    let rearm = rng.pick(&[1, 2, 3, 12, 20]) * UNIT;
    let what = rng.pick(&[
        Looked::Events,
        Looked::Events,
        Looked::Events,
        Looked::Distinct,
        Looked::Models,
        Looked::Sum,
        Looked::Unordered,
        Looked::Ordered,
    ]);
    Counted {
        what,
        by,
        n: rng.pick(&[0, 1, 1, 2, 2, 3]),
        window,
        rearm: if rng.chance(40) { window } else { rearm },
    }
}

/// The rule sets in force from each control revision on.
pub(crate) fn rule_sets(rng: &mut Rng, sets: usize) -> Vec<(u64, Vec<Plain>)> {
    let mut blocks = Plain {
        id: RuleId([1; 16]),
        categories: vec![Category::GuardrailBlock],
        model: None,
        counted: Some(counted(rng, Grouped::User)),
    };
    let both = Plain {
        id: RuleId([2; 16]),
        categories: vec![Category::GuardrailBlock, Category::JudgeFlag],
        model: rng.chance(50).then_some("m"),
        counted: Some(counted(rng, Grouped::User)),
    };
    let attacks = Plain {
        id: RuleId([3; 16]),
        categories: vec![Category::PromptAttack],
        model: rng.chance(30).then_some("m"),
        counted: None,
    };
    let mut elsewhere = elsewhere(rng);
    let mut first = vec![blocks.clone(), both.clone(), attacks.clone()];
    first.extend(elsewhere.iter().cloned());
    let mut found = vec![(0, first)];
    for revision in 1..sets {
        let mut set = Vec::new();
        match rng.below(4) {
            0 => {}
            1 => blocks.counted = Some(counted(rng, Grouped::User)),
            2 => {
                // Another N and W, the same R: the ids are shared.
                let rearm = blocks.counted.map_or(UNIT, |counted| counted.rearm);
                blocks.counted = Some(Counted {
                    rearm,
                    ..counted(rng, Grouped::User)
                });
            }
            _ => blocks.categories = vec![Category::JudgeFlag],
        }
        if !rng.chance(15) {
            set.push(blocks.clone());
        }
        set.push(both.clone());
        if !rng.chance(30) {
            set.push(attacks.clone());
        }
        elsewhere.retain(|_| !rng.chance(10));
        for rule in &mut elsewhere {
            if rng.chance(25) {
                let by = Grouped::elsewhere(rng);
                rule.counted = Some(counted(rng, by));
            }
        }
        if rng.chance(25) {
            elsewhere.push(counted_elsewhere(
                rng,
                6 + u8::try_from(revision).unwrap_or(0),
            ));
        }
        set.extend(elsewhere.iter().cloned());
        found.push((revision as u64, set));
    }
    found
}

/// Rules that are counted in REKEYED; a world may have none.
fn elsewhere(rng: &mut Rng) -> Vec<Plain> {
    (0..rng.pick(&[0u8, 1, 1, 2]))
        .map(|number| counted_elsewhere(rng, 4 + number))
        .collect()
}

fn counted_elsewhere(rng: &mut Rng, id: u8) -> Plain {
    let by = Grouped::elsewhere(rng);
    Plain {
        id: RuleId([id; 16]),
        categories: if rng.chance(50) {
            vec![Category::GuardrailBlock]
        } else {
            vec![
                Category::GuardrailBlock,
                Category::JudgeFlag,
                Category::PromptAttack,
            ]
        },
        model: rng.chance(25).then_some("m"),
        counted: Some(counted(rng, by)),
    }
}
