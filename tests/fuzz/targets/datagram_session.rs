//! Any datagrams and delays to server and client: no reply is longer than its request.
//!
//! All cents are accounted for, no call is open past its deadline, and timers are set.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wirelab::bank::audit::audit;
use wirelab::bank::client::Identity;
use wirelab::bank::datagram::{DatagramClient, DatagramClientConfig};
use wirelab::bank::frame::{MAX_DATAGRAM, checksum};
use wirelab::bank::message::{AccountId, Amount, Cents, Request};
use wirelab::bank::server::{Server, ServerConfig};
use wirelab::bank::store::memory::MemoryStore;
use wirelab::bank::transport::Client as _;
use wirelab::measure::Instant;

fuzz_target!(|data: &[u8]| {
    let mut now = Instant::ZERO;
    let store = MemoryStore::with_accounts(3, Cents(100));
    let mut server = Server::new(ServerConfig::default(), store, 1);
    let mut client = DatagramClient::new(DatagramClientConfig::default(), Identity::new(1), 1);
    client.connect(now);
    let mut last = Vec::new();
    let mut rest = data;
    while let Some((&[step, size], tail)) = rest.split_first_chunk::<2>() {
        let (bytes, tail) = tail.split_at(usize::from(size).min(tail.len()));
        rest = tail;
        match step % 8 {
            0 => serve(&mut server, now, bytes),
            1 => serve(&mut server, now, &sealed(bytes)),
            // A frame of the client, with changed bytes and a valid checksum.
            2 => serve(&mut server, now, &changed(&last, bytes)),
            3 => client.handle_bytes(now, bytes),
            4 => client.handle_bytes(now, &sealed(bytes)),
            5 => {
                now += Duration::from_millis(u64::from(size) * 40);
                client.handle_timeout(now);
                server.handle_timeout(now);
            }
            6 => {
                if let Some(datagram) = client.poll_transmit(now) {
                    assert!(datagram.len() <= MAX_DATAGRAM);
                    if let Some(reply) = server.handle_datagram(now, &datagram) {
                        assert!(reply.len() <= datagram.len());
                        client.handle_bytes(now, &changed(&reply, bytes));
                        client.handle_bytes(now, &reply);
                    }
                    last = datagram.to_vec();
                }
            }
            _ => {
                let amount = Amount::new(u64::from(size) + 1).unwrap();
                let (from, to) = (AccountId(1), AccountId(2));
                let _ = client.send(now, Request::Transfer { from, to, amount });
            }
        }
        while client.poll_event().is_some() {}
        assert!(client.in_flight() == 0 || client.poll_timeout().is_some());
    }
    client.handle_timeout(now + Duration::from_secs(11));
    assert_eq!(client.in_flight(), 0);
    assert!(audit(server.storage(), &[], &[]).unwrap().balanced);
});

fn serve(server: &mut Server<MemoryStore>, now: Instant, bytes: &[u8]) {
    let reply = server.handle_datagram(now, bytes);
    assert!(reply.is_none_or(|reply| reply.len() <= bytes.len()));
}

/// A frame with two changed bytes and a valid checksum.
fn changed(frame: &[u8], how: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for pair in how.chunks_exact(2).take(2) {
        let at = usize::from(pair[0]);
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= pair[1];
        }
    }
    sealed(&frame)
}

/// The bytes as a frame with valid length, magic and checksum.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = bytes.to_vec();
    frame.resize(frame.len().max(48), 0);
    let len = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[8..10].copy_from_slice(b"IG");
    let sum = checksum(&frame);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    frame
}
