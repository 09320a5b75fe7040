//! A resolver under arbitrary client queries, with walks that get no replies.
//!
//! It answers only queries, within the client's size limit, and does not amplify malformed ones.
#![no_main]

use dns_walk::batch::{BatchConfig, BatchResolver};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, JUDGED, Variant};
use dns_walk::event::Transport;
use dns_walk::resolver::{Client, Resolver};
use dns_walk::walk::WalkConfig;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wirelab::measure::Instant;

/// Maximum UDP reply: the server's limit, regardless of the client's.
const UDP_MAX: usize = 1232;

fuzz_target!(|data: &[u8]| {
    let Some((&[flags], mut rest)) = data.split_first_chunk::<1>() else { return };
    let authority = Authority::demo(Variant::Sound).unwrap();
    let usual = BatchConfig::default();
    let walk = WalkConfig { public_only: false, validate_at: Some(JUDGED), ..usual.walk };
    let fleet =
        BatchResolver::new(BatchConfig { walk, ..usual }, authority.hints(53), 1, Cache::default());
    let mut resolver = Resolver::new(fleet, 8);
    let transport = if flags & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let mut now = Instant::ZERO;
    let mut queries: Vec<&[u8]> = Vec::new();
    let mut waiting = 0;
    while let Some((&[size], tail)) = rest.split_first_chunk::<1>() {
        let (bytes, tail) = tail.split_at(usize::from(size).min(tail.len()));
        rest = tail;
        let client = Client(queries.len().try_into().unwrap());
        queries.push(bytes);
        waiting += usize::from(resolver.handle_query(now, client, transport, bytes));
    }
    // Half of the servers reply; walks at the others time out.
    while !resolver.is_idle() || waiting > 0 {
        resolver.settle(now);
        while let Some(reply) = resolver.poll_reply() {
            waiting -= 1;
            let query = queries[usize::try_from(reply.client.0).unwrap()];
            assert!(query.len() >= 12 && query[2] & 0x80 == 0, "a reply to what is no query");
            assert_eq!(reply.bytes[..2], query[..2]);
            assert!(reply.bytes[2] & 0x80 != 0);
            let short = reply.bytes.len() <= query.len().max(12);
            let unread = matches!(reply.bytes[3] & 0x0f, 1 | 4) && reply.bytes.len() == 12;
            assert!(!unread || short);
            assert!(transport == Transport::Tcp || reply.bytes.len() <= UDP_MAX);
        }
        let fleet = resolver.fleet_mut();
        while fleet.poll_release().is_some() {}
        let mut any = false;
        while let Some(query) = fleet.poll_transmit() {
            if flags & 2 == 0
                && let Some(reply) = authority.reply(query.to.ip(), query.transport, &query.bytes)
            {
                any = true;
                fleet.handle_reply(now, query.query, query.to, &reply);
            }
        }
        if let Some(at) = fleet.poll_timeout().filter(|_| !any) {
            now = now.max(at);
            fleet.handle_timeout(now);
        }
        assert!(now < Instant::ZERO + Duration::from_secs(60), "a question without an end");
    }
});
