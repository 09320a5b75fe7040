//! The kernel's reno through the emulated path, against theory.
//!
//! Goodput and losses come from the path's record. If the machine was too busy to keep the path's
//! time, the test reports it instead of failing.

#![expect(clippy::disallowed_methods, reason = "it lets connections run for a while")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;
use wirelab::emulator::router::{LaneRecord, Router, RouterConfig};
use wirelab::emulator::topology::{FrameMode, Lane, LaneConfig, Topology};
use wirelab::measure::goodput::BulkTcp;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{Delay, Direction, LinkPlan, LossModel};
use wirelab::runtime::clock::Clock;
use wirelab::sys::sockets::set_tcp_congestion;

/// A segment's payload at an MTU of 1,500 with time stamps; the timer is a round trip plus the
/// kernel's floor.
const TCP: BulkTcp = BulkTcp {
    segment_bytes: 1_448,
    rtt: Duration::from_millis(20),
    rto: Duration::from_millis(220),
};
/// Until slow start is over.
const WARM_UP: Duration = Duration::from_secs(2);
const RUN: Duration = Duration::from_secs(8);
const LOSSES: [u32; 2] = [10_000, 50_000];
const SEEDS: [u64; 3] = [1, 2, 3];
const FRAMES: [FrameMode; 2] = [FrameMode::MtuSized, FrameMode::Segmented];
/// Twice what Mathis allows in [`RUN`] at the lower loss, with as many acknowledgements.
const CAPTURE_FRAMES: u32 = 20_000;
/// A path later than this has a round trip more than 10 % above the formulas' input.
const LATENESS_MAX: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    frames: FrameMode,
    loss: u32,
}

fn link(loss: u32) -> LinkPlan {
    LinkPlan {
        loss: LossModel::Iid(Ppm::new(loss).unwrap()),
        delay: Delay::Constant(TCP.rtt / 2),
        ..LinkPlan::default()
    }
}

/// Connects without loss: a lost SYN would cost a second.
fn connect(lane: &Lane) -> [TcpStream; 2] {
    let listen = || TcpListener::bind(SocketAddrV4::new(Topology::B_ADDR, 0));
    let listener = lane.b.run(listen).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let from = lane.a.run(|| TcpStream::connect(address)).unwrap().unwrap();
    set_tcp_congestion(&from.as_fd(), "reno").unwrap();
    [from, listener.accept().unwrap().0]
}

/// Sends at full speed on all connections for [`RUN`]; returns the path's records.
fn run(lanes: &[(Cell, u64)]) -> Vec<LaneRecord> {
    let lane = |(cell, _): &(Cell, _)| LaneConfig { frames: cell.frames, ..LaneConfig::default() };
    let topology = Topology::build(&lanes.iter().map(lane).collect::<Vec<_>>()).unwrap();
    // 16 MiB for each ring of super-frames.
    let config = RouterConfig { ring_frames: 256, ..RouterConfig::default() };
    let router = Router::start(&topology, config, Clock::start()).unwrap();
    for number in 0..lanes.len() {
        router.set_links(number, &link(0), &link(0), 0, 0).unwrap();
    }
    let streams: Vec<_> = topology.lanes.iter().map(connect).collect();
    for (number, (cell, seed)) in lanes.iter().enumerate() {
        router.set_links(number, &link(cell.loss), &link(0), *seed, CAPTURE_FRAMES).unwrap();
    }
    std::thread::scope(|scope| {
        for [from, to] in &streams {
            let (mut from, mut to) = (from, to);
            scope.spawn(move || while from.write(&[0x5a; 65_536]).is_ok() {});
            scope.spawn(move || {
                let mut buffer = [0; 65_536];
                while let Ok(1..) = to.read(&mut buffer) {}
            });
        }
        std::thread::sleep(RUN);
        let records = (0..lanes.len()).map(|lane| router.take_record(lane).unwrap()).collect();
        // Unblocks both threads. One may have closed its half already.
        for stream in streams.iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        records
    })
}

