//! Any bytes to the message decoder: decode, encode, decode is decode.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wirelab::bank::codec::{Body, Message};
use wirelab::bank::frame::{HEADER_LEN, checksum};

fuzz_target!(|data: &[u8]| {
    if data.len() < HEADER_LEN {
        assert!(Message::decode(data).is_err());
        return;
    }
    let mut bytes = data.to_vec();
    let len = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[8..11].copy_from_slice(&[b'I', b'G', 1]);
    // Mostly valid kinds and operations.
    bytes[11] = if bytes[11] < 250 { 1 + bytes[11] % 5 } else { bytes[11] };
    let sum = checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    let Ok(first) = Message::decode(&bytes) else { return };
    let mut once = BytesMut::new();
    if !first.encode(&mut once) {
        assert!(matches!(first.body, Body::Request(Err(_))));
        return;
    }
    let second = Message::decode(&once).expect("what was encoded decodes");
    assert_eq!(second.body, first.body);
    let mut twice = BytesMut::new();
    assert!(second.encode(&mut twice));
    assert_eq!(once, twice);
    assert_eq!(Message::decode(&twice), Ok(second));
});
