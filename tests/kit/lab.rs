//! Runs labs as processes, in a temporary folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A lab and a folder that is removed on drop.
pub struct Lab {
    /// The program.
    pub binary: PathBuf,
    /// Its working directory.
    pub folder: PathBuf,
}

/// Output of a lab.
pub struct Output {
    /// Exit code, -1 after a signal.
    pub code: i32,
    /// The result.
    pub stdout: String,
    /// Progress and errors.
    pub stderr: String,
}

impl Lab {
    /// The lab of this name.
    pub fn new(name: &str) -> Self {
        let binary = binary(name);
        Self { binary, folder: new_folder(name) }
    }

    /// The lab with these arguments, split at spaces, ready to start.
    pub fn command(&self, args: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args.split_whitespace()).current_dir(&self.folder).stdin(Stdio::null());
        command.env_remove("RUST_LOG");
        command
    }

    /// Runs the lab in a shell: `before` such as `ulimit -n 16;`, `after` such as `> /dev/full`.
    pub fn shell(&self, args: &str, before: &str, after: &str) -> Output {
        let line = format!("{before} exec {} {args} {after}", self.binary.display());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(&self.folder).stdin(Stdio::null());
        Output::of(command.env_remove("RUST_LOG"))
    }

    /// Runs the lab to its end.
    pub fn run(&self, args: &str) -> Output {
        Output::of(&mut self.command(args))
    }
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
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

/// A new empty folder in the system's temporary one.
pub fn new_folder(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("wirelab-test-{}-{number}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}

/// Where cargo puts the workspace's binaries: beside the folder of the running test.
///
/// # Panics
///
/// If the lab is not built: cargo builds a lab's own binary for its own tests only.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let folder = test.parent().and_then(std::path::Path::parent).expect("target/PROFILE/deps/TEST");
    let binary = folder.join(name);
    assert!(binary.is_file(), "no {}: cargo build --workspace makes it", binary.display());
    binary
}
