//! Writes a run's artefacts: captures, events, fates, result.

use crate::LAB;
use crate::args::{Flags, Output};
use crate::audit::Meter;
use crate::report::capture::Capture;
use crate::report::events::{self, Event as Line, Record};
use crate::result::PathResult;
use crate::run::Watch;
use std::fs::File;
use std::io::{self, BufWriter, IntoInnerError, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::forward_signals::SignalForwarder;
use wirelab::cli::run::{
    Manifest, Place, RunFolder, Stream, Whole, make_folder, unnamed, unnamed_in,
};
use wirelab::cli::stdout::complain;
use wirelab::emulator::events::{Chunk, Event};
use wirelab::measure::Instant;
use wirelab::path::Recording;
use wirelab::report::ndjson;
use wirelab::runtime::clock::Clock;

/// Lines of the other end's output in an error, and bytes searched for them.
const TAIL_LINES: usize = 12;
const TAIL_BYTES: u64 = 8_192;

type Lines = ndjson::Lines<Box<dyn Write>>;

/// The outputs of a run.
pub(crate) struct Leaving {
    folder: Option<RunFolder>,
    capture: Option<Capture<BufWriter<Whole>>>,
    events: Vec<Lines>,
    recording: Recording,
    /// `--record FILE`.
    record: Option<Whole>,
    /// `--json=FILE`.
    json: Option<Whole>,
    server_output: Option<File>,
    seed: u64,
    signals: SignalForwarder,
    begun: bool,
    /// Whether a flag asked for captures, fates or events, rather than the run's folder alone.
    pub(crate) was_asked_for: bool,
    lost: u64,
    last: Instant,
    pub(crate) meter: Meter,
    pub(crate) server_ready: Option<Duration>,
}

fn cannot(what: String) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::from_error(Exit::Usage, what, &error)
}

