//! Output into a pipe that may close: `tcp-vs-udp | head` is a success.

use crate::report::escape::for_terminal;
use std::io::{self, Write};

/// A writer of text that takes everything quietly once its reader has gone.
///
/// Only [`for_terminal`] text passes. A write must not end within a character.
#[derive(Debug)]
pub struct Pipe<W: Write> {
    out: W,
    closed: bool,
}

impl<W: Write> Pipe<W> {
    /// Writes to `out` while it is open.
    pub const fn new(out: W) -> Self {
        Self { out, closed: false }
    }

    /// Whether the reader has gone.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    fn quietly<T>(&mut self, result: io::Result<T>, instead: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(instead)
            }
            other => other,
        }
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let text = String::from_utf8_lossy(bytes);
        let result = self.out.write_all(for_terminal(&text).as_bytes());
        self.quietly(result.map(|()| bytes.len()), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let result = self.out.flush();
        self.quietly(result, ())
    }
}

/// Writes a whole text to stdout; a closed pipe is a success.
///
/// # Errors
/// Any other error of stdout: a full disk, for example.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = Pipe::new(io::stdout().lock());
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints help, whose colours are clap's, to stdout; a closed pipe is a success.
///
/// # Errors
/// As [`print()`].
pub fn print_help(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// A writer to stderr that passes on [`for_terminal`] text.
#[derive(Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        complain(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints to stderr, if it is open.
pub fn complain(text: &str) {
    let _closed = io::stderr().lock().write_all(for_terminal(text).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let mut pipe = Pipe::new(Failing(io::ErrorKind::BrokenPipe));
        pipe.write_all(b"text").unwrap();
        assert!(pipe.is_closed());
        pipe.flush().unwrap();
        let mut full = Pipe::new(Failing(io::ErrorKind::StorageFull));
        assert!(full.write_all(b"text").is_err());
    }
}
