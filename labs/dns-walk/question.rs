//! One question as bytes, and what to check before a reply to it is believed.

use super::cookie::{self, Cookie};
use super::text::{EdnsSeen, ExtendedError, StrayReason};
use crate::text::{Question, printable};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use wirelab::measure::draw::keyed;

/// Largest reply that is asked for in a datagram: it fits the smallest packet of IPv6 with room
/// for headers (DNS flag day 2020; RFC 9715).
pub const UDP_PAYLOAD: u16 = 1232;

/// Bytes of a name (RFC 1035 §2.3.4).
pub(super) const NAME_MAX: usize = 255;

/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// The same name in capitals and small letters as the seed draws them.
///
/// A forger must guess them besides the number and the port (draft-vixie-dnsext-dns0x20).
#[must_use]
pub fn random_case(name: &Name, seed: u64) -> Name {
    // 64 letters to a draw, the lowest bit first.
    let (mut bits, mut place) = (0, 0_u64);
    let mut cased = [0; NAME_MAX];
    let mut rest = cased.as_mut_slice();
    let mut labels = Vec::with_capacity(name.iter().len());
    for label in name.iter() {
        let Some((own, after)) = rest.split_at_mut_checked(label.len()) else { break };
        rest = after;
        for (to, byte) in own.iter_mut().zip(label) {
            place += 1;
            if place == 1 || place.is_multiple_of(64) {
                bits = keyed(seed, place / 64);
            }
            let upper = bits >> (place % 64) & 1 == 1;
            *to = if upper { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        }
        labels.push(&*own);
    }
    let mut cased = Name::from_labels(labels).unwrap_or_else(|_| name.clone());
    cased.set_fqdn(true);
    cased
}

/// A query as bytes, asking for signatures or not (RFC 3225), with a cookie or without; absent
/// where the name cannot be encoded.
#[must_use]
pub fn encode(
    id: u16,
    question: &Question,
    edns: bool,
    proof: bool,
    cookie: Option<&Cookie>,
) -> Option<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    // A server asked for recursion might return cached data.
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(question.name.clone(), question.kind));
    if edns {
        let mut options = Edns::new();
        options.set_max_payload(UDP_PAYLOAD).set_version(0).set_dnssec_ok(proof);
        if let Some(cookie) = cookie {
            options.options_mut().insert(EdnsOption::Unknown(cookie::OPTION, cookie.bytes()));
        }
        message.set_edns(options);
    }
    message.to_vec().ok()
}

/// Class of a reply, before its records are examined.
#[derive(Debug)]
pub enum Reply {
    /// It answers the query.
    Message(Box<Message>),
    /// It answers the query, but its name has other capitals.
    CaseLost,
    /// It answers the query, and cannot be read.
    Malformed(String),
}

/// Checks a reply against the bytes of the query; `exact_case` says whether its capitals are a
/// secret that the reply must know.
///
/// # Errors
/// If it is not a reply to that query: keep waiting.
pub fn check(query: &[u8], reply: &[u8], exact_case: bool) -> Result<Reply, StrayReason> {
    let (Some(head), Some(asked)) = (reply.get(..HEADER), query.get(HEADER..)) else {
        return Err(StrayReason::NotAReply);
    };
    // QR must be set, the opcode that of a query (RFC 1035 §4.1.1).
    if head[2] & 0b1111_1000 != 0b1000_0000 {
        return Err(StrayReason::NotAReply);
    }
    if query.get(..2) != Some(&head[..2]) {
        return Err(StrayReason::WrongId);
    }
    // A server that cannot read a query may leave its question out; an error is all it may say.
    let error_alone = reply.len() == HEADER && head[3] & 0x0f != 0;
    let question = &asked[..question_length(asked).ok_or(StrayReason::NotAReply)?];
    let mut case_lost = false;
    if !(error_alone && head[4..6] == [0, 0]) {
        // The first name of a message cannot be compressed, so the bytes must be the same.
        let echoed = reply.get(HEADER..HEADER + question.len()).unwrap_or_default();
        if head[4..6] != [0, 1] || !echoed.eq_ignore_ascii_case(question) {
            return Err(StrayReason::WrongQuestion);
        }
        case_lost = exact_case && echoed != question;
    }
    if case_lost {
        return Ok(Reply::CaseLost);
    }
    match super::tolerant::decode(reply) {
        Ok(message) => Ok(Reply::Message(Box::new(message))),
        Err(error) => Ok(Reply::Malformed(printable(&error.to_string()))),
    }
}

/// Bytes of the question at the start of `bytes`: a name without pointers, type, class.
fn question_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(label @ 1..) = bytes.get(at).copied() {
        at += 1 + usize::from(label);
    }
    (at + 5 <= bytes.len()).then_some(at + 5)
}

