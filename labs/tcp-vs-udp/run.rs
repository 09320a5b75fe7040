//! A whole run of tcp-vs-udp: the stages in sequence, then the result.

use super::kernel::{KernelError, KernelRun, LaneCapture, Tick};
use super::outcome::Block;
use super::plan::Plan;
use super::result::{Ended, Host, Mode, RunResult, SCHEMA, Stage};
use super::{blocking, claims, summary, verdict, virtual_time};
use std::ops::ControlFlow;
use std::time::Duration;
use wirelab::measure::nanos;
use wirelab::runtime::clock::Clock;

/// Output of a run.
#[derive(Debug)]
pub struct Run {
    /// The figures.
    pub result: RunResult,
    /// The samples, by stage and repetition.
    pub stages: Vec<Vec<Block>>,
    /// Captured frames, by lane.
    pub captures: Vec<LaneCapture>,
    /// The clock of the samples and captures; `None` in virtual time.
    pub clock: Option<Clock>,
}

/// Progress report of a run.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Requests have ended.
    Tick(Tick),
    /// A repetition of a stage is complete: the stage so far.
    Stage(&'a Stage, u32),
}

/// Metadata of a run, besides its plan.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The seed of every draw.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
    /// Host facts known in advance.
    pub host: Host,
}

/// Runs the plan on the kernel's own TCP and UDP.
///
/// # Errors
/// If the path cannot be built or a system call fails.
pub fn on_kernel(
    plan: &Plan,
    mut identity: Identity,
    mut observer: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Run, KernelError> {
    let clock = Clock::start();
    let mut run = KernelRun::build(plan, identity.seed, clock)?;
    run.describe(&mut identity.host)?;
    let began = clock.now();
    let mut captures = Vec::new();
    let (stages, ended) = repeat(plan, &mut observer, |tick, observer| {
        let watch = |tick| observer(Progress::Tick(tick));
        Ok(match run.block(tick.stage, tick.repetition, watch)? {
            ControlFlow::Continue((block, kept)) => {
                captures.extend(kept);
                ControlFlow::Continue(block)
            }
            ControlFlow::Break(in_flight) => ControlFlow::Break(in_flight),
        })
    })?;
    let measured = clock.now().since(began);
    run.finish()?;
    let mut result = conclude(plan, identity, Mode::Kernel, &stages, ended, measured);
    blocking::count(&mut result.stages, &captures);
    Ok(Run { result, stages, captures, clock: Some(clock) })
}

/// Runs the plan in virtual time, without the TCP arms.
#[must_use]
pub fn in_virtual_time(
    plan: &Plan,
    identity: Identity,
    mut observer: impl FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Run {
    let seed = identity.seed;
    let run = repeat(plan, &mut observer, |tick, observer| {
        if observer(Progress::Tick(tick)).is_break() {
            return Ok(ControlFlow::Break(0));
        }
        let loss = plan.loss_ppm[tick.stage];
        Ok(ControlFlow::Continue(virtual_time::block(plan, seed, loss, tick.repetition)))
    });
    let (stages, ended) = run.expect("invariant: virtual time makes no system call");
    let measured = stages.iter().flatten().map(|block| block.elapsed).sum();
    let result = conclude(plan, identity, Mode::Sim, &stages, ended, measured);
    Run { result, stages, captures: Vec::new(), clock: None }
}

/// How a run ended, and the requests in flight if it was interrupted.
pub type End = (Ended, u64);
/// A completed block, or the number of requests in flight when the user stopped the run.
type BlockEnd = Result<ControlFlow<u64, Block>, KernelError>;

/// Runs every repetition of every stage; those of a stage lie apart, so that a machine that is busy
/// for a while disturbs one repetition of each.
fn repeat<O: FnMut(Progress<'_>) -> ControlFlow<()>>(
    plan: &Plan,
    observer: &mut O,
    mut block: impl FnMut(Tick, &mut O) -> BlockEnd,
) -> Result<(Vec<Vec<Block>>, End), KernelError> {
    let mut stages: Vec<Vec<Block>> = plan.loss_ppm.iter().map(|_| Vec::new()).collect();
    for repetition in 0..plan.repetitions {
        for stage in plan.stage_order() {
            let tick = Tick { stage, repetition, ended: 0, of: u64::from(plan.ops) };
            match block(tick, observer)? {
                ControlFlow::Continue(block) => stages[stage].push(block),
                ControlFlow::Break(in_flight) => {
                    return Ok((stages, (Ended::Interrupted, in_flight)));
                }
            }
            let so_far = summary::stage(plan, plan.loss_ppm[stage], &stages[stage]);
            if observer(Progress::Stage(&so_far, repetition)).is_break() {
                return Ok((stages, (Ended::Interrupted, 0)));
            }
        }
    }
    Ok((stages, (Ended::Finished, 0)))
}

/// The result of completed blocks, by stage.
#[must_use]
pub fn conclude(
    plan: &Plan,
    identity: Identity,
    mode: Mode,
    blocks: &[Vec<Block>],
    (ended, in_flight_unknown): End,
    measured: Duration,
) -> RunResult {
    let pairs = plan.loss_ppm.iter().zip(blocks).filter(|(_, blocks)| !blocks.is_empty());
    let stages = pairs.map(|(loss, blocks)| summary::stage(plan, *loss, blocks));
    let mut stages: Vec<Stage> = stages.collect();
    let timing = claims::timing(plan, mode, &stages);
    let verdicts = verdict::verdicts(plan, &stages, &timing);
    for stage in &mut stages {
        stage.verdict = verdict::of_stage(plan, stage, &verdicts);
    }
    RunResult {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: identity.command,
        seed: identity.seed,
        mode,
        ended,
        in_flight_unknown,
        verdict: verdicts[0].sentence.clone(),
        verdicts,
        plan: plan.clone(),
        host: identity.host,
        claims: claims::claims(plan, &stages, &timing),
        left_out: if mode == Mode::Sim { virtual_time::left_out(plan) } else { Vec::new() },
        cannot_tell: claims::cannot_tell(plan, mode, &stages),
        timing,
        measured_ns: nanos(measured),
        predictions: Vec::new(),
        stages,
    }
}
