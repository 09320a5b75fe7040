//! The drawings of a finding: wedge, clouds, offsets, servers, host clocks, Allan deviation.
#![expect(clippy::cast_precision_loss, reason = "a place on paper")]

use super::numbers::{Round, nanos, ppm, seconds, signed};
use crate::allan::Stability;
use crate::bound::Interval;
use crate::finding::{Finding, ServerFinding};
use crate::host_clocks::{HostClocks, Moved};
use crate::plot_data::{Corner, PlotData, Point};
use crate::timestamp::saturated;
use wirelab::measure::Instant;
use wirelab::measure::human::plural;
use wirelab::report::html::Html;
use wirelab::report::svg::{Axis, Frame, Scale, Svg, TimeUnit, number, reach, short};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 340.0;
const FRAME: Frame = Frame { left: 62.0, right: 546.0, top: 34.0, bottom: 292.0 };

fn axis(scale: Scale, unit: TimeUnit, title: &str) -> Axis {
    Axis::new(scale, format!("{title}, {}", unit.name))
}

/// Time across and offsets upwards, relative to what is named in the title.
struct Plot {
    svg: Svg,
    x: Scale,
    y: Scale,
    time: TimeUnit,
    offset: TimeUnit,
    /// Offsets are drawn relative to this.
    base: i64,
}

impl Plot {
    fn new(label: &str, y_title: &str, span: (f64, f64), offsets: (f64, f64), base: i64) -> Self {
        let (time, offset) =
            (TimeUnit::of(span.1 - span.0), TimeUnit::of((offsets.1 - offsets.0) / 3.0));
        let x = Scale::linear(span.0 / time.ns, span.1 / time.ns, FRAME.left, FRAME.right);
        let y =
            Scale::linear(offsets.0 / offset.ns, offsets.1 / offset.ns, FRAME.bottom, FRAME.top);
        let mut svg = Svg::new(WIDTH, HEIGHT, label);
        let across = axis(x, time, "time since the run began");
        svg.axes(FRAME, &across, &axis(y, offset, y_title));
        Self { svg, x, y, time, offset, base }
    }

    fn place(&self, at: f64, offset_ns: i64) -> (f64, f64) {
        let away = (i128::from(offset_ns) - i128::from(self.base)) as f64;
        (self.x.at(at / self.time.ns), self.y.at(away / self.offset.ns))
    }

    fn at(&self, at: Instant, offset_ns: i64) -> (f64, f64) {
        self.place(at.as_nanos() as f64, offset_ns)
    }
}

/// Reference of drawn offsets: the best estimate, or the first sample.
fn base(server: &ServerFinding) -> i64 {
    let first = || server.picture.points.first().map_or(0, |point| point.offset_ns);
    server.estimate.map_or_else(first, |estimate| estimate.offset_ns)
}

fn span(finding: &Finding, picture: &PlotData) -> (f64, f64) {
    let first = picture.points.first().map_or(0.0, |point| point.sent.as_nanos() as f64);
    (first, (finding.now.at.as_nanos() as f64).max(first + 1.0))
}

/// A diamond for interleaved mode, a circle for basic mode.
const fn shape(point: &Point) -> usize {
    if point.interleaved { 5 } else { 0 }
}

const fn mode(point: &Point) -> &'static str {
    if point.interleaved { ", interleaved" } else { "" }
}

