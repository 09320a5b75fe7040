//! The link model against theory: every impairment by its law, with fixed seeds.
//!
//! Each test draws 10^5 frames or more and states its false alarm probability; fixed seeds make the
//! result deterministic.

#![expect(clippy::cast_possible_truncation, reason = "a run of frames is shorter than 2^31")]

use std::num::NonZeroU32;
use std::time::Duration;
use wirelab::measure::interval::clopper_pearson;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bytes, Change, Corruption, Delay, Direction, DrawKey, DropReason, Fate, Frame, FromFile, Link,
    LinkPlan, LossModel, Reorder, Setting, Verdict,
};

/// Frames of one trial.
const FRAMES: u64 = 100_000;
const SEEDS: std::ops::Range<u64> = 0..10;
/// False alarm probability of one comparison: with some hundred comparisons in this file, 10^-4
/// that any fails, once, when a seed is chosen.
const FALSE_ALARM: f64 = 1e-6;
/// The normal quantile of half of [`FALSE_ALARM`].
const SIGMAS: f64 = 4.892;

fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn lossy(loss: LossModel) -> LinkPlan {
    LinkPlan { loss, ..LinkPlan::default() }
}

fn gilbert(p: u32, r: u32) -> LossModel {
    gemodel(p, r, 1_000_000, 0)
}

fn gemodel(p: u32, r: u32, bad: u32, good: u32) -> LossModel {
    let [p, r, loss_bad, loss_good] = [p, r, bad, good].map(ppm);
    LossModel::GilbertElliott { p, r, loss_bad, loss_good }
}

const EMPTY: Frame<'_> = Frame { bytes: Bytes::Payload(&[]), length: 1000 };

/// The fates of frames that arrive a millisecond apart, or all at once.
fn fates(plan: &LinkPlan, seed: u64, frames: u64, apart: Duration) -> Vec<(Instant, Fate)> {
    plan.check().unwrap();
    let mut link = Link::new(plan.clone(), seed, Direction::AToB).starting_at(Instant::ZERO);
    let mut now = Instant::ZERO;
    (0..frames)
        .map(|_| {
            now += apart;
            (now, link.handle_frame(now, EMPTY, 0))
        })
        .collect()
}

fn lost(fate: &Fate) -> bool {
    matches!(fate.verdict, Verdict::Dropped(_))
}

fn losses(plan: &LinkPlan, seed: u64) -> Vec<bool> {
    fates(plan, seed, FRAMES, ms(1)).iter().map(|(_, fate)| lost(fate)).collect()
}

fn count<T>(items: &[T], is: impl Fn(&T) -> bool) -> u64 {
    items.iter().filter(|item| is(item)).count() as u64
}

fn assert_share(hits: u64, trials: u64, share: Ppm, what: &str) {
    let (low, high) = clopper_pearson(hits, trials, FALSE_ALARM);
    let expected = share.fraction();
    assert!(
        (low..=high).contains(&expected),
        "{what}: {hits} of {trials} lies in [{low}, {high}], without {expected}"
    );
}

/// Lengths of the runs of `wanted`, without the first and last, which may be cut.
fn runs(items: &[bool], wanted: bool) -> Vec<usize> {
    let all: Vec<&[bool]> = items.chunk_by(|a, b| a == b).collect();
    let whole = all.get(1..all.len().saturating_sub(1)).unwrap_or_default();
    whole.iter().filter(|run| run[0] == wanted).map(|run| run.len()).collect()
}

/// Pearson's chi-square of run lengths against a law; cells of fewer than five are merged.
fn assert_run_lengths(lengths: &[usize], law: impl Fn(usize) -> f64, what: &str) {
    let all = lengths.len() as f64;
    let (mut chi_square, mut cells, mut left) = (0.0, 0, 1.0);
    let mut length = 1;
    while left * all >= 10.0 {
        let (first, mut share) = (length, 0.0);
        while share * all < 5.0 {
            share += law(length);
            length += 1;
        }
        // The last cell takes the rest.
        let rest = (left - share) * all < 5.0;
        let share = if rest { left } else { share };
        let hits = count(lengths, |n| *n >= first && (rest || *n < length)) as f64;
        chi_square += (hits - share * all).powi(2) / (share * all);
        left -= share;
        cells += 1;
    }
    let limit = chi_square_limit(f64::from(cells - 1));
    assert!(cells >= 3, "{what}: {cells} cells of {all} runs tell nothing");
    assert!(chi_square < limit, "{what}: chi-square {chi_square} above {limit}, {cells} cells");
}

