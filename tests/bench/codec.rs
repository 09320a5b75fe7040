//! Encodes and decodes a deposit, against postcard and prost with the same fields.
//!
//! Rounds are interleaved, so that a noisy neighbour slows all alike. Ours includes CRC32C, which
//! the others lack; a second line shows what it costs.

use bytes::BytesMut;
use prost::Message as _;
use std::hint::black_box;
use wirelab::bank::codec::{decode_request, encode_request};
use wirelab::bank::frame::{Frame, Header, Kind, checksum};
use wirelab::bank::message::{AccountId, Amount, Operation, Request};

/// The fields of a deposit, as serde and prost carry them.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
struct Fields {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    op: u32,
    #[prost(uint32, tag = "4")]
    flags: u32,
    #[prost(uint64, tag = "5")]
    client: u64,
    #[prost(uint64, tag = "6")]
    seq: u64,
    #[prost(uint64, tag = "7")]
    ack_upto: u64,
    #[prost(uint32, tag = "8")]
    deadline_us: u32,
    #[prost(uint32, tag = "9")]
    attempt: u32,
    #[prost(uint64, tag = "10")]
    account: u64,
    #[prost(int64, tag = "11")]
    amount: i64,
}

/// Odd, so that a round is the median.
const ROUNDS: usize = 1_001;
/// A round of 0.1 ms mostly fits between two preemptions.
const PER_ROUND: u64 = 1_000;

fn deposit(i: u64) -> (Header, Request) {
    let header = Header {
        kind: Kind::Request,
        op: Operation::Deposit as u8,
        flags: 0,
        status: 0,
        client: 0x9e37_79b9_7f4a_7c15,
        seq: 1_000 + i,
        ack_upto: 990 + i,
        deadline_us: 2_000_000,
        attempt: 1,
    };
    let amount = Amount::new(1_234 + i % 100).expect("above 0");
    (header, Request::Deposit { account: AccountId(1 + i % 1_000), amount })
}

fn fields(i: u64) -> Fields {
    let (h, _) = deposit(i);
    Fields {
        version: 1,
        kind: h.kind as u32,
        op: h.op.into(),
        flags: h.flags.into(),
        client: h.client,
        seq: h.seq,
        ack_upto: h.ack_upto,
        deadline_us: h.deadline_us,
        attempt: h.attempt.into(),
        account: 1 + i % 1_000,
        amount: i64::try_from(1_234 + i % 100).expect("small"),
    }
}

/// Nanoseconds per call, over a round.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a round stay below 2^52")]
fn time(mut work: impl FnMut(u64)) -> f64 {
    let start = std::time::Instant::now();
    for i in 0..PER_ROUND {
        work(i);
    }
    start.elapsed().as_nanos() as f64 / PER_ROUND as f64
}

fn ours(buffer: &mut BytesMut, i: u64) {
    let (header, request) = black_box(deposit(i));
    buffer.clear();
    encode_request(buffer, &header, &request, 0);
    let frame = Frame::parse(black_box(&buffer[..])).expect("just encoded");
    let decoded = decode_request(&frame).expect("just encoded");
    assert_eq!((frame.header().seq, decoded), (header.seq, request));
}

fn postcard(buffer: &mut [u8], i: u64) {
    let value = black_box(fields(i));
    let bytes = postcard::to_slice(&value, buffer).expect("it fits");
    let decoded: Fields = postcard::from_bytes(black_box(bytes)).expect("just encoded");
    assert_eq!(decoded, value);
}

fn prost(buffer: &mut BytesMut, i: u64) {
    let value = black_box(fields(i));
    buffer.clear();
    value.encode(buffer).expect("it grows");
    let decoded = Fields::decode(black_box(&buffer[..])).expect("just encoded");
    assert_eq!(decoded, value);
}

/// Prints the table; false if ours is slower than either peer.
pub(crate) fn run() -> bool {
    let mut buffer = BytesMut::with_capacity(4_096);
    let mut slice = [0_u8; 256];
    let names =
        ["bank frame with CRC32C", "of which CRC32C, twice", "postcard, no CRC", "prost, no CRC"];
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        rounds[0].push(time(|i| ours(&mut buffer, i)));
        // The frame of the last call: one checksum to encode, one to decode.
        rounds[1].push(time(|_| {
            black_box(checksum(black_box(&buffer)));
            black_box(checksum(black_box(&buffer)));
        }));
        rounds[2].push(time(|i| postcard(&mut slice, i)));
        rounds[3].push(time(|i| prost(&mut buffer, i)));
    }
    for round in &mut rounds {
        round.sort_by(f64::total_cmp);
    }
    let median = |index: usize| rounds[index][ROUNDS / 2];
    println!("codec: encode + decode + compare of one deposit, {ROUNDS} interleaved rounds");
    println!("{:<24} {:>9} {:>19} {:>12}", "", "median ns", "min - max", "against ours");
    for (index, name) in names.iter().enumerate() {
        let (low, high) = (rounds[index][0], rounds[index][ROUNDS - 1]);
        let ratio = median(index) / median(0);
        println!("{name:<24} {:>9.1} {low:>8.1} - {high:>8.1} {ratio:>11.2}x", median(index));
    }
    let holds = median(0) <= median(2) && median(0) <= median(3);
    println!("at least as fast as both, checksum included: {}", if holds { "yes" } else { "NO" });
    holds
}
