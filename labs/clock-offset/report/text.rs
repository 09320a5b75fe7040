//! A finding about a clock as text: one line in words first, then the evidence.

use super::numbers::{Round, between, digits, limit, nanos, ppm, seconds, signed};
use crate::bound::Interval;
use crate::change::Change;
use crate::client::{Ended, NOTES_MAX};
use crate::drift::DriftLimit;
use crate::finding::{
    Checked, Excluded, Finding, Gathered, Live, Note, ServerFinding, Together, Verdict, View,
};
use crate::host_clocks::HostClocks;
use crate::hull::ConstantDrift;
use crate::sample::{Sample, StampedBy, TimePair};
use crate::select::Agreement;
use crate::timestamp::saturated;
use crate::votes::Common;
use wirelab::measure::human;
use wirelab::report::style::{Ink, Style};
use wirelab::report::table::{Cell, Column, render as columns};

/// The JSON schema of a finding.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("result.schema.json")
}

/// Refusals shown unless all are asked for.
const NOTES_SHOWN: usize = 8;

/// The whole report; `all` shows every estimator and every refusal.
#[must_use]
pub fn render(finding: &Finding, style: Style, all: bool) -> String {
    let mut out = style.ink(Ink::Strong, &headline(finding));
    out.push('\n');
    if let Some(line) = conditions(finding) {
        out.push_str(&format!("  {line}\n"));
    }
    for line in doubts(finding) {
        out.push_str(&format!("  {}\n", style.ink(Ink::Doubt, &line)));
    }
    if let Some(checked) = &finding.checked {
        let certain = finding.verdict != Verdict::Contradiction;
        out.push_str(&against_truth(checked, certain, style));
    }
    out.push('\n');
    servers(&mut out, finding, style);
    if let Some(clocks) = &finding.host_clocks {
        let moved = clocks.slew_low_ppt != 0 || clocks.slew_high_ppt != 0;
        if moved || !clocks.steps.is_empty() || !clocks.sleeps.is_empty() {
            out.push_str(&format!("  {}\n", host_words(clocks)));
        }
    }
    for server in &finding.servers {
        authenticated(&mut out, server);
        crate::report::stamps::lines(&mut out, server, all);
        out.push_str(&excluded(server));
        drift(&mut out, server, finding.view.drift_limit);
        if all || finding.checked.is_some() {
            if finding.servers.len() > 1 {
                out.push_str(&format!("\n{}:", server.name));
            }
            estimators(&mut out, server, finding.checked.as_ref(), style);
        }
        if all {
            stability(&mut out, server);
        }
        notes(&mut out, server, all);
    }
    out
}

/// Which clock is behind, in words: a sign alone has been read the wrong way round for years.
#[must_use]
pub fn headline(finding: &Finding) -> String {
    let Some(together) = &finding.together else {
        return match &finding.agreement {
            Agreement::CannotTell { agree, of } => format!(
                "cannot tell which server is right: no offset is possible for more than {agree} of \
                 {of}"
            ),
            _ => "no reply that could be believed: nothing is known of this clock".to_owned(),
        };
    };
    let Together { estimate_ns, spread_ns, asymmetry_ns, interval, .. } = together;
    if finding.verdict == Verdict::Contradiction {
        return format!(
            "the samples contradict each other, and no offset is certain: a clock was set, or the \
             server lies. If it was set: best estimate since then {} s, in [{}, {}] s",
            seconds(*estimate_ns, 6, Round::Nearest),
            seconds(interval.low_ns, 6, Round::Down),
            seconds(interval.high_ns, 6, Round::Up),
        );
    }
    let size = human::latency(estimate_ns.unsigned_abs());
    let way = if *estimate_ns >= 0 { "slow" } else { "fast" };
    let words = if interval.contains(0) {
        format!("this clock may be right, and is likely {size} {way}")
    } else {
        format!("this clock is {size} {way}")
    };
    let noise = spread_ns.map_or_else(String::new, |ns| format!(" ± {} noise,", nanos(ns)));
    let asymmetry = nanos(*asymmetry_ns);
    let digits = digits(interval.width_ns());
    format!(
        "{words}: best estimate {} s{noise} ± {asymmetry} asymmetry; must lie in [{}, {}] s",
        seconds(*estimate_ns, 9.min(digits + 1), Round::Nearest),
        seconds(interval.low_ns, digits, Round::Down),
        seconds(interval.high_ns, digits, Round::Up),
    )
}

