//! Compares the ledger after a stage with what the clients saw.

use super::result::LedgerAudit;
use wirelab::bank::audit::audit;
use wirelab::bank::client::Key;
use wirelab::bank::load::{End, Sample};
use wirelab::bank::server::Server;
use wirelab::bank::storage::Storage;

/// Audits one bank against all its clients' samples, warm-up included.
#[must_use]
pub fn audit_lane<S: Storage>(
    server: &Server<S>,
    warm: &[Sample],
    samples: &[Sample],
) -> LedgerAudit {
    let keys = |end: End| -> Vec<Key> {
        let all = warm.iter().chain(samples);
        let mine = all.filter(|s| s.end == end && s.operation.changes_the_ledger());
        mine.map(|s| s.key).collect()
    };
    let (done, unknown) = (keys(End::Done), keys(End::Unknown));
    // An unreadable store counts as unbalanced.
    let report = audit(server.storage(), &done, &unknown).unwrap_or_default();
    LedgerAudit {
        acknowledged: report.acknowledged,
        acknowledged_missing: report.acknowledged_not_applied,
        applied_twice: report.keys_applied_twice,
        surplus_cents: report.cents_beyond_first,
        unknown_applied: report.unknown_applied,
        unknown_not_applied: report.unknown - report.unknown_applied,
        repeats_answered: server.counters().duplicates,
        balances_cents: report.sum_cents,
        expected_cents: report.expected_sum_cents,
        balanced: report.balanced,
    }
}
