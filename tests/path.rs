//! The emulated path with real packets: loss, duplication, delay, TCP, and cleanup after a kill.
//!
//! It has its own `main` because a user namespace must be entered before any thread exists, and the
//! usual test harness starts threads.
#![expect(clippy::print_stdout, reason = "it is its own test harness")]
#![expect(clippy::disallowed_methods, reason = "it waits for real packets")]

/// Every impairment, against a link model run in parallel.
#[path = "path_links.rs"]
mod links;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, Topology};
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::fold_fate;
use wirelab::path::{Bytes, Delay, Direction, Frame, Link, LinkPlan, LossModel, Verdict};
use wirelab::runtime::clock::Clock;
use wirelab::sys::netns::Netns;
use wirelab::sys::packet::{Framing, Port};
use wirelab::sys::privilege::{Privilege, acquire};
use wirelab::sys::sockets::{set_tcp_congestion, tcp_congestion};

/// The user `nobody` on common distributions.
const NOBODY: u32 = 65_534;
/// Timeout for events that always occur on a working machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Case = (&'static str, fn());
const CASES: &[Case] = &[
    ("links carry whole IPv4 frames and nothing else", static_facts),
    ("kernel settings are read back", settings_are_read_back),
    ("losses are those that the link model predicts", losses_are_predicted),
    ("duplicates are those that the link model predicts", duplicates_are_predicted),
    ("no frame leaves before its delay", no_frame_is_early),
    ("new links begin at index 0, lanes are independent", links_are_replaced),
    ("tcp delivers intact bytes through 5 % loss", tcp_survives_loss),
    ("many lanes with rto floors", many_lanes),
    ("a frame that is not IPv4 is counted and goes no further", noise_is_counted),
    ("what a ring has no room for is counted", overflow_is_counted),
    ("asking a router for what is not there is an error", errors_are_errors),
    ("every plan is carried out as a link beside says", links::every_plan_is_carried_out),
    ("a delay is distributed as planned", links::a_delay_is_distributed_as_planned),
    ("a rate is kept in every window", links::a_rate_is_kept_in_every_window),
    ("a link is down when its timetable says", links::a_link_is_down_when_the_timetable_says),
    ("checksums stop what is corrupted", links::checksums_stop_what_is_corrupted),
    ("a million frames bring no corrupted byte", links::a_million_frames_bring_no_corrupted_byte),
    ("tcp never delivers corrupted bytes", links::tcp_never_delivers_corrupted_bytes),
    ("tcp finds the path's mtu", links::tcp_finds_the_path_mtu),
    ("a black hole stalls tcp", links::a_black_hole_stalls_tcp),
    ("a recording replays the run", links::a_recording_replays_the_run),
    ("ipv6 is carried alike", links::ipv6_is_carried_alike),
    ("a small pool never stalls a queue", links::a_small_pool_never_stalls_a_queue),
    ("memory follows from the plans", links::memory_follows_from_the_plans),
    ("kill -9 leaves nothing", kill_leaves_nothing),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("hold-a-topology") => return hold_a_topology(),
        Some("refuse-outer") => return refuse_outer(),
        Some("refuse-inner") => return refuse_inner(),
        // Options a test runner may pass to any test binary.
        Some("--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    let privilege = match acquire() {
        Ok(privilege) => privilege,
        Err(error) => {
            println!("{error}\npath: SKIPPED, this machine allows no network namespaces");
            return ExitCode::SUCCESS;
        }
    };
    println!("path tests, privilege: {privilege}");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let ok = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("{} {name}", if ok { "ok    " } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    if privilege == Privilege::Root && filter.is_none() {
        match as_nobody() {
            Ok(true) => passed += 1,
            Ok(false) => failed += 1,
            Err(why) => println!("skipped: the same as user nobody, and a refusal: {why}"),
        }
    } else if privilege == Privilege::UserNamespace && filter.is_none() {
        println!("skipped: a refusal (shown by the run as root, or by `refuse-outer`)");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- the world of a case ------------------------------------------------------------------------

struct World {
    topology: Topology,
    router: Router,
}

fn world(lanes: usize) -> World {
    let lane = |n| LaneConfig { name: format!("lane {n}"), rto_min: None, ..LaneConfig::default() };
    let topology = Topology::build(&(0..lanes).map(lane).collect::<Vec<_>>()).unwrap();
    let router = Router::start(&topology, RouterConfig::default(), Clock::start()).unwrap();
    World { topology, router }
}

fn plan(delay_ms: u64, loss_ppm: u32, duplicate_ppm: u32) -> LinkPlan {
    LinkPlan {
        delay: Delay::Constant(Duration::from_millis(delay_ms)),
        loss: LossModel::Iid(Ppm::new(loss_ppm).unwrap()),
        duplicate: Ppm::new(duplicate_ppm).unwrap(),
        ..LinkPlan::default()
    }
}

fn udp_pair(world: &World, lane: usize) -> (UdpSocket, UdpSocket) {
    let lane = &world.topology.lanes[lane];
    let bind = |address| move || UdpSocket::bind(SocketAddrV4::new(address, 0));
    let a = lane.a.run(bind(Topology::A_ADDR)).unwrap().unwrap();
    let b = lane.b.run(bind(Topology::B_ADDR)).unwrap().unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    b.connect(a.local_addr().unwrap()).unwrap();
    (a, b)
}

/// Maximum datagrams in flight or unread: a small socket buffer holds twice as many.
const WINDOW: u64 = 100;

/// Sends datagrams 0..count from one socket and returns the numbers that arrive.
///
/// Waits until `expected` have arrived, and then briefly for more.
fn number_datagrams(from: &UdpSocket, to: &UdpSocket, count: u64, expected: usize) -> Vec<u64> {
    let reached = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut came = Vec::new();
            let mut buffer = [0; 64];
            to.set_read_timeout(Some(PATIENCE)).unwrap();
            loop {
                if came.len() == expected {
                    to.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
                }
                let Ok(length) = to.recv(&mut buffer) else { return came };
                assert_eq!(length, 40);
                came.push(u64::from_be_bytes(*buffer.first_chunk().unwrap()));
                reached.fetch_max(came[came.len() - 1], Ordering::Relaxed);
            }
        });
        for number in 0..count {
            let mut datagram = [0x5a; 40];
            datagram[..8].copy_from_slice(&number.to_be_bytes());
            from.send(&datagram).unwrap();
            while number - reached.load(Ordering::Relaxed).min(number) > WINDOW
                && !receiver.is_finished()
            {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        receiver.join().unwrap()
    })
}

/// A link's effect on `count` frames, computed without a path.
fn predicted(plan: &LinkPlan, seed: u64, direction: Direction, count: u64) -> (Vec<u64>, u64) {
    let mut link = Link::new(plan.clone(), seed, direction);
    let (mut arriving, mut digest) = (Vec::new(), 0);
    let frame = Frame { bytes: Bytes::Payload(&[]), length: 82 };
    for index in 0..count {
        let fate = link.handle_frame(Instant::ZERO, frame, 0);
        digest = fold_fate(digest, &fate);
        if let Verdict::Deliver { copies, .. } = fate.verdict {
            arriving.extend((0..copies).map(|_| index));
        }
    }
    (arriving, digest)
}

// ---- the cases ----------------------------------------------------------------------------------

fn static_facts() {
    let world = world(1);
    world.router.set_links(0, &plan(1, 0, 0), &plan(1, 0, 0), 1, 4_000).unwrap();
    // Less than a receive ring holds, so that none is dropped on a slow machine.
    transfer_tcp(&world, 0, 1_000_000, None);
    let (a, b) = udp_pair(&world, 0);
    assert_eq!(number_datagrams(&a, &b, 100, 100).len(), 100);
    // Long enough for router solicitations or neighbour discovery to appear.
    std::thread::sleep(Duration::from_millis(700));
    let record = world.router.take_record(0).unwrap();
    for direction in &record.directions {
        assert!(direction.offered > 100 || direction.bytes > 0);
        assert_eq!(direction.not_carried, 0, "no ARP, no IPv6");
        assert_eq!(direction.oversize, 0, "every frame is one packet of at most the MTU");
        assert_eq!(direction.bad_checksum_status, 0, "checksums are complete");
        assert_eq!(direction.kernel_dropped, 0);
        assert_eq!(direction.send_failed, 0);
        assert_eq!(direction.lost, 0);
    }
    let longest = record.captured.iter().map(|frame| frame.bytes.len()).max().unwrap();
    assert_eq!(longest, 1514, "TCP fills its segments");
    for frame in &record.captured {
        assert_eq!(ip_checksums(&frame.bytes), (0, 0), "frame {} is sound", frame.index);
    }
}

/// The Internet checksums (RFC 1071) of the IPv4 header and of the TCP or UDP packet; 0 if correct.
fn ip_checksums(frame: &[u8]) -> (u16, u16) {
    let packet = &frame[14..];
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    let payload = &packet[header..total];
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut pseudo = packet[12..20].to_vec();
    pseudo.extend([0, packet[9], length[0], length[1]]);
    pseudo.extend(payload);
    (internet_checksum(&packet[..header]), internet_checksum(&pseudo))
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

fn settings_are_read_back() {
    let floors = [None, Some(Duration::from_millis(40))];
    let lane = |rto_min| LaneConfig { name: "floor".to_owned(), rto_min, ..LaneConfig::default() };
    let topology = Topology::build(&floors.map(lane)).unwrap();
    assert_eq!(topology.lanes[0].rto_min().unwrap(), Duration::from_millis(200));
    assert_eq!(topology.lanes[1].rto_min().unwrap(), Duration::from_millis(40));
    for lane in &topology.lanes {
        let off = lane.offloads_off().unwrap();
        assert!(["tx", "tso", "gro"].iter().all(|name| off.iter().any(|o| o == name)), "{off:?}");
        assert_eq!(lane.tcp_counters().unwrap(), Default::default());
        assert_eq!(lane.link_drops().unwrap(), [0, 0]);
    }
}

fn losses_are_predicted() {
    const COUNT: u64 = 4_000;
    let world = world(1);
    let (a, b) = udp_pair(&world, 0);
    for seed in [1, 0xdead_beef, 77] {
        for loss in [0, 10_000, 50_000, 300_000] {
            let (there, back) = (plan(0, loss, 0), plan(2, loss / 2, 0));
            world.router.set_links(0, &there, &back, seed, 0).unwrap();
            let arriving =
                |plan: &LinkPlan, direction| predicted(plan, seed, direction, COUNT).0.len();
            let there_expected = arriving(&there, Direction::AToB);
            let back_expected = arriving(&back, Direction::BToA);
            let came = number_datagrams(&a, &b, COUNT, there_expected);
            let came_back = number_datagrams(&b, &a, COUNT, back_expected);
            let record = world.router.take_record(0).unwrap();
            for (direction, (plan, loss), came) in [
                (Direction::AToB, (there, loss), came),
                (Direction::BToA, (back, loss / 2), came_back),
            ] {
                let what = format!("seed {seed}, {} {direction:?}", loss);
                let (arriving, digest) = predicted(&plan, seed, direction, COUNT);
                let seen = &record.directions[direction.index()];
                assert_eq!(seen.kernel_dropped, 0, "{what}");
                assert!(came == arriving, "{what}: {} came, {} should", came.len(), arriving.len());
                assert_eq!(seen.offered, COUNT, "{what}");
                assert_eq!(seen.lost, COUNT - arriving.len() as u64, "{what}");
                assert_eq!(seen.fates_digest, digest, "{what}");
                assert_eq!(seen.lost_frames.len() as u64, seen.lost, "{what}");
                assert!(seen.lost_frames.iter().all(|lost| lost.draw_ppm < loss));
                // These seeds are fixed and lie inside their exact 95 % intervals.
                let share = Share::new(seen.lost, seen.offered);
                assert!(share.agrees_with(f64::from(loss) / 1e6), "{what}: {share:?}");
            }
        }
    }
}

fn duplicates_are_predicted() {
    const COUNT: u64 = 3_000;
    let world = world(1);
    let (a, b) = udp_pair(&world, 0);
    for seed in [5, 6] {
        let twice = plan(1, 20_000, 200_000);
        world.router.set_links(0, &twice, &twice, seed, 0).unwrap();
        let (arriving, digest) = predicted(&twice, seed, Direction::AToB, COUNT);
        let came = number_datagrams(&a, &b, COUNT, arriving.len());
        let record = world.router.take_record(0).unwrap();
        assert!(came == arriving, "seed {seed}: {} of {}", came.len(), arriving.len());
        assert_eq!(record.directions[0].fates_digest, digest, "seed {seed}");
        let copies = arriving.len() as u64 + record.directions[0].lost - COUNT;
        assert_eq!(record.directions[0].duplicated, copies, "seed {seed}");
    }
}

fn no_frame_is_early() {
    let world = world(1);
    let (a, b) = udp_pair(&world, 0);
    for delay_ms in [0, 1, 10, 50] {
        let same = plan(delay_ms, 100_000, 0);
        world.router.set_links(0, &same, &same, 9, 500).unwrap();
        let arriving = predicted(&same, 9, Direction::AToB, 500).0.len();
        number_datagrams(&a, &b, 500, arriving);
        let record = world.router.take_record(0).unwrap();
        assert_eq!(record.captured.len(), 500);
        for frame in &record.captured {
            assert_eq!(frame.departed.is_none(), frame.copies == 0);
            assert_eq!(frame.copies == 0, frame.draw_ppm < 100_000);
            if let Some(departed) = frame.departed {
                assert!(
                    departed >= frame.arrived + Duration::from_millis(delay_ms),
                    "frame {} is early",
                    frame.index
                );
            }
        }
        assert!(record.captured.is_sorted_by_key(|frame| frame.arrived), "stamps never go back");
        let lateness = &record.directions[0].lateness;
        assert_eq!(lateness.count(), 500 - record.directions[0].lost);
        println!("       delay {delay_ms} ms: late {lateness:?}");
    }
}

fn links_are_replaced() {
    let world = world(2);
    let pairs = [udp_pair(&world, 0), udp_pair(&world, 1)];
    let lossy = plan(0, 100_000, 0);
    world.router.set_links(1, &plan(0, 0, 0), &plan(0, 0, 0), 1, 0).unwrap();
    let mut digests = Vec::new();
    for _ in 0..2 {
        world.router.set_links(0, &lossy, &lossy, 4, 10).unwrap();
        let arriving = predicted(&lossy, 4, Direction::AToB, 200).0.len();
        number_datagrams(&pairs[0].0, &pairs[0].1, 200, arriving);
        let record = world.router.take_record(0).unwrap();
        assert_eq!(record.directions[0].offered, 200);
        assert_eq!(record.captured.len(), 10);
        digests.push(record.directions[0].fates_digest);
    }
    assert_eq!(digests[0], digests[1], "equal seeds, equal fates");
    assert_eq!(number_datagrams(&pairs[1].0, &pairs[1].1, 300, 300).len(), 300);
    assert_eq!(world.router.take_record(1).unwrap().directions[0].offered, 300);
    // An ended record does not change.
    assert_eq!(world.router.take_record(1).unwrap().directions[0].offered, 0);
}

/// Sends bytes from A to B over TCP and checks that they arrive unchanged.
fn transfer_tcp(world: &World, lane: usize, bytes: usize, congestion: Option<&str>) {
    let lane = &world.topology.lanes[lane];
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = lane.b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let data: Vec<u8> = (0..=250_u8).cycle().take(bytes).collect();
    std::thread::scope(|scope| {
        let received = scope.spawn(|| {
            let (mut stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), Topology::A_ADDR);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut came = Vec::new();
            stream.read_to_end(&mut came).unwrap();
            came
        });
        let connect = || TcpStream::connect(address);
        let mut stream = lane.a.run(connect).unwrap().unwrap();
        if let Some(name) = congestion {
            set_tcp_congestion(&stream.as_fd(), name).unwrap();
            assert_eq!(tcp_congestion(&stream.as_fd()).unwrap(), name);
        }
        stream.write_all(&data).unwrap();
        drop(stream);
        assert!(received.join().unwrap() == data, "the bytes differ");
    });
}

fn tcp_survives_loss() {
    let world = world(1);
    let before = world.topology.lanes[0].tcp_counters().unwrap();
    world.router.set_links(0, &plan(2, 50_000, 0), &plan(2, 50_000, 0), 11, 0).unwrap();
    transfer_tcp(&world, 0, 500_000, Some("reno"));
    let record = world.router.take_record(0).unwrap();
    let counters = world.topology.lanes[0].tcp_counters().unwrap().since(&before);
    assert!(record.directions[0].lost > 0, "500 kB at 5 % loss lose something");
    assert!(counters.retransmitted_segments >= record.directions[0].lost / 2, "{counters:?}");
    assert_eq!(record.directions.each_ref().map(|d| d.kernel_dropped), [0, 0]);
}

fn many_lanes() {
    let config = |n: u64| LaneConfig {
        name: format!("lane {n}"),
        rto_min: n.is_multiple_of(2).then_some(Duration::from_millis(20 + n)),
        ..LaneConfig::default()
    };
    let topology = Topology::build(&(0..12).map(config).collect::<Vec<_>>()).unwrap();
    let router = Router::start(&topology, RouterConfig::default(), Clock::start()).unwrap();
    let world = World { topology, router };
    for lane in 0..12 {
        let there = plan(1, 20_000, 0);
        world.router.set_links(lane, &there, &there, lane as u64, 0).unwrap();
    }
    std::thread::scope(|scope| {
        for lane in 0..12 {
            let world = &world;
            scope.spawn(move || transfer_tcp(world, lane, 50_000, None));
        }
    });
    for lane in 0..12 {
        let record = world.router.take_record(lane).unwrap();
        assert!(record.directions[0].bytes > 50_000, "lane {lane}");
        assert_eq!(record.directions.each_ref().map(|d| d.kernel_dropped), [0, 0], "lane {lane}");
    }
    let summary = world.router.stop().unwrap();
    assert_eq!((summary.ring_dropped, summary.send_failed, summary.pool_full), (0, 0, 0));
}

fn noise_is_counted() {
    let world = world(1);
    world.router.set_links(0, &plan(0, 0, 0), &plan(0, 0, 0), 1, 10).unwrap();
    let [a, b] = [&world.topology.lanes[0].a, &world.topology.lanes[0].b];
    let a = a.run(|| Port::open("eth0", 32, Framing::Whole)).unwrap().unwrap();
    let mut b = b.run(|| Port::open("eth0", 32, Framing::Whole)).unwrap().unwrap();
    // Broadcast from a zero address; 0806 is ARP, 0800 is IPv4.
    let frame = |kind: u16| [&[0xff; 12][..], &kind.to_be_bytes(), &[0; 46]].concat();
    let (arp, ipv4) = (frame(0x0806), frame(0x0800));
    assert_eq!(a.send(&[&arp, &ipv4, &arp]).unwrap(), 3);
    let clock = Clock::start();
    let received = loop {
        if let Some(received) = b.receive() {
            break received.bytes.to_vec();
        }
        assert!(clock.now().since(Instant::ZERO) < PATIENCE, "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(received, ipv4);
    let record = world.router.take_record(0).unwrap();
    assert_eq!(record.directions[0].not_carried, 2);
    assert_eq!(record.directions[0].offered, 1);
    assert_eq!(record.captured[0].bytes, ipv4);
    assert!(b.receive().is_none());
    let long = vec![0x08; 1515];
    assert_eq!(a.send(&[&long]).unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
}

fn overflow_is_counted() {
    const COUNT: u64 = 500;
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let config = RouterConfig { ring_frames: 32, pool_frames: 8, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let world = World { topology, router };
    let (a, b) = udp_pair(&world, 0);
    world.router.set_links(0, &plan(20, 0, 0), &plan(0, 0, 0), 1, 0).unwrap();
    for _ in 0..COUNT {
        a.send(&[0; 40]).unwrap();
    }
    b.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut came = 0;
    while b.recv(&mut [0; 64]).is_ok() {
        came += 1;
    }
    let seen = world.router.take_record(0).unwrap().directions;
    assert!(seen[0].kernel_dropped > 0, "8 frames on their way and 32 in the ring are not {COUNT}");
    assert_eq!(seen[0].offered + seen[0].kernel_dropped, COUNT, "every frame is accounted for");
    assert_eq!(seen[0].offered, came);
    let summary = world.router.stop().unwrap();
    assert_eq!(summary.ring_dropped, seen[0].kernel_dropped);
    assert!(summary.pool_full > 0);
}

fn errors_are_errors() {
    let world = world(1);
    assert!(world.router.take_record(1).is_err());
    assert!(world.router.set_links(9, &plan(0, 0, 0), &plan(0, 0, 0), 1, 0).is_err());
    assert!(world.router.check().is_ok());
    world.router.stop().unwrap();
    let too_many = vec![LaneConfig::default(); 65];
    assert!(Topology::build(&too_many).unwrap_err().to_string().contains("at most 64 lanes"));
}

// ---- other processes ----------------------------------------------------------------------------

/// Builds a topology, prints its router's namespace, and waits to be killed.
fn hold_a_topology() -> ExitCode {
    acquire().unwrap();
    let World { topology, router } = world(2);
    let router_ns = topology.lanes[0].router_descriptor();
    println!("{router_ns}");
    std::thread::sleep(PATIENCE);
    drop(router);
    ExitCode::FAILURE
}

/// The network namespaces of all threads of all processes.
fn namespaces() -> std::collections::BTreeSet<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let tasks =
        list(Path::new("/proc")).into_iter().flat_map(|process| list(&process.join("task")));
    tasks.filter_map(|task| std::fs::read_link(task.join("ns/net")).ok()).collect()
}

/// The interfaces of the calling thread's namespace.
fn interfaces() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let names = text.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

fn start_self(program: &Path, argument: &str) -> Child {
    Command::new(program).arg(argument).stdout(Stdio::piped()).spawn().unwrap()
}

fn kill_leaves_nothing() {
    let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts_before = mounts();
    let mut child = start_self(&std::env::current_exe().unwrap(), "hold-a-topology");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let descriptors = PathBuf::from(format!("/proc/{}/fd", child.id()));
    let held = std::fs::read_dir(&descriptors).unwrap().flatten();
    let held = held.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let held: Vec<_> = held.filter(|link| link.to_string_lossy().starts_with("net:[")).collect();
    assert_eq!(held.len(), 5, "a router and two hosts for each of two lanes: {held:?}");
    let router = Netns::open(&descriptors.join(line.trim())).unwrap();
    let in_router = || router.run(interfaces).unwrap();
    assert_eq!(in_router().len(), 5, "loopback and four ports");
    child.kill().unwrap();
    child.wait().unwrap();
    // This process holds the router's namespace: its ports vanish only with both hosts of a lane.
    let clock = Clock::start();
    while in_router() != ["lo"] {
        assert!(clock.now().since(Instant::ZERO) < PATIENCE, "{:?} left", in_router());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(router);
    // Other processes may create namespaces at the same time, so look for ours.
    let alive = namespaces();
    assert!(held.iter().all(|netns| !alive.contains(netns)), "a namespace is left");
    assert!(!interfaces().iter().any(|name| ["a0", "b0", "a1", "b1"].contains(&name.as_str())));
    assert_eq!(mounts(), mounts_before, "a mount is left");
}

/// Runs everything again as user `nobody`, and has a refusal explained. `Err`: why it could not.
fn as_nobody() -> Result<bool, String> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    // A binary its user cannot read makes /proc/self unwritable, so it gets its own copy.
    let directory = std::env::temp_dir().join(format!("wirelab-path-{}", std::process::id()));
    let copy = directory.join("path");
    let prepared = std::fs::create_dir(&directory)
        .and_then(|()| std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)))
        .and_then(|()| std::env::current_exe())
        .and_then(|program| std::fs::copy(program, &copy))
        .and_then(|_| std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)));
    prepared.map_err(|error| format!("{}: {error}", copy.display()))?;
    let run = |argument: &str| {
        Command::new(&copy).arg(argument).current_dir("/").uid(NOBODY).gid(NOBODY).output()
    };
    let (all, refusal) = (run("--all"), run("refuse-outer"));
    let _ = std::fs::remove_dir_all(&directory);
    let all = all.map_err(|error| error.to_string())?;
    let refusal = refusal.map_err(|error| error.to_string())?;
    for line in String::from_utf8_lossy(&all.stdout).lines() {
        println!("   user nobody: {line}");
    }
    if !all.status.success() {
        println!("{}", String::from_utf8_lossy(&all.stderr));
    }
    let text = String::from_utf8_lossy(&refusal.stdout);
    for line in text.lines() {
        println!("   refused: {line}");
    }
    let unprivileged = String::from_utf8_lossy(&all.stdout).contains("privilege: user namespace");
    let explained = refusal.status.success() && text.contains("user.max_user_namespaces is 0");
    println!("{} as user nobody", if all.status.success() { "ok    " } else { "FAILED" });
    println!("{} a refusal names its sysctl", if explained { "ok    " } else { "FAILED" });
    if !unprivileged {
        return Err("user nobody may not make user namespaces here".to_owned());
    }
    Ok(all.status.success() && explained)
}

/// Forbids further user namespaces inside one of its own, then re-executes without capabilities.
fn refuse_outer() -> ExitCode {
    use std::os::unix::process::CommandExt;
    acquire().unwrap();
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
    // A user other than root loses its capabilities at exec.
    let error = Command::new(std::env::current_exe().unwrap()).arg("refuse-inner").exec();
    println!("{error}");
    ExitCode::FAILURE
}

fn refuse_inner() -> ExitCode {
    match acquire() {
        Ok(privilege) => {
            println!("not refused: {privilege}");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("{error}");
            ExitCode::SUCCESS
        }
    }
}