/// The chi-square value exceeded with [`FALSE_ALARM`] (Wilson and Hilferty, PNAS 17, 1931).
fn chi_square_limit(freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + SIGMAS * spread.sqrt()).powi(3)
}

#[test]
fn iid_losses_duplicates_and_corruption_have_their_shares() {
    for share in [500, 20_000, 300_000].map(ppm) {
        let plan = LinkPlan {
            loss: LossModel::Iid(share),
            duplicate: share,
            corrupt: Corruption { share, ..Corruption::default() },
            ..LinkPlan::default()
        };
        for seed in SEEDS {
            let fates = fates(&plan, seed, FRAMES, ms(1));
            let what = |which| format!("{which} of {share}, seed {seed}");
            let gone = count(&fates, |(_, fate)| lost(fate));
            assert_share(gone, FRAMES, share, &what("loss"));
            let left = FRAMES - gone;
            let twice = |fate: &Fate| matches!(fate.verdict, Verdict::Deliver { copies: 2, .. });
            assert_share(count(&fates, |(_, f)| twice(f)), left, share, &what("duplicates"));
            let flipped = count(&fates, |(_, fate)| fate.mutation.corrupt.is_some());
            assert_share(flipped, left, share, &what("corruption"));
        }
    }
    assert_eq!(lossy(LossModel::Iid(ppm(7))).expected_loss(), Some(ppm(7)));
}

#[test]
fn gilbert_elliott_has_its_run_lengths_and_its_share() {
    for (p, r) in [(10_000, 300_000), (5_000, 250_000), (100_000, 900_000)] {
        let plan = lossy(gilbert(p, r));
        let geometric = |q: f64| move |n: usize| (1.0 - q).powi(n as i32 - 1) * q;
        let (p, r) = (ppm(p).fraction(), ppm(r).fraction());
        for seed in SEEDS {
            let lost = losses(&plan, seed);
            let what = format!("gilbert:{p},{r}, seed {seed}");
            assert_run_lengths(&runs(&lost, true), geometric(r), &format!("bursts of {what}"));
            assert_run_lengths(&runs(&lost, false), geometric(p), &format!("gaps of {what}"));
            // The share of a chain with correlation 1 - p - r varies more than a binomial one.
            let share = p / (p + r);
            let memory = (2.0 - p - r) / (p + r);
            let spread = (share * (1.0 - share) * memory / FRAMES as f64).sqrt();
            let got = count(&lost, |lost| *lost) as f64 / FRAMES as f64;
            assert!((got - share).abs() < SIGMAS * spread, "{what}: {got} instead of {share}");
        }
    }
}

#[test]
fn gilbert_elliott_says_which_state_lost_a_frame() {
    let plan = lossy(gemodel(20_000, 200_000, 700_000, 10_000));
    let expected = plan.expected_loss().unwrap().fraction();
    for seed in SEEDS {
        let fates = fates(&plan, seed, FRAMES, ms(1));
        let by = |reason| count(&fates, |(_, f)| f.verdict == Verdict::Dropped(reason)) as f64;
        let (bad, good) = (by(DropReason::Burst), by(DropReason::Loss));
        let all = FRAMES as f64;
        // In the long run 1/11 of the frames are in the bad state; half a percent is five sigmas of
        // its share, and more than that of the rest.
        assert!((bad / all - 0.7 / 11.0).abs() < 0.005, "seed {seed}: {bad} lost in bursts");
        assert!((good / all - 0.01 * 10.0 / 11.0).abs() < 0.002, "seed {seed}: {good} alone");
        assert!(((bad + good) / all - expected).abs() < 0.006, "seed {seed}");
    }
}

