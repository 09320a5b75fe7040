//! What `-v` turns on: the program's own account, on stderr.
//!
//! It must never write to stdout, which is the result.

use tracing_subscriber::EnvFilter;

/// Starts the log: warnings, with `-v` what is done, with `-vv` every step. `RUST_LOG` overrules.
pub fn start(verbosity: u8) {
    let level = match verbosity {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // A second start, as in a test, changes nothing.
    let _started_before = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .try_init();
}
