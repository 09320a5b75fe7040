//! The servers of the generated hierarchies: real NSD, our own authority, and a real Unbound.

use crate::hierarchy::{Hierarchy, Host, SLOTS};
use crate::signing;
use dns_walk::demo::{Authority, JUDGED, Manner, SignPlan, Zone, ds_records};
use dns_walk::dnssec::UnixSeconds;
use dns_walk::hints::Hints;
use dns_walk::{Name, RecordType};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::io::{Read, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wirelab::sys::netlink::Netlink;

/// Index of the loopback interface of every namespace.
const LOOPBACK: u32 = 1;
/// Where Unbound listens.
pub(crate) const UNBOUND: &str = "127.9.3.1:53";
/// How long to wait for something that always comes on a working machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers of the root zone.
const ROOTS: [(&str, Host); 2] = [("a.root.", Host::Sound(0)), ("b.root.", Host::Sound(1))];

/// The root zone, as lines.
pub(crate) fn root_zone(hierarchies: &[Hierarchy]) -> Vec<String> {
    let mut lines = vec![". 86400 SOA a.root. hostmaster.root. 1 1800 900 604800 86400".to_owned()];
    for (name, host) in ROOTS {
        let [v4, v6] = host.addresses();
        lines.push(format!(". 518400 NS {name}"));
        lines.push(format!("{name} 518400 A {v4}"));
        lines.push(format!("{name} 518400 AAAA {v6}"));
    }
    lines.extend(hierarchies.iter().flat_map(|hierarchy| hierarchy.delegations.clone()));
    lines
}

/// Where a walk of them all begins.
pub(crate) fn hints() -> Hints {
    let both = |(name, host): (&str, Host)| {
        host.addresses().map(|text| (Name::from_ascii(name).unwrap(), text.parse().unwrap()))
    };
    Hints::new(ROOTS.into_iter().flat_map(both).collect(), 53)
}

/// Every zone of a server: its name, and its lines.
fn zones_of(hierarchies: &[Hierarchy], host: Host) -> Vec<(String, Vec<String>)> {
    let mut zones = Vec::new();
    if ROOTS.iter().any(|(_, root)| *root == host) {
        zones.push((".".to_owned(), root_zone(hierarchies)));
    }
    for zone in hierarchies.iter().flat_map(|hierarchy| &hierarchy.zones) {
        if zone.hosts.contains(&host) {
            zones.push((zone.origin.clone(), zone.lines.clone()));
        }
    }
    zones
}

/// How every zone is signed that is. Where any is, the root is.
pub(crate) fn plans(hierarchies: &[Hierarchy]) -> BTreeMap<String, SignPlan> {
    if !signing::wanted() {
        return BTreeMap::new();
    }
    let root = [(".".to_owned(), SignPlan::SOUND)];
    root.into_iter().chain(hierarchies.iter().flat_map(signing::plans)).collect()
}

/// The same hierarchies as an authority of ours.
pub(crate) fn authority(hierarchies: &[Hierarchy]) -> Authority {
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut authority = Authority::new(hints().roots);
    let mut add = |origin: &str, lines: &[String]| {
        let zone = Zone::parse(&name(origin), &lines.join("\n"));
        authority.add_zone(zone.unwrap_or_else(|error| panic!("{error}")));
    };
    add(".", &root_zone(hierarchies));
    for zone in hierarchies.iter().flat_map(|hierarchy| &hierarchy.zones) {
        add(&zone.origin, &zone.lines);
    }
    let signed: Vec<_> =
        plans(hierarchies).into_iter().map(|(origin, plan)| (name(&origin), plan)).collect();
    authority.sign(&signed);
    let mut hosts: Vec<(Host, Manner)> =
        (0..SLOTS).map(|slot| (Host::Sound(slot), Manner::Sound)).collect();
    hosts.extend([
        (Host::Unloaded, Manner::Fails),
        (Host::Dead, Manner::Dead),
        (Host::Closed, Manner::Dead),
        (Host::Resolver, Manner::Resolver),
        (Host::NoEdns, Manner::NoEdns),
    ]);
    for (host, manner) in hosts {
        let zones: Vec<Name> =
            zones_of(hierarchies, host).iter().map(|(origin, _)| name(origin)).collect();
        for address in host.addresses() {
            authority.add_host(address.parse().unwrap(), zones.clone(), manner);
        }
    }
    authority
}

/// Brings the loopback interface up, with every address of IPv6, and frees low ports.
pub(crate) fn prepare_loopback() {
    let netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    let hosts = (0..SLOTS).map(Host::Sound).chain([
        Host::Unloaded,
        Host::Dead,
        Host::Closed,
        Host::Resolver,
        Host::NoEdns,
    ]);
    for [_, v6] in hosts.map(Host::addresses) {
        netlink.add_address(LOOPBACK, v6.parse::<IpAddr>().unwrap()).unwrap();
    }
    // Programs started by a user other than root have no capabilities, here neither.
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
}

/// A program in the background, told to end when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    fn signal(&self, name: &str) {
        Command::new("kill").args(["-s", name, &self.id().to_string()]).status().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.signal("TERM");
            self.0.wait().ok();
        }
    }
}

