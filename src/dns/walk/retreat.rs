//! Back to the zone above, where what a zone says of its own servers leads nowhere.
//!
//! It exists because a zone's own list of servers counts more than the one above (RFC 2181
//! §5.4.1), and may yet be the worse: the servers that the zone above names were never asked. It
//! must never go back to one zone twice for the same question.

use super::Walk;
use crate::dns::event::Rank;
use crate::measure::Instant;
use hickory_proto::rr::{Name, RecordType};

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
}
