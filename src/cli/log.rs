//! Log messages on stderr, enabled by `-v`.
//!
//! Levels: `warn` is always shown; `-v` adds `info`, one line per step (opened, sent, received,
//! retried, decided); `-vv` adds `debug`, what each step saw. `RUST_LOG=LEVEL` overrides both.

use super::stdout::Stderr;
use tracing_subscriber::filter::LevelFilter;

/// The level: that of the environment where it is one, else that of `-v`.
fn level(verbosity: u8, environment: Option<&str>) -> LevelFilter {
    let named = environment.map(str::trim).filter(|level| !level.is_empty());
    let named = named.and_then(|level| level.parse().ok());
    named.unwrap_or(match verbosity {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    })
}

/// Starts the log.
pub fn start(verbosity: u8) {
    let environment = std::env::var("RUST_LOG").ok();
    // A second start, as in a test, changes nothing.
    let _started_before = tracing_subscriber::fmt()
        .with_max_level(level(verbosity, environment.as_deref()))
        .with_writer(|| Stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_overrides_the_flag_where_it_names_a_level() {
        for (verbosity, environment, expected) in [
            (0, None, LevelFilter::WARN),
            (1, None, LevelFilter::INFO),
            (2, None, LevelFilter::DEBUG),
            (0, Some("trace"), LevelFilter::TRACE),
            (2, Some("error"), LevelFilter::ERROR),
            (1, Some("wirelab=debug"), LevelFilter::INFO),
            (1, Some(""), LevelFilter::INFO),
        ] {
            assert_eq!(level(verbosity, environment), expected, "{verbosity} {environment:?}");
        }
    }
}