/// A program that ends when this test does, however that ends; not every user has sbin in the path.
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", name]).env("PATH", path);
    command
}

/// Whether programs are installed.
pub(crate) fn have(names: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let there = |name: &&str| path.split(':').any(|folder| Path::new(folder).join(name).exists());
    names.iter().all(there)
}

/// Starts NSD for a host.
pub(crate) fn nsd(
    folder: &Path,
    hierarchies: &[Hierarchy],
    authority: &Authority,
    host: Host,
) -> Running {
    let [v4, v6] = host.addresses();
    let home = folder.join(format!("nsd-{v4}"));
    fs::create_dir_all(&home).unwrap();
    let at = home.display();
    let mut config = format!(
        "server:\n  ip-address: {v4}\n  ip-address: {v6}\n  port: 53\n  username: \"\"\n  \
         database: \"\"\n  zonesdir: \"{at}\"\n  xfrdir: \"{at}\"\n  logfile: \"{at}/log\"\n  \
         pidfile: \"{at}/pid\"\n  xfrdfile: \"{at}/xfrd\"\n  zonelistfile: \"{at}/list\"\n  \
         server-count: 1\n  tcp-count: 200\n  rrl-ratelimit: 0\n  round-robin: no\n\
         remote-control:\n  control-enable: no\n"
    );
    let plans = plans(hierarchies);
    for (number, (origin, lines)) in zones_of(hierarchies, host).into_iter().enumerate() {
        let _ = write!(config, "zone:\n  name: \"{origin}\"\n  zonefile: \"{number}.zone\"\n");
        if host != Host::Unloaded {
            let zone = authority.zone(&Name::from_ascii(&origin).unwrap()).unwrap();
            let text = signing::text(&lines, zone, plans.get(&origin));
            fs::write(home.join(format!("{number}.zone")), text).unwrap();
        }
    }
    fs::write(home.join("conf"), config).unwrap();
    let mut command = program("nsd");
    command.arg("-d").arg("-c").arg(home.join("conf"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command)
}

/// Starts Unbound with these roots, and with the root's key where zones are signed.
///
/// What it proves it does not use for other names: each question is answered by the servers. Of DS
/// records with several digests the best counts alone (RFC 4509 §3), which it leaves to its user.
pub(crate) fn unbound(folder: &Path) -> Running {
    let home = folder.join("unbound");
    fs::create_dir_all(&home).unwrap();
    let mut root = String::new();
    for (name, address) in hints().roots {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        let _ = write!(root, ". 518400 NS {name}\n{name} 518400 {kind} {address}\n");
    }
    fs::write(home.join("hints"), root).unwrap();
    let anchors = ds_records(&Name::root(), None);
    let anchors = anchors.iter().map(|ds| format!(". 3600 DS {}\n", ds.data));
    fs::write(home.join("anchors"), anchors.collect::<String>()).unwrap();
    let at = home.display();
    let (address, port) = UNBOUND.split_once(':').unwrap();
    let judged = stamp(JUDGED);
    let modules = if signing::wanted() {
        format!(
            "module-config: \"validator iterator\"\n  trust-anchor-file: \"{at}/anchors\"\n  \
             trust-anchor-signaling: no\n  val-override-date: \"{judged}\"\n  \
             aggressive-nsec: no\n  harden-algo-downgrade: yes"
        )
    } else {
        "module-config: \"iterator\"".to_owned()
    };
    let config = format!(
        "server:\n  interface: {address}\n  port: {port}\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{at}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"{at}/log\"\n  \
         verbosity: 1\n  do-daemonize: no\n  num-threads: 1\n  root-hints: \"{at}/hints\"\n  \
         {modules}\n  do-not-query-localhost: no\n  \
         access-control: 127.0.0.0/8 allow\n  num-queries-per-thread: 4096\n  \
         outgoing-range: 8192\n  jostle-timeout: 60000\n  extended-statistics: no\n  \
         edns-buffer-size: 1232\n  infra-cache-max-rtt: 1000\n  \
         msg-cache-size: 64m\n  rrset-cache-size: 128m\n\
         remote-control:\n  control-enable: yes\n  control-interface: \"{at}/control\"\n"
    );
    fs::write(home.join("conf"), config).unwrap();
    let mut command = program("unbound");
    command.arg("-d").arg("-c").arg(home.join("conf"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command)
}

/// A time as Unbound wants it: year, month, day and the rest without anything between.
fn stamp(at: UnixSeconds) -> String {
    at.to_string().chars().filter(char::is_ascii_digit).collect()
}

/// Lets Unbound forget every name and every server.
pub(crate) fn make_cold(folder: &Path) {
    for what in [["flush_zone", "."], ["flush_infra", "all"]] {
        let mut command = program("unbound-control");
        command.arg("-c").arg(folder.join("unbound/conf")).args(what);
        let done = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(done.success(), "unbound-control {}: {done}", what[0]);
    }
}

/// Sockets that are never read, for as long as they live.
pub(crate) fn dead() -> Vec<UdpSocket> {
    Host::Dead.addresses().iter().map(|at| UdpSocket::bind(endpoint(at)).unwrap()).collect()
}

/// Port 53 of an address.
pub(crate) fn endpoint(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 53)
}

/// Waits until a server answers there.
pub(crate) fn await_server(at: SocketAddr) {
    let started = wirelab::runtime::clock::Clock::start();
    let query = query(1, ".", RecordType::SOA, false);
    while exchange(at, &query, Duration::from_millis(200)).is_none() {
        assert!(
            started.now().since(wirelab::measure::Instant::ZERO) < PATIENCE,
            "nothing answers at {at}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A query with EDNS, as bytes.
pub(crate) fn query(id: u16, name: &str, kind: RecordType, recursion: bool) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = recursion;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut options = Edns::new();
    options.set_max_payload(1232).set_version(0);
    message.set_edns(options);
    message.to_vec().unwrap()
}

/// A query for a resolver and its verdict (AD, RFC 6840 §5.7), as bytes; `unchecked` wants what it
/// finds bogus too (CD, RFC 4035 §3.2.2).
pub(crate) fn query_verdict(id: u16, name: &str, kind: RecordType, unchecked: bool) -> Vec<u8> {
    let mut message = Message::from_vec(&query(id, name, kind, true)).unwrap();
    message.metadata.authentic_data = true;
    message.metadata.checking_disabled = unchecked;
    message.to_vec().unwrap()
}

/// Sends a query over UDP, and over TCP where the reply is cut; none where nothing comes in time.
pub(crate) fn exchange(at: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let any: SocketAddr =
        if at.is_ipv4() { "127.0.0.1:0".parse().unwrap() } else { "[::1]:0".parse().unwrap() };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    socket.connect(at).ok()?;
    socket.send(query).ok()?;
    let mut buffer = vec![0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        if length >= 12 && buffer[..2] == query[..2] {
            // TC (RFC 1035 §4.1.1).
            let cut = buffer[2] & 0b10 != 0;
            return if cut {
                exchange_tcp(at, query, patience)
            } else {
                Some(buffer[..length].to_vec())
            };
        }
    }
}

/// Sends a query over TCP.
pub(crate) fn exchange_tcp(at: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, patience).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let length = u16::try_from(query.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), query].concat()).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).ok()?;
    Some(reply)
}

/// A folder that goes with the value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("wirelab-dns-right-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The names of all hosts that are real servers.
pub(crate) fn real_hosts() -> BTreeSet<Host> {
    (0..SLOTS).map(Host::Sound).chain([Host::Unloaded]).collect()
}

/// Starts the servers with faults that no real server has.
pub(crate) fn faulty(authority: &Authority) -> dns_walk::driver::Serving {
    let mut only = authority.clone();
    let kept: BTreeSet<IpAddr> = [Host::Resolver, Host::NoEdns]
        .into_iter()
        .map(|host| host.addresses()[0].parse().unwrap())
        .collect();
    only.keep_hosts(|address| kept.contains(&address));
    let plan = wirelab::path::LinkPlan::default();
    dns_walk::driver::serve(only, Some(53), &plan, 0).unwrap()
}
