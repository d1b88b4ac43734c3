//! CLOSED records: a slot can get no more breaches, and says what it held in the end
//! (SEMANTICS §5).

use balefire_event::{Escalation, Timestamp};

use crate::book::Closing;
use crate::effect::Effect;
use crate::engine::Engine;
use crate::escalate::{Found, closed, held};

impl Engine {
    /// Closes every escalated slot that ended by `cut`, as of the low watermark `low`.
    pub(crate) fn close_until(
        &mut self,
        cut: Timestamp,
        low: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let with_step = self.closed_with_step();
        for index in 0..self.books.len() {
            let Some(book) = self.books.get_mut(index) else {
                continue;
            };
            let until = cut.minus(book.closes_after());
            if let Some(told) = with_step {
                if told {
                    book.close_until(until);
                }
                book.closed_until = book.closed_until.max(Some(until));
                continue;
            }
            for closing in book.close_until(until) {
                let record = self.closing(index, &closing, low);
                effects.extend(record.map(|record| Effect::Escalate(Box::new(record))));
            }
        }
    }

    /// Closes what ended by then when slots were last closed, and is not closed: what recorded steps
    /// left open.
    pub(crate) fn close_known(&mut self, low: Timestamp, effects: &mut Vec<Effect>) {
        for index in 0..self.books.len() {
            let Some(book) = self.books.get_mut(index) else {
                continue;
            };
            let Some(until) = book.closed_until else {
                continue;
            };
            for closing in book.close_until(until) {
                let record = self.closing(index, &closing, low);
                effects.extend(record.map(|record| Effect::Escalate(Box::new(record))));
            }
        }
    }

    /// Of the newest generation that counted something in the slot; of a slot whose events have left
    /// memory, or never were there, that it ended and no more.
    fn closing(&self, book: usize, closing: &Closing, low: Timestamp) -> Option<Escalation> {
        let generations = self.generations.iter().rev();
        let of_book = generations.filter_map(|generation| {
            let counting = generation.counting.as_ref()?;
            (counting.book == book).then_some((generation.spec(), counting))
        });
        let with_events = of_book.clone().find_map(|(spec, counting)| {
            let window = counting.keys.get(&closing.tenant, closing.key)?;
            let held = held(counting, window, closing.emitted.slot)?;
            Some(closed(spec, counting, closing, held, low))
        });
        with_events.or_else(|| {
            let (spec, counting) = of_book.clone().next()?;
            let nothing = Found::nothing(&counting.window, closing.emitted.slot);
            Some(closed(spec, counting, closing, nothing, low))
        })
    }
}
