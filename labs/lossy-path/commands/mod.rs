//! `lossy-path`: any program through an emulated path, without root, repeatable, audited.
//!
//! It parses the command line, starts the run and reports; the supervisor is forked before any
//! thread starts.

pub(crate) mod artifacts;
mod predict;
mod sweep;

use crate::LAB;
use crate::args::{Args, ELSEWHERE, Flags, Output, Strict, What, read_file, topics};
use crate::control::{self, Control, Request};
use crate::plan::{Mistake, Plan};
use crate::report::{explain, text};
use crate::result::{Host, PathResult, ProgramEnd, SCHEMA, Verdict};
use crate::run::{self, End, Job, Outcome, RunError};
use crate::{audit, doctor};
use artifacts::Leaving;
use clap::CommandFactory;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use tracing::{debug, info};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::frame::Frame;
use wirelab::cli::lab::{self, say};
use wirelab::cli::run::{
    self as runs, LEFT_OUT, RECORDED_MAX, Repeat, Saved, read_text, run_and_figure, shell_word,
    unwritten,
};
use wirelab::cli::stdout;
use wirelab::emulator::topology;
use wirelab::measure::human::plural;
use wirelab::measure::nanos;
use wirelab::path::Recording;
use wirelab::runtime::clock::utc_seconds;
use wirelab::sys::pidns_init::User;
use wirelab::sys::privilege;
use wirelab::sys::{host, terminal};

/// As env(1) and every shell: found and cannot be run, and not found.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the lab's command line.
#[must_use]
pub fn main() -> ExitCode {
    Frame::new(LAB, Args::command())
        .elsewhere(ELSEWHERE)
        .topics(topics())
        .hint(program_place)
        .main(|args: Args| start(&args))
}

/// The usage hint for a command line that looks like a program.
fn program_place(error: &clap::Error) -> Option<String> {
    use clap::error::ErrorKind;
    let looks_like_a_program =
        matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument);
    let has_none = looks_like_a_program && !std::env::args().any(|word| word == "--");
    has_none.then(|| format!("a program to run goes behind two dashes: {LAB} --loss 2% -- ping b"))
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::new(Exit::Usage, mistake.to_string())
    }
}

fn start(args: &Args) -> Result<Exit, Failure> {
    args.check_flags_of_commands()?;
    match &args.what {
        None => {
            let plan = args.flags.plan()?;
            if args.print_plan {
                say(&plan.to_toml())?;
                return Ok(Exit::Holds);
            }
            if args.program.is_empty() {
                let failure = Failure::new(Exit::Usage, "there is no program to run")
                    .or_type("a program", format!("{LAB} --loss 2% --delay 40ms -- ping -c 5 b"))
                    .or_type("a shell", format!("{LAB} shell --loss 2% --delay 40ms"))
                    .or_type("everything", format!("{LAB} --help"));
                return Err(failure);
            }
            let task = Task::new(args.program.clone(), End::A, false);
            task.run(&args.flags, &args.output, &plan)
        }
        Some(What::Shell { on, flags }) => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            let task = Task::new(vec![shell], (*on).into(), true);
            let flags = args.flags_with(flags)?;
            task.run(flags, &args.output, &flags.plan()?)
        }
        Some(What::Sweep(matrix)) => sweep::sweep(matrix, &args.output),
        Some(What::Set { control, settings, direction }) => {
            set(control, settings, direction.as_deref())
        }
        Some(What::Presets) => presets(),
        Some(What::Show { run }) => show(&find(run.as_deref())?.1, &args.output),
        Some(What::Replay { run, yes }) => replay(run.as_deref(), *yes, &args.output),
        Some(What::Runs(flags)) => runs::list(LAB, flags, args.output.shared.json.to_stdout()),
        Some(What::Doctor) => examine(&args.output),
        Some(What::Explain { run, figure }) => {
            let is_figure = |word: &str| explain::figures().any(|name| name == word);
            let (run, figure) = run_and_figure(run.as_deref(), figure.as_deref(), is_figure);
            explain(&find(run)?.1, figure)
        }
    }
}

