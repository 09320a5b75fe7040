//! Runs a program on each of two hosts with a path between them, until the first of them ends.
//!
//! The supervisor is forked before any thread starts, and no process is left on return.

use super::control::{self, Control};
use super::plan::{Plan, Ready};
use super::sysctl;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thiserror::Error;
use wirelab::cli::run::{WRITTEN_MAX, read_text};
use wirelab::emulator::events::{Chunk, Missed, Streaming};
use wirelab::emulator::listening;
use wirelab::emulator::record::RecordConfig;
use wirelab::emulator::router::{LaneRecord, Router, RouterConfig, RouterSummary, TooManyFrames};
use wirelab::emulator::topology::{FrameMode, Topology, TopologyError};
use wirelab::measure::Instant;
use wirelab::path::{Direction, Link, Recording};
use wirelab::runtime::clock::Clock;
use wirelab::sys::error::during;
use wirelab::sys::host;
use wirelab::sys::netns::Netns;
use wirelab::sys::pidns_init::{Program, Report, STOP_PATIENCE, Supervisor, User};

/// Timeout for a program on the other host to get ready: a database opens its files.
pub const READY_PATIENCE: Duration = Duration::from_secs(10);
/// Interval of the checks whether it is ready.
const READY_LOOK: Duration = Duration::from_millis(10);
/// Interval of fetching chunks: a chunk holds this much at the router's maximum rate.
const CHUNK_EVERY: Duration = Duration::from_millis(100);
/// Slots of each receive ring: programs compete with the router for processors, without being
/// slowed. 40 ms at 100,000 frames/s; 8 MiB.
const RING_FRAMES: usize = 4_096;
/// The same for super-frames, which hold many frames each: 64 KiB a slot, 64 MiB a ring.
const RING_SUPER_FRAMES: usize = 1_024;
/// Effect of super-frames on times and captures.
const SHARED_STAMPS: &str = "segments that a host sends at once reach the path at the same moment \
    (--frames segmented): spacing below a millisecond is the hosts', not a wire's";
/// Timeout for the supervisor's mounts, which take milliseconds.
const INIT_PATIENCE: Duration = Duration::from_secs(10);
/// Time between a signal that asks a program to end and SIGKILL.
pub const END_PATIENCE: Duration = Duration::from_secs(5);

/// An end of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Host A.
    #[default]
    A,
    /// Host B.
    B,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its name in the hosts file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The program to run, and the records to keep.
#[derive(Debug)]
pub struct Job {
    /// The program and its arguments; not empty.
    pub command: Vec<OsString>,
    /// Its host; the plan's server runs on the other.
    pub on: End,
    /// Whether it is an interactive shell, which handles the terminal.
    pub shell: bool,
    /// Its variables besides those of the hosts.
    pub env: Vec<(OsString, OsString)>,
    /// The user that it and the server run as instead of the lab's.
    pub user: Option<User>,
    /// Where the server's output goes.
    pub server_output: Option<File>,
    /// Whether to hand over the frames themselves.
    pub frames: bool,
    /// Where changes of the path are asked for.
    pub control: Option<Control>,
    /// Fates to replay.
    pub replay: Option<Recording>,
}

/// Callbacks during a run.
pub trait Watch {
    /// A signal to forward to the program, once each time it arrived.
    fn signal(&mut self) -> Option<u8>;
    /// The server is ready (`None` without one), and the program starts now.
    fn starts(&mut self, server_ready: Option<Duration>);
    /// Events on the path since the last call.
    ///
    /// # Errors
    /// If they cannot be written; the run then ends.
    fn chunk(&mut self, clock: Clock, chunk: &Chunk) -> io::Result<()>;
}

/// A run that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// The router's record.
    pub record: LaneRecord,
    /// Totals of the router.
    pub router: RouterSummary,
    /// How the program ended.
    pub status: ExitStatus,
    /// How the server had ended before it was stopped, if it had.
    pub server_status: Option<ExitStatus>,
    /// When the path began to carry frames, the program started and ended.
    pub times: [Instant; 3],
    /// Setup failures, in sentences.
    pub caveats: Vec<String>,
    /// Events that were not handed over in time.
    pub missed: Missed,
    /// Number of changes while it ran.
    pub changes: u64,
    /// Frames of a recording, `[a_to_b, b_to_a]`.
    pub recorded: Option<[u64; 2]>,
    /// Offloads that are off on the hosts, read back.
    pub offloads_off: Vec<String>,
    /// Packets on the loopback interfaces of A and B.
    pub loopback_packets: [u64; 2],
    /// Congestion control of the hosts.
    pub congestion_control: String,
}

