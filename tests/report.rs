//! The reports: what they show, in text, HTML, JSON, events and captures.
//!
//! It must never compare with a clock or the network.
//!
//! `UPDATE=1` writes the text snapshots anew.

use crate::fixture;
use std::path::PathBuf;
use wirelab::compare::plan::Arm;
use wirelab::path::Direction;
use wirelab::report::html::{FrameSeen, SlowRequest};
use wirelab::report::text::{Style, render};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Compares with a file, or writes it where `UPDATE` is set.
fn snapshot(name: &str, got: &str) {
    let path = data(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == want, "{name} differs; UPDATE=1 writes it anew. Got:\n{got}");
}

#[test]
fn text_reads_well_at_100_and_80_columns() {
    let result = fixture::result();
    for width in [100, 80] {
        let text = render(&result, Style { color: false, width });
        snapshot(&format!("report-{width}.txt"), &text);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn page() {
    let html = wirelab::report::html::render(&fixture::result(), &slow());
    std::fs::write("/tmp/report.html", html).unwrap();
}

/// A reply lost, then a request lost, then an answer.
fn slow() -> Vec<SlowRequest> {
    let ms = 1_000_000;
    let frame = |t, direction, what: &str, lost| FrameSeen {
        t_ns: t * ms,
        delay_ns: 10 * ms,
        direction,
        what: what.to_owned(),
        lost,
    };
    let frames = vec![
        frame(0, Direction::AToB, "request", false),
        frame(10, Direction::BToA, "reply", true),
        frame(60, Direction::AToB, "request again", true),
        frame(180, Direction::AToB, "request again", false),
        frame(190, Direction::BToA, "reply from store", false),
    ];
    let arm = Arm::UdpOnce;
    let operation = "deposit".to_owned();
    let loss_ppm = fixture::ppm(20_000);
    vec![SlowRequest {
        arm,
        depth: 1,
        loss_ppm,
        seq: 1_842,
        operation,
        latency_ns: 200 * ms,
        attempts: 3,
        frames,
    }]
}
