//! An independent server in Python that steps, drifts, lies, answers in version 3, from another
//! address, or late.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use super::usage::lab;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use wirelab_tests::lab::Output;

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/ntp_server.py");

/// Ends with its standard input.
struct Peer {
    child: Child,
    port: String,
}

impl Peer {
    fn start(flags: &str) -> Option<Self> {
        let mut python = Command::new("python3");
        python.args([SERVER, "127.0.0.1"]).args(flags.split_whitespace());
        let Ok(mut child) = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            println!("skipped: python3 is not installed");
            return None;
        };
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Some(Self { child, port: port.trim().to_owned() })
    }

    fn ask(&self, flags: &str) -> Output {
        lab().run(&format!("127.0.0.1:{} --interval 50ms --no-report {flags}", self.port))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

#[test]
fn an_independent_server_is_measured_and_its_faults_are_reported() {
    for (flags, asked, code, part) in [
        ("offset=0.25", "", 0, "this clock is 250 ms slow"),
        ("version=3", "", 0, "replies in version 3"),
        ("offset=0.25", "--ntp-version 3", 0, "replies in version 3"),
        ("version=2", "", 5, "version 2, expected 4 or 3"),
        ("step=5", "", 3, "the offset jumped by"),
        ("step=-5", "", 3, "the offset jumped by"),
        ("lie=2", "", 3, "the offset jumped by"),
        ("drift=0.01", "", 3, "the samples contradict each other"),
        ("other=127.0.0.9", "--timeout 500ms", 5, "from 127.0.0.9"),
        ("late=0.2", "--timeout 100ms", 5, "--timeout waits longer"),
        ("late=0.2", "--timeout 20s", 0, "best estimate"),
    ] {
        let Some(peer) = Peer::start(flags) else { return };
        let out = peer.ask(asked);
        assert_eq!(out.code, code, "{flags} {asked}: {}{}", out.stdout, out.stderr);
        let all = out.stdout + &out.stderr;
        assert!(all.contains(part), "{flags} {asked}: expected {part:?} in\n{all}");
    }
}

#[test]
fn one_server_under_two_names_has_one_vote() {
    let [Some(liar), Some(honest)] = ["offset=0.4", "source=8"].map(Peer::start) else { return };
    let (liar, honest) = (&liar.port, &honest.port);
    let names = format!("127.0.0.1:{liar} localhost:{liar} 127.0.0.1:{honest}");
    let out = lab().run(&format!("{names} --interval 50ms --no-report"));
    assert_eq!(out.code, 3, "{}{}", out.stdout, out.stderr);
    assert!(out.stdout.contains("have one vote"), "{}", out.stdout);
}
