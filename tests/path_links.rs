//! Every impairment with real packets: the router must act as the link model decides.
//!
//! A link run in parallel, fed with the time stamps and bytes that the router saw, must decide
//! alike, and every frame must leave as it decides. Times are compared with the record, not with a
//! clock, so the machine may be slow.

use super::{PATIENCE, World, udp_pair, world};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wirelab::emulator::events::{Chunk, Event, Missed, Note, Streaming};
use wirelab::emulator::record::{LaneRecord, RecordConfig};
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{FrameMode, LaneConfig, Topology};
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bottleneck, Bytes, Change, Corruption, Counts, Delay, Direction, Discipline, DrawKey,
    DropReason, Fate, Frame, FromFile, Link, LinkPlan, LossModel, MtuLimit, Mutation, Queue,
    QueueLimit, Rate, Recording, ReleaseVerdict, Reorder, Setting, Verdict, apply, fold_fate,
};
use wirelab::runtime::clock::Clock;
use wirelab::sys::sockets::{BATCH_MAX, receive_batch, send_batch};

// ---- running and observing ----------------------------------------------------------------------

/// All events of a lane.
struct Seen {
    notes: Vec<(Note, Vec<u8>)>,
    record: LaneRecord,
}

/// A lane's record while it is written, fetched in chunks.
struct Watch<'a> {
    router: &'a Router,
    spare: Option<Chunk>,
    notes: Vec<(Note, Vec<u8>)>,
}

impl<'a> Watch<'a> {
    /// Sets the lane's links and starts watching.
    fn begin(world: &'a World, links: [Link; 2]) -> Self {
        let record = RecordConfig { capture_frames: 0, stream: Streaming::Frames };
        world.router.set_link_pair(0, Box::new(links), record).unwrap();
        let spare = Some(Chunk::new(Streaming::Frames));
        Self { router: &world.router, spare, notes: Vec::new() }
    }

    fn fetch(&mut self) {
        let chunk = self.router.take_chunk(0, self.spare.take().unwrap()).unwrap();
        self.keep(&chunk);
        self.spare = Some(chunk);
    }

    fn keep(&mut self, chunk: &Chunk) {
        assert_eq!(chunk.missed, Missed::default(), "a chunk had too little room");
        self.notes.extend(chunk.iter().map(|(note, bytes)| (*note, bytes.to_vec())));
    }

    /// Frames arrived, and copies not yet sent or dropped.
    fn balance(&self, direction: Direction) -> (u64, i64) {
        let (mut arrived, mut on_way) = (0, 0);
        for (note, _) in self.notes.iter().filter(|(note, _)| note.direction == direction) {
            match note.what {
                Event::Arrived { fate, .. } => {
                    arrived += 1;
                    on_way += i64::from(copies(&fate));
                }
                Event::Left { .. } | Event::SendFailed { .. } => on_way -= 1,
                Event::Released(release) => {
                    on_way -= i64::from(matches!(release.verdict, ReleaseVerdict::Dropped(_)));
                }
                Event::Answered => {}
            }
        }
        (arrived, on_way)
    }

    /// Waits until `sent` frames have arrived from A and all have left, then ends the record.
    fn end(mut self, sent: u64, what: &str) -> Seen {
        let clock = Clock::start();
        while self.balance(Direction::AToB) != (sent, 0) {
            let waited = clock.now().since(Instant::ZERO);
            assert!(waited < PATIENCE, "{what}: {:?}", self.balance(Direction::AToB));
            std::thread::sleep(Duration::from_millis(2));
            self.fetch();
        }
        let record = self.router.take_record(0).unwrap();
        self.keep(&record.rest);
        Seen { notes: self.notes, record }
    }
}

fn copies(fate: &Fate) -> u8 {
    match fate.verdict {
        Verdict::Deliver { copies, .. } | Verdict::Queued { copies } => copies,
        Verdict::Dropped(_) => 0,
    }
}

/// Sends datagrams of 64 to 1,163 bytes, in bursts, over at least 20 ms in total.
fn send_mixed(from: &UdpSocket, count: u64) {
    for number in 0..count {
        let length = 64 + usize::try_from(number * 7_919 % 1_100).unwrap();
        let mut datagram = vec![0x5a; length];
        datagram[..8].copy_from_slice(&number.to_be_bytes());
        from.send(&datagram).unwrap();
        if number % 25 == 24 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs `count` mixed datagrams from A to B through a plan.
fn observe(world: &World, plan: &LinkPlan, seed: u64, count: u64, what: &str) -> Seen {
    let (a, _b) = udp_pair(world, 0);
    observe_from(&a, world, plan, seed, count, what)
}

fn observe_from(
    a: &UdpSocket,
    world: &World,
    plan: &LinkPlan,
    seed: u64,
    count: u64,
    what: &str,
) -> Seen {
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), seed, direction));
    let watch = Watch::begin(world, links);
    send_mixed(a, count);
    let seen = watch.end(count, what);
    for direction in &seen.record.directions {
        assert_eq!((direction.kernel_dropped, direction.send_failed), (0, 0), "{what}");
        assert_eq!((direction.not_carried, direction.pool_full), (0, 0), "{what}");
    }
    seen
}

