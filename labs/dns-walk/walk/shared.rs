//! What a walk shares with others that are in flight: what is known, and who asks.
//!
//! It exists so that a thousand walks learn as one. The knowledge is lent to a walk for as long as
//! one call takes, so that there is nothing to lock. It must never be lent to two at once.

use super::ask::patience;
use super::event_log::SILENCE_PROVES;
use super::{AttemptId, Owner, Transmit, Walk, WalkConfig};
use crate::cache::Cache;
use crate::hints::Hints;
use crate::servers::Servers;
use crate::text::Question;
use crate::trust::Rank;
use hickory_proto::rr::RecordType;
use std::mem::swap;
use std::sync::Arc;
use wirelab::measure::{Instant, nanos};

/// Servers that are remembered: at 100 bytes each 10 MB, and more than a list of a million names
/// has servers in use at a time.
const SERVERS_MAX: usize = 100_000;

/// What all walks of a fleet know.
#[derive(Debug, Default)]
pub struct Knowledge {
    cache: Cache,
    servers: Servers,
    /// Steps of all walks have numbers of their own, so that the step where something was learned
    /// is that of one walk alone.
    last_step: u32,
    /// When one of them last asked the root for its servers.
    primed_at: Option<Instant>,
}

impl Knowledge {
    /// Begins with what earlier walks learned.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self { cache, ..Self::default() }
    }

    /// What has been learned.
    #[must_use]
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The cache alone, for the next run.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.cache
    }

    /// Makes room where there is little: `entries` is what the cache may hold.
    pub fn make_room(&mut self, now: Instant, entries: u32) {
        self.cache.shed(now, usize::try_from(entries).unwrap_or(usize::MAX));
        self.servers.shed(SERVERS_MAX);
    }

    fn lend(&mut self, walk: &mut Walk) {
        swap(&mut self.cache, &mut walk.cache);
        swap(&mut self.servers, &mut walk.servers);
        swap(&mut self.last_step, &mut walk.book.last_step);
        swap(&mut self.primed_at, &mut walk.primed_at);
    }
}

impl Walk {
    /// Begins to walk for `question` with what others know; go on by [`Walk::with`].
    #[must_use]
    pub fn sharing(
        config: WalkConfig,
        hints: Arc<Hints>,
        question: &Question,
        seed: u64,
        knowledge: &mut Knowledge,
        now: Instant,
    ) -> Self {
        let mut walk = Self::idle(config, hints, question, seed, now);
        walk.with(knowledge, |walk| walk.start(question, now));
        walk
    }

    /// Does `work` with what others know, and leaves them what it learns.
    pub fn with<T>(&mut self, knowledge: &mut Knowledge, work: impl FnOnce(&mut Self) -> T) -> T {
        knowledge.lend(self);
        let done = work(self);
        knowledge.lend(self);
        done
    }

    /// The walk ends then, whatever happens.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.book.started + self.config.limits.time()
    }

    /// Whether a query still waits for its reply.
    #[must_use]
    pub fn is_open(&self, id: AttemptId) -> bool {
        self.attempts.contains_key(&id)
    }

    /// Whether a query has waited longer than its server deserves; a late reply still counts.
    #[must_use]
    pub fn is_overdue(&self, id: AttemptId) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| attempt.overdue)
    }

    /// When a query will have waited longer than its server deserves; none once it has.
    #[must_use]
    pub fn due(&self, id: AttemptId) -> Option<Instant> {
        self.attempts.get(&id).filter(|attempt| !attempt.overdue).map(|attempt| attempt.due)
    }

    /// Marks those of `ids` that are overdue, and does nothing else.
    pub fn expire(&mut self, now: Instant, ids: &[AttemptId]) {
        let late = self.attempts.iter_mut().filter(|(id, _)| ids.contains(id));
        for attempt in late.map(|(_, attempt)| attempt) {
            attempt.expire(now, &mut self.servers);
        }
    }

    /// The query of `id` waited for its server's turn, which has come: it goes out as it is. None
    /// where others have learned the answer meanwhile, or the server has fallen silent: then it is
    /// taken back, and the walk looks for another way.
    pub fn resume(&mut self, now: Instant, id: AttemptId) -> Option<Transmit> {
        let attempt = self.attempts.get(&id).filter(|_| !self.done)?;
        let to = attempt.record.server.address;
        let owner = attempt.owner;
        let known = matches!(owner, Owner::Step(step) if self.is_known_by_now(now, step));
        if known || self.servers.get(to).silent >= SILENCE_PROVES {
            self.withdraw(now, id);
            return None;
        }
        let attempt = self.attempts.get_mut(&id)?;
        let transport = attempt.record.transport;
        let patience = patience(&self.servers, owner, transport, to);
        let due = now + patience;
        (attempt.record.sent_ns, attempt.record.patience_ns) = (now, nanos(patience));
        (attempt.due, attempt.overdue) = (due, false);
        let bytes = attempt.query.clone();
        if let Some(ask) = self.ask_mut(owner) {
            ask.next_at = due;
        }
        if let Owner::Probe(at) = owner {
            self.probe_waits(at, due);
        }
        Some(Transmit { attempt: id, to, transport, bytes })
    }

    /// The query of `id` was not sent: somebody else asks the same, or asks that server too much.
    /// It counts for nothing, and the walk looks again at what is known by now.
    pub fn withdraw(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempts.remove(&id).filter(|_| !self.done) else { return };
        self.book.withdrawn(&attempt.record);
        let address = attempt.record.server.address;
        match attempt.owner {
            Owner::Step(step) => {
                if let Some(ask) = self.ask_mut(attempt.owner) {
                    ask.attempts -= 1;
                    ask.next_at = now;
                    for candidate in ask.candidates.iter_mut().filter(|c| c.address == address) {
                        candidate.tries = candidate.tries.saturating_sub(1);
                    }
                }
                self.look_again(now, step);
            }
            Owner::Probe(at) => self.probe_withdrawn(at, now),
        }
        self.advance(now);
    }

    /// Where others have learned what the top task's step is to find out, it is over.
    fn look_again(&mut self, now: Instant, step: u32) {
        if self.is_known_by_now(now, step) {
            self.close_attempts(now, |attempt| attempt.owner == Owner::Step(step));
            if let Some(task) = self.stack.last_mut() {
                task.ask = None;
            }
        }
    }

    /// Whether others have learned what the top task's step is to find out.
    fn is_known_by_now(&self, now: Instant, step: u32) -> bool {
        let Some(task) = self.stack.last() else { return false };
        let Some(ask) = task.ask.as_ref().filter(|ask| ask.step == step) else { return false };
        let question = &task.question;
        let answered = |kind| self.cache.get(now, &question.name, kind, Rank::Answer).is_some();
        let deeper = || {
            let cuts = self.cache.cuts(now, &question.name);
            cuts.first().is_some_and(|(zone, _)| zone.iter().len() > ask.zone.iter().len())
        };
        answered(question.kind)
            || answered(RecordType::CNAME)
            || self.cache.absence(now, question).is_some()
            || (ask.sent != *question && self.holds(now, &ask.sent))
            || deeper()
    }
}
