//! Key establishment over TLS (RFC 8915 §4): the client, and the server of the demonstration.
//!
//! The certificate is always checked, and there is no fallback to NTP without keys.

use super::any_date::{self, AnyDate, Dates};
use crate::nts::aead::{Key, Keys};
use crate::nts::record::{self, KeRefusal, Response};
use crate::nts::session::Session;
use crate::nts::{ALPN, EXPORTER, exporter_context};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, SideData, version};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;

/// Total time limit of key establishment; each address of a name gets what is left. Three round
/// trips with a lost packet in each (RFC 6298 §2: 1 s at first) fit.
const PATIENCE: Duration = Duration::from_secs(10);
/// NTP's port, unless the server names one (RFC 8915 §4.1.8).
const NTP_PORT: u16 = 123;
/// Trust stores of Debian, Fedora and Alpine.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why key establishment failed.
#[derive(Debug, Error)]
pub enum KeError {
    /// The trust store cannot be read.
    #[error("{path}: {why}", path = .0.display(), why = .1)]
    Roots(PathBuf, String),
    /// No trust store was found.
    #[error("this system has none of {}", SYSTEM_ROOTS.join(", "))]
    NoRoots,
    /// The name cannot be in a certificate.
    #[error("{0:?} cannot be the name of a certificate: {1}")]
    Name(String, InvalidDnsNameError),
    /// The name has no address, or the connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The time limit was exceeded.
    #[error("no keys within {} s", PATIENCE.as_secs())]
    Late,
    /// TLS failed: most often the certificate.
    #[error("TLS: {}", any_date::words(.0))]
    Tls(#[from] rustls::Error),
    /// The server did not select ntske/1.
    #[error("the server does not speak ntske/1 inside TLS")]
    Alpn,
    /// The server's response has no keys.
    #[error("{0}")]
    Refused(#[from] KeRefusal),
}

impl KeError {
    /// The violated rule.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        match self {
            Self::Roots(..) | Self::NoRoots | Self::Name(..) | Self::Tls(_) => "RFC 8915 §3",
            Self::Io(_) | Self::Late | Self::Alpn => "RFC 8915 §4",
            Self::Refused(refusal) => refusal.section(),
        }
    }

    /// Whether the certificate was not valid at this host's time, which is what is in question.
    #[must_use]
    pub const fn is_of_time(&self) -> bool {
        use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        matches!(
            self,
            Self::Tls(rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            ))
        )
    }
}

/// An NTS-KE server and the trust in its certificate.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// The name that the certificate must have.
    pub host: String,
    /// The port of key establishment.
    pub port: u16,
    /// Where to connect, instead of the name's addresses.
    address: Option<SocketAddr>,
    config: Arc<ClientConfig>,
}

/// The result of key establishment.
#[derive(Debug)]
pub struct Established {
    /// Keys and cookies.
    pub session: Session,
    /// The NTP server's addresses.
    pub servers: Vec<SocketAddr>,
}

/// A TLS configuration that trusts the certificates in a file, or the system's trust store.
///
/// # Errors
/// Fails if there are none.
pub fn trust(file: Option<&Path>, dates: Dates) -> Result<Arc<ClientConfig>, KeError> {
    let roots = match file {
        Some(file) => authorities(file)?,
        None => {
            let found = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
            authorities(found.ok_or(KeError::NoRoots)?)?
        }
    };
    trusting(roots, dates)
}

