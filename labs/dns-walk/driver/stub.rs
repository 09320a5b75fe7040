//! Queries other resolvers for comparison: the system's stub resolver, or a server of the user.
//!
//! A walk gets none of its data from here, and the traffic stays that of a few `dig` calls.

use super::{framed, whole};
use crate::comparison::{AnswerOutcome, AskedResolver, ResolverAnswer};
use crate::question::{self, Reply, UDP_PAYLOAD, rcode_text};
use crate::text::{self, RecordText};
use crate::text::{Question, name_text, record_text};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use hickory_resolver::Resolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;
use wirelab::measure::{Instant, nanos};
use wirelab::runtime::clock::Clock;

/// Timeouts of UDP attempts at a named server: `dig` makes three of 5 s, but a server that takes 3
/// s is useless.
const PATIENCE: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];
/// Timeout of a TCP connection to it, and of each read.
const PATIENCE_TCP: Duration = Duration::from_secs(3);
/// Limit of the system's timeout: resolv.conf(5) has a default of 5 s.
const SYSTEM_PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Limit of the system's attempts: resolv.conf(5) has a default of 2.
const SYSTEM_ATTEMPTS_MAX: usize = 3;
/// Largest datagram (RFC 768).
const DATAGRAM: usize = 65_535;

/// The system's stub resolver, as configured.
#[derive(Debug)]
pub struct System {
    config: ResolverConfig,
    options: ResolverOpts,
    servers: Vec<SocketAddr>,
}

impl System {
    /// Parses a `resolv.conf`; its servers listen at `port`.
    ///
    /// # Errors
    /// Fails if it names no server, or is malformed.
    pub fn parse(resolv_conf: &str, port: u16) -> io::Result<Self> {
        let (config, options) = parse_resolv_conf(resolv_conf).map_err(io::Error::other)?;
        let (_, _, mut servers) = config.into_parts();
        for connection in servers.iter_mut().flat_map(|server| &mut server.connections) {
            connection.port = port;
        }
        let places = servers.iter().map(|server| SocketAddr::new(server.ip, port)).collect();
        let mut options = options;
        // Only the DNS: no hosts file, no cache, no other names.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.preserve_intermediates = true;
        options.edns0 = true;
        options.timeout = options.timeout.min(SYSTEM_PATIENCE_MAX);
        options.attempts = options.attempts.min(SYSTEM_ATTEMPTS_MAX);
        // No search list: the name is absolute.
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        Ok(Self { config, options, servers: places })
    }

    /// Queries it.
    ///
    /// # Errors
    /// Fails if the process cannot wait for it.
    pub fn ask(self, question: &Question) -> io::Result<ResolverAnswer> {
        let clock = Clock::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Self { config, options, servers } = self;
        let looked_up = runtime.block_on(async {
            let provider = TokioRuntimeProvider::default();
            let builder = Resolver::builder_with_config(config, provider).with_options(options);
            builder.build()?.lookup(question.name.clone(), question.kind).await
        });
        let who = AskedResolver::System { servers };
        let mut opinion = match &looked_up {
            // Without AD in the query, the AD of the reply has no meaning.
            Ok(lookup) => {
                ResolverAnswer { authentic: None, ..read(who, question, lookup.message()) }
            }
            Err(error) => failed(who, error),
        };
        opinion.elapsed_ns = nanos(clock.now().since(Instant::ZERO));
        Ok(opinion)
    }
}

/// The system resolver's answer without records.
fn failed(who: AskedResolver, error: &NetError) -> ResolverAnswer {
    let code = |code: ResponseCode| AnswerOutcome::Error { rcode: rcode_text(code) };
    let mut absent_in = None;
    let said = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            absent_in = none.soa.as_ref().map(|soa| name_text(&soa.name));
            match none.response_code {
                ResponseCode::NoError => AnswerOutcome::NoData,
                ResponseCode::NXDomain => AnswerOutcome::NxDomain,
                other => code(other),
            }
        }
        NetError::Dns(DnsError::ResponseCode(other)) => code(*other),
        other => AnswerOutcome::Nothing { why: text::printable(&other.to_string()) },
    };
    ResolverAnswer { absent_in, ..nothing(who, said) }
}

const fn nothing(who: AskedResolver, said: AnswerOutcome) -> ResolverAnswer {
    ResolverAnswer {
        who,
        said,
        aliases: Vec::new(),
        answers: Vec::new(),
        absent_in: None,
        authoritative: false,
        authentic: None,
        errors: Vec::new(),
        elapsed_ns: 0,
    }
}

