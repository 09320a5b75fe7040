//! Servers that prove who they are: keys first, then time.

use crate::LAB;
use crate::args::Args;
use crate::driver::any_date::Dates;
use crate::driver::ke::KeyServer;
use crate::driver::nts::{KeError, KeySource, trust};
use crate::driver::query::Asked;
use crate::driver::serve::Server;
use crate::nts::KE_PORT;
use crate::nts::aead::KEY_LEN;
use crate::nts::server::Master;
use std::io;
use std::net::SocketAddr;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::sys::random;

/// How an authenticated server is written.
pub(crate) const SCHEME: &str = "nts://";

/// The keys of a server, and its address.
///
/// # Errors
/// Why there are none; nothing is asked then.
pub(crate) fn establish(args: &Args, name: &str, host: &str) -> Result<Asked, Failure> {
    let (host, port) = split(host).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{name:?} is not a server that can be asked"))
            .because("after nts:// comes NAME, ADDRESS, NAME:PORT or [IPV6]:PORT")
            .or_type("the usual port", format!("{LAB} nts://time.example"))
    })?;
    let failed = |error: KeError| no_keys(args, name, &error);
    let dates = if args.nts_any_date { Dates::Any } else { Dates::Checked };
    let config = trust(args.nts_ca.as_deref(), dates).map_err(failed)?;
    let source = KeySource::new(host, port, config);
    let found = source.establish().map_err(failed)?;
    let name = name.to_owned();
    let nts = Some((found.session, source));
    Ok(Asked { name, addresses: found.servers, all: false, nts })
}

/// Makes the server of the demonstration prove its replies, and gets keys for it.
///
/// # Errors
/// Fails without a certificate, random bits or keys.
pub(crate) fn demo(
    server: Server,
    port: u16,
    asked: &mut Asked,
) -> Result<(Server, KeyServer), Failure> {
    let failed = |error: io::Error| Failure::from_error(Exit::Bug, "the demonstration", &error);
    let key = random::array::<KEY_LEN>().map_err(failed)?;
    let master = Master::new(key);
    let keys = KeyServer::start(master.clone(), port).map_err(failed)?;
    let found = keys.source().and_then(|source| Ok((source.establish()?, source)));
    let (found, source) = found
        .map_err(|error| Failure::from_error(Exit::Bug, "the demonstration's keys", &error))?;
    asked.nts = Some((found.session, source));
    Ok((server.proving(master).map_err(failed)?, keys))
}

/// Host and port; an IPv6 address stands in brackets where a port follows.
fn split(text: &str) -> Option<(String, u16)> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Some((bare.to_owned(), KE_PORT));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_string(), address.port()));
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None => Some((text.to_owned(), KE_PORT)),
    }
    .filter(|(host, _)| !host.is_empty())
}

fn no_keys(args: &Args, name: &str, error: &KeError) -> Failure {
    let exit = match error {
        KeError::Roots(..) | KeError::NoRoots | KeError::Name(..) => Exit::Usage,
        _ => Exit::Network,
    };
    let what = format!("{name} gives no keys, and is not asked without: {error}");
    let failure = Failure::new(exit, what)
        .because(format!("a reply without proof would not be believed ({})", error.section()));
    let plain = format!("{LAB} {}", name.trim_start_matches(SCHEME));
    match error {
        KeError::Tls(_) if error.is_of_time() => failure
            .because(
                "the certificate is judged by this host's own clock, which may be what is wrong",
            )
            .or_type("check all but its dates", format!("{LAB} {name} --nts-any-date"))
            .or_type("see by how much, unproved", plain),
        KeError::Tls(_) if args.nts_ca.is_none() => {
            let own = format!("{LAB} {name} --nts-ca ca.pem");
            failure.or_type("trust an authority of your own", own)
        }
        _ => failure.or_type("ask it for time without proof", plain),
    }
}
