//! The published test vectors: page, file and code agree.
//! Another implementation made the file, so it is never rewritten from this code's output.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use std::collections::BTreeSet;
use wirelab::bank::codec::Message;
use wirelab::bank::frame::{Frame, Kind, checksum};
use wirelab::bank::message::Cents;
use wirelab::bank::server::{Server, ServerConfig};
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::stream::{ServerSession, SessionLimits};
use wirelab::measure::Instant;
use wirelab::wire::hex;

const VECTORS: &str = include_str!("data/bank-vectors.json");
const TRANSCRIPTS: &str = include_str!("data/bank-transcripts.json");
const NEGATIVE: &str = include_str!("data/bank-negative-vectors.json");
const PROTOCOL: &str = include_str!("../src/bank/PROTOCOL.md");

fn vectors() -> Vec<Value> {
    serde_json::from_str(VECTORS).unwrap()
}

#[test]
fn every_vector_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for vector in vectors() {
        let name = vector["name"].as_str().unwrap();
        let bytes = hex::parse(vector["hex"].as_str().unwrap()).unwrap();
        let message = Message::decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(serde_json::to_value(message.header).unwrap(), vector["header"], "{name}");
        assert_eq!(serde_json::to_value(&message.body).unwrap(), vector["body"], "{name}");
        if vector["encode"] == true {
            let mut out = BytesMut::new();
            assert!(message.encode(&mut out), "{name}");
            assert_eq!(hex::compact(&out), hex::compact(&bytes), "{name}");
        }
    }
}

#[test]
fn the_page_shows_every_vector() {
    for vector in vectors() {
        let lines = format!(
            "{}\n  {}\n",
            vector["name"].as_str().unwrap(),
            vector["hex"].as_str().unwrap()
        );
        assert!(PROTOCOL.contains(&lines), "PROTOCOL.md lacks {}", vector["name"]);
    }
}

#[test]
fn every_kind_operation_and_status_has_a_vector() {
    let seen: BTreeSet<(String, u64, u64)> = vectors()
        .iter()
        .map(|v| {
            let header = &v["header"];
            let number = |field: &str| header[field].as_u64().unwrap();
            (header["kind"].as_str().unwrap().to_owned(), number("op"), number("status"))
        })
        .collect();
    let has = |kind: &str, op, status| seen.contains(&(kind.to_owned(), op, status));
    assert!(has("hello", 0, 0) && has("welcome", 0, 0) && has("welcome", 0, 13));
    assert!(has("go_away", 0, 0) && has("response", 2, 0x8001));
    assert!((1..=6).all(|op| has("request", op, 0) && has("response", op, 0)));
    assert!((1..=16).all(|status| has("response", 2, status)));
}

/// Reaction of a server to each bad frame: close, silence or refusal.
#[test]
fn every_negative_vector_is_closed_ignored_or_refused_as_told() {
    let positive = vectors();
    let hello = hex::parse(positive[0]["hex"].as_str().unwrap()).unwrap();
    let negative: Vec<Value> = serde_json::from_str(NEGATIVE).unwrap();
    for vector in &negative {
        let (name, now) = (vector["name"].as_str().unwrap(), Instant::ZERO);
        let store = MemoryStore::with_accounts(3, Cents(1_000));
        let mut server = Server::new(ServerConfig::default(), store, 1);
        let mut session = ServerSession::new(now, SessionLimits::default());
        let mut bytes = hex::parse(vector["hex"].as_str().unwrap()).unwrap();
        let stream = vector["carrier"] == "stream";
        let welcome = if !stream {
            server.handle_datagram(now, &hello)
        } else if vector["greeted"] == true {
            session.handle_stream(now, &mut server, &hello);
            session.poll_transmit()
        } else {
            None
        };
        if vector["lease"] == true {
            let lease = Message::decode(&welcome.unwrap()).unwrap().header.client;
            put_lease(&mut bytes, lease);
        }
        let reply: Option<Bytes> = if stream {
            session.handle_stream(now, &mut server, &bytes);
            session.poll_transmit()
        } else {
            server.handle_datagram(now, &bytes)
        };
        let status = reply.as_ref().map(|reply| Message::decode(reply).unwrap().header.status);
        match vector["expect"].as_u64() {
            Some(expected) => assert_eq!(status.map(u64::from), Some(expected), "{name}"),
            None => assert_eq!(status, None, "{name}"),
        }
        let closed = vector["expect"] == "close";
        assert_eq!(session.closing().is_some(), closed, "{name}: {:?}", session.closing());
    }
}

fn put_lease(bytes: &mut [u8], lease: u64) {
    bytes[16..24].copy_from_slice(&lease.to_le_bytes());
    let sum = checksum(bytes).to_le_bytes();
    bytes[4..8].copy_from_slice(&sum);
}

/// Three accounts of 10.00; a restart begins with a new store.
#[test]
fn every_transcript_gets_its_replies() {
    let server = |seed| {
        let store = MemoryStore::with_accounts(3, Cents(1_000));
        Server::new(ServerConfig::default(), store, seed)
    };
    let transcripts: Vec<Value> = serde_json::from_str(TRANSCRIPTS).unwrap();
    for transcript in &transcripts {
        let name = transcript["name"].as_str().unwrap();
        let (mut bank, mut lease) = (server(1), 0);
        for (number, step) in transcript["steps"].as_array().unwrap().iter().enumerate() {
            if step["restart"] == true {
                bank = server(2);
                continue;
            }
            let mut bytes = hex::parse(step["send"].as_str().unwrap()).unwrap();
            if lease != 0 {
                put_lease(&mut bytes, lease);
            }
            let reply = bank.handle_datagram(Instant::ZERO, &bytes).unwrap();
            let frame = Frame::parse(&reply).unwrap();
            let header = frame.header();
            assert_eq!(u64::from(header.status), step["status"], "{name}, step {number}");
            if header.kind == Kind::Welcome {
                assert!(lease == 0 || lease == header.client, "{name}, step {number}");
                lease = header.client;
            }
            if let Some(block) = step["block"].as_str() {
                assert_eq!(hex::compact(frame.block()), block, "{name}, step {number}");
            }
        }
    }
}
