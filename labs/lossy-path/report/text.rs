//! The audit of a run as short text.

use crate::doctor::{Diagnosis, State};
use crate::result::{PathResult, Rate, Reason, Status, Verdict, Way};
use wirelab::cli::predict;
use wirelab::measure::Ppm;
use wirelab::measure::human::{count, latency, plural};
use wirelab::path::DropReason;
use wirelab::report::style::{Ink, Style};
use wirelab::report::table::{Cell, Column, render as columns};

/// The audit.
#[must_use]
pub fn render(result: &PathResult, style: Style) -> String {
    let ways = [("a to b", &result.a_to_b), ("b to a", &result.b_to_a)];
    let mut out = format!("\n{}\n", head(result, style));
    let mut hidden = Vec::new();
    out += &table(&ways, style, &mut hidden);
    for (name, way) in ways {
        let also = also(way);
        if !also.is_empty() {
            out += &format!("  {name}: {}\n", also.join(", "));
        }
    }
    if let Some(status) = result.server_ended {
        out += &format!("  the program on the other host {} before it was told to\n", end(status));
    }
    for caveat in &result.caveats {
        out += &format!("  {caveat}\n");
    }
    out += &verdict(result, style);
    out + &predict::table(&result.predictions)
}

fn head(result: &PathResult, style: Style) -> String {
    let name = result.program.argv.first().map_or("", String::as_str);
    let fates = result.replayed.as_ref().map_or_else(
        || format!("seed {}", result.seed),
        |recording| format!("fates of {recording}"),
    );
    let what = format!(
        "{name} on {} {} after {}; {fates}",
        result.program.on,
        end(result.program.status),
        latency(result.program.elapsed_ns)
    );
    format!("{} {what}", style.ink(Ink::Strong, "lossy-path:"))
}

fn end(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("exited with {code}"),
        Status::Killed(signal) => format!("was killed by signal {signal}"),
    }
}

fn table(ways: &[(&str, &Way); 2], style: Style, hidden: &mut Vec<&'static str>) -> String {
    let mut name = Column::left("");
    let mut frames = Column::right("frames");
    let mut lost = Column::right("lost");
    let mut all = Column::right("= share");
    let mut share = Column::left("drawn (95 %)").gives_way(2, "drawn");
    let mut asked = Column::right("asked");
    let mut rate = Column::right("Mbit/s").gives_way(1, "Mbit/s");
    let mut late = ["late p50", "p99", "max"].map(Column::right);
    for (way_name, way) in ways {
        name.push(Cell::new(*way_name));
        frames.push(Cell::new(count(way.offered)));
        lost.push(Cell::new(count(dropped(way))));
        all.push(Cell::new(lost_share(way)));
        share.push(Cell::new(interval(&way.loss)));
        asked.push(Cell::inked(asked_for(&way.loss), ink(&way.loss)));
        rate.push(Cell::new(way.delivered_bit_per_s.map_or_else(|| "–".to_owned(), mbit)));
        for (column, value) in
            late.iter_mut().zip([way.late_p50_ns, way.late_p99_ns, way.late_max_ns])
        {
            let timed = way.delivered + way.send_failed > 0;
            column.push(Cell::new(if timed { latency(value) } else { "–".to_owned() }));
        }
    }
    let [p50, p99, max] = late;
    columns(vec![name, frames, lost, all, share, asked, rate, p50, p99, max], style, hidden)
}

fn dropped(way: &Way) -> u64 {
    way.dropped.iter().map(|dropped| dropped.frames).sum()
}

fn lost_share(way: &Way) -> String {
    if way.offered == 0 {
        return "–".to_owned();
    }
    format!("{} %", percent(f64::from(way.lost_ppm) / 1e6))
}

fn mbit(bit_per_s: u64) -> String {
    let thousandths = bit_per_s / 1_000;
    if thousandths < 10_000 {
        format!("{}.{:02}", thousandths / 1_000, thousandths % 1_000 / 10)
    } else {
        count(thousandths / 1_000)
    }
}

fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    // Two digits, however small: an upper bound is never printed as zero.
    let mut digits = 2;
    let mut scaled = percent;
    while scaled > 0.0 && scaled < 0.1 && digits < 12 {
        scaled *= 10.0;
        digits += 1;
    }
    format!("{percent:.digits$}")
}

fn interval(rate: &Rate) -> String {
    let seen = rate.seen;
    if seen.trials == 0 {
        return "–".to_owned();
    }
    format!("{} % ({}–{})", percent(seen.share), percent(seen.low), percent(seen.high))
}

fn asked_for(rate: &Rate) -> String {
    let ppm = rate.asked_ppm.and_then(Ppm::new);
    ppm.map_or_else(|| "–".to_owned(), |ppm| ppm.to_string())
}

