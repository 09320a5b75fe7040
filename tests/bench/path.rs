//! Cost of the emulated path, against a plain veth pair with the same offloads.
//!
//! Rounds of both are interleaved and pinned alike: unpinned latencies depend on where the
//! scheduler puts threads, and a shared machine varies.

#![expect(clippy::disallowed_methods, reason = "it spaces datagrams in real time")]

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep, yield_now};
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, MTU, Topology};
use wirelab::measure::Instant;
use wirelab::path::{Delay, LinkPlan};
use wirelab::runtime::clock::Clock;
use wirelab::sys::clock::{process_cpu, set_timer_slack};
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::host::{CpuTicks, KeepAwake, cpu_ticks, pin_to_cpu};
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;
use wirelab::sys::sockets::{interface_index, receive_batch, send_batch};

const ROUNDS: usize = 7;
const PAYLOAD: usize = 64;
/// Datagrams of one throughput round, about half a second.
const PACKETS: u64 = 64_000;
/// Maximum unread datagrams: fewer than [`RECEIVE_BUFFER`] holds, at about 768 B of kernel memory
/// each.
const WINDOW: u64 = 384;
/// What every kernel grants (the default `net.core.rmem_max`), and doubles.
const RECEIVE_BUFFER: usize = 212_992;
const SEND_BURST: usize = 32;
const EXCHANGES: usize = 3_000;
const TIMED: usize = 700;
const DELAY: Duration = Duration::from_millis(10);

/// Two hosts and a socket on each, connected.
struct Pair {
    a: UdpSocket,
    b: UdpSocket,
}

/// The processors of the sender, the receiver, and the router.
#[derive(Clone, Copy)]
struct Pins {
    a: usize,
    b: usize,
    router: usize,
}

impl Pins {
    fn config(self) -> RouterConfig {
        RouterConfig { cpu: Some(self.router), ..RouterConfig::default() }
    }
}

/// Runs the benchmark and prints its table; whether every target was met.
pub(crate) fn run() -> bool {
    if let Err(error) = acquire() {
        println!("path: skipped\n{error}");
        return true;
    }
    let before = Usage::now();
    println!("emulated path against a plain veth pair, {ROUNDS} rounds each, median (min-max)\n");
    println!("{:<52}{:>24}{:>24}  target", "", "plain veth", "emulated path");
    let usual = RouterConfig::default().spin;
    let apart = Pins { a: 0, b: 1, router: 1 };
    let all = [
        throughput("router beside the receiver", apart, true),
        throughput("router beside the sender", Pins { router: 0, ..apart }, false),
        latency("all on one processor", Pins { b: 0, router: 0, ..apart }, false),
        latency("on two, kept awake", apart, true),
        delay_error(Waiting { spin: usual, keep_awake: false, target: true }, apart),
        delay_error(Waiting { spin: usual, keep_awake: true, target: true }, apart),
        delay_error(Waiting { spin: Duration::ZERO, keep_awake: false, target: false }, apart),
    ];
    building();
    say_how_quiet_it_was(before);
    all.iter().all(|met| *met)
}

/// Processor time of the machine and of this process.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    ticks: CpuTicks,
    own: Duration,
}

impl Usage {
    pub(crate) fn now() -> Self {
        Self { ticks: cpu_ticks().unwrap_or_default(), own: process_cpu() }
    }

    /// Percent of the processors used by other programs and the hypervisor since.
    fn others(self) -> (f64, f64) {
        self.others_but(Duration::ZERO)
    }

    /// The same, excluding programs that the benchmark has started.
    pub(crate) fn others_but(self, started: Duration) -> (f64, f64) {
        let now = Self::now();
        let busy = (now.ticks.busy - self.ticks.busy) as f64;
        let steal = (now.ticks.steal - self.ticks.steal) as f64;
        let all = busy + steal + (now.ticks.idle - self.ticks.idle) as f64;
        // A tick is 10 ms.
        let own = now.own - self.own + started;
        let others = (busy - own.as_secs_f64() * 100.0).max(0.0);
        (100.0 * others / all, 100.0 * steal / all)
    }
}

/// Maximum share of the processors, percent, for others during a round.
pub(crate) const OTHERS_MAX: f64 = 5.0;
/// Attempts at a disturbed round before it counts anyway.
pub(crate) const TRIES: usize = 3;

/// Retries a round while other programs disturb it: they fill the time in which threads wait.
pub(crate) fn quietly<T>(round: impl Fn() -> T) -> T {
    let mut tries = 0;
    loop {
        let before = Usage::now();
        let result = round();
        tries += 1;
        if before.others().0 <= OTHERS_MAX || tries == TRIES {
            return result;
        }
    }
}

pub(crate) fn say_how_quiet_it_was(before: Usage) {
    say_how_quiet_it_was_but(before, Duration::ZERO);
}

/// The same, excluding programs that the benchmark has started.
pub(crate) fn say_how_quiet_it_was_but(before: Usage, started: Duration) {
    let (others, steal) = before.others_but(started);
    println!(
        "\nmeanwhile other programs had {others:.0} % of the processors, the hypervisor took \
         {steal:.0} %; above {OTHERS_MAX} % the figures are worth little"
    );
}

