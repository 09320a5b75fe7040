//! Converts a scenario's path to a link of the emulated path.
//!
//! One scenario then runs inside a server, in virtual time, and with real packets alike: a delay,
//! an exponential queue, and loss.

use crate::scenario::Way;
use wirelab::measure::Ppm;
use wirelab::path::{Delay, FromFile, LinkPlan, LossModel, Reorder};

/// Values of a queue's delay table: the longest is eight means, which one packet in four thousand
/// exceeds.
const CELLS: u32 = 4_096;

/// The equivalent link of a scenario's path.
#[must_use]
pub fn link(way: &Way) -> LinkPlan {
    let delay = if way.jitter.is_zero() {
        Delay::Constant(way.delay)
    } else {
        let quantile = |cell: u32| {
            let beyond = 1.0 - f64::from(cell) / f64::from(CELLS);
            way.delay + way.jitter.mul_f64(-beyond.ln())
        };
        let values = (0..CELLS).map(quantile).collect();
        Delay::Table(FromFile::new("exponential", values))
    };
    let loss = if way.loss == Ppm::ZERO { LossModel::None } else { LossModel::Iid(way.loss) };
    // Packets are delayed independently, as in the scenario.
    let reorder = if way.jitter.is_zero() { Reorder::Never } else { Reorder::ByJitter };
    LinkPlan { loss, delay, reorder, ..LinkPlan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn delay_table_has_the_mean_and_median_of_the_distribution() {
        let (delay, jitter) = (Duration::from_millis(10), Duration::from_millis(5));
        let plan = link(&Way { delay, jitter, ..Way::default() });
        let Delay::Table(table) = plan.delay else { panic!("{:?}", plan.delay) };
        let mean = table.values.iter().sum::<Duration>() / CELLS;
        let off = mean.as_secs_f64() - 0.015;
        assert!(off.abs() < 20e-6, "{mean:?}");
        let median = table.values[CELLS as usize / 2].as_secs_f64();
        assert!((median - 0.010 - 0.005 * 2_f64.ln()).abs() < 1e-6);
        assert!(table.values.is_sorted() && table.values[0] == delay);
    }
}
