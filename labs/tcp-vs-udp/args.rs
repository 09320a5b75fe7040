//! The flags of `tcp-vs-udp`, and the plan they make.

use crate::arms::Arm;
use crate::plan::{Plan, PlanError};
use clap::{Parser, Subcommand, ValueHint};
use std::path::PathBuf;
use std::time::Duration;
use wirelab::cli::args::{Common, Output, Seed};
use wirelab::cli::exit;
use wirelab::cli::frame::HasCommon;
use wirelab::cli::mistakes::Elsewhere;
use wirelab::cli::predict::Predict;
use wirelab::cli::run::RunsArgs;
use wirelab::cli::topics::Topic;
use wirelab::cli::values::{positive, share, time, whole};
use wirelab::measure::Ppm;

const EXAMPLES: &str = "\
Examples:
  tcp-vs-udp                                   the default comparison, about a minute
  tcp-vs-udp --loss 2% --depth 1 --ops 1000    one loss rate, a few seconds
  tcp-vs-udp --arms tcp,udp-once --rtt 80ms    two arms over a longer path
  tcp-vs-udp --arm udp-once --arm b=udp:retry=fixed/40ms,delivery=once --loss 5%
  tcp-vs-udp --sim --seed 7                    virtual time: no privilege, bit-identical
  tcp-vs-udp show                              print the last run again

";

/// The same bank requests over TCP and over UDP through the same packet loss, compared.
///
/// Builds a path between two hosts inside this process (user and network namespaces, no root),
/// sends bank requests over the kernel's own TCP and UDP, loses packets as told, and says who was
/// faster, by how much, and why.
#[derive(Debug, Parser)]
#[command(name = crate::LAB, version, before_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<What>,

    /// Loss rates, each way, one stage each: 0,1%,2% [default: 0,1%,2%,5%,10%]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = share)]
    pub(crate) loss: Option<Vec<Ppm>>,

    /// Round-trip time of the path [default: 20ms]
    #[arg(long, value_name = "TIME", value_parser = time())]
    pub(crate) rtt: Option<Duration>,

    /// One-way delay of the path: half of --rtt
    #[arg(long, help_heading = "Path", value_name = "TIME", value_parser = time())]
    #[arg(conflicts_with = "rtt")]
    pub(crate) delay: Option<Duration>,

    /// Chance that a packet is delivered twice, each way [default: 0]
    #[arg(long, help_heading = "Path", value_name = "SHARE", value_parser = share)]
    pub(crate) duplicate: Option<Ppm>,

    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_arm)]
    #[arg(help = arms_help())]
    pub(crate) arms: Option<Vec<Arm>>,

    /// One more arm, [NAME=]KIND[:key=value,…]; instead of the default ones without --arms
    #[arg(long, value_name = "LINE", value_parser = Arm::parse)]
    pub(crate) arm: Vec<Arm>,

    /// Requests per lane and loss rate, at most [default: 4000]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) ops: Option<u32>,

    /// Repetitions of each loss rate, which share --ops; intervals cover them [default: 3]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) repetitions: Option<u32>,

    /// Requests each client keeps outstanding, one lane each [default: 1,8]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = positive)]
    pub(crate) depth: Option<Vec<u32>>,

    /// Requests each lane keeps outstanding, over all its clients [default: 16]
    #[arg(long, help_heading = "Load", value_name = "N", value_parser = positive)]
    pub(crate) outstanding: Option<u32>,

    /// Time in which the requests of a loss rate start, over its repetitions [default: 5s]
    #[arg(long, help_heading = "Load", value_name = "TIME", value_parser = time())]
    pub(crate) stage_limit: Option<Duration>,

    /// Abandon a request after this: its outcome is then unknown [default: 3s]
    #[arg(long, help_heading = "Load", value_name = "TIME", value_parser = time())]
    pub(crate) deadline: Option<Duration>,

    /// The same for an arm that never retries [default: ten round trips]
    #[arg(long, help_heading = "Load", value_name = "TIME", value_parser = time())]
    pub(crate) patience: Option<Duration>,

    /// Retransmission-timeout floor of tcp-tuned [default: 20ms]
    #[arg(long, help_heading = "Arms", value_name = "TIME", value_parser = time())]
    pub(crate) tuned_rto_min: Option<Duration>,

    /// Congestion control of TCP arms that name none [default: cubic]
    #[arg(long, help_heading = "Arms", value_name = "NAME")]
    pub(crate) congestion_control: Option<String>,

    /// Frames kept per lane and loss rate in the captures [default: 800]
    #[arg(long, help_heading = "Load", value_name = "N", value_parser = whole(0..=u32::MAX))]
    pub(crate) capture: Option<u32>,

    /// Read the plan from a TOML file; flags override it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) plan: Option<PathBuf>,

    /// Print the plan as TOML and stop
    #[arg(long)]
    pub(crate) print_plan: bool,

    #[command(flatten)]
    pub(crate) seed: Seed,

    /// Virtual time: UDP arms only, no privilege, bit-identical by seed
    #[arg(long)]
    pub(crate) sim: bool,

    #[command(flatten)]
    pub(crate) predict: Predict,

    #[command(flatten)]
    pub(crate) output: Output,

    #[command(flatten)]
    pub(crate) common: Common,
}

impl HasCommon for Args {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The pages of `tcp-vs-udp help TOPIC`.
pub(crate) fn topics() -> Vec<Topic> {
    vec![
        Topic::flags("arms", "what is compared, and how to describe an arm", "Arms").with(ARMS),
        Topic::flags("path", "delay and duplicates", "Path"),
        Topic::flags("load", "outstanding requests, deadlines, captures", "Load"),
        Topic::text("verdicts", "what faster, level and cannot tell mean", VERDICTS),
        Topic::text("exit-codes", "what the exit status says", exit::table(&[])),
    ]
}

const ARMS: &str = "\
An arm is [NAME=]KIND[:key=value,…]. KIND is tcp, udp, or one of the names below, whose settings
the keys override. Give --arm as often as you like; two arms with the same settings and different
names test the verdicts themselves.