/// Time to create as many lanes as `tcp-vs-udp` uses, and to start their router.
fn building() {
    const LANES: usize = 12;
    let times = (0..ROUNDS).map(|_| {
        let clock = Clock::start();
        let topology = Topology::build(&vec![LaneConfig::default(); LANES]).unwrap();
        let router = Router::start(&topology, RouterConfig::default(), clock).unwrap();
        let built = micros(clock.now().since(Instant::ZERO)) / 1e3;
        router.stop().unwrap();
        built
    });
    println!("{LANES} lanes and their router are built in {} ms", spread(times.collect()).show());
}

// ---- the two networks ---------------------------------------------------------------------------

fn connected(a: &Netns, b: &Netns) -> Pair {
    let bind = |address| move || UdpSocket::bind(SocketAddrV4::new(address, 0));
    let pair = Pair {
        a: a.run(bind(Topology::A_ADDR)).unwrap().unwrap(),
        b: b.run(bind(Topology::B_ADDR)).unwrap().unwrap(),
    };
    pair.a.connect(pair.b.local_addr().unwrap()).unwrap();
    pair.b.connect(pair.a.local_addr().unwrap()).unwrap();
    for socket in [&pair.a, &pair.b] {
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    }
    pair
}

fn plain() -> Pair {
    let (a, b) = (Netns::new().unwrap(), Netns::new().unwrap());
    let macs = [[2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 11]];
    let (here, there) =
        (VethEnd { name: "eth0", mac: macs[0] }, VethEnd { name: "eth0", mac: macs[1] });
    a.run(|| Netlink::open()?.add_veth(here, there, b.descriptor(), MTU)).unwrap().unwrap();
    let set_up = |own, peer, mac| {
        move || {
            let netlink = Netlink::open()?;
            let index = interface_index("eth0")?;
            netlink.add_address(index, own)?;
            netlink.no_ipv6_address("eth0")?;
            switch_off("eth0", Offload::TxChecksum)?;
            switch_off("eth0", Offload::GenericReceive)?;
            netlink.set_up("eth0")?;
            netlink.add_neighbour(index, peer, mac)?;
            netlink.add_route(index, peer, None)
        }
    };
    a.run(set_up(Topology::A_ADDR, Topology::B_ADDR, macs[1])).unwrap().unwrap();
    b.run(set_up(Topology::B_ADDR, Topology::A_ADDR, macs[0])).unwrap().unwrap();
    connected(&a, &b)
}

fn emulated(delay: Duration, config: RouterConfig) -> (Pair, Router) {
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let plan = LinkPlan { delay: Delay::Constant(delay), ..LinkPlan::default() };
    router.set_links(0, &plan, &plan, 1, 0).unwrap();
    (connected(&topology.lanes[0].a, &topology.lanes[0].b), router)
}

// ---- figures ------------------------------------------------------------------------------------

pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) middle: f64,
    pub(crate) high: f64,
}

pub(crate) fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    Spread { low: values[0], middle: values[values.len() / 2], high: values[values.len() - 1] }
}

impl Spread {
    pub(crate) fn show(&self) -> String {
        format!("{:.1} ({:.1}-{:.1})", self.middle, self.low, self.high)
    }
}

fn row(name: &str, plain: &Spread, emulated: &Spread, verdict: &str) {
    println!("{name:<52}{:>24}{:>24}  {verdict}", plain.show(), emulated.show());
}

pub(crate) fn said(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e3
}

// ---- (1) packets per second without loss --------------------------------------------------------

fn throughput(name: &str, pins: Pins, target: bool) -> bool {
    let plain = plain();
    let (path, router) = emulated(Duration::ZERO, pins.config());
    let (mut base, mut seen, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = quietly(|| (packet_rate(&plain, pins), packet_rate(&path, pins)));
        ratios.push(other / one);
        base.push(one);
        seen.push(other);
    }
    let dropped = router.take_record(0).unwrap().directions[0].kernel_dropped;
    let ratio = spread(ratios);
    let met = !target || ratio.middle >= 0.85 && dropped == 0;
    let Spread { low, middle, high } = ratio;
    let wanted = if target { format!(" >= 0.85: {}", said(met)) } else { ", no target".to_owned() };
    let verdict = format!("ratio {middle:.2} ({low:.2}-{high:.2}){wanted}, {dropped} dropped");
    row(&format!("64-B datagrams/ms, {name}"), &spread(base), &spread(seen), &verdict);
    met
}

