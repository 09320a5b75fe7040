//! Super-frames through the emulated path: segmented as the kernel does, with a fate per segment.
//!
//! It has its own `main` because a user namespace must be entered before any thread exists.
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

/// Reno's goodput, in frames of both kinds.
mod reno;
mod super_frame;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;
use super_frame::{Recipe, recipes};
use wirelab::emulator::events::{Event, Missed, Streaming};
use wirelab::emulator::gso::{Checksums, Layout, OFFLOAD_HEADER};
use wirelab::emulator::record::RecordConfig;
use wirelab::emulator::router::{LaneRecord, Router, RouterConfig};
use wirelab::emulator::topology::{FrameMode, LaneConfig, MTU, Topology};
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bottleneck, Bytes, Corruption, Delay, Direction, DrawKey, Frame, Link, LinkPlan, LossModel,
    Queue, QueueLimit, Rate, Verdict, fold_fate,
};
use wirelab::runtime::clock::Clock;
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::packet::{Framing, Port};
use wirelab::sys::privilege::acquire;
use wirelab::sys::sockets::{set_tcp_congestion, set_udp_segment};

/// Timeout for events that always occur on a working machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Case = (&'static str, fn());
const CASES: &[Case] = &[
    ("the kernel cuts the same segments from a super-frame", the_kernel_agrees),
    ("super-frames cross whole, captures show segments", super_frames_cross_whole),
    ("segments meet the fates that the link model predicts", fates_are_predicted),
    ("what TCP sends again is what was lost, in frames of both kinds", both_kinds_alike),
    ("datagrams of one send have fates of their own", datagrams_are_decided_one_by_one),
    ("a link that looks into frames sees segments", links_see_segments),
    ("a bottleneck lets segments go one by one", a_bottleneck_spaces_segments),
    ("what is handed over while it happens are segments", segments_are_streamed),
    ("a router short of memory cuts and waits, and loses nothing", few_slots_are_enough),
    ("tcp delivers intact bytes through loss, copies and flipped bits", tcp_survives),
    ("reno's goodput lies between PFTK and Mathis", reno::lies_between_pftk_and_mathis),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Options a test runner may pass to any test binary.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let privilege = match acquire() {
        Ok(privilege) => privilege,
        Err(error) => {
            println!("{error}\noffload: SKIPPED, this machine allows no network namespaces");
            return ExitCode::SUCCESS;
        }
    };
    println!("offload tests, privilege: {privilege}");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let ok = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("{} {name}", if ok { "ok    " } else { "FAILED" });
        failed += usize::from(!ok);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- comparison with the kernel -----------------------------------------------------------------

/// Two namespaces joined by a veth pair whose near end does segmentation in software.
struct Cutter {
    near: Port,
    far: Port,
    _hosts: [Netns; 2],
}

impl Cutter {
    fn new() -> Self {
        let [a, b] = [(); 2].map(|()| Netns::new().unwrap());
        let end = |last| VethEnd { name: "eth0", mac: [2, 0, 0, 0, 0, last] };
        a.run(|| Netlink::open()?.add_veth(end(1), end(2), b.descriptor(), MTU)).unwrap().unwrap();
        let open = |framing| {
            move || {
                let netlink = Netlink::open()?;
                netlink.no_ipv6_address("eth0")?;
                switch_off("eth0", Offload::TxChecksum)?;
                switch_off("eth0", Offload::GenericReceive)?;
                netlink.set_up("eth0")?;
                Port::open("eth0", 256, framing)
            }
        };
        let far = b.run(open(Framing::Whole)).unwrap().unwrap();
        let near = a.run(open(Framing::Offloaded)).unwrap().unwrap();
        Self { near, far, _hosts: [a, b] }
    }

    /// Sends a message and returns the frames the kernel makes of it.
    fn cut(&mut self, message: &[u8], count: u16) -> Vec<Vec<u8>> {
        assert_eq!(self.near.send(&[message]).unwrap(), 1);
        let mut frames = Vec::new();
        let clock = Clock::start();
        while frames.len() < usize::from(count) {
            match self.far.receive() {
                // Skips frames the kernel sends on its own.
                Some(frame) if frame.bytes[..12] == message[10..22] => {
                    assert!(frame.checksum_ready);
                    frames.push(frame.bytes.to_vec());
                }
                Some(_) => {}
                None => assert!(clock.now().since(Instant::ZERO) < PATIENCE, "too few came"),
            }
        }
        frames
    }
}

fn the_kernel_agrees() {
    // The same recipes in every run.
    let mut runner = TestRunner::deterministic();
    let mut cutter = Cutter::new();
    for number in 0..300 {
        let recipe = recipes().new_tree(&mut runner).unwrap().current();
        compare_with_kernel(&mut cutter, &recipe, number);
    }
}

/// Lets the kernel segment a super-frame whole, and again the runs we cut it into.
fn compare_with_kernel(cutter: &mut Cutter, recipe: &Recipe, number: u16) {
    let (offload, frame) = recipe.super_frame();
    let layout = Layout::parse(&offload, &frame).unwrap();
    let mut out = vec![0; 70_000];
    let segments: Vec<_> = (0..layout.segments()).map(|n| recipe.segment(n.into())).collect();
    let what = || format!("recipe {number} of the deterministic runner: {recipe:02x?}");
    let theirs = cutter.cut(&[&offload[..], &frame].concat(), layout.segments());
    assert!(theirs == segments, "{}", what());
    for (n, segment) in (0..).zip(&segments) {
        let length = layout.write(&frame, n..n + 1, Checksums::Complete, &mut out).unwrap();
        assert!(out[OFFLOAD_HEADER..length] == segment[..], "segment {n}, {}", what());
    }
    let step = 1 + number % 7;
    let mut theirs = Vec::new();
    for start in (0..layout.segments()).step_by(step.into()) {
        let run = start..(start + step).min(layout.segments());
        let length = layout.write(&frame, run.clone(), Checksums::AsTheyCame, &mut out).unwrap();
        theirs.extend(cutter.cut(&out[..length], run.end - run.start));
    }
    assert!(theirs == segments, "runs of {step}, {}", what());
}

// ---- through the router -------------------------------------------------------------------------

struct World {
    topology: Topology,
    router: Router,
}

fn world(frames: FrameMode) -> World {
    world_with(frames, RouterConfig::default())
}

fn world_with(frames: FrameMode, config: RouterConfig) -> World {
    let topology = Topology::build(&[LaneConfig { frames, ..LaneConfig::default() }]).unwrap();
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    World { topology, router }
}

fn plan(delay_ms: u64, loss_ppm: u32) -> LinkPlan {
    LinkPlan {
        delay: Delay::Constant(Duration::from_millis(delay_ms)),
        loss: LossModel::Iid(Ppm::new(loss_ppm).unwrap()),
        ..LinkPlan::default()
    }
}

/// Sends bytes from A to B over TCP and checks that they arrive unchanged.
fn transfer(world: &World, bytes: usize) {
    let lane = &world.topology.lanes[0];
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = lane.b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let data: Vec<u8> = (0..=250_u8).cycle().take(bytes).collect();
    std::thread::scope(|scope| {
        let received = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut came = Vec::new();
            stream.read_to_end(&mut came).unwrap();
            came
        });
        let mut stream = lane.a.run(|| TcpStream::connect(address)).unwrap().unwrap();
        set_tcp_congestion(&stream.as_fd(), "reno").unwrap();
        stream.write_all(&data).unwrap();
        drop(stream);
        assert!(received.join().unwrap() == data, "the bytes differ");
    });
}

