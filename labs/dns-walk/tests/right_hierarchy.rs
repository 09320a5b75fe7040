//! Hierarchies of zones drawn from seeds: delegations, glue or none, aliases, wildcards, faults.

use std::collections::{BTreeMap, BTreeSet};
use wirelab::measure::draw::keyed;

/// Real servers, each with an address of IPv4 and of IPv6: enough that the servers of a zone, of
/// its parent and of its servers' names are seldom the same.
pub(crate) const SLOTS: usize = 8;

/// Server at an address that a zone is delegated to.
///
/// None refers upwards, nor to the zone itself as a server of the zone above does: Unbound drops
/// such NS records and takes the empty reply that is left for the proof that there is no data. No
/// right answer can be compared with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Host {
    /// A real server that has loaded the zone.
    Sound(usize),
    /// A real server that has not.
    Lame(usize),
    /// A real server that knows of the zone and could not load it.
    Unloaded,
    /// What comes there is not read.
    Dead,
    /// Nothing listens there.
    Closed,
    /// A server of ours that answers as a resolver would.
    Resolver,
    /// A server of ours that calls EDNS malformed, and is sound otherwise.
    NoEdns,
}

/// Which addresses a server's name has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Both,
}

impl Host {
    /// The addresses of a host.
    pub(crate) fn addresses(self) -> [String; 2] {
        let at = |third: u8, fourth: usize| {
            [format!("127.9.{third}.{fourth}"), format!("fd09::{third}:{fourth}")]
        };
        match self {
            Self::Sound(slot) | Self::Lame(slot) => at(1, slot + 1),
            Self::Unloaded => at(1, SLOTS + 1),
            Self::Dead => at(2, 1),
            Self::Closed => at(2, 2),
            Self::Resolver => at(2, 4),
            Self::NoEdns => at(2, 5),
        }
    }
}

/// A zone: its records as lines `OWNER TTL TYPE DATA`, all names absolute.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) origin: String,
    pub(crate) lines: Vec<String>,
    pub(crate) hosts: BTreeSet<Host>,
}

/// Everything that one seed gives.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    pub(crate) seed: u64,
    pub(crate) zones: Vec<Zone>,
    /// Lines for the root's own zone.
    pub(crate) delegations: Vec<String>,
    /// Name, type, and why it is asked.
    pub(crate) questions: Vec<(String, &'static str, &'static str)>,
}

/// Draws that depend on the seed and on how many were made before.
struct Draw {
    seed: u64,
    next: u64,
}

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.next += 1;
        let drawn = keyed(self.seed, self.next) % u64::try_from(end.max(1)).unwrap();
        usize::try_from(drawn).unwrap()
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Clone>(&mut self, things: &[T]) -> T {
        things[self.below(things.len())].clone()
    }
}

struct Maker {
    draw: Draw,
    zones: Vec<Zone>,
    /// Which zone is above which, by place.
    parents: Vec<Option<usize>>,
    delegations: Vec<String>,
    questions: Vec<(String, &'static str, &'static str)>,
    /// Names that aliases may lead to, and what is there.
    targets: Vec<String>,
    /// Records that later zones put into earlier ones.
    extra: BTreeMap<usize, Vec<String>>,
    last_address: usize,
}

/// The hierarchy of a seed. Its names end in `h<seed>.` and `g<seed>.`.
pub(crate) fn hierarchy(seed: u64) -> Hierarchy {
    let mut maker = Maker {
        draw: Draw { seed: keyed(0x6869_6572, seed), next: 0 },
        zones: Vec::new(),
        parents: Vec::new(),
        delegations: Vec::new(),
        questions: Vec::new(),
        targets: Vec::new(),
        extra: BTreeMap::new(),
        last_address: 0,
    };
    maker.add_top(&format!("g{seed}."));
    maker.add_top(&format!("h{seed}."));
    maker.add_hoster(&format!("host.g{seed}."));
    for _ in 0..1 + maker.draw.below(4) {
        maker.add_zone();
    }
    if maker.draw.once_in(8) {
        maker.add_circle();
    }
    for at in 0..maker.zones.len() {
        maker.fill(at);
    }
    for at in 0..maker.zones.len() {
        maker.add_aliases(at);
    }
    for (at, lines) in std::mem::take(&mut maker.extra) {
        maker.zones[at].lines.extend(lines);
    }
    for zone in &mut maker.zones {
        // Owner, type and data; the TTL of the first line counts.
        let mut seen = BTreeSet::new();
        zone.lines.retain(|line| {
            let mut words: Vec<&str> = line.splitn(4, ' ').collect();
            words.remove(1);
            seen.insert(words.join(" "))
        });
    }
    Hierarchy {
        seed,
        zones: maker.zones,
        delegations: maker.delegations,
        questions: maker.questions,
    }
}

