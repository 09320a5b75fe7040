//! What a resolver says of the question that a walk has answered, and the likely cause of each
//! difference.

use super::dnssec::Status;
use super::event::Summary;
use super::outcome::Outcome;
use super::text::RecordText;
use crate::comparison::{
    AnswerOutcome, Comparison, Difference, Field, LikelyCause, ResolverAnswer,
};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Answers that are kept no longer than this are taken for chosen per asker, by load or by place:
/// names of content networks have 20 s to 300 s, others an hour and more.
const CHOSEN_TTL_S: u32 = 300;

/// Compares a walk with what a resolver said of the same question.
#[must_use]
pub fn compare(walk: &Summary, opinion: ResolverAnswer) -> Comparison {
    let mut differences = Vec::new();
    let same = same_outcome(&walk.outcome, &opinion.said);
    let mut note =
        |field, walk: String, resolver: String, (cause, because): (LikelyCause, String)| {
            differences.push(Difference { field, walk, resolver, cause, because });
        };
    let (ours, theirs) = (data(&walk.answers), data(&opinion.answers));
    if !same {
        let cause = why_outcome(walk, &opinion);
        note(Field::Outcome, outcome_words(walk), said_words(&opinion), cause);
    } else if ours != theirs {
        let cause = why_answers(walk, &opinion);
        note(Field::Answers, list(&ours), list(&theirs), cause);
    } else {
        let (walked, told) = (chain(&walk.aliases), chain(&opinion.aliases));
        // A resolver that hides the DNAME shows the CNAME made of it.
        let shown = |aliases: &BTreeSet<String>| !aliases.is_empty();
        if walked != told && shown(&walked) && shown(&told) {
            let because = "the same records under other names: a change of the aliases that one \
                           of the two has not seen yet";
            let cause = (LikelyCause::Stale, because.to_owned());
            note(Field::Aliases, list(&walked), list(&told), cause);
        }
        if let Some((ours, theirs)) = longer(walk, &opinion) {
            let because = "the zone allows less: the resolver keeps what it learned for longer";
            let cause = (LikelyCause::Stale, because.to_owned());
            note(Field::Ttl, format!("{ours} s"), format!("{theirs} s"), cause);
        }
    }
    if same && let Some((ours, theirs, because)) = proof(walk, &opinion) {
        note(Field::Proof, ours, theirs, (LikelyCause::Validation, because));
    }
    Comparison { question: walk.question.clone(), opinion, differences }
}

/// The aliases without those that were made of a DNAME beside them (RFC 6672 §3.1): a resolver
/// shows them, and they say nothing more.
fn chain(aliases: &[RecordText]) -> BTreeSet<String> {
    let made_by = |alias: &RecordText, dname: &RecordText| {
        let above = alias.name.strip_suffix(&dname.name).filter(|above| above.ends_with('.'));
        above.is_some_and(|above| format!("{above}{}", dname.data) == alias.data)
    };
    let made = |alias: &RecordText| {
        let dnames = aliases.iter().filter(|dname| dname.kind == "DNAME");
        alias.kind == "CNAME" && dnames.into_iter().any(|dname| made_by(alias, dname))
    };
    let kept: Vec<RecordText> = aliases.iter().filter(|alias| !made(alias)).cloned().collect();
    data(&kept)
}

const fn same_outcome(walk: &Outcome, said: &AnswerOutcome) -> bool {
    match (walk, said) {
        (Outcome::Answer, AnswerOutcome::Answer)
        | (Outcome::NoData, AnswerOutcome::NoData)
        | (Outcome::NxDomain, AnswerOutcome::NxDomain) => true,
        // Neither has anything to give.
        (
            Outcome::Unanswered { .. } | Outcome::AliasLoop { .. } | Outcome::Limit { .. },
            AnswerOutcome::Error { .. } | AnswerOutcome::Nothing { .. },
        ) => true,
        _ => false,
    }
}

/// Codes of extended errors by what they say (RFC 8914 §4).
const STALE: [u16; 2] = [3, 19];
const VALIDATION: [u16; 11] = [1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 27];
const FILTERED: [u16; 5] = [4, 15, 16, 17, 18];

