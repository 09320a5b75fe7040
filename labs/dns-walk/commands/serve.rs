//! `dns-walk serve` answers other tools by walking; `dns-walk serve-demo` serves the demonstration.

use crate::LAB;
use crate::args::{ELSEWHERE, QminChoice, families, time, variant};
use crate::batch::{BatchConfig, BatchResolver, Stats};
use crate::cache::Cache;
use crate::commands::{log, many};
use crate::demo::Variant;
use crate::dnssec::UnixSeconds;
use crate::driver as net;
use crate::driver::{Front, FrontLimits, Serving};
use crate::event::Record;
use crate::hints::{Hints, PORT};
use crate::resolver::admission::Admission;
use crate::resolver::{Resolver, Served};
use crate::walk::WalkConfig;
use clap::{Command, CommandFactory, Parser, ValueHint};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wirelab::cli::args::{Common, Json, Seed};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::{Exit, table};
use wirelab::cli::frame::{Frame, HasCommon};
use wirelab::cli::lab::say;
use wirelab::cli::listen::{Allow, Beyond};
use wirelab::cli::run::{self as runs, RunsArgs, Stream};
use wirelab::cli::stdout::{self, Pipe};
use wirelab::cli::topics::Topic;
use wirelab::cli::values::{listen, positive, share, time as wait, whole};
use wirelab::measure::Ppm;
use wirelab::measure::human::{count, plural};
use wirelab::runtime::clock::{Clock, utc_seconds};
use wirelab::runtime::shutdown;

const EXAMPLES: &str = "\
Examples:
  dns-walk serve --demo                        a resolver for the hierarchy of the demonstration
  dns-walk serve --demo broken --events -      the same with every fault, each step as NDJSON
  dns-walk serve                               a resolver for the Internet, from the real root

then, elsewhere:
  dig @127.0.0.1 -p 5335 www.igbank.com
  dig @127.0.0.1 -p 5335 +dnssec +tcp www.igbank.com AAAA

";

const REPLIES: &str = "\
What a client gets: answers with RA; AD where the answer is proved and the client asked with AD or
DO; SERVFAIL with an extended error (RFC 8914) where it is bogus or no server answered, and the
bogus answer itself with CD; TC where it is longer than the client takes over UDP; REFUSED for
RD=0, other classes and AXFR; HINFO for ANY (RFC 8482); FORMERR for what cannot be read.
";

/// The pages of `dns-walk serve help TOPIC`.
fn topics() -> Vec<Topic> {
    vec![
        Topic::flags("demo", "loss and delay to the demonstration", "Demonstration"),
        Topic::flags("walks", "how servers are asked, and how often", "Walks"),
        Topic::flags("signatures", "DNSSEC: trust anchors and time", "Signatures"),
        Topic::flags(
            "limits",
            "clients, queries in flight, connections, rate of replies",
            "Limits",
        ),
        Topic::text("replies", "what a client receives", REPLIES),
        Topic::text("exit-codes", "what the exit status says", codes()),
    ]
}

fn codes() -> String {
    table(&[
        (Exit::Holds, "stopped by Ctrl-C or SIGTERM"),
        (Exit::Network, "an address cannot be listened on"),
    ])
}

/// Answer queries of other tools by walking from the root, until Ctrl-C.
///
/// One process, one loop, one cache for all questions, on UDP and TCP, on loopback.
#[derive(Debug, Parser)]
#[command(name = "dns-walk serve", bin_name = "dns-walk serve")]
#[command(before_help = EXAMPLES, after_help = REPLIES)]
struct ServeArgs {
    /// Where to listen over UDP and TCP; may be given more than once; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:5335")]
    #[arg(value_parser = listen(5335))]
    listen: Vec<SocketAddr>,

    #[command(flatten)]
    beyond: Beyond,

    /// Walk in a hierarchy served by this process on loopback: sound or broken [default: sound]
    #[arg(long, value_name = "VARIANT", num_args = 0..=1, default_missing_value = "sound")]
    #[arg(value_parser = hierarchy, conflicts_with = "hints")]
    demo: Option<Variant>,

