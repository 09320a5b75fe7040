//! The verdicts' errors and the intervals' coverage over seeds, in virtual time.
//! A failure prints its seeds; `WIRELAB_FULL=1` runs more of them.

use crate::fixture::{arm, plan_of, ppm, run_of, timer_ms};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tcp_vs_udp::arms::Arm;
use tcp_vs_udp::outcome::Block;
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::report::{html, text};
use tcp_vs_udp::result::*;
use tcp_vs_udp::run::{Identity, conclude, in_virtual_time};
use tcp_vs_udp::virtual_time;
use wirelab::measure::draw::keyed;
use wirelab::measure::human::latency;
use wirelab::measure::quantile::Quantile;
use wirelab::report::style::Style;
use wirelab_tests::page;

fn seeds() -> u64 {
    if std::env::var_os("WIRELAB_FULL").is_some() { 400 } else { 100 }
}

/// Verdicts of a run at the headline's loss, one per depth.
fn ruled(result: &RunResult) -> Vec<(u32, Ruling)> {
    result.verdicts.iter().map(|verdict| (verdict.depth, verdict.claim)).collect()
}

/// How often each ruling came at each depth, over seeds.
fn counted(plan: &Plan, timer: impl Fn(Arm) -> f64) -> BTreeMap<u32, [u64; 3]> {
    let mut counts = BTreeMap::new();
    for seed in 0..seeds() {
        for (depth, claim) in ruled(&run_of(plan, seed, &timer)) {
            counts.entry(depth).or_insert([0; 3])[claim as usize] += 1;
        }
    }
    counts
}

const TCP: [&str; 2] = ["a=tcp", "b=tcp"];
const UDP: [&str; 2] = ["a=udp:delivery=once", "b=udp:delivery=once"];

#[test]
fn identical_arms_are_rarely_called_faster() {
    for (arms, loss) in [(TCP, 0), (UDP, 0), (TCP, 20_000), (UDP, 20_000), (TCP, 50_000)] {
        let plan = plan_of(arms, loss, 4_000);
        let counts = counted(&plan, timer_ms);
        assert_eq!(counts.len(), 2);
        for (depth, [faster, level, open]) in counts {
            let at = format!("{arms:?} at {loss} ppm, depth {depth}");
            assert!(faster * 20 <= seeds(), "{at}: {faster} faster, {level} level, {open} open");
            // At 2 % and depth 8 a stream loses 20 segments: often too few to prove arms level.
            let enough = if depth == 8 && (arms, loss) == (TCP, 20_000) { 55 } else { 80 };
            assert!(level * 100 >= enough * seeds(), "{at}: {level} level, {open} open");
        }
    }
}

#[test]
fn a_tenth_of_difference_is_found() {
    for (arms, loss) in [(TCP, 20_000), (UDP, 20_000), (TCP, 50_000), (UDP, 50_000)] {
        let plan = plan_of(arms, loss, 4_000);
        let slower = |arm: Arm| timer_ms(arm) * if arm.name() == "b" { 1.1 } else { 1.0 };
        let mut missed: [Vec<String>; 2] = Default::default();
        for seed in 0..seeds() {
            let result = run_of(&plan, seed, slower);
            for (depth, missed) in [1, 8].into_iter().zip(&mut missed) {
                let verdict = result.verdicts.iter().find(|v| v.depth == depth).unwrap();
                if verdict.claim != Ruling::Faster || verdict.arms[0] != arm(arms[0]) {
                    missed.push(format!("seed {seed}: {}", verdict.sentence));
                }
            }
        }
        for missed in missed {
            let at = format!("{arms:?} at {loss} ppm: missed\n{}", missed.join("\n"));
            assert!(missed.len() as u64 * 10 <= seeds(), "{at}");
        }
    }
}

