//! Runs a plan over the kernel's own TCP and UDP, each lane on its own copy of the path.

use super::arms::Arm;
use super::outcome::{Block, LaneOutcome};
use super::plan::Plan;
use super::result::{Host, LinkAudit, UdpCounters};
use super::transport::{ClientSocket, ServerSocket};
use super::{ledger_audit, load};
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use wirelab::bank::driver::client::{ClientLoop, Opener};
use wirelab::bank::driver::server::{CONNECTIONS_MAX, ServerLimits, ServerLoop, Site};
use wirelab::bank::load::{End, LoadGenerator, Sample};
use wirelab::bank::server::Server;
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::transport::ClientCounters;
use wirelab::emulator::endpoint;
use wirelab::emulator::record::{CapturedFrame, DirectionRecord, LaneRecord};
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, TcpCounters, Topology, TopologyError};
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, Ppm, nanos};
use wirelab::runtime::clock::Clock;
use wirelab::runtime::shutdown;

/// Why a run failed.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The path could not be built.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A system call failed.
    #[error("{step}: {error}")]
    Step {
        /// The failed step.
        step: &'static str,
        /// The kernel's error.
        #[source]
        error: io::Error,
    },
    /// A lane's socket failed repeatedly.
    #[error("lane {lane}: {error}")]
    Lane {
        /// Arm and depth.
        lane: String,
        /// The kernel's first error.
        #[source]
        error: io::Error,
    },
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> KernelError {
    move |error| KernelError::Step { step, error }
}

/// Progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Stage number, from 0.
    pub stage: usize,
    /// Repetition number, from 0.
    pub repetition: u32,
    /// Requests of this stage and repetition that have ended.
    pub ended: u64,
    /// Their maximum number.
    pub of: u64,
}

/// Captured frames of one lane at one loss rate.
#[derive(Clone, Debug)]
pub struct LaneCapture {
    /// The arm.
    pub arm: Arm,
    /// The depth.
    pub depth: u32,
    /// The loss rate.
    pub loss: Ppm,
    /// The frames, in order of arrival at the path.
    pub frames: Vec<CapturedFrame>,
}

/// The path, its hosts and servers; dropping it removes them.
pub struct KernelRun {
    plan: Plan,
    seed: u64,
    repetition: u32,
    clock: Clock,
    topology: Arc<Topology>,
    router: Router,
}

impl KernelRun {
    /// Builds the path. Requires the privilege of `sys::privilege::acquire`.
    ///
    /// # Errors
    /// If a namespace, link or ring cannot be created.
    pub fn build(plan: &Plan, seed: u64, clock: Clock) -> Result<Self, KernelError> {
        let configs: Vec<LaneConfig> = plan
            .lanes()
            .map(|(arm, depth)| LaneConfig {
                name: arm.at_depth(depth),
                rto_min: arm
                    .transport()
                    .kernel_timer(plan.conditions())
                    .and_then(|timer| timer.set.then_some(timer.floor)),
                ..LaneConfig::default()
            })
            .collect();
        let topology = Arc::new(Topology::build(&configs)?);
        let config = RouterConfig { slice: None, ..RouterConfig::default() };
        let router =
            Router::start(&topology, config, clock).map_err(step("starting the router"))?;
        Ok(Self { plan: plan.clone(), seed, repetition: 0, clock, topology, router })
    }

    /// Adds kernel settings read back from the lanes.
    ///
    /// # Errors
    /// If a namespace cannot be queried.
    pub fn describe(&self, host: &mut Host) -> Result<(), KernelError> {
        let lanes: Vec<_> = self.plan.lanes().zip(&self.topology.lanes).collect();
        for ((arm, _), lane) in &lanes {
            let Some(timer) = arm.transport().kernel_timer(self.plan.conditions()) else {
                continue;
            };
            let floor = Some(nanos(lane.rto_min().map_err(step("reading the timeout floor"))?));
            if timer.set {
                host.tcp_tuned_rto_min_ns = floor;
            } else {
                host.tcp_rto_min_ns = floor;
            }
            let Some(wanted) = arm.transport().congestion_control(self.plan.conditions()) else {
                continue;
            };
            if host.congestion_control.is_empty() {
                host.congestion_control = endpoint::congestion_control(&lane.a, wanted)
                    .map_err(step("setting the congestion control"))?;
            }
        }
        if let Some((_, lane)) = lanes.first() {
            host.offloads_off = lane.offloads_off().map_err(step("reading the offloads"))?;
        }
        host.mtu_bytes = wirelab::emulator::topology::MTU;
        Ok(())
    }

