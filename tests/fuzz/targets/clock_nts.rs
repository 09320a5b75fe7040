//! Any bytes as NTS-KE records, as a request to the server and as a reply.
//!
//! Without the key no bytes are authenticated; with it, only valid ones. No cookie is kept that
//! exceeds a datagram.
#![no_main]

use clock_offset::nts::NtsRefusal;
use clock_offset::nts::aead::{Key, Keys};
use clock_offset::nts::field::{UNIQUE_ID, authenticate, push, read_encrypted};
use clock_offset::nts::record::{Response, fits, is_whole, read_request};
use clock_offset::nts::server::{Authenticity, Master};
use clock_offset::nts::session::{Fresh, Session};
use clock_offset::packet::{HEADER_LEN, Header, Packet};
use clock_offset::timestamp::NtpTimestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(response) = Response::read(data) {
        assert_eq!(is_whole(data), Ok(true));
        assert!(response.cookies.iter().all(|cookie| fits(cookie)));
        assert_eq!(Response::read(&response.encode()).as_ref(), Ok(&response));
    }
    let _ = read_request(data);
    let keys = Keys { c2s: Key::new([1; 32]), s2c: Key::new([2; 32]) };
    let master = Master::new([3; 32]);
    // No other party has our keys: no bytes are authentic.
    assert!(!matches!(master.judge(data), Ok(Authenticity::Proved(_))));
    if let Ok(Authenticity::Refused(nak)) = master.judge(data) {
        assert!(nak.len() <= data.len());
    }
    let mut session = Session::new(keys.clone(), vec![vec![0; 100]]);
    let header = Header::request(NtpTimestamp::from_bits(7)).encode();
    let fresh = Fresh { unique_id: [4; 32], nonce: [5; 16] };
    let Some((_, proof)) = session.request(&header, &fresh) else { return };
    if let Ok(packet) = Packet::open(data) {
        assert!(proof.check(&packet, data).is_err());
    }
    // The same bytes encrypted with the right key: fields or an error.
    let mut sealed = header.to_vec();
    push(&mut sealed, UNIQUE_ID, &fresh.unique_id);
    let plain = &data[..data.len().min(4_096)];
    authenticate(&mut sealed, &keys.s2c, &[6; 16], plain);
    let Ok(packet) = Packet::open(&sealed) else { return };
    match (proof.check(&packet, &sealed), read_encrypted(plain)) {
        (Ok(cookies), Ok(fields)) => assert!(cookies.len() <= fields.len()),
        (Err(NtsRefusal::Encrypted(error)), Err(same)) => assert_eq!(error, same),
        other => panic!("{other:?}"),
    }
    assert!(sealed.len() > HEADER_LEN);
});
