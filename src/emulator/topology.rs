//! The network of a path: two hosts per lane, and one router between all of them.
//!
//! Hosts and router are network namespaces, joined by veth pairs, so the hosts run the kernel's own
//! TCP and UDP. Nothing is named or mounted: all of it ends with the process. Applications cause
//! every frame on the links: neighbours are static, and IPv6 is off, or on without discovery and
//! reports, so the n-th frame is the n-th packet.

use super::gso::{SEGMENTS_MAX, SUPER_FRAME_MAX};
use crate::sys::error::during;
use crate::sys::ethtool::{self, Offload};
use crate::sys::netlink::{Netlink, Rule, VethEnd};
use crate::sys::netns::{self, Netns};
use crate::sys::sockets::interface_index;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// Maximum transmission unit of every interface, bytes: that of Ethernet.
pub const MTU: u32 = 1500;
/// Lanes of one topology, at most: a lane takes two namespaces and two packet rings.
pub const LANES_MAX: usize = 64;
/// The kernel's default floor for TCP's retransmission timeout (`TCP_RTO_MIN`).
const KERNEL_RTO_MIN: Duration = Duration::from_millis(200);
/// The name of a host's interface to the router.
const HOST_INTERFACE: &str = "eth0";

/// Kernel TCP counters of a lane, both hosts added (`/proc/net/netstat`, `/proc/net/snmp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounters {
    /// `RetransSegs`: retransmitted segments.
    pub retransmitted_segments: u64,
    /// `TCPTimeouts`: retransmission timers that fired.
    pub timeouts: u64,
    /// `TCPLossProbes`: tail loss probes sent.
    pub loss_probes: u64,
    /// `TCPFastRetrans`: retransmissions on evidence of loss, without a timer.
    pub fast_retransmits: u64,
    /// `TCPSynRetrans`: retransmitted SYNs.
    pub syn_retransmits: u64,
    /// `TCPDSACKRecv`: retransmissions that the peer reports as unnecessary.
    pub spurious: u64,
}

impl TcpCounters {
    /// The counts between `earlier` and `self`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            retransmitted_segments: with(self.retransmitted_segments, other.retransmitted_segments),
            timeouts: with(self.timeouts, other.timeouts),
            loss_probes: with(self.loss_probes, other.loss_probes),
            fast_retransmits: with(self.fast_retransmits, other.fast_retransmits),
            syn_retransmits: with(self.syn_retransmits, other.syn_retransmits),
            spurious: with(self.spurious, other.spurious),
        }
    }
}

/// Units in which hosts and router exchange frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameMode {
    /// One packet of at most [`MTU`] each, its checksums complete, as on a wire. The safe choice.
    #[default]
    MtuSized,
    /// Super-frames of up to [`SEGMENTS_MAX`] segments, whose fates the router decides one by one.
    ///
    /// Bulk transfers are several times as fast. Segments of one super-frame share their arrival
    /// stamp: they reach the link simultaneously.
    Segmented,
}

impl FrameMode {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MtuSized => "mtu",
            Self::Segmented => "segmented",
        }
    }
}

impl FromStr for FrameMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::MtuSized, Self::Segmented]
            .into_iter()
            .find(|mode| mode.name() == text.trim())
            .ok_or_else(|| format!("expected mtu or segmented, got {text:?}"))
    }
}

/// Configuration of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneConfig {
    /// For messages.
    pub name: String,
    /// Floor for TCP's retransmission timeout on both hosts, whole milliseconds; `None` leaves the
    /// kernel's own.
    pub rto_min: Option<Duration>,
    /// Units of its frames.
    pub frames: FrameMode,
}

/// A network that could not be built.
#[derive(Debug, Error)]
#[error("lane {lane}: {step}: {error}")]
pub struct TopologyError {
    /// The lane's name.
    pub lane: String,
    /// The failed step.
    pub step: String,
    /// The kernel's error.
    #[source]
    pub error: io::Error,
}

/// A router and its lanes.
#[derive(Debug)]
pub struct Topology {
    /// The lanes, in order of their configuration.
    pub lanes: Vec<Lane>,
    pub(crate) router: Netns,
}

/// Two hosts and the path between them.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Host A, the client's side, at [`Topology::A_ADDR`].
    pub a: Netns,
    /// Host B, the server's side, at [`Topology::B_ADDR`].
    pub b: Netns,
    name: String,
    router: Netns,
    ports: [String; 2],
    frames: FrameMode,
    looped: bool,
}

