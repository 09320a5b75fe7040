//! The reports: what they show, in text, HTML, JSON, events and captures.
//!
//! It must never compare with a clock or the network.
//!
//! `UPDATE=1` writes the text snapshots anew.

use crate::fixture;
use std::path::PathBuf;
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
