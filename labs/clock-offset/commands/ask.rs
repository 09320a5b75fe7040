//! Where the samples come from: servers, the demonstration, virtual time, a file.

use crate::LAB;
use crate::args::Args;
use crate::client::{BURST_INTERVAL, Ended, Event};
use crate::commands::artifacts::Leaving;
use crate::commands::{kernel, nts};
use crate::driver::clocks;
use crate::driver::query::{Asked, Query};
use crate::driver::serve::{Server, Serving};
use crate::finding::{Finding, Gathered, View};
use crate::host_clocks::HostClocks;
use crate::report;
use crate::sample::TimePair;
use crate::scenario::Scenario;
use crate::server::ServerConfig;
use crate::sim::Plan;
use crate::timestamp::WallTime;
use crate::timestamp::saturated;
use clap::CommandFactory;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::Duration;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::run::{RECORDED_MAX, Repeat, Saved, read_text};
use wirelab::cli::stdout;
use wirelab::cli::stdout::Pipe;
use wirelab::measure::{human, nanos};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::sys::sockets::interface_index;

/// Result of a run, its folder, and whether it was interrupted.
pub(crate) struct Found {
    pub(crate) finding: Finding,
    pub(crate) leaving: Leaving,
    pub(crate) interrupted: bool,
}

/// NTP's port (RFC 5905 §7.2).
const PORT: u16 = 123;

/// Gathers samples from where the user said, and looks at them.
///
/// Files are opened when nothing but the network can fail any more: a mistake leaves none.
///
/// # Errors
/// Fails if there is no server to ask, no file to read, or no file to write.
pub(crate) fn find(args: &Args) -> Result<Found, Failure> {
    let view = view(args);
    let repeat = Repeat::new(LAB, Args::command());
    if let Some(file) = &args.from {
        let finding = read(file, view)?;
        let command = repeat.command();
        let leaving = Leaving::open(args, &command, finding.seed)?;
        return Ok(finish(args, finding, leaving, command));
    }
    if args.sim || args.demo {
        let seed = args.played.seed.or_random()?;
        let command = repeat.seed(Some(seed)).command();
        let scenario = args.host.over(args.played.demo(), seed);
        if args.sim {
            let mut leaving = Leaving::open(args, &command, Some(seed))?;
            let finding = sim(args, scenario, seed, view, &mut leaving);
            return Ok(finish(args, finding, leaving, command));
        }
        let asked = demo(args, scenario.clone(), seed, &command)?;
        let truth = scenario.truth.clone();
        let finding = Finding::new(asked.gathered, view, asked.now);
        let mut finding = finding.check(scenario, |at| truth.offset_at(at));
        finding.host_clocks = asked.host_clocks;
        finding.seed = Some(seed);
        return Ok(finish(args, finding, asked.leaving, command));
    }
    if args.servers.is_empty() {
        return Err(Failure::new(Exit::Usage, "name a server to ask; none is asked by default")
            .or_type("a server of known error", format!("{LAB} --demo"))
            .or_type("examples", format!("{LAB} --help")));
    }
    let asked: Vec<Asked> =
        args.servers.iter().map(|name| named(args, name)).collect::<Result<_, _>>()?;
    manners(args, &asked)?;
    let command = repeat.command();
    let asked = query(args, asked, Clock::start(), (&command, None))?;
    let mut finding = Finding::new(asked.gathered, view, asked.now);
    finding.host_clocks = asked.host_clocks;
    Ok(finish(args, finding, asked.leaving, command))
}

/// How to look at what comes.
fn view(args: &Args) -> View {
    let within_ns = args.within.map(|time| saturated(nanos(time).into()));
    View { estimator: args.estimator, drift_limit: args.max_drift, within_ns }
}

/// Replies of servers, and changes of this host's clocks at the time.
struct Answers {
    gathered: Vec<Gathered>,
    now: TimePair,
    host_clocks: Option<HostClocks>,
    leaving: Leaving,
}

/// Plays in virtual time.
fn sim(args: &Args, scenario: Scenario, seed: u64, view: View, leaving: &mut Leaving) -> Finding {
    let plan = Plan {
        scenario: scenario.clone(),
        config: args.config(),
        seed,
        start: SIM_START,
        local_steps: args.host.host_step.clone(),
        local_slews: args.host.host_slew.clone(),
        local_sleeps: args.host.sleeps(),
    };
    let (gathered, now) = plan.play_with(|event, at| leaving.event("virtual time", at, event));
    let mut finding = Finding::new(vec![gathered], view, now);
    finding = finding.check(scenario, |at| plan.offset_at(at));
    finding.host_clocks = plan.host_clocks(now.at);
    finding.seed = Some(seed);
    finding
}

/// Virtual time begins at 2026-01-01, so that a run is the same on any day.
pub(crate) const SIM_START: WallTime = WallTime::from_nanos(1_767_225_600_000_000_000);

fn finish(args: &Args, mut finding: Finding, leaving: Leaving, command: String) -> Found {
    finding.command = command;
    let stopped = finding.servers.iter().any(|server| server.ended == Ended::Stopped);
    // With `--watch`, Ctrl-C is the normal end, not an interruption.
    Found { finding, leaving, interrupted: stopped && !args.watch }
}

