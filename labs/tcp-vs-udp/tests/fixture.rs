//! Runs of model arms that behave like kernel TCP and UDP, through the lab's own statistics.
//!
//! A model connection sends its requests in rounds. On a stream a round is one segment: its
//! requests share every latency (batching), and a loss stretches the connection's timer for a while
//! (memory). On datagrams every request is alone. A repetition adds the machine's own offset.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "model figures need no exact conversion"
)]

use std::time::Duration;
use tcp_vs_udp::arms::Arm;
use tcp_vs_udp::outcome::{Block, LaneOutcome};
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::result::*;
use tcp_vs_udp::run::{Identity, conclude};
use wirelab::bank::client::Key;
use wirelab::bank::load::{End, Sample};
use wirelab::bank::message::Operation;
use wirelab::measure::draw::keyed;
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, Ppm};

const MS: f64 = 1e6;

pub(crate) fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

/// The arm of this line.
pub(crate) fn arm(line: &str) -> Arm {
    Arm::parse(line).unwrap()
}

/// The default plan.
pub(crate) fn plan() -> Plan {
    Plan::default()
}

/// A plan of two arms at one loss rate.
pub(crate) fn plan_of(arms: [&str; 2], loss_ppm: u32, ops: u32) -> Plan {
    Plan {
        arms: arms.map(arm).to_vec(),
        loss_ppm: vec![ppm(loss_ppm)],
        depths: vec![1, 8],
        ops,
        ..Plan::default()
    }
}

/// A finished run of a plan, whose arms have these timers in milliseconds.
pub(crate) fn run_of(plan: &Plan, seed: u64, timer_ms: impl Fn(Arm) -> f64) -> RunResult {
    let stages: Vec<Vec<Block>> = (0_u64..)
        .zip(&plan.loss_ppm)
        .map(|(stage, loss)| {
            let block = |repetition| block(plan, (seed, stage), *loss, repetition, &timer_ms);
            (0..plan.repetitions).map(block).collect()
        })
        .collect();
    let command = format!("tcp-vs-udp --seed {seed}");
    let identity = Identity { seed, command, host: host(plan) };
    let measured = Duration::from_millis(47_300);
    conclude(plan, identity, Mode::Kernel, &stages, (Ended::Finished, 0), measured)
}

/// The usual timers.
pub(crate) fn timer_ms(arm: Arm) -> f64 {
    match arm.name() {
        "tcp-tuned" => 40.0,
        _ if is_tcp(arm) => 220.0,
        _ => 30.0,
    }
}

/// A finished run of the default plan.
pub(crate) fn result() -> RunResult {
    result_of(&plan())
}

/// A finished run of a plan.
pub(crate) fn result_of(plan: &Plan) -> RunResult {
    run_of(plan, 42, timer_ms)
}

fn is_tcp(arm: Arm) -> bool {
    arm.transport().needs_kernel().is_some()
}

fn host(plan: &Plan) -> Host {
    Host {
        kernel: "Linux 6.8.0-45-generic".to_owned(),
        cpus: 2,
        privilege: "user namespace".to_owned(),
        congestion_control: plan.congestion_control.clone(),
        tcp_rto_min_ns: Some(200_000_000),
        tcp_tuned_rto_min_ns: Some(20_000_000),
        offloads_off: ["tso", "gso", "gro", "tx-checksum"].map(str::to_owned).to_vec(),
        mtu_bytes: 1_500,
        started_utc: "2026-11-22T12:00:00Z".to_owned(),
    }
}

