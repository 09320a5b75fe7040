//! A result as terminal text of a screen: the verdict first, then the evidence.
//! Everything else is on the page, and in `explain FIGURE`.

use super::lanes::{
    answered_only, arms_at, blocking, depths, lane_name, mark, on_cliff, quantile, steps,
};
use crate::plan::Plan;
use crate::result::{Ended, Holds, Lane, Mode, RunResult, Stage, TimingVerdict};
use crate::verdict::pair;
use wirelab::measure::human::{self, NONE, interval, latency, ms, number, plural};
use wirelab::report::style::{Ink, Style};
use wirelab::report::table::{Cell, Column, render as columns, width};
use wirelab::report::text::folded;

/// The whole report.
#[must_use]
pub fn render(result: &RunResult, style: Style) -> String {
    let mut out = String::new();
    head(&mut out, result, style);
    if result.stages.iter().any(|stage| !stage.lanes.is_empty()) {
        costs(&mut out, result, style);
        quantiles(&mut out, result, style);
        reasons(&mut out, result, style);
        outcomes(&mut out, result, style);
    }
    foot(&mut out, result, style);
    out
}

/// Columns below which lines leave parts to the page, so that the report stays a screen of 40.
const WIDE: usize = 100;

/// Adds a heading after a blank line.
fn section(out: &mut String, title: &str, style: Style) {
    out.push('\n');
    out.push_str(&style.ink(Ink::Strong, title));
    out.push('\n');
}

/// Adds `label  text`; the text is wrapped and indented beside its label.
fn item(out: &mut String, label: &str, ink: Ink, text: &str, style: Style) {
    const INDENT: usize = 12;
    let indent = if label.is_empty() { 2 } else { INDENT };
    let indent = if indent > 2 { indent.max(3 + width(label)) } else { indent };
    let room = style.width.saturating_sub(indent).max(30);
    for (index, line) in folded(text, room).iter().enumerate() {
        let lead = if index == 0 { label } else { "" };
        let pad = " ".repeat(indent.saturating_sub(2 + width(lead)));
        out.push_str(format!("  {}{pad}{line}", style.ink(ink, lead)).trim_end());
        out.push('\n');
    }
}

fn head(out: &mut String, result: &RunResult, style: Style) {
    let plan = &result.plan;
    for line in folded(&result.verdict, style.width.max(30)) {
        out.push_str(&style.ink(Ink::Strong, &line));
        out.push('\n');
    }
    let losses: Vec<String> =
        plan.loss_ppm.iter().map(|loss| loss.to_string().replace(" %", "")).collect();
    let path = format!(
        "RTT {} · loss {} % each way · {} · at most {}",
        human::span(plan.rtt),
        losses.join(", "),
        plural(plan.repetitions.into(), "repetition", "repetitions"),
        plural(plan.ops.into(), "request", "requests"),
    );
    item(out, "path", Ink::Dim, &path, style);
    item(out, "host", Ink::Dim, &host(result, style), style);
    if result.ended == Ended::Interrupted {
        let in_flight = plural(result.in_flight_unknown, "request", "requests");
        let text = format!(
            "this run was stopped early; the repetitions below are complete, {in_flight} in \
             flight at the end unknown"
        );
        item(out, "partial", Ink::Doubt, &text, style);
    }
    let (word, ink) = match result.timing.verdict {
        TimingVerdict::Trusted => ("trusted", Ink::Good),
        TimingVerdict::Suspect => ("SUSPECT", Ink::Doubt),
        TimingVerdict::Invalid => ("INVALID", Ink::Bad),
    };
    item(out, "timing", ink, &format!("{word}: {}", result.timing.reason), style);
}

