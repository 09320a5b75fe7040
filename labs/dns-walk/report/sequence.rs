//! The sequence diagram: queries and replies between walk and zones, in order, lost ones included.

use super::words::{class, ink, took};
use crate::event::{Class, Event, Exchange, Purpose, Record};
use std::fmt::Write;
use wirelab::measure::human::{latency, plural};
use wirelab::report::html::Html;
use wirelab::report::style::{Ink, Style};
use wirelab::report::svg::{Svg, number};

/// Messages of a diagram, at most: longer ones are a list, not a picture.
const MESSAGES_MAX: usize = 120;
/// The first lifeline.
const WALK: usize = 0;

/// One arrow, or the end of a wait.
struct Message {
    t_ns: u64,
    /// The lifeline at the other end of it.
    zone: usize,
    kind: Kind,
    text: String,
    ink: Ink,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From the walk to a server of the zone.
    Query,
    /// Back.
    Reply,
    /// No reply.
    Silence,
}

/// The diagram as data.
struct Diagram {
    lifelines: Vec<String>,
    messages: Vec<Message>,
    left_out: usize,
    checks: u64,
}

fn diagram(records: &[Record]) -> Diagram {
    let mut all: Vec<&Exchange> = Vec::new();
    let mut checks = 0;
    let mut lifelines = vec!["walk".to_owned()];
    let mut messages = Vec::new();
    for record in records {
        match &record.event {
            Event::Exchange(exchange) if matches!(exchange.purpose, Purpose::Check { .. }) => {
                checks += 1;
            }
            Event::Exchange(exchange) => all.push(exchange),
            // A sub-walk that hands its result to its parent sends no message.
            Event::Cache(used) if !matches!(used.purpose, Purpose::Address { .. }) => {
                let text = format!(
                    "{}: learned at step {}, {} s left",
                    used.meant, used.learned_at, used.ttl_left_s
                );
                let zone = lifeline(&mut lifelines, "cache");
                let t_ns = record.t_ns.as_nanos();
                messages.push(Message { t_ns, zone, kind: Kind::Reply, text, ink: Ink::Dim });
            }
            _ => {}
        }
    }
    all.sort_by_key(|exchange| (exchange.sent_ns, exchange.step, exchange.attempt));
    for exchange in all {
        let zone = lifeline(&mut lifelines, &exchange.zone);
        messages.extend(both_ways(exchange, zone));
    }
    messages.sort_by_key(|message| (message.t_ns, message.kind == Kind::Query));
    let left_out = messages.len().saturating_sub(MESSAGES_MAX);
    messages.truncate(MESSAGES_MAX);
    Diagram { lifelines, messages, left_out, checks }
}

fn both_ways(exchange: &Exchange, zone: usize) -> [Message; 2] {
    let sent = exchange.sent_ns.as_nanos();
    let name = exchange.sent.name.to_ascii_lowercase();
    let mut text = format!(
        "{}.{} {name} {}? to {}, {}",
        exchange.step,
        exchange.attempt,
        exchange.sent.kind,
        exchange.server.name,
        exchange.transport
    );
    if let Purpose::Address { server, .. } = &exchange.purpose {
        let _ = write!(text, " (for the address of {server})");
    }
    if exchange.purpose == Purpose::Prime {
        text += " (priming)";
    }
    let query = Message { t_ns: sent, zone, kind: Kind::Query, text, ink: Ink::Plain };
    let answered = exchange.rtt_ns.is_some() && exchange.class != Class::Overtaken;
    let after = exchange.rtt_ns.unwrap_or(exchange.patience_ns);
    let text = match exchange.rtt_ns {
        Some(_) => format!("{}, {}", class(exchange), took(exchange)),
        None => class(exchange),
    };
    let kind = if answered { Kind::Reply } else { Kind::Silence };
    [query, Message { t_ns: sent + after, zone, kind, text, ink: ink(&exchange.class) }]
}

/// The place of a lifeline, made where it is new.
fn lifeline(lifelines: &mut Vec<String>, name: &str) -> usize {
    if let Some(at) = lifelines.iter().position(|known| known == name) {
        return at;
    }
    lifelines.push(name.to_owned());
    lifelines.len() - 1
}

impl Diagram {
    /// Parts omitted from the diagram, in words.
    fn omissions(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.checks > 0 {
            parts.push(format!(
                "{} of the check after the answer",
                plural(self.checks, "query", "queries")
            ));
        }
        if self.left_out > 0 {
            parts.push(plural(self.left_out as u64, "further message", "further messages"));
        }
        (!parts.is_empty()).then(|| format!("not drawn: {}", parts.join(", ")))
    }
}