/// Doubtful if the requested value lies outside the interval: 1 of 20 does by chance.
fn ink(rate: &Rate) -> Ink {
    let asked = rate.asked_ppm.and_then(Ppm::new);
    match asked {
        Some(asked) if rate.seen.trials > 0 && !rate.seen.agrees_with(asked.fraction()) => {
            Ink::Doubt
        }
        _ => Ink::Plain,
    }
}

/// Other events, if any.
fn also(way: &Way) -> Vec<String> {
    let mut also: Vec<String> = way
        .dropped
        .iter()
        .filter(|dropped| dropped.reason != DropReason::Loss)
        .map(|dropped| format!("{} lost {}", count(dropped.frames), dropped.reason.loss()))
        .collect();
    for (rate, word) in [(&way.corrupted, "corrupted"), (&way.duplicated, "sent twice")] {
        if rate.seen.hits > 0 || rate.asked_ppm.is_some_and(|asked| asked > 0) {
            let (hits, seen, asked) = (count(rate.seen.hits), interval(rate), asked_for(rate));
            also.push(format!("{hits} {word} = {seen}, asked {asked}"));
        }
    }
    let counts = [
        (way.overtaking, "overtaking"),
        (way.marked, "marked"),
        (way.too_big_answered, "answered too big"),
        (way.on_way, "still on their way"),
        (way.kernel_dropped, "DROPPED BY THE KERNEL"),
        (way.send_failed, "NOT SENT"),
        (way.oversize, "TOO LONG FOR THE PATH"),
        (way.bad_checksum_status, "WITHOUT A CHECKSUM"),
        (way.bad_offload, "NOT TO BE CUT"),
        (way.pool_full, "waits for memory"),
        (way.not_carried, "not carried"),
        (way.beyond_recording, "BEYOND THE RECORDING"),
    ];
    let counts = counts.into_iter().filter(|(n, _)| *n > 0);
    also.extend(counts.map(|(n, word)| format!("{} {word}", count(n))));
    if let (Some(p50), Some(p99)) = (way.asked_delay_p50_ns, way.asked_delay_p99_ns)
        && p50 < p99
        && way.delivered > 0
    {
        also.push(format!(
            "held {} (p50) {} (p99), delay asked {} {}",
            latency(way.held_p50_ns),
            latency(way.held_p99_ns),
            latency(p50),
            latency(p99)
        ));
    }
    if way.queue_peak_bytes > 0 {
        also.push(format!("at most {} queued", plural(way.queue_peak_bytes, "byte", "bytes")));
    }
    also
}

fn verdict(result: &PathResult, style: Style) -> String {
    let word = |verdict: Verdict| match verdict {
        Verdict::Trusted => style.ink(Ink::Good, "trusted"),
        Verdict::NoFrames => style.ink(Ink::Doubt, "NO FRAMES"),
        Verdict::Suspect => style.ink(Ink::Doubt, "TIMING SUSPECT"),
        Verdict::Invalid => style.ink(Ink::Bad, "INVALID"),
    };
    if result.reasons.is_empty() {
        let word = word(result.verdict);
        let left = [&result.a_to_b, &result.b_to_a].iter().any(|way| way.delivered > 0);
        let timing = if left { "left in time" } else { "none has left yet" };
        return format!("  {word}: every frame met the fate that the plan gave it, and {timing}\n");
    }
    let kept = match (result.fates, result.timing) {
        (Some(Verdict::Trusted), _) => "fates true: every frame met the fate that the plan gave it",
        (Some(Verdict::Invalid), Some(Verdict::Trusted)) => "timing kept: frames left in time",
        _ => "",
    };
    let kept = if kept.is_empty() { String::new() } else { format!("  {kept}\n") };
    let line = |reason: &Reason| format!("  {}: {}\n", word(reason.verdict), reason.why);
    kept + &result.reasons.iter().map(line).collect::<String>()
}

/// The results of `doctor`, one line per step, remedies below those that failed.
#[must_use]
pub fn diagnosis(found: &Diagnosis, style: Style) -> String {
    let mut out = format!("{}\n", found.kernel);
    for rung in &found.rungs {
        let (ink, word) = match rung.state {
            State::Ok => (Ink::Good, "ok"),
            State::Limited => (Ink::Doubt, "limited"),
            State::Failed => (Ink::Bad, "FAILED"),
            State::NotTried => (Ink::Dim, "–"),
        };
        let pad = " ".repeat(9_usize.saturating_sub(word.chars().count()));
        out += &format!("  {:<20} {}{pad}{}\n", rung.name, style.ink(ink, word), rung.seen);
        if let Some(why) = &rung.why {
            out += &format!("  {:<20} why: {why}\n", "");
        }
        for way in &rung.remedies {
            out += &format!("  {:<20} try: {way}\n", "");
        }
    }
    let sum = if found.works() {
        "any program can be run through a path here"
    } else {
        "no program can be run through a path here"
    };
    out + sum + "\n"
}