/// How a zone is delegated: one server's name and who stands there.
struct Server {
    name: String,
    host: Host,
    family: Family,
    /// The zone above names it.
    above: bool,
    /// The zone itself names it.
    own: bool,
    /// The zone above has its address.
    glue: bool,
    /// Its address stands where its name belongs.
    address: bool,
}

impl Maker {
    fn line(&mut self, at: usize, owner: &str, kind: &str, data: &str) {
        let ttl = 300 + 60 * self.draw.below(5);
        // One TTL for a set, as RFC 2181 §5.2 wants it.
        let start = format!("{owner} ");
        let set = self.zones[at]
            .lines
            .iter()
            .find(|line| line.starts_with(&start) && line.split(' ').nth(2) == Some(kind));
        let ttl = set.map_or_else(
            || ttl.to_string(),
            |line| line.split(' ').nth(1).unwrap_or_default().to_owned(),
        );
        self.zones[at].lines.push(format!("{owner} {ttl} {kind} {data}"));
    }

    fn ask(&mut self, name: &str, kind: &'static str, why: &'static str) {
        self.questions.push((name.to_owned(), kind, why));
    }

    fn v4(&mut self) -> String {
        self.last_address += 1;
        format!("203.0.{}.{}", 113 + self.last_address / 250, 1 + self.last_address % 250)
    }

    fn v6(&mut self) -> String {
        self.last_address += 1;
        format!("2001:db8::{:x}", self.last_address)
    }

