//! The flags of `dns-walk`, and the question they ask.

use crate::commands::compare::take_servers;
use crate::demo::{JUDGED, Variant};
use crate::dnssec::UnixSeconds;
use crate::event::{Qmin, Side, SkipReason};
use crate::text::{Question, kind_of};
use crate::walk::WalkConfig;
use crate::{Name, RecordType};
use clap::{Parser, ValueEnum, ValueHint};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use wirelab::cli::args::{Common, Output, Seed};
use wirelab::cli::exit::{Exit, table};
use wirelab::cli::frame::HasCommon;
use wirelab::cli::mistakes::Elsewhere;
use wirelab::cli::predict::Predict;
use wirelab::cli::topics::Topic;
use wirelab::cli::values::{positive, share, time as wait, whole};
use wirelab::measure::Ppm;

/// A test runs every line of these that needs no Internet.
const EXAMPLES: &str = "\
Examples:
  dns-walk www.igbank.com --demo                      three referrals, with no network at all
  dns-walk www.igbank.com --demo broken --check       a dead server, one that refuses, a mismatch
  dns-walk www.igbank.com --demo broken --all         every server of every zone, outcome by share
  dns-walk shop.igbank.com --demo --explain           every step in a sentence, with its RFC
  dns-walk www.igbank.com --demo broken --loss 10%    the same through packet loss
  dns-walk show --sequence                            the last run again, as a diagram
  dns-walk --faults                                   what is wrong in --demo broken, by name
  dns-walk www.example.com AAAA                       the real thing, from the real root
  dns-walk -x 192.0.2.1 --qmin off                    a reverse name, whole to every server
  dns-walk - --demo < names                           every line of a file: NAME, or NAME TYPE

";

/// The pages of `dns-walk help TOPIC`.
pub(crate) fn topics() -> Vec<Topic> {
    vec![
        Topic::flags("demo", "the hierarchy on loopback: faults, loss, delay", "Demonstration"),
        Topic::text("hints", "what a file of --hints may say", HINTS),
        Topic::flags("queries", "how servers are asked, and how often", "Queries"),
        Topic::flags("signatures", "DNSSEC: trust anchors and time", "Signatures"),
        Topic::flags("compare", "the same question to other resolvers", "Comparison").with(COMPARE),
        Topic::flags("lists", "thousands of names from stdin", "Lists").with(LISTS),
        Topic::flags("output", "diagrams, JSON, events, saved runs", "Output"),
        Topic::text("exit-codes", "what the exit status says", codes()),
    ]
}

const HINTS: &str = "\
A file of --hints is IANA's named.root, or lines like these; ; begins a comment:
  a.root. 3600 IN A 192.0.2.1         a server of the root; TTL and IN may be left out
  b.root. AAAA [2001:db8::1]:5300     a port given here holds for this server alone
  $PORT 5300                          the port of every server that has none of its own, those of
                                      the zones below the root too; it overrides -p
  $PORT 192.0.2.7 5301                the port of this one address, wherever a walk meets it
  . DS 20326 8 2 E06D44B8...          a trust anchor: a DS or DNSKEY record; with none, nothing is
                                      validated
NS records of the root are read over: what has an address here serves the root.
";

const COMPARE: &str = "\
With @SERVER, that server is asked the same after the walk; with --compare, the system's resolver.
What differs is printed with its likely cause. The exit code is the walk's.";

const LISTS: &str = "\
`dns-walk -` walks for each line NAME or NAME TYPE of stdin, thousands at a time, and prints one
JSON result per line.";

/// The exit codes of a walk, then those of a list.
fn codes() -> String {
    let walk = table(&[
        (Exit::Holds, "the records asked for were found"),
        (Exit::Fails, "the name does not exist, or has no such record"),
        (
            Exit::Inconclusive,
            "inconclusive: servers replied and none helped, an alias loop, or a limit was reached",
        ),
        (Exit::Network, "no server of a zone could be reached"),
        (Exit::Bogus, Exit::Bogus.about()),
        (Exit::Interrupted, "interrupted; the walk so far is printed"),
    ]);
    walk + LIST_CODES
}

