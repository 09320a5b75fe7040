//! What other users can plant: links, folders, devices. Nothing is overwritten, followed or waited
//! for, and every file is opened for writing through the file module.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wirelab_tests::lab::{Output, binary, new_folder};
use wirelab_tests::namespaces::{EXIT_PRIVILEGE, NOBODY, am_root};

/// A folder that every user may write to, as `/tmp`.
struct Shared(PathBuf);

impl Shared {
    fn new() -> Self {
        let folder = new_folder("shared");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777)).unwrap();
        Self(folder)
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = Command::new(binary(words.next().unwrap()));
        command.args(words).current_dir(&self.0).stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    fn run(&self, line: &str) -> Output {
        Output::of(&mut self.command(line))
    }

    /// Runs a shell command as another user, if the tests may.
    fn as_another(&self, line: &str) -> bool {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.0);
        if am_root() {
            command.uid(NOBODY).gid(NOBODY);
        } else {
            println!("skipped: {line}: only root can act as another user");
            return false;
        }
        assert!(command.status().unwrap().success(), "{line}");
        true
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A quick run of each lab that leaves files, without its output flags.
const RUNS: [&str; 3] = [
    "dns-walk www.igbank.com --demo --sim --seed 4",
    "clock-offset --sim --requests 5 --seed 4",
    "tcp-vs-udp --sim --ops 20 --loss 0 --arms udp-once --seed 4",
];

#[test]
fn planted_links_and_folders_overwrite_nothing() {
    let shared = Shared::new();
    let mine = new_folder("mine");
    let precious = mine.join("precious");
    fs::write(&precious, "kept").unwrap();
    let untouched = |what: &str| {
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept", "{what}");
        assert_eq!(fs::read_dir(&mine).unwrap().count(), 1, "{what}");
    };
    // A link to a folder of the user's, even their own.
    symlink(&mine, shared.0.join("wirelab-runs")).unwrap();
    for run in RUNS {
        let out = shared.run(run);
        assert_eq!(out.code, 2, "{run}: {}", out.stderr);
        untouched(run);
    }
    fs::remove_file(shared.0.join("wirelab-runs")).unwrap();
    if shared.as_another("mkdir wirelab-runs && chmod 777 wirelab-runs") {
        for run in RUNS {
            let out = shared.run(run);
            assert!(out.code == 2 && out.stderr.contains("another user"), "{run}: {}", out.stderr);
        }
        fs::remove_dir(shared.0.join("wirelab-runs")).unwrap();
    }
    let planted =
        format!("ln -s {0} J && ln -s {0} E && ln -s {1} X", precious.display(), mine.display());
    if !shared.as_another(&planted) {
        return;
    }
    for run in RUNS {
        for flag in ["--json=J", "--events E", "--json=J --events E"] {
            let out = shared.run(&format!("{run} --no-report {flag}"));
            assert_eq!(out.code, 2, "{run} {flag}: {}", out.stderr);
            untouched(flag);
        }
    }
    fs::remove_dir_all(&mine).unwrap();
}

#[test]
fn files_that_a_user_names_are_new_and_private_or_their_own() {
    let shared = Shared::new();
    let mode = |name: &str| fs::metadata(shared.0.join(name)).unwrap().permissions().mode() & 0o777;
    fs::write(shared.0.join("own"), "before").unwrap();
    fs::set_permissions(shared.0.join("own"), fs::Permissions::from_mode(0o640)).unwrap();
    let run = RUNS[0];
    let out = shared.run(&format!("{run} --out X --events E --json=own"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert_eq!(
        [mode("E"), mode("own"), mode("X"), mode("X/result.json")],
        [0o600, 0o640, 0o700, 0o600]
    );
    assert!(fs::read_to_string(shared.0.join("own")).unwrap().starts_with('{'));
    // A run that cannot start replaces nothing.
    let out = shared.run("dns-walk www.igbank.com --demo --sim --out X --events E --json=own");
    assert!(out.code == 2 && out.stderr.contains("not empty"), "{}", out.stderr);
    assert!(!fs::read_to_string(shared.0.join("E")).unwrap().is_empty());
    let left = fs::read_dir(&shared.0).unwrap().flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".partial")));
}

