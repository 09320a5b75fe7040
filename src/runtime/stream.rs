//! A non-blocking TCP connection with a send queue.

use crate::sys::sockets::is_fast_open_connect;
use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

/// An outgoing or accepted connection.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    established: bool,
    out: VecDeque<Bytes>,
}

impl Stream {
    /// An outgoing connection, perhaps not established yet.
    pub const fn connecting(socket: TcpStream) -> Self {
        Self { socket, established: false, out: VecDeque::new() }
    }

    /// An accepted connection.
    pub const fn accepted(socket: TcpStream) -> Self {
        Self { socket, established: true, out: VecDeque::new() }
    }

    /// The source to register with an event loop, for reading and writing.
    pub const fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether the connection was found established.
    pub const fn is_established(&self) -> bool {
        self.established
    }

    /// Whether the connection is established, now or before.
    /// Fails with the reason the connection failed.
    pub fn establish(&mut self) -> io::Result<bool> {
        if self.established {
            return Ok(true);
        }
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => self.established = true,
            // With fast open the first write connects (RFC 7413).
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                self.established = is_fast_open_connect(&self.socket)?;
            }
            Err(error) => return Err(error),
        }
        Ok(self.established)
    }

    /// Queues bytes for [`flush`](Self::flush).
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.out.push_back(bytes);
        }
    }

    /// Whether the send queue is not empty.
    pub fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends what the kernel takes; returns the bytes sent. The rest waits for the next event.
    /// Fails if the connection has ended.
    pub fn flush(&mut self) -> io::Result<usize> {
        let mut taken = 0;
        if !self.establish()? {
            return Ok(0);
        }
        while let Some(bytes) = self.out.front_mut() {
            match self.socket.write(bytes) {
                Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
                Ok(written) => {
                    taken += written;
                    bytes.advance(written);
                    if bytes.is_empty() {
                        self.out.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Fast open without a cookie: the data waits for the handshake.
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Reads once; `None` if nothing is there, zero bytes if the peer has closed.
    /// Fails if the connection has ended.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.socket.read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let waits =
                        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected);
                    return if waits { Ok(None) } else { Err(error) };
                }
            }
        }
    }
}
