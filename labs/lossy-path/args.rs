//! The flags of `lossy-path`, and the plan built from them.

use crate::plan::{Layer, Mistake, Plan, PlanFile, Ready, Said, WAYS, links, preset};
use crate::run::End;
use crate::sysctl::Sysctl;
use clap::{
    Arg, ArgAction, ArgMatches, Args as ClapArgs, FromArgMatches, Parser, Subcommand, ValueEnum,
    ValueHint,
};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use wirelab::cli::args::{Common, Output as SharedOutput, Seed};
use wirelab::cli::frame::HasCommon;
use wirelab::cli::mistakes::Elsewhere;
use wirelab::cli::predict::Predict;
use wirelab::cli::run::{RECORDED_MAX, RunsArgs, WRITTEN_MAX, read_text};
use wirelab::cli::topics::Topic;
use wirelab::cli::values::duration;
use wirelab::emulator::topology::FrameMode;
use wirelab::measure::{Ppm, human};
use wirelab::path::{LinkPlan, Word};

const EXAMPLES: &str = "\
Examples:
  lossy-path --loss 2% --delay 40ms -- ping -c 5 b         2 % each way, 80 ms there and back
  lossy-path --preset nyc-london -- ping -c 3 b            a path with a name
  lossy-path --loss gilbert:1%,9% --seed 7 -- ping -c 9 b  bursts, the same ones every time
  lossy-path --rate 20Mbit --b 'iperf3 -s' -- iperf3 -c b  a bottleneck, a server behind it
  lossy-path --a-to-b loss=10% -- ping -c 5 b              one direction alone
  lossy-path --at 'at 1s down for 2s' -- ping -c 5 b       an outage
  lossy-path --localhost --loss 2% -- ping -c 5 127.0.0.1  between programs of one host
  lossy-path doctor                                        what this machine allows

";

/// The pages of `lossy-path help TOPIC`.
pub(crate) fn topics() -> Vec<Topic> {
    vec![
        Topic::flags("path", "every effect of the path, and plan files", MORE_OF_PATH).with(PATH),
        Topic::flags("record", "recordings, replays, captures", RECORD),
        Topic::flags("timing", "exactness, bulk transfers, --strict", TIMING),
        Topic::flags("output", "JSON, events, saved runs", "Output"),
        Topic::flags("hosts", "what programs find on the hosts, kernel settings", HOST_FLAGS)
            .with(HOSTS),
        Topic::text("exit-codes", "what the exit status says", EXIT_CODES),
    ]
}

/// Effects that most runs set; the others are under [`MORE_OF_PATH`].
const FIRST_EFFECTS: [&str; 5] = ["loss", "delay", "rate", "queue", "at"];
const MORE_OF_PATH: &str = "More of the path";
const RECORD: &str = "Repeat and record";
const TIMING: &str = "Timing";

const PATH: &str = "\
Each of these, and --loss, --delay, --rate, --queue and --at, holds for both directions; --a-to-b
and --b-to-a set one direction alone. --print-plan prints all of them as a plan file.
The times of --at, time slots (--key time:…) and rate traces count from the start of the program,
the same in both directions.

