//! `LAB runs`: the runs of a lab with their sizes, and the removal of old ones.

use super::folder::{MANIFEST, SCHEMA};
use super::input::{WRITTEN_MAX, text_of};
use super::{BASE, DAY, Manifest, base, is_run_name, latest, utc};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::lab::say;
use crate::measure::human;
use crate::runtime::clock::utc_seconds;
use crate::sys::dir::Dir;
use clap::Args;
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::io;
use std::time::Duration;

/// Flags of `LAB runs`.
#[derive(Clone, Debug, Args)]
pub struct RunsArgs {
    /// Remove the runs that began longer ago than this: 7d, 12h, 30min
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub delete_older_than: Option<Duration>,
}

/// Days and hours, and what durations are written in elsewhere.
fn age(text: &str) -> Result<Duration, String> {
    for (unit, seconds) in [("d", DAY), ("h", 3_600)] {
        let number = text.trim().strip_suffix(unit).and_then(|n| n.trim().parse::<u64>().ok());
        if let Some(seconds) = number.and_then(|number| number.checked_mul(seconds)) {
            return Ok(Duration::from_secs(seconds));
        }
    }
    let known = human::parse_duration(text).ok();
    known.ok_or_else(|| format!("expected an age such as 7d, 12h or 30min, got {text:?}"))
}

/// A run in the list.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    bytes: u64,
    #[serde(flatten)]
    manifest: Manifest,
    #[serde(skip)]
    files: Vec<OsString>,
    /// Whether there is a folder in it, which no run makes.
    #[serde(skip)]
    nested: bool,
}

/// Lists the runs of a lab, or removes old ones and says which.
///
/// Only folders that wirelab named and that hold its manifest of this lab are touched. One whose
/// run was not finished may still be at work, and goes after a day at the earliest.
///
/// # Errors
/// Fails if the runs cannot be read or removed.
pub fn list(lab: &str, args: &RunsArgs, json: bool) -> Result<Exit, Failure> {
    let failed = |error: io::Error| {
        Failure::from_error(Exit::Usage, format!("the runs in {BASE} cannot be listed"), &error)
    };
    let Some(base) = base(false).map_err(failed)? else {
        say(&if json { "[]\n".to_owned() } else { format!("no run of {lab} in {BASE}/\n") })?;
        return Ok(Exit::Holds);
    };
    let mut runs = found(&base, lab).map_err(failed)?;
    if let Some(age) = args.delete_older_than {
        let before = |age: u64| utc(utc_seconds().saturating_sub(age));
        let (old, unfinished) = (before(age.as_secs()), before(age.as_secs().max(DAY)));
        runs.retain(|run| {
            let limit = if run.manifest.finished { &old } else { &unfinished };
            // Times of one form and length are in the order of their letters.
            run.manifest.started_utc < *limit && !run.nested
        });
        for run in &runs {
            remove(&base, run, lab).map_err(|error| {
                let what = format!("{BASE}/{} cannot be removed", run.name);
                Failure::from_error(Exit::Usage, what, &error)
            })?;
        }
    }
    let removed = args.delete_older_than.is_some();
    say(&if json {
        serde_json::to_string_pretty(&runs).map_err(|error| failed(error.into()))? + "\n"
    } else {
        words(lab, &runs, removed)
    })?;
    Ok(Exit::Holds)
}

fn words(lab: &str, runs: &[Listed], removed: bool) -> String {
    let mut out = String::new();
    for Listed { name, bytes, manifest, .. } in runs {
        let open = if manifest.finished { "" } else { "  (not finished)" };
        out += &format!("{name}  {:>8}  {}{open}\n", human::bytes(*bytes), manifest.command);
    }
    let total = human::bytes(runs.iter().map(|run| run.bytes).sum());
    let runs = if runs.len() == 1 { "1 run".to_owned() } else { format!("{} runs", runs.len()) };
    out + &if removed {
        format!("removed {runs} of {lab}, {total}\n")
    } else {
        format!("{runs} of {lab} in {BASE}/, {total}\n")
    }
}

/// Every run of a lab, the oldest first.
fn found(base: &Dir, lab: &str) -> io::Result<Vec<Listed>> {
    let mut runs = Vec::new();
    for name in base.names()? {
        let text = name.to_string_lossy();
        // A link is no run: it leads elsewhere.
        if is_run_name(&text, lab)
            && let Ok(dir) = base.subdir(&name)
            && let Some(manifest) = manifest(&dir, lab)
        {
            let mut run =
                Listed { name: text.into(), bytes: 0, manifest, files: vec![], nested: false };
            for file in dir.names()? {
                let about = dir.status(&file)?;
                run.bytes += about.len();
                run.nested |= about.is_dir();
                run.files.push(file);
            }
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The manifest of a folder, where it is one of wirelab's and this lab's.
fn manifest(dir: &Dir, lab: &str) -> Option<Manifest> {
    let file = dir.file(OsStr::new(MANIFEST)).ok()?;
    let text = text_of(&file, WRITTEN_MAX).ok()?;
    let manifest: Manifest = serde_json::from_str(&text).ok()?;
    (manifest.schema == SCHEMA && manifest.lab == lab).then_some(manifest)
}

fn remove(base: &Dir, run: &Listed, lab: &str) -> io::Result<()> {
    let name = OsStr::new(&run.name);
    let dir = base.subdir(name)?;
    // The manifest last: a removal that was cut short can be taken up again.
    let is_manifest = |file: &&OsString| *file == MANIFEST;
    let (last, first): (Vec<_>, Vec<_>) = run.files.iter().partition(is_manifest);
    first.into_iter().chain(last).try_for_each(|file| dir.remove_file(file))?;
    base.remove_dir(name)?;
    let link = OsString::from(latest(lab));
    if base.read_link(&link).is_ok_and(|target| target == name) {
        base.remove_file(&link)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        for (text, seconds) in [("7d", 604_800), ("12 h", 43_200), ("30min", 1_800), ("0", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["7", "", "d", "-1d", "99999999999999999999d", "soon"] {
            assert!(age(text).unwrap_err().contains("such as 7d"), "{text}");
        }
    }
}
