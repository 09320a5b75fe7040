//! `--compare` and `@SERVER`: after the walk, the same question to other resolvers.

use crate::args::Args;
use crate::comparison::ResolverAnswer;
use crate::cross_check::compare;
use crate::driver::{System, ask_server};
use crate::event::{Event, Record, VERSION};
use crate::hints::PORT;
use crate::outcome::Outcome;
use crate::report::summary;
use crate::text::Question;
use clap::{Args as ClapArgs, ValueHint};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::run::{WRITTEN_MAX, read_text};
use wirelab::cli::seed;
use wirelab::cli::values::whole;

/// Where systems keep the servers of their stub resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Flags of a comparison.
#[derive(Debug, ClapArgs)]
pub(crate) struct OpinionArgs {
    /// After the walk, ask the system's stub resolver the same, and show what differs and why
    #[arg(long, conflicts_with_all = ["sim", "replay"])]
    pub(crate) compare: bool,

    /// File with the servers of the system's stub resolver [default: /etc/resolv.conf]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "compare")]
    pub(crate) resolv_conf: Option<PathBuf>,

    /// Port of those servers [default: 53]
    #[arg(long, value_name = "N", requires = "compare", value_parser = whole(1..=u16::MAX))]
    pub(crate) resolver_port: Option<u16>,
}

/// Resolvers to ask after the walk.
pub(crate) struct Others {
    system: Option<System>,
    servers: Vec<SocketAddr>,
}

/// Takes words such as `@192.0.2.1`, `@[2001:db8::1]:5353` out of the command line.
///
/// # Errors
/// Fails if one is not an address.
pub(crate) fn take_servers(words: &mut Vec<String>) -> Result<Vec<SocketAddr>, String> {
    let mut servers = Vec::new();
    for word in words.iter().filter_map(|word| word.strip_prefix('@')) {
        let alone = || word.trim_matches(['[', ']']).parse::<IpAddr>();
        let server = word.parse().or_else(|_| alone().map(|address| (address, PORT).into()));
        servers.push(server.map_err(|_| {
            format!("expected @ADDRESS or @ADDRESS:PORT such as @192.0.2.1:53, got @{word}")
        })?);
    }
    words.retain(|word| !word.starts_with('@'));
    Ok(servers)
}

/// Reads the resolvers to ask, before anything is sent.
///
/// # Errors
/// Fails if the system's configuration cannot be read.
pub(crate) fn prepare(args: &Args) -> Result<Others, Failure> {
    let servers = args.servers.clone();
    if !servers.is_empty() && (args.sim || args.replay.is_some()) {
        return Err(Failure::new(Exit::Usage, "nothing was asked")
            .because("a server can be asked after a walk on real sockets only"));
    }
    let flags = &args.opinion;
    let file = flags.resolv_conf.clone().unwrap_or_else(|| RESOLV_CONF.into());
    let read = || {
        let text = read_text(&file, WRITTEN_MAX)?;
        System::parse(&text, flags.resolver_port.unwrap_or(PORT))
    };
    let system = flags.compare.then(read).transpose().map_err(|error| {
        let what = format!("the system's resolver cannot be found in {}", file.display());
        Failure::from_error(Exit::Usage, what, &error)
            .or_type("to compare with one server", "NAME @ADDRESS")
    })?;
    Ok(Others { system, servers })
}

impl Others {
    /// Asks all of them, and adds their replies to the records of the last walk.
    ///
    /// # Errors
    /// Fails if the process cannot wait for the system's resolver.
    pub(crate) fn ask(self, question: &Question, walks: &mut [Vec<Record>]) -> Result<(), Failure> {
        let Some(records) = walks.last_mut() else { return Ok(()) };
        let Some(end) = summary(records).cloned() else { return Ok(()) };
        if end.outcome == Outcome::Interrupted {
            return Ok(());
        }
        let mut at = records.last().map(|record| record.t_ns).unwrap_or_default();
        let mut tell = |opinion: ResolverAnswer| {
            at += std::time::Duration::from_nanos(opinion.elapsed_ns);
            let event = Event::Comparison(Box::new(compare(&end, opinion)));
            records.push(Record { v: VERSION, t_ns: at, event });
        };
        if let Some(system) = self.system {
            let opinion = system.ask(question).map_err(|error| {
                Failure::from_error(Exit::Bug, "the system's resolver was not asked", &error)
            })?;
            tell(opinion);
        }
        // A forger must guess the number and the port, which the kernel draws (RFC 5452).
        for server in self.servers {
            let number = seed::secret().map_err(|error| seed::no_random(&error))?;
            tell(ask_server(server, question, u16::from_le_bytes(number)));
        }
        Ok(())
    }
}
