//! Promises of theory and protocol held against a run, its timing, and its limits.

use super::arms::Arm;
use super::plan::Plan;
use super::result::{Claim, Holds, Lane, Mode, Stage, Timing, TimingVerdict};
use std::time::Duration;
use wirelab::bank::server::Dedup;
use wirelab::measure::human::{self, latency};
use wirelab::measure::interval::{Share, clopper_pearson};
use wirelab::measure::nanos;

/// p99 lateness above 1/n of the round trip makes timing suspect.
const LATE_PART_OF_RTT: u32 = 20;
/// Lateness below which timing is never suspect: two wake-ups on a shared machine.
const LATE_FLOOR: Duration = Duration::from_millis(1);
/// Probability of a false alarm per run and family of claims.
const FALSE_ALARM: f64 = 1e-4;
/// Maximum difference of medians without loss that counts as agreement.
const MEDIANS_AGREE: Duration = Duration::from_millis(1);
/// Minimum share of slow requests on the staircase for the claim to hold.
const ON_STAIRS_MIN: f64 = 0.9;
/// Lanes that a claim names, of those that deviate.
const LANES_NAMED: usize = 3;
/// Minimum slow requests to decide the staircase claim.
const SLOW_MIN: u64 = 20;

/// Whether the timing is trustworthy.
#[must_use]
pub fn timing(plan: &Plan, mode: Mode, stages: &[Stage]) -> Timing {
    if mode == Mode::Sim {
        let reason = "virtual time: every frame left exactly when it should".to_owned();
        return Timing { verdict: TimingVerdict::Trusted, reason };
    }
    let links = || stages.iter().flat_map(|stage| &stage.lanes).flat_map(|lane| &lane.path);
    let unasked: u64 = links().map(|l| l.kernel_dropped + l.oversize + l.send_failed).sum();
    if unasked > 0 {
        return Timing {
            verdict: TimingVerdict::Invalid,
            reason: format!(
                "{} dropped by the kernel, longer than the MTU or not sent on: the loss is not \
                 the loss of the plan. Run again on an idler machine, or with fewer requests \
                 outstanding",
                human::plural(unasked, "frame was", "frames were")
            ),
        };
    }
    let late = links().map(|l| l.late_p99_ns).max().unwrap_or(0);
    let limit = (plan.rtt / LATE_PART_OF_RTT).max(LATE_FLOOR);
    let most = latency(nanos(limit));
    let (verdict, word) = if u128::from(late) <= limit.as_nanos() {
        (TimingVerdict::Trusted, "below")
    } else {
        (TimingVerdict::Suspect, "above")
    };
    let reason = format!(
        "99 % of frames left within {} of when they should, {word} the limit of {most}",
        latency(late)
    );
    Timing { verdict, reason }
}

/// Claims: predictions against measurements.
#[must_use]
pub fn claims(plan: &Plan, stages: &[Stage], timing: &Timing) -> Vec<Claim> {
    let mut claims = vec![realised_loss(plan, stages)];
    claims.extend(slow_share(stages, timing));
    claims.extend(stairs(stages, timing));
    claims.extend(medians(plan, stages, timing));
    claims.extend(delivery(plan, stages));
    claims.push(balanced(stages));
    // A claim that was not tried is not shown.
    claims.retain(|claim| claim.trials > 0);
    claims
}

fn claim(name: &str, promise: &str, seen: String, trials: u64, holds: Holds) -> Claim {
    Claim { name: name.to_owned(), promise: promise.to_owned(), seen, trials, holds }
}

const fn holds(yes: bool) -> Holds {
    if yes { Holds::Yes } else { Holds::No }
}

/// A failed latency claim is undecided if the machine was too busy for timing.
const fn timed(yes: bool, timing: &Timing) -> Holds {
    match (yes, timing.verdict) {
        (true, _) => Holds::Yes,
        (false, TimingVerdict::Trusted) => Holds::No,
        (false, _) => Holds::Unknown,
    }
}

/// Whether a share matches `expected`, in one of `family` tests that share [`FALSE_ALARM`].
fn plausible(share: &Share, expected: f64, family: usize) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred tests at most")]
    let alpha = FALSE_ALARM / family.max(1) as f64;
    let (low, high) = clopper_pearson(share.hits, share.trials, alpha);
    low <= expected && expected <= high
}

