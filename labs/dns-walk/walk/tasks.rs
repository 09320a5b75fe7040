//! The questions of a walk, the user's at the bottom, and what each asks a zone.

use super::queries::Attempt;
use crate::classify::Classified;
use crate::event::{AddressSource, Purpose, Qmin, Server, Way};
use crate::limits::{Budget, Limit, Limits, at_most, counted};
use crate::servers::Servers;
use crate::text::{Question, RecordText, name_text};
use hickory_proto::rr::{Name, RecordType};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

/// Minimised questions of one name, at most (RFC 9156 §2.3: MAX_MINIMISE_COUNT).
const MINIMISE_MAX: u32 = 10;
/// The first of them add one label each (RFC 9156 §2.3: MINIMISE_ONE_LAB).
const MINIMISE_ONE_LABEL: u32 = 4;

/// A server that a step may ask.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) name: Name,
    pub(super) address: SocketAddr,
    pub(super) source: AddressSource,
    pub(super) tries: u32,
    /// It replied and cannot help.
    pub(super) failed: bool,
    /// Its host takes no datagram; a connection was not tried yet.
    pub(super) refused: bool,
    /// Attempts in another way than the usual one, or that could have been.
    ways_tried: usize,
}

impl Candidate {
    /// A server that has not been asked.
    pub(super) const fn new(name: Name, address: SocketAddr, source: AddressSource) -> Self {
        Self { name, address, source, tries: 0, failed: false, refused: false, ways_tried: 0 }
    }

    /// As a record shows it.
    pub(super) fn shown(&self) -> Server {
        let (address, source) = (self.address, self.source.clone());
        Server { name: name_text(&self.name), address, source }
    }
}

/// A question put to a zone: a step.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) step: u32,
    pub(super) zone: Name,
    pub(super) sent: Question,
    pub(super) candidates: Vec<Candidate>,
    /// Servers without an address, and the type of address to walk for.
    pub(super) unresolved: VecDeque<(Name, RecordType)>,
    /// Servers whose address was walked for.
    walked_for: BTreeSet<Name>,
    pub(super) attempts: u32,
    pub(super) any_reply: bool,
    /// When another server is asked.
    pub(super) next_at: Instant,
    /// A reply that is good for nothing better, where no server gives a better one.
    pub(super) last_resort: Option<Box<(Attempt, Classified)>>,
}

/// Attempts at each server before silent ones are asked in other ways, and in all.
const USUAL_TRIES: u32 = 2;
const USUAL_ATTEMPTS: u32 = 8;

/// Order in which servers are tried, besides their measured speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// Attempts at one server, at most.
    pub(super) tries_max: u32,
    pub(super) seed: u64,
    /// Whether signatures are wanted: no server sends them without EDNS (RFC 3225 §3).
    pub(super) proof: bool,
}

impl Ask {
    /// A step that begins now.
    pub(super) fn new(
        step: u32,
        zone: Name,
        sent: Question,
        candidates: Vec<Candidate>,
        unresolved: VecDeque<(Name, RecordType)>,
        now: Instant,
    ) -> Self {
        let (walked_for, attempts, any_reply) = (BTreeSet::new(), 0, false);
        Self {
            step,
            zone,
            sent,
            candidates,
            unresolved,
            walked_for,
            attempts,
            any_reply,
            next_at: now,
            last_resort: None,
        }
    }

    /// The server to ask next: the least asked, then the fastest, then by draw. Where signatures
    /// are wanted, one that knows no EDNS counts as asked once more than it was.
    pub(super) fn best(&self, by: Order, servers: &Servers) -> Option<usize> {
        let usable = |(_, candidate): &(usize, &Candidate)| {
            !candidate.failed && candidate.tries < by.tries_max
        };
        let order = |(_, candidate): &(usize, &Candidate)| {
            let draw = keyed(by.seed ^ u64::from(self.step), address_key(candidate.address));
            let unsigned = by.proof && servers.get(candidate.address).no_edns;
            let tries = candidate.tries + u32::from(unsigned);
            (tries, servers.cost_ns(candidate.address), draw)
        };
        self.candidates.iter().enumerate().filter(usable).min_by_key(order).map(|(at, _)| at)
    }

