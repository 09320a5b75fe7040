//! `--explain`: one plain sentence for every step, with its RFC.

use super::words::{answer, source, spent};
use super::{steps, summary, tree};
use crate::dnssec::link::LinkKind;
use crate::dnssec::reason::algorithm_name;
use crate::event::{Class, Event, Exchange, Purpose, Record};
use std::fmt::Write;
use wirelab::measure::human::plural;
use wirelab::report::style::{Ink, Style};

/// The story of one walk.
#[must_use]
pub fn render(records: &[Record], style: Style) -> String {
    let mut out = String::new();
    let Some(end) = summary(records) else { return out };
    for record in records {
        if let Event::Local(local) = &record.event {
            let _ = writeln!(
                out,
                "  -  No server is asked for {}: {} is for {}. {}",
                local.meant,
                local.domain,
                local.why,
                style.ink(Ink::Dim, &format!("[{}]", local.document))
            );
        }
    }
    for (step, attempts) in steps(records) {
        let _ = writeln!(out, "{step:>3}  {}", why(attempts[0]));
        for exchange in attempts {
            let (sentence, rfc) = primed(exchange).unwrap_or_else(|| sentence(exchange));
            let rfc = style.ink(Ink::Dim, &format!("[{rfc}]"));
            // A name ends in a dot, and so does a sentence.
            let sentence = sentence.replace("..", ".");
            let _ = writeln!(out, "     {sentence} {rfc}");
        }
    }
    chain(&mut out, records, style);
    let _ = writeln!(out, "  =  {}.", answer(end));
    let _ = writeln!(out, "     Security: {}.", super::words::security(end));
    if let Some(skipped) = &end.skipped {
        let _ = writeln!(out, "     Skipped: {skipped}.");
    }
    let _ = writeln!(out, "     Spent: {}.", spent(end).join("; "));
    for finding in &end.findings {
        let _ = writeln!(out, "  !  {}: {}.", tree::says(finding), finding.fault.remedy());
    }
    out
}

/// The chain of trust, link by link: what was proved by which keys.
fn chain(out: &mut String, records: &[Record], style: Style) {
    for record in records {
        let Event::Chain(link) = &record.event else { continue };
        let step = link.step.map_or_else(|| "  -".to_owned(), |step| format!("{step:>3}"));
        let (about, rfc) = match link.link {
            LinkKind::Ds => ("The zone above vouches for the keys", "RFC 4035 §5.2"),
            LinkKind::Keys => ("The keys of the zone", "RFC 4035 §5.2"),
            LinkKind::Records => ("The records", "RFC 4035 §5.3"),
            LinkKind::Absence => ("The absence", "RFC 4035 §5.4"),
        };
        let rfc = style.ink(Ink::Dim, &format!("[{rfc}]"));
        let (subject, zone, reason) = (&link.subject, &link.zone, link.reason.words());
        let _ = writeln!(
            out,
            "{step}  {about}: {subject} is {}, by {zone}: {reason}. {rfc}",
            link.status
        );
        for ds in &link.ds {
            let algorithm = algorithm_name(ds.algorithm);
            let _ = writeln!(
                out,
                "       DS of key {} ({algorithm}, digest type {}): {}",
                ds.tag,
                ds.digest,
                ds.verdict.words()
            );
        }
        for key in &link.keys {
            let role = if key.flags & 1 == 1 { "KSK" } else { "ZSK" };
            let algorithm = algorithm_name(key.algorithm);
            let _ = writeln!(out, "       {role} {} ({algorithm}, flags {})", key.tag, key.flags);
        }
        for signature in &link.signatures {
            let _ = writeln!(
                out,
                "       RRSIG by key {} of {}, {} to {}: {}",
                signature.tag,
                signature.signer,
                signature.inception,
                signature.expiration,
                signature.verdict.words()
            );
        }
    }
}

/// Why the question of a step was asked.
fn why(exchange: &Exchange) -> String {
    let meant = &exchange.meant;
    let zone = if exchange.zone == "." { "the root" } else { &exchange.zone };
    match &exchange.purpose {
        Purpose::Answer => format!("The servers of {zone} are asked on the way to {meant}."),
        Purpose::Alias { of } => {
            format!("{of} is an alias, so the servers of {zone} are asked on the way to {meant}.")
        }
        Purpose::Address { server, zone: of } => {
            format!("{server} serves {of} and its address is not known, so {zone} is asked for it.")
        }
        Purpose::Chain { zone } => {
            format!("To prove the answer, {} of {zone} is needed.", meant.kind)
        }
        Purpose::Check { zone } => {
            format!("The answer is known; what does this server of {zone} itself say?")
        }
        Purpose::OwnServers { zone: of } => {
            format!("The child's side is walked, so {zone} is asked for {meant} of {of} itself.")
        }
        Purpose::Prime => "Hints grow old, so the root is asked which servers it has, beside the \
                           first question."
            .to_owned(),
    }
}