/// Assumptions of the interval; empty if no offset is certain.
pub(super) fn conditions(finding: &Finding) -> Option<String> {
    let together = finding.together.filter(|_| finding.verdict != Verdict::Contradiction)?;
    let rates = limit(finding.view.drift_limit);
    let clocks = format!("while neither clock was set and their rates differ by at most {rates}");
    let claim = (together.utc.width_ns() - together.interval.width_ns()) / 2;
    let heard = finding.servers.iter().filter(|server| server.bound.is_some()).count();
    Some(if heard > 1 {
        format!("holds if most servers are as near to UTC as they claim, {clocks}")
    } else {
        format!(
            "holds whatever the path did, {clocks}; to UTC ± {} more by the server's own claim",
            nanos(claim)
        )
    })
}

/// Caveats.
pub(super) fn doubts(finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    match finding.verdict {
        Verdict::TooWide => lines.push(format!(
            "the interval is wider than{}, which was asked for",
            finding.view.within_ns.map_or_else(String::new, |ns| format!(" ± {}", nanos(ns)))
        )),
        Verdict::Disagreement => {
            let heard = finding.servers.iter().filter(|server| server.bound.is_some()).count();
            let more = if heard < 3 { "ask a third" } else { "ask more servers" };
            let wrong = "at least one server is wrong, or has moved, and nothing here says which";
            lines.push(format!("{wrong}: {more}"));
        }
        _ => {}
    }
    lines.extend(finding.servers.iter().flat_map(|server| doubts_of(server, finding)));
    if finding.local_step_ns != 0 {
        lines.push(format!(
            "this host's clock was set by {} during the run; offsets are of the clock as it is now",
            signed(finding.local_step_ns)
        ));
    }
    if let Agreement::Majority { falsetickers, .. } = &finding.agreement {
        let heard: Vec<_> = finding.servers.iter().filter(|s| s.bound.is_some()).collect();
        for index in falsetickers {
            let name = heard.get(*index).map_or("?", |server| server.name.as_str());
            lines.push(format!("{name} is outside what most servers agree on: it is not counted"));
        }
    }
    for shared in &finding.shared {
        let names: Vec<&str> =
            shared.servers.iter().map(|i| finding.servers[*i].name.as_str()).collect();
        let (names, count) = (names.join(", "), names.len());
        let why = match shared.by {
            Common::Address => "are one server",
            Common::Reference => "follow one source",
        };
        lines.push(format!("{names}: these {count} {why} and have one vote"));
    }
    for server in &finding.servers {
        lines.extend(late(server));
        if server.follows_this_host() {
            lines.push(format!("{}: its time comes from this host (a timing loop)", server.name));
        }
        if server.seems_to_smear() {
            lines.push(format!(
                "{}: its drift is that of a leap second smeared over 24 h",
                server.name
            ));
        }
        if let Some(why) = cut_short(server.ended) {
            lines.push(format!("{}: {why}", server.name));
        }
        let mut warnings: Vec<String> =
            server.samples.iter().flat_map(|s| &s.warnings).map(ToString::to_string).collect();
        warnings.sort_unstable();
        warnings.dedup();
        lines.extend(warnings.into_iter().map(|text| format!("{}: {text}", server.name)));
    }
    lines
}

/// Replies that came when their requests had been given up.
fn late(server: &ServerFinding) -> Option<String> {
    let count = *server.counts.refused.get("late")?;
    let last = server.notes.iter().rev().find(|note| note.reason == "late")?;
    Some(format!(
        "{}: {} too late, request {} for example {}: --timeout waits longer",
        server.name,
        human::plural(count, "reply came", "replies came"),
        last.request,
        last.text,
    ))
}

