//! The records of key establishment: what client and server say inside their TLS session.

use super::{AEAD_AES_SIV_CMAC_256, COOKIES, NTPV4};
use thiserror::Error;
use wirelab::wire::{DecodeError, Fault, Reader};

const LAYER: &str = "NTS-KE record";
/// Bytes of a response, at most: eight cookies take under 2 KB; the RFC gives no limit, and a
/// length field of a record reaches this far.
pub const RESPONSE_MAX: usize = 65_536;
/// Bytes of a request, at most, as this demonstration's server reads it: ours has 16.
pub const REQUEST_MAX: usize = 1_024;
/// Bytes of a cookie, at most: three of them and all else fit in a datagram that no path cuts.
pub const COOKIE_MAX: usize = 256;
/// Bytes of a cookie, at least: shorter, its extension field would be none (RFC 7822 §3).
pub const COOKIE_MIN: usize = 12;
/// Bytes of a server's name, at most (RFC 1035 §2.3.4).
const NAME_MAX: usize = 255;

const CRITICAL: u16 = 0x8000;
const END: u16 = 0;
const NEXT_PROTOCOL: u16 = 1;
const ERROR: u16 = 2;
const WARNING: u16 = 3;
const AEAD: u16 = 4;
const NEW_COOKIE: u16 = 5;
const SERVER: u16 = 6;
const PORT: u16 = 7;

/// Why a response gives no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeRefusal {
    /// Its bytes are not records.
    #[error("{0}")]
    Format(DecodeError),
    /// It ended before it said so.
    #[error("it ended after {0} bytes without the record that ends it")]
    Cut(usize),
    /// A critical record of a kind that is not known.
    #[error("a critical record of type {0}, which is not known here")]
    Critical(u16),
    /// The server did not like the request.
    #[error("the server refused: error {code} ({words})", code = .0, words = error_words(*.0))]
    Error(u16),
    /// The server warns of something that is not known.
    #[error("the server warns: {0}, which is not known here")]
    Warning(u16),
    /// No agreement on NTPv4.
    #[error("the server did not agree on NTPv4")]
    Protocol,
    /// No agreement on an algorithm.
    #[error("the server did not agree on AEAD_AES_SIV_CMAC_256")]
    Aead,
    /// A record that may come once came twice.
    #[error("a record of type {0} came twice")]
    Twice(u16),
    /// There is nothing to ask with.
    #[error("the server gave no cookie")]
    NoCookie,
    /// A cookie that no datagram can carry.
    #[error("a cookie of {0} bytes, expected a multiple of 4 from {COOKIE_MIN} to {COOKIE_MAX}")]
    Cookie(usize),
}

const fn error_words(code: u16) -> &'static str {
    match code {
        0 => "unrecognized critical record",
        1 => "bad request",
        2 => "internal server error",
        _ => "not known here",
    }
}

impl KeRefusal {
    /// The rule that it breaks.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        match self {
            Self::Format(_) | Self::Critical(_) | Self::Twice(_) => "RFC 8915 §4",
            Self::Cut(_) => "RFC 8915 §4.1.1",
            Self::Protocol => "RFC 8915 §4.1.2",
            Self::Error(_) => "RFC 8915 §4.1.3",
            Self::Warning(_) => "RFC 8915 §4.1.4",
            Self::Aead => "RFC 8915 §4.1.5",
            Self::NoCookie | Self::Cookie(_) => "RFC 8915 §4.1.6",
        }
    }
}

/// The server's side of the agreement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Cookies, in order.
    pub cookies: Vec<Vec<u8>>,
    /// The NTP server; `None` for the host that was asked for keys.
    pub server: Option<String>,
    /// The NTP server's port; `None` for the usual one.
    pub port: Option<u16>,
}

fn push(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    let length = u16::try_from(body.len()).expect("a record's body has at most 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body);
}

/// The client's half: NTPv4 with the one algorithm that everybody knows.
#[must_use]
pub fn request() -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    push(&mut out, CRITICAL | NEXT_PROTOCOL, &NTPV4.to_be_bytes());
    push(&mut out, CRITICAL | AEAD, &AEAD_AES_SIV_CMAC_256.to_be_bytes());
    push(&mut out, CRITICAL | END, &[]);
    out
}

/// A record that was read.
struct Record<'a> {
    kind: u16,
    critical: bool,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = reader.u16_be("record type")?;
        let length = usize::from(reader.u16_be("record length")?);
        let body = reader.take(length, "record length")?;
        Ok(Self { kind: kind & !CRITICAL, critical: kind & CRITICAL != 0, body })
    }

    /// The only number of its body.
    fn number(&self) -> Result<u16, DecodeError> {
        let mut reader = Reader::new(LAYER, self.body);
        let number = reader.u16_be("record body")?;
        reader.finish("record body").map(|()| number)
    }

    /// Whether one of the numbers of its body is this.
    fn offers(&self, number: u16) -> Result<bool, DecodeError> {
        let mut reader = Reader::new(LAYER, self.body);
        let mut found = false;
        while reader.remaining() > 0 {
            found |= reader.u16_be("record body")? == number;
        }
        Ok(found)
    }
}

