//! Named paths, each number with its source or marked as our choice.

use super::bottleneck::{Bottleneck, Queue, QueueLimit, Rate};
use super::delay::Delay;
use super::loss::LossModel;
use super::plan::LinkPlan;
use super::reorder::Reorder;
use crate::measure::Ppm;
use std::time::Duration;

/// A named path.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// The network that it represents.
    pub description: &'static str,
    /// Where its numbers come from, and which are our choice.
    pub source: &'static str,
    plans: fn() -> [LinkPlan; 2],
}

impl Preset {
    /// From host A, the client's side, to host B, and back.
    #[must_use]
    pub fn plans(&self) -> [LinkPlan; 2] {
        (self.plans)()
    }

    /// The preset of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|preset| preset.name == name)
    }
}

/// Every preset, from near to far.
pub const ALL: &[Preset] = &[
    Preset {
        name: "lan",
        description: "a wired local network: 0.4 ms there and back",
        source: "textbook: below 1 ms; our choice: 200 us each way, no loss, no rate",
        plans: || both(&constant(Duration::from_micros(200))),
    },
    Preset {
        name: "wifi",
        description: "a quiet wireless network at home: 4 ms there and back, varying",
        source: "our choice, no textbook figure: 2 ms each way with a tail (Pareto, deviation \
                 1 ms); no loss, because the radio repeats what it loses",
        plans: || both(&varying(Delay::Pareto { mean: ms(2), deviation: ms(1) }, ms(20))),
    },
    Preset {
        name: "lossy-wifi",
        description: "a wireless network at its edge: 3.2 % lost in bursts of 3.3 frames",
        source: "our choice: wifi with the textbook example of the simple Gilbert model, p = 1 %, \
                 r = 30 %, and delays that vary by 5 ms",
        plans: || {
            let loss = gilbert(10_000, 300_000);
            let delay = Delay::Pareto { mean: ms(5), deviation: ms(5) };
            both(&LinkPlan { loss, ..varying(delay, ms(100)) })
        },
    },
    Preset {
        name: "5g",
        description: "5G near its cell: 1 to 2 ms there and back",
        source: "textbook: 1-2 ms, taken for the round trip; our choice: even spread, no loss, no \
                 rate",
        plans: || {
            let (mean, half_width) = (Duration::from_micros(750), Duration::from_micros(250));
            both(&varying(Delay::Uniform { mean, half_width }, ms(10)))
        },
    },
    Preset {
        name: "4g",
        description: "4G: 20 to 40 ms there and back",
        source: "textbook: 20-40 ms, taken for the round trip; our choice: even spread, no loss, \
                 no rate",
        plans: || both(&varying(Delay::Uniform { mean: ms(15), half_width: ms(5) }, ms(100))),
    },
    Preset {
        name: "dsl",
        description: "a DSL line with a large buffer: 1 Mbit/s up, 16 Mbit/s down, 20 ms",
        source: "our choice: rates of a common ADSL2+ contract (ITU-T G.992.5 allows 1.4 and 24), \
                 10 ms each way, 64 kB of queue, which is half a second of waiting upwards",
        plans: || {
            let line = |bits| LinkPlan {
                rate: Some(Bottleneck {
                    rate: Rate::Constant(bits),
                    queue: Queue { limit: QueueLimit::Bytes(64_000), ..Queue::default() },
                }),
                ..constant(ms(10))
            };
            [line(1_000_000), line(16_000_000)]
        },
    },
    Preset {
        name: "satellite-leo",
        description: "a satellite at 550 km: 50 ms there and back, varying, a little loss",
        source: "physics: up and down again is 3.7 ms at least; our choice: 25 ms each way with \
                 the way on the ground (normal, deviation 5 ms), 0.2 % lost in bursts of 4",
        plans: || {
            let loss = gilbert(500, 250_000);
            let delay = Delay::Normal { mean: ms(25), deviation: ms(5) };
            both(&LinkPlan { loss, ..varying(delay, ms(100)) })
        },
    },
    Preset {
        name: "nyc-sf",
        description: "New York to San Francisco, 4,148 km: 42 ms there and back",
        source: "textbook: 14 ms one way for light, 21 ms in fibre; nothing but the fibre",
        plans: || both(&constant(ms(21))),
    },
    Preset {
        name: "nyc-london",
        description: "New York to London, 5,585 km: 56 ms there and back",
        source: "textbook: 19 ms one way for light, 28 ms in fibre; nothing but the fibre",
        plans: || both(&constant(ms(28))),
    },
    Preset {
        name: "nyc-sydney",
        description: "New York to Sydney, 15,993 km: 160 ms there and back",
        source: "textbook: 53 ms one way for light, 80 ms in fibre; nothing but the fibre",
        plans: || both(&constant(ms(80))),
    },
    Preset {
        name: "satellite-geo",
        description: "a geostationary satellite: 520 ms there and back",
        source: "physics: 35,786 km up and down again is 239 ms one way below the satellite, \
                 279 ms at its horizon; our choice: 260 ms between them, no loss, no rate",
        plans: || both(&constant(ms(260))),
    },
];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn both(plan: &LinkPlan) -> [LinkPlan; 2] {
    [plan.clone(), plan.clone()]
}

fn constant(delay: Duration) -> LinkPlan {
    LinkPlan { delay: Delay::Constant(delay), ..LinkPlan::default() }
}

/// A varying delay that keeps frames in order, as on most paths: a new one for each slot, which is
/// 20 times the deviation or more, so that the delay keeps its distribution at any rate.
fn varying(delay: Delay, slot: Duration) -> LinkPlan {
    LinkPlan { delay, reorder: Reorder::NeverInSlots { slot }, ..LinkPlan::default() }
}

fn gilbert(p: u32, r: u32) -> LossModel {
    let ppm = |parts| Ppm::new(parts).expect("at most a million parts");
    LossModel::GilbertElliott { p: ppm(p), r: ppm(r), loss_bad: Ppm::ONE, loss_good: Ppm::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_makes_sense_and_is_found_by_its_name() {
        for preset in ALL {
            for plan in preset.plans() {
                plan.check().unwrap();
            }
            assert_eq!(Preset::find(preset.name).unwrap().description, preset.description);
        }
        for name in ["lan", "wifi", "4g", "5g", "nyc-sf", "nyc-london", "nyc-sydney"] {
            assert!(Preset::find(name).is_some(), "{name}");
        }
        assert!(Preset::find("moon").is_none());
    }
}
