//! Any bytes to the super-frame parser: accepted frames can be segmented everywhere, and every part
//! is accepted again with as many segments.
//!
//! The first ten bytes are the offload header. The input is tried as it is and with valid lengths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelab::emulator::gso::{Checksums, Layout, OFFLOAD_HEADER};

fuzz_target!(|data: &[u8]| {
    let Some((offload, frame)) = data.split_first_chunk::<OFFLOAD_HEADER>() else { return };
    check(offload, frame);
    let mut mended = frame.to_vec();
    let number = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    let length = frame.len();
    match frame.get(12) {
        Some(0x08) if length > 34 => mended[16..18].copy_from_slice(&number(length - 14)),
        Some(0x86) if length > 54 => mended[18..20].copy_from_slice(&number(length - 54)),
        _ => return,
    }
    check(offload, &mended);
});

fn check(offload: &[u8; OFFLOAD_HEADER], frame: &[u8]) {
    let layout = match Layout::parse(offload, frame) {
        Ok(layout) => layout,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let count = layout.segments();
    let mut out = vec![0; OFFLOAD_HEADER + frame.len()];
    // A whole, its halves, its segments.
    for step in [count, count.div_ceil(2), 1] {
        for start in (0..count).step_by(step.into()) {
            let run = start..(start + step).min(count);
            let length = layout.write(frame, run.clone(), Checksums::AsTheyCame, &mut out).unwrap();
            assert_eq!(length, OFFLOAD_HEADER + layout.run_length(run.clone()));
            let (header, cut) = out[..length].split_first_chunk().unwrap();
            let again = Layout::parse(header, cut).unwrap();
            assert_eq!(again.segments(), run.end - run.start);
            if run.len() == 1 {
                let mut complete = vec![0; length];
                let done = layout.write(frame, run, Checksums::Complete, &mut complete);
                assert_eq!(done, Some(length));
                assert_eq!(complete[..OFFLOAD_HEADER], [0; OFFLOAD_HEADER]);
            }
        }
    }
}
