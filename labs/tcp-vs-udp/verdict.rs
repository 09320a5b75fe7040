//! What a run proves of two arms: faster, level, or cannot tell and why.
//!
//! The compared quantity is what a lost packet costs, which no step of a discrete distribution
//! moves; without loss it is the median. A claim needs a closed interval on one step, a difference
//! ten times the path's lateness, and an interval of the ratio that excludes 1 (faster) or lies
//! within [`BOUND`] (level).

use super::arms::Arm;
use super::plan::Plan;
use super::result::{Lane, Quantity, Ruling, Stage, Timing, TimingVerdict, Verdict};
use std::time::Duration;
use wirelab::bank::server::Dedup;
use wirelab::measure::cluster::CLIFF_FACTOR;
use wirelab::measure::compare::{Estimate, Order};
use wirelab::measure::human::{self, latency, range};
use wirelab::measure::quantile::Quantile;

/// Two arms are level if the interval of their ratio lies within 1 ± this.
pub const BOUND: f64 = 0.05;
/// A difference below this many times the path's lateness is not claimed.
const LATENESS_FACTOR: u64 = 10;
/// Requests that a remedy asks for at least: the default, with which usual losses decide.
const OPS_ENOUGH: u32 = 4_000;

/// The pair of the headline: the first arm that repeats lost requests, and another of the other
/// kind if there is one, exactly-once delivery preferred.
#[must_use]
pub fn pair(arms: &[Arm]) -> (Option<Arm>, Option<Arm>) {
    let mut repeating = arms.iter().copied().filter(|arm| arm.transport().repeats());
    let first = repeating.next().or_else(|| arms.first().copied());
    let Some(one) = first else { return (None, None) };
    let is_kernels = |arm: &Arm| arm.transport().needs_kernel().is_some();
    let rank = |arm: &Arm| {
        let transport = arm.transport();
        let same_kind = is_kernels(arm) == is_kernels(&one);
        (!transport.repeats(), same_kind, transport.dedup() != Dedup::Durable)
    };
    let others = arms.iter().copied().filter(|arm| *arm != one && !arm.transport().per_request());
    let other = others.min_by_key(rank);
    (first, other.or_else(|| arms.iter().copied().find(|arm| *arm != one)))
}

/// Every verdict of a run; the first is the headline's. Never empty.
#[must_use]
pub fn verdicts(plan: &Plan, stages: &[Stage], timing: &Timing) -> Vec<Verdict> {
    let headline = plan.loss_ppm[plan.headline_stage()];
    let mut order: Vec<&Stage> = stages.iter().collect();
    order.sort_by_key(|stage| stage.loss_ppm != headline);
    let mut depths = plan.depths.clone();
    depths.sort_unstable();
    let mut all = Vec::new();
    for stage in order {
        for depth in &depths {
            all.extend(at(plan, stage, *depth, timing));
        }
    }
    if all.is_empty() {
        let reason = "no stage was completed".to_owned();
        let blank = Verdict {
            claim: Ruling::CannotTell,
            arms: plan.arms.iter().copied().take(1).collect(),
            loss_ppm: headline,
            depth: depths[0],
            quantity: quantity(headline.get()),
            estimates: Vec::new(),
            ratio: None,
            bound: BOUND,
            sentence: format!("Nothing was measured, because {reason}."),
            reason,
        };
        all.push(blank);
    }
    all
}

const fn quantity(loss_ppm: u32) -> Quantity {
    if loss_ppm == 0 { Quantity::P50 } else { Quantity::LossCost }
}

/// The verdicts of one stage and depth: the headline's pair, then its first arm and each other.
fn at(plan: &Plan, stage: &Stage, depth: u32, timing: &Timing) -> Vec<Verdict> {
    let lanes: Vec<&Lane> = stage.lanes.iter().filter(|lane| lane.depth == depth).collect();
    let arms: Vec<Arm> = lanes.iter().map(|lane| lane.arm).collect();
    let lane_of = |arm: Arm| lanes.iter().copied().find(|lane| lane.arm == arm);
    let (Some(first), second) = pair(&arms) else { return Vec::new() };
    let Some(one) = lane_of(first) else { return Vec::new() };
    let case = |other| Case { plan, stage, depth, timing, one, other };
    let Some(second) = second else { return vec![case(None).verdict()] };
    let comparable = |arm: &Arm| stage.loss_ppm.get() == 0 || arm.transport().repeats();
    let rest = arms.into_iter().filter(|arm| *arm != first && *arm != second && comparable(arm));
    let others = std::iter::once(second).chain(rest).filter_map(lane_of);
    others.map(|other| case(Some(other)).verdict()).collect()
}

/// Two lanes to compare.
struct Case<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    depth: u32,
    timing: &'a Timing,
    one: &'a Lane,
    other: Option<&'a Lane>,
}

