//! A plausible result of `tcp-vs-udp`, made from the retry staircase and a fixed seed.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up figures need no exact conversion"
)]

use std::time::Duration;
use tcp_vs_udp::arms::Arm;
use tcp_vs_udp::plan::Plan;
use tcp_vs_udp::result::*;
use wirelab::measure::Ppm;
use wirelab::measure::draw::keyed;
use wirelab::measure::interval::Share;
use wirelab::measure::quantile::{ecdf, quantile};
use wirelab::measure::staircase::{attempt_fails, staircase};

const MS: u64 = 1_000_000;
const RTT: u64 = 20 * MS;

pub(crate) fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap()
}

/// The arm with this name.
pub(crate) fn arm(name: &str) -> Arm {
    Arm::named(name).unwrap()
}

/// The default plan.
pub(crate) fn plan() -> Plan {
    Plan {
        rtt: Duration::from_millis(20),
        loss_ppm: [0, 10_000, 20_000, 50_000, 100_000].map(ppm).to_vec(),
        duplicate_ppm: Ppm::ZERO,
        arms: Arm::defaults().collect(),
        depths: vec![1, 8],
        ops: 4_000,
        outstanding: 64,
        stage_limit: Duration::from_secs(10),
        deadline: Duration::from_secs(10),
        patience: Duration::from_secs(1),
        tuned_rto_min: Duration::from_millis(40),
        congestion_control: "cubic".to_owned(),
        capture_frames: 200,
    }
}

/// A finished run of a plan.
pub(crate) fn result_of(plan: Plan) -> RunResult {
    let stages = plan.loss_ppm.iter().map(|loss| stage(&plan, *loss)).collect();
    RunResult {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        command: "tcp-vs-udp --seed 42".to_owned(),
        seed: 42,
        mode: Mode::Kernel,
        ended: Ended::Finished,
        verdict: "At 2 % udp-once answers 99 % within 51.6 ms, tcp within 250 ms (4.8 x): a lone \
                  lost packet waits for TCP's retransmission timer."
            .to_owned(),
        stages,
        claims: claims(),
        left_out: Vec::new(),
        cannot_tell: vec![
            "Losses here are independent; real paths lose in bursts, which hurts both arms \
             differently."
                .to_owned(),
            "Requests are small: bulk transfer, where congestion control decides, is not measured."
                .to_owned(),
        ],
        timing: Timing {
            verdict: TimingVerdict::Trusted,
            reason: "99 % of the frames left less than 0.21 ms late, 2 % of the one-way delay"
                .to_owned(),
        },
        measured_ns: 47_300 * MS,
        host: host(&plan),
        plan,
    }
}

/// A finished run of the default plan.
pub(crate) fn result() -> RunResult {
    result_of(plan())
}

fn host(plan: &Plan) -> Host {
    Host {
        kernel: "Linux 6.8.0-45-generic".to_owned(),
        cpus: 2,
        privilege: "user namespace".to_owned(),
        congestion_control: plan.congestion_control.clone(),
        tcp_rto_min_ns: Some(200 * MS),
        tcp_tuned_rto_min_ns: Some(40 * MS),
        offloads_off: ["tso", "gso", "gro", "tx-checksum"].map(str::to_owned).to_vec(),
        mtu_bytes: 1_500,
        started_utc: "2026-11-22T12:00:00Z".to_owned(),
    }
}

fn claims() -> Vec<Claim> {
    let claim = |name: &str, promise: &str, seen: &str, holds| Claim {
        name: name.to_owned(),
        promise: promise.to_owned(),
        seen: seen.to_owned(),
        holds,
    };
    vec![
        claim(
            "exactly-once",
            "udp-once applies every operation once, whatever the path loses",
            "0 of 38,212 acknowledged operations are in the ledger twice",
            Holds::Yes,
        ),
        claim(
            "slow-share",
            "at depth 1 the share of slow requests is 1 - (1 - p)²",
            "observed within the 95 % interval in 14 of 15 lanes",
            Holds::Yes,
        ),
        claim(
            "at-least-once",
            "udp-retry applies some operations more than once",
            "too few repeats at 0 % loss to tell",
            Holds::Unknown,
        ),
    ]
}

