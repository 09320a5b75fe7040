//! Explains a figure of a run in plain words, with the run's numbers.

use crate::plan::PlanWords;
use crate::result::{PathResult, Way};
use wirelab::measure::human::{count, latency, plural};
use wirelab::path::{LinkPlan, Word};
use wirelab::report::explain::Topic;
use wirelab::report::text::wrapped;

/// A figure in one direction.
type Example = fn(&Way) -> String;

const TOPICS: [Topic<Example>; 6] = [
    Topic {
        name: "frames",
        words: "Frames that reached the path in this direction: everything that the sending host \
                put on the wire, acknowledgements and repeats included, counted once each, before \
                anything was done to them. Observer: path. They are Ethernet frames of at most \
                1514 bytes, because segmentation is left to no device; a host's own loopback is \
                not part of the path.",
        example: |way| {
            let frames = plural(way.offered, "frame", "frames");
            format!("{frames}, {}", plural(way.offered_bytes, "byte", "bytes"))
        },
    },
    Topic {
        name: "lost",
        words: "Frames, or copies that waited in the queue, that went no further, by the reason \
                that the plan gives. Observer: path. `share` counts all of them against the frames \
                that came, with their duplicates. `drawn` and its exact 95 % interval \
                (Clopper-Pearson) count the loss model alone, against the frames it was asked \
                about; `asked` is what the plan's model gives in the long run, and lies outside \
                the interval in one run of twenty by chance. Loss in bursts varies more than the \
                interval, which takes frames as independent. Queue, MTU and outages are listed \
                apart.",
        example: |way| {
            let reasons = way.dropped.iter().map(|d| format!("{} {}", d.frames, d.reason.word()));
            let reasons = reasons.collect::<Vec<_>>().join(", ");
            if reasons.is_empty() { "none".to_owned() } else { reasons }
        },
    },
    Topic {
        name: "rate",
        words: "Bits that left the path towards the receiver, Ethernet headers included, divided \
                by the time from the first departure to the last. Observer: path. The peak is the \
                most in one second of the run. An application measures less: headers and repeats \
                are not its data.",
        example: |way| {
            let mean = way.delivered_bit_per_s.map_or_else(|| "–".to_owned(), count);
            format!("{mean} bit/s, peak {} bit/s", count(way.peak_bit_per_s))
        },
    },
    Topic {
        name: "queue",
        words: "The most bytes that waited for the bottleneck at once, without the frame being \
                sent, by the link model. Observer: path. It is never above the queue's limit.",
        example: |way| plural(way.queue_peak_bytes, "byte", "bytes"),
    },
    Topic {
        name: "late",
        words: "How late frames left the path, against when the plan wanted them to (the kernel's \
                stamp of their arrival, plus rate, queue and delay). Observer: path. It is the \
                emulator's own error. Above a twentieth of the plan's delay, and above 1 ms, at \
                the 99th percentile, the run is called suspect.",
        example: |way| {
            format!(
                "p50 {}, p99 {}, max {}",
                latency(way.late_p50_ns),
                latency(way.late_p99_ns),
                latency(way.late_max_ns)
            )
        },
    },
    Topic {
        name: "invalid",
        words: "What the plan does not know and a run must not contain: frames that the kernel \
                dropped, that were longer than the MTU, that came without checksums, \
                super-frames that cannot be cut, frames that could not be sent on, or \
                that came after the end of a replayed recording. Observer: path and kernel. Any \
                makes the run invalid, because its loss is then not the loss of the plan.",
        example: |way| {
            format!(
                "kernel {}, too long {}, no checksum {}, not cut {}, not sent {}, beyond {}",
                way.kernel_dropped,
                way.oversize,
                way.bad_checksum_status,
                way.bad_offload,
                way.send_failed,
                way.beyond_recording
            )
        },
    },
];

/// Words of the plan without a figure of that name.
fn settings() -> impl Iterator<Item = &'static Word> {
    LinkPlan::words().iter().filter(|word| TOPICS.iter().all(|topic| topic.name != word.name))
}

/// Names of the figures and settings that can be explained.
pub fn figures() -> impl Iterator<Item = &'static str> {
    TOPICS.iter().map(|topic| topic.name).chain(settings().map(|word| word.name))
}

/// The effect of a setting, and its value in each direction of the run.
fn setting(word: &Word, plan: &PlanWords) -> String {
    let mut text = format!("{}\n\n{}\n\n", word.name, wrapped(word.help));
    for (name, way) in [("a to b", &plan.a_to_b), ("b to a", &plan.b_to_a)] {
        let set = way.iter().filter(|setting| setting.word == word.name);
        let set: Vec<&str> = set.map(|setting| setting.text.as_str()).collect();
        text +=
            &format!("  {name}  {}\n", if set.is_empty() { "–".into() } else { set.join("; ") });
    }
    text
}

/// The meaning and value of a figure; `None` for an unknown name.
#[must_use]
pub fn explain(result: &PathResult, figure: &str) -> Option<String> {
    let mut text = match Topic::find(&TOPICS, figure) {
        Some(topic) => {
            let mut text = topic.opening() + "\n";
            for (name, way) in [("a to b", &result.a_to_b), ("b to a", &result.b_to_a)] {
                text += &format!("  {name}  {}\n", (topic.example)(way));
            }
            text
        }
        None => setting(settings().find(|word| word.name == figure)?, &result.plan),
    };
    text += &format!("\nrepeat with: {}\n", result.command);
    Some(text)
}
