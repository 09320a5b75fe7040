//! The folder of one run, and the manifest in it.
//!
//! Files get their names when the run is finished, all together; `latest-<lab>` is set last. A run
//! that fails removes what it made.

use super::output::make_folder;
use super::{BASE, base, hand_over, is_run_name, latest, temporary, utc};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::stdout;
use crate::cli::version;
use crate::measure::human;
use crate::runtime::clock::utc_seconds;
use crate::sys::dir::Dir;
use crate::sys::host;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Runs of one lab within one second, at most; 1000 cannot be told apart by a person anyway.
const SAME_SECOND_MAX: u32 = 1_000;

/// The version of a manifest; it changes when a field changes its meaning or goes.
pub(super) const SCHEMA: &str = "wirelab/manifest/1";
pub(super) const MANIFEST: &str = "manifest.json";

/// A file of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSize {
    /// Its name in the run's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// `manifest.json`: what was run, when, on what, and what it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and version of this format.
    pub schema: String,
    /// The lab.
    pub lab: String,
    /// The version of wirelab.
    pub version: String,
    /// The commit that it was built of, see [`version::COMMIT`].
    #[serde(default)]
    pub commit: String,
    /// The command that repeats the run.
    pub command: String,
    /// Seed of every draw, where there was one.
    pub seed: Option<u64>,
    /// When it began, UTC, `YYYY-MM-DDThh:mm:ssZ`.
    pub started_utc: String,
    /// False while it runs, and afterwards where it was killed.
    pub finished: bool,
    /// Facts about the machine: at least [`facts`].
    pub host: Value,
    /// Other files of the run.
    pub files: Vec<FileSize>,
    /// Fields of this lab alone.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Manifest {
    /// A manifest of a run that begins now.
    #[must_use]
    pub fn new(lab: &str, command: &str, seed: Option<u64>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            lab: lab.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: version::COMMIT.to_owned(),
            command: command.to_owned(),
            seed,
            started_utc: utc(utc_seconds()),
            finished: false,
            host: facts(),
            files: Vec::new(),
            more: Map::new(),
        }
    }

    /// Adds to what is said of the host.
    ///
    /// # Errors
    /// Fails if the value cannot be written as JSON.
    pub fn add_host(&mut self, host: impl Serialize) -> io::Result<()> {
        if let (Value::Object(known), Value::Object(host)) =
            (&mut self.host, serde_json::to_value(host)?)
        {
            known.extend(host);
        }
        Ok(())
    }

    /// Adds what only this lab says.
    ///
    /// # Errors
    /// Fails if the value cannot be written as JSON.
    pub fn add(&mut self, key: &str, value: impl Serialize) -> io::Result<()> {
        self.more.insert(key.to_owned(), serde_json::to_value(value)?);
        Ok(())
    }
}

/// The kernel's release, the number of processors, the clock source; empty where not known.
#[must_use]
pub fn facts() -> Value {
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = std::fs::read_to_string(source).unwrap_or_default();
    json!({
        "kernel": host::kernel_release(),
        "cpus": host::cpus(),
        "clocksource": source.trim(),
    })
}

/// Where the user wants a run to be left.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `--out`: this directory instead of a new one below [`BASE`].
    pub out: Option<&'a Path>,
    /// `--no-report`: nowhere.
    pub no_report: bool,
}

/// The folder of a run that goes on.
#[derive(Debug)]
pub struct RunFolder {
    /// Content of its manifest.
    pub manifest: Manifest,
    path: PathBuf,
    dir: Dir,
    /// The parent and the name in it, where the directory was made for this run.
    made: Option<(Dir, OsString)>,
    /// Whether `latest-<lab>` will lead here.
    listed: bool,
    /// Temporary names and the final ones.
    pending: RefCell<Vec<(OsString, OsString)>>,
    finished: bool,
}

impl RunFolder {
    /// Makes the folder before the run, so that nothing is measured for nothing; `None` with
    /// `--no-report`.
    ///
    /// # Errors
    /// Why nothing can be left there, and what to type instead.
    pub fn open(place: &Place<'_>, manifest: Manifest) -> Result<Option<Self>, Failure> {
        if place.no_report {
            return Ok(None);
        }
        let lab = manifest.lab.clone();
        let made = match place.out {
            Some(path) => Self::at(path, manifest),
            None => Self::below_base(manifest),
        };
        made.map(Some).map_err(|error| {
            let shown = place.out.unwrap_or_else(|| Path::new(BASE)).display();
            let what = format!("the run cannot be left in {shown}");
            Failure::from_error(Exit::Usage, what, &error)
                .or_type("in another folder", format!("{lab} --out FOLDER …"))
                .or_type("without files", format!("{lab} --no-report …"))
        })
    }