/// Two arms with the same settings on the bank's own code, each with its own losses.
#[test]
fn identical_arms_of_the_bank_are_rarely_called_faster() {
    let plan = Plan { depths: vec![1], ..plan_of(UDP, 20_000, 1_500) };
    let one = |place: usize| Plan { arms: vec![plan.arms[place]], ..plan.clone() };
    let runs = seeds() / 2;
    let mut faster = 0;
    for seed in 0..runs {
        let block = |repetition| {
            let run = |place, seed| virtual_time::block(&one(place), seed, ppm(20_000), repetition);
            let (mut a, b) = (run(0, seed), run(1, keyed(seed, 1)));
            a.lanes.extend(b.lanes);
            a
        };
        let blocks: Vec<Vec<Block>> = vec![(0..plan.repetitions).map(block).collect()];
        let identity = Identity { seed, command: String::new(), host: Host::default() };
        let ended = (Ended::Finished, 0);
        let result = conclude(&plan, identity, Mode::Sim, &blocks, ended, plan.stage_limit);
        faster += u64::from(result.verdicts[0].claim == Ruling::Faster);
    }
    assert!(faster * 20 <= runs, "{faster} of {runs} called faster");
}

fn covers(quantile: &Quantile, truth: u64) -> bool {
    quantile.low_ns.is_none_or(|low| low <= truth)
        && quantile.high_ns.is_none_or(|high| truth <= high)
}

/// Intervals against the same figures of a run fifty times as long.
#[test]
fn intervals_cover_what_a_long_run_gives() {
    for (arms, loss) in [(TCP, 20_000), (UDP, 20_000), (TCP, 50_000), (UDP, 50_000)] {
        let plan = Plan { arms: vec![arm(arms[0])], ..plan_of(arms, loss, 4_000) };
        // As many requests a repetition, but fifty times as many repetitions.
        let long = Plan { repetitions: 150, ops: 200_100, ..plan.clone() };
        let truth = run_of(&long, 1_000_003, timer_ms);
        type Get = fn(&Lane) -> Quantile;
        let figures: [(&str, Get); 4] = [
            ("p50", |l| l.latency.p50),
            ("p99", |l| l.latency.p99),
            ("p99.9", |l| l.latency.p999),
            ("cost", |l| l.loss_cost.extra),
        ];
        let mut missed = vec![0_u64; figures.len() * 2];
        for seed in 0..seeds() {
            let result = run_of(&plan, seed, timer_ms);
            for (place, depth) in [1, 8].into_iter().enumerate() {
                let lane_of = |r: &RunResult| {
                    let lanes = r.stages[0].lanes.clone();
                    lanes.into_iter().find(|l| l.depth == depth).unwrap()
                };
                let (lane, long) = (lane_of(&result), lane_of(&truth));
                for (index, (_, get)) in figures.iter().enumerate() {
                    let truth = get(&long).value_ns.unwrap();
                    missed[2 * index + place] += u64::from(!covers(&get(&lane), truth));
                }
            }
        }
        for (index, missed) in missed.iter().enumerate() {
            let (name, depth) = (figures[index / 2].0, [1, 8][index % 2]);
            assert!(
                missed * 100 <= 7 * seeds(),
                "{arms:?} at {loss} ppm, depth {depth}: {name} missed in {missed} of {}",
                seeds()
            );
        }
    }
}

