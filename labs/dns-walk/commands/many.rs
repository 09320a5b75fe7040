//! `dns-walk -`: every name of a list, one result a line.

use crate::LAB;
use crate::args::{self, Args};
use crate::batch::{BatchConfig, BatchResolver, Stats};
use crate::cache::Cache;
use crate::commands::log;
use crate::driver as net;
use crate::event::{Event, Record, VERSION};
use crate::hints::Hints;
use crate::input::{BadLine, Lines, ReadQuestion, Shard, Word};
use crate::text::Question;
use crate::walk::WalkConfig;
use clap::Args as ClapArgs;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::time::Duration;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::progress::Progress;
use wirelab::cli::run::Stream;
use wirelab::cli::stdout::{self, Pipe};
use wirelab::cli::values::positive;
use wirelab::measure::Instant;
use wirelab::measure::human::plural;
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;

/// Bad lines that are shown; further ones are in the output and in the count.
const SHOWN: u64 = 10;
/// Interval of progress lines.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Bytes gathered before they are written.
const BUFFER: usize = 262_144;

/// Flags of `dns-walk -`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManyArgs {
    /// With NAME -: walk for one part of the list only, as in 1/4; every name is in one part
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,

    /// With NAME -: walks at a time, at most [default: 2000]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) in_flight: Option<u32>,

    /// With NAME -: queries at one server at a time, at most [default: 100]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) per_server: Option<u32>,

    /// With NAME - and --events: the messages themselves (RFC 8427) too
    #[arg(long, requires = "events", conflicts_with = "no_messages")]
    pub(crate) messages: bool,
}

/// A record of one line's question.
#[derive(Serialize)]
pub(crate) struct Told<'a> {
    pub(crate) line: u64,
    #[serde(flatten)]
    pub(crate) record: &'a Record,
}

/// A line that cannot be asked, in the place of its result.
#[derive(Serialize)]
struct Refused<'a> {
    v: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    bad: &'a BadLine,
}

/// Where records go.
struct Output {
    results: Pipe<BufWriter<io::Stdout>>,
    /// Every record; empty if only results are printed.
    steps: Option<BufWriter<Stream>>,
    /// Every record goes where the results go.
    all: bool,
    done: u64,
    bad: u64,
    /// One line, buffered: serde writes every comma by itself.
    text: Vec<u8>,
    progress: Progress,
    told_at: Instant,
}

/// Refuses flags that a list cannot honour, rather than pass over them.
///
/// # Errors
/// Fails if there is one.
pub(crate) fn refuse_others(args: &Args) -> Result<(), Failure> {
    let of_one_walk = [
        ("--sim", args.sim),
        ("--warm", args.warm),
        ("--json", args.output.json.json.is_some()),
        ("--explain", args.explain),
        ("--waterfall", args.waterfall),
        ("--predict", args.predict.predict),
        ("--sequence", args.sequence),
        ("--replay", args.replay.is_some()),
        ("--out", args.output.out.is_some()),
        ("-x", args.reverse.is_some()),
        ("--compare", args.opinion.compare),
        ("@SERVER", !args.servers.is_empty()),
        // Each name would cost a multiple of its queries.
        ("--check", args.check),
        ("--all", args.all),
        ("--side", args.side.is_some()),
        // A list judges no signatures: each answer would need its own chain of proofs.
        ("--anchor", args.anchor.is_some()),
        ("--at", args.at.is_some()),
    ];
    let Some((flag, _)) = of_one_walk.iter().find(|(_, given)| *given) else { return Ok(()) };
    Err(Failure::new(Exit::Usage, "nothing was asked")
        .because(format!("{flag} is for one walk; a list has one JSON result per line"))
        .or_type("the list without it", format!("{LAB} - < names"))
        .or_type("the steps too", format!("{LAB} - --events - < names")))
}

/// Walks for every name of stdin: in the hierarchy of the demonstration, or beyond.
pub(crate) fn start(args: &Args, seed: u64) -> Result<Exit, Failure> {
    let Some(variant) = args.variant() else {
        let hints = crate::commands::hints(args)?;
        return run(args, crate::commands::beyond(args, &hints)?, hints, seed);
    };
    let authority = crate::commands::authority(variant, args.is_dual())?;
    let link = crate::commands::link(args.loss, args.delay.unwrap_or_default());
    let (_serving, roots) = crate::commands::served(authority, &link, seed)?;
    run(args, args.config([true, args.is_dual()]), roots, seed)
}

fn run(args: &Args, config: WalkConfig, hints: Hints, seed: u64) -> Result<Exit, Failure> {
    let fail = |error: io::Error| Failure::from_error(Exit::Bug, "the list was not done", &error);
    let usual = BatchConfig::default();
    let mut walk = config;
    walk.summary_only = args.output.events.is_none();
    // Each answer would need its own chain of proofs: a list is not validated.
    walk.validate_at = None;
    walk.messages = args.many.messages;
    walk.limits.cache_entries = usual.walk.limits.cache_entries;
    let config = BatchConfig {
        walk,
        in_flight: args.many.in_flight.unwrap_or(usual.in_flight),
        per_server: args.many.per_server.unwrap_or(usual.per_server),
    };
    let (stopper, mut stopped) = shutdown::pair().map_err(fail)?;
    stopper.on_signals().map_err(fail)?;
    let lines = Lines::new(reader(args)?, args.many.shard.unwrap_or(Shard::ALL));
    let mut output = Output::open(args)?;
    let clock = Clock::start();
    let fleet = BatchResolver::new(config, hints, seed, Cache::default());
    let fleet = net::many(fleet, clock, &mut stopped, io::stdin(), lines, |told| match told {
        None => output.rest(clock.now()),
        Some(told) => output.tell(&told),
    })
    .map_err(fail)?;
    output.finish().map_err(fail)?;
    let elapsed = clock.now().since(Instant::ZERO);
    stdout::complain(&summary(&fleet.stats(), output.bad, elapsed.as_secs_f64()));
    Ok(exit_of(&fleet.stats(), output.bad))
}

