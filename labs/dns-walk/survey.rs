//! Survey of every server at every level: the share of each outcome, and the best path.

use super::event::{Class, Event, Exchange, Purpose, Record};
use crate::limits::counted;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wirelab::measure::Ppm;

/// One server of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// The last outcome of asking it.
    pub class: Class,
    /// How long its reply took.
    pub rtt_ns: Option<u64>,
    /// How often it was asked.
    pub attempts: u32,
}

/// One zone on the way to a name, and all of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// The zone.
    pub zone: String,
    /// The question, whole, to every server alike.
    pub question: String,
    /// Its servers, in the order in which they were asked.
    pub servers: Vec<Asked>,
}

/// One way in which a walk that picks its first server by lot can go at this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// How often.
    pub share: Ppm,
    /// The outcome and its zone.
    pub what: String,
    /// The mean of the round trips until then; a silence counts nothing.
    pub time_ns: u64,
}

/// The levels of a survey, by name asked and from the root down.
#[must_use]
pub fn levels(records: &[Record]) -> Vec<Level> {
    let mut found: BTreeMap<(usize, String, u32), Level> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let asked = records.iter().find_map(|record| match &record.event {
        Event::Start(start) => Some(&start.question),
        _ => None,
    });
    for exchange in records.iter().filter_map(probe) {
        if is_own_address(exchange) && Some(&exchange.meant) != asked {
            continue;
        }
        let question = exchange.meant.to_string();
        let order = names.iter().position(|name| *name == question).unwrap_or_else(|| {
            names.push(question.clone());
            names.len() - 1
        });
        let labels = exchange.zone.split('.').filter(|label| !label.is_empty()).count();
        let depth = u32::try_from(labels).expect("invariant: a name has at most 127 labels");
        let zone = exchange.zone.clone();
        let level = found.entry((order, question.clone(), depth));
        let level = level.or_insert(Level { zone, question, servers: Vec::new() });
        let server = Asked {
            name: exchange.server.name.clone(),
            address: exchange.server.address,
            class: exchange.class.clone(),
            rtt_ns: exchange.rtt_ns,
            attempts: exchange.attempt,
        };
        let known = level
            .servers
            .iter_mut()
            .find(|known| (&known.name, known.address) == (&server.name, server.address));
        match known {
            // Of several attempts the one with a reply counts, else the last.
            Some(known) if server.rtt_ns.is_some() || known.rtt_ns.is_none() => *known = server,
            Some(_) => {}
            None => level.servers.push(server),
        }
    }
    // A survey has every level from the root down; a check of the zone alone has not.
    if !found.values().any(|level| level.zone == ".") {
        return Vec::new();
    }
    let mut levels: Vec<_> = found.into_iter().collect();
    levels.sort_by(|((a, _, x), _), ((b, _, y), _)| (a, x).cmp(&(b, y)));
    levels.into_iter().map(|(_, level)| level).collect()
}

/// A query of the survey for what the user asked.
fn probe(record: &Record) -> Option<&Exchange> {
    let Event::Exchange(exchange) = &record.event else { return None };
    let Purpose::Check { zone } = &exchange.purpose else { return None };
    let own = matches!(exchange.meant.kind.as_str(), "NS" | "SOA") && exchange.meant.name == *zone;
    (!own).then_some(exchange)
}

/// A server asked for its own address, to be compared with its glue.
fn is_own_address(exchange: &Exchange) -> bool {
    let Exchange { meant, server, .. } = exchange;
    matches!(meant.kind.as_str(), "A" | "AAAA") && meant.name == server.name
}

/// Outcomes and their shares at the levels of one name; servers of a level are equally likely.
#[must_use]
pub fn shares(levels: &[&Level], words: impl Fn(&Asked) -> String) -> Vec<Share> {
    let mut out: Vec<Share> = Vec::new();
    let (mut arriving, mut spent_ns) = (1_000_000_u64, 0_u64);
    for level in levels {
        let count = counted(level.servers.len()).max(1);
        let on = |server: &&Asked| matches!(server.class, Class::Referral { .. });
        for server in level.servers.iter().filter(|server| !on(server)) {
            let share = u32::try_from(arriving / count).ok().and_then(Ppm::new);
            out.push(Share {
                share: share.unwrap_or_default(),
                what: format!("{} at {}, {}", words(server), level.zone, server.name),
                time_ns: spent_ns + server.rtt_ns.unwrap_or_default(),
            });
        }
        let onward: Vec<u64> =
            level.servers.iter().filter(on).map(|s| s.rtt_ns.unwrap_or_default()).collect();
        let number = counted(onward.len());
        arriving = arriving * number / count;
        spent_ns += onward.iter().sum::<u64>() / number.max(1);
    }
    out.sort_by_key(|share| std::cmp::Reverse(share.share));
    out
}

/// The round trips of the fastest useful server of each level, added up: the cold best path.
///
/// Nothing where a level has no useful server.
#[must_use]
pub fn best_path_ns(levels: &[Level]) -> Option<u64> {
    let fastest = |level: &Level| {
        let useful = level.servers.iter().filter(|server| server.class.is_useful());
        useful.filter_map(|server| server.rtt_ns).min()
    };
    (!levels.is_empty()).then(|| levels.iter().map(fastest).sum::<Option<u64>>()).flatten()
}
