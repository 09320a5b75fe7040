//! Many walks at once, with one memory: which begins, which waits, and what is sent.
//!
//! # Contract
//! As [`Walk`]'s, for many. [`BatchResolver::ask`] is the command; `handle_*` takes what the
//! network and the clock bring; then drain `poll_transmit`, `poll_release`, `poll_event`, and call
//! [`BatchResolver::handle_timeout`] at [`BatchResolver::poll_timeout`].
//!
//! # Queues
//! A walk whose query equals one in flight is a *follower*: it waits for the walk that leads, at
//! most [`LEAD_MAX`], takes its query back and looks at what is known by then. A walk that would
//! give a server more than [`BatchConfig::per_server`] queues for its turn: then its query goes out
//! as it is, unless the answer is known by then or the server has fallen silent. Were it to choose
//! a server again each time, a lossy path would move all that wait from one queue to the other and
//! back. The time of a walk runs on while it waits, so every walk ends.

use super::cache::{Cache, Seeded};
use super::dnssec::UnixSeconds;
use super::event::{Event, Record, Summary, Transport, VERSION};
use super::hints::Hints;
use super::outcome::Outcome;
use super::text::Question;
use super::walk::{AttemptId, Knowledge, Transmit, Walk, WalkConfig};
use crate::limits::{at_most, counted};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, nanos};

/// A walk leads a question for so long; then a follower asks itself. Longer than the patience with
/// any server ([`PATIENCE_MAX`](crate::servers::PATIENCE_MAX)).
pub const LEAD_MAX: Duration = Duration::from_secs(2);

/// Questions between two looks at how full the cache is; each adds a few dozen entries.
const ROOM_EVERY: u32 = 256;

/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// How many at once, and how each walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// How each walks.
    pub walk: WalkConfig,
    /// Walks in flight, at most.
    pub in_flight: u32,
    /// Queries at one server at a time, at most: a server that is slow is asked less.
    pub per_server: u32,
}

impl Default for BatchConfig {
    /// 2,000 walks, 100 queries at a server: a server 20 ms away is asked 5,000 times a second.
    fn default() -> Self {
        let mut walk = WalkConfig { summary_only: true, ..WalkConfig::default() };
        // About 1 KiB each; the servers of half as many zones.
        walk.limits.cache_entries = 200_000;
        Self { walk, in_flight: 2_000, per_server: 100 }
    }
}

/// One walk of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct TaskId(u32);

/// One query of one walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId {
    walk: TaskId,
    attempt: AttemptId,
}

/// A query to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The name of the query.
    pub query: QueryId,
    /// Where to.
    pub to: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The message, without the length that TCP puts before it.
    pub bytes: Vec<u8>,
}

/// Counters of questions and their outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Questions taken.
    pub asked: u64,
    /// Walks that ended, of those questions.
    pub ended: u64,
    /// Of these, with the records asked for.
    pub answers: u64,
    /// With the proof that there is no such name or record.
    pub absences: u64,
    /// Without any server that replied.
    pub unreachable: u64,
    /// Stopped by the user.
    pub interrupted: u64,
    /// Questions that were in flight already and got the same result.
    pub twins: u64,
    /// Queries sent.
    pub queries: u64,
    /// Queries that repeat a question.
    pub retries: u64,
    /// Queries without a reply.
    pub unanswered: u64,
    /// Queries that were not sent because another walk's was in flight.
    pub coalesced: u64,
    /// Queries that had to wait for their server's turn.
    pub held: u64,
    /// Walks in flight at once, the most.
    pub in_flight_max: u64,
}

impl Stats {
    /// Walks that ended with neither an answer nor the proof that there is none.
    #[must_use]
    pub const fn inconclusive(&self) -> u64 {
        self.ended - self.answers - self.absences
    }
}

/// A query that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    attempt: AttemptId,
    to: SocketAddr,
    /// Hash of its question: two that are taken for equal cost a wait, no more.
    question: u64,
    /// It takes a place at its server: it is not overdue.
    counted: bool,
}

/// A walk in flight.
#[derive(Debug)]
struct Running {
    walk: Walk,
    tag: u64,
    question: Question,
    begun: Instant,
    /// Others who asked the same.
    twins: Vec<(u64, Instant)>,
    sent: Vec<Sent>,
    /// Queries that wait for others.
    parked: Vec<AttemptId>,
    /// A parked walk waits no longer than that.
    parked_until: Instant,
    /// The earliest time at which the alarm is set for it.
    alarm: Option<Instant>,
}