/// No invalidating counter is set.
fn assert_valid(record: &LaneRecord) {
    for direction in &record.directions {
        assert_eq!(direction.not_carried, 0);
        assert_eq!(direction.oversize, 0);
        assert_eq!(direction.bad_checksum_status, 0);
        assert_eq!(direction.bad_offload, 0);
        assert_eq!(direction.kernel_dropped, 0);
        assert_eq!(direction.send_failed, 0);
        let copies = direction.lost + direction.sent + direction.on_way;
        assert_eq!(direction.offered + direction.duplicated, copies, "every copy is accounted for");
    }
}

fn super_frames_cross_whole() {
    const BYTES: usize = 2_000_000;
    let world = world(FrameMode::Segmented);
    world.router.set_links(0, &plan(1, 0), &plan(1, 0), 1, 4_000).unwrap();
    transfer(&world, BYTES);
    let record = world.router.take_record(0).unwrap();
    assert_valid(&record);
    let seen = &record.directions[0];
    // 1,448 bytes of payload each, except at the end of a write.
    assert!(seen.offered >= 1_382 && seen.bytes >= BYTES as u64 + 66 * 1_382, "{seen:?}");
    let mut payload = 0;
    for frame in &record.captured {
        assert!(frame.bytes.len() <= 1_514, "frame {} is a packet", frame.index);
        assert_sound(&frame.bytes);
        let early = frame.departed.is_some_and(|at| at < frame.arrived + Duration::from_millis(1));
        assert!(!early, "frame {} is early", frame.index);
        payload += if frame.direction == Direction::AToB { frame.bytes.len() - 66 } else { 0 };
    }
    let captured = record.captured.iter().filter(|frame| frame.direction == Direction::AToB);
    assert!(captured.map(|frame| frame.index).eq(0..seen.offered), "every segment has its index");
    assert!(payload >= BYTES, "{payload} bytes in captured segments");
    let summary = world.router.stop().unwrap();
    let offered: u64 = record.directions.iter().map(|direction| direction.offered).sum();
    assert!(summary.frames * 2 < offered, "{} frames held {offered} segments", summary.frames);
}

