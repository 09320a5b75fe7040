//! Accuracy of the router's delays for each way of waiting, and the cost of several paths.
//!
//! Ways of waiting are interleaved with a plain veth pair: a shared machine varies.

#![expect(clippy::disallowed_methods, reason = "it spaces datagrams in real time")]

use std::net::{SocketAddrV4, UdpSocket};
use std::thread::{scope, sleep};
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, Topology};
use wirelab::measure::Instant;
use wirelab::path::{Delay, LinkPlan};
use wirelab::runtime::clock::Clock;
use wirelab::sys::clock::set_timer_slack;
use wirelab::sys::host::pin_to_cpu;
use wirelab::sys::privilege::acquire;

const ROUNDS: usize = 5;
/// Datagrams per round, about 1,000 per second.
const TIMED: usize = 700;
const PAYLOAD: usize = 64;
const DELAY: Duration = Duration::from_millis(10);
/// Targets of the default: the error of a delay, microseconds, and the share of a processor.
const DELAYED: Target = Target { p50: 40.0, p99: 300.0, cpu_percent: 10.0 };
/// The same without a delay: the router's addition to a transit.
const UNDELAYED: Target = Target { p50: 30.0, p99: 200.0, cpu_percent: 10.0 };

#[derive(Clone, Copy)]
struct Target {
    p50: f64,
    p99: f64,
    cpu_percent: f64,
}

/// Runs the benchmark and prints its tables; whether every target was met.
pub(crate) fn run() -> bool {
    if let Err(error) = acquire() {
        println!("router: skipped\n{error}");
        return true;
    }
    let met = ways_of_waiting();
    several_paths();
    met
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

/// The percentile of ascending values.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 50)
}

/// A lane's two sockets, and its own router if it has one.
struct Path {
    a: UdpSocket,
    b: UdpSocket,
}

fn sockets(topology: &Topology, lane: usize) -> Path {
    let lane = &topology.lanes[lane];
    let bind = |address| move || UdpSocket::bind(SocketAddrV4::new(address, 0));
    let a = lane.a.run(bind(Topology::A_ADDR)).unwrap().unwrap();
    let b = lane.b.run(bind(Topology::B_ADDR)).unwrap().unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    b.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    Path { a, b }
}

fn emulated(lanes: usize, delay: Duration, config: RouterConfig) -> (Vec<Path>, Router) {
    let topology = Topology::build(&vec![LaneConfig::default(); lanes]).unwrap();
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let plan = LinkPlan { delay: Delay::Constant(delay), ..LinkPlan::default() };
    for lane in 0..lanes {
        router.set_links(lane, &plan, &plan, 1, 0).unwrap();
    }
    ((0..lanes).map(|lane| sockets(&topology, lane)).collect(), router)
}

/// Two sockets on one namespace's loopback.
fn loopback() -> Path {
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let bind = || UdpSocket::bind("127.0.0.1:0");
    let (a, b) = topology.lanes[0].a.run(|| (bind().unwrap(), bind().unwrap())).unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    Path { a, b }
}

/// Times from before a send to after its receive, microseconds, ascending, for spaced datagrams.
fn transits(path: &Path, count: usize) -> Vec<f64> {
    let clock = Clock::start();
    scope(|scope| {
        let receiver = scope.spawn(|| {
            pin_to_cpu(1).unwrap();
            let mut buffer = [0; PAYLOAD];
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                path.b.recv(&mut buffer).unwrap();
                let sent = u64::from_be_bytes(*buffer.first_chunk().unwrap());
                times.push(micros(clock.now().since(Instant::from_nanos(sent))));
            }
            times.sort_by(f64::total_cmp);
            times
        });
        // On another thread: routers created later inherit this thread's affinity.
        scope.spawn(|| {
            pin_to_cpu(0).unwrap();
            set_timer_slack(Duration::from_nanos(1)).unwrap();
            for n in 0..count as u64 {
                // Uneven, so that sends do not synchronize with the router's wake-ups.
                sleep(Duration::from_micros(500 + n * 7_919 % 1_000));
                let mut message = [0; PAYLOAD];
                message[..8].copy_from_slice(&clock.now().as_nanos().to_be_bytes());
                path.a.send(&message).unwrap();
            }
        });
        receiver.join().unwrap()
    })
}

// ---- (1) ways of waiting ------------------------------------------------------------------------

struct Way {
    name: String,
    path: Path,
    router: Router,
    delay: Duration,
    target: Option<Target>,
    /// Median and 99th percentile of each round, less the delay and the plain transit.
    errors: Vec<(f64, f64)>,
    busy: Duration,
}