#[test]
fn the_four_states_lose_runs_of_their_law() {
    let (p13, p31, p32, p23, p14) = (0.01, 0.2, 0.15, 0.3, 0.02);
    let parts = |p: f64| ppm((p * 1e6_f64).round() as u32);
    let model = LossModel::FourState {
        p13: parts(p13),
        p31: parts(p31),
        p32: parts(p32),
        p23: parts(p23),
        p14: parts(p14),
    };
    // Long-run shares by repetition: states 1 to 4.
    let mut share = [1.0, 0.0, 0.0, 0.0];
    for _ in 0..20_000 {
        let [one, two, three, four] = share;
        share = [
            one * (1.0 - p13 - p14) + three * p31 + four,
            two * (1.0 - p23) + three * p32,
            one * p13 + two * p23 + three * (1.0 - p31 - p32),
            one * p14,
        ];
    }
    let plan = lossy(model);
    let expected = plan.expected_loss().unwrap().fraction();
    assert!((expected - share[2] - share[3]).abs() < 2e-6, "{expected}");
    // A run is one frame alone, or as long as state 3 lasts.
    let leave = p31 + p32;
    let alone = share[3] / (share[3] + share[2] * leave);
    let law = |n: usize| {
        let burst = (1.0_f64 - leave).powi(n as i32 - 1) * leave;
        (1.0 - alone) * burst + if n == 1 { alone } else { 0.0 }
    };
    for seed in SEEDS {
        let lost = losses(&plan, seed);
        assert_run_lengths(&runs(&lost, true), law, &format!("four states, seed {seed}"));
    }
}

#[test]
fn no_burst_is_longer_than_allowed_and_no_other_frame_is_spared() {
    for (loss, most) in [(LossModel::Iid(ppm(500_000)), 3), (gilbert(50_000, 100_000), 2)] {
        let free = lossy(loss.clone());
        let limited = LinkPlan { max_burst: NonZeroU32::new(most), ..free.clone() };
        for seed in SEEDS {
            let (free, limited) = (losses(&free, seed), losses(&limited, seed));
            let mut burst = 0;
            for (index, (free, limited)) in free.iter().zip(&limited).enumerate() {
                let spared = burst == most;
                assert_eq!(*limited, *free && !spared, "{loss} seed {seed} frame {index}");
                burst = if *limited { burst + 1 } else { 0 };
            }
            assert!(limited.iter().any(|lost| *lost));
        }
    }
}

#[test]
fn a_list_loses_exactly_its_frames() {
    let list = vec![0, 3, 4, 99_999, 1_000_000];
    let plan = lossy(LossModel::Recorded(FromFile::new("list", list.clone())));
    let lost = losses(&plan, 1);
    let indices: Vec<u64> = (0..).zip(&lost).filter(|(_, lost)| **lost).map(|(i, _)| i).collect();
    assert_eq!(indices, list[..4]);
}

/// Φ(z) by Abramowitz and Stegun 7.1.26, within 10^-7, independent of the model.
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    let upper = sum * (-x * x).exp() / 2.0;
    if z > 0.0 { 1.0 - upper } else { upper }
}