impl Seen {
    /// Arrivals from A to B: time stamp, fate, and the frame.
    fn arrivals(&self) -> impl Iterator<Item = (Instant, Fate, &[u8])> {
        self.notes.iter().filter_map(|(note, bytes)| match note.what {
            Event::Arrived { fate, .. } if note.direction == Direction::AToB => {
                Some((note.at, fate, bytes.as_slice()))
            }
            _ => None,
        })
    }

    /// Departures from A to B: number, copy, due time, actual time, and the frame.
    fn departures(&self) -> impl Iterator<Item = (u64, Instant, Instant, Mutation, &[u8])> {
        self.notes.iter().filter_map(|(note, bytes)| match note.what {
            Event::Left { due, mutation, .. } if note.direction == Direction::AToB => {
                Some((note.index, due, note.at, mutation, bytes.as_slice()))
            }
            _ => None,
        })
    }
}

// ---- a link run in parallel ---------------------------------------------------------------------

/// When and how a copy must leave.
type Expected = (u64, Instant, Mutation);

/// Checks every recorded decision, departure and byte against a link run in parallel.
fn assert_as_predicted(seen: &Seen, mut link: Link, what: &str) {
    let mut counts = Counts::default();
    let mut expected: Vec<Expected> = Vec::new();
    let (mut digest, mut released) = (0, Vec::new());
    let arrivals: Vec<_> = seen.arrivals().collect();
    let mut settle = |link: &mut Link, counts: &mut Counts, expected: &mut Vec<Expected>, now| {
        while let Some(release) = link.poll_release(now) {
            counts.note_release(&release);
            released.push((release.index, release.verdict));
            if let ReleaseVerdict::Deliver { at, mark } = release.verdict {
                let index = usize::try_from(release.index).unwrap();
                let mut mutation = arrivals[index].1.mutation;
                mutation.mark |= mark;
                expected.push((release.index, at, mutation));
            }
        }
    };
    for (at, fate, bytes) in &arrivals {
        settle(&mut link, &mut counts, &mut expected, *at);
        let length = u32::try_from(bytes.len()).unwrap();
        let frame = Frame { bytes: Bytes::Ethernet(bytes), length };
        let predicted = link.handle_frame(*at, frame, 0);
        assert_eq!(*fate, predicted, "{what}: frame {}", fate.index);
        counts.note(&predicted, length);
        digest = fold_fate(digest, &predicted);
        if let Verdict::Deliver { at, copies } = predicted.verdict {
            expected.extend((0..copies).map(|_| (predicted.index, at, predicted.mutation)));
        }
    }
    settle(&mut link, &mut counts, &mut expected, Instant::MAX);
    let record = &seen.record.directions[0];
    assert_eq!(record.fates_digest, digest, "{what}");
    assert_eq!(record.counts, counts, "{what}");
    let balance = record.lost + record.sent + record.send_failed + record.on_way;
    assert_eq!(record.offered + record.duplicated, balance, "{what}: {record:?}");
    let seen_released: Vec<_> = seen
        .notes
        .iter()
        .filter(|(note, _)| note.direction == Direction::AToB)
        .filter_map(|(note, _)| match note.what {
            Event::Released(release) => Some((release.index, release.verdict)),
            _ => None,
        })
        .collect();
    assert_eq!(seen_released, released, "{what}: what came out of the queue");
    assert_departures(seen, expected, &arrivals, what);
}

/// Checks that every copy left, none early, each with the expected bytes.
fn assert_departures(
    seen: &Seen,
    mut expected: Vec<Expected>,
    arrivals: &[(Instant, Fate, &[u8])],
    what: &str,
) {
    let mut left: Vec<Expected> = Vec::new();
    for (index, due, at, mutation, bytes) in seen.departures() {
        assert!(at >= due, "{what}: frame {index} left {:?} early", due.since(at));
        let mut frame = arrivals[usize::try_from(index).unwrap()].2.to_vec();
        apply(&mutation, &mut frame);
        assert!(
            bytes == frame,
            "{what}: frame {index} has other bytes than its mutation {mutation:?}"
        );
        left.push((index, due, mutation));
    }
    let key = |(index, due, mutation): &Expected| (*index, *due, mutation.mark);
    left.sort_by_key(key);
    expected.sort_by_key(key);
    assert!(left == expected, "{what}: {} copies left, {} should", left.len(), expected.len());
}

fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn bottleneck(bits_per_second: u64, limit: QueueLimit, discipline: Discipline) -> LinkPlan {
    let queue = Queue { limit, discipline, ecn: true };
    let rate = Some(Bottleneck { rate: Rate::Constant(bits_per_second), queue });
    LinkPlan { rate, delay: Delay::Constant(ms(3)), ..LinkPlan::default() }
}

/// A plan for every part of the model.
fn plans() -> Vec<(&'static str, LinkPlan)> {
    let plain = LinkPlan::default;
    let loss = |loss| LinkPlan { loss, ..plain() };
    let delay = |delay, reorder| LinkPlan { delay, reorder, ..plain() };
    let corrupt = |bits, repair| LinkPlan {
        corrupt: Corruption { share: ppm(200_000), bits, repair },
        duplicate: ppm(100_000),
        ..plain()
    };
    let (mean, deviation) = (ms(5), ms(2));
    let gap = NonZeroU32::new(2).unwrap();
    let some_loss = LossModel::Iid(ppm(100_000));
    let codel = Discipline::CoDel { target: ms(2), interval: ms(10) };
    let gilbert = LossModel::GilbertElliott {
        p: ppm(50_000),
        r: ppm(300_000),
        loss_bad: ppm(900_000),
        loss_good: ppm(10_000),
    };
    let four = LossModel::FourState {
        p13: ppm(50_000),
        p31: ppm(300_000),
        p32: ppm(200_000),
        p23: ppm(300_000),
        p14: ppm(10_000),
    };
    let burst = NonZeroU32::new(2);
    let changes = vec![
        Change { at: ms(5), lasting: Some(ms(5)), what: Setting::Down },
        Change { at: ms(8), lasting: None, what: Setting::Loss(some_loss.clone()) },
        Change { at: ms(12), lasting: Some(ms(4)), what: Setting::Delay(Delay::Constant(mean)) },
    ];
    vec![
        ("nothing", plain()),
        ("iid loss", LinkPlan { max_burst: NonZeroU32::new(1), ..loss(some_loss.clone()) }),
        ("Gilbert-Elliott", LinkPlan { max_burst: burst, ..loss(gilbert) }),
        ("four states", loss(four)),
        ("a list", loss(LossModel::Recorded(FromFile::new("list", vec![0, 3, 4, 299])))),
        ("corruption", corrupt(3, false)),
        ("repaired corruption", corrupt(1, true)),
        ("marks", LinkPlan { mark: ppm(500_000), ..plain() }),
        ("a black hole", LinkPlan { mtu: mtu(700, true), ..plain() }),
        ("uniform", delay(Delay::Uniform { mean, half_width: ms(4) }, Reorder::ByJitter)),
        ("normal", delay(Delay::Normal { mean, deviation }, Reorder::Never)),
        ("Pareto", delay(Delay::Pareto { mean, deviation }, Reorder::ByJitter)),
        ("a share", delay(Delay::Constant(mean), Reorder::Share { share: ppm(300_000), gap })),
        ("drop-tail", bottleneck(20_000_000, QueueLimit::Packets(20), Discipline::DropTail)),
        ("drop-head", bottleneck(20_000_000, QueueLimit::Bytes(10_000), Discipline::DropHead)),
        ("CoDel", bottleneck(10_000_000, QueueLimit::Packets(200), codel)),
        (
            "a queue of twins",
            LinkPlan {
                duplicate: ppm(300_000),
                mark: ppm(100_000),
                ..bottleneck(20_000_000, QueueLimit::Packets(50), codel)
            },
        ),
        // Few slots pass, so that a small loss might lose none.
        (
            "by time",
            LinkPlan { key: DrawKey::Time { slot: ms(1) }, ..loss(LossModel::Iid(ppm(500_000))) },
        ),
        ("by content", LinkPlan { key: DrawKey::Content, ..loss(some_loss) }),
        ("a timetable", LinkPlan { timetable: changes, ..plain() }),
    ]
}

const fn mtu(bytes: u16, black_hole: bool) -> Option<MtuLimit> {
    Some(MtuLimit { bytes, black_hole })
}