impl Case<'_> {
    fn is_lossy(&self) -> bool {
        self.stage.loss_ppm.get() > 0
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(self.one).chain(self.other)
    }

    fn measured(&self, lane: &Lane) -> Quantile {
        if self.is_lossy() { lane.loss_cost.extra } else { lane.latency.p50 }
    }

    fn verdict(&self) -> Verdict {
        let (claim, ratio, reason) = match self.decide() {
            Ok((claim, ratio)) => (claim, Some(ratio), self.cause()),
            Err(reason) => (Ruling::CannotTell, None, reason),
        };
        let sentence = self.sentence(claim, ratio, &reason);
        let mut lanes: Vec<&Lane> = self.lanes().collect();
        // The faster arm stands first, and the ratio is the slower over the faster.
        let swap = claim == Ruling::Faster && ratio.is_some_and(|ratio| ratio.value < 1.0);
        if swap {
            lanes.reverse();
        }
        let inverse =
            |r: Estimate| Estimate { value: 1.0 / r.value, low: 1.0 / r.high, high: 1.0 / r.low };
        Verdict {
            claim,
            arms: lanes.iter().map(|lane| lane.arm).collect(),
            loss_ppm: self.stage.loss_ppm,
            depth: self.depth,
            quantity: quantity(self.stage.loss_ppm.get()),
            estimates: lanes.iter().map(|lane| self.measured(lane)).collect(),
            ratio: if swap { ratio.map(inverse) } else { ratio },
            bound: BOUND,
            reason,
            sentence,
        }
    }

    /// The claim and the ratio of the other lane over the first; otherwise why there is none.
    fn decide(&self) -> Result<(Ruling, Estimate), String> {
        if self.timing.verdict == TimingVerdict::Invalid {
            return Err(self.timing.reason.clone());
        }
        let one = self.estimate(self.one)?;
        let Some(other) = self.other else {
            return Err("one arm alone is compared with nothing; name two, such as --arms \
                        tcp,udp-once"
                .to_owned());
        };
        let other = self.estimate(other)?;
        let Some(ratio) = other.over(&one) else {
            return Err(format!("an interval reaches down to 0; {}", self.remedy()));
        };
        let claim = match ratio.order(BOUND) {
            Order::Less | Order::Greater => Ruling::Faster,
            Order::Level => Ruling::Level,
            Order::Open => {
                return Err(format!(
                    "the difference lies between {} of the first, which is neither clear of zero \
                     nor within {}; {}",
                    range(&signed(ratio.low - 1.0), &signed(ratio.high - 1.0)),
                    bound(),
                    self.remedy()
                ));
            }
        };
        let resolution = match claim {
            Ruling::Faster => (other.value - one.value).abs() / float(LATENESS_FACTOR),
            _ => one.value * BOUND,
        };
        let late = self.lanes().flat_map(|lane| &lane.path).map(|link| link.late_p99_ns).max();
        let late = late.unwrap_or(0);
        if float(late) > resolution {
            return Err(format!(
                "1 frame in 100 left the path {} late or more, too much beside a difference of {}; \
                 run it again on an idler machine",
                latency(late),
                latency(whole((other.value - one.value).abs()))
            ));
        }
        Ok((claim, ratio))
    }

    /// A lane's value with both ends of its interval, on one step.
    fn estimate(&self, lane: &Lane) -> Result<Estimate, String> {
        let name = lane.arm.name();
        if lane.latency.count == 0 {
            return Err(format!("{name} answered no request"));
        }
        let frames: u64 = lane.path.iter().map(|link| link.offered).sum();
        let lost: u64 = lane.path.iter().map(|link| link.lost).sum();
        if self.is_lossy() && lost == 0 {
            let frames = human::plural(frames, "frame", "frames");
            return Err(format!("none of the {frames} of {name} was lost; {}", self.remedy()));
        }
        if self.is_lossy() && !lane.arm.transport().repeats() {
            return Err(format!("{name} never repeats a lost request"));
        }
        let value = self.measured(lane);
        let Some(estimate) = Estimate::of(&value) else {
            let slow = human::plural(lane.loss_cost.slow, "request", "requests");
            let of = if self.is_lossy() {
                format!("{slow} of {name} met a loss and were answered")
            } else {
                format!("{} of {name} were answered", human::count(lane.latency.count))
            };
            return Err(format!("only {of}, too few for an interval; {}", self.remedy()));
        };
        if estimate.high > CLIFF_FACTOR * estimate.low {
            let between =
                format!("{} and {}", latency(whole(estimate.low)), latency(whole(estimate.high)));
            return Err(format!(
                "the cost of a loss with {name} lies between {between}: more than one timer, or \
                 too few losses, decide it; {}",
                self.remedy()
            ));
        }
        Ok(estimate)
    }

    /// A command with more requests.
    fn remedy(&self) -> String {
        let plan = self.plan;
        let ops = OPS_ENOUGH.max(plan.ops.saturating_mul(4)).min(super::plan::OPS_MAX);
        let limit = (plan.stage_limit * 4).min(Duration::from_secs(600));
        format!(
            "type {} --loss {} --ops {ops} --stage-limit {}",
            crate::LAB,
            human::share(self.stage.loss_ppm),
            human::duration(limit)
        )
    }

    /// The mechanism of each lane's first repeat.
    fn cause(&self) -> String {
        if !self.is_lossy() {
            return "nothing is lost, so no timer runs".to_owned();
        }
        let first_repeat = |lane: &Lane| {
            let [base, step, ..] = &lane.theory.stairs[..] else { return None };
            let after = latency(step.stair.at_ns - base.stair.at_ns);
            Some(format!("{} after {after} with {}", step.mechanism, lane.arm.name()))
        };
        let all: Option<Vec<String>> = self.lanes().map(first_repeat).collect();
        all.map_or_else(
            || "requests in flight together repair losses sooner than the timer".to_owned(),
            |all| format!("first repeated by the {}", all.join(", by the ")),
        )
    }

    fn sentence(&self, claim: Ruling, ratio: Option<Estimate>, reason: &str) -> String {
        let loss = self.stage.loss_ppm;
        let one = self.one.arm.name();
        let at = if self.depth > 1 { format!(", depth {}", self.depth) } else { String::new() };
        let value = |lane: &Lane| {
            let ns = self.measured(lane).value_ns;
            ns.map_or_else(|| human::NONE.to_owned(), latency)
        };
        let (Some(other), Some(ratio)) = (self.other, ratio) else {
            return self.cannot_tell(&at, reason);
        };
        let (a, b) = (value(self.one), value(other));
        let other_name = other.arm.name();
        let how = if claim == Ruling::Level {
            format!("level within {}", bound())
        } else if float(LATENESS_FACTOR) * (ratio.value - 1.0).abs() > 2.0 {
            human::factor(ratio.value.max(1.0 / ratio.value))
        } else {
            format!("{} apart", human::percent((ratio.value - 1.0).abs()))
        };
        if !self.is_lossy() {
            return format!(
                "Without loss{at} the median is {a} with {one}, {b} with {other_name} ({how})."
            );
        }
        let share = |lane: &Lane| human::number(lane.loss_cost.met.share * 100.0, 1);
        let (met_one, met_other) = (share(self.one), share(other));
        let met = if met_one == met_other { met_one } else { format!("{met_one} and {met_other}") };
        format!(
            "At {loss} loss{at} a lost packet costs {a} with {one}, {b} with {other_name} ({how}; \
             {met} in 100 requests met one): {reason}."
        )
    }

    fn cannot_tell(&self, at: &str, reason: &str) -> String {
        let loss = self.stage.loss_ppm;
        let (one, loss) = (
            self.one.arm.name(),
            if self.is_lossy() {
                format!("at {loss} loss{at}")
            } else {
                format!("without loss{at}")
            },
        );
        match self.other {
            Some(other) => {
                let other = other.arm.name();
                format!(
                    "Cannot tell which of {one} and {other} is faster {loss}, because {reason}."
                )
            }
            None => {
                let Quantile { value_ns, .. } = self.measured(self.one);
                let cost = value_ns.map_or(String::new(), |ns| {
                    let what =
                        if self.is_lossy() { "a lost packet costs" } else { "the median is" };
                    format!(" ({what} {})", latency(ns))
                });
                format!("Cannot tell how {one} compares {loss}{cost}, because {reason}.")
            }
        }
    }
}

