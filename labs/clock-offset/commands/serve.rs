//! `clock-offset serve`: the server of known error, for any client.

use crate::LAB;
use crate::args::Serve;
use crate::commands::say;
use crate::driver::serve::{Counts, Server, Serving};
use crate::server::ServerConfig;
use serde_json::json;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use tracing::info;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::stdout;
use wirelab::measure::human::plural;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// Fails if it cannot listen, or the loop fails.
pub(crate) fn run(flags: &Serve) -> Result<Exit, Failure> {
    let address = flags.listen;
    let typed = format!("{LAB} serve --listen {address}");
    flags.beyond.check(&[address], "this server's time is meant to be wrong", &typed)?;
    let socket = UdpSocket::bind(address).map_err(|error| cannot_listen(address, &error))?;
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the server failed", &error);
    let bound = socket.local_addr().map_err(failed)?;
    let seed = flags.played.seed.or_random()?;
    let scenario = flags.played.serve();
    let config = ServerConfig { leap: scenario.leap, ..ServerConfig::default() };
    let (stopper, mut stopped) = shutdown::pair().map_err(failed)?;
    // Before it announces that it listens: a reader may stop it at once.
    stopper.on_signals().map_err(failed)?;
    let told = serde_json::to_value(&scenario)
        .map_err(|error| Failure::from_error(Exit::Bug, "cannot write JSON", &error))?;
    let clock = Clock::start();
    let server = Server::new(socket, Serving { scenario, seed, config }, clock).map_err(failed)?;
    if !bound.ip().is_loopback() {
        stdout::complain(&format!(
            "{LAB}: {bound} can be reached from other hosts, and this server's time is meant to be \
             wrong\n"
        ));
    }
    say(&if flags.json {
        let line = json!({
            "type": "listening", "lab": LAB, "address": bound.to_string(), "seed": seed,
            "scenario": told,
        });
        format!("{line}\n")
    } else {
        format!(
            "{LAB} serves NTP on {bound}, stratum {}, seed {seed}\n  \
             ask it, in another terminal:  {LAB} {}\n  \
             stop it:                      Ctrl-C\n",
            config.stratum,
            reachable(bound)
        )
    })?;
    info!("clock and path: {told}");
    let counts = server.run(&mut stopped).map_err(failed)?;
    say(&report(&counts, flags.json))?;
    Ok(Exit::Holds)
}

/// An address of this host at which a server on any of them is asked.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn report(counts: &Counts, as_json: bool) -> String {
    if as_json {
        return format!("{}\n", json!({ "type": "stopped", "lab": LAB, "counts": counts }));
    }
    let ignored: Vec<String> =
        counts.ignored.iter().map(|(why, count)| format!("{count} for their {why}")).collect();
    let ignored = if ignored.is_empty() { "none".to_owned() } else { ignored.join(", ") };
    format!(
        "\n{LAB} stopped: {}, {}, {} dropped by --loss, {} not sent; ignored: {ignored}\n",
        plural(counts.requests, "request", "requests"),
        plural(counts.replies, "reply", "replies"),
        counts.lost,
        counts.not_sent
    )
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let failure = Failure::new(Exit::Network, format!("cannot listen on {address}: {error}"));
    match error.kind() {
        io::ErrorKind::AddrInUse => failure
            .because("another program listens there")
            .or_type("take a free port", format!("{LAB} serve --listen 127.0.0.1:0"))
            .or_type("see who it is", format!("ss -lunp 'sport = :{}'", address.port())),
        io::ErrorKind::PermissionDenied => failure
            .because("ports below 1024 need a privilege")
            .or_type("take another port", format!("{LAB} serve")),
        _ => failure.or_type("take the usual address", format!("{LAB} serve")),
    }
}
