//! What an arm is made of: its clients, its bank, its load. Shared by real and virtual runs.
//!
//! It must never know what carries the packets.

use super::plan::{Arm, Plan};
use std::time::Duration;
use wirelab::bank::client::Delivery;
use wirelab::bank::datagram::DatagramClientConfig;
use wirelab::bank::load::{ArrivalModel, LoadGenerator, LoadPlan, Workload};
use wirelab::bank::message::Cents;
use wirelab::bank::server::{Dedup, Server, ServerConfig};
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::stream::StreamClientConfig;
use wirelab::bank::transport::Transport;

/// Accounts of every bank.
pub const ACCOUNTS: u64 = 64;
/// Opening balance of each: no transfer of a run can empty one.
pub const OPENING: Cents = Cents(100_000_000);
/// Requests per client slot before anything is measured: enough for the round-trip estimate to
/// settle, since RTTVAR shrinks by a quarter a sample (RFC 6298 §2.3) from RTT/2.
const WARM_UP_PER_SLOT: u64 = 12;
/// Time the warm-up may take at most.
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);

/// The bank that an arm talks to. Repeats are applied again in `udp-retry` alone.
#[must_use]
pub fn server(arm: Arm, seed: u64) -> Server<MemoryStore> {
    let dedup = match arm {
        Arm::UdpRetry => Dedup::Off,
        Arm::UdpOnce => Dedup::Durable,
        Arm::Udp | Arm::Tcp | Arm::TcpTuned | Arm::TcpReconnect => Dedup::Volatile,
    };
    let config = ServerConfig { dedup, ..ServerConfig::default() };
    Server::new(config, MemoryStore::with_accounts(ACCOUNTS, OPENING), seed)
}

/// The clients of a lane.
#[must_use]
pub fn generator(plan: &Plan, arm: Arm, depth: u32, seed: u64) -> LoadGenerator {
    let max_in_flight = depth as usize;
    let stream = StreamClientConfig {
        deadline: plan.deadline,
        max_in_flight,
        ..StreamClientConfig::default()
    };
    let datagrams = |delivery, deadline| {
        Box::new(DatagramClientConfig {
            delivery,
            deadline,
            max_in_flight,
            ..DatagramClientConfig::default()
        })
    };
    let transport: Box<dyn Transport> = match arm {
        Arm::Tcp | Arm::TcpTuned | Arm::TcpReconnect => Box::new(stream),
        Arm::Udp => datagrams(Delivery::AtMostOnce, plan.patience),
        Arm::UdpRetry => datagrams(Delivery::AtLeastOnce, plan.deadline),
        Arm::UdpOnce => datagrams(Delivery::ExactlyOnce, plan.deadline),
    };
    let workload = Workload { seed, accounts: ACCOUNTS, only: None };
    // A connection per request carries one request: its depth is its number of clients.
    let clients = if arm == Arm::TcpReconnect { plan.outstanding } else { plan.clients(depth) };
    let generator = LoadGenerator::new(transport, workload, clients, seed);
    if arm == Arm::TcpReconnect { generator.connection_per_request() } else { generator }
}

/// The load before anything is measured.
#[must_use]
pub fn warm_up(plan: &Plan, depth: u32) -> LoadPlan {
    LoadPlan {
        arrivals: ArrivalModel::Closed { depth },
        ops: WARM_UP_PER_SLOT * u64::from(plan.outstanding),
        limit: WARM_UP_LIMIT,
        spread: plan.rtt,
    }
}

/// The load that is measured.
#[must_use]
pub fn measured(plan: &Plan, depth: u32) -> LoadPlan {
    LoadPlan {
        arrivals: ArrivalModel::Closed { depth },
        ops: u64::from(plan.ops),
        limit: plan.stage_limit,
        spread: plan.rtt,
    }
}
