//! Result of a run: printed, written as JSON, and compared with a known truth.

use super::allan::Stability;
use super::bound::{Contradiction, Interval, Window, bounded_drift, consistent_end};
use super::change::{Change, since_change};
use super::client::{Counts, Ended, Event, NOTES_MAX};
use super::drift::{DriftLimit, PHI};
use super::estimate::{Estimate, Estimator, drift_beyond, estimate};
use super::host_clocks::HostClocks;
use super::hull::{ConstantDrift, constant_drift, steady_end};
use super::plot_data::PlotData;
use super::refusal::Refusal;
use super::sample::{Sample, TimePair};
use super::scenario::Scenario;
use super::select::Agreement;
use super::spans::straight_end;
use super::stamps::Stamps;
use super::timestamp::saturated;
use super::votes::{self, Shared, Voter};
use super::wander::{Bend, best_end};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use wirelab::cli::predict::Guess;
use wirelab::measure::Instant;

/// A datagram that was not believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The request whose socket it came to.
    pub request: u32,
    /// When it came.
    #[serde(rename = "at_ns")]
    pub at: Instant,
    /// The sender.
    pub from: SocketAddr,
    /// The name of the reason.
    pub reason: Cow<'static, str>,
    /// The rule that it breaks.
    pub section: Cow<'static, str>,
    /// The reason with its values.
    pub text: String,
}

impl Note {
    /// A note of a refusal.
    #[must_use]
    pub fn new(request: u32, at: Instant, from: SocketAddr, refusal: &Refusal) -> Self {
        let (reason, section) = (refusal.name().into(), refusal.section().into());
        Self { request, at, from, reason, section, text: refusal.to_string() }
    }
}

/// A request without a reply in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its number.
    pub request: u32,
    /// When it was sent.
    #[serde(rename = "sent_ns")]
    pub sent: Instant,
}

/// Samples kept per server: three days at one in 64 s, two megabytes; then the oldest go.
pub const SAMPLES_MAX: usize = 4_096;

/// Replies of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// As the user named it.
    pub name: String,
    /// Where it was asked.
    pub address: SocketAddr,
    /// Accepted samples, in order of arrival.
    pub samples: Vec<Sample>,
    /// Refused replies: the first [`NOTES_MAX`].
    pub notes: Vec<Note>,
    /// Unanswered requests: the first [`NOTES_MAX`].
    pub lost: Vec<Lost>,
    /// Counters.
    pub counts: Counts,
    /// Why it ended.
    pub ended: Ended,
    /// The address of this host that it sees.
    pub local: Option<IpAddr>,
}

impl Gathered {
    /// Nothing yet.
    #[must_use]
    pub fn new(name: String, address: SocketAddr) -> Self {
        let (counts, ended) = (Counts::default(), Ended::Complete);
        let (samples, notes, lost) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, address, samples, notes, lost, counts, ended, local: None }
    }

    /// Takes the client's events.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Sample(sample) => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.remove(0);
                }
                self.samples.push(sample);
            }
            Event::Refused { request, at, from, refusal } if self.notes.len() < NOTES_MAX => {
                self.notes.push(Note::new(request, at, from, &refusal));
            }
            Event::Lost { request, sent } if self.lost.len() < NOTES_MAX => {
                self.lost.push(Lost { request, sent });
            }
            Event::Ended(ended) => self.ended = ended,
            Event::Refused { .. }
            | Event::Lost { .. }
            | Event::Closed { .. }
            | Event::KeysNeeded => {}
        }
    }
}

/// How to look at what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The estimator that was asked for.
    pub estimator: Option<Estimator>,
    /// How fast the clocks may drift apart.
    #[serde(rename = "drift_limit_ppb")]
    pub drift_limit: DriftLimit,
    /// How far the ends of the interval may be from its middle.
    pub within_ns: Option<i64>,
}

/// Bounds by one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Where the offset must lie: by the samples since a contradiction, where there is one.
    pub interval: Interval,
    /// Samples that it rests on.
    pub samples: u32,
    /// The same, if the drift is constant; `None` where it cannot be.
    pub constant_drift: Option<ConstantDrift>,
    /// How far the server may be from UTC: by its last word, and 15 ppm since (RFC 5905, PHI).
    pub root_distance_ns: i64,
    /// Where the offset to UTC must lie, if the server's claim is true.
    pub utc: Interval,
    /// Two samples that cannot both be true.
    pub contradiction: Option<Contradiction>,
    /// A jump that the delays do not explain: a clock was set, or the path changed.
    #[serde(default)]
    pub change: Option<Change>,
    /// The drift that the samples show, where it is beyond the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_beyond_ppt: Option<i64>,
}

