//! The command lines of `bank-tcp` and `bank-udp`, except the carrier.

pub mod args;
mod call;
mod frames;
mod load;
mod serve;
mod words;

use crate::bank::datagram::DatagramClientConfig;
use crate::bank::stream::StreamClientConfig;
use crate::bank::transport::Transport;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::frame::Frame;
use crate::cli::topics::Topic;
use crate::cli::values::addresses;
use args::{Cli, ClientFlags, ELSEWHERE, ServeFlags, What, exit_codes};
use clap::{Command, CommandFactory};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// The transport of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A TCP connection per client.
    Tcp,
    /// A UDP socket per client.
    Udp,
}

/// One of the two labs.
#[derive(Clone, Copy, Debug)]
pub struct Lab {
    /// Program name.
    pub name: &'static str,
    /// Purpose, in a sentence.
    pub about: &'static str,
    /// Examples: the first part of its help.
    pub examples: &'static str,
    /// Transport.
    pub carrier: Carrier,
}

impl Lab {
    /// The command line.
    fn command<S: ServeFlags, X: ClientFlags>(&self) -> Command {
        let mut command = Cli::<S, X>::command().name(self.name).bin_name(self.name);
        command = command.about(self.about).before_help(self.examples);
        for name in ["serve", "call", "load"] {
            let of_it = format!("{} {name}", self.name);
            let lines = self.examples.lines().filter(|line| line.contains(&of_it));
            let examples: Vec<&str> = std::iter::once("Examples:").chain(lines).collect();
            command = command.mut_subcommand(name, |it| it.before_help(examples.join("\n") + "\n"));
        }
        command
    }

    /// The transport of a client with these flags.
    fn transport(
        &self,
        flags: &impl ClientFlags,
        deadline: Duration,
        max_in_flight: usize,
    ) -> Box<dyn Transport> {
        let delivery = flags.delivery();
        match self.carrier {
            Carrier::Tcp => Box::new(StreamClientConfig { deadline, max_in_flight, delivery }),
            Carrier::Udp => Box::new(DatagramClientConfig {
                deadline,
                delivery,
                max_in_flight,
                ..DatagramClientConfig::default()
            }),
        }
    }

    /// The command that starts a bank at this address.
    fn serve_at(&self, address: SocketAddr) -> String {
        let usual = address.to_string() == ADDRESS;
        let listen = if usual { String::new() } else { format!(" --listen {address}") };
        format!("{} serve{listen}", self.name)
    }
}

/// Runs a lab with the arguments of this process.
pub fn main<S: ServeFlags, X: ClientFlags>(lab: &Lab) -> ExitCode {
    let topics = vec![
        Topic::text("outcomes", "done, refused, unknown: what a client knows", OUTCOMES),
        Topic::text("exit-codes", "what the exit status says", exit_codes()),
    ];
    let frame = Frame::new(lab.name, lab.command::<S, X>()).elsewhere(ELSEWHERE).topics(topics);
    frame.main(|cli: Cli<S, X>| match &cli.what {
        Some(What::Serve(serve)) => serve::run(lab, serve),
        Some(What::Call(call)) => call::run::<S, X>(lab, call, &cli.common),
        Some(What::Load(load)) => load::run(lab, load),
        None => Err(Failure::new(Exit::Usage, "say what to do: serve, call or load")
            .or_type("examples", format!("{} --help", lab.name))),
    })
}

/// The address in a flag; the port is optional.
fn resolve(lab: &Lab, flag: &str, text: &str) -> Result<SocketAddr, Failure> {
    addresses(text, PORT).map(|found| found[0]).map_err(|why| {
        let command = if flag == "--listen" { "serve" } else { "call" };
        Failure::new(Exit::Usage, format!("{flag} {text:?} is not an address"))
            .because(why)
            .or_type("for example", format!("{} {command} {flag} {ADDRESS}", lab.name))
    })
}

const OUTCOMES: &str = "\
Every call ends in one of three ways:
  done      the operation was applied; the reply has the result
  refused   it was not applied, and never will be under this key
  unknown   no reply came in time: it may have been applied, now or later

A key is the client's lease and the number of the operation; `call --seed N` is the same client and
operation again. The server applies a key once and repeats its reply, as long as the lease lasts and
the server runs (serve --lease, --dedup). A read changes nothing and can be repeated at any time.
";

/// Default address. The port has no other known use.
pub const ADDRESS: &str = "127.0.0.1:7411";
/// Default port.
const PORT: u16 = 7411;