/// Checks the Internet checksums (RFC 1071) of the IPv4 header and of the TCP segment.
fn assert_sound(frame: &[u8]) {
    let packet = &frame[14..];
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let length = u16::try_from(total - header).unwrap().to_be_bytes();
    let pseudo = [&packet[12..20], &[0, packet[9]], &length, &packet[header..total]].concat();
    assert_eq!(super_frame::checksum(&packet[..header]), 0);
    assert_eq!(super_frame::checksum(&pseudo), 0);
}

/// The digest of a link's fates, and its number of lost frames.
fn predicted(plan: &LinkPlan, seed: u64, count: u64) -> (u64, u64) {
    let mut link = Link::new(plan.clone(), seed, Direction::AToB);
    let frame = Frame { bytes: Bytes::Payload(&[]), length: 1_514 };
    (0..count).fold((0, 0), |(digest, lost), _| {
        let fate = link.handle_frame(Instant::ZERO, frame, 0);
        let dropped = matches!(fate.verdict, Verdict::Dropped(_));
        (fold_fate(digest, &fate), lost + u64::from(dropped))
    })
}

fn fates_are_predicted() {
    let world = world(FrameMode::Segmented);
    for seed in [1, 2, 3] {
        for loss in [2_000, 10_000, 50_000] {
            let lossy = plan(1, loss);
            world.router.set_links(0, &lossy, &plan(1, 0), seed, 0).unwrap();
            transfer(&world, 4_000_000);
            let record = world.router.take_record(0).unwrap();
            assert_valid(&record);
            let seen = &record.directions[0];
            let (digest, lost) = predicted(&lossy, seed, seen.offered);
            let what = format!("seed {seed}, {loss} ppm, {} segments", seen.offered);
            assert_eq!((seen.fates_digest, seen.lost), (digest, lost), "{what}");
            assert_eq!(seen.lost_frames.len() as u64, lost, "{what}");
            // The number of segments varies between runs, but not by much.
            let share = seen.lost as f64 / seen.offered as f64;
            println!("       {what}: {:.3} % lost", 100.0 * share);
        }
    }
}

