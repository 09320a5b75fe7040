//! Any bytes to the link model: as a frame, as a plan, as a recording.
//!
//! Parsed values must be written back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{
    Bytes, CorruptDraw, Direction, DrawKey, Frame, Link, LinkPlan, Mutation, Recording, apply,
    icmp_too_big,
};

fuzz_target!(|data: &[u8]| {
    frame(data);
    if let Ok(text) = std::str::from_utf8(data) {
        plan(text);
        recording(text);
        recording(&format!("wirelab-recording 1\na frames=99\nb frames=99\n{text}"));
    }
});

fn frame(bytes: &[u8]) {
    let plan = LinkPlan { key: DrawKey::Content, mark: Ppm::ONE, ..LinkPlan::default() };
    let mut link = Link::new(plan, 1, Direction::AToB);
    let length = u32::try_from(bytes.len()).unwrap();
    link.handle_frame(Instant::ZERO, Frame { bytes: Bytes::Ethernet(bytes), length }, 0);
    if let Some(answer) = icmp_too_big(bytes, 1280) {
        assert_eq!(icmp_too_big(&answer, 1280), None, "an error is never answered");
    }
    for repair in [false, true] {
        let corrupt = Some(CorruptDraw { key: u64::from(length), bits: 3, repair });
        let mut edited = bytes.to_vec();
        let changed = apply(&Mutation { corrupt, mark: true }, &mut edited);
        assert!(changed || edited == bytes);
    }
}

/// One setting per line; every file that it names has the same text.
fn plan(text: &str) {
    let settings: Vec<(&str, &str)> =
        text.lines().take(50).filter_map(|line| line.split_once(' ')).collect();
    let mut read = |_: &str| Ok(text.to_owned());
    let mut plan = LinkPlan::default();
    if plan.set_all(&settings, &mut read).is_err() {
        return;
    }
    let written = plan.settings();
    let pairs: Vec<(&str, &str)> = written.iter().map(|(w, text)| (*w, text.as_str())).collect();
    let mut again = LinkPlan::default();
    again.set_all(&pairs, &mut read).unwrap();
    assert_eq!(again, plan);
    let mut link = Link::new(plan, 1, Direction::AToB);
    for n in 0..20 {
        let frame = Frame { bytes: Bytes::Payload(&[]), length: 1000 };
        link.handle_frame(Instant::from_nanos(n * 1_000_000_000), frame, 0);
        while link.poll_release(Instant::from_nanos(n * 1_000_000_000)).is_some() {}
    }
}

fn recording(text: &str) {
    let Ok(recording) = Recording::parse("fuzz", text) else { return };
    let written = recording.to_string();
    assert_eq!(Recording::parse("fuzz", &written).unwrap().to_string(), written);
    for direction in Direction::BOTH {
        let mut link = Link::replaying(&recording, direction);
        for _ in 0..100 {
            let frame = Frame { bytes: Bytes::Payload(&[]), length: 60 };
            link.handle_frame(Instant::ZERO, frame, 0);
        }
        while link.poll_release(Instant::ZERO).is_some() {}
    }
}
