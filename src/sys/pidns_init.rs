//! The init process of a PID namespace and its supervisor: the parent of all programs of a lab.
//!
//! No program outlives the lab, daemons included: they end with init (pid_namespaces(7)), and init
//! with the lab, even after `kill -9`, by `PR_SET_PDEATHSIG` and the end of its socket.
#![expect(unsafe_code, reason = "fork, setns and signalfd have no safe wrapper in std")]

use super::error::{check, fits, made};
use super::mounts;
use super::netns::Netns;
use super::privilege;
use super::terminal;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// From SIGTERM to SIGKILL.
pub const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// Maximum programs: the two ends of a path.
pub const PROGRAMS_MAX: usize = 2;
/// Maximum bytes of a reason; it holds a system error and a path.
const TEXT_MAX: usize = 8_192;
/// A joined thread is still listed for an instant; this is a thousand of them.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);

/// A program, and where it runs.
#[derive(Debug)]
pub struct Program {
    /// Name or path, and arguments; not empty.
    pub argv: Vec<OsString>,
    /// The host's namespace.
    pub netns: Netns,
    /// Variables besides those of the lab itself.
    pub env: Vec<(OsString, OsString)>,
    /// The user it runs as instead of the lab's.
    pub user: Option<User>,
    /// Output file. Such a program reads nothing and has its own process group, so that Ctrl-C does
    /// not reach it; without, it has the lab's streams and group.
    pub output: Option<File>,
    /// Whether it becomes the terminal's foreground process group, as an interactive shell expects
    /// to be.
    pub foreground: bool,
}

/// A user and their groups, the primary one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub id: u32,
    /// Group IDs; not empty.
    pub groups: Vec<u32>,
}

/// A report of the init process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Init runs. Each entry names a failed set-up step and its reason.
    Ready(Vec<String>),
    /// Init could not be started: the step and its errno(3).
    Failed(String, i32),
    /// The program of this number started.
    Started(u8),
    /// The program of this number could not be started: errno(3).
    NotStarted(u8, i32),
    /// The program of this number ended with this status: wait(2).
    Ended(u8, i32),
    /// SIGTERM is sent to every program now: earlier exits were reported before.
    Stopping,
    /// Init and every program have ended.
    Gone,
}

/// The init process, seen from the lab. Dropping it kills every program.
#[derive(Debug)]
pub struct Supervisor {
    stream: UnixStream,
    process: libc::pid_t,
}

// Commands of the lab: a letter and a number.
const START: u8 = b's';
const SIGNAL: u8 = b'k';
const STOP: u8 = b'q';

// Reports of init: a letter, a number, a value, a text with its length.
const READY: u8 = b'r';
const FAILED: u8 = b'f';
const STARTED: u8 = b's';
const NOT_STARTED: u8 = b'n';
const ENDED: u8 = b'e';
const STOPPING: u8 = b't';
const HEADER: usize = 10;

