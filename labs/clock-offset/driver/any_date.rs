//! Certificates whose dates do not count: a host whose clock is very wrong can prove its server's
//! chain, name and keys, but not that they are of today.

use rustls::CertificateError::{
    self, Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
    NotValidYetContext, UnknownIssuer,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Whether the dates of a certificate count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// They do, by this host's clock.
    Checked,
    /// They do not.
    Any,
}

/// Dates that are tried: of each certificate of a chain both ends.
const TRIES: usize = 8;

/// Checks all but dates, at a time at which the certificates are valid.
#[derive(Debug)]
pub(super) struct AnyDate(Arc<WebPkiServerVerifier>);

impl AnyDate {
    pub(super) fn new(roots: RootCertStore, by: Arc<CryptoProvider>) -> Result<Arc<Self>, Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), by);
        let verifier = verifier.build().map_err(|error| Error::General(error.to_string()))?;
        Ok(Arc::new(Self(verifier)))
    }
}

impl ServerCertVerifier for AnyDate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        mut now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |now| {
            let (verifier, chain) = (&self.0, intermediates);
            verifier.verify_server_cert(end_entity, chain, server_name, ocsp_response, now)
        };
        let mut found = check(now);
        for _ in 0..TRIES {
            now = match &found {
                Err(Error::InvalidCertificate(ExpiredContext { not_after, .. })) => *not_after,
                Err(Error::InvalidCertificate(NotValidYetContext { not_before, .. })) => {
                    *not_before
                }
                _ => break,
            };
            found = check(now);
        }
        found
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A TLS error in words; those of rustls show the inside of a certificate's error.
pub(super) fn words(error: &Error) -> String {
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    let text = match why {
        UnknownIssuer => "is signed by no authority that is trusted here, itself perhaps",
        Expired | ExpiredContext { .. } => "has expired, by this host's clock",
        NotValidYet | NotValidYetContext { .. } => "is not valid yet, by this host's clock",
        NotValidForName | NotValidForNameContext { .. } => "is for another name",
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "is that of an authority (CA:TRUE), not of a server"
        }
        _ => return error.to_string(),
    };
    format!("invalid peer certificate: it {text}")
}
