//! Past outputs, shown to the stage.

use crate::log::Log;
use crate::owner::{Checkpoint, Session};
use crate::place::ESCALATIONS;

impl Session<'_> {
    /// Shows the stage past outputs of `steps` stored from `since` on.
    pub(crate) fn show(&mut self, log: &Log, steps: std::ops::Range<u64>, since: i64) {
        if self.place.joins() {
            return;
        }
        let mine = log.of_subject(self.targets[ESCALATIONS], self.place);
        for (_, batch, step) in mine {
            if !step.claim && steps.contains(&step.number) && batch.stored_at >= since {
                self.stage.load(batch);
            }
        }
    }

    /// Shows the stage what a later owner told with steps that a checkpoint covers.
    pub(crate) fn show_late(&mut self, log: &Log, checkpoint: &Checkpoint) {
        if self.place.joins() {
            return;
        }
        let mine = log.of_subject(self.targets[ESCALATIONS], self.place);
        let late = mine.filter(|(sequence, _, step)| {
            *sequence > checkpoint.told && !step.claim && step.number <= checkpoint.step
        });
        for (_, batch, _) in late {
            self.stage.load(batch);
        }
    }
}