fn realised_loss(plan: &Plan, stages: &[Stage]) -> Claim {
    let links: Vec<_> = stages
        .iter()
        .flat_map(|s| s.lanes.iter().map(move |lane| (s.loss_ppm, lane)))
        .flat_map(|(loss, lane)| lane.path.iter().map(move |link| (loss, link)))
        .collect();
    let off = links
        .iter()
        .filter(|(loss, link)| !plausible(&link.loss, loss.fraction(), links.len()))
        .count();
    let frames: u64 = links.iter().map(|(_, link)| link.offered).sum();
    let lost: u64 = links.iter().map(|(_, link)| link.lost).sum();
    let rates: Vec<_> = plan.loss_ppm.iter().map(ToString::to_string).collect();
    claim(
        "realised-loss",
        &format!("each direction of each lane loses {} of its frames", rates.join(", ")),
        format!(
            "{} of {} lost; {off} of {} outside the exact binomial interval",
            human::count(lost),
            human::plural(frames, "frame", "frames"),
            human::plural(links.len() as u64, "direction", "directions")
        ),
        frames,
        holds(off == 0),
    )
}

fn slow_share(stages: &[Stage], timing: &Timing) -> Option<Claim> {
    let tried = |l: &&Lane| !l.theory.model.is_empty() && l.requests.started > 0;
    let lanes: Vec<_> = stages.iter().flat_map(|s| &s.lanes).filter(tried).collect();
    if lanes.is_empty() {
        return None;
    }
    let differs = |lane: &&&Lane| {
        !plausible(&lane.theory.slow_observed, lane.theory.slow_expected, lanes.len())
    };
    let off: Vec<String> = lanes
        .iter()
        .filter(differs)
        .map(|lane| {
            let (seen, expected) = (&lane.theory.slow_observed, lane.theory.slow_expected);
            format!(
                "{} depth {}: {:.2} % seen, {:.2} % expected",
                lane.arm.name(),
                lane.depth,
                100.0 * seen.share,
                100.0 * expected
            )
        })
        .collect();
    let seen = if off.is_empty() {
        match lanes.len() {
            1 => "the one lane that has a yardstick agrees".to_owned(),
            many => format!("all {many} lanes that have a yardstick agree"),
        }
    } else {
        let more = off.len().saturating_sub(LANES_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        off[..off.len().min(LANES_NAMED)].join("; ") + &more
    };
    Some(claim(
        "slow-share",
        "the share of slow or unanswered requests is the chance that the request or the reply is \
         lost, 1-(1-p)^2 per exchange",
        seen,
        lanes.iter().map(|lane| lane.requests.started).sum(),
        timed(off.is_empty(), timing),
    ))
}

fn stairs(stages: &[Stage], timing: &Timing) -> Option<Claim> {
    let mut seen = Vec::new();
    let (mut all_on, mut tried) = (true, 0);
    for arm in arms_of(stages) {
        let Some(loss_max) = arm.transport().on_stairs_up_to() else { continue };
        let lanes = stages.iter().filter(|s| s.loss_ppm <= loss_max).flat_map(|s| &s.lanes);
        let lanes = lanes.filter(|l| l.arm == arm && l.depth == 1);
        let shares: Vec<Share> = lanes.filter_map(|lane| lane.theory.on_stairs).collect();
        let (hits, trials) =
            shares.iter().fold((0, 0), |(hits, trials), s| (hits + s.hits, trials + s.trials));
        if trials < SLOW_MIN {
            continue;
        }
        let share = Share::new(hits, trials);
        seen.push(format!("{} {:.1} % of {trials}", arm.name(), 100.0 * share.share));
        all_on &= share.share >= ON_STAIRS_MIN;
        tried += trials;
    }
    (!seen.is_empty()).then(|| {
        claim(
            "staircase",
            "slow requests take RTT plus whole retry timers: they lie on the analytic staircase \
             (tcp up to 2 % loss: above, its timer grows with the delayed replies it has timed)",
            format!("on a step at depth 1: {}", seen.join(", ")),
            tried,
            timed(all_on, timing),
        )
    })
}

fn medians(plan: &Plan, stages: &[Stage], timing: &Timing) -> Option<Claim> {
    let stage = stages.iter().find(|s| s.loss_ppm.get() == 0)?;
    let rtt = nanos(plan.rtt);
    let medians: Vec<u64> = stage
        .lanes
        .iter()
        .filter_map(|lane| {
            // Theory's first step has the handshake of a connection per request.
            let first = lane.theory.stairs.first().map_or(rtt, |step| step.stair.at_ns);
            let extra = first.saturating_sub(rtt);
            Some(lane.latency.p50.value_ns?.saturating_sub(extra))
        })
        .collect();
    let (low, high) = (medians.iter().min()?, medians.iter().max()?);
    let agree = u128::from(high - low) <= MEDIANS_AGREE.as_nanos();
    Some(claim(
        "same-without-loss",
        "without loss all arms have the same median within 1 ms, tcp-reconnect one round trip \
         later",
        format!(
            "medians from {} to {} over {} (tcp-reconnect less one round trip)",
            latency(*low),
            latency(*high),
            human::plural(medians.len() as u64, "lane", "lanes")
        ),
        stage.lanes.iter().map(|lane| lane.latency.count).sum(),
        timed(agree, timing),
    ))
}

/// The arms with a lane, in the order of the stages.
fn arms_of(stages: &[Stage]) -> Vec<Arm> {
    let mut arms: Vec<Arm> = stages.iter().flat_map(|s| &s.lanes).map(|lane| lane.arm).collect();
    arms.sort_unstable();
    arms.dedup();
    arms
}

/// Delivery claims of the arms.
fn delivery(plan: &Plan, stages: &[Stage]) -> Vec<Claim> {
    plan.arms.iter().filter_map(|arm| delivery_of(*arm, stages)).collect()
}

fn delivery_of(arm: Arm, stages: &[Stage]) -> Option<Claim> {
    let lanes = || stages.iter().flat_map(|s| &s.lanes).filter(|lane| lane.arm == arm);
    let acknowledged = lanes().map(|lane| lane.ledger.acknowledged).sum();
    let missing: u64 = lanes().map(|lane| lane.ledger.acknowledged_missing).sum();
    let twice: u64 = lanes().map(|lane| lane.ledger.applied_twice).sum();
    let surplus = lanes().map(|lane| lane.ledger.surplus_cents).sum();
    let name = arm.name();
    let seen = format!("{acknowledged} acknowledged, {missing} missing, {twice} applied");
    match arm.transport().dedup() {
        Dedup::Durable => Some(claim(
            "exactly-once",
            &format!("{name} applies every acknowledged operation exactly once"),
            format!("{seen} twice"),
            acknowledged,
            holds(missing == 0 && twice == 0),
        )),
        Dedup::Off => Some(claim(
            "at-least-once",
            &format!("{name} applies every acknowledged operation, and some again"),
            format!("{seen} more than once: {} moved again", money(surplus)),
            acknowledged,
            holds(missing == 0),
        )),
        Dedup::Volatile => None,
    }
}

/// Cents as text: `1234.56`.
fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
}

