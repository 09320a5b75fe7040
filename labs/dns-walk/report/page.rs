//! A run of `dns-walk` as one HTML page without scripts that opens from disk, offline.

use super::result::WalkResult;
use super::sequence::tone;
use super::words::{answer, class, ink, source, took};
use super::{graph, sequence, steps, summary, tree};
use crate::event::{Event, Exchange, Purpose, Record, Summary};
use crate::finding::Severity;
use crate::outcome::Outcome;
use std::collections::BTreeMap;
use wirelab::measure::human::latency;
use wirelab::report::html::Html;
use wirelab::report::page::{Page, Table, note, wide_figure};
use wirelab::report::style::Style;
use wirelab::report::svg::{Axis, Frame, Scale, Svg, TimeUnit, number, short};
use wirelab::{html, put};

/// Maximum indentation of nested sub-walks.
const INDENT_MAX: usize = 7;
/// Text inside the page.
const PLAIN: Style = Style { color: false, width: 100 };

/// The whole page.
#[must_use]
pub fn page(result: &WalkResult, walks: &[Vec<Record>]) -> String {
    // A warm walk finds no faults: the verdict is the cold one's.
    let end = walks.first().and_then(|records| summary(records));
    let title = end.map_or_else(String::new, |end| end.question.to_string());
    let mut page = Page::new(&format!("dns-walk {title}"), include_str!("style.css"));
    head(&mut page, result, end, super::sides_verdict(walks));
    for (at, records) in walks.iter().enumerate() {
        if let Some(heading) = super::heading(walks, at) {
            page.part(heading);
        }
        body(&mut page, records);
    }
    let same = "The same draws in the same order; timing is the machine's, but for --sim.";
    page.reading(&Html::literal(include_str!("reading.html")), &result.command, same);
    // The messages themselves would make it several times as long; `events.ndjson` has them.
    let mut walks = walks.to_vec();
    super::without_messages(&mut walks);
    page.finish(&serde_json::json!({ "result": result, "walks": walks }))
}

fn head(page: &mut Page, result: &WalkResult, end: Option<&Summary>, sides: Option<String>) {
    let (mut headline, mut more) = (Html::new(), Html::new());
    if let Some(end) = end {
        let tone = if end.outcome == Outcome::Answer { "good" } else { "bad" };
        put!(headline, "<p class=\"headline {}\">{}</p>\n", tone, answer(end));
        let by: Vec<&str> = end.aliases.iter().map(|alias| alias.data.as_str()).collect();
        if !by.is_empty() {
            put!(more, "<p>By way of {}</p>\n", by.join(", "));
        }
        let mut verdict = String::new();
        tree::verdict(&mut verdict, end, PLAIN);
        more.raw("<dl class=\"verdict\">\n");
        for line in verdict.lines().skip(1) {
            let (label, text) = line.split_once("  ").unwrap_or((line, ""));
            put!(more, "<dt>{}</dt><dd>{}</dd>\n", label, text.trim());
        }
        if let Some(sides) = sides {
            put!(more, "<dt>sides</dt><dd>{}</dd>\n", sides);
        }
        more.raw("</dl>\n");
    }
    let facts = [
        result.reached.words().to_owned(),
        format!("seed {}", result.seed),
        result.started_utc.clone(),
        format!("wirelab {}", result.version),
    ];
    let question = "dns-walk: who was asked what, and what was learned";
    page.header(question, &headline, &more, &facts);
}

fn body(page: &mut Page, records: &[Record]) {
    let Some(end) = summary(records) else { return };
    page.section("What is wrong on the way", &findings(end));
    let mut walk = note(
        "One row per query. Rows that are set in were needed to find the address of a server. Open \
         a row for what was learned and what was ignored. Observer: the walk, by its own clock.",
    );
    walk.push(&table(records));
    page.section("The walk, question by question", &walk);
    let every = super::survey(records, PLAIN);
    if !every.is_empty() {
        let every = html!("<pre>{}</pre>\n", every.trim());
        page.section("Every server of every level", &every);
    }
    let others = super::comparisons(records, PLAIN);
    if !others.is_empty() {
        let mut body = note(
            "Only what differs. A cause is likely, never proved: the rule that found it stands \
             with it.",
        );
        put!(body, "<pre>{}</pre>\n", others.trim());
        page.section("Beside resolvers", &body);
    }
    drawings(page, records);
}