/// A command that leaves a run.
pub(crate) const FIRST: &str = "clock-offset --demo";

/// Evaluates a saved run or a file of samples.
fn read(from: &Path, view: View) -> Result<Finding, Failure> {
    if from == Path::new("latest") || from.is_dir() {
        let old: Finding = Saved::find(LAB, Some(from), FIRST)?.result(LAB, FIRST)?;
        return old.viewed(view).map_err(|error| {
            let what = format!("the samples of {} cannot be used", from.display());
            Failure::from_error(Exit::Usage, what, &error)
        });
    }
    let what = format!("{} cannot be used as samples", from.display());
    let text = read_text(from, RECORDED_MAX)
        .map_err(|error| Failure::from_error(Exit::Usage, what.clone(), &error))?;
    let (gathered, last) = report::samples::read(&text).map_err(|error| {
        Failure::from_error(Exit::Usage, what, &error)
            .or_type("make such a file", format!("{LAB} --demo --samples samples.ndjson"))
    })?;
    // A file of samples has only the last reply and not the requests.
    Ok(Finding::new(gathered, view, last))
}

/// A server by what the user called it.
fn named(args: &Args, name: &str) -> Result<Asked, Failure> {
    match name.strip_prefix(nts::SCHEME) {
        Some(host) => nts::establish(args, name, host),
        None if args.nts => nts::establish(args, &format!("{}{name}", nts::SCHEME), name),
        None => resolve(args, name),
    }
}

/// Every address of a name.
fn resolve(args: &Args, name: &str) -> Result<Asked, Failure> {
    let asked = |addresses| {
        let (name, all) = (name.to_owned(), args.all_addresses);
        Asked { name, addresses, all, nts: None }
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(asked(vec![SocketAddr::new(ip, PORT)]));
    }
    if let Some(address) = zoned(name) {
        return address.map(|address| asked(vec![address]));
    }
    let found =
        if name.contains(':') { name.to_socket_addrs() } else { (name, PORT).to_socket_addrs() };
    let failed = |exit, why: String| {
        Failure::new(exit, format!("{name:?} is not a server that can be asked: {why}"))
            .or_type("a server is NAME, ADDRESS or NAME:PORT", format!("{LAB} 127.0.0.1:11123"))
    };
    let found = found.map_err(|error| match error.kind() {
        // A malformed port was never looked up.
        io::ErrorKind::InvalidInput => failed(Exit::Usage, error.to_string()),
        _ => failed(Exit::Network, error.to_string()),
    })?;
    let mut addresses: Vec<_> = found.collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(failed(Exit::Network, "the name has no address".to_owned()));
    }
    Ok(asked(addresses))
}

/// An IPv6 address with a zone, in brackets where a port follows; `None` where it is none.
///
/// //= RFC 4007 §11.2: the address, %, and the name or number of the interface.
fn zoned(text: &str) -> Option<Result<SocketAddr, Failure>> {
    let (address, rest) = text.trim_start_matches('[').split_once('%')?;
    let ip: Ipv6Addr = address.parse().ok()?;
    let (zone, port) = match rest.split_once(']') {
        Some((zone, "")) => (zone, PORT),
        Some((zone, port)) => (zone, port.strip_prefix(':')?.parse().ok()?),
        None => (rest, PORT),
    };
    let index = zone.parse().or_else(|_| interface_index(zone)).map_err(|error| {
        Failure::new(Exit::Usage, format!("{zone:?} is no interface of this host: {error}"))
            .or_type("see them", "ip -br link")
    });
    Some(index.map(|index| SocketAddrV6::new(ip, port, 0, index).into()))
}

/// Rate-limits requests to public servers.
fn manners(args: &Args, asked: &[Asked]) -> Result<(), Failure> {
    let every = args.interval.unwrap_or(BURST_INTERVAL);
    let other = asked.iter().find(|one| one.addresses.iter().any(|a| !a.ip().is_loopback()));
    match other {
        Some(one) if every < BURST_INTERVAL => Err(Failure::new(
            Exit::Usage,
            format!("{} must not be asked every {}", one.name, human::span(every)),
        )
        .because("public servers tolerate a request every 2 s for a short while, no more often")
        .or_type("as often as is right", format!("{LAB} {}", one.name))),
        // An interval that was chosen holds for every request, so a long run takes a long one.
        Some(one) if args.interval.is_some_and(|every| every < HURRY) && too_many(args) => {
            Err(Failure::new(
                Exit::Usage,
                format!("{} must not be asked more than 8 times so soon", one.name),
            )
            .because("more than a short burst is asked at 64 s or slower")
            .or_type("at the right pace", format!("{LAB} {} --requests 20", one.name)))
        }
        _ => Ok(()),
    }
}

/// Shortest interval of a long run.
const HURRY: Duration = crate::client::INTERVAL;

fn too_many(args: &Args) -> bool {
    args.config().requests.is_none_or(|requests| requests > crate::client::BURST)
}

