//! The bank protocol in virtual time: client and server cores over a lossy, reordering path.
//! A failure prints its seed.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use wirelab::bank::audit::audit;
use wirelab::bank::client::{ClientEvent, CloseReason, Delivery, Finished, Identity, Key, Outcome};
use wirelab::bank::codec::{
    self, Answer, Body, Hello, Message, decode_answer, decode_request, encode_hello, encode_request,
};
use wirelab::bank::datagram::{DatagramClient, DatagramClientConfig};
use wirelab::bank::frame::{
    FLAG_NO_DEDUP, Frame, FrameError, HEADER_LEN, Header, Kind, MAX_DATAGRAM, MAX_FRAME,
    MAX_FRAME_BEFORE_HELLO, WINDOW, checksum,
};
use wirelab::bank::message::{AccountId, Amount, Cents, Operation, Refusal, Reply, Request};
use wirelab::bank::server::{Dedup, Server, ServerConfig};
use wirelab::bank::storage::Storage;
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::stream::{
    MAX_BUFFERED_IN, ServerSession, SessionLimits, StreamClient, StreamClientConfig,
};
use wirelab::bank::transport::Client as _;
use wirelab::bank::violation::Violation;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

const MS: Duration = Duration::from_millis(1);
const ACCOUNTS: u64 = 4;
const OPENING: Cents = Cents(1_000);
const LIMITS: SessionLimits = SessionLimits::DEFAULT;

fn server(dedup: Dedup) -> Server<MemoryStore> {
    over(dedup, MemoryStore::with_accounts(ACCOUNTS, OPENING))
}

fn over(dedup: Dedup, store: MemoryStore) -> Server<MemoryStore> {
    Server::new(ServerConfig { dedup, ..ServerConfig::default() }, store, 5)
}

fn deposit(cents: u64) -> Request {
    Request::Deposit { account: AccountId(1), amount: Amount::new(cents).unwrap() }
}

fn transfer(cents: u64) -> Request {
    let amount = Amount::new(cents).unwrap();
    Request::Transfer { from: AccountId(1), to: AccountId(2), amount }
}

/// A request frame as a client would send it.
fn frame(client: u64, seq: u64, ack_upto: u64, request: &Request) -> Bytes {
    frame_with(client, seq, ack_upto, request, 0, 1)
}

fn frame_with(
    client: u64,
    seq: u64,
    ack_upto: u64,
    request: &Request,
    flags: u8,
    attempt: u16,
) -> Bytes {
    let op = request.operation() as u8;
    let header = Header { op, flags, client, seq, ack_upto, attempt, ..Header::of(Kind::Request) };
    let mut out = BytesMut::new();
    encode_request(&mut out, &header, request, codec::reply_room(request));
    out.freeze()
}

fn hello(nonce: u64) -> Bytes {
    let mut out = BytesMut::new();
    let max_frame = u32::try_from(MAX_FRAME).unwrap();
    let hello = Hello { min_version: 1, max_version: 1, max_frame, nonce, features: 0 };
    encode_hello(&mut out, 0, &hello);
    out.freeze()
}

fn lease(server: &mut Server<MemoryStore>, nonce: u64) -> u64 {
    let reply = server.handle_datagram(Instant::ZERO, &hello(nonce)).unwrap();
    Frame::parse(&reply).unwrap().header().client
}

fn ask(server: &mut Server<MemoryStore>, datagram: &[u8]) -> Option<Answer> {
    let reply = server.handle_datagram(Instant::ZERO, datagram)?;
    assert!(reply.len() <= datagram.len());
    Some(decode_answer(&Frame::parse(&reply).unwrap()).unwrap())
}

