//! A server's answer to one request.
//!
//! It exists for the demonstration and for `serve`; its clock is whatever the caller says it is.
//! It must never answer with more bytes than it was asked with, nor answer what is no request.

use super::packet::{HEADER_LEN, Header, Leap, Mode, Packet, ReferenceId, VERSION};
use super::timestamp::{NtpTimestamp, ShortDuration, WallTime};
use crate::wire::DecodeError;
use serde::Serialize;
use thiserror::Error;

/// What the server says of itself.
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
    /// Whom it follows.
    pub reference_id: ReferenceId,
    /// Warning of a leap second.
    pub leap: Leap,
}

impl Default for ServerConfig {
    /// A server that follows nobody: stratum 10, as chrony's and ntpd's local clock by default.
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
    /// It is no request.
    #[error("mode {0}, expected 3 (client)")]
    Mode(u8),
    /// A version that this server does not know how to answer.
    #[error("version {0}, expected 1 to 4")]
    Version(u8),
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
            Self::Entropy => "entropy",
        }
    }
}

/// The answer to a request that came in at `receive` and leaves at `transmit`, by the server's own
/// clock.
///
/// //= RFC 5905 §8, Figure 15: what of the request is in the reply: version, poll, transmit
///
/// # Errors
/// Why there is no answer.
pub fn reply(
    config: &ServerConfig,
    request: &[u8],
    receive: WallTime,
    transmit: WallTime,
) -> Result<[u8; HEADER_LEN], Ignored> {
    let packet = Packet::open(request).map_err(Ignored::Format)?;
    packet.fields().map_err(Ignored::Format)?;
    let asked = packet.header;
    if asked.mode != Mode::Client {
        return Err(Ignored::Mode(asked.mode as u8));
    }
    if !(1..=VERSION).contains(&asked.version) {
        return Err(Ignored::Version(asked.version));
    }
    let header = Header {
        leap: config.leap,
        version: asked.version,
        mode: Mode::Server,
        stratum: config.stratum,
        poll: asked.poll,
        precision: config.precision_log2_s,
        root_delay: config.root_delay,
        root_dispersion: config.root_dispersion,
        reference_id: config.reference_id,
        // Its own clock is its reference, and so is never out of date.
        reference: NtpTimestamp::at(receive),
        origin: asked.transmit,
        receive: NtpTimestamp::at(receive),
        transmit: NtpTimestamp::at(transmit),
    };
    Ok(header.encode())
}
