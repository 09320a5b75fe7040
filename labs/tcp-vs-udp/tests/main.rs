//! The tests of tcp-vs-udp that need no namespace, in one binary to link once.

/// The table of arms.
mod arms;
/// tcp-vs-udp against theory, in virtual time.
mod compare;
/// A plausible result, for the reports.
mod fixture;
/// The lab's page against its runs.
mod page;
/// Text, HTML, schema, events and capture, from that result.
mod report;
/// tcp-vs-udp from the command line in virtual time: examples, mistakes, files, exit codes.
mod usage;
/// Errors of the verdicts and coverage of the intervals, over seeds.
mod verdicts;