const LIST_CODES: &str = "
Of a list (dns-walk -), the first that applies:
  130  interrupted
    2  a line could not be read; the others have their results
    0  every name was found, or does not exist
    5  no name was found, and no server could be reached for any
    3  some names are inconclusive; each result says why
";

/// Every step of a name's resolution, and why: from the root to the answer.
///
/// Walks as a resolver does, without one: shows each query, reply, retry and what was learned.
/// NAME and TYPE are as in dig; TYPE is A unless given.
#[derive(Debug, Parser)]
#[command(name = crate::LAB, version, before_help = EXAMPLES)]
// Its commands have flags of their own.
#[command(mut_args(|arg| arg.global(false)))]
#[command(mut_arg("json", |arg| arg.conflicts_with_all(["explain", "waterfall", "sequence"])))]
pub(crate) struct Args {
    /// The name, the type where it is not A, and servers to compare the walk with
    #[arg(value_name = "NAME [TYPE] [@SERVER]", num_args = 0..=8)]
    pub(crate) words: Vec<String>,

    /// Servers of the `@SERVER` arguments.
    #[arg(skip)]
    pub(crate) servers: Vec<SocketAddr>,

    /// The type, as in dig
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,

    /// Ask for the name of an address
    #[arg(short = 'x', long, value_name = "ADDRESS")]
    pub(crate) reverse: Option<IpAddr>,

    /// Walk in a hierarchy served by this process on loopback: sound or broken [default: sound]
    #[arg(long, value_name = "VARIANT", num_args = 0..=1, default_missing_value = "sound")]
    #[arg(conflicts_with = "hints")]
    pub(crate) demo: Option<String>,

    /// Give the servers of --demo IPv6 addresses too (fd53::/16)
    #[arg(long, requires = "demo", help_heading = "Demonstration")]
    pub(crate) dual: bool,

    /// Virtual time: no sockets, bit-identical by seed
    #[arg(long, requires = "demo")]
    pub(crate) sim: bool,