fn query(
    args: &Args,
    asked: Vec<Asked>,
    clock: Clock,
    (command, seed): (&str, Option<u64>),
) -> Result<Answers, Failure> {
    let mut leaving = Leaving::open(args, command, seed)?;
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "cannot ask", &error);
    let (stopper, mut stopped) = shutdown::pair().map_err(failed)?;
    stopper.on_signals().map_err(failed)?;
    announce(args, &asked);
    let mut query = Query::new(asked, args.config(), clock).map_err(failed)?;
    let mut broken = None;
    let mut to = Pipe::new(io::stdout());
    let observe = |gathered: &Gathered, event: &Event, now: &TimePair| {
        leaving.event(&gathered.name, now.at, event);
        let Some(text) = watched(args, gathered, event, now) else { return };
        if let Err(error) = text.and_then(|text| to.write_all(text.as_bytes())) {
            broken.get_or_insert_with(|| {
                Failure::from_error(Exit::Privilege, "cannot write to standard output", &error)
            });
        }
        // Standard output is closed: stop asking.
        if to.is_closed() || broken.is_some() {
            stopper.stop();
        }
    };
    query.run(&mut stopped, observe).map_err(failed)?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    let (host_clocks, now) = (query.host_clocks(), clocks(&clock));
    Ok(Answers { gathered: query.into_gathered(), now, host_clocks, leaving })
}

fn announce(args: &Args, asked: &[Asked]) {
    let config = args.config();
    let names: Vec<&str> = asked.iter().map(|one| one.name.as_str()).collect();
    let how_long = config.requests.map_or_else(
        || "until Ctrl-C".to_owned(),
        |requests| {
            let slow = requests.saturating_sub(config.burst);
            let total = config.burst_interval * requests.min(config.burst).saturating_sub(1)
                + config.interval * slow;
            let each = human::plural(requests.into(), "request", "requests");
            let total = human::latency(nanos(total));
            let wait = human::span(config.timeout);
            format!("{each} to each, about {total}, and {wait} more where no reply comes")
        },
    );
    stdout::complain(&format!("{LAB}: asking {}; {how_long}\n", names.join(", ")));
}

/// The line that `--watch` prints for an event.
fn watched(
    args: &Args,
    gathered: &Gathered,
    event: &Event,
    now: &TimePair,
) -> Option<io::Result<String>> {
    if !args.watch || args.output.events_to_stdout() {
        return None;
    }
    let name = &gathered.name;
    match event {
        Event::Sample(sample) if args.output.json.to_stdout() => {
            Some(report::samples::line(sample).map_err(io::Error::from))
        }
        Event::Sample(sample) => {
            Some(Ok(report::text::watched(gathered, sample, &view(args), now)))
        }
        Event::Refused { request, refusal, .. } if !args.output.json.to_stdout() => Some(Ok(
            format!("{name} request {request}: not believed, {refusal} ({})\n", refusal.section()),
        )),
        Event::Lost { request, .. } if !args.output.json.to_stdout() => {
            Some(Ok(format!("{name} request {request}: no reply\n")))
        }
        _ => None,
    }
}

/// Asks a server in a thread of this process, over the emulated path where that was asked for.
fn demo(args: &Args, scenario: Scenario, seed: u64, command: &str) -> Result<Answers, Failure> {
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the demonstration", &error);
    // One clock for both, so that the truth is the same function of it.
    let clock = Clock::start();
    let path = if args.kernel { Some(kernel::Path::build(&scenario, seed, clock)?) } else { None };
    let (socket, scenario) = match &path {
        Some(path) => (path.socket(kernel::End::B)?, kernel::pathless(&scenario)),
        None => (UdpSocket::bind((kernel::HERE, 0)).map_err(failed)?, scenario),
    };
    let address = socket.local_addr().map_err(failed)?;
    let (stopper, mut stopped) = shutdown::pair().map_err(failed)?;
    let config = ServerConfig { leap: scenario.leap, ..ServerConfig::default() };
    let mut server =
        Server::new(socket, Serving { scenario, seed, config }, clock).map_err(failed)?;
    let name = "a server of known error".to_owned();
    let mut asked = Asked { name, addresses: vec![address], all: false, nts: None };
    // Held until the end: it may be asked for new keys.
    let mut _keys = None;
    if args.nts {
        let (proving, keys) = nts::demo(server, address.port(), &mut asked)?;
        (server, _keys) = (proving, Some(keys));
    }
    let serving = std::thread::spawn(move || server.run(&mut stopped));
    let found = match &path {
        // Its sockets are those of host A.
        Some(path) => {
            let ask = || query(args, vec![asked], clock, (command, Some(seed)));
            path.host(kernel::End::A).run(ask).map_err(failed)?
        }
        None => query(args, vec![asked], clock, (command, Some(seed))),
    };
    stopper.stop();
    match serving.join() {
        Ok(ended) => drop(ended.map_err(failed)?),
        Err(_) => return Err(Failure::new(Exit::Bug, "the demonstration's server panicked")),
    }
    let answers = found?;
    if let Some(path) = path {
        path.finish()?;
    }
    Ok(answers)
}
