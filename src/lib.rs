//! Shared library of wirelab's labs. A lab is a package of its own in `labs/` and uses this one.
//!
//! The map, from the ground up. A room may use rooms above it in this table and none below;
//! `tests/tidy.rs` checks that.
//!
//! | room | what it is for | it never |
//! |---|---|---|
//! | [`measure`] | time, probability, quantiles, exact intervals, analytic yardsticks | knows where a sample came from |
//! | [`wire`] | bytes to values and back, decode errors, hex views | keeps state or allocates on the read path |
//! | [`sys`] | every `unsafe`, every Linux-only call | knows what the bytes mean |
//! | [`runtime`] | the only code that waits: clock, timer, shutdown, event loop, server loop | holds protocol logic |
//! | [`path`] | the link model: a frame and a time in, a fate out; pure and seeded | touches a socket, a clock, a global random source |
//! | [`emulator`] | the link model on real frames: namespaces, router, captures | decides a frame's fate |
//! | [`report`] | the kit of every report: style, figures, tables, SVG, pcapng | computes a figure that the result lacks |
//! | [`cli`] | what every command line shares: flags, exit codes, colour, progress, errors, runs | knows a protocol |
//! | [`bank`] | the bank: protocol, cores, ledger, stores, drivers, simulation, command line | lets a core touch a socket or a clock |
//!
//! The contract of every core, here and in the labs: it takes the time and bytes and returns what
//! to do. `handle_*` takes what the network brought, commands take what the user wants, `poll_*`
//! gives outputs until there are none. The same core runs on real sockets and in virtual time, and
//! cannot tell which.

pub mod bank;
pub mod cli;
pub mod emulator;
pub mod measure;
pub mod path;
pub mod report;
pub mod runtime;
pub mod sys;
pub mod wire;
