//! The tables of the HTML report: per loss rate, then ledger, path and counters.
//!
//! It must never show a figure without its raw value beside it, in `<data value>`.

use super::html::key;
use super::lanes::{answered_only, is_fastest, resent};
use crate::result::{Lane, LinkAudit, RunResult, Stage};
use serde::Serialize;
use std::fmt::Write as _;
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::Quantile;
use wirelab::report::figures::{NONE, count, interval, ms, ms_or_none, number, percent_number};

/// A figure with its raw value, as the JSON has it.
pub(super) fn data(raw: &impl Serialize, shown: &str) -> String {
    let raw = serde_json::to_string(raw).unwrap_or_default();
    format!("<data value=\"{raw}\">{shown}</data>")
}

fn whole(value: u64) -> String {
    if value == 0 {
        "<span class=\"note\">·</span>".to_owned()
    } else {
        data(&value, &count(value))
    }
}

fn float(value: f64, decimals: usize) -> String {
    data(&value, &number(value, decimals))
}

fn millis(value: u64) -> String {
    data(&value, &ms(value))
}

fn share_cell(value: &Share) -> String {
    if value.trials == 0 {
        return NONE.to_owned();
    }
    let (low, high) = (percent_number(value.low), percent_number(value.high));
    let shown = data(&value.share, &percent_number(value.share));
    format!("{shown}<small>{low}..{high}</small>")
}

/// A table: heads with who observed, then a row per lane.
struct Table<'a> {
    heads: &'a [(&'a str, &'a str)],
    class: &'a str,
}

impl Table<'_> {
    fn open(&self, out: &mut String) {
        let _ = write!(out, "<div class=\"scroll\"><table{}><thead><tr>", self.class);
        for (name, who) in self.heads {
            let _ = write!(out, "<th>{name}<small>{who}</small></th>");
        }
        out.push_str("</tr></thead><tbody>\n");
    }

    fn close(out: &mut String) {
        out.push_str("</tbody></table></div>\n");
    }
}

/// Opens a row of a lane with its name; `first` draws a rule above it.
fn row(out: &mut String, lane: &Lane, first: bool, cells: &[(&str, String)]) {
    let name = lane.arm.name();
    let rule = if first { " first" } else { "" };
    let _ =
        write!(out, "<tr class=\"{name}{rule}\"><td>{}{name} {}</td>", key(lane.arm), lane.depth);
    for (class, cell) in cells {
        let _ = write!(out, "<td{class}>{cell}</td>");
    }
    out.push_str("</tr>\n");
}

/// The figures of one loss rate.
pub(super) fn stage(out: &mut String, stage: &Stage) {
    let table = Table {
        heads: &[
            ("arm, depth", ""),
            ("p50, ms", "client"),
            ("p99, ms", "client"),
            ("p99.9, ms", "client"),
            ("largest, ms", "client"),
            ("done", "client"),
            ("unknown", "client"),
            ("refused", "client"),
            ("sent again", "sender"),
            ("packets", "path"),
            ("bytes", "path"),
            ("useful, %", "path"),
            ("slow, %: theory", "loss, timer"),
            ("slow, %: seen", "client"),
        ],
        class: "",
    };
    table.open(out);
    for (index, lane) in stage.lanes.iter().enumerate() {
        let first = index == 0 || stage.lanes[index - 1].arm != lane.arm;
        row(out, lane, first, &stage_cells(lane, &stage.lanes));
    }
    Table::close(out);
}

