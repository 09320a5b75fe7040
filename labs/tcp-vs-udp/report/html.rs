//! A result as one self-contained HTML page without JavaScript or external references.
//! Every figure in a table carries its JSON value in `<data value>`.

use super::ladder::SlowRequest;
use super::lanes::{arms, arms_at, blocking, depths, mark, quantile, steps};
use super::plots::{self, COST, P99, PACKETS, USEFUL, key};
use super::tables;
use crate::arms::Arm;
use crate::result::{Ended, Holds, Lane, Mode, Ruling, RunResult, Stage, TimingVerdict};
use wirelab::measure::human::{self, NONE};
use wirelab::report::html::Html;
use wirelab::report::page::{Page, Table, figure, note, panels};
use wirelab::{html, put};

/// The whole page. `slow` may be empty.
#[must_use]
pub fn render(result: &RunResult, slow: &[SlowRequest]) -> String {
    let style = include_str!("style.css").to_owned() + &arm_rules(result);
    let mut page = Page::new(&format!("tcp-vs-udp, seed {}", result.seed), &style);
    head(&mut page, result);
    if result.stages.iter().any(|s| !s.lanes.is_empty()) {
        page.section("What a lost packet costs", &overview(result));
        page.section("What is proved of each pair", &verdicts(result));
        page.section("The tail, loss by loss", &tails(result));
        page.section("What it costs", &costs(result));
    }
    if !slow.is_empty() {
        page.section("Why a request was slow", &ladders(slow));
    }
    if !result.claims.is_empty() {
        page.section("Promises held against what was seen", &claims(result));
    }
    tables::audits(&mut page, result);
    page.section("What this run cannot tell", &cannot_tell(result));
    let same = match result.mode {
        Mode::Kernel => "The same losses in the same order on every lane; timing is the machine's.",
        Mode::Sim => "The same run, bit for bit.",
    };
    page.reading(&Html::literal(include_str!("reading.html")), &result.command, same);
    page.finish(&serde_json::json!({ "result": result, "slow": slow }))
}

/// CSS rules that style each arm and hide it when its box is unchecked, without a script.
fn arm_rules(result: &RunResult) -> String {
    let rules = |arm: Arm| {
        let (class, look) = (arm.class(), arm.look());
        format!(
            ".arm.{class}{{color:var(--{})}} .arm.{class} .line{{{}}}\n\
             body:has(#show-{class}:not(:checked)) :is(g,tr).{class}{{display:none}}\n",
            look.colour, look.line
        )
    };
    arms(result).into_iter().map(rules).collect()
}

fn head(page: &mut Page, result: &RunResult) {
    let mut more = Html::new();
    if result.ended == Ended::Interrupted {
        put!(
            more,
            "<p class=\"warn\">This run was stopped early. The repetitions shown are complete; {} \
             in flight at the end unknown.</p>\n",
            human::plural(result.in_flight_unknown, "request", "requests")
        );
    }
    if result.timing.verdict != TimingVerdict::Trusted {
        let word = match result.timing.verdict {
            TimingVerdict::Invalid => "invalid",
            _ => "suspect",
        };
        let reason = &result.timing.reason;
        put!(more, "<p class=\"warn\">The timing of this run is {}: {}.</p>\n", word, reason);
    }
    page.header(
        "tcp-vs-udp: the same bank requests, the same packet loss",
        &html!("<p class=\"headline\">{}</p>\n", whole_words(&result.verdict)),
        &more,
        &facts(result),
    );
}

/// A sentence whose commands do not wrap inside a word.
fn whole_words(sentence: &str) -> Html {
    let mut out = Html::new();
    for (place, word) in sentence.split(' ').enumerate() {
        let space = if place > 0 { " " } else { "" };
        if word.contains('-') {
            put!(out, "{}<span class=\"word\">{}</span>", space, word);
        } else {
            put!(out, "{}{}", space, word);
        }
    }
    out
}