/// Offset against delay, drift removed: the wedge of queues.
pub(super) fn wedge(server: &ServerFinding) -> Html {
    let picture = &server.picture;
    let base = base(server);
    let away = |ns: i64| (i128::from(ns) - i128::from(base)) as f64;
    let delays = || picture.points.iter().map(|point| point.delay_ns as f64);
    let longest = delays().fold(1.0, f64::max);
    let (low, high) = reach(picture.points.iter().map(|point| away(point.level_ns)));
    let least = delays().fold(longest, f64::min);
    let room = ((longest - least) * 0.06).max(1.0);
    let (from, to) = ((least - 2.0 * room).max(0.0), longest + room);
    let (across, up) = (TimeUnit::of(longest / 2.0), TimeUnit::of((high - low) / 3.0));
    let x = Scale::linear(from / across.ns, to / across.ns, FRAME.left, FRAME.right);
    let y = Scale::linear(low / up.ns, high / up.ns, FRAME.bottom, FRAME.top);
    let mut svg = Svg::new(WIDTH, HEIGHT, "Offset against delay of every exchange");
    let title = "offset less the best estimate, drift removed";
    svg.axes(
        FRAME,
        &axis(x, across, "delay, both ways together; begins at the least"),
        &axis(y, up, title),
    );
    if let Some((delay, level)) = picture.apex {
        let apex = (x.at(delay as f64 / across.ns), y.at(away(level) / up.ns));
        for side in [0.5, -0.5] {
            // As far as the frame goes, so that the slope is not bent at its edge.
            let room = if side > 0.0 { high - away(level) } else { away(level) - low };
            let far = (to - delay as f64).min(room * 2.0).max(0.0);
            let end = (away(level) + side * far) / up.ns;
            svg.line("guide dashed", apex, (x.at((delay as f64 + far) / across.ns), y.at(end)));
        }
        svg.text("tick", (apex.0 - 8.0, apex.1 + 4.0), "end", "apex");
    }
    svg.open("out");
    for point in &picture.points {
        let place = (x.at(point.delay_ns as f64 / across.ns), y.at(away(point.level_ns) / up.ns));
        let title = format!(
            "request {}{}: delay {}, offset {} s",
            point.request,
            mode(point),
            nanos(point.delay_ns),
            seconds(point.offset_ns, 9, Round::Nearest)
        );
        svg.marker(if point.used { "" } else { "hollow" }, shape(point), place, &title);
    }
    svg.close();
    svg.finish()
}

/// Upper bounds above, lower bounds below, the hulls and the room of a line between.
pub(super) fn clouds(finding: &Finding, server: &ServerFinding) -> Html {
    let picture = &server.picture;
    let base = base(server);
    let away = |ns: i64| (i128::from(ns) - i128::from(base)) as f64;
    let ends = picture.points.iter().flat_map(|p| [away(p.high_ns), away(p.low_ns)]);
    let span = span(finding, picture);
    let title = "bound less the best estimate";
    let mut plot = Plot::new("Bounds against time", title, span, reach(ends), base);
    let mut outline: Vec<(f64, f64)> =
        picture.room.iter().map(|r| plot.place(r.at_ns as f64, r.high_ns)).collect();
    outline.extend(picture.room.iter().rev().map(|r| plot.place(r.at_ns as f64, r.low_ns)));
    plot.svg.open("guess");
    plot.svg.path("area", &outline);
    plot.svg.close();
    let hull = |plot: &Plot, corners: &[Corner]| -> Vec<(f64, f64)> {
        corners.iter().map(|c| plot.place(c.at_ns as f64, c.offset_ns)).collect()
    };
    for (class, upper) in [("out", true), ("back", false)] {
        let corners = hull(&plot, if upper { &picture.upper } else { &picture.lower });
        plot.svg.open(class);
        plot.svg.path("thin", &corners);
        for point in &picture.points {
            let (at, bound) =
                if upper { (point.sent, point.high_ns) } else { (point.came, point.low_ns) };
            let what = if upper { "T2 - T1: at most" } else { "T3 - T4: at least" };
            let title = format!(
                "request {}, {what} {} s",
                point.request,
                seconds(bound, 9, if upper { Round::Up } else { Round::Down })
            );
            let place = plot.at(at, bound);
            let class = if point.used { "" } else { "hollow" };
            plot.svg.marker(class, if upper { 4 } else { 1 }, place, &title);
        }
        plot.svg.close();
    }
    line(&mut plot, server, span);
    plot.svg.finish()
}

/// The best estimate with its drift, drawn back over the run.
fn line(plot: &mut Plot, server: &ServerFinding, span: (f64, f64)) {
    let Some(found) = server.estimate else { return };
    let drift = found.drift_ppt.unwrap_or(0) as f64 / 1e12;
    let first = server.picture.points.iter().find(|point| point.used);
    let from = first.map_or(span.0, |point| point.sent.as_nanos() as f64);
    let away = (-drift * (span.1 - from)) / plot.offset.ns;
    let start = (plot.x.at(from / plot.time.ns), plot.y.at(away));
    let end = (plot.x.at(span.1 / plot.time.ns), plot.y.at(0.0));
    plot.svg.open("guess");
    plot.svg.path("line", &[start, end]);
    plot.svg.close();
}

