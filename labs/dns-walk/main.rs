//! `dns-walk`: every step of a name's resolution, from the root to the answer, and why.

use std::process::ExitCode;

fn main() -> ExitCode {
    dns_walk::commands::main()
}