fn stage(plan: &Plan, loss: Ppm) -> Stage {
    let lanes: Vec<Lane> = plan
        .arms
        .iter()
        .flat_map(|arm| plan.depths.iter().map(move |depth| (*arm, *depth)))
        .map(|(arm, depth)| lane(plan, arm, depth, loss))
        .collect();
    let verdict = if loss == Ppm::ZERO {
        "Without loss tcp and udp-once answer alike: 20.5 ms at the median, 20.9 ms at p99."
            .to_owned()
    } else {
        "udp-once answered the slowest 1 % of requests 3.0 times sooner than tcp (p99 80.6 ms \
         against 241 ms), because its first retry waits 60 ms and Linux waits at least 200 ms; \
         tcp-tuned closes most of the gap."
            .to_owned()
    };
    Stage { loss_ppm: loss, verdict, lanes, elapsed_ns: 9_460 * MS }
}

/// First retry timer of an arm, nanoseconds; `None` if it never retries.
fn timer(arm: Arm) -> Option<u64> {
    match arm.name() {
        "tcp" | "tcp-reconnect" => Some(220 * MS),
        "tcp-tuned" => Some(64 * MS),
        "udp" => None,
        _ => Some(60 * MS),
    }
}

fn is_tcp(arm: Arm) -> bool {
    arm.name().starts_with("tcp")
}

struct Draws(u64, u64);