    /// Packet loss each way between the walks and the servers of --demo
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "demo")]
    #[arg(help_heading = "Demonstration")]
    loss: Option<Ppm>,

    /// One-way delay between the walks and the servers of --demo
    #[arg(long, value_name = "TIME", value_parser = wait(), requires = "demo")]
    #[arg(help_heading = "Demonstration")]
    delay: Option<Duration>,

    /// Begin at the servers of this file: named.root, or lines NAME A ADDRESS:PORT
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    hints: Option<PathBuf>,

    /// Port of servers whose hints name none
    #[arg(short, long, value_name = "N", value_parser = whole(0..=u16::MAX))]
    #[arg(conflicts_with = "demo")]
    #[arg(help_heading = "Walks")]
    port: Option<u16>,

    /// Ask over IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    #[arg(help_heading = "Walks")]
    v4: bool,

    /// Ask over IPv6 only
    #[arg(short = '6')]
    #[arg(help_heading = "Walks")]
    v6: bool,

    /// How much of the name each server sees
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    #[arg(help_heading = "Walks")]
    qmin: QminChoice,

    /// Do not ask the root for its own list of servers (RFC 9609)
    #[arg(long)]
    #[arg(help_heading = "Walks")]
    no_prime: bool,

    /// Do not validate signatures: no answer is bogus, none has AD
    #[arg(long)]
    #[arg(help_heading = "Signatures")]
    no_dnssec: bool,

    /// Trust the DS or DNSKEY records of this file instead of the root's built-in keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = "Signatures")]
    anchor: Option<PathBuf>,

    /// Validate signatures at this time: seconds, YYYY-MM-DD, YYYYMMDDHHMMSS [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    #[arg(help_heading = "Signatures")]
    at: Option<UnixSeconds>,

    /// Questions in flight, at most; more get SERVFAIL [default: 2000]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[arg(help_heading = "Limits")]
    in_flight: Option<u32>,

    /// Queries at one server at a time, at most [default: 100]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[arg(help_heading = "Walks")]
    per_server: Option<u32>,

    /// Queries that one walk may send [default: 100]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[arg(help_heading = "Walks")]
    budget: Option<u32>,

    /// Clients' connections at once; more are closed as they come [default: 256]
    #[arg(long, value_name = "N", value_parser = positive)]
    #[arg(help_heading = "Limits")]
    connections: Option<u32>,

    /// An idle connection of a client is closed after this [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = wait())]
    #[arg(help_heading = "Limits")]
    idle: Option<Duration>,

    /// Write every step of every walk as NDJSON to FILE, or to stdout with -
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    events: Option<PathBuf>,

    /// With --events: the messages themselves (RFC 8427) too
    #[arg(long, requires = "events")]
    messages: bool,

    #[command(flatten)]
    seed: Seed,

    #[command(flatten)]
    common: Common,

    /// Replies a second over UDP to clients beyond this machine, by /24 or /56; more get TC or none
    #[arg(long, value_name = "N", value_parser = positive, default_value_t = 100)]
    #[arg(help_heading = "Limits")]
    rate_limit: u32,

    // A heading holds for all that follows.
    #[command(flatten, next_help_heading = "Limits")]
    allow: Allow,
}

impl HasCommon for ServeArgs {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Leave the hierarchy of the demonstration running for other tools, until Ctrl-C.
///
/// Its servers listen on 127.53.0.0/16, each at an address of its own, and one at ::1 has all of
/// its zones; all at one port, over UDP and TCP.
#[derive(Debug, Parser)]
#[command(name = "dns-walk serve-demo", bin_name = "dns-walk serve-demo")]
#[command(before_help = DEMO_EXAMPLES)]
struct DemoArgs {
    /// sound, or broken with every fault that dns-walk --faults lists
    #[arg(value_name = "VARIANT", default_value = "sound", value_parser = hierarchy)]
    variant: Variant,