struct Draws(u64, u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        self.1 += 1;
        (keyed(self.0, self.1) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn block(
    plan: &Plan,
    (seed, stage): (u64, u64),
    loss: Ppm,
    repetition: u32,
    timer_ms: &impl Fn(Arm) -> f64,
) -> Block {
    let lane = |(place, (arm, depth)): (u64, (Arm, u32))| {
        let key = stage << 40 | u64::from(repetition) << 32 | place;
        let draws = Draws(keyed(keyed(seed, key), u64::from(loss.get())), 0);
        Model { plan, arm, depth, loss, timer: timer_ms(arm), draws }.lane()
    };
    Block {
        repetition,
        seed: Plan::seed_of(seed, repetition),
        lanes: (0_u64..).zip(plan.lanes()).map(lane).collect(),
        began: Instant::ZERO,
        elapsed: Duration::from_secs(2),
    }
}

/// One lane of one repetition.
struct Model<'a> {
    plan: &'a Plan,
    arm: Arm,
    depth: u32,
    loss: Ppm,
    timer: f64,
    draws: Draws,
}

/// Counters of a lane's frames.
#[derive(Default)]
struct Frames {
    offered: [u64; 2],
    lost: [u64; 2],
    unknown: u64,
    twice: u64,
    repeats: u64,
}

impl Model<'_> {
    /// The latency of an exchange in ms; `None` if it was never answered.
    fn exchange(&mut self, first_timer: f64, frames: &mut Frames) -> Option<f64> {
        let p = self.loss.fraction();
        let mut at = self.plan.rtt.as_secs_f64() * 1e3 + 0.3 + 0.6 * self.draws.unit().powi(3);
        let mut timer = first_timer * (1.0 + 0.05 * self.draws.unit());
        for attempt in 0.. {
            frames.offered[0] += 1;
            if self.draws.unit() < p {
                frames.lost[0] += 1;
            } else {
                frames.offered[1] += 1;
                if self.draws.unit() >= p {
                    return Some(at);
                }
                frames.lost[1] += 1;
                frames.twice += u64::from(attempt == 0);
            }
            if !self.arm.transport().repeats() {
                return None;
            }
            frames.repeats += 1;
            at += timer;
            // The kernel sends a probe first, then doubles its timer.
            if !is_tcp(self.arm) || attempt > 0 {
                timer *= 2.0;
            }
        }
        None
    }

    fn lane(mut self) -> LaneOutcome {
        let clients = self.plan.clients(self.depth);
        let ops = self.plan.ops.div_ceil(self.plan.repetitions);
        let (mut samples, mut frames) = (Vec::new(), Frames::default());
        let offset = 0.1 * self.draws.unit();
        let slots = u64::from(clients);
        let mut now = vec![0.0_f64; slots as usize];
        let mut memory = vec![1.0_f64; slots as usize];
        let shared = is_tcp(self.arm) && self.depth > 1;
        while (samples.len() as u32) < ops {
            let slot = (samples.len() as u64 / u64::from(self.depth) % slots) as usize;
            let mut together = None;
            let mut longest = 0.0_f64;
            for _ in 0..self.depth {
                let timer = self.timer * memory[slot];
                let met = together.filter(|_| shared).unwrap_or_else(|| {
                    let open = if self.arm.transport().per_request() {
                        self.open(&mut frames)
                    } else {
                        0.0
                    };
                    self.exchange(timer, &mut frames).map(|at| at + open + offset)
                });
                together = Some(met);
                let met = met.filter(|at| *at < self.plan.deadline.as_secs_f64() * 1e3);
                frames.unknown += u64::from(met.is_none());
                longest = longest.max(met.unwrap_or(200.0));
                samples.push(sample(samples.len() as u64, slot, now[slot], met));
            }
            let slow = longest > 1.2 * self.plan.rtt.as_secs_f64() * 1e3;
            memory[slot] = if slow && is_tcp(self.arm) { 1.05 } else { memory[slot].powf(0.7) };
            now[slot] += longest;
        }
        self.outcome(clients, samples, &frames)
    }

    /// A handshake in ms: the SYN timer is a second.
    fn open(&mut self, frames: &mut Frames) -> f64 {
        let p = self.loss.fraction();
        let mut at = self.plan.rtt.as_secs_f64() * 1e3;
        for way in [0, 1] {
            frames.offered[way] += 1;
            if self.draws.unit() < p {
                frames.lost[way] += 1;
                at += 1_000.0;
            }
        }
        at
    }

    fn outcome(&self, clients: u32, samples: Vec<Sample>, frames: &Frames) -> LaneOutcome {
        let tcp = is_tcp(self.arm);
        let started = samples.len() as u64;
        let per_request = self.arm.transport().per_request();
        let applied_twice = if self.arm.name() == "udp-retry" { frames.twice } else { 0 };
        LaneOutcome {
            arm: self.arm,
            depth: self.depth,
            clients,
            handshakes: per_request.then(|| vec![Duration::from_millis(20); started as usize]),
            path: [0, 1].map(|way| audit(frames, way, if tcp { self.depth.into() } else { 1 })),
            lost: [Vec::new(), Vec::new()],
            tcp: tcp.then(|| TcpCounters {
                retransmitted_segments: frames.repeats,
                timeouts: frames.repeats * 7 / 10,
                loss_probes: frames.repeats / 4,
                fast_retransmits: frames.repeats / 20,
                syn_retransmits: if per_request { frames.repeats / 2 } else { 0 },
                spurious: frames.repeats / 2,
            }),
            udp: (!tcp).then_some(UdpCounters {
                retries: frames.repeats,
                late_replies: frames.repeats / 2,
                rto_ns: (self.timer * MS) as u64,
            }),
            ledger: LedgerAudit {
                acknowledged: started - frames.unknown,
                applied_twice,
                surplus_cents: applied_twice as i64 * 1_250,
                unknown_applied: frames.unknown / 2,
                unknown_not_applied: frames.unknown - frames.unknown / 2,
                balances_cents: 12_345_600,
                expected_cents: 12_345_600,
                balanced: true,
                ..LedgerAudit::default()
            },
            samples,
        }
    }
}

fn sample(op: u64, slot: usize, start_ms: f64, met: Option<f64>) -> Sample {
    let at = |ms: f64| Instant::from_nanos((ms * MS) as u64);
    let operation = if op.is_multiple_of(2) { Operation::Deposit } else { Operation::Balance };
    Sample {
        op,
        slot,
        key: Key { client: slot as u64 + 1, seq: op },
        operation,
        intended: at(start_ms),
        finished: at(start_ms + met.unwrap_or(200.0)),
        end: if met.is_some() { End::Done } else { End::Unknown },
        attempts: 1,
        answered: None,
        refusal: None,
    }
}

/// The audit of a direction whose frames carry `segment` messages each.
fn audit(frames: &Frames, way: usize, segment: u64) -> LinkAudit {
    let (offered, lost) = (frames.offered[way], frames.lost[way]);
    LinkAudit {
        offered,
        bytes: offered * if segment > 1 { 60 + 70 * segment } else { 118 },
        lost,
        loss: Share::new(lost, offered),
        late_p50_ns: 54_000,
        late_p99_ns: 106_000,
        late_max_ns: 1_730_000,
        fates_digest: format!("{:016x}", keyed(offered, way as u64)),
        ..LinkAudit::default()
    }
}
