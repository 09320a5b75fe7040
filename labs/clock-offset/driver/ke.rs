//! The server's half of key establishment, for the demonstration: one client after the other.
//!
//! It exists so that authenticated time can be tried with no certificate at hand: it makes its own,
//! which lives as long as the process, and gives the one that it has made to be trusted.
//! It must never listen beyond loopback, nor wait for a client for long.

use super::nts::{KeError, KeySource, RoundTrip, export, trusting};
use crate::nts::server::Master;
use crate::nts::{ALPN, record};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection, version};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wirelab::runtime::clock::Clock;

/// The name in the certificate.
const NAME: &str = "localhost";
/// Longest that a client may take: it is in the same process.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server of keys in a thread of its own.
#[derive(Debug)]
pub struct KeyServer {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl KeyServer {
    /// Gives keys for the NTP server on `ntp_port` of this host, sealed under `master`.
    ///
    /// # Errors
    /// Where it cannot listen, or a certificate cannot be made.
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
        let (config, stop) = (Arc::new(config), Arc::new(AtomicBool::new(false)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mut entropy = File::open("/dev/urandom")?;
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                // A client that fails is told so by TLS, and is no concern of the next.
                let _ = give(stream, &config, &master, ntp_port, &mut entropy);
            }
        });
        Ok(Self { address, certificate, stop, thread: Some(thread) })
    }

    /// Where its keys come from, for a client that trusts this very certificate.
    ///
    /// # Errors
    /// Where TLS cannot be configured.
    pub fn source(&self) -> Result<KeySource, KeError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        // The name resolves as the system likes; the address is what it listens on.
        let source = KeySource::new(NAME.to_owned(), self.address.port(), trusting(roots)?);
        Ok(source.at(self.address))
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread; where nobody listens any more, it has ended.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Agrees with one client.
fn give(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    master: &Master,
    ntp_port: u16,
    entropy: &mut File,
) -> Result<(), KeError> {
    let mut tls = ServerConnection::new(Arc::clone(config))?;
    let clock = Clock::start();
    let mut round = RoundTrip::new(stream, clock, clock.now() + PATIENCE)?;
    let mut request = Vec::new();
    while !record::is_whole(&request)? && request.len() <= record::REQUEST_MAX {
        if !round.turn(&mut tls, &mut request)? {
            return Ok(());
        }
    }
    let mut failed = None;
    let mut random = |bytes: &mut [u8]| {
        if let Err(error) = entropy.read_exact(bytes) {
            failed = Some(error);
        }
    };
    let response = master.establish(&request, &export(&tls)?, ntp_port, &mut random);
    // A cookie whose nonce is not random is none to give.
    if let Some(error) = failed {
        return Err(error.into());
    }
    tls.writer().write_all(&response)?;
    tls.send_close_notify();
    round.flush(&mut tls)
}
