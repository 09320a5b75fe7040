//! Run folders: manifest, repeat command, list of runs.
//!
//! Everything that a lab writes to disk goes through here, so that one place decides what is
//! created, replaced or refused.

mod folder;
mod input;
mod list;
mod output;
mod repeat;
mod saved;

pub use folder::{FileSize, Manifest, Place, RunFolder, facts, unwritten};
pub use input::{RECORDED_MAX, WRITTEN_MAX, read_text};
pub use list::{RunsArgs, list};
pub use output::{Stream, Temporary, Whole, make_folder, unnamed, unnamed_in};
pub use repeat::{LEFT_OUT, Repeat, shell_word};
pub use saved::{Saved, run_and_figure};

use crate::sys::dir::{Dir, effective_user};
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::Path;

/// The folder of all runs, in the current one.
pub const BASE: &str = "wirelab-runs";

/// The name of the link to the last finished run of a lab.
fn latest(lab: &str) -> String {
    format!("latest-{lab}")
}

/// Opens [`BASE`], or makes it where `make` is set; `None` where there is none.
///
/// # Errors
/// Fails if it is a link, or another user could exchange what is in it.
fn base(make: bool) -> io::Result<Option<Dir>> {
    let (here, name) = (Dir::open(Path::new("."))?, OsStr::new(BASE));
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let dir = match here.subdir(name) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !make => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match here.make_dir(name) {
                Ok(dir) => {
                    hand_over(&dir)?;
                    dir
                }
                // Another run made it at the same moment.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => here.subdir(name)?,
                Err(error) => return Err(error),
            }
        }
        Err(_) if here.status(name).is_ok_and(|about| !about.is_dir()) => {
            return Err(refused(format!("{BASE} is not a directory")));
        }
        Err(error) => return Err(error),
    };
    only_ours(&dir.own_status()?, Path::new(BASE))?;
    Ok(Some(dir))
}

/// Fails unless only this user, root or the user of `sudo` can have written a file or folder.
///
/// # Errors
/// `PermissionDenied`, with its owner or the command that ends the access of others.
fn only_ours(about: &Metadata, shown: &Path) -> io::Result<()> {
    let (owner, shown) = (about.uid(), shown.display());
    let trusted = owner == effective_user() || owner == 0;
    let why = if !trusted && Some(owner) != invoker().map(|(user, _)| user) {
        format!("{shown} belongs to another user ({owner}); look at a copy of your own: cp -r")
    } else if about.mode() & 0o022 != 0 && !about.is_symlink() {
        format!("others may write to {shown}; chmod go-w {shown} ends that")
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// The user and group that `sudo` works for.
#[must_use]
pub fn invoker() -> Option<(u32, u32)> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    if effective_user() != 0 {
        return None;
    }
    number("SUDO_UID").zip(number("SUDO_GID"))
}

/// Gives what root made under `sudo` to the user who typed it.
fn hand_over(made: &impl AsFd) -> io::Result<()> {
    invoker().map_or(Ok(()), |(user, group)| fchown(made, Some(user), Some(group)))
}

/// Attempts at a temporary name that is free.
const ATTEMPTS_MAX: u32 = 100;

/// Creates a file under an unused name.
fn temporary(dir: &Dir, name: &OsStr) -> io::Result<(OsString, File)> {
    for attempt in 0..ATTEMPTS_MAX {
        let mut own = OsString::from(".");
        own.push(name);
        own.push(format!(".{}-{attempt}.partial", std::process::id()));
        match dir.create(&own) {
            Ok(file) => {
                hand_over(&file)?;
                return Ok((own, file));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a name is one that [`RunFolder`] gives to a run of this lab.
fn is_run_name(name: &str, lab: &str) -> bool {
    let Some((time, rest)) = name.split_at_checked(utc(0).len()) else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shape = |(is, like): (u8, u8)| match like {
        b'0'..=b'9' => is.is_ascii_digit(),
        b':' => is == b'-',
        _ => is == like,
    };
    let Some(copy) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(lab)) else {
        return false;
    };
    time.bytes().zip(utc(0).bytes()).all(shape)
        && (copy.is_empty() || copy.strip_prefix('-').is_some_and(digits))
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
    fn only_names_of_this_labs_runs_are_taken_for_them() {
        for (name, is) in [
            ("2026-01-02T03-04-05Z-dns-walk", true),
            ("2026-01-02T03-04-05Z-dns-walk-12", true),
            ("2026-01-02T03-04-05Z-dns-walker", false),
            ("2026-01-02T03-04-05Z-dns-walk-", false),
            ("2026-01-02T03:04:05Z-dns-walk", false),
            ("2026-01-02T03-04-05Z-lossy-path", false),
            ("latest-dns-walk", false),
            ("ä026-01-02T03-04-05Z-dns-walk", false),
            ("", false),
        ] {
            assert_eq!(is_run_name(name, "dns-walk"), is, "{name}");
        }
    }
}
