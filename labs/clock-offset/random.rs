//! The random bits that one request needs.

use super::nts::aead::NONCE_LEN;
use super::nts::field::UNIQUE_ID_LEN;
use super::nts::session::Fresh;
use wirelab::measure::draw::keyed;

/// Random bits of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    /// The transmit timestamp, which a reply in basic mode repeats.
    pub transmit: u64,
    /// The receive timestamp, which a reply in interleaved mode repeats.
    pub receive: u64,
    /// Further random values of an authenticated request.
    pub fresh: Fresh,
}

impl Random {
    /// Bytes that make it up.
    pub const LEN: usize = 8 + 8 + UNIQUE_ID_LEN + NONCE_LEN;

    /// From unpredictable bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut at = 0;
        let mut next = || {
            at += 1;
            bytes[at - 1]
        };
        Self {
            transmit: u64::from_be_bytes(std::array::from_fn(|_| next())),
            receive: u64::from_be_bytes(std::array::from_fn(|_| next())),
            fresh: Fresh {
                unique_id: std::array::from_fn(|_| next()),
                nonce: std::array::from_fn(|_| next()),
            },
        }
    }
}

/// For virtual time, where a run must repeat: what is drawn from a number can be guessed.
impl From<u64> for Random {
    fn from(seed: u64) -> Self {
        let byte = |index: usize| keyed(seed, index as u64).to_be_bytes()[0];
        let drawn = Self::from_bytes(&std::array::from_fn(byte));
        Self { transmit: seed, ..drawn }
    }
}