    /// Give its servers IPv6 addresses too (fd53::/16)
    #[arg(long)]
    dual: bool,

    /// The port of every server [default: one that is free]
    #[arg(short, long, value_name = "N", value_parser = whole(0..=u16::MAX))]
    port: Option<u16>,

    /// Packet loss each way between the servers and their clients
    #[arg(long, value_name = "SHARE", value_parser = share)]
    loss: Option<Ppm>,

    /// One-way delay between the servers and their clients
    #[arg(long, value_name = "TIME", value_parser = wait())]
    delay: Option<Duration>,

    /// Seed of the losses
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    seed: u64,

    #[command(flatten)]
    common: Common,
}

impl HasCommon for DemoArgs {
    fn common(&self) -> &Common {
        &self.common
    }
}

const DEMO_EXAMPLES: &str = "\
Examples:
  dns-walk serve-demo                          every server sound
  dns-walk serve-demo broken --port 5300       every fault, at a port of your choice

stdout has the hints: `dns-walk NAME --hints FILE` walks there, `dns-walk serve --hints FILE` makes
a resolver of it that delv, drill and unbound-host can ask.

";

fn hierarchy(word: &str) -> Result<Variant, String> {
    variant(word).ok_or_else(|| format!("expected sound or broken, got {word:?}"))
}

/// Runs the command of the first word, if it is one of this file's.
pub(crate) fn start() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    let command = words.next()?;
    let words = std::iter::once(program).chain(words).collect();
    let frame = |args: Command| Frame::new(LAB, args).words(words).elsewhere(ELSEWHERE);
    if command == "serve" {
        let frame = frame(ServeArgs::command()).topics(topics());
        return Some(frame.main(|args: ServeArgs| serve(&args)));
    }
    if command == "runs" {
        return Some(
            frame(RunsCommand::command())
                .main(|args: RunsCommand| runs::list(LAB, &args.runs, args.json.to_stdout())),
        );
    }
    if command == "serve-demo" {
        return Some(frame(DemoArgs::command()).main(|args: DemoArgs| serve_demo(&args)));
    }
    None
}

/// The commands of this file, for the help of the lab.
pub(crate) fn commands() -> [Command; 3] {
    [
        RunsCommand::command().name("runs"),
        ServeArgs::command().name("serve"),
        DemoArgs::command().name("serve-demo"),
    ]
}

/// List the runs that were left, or remove old ones
#[derive(Debug, Parser)]
#[command(name = "dns-walk runs", bin_name = "dns-walk runs")]
struct RunsCommand {
    #[command(flatten)]
    runs: RunsArgs,

    #[command(flatten)]
    json: Json,

    #[command(flatten)]
    common: Common,
}

impl HasCommon for RunsCommand {
    fn common(&self) -> &Common {
        &self.common
    }
}

fn serve(args: &ServeArgs) -> Result<Exit, Failure> {
    let risk = "every host that reaches it may ask, also with a forged address";
    args.beyond.check(&args.listen, risk, &format!("{LAB} serve"))?;
    let seed = args.seed.or_random()?;
    let limits = FrontLimits::default();
    let limits = FrontLimits {
        connections: args.connections.unwrap_or(limits.connections),
        idle: args.idle.unwrap_or(limits.idle),
        ..limits
    };
    let front = Front::listen(&args.listen, limits).map_err(|error| {
        Failure::from_error(Exit::Network, "clients cannot be listened to", &error)
            .or_type("at a port that is free", format!("{LAB} serve --listen 127.0.0.1:0"))
    })?;
    let front = front.admitting(Admission::new(args.allow.clone(), args.rate_limit));
    let (serving, hints) = beginning(args, seed)?;
    let hints = crate::commands::trusting(args.anchor.as_deref(), hints)?;
    let config = fleet_config(args, &hints)?;
    let (walks_max, fixed_time) = (config.in_flight, args.at.is_some());
    let fleet = BatchResolver::new(config, hints, seed, Cache::default());
    announce(args, seed, &front)?;
    let resolver = run(args, front, Resolver::new(fleet, walks_max), fixed_time)?;
    drop(serving);
    stdout::complain(&summary(&resolver.served(), &resolver.fleet().stats()));
    Ok(Exit::Holds)
}

