//! Any chunks and delays to both ends of a stream: memory is bounded, timers are in the future.
//!
//! The first byte of each step selects bytes to the session, bytes to the client, a timeout, a read
//! of the output, or a call.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wirelab::bank::client::Identity;
use wirelab::bank::codec::{Hello, encode_hello};
use wirelab::bank::frame::{MAX_FRAME, checksum};
use wirelab::bank::message::{AccountId, Amount, Cents, Request};
use wirelab::bank::server::{Server, ServerConfig};
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::stream::{
    MAX_BUFFERED_IN, ServerSession, SessionLimits, StreamClient, StreamClientConfig,
};
use wirelab::bank::transport::Client as _;
use wirelab::measure::Instant;

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::ZERO;
    let store = MemoryStore::with_accounts(3, Cents(100));
    let mut server = Server::new(ServerConfig::default(), store, 1);
    let mut session = ServerSession::new(now, SessionLimits::default());
    let mut client = StreamClient::new(StreamClientConfig::default(), Identity::new(1), now);
    let mut hello = BytesMut::new();
    let words = Hello { min_version: 1, max_version: 1, max_frame: 65_536, nonce: 7, features: 0 };
    encode_hello(&mut hello, 0, &words);
    let mut rest = data;
    while let Some((&[step, size], tail)) = rest.split_first_chunk::<2>() {
        let (bytes, tail) = tail.split_at(usize::from(size).min(tail.len()));
        rest = tail;
        match step % 8 {
            0 => session.handle_stream(now, &mut server, bytes),
            1 => session.handle_stream(now, &mut server, &sealed(bytes)),
            2 => session.handle_stream(now, &mut server, &hello),
            3 => client.handle_bytes(now, bytes),
            4 => client.handle_bytes(now, &sealed(bytes)),
            5 => {
                now += Duration::from_millis(u64::from(size) * 40);
                session.handle_timeout(now);
                client.handle_timeout(now);
                server.handle_timeout(now);
            }
            6 => {
                if let Some(out) = client.poll_transmit(now) {
                    session.handle_stream(now, &mut server, &out);
                }
                if let Some(out) = session.poll_transmit() {
                    client.handle_bytes(now, &out);
                }
            }
            _ => {
                let amount = Amount::new(u64::from(size) + 1).unwrap();
                let _ = client.send(now, Request::Deposit { account: AccountId(1), amount });
            }
        }
        while client.poll_event().is_some() {}
        assert!(
            session.buffered()
                <= MAX_BUFFERED_IN + SessionLimits::DEFAULT.max_buffered_out + MAX_FRAME
        );
        assert!(client.buffered() <= 2 * MAX_FRAME);
        assert!(!(session.wants_read() && session.closing().is_some()));
        assert!(session.poll_timeout().is_none() || session.closing().is_none());
    }
    // In any state, every call ends by its deadline.
    client.handle_timeout(now + Duration::from_secs(11));
    assert_eq!(client.in_flight(), 0);
});

/// The bytes as a frame with valid length, magic, version and checksum.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(48), 0);
    let len = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[8..11].copy_from_slice(&[b'I', b'G', 1]);
    let sum = checksum(&frame);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    frame
}
