//! Bulk TCP through the emulated path, with both framings, against kernel forwarding between two
//! veth pairs; and reno's goodput under loss against theory.
//!
//! Rounds are interleaved and pinned alike. Drops by the kernel are reported.

#![expect(clippy::disallowed_methods, reason = "it lets connections run for a while")]

use super::path::{Spread, Usage, quietly, said, say_how_quiet_it_was, spread};
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{FrameMode, LaneConfig, MTU, Topology};
use wirelab::measure::Ppm;
use wirelab::measure::goodput::BulkTcp;
use wirelab::path::{Delay, LinkPlan, LossModel};
use wirelab::runtime::clock::Clock;
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::host::pin_to_cpu;
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::privilege::acquire;
use wirelab::sys::sockets::{interface_index, set_tcp_congestion};

const ROUNDS: usize = 7;
/// Time for a connection to fill the path.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(500);
/// Bytes per read and write.
const CHUNK: usize = 262_144;
const RTT: Duration = Duration::from_millis(20);
/// A segment's payload at an MTU of 1,500 with TCP timestamps; the kernel's minimum retransmission
/// timeout is added to a round trip.
const RENO: BulkTcp = BulkTcp { segment_bytes: 1_448, rtt: RTT, rto: Duration::from_millis(220) };
/// Loss rates at which reno's goodput is compared with theory, ppm.
const LOSSES: [u32; 3] = [2_000, 10_000, 50_000];
/// Concurrent connections per loss rate, each with its own seed.
const SEEDS: usize = 6;
/// Until the effect of slow start is over.
const RENO_WARM_UP: Duration = Duration::from_secs(4);
const RENO_MEASURED: Duration = Duration::from_secs(20);
/// Allowed distance of the median from the band of the two formulas: a connection sees about 60
/// losses at 0.2 %, which alone scatter its goodput by 6 %.
const BAND_SLACK: f64 = 0.15;

/// The processors of the sender, the receiver, and the router.
#[derive(Clone, Copy)]
struct Pins {
    a: usize,
    b: usize,
    router: usize,
}

/// The router with the receiver: the sender's processor is the busiest without it.
const BESIDE: Pins = Pins { a: 0, b: 1, router: 1 };
/// The router on its own processor, as with `lossy-path --own-cpu` on two processors.
const ALONE: Pins = Pins { a: 0, b: 0, router: 1 };

/// Two hosts and their guards.
struct Net {
    a: Netns,
    b: Netns,
    router: Option<Router>,
    /// The forwarding namespace.
    _forwarder: Option<Netns>,
}

/// Two veth pairs and a kernel that forwards between them.
fn forwarded(offloads: bool) -> Net {
    let [a, b, r] = [(); 3].map(|()| Netns::new().unwrap());
    let mac = |last| [2, 0, 0, 0, 0, last];
    let ends = [(&a, Topology::A_ADDR, "a0", 10), (&b, Topology::B_ADDR, "b0", 11)];
    let plain = |name: &str| {
        if !offloads {
            switch_off(name, Offload::TxChecksum).unwrap();
        }
        switch_off(name, Offload::GenericReceive).unwrap();
    };
    r.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let netlink = Netlink::open().unwrap();
        for (host, address, port, last) in ends {
            let here = VethEnd { name: port, mac: mac(1) };
            let there = VethEnd { name: "eth0", mac: mac(last) };
            netlink.add_veth(here, there, host.descriptor(), MTU).unwrap();
            netlink.no_ipv6_address(port).unwrap();
            plain(port);
            netlink.set_up(port).unwrap();
            let index = interface_index(port).unwrap();
            netlink.add_neighbour(index, address, mac(last)).unwrap();
            netlink.add_route(index, address, None).unwrap();
        }
    })
    .unwrap();
    for ((host, own, ..), (_, peer, ..)) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        host.run(|| {
            let netlink = Netlink::open().unwrap();
            let index = interface_index("eth0").unwrap();
            netlink.add_address(index, own).unwrap();
            netlink.no_ipv6_address("eth0").unwrap();
            plain("eth0");
            netlink.set_up("eth0").unwrap();
            netlink.add_neighbour(index, peer, mac(1)).unwrap();
            netlink.add_route(index, peer, None).unwrap();
        })
        .unwrap();
    }
    Net { a, b, router: None, _forwarder: Some(r) }
}

