//! Sets `WIRELAB_COMMIT`, the commit that `-V` and the manifest of a run name.

use std::env;
use std::process::Command;

fn git(words: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(words).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=WIRELAB_COMMIT");
    // Otherwise each commit would compile everything again for the next test.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match env::var("WIRELAB_COMMIT") {
        Ok(commit) => commit,
        Err(_) if is_release => {
            for file in ["HEAD", "logs/HEAD"] {
                if let Some(path) = git(&["rev-parse", "--git-path", file]) {
                    println!("cargo::rerun-if-changed={path}");
                }
            }
            git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
                .unwrap_or_else(|| "unknown commit".to_owned())
        }
        Err(_) => "debug build".to_owned(),
    };
    println!("cargo::rustc-env=WIRELAB_COMMIT={commit}");
}