A test changes the path under its program: with --control ctl it connects to the Unix socket ctl,
writes a line such as {\"set\": {\"loss\": \"5%\"}}, perhaps with \"direction\": \"a-to-b\",
and reads {\"ok\":true}, or \"error\" and why. Frames that arrive from then on meet the change.
So does `lossy-path set ctl loss=5%`.";

const HOST_FLAGS: &str = "Hosts";

const HOSTS: &str = "\
The program runs on host a, beside host b: the names a and b resolve to 10.0.0.1 and 10.0.0.2,
fd00::1 and fd00::2 (also in WIRELAB_A, WIRELAB_B, WIRELAB_A6, WIRELAB_B6). Nothing else can be
reached. Files, user, directory, environment and streams are yours; its processes see only each
other. Everything made for it vanishes when it ends, with whatever it started.

With --localhost there is host a alone, and its 127.0.0.0/8 is the path: every packet from a to
itself crosses it once, towards the lower port from a to b, back from b to a; echo requests from a
to b. localhost resolves to 127.0.0.1; ::1 and other addresses of a are not impaired, and counted.
Unlike on the real loopback, packets have at most 1,500 bytes and complete checksums.

--sysctl sets what the owner of a network namespace may: buffers (net.ipv4.tcp_rmem, tcp_wmem),
net.ipv4.tcp_sack, tcp_ecn, tcp_mtu_probing and others below net. A fixed --rate with a --delay
whose product the usual buffers cannot hold raises tcp_rmem and tcp_wmem by itself.";

const EXIT_CODES: &str = "\
The program's own, or 128 and the signal that killed it. Of lossy-path itself:
    2  wrong usage
    3  with --strict: the path cannot be trusted
    4  a privilege, a kernel feature, descriptors or disk space are missing
    5  the other end failed
   70  a bug in wirelab
  126  the program cannot be run
  127  there is no such program
  130  interrupted before it started";

/// Any program through an emulated path: loss, delay, rate and more, without root.
///
/// Builds two hosts and a path between them inside this process, runs a program on host a (and
/// another one on host b, with --b), and says at the end what the path really did to every frame.
#[derive(Debug, Parser)]
#[command(name = crate::LAB, version, before_help = EXAMPLES)]
#[command(subcommand_negates_reqs = true)]
#[command(
    override_usage = "lossy-path [OPTIONS] -- PROGRAM [ARGUMENT]...\n       lossy-path COMMAND"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) what: Option<What>,

    #[command(flatten)]
    pub(crate) flags: Flags,

    /// Print the plan as TOML and stop
    #[arg(long, help_heading = MORE_OF_PATH)]
    pub(crate) print_plan: bool,

    /// The program to run, and its arguments
    #[arg(last = true, value_name = "PROGRAM", hide = true)]
    pub(crate) program: Vec<OsString>,

    #[command(flatten)]
    pub(crate) output: Output,
}

impl Args {
    /// The flags of `shell`, which may stand before or behind it.
    ///
    /// # Errors
    /// If they stand in both places.
    pub(crate) fn flags_with<'a>(&'a self, behind: &'a Flags) -> Result<&'a Flags, Mistake> {
        let none = Flags::default();
        match (self.flags == none, *behind == none) {
            (true, _) => Ok(behind),
            (false, true) => Ok(&self.flags),
            (false, false) => Err(Mistake {
                origin: "shell".to_owned(),
                why: "expected flags before it or behind it, got both".to_owned(),
            }),
        }
    }

    /// Refuses flags of a run before a command that has no use for them.
    ///
    /// # Errors
    /// If there are any.
    pub(crate) fn check_flags_of_commands(&self) -> Result<(), Mistake> {
        let unused = match &self.what {
            None => false,
            Some(What::Shell { .. }) => self.print_plan,
            Some(_) => self.print_plan || self.flags != Flags::default(),
        };
        let why = "expected a program behind --, or `shell`, got another command";
        let mistake = || Mistake { origin: "flags of a path".to_owned(), why: why.to_owned() };
        if unused { Err(mistake()) } else { Ok(()) }
    }
}

/// Description of a run.
#[derive(Debug, Default, PartialEq, ClapArgs)]
pub(crate) struct Flags {
    /// Begin with a path that has a name; see `lossy-path presets`
    #[arg(long, value_name = "NAME", help_heading = "Path")]
    preset: Option<String>,

    #[command(flatten)]
    path: PathFlags,

    /// The same for one direction alone, any number: loss=2%, delay=40ms
    #[arg(long, value_name = "NAME=VALUE", value_parser = Said::pair, help_heading = "Path")]
    a_to_b: Vec<(String, String)>,