/// The frame after `change`, with length and checksum fixed up.
fn reseal(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    let len = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    let sum = checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

mod frames {
    //! Frame validation and forward compatibility.
    use super::*;

    #[test]
    fn every_truncation_and_every_flipped_bit_is_rejected() {
        for request in [deposit(7), transfer(9), Request::Address { account: AccountId(3) }] {
            let bytes = frame(1, 2, 0, &request);
            assert!(Frame::parse(&bytes).is_ok());
            for end in 0..bytes.len() {
                assert!(Frame::parse(&bytes[..end]).is_err(), "cut at {end}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(Frame::parse(&flipped).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_peer_may_lengthen_a_block_and_an_older_one_shorten_it() {
        let request = Request::Transactions { account: AccountId(1), from_entry: 5, limit: 3 };
        let header = Header { op: 5, seq: 1, ..Header::of(Kind::Request) };
        let mut out = BytesMut::new();
        encode_request(&mut out, &header, &request, 0);
        let longer = reseal(&out, |bytes| {
            bytes[46] += 8;
            bytes.extend_from_slice(&[0xff; 8]);
        });
        assert_eq!(decode_request(&Frame::parse(&longer).unwrap()), Ok(request));
        let shorter = reseal(&out, |bytes| {
            bytes[46] = 8;
            bytes.truncate(HEADER_LEN + 8);
        });
        let defaults = Request::Transactions { account: AccountId(1), from_entry: 0, limit: 0 };
        assert_eq!(decode_request(&Frame::parse(&shorter).unwrap()), Ok(defaults));
        let too_short = reseal(&out, |bytes| {
            bytes[46] = 7;
            bytes.truncate(HEADER_LEN + 7);
        });
        assert_eq!(decode_request(&Frame::parse(&too_short).unwrap()), Err(Refusal::Malformed));
    }

    #[test]
    fn a_reply_of_a_newer_server_is_understood() {
        let entry = wirelab::bank::message::EntryView {
            entry: 3,
            change: Cents(5),
            balance: Cents(9),
            counterparty: None,
        };
        let page = Reply::Transactions { entries: vec![entry; 2], next: Some(8) };
        let mut out = BytesMut::new();
        let answer = Answer::Done(page);
        codec::encode_answer(&mut out, &Header::of(Kind::Response), &answer);
        // Entries of 40 bytes, a block of 24, and an unknown elective field.
        let grown = reseal(&out, |bytes| {
            let entries = bytes.split_off(HEADER_LEN + 16);
            bytes[46] = 24;
            bytes[HEADER_LEN + 8] = 40;
            bytes.extend_from_slice(&[7; 8]);
            bytes.extend_from_slice(&[0xfe, 0xff, 1, 0, 9]);
            bytes.extend_from_slice(&[1, 0, 80, 0]);
            for entry in entries[4..].chunks(32) {
                bytes.extend_from_slice(entry);
                bytes.extend_from_slice(&[0xaa; 8]);
            }
        });
        assert_eq!(decode_answer(&Frame::parse(&grown).unwrap()).unwrap(), answer);
    }

    #[test]
    fn unknown_fields_are_skipped_when_even_and_refused_when_odd() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        let plain = frame(client, 1, 0, &deposit(7));
        let with = |seq: u8, tag: [u8; 2]| {
            reseal(&plain, |bytes| {
                bytes[24] = seq;
                bytes.extend_from_slice(&tag);
                bytes.extend_from_slice(&[2, 0, 1, 2]);
            })
        };
        let elective = ask(&mut server, &with(1, [0xfe, 0xff])).unwrap();
        assert!(matches!(elective, Answer::Done(Reply::Deposited { .. })), "{elective:?}");
        let critical = ask(&mut server, &with(2, [0xff, 0xff])).unwrap();
        assert_eq!(critical, Answer::Refused(Refusal::UnsupportedField { tag: 0xffff }));
        assert_eq!(server.counters().applied, 1);
    }

    #[test]
    fn reserved_bytes_are_zero_when_sent_and_ignored_when_received() {
        let bytes = hello(9);
        assert_eq!(bytes[50..52], [0, 0]);
        let odd = reseal(&bytes, |bytes| bytes[50..52].copy_from_slice(&[1, 2]));
        assert_eq!(Message::decode(&odd).unwrap().body, Message::decode(&bytes).unwrap().body);
    }

    #[test]
    fn a_decoded_refusal_is_definite_and_from_the_server() {
        // Found by fuzzing: a WELCOME of the indefinite class was read as a refusal.
        let plain = reseal(&hello(1), |b| b[11] = Kind::Welcome as u8);
        let indefinite = reseal(&plain, |b| b[14..16].copy_from_slice(&[1, 0x80]));
        assert!(Message::decode(&indefinite).is_err());
        let reserved = reseal(&plain, |b| b[14] = 17);
        let unrecognised = Body::Welcome(Err(Refusal::Unrecognised { status: 17 }));
        assert_eq!(Message::decode(&reserved).unwrap().body, unrecognised);
    }

    fn any_request() -> impl Strategy<Value = Request> {
        let account = || any::<u64>().prop_map(AccountId);
        let amount = || (1..=i64::MAX.unsigned_abs()).prop_map(|c| Amount::new(c).unwrap());
        prop_oneof![
            account().prop_map(|account| Request::Balance { account }),
            (account(), amount())
                .prop_map(|(account, amount)| Request::Deposit { account, amount }),
            (account(), account(), amount()).prop_map(|(from, to, amount)| Request::Transfer {
                from,
                to,
                amount
            }),
            (account(), any::<u64>())
                .prop_map(|(account, from_entry)| Request::Statement { account, from_entry }),
            (account(), any::<u64>(), any::<u16>()).prop_map(|(account, from_entry, limit)| {
                Request::Transactions { account, from_entry, limit }
            }),
            account().prop_map(|account| Request::Address { account }),
        ]
    }

    proptest! {
        #[test]
        fn decode_encode_decode_is_decode(
            request in any_request(),
            client: u64,
            seq: u64,
            ack_upto: u64,
            attempt: u16,
            pad in 0..1_200_usize,
        ) {
            let op = request.operation() as u8;
            let header = Header { op, client, seq, ack_upto, attempt, ..Header::of(Kind::Request) };
            let mut out = BytesMut::new();
            encode_request(&mut out, &header, &request, pad);
            prop_assert!(out.len() >= pad);
            let message = Message::decode(&out).unwrap();
            prop_assert_eq!(&message.body, &Body::Request(Ok(request)));
            let mut again = BytesMut::new();
            prop_assert!(message.encode(&mut again));
            prop_assert_eq!(Message::decode(&again).unwrap(), message);
        }

        #[test]
        fn replies_are_never_longer_than_the_datagram(
            noise: Vec<u8>,
            request in any_request(),
            at: usize,
            with: u8,
            seal: bool,
        ) {
            let mut server = server(Dedup::Durable);
            let client = lease(&mut server, 1);
            let mut bytes = frame(client, 1, 0, &request).to_vec();
            let at = at % bytes.len();
            bytes[at] ^= with;
            bytes.truncate(MAX_DATAGRAM);
            if seal {
                bytes = reseal(&bytes, |_| ());
            }
            for datagram in [noise, bytes] {
                let reply = server.handle_datagram(Instant::ZERO, &datagram);
                prop_assert!(reply.is_none_or(|reply| reply.len() <= datagram.len()));
            }
        }
    }
}

mod duplicates {
    //! Duplicate detection.
    use super::*;

    fn applied_after_repeat(dedup: Dedup, flags: u8) -> u64 {
        let mut server = server(dedup);
        let client = lease(&mut server, 1);
        for attempt in 1..=3 {
            let datagram = frame_with(client, 1, 0, &deposit(7), flags, attempt);
            let answer = ask(&mut server, &datagram).unwrap();
            assert!(matches!(answer, Answer::Done(Reply::Deposited { .. })), "{answer:?}");
        }
        server.counters().applied
    }

    #[test]
    fn are_applied_once_only_with_duplicate_detection() {
        assert_eq!(applied_after_repeat(Dedup::Durable, 0), 1);
        assert_eq!(applied_after_repeat(Dedup::Volatile, 0), 1);
        assert_eq!(applied_after_repeat(Dedup::Off, 0), 3);
        assert_eq!(applied_after_repeat(Dedup::Durable, FLAG_NO_DEDUP), 3);
    }

    #[test]
    fn a_restart_makes_a_volatile_server_forget_and_a_durable_one_not() {
        for (dedup, applied) in [(Dedup::Durable, 1), (Dedup::Volatile, 2)] {
            let mut first = server(dedup);
            let client = lease(&mut first, 1);
            let datagram = frame(client, 1, 0, &deposit(7));
            let before = ask(&mut first, &datagram);
            let mut second = over(dedup, first.into_storage());
            let after = ask(&mut second, &datagram);
            assert_eq!(second.storage().last_entry(), applied, "{dedup:?}");
            assert_eq!(before == after, dedup == Dedup::Durable, "{dedup:?}");
        }
    }

    #[test]
    fn a_retry_gets_the_same_bytes_except_the_attempt() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        for (seq, request) in [(1, deposit(7)), (2, transfer(99_999))] {
            let attempt = |n| frame_with(client, seq, 0, &request, 0, n);
            let first = server.handle_datagram(Instant::ZERO, &attempt(1)).unwrap();
            // A credit in between must not turn the refusal into success.
            ask(&mut server, &frame(client, seq + 100, 0, &deposit(100_000))).unwrap();
            let same = server.handle_datagram(Instant::ZERO, &attempt(1)).unwrap();
            let other = server.handle_datagram(Instant::ZERO, &attempt(2)).unwrap();
            assert_eq!(first, same, "seq {seq}");
            assert_eq!(first[8..44], other[8..44], "seq {seq}");
            assert_eq!(first[46..], other[46..], "seq {seq}");
        }
        assert_eq!(server.counters().duplicates, 4);
    }

    #[test]
    fn a_key_identifies_one_request() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        ask(&mut server, &frame(client, 1, 0, &deposit(7))).unwrap();
        let other = ask(&mut server, &frame(client, 1, 0, &deposit(8)));
        assert_eq!(other, Some(Answer::Refused(Refusal::KeyReused)));
        assert_eq!(server.counters().applied, 1);
    }

    #[test]
    fn acknowledged_keys_are_discarded_and_stale() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        for seq in 1..=5 {
            ask(&mut server, &frame(client, seq, 0, &deposit(7))).unwrap();
        }
        assert_eq!(server.storage().completions(), 5);
        ask(&mut server, &frame(client, 6, 4, &deposit(7))).unwrap();
        assert_eq!(server.storage().completions(), 2);
        let stale = ask(&mut server, &frame(client, 4, 0, &deposit(7)));
        assert_eq!(stale, Some(Answer::Refused(Refusal::StaleKey)));
        // The acknowledgement survives a restart together with the records.
        let mut server = over(Dedup::Durable, server.into_storage());
        let stale = ask(&mut server, &frame(client, 4, 0, &deposit(7)));
        assert_eq!(stale, Some(Answer::Refused(Refusal::StaleKey)));
        let outside = ask(&mut server, &frame(client, 5 + WINDOW, 0, &deposit(7)));
        assert_eq!(outside, Some(Answer::Refused(Refusal::OutsideWindow)));
        let lying = ask(&mut server, &frame(client, 7, 7, &deposit(7)));
        assert_eq!(lying, Some(Answer::Refused(Refusal::Malformed)));
    }

    #[test]
    fn an_expired_lease_loses_its_records() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        ask(&mut server, &frame(client, 1, 0, &deposit(7))).unwrap();
        let end = server.poll_timeout().unwrap();
        assert_eq!(end, Instant::ZERO + server.config().lease);
        server.handle_timeout(end);
        assert_eq!(server.storage().completions(), 0);
        assert_eq!(server.counters().leases_expired, 1);
        let expired = ask(&mut server, &frame(client, 1, 0, &deposit(7)));
        assert_eq!(expired, Some(Answer::Refused(Refusal::LeaseExpired)));
        assert_eq!(server.counters().applied, 1);
    }

    #[test]
    fn a_lease_in_use_is_kept_and_a_hello_repeated_gets_the_same() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        assert_eq!(lease(&mut server, 1), client);
        assert_ne!(lease(&mut server, 2), client);
        let half = Instant::ZERO + server.config().lease / 2;
        server.handle_datagram(half, &frame(client, 1, 0, &deposit(7))).unwrap();
        while let Some(at) =
            server.poll_timeout().filter(|at| *at <= half + half.since(Instant::ZERO))
        {
            server.handle_timeout(at);
        }
        assert_eq!(server.counters().leases_expired, 1);
        assert!(matches!(
            ask(&mut server, &frame(client, 2, 0, &deposit(7))),
            Some(Answer::Done(_))
        ));
    }

    #[test]
    fn a_full_lease_table_refuses_as_busy() {
        let config = ServerConfig { max_leases: 2, ..ServerConfig::default() };
        let mut server = Server::new(config, MemoryStore::with_accounts(1, OPENING), 5);
        for nonce in [1, 2] {
            let client = lease(&mut server, nonce);
            assert!(ask(&mut server, &frame(client, 1, 0, &deposit(7))).is_some());
        }
        let reply = server.handle_datagram(Instant::ZERO, &hello(3)).unwrap();
        assert_eq!(Message::decode(&reply).unwrap().body, Body::Welcome(Err(Refusal::Busy)));
    }

    /// A HELLO with a forged address never gets its WELCOME, so its lease is never used.
    #[test]
    fn a_flood_of_hellos_takes_no_place_from_clients() {
        let config = ServerConfig { max_leases: 16, ..ServerConfig::default() };
        let mut server = Server::new(config, MemoryStore::with_accounts(1, OPENING), 5);
        let old = lease(&mut server, 1);
        let done = ask(&mut server, &frame(old, 1, 0, &deposit(7)));
        for nonce in 100..10_100 {
            lease(&mut server, nonce);
        }
        let newcomer = lease(&mut server, 2);
        let deposit = ask(&mut server, &frame(newcomer, 1, 0, &deposit(7)));
        assert!(matches!(deposit, Some(Answer::Done(_))), "{deposit:?}");
        assert_eq!(ask(&mut server, &frame(old, 1, 0, &super::deposit(7))), done, "an old client");
        assert_eq!(server.storage().leases().unwrap().len(), 16);
    }

    #[test]
    fn draining_refuses_the_new_and_repeats_the_old() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        let old = frame(client, 1, 0, &deposit(7));
        let done = ask(&mut server, &old);
        server.drain();
        assert_eq!(ask(&mut server, &old), done);
        let new = ask(&mut server, &frame(client, 2, 0, &deposit(7)));
        assert_eq!(new, Some(Answer::Refused(Refusal::Draining)));
    }
}

