//! The tests of lossy-path that need no namespace: one binary, so that everything links once.

/// lossy-path's words: flags, plan files, a hundred mistakes, one clear error each.
mod words;