/// A run that failed.
#[derive(Debug, Error)]
pub enum RunError {
    /// The frames in flight would exceed the memory limit.
    #[error(transparent)]
    TooMany(#[from] TooManyFrames),
    /// The network.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A step of the run.
    #[error("{step}: {error}")]
    Step {
        /// The failed step.
        step: &'static str,
        /// The system's error.
        #[source]
        error: io::Error,
    },
    /// A kernel setting that the kernel does not have, or that this user may not set.
    #[error(transparent)]
    Sysctl(io::Error),
    /// There is no processor to reserve.
    #[error("the router gets no processor of its own (--own-cpu): programs may run on {0} alone")]
    OneProcessor(usize),
    /// A program that cannot be started; see errno(3).
    #[error("{program}: {}", io::Error::from_raw_os_error(*errno))]
    NotStarted {
        /// Its name.
        program: String,
        /// The kernel's answer.
        errno: i32,
    },
    /// The server ended before it was ready.
    #[error("the program on {host} ended before it was ready: {status}")]
    ServerEnded {
        /// Its host.
        host: End,
        /// Its exit.
        status: ExitStatus,
    },
    /// The server was not ready in time.
    #[error("the program on {host} was not ready within {READY_PATIENCE:?}: waited for {wanted}")]
    ServerSilent {
        /// Its host.
        host: End,
        /// The condition.
        wanted: String,
    },
    /// A signal before the program had started.
    #[error("interrupted by signal {0}")]
    Interrupted(u8),
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::Step { step, error }
}

/// The text of the hosts file where host A talks to itself: the previous content without names of
/// ::1, which is not on the path.
#[must_use]
pub fn localhost_text(before: &str) -> String {
    let kept = before.lines().filter(|line| line.split_whitespace().next() != Some("::1"));
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    format!("127.0.0.1 localhost a\n{kept}")
}

/// The text of the hosts file: the two hosts, this host, and the previous content.
#[must_use]
pub fn hosts_text(before: &str) -> String {
    let (a, b, a6, b6) = (Topology::A_ADDR, Topology::B_ADDR, Topology::A_ADDR6, Topology::B_ADDR6);
    let mut text = format!("{a} a\n{b} b\n{a6} a\n{b6} b\n");
    let names = |line: &str, name: &str| line.split_whitespace().skip(1).any(|word| word == name);
    if !before.lines().any(|line| names(line, "localhost")) {
        text += "127.0.0.1 localhost\n::1 localhost\n";
    }
    text + before
}

/// The variables that describe the path to a program.
fn variables(on: End) -> Vec<(OsString, OsString)> {
    let pairs = [
        ("WIRELAB_HOST", on.name().to_owned()),
        ("WIRELAB_A", Topology::A_ADDR.to_string()),
        ("WIRELAB_B", Topology::B_ADDR.to_string()),
        ("WIRELAB_A6", Topology::A_ADDR6.to_string()),
        ("WIRELAB_B6", Topology::B_ADDR6.to_string()),
    ];
    pairs.map(|(name, value)| (name.into(), value.into())).to_vec()
}

// The numbers of the programs in the supervisor.
const MAIN: u8 = 0;
const SERVER: u8 = 1;

const fn ring_frames(frames: FrameMode) -> usize {
    match frames {
        FrameMode::MtuSized => RING_FRAMES,
        FrameMode::Segmented => RING_SUPER_FRAMES,
    }
}

/// Binds the calling thread, and so the programs, to all processors but the last; returns its
/// number.
fn leave_a_processor() -> Result<usize, RunError> {
    let cpus = host::allowed_cpus().map_err(step("count the processors"))?;
    match cpus.split_last() {
        Some((last, others)) if !others.is_empty() => {
            host::pin_to_cpus(others).map_err(step("leave the router a processor"))?;
            Ok(*last)
        }
        _ => Err(RunError::OneProcessor(cpus.len())),
    }
}

/// Runs a job through a plan's path.
///
/// # Errors
/// Why it could not run; nothing is left of it then.
pub fn run(
    mut job: Job,
    plan: &Plan,
    seed: u64,
    watch: &mut dyn Watch,
) -> Result<Outcome, RunError> {
    let mut config = RouterConfig::for_plans(&plan.links)?;
    if plan.own_cpu {
        config.cpu = Some(leave_a_processor()?);
    }
    let build = if plan.localhost { Topology::for_localhost } else { Topology::for_programs };
    let topology = build(plan.frames)?;
    let lane = &topology.lanes[0];
    for setting in sysctl::buffers(plan).iter().chain(&plan.sysctls) {
        setting.apply([&lane.a, &lane.b]).map_err(RunError::Sysctl)?;
    }
    let hosts = |end| if end == End::A { lane.a.clone() } else { lane.b.clone() };
    let supervisor = supervise(programs(&mut job, plan, hosts), plan.localhost)?;
    // Threads are allowed from here on.
    let clock = Clock::start();
    config.ring_frames = ring_frames(plan.frames);
    config.spin = plan.spin.unwrap_or(config.spin);
    let router = Router::start(&topology, config, clock).map_err(step("start the router"))?;
    let mut session = Session {
        supervisor,
        router,
        clock,
        server_on: hosts(job.on.other()),
        server_end: job.on.other(),
        name: job.command[0].to_string_lossy().into_owned(),
        caveats: Vec::new(),
        server_status: None,
        spare: None,
        missed: Missed::default(),
        control: job.control.take(),
        plan: plan.clone(),
        changes: 0,
    };
    let recorded = job.replay.as_ref().map(|r| Direction::BOTH.map(|way| r.frames(way)));
    let start = Arc::new(OnceLock::new());
    session.begin(plan, (seed, &start), job.frames, job.replay.as_ref())?;
    let began = clock.now();
    let ready = session.serve(plan, watch)?;
    watch.starts(ready);
    // Timetables, slots and traces of both directions count from here.
    let started = *start.get_or_init(|| clock.now());
    let status = session.follow(watch)?;
    let ended = clock.now();
    let offloads_off = lane.offloads_off().map_err(step("read the offloads"))?;
    let loopback_packets = loopback_packets([&lane.a, &lane.b])?;
    let congestion_control = congestion_control(&lane.a);
    let (record, router, mut rest) = session.end(watch)?;
    if plan.frames == FrameMode::Segmented {
        rest.caveats.push(SHARED_STAMPS.to_owned());
    }
    Ok(Outcome {
        record,
        router,
        status,
        server_status: rest.server_status,
        times: [began, started, ended],
        caveats: rest.caveats,
        missed: rest.missed,
        changes: rest.changes,
        recorded,
        offloads_off,
        loopback_packets,
        congestion_control,
    })
}

/// The program, and the plan's server on the other host.
fn programs(job: &mut Job, plan: &Plan, hosts: impl Fn(End) -> Netns) -> Vec<Program> {
    let env = variables(job.on).into_iter().chain(std::mem::take(&mut job.env)).collect();
    let (argv, netns, user) = (job.command.clone(), hosts(job.on), job.user.clone());
    let foreground = job.shell;
    let mut programs = vec![Program { argv, netns, env, user, output: None, foreground }];
    if let Some(server) = &plan.server {
        programs.push(Program {
            argv: vec!["sh".into(), "-c".into(), server.into()],
            netns: hosts(job.on.other()),
            env: variables(job.on.other()),
            user: job.user.take(),
            output: job.server_output.take(),
            foreground: false,
        });
    }
    programs
}

fn loopback_packets([a, b]: [&Netns; 2]) -> Result<[u64; 2], RunError> {
    let packets = |host| listening::loopback_packets(host).map_err(step("count the loopback"));
    Ok([packets(a)?, packets(b)?])
}

/// Starts the supervisor with the programs' hosts file.
fn supervise(programs: Vec<Program>, localhost: bool) -> Result<Supervisor, RunError> {
    let before = read_text(Path::new("/etc/hosts"), WRITTEN_MAX).unwrap_or_default();
    let text = if localhost { localhost_text(&before) } else { hosts_text(&before) };
    Supervisor::start(programs, &text).map_err(step("start the supervisor"))
}

/// The congestion control of a host; empty if unknown.
fn congestion_control(host: &Netns) -> String {
    const FILE: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
    let read = host.run(|| read_text(Path::new(FILE), WRITTEN_MAX).unwrap_or_default());
    read.unwrap_or_default().trim().to_owned()
}

/// Results to report after the teardown.
struct Rest {
    server_status: Option<ExitStatus>,
    caveats: Vec<String>,
    missed: Missed,
    changes: u64,
}

struct Session {
    supervisor: Supervisor,
    router: Router,
    clock: Clock,
    server_on: Netns,
    server_end: End,
    name: String,
    caveats: Vec<String>,
    server_status: Option<ExitStatus>,
    spare: Option<Chunk>,
    missed: Missed,
    control: Option<Control>,
    /// The plan in force.
    plan: Plan,
    changes: u64,
}

impl Session {
    /// Waits for the supervisor, then sets the links.
    fn begin(
        &mut self,
        plan: &Plan,
        (seed, start): (u64, &Arc<OnceLock<Instant>>),
        frames: bool,
        replay: Option<&Recording>,
    ) -> Result<(), RunError> {
        match self.supervisor.next(INIT_PATIENCE).map_err(step("hear from the supervisor"))? {
            Some(Report::Ready(caveats)) => self.caveats = caveats,
            Some(Report::Failed(what, errno)) => {
                let error = io::Error::from_raw_os_error(errno);
                let error = during(what)(error);
                return Err(RunError::Step { step: "keep the programs together", error });
            }
            _ => return Err(gone()),
        }
        let links = Direction::BOTH.map(|way| match replay {
            Some(recording) => Link::replaying(recording, way),
            None => Link::new(plan.links[way.index()].clone(), seed, way)
                .starting_with(Arc::clone(start)),
        });
        let stream = if frames { Streaming::Frames } else { Streaming::Fates };
        self.spare = Some(Chunk::new(stream));
        let record = RecordConfig { capture_frames: 0, stream };
        self.router.set_link_pair(0, Box::new(links), record).map_err(step("set the links"))
    }

