//! `--waterfall`: one bar per query on one axis of time.

use super::words::{ink, took};
use super::{steps, summary};
use crate::event::Record;
use std::fmt::Write;
use wirelab::measure::human::latency;
use wirelab::report::style::Style;

/// Columns before the bars: step, attempt, server, time.
const LEFT: usize = 42;
/// Bars are at least this wide, whatever the terminal.
const BAR_MIN: usize = 20;

/// The picture of one walk.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let mut out = String::new();
    if summary(records).is_none() {
        return out;
    }
    let steps = steps(records);
    let all = || steps.values().flatten();
    let end_of = |exchange: &&&crate::event::Exchange| {
        exchange.sent_ns.as_nanos() + exchange.rtt_ns.unwrap_or(exchange.patience_ns)
    };
    let Some(first) = all().map(|exchange| exchange.sent_ns.as_nanos()).min() else { return out };
    let last = all().map(|exchange| end_of(&exchange)).max().unwrap_or(first);
    let span = (last - first).max(1);
    let columns = style.width.saturating_sub(LEFT).max(BAR_MIN);
    let at = |nanos: u64| {
        let place = u128::from(nanos - first) * columns as u128 / u128::from(span);
        usize::try_from(place).expect("invariant: at most the number of columns")
    };
    let _ = writeln!(out, "{:LEFT$}0{:>2$}", "", latency(span), columns - 1);
    for exchange in all() {
        let from = at(exchange.sent_ns.as_nanos());
        let to = at(end_of(&exchange)).max(from + 1);
        // A bar of dots is a wait without a reply.
        let mark = if exchange.rtt_ns.is_some() { "=" } else { "." };
        let name: String = exchange.server.name.chars().take(22).collect();
        let bar = style.ink(ink(&exchange.class), &mark.repeat(to - from));
        let (step, attempt) = (exchange.step, exchange.attempt);
        let gap = " ".repeat(from);
        let took = took(exchange);
        let _ = writeln!(out, "{step:>3}.{attempt:<2} {name:22} {took:>10}  {gap}{bar}");
    }
    out
}
