//! Peer programs of the clock benchmarks, and the processor time of their processes. None of them
//! sets a clock.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A server process, killed on drop.
pub(crate) struct Served {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    child: Child,
    folder: Option<PathBuf>,
}

impl Served {
    /// `clock-offset serve`.
    pub(crate) fn ours(flags: &str) -> Self {
        let mut child = Command::new(wirelab_tests::lab::binary("clock-offset"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0"])
            .args(flags.split_whitespace())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        let port = told["address"].as_str().unwrap().rsplit(':').next().unwrap();
        Self { name: "clock-offset serve", port: port.parse().unwrap(), child, folder: None }
    }

    /// chronyd with a local clock, which it never sets; `None` if it is not installed.
    pub(crate) fn chronyd(address: &str, port: u16) -> Option<Self> {
        let folder = scratch();
        let shown = folder.display();
        // Without a list of its clients, as its FAQ recommends for busy servers.
        let config = format!(
            "port {port}\nbindaddress {address}\nallow\nlocal stratum 5\nnoclientlog\n\
             cmdport 0\nbindcmdaddress /\npidfile {shown}/pid\n"
        );
        std::fs::write(folder.join("conf"), config).unwrap();
        let child = chronyd()?
            .args(["-x", "-d", "-f"])
            .arg(folder.join("conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { name: "chronyd", port, child, folder: Some(folder) })
    }

    /// Processor time of its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = |task: std::io::Result<std::fs::DirEntry>| -> u64 {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat"));
            // The first field is time on the processor, nanoseconds.
            text.unwrap_or_default().split_whitespace().next().map_or(0, |n| n.parse().unwrap())
        };
        Duration::from_nanos(tasks.map(nanos).sum())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(folder) = &self.folder {
            std::fs::remove_dir_all(folder).ok();
        }
    }
}

/// chronyd as this user, so that it drops no privilege; `None` if it is not installed.
pub(crate) fn chronyd() -> Option<Command> {
    let program = found(&["/usr/sbin/chronyd", "/usr/bin/chronyd"])?;
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let mut command = Command::new(program);
    command.args(["-U", "-u", user.trim()]);
    Some(command)
}

/// A private temporary folder.
pub(crate) fn scratch() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("wirelab-bench-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The first of these programs that is installed.
pub(crate) fn found(programs: &[&'static str]) -> Option<&'static str> {
    programs.iter().copied().find(|program| Path::new(program).exists())
}

/// A free port.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