/// Thousands of datagrams per second, with at most [`WINDOW`] unread, so that none is lost.
fn packet_rate(pair: &Pair, pins: Pins) -> f64 {
    let received = AtomicU64::new(0);
    let clock = Clock::start();
    scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(pins.b).unwrap();
            let mut buffers = [[0; 2048]; 64];
            let mut lengths = [0; 64];
            while received.load(Ordering::Relaxed) < PACKETS {
                let came =
                    receive_batch(&pair.b, &mut buffers, &mut lengths).expect("none is lost");
                received.fetch_add(came as u64, Ordering::Release);
            }
        });
        pin_to_cpu(pins.a).unwrap();
        let message = [0x5a_u8; PAYLOAD];
        let batch = [&message[..]; SEND_BURST];
        let mut sent = 0_u64;
        while sent < PACKETS {
            if sent - received.load(Ordering::Acquire) + SEND_BURST as u64 > WINDOW {
                yield_now();
                continue;
            }
            sent += send_batch(&pair.a, &batch).unwrap() as u64;
        }
    });
    PACKETS as f64 / micros(clock.now().since(Instant::ZERO)) * 1e3
}

// ---- (2) one-way latency at zero delay ----------------------------------------------------------

fn latency(name: &str, pins: Pins, keep_awake: bool) -> bool {
    let plain = plain();
    let (path, _router) = emulated(Duration::ZERO, pins.config());
    let _awake = keep_awake.then(|| KeepAwake::start().unwrap());
    let (mut base, mut seen, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (one_way(&plain, pins), one_way(&path, pins));
        added.push(other - one);
        base.push(one);
        seen.push(other);
    }
    let added = spread(added);
    let met = added.middle <= 40.0;
    let verdict = format!("adds {} <= 40: {}", added.show(), said(met));
    row(&format!("one way p50, {name}, us"), &spread(base), &spread(seen), &verdict);
    met
}

/// Half the median round-trip time, microseconds.
fn one_way(pair: &Pair, pins: Pins) -> f64 {
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            pin_to_cpu(pins.b).unwrap();
            let mut buffer = [0; PAYLOAD];
            while pair.b.recv(&mut buffer).is_ok() && !over.load(Ordering::Relaxed) {
                pair.b.send(&buffer).unwrap();
            }
        });
        pin_to_cpu(pins.a).unwrap();
        let mut buffer = [0; PAYLOAD];
        let clock = Clock::start();
        let mut times = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let start = clock.now();
            pair.a.send(&buffer).unwrap();
            pair.a.recv(&mut buffer).unwrap();
            times.push(micros(clock.now().since(start)) / 2.0);
        }
        over.store(true, Ordering::Relaxed);
        pair.a.send(&buffer).unwrap();
        median(times)
    })
}

// ---- (3) the error of a delay -------------------------------------------------------------------

/// How the router waits, and whether that must reach the target.
#[derive(Clone, Copy)]
struct Waiting {
    spin: Duration,
    keep_awake: bool,
    target: bool,
}

fn delay_error(waiting: Waiting, pins: Pins) -> bool {
    let plain = plain();
    let config = RouterConfig { spin: waiting.spin, ..pins.config() };
    let (path, router) = emulated(DELAY, config);
    let _awake = waiting.keep_awake.then(|| KeepAwake::start().unwrap());
    let (mut base, mut seen, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut busy = Duration::ZERO;
    for _ in 0..ROUNDS {
        let one = transit(&plain, pins);
        let clock = Clock::start();
        let other = transit(&path, pins) - micros(DELAY);
        busy += clock.now().since(Instant::ZERO);
        errors.push(other - one);
        base.push(one);
        seen.push(other);
    }
    let late = router.take_record(0).unwrap().directions[0].lateness.clone();
    let share = 100.0 * router.stop().unwrap().cpu.as_secs_f64() / busy.as_secs_f64();
    let error = spread(errors);
    let met = !waiting.target || error.middle.abs() <= 50.0;
    let wanted =
        if waiting.target { format!(" <= 50: {}", said(met)) } else { ", no target".to_owned() };
    let verdict =
        format!("error {}{wanted}; router {late:?}, {share:.0} % of a processor", error.show());
    let awake = if waiting.keep_awake { ", kept awake" } else { "" };
    let name = format!("one way p50 less its 10 ms, spin {:?}{awake}, us", waiting.spin);
    row(&name, &spread(base), &spread(seen), &verdict);
    met
}

/// Median time from before a send to after its receive, microseconds, for spaced single datagrams.
fn transit(pair: &Pair, pins: Pins) -> f64 {
    let clock = Clock::start();
    scope(|scope| {
        let receiver = scope.spawn(|| {
            pin_to_cpu(pins.b).unwrap();
            let mut times = Vec::with_capacity(TIMED);
            let mut buffer = [0; PAYLOAD];
            for _ in 0..TIMED {
                pair.b.recv(&mut buffer).unwrap();
                let now = clock.now();
                let sent = u64::from_be_bytes(*buffer.first_chunk().unwrap());
                times.push(micros(now.since(Instant::from_nanos(sent))));
            }
            median(times)
        });
        pin_to_cpu(pins.a).unwrap();
        set_timer_slack(Duration::from_nanos(1)).unwrap();
        for n in 0..TIMED as u64 {
            // Uneven, so that sends do not synchronize with the router's wake-ups.
            sleep(Duration::from_micros(500 + n * 7_919 % 1_000));
            let mut message = [0; PAYLOAD];
            message[..8].copy_from_slice(&clock.now().as_nanos().to_be_bytes());
            pair.a.send(&message).unwrap();
        }
        receiver.join().unwrap()
    })
}
