//! A result as terminal text: the verdict first, then the evidence.

use super::lanes::{answered_only, arms_at, depths, is_fastest, mark, resent};
use crate::result::{Ended, Holds, Lane, Mode, RunResult, Stage, TimingVerdict};
use wirelab::measure::human;
use wirelab::measure::human::{NONE, interval, ms, ms_or_none, number, observed, percent};
use wirelab::measure::quantile::Quantile;
use wirelab::report::style::{Ink, Style};
use wirelab::report::table::{Cell, Column, render as columns, width};
use wirelab::report::text::folded;

/// The whole report.
#[must_use]
pub fn render(result: &RunResult, style: Style) -> String {
    let mut out = String::new();
    head(&mut out, result, style);
    if result.stages.iter().any(|stage| !stage.lanes.is_empty()) {
        matrix(&mut out, result, style);
        verdicts(&mut out, result, style);
        let mut hidden = Vec::new();
        for stage in &result.stages {
            detail(&mut out, stage, style, &mut hidden);
        }
        legend(&mut out, style, hidden);
        ledger(&mut out, result, style);
    } else {
        section(&mut out, "no stage was completed: there is nothing to compare", style);
    }
    claims(&mut out, result, style);
    limits(&mut out, result, style);
    foot(&mut out, result, style);
    out
}

/// Adds a heading after a blank line.
fn section(out: &mut String, title: &str, style: Style) {
    out.push('\n');
    out.push_str(&style.ink(Ink::Strong, title));
    out.push('\n');
}

/// Adds `label  text`; the text is wrapped and indented beside its label.
fn item(out: &mut String, label: &str, ink: Ink, indent: usize, text: &str, style: Style) {
    let room = style.width.saturating_sub(indent).max(30);
    for (index, line) in folded(text, room).iter().enumerate() {
        let lead = if index == 0 { label } else { "" };
        let pad = " ".repeat(indent.saturating_sub(2 + width(lead)));
        out.push_str(format!("  {}{pad}{line}", style.ink(ink, lead)).trim_end());
        out.push('\n');
    }
}

const LABEL: usize = 12;

fn head(out: &mut String, result: &RunResult, style: Style) {
    let plan = &result.plan;
    out.push_str(&style.ink(Ink::Strong, "tcp-vs-udp"));
    out.push_str(": the same bank requests over TCP and over UDP, same packet loss\n\n");
    if !result.verdict.is_empty() {
        item(out, "", Ink::Strong, 2, &result.verdict, style);
        out.push('\n');
    }
    let losses: Vec<String> =
        plan.loss_ppm.iter().map(|loss| loss.to_string().replace(" %", "")).collect();
    let depths: Vec<String> = plan.depths.iter().map(u32::to_string).collect();
    let path = format!(
        "RTT {} · loss {} % each way · {} per arm and depth ({}) at most",
        human::span(plan.rtt),
        losses.join(", "),
        human::plural(plan.ops.into(), "request", "requests"),
        depths.join(", "),
    );
    item(out, "path", Ink::Dim, LABEL, &path, style);
    item(out, "host", Ink::Dim, LABEL, &host(result), style);
    let seed = format!("{} · measured for {}", result.seed, human::latency(result.measured_ns));
    item(out, "seed", Ink::Dim, LABEL, &seed, style);
    if result.ended == Ended::Interrupted {
        let text = "this run was stopped early; the stages below are whole";
        item(out, "partial", Ink::Doubt, LABEL, text, style);
    }
    if result.timing.verdict != TimingVerdict::Trusted {
        timing(out, result, style);
    }
}

