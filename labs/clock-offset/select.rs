//! Combines several servers: the interval that most agree on, and the servers outside it.
//!
//! After Marzullo and RFC 5905 §11.2.1.

use super::bound::Interval;
use serde::{Deserialize, Serialize};

/// Combined result; numbers are indices into the given list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Agreement {
    /// No server said anything.
    Nothing,
    /// One server: nothing to hold it against.
    Alone {
        /// Its interval.
        interval: Interval,
    },
    /// More than half of the servers, perhaps all, have a common offset.
    Majority {
        /// Intersection of all that agree.
        interval: Interval,
        /// Servers outside.
        falsetickers: Vec<usize>,
    },
    /// No offset is possible for more than half of the servers.
    CannotTell {
        /// How many agree at most.
        agree: usize,
        /// Of how many.
        of: usize,
    },
}

/// The agreement of servers, where no more of them are wrong than must be.
///
/// A crowd of liars larger than the rest is believed: no arithmetic can tell.
/// //= RFC 5905 §11.2.1: the intersection with the most intervals, more than half of them.
#[must_use]
pub fn agree(intervals: &[Interval]) -> Agreement {
    match intervals {
        [] => return Agreement::Nothing,
        [interval] => return Agreement::Alone { interval: *interval },
        _ => {}
    }
    let count = |at: i64| intervals.iter().filter(|i| i.contains(at)).count();
    // The most intervals overlap where some interval begins.
    let begins = intervals.iter().map(|interval| interval.low_ns);
    let most = begins.clone().map(count).max().unwrap_or(0);
    if most * 2 <= intervals.len() {
        return Agreement::CannotTell { agree: most, of: intervals.len() };
    }
    // Two places where equally many overlap share more than half each: either of them may be it.
    let best = begins.filter(|at| count(*at) == most).map(|at| common(intervals, at));
    let Some(interval) = best.reduce(|a, b| hull(&a, &b)) else { return Agreement::Nothing };
    let outside = |index: &usize| intervals[*index].and(&interval).is_none();
    let falsetickers = (0..intervals.len()).filter(outside).collect();
    Agreement::Majority { interval, falsetickers }
}

/// Intersection of all intervals that contain `at`.
fn common(intervals: &[Interval], at: i64) -> Interval {
    let all = Interval { low_ns: i64::MIN, high_ns: i64::MAX };
    intervals.iter().filter(|i| i.contains(at)).fold(all, |found, i| found.and(i).unwrap_or(found))
}

const fn hull(a: &Interval, b: &Interval) -> Interval {
    Interval {
        low_ns: if a.low_ns < b.low_ns { a.low_ns } else { b.low_ns },
        high_ns: if a.high_ns > b.high_ns { a.high_ns } else { b.high_ns },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval((low_ns, high_ns): (i64, i64)) -> Interval {
        Interval { low_ns, high_ns }
    }

    fn of(intervals: &[(i64, i64)]) -> Agreement {
        agree(&intervals.iter().copied().map(interval).collect::<Vec<_>>())
    }

    #[test]
    fn majorities_name_who_is_outside_and_two_cannot() {
        assert_eq!(of(&[]), Agreement::Nothing);
        assert_eq!(of(&[(1, 2)]), Agreement::Alone { interval: interval((1, 2)) });
        assert_eq!(of(&[(0, 10), (20, 30)]), Agreement::CannotTell { agree: 1, of: 2 });
        assert_eq!(
            of(&[(0, 10), (5, 30), (40, 50), (60, 70)]),
            Agreement::CannotTell { agree: 2, of: 4 }
        );
        let falsetickers = vec![1];
        let interval = interval((8, 10));
        assert_eq!(
            of(&[(0, 10), (50, 60), (8, 12)]),
            Agreement::Majority { interval, falsetickers }
        );
    }

    proptest! {
        /// If more than half of the servers are right, the truth is in the interval.
        #[test]
        fn the_truth_survives_liars(
            truth in -1_000_i64..1_000,
            right in prop::collection::vec((0_i64..500, 0_i64..500), 3..8),
            wrong in prop::collection::vec((-3_000_i64..3_000, 0_i64..500), 0..3),
        ) {
            prop_assume!(wrong.len() < right.len());
            let right = right.iter().map(|(a, b)| (truth - a, truth + b));
            let wrong = wrong.iter().map(|(at, width)| (*at, at + width));
            let all: Vec<Interval> = right.chain(wrong).map(interval).collect();
            let Agreement::Majority { interval, falsetickers } = agree(&all) else {
                panic!("no majority in {all:?}")
            };
            prop_assert!(falsetickers.iter().all(|i| all[*i].and(&interval).is_none()));
            let most = |at: i64| all.iter().filter(|i| i.contains(at)).count();
            // A majority of falsetickers cannot be detected.
            if all.iter().all(|i| most(i.low_ns) <= most(truth)) {
                prop_assert!(interval.contains(truth), "{interval:?} of {all:?}");
            }
        }
    }
}