    /// A new directory below [`BASE`], named for the second.
    fn below_base(manifest: Manifest) -> io::Result<Self> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{BASE} is gone"));
        let parent = base(true)?.ok_or_else(none)?;
        check_latest(&parent, &manifest.lab)?;
        // Colons are awkward in a shell and forbidden on some file systems.
        let name = format!("{}-{}", utc(utc_seconds()).replace(':', "-"), manifest.lab);
        for copy in 1..=SAME_SECOND_MAX {
            let name = if copy == 1 { name.clone() } else { format!("{name}-{copy}") };
            match parent.make_dir(OsStr::new(&name)) {
                Ok(dir) => {
                    let path = Path::new(BASE).join(&name);
                    return Self::begin(manifest, path, dir, Some((parent, name.into())), true);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{name} exists too often")))
    }

    /// The directory that the user named: made where it is missing.
    fn at(path: &Path, manifest: Manifest) -> io::Result<Self> {
        let made = match Dir::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let whole = std::path::absolute(path)?;
                let (parent, name) = whole.parent().zip(whole.file_name()).ok_or(error)?;
                make_folder(parent)?;
                let parent = Dir::open(parent)?;
                let dir = parent.make_dir(name)?;
                let made = Some((parent, name.to_owned()));
                return Self::begin(manifest, path.to_owned(), dir, made, false);
            }
            opened => opened?,
        };
        if !made.names()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty"));
        }
        Self::begin(manifest, path.to_owned(), made, None, false)
    }

    fn begin(
        manifest: Manifest,
        path: PathBuf,
        dir: Dir,
        made: Option<(Dir, OsString)>,
        listed: bool,
    ) -> io::Result<Self> {
        let pending = RefCell::default();
        let folder = Self { manifest, path, dir, made, listed, pending, finished: false };
        if folder.made.is_some() {
            hand_over(&folder.dir)?;
        }
        // It says from the start whose folder this is, should the run be killed.
        folder.write_manifest()?;
        Ok(folder)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file that is written while the run goes on; it gets its name when all is finished.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let (temporary, file) = temporary(&self.dir, OsStr::new(name))?;
        self.pending.borrow_mut().push((temporary, name.into()));
        Ok(file)
    }

    /// Writes a whole file; it gets its name when all is finished.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.create(name)?.write_all(content)
    }

    /// Gives every file its name, writes the manifest, sets `latest-<lab>`, and says on stderr
    /// where the files are and how large, unless `quiet`.
    ///
    /// Writers to files of [`create`](Self::create) must have been flushed.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn finish(mut self, quiet: bool) -> io::Result<PathBuf> {
        for (temporary, name) in self.pending.take() {
            self.dir.file(&temporary)?.sync_data()?;
            self.dir.rename(&temporary, &name)?;
        }
        for name in self.dir.names()? {
            let about = self.dir.status(&name)?;
            let name = name.to_string_lossy().into_owned();
            if about.is_file() && name != MANIFEST {
                self.manifest.files.push(FileSize { name, bytes: about.len() });
            }
        }
        self.manifest.finished = true;
        self.write_manifest()?;
        self.finished = true;
        let lab = &self.manifest.lab;
        if let Some((parent, name)) = self.made.as_ref().filter(|_| self.listed)
            && let Err(error) = point_latest(parent, name, lab)
        {
            // The run itself is whole.
            stdout::complain(&format!("{lab}: {BASE}/{} is not set: {error}\n", latest(lab)));
        }
        if !quiet {
            self.announce();
        }
        Ok(self.path.clone())
    }

    fn announce(&self) {
        let Manifest { lab, files, .. } = &self.manifest;
        let total = files.iter().map(|file| file.bytes).sum();
        // The page first: it is what a person opens.
        let (page, rest): (Vec<_>, Vec<_>) = files.iter().partition(|f| f.name == "report.html");
        let names: Vec<&str> = page.iter().chain(&rest).map(|file| file.name.as_str()).collect();
        let (shown, size) = (self.path.display(), human::bytes(total));
        stdout::complain(&format!("{lab}: left {shown}/ ({size}): {}\n", names.join("  ")));
    }

    fn write_manifest(&self) -> io::Result<()> {
        let (temporary, mut file) = temporary(&self.dir, OsStr::new(MANIFEST))?;
        let text = serde_json::to_vec_pretty(&self.manifest)?;
        let written = file.write_all(&text).and_then(|()| file.sync_data());
        let placed = written.and_then(|()| self.dir.rename(&temporary, OsStr::new(MANIFEST)));
        if placed.is_err() {
            let _ = self.dir.remove_file(&temporary);
        }
        placed
    }
}