// ---- the cases ----------------------------------------------------------------------------------

pub(crate) fn every_plan_is_carried_out() {
    let world = world(1);
    for (name, plan) in plans() {
        for seed in [1, 0xfeed, 77] {
            let what = format!("{name}, seed {seed}");
            let seen = observe(&world, &plan, seed, 300, &what);
            assert_as_predicted(&seen, Link::new(plan.clone(), seed, Direction::AToB), &what);
            let counts = &seen.record.directions[0].counts;
            let acted = match name {
                "nothing" => counts.delivered == 300,
                "corruption" | "repaired corruption" => {
                    counts.corrupted > 20 && counts.duplicated > 5
                }
                "uniform" | "Pareto" => counts.overtaking > 0,
                "a share" => counts.reordered > 20,
                "normal" | "marks" => counts.delivered == 300,
                _ => counts.dropped_in_all() > 0,
            };
            assert!(acted, "{what} did nothing: {counts:?}");
        }
    }
}

pub(crate) fn a_delay_is_distributed_as_planned() {
    // Kolmogorov's bound for one false alarm in a thousand; the fates depend only on the seeds.
    const BOUND: f64 = 1.95;
    let world = world(1);
    let (mean, half_width) = (ms(8), ms(6));
    let plan = LinkPlan {
        delay: Delay::Uniform { mean, half_width },
        reorder: Reorder::ByJitter,
        ..LinkPlan::default()
    };
    for seed in [3, 4, 5] {
        let seen = observe(&world, &plan, seed, 1_000, &format!("seed {seed}"));
        let arrived: Vec<Instant> = seen.arrivals().map(|(at, ..)| at).collect();
        // Time a frame was held, less the router's lateness.
        let held = seen.departures().map(|(index, due, at, ..)| {
            at.since(arrived[usize::try_from(index).unwrap()]) - at.since(due)
        });
        let low = (mean - half_width).as_secs_f64();
        let mut shares: Vec<f64> = held
            .map(|held| (held.as_secs_f64() - low) / (2.0 * half_width.as_secs_f64()))
            .collect();
        shares.sort_by(f64::total_cmp);
        let n = shares.len() as f64;
        let apart = shares.iter().zip(1..).map(|(share, rank)| {
            (share - f64::from(rank) / n).abs().max((share - f64::from(rank - 1) / n).abs())
        });
        let statistic = apart.fold(0.0, f64::max) * n.sqrt();
        assert!(statistic < BOUND, "seed {seed}: Kolmogorov-Smirnov {statistic:.2} >= {BOUND}");
    }
}

pub(crate) fn a_rate_is_kept_in_every_window() {
    const BITS_PER_SECOND: u64 = 8_000_000;
    let world = world(1);
    for seed in [1, 2] {
        let what = format!("seed {seed}");
        let plan = bottleneck(BITS_PER_SECOND, QueueLimit::Packets(1_000), Discipline::DropTail);
        let seen = observe(&world, &plan, seed, 400, &what);
        let left: Vec<(Instant, u64)> =
            seen.departures().map(|(_, due, _, _, bytes)| (due, bytes.len() as u64)).collect();
        assert_eq!(left.len(), 400, "{what}: the queue holds them all");
        for (first, (begin, _)) in left.iter().enumerate() {
            let mut bytes = 0;
            for (end, length) in &left[first..] {
                bytes += length;
                // One frame may be in transmission when the window opens; stamps are integers.
                let nanos = u64::try_from(end.since(*begin).as_nanos()).unwrap() + 400;
                let allowed = BITS_PER_SECOND / 8 * nanos / 1_000_000_000 + 1_514;
                assert!(bytes <= allowed, "{what}: {bytes} B from {begin} to {end}, {allowed} B");
            }
        }
    }
}

pub(crate) fn a_link_is_down_when_the_timetable_says() {
    let world = world(1);
    let (a, _b) = udp_pair(&world, 0);
    let down = Change { at: ms(30), lasting: Some(ms(30)), what: Setting::Down };
    let plan = LinkPlan { timetable: vec![down], ..LinkPlan::default() };
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), 1, direction));
    let watch = Watch::begin(&world, links);
    for number in 0..100_u64 {
        a.send(&number.to_be_bytes()).unwrap();
        std::thread::sleep(ms(1));
    }
    let seen = watch.end(100, "down for 30 ms");
    let start = seen.arrivals().next().unwrap().0;
    for (at, fate, _) in seen.arrivals() {
        let is_down = (ms(30)..ms(60)).contains(&at.since(start));
        let lost = fate.verdict == Verdict::Dropped(DropReason::Down);
        assert_eq!(lost, is_down, "frame {} at {:?}", fate.index, at.since(start));
    }
    assert_as_predicted(&seen, Link::new(plan, 1, Direction::AToB), "down for 30 ms");
}

