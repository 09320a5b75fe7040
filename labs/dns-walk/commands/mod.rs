//! The commands of `dns-walk`: parse, walk, report.

pub(crate) mod artifacts;
pub(crate) mod compare;
pub(crate) mod log;
pub(crate) mod many;
mod predict;
pub(crate) mod serve;

use crate::LAB;
use crate::args::{Args, ELSEWHERE, topics};
use crate::cache::Cache;
use crate::demo::{Authority, FAULTS, SIGNATURE_FAULTS, Variant};
use crate::dnssec::Status;
use crate::dnssec::anchor::Anchors;
use crate::driver as net;
use crate::driver::DUAL_ROUTE;
use crate::entropy::Secret;
use crate::event::Record;
use crate::hints::{Hints, PORT};
use crate::outcome::Outcome;
use crate::report;
use crate::report::Document;
use crate::text::Question;
use crate::walk::{Walk, WalkConfig};
use artifacts::Artifacts;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::frame::Frame;
use wirelab::cli::lab::{self, say};
use wirelab::cli::predict::{Guess, table};
use wirelab::cli::run::{RECORDED_MAX, Saved, Stream, WRITTEN_MAX, read_text};
use wirelab::cli::{seed, stdout};
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{Delay, LinkPlan, LossModel};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;

/// Default one-way delay of `--demo --sim`.
const SIM_DELAY: Duration = Duration::from_millis(1);

/// Runs the lab.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(ended) = serve::start() {
        return ended;
    }
    Frame::new(LAB, Args::command())
        .shown(with_commands())
        .elsewhere(ELSEWHERE)
        .topics(topics())
        .main(|args: Args| {
            let mut args = args;
            args.untangle().map_err(usage)?;
            start(&args)
        })
}

/// The command with its subcommands, for help and completions.
fn with_commands() -> Command {
    let show = Command::new("show")
        .about("Show a run again; the flags of a walk say how")
        .arg(Arg::new("run").value_name("RUN").help("Its folder [default: the latest run]"));
    Args::command().disable_help_subcommand(true).subcommand(show).subcommands(serve::commands())
}

fn start(args: &Args) -> Result<Exit, Failure> {
    if args.faults {
        say(&faults())?;
        return Ok(Exit::Holds);
    }
    if let Some(word) = args.words.iter().find(|word| *word == "serve" || *word == "serve-demo") {
        return Err(usage(format!("expected {word} as the first word")));
    }
    match args.words.as_slice() {
        [word] if word == "show" => return show(args, None),
        [word, run] if word == "show" => return show(args, Some(Path::new(run))),
        _ => {}
    }
    let list = args.words.first().is_some_and(|word| word == "-");
    if list {
        many::refuse_others(args)?;
    }
    if let Some(file) = &args.replay {
        return if file.is_dir() { show(args, Some(file)) } else { again(args, file) };
    }
    let question = if list { None } else { Some(args.question().map_err(usage)?) };
    let seed = args.seed.or_random()?;
    if args.seed.seed.is_none() {
        stdout::complain(&format!("{LAB}: seed {seed}\n"));
    }
    let Some(question) = question else { return many::start(args, seed) };
    let others = compare::prepare(args)?;
    let guesses = args.predict.ask(predict::questions())?;
    let artifacts = Artifacts::of_walk(args, seed)?;
    let mut walks = match args.variant() {
        Some(variant) => in_demo(args, variant, &question, seed)?,
        None => outside(args, &question, seed)?,
    };
    let exit = exit_of(&walks);
    others.ask(&question, &mut walks)?;
    let guesses = predict::compared(guesses, &walks);
    artifacts.predicted(&guesses).write(&walks)?;
    tell(args, walks, &guesses)?;
    Ok(exit)
}

fn usage(why: String) -> Failure {
    Failure::new(Exit::Usage, "nothing was asked")
        .because(why)
        .or_type("with no network at all", format!("{LAB} www.igbank.com --demo"))
        .or_type("more examples", format!("{LAB} --help"))
}

