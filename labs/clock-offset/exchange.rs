//! Judges a reply to one request: identity, kiss-o'-death, format and plausibility, in that order.

use super::nts::session::Proof;
use super::packet::{Header, Mode, Packet, VERSION, VERSION_3};
use super::refusal::{Kiss, Refusal};
use super::sample::{Arrival, Claims, Record, Sample, StampedBy, TimePair, synchronized};
use super::timestamp::{NtpTimestamp, WallTime};
use std::net::SocketAddr;
use wirelab::measure::Instant;
use wirelab::wire::Fault;

/// A request that has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The server.
    pub server: SocketAddr,
    /// Its number, from 1.
    pub request: u32,
    /// The port it was sent from.
    pub local_port: u16,
    /// Its transmit timestamp: random bits that only the server and the path between have seen.
    pub nonce: NtpTimestamp,
    /// The clocks just before it was sent.
    pub t1: TimePair,
    /// When it left by the kernel, where that is known.
    pub left: Option<WallTime>,
    /// Its query about the previous exchange (RFC 9769).
    pub before: Option<Before>,
}

/// The exchange before, whose reply's time of leaving is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// Our receive timestamp in the request: random bits that only an interleaved reply repeats.
    pub nonce: NtpTimestamp,
    /// Its known fields: all but T3.
    pub record: Record,
}

/// A reply that was believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The sample: of this exchange, or of the one before in interleaved mode.
    pub sample: Sample,
    /// Fields of this exchange that the next one refers to.
    pub record: Record,
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
    ) -> Result<Accepted, Refusal> {
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
    ) -> (Result<Accepted, Refusal>, Option<Vec<Vec<u8>>>) {
        let packet = match self.identify(from, bytes) {
            Ok(packet) => packet,
            Err(refusal) => return (Err(refusal), None),
        };
        match proof.check(&packet, bytes) {
            Ok(cookies) => (self.believe(&packet, arrival, true), Some(cookies)),
            Err(refusal) => (Err(Refusal::Nts(refusal)), None),
        }
    }

    /// The checks after that of identity.
    fn believe(
        &self,
        packet: &Packet<'_>,
        arrival: &Arrival,
        authenticated: bool,
    ) -> Result<Accepted, Refusal> {
        let header = &packet.header;
        // Only a server's packet can be a kiss, and its timestamps mean nothing (RFC 5905 §7.4).
        if header.mode == Mode::Server && header.stratum == 0 {
            let kiss = Kiss::of(header.reference_id);
            return Err(kiss.map_or(Refusal::StratumZero, Refusal::Kiss));
        }
        format(packet)?;
        let (t4, t4_by) = arrival.t4(&self.t1);
        let record = Record {
            server: self.server,
            request: self.request,
            local_port: self.local_port,
            t1: self.t1,
            t1_by: StampedBy::User,
            t1_user: None,
            t2: header.receive,
            t3: header.transmit,
            t4,
            t4_by,
            t4_user: arrival.user.wall,
            claims: claims(header),
            authenticated,
            interleaved: false,
        };
        let sample = match self.before.filter(|before| header.origin == before.nonce) {
            None => Sample::new(record)?,
            Some(before) => interleaved(&before.record, &record)?,
        };
        Ok(Accepted { sample, record: self.as_left(record) })
    }

    /// The record with T1 as the kernel has it, where that can be of the same clock.
    #[must_use]
    pub fn as_left(&self, record: Record) -> Record {
        let fits = |left: &WallTime| *left >= self.t1.wall && *left <= record.t4.wall;
        let Some(wall) = self.left.filter(fits) else { return record };
        let after = wall.minus(self.t1.wall).unsigned_abs();
        let at = Instant::from_nanos(self.t1.at.as_nanos().saturating_add(after));
        // A step in between would put it after the reply.
        if at > record.t4.at {
            return record;
        }
        let (t1, t1_by) = (TimePair { wall, at, ..self.t1 }, StampedBy::Kernel);
        Record { t1, t1_by, t1_user: Some(self.t1.wall), ..record }
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
        let named = self.before.is_some_and(|before| origin == before.nonce);
        if origin != self.nonce && !named {
            return Err(Refusal::Origin { sent: self.nonce.bits(), got: origin.bits() });
        }
        Ok(packet)
    }
}

/// The sample of the exchange before, whose T3 this reply brings.
///
/// //= RFC 9769 §2: T1, T2 and T4 of the exchange before, T3 of this reply.
fn interleaved(before: &Record, now: &Record) -> Result<Sample, Refusal> {
    // What the server says of itself now must be of use too, and the next request names this T2.
    synchronized(&now.claims)?;
    if now.t2.is_none() {
        return Err(Refusal::NoReceive);
    }
    Sample::new(Record { t3: now.t3, interleaved: true, ..*before })
}

fn format(packet: &Packet<'_>) -> Result<(), Refusal> {
    let Header { mode, version, .. } = packet.header;
    if mode != Mode::Server {
        return Err(Refusal::Mode(mode as u8));
    }
    // The header is the same, and servers of version 3 answer requests of version 4 in their own.
    if version != VERSION && version != VERSION_3 {
        return Err(Refusal::Version(version));
    }
    packet.fields().map(drop).map_err(|error| match error.fault {
        Fault::Trailing { extra: 4, .. } => Refusal::CryptoNak,
        _ => Refusal::Tail(error),
    })
}

const fn claims(header: &Header) -> Claims {
    Claims {
        version: header.version,
        leap: header.leap,
        stratum: header.stratum,
        precision_log2_s: header.precision,
        root_delay: header.root_delay,
        root_dispersion: header.root_dispersion,
        reference_id: header.reference_id,
        reference: header.reference,
    }
}
