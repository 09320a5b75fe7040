//! Super-frames through the emulated path: cut as the kernel cuts them, each segment with a fate of
//! its own.
//!
//! It has a `main` of its own because a user namespace must be entered before any thread exists. It
//! must never assert how fast the machine is.
#![expect(clippy::print_stdout, reason = "it is its own test harness")]
#![expect(clippy::disallowed_methods, reason = "it waits for real packets")]

mod super_frame;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;
use super_frame::{Recipe, recipes};
use wirelab::measure::Instant;
use wirelab::net::clock::Clock;
use wirelab::net::segments::{Checksums, Layout, OFFLOAD_HEADER};
use wirelab::net::topology::MTU;
use wirelab::sys::ethtool::{Offload, switch_off};
use wirelab::sys::netlink::{Netlink, VethEnd};
use wirelab::sys::netns::Netns;
use wirelab::sys::packet::{Framing, Port};
use wirelab::sys::privilege::acquire;

/// How long to wait for something that always comes on a working machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Case = (&'static str, fn());
const CASES: &[Case] =
    &[("the kernel cuts the same segments from a super-frame", the_kernel_agrees)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What a test runner may ask of any test binary.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let privilege = match acquire() {
        Ok(privilege) => privilege,
        Err(error) => {
            println!("{error}\noffload: SKIPPED, this machine allows no network namespaces");
            return ExitCode::SUCCESS;
        }
    };
    println!("offload tests, privilege: {privilege}");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let mut failed = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let ok = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("{} {name}", if ok { "ok    " } else { "FAILED" });
        failed += usize::from(!ok);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- the kernel as the judge --------------------------------------------------------------------

/// Two namespaces joined by a veth pair whose near end leaves no segmentation to the far one.
struct Cutter {
    near: Port,
    far: Port,
    _hosts: [Netns; 2],
}

impl Cutter {
    fn new() -> Self {
        let [a, b] = [(); 2].map(|()| Netns::new().unwrap());
        let end = |last| VethEnd { name: "eth0", mac: [2, 0, 0, 0, 0, last] };
        a.run(|| Netlink::open()?.add_veth(end(1), end(2), b.descriptor(), MTU)).unwrap().unwrap();
        let open = |framing| {
            move || {
                let netlink = Netlink::open()?;
                netlink.no_ipv6_address("eth0")?;
                switch_off("eth0", Offload::TxChecksum)?;
                switch_off("eth0", Offload::GenericReceive)?;
                netlink.set_up("eth0")?;
                Port::open("eth0", 256, framing)
            }
        };
        let far = b.run(open(Framing::Whole)).unwrap().unwrap();
        let near = a.run(open(Framing::Offloaded)).unwrap().unwrap();
        Self { near, far, _hosts: [a, b] }
    }

    /// Sends a message and gives the frames that the kernel makes of it.
    fn cut(&mut self, message: &[u8], count: u16) -> Vec<Vec<u8>> {
        assert_eq!(self.near.send(&[message]).unwrap(), 1);
        let mut frames = Vec::new();
        let clock = Clock::start();
        while frames.len() < usize::from(count) {
            match self.far.receive() {
                // Not what the kernel may send of itself.
                Some(frame) if frame.bytes[..12] == message[10..22] => {
                    assert!(frame.checksum_ready);
                    frames.push(frame.bytes.to_vec());
                }
                Some(_) => {}
                None => assert!(clock.now().since(Instant::ZERO) < PATIENCE, "too few came"),
            }
        }
        frames
    }
}

fn the_kernel_agrees() {
    // The same recipes in every run.
    let mut runner = TestRunner::deterministic();
    let mut cutter = Cutter::new();
    for number in 0..300 {
        let recipe = recipes().new_tree(&mut runner).unwrap().current();
        compare_with_kernel(&mut cutter, &recipe, number);
    }
}

/// Has the kernel cut a super-frame whole, and again the runs that we cut it into.
fn compare_with_kernel(cutter: &mut Cutter, recipe: &Recipe, number: u16) {
    let (offload, frame) = recipe.super_frame();
    let layout = Layout::parse(&offload, &frame).unwrap();
    let mut out = vec![0; 70_000];
    let single = |n, out: &mut Vec<u8>| {
        let length = layout.write(&frame, n..n + 1, Checksums::Complete, out).unwrap();
        out[OFFLOAD_HEADER..length].to_vec()
    };
    let ours: Vec<_> = (0..layout.segments()).map(|n| single(n, &mut out)).collect();
    let what = || format!("recipe {number} of the deterministic runner: {recipe:02x?}");
    let theirs = cutter.cut(&[&offload[..], &frame].concat(), layout.segments());
    assert!(theirs == ours, "{}", what());
    let step = 1 + number % 7;
    let mut theirs = Vec::new();
    for start in (0..layout.segments()).step_by(step.into()) {
        let run = start..(start + step).min(layout.segments());
        let length = layout.write(&frame, run.clone(), Checksums::AsTheyCame, &mut out).unwrap();
        theirs.extend(cutter.cut(&out[..length], run.end - run.start));
    }
    assert!(theirs == ours, "runs of {step}, {}", what());
}
