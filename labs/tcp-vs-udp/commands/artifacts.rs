//! The files of a run: manifest, result, events, captures, report.

use crate::LAB;
use crate::args::Args;
use crate::kernel::LaneCapture;
use crate::outcome::Block;
use crate::report::{events, html, ladder};
use crate::result::{Host, Mode};
use crate::run::{Identity, Run};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use wirelab::bank::load::End;
use wirelab::cli::error::Failure;
use wirelab::cli::exit::Exit;
use wirelab::cli::run::{self, Manifest, Place, RunFolder, Stream, unwritten};
use wirelab::measure::{Instant, Ppm, human, nanos};
use wirelab::path::Direction;
use wirelab::report::ndjson::Lines;
use wirelab::report::pcapng;
use wirelab::runtime::clock::Clock;
use wirelab::sys::host;
use wirelab::sys::privilege::Privilege;

/// Host facts known before the run.
pub(crate) fn host(privilege: Privilege) -> Host {
    Host {
        kernel: host::kernel_release(),
        cpus: host::cpus(),
        privilege: privilege.to_string(),
        started_utc: run::utc(wirelab::runtime::clock::utc_seconds()),
        ..Host::default()
    }
}

/// Where a run is written: opened before it, so that an unwritable path fails at once.
pub(crate) struct Artifacts {
    folder: Option<RunFolder>,
    /// `--events FILE`.
    events: Option<Stream>,
}

impl Artifacts {
    /// Opens all output files.
    ///
    /// # Errors
    /// If a file or folder cannot be created.
    pub(crate) fn open(args: &Args, identity: &Identity) -> Result<Self, Failure> {
        let file = args.output.events.as_deref().filter(|_| !args.output.events_to_stdout());
        let events = file.map(Stream::open).transpose().map_err(|error| {
            let shown = file.unwrap_or_else(|| Path::new("-")).display();
            Failure::from_error(Exit::Usage, format!("the events cannot go to {shown}"), &error)
        })?;
        let manifest = Manifest::new(LAB, &identity.command, Some(identity.seed));
        let place = Place { out: args.output.out.as_deref(), no_report: args.output.no_report };
        Ok(Self { folder: RunFolder::open(&place, manifest)?, events })
    }

    /// Writes every file; the folder, if there is one.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(self, args: &Args, run: &Run) -> Result<Option<PathBuf>, Failure> {
        self.write_all(args, run).map_err(|error| unwritten(&error))
    }

    fn write_all(self, args: &Args, run: &Run) -> io::Result<Option<PathBuf>> {
        if args.output.events_to_stdout() {
            write_events(run, wirelab::cli::stdout::Pipe::new(io::stdout().lock()))?;
        }
        if let Some(stream) = self.events {
            write_events(run, BufWriter::new(stream))?;
        }
        let Some(mut folder) = self.folder else { return Ok(None) };
        let slow = ladder::slow_requests(&run.result, &run.stages, &run.captures);
        folder.write("result.json", &serde_json::to_vec(&run.result)?)?;
        write_events(run, BufWriter::new(folder.create("events.ndjson")?))?;
        folder.write("report.html", html::render(&run.result, &slow).as_bytes())?;
        if let (Some(clock), false) = (run.clock, run.captures.is_empty()) {
            for (name, side) in [("client.pcapng", Side::Client), ("server.pcapng", Side::Server)] {
                write_capture(run, clock, side, folder.create(name)?)?;
            }
        }
        let result = &run.result;
        if result.mode == Mode::Kernel {
            folder.manifest.add_host(&result.host)?;
        }
        folder.manifest.add("mode", result.mode)?;
        folder.manifest.add("plan", &result.plan)?;
        // Maximum frames kept per lane and stage in the captures.
        folder.manifest.add("capture_frames", result.plan.capture_frames)?;
        folder.finish(false).map(Some)
    }
}

/// The blocks as they ran, each with its loss.
fn in_order(run: &Run) -> impl Iterator<Item = (&Block, Ppm)> {
    let plan = &run.result.plan;
    let stages = move |repetition: usize| {
        let stages = plan.stage_order().into_iter();
        stages.filter_map(move |s| Some((run.stages[s].get(repetition)?, plan.loss_ppm[s])))
    };
    let most = run.stages.iter().map(Vec::len).max().unwrap_or(0);
    (0..most).flat_map(stages)
}