fn stage_cells(lane: &Lane, lanes: &[Lane]) -> Vec<(&'static str, String)> {
    let quantile = |q: &Quantile| match q.value_ns {
        None => "–".to_owned(),
        Some(value) => format!("{}<small>{}</small>", millis(value), interval(q)),
    };
    let p99 = if answered_only(lane) {
        " class=\"dim\""
    } else if is_fastest(lane, lanes) {
        " class=\"best\""
    } else {
        ""
    };
    let (theory, seen) = if lane.theory.stairs.is_empty() {
        ("–".to_owned(), "–".to_owned())
    } else {
        let expected = lane.theory.slow_expected;
        (data(&expected, &percent_number(expected)), share_cell(&lane.theory.slow_observed))
    };
    let largest = if lane.latency.count == 0 { None } else { Some(lane.latency.max_ns) };
    vec![
        ("", quantile(&lane.latency.p50)),
        (p99, quantile(&lane.latency.p99)),
        ("", quantile(&lane.latency.p999)),
        ("", data(&lane.latency.max_ns, &ms_or_none(largest))),
        ("", whole(lane.requests.done)),
        (
            if lane.requests.unknown > 0 { " class=\"doubt\"" } else { "" },
            whole(lane.requests.unknown),
        ),
        ("", whole(lane.requests.refused)),
        ("", whole(resent(lane))),
        ("", float(lane.traffic.frames_per_request, 2)),
        ("", float(lane.traffic.bytes_per_request, 0)),
        ("", data(&lane.traffic.useful_share, &number(lane.traffic.useful_share * 100.0, 0))),
        ("", theory),
        ("", seen),
    ]
}

/// Ledger, path and counters of every lane.
pub(super) fn audits(out: &mut String, result: &RunResult) {
    if result.stages.iter().all(|s| s.lanes.is_empty()) {
        return;
    }
    out.push_str("<section><h2>The ledger afterwards</h2>\n");
    books(out, result);
    by_stage(out, result, LEDGER, ledger_cells);
    out.push_str(
        "</section><section><h2>Did the path do what the plan says?</h2>\n\
         <p class=\"note\">Realised loss with its exact 95 % interval (1 lane in 20 misses the \
         plan by chance); how late frames left the path; what the kernel lost by itself, which \
         must be nothing. First client to server, then server to client.</p>\n",
    );
    let timing = wirelab::report::svg::escape(&result.timing.reason);
    let _ = writeln!(out, "<p>Timing: {timing}.</p>");
    by_stage(out, result, PATH, path_cells);
    out.push_str("</section><section><h2>What the two ends counted</h2>\n");
    by_stage(out, result, ENDS, end_cells);
    out.push_str("</section>\n");
}

/// The ledgers in two sentences: do the books balance, and which arms applied something twice.
fn books(out: &mut String, result: &RunResult) {
    let lanes = || result.stages.iter().flat_map(|s| s.lanes.iter().map(move |l| (s, l)));
    let name = |(s, l): (&Stage, &Lane)| format!("{} {} at {}", l.arm.name(), l.depth, s.loss_ppm);
    let wrong: Vec<String> = lanes()
        .filter(|(_, l)| !l.ledger.balanced || l.ledger.acknowledged_missing > 0)
        .map(name)
        .collect();
    if wrong.is_empty() {
        out.push_str(
            "<p><b class=\"good\">✓</b> Every balance follows from its entries, and no operation \
             that a client saw done is missing.</p>\n",
        );
    } else {
        let wrong = wrong.join(", ");
        let _ = writeln!(out, "<p class=\"warn\">✗ The books do not balance: {wrong}.</p>");
    }
    let twice: Vec<String> =
        lanes().filter(|(_, l)| l.ledger.applied_twice > 0).map(name).collect();
    if twice.is_empty() {
        out.push_str("<p><b class=\"good\">✓</b> No operation was applied twice.</p>\n");
    } else {
        let _ = writeln!(
            out,
            "<p><b class=\"doubt\">!</b> Some operations were applied more than once: {}.</p>",
            twice.join(", ")
        );
    }
}

