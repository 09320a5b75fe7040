//! The bank protocol over UDP: run the bank, call it, put a load on it.

use std::process::ExitCode;
use wirelab::bank::cli::args::{UdpClient, UdpServe};
use wirelab::bank::cli::{Carrier, Lab, main as run};

/// A test runs every line of these.
const EXAMPLES: &str = "\
Examples:
  bank-udp serve                                 be the bank, on this host only
  bank-udp call deposit 1 12.34                  in another terminal: put money in
  bank-udp call transfer 1 2 5.00                move some of it
  bank-udp call --delivery at-most-once balance 1
                                                 ask once and never again
  bank-udp call -v balance 1                     show the datagrams, byte by byte
  bank-udp load --for 1s                         8 clients, one request each: how fast?
  bank-udp load --rate 500 --ops 500             500 per second, whatever the answers do
";

fn main() -> ExitCode {
    run::<UdpServe, UdpClient>(&Lab {
        name: "bank-udp",
        about: "The bank on UDP datagrams: serve it, call it, load it",
        examples: EXAMPLES,
        carrier: Carrier::Udp,
    })
}