#[test]
fn every_delay_follows_its_distribution() {
    let table = vec![ms(10), ms(12), ms(20), ms(20), ms(35)];
    let (mean, width) = (ms(40), ms(5));
    let in_ms = |x: f64| (x * 1e3, 40.0, 5.0);
    type Cdf<'a> = &'a dyn Fn(f64) -> f64;
    let uniform = |x: f64| {
        let (x, mean, half) = in_ms(x);
        ((x - mean + half) / (2.0 * half)).clamp(0.0, 1.0)
    };
    let normal = |x: f64| {
        let (x, mean, deviation) = in_ms(x);
        normal_cdf((x - mean) / deviation)
    };
    let pareto = |x: f64| {
        let (x, mean, deviation) = in_ms(x);
        let plain = (x - mean) / deviation * 0.75_f64.sqrt() + 1.5;
        if plain > 1.0 { 1.0 - plain.powi(-3) } else { 0.0 }
    };
    let points = table.clone();
    let piecewise = move |x: f64| {
        let at = points.partition_point(|point| point.as_secs_f64() <= x);
        if at == 0 || at == points.len() {
            return if at == 0 { 0.0 } else { 1.0 };
        }
        let (low, high) = (points[at - 1].as_secs_f64(), points[at].as_secs_f64());
        (at as f64 - 1.0 + (x - low) / (high - low)) / (points.len() as f64 - 1.0)
    };
    let cases: [(Delay, Cdf<'_>, bool); 4] = [
        (Delay::Uniform { mean, half_width: width }, &uniform, true),
        (Delay::Normal { mean, deviation: width }, &normal, true),
        (Delay::Pareto { mean, deviation: width }, &pareto, true),
        (Delay::Table(FromFile::new("t", table)), &piecewise, false),
    ];
    for (delay, cdf, continuous) in cases {
        let plan = LinkPlan { delay, reorder: Reorder::ByJitter, ..LinkPlan::default() };
        for seed in 0..5 {
            let what = format!("{} seed {seed}", plan.delay);
            assert_distribution(&plan, seed, cdf, continuous, &what);
        }
    }
}

/// Kolmogorov and Smirnov: the largest distance exceeds sqrt(ln(2 / alpha) / 2n) with probability
/// alpha. At a jump of the law, only the model's value just below it is compared.
fn assert_distribution(
    plan: &LinkPlan,
    seed: u64,
    cdf: &dyn Fn(f64) -> f64,
    continuous: bool,
    what: &str,
) {
    let mut delays: Vec<f64> = fates(plan, seed, FRAMES, ms(1))
        .iter()
        .filter_map(|(now, fate)| match fate.verdict {
            Verdict::Deliver { at, .. } => Some(at.since(*now).as_secs_f64()),
            _ => None,
        })
        .collect();
    delays.sort_by(f64::total_cmp);
    let all = delays.len() as f64;
    let limit = ((2.0 / FALSE_ALARM).ln() / (2.0 * all)).sqrt();
    let mut worst: f64 = 0.0;
    for (rank, delay) in delays.iter().enumerate() {
        let last_of_its_value = delays.get(rank + 1).is_none_or(|next| next > delay);
        if continuous || last_of_its_value {
            worst = worst.max((cdf(*delay) - (rank + 1) as f64 / all).abs());
        }
    }
    assert!(worst < limit, "{what}: distance {worst} above {limit}");
}

#[test]
fn delays_keep_the_order_unless_reordering_is_allowed() {
    let delay = Delay::Normal { mean: ms(40), deviation: ms(5) };
    for seed in SEEDS {
        let departures = |reorder| -> Vec<Instant> {
            let plan = LinkPlan { delay: delay.clone(), reorder, ..LinkPlan::default() };
            let leave = |(_, fate): &(Instant, Fate)| match fate.verdict {
                Verdict::Deliver { at, .. } => at,
                _ => panic!("nothing is lost here"),
            };
            fates(&plan, seed, 10_000, ms(1)).iter().map(leave).collect()
        };
        let (kept, free) = (departures(Reorder::Never), departures(Reorder::ByJitter));
        assert!(kept.is_sorted() && !free.is_sorted(), "seed {seed}");
        let mut latest = Instant::ZERO;
        for (kept, free) in kept.iter().zip(&free) {
            latest = latest.max(*free);
            assert_eq!(*kept, latest, "seed {seed}");
        }
    }
}

/// Under load: 4,000 frames/s for 50 s.
#[test]
fn delays_in_slots_keep_order_and_distribution_at_any_rate() {
    let sorted = |plan: &LinkPlan, seed| {
        let held = |(now, fate): &(Instant, Fate)| match fate.verdict {
            Verdict::Deliver { at, .. } => Some((at, at.since(*now))),
            _ => None,
        };
        let fates = fates(plan, seed, 200_000, Duration::from_micros(250));
        let (left, mut held): (Vec<_>, Vec<_>) = fates.iter().filter_map(held).unzip();
        assert!(left.is_sorted(), "seed {seed}");
        held.sort_unstable();
        held
    };
    for preset in wirelab::path::preset::ALL {
        let [plan, _] = preset.plans();
        if plan.rate.is_some() {
            continue;
        }
        let (p10, p90) = (plan.delay.per_mille(100), plan.delay.per_mille(900));
        for seed in SEEDS {
            let held = sorted(&plan, seed);
            let median = held[held.len() / 2];
            // 500 slots at least: the median of 500 draws lies within the middle fifth of the
            // distribution, 4.5 standard errors each way, up to 10^-5.
            let (low, high) = (plan.delay.per_mille(400), plan.delay.per_mille(600));
            let name = preset.name;
            assert!(low <= median && median <= high, "{name}, seed {seed}: {median:?}");
            assert!(held[held.len() / 20] <= p10 && p90 <= held[held.len() * 19 / 20], "{name}");
        }
    }
    // Without slots each frame waits for the slowest before it.
    let delay = Delay::Normal { mean: ms(40), deviation: ms(5) };
    let held = sorted(&LinkPlan { delay, ..LinkPlan::default() }, 1);
    assert!(held[held.len() / 2] > ms(46));
}

#[test]
fn the_chosen_share_of_every_gap_th_frame_overtakes() {
    for (share, gap) in [(250_000, 5), (250_000, 1), (1_000_000, 3)] {
        let reorder = Reorder::Share { share: ppm(share), gap: NonZeroU32::new(gap).unwrap() };
        let plan = LinkPlan { delay: Delay::Constant(ms(10)), reorder, ..LinkPlan::default() };
        for seed in SEEDS {
            let fates = fates(&plan, seed, FRAMES, ms(1));
            for (now, fate) in &fates {
                let after = if fate.reordered { Duration::ZERO } else { ms(10) };
                assert_eq!(fate.verdict, Verdict::Deliver { at: *now + after, copies: 1 });
                let candidate = fate.index % u64::from(gap) == u64::from(gap) - 1;
                assert!(candidate || !fate.reordered, "seed {seed} frame {}", fate.index);
            }
            let chosen = count(&fates, |(_, fate)| fate.reordered);
            let what = format!("reorder {reorder}, seed {seed}");
            assert_share(chosen, FRAMES / u64::from(gap), ppm(share), &what);
        }
    }
}

/// Enables one effect.
type Switch = fn(&mut LinkPlan);

#[test]
fn effects_draw_independently() {
    let switches: [(&str, Switch); 6] = [
        ("loss", |plan| plan.loss = LossModel::Iid(ppm(100_000))),
        ("bursts", |plan| plan.loss = gilbert(50_000, 300_000)),
        ("corrupt", |plan| plan.corrupt.share = ppm(200_000)),
        ("duplicate", |plan| plan.duplicate = ppm(200_000)),
        ("jitter", |plan| {
            plan.delay = Delay::Uniform { mean: ms(40), half_width: ms(40) };
            plan.reorder = Reorder::ByJitter;
        }),
        ("share", |plan| {
            plan.delay = Delay::Constant(ms(5));
            plan.reorder = Reorder::Share { share: ppm(200_000), gap: NonZeroU32::MIN };
        }),
    ];
    let run = |on: &[usize], seed| {
        let mut plan = LinkPlan::default();
        on.iter().for_each(|which| switches[*which].1(&mut plan));
        fates(&plan, seed, 5_000, ms(1))
    };
    for seed in 0..5 {
        for (a, (effect, _)) in switches.iter().enumerate() {
            let alone = run(&[a], seed);
            for (b, (other, _)) in switches.iter().enumerate() {
                // Two of these set the same part of the plan.
                if a / 2 == b / 2 && a / 2 != 1 || a == b {
                    continue;
                }
                let beside = run(&[b, a], seed);
                for ((_, alone), (_, beside)) in alone.iter().zip(&beside) {
                    let same = same_effect(effect, alone, beside);
                    assert!(same, "{other} shifts {effect}: seed {seed}, {alone:?}, {beside:?}");
                }
            }
        }
    }
}

/// Whether an effect was the same in both, as far as both frames were delivered.
fn same_effect(effect: &str, alone: &Fate, beside: &Fate) -> bool {
    if ["loss", "bursts"].contains(&effect) {
        return alone.verdict == beside.verdict || lost(alone) == lost(beside);
    }
    let (Verdict::Deliver { at, copies }, Verdict::Deliver { at: other, copies: others }) =
        (alone.verdict, beside.verdict)
    else {
        return true;
    };
    match effect {
        "corrupt" => alone.mutation == beside.mutation,
        "duplicate" => copies == others,
        "jitter" => at == other,
        _ => alone.reordered == beside.reordered,
    }
}

#[test]
fn frames_of_one_slot_share_a_draw() {
    let key = DrawKey::Time { slot: ms(1) };
    let loss = gilbert(20_000, 200_000);
    let plan = LinkPlan { key, loss: loss.clone(), ..LinkPlan::default() };
    for seed in SEEDS {
        // One link sees a frame in each slot, the other several in some and none in most.
        let each = fates(&plan, seed, FRAMES, ms(1));
        let mut other = Link::new(plan.clone(), seed, Direction::AToB).starting_at(Instant::ZERO);
        for (now, fate) in each.iter().step_by(97) {
            for within in [0, 300_000, 999_999] {
                let at = *now + Duration::from_nanos(within);
                let same = other.handle_frame(at, EMPTY, 0);
                assert_eq!(lost(&same), lost(fate), "seed {seed} at {at}");
            }
        }
        let slots: Vec<bool> = each.iter().map(|(_, fate)| lost(fate)).collect();
        let law = |n: usize| 0.8_f64.powi(n as i32 - 1) * 0.2;
        assert_run_lengths(&runs(&slots, true), law, &format!("slots, seed {seed}"));
    }
}

#[test]
fn a_schedule_is_exact_to_the_nanosecond() {
    let at = |at, lasting: Option<u64>, what| Change { at: ms(at), lasting: lasting.map(ms), what };
    let plan = LinkPlan {
        delay: Delay::Constant(ms(10)),
        timetable: vec![
            at(2_000, Some(3_000), Setting::Down),
            at(6_000, None, Setting::Loss(LossModel::Iid(Ppm::ONE))),
            at(7_000, Some(1_000), Setting::Loss(LossModel::None)),
            at(7_000, Some(500), Setting::Delay(Delay::Constant(ms(99)))),
        ],
        ..LinkPlan::default()
    };
    let start = Instant::ZERO + ms(123_456);
    let down = Err(DropReason::Down);
    let gone = Err(DropReason::Loss);
    let cases = [
        (1_999_999_999, Ok(10)),
        (2_000_000_000, down),
        (4_999_999_999, down),
        (5_000_000_000, Ok(10)),
        (6_000_000_000, gone),
        (6_999_999_999, gone),
        (7_000_000_000, Ok(99)),
        (7_499_999_999, Ok(99)),
        (7_600_000_000, Ok(10)),
        (7_999_999_999, Ok(10)),
        (8_000_000_000, gone),
    ];
    let mut link = Link::new(plan, 1, Direction::AToB).starting_at(start);
    for (nanos, expected) in cases {
        let now = start + Duration::from_nanos(nanos);
        let mut arrive = |now| link.handle_frame(now, EMPTY, 0).verdict;
        let verdict = match arrive(now) {
            Verdict::Deliver { at, .. } => Ok(at),
            Verdict::Dropped(reason) => Err(reason),
            Verdict::Queued { .. } => panic!("there is no queue"),
        };
        // A frame does not leave before the one in front of it.
        let expected = expected.map(|delay| (now + ms(delay)).max(latest(nanos, start)));
        assert_eq!(verdict, expected, "{nanos} ns");
    }
}

/// Departure of the last slow frame of that schedule.
fn latest(nanos: u64, start: Instant) -> Instant {
    if nanos > 7_499_999_999 { start + Duration::from_nanos(7_598_999_999) } else { start }
}

#[test]
fn without_a_start_the_schedule_begins_at_the_first_frame() {
    let down = Change { at: ms(1), lasting: None, what: Setting::Down };
    let plan = LinkPlan { timetable: vec![down], ..LinkPlan::default() };
    let mut link = Link::new(plan, 1, Direction::AToB);
    let first = Instant::ZERO + ms(5_000);
    assert!(!lost(&link.handle_frame(first, EMPTY, 0)));
    assert!(lost(&link.handle_frame(first + ms(1), EMPTY, 0)));
}
