//! Any bytes as an NTP packet: a header and its fields, or an error.
//!
//! The bytes are read as a reply, as a request to the server, and as the reply to a request that
//! was sent. A reply is never longer than its request.
#![no_main]

use clock_offset::exchange::{Accepted, Exchange};
use clock_offset::packet::{HEADER_LEN, Packet};
use clock_offset::sample::{Arrival, TimePair};
use clock_offset::server::{ServerConfig, reply};
use clock_offset::timestamp::{NtpTimestamp, WallTime};
use libfuzzer_sys::fuzz_target;
use wirelab::measure::Instant;
use wirelab::wire::hex;

fuzz_target!(|data: &[u8]| {
    match Packet::open(data) {
        Ok(packet) => {
            assert_eq!(packet.header.encode(), data[..HEADER_LEN]);
            match packet.fields() {
                Ok(fields) => {
                    let sum: usize = fields.iter().map(|field| field.value.len() + 4).sum();
                    assert!([0, 20, 24].contains(&(data.len() - HEADER_LEN - sum)));
                }
                Err(error) => assert!(hex::explain(data, &error).contains("^^")),
            }
        }
        Err(error) => assert!(data.len() < HEADER_LEN && error.offset <= data.len()),
    }
    let time = WallTime::from_nanos(1_795_000_000_000_000_000);
    if let Ok(answer) = reply(&ServerConfig::default(), data, time, time) {
        assert!(answer.len() <= data.len());
    }
    judged(data, time);
});

/// The bytes with the right origin: accepted samples obey the arithmetic.
fn judged(data: &[u8], time: WallTime) {
    let mut bytes = data.to_vec();
    let Some(origin) = bytes.get_mut(24..32) else { return };
    origin.copy_from_slice(&7_u64.to_be_bytes());
    let server = "127.0.0.1:123".parse().unwrap();
    let pair = |ns: u64| TimePair {
        wall: time.plus(ns.cast_signed()),
        at: Instant::from_nanos(ns),
        width_ns: 60,
        slept_ns: 0,
    };
    let nonce = NtpTimestamp::from_bits(7);
    let (t1, left, before) = (pair(0), None, None);
    let exchange = Exchange { server, request: 1, local_port: 9, nonce, t1, left, before };
    let arrival = Arrival { user: pair(1_000_000), kernel: None };
    match exchange.judge(server, &bytes, &arrival) {
        Ok(Accepted { sample, .. }) => {
            assert!(sample.low_ns() <= sample.high_ns() + 101);
            assert!(sample.slack_ns > 0 && sample.root_distance_ns < 16_000_000_000);
        }
        Err(refusal) => assert!(!refusal.name().is_empty() && !refusal.to_string().is_empty()),
    }
}
