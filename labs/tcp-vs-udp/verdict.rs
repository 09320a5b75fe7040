//! From figures to sentences: the faster side and why, which claims hold, limits of the run.
//! Each sentence quotes its figures.

use super::arms::{Arm, Side};
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
/// Minimum slow requests to decide the staircase claim.
const SLOW_MIN: u64 = 20;

/// The lanes of a stage at one depth.
fn at(stage: &Stage, depth: u32) -> impl Iterator<Item = &Lane> {
    stage.lanes.iter().filter(move |lane| lane.depth == depth)
}

/// The lane at this depth that represents a side, with its rank there.
fn contender(stage: &Stage, side: Side, depth: u32) -> Option<(u8, &Lane)> {
    let stands = |lane: &Lane| {
        let (of, rank) = lane.arm.row().contender?;
        (of == side).then_some(rank)
    };
    at(stage, depth).filter_map(|lane| Some((stands(lane)?, lane))).min_by_key(|(rank, _)| *rank)
}

fn p99(lane: &Lane) -> Option<u64> {
    lane.latency.p99.value_ns
}

/// One sentence for a loss rate: the faster side, by how much, and the cause.
#[must_use]
pub fn sentence(plan: &Plan, stage: &Stage) -> String {
    let Some(depth) = plan.depths.iter().min().copied() else { return String::new() };
    let mut parts = vec![comparison(plan, stage, depth)];
    parts.extend(blocking(plan, stage));
    parts.extend(handshake(stage, depth));
    parts.retain(|part| !part.is_empty());
    let mut text = parts.join("; ");
    text.push('.');
    text
}

/// The run in one sentence: the comparison at its middle lossy stage.
#[must_use]
pub fn headline(plan: &Plan, stages: &[Stage]) -> String {
    let lossy: Vec<&Stage> = stages.iter().filter(|s| s.loss_ppm.get() > 0).collect();
    let middle = lossy.get(lossy.len().saturating_sub(1) / 2).copied().or_else(|| stages.first());
    let depth = plan.depths.iter().min().copied();
    let (Some(stage), Some(depth)) = (middle, depth) else { return String::new() };
    comparison(plan, stage, depth) + "."
}

fn comparison(plan: &Plan, stage: &Stage, depth: u32) -> String {
    let of = |side| contender(stage, side, depth);
    let (Some((_, udp)), Some((_, tcp))) = (of(Side::Udp), of(Side::Tcp)) else {
        return fastest(stage, depth);
    };
    let loss = stage.loss_ppm;
    let (Some(fast), Some(slow)) = (p99(udp), p99(tcp)) else { return fastest(stage, depth) };
    let (u, t) = (udp.arm.name(), tcp.arm.name());
    if near(fast, slow) {
        let (fast, slow) = (latency(fast), latency(slow));
        let cause =
            if loss.get() == 0 { "nothing is lost, so no timer runs" } else { no_wait(tcp) };
        return format!("At {loss} {t} and {u} are level ({slow} and {fast} at p99): {cause}");
    }
    let (first, second, a, b) = if fast < slow { (u, t, fast, slow) } else { (t, u, slow, fast) };
    let factor = human::factor(ratio(b, a));
    let (a, b) = (latency(a), latency(b));
    let mut text =
        format!("At {loss} {first} answers 99 % within {a}, {second} within {b} ({factor})");
    if fast < slow && loss.get() > 0 {
        text.push_str(&timer_cause(plan, stage, depth, tcp));
    }
    text
}

fn no_wait(tcp: &Lane) -> &'static str {
    if tcp.theory.slow_expected < 0.01 {
        "fewer than one request in a hundred meets a loss"
    } else {
        "both repair a loss in about the same time"
    }
}

fn timer_cause(plan: &Plan, stage: &Stage, depth: u32, tcp: &Lane) -> String {
    let Some(own) = tcp.arm.transport().kernel_timer(plan.conditions()) else {
        return String::new();
    };
    let floor = human::span(own.floor);
    let tuned = at(stage, depth).find_map(|lane| {
        let timer = lane.arm.transport().kernel_timer(plan.conditions())?;
        let floor = (timer.set && !own.set).then(|| human::span(timer.floor))?;
        Some(format!("; with {floor} instead {} needs {}", lane.arm.name(), latency(p99(lane)?)))
    });
    let tuned = tuned.unwrap_or_default();
    format!(": a lone lost packet waits for TCP's retransmission timer (RTT + {floor}{tuned})")
}

/// If TCP and UDP are not compared: the arm with the lowest p99 that answers 99 % of its requests.
fn fastest(stage: &Stage, depth: u32) -> String {
    let competes =
        |lane: &&Lane| lane.depth == depth && lane.requests.unknown * 100 <= lane.requests.started;
    let lanes = stage.lanes.iter().filter(competes);
    let Some((ns, lane)) = lanes.filter_map(|l| Some((p99(l)?, l))).min_by_key(|(ns, _)| *ns)
    else {
        return format!("At {} no arm answers 99 % of its requests", stage.loss_ppm);
    };
    let mut text =
        format!("At {} {} answers 99 % within {}", stage.loss_ppm, lane.arm.name(), latency(ns));
    if let (Some(first), true) = (lane.theory.stairs.get(1), stage.loss_ppm.get() > 0) {
        let timer = first.at_ns - lane.theory.stairs[0].at_ns;
        text.push_str(&format!(": a lost packet waits for its timer of {}", latency(timer)));
    }
    text
}

