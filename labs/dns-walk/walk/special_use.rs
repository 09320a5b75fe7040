//! Local answers to special-use names, aliases and servers' names included.

use super::Walk;
use crate::event::{Class, Event, LocalAnswer, Purpose};
use crate::special_use::{SpecialAnswer, answer, find};
use wirelab::measure::Instant;

impl Walk {
    /// Whether the top task was one of these names, and has ended.
    pub(super) fn answer_special(&mut self, now: Instant) -> bool {
        if !self.setup.config.special_names {
            return false;
        }
        let Some(task) = self.tasks.top() else { return false };
        let Some(special) = find(&task.question.name) else { return false };
        let of_a_server = matches!(task.purpose, Purpose::Address { .. });
        let (class, records) = match answer(&special, &task.question) {
            SpecialAnswer::Records(records) if !of_a_server => (Class::Answer, records),
            SpecialAnswer::NoData => (Class::NoData, Vec::new()),
            SpecialAnswer::Records(_) | SpecialAnswer::NxDomain => (Class::NxDomain, Vec::new()),
        };
        let local = LocalAnswer {
            parent: task.parent,
            purpose: task.purpose.clone(),
            meant: task.question.text(),
            class: class.clone(),
            domain: special.domain,
            document: special.document.to_owned(),
            why: special.why.to_owned(),
        };
        self.log.record(now, Event::Local(local));
        self.task_done(now, &class, records);
        true
    }
}
