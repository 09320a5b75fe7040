//! The tests of dns-walk: one binary, so that everything links once.

/// The walk's checklist, line by line: special names, negative answers, cookies, options, root.
mod checklist;
/// A walk beside resolvers that lie in every way, and the likely cause of each difference.
mod compare;
/// Both sides of a cut: glue and times to live that differ between a zone and the one above.
mod cuts;
/// The chain of trust: verdicts with their reasons, flaw by flaw.
mod dnssec;
/// Validation work that hostile zones can cause, counted.
mod dnssec_work;
/// Both families of addresses: the demonstration over IPv6, what is left out and why.
mod families;
/// Hostile servers: the budget, the time and the memory of a walk, whatever they say.
mod hostile;
/// Many walks with one memory: the answers of separate walks, no question asked twice, lists in
/// parts.
mod many;
/// Messages as JSON (RFC 8427): beside kdig, read back, broken ones, and where they are kept.
mod messages;
/// Odd hierarchies and odd timing, as hierarchies from seeds have shown them.
mod odd;
/// The lab's page: short, and each figure of it is that of a run.
mod page;
/// Servers of one zone that differ: every way is tried before a name is given up.
mod patience;
/// The records of many walks in virtual time, pinned by a digest.
mod pinned;
/// Servers that come unasked beside an answer are never learned.
mod pollution;
/// Records as a zone file has them, read again by BIND.
mod presentation;
/// Priming: the root's own list of servers, beside the walk, and outdated hints.
mod prime;
/// Run artefacts: page, result, replayed records, each against its schema or a browser.
mod report;
/// dns-walk serve: real clients over UDP and TCP, its limits, its end.
mod serve;
/// The two sides of a delegation, walked apart.
mod sides;
/// dns-walk as a user types it: real packets on loopback, mistakes, exit codes, output.
mod usage;
/// The walk: faults, loss, forgers, the records it leaves.
mod walk;
