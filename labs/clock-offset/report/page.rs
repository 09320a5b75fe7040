//! A finding as one HTML page that opens from disk with the network off.
//!
//! It exists so that estimate, bound and the room between them are seen at a glance. It works
//! without JavaScript: there is none. It must never refer to anything outside itself, nor show a
//! figure that the JSON inside it does not hold.

use super::text::{Round, digits, doubts, headline, nanos, ppm, seconds, signed};
use super::{explain, plots};
use crate::finding::{Checked, Finding, ServerFinding, Verdict};
use crate::host_clocks::{HostClocks, Moved};
use std::fmt::Write as _;
use wirelab::report::svg::escape;

const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                   img-src data:";

/// The whole page.
#[must_use]
pub fn render(finding: &Finding) -> String {
    let mut out = String::with_capacity(1 << 19);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{CSP}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>clock-offset</title>\n<style>{}{}</style></head><body>\n",
        wirelab::report::CSS,
        include_str!("page.css"),
    );
    head(&mut out, finding);
    for server in finding.servers.iter().filter(|server| !server.picture.points.is_empty()) {
        drawings(&mut out, finding, server);
    }
    several(&mut out, finding);
    if let Some(clocks) = &finding.host_clocks {
        host(&mut out, clocks);
    }
    for server in &finding.servers {
        let of = whose(finding, server);
        estimators(&mut out, server, finding.checked.as_ref(), &of);
        super::stamps::section(&mut out, server, &of);
        stability(&mut out, server, &of);
        refused(&mut out, server);
    }
    if let Some(text) = explain(finding) {
        let text = escape(text.trim());
        let _ = writeln!(out, "<section><h2>One exchange</h2>\n<pre>{text}</pre></section>");
    }
    out.push_str("<section><h2>How to read this</h2>\n");
    out.push_str(include_str!("reading.html"));
    let command = escape(&finding.command);
    let _ = writeln!(out, "<h2>Run it again</h2>\n<pre>{command}</pre></section>");
    // Neither `</script` nor `<!--` can occur without `<`. A finding is plain numbers and texts.
    let data = serde_json::to_string(finding).unwrap_or_default().replace('<', "\\u003c");
    let _ = write!(
        out,
        "<script type=\"application/json\" id=\"result\">{data}</script>\n</body></html>\n"
    );
    out
}

