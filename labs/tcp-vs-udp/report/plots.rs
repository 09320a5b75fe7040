//! The plots of the HTML report: p99 against loss, the tail at each loss, cost against loss, and
//! the packet ladder of one slow request.

use super::ladder::SlowRequest;
use super::lanes::{answered_only, arms, quantile};
use crate::arms::Arm;
use crate::result::{Lane, RunResult, Stage};
use crate::transport::LaneFacts;
use crate::verdict::pair;
use std::time::Duration;
use wirelab::measure::Ppm;
use wirelab::measure::human::{interval, ms, percent};
use wirelab::path::Direction;
use wirelab::report::html::Html;
use wirelab::report::svg::{Axis, Frame, Scale, Svg, short, spread};

const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 330.0;
const FRAME: Frame = Frame { left: 52.0, right: 428.0, top: 34.0, bottom: 284.0 };

/// The CSS class of an arm's colour and dash.
pub(super) fn class(arm: Arm) -> String {
    format!("arm {}", arm.class())
}

/// The marker of an arm.
pub(super) fn shape(arm: Arm) -> usize {
    arm.look().marker
}

#[expect(clippy::cast_precision_loss, reason = "a place on paper")]
fn nanos(value: u64) -> f64 {
    value as f64
}

/// Legend sample of an arm's line and marker.
pub(super) fn key(arm: Arm) -> Html {
    let mut svg = Svg::new(44.0, 14.0, arm.name());
    svg.open(&class(arm));
    svg.line("line", (1.0, 7.0), (43.0, 7.0));
    svg.marker("", shape(arm), (22.0, 7.0), arm.about());
    svg.close();
    svg.finish()
}

/// A figure of a lane, plotted against loss.
pub(super) struct Figure {
    /// The title of the y axis.
    pub(super) title: &'static str,
    pub(super) log: bool,
    /// Whether theory's steps are drawn behind it.
    pub(super) theory: bool,
    /// Value, lower and upper end of its interval.
    pub(super) get: fn(&Lane) -> Option<Point>,
    /// Formats the value.
    pub(super) show: fn(&Lane) -> String,
    /// Formats a tick.
    pub(super) tick: fn(f64) -> String,
}

/// A value with its interval.
#[derive(Clone, Copy)]
pub(super) struct Point {
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
}

/// Cost of a lost packet.
pub(super) const COST: Figure = Figure {
    title: "a lost packet costs, milliseconds (log scale)",
    log: true,
    theory: false,
    get: |lane| {
        let extra = &lane.loss_cost.extra;
        Some(Point {
            value: nanos(extra.value_ns.filter(|ns| *ns > 0)?),
            low: extra.low_ns.filter(|ns| *ns > 0).map(nanos),
            high: extra.high_ns.map(nanos),
        })
    },
    show: |lane| {
        let extra = &lane.loss_cost.extra;
        format!("a loss costs {} ms, 95 % interval {}", quantile(extra), interval(extra))
    },
    tick: |v| format!("{}", (v / 1e4).round() / 100.0),
};

/// Latency p99.
pub(super) const P99: Figure = Figure {
    title: "p99, milliseconds (log scale)",
    log: true,
    theory: true,
    get: |lane| {
        let p99 = &lane.latency.p99;
        Some(Point {
            value: nanos(p99.value_ns?),
            low: p99.low_ns.map(nanos),
            high: p99.high_ns.map(nanos),
        })
    },
    show: |lane| {
        let p99 = &lane.latency.p99;
        format!("p99 {} ms, 95 % interval {}", quantile(p99), interval(p99))
    },
    tick: |v| format!("{}", (v / 1e4).round() / 100.0),
};

/// Packets per answered request.
pub(super) const PACKETS: Figure = Figure {
    title: "packets per answered request",
    log: false,
    theory: false,
    get: |lane| plain(lane.traffic.frames_per_request),
    show: |lane| format!("{:.2} packets per request", lane.traffic.frames_per_request),
    tick: short,
};

