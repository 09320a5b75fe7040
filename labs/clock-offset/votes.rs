//! One vote per server: names of one address, and servers that follow one source, vote together.

use super::bound::Interval;
use super::select::{Agreement, agree};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

use super::packet::ReferenceId;

/// Why servers have one vote together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Common {
    /// They have one address.
    Address,
    /// They name one reference, above stratum 1: what is wrong with it is wrong with all.
    Reference,
}

/// Servers with one vote together, by their places in the list of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// The servers.
    pub servers: Vec<usize>,
    /// What they have in common.
    pub by: Common,
}

/// A server that has said something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Voter {
    /// Its place in the list of servers.
    pub(super) server: usize,
    pub(super) address: SocketAddr,
    pub(super) stratum: u8,
    pub(super) reference: ReferenceId,
    pub(super) interval: Interval,
}

impl Voter {
    /// What two have in common, if they are to have one vote.
    fn common(&self, other: &Self) -> Option<Common> {
        let (a, b) = (self.address, other.address);
        if a.ip().to_canonical() == b.ip().to_canonical() && a.port() == b.port() {
            return Some(Common::Address);
        }
        // A local clock (127.127.x.x) and a name such as GPS are another one in every server.
        let local = matches!(self.reference.0, [127, 127, ..]) || self.reference.0 == [0; 4];
        let source = self.stratum > 1 && other.stratum > 1 && self.reference == other.reference;
        let address = self.reference.characters().is_none();
        (source && address && !local).then_some(Common::Reference)
    }
}

/// The agreement of all votes, its falsetickers by their places among the voters, and who shares.
pub(super) fn count(voters: &[Voter]) -> (Agreement, Vec<Shared>) {
    let mut votes: Vec<(Vec<usize>, Option<Common>)> = Vec::new();
    for (index, voter) in voters.iter().enumerate() {
        let found = votes.iter_mut().find_map(|(members, by)| {
            let common = members.iter().find_map(|member| voter.common(&voters[*member]))?;
            let agrees = vote(voters, members).and(&voter.interval).is_some();
            // Two that contradict each other do not follow one source, or not well.
            if common == Common::Reference && !agrees {
                return None;
            }
            Some((members, by, common))
        });
        match found {
            Some((members, by, common)) => {
                members.push(index);
                by.get_or_insert(common);
            }
            None => votes.push((vec![index], None)),
        }
    }
    let intervals: Vec<Interval> = votes.iter().map(|(members, _)| vote(voters, members)).collect();
    let mut agreement = agree(&intervals);
    if let Agreement::Majority { falsetickers, .. } = &mut agreement {
        let members = falsetickers.iter().flat_map(|index| votes[*index].0.iter().copied());
        *falsetickers = members.collect();
    }
    let server = |index: &usize| voters[*index].server;
    let shared = votes.iter().filter_map(|(members, by)| {
        Some(Shared { servers: members.iter().map(server).collect(), by: (*by)? })
    });
    let shared = shared.collect();
    (agreement, shared)
}

/// What all of a vote allow; where they contradict each other, what any of them does.
fn vote(voters: &[Voter], members: &[usize]) -> Interval {
    let all = || members.iter().map(|member| voters[*member].interval);
    let common = all().map(Some).reduce(|a, b| a?.and(&b?)).flatten();
    let low_ns = all().map(|i| i.low_ns).min().unwrap_or(i64::MIN);
    let high_ns = all().map(|i| i.high_ns).max().unwrap_or(i64::MAX);
    common.unwrap_or(Interval { low_ns, high_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voter(server: usize, address: &str, reference: [u8; 4], low_ns: i64) -> Voter {
        let interval = Interval { low_ns, high_ns: low_ns + 10 };
        let (address, reference) = (address.parse().unwrap(), ReferenceId(reference));
        Voter { server, address, stratum: 2, reference, interval }
    }

    #[test]
    fn one_server_under_two_names_does_not_outvote_another() {
        let liar = |server| voter(server, "192.0.2.1:123", [198, 51, 100, 1], 400);
        let honest = voter(1, "192.0.2.2:123", [198, 51, 100, 2], 0);
        let (agreement, shared) = count(&[liar(0), honest, liar(2)]);
        assert_eq!(agreement, Agreement::CannotTell { agree: 1, of: 2 });
        assert_eq!(shared, [Shared { servers: vec![0, 2], by: Common::Address }]);
    }

    #[test]
    fn servers_of_one_source_have_one_vote_and_local_clocks_have_their_own() {
        let at = |server, host, reference| voter(server, host, reference, 0);
        let same = [9, 8, 7, 1];
        let (agreement, shared) = count(&[
            at(0, "192.0.2.1:123", same),
            at(1, "192.0.2.2:123", same),
            voter(2, "192.0.2.3:123", [9, 8, 7, 2], 500),
        ]);
        assert_eq!(agreement, Agreement::CannotTell { agree: 1, of: 2 });
        assert_eq!(shared, [Shared { servers: vec![0, 1], by: Common::Reference }]);
        for reference in [[127, 127, 1, 1], *b"GPS\0"] {
            let voters = ["192.0.2.1:123", "192.0.2.2:123"].map(|host| at(0, host, reference));
            assert_eq!(count(&voters).1, []);
        }
    }
}