/// Makes questions of words, as the command line does of one.
fn reader(args: &Args) -> Result<Box<ReadQuestion>, Failure> {
    let usage = |why: String| Failure::new(Exit::Usage, "nothing was asked").because(why);
    let word = args.words.get(1).map(String::as_str);
    if word.is_some() && args.kind.is_some() {
        return Err(usage("expected one TYPE, got -t too".to_owned()));
    }
    let default = args::record_type(word.or(args.kind.as_deref()).unwrap_or("A")).map_err(usage)?;
    Ok(Box::new(move |name, kind| {
        let parsed = args::domain_name(name).map_err(|why| (Word::Name, why))?;
        let kind = kind.map_or(Ok(default), args::record_type);
        let kind = kind.map_err(|why| (Word::Kind, why))?;
        Ok(Question::new(parsed, kind))
    }))
}

impl Output {
    fn open(args: &Args) -> Result<Self, Failure> {
        let all = args.output.events.as_ref().is_some_and(|file| file.as_os_str() == "-");
        let steps = match args.output.events.as_ref().filter(|_| !all) {
            None => None,
            Some(file) => Some(Stream::open(file).map_err(|error| {
                let what = format!("cannot write {}", file.display());
                Failure::from_error(Exit::Usage, what, &error)
            })?),
        };
        let results = Pipe::new(BufWriter::with_capacity(BUFFER, io::stdout()));
        let (progress, told_at) = (Progress::count(), Instant::ZERO);
        let steps = steps.map(BufWriter::new);
        let text = Vec::new();
        Ok(Self { results, steps, all, done: 0, bad: 0, text, progress, told_at })
    }

    fn tell(&mut self, told: &net::Told<'_>) -> io::Result<()> {
        match told {
            net::Told::Record(line, record) => {
                log::record(record);
                let told = Told { line: *line, record };
                let result = matches!(record.event, Event::Summary(_));
                self.done += u64::from(result);
                if self.steps.is_none() && !result && !self.all {
                    return Ok(());
                }
                line_of(&mut self.text, &told)?;
                if let Some(steps) = &mut self.steps {
                    steps.write_all(&self.text)?;
                }
                if !result && !self.all {
                    return Ok(());
                }
            }
            net::Told::Bad(bad) => {
                self.bad += 1;
                if self.bad <= SHOWN {
                    self.progress.line(&format!("{LAB}: {bad}"));
                }
                let refused = Refused { v: VERSION, kind: "error", bad };
                line_of(&mut self.text, &refused)?;
            }
        }
        self.results.write_all(&self.text)
    }

    /// Nothing more for now: flushes, so that the reader has what there is.
    fn rest(&mut self, now: Instant) -> io::Result<()> {
        if now.since(self.told_at) >= TELL_EVERY {
            self.told_at = now;
            let rate = self.done as f64 / now.since(Instant::ZERO).as_secs_f64();
            self.progress.says(&format!("{} done, {rate:.0} a second", self.done));
        }
        self.results.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(steps) = &mut self.steps {
            steps.flush()?;
        }
        self.results.flush()
    }
}

/// One line of JSON in the place of what `text` held.
fn line_of(text: &mut Vec<u8>, of: &impl Serialize) -> io::Result<()> {
    text.clear();
    serde_json::to_writer(&mut *text, of)?;
    text.push(b'\n');
    Ok(())
}

fn summary(stats: &Stats, bad: u64, seconds: f64) -> String {
    let per_name = stats.queries as f64 / (stats.ended as f64).max(1.0);
    let mut out = format!(
        "{LAB}: {} in {seconds:.2} s ({:.0} a second): {} answered, {} without such a \
         record, {} inconclusive\n",
        plural(stats.ended, "name", "names"),
        stats.ended as f64 / seconds.max(1e-9),
        stats.answers,
        stats.absences,
        stats.inconclusive(),
    );
    out += &format!(
        "{LAB}: {} ({per_name:.2} a name), {} repeated, {} without a reply; {} not sent \
         because another was in flight, {} held back to spare a server\n",
        plural(stats.queries, "query", "queries"),
        stats.retries,
        stats.unanswered,
        stats.coalesced,
        stats.held,
    );
    if bad > 0 {
        out += &format!("{LAB}: {} could not be read\n", plural(bad, "line", "lines"));
    }
    out
}

/// Counts the failures; each result has its own.
const fn exit_of(stats: &Stats, bad: u64) -> Exit {
    if stats.interrupted > 0 {
        Exit::Interrupted
    } else if bad > 0 {
        Exit::Usage
    } else if stats.inconclusive() == 0 {
        Exit::Holds
    } else if stats.inconclusive() == stats.ended && stats.unreachable == stats.ended {
        Exit::Network
    } else {
        Exit::Inconclusive
    }
}
