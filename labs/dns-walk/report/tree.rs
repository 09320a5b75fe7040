//! The default view: a verdict of three lines, then one line per question, attempts below it.

use super::words::{answer, class, ink, took};
use super::{steps, summary};
use crate::event::{CacheUse, Class, Dropped, Event, Exchange, Purpose, Record, Summary};
use crate::finding::{Finding, Severity};
use crate::limits::{Spent, counted};
use crate::outcome::Outcome;
use crate::trust::DropReason;
use std::collections::BTreeMap;
use std::fmt::Write;
use wirelab::measure::human::{latency, plural};
use wirelab::report::style::{Ink, Style};

/// Widest question and server that keep the columns together; longer ones push them.
const COLUMN_MAX: usize = 32;

/// The whole view of one walk.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let mut out = String::new();
    let Some(end) = summary(records) else { return out };
    verdict(&mut out, end, style);
    let steps = steps(records);
    let view = View { steps: &steps, widths: widths(&steps), style };
    out.push('\n');
    locals(&mut out, records, style);
    caches(&mut out, records, style);
    let mut checks = Vec::new();
    for (step, attempts) in &steps {
        match &attempts[0].purpose {
            Purpose::Check { .. } => checks.push(*step),
            Purpose::Address { .. } if view.is_below(attempts[0]) => {}
            _ => view.step(&mut out, *step, 0),
        }
    }
    if !checks.is_empty() {
        out.push_str("\nasked after the answer was known (--check)\n");
        for step in checks {
            view.step(&mut out, step, 0);
        }
    }
    strays(&mut out, records, end, style);
    findings(&mut out, end, style);
    limits(&mut out, end, style);
    out
}

/// The three lines of the verdict, then queries and time.
pub(super) fn verdict(out: &mut String, end: &Summary, style: Style) {
    let good = end.outcome == Outcome::Answer;
    let first = style.ink(if good { Ink::Good } else { Ink::Bad }, &answer(end));
    let by = end.aliases.iter().map(|alias| alias.data.as_str()).collect::<Vec<_>>();
    let by = if by.is_empty() { String::new() } else { format!(", by way of {}", by.join(", ")) };
    let _ = writeln!(out, "{first}{by}");
    let _ = writeln!(out, "security  {}", super::words::security(end));
    let number = |severity| {
        let of = end.findings.iter().filter(|finding| finding.severity == severity);
        counted(of.count())
    };
    let problems = [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Notice, "notice", "notices"),
    ];
    let told: Vec<String> = problems
        .iter()
        .filter(|(severity, _, _)| number(*severity) > 0)
        .map(|(severity, one, many)| plural(number(*severity), one, many))
        .collect();
    let problems = if told.is_empty() { "none met".to_owned() } else { told.join(", ") };
    let _ = writeln!(out, "problems  {problems}");
    if let Some(skipped) = &end.skipped {
        let _ = writeln!(out, "skipped   {skipped}");
    }
    let queries = format!(
        "queries   {} of {} allowed, {}, {} without reply, {} from cache",
        end.queries,
        end.budget,
        plural(end.retries.into(), "retry", "retries"),
        end.unanswered,
        end.cache_hits,
    );
    let _ = writeln!(out, "{}", style.ink(Ink::Dim, &queries));
    let time = format!(
        "time      {}, {} of it for the replies that led to the answer",
        latency(end.elapsed_ns),
        latency(end.best_path_ns),
    );
    let _ = writeln!(out, "{}", style.ink(Ink::Dim, &time));
}

/// Answers that need no query, with the document that says so.
fn locals(out: &mut String, records: &[Record], style: Style) {
    for record in records {
        let Event::Local(local) = &record.event else { continue };
        let line = format!(
            "   kept    {}: no server was asked; {} is for {} [{}]",
            local.meant, local.domain, local.why, local.document
        );
        let _ = writeln!(out, "{}", style.ink(Ink::Doubt, &line));
    }
}

/// Limits that were reached, or half used; `--explain` has all.
fn limits(out: &mut String, end: &Summary, style: Style) {
    let near = |of: &&Spent| of.refused || (of.spent > 0 && of.spent * 2 >= of.allowed);
    let lines: Vec<String> = end.spent.iter().filter(near).map(Spent::words).collect();
    if lines.is_empty() {
        return;
    }
    out.push('\n');
    let _ = writeln!(out, "{}", style.ink(Ink::Dim, &format!("limits   {}", lines.join("; "))));
}

