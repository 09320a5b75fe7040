//! UDP: one datagram per request; the bank client has the retransmission timer.

use super::{
    ClientSocket, Conditions, LaneFacts, PORT, SERVER, ServerSocket, Step, Transport, Yardstick,
    time, unknown_key,
};
use std::io;
use std::time::Duration;
use wirelab::bank::client::Delivery;
use wirelab::bank::datagram::DatagramClientConfig;
use wirelab::bank::rtt::RtoConfig;
use wirelab::bank::server::Dedup;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::endpoint;
use wirelab::measure::staircase::{Stair, attempt_fails, staircase};
use wirelab::measure::{Ppm, human, nanos};
use wirelab::sys::netns::Netns;

/// UDP and its settings.
#[derive(Debug)]
pub struct Udp {
    /// Delivery guarantee: retries and duplicate detection.
    delivery: Delivery,
    /// The client's timer if it does not follow the round trip.
    fixed: Option<Duration>,
}

const KEYS: &str = "delivery, retry";

impl Udp {
    /// UDP with these settings; one attempt without any.
    ///
    /// # Errors
    /// If a key does not exist or its value cannot be read.
    pub fn with(pairs: &[(&str, &str)]) -> Result<Self, String> {
        let (mut delivery, mut retry, mut fixed) = (None, None, None);
        for (key, value) in pairs {
            match (*key, *value) {
                ("delivery", "at-most-once") => delivery = Some(Delivery::AtMostOnce),
                ("delivery", "at-least-once") => delivery = Some(Delivery::AtLeastOnce),
                ("delivery", "once" | "exactly-once") => delivery = Some(Delivery::ExactlyOnce),
                ("delivery", _) => {
                    let expected = "once, at-least-once or at-most-once";
                    return Err(format!("delivery: expected {expected}, got {value:?}"));
                }
                ("retry", "off") => retry = Some(false),
                ("retry", "rfc6298") => (retry, fixed) = (Some(true), None),
                ("retry", _) => {
                    let Some(text) = value.strip_prefix("fixed/") else {
                        let expected = "off, rfc6298 or fixed/TIME";
                        return Err(format!("retry: expected {expected}, got {value:?}"));
                    };
                    (retry, fixed) = (Some(true), Some(time(key, text)?));
                }
                _ => return Err(unknown_key("udp", key, KEYS)),
            }
        }
        let unsaid = if retry == Some(true) { Delivery::AtLeastOnce } else { Delivery::AtMostOnce };
        let delivery = delivery.unwrap_or(unsaid);
        let retries = delivery != Delivery::AtMostOnce;
        if retry.is_some_and(|retry| retry != retries) {
            return Err("retry=off goes with delivery=at-most-once, and only with it".to_owned());
        }
        Ok(Self { delivery, fixed })
    }

    fn retries(&self) -> bool {
        self.delivery != Delivery::AtMostOnce
    }

    fn mechanism(&self, failures: u32) -> String {
        match failures {
            0 => "no repeat".to_owned(),
            n if self.fixed.is_some() => format!("client's retry {n}"),
            1 => "client's retry".to_owned(),
            n => format!("retry, timer × {}", 1_u64 << (n - 1).min(40)),
        }
    }

    fn stairs(&self, on: Conditions<'_>, timer: Duration, loss: Ppm) -> Vec<Step> {
        let mut stairs: Vec<Stair> = staircase(on.rtt, timer, loss, on.deadline);
        if self.fixed.is_some() {
            // The timer does not double, so more steps precede the deadline.
            let q = attempt_fails(loss);
            let steps = (0..FIXED_STEPS_MAX).filter(|n| *n == 0 || q > 0.0);
            stairs = steps
                .map(|failures| Stair {
                    failures,
                    at_ns: nanos(on.rtt + timer * failures),
                    share: 1.0 - q.powi(failures.cast_signed() + 1),
                })
                .take_while(|stair| u128::from(stair.at_ns) <= on.deadline.as_nanos())
                .collect();
        }
        let step = |stair: Stair| Step { stair, mechanism: self.mechanism(stair.failures) };
        stairs.into_iter().map(step).collect()
    }
}

/// Maximum steps of a fixed timer: as for a doubling one.
const FIXED_STEPS_MAX: u32 = wirelab::measure::staircase::STEPS_MAX;

impl Transport for Udp {
    fn clients(&self, on: Conditions<'_>, depth: u32) -> Box<dyn BankTransport> {
        Box::new(DatagramClientConfig {
            delivery: self.delivery,
            deadline: if self.retries() { on.deadline } else { on.patience },
            max_in_flight: depth as usize,
            rto: RtoConfig { fixed: self.fixed, ..RtoConfig::default() },
        })
    }

    fn connect(&self, host: &Netns, _on: Conditions<'_>) -> io::Result<ClientSocket> {
        endpoint::connected(host, SERVER).map(ClientSocket::Datagram)
    }

    fn listen(&self, host: &Netns, _on: Conditions<'_>) -> io::Result<ServerSocket> {
        endpoint::bound(host, PORT).map(ServerSocket::Datagram)
    }

    fn dedup(&self) -> Dedup {
        match self.delivery {
            Delivery::AtMostOnce => Dedup::Volatile,
            Delivery::AtLeastOnce => Dedup::Off,
            Delivery::ExactlyOnce => Dedup::Durable,
        }
    }

    fn repeats(&self) -> bool {
        self.retries()
    }

    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick> {
        let slow_expected = attempt_fails(lane.loss);
        if !self.retries() {
            return Some(Yardstick {
                model: "one attempt: answered after one RTT, or never".to_owned(),
                stairs: self.stairs(on, on.deadline, lane.loss),
                slow_expected,
                base: on.rtt,
                // Without retries, an answered request was not lost, however late.
                timer: on.deadline * 2,
            });
        }
        let timer = lane.client_rto?;
        let model = match self.fixed {
            Some(fixed) => {
                format!("each loss waits for the client's timer of {}", human::span(fixed))
            }
            None => "each loss waits for the client's own timer, measured, doubling \
                     (RFC 6298 §5.5), jittered by up to 5 %"
                .to_owned(),
        };
        let stairs = self.stairs(on, timer, lane.loss);
        Some(Yardstick { model, stairs, slow_expected, base: on.rtt, timer })
    }

    fn on_stairs_up_to(&self) -> Option<Ppm> {
        self.retries().then_some(Ppm::ONE)
    }
}
