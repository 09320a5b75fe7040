//! Two hosts of the lab's own with the emulated path between them, where namespaces are allowed.

use crate::LAB;
use crate::args::Args;
use crate::driver::link::link;
use crate::scenario::{Scenario, Way};
use clap::CommandFactory;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::lab;
use wirelab::cli::run::Repeat;
use wirelab::cli::stdout;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, Topology};
use wirelab::measure::{human, nanos};
use wirelab::runtime::clock::Clock;
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::{PrivilegeError, acquire};

/// The hosts and their router; they end with the value.
pub(crate) struct Path {
    topology: Topology,
    router: Router,
}

/// Which host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client's.
    A,
    /// The server's.
    B,
}

impl Path {
    /// Builds the path of a scenario.
    ///
    /// It must come before any thread: a user namespace cannot be entered after one.
    ///
    /// # Errors
    /// The forbidden step, and the rule that forbids it.
    pub(crate) fn build(scenario: &Scenario, seed: u64, clock: Clock) -> Result<Self, Failure> {
        acquire().map_err(|refused| refuse(&refused, seed))?;
        let lane = LaneConfig { name: "a-b".to_owned(), ..LaneConfig::default() };
        let topology = Topology::build(&[lane])
            .map_err(|error| Failure::from_error(Exit::Network, "the path", &error))?;
        let router = Router::start(&topology, RouterConfig::default(), clock).map_err(failed)?;
        router
            .set_links(0, &link(&scenario.out), &link(&scenario.back), seed, 0)
            .map_err(failed)?;
        Ok(Self { topology, router })
    }

    /// A host's namespace.
    pub(crate) fn host(&self, end: End) -> &Netns {
        let lane = &self.topology.lanes[0];
        if end == End::A { &lane.a } else { &lane.b }
    }

    /// A socket on a host, at a port that the kernel chooses.
    ///
    /// # Errors
    /// Errors of the kernel.
    pub(crate) fn socket(&self, end: End) -> Result<UdpSocket, Failure> {
        let address = if end == End::A { Topology::A_ADDR } else { Topology::B_ADDR };
        let bind = || UdpSocket::bind((address, 0));
        self.host(end).run(bind).and_then(|bound| bound).map_err(failed)
    }

    /// Prints the path's counters and tears it down.
    ///
    /// # Errors
    /// Fails if the router failed.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let record = self.router.take_record(0).map_err(failed)?;
        let [out, back] = record.directions.map(|way| {
            let late = human::latency(nanos(way.lateness.p99()));
            format!(
                "{}, {} lost, 99 % of the others late by {late} at most",
                human::plural(way.offered, "packet", "packets"),
                way.lost
            )
        });
        stdout::complain(&format!("the path: out {out}; back {back}\n"));
        self.router.stop().map(drop).map_err(failed)
    }
}

/// The scenario without its path, which real packets cross instead.
pub(crate) fn pathless(scenario: &Scenario) -> Scenario {
    Scenario { out: Way::default(), back: Way::default(), ..scenario.clone() }
}

/// Where the demonstration's server listens without a path.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn refuse(refused: &PrivilegeError, seed: u64) -> Failure {
    let other = Repeat::new(LAB, Args::command()).without("kernel").seed(Some(seed)).command();
    lab::refused(refused)
        .or_type("the same with the path played inside the program", other)
        .or_type("to see every step", "lossy-path doctor".to_owned())
}

fn failed(error: io::Error) -> Failure {
    Failure::from_error(Exit::Network, "the path failed", &error)
}