/// Figures of a record after the warm-up.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    bits: f64,
    time: Duration,
    /// Loss events: losses within one round trip count once, as they cost one halving.
    loss_events: u32,
}

impl Measured {
    fn of(record: &LaneRecord) -> Self {
        let from = record.captured.first().unwrap().arrived + WARM_UP;
        let warm = record.captured.iter().filter(|frame| frame.arrived >= from);
        let acks = warm.clone().filter(|frame| frame.direction == Direction::BToA);
        let acks: Vec<_> = acks.map(|ack| (ack.arrived, acknowledged(&ack.bytes))).collect();
        let [(first, before), (last, after)] = [acks[0], acks[acks.len() - 1]];
        let bits = f64::from(after.wrapping_sub(before)) * 8.0;
        let (mut loss_events, mut over) = (0, Instant::ZERO);
        for lost in warm.filter(|f| f.direction == Direction::AToB && f.copies == 0) {
            if lost.arrived >= over {
                loss_events += 1;
                over = lost.arrived + TCP.rtt;
            }
        }
        Self { bits, time: last.since(first), loss_events }
    }

    fn add(&mut self, other: Self) {
        self.bits += other.bits;
        self.time += other.time;
        self.loss_events += other.loss_events;
    }
}

/// The acknowledgement number of a TCP segment over IPv4.
fn acknowledged(frame: &[u8]) -> u32 {
    let tcp = 14 + usize::from(frame[14] & 15) * 4;
    u32::from_be_bytes(frame[tcp + 8..tcp + 12].try_into().unwrap())
}

pub(crate) fn lies_between_pftk_and_mathis() {
    let cells = FRAMES.into_iter().flat_map(|frames| LOSSES.map(|loss| Cell { frames, loss }));
    let lanes: Vec<_> = cells.flat_map(|cell| SEEDS.map(|seed| (cell, seed))).collect();
    let records = run(&lanes);
    let (mut busy, mut latest) = (0, Duration::ZERO);
    for (lanes, records) in lanes.chunks(SEEDS.len()).zip(records.chunks(SEEDS.len())) {
        let mut sum = Measured::default();
        for record in records {
            super::assert_valid(record);
            let late = record.directions.iter().map(|direction| direction.lateness.p99()).max();
            match late {
                Some(late) if late > LATENESS_MAX => {
                    busy += 1;
                    latest = latest.max(late);
                }
                _ => sum.add(Measured::of(record)),
            }
        }
        if sum.loss_events > 0 {
            assert_in_band(lanes[0].0, sum);
        }
    }
    if busy > 0 {
        // Left of a line, where the summary of all tests looks for it.
        println!(
            "skipped: reno's goodput on {busy} of {} lanes: the machine was too busy to keep the \
             path's time, late by up to {latest:?} (p99)",
            lanes.len()
        );
    }
}

/// One halving more or less in n changes the goodput of its stretch by about 1 / n, and n scatters
/// by its square root: three standard errors on either side.
fn assert_in_band(cell: Cell, sum: Measured) {
    let loss = Ppm::new(cell.loss).unwrap();
    let slack = 3.0 / f64::from(sum.loss_events).sqrt();
    let low = TCP.pftk_bits_per_second(loss) / 1e6;
    let high = TCP.mathis_bits_per_second(loss) / 1e6;
    let is = sum.bits / 1e6 / sum.time.as_secs_f64();
    let what = format!(
        "{:?}, {loss}, seeds of {SEEDS:?} in time: {is:.2} Mbit/s in {:?}, PFTK {low:.2}, Mathis \
         {high:.2}, +-{:.0} % for {} loss events",
        cell.frames,
        sum.time,
        slack * 100.0,
        sum.loss_events
    );
    println!("       {what}");
    assert!(sum.loss_events > 9, "{what}: too few to tell");
    let band = low * (1.0 - slack)..high * (1.0 + slack);
    assert!(band.contains(&is), "{what}");
}