/// Doubts about the samples of one server.
fn doubts_of(server: &ServerFinding, finding: &Finding) -> Vec<String> {
    let mut lines = Vec::new();
    let before = |sample: &&Sample| sample.record.t4.slept_until(&finding.now) != 0;
    let aside = server.samples.iter().filter(before).count();
    if aside > 0 {
        lines.push(format!(
            "{}: {aside} of {} from before this host slept, set aside: sleep is counted by \
             another clock, perhaps in whole seconds",
            server.name,
            human::plural(server.samples.len() as u64, "sample is", "samples are"),
        ));
    }
    let Some(bound) = &server.bound else { return lines };
    if let Some(drift) = bound.drift_beyond_ppt {
        lines.push(format!(
            "{}: the samples show a drift of {}, beyond the limit of {} on which the interval \
             rests: ask with --max-drift",
            server.name,
            ppm(drift, Round::Nearest),
            limit(finding.view.drift_limit),
        ));
    }
    if let Some(found) = bound.contradiction {
        lines.push(format!(
            "{}: between requests {} and {} the offset jumped by {} at least, which no drift \
             of {} explains; what stands here is of the last {} samples",
            server.name,
            found.earlier,
            found.later,
            signed(found.jump_ns),
            limit(finding.view.drift_limit),
            bound.samples,
        ));
    } else if let Some(change) = bound.change {
        lines.push(format!("{}: {}", server.name, changed(&change, bound.samples)));
    } else if bound.constant_drift.is_none() {
        lines.push(format!(
            "{}: no constant drift fits all samples: a small step, or a rate that wanders; the \
             estimate is of the last {}",
            server.name,
            server.estimate.map_or(0, |estimate| estimate.samples),
        ));
    }
    lines
}

/// A jump that the delays do not explain.
fn changed(change: &Change, since: u32) -> String {
    format!(
        "the offset jumped by about {} between requests {} and {} while the delay changed by {}: a \
         clock was set, the server lied, or the two ways of the path changed by {} against each \
         other; what stands here is of the last {}",
        signed(change.jump_ns),
        change.earlier,
        change.later,
        signed(change.delay_ns),
        nanos(change.jump_ns.saturating_mul(2)),
        human::plural(since.into(), "sample", "samples"),
    )
}

/// Which samples the estimate does not use, and why; empty where it uses all.
pub(super) fn excluded(server: &ServerFinding) -> String {
    let Excluded { slept, contradiction, change, rate, runs_test, wander } = server.excluded;
    let reasons = [
        (slept, "before this host slept"),
        (contradiction, "before a contradiction"),
        (change, "before the offset jumped"),
        (rate, "before a change of rate"),
        (runs_test, "before a bend (runs test, 5 %)"),
        (wander, "too old for a rate that wanders"),
    ];
    let reasons = reasons.into_iter().filter(|(count, _)| *count > 0);
    let reasons: Vec<String> = reasons.map(|(count, why)| format!("{count} {why}")).collect();
    if reasons.is_empty() {
        return String::new();
    }
    let used = server.picture.points.iter().filter(|point| point.used).count();
    format!(
        "  {}: the estimate uses {used} of {} samples; not used: {}\n",
        server.name,
        server.samples.len(),
        reasons.join(", ")
    )
}

/// Changes of this host's clocks, in words.
pub(super) fn host_words(clocks: &HostClocks) -> String {
    let total = |jumps: &[crate::host_clocks::Jump]| jumps.iter().map(|jump| jump.by_ns).sum();
    let set = match clocks.steps.len() {
        0 => "The clock of this host was not set during the run".to_owned(),
        1 => format!("The clock of this host was set by {}", signed(total(&clocks.steps))),
        times => format!("The clock of this host was set {times} times"),
    };
    let (low, high) = (clocks.slew_low_ppt, clocks.slew_high_ppt);
    let slew = match (low, high) {
        (0, 0) => "the kernel did not slew it".to_owned(),
        _ if low == high => format!("the kernel slews it by {}", ppm(low, Round::Nearest)),
        _ => format!(
            "the kernel slewed it, by {} to {}",
            ppm(low, Round::Nearest),
            ppm(high, Round::Nearest)
        ),
    };
    let slept = match clocks.sleeps.len() {
        0 => "the host did not sleep".to_owned(),
        _ => format!("the host slept for {}", signed(total(&clocks.sleeps))),
    };
    format!("{set}; {slew}; {slept}.")
}

/// Why a server was asked less than was meant.
pub(super) const fn cut_short(ended: Ended) -> Option<&'static str> {
    match ended {
        Ended::Complete => None,
        Ended::RateLimited => Some("it asked to be asked less (RATE), and so it was"),
        Ended::Denied => Some("it does not want to be asked (DENY or RSTR), and so it is not"),
        Ended::Unreachable => {
            Some("its host reports that the port is closed, or cannot be reached")
        }
        Ended::NoKeys => {
            Some("its keys are of no more use, and new ones could not be had: it was asked no more")
        }
        Ended::KeysOfNoUse => Some(
            "keys were agreed on 4 times in a row and it proved no reply by any: it was asked no \
             more",
        ),
        Ended::Stopped => Some("the run was stopped"),
    }
}