impl Topology {
    /// The address of every host A: lanes are isolated, so they can share addresses.
    pub const A_ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    /// The address of every host B.
    pub const B_ADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    /// Host A's IPv6 address, if hosts speak it: unique local (RFC 4193), with zeros to be easy to
    /// type.
    pub const A_ADDR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    /// Host B's.
    pub const B_ADDR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);

    /// Builds the namespaces, links and routes.
    ///
    /// # Errors
    /// The failed step and lane, and the kernel's error.
    pub fn build(lanes: &[LaneConfig]) -> Result<Self, TopologyError> {
        Self::build_hosts(lanes, Hosts::Lab)
    }

    /// One lane for programs that know nothing of wirelab: IPv4 and IPv6, any port and `ping` for
    /// every user.
    ///
    /// # Errors
    /// As [`Topology::build`].
    pub fn for_programs(frames: FrameMode) -> Result<Self, TopologyError> {
        let lane = LaneConfig { name: "a-b".to_owned(), frames, ..LaneConfig::default() };
        Self::build_hosts(&[lane], Hosts::Programs)
    }

    /// One lane whose path is the loopback of host A: packets of A to 127.0.0.0/8 cross it and come
    /// back to A. Host B is not linked.
    ///
    /// # Errors
    /// As [`Topology::build`].
    pub fn for_localhost(frames: FrameMode) -> Result<Self, TopologyError> {
        let lane = LaneConfig { name: "localhost".to_owned(), frames, ..LaneConfig::default() };
        Self::build_hosts(&[lane], Hosts::Localhost)
    }

    fn build_hosts(lanes: &[LaneConfig], hosts: Hosts) -> Result<Self, TopologyError> {
        let fail = |lane: &str, step: &str, error| TopologyError {
            lane: lane.to_owned(),
            step: step.to_owned(),
            error,
        };
        if lanes.len() > LANES_MAX {
            let error = io::Error::other(format!("at most {LANES_MAX} lanes, got {}", lanes.len()));
            return Err(fail("all", "count", error));
        }
        let router = Netns::new().map_err(|error| fail("all", "make the router", error))?;
        run(&router, || write_settings(&ROUTER_SETTINGS))
            .map_err(|error| fail("all", "set up the router", error))?;
        let mut built = Vec::with_capacity(lanes.len());
        for (number, config) in lanes.iter().enumerate() {
            let ports = [format!("a{number}"), format!("b{number}")];
            let host = || Netns::new().map_err(|error| fail(&config.name, "make a host", error));
            let (a, b) = (host()?, host()?);
            let (name, router, frames) = (config.name.clone(), router.clone(), config.frames);
            let looped = hosts == Hosts::Localhost;
            let lane = Lane { a, b, name, router, ports, frames, looped };
            lane.set_up(hosts, config.rto_min)
                .map_err(|(step, error)| fail(&config.name, step, error))?;
            built.push(lane);
        }
        Ok(Self { lanes: built, router })
    }
}

/// An end of the path, at a host or the router.
#[derive(Clone, Copy)]
struct End {
    address: Ipv4Addr,
    address6: Ipv6Addr,
    mac: [u8; 6],
}

/// The purpose of the hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hosts {
    /// The lab's own sockets, over IPv4.
    Lab,
    /// Any program.
    Programs,
    /// Any program that talks to its own host.
    Localhost,
}

/// Locally administered addresses (the 02 bit); isolated lanes share them too.
const END_A: End =
    End { address: Topology::A_ADDR, address6: Topology::A_ADDR6, mac: [2, 0, 0, 0, 0, 0x0a] };
const END_B: End =
    End { address: Topology::B_ADDR, address6: Topology::B_ADDR6, mac: [2, 0, 0, 0, 0, 0x0b] };
/// The router forwards frames unchanged, so its own addresses never appear in one.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Kernel settings, file and value, under `/proc/sys/net`.
type Setting = (&'static str, &'static str);

const ROUTER_SETTINGS: [Setting; 2] = NO_IPV6;
/// Router solicitations and multicast reports would take frame indices.
const NO_IPV6: [Setting; 2] =
    [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];