/// The same with given certificates.
///
/// # Errors
/// Fails if TLS 1.3 cannot be configured.
pub fn trusting(roots: RootCertStore, dates: Dates) -> Result<Arc<ClientConfig>, KeError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    //= RFC 8915 §3: TLS 1.3 and nothing older.
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?;
    let mut config = match dates {
        Dates::Checked => builder.with_root_certificates(roots).with_no_client_auth(),
        Dates::Any => builder
            .dangerous()
            .with_custom_certificate_verifier(AnyDate::new(roots, provider)?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn authorities(file: &Path) -> Result<RootCertStore, KeError> {
    let unread = |why: String| KeError::Roots(file.to_owned(), why);
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unread(error.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| unread(e.to_string()))?;
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err(unread("it holds no CA certificate (PEM)".to_owned()));
    }
    Ok(roots)
}

impl KeySource {
    /// An NTS-KE server of this name, authenticated by `config`.
    #[must_use]
    pub const fn new(host: String, port: u16, config: Arc<ClientConfig>) -> Self {
        Self { host, port, address: None, config }
    }

    /// The same at a known address.
    #[must_use]
    pub const fn at(mut self, address: SocketAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Establishes keys; blocks until done.
    ///
    /// # Errors
    /// The reason of the failure.
    pub fn establish(&self) -> Result<Established, KeError> {
        let clock = Clock::start();
        let deadline = clock.now() + PATIENCE;
        let name = ServerName::try_from(self.host.clone())
            .map_err(|error| KeError::Name(self.host.clone(), error))?;
        let mut failed = KeError::Io(io::Error::from(ErrorKind::AddrNotAvailable));
        let addresses: Vec<SocketAddr> = match self.address {
            Some(address) => vec![address],
            None => (self.host.as_str(), self.port).to_socket_addrs()?.collect(),
        };
        for address in addresses {
            let connected = left(clock, deadline)
                .and_then(|time| Ok(TcpStream::connect_timeout(&address, time)?));
            match connected {
                Ok(stream) => return self.agree(stream, address, name, clock, deadline),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn agree(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        name: ServerName<'static>,
        clock: Clock,
        deadline: Instant,
    ) -> Result<Established, KeError> {
        let mut round = RoundTrip::new(stream, clock, deadline)?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        tls.writer().write_all(&record::request())?;
        let mut response = Vec::new();
        while !record::is_whole(&response)? {
            if !round.turn(&mut tls, &mut response)? {
                break;
            }
        }
        //= RFC 8915 §4: a server that did not select ntske/1 is not spoken to.
        if tls.alpn_protocol() != Some(ALPN) {
            return Err(KeError::Alpn);
        }
        let agreed = Response::read(&response)?;
        let session = Session::new(export(&tls)?, agreed.cookies);
        tls.send_close_notify();
        // The keys are established; telling the server of the end is a courtesy.
        let _ = round.flush(&mut tls);
        let port = agreed.port.unwrap_or(NTP_PORT);
        let servers = match agreed.server {
            Some(host) => (host.as_str(), port).to_socket_addrs()?.collect(),
            None => vec![SocketAddr::new(peer.ip(), port)],
        };
        Ok(Established { session, servers })
    }
}

/// Time until the deadline.
fn left(clock: Clock, deadline: Instant) -> Result<Duration, KeError> {
    let now = clock.now();
    if now >= deadline { Err(KeError::Late) } else { Ok(deadline.since(now)) }
}

/// TLS over a connection with a deadline.
struct RoundTrip {
    stream: TcpStream,
    clock: Clock,
    deadline: Instant,
}

impl RoundTrip {
    fn new(stream: TcpStream, clock: Clock, deadline: Instant) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, clock, deadline })
    }

    /// Sends pending TLS records.
    fn flush(&mut self, tls: &mut ClientConnection) -> Result<(), KeError> {
        while tls.wants_write() {
            self.stream.set_write_timeout(Some(left(self.clock, self.deadline)?))?;
            tls.write_tls(&mut self.stream).map_err(late)?;
        }
        Ok(())
    }

    /// Sends, and waits for input; decrypted data goes to `plain`. False if the peer has closed.
    fn turn(&mut self, tls: &mut ClientConnection, plain: &mut Vec<u8>) -> Result<bool, KeError> {
        self.flush(tls)?;
        self.stream.set_read_timeout(Some(left(self.clock, self.deadline)?))?;
        let mut closed = tls.read_tls(&mut self.stream).map_err(late)? == 0;
        let state = tls.process_new_packets();
        if state.is_err() {
            // The alert tells the server why.
            let _ = tls.write_tls(&mut self.stream);
        }
        closed |= state?.peer_has_closed();
        match tls.reader().read_to_end(plain) {
            Ok(_) => {}
            // More may come, or the end came without close_notify: the records tell.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(!closed)
    }
}

/// A socket's timeout has two error kinds.
fn late(error: io::Error) -> KeError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => KeError::Late,
        _ => KeError::Io(error),
    }
}

/// //= RFC 8915 §5.1: both keys come out of the TLS session.
pub(super) fn export<S: SideData>(tls: &ConnectionCommon<S>) -> Result<Keys, KeError> {
    let key = |to_client| {
        let context = exporter_context(to_client);
        tls.export_keying_material([0; 32], EXPORTER, Some(&context)).map(Key::new)
    };
    Ok(Keys { c2s: key(false)?, s2c: key(true)? })
}