const COOKIE_LOST: &str = "gives cookies, but not with this reply, so it is asked over TCP";
const BAD_COOKIE: &str = "answers only with its newest cookie; it gave it, and is asked again";

/// The server asked, its address, and the source of the address.
fn asked_server(exchange: &Exchange) -> String {
    let server = &exchange.server;
    format!("{} ({}, {})", server.name, server.address, source(&server.source))
}

/// The root's reply to priming, or that it came too late.
fn primed(exchange: &Exchange) -> Option<(String, &'static str)> {
    const PRIMING: &str = "RFC 9609 §3";
    let server = asked_server(exchange);
    let of = |wanted: fn(&str) -> bool| {
        let kinds = exchange.learned.iter().map(|learned| learned.record.kind.as_str());
        kinds.filter(|kind| wanted(kind)).count() as u64
    };
    match &exchange.class {
        _ if exchange.purpose != Purpose::Prime => None,
        Class::Answer => {
            let servers = plural(of(|kind| kind == "NS"), "server", "servers");
            let addresses = plural(of(|kind| kind != "NS"), "address", "addresses");
            Some((format!("{server} names {servers} of the root, and {addresses}."), PRIMING))
        }
        Class::Overtaken => Some((format!("The walk did not wait for {server}."), PRIMING)),
        _ => None,
    }
}

/// The result of an attempt, and the document that defines it.
fn sentence(exchange: &Exchange) -> (String, &'static str) {
    let server = asked_server(exchange);
    let asked = format!("{} {}", exchange.sent.name.to_ascii_lowercase(), exchange.sent.kind);
    let zone = &exchange.zone;
    match &exchange.class {
        Class::Answer => (format!("{server} has the answer to {asked}."), "RFC 1034 §4.3.2"),
        Class::Alias { to } => {
            (format!("{server} says that {asked} is another name for {to}."), "RFC 1034 §3.6.2")
        }
        Class::Referral { to, servers, with_address } => (
            format!(
                "{server} does not know {asked}, but says that {to} is run by others: {servers} \
                 named, {with_address} with an address."
            ),
            "RFC 1034 §4.2.1",
        ),
        Class::NoData => (
            format!("{server}: the name of {asked} exists without such a record."),
            "RFC 2308 §2.2",
        ),
        Class::NxDomain => (
            format!("{server}: the name of {asked} does not exist, nor anything below it."),
            "RFC 8020 §2",
        ),
        Class::Truncated => (
            format!("{server}'s reply did not fit a datagram, so it is asked over TCP."),
            "RFC 7766 §5",
        ),
        Class::NoEdns => {
            (format!("{server} does not understand EDNS, so it is asked without."), "RFC 6891 §7")
        }
        Class::NoCookie => {
            (format!("{server} rejects a cookie, so it is asked without."), "RFC 6891 §6.1.2")
        }
        Class::Refused => {
            (format!("{server} refuses, though {zone} is delegated to it."), "RFC 1035 §4.1.1")
        }
        Class::ServFail | Class::NotImp | Class::FormErr | Class::OtherCode => (
            format!("{server} fails ({}).", exchange.rcode.as_deref().unwrap_or("no code")),
            "RFC 1035 §4.1.1",
        ),
        Class::NotAuthoritative { .. } => {
            (format!("{server} answers, but not of its own knowledge (AA=0)."), "RFC 2181 §5.4.1")
        }
        Class::SelfReferral => {
            (format!("{server} refers to {zone} itself, which it should serve."), "RFC 1034 §5.3.3")
        }
        Class::UpwardReferral { to } => {
            (format!("{server} refers away to {to}, which does not help."), "RFC 1034 §5.3.3")
        }
        Class::Malformed { why } => {
            (format!("{server} sends a malformed message: {why}."), "RFC 1035 §4")
        }
        Class::CaseLost => (
            format!("{server} changed the capitals of the name, so it is asked over TCP."),
            "RFC 5452 §9.1",
        ),
        Class::CookieLost => (format!("{server} {COOKIE_LOST}."), "RFC 7873 §5.3"),
        Class::BadCookie => (format!("{server} {BAD_COOKIE}."), "RFC 7873 §5.2.3"),
        Class::NoReply => {
            (format!("{server} did not reply in time; another is asked."), "RFC 1035 §4.2.1")
        }
        Class::Overtaken => {
            (format!("{server} was slower than another server."), "RFC 1034 §5.3.3")
        }
        Class::Unreachable { why } => (format!("{server} cannot be reached: {why}."), "RFC 1122"),
    }
}