mod hostile {
    //! Invalid input, on both carriers, against PROTOCOL.md.
    use super::*;

    #[test]
    fn garbage_is_counted_and_not_answered() {
        let good = frame(1, 1, 0, &deposit(7));
        let flip = |at: usize| {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x40;
            bytes
        };
        let cases: [(&str, Vec<u8>); 8] = [
            ("too_short", good[..55].to_vec()),
            ("length", vec![0; MAX_DATAGRAM + 1]),
            ("length", flip(0)),
            ("checksum", flip(4)),
            ("checksum", flip(60)),
            ("magic", flip(8)),
            ("unexpected_kind", reseal(&good, |b| b[11] = Kind::Response as u8)),
            ("field", reseal(&good, |b| b[46] = 200)),
        ];
        for (counter, bytes) in cases {
            let mut server = server(Dedup::Durable);
            assert_eq!(server.handle_datagram(Instant::ZERO, &bytes), None, "{counter}");
            assert_eq!(server.counters().discarded.get(counter), Some(&1), "{counter}");
        }
    }

    #[test]
    fn unknown_versions_and_operations_get_a_typed_reply() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        let good = frame(client, 1, 0, &deposit(7));
        let version = reseal(&good, |b| b[10] = 9);
        let expected = Answer::Refused(Refusal::UnsupportedVersion { min: 1, max: 1 });
        assert_eq!(ask(&mut server, &version), Some(expected));
        let operation = reseal(&good, |b| b[12] = 77);
        let unknown = Some(Answer::Refused(Refusal::UnsupportedOperation));
        assert_eq!(ask(&mut server, &operation), unknown);
        // The key is used: its refusal is repeated.
        assert_eq!(ask(&mut server, &operation), unknown);
        assert_eq!(server.counters().duplicates, 1);
        let old = reseal(&hello(2), |b| b[48..50].copy_from_slice(&[2, 3]));
        let reply = server.handle_datagram(Instant::ZERO, &old).unwrap();
        let expected = Body::Welcome(Err(Refusal::UnsupportedVersion { min: 1, max: 1 }));
        assert_eq!(Message::decode(&reply).unwrap().body, expected);
        let reply = reseal(&good, |b| b[10..12].copy_from_slice(&[9, Kind::Response as u8]));
        assert_eq!(server.handle_datagram(Instant::ZERO, &reply), None);
    }

    #[test]
    fn a_request_too_short_for_its_reply_gets_the_needed_length() {
        let mut server = server(Dedup::Durable);
        let client = lease(&mut server, 1);
        let request = Request::Transactions { account: AccountId(1), from_entry: 0, limit: 0 };
        let header = Header { op: 5, client, seq: 1, ..Header::of(Kind::Request) };
        let mut out = BytesMut::new();
        encode_request(&mut out, &header, &request, 0);
        let answer = ask(&mut server, &out);
        assert_eq!(answer, Some(Answer::Refused(Refusal::ReplyTooLarge { needed: 100 })));
    }

    fn session() -> (Server<MemoryStore>, ServerSession) {
        (server(Dedup::Durable), ServerSession::new(Instant::ZERO, SessionLimits::default()))
    }

    #[test]
    fn a_stream_that_does_not_begin_with_hello_is_closed() {
        let field = |violation| Some(CloseReason::Protocol(violation));
        let big = u32::try_from(MAX_FRAME_BEFORE_HELLO).unwrap().to_le_bytes();
        let cases = [
            (frame(1, 1, 0, &deposit(7)).to_vec(), field(Violation::UnexpectedKind)),
            (vec![0; 4], field(Violation::Length)),
            (big.to_vec(), field(Violation::Length)),
            (reseal(&hello(1), |b| b[8] = 0), field(Violation::Magic)),
            (vec![0xff; 4], field(Violation::Length)),
        ];
        for (bytes, reason) in cases {
            let (mut server, mut session) = session();
            session.handle_stream(Instant::ZERO, &mut server, &bytes);
            assert_eq!(session.closing(), reason);
            assert_eq!((session.buffered(), session.poll_timeout()), (0, None));
            assert_eq!(server.counters().discarded.values().sum::<u64>(), 1);
        }
    }

    #[test]
    fn slow_and_silent_peers_are_closed_in_time() {
        let (mut server, mut silent) = session();
        assert_eq!(silent.poll_timeout(), Some(Instant::ZERO + LIMITS.hello_deadline));
        silent.handle_timeout(Instant::ZERO + LIMITS.hello_deadline - MS);
        assert_eq!(silent.closing(), None);
        silent.handle_timeout(Instant::ZERO + LIMITS.hello_deadline);
        assert_eq!(silent.closing(), Some(CloseReason::HelloDeadline));

        let (_, mut idle) = session();
        idle.handle_stream(Instant::ZERO, &mut server, &hello(1));
        assert_eq!(idle.poll_timeout(), Some(Instant::ZERO + LIMITS.idle_timeout));
        idle.handle_timeout(Instant::ZERO + LIMITS.idle_timeout);
        assert_eq!(idle.closing(), Some(CloseReason::IdleTimeout));

        // One byte per second does not keep a frame open.
        let (_, mut slow) = session();
        slow.handle_stream(Instant::ZERO, &mut server, &hello(2));
        let bytes = frame(1, 1, 0, &deposit(7));
        let mut now = Instant::ZERO;
        for byte in bytes.chunks(1) {
            slow.handle_stream(now, &mut server, byte);
            slow.handle_timeout(now);
            now += Duration::from_secs(1);
        }
        assert_eq!(slow.closing(), Some(CloseReason::FrameDeadline));
        assert!(now > Instant::ZERO + LIMITS.frame_deadline);
    }

    #[test]
    fn a_peer_that_does_not_read_is_not_read_from() {
        let (mut server, mut session) = session();
        session.handle_stream(Instant::ZERO, &mut server, &hello(1));
        let welcome = session.poll_transmit().unwrap();
        let client = Frame::parse(&welcome).unwrap().header().client;
        let mut asked = 0;
        while session.wants_read() {
            asked += 1;
            assert!(asked < 100_000, "it never stops reading");
            let request = Request::Balance { account: AccountId(1) };
            session.handle_stream(Instant::ZERO, &mut server, &frame(client, asked, 0, &request));
            assert!(session.buffered() <= LIMITS.max_buffered_out + MAX_FRAME);
        }
        // Further requests wait, and are answered when there is output space.
        let late = frame(client, 500, 0, &deposit(1));
        session.handle_stream(Instant::ZERO, &mut server, &late);
        assert_eq!(server.counters().applied, 0);
        assert!(!session.wants_resume());
        session.poll_transmit().unwrap();
        assert!(session.wants_resume());
        session.handle_stream(Instant::ZERO, &mut server, &[]);
        assert_eq!(server.counters().applied, 1);
        assert!(session.wants_read());
    }

    #[test]
    fn waiting_bytes_are_bounded_and_a_deadline_counts_while_they_wait() {
        let (mut server, _) = session();
        let limits = SessionLimits { max_buffered_out: 64, ..SessionLimits::default() };
        let mut session = ServerSession::new(Instant::ZERO, limits);
        session.handle_stream(Instant::ZERO, &mut server, &hello(1));
        let client = lease(&mut server, 1);
        let request = deposit(7);
        let header =
            Header { op: 2, client, seq: 1, deadline_us: 1_000, ..Header::of(Kind::Request) };
        let mut out = BytesMut::new();
        encode_request(&mut out, &header, &request, 0);
        session.handle_stream(Instant::ZERO, &mut server, &out);
        session.poll_transmit().unwrap();
        session.handle_stream(Instant::ZERO + 2 * MS, &mut server, &[]);
        let reply = session.poll_transmit().unwrap();
        let answer = decode_answer(&Frame::parse(&reply).unwrap()).unwrap();
        assert_eq!(answer, Answer::Refused(Refusal::DeadlinePassed));
        session.handle_stream(Instant::ZERO, &mut server, &vec![0; MAX_BUFFERED_IN + 1]);
        assert_eq!(session.closing(), Some(CloseReason::Overrun));
        assert_eq!(server.counters().applied, 0);
    }
}

