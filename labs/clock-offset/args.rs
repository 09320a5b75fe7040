//! The flags of `clock-offset`, and what they ask for.

use crate::causality::MESSAGES_MAX;
use crate::client::{BURST, BURST_INTERVAL, ClientConfig, INTERVAL};
use crate::drift::DriftLimit;
use crate::estimate::Estimator;
use crate::packet::{Leap, VERSION, VERSION_3};
use crate::scenario::{Falseticker, RandomWalkFm, Scenario, Sleep, Smear, Step, Truth, Way};
use clap::{Arg, Args as Flags, Parser, Subcommand, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use wirelab::cli::args::{Common, Json, Output, Seed};
use wirelab::cli::exit::{Exit, table};
use wirelab::cli::frame::HasCommon;
use wirelab::cli::listen::Beyond;
use wirelab::cli::mistakes::Elsewhere;
use wirelab::cli::predict::Predict;
use wirelab::cli::run::RunsArgs;
use wirelab::cli::topics::Topic;
use wirelab::cli::values::{Time, duration, listen, positive, share, time, time_within, whole};
use wirelab::measure::{Instant, Ppm, human};

/// A test runs every line of these.
const EXAMPLES: &str = "\
Examples:
  clock-offset --demo                          a server in this process, wrong by 500 ms and known
  clock-offset --demo --explain                one exchange: four timestamps, two lines of sums
  clock-offset --demo --delay-out 30ms         an unequal path: the estimate is wrong, the bound not
  clock-offset --demo --interleaved            each reply reports when the previous one left
  clock-offset --sim --requests 64 --seed 7    the same in virtual time: bit-identical by seed
  clock-offset --sim --step 80ms@9s            a server that is set while it is asked
  clock-offset --sim --host-step 80ms@9s       this host is set instead: its own clocks show it
  clock-offset serve --offset 2s               be a server that is 2 s ahead, on this host only
  clock-offset 127.0.0.1:11123 --within 10ms   ask a server: 8 requests, 2 s apart
  clock-offset show                            print the last run again; its folder has a report
  clock-offset --demo --nts                    authenticated replies (RFC 8915)
  clock-offset order --offset 8ms --seed 1     received before it was sent? wall clocks and causes

";

/// The pages of `clock-offset help TOPIC`.
pub(crate) fn topics() -> Vec<Topic> {
    vec![
        Topic::flags("servers", "how to name a server, and how often it is asked", ASKING)
            .with(SERVERS),
        Topic::flags("path", "the simulated server and its path", PATH),
        Topic::flags("clocks", "clocks that are set, slewed or sleep (--sim)", CLOCKS),
        Topic::flags("estimate", "estimators, the drift limit, --within", ESTIMATE)
            .with(PLUS_MINUS),
        Topic::flags("nts", "authenticated time (RFC 8915)", NTS),
        Topic::flags("output", "JSON, events, samples, the run folder", OUTPUT),
        Topic::text("exit-codes", "what the exit status says", exit_codes()),
    ]
}

const ASKING: &str = "Asking";
const PATH: &str = "Simulated server and path (--demo, --sim, serve, order)";
const CLOCKS: &str = "Simulated clock events (--sim; no real clock is ever set)";
const ESTIMATE: &str = "Estimate";
const NTS: &str = "Authentication";
const OUTPUT: &str = "Output";

const SERVERS: &str = "\
A server is NAME, ADDRESS, NAME:PORT or [IPV6]:PORT; the port is 123 unless given. A link-local
address has a zone: fe80::1%eth0 or [fe80::1%2]:123. Addresses of a name are tried side by side.
With nts:// before it the server is authenticated (RFC 8915); keys come from port 4460.
A server gets 8 requests 2 s apart, then one every 64 s; fewer if it replies RATE, none after DENY.
Only servers named on the command line are asked. The clock is never set.";

const PLUS_MINUS: &str = "\
The interval holds whatever the path did, while neither clock was set and their rates differ by at
most --max-drift. The estimate assumes that both ways take equally long; 68 % of repeated runs on
the same path lie within its ±, if queues are exponential. It says nothing of asymmetry, nor of a
rate that wanders by less than the queues hide.";

/// Meaning of this lab's exit codes.
fn exit_codes() -> String {
    table(&[
        (Exit::Holds, "there is an offset, and an interval it must lie in"),
        // It proves no claim that could fail.
        (Exit::Fails, ""),
        (
            Exit::Inconclusive,
            "servers or samples contradict each other, or the interval is wider than --within",
        ),
        (Exit::Network, "no reply that could be believed"),
        (Exit::Interrupted, "interrupted; what came before is printed"),
    ])
}

/// Words of other NTP tools and of emulators.
pub(crate) const ELSEWHERE: Elsewhere = &[
    ("latency", "use --delay-out TIME and --delay-back TIME"),
    ("delay", "use --delay-out TIME and --delay-back TIME"),
    ("rtt", "use --delay-out TIME and --delay-back TIME: each way has its own"),
    ("jitter", "use --jitter-out TIME and --jitter-back TIME"),
    ("bandwidth", "this path has no bottleneck; lossy-path --rate 20Mbit has"),
    ("rate", "this path has no bottleneck; lossy-path --rate 20Mbit has"),
    ("server", "name it alone: clock-offset 127.0.0.1:11123"),
    ("host", "name it alone: clock-offset 127.0.0.1:11123"),
    ("port", "write it behind the server: 127.0.0.1:11123; of serve: --listen 127.0.0.1:11123"),
    ("count", "use --requests N"),
    ("samples-count", "use --requests N"),
    ("skew", "use --drift PPM"),
];

/// Flags of a run are not those of every command; how to print is.
fn of_this_command(arg: Arg) -> Arg {
    let everywhere = ["color", "verbose"].iter().any(|name| arg.get_id() == name);
    if everywhere { arg } else { arg.global(false) }
}

/// How wrong is this clock, between which bounds, and how do you know?
///
/// Asks NTP servers and reports this host's clock offset as an estimate, which assumes a symmetric
/// path, and as an interval, which assumes nothing of the path. Never sets the clock.
#[derive(Debug, Parser)]
#[command(name = crate::LAB, version, before_help = EXAMPLES)]
// Commands that leave no run take no flags for one.
#[command(mut_args(of_this_command))]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<What>,

    /// NAME, ADDRESS or NAME:PORT; nts:// before it authenticates
    #[arg(value_name = "SERVER", value_hint = ValueHint::Hostname)]
    pub(crate) servers: Vec<String>,

    /// Ask a server inside this process, whose error is known
    #[arg(long, conflicts_with_all = ["servers", "from"])]
    pub(crate) demo: bool,

    /// The demonstration in virtual time: no socket, bit-identical by seed
    #[arg(long, conflicts_with_all = ["servers", "from", "watch"])]
    pub(crate) sim: bool,

    /// With --demo: real packets over the emulated path between two network namespaces
    #[arg(long, requires = "demo", conflicts_with = "nts")]
    pub(crate) kernel: bool,

    /// Evaluate saved samples instead of asking: a file, or the run's folder
    #[arg(long, value_name = "FILE", value_hint = ValueHint::AnyPath, conflicts_with = "servers")]
    pub(crate) from: Option<PathBuf>,

    /// Accept only authenticated replies: as nts:// before each server
    #[arg(long, conflicts_with_all = ["sim", "from"], help_heading = NTS)]
    pub(crate) nts: bool,

    /// Trust the authorities of this file (PEM) [default: the system's]
    #[arg(long, help_heading = NTS, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) nts_ca: Option<PathBuf>,

    /// Ignore the dates of certificates: chain, name and keys still count
    #[arg(long, help_heading = NTS)]
    pub(crate) nts_any_date: bool,

    /// Interleaved mode (RFC 9769): each reply reports when the one before it left
    #[arg(long, conflicts_with = "from")]
    pub(crate) interleaved: bool,

    /// Ask every address of a name, each with a vote of its own [default: the first that replies]
    #[arg(long, help_heading = ASKING, conflicts_with = "nts")]
    pub(crate) all_addresses: bool,

    /// Wait so long for a reply
    #[arg(long, help_heading = ASKING, value_name = "TIME", default_value = "2s")]
    #[arg(value_parser = interval())]
    pub(crate) timeout: Duration,

    /// Ask in this version of NTP, 4 or 3; replies in both are accepted
    #[arg(long, help_heading = ASKING, value_name = "N", default_value = "4")]
    #[arg(value_parser = version, conflicts_with = "nts")]
    pub(crate) ntp_version: u8,

    /// Requests to each server [default: 8]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) requests: Option<u32>,

    /// Time between requests; below 2s on this host only [default: 2s, after 8 requests 64s]
    #[arg(long, value_name = "TIME", value_parser = interval())]
    pub(crate) interval: Option<Duration>,

    /// Go on until Ctrl-C, with a line for every reply
    #[arg(long)]
    pub(crate) watch: bool,

    /// How to estimate: likelihood, hull, intersection, min-delay, weighted, regression,
    /// clock-filter, cristian, last, mean [default: likelihood; intersection below 3 samples]
    #[arg(long, value_name = "NAME", value_parser = estimator, help_heading = ESTIMATE)]
    pub(crate) estimator: Option<Estimator>,

    /// Limit of the clocks' rate difference; the interval rests on it
    #[arg(long, value_name = "PPM", default_value = "100ppm", value_parser = drift_limit)]
    #[arg(help_heading = ESTIMATE)]
    pub(crate) max_drift: DriftLimit,

    /// Exit with 3 if half the width of the interval is more than this
    #[arg(long, value_name = "TIME", value_parser = time())]
    pub(crate) within: Option<Duration>,

    /// Show the shortest exchange: its four timestamps and what they prove
    #[arg(long)]
    pub(crate) explain: bool,

    /// Save every sample, one line of JSON each
    #[arg(long, help_heading = OUTPUT, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) samples: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) predict: Predict,

    #[command(flatten)]
    pub(crate) common: Common,

    // A heading holds for all that follows.
    #[command(flatten, next_help_heading = OUTPUT)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) played: Played,

    #[command(flatten)]
    pub(crate) host: Happening,
}

