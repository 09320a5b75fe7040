//! The NTS-KE server of the demonstration.
//!
//! It creates its own certificate, valid as long as the process, so that NTS can be tried without
//! one. It listens on loopback only.

use super::any_date::Dates;
use super::nts::{KeError, KeySource, export, trusting};
use crate::nts::server::Master;
use crate::nts::{ALPN, record};
use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, version};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::event_loop::{EventLoop, SourceId};
use wirelab::runtime::server::{Core, Limits, ListenerConfig, Output, Server, Session};
use wirelab::runtime::shutdown;
use wirelab::sys::random;

/// The name in the certificate.
const NAME: &str = "localhost";
/// Timeout of a client: it is in the same process.
const PATIENCE: Duration = Duration::from_secs(5);
/// Concurrent clients; the demonstration has one.
const CONNECTIONS_MAX: usize = 16;

/// An NTS-KE server in a thread.
#[derive(Debug)]
pub struct KeyServer {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    stop: shutdown::Sender,
    thread: Option<JoinHandle<()>>,
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl KeyServer {
    /// Issues keys for the NTP server on `ntp_port` of this host; `master` encrypts the cookies.
    ///
    /// # Errors
    /// Fails if it cannot listen, or cannot create a certificate.
    pub fn start(master: Master, ntp_port: u16) -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(broken)?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key)
            })
            .map_err(broken)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = tcp.local_addr()?;
        let core = Establishment { config: Arc::new(config), master, ntp_port };
        let (stop, mut shutdown) = shutdown::pair()?;
        let listeners = vec![ListenerConfig { tcp: Some(tcp), udp: None, nodelay: true }];
        let limits = Limits { connections: CONNECTIONS_MAX, datagram: 0 };
        let mut events = EventLoop::new(Clock::start())?;
        let mut server = Server::new(&mut events, core, listeners, limits)?;
        let thread = std::thread::spawn(move || {
            if let Err(error) = events.run(&mut server, &mut shutdown) {
                tracing::error!("the demonstration's key server stopped: {error}");
            }
        });
        Ok(Self { address, certificate, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key source for a client that trusts only this certificate.
    ///
    /// # Errors
    /// Fails if TLS cannot be configured.
    pub fn source(&self) -> Result<KeySource, KeError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        // The name resolves as the system likes; the address is the listener's.
        let source =
            KeySource::new(NAME.to_owned(), self.address.port(), trusting(roots, Dates::Checked)?);
        Ok(source.at(self.address))
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// State shared by all sessions.
struct Establishment {
    config: Arc<ServerConfig>,
    master: Master,
    ntp_port: u16,
}

/// A client's TLS session and the request in it.
struct KeSession {
    /// Absent if TLS could not begin.
    tls: Option<ServerConnection>,
    request: Vec<u8>,
    until: Instant,
    over: bool,
}

impl Establishment {
    /// Processes a client's bytes, and answers its request once complete.
    fn advance(&mut self, session: &mut KeSession, mut bytes: &[u8]) -> Result<(), KeError> {
        let Some(tls) = &mut session.tls else { return Ok(()) };
        while !bytes.is_empty() && tls.read_tls(&mut bytes)? > 0 {
            tls.process_new_packets()?;
            match tls.reader().read_to_end(&mut session.request) {
                Ok(_) => {}
                // More may come, or the end came without close_notify: the records tell.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof) => {
                }
                Err(error) => return Err(error.into()),
            }
        }
        let request = &session.request;
        if !record::is_whole(request)? && request.len() <= record::REQUEST_MAX {
            return Ok(());
        }
        let mut failed = None;
        let mut random = |bytes: &mut [u8]| {
            if let Err(error) = random::fill(bytes) {
                failed = Some(error);
            }
        };
        let keys = export(tls)?;
        let response = self.master.establish(request, &keys, self.ntp_port, &mut random);
        // A cookie needs a random nonce.
        if let Some(error) = failed {
            return Err(error.into());
        }
        tls.writer().write_all(&response)?;
        tls.send_close_notify();
        session.over = true;
        Ok(())
    }
}

impl Core for Establishment {
    type Session = KeSession;

    fn handle_open(&mut self, now: Instant, _listener: usize) -> KeSession {
        let tls = ServerConnection::new(Arc::clone(&self.config)).ok();
        KeSession { over: tls.is_none(), tls, request: Vec::new(), until: now + PATIENCE }
    }

    fn handle_stream(
        &mut self,
        _now: Instant,
        _connection: SourceId,
        session: &mut KeSession,
        bytes: &[u8],
    ) {
        // TLS has an alert that tells the client why.
        session.over |= self.advance(session, bytes).is_err();
    }

    fn handle_datagram(&mut self, _: Instant, _: usize, _: SocketAddr, _: &[u8]) {}

    fn poll_output(&mut self, _now: Instant) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Instant) {}

    fn begin_drain(&mut self, _now: Instant) {}
}

impl Session for KeSession {
    fn poll_transmit(&mut self) -> Option<Bytes> {
        let tls = self.tls.as_mut().filter(|tls| tls.wants_write())?;
        let mut out = Vec::new();
        // Writing to memory cannot fail.
        while tls.wants_write() && tls.write_tls(&mut out).is_ok() {}
        Some(out.into())
    }

    fn wants_read(&self) -> bool {
        !self.over
    }

    fn wants_resume(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn linger(&self) -> Option<Duration> {
        self.over.then_some(PATIENCE)
    }

    fn handle_end(&mut self) {
        self.over = true;
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.over).then_some(self.until)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.over |= self.until <= now;
    }

    fn begin_drain(&mut self, _now: Instant) {
        self.over = true;
    }
}