/// The loopback address of IPv6; there is but one.
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn serve_demo(args: &DemoArgs) -> Result<Exit, Failure> {
    let fail = |error: io::Error| {
        Failure::from_error(Exit::Network, "the demonstration cannot be served on loopback", &error)
            .or_type("at a port of your choice", format!("{LAB} serve-demo --port 5300"))
    };
    let mut authority = crate::commands::authority(args.variant, args.dual)?;
    let roots = authority.hints(0);
    let has_v6 = UdpSocket::bind((LOOPBACK_V6, 0)).is_ok();
    if has_v6 {
        authority.add_host_of_all(LOOPBACK_V6);
    }
    let plan = crate::commands::link(args.loss, args.delay.unwrap_or_default());
    let (stopper, mut stopped) = shutdown::pair().map_err(fail)?;
    stopper.on_signals().map_err(fail)?;
    let serving = net::serve(authority, args.port, &plan, args.seed).map_err(fail)?;
    let port = serving.port();
    let six = if has_v6 {
        format!("{LAB}:   dig @::1 -p {port} www.igbank.com       every zone, over IPv6\n")
    } else {
        format!("{LAB}:   (this machine has no ::1, so no server is there)\n")
    };
    stdout::complain(&format!(
        "{LAB}: serving until Ctrl-C; the lines on stdout are hints for {LAB} --hints FILE\n\
         {LAB}: other tools ask one server each, as a walk does:\n\
         {LAB}:   dig @127.53.2.1 -p {port} +norec www.igbank.com\n\
         {LAB}:   drill -p {port} @127.53.2.1 www.igbank.com\n{six}\
         {LAB}: to ask as a resolver's client (dig, delv, drill, unbound-host):\n\
         {LAB}:   {LAB} serve --hints FILE\n"
    ));
    say(&Hints { port, ..roots }.text())?;
    serving.until(&mut stopped).map_err(fail)?;
    Ok(Exit::Holds)
}

/// The hints of walks, and the servers of `--demo`.
fn beginning(args: &ServeArgs, seed: u64) -> Result<(Option<Serving>, Hints), Failure> {
    let Some(variant) = args.demo else {
        let port = args.port.unwrap_or(PORT);
        return Ok((None, crate::commands::read_hints(args.hints.as_deref(), port)?));
    };
    let link = crate::commands::link(args.loss, args.delay.unwrap_or_default());
    let (serving, roots) =
        crate::commands::served(crate::commands::authority(variant, args.v6)?, &link, seed)?;
    Ok((Some(serving), roots))
}

fn fleet_config(args: &ServeArgs, hints: &Hints) -> Result<BatchConfig, Failure> {
    let usual = BatchConfig::default();
    let reachable = if args.demo.is_some() { [true, false] } else { net::families(hints) };
    let (v4, v6, left_out) = families((args.v4, args.v6), reachable);
    let offline = args.demo.is_some() || args.hints.is_some();
    let mut walk = WalkConfig {
        qmin: args.qmin.into(),
        v4,
        v6,
        left_out,
        prime: !args.no_prime,
        // A private hierarchy may have every name.
        special_names: !offline,
        public_only: !offline,
        summary_only: args.events.is_none(),
        messages: args.messages,
        ..usual.walk
    };
    let now = || UnixSeconds(utc_seconds());
    walk.validate_at = (!args.no_dnssec).then(|| args.at.unwrap_or_else(now));
    walk.limits.queries = args.budget.unwrap_or(walk.limits.queries);
    walk.secret = if args.demo.is_none() { Some(crate::commands::secret()?) } else { None };
    Ok(BatchConfig {
        walk,
        in_flight: args.in_flight.unwrap_or(usual.in_flight),
        per_server: args.per_server.unwrap_or(usual.per_server),
    })
}