impl Leaving {
    /// Opens every file before the run, which would otherwise be wasted.
    ///
    /// # Errors
    /// The file or folder that cannot be made.
    pub(crate) fn open(
        flags: &Flags,
        output: &Output,
        (command, seed): (&str, u64),
        server: bool,
    ) -> Result<Self, Failure> {
        let place = Place { out: output.shared.out.as_deref(), no_report: output.shared.no_report };
        let folder = match RunFolder::open(&place, Manifest::new(LAB, command, Some(seed))) {
            // No folder was asked for: the program runs without one.
            Err(failure) if place.out.is_none() && !is_writable(Path::new(".")) => {
                complain(&format!("{LAB}: {failure}; the run leaves no record\n"));
                None
            }
            opened => opened?,
        };
        let capture = flags.capture.as_deref().map(|to| capture(to, seed)).transpose()?;
        let mut events = Vec::new();
        if let Some(folder) = &folder {
            let file = folder.create("events.ndjson");
            let file = file.map_err(cannot("the events cannot be kept".to_owned()))?;
            events.push(Lines::new(Box::new(BufWriter::new(file))));
        }
        if let Some(path) = &output.shared.events {
            if path == Path::new("-") {
                let what = "--events: stdout belongs to the program; name a file";
                return Err(Failure::new(Exit::Usage, what));
            }
            let file = named(Stream::open, path, "events")?;
            events.push(Lines::new(Box::new(BufWriter::new(file))));
        }
        let record = flags.record.as_deref();
        let record = record.map(|path| named(Whole::create, path, "fates")).transpose()?;
        let json = output.shared.json.json.as_deref().filter(|path| *path != Path::new("-"));
        let json = json.map(|path| named(Whole::create, path, "result")).transpose()?;
        let server_output = if server { Some(server_log(folder.as_ref())?) } else { None };
        let signals = SignalForwarder::install()
            .map_err(|error| Failure::from_error(Exit::Bug, "cannot watch for signals", &error))?;
        Ok(Self {
            folder,
            capture,
            events,
            recording: Recording::default(),
            record,
            json,
            server_output,
            seed,
            signals,
            begun: false,
            was_asked_for: flags.capture.is_some()
                || flags.record.is_some()
                || output.shared.events.is_some(),
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

    /// Whether frames must be captured whole.
    pub(crate) const fn wants_frames(&self) -> bool {
        self.capture.is_some()
    }

    /// The last lines of the other end's output.
    pub(crate) fn server_said(&mut self) -> Vec<String> {
        let Some(file) = &mut self.server_output else { return Vec::new() };
        let length = file.metadata().map_or(0, |about| about.len());
        let mut text = Vec::new();
        let from = length.saturating_sub(TAIL_BYTES);
        // Unreadable output is omitted: the error is about the failure itself.
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|l| (*l).to_owned()).collect()
    }

    /// Closes the files, writes the result, and prints its location unless `quiet`.
    pub(crate) fn finish(mut self, result: &PathResult, quiet: bool) -> io::Result<()> {
        let code = result.program.status.code();
        let frames_lost = self.lost;
        for mut lines in std::mem::take(&mut self.events) {
            lines.write(&Record::new(self.last, Line::Ended { code, frames_lost }))?;
            lines.finish()?;
        }
        if let Some(capture) = self.capture.take() {
            for side in capture.finish()? {
                side.into_inner().map_err(IntoInnerError::into_error)?.finish()?;
            }
        }
        let fates = self.recording.to_string();
        let json = serde_json::to_vec_pretty(result)?;
        for (file, content) in [(self.record, fates.as_bytes()), (self.json, &json)] {
            let Some(mut file) = file else { continue };
            file.write_all(content)?;
            file.finish()?;
        }
        let Some(mut folder) = self.folder else { return Ok(()) };
        folder.write("result.json", &json)?;
        folder.write("fates.txt", fates.as_bytes())?;
        folder.manifest.add_host(&result.host)?;
        folder.manifest.add("plan", &result.plan)?;
        // Whether the run had more frames than fates.txt can hold.
        folder.manifest.add("fates_cut", self.recording.is_cut())?;
        folder.finish(quiet).map(drop)
    }
}

/// Whether files can be made in a folder.
fn is_writable(folder: &Path) -> bool {
    unnamed_in(folder).is_ok()
}

/// A file that the user named.
fn named<T>(open: fn(&Path) -> io::Result<T>, path: &Path, what: &str) -> Result<T, Failure> {
    open(path).map_err(cannot(format!("the {what} cannot go to {}", path.display())))
}

fn capture(folder: &Path, seed: u64) -> Result<Capture<BufWriter<Whole>>, Failure> {
    let open = || {
        make_folder(folder)?;
        let file = |name: &str| Whole::create(&folder.join(name)).map(BufWriter::new);
        let application = format!("wirelab {} {LAB}", env!("CARGO_PKG_VERSION"));
        Capture::new([file("a.pcapng")?, file("b.pcapng")?], &application, seed)
    };
    open().map_err(cannot(format!("the captures cannot go to {}", folder.display())))
}

/// The file for the other end's output: in the run's folder, or unnamed.
fn server_log(folder: Option<&RunFolder>) -> Result<File, Failure> {
    let made = folder.map_or_else(unnamed, |folder| folder.create("b.log"));
    made.map_err(cannot("the output of the other end cannot be kept".to_owned()))
}

impl Watch for Leaving {
    fn signal(&mut self) -> Option<u8> {
        let signal = self.signals.take();
        if let Some(signal) = signal {
            tracing::info!("passing on signal {signal}");
        }
        signal
    }

    fn starts(&mut self, server_ready: Option<Duration>) {
        match server_ready {
            Some(after) => tracing::info!("host b is ready after {after:?}; the program starts"),
            None => tracing::info!("the path stands; the program starts"),
        }
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
                lines.write(&Record::new(Instant::ZERO, Line::Started { seed: self.seed }))?;
            }
            events::chunk(lines, chunk)?;
        }
        let (events, lost) = (chunk.iter().count(), self.lost);
        tracing::debug!("{events} events on the path, {lost} frames lost so far");
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
