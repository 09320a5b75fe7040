//! Link-layer overhead: the bytes that a frame counts for at a rate, as in `tc stab`.
//!
//! Frames keep their length, and a queue's limit counts that.

use super::effect::{Draws, Effect, Passage, Word};
use super::plan_error::{PlanError, ReadFile, refuse, wrong};
use crate::measure::human;
use std::fmt;
use std::str::FromStr;

/// Payload bytes of an ATM cell, and bytes of the cell (ITU-T I.361).
const CELL_PAYLOAD: u32 = 48;
const CELL: u32 = 53;

/// Bytes that a link layer adds to each frame; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes added to a frame, which includes its Ethernet header; -14 removes that.
    pub bytes: i16,
    /// Minimum bytes that a frame counts for.
    pub mpu: u16,
    /// Counts whole ATM cells, 53 bytes per 48 begun.
    pub atm: bool,
}

impl Overhead {
    /// Lower limit: removes the Ethernet header.
    pub const BYTES_MIN: i16 = -14;
    /// Upper limit: three times the overhead of IPsec in PPPoE.
    pub const BYTES_MAX: i16 = 300;
    /// The longest frame of an MTU of 1,500.
    pub const MPU_MAX: u16 = 1514;

    /// Bytes that a frame of `length` bytes counts for; at least 1.
    #[must_use]
    pub fn on_wire(&self, length: u32) -> u32 {
        let bytes = length.saturating_add_signed(self.bytes.into()).max(self.mpu.into()).max(1);
        if self.atm { bytes.div_ceil(CELL_PAYLOAD).saturating_mul(CELL) } else { bytes }
    }
}

impl FromStr for Overhead {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        const EXPECTED: &str = "bytes added to each frame, -14B to 300B, then perhaps mpu=BYTES \
                                (at most 1514B) and atm, as in 24B,mpu=84B";
        let error = || wrong("overhead", EXPECTED, text);
        let mut words = text.split(',').map(str::trim);
        let first = words.next().ok_or_else(error)?;
        let (negative, size) = first.strip_prefix('-').map_or((false, first), |size| (true, size));
        let bytes: i16 = size_of_frame(size).ok_or_else(error)?;
        let mut overhead = Self { bytes: if negative { -bytes } else { bytes }, ..Self::default() };
        for word in words {
            match word.split_once('=') {
                None if word == "atm" => overhead.atm = true,
                Some(("mpu", size)) => overhead.mpu = size_of_frame(size).ok_or_else(error)?,
                _ => return Err(error()),
            }
        }
        Ok(overhead)
    }
}

fn size_of_frame<T: TryFrom<u64>>(text: &str) -> Option<T> {
    T::try_from(human::parse_size(text).ok()?).ok()
}

impl fmt::Display for Overhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.bytes)?;
        if self.mpu > 0 {
            write!(f, ",mpu={}B", self.mpu)?;
        }
        f.write_str(if self.atm { ",atm" } else { "" })
    }
}

/// Sets the bytes that a frame counts for at the policer and the bottleneck.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing;

impl Effect for Framing {
    type Setting = Overhead;
    const WORDS: &'static [Word] = &[Word {
        name: "overhead",
        value: "BYTES",
        help: "What the link layer adds to each frame, for rates alone: 24B,mpu=84B, 10B,atm",
    }];

    fn parse(text: &str, _: ReadFile<'_>) -> Result<Overhead, PlanError> {
        text.parse()
    }

    fn text(setting: &Overhead) -> String {
        setting.to_string()
    }

    fn check(setting: &Overhead) -> Result<(), PlanError> {
        let range = Overhead::BYTES_MIN..=Overhead::BYTES_MAX;
        if !range.contains(&setting.bytes) || setting.mpu > Overhead::MPU_MAX {
            return refuse(format!(
                "overhead: expected -14B to 300B and an mpu of at most 1514B, got {setting}"
            ));
        }
        Ok(())
    }

    fn decide(&mut self, setting: &Overhead, _: &Draws<'_>, frame: &mut Passage<'_>) {
        frame.on_wire = setting.on_wire(frame.length);
    }
}