fn drawings(page: &mut Page, records: &[Record]) {
    let mut draw = |title: &str, words: &str, svg: &Html| {
        let mut body = note(words);
        body.push(&wide_figure(svg));
        page.section(title, &body);
    };
    if let Some(svg) = waterfall(records) {
        let words = "One bar per query on one axis of time, from sending to reply. A dashed bar is \
                     a wait without a reply: at its end the walk asks another server.";
        draw("Where the time went", words, &svg);
    }
    if let Some((svg, omitted)) = sequence::svg(records) {
        let omitted = omitted.map(|text| format!(" {text}.")).unwrap_or_default();
        let words = format!(
            "Time runs downwards, one row per message, and rows are not to scale. One line per \
             zone, whichever of its servers was asked. ✕: no reply came; neither end can know on \
             which half of its way the packet was lost.{omitted}"
        );
        draw("Messages in order", &words, &svg);
    }
    if let Some(svg) = graph::svg(records) {
        let words = "Boxes are zones, with the servers that were asked and the worst that each \
                     did. Solid lines are delegations, the dashed one an alias. Rest the pointer \
                     on a dot for its reply.";
        draw("Delegations", words, &svg);
    }
}

fn findings(end: &Summary) -> Html {
    if end.findings.is_empty() {
        return Html::literal("<p>Nothing was met.</p>\n");
    }
    let mut table =
        Table::new("words", ["severity", "what was seen", "what mends it", "other tools call it"]);
    for finding in &end.findings {
        let (word, tone) = match finding.severity {
            Severity::Error => ("error", "bad"),
            Severity::Warning => ("warning", "doubt"),
            Severity::Notice => ("notice", "dim"),
        };
        let says = tree::says(finding);
        let tags = finding.tags.join(", ");
        let remedy = finding.fault.remedy();
        table.row("", [(tone, word), ("", &says), ("", remedy), ("", &tags)]);
    }
    table.finish()
}

fn table(records: &[Record]) -> Html {
    let mut out = Html::new();
    for record in records {
        if let Event::Cache(used) = &record.event
            && !matches!(used.purpose, Purpose::Address { .. })
        {
            let (meant, step) = (&used.meant, used.learned_at);
            out.push(&note(format!("{meant}: from the cache, learned at step {step}")));
        }
    }
    let heads = ["step", "zone", "asked", "server", "over", "bytes", "time", "what came back"];
    let mut table = Table::new("words steps", heads);
    let steps = steps(records);
    let mut checks = Vec::new();
    let is_below = |exchange: &Exchange| {
        matches!(exchange.purpose, Purpose::Address { .. })
            && exchange.parent.is_some_and(|parent| steps.contains_key(&parent))
    };
    for (step, attempts) in &steps {
        match attempts[0].purpose {
            Purpose::Check { .. } => checks.push(*step),
            _ if is_below(attempts[0]) => {}
            _ => rows(&mut table, &steps, *step, 0),
        }
    }
    if !checks.is_empty() {
        table.across(8, "asked after the answer was known");
    }
    checks.into_iter().for_each(|step| rows(&mut table, &steps, step, 0));
    out.push(&table.finish());
    out
}

fn rows(out: &mut Table, steps: &BTreeMap<u32, Vec<&Exchange>>, step: u32, depth: usize) {
    let Some(attempts) = steps.get(&step) else { return };
    for (at, exchange) in attempts.iter().enumerate() {
        row(out, exchange, at == 0, depth);
    }
    let below = steps.iter().filter(|(_, other)| {
        other[0].parent == Some(step) && matches!(other[0].purpose, Purpose::Address { .. })
    });
    for (number, _) in below {
        rows(out, steps, *number, depth + 1);
    }
}

