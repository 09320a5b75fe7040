//! The record of one request of a load.

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
    /// Answered: definitely not applied.
    Refused,
    /// Not answered: possibly applied.
    Unknown,
}

/// One request, from its intended start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Its number in the workload.
    pub op: u64,
    /// The client slot that sent it.
    pub slot: usize,
    /// The idempotency key; client 0 if the request got none.
    pub key: Key,
    /// The operation.
    pub operation: Operation,
    /// Intended start.
    pub intended: Instant,
    /// End.
    pub finished: Instant,
    /// How it ended.
    pub end: End,
    /// Attempts sent.
    pub attempts: u16,
    /// The attempt that was answered.
    pub answered: Option<Answered>,
    /// The refusal, if refused.
    pub refusal: Option<Refusal>,
}

impl Sample {
    /// The record of an ended call; `client` is its lease.
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

    /// The record of a call whose load stopped before its reply.
    pub(super) const fn abandoned(slot: usize, key: Key, call: Call, now: Instant) -> Self {
        Self {
            op: call.op,
            slot,
            key,
            operation: call.operation,
            intended: call.intended,
            finished: now,
            end: End::Unknown,
            attempts: 1,
            answered: None,
            refusal: None,
        }
    }

    /// From the intended start to the end.
    pub const fn latency(&self) -> Duration {
        self.finished.since(self.intended)
    }
}
