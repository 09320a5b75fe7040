//! How a loop is told to stop: a byte on a socket pair, from another thread or from a signal.
//!
//! It exists so that a loop has one thing to wait for, whatever the reason.
//! It must never end a process: the loop that is told finishes its work.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The end that says stop.
#[derive(Debug)]
pub struct Stopper(UnixStream);

/// The end that a loop waits on.
#[derive(Debug)]
pub struct Stopped {
    stream: mio::net::UnixStream,
    seen: bool,
}

/// A connected pair.
///
/// # Errors
/// Where the process has no descriptors left.
pub fn pair() -> io::Result<(Stopper, Stopped)> {
    let (tell, told) = UnixStream::pair()?;
    tell.set_nonblocking(true)?;
    told.set_nonblocking(true)?;
    Ok((Stopper(tell), Stopped { stream: mio::net::UnixStream::from_std(told), seen: false }))
}

impl Stopper {
    /// Tells the loop to stop. Saying it twice does no harm.
    pub fn stop(&self) {
        // A full socket has told the loop already; a closed one has no loop to tell.
        let _told_before = (&self.0).write(&[1]);
    }

    /// Makes SIGINT and SIGTERM say stop.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::low_level::pipe::register(signal, self.0.try_clone()?)?;
        }
        Ok(())
    }
}

impl Stopped {
    /// Whether stop was said, now or before.
    pub fn is_stopped(&mut self) -> bool {
        let mut byte = [0_u8; 16];
        match self.stream.read(&mut byte) {
            // The other end is gone: nobody is left to say stop.
            Ok(_) => self.seen = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.seen = true,
        }
        self.seen
    }

    /// What to register with a `mio::Poll`.
    pub const fn source(&mut self) -> &mut mio::net::UnixStream {
        &mut self.stream
    }
}
