//! Queries on their way: made, sent within the budget, and open until a reply or the end.

use super::event_log::EventLog;
use super::setup::Setup;
use crate::cookie::Cookie;
use crate::event::{Class, Exchange, Purpose, Server, Transport, Way};
use crate::limits::Limit;
use crate::question;
use crate::servers::{PATIENCE_FIRST, PATIENCE_TCP, ServerState, Servers};
use crate::text::{Asked, Question, kind_text, name_text};
use hickory_proto::rr::Name;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::{Instant, nanos};

/// One query, and the socket that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

/// A query to send, from a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The name of its socket.
    pub attempt: AttemptId,
    /// Where to.
    pub to: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The message, without the length that TCP puts before it.
    pub bytes: Vec<u8>,
}

/// The owner of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The step of a task.
    Step(u32),
    /// A probe of the check after the answer.
    Probe(usize),
}

/// A query about to be made: which server, what, how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) owner: Owner,
    pub(super) step: u32,
    pub(super) number: u32,
    pub(super) parent: Option<u32>,
    pub(super) purpose: Purpose,
    pub(super) zone: Name,
    pub(super) sent: Question,
    pub(super) meant: Question,
    pub(super) server: Server,
    pub(super) transport: Transport,
    pub(super) edns: bool,
    /// The fallback used, if any.
    pub(super) way: Option<Way>,
}

/// Why a query was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The budget of queries is spent.
    OverBudget,
    /// Only a name that came from the network could fail to be encoded again.
    Unencodable(Name),
}

/// A query that waits for its reply.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) owner: Owner,
    /// The record of it, complete but for the reply.
    pub(super) record: Exchange,
    pub(super) query: Vec<u8>,
    pub(super) sent: Question,
    pub(super) meant: Question,
    pub(super) zone: Name,
    pub(super) edns: bool,
    pub(super) cookie: Option<Cookie>,
    pub(super) way: Option<Way>,
    due: Instant,
    overdue: bool,
}

impl Attempt {
    /// Marks the query as overdue once its time is up; a late reply still counts.
    fn expire(&mut self, now: Instant, servers: &mut Servers) {
        if !self.overdue && self.due <= now {
            self.overdue = true;
            servers.overdue(self.record.server.address, self.record.sent_ns);
        }
    }

    /// Where it went.
    pub(super) const fn to(&self) -> SocketAddr {
        self.record.server.address
    }

    pub(super) fn is_udp(&self) -> bool {
        self.record.transport == Transport::Udp
    }
}

/// All queries of a walk.
#[derive(Debug, Default)]
pub(super) struct Queries {
    /// Boxed: a node of the tree has room for eleven, and most walks have one.
    open: BTreeMap<AttemptId, Box<Attempt>>,
    transmits: VecDeque<Transmit>,
    released: VecDeque<AttemptId>,
}

impl Queries {
    /// Makes and sends a query; the time until which to wait for its reply.
    pub(super) fn send(
        &mut self,
        now: Instant,
        plan: Plan,
        setup: &Setup,
        servers: &Servers,
        log: &mut EventLog,
    ) -> Result<Instant, Unsent> {
        let config = &setup.config;
        if log.queries >= config.limits.queries {
            log.budget.refuse(Limit::Queries);
            return Err(Unsent::OverBudget);
        }
        let id = AttemptId(log.next_attempt());
        let draw = setup.query_draw(id.0, plan.step);
        let [a, b, ..] = draw.to_le_bytes();
        let mut sent = plan.sent.clone();
        // A connection needs no further proof.
        if config.random_case && plan.transport == Transport::Udp {
            sent.name = question::random_case(&sent.name, draw);
        }
        let to = plan.server.address;
        let first = || Cookie::first(setup.seed, config.secret.as_ref(), to);
        let given = || servers.get(to).cookie.unwrap_or_else(first);
        let cookies = config.cookies && plan.edns && !servers.get(to).no_cookie;
        let cookie = cookies.then(given);
        let (number, proof) = (u16::from_le_bytes([a, b]), setup.wants_proof());
        let Some(query) = question::encode(number, &sent, plan.edns, proof, cookie.as_ref()) else {
            return Err(Unsent::Unencodable(plan.zone));
        };
        let patience = patience(servers, plan.owner, plan.transport, to);
        let due = now + patience;
        let mut record = record_of(&plan, &sent, now, patience, query.len());
        record.messages = log.keep_query(&config.limits, &query);
        log.sent(&record);
        let Plan { owner, zone, edns, transport, meant, way, .. } = plan;
        self.transmits.push_back(Transmit { attempt: id, to, transport, bytes: query.clone() });
        let overdue = false;
        let attempt =
            Attempt { owner, record, query, sent, meant, zone, edns, cookie, way, due, overdue };
        self.open.insert(id, Box::new(attempt));
        Ok(due)
    }

