//! What `bank-tcp` and `bank-udp` share, which is everything but the carrier.
//!
//! It exists so that a lab is its flags and its words. It must never hold protocol logic: the cores
//! decide, `net` waits, and this says what came of it.

pub mod args;
mod call;
mod load;
mod serve;
mod words;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::{lab as shared, log};
use args::{Cli, ClientFlags, ServeFlags, What};
use clap::{CommandFactory, FromArgMatches};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

/// What carries the requests.
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
    /// The name of its program.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// What to type: the first thing in its help.
    pub examples: &'static str,
    /// What carries its requests.
    pub carrier: Carrier,
}

/// Runs a lab with the arguments of this process, to its end.
#[must_use]
pub fn main<S: ServeFlags, X: ClientFlags>(lab: &Lab) -> ExitCode {
    let command = Cli::<S, X>::command()
        .name(lab.name)
        .bin_name(lab.name)
        .about(lab.about)
        .before_help(lab.examples);
    let matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let cli = match Cli::<S, X>::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log::start(cli.verbose);
    let ended = match (cli.generate, &cli.what) {
        (Some(what), _) => shared::generate(what, command),
        (None, Some(What::Serve(serve))) => serve::run(lab, serve),
        (None, Some(What::Call(call))) => call::run(lab, call, cli.verbose, cli.color),
        (None, Some(What::Load(load))) => load::run(lab, load),
        (None, None) => Err(Failure::new(Exit::Usage, "say what to do: serve, call or load")
            .or_type("examples", format!("{} --help", lab.name))),
    };
    shared::end(lab.name, cli.color.for_stderr(), ended)
}

/// What clap says: help on stdout, a mistake on stderr.
fn usage(error: &clap::Error) -> ExitCode {
    // Where the terminal is gone there is nobody to tell.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Holds.into() }
}

/// The address of `host:port`; the first one where a name has several.
fn resolve(lab: &Lab, text: &str) -> Result<SocketAddr, Failure> {
    let usage = |why: String| {
        Failure::new(Exit::Usage, format!("{text:?} is no address: {why}"))
            .or_type("an address is HOST:PORT", format!("{} call --server {ADDRESS} …", lab.name))
    };
    let mut found = text.to_socket_addrs().map_err(|error| usage(error.to_string()))?;
    found.next().ok_or_else(|| usage("the name has none".to_owned()))
}

/// Where the labs listen and ask unless told otherwise. The port has no other known use.
pub const ADDRESS: &str = "127.0.0.1:7411";
