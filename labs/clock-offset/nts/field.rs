//! NTS's extension fields on NTP packets: unique identifier, cookie, placeholder, authenticator.

use super::NtsRefusal;
use super::aead::{Key, NONCE_LEN, TAG_LEN};
use crate::packet::{Field, HEADER_LEN, Packet};
use wirelab::wire::{DecodeError, Fault, Reader};

/// The unique identifier (RFC 8915 §7.5).
pub const UNIQUE_ID: u16 = 0x0104;
/// A cookie.
pub const COOKIE: u16 = 0x0204;
/// Room for one more cookie in the reply.
pub const PLACEHOLDER: u16 = 0x0304;
/// Authenticator and encrypted fields.
pub const AUTHENTICATOR: u16 = 0x0404;

/// Bytes of a unique identifier, at least (RFC 8915 §5.3), and as made here.
pub const UNIQUE_ID_LEN: usize = 32;
/// Bytes of a field's type and length.
const HEAD_LEN: usize = 4;
/// Bytes of the lengths of nonce and ciphertext.
const LENGTHS_LEN: usize = 4;

const LAYER: &str = "NTS authenticator";

/// The unique identifier of a request.
pub type UniqueId = [u8; UNIQUE_ID_LEN];

/// Appends a field, padded with zeros to a multiple of four bytes (RFC 7822 §3).
pub fn push(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = value.len().next_multiple_of(4);
    let claimed = u16::try_from(HEAD_LEN + length).expect("a field fits its datagram");
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&claimed.to_be_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + length - value.len(), 0);
}

/// Appends an authenticator over all of `out`, with `plain` encrypted in it.
pub fn authenticate(out: &mut Vec<u8>, key: &Key, nonce: &[u8; NONCE_LEN], plain: &[u8]) {
    //= RFC 8915 §5.6: lengths of nonce and ciphertext, then both, each padded to four bytes.
    let sealed = key.seal(out, nonce, plain);
    let mut value = Vec::with_capacity(LENGTHS_LEN + NONCE_LEN + TAG_LEN + plain.len());
    for length in [nonce.len(), sealed.len()] {
        let length = u16::try_from(length).expect("a field fits its datagram");
        value.extend_from_slice(&length.to_be_bytes());
    }
    value.extend_from_slice(nonce);
    value.extend_from_slice(&sealed);
    push(out, AUTHENTICATOR, &value);
}

/// Nonce and ciphertext of an authenticator's value.
///
/// # Errors
/// Fails if the lengths do not add up.
pub fn read_authenticator(value: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut reader = Reader::new(LAYER, value);
    let nonce_len = usize::from(reader.u16_be("nonce length")?);
    let sealed_len = usize::from(reader.u16_be("ciphertext length")?);
    if nonce_len == 0 {
        let expected = "a nonce of at least one byte";
        return Err(reader.fault(Fault::Value { expected, got: 0 }));
    }
    let nonce = reader.take(nonce_len.next_multiple_of(4), "nonce length")?;
    let sealed = reader.take(sealed_len.next_multiple_of(4), "ciphertext length")?;
    // What is left is padding that lets the server use a longer nonce.
    Ok((&nonce[..nonce_len], &sealed[..sealed_len]))
}

/// The fields of a packet that has an authenticator, and the bytes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected<'a> {
    /// Fields that are authenticated and not encrypted.
    pub fields: Vec<Field<'a>>,
    /// The authenticator's value, where there is one.
    pub authenticator: Option<&'a [u8]>,
    /// Bytes that the authenticator covers.
    pub covered: usize,
}

impl<'a> Protected<'a> {
    /// Splits a packet's fields at the authenticator; what follows it is not authenticated.
    ///
    /// # Errors
    /// Fails if the fields do not add up.
    pub fn of(packet: &Packet<'a>) -> Result<Self, DecodeError> {
        let mut fields = packet.fields()?;
        let at = fields.iter().position(|field| field.kind == AUTHENTICATOR);
        let authenticator = at.map(|at| fields[at].value);
        fields.truncate(at.unwrap_or(fields.len()));
        let length = |field: &Field<'_>| HEAD_LEN + field.value.len();
        let covered = HEADER_LEN + fields.iter().map(length).sum::<usize>();
        Ok(Self { fields, authenticator, covered })
    }

    /// The value of the only field of a kind; `None` where there is none or more than one.
    #[must_use]
    pub fn only(&self, kind: u16) -> Option<&'a [u8]> {
        let mut found = self.fields.iter().filter(|field| field.kind == kind);
        let first = found.next()?;
        found.next().is_none().then_some(first.value)
    }

    /// What the authenticator holds, where it is made with `key` over the bytes before it.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn open(&self, bytes: &[u8], key: &Key) -> Result<Vec<u8>, NtsRefusal> {
        let value = self.authenticator.ok_or(NtsRefusal::NoAuthenticator)?;
        let (nonce, sealed) = read_authenticator(value).map_err(NtsRefusal::Authenticator)?;
        let beside = bytes.get(..self.covered).ok_or(NtsRefusal::Forged)?;
        key.open(beside, nonce, sealed).ok_or(NtsRefusal::Forged)
    }
}

/// The fields inside what was encrypted; they end where it does.
///
/// # Errors
/// Fails if they do not add up.
pub fn read_encrypted(plain: &[u8]) -> Result<Vec<Field<'_>>, DecodeError> {
    let mut reader = Reader::new("NTS encrypted fields", plain);
    let mut fields = Vec::new();
    while reader.remaining() > 0 {
        let at = reader;
        let kind = reader.u16_be("field type")?;
        let length = usize::from(reader.u16_be("field length")?);
        if length < HEAD_LEN || !length.is_multiple_of(4) {
            let expected = "a field length that is a multiple of 4 and at least 4";
            let got = length as u64;
            return Err(at.fault(Fault::Value { expected, got }));
        }
        fields.push(Field { kind, value: reader.take(length - HEAD_LEN, "field length")? });
    }
    Ok(fields)
}
