//! `tcp-vs-udp`: the same bank requests over TCP and over UDP through the same packet loss.
//!
//! Parses, wires up, runs and reports. No thread may start before the user namespace is entered.

pub(crate) mod artifacts;

use crate::LAB;
use crate::args::{Args, ELSEWHERE, What, topics};
use crate::arms::Arm;
use crate::plan::Plan;
use crate::report;
use crate::result::{Ended, Holds, Host, Ruling, RunResult, TimingVerdict};
use crate::run::{Identity, Progress, Run, in_virtual_time, on_kernel};
use crate::verdict;
use artifacts::Artifacts;
use clap::CommandFactory;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use tracing::{debug, info};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::frame::Frame;
use wirelab::cli::lab::{self, say};
use wirelab::cli::predict::{self, Guess};
use wirelab::cli::progress::Progress as Bar;
use wirelab::cli::run::{self, Repeat, Saved, WRITTEN_MAX, read_text, run_and_figure};
use wirelab::cli::signals::Stop;
use wirelab::sys::{privilege, sockets};
use wirelab::wire::foreign::toml_mistake;

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    let frame = Frame::new(LAB, Args::command()).elsewhere(ELSEWHERE).topics(topics());
    frame.main(|args: Args| start(&args))
}

fn start(args: &Args) -> Result<Exit, Failure> {
    match &args.command {
        Some(What::Show { run }) => show(args, run.as_deref()),
        Some(What::Explain { run, figure }) => {
            let is_figure = |word: &str| report::explain::figures().any(|name| name == word);
            let (run, figure) = run_and_figure(run.as_deref(), figure.as_deref(), is_figure);
            explain(run, figure)
        }
        Some(What::Replay { run }) => {
            let old = read_result(run.as_deref())?;
            // The same plan and seed: the original command repeats it.
            compare(args, &old.plan, old.seed, old.mode == crate::result::Mode::Sim, old.command)
        }
        Some(What::Runs(runs)) => run::list(LAB, runs, args.output.json.to_stdout()),
        None => {
            let plan = args.plan(base_plan(args.plan.as_deref())?).map_err(|error| {
                Failure::from_error(Exit::Usage, "this plan cannot be run", &error)
                    .or_type("the default plan", format!("{LAB} --print-plan"))
            })?;
            if args.print_plan {
                let text = toml::to_string(&plan).map_err(|error| {
                    Failure::from_error(Exit::Bug, "the plan cannot be written", &error)
                })?;
                say(&text)?;
                return Ok(Exit::Holds);
            }
            let seed = args.seed.or_random()?;
            let command = Repeat::new(LAB, Args::command()).seed(Some(seed)).command();
            compare(args, &plan, seed, args.sim, command)
        }
    }
}

/// Whether the kernel has every congestion control of the plan.
fn check_kernel(plan: &Plan) -> Result<(), Failure> {
    let named = |arm: &Arm| arm.transport().congestion_control(plan.conditions());
    plan.arms.iter().filter_map(named).try_for_each(has_congestion_control)
}

/// Whether the kernel has a congestion control, loaded or loadable.
fn has_congestion_control(name: &str) -> Result<(), Failure> {
    // If no socket can be opened, the run itself fails with a better error.
    let Ok(socket) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) else { return Ok(()) };
    match sockets::set_tcp_congestion(&socket, name) {
        // Other errors: permission is missing here, but present inside the namespaces.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Ok(()),
    }
    let file = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let names = read_text(Path::new(file), WRITTEN_MAX).unwrap_or_default();
    let names = names.split_whitespace().collect::<Vec<_>>().join(", ");
    Err(Failure::new(Exit::Usage, format!("this kernel has no congestion control {name:?}"))
        .because(format!("expected one of those that are loaded: {names}"))
        .or_type("for example", format!("{LAB} --congestion-control cubic")))
}

fn base_plan(file: Option<&Path>) -> Result<Plan, Failure> {
    let Some(file) = file else { return Ok(Plan::default()) };
    let what = format!("the plan file {} cannot be used", file.display());
    let text = read_text(file, WRITTEN_MAX)
        .map_err(|error| Failure::from_error(Exit::Usage, what.clone(), &error))?;
    toml::from_str(&text).map_err(|error| {
        Failure::new(Exit::Usage, what)
            .because(toml_mistake(&text, error.message(), error.span()))
            .or_type("a plan to start from", format!("{LAB} --print-plan > plan.toml"))
    })
}

