//! What a run writes while it goes on and leaves when it ends: captures, events, fates, result.
//!
//! It must never compute a figure: everything comes from the run.

use crate::args::{Flags, Output};
use crate::audit::Meter;
use crate::report::capture::Capture;
use crate::report::events;
use crate::report::events::Event as Line;
use crate::result::PathResult;
use crate::run::Watch;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::forward_signals::Relay;
use wirelab::cli::run_dir::{self, RunDir};
use wirelab::emulator::events::{Chunk, Event};
use wirelab::measure::Instant;
use wirelab::path::Recording;
use wirelab::runtime::clock::Clock;

/// Lines of the other end's output that an error shows, and bytes that are looked at for them.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 8_192;

type Lines = events::Writer<Box<dyn Write>>;

/// Everything that is written while a run goes on.
pub(crate) struct Leaving {
    dir: Option<RunDir>,
    capture: Option<Capture<BufWriter<File>>>,
    events: Vec<Lines>,
    recording: Recording,
    record_to: Option<PathBuf>,
    server_output: Option<File>,
    seed: u64,
    relay: Relay,
    begun: bool,
    lost: u64,
    last: Instant,
    pub(crate) meter: Meter,
    pub(crate) server_ready: Option<Duration>,
}

fn cannot(what: String) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::from_error(Exit::Usage, what, &error)
}

impl Leaving {
    /// Opens every file before the run, so that nothing is run for nothing.
    ///
    /// # Errors
    /// Which file or folder cannot be made.
    pub(crate) fn open(
        flags: &Flags,
        output: &Output,
        seed: u64,
        now: u64,
        server: bool,
    ) -> Result<Self, Failure> {
        let dir = run_dir(output, now)?;
        let capture = flags.capture.as_deref().map(|to| capture(to, seed)).transpose()?;
        let inside = dir.as_ref().map(|dir| dir.path().join("events.ndjson"));
        let mut events = Vec::new();
        for path in inside.iter().chain(&output.events) {
            if path == Path::new("-") {
                let what = "--events: stdout belongs to the program; name a file";
                return Err(Failure::new(Exit::Usage, what));
            }
            let file = File::create(path)
                .map_err(cannot(format!("the events cannot go to {}", path.display())))?;
            events.push(Lines::new(Box::new(BufWriter::new(file))));
        }
        if let Some(path) = &flags.record {
            File::create(path)
                .map_err(cannot(format!("the fates cannot go to {}", path.display())))?;
        }
        let server_output = if server { Some(server_log(dir.as_ref())?) } else { None };
        let relay = Relay::install()
            .map_err(|error| Failure::from_error(Exit::Bug, "cannot watch for signals", &error))?;
        Ok(Self {
            dir,
            capture,
            events,
            recording: Recording::default(),
            record_to: flags.record.clone(),
            server_output,
            seed,
            relay,
            begun: false,
            lost: 0,
            last: Instant::ZERO,
            meter: Meter::default(),
            server_ready: None,
        })
    }

    /// Where the other end's output goes.
    pub(crate) fn server_output(&self) -> Result<Option<File>, Failure> {
        let clone = self.server_output.as_ref().map(File::try_clone).transpose();
        clone.map_err(cannot("the output of the other end cannot be kept".to_owned()))
    }

    /// Whether frames are wanted whole.
    pub(crate) const fn wants_frames(&self) -> bool {
        self.capture.is_some()
    }

    /// The last lines of the other end's output.
    pub(crate) fn server_said(&mut self) -> Vec<String> {
        let Some(file) = &mut self.server_output else { return Vec::new() };
        let length = file.metadata().map_or(0, |about| about.len());
        let mut text = Vec::new();
        let from = length.saturating_sub(TAIL_BYTES);
        // What cannot be read is not shown: the failure itself is.
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|l| (*l).to_owned()).collect()
    }

    /// Closes the files and writes the result; the answer is the folder, if there is one.
    pub(crate) fn finish(
        mut self,
        result: &PathResult,
        output: &Output,
    ) -> io::Result<Option<PathBuf>> {
        let code = result.program.status.code();
        let frames_lost = self.lost;
        for mut lines in std::mem::take(&mut self.events) {
            lines.write(self.last, Line::Ended { code, frames_lost })?;
            lines.finish()?;
        }
        if let Some(capture) = self.capture.take() {
            capture.finish()?;
        }
        if let Some(path) = &self.record_to {
            std::fs::write(path, self.recording.to_string())?;
        }
        let json = serde_json::to_vec_pretty(result)?;
        if let Some(path) = output.json.as_deref().filter(|path| *path != Path::new("-")) {
            std::fs::write(path, &json)?;
        }
        let Some(dir) = self.dir else { return Ok(None) };
        dir.write("result.json", &json)?;
        dir.write("fates.txt", self.recording.to_string().as_bytes())?;
        let mut files = vec!["manifest.json", "result.json", "events.ndjson", "fates.txt"];
        if self.server_output.is_some() {
            files.push("b.log");
        }
        let manifest = Manifest {
            lab: crate::commands::LAB,
            version: &result.version,
            command: &result.command,
            seed: result.seed,
            plan: &result.plan,
            host: &result.host,
            fates_cut: self.recording.is_cut(),
            files: &files,
        };
        dir.write("manifest.json", &serde_json::to_vec_pretty(&manifest)?)?;
        Ok(Some(dir.path().to_owned()))
    }
}