/// Receives `count` datagrams of a known pattern; the second value counts the wrong ones.
fn receive_patterns(b: &UdpSocket) -> (u64, u64) {
    b.set_read_timeout(Some(ms(200))).unwrap();
    let (mut came, mut wrong) = (0, 0);
    let mut buffer = [0; 256];
    while let Ok(length) = b.recv(&mut buffer) {
        came += 1;
        wrong += u64::from(buffer[..length] != PATTERN);
    }
    (came, wrong)
}

const PATTERN: [u8; 100] = [0x5a; 100];

pub(crate) fn checksums_stop_what_is_corrupted() {
    const COUNT: u64 = 1_000;
    let world = world(1);
    for (seed, repair) in [(1, false), (2, false), (1, true), (2, true)] {
        let what = format!("seed {seed}, repair {repair}");
        let (a, b) = udp_pair(&world, 0);
        let corrupt = Corruption { share: ppm(200_000), bits: 1, repair };
        let plan = LinkPlan { corrupt, ..LinkPlan::default() };
        let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), seed, direction));
        let watch = Watch::begin(&world, links);
        let (came, wrong) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive_patterns(&b));
            for number in 0..COUNT {
                a.send(&PATTERN).unwrap();
                if number % 50 == 49 {
                    std::thread::sleep(ms(2));
                }
            }
            receiver.join().unwrap()
        });
        let seen = watch.end(COUNT, &what);
        let corrupted = seen.record.directions[0].counts.corrupted;
        assert!(corrupted > 100, "{what}: {corrupted}");
        let changed = seen.departures().filter(|(_, _, _, mutation, _)| mutation.corrupt.is_some());
        assert_eq!(changed.count() as u64, corrupted, "{what}");
        if repair {
            assert_eq!((came, wrong), (COUNT, corrupted), "{what}: each reaches the application");
        } else {
            assert_eq!(wrong, 0, "{what}: the kernel's checksums let none through");
            // A flip in a byte that no receiver checks (type of service) is harmless.
            assert!(came >= COUNT - corrupted && came < COUNT, "{what}: {came}");
        }
    }
}

/// Maximum datagrams in flight: with a kernel's 832 bytes for each, half of the default socket
/// buffer of 212,992.
const WINDOW: u64 = 128;
const DATAGRAM: usize = 96;

/// The correct content of datagram `number`: the number, and bytes derived from it.
fn content(seed: u64, number: u64) -> [u8; DATAGRAM] {
    let mut bytes = [0; DATAGRAM];
    for (word, place) in (0..).zip(bytes.chunks_exact_mut(8)) {
        let value = if word == 0 { number } else { keyed(keyed(seed, number), word) };
        place.copy_from_slice(&value.to_be_bytes());
    }
    bytes
}