mod stream {
    //! A client and a session connected by a pipe.
    use super::*;

    struct Pipe {
        server: Server<MemoryStore>,
        session: ServerSession,
        client: StreamClient,
        now: Instant,
        events: Vec<ClientEvent>,
    }

    impl Pipe {
        fn new(server: Server<MemoryStore>, identity: Identity) -> Self {
            let now = Instant::ZERO;
            let config = StreamClientConfig::default();
            Self {
                server,
                session: ServerSession::new(now, SessionLimits::default()),
                client: StreamClient::new(config, identity, now),
                now,
                events: Vec::new(),
            }
        }

        /// Transfers bytes both ways in pieces of `piece` until there are none.
        fn settle(&mut self, piece: usize) {
            loop {
                let up = self.client.poll_transmit(self.now);
                for chunk in up.iter().flat_map(|bytes| bytes.chunks(piece)) {
                    self.session.handle_stream(self.now, &mut self.server, chunk);
                }
                let down = self.session.poll_transmit();
                for chunk in down.iter().flat_map(|bytes| bytes.chunks(piece)) {
                    self.client.handle_bytes(self.now, chunk);
                }
                while let Some(event) = self.client.poll_event() {
                    self.events.push(event);
                }
                if up.is_none() && down.is_none() {
                    return;
                }
            }
        }