impl Supervisor {
    /// Starts an init process that can start `programs`, with host names from `hosts` (hosts(5)).
    ///
    /// # Errors
    /// Fails if another thread runs, or with the error of `fork`.
    pub fn start(programs: Vec<Program>, hosts: &str) -> io::Result<Self> {
        alone()?;
        let (ours, theirs) = UnixStream::pair()?;
        // SAFETY: no other thread runs, so the child finds every lock free.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                supervise(theirs, programs, hosts)
            }
            process => Ok(Self { stream: ours, process }),
        }
    }

    /// Starts the program of this number.
    ///
    /// # Errors
    /// Fails if init has exited.
    pub fn run(&mut self, program: u8) -> io::Result<()> {
        self.stream.write_all(&[START, program])
    }

    /// Sends a signal to the program of this number, if it still runs.
    ///
    /// # Errors
    /// Fails if init has exited.
    pub fn signal(&mut self, program: u8, signal: u8) -> io::Result<()> {
        self.stream.write_all(&[SIGNAL, program << 7 | signal & 0x7f])
    }

    /// Stops all programs: SIGTERM, announced by [`Report::Stopping`], SIGKILL after
    /// [`STOP_PATIENCE`]; then [`Report::Gone`].
    ///
    /// # Errors
    /// Fails if init has exited.
    pub fn stop(&mut self) -> io::Result<()> {
        self.stream.write_all(&[STOP, 0])
    }

    /// The next report; `None` after `patience`.
    ///
    /// # Errors
    /// The error of the read, or a malformed report.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<Report>> {
        if !readable(&[self.stream.as_raw_fd()], Some(patience))? {
            return Ok(None);
        }
        let mut header = [0; HEADER];
        if let Err(error) = self.stream.read_exact(&mut header) {
            let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            return if gone.contains(&error.kind()) { Ok(Some(Report::Gone)) } else { Err(error) };
        }
        let [kind, number, v0, v1, v2, v3, l0, l1, l2, l3] = header;
        let value = i32::from_ne_bytes([v0, v1, v2, v3]);
        let length: usize = fits(u32::from_ne_bytes([l0, l1, l2, l3]));
        let mut text = vec![0; length.min(TEXT_MAX)];
        self.stream.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Some(match kind {
            READY => Report::Ready(text.lines().map(str::to_owned).collect()),
            FAILED => Report::Failed(text, value),
            STARTED => Report::Started(number),
            NOT_STARTED => Report::NotStarted(number, value),
            ENDED => Report::Ended(number, value),
            STOPPING => Report::Stopping,
            _ => return Err(io::Error::other(format!("unknown report {kind}"))),
        }))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Init exits at the end of its socket, and every program with it.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let mut status = 0;
        // SAFETY: `status` is live; the process is our own child, not waited for before.
        unsafe { libc::waitpid(self.process, &raw mut status, 0) };
    }
}

/// Waits until no other thread is left.
fn alone() -> io::Result<()> {
    let tasks = || std::fs::read_dir("/proc/self/task").map(Iterator::count);
    let begin = monotonic();
    while tasks()? > 1 {
        if begin.elapsed() > JOIN_PATIENCE {
            return Err(io::Error::other("no init can be forked beside other threads"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "sys may read clocks; this one only bounds a wait")]
fn monotonic() -> Instant {
    Instant::now()
}

/// The longest timeout of poll(2), about 24 days.
const POLL_MAX_MS: u128 = i32::MAX as u128;

/// Waits until a descriptor is readable; `None` waits without limit.
fn readable(descriptors: &[i32], patience: Option<Duration>) -> io::Result<bool> {
    let entry = |fd: &i32| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 };
    let mut entries: Vec<_> = descriptors.iter().map(entry).collect();
    let wait = patience.map_or(-1, |time| fits(time.as_millis().min(POLL_MAX_MS)));
    let count = fits(entries.len());
    // SAFETY: `entries` is live, writable and `count` long.
    match unsafe { libc::poll(entries.as_mut_ptr(), count, wait) } {
        -1 => {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted { Ok(false) } else { Err(error) }
        }
        ready => Ok(ready > 0),
    }
}

/// Exits without running the lab's exit handlers.
fn exit(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory.
    unsafe { libc::_exit(code) }
}

/// The kernel kills the calling process when its parent ends.
fn die_with_parent() {
    let killed = fits::<_, libc::c_ulong>(libc::SIGKILL);
    // SAFETY: this option takes a signal number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, killed, 0, 0, 0) };
}

/// Signals that a terminal or a user sends to the lab; init blocks them.
const BLOCKED: [i32; 11] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGTSTP,
    libc::SIGTTOU,
    libc::SIGCHLD,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
];

/// Blocks [`BLOCKED`]; returns a descriptor that is readable when a child ends, and the previous
/// mask for the programs.
fn block_signals() -> io::Result<(File, libc::sigset_t)> {
    // SAFETY: a sigset_t is plain bits, for which all zero is the empty set.
    let mut before: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: a sigset_t is plain bits; sigemptyset makes it valid before anything reads it. All
    // calls get live sets.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in BLOCKED {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
        let mut child: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut child);
        libc::sigaddset(&raw mut child, libc::SIGCHLD);
        libc::signalfd(-1, &raw const child, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    // SAFETY: the descriptor is new and ours alone.
    Ok((File::from(unsafe { made(fd) }?), before))
}

/// Restores the signal mask `before`.
fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: the set is live and was filled by the kernel.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

/// The process between the lab and init: only a child of the caller of unshare is in the new PID
/// namespace, and after unshare the lab itself could start no thread.
fn supervise(stream: UnixStream, programs: Vec<Program>, hosts: &str) -> ! {
    die_with_parent();
    let mut stream = stream;
    let Ok((children, mask)) = block_signals() else { exit(1) };
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    // SAFETY: unshare takes flags and touches no memory of ours.
    if unsafe { libc::unshare(flags) } != 0 {
        failed(&mut stream, "unshare(CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC)");
    }
    // SAFETY: as in `Supervisor::start`: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => failed(&mut stream, "fork"),
        0 => {
            die_with_parent();
            let running = [None; PROGRAMS_MAX];
            Init { stream, children, mask, programs, running }.work(hosts)
        }
        init => {
            drop(stream);
            drop(programs);
            let mut status = 0;
            // SAFETY: `status` is live; the process is our own child.
            while unsafe { libc::waitpid(init, &raw mut status, 0) } == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            exit(0)
        }
    }
}