/// Useful share of bytes.
pub(super) const USEFUL: Figure = Figure {
    title: "useful share of the bytes, %",
    log: false,
    theory: false,
    get: |lane| plain(lane.traffic.useful_share),
    show: |lane| format!("{} of the bytes are useful", percent(lane.traffic.useful_share)),
    tick: |v| format!("{}", (v * 100.0).round()),
};

fn plain(value: f64) -> Option<Point> {
    value.is_finite().then_some(Point { value, low: None, high: None })
}

/// One line per arm over the loss rates, at one depth.
pub(super) fn against_loss(result: &RunResult, depth: u32, figure: &Figure) -> Html {
    let all = || result.stages.iter().flat_map(|s| &s.lanes).filter_map(figure.get);
    let ends = |p: Point| [p.low.unwrap_or(p.value), p.value, p.high.unwrap_or(p.value)];
    let low = all().flat_map(ends).fold(f64::INFINITY, f64::min);
    let high = all().flat_map(ends).fold(0.0, f64::max);
    let y = if figure.log {
        Scale::log(low / 1.2, high * 1.2, FRAME.bottom, FRAME.top)
    } else {
        Scale::linear(0.0, high * 1.08, FRAME.bottom, FRAME.top)
    };
    let loss_max = result.stages.iter().map(|s| s.loss_ppm.fraction()).fold(0.0, f64::max);
    let x = Scale::linear(0.0, loss_max.max(1e-6), FRAME.left + 14.0, FRAME.right - 14.0);
    let mut svg = Svg::new(WIDTH, HEIGHT, &format!("{} against loss, depth {depth}", figure.title));
    let losses = result
        .stages
        .iter()
        .map(|s| (s.loss_ppm.fraction(), s.loss_ppm.to_string().replace(" %", "")))
        .collect();
    svg.axes(
        FRAME,
        &Axis { scale: x, ticks: losses, title: "packet loss each way, %".to_owned() },
        &Axis::labelled(y, figure.title, figure.tick),
    );
    if figure.theory {
        step_curves(&mut svg, result, depth, (x, y));
    }
    lines(&mut svg, result, depth, figure, (x, y));
    svg.finish()
}

/// Points of a theory curve over loss.
const CURVE_POINTS: u32 = 200;

/// The p99 of theory over loss, for the arms of the headline: it climbs in steps.
fn step_curves(svg: &mut Svg, result: &RunResult, depth: u32, (x, y): (Scale, Scale)) {
    let lanes = || result.stages.iter().flat_map(|s| &s.lanes).filter(|l| l.depth == depth);
    let most = result.stages.iter().map(|s| s.loss_ppm.get()).max().unwrap_or(0);
    let (first, second) = pair(&result.plan.arms);
    for arm in [first, second].into_iter().flatten() {
        let Some(lane) = lanes().find(|lane| lane.arm == arm) else { continue };
        let client_rto = lane.udp.map(|udp| Duration::from_nanos(udp.rto_ns));
        let point = |step: u32| {
            let loss = Ppm::new(most / CURVE_POINTS * step)?;
            let facts = LaneFacts { loss, depth, client_rto };
            let stairs = arm.transport().yardstick(result.plan.conditions(), facts)?.stairs;
            let answered = stairs.last()?.stair.share;
            let p99 = stairs.iter().find(|s| s.stair.share >= 0.99 * answered)?;
            Some((x.at(loss.fraction()), y.at(nanos(p99.stair.at_ns)).max(FRAME.top)))
        };
        let points: Vec<(f64, f64)> = (0..=CURVE_POINTS).filter_map(point).collect();
        svg.path("theory", &points);
    }
}