        fn outcomes(&self) -> Vec<Outcome> {
            let finished = |event: &ClientEvent| match event {
                ClientEvent::Finished(finished) => Some(finished.outcome.clone()),
                _ => None,
            };
            self.events.iter().filter_map(finished).collect()
        }
    }

    #[test]
    fn calls_are_answered_however_the_stream_is_cut() {
        for piece in [1, 3, 47, 64, 1_000_000] {
            let mut pipe = Pipe::new(server(Dedup::Durable), Identity::new(1));
            for cents in 1..=20 {
                pipe.client.send(pipe.now, deposit(cents)).unwrap();
            }
            pipe.client.send(pipe.now, transfer(50)).unwrap();
            let page = Request::Transactions { account: AccountId(1), from_entry: 0, limit: 0 };
            pipe.client.send(pipe.now, page).unwrap();
            pipe.settle(piece);
            let outcomes = pipe.outcomes();
            assert_eq!(outcomes.len(), 22, "pieces of {piece}");
            assert_eq!(pipe.events[0], ClientEvent::Ready);
            let Outcome::Done(Reply::Transactions { entries, next: None }) = &outcomes[21] else {
                panic!("{:?}", outcomes[21]);
            };
            assert_eq!(entries.len(), 21);
            assert_eq!(entries[20].balance, Cents(1_000 + 210 - 50));
        }
    }

    #[test]
    fn a_lease_resumed_needs_no_round_trip_of_its_own() {
        let mut pipe = Pipe::new(server(Dedup::Durable), Identity::new(1));
        pipe.client.send(pipe.now, deposit(1)).unwrap();
        pipe.settle(100);
        let mut pipe = Pipe::new(pipe.server, pipe.client.identity().clone());
        pipe.client.send(pipe.now, deposit(2)).unwrap();
        let first = pipe.client.poll_transmit(pipe.now).unwrap();
        assert_eq!(first.len(), 72 + 64);
        pipe.session.handle_stream(pipe.now, &mut pipe.server, &first);
        assert_eq!(pipe.server.counters().applied, 2);
    }

    #[test]
    fn a_broken_connection_leaves_sent_calls_unknown_and_unsent_ones_refused() {
        let mut pipe = Pipe::new(server(Dedup::Durable), Identity::new(1));
        pipe.settle(100);
        pipe.client.send(pipe.now, deposit(1)).unwrap();
        let lost = pipe.client.poll_transmit(pipe.now).unwrap();
        pipe.session.handle_stream(pipe.now, &mut pipe.server, &lost);
        pipe.client.send(pipe.now, deposit(2)).unwrap();
        pipe.client.handle_closed(pipe.now);
        pipe.session = ServerSession::new(pipe.now, SessionLimits::default());
        pipe.settle(100);
        let outcomes = pipe.outcomes();
        let Outcome::Unknown(key) = outcomes[0] else { panic!("{:?}", outcomes[0]) };
        assert_eq!(outcomes[1], Outcome::Refused(Refusal::NotSent));
        assert_eq!(pipe.events.last(), Some(&ClientEvent::Closed(CloseReason::PeerClosed)));
        // Retrying the key returns the first outcome.
        let mut pipe = Pipe::new(pipe.server, pipe.client.identity().clone());
        pipe.client.ask_again(pipe.now, key, 1, deposit(1)).unwrap();
        pipe.settle(100);
        let done = Outcome::Done(Reply::Deposited { balance: Cents(1_001), entry: 1 });
        assert_eq!(pipe.outcomes(), [done]);
        assert_eq!(pipe.server.counters().applied, 1);
    }

