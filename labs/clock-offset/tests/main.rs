//! The tests of clock-offset: one binary, so that everything links once.

/// Steps below a round trip, and how often they are reported without one.
mod change;
/// How often the printed ± holds the truth.
mod coverage;
/// The clock's bounds and estimators against a known truth, in virtual time.
mod estimates;
/// Interleaved mode (RFC 9769): between our own cores, with a real chronyd, and against liars.
mod interleaved;
/// The clock's demonstrations by real packets over the emulated path.
mod kernel;
/// Authenticated time: bad proofs, cookies, new keys; real chronyd as NTS server.
mod nts;
/// The page of the lab: its runs and its ten answers.
mod page;
/// An independent server in Python, wrong in one way at a time.
mod peer;
/// Bad replies, each alone and each before a good one.
mod replies;
/// The run folder and the page of clock-offset: replay, schemas, a real browser, moved clocks.
mod report;
/// A host that sleeps while it asks: bounds that do not rest on what another clock counted.
mod sleep;
/// clock-offset as a user types it: examples, mistakes, files, exit codes; real chronyd servers.
mod usage;
