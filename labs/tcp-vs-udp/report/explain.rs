//! Explains a figure of a run: its definition, with the run's own numbers.

use super::lanes::{blocking, lane_name, steps};
use crate::result::{Lane, RunResult, Stage};
use wirelab::measure::human::{count, latency, observed, plural};
use wirelab::report::explain::Topic;

/// A figure in one lane.
type Example = fn(&Stage, &Lane) -> String;

/// Every figure, in the order of the report.
const TOPICS: [Topic<Example>; 12] = [
    Topic {
        name: "loss-cost",
        words: "What a lost packet costs: median latency of the slow answered requests less that \
                of the others. Slow: longer than half-way up the first step. Observer: client. The \
                interval combines those of both medians (square-and-add), and each covers clusters \
                (8 rounds of one client) and the spread of the repetitions. Arms that never repeat \
                a request have no cost: what they lose stays unanswered.",
        example: |_, lane| {
            let cost = &lane.loss_cost;
            format!(
                "{}, interval {} to {}; {} slow, {} of the requests met a loss",
                opt(cost.extra.value_ns),
                opt(cost.extra.low_ns),
                opt(cost.extra.high_ns),
                count(cost.slow),
                observed(&cost.met)
            )
        },
    },
    Topic {
        name: "blocking",
        words: "Requests and replies held up by lost frames, in the captured part of the run. \
                Observer: path. Inside: packed into the lost frame itself (batching). Behind: \
                arrived in later frames of the same stream and had to wait for the repeat \
                (head-of-line blocking). A datagram holds back no other.",
        example: |_, lane| {
            blocking(lane).unwrap_or_else(|| "no lost frame in a capture".to_owned())
        },
    },
    Topic {
        name: "p50",
        words: "The median latency of the requests that were answered. Observer: client. A latency \
                runs from the moment a request was meant to start to the moment its reply was \
                decoded; in tcp-reconnect the handshake is part of it. The interval is the pair of \
                order statistics that enclose the median with 95 % confidence, where requests in \
                flight together count as fewer, widened by what the repetitions differ.",
        example: |_, lane| format!("{}, median {}", samples(lane), opt(lane.latency.p50.value_ns)),
    },
    Topic {
        name: "p99",
        words: "The latency that 99 of 100 answered requests did not exceed. Observer: client. \
                Unanswered requests are not in it: they are counted under `unknown`. Under loss it \
                is a step of the retry staircase, because a request whose packet is lost waits for \
                a timer: see `staircase`. Between two steps it may fall on either.",
        example: |_, lane| {
            let p99 = lane.latency.p99;
            format!("{}, interval {} to {}", opt(p99.value_ns), opt(p99.low_ns), opt(p99.high_ns))
        },
    },
    Topic {
        name: "p99.9",
        words: "The latency that 999 of 1000 answered requests did not exceed. Observer: client. \
                Below 3,688 independent samples no upper end can be given with 95 % confidence, \
                and the report shows `≥` and the lower end.",
        example: |_, lane| format!("{} from {}", opt(lane.latency.p999.value_ns), samples(lane)),
    },
    Topic {
        name: "unknown",
        words: "Requests that had no reply by their deadline. Observer: client. They may have been \
                applied or not; the ledger says which (`ledger`). `refused` is different: the \
                server answered, and it was definitely not done.",
        example: |_, lane| format!("{} of {}", lane.requests.unknown, lane.requests.started),
    },
    Topic {
        name: "packets",
        words: "Frames offered to the path, both ways, per answered request. Observer: path. It \
                counts what the hosts sent, lost or not: requests, replies, acknowledgements, \
                handshakes, repeats. A request over UDP without loss costs 2.",
        example: |_, lane| {
            let t = &lane.traffic;
            format!(
                "{}, {:.2} per request",
                plural(t.frames, "frame", "frames"),
                t.frames_per_request
            )
        },
    },
    Topic {
        name: "useful-share",
        words: "Bytes of one request and one reply message per answered request, as a share of all \
                bytes that crossed the path, Ethernet headers included. Observer: path. The rest \
                is \
                headers, acknowledgements, handshakes and repeats.",
        example: |_, lane| {
            let t = &lane.traffic;
            format!("{:.1} % of {}", 100.0 * t.useful_share, plural(t.bytes, "byte", "bytes"))
        },
    },
    Topic {
        name: "slow-share",
        words: "The share of started requests that took longer than half-way up the first step, or \
                were never answered, held against theory. With loss p each way an exchange fails \
                with q = 1-(1-p)^2, because the request or the reply may be lost; tcp-reconnect \
                has two exchanges. Observer: client.",
        example: |_, lane| {
            let t = &lane.theory;
            format!(
                "slow above {}: {:.2} % seen ({:.2} % to {:.2} %), {:.2} % expected",
                latency(t.slow_threshold_ns),
                100.0 * t.slow_observed.share,
                100.0 * t.slow_observed.low,
                100.0 * t.slow_observed.high,
                100.0 * t.slow_expected
            )
        },
    },
    Topic {
        name: "staircase",
        words: "The analytic latency distribution drawn behind the measured one. A request whose \
                attempts fail k times is answered RTT plus k timers after it began, with \
                probability q^k (1-q), so the distribution is a staircase. Nothing is fitted to \
                the \
                samples: RTT comes from the plan, TCP's timer from the kernel's floor, the UDP \
                client's timer from its own estimate after the warm-up. Each step names what \
                repeated the request there, in the order in which they act.",
        example: |_, lane| {
            let steps = steps(lane, 5);
            if steps.is_empty() { "no yardstick".to_owned() } else { steps }
        },
    },
    Topic {
        name: "lateness",
        words: "How late frames left the router, against when they should have (arrival by the \
                kernel's stamp plus the delay). Observer: path. It is the emulator's own error: \
                latencies can be too long by this much. A run whose 99th percentile is above a \
                twentieth of the round trip, or 1 ms, is marked suspect.",
        example: |_, lane| {
            let late = |index: usize| {
                let link = &lane.path[index];
                format!("p50 {}, p99 {}", latency(link.late_p50_ns), latency(link.late_p99_ns))
            };
            format!("out {}; back {}", late(0), late(1))
        },
    },
    Topic {
        name: "ledger",
        words: "What the bank's books say after the stage, against what the clients saw. Observer: \
                server. An operation applied twice is found by its key, which every ledger entry \
                carries; the surplus is what its second and further applications deposited.",
        example: |_, lane| {
            let l = &lane.ledger;
            format!(
                "{} acknowledged, {} missing, {} applied twice, {} repeats answered from stored \
                 replies",
                l.acknowledged, l.acknowledged_missing, l.applied_twice, l.repeats_answered
            )
        },
    },
];

fn samples(lane: &Lane) -> String {
    plural(lane.latency.count, "sample", "samples")
}

fn opt(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "–".to_owned(), latency)
}

/// Names of the explainable figures.
pub fn figures() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name)
}

/// The definition of a figure and its value in each lane; `None` for an unknown name.
#[must_use]
pub fn explain(result: &RunResult, figure: &str) -> Option<String> {
    let topic = Topic::find(&TOPICS, figure)?;
    let mut text = topic.opening();
    for stage in &result.stages {
        text.push_str(&format!("\nloss {} each way\n", stage.loss_ppm));
        for lane in &stage.lanes {
            let name = lane_name(lane);
            text.push_str(&format!("  {name:<18} {}\n", (topic.example)(stage, lane)));
        }
    }
    text.push_str(&format!("\nrepeat with: {}\n", result.command));
    Some(text)
}
