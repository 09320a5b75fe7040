//! Replies with records that a validator must ignore, where the decoder gives the whole reply up.

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::DecodeError;

/// Bytes of a header (RFC 1035 §4.1.1), and of what stands between a record's name and its data.
const HEADER: usize = 12;
const FIXED: usize = 10;
/// What a type is called while it is decoded: the private types begin here (RFC 6895 §3.1).
const PRIVATE: u16 = 0xff00;
/// The protocol of every key (RFC 4034 §2.1.2), and the only hash of names (RFC 5155 §11).
const PROTOCOL: u8 = 3;
const SHA1: u8 = 1;
/// Opt-out, the only flag (RFC 5155 §3.1.2.1).
const OPT_OUT: u8 = 1;

/// Decodes a reply; records that must be ignored are kept as bytes.
///
/// # Errors
/// The decoder's own.
pub fn decode(reply: &[u8]) -> Result<Message, DecodeError> {
    Message::from_vec(reply).or_else(|error| {
        let masked = masked(reply).ok_or_else(|| error.clone())?;
        let mut message = Message::from_vec(&masked).map_err(|_| error)?;
        let sections = [&mut message.answers, &mut message.authorities, &mut message.additionals];
        sections.into_iter().flatten().for_each(unmask);
        Ok(message)
    })
}

/// The reply with other types for the records that must be ignored; none where there is none.
fn masked(reply: &[u8]) -> Option<Vec<u8>> {
    let count = |at: usize| Some(u16::from_be_bytes([*reply.get(at)?, *reply.get(at + 1)?]));
    let questions = count(4)?;
    let sections = [6, 8, 10].map(|at| count(at).map(u32::from));
    let records = sections.into_iter().sum::<Option<u32>>()?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = name_end(reply, at)? + 4;
    }
    let mut masked = None;
    for _ in 0..records {
        let kind_at = name_end(reply, at)?;
        let data_at = kind_at + FIXED;
        let (kind, length) = (count(kind_at)?, usize::from(count(data_at - 2)?));
        at = data_at + length;
        let data = reply.get(data_at..at)?;
        if is_private(kind) {
            // A type of that number would be taken for a masked one.
            return None;
        }
        if must_be_ignored(kind, data) {
            let masked = masked.get_or_insert_with(|| reply.to_vec());
            let [high, low] = (PRIVATE | kind).to_be_bytes();
            (masked[kind_at], masked[kind_at + 1]) = (high, low);
        }
    }
    masked
}

/// Where a name ends: behind its last label, or behind a pointer. Each turn goes forward.
fn name_end(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

const fn is_private(kind: u16) -> bool {
    kind == PRIVATE | 48 || kind == PRIVATE | 50
}

/// Whether a record is one that a validator must ignore, and the decoder refuses.
fn must_be_ignored(kind: u16, data: &[u8]) -> bool {
    match (RecordType::from(kind), data) {
        (RecordType::DNSKEY, [_, _, protocol, _, ..]) => *protocol != PROTOCOL,
        (RecordType::NSEC3, [hash, flags, ..]) => *hash != SHA1 || flags & !OPT_OUT != 0,
        _ => false,
    }
}

/// Gives a record its own type back.
fn unmask(record: &mut Record) {
    if let RData::Unknown { code, .. } = &mut record.data
        && is_private(u16::from(*code))
    {
        *code = RecordType::from(u16::from(*code) & !PRIVATE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{A, NULL};

    fn message(kind: RecordType, data: &[u8]) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        let name = Name::from_ascii("a.example.").unwrap();
        message.add_query(Query::query(name.clone(), kind));
        let bytes = RData::Unknown { code: kind, rdata: NULL::with(data.to_vec()) };
        message.answers = vec![
            Record::from_rdata(name.clone(), 5, RData::A(A::new(192, 0, 2, 1))),
            Record::from_rdata(name, 5, bytes),
        ];
        message.to_vec().unwrap()
    }

    #[test]
    fn a_record_that_must_be_ignored_keeps_its_type_and_bytes() {
        for (kind, data) in [
            (RecordType::DNSKEY, &[1, 0, 2, 13, 9, 9][..]),
            (RecordType::NSEC3, &[2, 0, 0, 1, 0, 1, 7]),
            (RecordType::NSEC3, &[1, 0x40, 0, 1, 0, 1, 7]),
        ] {
            let bytes = message(kind, data);
            assert!(Message::from_vec(&bytes).is_err(), "the decoder takes it now: {kind}");
            let decoded = decode(&bytes).unwrap();
            assert_eq!(decoded.answers[1].record_type(), kind);
            assert_eq!(decoded.to_vec().unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_broken_stays_refused() {
        let good = message(RecordType::DNSKEY, &[1, 0, 2, 13, 9, 9]);
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        // A key without a protocol, and a record of the type that masks one.
        assert!(decode(&message(RecordType::DNSKEY, &[1, 0])).is_err());
        let mut masks = good;
        // Two records whose names are pointers, with data of 4 and of 6 bytes.
        let at = masks.len() - (2 + FIXED + 6) - (FIXED + 4);
        assert_eq!(masks[at..at + 2], [0, 1], "the type of the address");
        masks[at..at + 2].copy_from_slice(&(PRIVATE | 48).to_be_bytes());
        assert!(decode(&masks).is_err());
    }
}
