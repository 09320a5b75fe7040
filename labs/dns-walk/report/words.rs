//! Phrases for replies, addresses and verdicts, shared by the views.
//!
//! No server is called lame: RFC 9499 finds the word ambiguous.

use crate::event::{AddressSource, Class, Exchange, Purpose, Summary};

use crate::limits::Spent;
use crate::outcome::Outcome;
use wirelab::measure::human::{latency, plural};
use wirelab::report::style::Ink;

/// A reply in a few words.
pub(super) fn class(exchange: &Exchange) -> String {
    if exchange.purpose == Purpose::Prime && exchange.class == Class::Overtaken {
        return "the walk did not wait for it".to_owned();
    }
    class_words(&exchange.class, exchange.rcode.as_deref())
}

/// The same of a class alone, and the response code where it is known.
pub(super) fn class_words(class: &Class, rcode: Option<&str>) -> String {
    let rcode = rcode.unwrap_or("an error");
    match class {
        Class::Answer => "answer".to_owned(),
        Class::Alias { to } => format!("alias of {to}"),
        Class::Referral { to, servers, with_address } => {
            let servers = plural(u64::from(*servers), "server", "servers");
            format!("referral to {to} ({servers}, {with_address} with address)")
        }
        Class::NoData => "no such record (NODATA)".to_owned(),
        Class::NxDomain => "no such name (NXDOMAIN)".to_owned(),
        Class::Truncated => "cut short (TC): again over TCP".to_owned(),
        Class::NoEdns => format!("{rcode} to EDNS: again without"),
        Class::NoCookie => format!("{rcode} to a cookie: again without"),
        Class::Refused => "REFUSED by a delegated server".to_owned(),
        Class::ServFail | Class::NotImp | Class::FormErr | Class::OtherCode => {
            format!("{rcode} by a delegated server")
        }
        Class::NotAuthoritative { recursion } => {
            let offers = if *recursion { "RA=1" } else { "RA=0" };
            format!("not authoritative (AA=0, {offers})")
        }
        Class::SelfReferral => "refers to the zone itself".to_owned(),
        Class::UpwardReferral { to } => format!("upward referral to {to}"),
        Class::Malformed { why } => format!("malformed: {why}"),
        Class::CaseLost => "capitals changed: again over TCP".to_owned(),
        Class::CookieLost => "without its cookie: again over TCP".to_owned(),
        Class::BadCookie => "wants its newest cookie: again with it".to_owned(),
        Class::NoReply => "no reply".to_owned(),
        Class::Overtaken => "another server was faster".to_owned(),
        Class::Unreachable { why } => why.clone(),
    }
}

/// Its colour.
pub(super) const fn ink(class: &Class) -> Ink {
    match class {
        Class::Answer | Class::Alias { .. } | Class::Referral { .. } => Ink::Good,
        Class::NoData
        | Class::NxDomain
        | Class::Truncated
        | Class::NoEdns
        | Class::NoCookie
        | Class::CaseLost
        | Class::CookieLost
        | Class::BadCookie => Ink::Doubt,
        Class::Overtaken => Ink::Dim,
        _ => Ink::Bad,
    }
}

/// Where a server's address came from.
pub(super) fn source(source: &AddressSource) -> String {
    match source {
        AddressSource::Hints => "from the hints".to_owned(),
        AddressSource::Glue { step } => format!("glue of step {step}"),
        AddressSource::Answer { step } => format!("answer of step {step}"),
        AddressSource::Earlier => "known".to_owned(),
    }
}

/// How long a reply took.
pub(super) fn took(exchange: &Exchange) -> String {
    exchange.rtt_ns.map_or_else(|| "-".to_owned(), latency)
}

/// The first line of the verdict: the answer.
pub(super) fn answer(summary: &Summary) -> String {
    let asked = question(summary);
    match &summary.outcome {
        Outcome::Answer => {
            let data: Vec<&str> = summary.answers.iter().map(|r| r.data.as_str()).collect();
            let ttl = summary.answers.iter().map(|r| r.ttl_s).min().unwrap_or_default();
            let ttl = if data.is_empty() { String::new() } else { format!(" (ttl {ttl} s)") };
            format!("{asked} is {}{ttl}", data.join(", "))
        }
        Outcome::NoData => format!("{asked}: the name exists, and has no such record"),
        Outcome::NxDomain => format!("{asked}: the name does not exist"),
        Outcome::Unanswered { zone, any_reply: true } => {
            format!("{asked}: no server of {zone} gave an answer")
        }
        Outcome::Unanswered { zone, any_reply: false } => {
            format!("{asked}: no server of {zone} could be reached")
        }
        Outcome::AliasLoop { at } => format!("{asked}: the aliases lead back to {at}"),
        Outcome::Limit { limit } => format!("{asked}: given up, {}", limit.words()),
        Outcome::Interrupted => format!("{asked}: interrupted"),
    }
}

/// The question; a name that is not ASCII both ways.
fn question(summary: &Summary) -> String {
    match &summary.unicode {
        Some(name) => format!("{name} ({}) {}", summary.question.name, summary.question.kind),
        None => summary.question.to_string(),
    }
}

/// A line on each limit that was touched, or how many were not.
pub(super) fn spent(summary: &Summary) -> Vec<String> {
    let touched = summary.spent.iter().filter(|spent| spent.spent > 0 || spent.refused);
    touched.map(Spent::words).collect()
}

/// The second line of the verdict: how far the answer is proved, and why.
pub(super) fn security(summary: &Summary) -> String {
    match &summary.security {
        None => "not checked".to_owned(),
        Some(security) => {
            format!("{}: {}: {}", security.status, security.subject, security.words)
        }
    }
}