    /// Starts the server, if there is one, and waits until it is ready.
    fn serve(&mut self, plan: &Plan, watch: &mut dyn Watch) -> Result<Option<Duration>, RunError> {
        if plan.server.is_none() {
            return Ok(None);
        }
        let begin = self.clock.now();
        self.supervisor.run(SERVER).map_err(step("start the server"))?;
        loop {
            if let Some(report) =
                self.supervisor.next(READY_LOOK).map_err(step("hear of the server"))?
            {
                self.hear(report)?;
            }
            let waited = self.clock.now().since(begin);
            // A daemon's parent ends with 0 and leaves its child behind.
            let status = self.server_status.filter(|status| {
                !status.success() || plan.ready == Ready::Started || waited > READY_PATIENCE
            });
            if let Some(status) = status {
                return Err(RunError::ServerEnded { host: self.server_end, status });
            }
            if let Some(signal) = watch.signal() {
                return Err(RunError::Interrupted(signal));
            }
            let ports = listening::ports(&self.server_on).map_err(step("look for the server"))?;
            let is_ready = match plan.ready {
                Ready::Started => true,
                Ready::Listening => !ports.is_empty(),
                Ready::Port(port) => ports.contains(&port),
            };
            if is_ready {
                // What serves is not what ended.
                self.server_status = None;
                return Ok(Some(waited));
            }
            if waited > READY_PATIENCE {
                let wanted = match plan.ready {
                    Ready::Port(port) => format!("port {port}, TCP or UDP; it serves {ports:?}"),
                    _ => "any port, TCP or UDP".to_owned(),
                };
                return Err(RunError::ServerSilent { host: self.server_end, wanted });
            }
        }
    }

