//! A run that was left: found by its folder, its name, or as the lab's latest, and read.

use super::input::{RECORDED_MAX, text_of};
use super::{BASE, base, is_run_name, latest, only_ours};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::stdout;
use crate::sys::dir::Dir;
use crate::wire::foreign::json_mistake;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of a saved run, held open.
#[derive(Debug)]
pub struct Saved {
    /// Its absolute path.
    pub path: PathBuf,
    shown: PathBuf,
    dir: Dir,
}

impl Saved {
    /// Finds a run: a folder, the name of one below [`BASE`], or `latest`; without one the lab's
    /// latest, which stderr then names. `first` is a command that leaves a run.
    ///
    /// # Errors
    /// If there is none, another user can have written it, or `latest-<lab>` is no run's link.
    pub fn find(lab: &str, run: Option<&Path>, first: &str) -> Result<Self, Failure> {
        let given = run.filter(|run| *run != Path::new("latest"));
        let found = given.map_or_else(|| Self::latest(lab), Self::given);
        let found = found.map_err(|error| {
            let what = match given {
                None => format!("there is no latest run of {lab} in {BASE}"),
                Some(run) => format!("{} is not the result of a run of {lab}", run.display()),
            };
            Failure::from_error(Exit::Usage, what, &error).or_type("make a run first", first)
        })?;
        if run.is_none() {
            stdout::complain(&format!("{lab}: {}\n", found.shown.display()));
        }
        Ok(found)
    }

    fn given(run: &Path) -> io::Result<Self> {
        let below = Path::new(BASE).join(run);
        let named = run.components().count() == 1 && !run.exists() && below.is_dir();
        let shown = if named { below } else { run.to_owned() };
        Self::trusted(Dir::open(&shown)?, shown.canonicalize()?, shown)
    }

    /// Only this user, root or the user of `sudo` may have written the run, or have put it where it
    /// is: a run can name programs to start.
    fn trusted(dir: Dir, path: PathBuf, shown: PathBuf) -> io::Result<Self> {
        only_ours(&dir.own_status()?, &shown)?;
        if let Some(base) = path.ancestors().position(|above| above.ends_with(BASE)) {
            for above in path.ancestors().skip(1).take(base) {
                only_ours(&above.metadata()?, above)?;
            }
        }
        Ok(Self { path, shown, dir })
    }

    fn latest(lab: &str) -> io::Result<Self> {
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("there is no {BASE} here"));
        let base = base(false)?.ok_or_else(none)?;
        let link = latest(lab);
        let target = base.read_link(OsStr::new(&link)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => error,
            _ => io::Error::other(format!("{BASE}/{link} is not wirelab's link")),
        })?;
        if !is_run_name(&target.to_string_lossy(), lab) {
            return Err(io::Error::other(format!("{BASE}/{link} does not lead to a run of {lab}")));
        }
        let shown = Path::new(BASE).join(&target);
        Self::trusted(base.subdir(&target)?, shown.canonicalize()?, shown)
    }

    /// The text of one of its files.
    ///
    /// # Errors
    /// If it is not there, not a regular file, another user's, or not text.
    pub fn text(&self, name: &str) -> io::Result<String> {
        let file = self.dir.file(OsStr::new(name))?;
        only_ours(&file.metadata()?, &self.shown.join(name))?;
        text_of(&file, RECORDED_MAX)
    }

    /// The value in its `result.json`.
    ///
    /// # Errors
    /// Fails if there is no such file, or it holds something else.
    pub fn result<T: DeserializeOwned>(&self, lab: &str, first: &str) -> Result<T, Failure> {
        let file = self.shown.join("result.json");
        let what = format!("{} is not the result of a run of {lab}", file.display());
        let text = self.text("result.json").map_err(|error| {
            Failure::from_error(Exit::Usage, what.clone(), &error)
                .or_type("make a run first", first)
        })?;
        serde_json::from_str(&text)
            .map_err(|error| Failure::new(Exit::Usage, what).because(json_mistake(&error)))
    }
}

/// What `explain [RUN] [FIGURE]` means: a word alone that names a figure and no folder is the
/// figure, of the latest run.
pub fn run_and_figure<'a>(
    run: Option<&'a Path>,
    figure: Option<&'a str>,
    is_figure: impl Fn(&str) -> bool,
) -> (Option<&'a Path>, Option<&'a str>) {
    let word = run.filter(|run| figure.is_none() && !run.exists()).and_then(Path::to_str);
    word.filter(|word| is_figure(word)).map_or((run, figure), |word| (None, Some(word)))
}
