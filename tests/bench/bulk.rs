//! Bulk TCP through the emulated path, in frames of both kinds, against kernel forwarding between
//! two veth pairs.
//!
//! Rounds of all are interleaved and pinned alike. It must never compare a path that loses frames
//! with one that does not.

use super::path::spread;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;
use wirelab::net::clock::Clock;
use wirelab::net::router::{Router, RouterConfig};
use wirelab::net::topology::{FrameMode, LaneConfig, MTU, Topology};
use wirelab::path::LinkPlan;
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::host::pin_to_cpu;
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::sockets::{interface_index, set_tcp_congestion};

const ROUNDS: usize = 5;
/// What a connection takes to fill the path.
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_millis(600);
/// Bytes per read and write.
const CHUNK: usize = 262_144;

#[derive(Clone, Copy)]
struct Pins {
    a: Option<usize>,
    b: Option<usize>,
    router: Option<usize>,
}

/// Two hosts, and what must live as long as they talk.
struct Net {
    a: Netns,
    b: Netns,
    _router: Option<Router>,
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
    Net { a, b, _router: None, _forwarder: Some(r) }
}

fn emulated(frames: FrameMode, pins: Pins, plans: [&LinkPlan; 2]) -> Net {
    let config = LaneConfig { frames, ..LaneConfig::default() };
    let topology = Topology::build(&[config]).unwrap();
    let config = RouterConfig { cpu: pins.router, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    router.set_links(0, plans[0], plans[1], 1, 0).unwrap();
    let lane = &topology.lanes[0];
    Net { a: lane.a.clone(), b: lane.b.clone(), _router: Some(router), _forwarder: None }
}

/// Megabits per second of payload that one connection delivers.
fn goodput(net: &Net, pins: Pins, congestion: &str, warm_up: Duration, measured: Duration) -> f64 {
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = net.b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
    scope(|scope| {
        scope.spawn(|| {
            pins.b.map(pin_to_cpu);
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; CHUNK];
            while let Ok(1..) = stream.read(&mut buffer).inspect(|length| {
                came.fetch_add(*length as u64, Ordering::Relaxed);
            }) {}
        });
        scope.spawn(|| {
            pins.a.map(pin_to_cpu);
            let mut stream = net.a.run(|| TcpStream::connect(address)).unwrap().unwrap();
            set_tcp_congestion(&stream.as_fd(), congestion).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let chunk = vec![0x5a; CHUNK];
            while !over.load(Ordering::Relaxed) {
                let _ = stream.write(&chunk);
            }
        });
        let clock = Clock::start();
        sleep(warm_up);
        let (from, before) = (clock.now(), came.load(Ordering::Relaxed));
        sleep(measured);
        let (to, after) = (clock.now(), came.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        (after - before) as f64 * 8.0 / (to.since(from).as_nanos() as f64 / 1e3)
    })
}

pub(crate) fn run() -> bool {
    for (name, pins) in [
        ("free", Pins { a: None, b: None, router: None }),
        ("0,1,1", Pins { a: Some(0), b: Some(1), router: Some(1) }),
        ("0,1,0", Pins { a: Some(0), b: Some(1), router: Some(0) }),
        ("0,0,1", Pins { a: Some(0), b: Some(0), router: Some(1) }),
    ] {
        let none = LinkPlan::default();
        let nets = [
            ("forwarding, offloads off", forwarded(false)),
            ("forwarding, offloads on", forwarded(true)),
            ("mtu-sized", emulated(FrameMode::MtuSized, pins, [&none; 2])),
            ("segmented", emulated(FrameMode::Segmented, pins, [&none; 2])),
        ];
        let mut all = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            for ((_, net), values) in nets.iter().zip(&mut all) {
                values.push(goodput(net, pins, "cubic", WARM_UP, MEASURED));
            }
        }
        for ((what, net), values) in nets.iter().zip(all) {
            println!("{name:8} {what:32} {}", spread(values).show());
            if let Some(router) = &net._router {
                let record = router.take_record(0).unwrap();
                let d = &record.directions;
                println!(
                    "    offered {:?} bytes {:?} invalid {:?} oversize {:?} kernel {:?} failed {:?}",
                    d.each_ref().map(|d| d.offered),
                    d.each_ref().map(|d| d.bytes),
                    d.each_ref().map(|d| d.bad_checksum_status),
                    d.each_ref().map(|d| d.oversize),
                    d.each_ref().map(|d| d.kernel_dropped),
                    d.each_ref().map(|d| d.send_failed),
                );
            }
        }
    }
    true
}