fn emulated(frames: FrameMode, loss: u32, pins: Pins) -> Net {
    let config = LaneConfig { frames, ..LaneConfig::default() };
    let topology = Topology::build(&[config]).unwrap();
    // As in lossy-path: a ring that holds a whole window of the sender.
    let ring_frames = match frames {
        FrameMode::MtuSized => 4_096,
        FrameMode::Segmented => 1_024,
    };
    let cpu = Some(pins.router);
    let config = RouterConfig { cpu, ring_frames, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let (there, back) = (lossy(loss, Duration::ZERO), LinkPlan::default());
    router.set_links(0, &there, &back, 1, 0).unwrap();
    let lane = &topology.lanes[0];
    Net { a: lane.a.clone(), b: lane.b.clone(), router: Some(router), _forwarder: None }
}

fn lossy(loss: u32, delay: Duration) -> LinkPlan {
    let loss = LossModel::Iid(Ppm::new(loss).unwrap());
    LinkPlan { loss, delay: Delay::Constant(delay), ..LinkPlan::default() }
}

/// Warm-up and measurement time of a connection.
#[derive(Clone, Copy)]
struct Times {
    warm_up: Duration,
    measured: Duration,
}

/// Payload of one connection, Mbit/s.
fn goodput(a: &Netns, b: &Netns, congestion: &str, times: Times, pins: Option<Pins>) -> f64 {
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
    let pin = |cpu: fn(Pins) -> usize| pins.map(|pins| pin_to_cpu(cpu(pins)).unwrap());
    scope(|scope| {
        scope.spawn(|| {
            pin(|pins| pins.b);
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                came.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            pin(|pins| pins.a);
            let mut stream = a.run(|| TcpStream::connect(address)).unwrap().unwrap();
            set_tcp_congestion(&stream.as_fd(), congestion).unwrap();
            // So that the write ends after the reader has.
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let chunk = vec![0x5a; CHUNK];
            while !over.load(Ordering::Relaxed) {
                let _ = stream.write(&chunk);
            }
        });
        let clock = Clock::start();
        sleep(times.warm_up);
        let (from, before) = (clock.now(), came.load(Ordering::Relaxed));
        sleep(times.measured);
        let (to, after) = (clock.now(), came.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        (after - before) as f64 * 8.0 / (to.since(from).as_nanos() as f64 / 1e3)
    })
}

/// Runs the bulk TCP benchmark; whether every target was met.
pub(crate) fn run() -> bool {
    if let Err(error) = acquire() {
        println!("bulk: skipped\n{error}");
        return true;
    }
    let before = Usage::now();
    println!("bulk TCP (cubic, no delay), {ROUNDS} rounds each, Mbit/s, median (min-max)\n");
    let (mtu, whole) = (FrameMode::MtuSized, FrameMode::Segmented);
    let nets = [
        ("kernel forwarding, offloads off", forwarded(false), "cubic", BESIDE),
        ("kernel forwarding, offloads on", forwarded(true), "cubic", BESIDE),
        ("emulated path, MTU-sized frames", emulated(mtu, 0, BESIDE), "cubic", BESIDE),
        ("emulated path, super-frames", emulated(whole, 0, BESIDE), "cubic", BESIDE),
        ("  the same, 1 % loss, bbr", emulated(whole, 10_000, BESIDE), "bbr", BESIDE),
        ("  MTU-sized frames, 1 % loss, bbr", emulated(mtu, 10_000, BESIDE), "bbr", BESIDE),
        ("hosts on one: forwarding, offloads off", forwarded(false), "cubic", ALONE),
        ("  emulated path, MTU-sized frames", emulated(mtu, 0, ALONE), "cubic", ALONE),
    ];
    let times = Times { warm_up: WARM_UP, measured: MEASURED };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(quietly(|| {
            let one = |net: &Net, cc, pins| goodput(&net.a, &net.b, cc, times, Some(pins));
            nets.each_ref().map(|(_, net, cc, pins)| one(net, cc, *pins))
        }));
    }
    let ratio = |of: usize, to: usize| spread(rounds.iter().map(|r| r[of] / r[to]).collect());
    for (number, (name, net, ..)) in nets.iter().enumerate() {
        let shown = spread(rounds.iter().map(|round| round[number]).collect()).show();
        println!("{name:<40}{shown:>34}{}", unasked(net));
    }
    let targets = [
        ("MTU-sized frames / forwarding, router alone", ratio(7, 6), Some(0.5)),
        ("  the same, router beside the receiver", ratio(2, 0), None),
        ("super-frames / forwarding, offloads off", ratio(3, 0), Some(2.0)),
        ("super-frames / forwarding, offloads on", ratio(3, 1), None),
        ("super-frames / MTU-sized frames", ratio(3, 2), None),
        ("super-frames / MTU-sized frames, 1 % loss, bbr", ratio(4, 5), None),
    ];
    let mut all = true;
    for (name, ratio, target) in targets {
        let met = target.is_none_or(|target| ratio.middle >= target);
        all &= met;
        let wanted = target.map_or_else(
            || "no target".to_owned(),
            |target| format!(">= {target:.2}: {}", said(met)),
        );
        let Spread { low, middle, high } = ratio;
        println!("{name:<50} {middle:.2} ({low:.2}-{high:.2}) {wanted}");
    }
    drop(nets);
    let reno = reno();
    say_how_quiet_it_was(before);
    reno && all
}

/// Kernel drops beyond those of the link, as text.
fn unasked(net: &Net) -> String {
    let Some(router) = &net.router else { return String::new() };
    let dropped =
        router.take_record(0).unwrap().directions.map(|d| d.kernel_dropped + d.send_failed);
    format!("  {} dropped by the kernel", dropped[0] + dropped[1])
}

// ---- reno against theory ------------------------------------------------------------------------

/// Reno's goodput with both framings, all connections at once, one lane each.
fn reno() -> bool {
    let cells: Vec<_> = [FrameMode::MtuSized, FrameMode::Segmented]
        .into_iter()
        .flat_map(|frames| LOSSES.map(|loss| (frames, loss)))
        .flat_map(|cell| (0..SEEDS).map(move |seed| (cell, seed)))
        .collect();
    let lane = |((frames, _), _): &_| LaneConfig { frames: *frames, ..LaneConfig::default() };
    let topology = Topology::build(&cells.iter().map(lane).collect::<Vec<_>>()).unwrap();
    // 16 MiB for each of the 36 rings of super-frames instead of 64.
    let config = RouterConfig { ring_frames: 256, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let half = RTT / 2;
    for (lane, ((_, loss), seed)) in cells.iter().enumerate() {
        let (there, back) = (lossy(*loss, half), lossy(0, half));
        router.set_links(lane, &there, &back, 100 + *seed as u64, 0).unwrap();
    }
    let times = Times { warm_up: RENO_WARM_UP, measured: RENO_MEASURED };
    let figures: Vec<f64> = scope(|scope| {
        let run = |lane: &wirelab::emulator::topology::Lane| {
            let (a, b) = (lane.a.clone(), lane.b.clone());
            scope.spawn(move || goodput(&a, &b, "reno", times, None))
        };
        let running: Vec<_> = topology.lanes.iter().map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let records: Vec<_> = (0..cells.len()).map(|lane| router.take_record(lane).unwrap()).collect();
    println!(
        "\nreno, round trip {RTT:?}, loss towards the receiver, {SEEDS} connections of \
         {RENO_MEASURED:?} each, Mbit/s, median (min-max)\n\n{:<8}{:>10}{:>10}{:>26}{:>26}",
        "loss", "PFTK", "Mathis", "MTU-sized frames", "super-frames"
    );
    let mut all = true;
    for loss in LOSSES {
        let share = Ppm::new(loss).unwrap();
        let of = |frames| {
            let mine = cells.iter().zip(&figures).filter(|(cell, _)| cell.0 == (frames, loss));
            spread(mine.map(|(_, figure)| *figure).collect())
        };
        let both = [of(FrameMode::MtuSized), of(FrameMode::Segmented)];
        let bounds = [RENO.pftk_bits_per_second(share), RENO.mathis_bits_per_second(share)];
        let [low, high] = bounds.map(|bits| bits / 1e6);
        let band = low * (1.0 - BAND_SLACK)..high * (1.0 + BAND_SLACK);
        let met = both.iter().all(|both| band.contains(&both.middle));
        all &= met;
        let [whole, cut] = both.map(|spread| spread.show());
        println!(
            "{:<8}{low:>10.2}{high:>10.2}{whole:>26}{cut:>26}  in the band +-{:.0} %: {}",
            share.to_string(),
            BAND_SLACK * 100.0,
            said(met)
        );
    }
    let late = records.iter().map(|record| record.directions[0].lateness.p99()).max();
    let dropped: u64 = records.iter().flat_map(|r| &r.directions).map(|d| d.kernel_dropped).sum();
    println!("{dropped} dropped by the kernel; p99 of lateness, worst lane: {late:?}");
    all
}
