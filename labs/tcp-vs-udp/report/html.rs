//! A result as one HTML page that opens from disk with the network off.
//!
//! It exists so that a run can be mailed, printed and read in five years. It works without
//! JavaScript: there is none. It must never refer to anything outside itself, nor show a figure
//! that the JSON inside it does not hold: figures in tables carry theirs in `<data value>`.

use super::lanes::{answered_only, arms, arms_at, depths, is_fastest, mark};
use super::plots::{self, P99, PACKETS, USEFUL};
use super::tables;
use crate::plan::Arm;
use crate::result::{Ended, Holds, Lane, Mode, RunResult, Stage, TimingVerdict};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use wirelab::measure::{Ppm, human};
use wirelab::path::Direction;
use wirelab::report::figures::{NONE, count, ms};
use wirelab::report::svg::{Svg, escape};

/// A slow request and its frames, to be drawn as a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowRequest {
    /// The arm.
    pub arm: Arm,
    /// The depth of its lane.
    pub depth: u32,
    /// The loss of its stage.
    pub loss_ppm: Ppm,
    /// Which request of its lane.
    pub seq: u64,
    /// What was asked: `deposit`, …
    pub operation: String,
    /// How long it took, nanoseconds.
    pub latency_ns: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// Its frames, in the order in which they reached the path.
    pub frames: Vec<FrameSeen>,
}

/// One frame of a slow request. Observer: path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSeen {
    /// When it reached the path, nanoseconds since the request was sent.
    pub t_ns: u64,
    /// How long it was on its way, nanoseconds.
    pub delay_ns: u64,
    /// Which way.
    pub direction: Direction,
    /// What it is: `request`, `reply`, `SYN`, …
    pub what: String,
    /// Whether the path lost it.
    pub lost: bool,
}

const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                   img-src data:";

/// The whole page. `slow` may be empty.
#[must_use]
pub fn render(result: &RunResult, slow: &[SlowRequest]) -> String {
    let mut out = String::with_capacity(1 << 20);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{CSP}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>tcp-vs-udp, seed {}</title>\n<style>{}{}</style></head><body>\n",
        result.seed,
        wirelab::report::CSS,
        hiding(),
    );
    head(&mut out, result);
    if result.stages.iter().any(|s| !s.lanes.is_empty()) {
        overview(&mut out, result);
        tails(&mut out, result);
        costs(&mut out, result);
    }
    ladders(&mut out, slow);
    claims(&mut out, result);
    tables::audits(&mut out, result);
    reading(&mut out, result);
    let data = serde_json::json!({ "result": result, "slow": slow }).to_string();
    // Neither `</script` nor `<!--` can occur without `<`.
    let data = data.replace('<', "\\u003c");
    let _ = write!(
        out,
        "<script type=\"application/json\" id=\"result\">{data}</script>\n</body></html>\n"
    );
    out
}

/// The rules by which a cleared box hides its arm, without a script.
fn hiding() -> String {
    let rule = |arm: Arm| {
        let name = arm.name();
        format!("body:has(#show-{name}:not(:checked)) :is(g,tr).{name}{{display:none}}\n")
    };
    Arm::all().map(rule).collect()
}

fn head(out: &mut String, result: &RunResult) {
    out.push_str("<header><h1>tcp-vs-udp: the same bank requests, the same packet loss</h1>\n");
    let verdict =
        if result.stages.is_empty() { "No stage was completed." } else { &result.verdict };
    let _ = writeln!(out, "<p class=\"headline\">{}</p>", escape(verdict));
    let facts: Vec<String> =
        facts(result).iter().map(|f| format!("<span>{}</span>", escape(f))).collect();
    let _ = writeln!(out, "<p class=\"facts\">{}</p>", facts.join("\n"));
    if result.ended == Ended::Interrupted {
        out.push_str(
            "<p class=\"warn\">This run was stopped early. The stages shown are whole.</p>\n",
        );
    }
    if result.timing.verdict != TimingVerdict::Trusted {
        let word = match result.timing.verdict {
            TimingVerdict::Invalid => "invalid",
            _ => "suspect",
        };
        let reason = escape(&result.timing.reason);
        let _ = writeln!(out, "<p class=\"warn\">The timing of this run is {word}: {reason}.</p>");
    }
    out.push_str("</header>\n");
}

