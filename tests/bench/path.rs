//! What the emulated path costs, against a plain veth pair with the same offloads.
//!
//! Rounds of both are interleaved and pinned alike: unpinned latencies differ by where the scheduler
//! happens to put threads, and a shared machine drifts. It must never compare across pinnings.

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep, yield_now};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::net::clock::Clock;
use wirelab::net::router::{Router, RouterConfig};
use wirelab::net::topology::{LaneConfig, MTU, Topology};
use wirelab::path::LinkPlan;
use wirelab::sys::clock::set_timer_slack;
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::host::{KeepAwake, pin_to_cpu};
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;
use wirelab::sys::sockets::{interface_index, receive_batch, send_batch};

const ROUNDS: usize = 7;
const PAYLOAD: usize = 64;
/// Datagrams of one throughput round, about half a second.
const PACKETS: u64 = 60_000;
/// Datagrams unread at most: fewer than the smallest usual receive buffer holds.
const WINDOW: u64 = 192;
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

/// Runs the bench and prints its table; whether every target was met.
pub(crate) fn run() -> bool {
    if let Err(error) = acquire() {
        println!("path: skipped\n{error}");
        return true;
    }
    println!("emulated path against a plain veth pair, {ROUNDS} rounds each, median (min-max)\n");
    println!("{:<44}{:>24}{:>24}  target", "", "plain veth", "emulated path");
    let all = [
        throughput(Pins { a: 0, b: 1, router: 1 }),
        latency("all on one processor", Pins { a: 0, b: 0, router: 0 }, false),
        latency("on two, kept awake", Pins { a: 0, b: 1, router: 1 }, true),
        delay_error(Pins { a: 0, b: 1, router: 1 }),
    ];
    all.iter().all(|met| *met)
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

fn emulated(delay: Duration, cpu: usize) -> (Pair, Router) {
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let config = RouterConfig { cpu: Some(cpu), ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let plan = LinkPlan { delay, ..LinkPlan::default() };
    router.set_links(0, plan, plan, 1, 0).unwrap();
    (connected(&topology.lanes[0].a, &topology.lanes[0].b), router)
}

// ---- figures ------------------------------------------------------------------------------------

struct Spread {
    low: f64,
    middle: f64,
    high: f64,
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    Spread { low: values[0], middle: values[values.len() / 2], high: values[values.len() - 1] }
}

impl Spread {
    fn show(&self) -> String {
        format!("{:.1} ({:.1}-{:.1})", self.middle, self.low, self.high)
    }
}

fn row(name: &str, plain: &Spread, emulated: &Spread, verdict: &str) {
    println!("{name:<44}{:>24}{:>24}  {verdict}", plain.show(), emulated.show());
}

fn said(met: bool) -> &'static str {
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

fn throughput(pins: Pins) -> bool {
    let plain = plain();
    let (path, router) = emulated(Duration::ZERO, pins.router);
    let (mut base, mut seen, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (packet_rate(&plain, pins), packet_rate(&path, pins));
        ratios.push(other / one);
        base.push(one);
        seen.push(other);
    }
    let dropped = router.take_record(0).unwrap().directions[0].kernel_dropped;
    let ratio = spread(ratios);
    let met = ratio.middle >= 0.8 && dropped == 0;
    let verdict = format!(
        "ratio {:.2} ({:.2}-{:.2}) >= 0.80: {}, {dropped} dropped",
        ratio.middle,
        ratio.low,
        ratio.high,
        said(met)
    );
    row("64-B datagrams without loss, thousand/s", &spread(base), &spread(seen), &verdict);
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
        let mut sent = 0;
        while sent < PACKETS {
            if sent - received.load(Ordering::Acquire) + SEND_BURST as u64 > WINDOW {
                yield_now();
                continue;
            }
            let burst = SEND_BURST.min((PACKETS - sent) as usize);
            sent += send_batch(&pair.a, &batch[..burst]).unwrap() as u64;
        }
    });
    PACKETS as f64 / micros(clock.now().since(Instant::ZERO)) * 1e3
}

// ---- (2) one-way latency at zero delay ----------------------------------------------------------

fn latency(name: &str, pins: Pins, keep_awake: bool) -> bool {
    let plain = plain();
    let (path, _router) = emulated(Duration::ZERO, pins.router);
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

/// Half the median time of an exchange, microseconds.
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

fn delay_error(pins: Pins) -> bool {
    let plain = plain();
    let (path, router) = emulated(DELAY, pins.router);
    let (mut base, mut seen, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, other) = (transit(&plain, pins), transit(&path, pins) - micros(DELAY));
        errors.push(other - one);
        base.push(one);
        seen.push(other);
    }
    let late = router.take_record(0).unwrap().directions[0].lateness.clone();
    let cpu = router.stop().unwrap().cpu;
    let error = spread(errors);
    let met = error.middle.abs() <= 50.0;
    let verdict = format!("error {} <= 50: {}", error.show(), said(met));
    row("one way p50 less a delay of 10 ms, us", &spread(base), &spread(seen), &verdict);
    println!("  the router's own lateness: {late:?}; its processor time {cpu:?}");
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
            // Uneven, so that sends do not fall into step with the router's wakes.
            sleep(Duration::from_micros(500 + n * 7_919 % 1_000));
            let mut message = [0; PAYLOAD];
            message[..8].copy_from_slice(&clock.now().as_nanos().to_be_bytes());
            pair.a.send(&message).unwrap();
        }
        receiver.join().unwrap()
    })
}
