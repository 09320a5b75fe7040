//! The test suite: one binary, so that everything links once.

/// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
/// bank-tcp and bank-udp as a user runs them: servers, calls, loads, hostile and slow peers.
mod bank_labs;
/// The published test vectors: page, file and code agree.
mod bank_vectors;
/// The clock's bounds and estimators against a known truth, in virtual time.
mod clock;
/// Interleaved mode (RFC 9769): between our own cores, with a real chronyd, and against liars.
mod clock_interleaved;
/// The clock's demonstrations by real packets over the emulated path.
mod clock_kernel;
/// clock-offset as a user types it: examples, mistakes, files, exit codes; real chronyd servers.
mod clock_lab;
/// Authenticated time: bad proofs, cookies, new keys; real chronyd as NTS server.
mod clock_nts;
/// Bad replies, each alone and each before a good one.
mod clock_replies;
/// The run folder and the page of clock-offset: replay, schemas, a real browser, moved clocks.
mod clock_report;
/// A host that sleeps while it asks: bounds that do not rest on what another clock counted.
mod clock_sleep;
/// tcp-vs-udp against theory, in virtual time.
mod compare;
/// The walk: faults, loss, forgers, the records it leaves.
mod dns;
/// The walk's checklist, line by line: special names, negative answers, cookies, options, root.
mod dns_checklist;
/// A walk beside resolvers that lie in every way, and the likely cause of each difference.
mod dns_compare;
/// Both sides of a cut: glue and times to live that differ between a zone and the one above.
mod dns_cuts;
/// Both families of addresses: the demonstration over IPv6, what is left out and why.
mod dns_families;
/// Hostile servers: the budget, the time and the memory of a walk, whatever they say.
mod dns_hostile;
/// Many walks with one memory: the answers of separate walks, nobody asked twice, lists in parts.
mod dns_many;
/// Messages as JSON (RFC 8427): beside kdig, read back, broken ones, and where they are kept.
mod dns_messages;
/// Odd hierarchies and odd timing, as hierarchies from seeds have shown them.
mod dns_odd;
/// Priming: the root's own list of servers, beside the walk, and what becomes of old hints.
mod dns_prime;
/// What a walk leaves: page, result, records told again, each against its schema or a browser.
mod dns_report;
/// dns-walk serve: real clients over UDP and TCP, its limits, its end.
mod dns_serve;
/// dns-walk as a user types it: real packets on loopback, mistakes, exit codes, output.
mod dns_walk;
/// The chain of trust: verdicts with their reasons, flaw by flaw.
mod dnssec;
/// What hostile zones can make a validator compute, counted.
mod dnssec_work;
/// A plausible result, for the reports.
mod fixture;
/// Frames with right checksums, made and checked without the library.
mod frames;
/// Bulk TCP in virtual time against theory.
mod goodput;
/// Runs the labs as a user does: processes in a folder of their own.
mod lab;
/// lossy-path's words: flags, plan files, a hundred mistakes, one clear error each.
mod lossy_words;
/// The link model's bytes: flipped bits, marks, keys by content, answers to what is too long.
mod path_bytes;
/// The link model against theory: losses, delays, order, weather, timetables.
mod path_model;
/// The link model's bottleneck: rates, queues, active queue management.
mod path_queue;
/// The link model's words: plans and recordings, read and written.
mod path_text;
/// Text, HTML, schema, events and capture, from that result.
mod report;
/// Super-frames taken apart, and put beside what an independent hand writes.
mod segments;
/// Super-frames and their segments, written down field by field.
mod super_frame;
/// tcp-vs-udp as a user types it, in virtual time: examples, mistakes, files, exit codes.
mod tcp_vs_udp;
/// The rules of the house: directions, headings, lengths, words.
mod tidy;
