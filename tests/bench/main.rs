//! Ratios against a named peer, measured in the same run: `cargo bench -- [part]`.
//!
//! Benchmarks do the timing, so that tests need not: a ratio carries each claim.
//! It must never compare figures of different runs.

#![expect(clippy::print_stdout, reason = "its table is its result")]

mod path;

use std::process::ExitCode;

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    let mut met = true;
    // First: it may have to enter a user namespace, which must come before any thread.
    if runs("path") {
        met &= path::run();
    }
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