    #[test]
    fn goaway_refuses_later_requests_and_ends_the_session() {
        let mut pipe = Pipe::new(server(Dedup::Durable), Identity::new(1));
        pipe.settle(100);
        pipe.client.send(pipe.now, deposit(1)).unwrap();
        pipe.settle(100);
        pipe.client.send(pipe.now, deposit(2)).unwrap();
        let on_its_way = pipe.client.poll_transmit(pipe.now).unwrap();
        pipe.server.drain();
        pipe.session.begin_drain(pipe.now);
        let goaway = pipe.session.poll_transmit().unwrap();
        pipe.client.handle_bytes(pipe.now, &goaway);
        pipe.session.handle_stream(pipe.now, &mut pipe.server, &on_its_way);
        pipe.settle(100);
        assert_eq!(pipe.outcomes()[1], Outcome::Refused(Refusal::Draining));
        assert_eq!(pipe.events.last(), Some(&ClientEvent::Closed(CloseReason::Drained)));
        assert_eq!(pipe.server.counters().applied, 1);
        let end = pipe.session.poll_timeout().unwrap();
        pipe.session.handle_timeout(end);
        assert_eq!(pipe.session.closing(), Some(CloseReason::Drained));
    }

    #[test]
    fn a_restarted_server_refuses_the_lost_lease_and_then_works() {
        let mut pipe = Pipe::new(server(Dedup::Durable), Identity::new(1));
        pipe.settle(100);
        let mut fresh =
            Server::new(ServerConfig::default(), MemoryStore::with_accounts(ACCOUNTS, OPENING), 6);
        lease(&mut fresh, 77);
        let mut pipe = Pipe::new(fresh, pipe.client.identity().clone());
        pipe.client.send(pipe.now, deposit(1)).unwrap();
        pipe.settle(100);
        assert_eq!(pipe.outcomes(), [Outcome::Refused(Refusal::LeaseExpired)]);
        pipe.client.send(pipe.now, deposit(1)).unwrap();
        pipe.settle(100);
        assert!(matches!(pipe.outcomes()[1], Outcome::Done(_)));
    }
}

mod datagram {
    //! Exactly-once delivery over a path that loses, duplicates and reorders.
    use super::*;

    /// The path's impairments, in percent of datagrams.
    #[derive(Clone, Copy, Debug)]
    struct Path {
        loss: u64,
        duplicate: u64,
        reorder: u64,
    }

    struct Net {
        server: Server<MemoryStore>,
        client: DatagramClient,
        path: Path,
        seed: u64,
        draws: u64,
        now: Instant,
        flying: BTreeMap<(Instant, u64), (bool, Bytes)>,
        finished: Vec<Finished>,
        ready: bool,
    }

    impl Net {
        fn new(path: Path, seed: u64, dedup: Dedup, delivery: Delivery) -> Self {
            let config = DatagramClientConfig { delivery, ..DatagramClientConfig::default() };
            Self {
                server: server(dedup),
                client: DatagramClient::new(config, Identity::new(seed), seed),
                path,
                seed,
                draws: 0,
                now: Instant::ZERO,
                flying: BTreeMap::new(),
                finished: Vec::new(),
                ready: false,
            }
        }

        fn percent(&mut self) -> u64 {
            self.draws += 1;
            keyed(self.seed, self.draws) % 100
        }

        fn send(&mut self, to_server: bool, bytes: &Bytes) {
            if self.percent() < self.path.loss {
                return;
            }
            let copies = 1 + u64::from(self.percent() < self.path.duplicate);
            for _ in 0..copies {
                let late = if self.percent() < self.path.reorder { self.percent() } else { 0 };
                let at = self.now + 10 * MS + MS * u32::try_from(late).unwrap();
                self.draws += 1;
                self.flying.insert((at, self.draws), (to_server, bytes.clone()));
            }
        }

        /// Runs to `until`, or until no event is left.
        fn run(&mut self, until: Instant) {
            for _ in 0..100_000 {
                while let Some(bytes) = self.client.poll_transmit(self.now) {
                    assert!(bytes.len() <= MAX_DATAGRAM);
                    self.send(true, &bytes);
                }
                while let Some(event) = self.client.poll_event() {
                    match event {
                        ClientEvent::Finished(finished) => self.finished.push(finished),
                        ClientEvent::Ready => self.ready = true,
                        ClientEvent::Late { .. } | ClientEvent::Closed(_) => {}
                    }
                }
                let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
                let timer = self.client.poll_timeout();
                let Some(next) = arrival.into_iter().chain(timer).min().filter(|at| *at <= until)
                else {
                    self.now = until;
                    return;
                };
                self.now = self.now.max(next);
                if arrival == Some(next) {
                    let (_, (to_server, bytes)) = self.flying.pop_first().unwrap();
                    if to_server {
                        if let Some(reply) = self.server.handle_datagram(self.now, &bytes) {
                            assert!(reply.len() <= bytes.len(), "seed {}", self.seed);
                            self.send(false, &reply);
                        }
                    } else {
                        self.client.handle_bytes(self.now, &bytes);
                    }
                } else {
                    self.client.handle_timeout(self.now);
                }
            }
            panic!("seed {}: still busy after 100,000 steps", self.seed);
        }

        fn keys(&self, wanted: impl Fn(&Outcome) -> bool) -> Vec<Key> {
            let client = self.server.storage().leases().unwrap()[0].client;
            let wanted = self.finished.iter().filter(|f| wanted(&f.outcome));
            wanted.map(|f| Key { client, seq: f.seq }).collect()
        }
    }

    const ROUGH: Path = Path { loss: 20, duplicate: 20, reorder: 30 };
    const CALM: Path = Path { loss: 0, duplicate: 0, reorder: 0 };

    fn work(net: &mut Net, calls: u64) {
        net.client.connect(net.now);
        for call in 0..calls {
            let request = if call % 3 == 2 { transfer(call * 10 + 1) } else { deposit(call + 1) };
            net.client.send(net.now, request).unwrap();
            net.run(net.now + 30 * MS);
        }
        net.run(net.now + Duration::from_secs(60));
        assert_eq!(net.finished.len() as u64, calls, "seed {}", net.seed);
    }

