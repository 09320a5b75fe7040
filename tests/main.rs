//! The test suite: one binary, so that everything links once.

/// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
/// bank-tcp and bank-udp as a user runs them: servers, calls, loads, hostile and slow peers.
mod bank_labs;
/// The published test vectors: page, file and code agree.
mod bank_vectors;
/// tcp-vs-udp against theory, in virtual time.
mod compare;
/// The walk: faults, loss, hostile servers, the records it leaves.
mod dns;
/// dns-walk as a user types it: real packets on loopback, mistakes, exit codes, output.
mod dns_walk;
/// A plausible result, for the reports.
mod fixture;
/// Runs the labs as a user does: processes in a folder of their own.
mod lab;
/// Text, HTML, schema, events and capture, from that result.
mod report;
/// tcp-vs-udp as a user types it, in virtual time: examples, mistakes, files, exit codes.
mod tcp_vs_udp;
/// The rules of the house: directions, headings, lengths, words.
mod tidy;