impl HasCommon for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The other commands.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Run an NTP server with a simulated clock and path, until Ctrl-C
    Serve(Serve),
    /// Print a run again
    Show {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
        #[command(flatten)]
        json: Json,
    },
    /// List saved runs, or remove old ones
    Runs {
        #[command(flatten)]
        runs: RunsArgs,
        #[command(flatten)]
        json: Json,
    },
    /// Print the time as an interval, by the last run: two numbers of seconds since 1970
    Now {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
    },
    /// Exchange messages between two hosts: how often do their clocks contradict the cause?
    Order(Order),
}

/// What this host's clock does in virtual time, and how rates wander: no real clock is ever set.
#[derive(Clone, Debug, Flags)]
#[command(next_help_heading = CLOCKS)]
pub(crate) struct Happening {
    /// This host's clock is set: 80ms@5s is forward by 80 ms, 5 s after the start
    #[arg(long, value_name = "TIME@TIME", value_parser = step, value_delimiter = ',')]
    #[arg(allow_hyphen_values = true, requires = "sim")]
    pub(crate) host_step: Vec<Step>,

    /// This host's kernel slews its clock: 1ms@4s..9s is forward by 1 ms over 5 s
    #[arg(long, value_name = "TIME@TIME..TIME", value_parser = smear, value_delimiter = ',')]
    #[arg(allow_hyphen_values = true, requires = "sim")]
    pub(crate) host_slew: Vec<Smear>,

