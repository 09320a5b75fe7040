//! The shared and cross-lab tests, in one binary to link once.

/// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
/// The bank's log on a disk that crashes, in virtual time.
mod bank_crash;
/// Both banks killed under load and started again over the same log.
mod bank_kill;
/// bank-tcp and bank-udp from the command line: servers, calls, loads, hostile and slow peers.
mod bank_labs;
/// The published test vectors: page, file and code agree.
mod bank_vectors;
/// Builds and checks frames with correct checksums, independently of the library.
mod dependencies;
mod frames;
/// Bulk TCP in virtual time against theory.
mod goodput;
/// Saved runs with hostile strings in every leaf of their schemas, in every view.
mod hostile_runs;
/// The link model's byte effects: flipped bits, marks, content keys, ICMP "too big".
mod path_bytes;
/// Recorded digests of fates by seed.
mod path_golden;
/// The link model against theory: losses, delays, order, slots, schedules.
mod path_model;
/// The link model's bottleneck: rates, queues, active queue management.
mod path_queue;
/// The link model's text: plans and recordings, parsed and written.
mod path_text;
/// Saved runs of every lab: the command that repeats one, views of one, lists, removal.
mod repeat;
/// Files, links and saved runs of other users: nothing is overwritten, followed or waited for.
mod safety;
/// Super-frames segmented, against an independent implementation.
mod segments;
/// Super-frames and their segments, built field by field.
mod super_frame;
/// Repository rules: dependencies, headings, lengths, words.
mod tidy;
