//! The settings in force at each time, precomputed so that a frame finds them by one comparison.

use super::change::{Change, Setting};
use super::plan::LinkPlan;
use crate::measure::nanos;
use std::mem::discriminant;

/// Source of a setting: 0 for the plan itself, n for the n-th change.
type Place = u32;

/// The settings of one interval.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// Nanoseconds from the link's start.
    from: u64,
    /// Whether every arriving frame is lost.
    pub(super) down: bool,
    /// The plan with the active changes applied, and without a timetable.
    pub(super) plan: LinkPlan,
    /// Sources of the loss model and of the rate.
    pub(super) loss: Place,
    pub(super) rate: Place,
}

/// A plan's precomputed timetable.
#[derive(Clone, Debug)]
pub(super) struct Timetable {
    /// In order of time; the first begins at 0.
    phases: Vec<Phase>,
}

impl Timetable {
    pub(super) fn new(plan: &LinkPlan) -> Self {
        let begin = |change: &Change| nanos(change.at);
        let end = |change: &Change| {
            change.lasting.map_or(u64::MAX, |lasting| begin(change).saturating_add(nanos(lasting)))
        };
        let mut changes: Vec<(Place, &Change)> = (1..).zip(&plan.timetable).collect();
        let mut times: Vec<u64> =
            changes.iter().flat_map(|(_, c)| [begin(c), end(c)]).chain([0]).collect();
        times.retain(|time| *time != u64::MAX);
        times.sort_unstable();
        times.dedup();
        let plan = LinkPlan { timetable: Vec::new(), ..plan.clone() };
        // The latest to begin applies; of two at one time, the later one in the plan.
        changes.sort_by_key(|(_, change)| change.at);
        let mut coming = changes.into_iter().peekable();
        let mut in_force: Vec<(Place, &Change)> = Vec::new();
        let phase = |from: u64| {
            let mut phase = Phase { from, down: false, plan: plan.clone(), loss: 0, rate: 0 };
            while let Some(new) = coming.next_if(|(_, change)| begin(change) <= from) {
                if new.1.lasting.is_none() {
                    // Changes that began earlier never apply again.
                    let kind = |change: &Change| discriminant(&change.what);
                    in_force.retain(|(_, old)| kind(old) != kind(new.1));
                }
                in_force.push(new);
            }
            in_force.retain(|(_, change)| from < end(change));
            in_force.iter().for_each(|(place, change)| phase.set(*place, &change.what));
            phase
        };
        Self { phases: times.into_iter().map(phase).collect() }
    }

    /// The phase at a time, counted from the link's start; the search begins at `near`, for callers
    /// whose times only grow.
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

    /// The settings of a phase.
    pub(super) fn phase(&self, phase: usize) -> &Phase {
        &self.phases[phase]
    }
}

impl Phase {
    fn set(&mut self, place: Place, what: &Setting) {
        match what {
            Setting::Down => self.down = true,
            Setting::Loss(loss) => (self.plan.loss, self.loss) = (loss.clone(), place),
            Setting::Delay(delay) => self.plan.delay = delay.clone(),
            Setting::Rate(rate) => {
                if let Some(bottleneck) = &mut self.plan.rate {
                    (bottleneck.rate, self.rate) = (rate.clone(), place);
                }
            }
            Setting::Corrupt(corruption) => self.plan.corrupt = *corruption,
            Setting::Duplicate(share) => self.plan.duplicate = *share,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Ppm;
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
        let table = Timetable::new(&plan);
        let at = |second: u64, nano: u64| table.at(second * 1_000_000_000 - nano, 0);
        for (second, nano, share) in
            [(1, 0, 1), (3, 1, 1), (3, 0, 3), (5, 1, 3), (5, 0, 5), (7, 0, 7), (8, 1, 7), (8, 0, 5)]
        {
            let got = table.phase(at(second, nano)).plan.duplicate.get();
            assert_eq!(got, share, "{second} s - {nano} ns");
        }
        assert_eq!(table.phase(at(100, 0)).plan.duplicate.get(), 5);
        let down: Vec<bool> = [(4, 1), (4, 0), (5, 1), (5, 0)]
            .iter()
            .map(|(s, n)| table.phase(at(*s, *n)).down)
            .collect();
        assert_eq!(down, [false, true, true, false]);
    }
}