    /// This host sleeps: 1h@5s is for an hour, 5 s after the start
    #[arg(long, value_name = "TIME@TIME", value_parser = sleep, value_delimiter = ',')]
    #[arg(requires = "sim")]
    host_sleep: Vec<Sleep>,

    /// The server's rate walks: every second by a normal draw of this deviation, such as 0.01ppm
    #[arg(long, value_name = "PPM", value_parser = wander, requires = "sim")]
    wander: Option<u32>,
}

impl Happening {
    /// Times at which this host sleeps.
    pub(crate) fn sleeps(&self) -> Vec<Sleep> {
        self.host_sleep.clone()
    }

    /// The scenario with the wander of this seed.
    pub(crate) fn over(&self, mut scenario: Scenario, seed: u64) -> Scenario {
        let wander = |ppb_per_root_s| RandomWalkFm { ppb_per_root_s, seed };
        scenario.truth.wander = self.wander.map(wander);
        scenario
    }
}

/// `order`.
#[derive(Debug, Flags)]
pub(crate) struct Order {
    /// Messages in all, every other one from each host
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = whole(1..=MESSAGES_MAX))]
    pub(crate) messages: u32,

    /// Send real packets through the emulated path, each stamped as it comes and goes
    #[arg(long)]
    pub(crate) kernel: bool,

    /// From one message to the next
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = interval())]
    pub(crate) every: Duration,

    #[command(flatten)]
    pub(crate) json: Json,

    /// B's clock, and the path between A and B.
    #[command(flatten)]
    pub(crate) played: Played,
}

