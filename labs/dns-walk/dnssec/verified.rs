//! Signatures that were computed and hold, so that cached records are not verified again.

use super::key::Key;
use hickory_proto::dnssec::PublicKey;
use ring::digest::{Context, SHA256};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Signatures kept, at most: then all are dropped. 32 bytes each.
const KEPT_MAX: usize = 20_000;

/// Signatures that hold, shared by walks with one cache.
///
/// Only the arithmetic is kept: dates, names and labels are compared at every use, so that an
/// expired signature fails although it was verified before.
#[derive(Clone, Debug, Default)]
pub struct Verified(Arc<Mutex<HashSet<Computation>>>);

/// A digest of a key, the signed bytes and the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Computation([u8; 32]);

impl Computation {
    /// The verification of `signature` over `signed` with `key`.
    #[must_use]
    pub fn of(key: &Key, signed: &[u8], signature: &[u8]) -> Self {
        let mut digest = Context::new(&SHA256);
        let algorithm = [u8::from(key.algorithm())];
        for part in [&algorithm, key.dnskey.public_key().public_bytes(), signed, signature] {
            // With its length, so that no two lists of parts are the same bytes.
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        Self(bytes)
    }
}

impl Verified {
    /// Whether it was computed before, and held.
    #[must_use]
    pub fn contains(&self, computation: &Computation) -> bool {
        self.kept().contains(computation)
    }

    /// Keeps a signature that holds.
    pub fn keep(&self, computation: Computation) {
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(computation);
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<Computation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
