//! What leaves memory, and when: watermarks decide nothing else (SEMANTICS §7).

use balefire_event::Timestamp;

use crate::effect::Effect;
use crate::engine::Engine;
use crate::generation::Generation;

impl Engine {
    /// Moves the watermark; sweeps where it passed a multiple of `sweep_every`.
    pub(crate) fn sweep_if_due(&mut self, effects: &mut Vec<Effect>) {
        self.advance();
        if self.config.keeps_all {
            return;
        }
        let Some(low) = self.watermark.low() else {
            return;
        };
        let count = self.sweep_count(low);
        if self.swept.is_some_and(|swept| swept >= count) {
            return;
        }
        self.swept = Some(count);
        self.sweep(low, effects);
    }

    /// S is added so that a tick at a full multiple sweeps.
    const fn sweep_count(&self, low: Timestamp) -> i64 {
        low.plus(self.config.skew)
            .0
            .div_euclid(max(self.config.sweep_every, 1))
    }

    fn sweep(&mut self, low: Timestamp, effects: &mut Vec<Effect>) {
        self.barriers.forget(low);
        self.copies.forget(low, self.config.untrusted_memory);
        let Some(lateness) = self.lateness.largest(low, self.window_max()) else {
            return;
        };
        let reached = low.minus(lateness);
        let closed = reached.minus(self.config.ahead);
        self.decide_until(closed, low, effects);
        self.close_until(closed, low, effects);
        // A slot closes with all of its last W: that stays until the sweep behind its end.
        let closing = self.config.ahead.saturating_add(self.config.sweep_every);
        for generation in self.generations.iter_mut().filter(|one| !one.warming) {
            if let Some(counting) = &mut generation.counting {
                // A record received exactly at the watermark may come still, and its window
                // begins exactly there.
                let cut = reached.minus(counting.window.window()).minus(1);
                counting.drop_until(cut.minus(closing).minus(counting.kept_longer()));
            }
        }
        for index in 0..self.books.len() {
            self.sweep_book(index, reached);
        }
    }

    /// Forgets slots that ended by low watermark − (L + W + R), W the largest of the book's
    /// generations. What can breach one, or the slot behind it, is a straggler from then on: the
    /// fold needs the neighbour.
    fn sweep_book(&mut self, index: usize, reached: Timestamp) {
        let of_book = |one: &&Generation| one.counting.as_ref().is_some_and(|c| c.book == index);
        let mut generations = self.generations.iter().filter(of_book);
        if generations.any(|one| one.warming) {
            return;
        }
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        let window = counting
            .filter(|counting| counting.book == index)
            .map(|counting| counting.window.window())
            .max()
            .unwrap_or(0);
        let Some(book) = self.books.get_mut(index) else {
            return;
        };
        // Not before it is closed.
        let unclosed = self.config.ahead.saturating_add(book.closes_after());
        let kept = window.saturating_add(book.rearm).max(unclosed);
        let cut = reached.minus(kept);
        let rearm = book.rearm;
        let Some(end) = book.drop_until(cut) else {
            return;
        };
        let counting = self
            .generations
            .iter_mut()
            .filter_map(|g| g.counting.as_mut());
        for counting in counting.filter(|counting| counting.book == index) {
            let behind = end.plus(rearm).minus(counting.window.window());
            counting.raise_horizon(end.max(behind).minus(1));
        }
    }

    /// Largest W, nanoseconds.
    pub(crate) fn window_max(&self) -> i64 {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        counting.map(|c| c.window.window()).max().unwrap_or(0)
    }

    /// Largest R, nanoseconds.
    fn rearm_max(&self) -> i64 {
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        counting.map(|c| c.window.rearm()).max().unwrap_or(0)
    }

    /// L in force, nanoseconds; the default where no batch said one yet.
    pub(crate) fn lateness_now(&self) -> i64 {
        let low = self.watermark.low().unwrap_or(Timestamp::MIN);
        self.lateness
            .clone()
            .largest(low, self.window_max())
            .unwrap_or(balefire_event::stamp::LATENESS)
    }

    /// Earliest wall-clock time at which a tick in every lane would let something leave memory,
    /// rounded up to a multiple of `sweep_every`; `None`: nothing is kept.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let lateness = self.lateness_now();
        let counting = self.generations.iter().filter_map(|g| g.counting.as_ref());
        let entries = counting.filter_map(|counting| {
            let window = counting.window.window();
            let longer = counting.kept_longer();
            counting
                .oldest
                .map(|oldest| oldest.plus(window).plus(longer))
        });
        let slots = self.books.iter().filter(|book| !book.keys.is_empty());
        let slots = slots.filter_map(|book| {
            let low = self.watermark.low()?;
            // Emitted slots alone: look again in one period, they are few.
            Some(low.minus(lateness).plus(book.rearm))
        });
        let remembered = (!self.copies.is_empty() || !self.barriers.is_empty())
            .then(|| self.watermark.low())
            .flatten();
        let remembered =
            remembered.map(|low| low.minus(lateness).plus(self.config.untrusted_memory));
        let ahead = self.config.ahead;
        let open = self.books.iter().filter(|book| book.open_from.is_some());
        let closings = open.filter_map(|book| Some(book.open_from?.plus(book.closes_after())));
        let closings = closings.map(|end| end.plus(ahead));
        let earliest = entries
            .chain(slots)
            .chain(remembered)
            .chain(closings)
            .min()?;
        let due = earliest.plus(lateness).plus(self.config.skew);
        // A tick that no lane is behind of moves nothing: an input that stands still cannot ask
        // for one after the other.
        let useful = self.watermark.least_lane().map_or(due, |lane| lane.plus(1));
        Some(self.round_up(due.max(useful)))
    }

    fn round_up(&self, time: Timestamp) -> Timestamp {
        let every = max(self.config.sweep_every, 1);
        let over = time.0.rem_euclid(every);
        if over == 0 {
            time
        } else {
            time.plus(every - over)
        }
    }

    /// Server time from which ESCALATIONS is loaded at a take-over; `None`: all of it.
    #[must_use]
    pub fn load_from(&self) -> Option<Timestamp> {
        let reach = self
            .lateness_now()
            .saturating_add(self.window_max())
            .saturating_add(self.rearm_max().saturating_mul(2))
            .saturating_add(self.config.ahead + self.config.skew);
        Some(self.watermark.low()?.minus(reach))
    }

    /// Server time from which the partition is read to build a state without checkpoint, for a
    /// known low watermark.
    #[must_use]
    pub fn rebuild_from(&self, low: Timestamp, lateness: i64) -> Timestamp {
        let config = &self.config;
        let reach = lateness
            .saturating_add(self.window_max())
            .saturating_add(self.rearm_max())
            .saturating_add(2 * config.ahead + config.skew)
            .saturating_add(config.join_horizon)
            .saturating_add(config.untrusted_memory);
        low.minus(reach)
    }

    /// The state is built from this server time on: what lies before was never loaded.
    pub fn loaded_from(&mut self, server_time: Timestamp) {
        let config = &self.config;
        let horizon = server_time
            .plus(config.ahead + config.skew)
            .plus(config.untrusted_memory);
        for generation in &mut self.generations {
            if let Some(counting) = &mut generation.counting {
                counting.raise_horizon(horizon);
                counting.skip_until(horizon);
            }
        }
    }
}

const fn max(a: i64, b: i64) -> i64 {
    if a > b { a } else { b }
}