fn lines(svg: &mut Svg, result: &RunResult, depth: u32, figure: &Figure, scales: (Scale, Scale)) {
    let (x, y) = scales;
    let arms = arms(result);
    let mut ends: Vec<(Arm, f64)> = Vec::new();
    for (index, arm) in (0_u32..).zip(&arms) {
        // Offset by a few pixels, so that equal figures and their whiskers can be told apart.
        let count = u32::try_from(arms.len()).expect("invariant: at most 24 lanes");
        let count = f64::from(count);
        let nudge = (f64::from(index) - (count - 1.0) / 2.0) * 3.0;
        let points: Vec<(f64, Point, &Lane, &Stage)> = result
            .stages
            .iter()
            .filter_map(|s| {
                let lane = s.lanes.iter().find(|l| l.arm == *arm && l.depth == depth)?;
                Some((x.at(s.loss_ppm.fraction()) + nudge, (figure.get)(lane)?, lane, s))
            })
            .collect();
        svg.open(&class(*arm));
        let path: Vec<_> = points.iter().map(|(x, p, ..)| (*x, y.at(p.value))).collect();
        svg.path("line", &path);
        for (x, point, lane, stage) in &points {
            svg.whisker("whisker", *x, point.low.map(|v| y.at(v)), point.high.map(|v| y.at(v)));
            let hollow = figure.log && answered_only(lane);
            let only = if hollow { ", of the answered requests only" } else { "" };
            let what = (figure.show)(lane);
            let title = format!("{} at {} loss: {what}{only}", arm.name(), stage.loss_ppm);
            let class = if hollow { "hollow" } else { "" };
            svg.marker(class, shape(*arm), (*x, y.at(point.value)), &title);
        }
        svg.close();
        ends.extend(path.last().map(|(_, y)| (*arm, *y)));
    }
    end_labels(svg, &ends, FRAME);
}

/// Labels at the right end of the lines, spread apart, each tied to its line.
fn end_labels(svg: &mut Svg, ends: &[(Arm, f64)], frame: Frame) {
    let wanted: Vec<f64> = ends.iter().map(|(_, y)| *y).collect();
    let places = spread(&wanted, 16.0, frame.top + 4.0, frame.bottom - 2.0);
    for ((arm, y), place) in ends.iter().zip(places) {
        svg.open(&class(*arm));
        svg.line("tie", (frame.right + 2.0, *y), (frame.right + 12.0, place));
        svg.text("name", (frame.right + 15.0, place + 4.0), "start", arm.name());
        svg.close();
    }
}

/// The tail of every arm at one loss rate and depth: the share of requests above a latency.
pub(super) fn tail(stage: &Stage, depth: u32, low_ns: u64, high_ns: u64) -> Html {
    let lanes: Vec<&Lane> = stage.lanes.iter().filter(|l| l.depth == depth).collect();
    let frame = Frame { right: 520.0, ..FRAME };
    let x = Scale::log(nanos(low_ns) / 1.08, nanos(high_ns) * 1.08, frame.left, frame.right);
    let most = lanes.iter().map(|l| l.latency.count).max().unwrap_or(1).max(10);
    // Half a request, to keep the last step off the axis.
    let least = 0.5 / nanos(most);
    let y = Scale::log(least, 1.0, frame.bottom, frame.top);
    let label =
        format!("Share of requests that took longer, depth {depth}, loss {}", stage.loss_ppm);
    let mut svg = Svg::new(WIDTH, HEIGHT, &label);
    let shares = y.ticks().into_iter().filter(|v| is_power(*v)).map(|v| (v, percent_tick(v)));
    svg.axes(
        frame,
        &Axis::labelled(x, "latency, milliseconds (log scale)", P99.tick),
        &Axis {
            scale: y,
            ticks: shares.collect(),
            title: "share of answered requests that took longer (log scale)".to_owned(),
        },
    );
    let mut drawn: Vec<Vec<(f64, f64)>> = Vec::new();
    for lane in lanes.iter().filter(|l| l.theory.stairs.len() > 1) {
        let steps: Vec<_> = lane.theory.stairs.iter().map(|s| &s.stair).collect();
        let steps: Vec<_> = steps.iter().map(|s| (nanos(s.at_ns), 1.0 - s.share)).collect();
        let seen = steps.iter().take_while(|(_, share)| *share > least).count();
        let steps = &steps[..steps.len().min(seen + 1)];
        let points = steps_of(steps, frame, x, y);
        if !drawn.contains(&points) {
            svg.path("theory", &points);
            drawn.push(points);
        }
    }
    for lane in &lanes {
        let steps: Vec<_> =
            lane.latency.ecdf.iter().map(|p| (nanos(p.at_ns), 1.0 - p.share)).collect();
        svg.open(&class(lane.arm));
        svg.path("line", &steps_of(&steps, frame, x, y));
        if let Some(p99) = lane.latency.p99.value_ns {
            let title = format!("{}: {}", lane.arm.name(), (P99.show)(lane));
            let hollow = if answered_only(lane) { "hollow" } else { "" };
            svg.marker(hollow, shape(lane.arm), (x.at(nanos(p99)), y.at(0.01)), &title);
        }
        svg.close();
    }
    svg.finish()
}

