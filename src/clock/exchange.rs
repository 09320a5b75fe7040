//! One request and what may be its reply, judged in a fixed order.
//!
//! It exists because the order is what protects: identity first, or a stranger's packet could end
//! a query; then kiss-o'-death; then format; then plausibility.
//! It must never wait, nor believe an address that the request was not sent to.

use super::nts::session::Proof;
use super::packet::{Header, Mode, Packet, VERSION};
use super::refusal::{Kiss, Refusal};
use super::sample::{Arrival, Claims, Record, Sample, TimePair};
use super::timestamp::NtpTimestamp;
use std::net::SocketAddr;

/// A request that has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Whom it asks.
    pub server: SocketAddr,
    /// Its number, from 1.
    pub request: u32,
    /// The port it was sent from.
    pub local_port: u16,
    /// Its transmit timestamp: random bits that only the server and the path between have seen.
    pub nonce: NtpTimestamp,
    /// The clocks just before it was sent.
    pub t1: TimePair,
}

impl Exchange {
    /// The sample in a datagram from `from`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn judge(
        &self,
        from: SocketAddr,
        bytes: &[u8],
        arrival: &Arrival,
    ) -> Result<Sample, Refusal> {
        let packet = self.identify(from, bytes)?;
        self.believe(&packet, arrival, false)
    }

    /// The sample in a datagram, where a reply that is not proved to be of the server is none;
    /// the cookies in it, which are of use even where the rest is refused.
    ///
    /// No cookies where it is not proved.
    pub fn judge_proved(
        &self,
        from: SocketAddr,
        bytes: &[u8],
        arrival: &Arrival,
        proof: &Proof,
    ) -> (Result<Sample, Refusal>, Option<Vec<Vec<u8>>>) {
        let packet = match self.identify(from, bytes) {
            Ok(packet) => packet,
            Err(refusal) => return (Err(refusal), None),
        };
        match proof.check(&packet, bytes) {
            Ok(cookies) => (self.believe(&packet, arrival, true), Some(cookies)),
            Err(refusal) => (Err(Refusal::Nts(refusal)), None),
        }
    }

    /// What remains after identity.
    fn believe(
        &self,
        packet: &Packet<'_>,
        arrival: &Arrival,
        authenticated: bool,
    ) -> Result<Sample, Refusal> {
        let header = &packet.header;
        // Only a server's packet can be a kiss, and its timestamps mean nothing (RFC 5905 §7.4).
        if header.mode == Mode::Server && header.stratum == 0 {
            let kiss = Kiss::of(header.reference_id);
            return Err(kiss.map_or(Refusal::StratumZero, Refusal::Kiss));
        }
        format(packet)?;
        let (t4, t4_by) = arrival.t4(&self.t1);
        Sample::new(Record {
            server: self.server,
            request: self.request,
            local_port: self.local_port,
            t1: self.t1,
            t2: header.receive,
            t3: header.transmit,
            t4,
            t4_by,
            t4_user: arrival.user.wall,
            claims: claims(header),
            authenticated,
        })
    }

    /// //= RFC 4330 §5 (1) to (3), RFC 5905 §8 tests 2 and 3
    fn identify<'a>(&self, from: SocketAddr, bytes: &'a [u8]) -> Result<Packet<'a>, Refusal> {
        if from.ip().to_canonical() != self.server.ip().to_canonical() {
            return Err(Refusal::Address { asked: self.server, got: from });
        }
        if from.port() != self.server.port() {
            return Err(Refusal::Port { asked: self.server.port(), got: from.port() });
        }
        let packet = Packet::open(bytes).map_err(Refusal::TooShort)?;
        let origin = packet.header.origin;
        if origin.is_none() {
            return Err(Refusal::NoOrigin);
        }
        if origin != self.nonce {
            return Err(Refusal::Origin { sent: self.nonce.bits(), got: origin.bits() });
        }
        Ok(packet)
    }
}

fn format(packet: &Packet<'_>) -> Result<(), Refusal> {
    let Header { mode, version, .. } = packet.header;
    if mode != Mode::Server {
        return Err(Refusal::Mode(mode as u8));
    }
    if version != VERSION {
        return Err(Refusal::Version { asked: VERSION, got: version });
    }
    packet.fields().map(drop).map_err(Refusal::Tail)
}

const fn claims(header: &Header) -> Claims {
    Claims {
        leap: header.leap,
        stratum: header.stratum,
        precision_log2_s: header.precision,
        root_delay: header.root_delay,
        root_dispersion: header.root_dispersion,
        reference_id: header.reference_id,
        reference: header.reference,
    }
}
