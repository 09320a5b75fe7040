//! The exhibits of the page: what TCP does on the paths of two plan files.

use super::{User, have, sound};
use serde_json::Value;
use std::fs;
use wirelab_tests::namespaces::{alone, am_root};

/// Fetches a page of this size over a plan's path, once with each of the flags, at the same time.
fn fetch(plan: &str, bytes: usize, flags: [&[&str]; 2]) -> Option<[Value; 2]> {
    let plan = format!("--plan={}/plans/{plan}.toml", env!("CARGO_MANIFEST_DIR"));
    let plan = &plan;
    let results = std::thread::scope(|scope| {
        flags
            .map(|flags| {
                scope.spawn(move || {
                    let user = User::new(am_root());
                    fs::write(user.folder.join("page"), vec![b'x'; bytes]).unwrap();
                    let curl = ["--", "curl", "-s", "-o", "copy", "http://b/page"];
                    let (out, result) = user.result(&[&[plan.as_str()], flags, &curl].concat())?;
                    assert_eq!(out.code, 0, "{}", out.stderr);
                    assert_eq!(fs::read(user.folder.join("copy")).unwrap().len(), bytes);
                    sound(&result, &out.stderr);
                    Some(result)
                })
            })
            .map(|thread| thread.join().unwrap())
    });
    let [first, second] = results;
    first.zip(second).map(|(first, second)| [first, second])
}

fn figure(result: &Value, way: &str, name: &str) -> u64 {
    result[way][name].as_u64().unwrap()
}

#[test]
fn a_sender_without_selective_acknowledgements_repeats_what_had_arrived() {
    if !have("exhibits", &["python3", "curl"]) {
        return;
    }
    let _alone = alone();
    let flags = ["--seed=8", "--sysctl=net.ipv4.tcp_sack=0"];
    let Some([with, without]) = fetch("selective-repeat", 100_000, [&flags[..1], &flags]) else {
        return;
    };
    let arrived = |result| figure(result, "b_to_a", "delivered");
    let (with, without) = (arrived(&with), arrived(&without));
    // 100,000 bytes are 70 segments; the handshakes of both ends add four frames.
    assert!(with >= 70 && without > with, "{with} frames with, {without} without");
}

#[test]
fn flow_control_sets_the_rate_of_a_slow_reader() {
    if !have("exhibits", &["python3", "curl"]) {
        return;
    }
    let _alone = alone();
    let usual = "--sysctl=a:net.ipv4.tcp_rmem=4096 131072 6291456";
    let Some([slow, usual]) = fetch("slow-reader", 40_000, [&[], &[usual]]) else { return };
    // A buffer each round trip of 100 ms.
    let rate = figure(&slow, "b_to_a", "delivered_bit_per_s");
    assert!(rate <= 8 * 8_192 * 10, "{rate} bit/s");
    assert_eq!(slow["b_to_a"]["dropped"], serde_json::json!([]));
    assert!(figure(&usual, "b_to_a", "delivered_bit_per_s") > rate);
}