/// Whether the records that have come end with the one that ends them.
///
/// # Errors
/// Fails if there are more bytes than any response may have.
pub fn is_whole(bytes: &[u8]) -> Result<bool, KeRefusal> {
    let mut reader = Reader::new(LAYER, bytes);
    while let Ok(record) = Record::read(&mut reader) {
        if record.kind == END {
            return Ok(true);
        }
    }
    if bytes.len() > RESPONSE_MAX {
        let fault =
            Fault::Long { claimed: bytes.len(), limit: RESPONSE_MAX, claimed_by: "response" };
        return Err(KeRefusal::Format(reader.fault(fault)));
    }
    Ok(false)
}

impl Response {
    /// Reads a whole response.
    ///
    /// # Errors
    /// Why it gives no keys.
    pub fn read(bytes: &[u8]) -> Result<Self, KeRefusal> {
        let mut reader = Reader::new(LAYER, bytes);
        let (mut response, mut protocol, mut aead) = (Self::default(), None, None);
        loop {
            if reader.remaining() == 0 {
                return Err(KeRefusal::Cut(bytes.len()));
            }
            let record = Record::read(&mut reader).map_err(KeRefusal::Format)?;
            let number = || record.number().map_err(KeRefusal::Format);
            match record.kind {
                END => break,
                NEXT_PROTOCOL => once(&mut protocol, record.kind, number()?)?,
                ERROR => return Err(KeRefusal::Error(number()?)),
                //= RFC 8915 §4.1.4: a client must treat an unknown warning as an error.
                WARNING => return Err(KeRefusal::Warning(number()?)),
                AEAD => once(&mut aead, record.kind, number()?)?,
                NEW_COOKIE => response.take_cookie(record.body)?,
                SERVER => {
                    let name = name(record.body).map_err(KeRefusal::Format)?;
                    once(&mut response.server, record.kind, name)?;
                }
                PORT => once(&mut response.port, record.kind, number()?)?,
                kind if record.critical => return Err(KeRefusal::Critical(kind)),
                _ => {}
            }
        }
        if protocol != Some(NTPV4) {
            return Err(KeRefusal::Protocol);
        }
        if aead != Some(AEAD_AES_SIV_CMAC_256) {
            return Err(KeRefusal::Aead);
        }
        if response.cookies.is_empty() {
            return Err(KeRefusal::NoCookie);
        }
        Ok(response)
    }

    fn take_cookie(&mut self, cookie: &[u8]) -> Result<(), KeRefusal> {
        if !fits(cookie) {
            return Err(KeRefusal::Cookie(cookie.len()));
        }
        // More than are kept would only grow old.
        if self.cookies.len() < COOKIES {
            self.cookies.push(cookie.to_vec());
        }
        Ok(())
    }

    /// The server's half, for a request that was understood.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, CRITICAL | NEXT_PROTOCOL, &NTPV4.to_be_bytes());
        push(&mut out, CRITICAL | AEAD, &AEAD_AES_SIV_CMAC_256.to_be_bytes());
        for cookie in &self.cookies {
            push(&mut out, NEW_COOKIE, cookie);
        }
        if let Some(server) = &self.server {
            push(&mut out, CRITICAL | SERVER, server.as_bytes());
        }
        if let Some(port) = self.port {
            push(&mut out, CRITICAL | PORT, &port.to_be_bytes());
        }
        push(&mut out, CRITICAL | END, &[]);
        out
    }
}

/// Whether a cookie can be carried in an extension field, unpadded.
#[must_use]
pub fn fits(cookie: &[u8]) -> bool {
    (COOKIE_MIN..=COOKIE_MAX).contains(&cookie.len()) && cookie.len().is_multiple_of(4)
}

fn once<T>(slot: &mut Option<T>, kind: u16, value: T) -> Result<(), KeRefusal> {
    if slot.replace(value).is_some() {
        return Err(KeRefusal::Twice(kind));
    }
    Ok(())
}