/// Shows a run that was left.
fn show(args: &Args, run: Option<&Path>) -> Result<Exit, Failure> {
    let saved = Saved::find(LAB, run, artifacts::FIRST).map_err(|failure| {
        let what = run.map(|run| format!("{} is no saved walk", run.display()));
        Failure { what: what.unwrap_or_else(|| failure.what.clone()), ..failure }
    })?;
    let file = saved.path.join("events.ndjson");
    let text = saved.text("events.ndjson").map_err(|error| no_walk(&file, &error))?;
    shown(args, &file, &text, Some(&saved))
}

/// Shows the walks of a file of records.
fn again(args: &Args, file: &Path) -> Result<Exit, Failure> {
    let text = read_text(file, RECORDED_MAX).map_err(|error| no_walk(file, &error))?;
    shown(args, file, &text, None)
}

fn no_walk(file: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let what = format!("{} is no saved walk", file.display());
    Failure::from_error(Exit::Usage, what, error)
        .or_type("to save one", format!("{LAB} www.igbank.com --demo --out DIR"))
        .or_type("to show it again", format!("{LAB} show DIR"))
}

fn shown(args: &Args, file: &Path, text: &str, saved: Option<&Saved>) -> Result<Exit, Failure> {
    let mut walks = report::read_events(text).map_err(|error| no_walk(file, &error))?;
    if args.no_messages {
        report::without_messages(&mut walks);
    }
    let exit = exit_of(&walks);
    if args.output.out.is_some() {
        Artifacts::of_saved(args, saved, &walks)?.write(&walks)?;
    }
    tell(args, walks, &[])?;
    Ok(exit)
}

/// The hierarchy of the demonstration, over IPv4 or over both families.
fn authority(variant: Variant, dual: bool) -> Result<Authority, Failure> {
    let made = if dual { Authority::demo_dual(variant) } else { Authority::demo(variant) };
    made.map_err(|error| Failure::from_error(Exit::Bug, "the demonstration is wrong", &error))
}

/// The path to its servers, and the same back.
fn link(loss: Option<Ppm>, delay: Duration) -> LinkPlan {
    let loss = loss.unwrap_or_default();
    LinkPlan {
        loss: if loss == Ppm::ZERO { LossModel::None } else { LossModel::Iid(loss) },
        delay: Delay::Constant(delay),
        ..LinkPlan::default()
    }
}

/// Its servers on loopback, for as long as the first value lives, and where a walk begins there.
fn served(
    authority: Authority,
    link: &LinkPlan,
    seed: u64,
) -> Result<(net::Serving, Hints), Failure> {
    let roots = authority.hints(0);
    let dual = roots.roots.iter().any(|(_, address)| address.is_ipv6());
    let serving = net::serve(authority, None, link, seed).map_err(|error| {
        let what = "the demonstration cannot be served on loopback";
        let failure = Failure::from_error(Exit::Network, what, &error);
        if dual { failure.or_type("to have its addresses", DUAL_ROUTE) } else { failure }
    })?;
    let port = serving.port();
    Ok((serving, Hints { port, ..roots }))
}

/// Where a walk beyond the demonstration begins.
fn hints(args: &Args) -> Result<Hints, Failure> {
    read_hints(args.hints.as_deref(), args.port.unwrap_or(PORT))
}

/// The hints of a file, or the built-in ones; the port of servers that they give none.
fn read_hints(file: Option<&Path>, port: u16) -> Result<Hints, Failure> {
    match file {
        None => Ok(Hints { port, ..Hints::default() }),
        Some(file) => {
            let what = format!("the hints file {} cannot be used", file.display());
            let text = read_text(file, WRITTEN_MAX)
                .map_err(|error| Failure::from_error(Exit::Usage, what.clone(), &error))?;
            Hints::parse(&text, port)
                .map_err(|error| Failure::from_error(Exit::Usage, what, &error))
        }
    }
}

