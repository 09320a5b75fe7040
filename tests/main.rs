//! The test suite: one binary, so that everything links once.

/// A plausible result, for the reports.
mod fixture;
/// Text, HTML, schema, events and capture, from that result.
mod report;
/// The rules of the house: directions, headings, lengths, words.
mod tidy;
