//! Inline SVG: scales, axes, lines, steps, whiskers, markers, labels that keep apart; colours and
//! dashes are classes of the page's style sheet.

use super::html::Html;
use std::fmt::Write as _;

/// A coordinate with one decimal; what is not finite becomes 0.
fn xy(value: f64) -> String {
    format!("{:.1}", if value.is_finite() { value } else { 0.0 })
}

/// From figures to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    log: bool,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Even steps of the figure are even steps on paper.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { log: false, low, high, from, to }
    }

    /// Even factors of the figure are even steps on paper.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = if low > 0.0 && low.is_finite() { low } else { 1.0 };
        let high = if high > low && high.is_finite() { high } else { low * 10.0 };
        Self { log: true, low, high, from, to }
    }

    /// Where a figure lies; figures outside lie on the edge.
    pub fn at(&self, value: f64) -> f64 {
        let place = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let part = (place(value) - place(self.low)) / (place(self.high) - place(self.low));
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// Round figures on the axis: 1, 2, 5 times powers of ten, never more than about eight.
    pub fn ticks(&self) -> Vec<f64> {
        if self.log { self.log_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|m| m * power);
        let step = steps.into_iter().find(|s| *s >= rough * 0.85).unwrap_or(steps[3]);
        let first = (self.low / step).ceil();
        (0..12)
            .map(|i| (first + f64::from(i)) * step)
            .take_while(|v| *v <= self.high + step * 1e-6)
            .collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let parts: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let mut ticks = Vec::new();
        let mut power = 10_f64.powf(self.low.log10().floor());
        while power <= self.high && ticks.len() < 30 {
            ticks.extend(parts.iter().map(|m| m * power));
            power *= 10.0;
        }
        ticks.retain(|v| *v >= self.low * 0.999 && *v <= self.high * 1.001);
        ticks
    }
}

/// The box of a plot inside its drawing.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Left edge, user units.
    pub left: f64,
    /// Right edge.
    pub right: f64,
    /// Top edge.
    pub top: f64,
    /// Bottom edge.
    pub bottom: f64,
}

/// One drawing.
#[derive(Debug)]
pub struct Svg {
    body: Html,
    width: f64,
    height: f64,
    label: String,
}