const HOST_SETTINGS: [Setting; 6] = [
    NO_IPV6[0],
    NO_IPV6[1],
    // Otherwise one connection's round-trip time and threshold would seed the next one's.
    ("ipv4/tcp_no_metrics_save", "1"),
    // Room for a new connection per request.
    ("ipv4/ip_local_port_range", "1024 65535"),
    // Sockets that ask for fast open may use it, as clients and servers.
    ("ipv4/tcp_fastopen", "3"),
    // No connection may fail because the server's queue is full.
    ("core/somaxconn", "65535"),
];

/// A host for programs keeps the usual settings, except those that put frames on the link that no
/// program sent, and those that restrict an ordinary user.
const PROGRAM_SETTINGS: [Setting; 7] = [
    ("ipv4/tcp_no_metrics_save", "1"),
    // Inherited by the interface, which is made later.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/autoconf", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv6/conf/default/mldv2_unsolicited_report_interval", "0"),
    // Servers keep their configuration: port 80 needs no root here.
    ("ipv4/ip_unprivileged_port_start", "0"),
];

/// Allows `ping` without a capability: for every group or, in a user namespace, the only group that
/// it maps.
fn allow_ping() -> io::Result<()> {
    const FILE: &str = "/proc/sys/net/ipv4/ping_group_range";
    // The kernel's largest group.
    const ALL: &str = "0 2147483647";
    let own = crate::sys::privilege::effective_group();
    netns::set(FILE.as_ref(), ALL)
        .or_else(|_| netns::set(FILE.as_ref(), &format!("{own} {own}")))
        .map_err(during(FILE))
}

fn set_up_kernel(hosts: Hosts) -> io::Result<()> {
    if hosts == Hosts::Lab {
        return write_settings(&HOST_SETTINGS);
    }
    write_settings(&PROGRAM_SETTINGS)?;
    allow_ping()
}

fn write_settings(settings: &[Setting]) -> io::Result<()> {
    for (file, value) in settings {
        let path = Path::new("/proc/sys/net").join(file);
        // A kernel without IPv6 has nothing to switch off.
        if file.starts_with("ipv6/") && !path.exists() {
            continue;
        }
        netns::set(&path, value).map_err(during(path.display()))?;
    }
    Ok(())
}

/// Loopback addresses (RFC 1122 §3.2.1.3), and the table that leads them over the path.
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);
const LOOPBACK_TABLE: u8 = 100;
/// Settings of the interface that loopback addresses may leave and come by.
const LOOPED_SETTINGS: [Setting; 3] = [
    ("ipv4/conf/eth0/route_localnet", "1"),
    ("ipv4/conf/eth0/accept_local", "1"),
    ("ipv4/conf/eth0/rp_filter", "0"),
];

/// Leads a host's packets to its own loopback addresses over its interface, and takes them back
/// from there.
///
/// On an interface without ARP every neighbour has the interface's own hardware address, so frames
/// come back as they left.
fn loop_back(netlink: &Netlink, index: u32) -> io::Result<()> {
    write_settings(&LOOPED_SETTINGS)?;
    netlink.add_route_in(LOOPBACK_TABLE, LOOPBACK, index, Ipv4Addr::LOCALHOST)?;
    let any = Rule { priority: 0, from_interface: None, to: None, table: libc::RT_TABLE_LOCAL };
    // The kernel's first rule delivers everything to local addresses at once: these come before.
    netlink.add_rule(Rule { priority: 1, from_interface: Some(HOST_INTERFACE), ..any })?;
    netlink.add_rule(Rule {
        priority: 2,
        from_interface: Some("lo"),
        to: Some(LOOPBACK),
        table: LOOPBACK_TABLE,
    })?;
    netlink.add_rule(Rule { priority: 3, ..any })?;
    netlink.remove_rule(any)
}