pub(super) fn against_truth(checked: &Checked, certain: bool, style: Style) -> String {
    let held = |inside: bool| match inside {
        true => style.ink(Ink::Good, "the interval holds it"),
        false if certain => style.ink(Ink::Bad, "THE INTERVAL DOES NOT HOLD IT"),
        false => style.ink(Ink::Doubt, "the interval since the jump does not hold it"),
    };
    format!(
        "  truth {} s; estimate - truth = {}; {}; so did {} of {} by themselves\n",
        seconds(checked.offset_ns, 9, Round::Nearest),
        checked.error_ns.map_or_else(|| "none".to_owned(), signed),
        checked.inside.map_or_else(|| "there is no interval".to_owned(), held),
        checked.samples_inside,
        checked.samples,
    )
}

pub(super) fn servers(out: &mut String, finding: &Finding, style: Style) {
    let mut table = [
        Column::left("server"),
        Column::right("stratum").gives_way(3, "stratum"),
        Column::right("asked"),
        Column::right("believed"),
        Column::right("refused"),
        Column::right("least delay"),
        Column::right("estimate"),
        Column::right("at least"),
        Column::right("at most"),
        Column::left("T4 by").gives_way(2, "T4 by"),
    ];
    for server in &finding.servers {
        for (column, text) in table.iter_mut().zip(row(server)) {
            column.push(Cell::new(text));
        }
    }
    let mut hidden = Vec::new();
    out.push_str(&columns(table.into(), style, &mut hidden));
}

pub(super) fn row(server: &ServerFinding) -> [String; 10] {
    let none = || "-".to_owned();
    let bound = server.bound.map(|bound| bound.interval);
    let places = bound.map_or(6, |interval| digits(interval.width_ns()));
    let end = |ns: Option<i64>, round| ns.map_or_else(none, |ns| seconds(ns, places, round));
    let least = server.samples.iter().map(Sample::delay_ns).min();
    let name = if server.name == server.address.to_string() {
        server.name.clone()
    } else {
        format!("{} ({})", server.name, server.address)
    };
    let by_kernel = |sample: &Sample| sample.record.t4_by == StampedBy::Kernel;
    [
        name,
        server.samples.last().map_or_else(none, |s| s.record.claims.stratum.to_string()),
        server.counts.sent.to_string(),
        server.counts.samples.to_string(),
        server.counts.refused.values().sum::<u64>().to_string(),
        least.map_or_else(none, nanos),
        end(server.estimate.map(|e| e.offset_ns), Round::Nearest),
        end(bound.map(|b| b.low_ns), Round::Down),
        end(bound.map(|b| b.high_ns), Round::Up),
        match server.samples.iter().filter(|sample| by_kernel(sample)).count() {
            0 if server.samples.is_empty() => none(),
            0 => "program".to_owned(),
            all if all == server.samples.len() => "kernel".to_owned(),
            _ => "both".to_owned(),
        },
    ]
}

/// Between what the drift lies if it is constant; few samples tell nothing of it: both ends are
/// those of the limit.
pub(super) fn told_drift(server: &ServerFinding, limit: DriftLimit) -> Option<ConstantDrift> {
    let limit = i64::from(limit.ppb()) * 1000;
    let line = server.bound?.constant_drift?;
    (line.drift_low_ppt > -limit || line.drift_high_ppt < limit).then_some(line)
}

pub(super) fn drift(out: &mut String, server: &ServerFinding, limit: DriftLimit) {
    let Some(line) = told_drift(server, limit) else { return };
    let likely = server.estimate.and_then(|estimate| estimate.drift_ppt);
    let likely =
        likely.map_or_else(String::new, |ppt| format!("likely {}, ", ppm(ppt, Round::Nearest)));
    let places = digits(line.offset.width_ns());
    out.push_str(&format!(
        "  if the drift of {} is constant: {likely}between {} and {}; offset in [{}, {}] s\n",
        server.name,
        ppm(line.drift_low_ppt, Round::Down),
        ppm(line.drift_high_ppt, Round::Up),
        seconds(line.offset.low_ns, places, Round::Down),
        seconds(line.offset.high_ns, places, Round::Up),
    ));
}

/// Authenticated replies and their cost.
pub(super) fn authenticated(out: &mut String, server: &ServerFinding) {
    let Some(nts) = server.counts.nts else { return };
    let keys = human::times(nts.key_exchanges.into());
    out.push_str(&format!(
        "  {}: replies are believed only with proof that the server made them (NTS, RFC 8915); \
         {} had it; keys agreed {keys}; {}, each is sent once\n",
        server.name,
        nts.proved,
        human::plural(nts.cookies_received.into(), "cookie came", "cookies came"),
    ));
}