impl Svg {
    /// `label` is what a screen reader says.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        Self { body: Html::new(), width, height, label: label.to_owned() }
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        put!(
            self.body,
            r#"<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            class,
            xy(from.0),
            xy(from.1),
            xy(to.0),
            xy(to.1)
        );
    }

    /// A line through points.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        if points.len() < 2 {
            return;
        }
        let mut d = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{},{}", if index == 0 { "M" } else { "L" }, xy(*x), xy(*y));
        }
        put!(self.body, r#"<path class="{}" d="{}"/>"#, class, d);
    }

    /// A box from its upper left corner, `size` wide and high.
    pub fn rect(&mut self, class: &str, at: (f64, f64), size: (f64, f64)) {
        put!(
            self.body,
            r#"<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="3"/>"#,
            class,
            xy(at.0),
            xy(at.1),
            xy(size.0.max(0.0)),
            xy(size.1.max(0.0))
        );
    }

    /// Text; `anchor` is `start`, `middle` or `end`.
    pub fn text(&mut self, class: &str, at: (f64, f64), anchor: &str, text: &str) {
        put!(
            self.body,
            r#"<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>"#,
            class,
            xy(at.0),
            xy(at.1),
            anchor,
            text
        );
    }

    /// A marker of one of six shapes, with what it says under the pointer.
    pub fn marker(&mut self, class: &str, shape: usize, at: (f64, f64), title: &str) {
        let (x, y) = at;
        put!(self.body, r#"<g class="m {}"><title>{}</title>"#, class, title);
        let points: &[(f64, f64)] = match shape % 6 {
            0 | 3 => &[],
            1 => &[(0.0, -5.0), (4.8, 3.6), (-4.8, 3.6)],
            2 => &[(-3.8, -3.8), (3.8, -3.8), (3.8, 3.8), (-3.8, 3.8)],
            4 => &[(0.0, 5.0), (4.8, -3.6), (-4.8, -3.6)],
            _ => &[(0.0, -5.4), (5.4, 0.0), (0.0, 5.4), (-5.4, 0.0)],
        };
        if points.is_empty() {
            put!(self.body, r#"<circle cx="{}" cy="{}" r="4"/>"#, xy(x), xy(y));
        } else {
            let list: Vec<String> =
                points.iter().map(|(dx, dy)| format!("{},{}", xy(x + dx), xy(y + dy))).collect();
            put!(self.body, r#"<polygon points="{}"/>"#, list.join(" "));
        }
        self.body.raw("</g>");
    }

    /// An interval from `low` to `high` at `x`; an end that is not known is left open.
    pub fn whisker(&mut self, class: &str, x: f64, low: Option<f64>, high: Option<f64>) {
        let (Some(a), Some(b)) = (low.or(high), high.or(low)) else { return };
        self.line(class, (x, a), (x, b));
        for end in [low, high].into_iter().flatten() {
            self.line(class, (x - 3.0, end), (x + 3.0, end));
        }
    }

    /// Opens a group, to be closed with [`Self::close`].
    pub fn open(&mut self, class: &str) {
        put!(self.body, r#"<g class="{}">"#, class);
    }

    /// Closes a group.
    pub fn close(&mut self) {
        self.body.raw("</g>");
    }

    /// Grid, ticks and titles of both axes, the horizontal one below.
    pub fn axes(&mut self, frame: Frame, x: &Axis, y: &Axis) {
        for (value, text) in &y.ticks {
            let at = y.scale.at(*value);
            self.line("grid", (frame.left, at), (frame.right, at));
            self.text("tick", (frame.left - 7.0, at + 4.0), "end", text);
        }
        self.ticks_across(frame, x, frame.bottom + 17.0);
        self.line("axis", (frame.left, frame.bottom), (frame.right, frame.bottom));
        let middle = f64::midpoint(frame.left, frame.right);
        self.text("axis-title", (middle, frame.bottom + 35.0), "middle", &x.title);
        // Above the axis and level, to be read without turning.
        self.text("axis-title", (2.0, frame.top - 10.0), "start", &y.title);
    }

    /// One axis across the top, for a drawing that is taller than a screen.
    pub fn axis_above(&mut self, frame: Frame, x: &Axis) {
        self.ticks_across(frame, x, frame.top - 7.0);
        self.line("axis", (frame.left, frame.top), (frame.right, frame.top));
        self.text("axis-title", (frame.left, frame.top - 24.0), "start", &x.title);
    }

    fn ticks_across(&mut self, frame: Frame, x: &Axis, y: f64) {
        let mut free_from = f64::MIN;
        for (value, text) in &x.ticks {
            let at = x.scale.at(*value);
            self.line("grid", (at, frame.top), (at, frame.bottom));
            // About 7 pixels a character: a label that would touch the last one is left out.
            let half = 3.6 * number(text.chars().count());
            if at - half > free_from {
                self.text("tick", (at, y), "middle", text);
                free_from = at + half + 3.0;
            }
        }
    }

    /// An arrow head at the end of a horizontal line that comes from `from`.
    pub fn head(&mut self, from: f64, to: (f64, f64)) {
        let (x, y) = to;
        let back = if from < x { -7.0 } else { 7.0 };
        self.path("head", &[(x + back, y - 4.0), (x, y), (x + back, y + 4.0)]);
    }

    /// The whole element.
    pub fn finish(self) -> Html {
        html!(
            r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>"#,
            xy(self.width),
            xy(self.height),
            self.label,
            self.body
        )
    }
}

/// A count as a factor of coordinates.
#[expect(clippy::cast_precision_loss, reason = "a place on paper")]
pub fn number(count: usize) -> f64 {
    count as f64
}

/// One axis: its scale, its ticks with their texts, its title.
#[derive(Clone, Debug)]
pub struct Axis {
    /// From values to positions.
    pub scale: Scale,
    /// Marked values, each with its label.
    pub ticks: Vec<(f64, String)>,
    /// Label of the axis, with its unit.
    pub title: String,
}

impl Axis {
    /// An axis with round ticks, each without needless digits.
    pub fn new(scale: Scale, title: impl Into<String>) -> Self {
        Self::labelled(scale, title, short)
    }

    /// The same with labels of `text`.
    pub fn labelled(scale: Scale, title: impl Into<String>, text: impl Fn(f64) -> String) -> Self {
        let ticks = scale.ticks().into_iter().map(|value| (value, text(value))).collect();
        Self { scale, ticks, title: title.into() }
    }

    /// An axis without ticks, where rows speak for themselves.
    pub const fn blank(scale: Scale) -> Self {
        Self { scale, ticks: Vec::new(), title: String::new() }
    }
}

/// A number with at most six decimals, none of them needless.
pub fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The least and the largest value with some room around them; never empty.
pub fn reach(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if !low.is_finite() || !high.is_finite() {
        return (-1.0, 1.0);
    }
    let room = ((high - low) * 0.06).max(1.0);
    (low - room, high + room)
}

/// A unit of time that keeps the numbers on an axis short.
#[derive(Clone, Copy, Debug)]
pub struct TimeUnit {
    /// Nanoseconds.
    pub ns: f64,
    /// `µs`, …
    pub name: &'static str,
}

impl TimeUnit {
    /// The largest unit that is not above this many nanoseconds.
    pub fn of(size_ns: f64) -> Self {
        let all = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
        let (ns, name) = all.into_iter().find(|(ns, _)| size_ns >= *ns).unwrap_or(all[3]);
        Self { ns, name }
    }
}

/// Moves labels apart: each keeps `gap` from the next, and all stay between `top` and `bottom`.
///
/// The order of the wanted places is kept; the answers are in the order of the input.
pub fn spread(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut last = top - gap;
    for index in &order {
        places[*index] = places[*index].max(last + gap);
        last = places[*index];
    }
    let mut limit = bottom + gap;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(limit - gap);
        limit = places[*index];
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(Scale::linear(0.0, 10.0, 0.0, 1.0).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(
            Scale::log(20.0, 3_000.0, 0.0, 1.0).ticks(),
            [20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0]
        );
        for scale in [Scale::log(0.0, f64::NAN, 0.0, 1.0), Scale::linear(1.0, 1.0, 0.0, 1.0)] {
            assert!(scale.ticks().iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn labels_keep_apart_in_order() {
        assert_eq!(spread(&[10.0, 11.0, 50.0], 14.0, 0.0, 100.0), [10.0, 24.0, 50.0]);
        assert_eq!(spread(&[99.0, 98.0], 14.0, 0.0, 100.0), [100.0, 86.0]);
    }

    #[test]
    fn no_coordinate_is_nan() {
        let mut svg = Svg::new(1.0, 1.0, "<x>");
        svg.line("a", (f64::NAN, f64::INFINITY), (1.0, 2.0));
        let text = svg.finish().into_string();
        assert!(!text.contains("NaN") && !text.contains("inf") && text.contains("&lt;x&gt;"));
    }
}