    /// Runs one repetition of a stage; if the observer breaks, the number of requests in flight.
    ///
    /// # Errors
    /// If a socket cannot be created or the router fails.
    pub fn block(
        &mut self,
        stage: usize,
        repetition: u32,
        mut observer: impl FnMut(Tick) -> ControlFlow<()>,
    ) -> Result<ControlFlow<u64, (Block, Vec<LaneCapture>)>, KernelError> {
        let lanes: Vec<(Arm, u32)> = self.plan.lanes().collect();
        let loss = self.plan.loss_ppm[stage];
        self.repetition = repetition;
        self.set_links(Ppm::ZERO, 0)?;
        let (stopper, stopped) = shutdown::pair().map_err(step("making a stop signal"))?;
        let mut server_loop = self.server_loop(&lanes)?;
        let serving = std::thread::Builder::new()
            .name("bank".to_owned())
            .spawn(move || server_loop.run(stopped).map(|()| server_loop.into_servers()))
            .map_err(step("starting the bank"))?;
        let mut clients = self.client_loop(&lanes)?;
        let of = u64::from(self.plan.ops.div_ceil(self.plan.repetitions)) * lanes.len() as u64;
        let measured = self.measure(loss, &lanes, &mut clients, |ended| {
            observer(Tick { stage, repetition, ended, of })
        });
        // The bank waits for connected clients, so they disconnect first.
        clients.hang_up();
        stopper.stop();
        let servers = serving.join().map_err(|_| {
            let error = io::Error::other("the bank's thread panicked");
            KernelError::Step { step: "serving", error }
        })?;
        let servers = servers.map_err(step("serving"))?;
        let ControlFlow::Continue(measured) = measured? else {
            let samples = clients.generators().flat_map(LoadGenerator::samples);
            let in_flight = samples.filter(|sample| sample.end == End::Unknown).count() as u64;
            return Ok(ControlFlow::Break(in_flight));
        };
        Ok(ControlFlow::Continue(self.collect(loss, &lanes, &clients, measured, &servers)))
    }

    const fn block_seed(&self) -> u64 {
        Plan::seed_of(self.seed, self.repetition)
    }

    fn set_links(&self, loss: Ppm, capture_frames: u32) -> Result<(), KernelError> {
        let link = self.plan.link(loss);
        for lane in 0..self.topology.lanes.len() {
            self.router
                .set_links(lane, &link, &link, self.block_seed(), capture_frames)
                .map_err(step("setting a link"))?;
        }
        Ok(())
    }

    fn server_loop(&self, lanes: &[(Arm, u32)]) -> Result<ServerLoop<MemoryStore>, KernelError> {
        let mut sites = Vec::new();
        for (lane, (arm, _)) in self.topology.lanes.iter().zip(lanes) {
            let server = load::server(*arm, self.block_seed());
            let socket = arm.transport().listen(&lane.b, self.plan.conditions());
            sites.push(match socket.map_err(step("listening"))? {
                ServerSocket::Stream(listener, nodelay) => {
                    Site { server, tcp: Some(listener), udp: None, nodelay }
                }
                ServerSocket::Datagram(socket) => {
                    Site { server, tcp: None, udp: Some(socket), nodelay: false }
                }
            });
        }
        let limits = ServerLimits {
            connections: CONNECTIONS_MAX.max(lanes.len() * self.plan.outstanding as usize * 2),
            session: Default::default(),
        };
        ServerLoop::new(sites, limits, self.clock).map_err(step("starting the bank"))
    }

    fn client_loop(&self, lanes: &[(Arm, u32)]) -> Result<ClientLoop, KernelError> {
        let mut generators: Vec<(LoadGenerator, Box<dyn Opener>)> = Vec::new();
        for (lane, (arm, depth)) in lanes.iter().enumerate() {
            let opener = LaneOpener {
                topology: Arc::clone(&self.topology),
                lane,
                arm: *arm,
                plan: self.plan.clone(),
            };
            generators.push((
                load::generator(&self.plan, *arm, *depth, self.block_seed()),
                Box::new(opener),
            ));
        }
        ClientLoop::new(generators, self.clock).map_err(step("starting the clients"))
    }