impl Drop for RunFolder {
    /// A run that failed leaves nothing: what cannot be removed stays, as after a kill.
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for (temporary, name) in self.pending.take() {
            let _ = self.dir.remove_file(&temporary).or_else(|_| self.dir.remove_file(&name));
        }
        let _ = self.dir.remove_file(OsStr::new(MANIFEST));
        if let Some((parent, name)) = &self.made {
            let _ = parent.remove_dir(name);
        }
    }
}

/// The failure of a run whose files could not be written.
#[must_use]
pub fn unwritten(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::from_error(Exit::Usage, "the run could not be written down", error)
}

/// Fails if `latest-<lab>` exists and is not our link.
fn check_latest(base: &Dir, lab: &str) -> io::Result<()> {
    let link = OsString::from(latest(lab));
    match base.status(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let old = base.read_link(&link).unwrap_or_default();
    if is_run_name(&old.to_string_lossy(), lab) {
        return Ok(());
    }
    Err(io::Error::other(format!("{BASE}/{} is not a link to a run; remove it", latest(lab))))
}

/// Sets `latest-<lab>` in one step: readers see the old run or the new one.
fn point_latest(base: &Dir, name: &OsStr, lab: &str) -> io::Result<()> {
    let link = OsString::from(latest(lab));
    check_latest(base, lab)?;
    let fresh = OsString::from(format!(".{}.{}", latest(lab), std::process::id()));
    // Left by a process of this number that was killed.
    let _ = base.remove_file(&fresh);
    base.link(name, &fresh)?;
    let moved = base.rename(&fresh, &link);
    if moved.is_err() {
        let _ = base.remove_file(&fresh);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("wirelab-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn open(at: &Path) -> Result<RunFolder, Failure> {
        let place = Place { out: Some(at), no_report: false };
        RunFolder::open(&place, Manifest::new("lab", "lab --seed 7", Some(7))).map(Option::unwrap)
    }

    #[test]
    fn files_get_their_names_when_the_run_is_whole() {
        let folder = scratch("run-whole");
        let at = folder.join("run");
        let run = open(&at).unwrap();
        let manifest =
            || serde_json::from_slice::<Manifest>(&std::fs::read(at.join(MANIFEST)).unwrap());
        assert!(!manifest().unwrap().finished);
        let mut events = run.create("events.ndjson").unwrap();
        run.write("result.json", b"{}").unwrap();
        events.write_all(b"line\n").unwrap();
        assert!(!at.join("result.json").exists() && !at.join("events.ndjson").exists());
        run.finish(true).unwrap();
        let files = [("events.ndjson", 5), ("result.json", 2)];
        let files = files.map(|(name, bytes)| FileSize { name: name.to_owned(), bytes });
        let manifest = manifest().unwrap();
        assert!(manifest.finished && manifest.files == files, "{manifest:?}");
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 3);
        assert!(open(&at).unwrap_err().why[0].contains("not empty"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_run_that_fails_leaves_nothing() {
        let folder = scratch("run-failed");
        for there in [false, true] {
            let at = folder.join("run");
            if there {
                std::fs::create_dir(&at).unwrap();
            }
            let run = open(&at).unwrap();
            run.write("result.json", b"{}").unwrap();
            drop(run);
            // What the user made stays, and is empty again.
            assert_eq!(at.exists(), there);
            assert!(!there || std::fs::read_dir(&at).unwrap().next().is_none());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn latest_replaces_nothing_but_its_own_link() {
        let folder = scratch("run-latest");
        let base = Dir::open(&folder).unwrap();
        let name = OsStr::new("2026-01-02T03-04-05Z-lab");
        point_latest(&base, name, "lab").unwrap();
        point_latest(&base, name, "lab").unwrap();
        assert_eq!(base.names().unwrap(), ["latest-lab"]);
        std::fs::remove_file(folder.join("latest-lab")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("latest-lab")).unwrap();
        assert!(point_latest(&base, name, "lab").is_err());
        std::fs::remove_file(folder.join("latest-lab")).unwrap();
        std::fs::write(folder.join("latest-lab"), "a note").unwrap();
        assert!(point_latest(&base, name, "lab").is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