    /// How to ask the server at `at`, which is silent: the usual way until each server was
    /// asked twice, then every other way in turn. `None` is the usual way.
    pub(super) fn next_way(&mut self, at: usize, ways: &[Way]) -> Option<Way> {
        let usual = self.candidates.iter().any(|one| !one.failed && one.tries < USUAL_TRIES)
            && self.attempts < USUAL_ATTEMPTS;
        if usual {
            return None;
        }
        let candidate = &mut self.candidates[at];
        candidate.ways_tried += 1;
        ways.get((candidate.ways_tried - 1) % (ways.len() + 1)).copied()
    }

    /// A server whose host takes no datagram, to be tried over TCP; each once.
    pub(super) fn next_refused(&mut self) -> Option<usize> {
        let at = self.candidates.iter().position(|candidate| candidate.refused)?;
        self.candidates[at].refused = false;
        Some(at)
    }

    /// The next server to walk for, of as many as the limits allow. A server that has no address of
    /// one family is asked for the other, and is still one server.
    pub(super) fn next_unresolved(
        &mut self,
        limits: &Limits,
        budget: &mut Budget,
    ) -> Option<(Name, RecordType)> {
        let full = counted(self.walked_for.len()) >= u64::from(limits.glueless);
        let may = |(name, _): &(Name, RecordType)| !full || self.walked_for.contains(name);
        let Some(at) = self.unresolved.iter().position(may) else {
            if !self.unresolved.is_empty() {
                budget.refuse(Limit::Glueless);
            }
            return None;
        };
        let (name, kind) = self.unresolved.remove(at)?;
        self.walked_for.insert(name.clone());
        budget.spend(Limit::Glueless, counted(self.walked_for.len()));
        Some((name, kind))
    }

    /// The server at `address` cannot help; whether another may.
    pub(super) fn give_up(&mut self, address: SocketAddr) -> bool {
        for candidate in self.candidates.iter_mut().filter(|c| c.address == address) {
            candidate.failed = true;
        }
        self.candidates.iter().any(|candidate| !candidate.failed)
    }

    /// The query to `address` was not sent.
    pub(super) fn take_back(&mut self, now: Instant, address: SocketAddr) {
        self.attempts -= 1;
        self.next_at = now;
        for candidate in self.candidates.iter_mut().filter(|c| c.address == address) {
            candidate.tries = candidate.tries.saturating_sub(1);
        }
    }
}

/// A name that a server denied: the zone, the server, the step.
#[derive(Clone, Debug)]
pub(super) struct Denied {
    pub(super) name: Name,
    pub(super) zone: String,
    pub(super) server: (String, SocketAddr),
    pub(super) step: u32,
}

/// A question to be answered.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) parent: Option<u32>,
    pub(super) purpose: Purpose,
    pub(super) asked_first: Question,
    pub(super) question: Question,
    /// Names that aliases led through.
    pub(super) seen: Vec<Name>,
    pub(super) aliases: Vec<RecordText>,
    pub(super) referrals: u32,
    /// The zone that the last referral led to.
    pub(super) referred_to: Option<Name>,
    /// The server that referred there.
    pub(super) referred_by: Option<Name>,
    /// Zones for whose servers addresses were looked up beside the glue that fails.
    pub(super) glue_doubted: BTreeSet<Name>,
    /// Zones whose own list of servers was given up.
    pub(super) fallen_back: BTreeSet<Name>,
    /// Servers whose referrals led to no address.
    pub(super) excluded: BTreeSet<Name>,
    /// The zone that they referred to.
    pub(super) dead_end: Option<Name>,
    /// A name above the question's that a server denied, and where.
    pub(super) denied: Option<Denied>,
    /// Labels of the name that the servers of the zone have been sent already.
    pub(super) labels_sent: usize,
    /// Minimised questions so far.
    pub(super) minimised: u32,
    pub(super) ask: Option<Ask>,
}

impl Task {
    /// A question not yet begun.
    pub(super) fn new(question: Question, purpose: Purpose, parent: Option<u32>) -> Self {
        Self {
            parent,
            purpose,
            seen: vec![question.name.clone()],
            asked_first: question.clone(),
            question,
            aliases: Vec::new(),
            referrals: 0,
            referred_to: None,
            referred_by: None,
            glue_doubted: BTreeSet::new(),
            fallen_back: BTreeSet::new(),
            excluded: BTreeSet::new(),
            dead_end: None,
            denied: None,
            labels_sent: 0,
            minimised: 0,
            ask: None,
        }
    }