/// A question in flight.
#[derive(Debug)]
struct Lead {
    walk: TaskId,
    /// Queries of that walk with this question.
    open: u32,
    since: Instant,
    followers: Vec<QueryId>,
}

/// A server that is being asked.
#[derive(Debug, Default)]
struct Busy {
    open: u32,
    waiting: VecDeque<QueryId>,
}

/// Walks that may continue.
#[derive(Clone, Copy, Debug)]
enum Wake {
    Follower(QueryId),
    NextAt(SocketAddr),
}

/// Many walks.
#[derive(Debug)]
pub struct BatchResolver {
    config: BatchConfig,
    hints: Arc<Hints>,
    seed: u64,
    knowledge: Knowledge,
    running: BTreeMap<TaskId, Box<Running>>,
    in_flight: HashMap<Question, TaskId, Seeded>,
    leads: HashMap<u64, Lead, Seeded>,
    busy: HashMap<SocketAddr, Busy, Seeded>,
    alarms: BinaryHeap<Reverse<(Instant, TaskId)>>,
    wakes: VecDeque<Wake>,
    transmits: VecDeque<Send>,
    released: VecDeque<QueryId>,
    events: VecDeque<(u64, Record)>,
    last: u32,
    stats: Stats,
}

impl BatchResolver {
    /// Nothing in flight; `cache` is what earlier walks learned.
    #[must_use]
    pub fn new(config: BatchConfig, hints: impl Into<Arc<Hints>>, seed: u64, cache: Cache) -> Self {
        // A client that can predict a table's order can fill one place of it.
        let order = config.walk.secret.map_or(seed, |secret| secret.for_tables());
        let hash = Seeded(order);
        Self {
            config,
            hints: hints.into(),
            seed,
            knowledge: Knowledge::new(cache.keyed(order)),
            running: BTreeMap::new(),
            in_flight: HashMap::with_hasher(hash),
            leads: HashMap::with_hasher(hash),
            busy: HashMap::with_hasher(hash),
            alarms: BinaryHeap::new(),
            wakes: VecDeque::new(),
            transmits: VecDeque::new(),
            released: VecDeque::new(),
            events: VecDeque::new(),
            last: 0,
            stats: Stats::default(),
        }
    }