/// Sends `count` datagrams, each batch once the path has room for it: `seen` is one more than the
/// highest number received. With 2 % corrupted, a whole window is never lost.
fn send_windowed(a: &UdpSocket, seed: u64, count: u64, seen: &AtomicU64) {
    let clock = Clock::start();
    let (mut number, mut last) = (0, clock.now());
    while number < count {
        let until = count.min(seen.load(Ordering::Acquire) + WINDOW);
        if number == until {
            assert!(clock.now().since(last) < PATIENCE, "seed {seed}: {number} sent of {count}");
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        let until = until.min(number + BATCH_MAX as u64);
        let batch: Vec<_> = (number..until).map(|number| content(seed, number)).collect();
        let slices: Vec<&[u8]> = batch.iter().map(|bytes| &bytes[..]).collect();
        number += send_batch(a, &slices).unwrap() as u64;
        last = clock.now();
    }
}

/// Received datagrams, and how many were wrong or out of order. Ends with the last one, or, if that
/// was corrupted, once all are sent and no more arrive.
fn receive_checked(b: &UdpSocket, seed: u64, count: u64, seen: &AtomicU64) -> (u64, u64) {
    // Longer than any pause of a busy machine; with these seeds the last one always arrives.
    b.set_read_timeout(Some(ms(5_000))).unwrap();
    let (mut came, mut wrong, mut next) = (0, 0, 0);
    let mut buffers = vec![[0; 2048]; BATCH_MAX];
    let mut lengths = [0; BATCH_MAX];
    while next < count {
        let batch = match receive_batch(b, &mut buffers, &mut lengths) {
            Ok(batch) => batch,
            Err(_) if next + WINDOW < count => continue,
            Err(_) => break,
        };
        for (buffer, length) in buffers.iter().zip(lengths).take(batch) {
            let number = u64::from_be_bytes(buffer[..8].try_into().unwrap());
            let right = buffer[..length] == content(seed, number) && number >= next;
            came += 1;
            wrong += u64::from(!right);
            next = if right { number + 1 } else { next };
        }
        seen.store(next, Ordering::Release);
    }
    (came, wrong)
}

pub(crate) fn a_million_frames_bring_no_corrupted_byte() {
    const SEEDS: [u64; 4] = [11, 12, 13, 14];
    const COUNT: u64 = 250_000;
    let world = world(1);
    let mut all_corrupted = 0;
    for seed in SEEDS {
        let (a, b) = udp_pair(&world, 0);
        let corrupt = Corruption { share: ppm(20_000), bits: 1, repair: false };
        let plan = LinkPlan { corrupt, ..LinkPlan::default() };
        world.router.set_links(0, &plan, &LinkPlan::default(), seed, 0).unwrap();
        let seen = AtomicU64::new(0);
        let (came, wrong) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive_checked(&b, seed, COUNT, &seen));
            send_windowed(&a, seed, COUNT, &seen);
            receiver.join().unwrap()
        });
        let record = world.router.take_record(0).unwrap();
        let direction = &record.directions[0];
        let corrupted = direction.counts.corrupted;
        let what = format!("seed {seed}: {came} of {COUNT} came, {corrupted} were corrupted");
        assert_eq!((direction.offered, direction.sent), (COUNT, COUNT), "{what}");
        assert_eq!((direction.kernel_dropped, direction.send_failed), (0, 0), "{what}");
        assert_eq!(wrong, 0, "{what}: {wrong} with other bytes or out of order");
        // A flip that makes the checksum 0 means "no checksum": that frame arrives, intact.
        assert!((COUNT - corrupted..COUNT - corrupted * 9 / 10).contains(&came), "{what}");
        all_corrupted += corrupted;
    }
    let all = SEEDS.len() as u64 * COUNT;
    println!("       {all} frames, {all_corrupted} corrupted, no wrong byte came");
    assert!(all_corrupted > all / 60 && all_corrupted < all / 40, "{all_corrupted} of {all}");
}

/// Sends bytes over TCP from A to B; returns them as received.
fn transfer(world: &World, bytes: &[u8]) -> Vec<u8> {
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = world.topology.lanes[0].b.run(listen).unwrap().unwrap();
    transfer_to(world, &listener, bytes)
}

fn transfer_to(world: &World, listener: &TcpListener, bytes: &[u8]) -> Vec<u8> {
    let lane = &world.topology.lanes[0];
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let received = scope.spawn(|| {
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut came = Vec::new();
            stream.read_to_end(&mut came).unwrap();
            came
        });
        let mut stream = lane.a.run(|| TcpStream::connect(address)).unwrap().unwrap();
        stream.write_all(bytes).unwrap();
        drop(stream);
        received.join().unwrap()
    })
}

pub(crate) fn tcp_never_delivers_corrupted_bytes() {
    let world = world(1);
    let data: Vec<u8> = (0..=250_u8).cycle().take(200_000).collect();
    for seed in [1, 2] {
        let corrupt = Corruption { share: ppm(30_000), bits: 1, repair: false };
        let plan = LinkPlan { corrupt, ..LinkPlan::default() };
        world.router.set_links(0, &plan, &plan, seed, 0).unwrap();
        assert!(transfer(&world, &data) == data, "seed {seed}: TCP delivered other bytes");
        let record = world.router.take_record(0).unwrap();
        assert!(record.directions[0].counts.corrupted > 0, "seed {seed}: nothing was corrupted");
    }
    // With fixed-up checksums TCP cannot notice.
    let corrupt = Corruption { share: Ppm::ONE, bits: 1, repair: true };
    let plan = LinkPlan { corrupt, ..LinkPlan::default() };
    world.router.set_links(0, &plan, &LinkPlan::default(), 3, 0).unwrap();
    let came = transfer(&world, &data);
    let corrupted = world.router.take_record(0).unwrap().directions[0].counts.corrupted;
    assert_eq!(came.len(), data.len());
    let bits = came.iter().zip(&data).map(|(one, other)| u64::from((one ^ other).count_ones()));
    let bits: u64 = bits.sum();
    // One bit of each segment; a retransmitted segment may have been wrong before, too.
    assert!(bits > 0 && bits <= corrupted, "{bits} bits differ, {corrupted} segments corrupted");
}

