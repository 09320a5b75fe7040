//! A run of `dns-walk` as one HTML page that opens from disk with the network off.
//!
//! It exists so that a walk can be mailed, printed and read later. There is no script in it, and
//! nothing outside it. It must never show what the records inside it do not hold.

use super::result::WalkResult;
use super::sequence::tone;
use super::words::{answer, class, ink, source, took};
use super::{graph, sequence, steps, summary, tree};
use crate::event::{Event, Exchange, Outcome, Purpose, Record, Summary};
use crate::finding::Severity;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use wirelab::measure::human::latency;
use wirelab::report::svg::{Svg, escape};

const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                   img-src data:";
/// Sub-walks inside each other that are indented; deeper ones stand as deep as the last.
const INDENT_MAX: usize = 7;

/// The whole page.
#[must_use]
pub fn page(result: &WalkResult, walks: &[Vec<Record>]) -> String {
    let mut out = String::with_capacity(1 << 17);
    // A warm walk meets nothing: the cold one has the verdict.
    let end = walks.first().and_then(|records| summary(records));
    let title = end.map_or_else(String::new, |end| end.question.to_string());
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{CSP}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>dns-walk {}</title>\n<style>{}{}</style></head><body>\n",
        escape(&title),
        wirelab::report::CSS,
        include_str!("walk.css"),
    );
    head(&mut out, result, end);
    for (at, records) in walks.iter().enumerate() {
        if walks.len() > 1 {
            let which = ["Cold: nothing is known", "Warm: the same question a second time"];
            let _ = writeln!(out, "<h1 class=\"walk\">{}</h1>", which[at.min(1)]);
        }
        body(&mut out, records);
    }
    reading(&mut out, result);
    // The messages themselves would make it several times as long; `events.ndjson` has them.
    let mut walks = walks.to_vec();
    super::without_messages(&mut walks);
    let data = serde_json::json!({ "result": result, "walks": walks }).to_string();
    // Neither `</script` nor `<!--` can occur without `<`.
    let data = data.replace('<', "\\u003c");
    let _ = write!(
        out,
        "<script type=\"application/json\" id=\"result\">{data}</script>\n</body></html>\n"
    );
    out
}

fn head(out: &mut String, result: &WalkResult, end: Option<&Summary>) {
    out.push_str("<header><h1>dns-walk: who was asked what, and what was learned</h1>\n");
    if let Some(end) = end {
        let tone = if end.outcome == Outcome::Answer { "good" } else { "bad" };
        let _ = writeln!(out, "<p class=\"headline {tone}\">{}</p>", escape(&answer(end)));
        let by: Vec<&str> = end.aliases.iter().map(|alias| alias.data.as_str()).collect();
        if !by.is_empty() {
            let _ = writeln!(out, "<p>By way of {}</p>", escape(&by.join(", ")));
        }
        let mut verdict = String::new();
        tree::verdict(
            &mut verdict,
            end,
            wirelab::report::style::Style { color: false, width: 100 },
        );
        out.push_str("<dl class=\"verdict\">\n");
        for line in verdict.lines().skip(1) {
            let (label, text) = line.split_once("  ").unwrap_or(("cost", line));
            let _ = writeln!(out, "<dt>{label}</dt><dd>{}</dd>", escape(text.trim()));
        }
        out.push_str("</dl>\n");
    }
    let facts = [
        result.reached.words().to_owned(),
        format!("seed {}", result.seed),
        result.started_utc.clone(),
        format!("wirelab {}", result.version),
    ];
    let facts: Vec<String> =
        facts.iter().map(|fact| format!("<span>{}</span>", escape(fact))).collect();
    let _ = writeln!(out, "<p class=\"facts\">{}</p></header>", facts.join("\n"));
}

