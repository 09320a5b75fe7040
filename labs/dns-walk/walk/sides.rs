//! The two sides of a delegation, walked apart: the list of servers that the zone above gives, or
//! the one that each zone gives itself (RFC 1034 §4.2.2 wants them to be the same).

use super::Walk;
use super::known::Known;
use super::queries::Attempt;
use super::tasks::Task;
use crate::classify::{RRset, targets_of};
use crate::event::{AddressSource, Exchange, Purpose, Side};
use crate::finding::Fault;
use crate::outcome::Outcome;
use crate::text::{Question, name_text};
use crate::trust::{DropReason, Rank};
use hickory_proto::rr::{Name, RecordType};
use std::collections::BTreeSet;
use wirelab::measure::Instant;

/// Zones whose own list of servers was asked for.
#[derive(Debug, Default)]
pub(super) struct Sides {
    asked: BTreeSet<Name>,
}

impl Walk {
    /// Where the child's side alone is walked, the servers of `zone` are first asked for the
    /// zone's own list, and for the addresses that the zone gives them. True: go on with that.
    pub(super) fn ask_own_list(&mut self, now: Instant, zone: &Name) -> bool {
        let child = self.setup.config.side == Some(Side::Child) && !zone.is_root();
        if !child || self.tasks.asks_for_list_of(zone) {
            return false;
        }
        let list = self.known.cache.get(now, zone, RecordType::NS, Rank::Referral);
        let own = list.filter(|entry| entry.rank >= Rank::Authority);
        let Some(own) = own else {
            if self.sides.asked.insert(zone.clone()) {
                self.fetch_of_zone(zone, zone.clone(), RecordType::NS);
            } else {
                let zone = name_text(zone);
                self.task_failed(now, Outcome::Unanswered { zone, any_reply: true });
            }
            return true;
        };
        let (names, step) = (targets_of(&own.records), own.step);
        for name in names.into_iter().filter(|name| zone.zone_of(name)) {
            for kind in self.setup.kinds() {
                let glue = self.known.cache.get(now, &name, kind, Rank::Glue);
                // An address beside the list is the zone's own.
                let from_above = glue
                    .is_some_and(|entry| entry.rank == Rank::Glue && entry.step != step)
                    && !self.known.has_failed(&name, kind);
                if from_above {
                    self.fetch_of_zone(zone, name, kind);
                    return true;
                }
            }
        }
        false
    }

    fn fetch_of_zone(&mut self, zone: &Name, name: Name, kind: RecordType) {
        let parent = self.tasks.top().and_then(|task| task.parent);
        let purpose = Purpose::OwnServers { zone: name_text(zone) };
        self.tasks.push(Task::new(Question::new(name, kind), purpose, parent));
    }

    /// What a zone says of its own servers was asked for, whatever came of it.
    pub(super) fn own_list_asked(&mut self, now: Instant, asked: &Question) {
        if !asked.kind.is_ip_addr() {
            return;
        }
        let (name, kind) = (&asked.name, asked.kind);
        let own = self.known.cache.get(now, name, kind, Rank::NonAuthoritative).is_some();
        if !own {
            // The zone has no such address, whatever the zone above says.
            self.known.note_failed(asked);
            self.known.cache.forget(name, kind);
        }
    }

    /// A server of the zone has helped after the list or the addresses of one side had failed:
    /// says which side is wrong.
    pub(super) fn note_wrong_side(&mut self, place: usize, attempt: &Attempt) {
        let task = self.tasks.at_mut(place).filter(|_| !attempt.zone.is_root());
        let Some(task) = task else { return };
        let looked_up = matches!(attempt.record.server.source, AddressSource::Answer { .. });
        let sides = [
            (task.fallen_back.contains(&attempt.zone), Side::Child),
            (task.glue_doubted.contains(&attempt.zone) && looked_up, Side::Parent),
        ];
        for (_, side) in sides.into_iter().filter(|(wrong, _)| *wrong) {
            let Exchange { zone, step, .. } = &attempt.record;
            self.log.findings.note(Fault::SideFails { side }, zone, None, *step);
        }
    }
}

impl Known {
    /// Whether a set is of the side that is not walked: what a zone says of its own servers, where
    /// the zone above has named them.
    pub(super) fn of_other_side(
        &self,
        now: Instant,
        side: Option<Side>,
        set: &RRset,
    ) -> Result<(), DropReason> {
        let (name, kind) = (&set.records[0].name, set.records[0].record_type());
        if side != Some(Side::Parent) || name.is_root() {
            return Ok(());
        }
        let known = self.cache.get(now, name, kind, Rank::Glue);
        let from_above = match kind {
            RecordType::NS => known.is_some_and(|entry| entry.rank == Rank::Referral),
            kind => kind.is_ip_addr() && known.is_some_and(|entry| entry.rank == Rank::Glue),
        };
        let own = set.rank > Rank::Referral;
        if own && from_above { Err(DropReason::OtherSide) } else { Ok(()) }
    }
}