fn say(stream: &mut UnixStream, kind: u8, number: u8, value: i32, text: &str) {
    let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    let mut message = Vec::with_capacity(HEADER + text.len());
    message.extend([kind, number]);
    message.extend(value.to_ne_bytes());
    message.extend(fits::<_, u32>(text.len()).to_ne_bytes());
    message.extend(text);
    // If the lab has exited, the next read says so.
    let _ = stream.write_all(&message);
}

/// Reports the step that has just failed, and exits.
fn failed(stream: &mut UnixStream, step: &str) -> ! {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    say(stream, FAILED, 0, errno, step);
    exit(1)
}

/// State of the init process.
struct Init {
    stream: UnixStream,
    children: File,
    /// Signal mask of programs.
    mask: libc::sigset_t,
    programs: Vec<Program>,
    running: [Option<libc::pid_t>; PROGRAMS_MAX],
}

impl Init {
    fn work(mut self, hosts: &str) -> ! {
        let mut caveats = setup_mounts(hosts);
        if let Some(Err(error)) = self.programs.first().map(sees_own_links) {
            caveats.push(format!("/sys shows the links of the machine: {error}"));
        }
        let caveats = caveats.join("\n");
        say(&mut self.stream, READY, 0, 0, &caveats);
        loop {
            let ends = [self.stream.as_raw_fd(), self.children.as_raw_fd()];
            if readable(&ends, None).is_err() {
                exit(1);
            }
            self.reap();
            // Checked separately: a blocking read must find something.
            if !matches!(readable(&ends[..1], Some(Duration::ZERO)), Ok(true)) {
                continue;
            }
            let mut order = [0; 2];
            if self.stream.read_exact(&mut order).is_err() {
                // The lab has exited. The kernel kills the rest.
                exit(0);
            }
            match order {
                [START, number] => self.start(number),
                [SIGNAL, word] => self.signal(word >> 7, i32::from(word & 0x7f)),
                _ => self.stop(),
            }
        }
    }

    fn start(&mut self, number: u8) {
        let place = usize::from(number);
        let Some(program) = self.programs.get_mut(place) else { return };
        match spawn(program, self.mask) {
            Ok(process) => {
                self.running[place] = Some(process);
                say(&mut self.stream, STARTED, number, 0, "");
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                say(&mut self.stream, NOT_STARTED, number, errno, "");
            }
        }
    }

