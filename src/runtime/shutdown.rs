//! Shutdown signal of an event loop: a byte on a socket pair, from another thread or from a signal.
//!
//! It does not end the process: the loop that receives it finishes its work first.

use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The end that asks for the shutdown.
#[derive(Debug)]
pub struct Sender(UnixStream);

/// The end that a loop waits on.
#[derive(Debug)]
pub struct Receiver {
    stream: mio::net::UnixStream,
    seen: bool,
}

/// A connected pair.
///
/// # Errors
/// Fails if the process has no descriptors left.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let stream = mio::net::UnixStream::from_std(receiver);
    Ok((Sender(sender), Receiver { stream, seen: false }))
}

impl Sender {
    /// Asks the loop to shut down; idempotent.
    pub fn stop(&self) {
        // A full socket already holds a request; a closed one has no loop behind it.
        let _already_sent = (&self.0).write(&[1]);
    }

    /// Makes SIGINT and SIGTERM ask for the shutdown.
    ///
    /// # Errors
    /// Fails if the handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::low_level::pipe::register(signal, self.0.try_clone()?)?;
        }
        Ok(())
    }
}

impl Receiver {
    /// Whether a shutdown was asked for, now or before.
    pub fn is_stopped(&mut self) -> bool {
        let mut byte = [0_u8; 16];
        match self.stream.read(&mut byte) {
            // Zero bytes: the sender was dropped, so that no request can come any more.
            Ok(_) => self.seen = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.seen = true,
        }
        self.seen
    }

    /// Waits until a shutdown is asked for.
    ///
    /// # Errors
    /// Fails if the kernel refuses to wait.
    pub fn wait(&mut self) -> io::Result<()> {
        let mut poll = Poll::new()?;
        poll.registry().register(&mut self.stream, Token(0), Interest::READABLE)?;
        let mut events = Events::with_capacity(1);
        while !self.is_stopped() {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
        }
        poll.registry().deregister(&mut self.stream)
    }

    /// What to register with a `mio::Poll`.
    pub const fn source(&mut self) -> &mut mio::net::UnixStream {
        &mut self.stream
    }
}