    /// Packet loss each way between the walk and the servers of --demo
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "demo")]
    #[arg(help_heading = "Demonstration")]
    pub(crate) loss: Option<Ppm>,

    /// One-way delay between the walk and the servers of --demo
    #[arg(long, value_name = "TIME", value_parser = wait(), requires = "demo")]
    #[arg(help_heading = "Demonstration")]
    pub(crate) delay: Option<Duration>,

    /// List the faults of --demo broken, and stop
    #[arg(long, help_heading = "Demonstration")]
    pub(crate) faults: bool,

    /// Start at the servers of this file: named.root, or lines NAME A ADDRESS:PORT
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) hints: Option<PathBuf>,

    /// Port of servers whose hints name none
    #[arg(short, long, value_name = "N", value_parser = whole(0..=u16::MAX))]
    #[arg(conflicts_with = "demo", help_heading = "Queries")]
    pub(crate) port: Option<u16>,

    /// Ask over IPv4 only
    #[arg(short = '4', conflicts_with = "v6", help_heading = "Queries")]
    pub(crate) v4: bool,

    /// Ask over IPv6 only; with --demo, implies --dual
    #[arg(short = '6', help_heading = "Queries")]
    pub(crate) v6: bool,

    /// How much of the name each server sees
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Queries")]
    pub(crate) qmin: QminChoice,

    /// Ask everything over TCP
    #[arg(long, help_heading = "Queries")]
    pub(crate) tcp: bool,

    /// Do not ask the root for its own list of servers beside the first question (RFC 9609)
    #[arg(long, help_heading = "Queries")]
    pub(crate) no_prime: bool,

    /// Send queries without EDNS
    #[arg(long, help_heading = "Queries")]
    pub(crate) no_edns: bool,

    /// Send queries without cookies
    #[arg(long, help_heading = "Queries")]
    pub(crate) no_cookies: bool,

    /// Send names in lower case, without random case bits (0x20)
    #[arg(long, help_heading = "Queries")]
    pub(crate) no_random_case: bool,

    /// Neither ask for signatures nor validate them
    #[arg(long, help_heading = "Signatures")]
    pub(crate) no_dnssec: bool,

    /// Trust the DS or DNSKEY records of this file instead of the root's built-in keys
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Signatures")]
    pub(crate) anchor: Option<PathBuf>,

    /// Validate signatures at this time: seconds, YYYY-MM-DD, YYYYMMDDHHMMSS [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Signatures")]
    pub(crate) at: Option<UnixSeconds>,

    /// After the answer, ask every server of the zones on the way the same
    #[arg(long)]
    pub(crate) check: bool,

    /// Ask every server of every zone, the root's too: how often is each outcome met?
    #[arg(long)]
    pub(crate) all: bool,

    /// Walk a second time with what the first walk learned
    #[arg(long, help_heading = "Queries")]
    pub(crate) warm: bool,

    /// Walk one side of each delegation, or both apart: the servers that the zone above names, or
    /// those that the zone names itself
    #[arg(long, value_name = "SIDE", value_enum, help_heading = "Queries")]
    #[arg(conflicts_with = "warm")]
    pub(crate) side: Option<SideChoice>,

    /// Queries that the walk may send [default: 100]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Queries")]
    pub(crate) budget: Option<u32>,

    /// Ask even for special-use names, such as .local (RFC 6761)
    #[arg(long, help_heading = "Queries")]
    pub(crate) special_names: bool,

    /// A sentence for every step
    #[arg(long)]
    pub(crate) explain: bool,

    /// A bar for every query on one axis of time
    #[arg(long, help_heading = "Output")]
    pub(crate) waterfall: bool,

    /// A sequence diagram: each query and its reply
    #[arg(long, help_heading = "Output")]
    pub(crate) sequence: bool,

    /// Show a saved walk again: an events.ndjson, or the folder of a run; nothing is sent
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    #[arg(conflicts_with_all = ["demo", "hints", "reverse", "kind", "seed"])]
    #[arg(help_heading = "Output")]
    pub(crate) replay: Option<PathBuf>,

    /// Leave the messages themselves (RFC 8427) out of the records
    #[arg(long, help_heading = "Output")]
    pub(crate) no_messages: bool,

    /// Beyond the demonstration, IDs, case bits and cookies of queries come from the system.
    #[command(flatten)]
    pub(crate) seed: Seed,

    #[command(flatten)]
    pub(crate) predict: Predict,

    #[command(flatten)]
    pub(crate) common: Common,

    // A heading holds for all that follows.
    #[command(flatten, next_help_heading = "Comparison")]
    pub(crate) opinion: crate::commands::compare::OpinionArgs,

    #[command(flatten, next_help_heading = "Output")]
    pub(crate) output: Output,

    #[command(flatten, next_help_heading = "Lists")]
    pub(crate) many: crate::commands::many::ManyArgs,
}

impl HasCommon for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// Words of dig(1), drill(1) and emulators.
pub(crate) const ELSEWHERE: Elsewhere = &[
    ("latency", "use --delay TIME, one way, with --demo"),
    ("rtt", "use --delay TIME with half of it, with --demo"),
    (
        "jitter",
        "the demonstration's delay is constant; lossy-path --delay normal:40ms,5ms varies it",
    ),
    ("bandwidth", "the demonstration has no bottleneck; lossy-path --rate 20Mbit has"),
    ("rate", "the demonstration has no bottleneck; lossy-path --rate 20Mbit has"),
    ("trace", "every walk is a trace; --explain puts each step into a sentence"),
    ("server", "write @ADDRESS to compare the walk with a server"),
    ("resolver", "write @ADDRESS to compare the walk with a server"),
    ("timeout", "each server has its own, from its round trips; --budget N limits the queries"),
    ("short", "use --json for programs"),
];

/// `--qmin`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum QminChoice {
    /// The whole name to every server, as dig
    Off,
    /// One more label at a time; the whole name to servers that mishandle it
    #[default]
    Relaxed,
    /// One label more at a time
    Strict,
}

