//! The server's half, for the demonstration: cookies that hold the keys, replies that prove it.

use super::aead::{KEY_LEN, Key, Keys, NONCE_LEN};
use super::field::{COOKIE, PLACEHOLDER, Protected, UNIQUE_ID, authenticate, push};
use super::{COOKIES, record};
use crate::packet::{HEADER_LEN, Header, Leap, Packet, ReferenceId};
use crate::server::Ignored;
use crate::timestamp::NtpTimestamp;
use zeroize::Zeroizing;

/// A source of random bytes.
pub type Draw<'a> = &'a mut dyn FnMut(&mut [u8]);

/// The key that seals cookies.
#[derive(Clone, Debug)]
pub struct Master(Key);

/// A request that was proved: what its reply needs.
#[derive(Clone, Debug)]
pub struct Asked {
    keys: Keys,
    unique_id: Vec<u8>,
    cookies: usize,
}

/// Classification of a datagram.
#[derive(Clone, Debug)]
pub enum Authenticity {
    /// It asks for no proof.
    Plain,
    /// It was proved.
    Proved(Asked),
    /// Its cookie or authenticator is invalid: the reply.
    Refused(Vec<u8>),
}

fn draw<const N: usize>(random: Draw<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

impl Master {
    /// From random bytes.
    #[must_use]
    pub const fn new(key: [u8; KEY_LEN]) -> Self {
        Self(Key::new(key))
    }

    /// A cookie: a nonce, and the association's keys sealed.
    ///
    /// //= RFC 8915 §6: the format that it suggests, with one master key for the process's life.
    fn cookie(&self, keys: &Keys, random: Draw<'_>) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = draw(random);
        let plain = Zeroizing::new([*keys.c2s.bytes(), *keys.s2c.bytes()].concat());
        let sealed = self.0.seal(&[], &nonce, &plain);
        [&nonce[..], &sealed].concat()
    }

    fn keys(&self, cookie: &[u8]) -> Option<Keys> {
        let (nonce, sealed) = cookie.split_at_checked(NONCE_LEN)?;
        let plain = Zeroizing::new(self.0.open(&[], nonce, sealed)?);
        let (c2s, s2c) = plain.split_first_chunk::<KEY_LEN>()?;
        let s2c: [u8; KEY_LEN] = s2c.try_into().ok()?;
        Some(Keys { c2s: Key::new(*c2s), s2c: Key::new(s2c) })
    }

    /// The answer to a request for keys, which both sides have exported from their TLS session.
    #[must_use]
    pub fn establish(&self, request: &[u8], keys: &Keys, port: u16, random: Draw<'_>) -> Vec<u8> {
        if let Err(code) = record::read_request(request) {
            return record::error(code);
        }
        let cookies = (0..COOKIES).map(|_| self.cookie(keys, random)).collect();
        record::Response { cookies, server: None, port: Some(port) }.encode()
    }

    /// Judges a datagram that is a request.
    ///
    /// # Errors
    /// Why it gets no answer.
    pub fn judge(&self, bytes: &[u8]) -> Result<Authenticity, Ignored> {
        let packet = Packet::open(bytes).map_err(Ignored::Format)?;
        let protected = Protected::of(&packet).map_err(Ignored::Format)?;
        if protected.authenticator.is_none() {
            return Ok(Authenticity::Plain);
        }
        let (Some(id), Some(cookie)) = (protected.only(UNIQUE_ID), protected.only(COOKIE)) else {
            return Ok(Authenticity::Plain);
        };
        let proved = self.keys(cookie).filter(|keys| protected.open(bytes, &keys.c2s).is_ok());
        let Some(keys) = proved else {
            return Ok(Authenticity::Refused(nak(&packet.header, id)));
        };
        //= RFC 8915 §5.7: a cookie for the one that was used and for each placeholder, as many as
        // fit in no more bytes than the request has.
        let room = |field: &&crate::packet::Field<'_>| {
            field.kind == PLACEHOLDER && field.value.len() >= cookie.len()
        };
        let cookies = 1 + protected.fields.iter().filter(room).count().min(COOKIES - 1);
        Ok(Authenticity::Proved(Asked { keys, unique_id: id.to_vec(), cookies }))
    }

    /// The reply with its proof.
    #[must_use]
    pub fn prove(&self, asked: &Asked, reply: &[u8; HEADER_LEN], random: Draw<'_>) -> Vec<u8> {
        let mut out = reply.to_vec();
        push(&mut out, UNIQUE_ID, &asked.unique_id);
        let mut plain = Vec::new();
        for _ in 0..asked.cookies {
            push(&mut plain, COOKIE, &self.cookie(&asked.keys, random));
        }
        authenticate(&mut out, &asked.keys.s2c, &draw(random), &plain);
        out
    }
}

/// //= RFC 8915 §5.7: a kiss-o'-death with the code NTSN and the unique identifier, unproved.
fn nak(asked: &Header, unique_id: &[u8]) -> Vec<u8> {
    let header = Header {
        leap: Leap::Unsynchronized,
        mode: crate::packet::Mode::Server,
        reference_id: ReferenceId(*b"NTSN"),
        origin: asked.transmit,
        transmit: NtpTimestamp::NONE,
        ..Header::request(NtpTimestamp::NONE)
    };
    let mut out = header.encode().to_vec();
    push(&mut out, UNIQUE_ID, unique_id);
    out
}