fn host(result: &RunResult) -> String {
    if result.mode == Mode::Sim {
        return "virtual time, no kernel: the bank's own code over the link model".to_owned();
    }
    let host = &result.host;
    let mut parts = vec![host.kernel.clone(), host.congestion_control.clone()];
    let floor = |nanos: u64, what: &str| format!("{what} {}", human::latency(nanos));
    parts.extend(host.tcp_rto_min_ns.map(|n| floor(n, "TCP timer floor")));
    parts.extend(host.tcp_tuned_rto_min_ns.map(|n| floor(n, "tuned")));
    parts.push(format!("MTU {}", host.mtu_bytes));
    parts.push(host.privilege.clone());
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

fn timing(out: &mut String, result: &RunResult, style: Style) {
    let (word, ink) = match result.timing.verdict {
        TimingVerdict::Trusted => ("trusted", Ink::Good),
        TimingVerdict::Suspect => ("SUSPECT", Ink::Doubt),
        TimingVerdict::Invalid => ("INVALID", Ink::Bad),
    };
    let text = format!("{word}: {}", result.timing.reason);
    item(out, "timing", ink, LABEL, &text, style);
}

/// p99 of every arm at every loss rate.
fn matrix(out: &mut String, result: &RunResult, style: Style) {
    section(
        out,
        "99 of 100 requests were answered within … ms (p99), by packet loss each way",
        style,
    );
    let bars = Bars::of(result, style);
    for depth in depths(result) {
        out.push('\n');
        out.push_str(&style.ink(Ink::Dim, &format!("  {}", depth_title(result, depth))));
        out.push('\n');
        out.push_str(&columns(matrix_columns(result, depth, &bars), style, &mut Vec::new()));
    }
    let mut note = vec!["◂ fastest at that loss, or too close to call (95 % intervals overlap)"];
    if result.stages.iter().flat_map(|s| &s.lanes).any(answered_only) {
        note.push(
            "* of its answered requests: over 1 in 100 got no answer, so it does not compete",
        );
    }
    if bars.shown {
        note.push("bars: logarithmic");
    }
    out.push('\n');
    item(out, "", Ink::Dim, 2, &note.join(" · "), style);
}

fn depth_title(result: &RunResult, depth: u32) -> String {
    let lane = result.stages.iter().flat_map(|s| &s.lanes).find(|l| l.depth == depth);
    let clients = lane.map_or(0, |l| l.clients);
    let clients = human::plural(clients.into(), "client", "clients");
    let requests = human::plural(depth.into(), "request", "requests");
    format!("depth {depth}: {clients}, each with {requests} outstanding")
}

fn matrix_columns(result: &RunResult, depth: u32, bars: &Bars) -> Vec<Column> {
    let arms = arms_at(result, depth);
    let mut names = Column::left("");
    for arm in &arms {
        names.push(Cell::new(arm.name()));
    }
    let mut table = vec![names];
    for stage in &result.stages {
        let mut values = Column::right(stage.loss_ppm.to_string()).gap(3);
        let mut marks = Column::left("").gap(0);
        for arm in &arms {
            let lane = stage.lanes.iter().find(|l| l.arm == *arm && l.depth == depth);
            let (value, mark, ink) = summary(stage, lane);
            values.push(Cell::inked(value, ink));
            marks.push(Cell::inked(format!("{mark} {}", bars.bar(lane)), ink));
        }
        table.push(values);
        table.push(marks);
    }
    table
}

/// The p99 of a lane, its mark and its colour.
fn summary(stage: &Stage, lane: Option<&Lane>) -> (String, &'static str, Ink) {
    let Some(lane) = lane else { return (NONE.to_owned(), " ", Ink::Dim) };
    let value = ms_or_none(lane.latency.p99.value_ns);
    if answered_only(lane) {
        (value, "*", Ink::Dim)
    } else if is_fastest(lane, &stage.lanes) {
        (value, "◂", Ink::Good)
    } else {
        (value, " ", Ink::Plain)
    }
}

/// Latency bars on a logarithmic scale.
struct Bars {
    shown: bool,
    low: f64,
    high: f64,
}

/// Length of the longest bar, in characters.
const BAR_CELLS: usize = 5;

#[expect(clippy::cast_precision_loss, reason = "only a length of some characters is drawn")]
impl Bars {
    fn of(result: &RunResult, style: Style) -> Self {
        let lanes = result.stages.iter().flat_map(|s| &s.lanes);
        let values: Vec<u64> = lanes.filter_map(|l| l.latency.p99.value_ns).collect();
        let (low, high) = (values.iter().min(), values.iter().max());
        let log = |value: Option<&u64>| (value.copied().unwrap_or(1).max(1) as f64).ln();
        // Name, then per stage a gap, figure, mark and bar.
        let room = 15 + result.stages.len() * (3 + 4 + 2 + BAR_CELLS);
        Self { shown: room <= style.width, low: log(low), high: log(high) }
    }

    fn bar(&self, lane: Option<&Lane>) -> String {
        let Some(value) = lane.and_then(|l| l.latency.p99.value_ns) else { return String::new() };
        if !self.shown || self.high <= self.low {
            return String::new();
        }
        let part = ((value.max(1) as f64).ln() - self.low) / (self.high - self.low);
        let eighths = part * (BAR_CELLS * 8 - 1) as f64 + 1.0;
        const BLOCKS: [&str; 9] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
        let steps = (1..=BAR_CELLS * 8).take_while(|n| *n as f64 <= eighths).count();
        "█".repeat(steps / 8) + BLOCKS[steps % 8]
    }
}

fn verdicts(out: &mut String, result: &RunResult, style: Style) {
    section(out, "In a sentence", style);
    for stage in &result.stages {
        let label = stage.loss_ppm.to_string();
        item(out, &label, Ink::Strong, LABEL, &stage.verdict, style);
    }
}

/// One loss rate: a row per arm and depth, then theory.
fn detail(out: &mut String, stage: &Stage, style: Style, hidden: &mut Vec<&'static str>) {
    let title = format!("{} loss each way, latency in ms", stage.loss_ppm);
    section(out, &title, style);
    out.push_str(&columns(detail_columns(stage), style, hidden));
    let theory = theory_columns(stage);
    if let Some(theory) = theory {
        out.push('\n');
        out.push_str(&columns(theory, style, hidden));
    }
}

fn lane_name(lane: &Lane) -> String {
    format!("{} {}", lane.arm.name(), lane.depth)
}

fn detail_columns(stage: &Stage) -> Vec<Column> {
    let lanes = &stage.lanes;
    let mut names = Column::left("arm, depth");
    for lane in lanes {
        names.push(Cell::new(lane_name(lane)));
    }
    let mut table = vec![names];
    type Get = fn(&Lane) -> Quantile;
    let quantiles: [(&str, Get, u8, &str); 3] = [
        ("p50", |l| l.latency.p50, 9, "the intervals of p50"),
        ("p99", |l| l.latency.p99, 0, ""),
        ("p99.9", |l| l.latency.p999, 6, "the intervals of p99.9"),
    ];
    for (name, get, give_way, called) in quantiles {
        let mut value = Column::right(name);
        let mut between = Column::left("95 %").gap(1).gives_way(give_way, called);
        for lane in lanes {
            let fast = name == "p99" && is_fastest(lane, lanes);
            let ink = if fast { Ink::Good } else { Ink::Plain };
            value.push(Cell::inked(ms_or_none(get(lane).value_ns), ink));
            between.push(Cell::inked(interval(&get(lane)), Ink::Dim));
        }
        table.push(value);
        table.push(between);
    }
    table.extend(outcome_columns(lanes));
    table
}

fn outcome_columns(lanes: &[Lane]) -> Vec<Column> {
    let some = |n: u64, ink| {
        if n == 0 { Cell::inked("·", Ink::Dim) } else { Cell::inked(n.to_string(), ink) }
    };
    let mut done = Column::right("done");
    let mut unknown = Column::right("unk").gap(1);
    let mut refused = Column::right("ref").gap(1).gives_way(7, "refused");
    let mut again = Column::right("again").gap(1).gives_way(4, "sent again");
    let mut frames = Column::right("pkt").gap(1);
    let mut bytes = Column::right("B").gap(1).gives_way(5, "bytes per request");
    let mut useful = Column::right("use%").gap(1).gives_way(8, "useful share");
    let mut twice = Column::right("2×").gap(1).gives_way(3, "applied twice");
    for lane in lanes {
        done.push(Cell::new(lane.requests.done.to_string()));
        unknown.push(some(lane.requests.unknown, Ink::Doubt));
        refused.push(some(lane.requests.refused, Ink::Plain));
        again.push(some(resent(lane), Ink::Plain));
        frames.push(Cell::new(number(lane.traffic.frames_per_request, 1)));
        bytes.push(Cell::new(number(lane.traffic.bytes_per_request, 0)));
        useful.push(Cell::new(number(lane.traffic.useful_share * 100.0, 0)));
        twice.push(some(lane.ledger.applied_twice, Ink::Bad));
    }
    vec![done, unknown, refused, again, frames, bytes, useful, twice]
}

/// Theory beside measurement; `None` without a prediction at this loss.
fn theory_columns(stage: &Stage) -> Option<Vec<Column>> {
    let lanes: Vec<&Lane> = stage.lanes.iter().filter(|l| l.theory.stairs.len() > 1).collect();
    let mut names = Column::left("theory");
    let mut steps = Column::left("steps, ms").gives_way(5, "theory's steps");
    let mut expected = Column::right("slow, expected");
    let mut seen = Column::right("seen").gap(1);
    let mut agrees = Column::left("").gap(1);
    let mut on = Column::right("on a step").gives_way(6, "share on a step");
    for lane in &lanes {
        let theory = &lane.theory;
        let dots = if theory.stairs.len() > 4 { " …" } else { "" };
        let at: Vec<String> = theory.stairs.iter().take(4).map(|s| ms(s.at_ns)).collect();
        let holds = theory.slow_observed.agrees_with(theory.slow_expected);
        let (mark, ink) = if holds { ("✓", Ink::Good) } else { ("≠", Ink::Doubt) };
        names.push(Cell::new(lane_name(lane)));
        steps.push(Cell::new(at.join(" ") + dots));
        expected.push(Cell::new(percent(theory.slow_expected)));
        seen.push(Cell::new(observed(&theory.slow_observed)));
        agrees.push(Cell::inked(mark, ink));
        on.push(Cell::new(theory.on_stairs.map_or_else(|| NONE.to_owned(), |s| percent(s.share))));
    }
    (!lanes.is_empty()).then(|| vec![names, steps, expected, seen, agrees, on])
}

fn legend(out: &mut String, style: Style, mut hidden: Vec<&'static str>) {
    section(out, "Columns, and who saw them", style);
    let rows = [
        (
            "client",
            "p50, p99, p99.9 of the answered requests, each with its 95 % interval (– where \
          there are too few samples for an end); done; unk: no answer in time, may have been \
          applied; ref: refused, never applied",
        ),
        ("sender", "again: requests or TCP segments sent again"),
        (
            "path",
            "pkt, B: packets and bytes per answered request, both ways; use%: share of those \
          bytes that is request and reply",
        ),
        ("server", "2×: operations that are in the ledger more than once"),
        (
            "theory",
            "slow: longer than half-way up the first step, or unanswered; ≠: outside the \
          95 % interval, which chance alone does to 1 lane in 20",
        ),
    ];
    for (who, what) in rows {
        item(out, who, Ink::Dim, LABEL, what, style);
    }
    hidden.sort_unstable();
    hidden.dedup();
    hidden.retain(|name| !name.is_empty());
    if !hidden.is_empty() {
        let text = format!("{} (they are in result.json and report.html)", hidden.join(", "));
        item(out, "too narrow for", Ink::Dim, 18, &text, style);
    }
}

fn ledger(out: &mut String, result: &RunResult, style: Style) {
    section(out, "The ledger afterwards", style);
    let lanes = || result.stages.iter().flat_map(|s| s.lanes.iter().map(move |l| (s, l)));
    let name =
        |s: &Stage, l: &Lane| format!("{} depth {} at {}", l.arm.name(), l.depth, s.loss_ppm);
    let wrong: Vec<String> = lanes()
        .filter(|(_, l)| !l.ledger.balanced || l.ledger.acknowledged_missing > 0)
        .map(|(s, l)| {
            let missing = l.ledger.acknowledged_missing;
            format!("{} (acknowledged but missing: {missing})", name(s, l))
        })
        .collect();
    if wrong.is_empty() {
        let text =
            "every balance follows from its entries, and no acknowledged operation is missing";
        item(out, "✓", Ink::Good, 4, text, style);
    } else {
        let text = format!("the books do not balance: {}", wrong.join("; "));
        item(out, "✗", Ink::Bad, 4, &text, style);
    }
    let twice: Vec<String> = lanes()
        .filter(|(_, l)| l.ledger.applied_twice > 0)
        .map(|(s, l)| format!("{} at {}: {}", lane_name(l), s.loss_ppm, l.ledger.applied_twice))
        .collect();
    if twice.is_empty() {
        item(out, "✓", Ink::Good, 4, "no operation was applied twice", style);
    } else {
        let text = format!("applied more than once: {}", twice.join(" · "));
        item(out, "!", Ink::Doubt, 4, &text, style);
    }
}

fn claims(out: &mut String, result: &RunResult, style: Style) {
    if result.claims.is_empty() {
        return;
    }
    section(out, "Promises held against what was seen", style);
    for claim in &result.claims {
        let ink = match claim.holds {
            Holds::Yes => Ink::Good,
            Holds::No => Ink::Bad,
            Holds::Unknown => Ink::Doubt,
        };
        let text = format!("{}: {}. Seen: {}", claim.name, claim.promise, claim.seen);
        item(out, mark(claim.holds), ink, 4, &text, style);
    }
}

fn limits(out: &mut String, result: &RunResult, style: Style) {
    if !result.cannot_tell.is_empty() || !result.left_out.is_empty() {
        section(out, "What this run cannot tell", style);
    }
    for text in &result.cannot_tell {
        item(out, "–", Ink::Dim, 4, text, style);
    }
    for left in &result.left_out {
        let text = format!("{} was not run: {}", left.arm.name(), left.reason);
        item(out, "–", Ink::Doubt, 4, &text, style);
    }
}

fn foot(out: &mut String, result: &RunResult, style: Style) {
    out.push('\n');
    if result.timing.verdict == TimingVerdict::Trusted {
        timing(out, result, style);
    }
    let same = match result.mode {
        Mode::Kernel => "# the same losses in the same order; timing may differ",
        Mode::Sim => "# the same run, bit for bit",
    };
    let label = style.ink(Ink::Dim, "repeat");
    // The command stays on one line for copying.
    out.push_str(&format!(
        "  {label}    {}\n            {}\n",
        result.command,
        style.ink(Ink::Dim, same)
    ));
}
