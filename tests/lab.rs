//! Runs the labs as a user does: as processes, in a folder of their own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// One lab and a folder that goes with the value.
pub(crate) struct Lab {
    binary: PathBuf,
    /// Where it runs.
    pub(crate) folder: PathBuf,
}

/// What a lab said.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Lab {
    /// The lab of this name.
    pub(crate) fn new(name: &str) -> Self {
        let binary = match name {
            "tcp-vs-udp" => env!("CARGO_BIN_EXE_tcp-vs-udp"),
            "bank-tcp" => env!("CARGO_BIN_EXE_bank-tcp"),
            "dns-walk" => env!("CARGO_BIN_EXE_dns-walk"),
            "lossy-path" => env!("CARGO_BIN_EXE_lossy-path"),
            "clock-offset" => env!("CARGO_BIN_EXE_clock-offset"),
            "bank-udp" => env!("CARGO_BIN_EXE_bank-udp"),
            other => panic!("no lab {other}"),
        };
        Self { binary: binary.into(), folder: new_folder(name) }
    }

    /// The lab with these arguments, split at spaces, ready to start.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args.split_whitespace()).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("RUST_LOG");
        command
    }

    /// Runs the lab to its end.
    pub(crate) fn run(&self, args: &str) -> Output {
        Output::of(&mut self.command(args))
    }
}

impl Output {
    /// What a command says, run to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let out = command.output().expect("the lab starts");
        Self {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// A new empty folder under the system's temporary one.
pub(crate) fn new_folder(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wirelab-test-{}-{number}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}
