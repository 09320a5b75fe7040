//! Compares the program's timestamps with the kernel's of the same packets.

use super::sample::{Sample, StampedBy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Times of one kind, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there are.
    pub count: u32,
    /// The shortest.
    pub least_ns: i64,
    /// The one in the middle; of two, the shorter.
    pub median_ns: i64,
    /// The longest.
    pub most_ns: i64,
}

impl Spread {
    /// Of these times; `None` of none.
    #[must_use]
    pub fn of(times: impl IntoIterator<Item = i64>) -> Option<Self> {
        let mut times: Vec<i64> = times.into_iter().collect();
        times.sort_unstable();
        Some(Self {
            count: super::sample::count(times.len()),
            least_ns: *times.first()?,
            median_ns: times[(times.len() - 1) / 2],
            most_ns: *times.last()?,
        })
    }
}

/// The stamps of one server's samples against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamps {
    /// From the program's T1 to the kernel's, where the kernel took it: the sending.
    pub sending: Option<Spread>,
    /// From the kernel's T4 to when the program had read the reply, where the kernel took it.
    pub reading: Option<Spread>,
    /// Delays in basic mode.
    pub basic_delay: Option<Spread>,
    /// Delays in interleaved mode (RFC 9769).
    pub interleaved_delay: Option<Spread>,
}

impl Stamps {
    /// Those of these samples; an exchange reported in both modes is in both delays.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Self {
        let (mut sending, mut reading) = (BTreeMap::new(), BTreeMap::new());
        for Sample { record, .. } in samples {
            if let Some(before) = record.t1_user {
                sending.insert(record.request, record.t1.wall.minus(before));
            }
            if record.t4_by == StampedBy::Kernel {
                reading.insert(record.request, record.t4_user.minus(record.t4.wall));
            }
        }
        let delay = |interleaved: bool| {
            let mine = samples.iter().filter(|sample| sample.record.interleaved == interleaved);
            Spread::of(mine.map(Sample::delay_ns))
        };
        Self {
            sending: Spread::of(sending.into_values()),
            reading: Spread::of(reading.into_values()),
            basic_delay: delay(false),
            interleaved_delay: delay(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_times_given() {
        assert_eq!(Spread::of([]), None);
        let of = |count, least_ns, median_ns, most_ns| {
            Some(Spread { count, least_ns, median_ns, most_ns })
        };
        assert_eq!(Spread::of([7]), of(1, 7, 7, 7));
        assert_eq!(Spread::of([9, -1, 4, 5]), of(4, -1, 4, 9));
        assert_eq!(Spread::of([9, 1, 4]), of(3, 1, 4, 9));
    }
}
