//! The program's stamps beside the kernel's, and interleaved mode beside basic mode.

use super::numbers::nanos;
use crate::finding::ServerFinding;
use crate::stamps::{Spread, Stamps};
use std::fmt::Write as _;
use wirelab::measure::human::plural;
use wirelab::report::html::Html;
use wirelab::report::page::{Table, note};

/// Text about interleaved mode, and with `all` about timestamps.
pub(super) fn lines(out: &mut String, server: &ServerFinding, all: bool) {
    let Stamps { sending, reading, basic_delay, interleaved_delay } = &server.stamps;
    let name = &server.name;
    let told = server.counts.interleaved;
    if told > 0 {
        let gain = match (interleaved_delay, basic_delay) {
            (Some(with), Some(without)) => format!(
                ": least delay {} with both times of leaving, {} without",
                nanos(with.least_ns),
                nanos(without.least_ns)
            ),
            _ => String::new(),
        };
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            out,
            "  {name}: {told} of {} reported when the previous one left (RFC 9769){gain}",
            plural(server.counts.samples.into(), "reply", "replies")
        );
    }
    // Interleaved mode is asked for by who wants to know of stamps.
    if !all && told == 0 {
        return;
    }
    if let Some(found) = sending {
        let _ =
            writeln!(out, "  {name}: T1 by the kernel is {} after this program's", between(found));
    }
    if let Some(found) = reading {
        let _ =
            writeln!(out, "  {name}: T4 by the kernel is {} before this program's", between(found));
    }
}

fn between(found: &Spread) -> String {
    let Spread { count, least_ns, median_ns, most_ns } = found;
    let (least, median, most) = (nanos(*least_ns), nanos(*median_ns), nanos(*most_ns));
    format!("{median} (median of {count}; {least} to {most})")
}

/// The same on the page, as a table; nothing where the kernel stamped nothing.
pub(super) fn section(server: &ServerFinding) -> Option<Html> {
    let Stamps { sending, reading, basic_delay, interleaved_delay } = &server.stamps;
    if sending.is_none() && reading.is_none() {
        return None;
    }
    let mut table = Table::new("", ["between", "exchanges", "least", "median", "most"]);
    let rows = [
        ("T1: program about to send → kernel hands it to the network", sending),
        ("T4: kernel takes the reply in → program has read it", reading),
        ("delay in basic mode", basic_delay),
        ("delay with both times of leaving (RFC 9769)", interleaved_delay),
    ];
    for (what, found) in rows {
        let Some(Spread { count, least_ns, median_ns, most_ns }) = found else { continue };
        let [least, median, most] = [least_ns, median_ns, most_ns].map(|ns| nanos(*ns));
        let cells = [what.to_owned(), count.to_string(), least, median, most];
        table.row("", cells.map(|cell| ("", cell)));
    }
    let mut out = table.finish();
    out.push(&note(meaning(&server.stamps)));
    Some(out)
}

fn meaning(stamps: &Stamps) -> &'static str {
    match (&stamps.sending, &stamps.interleaved_delay) {
        (Some(_), Some(_)) => {
            "The estimate uses the kernel's T4, and the kernel's T1 where the server reported when \
             its reply left: the time between timestamp and wire on both hosts is then no part of \
             the delay. This host's part is measured above; the server's part shows only in the \
             difference of the delays, where queues of the path may be larger. A kernel timestamp \
             at one end alone would shift the estimate, so basic mode keeps the program's T1."
        }
        _ => {
            "The estimate uses the kernel's T4: what this program took to read the reply is no \
             part of the delay. T1 is the program's, because a server in basic mode stamps T3 \
             itself, too: both are early by what sending takes, and that cancels out. \
             --interleaved has both ends tell when their packets left."
        }
    }
}