fn facts(result: &RunResult) -> Vec<String> {
    let (plan, host) = (&result.plan, &result.host);
    let mut facts = vec![
        format!("RTT {}", human::span(plan.rtt)),
        format!(
            "at most {} per arm and depth",
            human::plural(plan.ops.into(), "request", "requests")
        ),
        human::plural(plan.repetitions.into(), "repetition", "repetitions"),
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

/// A description of a depth.
fn depth_note(result: &RunResult, depth: u32) -> String {
    let lane = result.stages.iter().flat_map(|s| &s.lanes).find(|l| l.depth == depth);
    let clients = lane.map_or(0, |l| l.clients);
    let clients = human::plural(clients.into(), "client", "clients");
    let requests = human::plural(depth.into(), "request", "requests");
    format!("{clients}, each with {requests} outstanding")
}

fn overview(result: &RunResult) -> Html {
    let mut out = note(
        "Median extra time of the requests that met a loss, with its 95 % interval by clusters and \
         repetitions. Lower is better. Observer: client. Points at one loss rate are set a little \
         apart.",
    );
    out.raw("<ul class=\"arms\">\n");
    for arm in arms(result) {
        let (name, about) = (arm.name(), arm.about());
        put!(
            out,
            "<li><label title=\"{}\"><input type=\"checkbox\" id=\"show-{}\" checked>{}\
             <b>{}</b> <span class=\"note\">{}</span></label></li>\n",
            about,
            arm.class(),
            key(arm),
            name,
            about
        );
    }
    out.raw("</ul>\n");
    let depths = depths(result);
    out.push(&panels(depths.iter().map(|depth| {
        let svg = plots::against_loss(result, *depth, &COST);
        figure(format!("Depth {depth}"), depth_note(result, *depth), &svg)
    })));
    out.push(&matrix(result, &depths));
    out
}

fn verdicts(result: &RunResult) -> Html {
    let mut table = Table::new("words", ["", "verdict"]);
    for verdict in &result.verdicts {
        let (class, word) = match verdict.claim {
            Ruling::Faster => ("good", "faster"),
            Ruling::Level => ("good", "level"),
            Ruling::CannotTell => ("doubt", "cannot tell"),
        };
        table.row("", [(class, word), ("", &verdict.sentence)]);
    }
    table.finish()
}

fn matrix(result: &RunResult, depths: &[u32]) -> Html {
    let losses = result.stages.iter().map(|stage| stage.loss_ppm.to_string());
    let mut table = Table::new("matrix", ["a loss costs, ms".to_owned()].into_iter().chain(losses));
    for depth in depths {
        for (index, arm) in arms_at(result, *depth).into_iter().enumerate() {
            let first = if index == 0 { " first" } else { "" };
            let name = html!("{}{}, depth {}", key(arm), arm.name(), depth);
            let cells = result.stages.iter().map(|stage| {
                let lane = stage.lanes.iter().find(|l| l.arm == arm && l.depth == *depth);
                matrix_cell(lane)
            });
            table.row(&format!("{}{first}", arm.class()), [("", name)].into_iter().chain(cells));
        }
    }
    table.finish()
}

fn matrix_cell(lane: Option<&Lane>) -> (&'static str, Html) {
    let extra = lane.and_then(|lane| Some((lane.loss_cost.extra.value_ns?, &lane.loss_cost.extra)));
    match extra {
        Some((raw, extra)) => ("", tables::data(&raw, &quantile(extra))),
        None => ("dim", html!("{}", NONE)),
    }
}

fn tails(result: &RunResult) -> Html {
    let mut out = note(
        "How to read it: go up to 1 % and along to a line, and below it is that arm's p99 (its \
         marker). A vertical drop is a group of requests that waited for the same timer. The broad \
         grey staircase is theory: what the loss rate and the first retry timer alone predict, \
         nothing fitted. Both axes are logarithmic.",
    );
    let depths_of = depths(result);
    out.push(&panels(depths_of.iter().map(|depth| {
        let svg = plots::against_loss(result, *depth, &P99);
        figure(format!("Depth {depth}"), "p99 against loss, with theory's steps", &svg)
    })));
    let lanes = || result.stages.iter().flat_map(|s| &s.lanes);
    let points = || lanes().flat_map(|l| l.latency.ecdf.iter().map(|p| p.at_ns));
    let low = points().min().unwrap_or(1_000_000);
    let high = points().max().unwrap_or(1_000_000_000);
    for stage in &result.stages {
        let loss = stage.loss_ppm;
        put!(out, "<h3>{} loss each way</h3><p>{}</p>\n", loss, stage.verdict);
        let depths = depths(result).into_iter();
        let depths = depths.filter(|d| stage.lanes.iter().any(|l| l.depth == *d));
        out.push(&panels(depths.map(|depth| {
            let svg = plots::tail(stage, depth, low, high);
            figure(format!("Depth {depth}"), format!("{loss} loss"), &svg)
        })));
        out.push(&mechanisms(stage));
        out.raw("<details open><summary>Figures at this loss</summary>\n");
        out.push(&note("Packets and bytes: per answered request, both ways."));
        out.push(&tables::stage(stage));
        out.raw("</details>\n");
    }
    out
}

/// The mechanism behind each step, and what lost frames held up.
fn mechanisms(stage: &Stage) -> Html {
    let mut out = Html::literal("<dl>\n");
    for lane in stage.lanes.iter().filter(|lane| lane.arm.transport().repeats()) {
        let steps = steps(lane, 4);
        if !steps.is_empty() {
            put!(out, "<dt>{}</dt><dd>{}</dd>\n", lane.arm.at_depth(lane.depth), steps);
        }
    }
    for text in stage.lanes.iter().filter(|lane| lane.depth > 1).filter_map(blocking) {
        put!(out, "<dt>blocking</dt><dd>{}</dd>\n", text);
    }
    out.raw("</dl>\n");
    out
}

fn costs(result: &RunResult) -> Html {
    let mut out = note(
        "Packets and bytes as offered to the path, both ways, Ethernet headers included. Observer: \
         path. The axes begin at zero.",
    );
    let depths = depths(result);
    for shown in [&PACKETS, &USEFUL] {
        out.push(&panels(depths.iter().map(|depth| {
            let svg = plots::against_loss(result, *depth, shown);
            figure(format!("Depth {depth}"), shown.title, &svg)
        })));
    }
    out
}

fn ladders(slow: &[SlowRequest]) -> Html {
    let mut out = note("Time runs downwards. A ✕ is a frame that the path lost. Observer: path.");
    out.push(&panels(slow.iter().map(|s| {
        let seen = format!(
            "request {} at depth {}, {} loss: {}, sent {}",
            s.seq,
            s.depth,
            s.loss_ppm,
            human::latency(s.latency_ns),
            human::times(s.attempts.into())
        );
        figure(format!("{}, {}", s.arm.name(), s.operation), seen, &plots::ladder(s))
    })));
    out
}

fn claims(result: &RunResult) -> Html {
    let mut table = Table::new("words", ["", "claim", "promise", "seen"]);
    for claim in &result.claims {
        let (class, word) = match claim.holds {
            Holds::Yes => ("good", "holds"),
            Holds::No => ("bad", "does not hold"),
            Holds::Unknown => ("doubt", "cannot tell"),
        };
        let holds = format!("{} {word}", mark(claim.holds));
        let [name, promise, seen] = [&claim.name, &claim.promise, &claim.seen].map(String::as_str);
        table.row("", [(class, holds.as_str()), ("", name), ("", promise), ("", seen)]);
    }
    table.finish()
}

fn cannot_tell(result: &RunResult) -> Html {
    let mut out = Html::literal("<ul>\n");
    for text in &result.cannot_tell {
        put!(out, "<li>{}</li>\n", text);
    }
    for left in &result.left_out {
        put!(out, "<li>{} was not run: {}</li>\n", left.arm.name(), left.reason);
    }
    out.raw("</ul>\n");
    out
}
