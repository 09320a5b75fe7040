//! Back to the zone above, where what a zone says of its own servers, or one server above says of
//! them, leads nowhere.
//!
//! It exists because a zone's own list of servers counts more than the one above (RFC 2181
//! §5.4.1), and may yet be the worse: the servers that the zone above names were never asked. And
//! of two servers above one may know what the other does not. It must never go back to one zone
//! twice for the same list, nor to one server.

use super::Walk;
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use wirelab::measure::Instant;

/// Servers that one question passes over, at most: a registry's servers all say the same, and a
/// name that leads to nobody must not cost a query to each of them.
const PASSED_OVER_MAX: usize = 3;

impl Walk {
    /// No server of `zone` helped the top task: forgets the list that the zone gave itself, so
    /// that the zone above is asked again. False where the list was not its own, or this was done
    /// before: the task has failed.
    pub(super) fn retreat(&mut self, now: Instant, zone: &Name) -> bool {
        let own = self.cache.get(now, zone, RecordType::NS, Rank::Authority).is_some();
        // Above the root there are the hints.
        let others = own && (!zone.is_root() || self.hints_have_others(now));
        let Some(task) = self.stack.last_mut().filter(|_| others) else {
            return false;
        };
        if !task.retreated.insert(zone.clone()) {
            return false;
        }
        task.referred_to = None;
        self.cache.forget(zone, RecordType::NS);
        true
    }

    /// No server of `zone` has an address: whoever referred there is passed over, and others of the
    /// zone above are asked. One of them may serve `zone` itself, or know where its servers are.
    /// False where nobody did, or enough were passed over: the task has failed.
    pub(super) fn pass_over(&mut self, zone: &Name) -> bool {
        let Some(task) = self.stack.last_mut() else { return false };
        if task.referred_to.as_ref() != Some(zone) || task.passed_over.len() >= PASSED_OVER_MAX {
            return false;
        }
        let Some(referrer) = task.referred_by.take() else { return false };
        task.passed_over.insert(referrer);
        (task.referred_to, task.stranded) = (None, Some(zone.clone()));
        self.cache.forget(zone, RecordType::NS);
        true
    }
}