/// The resolver's own statement of the cause.
fn confessed(opinion: &ResolverAnswer) -> Option<(LikelyCause, String)> {
    opinion.errors.iter().find_map(|error| {
        let cause = if STALE.contains(&error.code) {
            LikelyCause::Stale
        } else if FILTERED.contains(&error.code) {
            LikelyCause::Filtered
        } else if VALIDATION.contains(&error.code) {
            LikelyCause::Validation
        } else {
            return None;
        };
        let text = if error.text.is_empty() { "no further text" } else { &error.text };
        Some((cause, format!("it says so itself: extended error {} ({text})", error.code)))
    })
}

fn why_outcome(walk: &Summary, opinion: &ResolverAnswer) -> (LikelyCause, String) {
    let cause = |cause, because: &str| (cause, because.to_owned());
    let bogus = status(walk) == Some(Status::Bogus);
    if let Some(own) = confessed(opinion) {
        return own;
    }
    match &opinion.said {
        AnswerOutcome::Nothing { why } => (LikelyCause::Failed, format!("nothing came: {why}")),
        AnswerOutcome::Error { rcode } if rcode == "REFUSED" => cause(
            LikelyCause::Refused,
            "REFUSED is policy: it serves other clients, or no such names",
        ),
        AnswerOutcome::Error { rcode } if rcode == "SERVFAIL" && bogus => {
            cause(LikelyCause::Validation, "the walk finds the answer bogus too: it withholds it")
        }
        AnswerOutcome::Error { .. } => {
            cause(LikelyCause::Failed, "it met an error where the walk met none")
        }
        AnswerOutcome::Answer => why_only_theirs(opinion),
        AnswerOutcome::NoData | AnswerOutcome::NxDomain if walk.outcome == Outcome::Answer => {
            why_only_ours(walk, opinion)
        }
        // Both say that there is nothing, each in its way.
        AnswerOutcome::NoData | AnswerOutcome::NxDomain => {
            cause(LikelyCause::Stale, "names come and go: one of the two has an older state")
        }
    }
}

/// The resolver has records, the walk has none.
fn why_only_theirs(opinion: &ResolverAnswer) -> (LikelyCause, String) {
    let cause = |cause, because: &str| (cause, because.to_owned());
    if opinion.authoritative {
        cause(LikelyCause::SplitHorizon, "it answers with authority (AA): it has a zone of its own")
    } else if addresses(&opinion.answers).any(|address| is_private(&address)) {
        cause(LikelyCause::SplitHorizon, "it gives a private address: the name exists inside only")
    } else {
        cause(LikelyCause::Stale, "it gives what the zone's servers no longer have")
    }
}

/// The walk has records, the resolver says that there are none.
fn why_only_ours(walk: &Summary, opinion: &ResolverAnswer) -> (LikelyCause, String) {
    let cause = |cause, because: &str| (cause, because.to_owned());
    if opinion.authoritative {
        return cause(
            LikelyCause::SplitHorizon,
            "it denies with authority (AA): it has its own zone",
        );
    }
    let names = || {
        let aliases = walk.aliases.iter().chain(&opinion.aliases);
        std::iter::once(walk.question.name.as_str()).chain(aliases.map(|alias| alias.data.as_str()))
    };
    match &opinion.absent_in {
        None => cause(LikelyCause::Filtered, "a denial without the zone's SOA record is made up"),
        Some(zone) if !names().any(|name| is_below(name, zone)) => (
            LikelyCause::Filtered,
            format!(
                "the denial comes with the SOA record of {zone}, which is not a zone of the name"
            ),
        ),
        Some(zone) => (
            LikelyCause::Stale,
            format!("it denies in the name of {zone}: the name may be newer than what it keeps"),
        ),
    }
}