fn host(result: &RunResult, style: Style) -> String {
    let measured = format!("{} measured", latency(result.measured_ns));
    if result.mode == Mode::Sim {
        return format!("virtual time, no kernel: the bank's own code · {measured}");
    }
    let host = &result.host;
    let mut parts = vec![host.kernel.clone(), host.congestion_control.clone()];
    parts.extend(host.tcp_rto_min_ns.map(|n| format!("RTO min {}", latency(n))));
    if style.width >= WIDE {
        parts.push(host.privilege.clone());
    }
    parts.push(measured);
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// The line of a stage so far, for a terminal that watches the run.
#[must_use]
pub fn so_far(plan: &Plan, stage: &Stage, repetition: u32) -> String {
    let lossy = stage.loss_ppm.get() > 0;
    let smallest = plan.depths.iter().min().copied();
    let cell = |lane: &Lane| {
        let value = if lossy { lane.loss_cost.extra.value_ns } else { lane.latency.p50.value_ns };
        Some(format!("{} {}", lane.arm.name(), ms(value?)))
    };
    let lanes = stage.lanes.iter().filter(|lane| Some(lane.depth) == smallest);
    let cells: Vec<String> = lanes.filter_map(cell).collect();
    let what = if lossy { "a lost packet costs, ms:" } else { "median, ms:" };
    let loss = stage.loss_ppm.to_string();
    format!("  {loss:>5}  {} of {}  {what} {}", repetition + 1, plan.repetitions, cells.join(" · "))
}

/// Cost of a lost packet in every lane, and the share of requests that met one, by loss.
fn costs(out: &mut String, result: &RunResult, style: Style) {
    let lossy: Vec<&Stage> = result.stages.iter().filter(|s| s.loss_ppm.get() > 0).collect();
    if lossy.is_empty() {
        return;
    }
    let title = "A lost packet costs … ms (median extra time); % of requests that met one";
    section(out, title, style);
    let rows: Vec<_> = depths(result)
        .into_iter()
        .flat_map(|depth| arms_at(result, depth).into_iter().map(move |arm| (arm, depth)))
        .filter(|(arm, _)| arm.transport().repeats())
        .collect();
    let mut names = Column::left("arm, depth");
    rows.iter().for_each(|(arm, depth)| names.push(Cell::new(format!("{} {depth}", arm.name()))));
    let mut table = vec![names];
    for stage in lossy {
        let mut cost = Column::right(stage.loss_ppm.to_string()).gap(3);
        let mut between = Column::left("95 %").gap(1).gives_way(6, "the intervals of the costs");
        let mut met = Column::right("met").gap(1).gives_way(3, "how many met a loss");
        for (arm, depth) in &rows {
            let lane = stage.lanes.iter().find(|l| l.arm == *arm && l.depth == *depth);
            let extra = lane.map(|lane| lane.loss_cost.extra).unwrap_or_default();
            cost.push(Cell::new(quantile(&extra)));
            between.push(Cell::inked(interval(&extra), Ink::Dim));
            let share = lane.map(|lane| number(lane.loss_cost.met.share * 100.0, 1));
            met.push(Cell::new(share.unwrap_or_else(|| NONE.to_owned())));
        }
        table.extend([cost, between, met]);
    }
    out.push_str(&columns(table, style, &mut Vec::new()));
}

/// p99 of every arm by loss, at the smallest depth.
fn quantiles(out: &mut String, result: &RunResult, style: Style) {
    let Some(depth) = depths(result).into_iter().min() else { return };
    let arms = arms_at(result, depth);
    let mut names = Column::left("");
    arms.iter().for_each(|arm| names.push(Cell::new(arm.name())));
    let mut table = vec![names];
    let (mut flattered, mut cliff) = (false, false);
    for stage in &result.stages {
        let mut values = Column::right(stage.loss_ppm.to_string()).gap(3);
        for arm in &arms {
            let lane = stage.lanes.iter().find(|l| l.arm == *arm && l.depth == depth);
            let only = lane.is_some_and(answered_only);
            flattered |= only;
            cliff |= lane.is_some_and(|lane| on_cliff(&lane.latency.p99).is_some());
            let value = lane.map_or_else(|| NONE.to_owned(), |lane| quantile(&lane.latency.p99));
            let ink = if only { Ink::Dim } else { Ink::Plain };
            values.push(Cell::inked(format!("{value}{}", if only { "*" } else { " " }), ink));
        }
        table.push(values);
    }
    let cliff = if cliff { "; from–to: either step" } else { "" };
    let flattered = if flattered { "; *: over 1 % unanswered" } else { "" };
    let title = format!("99 of 100 took … ms (p99), depth {depth}{cliff}{flattered}");
    section(out, &title, style);
    out.push_str(&columns(table, style, &mut Vec::new()));
}

/// The stage of the headline.
fn headline(result: &RunResult) -> Option<&Stage> {
    let loss = result.verdicts.first()?.loss_ppm;
    result.stages.iter().find(|stage| stage.loss_ppm == loss)
}

/// The mechanism behind each step, and what blocked what.
fn reasons(out: &mut String, result: &RunResult, style: Style) {
    let Some(stage) = headline(result).filter(|stage| stage.loss_ppm.get() > 0) else { return };
    let title = format!("What repeats a request, in order, at {} loss", stage.loss_ppm);
    out.push_str(&style.ink(Ink::Strong, &title));
    out.push('\n');
    let smallest = stage.lanes.iter().map(|lane| lane.depth).min();
    let (first, second) = pair(&result.plan.arms);
    let explained = |lane: &&Lane| {
        let arm = Some(lane.arm);
        Some(lane.depth) == smallest
            && (arm == first || arm == second || lane.arm.transport().per_request())
    };
    for lane in stage.lanes.iter().filter(explained) {
        let steps = steps(lane, if style.width < WIDE { 2 } else { 3 });
        if !steps.is_empty() {
            item(out, lane.arm.name(), Ink::Plain, &steps, style);
        }
    }
    let deep = stage.lanes.iter().filter(|lane| lane.depth > 1);
    if let Some(text) = deep.filter_map(blocking).next() {
        item(out, "blocking", Ink::Plain, &text, style);
    }
}

/// Packets, unanswered requests and double applications, at the headline's stage or the worst.
fn outcomes(out: &mut String, result: &RunResult, style: Style) {
    if let Some(stage) = headline(result) {
        let smallest = stage.lanes.iter().map(|lane| lane.depth).min();
        let lanes = stage.lanes.iter().filter(|lane| Some(lane.depth) == smallest);
        let packets = lanes.map(|lane| {
            format!("{} {}", lane.arm.name(), number(lane.traffic.frames_per_request, 1))
        });
        let packets: Vec<String> = packets.collect();
        let text = format!("a request: {}", packets.join(" · "));
        item(out, "packets", Ink::Dim, &text, style);
    }
    let worst = |label, ink, get: fn(&Lane) -> u64, out: &mut String| {
        let total = |stage: &Stage| stage.lanes.iter().map(get).sum::<u64>();
        let Some(stage) = result.stages.iter().max_by_key(|stage| total(stage)) else { return };
        let lanes = stage.lanes.iter().filter(|lane| get(lane) > 0);
        let mut lanes: Vec<&Lane> = lanes.collect();
        lanes.sort_by_key(|lane| std::cmp::Reverse(get(lane)));
        let lanes: Vec<String> = lanes
            .into_iter()
            .take(if style.width < WIDE { 2 } else { 3 })
            .map(|l| format!("{} {} of {}", lane_name(l), get(l), l.requests.started))
            .collect();
        if !lanes.is_empty() {
            let text = format!("at {} loss: {}", stage.loss_ppm, lanes.join(" · "));
            item(out, label, ink, &text, style);
        }
    };
    worst("unknown", Ink::Doubt, |lane| lane.requests.unknown, out);
    worst("twice", Ink::Bad, |lane| lane.ledger.applied_twice, out);
    let kept = result.claims.iter().filter(|claim| claim.holds == Holds::Yes).count();
    if kept > 0 {
        let all = plural(result.claims.len() as u64, "promise", "promises");
        let text = format!("{kept} of {all} held against the run, on the page");
        item(out, "✓ holds", Ink::Good, &text, style);
    }
    for claim in result.claims.iter().filter(|claim| claim.holds != Holds::Yes) {
        let (word, ink) = match claim.holds {
            Holds::No => ("fails", Ink::Bad),
            _ => ("open", Ink::Doubt),
        };
        let text = format!("{}: {}. Seen: {}", claim.name, claim.promise, claim.seen);
        item(out, &format!("{} {word}", mark(claim.holds)), ink, &text, style);
    }
}

fn foot(out: &mut String, result: &RunResult, style: Style) {
    let mut reasons: Vec<&str> = result.left_out.iter().map(|left| left.reason.as_str()).collect();
    reasons.dedup();
    for reason in reasons {
        let arms = result.left_out.iter().filter(|left| left.reason == reason);
        let arms: Vec<&str> = arms.map(|left| left.arm.name()).collect();
        let were = if arms.len() == 1 { "was" } else { "were" };
        let text = format!("{} {were} not run: {reason}", arms.join(", "));
        item(out, "left out", Ink::Doubt, &text, style);
    }
    // The command stays on one line for copying.
    out.push_str(&format!("  {}    {}\n", style.ink(Ink::Dim, "repeat"), result.command));
}