    /// Whether another question may be asked now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.running.len() < at_most(self.config.in_flight)
    }

    /// Whether nothing is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Statistics so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Knowledge so far.
    #[must_use]
    pub const fn cache(&self) -> &Cache {
        self.knowledge.cache()
    }

    /// How each walks.
    #[must_use]
    pub const fn walk_config(&self) -> &WalkConfig {
        &self.config.walk
    }

    /// Walks that begin from now on judge signatures at this time, where they judge at all.
    pub fn judge_at(&mut self, at: UnixSeconds) {
        if let Some(judged) = &mut self.config.walk.validate_at {
            *judged = at;
        }
    }

    /// Knowledge so far.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.knowledge.into_cache()
    }

    /// Asks a question; its records come with `tag`, the last one is the summary.
    pub fn ask(&mut self, now: Instant, question: Question, tag: u64) {
        self.stats.asked += 1;
        if let Some(twin) = self.in_flight.get(&question)
            && let Some(running) = self.running.get_mut(twin)
        {
            running.twins.push((tag, now));
            return;
        }
        self.last = self.last.wrapping_add(1);
        if self.last.is_multiple_of(ROOM_EVERY) {
            self.knowledge.make_room(now, self.config.walk.limits.cache_entries);
        }
        let task = TaskId(self.last);
        let seed = keyed(self.seed, u64::from(self.last));
        let (config, hints) = (self.config.walk, Arc::clone(&self.hints));
        let walk = Walk::sharing(config, hints, &question, seed, &mut self.knowledge, now);
        self.in_flight.insert(question.clone(), task);
        let running = Running {
            walk,
            tag,
            question,
            begun: now,
            twins: Vec::new(),
            sent: Vec::new(),
            parked: Vec::new(),
            parked_until: now,
            alarm: None,
        };
        self.running.insert(task, Box::new(running));
        let in_flight = counted(self.running.len());
        self.stats.in_flight_max = self.stats.in_flight_max.max(in_flight);
        self.attend(now, task);
        self.wake(now);
    }

    /// A query to send, until there is none. One that was released before it was sent is not.
    pub fn poll_transmit(&mut self) -> Option<Send> {
        loop {
            let send = self.transmits.pop_front()?;
            if self.is_open(send.query) {
                return Some(send);
            }
        }
    }

    /// A query that no longer waits, until there is none.
    pub fn poll_release(&mut self) -> Option<QueryId> {
        self.released.pop_front()
    }

    /// Next event of the question with that tag; call until `None`.
    pub fn poll_event(&mut self) -> Option<(u64, Record)> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Whether a query still waits for its reply.
    #[must_use]
    pub fn is_open(&self, query: QueryId) -> bool {
        let running = self.running.get(&query.walk);
        running.is_some_and(|running| running.sent.iter().any(|s| s.attempt == query.attempt))
    }

    /// Bytes came for a query.
    pub fn handle_reply(&mut self, now: Instant, query: QueryId, from: SocketAddr, bytes: &[u8]) {
        self.drive(now, query.walk, |walk| walk.handle_reply(now, query.attempt, from, bytes));
    }

    /// The network or the host said that nothing listens where `query` went.
    pub fn handle_unreachable(&mut self, now: Instant, query: QueryId, why: &str) {
        self.drive(now, query.walk, |walk| walk.handle_unreachable(now, query.attempt, why));
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) said.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(Reverse((at, task))) = self.alarms.peek().copied() {
            if at > now {
                return;
            }
            self.alarms.pop();
            let Some(running) = self.running.get_mut(&task).filter(|r| r.alarm == Some(at)) else {
                continue;
            };
            running.alarm = None;
            let over = now >= running.walk.deadline();
            if running.parked.is_empty() || over {
                let due = running.walk.poll_timeout().is_some_and(|due| due <= now);
                self.drive(now, task, |walk| {
                    if due {
                        walk.handle_timeout(now);
                    }
                });
            } else if now >= running.parked_until {
                self.unpark(now, task);
            } else {
                // A parked walk may wait for the place that its own lost query holds.
                self.expire(now, task);
                self.set_alarm(task);
                self.wake(now);
            }
        }
    }

    /// Marks the queries of a parked walk whose time is up, and frees their places.
    fn expire(&mut self, now: Instant, task: TaskId) {
        let Some(running) = self.running.get_mut(&task) else { return };
        let sent: Vec<AttemptId> = running.sent.iter().map(|sent| sent.attempt).collect();
        running.walk.with(&mut self.knowledge, |walk| walk.expire(now, &sent));
        self.uncount_overdue(task);
    }

    /// Cancels the walk at the user's request.
    pub fn cancel(&mut self, now: Instant) {
        let all: Vec<TaskId> = self.running.keys().copied().collect();
        for task in all {
            self.drive(now, task, |walk| walk.cancel(now));
        }
    }

    fn drive(&mut self, now: Instant, task: TaskId, work: impl FnOnce(&mut Walk)) {
        let Some(running) = self.running.get_mut(&task) else { return };
        running.walk.with(&mut self.knowledge, work);
        self.attend(now, task);
        self.wake(now);
    }

    /// Collects a walk's output after an input.
    fn attend(&mut self, now: Instant, task: TaskId) {
        // Transmissions first: a walk that retries stays the leader.
        while let Some(running) = self.running.get_mut(&task)
            && let Some(transmit) = running.walk.poll_transmit()
        {
            self.dispatch(now, task, transmit);
        }
        while let Some(running) = self.running.get_mut(&task)
            && let Some(attempt) = running.walk.poll_release()
        {
            self.release(task, attempt);
        }
        let Some(running) = self.running.get_mut(&task) else { return };
        while let Some(record) = running.walk.poll_event() {
            self.events.push_back((running.tag, record));
        }
        if running.walk.is_done() {
            self.finish(now, task);
        } else {
            self.set_alarm(task);
        }
    }

    /// Sends a query, or lets it wait.
    fn dispatch(&mut self, now: Instant, task: TaskId, transmit: Transmit) {
        let Transmit { attempt, to, transport, bytes } = transmit;
        let query = QueryId { walk: task, attempt };
        let question = self.question_of(&bytes);
        self.uncount_overdue(task);
        let Some(running) = self.running.get_mut(&task) else { return };
        // A query over TCP follows its own truncated datagram and must not wait again.
        let may_wait = transport == Transport::Udp || self.config.walk.tcp;
        if may_wait && running.walk.is_prime(attempt) {
            let waits = |lead: &Lead| lead.walk != task && now < lead.since + LEAD_MAX;
            let full = |busy: &Busy| busy.open >= self.config.per_server;
            if self.leads.get(&question).is_some_and(waits) || self.busy.get(&to).is_some_and(full)
            {
                running.walk.with(&mut self.knowledge, |walk| walk.forgo_prime(attempt));
                return;
            }
        }
        if may_wait {
            if let Some(lead) = self.leads.get_mut(&question)
                && lead.walk != task
                && now < lead.since + LEAD_MAX
            {
                lead.followers.push(query);
                running.parked.push(attempt);
                running.parked_until = lead.since + LEAD_MAX;
                self.stats.coalesced += 1;
                return;
            }
            let busy = self.busy.entry(to).or_default();
            if busy.open >= self.config.per_server {
                busy.waiting.push_back(query);
                running.parked.push(attempt);
                running.parked_until = running.walk.deadline();
                self.stats.held += 1;
                return;
            }
        }
        self.busy.entry(to).or_default().open += 1;
        let lead = self.leads.entry(question).or_insert_with(|| Lead {
            walk: task,
            open: 0,
            since: now,
            followers: Vec::new(),
        });
        if lead.walk != task {
            (lead.walk, lead.open, lead.since) = (task, 0, now);
        }
        lead.open += 1;
        running.sent.push(Sent { attempt, to, question, counted: true });
        self.transmits.push_back(Send { query, to, transport, bytes });
    }

    /// A hash of the question in a query, whatever its capitals.
    fn question_of(&self, query: &[u8]) -> u64 {
        let mut hasher = Seeded(self.seed).build_hasher();
        let bytes = query.get(HEADER..).unwrap_or_default();
        let name = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        for byte in &bytes[..name] {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        // The final label of the root, the type, the class.
        bytes.get(name..name + 5).unwrap_or_default().hash(&mut hasher);
        hasher.finish()
    }

    /// A query of the walk is over, whether it was sent or waits.
    fn release(&mut self, task: TaskId, attempt: AttemptId) {
        let Some(running) = self.running.get_mut(&task) else { return };
        running.parked.retain(|parked| *parked != attempt);
        let Some(at) = running.sent.iter().position(|sent| sent.attempt == attempt) else { return };
        let Sent { to, question, counted, .. } = running.sent.swap_remove(at);
        self.released.push_back(QueryId { walk: task, attempt });
        if counted {
            self.leave(to);
        }
        let Some(lead) = self.leads.get_mut(&question).filter(|lead| lead.walk == task) else {
            return;
        };
        lead.open -= 1;
        if lead.open == 0
            && let Some(lead) = self.leads.remove(&question)
        {
            self.wakes.extend(lead.followers.into_iter().map(Wake::Follower));
        }
    }

    /// A query slot of a server is free.
    fn leave(&mut self, server: SocketAddr) {
        let Some(busy) = self.busy.get_mut(&server) else { return };
        busy.open -= 1;
        if !busy.waiting.is_empty() {
            self.wakes.push_back(Wake::NextAt(server));
        } else if busy.open == 0 {
            self.busy.remove(&server);
        }
    }

    /// What was lost burdens no server. Else walks that wait for places would hold them all.
    fn uncount_overdue(&mut self, task: TaskId) {
        let Some(running) = self.running.get_mut(&task) else { return };
        let mut left = Vec::new();
        for sent in running.sent.iter_mut().filter(|sent| sent.counted) {
            if running.walk.is_overdue(sent.attempt) {
                sent.counted = false;
                left.push(sent.to);
            }
        }
        left.into_iter().for_each(|server| self.leave(server));
    }

    /// Lets all go on who may: not by recursion, for one reply may free ten thousand.
    fn wake(&mut self, now: Instant) {
        while let Some(wake) = self.wakes.pop_front() {
            match wake {
                Wake::Follower(query) => self.go_on(now, query),
                Wake::NextAt(server) => {
                    let Some(busy) = self.busy.get_mut(&server) else { continue };
                    if busy.open >= self.config.per_server {
                        continue;
                    }
                    let Some(query) = busy.waiting.pop_front() else { continue };
                    // It may no longer need it; then the next one has the place.
                    self.wakes.push_front(Wake::NextAt(server));
                    self.take_turn(now, query);
                }
            }
        }
    }

    /// A query that waited is taken back, and its walk looks again.
    fn go_on(&mut self, now: Instant, query: QueryId) {
        let Some(running) = self.running.get_mut(&query.walk) else { return };
        let Some(at) = running.parked.iter().position(|parked| *parked == query.attempt) else {
            return;
        };
        running.parked.swap_remove(at);
        running.walk.with(&mut self.knowledge, |walk| walk.withdraw(now, query.attempt));
        self.attend(now, query.walk);
    }

    /// A query that waited for its server's turn goes out, if its walk still wants that.
    fn take_turn(&mut self, now: Instant, query: QueryId) {
        let Some(running) = self.running.get_mut(&query.walk) else { return };
        let Some(at) = running.parked.iter().position(|parked| *parked == query.attempt) else {
            return;
        };
        running.parked.swap_remove(at);
        let resume = |walk: &mut Walk| walk.resume(now, query.attempt);
        if let Some(transmit) = running.walk.with(&mut self.knowledge, resume) {
            self.dispatch(now, query.walk, transmit);
        }
        self.attend(now, query.walk);
    }

    /// A walk has waited for others long enough.
    fn unpark(&mut self, now: Instant, task: TaskId) {
        let Some(running) = self.running.get(&task) else { return };
        for attempt in running.parked.clone() {
            self.go_on(now, QueryId { walk: task, attempt });
        }
        self.wake(now);
    }

    fn set_alarm(&mut self, task: TaskId) {
        let Some(running) = self.running.get_mut(&task) else { return };
        let next = if running.parked.is_empty() {
            running.walk.poll_timeout()
        } else {
            let due = running.sent.iter().filter_map(|sent| running.walk.due(sent.attempt)).min();
            let until = running.parked_until.min(running.walk.deadline());
            Some(due.map_or(until, |due| due.min(until)))
        };
        // An earlier alarm will do: it looks again then.
        let Some(next) = next.filter(|next| running.alarm.is_none_or(|set| *next < set)) else {
            return;
        };
        running.alarm = Some(next);
        self.alarms.push(Reverse((next, task)));
    }

    /// A walk has ended: every question that equals its own gets its summary.
    fn finish(&mut self, now: Instant, task: TaskId) {
        let Some(running) = self.running.remove(&task) else { return };
        self.in_flight.remove(&running.question);
        let Some((_, last)) = self.events.back() else { return };
        let Event::Summary(summary) = &last.event else { return };
        count(&mut self.stats, summary);
        if running.twins.is_empty() {
            return;
        }
        let summary = summary.clone();
        for (tag, asked) in running.twins {
            let elapsed_ns = nanos(now.since(asked.max(running.begun)));
            let twin = without_costs(&summary, elapsed_ns);
            self.stats.twins += 1;
            count(&mut self.stats, &twin);
            let record = Record { v: VERSION, t_ns: now, event: Event::Summary(twin) };
            self.events.push_back((tag, record));
        }
    }
}

fn count(stats: &mut Stats, summary: &Summary) {
    stats.ended += 1;
    match &summary.outcome {
        Outcome::Answer => stats.answers += 1,
        Outcome::NoData | Outcome::NxDomain => stats.absences += 1,
        Outcome::Unanswered { any_reply: false, .. } => stats.unreachable += 1,
        Outcome::Interrupted => stats.interrupted += 1,
        _ => {}
    }
    stats.queries += u64::from(summary.queries);
    stats.retries += u64::from(summary.retries);
    stats.unanswered += u64::from(summary.unanswered);
}

/// The same result for one who cost nothing.
fn without_costs(summary: &Summary, elapsed_ns: u64) -> Box<Summary> {
    Box::new(Summary {
        elapsed_ns,
        best_path_ns: 0,
        steps: 0,
        queries: 0,
        retries: 0,
        unanswered: 0,
        cache_hits: 0,
        strays: 0,
        bytes_sent: 0,
        bytes_received: 0,
        ..summary.clone()
    })
}
