//! The test suite: one binary, so that everything links once.

/// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
/// bank-tcp and bank-udp as a user runs them: servers, calls, loads, hostile and slow peers.
mod bank_labs;
/// The published test vectors: page, file and code agree.
mod bank_vectors;
/// The clock's bounds and estimators against a known truth, in virtual time.
mod clock;
/// clock-offset as a user types it: examples, mistakes, files, exit codes; real chronyd servers.
mod clock_lab;
/// Bad replies, each alone and each before a good one.
mod clock_replies;
/// tcp-vs-udp against theory, in virtual time.
mod compare;
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
