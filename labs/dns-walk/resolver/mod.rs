//! A resolver without sockets: clients' queries in, walks of a fleet, clients' replies out.
//!
//! | module | what it is for |
//! |---|---|
//! | [`admission`] | which clients are answered, and how often: pure |
//! | [`request`] | what a client's bytes are: pure |
//! | `answer` | the reply to a client, from a walk that has ended |
//! | `encode` | a reply as bytes, never longer than the client takes |
//!
//! # Contract
//! [`Resolver::handle_query`] takes what a client sent; [`Resolver::fleet_mut`] is driven as any
//! fleet; after either, [`Resolver::settle`], then [`Resolver::poll_reply`] until there is none.

pub mod admission;
mod answer;
mod encode;
pub mod request;

use super::batch::BatchResolver;
use super::dnssec::UnixSeconds;
use super::event::{Event, Record, Summary, Transport};
use super::outcome::Outcome;
use super::text::Question;
use crate::limits::at_most;
use admission::Admitted;
use encode::Extended;
use hickory_proto::op::ResponseCode;
use request::{Decision, Refusal, Request, decide};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use wirelab::measure::Instant;

/// How long a failure is repeated without another walk (RFC 9520 §3.2: at least 1 s, at most
/// 5 min).
pub const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// Failures kept: at 300 bytes each 3 MB; more are walked for again.
const FAILURES_MAX: usize = 10_000;

/// The client to reply to: the identifier that the driver gave the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(pub u64);

/// A reply to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The client.
    pub client: Client,
    /// The message, without the length that TCP puts before it.
    pub bytes: Vec<u8>,
}

/// Statistics of a resolver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Served {
    /// Queries that came over UDP.
    pub udp: u64,
    /// Queries that came over TCP.
    pub tcp: u64,
    /// Of all, answered with records, or with the fact that there are none.
    pub no_error: u64,
    /// Of all replies, those that say that they are proved (AD).
    pub authentic: u64,
    /// Answered: no such name.
    pub nx_domain: u64,
    /// Answered: the walk failed, or its data is bogus.
    pub serv_fail: u64,
    /// Of these, because what came is signed wrongly.
    pub bogus: u64,
    /// Of these, repeated from a cached failure.
    pub failed_before: u64,
    /// Of these, because too many questions were in flight.
    pub over_limit: u64,
    /// Not recursive, or of a class or type that is not served.
    pub refused: u64,
    /// Could not be read, or are of another operation or version.
    pub malformed: u64,
    /// ANY, answered with RFC 8482's record.
    pub any: u64,
    /// Not queries at all; they got no reply.
    pub ignored: u64,
    /// Replies with TC: the client asks again over TCP.
    pub truncated: u64,
    /// Over UDP, beyond the rate of replies: half of them got TC, the others nothing.
    pub rate_limited: u64,
}

/// A question in flight.
#[derive(Debug)]
struct Pending {
    client: Client,
    request: Request,
}

/// A cached failure.
#[derive(Debug)]
struct Failure {
    until: Instant,
    error: Option<Extended>,
}

/// A fleet that answers clients.
#[derive(Debug)]
pub struct Resolver {
    fleet: BatchResolver,
    questions_max: usize,
    pending: BTreeMap<u64, Pending>,
    failures: HashMap<Question, Failure>,
    replies: VecDeque<Reply>,
    records: VecDeque<(u64, Record)>,
    last: u64,
    served: Served,
}

impl Resolver {
    /// Answers from the walks of `batch`, with at most `questions_max` in flight: no more than the
    /// fleet has room for.
    #[must_use]
    pub fn new(fleet: BatchResolver, questions_max: u32) -> Self {
        Self {
            fleet,
            questions_max: at_most(questions_max),
            pending: BTreeMap::new(),
            failures: HashMap::new(),
            replies: VecDeque::new(),
            records: VecDeque::new(),
            last: 0,
            served: Served::default(),
        }
    }

    /// The walks, for the driver.
    pub const fn fleet_mut(&mut self) -> &mut BatchResolver {
        &mut self.fleet
    }

    /// The walks.
    #[must_use]
    pub const fn fleet(&self) -> &BatchResolver {
        &self.fleet
    }

    /// Statistics so far.
    #[must_use]
    pub const fn served(&self) -> Served {
        self.served
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.fleet.is_idle()
    }

    /// Signatures are judged at this time from now on, where they are judged.
    pub fn judge_at(&mut self, at: UnixSeconds) {
        self.fleet.judge_at(at);
    }

    /// A reply to send, until there is none.
    pub fn poll_reply(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }

    /// Next event of the walk for a question, numbered from 1; call until `None`.
    pub fn poll_record(&mut self) -> Option<(u64, Record)> {
        self.records.pop_front()
    }

    /// Bytes came from a client. True where a reply will follow, at once or later.
    pub fn handle_query(
        &mut self,
        now: Instant,
        client: Client,
        transport: Transport,
        bytes: &[u8],
    ) -> bool {
        let request = match decide(transport, bytes) {
            Decision::Ignore => {
                self.served.ignored += 1;
                return false;
            }
            Decision::Reply(bytes, why) => {
                self.count(transport);
                match why {
                    Refusal::Any => self.served.any += 1,
                    Refusal::NotRecursive | Refusal::NotServed => self.served.refused += 1,
                    _ => self.served.malformed += 1,
                }
                self.send(client, bytes);
                return true;
            }
            Decision::Ask(request) => request,
        };
        self.count(transport);
        if let Some(failure) = self.failures.get(&request.question).filter(|f| now < f.until)
            && !request.checking_disabled
        {
            // RFC 9520 §3.2. The cause is worth more than code 13 ("cached error") alone.
            let bytes = answer::fail(&request, failure.error.as_ref());
            self.served.serv_fail += 1;
            self.served.failed_before += 1;
            self.send(client, bytes);
            return true;
        }
        if self.pending.len() >= self.questions_max {
            let error = Extended::new(0, "too many questions are in flight");
            let bytes = answer::fail(&request, Some(&error));
            self.served.serv_fail += 1;
            self.served.over_limit += 1;
            self.send(client, bytes);
            return true;
        }
        self.last += 1;
        let question = request.question.clone();
        self.pending.insert(self.last, Pending { client, request: *request });
        self.fleet.ask(now, question, self.last);
        true
    }

    /// A datagram came from a client that is not to be answered. True where a reply will follow.
    pub fn turn_down(&mut self, client: Client, why: Admitted, bytes: &[u8]) -> bool {
        let Decision::Ask(request) = decide(Transport::Udp, bytes) else { return false };
        self.count(Transport::Udp);
        let reply = match why {
            Admitted::Refused => {
                self.served.refused += 1;
                request.refused()
            }
            Admitted::Yes | Admitted::Truncated | Admitted::No => {
                self.served.rate_limited += 1;
                if why == Admitted::No {
                    return false;
                }
                request.truncated()
            }
        };
        self.send(client, reply);
        true
    }

    /// Takes what the walks have to tell, and makes replies of it.
    pub fn settle(&mut self, now: Instant) {
        while let Some((tag, record)) = self.fleet.poll_event() {
            if let Event::Summary(summary) = &record.event
                && let Some(pending) = self.pending.remove(&tag)
            {
                self.conclude(now, &pending, summary);
            }
            if !self.fleet.walk_config().summary_only {
                self.records.push_back((tag, record));
            }
        }
    }

    fn conclude(&mut self, now: Instant, pending: &Pending, summary: &Summary) {
        let Pending { client, request } = pending;
        let (code, bytes) = answer::reply(now, request, summary, &self.fleet);
        match code {
            ResponseCode::NoError => self.served.no_error += 1,
            ResponseCode::NXDomain => self.served.nx_domain += 1,
            _ => {
                self.served.serv_fail += 1;
                self.served.bogus += u64::from(answer::is_bogus(summary));
                self.remember(now, request, summary);
            }
        }
        self.send(*client, bytes);
    }

    /// Keeps a failure, so that the zones' servers are not asked again at once (RFC 9520).
    fn remember(&mut self, now: Instant, request: &Request, summary: &Summary) {
        if summary.outcome == Outcome::Interrupted {
            return;
        }
        if self.failures.len() >= FAILURES_MAX {
            self.failures.retain(|_, failure| now < failure.until);
        }
        if self.failures.len() < FAILURES_MAX {
            let error = answer::error_of(summary);
            let failure = Failure { until: now + FAILURE_KEPT, error };
            self.failures.insert(request.question.clone(), failure);
        }
    }

    const fn count(&mut self, transport: Transport) {
        match transport {
            Transport::Udp => self.served.udp += 1,
            Transport::Tcp => self.served.tcp += 1,
        }
    }

    fn send(&mut self, client: Client, bytes: Vec<u8>) {
        // Flags as in RFC 1035 §4.1.1 and RFC 4035 §3.2.3.
        let flag = |at: usize, mask: u8| bytes.get(at).is_some_and(|byte| byte & mask != 0);
        self.served.truncated += u64::from(flag(2, 0x02));
        self.served.authentic += u64::from(flag(3, 0x20));
        self.replies.push_back(Reply { client, bytes });
    }
}
