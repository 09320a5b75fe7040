//! Parses a client's message: a question to walk for, or an immediate refusal.

use super::encode::{Extended, Head, encode};
use crate::event::Transport;
use crate::question::UDP_PAYLOAD;
use crate::text::Question;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::HINFO;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

/// Bytes of a header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// Largest reply without EDNS (RFC 1035 §4.2.1), and the least that EDNS may ask for (RFC 6891
/// §6.2.3).
const PLAIN_PAYLOAD: u16 = 512;
/// Seconds that the answer to ANY may be kept: an hour (RFC 8482 §4.2 wants it long).
const ANY_TTL_S: u32 = 3_600;

/// Decision about a client's message.
#[derive(Debug)]
pub enum Decision {
    /// Not a query: its sender expects nothing (RFC 1035 §7.3 discards such).
    Ignore,
    /// Answered without a walk.
    Reply(Vec<u8>, Refusal),
    /// A question to walk for.
    Ask(Box<Request>),
}

/// Why no walk was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// It has a number, and the rest cannot be read.
    Malformed,
    /// Another operation than a query.
    NotAQuery,
    /// An undefined version of EDNS.
    EdnsVersion,
    /// Without the wish for recursion: there is no zone here to answer from.
    NotRecursive,
    /// A class or a type that a walk cannot bring.
    NotServed,
    /// ANY, answered as RFC 8482 has it.
    Any,
}

/// A question with what its reply must heed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The question.
    pub question: Question,
    /// The answer is given though it is bogus: the client judges itself (RFC 4035 §3.2.2).
    pub checking_disabled: bool,
    pub(super) head: Head,
}

impl Request {
    /// The reply with TC and no records.
    pub(super) fn truncated(mut self) -> Vec<u8> {
        self.head.payload = 0;
        encode(&self.head, ResponseCode::NoError, false, &[], &[], None)
    }

    /// REFUSED: the client is not served (RFC 8914 §4.19).
    pub(super) fn refused(&self) -> Vec<u8> {
        let error = Extended::new(18, "clients of other addresses are served");
        encode(&self.head, ResponseCode::Refused, false, &[], &[], Some(&error))
    }
}

/// Decides what `bytes` are.
#[must_use]
pub fn decide(transport: Transport, bytes: &[u8]) -> Decision {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Decision::Ignore };
    let [id_high, id_low, flags, ..] = *header;
    if flags & 0x80 != 0 {
        // A reply: to answer it might begin a quarrel of two servers.
        return Decision::Ignore;
    }
    let bare = |code: ResponseCode| {
        // The opcode and the wish for recursion come back (RFC 1035 §4.1.1).
        let mut reply = vec![id_high, id_low, 0x80 | flags & 0x79, code.low()];
        reply.resize(HEADER, 0);
        reply
    };
    if flags & 0x78 != 0 {
        return Decision::Reply(bare(ResponseCode::NotImp), Refusal::NotAQuery);
    }
    let one_question = header[4..6] == [0, 1];
    let message = Message::from_vec(bytes).ok().filter(|_| one_question);
    let Some((message, query)) = message.and_then(|mut m| m.queries.pop().map(|q| (m, q))) else {
        return Decision::Reply(bare(ResponseCode::FormErr), Refusal::Malformed);
    };
    judge(transport, &message, query)
}

