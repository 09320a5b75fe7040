//! Shutdown signal of an event loop: a byte on a socket pair, from a thread or a signal handler.
//!
//! The loop that receives it finishes its work before it ends.

use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// The end that requests the shutdown.
#[derive(Debug)]
pub struct Sender(UnixStream);

/// The end that a loop watches.
#[derive(Debug)]
pub struct Receiver {
    stream: mio::net::UnixStream,
    seen: bool,
}

/// A connected pair.
/// Fails if the process has no descriptors left.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = UnixStream::pair()?;
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let stream = mio::net::UnixStream::from_std(receiver);
    Ok((Sender(sender), Receiver { stream, seen: false }))
}

impl Sender {
    /// Requests the shutdown; idempotent.
    pub fn stop(&self) {
        // A full socket already holds a request; a closed one has no loop.
        let _already_sent = (&self.0).write(&[1]);
    }

    /// Makes SIGINT and SIGTERM request the shutdown.
    /// Fails if the handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::low_level::pipe::register(signal, self.0.try_clone()?)?;
        }
        Ok(())
    }
}

impl Receiver {
    /// Whether a shutdown was requested, now or before.
    pub fn is_stopped(&mut self) -> bool {
        let mut byte = [0_u8; 16];
        match self.stream.read(&mut byte) {
            // Zero bytes: the sender was dropped, so no request can come.
            Ok(_) => self.seen = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.seen = true,
        }
        self.seen
    }

    /// Waits until a shutdown is requested.
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

    /// The source to register with a `mio::Poll`.
    pub const fn source(&mut self) -> &mut mio::net::UnixStream {
        &mut self.stream
    }
}