pub(crate) fn tcp_finds_the_path_mtu() {
    let world = world(1);
    let limit = 900;
    let plan = LinkPlan { mtu: mtu(limit, false), ..LinkPlan::default() };
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), 1, direction));
    let mut watch = Watch::begin(&world, links);
    let data: Vec<u8> = (0..=250_u8).cycle().take(100_000).collect();
    assert!(transfer(&world, &data) == data);
    watch.fetch();
    let record = world.router.take_record(0).unwrap();
    let direction = &record.directions[0];
    let too_big = direction.counts.dropped[DropReason::TooBig.index()];
    assert!(too_big > 0, "the first segments fill the interface's MTU");
    assert!(direction.too_big_answered > 0 && direction.too_big_answered <= too_big);
    let notes = watch.notes.iter().filter(|(note, _)| note.direction == Direction::AToB);
    let left = notes.filter(|(note, _)| matches!(note.what, Event::Left { .. }));
    let longest = left.map(|(_, bytes)| bytes.len()).max().unwrap();
    assert_eq!(longest, 14 + usize::from(limit), "later segments fill the path's MTU");
}

pub(crate) fn a_black_hole_stalls_tcp() {
    let world = world(1);
    let plan = LinkPlan { mtu: mtu(900, true), ..LinkPlan::default() };
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), 1, direction));
    let mut watch = Watch::begin(&world, links);
    let lane = &world.topology.lanes[0];
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = lane.b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream = lane.a.run(|| TcpStream::connect(address)).unwrap().unwrap();
    let mut there = listener.accept().unwrap().0;
    stream.write_all(&[7; 20_000]).unwrap();
    let too_big = |watch: &Watch<'_>| {
        let fates = watch.notes.iter().filter_map(|(note, _)| match note.what {
            Event::Arrived { fate, .. } => Some(fate.verdict),
            _ => None,
        });
        fates.filter(|verdict| *verdict == Verdict::Dropped(DropReason::TooBig)).count()
    };
    // The first flight is 10 segments (RFC 6928): more means a retransmission.
    let clock = Clock::start();
    while too_big(&watch) <= 10 {
        assert!(clock.now().since(Instant::ZERO) < PATIENCE, "{} too big", too_big(&watch));
        std::thread::sleep(ms(20));
        watch.fetch();
    }
    there.set_nonblocking(true).unwrap();
    let kind = there.read(&mut [0; 64]).unwrap_err().kind();
    assert_eq!(kind, ErrorKind::WouldBlock, "no segment can have come");
    let record = world.router.take_record(0).unwrap();
    assert_eq!(record.directions[0].too_big_answered, 0, "a black hole says nothing");
}

pub(crate) fn a_recording_replays_the_run() {
    const COUNT: u16 = 400;
    let count = u64::from(COUNT);
    let world = world(1);
    for seed in [1, 2, 3] {
        let plan = LinkPlan {
            loss: LossModel::Iid(ppm(50_000)),
            duplicate: ppm(100_000),
            corrupt: Corruption { share: ppm(50_000), bits: 1, repair: true },
            ..bottleneck(20_000_000, QueueLimit::Packets(20), Discipline::DropHead)
        };
        let what = format!("seed {seed}");
        let first = observe(&world, &plan, seed, count, &what);
        let mut recording = Recording::new([None; 2]);
        for (note, _) in &first.notes {
            match note.what {
                Event::Arrived { fate, .. } => recording.note(note.direction, note.at, &fate),
                Event::Released(release) => recording.note_release(note.direction, &release),
                _ => {}
            }
        }
        assert!(!recording.is_cut(), "{what}");
        let read = Recording::parse("recording", &recording.to_string()).unwrap();
        let replaying = || Direction::BOTH.map(|direction| Link::replaying(&read, direction));
        let (a, _b) = udp_pair(&world, 0);
        let watch = Watch::begin(&world, replaying());
        send_mixed(&a, count + 10);
        let second = watch.end(count + 10, &what);
        assert_as_predicted(&second, Link::replaying(&read, Direction::AToB), &what);
        let fates = |seen: &Seen| -> Vec<Fate> {
            seen.arrivals().map(|(_, fate, _)| fate).take(usize::from(COUNT)).collect()
        };
        let digest = |fates: &[Fate]| fates.iter().fold(0, fold_fate);
        let (before, again) = (fates(&first), fates(&second));
        assert_eq!(digest(&before), digest(&again), "{what}");
        assert_eq!(digest(&before), first.record.directions[0].fates_digest, "{what}");
        let (was, is) = (&first.record.directions[0], &second.record.directions[0]);
        assert_eq!(was.counts.dropped, is.counts.dropped, "{what}");
        assert_eq!((was.beyond, is.beyond), (0, 10), "{what}");
    }
}