fn judge(transport: Transport, message: &Message, query: Query) -> Decision {
    let meta = &message.metadata;
    debug_assert_eq!(meta.op_code, OpCode::Query);
    let payload = match (transport, &message.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_PAYLOAD, UDP_PAYLOAD),
        (Transport::Udp, None) => PLAIN_PAYLOAD,
    };
    let dnssec_ok = message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
    let head = Head {
        id: meta.id,
        query,
        recursion_desired: meta.recursion_desired,
        checking_disabled: meta.checking_disabled,
        edns: message.edns.is_some(),
        dnssec_ok,
        // RFC 6840 §5.7: a client that sets AD understands it.
        wants_ad: dnssec_ok || meta.authentic_data,
        payload: usize::from(payload),
    };
    let refuse = |code, why, error: Option<Extended>| {
        Decision::Reply(encode(&head, code, false, &[], &[], error.as_ref()), why)
    };
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return refuse(ResponseCode::BADVERS, Refusal::EdnsVersion, None);
    }
    if !meta.recursion_desired {
        let error = Extended::new(20, "ask with RD=1: no zone is served here");
        return refuse(ResponseCode::Refused, Refusal::NotRecursive, Some(error));
    }
    let kind = head.query.query_type;
    if head.query.query_class != DNSClass::IN {
        let error = Extended::new(21, "class IN alone is served");
        return refuse(ResponseCode::Refused, Refusal::NotServed, Some(error));
    }
    match kind {
        RecordType::ANY => {
            // RFC 8482 §4.2: something small that says so.
            let data = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
            let record = Record::from_rdata(head.query.name.clone(), ANY_TTL_S, data);
            let reply = encode(&head, ResponseCode::NoError, false, &[record], &[], None);
            Decision::Reply(reply, Refusal::Any)
        }
        RecordType::AXFR | RecordType::IXFR => {
            let error = Extended::new(21, "a zone is not handed over here");
            refuse(ResponseCode::Refused, Refusal::NotServed, Some(error))
        }
        // These are parts of messages, not of zones (RFC 6891 §6.1.1, RFC 8945, RFC 2930).
        RecordType::OPT | RecordType::TSIG | RecordType::ZERO => {
            refuse(ResponseCode::FormErr, Refusal::Malformed, None)
        }
        _ => {
            let question = Question::new(head.query.name.clone(), kind);
            let checking_disabled = head.checking_disabled;
            Decision::Ask(Box::new(Request { question, checking_disabled, head }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Edns, MessageType};
    use hickory_proto::rr::Name;

    fn query(kind: RecordType) -> Message {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii("wWw.Example.").unwrap(), kind));
        message
    }

    fn refused(message: &Message) -> (Message, Refusal) {
        match decide(Transport::Udp, &message.to_vec().unwrap()) {
            Decision::Reply(bytes, why) => (Message::from_vec(&bytes).unwrap(), why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        assert!(matches!(decide(Transport::Udp, &[0; 11]), Decision::Ignore));
        let mut reply = query(RecordType::A);
        reply.metadata.message_type = MessageType::Response;
        let bytes = reply.to_vec().unwrap();
        assert!(matches!(decide(Transport::Udp, &bytes), Decision::Ignore));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_number_alone() {
        let whole = query(RecordType::A).to_vec().unwrap();
        let cut = &whole[..whole.len() - 1];
        let Decision::Reply(bytes, Refusal::Malformed) = decide(Transport::Udp, cut) else {
            panic!("a question that is cut short");
        };
        assert_eq!(bytes, [0, 7, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut none = whole;
        none[5] = 0;
        assert!(matches!(decide(Transport::Udp, &none), Decision::Reply(_, Refusal::Malformed)));
        none[2] = 0x29;
        let Decision::Reply(bytes, Refusal::NotAQuery) = decide(Transport::Udp, &none) else {
            panic!("opcode 5");
        };
        assert_eq!(bytes[2..4], [0xa9, 4], "opcode and RD come back, NOTIMP");
    }

    #[test]
    fn each_refusal_has_its_code() {
        let (reply, why) = refused(&query(RecordType::ANY));
        assert_eq!(why, Refusal::Any);
        assert_eq!(reply.answers[0].record_type(), RecordType::HINFO);
        let mut plain = query(RecordType::A);
        plain.metadata.recursion_desired = false;
        plain.set_edns(Edns::new());
        let (reply, why) = refused(&plain);
        assert_eq!(why, Refusal::NotRecursive);
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
        assert_eq!(crate::question::edns(&reply).unwrap().errors[0].code, 20);
        let mut later = query(RecordType::A);
        later.set_edns(Edns::new().set_version(1).clone());
        let (reply, why) = refused(&later);
        assert_eq!(why, Refusal::EdnsVersion);
        // The library knows two names of this code, and reads the other one.
        assert_eq!(u16::from(reply.metadata.response_code), u16::from(ResponseCode::BADVERS));
        assert_eq!(refused(&query(RecordType::AXFR)).1, Refusal::NotServed);
        assert_eq!(refused(&query(RecordType::OPT)).1, Refusal::Malformed);
        let mut chaos = query(RecordType::TXT);
        chaos.queries[0].query_class = DNSClass::CH;
        assert_eq!(refused(&chaos).1, Refusal::NotServed);
    }

    #[test]
    fn a_question_keeps_its_capitals_for_the_reply() {
        let bytes = query(RecordType::A).to_vec().unwrap();
        let Decision::Ask(request) = decide(Transport::Udp, &bytes) else { panic!("a question") };
        assert_eq!(request.head.query.name.to_ascii(), "wWw.Example.");
        assert_eq!(request.head.payload, 512);
        assert!(!request.head.wants_ad && !request.checking_disabled);
    }
}
