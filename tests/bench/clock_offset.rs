//! `clock-offset` against ntpdig and chronyd: the error of each on the same path, with equally many
//! packets.
//!
//! Every host has this host's clock, so the true offset is zero. Rounds are interleaved on each of
//! several paths at once.

#![expect(clippy::disallowed_methods, reason = "it waits for other programs")]

use super::clock_peers::{Served, chronyd, found, free_port, scratch};
use super::path::{Usage, said, say_how_quiet_it_was, spread};
use clock_offset::bound::Window;
use clock_offset::client::ClientConfig;
use clock_offset::drift::DRIFT_MAX;
use clock_offset::driver::clocks;
use clock_offset::driver::link::link;
use clock_offset::driver::query::{Asked, Query};
use clock_offset::driver::serve::{Server, Serving};
use clock_offset::estimate::{Estimator, estimate};
use clock_offset::finding::{Finding, View};
use clock_offset::sample::{Sample, TimePair};
use clock_offset::scenario::{Scenario, Truth, Way};
use clock_offset::server::ServerConfig;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{Lane, LaneConfig, Topology};
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;

/// Concurrent paths, and rounds on each: thirty rounds in all.
const LANES: usize = 10;
const ROUNDS: usize = 3;
/// Packets of every tool with a choice.
const PACKETS: u32 = 8;
/// Interval, as chronyd's shortest.
const EVERY: Duration = Duration::from_millis(125);
/// Runs on idle loopback.
const LOOPBACK_RUNS: usize = 30;
/// NTP's port, the only one in ntpdig.
const PORT: u16 = 123;
/// Frequency error of the server in the drift test, ppb.
const DRIFT_PPB: i64 = 50_000;
const DRIFT_SAMPLES: u32 = 64;
const DRIFT_EVERY: Duration = Duration::from_millis(100);
const MS: f64 = 1e6;

/// Errors of all tools in one round, nanoseconds; none for a missing tool.
struct Round {
    ours: f64,
    held: bool,
    peers: [Option<f64>; 3],
}

const PEERS: [&str; 3] =
    ["ntpdig -p 8", "chronyd -x, estimate after 8 packets", "chronyd -Q iburst (sends 3)"];

/// Runs the benchmark; whether every target was met.
pub(crate) fn run() -> bool {
    if let Err(error) = acquire() {
        println!("clock-offset: skipped\n{error}");
        return true;
    }
    let (before, clock) = (Usage::now(), Clock::start());
    let topology = Topology::build(&vec![LaneConfig::default(); LANES]).unwrap();
    let router = Router::start(&topology, RouterConfig::default(), Clock::start()).unwrap();
    let Some(servers) = servers(&topology) else {
        println!("clock-offset: skipped, chronyd is not here: there is no server to ask");
        return true;
    };
    let all = [jitter(&topology, &router), asymmetric(&topology, &router)];
    drop(servers);
    let all = [all[0], all[1], drift(&topology, &router), loopback()];
    let took = clock.now().since(Instant::ZERO).as_secs_f64();
    println!("\nall of this took {took:.0} s; the peers count as other programs:");
    say_how_quiet_it_was(before);
    all.iter().all(|met| *met)
}

/// Starts chronyd on every host B.
fn servers(topology: &Topology) -> Option<Vec<Served>> {
    let start = |lane: &Lane| {
        let serve = || {
            // Allows port 123 without privilege for chronyd and ntpdig.
            let _as_root = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
            Served::chronyd(&Topology::B_ADDR.to_string(), PORT)
        };
        lane.b.run(serve).unwrap()
    };
    let servers = topology.lanes.iter().map(start).collect::<Option<Vec<_>>>()?;
    let here = |lane: &Lane| lane.b.run(|| until_it_answers(Topology::B_ADDR, PORT)).unwrap();
    topology.lanes.iter().for_each(here);
    Some(servers)
}