fn both_kinds_alike() {
    for frames in [FrameMode::MtuSized, FrameMode::Segmented] {
        let world = world(frames);
        for seed in [11, 12] {
            let before = world.topology.lanes[0].tcp_counters().unwrap();
            world.router.set_links(0, &plan(2, 10_000), &plan(2, 0), seed, 0).unwrap();
            transfer(&world, 3_000_000);
            let record = world.router.take_record(0).unwrap();
            assert_valid(&record);
            let counters = world.topology.lanes[0].tcp_counters().unwrap().since(&before);
            let lost = record.directions[0].lost;
            let again = counters.retransmitted_segments;
            println!("       {frames:?}, seed {seed}: {lost} lost, {again} sent again");
            // A lost segment is retransmitted, except for the last acknowledgements; a spurious
            // retransmission is reported by the receiver, or was a probe.
            assert!(again + 2 >= lost, "{frames:?}, seed {seed}: {again} for {lost}");
            let needless = counters.spurious + counters.loss_probes + counters.timeouts;
            assert!(again <= lost + needless, "{frames:?}, seed {seed}: {again} for {lost}");
        }
    }
}

fn datagrams_are_decided_one_by_one() {
    const SENDS: u64 = 20;
    const SIZE: usize = 1_000;
    const EACH: u64 = 40;
    let world = world(FrameMode::Segmented);
    let lane = &world.topology.lanes[0];
    let bind = |address| move || UdpSocket::bind(SocketAddrV4::new(address, 0));
    let a = lane.a.run(bind(Topology::A_ADDR)).unwrap().unwrap();
    let b = lane.b.run(bind(Topology::B_ADDR)).unwrap().unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.set_read_timeout(Some(PATIENCE)).unwrap();
    set_udp_segment(&a, u16::try_from(SIZE).unwrap()).unwrap();
    let lossy = plan(1, 100_000);
    world.router.set_links(0, &lossy, &plan(1, 0), 5, 0).unwrap();
    let mut link = Link::new(lossy, 5, Direction::AToB);
    let frame = Frame { bytes: Bytes::Payload(&[]), length: 1_042 };
    let mut buffer = [0; 2_000];
    for send in 0..SENDS {
        let numbers = send * EACH..(send + 1) * EACH;
        let datagram = |number: u64| [&number.to_be_bytes()[..], &[0x5a; SIZE - 8]].concat();
        a.send(&numbers.clone().flat_map(datagram).collect::<Vec<_>>()).unwrap();
        for number in numbers {
            let fate = link.handle_frame(Instant::ZERO, frame, 0);
            if matches!(fate.verdict, Verdict::Deliver { .. }) {
                assert_eq!(b.recv(&mut buffer).unwrap(), SIZE);
                assert_eq!(buffer[..8], number.to_be_bytes(), "seed 5");
            }
        }
    }
    let record = world.router.take_record(0).unwrap();
    assert_valid(&record);
    assert_eq!(record.directions[0].offered, SENDS * EACH);
    assert_eq!(record.directions[0].bytes, SENDS * EACH * 1_042);
}

fn links_see_segments() {
    let world = world(FrameMode::Segmented);
    let ppm = |ppm| Ppm::new(ppm).unwrap();
    for (seed, key) in [(31, DrawKey::Content), (32, DrawKey::Order)] {
        let rough = LinkPlan {
            key,
            duplicate: ppm(20_000),
            corrupt: Corruption { share: ppm(10_000), bits: 1, repair: false },
            mark: ppm(50_000),
            ..plan(1, 10_000)
        };
        world.router.set_links(0, &rough, &plan(1, 0), seed, 10_000).unwrap();
        transfer(&world, 2_000_000);
        let record = world.router.take_record(0).unwrap();
        assert_valid(&record);
        assert!(record.directions[0].counts.corrupted > 0, "seed {seed}");
        let mut link = Link::new(rough, seed, Direction::AToB);
        let mut digest = 0;
        for frame in record.captured.iter().filter(|f| f.direction == Direction::AToB) {
            let length = u32::try_from(frame.bytes.len()).unwrap();
            let seen = Frame { bytes: Bytes::Ethernet(&frame.bytes), length };
            let fate = link.handle_frame(frame.arrived, seen, 0);
            assert_eq!(fate.index, frame.index, "seed {seed}, {key:?}");
            digest = fold_fate(digest, &fate);
        }
        assert_eq!(link.seen(), record.directions[0].offered, "seed {seed}, all are captured");
        assert_eq!(digest, record.directions[0].fates_digest, "seed {seed}, {key:?}");
    }
}