    #[test]
    fn exactly_once_under_loss_duplication_and_reordering() {
        for seed in 0..150 {
            let dedup = if seed % 2 == 0 { Dedup::Durable } else { Dedup::Volatile };
            let mut net = Net::new(ROUGH, seed, dedup, Delivery::ExactlyOnce);
            work(&mut net, 40);
            let done = net.keys(|outcome| matches!(outcome, Outcome::Done(_)));
            let unknown = net.keys(|outcome| matches!(outcome, Outcome::Unknown(_)));
            let refused = net.keys(|outcome| matches!(outcome, Outcome::Refused(_)));
            let report = audit(net.server.storage(), &done, &unknown).unwrap();
            assert!(report.balanced, "seed {seed}: {report:?}");
            assert_eq!(report.keys_applied_twice, 0, "seed {seed}");
            assert_eq!(report.acknowledged_not_applied, 0, "seed {seed}");
            assert_eq!(report.entries, done.len() as u64 + report.unknown_applied, "seed {seed}");
            let none = audit(net.server.storage(), &refused, &[]).unwrap();
            assert_eq!(none.acknowledged_not_applied, refused.len() as u64, "seed {seed}");
        }
    }

    #[test]
    fn at_least_once_applies_some_twice_and_at_most_once_none() {
        let (mut twice, mut unknown) = (0, 0);
        for seed in 0..20 {
            let mut net = Net::new(ROUGH, seed, Dedup::Durable, Delivery::AtLeastOnce);
            work(&mut net, 40);
            let report = audit(net.server.storage(), &[], &[]).unwrap();
            assert!(report.balanced, "seed {seed}");
            twice += report.keys_applied_twice;

            let mut net = Net::new(ROUGH, seed, Dedup::Volatile, Delivery::AtMostOnce);
            work(&mut net, 40);
            let report = audit(net.server.storage(), &[], &[]).unwrap();
            assert_eq!(report.keys_applied_twice, 0, "seed {seed}");
            unknown += net.keys(|outcome| matches!(outcome, Outcome::Unknown(_))).len();
            assert!(net.finished.iter().all(|f| f.attempts <= 1), "seed {seed}");
        }
        assert!(twice > 20, "at least once applied only {twice} keys twice");
        assert!(unknown > 100, "at most once left only {unknown} unknown");
    }

    #[test]
    fn a_calm_path_takes_one_round_trip_a_call_and_no_retry() {
        let mut net = Net::new(CALM, 1, Dedup::Durable, Delivery::ExactlyOnce);
        work(&mut net, 40);
        assert_eq!((net.client.stats().sent, net.client.stats().retries), (41, 0));
        for finished in &net.finished[1..] {
            assert_eq!(finished.finished.since(finished.started), 20 * MS);
            let answered = finished.answered.unwrap();
            assert_eq!(finished.finished.since(answered.sent), 20 * MS);
        }
        let srtt = net.client.rtt().srtt().unwrap();
        assert_eq!(srtt.as_millis(), 20);
    }

    #[test]
    fn the_retry_staircase_doubles_from_the_estimate() {
        let mut net = Net::new(CALM, 3, Dedup::Durable, Delivery::ExactlyOnce);
        work(&mut net, 100);
        net.path.loss = 100;
        let start = net.now;
        net.client.send(net.now, deposit(1)).unwrap();
        let mut sent = Vec::new();
        while net.now < start + Duration::from_secs(9) {
            if net.client.poll_transmit(net.now).is_some() {
                sent.push(net.now.since(start));
            }
            net.now = net.client.poll_timeout().unwrap();
            net.client.handle_timeout(net.now);
        }
        assert_eq!(sent[0], Duration::ZERO);
        let mut timer = Duration::from_millis(30);
        for pair in sent.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap >= timer && gap <= timer * 107 / 100 + MS, "{gap:?} for {timer:?}");
            timer *= 2;
        }
        assert!(sent.len() >= 8, "{sent:?}");
        net.run(net.now + Duration::from_secs(10));
        let last = net.finished.last().unwrap();
        assert!(matches!(last.outcome, Outcome::Unknown(_)), "{last:?}");
        assert_eq!(last.finished.since(last.started), Duration::from_secs(10));
    }

    #[test]
    fn without_a_server_calls_are_refused() {
        let path = Path { loss: 100, duplicate: 0, reorder: 0 };
        let mut net = Net::new(path, 4, Dedup::Durable, Delivery::ExactlyOnce);
        net.client.connect(net.now);
        net.client.send(net.now, deposit(1)).unwrap();
        net.run(net.now + Duration::from_secs(60));
        assert_eq!(net.finished[0].outcome, Outcome::Refused(Refusal::NotSent));
        assert!(!net.ready);
        assert_eq!(net.client.poll_timeout(), None);
    }

    #[test]
    fn unknown_calls_do_not_block_the_window() {
        let mut net = Net::new(CALM, 5, Dedup::Durable, Delivery::AtMostOnce);
        work(&mut net, 1);
        for call in 0..3 * WINDOW {
            net.path.loss = if call % 7 == 0 { 100 } else { 0 };
            net.client.send(net.now, deposit(1)).unwrap();
            net.run(net.now + 25 * MS);
            if call % 50 == 0 {
                net.run(net.now + Duration::from_secs(11));
            }
        }
        net.run(net.now + Duration::from_secs(11));
        let refused = net.keys(|outcome| matches!(outcome, Outcome::Refused(_)));
        assert_eq!(refused, []);
        assert_eq!(net.finished.len() as u64, 1 + 3 * WINDOW);
    }

    #[test]
    fn a_lost_lease_is_requested_again() {
        let mut net = Net::new(CALM, 6, Dedup::Durable, Delivery::ExactlyOnce);
        work(&mut net, 3);
        net.server.handle_timeout(net.now + Duration::from_secs(700));
        net.client.send(net.now, deposit(1)).unwrap();
        net.run(net.now + Duration::from_secs(1));
        let expired = Outcome::Refused(Refusal::LeaseExpired);
        assert_eq!(net.finished.last().unwrap().outcome, expired);
        net.client.send(net.now, deposit(1)).unwrap();
        net.run(net.now + Duration::from_secs(1));
        assert!(matches!(net.finished.last().unwrap().outcome, Outcome::Done(_)));
    }

    #[test]
    fn a_forged_reply_ends_no_call() {
        let mut net = Net::new(CALM, 7, Dedup::Durable, Delivery::ExactlyOnce);
        work(&mut net, 1);
        let seq = net.client.send(net.now, deposit(1)).unwrap();
        net.client.poll_transmit(net.now).unwrap();
        let mut out = BytesMut::new();
        let header = Header { client: 99, seq, attempt: 1, ..Header::of(Kind::Response) };
        let reply = Reply::Deposited { balance: Cents(1), entry: 1 };
        codec::encode_answer(&mut out, &header, &Answer::Done(reply));
        net.client.handle_bytes(net.now, &out);
        net.client.handle_bytes(net.now, &[0; 80]);
        assert_eq!(net.client.in_flight(), 1);
        assert_eq!(net.client.stats().discarded.values().sum::<u64>(), 2);
    }
}