/// Requests delayed by one lost packet (head-of-line blocking).
fn blocking(plan: &Plan, stage: &Stage) -> Option<String> {
    let deep = plan.depths.iter().max().copied().filter(|d| *d > 1)?;
    if stage.loss_ppm.get() == 0 {
        return None;
    }
    // For TCP only the arm with kernel defaults.
    let (_, tcp) = contender(stage, Side::Tcp, deep).filter(|(rank, _)| *rank == 0)?;
    let (_, udp) = contender(stage, Side::Udp, deep)?;
    Some(format!(
        "at depth {deep} one lost frame delays {:.1} requests on {} (head-of-line blocking: the \
         stream packs them together and delivers in order), {:.1} on {}",
        tcp.theory.slow_per_lost_frame?,
        tcp.arm.name(),
        udp.theory.slow_per_lost_frame?,
        udp.arm.name()
    ))
}

fn handshake(stage: &Stage, depth: u32) -> Option<String> {
    let lane = at(stage, depth).find(|lane| lane.arm.transport().per_request())?;
    let open = lane.handshake.as_ref()?.p50.value_ns?;
    let syn = lane.tcp.map_or(0, |tcp| tcp.syn_retransmits);
    let lost =
        if syn > 0 { format!(", and 1 s for each of {syn} lost SYNs") } else { String::new() };
    let (name, open) = (lane.arm.name(), latency(open));
    Some(format!("{name} adds a handshake of {open} to each request{lost}"))
}

/// Within one millisecond or 10 %.
fn near(a: u64, b: u64) -> bool {
    let gap = a.abs_diff(b);
    u128::from(gap) <= MEDIANS_AGREE.as_nanos() || gap <= a.max(b) / 10
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

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
        "in the worst lane 99 % of frames left the path within {} of when they should, {word} the \
         limit of {most}; the kernel dropped none and none was too long",
        latency(late)
    );
    Timing { verdict, reason }
}

/// Claims: predictions against measurements.
#[must_use]
pub fn claims(plan: &Plan, stages: &[Stage], timing: &Timing) -> Vec<Claim> {
    let mut claims = vec![realised_loss(plan, stages), slow_share(stages, timing)];
    claims.extend(stairs(stages, timing));
    claims.extend(medians(plan, stages, timing));
    claims.extend(delivery(stages));
    claims.push(balanced(stages));
    claims
}

fn claim(name: &str, promise: &str, seen: String, holds: Holds) -> Claim {
    Claim { name: name.to_owned(), promise: promise.to_owned(), seen, holds }
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
    share.trials == 0 || (low <= expected && expected <= high)
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
        holds(off == 0),
    )
}

fn slow_share(stages: &[Stage], timing: &Timing) -> Claim {
    let lanes: Vec<_> =
        stages.iter().flat_map(|s| &s.lanes).filter(|l| !l.theory.model.is_empty()).collect();
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
        off.join("; ")
    };
    claim(
        "slow-share",
        "the share of slow or unanswered requests is the chance that the request or the reply is \
         lost, 1-(1-p)^2 per exchange",
        seen,
        timed(off.is_empty(), timing),
    )
}

fn stairs(stages: &[Stage], timing: &Timing) -> Option<Claim> {
    let mut seen = Vec::new();
    let mut all_on = true;
    for arm in Arm::all() {
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
    }
    (!seen.is_empty()).then(|| {
        claim(
            "staircase",
            "slow requests take RTT plus whole retry timers: they lie on the analytic staircase \
             (tcp up to 2 % loss: above, its timer grows with the delayed replies it has timed)",
            format!("on a step at depth 1: {}", seen.join(", ")),
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
            let extra = if lane.arm.transport().per_request() { rtt } else { 0 };
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
        timed(agree, timing),
    ))
}

/// The ledgers of one arm, over all stages and depths.
#[derive(Default)]
struct Audited {
    acknowledged: u64,
    missing: u64,
    twice: u64,
    surplus_cents: i64,
}

impl Audited {
    fn of(stages: &[Stage], arm: Arm) -> Self {
        let mut sum = Self::default();
        for lane in stages.iter().flat_map(|s| &s.lanes).filter(|lane| lane.arm == arm) {
            sum.acknowledged += lane.ledger.acknowledged;
            sum.missing += lane.ledger.acknowledged_missing;
            sum.twice += lane.ledger.applied_twice;
            sum.surplus_cents += lane.ledger.surplus_cents;
        }
        sum
    }
}

/// Delivery claims of the arms, exactly once first.
fn delivery(stages: &[Stage]) -> Vec<Claim> {
    let of = |dedup: Dedup| {
        let arms = Arm::all().filter(move |arm| arm.row().dedup == dedup);
        let audited = arms.map(|arm| (arm.name(), Audited::of(stages, arm)));
        audited.filter(|(_, audited)| audited.acknowledged > 0)
    };
    let once = of(Dedup::Durable).map(|(name, a)| {
        claim(
            "exactly-once",
            &format!("{name} applies every acknowledged operation exactly once"),
            format!(
                "{} acknowledged, {} missing, {} applied twice",
                a.acknowledged, a.missing, a.twice
            ),
            holds(a.missing == 0 && a.twice == 0),
        )
    });
    let again = of(Dedup::Off).map(|(name, a)| {
        claim(
            "at-least-once",
            &format!("{name} applies every acknowledged operation, and some again"),
            format!(
                "{} acknowledged, {} missing, {} applied more than once: {} moved again",
                a.acknowledged,
                a.missing,
                a.twice,
                money(a.surplus_cents)
            ),
            holds(a.missing == 0),
        )
    });
    once.chain(again).collect()
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
             fate depends on timing, so figures differ from run to run within their intervals."
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
            "In {} there are too few samples (below 3,688) for an upper end of p99.9; raise --ops \
             and --stage-limit (now {} and {}).",
            human::plural(few as u64, "lane", "lanes"),
            plan.ops,
            human::span(plan.stage_limit)
        ));
    }
    sentences
}
