//! A finding as one HTML page that opens from disk with the network off.
//!
//! It works without JavaScript: there is none.

use super::numbers::{Round, digits, nanos, ppm, seconds, signed};
use super::text::{doubts, headline};
use super::{explain, plots};
use crate::finding::{Checked, Finding, ServerFinding, Verdict};
use crate::host_clocks::{HostClocks, Moved};
use wirelab::measure::human::NONE;
use wirelab::report::html::Html;
use wirelab::report::page::{Page, Table, figure, note, panels};
use wirelab::{html, put};

/// The whole page.
#[must_use]
pub fn render(finding: &Finding) -> String {
    let mut page = Page::new("clock-offset", include_str!("style.css"));
    head(&mut page, finding);
    for server in finding.servers.iter().filter(|server| !server.picture.points.is_empty()) {
        page.section(&server.name, &drawings(finding, server));
    }
    if finding.servers.iter().filter(|server| server.bound.is_some()).count() > 1 {
        let seen = "to UTC by each server's own claim; shaded: what most agree on";
        let svg = plots::servers(finding);
        page.section("The servers together", &panels([figure("Intervals", seen, &svg)]));
    }
    if let Some(clocks) = &finding.host_clocks {
        page.section("This host's own clocks", &host(clocks));
    }
    for server in &finding.servers {
        let of = whose(finding, server);
        if !server.estimates.is_empty() {
            let title = format!("Every estimator on the same samples{of}");
            page.section(&title, &estimators(server, finding.checked.as_ref()));
        }
        if let Some(stamps) = super::stamps::section(server) {
            let title = format!("Stamps of program and kernel, side by side{of}");
            page.section(&title, &stamps);
        }
        if !server.picture.points.is_empty() {
            page.section(&format!("How stable it is{of}"), &stability(server));
        }
        if !server.notes.is_empty() {
            let title = format!("Replies that were refused, for {}", server.name);
            page.section(&title, &refused(server));
        }
    }
    if let Some(text) = explain(finding) {
        page.section("One exchange", &html!("<pre>{}</pre>\n", text.trim()));
    }
    page.reading(&Html::literal(include_str!("reading.html")), &finding.command, "");
    page.finish(finding)
}

fn head(page: &mut Page, finding: &Finding) {
    let mut more = three(finding);
    for line in doubts(finding) {
        put!(more, "<p class=\"warn\">{}</p>\n", line);
    }
    if let Some(checked) = &finding.checked {
        truth(&mut more, checked);
    }
    page.header(
        "clock-offset: how wrong is this clock, and between which bounds?",
        &html!("<p class=\"headline\">{}</p>\n", sentence(finding)),
        &more,
        &facts(finding),
    );
}

/// The headline up to its first figure of detail: those stand below it.
fn sentence(finding: &Finding) -> String {
    let text = headline(finding);
    let end = if finding.verdict == Verdict::Contradiction { None } else { text.find(": best") };
    let mut text = end.map_or_else(|| text.clone(), |end| text[..end].to_owned());
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}

/// The three numbers that must not be confused, each with its meaning.
fn three(finding: &Finding) -> Html {
    let Some(together) = &finding.together else { return Html::new() };
    let noise =
        together.spread_ns.map_or_else(String::new, |ns| format!(" ± {} noise,", nanos(ns)));
    let spread = format!("{noise} ± {} asymmetry", nanos(together.asymmetry_ns));
    let ends = |interval: &crate::bound::Interval| {
        let places = digits(interval.width_ns());
        format!(
            "[{}, {}] s",
            seconds(interval.low_ns, places, Round::Down),
            seconds(interval.high_ns, places, Round::Up)
        )
    };
    let places = 9.min(digits(together.interval.width_ns()) + 1);
    let estimate = seconds(together.estimate_ns, places, Round::Nearest);
    html!(
        "<div class=\"three\"><div><b class=\"guess\">{} s{}</b>\
         <span>is likely: noise is the scatter of repeated runs, asymmetry what unequal \
         ways can add</span></div>\
         <div><b class=\"out\">{}</b><span>must hold it, whatever the path did, while neither \
         clock was set and their rates differ by at most {}</span></div>\
         <div><b>{}</b><span>must hold the offset to UTC, if what the servers claim of themselves \
         is true</span></div></div>\n",
        estimate,
        spread,
        ends(&together.interval),
        super::numbers::limit(finding.view.drift_limit),
        ends(&together.utc),
    )
}

fn truth(out: &mut Html, checked: &Checked) {
    let (class, held) = match checked.inside {
        Some(true) => ("good", "the interval holds it"),
        Some(false) => ("bad", "the interval does not hold it"),
        None => ("doubt", "there is no interval"),
    };
    let error = checked.error_ns.map_or_else(|| "none".to_owned(), signed);
    put!(
        out,
        "<p><b>Known truth</b> {} s. Estimate − truth = <b>{}</b>; <b class=\"{}\">{}\
         </b>. By themselves {} of {} samples held it at their time.</p>\n",
        seconds(checked.offset_ns, 9, Round::Nearest),
        error,
        class,
        held,
        checked.samples_inside,
        checked.samples,
    );
}