fn way(delay: Duration, config: RouterConfig, target: Option<Target>) -> Way {
    let (mut paths, router) = emulated(1, delay, config);
    Way {
        name: format!("{delay:?}, spin {:?}, slice {}", config.spin, slice(config)),
        path: paths.remove(0),
        router,
        delay,
        target,
        errors: Vec::new(),
        busy: Duration::ZERO,
    }
}

fn ways_of_waiting() -> bool {
    println!(
        "error of a delay at 1,000 frames/s, {ROUNDS} rounds of {TIMED}, us\n\
         (transit less the delay and less the median transit over loopback; median of rounds)\n"
    );
    println!("{:<36}{:>8}{:>8}{:>12}{:>12}{:>8}", "", "p50", "p99", "late p50", "late p99", "CPU");
    let usual = RouterConfig { cpu: Some(1), ..RouterConfig::default() };
    let spinning = |spin| RouterConfig { spin: Duration::from_micros(spin), ..usual };
    let long = RouterConfig { slice: None, ..usual };
    let mut ways = vec![
        way(DELAY, usual, Some(DELAYED)),
        way(Duration::ZERO, usual, Some(UNDELAYED)),
        way(DELAY, spinning(0), None),
        way(DELAY, spinning(100), None),
        way(DELAY, spinning(200), None),
        way(DELAY, long, None),
        way(Duration::ZERO, long, None),
    ];
    let plain = loopback();
    for _ in 0..ROUNDS {
        let base = quantile(&transits(&plain, TIMED), 50);
        for way in &mut ways {
            let clock = Clock::start();
            let times = transits(&way.path, TIMED);
            way.busy += clock.now().since(Instant::ZERO);
            let wanted = base + micros(way.delay);
            way.errors.push((quantile(&times, 50) - wanted, quantile(&times, 99) - wanted));
        }
    }
    // Report all, even if one missed.
    let missed = ways.into_iter().map(report).filter(|met| !met);
    missed.count() == 0
}

fn report(way: Way) -> bool {
    let p50 = median(way.errors.iter().map(|error| error.0));
    let p99 = median(way.errors.iter().map(|error| error.1));
    let late = way.router.take_record(0).unwrap().directions[0].lateness.clone();
    let cpu = way.router.stop().unwrap().cpu;
    let percent = 100.0 * cpu.as_secs_f64() / way.busy.as_secs_f64();
    let [late_p50, late_p99] = [late.p50(), late.p99()].map(micros);
    print!("{:<36}{p50:>8.0}{p99:>8.0}{late_p50:>12.1}{late_p99:>12.0}{percent:>6.1} %", way.name);
    let Some(Target { p50: p50_max, p99: p99_max, cpu_percent }) = way.target else {
        println!();
        return true;
    };
    let met = p50.abs() <= p50_max && p99 <= p99_max && percent <= cpu_percent;
    let said = if met { "met" } else { "MISSED" };
    println!("  <= {p50_max}, {p99_max}, {cpu_percent} %: {said}");
    met
}

// ---- (2) several paths at once ------------------------------------------------------------------

fn several_paths() {
    println!("\nthe same on several paths at once, each at 1,000 frames/s\n");
    println!(
        "{:<8}{:>8}{:>8}{:>12}{:>12}{:>8}",
        "paths", "p50", "p99", "late p50", "late p99", "CPU"
    );
    for count in [1, 2, 4, 8] {
        let (paths, router) = emulated(count, DELAY, RouterConfig::default());
        let clock = Clock::start();
        let mut all: Vec<f64> = scope(|scope| {
            let runs: Vec<_> =
                paths.iter().map(|path| scope.spawn(|| transits(path, 2 * TIMED))).collect();
            runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
        });
        let busy = clock.now().since(Instant::ZERO);
        all.sort_by(f64::total_cmp);
        let mut late = router.take_record(0).unwrap().directions[0].lateness.clone();
        for lane in 1..count {
            late.add(&router.take_record(lane).unwrap().directions[0].lateness);
        }
        let cpu = router.stop().unwrap().cpu;
        let percent = 100.0 * cpu.as_secs_f64() / busy.as_secs_f64();
        let [p50, p99] = [50, 99].map(|percent| quantile(&all, percent) - micros(DELAY));
        let [late_p50, late_p99] = [late.p50(), late.p99()].map(micros);
        println!("{count:<8}{p50:>8.0}{p99:>8.0}{late_p50:>12.1}{late_p99:>12.0}{percent:>6.1} %");
    }
}

/// The slice as text.
fn slice(config: RouterConfig) -> String {
    config.slice.map_or_else(|| "as it is".to_owned(), |slice| format!("{slice:?}"))
}
