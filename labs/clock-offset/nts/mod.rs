//! Network Time Security (RFC 8915): replies that only the server which was meant can have made.
//!
//! Keys come from a TLS session ([`record`] is what is said in it); each request then carries a
//! cookie, which holds the server's state, and an authenticator ([`field`]). [`session`] is the
//! client's half, [`server`] that of the demonstration.

pub mod aead;
pub mod field;
pub mod record;
pub mod server;
pub mod session;

use thiserror::Error;
use wirelab::wire::DecodeError;

/// The port of key establishment (RFC 8915 §7.1).
pub const KE_PORT: u16 = 4460;
/// The protocol name in the TLS handshake (RFC 8915 §4).
pub const ALPN: &[u8] = b"ntske/1";
/// Label under which keys are exported (RFC 8915 §5.1).
pub const EXPORTER: &[u8] = b"EXPORTER-network-time-security";
/// `AEAD_AES_SIV_CMAC_256`, which everybody must know (RFC 8915 §5.1).
pub const AEAD_AES_SIV_CMAC_256: u16 = 15;
/// The protocol that the keys are for: NTPv4 (RFC 8915 §7.7).
pub const NTPV4: u16 = 0;
/// Cookies a client keeps (RFC 8915 §5.7).
pub const COOKIES: usize = 8;

/// The context that a key is exported with (RFC 8915 §5.1); `to_client` is the server's key.
#[must_use]
pub const fn exporter_context(to_client: bool) -> [u8; 5] {
    let [protocol, aead] = [NTPV4.to_be_bytes(), AEAD_AES_SIV_CMAC_256.to_be_bytes()];
    [protocol[0], protocol[1], aead[0], aead[1], to_client as u8]
}

/// Why a datagram is no authenticated reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NtsRefusal {
    /// The extension fields do not add up.
    #[error("{0}")]
    Fields(DecodeError),
    /// No unique identifier.
    #[error("there is no unique identifier: it answers no request")]
    NoUniqueId,
    /// The unique identifier of another request.
    #[error("the unique identifier is that of another request")]
    UniqueId,
    /// The server does not know the cookie (NTS NAK, which may be forged).
    #[error("NTS NAK: the cookie cannot be used, new keys are needed")]
    Nak,
    /// Nothing proves who made it.
    #[error("there is no authenticator: anybody on the path can have made this")]
    NoAuthenticator,
    /// The authenticator cannot be read.
    #[error("{0}")]
    Authenticator(DecodeError),
    /// The authenticator is not made with our key over these bytes.
    #[error("the authenticator does not fit: not by the server's key, or changed on the way")]
    Forged,
    /// The authenticator's content is malformed.
    #[error("{0}, in what was encrypted")]
    Encrypted(DecodeError),
}

impl NtsRefusal {
    /// Its name in counters and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fields(_) => "nts_fields",
            Self::NoUniqueId => "nts_no_unique_id",
            Self::UniqueId => "nts_unique_id",
            Self::Nak => "nts_nak",
            Self::NoAuthenticator => "nts_no_authenticator",
            Self::Authenticator(_) => "nts_authenticator",
            Self::Forged => "nts_forged",
            Self::Encrypted(_) => "nts_encrypted",
        }
    }

    /// The rule that it breaks.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        match self {
            Self::Fields(_) => "RFC 7822 §3",
            Self::NoUniqueId | Self::UniqueId => "RFC 8915 §5.3",
            Self::Authenticator(_) => "RFC 8915 §5.6",
            Self::Nak | Self::NoAuthenticator | Self::Forged | Self::Encrypted(_) => {
                "RFC 8915 §5.7"
            }
        }
    }
}