/// Runs fallible work in a namespace.
fn run<T: Send>(
    netns: &Netns,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, io::Error> {
    netns.run(work)?
}

impl Lane {
    /// The lane's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor number of the router's namespace, for inspection from outside.
    #[must_use]
    pub fn router_descriptor(&self) -> i32 {
        self.router.descriptor()
    }

    /// Units of its frames.
    #[must_use]
    pub const fn frames(&self) -> FrameMode {
        self.frames
    }

    /// Whether its path is the loopback of host A.
    #[must_use]
    pub const fn looped(&self) -> bool {
        self.looped
    }

    pub(crate) fn ports(&self) -> &[String; 2] {
        &self.ports
    }

    fn hosts(&self) -> [(&Netns, End, End); 2] {
        [(&self.a, END_A, END_B), (&self.b, END_B, END_A)]
    }

    fn set_up(
        &self,
        kind: Hosts,
        rto_min: Option<Duration>,
    ) -> Result<(), (&'static str, io::Error)> {
        let hosts = self.hosts();
        for (host, _, _) in hosts {
            run(host, || set_up_kernel(kind)).map_err(|e| ("set up a host", e))?;
        }
        run(&self.router, || {
            let netlink = Netlink::open()?;
            for ((host, own, _), port) in hosts.into_iter().zip(&self.ports) {
                let here = VethEnd { name: port, mac: ROUTER_MAC };
                let there = VethEnd { name: HOST_INTERFACE, mac: own.mac };
                netlink.add_veth(here, there, host.descriptor(), MTU)?;
                prepare(&netlink, port, self.frames)?;
                netlink.set_up(port)?;
            }
            Ok(())
        })
        .map_err(|error| ("link the router", error))?;
        for (host, own, peer) in hosts {
            run(host, || configure_host(kind, self.frames, own, peer, rto_min))
                .map_err(|e| ("link a host", e))?;
        }
        Ok(())
    }

    /// The kernel's TCP counters since the lane was built, both hosts added.
    ///
    /// # Errors
    /// If `/proc` cannot be read or lacks a counter.
    pub fn tcp_counters(&self) -> io::Result<TcpCounters> {
        let [a, b] = [run(&self.a, read_tcp_counters)?, run(&self.b, read_tcp_counters)?];
        Ok(a.zip(&b, u64::saturating_add))
    }

    /// The disabled offloads of both hosts' interfaces, by `ethtool`'s names, read back.
    ///
    /// # Errors
    /// Errors of `SIOCETHTOOL`.
    pub fn offloads_off(&self) -> io::Result<Vec<String>> {
        let mut off = Vec::with_capacity(Offload::ALL.len());
        for offload in Offload::ALL {
            let is_on = || ethtool::is_on(HOST_INTERFACE, offload);
            if !run(&self.a, is_on)? && !run(&self.b, is_on)? {
                off.push(offload.name().to_owned());
            }
        }
        Ok(off)
    }

    /// The floor of TCP's retransmission timeout in force on host A, read back: the route's, else
    /// `tcp_rto_min_us` (Linux 6.11 and later), else the kernel's constant of 200 ms.
    ///
    /// # Errors
    /// If the route cannot be read.
    pub fn rto_min(&self) -> io::Result<Duration> {
        run(&self.a, || {
            if let Some(floor) = Netlink::open()?.route_rto_min(Topology::B_ADDR)? {
                return Ok(floor);
            }
            let set = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rto_min_us");
            let micros = set.ok().and_then(|text| text.trim().parse().ok());
            Ok(micros.map_or(KERNEL_RTO_MIN, Duration::from_micros))
        })
    }

    /// Frames that the links themselves dropped since the lane was built, `[a_to_b, b_to_a]`.
    ///
    /// A veth drops a frame if the receiving processor's backlog is full.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn link_drops(&self) -> io::Result<[u64; 2]> {
        let sent_by = |netns: &Netns, name: &str| run(netns, || send_drops(name));
        let from_hosts = [sent_by(&self.a, HOST_INTERFACE)?, sent_by(&self.b, HOST_INTERFACE)?];
        let [to_a, to_b] =
            [sent_by(&self.router, &self.ports[0])?, sent_by(&self.router, &self.ports[1])?];
        // A frame from A may be dropped on leaving A, or on leaving the router for B.
        Ok([from_hosts[0] + to_b, from_hosts[1] + to_a])
    }
}

