//! Records as lines of JSON, one each.

use serde::Serialize;
use std::io::{self, Write};

/// Writes records into any writer; put a buffer below it.
#[derive(Debug)]
pub struct Lines<W: Write> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::with_capacity(512) }
    }

    /// Writes one line. The buffer is kept, so nothing is allocated once it has grown.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn write(&mut self, record: &impl Serialize) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    /// Hands the underlying writer back, flushed.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