fn head(out: &mut String, finding: &Finding) {
    let _ = writeln!(
        out,
        "<header><h1>clock-offset: how wrong is this clock, and between which bounds?</h1>\n\
         <p class=\"headline\">{}</p>",
        escape(&sentence(finding))
    );
    three(out, finding);
    for line in doubts(finding) {
        let _ = writeln!(out, "<p class=\"warn\">{}</p>", escape(&line));
    }
    if let Some(checked) = &finding.checked {
        truth(out, checked);
    }
    let facts = facts(finding).into_iter().map(|f| format!("<span>{}</span>", escape(&f)));
    let facts: Vec<String> = facts.collect();
    let _ = writeln!(out, "<p class=\"facts\">{}</p></header>", facts.join("\n"));
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
fn three(out: &mut String, finding: &Finding) {
    let Some(together) = &finding.together else { return };
    let spread = together.spread_ns.map_or_else(String::new, |ns| format!(" ± {}", nanos(ns)));
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
    let _ = writeln!(
        out,
        "<div class=\"three\"><div><b class=\"guess\">{estimate} s{spread}</b>\
         <span>is likely: if both ways of the path take equally long without queues</span></div>\
         <div><b class=\"out\">{}</b><span>must hold it, whatever the path did, if the clocks \
         drift apart by at most {}</span></div>\
         <div><b>{}</b><span>must hold the offset to UTC, if what the servers claim of themselves \
         is true</span></div></div>",
        ends(&together.interval),
        super::text::limit(finding.view.drift_limit),
        ends(&together.utc),
    );
}

fn truth(out: &mut String, checked: &Checked) {
    let (class, held) = match checked.inside {
        Some(true) => ("good", "the interval holds it"),
        Some(false) => ("bad", "the interval does not hold it"),
        None => ("doubt", "there is no interval"),
    };
    let error = checked.error_ns.map_or_else(|| "none".to_owned(), signed);
    let _ = writeln!(
        out,
        "<p><b>Known truth</b> {} s. Estimate − truth = <b>{error}</b>; <b class=\"{class}\">{held}\
         </b>. By themselves {} of {} samples held it at their time.</p>",
        seconds(checked.offset_ns, 9, Round::Nearest),
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

fn figure(out: &mut String, caption: &str, note: &str, svg: &str) {
    let _ = writeln!(
        out,
        "<figure><figcaption>{caption} <small>{note}</small></figcaption>{svg}</figure>"
    );
}

fn drawings(out: &mut String, finding: &Finding, server: &ServerFinding) {
    let _ = write!(
        out,
        "<section><h2>{}</h2>\n<p class=\"note\">Observer: this host. Filled: the estimate rests \
         on it. Violet: the best estimate with its drift.{}</p>\n<div class=\"panels\">\n",
        escape(&server.name),
        if server.counts.interleaved > 0 {
            " Diamonds: exchanges with both times of leaving (interleaved mode); circles: in basic \
             mode."
        } else {
            ""
        },
    );
    let seen = "T2 − T1 above, T3 − T4 below; the truth passes between";
    figure(out, "The two clouds", seen, &plots::clouds(finding, server));
    let seen = "queues on the way out push up, queues on the way back push down";
    figure(out, "The wedge", seen, &plots::wedge(server));
    let seen = "each with the interval that it proves; red ticks: lost or refused";
    figure(out, "Every exchange", seen, &plots::offsets(finding, server));
    out.push_str("</div>\n");
    if let Some(line) = super::text::told_drift(server, finding.view.drift_limit) {
        let spread = server.estimate.and_then(|estimate| estimate.drift_spread_ppt);
        let likely = server.estimate.and_then(|estimate| estimate.drift_ppt).map(|ppt| {
            let spread = spread.map_or_else(String::new, |ppt| {
                format!(" ± {}", ppm(ppt, Round::Up).trim_start_matches('+'))
            });
            format!("likely {}{spread}, ", ppm(ppt, Round::Nearest))
        });
        let _ = writeln!(
            out,
            "<p>Drift, if it is constant: {}between {} and {}.</p>",
            likely.unwrap_or_default(),
            ppm(line.drift_low_ppt, Round::Down),
            ppm(line.drift_high_ppt, Round::Up)
        );
    }
    out.push_str("</section>\n");
}

fn several(out: &mut String, finding: &Finding) {
    if finding.servers.iter().filter(|server| server.bound.is_some()).count() < 2 {
        return;
    }
    out.push_str("<section><h2>The servers together</h2>\n<div class=\"panels\">\n");
    let seen = "to UTC by each server's own claim; shaded: what most agree on";
    figure(out, "Intervals", seen, &plots::servers(finding));
    out.push_str("</div></section>\n");
}

/// A pair of clocks: its name, what moves it, and its figure.
type Panel = (&'static str, &'static str, fn(&Moved) -> i64);

fn host(out: &mut String, clocks: &HostClocks) {
    let _ = write!(
        out,
        "<section><h2>This host's own clocks</h2>\n<p>{}</p>\n<div class=\"panels\">\n",
        escape(&super::text::host_words(clocks))
    );
    let panels: [Panel; 3] = [
        ("REALTIME − MONOTONIC", "jumps where the clock is set", |m| m.wall_ns),
        ("MONOTONIC − RAW", "bends where the clock is slewed", |m| m.slewed_ns),
        ("BOOTTIME − MONOTONIC", "jumps where the host slept", |m| m.slept_ns),
    ];
    for (name, note, of) in panels {
        figure(out, name, note, &plots::panel(clocks, name, of));
    }
    out.push_str("</div></section>\n");
}

/// What a heading says of a server where there are several.
fn whose(finding: &Finding, server: &ServerFinding) -> String {
    if finding.servers.len() > 1 { format!(": {}", escape(&server.name)) } else { String::new() }
}

fn estimators(out: &mut String, server: &ServerFinding, checked: Option<&Checked>, of: &str) {
    if server.estimates.is_empty() {
        return;
    }
    let truth = if checked.is_some() { "<th>minus truth</th>" } else { "" };
    let _ = write!(
        out,
        "<section><h2>Every estimator on the same samples{of}</h2>\n<div class=\"scroll\"><table>\
         <thead><tr><th>estimator</th><th>offset, s</th><th>±</th><th>drift</th><th>±</th>\
         <th>samples</th>{truth}</tr></thead><tbody>\n"
    );
    for found in &server.estimates {
        let none = || "–".to_owned();
        let best = server.estimate.is_some_and(|best| best.estimator == found.estimator);
        let _ = write!(
            out,
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            found.estimator.name(),
            if best { " ◂" } else { "" },
            seconds(found.offset_ns, 9, Round::Nearest),
            found.spread_ns.map_or_else(none, nanos),
            found.drift_ppt.map_or_else(none, |ppt| ppm(ppt, Round::Nearest)),
            found.drift_spread_ppt.map_or_else(none, |ppt| ppm(ppt, Round::Up)),
            found.samples,
        );
        if let Some(checked) = checked {
            let _ = write!(out, "<td>{}</td>", signed(found.offset_ns - checked.offset_ns));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn stability(out: &mut String, server: &ServerFinding, of: &str) {
    if server.picture.points.is_empty() {
        return;
    }
    let _ = writeln!(out, "<section><h2>How stable it is{of}</h2>");
    if let Some(why) = &server.stability.absent {
        let _ = writeln!(out, "<p class=\"note\">No Allan deviation: {}.</p>", escape(why));
    } else {
        let name = escape(&server.name);
        out.push_str("<div class=\"panels\">\n");
        figure(out, "Allan deviation", &name, &plots::allan(&server.stability));
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

fn refused(out: &mut String, server: &ServerFinding) {
    if server.notes.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<section><h2>Not believed, of what came for {}</h2>\n<div class=\"scroll\">\
         <table class=\"words\"><thead><tr><th>request</th><th>from</th><th>reason</th>\
         <th>rule</th><th>in full</th></tr></thead><tbody>\n",
        escape(&server.name)
    );
    for note in &server.notes {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            note.request,
            note.from,
            escape(&note.reason),
            escape(&note.section),
            escape(&note.text)
        );
    }
    out.push_str("</tbody></table></div></section>\n");
}
