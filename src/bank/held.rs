//! Replies held back until what they saw is durable, in the order of their decisions.
//!
//! A reply saw every transaction staged before it: a read or a refusal that left earlier could
//! report money that a crash takes back.

use super::storage::{CommitIndex, Storage};
use std::collections::VecDeque;

/// Replies with the commit index that each of them saw.
#[derive(Debug)]
pub struct Held<T> {
    queue: VecDeque<(CommitIndex, T)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new() }
    }
}

impl<T> Held<T> {
    /// Whether a reply decided now must wait: for the disk, or behind an earlier one.
    pub fn must_wait(&self, store: &impl Storage) -> bool {
        !self.queue.is_empty() || store.durable() < store.commit_index()
    }

    /// Holds a reply that was decided now.
    pub fn push(&mut self, store: &impl Storage, reply: T) {
        self.queue.push_back((store.commit_index(), reply));
    }

    /// The next reply whose index is durable.
    pub fn pop(&mut self, store: &impl Storage) -> Option<T> {
        let durable = store.durable();
        let (saw, _) = self.queue.front()?;
        if *saw > durable {
            return None;
        }
        self.queue.pop_front().map(|(_, reply)| reply)
    }

    /// Whether no reply is held.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Drops every reply: their outcomes stay unknown to the clients.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}
