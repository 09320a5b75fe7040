//! Order by wall clocks against order by cause, as text.

use crate::causality::{Carrier, Direction, Host, Order};
use std::fmt::Write as _;
use wirelab::measure::human;
use wirelab::measure::human::{count, observed, percent, plural};
use wirelab::report::style::{Ink, Style};
use wirelab::report::table::{Cell, Column, render as columns};

/// The JSON schema of an order.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("order.schema.json")
}

/// Messages shown.
const SHOWN: usize = 8;

const fn name(host: Host) -> &'static str {
    match host {
        Host::A => "A",
        Host::B => "B",
    }
}

/// The whole report.
#[must_use]
pub fn render(order: &Order, style: Style) -> String {
    let total = order.messages.len() as u64;
    let wrong = order.messages.iter().filter(|message| message.contradicts()).count();
    let offset = order.scenario.truth.offset_ns;
    let way = if offset >= 0 { "ahead of" } else { "behind" };
    let headline = format!(
        "{wrong} of {}, if one believes the wall clocks: B is {} {way} A",
        plural(
            total,
            "message was received before it was sent",
            "messages were received before they were sent"
        ),
        human::latency(offset.unsigned_abs())
    );
    let mut out = style.ink(Ink::Strong, &headline) + "\n\n";
    if order.carrier == Carrier::Path {
        out.push_str(
            "  real packets through the emulated path; receipts stamped by the kernel where it \
             does\n",
        );
    }
    table(&mut out, order, style);
    out.push('\n');
    for found in &order.directions {
        direction(&mut out, order, found);
    }
    let _ = writeln!(
        out,
        "  Lamport clocks: {} of {} contradict, by construction none: a receipt counts on from the \
         number that the message carries",
        order.lamport_contradicted,
        count(total)
    );
    consequences(&mut out, order);
    let _ = writeln!(
        out,
        "  what they cannot say: how much time passed, and which of two unrelated events was first"
    );
    out
}

fn consequences(out: &mut String, order: &Order) {
    let found = &order.consequences;
    let _ = writeln!(
        out,
        "  vector clocks: {} of {} pairs of sends are concurrent, neither host knew of the \
         other's; Lamport clocks order {} of these all the same",
        count(found.concurrent),
        count(found.pairs),
        count(found.ordered_by_lamport),
    );
    let _ = writeln!(
        out,
        "  last write wins: {} lost, written on receipt with an earlier time than the value that \
         was read",
        plural(found.updates_lost, "update is", "updates are"),
    );
    let _ = writeln!(
        out,
        "  a task of {:.3} ms on B, whose clock is set right meanwhile: {:+.3} ms by the clock of \
         the day",
        ms(found.set_back.monotonic_ns),
        ms(found.set_back.wall_ns),
    );
    let Some((offset, wait)) = found.offset.zip(found.commit_wait_ns) else { return };
    let _ = writeln!(
        out,
        "  the interval decides: by the messages alone B is between {:+.3} and {:+.3} ms ahead; \
         so {} of {} are certainly sent before they are received, {} overlap; a commit wait of \
         {:.3} ms leaves {} contradictions",
        ms(offset.low_ns),
        ms(offset.high_ns),
        count(found.certain),
        count(order.messages.len() as u64),
        count(found.overlapping),
        ms(wait),
        found.contradicted_after_wait,
    );
}

fn direction(out: &mut String, order: &Order, found: &Direction) {
    let (to, way) = match found.from {
        Host::A => ("B", &order.scenario.out),
        Host::B => ("A", &order.scenario.back),
    };
    let _ = writeln!(
        out,
        "  from {} to {to}: {} of {} contradict, {}; {} is the chance that the way ({} and a queue \
         of {} on average) takes less than the sender's clock is ahead",
        name(found.from),
        count(found.contradicted.hits),
        count(found.contradicted.trials),
        observed(&found.contradicted),
        percent(found.expected.fraction()),
        human::span(way.delay),
        human::span(way.jitter),
    );
}

fn table(out: &mut String, order: &Order, style: Style) {
    let mut table = vec![
        Column::right("message"),
        Column::left("from"),
        Column::right("sent, its clock"),
        Column::right("received, its clock"),
        Column::right("took, by both"),
        Column::right("Lamport"),
    ];
    let first = order.messages.first().map_or(0, |message| message.sent.as_nanos());
    let since = |nanos: i64| format!("{:+.3} ms", ms(nanos.saturating_sub(first)));
    for message in order.messages.iter().take(SHOWN) {
        let took = message.received.minus(message.sent);
        let ink = if message.contradicts() { Ink::Bad } else { Ink::Plain };
        let cells = [
            Cell::new(message.number.to_string()),
            Cell::new(name(message.from)),
            Cell::new(since(message.sent.as_nanos())),
            Cell::new(since(message.received.as_nanos())),
            Cell::inked(format!("{:+.3} ms", ms(took)), ink),
            Cell::new(format!("{} < {}", message.lamport_sent, message.lamport_received)),
        ];
        for (column, cell) in table.iter_mut().zip(cells) {
            column.push(cell);
        }
    }
    out.push_str(&columns(table, style, &mut Vec::new()));
}

#[expect(clippy::cast_precision_loss, reason = "three decimals of a millisecond are shown")]
fn ms(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}