/// Prints the listening addresses on stdout: a script can wait for them.
fn announce(args: &ServeArgs, seed: u64, front: &Front) -> Result<(), Failure> {
    let lines: String = front.addresses().iter().map(|at| format!("listening {at}\n")).collect();
    if args.events.as_ref().is_some_and(|file| file.as_os_str() == "-") {
        stdout::complain(&lines);
    } else {
        say(&lines)?;
    }
    let example = front.addresses().first().map(|at| dig(at.ip(), at.port()));
    stdout::complain(&format!(
        "{LAB}: seed {seed}\n{LAB}: answering until Ctrl-C; for example: {} www.igbank.com\n",
        example.unwrap_or_default()
    ));
    Ok(())
}

/// How `dig` is pointed at a server.
pub(crate) fn dig(at: IpAddr, port: u16) -> String {
    format!("dig @{at} -p {port}")
}

fn run(
    args: &ServeArgs,
    front: Front,
    resolver: Resolver,
    fixed_time: bool,
) -> Result<Resolver, Failure> {
    let fail = |error: io::Error| Failure::from_error(Exit::Bug, "serving ended", &error);
    let (stopper, mut stopped) = shutdown::pair().map_err(fail)?;
    stopper.on_signals().map_err(fail)?;
    let mut events = writer(args)?;
    let resolver = front
        .run(resolver, Clock::start(), &mut stopped, fixed_time, |number, record: &Record| {
            log::record(record);
            let Some(events) = &mut events else { return Ok(()) };
            serde_json::to_writer(&mut *events, &many::Told { line: number, record })?;
            events.write_all(b"\n")?;
            events.flush()
        })
        .map_err(fail)?;
    Ok(resolver)
}

/// Where the records of the walks go.
fn writer(args: &ServeArgs) -> Result<Option<Box<dyn Write>>, Failure> {
    let Some(file) = &args.events else { return Ok(None) };
    if file.as_os_str() == "-" {
        return Ok(Some(Box::new(Pipe::new(BufWriter::new(io::stdout())))));
    }
    let made = Stream::open(file).map_err(|error| {
        Failure::from_error(Exit::Usage, format!("cannot write {}", file.display()), &error)
    })?;
    Ok(Some(Box::new(BufWriter::new(made))))
}

fn summary(served: &Served, stats: &Stats) -> String {
    let Served { tcp, no_error, nx_domain, serv_fail, bogus, failed_before, .. } = served;
    let Served { over_limit, refused, malformed, any, authentic, truncated, .. } = served;
    let mut out = format!(
        "{LAB}: {} over UDP, {} over TCP: {} answered, {} without such a name, {} failed ({} \
         bogus, {} failed before, {} too many at once), {} refused, {} malformed, {} ANY; {} \
         authenticated, {} truncated\n",
        plural(served.udp, "question", "questions"),
        count(*tcp),
        count(*no_error),
        count(*nx_domain),
        count(*serv_fail),
        count(*bogus),
        count(*failed_before),
        count(*over_limit),
        count(*refused),
        count(*malformed),
        count(*any),
        count(*authentic),
        count(*truncated),
    );
    out += &format!(
        "{LAB}: {}, {}, {} repeated, {} without a reply; {} not sent because another was in \
         flight, {} held back to spare a server; at most {} at once\n",
        plural(stats.asked - stats.twins, "walk", "walks"),
        plural(stats.queries, "query", "queries"),
        count(stats.retries),
        count(stats.unanswered),
        count(stats.coalesced),
        count(stats.held),
        plural(stats.in_flight_max, "walk", "walks"),
    );
    if served.rate_limited > 0 {
        let limited = plural(served.rate_limited, "query", "queries");
        out +=
            &format!("{LAB}: {limited} beyond the rate of replies: half got TC, half no reply\n");
    }
    if served.ignored > 0 {
        out += &format!(
            "{LAB}: {} no query and got no reply\n",
            plural(served.ignored, "datagram was", "datagrams were")
        );
    }
    out
}
