//! `--side`: which side of a delegation each walk took, and which of them is wrong.

use super::{summary, words};
use crate::dnssec::Status;
use crate::event::{Event, Record, Side, Summary};
use crate::outcome::Outcome;

/// The side that a walk took, where it took one alone.
#[must_use]
pub fn side(records: &[Record]) -> Option<Side> {
    records.iter().find_map(|record| match &record.event {
        Event::Start(start) => start.side,
        _ => None,
    })
}

/// What stands above a walk where it is one of several, or of one side.
#[must_use]
pub fn heading(walks: &[Vec<Record>], at: usize) -> Option<&'static str> {
    match side(walks.get(at)?) {
        Some(Side::Parent) => Some("Parent's side: the servers that the zone above names"),
        Some(Side::Child) => Some("Child's side: the servers that each zone names itself"),
        None if walks.len() < 2 => None,
        None => Some(["Cold: nothing is known", "Warm: the same question again"][at.min(1)]),
    }
}

/// Which side is wrong, where both were walked.
#[must_use]
pub fn verdict(walks: &[Vec<Record>]) -> Option<String> {
    let of = |wanted| {
        let records = walks.iter().find(|records| side(records) == Some(wanted))?;
        summary(records)
    };
    let (parent, child) = (of(Side::Parent)?, of(Side::Child)?);
    Some(match (helps(parent), helps(child)) {
        (true, true) if parent.outcome == child.outcome && data(parent) == data(child) => {
            "both lead to the same answer".to_owned()
        }
        (true, true) => format!(
            "they answer differently; parent's: {}; child's: {}",
            words::answer(parent),
            words::answer(child)
        ),
        (true, false) => {
            format!("the child's is wrong: {}; the parent's answers", failure(child))
        }
        (false, true) => {
            format!("the parent's is wrong: {}; the child's answers", failure(parent))
        }
        (false, false) => format!(
            "neither leads to an answer; parent's: {}; child's: {}",
            failure(parent),
            failure(child)
        ),
    })
}

/// Whether a walk has an answer, or a denial, that holds.
fn helps(summary: &Summary) -> bool {
    let bogus = summary.security.as_ref().is_some_and(|one| one.status == Status::Bogus);
    !bogus && matches!(summary.outcome, Outcome::Answer | Outcome::NoData | Outcome::NxDomain)
}

fn data(summary: &Summary) -> Vec<&str> {
    let mut data: Vec<&str> = summary.answers.iter().map(|answer| answer.data.as_str()).collect();
    data.sort_unstable();
    data
}

/// Why a walk has no answer that holds.
fn failure(summary: &Summary) -> String {
    match &summary.security {
        Some(security) if security.status == Status::Bogus => {
            format!("bogus: {}", security.words)
        }
        _ => words::answer(summary),
    }
}