fn until_it_answers(address: Ipv4Addr, port: u16) {
    for _ in 0..200 {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let request = [&[0x23; 1][..], &[0; 46], &[1]].concat();
        socket.send_to(&request, (address, port)).unwrap();
        if socket.recv(&mut [0; 64]).is_ok() {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    panic!("chronyd on {address}:{port} never answered");
}

fn set_links(topology: &Topology, router: &Router, ways: [Way; 2], seed: u64) {
    let [out, back] = ways.map(|way| link(&way));
    for lane in 0..topology.lanes.len() {
        router.set_links(lane, &out, &back, seed + lane as u64, 0).unwrap();
    }
}

const fn way(delay_ms: u64, jitter_ms: u64) -> Way {
    let (delay, jitter) = (Duration::from_millis(delay_ms), Duration::from_millis(jitter_ms));
    Way { delay, jitter, loss: wirelab::measure::Ppm::ZERO }
}

/// Rounds on every lane, all lanes at once; the order of the tools rotates.
fn rounds(topology: &Topology, count: usize) -> Vec<Round> {
    scope(|scope| {
        let on = |lane: &Lane| {
            let a = lane.a.clone();
            scope.spawn(move || (0..count).map(|turn| a.run(|| round(turn)).unwrap()).collect())
        };
        let running: Vec<_> = topology.lanes.iter().map(on).collect();
        running.into_iter().flat_map(|thread| -> Vec<Round> { thread.join().unwrap() }).collect()
    })
}

fn round(turn: usize) -> Round {
    let (mut ours, mut peers) = ((0.0, false), [None; 3]);
    for place in 0..4 {
        match (turn + place) % 4 {
            0 => ours = crate::clock_offset::ours(),
            1 => peers[0] = ntpdig(),
            2 => peers[1] = after_eight(),
            _ => peers[2] = query_only(),
        }
    }
    Round { ours: ours.0, held: ours.1, peers }
}

// ---- the tools ----------------------------------------------------------------------------------

fn config(requests: u32, every: Duration) -> ClientConfig {
    ClientConfig {
        requests: Some(requests),
        burst: requests,
        burst_interval: every,
        interval: every,
        ..ClientConfig::default()
    }
}

/// The lab's result in this thread's namespace.
fn ask(server: SocketAddr, config: ClientConfig, clock: Clock) -> (Finding, TimePair) {
    let (_stopper, mut stopped) = shutdown::pair().unwrap();
    let name = server.to_string();
    let asked = Asked { name, addresses: vec![server], all: false, nts: None };
    let mut query = Query::new(vec![asked], config, clock).unwrap();
    query.run(&mut stopped, |_, _, _| {}).unwrap();
    let now = clocks(&clock);
    let view = View { estimator: None, drift_limit: DRIFT_MAX, within_ns: None };
    (Finding::new(query.into_gathered(), view, now), now)
}

fn ours() -> (f64, bool) {
    let server = SocketAddr::new(IpAddr::V4(Topology::B_ADDR), PORT);
    let together = ask(server, config(PACKETS, EVERY), Clock::start()).0.together.unwrap();
    (together.estimate_ns as f64, together.interval.contains(0))
}

fn ntpdig() -> Option<f64> {
    let program = found(&["/usr/bin/ntpdig", "/usr/sbin/ntpdig"])?;
    let packets = PACKETS.to_string();
    let address = Topology::B_ADDR.to_string();
    let out = Command::new(program).args(["-j", "-p", &packets, &address]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    // ntpdig drops a zero from fractions below 100 ms in "time", which is not read here.
    let offset = text.split("\"offset\":").nth(1)?.split([',', '}']).next()?;
    Some(offset.trim().parse::<f64>().ok()? * 1e9)
}

/// chronyd's estimate after eight samples; it may have sent more. Its `-Q` sends no more than
/// three. Not selected, the source does not adjust the clock that it is compared with.
fn after_eight() -> Option<f64> {
    let folder = scratch();
    let shown = folder.display();
    let config = format!(
        "server {} minpoll -3 maxpoll -3 iburst noselect\nport 0\ncmdport 0\nbindcmdaddress /\n\
         pidfile {shown}/pid\nlogdir {shown}\nlog statistics\n",
        Topology::B_ADDR
    );
    std::fs::write(folder.join("conf"), config).unwrap();
    let mut command = chronyd()?;
    command.args(["-x", "-d", "-f"]).arg(folder.join("conf"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut estimate = None;
    for _ in 0..1_000 {
        let text = std::fs::read_to_string(folder.join("statistics.log")).unwrap_or_default();
        let mut rows = text.lines().filter(|line| line.contains(&Topology::B_ADDR.to_string()));
        // A row for each sample from the third on: a regression needs three. Date, time, address,
        // deviation, offset, ...; a complete line has thirteen fields.
        let row = rows.nth(PACKETS as usize - 3).map(|row| row.split_whitespace().collect());
        if let Some(fields) = row.filter(|fields: &Vec<&str>| fields.len() >= 13) {
            estimate = fields[4].parse::<f64>().ok().map(|seconds| seconds * 1e9);
            break;
        }
        sleep(Duration::from_millis(10));
    }
    child.kill().ok();
    child.wait().ok();
    std::fs::remove_dir_all(&folder).ok();
    estimate
}

fn query_only() -> Option<f64> {
    query_at(&Topology::B_ADDR.to_string(), PORT)
}

fn query_at(address: &str, port: u16) -> Option<f64> {
    let folder = scratch();
    let pid = format!("pidfile {}/pid", folder.display());
    let server = format!("server {address} port {port} iburst minpoll -3 maxpoll -3");
    let own = ["-Q", "-t", "10", "port 0", "cmdport 0", "bindcmdaddress /", &pid, &server];
    let out = chronyd()?.args(own).output().unwrap();
    std::fs::remove_dir_all(&folder).ok();
    let text = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    let seconds = text.split("wrong by ").nth(1)?.split(' ').next()?;
    Some(seconds.parse::<f64>().ok()? * 1e9)
}

// ---- figures ------------------------------------------------------------------------------------

fn errors(values: impl Iterator<Item = f64>) -> Option<(f64, f64, f64)> {
    let mut sizes: Vec<f64> = values.map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    let at = |percent: usize| sizes.get(sizes.len().checked_sub(1)? * percent / 100).copied();
    Some((at(50)?, at(95)?, at(100)?))
}

/// Prints a row of the table; returns the median absolute error.
fn row(name: &str, values: Vec<f64>, unit: f64) -> Option<f64> {
    let count = values.len();
    let signed = spread(values.clone()).middle;
    let (median, high, most) = errors(values.into_iter())?;
    println!(
        "{name:<42}{:>12.3}{:>12.3}{:>12.3}{:>12.3}{count:>8}",
        median / unit,
        high / unit,
        most / unit,
        signed / unit
    );
    Some(median)
}

fn head(title: &str, unit: &str) {
    let columns = ["median |e|", "95 %", "largest", "median e"].map(|name| format!("{name:>12}"));
    println!("\n{title}, error in {unit}\n{:<42}{}{:>8}", "", columns.concat(), "runs");
}

fn table(rounds: &[Round]) -> (f64, [Option<f64>; 3]) {
    let ours = row("clock-offset, 8 packets", rounds.iter().map(|r| r.ours).collect(), MS);
    let peers = [0, 1, 2].map(|index| {
        let values: Vec<f64> = rounds.iter().filter_map(|round| round.peers[index]).collect();
        if values.is_empty() {
            println!("{:<42}not here: skipped", PEERS[index]);
            return None;
        }
        row(PEERS[index], values, MS)
    });
    (ours.unwrap(), peers)
}

// ---- (1) one-sided jitter -----------------------------------------------------------------------

fn jitter(topology: &Topology, router: &Router) -> bool {
    set_links(topology, router, [way(10, 5), way(10, 1)], 1);
    head("10 ms each way, queues of 5 ms out and 1 ms back (exponential)", "ms");
    let rounds = rounds(topology, ROUNDS);
    let (ours, peers) = table(&rounds);
    let held = rounds.iter().filter(|round| round.held).count();
    println!("our interval held the truth in {held} of {} runs", rounds.len());
    // -Q sends three packets and is not comparable.
    let best = peers[..2].iter().flatten().copied().min_by(f64::total_cmp);
    let Some(best) = best else { return held == rounds.len() };
    let met = ours <= 0.9 * best && held == rounds.len();
    println!("ours / the better of the two with 8: {:.2} <= 0.90: {}", ours / best, said(met));
    met
}

// ---- (2) an unequal path ------------------------------------------------------------------------

fn asymmetric(topology: &Topology, router: &Router) -> bool {
    set_links(topology, router, [way(15, 0), way(5, 0)], 2);
    head("15 ms out, 5 ms back: undetectable, every tool is wrong by 5 ms", "ms");
    let rounds = rounds(topology, 1);
    let (ours, peers) = table(&rounds);
    let held = rounds.iter().filter(|round| round.held).count();
    let wrong = |error: f64| (4.5..5.5).contains(&(error / MS));
    let met = held == rounds.len() && wrong(ours) && peers.iter().flatten().all(|e| wrong(*e));
    println!("our interval held the truth in {held} of {} runs: {}", rounds.len(), said(met));
    met
}

// ---- (3) drift ----------------------------------------------------------------------------------

fn drift(topology: &Topology, router: &Router) -> bool {
    set_links(topology, router, [way(10, 5), way(10, 1)], 3);
    head("the same queues, 64 samples, a server that drifts by 50 ppm", "ms");
    let errors: Vec<[f64; 3]> = scope(|scope| {
        let on = |lane: &Lane| {
            let (a, b) = (lane.a.clone(), lane.b.clone());
            scope.spawn(move || [(); ROUNDS].map(|()| drifting(&a, &b)))
        };
        let running: Vec<_> = topology.lanes.iter().map(on).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let column = |index: usize| errors.iter().map(|error| error[index]).collect::<Vec<_>>();
    let ours = row("clock-offset", column(0), MS).unwrap();
    let plain = row("plain regression, same samples", column(1), MS).unwrap();
    let _shown = row("chrony's weighted regression, same samples", column(2), MS);
    let met = ours <= 0.3 * plain;
    println!("ours / plain regression: {:.2} <= 0.30: {}", ours / plain, said(met));
    met
}

/// Errors of one run: clock-offset, plain regression, weighted regression.
fn drifting(a: &Netns, b: &Netns) -> [f64; 3] {
    let socket = b.run(|| UdpSocket::bind((Topology::B_ADDR, 0))).unwrap().unwrap();
    let server = socket.local_addr().unwrap();
    let truth = Truth { drift_ppb: DRIFT_PPB, ..Truth::default() };
    let scenario = Scenario { truth: truth.clone(), ..Scenario::default() };
    let clock = Clock::start();
    let serving = Serving { scenario, seed: 0, config: ServerConfig::default() };
    let serving = Server::new(socket, serving, clock).unwrap();
    let (stopper, mut stopped) = shutdown::pair().unwrap();
    scope(|scope| {
        scope.spawn(move || serving.run(&mut stopped));
        let config = config(DRIFT_SAMPLES, DRIFT_EVERY);
        let (finding, now) = a.run(|| ask(server, config, clock)).unwrap();
        stopper.stop();
        let truth = truth.offset_at(now.at);
        let samples: &[Sample] = &finding.servers[0].samples;
        let window = Window::new(samples, &now);
        let by = |which| estimate(which, &window, DRIFT_MAX, now.at).unwrap().offset_ns;
        let all = [
            finding.together.unwrap().estimate_ns,
            by(Estimator::Regression),
            by(Estimator::Weighted),
        ];
        all.map(|offset| (offset - truth) as f64)
    })
}

// ---- (4) loopback -------------------------------------------------------------------------------

fn loopback() -> bool {
    let Some(server) = Served::chronyd("127.0.0.1", free_port()) else { return true };
    until_it_answers(Ipv4Addr::LOCALHOST, server.port);
    head("chronyd on idle loopback, 8 packets, kernel stamps of arrival", "us");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    let plain = config(PACKETS, Duration::from_millis(20));
    let interleaved = ClientConfig { interleaved: true, ..plain };
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..LOOPBACK_RUNS {
        for (column, config) in columns.iter_mut().zip([plain, interleaved]) {
            let (finding, _) = ask(address, config, Clock::start());
            column.push(finding.together.unwrap().estimate_ns as f64);
        }
        columns[2].extend(query_at("127.0.0.1", server.port));
    }
    let [basic, told, theirs] = columns;
    let middle = spread(basic.clone()).middle.abs() / 1e3;
    row("clock-offset", basic, 1e3);
    row("clock-offset --interleaved", told, 1e3);
    row("chronyd -Q iburst (sends 3)", theirs, 1e3);
    let met = middle <= 2.0;
    println!("|median| of clock-offset: {middle:.2} us <= 2: {}", said(met));
    met
}