/// Walks in the hierarchy of the demonstration.
fn in_demo(
    args: &Args,
    variant: Variant,
    question: &Question,
    seed: u64,
) -> Result<Vec<Vec<Record>>, Failure> {
    let authority = authority(variant, args.is_dual())?;
    let config = args.config([true, args.is_dual()]);
    if args.sim {
        let delay = args.delay.unwrap_or(SIM_DELAY);
        let hints = trusting(args.anchor.as_deref(), authority.hints(PORT))?;
        return repeated(args, config, |config, cache, start| {
            let walk = Walk::new(config, hints.clone(), question.clone(), seed, cache, start);
            let mut reply = |to: std::net::SocketAddr, transport, query: &[u8]| {
                authority.reply(to.ip(), transport, query)
            };
            let link = link(args.loss, delay);
            let ended = crate::sim::run(walk, start, &mut reply, &link, delay, seed);
            ended.0.iter().for_each(log::record);
            Ok(ended)
        });
    }
    let link = link(args.loss, args.delay.unwrap_or_default());
    let (_serving, roots) = served(authority, &link, seed)
        .map_err(|failure| failure.or_type("without sockets", format!("{LAB} --demo --sim")))?;
    let hints = trusting(args.anchor.as_deref(), roots)?;
    on_sockets(args, config, &hints, question, seed)
}

/// The hints with the keys of `--anchor`, where that is given.
fn trusting(anchor: Option<&Path>, hints: Hints) -> Result<Hints, Failure> {
    let Some(file) = anchor else { return Ok(hints) };
    let what = format!("the anchor file {} cannot be used", file.display());
    let text = read_text(file, WRITTEN_MAX)
        .map_err(|error| Failure::from_error(Exit::Usage, what.clone(), &error))?;
    let anchors =
        Anchors::parse(&text).map_err(|error| Failure::from_error(Exit::Usage, what, &error))?;
    Ok(Hints { anchors, ..hints })
}

/// Walks from the root of the Internet, or from the hints of a file.
fn outside(args: &Args, question: &Question, seed: u64) -> Result<Vec<Vec<Record>>, Failure> {
    let hints = trusting(args.anchor.as_deref(), hints(args)?)?;
    let config = beyond(args, &hints)?;
    on_sockets(args, config, &hints, question, seed)
}

/// How to walk where others than this process answer.
fn beyond(args: &Args, hints: &Hints) -> Result<WalkConfig, Failure> {
    Ok(WalkConfig { secret: Some(secret()?), ..args.config(net::families(hints)) })
}

/// The secret that makes queries unpredictable for servers.
fn secret() -> Result<Secret, Failure> {
    let drawn = seed::secret().map_err(|error| seed::no_random(&error))?;
    Ok(Secret::new(drawn))
}

fn on_sockets(
    args: &Args,
    config: WalkConfig,
    hints: &Hints,
    question: &Question,
    seed: u64,
) -> Result<Vec<Vec<Record>>, Failure> {
    let fail = |error: std::io::Error| Failure::from_error(Exit::Bug, "cannot wait", &error);
    let (stopper, mut stopped) = shutdown::pair().map_err(fail)?;
    stopper.on_signals().map_err(fail)?;
    let clock = Clock::start();
    repeated(args, config, |config, cache, _| {
        let walk = Walk::new(config, hints.clone(), question.clone(), seed, cache, clock.now());
        net::resolve(walk, clock, &mut stopped, log::record).map_err(fail)
    })
}

/// Walks once; with `--side` each of its sides; with `--warm` a second time with what the first
/// walk learned.
fn repeated(
    args: &Args,
    config: WalkConfig,
    mut walk: impl FnMut(WalkConfig, Cache, Instant) -> Result<(Vec<Record>, Walk), Failure>,
) -> Result<Vec<Vec<Record>>, Failure> {
    if let Some(choice) = args.side {
        let sides = choice.sides().iter().map(|side| WalkConfig { side: Some(*side), ..config });
        let walks = sides.map(|config| Ok(walk(config, Cache::default(), Instant::ZERO)?.0));
        return walks.collect();
    }
    let (records, ended) = walk(config, Cache::default(), Instant::ZERO)?;
    let mut walks = vec![records];
    if args.warm {
        let start = walks[0].last().map_or(Instant::ZERO, |record| record.t_ns);
        walks.push(walk(config, ended.into_cache(), start)?.0);
    }
    Ok(walks)
}

