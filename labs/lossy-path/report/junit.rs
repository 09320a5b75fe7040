//! The results of a sweep as JUnit XML, which every service for continuous integration reads.

use crate::sweep::{Cell, Run, Sweep};
use wirelab::report::html::Html;
use wirelab::{html, put};

/// Renders a sweep: a test case for each run, in a class for each cell.
#[must_use]
pub fn render(sweep: &Sweep) -> String {
    let runs = || sweep.cells.iter().flat_map(|cell| &cell.runs);
    let (tests, failures) = (runs().count(), runs().filter(|run| !run.passed()).count());
    let time = seconds(runs().map(Run::seconds).sum());
    let mut out = Html::literal("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    put!(out, "<testsuite name=\"lossy-path sweep\" tests=\"{}\" failures=\"{}\"", tests, failures);
    put!(out, " time=\"{}\">\n", time);
    for cell in &sweep.cells {
        for run in &cell.runs {
            out.push(&case(cell, run));
        }
    }
    out.raw("</testsuite>\n</testsuites>\n");
    out.into_string()
}

fn case(cell: &Cell, run: &Run) -> Html {
    let mut out = html!("<testcase classname=\"{}\" name=\"seed {}\"", cell.settings, run.seed);
    put!(out, " time=\"{}\">", seconds(run.seconds()));
    if !run.passed() {
        put!(out, "<failure message=\"exited with {}\">{}\n", run.code, run.command);
        put!(out, "{}</failure>", run.output);
    }
    out.raw("</testcase>\n");
    out
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}
