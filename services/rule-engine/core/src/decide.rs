//! What one event does: which rules match it, which slots that breaches.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use balefire_event::{EscalationKind, Event, Field, Lane, Timing};
use balefire_rule::Measured;
use balefire_stream::Entry;

use crate::effect::{Effect, RULE_PANICKED};
use crate::engine::Engine;
use crate::escalate::{Found, amendment_of, single, windowed};
use crate::generation::{Generation, since};
use crate::key::{Key, write_key};
use crate::redo::Breached;

impl Engine {
    /// Takes an event of the current batch in.
    pub(crate) fn take_in(&mut self, index: u32, event: &Event<'_>, effects: &mut Vec<Effect>) {
        self.counters.events += 1;
        match event.timing {
            Timing::OnTime => {}
            Timing::Late => self.counters.late += 1,
            Timing::Future => self.counters.future += 1,
        }
        self.untrusted |= event.t != event.occurred_at;
        // Every matcher runs before anything changes: a panic leaves the state as it was.
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        let before = effects.len();
        self.match_all(index, event, &mut matched, effects);
        self.counters.panics += (effects.len() - before) as u64;
        let on_time = event.timing == Timing::OnTime;
        let lane = self.current.lane;
        let counts = on_time && self.admit(lane, event);
        for place in &matched {
            self.apply_match(*place, event, counts, effects);
        }
        self.matched = matched;
    }

    fn admit(&mut self, lane: Lane, event: &Event<'_>) -> bool {
        let memory = self.config.untrusted_memory;
        let counts = self.clocks_trusted || self.copies.admit(lane, event, memory);
        if !counts {
            self.counters.copies += 1;
        }
        counts
    }

    /// Places of the generations whose rule matches, in order; a dead letter for each rule that panics.
    fn match_all(
        &self,
        index: u32,
        event: &Event<'_>,
        matched: &mut Vec<usize>,
        effects: &mut Vec<Effect>,
    ) {
        let filled = filled_fields(event);
        let ask = &mut |places: &[usize]| {
            for place in places {
                if let Some(generation) = self.generations.get(*place) {
                    match asked(generation, index, event, filled.as_deref()) {
                        Ok(true) => matched.push(*place),
                        Ok(false) => {}
                        Err(letter) => effects.push(letter),
                    }
                }
            }
        };
        self.shelves.asked(event, ask);
        matched.sort_unstable();
    }

    /// A rule matched: a windowless one escalates, a windowed one counts.
    fn apply_match(
        &mut self,
        place: usize,
        event: &Event<'_>,
        counts: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let rule = generation.spec().id;
        let covered = generation.covers(event.control_revision);
        if generation.counting.is_none() {
            if covered {
                self.counters.rule(rule).matched += 1;
                self.escalate_single(place, event, effects);
            }
            return;
        }
        self.counters.rule(rule).matched += 1;
        let fields = generation.counting.as_ref().map(|c| c.group_by.as_slice());
        match Key::of(&mut self.key, fields.unwrap_or_default(), event) {
            None => self.counters.rule(rule).ungrouped += 1,
            Some(_) if counts && self.sends(place) => self.send(place, event, effects),
            Some(key) if counts => self.count(place, key, event, effects),
            Some(_) => {}
        }
    }

    fn escalate_single(&mut self, place: usize, event: &Event<'_>, effects: &mut Vec<Effect>) {
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let (spec, first) = (generation.version(event.control_revision), generation.first);
        let mut escalation = single(spec, &self.current.tenant, event);
        // What a join filled decided nothing: the event escalated before, and shows more now.
        let shows = filled_fields(event).is_some_and(|filled| !generation.reads_any(&filled));
        let id = escalation.escalation_id;
        if !shows && !self.is_single_told(id) {
            self.counters.escalations += 1;
            self.tell_single(id, first, escalation, effects);
            return;
        }
        let Some(amendment) = amendment_of(&escalation) else {
            return;
        };
        if !self.is_single_told(amendment) {
            escalation.kind = EscalationKind::Amended;
            escalation.revision = 1;
            self.tell_single(amendment, first, escalation, effects);
        }
    }