/// Flags of a reply that say something, as `dig` names them.
#[must_use]
pub fn flags(message: &Message) -> Vec<String> {
    let meta = &message.metadata;
    let named = [
        (meta.authoritative, "AA"),
        (meta.truncation, "TC"),
        (meta.recursion_available, "RA"),
        (meta.authentic_data, "AD"),
    ];
    named.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect()
}

/// The response code by its registered name.
#[must_use]
pub fn rcode(message: &Message) -> String {
    rcode_text(message.metadata.response_code)
}

/// A response code by its registered name.
#[must_use]
pub fn rcode_text(code: ResponseCode) -> String {
    use ResponseCode as R;
    match code {
        R::NoError => "NOERROR".to_owned(),
        R::FormErr => "FORMERR".to_owned(),
        R::ServFail => "SERVFAIL".to_owned(),
        R::NXDomain => "NXDOMAIN".to_owned(),
        R::NotImp => "NOTIMP".to_owned(),
        R::Refused => "REFUSED".to_owned(),
        R::YXDomain => "YXDOMAIN".to_owned(),
        R::NotAuth => "NOTAUTH".to_owned(),
        R::BADVERS | R::BADSIG => "BADVERS".to_owned(),
        R::BADCOOKIE => "BADCOOKIE".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

/// Option code of an extended error (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;

/// EDNS data of a reply.
#[must_use]
pub fn edns(message: &Message) -> Option<EdnsSeen> {
    let edns = message.edns.as_ref()?;
    let error = |(_, option): &(EdnsCode, EdnsOption)| match option {
        EdnsOption::Unknown(EXTENDED_ERROR, data) => {
            let (code, text) = data.split_first_chunk::<2>()?;
            let text = printable(&String::from_utf8_lossy(text));
            Some(ExtendedError { code: u16::from_be_bytes(*code), text })
        }
        _ => None,
    };
    Some(EdnsSeen {
        payload: edns.max_payload(),
        version: edns.version(),
        dnssec_ok: edns.flags().dnssec_ok,
        errors: edns.options().as_ref().iter().filter_map(error).collect(),
        cookie: Cookie::of(message).is_some_and(|read| read.is_ok_and(|c| c.has_server_part())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::RecordType;

    fn question() -> Question {
        Question::new(Name::from_ascii("wWw.Example").unwrap(), RecordType::A)
    }

    fn reply_to(query: &[u8]) -> Vec<u8> {
        let mut reply = query.to_vec();
        reply[2] |= 0x80;
        reply
    }

    #[test]
    fn only_the_reply_to_the_query_is_looked_into() {
        let query = encode(7, &question(), true, false, None).unwrap();
        let right = reply_to(&query);
        assert!(matches!(check(&query, &right, true), Ok(Reply::Message(_))));
        for (at, xor, why) in [
            (0, 1, StrayReason::WrongId),
            (2, 0x80, StrayReason::NotAReply),
            (2, 0x08, StrayReason::NotAReply),
            (14, 1, StrayReason::WrongQuestion),
            (13 + 12, 1, StrayReason::WrongQuestion),
            (5, 1, StrayReason::WrongQuestion),
        ] {
            let mut wrong = right.clone();
            wrong[at] ^= xor;
            assert_eq!(check(&query, &wrong, true).err(), Some(why), "byte {at}");
        }
        let mut other_case = right.clone();
        other_case[13] ^= 0x20;
        assert!(matches!(check(&query, &other_case, true), Ok(Reply::CaseLost)));
        let cut = &right[..right.len() - 1];
        assert!(matches!(check(&query, cut, true), Ok(Reply::Malformed(_))));
        assert_eq!(check(&query, &right[..11], true).err(), Some(StrayReason::NotAReply));
    }

    #[test]
    fn an_error_may_come_without_its_question() {
        let query = encode(7, &question(), false, false, None).unwrap();
        let mut bare = reply_to(&query)[..12].to_vec();
        bare[5] = 0;
        assert_eq!(check(&query, &bare, true).err(), Some(StrayReason::WrongQuestion));
        bare[3] = 1;
        assert!(matches!(check(&query, &bare, true), Ok(Reply::Message(_))));
    }

    #[test]
    fn capitals_come_from_the_seed_and_change_nothing_else() {
        let name = Name::from_ascii("a-rather-long-label.example.com.").unwrap();
        let (one, two) = (random_case(&name, 1), random_case(&name, 2));
        assert_eq!(one, name);
        assert!(!one.eq_case(&two) && one.eq_case(&random_case(&name, 1)));
    }

    #[test]
    fn text_cannot_command_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{9b}c"), "a\\027[31mb\\155c");
        assert_eq!(printable("é\u{202e}c"), "é\\226\\128\\174c");
    }
}
