//! A whole run of tcp-vs-udp: the stages in sequence, then the result.

use super::kernel::{KernelError, KernelRun, LaneCapture, Tick};
use super::outcome::StageOutcome;
use super::plan::Plan;
use super::result::{Ended, Host, Mode, RunResult, SCHEMA, Stage};
use super::{summary, verdict, virtual_time};
use std::ops::ControlFlow;
use std::time::Duration;
use wirelab::measure::{Ppm, nanos};
use wirelab::runtime::clock::Clock;

/// Output of a run.
#[derive(Debug)]
pub struct Run {
    /// The figures.
    pub result: RunResult,
    /// The samples, by stage.
    pub stages: Vec<StageOutcome>,
    /// Captured frames, by lane.
    pub captures: Vec<LaneCapture>,
    /// The clock of the samples and captures; `None` in virtual time.
    pub clock: Option<Clock>,
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
    mut observer: impl FnMut(Tick) -> ControlFlow<()>,
) -> Result<Run, KernelError> {
    let clock = Clock::start();
    let mut run = KernelRun::build(plan, identity.seed, clock)?;
    run.describe(&mut identity.host)?;
    let began = clock.now();
    let (mut stages, mut captures, mut ended) = (Vec::new(), Vec::new(), Ended::Finished);
    for (index, loss) in plan.loss_ppm.iter().enumerate() {
        match run.stage(index, *loss, &mut observer)? {
            ControlFlow::Continue((stage, kept)) => {
                stages.push(stage);
                captures.extend(kept);
            }
            ControlFlow::Break(()) => {
                ended = Ended::Interrupted;
                break;
            }
        }
    }
    let measured = clock.now().since(began);
    run.finish()?;
    let result = conclude(plan, identity, Mode::Kernel, &stages, ended, measured);
    Ok(Run { result, stages, captures, clock: Some(clock) })
}

/// Runs the plan in virtual time, without the TCP arms.
#[must_use]
pub fn in_virtual_time(
    plan: &Plan,
    identity: Identity,
    mut observer: impl FnMut(Tick) -> ControlFlow<()>,
) -> Run {
    let (mut stages, mut ended): (Vec<StageOutcome>, _) = (Vec::new(), Ended::Finished);
    for (stage, loss) in plan.loss_ppm.iter().enumerate() {
        if observer(Tick { stage, ended: 0, of: u64::from(plan.ops) }).is_break() {
            ended = Ended::Interrupted;
            break;
        }
        stages.push(virtual_time::stage(plan, identity.seed, *loss));
    }
    let measured = stages.iter().map(|stage| stage.elapsed).sum();
    let result = conclude(plan, identity, Mode::Sim, &stages, ended, measured);
    Run { result, stages, captures: Vec::new(), clock: None }
}

fn conclude(
    plan: &Plan,
    identity: Identity,
    mode: Mode,
    outcomes: &[StageOutcome],
    ended: Ended,
    measured: Duration,
) -> RunResult {
    let pairs = plan.loss_ppm.iter().zip(outcomes);
    let stages: Vec<Stage> = pairs.map(|(loss, outcome)| stage(plan, *loss, outcome)).collect();
    let timing = verdict::timing(plan, mode, &stages);
    RunResult {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: identity.command,
        seed: identity.seed,
        mode,
        ended,
        verdict: verdict::headline(plan, &stages),
        plan: plan.clone(),
        host: identity.host,
        claims: verdict::claims(plan, &stages, &timing),
        left_out: if mode == Mode::Sim { virtual_time::left_out(plan) } else { Vec::new() },
        cannot_tell: verdict::cannot_tell(plan, mode, &stages),
        timing,
        measured_ns: nanos(measured),
        stages,
    }
}

fn stage(plan: &Plan, loss: Ppm, outcome: &StageOutcome) -> Stage {
    let lanes = outcome.lanes.iter().map(|lane| summary::lane(plan, loss, lane)).collect();
    let mut stage =
        Stage { loss_ppm: loss, verdict: String::new(), lanes, elapsed_ns: nanos(outcome.elapsed) };
    stage.verdict = verdict::sentence(plan, &stage);
    stage
}
