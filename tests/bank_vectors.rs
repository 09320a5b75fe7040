//! The published test vectors: page, file and code agree.
//! Another implementation made the file, so it is never rewritten from this code's output.

use bytes::BytesMut;
use serde_json::Value;
use std::collections::BTreeSet;
use wirelab::bank::codec::Message;
use wirelab::wire::hex;

const VECTORS: &str = include_str!("data/bank-vectors.json");
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
