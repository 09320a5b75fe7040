//! A reply as bytes: what the client said comes back, and nothing is longer than it takes.

use crate::question::UDP_PAYLOAD;
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::opt::EdnsOption;

/// Option code of an extended error (RFC 8914 §2).
const EXTENDED_ERROR: u16 = 15;
/// Bytes of its text: a sentence fits, and the reply stays within one small packet.
const TEXT_MAX: usize = 255;

/// An extended error: a registered code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extended {
    /// Of the IANA registry "Extended DNS Error Codes".
    pub code: u16,
    /// For a person.
    pub text: String,
}

impl Extended {
    pub(super) fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    fn option(&self) -> EdnsOption {
        let mut end = self.text.len().min(TEXT_MAX);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let data = [&self.code.to_be_bytes(), &self.text.as_bytes()[..end]].concat();
        EdnsOption::Unknown(EXTENDED_ERROR, data)
    }
}

/// Fields of a query that shape its reply.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: u16,
    /// As it was asked, capitals and all.
    pub(super) query: Query,
    pub(super) recursion_desired: bool,
    pub(super) checking_disabled: bool,
    /// The query had EDNS, so the reply has it (RFC 6891 §7).
    pub(super) edns: bool,
    pub(super) dnssec_ok: bool,
    /// The client understands AD (RFC 6840 §5.7).
    pub(super) wants_ad: bool,
    /// Bytes that it takes.
    pub(super) payload: usize,
}

/// The reply as bytes; TC alone where it would be too long.
pub(super) fn encode(
    head: &Head,
    code: ResponseCode,
    authentic: bool,
    answers: &[Record],
    authorities: &[Record],
    error: Option<&Extended>,
) -> Vec<u8> {
    let mut reply = Message::response(head.id, OpCode::Query);
    let meta = &mut reply.metadata;
    meta.recursion_desired = head.recursion_desired;
    meta.recursion_available = true;
    meta.checking_disabled = head.checking_disabled;
    meta.authentic_data = authentic && head.wants_ad && !head.checking_disabled;
    meta.response_code = code;
    reply.add_query(head.query.clone());
    reply.add_answers(answers.iter().cloned());
    reply.add_authorities(authorities.iter().cloned());
    if head.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD).set_dnssec_ok(head.dnssec_ok);
        edns.set_rcode_high(code.high());
        if let Some(error) = error {
            edns.options_mut().insert(error.option());
        }
        reply.set_edns(edns);
    }
    let fits = |bytes: &Vec<u8>| bytes.len() <= head.payload;
    if let Some(bytes) = reply.to_vec().ok().filter(fits) {
        return bytes;
    }
    reply.answers.clear();
    reply.authorities.clear();
    reply.metadata.truncation = true;
    if let Some(bytes) = reply.to_vec().ok().filter(fits) {
        return bytes;
    }
    // A name of 255 bytes with a long sentence: the sentence can go.
    if let Some(edns) = &mut reply.edns {
        edns.options_mut().remove(EXTENDED_ERROR.into());
    }
    reply.to_vec().unwrap_or_default()
}