pub(super) fn estimators(
    out: &mut String,
    server: &ServerFinding,
    checked: Option<&Checked>,
    style: Style,
) {
    if server.estimates.is_empty() {
        return;
    }
    let mut table = vec![
        Column::left("estimator"),
        Column::right("offset"),
        Column::right("±"),
        Column::right("drift"),
    ];
    if checked.is_some() {
        table.push(Column::right("minus truth"));
    }
    for found in &server.estimates {
        let none = || "-".to_owned();
        let mut cells = vec![
            found.estimator.name().to_owned(),
            seconds(found.offset_ns, 9, Round::Nearest),
            found.spread_ns.map_or_else(none, nanos),
            found.drift_ppt.map_or_else(none, |ppt| ppm(ppt, Round::Nearest)),
        ];
        cells.extend(checked.map(|truth| signed(found.offset_ns - truth.offset_ns)));
        for (column, text) in table.iter_mut().zip(cells) {
            column.push(Cell::new(text));
        }
    }
    out.push('\n');
    out.push_str(&columns(table, style, &mut Vec::new()));
}

/// Over which time the rate changes least, or why nothing can be said of it.
pub(super) fn stability(out: &mut String, server: &ServerFinding) {
    let found = &server.stability;
    let best = found.deviations.iter().find(|one| found.best_tau_ns == Some(one.tau_ns));
    let text = match (best, &found.absent) {
        (Some(one), _) => {
            let ppt = saturated(one.deviation_ppt.into());
            format!(
                "Allan deviation: least over {}, {}; a longer window is not worth averaging over",
                human::latency(one.tau_ns),
                ppm(ppt, Round::Up).trim_start_matches('+')
            )
        }
        (None, Some(why)) => format!("no Allan deviation: {why}"),
        (None, None) => return,
    };
    out.push_str(&format!("\n  {}: {text}\n", server.name));
}

pub(super) fn notes(out: &mut String, server: &ServerFinding, all: bool) {
    if server.notes.is_empty() {
        return;
    }
    let mut groups: Vec<(&Note, u64)> = Vec::new();
    for note in &server.notes {
        let same = |first: &Note| first.reason == note.reason && first.from == note.from;
        match groups.iter_mut().find(|(first, _)| same(first)) {
            Some((_, count)) if !all => *count += 1,
            _ => groups.push((note, 1)),
        }
    }
    groups.truncate(if all { NOTES_MAX } else { NOTES_SHOWN });
    out.push_str(&format!("\nrefused, of what came for {}:\n", server.name));
    for (note, count) in &groups {
        let times = if *count > 1 { format!(", and {} more", count - 1) } else { String::new() };
        out.push_str(&format!(
            "  request {} from {}: {} ({}): {}{times}\n",
            note.request, note.from, note.reason, note.section, note.text
        ));
    }
    let total = server.counts.refused.values().sum::<u64>();
    let rest = total.saturating_sub(groups.iter().map(|(_, count)| count).sum());
    if rest > 0 {
        let counts: Vec<String> =
            server.counts.refused.iter().map(|(name, n)| format!("{n} {name}")).collect();
        out.push_str(&format!("  and {rest} more; all by reason: {}\n", counts.join(", ")));
    }
}

/// One reply as a line, for following along: what it says by itself, and what all do so far.
#[must_use]
pub fn watched(gathered: &Gathered, sample: &Sample, view: &View, now: &TimePair) -> String {
    // The two bounds are of different times, and the clocks may drift between.
    let elapsed = sample.record.t4.wall.minus(sample.record.t1.wall).unsigned_abs();
    let drift = view.drift_limit.over(elapsed);
    let (low, high) =
        (sample.low_ns().saturating_sub(drift), sample.high_ns().saturating_add(drift));
    let so_far = Live::of(&gathered.samples, view, now).map_or_else(String::new, |live| {
        let doubt =
            if live.contradiction { " since a clock was set or the server lied" } else { "" };
        format!("; so far{doubt} {}", between(live.estimate.offset_ns, live.interval))
    });
    format!(
        "{} request {}: {}, delay {}{so_far}\n",
        gathered.name,
        sample.record.request,
        between(sample.offset_ns(), Interval { low_ns: low, high_ns: high }),
        nanos(sample.delay_ns()),
    )
}