#[test]
fn only_regular_files_of_some_size_are_read() {
    let shared = Shared::new();
    let fifo = Command::new("mkfifo").arg("fifo").current_dir(&shared.0).status();
    assert!(fifo.is_ok_and(|made| made.success()));
    fs::create_dir(shared.0.join("run")).unwrap();
    for name in ["result.json", "events.ndjson"] {
        symlink("/dev/zero", shared.0.join("run").join(name)).unwrap();
    }
    let huge = fs::File::create(shared.0.join("huge")).unwrap();
    huge.set_len(1 << 40).unwrap();
    fs::write(shared.0.join("secret"), "root:$6$geheim:19000\n").unwrap();
    for line in [
        "dns-walk --replay FILE",
        "dns-walk www.igbank.com --hints FILE",
        "dns-walk www.igbank.com --demo --sim --anchor FILE",
        "clock-offset --from FILE",
        "tcp-vs-udp --sim --plan FILE",
        "lossy-path --plan FILE --print-plan",
        "lossy-path --loss list:FILE --print-plan",
        "lossy-path --rate trace:FILE --print-plan",
        "lossy-path --no-report --fates FILE -- true",
    ] {
        for (name, why) in [
            ("fifo", "not a regular"),
            ("/dev/zero", "not a regular"),
            ("huge", "MiB"),
            ("secret", ""),
        ] {
            let out = shared.run(&line.replace("FILE", name));
            assert_eq!(out.code, 2, "{line} {name}: {}{}", out.stdout, out.stderr);
            let said = out.stdout + &out.stderr;
            assert!(said.contains(why) && !said.contains("geheim"), "{line} {name}: {said}");
        }
    }
    for view in
        ["dns-walk show run", "clock-offset show run", "tcp-vs-udp show run", "lossy-path show run"]
    {
        let out = shared.run(view);
        assert_eq!(out.code, 2, "{view}: {}", out.stderr);
    }
}

/// Whether a system call opens a file for writing other than as the file module does: by name in a
/// folder that it holds open, and through no link.
fn strays(call: &str) -> bool {
    let Some((_, arguments)) = call.split_once("open") else { return false };
    let Some((how, rest)) = arguments.split_once('(') else { return false };
    let writes =
        ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| rest.contains(flag))
            || how.starts_with("creat");
    let path = rest.split('"').nth(1).unwrap_or_default();
    // Standard streams, the controlling terminal, settings of the kernel.
    let system = ["/dev/null", "/dev/tty", "/proc/"].iter().any(|known| path.starts_with(known));
    let held = !rest.starts_with("AT_FDCWD") && rest.contains("O_NOFOLLOW") && !path.contains('/');
    writes && !system && !held
}

#[test]
fn every_file_is_opened_for_writing_by_the_file_module() {
    assert!(strays("openat(AT_FDCWD, \"a\", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3"));
    assert!(strays("openat(3, \"a\", O_WRONLY|O_CREAT, 0666) = 4"));
    assert!(!strays("openat(3, \"a\", O_RDWR|O_CREAT|O_EXCL|O_NOFOLLOW, 0600) = 4"));
    assert!(!strays("openat(AT_FDCWD, \"a\", O_RDONLY|O_CLOEXEC) = 4"));
    if !Command::new("strace").arg("-V").output().is_ok_and(|out| out.status.success()) {
        println!("skipped: strace is not installed");
        return;
    }
    let shared = Shared::new();
    let out = "--events E --json=J";
    let lossy = "lossy-path --quiet";
    let lines = [
        format!("{} {out}", RUNS[0]),
        format!("{} {out} --samples S", RUNS[1]),
        format!("{} {out}", RUNS[2]),
        format!("{lossy} {out} --record R --capture C/D -- true"),
        format!("{lossy} --b true --b-ready started --fates R -- true"),
        "lossy-path replay --yes".to_owned(),
        "lossy-path doctor --json=J".to_owned(),
        "dns-walk show --json=J".to_owned(),
        "dns-walk show --out X".to_owned(),
        "clock-offset show --json=J".to_owned(),
        "tcp-vs-udp show --json=J".to_owned(),
        "tcp-vs-udp --ops 20 --loss 0 --depth 1 --arms udp-once --seed 3".to_owned(),
        "dns-walk runs --delete-older-than 0".to_owned(),
    ];
    for line in lines {
        let mut words = line.split(' ');
        let lab = binary(words.next().unwrap());
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=open,openat,openat2,creat", "-o", "trace"]);
        command.arg(lab).args(words).current_dir(&shared.0).stdin(Stdio::null());
        let ended = Output::of(&mut command);
        if ended.code == EXIT_PRIVILEGE {
            println!("skipped: {line}: this machine forbids namespaces");
            continue;
        }
        assert!([0, 1, 3].contains(&ended.code), "{line}: {} {}", ended.code, ended.stderr);
        let trace = fs::read_to_string(shared.0.join("trace")).unwrap();
        assert!(trace.contains("openat("), "{line}: nothing was traced");
        let stray: Vec<&str> = trace.lines().filter(|call| strays(call)).collect();
        assert!(stray.is_empty(), "{line} opens {stray:#?}");
        fs::remove_dir_all(Path::new(&shared.0).join("X")).ok();
    }
}
