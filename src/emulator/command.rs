//! Commands from the router's handle to its thread.

use super::events::Chunk;
use super::record::LaneRecord;
use crate::path::Link;
use std::io;
use std::sync::mpsc::SyncSender;

/// A command to the router's thread.
#[derive(Debug)]
pub(super) enum Command {
    SetLinks { lane: usize, links: Box<[Link; 2]>, record: LaneRecord, done: Reply<LaneRecord> },
    ChangePlans { lane: usize, links: Box<[Link; 2]>, done: Reply<()> },
    TakeRecord { lane: usize, next: LaneRecord, done: Reply<LaneRecord> },
    SwapChunk { lane: usize, spare: Chunk, done: Reply<Chunk> },
    Stop,
}

/// The channel of the answer.
pub(super) type Reply<T> = SyncSender<io::Result<T>>;
