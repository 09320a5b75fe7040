//! One request of a load and how it ended.

use super::slot::Call;
use crate::bank::client::{Answered, Finished, Key, Outcome};
use crate::bank::message::{Operation, Refusal};
use crate::measure::Instant;
use std::time::Duration;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered: done.
    Done,
    /// Answered: definitely not done.
    Refused,
    /// Not answered: may have been done.
    Unknown,
}

/// One request, from the time it was meant to start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its number in the workload.
    pub op: u64,
    /// The client slot that sent it.
    pub slot: usize,
    /// The idempotency key; client 0 where the request was never given one.
    pub key: Key,
    /// What it asked for.
    pub operation: Operation,
    /// When it was meant to start.
    pub intended: Instant,
    /// When it ended.
    pub finished: Instant,
    /// How it ended.
    pub end: End,
    /// How often it was sent.
    pub attempts: u16,
    /// Which attempt was answered.
    pub answered: Option<Answered>,
    /// Why it was refused, where it was.
    pub refusal: Option<Refusal>,
}

impl Sample {
    /// The record of a call that has ended; `client` is the lease it was sent under.
    pub(super) fn of(slot: usize, client: u64, call: Call, finished: &Finished) -> Self {
        Self {
            op: call.op,
            slot,
            key: Key { client, seq: finished.seq },
            operation: call.operation,
            intended: call.intended,
            finished: finished.finished,
            end: match finished.outcome {
                Outcome::Done(_) => End::Done,
                Outcome::Refused(_) => End::Refused,
                Outcome::Unknown(_) => End::Unknown,
            },
            attempts: finished.attempts,
            answered: finished.answered,
            refusal: match finished.outcome {
                Outcome::Refused(refusal) => Some(refusal),
                _ => None,
            },
        }
    }

    /// From the intended start to the end.
    #[must_use]
    pub const fn latency(&self) -> Duration {
        self.finished.since(self.intended)
    }
}
