//! The test suite: one binary, so that everything links once.

/// The bank over a hostile path, PROTOCOL.md's vectors, exactly-once over many seeds.
mod bank;
/// tcp-vs-udp against theory: virtual time in this process, the kernel's TCP and UDP in the lab's.
mod compare;
/// A plausible result, for the reports.
mod fixture;
/// Runs the labs as a user does: processes in a folder of their own.
mod lab;
/// tcp-vs-udp as an ordinary user, and what it leaves behind.
mod privilege;
/// Text, HTML, schema, events and capture, from that result.
mod report;
/// The rules of the house: directions, headings, lengths, words.
mod tidy;