pub(crate) fn memory_follows_from_the_plans() {
    // 500 packets of queue and 10,000 frames/s for 20 ms.
    let plan = LinkPlan {
        delay: Delay::Constant(ms(20)),
        ..bottleneck(3_360_000, QueueLimit::Packets(500), Discipline::DropTail)
    };
    let config = RouterConfig::for_plans([&plan, &plan]).unwrap();
    assert!((1_400..4_000).contains(&config.pool_frames), "{}", config.pool_frames);
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let world = World { topology, router };
    let seen = observe(&world, &plan, 1, 2_000, "overload");
    let record = &seen.record.directions[0];
    assert!(record.counts.dropped[DropReason::QueueTail.index()] > 0, "the queue was full");
    let summary = world.router.stop().unwrap();
    assert_eq!(summary.pool_full, 0, "the pool never was: {summary:?}");
    assert!(summary.pool_peak >= 500 && summary.pool_peak <= summary.pool_frames, "{summary:?}");
    assert!(summary.pool_bytes > summary.pool_frames * 1_514 && summary.ring_bytes > 0);
}

pub(crate) fn ipv6_is_carried_alike() {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        println!("       skipped: this kernel has no IPv6");
        return;
    }
    let topology = Topology::for_programs(FrameMode::MtuSized).unwrap();
    let router = Router::start(&topology, RouterConfig::default(), Clock::start()).unwrap();
    let world = World { topology, router };
    let lane = &world.topology.lanes[0];
    let bind = |address| move || UdpSocket::bind(SocketAddrV6::new(address, 0, 0, 0));
    let a = lane.a.run(bind(Topology::A_ADDR6)).unwrap().unwrap();
    let b = lane.b.run(bind(Topology::B_ADDR6)).unwrap().unwrap();
    a.connect(b.local_addr().unwrap()).unwrap();
    for seed in [1, 2] {
        let plan = LinkPlan {
            loss: LossModel::Iid(ppm(100_000)),
            mark: ppm(100_000),
            corrupt: Corruption { share: ppm(100_000), bits: 1, repair: true },
            ..bottleneck(20_000_000, QueueLimit::Packets(50), Discipline::DropTail)
        };
        let what = format!("IPv6, seed {seed}");
        let seen = observe_from(&a, &world, &plan, seed, 300, &what);
        assert!(seen.arrivals().all(|(_, _, frame)| frame[12..14] == [0x86, 0xdd]), "{what}");
        assert_as_predicted(&seen, Link::new(plan, seed, Direction::AToB), &what);
        assert!(seen.record.directions[0].lost > 10, "{what}");
    }
    let listen = || TcpListener::bind(SocketAddrV6::new(Topology::B_ADDR6, 0, 0, 0));
    let data: Vec<u8> = (0..=250_u8).cycle().take(100_000).collect();
    let plan = LinkPlan { mtu: mtu(1_300, false), ..LinkPlan::default() };
    world.router.set_links(0, &plan, &plan, 1, 0).unwrap();
    let listener = world.topology.lanes[0].b.run(listen).unwrap().unwrap();
    assert!(transfer_to(&world, &listener, &data) == data);
    let record = world.router.take_record(0).unwrap();
    assert!(record.directions[0].too_big_answered > 0, "packet too big (RFC 8201) is said");
}

pub(crate) fn a_small_pool_never_stalls_a_queue() {
    const COUNT: u64 = 60;
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let config = RouterConfig { pool_frames: 8, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    let world = World { topology, router };
    let plan = bottleneck(8_000_000, QueueLimit::Packets(1_000), Discipline::DropTail);
    let links = Direction::BOTH.map(|direction| Link::new(plan.clone(), 1, direction));
    let (a, _b) = udp_pair(&world, 0);
    let watch = Watch::begin(&world, links);
    send_mixed(&a, COUNT);
    let seen = watch.end(COUNT, "a pool of 8");
    let record = &seen.record.directions[0];
    assert_eq!((record.sent, record.lost), (COUNT, 0));
    assert!(record.pool_full > 0, "frames waited in the ring, which is said");
    // Late frames count as late arrivals, both for the link and the record.
    assert_as_predicted(&seen, Link::new(plan, 1, Direction::AToB), "a pool of 8");
}
