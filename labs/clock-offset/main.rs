//! `clock-offset`: how wrong is this clock, between which bounds, and how do you know?

use std::process::ExitCode;

fn main() -> ExitCode {
    clock_offset::commands::main()
}