    /// The minimised question for the servers of `zone` (RFC 9156 §2.3).
    pub(super) fn minimise(&self, qmin: Qmin, zone: &Name) -> Question {
        let question = &self.question;
        let sent = self.labels_sent.max(zone.iter().len());
        let left = question.name.iter().len().saturating_sub(sent);
        if qmin == Qmin::Off || left <= 1 || self.minimised >= MINIMISE_MAX {
            return question.clone();
        }
        let add = if self.minimised < MINIMISE_ONE_LABEL {
            1
        } else {
            let rounds = MINIMISE_MAX - self.minimised;
            left.div_ceil(at_most(rounds))
        };
        if add >= left {
            return question.clone();
        }
        // A is what most questions are for, so it stands out least.
        Question::new(question.name.trim_to(sent + add), RecordType::A)
    }

    /// Continues with another name from its own start.
    pub(super) fn rename(&mut self, target: Name) {
        self.seen.push(target.clone());
        self.question.name = target;
        (self.labels_sent, self.minimised, self.referred_to) = (0, 0, None);
        (self.referred_by, self.dead_end) = (None, None);
    }
}

/// The tasks of a walk: each waits for the one above it.
#[derive(Clone, Debug)]
pub(super) struct Tasks(Vec<Task>);

impl Tasks {
    /// The user's question alone.
    pub(super) fn new(question: Question) -> Self {
        Self(vec![Task::new(question, Purpose::Answer, None)])
    }

    pub(super) fn top(&self) -> Option<&Task> {
        self.0.last()
    }

    pub(super) fn top_mut(&mut self) -> Option<&mut Task> {
        self.0.last_mut()
    }

    /// The task at a place from the bottom.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Task> {
        self.0.get_mut(place)
    }

    /// The step of the top task.
    pub(super) fn top_ask_mut(&mut self) -> Option<&mut Ask> {
        self.0.last_mut()?.ask.as_mut()
    }

    pub(super) fn push(&mut self, task: Task) {
        self.0.push(task);
    }

    pub(super) fn pop(&mut self) -> Option<Task> {
        self.0.pop()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many there are.
    pub(super) fn depth(&self) -> u64 {
        counted(self.0.len())
    }

    /// The place of the task whose step this is, from the bottom.
    pub(super) fn place_of(&self, step: u32) -> Option<usize> {
        let owns = |task: &Task| task.ask.as_ref().is_some_and(|ask| ask.step == step);
        self.0.iter().position(owns)
    }

    /// Takes off the tasks above `place`; their steps, the top one first.
    pub(super) fn cut_above(&mut self, place: usize) -> Vec<u32> {
        let above = self.0.split_off((place + 1).min(self.0.len()));
        above.into_iter().rev().filter_map(|task| task.ask).map(|ask| ask.step).collect()
    }

    /// The step of that number, if it goes on.
    pub(super) fn ask_mut(&mut self, step: u32) -> Option<&mut Ask> {
        let mut asks = self.0.iter_mut().filter_map(|task| task.ask.as_mut());
        asks.find(|ask| ask.step == step)
    }

    /// Whether a task asks for the zone's own list of servers, or for their addresses.
    pub(super) fn asks_for_list_of(&self, zone: &Name) -> bool {
        self.0.iter().any(|task| match &task.purpose {
            Purpose::OwnServers { zone: of } => *of == name_text(zone),
            _ => false,
        })
    }

    /// Whether a task looks for the address of this server already.
    pub(super) fn waits_for(&self, subject: &str) -> bool {
        self.0.iter().any(|task| match &task.purpose {
            Purpose::Address { server, .. } => server == subject,
            _ => false,
        })
    }
}

/// A number for an address, to order equals by draw.
fn address_key(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let parts = v6.segments().into_iter().map(u64::from);
            parts.fold(0_u64, |key, part| key.rotate_left(13) ^ part)
        }
    };
    ip << 16 ^ u64::from(address.port())
}
