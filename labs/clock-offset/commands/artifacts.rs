//! Run artefacts: manifest, samples, events, result, report.

use crate::LAB;
use crate::args::Args;
use crate::client::Event;
use crate::finding::Finding;
use crate::report;
use std::io::{self, LineWriter, Write};
use std::path::Path;
use tracing::{debug, info};
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::run::{Manifest, Place, RunFolder, Stream, unwritten};
use wirelab::cli::stdout::Pipe;
use wirelab::measure::Instant;
use wirelab::measure::human::latency;

/// Everything that is written while a run goes on.
pub(crate) struct Leaving {
    folder: Option<RunFolder>,
    /// Where `--samples` wants them.
    samples: Option<Stream>,
    events: Vec<Box<dyn Write + Send>>,
    broken: Option<io::Error>,
}

impl Leaving {
    /// Opens every file before the run, so that nothing is asked for nothing; `command` repeats it.
    ///
    /// # Errors
    /// Which file or folder cannot be made.
    pub(crate) fn open(args: &Args, command: &str, seed: Option<u64>) -> Result<Self, Failure> {
        let mut events: Vec<Box<dyn Write + Send>> = Vec::new();
        match &args.output.events {
            None => {}
            Some(_) if args.output.events_to_stdout() => {
                events.push(Box::new(Pipe::new(io::stdout())))
            }
            // By the line, so that others can follow the file.
            Some(path) => events.push(Box::new(LineWriter::new(named(path, "events")?))),
        }
        let samples = args.samples.as_deref().map(|path| named(path, "samples")).transpose()?;
        let place = Place { out: args.output.out.as_deref(), no_report: args.output.no_report };
        // Last, so that a file that cannot be made leaves no folder behind.
        let folder = RunFolder::open(&place, Manifest::new(LAB, command, seed))?;
        if let Some(folder) = &folder {
            let file = folder.create("events.ndjson").map_err(|error| unwritten(&error))?;
            events.push(Box::new(LineWriter::new(file)));
        }
        Ok(Self { folder, samples, events, broken: None })
    }

    /// Writes an event; a failure is reported at the end.
    pub(crate) fn event(&mut self, name: &str, at: Instant, event: &Event) {
        log(name, at, event);
        let line = report::events::line(name, at, event).map_err(io::Error::from);
        let written = line.and_then(|line| {
            let line = line.unwrap_or_default();
            self.events.iter_mut().try_for_each(|to| to.write_all(line.as_bytes()))
        });
        if let Err(error) = written {
            self.broken.get_or_insert(error);
        }
    }

    /// Writes the rest, and says where it is.
    ///
    /// # Errors
    /// The file that could not be written.
    pub(crate) fn finish(self, finding: &Finding) -> Result<(), Failure> {
        self.write(finding).map_err(|error| unwritten(&error))
    }

    fn write(mut self, finding: &Finding) -> io::Result<()> {
        self.events.iter_mut().try_for_each(Write::flush)?;
        self.broken.take().map_or(Ok(()), Err)?;
        let samples = lines(finding)?;
        if let Some(file) = &mut self.samples {
            file.write_all(samples.as_bytes())?;
            file.flush()?;
        }
        let Some(mut folder) = self.folder else { return Ok(()) };
        folder.write("samples.ndjson", samples.as_bytes())?;
        folder.write("result.json", &serde_json::to_vec_pretty(finding)?)?;
        folder.write("report.html", report::page::render(finding).as_bytes())?;
        let scenario = finding.checked.as_ref().map(|checked| &checked.scenario);
        folder.manifest.seed = finding.seed;
        folder.manifest.add("scenario", scenario)?;
        folder.finish(false).map(drop)
    }
}

/// One line for an event with `-v`; with `-vv` the four timestamps and sockets that close, too.
fn log(name: &str, at: Instant, event: &Event) {
    let at = latency(at.as_nanos());
    match event {
        Event::Sample(sample) => {
            let signed = if sample.offset_ns() < 0 { "-" } else { "" };
            let offset = latency(sample.offset_ns().unsigned_abs());
            info!("{at}: {name} replied: offset {signed}{offset}, delay {} ns", sample.delay_ns());
            debug!("{at}: {name}: {:?}", sample.record);
        }
        Event::Refused { request, from, refusal, .. } => info!(
            "{at}: {name}, request {request}: reply from {from} not believed: {refusal} ({})",
            refusal.section()
        ),
        Event::Lost { request, .. } => info!("{at}: {name}, request {request}: no reply"),
        Event::Closed { request } => debug!("{at}: {name}, request {request}: socket closed"),
        Event::KeysNeeded => info!("{at}: {name}: asking for new NTS keys"),
        Event::Ended(why) => info!("{at}: {name} ended: {why:?}"),
    }
}

fn named(path: &Path, what: &str) -> Result<Stream, Failure> {
    Stream::open(path).map_err(|error| {
        let what = format!("the {what} cannot go to {}", path.display());
        Failure::from_error(Exit::Usage, what, &error)
    })
}

/// Every sample as a line.
fn lines(finding: &Finding) -> io::Result<String> {
    let samples = finding.servers.iter().flat_map(|server| &server.samples);
    samples.map(|sample| Ok(report::samples::line(sample)?)).collect()
}