fn a_bottleneck_spaces_segments() {
    const RATE: u64 = 20_000_000;
    let world = world(FrameMode::Segmented);
    let queue = Queue { limit: QueueLimit::Bytes(60_000), ..Queue::default() };
    let rate = Some(Bottleneck { rate: Rate::Constant(RATE), queue });
    let narrow = LinkPlan { rate, ..plan(1, 0) };
    world.router.set_links(0, &narrow, &plan(1, 0), 41, 4_000).unwrap();
    transfer(&world, 1_500_000);
    let record = world.router.take_record(0).unwrap();
    assert_valid(&record);
    let left = record.captured.iter().filter(|f| f.direction == Direction::AToB);
    let mut left: Vec<_> = left.filter_map(|f| Some((f.departed?, f.bytes.len()))).collect();
    left.sort_unstable();
    // From the first to any later departure, at most the rate's bytes. Departures are late, never
    // early, so the first may be late by the path's maximum.
    let slack = record.directions[0].lateness.max();
    let mut bytes = 0;
    for (at, length) in &left[1..] {
        bytes += *length as u64;
        let least = Duration::from_nanos(bytes * 8 * 1_000_000_000 / RATE);
        assert!(at.since(left[0].0) + slack >= least, "{bytes} bytes in {:?}", at.since(left[0].0));
    }
    assert!(bytes > 1_500_000 && record.directions[0].lost > 0, "the queue overflowed");
}

fn segments_are_streamed() {
    let world = world(FrameMode::Segmented);
    let links = Direction::BOTH.map(|direction| Link::new(plan(1, 0), 51, direction));
    let record = RecordConfig { capture_frames: 0, stream: Streaming::Frames };
    world.router.set_link_pair(0, Box::new(links), record).unwrap();
    transfer(&world, 1_000_000);
    let record = world.router.take_record(0).unwrap();
    assert_valid(&record);
    assert_eq!(record.rest.missed, Missed::default());
    let mut arrived = HashMap::new();
    let mut left = 0;
    for (note, bytes) in record.rest.iter() {
        let frame = (note.direction, note.index);
        assert!(bytes.len() <= 1_514, "{frame:?} is a packet");
        assert_sound(bytes);
        match note.what {
            Event::Arrived { .. } => assert_eq!(arrived.insert(frame, bytes), None, "{frame:?}"),
            Event::Left { .. } => {
                left += 1;
                assert!(arrived[&frame] == bytes, "{frame:?} is delivered as it came");
            }
            other => panic!("{frame:?}: {other:?}"),
        }
    }
    assert_eq!(arrived.len() as u64, record.directions.iter().map(|d| d.offered).sum::<u64>());
    assert_eq!(left, record.directions.iter().map(|d| d.sent).sum::<u64>());
}

fn few_slots_are_enough() {
    // At least two super-frames, and 64 runs: less than a window of 50 ms.
    let config = RouterConfig { pool_frames: 1, ..RouterConfig::default() };
    let world = world_with(FrameMode::Segmented, config);
    for seed in [61, 62] {
        let lossy = plan(25, 500);
        world.router.set_links(0, &lossy, &plan(25, 0), seed, 0).unwrap();
        transfer(&world, 3_000_000);
        let record = world.router.take_record(0).unwrap();
        assert_valid(&record);
        let seen = &record.directions[0];
        let (digest, lost) = predicted(&lossy, seed, seen.offered);
        assert_eq!((seen.fates_digest, seen.lost), (digest, lost), "seed {seed}");
    }
}

fn tcp_survives() {
    let world = world(FrameMode::Segmented);
    let ppm = |ppm| Ppm::new(ppm).unwrap();
    for seed in [21, 22] {
        let rough = LinkPlan {
            duplicate: ppm(20_000),
            corrupt: Corruption { share: ppm(10_000), bits: 1, repair: false },
            mark: ppm(10_000),
            ..plan(1, 10_000)
        };
        world.router.set_links(0, &rough, &rough, seed, 100).unwrap();
        transfer(&world, 2_000_000);
        let record = world.router.take_record(0).unwrap();
        assert_valid(&record);
        assert!(record.directions[0].duplicated > 0, "seed {seed}");
    }
}
