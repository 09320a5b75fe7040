//! State shared by walks in flight: the cache and the open questions.
//!
//! Thousands of walks share one cache. It is lent to one walk for the length of one call,
//! so that there is nothing to lock.

use super::event_log::SILENCE_PROVES;
use super::queries::{AttemptId, Owner, Transmit};
use super::{Phase, Walk, WalkConfig};
use crate::cache::Cache;
use crate::event::Purpose;
use crate::hints::Hints;
use crate::limits::at_most;
use crate::servers::Servers;
use crate::text::Question;
use std::mem::swap;
use std::sync::Arc;
use wirelab::measure::Instant;

/// Servers that are remembered: at 100 bytes each 10 MB, and more than a list of a million names
/// has servers in use at a time.
const SERVERS_MAX: usize = 100_000;

/// Knowledge shared by all walks of a batch.
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

    /// Knowledge so far.
    #[must_use]
    pub const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The cache alone, for the next run.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.cache
    }

    /// Evicts from the cache down to `entries`.
    pub fn make_room(&mut self, now: Instant, entries: u32) {
        self.cache.shed(now, at_most(entries));
        self.servers.shed(SERVERS_MAX);
    }

    fn lend(&mut self, walk: &mut Walk) {
        swap(&mut self.cache, &mut walk.known.cache);
        swap(&mut self.servers, &mut walk.known.servers);
        swap(&mut self.last_step, &mut walk.log.last_step);
        swap(&mut self.primed_at, &mut walk.priming.begun_at);
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
        walk.with(knowledge, |walk| walk.start(now));
        walk
    }

    /// Runs `work` on the shared cache.
    pub fn with<T>(&mut self, knowledge: &mut Knowledge, work: impl FnOnce(&mut Self) -> T) -> T {
        knowledge.lend(self);
        let done = work(self);
        knowledge.lend(self);
        done
    }

    /// The walk ends then, whatever happens.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.log.started + self.setup.config.limits.time()
    }

    /// Whether the user's question is still open.
    pub(super) fn is_answering(&self) -> bool {
        self.phase == Phase::Answering
    }

    /// Whether a query still waits for its reply.
    #[must_use]
    pub fn is_open(&self, id: AttemptId) -> bool {
        self.queries.is_open(id)
    }

    /// Whether a query has waited longer than its server deserves; a late reply still counts.
    #[must_use]
    pub fn is_overdue(&self, id: AttemptId) -> bool {
        self.queries.is_overdue(id)
    }

    /// When a query will have waited longer than its server deserves; none once it has.
    #[must_use]
    pub fn due(&self, id: AttemptId) -> Option<Instant> {
        self.queries.due(id)
    }

    /// Marks those of `ids` that are overdue, and does nothing else.
    pub fn expire(&mut self, now: Instant, ids: &[AttemptId]) {
        self.queries.expire(now, &mut self.known.servers, |id| ids.contains(&id));
    }

    /// Whether a query asks for the root's own list.
    #[must_use]
    pub fn is_prime(&self, id: AttemptId) -> bool {
        self.queries.get(id).is_some_and(|attempt| attempt.record.purpose == Purpose::Prime)
    }

    /// The query for the root's own list would have to wait for others, and with it the walk: it is
    /// taken back, and left to a later walk.
    pub fn forgo_prime(&mut self, id: AttemptId) {
        self.queries.withdraw(id, &mut self.log);
        self.priming.abandon();
    }

    /// The query of `id` waited for its server's turn, which has come: it goes out as it is. None
    /// where others have learned the answer meanwhile, or the server has fallen silent: then it is
    /// taken back, and the walk looks for another way.
    pub fn resume(&mut self, now: Instant, id: AttemptId) -> Option<Transmit> {
        let attempt = self.queries.get(id).filter(|_| !self.is_done())?;
        let (to, owner) = (attempt.to(), attempt.owner);
        let known = matches!(owner, Owner::Step(step) if self.is_known_by_now(now, step));
        if known || self.known.servers.get(to).silent >= SILENCE_PROVES {
            self.withdraw(now, id);
            return None;
        }
        let (transmit, due) = self.queries.resume(now, id, &self.known.servers)?;
        match (owner, self.check.as_mut()) {
            (Owner::Step(step), _) => {
                self.ask_mut(step).into_iter().for_each(|ask| ask.next_at = due);
            }
            (Owner::Probe(at), check) => {
                check.into_iter().for_each(|check| check.wait(at, due));
            }
        }
        Some(transmit)
    }

    /// The query of `id` was not sent: another walk asks the same, or the server has as many
    /// queries as it may have. It counts for nothing, and the walk looks again at what is known.
    pub fn withdraw(&mut self, now: Instant, id: AttemptId) {
        if self.is_done() {
            return;
        }
        let Some(attempt) = self.queries.withdraw(id, &mut self.log) else { return };
        match (attempt.owner, self.check.as_mut()) {
            (Owner::Step(step), _) => {
                if let Some(ask) = self.ask_mut(step) {
                    ask.take_back(now, attempt.to());
                }
                self.look_again(now, step);
            }
            (Owner::Probe(at), check) => {
                check.into_iter().for_each(|check| check.take_back(at, now));
            }
        }
        self.advance(now);
    }

    /// Where others have learned what the top task's step is to find out, it is over.
    fn look_again(&mut self, now: Instant, step: u32) {
        if self.is_known_by_now(now, step) {
            self.queries.close(now, &mut self.log, |owner| owner == Owner::Step(step));
            if let Some(task) = self.tasks.top_mut() {
                task.ask = None;
            }
        }
    }

    /// Whether others have learned what the top task's step is to find out.
    fn is_known_by_now(&self, now: Instant, step: u32) -> bool {
        let Some(task) = self.tasks.top() else { return false };
        let Some(ask) = task.ask.as_ref().filter(|ask| ask.step == step) else { return false };
        let deeper = || {
            let cuts = self.known.cache.cuts(now, &task.question.name);
            cuts.first().is_some_and(|(zone, _)| zone.iter().len() > ask.zone.iter().len())
        };
        self.known.holds_answer(now, &task.question)
            || (ask.sent != task.question && self.known.holds(now, &ask.sent))
            || deeper()
    }
}
