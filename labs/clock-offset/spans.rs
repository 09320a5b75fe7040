//! Whether one straight line fits: the runs test of Wald and Wolfowitz (1940) on residuals.
#![expect(clippy::cast_precision_loss, reason = "a probability needs no exact conversion")]

use super::bound::Window;
use super::estimate::residuals;

/// Chance of so few runs by accident at which a window is cut: chrony's level.
const LEVEL: f64 = 0.05;
/// Fewest samples to be tested: below, the test throws away more than it finds.
const SAMPLES_MIN: usize = 16;
/// Steps in which a window is cut: an eighth of it each.
const CUT: usize = 8;

/// The chance of at most as many runs as `signs` have, if their order means nothing.
///
/// Given a signs of the one kind and b of the other, r runs have 2 C(a-1, r/2-1) C(b-1, r/2-1)
/// orders of C(a+b, a) where r is even, and so on; sums are of logarithms, so nothing overflows.
fn probability(signs: &[bool]) -> f64 {
    let above = signs.iter().filter(|sign| **sign).count();
    let below = signs.len() - above;
    if above == 0 || below == 0 {
        return 1.0;
    }
    let runs = 1 + signs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let mut logs = vec![0.0];
    for n in 1..=signs.len() {
        logs.push(logs[n - 1] + (n as f64).ln());
    }
    let choose = |n: usize, k: usize| {
        if k > n { f64::NEG_INFINITY } else { logs[n] - logs[k] - logs[n - k] }
    };
    let all = choose(signs.len(), above);
    let share =
        |a: usize, b: usize| (choose(above - 1, a - 1) + choose(below - 1, b - 1) - all).exp();
    let of = |runs: usize| {
        let (half, more) = (runs / 2, runs / 2 + runs % 2);
        share(half, more) + share(more, half)
    };
    (2..=runs).map(of).sum()
}

/// The longest end of a window, in steps, through whose samples one line passes.
#[must_use]
pub fn straight_end(window: &Window) -> Window {
    let mut end = window.clone();
    while end.rows().len() >= SAMPLES_MIN {
        let signs: Vec<bool> = residuals(&end).iter().map(|residual| *residual > 0.0).collect();
        if probability(&signs) > LEVEL {
            break;
        }
        let keep = end.rows().len() - end.rows().len().div_ceil(CUT);
        end = window.last(keep.max(SAMPLES_MIN - 1));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_of_runs_is_that_of_all_orders() {
        // Every order of a few signs, counted.
        for count in 2..=12_u32 {
            for bits in [0b101_1001_0011_u32, 0b1111_0000, 0b1, 0b1010_1010_1010] {
                let bits = bits & ((1 << count) - 1);
                let runs =
                    |bits: u32| 1 + ((bits ^ (bits >> 1)) & ((1 << (count - 1)) - 1)).count_ones();
                let same = |other: &u32| other.count_ones() == bits.count_ones();
                let orders: Vec<u32> = (0..1 << count).filter(same).collect();
                let few = orders.iter().filter(|other| runs(**other) <= runs(bits)).count();
                let expected = few as f64 / orders.len() as f64;
                let signs: Vec<bool> = (0..count).map(|i| bits >> i & 1 == 1).collect();
                let found = probability(&signs);
                assert!((found - expected).abs() < 1e-9, "{signs:?}: {found} for {expected}");
            }
        }
        // Thousands of signs, and no overflow.
        let halves: Vec<bool> = (0..4_096).map(|i| i < 2_048).collect();
        assert!(probability(&halves) < 1e-9);
        let turns: Vec<bool> = (0..4_096).map(|i| i % 2 == 0).collect();
        assert!((probability(&turns) - 1.0).abs() < 1e-6);
    }
}
