//! Shared command-line code: flags, exit codes, colour, progress, errors, runs.

pub mod args;
pub mod error;
pub mod exit;
pub mod forward_signals;
pub mod frame;
pub mod generate;
pub mod lab;
pub mod listen;
pub mod log;
pub mod mistakes;
pub mod predict;
pub mod progress;
pub mod run;
pub mod seed;
pub mod signals;
pub mod stdout;
pub mod style;
pub mod topics;
pub mod values;
pub mod version;
