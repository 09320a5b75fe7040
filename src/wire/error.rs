//! Decode and encode errors: layer, offset, bytes needed and found, the field that claimed them.
//! They own no memory, because every bad datagram of a flood makes one.

use thiserror::Error;

/// Why bytes could not be decoded, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{layer} at byte {offset}: {fault}")]
pub struct DecodeError {
    /// The format being read, for example `"bank frame"`.
    pub layer: &'static str,
    /// Offset of the faulty byte from the start of that layer.
    pub offset: usize,
    /// The fault.
    pub fault: Fault,
}

/// The fault in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The input ends too early.
    #[error("{claimed_by} needs {needed} bytes, {had} are left")]
    Short {
        /// Bytes needed from the offset on.
        needed: usize,
        /// Bytes found.
        had: usize,
        /// The field or rule that required them.
        claimed_by: &'static str,
    },
    /// A length is above its limit.
    #[error("{claimed_by} claims {claimed} bytes, the limit is {limit}")]
    Long {
        /// Bytes claimed.
        claimed: usize,
        /// The named limit.
        limit: usize,
        /// The field that claimed them.
        claimed_by: &'static str,
    },
    /// Bytes are left after the end of the layer.
    #[error("{extra} bytes are left after the end that {claimed_by} gives")]
    Trailing {
        /// How many.
        extra: usize,
        /// The field that set the end.
        claimed_by: &'static str,
    },
    /// A field has an invalid value.
    #[error("expected {expected}, got {got:#x}")]
    Value {
        /// The expected form, in words.
        expected: &'static str,
        /// The value found; a signed field shows its two's complement.
        got: u64,
    },
    /// The checksum in the message does not match the computed one.
    #[error("checksum {got:#010x} in the message, {expected:#010x} computed over it")]
    Checksum {
        /// The computed checksum.
        expected: u32,
        /// The checksum in the message.
        got: u32,
    },
}

/// A value did not fit the buffer it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{layer} at byte {offset}: needs {needed} bytes of room, {had} are left")]
pub struct EncodeError {
    /// The format being written.
    pub layer: &'static str,
    /// Where the write began.
    pub offset: usize,
    /// Bytes needed.
    pub needed: usize,
    /// Bytes left.
    pub had: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_claiming_field() {
        let fault = Fault::Short { needed: 16, had: 3, claimed_by: "block_len" };
        let error = DecodeError { layer: "bank frame", offset: 48, fault };
        assert_eq!(
            error.to_string(),
            "bank frame at byte 48: block_len needs 16 bytes, 3 are left"
        );
    }
}