type Cells = fn(&Lane) -> Vec<(&'static str, String)>;

fn by_stage(out: &mut String, result: &RunResult, heads: &[(&str, &str)], cells: Cells) {
    for stage in result.stages.iter().filter(|s| !s.lanes.is_empty()) {
        let loss = stage.loss_ppm;
        let _ = writeln!(out, "<details><summary>{loss} loss each way</summary>");
        Table { heads, class: "" }.open(out);
        for (index, lane) in stage.lanes.iter().enumerate() {
            let first = index == 0 || stage.lanes[index - 1].arm != lane.arm;
            row(out, lane, first, &cells(lane));
        }
        Table::close(out);
        out.push_str("</details>\n");
    }
}

const LEDGER: &[(&str, &str)] = &[
    ("arm, depth", ""),
    ("acknowledged", "client"),
    ("of those missing", "server"),
    ("applied twice", "server"),
    ("surplus, cents", "server"),
    ("unknown, applied", "server"),
    ("unknown, not applied", "server"),
    ("repeats answered from store", "server"),
    ("balances, cents", "server"),
    ("expected, cents", "ledger"),
    ("balanced", "server"),
];

fn ledger_cells(lane: &Lane) -> Vec<(&'static str, String)> {
    let l = &lane.ledger;
    let bad = |n: u64| if n > 0 { " class=\"bad\"" } else { "" };
    let (class, balanced) =
        if l.balanced { (" class=\"good\"", "✓ yes") } else { (" class=\"bad\"", "✗ no") };
    vec![
        ("", whole(l.acknowledged)),
        (bad(l.acknowledged_missing), whole(l.acknowledged_missing)),
        (bad(l.applied_twice), whole(l.applied_twice)),
        ("", data(&l.surplus_cents, &l.surplus_cents.to_string())),
        ("", whole(l.unknown_applied)),
        ("", whole(l.unknown_not_applied)),
        ("", whole(l.repeats_answered)),
        ("", data(&l.balances_cents, &l.balances_cents.to_string())),
        ("", data(&l.expected_cents, &l.expected_cents.to_string())),
        (class, balanced.to_owned()),
    ]
}

const PATH: &[(&str, &str)] = &[
    ("arm, depth", ""),
    ("frames", "→"),
    ("lost", "→"),
    ("loss, %", "→"),
    ("late p99, ms", "→"),
    ("kernel drops", "→"),
    ("frames", "←"),
    ("lost", "←"),
    ("loss, %", "←"),
    ("late p99, ms", "←"),
    ("kernel drops", "←"),
];

fn path_cells(lane: &Lane) -> Vec<(&'static str, String)> {
    let side = |audit: &LinkAudit| {
        let bad = if audit.kernel_dropped > 0 { " class=\"bad\"" } else { "" };
        [
            ("", whole(audit.offered)),
            ("", whole(audit.lost)),
            ("", share_cell(&audit.loss)),
            ("", millis(audit.late_p99_ns)),
            (bad, whole(audit.kernel_dropped)),
        ]
    };
    lane.path.iter().flat_map(side).collect()
}

const ENDS: &[(&str, &str)] = &[
    ("arm, depth", ""),
    ("segments sent again", "kernels"),
    ("timeouts", "kernels"),
    ("loss probes", "kernels"),
    ("fast retransmits", "kernels"),
    ("SYN sent again", "kernels"),
    ("spurious", "kernels"),
    ("requests sent again", "client"),
    ("late replies", "client"),
    ("first timer, ms", "client"),
    ("handshake p50, ms", "client"),
    ("handshake p99, ms", "client"),
];

fn end_cells(lane: &Lane) -> Vec<(&'static str, String)> {
    let none = || ("", String::new());
    let mut cells = Vec::new();
    match lane.tcp {
        Some(t) => cells.extend(
            [
                t.retransmitted_segments,
                t.timeouts,
                t.loss_probes,
                t.fast_retransmits,
                t.syn_retransmits,
                t.spurious,
            ]
            .map(|n| ("", whole(n))),
        ),
        None => cells.extend(std::iter::repeat_with(none).take(6)),
    }
    match lane.udp {
        Some(u) => cells.extend([
            ("", whole(u.retries)),
            ("", whole(u.late_replies)),
            ("", millis(u.rto_ns)),
        ]),
        None => cells.extend(std::iter::repeat_with(none).take(3)),
    }
    match &lane.handshake {
        Some(h) => cells.extend([h.p50, h.p99].map(|q| ("", ms_or_none(q.value_ns)))),
        None => cells.extend(std::iter::repeat_with(none).take(2)),
    }
    cells
}