/// A program to run through a path.
struct Task {
    command: Vec<OsString>,
    on: End,
    shell: bool,
    /// The run that this one repeats.
    of: Option<(Saved, Box<PathResult>)>,
}

impl Task {
    const fn new(command: Vec<OsString>, on: End, shell: bool) -> Self {
        Self { command, on, shell, of: None }
    }

    /// The recorded fates to repeat, if any.
    fn fates(&self, flags: &Flags) -> Result<Option<Recording>, Failure> {
        let Some((saved, _)) = self.of.as_ref().filter(|(_, old)| old.replayed.is_some()) else {
            return flags.fates.as_deref().map(recording).transpose();
        };
        let file = saved.path.join("fates.txt").display().to_string();
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::from_error(Exit::Usage, format!("{file} cannot be repeated"), error)
        };
        let text = saved.text("fates.txt").map_err(|error| failed(&error))?;
        Recording::parse(&file, &text).map(Some).map_err(|error| failed(&error))
    }

    fn run(self, flags: &Flags, output: &Output, plan: &Plan) -> Result<Exit, Failure> {
        let seed = flags.seed.or_random()?;
        let replay = self.fates(flags)?;
        let command = match &self.of {
            Some((_, old)) => old.command.clone(),
            None => Repeat::new(LAB, Args::command()).seed(Some(seed)).command(),
        };
        // Before any thread: a multi-threaded process cannot enter a user namespace.
        let privilege = privilege::acquire().map_err(|refused| {
            lab::refused(&refused).or_type("to see every step", format!("{LAB} doctor"))
        })?;
        info!("network namespaces are allowed: {privilege}");
        let mut host = facts();
        host.privilege = privilege.to_string();
        let server = plan.server.is_some();
        let mut guesses = flags.predict.ask(predict::questions(plan))?;
        let mut leaving = Leaving::open(flags, output, (&command, seed), server)?;
        self.announce(output, plan, seed);
        let job = Job {
            command: self.command.clone(),
            on: self.on,
            shell: self.shell,
            control: control(flags, replay.is_some())?,
            env: if self.shell { prompt(self.on) } else { Vec::new() },
            user: if flags.root { None } else { runs::invoker().map(user) },
            server_output: leaving.server_output()?,
            frames: leaving.wants_frames(),
            replay,
        };
        info!("building the path, then running {:?} on {}", job.command, job.on);
        debug!("plan:\n{}", plan.to_toml());
        let outcome = run::run(job, plan, seed, &mut leaving);
        if self.shell {
            terminal::take_back();
        }
        let outcome = outcome.map_err(|error| failed(&error, &leaving.server_said()))?;
        let mut result = self.result(&outcome, plan, seed, command, host, &leaving);
        // Absolute, so that the file can be found from any folder.
        let fates = flags
            .fates
            .as_ref()
            .map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        result.replayed = fates.map(|path| path.display().to_string());
        predict::answer(&mut guesses, &result);
        result.predictions = guesses;
        if let Some((_, old)) = &self.of {
            result.replayed.clone_from(&old.replayed);
        }
        if output.shared.no_command {
            leave_out_commands(&mut result);
        }
        report(&result, output);
        leaving.finish(&result, output.quiet).map_err(|error| unwritten(&error))?;
        if output.shared.json.to_stdout() {
            say(&lab::json(&result)?)?;
        }
        let status = Exit::Program(result.program.status.code());
        info!("the program ended with {}; the path is {:?}", status.code(), result.verdict);
        result.reasons.iter().for_each(|reason| info!("verdict: {}", reason.why));
        let judged = match flags.strict {
            None => None,
            Some(Strict::All) => Some(result.verdict),
            Some(Strict::Fates) => result.fates,
        };
        let untrusted = judged.is_some_and(|verdict| verdict != Verdict::Trusted);
        Ok(if untrusted { Exit::Inconclusive } else { status })
    }

    fn announce(&self, output: &Output, plan: &Plan, seed: u64) {
        if output.quiet {
            return;
        }
        let here = self.on;
        let there = match (plan.localhost, here) {
            (true, _) => "127.0.0.1 is the path",
            (false, End::A) => "b is the other end",
            (false, End::B) => "a is the other end",
        };
        let way_out = if self.shell { "; `exit` prints what the path did" } else { "" };
        stdout::complain(&format!("{LAB}: seed {seed}; on host {here}, {there}{way_out}\n"));
    }

    fn result(
        &self,
        outcome: &Outcome,
        plan: &Plan,
        seed: u64,
        command: String,
        host: Host,
        leaving: &Leaving,
    ) -> PathResult {
        let ways = audit::ways(outcome, plan, &leaving.meter);
        let missed = outcome.missed.notes + outcome.missed.frames;
        let mut caveats = outcome.caveats.clone();
        if outcome.changes > 0 {
            let times = plural(outcome.changes, "time", "times");
            caveats.push(format!("the path was changed {times} while it ran (--control)"));
        }
        caveats.extend(audit::caveats(&ways, plan, outcome.loopback_packets));
        if missed > 0 && !leaving.was_asked_for {
            caveats.push(format!("{missed} {}", audit::MISSED));
        }
        let missed = if leaving.was_asked_for { missed } else { 0 };
        let judged = audit::verdict(&ways, plan, missed, outcome.loopback_packets);
        let [a_to_b, b_to_a] = ways;
        let [_, started, ended] = outcome.times;
        PathResult {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command,
            seed,
            replayed: None,
            plan: plan.words(),
            host: Host {
                congestion_control: outcome.congestion_control.clone(),
                offloads_off: outcome.offloads_off.clone(),
                ..host
            },
            program: ProgramEnd {
                argv: self.command.iter().map(|w| w.to_string_lossy().into_owned()).collect(),
                on: self.on,
                status: audit::status(outcome.status),
                elapsed_ns: nanos(ended.since(started)),
            },
            server_ended: outcome.server_status.map(audit::status),
            server_ready_ns: leaving.server_ready.map(nanos),
            a_to_b,
            b_to_a,
            loopback_packets: outcome.loopback_packets,
            verdict: judged.verdict,
            fates: Some(judged.fates),
            timing: Some(judged.timing),
            reasons: judged.reasons,
            caveats,
            router_cpu_ns: nanos(outcome.router.cpu),
            predictions: Vec::new(),
        }
    }
}