/// Runs the plan, writes the files, prints the result.
fn compare(
    args: &Args,
    plan: &Plan,
    seed: u64,
    sim: bool,
    command: String,
) -> Result<Exit, Failure> {
    let mut host = Host::default();
    if sim && plan.arms.iter().all(|arm| arm.transport().needs_kernel().is_some()) {
        let what = "TCP lives in the kernel; --sim has udp, udp-retry and udp-once";
        return Err(Failure::new(Exit::Usage, what.to_owned())
            .or_type("in virtual time", format!("{LAB} --sim --arms udp-retry,udp-once"))
            .or_type("with the kernel's TCP", LAB.to_owned()));
    }
    if !sim {
        check_kernel(plan)?;
        // Before any thread: a process with threads cannot enter a user namespace.
        let privilege = privilege::acquire().map_err(|refused| {
            let sim = format!("{LAB} --sim   (UDP arms, virtual time)");
            lab::refused(&refused).or_type("without any privilege", sim)
        })?;
        info!("network namespaces are allowed: {privilege}");
        host = artifacts::host(privilege);
    }
    let stop = Stop::install()
        .map_err(|error| Failure::from_error(Exit::Bug, "cannot watch for Ctrl-C", &error))?;
    let identity = Identity { seed, command, host };
    let artifacts = Artifacts::open(args, &identity)?;
    let mut guesses = args.predict.ask(questions(plan, sim))?;
    let mut run = run(args, plan, identity, &stop, sim)?;
    answer(&mut guesses, &run.result);
    run.result.predictions = guesses;
    for claim in &run.result.claims {
        info!("claim {}: {:?}; {}", claim.name, claim.holds, claim.seen);
    }
    debug!("timing: {:?}", run.result.timing);
    let left = artifacts.write(args, &run)?;
    args.output.json.write(&lab::json(&run.result)?)?;
    if !args.output.takes_stdout() {
        say(&report::text::render(&run.result, args.common.color.for_stdout()))?;
        say(&predict::table(&run.result.predictions))?;
        if let Some(folder) = left {
            say(&format!("  page      {}\n", folder.join("report.html").display()))?;
        }
    }
    Ok(exit_of(&run.result))
}

/// Questions of `--predict`: the figures of the headline.
fn questions(plan: &Plan, sim: bool) -> Vec<Guess> {
    let runs = |arm: &Arm| !sim || arm.transport().needs_kernel().is_none();
    let arms: Vec<Arm> = plan.arms.iter().copied().filter(runs).collect();
    let (first, second) = verdict::pair(&arms);
    let loss = plan.loss_ppm[plan.headline_stage()];
    let what = if loss.get() == 0 { "median latency" } else { "cost of a lost packet" };
    let of = |arm: Arm| {
        Guess::new(arm.name(), &format!("{what} with {} at {loss} loss", arm.name()), "ms")
    };
    let met = format!("requests that meet a loss, at {loss} loss each way");
    let costs = [first, second].into_iter().flatten().map(of);
    std::iter::once(Guess::new("met", &met, "%")).chain(costs).collect()
}

/// Fills in what was seen.
#[expect(clippy::cast_precision_loss, reason = "a figure is shown with few digits")]
fn answer(guesses: &mut [Guess], result: &RunResult) {
    let Some(headline) = result.verdicts.first() else { return };
    let stage = result.stages.iter().find(|stage| stage.loss_ppm == headline.loss_ppm);
    let lanes = || stage.into_iter().flat_map(|s| &s.lanes).filter(|l| l.depth == headline.depth);
    for guess in guesses {
        let place = headline.arms.iter().position(|arm| arm.name() == guess.figure);
        let value = place.and_then(|place| headline.estimates.get(place)?.value_ns);
        guess.seen = if guess.figure == "met" {
            lanes()
                .find(|l| headline.arms.first() == Some(&l.arm))
                .map(|l| l.loss_cost.met.share * 100.0)
        } else {
            value.map(|ns| ns as f64 / 1e6)
        };
    }
}