/// Answers from the cache, before queries.
fn caches(out: &mut String, records: &[Record], style: Style) {
    for record in records {
        let Event::Cache(CacheUse { meant, learned_at, ttl_left_s, purpose, .. }) = &record.event
        else {
            continue;
        };
        // A sub-walk's own answer, handed to its parent, is shown already.
        if matches!(purpose, Purpose::Address { .. }) {
            continue;
        }
        let line = format!("   cached  {meant}: learned at step {learned_at}, {ttl_left_s} s left");
        let _ = writeln!(out, "{}", style.ink(Ink::Dim, &line));
    }
}

struct View<'a> {
    steps: &'a BTreeMap<u32, Vec<&'a Exchange>>,
    widths: Widths,
    style: Style,
}

#[derive(Clone, Copy)]
struct Widths {
    zone: usize,
    question: usize,
    server: usize,
    address: usize,
}

fn widths(steps: &BTreeMap<u32, Vec<&Exchange>>) -> Widths {
    let widest = |text: fn(&Exchange) -> String| {
        let all = steps.values().flatten().map(|exchange| text(exchange).chars().count());
        all.max().unwrap_or(0).min(COLUMN_MAX)
    };
    Widths {
        zone: widest(|exchange| exchange.zone.clone()),
        question: widest(question),
        server: widest(|exchange| exchange.server.name.clone()),
        address: widest(|exchange| exchange.server.address.to_string()),
    }
}

/// The question as sent, without its case bits.
fn question(exchange: &Exchange) -> String {
    format!("{} {}", exchange.sent.name.to_ascii_lowercase(), exchange.sent.kind)
}

/// Whether two attempts at one server are one line: no reply to either.
fn same_silence(one: &Exchange, next: &Exchange) -> bool {
    let silent = one.class == Class::NoReply && next.class == Class::NoReply;
    silent && one.server.address == next.server.address && one.transport == next.transport
}