/// The socket of `--control`.
fn control(flags: &Flags, replays: bool) -> Result<Option<Control>, Failure> {
    let Some(path) = &flags.control else { return Ok(None) };
    if replays || !flags.plan()?.links.iter().all(|link| link.timetable.is_empty()) {
        let why = "--control: a path that replays fates or has a timetable cannot be changed";
        return Err(Failure::new(Exit::Usage, why));
    }
    let failed = |error| {
        let what = format!("--control cannot listen at {}", path.display());
        Failure::from_error(Exit::Usage, what, &error)
    };
    Control::open(path).map(Some).map_err(failed)
}

/// Asks a running path for a change.
fn set(
    path: &Path,
    settings: &[(String, String)],
    direction: Option<&str>,
) -> Result<Exit, Failure> {
    let set = settings.iter().cloned().collect();
    let request = Request { set, direction: direction.map(str::to_owned) };
    let failed = |error| {
        let what = format!("the path at {} is not changed", path.display());
        Failure::from_error(Exit::Usage, what, &error)
    };
    control::ask(path, &request).map(|()| Exit::Holds).map_err(failed)
}

/// Leaves the arguments of the program and the server's command out of a result.
fn leave_out_commands(result: &mut PathResult) {
    result.program.argv.truncate(1);
    result.program.argv.push(LEFT_OUT.to_owned());
    if let Some(server) = &mut result.plan.server {
        LEFT_OUT.clone_into(server);
    }
}

