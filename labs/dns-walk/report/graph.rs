//! The delegation graph: zones as boxes with their servers, delegations and aliases as lines.

use super::sequence::tone;
use super::words::{class, ink, took};
use crate::event::{Class, Event, Exchange, Purpose, Record};
use crate::trust::Rank;
use std::collections::{BTreeMap, BTreeSet};
use wirelab::report::html::Html;
use wirelab::report::style::Ink;
use wirelab::report::svg::{Svg, number};

/// Pixels of a box, and between boxes.
const WIDE: f64 = 300.0;
const HEAD: f64 = 26.0;
const LINE: f64 = 18.0;
const ACROSS: f64 = 120.0;
const DOWN: f64 = 26.0;
const EDGE: f64 = 8.0;
/// Characters of a server's line that fit its box.
const FIT: usize = 42;

/// One server of a zone, as the walk met it.
struct Server {
    text: String,
    about: String,
    ink: Ink,
}

/// One zone.
#[derive(Default)]
struct Zone {
    above: BTreeSet<String>,
    own: BTreeSet<String>,
    servers: BTreeMap<String, Server>,
}

/// Zones by name, with delegations and aliases between them.
#[derive(Default)]
struct Graph {
    zones: BTreeMap<String, Zone>,
    /// From zone, to zone, label.
    delegations: BTreeMap<(String, String), String>,
    /// From zone, to the zone that has the target.
    aliases: BTreeSet<(String, String)>,
}

fn graph(records: &[Record]) -> Graph {
    let mut graph = Graph::default();
    let exchanges = records.iter().filter_map(|record| match &record.event {
        Event::Exchange(exchange) => Some(exchange.as_ref()),
        _ => None,
    });
    for exchange in exchanges {
        let zone = graph.zones.entry(exchange.zone.clone()).or_default();
        note_server(zone, exchange);
        for learned in exchange.learned.iter().filter(|learned| learned.record.kind == "NS") {
            let zone = graph.zones.entry(learned.record.name.clone()).or_default();
            let data = learned.record.data.clone();
            match learned.rank {
                Rank::Referral => zone.above.insert(data),
                _ => zone.own.insert(data),
            };
        }
        if let Class::Referral { to, servers, with_address } = &exchange.class {
            let key = (exchange.zone.clone(), to.clone());
            let text = format!("{servers} NS, {with_address} with address");
            graph.delegations.insert(key, text);
        }
    }
    graph.note_aliases(records);
    graph
}

/// Notes a server's reply; the graph shows its worst one.
fn note_server(zone: &mut Zone, exchange: &Exchange) {
    let key = format!("{} {}", exchange.server.name, exchange.server.address.ip());
    let what = if exchange.rtt_ns.is_some() { took(exchange) } else { "no reply".to_owned() };
    let fresh = Server {
        text: format!("{key}  {what}"),
        about: class(exchange),
        ink: ink(&exchange.class),
    };
    let worse = |ink: Ink| match ink {
        Ink::Bad => 3,
        Ink::Doubt => 2,
        Ink::Dim => 0,
        _ => 1,
    };
    match zone.servers.get(&key) {
        Some(known) if worse(known.ink) >= worse(fresh.ink) => {}
        _ => drop(zone.servers.insert(key, fresh)),
    }
}

impl Graph {
    /// An alias leads from the zone that has it to the deepest zone asked for its target.
    fn note_aliases(&mut self, records: &[Record]) {
        for record in records {
            let Event::Exchange(exchange) = &record.event else { continue };
            let Class::Alias { to } = &exchange.class else { continue };
            let asked_for = records.iter().filter_map(|other| match &other.event {
                Event::Exchange(other)
                    if other.meant.name == *to
                        && !matches!(other.purpose, Purpose::Check { .. }) =>
                {
                    Some(other.zone.clone())
                }
                _ => None,
            });
            if let Some(zone) = asked_for.max_by_key(|zone| depth(zone))
                && zone != exchange.zone
            {
                self.aliases.insert((exchange.zone.clone(), zone));
            }
        }
    }
}

/// Labels of a zone's name; the root has none.
fn depth(zone: &str) -> usize {
    zone.split('.').filter(|label| !label.is_empty()).count()
}