fn facts(result: &RunResult) -> Vec<String> {
    let (plan, host) = (&result.plan, &result.host);
    let mut facts = vec![
        format!("RTT {}", human::duration(plan.rtt)),
        format!("at most {} requests per arm and depth", count(u64::from(plan.ops))),
        format!("seed {}", result.seed),
    ];
    if result.mode == Mode::Sim {
        facts.push("virtual time: no kernel took part".to_owned());
    } else {
        facts.push(host.kernel.clone());
        facts.push(host.congestion_control.clone());
        let floor = |n: u64, what: &str| format!("{what} {}", human::latency(n));
        facts.extend(host.tcp_rto_min_ns.map(|n| floor(n, "TCP timer floor")));
        facts.extend(host.tcp_tuned_rto_min_ns.map(|n| floor(n, "tuned to")));
        facts.push(format!("MTU {} B", host.mtu_bytes));
        facts.push(format!("{} CPUs", host.cpus));
        facts.push(host.privilege.clone());
        facts.push(host.started_utc.clone());
    }
    facts.push(format!("wirelab {}", result.version));
    facts.retain(|fact| !fact.is_empty());
    facts
}

/// A sample of an arm's line and marker.
pub(super) fn key(arm: Arm) -> String {
    let mut svg = Svg::new(44.0, 14.0, arm.name());
    svg.open(&plots::class(arm));
    svg.line("line", (1.0, 7.0), (43.0, 7.0));
    svg.marker("", plots::shape(arm), (22.0, 7.0), arm.about());
    svg.close();
    svg.finish()
}

fn panels(out: &mut String, each: impl Iterator<Item = (String, String)>) {
    out.push_str("<div class=\"panels\">\n");
    for (caption, svg) in each {
        let _ = writeln!(out, "<figure><figcaption>{caption}</figcaption>{svg}</figure>");
    }
    out.push_str("</div>\n");
}

/// `Depth 8`, and what that means on this run.
fn depth_caption(result: &RunResult, depth: u32) -> String {
    let lane = result.stages.iter().flat_map(|s| &s.lanes).find(|l| l.depth == depth);
    let clients = lane.map_or(0, |l| l.clients);
    let s = |n: u32| if n == 1 { "" } else { "s" };
    format!(
        "Depth {depth} <small>{clients} client{}, each with {depth} request{} outstanding</small>",
        s(clients),
        s(depth)
    )
}

fn overview(out: &mut String, result: &RunResult) {
    out.push_str(
        "<section><h2>The slowest 1 % of requests, against loss</h2>\n\
         <p class=\"note\">p99 of the answered requests, with its 95 % interval. Lower is better. \
         Observer: client. A hollow marker: more than 1 request in 100 got no answer at all, so \
         the figure flatters the arm. Points at one loss rate are set a little apart, so \
         that they can be told apart.</p>\n<ul class=\"arms\">\n",
    );
    for arm in arms(result) {
        let (name, about) = (arm.name(), arm.about());
        let _ = writeln!(
            out,
            "<li><label title=\"{about}\"><input type=\"checkbox\" id=\"show-{name}\" checked>{}\
             <b>{name}</b> <span class=\"note\">{about}</span></label></li>",
            key(arm)
        );
    }
    out.push_str("</ul>\n");
    let depths = depths(result);
    panels(
        out,
        depths.iter().map(|depth| {
            (depth_caption(result, *depth), plots::against_loss(result, *depth, &P99))
        }),
    );
    matrix(out, result, &depths);
    out.push_str("<h3>In a sentence</h3>\n<dl>\n");
    for stage in &result.stages {
        let (loss, verdict) = (stage.loss_ppm, escape(&stage.verdict));
        let _ = writeln!(out, "<dt>{loss}</dt><dd>{verdict}</dd>");
    }
    out.push_str("</dl></section>\n");
}

fn matrix(out: &mut String, result: &RunResult, depths: &[u32]) {
    out.push_str("<div class=\"scroll\"><table class=\"matrix\"><thead><tr><th>p99, ms</th>");
    for stage in &result.stages {
        let _ = write!(out, "<th>{}</th>", stage.loss_ppm);
    }
    out.push_str("</tr></thead><tbody>\n");
    for depth in depths {
        for (index, arm) in arms_at(result, *depth).into_iter().enumerate() {
            let first = if index == 0 { " first" } else { "" };
            let name = arm.name();
            let _ = write!(
                out,
                "<tr class=\"{name}{first}\"><td>{}{name}, depth {depth}</td>",
                key(arm)
            );
            for stage in &result.stages {
                let lane = stage.lanes.iter().find(|l| l.arm == arm && l.depth == *depth);
                out.push_str(&matrix_cell(stage, lane));
            }
            out.push_str("</tr>\n");
        }
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"note\"><b class=\"good\">◂</b> fastest at that loss \
         and depth, or too close to call: the 95 % intervals overlap. * of the answered requests \
         only.</p>\n",
    );
}

fn matrix_cell(stage: &Stage, lane: Option<&Lane>) -> String {
    let Some(lane) = lane else { return "<td class=\"dim\">–</td>".to_owned() };
    let p99 = lane.latency.p99.value_ns;
    let value = p99.map_or_else(|| NONE.to_owned(), |ns| tables::data(&ns, &ms(ns)));
    if answered_only(lane) {
        format!("<td class=\"dim\">{value} *</td>")
    } else if is_fastest(lane, &stage.lanes) {
        format!("<td class=\"best\">{value} ◂</td>")
    } else {
        format!("<td>{value} &nbsp;</td>")
    }
}