/// Disables an interface's offloads that would join frames in flight or, for MTU-sized frames,
/// split them or leave them incomplete, and its automatic addresses.
fn prepare(netlink: &Netlink, interface: &str, frames: FrameMode) -> io::Result<()> {
    netlink.no_ipv6_address(interface).or_else(|error| {
        // A kernel without IPv6 refuses the attribute, and does not need it.
        if Path::new("/proc/sys/net/ipv6").exists() { Err(error) } else { Ok(()) }
    })?;
    let named = |error| during(format!("switch off offloads of {interface}"))(error);
    match frames {
        // Disabling checksums disables TCP segmentation too; the remaining generic segmentation is
        // done in software before the link.
        FrameMode::MtuSized => {
            ethtool::switch_off(interface, Offload::TxChecksum).map_err(named)?
        }
        // The router's ring has slots of this size, and its pool room for this many segments.
        FrameMode::Segmented => {
            let bytes = u32::try_from(SUPER_FRAME_MAX).expect("64 KiB");
            netlink.limit_super_frames(interface, bytes, SEGMENTS_MAX.into())?;
        }
    }
    ethtool::switch_off(interface, Offload::GenericReceive).map_err(named)
}

fn configure_host(
    kind: Hosts,
    frames: FrameMode,
    own: End,
    peer: End,
    rto_min: Option<Duration>,
) -> io::Result<()> {
    let netlink = Netlink::open()?;
    netlink.set_up("lo")?;
    let index = interface_index(HOST_INTERFACE)?;
    netlink.add_address(index, own.address)?;
    prepare(&netlink, HOST_INTERFACE, frames)?;
    if kind == Hosts::Localhost {
        netlink.set_up_silent(HOST_INTERFACE)?;
        return loop_back(&netlink, index);
    }
    // Without IPv6 in the kernel, hosts have none.
    let ipv6 = kind == Hosts::Programs && Path::new("/proc/sys/net/ipv6").exists();
    if ipv6 {
        netlink.set_up_silent(HOST_INTERFACE)?;
        netlink.add_address(index, own.address6)?;
        netlink.add_neighbour(index, peer.address6, peer.mac)?;
        netlink.add_route(index, peer.address6, rto_min)?;
    } else {
        netlink.set_up(HOST_INTERFACE)?;
    }
    netlink.add_neighbour(index, peer.address, peer.mac)?;
    netlink.add_route(index, peer.address, rto_min)
}

/// Reads a file of the calling thread's namespace; `/proc/net` would be the main thread's.
fn read_net(file: &str) -> io::Result<String> {
    std::fs::read_to_string(Path::new("/proc/thread-self/net").join(file))
}

fn read_tcp_counters() -> io::Result<TcpCounters> {
    let (snmp, netstat) = (read_net("snmp")?, read_net("netstat")?);
    Ok(TcpCounters {
        retransmitted_segments: counter(&snmp, "Tcp:", "RetransSegs")?,
        timeouts: counter(&netstat, "TcpExt:", "TCPTimeouts")?,
        loss_probes: counter(&netstat, "TcpExt:", "TCPLossProbes")?,
        fast_retransmits: counter(&netstat, "TcpExt:", "TCPFastRetrans")?,
        syn_retransmits: counter(&netstat, "TcpExt:", "TCPSynRetrans")?,
        spurious: counter(&netstat, "TcpExt:", "TCPDSACKRecv")?,
    })
}

/// A counter from a table of two lines per group: names, then values.
fn counter(text: &str, group: &str, name: &str) -> io::Result<u64> {
    let mut lines = text.lines().filter(|line| line.split_whitespace().next() == Some(group));
    let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| io::Error::other(format!("the kernel has no counter {group} {name}")))
}

/// Frames that an interface dropped on transmission.
fn send_drops(interface: &str) -> io::Result<u64> {
    let text = read_net("dev")?;
    sent_drops_in(&text, interface)
        .ok_or_else(|| io::Error::other(format!("no counters of {interface} in /proc/net/dev")))
}

/// The same, from the text of `/proc/net/dev`.
fn sent_drops_in(text: &str, interface: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, counters) = lines.find(|(name, _)| name.trim() == interface)?;
    // Eight receive counters come first, then bytes, packets, errors, drops of transmission.
    counters.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_group_and_name() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: A C\nIpExt: 3 4\n";
        assert_eq!(counter(text, "TcpExt:", "B").unwrap(), 2);
        assert_eq!(counter(text, "IpExt:", "A").unwrap(), 3);
        assert!(counter(text, "IpExt:", "B").is_err());
    }

    #[test]
    fn drops_are_found_by_interface() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 2 3 4 5 6 7 \
        8 9 10 11 \
                    0 13 14 15 16\n  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(sent_drops_in(text, "eth0"), Some(12));
        assert_eq!(sent_drops_in(text, "eth1"), None);
    }
}