/// Samples that an estimate does not use, by reason; the first that applies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// From before this host slept, or older than 36 years.
    pub slept: u32,
    /// From before two samples that contradict each other.
    pub contradiction: u32,
    /// From before the offset jumped at equal delays.
    pub change: u32,
    /// From before a change of rate: no line passes through all bounds.
    pub rate: u32,
    /// From before a change of rate by the runs test (one window in 20 without a cause).
    pub runs_test: u32,
    /// Too old for a rate that wanders: the line is drawn better without.
    #[serde(default)]
    pub wander: u32,
}

/// The samples that bear on a server's offset, narrowed step by step.
struct Used {
    all: Window,
    /// Since the last contradiction or change.
    window: Window,
    /// Those of one rate, for estimators that draw a line.
    steady: Window,
    change: Option<Change>,
    bend: Bend,
    excluded: Excluded,
}

impl Used {
    fn of(samples: &[Sample], limit: DriftLimit, now: &TimePair) -> Self {
        let all = Window::new(samples, now);
        let consistent = consistent_end(&all, limit);
        let (window, change) = since_change(&consistent, limit);
        let line = steady_end(&window, limit);
        let straight = straight_end(&line);
        let (steady, bend) = best_end(&straight, limit);
        let counts = [samples.len(), all.rows().len(), consistent.rows().len()];
        let ends = [&window, &line, &straight, &steady].map(|end| end.rows().len());
        let counts = counts.into_iter().chain(ends);
        let counts: Vec<u32> = counts.map(super::sample::count).collect();
        let gone = |step: usize| counts[step] - counts[step + 1];
        let excluded = Excluded {
            slept: gone(0),
            contradiction: gone(1),
            change: gone(2),
            rate: gone(3),
            runs_test: gone(4),
            wander: gone(5),
        };
        Self { all, window, steady, change, bend, excluded }
    }
}

/// One server's part of a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFinding {
    /// As the user named it.
    pub name: String,
    /// Where it was asked.
    pub address: SocketAddr,
    /// The address of this host that it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// Why it ended.
    pub ended: Ended,
    /// Counters.
    pub counts: Counts,
    /// The estimate.
    pub estimate: Option<Estimate>,
    /// The bounds.
    pub bound: Option<Bound>,
    /// Samples that the estimate does not use, by reason.
    #[serde(default)]
    pub excluded: Excluded,
    /// Every estimator on the same samples.
    pub estimates: Vec<Estimate>,
    /// How stable the offset is over different times.
    pub stability: Stability,
    /// Plot data of the report.
    pub picture: PlotData,
    /// The program's stamps and the kernel's, side by side.
    #[serde(default)]
    pub stamps: Stamps,
    /// Refused replies, with reasons.
    pub notes: Vec<Note>,
    /// Unanswered requests.
    pub lost: Vec<Lost>,
    /// Accepted samples.
    pub samples: Vec<Sample>,
}

impl ServerFinding {
    /// Evaluates one server's samples for the clock at `now`.
    #[must_use]
    pub fn new(gathered: Gathered, view: &View, now: &TimePair) -> Self {
        let used = Used::of(&gathered.samples, view.drift_limit, now);
        let Used { all, window, steady, bend, excluded, .. } = &used;
        let bound = bound(&gathered.samples, &used, view, now.at);
        let kept = |found: Estimate| bound.map_or(found, |b| clipped(found, &b.interval));
        let by = |which| Some(estimate(which, steady, view.drift_limit, now.at)?.bent(bend));
        let which = view.estimator.unwrap_or_else(|| Estimator::best_for(steady));
        let likely = by(which).map(kept);
        Self {
            excluded: *excluded,
            picture: PlotData::new(all, steady, likely.as_ref(), view.drift_limit, now.at),
            stability: Stability::of(window.rows()),
            stamps: Stamps::of(&gathered.samples),
            estimate: likely,
            // As each of them says, so that they can be compared.
            estimates: Estimator::ALL.into_iter().filter_map(by).collect(),
            bound,
            name: gathered.name,
            address: gathered.address,
            ended: gathered.ended,
            local: gathered.local,
            counts: gathered.counts,
            notes: gathered.notes,
            lost: gathered.lost,
            samples: gathered.samples,
        }
    }
}

