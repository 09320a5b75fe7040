//! Tries each step that a run needs, and reports remedies for those that fail.

use super::run::hosts_text;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::Duration;
use wirelab::cli::run::{WRITTEN_MAX, read_text, unnamed};
use wirelab::emulator::probe;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{FrameMode, Topology};
use wirelab::measure::{human, nanos};
use wirelab::runtime::clock::Clock;
use wirelab::sys::pidns_init::{Program, Report, Supervisor};
use wirelab::sys::privilege::{self, Privilege, PrivilegeError};

/// Timeout of the supervisor: it mounts two things and starts `true`.
const INIT_PATIENCE: Duration = Duration::from_secs(10);
/// p99 overshoot of a sleep above which most runs will be suspect.
const OVERSHOOT_MOST: Duration = Duration::from_millis(1);

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It works.
    Ok,
    /// It works, with a limit.
    Limited,
    /// It is forbidden or missing.
    Failed,
    /// A step before it failed.
    NotTried,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// The step tried.
    pub name: &'static str,
    /// Its result.
    pub state: State,
    /// The observation.
    pub seen: String,
    /// The cause, if it failed.
    pub why: Option<String>,
    /// Commands to type, one way per entry.
    pub remedies: Vec<String>,
}

/// Every step, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Kernel name and release.
    pub kernel: String,
    /// The steps.
    pub rungs: Vec<Rung>,
}

impl Diagnosis {
    /// Whether a run works here.
    #[must_use]
    pub fn works(&self) -> bool {
        self.rungs.iter().all(|rung| matches!(rung.state, State::Ok | State::Limited))
    }
}

const NAMES: [&str; 13] = [
    "user namespace",
    "network namespace",
    "kernel settings",
    "veth pair",
    "addresses",
    "programs together",
    "names a and b",
    "packet ring",
    "a frame, IPv4",
    "a frame, IPv6",
    "TCP timer floor",
    "congestion control",
    "timers",
];

/// The steps tried so far.
struct Ladder(Vec<Rung>);

impl Ladder {
    fn rung(&mut self, state: State, seen: impl Into<String>) -> &mut Rung {
        let name = NAMES[self.0.len().min(NAMES.len() - 1)];
        self.0.push(Rung { name, state, seen: seen.into(), why: None, remedies: Vec::new() });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    fn ok(&mut self, seen: impl Into<String>) {
        self.rung(State::Ok, seen);
    }

    fn failed(&mut self, seen: impl Into<String>, why: &str, remedies: &[&str]) {
        let rung = self.rung(State::Failed, seen);
        rung.why = Some(why.to_owned());
        rung.remedies = remedies.iter().map(|way| (*way).to_owned()).collect();
    }

    fn refused(&mut self, refused: &PrivilegeError) {
        let answer = io::Error::from_raw_os_error(refused.errno);
        let rung = self.rung(State::Failed, format!("{}: {answer}", refused.step));
        rung.why = Some(refused.why.clone());
        rung.remedies.clone_from(&refused.remedy);
    }
}

/// Tries every step. Call it before any thread exists.
#[must_use]
pub fn examine() -> Diagnosis {
    let mut ladder = Ladder(Vec::with_capacity(NAMES.len()));
    climb(&mut ladder);
    for name in &NAMES[ladder.0.len()..] {
        let seen = "not tried".to_owned();
        let (why, remedies) = (None, Vec::new());
        ladder.0.push(Rung { name, state: State::NotTried, seen, why, remedies });
    }
    Diagnosis { kernel: wirelab::sys::host::kernel_release(), rungs: ladder.0 }
}

/// Stops at the first failure that all later steps depend on.
fn climb(ladder: &mut Ladder) -> Option<()> {
    namespaces(ladder)?;
    let topology = network(ladder)?;
    keep(ladder, &topology)?;
    let router = match Router::start(&topology, RouterConfig::default(), Clock::start()) {
        Ok(router) => router,
        Err(error) => {
            ladder.failed(
                error.to_string(),
                "packet sockets need CAP_NET_RAW in the user namespace and memory for their rings",
                &["ulimit -l unlimited", "sudo lossy-path doctor"],
            );
            return None;
        }
    };
    ladder.ok("AF_PACKET, TPACKET_V2");
    frames(ladder, &topology)?;
    drop(router);
    tcp(ladder, &topology);
    timers(ladder);
    Some(())
}

fn namespaces(ladder: &mut Ladder) -> Option<()> {
    match privilege::acquire() {
        Ok(Privilege::Root) => ladder.ok("not needed: this process has the rights of root"),
        Ok(Privilege::UserNamespace) => ladder.ok("made; user and group stay what they are"),
        Err(refused) => {
            if refused.step == "unshare(CLONE_NEWNET)" {
                ladder.ok("made");
            }
            ladder.refused(&refused);
            return None;
        }
    }
    ladder.ok("made");
    Some(())
}

/// Namespaces, settings, links and addresses are one call; its error names the failed step.
fn network(ladder: &mut Ladder) -> Option<Topology> {
    let why = "the user namespace holds no right to it: a security module such as AppArmor may \
               have taken it away";
    let ways = [
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu 23.10 and later)",
        "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined …",
        "sudo lossy-path doctor",
    ];
    let error = match Topology::for_programs(FrameMode::MtuSized) {
        Ok(topology) => {
            ladder.ok("ping for everybody, ports from 1, IPv6 without noise");
            ladder.ok("made, offloads off");
            ladder.ok(format!(
                "{} and {}, {} and {}",
                Topology::A_ADDR,
                Topology::B_ADDR,
                Topology::A_ADDR6,
                Topology::B_ADDR6
            ));
            return Some(topology);
        }
        Err(error) => error,
    };
    let reached = match error.step.as_str() {
        "link the router" => 1,
        "link a host" => 2,
        _ => 0,
    };
    for _ in 0..reached {
        ladder.ok("done");
    }
    ladder.failed(format!("{}: {}", error.step, error.error), why, &ways);
    None
}

