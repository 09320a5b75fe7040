//! A walk beside resolvers: only what differs, each with its likely cause.

use crate::comparison::{AskedResolver, ResolverAnswer};
use crate::event::{Event, Record};
use std::fmt::Write;
use wirelab::measure::human::{latency, plural};
use wirelab::report::style::{Ink, Style};

/// The stub resolver's library sends a datagram again after this, however fast its server was
/// before (`DEFAULT_RETRY_FLOOR` of hickory-proto 0.26).
const ASKS_AGAIN_NS: u64 = 333_000_000;

/// Explains a long time of the system's resolver: a third of a second on a path of a millisecond is
/// one unanswered datagram.
fn asked_again(opinion: &ResolverAnswer) -> &'static str {
    let system = matches!(opinion.who, AskedResolver::System { .. });
    if system && opinion.elapsed_ns >= ASKS_AGAIN_NS {
        "; it asks again after each 333 ms"
    } else {
        ""
    }
}

/// The comparisons of one walk; empty if there are none.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let mut out = String::new();
    for record in records {
        let Event::Comparison(comparison) = &record.event else { continue };
        let (opinion, differences) = (&comparison.opinion, &comparison.differences);
        let verdict = match differences.len() as u64 {
            0 => style.ink(Ink::Good, "the same"),
            found => style.ink(Ink::Doubt, &plural(found, "difference", "differences")),
        };
        let took = latency(opinion.elapsed_ns) + asked_again(opinion);
        let _ = writeln!(out, "\ncompared with {}: {verdict} ({took})", opinion.who);
        for difference in differences {
            let field = difference.field.words();
            let _ = writeln!(out, "  {field:9} walk      {}", difference.walk);
            let _ = writeln!(out, "  {:9} resolver  {}", "", difference.resolver);
            let cause = style.ink(Ink::Strong, difference.cause.words());
            let _ = writeln!(out, "  {:9} likely    {cause}; {}", "", difference.because);
        }
    }
    out
}