fn bound(
    samples: &[Sample],
    Used { all, window, change, .. }: &Used,
    view: &View,
    at: Instant,
) -> Option<Bound> {
    let interval = bounded_drift(window, view.drift_limit, at).ok().flatten()?;
    //= RFC 5905 §11.2.3: the root distance grows by PHI from the packet on.
    let aged = |sample: &Sample| {
        let age = at.as_nanos().saturating_sub(sample.record.t4.at.as_nanos());
        sample.root_distance_ns.saturating_add(PHI.over(age))
    };
    let root_distance_ns = samples.last().map_or(0, aged);
    Some(Bound {
        interval,
        samples: super::sample::count(window.rows().len()),
        constant_drift: constant_drift(window, view.drift_limit, at),
        root_distance_ns,
        utc: interval.widened(root_distance_ns),
        contradiction: bounded_drift(all, view.drift_limit, at).err(),
        change: *change,
        drift_beyond_ppt: drift_beyond(window, view.drift_limit),
    })
}

/// Clamps the estimate and its spread into the bounds.
fn clipped(found: Estimate, interval: &Interval) -> Estimate {
    let offset_ns = found.offset_ns.clamp(interval.low_ns, interval.high_ns);
    let spread_ns = found.spread_ns.map(|spread| spread.min(interval.reach(offset_ns)));
    Estimate { offset_ns, spread_ns, ..found }
}

/// Interim result of one server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Live {
    /// The estimate.
    pub estimate: Estimate,
    /// The bounds.
    pub interval: Interval,
    /// Two samples contradict each other: computed from the samples after them.
    pub contradiction: bool,
}

/// Samples that are looked at while a server is still asked: at one a millisecond there is time
/// for no more.
const LIVE_MAX: usize = 64;

impl Live {
    /// Of the last samples, as they bear on the clock at `now`; `None` where none does.
    #[must_use]
    pub fn of(samples: &[Sample], view: &View, now: &TimePair) -> Option<Self> {
        let last = &samples[samples.len().saturating_sub(LIVE_MAX)..];
        let Used { all, window, steady, bend, .. } = Used::of(last, view.drift_limit, now);
        let interval = bounded_drift(&window, view.drift_limit, now.at).ok().flatten()?;
        let which = view.estimator.unwrap_or_else(|| Estimator::best_for(&steady));
        Some(Self {
            estimate: clipped(
                estimate(which, &steady, view.drift_limit, now.at)?.bent(&bend),
                &interval,
            ),
            interval,
            contradiction: window.rows().len() < all.rows().len(),
        })
    }
}

/// The conclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There is an offset and a bound.
    Usable,
    /// The bound is wider than asked for.
    TooWide,
    /// One server's samples contradict each other.
    Contradiction,
    /// The servers contradict each other.
    Disagreement,
    /// No reply was believed.
    NoReply,
}

impl ServerFinding {
    /// Whether its time comes from this host: a timing loop.
    ///
    /// //= RFC 5905 §7.3: above stratum 1 the reference id is the IPv4 address of the source.
    #[must_use]
    pub fn follows_this_host(&self) -> bool {
        let claims = self.samples.last().map(|sample| sample.record.claims);
        let reference = claims.filter(|claims| claims.stratum > 1).map(|c| c.reference_id.0);
        matches!(self.local.map(|ip| ip.to_canonical()), Some(IpAddr::V4(ip))
            if Some(ip.octets()) == reference)
    }

    /// Whether its clock seems to smear a leap second over a day: 11.6 ppm.
    #[must_use]
    pub fn seems_to_smear(&self) -> bool {
        const SMEAR_PPT: u64 = 11_574_074;
        /// A drift known to this many parts per trillion says something.
        const KNOWN_PPT: i64 = 500_000;
        let Some(found) = self.estimate else { return false };
        found.drift_ppt.zip(found.drift_spread_ppt).is_some_and(|(drift, spread)| {
            let away = drift.unsigned_abs().abs_diff(SMEAR_PPT);
            spread <= KNOWN_PPT && away <= 2 * spread.unsigned_abs()
        })
    }
}