fn body(out: &mut String, records: &[Record]) {
    let Some(end) = summary(records) else { return };
    findings(out, end);
    out.push_str(
        "<section><h2>The walk, question by question</h2>\n<p class=\"note\">One row per query. \
         Rows that are set in were needed to find the address of a server. Open a row for what was \
         learned and what was ignored. Observer: the walk, by its own clock.</p>\n",
    );
    table(out, records);
    out.push_str("</section>\n");
    let every = super::survey(records, wirelab::report::style::Style { color: false, width: 100 });
    if !every.is_empty() {
        let _ = writeln!(
            out,
            "<section><h2>Every server of every level</h2>\n<pre>{}</pre></section>",
            escape(every.trim())
        );
    }
    let others =
        super::comparisons(records, wirelab::report::style::Style { color: false, width: 100 });
    if !others.is_empty() {
        let _ = writeln!(
            out,
            "<section><h2>Beside resolvers</h2>\n<p class=\"note\">Only what differs. A cause is \
             likely, never proved: the rule that found it stands with it.</p>\n<pre>{}</pre>\
             </section>",
            escape(others.trim())
        );
    }
    if let Some(svg) = waterfall(records) {
        let note = "One bar per query on one axis of time, from sending to reply. A dashed bar \
                    is patience that nothing rewarded: at its end the walk asks somebody else.";
        figure(out, "Where the time went", note, &svg);
    }
    if let Some((svg, omitted)) = sequence::svg(records) {
        let omitted = omitted.map(|text| format!(" {text}.")).unwrap_or_default();
        let note = format!(
            "Time runs downwards, one row per message, and rows are not to scale. One line per \
             zone, whichever of its servers was asked. ✕: no reply came; on which half of its way \
             the packet was lost, nobody at the ends can know.{}",
            escape(&omitted)
        );
        figure(out, "Who said what to whom", &note, &svg);
    }
    if let Some(svg) = graph::svg(records) {
        let note = "Boxes are zones, with the servers that were asked and the worst that each did. \
                    Solid lines are delegations, the dashed one an alias. Rest the pointer on a \
                    dot for its reply.";
        figure(out, "Who hands on to whom", note, &svg);
    }
}

fn figure(out: &mut String, title: &str, note: &str, svg: &str) {
    let _ = writeln!(
        out,
        "<section><h2>{title}</h2>\n<p class=\"note\">{note}</p>\n\
         <div class=\"scroll\"><figure class=\"wide\">{svg}</figure></div></section>"
    );
}

fn findings(out: &mut String, end: &Summary) {
    out.push_str("<section><h2>What is wrong on the way</h2>\n");
    if end.findings.is_empty() {
        out.push_str("<p>Nothing was met.</p></section>\n");
        return;
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"words\"><thead><tr><th>severity</th><th>what was \
         seen</th><th>what mends it</th></tr></thead><tbody>\n",
    );
    for finding in &end.findings {
        let (word, tone) = match finding.severity {
            Severity::Error => ("error", "bad"),
            Severity::Warning => ("warning", "doubt"),
            Severity::Notice => ("notice", "dim"),
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"{tone}\">{word}</td><td>{}</td><td>{}</td></tr>",
            escape(&tree::says(finding)),
            escape(finding.fault.remedy())
        );
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn table(out: &mut String, records: &[Record]) {
    for record in records {
        if let Event::Cache(used) = &record.event
            && !matches!(used.purpose, Purpose::Address { .. })
        {
            let text =
                format!("{}: from the cache, learned at step {}", used.meant, used.learned_at);
            let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(&text));
        }
    }
    out.push_str(
        "<div class=\"scroll\"><table class=\"words steps\"><thead><tr><th>step</th><th>zone</th>\
         <th>asked</th><th>server</th><th>over</th><th>bytes</th><th>time</th><th>what came \
         back</th></tr></thead><tbody>\n",
    );
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
            _ => rows(out, &steps, *step, 0),
        }
    }
    if !checks.is_empty() {
        out.push_str("<tr><th colspan=\"8\">asked after the answer was known</th></tr>\n");
    }
    checks.into_iter().for_each(|step| rows(out, &steps, step, 0));
    out.push_str("</tbody></table></div>\n");
}