impl Draws {
    fn unit(&mut self) -> f64 {
        self.1 += 1;
        (keyed(self.0, self.1) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Outcomes of a lane's requests.
#[derive(Default)]
struct Met {
    latencies: Vec<u64>,
    handshakes: Vec<u64>,
    unknown: u64,
    repeats: u64,
    twice: u64,
}

fn meet(plan: &Plan, arm: Arm, depth: u32, loss: Ppm) -> Met {
    let q = attempt_fails(loss);
    let place = Arm::defaults().position(|other| other == arm).unwrap() as u64;
    let mut draws = Draws(42 + u64::from(loss.get()) + 7 * place, u64::from(depth) << 32);
    let mut met = Met::default();
    let mut stall = 0_u64;
    for _ in 0..plan.ops {
        let mut at = RTT + (0.2e6 + 0.7e6 * draws.unit().powi(3)) as u64;
        if arm.name() == "tcp-reconnect" {
            let mut opening = RTT + (0.3e6 * draws.unit()) as u64;
            let mut syn = 1_000 * MS;
            while draws.unit() < q {
                opening += syn;
                syn *= 2;
            }
            met.handshakes.push(opening);
            at += opening;
        }
        let mut wait = timer(arm);
        while draws.unit() < q {
            let Some(timer) = wait else {
                at = u64::MAX;
                break;
            };
            let fast = depth > 1 && is_tcp(arm) && draws.unit() < 0.7;
            at += if fast { 24 * MS } else { timer };
            wait = Some(timer * 2);
            met.repeats += 1;
            met.twice += u64::from(arm.name() == "udp-retry" && draws.unit() < 0.45);
        }
        if depth > 1 && matches!(arm.name(), "tcp" | "tcp-tuned") {
            at = at.max(stall);
            stall = at.saturating_sub(4 * MS);
        }
        if at > 10_000 * MS { met.unknown += 1 } else { met.latencies.push(at) }
    }
    met.latencies.sort_unstable();
    met.handshakes.sort_unstable();
    met
}

fn latency(sorted: &[u64]) -> Latency {
    let count = sorted.len() as u64;
    Latency {
        count,
        mean_ns: sorted.iter().sum::<u64>() / count.max(1),
        p50: quantile(sorted, 500),
        p99: quantile(sorted, 990),
        p999: quantile(sorted, 999),
        max_ns: sorted.last().copied().unwrap_or(0),
        ecdf: ecdf(sorted, count),
    }
}

fn lane(plan: &Plan, arm: Arm, depth: u32, loss: Ppm) -> Lane {
    let met = meet(plan, arm, depth, loss);
    let done = met.latencies.len() as u64;
    let refused = done / 400;
    Lane {
        arm,
        depth,
        clients: plan.outstanding / depth,
        requests: Requests {
            started: u64::from(plan.ops),
            done: done - refused,
            refused,
            unknown: met.unknown,
        },
        latency: latency(&met.latencies),
        handshake: (arm.name() == "tcp-reconnect").then(|| latency(&met.handshakes)),
        traffic: traffic(arm, done, met.repeats),
        theory: theory(plan, arm, depth, loss, &met),
        path: [audit(loss, done, 1), audit(loss, done, 2)],
        tcp: is_tcp(arm).then(|| TcpCounters {
            retransmitted_segments: met.repeats,
            timeouts: met.repeats * 7 / 10,
            loss_probes: met.repeats / 4,
            fast_retransmits: met.repeats / 20,
            syn_retransmits: met.repeats / 9,
            spurious: met.repeats / 2,
        }),
        udp: (!is_tcp(arm)).then_some(UdpCounters {
            retries: met.repeats,
            late_replies: met.repeats / 2,
            rto_ns: 60 * MS,
        }),
        ledger: LedgerAudit {
            acknowledged: done / 2,
            acknowledged_missing: 0,
            applied_twice: met.twice,
            surplus_cents: met.twice as i64 * 1_250,
            unknown_applied: met.unknown / 2,
            unknown_not_applied: met.unknown - met.unknown / 2,
            repeats_answered: if arm.name() == "udp-once" { met.repeats / 2 } else { 0 },
            balances_cents: 12_345_600,
            expected_cents: 12_345_600,
            balanced: true,
        },
    }
}

fn traffic(arm: Arm, done: u64, repeats: u64) -> Traffic {
    let (frames, bytes) = match arm.name() {
        "tcp-reconnect" => (10, 1_010),
        "tcp" | "tcp-tuned" => (3, 402),
        _ => (2, 290),
    };
    let (frames, bytes) = (frames * done + 2 * repeats, bytes * done + 210 * repeats);
    let per = |n: u64| n as f64 / done.max(1) as f64;
    Traffic {
        frames,
        bytes,
        frames_per_request: per(frames),
        bytes_per_request: per(bytes),
        useful_share: 170.0 / per(bytes).max(170.0),
    }
}

fn theory(plan: &Plan, arm: Arm, depth: u32, loss: Ppm, met: &Met) -> Theory {
    let Some(rto) = timer(arm) else { return Theory::default() };
    if depth > 1 || arm.name() == "tcp-reconnect" {
        return Theory::default();
    }
    let threshold = RTT + rto / 2;
    let slow = met.latencies.iter().filter(|at| **at > threshold).count() as u64;
    Theory {
        model: format!("every lost attempt costs a timer: {} ms, doubling", rto / MS),
        stairs: staircase(plan.rtt, Duration::from_nanos(rto), loss, plan.deadline),
        slow_threshold_ns: threshold,
        slow_expected: attempt_fails(loss),
        slow_observed: Share::new(slow + met.unknown, u64::from(plan.ops)),
        on_stairs: (slow > 0).then(|| Share::new(slow - slow / 50, slow)),
        tolerance_ns: 5 * MS,
        slow_per_lost_frame: (slow > 0).then_some(0.98),
    }
}

fn audit(loss: Ppm, offered: u64, side: u64) -> LinkAudit {
    let lost = (offered as f64 * loss.fraction()) as u64 + (side % 2) * u64::from(loss.get() > 0);
    LinkAudit {
        offered,
        bytes: offered * 118,
        lost,
        duplicated: 0,
        loss: Share::new(lost, offered),
        kernel_dropped: 0,
        oversize: 0,
        send_failed: 0,
        late_p50_ns: 54_000,
        late_p99_ns: 206_000,
        late_max_ns: 1_730_000,
        fates_digest: format!("{:016x}", keyed(offered, side)),
    }
}
