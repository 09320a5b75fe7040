//! Runs a plan in virtual time: the datagram arms over the link model, bit-identical by seed.

use super::arms::Arm;
use super::outcome::{Block, LaneOutcome};
use super::plan::Plan;
use super::result::{LeftOut, LinkAudit, UdpCounters};
use super::{ledger_audit, load};
use std::time::Duration;
use wirelab::bank::sim::World;
use wirelab::bank::store::memory::MemoryStore;
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::Record;

/// The arms of a plan that virtual time cannot run, and why.
#[must_use]
pub fn left_out(plan: &Plan) -> Vec<LeftOut> {
    let left_out = |arm: &Arm| {
        let reason = arm.transport().needs_kernel()?.to_owned();
        Some(LeftOut { arm: *arm, reason })
    };
    plan.arms.iter().filter_map(left_out).collect()
}

/// Runs one repetition of a loss rate.
#[must_use]
pub fn block(plan: &Plan, seed: u64, loss: Ppm, repetition: u32) -> Block {
    let seed = Plan::seed_of(seed, repetition);
    let lanes = plan.lanes().filter(|(arm, _)| arm.transport().needs_kernel().is_none());
    let runs: Vec<(LaneOutcome, Duration)> =
        lanes.map(|(arm, depth)| lane(plan, seed, loss, arm, depth)).collect();
    let elapsed = runs.iter().map(|(_, elapsed)| *elapsed).max().unwrap_or_default();
    let lanes = runs.into_iter().map(|(outcome, _)| outcome).collect();
    Block { repetition, seed, lanes, began: Instant::ZERO, elapsed }
}

/// One lane, warmed up without loss and then measured, with its virtual duration.
fn lane(plan: &Plan, seed: u64, loss: Ppm, arm: Arm, depth: u32) -> (LaneOutcome, Duration) {
    let generator = load::generator(plan, arm, depth, seed);
    let server = load::server(arm, seed);
    let clear = plan.link(Ppm::ZERO);
    let mut world: World<MemoryStore> =
        World::new(generator, server, &[clear.clone(), clear], seed);
    world.run(load::warm_up(plan, depth));
    let warm = world.generator.samples().to_vec();
    let before = world.generator.counters();
    let link = plan.link(loss);
    world.set_links(&[link.clone(), link], seed);
    let began = world.now();
    world.run(load::measured(plan, depth));
    let elapsed = world.now().since(began);
    let stats = world.generator.counters();
    let samples = world.generator.samples().to_vec();
    let ledger = ledger_audit::audit_lane(&world.server, &warm, &samples);
    let records = world.records();
    let outcome = LaneOutcome {
        arm,
        depth,
        clients: plan.clients(depth),
        handshakes: None,
        path: [audit(&records[0]), audit(&records[1])],
        lost: [records[0].lost.clone(), records[1].lost.clone()],
        tcp: None,
        udp: UdpCounters::between(&before, &stats),
        ledger,
        samples,
    };
    (outcome, elapsed)
}

fn audit(record: &Record) -> LinkAudit {
    let lost = record.lost.len() as u64;
    LinkAudit {
        offered: record.counts.offered,
        bytes: record.counts.bytes,
        lost,
        duplicated: record.counts.duplicated,
        loss: Share::new(lost, record.counts.offered),
        fates_digest: format!("{:016x}", record.digest()),
        ..LinkAudit::default()
    }
}