fn run(
    args: &Args,
    plan: &Plan,
    identity: Identity,
    stop: &Stop,
    sim: bool,
) -> Result<Run, Failure> {
    let lanes = plan.lanes().count() as u64;
    let total = u64::from(plan.ops) * lanes * plan.loss_ppm.len() as u64;
    let start = format!("{LAB}: seed {}; {}", identity.seed, intention(plan, sim));
    let quiet = args.output.json.to_stdout() && args.common.verbose == 0;
    let bar = Bar::start(total, &start, quiet);
    plan.lanes().for_each(|(arm, depth)| info!("lane: {}, depth {depth}", arm.name()));
    info!("rtt {:?}, up to {} requests per lane and loss rate", plan.rtt, plan.ops);
    let shows_rows = !quiet && !sim && io::stderr().is_terminal();
    let (mut done, mut began) = (0, None);
    let observer = |progress: Progress<'_>| {
        match progress {
            Progress::Tick(tick) => {
                let loss = plan.loss_ppm[tick.stage];
                let stage = format!("stage {} of {}", tick.stage + 1, plan.loss_ppm.len());
                let which = format!("repetition {} of {}", tick.repetition + 1, plan.repetitions);
                let this = Some((tick.stage, tick.repetition));
                if began != this {
                    began = this;
                    info!("{stage}: loss {loss}, {which}");
                }
                debug!("{stage}: {} of {} requests ended", tick.ended, tick.of);
                bar.says(&format!("loss {loss}, {which}"));
                bar.at(done + tick.ended);
            }
            Progress::Stage(stage, repetition) => {
                let ended: u64 = stage.lanes.iter().map(|lane| lane.requests.started).sum();
                done += ended / u64::from(repetition + 1);
                if shows_rows {
                    bar.line(&report::text::so_far(plan, stage, repetition));
                }
            }
        }
        if stop.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    if sim {
        return Ok(in_virtual_time(plan, identity, observer));
    }
    on_kernel(plan, identity, observer).map_err(|error| {
        Failure::from_error(Exit::Network, "the run failed", &error)
            .or_type("without namespaces", format!("{LAB} --sim"))
    })
}

fn intention(plan: &Plan, sim: bool) -> String {
    let lanes = plan.lanes().count();
    if sim {
        return "virtual time, nothing of this machine is touched".to_owned();
    }
    format!("building {lanes} paths in namespaces of this process; they vanish when it ends")
}

fn exit_of(result: &RunResult) -> Exit {
    if result.ended == Ended::Interrupted {
        return Exit::Interrupted;
    }
    let any = |holds: Holds| result.claims.iter().any(|claim| claim.holds == holds);
    let decided = result.verdicts.first().is_some_and(|v| v.claim != Ruling::CannotTell);
    if result.timing.verdict == TimingVerdict::Invalid {
        Exit::Inconclusive
    } else if any(Holds::No) {
        Exit::Fails
    } else if any(Holds::Unknown) || !decided {
        Exit::Inconclusive
    } else {
        Exit::Holds
    }
}

fn read_result(run: Option<&Path>) -> Result<RunResult, Failure> {
    Saved::find(LAB, run, LAB)?.result(LAB, LAB)
}

fn show(args: &Args, run: Option<&Path>) -> Result<Exit, Failure> {
    let result = read_result(run)?;
    args.output.json.write(&lab::json(&result)?)?;
    if !args.output.json.to_stdout() {
        say(&report::text::render(&result, args.common.color.for_stdout()))?;
    }
    Ok(exit_of(&result))
}

fn explain(run: Option<&Path>, figure: Option<&str>) -> Result<Exit, Failure> {
    let result = read_result(run)?;
    let names = report::explain::figures().collect::<Vec<_>>().join(", ");
    let Some(figure) = figure else {
        say(&format!("figures that can be explained: {names}\n"))?;
        return Ok(Exit::Holds);
    };
    let text = report::explain::explain(&result, figure).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no figure is called {figure:?}"))
            .because(format!("expected one of {names}"))
    })?;
    say(&text)?;
    Ok(Exit::Holds)
}