/// `serve`.
#[derive(Debug, Flags)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11123")]
    #[arg(value_parser = listen(11_123))]
    pub(crate) listen: SocketAddr,

    /// Beyond loopback.
    #[command(flatten)]
    pub(crate) beyond: Beyond,

    /// Print two lines of JSON: where it listens, and what was counted
    #[arg(long)]
    pub(crate) json: bool,

    /// The clock and the path.
    #[command(flatten)]
    pub(crate) played: Played,
}

/// Options of the simulated clock error and path asymmetry.
#[derive(Clone, Debug, Flags)]
#[command(next_help_heading = PATH)]
pub(crate) struct Played {
    /// The server's clock is ahead by this [default: 500ms; order: 8ms; serve: 0]
    #[arg(long, value_name = "TIME", value_parser = signed, allow_hyphen_values = true)]
    offset: Option<i64>,

    /// The server's clock is faster by this [default: 20ppm; order, serve: 0]
    #[arg(long, value_name = "PPM", value_parser = drift, allow_hyphen_values = true)]
    drift: Option<i64>,

    /// Delay from client to server [default: 15ms; serve: 0]
    #[arg(long, value_name = "TIME", value_parser = way_time())]
    delay_out: Option<Duration>,

    /// Delay from server to client [default: 5ms; serve: 0]
    #[arg(long, value_name = "TIME", value_parser = way_time())]
    delay_back: Option<Duration>,

    /// What queues add to the server, on average (exponential) [default: 1ms; serve: 0]
    #[arg(long, value_name = "TIME", value_parser = way_time())]
    jitter_out: Option<Duration>,

    /// What queues add on the way back [default: 1ms; serve: 0]
    #[arg(long, value_name = "TIME", value_parser = way_time())]
    jitter_back: Option<Duration>,

    /// Chance that a packet is lost, each way
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0")]
    loss: Ppm,

    /// The server's clock jumps: 80ms@5s is by 80 ms, 5 s after the start
    #[arg(long, value_name = "TIME@TIME", value_parser = step, value_delimiter = ',')]
    #[arg(allow_hyphen_values = true)]
    step: Vec<Step>,

    /// The server's clock is moved evenly, as a leap second is smeared: 1ms@2s..12s
    #[arg(long, value_name = "TIME@TIME..TIME", value_parser = smear, value_delimiter = ',')]
    #[arg(allow_hyphen_values = true)]
    smear: Vec<Smear>,

