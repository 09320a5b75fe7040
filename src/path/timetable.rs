//! Which setting is in force when.
//!
//! It exists so that a frame finds its settings by one comparison, whatever the timetable holds.
//! It must never copy a setting: a phase names it by its place in the plan.

use super::bottleneck::Rate;
use super::change::{Change, Setting};
use super::corrupt::Corruption;
use super::delay::Delay;
use super::loss::LossModel;
use super::plan::LinkPlan;
use crate::measure::{Ppm, nanos};

/// Where a setting stands: 0 in the plan itself, n in the n-th change.
type Place = u16;

/// What is in force for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Phase {
    /// Nanoseconds from the link's start.
    from: u64,
    down: bool,
    loss: Place,
    delay: Place,
    rate: Place,
    corrupt: Place,
    duplicate: Place,
}

/// A plan's timetable, made ready.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    /// In order of time; the first begins at 0.
    phases: Vec<Phase>,
}

impl Timetable {
    /// Of at most 65,535 changes; [`LinkPlan::check`] allows fewer.
    pub(super) fn new(changes: &[Change]) -> Self {
        let begin = |change: &Change| nanos(change.at);
        let end = |change: &Change| {
            change.lasting.map_or(u64::MAX, |lasting| begin(change).saturating_add(nanos(lasting)))
        };
        let mut times: Vec<u64> = changes.iter().flat_map(|c| [begin(c), end(c)]).collect();
        times.push(0);
        times.retain(|time| *time != u64::MAX);
        times.sort_unstable();
        times.dedup();
        let phase = |from: u64| {
            let mut phase = Phase { from, ..Phase::default() };
            let numbered = (1..=Place::MAX).zip(changes);
            for (place, _) in numbered.filter(|(_, c)| begin(c) <= from && from < end(c)) {
                phase.set(place, changes);
            }
            phase
        };
        Self { phases: times.into_iter().map(phase).collect() }
    }

    /// Which phase holds at a time, counted from the link's start; `near` is a phase to begin
    /// with, for callers whose times only grow.
    pub(super) fn at(&self, elapsed: u64, near: usize) -> usize {
        let mut phase = near;
        while self.next(phase).is_some_and(|from| from <= elapsed) {
            phase += 1;
        }
        phase
    }

    /// When the next phase begins.
    pub(super) fn next(&self, phase: usize) -> Option<u64> {
        self.phases.get(phase + 1).map(|phase| phase.from)
    }

    pub(super) fn down(&self, phase: usize) -> bool {
        self.phases[phase].down
    }

    /// The loss model, and its place.
    pub(super) fn loss<'a>(&self, plan: &'a LinkPlan, phase: usize) -> (&'a LossModel, u16) {
        let place = self.phases[phase].loss;
        match change(plan, place) {
            Some(Setting::Loss(loss)) => (loss, place),
            _ => (&plan.loss, 0),
        }
    }

    pub(super) fn delay<'a>(&self, plan: &'a LinkPlan, phase: usize) -> &'a Delay {
        match change(plan, self.phases[phase].delay) {
            Some(Setting::Delay(delay)) => delay,
            _ => &plan.delay,
        }
    }

    /// The rate, and its place.
    pub(super) fn rate<'a>(&self, plan: &'a LinkPlan, phase: usize) -> Option<(&'a Rate, u16)> {
        let place = self.phases[phase].rate;
        match change(plan, place) {
            Some(Setting::Rate(rate)) => Some((rate, place)),
            _ => plan.rate.as_ref().map(|bottleneck| (&bottleneck.rate, 0)),
        }
    }

    pub(super) fn corrupt(&self, plan: &LinkPlan, phase: usize) -> Corruption {
        match change(plan, self.phases[phase].corrupt) {
            Some(Setting::Corrupt(corruption)) => *corruption,
            _ => plan.corrupt,
        }
    }

    pub(super) fn duplicate(&self, plan: &LinkPlan, phase: usize) -> Ppm {
        match change(plan, self.phases[phase].duplicate) {
            Some(Setting::Duplicate(share)) => *share,
            _ => plan.duplicate,
        }
    }
}

fn change(plan: &LinkPlan, place: Place) -> Option<&Setting> {
    plan.timetable.get(usize::from(place).checked_sub(1)?).map(|change| &change.what)
}

impl Phase {
    /// Lets a change hold here, unless one that began later does.
    fn set(&mut self, place: Place, changes: &[Change]) {
        let of = |place: Place| changes.get(usize::from(place).wrapping_sub(1));
        let Some(change) = of(place) else { return };
        let held = match change.what {
            Setting::Down => {
                self.down = true;
                return;
            }
            Setting::Loss(_) => &mut self.loss,
            Setting::Delay(_) => &mut self.delay,
            Setting::Rate(_) => &mut self.rate,
            Setting::Corrupt(_) => &mut self.corrupt,
            Setting::Duplicate(_) => &mut self.duplicate,
        };
        if of(*held).is_none_or(|before| before.at <= change.at) {
            *held = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_change_that_began_last_holds_and_what_stood_before_returns() {
        let secs = Duration::from_secs;
        let change = |at, lasting: Option<u64>, share| Change {
            at: secs(at),
            lasting: lasting.map(secs),
            what: Setting::Duplicate(Ppm::new(share).unwrap()),
        };
        let plan = LinkPlan {
            duplicate: Ppm::new(1).unwrap(),
            timetable: vec![
                change(3, Some(10), 3),
                change(5, None, 5),
                change(7, Some(1), 7),
                Change { at: secs(4), lasting: Some(secs(1)), what: Setting::Down },
            ],
            ..LinkPlan::default()
        };
        let table = Timetable::new(&plan.timetable);
        let at = |second: u64, nano: u64| table.at(second * 1_000_000_000 - nano, 0);
        for (second, nano, share) in
            [(1, 0, 1), (3, 1, 1), (3, 0, 3), (5, 1, 3), (5, 0, 5), (7, 0, 7), (8, 1, 7), (8, 0, 5)]
        {
            let got = table.duplicate(&plan, at(second, nano)).get();
            assert_eq!(got, share, "{second} s - {nano} ns");
        }
        assert_eq!(table.duplicate(&plan, at(100, 0)).get(), 5);
        let down: Vec<bool> =
            [(4, 1), (4, 0), (5, 1), (5, 0)].iter().map(|(s, n)| table.down(at(*s, *n))).collect();
        assert_eq!(down, [false, true, true, false]);
    }
}