fn facts(finding: &Finding) -> Vec<String> {
    let mut facts = Vec::new();
    for server in &finding.servers {
        let counts = &server.counts;
        let refused: u64 = counts.refused.values().sum();
        facts.push(format!(
            "{}: {} asked, {} believed, {} lost, {refused} refused",
            server.name, counts.sent, counts.samples, counts.lost
        ));
    }
    facts.extend(finding.seed.map(|seed| format!("seed {seed}")));
    facts.push(format!("wirelab {}", finding.version));
    facts
}

fn drawings(finding: &Finding, server: &ServerFinding) -> Html {
    let modes = if server.counts.interleaved > 0 {
        " Diamonds: exchanges with both times of leaving (interleaved mode); circles: in basic \
         mode."
    } else {
        ""
    };
    let mut out = note(format!(
        "Observer: this host. Filled: the estimate rests on it. Violet: the best estimate with its \
         drift.{modes}"
    ));
    out.push(&panels([
        figure(
            "The two clouds",
            "T2 − T1 above, T3 − T4 below; the truth passes between",
            &plots::clouds(finding, server),
        ),
        figure(
            "The wedge",
            "queues on the way out push up, queues on the way back push down",
            &plots::wedge(server),
        ),
        figure(
            "Every exchange",
            "each with the interval that it proves; red ticks: lost or refused",
            &plots::offsets(finding, server),
        ),
    ]));
    if let Some(line) = super::text::told_drift(server, finding.view.drift_limit) {
        let spread = server.estimate.and_then(|estimate| estimate.drift_spread_ppt);
        let likely = server.estimate.and_then(|estimate| estimate.drift_ppt).map(|ppt| {
            let spread = spread.map_or_else(String::new, |ppt| {
                format!(" ± {}", ppm(ppt, Round::Up).trim_start_matches('+'))
            });
            format!("likely {}{spread}, ", ppm(ppt, Round::Nearest))
        });
        put!(
            out,
            "<p>Drift, if it is constant: {}between {} and {}.</p>\n",
            likely.unwrap_or_default(),
            ppm(line.drift_low_ppt, Round::Down),
            ppm(line.drift_high_ppt, Round::Up)
        );
    }
    out
}

/// A pair of clocks: its name, what moves it, and its figure.
type Pair = (&'static str, &'static str, fn(&Moved) -> i64);

fn host(clocks: &HostClocks) -> Html {
    let pairs: [Pair; 3] = [
        ("REALTIME − MONOTONIC", "jumps where the clock is set", |m| m.wall_ns),
        ("MONOTONIC − RAW", "bends where the clock is slewed", |m| m.slewed_ns),
        ("BOOTTIME − MONOTONIC", "jumps where the host slept", |m| m.slept_ns),
    ];
    let mut out = html!("<p>{}</p>\n", super::text::host_words(clocks));
    out.push(&panels(
        pairs.map(|(name, note, of)| figure(name, note, &plots::host_clock(clocks, name, of))),
    ));
    out
}

/// Heading of a server, if there are several.
fn whose(finding: &Finding, server: &ServerFinding) -> String {
    if finding.servers.len() > 1 { format!(": {}", server.name) } else { String::new() }
}

fn estimators(server: &ServerFinding, checked: Option<&Checked>) -> Html {
    let heads = ["estimator", "offset, s", "±", "drift", "±", "samples"];
    let truth = checked.map(|_| "minus truth");
    let mut table = Table::new("", heads.into_iter().chain(truth));
    for found in &server.estimates {
        let none = || NONE.to_owned();
        let best = server.estimate.is_some_and(|best| best.estimator == found.estimator);
        let cells = [
            format!("{}{}", found.estimator.name(), if best { " ◂" } else { "" }),
            seconds(found.offset_ns, 9, Round::Nearest),
            found.spread_ns.map_or_else(none, nanos),
            found.drift_ppt.map_or_else(none, |ppt| ppm(ppt, Round::Nearest)),
            found.drift_spread_ppt.map_or_else(none, |ppt| ppm(ppt, Round::Up)),
            found.samples.to_string(),
        ];
        let error = checked.map(|checked| signed(found.offset_ns - checked.offset_ns));
        table.row("", cells.into_iter().chain(error).map(|cell| ("", cell)));
    }
    table.finish()
}

fn stability(server: &ServerFinding) -> Html {
    if let Some(why) = &server.stability.absent {
        return note(format!("No Allan deviation: {why}."));
    }
    panels([figure("Allan deviation", &server.name, &plots::allan(&server.stability))])
}

fn refused(server: &ServerFinding) -> Html {
    let mut table = Table::new("words", ["request", "from", "reason", "rule", "in full"]);
    for found in &server.notes {
        let (request, from) = (found.request.to_string(), found.from.to_string());
        let cells = [&request, &from, &*found.reason, &*found.section, &*found.text];
        table.row("", cells.map(|cell| ("", cell)));
    }
    table.finish()
}