/// Combined result of all servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// The estimate.
    pub estimate_ns: i64,
    /// How far the samples scatter it: noise.
    pub spread_ns: Option<i64>,
    /// How far an asymmetric path may have moved it at most: to the further end of the interval.
    #[serde(default)]
    pub asymmetry_ns: i64,
    /// Where the offset must lie: to the one server, or to UTC by the majority's claims.
    pub interval: Interval,
    /// Where the offset to UTC must lie, if the claims are true.
    pub utc: Interval,
}

/// The estimate and the bound against a truth that is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// The scenario played.
    pub scenario: Scenario,
    /// The true offset at the end.
    pub offset_ns: i64,
    /// Estimate minus truth.
    pub error_ns: Option<i64>,
    /// Whether the interval holds the truth.
    pub inside: Option<bool>,
    /// Samples whose own interval held the truth at their time.
    pub samples_inside: u32,
    /// Of how many.
    pub samples: u32,
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Name and version of this format.
    pub schema: Cow<'static, str>,
    /// Version of the program.
    pub version: Cow<'static, str>,
    /// The command line.
    pub command: String,
    /// Seed of a demonstration.
    pub seed: Option<u64>,
    /// The clock that all offsets are of.
    pub now: TimePair,
    /// How the samples were looked at.
    pub view: View,
    /// The conclusion.
    pub verdict: Verdict,
    /// The numbers of it.
    pub together: Option<Together>,
    /// Which servers agree.
    pub agreement: Agreement,
    /// Servers that have one vote together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<Shared>,
    /// By how much this host's clock was set during the run.
    pub local_step_ns: i64,
    /// Differences between this host's clocks.
    pub host_clocks: Option<HostClocks>,
    /// Each server.
    pub servers: Vec<ServerFinding>,
    /// Against the truth.
    pub checked: Option<Checked>,
    /// The reader's guesses beside the values seen (`--predict`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub predictions: Vec<Guess>,
}

/// Name and version of the JSON of a finding.
pub const SCHEMA: &str = "wirelab/clock-offset/1";

impl Finding {
    /// Evaluates all servers for the clock at `now`.
    #[must_use]
    pub fn new(gathered: Vec<Gathered>, view: View, now: TimePair) -> Self {
        let first = |g: &Gathered| g.samples.first().map(|sample| sample.record.t1);
        let earliest = gathered.iter().filter_map(first).min_by_key(|pair| pair.at);
        let servers: Vec<ServerFinding> =
            gathered.into_iter().map(|one| ServerFinding::new(one, &view, &now)).collect();
        let heard: Vec<&ServerFinding> = servers.iter().filter(|s| s.bound.is_some()).collect();
        let voters = servers.iter().enumerate().filter_map(|(server, found)| {
            let (bound, claims) = (found.bound?, found.samples.last()?.record.claims);
            let (stratum, reference) = (claims.stratum, claims.reference_id);
            Some(Voter { server, address: found.address, stratum, reference, interval: bound.utc })
        });
        let (agreement, shared) = votes::count(&voters.collect::<Vec<_>>());
        let together = together(&heard, &agreement);
        Self {
            schema: SCHEMA.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            command: String::new(),
            seed: None,
            now,
            view,
            verdict: verdict(&heard, &agreement, together.as_ref(), &view),
            together,
            agreement,
            shared,
            local_step_ns: earliest.map_or(0, |pair| pair.step_until(&now)),
            host_clocks: None,
            servers,
            checked: None,
            predictions: Vec::new(),
        }
    }

    /// The same run looked at in another way: its samples are judged again; what was asked, lost
    /// and played stays.
    ///
    /// # Errors
    /// The rule that a saved sample breaks.
    pub fn viewed(self, view: View) -> Result<Self, Refusal> {
        let again = |server: ServerFinding| {
            let samples = server.samples.into_iter().map(|sample| Sample::new(sample.record));
            Ok(Gathered {
                name: server.name,
                address: server.address,
                samples: samples.collect::<Result<_, _>>()?,
                notes: server.notes,
                lost: server.lost,
                counts: server.counts,
                ended: server.ended,
                local: server.local,
            })
        };
        let gathered = self.servers.into_iter().map(again).collect::<Result<_, _>>()?;
        let mut found = Self::new(gathered, view, self.now);
        found.seed = self.seed;
        found.host_clocks = self.host_clocks;
        found.predictions = self.predictions;
        let together = found.together;
        found.checked = self.checked.map(|old| Checked {
            error_ns: together.map(|found| found.estimate_ns - old.offset_ns),
            inside: together.map(|found| found.interval.contains(old.offset_ns)),
            ..old
        });
        Ok(found)
    }