    /// The same for the other direction
    #[arg(long, value_name = "NAME=VALUE", value_parser = Said::pair, help_heading = "Path")]
    b_to_a: Vec<(String, String)>,

    /// Read the plan from a TOML file; flags override it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = MORE_OF_PATH)]
    plan: Option<PathBuf>,

    /// A command for the shell on host b, started first and stopped at the end
    #[arg(long, value_name = "COMMAND", help_heading = "Other end")]
    b: Option<String>,

    /// It is ready when: listening (any port), PORT, started [default: listening]
    #[arg(long, value_name = "WHEN", help_heading = "Other end")]
    b_ready: Option<Ready>,

    /// Make 127.0.0.1 of host a the path: for programs that talk to each other on one host
    #[arg(long, help_heading = HOST_FLAGS, conflicts_with_all = ["b", "b_ready"])]
    localhost: bool,

    /// A kernel setting of both hosts, any number: net.ipv4.tcp_sack=0; of one: b:net.…
    #[arg(long, value_name = "NAME=VALUE", value_parser = Sysctl::from_str)]
    #[arg(help_heading = HOST_FLAGS)]
    sysctl: Vec<Sysctl>,

    /// Let TCP on both hosts use congestion marks (RFC 3168), for --mark and codel
    #[arg(long, help_heading = HOST_FLAGS)]
    ecn: bool,

    /// TCP's congestion control on both hosts, of those that `doctor` lists
    #[arg(long, value_name = "NAME", help_heading = HOST_FLAGS)]
    congestion_control: Option<String>,

    /// Let `lossy-path set SOCKET loss=5%`, or a test with a JSON line, change the path as it runs
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = MORE_OF_PATH)]
    pub(crate) control: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) seed: Seed,

    #[command(flatten)]
    pub(crate) predict: Predict,

    /// Repeat the fates in a file that --record or an earlier run wrote, instead of drawing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = RECORD, conflicts_with = "seed")]
    pub(crate) fates: Option<PathBuf>,

    /// Write every frame's fate to a file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(help_heading = RECORD)]
    pub(crate) record: Option<PathBuf>,

    /// Write what both hosts sent and got to DIR/a.pcapng and DIR/b.pcapng, lost frames included
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(help_heading = RECORD)]
    pub(crate) capture: Option<PathBuf>,

    /// Busy-wait this long before each deadline: more exact, more processor time
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = TIMING)]
    spin: Option<Duration>,

    /// How hosts hand frames over: mtu, one packet each, as on a wire; or segmented, many at once,
    /// whose fates are decided one by one, for bulk transfers above 500 Mbit/s [default: mtu]
    #[arg(long, value_name = "HOW", help_heading = TIMING)]
    frames: Option<FrameMode>,

    /// Give the router the last processor for itself; programs share the others
    #[arg(long, help_heading = TIMING)]
    own_cpu: bool,

    /// Under sudo, start programs as root and not as the user who typed it
    #[arg(long, help_heading = TIMING)]
    pub(crate) root: bool,

    /// Exit with 3 where the path cannot be trusted, whatever the program says; on a shared machine
    /// --strict=fates asks for true fates alone
    #[arg(long, value_name = "WHAT", value_enum, num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "all", help_heading = TIMING)]
    pub(crate) strict: Option<Strict>,
}

/// Which verdicts `--strict` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Strict {
    /// Fates and timing
    All,
    /// Fates alone
    Fates,
}

