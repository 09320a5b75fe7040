//! What tests of pages, captures and schemas share: a scratch folder, real tools, a real browser.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Values of an attribute, for a look over the page.
#[must_use]
pub fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// A folder of one test in one run, gone when the test is done.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one for the test of this name.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let name = format!("wirelab-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A browser may still be closing its profile: what stays is in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program's path, or a line that says what was skipped; `tests/run` collects those lines.
#[expect(clippy::print_stdout, reason = "the harness shows what a test prints with --show-output")]
#[must_use]
pub fn tool(names: &[&str], what: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&paths).flat_map(|p| names.iter().map(move |n| p.join(n)));
    let found = places.into_iter().find(|place| place.is_file());
    if found.is_none() {
        println!("skipped: {what}, because {} is not installed", names[0]);
    }
    found
}

/// Runs headless Chromium with these arguments.
#[must_use]
pub fn chromium(program: &Path, profile: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    command.args(["--disable-component-update", "--enable-logging=stderr", "--v=0"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.args(arguments).output().unwrap()
}

/// Where a value breaks its schema.
#[must_use]
pub fn violations(schema: &str, value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}
