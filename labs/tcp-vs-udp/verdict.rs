//! Verdict on two arms: faster, level, or cannot tell and why.
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
const LATENESS_FACTOR: f64 = 10.0;
/// From this ratio on a sentence shows a factor, below it a percentage.
const FACTOR_FROM: f64 = 1.2;
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
            at_least: None,
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

/// Verdict on two lanes.
struct Proof {
    claim: Ruling,
    /// The slower of the two: 0 or 1.
    slower: usize,
    /// The slower over the faster; `None` where one of them may lie on either of two steps.
    ratio: Option<Estimate>,
    /// The slower is at least so many times as slow.
    at_least: Option<f64>,
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
        let decided = self.decide();
        let reason = decided.as_ref().map_or_else(Clone::clone, |_| self.cause());
        let sentence = match (&decided, self.other) {
            (Ok(proof), Some(other)) => self.sentence(proof, other, &reason),
            _ => self.cannot_tell(&reason),
        };
        let proof = decided.unwrap_or(Proof {
            claim: Ruling::CannotTell,
            slower: 1,
            ratio: None,
            at_least: None,
        });
        let mut lanes: Vec<&Lane> = self.lanes().collect();
        // The faster arm stands first.
        if proof.slower == 0 {
            lanes.reverse();
        }
        Verdict {
            claim: proof.claim,
            arms: lanes.iter().map(|lane| lane.arm).collect(),
            loss_ppm: self.stage.loss_ppm,
            depth: self.depth,
            quantity: quantity(self.stage.loss_ppm.get()),
            estimates: lanes.iter().map(|lane| self.measured(lane)).collect(),
            ratio: proof.ratio,
            at_least: proof.at_least,
            bound: BOUND,
            reason,
            sentence,
        }
    }

    /// The verdict on the two lanes, or the reason why there is none.
    fn decide(&self) -> Result<Proof, String> {
        if self.timing.verdict == TimingVerdict::Invalid {
            return Err(self.timing.reason.clone());
        }
        let one = self.estimate(self.one)?;
        let Some(lane) = self.other else {
            return Err("one arm alone is compared with nothing; name two, such as --arms \
                        tcp,udp-once"
                .to_owned());
        };
        let other = self.estimate(lane)?;
        let slower = usize::from(other.value >= one.value);
        let (fast, slow) = if slower == 1 { (one, other) } else { (other, one) };
        let proof = if is_wide(&one) || is_wide(&other) {
            // Medians between two timers have no ratio, but their intervals may be disjoint.
            let at_least = slow.low / fast.high;
            if !at_least.is_finite() || at_least <= 1.0 + BOUND {
                let lane = if is_wide(&one) { self.one } else { lane };
                return Err(self.too_wide(lane));
            }
            Proof { claim: Ruling::Faster, slower, ratio: None, at_least: Some(at_least) }
        } else {
            let Some(ratio) = slow.over(&fast) else {
                return Err(format!("an interval reaches down to 0; {}", self.remedy()));
            };
            let claim = match ratio.order(BOUND) {
                Order::Less | Order::Greater => Ruling::Faster,
                Order::Level => Ruling::Level,
                Order::Open => return Err(self.open(&ratio)),
            };
            let at_least = (claim == Ruling::Faster).then_some(ratio.low);
            Proof { claim, slower, ratio: Some(ratio), at_least }
        };
        let apart =
            if proof.ratio.is_some() { slow.value - fast.value } else { slow.low - fast.high };
        let resolution = match proof.claim {
            Ruling::Faster => apart / LATENESS_FACTOR,
            _ => one.value * BOUND,
        };
        let late = self.lanes().flat_map(|lane| &lane.path).map(|link| link.late_p99_ns).max();
        let late = late.unwrap_or(0);
        if float(late) > resolution {
            return Err(format!(
                "1 frame in 100 left the path {} late or more, too much beside a difference of {}; \
                 run it again on an idler machine",
                latency(late),
                latency(whole(apart))
            ));
        }
        Ok(proof)
    }

    fn open(&self, ratio: &Estimate) -> String {
        format!(
            "the difference lies between {}, which is neither clear of zero nor within {}; {}",
            range(&signed(ratio.low - 1.0), &signed(ratio.high - 1.0)),
            bound(),
            self.remedy()
        )
    }

    fn too_wide(&self, lane: &Lane) -> String {
        format!(
            "the cost of a loss with {} lies between {}: more than one timer, or too few losses, \
             decide it; {}",
            lane.arm.name(),
            self.shown(lane).replace('–', " and "),
            self.remedy()
        )
    }

    /// A lane's value with both ends of its interval.
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
            let base = lane.theory.stairs.first()?.stair.at_ns;
            let once = lane.theory.stairs.iter().filter(|step| step.stair.failures == 1);
            let once = once.map(|step| {
                format!("the {} after {}", step.mechanism, latency(step.stair.at_ns - base))
            });
            let once = once.collect::<Vec<_>>().join(" or ");
            (!once.is_empty()).then(|| format!("{once} with {}", lane.arm.name()))
        };
        let all: Option<Vec<String>> = self.lanes().map(first_repeat).collect();
        all.map_or_else(
            || "theory predicts no steps at this depth".to_owned(),
            |all| format!("first repeated by {}", all.join(", by ")),
        )
    }

    /// A lane's value: `228 ms`, or `26.5 ms–38.8 ms` where it may lie on either of two steps.
    fn shown(&self, lane: &Lane) -> String {
        let value = self.measured(lane);
        match Estimate::of(&value).filter(is_wide) {
            Some(wide) => range(&latency(whole(wide.low)), &latency(whole(wide.high))),
            None => value.value_ns.map_or_else(|| human::NONE.to_owned(), latency),
        }
    }

    /// ` at 2 % loss, depth 8`, or ` without loss`.
    fn place(&self) -> String {
        let depth = if self.depth > 1 { format!(", depth {}", self.depth) } else { String::new() };
        let loss = self.stage.loss_ppm;
        if self.is_lossy() {
            format!("at {loss} loss{depth}")
        } else {
            format!("without loss{depth}")
        }
    }

    fn sentence(&self, proof: &Proof, other: &Lane, reason: &str) -> String {
        let (a, b) = (self.shown(self.one), self.shown(other));
        let (one, other_name) = (self.one.arm.name(), other.arm.name());
        let how = match (proof.claim, proof.ratio, proof.at_least) {
            (Ruling::Level, ..) => format!("level within {}", bound()),
            (_, Some(ratio), _) if ratio.value < FACTOR_FROM => {
                format!("{} apart", human::percent(ratio.value - 1.0))
            }
            (_, Some(ratio), _) => human::factor(ratio.value),
            (_, None, at_least) => {
                format!("{} at least", human::factor(at_least.unwrap_or(1.0)))
            }
        };
        let place = self.place();
        let place = place[..1].to_uppercase() + &place[1..];
        if !self.is_lossy() {
            return format!("{place} the median is {a} with {one}, {b} with {other_name} ({how}).");
        }
        let share = |lane: &Lane| human::number(lane.loss_cost.met.share * 100.0, 1);
        let (met_one, met_other) = (share(self.one), share(other));
        let met = if met_one == met_other { met_one } else { format!("{met_one} and {met_other}") };
        format!(
            "{place} a lost packet costs {a} with {one}, {b} with {other_name} ({how}; {met} in \
             100 requests met one): {reason}."
        )
    }

    fn cannot_tell(&self, reason: &str) -> String {
        let (one, place) = (self.one.arm.name(), self.place());
        let Some(other) = self.other else {
            let what = if self.is_lossy() { "a lost packet costs" } else { "the median is" };
            let cost = self.shown(self.one);
            return format!(
                "Cannot tell how {one} compares {place} ({what} {cost}), because {reason}."
            );
        };
        let other = other.arm.name();
        format!("Cannot tell which of {one} and {other} is faster {place}, because {reason}.")
    }
}

/// Whether a value may lie on either of two steps.
fn is_wide(estimate: &Estimate) -> bool {
    estimate.high > CLIFF_FACTOR * estimate.low
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
