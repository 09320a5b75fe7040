//! The wait of a client beside a greedy one, at every listener, in milliseconds.
//!
//! The greedy client always has requests in flight; the honest one has one at a time. No reply may
//! be missing, and the median wait is at most 50 ms. The banks' includes the start of a process.

use clock_offset::driver::ke::KeyServer;
use clock_offset::nts::server::Master;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wirelab_tests::bank::{Bank, HUNG};

/// Requests of the honest client.
const ASKED: usize = 200;
/// The median wait allowed, milliseconds.
const MEDIAN_MAX_MS: f64 = 50.0;
/// Requests that a greedy client of datagrams keeps in flight.
const IN_FLIGHT: usize = 64;

/// The waits of [`ASKED`] requests, ascending; `None` for a reply that did not come.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn waits(mut ask: impl FnMut() -> bool) -> Option<Vec<Duration>> {
    let mut waits = Vec::with_capacity(ASKED);
    for _ in 0..ASKED {
        let start = std::time::Instant::now();
        if !ask() {
            return None;
        }
        waits.push(start.elapsed());
    }
    waits.sort_unstable();
    Some(waits)
}

/// Prints a row; whether the claim holds.
fn row(name: &str, alone: Option<Vec<Duration>>, beside: Option<Vec<Duration>>) -> bool {
    let ms = |waits: &[Duration], at: usize| waits[at].as_secs_f64() * 1e3;
    let (Some(alone), Some(beside)) = (alone, beside) else {
        println!("{name:<10} a reply was missing");
        return false;
    };
    let median = ms(&beside, ASKED / 2);
    println!(
        "{name:<10} {:>9.3} {median:>9.3} {:>9.3}",
        ms(&alone, ASKED / 2),
        ms(&beside, ASKED * 99 / 100)
    );
    median <= MEDIAN_MAX_MS
}

/// A process that is ended on drop.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn bank(name: &str) -> bool {
    let bank = Bank::start(name, "");
    let ask = || bank.call("balance 1").code == 0;
    let alone = waits(ask);
    let greedy = format!(
        "load --server {} --clients 4 --depth 512 --for 10min --only balance",
        bank.address
    );
    let mut greedy = bank.lab.command(&greedy);
    let greedy = greedy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _greedy = Load(greedy);
    row(name, alone, waits(ask))
}

/// One request over UDP, whose reply has at least as many bytes as a header.
fn exchange(socket: &UdpSocket, request: &[u8]) -> bool {
    let mut reply = [0; 2048];
    socket.send(request).is_ok() && socket.recv(&mut reply).is_ok_and(|length| length >= 12)
}

fn connected(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(address).unwrap();
    socket.set_read_timeout(Some(HUNG)).unwrap();
    socket
}

fn ntp() -> bool {
    let server = super::clock_peers::Served::ours("");
    let address = format!("127.0.0.1:{}", server.port);
    let (honest, greedy) = (connected(&address), connected(&address));
    let ask = || exchange(&honest, &[0x23; 48]);
    let alone = waits(ask);
    let stop = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..IN_FLIGHT {
                greedy.send(&[0x23; 48]).unwrap();
            }
            while !stop.load(Ordering::Relaxed) {
                exchange(&greedy, &[0x23; 48]);
            }
        });
        let beside = waits(ask);
        stop.store(true, Ordering::Relaxed);
        beside
    });
    row("NTP", alone, beside)
}

fn key_establishment() -> bool {
    let server = KeyServer::start(Master::new([9; 32]), 123).unwrap();
    let (honest, greedy) = (server.source().unwrap(), server.source().unwrap());
    let ask = || honest.establish().is_ok();
    let alone = waits(ask);
    let stop = AtomicBool::new(false);
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = greedy.establish();
            }
        });
        let beside = waits(ask);
        stop.store(true, Ordering::Relaxed);
        beside
    });
    row("NTS-KE", alone, beside)
}

/// A query for www.igbank.com A (RFC 1035 §4.1).
fn query() -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["www", "igbank", "com"] {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn dns() -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    drop(socket);
    let mut serve = Command::new(wirelab_tests::lab::binary("dns-walk"));
    serve.args(["serve", "--demo", "--listen", &address]);
    let serve = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _serve = Load(serve);
    let honest = connected(&address);
    honest.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let query = query();
    // Until it listens, the host answers with ICMP.
    while !exchange(&honest, &query) {}
    let ask = || exchange(&honest, &query);
    let alone = waits(ask);
    let mut stream = TcpStream::connect(&address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let framed = [&[0, u8::try_from(query.len()).unwrap()][..], &query].concat();
    std::thread::spawn(move || while writer.write_all(&framed).is_ok() {});
    std::thread::spawn(move || while stream.read(&mut [0; 65_536]).is_ok_and(|got| got > 0) {});
    row("DNS", alone, waits(ask))
}

/// Prints the table; whether every client was served within the limit.
pub(crate) fn run() -> bool {
    println!("fairness: milliseconds that {ASKED} requests of one client wait, one at a time");
    println!("{:<10} {:>9} {:>9} {:>9}", "listener", "alone", "beside", "p99");
    let rows = [bank("bank-tcp"), bank("bank-udp"), ntp(), key_establishment(), dns()];
    let held = rows.iter().all(|held| *held);
    println!("median of at most {MEDIAN_MAX_MS} ms: {}", if held { "yes" } else { "NO" });
    held
}
