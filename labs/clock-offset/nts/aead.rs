//! AEAD_AES_SIV_CMAC_256 (RFC 5297) under the two keys of an association.

use aes_siv::KeyInit;
use aes_siv::siv::Aes128Siv;
use std::fmt;
use zeroize::Zeroize;

/// Bytes of a key: two of AES-128 (RFC 5297 §2.2).
pub const KEY_LEN: usize = 32;
/// Bytes of a nonce as made here, and the most that RFC 8915 §5.6 lets a server ask for.
pub const NONCE_LEN: usize = 16;
/// Bytes by which sealed is longer than plain (RFC 5297 §2.6).
pub const TAG_LEN: usize = 16;

/// One key; its memory is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_LEN]);

impl Key {
    /// From its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes; for a cookie alone, which is sealed itself.
    pub(super) const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Encrypts `plain` and authenticates it with what is `beside` it; the tag comes first.
    #[must_use]
    pub fn seal(&self, beside: &[u8], nonce: &[u8], plain: &[u8]) -> Vec<u8> {
        //= RFC 5297 §3: associated data first, the nonce last.
        let sealed = Aes128Siv::new(&self.0.into()).encrypt([beside, nonce], plain);
        sealed.expect("the algorithm takes up to 2^132 bytes")
    }

    /// The decrypted text; `None` if any bit differs.
    #[must_use]
    pub fn open(&self, beside: &[u8], nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        Aes128Siv::new(&self.0.into()).decrypt([beside, nonce], sealed).ok()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Says that it is a key, not which.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The keys of one association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Client to server.
    pub c2s: Key,
    /// Server to client.
    pub s2c: Key,
}

#[cfg(test)]
mod tests {
    use super::*;
    use wirelab::wire::hex;

    #[test]
    fn the_vector_of_rfc_5297_comes_out() {
        // RFC 5297 Appendix A.1, which has no nonce: the associated data stands for both strings.
        let key = "fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff";
        let key: [u8; KEY_LEN] = hex::parse(key).unwrap().try_into().unwrap();
        let beside = "10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627";
        let plain = hex::parse("11223344 55667788 99aabbcc ddee").unwrap();
        let mut siv = Aes128Siv::new(&key.into());
        let sealed = siv.encrypt([hex::parse(beside).unwrap()], &plain).unwrap();
        let expected = "85632d07 c6e8f37f 950acd32 0a2ecc93 40c02b96 90c4dc04 daef7f6a fe5c";
        assert_eq!(sealed, hex::parse(expected).unwrap());
    }

    #[test]
    fn every_bit_counts_and_no_key_is_printed() {
        let key = Key::new([7; KEY_LEN]);
        let sealed = key.seal(b"beside", b"nonce", b"plain");
        assert_eq!(key.open(b"beside", b"nonce", &sealed).unwrap(), b"plain");
        for bit in 0..sealed.len() * 8 {
            let mut spoiled = sealed.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"beside", b"nonce", &spoiled), None);
        }
        assert_eq!(key.open(b"besidf", b"nonce", &sealed), None);
        assert_eq!(key.open(b"beside", b"noncf", &sealed), None);
        assert_eq!(Key::new([8; KEY_LEN]).open(b"beside", b"nonce", &sealed), None);
        assert_eq!(format!("{key:?}"), "Key(..)");
    }
}