fn tails(out: &mut String, result: &RunResult) {
    out.push_str(
        "<section><h2>The tail, loss by loss</h2>\n\
         <p class=\"note\">How to read it: go up to 1 % and along to a line, and below it is that \
         arm's p99 (its marker). A vertical drop is a group of requests that waited for the same \
         timer. The broad grey staircase is theory: what the loss rate and the first retry timer \
         alone predict, nothing fitted. Both axes are logarithmic.</p>\n",
    );
    let lanes = || result.stages.iter().flat_map(|s| &s.lanes);
    let points = || lanes().flat_map(|l| l.latency.ecdf.iter().map(|p| p.at_ns));
    let low = points().min().unwrap_or(1_000_000);
    let high = points().max().unwrap_or(1_000_000_000);
    for stage in &result.stages {
        let (loss, verdict) = (stage.loss_ppm, escape(&stage.verdict));
        let _ = writeln!(out, "<h3>{loss} loss each way</h3><p>{verdict}</p>");
        panels(
            out,
            depths(result).iter().filter(|d| stage.lanes.iter().any(|l| l.depth == **d)).map(
                |depth| {
                    let caption = format!("Depth {depth} <small>{loss} loss</small>");
                    (caption, plots::tail(stage, *depth, low, high))
                },
            ),
        );
        out.push_str(
            "<details open><summary>Figures at this loss</summary>\n\
             <p class=\"note\">Packets and bytes: per answered request, both ways.</p>\n",
        );
        tables::stage(out, stage);
        out.push_str("</details>\n");
    }
    out.push_str("</section>\n");
}

fn costs(out: &mut String, result: &RunResult) {
    out.push_str(
        "<section><h2>What it costs</h2>\n<p class=\"note\">Packets and bytes as offered to the \
         path, both ways, Ethernet headers included. Observer: path. The axes begin at zero.</p>\n",
    );
    let depths = depths(result);
    for figure in [&PACKETS, &USEFUL] {
        panels(
            out,
            depths.iter().map(|depth| {
                let caption = format!("Depth {depth} <small>{}</small>", figure.title);
                (caption, plots::against_loss(result, *depth, figure))
            }),
        );
    }
    out.push_str("</section>\n");
}

fn ladders(out: &mut String, slow: &[SlowRequest]) {
    if slow.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Why a request was slow</h2>\n<p class=\"note\">Time runs downwards. A ✕ is a \
         frame that the path lost. Observer: path.</p>\n",
    );
    panels(
        out,
        slow.iter().map(|s| {
            let caption = format!(
                "{}, {} <small>request {} at depth {}, {} loss: {}, sent {} times</small>",
                s.arm.name(),
                escape(&s.operation),
                s.seq,
                s.depth,
                s.loss_ppm,
                human::latency(s.latency_ns),
                s.attempts
            );
            (caption, plots::ladder(s))
        }),
    );
    out.push_str("</section>\n");
}

fn claims(out: &mut String, result: &RunResult) {
    if result.claims.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Promises held against what was seen</h2>\n<div class=\"scroll\">\
         <table class=\"words\"><thead><tr><th></th><th>claim</th><th>promise</th><th>seen</th>\
         </tr></thead><tbody>\n",
    );
    for claim in &result.claims {
        let (class, word) = match claim.holds {
            Holds::Yes => ("good", "holds"),
            Holds::No => ("bad", "does not hold"),
            Holds::Unknown => ("doubt", "cannot tell"),
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"{class}\">{} {word}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            mark(claim.holds),
            escape(&claim.name),
            escape(&claim.promise),
            escape(&claim.seen)
        );
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn reading(out: &mut String, result: &RunResult) {
    out.push_str("<section><h2>How to read this</h2>\n");
    out.push_str(include_str!("reading.html"));
    out.push_str("<h2>What this run cannot tell</h2>\n<ul>\n");
    for text in &result.cannot_tell {
        let _ = writeln!(out, "<li>{}</li>", escape(text));
    }
    for left in &result.left_out {
        let _ = writeln!(out, "<li>{} was not run: {}</li>", left.arm.name(), escape(&left.reason));
    }
    out.push_str("</ul>\n<h2>Run it again</h2>\n");
    let same = match result.mode {
        Mode::Kernel => "The same losses in the same order on every lane; timing is the machine's.",
        Mode::Sim => "The same run, bit for bit.",
    };
    let _ = writeln!(out, "<pre>{}</pre>\n<p>{same}</p></section>", escape(&result.command));
}
