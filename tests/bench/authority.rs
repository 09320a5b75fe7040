//! NSD and Unbound for the DNS benchmarks, and their processor time and memory.
//!
//! A process ends with the thread that started it, and when its value is dropped.

#![expect(clippy::disallowed_methods, reason = "it waits for real servers")]

use dns_walk::question::encode;

use dns_walk::text::Question;
use dns_walk::{Name, RecordType};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::runtime::clock::Clock;

/// Of `/proc/PID/stat` (proc(5)).
const TICKS_PER_S: f64 = 100.0;
/// Timeout for what always happens on a working machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that is removed on drop.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("wirelab-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Some users lack sbin in the path.
fn path() -> String {
    std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin"
}

/// Which of these programs are missing.
pub(crate) fn missing<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let path = path();
    let there = |name: &&str| path.split(':').any(|folder| Path::new(folder).join(name).exists());
    names.iter().copied().filter(|name| !there(name)).collect()
}

/// A background process.
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program that ends when the calling thread does.
    pub(crate) fn start(name: impl AsRef<OsStr>, arguments: &[&Path]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(name).args(arguments).env("PATH", path());
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        cpu(self.0.id()).unwrap().0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        Command::new("kill").arg(self.0.id().to_string()).status().ok();
        self.0.wait().ok();
    }
}

/// Processor time of a process and whether it has exited; it is readable until `wait`.
fn cpu(process: u32) -> Option<(Duration, bool)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may contain blanks and parentheses.
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| words.get(at)?.parse::<f64>().ok();
    let used = Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_PER_S);
    Some((used, words.first() == Some(&"Z")))
}

/// `VmRSS` of `/proc/PID/status`.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    1024 * kib.unwrap_or_default()
}

/// Resources that a program used.
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) ok: bool,
}

/// Runs a program to its end; its output goes to files, so that no pipe fills.
pub(crate) fn run(folder: &Path, command: &mut Command, stdout: bool) -> Cost {
    let file = |name: &str| folder.join(name);
    let out = |name: &str| Stdio::from(File::create(file(name)).unwrap());
    command.env("PATH", path()).stderr(out("stderr"));
    command.stdout(if stdout { out("stdout") } else { Stdio::null() });
    let clock = Clock::start();
    let mut child = command.spawn().unwrap();
    // `wait` would discard the counters, so poll until it has exited.
    let (cpu, wall) = loop {
        let wall = clock.now().since(Instant::ZERO);
        match cpu(child.id()) {
            Some((used, true)) => break (used, wall),
            // 1 % of the measured time, with negligible load.
            _ => sleep((wall / 100).max(Duration::from_micros(100))),
        }
    };
    let ok = child.wait().unwrap().success();
    let text = |name: &str| fs::read_to_string(file(name)).unwrap_or_default();
    let stdout = if stdout { text("stdout") } else { String::new() };
    Cost { wall, cpu, stdout, stderr: text("stderr"), ok }
}

/// Zones of an NSD: one per name, all from one file.
pub(crate) struct Zones {
    /// Name of the file, and its text; names in it are relative to the zone.
    pub(crate) file: &'static str,
    pub(crate) text: String,
    pub(crate) names: Vec<String>,
}

/// Starts NSD with these zones at port 53 of these addresses.
pub(crate) fn nsd(folder: &Path, name: &str, addresses: &[String], zones: &[Zones]) -> Running {
    let home = folder.join(name);
    fs::create_dir_all(&home).unwrap();
    let at = home.display();
    let mut config = format!(
        "server:\n  port: 53\n  username: \"\"\n  database: \"\"\n  zonesdir: \"{at}\"\n  \
         xfrdir: \"{at}\"\n  logfile: \"{at}/log\"\n  pidfile: \"{at}/pid\"\n  \
         xfrdfile: \"{at}/xfrd\"\n  zonelistfile: \"{at}/list\"\n  server-count: 1\n  \
         rrl-ratelimit: 0\n"
    );
    for address in addresses {
        let _ = writeln!(config, "  ip-address: {address}");
    }
    config += "remote-control:\n  control-enable: no\n";
    for Zones { file, text, names } in zones {
        fs::write(home.join(file), text).unwrap();
        for name in names {
            let _ = write!(config, "zone:\n  name: \"{name}\"\n  zonefile: \"{file}\"\n");
        }
    }
    let file = home.join("conf");
    fs::write(&file, config).unwrap();
    Running::start("nsd", &[Path::new("-d"), Path::new("-c"), &file])
}

/// Configuration of every Unbound: no validation, these roots, queries to loopback allowed.
pub(crate) fn unbound_config(folder: &Path, more: &str) -> PathBuf {
    let at = folder.display();
    let config = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  directory: \"{at}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  logfile: \"{at}/unbound.log\"\n  root-hints: \"{at}/hints\"\n  \
         module-config: \"iterator\"\n  do-not-query-localhost: no\n  do-ip6: no\n{more}"
    );
    let file = folder.join("unbound.conf");
    fs::write(&file, config).unwrap();
    file
}

/// Further configuration of an Unbound that serves one address.
pub(crate) fn serving_at(address: &str) -> String {
    format!(
        "  interface: {address}\n  do-daemonize: no\n  num-threads: 1\n  \
         access-control: 0.0.0.0/0 allow\n"
    )
}

/// Writes the root hints, in the format of both kinds of program.
pub(crate) fn write_hints(folder: &Path, roots: &[(&str, String)]) -> PathBuf {
    let mut text = String::new();
    for (name, address) in roots {
        let _ = write!(text, ". 518400 NS {name}\n{name} 518400 A {address}\n");
    }
    let file = folder.join("hints");
    fs::write(&file, text).unwrap();
    file
}

/// Queries a server until it answers, with RD for a resolver; returns the reply.
pub(crate) fn await_answer(server: &str, name: &str, kind: RecordType, recursion: bool) -> Vec<u8> {
    let to = SocketAddr::new(server.parse().unwrap(), 53);
    let clock = Clock::start();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let question = Question::new(Name::from_ascii(name).unwrap(), kind);
    let mut query = encode(1, &question, true, false, None).unwrap();
    query[2] |= u8::from(recursion);
    let mut buffer = vec![0; 4_096];
    while clock.now().since(Instant::ZERO) < PATIENCE {
        let came = socket.send_to(&query, to).and_then(|_| socket.recv(&mut buffer));
        match came {
            // NOERROR or NXDOMAIN (RFC 1035 §4.1.1): it has loaded its zones.
            Ok(length) if length > 12 && matches!(buffer[3] & 0xf, 0 | 3) => {
                buffer.truncate(length);
                return buffer;
            }
            _ => sleep(Duration::from_millis(20)),
        }
    }
    panic!("{server} does not answer {name}: it is to be up within {PATIENCE:?}")
}