    /// Puts an event into its window and emits the slots this breaches.
    pub(crate) fn count(
        &mut self,
        place: usize,
        key: Key,
        event: &Event<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let tenant = &self.current.tenant;
        let Some(generation) = self.generations.get_mut(place) else {
            return;
        };
        let contribution = generation.contribution(event);
        let measured = generation.spec().measured(event);
        if measured == Measured::Nothing {
            let rule = generation.spec().id;
            self.counters.rule(rule).unmeasured += 1;
            return;
        }
        let may_breach = generation.covers(event.control_revision);
        let Some(counting) = generation.counting.as_mut() else {
            return;
        };
        let spec = counting.window;
        let in_memory = counting.horizon.is_none_or(|horizon| event.t > horizon);
        let at_close = counting.is_at_close();
        // Decided once, from what was there: no repair.
        let again = self.current.again;
        let straggler = !at_close && !again && counting.is_straggler(event.t);
        let decided = at_close && !again && counting.is_decided(event.t);
        self.counters.after_close += u64::from(decided);
        let mut found = Vec::new();
        if in_memory {
            counting.note(event.t);
            if at_close && counting.canonicals.get(tenant, key).is_none() {
                let mut canonical = Vec::new();
                write_key(&mut canonical, &counting.group_by, event);
                *counting.canonicals.entry(tenant, key) = canonical.into();
            }
            let book = self.books.get(counting.book);
            // Asked for seldom: few events come near a threshold.
            let emitted = |slot| book.is_some_and(|book| book.contains(tenant, key, slot));
            let entry = Entry::new(event.t, event.dedup_id, may_breach, contribution);
            let kept = counting.keys.find_or_make(tenant, key);
            let window = kept.value;
            if kept.told {
                window.keep_journal();
            }
            let slot = spec.slot_of(event.t);
            let (mut now_emitted, mut lost) = (false, 0);
            for value in measured.values() {
                let entry = entry.clone().with_value(value);
                let breaches = window.insert(&spec, entry, emitted);
                found.extend(Found::all(window, &spec, &breaches));
                for breach in breaches.iter().filter(|_| !straggler) {
                    lost += window.trim(&spec, breach.at, true);
                    now_emitted |= breach.slot == slot;
                }
                if window.is_long(&spec) {
                    lost += window.trim(&spec, event.t, now_emitted || emitted(slot));
                }
            }
            *kept.since = since(window);
            found.sort_by_key(|found| found.breach.slot);
            self.counters.over_limit += lost as u64;
        }
        if straggler {
            // What it breaches is found again by the repair, which knows the slots around it.
            self.counters.stragglers += 1;
            self.ask_for_repair(place, key, event);
        } else if !found.is_empty() {
            self.emit(place, key, event, &found, effects);
        }
    }

    /// Emits slots found breached, in ascending order, those known left out.
    pub(crate) fn emit(
        &mut self,
        place: usize,
        key: Key,
        event: &Event<'_>,
        found: &[Found],
        effects: &mut Vec<Effect>,
    ) {
        let tenant = &self.current.tenant;
        let Some(generation) = self.generations.get(place) else {
            return;
        };
        let Some(counting) = &generation.counting else {
            return;
        };
        // Ids hash the whole key, which the event at hand still has.
        let canonical = &mut self.key;
        if !write_key(canonical, &counting.group_by, event) {
            return;
        }
        let spec = generation.version(event.control_revision);
        for found in found {
            let escalation = windowed(spec, &counting.window, tenant, canonical, event, found);
            let at = Breached {
                tenant,
                key,
                canonical,
                slot: found.breach.slot,
                first: generation.first,
            };
            let book = self.books.get_mut(counting.book);
            let told = book.and_then(|book| book.tell(&at, escalation, self.redo.as_mut()));
            self.counters.escalations += u64::from(told.is_some());
            effects.extend(told.map(Effect::Escalate));
        }
    }
}

/// The fields that an amendment filled; `None`: it is no amendment, every rule looks at it.
pub(crate) fn filled_fields(event: &Event<'_>) -> Option<Vec<Field>> {
    let join = event.join.as_ref().filter(|join| join.amendment)?;
    Some(join.filled.iter().map(|name| Field::parse(name)).collect())
}

/// Whether a rule matches; a dead letter where it panics.
fn asked(
    generation: &Generation,
    index: u32,
    event: &Event<'_>,
    filled: Option<&[Field]>,
) -> Result<bool, Effect> {
    let concerned = filled.is_none_or(|filled| generation.reads_any(filled));
    if generation.counting.is_some() && !concerned {
        return Ok(false);
    }
    let spec = generation.spec();
    let matches = AssertUnwindSafe(|| spec.matcher.matches(event));
    catch_unwind(matches).map_err(|panic| Effect::DeadLetter {
        index,
        reason: RULE_PANICKED,
        detail: format!("rule {}: {}", spec.name, said(panic.as_ref())),
    })
}

/// What a panic said, where it was text.
fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panicked")
}
