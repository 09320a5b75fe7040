//! The tests of lossy-path that need no namespace: one binary, so that everything links once.

/// Flags, plan files, and a hundred mistakes with one clear error each.
mod words;