/// The PID namespace with the mounts, and a program in it.
fn keep(ladder: &mut Ladder, topology: &Topology) -> Option<()> {
    let output = unnamed().ok();
    // The name must resolve for programs.
    let words = ["getent", "hosts", "b"].map(Into::into).to_vec();
    let netns = topology.lanes[0].a.clone();
    let env = Vec::new();
    let program = Program { argv: words, netns, env, user: None, output, foreground: false };
    let before = read_text(Path::new("/etc/hosts"), WRITTEN_MAX).unwrap_or_default();
    let why = "programs are kept in a PID namespace of their own, so that none outlives the lab";
    let ways = ["docker run --security-opt seccomp=unconfined …", "sudo lossy-path doctor"];
    let started = Supervisor::start(vec![program], &hosts_text(&before));
    let mut supervisor = match started {
        Ok(supervisor) => supervisor,
        Err(error) => {
            ladder.failed(error.to_string(), why, &ways);
            return None;
        }
    };
    let caveats = match supervisor.next(INIT_PATIENCE) {
        Ok(Some(Report::Ready(caveats))) => caveats,
        Ok(Some(Report::Failed(step, errno))) => {
            let answer = io::Error::from_raw_os_error(errno);
            ladder.failed(format!("{step}: {answer}"), why, &ways);
            return None;
        }
        other => {
            ladder.failed(format!("no answer: {other:?}"), why, &ways);
            return None;
        }
    };
    ladder.ok("a PID namespace: nothing outlives a run");
    if !caveats.is_empty() {
        ladder.rung(State::Limited, caveats.join("; "));
        return Some(());
    }
    let resolved = supervisor.run(0).and_then(|()| {
        loop {
            match supervisor.next(INIT_PATIENCE)? {
                Some(Report::Started(_)) => {}
                other => break Ok(other),
            }
        }
    });
    match resolved {
        Ok(Some(Report::Ended(0, 0))) => ladder.ok("resolve, by an /etc/hosts that only they see"),
        // A missing lookup tool does not mean that names fail.
        Ok(Some(Report::NotStarted(..))) => ladder.ok("in /etc/hosts; there is no getent to ask"),
        _ => {
            let seen = "in /etc/hosts, but `getent hosts b` does not find it: see nsswitch.conf(5)";
            ladder.rung(State::Limited, seen);
        }
    }
    Some(())
}

fn frames(ladder: &mut Ladder, topology: &Topology) -> Option<()> {
    let lane = &topology.lanes[0];
    let v4 = [Topology::A_ADDR.into(), Topology::B_ADDR.into()];
    let v6 = [Topology::A_ADDR6.into(), Topology::B_ADDR6.into()];
    if let Err(error) = probe::echo(&lane.a, &lane.b, v4) {
        let why = "a datagram did not come through the path; a packet filter may stand in between";
        ladder.failed(error.to_string(), why, &["sudo nft list ruleset"]);
        return None;
    }
    ladder.ok("there and back");
    match probe::echo(&lane.a, &lane.b, v6) {
        Ok(()) => ladder.ok("there and back"),
        Err(error) => {
            ladder.rung(State::Limited, format!("{error}: programs have IPv4 alone"));
        }
    }
    Some(())
}

fn tcp(ladder: &mut Ladder, topology: &Topology) {
    match probe::rto_floor() {
        Ok(_) => ladder.ok("can be set by route"),
        Err(error) => {
            let seen = format!("{error}: tcp-vs-udp has no arm tcp-tuned here");
            ladder.rung(State::Limited, seen);
        }
    }
    match probe::congestion_controls(&topology.lanes[0].a) {
        Ok(controls) => {
            let word = |(name, can): &(String, bool)| {
                if *can { name.clone() } else { format!("{name} (forbidden)") }
            };
            let words: Vec<_> = controls.iter().map(word).collect();
            ladder.ok(format!("a program may choose {}", words.join(", ")));
        }
        Err(error) => {
            ladder.rung(State::Limited, error.to_string());
        }
    }
}

fn timers(ladder: &mut Ladder) {
    match probe::sleep_overshoot() {
        Ok(over) if !over.is_empty() => {
            let at = |per_cent: usize| over[(over.len() - 1) * per_cent / 100];
            let shown = |per_cent| human::latency(nanos(at(per_cent)));
            let seen = format!(
                "a sleep is late by {} (p50), {} (p99), {} (max)",
                shown(50),
                shown(99),
                shown(100)
            );
            if at(99) > OVERSHOOT_MOST {
                let busy = "; a machine this busy makes runs suspect";
                ladder.rung(State::Limited, seen + busy);
            } else {
                ladder.ok(seen);
            }
        }
        other => {
            ladder.rung(State::Limited, format!("not measured: {other:?}"));
        }
    }
}
