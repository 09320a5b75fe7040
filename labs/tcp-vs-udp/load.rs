//! The load of a lane: bank, clients and requests, for real and virtual runs.

use super::arms::Arm;
use super::plan::Plan;
use std::time::Duration;
use wirelab::bank::load::{ArrivalModel, LoadGenerator, LoadPlan, Workload};
use wirelab::bank::message::Cents;
use wirelab::bank::server::{Server, ServerConfig};
use wirelab::bank::store::memory::MemoryStore;

/// Accounts of every bank.
pub const ACCOUNTS: u64 = 64;
/// Opening balance of each: no transfer of a run can exhaust it.
pub const OPENING: Cents = Cents(100_000_000);
/// Warm-up requests per client slot: enough for the round-trip estimate to settle, since RTTVAR
/// shrinks by a quarter per sample (RFC 6298 §2.3) from RTT/2.
const WARM_UP_PER_SLOT: u64 = 12;
/// Maximum duration of the warm-up.
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);

/// The bank of an arm.
#[must_use]
pub fn server(arm: Arm, seed: u64) -> Server<MemoryStore> {
    let config = ServerConfig { dedup: arm.transport().dedup(), ..ServerConfig::default() };
    Server::new(config, MemoryStore::with_accounts(ACCOUNTS, OPENING), seed)
}

/// The clients of a lane.
#[must_use]
pub fn generator(plan: &Plan, arm: Arm, depth: u32, seed: u64) -> LoadGenerator {
    let transport = arm.transport();
    let clients = transport.clients(plan.conditions(), depth);
    let workload = Workload { seed, accounts: ACCOUNTS, only: None };
    if transport.per_request() {
        // One request per connection: the depth is the number of clients.
        LoadGenerator::new(clients, workload, plan.outstanding, seed).connection_per_request()
    } else {
        LoadGenerator::new(clients, workload, plan.clients(depth), seed)
    }
}

/// The warm-up load.
#[must_use]
pub fn warm_up(plan: &Plan, depth: u32) -> LoadPlan {
    let ops = WARM_UP_PER_SLOT * u64::from(plan.outstanding);
    load(plan, depth, ops, WARM_UP_LIMIT)
}

/// The measured load of one repetition.
#[must_use]
pub fn measured(plan: &Plan, depth: u32) -> LoadPlan {
    let ops = u64::from(plan.ops.div_ceil(plan.repetitions));
    load(plan, depth, ops, plan.stage_limit / plan.repetitions)
}

const fn load(plan: &Plan, depth: u32, ops: u64, limit: Duration) -> LoadPlan {
    LoadPlan { arrivals: ArrivalModel::Closed { depth }, ops, limit, spread: plan.rtt }
}