/// Each exchange with its bounds, the steps of this host's clock, and missing replies.
pub(super) fn offsets(finding: &Finding, server: &ServerFinding) -> Html {
    let picture = &server.picture;
    let base = base(server);
    let away = |ns: i64| (i128::from(ns) - i128::from(base)) as f64;
    let ends = picture.points.iter().flat_map(|p| [away(p.high_ns), away(p.low_ns)]);
    let span = span(finding, picture);
    let title = "offset less the best estimate";
    let mut plot = Plot::new("Offsets against time", title, span, reach(ends), base);
    plot.svg.open("out");
    for point in &picture.points {
        let (high, low) = (plot.at(point.sent, point.high_ns), plot.at(point.sent, point.low_ns));
        plot.svg.line("proof", high, low);
        let title = format!(
            "request {}{}: {} s, in [{}, {}] s",
            point.request,
            mode(point),
            seconds(point.offset_ns, 9, Round::Nearest),
            seconds(point.low_ns, 9, Round::Down),
            seconds(point.high_ns, 9, Round::Up)
        );
        let place = plot.at(point.sent, point.offset_ns);
        plot.svg.marker(if point.used { "" } else { "hollow" }, shape(point), place, &title);
    }
    plot.svg.close();
    line(&mut plot, server, span);
    for jump in finding.host_clocks.iter().flat_map(|clocks| &clocks.steps) {
        let x = plot.x.at(jump.before.as_nanos() as f64 / plot.time.ns);
        plot.svg.line("guide dashed", (x, FRAME.top), (x, FRAME.bottom));
        plot.svg.text("tick", (x + 4.0, FRAME.top + 12.0), "start", "clock set");
    }
    let lost = server.lost.iter().map(|lost| lost.sent);
    for at in lost.chain(server.notes.iter().map(|note| note.at)) {
        let x = plot.x.at(at.as_nanos() as f64 / plot.time.ns);
        plot.svg.line("lost", (x, FRAME.bottom - 9.0), (x, FRAME.bottom));
    }
    plot.svg.finish()
}

/// One interval per server, to UTC by its own claim, and what most agree on.
pub(super) fn servers(finding: &Finding) -> Html {
    let heard: Vec<&ServerFinding> =
        finding.servers.iter().filter(|server| server.bound.is_some()).collect();
    let utc = |server: &ServerFinding| server.bound.map(|bound| bound.utc);
    let base = finding.together.map_or_else(
        || heard.first().and_then(|s| utc(s)).map_or(0, |interval| interval.middle_ns()),
        |together| together.estimate_ns,
    );
    let away = |ns: i64| (i128::from(ns) - i128::from(base)) as f64;
    let ends = heard.iter().filter_map(|s| utc(s)).flat_map(|i| [away(i.low_ns), away(i.high_ns)]);
    let (low, high) = reach(ends);
    let across = TimeUnit::of((high - low) / 3.0);
    let frame = Frame { left: 12.0, bottom: 40.0 + 44.0 * number(heard.len()), ..FRAME };
    let x = Scale::linear(low / across.ns, high / across.ns, frame.left, frame.right);
    let y = Scale::linear(0.0, 1.0, frame.bottom, frame.top);
    let mut svg = Svg::new(WIDTH, frame.bottom + 48.0, "The interval of every server");
    let across_title = "offset to UTC less the best estimate";
    svg.axes(frame, &axis(x, across, across_title), &Axis::blank(y));
    if let Some(together) = &finding.together {
        let (a, b) = (
            x.at(away(together.utc.low_ns) / across.ns),
            x.at(away(together.utc.high_ns) / across.ns),
        );
        svg.open("truth");
        let corners =
            [(a, frame.top), (b, frame.top), (b, frame.bottom), (a, frame.bottom), (a, frame.top)];
        svg.path("area", &corners);
        svg.close();
    }
    for (row, server) in heard.iter().enumerate() {
        let Some(interval) = utc(server) else { continue };
        let level = frame.top + 34.0 + 44.0 * number(row);
        let apart = |other: &Interval| other.and(&interval).is_none();
        let wrong = finding.together.is_some_and(|together| apart(&together.utc));
        svg.open(if wrong { "wrong" } else { "out" });
        let place = |ns: i64| (x.at(away(ns) / across.ns), level);
        svg.line("sure", place(interval.low_ns), place(interval.high_ns));
        if let Some(found) = server.estimate {
            let title = format!("best estimate {} s", seconds(found.offset_ns, 9, Round::Nearest));
            svg.marker(if wrong { "hollow" } else { "" }, 5, place(found.offset_ns), &title);
        }
        svg.close();
        let doubt = if wrong { ": outside what most agree on" } else { "" };
        let text = format!("{}{doubt}", server.name);
        svg.text("name", (frame.left + 4.0, level - 10.0), "start", &text);
    }
    svg.finish()
}