#[derive(Serialize)]
struct Manifest<'a> {
    lab: &'static str,
    version: &'a str,
    command: &'a str,
    seed: u64,
    plan: &'a crate::plan::PlanWords,
    host: &'a crate::result::Host,
    /// Whether the run had more frames than `fates.txt` can hold.
    fates_cut: bool,
    files: &'a [&'static str],
}

fn run_dir(output: &Output, now: u64) -> Result<Option<RunDir>, Failure> {
    if output.no_report {
        return Ok(None);
    }
    let made = match &output.out {
        Some(path) => RunDir::at(path),
        None => RunDir::create(Path::new(run_dir::BASE), crate::commands::LAB, now),
    };
    made.map(Some).map_err(|error| {
        let shown = output.out.as_deref().unwrap_or_else(|| Path::new(run_dir::BASE));
        let what = format!("the run cannot be left in {}", shown.display());
        Failure::from_error(Exit::Usage, what, &error)
            .or_type("in another folder", format!("{} --out FOLDER …", crate::commands::LAB))
            .or_type("without files", format!("{} --no-report …", crate::commands::LAB))
    })
}

fn capture(folder: &Path, seed: u64) -> Result<Capture<BufWriter<File>>, Failure> {
    let open = || {
        std::fs::create_dir_all(folder)?;
        let file = |name: &str| File::create(folder.join(name)).map(BufWriter::new);
        let application = format!("wirelab {} {}", env!("CARGO_PKG_VERSION"), crate::commands::LAB);
        Capture::new([file("a.pcapng")?, file("b.pcapng")?], &application, seed)
    };
    open().map_err(cannot(format!("the captures cannot go to {}", folder.display())))
}

/// The file for the other end's output: in the run's folder, or one without a name.
fn server_log(dir: Option<&RunDir>) -> Result<File, Failure> {
    let mut options = File::options();
    options.read(true).append(true);
    let made = match dir {
        Some(dir) => options.create(true).open(dir.path().join("b.log")),
        None => unnamed(),
    };
    made.map_err(cannot("the output of the other end cannot be kept".to_owned()))
}

/// A file without a name, so that nothing is left of it whenever this process dies.
fn unnamed() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let mut options = File::options();
    options.read(true).append(true);
    match options.clone().custom_flags(libc::O_TMPFILE).open(&folder) {
        // A file system that knows only files with names: it has one for a moment.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {}
        made => return made,
    }
    let path = folder.join(format!("{}-{}", crate::commands::LAB, std::process::id()));
    let file = options.create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Watch for Leaving {
    fn signal(&mut self) -> Option<u8> {
        self.relay.take()
    }

    fn starts(&mut self, server_ready: Option<Duration>) {
        self.server_ready = server_ready;
    }

    fn chunk(&mut self, clock: Clock, chunk: &Chunk) -> io::Result<()> {
        self.meter.note(chunk);
        for (note, _) in chunk.iter() {
            self.last = self.last.max(note.at);
            match note.what {
                Event::Arrived { fate, .. } => self.recording.note(note.direction, note.at, &fate),
                Event::Released(release) => self.recording.note_release(note.direction, &release),
                _ => {}
            }
            self.lost += u64::from(is_lost(&note.what));
        }
        for lines in &mut self.events {
            if !self.begun {
                lines.write(Instant::ZERO, Line::Started { seed: self.seed })?;
            }
            lines.chunk(chunk)?;
        }
        self.begun = true;
        match &mut self.capture {
            Some(capture) => capture.chunk(chunk, |at| clock.to_utc_nanos(at)),
            None => Ok(()),
        }
    }
}

fn is_lost(event: &Event) -> bool {
    use wirelab::path::{ReleaseVerdict, Verdict};
    match event {
        Event::Arrived { fate, .. } => matches!(fate.verdict, Verdict::Dropped(_)),
        Event::Released(release) => matches!(release.verdict, ReleaseVerdict::Dropped(_)),
        _ => false,
    }
}