fn write_events(run: &Run, out: impl Write) -> io::Result<()> {
    let mut writer = Lines::new(out);
    let (mut requests, mut frames_lost) = (0, 0);
    let mut end = Instant::ZERO;
    for (outcome, loss_ppm) in in_order(run) {
        let repetition = outcome.repetition;
        let mut lines: Vec<(Instant, events::Event<'_>)> = Vec::new();
        for lane in &outcome.lanes {
            let id = events::LaneId { arm: lane.arm, depth: lane.depth, loss_ppm };
            lines.extend(lane.samples.iter().map(|s| (s.finished, request(id, s))));
            for (direction, lost) in Direction::BOTH.into_iter().zip(&lane.lost) {
                let seed = outcome.seed;
                let event = |f: &wirelab::path::LostFrame| events::Event::FrameLost {
                    lane: id,
                    direction,
                    index: f.index,
                    len: f.len,
                    draw_ppm: f.draw_ppm,
                    threshold_ppm: loss_ppm,
                    seed,
                };
                lines.extend(lost.iter().map(|f| (f.at, event(f))));
                frames_lost += lost.len() as u64;
            }
            requests += lane.samples.len() as u64;
        }
        lines.sort_by_key(|(at, _)| *at);
        let begin = lines.first().map_or(end, |(at, _)| *at);
        end = lines.last().map_or(end, |(at, _)| *at);
        writer.write(&events::Record::new(
            begin,
            events::Event::StageBegin { loss_ppm, repetition },
        ))?;
        for (at, event) in lines {
            writer.write(&events::Record::new(at, event))?;
        }
        let elapsed_ns = nanos(outcome.elapsed);
        let stage_end = events::Event::StageEnd { loss_ppm, repetition, elapsed_ns };
        writer.write(&events::Record::new(end, stage_end))?;
    }
    let ended = run.result.ended;
    writer.write(&events::Record::new(
        end,
        events::Event::Summary { ended, requests, frames_lost },
    ))?;
    writer.finish().map(drop)
}

fn request(lane: events::LaneId, sample: &wirelab::bank::load::Sample) -> events::Event<'static> {
    events::Event::RequestFinished {
        lane,
        seq: sample.op,
        operation: sample.operation.name(),
        outcome: match sample.end {
            End::Done => events::Outcome::Done,
            End::Refused => events::Outcome::Refused,
            End::Unknown => events::Outcome::Unknown,
        },
        attempts: u32::from(sample.attempts),
        latency_ns: nanos(sample.latency()),
    }
}

/// The host at which a capture is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Side {
    /// Whether this side sends frames of this direction.
    fn sends(self, direction: Direction) -> bool {
        (self == Self::Client) == (direction == Direction::AToB)
    }
}

fn write_capture(run: &Run, clock: Clock, side: Side, file: File) -> io::Result<()> {
    let application = format!("wirelab {} {}", run.result.version, LAB);
    let mut writer = pcapng::Writer::new(BufWriter::new(file), &application)?;
    for (number, lane) in (0_u64..).zip(&run.captures) {
        let host = if side == Side::Client { "client" } else { "server" };
        let name = format!("{} d{} {}", lane.arm.name(), lane.depth, lane.loss);
        let about = format!(
            "{host} of {} at depth {}, loss {} each way; the first {} after loss began",
            lane.arm.name(),
            lane.depth,
            lane.loss,
            human::plural(lane.frames.len() as u64, "frame", "frames")
        );
        let interface = writer.add_interface(&name, &about)?;
        write_lane(&mut writer, run, clock, side, interface, number, lane)?;
    }
    writer.finish().map(drop)
}

fn write_lane(
    writer: &mut pcapng::Writer<BufWriter<File>>,
    run: &Run,
    clock: Clock,
    side: Side,
    interface: u32,
    number: u64,
    lane: &LaneCapture,
) -> io::Result<()> {
    let mut packets: Vec<(Instant, usize)> = Vec::new();
    for (place, frame) in lane.frames.iter().enumerate() {
        let seen = if side.sends(frame.direction) { Some(frame.arrived) } else { frame.departed };
        // A lost frame is in both captures, also in the receiver's.
        let at = seen.or_else(|| (frame.copies == 0).then_some(frame.arrived));
        packets.extend(at.map(|at| (at, place)));
    }
    packets.sort();
    for (at, place) in packets {
        let frame = &lane.frames[place];
        let (index, draw) = (frame.index, frame.draw_ppm);
        let comment = match frame.copies {
            0 => Some(format!(
                "LOST by the path: frame {index} of its direction, draw {draw} ppm < {} ppm, \
                 seed {}",
                lane.loss.get(),
                run.result.seed
            )),
            1 => None,
            _ => Some(format!("delivered twice by the path: frame {index} of its direction")),
        };
        let direction = frame.direction.index() as u64;
        writer.packet(pcapng::Packet {
            interface,
            time_ns: clock.to_utc_nanos(at),
            data: &frame.bytes,
            original_len: u32::try_from(frame.bytes.len())
                .expect("invariant: a frame fits the MTU"),
            comment: comment.as_deref(),
            packet_id: number << 40 | direction << 39 | index,
            outbound: side.sends(frame.direction),
        })?;
    }
    Ok(())
}