/// The user that `sudo` works for, in all their groups.
fn user((id, group): (u32, u32)) -> User {
    let name = std::env::var("SUDO_USER").unwrap_or_default();
    User { id, groups: privilege::groups_of(&name, group) }
}

/// The machine before the run.
fn facts() -> Host {
    Host {
        kernel: host::kernel_release(),
        cpus: host::cpus(),
        mtu_bytes: topology::MTU,
        started_utc: runs::utc(utc_seconds()),
        ..Host::default()
    }
}

/// Shows the end in the prompt, for shells that read these.
fn prompt(on: End) -> Vec<(OsString, OsString)> {
    let mut env = vec![("PS1".into(), format!("({on}) $ ").into())];
    if std::env::var_os("PROMPT_COMMAND").is_none() {
        let command = format!("case $PS1 in \"({on})\"*) ;; *) PS1=\"({on}) $PS1\";; esac");
        env.push(("PROMPT_COMMAND".into(), command.into()));
    }
    env
}

/// Prints the audit to stderr.
fn report(result: &PathResult, output: &Output) {
    if !output.quiet {
        stdout::complain(&text::render(result, output.common.color.for_stderr()));
    }
}

fn recording(path: &Path) -> Result<Recording, Failure> {
    let name = path.display().to_string();
    let what = format!("--fates {name}");
    let text = read_text(path, RECORDED_MAX)
        .map_err(|error| Failure::from_error(Exit::Usage, what.clone(), &error))?;
    Recording::parse(&name, &text).map_err(|error| Failure::from_error(Exit::Usage, what, &error))
}

fn failed(error: &RunError, server_said: &[String]) -> Failure {
    let text = error.to_string();
    match error {
        RunError::NotStarted { program, errno } => {
            let none = format!("{program}: there is no such program");
            // ENOENT: the program, or its interpreter, does not exist. An unreadable folder of PATH
            // makes it EACCES.
            let found = *errno != 2 && exists(program);
            let (why, code) = if found { (text, CANNOT_RUN) } else { (none, NOT_FOUND) };
            Failure::new(Exit::Program(code), why)
        }
        RunError::ServerEnded { .. } | RunError::ServerSilent { .. } => {
            let mut failure = Failure::new(Exit::Network, text);
            for line in server_said {
                failure = failure.because(format!("it said: {line}"));
            }
            let another = format!("{LAB} --b-ready PORT|started …");
            failure.or_type("where it serves no port, or another one matters", another)
        }
        RunError::Interrupted(_) => Failure::new(Exit::Interrupted, text),
        RunError::OneProcessor(_) => Failure::new(Exit::Usage, text)
            .or_type("without it", format!("{LAB} --loss 2% -- ping -c 5 b")),
        RunError::TooMany(_) => Failure::new(Exit::Usage, text),
        RunError::Sysctl(_) => Failure::new(Exit::Privilege, text)
            .because("the kernel has no such setting here, or only the machine's root may set it")
            .or_type("what programs may choose", format!("{LAB} doctor")),
        RunError::Topology(_) | RunError::Step { .. } => {
            Failure::from_error(Exit::Network, "the path could not be run", error)
                .or_type("to see every step", format!("{LAB} doctor"))
        }
    }
}