    /// Warms every lane up without loss, then enables loss and measures.
    fn measure(
        &self,
        loss: Ppm,
        lanes: &[(Arm, u32)],
        clients: &mut ClientLoop,
        mut observer: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<(), Measured>, KernelError> {
        let plans: Vec<_> =
            lanes.iter().map(|(_, depth)| load::warm_up(&self.plan, *depth)).collect();
        if clients.run(&plans, |_| observer(0)).map_err(step("warming up"))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if let Some((lane, error)) = clients.take_failures().into_iter().next() {
            let (arm, depth) = lanes[lane];
            return Err(KernelError::Lane { lane: arm.at_depth(depth), error });
        }
        let warm: Vec<Vec<Sample>> = clients.generators().map(|f| f.samples().to_vec()).collect();
        let stats: Vec<ClientCounters> =
            clients.generators().map(LoadGenerator::counters).collect();
        let tcp = self.tcp_counters(lanes)?;
        let captured = if self.repetition == 0 { self.plan.capture_frames } else { 0 };
        self.set_links(loss, captured)?;
        let began = self.clock.now();
        let plans: Vec<_> =
            lanes.iter().map(|(_, depth)| load::measured(&self.plan, *depth)).collect();
        let run = clients.run(&plans, |progress| observer(progress.ended));
        let ended = run.map_err(step("measuring"))?;
        if ended.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let elapsed = self.clock.now().since(began);
        let mut records = Vec::new();
        for lane in 0..lanes.len() {
            records.push(self.router.take_record(lane).map_err(step("reading a record"))?);
        }
        let tcp = self
            .tcp_counters(lanes)?
            .into_iter()
            .zip(tcp)
            .map(|(after, before)| Some(after?.since(&before?)))
            .collect();
        Ok(ControlFlow::Continue(Measured { warm, stats, tcp, records, began, elapsed }))
    }

    fn tcp_counters(&self, lanes: &[(Arm, u32)]) -> Result<Vec<Option<TcpCounters>>, KernelError> {
        let mut counters = Vec::new();
        for (lane, (arm, _)) in self.topology.lanes.iter().zip(lanes) {
            let timer = arm.transport().kernel_timer(self.plan.conditions());
            let read = timer.map(|_| lane.tcp_counters()).transpose();
            counters.push(read.map_err(step("reading TCP counters"))?);
        }
        Ok(counters)
    }

    fn collect(
        &self,
        loss: Ppm,
        lanes: &[(Arm, u32)],
        clients: &ClientLoop,
        measured: Measured,
        servers: &[Server<MemoryStore>],
    ) -> (Block, Vec<LaneCapture>) {
        let mut outcomes = Vec::new();
        let mut captures = Vec::new();
        let Measured { warm, stats, tcp, records, began, elapsed } = measured;
        let parts = records.into_iter().zip(&tcp).zip(&warm);
        let parts = parts.zip(&stats).zip(clients.generators()).zip(servers);
        for (index, (((((record, tcp), warm), before), generator), server)) in parts.enumerate() {
            let (arm, depth) = lanes[index];
            let LaneRecord { directions, captured, .. } = record;
            let stats = generator.counters();
            outcomes.push(LaneOutcome {
                arm,
                depth,
                clients: self.plan.clients(depth),
                samples: generator.samples().to_vec(),
                handshakes: (!generator.uses_datagrams()).then(|| generator.handshakes().to_vec()),
                path: [audit(&directions[0]), audit(&directions[1])],
                lost: directions.map(|direction| direction.lost_frames),
                tcp: *tcp,
                udp: UdpCounters::between(before, &stats),
                ledger: ledger_audit::audit_lane(server, warm, generator.samples()),
            });
            captures.push(LaneCapture { arm, depth, loss, frames: captured });
        }
        let (repetition, seed) = (self.repetition, self.block_seed());
        (Block { repetition, seed, lanes: outcomes, began, elapsed }, captures)
    }

    /// Stops the router and removes namespaces and links.
    ///
    /// # Errors
    /// If the router had failed.
    pub fn finish(self) -> Result<(), KernelError> {
        self.router.stop().map(drop).map_err(step("stopping the router"))
    }
}

struct Measured {
    warm: Vec<Vec<Sample>>,
    stats: Vec<ClientCounters>,
    tcp: Vec<Option<TcpCounters>>,
    records: Vec<LaneRecord>,
    began: Instant,
    elapsed: Duration,
}

fn audit(direction: &DirectionRecord) -> LinkAudit {
    LinkAudit {
        offered: direction.offered,
        bytes: direction.bytes,
        lost: direction.lost,
        duplicated: direction.duplicated,
        loss: Share::new(direction.lost, direction.offered),
        kernel_dropped: direction.kernel_dropped,
        oversize: direction.oversize,
        send_failed: direction.send_failed
            + direction.bad_checksum_status
            + direction.bad_offload
            + direction.not_carried
            + direction.pool_full,
        late_p50_ns: nanos(direction.lateness.p50()),
        late_p99_ns: nanos(direction.lateness.p99()),
        late_max_ns: nanos(direction.lateness.max()),
        fates_digest: format!("{:016x}", direction.fates_digest),
    }
}

/// Opens a lane's client sockets in the lane's namespace.
struct LaneOpener {
    topology: Arc<Topology>,
    lane: usize,
    arm: Arm,
    plan: Plan,
}

impl LaneOpener {
    fn open(&self) -> io::Result<ClientSocket> {
        self.arm.transport().connect(&self.topology.lanes[self.lane].a, self.plan.conditions())
    }
}

impl Opener for LaneOpener {
    fn tcp(&mut self) -> io::Result<TcpStream> {
        match self.open()? {
            ClientSocket::Stream(stream) => Ok(stream),
            ClientSocket::Datagram(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn udp(&mut self) -> io::Result<UdpSocket> {
        match self.open()? {
            ClientSocket::Datagram(socket) => Ok(socket),
            ClientSocket::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
