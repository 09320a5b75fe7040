//! One cold walk of four referrals: `dns-walk` against `dig +trace`, `drill -T` and `unbound-host`.
//!
//! Whole processes, interleaved, on the same five NSD behind the emulated path, in two namespaces;
//! the path's router counts the packets of each.
//!
//! `dig` gets the addresses of servers from the resolver of `/etc/resolv.conf`: here an Unbound
//! with a full cache in the client's namespace. Packets between the two cross no path and are not
//! counted, which favours `dig`.

use super::authority::{
    Cost, Folder, Running, Zones, await_answer, missing, nsd, run, serving_at, unbound_config,
    write_hints,
};
use super::path::{Spread, said, spread};
use dns_walk::RecordType;
use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wirelab::emulator::router::{Router, RouterConfig};
use wirelab::emulator::topology::{LaneConfig, Topology};
use wirelab::path::{Delay, LinkPlan};
use wirelab::runtime::clock::Clock;
use wirelab::sys::netlink::Netlink;
use wirelab::sys::privilege::acquire;
use wirelab::sys::sockets::interface_index;

const ROUNDS: usize = 11;
/// Round trips of the path.
const RTTS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(20)];
/// Maximum time relative to the best peer, except for scatter.
const TIME_RATIO_MAX: f64 = 1.0;
/// The zones from the root down, each served by its own NSD at two addresses.
const ZONES: [&str; 5] =
    [".", "com.", "igbank.com.", "branch.igbank.com.", "lisbon.branch.igbank.com."];
const NAME: &str = "www.lisbon.branch.igbank.com";
const ADDRESS: &str = "203.0.113.7";
/// Index of the loopback interface of every namespace.
const LOOPBACK: u32 = 1;
/// Host B's address in the topology.
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

fn servers(level: usize) -> Vec<String> {
    (1..=2).map(|server| format!("198.18.{level}.{server}")).collect()
}

/// Zone file lines that delegate a zone, or those of the zone itself.
fn delegation(level: usize) -> String {
    let mut text = String::new();
    let zone = ZONES[level];
    for (number, address) in servers(level).into_iter().enumerate() {
        let name = format!("ns{number}.{}", zone.trim_start_matches('.'));
        let _ = write!(text, "{zone} 86400 NS {name}\n{name} 86400 A {address}\n");
    }
    text
}

fn start_authority(folder: &Path) -> Vec<Running> {
    let one = |level: usize| {
        let (zone, file) = (ZONES[level], "zone");
        let soa = "@ 3600 SOA ns0 hostmaster 1 1800 900 604800 3600\n";
        let mut text = soa.to_owned() + &delegation(level);
        text += &match ZONES.get(level + 1) {
            Some(_) => delegation(level + 1),
            None => format!("{NAME}. 300 A {ADDRESS}\n"),
        };
        let zones = Zones { file, text, names: vec![zone.to_owned()] };
        nsd(folder, &format!("nsd-{level}"), &servers(level), &[zones])
    };
    (0..ZONES.len()).map(one).collect()
}

/// Runs the benchmark; whether every target was met.
pub(crate) fn run_all() -> bool {
    if let Err(error) = acquire() {
        println!("dns-walk: skipped\n{error}");
        return true;
    }
    let absent = missing(&["nsd", "unbound", "setpriv"]);
    if !absent.is_empty() {
        println!("dns-walk: skipped: {} not installed", absent.join(", "));
        return true;
    }
    let topology = Topology::build(&[LaneConfig::default()]).unwrap();
    let router = Router::start(&topology, RouterConfig::default(), Clock::start()).unwrap();
    let lane = &topology.lanes[0];
    let folder = Folder::new("dns-walk");
    // A process ends with the thread that starts it.
    let servers_and_client = || {
        prepare_servers();
        let _authority = start_authority(&folder.0);
        lane.a.run(|| as_client(&folder.0, &router)).unwrap()
    };
    lane.b.run(servers_and_client).unwrap()
}

fn open_low_ports() {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
}

fn prepare_servers() {
    let netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    for address in (0..ZONES.len()).flat_map(servers) {
        netlink.add_address(LOOPBACK, address.parse::<IpAddr>().unwrap()).unwrap();
    }
    open_low_ports();
}

/// Addresses of the system's resolvers; here they are ours.
fn system_resolvers() -> Vec<String> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let v4 = lines.map(|line| line.trim().to_owned()).filter(|text| !text.contains(':'));
    // resolv.conf(5): without a nameserver line, this host.
    let named: Vec<String> = v4.collect();
    if named.is_empty() { vec!["127.0.0.1".to_owned()] } else { named }
}

fn prepare_client() {
    let netlink = Netlink::open().unwrap();
    netlink.set_up("lo").unwrap();
    let index = interface_index("eth0").unwrap();
    for address in (0..ZONES.len()).flat_map(servers) {
        let address: IpAddr = address.parse().unwrap();
        netlink.add_neighbour(index, address, MAC_B).unwrap();
        netlink.add_route(index, address, None).unwrap();
    }
    for address in system_resolvers() {
        let address: IpAddr = address.parse().unwrap();
        if !address.is_loopback() {
            netlink.add_address(LOOPBACK, address).unwrap();
        }
    }
    open_low_ports();
}

/// A program and its arguments.
struct Tool {
    name: &'static str,
    program: String,
    arguments: Vec<String>,
}