/// The sentence of a cannot-tell, its reason and its remedy.
#[test]
fn what_proves_nothing_cannot_tell_and_says_why() {
    let few = Plan { depths: vec![1], ..plan_of(["tcp", "udp-once"], 10_000, 10) };
    let none = (0..50).map(|seed| run_of(&few, seed, timer_ms)).find(|r| lost(r) == 0).unwrap();
    let some = Plan { ops: 200, ..few.clone() };
    let open = run_of(&some, 3, timer_ms);
    let cliff = run_of(
        &Plan {
            ops: 4_000,
            ..Plan { arms: vec![arm("tcp"), arm("tcp-reconnect")], ..few.clone() }
        },
        1,
        timer_ms,
    );
    let alone = run_of(&Plan { arms: vec![arm("tcp")], ops: 4_000, ..few.clone() }, 1, timer_ms);
    for (result, reason) in [
        (&none, "was lost; type tcp-vs-udp --loss 1% --ops 4000"),
        (&open, "too few for an interval; type tcp-vs-udp --loss 1%"),
        (&cliff, "more than one timer"),
        (&alone, "one arm alone"),
    ] {
        let verdict = &result.verdicts[0];
        assert_eq!(verdict.claim, Ruling::CannotTell, "{verdict:?}");
        assert!(verdict.sentence.contains(reason), "{reason}: {}", verdict.sentence);
        assert!(verdict.sentence.starts_with("Cannot tell"), "{}", verdict.sentence);
        assert_eq!(verdict.ratio, None);
    }
}

/// A median between two timers has no ratio, but intervals whose worst ends are apart prove who is
/// faster.
#[test]
fn wide_intervals_that_are_apart_prove_a_least_factor() {
    let plan = Plan { depths: vec![1], ..plan_of(["tcp", "udp-once"], 20_000, 400) };
    let mut proved = 0;
    for seed in 0..seeds() {
        let result = run_of(&plan, seed, timer_ms);
        let verdict = &result.verdicts[0];
        if verdict.claim != Ruling::Faster || verdict.ratio.is_some() {
            continue;
        }
        let [fast, slow] = &verdict.estimates[..] else { panic!("seed {seed}: two arms") };
        assert_eq!(verdict.arms[0], arm("udp-once"), "seed {seed}: {}", verdict.sentence);
        assert!(slow.low_ns.unwrap() > fast.high_ns.unwrap(), "seed {seed}: {verdict:?}");
        assert!(verdict.sentence.contains("× at least"), "seed {seed}: {}", verdict.sentence);
        proved += 1;
    }
    assert!(proved > 0, "no seed has a wide interval");
}

fn lost(result: &RunResult) -> u64 {
    let links = result.stages.iter().flat_map(|s| &s.lanes).flat_map(|l| &l.path);
    links.map(|link| link.lost).sum()
}

/// Lateness above a tenth of the difference undoes a verdict; below it does not.
#[test]
fn lateness_is_weighed_against_the_difference() {
    let plan = plan_of(["tcp", "udp-once"], 20_000, 4_000);
    let result = run_of(&plan, 5, timer_ms);
    assert_eq!(result.verdicts[0].claim, Ruling::Faster, "{}", result.verdict);
    for (late_ms, claim) in [(15, Ruling::Faster), (25, Ruling::CannotTell)] {
        let mut stages = result.stages.clone();
        stages[0].lanes[0].path[0].late_p99_ns = late_ms * 1_000_000;
        let verdicts = tcp_vs_udp::verdict::verdicts(&plan, &stages, &result.timing);
        assert_eq!(verdicts[0].claim, claim, "{late_ms} ms: {}", verdicts[0].sentence);
    }
}

#[test]
fn a_quantile_between_two_steps_is_printed_as_both() {
    let plan = Plan { depths: vec![1], ..plan_of(["tcp", "udp-once"], 50_000, 4_000) };
    let cliff = (0..20).map(|seed| run_of(&plan, seed, timer_ms)).find(|result| {
        let p99 = result.stages[0].lanes[1].latency.p99;
        p99.low_ns < Some(60_000_000) && p99.high_ns > Some(100_000_000)
    });
    let cliff = cliff.expect("at 5 % theory puts p99 between two steps");
    let p99 = cliff.stages[0].lanes[1].latency.p99;
    let ms = |ns: Option<u64>| wirelab::measure::human::ms(ns.unwrap());
    let range = format!("{}–{}", ms(p99.low_ns), ms(p99.high_ns));
    let printed = text::render(&cliff, Style { color: false, width: 100 });
    assert!(printed.contains(&range), "{range}\n{printed}");
}