fn tell(args: &Args, walks: Vec<Vec<Record>>, guesses: &[Guess]) -> Result<(), Failure> {
    let bug = |error: &(dyn std::error::Error + 'static)| {
        Failure::from_error(Exit::Bug, "the records cannot be written", error)
    };
    if let Some(file) = &args.output.events {
        let lines = artifacts::lines(&walks).map_err(|error| bug(&error))?;
        if file.as_os_str() == "-" {
            return say(&lines);
        }
        let written = Stream::open(file).and_then(|mut to| to.write_all(lines.as_bytes()));
        written.map_err(|error| {
            let what = format!("cannot write {}", file.display());
            Failure::from_error(Exit::Usage, what, &error)
        })?;
    }
    let walks = if args.output.json.json.is_some() {
        let document = Document::new(walks);
        args.output.json.write(&lab::json(&document)?)?;
        document.walks
    } else {
        walks
    };
    if args.output.json.to_stdout() {
        return Ok(());
    }
    let style = args.common.color.for_stdout();
    let mut out = String::new();
    if let Some(verdict) = report::sides_verdict(&walks) {
        let _ = writeln!(out, "sides     {verdict}\n");
    }
    for (at, records) in walks.iter().enumerate() {
        if let Some(heading) = report::heading(&walks, at) {
            let _ = writeln!(out, "{}{heading}", ["", "\n"][at.min(1)]);
        }
        if args.explain {
            out += &report::explain(records, style);
        }
        if args.waterfall {
            out += &report::waterfall(records, style);
        }
        if args.sequence {
            out += &report::sequence(records, style);
        }
        if !args.explain && !args.waterfall && !args.sequence {
            out += &report::tree(records, style);
        }
        out += &report::survey(records, style);
        out += &report::comparisons(records, style);
    }
    if !guesses.is_empty() {
        let _ = write!(out, "\n{}", table(guesses));
    }
    say(&out)
}

fn faults() -> String {
    let mut out = String::new();
    for fault in FAULTS {
        let _ = writeln!(out, "{:18} {}", fault.name, fault.what);
        let code = fault.code.unwrap_or("the walk copes; nothing is wrong");
        let _ = writeln!(out, "{:18} {LAB} {} --demo broken --all", "", fault.ask);
        let _ = writeln!(out, "{:18} finding: {code}", "");
    }
    for fault in SIGNATURE_FAULTS {
        let _ = writeln!(out, "{:18} {}", fault.zone, fault.what);
        let _ = writeln!(out, "{:18} {LAB} {} --demo broken", "", fault.ask);
        let _ = writeln!(out, "{:18} security: {}, {}", "", fault.status, fault.why);
    }
    out
}

/// The exit code of the last walk; of two sides that of the one that fails.
fn exit_of(walks: &[Vec<Record>]) -> Exit {
    let of_side = walks.iter().filter(|records| report::side(records).is_some());
    let failed = of_side.map(|records| exit_of_one(records)).find(|exit| *exit != Exit::Holds);
    failed.or_else(|| walks.last().map(|records| exit_of_one(records))).unwrap_or(Exit::Bug)
}

fn exit_of_one(records: &[Record]) -> Exit {
    let summary = report::summary(records);
    let security = summary.and_then(|summary| summary.security.as_ref());
    if security.is_some_and(|security| security.status == Status::Bogus) {
        return Exit::Bogus;
    }
    match summary.map(|summary| &summary.outcome) {
        Some(Outcome::Answer) => Exit::Holds,
        Some(Outcome::NoData | Outcome::NxDomain) => Exit::Fails,
        Some(Outcome::Unanswered { any_reply: false, .. }) => Exit::Network,
        Some(Outcome::Interrupted) => Exit::Interrupted,
        Some(_) => Exit::Inconclusive,
        None => Exit::Bug,
    }
}