mod failing {
    //! Storage failures: the answer is of the indefinite class, and the outcome is unknown.
    use super::*;
    use wirelab::bank::storage::{
        Account, CommitIndex, Completion, Entry, Lease, Line, StorageError, Transaction,
    };

    /// A memory store whose next commits fail, with or without effect.
    struct Failing {
        inner: MemoryStore,
        failures: u32,
        applies_all_the_same: bool,
    }

    impl Storage for Failing {
        fn is_durable(&self) -> bool {
            self.inner.is_durable()
        }

        fn accounts(&self) -> u64 {
            self.inner.accounts()
        }
        fn account(&self, account: AccountId) -> Result<Option<Account>, StorageError> {
            self.inner.account(account)
        }
        fn address(&self, account: AccountId) -> Result<Option<String>, StorageError> {
            self.inner.address(account)
        }
        fn lines(&self, a: AccountId, from: u64, limit: usize) -> Result<Vec<Line>, StorageError> {
            self.inner.lines(a, from, limit)
        }
        fn last_entry(&self) -> u64 {
            self.inner.last_entry()
        }
        fn entry(&self, number: u64) -> Result<Option<Entry>, StorageError> {
            self.inner.entry(number)
        }
        fn supply(&self) -> Cents {
            self.inner.supply()
        }
        fn commit_index(&self) -> CommitIndex {
            self.inner.commit_index()
        }
        fn completion(&self, key: Key) -> Result<Option<Completion>, StorageError> {
            self.inner.completion(key)
        }
        fn leases(&self) -> Result<Vec<Lease>, StorageError> {
            self.inner.leases()
        }
        fn leases_granted(&self) -> u64 {
            self.inner.leases_granted()
        }
        fn commit(&mut self, transaction: Transaction) -> Result<CommitIndex, StorageError> {
            if self.failures == 0 || transaction.entry.is_none() {
                return self.inner.commit(transaction);
            }
            self.failures -= 1;
            if self.applies_all_the_same {
                self.inner.commit(transaction)?;
            }
            Err(StorageError { operation: "commit", cause: "the disk is on fire".to_owned() })
        }
    }

    #[test]
    fn is_retried_under_the_same_key_and_applied_once() {
        for applies_all_the_same in [false, true] {
            let inner = MemoryStore::with_accounts(ACCOUNTS, OPENING);
            let store = Failing { inner, failures: 1, applies_all_the_same };
            let mut server = Server::new(ServerConfig::default(), store, 5);
            let config = DatagramClientConfig::default();
            let mut client = DatagramClient::new(config, Identity::new(1), 1);
            let mut now = Instant::ZERO;
            client.connect(now);
            client.send(now, deposit(7)).unwrap();
            let mut finished = None;
            while finished.is_none() {
                while let Some(bytes) = client.poll_transmit(now) {
                    if let Some(reply) = server.handle_datagram(now, &bytes) {
                        client.handle_bytes(now, &reply);
                    }
                }
                while let Some(event) = client.poll_event() {
                    if let ClientEvent::Finished(end) = event {
                        finished = Some(end);
                    }
                }
                if finished.is_none() {
                    now = client.poll_timeout().unwrap();
                    client.handle_timeout(now);
                }
            }
            let end = finished.unwrap();
            let done = Reply::Deposited { balance: Cents(1_007), entry: 1 };
            assert_eq!((end.outcome, end.attempts), (Outcome::Done(done), 2));
            assert_eq!(server.storage().last_entry(), 1);
            assert_eq!((client.stats().indefinite, server.counters().indefinite), (1, 1));
        }
    }

    #[test]
    fn leaves_a_single_attempt_unknown() {
        let inner = MemoryStore::with_accounts(ACCOUNTS, OPENING);
        let store = Failing { inner, failures: 9, applies_all_the_same: false };
        let mut server = Server::new(ServerConfig::default(), store, 5);
        let now = Instant::ZERO;
        let mut client = StreamClient::new(StreamClientConfig::default(), Identity::new(1), now);
        let mut session = ServerSession::new(now, SessionLimits::default());
        client.send(now, deposit(7)).unwrap();
        for _ in 0..2 {
            let up = client.poll_transmit(now).unwrap();
            session.handle_stream(now, &mut server, &up);
            client.handle_bytes(now, &session.poll_transmit().unwrap());
        }
        assert_eq!(client.poll_event(), Some(ClientEvent::Ready));
        let Some(ClientEvent::Finished(end)) = client.poll_event() else { panic!("no end") };
        assert!(matches!(end.outcome, Outcome::Unknown(_)), "{end:?}");
        assert_eq!(server.storage().last_entry(), 0);
    }
}

#[test]
fn errors_name_the_faulty_byte() {
    let mut bytes = frame(1, 1, 0, &deposit(7)).to_vec();
    bytes[60] ^= 1;
    let Err(FrameError::Garbage(Violation::Checksum, error)) = Frame::parse(&bytes) else {
        panic!("a wrong checksum was accepted");
    };
    let view = wirelab::wire::hex::explain(&bytes, &error);
    assert!(view.contains("bank frame at byte 4: checksum"), "{view}");
    assert_eq!(Operation::Deposit.name(), "deposit");
}