/// A hundred generated plans: text, JSON and page say the same, and every tick has trials.
#[test]
fn text_json_and_page_agree_on_generated_plans() {
    for seed in 0..100 {
        let draw = |key, of: u64| keyed(seed, key) % of;
        let pick = |key, list: &[u32]| list[usize::try_from(draw(key, list.len() as u64)).unwrap()];
        let arms: Vec<Arm> = ["udp", "udp-retry", "udp-once", "x=udp:retry=fixed/40ms"]
            .iter()
            .enumerate()
            .filter(|(place, _)| draw(10 + *place as u64, 3) > 0)
            .map(|(_, line)| arm(line))
            .collect();
        let plan = Plan {
            arms: if arms.is_empty() { vec![arm("udp-once")] } else { arms },
            loss_ppm: vec![ppm(pick(1, &[0, 10_000, 100_000])), ppm(pick(2, &[20_000, 300_000]))],
            depths: vec![pick(3, &[1, 4, 8])],
            ops: pick(4, &[3, 30, 300, 900]),
            ..Plan::default()
        };
        let command = format!("seed {seed}");
        let identity = Identity { seed, command, host: Host::default() };
        let run = in_virtual_time(&plan, identity, |_| ControlFlow::Continue(()));
        assert_consistent(&run.result, &format!("seed {seed}: {plan:?}"));
    }
}

fn assert_consistent(result: &RunResult, at: &str) {
    let printed = text::render(result, Style { color: false, width: 2_000 });
    let page = html::render(result, &[]);
    assert_eq!(result.verdict, result.verdicts[0].sentence, "{at}");
    assert!(printed.starts_with(&result.verdict), "{at}\n{printed}");
    let stored = page::data(&page)["result"]["verdicts"][0]["sentence"].clone();
    assert_eq!(stored, result.verdict.as_str(), "{at}");
    for verdict in &result.verdicts {
        let Verdict { claim, sentence, ratio, estimates, .. } = verdict;
        let words = |text: &str| page.contains(text) || page.contains(&escaped(text));
        assert!(words(sentence), "{at}: the page has not\n{sentence}");
        match claim {
            Ruling::CannotTell => assert!(sentence.starts_with("Cannot tell"), "{at}: {sentence}"),
            Ruling::Level => assert!(sentence.contains("level within 5 %"), "{at}: {sentence}"),
            Ruling::Faster => {
                assert!(verdict.at_least > Some(1.0), "{at}: {:?}", verdict.at_least);
                assert!(ratio.is_none_or(|ratio| ratio.low > 1.0), "{at}: {ratio:?}");
                assert!(!sentence.contains("level"), "{at}: {sentence}");
            }
        }
        if *claim != Ruling::CannotTell {
            for quantile in estimates {
                let shown = if ratio.is_some() { quantile.value_ns } else { quantile.low_ns };
                let shown = latency(shown.unwrap());
                let wide = format!("{shown}–");
                let cut = ratio.is_none() && !sentence.contains(&wide);
                assert!(cut || sentence.contains(&shown), "{at}: {shown} is not in {sentence}");
            }
            let lanes = result.stages.iter().filter(|s| s.loss_ppm == verdict.loss_ppm);
            let lanes = lanes.flat_map(|s| &s.lanes).filter(|l| verdict.arms.contains(&l.arm));
            let lost = lanes.flat_map(|l| &l.path).map(|link| link.lost).sum::<u64>();
            assert!(verdict.loss_ppm.get() == 0 || lost > 0, "{at}: level without a loss");
        }
    }
    for claim in &result.claims {
        assert!(claim.trials > 0, "{at}: {} was tried on nothing", claim.name);
        assert!(!claim.seen.starts_with("0 of 0"), "{at}: {}", claim.seen);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;").replace('"', "&quot;")
}