fn name(body: &[u8]) -> Result<String, DecodeError> {
    let reader = Reader::new(LAYER, body);
    if body.is_empty() || body.len() > NAME_MAX {
        let (claimed, limit) = (body.len(), NAME_MAX);
        return Err(reader.fault(Fault::Long { claimed, limit, claimed_by: "server name" }));
    }
    //= RFC 8915 §4.1.7: a name or an address in ASCII.
    if let Some(bad) = body.iter().find(|byte| !byte.is_ascii_graphic()) {
        let expected = "printable ASCII in a server name";
        return Err(reader.fault(Fault::Value { expected, got: u64::from(*bad) }));
    }
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// What a server answers to a request with: what was wrong, or nothing.
///
/// # Errors
/// The error code sent to the client.
pub fn read_request(bytes: &[u8]) -> Result<(), u16> {
    const UNRECOGNIZED: u16 = 0;
    const BAD: u16 = 1;
    let mut reader = Reader::new(LAYER, bytes);
    let (mut protocol, mut aead) = (false, false);
    loop {
        let record = Record::read(&mut reader).map_err(|_| BAD)?;
        match record.kind {
            END if protocol && aead => return Ok(()),
            END => return Err(BAD),
            NEXT_PROTOCOL => protocol |= record.offers(NTPV4).map_err(|_| BAD)?,
            AEAD => aead |= record.offers(AEAD_AES_SIV_CMAC_256).map_err(|_| BAD)?,
            _ if record.critical => return Err(UNRECOGNIZED),
            _ => {}
        }
    }
}

/// A response that only says what was wrong.
#[must_use]
pub fn error(code: u16) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, CRITICAL | ERROR, &code.to_be_bytes());
    push(&mut out, CRITICAL | END, &[]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agreed() -> Response {
        Response { cookies: vec![vec![3; 100]; 8], server: Some("a.b".into()), port: Some(77) }
    }

    /// The response with other records before its end.
    fn with(kind: u16, body: &[u8]) -> Result<Response, KeRefusal> {
        let mut bytes = agreed().encode();
        bytes.truncate(bytes.len() - 4);
        push(&mut bytes, kind, body);
        push(&mut bytes, CRITICAL, &[]);
        assert_eq!(is_whole(&bytes), Ok(true));
        Response::read(&bytes)
    }

    #[test]
    fn a_request_is_sixteen_bytes_that_the_server_understands() {
        assert_eq!(request(), [0x80, 1, 0, 2, 0, 0, 0x80, 4, 0, 2, 0, 15, 0x80, 0, 0, 0]);
        assert_eq!(read_request(&request()), Ok(()));
        assert_eq!(read_request(&request()[..12]), Err(1));
        assert_eq!(read_request(&[0x80, 77, 0, 0]), Err(0));
    }

    #[test]
    fn each_bad_response_has_its_reason_and_section() {
        assert_eq!(Response::read(&agreed().encode()), Ok(agreed()));
        let changed = |kind: u16, value: u16| {
            let mut out = Vec::new();
            push(&mut out, CRITICAL | kind, &value.to_be_bytes());
            push(&mut out, CRITICAL, &[]);
            Response::read(&out).unwrap_err()
        };
        for (refusal, section) in [
            (Response::read(&[]).unwrap_err(), "§4.1.1"),
            (Response::read(&agreed().encode()[..200]).unwrap_err(), "§4"),
            (with(CRITICAL | 99, &[]).unwrap_err(), "§4"),
            (changed(ERROR, 1), "§4.1.3"),
            (changed(WARNING, 1), "§4.1.4"),
            (changed(NEXT_PROTOCOL, 1), "§4.1.2"),
            (changed(NEXT_PROTOCOL, 0), "§4.1.5"),
            (with(AEAD, &[0, 15]).unwrap_err(), "§4"),
            (with(NEW_COOKIE, &[0; 13]).unwrap_err(), "§4.1.6"),
            (with(NEW_COOKIE, &[0; 1_000]).unwrap_err(), "§4.1.6"),
            (Response::read(&Response::default().encode()).unwrap_err(), "§4.1.6"),
            (with(SERVER, b"two words").unwrap_err(), "§4"),
            (with(PORT, &[1]).unwrap_err(), "§4"),
        ] {
            assert_eq!(refusal.section(), format!("RFC 8915 {section}"), "{refusal}");
        }
        // What is not critical and not known is skipped; a ninth cookie is not kept.
        assert_eq!(with(99, &[1, 2, 3]), Ok(agreed()));
        assert_eq!(with(NEW_COOKIE, &[9; 100]), Ok(agreed()));
        assert_eq!(Response::read(&error(2)), Err(KeRefusal::Error(2)));
        assert!(KeRefusal::Error(1).to_string().ends_with("error 1 (bad request)"));
        assert_eq!(is_whole(&[0x80, 1, 0]), Ok(false));
        assert!(is_whole(&[1; RESPONSE_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (Response::read(&bytes), is_whole(&bytes), read_request(&bytes));
        }
    }
}
