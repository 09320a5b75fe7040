//! Runs programs that talk to each other on one host through `--localhost`.

use super::{User, have, share_agrees, sound};
use serde_json::Value;
use std::fs;
use wirelab_tests::namespaces::{alone, am_root};

/// A server process that echoes datagrams, and a client that sends a thousand.
const UDP: &str = r#"
import os, socket, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 7000))
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
child = os.fork()
if child == 0:
    while True:
        data, peer = server.recvfrom(100)
        server.sendto(data, peer)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("localhost", 7000))
client.settimeout(0.5)
seen = set()
def receive():
    try:
        while True: seen.add(client.recv(100))
    except TimeoutError: pass
receiver = threading.Thread(target=receive)
receiver.start()
for n in range(1000):
    client.send(str(n).encode())
    if n % 10 == 9: threading.Event().wait(0.001)
receiver.join()
os.kill(child, 9)
print("replies", len(seen))
"#;

/// Round-trip times that ping printed, milliseconds.
fn times(text: &str) -> Vec<f64> {
    let after = text.split("time=").skip(1);
    after.map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_loopback_has_the_delay_once_each_way() {
    if !have("localhost", &["ping"]) {
        return;
    }
    let _alone = alone();
    for user in User::all() {
        for host in ["127.0.0.1", "localhost", "127.1.2.3"] {
            let ping = ["ping", "-c", "3", "-i", "0.05", host];
            let args = [&["--localhost", "--delay", "20ms", "--"][..], &ping].concat();
            let Some((out, result)) = user.result(&args) else { return };
            let context = format!("{host}\n{}\n{}", out.stdout, out.stderr);
            assert_eq!(out.code, 0, "{context}");
            let times = times(&out.stdout);
            assert!(times.len() == 3 && times.iter().all(|ms| *ms >= 40.0), "{context}");
            for way in ["a_to_b", "b_to_a"] {
                assert_eq!(result[way]["offered"], 3, "{way}: {context}");
            }
            sound(&result, &context);
        }
    }
}

#[test]
fn datagrams_on_the_loopback_are_lost_once_each_way() {
    if !have("localhost", &["python3"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    fs::write(user.folder.join("udp.py"), UDP).unwrap();
    let args = ["--localhost", "--loss", "10%", "--seed", "3", "--", "python3", "udp.py"];
    let Some((out, result)) = user.result(&args) else { return };
    let context = format!("{}\n{}", out.stdout, out.stderr);
    assert_eq!(out.code, 0, "{context}");
    let figure = |way: &str, name: &str| result[way][name].as_u64().unwrap();
    assert_eq!(figure("a_to_b", "offered"), 1_000, "{context}");
    assert_eq!(figure("b_to_a", "offered"), figure("a_to_b", "delivered"), "{context}");
    let replies = format!("replies {}\n", figure("b_to_a", "delivered"));
    assert_eq!(out.stdout, replies, "{context}");
    for way in ["a_to_b", "b_to_a"] {
        share_agrees(&result[way]["loss"], 0.1, &context);
    }
    sound(&result, &context);
}

#[test]
fn a_server_on_the_loopback_is_reached_over_the_path_and_what_is_not_is_counted() {
    if !have("localhost", &["python3", "curl", "ping"]) {
        return;
    }
    let _alone = alone();
    let user = User::new(am_root());
    fs::write(user.folder.join("page"), vec![b'x'; 300_000]).unwrap();
    let script = "python3 -m http.server 8000 --bind 127.0.0.1 >log 2>&1 & server=$!; \
        until curl -s -o copy http://127.0.0.1:8000/page; do sleep 0.05; done; kill $server; \
        cmp page copy; ping -6 -q -c 1 ::1";
    let plan = ["--localhost", "--loss", "2%", "--delay", "2ms", "--seed", "4"];
    let args = [&plan[..], &["--", "sh", "-c", script]].concat();
    let Some((out, result)) = user.result(&args) else { return };
    let context = format!("{}\n{}", out.stdout, out.stderr);
    let full = |way: &str| result[way]["offered_bytes"].as_u64().unwrap();
    // The page's way is from the server.
    assert!(full("b_to_a") > 300_000 && full("a_to_b") < 100_000, "{context}");
    sound(&result, &context);
    if result["loopback_packets"] == serde_json::json!([2, 0]) {
        assert_eq!(out.code, 0, "{context}");
        assert!(out.stderr.contains("2 packets to ::1 or another address of a were not impaired"));
    } else {
        // Without IPv6 in the kernel.
        assert_eq!(result["loopback_packets"], serde_json::json!([0, 0]), "{context}");
    }
}

#[test]
fn a_run_that_leaves_the_looped_addresses_is_not_called_trusted() {
    let _alone = alone();
    let user = User::new(am_root());
    let args = ["--localhost", "--strict", "--", "true"];
    let Some((out, result)) = user.result(&args) else { return };
    assert_eq!((out.code, &result["verdict"]), (3, &Value::from("no_frames")), "{}", out.stderr);
    assert!(out.stderr.contains("Talk to 127.0.0.1"), "{}", out.stderr);
    let out = user.run(&["--localhost", "--b", "true", "--", "true"]);
    assert_eq!(out.code, 2, "{}", out.stderr);
}