  tcp:nodelay=on|off       TCP_NODELAY at both ends
  tcp:rto_min=TIME|tuned   floor of the retransmission timeout; tuned is --tuned-rto-min
  tcp:connect=once|request one connection per client, or per request
  tcp:cc=NAME              congestion control, as the kernel names it
  tcp:quickack=on|off      TCP_QUICKACK of the client, set once when it connects
  tcp:user_timeout=TIME    TCP_USER_TIMEOUT at both ends
  tcp:tfo=on|off           TCP fast open at both ends (RFC 7413), for connect=request
  udp:retry=off|rfc6298|fixed/TIME
  udp:delivery=once|at-least-once|at-most-once

Names: tcp; tcp-tuned is tcp:nodelay=on,rto_min=tuned; tcp-nodelay is tcp:nodelay=on;
tcp-reconnect is tcp:connect=request; udp; udp-retry is udp:retry=rfc6298; udp-once is
udp:delivery=once.
";

const VERDICTS: &str = "\
A lost packet costs: median latency of the requests slower than half-way up the first retry timer,
less the median of the others. Its 95 % interval covers what requests in flight together share
(clusters of 8 rounds of one client) and what differs between repetitions.

  faster       the interval of the ratio excludes 1, and the difference is at least ten times the
               lateness of the path
  level        the interval of the ratio lies within 1 ± 5 %
  cannot tell  everything else: no loss seen, too few losses, a median between two timers, a busy
               machine, one arm alone; the sentence says which, and what to type. Exit status 3.

A quantile that may lie on either of two steps is printed as both, 51–113, and is never used in a
ratio.
";

/// Flag names of tc-netem(8), toxiproxy and load generators.
pub(crate) const ELSEWHERE: Elsewhere = &[
    ("latency", "use --rtt TIME for the round trip, or --delay TIME for one way"),
    ("jitter", "this path's delay is constant; lossy-path --delay normal:40ms,5ms varies it"),
    ("bandwidth", "this path has no bottleneck; lossy-path --rate 20Mbit has"),
    ("rate", "this path has no bottleneck; lossy-path --rate 20Mbit has"),
    ("limit", "this path has no queue; lossy-path --queue 64kB has"),
    ("reorder", "this path keeps the order; lossy-path --reorder 25% changes it"),
    ("corrupt", "this path corrupts nothing; lossy-path --corrupt 1% does"),
    ("packet-loss", "use --loss LIST, such as --loss 0,1%,2%"),
    ("duration", "use --stage-limit TIME for each loss rate, or --ops N"),
    ("repeat", "use --repetitions N"),
    ("requests", "use --ops N, requests per lane and loss rate"),
    ("clients", "use --outstanding N, requests over all clients of a lane, and --depth"),
    ("concurrency", "use --depth LIST, requests each client keeps outstanding"),
    ("timeout", "use --deadline TIME; for the arm udp, --patience TIME"),
    ("cc", "use --congestion-control NAME"),
];

/// Commands on saved runs.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// List the runs that were left, or remove old ones
    Runs(RunsArgs),
    /// Print a run again
    Show {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
    },
    /// Run a run's plan again with its seed
    Replay {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
    },
    /// Say in plain words where a figure of a run comes from
    Explain {
        /// Its folder [default: the latest run]
        run: Option<PathBuf>,
        /// The figure: p99, useful-share, staircase, … (a list without it)
        figure: Option<String>,
    },
}

fn parse_arm(text: &str) -> Result<Arm, String> {
    let named = Arm::all().find(|arm| arm.name() == text.trim());
    named.ok_or_else(|| {
        format!("expected one of {}; --arm takes settings, such as tcp:nodelay=on", Arm::names())
    })
}

fn arms_help() -> String {
    format!("Arms: {} [default: all but tcp-nodelay]", Arm::names())
}

impl Args {
    /// The plan: the file's if one is named, otherwise the default, overridden by flags.
    ///
    /// # Errors
    /// If the plan cannot be run.
    pub(crate) fn plan(&self, base: Plan) -> Result<Plan, PlanError> {
        let mut plan = base;
        let rtt = self.rtt.or_else(|| self.delay.map(|delay| delay * 2));
        set(&mut plan.rtt, rtt);
        set(&mut plan.loss_ppm, self.loss.clone());
        set(&mut plan.duplicate_ppm, self.duplicate);
        let named = self.arms.iter().flatten().chain(&self.arm).copied().collect::<Vec<_>>();
        set(&mut plan.arms, Some(named).filter(|arms| !arms.is_empty()));
        set(&mut plan.repetitions, self.repetitions);
        set(&mut plan.ops, self.ops);
        set(&mut plan.depths, self.depth.clone());
        set(&mut plan.outstanding, self.outstanding);
        set(&mut plan.stage_limit, self.stage_limit);
        set(&mut plan.deadline, self.deadline);
        set(&mut plan.tuned_rto_min, self.tuned_rto_min);
        set(&mut plan.congestion_control, self.congestion_control.clone());
        set(&mut plan.capture_frames, self.capture);
        // Unless set, patience follows the path: ten round trips, within the deadline.
        let follows = self.patience.is_none() && self.plan.is_none() && plan.rtt > Duration::ZERO;
        let patience =
            if follows { Some((plan.rtt * 10).min(plan.deadline)) } else { self.patience };
        set(&mut plan.patience, patience);
        plan.check()?;
        Ok(plan)
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
