//! The tables of the HTML report: per loss rate, then ledger, path and counters.

use super::lanes::{answered_only, lane_name, quantile as quantile_text, resent};
use super::plots::key;
use crate::result::{Lane, LinkAudit, RunResult, Stage};
use serde::Serialize;
use wirelab::measure::human::{
    NONE, count, interval, ms, ms_or_none, number, percent_number, range,
};
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::Quantile;
use wirelab::report::html::Html;
use wirelab::report::page::{Page, Table, note};
use wirelab::{html, put};

/// A figure with its raw JSON value.
pub(super) fn data(raw: &impl Serialize, shown: &str) -> Html {
    let raw = serde_json::to_string(raw).expect("a figure can be written as JSON");
    html!("<data value=\"{}\">{}</data>", raw, shown)
}

fn whole(value: u64) -> Html {
    if value == 0 {
        Html::literal("<span class=\"note\">·</span>")
    } else {
        data(&value, &count(value))
    }
}

fn float(value: f64, decimals: usize) -> Html {
    data(&value, &number(value, decimals))
}

fn millis(value: u64) -> Html {
    data(&value, &ms(value))
}

fn share_cell(value: &Share) -> Html {
    if value.trials == 0 {
        return html!("{}", NONE);
    }
    let (low, high) = (percent_number(value.low), percent_number(value.high));
    let shown = data(&value.share, &percent_number(value.share));
    html!("{}<small>{}</small>", shown, range(&low, &high))
}

/// A cell and its class.
type Cell = (&'static str, Html);

/// A table with a row per lane; each heading has a name and an observer.
fn by_lane(lanes: &[Lane], heads: &[(&str, &str)], cells: impl Fn(&Lane) -> Vec<Cell>) -> Html {
    let heads = heads.iter().map(|(name, who)| html!("{}<small>{}</small>", name, who));
    let mut table = Table::new("", heads);
    for (index, lane) in lanes.iter().enumerate() {
        let name = lane.arm.class();
        let rule = if index == 0 || lanes[index - 1].arm != lane.arm { " first" } else { "" };
        let first = ("", html!("{}{}", key(lane.arm), lane_name(lane)));
        table.row(&format!("{name}{rule}"), [first].into_iter().chain(cells(lane)));
    }
    table.finish()
}

/// The figures of one loss rate.
pub(super) fn stage(stage: &Stage) -> Html {
    by_lane(&stage.lanes, STAGE, stage_cells)
}

const STAGE: &[(&str, &str)] = &[
    ("arm, depth", ""),
    ("a loss costs, ms", "client"),
    ("met a loss, %", "client"),
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
];

fn stage_cells(lane: &Lane) -> Vec<Cell> {
    let quantile = |q: &Quantile| match q.value_ns {
        None => html!("{}", NONE),
        Some(value) => {
            let shown = data(&value, &quantile_text(q));
            html!("{}<small>{}</small>", shown, interval(q))
        }
    };
    let p99 = if answered_only(lane) { "dim" } else { "" };
    let (theory, seen) = if lane.theory.stairs.is_empty() {
        (html!("{}", NONE), html!("{}", NONE))
    } else {
        let expected = lane.theory.slow_expected;
        (data(&expected, &percent_number(expected)), share_cell(&lane.theory.slow_observed))
    };
    let largest = if lane.latency.count == 0 { None } else { Some(lane.latency.max_ns) };
    vec![
        ("", quantile(&lane.loss_cost.extra)),
        ("", share_cell(&lane.loss_cost.met)),
        ("", quantile(&lane.latency.p50)),
        (p99, quantile(&lane.latency.p99)),
        ("", quantile(&lane.latency.p999)),
        ("", data(&lane.latency.max_ns, &ms_or_none(largest))),
        ("", whole(lane.requests.done)),
        (if lane.requests.unknown > 0 { "doubt" } else { "" }, whole(lane.requests.unknown)),
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
pub(super) fn audits(page: &mut Page, result: &RunResult) {
    if result.stages.iter().all(|s| s.lanes.is_empty()) {
        return;
    }
    let mut ledger = books(result);
    ledger.push(&by_stage(result, LEDGER, ledger_cells));
    page.section("The ledger afterwards", &ledger);
    let mut path = note(
        "Realised loss with its exact 95 % interval (1 lane in 20 misses the plan by chance); how \
         late frames left the path; what the kernel lost by itself, which must be nothing. First \
         client to server, then server to client.",
    );
    put!(path, "<p>Timing: {}.</p>\n", result.timing.reason);
    path.push(&by_stage(result, PATH, path_cells));
    page.section("Did the path do what the plan says?", &path);
    page.section("What the two ends counted", &by_stage(result, ENDS, end_cells));
}

/// Two sentences on the ledgers: whether they balance, and which arms applied operations twice.
fn books(result: &RunResult) -> Html {
    let mut out = Html::new();
    let lanes = || result.stages.iter().flat_map(|s| s.lanes.iter().map(move |l| (s, l)));
    let name = |(s, l): (&Stage, &Lane)| format!("{} {} at {}", l.arm.name(), l.depth, s.loss_ppm);
    let wrong: Vec<String> = lanes()
        .filter(|(_, l)| !l.ledger.balanced || l.ledger.acknowledged_missing > 0)
        .map(name)
        .collect();
    if wrong.is_empty() {
        out.raw(
            "<p><b class=\"good\">✓</b> Every balance follows from its entries, and no operation \
             that a client saw done is missing.</p>\n",
        );
    } else {
        let wrong = wrong.join(", ");
        put!(out, "<p class=\"warn\">✗ The books do not balance: {}.</p>\n", wrong);
    }
    let twice: Vec<String> =
        lanes().filter(|(_, l)| l.ledger.applied_twice > 0).map(name).collect();
    if twice.is_empty() {
        out.raw("<p><b class=\"good\">✓</b> No operation was applied twice.</p>\n");
    } else {
        put!(
            out,
            "<p><b class=\"doubt\">!</b> Some operations were applied more than once: {}.</p>\n",
            twice.join(", ")
        );
    }
    out
}

fn by_stage(result: &RunResult, heads: &[(&str, &str)], cells: fn(&Lane) -> Vec<Cell>) -> Html {
    let mut out = Html::new();
    for stage in result.stages.iter().filter(|s| !s.lanes.is_empty()) {
        put!(out, "<details><summary>{} loss each way</summary>\n", stage.loss_ppm);
        out.push(&by_lane(&stage.lanes, heads, cells));
        out.raw("</details>\n");
    }
    out
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

fn ledger_cells(lane: &Lane) -> Vec<Cell> {
    let l = &lane.ledger;
    let bad = |n: u64| if n > 0 { "bad" } else { "" };
    let (class, balanced) = if l.balanced { ("good", "✓ yes") } else { ("bad", "✗ no") };
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
        (class, html!("{}", balanced)),
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

fn path_cells(lane: &Lane) -> Vec<Cell> {
    let side = |audit: &LinkAudit| {
        let bad = if audit.kernel_dropped > 0 { "bad" } else { "" };
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
    ("messages in lost frames", "path"),
    ("messages behind them", "path"),
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

fn end_cells(lane: &Lane) -> Vec<Cell> {
    let none = || ("", Html::new());
    let mut cells = match lane.blocking {
        Some(seen) => vec![("", whole(seen.inside)), ("", whole(seen.behind))],
        None => vec![none(), none()],
    };
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
        Some(h) => cells.extend([h.p50, h.p99].map(|q| ("", html!("{}", ms_or_none(q.value_ns))))),
        None => cells.extend(std::iter::repeat_with(none).take(2)),
    }
    cells
}
