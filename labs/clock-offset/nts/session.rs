//! The client's half of an association: keys, and cookies that are each used once.

use super::aead::{Key, Keys, NONCE_LEN};
use super::field::{
    COOKIE, PLACEHOLDER, Protected, UNIQUE_ID, UNIQUE_ID_LEN, UniqueId, authenticate, push,
    read_encrypted,
};
use super::{COOKIES, NtsRefusal, record};
use crate::packet::{HEADER_LEN, Mode, Packet, ReferenceId};
use std::collections::VecDeque;

/// Bytes of a request, at most: what passes any IPv6 path uncut (RFC 8200 §5: 1280) less the
/// headers of IPv6 and UDP. The reply is no longer, for it has no more cookies.
pub const REQUEST_MAX: usize = 1_280 - 40 - 8;
/// Bytes of a field's head.
const HEAD_LEN: usize = 4;
/// Bytes of the authenticator of a request, which encrypts nothing.
const AUTHENTICATOR_LEN: usize = HEAD_LEN + 4 + NONCE_LEN + super::aead::TAG_LEN;
/// The kiss code of a server that cannot read a cookie (RFC 8915 §5.7).
const NAK: ReferenceId = ReferenceId(*b"NTSN");

/// Random bits of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// The identifier that the reply must repeat.
    pub unique_id: UniqueId,
    /// The nonce of the authenticator.
    pub nonce: [u8; NONCE_LEN],
}

/// Keys and identifier that authenticate the reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Key,
    unique_id: UniqueId,
}

/// An association with a server.
#[derive(Clone, Debug)]
pub struct Session {
    keys: Keys,
    cookies: VecDeque<Vec<u8>>,
}

impl Session {
    /// The association that key establishment gave.
    #[must_use]
    pub fn new(keys: Keys, cookies: Vec<Vec<u8>>) -> Self {
        Self { keys, cookies: cookies.into() }
    }

    /// Cookies that are left.
    #[must_use]
    pub fn cookies(&self) -> usize {
        self.cookies.len()
    }

    /// A request with a cookie that was never used, and what its reply must satisfy.
    ///
    /// `None` where no cookie is left: new keys are needed.
    pub fn request(
        &mut self,
        header: &[u8; HEADER_LEN],
        fresh: &Fresh,
    ) -> Option<(Vec<u8>, Proof)> {
        let cookie = self.cookies.pop_front()?;
        let mut out = header.to_vec();
        push(&mut out, UNIQUE_ID, &fresh.unique_id);
        push(&mut out, COOKIE, &cookie);
        //= RFC 8915 §5.7: a placeholder for each cookie that is missing, as long as the cookie.
        let wanted = COOKIES.saturating_sub(self.cookies.len() + 1);
        let field = HEAD_LEN + cookie.len();
        let room = REQUEST_MAX.saturating_sub(out.len() + AUTHENTICATOR_LEN) / field;
        for _ in 0..wanted.min(room) {
            push(&mut out, PLACEHOLDER, &vec![0; cookie.len()]);
        }
        authenticate(&mut out, &self.keys.c2s, &fresh.nonce, &[]);
        let proof = Proof { key: self.keys.s2c.clone(), unique_id: fresh.unique_id };
        Some((out, proof))
    }

    /// Keeps the cookies of a reply that was proved.
    pub fn take(&mut self, cookies: Vec<Vec<u8>>) {
        for cookie in cookies {
            if self.cookies.len() < COOKIES && record::fits(&cookie) {
                self.cookies.push_back(cookie);
            }
        }
    }
}

impl Proof {
    /// The cookies in a reply that the server's key has made for this request.
    ///
    /// //= RFC 8915 §5.7: unique identifier first, then the authenticator, then anything else.
    ///
    /// # Errors
    /// Why it is not proved.
    pub fn check(&self, packet: &Packet<'_>, bytes: &[u8]) -> Result<Vec<Vec<u8>>, NtsRefusal> {
        let protected = Protected::of(packet).map_err(NtsRefusal::Fields)?;
        if !protected.fields.iter().any(|field| field.kind == UNIQUE_ID) {
            return Err(NtsRefusal::NoUniqueId);
        }
        if protected.only(UNIQUE_ID) != Some(&self.unique_id[..]) {
            return Err(NtsRefusal::UniqueId);
        }
        let header = &packet.header;
        let nak = header.mode == Mode::Server && header.stratum == 0 && header.reference_id == NAK;
        if nak && protected.authenticator.is_none() {
            return Err(NtsRefusal::Nak);
        }
        let plain = protected.open(bytes, &self.key)?;
        let fields = read_encrypted(&plain).map_err(NtsRefusal::Encrypted)?;
        let cookies = fields.iter().filter(|field| field.kind == COOKIE);
        Ok(cookies.map(|field| field.value.to_vec()).collect())
    }
}

const _: () = assert!(UNIQUE_ID_LEN >= 32, "RFC 8915 §5.3");