impl View<'_> {
    /// Whether a sub-walk is shown below a step.
    fn is_below(&self, exchange: &Exchange) -> bool {
        exchange.parent.is_some_and(|parent| self.steps.contains_key(&parent))
    }

    fn step(&self, out: &mut String, step: u32, depth: usize) {
        let Some(attempts) = self.steps.get(&step) else { return };
        let indent = "   | ".repeat(depth);
        if attempts[0].purpose == Purpose::Prime {
            let line = "     beside the walk: which servers has the root itself? (priming)";
            let _ = writeln!(out, "{}", self.style.ink(Ink::Dim, line));
        }
        if let Purpose::Alias { of } = &attempts[0].purpose
            && self.begins(step, attempts[0])
        {
            let line = format!("{indent}     {of} is an alias: on with {}", attempts[0].meant);
            let _ = writeln!(out, "{}", self.style.ink(Ink::Dim, &line));
        }
        let mut below: Vec<u32> = self
            .steps
            .iter()
            .filter(|(_, other)| {
                other[0].parent == Some(step) && matches!(other[0].purpose, Purpose::Address { .. })
            })
            .map(|(number, _)| *number)
            .collect();
        let first_below = below.first().and_then(|n| self.steps.get(n)).map(|a| a[0].sent_ns);
        let mut first = true;
        for silent in attempts.chunk_by(|one, next| same_silence(one, next)) {
            let exchange = silent[0];
            // A sub-walk is shown before the attempts that follow it.
            if first_below.is_some_and(|began| exchange.sent_ns > began) {
                self.sub_walks(out, &std::mem::take(&mut below), depth);
            }
            self.attempt(out, exchange, &indent, (first, silent.len()));
            first = false;
        }
        self.sub_walks(out, &below, depth);
    }

    /// Whether this is the first step after an alias.
    fn begins(&self, step: u32, exchange: &Exchange) -> bool {
        !self.steps.range(..step).any(|(_, earlier)| {
            earlier[0].purpose == exchange.purpose && earlier[0].parent == exchange.parent
        })
    }

    fn sub_walks(&self, out: &mut String, below: &[u32], depth: usize) {
        let mut last = None;
        for step in below {
            let Some(first) = self.steps.get(step).map(|attempts| attempts[0]) else { continue };
            if let Purpose::Address { server, zone } = &first.purpose
                && last != Some(server)
            {
                last = Some(server);
                let indent = "   | ".repeat(depth + 1);
                let line = format!("{indent}no address of {server} is known, a server of {zone}:");
                let _ = writeln!(out, "{}", self.style.ink(Ink::Dim, &line));
            }
            self.step(out, *step, depth + 1);
        }
    }

    fn attempt(
        &self,
        out: &mut String,
        exchange: &Exchange,
        indent: &str,
        (first, times): (bool, usize),
    ) {
        let Widths { zone, question: asked, server, address } = self.widths;
        let (step, at, what) = if first {
            (exchange.step.to_string(), exchange.zone.clone(), question(exchange))
        } else {
            Default::default()
        };
        let bytes = exchange.bytes_received.map(|bytes| format!("{bytes} B"));
        let bytes = bytes.unwrap_or_else(|| "-".to_owned());
        let left = format!(
            "{indent}{step:>3}  {at:zone$}  {what:asked$}  {name:server$}  {to:address$}  \
             {via} {bytes:>7}  {took:>8}",
            name = exchange.server.name,
            to = exchange.server.address.to_string(),
            via = exchange.transport,
            took = took(exchange),
        );
        let times = if times > 1 { format!(", {times} times") } else { String::new() };
        let right = self.style.ink(ink(&exchange.class), &(class(exchange) + &times));
        let _ = writeln!(out, "{left}  {right}");
        let pad = " ".repeat(indent.chars().count() + 5);
        // Most servers name themselves beside each answer.
        let unusual = |dropped: &&Dropped| dropped.why != DropReason::Unsolicited;
        for dropped in exchange.dropped.iter().filter(unusual) {
            let line = format!("{pad}ignored: {} ({})", dropped.record, dropped.why.words());
            let _ = writeln!(out, "{}", self.style.ink(Ink::Doubt, &line));
        }
        for error in exchange.edns.iter().flat_map(|edns| &edns.errors) {
            let line = format!("{pad}the server adds: error {} {}", error.code, error.text);
            let _ = writeln!(out, "{}", self.style.ink(Ink::Doubt, &line));
        }
    }
}

fn strays(out: &mut String, records: &[Record], end: &Summary, style: Style) {
    let mut described = 0;
    for record in records {
        let Event::Stray(stray) = &record.event else { continue };
        described += 1;
        let step = stray.step.map_or(String::new(), |step| format!(" at step {step}"));
        let line = format!(
            "     stray{step}: {} B from {}, {}",
            stray.bytes,
            stray.from,
            stray.why.words()
        );
        let _ = writeln!(out, "{}", style.ink(Ink::Bad, &line));
    }
    if end.strays > described {
        let _ = writeln!(out, "     and {} more strays", end.strays - described);
    }
}

fn findings(out: &mut String, end: &Summary, style: Style) {
    for (at, finding) in end.findings.iter().enumerate() {
        if at == 0 {
            out.push('\n');
        }
        let (word, ink) = match finding.severity {
            Severity::Error => ("error  ", Ink::Bad),
            Severity::Warning => ("warning", Ink::Doubt),
            Severity::Notice => ("notice ", Ink::Dim),
        };
        let _ = writeln!(out, "{}  {}", style.ink(ink, word), says(finding));
        let tags = finding.tags.join(", ");
        let tags = if tags.is_empty() { tags } else { format!(" [{tags}]") };
        let remedy = format!("{}{tags}", finding.fault.remedy());
        let _ = writeln!(out, "         {}", style.ink(Ink::Dim, &remedy));
    }
}

/// `igbank.com.: ns2.igbank.com. 127.53.2.2:5300 does not reply`.
pub(super) fn says(finding: &Finding) -> String {
    let server = match (&finding.server, finding.address) {
        (Some(name), Some(address)) => format!(" {name} {address}"),
        _ => String::new(),
    };
    let step = if finding.step > 0 { format!(" (step {})", finding.step) } else { String::new() };
    format!("{}:{server} {}{step}", finding.zone, finding.fault.words())
}
