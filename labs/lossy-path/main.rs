//! `lossy-path`: any program through an emulated path, without root, repeatable, audited.

use std::process::ExitCode;

fn main() -> ExitCode {
    lossy_path::commands::main()
}