/// Whether the search path has a file of this name.
fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = program.contains('/') && Path::new(program).exists();
    named || std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn presets() -> Result<Exit, Failure> {
    let mut text = String::new();
    for preset in wirelab::path::preset::ALL {
        text += &format!("{:<14} {}\n", preset.name, preset.description);
        let ways = preset.plans().map(|plan| {
            let settings = plan.settings().into_iter();
            settings.map(|(word, value)| format!("{word} {value}")).collect::<Vec<_>>().join("  ")
        });
        if ways[0] == ways[1] {
            text += &format!("{:<14}   each way  {}\n", "", ways[0]);
        } else {
            text +=
                &format!("{:<14}   a to b  {}\n{:<14}   b to a  {}\n", "", ways[0], "", ways[1]);
        }
        text += &format!("{:<14}   {}\n", "", preset.source);
    }
    say(&text)?;
    Ok(Exit::Holds)
}

/// A saved run, and its result.
fn find(run: Option<&Path>) -> Result<(Saved, Box<PathResult>), Failure> {
    let first = format!("{LAB} -- ping -c 1 b");
    let saved = Saved::find(LAB, run, &first)?;
    let result = saved.result(LAB, &first)?;
    Ok((saved, result))
}

fn show(result: &PathResult, output: &Output) -> Result<Exit, Failure> {
    output.shared.json.write(&lab::json(result)?)?;
    if !output.shared.json.to_stdout() {
        say(&text::render(result, output.common.color.for_stdout()))?;
    }
    Ok(Exit::Holds)
}

/// The same program, plan and seed: the command that made the run repeats it.
fn replay(run: Option<&Path>, yes: bool, output: &Output) -> Result<Exit, Failure> {
    let (saved, old) = find(run)?;
    if old.command.ends_with(LEFT_OUT) {
        let what = format!("{} does not say what it ran", saved.path.display());
        return Err(Failure::new(Exit::Usage, what).because(LEFT_OUT));
    }
    let plan = Plan::of_words(&old.plan, &mut read_file)?;
    confirm(&saved.path, &old, &plan, yes)?;
    let command = old.program.argv.iter().map(OsString::from).collect();
    let (flags, on) = (Flags::seeded(old.seed), old.program.on);
    let task = Task { of: Some((saved, old)), ..Task::new(command, on, false) };
    task.run(&flags, output, &plan)
}

/// Shows the programs that a run names, and asks whether to start them: its files may have come
/// from elsewhere.
fn confirm(run: &Path, old: &PathResult, plan: &Plan, yes: bool) -> Result<(), Failure> {
    let program: Vec<_> = old.program.argv.iter().map(|w| shell_word(OsStr::new(w))).collect();
    let (on, mut text) = (old.program.on, format!("{LAB}: {} starts\n", run.display()));
    text += &format!("  on host {on}: {}\n", program.join(" "));
    if let Some(server) = &plan.server {
        text += &format!("  on host {}: sh -c {}\n", on.other(), shell_word(OsStr::new(server)));
    }
    stdout::complain(&text);
    if yes {
        return Ok(());
    }
    let refused = Failure::new(Exit::Usage, "the programs of a run are not started unasked")
        .or_type("to start them", format!("{LAB} replay --yes {}", shell_word(run.as_os_str())));
    if !io::stdin().is_terminal() {
        return Err(refused);
    }
    stdout::complain("start them? [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    let agreed = read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes");
    if agreed { Ok(()) } else { Err(refused) }
}

fn examine(output: &Output) -> Result<Exit, Failure> {
    let found = doctor::examine();
    output.shared.json.write(&lab::json(&found)?)?;
    if !output.shared.json.to_stdout() {
        say(&text::diagnosis(&found, output.common.color.for_stdout()))?;
    }
    Ok(if found.works() { Exit::Holds } else { Exit::Privilege })
}

fn explain(result: &PathResult, figure: Option<&str>) -> Result<Exit, Failure> {
    let names = explain::figures().collect::<Vec<_>>().join(", ");
    let Some(figure) = figure else {
        say(&format!("figures that can be explained: {names}\n"))?;
        return Ok(Exit::Holds);
    };
    let text = explain::explain(result, figure).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("no figure is called {figure:?}"))
            .because(format!("expected one of {names}"))
    })?;
    say(&text)?;
    Ok(Exit::Holds)
}
