//! A server's answer to one request.

use super::interleaved::{Memory, Reply};
use super::packet::{HEADER_LEN, Header, Leap, Mode, Packet, ReferenceId, VERSION};
use super::timestamp::{NtpTimestamp, ShortDuration, WallTime};
use serde::Serialize;
use thiserror::Error;
use wirelab::wire::DecodeError;

/// The server's claims about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerConfig {
    /// Hops from a reference clock.
    pub stratum: u8,
    /// Resolution of its clock, log2 seconds.
    pub precision_log2_s: i8,
    /// Round trip to its reference clock.
    pub root_delay: ShortDuration,
    /// Its error to its reference clock.
    pub root_dispersion: ShortDuration,
    /// Its reference.
    pub reference_id: ReferenceId,
    /// Warning of a leap second.
    pub leap: Leap,
}

impl Default for ServerConfig {
    /// A server without a reference: stratum 10, as the local clock of chrony and ntpd.
    fn default() -> Self {
        Self {
            stratum: 10,
            // 2^-29 s is 1.9 ns: the clocks here count nanoseconds.
            precision_log2_s: -29,
            root_delay: ShortDuration::default(),
            root_dispersion: ShortDuration::default(),
            reference_id: ReferenceId(*b"DEMO"),
            leap: Leap::None,
        }
    }
}

/// Why a datagram gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ignored {
    /// It is no NTP packet.
    #[error("{0}")]
    Format(DecodeError),
    /// It is not a request.
    #[error("mode {0}, expected 3 (client)")]
    Mode(u8),
    /// A version that this server does not know how to answer.
    #[error("version {0}, expected 1 to 4")]
    Version(u8),
    /// Longer than any request that is answered here; what is beyond was cut off.
    #[error("longer than a server here reads")]
    TooLong,
    /// The system gave no random bits for the proof.
    #[error("no random bits to prove the reply with")]
    Entropy,
}

impl Ignored {
    /// Its name in counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Format(_) => "format",
            Self::Mode(_) => "mode",
            Self::Version(_) => "version",
            Self::TooLong => "too_long",
            Self::Entropy => "entropy",
        }
    }
}

/// The answer to a request that came in at `receive` and leaves at `transmit`, by the server's own
/// clock.
///
/// # Errors
/// Why there is no answer.
pub fn reply(
    config: &ServerConfig,
    request: &[u8],
    receive: WallTime,
    transmit: WallTime,
) -> Result<[u8; HEADER_LEN], Ignored> {
    let asked = asked(request)?;
    let basic = Reply {
        origin: asked.transmit,
        receive: NtpTimestamp::at(receive),
        left: None,
        remembered: false,
    };
    Ok(header(config, &asked, &basic, NtpTimestamp::at(transmit)).encode())
}

/// The same, with the transmit time of the previous reply for interleaved clients (RFC 9769).
///
/// Tell the memory when this one left, where [`Reply::remembered`] says so.
///
/// # Errors
/// Why there is no answer.
pub fn reply_by(
    memory: &mut Memory,
    config: &ServerConfig,
    request: &[u8],
    receive: WallTime,
    transmit: WallTime,
) -> Result<([u8; HEADER_LEN], Reply), Ignored> {
    let asked = asked(request)?;
    let reply = memory.answer(&asked, NtpTimestamp::at(receive));
    Ok((header(config, &asked, &reply, NtpTimestamp::at(transmit)).encode(), reply))
}

/// The header of a datagram that is a request.
fn asked(request: &[u8]) -> Result<Header, Ignored> {
    let packet = Packet::open(request).map_err(Ignored::Format)?;
    packet.fields().map_err(Ignored::Format)?;
    let asked = packet.header;
    if asked.mode != Mode::Client {
        return Err(Ignored::Mode(asked.mode as u8));
    }
    if !(1..=VERSION).contains(&asked.version) {
        return Err(Ignored::Version(asked.version));
    }
    Ok(asked)
}

/// //= RFC 5905 §8, Figure 15: what of the request is in the reply: version, poll, transmit
fn header(config: &ServerConfig, asked: &Header, reply: &Reply, transmit: NtpTimestamp) -> Header {
    Header {
        leap: config.leap,
        version: asked.version,
        mode: Mode::Server,
        stratum: config.stratum,
        poll: asked.poll,
        precision: config.precision_log2_s,
        root_delay: config.root_delay,
        root_dispersion: config.root_dispersion,
        reference_id: config.reference_id,
        // Its own clock is its reference, and so is never out of date: no later than any time that
        // is said here.
        reference: reply.left.unwrap_or(reply.receive),
        origin: reply.origin,
        receive: reply.receive,
        transmit: reply.left.unwrap_or(transmit),
    }
}