impl From<QminChoice> for Qmin {
    fn from(choice: QminChoice) -> Self {
        match choice {
            QminChoice::Off => Self::Off,
            QminChoice::Relaxed => Self::Relaxed,
            QminChoice::Strict => Self::Strict,
        }
    }
}

/// `--side`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SideChoice {
    /// The servers that the zone above names
    Parent,
    /// The servers that the zone names itself
    Child,
    /// One walk of each, and which side is wrong
    Both,
}

impl SideChoice {
    /// The sides that are walked, in order.
    pub(crate) const fn sides(self) -> &'static [Side] {
        match self {
            Self::Parent => &[Side::Parent],
            Self::Child => &[Side::Child],
            Self::Both => &[Side::Parent, Side::Child],
        }
    }
}

impl Args {
    /// `--demo` takes a value or none, so a NAME or TYPE after it may have been taken for it.
    ///
    /// # Errors
    /// Fails if the word is meant as a variant that does not exist.
    pub(crate) fn untangle(&mut self) -> Result<(), String> {
        self.servers = take_servers(&mut self.words)?;
        let Some(word) = self.demo.clone() else { return Ok(()) };
        if word.starts_with('@') {
            self.demo = Some("sound".to_owned());
            self.servers.extend(take_servers(&mut vec![word])?);
            return Ok(());
        }
        if variant(&word).is_some() {
            return Ok(());
        }
        let has_name = self.words.first().is_some_and(|first| record_type(first).is_err());
        let at = if has_name && record_type(&word).is_ok() {
            self.words.len()
        } else if !has_name && word.contains('.') {
            0
        } else {
            let names: Vec<&str> = VARIANTS.iter().map(|(name, _)| *name).collect();
            return Err(format!("expected --demo {}, got {word:?}", names.join(" or ")));
        };
        self.demo = Some("sound".to_owned());
        self.words.insert(at, word);
        Ok(())
    }

    /// The hierarchy to serve, if any.
    pub(crate) fn variant(&self) -> Option<Variant> {
        self.demo.as_deref().and_then(variant)
    }

    /// The question.
    ///
    /// # Errors
    /// Fails if that is not a name and a type.
    pub(crate) fn question(&self) -> Result<Question, String> {
        let (name, second) = match (self.reverse, self.words.as_slice()) {
            (Some(address), []) => {
                let kind = self.kind.as_deref().unwrap_or("PTR");
                return Ok(Question::new(Name::from(address), record_type(kind)?));
            }
            (Some(_), [word, ..]) => {
                return Err(format!("expected -x ADDRESS alone, got {word:?} too"));
            }
            (None, [name]) => (name, None),
            (None, [name, kind]) => (name, Some(kind.as_str())),
            (None, []) => return Err("expected NAME [TYPE], got nothing".to_owned()),
            (None, words) => return Err(format!("expected NAME [TYPE], got {words:?}")),
        };
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Err(format!(
                "expected a domain name, got the address {address}; for its name type -x {address}"
            ));
        }
        let parsed = domain_name(name)?;
        if second.is_some() && self.kind.is_some() {
            return Err(format!("expected one TYPE, got {} and -t", second.unwrap_or_default()));
        }
        let kind = second.or(self.kind.as_deref()).unwrap_or("A");
        Ok(Question::new(parsed, record_type(kind)?))
    }

    /// Whether the servers of the demonstration have addresses of both families.
    pub(crate) const fn is_dual(&self) -> bool {
        self.dual || self.v6
    }

    /// The time at which signatures are validated; virtual time has a fixed day.
    fn judged_at(&self) -> UnixSeconds {
        let now = || UnixSeconds(wirelab::runtime::clock::utc_seconds());
        self.at.unwrap_or_else(|| if self.sim { JUDGED } else { now() })
    }

    /// How to walk.
    ///
    /// `reachable`: whether this host has a way to servers over IPv4, and over IPv6.
    pub(crate) fn config(&self, reachable: [bool; 2]) -> WalkConfig {
        let (v4, v6, left_out) = families((self.v4, self.v6), reachable);
        let own = self.demo.is_some() || self.hints.is_some();
        let mut config = WalkConfig {
            qmin: self.qmin.into(),
            v4,
            v6,
            left_out,
            random_case: !self.no_random_case,
            edns: !self.no_edns,
            cookies: !self.no_cookies,
            tcp: self.tcp,
            prime: !self.no_prime,
            // A private hierarchy may have every name.
            special_names: !own && !self.special_names,
            public_only: !own,
            check: self.check,
            all: self.all,
            messages: !self.no_messages,
            validate_at: (!self.no_dnssec).then(|| self.judged_at()),
            ..WalkConfig::default()
        };
        config.limits.queries =
            self.budget.unwrap_or(if self.all { SURVEY_QUERIES } else { config.limits.queries });
        config
    }
}