fn rows(out: &mut String, steps: &BTreeMap<u32, Vec<&Exchange>>, step: u32, depth: usize) {
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

fn row(out: &mut String, exchange: &Exchange, first: bool, depth: usize) {
    let (class_of_row, step, zone) = if first {
        ("first", exchange.step.to_string(), exchange.zone.as_str())
    } else {
        ("", String::new(), "")
    };
    let depth = depth.min(INDENT_MAX);
    let asked = format!("{} {}", exchange.sent.name.to_ascii_lowercase(), exchange.sent.kind);
    let why = match &exchange.purpose {
        Purpose::Address { server, .. } if first => {
            format!("<br><small>for the address of {}</small>", escape(server))
        }
        Purpose::Alias { of } if first => {
            format!("<br><small>{} is an alias</small>", escape(of))
        }
        Purpose::Prime if first => {
            "<br><small>which servers has the root itself?</small>".to_owned()
        }
        _ => String::new(),
    };
    let bytes = exchange.bytes_received.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let _ = writeln!(
        out,
        "<tr class=\"{class_of_row} in{depth}\"><td>{step}</td><td>{}</td><td>{}{why}</td>\
         <td>{}<br><small>{}, {}</small></td><td>{}</td><td>{bytes}</td><td>{}</td>\
         <td>{}</td></tr>",
        escape(zone),
        escape(&asked),
        escape(&exchange.server.name),
        exchange.server.address,
        escape(&source(&exchange.server.source)),
        exchange.transport,
        escape(&took(exchange)),
        outcome(exchange),
    );
}

/// What came back, and below it what was made of it.
fn outcome(exchange: &Exchange) -> String {
    let tone = tone(ink(&exchange.class));
    let word = escape(&class(exchange));
    let head = format!("<span class=\"{tone}\">{word}</span>");
    if exchange.learned.is_empty() && exchange.dropped.is_empty() && exchange.edns.is_none() {
        return head;
    }
    let mut out = format!("<details><summary>{head}</summary><ul>");
    for learned in &exchange.learned {
        let rank = format!("{:?}", learned.rank).to_lowercase();
        let text = escape(&learned.record.to_string());
        let _ = write!(out, "<li>learned ({rank}): {text}</li>");
    }
    for dropped in &exchange.dropped {
        let text = escape(&format!("{} ({})", dropped.record, dropped.why.words()));
        let _ = write!(out, "<li class=\"doubt\">ignored: {text}</li>");
    }
    for error in exchange.edns.iter().flat_map(|edns| &edns.errors) {
        let text = escape(&format!("{} {}", error.code, error.text));
        let _ = write!(out, "<li class=\"doubt\">the server adds: error {text}</li>");
    }
    let flags = exchange.flags.join(" ");
    let _ = write!(out, "<li>flags: {flags}</li></ul></details>");
    out
}

/// Pixels of the waterfall.
const NAMES: f64 = 250.0;
const BARS: f64 = 620.0;
const ROW: f64 = 20.0;
const TOP: f64 = 26.0;

fn waterfall(records: &[Record]) -> Option<String> {
    let steps = steps(records);
    let all = || steps.values().flatten();
    let begin = |exchange: &Exchange| exchange.sent_ns.as_nanos();
    let end =
        |exchange: &Exchange| begin(exchange) + exchange.rtt_ns.unwrap_or(exchange.patience_ns);
    let first = all().map(|exchange| begin(exchange)).min()?;
    let last = all().map(|exchange| end(exchange)).max()?;
    let span = (last - first).max(1);
    let ppm = |ns: u64| u32::try_from(u128::from(ns - first) * 1_000_000 / u128::from(span));
    let x = |ns: u64| NAMES + BARS * f64::from(ppm(ns).unwrap_or(1_000_000)) / 1e6;
    let count = u16::try_from(all().count()).unwrap_or(u16::MAX);
    let bottom = TOP + ROW * f64::from(count);
    let mut svg = Svg::new(NAMES + BARS + 110.0, bottom + 8.0, "waterfall of the queries");
    for quarter in 0..=4_u64 {
        let at = first + span / 4 * quarter;
        svg.line("grid", (x(at), TOP - 6.0), (x(at), bottom));
        svg.text("tick", (x(at), TOP - 11.0), "middle", &latency(at - first));
    }
    let rows = (0..=u16::MAX).map(f64::from);
    for (row, exchange) in rows.zip(all()) {
        let y = TOP + ROW * row;
        let label = format!("{}.{} {}", exchange.step, exchange.attempt, exchange.server.name);
        let label: String = label.chars().take(34).collect();
        svg.text("server", (4.0, y + 14.0), "start", &label);
        svg.open(tone(ink(&exchange.class)));
        let (from, to) = (x(begin(exchange)), x(end(exchange)));
        let bar = if exchange.rtt_ns.is_some() { "bar" } else { "bar waiting" };
        svg.rect(bar, (from, y + 4.0), ((to - from).max(2.0), ROW - 8.0));
        svg.text("said", (to + 6.0, y + 14.0), "start", &took(exchange));
        svg.close();
    }
    Some(svg.finish())
}

fn reading(out: &mut String, result: &WalkResult) {
    out.push_str("<section><h2>How to read this</h2>\n");
    out.push_str(include_str!("reading.html"));
    let same = "The same draws in the same order; timing is the machine's, but for --sim.";
    let _ = writeln!(
        out,
        "<h2>Run it again</h2>\n<pre>{}</pre>\n<p>{same}</p></section>",
        escape(&result.command)
    );
}