    /// Some replies lie: 40ms:25% shifts a quarter of them by 40 ms
    #[arg(long, value_name = "TIME:SHARE", value_parser = lie, allow_hyphen_values = true)]
    lie: Option<Falseticker>,

    /// What the server says of leap seconds: none, insert, delete or unsynchronized
    #[arg(long, value_name = "WHAT", value_parser = leap, default_value = "none")]
    leap: Leap,

    /// Seed of delays, losses and lies.
    #[command(flatten)]
    pub(crate) seed: Seed,
}

impl Played {
    /// The scenario of the demonstration: wrong by half a second, faster out than back by 10 ms.
    pub(crate) fn demo(&self) -> Scenario {
        let ms = Duration::from_millis;
        self.over(500_000_000, 20_000, [ms(15), ms(5), ms(1), ms(1)])
    }

    /// The scenario of two hosts: 8 ms apart, between what the two ways take.
    pub(crate) fn order(&self) -> Scenario {
        let ms = Duration::from_millis;
        self.over(8_000_000, 0, [ms(15), ms(5), ms(1), ms(1)])
    }

    /// The scenario of a server that is right by default.
    pub(crate) fn serve(&self) -> Scenario {
        self.over(0, 0, [Duration::ZERO; 4])
    }

    fn over(&self, offset_ns: i64, drift_ppb: i64, delays: [Duration; 4]) -> Scenario {
        let [out, back, queue_out, queue_back] = delays;
        let way = |delay: Option<Duration>, usual, jitter: Option<Duration>, queue| Way {
            delay: delay.unwrap_or(usual),
            jitter: jitter.unwrap_or(queue),
            loss: self.loss,
        };
        Scenario {
            truth: Truth {
                offset_ns: self.offset.unwrap_or(offset_ns),
                drift_ppb: self.drift.unwrap_or(drift_ppb),
                steps: self.step.clone(),
                smears: self.smear.clone(),
                wander: None,
            },
            out: way(self.delay_out, out, self.jitter_out, queue_out),
            back: way(self.delay_back, back, self.jitter_back, queue_back),
            lie: self.lie,
            leap: self.leap,
        }
    }
}

/// Time between requests of a demonstration: its server is ours to ask.
const DEMO_INTERVAL: Duration = Duration::from_millis(100);
/// Time between requests in virtual time, which costs none.
const SIM_INTERVAL: Duration = Duration::from_secs(2);

impl Args {
    /// How to ask.
    pub(crate) fn config(&self) -> ClientConfig {
        let own = if self.sim { SIM_INTERVAL } else { DEMO_INTERVAL };
        let usual = if self.demo || self.sim { own } else { BURST_INTERVAL };
        let every = self.interval.unwrap_or(usual);
        let slow = if self.interval.is_some() || self.demo || self.sim { every } else { INTERVAL };
        ClientConfig {
            requests: if self.watch { self.requests } else { Some(self.requests.unwrap_or(BURST)) },
            burst: BURST,
            burst_interval: every,
            interval: slow,
            timeout: self.timeout,
            interleaved: self.interleaved,
            version: self.ntp_version,
        }
    }
}

fn estimator(text: &str) -> Result<Estimator, String> {
    Estimator::ALL.into_iter().find(|e| e.name() == text).ok_or_else(|| {
        format!("expected one of {}", Estimator::ALL.map(Estimator::name).join(", "))
    })
}

/// A millisecond: a thousand requests a second ask for no more.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

const fn interval() -> Time {
    time_within(INTERVAL_MIN..=Duration::MAX)
}

/// Longer than any path: a reply may come after its request was given up.
const WAY_MAX: Duration = Duration::from_secs(10);