/// Which families servers are asked over: the one that is wanted (`-4`, `-6`), or each that this
/// host can reach. Where it can reach none, IPv4 will show why.
pub(crate) const fn families(
    (only_v4, only_v6): (bool, bool),
    [reach_v4, reach_v6]: [bool; 2],
) -> (bool, bool, SkipReason) {
    match (only_v4, only_v6) {
        (true, _) => (true, false, SkipReason::NotWanted),
        (_, true) => (false, true, SkipReason::NotWanted),
        _ => (reach_v4 || !reach_v6, reach_v6, SkipReason::NoRoute),
    }
}

/// Queries of a walk with `--all`: three to each of 13 servers of three zones with both addresses
/// are 234; as many again for an alias.
const SURVEY_QUERIES: u32 = 468;

/// Hierarchies by their names.
const VARIANTS: [(&str, Variant); 2] = [("sound", Variant::Sound), ("broken", Variant::Broken)];

/// A time of `--at`.
pub(crate) fn time(text: &str) -> Result<UnixSeconds, String> {
    let expected = "expected seconds since 1970, YYYY-MM-DD or YYYYMMDDHHMMSS, in UTC";
    UnixSeconds::parse(text).ok_or_else(|| expected.to_owned())
}

/// A hierarchy by its name.
pub(crate) fn variant(word: &str) -> Option<Variant> {
    VARIANTS.iter().find(|(name, _)| *name == word).map(|(_, variant)| *variant)
}

/// The host of a URL, such as `https://igbank.com/x` or `igbank.com/x`.
///
/// A slash alone makes no URL: names of reverse zones may have one (RFC 2317).
fn host_of_url(text: &str) -> Option<&str> {
    let rest = match text.split_once("://") {
        Some((_, rest)) => rest,
        None => {
            let (host, path) = text.split_once('/')?;
            if !host.contains('.') || path.contains(".arpa") {
                return None;
            }
            text
        }
    };
    let host = rest.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    Some(host.split_once(':').map_or(host, |(host, _)| host))
}

/// A name, in whatever script.
pub(crate) fn domain_name(text: &str) -> Result<Name, String> {
    if let Some(host) = host_of_url(text) {
        return Err(format!("expected a domain name, got {text:?}; did you mean {host}?"));
    }
    Name::from_str_relaxed(text).map_err(|error| {
        let empty = text.starts_with('.') || text.contains("..");
        let why = if empty { "a label is empty".to_owned() } else { error.to_string() };
        // Some errors have a place for what came, and nothing in it; nothing was decoded here.
        let why = why.trim_end_matches([':', ' ']).trim_start_matches("decoding error: ");
        format!("expected a domain name, got {text:?}: {why}")
    })
}

/// Types by name, or by number as `TYPE65`.
pub(crate) fn record_type(text: &str) -> Result<RecordType, String> {
    let kind = kind_of(text).ok_or_else(|| {
        format!("expected a record type such as A, AAAA, MX, TXT or TYPE65, got {text:?}")
    })?;
    // These are not questions to a zone's servers (RFC 1035 §3.2.3, RFC 6891 §6.1).
    if matches!(kind, RecordType::AXFR | RecordType::IXFR | RecordType::OPT | RecordType::TSIG) {
        return Err(format!("expected the type of a record, got {text:?}"));
    }
    Ok(kind)
}