/// What the flags set in both directions: a flag for each of [`LinkPlan::words`], and its text.
#[derive(Debug, Default, PartialEq)]
struct PathFlags(Vec<(&'static str, String)>);

impl ClapArgs for PathFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(LinkPlan::words().iter().map(|word| {
            let often = word.name == "at";
            let first = FIRST_EFFECTS.contains(&word.name);
            Arg::new(word.name)
                .long(word.name)
                .value_name(word.value)
                .help(word.help)
                .help_heading(if first { "Path" } else { MORE_OF_PATH })
                .action(if often { ArgAction::Append } else { ArgAction::Set })
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PathFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for Word { name, .. } in LinkPlan::words() {
            let texts = matches.get_many::<String>(name).into_iter().flatten();
            self.0.extend(texts.map(|text| (*name, text.clone())));
        }
        Ok(())
    }
}

/// Output options of every command.
#[derive(Debug, ClapArgs)]
#[group(skip)]
pub(crate) struct Output {
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) common: Common,

    // A heading holds for all that follows.
    #[command(flatten, next_help_heading = "Output")]
    pub(crate) shared: SharedOutput,
}

impl HasCommon for Args {
    fn common(&self) -> &Common {
        &self.output.common
    }
}

/// Words of tc-netem(8), toxiproxy and mahimahi.
pub(crate) const ELSEWHERE: Elsewhere = &[
    ("latency", "use --delay 40ms, one way; both ways together are the round trip"),
    ("rtt", "use --delay with half of it: each way has this delay"),
    ("jitter", "use --delay normal:40ms,5ms, or uniform:40ms,5ms"),
    ("distribution", "use --delay normal:40ms,5ms, pareto:…, or table:FILE"),
    ("bandwidth", "use --rate 20Mbit"),
    ("bw", "use --rate 20Mbit"),
    ("limit", "use --queue 64kB, or 100p for packets"),
    ("packet-loss", "use --loss 2%"),
    ("slot", "use --rate trace:FILE for a link that sends in slots"),
    ("timeout", "use --at 'at 2s down for 3s'"),
    ("uplink", "use --a-to-b rate=20Mbit, or --rate trace:FILE"),
    ("downlink", "use --b-to-a rate=20Mbit, or --rate trace:FILE"),
    ("server", "use --b COMMAND: it runs on host b"),
];

/// The other commands.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Open a shell on one end of the path; `exit` prints the audit
    Shell {
        /// On which end
        #[arg(value_enum, default_value = "a")]
        on: Side,
        #[command(flatten)]
        flags: Box<Flags>,
    },
    /// Change a running path, of a run with --control SOCKET
    #[command(hide = true)]
    Set {
        /// Its socket
        #[arg(value_hint = ValueHint::FilePath)]
        control: PathBuf,
        /// What changes: loss=5% delay=40ms
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = Said::pair)]
        settings: Vec<(String, String)>,
        /// In this direction alone
        #[arg(long, value_parser = WAYS)]
        direction: Option<String>,
    },
    /// Run a program in every cell of a matrix of settings, and say which cells fail
    Sweep(SweepArgs),
    /// List paths with a name, their numbers, and where those come from
    Presets,
    /// Try every step that a run needs, and name the rule that forbids one
    Doctor,
    /// List the runs that were left, or remove old ones
    Runs(RunsArgs),
    /// Print a run's audit again
    Show {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
    },
    /// Run a run's program again through its plan, with its seed
    Replay {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
        /// Start its programs without asking
        #[arg(short, long)]
        yes: bool,
    },
    /// Say in plain words where a figure of a run comes from
    Explain {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
        /// The figure: lost, late, rate, … (a list without it)
        figure: Option<String>,
    },
}

/// A matrix and the program to run in it.
#[derive(Debug, ClapArgs)]
pub(crate) struct SweepArgs {
    /// Settings and their values: 'loss=0%,1%,5% delay=0ms,50ms'; `|` separates values with commas
    #[arg(required = true, value_name = "NAME=VALUE,VALUE")]
    pub(crate) axes: Vec<String>,

    /// Runs of each cell, with consecutive seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) runs: u32,

    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,

    /// Exit with 0 where this share of each cell's runs exited with 0
    #[arg(long, value_name = "SHARE", default_value = "100%", value_parser = parse_share)]
    pub(crate) require: Ppm,

    /// The rest of the plan, as for a run
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,

