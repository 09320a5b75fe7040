//! `tcp-vs-udp`: the same bank requests over TCP and over UDP through the same packet loss.

use std::process::ExitCode;

fn main() -> ExitCode {
    tcp_vs_udp::commands::main()
}
