//! The bank protocol: one message codec, two carriers, and what a client can know.
//!
//! It exists so that the same requests can be carried by a TCP stream and by UDP datagrams and be
//! compared. `PROTOCOL.md` beside this file is the specification, byte by byte.
//! It must never touch a socket, a clock, a thread or a global random source.