    /// Handles a report that is not about the program's end.
    fn hear(&mut self, report: Report) -> Result<(), RunError> {
        match report {
            Report::Ended(SERVER, status) => {
                self.server_status = Some(ExitStatus::from_raw(status))
            }
            Report::NotStarted(number, errno) => {
                let program = if number == MAIN { self.name.clone() } else { "sh".to_owned() };
                return Err(RunError::NotStarted { program, errno });
            }
            Report::Gone => return Err(gone()),
            _ => {}
        }
        Ok(())
    }

    /// Runs the program to its end.
    fn follow(&mut self, watch: &mut dyn Watch) -> Result<ExitStatus, RunError> {
        self.supervisor.run(MAIN).map_err(step("start the program"))?;
        let mut asked_to_end = None;
        loop {
            match self.supervisor.next(CHUNK_EVERY).map_err(step("hear of the program"))? {
                Some(Report::Ended(MAIN, status)) => return Ok(ExitStatus::from_raw(status)),
                Some(report) => self.hear(report)?,
                None => {}
            }
            self.router.check().map_err(step("route"))?;
            self.fetch(watch)?;
            self.change()?;
            if let Some(signal) = watch.signal() {
                self.supervisor.signal(MAIN, signal).map_err(step("pass a signal on"))?;
                if ENDING.contains(&signal) {
                    asked_to_end.get_or_insert_with(|| self.clock.now());
                }
            }
            if asked_to_end.is_some_and(|at| self.clock.now().since(at) > END_PATIENCE) {
                self.supervisor.signal(MAIN, KILL).map_err(step("kill the program"))?;
            }
        }
    }