    /// Holds it against a truth: `offset_at` is that of the first server at each time.
    #[must_use]
    pub fn check(mut self, scenario: Scenario, offset_at: impl Fn(Instant) -> i64) -> Self {
        let offset_ns = offset_at(self.now.at);
        let samples = self.servers.first().map_or(&[][..], |server| &server.samples);
        let holds = |sample: &&Sample| {
            sample.high_ns() >= offset_at(sample.record.t1.at)
                && sample.low_ns() <= offset_at(sample.record.t4.at)
        };
        self.checked = Some(Checked {
            offset_ns,
            error_ns: self.together.map(|found| found.estimate_ns - offset_ns),
            inside: self.together.map(|found| found.interval.contains(offset_ns)),
            samples_inside: super::sample::count(samples.iter().filter(holds).count()),
            samples: super::sample::count(samples.len()),
            scenario,
        });
        self
    }
}

/// The likely offset of the servers that agree, each counting by how narrow its bound is.
fn together(heard: &[&ServerFinding], agreement: &Agreement) -> Option<Together> {
    let (interval, outside): (Interval, &[usize]) = match agreement {
        Agreement::Nothing | Agreement::CannotTell { .. } => return None,
        Agreement::Alone { interval } => (*interval, &[]),
        Agreement::Majority { interval, falsetickers } => (*interval, falsetickers),
    };
    let agree = heard.iter().enumerate().filter(|(index, _)| !outside.contains(index));
    let parts: Vec<(Estimate, Bound)> =
        agree.filter_map(|(_, server)| server.estimate.zip(server.bound)).collect();
    if let [(estimate, bound)] = parts[..] {
        let own = if heard.len() == 1 { bound.interval } else { interval };
        return Some(Together {
            estimate_ns: estimate.offset_ns,
            spread_ns: estimate.spread_ns,
            asymmetry_ns: own.reach(estimate.offset_ns),
            interval: own,
            utc: interval,
        });
    }
    //= RFC 5905 §11.2.3: weights are the reciprocals of the root distances.
    let weight =
        |bound: &Bound| 1_000_000_000_000_i128 / i128::from(bound.utc.width_ns().max(1)).max(1);
    let base = parts.first()?.0.offset_ns;
    let sum: i128 = parts.iter().map(|(_, bound)| weight(bound).max(1)).sum();
    let away = |(e, b): &(Estimate, Bound)| {
        (i128::from(e.offset_ns) - i128::from(base)) * weight(b).max(1)
    };
    let mean = parts.iter().map(away).sum::<i128>().div_euclid(sum);
    let mean = base.saturating_add(saturated(mean));
    let estimate_ns = mean.clamp(interval.low_ns, interval.high_ns);
    Some(Together {
        estimate_ns,
        asymmetry_ns: interval.reach(estimate_ns),
        spread_ns: parts.iter().filter_map(|(estimate, _)| estimate.spread_ns).max(),
        interval,
        utc: interval,
    })
}

fn verdict(
    heard: &[&ServerFinding],
    agreement: &Agreement,
    together: Option<&Together>,
    view: &View,
) -> Verdict {
    let Some(together) = together else {
        return match agreement {
            Agreement::CannotTell { .. } => Verdict::Disagreement,
            _ => Verdict::NoReply,
        };
    };
    let contradicts = |s: &&&ServerFinding| {
        s.bound.is_some_and(|b| b.contradiction.is_some() || b.change.is_some())
    };
    if heard.iter().filter(contradicts).count() * 2 >= heard.len() {
        return Verdict::Contradiction;
    }
    let half = together.interval.width_ns() / 2;
    if view.within_ns.is_some_and(|within| half > within) {
        return Verdict::TooWide;
    }
    Verdict::Usable
}