/// Queries a server as `dig` does: with RD and AD set, three times over UDP, then over TCP if the
/// reply was truncated.
#[must_use]
pub fn ask_server(address: SocketAddr, question: &Question, id: u16) -> ResolverAnswer {
    let clock = Clock::start();
    let who = AskedResolver::Server { address };
    let reply = query(id, question)
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the name cannot be sent"))
        .and_then(|query| over_udp(address, &query));
    let mut opinion = match reply {
        Ok(message) => read(who, question, &message),
        Err(error) => {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "no reply came".to_owned(),
                _ => super::words(&error),
            };
            nothing(who, AnswerOutcome::Nothing { why })
        }
    };
    opinion.elapsed_ns = nanos(clock.now().since(Instant::ZERO));
    opinion
}

fn query(id: u16, question: &Question) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.add_query(Query::query(question.name.clone(), question.kind));
    message.set_edns(Edns::new().set_max_payload(UDP_PAYLOAD).clone());
    message.to_vec().ok()
}

fn over_udp(address: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let any = if address.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let clock = Clock::start();
    let mut buffer = vec![0; DATAGRAM];
    let mut last = io::Error::from(ErrorKind::TimedOut);
    for patience in PATIENCE {
        let end = clock.now() + patience;
        socket.send(query)?;
        loop {
            let left = end.since(clock.now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) => match question::check(query, &buffer[..length], false) {
                    Ok(Reply::Message(message)) if message.metadata.truncation => {
                        return over_tcp(address, query);
                    }
                    Ok(Reply::Message(message)) => return Ok(*message),
                    Ok(Reply::Malformed(why)) => last = io::Error::other(why),
                    Ok(Reply::CaseLost) | Err(_) => {}
                },
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(last)
}

fn over_tcp(address: SocketAddr, query: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE_TCP)?;
    stream.set_read_timeout(Some(PATIENCE_TCP))?;
    stream.set_write_timeout(Some(PATIENCE_TCP))?;
    stream.write_all(&framed(query))?;
    let (mut got, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(message) = whole(&mut got) {
            let reply = question::check(query, &message, false);
            return match reply {
                Ok(Reply::Message(message)) => Ok(*message),
                Ok(Reply::Malformed(why)) => Err(io::Error::other(why)),
                Ok(Reply::CaseLost) => Err(io::Error::other("the name came back changed")),
                Err(why) => Err(io::Error::other(why.words())),
            };
        }
        match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => got.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Reads a reply for a comparison.
fn read(who: AskedResolver, question: &Question, message: &Message) -> ResolverAnswer {
    let is_alias = |record: &&Record| {
        matches!(record.record_type(), RecordType::CNAME | RecordType::DNAME)
            && record.record_type() != question.kind
    };
    let is_answer = |record: &&Record| {
        record.record_type() == question.kind || question.kind == RecordType::ANY
    };
    let texts = |wanted: &dyn Fn(&&Record) -> bool| -> Vec<RecordText> {
        message.answers.iter().filter(|record| wanted(record)).map(record_text).collect()
    };
    let answers = texts(&is_answer);
    let owner_of = |kind| {
        let record = message.authorities.iter().find(|record| record.record_type() == kind);
        record.map(|record| name_text(&record.name))
    };
    let meta = &message.metadata;
    let absent_in = owner_of(RecordType::SOA);
    let said = match meta.response_code {
        ResponseCode::NoError if !answers.is_empty() => AnswerOutcome::Answer,
        // A server of a parent zone, not a resolver.
        ResponseCode::NoError
            if !meta.authoritative && absent_in.is_none() && owner_of(RecordType::NS).is_some() =>
        {
            AnswerOutcome::Error { rcode: "a referral".to_owned() }
        }
        ResponseCode::NoError => AnswerOutcome::NoData,
        ResponseCode::NXDomain => AnswerOutcome::NxDomain,
        other => AnswerOutcome::Error { rcode: rcode_text(other) },
    };
    ResolverAnswer {
        who,
        said,
        aliases: texts(&is_alias),
        answers,
        absent_in,
        authoritative: meta.authoritative,
        authentic: Some(meta.authentic_data),
        errors: question::edns(message).map(|edns| edns.errors).unwrap_or_default(),
        elapsed_ns: 0,
    }
}
