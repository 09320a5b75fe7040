//! What `-v` turns on: the program's own account, on stderr.
//!
//! It must never write to stdout, which is the result.

use tracing::level_filters::LevelFilter;

/// Starts the log: warnings, with `-v` what is done, with `-vv` every step. A level in `RUST_LOG`
/// (`debug`, `trace`) overrides the flag.
pub fn start(verbosity: u8) {
    let asked = match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    // A second start, as in a test, changes nothing.
    let _started_before = tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(asked))
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .try_init();
}