    fn slots(&mut self, count: usize) -> Vec<usize> {
        let mut slots = Vec::new();
        while slots.len() < count {
            let slot = self.draw.below(SLOTS);
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        slots
    }

    fn family(&mut self) -> Family {
        match self.draw.below(8) {
            0 => Family::V6,
            1 | 2 => Family::Both,
            _ => Family::V4,
        }
    }

    /// A zone with its SOA and its servers, delegated by the zone above.
    fn push(&mut self, origin: &str, parent: Option<usize>, servers: &[Server]) -> usize {
        let hosts = servers.iter().map(|server| server.host).filter(|host| {
            matches!(host, Host::Sound(_) | Host::Unloaded | Host::Resolver | Host::NoEdns)
        });
        let hosts = hosts.collect();
        let zone = Zone { origin: origin.to_owned(), lines: Vec::new(), hosts };
        self.zones.push(zone);
        self.parents.push(parent);
        let at = self.zones.len() - 1;
        let minimum = 60 + self.draw.below(600);
        let soa = format!("ns.{origin} hostmaster.{origin} {} 1800 900 604800 {minimum}", 7 + at);
        self.line(at, origin, "SOA", &soa);
        for server in servers {
            self.delegate(at, parent, origin, server);
        }
        at
    }

    fn delegate(&mut self, at: usize, parent: Option<usize>, origin: &str, server: &Server) {
        let name = &server.name;
        if server.own {
            self.line(at, origin, "NS", name);
        }
        let mut above = Vec::new();
        if server.above {
            above.push(format!("{origin} 86400 NS {name}"));
        }
        let [v4, v6] = server.host.addresses();
        let mut addresses = Vec::new();
        if server.family != Family::V6 {
            addresses.push(("A", v4));
        }
        if server.family != Family::V4 {
            addresses.push(("AAAA", v6));
        }
        for (kind, address) in addresses {
            if server.glue {
                above.push(format!("{name} 86400 {kind} {address}"));
            }
            if server.address
                && let Some(home) = self.home(name)
            {
                let line = format!("{name} 3600 {kind} {address}");
                self.extra.entry(home).or_default().push(line);
            }
        }
        match parent {
            Some(parent) => self.extra.entry(parent).or_default().extend(above),
            None => self.delegations.extend(above),
        }
    }

    /// The zone that a name belongs to.
    fn home(&self, name: &str) -> Option<usize> {
        let inside =
            |zone: &Zone| zone.origin == name || name.ends_with(&format!(".{}", zone.origin));
        let zones = self.zones.iter().enumerate().filter(|(_, zone)| inside(zone));
        zones.max_by_key(|(_, zone)| zone.origin.len()).map(|(at, _)| at)
    }

    fn in_domain(&mut self, origin: &str, number: usize, host: Host) -> Server {
        Server {
            name: format!("ns{number}.{origin}"),
            host,
            family: self.family(),
            above: true,
            own: true,
            glue: true,
            address: true,
        }
    }

    fn add_top(&mut self, origin: &str) {
        let count = 1 + self.draw.below(2);
        let slots = self.slots(count);
        let mut servers = Vec::new();
        for (number, slot) in slots.into_iter().enumerate() {
            servers.push(self.in_domain(origin, number, Host::Sound(slot)));
        }
        self.push(origin, None, &servers);
    }

    fn add_hoster(&mut self, origin: &str) {
        let count = 1 + self.draw.below(2);
        let slots = self.slots(count);
        let mut servers = Vec::new();
        for (number, slot) in slots.into_iter().enumerate() {
            servers.push(self.in_domain(origin, number, Host::Sound(slot)));
        }
        self.push(origin, Some(0), &servers);
    }

    /// A zone below one of the others, with servers of every kind.
    fn add_zone(&mut self) {
        let parents: Vec<usize> = (1..self.zones.len()).filter(|at| *at == 1 || *at > 2).collect();
        let parent = self.draw.one_of(&parents);
        let number = self.zones.len();
        let above = self.zones[parent].origin.clone();
        let origin = match self.draw.below(4) {
            // The name between is an empty non-terminal of the zone above.
            0 => format!("z{number}.gap{number}.{above}"),
            _ => format!("z{number}.{above}"),
        };
        let mut servers = Vec::new();
        let sound = if self.draw.once_in(12) { 0 } else { 1 + self.draw.below(2) };
        for (number, slot) in self.slots(sound).into_iter().enumerate() {
            servers.push(self.server(&origin, parent, number, Host::Sound(slot)));
        }
        let faulty = if sound == 0 { 1 } else { self.draw.below(6).saturating_sub(3) };
        for number in 0..faulty {
            servers.push(self.faulty(&origin, parent, 5 + number));
        }
        // Servers named on one side only.
        if sound == 2 && self.draw.once_in(4) {
            let at = self.draw.below(2);
            if self.draw.once_in(2) { servers[at].own = false } else { servers[at].above = false }
        }
        self.push(&origin, Some(parent), &servers);
    }

    /// A server inside the zone, in a zone far away, or in the zone above.
    fn server(&mut self, origin: &str, parent: usize, number: usize, host: Host) -> Server {
        let mut server = self.in_domain(origin, number, host);
        let at = self.zones.len();
        match self.draw.below(6) {
            0 | 1 => {
                server.name = format!("ns{number}-{at}.{}", self.zones[2].origin);
                server.glue = false;
            }
            2 => server.name = format!("ns{number}-{at}.{}", self.zones[parent].origin),
            3 if at > 4 => {
                // In another zone of this hierarchy, with or without its address beside.
                let other = 3 + self.draw.below(at - 3);
                server.name = format!("ns{number}-{at}.{}", self.zones[other].origin);
                let above = format!(".{}", self.zones[parent].origin);
                server.glue = server.name.ends_with(&above) && self.draw.once_in(2);
            }
            _ => {}
        }
        server
    }

    fn faulty(&mut self, origin: &str, parent: usize, number: usize) -> Server {
        let slot = self.slot_without(origin);
        let hosts = [
            Host::Dead,
            Host::Closed,
            Host::Lame(slot),
            Host::Unloaded,
            Host::Resolver,
            Host::NoEdns,
        ];
        let host = self.draw.one_of(&hosts);
        let mut server = self.server(origin, parent, number, host);
        if matches!(host, Host::Resolver | Host::NoEdns) {
            // Ours listen on loopback alone, of which IPv6 has one address.
            server.family = Family::V4;
        }
        match self.draw.below(8) {
            // A server whose name has no address anywhere.
            0 => (server.glue, server.address) = (false, false),
            // A server inside the zone whose address came with no referral.
            1 => server.glue = false,
            _ => {}
        }
        server
    }

    /// A real server that has no zone above `origin`; the first where there is none.
    fn slot_without(&mut self, origin: &str) -> usize {
        let first = self.draw.below(SLOTS);
        let above = |zone: &&Zone| origin.ends_with(&format!(".{}", zone.origin));
        let zones: Vec<&Zone> = self.zones.iter().filter(above).collect();
        // The servers of the root have a zone above everything.
        let free = |slot: &usize| {
            *slot > 1 && !zones.iter().any(|zone| zone.hosts.contains(&Host::Sound(*slot)))
        };
        (0..SLOTS).map(|step| (first + step) % SLOTS).find(free).unwrap_or(first)
    }

    /// Two zones whose servers lie in each other, with or without sibling glue.
    fn add_circle(&mut self) {
        let above = self.zones[1].origin.clone();
        let names = ["left", "right"].map(|side| format!("{side}.{above}"));
        let glue = self.draw.once_in(2);
        let slots = self.slots(2);
        for (at, origin) in names.iter().enumerate() {
            let server = Server {
                name: format!("ns.{}", names[1 - at]),
                host: Host::Sound(slots[at]),
                family: Family::V4,
                above: true,
                own: true,
                glue,
                address: false,
            };
            let zone = self.push(origin, Some(1), &[server]);
            let [address, _] = Host::Sound(slots[1 - at]).addresses();
            self.line(zone, &format!("ns.{origin}"), "A", &address);
            let (www, data) = (format!("www.{origin}"), self.v4());
            self.line(zone, &www, "A", &data);
            self.ask(&www, "A", "servers in each other's zone");
        }
    }

    /// Ordinary records, wildcards, empty non-terminals, and questions about each.
    fn fill(&mut self, at: usize) {
        let origin = self.zones[at].origin.clone();
        let (v4, v6) = (self.v4(), self.v6());
        let www = format!("www.{origin}");
        self.line(at, &www, "A", &v4);
        if self.draw.once_in(2) {
            let more = self.v4();
            self.line(at, &www, "A", &more);
            self.line(at, &www, "AAAA", &v6);
        }
        self.targets.push(www.clone());
        self.ask(&www, "A", "exists");
        self.ask(&www, "AAAA", "perhaps no data");
        self.ask(&www, "MX", "no data");
        self.ask(&format!("below.{www}"), "A", "below a leaf");
        self.ask(&format!("nowhere.{origin}"), "A", "does not exist, or a wildcard's");
        self.ask(&format!("far.off.nowhere.{origin}"), "TXT", "does not exist, deep");
        for kind in ["NS", "SOA", "A", "DS"] {
            self.ask(&origin, kind, "the top of the zone");
        }
        if let Some(above) = self.parents[at].map(|parent| self.zones[parent].origin.clone()) {
            let between = origin.split_once('.').map(|(_, rest)| rest.to_owned());
            if let Some(between) = between.filter(|between| *between != above) {
                self.ask(&between, "A", "empty, above a cut");
            }
        }
        match self.draw.below(3) {
            0 => {
                let mail = format!("10 mail.{origin}");
                self.line(at, &origin, "MX", &mail);
                let data = self.v4();
                self.line(at, &format!("mail.{origin}"), "A", &data);
                self.ask(&origin, "MX", "mail");
            }
            1 => {
                self.line(at, &origin, "A", &v4);
                self.line(at, &origin, "TXT", "\"v=one two\"");
                self.ask(&origin, "TXT", "text");
            }
            _ => {}
        }
        self.add_wildcards(at, &origin);
        self.add_between(at, &origin);
        self.add_odd(at, &origin);
    }

    fn add_wildcards(&mut self, at: usize, origin: &str) {
        if self.draw.once_in(5) {
            let data = self.v4();
            self.line(at, &format!("*.{origin}"), "A", &data);
            self.ask(&format!("*.{origin}"), "A", "a wildcard itself");
            self.ask(&format!("a.b.any.{origin}"), "A", "far below a wildcard");
        }
        if self.draw.once_in(2) {
            let base = format!("w.{origin}");
            let star = format!("*.{base}");
            let (kind, data) = match self.draw.below(3) {
                0 => ("A", self.v4()),
                1 => ("TXT", "\"wild\"".to_owned()),
                _ => ("MX", format!("5 mail.{origin}")),
            };
            self.line(at, &star, kind, &data);
            let other = self.v4();
            self.line(at, &format!("exact.{base}"), "A", &other);
            self.targets.push(format!("some.{base}"));
            for (label, why) in [
                ("one", "below a wildcard"),
                ("two.one", "below a wildcard, deep"),
                ("exact", "beside a wildcard"),
                ("x.exact", "below what stands beside a wildcard"),
                ("*", "a wildcard itself"),
                ("x.*", "below a wildcard's own name"),
            ] {
                self.ask(&format!("{label}.{base}"), kind, why);
            }
            self.ask(&format!("three.{base}"), "AAAA", "below a wildcard, no data");
            self.ask(&base, "A", "above a wildcard");
        }
    }

    fn add_between(&mut self, at: usize, origin: &str) {
        if !self.draw.once_in(2) {
            return;
        }
        let data = self.v4();
        let deep = format!("leaf.b.a.ent.{origin}");
        self.line(at, &deep, "A", &data);
        self.targets.push(format!("ent.{origin}"));
        self.targets.push(deep.clone());
        self.ask(&deep, "A", "below empty names");
        self.ask(&format!("b.a.ent.{origin}"), "A", "an empty name");
        self.ask(&format!("ent.{origin}"), "TXT", "an empty name");
        self.ask(&format!("no.a.ent.{origin}"), "A", "beside what is below an empty name");
    }

    fn add_odd(&mut self, at: usize, origin: &str) {
        if self.draw.once_in(3) {
            let name = format!("_sip._tcp.{origin}");
            self.line(at, &name, "SRV", &format!("1 2 5060 www.{origin}"));
            self.ask(&name, "SRV", "a service");
            self.ask(&format!("_tcp.{origin}"), "SRV", "an empty name");
        }
        if self.draw.once_in(4) {
            let name = format!("big.{origin}");
            for number in 0..12 {
                let text = format!("\"{number}-{}\"", "x".repeat(150 + self.draw.below(90)));
                self.line(at, &name, "TXT", &text);
            }
            self.ask(&name, "TXT", "does not fit a datagram");
            self.ask(&name, "A", "no data");
        }
        if self.draw.once_in(5) {
            let name = format!("MiXed-{}.{origin}", self.draw.below(100));
            let data = self.v6();
            self.line(at, &name, "AAAA", &data);
            self.ask(&name.to_uppercase(), "AAAA", "capitals");
        }
    }

    /// Aliases of every kind: to anything, in chains, in circles; of single names and whole trees.
    fn add_aliases(&mut self, at: usize) {
        let origin = self.zones[at].origin.clone();
        let mut number = 0;
        let mut name = |word: &str| {
            number += 1;
            format!("{word}{number}.{origin}")
        };
        let (one, two, three) = (name("to"), name("to"), name("wild"));
        let target = self.target();
        self.line(at, &one, "CNAME", &target);
        for kind in ["A", "AAAA", "CNAME"] {
            self.ask(&one, kind, "an alias");
        }
        self.ask(&format!("below.{one}"), "A", "below an alias");
        if self.draw.once_in(2) {
            self.targets.push(one.clone());
            let other = self.draw.below(self.zones.len());
            let gone = format!("gone.{}", self.zones[other].origin);
            self.line(at, &two, "CNAME", &gone);
            self.ask(&two, "A", "an alias of nothing");
            self.ask(&two, "MX", "an alias of nothing");
        }
        if self.draw.once_in(4) {
            let target = self.target();
            self.line(at, &format!("*.{three}"), "CNAME", &target);
            self.ask(&format!("any.{three}"), "A", "a wildcard of aliases");
            self.ask(&format!("any.{three}"), "CNAME", "a wildcard of aliases");
            self.targets.push(format!("other.{three}"));
        }
        if self.draw.once_in(4) {
            self.add_circle_of_aliases(at, &name("round"));
        }
        if self.draw.once_in(4) {
            self.add_chain(at, &name("chain"));
        }
        if self.draw.once_in(2) {
            self.add_tree_alias(at, &name("tree"));
        }
    }

    fn target(&mut self) -> String {
        let targets = self.targets.clone();
        self.draw.one_of(&targets)
    }

    fn add_circle_of_aliases(&mut self, at: usize, first: &str) {
        let length = 1 + self.draw.below(3);
        let mut names = vec![first.to_owned()];
        let mut homes = vec![at];
        for number in 1..length {
            let home = if self.draw.once_in(2) { at } else { self.draw.below(self.zones.len()) };
            names.push(format!("round{number}-{at}.{}", self.zones[home].origin));
            homes.push(home);
        }
        for place in 0..length {
            let next = names[(place + 1) % length].clone();
            self.line(homes[place], &names[place].clone(), "CNAME", &next);
        }
        self.ask(first, "A", "aliases in a circle");
        self.ask(first, "CNAME", "aliases in a circle");
    }

    fn add_chain(&mut self, at: usize, first: &str) {
        let length = 2 + self.draw.below(7);
        let mut name = first.to_owned();
        let mut home = at;
        for number in 0..length {
            let next_home =
                if self.draw.once_in(2) { home } else { self.draw.below(self.zones.len()) };
            let next = format!("link{number}-{at}.{}", self.zones[next_home].origin);
            self.line(home, &name, "CNAME", &next);
            (name, home) = (next, next_home);
        }
        let data = self.v4();
        self.line(home, &name, "A", &data);
        self.ask(first, "A", "a chain of aliases");
        self.ask(first, "AAAA", "a chain of aliases to no data");
    }

    /// A DNAME (RFC 6672): to another zone, to a part of this one, to nothing, or to itself.
    fn add_tree_alias(&mut self, at: usize, owner: &str) {
        let origin = self.zones[at].origin.clone();
        let other = self.draw.below(self.zones.len());
        let far = self.zones[other].origin.clone();
        let target = match self.draw.below(6) {
            0 => format!("ent.{origin}"),
            1 => format!("gone.{far}"),
            2 => format!("again.{owner}"),
            3 => format!("w.{far}"),
            _ => far,
        };
        self.line(at, owner, "DNAME", &target);
        if self.draw.once_in(2) {
            let data = self.v4();
            self.line(at, owner, "A", &data);
        }
        self.targets.push(format!("www.{owner}"));
        for (label, why) in [
            ("www", "below a DNAME"),
            ("leaf.b.a", "below a DNAME, deep"),
            ("nothing.there", "below a DNAME, nothing"),
            ("to1", "below a DNAME, an alias"),
        ] {
            self.ask(&format!("{label}.{owner}"), "A", why);
        }
        self.ask(owner, "A", "where a DNAME stands");
        self.ask(owner, "DNAME", "where a DNAME stands");
        let long = "a23456789-a23456789-a23456789-a23456789-a23456789-a2345678.".repeat(3);
        self.ask(&format!("{long}www.{owner}"), "A", "below a DNAME, perhaps too long");
    }
}