/// The verdict of a stage's first pair, with what its handshakes and blocking add.
#[must_use]
pub fn of_stage(plan: &Plan, stage: &Stage, verdicts: &[Verdict]) -> String {
    let smallest = plan.depths.iter().min().copied();
    let own = verdicts.iter().find(|v| v.loss_ppm == stage.loss_ppm && Some(v.depth) == smallest);
    let mut text = own.map_or_else(String::new, |verdict| verdict.sentence.clone());
    text.extend(handshake(stage));
    text
}

fn handshake(stage: &Stage) -> Option<String> {
    let lane = stage.lanes.iter().find(|lane| lane.arm.transport().per_request())?;
    let open = latency(lane.handshake.as_ref()?.p50.value_ns?);
    let syn = lane.tcp.map_or(0, |tcp| tcp.syn_retransmits);
    let lost = if syn > 0 {
        format!(", and 1 s for each of {}", human::plural(syn, "lost SYN", "lost SYNs"))
    } else {
        String::new()
    };
    Some(format!(" {} adds a handshake of {open} to each request{lost}.", lane.arm.name()))
}

/// [`BOUND`] as text.
fn bound() -> String {
    format!("{} %", BOUND * 100.0)
}

/// `+3.1 %`.
fn signed(share: f64) -> String {
    format!("{}{}", if share < 0.0 { "−" } else { "+" }, human::percent(share.abs()))
}

#[expect(clippy::cast_precision_loss, reason = "latencies stay far below 2^52 ns, 52 days")]
fn float(ns: u64) -> f64 {
    ns as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates at 0")]
fn whole(ns: f64) -> u64 {
    ns.max(0.0).round() as u64
}
