//! The test suite: one binary, one line for each part.

// The bank protocol: frames, duplicates, hostile input, both carriers in virtual time.
mod bank;
// The published test vectors: page, file and code agree.
mod bank_vectors;