/// Whether a tick is a power of ten.
fn is_power(value: f64) -> bool {
    let log = value.log10();
    (log - log.round()).abs() < 1e-6
}

fn percent_tick(share: f64) -> String {
    format!("{} %", short(share * 100.0))
}

/// The corners of a falling step function: at each latency the share above it drops.
fn steps_of(steps: &[(f64, f64)], frame: Frame, x: Scale, y: Scale) -> Vec<(f64, f64)> {
    let mut points = Vec::with_capacity(steps.len() * 2 + 2);
    let mut above = y.at(1.0);
    points.push((frame.left, above));
    for (at, share) in steps {
        points.push((x.at(*at), above));
        above = y.at(*share);
        points.push((x.at(*at), above));
    }
    points
}

/// Sequence diagram of one slow request: client left, server right, time downwards.
pub(super) fn ladder(slow: &SlowRequest) -> Html {
    let (left, right, top) = (150.0, 390.0, 40.0);
    let end = slow.frames.iter().map(|f| f.t_ns).chain([slow.latency_ns]).max().unwrap_or(1);
    let bottom = top + 300.0;
    let y = Scale::linear(0.0, nanos(end), top, bottom);
    let mut svg =
        Svg::new(WIDTH, bottom + 24.0, &format!("The frames of one {} request", slow.arm.name()));
    svg.text("name strong", (left, top - 14.0), "middle", "client");
    svg.text("name strong", (right, top - 14.0), "middle", "server");
    svg.line("axis", (left, top), (left, bottom));
    svg.line("axis", (right, top), (right, bottom));
    let wanted: Vec<f64> = slow.frames.iter().map(|f| y.at(nanos(f.t_ns))).collect();
    let places = spread(&wanted, 15.0, top, bottom);
    svg.open(&class(slow.arm));
    for ((frame, at), place) in slow.frames.iter().zip(&wanted).zip(places) {
        let arrives = y.at(nanos(frame.t_ns.saturating_add(frame.delay_ns)));
        let (from, to) = match frame.direction {
            Direction::AToB => (left, right),
            Direction::BToA => (right, left),
        };
        let text = format!("{} ms  {}", ms(frame.t_ns), frame.what);
        let (x, anchor) = if from == left { (left - 8.0, "end") } else { (right + 8.0, "start") };
        svg.text("tick", (x, place + 4.0), anchor, &text);
        if frame.lost {
            let cross = (f64::midpoint(from, to), f64::midpoint(*at, arrives));
            svg.line("line", (from, *at), cross);
            svg.text("lost", (cross.0, cross.1 + 5.0), "middle", "✕");
        } else {
            svg.line("line", (from, *at), (to, arrives));
            svg.head(from, (to, arrives));
        }
    }
    svg.close();
    svg.finish()
}