    fn signal(&self, number: u8, signal: i32) {
        if let Some(Some(process)) = self.running.get(usize::from(number)) {
            // SAFETY: the process is our own child, and not yet waited for.
            unsafe { libc::kill(*process, signal) };
        }
    }

    /// Reaps zombies, orphans too; whether any child is left.
    fn reap(&mut self) -> bool {
        let mut buffer = [0; 1024];
        while matches!((&self.children).read(&mut buffer), Ok(read) if read > 0) {}
        loop {
            let mut status = 0;
            // SAFETY: `status` is live.
            let process = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if process <= 0 {
                return process == 0;
            }
            for (number, running) in (0_u8..).zip(&mut self.running) {
                if *running == Some(process) {
                    *running = None;
                    say(&mut self.stream, ENDED, number, status, "");
                }
            }
        }
    }

    /// Ends every process of this namespace, and the namespace.
    fn stop(&mut self) -> ! {
        self.reap();
        say(&mut self.stream, STOPPING, 0, 0, "");
        // SAFETY: -1 means every process of this PID namespace except its init, this process.
        unsafe { libc::kill(-1, libc::SIGTERM) };
        let begin = monotonic();
        while self.reap() {
            let left = STOP_PATIENCE.saturating_sub(begin.elapsed());
            if left.is_zero() || readable(&[self.children.as_raw_fd()], Some(left)).is_err() {
                break;
            }
        }
        // The kernel kills what is left.
        exit(0)
    }
}

/// Sets up mounts; returns what failed.
fn setup_mounts(hosts: &str) -> Vec<String> {
    let mut caveats = Vec::new();
    if let Err(error) = mounts::separate() {
        return vec![format!("the names a and b do not resolve: {error}")];
    }
    if let Err(error) = mounts::cover_hosts(hosts) {
        caveats.push(format!("the names a and b do not resolve: {error}"));
    }
    if let Err(error) = mounts::fresh_proc() {
        caveats.push(format!("/proc shows processes by their outer numbers: {error}"));
    }
    caveats
}

/// Tries what every program does for a `/sys` of its own, in a process that then exits.
fn sees_own_links(program: &Program) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    let netns = program.netns.clone();
    let tried = move || {
        netns.enter().and_then(|()| mounts::fresh_sys())?;
        exit(0)
    };
    // SAFETY: as in `spawn`; nothing is executed.
    unsafe { command.pre_exec(tried) };
    let child = command.spawn();
    // The end of a process before exec is not an error of `spawn`.
    child.map(|mut child| drop(child.wait()))
}

/// Takes a user's groups and identity for good.
fn become_user(user: &User) -> io::Result<()> {
    let group = *user.groups.first().ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the groups are live and as many as said; the other calls take numbers.
    unsafe {
        check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
        check(libc::setresgid(group, group, group))?;
        check(libc::setresuid(user.id, user.id, user.id))
    }
}

fn spawn(program: &mut Program, mask: libc::sigset_t) -> io::Result<libc::pid_t> {
    let (name, arguments) =
        program.argv.split_first().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut command = Command::new(name);
    command.args(arguments).envs(program.env.iter().cloned());
    if let Some(output) = &program.output {
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        command.process_group(0);
    }
    let (netns, user) = (program.netns.clone(), program.user.clone());
    let foreground = program.foreground;
    let enter = move || {
        // A program inherits the signal mask (signal(7)); init's is not for it.
        if foreground {
            terminal::become_foreground();
        }
        restore_signals(&mask);
        netns.enter()?;
        // Init has reported where that is impossible.
        let _ = mounts::fresh_sys();
        privilege::confine_program()?;
        user.as_ref().map_or(Ok(()), become_user)
    };
    // SAFETY: between fork and exec only system calls are made, which take no lock and allocate
    // nothing.
    unsafe { command.pre_exec(enter) };
    let child = command.spawn()?;
    libc::pid_t::try_from(child.id()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}
