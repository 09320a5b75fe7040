//! The tests of what the labs share and of what crosses labs: one binary, so that everything
//! links once.

/// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
/// bank-tcp and bank-udp as a user runs them: servers, calls, loads, hostile and slow peers.
mod bank_labs;
/// The published test vectors: page, file and code agree.
mod bank_vectors;
/// Frames with right checksums, made and checked without the library.
mod frames;
/// Bulk TCP in virtual time against theory.
mod goodput;
/// The link model's bytes: flipped bits, marks, keys by content, answers to what is too long.
mod path_bytes;
/// What seeds mean: digests of fates as they were first recorded.
mod path_golden;
/// The link model against theory: losses, delays, order, weather, timetables.
mod path_model;
/// The link model's bottleneck: rates, queues, active queue management.
mod path_queue;
/// The link model's words: plans and recordings, read and written.
mod path_text;
/// Saved runs of every lab: the command that repeats one, views of one, lists, removal.
mod repeat;
/// Super-frames taken apart, and put beside what an independent hand writes.
mod segments;
/// Super-frames and their segments, written down field by field.
mod super_frame;
/// The rules of the house: directions, headings, lengths, words.
mod tidy;
