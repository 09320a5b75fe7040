//! The MTU: the longest packet that passes.

use super::effect::{Draws, Effect, Passage, Word, optional};
use super::fate::DropReason;
use super::packet::ETHERNET;
use super::plan_error::{PlanError, ReadFile, number, refuse, wrong};
use std::fmt;
use std::str::FromStr;

/// The longest packet that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuLimit {
    /// Bytes of the IP packet; at least [`MtuLimit::MIN`].
    pub bytes: u16,
    /// Drops longer packets silently (a path-MTU black hole, RFC 2923), instead of answering
    /// "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201).
    pub black_hole: bool,
}

impl MtuLimit {
    /// The size that every IPv4 host must accept (RFC 791).
    pub const MIN: u16 = 576;
}

impl FromStr for MtuLimit {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "bytes of an IP packet, 576 to 65535, then perhaps ,blackhole";
        let (bytes, black_hole) = text
            .trim()
            .strip_suffix(",blackhole")
            .map_or_else(|| (text.trim(), false), |bytes| (bytes, true));
        let bytes = number(bytes).and_then(|bytes| u16::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| *bytes >= Self::MIN);
        let bytes = bytes.ok_or_else(|| wrong("mtu", EXPECTED, text))?;
        Ok(Self { bytes, black_hole })
    }
}

impl fmt::Display for MtuLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.bytes, if self.black_hole { ",blackhole" } else { "" })
    }
}

/// Drops packets that are too long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mtu;

impl Effect for Mtu {
    type Setting = Option<MtuLimit>;
    const WORDS: &'static [Word] = &[Word {
        name: "mtu",
        value: "BYTES",
        help: "Longest packet, bytes: 1400, or 1400,blackhole to send no ICMP",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Self::Setting, PlanError> {
        text.parse().map(Some)
    }

    fn text(setting: &Self::Setting) -> String {
        optional(setting.as_ref())
    }

    fn check(setting: &Self::Setting) -> Result<(), PlanError> {
        match setting {
            Some(mtu) if mtu.bytes < MtuLimit::MIN => {
                refuse(format!("mtu: expected {} or more, got {}", MtuLimit::MIN, mtu.bytes))
            }
            _ => Ok(()),
        }
    }

    fn decide(&mut self, setting: &Self::Setting, _: &Draws<'_>, frame: &mut Passage<'_>) {
        let packet = u64::from(frame.length).saturating_sub(ETHERNET as u64);
        if setting.is_some_and(|mtu| packet > u64::from(mtu.bytes)) {
            frame.dropped = Some(DropReason::TooBig);
        }
    }
}
