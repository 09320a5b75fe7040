//! The directory that a run leaves: `wirelab-runs/<UTC time>-<lab>/`, and `latest` beside it.
//!
//! It must never write into a directory of another run, nor leave half a file under its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where runs go unless told otherwise.
pub const BASE: &str = "wirelab-runs";

/// Runs of one lab within one second, at most; 1000 cannot be told apart by a person anyway.
const SAME_SECOND_MAX: u32 = 1_000;

/// A directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new directory below `base`, named for the second `unix_seconds`, and points
    /// `base/latest` at it.
    ///
    /// # Errors
    /// Where the directory cannot be made. A `latest` that cannot be moved is left as it is: it is
    /// a convenience, and no reason to lose a run.
    pub fn create(base: &Path, lab: &str, unix_seconds: u64) -> io::Result<Self> {
        fs::create_dir_all(base)?;
        // Colons are awkward in a shell and forbidden on some file systems.
        let time = utc(unix_seconds).replace(':', "-");
        for copy in 1..=SAME_SECOND_MAX {
            let suffix = if copy == 1 { String::new() } else { format!("-{copy}") };
            let name = format!("{time}-{lab}{suffix}");
            let path = base.join(&name);
            match fs::create_dir(&path) {
                Ok(()) => {
                    let _ = point_latest(base, &name);
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{time}-{lab} exists too often")))
    }

    /// The directory that the user named: made where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, or is not empty: it may hold another run.
    pub fn at(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        if fs::read_dir(path)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not empty"));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file whole or not at all; the answer is its path.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let partial = self.path.join(format!(".{name}.partial"));
        fs::write(&partial, content)?;
        fs::rename(&partial, &path)?;
        Ok(path)
    }
}

/// Moves `latest` in one step: readers see the old run or the new one.
fn point_latest(base: &Path, name: &str) -> io::Result<()> {
    let fresh = base.join(format!(".latest-{name}"));
    std::os::unix::fs::symlink(name, &fresh)?;
    let moved = fs::rename(&fresh, base.join("latest"));
    if moved.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    moved
}

const DAY: u64 = 86_400;

/// Seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ` (RFC 3339 §5.6).
///
/// The date is the inverse of days-from-civil, in eras of 400 years that begin on 1 March, so that
/// the leap day stands last.
#[must_use]
pub fn utc(unix_seconds: u64) -> String {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    const ERA: u64 = 146_097;
    let days = unix_seconds / DAY + EPOCH;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / (ERA - 1);
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let second = unix_seconds % DAY;
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// The folder of a run; `latest` is the last one left under this folder.
#[must_use]
pub fn folder(run: &Path) -> PathBuf {
    if run == Path::new("latest") { Path::new(BASE).join(run) } else { run.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_agrees_with_known_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_348_800, "2026-11-22T12:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn two_runs_in_one_second_do_not_meet_and_latest_is_the_last() {
        let base = std::env::temp_dir().join(format!("wirelab-run-dir-{}", std::process::id()));
        let first = RunDir::create(&base, "lab", 0).unwrap();
        let second = RunDir::create(&base, "lab", 0).unwrap();
        assert!(first.path().ends_with("1970-01-01T00-00-00Z-lab"));
        assert!(second.path().ends_with("1970-01-01T00-00-00Z-lab-2"));
        let latest = fs::read_link(base.join("latest")).unwrap();
        assert_eq!(latest, PathBuf::from("1970-01-01T00-00-00Z-lab-2"));
        let file = second.write("result.json", b"{}").unwrap();
        assert_eq!(fs::read(file).unwrap(), b"{}");
        assert_eq!(fs::read_dir(second.path()).unwrap().count(), 1);
        fs::remove_dir_all(&base).unwrap();
    }
}
