//! Any bytes to the frame parser: its view is within the bytes, its errors can be displayed.
//!
//! The input is tried as it is and with valid length, magic and checksum, to get past them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelab::bank::frame::{FIELD_HEADER_LEN, Frame, FrameError, HEADER_LEN, checksum, frame_len};
use wirelab::wire::hex;

fuzz_target!(|data: &[u8]| {
    let _ = frame_len(data, 65_536);
    check(data);
    if data.len() >= HEADER_LEN {
        let mut mended = data.to_vec();
        let len = u32::try_from(mended.len() - 4).unwrap();
        mended[..4].copy_from_slice(&len.to_le_bytes());
        mended[8..11].copy_from_slice(&[b'I', b'G', 1]);
        let sum = checksum(&mended);
        mended[4..8].copy_from_slice(&sum.to_le_bytes());
        check(&mended);
    }
});

fn check(bytes: &[u8]) {
    match Frame::parse(bytes) {
        Ok(frame) => {
            assert_eq!(frame_len(bytes, bytes.len()), Ok(Some(bytes.len())));
            let fields: usize = frame.fields().map(|(_, c)| c.len() + FIELD_HEADER_LEN).sum();
            assert_eq!(HEADER_LEN + frame.block().len() + fields, bytes.len());
        }
        Err(FrameError::Garbage(_, error)) => {
            assert!(error.offset <= bytes.len());
            assert!(hex::explain(bytes, &error).contains("^^"));
        }
        Err(FrameError::Version(foreign)) => assert_ne!(foreign.version, 1),
    }
}