/// Columns between two lifelines of the text.
const STEP: usize = 12;
/// Columns for the time.
const TIME: usize = 10;

/// `--sequence`: the diagram as text, what each arrow means beside it.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let diagram = diagram(records);
    let mut out = String::new();
    let Some(first) = diagram.messages.iter().map(|message| message.t_ns).min() else {
        return out;
    };
    let count = diagram.lifelines.len();
    let mut heads = " ".repeat(TIME);
    for name in &diagram.lifelines {
        let short: String = name.chars().take(STEP - 1).collect();
        let _ = write!(heads, "{short:STEP$}");
    }
    let _ = writeln!(out, "{}", style.ink(Ink::Strong, heads.trim_end()));
    for message in &diagram.messages {
        let time = latency(message.t_ns - first);
        let row = arrow(count, message);
        let text = style.ink(message.ink, &message.text);
        let _ = writeln!(out, "{:>width$}  {row}  {text}", time, width = TIME - 2);
    }
    if let Some(text) = diagram.omissions() {
        let _ = writeln!(out, "{}", style.ink(Ink::Dim, &text));
    }
    out
}

/// Lifelines with one arrow across them.
fn arrow(count: usize, message: &Message) -> String {
    let place = |lifeline: usize| lifeline * STEP;
    let mut row = vec![' '; place(count - 1) + 1];
    for lifeline in 0..count {
        row[place(lifeline)] = '|';
    }
    let (from, to) = (place(WALK) + 1, place(message.zone));
    let line = if message.kind == Kind::Silence { ' ' } else { '-' };
    for (at, cell) in row.iter_mut().enumerate().take(to).skip(from) {
        if *cell != '|' || line == '-' {
            *cell = if at % STEP == 0 && line == '-' { '+' } else { line };
        }
    }
    match message.kind {
        Kind::Query => row[to - 1] = '>',
        Kind::Reply => row[from] = '<',
        Kind::Silence => row[from + 1] = 'x',
    }
    row.into_iter().collect()
}

/// Pixels of the drawing.
const LEFT: f64 = 86.0;
const TOP: f64 = 46.0;
const ROW: f64 = 30.0;
const GAP: f64 = 150.0;
/// Space right of the last lifeline for the text of the last arrow.
const RIGHT: f64 = 330.0;

/// The diagram as one SVG element, and what it leaves out.
pub(super) fn svg(records: &[Record]) -> Option<(Html, Option<String>)> {
    let diagram = diagram(records);
    let first = diagram.messages.iter().map(|message| message.t_ns).min()?;
    let x = |lifeline: usize| LEFT + GAP * number(lifeline);
    let bottom = TOP + ROW * (number(diagram.messages.len()) + 0.7);
    let width = x(diagram.lifelines.len() - 1) + RIGHT;
    let mut svg = Svg::new(width, bottom + 6.0, "sequence diagram of the walk");
    for (at, name) in diagram.lifelines.iter().enumerate() {
        svg.text("strong", (x(at), TOP - 20.0), "middle", name);
        svg.line("grid", (x(at), TOP - 12.0), (x(at), bottom));
    }
    for (row, message) in diagram.messages.iter().enumerate() {
        let y = TOP + ROW * (number(row) + 0.8);
        let (near, far) = (x(WALK), x(message.zone));
        let time = latency(message.t_ns - first);
        svg.text("tick", (LEFT - 12.0, y + 4.0), "end", &time);
        svg.open(tone(message.ink));
        match message.kind {
            Kind::Query => {
                svg.line("thin", (near, y), (far, y));
                svg.head(near, (far - 1.0, y));
            }
            Kind::Reply => {
                svg.line("thin dashed", (near, y), (far, y));
                svg.head(far, (near + 1.0, y));
            }
            Kind::Silence => {
                let (left, right) = (near + 6.0, near + 16.0);
                svg.line("head", (left, y - 5.0), (right, y + 5.0));
                svg.line("head", (left, y + 5.0), (right, y - 5.0));
            }
        }
        let above = if message.kind == Kind::Silence { y + 4.0 } else { y - 5.0 };
        svg.text("halo", (near + 22.0, above), "start", &message.text);
        svg.close();
    }
    Some((svg.finish(), diagram.omissions()))
}

/// The class of the style sheet for an ink.
pub(super) const fn tone(ink: Ink) -> &'static str {
    match ink {
        Ink::Good => "good",
        Ink::Bad => "bad",
        Ink::Doubt => "doubt",
        Ink::Dim => "dim",
        Ink::Plain | Ink::Strong => "plain",
    }
}