fn version(text: &str) -> Result<u8, String> {
    text.parse()
        .ok()
        .filter(|version| matches!(*version, VERSION_3 | VERSION))
        .ok_or_else(|| format!("expected 3 or 4, got {text:?}"))
}

const fn way_time() -> Time {
    time_within(Duration::ZERO..=WAY_MAX)
}

/// Largest offset, step or lie: ten years, far from where eras meet.
const SHIFT_MAX_NS: i64 = 10 * 365 * 86_400 * 1_000_000_000;

fn signed(text: &str) -> Result<i64, String> {
    let (sign, size) = sign_of(text);
    let nanos = i64::try_from(duration(size)?.as_nanos()).ok();
    let nanos = nanos.filter(|nanos| *nanos <= SHIFT_MAX_NS);
    let nanos = nanos.ok_or_else(|| format!("expected at most ten years, got {text:?}"))?;
    Ok(sign * nanos)
}

fn sign_of(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Parts per billion; at most 10 %.
fn parts(text: &str) -> Result<i64, String> {
    let wrong =
        || format!("expected a drift such as 50ppm or 0.5ppm, at most 100000ppm, got {text:?}");
    let number = text.strip_suffix("ppm").map(str::trim).ok_or_else(wrong)?;
    // A duration in microseconds has as many nanoseconds as ppm have ppb.
    let nanos = human::parse_duration(&format!("{number}us")).map_err(|_| wrong())?.as_nanos();
    i64::try_from(nanos).ok().filter(|ppb| *ppb <= 100_000_000).ok_or_else(wrong)
}

fn drift(text: &str) -> Result<i64, String> {
    let (sign, size) = sign_of(text);
    Ok(sign * parts(size)?)
}

fn wander(text: &str) -> Result<u32, String> {
    u32::try_from(parts(text)?).map_err(|_| "out of range".to_owned())
}

fn drift_limit(text: &str) -> Result<DriftLimit, String> {
    let ppb = parts(text)?;
    u32::try_from(ppb).ok().and_then(DriftLimit::from_ppb).ok_or_else(|| "out of range".to_owned())
}

fn step(text: &str) -> Result<Step, String> {
    let (by, at) = text.split_once('@').ok_or("expected TIME@TIME, such as 80ms@5s")?;
    let at = Instant::ZERO + duration(at)?;
    Ok(Step { at, by_ns: signed(by)? })
}

fn sleep(text: &str) -> Result<Sleep, String> {
    let (lasts, at) = text.split_once('@').ok_or("expected TIME@TIME, such as 1h@5s")?;
    let for_ns = i64::try_from(duration(lasts)?.as_nanos()).map_err(|_| "too long")?;
    Ok(Sleep { at: Instant::ZERO + duration(at)?, for_ns, error_ns: 0 })
}

fn smear(text: &str) -> Result<Smear, String> {
    let wrong = || format!("expected TIME@TIME..TIME, such as 1ms@2s..12s, got {text:?}");
    let (by, span) = text.split_once('@').ok_or_else(wrong)?;
    let (from, until) = span.split_once("..").ok_or_else(wrong)?;
    let (from, until) = (duration(from)?, duration(until)?);
    if until <= from {
        return Err(wrong());
    }
    let (from, until) = (Instant::ZERO + from, Instant::ZERO + until);
    Ok(Smear { from, until, by_ns: signed(by)? })
}

fn lie(text: &str) -> Result<Falseticker, String> {
    let (by, chance) = text.split_once(':').ok_or("expected TIME:SHARE, such as 40ms:25%")?;
    Ok(Falseticker { by_ns: signed(by)?, share: share(chance)? })
}

fn leap(text: &str) -> Result<Leap, String> {
    match text {
        "none" => Ok(Leap::None),
        "insert" => Ok(Leap::Insert),
        "delete" => Ok(Leap::Delete),
        "unsynchronized" => Ok(Leap::Unsynchronized),
        _ => Err("expected none, insert, delete or unsynchronized".to_owned()),
    }
}