    /// Makes the changes that clients ask for.
    fn change(&mut self) -> Result<(), RunError> {
        while let Some((client, request)) = self.control.as_ref().and_then(Control::next) {
            let read = &mut |name: &str| {
                read_text(Path::new(name), WRITTEN_MAX).map_err(|error| error.to_string())
            };
            let links = request.and_then(|request| control::changed(&self.plan, &request, read));
            let done = match links {
                Ok(links) => {
                    let changed = self.router.change_plans(0, links.clone());
                    changed.map_err(step("change the path"))?;
                    self.plan.links = links;
                    self.changes += 1;
                    Ok(())
                }
                Err(why) => Err(why),
            };
            client.answer(done);
        }
        Ok(())
    }

    fn fetch(&mut self, watch: &mut dyn Watch) -> Result<(), RunError> {
        let Some(spare) = self.spare.take() else { return Ok(()) };
        let chunk = self.router.take_chunk(0, spare).map_err(step("fetch what happened"))?;
        self.hand_over(&chunk, watch)?;
        self.spare = Some(chunk);
        Ok(())
    }

    fn hand_over(&mut self, chunk: &Chunk, watch: &mut dyn Watch) -> Result<(), RunError> {
        self.missed.notes += chunk.missed.notes;
        self.missed.frames += chunk.missed.frames;
        watch.chunk(self.clock, chunk).map_err(step("write down what happened"))
    }

    /// Ends every program, then the record.
    fn end(mut self, watch: &mut dyn Watch) -> Result<(LaneRecord, RouterSummary, Rest), RunError> {
        self.supervisor.stop().map_err(step("stop the programs"))?;
        let begin = self.clock.now();
        let mut stopping = false;
        loop {
            match self.supervisor.next(CHUNK_EVERY) {
                Ok(Some(Report::Gone)) | Err(_) => break,
                Ok(Some(Report::Stopping)) => stopping = true,
                // After SIGTERM an exit status is not the server's own.
                Ok(Some(report @ Report::Ended(SERVER, _))) if !stopping => self.hear(report)?,
                Ok(_) => {}
            }
            self.fetch(watch)?;
            if self.clock.now().since(begin) > STOP_PATIENCE * 2 {
                break;
            }
        }
        let record = self.router.take_record(0).map_err(step("take the record"))?;
        self.hand_over(&record.rest, watch)?;
        let summary = self.router.stop().map_err(step("stop the router"))?;
        let Self { server_status, caveats, missed, changes, .. } = self;
        Ok((record, summary, Rest { server_status, caveats, missed, changes }))
    }
}

/// SIGKILL.
const KILL: u8 = 9;
/// SIGHUP and SIGTERM, which ask a program to end; programs may handle Ctrl-C otherwise.
const ENDING: [u8; 2] = [1, 15];

fn gone() -> RunError {
    let error = io::Error::other("it ended, and every program with it");
    RunError::Step { step: "hear from the supervisor", error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_keeps_what_was_there() {
        let text = hosts_text("127.0.0.1 localhost box\n10.9.8.7 database\n");
        assert!(text.starts_with("10.0.0.1 a\n10.0.0.2 b\nfd00::1 a\nfd00::2 b\n"));
        assert!(text.ends_with("10.9.8.7 database\n"));
        assert_eq!(text.matches("localhost").count(), 1);
        assert!(hosts_text("").contains("::1 localhost"));
        let text = localhost_text("127.0.0.1 localhost box\n::1 localhost\n10.9.8.7 database\n");
        assert_eq!(text, "127.0.0.1 localhost a\n127.0.0.1 localhost box\n10.9.8.7 database\n");
    }
}
