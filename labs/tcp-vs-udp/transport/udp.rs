//! UDP: one datagram per request; the bank client has the retransmission timer.

use super::{
    ClientSocket, Conditions, LaneFacts, PORT, SERVER, ServerSocket, Transport, Yardstick,
};
use std::io;
use wirelab::bank::client::Delivery;
use wirelab::bank::datagram::DatagramClientConfig;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::endpoint;
use wirelab::measure::Ppm;
use wirelab::measure::staircase::{attempt_fails, staircase};
use wirelab::sys::netns::Netns;

/// UDP and its settings.
#[derive(Debug)]
pub struct Udp {
    /// Delivery guarantee: retries and duplicate detection.
    pub delivery: Delivery,
}

impl Udp {
    fn retries(&self) -> bool {
        self.delivery != Delivery::AtMostOnce
    }
}

impl Transport for Udp {
    fn clients(&self, on: Conditions<'_>, depth: u32) -> Box<dyn BankTransport> {
        Box::new(DatagramClientConfig {
            delivery: self.delivery,
            deadline: if self.retries() { on.deadline } else { on.patience },
            max_in_flight: depth as usize,
            ..DatagramClientConfig::default()
        })
    }

    fn connect(&self, host: &Netns, _on: Conditions<'_>) -> io::Result<ClientSocket> {
        endpoint::connected(host, SERVER).map(ClientSocket::Datagram)
    }

    fn listen(&self, host: &Netns, _on: Conditions<'_>) -> io::Result<ServerSocket> {
        endpoint::bound(host, PORT).map(ServerSocket::Datagram)
    }

    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick> {
        let (rtt, deadline) = (on.rtt, on.deadline);
        let slow_expected = attempt_fails(lane.loss);
        if !self.retries() {
            return Some(Yardstick {
                model: "one attempt: answered after one RTT, or never".to_owned(),
                stairs: staircase(rtt, deadline, lane.loss, deadline),
                slow_expected,
                base: rtt,
                // Without retries, an answered request was not lost, however late.
                timer: deadline * 2,
            });
        }
        let timer = lane.client_rto?;
        Some(Yardstick {
            model: "each loss waits for the client's own timer, measured, doubling \
                    (RFC 6298 §5.5), jittered by up to 5 %"
                .to_owned(),
            stairs: staircase(rtt, timer, lane.loss, deadline),
            slow_expected,
            base: rtt,
            timer,
        })
    }

    fn on_stairs_up_to(&self) -> Option<Ppm> {
        self.retries().then_some(Ppm::ONE)
    }
}