/// One pair of this host's clocks over the run.
pub(super) fn host_clock(clocks: &HostClocks, label: &str, of: impl Fn(&Moved) -> i64) -> Html {
    let values = || clocks.readings.iter().map(|reading| of(reading) as f64);
    let (low, high) = reach(values());
    // Flat is to look flat: a reading is good to a microsecond.
    let (low, high) = (low.min(-5_000.0), high.max(5_000.0));
    let at = |moved: &Moved| moved.at.as_nanos() as f64;
    let end = clocks.readings.last().map_or(1.0, at).max(1.0);
    let mut plot = Plot::new(label, "change since the first reading", (0.0, end), (low, high), 0);
    let points: Vec<(f64, f64)> =
        clocks.readings.iter().map(|reading| plot.at(reading.at, of(reading))).collect();
    plot.svg.open("out");
    plot.svg.path("line", &points);
    if let Some((last, moved)) = points.last().zip(clocks.readings.last()) {
        plot.svg.marker("", 0, *last, &format!("at the end {}", signed(of(moved))));
    }
    plot.svg.close();
    plot.svg.finish()
}

/// Deviation against averaging time, both logarithmic.
pub(super) fn allan(stability: &Stability) -> Html {
    let found = &stability.deviations;
    let tau = |index: usize| found.get(index).map_or(1.0, |d| d.tau_ns as f64 / 1e9);
    let value = |ppt: u64| (ppt.max(1)) as f64 / 1e6;
    let least = found.iter().map(|d| value(d.deviation_ppt)).fold(f64::INFINITY, f64::min);
    let most = found.iter().map(|d| value(d.deviation_ppt)).fold(0.0, f64::max);
    let last = tau(found.len().saturating_sub(1));
    let x = Scale::log(tau(0) / 1.5, last * 1.5, FRAME.left, FRAME.right);
    let y = Scale::log(least / 2.0, most * 2.0, FRAME.bottom, FRAME.top);
    let mut svg = Svg::new(WIDTH, HEIGHT, "Allan deviation against averaging time");
    svg.axes(
        FRAME,
        &Axis::new(x, "averaging time τ, s (log scale)"),
        &Axis::new(y, "deviation, ppm (log scale)"),
    );
    svg.open("out");
    let place = |ns: u64, ppt: u64| (x.at(ns as f64 / 1e9), y.at(value(ppt)));
    let points: Vec<_> = found.iter().map(|d| place(d.tau_ns, d.deviation_ppt)).collect();
    svg.path("line", &points);
    for (point, d) in points.iter().zip(found) {
        let best = stability.best_tau_ns == Some(d.tau_ns);
        let ppt = saturated(d.deviation_ppt.into());
        let title = format!(
            "τ {} s: {}, of {}{}",
            short(d.tau_ns as f64 / 1e9),
            ppm(ppt, Round::Nearest),
            plural(d.terms as u64, "difference", "differences"),
            if best { "; the least" } else { "" }
        );
        svg.marker(if best { "" } else { "hollow" }, 0, *point, &title);
    }
    svg.close();
    svg.finish()
}
