//! A walk under arbitrary bytes, damaged replies, refusals and delays, in any order.
//!
//! It stays within its budget, and has a timer until its summary.
#![no_main]

use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, Variant};
use dns_walk::text::Question;
use dns_walk::walk::{Transmit, Walk, WalkConfig};
use dns_walk::{Name, RecordType};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wirelab::measure::Instant;

fuzz_target!(|data: &[u8]| {
    let Some((&[seed, flags], mut rest)) = data.split_first_chunk::<2>() else { return };
    let authority = Authority::demo(Variant::Broken).unwrap();
    let config = WalkConfig {
        public_only: false,
        check: flags & 1 == 0,
        random_case: flags & 2 == 0,
        edns: flags & 4 == 0,
        tcp: flags & 8 != 0,
        ..WalkConfig::default()
    };
    let asked = Question::new(Name::from_ascii("www.igbank.com.").unwrap(), RecordType::A);
    let hints = authority.hints(53);
    let mut now = Instant::ZERO;
    let mut walk = Walk::new(config, hints, asked, seed.into(), Cache::default(), now);
    let mut open: Vec<Transmit> = Vec::new();
    let mut sent = 0;
    while let Some((&[step, size], tail)) = rest.split_first_chunk::<2>() {
        let (bytes, tail) = tail.split_at(usize::from(size).min(tail.len()));
        rest = tail;
        while let Some(transmit) = walk.poll_transmit() {
            sent += 1;
            open.push(transmit);
        }
        while let Some(id) = walk.poll_release() {
            open.retain(|transmit| transmit.attempt != id);
        }
        while walk.poll_event().is_some() {}
        assert!(sent <= config.limits.queries);
        assert!(walk.is_done() || walk.poll_timeout().is_some());
        let at = usize::from(step >> 3) % open.len().max(1);
        let Some(query) = open.get(at).cloned() else { return };
        let reply = || authority.reply(query.to.ip(), query.transport, &query.bytes);
        match step % 8 {
            0 | 1 => {
                if let Some(reply) = reply() {
                    walk.handle_reply(now, query.attempt, query.to, &reply);
                }
            }
            2 | 3 => {
                if let Some(mut reply) = reply() {
                    for pair in bytes.chunks_exact(2) {
                        let at = 2 + usize::from(pair[0]) % (reply.len() - 2);
                        reply[at] ^= pair[1];
                    }
                    walk.handle_reply(now, query.attempt, query.to, &reply);
                }
            }
            // The right ID and question, then anything.
            4 => {
                let mut made = query.bytes.clone();
                made[2] |= 0x80;
                made.extend_from_slice(bytes);
                for (at, byte) in bytes.iter().take(9).enumerate() {
                    made[3 + at] = *byte;
                }
                walk.handle_reply(now, query.attempt, query.to, &made);
            }
            5 => walk.handle_reply(now, query.attempt, query.to, bytes),
            6 => walk.handle_unreachable(now, query.attempt, "closed"),
            _ => {
                now += Duration::from_millis(u64::from(size) * 8);
                walk.handle_timeout(now);
            }
        }
    }
    // Without input it ends in time.
    while let Some(at) = walk.poll_timeout() {
        now = now.max(at);
        walk.handle_timeout(now);
        while walk.poll_transmit().is_some() {}
    }
    assert!(walk.is_done());
});
