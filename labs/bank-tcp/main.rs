//! The bank protocol over TCP: run the bank, call it, put a load on it.

use std::process::ExitCode;
use wirelab::bank::cli::args::{TcpClient, TcpServe};
use wirelab::bank::cli::{Carrier, Lab, main as run};

/// A test runs every line of these.
const EXAMPLES: &str = "\
Examples:
  bank-tcp serve                                 be the bank, on this host only
  bank-tcp call deposit 1 12.34                  in another terminal: put money in
  bank-tcp call transfer 1 2 5.00                move some of it
  bank-tcp call transactions 1                   every entry of an account
  bank-tcp call -v balance 1                     show the frames, byte by byte
  bank-tcp load --for 1s                         8 clients, one request each: how fast?
  bank-tcp load --rate 500 --ops 500             500 per second, whatever the answers do
";

fn main() -> ExitCode {
    run::<TcpServe, TcpClient>(&Lab {
        name: "bank-tcp",
        about: "The bank on a TCP stream: serve it, call it, load it",
        examples: EXAMPLES,
        carrier: Carrier::Tcp,
    })
}