/// The lines of a zone's box: its servers, and names that only one side knows.
fn lines(zone: &Zone) -> Vec<(&'static str, String, String)> {
    let mut lines: Vec<_> = zone
        .servers
        .values()
        .map(|server| (tone(server.ink), server.text.clone(), server.about.clone()))
        .collect();
    let met = |name: &String| zone.servers.keys().any(|key| key.starts_with(name.as_str()));
    for name in zone.above.iter().filter(|name| !met(name)) {
        lines.push(("dim", format!("{name}  not asked"), "named by the zone above".to_owned()));
    }
    if !zone.own.is_empty() {
        for name in zone.above.difference(&zone.own) {
            let text = format!("{name}  named above only");
            lines.push(("doubt", text, "the zone itself does not name it".to_owned()));
        }
        for name in zone.own.difference(&zone.above).filter(|_| !zone.above.is_empty()) {
            let text = format!("{name}  named below only");
            lines.push(("doubt", text, "the zone above does not name it".to_owned()));
        }
    }
    lines
}

/// The graph as one SVG element; `None` without zones.
pub(super) fn svg(records: &[Record]) -> Option<Html> {
    let graph = graph(records);
    let deepest = graph.zones.keys().map(|zone| depth(zone)).max()?;
    let mut places: BTreeMap<&str, (f64, f64, f64)> = BTreeMap::new();
    let mut bottom = 0.0_f64;
    for level in 0..=deepest {
        let mut y = EDGE;
        for (name, zone) in graph.zones.iter().filter(|(name, _)| depth(name) == level) {
            let tall = HEAD + LINE * number(lines(zone).len()) + 8.0;
            places.insert(name, (EDGE + number(level) * (WIDE + ACROSS), y, tall));
            y += tall + DOWN;
        }
        bottom = bottom.max(y);
    }
    let width = EDGE * 2.0 + number(deepest) * (WIDE + ACROSS) + WIDE;
    let mut svg = Svg::new(width, bottom, "delegation graph");
    for ((from, to), text) in &graph.delegations {
        let (Some(from), Some(to)) = (places.get(from.as_str()), places.get(to.as_str())) else {
            continue;
        };
        let start = (from.0 + WIDE, from.1 + HEAD / 2.0);
        let end = (to.0, to.1 + HEAD / 2.0);
        svg.path("guide", &[start, (end.0 - 30.0, end.1), end]);
        svg.open("dim");
        svg.head(start.0, end);
        svg.close();
        let (servers, with) = text.split_once(", ").unwrap_or((text, ""));
        svg.text("tick halo", (end.0 - 8.0, end.1 - 7.0), "end", servers);
        svg.text("tick halo", (end.0 - 8.0, end.1 + 16.0), "end", with);
    }
    for (from, to) in &graph.aliases {
        let (Some(from), Some(to)) = (places.get(from.as_str()), places.get(to.as_str())) else {
            continue;
        };
        let (start, end) = ((from.0 + WIDE / 2.0, from.1 + from.2), (to.0 + WIDE / 2.0, to.1));
        let (start, end) =
            if start.1 <= end.1 { (start, end) } else { ((start.0, from.1), (end.0, to.1 + to.2)) };
        svg.path("alias", &[start, end]);
        let middle = (start.0 + 8.0, f64::midpoint(start.1, end.1) + 4.0);
        svg.text("tick halo", middle, "start", "alias");
    }
    for (name, (x, y, tall)) in &places {
        draw(&mut svg, name, &graph.zones[*name], (*x, *y), *tall);
    }
    Some(svg.finish())
}

fn draw(svg: &mut Svg, name: &str, zone: &Zone, at: (f64, f64), tall: f64) {
    let (x, y) = at;
    svg.rect("box", at, (WIDE, tall));
    let shown = if name == "." { ". (the root)" } else { name };
    svg.text("strong", (x + 10.0, y + 18.0), "start", shown);
    for (row, (tone, text, about)) in lines(zone).into_iter().enumerate() {
        let middle = y + HEAD + LINE * (number(row) + 0.5);
        svg.open(tone);
        svg.marker("", 0, (x + 14.0, middle), &about);
        let short: String = text.chars().take(FIT).collect();
        svg.text("server", (x + 25.0, middle + 4.0), "start", &short);
        svg.close();
    }
}