    /// A command for the shell on host b, as for a run
    #[arg(long, value_name = "COMMAND")]
    pub(crate) b: Option<String>,

    /// Make 127.0.0.1 of host a the path, as for a run
    #[arg(long, conflicts_with = "b")]
    pub(crate) localhost: bool,

    #[command(flatten)]
    pub(crate) seed: Seed,

    /// The program to run, and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

fn parse_share(text: &str) -> Result<Ppm, String> {
    human::parse_share(text).map_err(|error| error.to_string())
}

/// An end, for clap.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Side {
    /// Host a
    #[default]
    A,
    /// Host b
    B,
}

impl From<Side> for End {
    fn from(side: Side) -> Self {
        match side {
            Side::A => Self::A,
            Side::B => Self::B,
        }
    }
}

/// Returns the text of a file that a plan names.
pub(crate) fn read_file(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("expected the name of a file, got none".to_owned());
    }
    read_text(Path::new(name), RECORDED_MAX).map_err(|error| error.to_string())
}

impl Flags {
    /// A seed alone, to rerun an existing plan.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seed: Seed { seed: Some(seed) }, ..Self::default() }
    }

    /// The plan: preset, then file, then flags.
    ///
    /// # Errors
    /// The first mistake, and its origin.
    pub(crate) fn plan(&self) -> Result<Plan, Mistake> {
        let mut file = PlanFile::default();
        if let Some(path) = &self.plan {
            file = read_plan(path)?;
        }
        let mut layers = std::mem::take(&mut file.layers);
        if let Some(name) = &self.preset {
            layers.push(preset(name, "--preset")?);
        }
        layers.push(self.layer());
        let server = self.b.clone().or(file.server);
        let localhost = self.localhost || file.localhost.unwrap_or_default();
        if localhost && server.is_some() {
            return Err(Mistake {
                origin: "localhost".to_owned(),
                why: "expected no program on b: with it there is host a alone".to_owned(),
            });
        }
        Ok(Plan {
            links: links(&layers, &mut read_file)?,
            server,
            ready: self.b_ready.or(file.ready).unwrap_or_default(),
            spin: self.spin.or(file.spin),
            frames: self.frames.or(file.frames).unwrap_or_default(),
            own_cpu: self.own_cpu || file.own_cpu.unwrap_or_default(),
            localhost,
            sysctls: file.sysctls.into_iter().chain(self.sysctls()).collect(),
        })
    }

    /// The flags' kernel settings.
    fn sysctls(&self) -> Vec<Sysctl> {
        let ecn = self.ecn.then(|| Sysctl::both("net.ipv4.tcp_ecn", "1"));
        let control = self.congestion_control.as_ref();
        let control = control.map(|name| Sysctl::both("net.ipv4.tcp_congestion_control", name));
        ecn.into_iter().chain(control).chain(self.sysctl.iter().cloned()).collect()
    }

    /// The flags' settings of the links.
    fn layer(&self) -> Layer {
        let said = |word: &str, text: &str, origin: String| Said {
            word: word.to_owned(),
            text: text.to_owned(),
            origin,
        };
        let flags = self.path.0.iter();
        let both = flags.map(|(word, text)| said(word, text, format!("--{word}"))).collect();
        let way = |pairs: &[(String, String)], name: &str| {
            let one =
                |(word, text): &(String, String)| said(word, text, format!("--{name} {word}="));
            pairs.iter().map(one).collect()
        };
        Layer { both, ways: [way(&self.a_to_b, WAYS[0]), way(&self.b_to_a, WAYS[1])] }
    }
}

fn read_plan(path: &Path) -> Result<PlanFile, Mistake> {
    let name = path.display().to_string();
    let text = read_text(path, WRITTEN_MAX)
        .map_err(|error| Mistake { origin: format!("--plan {name}"), why: error.to_string() })?;
    PlanFile::parse(&name, &text)
}
