//! wirelab: small networking labs that answer one question each with real packets.
//!
//! The map, from the bottom up. A module may use what stands above it in this list and never what
//! stands below; `tests/tidy.rs` checks that.
//!
//! | module | what it is for | it must never |
//! |---|---|---|
//! | [`measure`] | time, probability, quantiles, exact intervals, analytic yardsticks | know where a sample came from |
//! | [`wire`] | bytes to values and back, decode errors, hex views | keep state or allocate on the read path |
//! | [`path`] | the link model: a frame and a time in, a fate out; pure and seeded | touch a socket, a clock, a global random source |
//! | [`bank`] | the bank protocol: messages, sessions, retry, idempotency, ledger rules | the same |
//! | [`clock`] | NTP exchanges and refusals, estimates and bounds of an offset | the same |
//! | [`dns`] | the walk from the root to an answer, every step on record; a demonstration hierarchy | the same |
//! | [`store`] | where the ledger and the idempotency keys live, committed together | decide what a request means |
//! | [`sys`] | every `unsafe`, every Linux-only call | know what the bytes mean |
//! | [`net`] | the loops that wait: mio, timers, the router between two namespaces | hold protocol logic |
//! | [`sim`] | the same cores in virtual time | read a clock |
//! | [`compare`] | tcp-vs-udp: arms, workload, schedule, result, verdict | open a socket |
//! | [`emulate`] | lossy-path: the plan in words, the run of any program, its audit, the probes | print, or decide how a lab ends |
//! | [`report`] | one result value to text, JSON, NDJSON, HTML, pcapng | compute a figure that the result lacks |
//! | [`cli`] | what the labs share: flags, exit codes, colour, progress, errors | know a protocol; `cli::bank` has its words and flags, not its rules |
//!
//! The contract of every core (`bank`, `clock`, `dns`, `path`): it is told the time and given
//! bytes; it
//! returns what to do. `handle_*` takes what the network brought, commands take what the user
//! wants, `poll_*` gives outputs until there are none. The same core runs under [`net`] on real
//! sockets and under [`sim`] in virtual time, and cannot tell which.

pub mod bank;
pub mod cli;
pub mod emulator;
pub mod measure;
pub mod path;
pub mod report;
pub mod runtime;
pub mod sys;
pub mod wire;