    /// A query to send, until there is none. One that was released before it was sent is not.
    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            let transmit = self.transmits.pop_front()?;
            if self.is_open(transmit.attempt) {
                return Some(transmit);
            }
        }
    }

    /// A socket that is no longer needed, until there is none.
    pub(super) fn poll_release(&mut self) -> Option<AttemptId> {
        self.released.pop_front()
    }

    pub(super) fn get(&self, id: AttemptId) -> Option<&Attempt> {
        self.open.get(&id).map(Box::as_ref)
    }

    pub(super) fn is_open(&self, id: AttemptId) -> bool {
        self.open.contains_key(&id)
    }

    /// Whether a query has waited longer than its server deserves; a late reply still counts.
    pub(super) fn is_overdue(&self, id: AttemptId) -> bool {
        self.get(id).is_some_and(|attempt| attempt.overdue)
    }

    /// When a query will be overdue; none once it is.
    pub(super) fn due(&self, id: AttemptId) -> Option<Instant> {
        self.get(id).filter(|attempt| !attempt.overdue).map(|attempt| attempt.due)
    }

    /// Marks what is overdue, of the queries that `which` is true of.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        servers: &mut Servers,
        which: impl Fn(AttemptId) -> bool,
    ) {
        for (_, attempt) in self.open.iter_mut().filter(|(id, _)| which(**id)) {
            attempt.expire(now, servers);
        }
    }

    /// Whether a query of `owner` is open that is not overdue.
    pub(super) fn is_waiting(&self, owner: Owner) -> bool {
        self.open.values().any(|other| other.owner == owner && !other.overdue)
    }

    /// Usual queries of a step at one server that are overdue.
    pub(super) fn silent(&self, step: u32, address: SocketAddr) -> u32 {
        let is_silent = |open: &Attempt| {
            open.record.step == step && open.to() == address && open.overdue && open.way.is_none()
        };
        let silent = self.open.values().filter(|open| is_silent(open)).count();
        u32::try_from(silent).expect("invariant: a step has few attempts")
    }

    /// A reply came, or the network said that there will be none: the socket is released.
    pub(super) fn take(&mut self, id: AttemptId) -> Option<Attempt> {
        let attempt = self.open.remove(&id)?;
        self.released.push_back(id);
        Some(*attempt)
    }

    /// The query was not sent, and counts for nothing.
    pub(super) fn withdraw(&mut self, id: AttemptId, log: &mut EventLog) -> Option<Attempt> {
        let attempt = self.open.remove(&id)?;
        log.withdrawn(&attempt.record);
        Some(*attempt)
    }

    /// The query of `id` goes out only now; what to send, and until when to wait.
    pub(super) fn resume(
        &mut self,
        now: Instant,
        id: AttemptId,
        servers: &Servers,
    ) -> Option<(Transmit, Instant)> {
        let attempt = self.open.get_mut(&id)?;
        let (to, transport) = (attempt.to(), attempt.record.transport);
        let patience = patience(servers, attempt.owner, transport, to);
        let due = now + patience;
        (attempt.record.sent_ns, attempt.record.patience_ns) = (now, nanos(patience));
        (attempt.due, attempt.overdue) = (due, false);
        let bytes = attempt.query.clone();
        Some((Transmit { attempt: id, to, transport, bytes }, due))
    }

    /// Ends attempts without a reply, and their sockets.
    pub(super) fn close(
        &mut self,
        now: Instant,
        log: &mut EventLog,
        which: impl Fn(Owner) -> bool,
    ) {
        let open = self.open.iter().filter(|(_, attempt)| which(attempt.owner));
        let ids: Vec<AttemptId> = open.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut attempt) = self.take(id) else { continue };
            let late = attempt.overdue || attempt.due <= now;
            attempt.record.class = if late { Class::NoReply } else { Class::Overtaken };
            log.ended(now, attempt.record);
        }
    }
}

/// The record of a query that has no reply yet.
fn record_of(
    plan: &Plan,
    sent: &Question,
    now: Instant,
    patience: Duration,
    bytes: usize,
) -> Exchange {
    Exchange {
        step: plan.step,
        parent: plan.parent,
        purpose: plan.purpose.clone(),
        zone: name_text(&plan.zone),
        sent: Asked { name: sent.name.to_ascii(), kind: kind_text(sent.kind) },
        meant: plan.meant.text(),
        server: plan.server.clone(),
        transport: plan.transport,
        attempt: plan.number,
        sent_ns: now,
        rtt_ns: None,
        patience_ns: nanos(patience),
        bytes_sent: u32::try_from(bytes).expect("invariant: a query is at most 65,535 bytes"),
        bytes_received: None,
        rcode: None,
        flags: Vec::new(),
        edns: None,
        class: Class::NoReply,
        learned: Vec::new(),
        dropped: Vec::new(),
        messages: None,
    }
}

/// Transport of a query to a server, and whether with EDNS.
pub(super) const fn carrier(setup: &Setup, state: ServerState) -> (Transport, bool) {
    let tcp = setup.config.tcp || state.case_lost || state.tcp_only;
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    (transport, setup.config.edns && !state.no_edns)
}

/// How long to wait for a reply to a query.
fn patience(servers: &Servers, owner: Owner, transport: Transport, to: SocketAddr) -> Duration {
    match transport {
        // A probe need not save packets: loss is what it must see through.
        Transport::Udp if matches!(owner, Owner::Probe(_)) => {
            servers.patience(to).min(PATIENCE_FIRST)
        }
        Transport::Udp => servers.patience(to),
        Transport::Tcp => PATIENCE_TCP,
    }
}
