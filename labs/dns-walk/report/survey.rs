//! `--all`: every server of every level, the share of each outcome, the cold best path.

use super::words::{class_words, ink};
use crate::event::Record;
use crate::survey::{Asked, Level, best_path_ns, levels, shares};
use std::fmt::Write;
use wirelab::measure::human::latency;
use wirelab::report::style::{Ink, Style};

/// The survey of one walk; empty without one.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let mut out = String::new();
    let levels = levels(records);
    let words = |server: &Asked| class_words(&server.class, None);
    let mut rest = levels.as_slice();
    while let Some(first) = rest.first() {
        let end = rest.iter().position(|level| level.question != first.question);
        let (of_name, others) = rest.split_at(end.unwrap_or(rest.len()));
        rest = others;
        let _ = writeln!(out, "\n{}", style.ink(Ink::Strong, &first.question));
        for level in of_name {
            for (at, server) in level.servers.iter().enumerate() {
                let zone = if at == 0 { level.zone.as_str() } else { "" };
                let took = server.rtt_ns.map_or_else(|| "-".to_owned(), latency);
                let said = style.ink(ink(&server.class), &words(server));
                let (name, address) = (&server.name, server.address.to_string());
                let _ = writeln!(out, "  {zone:16} {name:24} {address:22} {took:>9}  {said}");
            }
        }
        let of_name: Vec<&Level> = of_name.iter().collect();
        for share in shares(&of_name, words) {
            let (part, time) = (share.share.to_string(), latency(share.time_ns));
            let _ = writeln!(out, "  {part:>9}  {time:>9}  {}", share.what);
        }
    }
    if let Some(best) = best_path_ns(&levels) {
        let text = format!("cold best path  {}", latency(best));
        let _ = writeln!(out, "\n{}", style.ink(Ink::Strong, &text));
    }
    if !levels.is_empty() {
        let note =
            "shares: the first server of each zone is picked by lot, and no second one is asked";
        let _ = writeln!(out, "{}", style.ink(Ink::Dim, note));
    }
    out
}