/// Both have records, others.
fn why_answers(walk: &Summary, opinion: &ResolverAnswer) -> (LikelyCause, String) {
    let cause = |cause, because: &str| (cause, because.to_owned());
    if let Some(own) = confessed(opinion) {
        return own;
    }
    let walked: Vec<IpAddr> = addresses(&walk.answers).collect();
    let nowhere = |address: &IpAddr| address.is_unspecified() || address.is_loopback();
    if addresses(&opinion.answers).any(|address| nowhere(&address)) && !walked.iter().any(nowhere) {
        return cause(
            LikelyCause::Filtered,
            "it gives an address where nothing is: 0.0.0.0, :: or loopback",
        );
    }
    if opinion.authoritative {
        return cause(
            LikelyCause::SplitHorizon,
            "it answers with authority (AA): it has its own zone",
        );
    }
    if addresses(&opinion.answers).any(|address| is_private(&address))
        && !walked.iter().any(is_private)
    {
        return cause(
            LikelyCause::SplitHorizon,
            "it gives a private address, the zone a public one",
        );
    }
    let ttl = |records: &[RecordText]| records.iter().map(|record| record.ttl_s).min();
    let (ours, theirs) = (ttl(&walk.answers).unwrap_or(0), ttl(&opinion.answers).unwrap_or(0));
    if !walked.is_empty() && ours <= CHOSEN_TTL_S {
        return (
            LikelyCause::Location,
            format!("addresses that are kept for {ours} s only are chosen per asker"),
        );
    }
    if status(walk) == Some(Status::Secure) && opinion.authentic == Some(false) {
        return cause(
            LikelyCause::Filtered,
            "the walk's answer is proved by signatures, the resolver's is not: it was replaced",
        );
    }
    (
        LikelyCause::Stale,
        format!("the zone's records are kept for {ours} s, and it has {theirs} s left of others"),
    )
}

/// The party that reports the same data as authenticated, if only one does.
fn proof(walk: &Summary, opinion: &ResolverAnswer) -> Option<(String, String, String)> {
    let (status, authentic) = (status(walk)?, opinion.authentic?);
    let (theirs, because) = match (status, authentic) {
        (Status::Bogus, _) => {
            if !matches!(
                opinion.said,
                AnswerOutcome::Answer | AnswerOutcome::NoData | AnswerOutcome::NxDomain
            ) {
                return None;
            }
            ("given away", "it does not judge signatures: it gives what is signed wrongly")
        }
        (Status::Secure, false) => {
            ("not proved (AD=0)", "it does not judge signatures, or does not say so")
        }
        (Status::Insecure | Status::Indeterminate, true) => {
            ("proved (AD=1)", "it trusts another key than the walk, or relies on another resolver")
        }
        _ => return None,
    };
    Some((status.to_string(), theirs.to_owned(), because.to_owned()))
}

fn status(walk: &Summary) -> Option<Status> {
    walk.security.as_ref().map(|security| security.status)
}

/// The zone's TTL and the resolver's, if the latter is longer.
fn longer(walk: &Summary, opinion: &ResolverAnswer) -> Option<(u32, u32)> {
    let ours = walk.answers.iter().map(|record| record.ttl_s).min()?;
    let theirs = opinion.answers.iter().map(|record| record.ttl_s).min()?;
    (theirs > ours).then_some((ours, theirs))
}

fn data(records: &[RecordText]) -> BTreeSet<String> {
    records.iter().map(|record| format!("{} {}", record.kind, record.data)).collect()
}

fn list(data: &BTreeSet<String>) -> String {
    data.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn addresses(records: &[RecordText]) -> impl Iterator<Item = IpAddr> {
    records.iter().filter_map(|record| record.data.parse().ok())
}

/// Whether an address is one of the inside (RFC 1918, RFC 4193, RFC 6598, RFC 3927).
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Whether a name is in a zone; both are absolute and in small letters.
fn is_below(name: &str, zone: &str) -> bool {
    zone == "." || name == zone || name.strip_suffix(zone).is_some_and(|head| head.ends_with('.'))
}

fn outcome_words(walk: &Summary) -> String {
    match &walk.outcome {
        Outcome::Answer => list(&data(&walk.answers)),
        Outcome::NoData => "no such record".to_owned(),
        Outcome::NxDomain => "no such name".to_owned(),
        Outcome::Unanswered { zone, .. } => format!("no answer from {zone}"),
        Outcome::AliasLoop { .. } => "aliases in a circle".to_owned(),
        Outcome::Limit { limit } => limit.words().to_owned(),
        Outcome::Interrupted => "interrupted".to_owned(),
    }
}

fn said_words(opinion: &ResolverAnswer) -> String {
    match &opinion.said {
        AnswerOutcome::Answer => list(&data(&opinion.answers)),
        AnswerOutcome::NoData => "no such record".to_owned(),
        AnswerOutcome::NxDomain => "no such name".to_owned(),
        AnswerOutcome::Error { rcode } => rcode.clone(),
        AnswerOutcome::Nothing { .. } => "nothing".to_owned(),
    }
}