fn balanced(stages: &[Stage]) -> Claim {
    let lanes: Vec<_> = stages.iter().flat_map(|s| &s.lanes).collect();
    let off = lanes.iter().filter(|lane| !lane.ledger.balanced).count();
    claim(
        "books-balance",
        "every ledger balances to the cent: opening balances plus deposits is the sum of balances",
        format!("{} of {} ledgers balance", lanes.len() - off, lanes.len()),
        lanes.len() as u64,
        holds(off == 0),
    )
}

/// Limits of any run, whatever its figures.
#[must_use]
pub fn cannot_tell(plan: &Plan, mode: Mode, stages: &[Stage]) -> Vec<String> {
    let mut sentences = vec![
        "Losses are independent of each other; real losses come in bursts and from full queues, \
         and \
         there congestion control matters more than timers."
            .to_owned(),
        "The delay is constant and the rate unlimited: no queue builds up, so nothing here \
         speaks of \
         throughput or of latency under load."
            .to_owned(),
        "Requests and replies fit one packet each; larger messages recover differently.".to_owned(),
        "Connections were opened and warmed up before loss was switched on, except tcp-reconnect's."
            .to_owned(),
    ];
    match mode {
        Mode::Kernel => sentences.push(
            "The same seed gives each direction the same sequence of fates; which packet meets \
             which \
             fate depends on timing. Intervals cover what differs between repetitions of this run, \
             on this machine today."
                .to_owned(),
        ),
        Mode::Sim => sentences.push(
            "Virtual time: hosts answer at once and never wait for a processor; nothing here is \
             measured on a kernel."
                .to_owned(),
        ),
    }
    let open = |lane: &&Lane| lane.latency.count > 0 && lane.latency.p999.high_ns.is_none();
    let few = stages.iter().flat_map(|s| &s.lanes).filter(open).count();
    if few > 0 {
        sentences.push(format!(
            "In {} there are too few independent samples (below 3,688) for an upper end of p99.9; \
             raise --ops and --stage-limit (now {} and {}).",
            human::plural(few as u64, "lane", "lanes"),
            plan.ops,
            human::span(plan.stage_limit)
        ));
    }
    sentences
}