fn tools(folder: &Path) -> Vec<Tool> {
    let hints = folder.join("hints").display().to_string();
    let config = unbound_config(folder, "").display().to_string();
    let tool = |name, program: &str, arguments: &[&str]| Tool {
        name,
        program: program.to_owned(),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
    };
    let walk = wirelab_tests::lab::binary("dns-walk").display().to_string();
    let ours = ["-4", "--no-dnssec", "--no-report", "--seed", "1", "--hints", &hints, NAME];
    vec![
        tool("dns-walk", &walk, &ours),
        tool("dig +trace", "dig", &["-4", "+trace", NAME]),
        tool("drill -T", "drill", &["-4", "-T", "-r", &hints, NAME, "A"]),
        tool("unbound-host", "unbound-host", &["-4", "-C", &config, "-t", "A", NAME]),
    ]
}

fn as_client(folder: &Path, router: &Router) -> bool {
    prepare_client();
    write_hints(folder, &[("ns0.", servers(0)[0].clone()), ("ns1.", servers(0)[1].clone())]);
    // The system's resolver, with a full cache.
    let home = folder.join("system");
    fs::create_dir_all(&home).unwrap();
    fs::copy(folder.join("hints"), home.join("hints")).unwrap();
    let listens: String = system_resolvers().iter().map(|at| serving_at(at)).collect();
    let config = unbound_config(&home, &listens);
    let _system = Running::start("unbound", &[Path::new("-d"), Path::new("-c"), &config]);
    for (level, zone) in ZONES.into_iter().enumerate() {
        for address in servers(level) {
            await_answer(&address, zone, RecordType::SOA, false);
        }
        for number in 0..2 {
            let name = format!("ns{number}.{}", zone.trim_start_matches('.'));
            for kind in [RecordType::A, RecordType::AAAA] {
                await_answer(&system_resolvers()[0], &name, kind, true);
            }
        }
    }
    await_answer(&system_resolvers()[0], NAME, RecordType::A, true);
    await_answer(&system_resolvers()[0], ".", RecordType::NS, true);
    let tools = tools(folder);
    let programs: Vec<&str> = tools.iter().skip(1).map(|tool| tool.program.as_str()).collect();
    let absent: Vec<String> = missing(&programs).into_iter().map(str::to_owned).collect();
    if !absent.is_empty() {
        println!("dns-walk: left out, not installed: {}", absent.join(", "));
    }
    let tools: Vec<Tool> =
        tools.into_iter().filter(|tool| !absent.contains(&tool.program)).collect();
    println!(
        "one cold walk of {} referrals, whole processes, {ROUNDS} interleaved rounds, median \
         (min-max)\n",
        ZONES.len() - 1
    );
    RTTS.iter().map(|rtt| at_rtt(folder, router, *rtt, &tools)).fold(true, |all, met| all & met)
}

/// Measurements of a tool in every round.
#[derive(Default)]
struct Taken {
    wall_ms: Vec<f64>,
    packets: Vec<f64>,
    wrong: usize,
}

fn at_rtt(folder: &Path, router: &Router, rtt: Duration, tools: &[Tool]) -> bool {
    let plan = LinkPlan { delay: Delay::Constant(rtt / 2), ..LinkPlan::default() };
    let mut taken: Vec<Taken> = tools.iter().map(|_| Taken::default()).collect();
    for _ in 0..ROUNDS {
        for (tool, taken) in tools.iter().zip(&mut taken) {
            router.set_links(0, &plan, &plan, 1, 0).unwrap();
            let mut command = Command::new(&tool.program);
            command.args(&tool.arguments).current_dir(folder);
            let Cost { wall, stdout, .. } = run(folder, &mut command, true);
            let sent = router.take_record(0).unwrap().directions[0].offered;
            taken.wall_ms.push(wall.as_secs_f64() * 1e3);
            taken.packets.push(sent as f64);
            taken.wrong += usize::from(!stdout.contains(ADDRESS));
        }
    }
    println!("{:<14}{:>26}{:>20}{:>8}", format!("{rtt:?} RTT"), "ms", "packets sent", "wrong");
    for (tool, taken) in tools.iter().zip(&taken) {
        let [wall, packets] = [&taken.wall_ms, &taken.packets].map(|v| spread(v.clone()).show());
        println!("{:<14}{wall:>26}{packets:>20}{:>8}", tool.name, taken.wrong);
    }
    let met = judge(tools, &taken);
    println!();
    met
}

/// Time against the best peer of each round, packets against Unbound.
fn judge(tools: &[Tool], taken: &[Taken]) -> bool {
    let Some((ours, peers)) = taken.split_first() else { return true };
    let mut met = ours.wrong == 0;
    if let Some(best) =
        peers.iter().min_by(|a, b| middle(&a.wall_ms).total_cmp(&middle(&b.wall_ms)))
    {
        let ratios = ours.wall_ms.iter().zip(&best.wall_ms).map(|(own, peer)| own / peer);
        let Spread { low, middle, high } = spread(ratios.collect());
        let at = taken.iter().position(|taken| std::ptr::eq(taken, best)).unwrap_or_default();
        met &= middle <= TIME_RATIO_MAX;
        println!(
            "time, dns-walk / {}: {middle:.2} ({low:.2}-{high:.2}) target <= {TIME_RATIO_MAX:.2}: \
             {}",
            tools[at].name,
            said(middle <= TIME_RATIO_MAX)
        );
    }
    let unbound = tools.iter().zip(taken).find(|(tool, _)| tool.name == "unbound-host");
    if let Some((_, unbound)) = unbound {
        let (own, peer) = (middle(&ours.packets), middle(&unbound.packets));
        met &= own <= peer;
        println!(
            "packets, dns-walk / unbound-host: {own:.0} / {peer:.0} target: no more: {}",
            said(own <= peer)
        );
    }
    met
}

fn middle(values: &[f64]) -> f64 {
    spread(values.to_vec()).middle
}