fn row(out: &mut Table, exchange: &Exchange, first: bool, depth: usize) {
    let (rule, step, zone) = if first {
        ("first", exchange.step.to_string(), exchange.zone.as_str())
    } else {
        ("", String::new(), "")
    };
    let asked = format!("{} {}", exchange.sent.name.to_ascii_lowercase(), exchange.sent.kind);
    let why = match &exchange.purpose {
        Purpose::Address { server, .. } if first => {
            html!("<br><small>for the address of {}</small>", server)
        }
        Purpose::Alias { of } if first => html!("<br><small>{} is an alias</small>", of),
        Purpose::Prime if first => {
            Html::literal("<br><small>which servers has the root itself?</small>")
        }
        _ => Html::new(),
    };
    let server = &exchange.server;
    let bytes = exchange.bytes_received.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let cells = [
        html!("{}", step),
        html!("{}", zone),
        html!("{}{}", asked, why),
        html!("{}<br><small>{}, {}</small>", server.name, server.address, source(&server.source)),
        html!("{}", exchange.transport),
        html!("{}", bytes),
        html!("{}", took(exchange)),
        outcome(exchange),
    ];
    out.row(&format!("{rule} in{}", depth.min(INDENT_MAX)), cells.map(|cell| ("", cell)));
}

/// The reply, and the records learned and ignored below it.
fn outcome(exchange: &Exchange) -> Html {
    let tone = tone(ink(&exchange.class));
    let head = html!("<span class=\"{}\">{}</span>", tone, class(exchange));
    if exchange.learned.is_empty() && exchange.dropped.is_empty() && exchange.edns.is_none() {
        return head;
    }
    let mut out = html!("<details><summary>{}</summary><ul>", head);
    for learned in &exchange.learned {
        let rank = format!("{:?}", learned.rank).to_lowercase();
        put!(out, "<li>learned ({}): {}</li>", rank, learned.record);
    }
    for dropped in &exchange.dropped {
        let why = dropped.why.words();
        put!(out, "<li class=\"doubt\">ignored: {} ({})</li>", dropped.record, why);
    }
    for error in exchange.edns.iter().flat_map(|edns| &edns.errors) {
        let (code, text) = (error.code, &error.text);
        put!(out, "<li class=\"doubt\">the server adds: error {} {}</li>", code, text);
    }
    put!(out, "<li>flags: {}</li></ul></details>", exchange.flags.join(" "));
    out
}

/// Pixels of the waterfall.
const NAMES: f64 = 250.0;
const BARS: f64 = 620.0;
const ROW: f64 = 20.0;
const TOP: f64 = 46.0;

fn waterfall(records: &[Record]) -> Option<Html> {
    let steps = steps(records);
    let all = || steps.values().flatten();
    let begin = |exchange: &Exchange| exchange.sent_ns.as_nanos();
    let end =
        |exchange: &Exchange| begin(exchange) + exchange.rtt_ns.unwrap_or(exchange.patience_ns);
    let first = all().map(|exchange| begin(exchange)).min()?;
    let last = all().map(|exchange| end(exchange)).max()?;
    let bottom = TOP + ROW * number(all().count());
    let frame = Frame { left: NAMES, right: NAMES + BARS, top: TOP, bottom };
    let x = Scale::linear(0.0, nanos(last - first), frame.left, frame.right);
    let mut svg = Svg::new(frame.right + 110.0, bottom + 8.0, "waterfall of the queries");
    svg.axis_above(frame, &Axis::labelled(x, "time since the first query", tick));
    for (row, exchange) in all().enumerate() {
        let y = TOP + ROW * number(row);
        let label = format!("{}.{} {}", exchange.step, exchange.attempt, exchange.server.name);
        let label: String = label.chars().take(34).collect();
        svg.text("server", (4.0, y + 14.0), "start", &label);
        svg.open(tone(ink(&exchange.class)));
        let place = |at: u64| x.at(nanos(at - first));
        let (from, to) = (place(begin(exchange)), place(end(exchange)));
        let bar = if exchange.rtt_ns.is_some() { "bar" } else { "bar waiting" };
        svg.rect(bar, (from, y + 4.0), ((to - from).max(2.0), ROW - 8.0));
        let waited = || format!("waited {}", latency(exchange.patience_ns));
        let time = exchange.rtt_ns.map_or_else(waited, latency);
        svg.text("halo", (to + 6.0, y + 14.0), "start", &time);
        svg.close();
    }
    Some(svg.finish())
}

#[expect(clippy::cast_precision_loss, reason = "a place on paper")]
fn nanos(value: u64) -> f64 {
    value as f64
}

/// A tick of the time axis: its round nanoseconds in the unit that suits them.
fn tick(ns: f64) -> String {
    let unit = TimeUnit::of(ns.max(1.0));
    if ns == 0.0 { "0".to_owned() } else { format!("{} {}", short(ns / unit.ns), unit.name) }
}
